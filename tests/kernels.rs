//! Every kernel set this CPU runs agrees with the portable one.
//!
//! Sums are compared with a bound that scales with the sum of magnitudes, since the sets add in different orders;
//! everything element-wise within 1e-6 relative.

use half::bf16;
use proptest::prelude::*;
use slidebench::kernels::packed::{PackedRows, pack, unpack};
use slidebench::kernels::row_wise::RowWiseRows;
use slidebench::kernels::weights::{Bf16Rows, Weight};
use slidebench::kernels::{AdamRows, Kernels, LANES, Pairs, all_supported, choose, padded, portable};
use slidebench::network::{AdamStep, Training};

const REFERENCE: &Kernels = &portable::KERNELS;

/// A small deterministic source of values in -1..1, so that proptest shrinks shapes and not contents.
struct Values(u64);

impl Values {
    fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }

    fn below(&mut self, n: usize) -> usize {
        self.bits() as usize % n
    }

    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.bits() as f32 / (1u32 << 30) as f32 - 1.0).collect()
    }
}

/// Asserts |a - b| <= 1e-6 relative, or `absolute`.
fn assert_close(a: &[f32], b: &[f32], absolute: f32, what: &str) {
    assert_eq!(a.len(), b.len());
    for (i, (&a, &b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= 1e-6 * b.abs() + absolute, "{what}[{i}]: {a} is not {b}");
    }
}

#[derive(Clone, PartialEq, Debug)]
struct State {
    w: Vec<f32>,
    m: Vec<f32>,
    v: Vec<f32>,
}

impl State {
    fn new(values: &mut Values, n: usize) -> Self {
        // v well above zero, or the step, m/√v, would magnify rounding.
        let v = values.floats(n).into_iter().map(|x| 0.1 + x * x).collect();
        Self { w: values.floats(n), m: values.floats(n), v }
    }

    fn rows(&mut self) -> AdamRows<'_> {
        AdamRows { w: &mut self.w, m: &mut self.m, v: &mut self.v }
    }

    /// m and v may differ by the gradient's rounding; the step moves w by about rate * m / sqrt(v).
    fn assert_close(&self, other: &Self, absolute: f32, what: &str) {
        assert_close(&self.m, &other.m, absolute, &format!("{what} m"));
        assert_close(&self.v, &other.v, absolute, &format!("{what} v"));
        assert_close(&self.w, &other.w, absolute, &format!("{what} w"));
    }
}

/// A state that is rounded when it is stored.
trait Rounded: Clone {
    /// What is rounded: w, m, v.
    const ROUNDS: [bool; 3];

    fn new(state: &State) -> Self;
    fn widened(&self) -> State;
    fn row_adam_by(&mut self, set: &Kernels, seed: u32, width: usize, rows: &[u32], gradients: &[f32], step: AdamStep);
    fn pair_update(&mut self, set: &Kernels, seed: u32, update: &PairUpdate<'_>, dx: Option<&mut [f32]>);

    fn row_adam(&mut self, set: &Kernels, seed: u32, width: usize, rows: &[u32], gradients: &[f32]) {
        self.row_adam_by(set, seed, width, rows, gradients, step());
    }

    /// What is not rounded to `absolute`; what is, to a unit in the last place of bf16, and nearly all the same.
    fn assert_close(&self, other: &Self, absolute: f32, what: &str) {
        let parts = |state: State| [state.w, state.m, state.v];
        let both = parts(self.widened()).into_iter().zip(parts(other.widened()));
        for ((part, (a, b)), rounds) in "wmv".chars().zip(both).zip(Self::ROUNDS) {
            if !rounds {
                assert_close(&a, &b, absolute, &format!("{what} {part}"));
                continue;
            }
            let mut apart = 0;
            for (a, b) in a.iter().zip(&b) {
                assert!((a - b).abs() <= b.abs() / 127.0 + absolute, "{what} {part}: {a} is not {b}");
                apart += usize::from(a != b);
            }
            assert!(apart <= a.len() / 100 + 2, "{what}: {apart} of {part} differ");
        }
    }
}

/// Arguments of `pair_update`.
struct PairUpdate<'a> {
    x: &'a [f32],
    width: usize,
    pairs: Pairs<'a>,
    g: &'a [f32],
}

