//! Softmax over a block of logits that lies neuron by neuron: row r holds neuron r's logits of all samples, so that
//! maxima, sums and exponentials of 16 samples are one vector each and nothing is reduced across lanes.
//!
//! Most probabilities are next to nothing, and so are their gradients. Those below 2⁻⁶³ become 0, as they would in Adam,
//! before they can become subnormal numbers, which CPUs multiply many times slower.
//!
//! Every function has a plain version in [`portable`] and, on x86-64, one over [`Vector`] that is tested against it.

#[cfg(target_arch = "x86_64")]
use super::x86::vector::Vector;
use super::{GRADIENT, LANES, dispatched};
use half::bf16;

dispatched! {
    /// Adds `bias[r]` to row r of `z` (`bias.len() x samples`, `samples` a multiple of [`LANES`]), then replaces every
    /// logit by e^(z − max) with the block's own maximum a sample; writes the maxima and the sums a sample.
    exp_block(z: &mut [f32], samples: usize, bias: &[f32], max: &mut [f32], sum: &mut [f32]) {
        assert!(samples.is_multiple_of(LANES) && z.len() == samples * bias.len());
        assert!(max.len() == samples && sum.len() == samples);
    }
}

dispatched! {
    /// `z[r][b] = e^(z[r][b] + bias[r] − shift[b]) * scale[b]` over a block of logits; scales lie between 2⁻⁶³ and 1 or
    /// are 0, and no logit is far above its shift.
    exp_scale_block(z: &mut [f32], bias: &[f32], shift: &[f32], scale: &[f32]) {
        assert!(scale.len().is_multiple_of(LANES) && shift.len() == scale.len());
        assert!(z.len() == scale.len() * bias.len());
    }
}

dispatched! {
    /// `g[r][b] = e[r][b] * scale[b]` over a block; no scale lies between 0 and 2⁻⁶³.
    scale_block(e: &[f32], g: &mut [f32], scale: &[f32]) {
        assert!(scale.len().is_multiple_of(LANES));
        assert!(e.len() == g.len() && (e.is_empty() || e.len().is_multiple_of(scale.len())));
    }
}

dispatched! {
    /// As [`scale_block`], of exponentials in bf16.
    scale_bf16_block(e: &[bf16], g: &mut [f32], scale: &[f32]) {
        assert!(scale.len().is_multiple_of(LANES));
        assert!(e.len() == g.len() && (e.is_empty() || e.len().is_multiple_of(scale.len())));
    }
}

dispatched! {
    /// `sums[r] = Σ g[r][b]`.
    row_sums(g: &[f32], samples: usize, sums: &mut [f32]) {
        assert!(samples.is_multiple_of(LANES) && g.len() == samples * sums.len());
    }
}

dispatched! {
    /// Appends to `hits` the rows of a block of logits (`bias.len() x samples`) in which some sample's
    /// `z[r][b] + bias[r]` exceeds its `floors[b]`.
    rows_above(z: &[f32], bias: &[f32], floors: &[f32], hits: &mut Vec<u32>) {
        assert!(floors.len().is_multiple_of(LANES) && z.len() == floors.len() * bias.len());
    }
}

/// e^x by range reduction to |r| ≤ ln2/2 and a polynomial of degree 6, in operations that vectorise on any CPU.
/// Relative error under 4e-7 for −87 ≤ x ≤ 88; below, the result stays at e^−87.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2^23: adding it rounds to an integer that then sits in the low bits
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let p = 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    p * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

/// Plain loops.
mod portable {
    use super::{GRADIENT, LANES, bf16, exp};
    use crate::kernels::portable::keep;

    pub fn exp_block(z: &mut [f32], samples: usize, bias: &[f32], max: &mut [f32], sum: &mut [f32]) {
        for column in (0..samples).step_by(LANES) {
            let mut largest = [f32::NEG_INFINITY; LANES];
            for (row, &bias) in z.chunks_exact_mut(samples).zip(bias) {
                for (z, largest) in row[column..column + LANES].iter_mut().zip(&mut largest) {
                    *z += bias;
                    *largest = if *z > *largest { *z } else { *largest };
                }
            }
            let mut total = [0.0f32; LANES];
            for row in z.chunks_exact_mut(samples) {
                for i in 0..LANES {
                    let e = exp(row[column + i] - largest[i]);
                    row[column + i] = e;
                    total[i] += e;
                }
            }
            max[column..column + LANES].copy_from_slice(&largest);
            sum[column..column + LANES].copy_from_slice(&total);
        }
    }

