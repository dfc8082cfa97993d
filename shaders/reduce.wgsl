// dz[b, h] = (a[b, h] > 0) * scale * sum over splits of partials[split, b, h]: ends a split product and goes back
// through ReLU, always in the same order. B samples (y), H neurons in vec4s (x), whose splits LANES threads share.

struct Dims { splits: u32, H: u32, B: u32, from_output: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> partials: array<vec4f>;
@group(0) @binding(3) var<storage, read> a: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> dz: array<vec4f>;

const LANES: u32 = 8u;

var<workgroup> parts: array<vec4f, 32u * LANES>;

@compute @workgroup_size(32, LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) id: vec3u) {
    let h = group.x * 32u + id.x;
    let at = group.y * dims.H + h;
    let stride = 4u * dims.B * dims.H;
    var sum = vec4f();
    if h < dims.H {
        for (var i = id.y; i < dims.splits; i += LANES) { sum += partials[i * stride + at]; }
    }
    parts[id.y * 32u + id.x] = sum;
    workgroupBarrier();
    if id.y > 0u || h >= dims.H { return; }
    for (var lane = 1u; lane < LANES; lane++) { sum += parts[lane * 32u + id.x]; }
    // The output layer's gradient is of the sum over samples; the loss is their mean.
    let scale = select(1.0, now.scale, dims.from_output == 1u);
    dz[at] = select(vec4f(), scale * sum, a[at] > vec4f());
}
