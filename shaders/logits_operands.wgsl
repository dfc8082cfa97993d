// Put before logits.wgsl and logits_half.wgsl: z[l, b] = bias[l] + sum over h of W[l, h] * a[b, h], stored label by
// label, so that a window of W's rows is a window of z's rows.
// M = L labels of this window, N = B samples, K = H inputs. Both operands run along k.

struct Dims { first: u32, L: u32, H: u32, B: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> w: array<Z4>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read> a: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> z: array<Z4>;

const A_ALONG_K = true;
const B_ALONG_K = true;
const ROW_SUMS = false;
const A_SCALE = 1.0;

fn w_row(m: u32, k: u32) -> vec4f {
    if m >= dims.L || k >= 4u * dims.H { return vec4f(); }
    return vec4f(w[m * dims.H + k / 4u]);
}

fn a_block(m: u32, k: u32) -> mat4x4f {
    return transpose(mat4x4f(w_row(m, k), w_row(m + 1u, k), w_row(m + 2u, k), w_row(m + 3u, k)));
}

fn a_row(n: u32, k: u32) -> vec4f {
    if n >= now.samples || k >= 4u * dims.H { return vec4f(); }
    return a[n * dims.H + k / 4u];
}

fn b_block(n: u32, k: u32) -> mat4x4f {
    return transpose(mat4x4f(a_row(n, k), a_row(n + 1u, k), a_row(n + 2u, k), a_row(n + 3u, k)));
}
