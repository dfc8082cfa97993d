// Input layer, sparse input: z[b, :] = bias + sum over features i of x[b, i] * W[i, :], then ReLU.
// B samples (a workgroup each), I features, H neurons (a vec4 a thread). LANES threads share a sample's entries, so that
// their loads are in flight together. W is bound in windows of whole rows; the first window starts from the bias and
// the last applies ReLU.

struct Dims { first: u32, I: u32, H: u32, begins: u32, ends: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> batch: array<u32>;
@group(0) @binding(3) var<storage, read> w: array<vec4f>;
// Bias, its m and its v, interleaved.
@group(0) @binding(4) var<storage, read> bias: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> z: array<vec4f>;

const LANES: u32 = 8u;

var<workgroup> parts: array<vec4f, 32u * LANES>;

@compute @workgroup_size(32, LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) id: vec3u) {
    let b = group.x;
    let h = group.y * 32u + id.x;
    var sum = vec4f();
    let end = batch[now.x_starts + b + 1u];
    for (var p = batch[now.x_starts + b] + id.y; p < end; p += LANES) {
        let i = batch[now.x_columns + p] - dims.first;
        // Features of earlier windows wrap around to huge numbers.
        if i < dims.I && h < dims.H { sum = fma(vec4f(bitcast<f32>(batch[now.x_values + p])), w[i * dims.H + h], sum); }
    }
    parts[id.y * 32u + id.x] = sum;
    workgroupBarrier();
    if id.y > 0u || h >= dims.H { return; }
    if dims.begins == 1u { sum = bias[3u * h]; } else { sum = z[b * dims.H + h]; }
    for (var lane = 0u; lane < LANES; lane++) { sum += parts[lane * 32u + id.x]; }
    if dims.ends == 1u { sum = max(sum, vec4f(0.0)); }
    z[b * dims.H + h] = sum;
}
