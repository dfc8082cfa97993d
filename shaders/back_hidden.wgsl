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
const A_SCALE = 1.0;

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

fn put(m: u32, n: u32, c: vec4f) {
    if m >= 4u * dims.B || n >= 4u * dims.I { return; }
    partials[(dims.split * 4u * dims.B + m) * dims.I + n / 4u] = c;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    run(t, group.x * BM, group.y * BN, 0u, dims.O);
}
