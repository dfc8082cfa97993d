// A dense layer's gradient and Adam in one: dW[r, c] = sum over b of left[b, r] * right[b, c] stays in registers.
// Hidden layers: left = dz, right = the layer's inputs. Input layer with dense input: left = x, right = dz.
// M = R rows of this window, N = C columns, K = B samples. Both operands run along their rows.

struct Dims { first: u32, R: u32, C: u32, left_width: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> left: array<vec4f>;
@group(0) @binding(3) var<storage, read> right: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> w: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> w_m: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> w_v: array<vec4f>;

const A_ALONG_K = false;
const B_ALONG_K = false;
const ROW_SUMS = false;
const A_SCALE = 1.0;

fn left_row(m: u32, k: u32) -> vec4f {
    if m >= dims.R || k >= now.samples { return vec4f(); }
    return left[k * dims.left_width + (dims.first + m) / 4u];
}

fn a_block(m: u32, k: u32) -> mat4x4f {
    return mat4x4f(left_row(m, k), left_row(m, k + 1u), left_row(m, k + 2u), left_row(m, k + 3u));
}

fn right_row(n: u32, k: u32) -> vec4f {
    if n >= 4u * dims.C || k >= now.samples { return vec4f(); }
    return right[k * dims.C + n / 4u];
}

fn b_block(n: u32, k: u32) -> mat4x4f {
    return mat4x4f(right_row(n, k), right_row(n, k + 1u), right_row(n, k + 2u), right_row(n, k + 3u));
}

fn put(m: u32, n: u32, c: vec4f) {
    if m >= dims.R || n >= 4u * dims.C { return; }
    let at = m * dims.C + n / 4u;
    let next = adam(Adam(w[at], w_m[at], w_v[at]), c);
    w[at] = next.w;
    w_m[at] = next.m;
    w_v[at] = next.v;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    run(t, group.x * BM, group.y * BN, 0u, now.samples);
}
