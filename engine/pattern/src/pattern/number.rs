//! Numbers as patterns compare them: decimal text that a double represents exactly. `1`, `1.0` and `1E+00` are one
//! number; a number that no double represents, such as `18014398509481985`, is compared as text only.

/// Powers of ten that doubles represent exactly, as far as fifteen digits need.
const TENS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// The double of a decimal text, if it represents the same number. Never NaN or infinite; zero has no sign.
#[inline]
pub(super) fn comparable(text: &str) -> Option<f64> {
    short(text).or_else(|| long(text))
}

/// Up to fifteen digits without an exponent: two integers that doubles represent exactly, and one division, which
/// rounds as parsing the text does.
#[inline]
fn short(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let (mut whole, mut point) = (0u64, None);
    if !digits.first()?.is_ascii_digit() || digits.len() > 16 {
        return None;
    }
    for (at, byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            whole = whole.wrapping_mul(10).wrapping_add(u64::from(digit)); // sixteen digits fit
        } else if *byte == b'.' && point.is_none() {
            point = Some(at);
        } else {
            return None;
        }
    }
    let decimals = point.map_or(0, |point| digits.len() - 1 - point);
    if digits.len() - usize::from(point.is_some()) > 15 || (point.is_some() && decimals == 0) {
        return None;
    }
    let number = whole as f64 / TENS[decimals];
    Some(if whole != 0 && bytes.len() > digits.len() { -number } else { number })
}

fn long(text: &str) -> Option<f64> {
    let double: f64 = text.parse().ok()?;
    if !double.is_finite() {
        return None;
    }
    if double == 0.0 {
        return is_zero(text).then_some(0.0);
    }
    (normal(text)? == normal(&format!("{double:e}"))?).then_some(double)
}

fn is_zero(text: &str) -> bool {
    let mantissa = text.split(['e', 'E']).next().unwrap_or("");
    mantissa.bytes().all(|byte| matches!(byte, b'0' | b'.' | b'-' | b'+'))
}

/// Sign, digits without zeros at the ends, and the power of ten of the last digit.
fn normal(text: &str) -> Option<(bool, String, i64)> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let negative = whole.starts_with('-');
    let digits = format!("{}{fraction}", whole.trim_start_matches(['-', '+']));
    let significant = digits.trim_start_matches('0');
    let trimmed = significant.trim_end_matches('0');
    let zeros = i64::try_from(significant.len() - trimmed.len()).ok()?;
    let decimals = i64::try_from(fraction.len()).ok()?;
    Some((negative, trimmed.to_owned(), exponent.checked_sub(decimals)?.checked_add(zeros)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_has_many_texts_and_some_have_none() {
        for text in ["1", "1.0", "1E+00", "0.1e1", "10e-1"] {
            assert_eq!(comparable(text), Some(1.0), "{text}");
        }
        for text in ["0", "-0", "0.0e5", "-0.00"] {
            assert_eq!(comparable(text), Some(0.0), "{text}");
        }
        for text in ["-122.4194155", "0.1", "999999999999999", "0.00000000000001", "-7", "3.0"] {
            assert_eq!(short(text), text.parse().ok(), "{text}");
            assert_eq!(long(text), text.parse().ok(), "{text}");
        }
        for text in ["", "-", ".5", "1.", "1.2.3", "+1", "1e1", "0x1", "1234567890123456"] {
            assert_eq!(short(text), None, "{text}");
        }
        assert_eq!(comparable("337001e-6"), Some(0.337_001));
        assert_eq!(comparable("1e300"), Some(1e300));
        assert_eq!(comparable("18014398509481984"), Some(18_014_398_509_481_984.0));
        for text in ["18014398509481985", "1e400", "0.1000000000000000055511151231257827", "1e-400"] {
            assert_eq!(comparable(text), None, "{text}");
        }
    }
}
