// Softmax statistics of stored logits: for each tile of `rows` labels and each sample, the largest logit and the sum of
// exp(z - largest), as the epilogue of logits.wgsl leaves them. B samples in vec4s (x), L labels of this window (y).

struct Dims { first: u32, L: u32, B: u32, rows: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> z: array<Z4>;
@group(0) @binding(3) var<storage, read_write> partials: array<vec4f>;

const LANES: u32 = 8u;

var<workgroup> highs: array<vec4f, 32u * LANES>;
var<workgroup> sums: array<vec4f, 32u * LANES>;

@compute @workgroup_size(32, LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) id: vec3u) {
    let b = group.x * 32u + id.x;
    let end = min((group.y + 1u) * dims.rows, dims.L);
    var high = vec4f(NEGLIGIBLE);
    var sum = vec4f();
    if b < dims.B {
        for (var l = group.y * dims.rows + id.y; l < end; l += LANES) {
            let value = vec4f(z[l * dims.B + b]);
            let higher = max(high, value);
            sum = sum * exp(high - higher) + exp(value - higher);
            high = higher;
        }
    }
    let at = id.y * 32u + id.x;
    highs[at] = high;
    sums[at] = sum;
    workgroupBarrier();
    if id.y > 0u || b >= dims.B { return; }
    for (var lane = 1u; lane < LANES; lane++) { high = max(high, highs[lane * 32u + id.x]); }
    sum = vec4f();
    for (var lane = 0u; lane < LANES; lane++) {
        sum += sums[lane * 32u + id.x] * exp(highs[lane * 32u + id.x] - high);
    }
    let to = (dims.first / dims.rows + group.y) * 2u * dims.B + b;
    partials[to] = high;
    partials[to + dims.B] = sum;
}