    pub fn exp_scale_block(z: &mut [f32], bias: &[f32], shift: &[f32], scale: &[f32]) {
        for (row, &bias) in z.chunks_exact_mut(scale.len()).zip(bias) {
            for ((z, shift), scale) in row.iter_mut().zip(shift).zip(scale) {
                *z = keep(keep(exp(*z + bias - shift), GRADIENT) * scale, GRADIENT);
            }
        }
    }

    pub fn scale_block(e: &[f32], g: &mut [f32], scale: &[f32]) {
        let samples = scale.len();
        for (e, g) in e.chunks_exact(samples).zip(g.chunks_exact_mut(samples)) {
            for ((g, e), s) in g.iter_mut().zip(e).zip(scale) {
                *g = keep(keep(*e, GRADIENT) * s, GRADIENT);
            }
        }
    }

    pub fn scale_bf16_block(e: &[bf16], g: &mut [f32], scale: &[f32]) {
        let samples = scale.len();
        for (e, g) in e.chunks_exact(samples).zip(g.chunks_exact_mut(samples)) {
            for ((g, e), s) in g.iter_mut().zip(e).zip(scale) {
                *g = keep(keep(e.to_f32(), GRADIENT) * s, GRADIENT);
            }
        }
    }

    pub fn row_sums(g: &[f32], samples: usize, sums: &mut [f32]) {
        for (row, sum) in g.chunks_exact(samples).zip(sums) {
            let mut lanes = [0.0f32; LANES];
            for chunk in row.chunks_exact(LANES) {
                lanes.iter_mut().zip(chunk).for_each(|(lane, g)| *lane += g);
            }
            *sum = lanes.iter().sum();
        }
    }

    pub fn rows_above(z: &[f32], bias: &[f32], floors: &[f32], hits: &mut Vec<u32>) {
        for (r, (row, &bias)) in z.chunks_exact(floors.len()).zip(bias).enumerate() {
            if row.iter().zip(floors).any(|(z, floor)| *z + bias > *floor) {
                hits.push(r as u32);
            }
        }
    }
}

/// The same over vector registers; the lengths have been checked.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_op_in_unsafe_fn)]
mod vectors {
    use super::{GRADIENT, Vector, bf16};

    /// Logits this far below the largest, and farther, count alike in a sum, to which they bring nothing: e^x is still a
    /// normal number.
    const LOWEST: f32 = -87.0;
    /// The same in a gradient: e^x is less than 2⁻⁶³, and so will be its product with the scale, which is at most 1.
    const LEAST: f32 = -43.7;

    /// Calls `$call` for every `$at`, four vectors at a time while they last, then one at a time.
    macro_rules! by_columns {
        ($V:ident, $samples:expr, |$N:ident, $at:ident| $call:expr) => {{
            let mut $at = 0;
            while $at + 4 * $V::LANES <= $samples {
                const $N: usize = 4;
                $call;
                $at += 4 * $V::LANES;
            }
            while $at < $samples {
                const $N: usize = 1;
                $call;
                $at += $V::LANES;
            }
        }};
    }

    #[inline(always)]
    pub unsafe fn exp_block<V: Vector>(z: &mut [f32], samples: usize, bias: &[f32], max: &mut [f32], sum: &mut [f32]) {
        let (z, max, sum) = (z.as_mut_ptr(), max.as_mut_ptr(), sum.as_mut_ptr());
        by_columns!(V, samples, |N, at| exp_columns::<V, N>(z.add(at), samples, bias, max.add(at), sum.add(at)));
    }

