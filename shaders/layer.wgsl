// A dense layer with ReLU: out[b, o] = max(0, bias[o] + sum over i of a[b, i] * W[o, i]).
// M = B samples, N = O neurons of this window, K = I inputs. Both operands run along k.

struct Dims { first: u32, O: u32, I: u32, out_width: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> a: array<vec4f>;
@group(0) @binding(3) var<storage, read> w: array<vec4f>;
@group(0) @binding(4) var<storage, read> bias: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;

const A_ALONG_K = true;
const B_ALONG_K = true;
const ROW_SUMS = false;
const A_SCALE = 1.0;

fn a_row(m: u32, k: u32) -> vec4f {
    if m >= now.samples || k >= 4u * dims.I { return vec4f(); }
    return a[m * dims.I + k / 4u];
}

fn a_block(m: u32, k: u32) -> mat4x4f {
    return transpose(mat4x4f(a_row(m, k), a_row(m + 1u, k), a_row(m + 2u, k), a_row(m + 3u, k)));
}

fn w_row(n: u32, k: u32) -> vec4f {
    if n >= dims.O || k >= 4u * dims.I { return vec4f(); }
    return w[n * dims.I + k / 4u];
}

fn b_block(n: u32, k: u32) -> mat4x4f {
    return transpose(mat4x4f(w_row(n, k), w_row(n + 1u, k), w_row(n + 2u, k), w_row(n + 3u, k)));
}

fn put(m: u32, n: u32, c: vec4f) {
    if m >= now.samples || n >= dims.O { return; }
    out[m * dims.out_width + (dims.first + n) / 4u] = max(c + bias[3u * (n / 4u)], vec4f(0.0));
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    run(t, group.x * BM, group.y * BN, 0u, 4u * dims.I);
}
