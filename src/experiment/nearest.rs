//! "Did you mean …?"

/// The known name closest to `typed` by edit distance, if it is close enough to be a slip of the finger.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (typed.chars().count() / 3).max(2);
    known.into_iter().map(|name| (distance(typed, name), name)).filter(|&(d, _)| d <= limit).min().map(|(_, name)| name)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, &b) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_only_slips() {
        let known = ["dense-cpu", "dense-gpu", "lsh-cpu"];
        assert_eq!(nearest("lsh-cup", known), Some("lsh-cpu"));
        assert_eq!(nearest("dense_cpu", known), Some("dense-cpu"));
        assert_eq!(nearest("transformer", known), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
