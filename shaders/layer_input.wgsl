// Input layer, dense input: out[b, h] = max(0, bias[h] + sum over i of x[b, i] * W[i, h]).
// M = B samples, N = H neurons, K = I inputs of this window; the first window starts from the bias and the last
// applies ReLU.

struct Dims { first: u32, I: u32, H: u32, x_width: u32, begins: u32, ends: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read> w: array<vec4f>;
@group(0) @binding(4) var<storage, read> bias: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;

const A_ALONG_K = true;
const B_ALONG_K = false;
const ROW_SUMS = false;
const A_SCALE = 1.0;

fn x_row(m: u32, k: u32) -> vec4f {
    if m >= now.samples || k >= dims.I { return vec4f(); }
    return x[m * dims.x_width + (dims.first + k) / 4u];
}

fn a_block(m: u32, k: u32) -> mat4x4f {
    return transpose(mat4x4f(x_row(m, k), x_row(m + 1u, k), x_row(m + 2u, k), x_row(m + 3u, k)));
}

fn w_row(n: u32, k: u32) -> vec4f {
    if n >= 4u * dims.H || k >= dims.I { return vec4f(); }
    return w[k * dims.H + n / 4u];
}

fn b_block(n: u32, k: u32) -> mat4x4f {
    return mat4x4f(w_row(n, k), w_row(n, k + 1u), w_row(n, k + 2u), w_row(n, k + 3u));
}

fn put(m: u32, n: u32, c: vec4f) {
    if m >= now.samples || n >= 4u * dims.H { return; }
    let at = m * dims.H + n / 4u;
    var z = c;
    if dims.begins == 1u { z += bias[3u * (n / 4u)]; } else { z += out[at]; }
    if dims.ends == 1u { z = max(z, vec4f(0.0)); }
    out[at] = z;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    run(t, group.x * BM, group.y * BN, 0u, dims.I);
}
