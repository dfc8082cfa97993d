// Output layer in f32 (operands in logits_operands.wgsl). The epilogue leaves, for every tile and sample, the largest
// logit and the sum of exp(z - largest): softmax needs no pass over z of its own.

// For each tile of BM labels: B/4 vectors of maxima, then B/4 of sums.
@group(0) @binding(6) var<storage, read_write> partials: array<vec4f>;

var<workgroup> columns: array<vec4f, 4u * BN>;

// Adds the bias; rows past the last label become such that they can never win.
fn biased(c: mat4x4f, m: u32) -> mat4x4f {
    let never = vec4f(NEGLIGIBLE);
    if m >= dims.L { return mat4x4f(never, never, never, never); }
    let offset = bias[3u * (m / 4u)];
    return mat4x4f(
        c[0] + vec4f(offset.x),
        select(never, c[1] + vec4f(offset.y), m + 1u < dims.L),
        select(never, c[2] + vec4f(offset.z), m + 2u < dims.L),
        select(never, c[3] + vec4f(offset.w), m + 3u < dims.L));
}

fn put(m: u32, n: u32, c: vec4f) {
    if m < dims.L && n < 4u * dims.B { z[m * dims.B + n / 4u] = c; }
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
    c.c00 = biased(c.c00, m);
    put_block(m, n, c.c00);
    var high0 = largest(c.c00);
    var high1 = vec4f(NEGLIGIBLE);
    if RN == 2u {
        c.c01 = biased(c.c01, m);
        put_block(m, n + 64u, c.c01);
        high1 = largest(c.c01);
    }
    if RM == 2u {
        c.c10 = biased(c.c10, m + 64u);
        put_block(m + 64u, n, c.c10);
        high0 = max(high0, largest(c.c10));
    }
    if RM == 2u && RN == 2u {
        c.c11 = biased(c.c11, m + 64u);
        put_block(m + 64u, n + 64u, c.c11);
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
