//! Kernels over lists of rows, chosen once at start.
//!
//! Every row matrix here is row-major f32 (or bf16, [`weights`]) with `width` columns, `width` a multiple of [`LANES`]
//! (zero-padded) unless a kernel says otherwise. A kernel takes the whole list of rows, so that the loop and its
//! prefetches lie inside one `target_feature` function. [`portable`] is the reference that the vector versions are
//! tested against.

pub mod bf16;
mod check;
mod dispatch;
pub mod gemm;
pub mod memory;
pub mod packed;
pub mod portable;
pub mod roofline;
pub mod row_wise;
pub mod softmax;
pub mod thin;
pub mod weights;
#[cfg(target_arch = "x86_64")]
mod x86;

use self::dispatch::dispatched;
use crate::network::AdamStep;
use std::cell::Cell;
use std::ops::Range;
use std::sync::OnceLock;

/// Row widths are padded to a multiple of this many f32 (64 bytes).
pub const LANES: usize = 16;

// CPUs work on subnormal numbers (below 2⁻¹²⁶) 15 to 60 times slower, and training makes them: a probability of 1e-30
// times an activation, or a moment that gets no gradient and decays. Probabilities are set to zero by a test of exponent
// bits; moments are kept from there by sums, which cost an instruction or none. What is lost is nothing next to Adam's
// ε = 1e-8.

/// Exponent bits of which the gradient of a logit must have one: magnitudes below 2⁻⁶³ count as 0.
const GRADIENT: u32 = 0x6000_0000;
/// Exponent bits of which a normal number has one.
const NORMAL: u32 = 0x7f80_0000;
/// What Adam adds to (1 − β1)·g, and takes away again from the first moment, which becomes a multiple of 2⁻⁸⁰; what was zero
/// stays zero. Its square stays in the second moment and holds that above the subnormal numbers where no gradient comes;
/// it changes no bit of √v + ε.
const SHIFT: f32 = f32::from_bits((127 - 56) << 23);
/// The least that a second moment of a row falls to.
const FLOOR: f32 = f32::from_bits((127 - 120) << 23);

/// `width` rounded up to a multiple of [`LANES`].
pub const fn padded(width: usize) -> usize {
    width.next_multiple_of(LANES)
}

/// A sparse set of (row, column) pairs, grouped by row: row `rows[r]` meets the columns
/// `columns[starts[r]..starts[r+1]]`. Rows are distinct. For the output layer a row is a neuron and a column a sample
/// of the batch; for the input layer a row is a feature and a column a sample.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    pub rows: &'a [u32],
    /// One entry more than `rows`; offsets into `columns` and into every array "a pair".
    pub starts: &'a [u32],
    pub columns: &'a [u32],
}

impl<'a> Pairs<'a> {
    /// Each row with the range of its pairs.
    pub fn by_row(self) -> impl Iterator<Item = (u32, Range<usize>)> + 'a {
        (0..).map_while(move |i| Some((*self.rows.get(i)?, self.range(i))))
    }

    /// Pairs of the `i`-th row.
    #[inline(always)]
    fn range(self, i: usize) -> Range<usize> {
        self.starts[i] as usize..self.starts[i + 1] as usize
    }
}

/// The state of a weight matrix under Adam: three row matrices of one shape.
#[derive(Debug)]
pub struct AdamRows<'a> {
    pub w: &'a mut [f32],
    pub m: &'a mut [f32],
    pub v: &'a mut [f32],
}

