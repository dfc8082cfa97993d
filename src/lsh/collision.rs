//! How likely two vectors are to collide: the exact probabilities, over the draw of the hash functions.
//!
//! | family | one function | exact for |
//! |---|---|---|
//! | SimHash | 1 − θ/π ([`simhash`]) | Gaussian projections; for ±1 signs in the limit of many coordinates |
//! | SimHash as drawn here | [`simhash_signs`] | sparse ±1 signs, by going through all of them |
//! | WTA, and DWTA on dense vectors | [`wta`] | any two vectors, ties included |
//! | DWTA on sparse vectors | [`dwta`] | the bins that hold non-zeros of both; bounds for the rest |
//! | MinHash | [`jaccard`] | any two sets, densification included |
//! | MIPS | [`mips`] | any query and weight row |
//!
//! From the probability p of one function follow that of a table, pᴷ, and of being found in one or several of T tables:
//! [`selection`], [`at_least`] (SLIDE, section 2.1 and figure 11).

use std::cmp::Ordering;

/// The angle between two vectors in radians; a right angle where one is zero.
pub fn angle(a: &[f32], b: &[f32]) -> f64 {
    let norms = dot(a, a).sqrt() * dot(b, b).sqrt();
    if norms == 0.0 { std::f64::consts::FRAC_PI_2 } else { (dot(a, b) / norms).clamp(-1.0, 1.0).acos() }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// SimHash with Gaussian projections: 1 − θ/π (Goemans & Williamson 1995).
///
/// Sparse ±1 signs approach it as the number of coordinates kept grows, provided that no few coordinates dominate the
/// vectors (Li, Hastie & Church 2006); for short or spiky vectors see [`simhash_signs`]. The `sparsity` changes how
/// fast: fewer terms, and more alike two functions that share coordinates.
pub fn simhash(a: &[f32], b: &[f32]) -> f64 {
    1.0 - angle(a, b) / std::f64::consts::PI
}

/// SimHash with `kept` random coordinates and random signs, exactly: the share of all C(d, kept)·2^kept functions that
/// agree. A sum of zero counts as positive. Meant for small d: it goes through all of them.
pub fn simhash_signs(a: &[f32], b: &[f32], kept: usize) -> f64 {
    /// Counts (agreeing, all) functions that complete a choice of coordinates below `i`.
    fn count(a: &[f32], b: &[f32], i: usize, left: usize, sums: (f64, f64)) -> (f64, f64) {
        if left == 0 {
            return (f64::from(u8::from((sums.0 < 0.0) == (sums.1 < 0.0))), 1.0);
        }
        let mut total = (0.0, 0.0);
        let mut add = |part: (f64, f64)| total = (total.0 + part.0, total.1 + part.1);
        if i + left < a.len() {
            add(count(a, b, i + 1, left, sums));
        }
        for sign in [1.0, -1.0] {
            add(count(a, b, i + 1, left - 1, (sums.0 + sign * f64::from(a[i]), sums.1 + sign * f64::from(b[i]))));
        }
        total
    }
    let (agreeing, all) = count(a, b, 0, kept, (0.0, 0.0));
    agreeing / all
}

/// WTA with bins of m (`bin`) coordinates of d.
///
/// Two codes agree just if the same coordinate wins the bin in both vectors. Coordinate i wins both if it is drawn, the
/// other m − 1 are none of those that beat it in either vector, and it comes first among those that equal it in one.
/// With s coordinates below it in both vectors and t others not above it in either, that has probability
/// Σₖ C(t, k)·C(s, m−1−k)/(k+1) / C(d, m); the sum over i is the answer. Without ties only k = 0 is left.
pub fn wta(a: &[f32], b: &[f32], bin: usize) -> f64 {
    let d = a.len();
    let m = bin.min(d);
    let all = ln_choose(d, m);
    let mut probability = 0.0;
    for i in 0..d {
        let (mut below, mut tied) = (0, 0);
        for j in (0..d).filter(|&j| j != i) {
            match (a[j].partial_cmp(&a[i]), b[j].partial_cmp(&b[i])) {
                (Some(Ordering::Less), Some(Ordering::Less)) => below += 1,
                (Some(Ordering::Less | Ordering::Equal), Some(Ordering::Less | Ordering::Equal)) => tied += 1,
                _ => {}
            }
        }
        for k in 0..=tied.min(m - 1) {
            if m - 1 - k <= below {
                let ways = ln_choose(tied, k) + ln_choose(below, m - 1 - k) - all;
                probability += ways.exp() / (k + 1) as f64;
            }
        }
    }
    // Logarithms of binomials are rounded.
    probability.min(1.0)
}

/// DWTA on sparse vectors (zeros are absent): the probability that a bin holds a non-zero of both vectors and the same
/// coordinate wins it, and the probability that it holds none of at least one of them.
///
/// The first is what the bin contributes by itself. In the second case the code is borrowed and agrees with some
/// probability that depends on the other bins; so the collision probability lies between the first and the sum of both.
/// Given that no code is borrowed it is first / (1 − second), exactly, if no two non-zeros of a vector are equal.
pub fn dwta(a: &[f32], b: &[f32], bin: usize) -> (f64, f64) {
    let absent_last = |x: &[f32]| x.iter().map(|&x| if x == 0.0 { f32::NEG_INFINITY } else { x }).collect::<Vec<_>>();
    let (a, b) = (absent_last(a), absent_last(b));
    let d = a.len();
    let m = bin.min(d);
    let all = ln_choose(d, m);
    let present = |x: f32| x != f32::NEG_INFINITY;
    let mut agree = 0.0;
    for i in (0..d).filter(|&i| present(a[i]) && present(b[i])) {
        let below = (0..d).filter(|&j| a[j] < a[i] && b[j] < b[i]).count();
        if m - 1 <= below {
            agree += (ln_choose(below, m - 1) - all).exp();
        }
    }
    let empty = |holds: &dyn Fn(usize) -> bool| {
        let absent = (0..d).filter(|&i| !holds(i)).count();
        if absent < m { 0.0 } else { (ln_choose(absent, m) - all).exp() }
    };
    let borrowed = empty(&|i| present(a[i])) + empty(&|i| present(b[i])) - empty(&|i| present(a[i]) || present(b[i]));
    (agree, borrowed)
}

/// MinHash: |A ∩ B| / |A ∪ B| of two sets without repetitions; 1 if both are empty.
pub fn jaccard(a: &[u32], b: &[u32]) -> f64 {
    let both = a.iter().filter(|&x| b.contains(x)).count();
    let either = a.len() + b.len() - both;
    if either == 0 { 1.0 } else { both as f64 / either as f64 }
}

/// MIPS: 1 − arccos(q·w / (M·|q|)) / π, M² being `bound`, the largest squared length of all weight rows. It rises with
/// the inner product q·w, whatever the length of w.
pub fn mips(query: &[f32], weight: &[f32], bound: f32) -> f64 {
    let norms = dot(query, query).sqrt() * f64::from(bound).sqrt();
    let cosine = if norms == 0.0 { 0.0 } else { dot(query, weight) / norms };
    1.0 - cosine.clamp(-1.0, 1.0).acos() / std::f64::consts::PI
}

/// The probability of sharing the bucket in at least one of T tables of K functions: 1 − (1 − pᴷ)ᵀ.
pub fn selection(p: f64, bits: usize, tables: usize) -> f64 {
    -(tables as f64 * (-p.powi(bits as i32)).ln_1p()).exp_m1()
}

/// The probability of sharing the bucket in at least `m` of T tables of K functions: a tail of the binomial
/// distribution with T trials of probability pᴷ.
pub fn at_least(p: f64, bits: usize, tables: usize, m: usize) -> f64 {
    let q = p.powi(bits as i32);
    let term = |i: usize| ln_choose(tables, i).exp() * q.powi(i as i32) * (1.0 - q).powi((tables - i) as i32);
    (m..=tables).map(term).sum::<f64>().min(1.0)
}

/// ln C(n, k) for k ≤ n.
fn ln_choose(n: usize, k: usize) -> f64 {
    let k = k.min(n - k);
    (0..k).map(|i| ((n - i) as f64 / (k - i) as f64).ln()).sum()
}