/// [`State`] with packed moments.
#[derive(Clone)]
struct PackedState<W> {
    w: Vec<W>,
    moments: Vec<u32>,
}

impl<W: Weight> PackedState<W> {
    fn pack(state: &State) -> Self {
        let moments = state.m.iter().zip(&state.v).map(|(&m, &v)| pack(m, v, 0)).collect();
        Self { w: state.w.iter().map(|&w| W::round(w, 0)).collect(), moments }
    }

    fn unpack(&self) -> State {
        let (m, v) = self.moments.iter().map(|&word| unpack(word)).unzip();
        State { w: self.w.iter().map(|w| w.widen()).collect(), m, v }
    }

    fn rows(&mut self, seed: u32) -> PackedRows<'_, W> {
        PackedRows { w: &mut self.w, moments: &mut self.moments, seed }
    }
}

impl Rounded for PackedState<f32> {
    const ROUNDS: [bool; 3] = [false, true, true];

    fn new(state: &State) -> Self {
        Self::pack(state)
    }

    fn widened(&self) -> State {
        self.unpack()
    }

    fn row_adam_by(&mut self, set: &Kernels, seed: u32, width: usize, rows: &[u32], gradients: &[f32], step: AdamStep) {
        (set.packed.row_adam)(self.rows(seed), width, rows, gradients, step);
    }

    fn pair_update(&mut self, set: &Kernels, seed: u32, update: &PairUpdate<'_>, dx: Option<&mut [f32]>) {
        let PairUpdate { x, width, pairs, g } = *update;
        (set.packed.pair_update)(self.rows(seed), x, dx, width, pairs, g, step());
    }
}

impl Rounded for PackedState<bf16> {
    const ROUNDS: [bool; 3] = [true; 3];

    fn new(state: &State) -> Self {
        Self::pack(state)
    }

    fn widened(&self) -> State {
        self.unpack()
    }

    fn row_adam_by(&mut self, set: &Kernels, seed: u32, width: usize, rows: &[u32], gradients: &[f32], step: AdamStep) {
        (set.bf16.packed.row_adam)(self.rows(seed), width, rows, gradients, step);
    }

    fn pair_update(&mut self, set: &Kernels, seed: u32, update: &PairUpdate<'_>, dx: Option<&mut [f32]>) {
        let PairUpdate { x, width, pairs, g } = *update;
        (set.bf16.packed.pair_update)(self.rows(seed), x, dx, width, pairs, g, step());
    }
}

/// [`State`] with weights in bf16.
#[derive(Clone)]
struct Bf16State {
    w: Vec<bf16>,
    m: Vec<f32>,
    v: Vec<f32>,
}

impl Bf16State {
    fn rows(&mut self, seed: u32) -> Bf16Rows<'_> {
        Bf16Rows { w: &mut self.w, m: &mut self.m, v: &mut self.v, seed }
    }
}

impl Rounded for Bf16State {
    const ROUNDS: [bool; 3] = [true, false, false];

    fn new(state: &State) -> Self {
        let State { w, m, v } = state.clone();
        Self { w: w.into_iter().map(bf16::from_f32).collect(), m, v }
    }

    fn widened(&self) -> State {
        State { w: self.w.iter().map(|w| w.to_f32()).collect(), m: self.m.clone(), v: self.v.clone() }
    }

    fn row_adam_by(&mut self, set: &Kernels, seed: u32, width: usize, rows: &[u32], gradients: &[f32], step: AdamStep) {
        (set.bf16.row_adam)(self.rows(seed), width, rows, gradients, step);
    }

    fn pair_update(&mut self, set: &Kernels, seed: u32, update: &PairUpdate<'_>, dx: Option<&mut [f32]>) {
        let PairUpdate { x, width, pairs, g } = *update;
        (set.bf16.pair_update)(self.rows(seed), x, dx, width, pairs, g, step());
    }
}

/// Weights of [`State`] with one second moment a row.
#[derive(Clone)]
struct RowWiseState<W> {
    w: Vec<W>,
    v: Vec<f32>,
}

