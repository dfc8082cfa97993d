// Adds this window's part of the batch's loss, the sum over its targets (l, b, t) of t (normalizer[b] - z[l, b]), to
// the step's slot of `totals`. One workgroup: the sum is the same in every run. B in vec4s.

struct Dims { first: u32, L: u32, B: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> batch: array<u32>;
@group(0) @binding(3) var<storage, read> z: array<Z>;
@group(0) @binding(4) var<storage, read> normalizer: array<f32>;
@group(0) @binding(5) var<storage, read_write> totals: array<f32>;

const THREADS: u32 = 256u;

var<workgroup> lanes: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) t: u32) {
    let end = batch[now.p_starts + (dims.first + dims.L + 63u) / 64u];
    var sum = 0.0;
    for (var p = batch[now.p_starts + dims.first / 64u] + t; p < end; p += THREADS) {
        let l = batch[now.p_labels + p] - dims.first;
        let b = batch[now.p_samples + p];
        sum += bitcast<f32>(batch[now.p_values + p]) * (normalizer[b] - f32(z[l * 4u * dims.B + b]));
    }
    lanes[t] = sum;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if t < half { lanes[t] += lanes[t + half]; }
        workgroupBarrier();
    }
    if t == 0u { totals[now.slot] += lanes[0]; }
}
