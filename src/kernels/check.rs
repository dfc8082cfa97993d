//! What every kernel set asserts before it touches memory: linear scans over ids, small beside the rows they name.

use super::{AdamRows, Pairs};

/// Panics unless every id in `rows` names a whole row of `width` in a matrix of `len` values.
#[inline(always)]
pub(super) fn rows(rows: &[u32], width: usize, len: usize) {
    assert!(width > 0 && width.is_multiple_of(super::LANES), "width {width} is no multiple of {}", super::LANES);
    let largest = rows.iter().fold(0, |largest, &r| largest.max(r));
    assert!(rows.is_empty() || (largest as usize) < len / width, "row {largest} is beyond {} rows", len / width);
}

/// Panics unless every id in `columns` is below `len`.
#[inline(always)]
pub(super) fn columns(columns: &[u32], len: usize) {
    let largest = columns.iter().fold(0, |largest, &c| largest.max(c));
    assert!(columns.is_empty() || (largest as usize) < len, "column {largest} is beyond {len} columns");
    // Gathers read their indices as signed.
    assert!(len <= i32::MAX as usize);
}

/// Panics unless `pairs` is well formed, its rows lie in a matrix of `w` values, its columns in one of `x` values, and
/// its pairs in an array of `each`. Returns whether there is any row.
#[inline(always)]
pub(super) fn pairs(pairs: Pairs<'_>, width: usize, w: usize, x: usize, each: usize) -> bool {
    rows(pairs.rows, width, w);
    if pairs.rows.is_empty() {
        return false;
    }
    assert_eq!(pairs.starts.len(), pairs.rows.len() + 1, "one start a row and one more");
    let sorted = pairs.starts.windows(2).fold(true, |sorted, s| sorted & (s[0] <= s[1]));
    assert!(sorted, "starts decrease");
    let range = pairs.starts[0] as usize..pairs.starts[pairs.rows.len()] as usize;
    assert!(range.end <= each, "{} pairs, {each} values", range.end);
    columns(&pairs.columns[range], x / width);
    true
}

/// Panics unless w, m and v have one length; returns it.
#[inline(always)]
pub(super) fn state(state: &AdamRows<'_>) -> usize {
    lengths(state.w.len(), state.m.len(), state.v.len())
}

/// The same by the lengths.
#[inline(always)]
pub(super) fn lengths(w: usize, m: usize, v: usize) -> usize {
    assert!(m == w && v == w, "w, m and v differ in length");
    w
}
