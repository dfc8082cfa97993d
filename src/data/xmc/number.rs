//! Numbers in text, read faster than `str::parse` and to the same bits.

/// Why an index could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAnIndex {
    /// No digit stands there.
    Missing,
    /// It does not fit 32 bits.
    TooLarge,
}

/// Reads the digits at the front of `text`; returns the number and how many bytes it takes.
#[inline]
pub(super) fn index(text: &[u8]) -> Result<(u32, usize), NotAnIndex> {
    let mut value = 0u64;
    let mut length = 0;
    while let Some(digit) = text.get(length).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10) {
        value = value * 10 + u64::from(digit);
        if value > u64::from(u32::MAX) {
            return Err(NotAnIndex::TooLarge);
        }
        length += 1;
    }
    if length == 0 { Err(NotAnIndex::Missing) } else { Ok((value as u32, length)) }
}

/// Reads the number at the front of `text` up to white space or the end; returns its value and how many bytes it takes.
/// `None` where the word there is no number; what overflows, and the word `nan`, come back non-finite.
#[inline]
pub(super) fn float(text: &[u8]) -> Option<(f32, usize)> {
    if let Some((value, length)) = short_float(text)
        && text.get(length).is_none_or(u8::is_ascii_whitespace)
    {
        return Some((value, length));
    }
    let length = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    let value = std::str::from_utf8(&text[..length]).ok()?.parse().ok()?;
    Some((value, length))
}

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// The common forms (at most 15 digits, a small exponent) by one exact operation in double precision (Clinger 1990);
/// `None` where that would not surely give the nearest float.
#[inline]
fn short_float(text: &[u8]) -> Option<(f32, usize)> {
    let negative = text.first() == Some(&b'-');
    let start = usize::from(negative);
    let mut at = start;
    let mut digits = 0u64;
    let mut take_digits = |at: &mut usize| {
        let first = *at;
        while let Some(digit) = text.get(*at).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10) {
            digits = digits.wrapping_mul(10).wrapping_add(u64::from(digit));
            *at += 1;
        }
        *at - first
    };
    let whole = take_digits(&mut at);
    let mut fraction = 0;
    if text.get(at) == Some(&b'.') {
        at += 1;
        fraction = take_digits(&mut at);
    }
    if !(1..=15).contains(&(whole + fraction)) {
        return None;
    }
    let mut power = -(fraction as i32);
    if let Some(b'e' | b'E') = text.get(at) {
        let sign = if text.get(at + 1) == Some(&b'-') { -1 } else { 1 };
        at += 1 + usize::from(matches!(text.get(at + 1), Some(b'-' | b'+')));
        let (exponent, length) = index(&text[at..]).ok()?;
        power += sign * i32::try_from(exponent.min(100)).expect("at most 100");
        at += length;
    }
    let scale = POWERS.get(power.unsigned_abs() as usize)?;
    let value = if power < 0 { digits as f64 / scale } else { digits as f64 * scale };

    // `value` is the double nearest to the decimal. Rounding it again gives the float nearest to the decimal unless it
    // lies exactly between two floats (where the decimal itself may lie to either side), or outside the normal range.
    let halfway = value.to_bits() & ((1 << 29) - 1) == 1 << 28;
    let normal = value == 0.0 || (f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX)).contains(&value);
    let value = if negative { -value } else { value };
    (normal && !halfway).then_some((value as f32, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn same(text: &str) {
        let expected = text.parse::<f32>().ok().map(f32::to_bits);
        assert_eq!(float(text.as_bytes()).map(|(value, _)| value.to_bits()), expected, "{text}");
    }

    #[test]
    fn hard_cases_read_as_the_standard_library_reads_them() {
        for text in [
            "0",
            "-0",
            "0.0",
            "1",
            "1.",
            ".5",
            ".",
            "-",
            "",
            "e5",
            "1e",
            "1e+",
            "1e5",
            "1E-5",
            "+1",
            "--1",
            "1e-46",
            "1e38",
            "3.4028235e38",
            "3.4028236e38",
            "3.5e38",
            "1.17549435e-38",
            "1.1754942e-38",
            "1e-45",
            "7e-46",
            "16777217",
            "16777216.999999",
            "0.000000000000001",
            "123456789012345",
            "1234567890123456",
            "1e22",
            "1e23",
            "1e99999",
            "9007199791611904",
            "1.00000005960464477539",
            "1.000000059604645",
            "1.0000001788139343",
            "nan",
            "inf",
            "-inf",
            "infinity",
            "1_0",
            "0x10",
            "1.5.2",
            "1e5.0",
            "1,5",
        ] {
            same(text);
        }
    }

    #[test]
    fn an_index_is_digits_that_fit() {
        assert_eq!(index(b"007:"), Ok((7, 3)));
        assert_eq!(index(b"4294967295"), Ok((u32::MAX, 10)));
        assert_eq!(index(b"4294967296"), Err(NotAnIndex::TooLarge));
        assert_eq!(index(b"99999999999999999999999999"), Err(NotAnIndex::TooLarge));
        assert_eq!(index(b"-1"), Err(NotAnIndex::Missing));
        assert_eq!(index(b""), Err(NotAnIndex::Missing));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn decimals_read_as_the_standard_library_reads_them(text in "-?[0-9]{0,10}(\\.[0-9]{0,10})?([eE][-+]?[0-9]{1,2})?") {
            same(&text);
        }

        #[test]
        fn printed_floats_read_back(bits in any::<u32>()) {
            same(&f32::from_bits(bits).to_string());
            same(&format!("{:e}", f32::from_bits(bits)));
        }

        /// Decimals within a digit of the middle between two floats, where rounding twice would go wrong.
        #[test]
        fn midpoints_read_as_the_standard_library_reads_them(bits in 0x3000_0000u32..0x4f00_0000, digits in 7usize..17) {
            let middle = (f64::from(f32::from_bits(bits)) + f64::from(f32::from_bits(bits + 1))) / 2.0;
            same(&format!("{middle:.digits$}"));
            same(&format!("{middle:.digits$e}"));
        }
    }
}
