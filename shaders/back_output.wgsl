// Gradient of the last hidden layer's activations, one split of labels a workgroup in z:
// partials[split, b, h] = sum over the split's labels l of (p[l, b] - t[l, b]) * W[l, h]. The softmax
// p = exp(z - normalizer) is applied on load; the few targets t are further columns of the sum, one a target.
// M = B samples, N = H, K = L labels of this window, then targets. Both operands run along their rows.

struct Dims { first: u32, L: u32, H: u32, B: u32, split_rows: u32, first_split: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> batch: array<u32>;
@group(0) @binding(3) var<storage, read> z: array<Z4>;
@group(0) @binding(4) var<storage, read> normalizer: array<vec4f>;
@group(0) @binding(5) var<storage, read> w: array<Z4>;
@group(0) @binding(6) var<storage, read_write> partials: array<vec4f>;

const A_ALONG_K = false;
const B_ALONG_K = false;
const ROW_SUMS = false;
const A_SCALE = SOFTMAX_SCALE;

// Where the targets start along k, and which they are.
var<private> targets_at: u32;
var<private> first_target: u32;
var<private> end_target: u32;
var<private> split: u32;

fn p_row(m: u32, k: u32, shift: vec4f) -> vec4f {
    if k >= dims.L { return vec4f(); }
    return exp(vec4f(z[k * dims.B + m / 4u]) - shift);
}

fn target_column(m: u32, k: u32) -> vec4f {
    let p = first_target + k - targets_at;
    if p >= end_target { return vec4f(); }
    return -bitcast<f32>(batch[now.p_values + p]) * one_hot(m, batch[now.p_samples + p]);
}

fn a_block(m: u32, k: u32) -> mat4x4f {
    if m >= 4u * dims.B { return mat4x4f(); }
    if k >= targets_at {
        return mat4x4f(
            target_column(m, k), target_column(m, k + 1u), target_column(m, k + 2u), target_column(m, k + 3u));
    }
    let shift = normalizer[m / 4u];
    return mat4x4f(p_row(m, k, shift), p_row(m, k + 1u, shift), p_row(m, k + 2u, shift), p_row(m, k + 3u, shift));
}

fn w_row(n: u32, k: u32) -> vec4f {
    var l = k;
    if k >= targets_at {
        let p = first_target + k - targets_at;
        if p >= end_target { return vec4f(); }
        l = batch[now.p_labels + p] - dims.first;
    }
    if n >= 4u * dims.H || l >= dims.L { return vec4f(); }
    return vec4f(w[l * dims.H + n / 4u]);
}

fn b_block(n: u32, k: u32) -> mat4x4f {
    return mat4x4f(w_row(n, k), w_row(n, k + 1u), w_row(n, k + 2u), w_row(n, k + 3u));
}

fn put(m: u32, n: u32, c: vec4f) {
    if m >= 4u * dims.B || n >= 4u * dims.H { return; }
    partials[(split * 4u * dims.B + m) * dims.H + n / 4u] = c;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let first = group.z * dims.split_rows;
    let end = min(first + dims.split_rows, dims.L);
    split = dims.first_split + group.z;
    first_target = batch[now.p_starts + (dims.first + first) / 64u];
    end_target = batch[now.p_starts + (dims.first + end + 63u) / 64u];
    targets_at = (end + 3u) / 4u * 4u;
    run(t, group.x * BM, group.y * BN, first, targets_at + end_target - first_target);
}
