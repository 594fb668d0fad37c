//! JSON in blocks of bytes: finds the next quotation mark, and the end of a bracket.

use wide::u8x16;

/// Bytes per block inside a string.
const STRING_BLOCK: usize = 16;
/// Bytes per block when looking for brackets.
const BLOCK: usize = 64;

/// The position of the first quotation mark or backslash at or after `at`.
#[inline]
pub(super) fn quote_or_backslash(bytes: &[u8], mut at: usize) -> Option<usize> {
    while let Some(block) = bytes.get(at..at + STRING_BLOCK) {
        let mask = marks(block.try_into().expect("it has this length"));
        if mask != 0 {
            return Some(at + mask.trailing_zeros() as usize);
        }
        at += STRING_BLOCK;
    }
    let rest = bytes.get(at..)?;
    rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).map(|found| at + found)
}

/// The position after the bracket that closes the one at `at`. Brackets of all kinds are counted alike, because the
/// event was validated when it came in.
pub(super) fn behind_brackets(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut reading = Reading::default();
    while let Some(block) = bytes.get(at..at + BLOCK) {
        if let Some(found) = reading.block(block.try_into().expect("it has this length")) {
            return Some(at + found + 1);
        }
        at += BLOCK;
    }
    let rest = bytes.get(at..)?;
    let mut block = [b' '; BLOCK];
    block[..rest.len()].copy_from_slice(rest);
    reading.block(&block).map(|found| at + found + 1)
}

/// The state between two blocks.
#[derive(Default)]
struct Reading {
    open: u32,
    in_string: bool,
    escaped: bool,
}

impl Reading {
    /// The position in the block at which the first bracket is closed.
    #[inline]
    fn block(&mut self, block: &[u8; BLOCK]) -> Option<usize> {
        let Masks { quotes, backslashes, opens, closes } = masks(block);
        if backslashes != 0 || self.escaped {
            return self.bytes(block);
        }
        let inside = within(quotes) ^ if self.in_string { u64::MAX } else { 0 };
        let (opens, closes) = (opens & !inside, closes & !inside);
        self.in_string = inside >> (BLOCK - 1) != 0;
        if closes.count_ones() < self.open {
            self.open = self.open + opens.count_ones() - closes.count_ones();
            return None;
        }
        let mut brackets = opens | closes;
        while brackets != 0 {
            let at = brackets.trailing_zeros();
            if opens >> at & 1 == 1 {
                self.open += 1;
            } else {
                self.open = self.open.saturating_sub(1);
                if self.open == 0 {
                    return Some(at as usize);
                }
            }
            brackets &= brackets - 1;
        }
        None
    }

    /// As above, byte by byte, for blocks with escapes, which are rare.
    fn bytes(&mut self, block: &[u8; BLOCK]) -> Option<usize> {
        for (at, byte) in block.iter().enumerate() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = self.in_string,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => self.open += 1,
                b'}' | b']' if !self.in_string => {
                    self.open = self.open.saturating_sub(1);
                    if self.open == 0 {
                        return Some(at);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// From quotation marks to the bytes between them: each bit is the parity of the bits up to it.
#[inline]
fn within(quotes: u64) -> u64 {
    [1, 2, 4, 8, 16, 32].iter().fold(quotes, |mask, shift| mask ^ mask << shift)
}

/// One bit for each byte of a block.
#[derive(Default)]
struct Masks {
    quotes: u64,
    backslashes: u64,
    opens: u64,
    closes: u64,
}

#[inline]
fn equal(bytes: u8x16, byte: u8) -> u32 {
    bytes.simd_eq(u8x16::splat(byte)).to_bitmask()
}

#[inline]
fn marks(block: [u8; STRING_BLOCK]) -> u32 {
    let bytes = u8x16::from(block);
    equal(bytes, b'"') | equal(bytes, b'\\')
}

#[inline]
fn masks(block: &[u8; BLOCK]) -> Masks {
    let mut masks = Masks::default();
    let (parts, _) = block.as_chunks::<STRING_BLOCK>();
    for (part, bytes) in parts.iter().enumerate() {
        let bytes = u8x16::from(*bytes);
        // Brackets and braces differ in one bit.
        let folded = bytes | u8x16::splat(0x20);
        let shift = part * STRING_BLOCK;
        masks.quotes |= u64::from(equal(bytes, b'"')) << shift;
        masks.backslashes |= u64::from(equal(bytes, b'\\')) << shift;
        masks.opens |= u64::from(equal(folded, b'{')) << shift;
        masks.closes |= u64::from(equal(folded, b'}')) << shift;
    }
    masks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_told_apart() {
        for first in 0..=255u8 {
            let block: [u8; BLOCK] = std::array::from_fn(|at| first.wrapping_add(at as u8));
            let mask =
                |wanted: &[u8]| (0..BLOCK).fold(0, |mask, at| mask | u64::from(wanted.contains(&block[at])) << at);
            let masks = masks(&block);
            assert_eq!((masks.quotes, masks.backslashes), (mask(b"\""), mask(b"\\")));
            assert_eq!((masks.opens, masks.closes), (mask(b"{["), mask(b"}]")));
        }
    }

    #[test]
    fn brackets_are_closed_where_json_closes_them() {
        for padding in 0..140 {
            let quiet = " ".repeat(padding);
            for value in [
                format!(r#"{{"a":[1,2,{{"b":"}}]"}}]{quiet}}}"#),
                format!(r#"[[["\"]"{quiet}]],"\\","\\\"]"]"#),
                format!(r#"{{"{quiet}\\":[]}}"#),
                "[]".into(),
            ] {
                let text = format!("{quiet}{value},[]}}]");
                let behind = behind_brackets(text.as_bytes(), padding).unwrap();
                assert_eq!(&text[padding..behind], value);
            }
        }
        assert_eq!(behind_brackets(b"[[]", 0), None);
        assert_eq!(behind_brackets(b"{\"}\\\"", 0), None);
        assert_eq!(behind_brackets(b"{", 1), None);
    }

    #[test]
    fn a_quotation_mark_is_found_wherever_it_stands() {
        for before in 0..70 {
            let text = format!("{}\"{}", "x".repeat(before), "y".repeat(40));
            assert_eq!(quote_or_backslash(text.as_bytes(), 0), Some(before));
            assert_eq!(quote_or_backslash(text.as_bytes(), before + 1), None);
        }
        assert_eq!(quote_or_backslash(b"ab\\\"", 0), Some(2));
        assert_eq!(quote_or_backslash(b"ab", 9), None);
    }
}
