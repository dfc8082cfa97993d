// Output layer's gradient and Adam in one: dW[l, h] = scale * sum over b of (p[l, b] - t[l, b]) * a[b, h] stays in
// registers. The softmax p = exp(z - normalizer) is applied on load, the few targets t are further columns of the sum,
// and the epilogue moves W, m, v and, in the first column of tiles, the bias.
// M = L labels of this window, N = H, K = B samples, then targets. p runs along k, a along n.

struct Dims { first: u32, L: u32, H: u32, B: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> batch: array<u32>;
@group(0) @binding(3) var<storage, read> z: array<Z4>;
@group(0) @binding(4) var<storage, read> normalizer: array<vec4f>;
@group(0) @binding(5) var<storage, read> a: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> w: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> w_m: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> w_v: array<vec4f>;
@group(0) @binding(9) var<storage, read_write> bias: array<vec4f>;
//HALF @group(0) @binding(10) var<storage, read_write> w_half: array<Z4>;

const A_ALONG_K = true;
const B_ALONG_K = false;
const ROW_SUMS = true;
const A_SCALE = SOFTMAX_SCALE;

var<workgroup> strips: array<vec4f, A_BLOCKS>;

// Where the targets start along k, and which they are.
var<private> targets_at: u32;
var<private> first_target: u32;
var<private> end_target: u32;

fn p_row(m: u32, k: u32, shift: vec4f) -> vec4f {
    if m >= dims.L { return vec4f(); }
    return exp(vec4f(z[m * dims.B + k / 4u]) - shift);
}

fn target_column(m: u32, k: u32) -> vec4f {
    let p = first_target + k - targets_at;
    if p >= end_target { return vec4f(); }
    return -bitcast<f32>(batch[now.p_values + p]) * one_hot(m, batch[now.p_labels + p] - dims.first);
}

fn a_block(m: u32, k: u32) -> mat4x4f {
    if k >= targets_at {
        return mat4x4f(
            target_column(m, k), target_column(m, k + 1u), target_column(m, k + 2u), target_column(m, k + 3u));
    }
    let shift = normalizer[k / 4u];
    return transpose(
        mat4x4f(p_row(m, k, shift), p_row(m + 1u, k, shift), p_row(m + 2u, k, shift), p_row(m + 3u, k, shift)));
}

fn a_row(n: u32, k: u32) -> vec4f {
    var b = k;
    if k >= targets_at {
        let p = first_target + k - targets_at;
        if p >= end_target { return vec4f(); }
        b = batch[now.p_samples + p];
    }
    if n >= 4u * dims.H || b >= now.samples { return vec4f(); }
    return a[b * dims.H + n / 4u];
}

fn b_block(n: u32, k: u32) -> mat4x4f {
    return mat4x4f(a_row(n, k), a_row(n, k + 1u), a_row(n, k + 2u), a_row(n, k + 3u));
}

fn put(m: u32, n: u32, c: vec4f) {
    if m >= dims.L || n >= 4u * dims.H { return; }
    let at = m * dims.H + n / 4u;
    let next = adam(Adam(w[at], w_m[at], w_v[at]), now.scale * c);
    w[at] = next.w;
    w_m[at] = next.m;
    w_v[at] = next.v;
    //HALF w_half[at] = Z4(next.w);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let m0 = group.y * BM;
    first_target = batch[now.p_starts + (dims.first + m0) / 64u];
    end_target = batch[now.p_starts + (dims.first + min(m0 + BM, dims.L) + 63u) / 64u];
    targets_at = (now.samples + 3u) / 4u * 4u;
    run(t, m0, group.x * BN, 0u, targets_at + end_target - first_target);

    // The bias's gradient is the sum over k that the staging threads kept, strip by strip.
    if group.x == 0u {
        if t < A_BLOCKS { strips[t] = row_sums; }
        workgroupBarrier();
        if t < BM / 4u && m0 + 4u * t < dims.L {
            var g = vec4f();
            for (var j = 0u; j < BK / 4u; j++) { g += strips[t * (BK / 4u) + j]; }
            let at = 3u * (m0 / 4u + t);
            let next = adam(Adam(bias[at], bias[at + 1u], bias[at + 2u]), now.scale * g);
            bias[at] = next.w;
            bias[at + 1u] = next.m;
            bias[at + 2u] = next.v;
        }
    }
}