    #[inline(always)]
    unsafe fn exp_columns<V: Vector, const N: usize>(
        z: *mut f32,
        samples: usize,
        bias: &[f32],
        max: *mut f32,
        sum: *mut f32,
    ) {
        let mut largest = [V::splat(f32::NEG_INFINITY); N];
        for (r, &bias) in bias.iter().enumerate() {
            let (row, bias) = (z.add(r * samples), V::splat(bias));
            for (j, largest) in largest.iter_mut().enumerate() {
                *largest = V::load(row.add(j * V::LANES)).add(bias).max(*largest);
            }
        }
        let mut total = [V::splat(0.0); N];
        for (r, &bias) in bias.iter().enumerate() {
            let (row, bias) = (z.add(r * samples), V::splat(bias));
            for (j, total) in total.iter_mut().enumerate() {
                let at = row.add(j * V::LANES);
                let e = V::load(at).add(bias).sub(largest[j]).exp_from(LOWEST);
                e.store(at);
                *total = total.add(e);
            }
        }
        for (j, (largest, total)) in largest.iter().zip(&total).enumerate() {
            largest.store(max.add(j * V::LANES));
            total.store(sum.add(j * V::LANES));
        }
    }

    #[inline(always)]
    pub unsafe fn exp_scale_block<V: Vector>(z: &mut [f32], bias: &[f32], shift: &[f32], scale: &[f32]) {
        let (z, samples) = (z.as_mut_ptr(), scale.len());
        for (r, &bias) in bias.iter().enumerate() {
            let (row, bias) = (z.add(r * samples), V::splat(bias));
            for at in (0..samples).step_by(V::LANES) {
                let (shift, scale) = (V::load(shift.as_ptr().add(at)), V::load(scale.as_ptr().add(at)));
                let e = V::load(row.add(at)).add(bias).sub(shift).exp_from(LEAST);
                e.mul(scale).keep(GRADIENT).store(row.add(at));
            }
        }
    }

    #[inline(always)]
    pub unsafe fn scale_block<V: Vector>(e: &[f32], g: &mut [f32], scale: &[f32]) {
        let samples = scale.len();
        for (e, g) in e.chunks_exact(samples).zip(g.chunks_exact_mut(samples)) {
            for at in (0..samples).step_by(V::LANES) {
                let scale = V::load(scale.as_ptr().add(at));
                let e = V::load(e.as_ptr().add(at)).keep(GRADIENT);
                e.mul(scale).keep(GRADIENT).store(g.as_mut_ptr().add(at));
            }
        }
    }

    #[inline(always)]
    pub unsafe fn scale_bf16_block<V: Vector>(e: &[bf16], g: &mut [f32], scale: &[f32]) {
        let samples = scale.len();
        for (e, g) in e.chunks_exact(samples).zip(g.chunks_exact_mut(samples)) {
            for at in (0..samples).step_by(V::LANES) {
                let scale = V::load(scale.as_ptr().add(at));
                let e = V::load_bf16(e.as_ptr().add(at)).keep(GRADIENT);
                e.mul(scale).keep(GRADIENT).store(g.as_mut_ptr().add(at));
            }
        }
    }

    #[inline(always)]
    pub unsafe fn row_sums<V: Vector>(g: &[f32], samples: usize, sums: &mut [f32]) {
        for (row, sum) in g.chunks_exact(samples).zip(sums) {
            let mut lanes = V::splat(0.0);
            for at in (0..samples).step_by(V::LANES) {
                lanes = lanes.add(V::load(row.as_ptr().add(at)));
            }
            *sum = lanes.sum();
        }
    }