impl<W: Weight> RowWiseState<W> {
    /// The last columns count as padding.
    fn rows(&mut self, width: usize, seed: u32) -> RowWiseRows<'_, W> {
        self.v.truncate(self.w.len() / width);
        RowWiseRows { w: &mut self.w, v: &mut self.v, columns: width - 3, seed }
    }
}

macro_rules! row_wise {
    ($W:ty, $set:ident => $kernels:expr, $rounds:literal) => {
        impl Rounded for RowWiseState<$W> {
            const ROUNDS: [bool; 3] = [$rounds, false, false];

            fn new(state: &State) -> Self {
                Self { w: state.w.iter().map(|&w| <$W as Weight>::round(w, 0)).collect(), v: state.v.clone() }
            }

            fn widened(&self) -> State {
                State { w: self.w.iter().map(|w| w.widen()).collect(), m: vec![], v: self.v.clone() }
            }

            fn row_adam_by(
                &mut self,
                $set: &Kernels,
                seed: u32,
                width: usize,
                rows: &[u32],
                gradients: &[f32],
                step: AdamStep,
            ) {
                ($kernels.row_adam)(self.rows(width, seed), width, rows, gradients, step);
            }

            fn pair_update(&mut self, $set: &Kernels, seed: u32, update: &PairUpdate<'_>, dx: Option<&mut [f32]>) {
                let PairUpdate { x, width, pairs, g } = *update;
                ($kernels.pair_update)(self.rows(width, seed), x, dx, width, pairs, g, step());
            }
        }
    };
}
row_wise!(f32, set => set.row_wise, false);
row_wise!(bf16, set => set.bf16.row_wise, true);

fn step() -> AdamStep {
    Training { learning_rate: 1e-2, ..Training::default() }.adam_step(3)
}

