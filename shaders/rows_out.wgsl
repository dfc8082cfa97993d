// Sampled softmax: copies N sampled rows back to where rows_in.wgsl took them from, in a window of L rows.
// One 32-bit word a thread; see there.

struct Dims { first: u32, L: u32, n_first: u32, N: u32, width: u32, bias: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> batch: array<u32>;
@group(0) @binding(3) var<storage, read> sampled: array<u32>;
@group(0) @binding(4) var<storage, read_write> all: array<u32>;

fn word(row: u32, j: u32) -> u32 {
    if dims.bias == 1u { return row / 4u * 12u + j * 4u + row % 4u; }
    return row * dims.width + j;
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) t: u32,
) {
    let at = folded(group, groups) * 256u + t;
    let n = at / dims.width;
    if n >= dims.N { return; }
    // Labels of earlier windows wrap around to huge numbers.
    let l = batch[now.s_labels + dims.n_first + n] - dims.first;
    if l < dims.L { all[word(l, at % dims.width)] = sampled[word(n, at % dims.width)]; }
}
