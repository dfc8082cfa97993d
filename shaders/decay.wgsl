// Input layer with dense rows: Adam with gradient zero on every row that this step's batch did not touch.
// I features of this window, H neurons in vec4s, one a thread.

struct Dims { I: u32, H: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read_write> w: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> w_m: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> w_v: array<vec4f>;
@group(0) @binding(5) var<storage, read> stamps: array<u32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) t: u32,
) {
    let at = folded(group, groups) * 256u + t;
    let i = at / dims.H;
    if i >= dims.I || stamps[i] == now.time { return; }
    let next = adam(Adam(w[at], w_m[at], w_v[at]), vec4f());
    w[at] = next.w;
    w_m[at] = next.m;
    w_v[at] = next.v;
}
