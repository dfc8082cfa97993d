// Puts the average of weights in the place of the weights, or both back: N vec4s, one a thread.

struct Dims { N: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read_write> mean: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> w: array<vec4f>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) t: u32,
) {
    let at = folded(group, groups) * 256u + t;
    if at >= dims.N { return; }
    let last = w[at];
    w[at] = mean[at];
    mean[at] = last;
}