/// Pairs over `rows` distinct rows of `of`, each with 0 to `most` columns below `columns`.
fn random_pairs(
    values: &mut Values,
    rows: usize,
    of: usize,
    columns: usize,
    most: usize,
) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let mut ids: Vec<u32> = (0..of as u32).collect();
    for i in 0..rows {
        let other = i + values.below(of - i);
        ids.swap(i, other);
    }
    ids.truncate(rows);
    let (mut starts, mut met) = (vec![0], Vec::new());
    for _ in 0..rows {
        for _ in 0..values.below(most + 1) {
            met.push(values.below(columns) as u32);
        }
        starts.push(met.len() as u32);
    }
    (ids, starts, met)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn kernels_over_arrays_agree_at_any_length_and_alignment(n in 0usize..300, offset in 0usize..17, seed: u64) {
        let values = &mut Values(seed);
        let (a, b) = (values.floats(n + offset), values.floats(n + offset));
        let (a, b) = (&a[offset..], &b[offset..]);
        let magnitude: f32 = a.iter().zip(b).map(|(a, b)| (a * b).abs()).sum();
        let state = State::new(values, n);
        for set in all_supported() {
            let (got, expected) = ((set.dot)(a, b), (REFERENCE.dot)(a, b));
            prop_assert!((got - expected).abs() <= 1e-6 * magnitude, "{set:?} dot: {got} is not {expected}");

            let (mut got, mut expected) = (b.to_vec(), b.to_vec());
            (set.axpy)(0.7, a, &mut got);
            (REFERENCE.axpy)(0.7, a, &mut expected);
            assert_close(&got, &expected, 1e-7, "axpy");

            prop_assert_eq!((set.max)(a), (REFERENCE.max)(a));

            let (mut got, mut expected) = (a.to_vec(), a.to_vec());
            let (sum, expected_sum) = ((set.exp_sum)(&mut got, 0.3), (REFERENCE.exp_sum)(&mut expected, 0.3));
            assert_close(&got, &expected, 0.0, "exp");
            prop_assert!((sum - expected_sum).abs() <= 2e-6 * expected_sum);

            let (mut got, mut expected) = (state.clone(), state.clone());
            (set.adam)(got.rows(), a, step());
            (REFERENCE.adam)(expected.rows(), a, step());
            got.assert_close(&expected, 1e-7, "adam");
        }
    }

    #[test]
    fn kernels_over_rows_agree_at_any_width(
        width in (1usize..=17).prop_map(|n| n * LANES), count in 0usize..40, seed: u64,
    ) {
        let values = &mut Values(seed);
        let total = 23;
        let mut state = State::new(values, total * width);
        let rows: Vec<u32> = (0..count).map(|_| values.below(total) as u32).collect();
        let (x, coefficients) = (values.floats(width), values.floats(count));
        let gradients = values.floats(count * width);
        for set in all_supported() {
            let (mut got, mut expected) = (vec![9.0; count], vec![0.0; count]);
            (set.row_dots)(&state.w, width, &rows, &x, &mut got);
            (REFERENCE.row_dots)(&state.w, width, &rows, &x, &mut expected);
            assert_close(&got, &expected, 1e-6 * width as f32, "row_dots");

            let (mut got, mut expected) = (x.clone(), x.clone());
            (set.row_sum)(&state.w, width, &rows, &coefficients, &mut got);
            (REFERENCE.row_sum)(&state.w, width, &rows, &coefficients, &mut expected);
            assert_close(&got, &expected, 1e-6 * (count + 1) as f32, "row_sum");

            let (mut got, mut expected) = (vec![9.0; count * width], vec![0.0; count * width]);
            (set.gather_rows)(&state.w, width, &rows, &mut got);
            (REFERENCE.gather_rows)(&state.w, width, &rows, &mut expected);
            prop_assert_eq!(got, expected);

            // A row listed twice is updated twice.
            let mut got = state.clone();
            (set.row_adam)(got.rows(), width, &rows, &gradients, step());
            (REFERENCE.row_adam)(state.rows(), width, &rows, &gradients, step());
            got.assert_close(&state, 1e-6, "row_adam");
            state = got;
        }
    }

    #[test]
    fn kernels_over_pairs_agree_at_any_width(
        width in (1usize..=17).prop_map(|n| n * LANES), count in 0usize..40, columns in 1usize..20, seed: u64,
    ) {
        let values = &mut Values(seed);
        let total = 41;
        let mut state = State::new(values, total * width);
        let x = values.floats(columns * width);
        // Two calls one after the other: the second meets rows that the first has changed.
        for most in [3, 40] {
            let (rows, starts, met) = random_pairs(values, count, total, columns, most);
            let pairs = Pairs { rows: &rows, starts: &starts, columns: &met };
            let g = values.floats(met.len());
            let dx = values.floats(x.len());
            let mut expected = vec![0.0; met.len()];
            (REFERENCE.pair_dots)(&state.w, &x, width, pairs, &mut expected);
            let (mut updated, mut updated_dx) = (state.clone(), dx.clone());
            (REFERENCE.pair_update)(updated.rows(), &x, Some(&mut updated_dx), width, pairs, &g, step());
            for set in all_supported() {
                let mut got = vec![9.0; met.len()];
                (set.pair_dots)(&state.w, &x, width, pairs, &mut got);
                assert_close(&got, &expected, 1e-6 * width as f32, "pair_dots");

                let (mut got, mut got_dx) = (state.clone(), dx.clone());
                (set.pair_update)(got.rows(), &x, Some(&mut got_dx), width, pairs, &g, step());
                got.assert_close(&updated, 2e-6 * most as f32, "pair_update");
                assert_close(&got_dx, &updated_dx, 2e-6 * count as f32, "pair_update dx");

                let mut got = state.clone();
                (set.pair_update)(got.rows(), &x, None, width, pairs, &g, step());
                got.assert_close(&updated, 2e-6 * most as f32, "pair_update without dx");
            }
            state = updated;
        }
    }

    #[test]
    fn rounded_updates_agree_at_any_width(
        width in (1usize..=17).prop_map(|n| n * LANES), count in 0usize..40, columns in 1usize..20, seed: u64,
    ) {
        let values = &mut Values(seed);
        let total = 41;
        let state = State::new(values, total * width);
        let (rows, starts, met) = random_pairs(values, count, total, columns, 3);
        let pairs = Pairs { rows: &rows, starts: &starts, columns: &met };
        let (x, dx, g) = (values.floats(columns * width), values.floats(columns * width), values.floats(met.len()));
        let update = PairUpdate { x: &x, width, pairs, g: &g };
        let gradients = values.floats(count * width);
        fn agree<R: Rounded>(state: &State, update: &PairUpdate<'_>, dx: &[f32], gradients: &[f32]) {
            let state = R::new(state);
            let run = |set: &Kernels| {
                let [mut by_row, mut by_pair, mut without] = [(); 3].map(|()| state.clone());
                let mut dx = dx.to_vec();
                by_row.row_adam(set, 5, update.width, update.pairs.rows, gradients);
                by_pair.pair_update(set, 6, update, Some(&mut dx));
                without.pair_update(set, 6, update, None);
                (dx, [by_row, by_pair, without])
            };
            let (expected_dx, expected) = run(REFERENCE);
            for set in all_supported() {
                let (dx, got) = run(set);
                assert_close(&dx, &expected_dx, 1e-5, "rounded dx");
                for (got, expected) in got.iter().zip(&expected) {
                    got.assert_close(expected, 1e-5, &format!("{set:?} {:?}", R::ROUNDS));
                }
            }
        }
        agree::<PackedState<f32>>(&state, &update, &dx, &gradients);
        agree::<PackedState<bf16>>(&state, &update, &dx, &gradients);
        agree::<Bf16State>(&state, &update, &dx, &gradients);
        agree::<RowWiseState<f32>>(&state, &update, &dx, &gradients);
        agree::<RowWiseState<bf16>>(&state, &update, &dx, &gradients);
    }

    /// Weights in bf16 are read as what they stand for in f32.
    #[test]
    fn bf16_weights_are_read_at_any_width(
        width in (1usize..=17).prop_map(|n| n * LANES), count in 0usize..40, columns in 1usize..20, seed: u64,
    ) {
        let values = &mut Values(seed);
        let total = 41;
        let w: Vec<bf16> = values.floats(total * width).into_iter().map(bf16::from_f32).collect();
        let wide: Vec<f32> = w.iter().map(|w| w.to_f32()).collect();
        let (rows, starts, met) = random_pairs(values, count, total, columns, 3);
        let pairs = Pairs { rows: &rows, starts: &starts, columns: &met };
        let (x, coefficients) = (values.floats(columns * width), values.floats(count));
        for set in all_supported() {
            let part = values.below(wide.len())..wide.len();
            let mut got = vec![9.0; part.len()];
            (set.bf16.widen)(&w[part.clone()], &mut got);
            prop_assert_eq!(&got, &wide[part]);

            let (mut got, mut expected) = (vec![9.0; met.len()], vec![0.0; met.len()]);
            (set.bf16.pair_dots)(&w, &x, width, pairs, &mut got);
            (REFERENCE.pair_dots)(&wide, &x, width, pairs, &mut expected);
            assert_close(&got, &expected, 1e-6 * width as f32, "bf16 pair_dots");

            let (mut got, mut expected) = (x[..width].to_vec(), x[..width].to_vec());
            (set.bf16.row_sum)(&w, width, &rows, &coefficients, &mut got);
            (REFERENCE.row_sum)(&wide, width, &rows, &coefficients, &mut expected);
            assert_close(&got, &expected, 1e-6 * (count + 1) as f32, "bf16 row_sum");
        }
    }

    #[test]
    fn kernels_over_pair_values_agree(n in 0usize..100, columns in 1usize..9, seed: u64) {
        let values = &mut Values(seed);
        let logits: Vec<f32> = values.floats(n).iter().map(|x| x * 20.0).collect();
        let met: Vec<u32> = (0..n).map(|_| values.below(columns) as u32).collect();
        let scale = values.floats(columns);
        for set in all_supported() {
            let (mut got, mut shift) = (vec![f32::NEG_INFINITY; columns], vec![f32::NEG_INFINITY; columns]);
            (set.pair_max)(&logits, &met, &mut got);
            (REFERENCE.pair_max)(&logits, &met, &mut shift);
            prop_assert_eq!(got, shift.clone());

            let (mut got, mut expected) = (logits.clone(), logits.clone());
            let (mut got_sums, mut expected_sums) = (vec![0.5; columns], vec![0.5; columns]);
            (set.pair_exp)(&mut got, &met, &shift, &mut got_sums);
            (REFERENCE.pair_exp)(&mut expected, &met, &shift, &mut expected_sums);
            assert_close(&got, &expected, 0.0, "pair_exp");
            assert_close(&got_sums, &expected_sums, 1e-6 * n as f32, "pair_exp sums");

            (set.pair_scale)(&mut got, &met, &scale);
            (REFERENCE.pair_scale)(&mut expected, &met, &scale);
            assert_close(&got, &expected, 0.0, "pair_scale");
        }
    }
}

