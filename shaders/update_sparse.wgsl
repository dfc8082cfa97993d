// Input layer, sparse input: for every feature i that the batch touches, gradient sum over its samples of
// x[b, i] * dz[b, :], then Adam on row i of W. A workgroup a feature: no two write the same row, so no atomics.
// I features of this window, H neurons (a vec4 a thread); LANES threads share the samples of a common feature. `stamps` remembers when a row last moved.

struct Dims { first: u32, I: u32, H: u32, window: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> batch: array<u32>;
@group(0) @binding(3) var<storage, read> dz: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> w: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> w_m: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> w_v: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> stamps: array<u32>;

const LANES: u32 = 4u;

var<workgroup> parts: array<vec4f, 32u * LANES>;

@compute @workgroup_size(32, LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_id) id: vec3u,
) {
    let slot = batch[now.f_windows + dims.window] + folded(group, groups);
    let h = group.z * 32u + id.x;
    // The same for the whole workgroup.
    if slot >= batch[now.f_windows + dims.window + 1u] { return; }
    var g = vec4f();
    let end = batch[now.f_starts + slot + 1u];
    for (var p = batch[now.f_starts + slot] + id.y; p < end; p += LANES) {
        let b = batch[now.f_samples + p];
        if h < dims.H { g = fma(vec4f(bitcast<f32>(batch[now.f_values + p])), dz[b * dims.H + h], g); }
    }
    parts[id.y * 32u + id.x] = g;
    workgroupBarrier();
    if id.y > 0u || h >= dims.H { return; }
    for (var lane = 1u; lane < LANES; lane++) { g += parts[lane * 32u + id.x]; }
    let i = batch[now.f_rows + slot] - dims.first;
    let at = i * dims.H + h;
    let next = adam(Adam(w[at], w_m[at], w_v[at]), g);
    w[at] = next.w;
    w_m[at] = next.m;
    w_v[at] = next.v;
    if h == 0u { stamps[i] = now.time; }
}
