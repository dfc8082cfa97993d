// Adds the ticks between pairs of this step's timestamps to running 64-bit sums, so that no step waits for the host.

@group(0) @binding(0) var<storage, read> stamps: array<vec2u>;
@group(0) @binding(1) var<storage, read_write> ticks: array<vec2u>;

@compute @workgroup_size(4)
fn main(@builtin(local_invocation_index) i: u32) {
    // Passes 0..2, then from the first begin to the last end.
    let begin = select(2u * i, 0u, i == 3u);
    let end = select(2u * i + 1u, 5u, i == 3u);
    // A step takes less than 2^32 ticks; the difference is right across a wrap of the low word.
    let passed = stamps[end].x - stamps[begin].x;
    let low = ticks[i].x + passed;
    ticks[i] = vec2u(low, ticks[i].y + select(0u, 1u, low < passed));
}
