// Gradient of the last hidden layer's activations, one split of labels a workgroup in z:
// partials[split, b, h] = sum over the split's labels l of (p[l, b] - t[l, b]) * W[l, h], where the softmax
// p = exp(z - normalizer) is applied on load and the few targets t are taken off as extra columns at the end.
// M = B samples, N = H, K = L labels of this window. Both operands run along their rows.

struct Dims { first: u32, L: u32, H: u32, B: u32, split_rows: u32, first_split: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> batch: array<u32>;
@group(0) @binding(3) var<storage, read> z: array<vec4f>;
@group(0) @binding(4) var<storage, read> normalizer: array<vec4f>;
@group(0) @binding(5) var<storage, read> w: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> partials: array<vec4f>;

const A_ALONG_K = false;
const B_ALONG_K = false;
const ROW_SUMS = false;

fn p_row(m: u32, k: u32, shift: vec4f) -> vec4f {
    if k >= dims.L { return vec4f(); }
    return exp(z[k * dims.B + m / 4u] - shift);
}

fn a_block(m: u32, k: u32) -> mat4x4f {
    if m >= 4u * dims.B { return mat4x4f(); }
    let shift = normalizer[m / 4u];
    return mat4x4f(p_row(m, k, shift), p_row(m, k + 1u, shift), p_row(m, k + 2u, shift), p_row(m, k + 3u, shift));
}

fn w_row(n: u32, k: u32) -> vec4f {
    if n >= 4u * dims.H || k >= dims.L { return vec4f(); }
    return w[k * dims.H + n / 4u];
}

fn b_block(n: u32, k: u32) -> mat4x4f {
    return mat4x4f(w_row(n, k), w_row(n, k + 1u), w_row(n, k + 2u), w_row(n, k + 3u));
}

fn put(c: mat4x4f, split: u32, m: u32, n: u32) {
    if m >= 4u * dims.B || n >= 4u * dims.H { return; }
    let to = (split * 4u * dims.B + m) * dims.H + n / 4u;
    partials[to] = c[0];
    partials[to + dims.H] = c[1];
    partials[to + 2u * dims.H] = c[2];
    partials[to + 3u * dims.H] = c[3];
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let first = group.z * dims.split_rows;
    let end = min(first + dims.split_rows, dims.L);
    var c = multiply(t, group.x * BM, group.y * BN, first, end);
    let m = group.x * BM + 4u * (t / 16u);
    let n = group.y * BN + 4u * (t % 16u);

    let last_pair = batch[now.p_starts + (dims.first + end + 63u) / 64u];
    for (var p = batch[now.p_starts + (dims.first + first) / 64u]; p < last_pair; p++) {
        let l = batch[now.p_labels + p] - dims.first;
        let b = batch[now.p_samples + p];
        let share = bitcast<f32>(batch[now.p_values + p]);
        c = add_outer(c, -share * one_hot(m, b), -share * one_hot(m + 64u, b), w_row(n, l), w_row(n + 64u, l));
    }

    let split = dims.first_split + group.z;
    put(c.c00, split, m, n);
    if RN == 2u { put(c.c01, split, m, n + 64u); }
    if RM == 2u { put(c.c10, split, m + 64u, n); }
    if RM == 2u && RN == 2u { put(c.c11, split, m + 64u, n + 64u); }
}
