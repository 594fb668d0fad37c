//! Whole numbers in as few bytes as they need (LEB128): seven bits a byte, the lowest first; all but the last byte
//! have their highest bit set.

/// Appends a number: 1 to 10 bytes.
pub fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes a number off the front; none if the bytes end within it, or it has more than 64 bits.
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(first & 0x7F);
        number |= bits << shift;
        if bits << shift >> shift != bits {
            return None;
        }
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_what_is_cut_or_too_large_is_none() {
        let mut bytes = Vec::new();
        let numbers = [0, 1, 0x7F, 0x80, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX];
        numbers.iter().for_each(|number| put(&mut bytes, *number));
        assert_eq!(bytes[..4], [0, 1, 0x7F, 0x80]);
        let mut rest = bytes.as_slice();
        assert_eq!(numbers.map(|_| take(&mut rest)), numbers.map(Some));
        assert!(rest.is_empty());
        for damaged in [&[][..], &[0x80], &[0xFF; 10], &[0xFF; 11]] {
            assert_eq!(take(&mut &*damaged), None, "{damaged:?}");
        }
    }
}
