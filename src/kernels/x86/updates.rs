//! Kernels that move rows by their gradients, which lie ready or are summed from pairs: one loop for every kind of state.

#![allow(unsafe_op_in_unsafe_fn)]

use super::rows::{Visit, ask_first, by_blocks, load_block, rows_ahead, with_next};
use super::storage::{Element, in_register};
use super::vector::Vector;
use crate::kernels::packed::further;
use crate::kernels::{Pairs, check, portable};
use crate::network::AdamStep;

#[inline(always)]
pub(super) unsafe fn row_adam<V: Vector, R: Rows>(
    state: R,
    width: usize,
    rows: &[u32],
    gradients: &[f32],
    step: AdamStep,
) {
    check::rows(rows, width, state.checked_len(width));
    assert_eq!(gradients.len(), rows.len() * width);
    let gradients = Listed { gradients: gradients.as_ptr(), width, form: R::form(step) };
    update::<V, R>(state, gradients, width, rows, step);
}

#[inline(always)]
pub(super) unsafe fn pair_update<V: Vector, R: Rows>(
    state: R,
    x: &[f32],
    dx: Option<&mut [f32]>,
    width: usize,
    pairs: Pairs<'_>,
    g: &[f32],
    step: AdamStep,
) {
    if !check::pairs(pairs, width, state.checked_len(width), x.len(), g.len()) {
        return;
    }
    let form = R::form(step);
    match dx {
        Some(dx) => {
            assert_eq!(dx.len(), x.len());
            let gradients = Paired::<true> { pairs, g, x: x.as_ptr(), dx: dx.as_mut_ptr(), width, form };
            update::<V, R>(state, gradients, width, pairs.rows, step);
        }
        None => {
            let gradients = Paired::<false> { pairs, g, x: x.as_ptr(), dx: std::ptr::null_mut(), width, form };
            update::<V, R>(state, gradients, width, pairs.rows, step);
        }
    }
}

/// Rows that vectors can move.
pub(super) trait Rows: portable::Rows<Weight: Element> {
    type Moves<V: Vector>: Moves<V, Self::Weight>;
    /// Bytes of a weight and of what is remembered of it alone.
    const BYTES: usize;

    /// How [`Moves`] take gradients.
    fn form(step: AdamStep) -> Form;
    unsafe fn moves<V: Vector>(self, width: usize, step: AdamStep) -> Self::Moves<V>;
}

/// How rows move: block by block, or each as a whole once its gradient is complete.
pub(super) trait Moves<V, W> {
    fn weights(&self, at: usize) -> *const W;
    /// Prefetches the `vector`-th vector of the row that starts at `row`.
    fn prefetch(&self, row: usize, vector: usize);
    /// Takes weights and gradient of the block from column `at` on, whose first lane is rounded with `noise`.
    unsafe fn block<const N: usize>(&mut self, visit: Visit, at: usize, w: [V; N], gradient: [V; N], noise: u32);
    /// Ends the row, whose first lane is rounded with `noise`.
    unsafe fn row(&mut self, visit: Visit, noise: u32);
    /// Moves a row that is a single block.
    #[inline(always)]
    unsafe fn whole<const N: usize>(&mut self, visit: Visit, w: [V; N], gradient: [V; N], noise: u32) {
        self.block(visit, 0, w, gradient, noise);
        self.row(visit, noise);
    }
}

/// Vectors of a row that is a single block: the common width of 128 with AVX-512.
const WHOLE: usize = 8;

/// A gradient g as `scale * g + shift`.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub scale: f32,
    pub shift: f32,
}

/// Moves the rows listed.
#[inline(always)]
unsafe fn update<V: Vector, R: Rows>(state: R, gradients: impl Gradients, width: usize, rows: &[u32], step: AdamStep) {
    let mut noise = state.seed();
    let mut moves = state.moves::<V>(width, step);
    let ahead = rows_ahead::<V>(width, R::BYTES);
    ask_first::<V>(rows, ahead, width, |at, vector| moves.prefetch(at, vector));
    if V::BLOCK == WHOLE && width == WHOLE * V::LANES {
        for visit in with_next(rows, ahead, WHOLE * V::LANES) {
            let w: [V; WHOLE] = load_block(moves.weights(visit.row));
            moves.whole(visit, w, gradients.block(visit.i, w, 0), noise);
            noise = further(noise, WHOLE * V::LANES);
        }
        return;
    }
    for visit in with_next(rows, ahead, width) {
        let Visit { i, row, .. } = visit;
        by_blocks!(V, width, |N, at| {
            let w: [V; N] = load_block(moves.weights(row + at));
            moves.block(visit, at, w, gradients.block(i, w, at), further(noise, at));
        });
        moves.row(visit, noise);
        noise = further(noise, width);
    }
}

/// Where the gradients of rows come from.
trait Gradients {
    /// The `i`-th row's, in the block of vectors from column `at` on, whose weights are `w`.
    unsafe fn block<V: Vector, const N: usize>(&self, i: usize, w: [V; N], at: usize) -> [V; N];
}

/// They lie ready, row after row.
struct Listed {
    gradients: *const f32,
    width: usize,
    form: Form,
}

impl Gradients for Listed {
    #[inline(always)]
    unsafe fn block<V: Vector, const N: usize>(&self, i: usize, _w: [V; N], at: usize) -> [V; N] {
        let mut gradient: [V; N] = load_block(self.gradients.add(i * self.width + at));
        for g in &mut gradient {
            *g = V::splat(self.form.scale).mul_add(*g, V::splat(self.form.shift));
        }
        gradient
    }
}

/// They are sums over the row's pairs, whose products with the weights go to `dx` if `DX`.
struct Paired<'a, const DX: bool> {
    pairs: Pairs<'a>,
    g: &'a [f32],
    x: *const f32,
    dx: *mut f32,
    width: usize,
    form: Form,
}

impl<const DX: bool> Gradients for Paired<'_, DX> {
    /// The gradient stays in registers while the columns pass, as the weights do: these and the moments are read once and
    /// written once.
    #[inline(always)]
    unsafe fn block<V: Vector, const N: usize>(&self, i: usize, w: [V; N], at: usize) -> [V; N] {
        let mut gradient = [V::splat(self.form.shift); N];
        let Pairs { starts, columns, .. } = self.pairs;
        // Unchecked, as `check::pairs` has been through all of them.
        for p in *starts.get_unchecked(i) as usize..*starts.get_unchecked(i + 1) as usize {
            let (column, g) = (*columns.get_unchecked(p), *self.g.get_unchecked(p));
            let (offset, g) = (column as usize * self.width + at, V::splat(g));
            let (x, scaled) = (in_register(self.x.add(offset).cast_mut()), g.mul(V::splat(self.form.scale)));
            for (j, gradient) in gradient.iter_mut().enumerate() {
                *gradient = scaled.mul_add(V::load(x.add(j * V::LANES)), *gradient);
            }
            if DX {
                let dx = in_register(self.dx.add(offset));
                for (j, w) in w.iter().enumerate() {
                    let dx = dx.add(j * V::LANES);
                    g.mul_add(*w, V::load(dx)).store(dx);
                }
            }
        }
        gradient
    }
}
