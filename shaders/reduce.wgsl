// dz[b, h] = (a[b, h] > 0) * scale * sum over splits of partials[split, b, h]: ends a split product and goes back
// through ReLU, always in the same order. B samples (y), H neurons in vec4s (x).

struct Dims { splits: u32, H: u32, B: u32, from_output: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> partials: array<vec4f>;
@group(0) @binding(3) var<storage, read> a: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> dz: array<vec4f>;

@compute @workgroup_size(32)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let h = group.x * 32u + lane;
    if h >= dims.H { return; }
    let at = group.y * dims.H + h;
    let stride = 4u * dims.B * dims.H;
    // Four running sums hide the latency of the loads.
    var s0 = vec4f();
    var s1 = vec4f();
    var s2 = vec4f();
    var s3 = vec4f();
    let whole = dims.splits / 4u * 4u;
    for (var i = 0u; i < whole; i += 4u) {
        s0 += partials[i * stride + at];
        s1 += partials[(i + 1u) * stride + at];
        s2 += partials[(i + 2u) * stride + at];
        s3 += partials[(i + 3u) * stride + at];
    }
    for (var i = whole; i < dims.splits; i++) { s0 += partials[i * stride + at]; }
    // The output layer's gradient is of the sum over samples; the loss is their mean.
    let scale = select(1.0, now.scale, dims.from_output == 1u);
    dz[at] = select(vec4f(), scale * ((s0 + s1) + (s2 + s3)), a[at] > vec4f());
}
