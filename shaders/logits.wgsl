// Output layer: z[l, b] = bias[l] + sum over h of W[l, h] * a[b, h], stored label by label, so that a window of W's
// rows is a window of z's rows. The epilogue leaves, for every tile and sample, the largest logit and the sum of
// exp(z - largest): softmax needs no pass over z of its own.
// M = L labels of this window, N = B samples, K = H inputs. Both operands run along k.

struct Dims { first: u32, L: u32, H: u32, B: u32 }

@group(0) @binding(1) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> w: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read> a: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> z: array<vec4f>;
// For each tile of BM labels: B/4 vectors of maxima, then B/4 of sums.
@group(0) @binding(6) var<storage, read_write> partials: array<vec4f>;

const A_ALONG_K = true;
const B_ALONG_K = true;
const ROW_SUMS = false;

var<workgroup> columns: array<vec4f, 4u * BN>;

fn w_row(m: u32, k: u32) -> vec4f {
    if m >= dims.L || k >= 4u * dims.H { return vec4f(); }
    return w[m * dims.H + k / 4u];
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

// Adds the bias and stores; rows past the last label come back as if they could never win.
fn put(c: mat4x4f, m: u32, n: u32) -> mat4x4f {
    if m >= dims.L { return mat4x4f(vec4f(NEGLIGIBLE), vec4f(NEGLIGIBLE), vec4f(NEGLIGIBLE), vec4f(NEGLIGIBLE)); }
    var out = c;
    let offsets = bias[3u * (m / 4u)];
    for (var r = 0u; r < 4u; r++) {
        if m + r < dims.L {
            out[r] = c[r] + vec4f(offsets[r]);
            if n < 4u * dims.B { z[(m + r) * dims.B + n / 4u] = out[r]; }
        } else {
            out[r] = vec4f(NEGLIGIBLE);
        }
    }
    return out;
}

fn largest(c: mat4x4f) -> vec4f {
    return max(max(c[0], c[1]), max(c[2], c[3]));
}

fn exp_sum(c: mat4x4f, shift: vec4f) -> vec4f {
    return exp(c[0] - shift) + exp(c[1] - shift) + exp(c[2] - shift) + exp(c[3] - shift);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let row = t / 16u;
    let column = t % 16u;
    var c = multiply(t, group.y * BM, group.x * BN, 0u, 4u * dims.H);
    let m = group.y * BM + 4u * row;
    let n = group.x * BN + 4u * column;
    c.c00 = put(c.c00, m, n);
    var high0 = largest(c.c00);
    var high1 = vec4f(NEGLIGIBLE);
    if RN == 2u {
        c.c01 = put(c.c01, m, n + 64u);
        high1 = largest(c.c01);
    }
    if RM == 2u {
        c.c10 = put(c.c10, m + 64u, n);
        high0 = max(high0, largest(c.c10));
    }
    if RM == 2u && RN == 2u {
        c.c11 = put(c.c11, m + 64u, n + 64u);
        high1 = max(high1, largest(c.c11));
    }

    // Column maxima over the 16 rows of threads, then column sums: columns[row][vector].
    let at = row * (BN / 4u) + column;
    columns[at] = high0;
    if RN == 2u { columns[at + 16u] = high1; }
    workgroupBarrier();
    for (var r = 0u; r < 16u; r++) {
        high0 = max(high0, columns[r * (BN / 4u) + column]);
        if RN == 2u { high1 = max(high1, columns[r * (BN / 4u) + column + 16u]); }
    }
    workgroupBarrier();
    var sum0 = exp_sum(c.c00, high0);
    var sum1 = vec4f();
    if RN == 2u { sum1 = exp_sum(c.c01, high1); }
    if RM == 2u { sum0 += exp_sum(c.c10, high0); }
    if RM == 2u && RN == 2u { sum1 += exp_sum(c.c11, high1); }
    columns[at] = sum0;
    if RN == 2u { columns[at + 16u] = sum1; }
    workgroupBarrier();
    if row < RN {
        var sum = vec4f();
        for (var r = 0u; r < 16u; r++) { sum += columns[r * (BN / 4u) + column + 16u * row]; }
        let vector = group.x * (BN / 4u) + column + 16u * row;
        if vector < dims.B {
            let to = (dims.first / BM + group.y) * 2u * dims.B + vector;
            partials[to] = select(high0, high1, row == 1u);
            partials[to + dims.B] = sum;
        }
    }
}
