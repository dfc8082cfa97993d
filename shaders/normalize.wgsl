// ln(sum over l of exp(z[l, b])) for four samples a workgroup, from the logits kernel's tile partials. A sample
// without labels, or past the end of a short batch, gets a value so large that its softmax is zero everywhere: it has
// no gradient. B in vec4s.

struct Dims { tiles: u32, B: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> batch: array<u32>;
@group(0) @binding(3) var<storage, read> partials: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> normalizer: array<vec4f>;

const THREADS: u32 = 128u;
const ABSENT: f32 = 1.0e30;

var<workgroup> lanes: array<vec4f, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    var high = vec4f(NEGLIGIBLE);
    for (var i = t; i < dims.tiles; i += THREADS) { high = max(high, partials[i * 2u * dims.B + group.x]); }
    lanes[t] = high;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if t < half { lanes[t] = max(lanes[t], lanes[t + half]); }
        workgroupBarrier();
    }
    high = lanes[0];
    workgroupBarrier();
    var sum = vec4f();
    for (var i = t; i < dims.tiles; i += THREADS) {
        let at = i * 2u * dims.B + group.x;
        sum += partials[at + dims.B] * exp(partials[at] - high);
    }
    lanes[t] = sum;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if t < half { lanes[t] += lanes[t + half]; }
        workgroupBarrier();
    }
    if t == 0u {
        var out = high + log(lanes[0]);
        for (var r = 0u; r < 4u; r++) {
            if batch[now.label_counts + 4u * group.x + r] == 0u { out[r] = ABSENT; }
        }
        normalizer[group.x] = out;
    }
}
