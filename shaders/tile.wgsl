// Put before every matrix-product kernel: C = A B for one BM x BN tile, by 256 threads.
//
// The kernel supplies a_block(m, k) and b_block(n, k): 4x4 blocks whose column j is A[m..m+4, k+j] or B[k+j, n..n+4],
// zero outside the matrix; A_ALONG_K / B_ALONG_K: whether memory runs along k; put(m, n, c): what becomes of
// C[m, n..n+4]. RM, RN and BK come from the tile configuration. tile_matrix.wgsl is the twin on matrix units.
//
// A thread owns RM x RN blocks of 4x4 outputs, 64 apart, so that its shared loads never conflict; it
// prefetches one block of the next k-slab into registers while the current slab is multiplied.

const BM: u32 = 64u * RM;
const BN: u32 = 64u * RN;
const A_BLOCKS: u32 = BM / 4u * BK / 4u;
const B_BLOCKS: u32 = BN / 4u * BK / 4u;
// One vec4 of padding a row spreads transposed stores over the banks.
const A_ROW: u32 = BM / 4u + 1u;
const B_ROW: u32 = BN / 4u + 1u;

var<workgroup> tile_a: array<vec4f, BK * A_ROW>;
var<workgroup> tile_b: array<vec4f, BK * B_ROW>;
// For this thread's staged 4-row strip of A: sums over k (kept where ROW_SUMS is set).
var<private> row_sums: vec4f;

// Blocks (i, j): rows 64 i + 4 (t / 16).., columns 64 j + 4 (t % 16)..; column r of a matrix is output row r.
struct Sums { c00: mat4x4f, c01: mat4x4f, c10: mat4x4f, c11: mat4x4f }

fn outer(c: mat4x4f, a: vec4f, b: vec4f) -> mat4x4f {
    return mat4x4f(
        fma(vec4f(a.x), b, c[0]), fma(vec4f(a.y), b, c[1]), fma(vec4f(a.z), b, c[2]), fma(vec4f(a.w), b, c[3]));
}

fn add_outer(c: Sums, a0: vec4f, a1: vec4f, b0: vec4f, b1: vec4f) -> Sums {
    var s = c;
    s.c00 = outer(c.c00, a0, b0);
    if RN == 2u { s.c01 = outer(c.c01, a0, b1); }
    if RM == 2u { s.c10 = outer(c.c10, a1, b0); }
    if RM == 2u && RN == 2u { s.c11 = outer(c.c11, a1, b1); }
    return s;
}

// Position (strip, k) of the block that thread u stages, in units of 4: along memory, so that loads coalesce.
fn place(u: u32, strips: u32, along_k: bool) -> vec2u {
    if along_k { return vec2u(u / (BK / 4u), u % (BK / 4u)); }
    return vec2u(u % strips, u / strips);
}

fn fetch(t: u32, m0: u32, n0: u32, k: u32) -> mat4x4f {
    if t < A_BLOCKS {
        let at = place(t, BM / 4u, A_ALONG_K);
        return a_block(m0 + 4u * at.x, k + 4u * at.y);
    }
    if t < A_BLOCKS + B_BLOCKS {
        let at = place(t - A_BLOCKS, BN / 4u, B_ALONG_K);
        return b_block(n0 + 4u * at.x, k + 4u * at.y);
    }
    return mat4x4f();
}

fn stage(t: u32, block: mat4x4f) {
    if t < A_BLOCKS {
        let at = place(t, BM / 4u, A_ALONG_K);
        let to = 4u * at.y * A_ROW + at.x;
        tile_a[to] = block[0];
        tile_a[to + A_ROW] = block[1];
        tile_a[to + 2u * A_ROW] = block[2];
        tile_a[to + 3u * A_ROW] = block[3];
        if ROW_SUMS { row_sums += block[0] + block[1] + block[2] + block[3]; }
    } else if t < A_BLOCKS + B_BLOCKS {
        let at = place(t - A_BLOCKS, BN / 4u, B_ALONG_K);
        let to = 4u * at.y * B_ROW + at.x;
        tile_b[to] = block[0];
        tile_b[to + B_ROW] = block[1];
        tile_b[to + 2u * B_ROW] = block[2];
        tile_b[to + 3u * B_ROW] = block[3];
    }
}

// The tile at (m0, n0), summed over k from `first` to `end`.
fn multiply(t: u32, m0: u32, n0: u32, first: u32, end: u32) -> Sums {
    let row = t / 16u;
    let column = t % 16u;
    var c = Sums();
    var next = fetch(t, m0, n0, first);
    for (var k = first; k < end; k += BK) {
        workgroupBarrier();
        stage(t, next);
        workgroupBarrier();
        if k + BK < end { next = fetch(t, m0, n0, k + BK); }
        for (var j = 0u; j < BK; j++) {
            let a = j * A_ROW + row;
            let b = j * B_ROW + column;
            // With one block a thread the second operand repeats the first and is not used.
            c = add_outer(c, tile_a[a], tile_a[a + 16u * (RM - 1u)], tile_b[b], tile_b[b + 16u * (RN - 1u)]);
        }
    }
    return c;
}

fn put_block(m: u32, n: u32, c: mat4x4f) {
    put(m, n, c[0]);
    put(m + 1u, n, c[1]);
    put(m + 2u, n, c[2]);
    put(m + 3u, n, c[3]);
}

// The tile at (m0, n0), summed over k from `first` to `end` and handed to `put` row by row.
fn run(t: u32, m0: u32, n0: u32, first: u32, end: u32) {
    let c = multiply(t, m0, n0, first, end);
    let m = m0 + 4u * (t / 16u);
    let n = n0 + 4u * (t % 16u);
    put_block(m, n, c.c00);
    if RN == 2u { put_block(m, n + 64u, c.c01); }
    if RM == 2u { put_block(m + 64u, n, c.c10); }
    if RM == 2u && RN == 2u { put_block(m + 64u, n + 64u, c.c11); }
}