/// exp is within 1e-6 relative of f64 over its whole range, and right at its ends.
#[test]
fn exp_is_accurate_and_total() {
    for set in all_supported() {
        let exp = |x: f32| {
            let mut x = [x; 21];
            (set.exp_sum)(&mut x, 0.0);
            // Whole vectors and the partial one at the end agree.
            assert_eq!(x[0].to_bits(), x[20].to_bits(), "{set:?}");
            x[0]
        };
        let mut worst = 0.0f64;
        for i in 0..200_000 {
            let x = -87.3 + i as f32 * (175.9 / 200_000.0);
            let truth = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) / truth - 1.0).abs());
        }
        assert!(worst < 3e-7, "{set:?}: {worst:e}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(-104.5), 0.0);
        // Below the normal numbers.
        assert_eq!(exp(-87.4), 0.0);
        assert_eq!(exp(-100.0), 0.0);
        assert_eq!(exp(89.0), f32::INFINITY);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }
}

#[test]
fn the_largest_of_nothing_is_minus_infinity_and_of_zeros_zero() {
    for set in all_supported() {
        assert_eq!((set.max)(&[]), f32::NEG_INFINITY);
        assert_eq!((set.max)(&[-3.0; 37]), -3.0);
        assert_eq!((set.dot)(&[], &[]), 0.0);
        assert_eq!((set.exp_sum)(&mut [], 0.0), 0.0);
    }
}