    #[inline(always)]
    pub unsafe fn rows_above<V: Vector>(z: &[f32], bias: &[f32], floors: &[f32], hits: &mut Vec<u32>) {
        for (r, (row, &bias)) in z.chunks_exact(floors.len()).zip(bias).enumerate() {
            let bias = V::splat(bias);
            let mut excess = V::splat(f32::NEG_INFINITY);
            for at in (0..floors.len()).step_by(V::LANES) {
                let floor = V::load(floors.as_ptr().add(at));
                // A floor of −∞ is exceeded by ∞; what is no number leaves `excess` as it is.
                excess = V::load(row.as_ptr().add(at)).add(bias).sub(floor).max(excess);
            }
            if excess.largest() > 0.0 {
                hits.push(r as u32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_the_library() {
        for i in -8700..=8800 {
            let x = i as f32 / 100.0 + 0.003;
            let (ours, exact) = (f64::from(exp(x)), f64::from(x).exp());
            if x.abs() <= 87.0 {
                assert!((ours - exact).abs() <= 4e-7 * exact, "{x}: {ours} against {exact}");
            }
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e30) < 1e-37 && exp(f32::NEG_INFINITY) < 1e-37);
    }

    fn close(a: &[f32], b: &[f32]) {
        assert_eq!(a.len(), b.len());
        for (i, (a, b)) in a.iter().zip(b).enumerate() {
            assert!((a - b).abs() <= 1e-6 + 2e-6 * b.abs(), "at {i}: {a} against {b}");
        }
    }

    #[test]
    fn blocks_agree_with_the_definition_and_the_plain_loops() {
        for (rows, samples) in [(3, 16), (7, 32), (1, 96), (40, 208)] {
            let value = |i: usize| (i * 29 % 97) as f32 / 10.0 - 4.0;
            let bias: Vec<f32> = (0..rows).map(|r| value(r) / 3.0).collect();
            let z: Vec<f32> = (0..rows * samples).map(value).collect();
            let start = || (z.clone(), vec![0.0; samples], vec![0.0; samples]);
            let ((mut e, mut max, mut sum), mut plain) = (start(), start());
            exp_block(&mut e, samples, &bias, &mut max, &mut sum);
            portable::exp_block(&mut plain.0, samples, &bias, &mut plain.1, &mut plain.2);
            close(&e, &plain.0);
            assert_eq!(max, plain.1);
            close(&sum, &plain.2);
            for b in 0..samples {
                let column: Vec<f32> = (0..rows).map(|r| z[r * samples + b] + bias[r]).collect();
                let largest = column.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                assert_eq!(max[b], largest);
                for r in 0..rows {
                    assert!((e[r * samples + b] - (column[r] - largest).exp()).abs() < 1e-6);
                }
            }

            let scale: Vec<f32> = (0..samples).map(|b| b as f32 / 10.0).collect();
            let (mut g, mut plain) = (vec![0.0; e.len()], vec![0.0; e.len()]);
            scale_block(&e, &mut g, &scale);
            portable::scale_block(&e, &mut plain, &scale);
            assert_eq!(g, plain);
            assert_eq!(g[samples - 1], e[samples - 1] * scale[samples - 1]);

            let kept: Vec<bf16> = e.iter().map(|&e| bf16::from_f32(e)).collect();
            let (mut of_kept, mut plain) = (vec![0.0; e.len()], vec![0.0; e.len()]);
            scale_bf16_block(&kept, &mut of_kept, &scale);
            portable::scale_bf16_block(&kept, &mut plain, &scale);
            assert_eq!(of_kept, plain);
            assert_eq!(of_kept[samples - 1], kept[samples - 1].to_f32() * scale[samples - 1]);

            let (mut p, mut plain) = (z.clone(), z.clone());
            exp_scale_block(&mut p, &bias, &max, &scale);
            portable::exp_scale_block(&mut plain, &bias, &max, &scale);
            close(&p, &plain);
            close(&p, &g);

            // Nothing subnormal leaves, whatever comes in.
            for (e_value, scale) in [(1e-38, 1.0), (1e-10, 1e-18)] {
                let mut g = vec![1.0; e.len()];
                scale_block(&vec![e_value; e.len()], &mut g, &vec![scale; samples]);
                assert!(g.iter().all(|g| *g == 0.0));
            }

            let floors: Vec<f32> = max.iter().enumerate().map(|(b, max)| max + (b % 7) as f32 / 7.0).collect();
            for floors in [floors, max.iter().map(|max| max - 0.1).collect(), vec![f32::NEG_INFINITY; samples]] {
                let (mut hits, mut plain) = (vec![9], vec![9]);
                rows_above(&z, &bias, &floors, &mut hits);
                portable::rows_above(&z, &bias, &floors, &mut plain);
                assert_eq!(hits, plain);
                assert!(hits.len() > 1 || floors[1] > max[1]);
            }

            let (mut sums, mut plain) = (vec![0.0; rows], vec![0.0; rows]);
            row_sums(&g, samples, &mut sums);
            portable::row_sums(&g, samples, &mut plain);
            close(&sums, &plain);
            let exact: f64 = g[..samples].iter().map(|&g| f64::from(g)).sum();
            assert!((f64::from(sums[0]) - exact).abs() < 1e-4 * exact);
        }
    }
}
