// ln(sum over l of exp(z[l, b])) for four samples a workgroup, from the logits kernel's tile partials. A sample
// without labels, or past the end of a short batch, gets a value so large that its softmax is zero everywhere: it has
// no gradient. B in vec4s.

struct Dims { tiles: u32, B: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> batch: array<u32>;
@group(0) @binding(3) var<storage, read> partials: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> normalizer: array<vec4f>;

const THREADS: u32 = 256u;
const ABSENT: f32 = 1.0e30;

var<workgroup> highs: array<vec4f, THREADS>;
var<workgroup> sums: array<vec4f, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    // One pass: the running sum is rescaled whenever the running maximum rises.
    var high = vec4f(NEGLIGIBLE);
    var sum = vec4f();
    for (var i = t; i < dims.tiles; i += THREADS) {
        let at = i * 2u * dims.B + group.x;
        let higher = max(high, partials[at]);
        sum = sum * exp(high - higher) + partials[at + dims.B] * exp(partials[at] - higher);
        high = higher;
    }
    highs[t] = high;
    sums[t] = sum;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if t < half {
            let higher = max(highs[t], highs[t + half]);
            sums[t] = sums[t] * exp(highs[t] - higher) + sums[t + half] * exp(highs[t + half] - higher);
            highs[t] = higher;
        }
        workgroupBarrier();
    }
    if t == 0u {
        var out = highs[0] + log(sums[0]);
        for (var r = 0u; r < 4u; r++) {
            if batch[now.label_counts + 4u * group.x + r] == 0u { out[r] = ABSENT; }
        }
        normalizer[group.x] = out;
    }
}