/// Zero gradient, zero state: nothing moves, and what v rises to is nothing beside ε = 1e-8, however often.
#[test]
fn adam_leaves_untouched_state_at_zero() {
    for set in all_supported() {
        let mut state = State { w: vec![0.25; 33], m: vec![0.0; 33], v: vec![0.0; 33] };
        let before = state.clone();
        for _ in 0..10_000 {
            (set.adam)(state.rows(), &[0.0; 33], step());
        }
        assert!(state.v.iter().all(|v| 1e-8 + v.sqrt() == 1e-8), "{set:?}: {:e}", state.v[0]);
        state.v.fill(0.0);
        assert_eq!(state, before, "{set:?}");
    }
}

/// Steps that move v by less than bf16 can tell must add up all the same: under a steady gradient, v comes to g².
#[test]
fn packed_second_moments_reach_their_mean() {
    let width = 64;
    for set in all_supported() {
        let start = State { w: vec![0.0; width], m: vec![0.0; width], v: vec![4.0; width] };
        let mut state = PackedState::<f32>::new(&start);
        for t in 0..6000 {
            state.row_adam(set, t, width, &[0], &vec![1.0; width]);
        }
        let mean = state.moments.iter().map(|&word| unpack(word).1).sum::<f32>() / width as f32;
        let exact = 1.0 + 3.0 * 0.999f32.powi(6000);
        assert!((mean - exact).abs() < 0.02, "{set:?}: {mean} is not {exact}");
    }
}

/// Steps far smaller than the distance to the next bf16 must add up all the same: rounded to the nearest, the weights
/// would stay where they are.
#[test]
fn bf16_weights_move_by_small_steps() {
    fn moved<R: Rounded>(set: &Kernels) -> f64 {
        let (width, steps) = (128, 400);
        // Under a steady gradient a step is the rate: here a sixtieth of the way from 4 to the bf16 below it.
        let mut state = R::new(&State { w: vec![4.0; width], m: vec![1.0; width], v: vec![1.0; width] });
        let rate = AdamStep { rate: 2.6e-4, ..step() };
        assert_eq!(bf16::from_f32(4.0 - rate.rate).to_f32(), 4.0);
        for t in 0..steps {
            state.row_adam_by(set, t, width, &[0], &vec![1.0; width], rate);
        }
        let mean = state.widened().w.iter().map(|&w| f64::from(w)).sum::<f64>() / width as f64;
        (4.0 - mean) / (f64::from(steps) * f64::from(rate.rate))
    }
    for set in all_supported() {
        for share in [moved::<PackedState<bf16>>(set), moved::<Bf16State>(set), moved::<RowWiseState<bf16>>(set)] {
            assert!((share - 1.0).abs() < 0.05, "{set:?}: {share} of the way");
        }
    }
}

