// Gradient of a hidden layer's inputs: partials[split, b, i] = sum over the window's neurons o of dz[b, o] * W[o, i].
// M = B samples, N = I inputs, K = O neurons of this window; dz runs along k, W along n. One split a window.

struct Dims { first: u32, O: u32, I: u32, B: u32, dz_width: u32, split: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> dz: array<vec4f>;
@group(0) @binding(3) var<storage, read> w: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> partials: array<vec4f>;

const A_ALONG_K = true;
const B_ALONG_K = false;
const ROW_SUMS = false;

fn dz_row(m: u32, k: u32) -> vec4f {
    if m >= now.samples || k >= dims.O { return vec4f(); }
    return dz[m * dims.dz_width + (dims.first + k) / 4u];
}

fn a_block(m: u32, k: u32) -> mat4x4f {
    return transpose(mat4x4f(dz_row(m, k), dz_row(m + 1u, k), dz_row(m + 2u, k), dz_row(m + 3u, k)));
}

fn w_row(n: u32, k: u32) -> vec4f {
    if n >= 4u * dims.I || k >= dims.O { return vec4f(); }
    return w[k * dims.I + n / 4u];
}

fn b_block(n: u32, k: u32) -> mat4x4f {
    return mat4x4f(w_row(n, k), w_row(n, k + 1u), w_row(n, k + 2u), w_row(n, k + 3u));
}

fn put(c: mat4x4f, m: u32, n: u32) {
    if m >= 4u * dims.B || n >= 4u * dims.I { return; }
    let to = (dims.split * 4u * dims.B + m) * dims.I + n / 4u;
    partials[to] = c[0];
    partials[to + dims.I] = c[1];
    partials[to + 2u * dims.I] = c[2];
    partials[to + 3u * dims.I] = c[3];
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let c = multiply(t, group.x * BM, group.y * BN, 0u, dims.O);
    let m = group.x * BM + 4u * (t / 16u);
    let n = group.y * BN + 4u * (t % 16u);
    put(c.c00, m, n);
    if RN == 2u { put(c.c01, m, n + 64u); }
    if RM == 2u { put(c.c10, m + 64u, n); }
    if RM == 2u && RN == 2u { put(c.c11, m + 64u, n + 64u); }
}
