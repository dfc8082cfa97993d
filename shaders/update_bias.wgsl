// A hidden layer's bias: gradient sum over b of dz[b, o], then Adam. O neurons of this part in vec4s, one a thread.

struct Dims { first: u32, O: u32, dz_width: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> dz: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> bias: array<vec4f>;

@compute @workgroup_size(32)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let o = id.x;
    if o >= dims.O { return; }
    var g = vec4f();
    for (var b = 0u; b < now.samples; b++) { g += dz[b * dims.dz_width + dims.first + o]; }
    let next = adam(Adam(bias[3u * o], bias[3u * o + 1u], bias[3u * o + 2u]), g);
    bias[3u * o] = next.w;
    bias[3u * o + 1u] = next.m;
    bias[3u * o + 2u] = next.v;
}