/// What no step moves stays the same bits, however often it is stored.
#[test]
fn bf16_weights_without_gradient_stay() {
    for set in all_supported() {
        let start = State { w: Values(3).floats(64), m: vec![0.0; 64], v: vec![0.5; 64] };
        let (mut packed, mut plain) = (PackedState::<bf16>::new(&start), Bf16State::new(&start));
        let mut row_wise = RowWiseState::<bf16>::new(&start);
        let before = (packed.w.clone(), plain.w.clone(), row_wise.w.clone());
        for t in 0..50 {
            packed.row_adam(set, t, 64, &[0], &[0.0; 64]);
            plain.row_adam(set, t, 64, &[0], &[0.0; 64]);
            row_wise.row_adam(set, t, 64, &[0], &[0.0; 64]);
        }
        assert_eq!((packed.w, plain.w, row_wise.w), before, "{set:?}");
    }
}

/// Subnormal numbers would slow every later step.
#[test]
fn adam_leaves_no_subnormal_moments() {
    for set in all_supported() {
        for (g, m, v) in [(1e-20, 0.0, 0.0), (0.0, 1.2e-38, 1.2e-38), (-2e-19, 0.0, 0.0), (0.0, -1e-39, 1e-40)] {
            let mut state = State { w: vec![0.25; 17], m: vec![m; 17], v: vec![v; 17] };
            (set.adam)(state.rows(), &[g; 17], step());
            let normal = |x: &f32| *x == 0.0 || x.is_normal();
            assert!(state.m.iter().chain(&state.v).all(normal), "{set:?} {g:e} {m:e} {v:e}: {state:?}");
            assert_eq!(state.w, [0.25; 17]);
        }
    }
}

