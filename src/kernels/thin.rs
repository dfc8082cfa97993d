//! Gradients thinned at random: most of a softmax's are next to nothing, and a product with nothing costs nothing.
//!
//! A gradient g of at least τ stays. One below becomes ±τ with probability |g|/τ and 0 otherwise, so that its mean stays
//! g (Wangni et al., "Gradient Sparsification for Communication-Efficient Distributed Optimization", 2018). What is left
//! are pairs of a row and a sample ([`Pairs`](super::Pairs)).

#[cfg(target_arch = "x86_64")]
use super::x86::vector::Vector;
use super::{LANES, dispatched};

/// Where the pairs of a block go. All of `columns` and `values`, which are as long as the block, may change.
#[derive(Debug)]
pub struct Thinned<'a> {
    /// The end of each row's pairs.
    pub ends: &'a mut [u32],
    /// Samples, ascending in a row.
    pub columns: &'a mut [u32],
    pub values: &'a mut [f32],
}

dispatched! {
    /// Thins the block `g`, with a row for each of `from`, which say where in `bars` the bars of a row begin: a gradient
    /// whose magnitude exceeds its bar stays, as ±`threshold` if it is below that. Bars are spread evenly over 0 to
    /// `threshold`. `numbers` are those of the samples: 0, 1, 2, as many as a multiple of [`LANES`].
    thin_block(g: &[f32], numbers: &[u32], bars: &[f32], from: &[u32], threshold: f32, to: Thinned<'_>) {
        assert!(numbers.len().is_multiple_of(LANES) && g.len() == numbers.len() * from.len());
        assert!(to.ends.len() == from.len() && to.columns.len() >= g.len() && to.values.len() >= g.len());
        assert!(from.iter().all(|&from| from as usize + numbers.len() <= bars.len()));
    }
}

mod portable {
    use super::Thinned;

    pub fn thin_block(g: &[f32], numbers: &[u32], bars: &[f32], from: &[u32], threshold: f32, to: Thinned<'_>) {
        let mut count = 0;
        for ((g, &from), end) in g.chunks_exact(numbers.len().max(1)).zip(from).zip(to.ends) {
            for ((g, &sample), bar) in g.iter().zip(numbers).zip(&bars[from as usize..]) {
                if g.abs() > *bar {
                    (to.columns[count], to.values[count]) = (sample, g.abs().max(threshold).copysign(*g));
                    count += 1;
                }
            }
            *end = count as u32;
        }
    }
}

/// The same over vector registers; the lengths have been checked.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_op_in_unsafe_fn)]
mod vectors {
    use super::{Thinned, Vector};

    /// Without a branch for each gradient, which could not be foreseen: the chosen of a vector go to where the last ones
    /// ended, and what lies beyond them is written over.
    #[inline(always)]
    pub unsafe fn thin_block<V: Vector>(
        g: &[f32],
        numbers: &[u32],
        bars: &[f32],
        from: &[u32],
        threshold: f32,
        to: Thinned<'_>,
    ) {
        let Thinned { ends, columns, values } = to;
        let (samples, threshold) = (numbers.len(), V::splat(threshold));
        let (columns, values) = (columns.as_mut_ptr().cast::<f32>(), values.as_mut_ptr());
        let mut count = 0;
        for ((row, &from), end) in (0..).step_by(samples.max(1)).zip(from).zip(ends) {
            let (g, bars) = (g.as_ptr().add(row), bars.as_ptr().add(from as usize));
            for at in (0..samples).step_by(V::LANES) {
                let vector = V::load(g.add(at));
                let chosen = vector.beyond(V::load(bars.add(at)));
                // A number passes as the bits of an f32.
                V::load(numbers.as_ptr().add(at).cast()).store_chosen(chosen, columns.add(count));
                vector.at_least(threshold).store_chosen(chosen, values.add(count));
                count += chosen.count_ones() as usize;
            }
            *end = count as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns and values of the block's pairs, row by row.
    type Rows = Vec<Vec<(u32, f32)>>;

    fn thinned(thin: impl Fn(Thinned<'_>), rows: usize, size: usize) -> Rows {
        let (mut ends, mut columns, mut values) = (vec![9; rows], vec![9; size], vec![9.0; size]);
        thin(Thinned { ends: &mut ends, columns: &mut columns, values: &mut values });
        let mut start = 0;
        let mut row = |end: &u32| {
            let range = std::mem::replace(&mut start, *end as usize)..*end as usize;
            columns[range.clone()].iter().copied().zip(values[range].iter().copied()).collect()
        };
        ends.iter().map(&mut row).collect()
    }

    #[test]
    fn what_is_below_the_threshold_is_rounded_by_its_bar() {
        for (rows, samples) in [(0, 16), (1, 16), (7, 48), (40, 128)] {
            let threshold = 0.25;
            let g: Vec<f32> = (0..rows * samples).map(|i| ((i * 37 % 101) as f32 - 50.0) / 100.0).collect();
            let bars: Vec<f32> = (0..samples + 64).map(|i| (i * 29 % 97) as f32 / 97.0 * threshold).collect();
            let numbers: Vec<u32> = (0..samples as u32).collect();
            let from: Vec<u32> = (0..rows as u32).map(|r| r * 5 % 65).collect();
            let of = |to: Thinned<'_>| thin_block(&g, &numbers, &bars, &from, threshold, to);
            let plain = |to: Thinned<'_>| portable::thin_block(&g, &numbers, &bars, &from, threshold, to);
            let (of, plain) = (thinned(of, rows, g.len()), thinned(plain, rows, g.len()));
            assert_eq!(of, plain);
            for (r, pairs) in of.iter().enumerate() {
                let mut expected = vec![];
                for s in 0..samples {
                    let g = g[r * samples + s];
                    if g.abs() >= threshold {
                        expected.push((s as u32, g));
                    } else if g.abs() > bars[from[r] as usize + s] {
                        expected.push((s as u32, threshold * g.signum()));
                    }
                }
                assert_eq!(*pairs, expected);
            }
        }
    }
}
