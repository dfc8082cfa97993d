// The twin of tile.wgsl on matrix units, with the same contract: 128x128 tiles by 256 threads, which are 8 subgroups
// of 32. Operands are rounded to f16 on their way into workgroup memory, sums are f32. A subgroup owns 32 x 64 outputs
// as 2 x 4 fragments of 16x16. A_SCALE lifts what f16 would flush to zero, and is divided out at the end.

const BM: u32 = 128u;
const BN: u32 = 128u;
const BK: u32 = 32u;
const A_BLOCKS: u32 = 256u;
// In vec4s; the padding spreads rows over the banks.
const ROW: u32 = 34u;

alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Fragment = coop_mat16x16<f32, C>;

// Element (m, k) of A and (k, n) of B, rows along k.
var<workgroup> tile_a: array<vec4<f16>, BK * ROW>;
var<workgroup> tile_b: array<vec4<f16>, BK * ROW>;
// One fragment a subgroup, on its way to `put`.
var<workgroup> fragments: array<vec4f, 8u * 64u>;
// For this thread's staged 4-row strip of A: sums over k (kept where ROW_SUMS is set).
var<private> row_sums: vec4f;

// Position (strip, k) of the block that thread t stages, in units of 4: along memory, so that loads coalesce.
fn place(t: u32, along_k: bool) -> vec2u {
    if along_k { return vec2u(t / (BK / 4u), t % (BK / 4u)); }
    return vec2u(t % 32u, t / 32u);
}

fn stage_a(t: u32, block: mat4x4f) {
    let at = place(t, A_ALONG_K);
    let to = 4u * at.y * ROW + at.x;
    tile_a[to] = vec4<f16>(A_SCALE * block[0]);
    tile_a[to + ROW] = vec4<f16>(A_SCALE * block[1]);
    tile_a[to + 2u * ROW] = vec4<f16>(A_SCALE * block[2]);
    tile_a[to + 3u * ROW] = vec4<f16>(A_SCALE * block[3]);
    if ROW_SUMS { row_sums += block[0] + block[1] + block[2] + block[3]; }
}

fn stage_b(t: u32, block: mat4x4f) {
    let at = place(t, B_ALONG_K);
    let to = 4u * at.y * ROW + at.x;
    tile_b[to] = vec4<f16>(block[0]);
    tile_b[to + ROW] = vec4<f16>(block[1]);
    tile_b[to + 2u * ROW] = vec4<f16>(block[2]);
    tile_b[to + 3u * ROW] = vec4<f16>(block[3]);
}

// Hands one fragment of every subgroup to `put`: rows m.., columns n.. of this thread's subgroup.
fn put_fragment(t: u32, m: u32, n: u32) {
    workgroupBarrier();
    let lane = t % 32u;
    let at = t / 32u * 64u + 2u * lane;
    let row = m + lane / 2u;
    let column = n + 8u * (lane % 2u);
    put(row, column, fragments[at] / A_SCALE);
    put(row, column + 4u, fragments[at + 1u] / A_SCALE);
    workgroupBarrier();
}

// The tile at (m0, n0), summed over k from `first` to `end` and handed to `put` row by row.
fn run(t: u32, m0: u32, n0: u32, first: u32, end: u32) {
    // Position of this thread's subgroup in the tile.
    let row = 32u * (t / 64u);
    let column = 64u * (t / 32u % 2u);
    let a_at = place(t, A_ALONG_K);
    let b_at = place(t, B_ALONG_K);
    var c00: Fragment;
    var c01: Fragment;
    var c02: Fragment;
    var c03: Fragment;
    var c10: Fragment;
    var c11: Fragment;
    var c12: Fragment;
    var c13: Fragment;
    let stride = ROW;
    var next_a = a_block(m0 + 4u * a_at.x, first + 4u * a_at.y);
    var next_b = b_block(n0 + 4u * b_at.x, first + 4u * b_at.y);
    for (var k = first; k < end; k += BK) {
        workgroupBarrier();
        stage_a(t, next_a);
        stage_b(t, next_b);
        workgroupBarrier();
        if k + BK < end {
            next_a = a_block(m0 + 4u * a_at.x, k + BK + 4u * a_at.y);
            next_b = b_block(n0 + 4u * b_at.x, k + BK + 4u * b_at.y);
        }
        for (var j = 0u; j < BK; j += 16u) {
            let a = j * ROW + row / 4u;
            let b = j * ROW + column / 4u;
            let a0 = coopLoad<Left>(&tile_a[a], stride);
            let a1 = coopLoad<Left>(&tile_a[a + 4u], stride);
            let b0 = coopLoadT<Right>(&tile_b[b], stride);
            let b1 = coopLoadT<Right>(&tile_b[b + 4u], stride);
            let b2 = coopLoadT<Right>(&tile_b[b + 8u], stride);
            let b3 = coopLoadT<Right>(&tile_b[b + 12u], stride);
            c00 = coopMultiplyAdd(a0, b0, c00);
            c01 = coopMultiplyAdd(a0, b1, c01);
            c02 = coopMultiplyAdd(a0, b2, c02);
            c03 = coopMultiplyAdd(a0, b3, c03);
            c10 = coopMultiplyAdd(a1, b0, c10);
            c11 = coopMultiplyAdd(a1, b1, c11);
            c12 = coopMultiplyAdd(a1, b2, c12);
            c13 = coopMultiplyAdd(a1, b3, c13);
        }
    }
    let here = t / 32u * 64u;
    let four = 4u;
    let m = m0 + row;
    let n = n0 + column;
    coopStoreT(c00, &fragments[here], four);
    put_fragment(t, m, n);
    coopStoreT(c01, &fragments[here], four);
    put_fragment(t, m, n + 16u);
    coopStoreT(c02, &fragments[here], four);
    put_fragment(t, m, n + 32u);
    coopStoreT(c03, &fragments[here], four);
    put_fragment(t, m, n + 48u);
    coopStoreT(c10, &fragments[here], four);
    put_fragment(t, m + 16u, n);
    coopStoreT(c11, &fragments[here], four);
    put_fragment(t, m + 16u, n + 16u);
    coopStoreT(c12, &fragments[here], four);
    put_fragment(t, m + 16u, n + 32u);
    coopStoreT(c13, &fragments[here], four);
    put_fragment(t, m + 16u, n + 48u);
}
