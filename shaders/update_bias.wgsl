// A hidden layer's bias: gradient sum over b of dz[b, o], then Adam. O neurons of this part in vec4s, whose samples LANES
// threads share.

struct Dims { first: u32, O: u32, dz_width: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> dz: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> bias: array<vec4f>;

const LANES: u32 = 8u;

var<workgroup> parts: array<vec4f, 32u * LANES>;

@compute @workgroup_size(32, LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) id: vec3u) {
    let o = group.x * 32u + id.x;
    var g = vec4f();
    if o < dims.O {
        for (var b = id.y; b < now.samples; b += LANES) { g += dz[b * dims.dz_width + dims.first + o]; }
    }
    parts[id.y * 32u + id.x] = g;
    workgroupBarrier();
    if id.y > 0u || o >= dims.O { return; }
    for (var lane = 1u; lane < LANES; lane++) { g += parts[lane * 32u + id.x]; }
    let next = adam(Adam(bias[3u * o], bias[3u * o + 1u], bias[3u * o + 2u]), g);
    bias[3u * o] = next.w;
    bias[3u * o + 1u] = next.m;
    bias[3u * o + 2u] = next.v;
}
