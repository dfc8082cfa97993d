// Output layer's gradient and Adam in one: dW[l, h] = scale * sum over b of (p[l, b] - t[l, b]) * a[b, h] stays in
// registers; softmax is applied on load, the few targets are taken off as extra columns, and the epilogue moves
// W, m, v and, in the first column of tiles, the bias.
// M = L labels of this window, N = H, K = B samples. p runs along k, a along n.

struct Dims { first: u32, L: u32, H: u32, B: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> batch: array<u32>;
@group(0) @binding(3) var<storage, read> z: array<vec4f>;
@group(0) @binding(4) var<storage, read> normalizer: array<vec4f>;
@group(0) @binding(5) var<storage, read> a: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> w: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> w_m: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> w_v: array<vec4f>;
@group(0) @binding(9) var<storage, read_write> bias: array<vec4f>;

const A_ALONG_K = true;
const B_ALONG_K = false;
const ROW_SUMS = true;

var<workgroup> strips: array<vec4f, A_BLOCKS>;

fn p_row(m: u32, k: u32, shift: vec4f) -> vec4f {
    if m >= dims.L { return vec4f(); }
    return exp(z[m * dims.B + k / 4u] - shift);
}

fn a_block(m: u32, k: u32) -> mat4x4f {
    if k >= 4u * dims.B { return mat4x4f(); }
    let shift = normalizer[k / 4u];
    return transpose(
        mat4x4f(p_row(m, k, shift), p_row(m + 1u, k, shift), p_row(m + 2u, k, shift), p_row(m + 3u, k, shift)));
}

fn a_row(n: u32, k: u32) -> vec4f {
    if n >= 4u * dims.H || k >= now.samples { return vec4f(); }
    return a[k * dims.H + n / 4u];
}

fn b_block(n: u32, k: u32) -> mat4x4f {
    return mat4x4f(a_row(n, k), a_row(n, k + 1u), a_row(n, k + 2u), a_row(n, k + 3u));
}

fn put(c: mat4x4f, m: u32, n: u32) {
    if n >= 4u * dims.H { return; }
    for (var r = 0u; r < 4u; r++) {
        if m + r < dims.L {
            let at = (m + r) * dims.H + n / 4u;
            let next = adam(Adam(w[at], w_m[at], w_v[at]), now.scale * c[r]);
            w[at] = next.w;
            w_m[at] = next.m;
            w_v[at] = next.v;
        }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let m0 = group.y * BM;
    var c = multiply(t, m0, group.x * BN, 0u, now.samples);
    let m = m0 + 4u * (t / 16u);
    let n = group.x * BN + 4u * (t % 16u);

    let first_pair = batch[now.p_starts + (dims.first + m0) / 64u];
    let last_pair = batch[now.p_starts + (dims.first + min(m0 + BM, dims.L) + 63u) / 64u];
    for (var p = first_pair; p < last_pair; p++) {
        let l = batch[now.p_labels + p] - dims.first;
        let b = batch[now.p_samples + p];
        let share = bitcast<f32>(batch[now.p_values + p]);
        c = add_outer(c, -share * one_hot(m, l), -share * one_hot(m + 64u, l), a_row(n, b), a_row(n + 64u, b));
    }
    put(c.c00, m, n);
    if RN == 2u { put(c.c01, m, n + 64u); }
    if RM == 2u { put(c.c10, m + 64u, n); }
    if RM == 2u && RN == 2u { put(c.c11, m + 64u, n + 64u); }

    if group.x == 0u {
        if t < A_BLOCKS { strips[t] = row_sums; }
        workgroupBarrier();
        let row = m0 + 4u * t;
        if t < BM / 4u && row < dims.L {
            var g = vec4f();
            for (var j = 0u; j < BK / 4u; j++) { g += strips[t * (BK / 4u) + j]; }
            for (var p = first_pair; p < last_pair; p++) {
                g -= bitcast<f32>(batch[now.p_values + p]) * one_hot(row, batch[now.p_labels + p] - dims.first);
            }
            let at = 3u * (row / 4u);
            let next = adam(Adam(bias[at], bias[at + 1u], bias[at + 2u]), now.scale * g);
            bias[at] = next.w;
            bias[at + 1u] = next.m;
            bias[at + 2u] = next.v;
        }
    }
}