/// One set of kernels. All are safe: arguments that do not fit one another panic.
#[derive(Clone, Copy)]
#[allow(clippy::type_complexity)] // The signatures are the contract.
pub struct Kernels {
    /// `avx512`, `avx2`, `portable`.
    pub name: &'static str,
    /// `a · b`; any length.
    pub dot: fn(a: &[f32], b: &[f32]) -> f32,
    /// `y += alpha * x`; any length.
    pub axpy: fn(alpha: f32, x: &[f32], y: &mut [f32]),
    /// Largest element; −∞ if empty; any length.
    pub max: fn(x: &[f32]) -> f32,
    /// `x[i] = exp(x[i] - shift)`, returns the sum; any length. Results below the normal numbers are 0.
    pub exp_sum: fn(x: &mut [f32], shift: f32) -> f32,
    /// Adam on whole arrays with gradient `g`; any length.
    pub adam: fn(state: AdamRows<'_>, g: &[f32], step: AdamStep),
    /// `out[i] = w[rows[i]] · x`.
    pub row_dots: fn(w: &[f32], width: usize, rows: &[u32], x: &[f32], out: &mut [f32]),
    /// `out += Σ coefficients[i] * w[rows[i]]`: the sparse-input forward pass.
    pub row_sum: fn(w: &[f32], width: usize, rows: &[u32], coefficients: &[f32], out: &mut [f32]),
    /// `out[i] = w[rows[i]]`, row after row, bit by bit: two bf16 may pass as one f32.
    pub gather_rows: fn(w: &[f32], width: usize, rows: &[u32], out: &mut [f32]),
    /// Adam on the rows listed; `gradients` holds a row of `width` for each.
    pub row_adam: fn(state: AdamRows<'_>, width: usize, rows: &[u32], gradients: &[f32], step: AdamStep),
    /// `out[p] = w[row of p] · x[column of p]` for every pair p; `x` holds a row of `width` for each column.
    pub pair_dots: fn(w: &[f32], x: &[f32], width: usize, pairs: Pairs<'_>, out: &mut [f32]),
    /// For every row: gradient `Σ g[p] * x[column of p]`, then Adam on the row. Where `dx` is given (a row of `width`
    /// for each column), first `dx[column of p] += g[p] * w[row of p]` with the weights before the update.
    pub pair_update: fn(
        state: AdamRows<'_>,
        x: &[f32],
        dx: Option<&mut [f32]>,
        width: usize,
        pairs: Pairs<'_>,
        g: &[f32],
        step: AdamStep,
    ),
    /// `largest[columns[p]] = max(largest[columns[p]], logits[p])` for every pair p.
    pub pair_max: fn(logits: &[f32], columns: &[u32], largest: &mut [f32]),
    /// For every pair p: `logits[p] = exp(logits[p] - shift[columns[p]])`, added to `sums[columns[p]]`.
    pub pair_exp: fn(logits: &mut [f32], columns: &[u32], shift: &[f32], sums: &mut [f32]),
    /// `g[p] *= scale[columns[p]]` for every pair p.
    pub pair_scale: fn(g: &mut [f32], columns: &[u32], scale: &[f32]),
    /// Updates of rows whose moments take half the bytes.
    pub packed: packed::PackedKernels,
    /// Updates of rows with one second moment each.
    pub row_wise: row_wise::RowWiseKernels,
    /// Kernels over rows whose weights take half the bytes.
    pub bf16: weights::Bf16Kernels,
    /// The set's ceilings.
    pub probes: roofline::Probes,
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kernels({})", self.name)
    }
}

/// Asks for `len` f32 from an address on, which need not be readable; for a row here and there, as the kernels over lists
/// prefetch theirs.
pub fn prefetch((from, len): (*const f32, usize)) {
    #[cfg(target_arch = "x86_64")]
    (0..len).step_by(LANES).for_each(|at| x86::vector::prefetch(from.wrapping_add(at).cast()));
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, len);
}

/// The sets this CPU runs, best first; the last is always the portable one.
pub fn all_supported() -> Vec<&'static Kernels> {
    let mut sets = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        if has!("avx2") && has!("fma") {
            let near = x86::is_amd();
            if has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
                sets.push(if near { &x86::avx512::near::KERNELS } else { &x86::avx512::KERNELS });
            }
            sets.push(if near { &x86::avx2::near::KERNELS } else { &x86::avx2::KERNELS });
        }
    }
    sets.push(&portable::KERNELS);
    sets
}

/// The set of that name, or the best where none is given.
///
/// # Errors
/// An unknown name, or a set this CPU does not run; the message names the choices.
pub fn choose(name: Option<&str>) -> Result<&'static Kernels, String> {
    let sets = all_supported();
    let Some(name) = name else { return Ok(sets[0]) };
    sets.iter().find(|set| set.name == name).copied().ok_or_else(|| {
        let names: Vec<_> = sets.iter().map(|set| set.name).collect();
        let known = ["avx512", "avx2", "portable"].contains(&name);
        let problem = if known { "is not supported by this CPU" } else { "is not a kernel set" };
        format!("{name} {problem}; choose one of {}", names.join(", "))
    })
}

thread_local! {
    static FORCED: Cell<Option<&'static Kernels>> = const { Cell::new(None) };
}

/// Makes [`kernels`] answer with `set` on the calling thread from now on. An engine whose threads all do so computes
/// with that set, whatever others in the process do.
pub fn force(set: &'static Kernels) {
    FORCED.set(Some(set));
}

/// The set the calling thread was [`force`]d to, else the best this CPU runs; `SLIDEBENCH_SIMD=portable|avx2|avx512`
/// chooses for the whole process.
///
/// # Panics
/// When `SLIDEBENCH_SIMD` names no set that this CPU runs.
pub fn kernels() -> &'static Kernels {
    static CHOSEN: OnceLock<&'static Kernels> = OnceLock::new();
    if let Some(forced) = FORCED.get() {
        return forced;
    }
    CHOSEN.get_or_init(|| {
        let name = std::env::var_os("SLIDEBENCH_SIMD").map(|name| name.to_string_lossy().into_owned());
        choose(name.as_deref()).unwrap_or_else(|problem| panic!("SLIDEBENCH_SIMD={problem}, or unset it"))
    })
}