/// The functions are safe to call with anything: ids beyond a table panic before memory is touched.
#[test]
fn ids_beyond_the_table_are_refused_by_every_set() {
    fn panics(what: &str, call: impl FnOnce()) {
        let call = std::panic::AssertUnwindSafe(call);
        assert!(std::panic::catch_unwind(call).is_err(), "{what} accepted");
    }
    let (width, w) = (16, vec![0.0; 64]);
    for set in all_supported() {
        let name = set.name;
        panics(name, || (set.row_dots)(&w, width, &[4], &[0.0; 16], &mut [0.0]));
        panics(name, || (set.row_dots)(&w, width, &[3], &[0.0; 15], &mut [0.0]));
        panics(name, || (set.row_dots)(&w, width, &[3], &[0.0; 16], &mut []));
        panics(name, || (set.row_dots)(&w, 15, &[0], &[0.0; 15], &mut [0.0]));
        panics(name, || (set.row_sum)(&w, width, &[u32::MAX], &[0.0], &mut [0.0; 16]));
        panics(name, || (set.gather_rows)(&w, width, &[4], &mut [0.0; 16]));
        panics(name, || (set.gather_rows)(&w, width, &[0], &mut [0.0; 15]));
        let pairs = |rows, starts, columns| Pairs { rows, starts, columns };
        let dots = |p: Pairs<'_>, n: usize| (set.pair_dots)(&w, &[0.0; 32], width, p, &mut vec![0.0; n]);
        dots(pairs(&[3], &[0, 1], &[1]), 1);
        panics(name, || dots(pairs(&[4], &[0, 1], &[1]), 1));
        panics(name, || dots(pairs(&[3], &[0, 1], &[2]), 1));
        panics(name, || dots(pairs(&[3], &[0, 2], &[1]), 2));
        panics(name, || dots(pairs(&[3], &[0, 1], &[1]), 0));
        panics(name, || dots(pairs(&[3], &[0], &[1]), 1));
        panics(name, || dots(pairs(&[2, 3], &[1, 0, 1], &[1]), 1));
        panics(name, || {
            let (mut m, mut w) = (vec![0.0; 32], w.clone());
            let state = AdamRows { w: &mut w, m: &mut m, v: &mut [0.0; 64] };
            (set.row_adam)(state, width, &[3], &[0.0; 16], step());
        });
        panics(name, || {
            let state = PackedRows { w: &mut [0.0; 64], moments: &mut [0; 63], seed: 0 };
            (set.packed.row_adam)(state, width, &[0], &[0.0; 16], step());
        });
        panics(name, || {
            let state = PackedRows { w: &mut [0.0; 64], moments: &mut [0; 64], seed: 0 };
            (set.packed.row_adam)(state, width, &[4], &[0.0; 16], step());
        });
        panics(name, || {
            let state = PackedRows { w: &mut [bf16::ZERO; 64], moments: &mut [0; 64], seed: 0 };
            (set.bf16.packed.row_adam)(state, width, &[4], &[0.0; 16], step());
        });
        for (rows, columns, row) in [(4, 16, 4), (3, 16, 0), (4, 17, 0), (4, 0, 0)] {
            panics(name, || {
                let state = RowWiseRows { w: &mut [0.0; 64], v: &mut vec![0.0; rows], columns, seed: 0 };
                (set.row_wise.row_adam)(state, width, &[row], &[0.0; 16], step());
            });
        }
        panics(name, || {
            let (mut m, mut v) = (vec![0.0; 64], vec![0.0; 63]);
            let state = Bf16Rows { w: &mut [bf16::ZERO; 64], m: &mut m, v: &mut v, seed: 0 };
            (set.bf16.row_adam)(state, width, &[0], &[0.0; 16], step());
        });
        panics(name, || (set.bf16.row_sum)(&[bf16::ZERO; 64], width, &[4], &[0.0], &mut [0.0; 16]));
        panics(name, || {
            (set.bf16.pair_dots)(&[bf16::ZERO; 64], &[0.0; 32], width, pairs(&[4], &[0, 1], &[1]), &mut [0.0])
        });
        panics(name, || (set.bf16.widen)(&[bf16::ZERO; 16], &mut [0.0; 15]));
        panics(name, || (set.pair_exp)(&mut [0.0], &[2], &[0.0; 2], &mut [0.0; 2]));
        panics(name, || (set.pair_scale)(&mut [0.0], &[2], &[0.0; 2]));
        panics(name, || (set.pair_max)(&[0.0], &[2], &mut [0.0; 2]));
        panics(name, || {
            (set.adam)(AdamRows { w: &mut [0.0; 3], m: &mut [0.0; 3], v: &mut [0.0; 3] }, &[0.0; 4], step())
        });
    }
}

#[test]
fn a_set_is_chosen_by_name_and_a_wrong_name_tells_the_choices() {
    assert_eq!(choose(Some("portable")).unwrap().name, "portable");
    assert_eq!(choose(None).unwrap().name, all_supported()[0].name);
    for set in all_supported() {
        assert_eq!(choose(Some(set.name)).unwrap().name, set.name);
    }
    let problem = choose(Some("sse9")).unwrap_err();
    assert!(problem.contains("sse9 is not a kernel set") && problem.contains("portable"), "{problem}");
}

#[test]
fn widths_are_padded_to_whole_vectors() {
    assert_eq!([1, 16, 17, 128, 130].map(padded), [16, 16, 32, 128, 144]);
}

/// Run by the test below in a process of its own, since a process chooses once.
#[test]
#[ignore = "needs SLIDEBENCH_SIMD"]
fn chosen() {
    println!("chosen: {}", slidebench::kernels::kernels().name);
}

#[test]
fn the_environment_chooses_a_set_or_hears_what_there_is() {
    let with = |name: &str| {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "chosen", "--nocapture"])
            .env("SLIDEBENCH_SIMD", name)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        (output.status.success(), text)
    };
    let (worked, text) = with("portable");
    assert!(worked && text.contains("chosen: portable"), "{text}");
    let (worked, text) = with("sse9");
    assert!(!worked && text.contains("SLIDEBENCH_SIMD=sse9 is not a kernel set; choose one of"), "{text}");
}
