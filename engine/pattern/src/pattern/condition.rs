//! One condition of a pattern on one value.

use super::address::{Address, address};
use super::number::comparable;

/// A value of an event, at the end of its path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'v> {
    /// Without its quotation marks, unescaped.
    Text(&'v str),
    /// As it was written.
    Number(&'v str),
    /// `true`, `false` or `null`.
    Word(&'v str),
}

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Condition {
    Text(String),
    /// A text that is an IP address.
    Address(Address),
    /// A number: equal to a comparable one, or spelled the same.
    Number {
        equal: Option<f64>,
        written: String,
    },
    Word(String),
    Prefix(String),
    Suffix(String),
    TextIgnoreCase(Folded),
    PrefixIgnoreCase(Folded),
    SuffixIgnoreCase(Folded),
    Wildcard(Wildcard),
    Range(Range),
    Block(Address, Address),
    Exists,
    /// Holds when there is no value at all.
    Absent,
    AnythingBut(Vec<Condition>),
}

/// Numbers between two bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    pub(super) bottom: f64,
    pub(super) open_bottom: bool,
    pub(super) top: f64,
    pub(super) open_top: bool,
}

impl Range {
    pub(super) fn holds(&self, number: f64) -> bool {
        let above = if self.open_bottom { number > self.bottom } else { number >= self.bottom };
        above && if self.open_top { number < self.top } else { number <= self.top }
    }
}

impl Condition {
    /// Whether a value meets the condition.
    pub(super) fn holds(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Condition::Exists, _) => true,
            (Condition::Absent, _) => false,
            (Condition::AnythingBut(excluded), value) => !excluded.iter().any(|condition| condition.holds(value)),
            (Condition::Text(text), Value::Text(value)) => text == value,
            (Condition::Address(wanted), Value::Text(value)) => address(value) == Some(*wanted),
            (Condition::Number { equal, written }, Value::Number(value)) => {
                written == value || equal.is_some() && comparable(value) == *equal
            }
            (Condition::Word(word), Value::Word(value)) => word == value,
            (Condition::Prefix(prefix), Value::Text(value)) => value.starts_with(prefix.as_str()),
            (Condition::Suffix(suffix), Value::Text(value)) => value.ends_with(suffix.as_str()),
            (Condition::TextIgnoreCase(folded), Value::Text(value)) => folded.is(value),
            (Condition::PrefixIgnoreCase(folded), Value::Text(value)) => folded.begins(value),
            (Condition::SuffixIgnoreCase(folded), Value::Text(value)) => folded.ends(value),
            (Condition::Wildcard(wildcard), Value::Text(value)) => wildcard.matches(value.as_bytes()),
            (Condition::Range(range), Value::Number(value)) => {
                comparable(value).is_some_and(|number| range.holds(number))
            }
            (Condition::Block(first, last), Value::Text(value)) => address(value).is_some_and(|address| {
                std::mem::discriminant(&address) == std::mem::discriminant(first)
                    && *first <= address
                    && address <= *last
            }),
            _ => false,
        }
    }
}

/// A text whose letters match in lower and upper case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folded(Vec<(String, String)>);

impl Folded {
    pub(super) fn new(text: &str) -> Folded {
        Folded(text.chars().map(|c| (c.to_lowercase().collect(), c.to_uppercase().collect())).collect())
    }

    /// Its lower case, if every letter is ASCII in both cases.
    pub(super) fn ascii(&self) -> Option<String> {
        let lower = self.0.iter().map(|(lower, _)| lower.as_str()).collect::<String>();
        let ascii = |(lower, upper): &(String, String)| lower.is_ascii() && upper.is_ascii();
        self.0.iter().all(ascii).then_some(lower)
    }

    /// The ends of all prefixes of `value` that match this text; the cases of a letter may differ in length.
    fn ends_of(&self, value: &str) -> Vec<usize> {
        let mut places = vec![0];
        for (lower, upper) in &self.0 {
            let mut next = Vec::new();
            for place in places {
                for case in [lower, upper] {
                    let end = place + case.len();
                    if value[place..].starts_with(case.as_str()) && !next.contains(&end) {
                        next.push(end);
                    }
                }
            }
            places = next;
            if places.is_empty() {
                break;
            }
        }
        places
    }

    fn is(&self, value: &str) -> bool {
        self.ends_of(value).contains(&value.len())
    }

    fn begins(&self, value: &str) -> bool {
        !self.ends_of(value).is_empty()
    }

    fn ends(&self, value: &str) -> bool {
        let mut places = vec![value.len()];
        for (lower, upper) in self.0.iter().rev() {
            let mut next = Vec::new();
            for place in places {
                for case in [lower, upper] {
                    if value[..place].ends_with(case.as_str()) && !next.contains(&(place - case.len())) {
                        next.push(place - case.len());
                    }
                }
            }
            places = next;
        }
        !places.is_empty()
    }
}

/// Up to this length texts are searched byte by byte, which is faster than starting a finder.
const SHORT: usize = 48;

/// Compares short texts byte by byte, which is faster than a call of `memcmp`.
#[inline]
pub(super) fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| left == right)
}

fn find(part: &memchr::memmem::Finder<'_>, text: &[u8]) -> Option<usize> {
    let needle = part.needle();
    match needle.first() {
        Some(first) if text.len() <= SHORT => {
            let last = text.len().checked_sub(needle.len())?;
            let stands = |at: &usize| text[*at..].iter().zip(needle).all(|(found, wanted)| found == wanted);
            (0..=last).find(|at| text[*at] == *first && stands(at))
        }
        _ => part.find(text),
    }
}

/// A text with stars, each of which matches any text.
#[derive(Clone, Debug)]
pub(super) struct Wildcard {
    /// The texts between the stars.
    parts: Vec<Vec<u8>>,
    /// Finders for the parts between two stars.
    middle: Vec<memchr::memmem::Finder<'static>>,
}

impl PartialEq for Wildcard {
    fn eq(&self, other: &Wildcard) -> bool {
        self.parts == other.parts
    }
}

impl Wildcard {
    /// Parses `*` for any text, `\*` for a star, `\\` for a backslash. Positions in errors count from the quotation
    /// mark.
    pub(super) fn parse(text: &str) -> Result<Wildcard, String> {
        let bytes = text.as_bytes();
        let (mut parts, mut at) = (vec![Vec::new()], 0);
        while let Some(byte) = bytes.get(at) {
            match (byte, bytes.get(at + 1)) {
                (b'*', Some(b'*')) => return Err(format!("Consecutive wildcard characters at pos {}", at + 1)),
                (b'*', _) => parts.push(Vec::new()),
                (b'\\', Some(escaped @ (b'*' | b'\\'))) => {
                    parts.last_mut().expect("there is always one").push(*escaped);
                    at += 1;
                }
                (b'\\', _) => return Err(format!("Invalid escape character at pos {}", at + 1)),
                (byte, _) => parts.last_mut().expect("there is always one").push(*byte),
            }
            at += 1;
        }
        let between = parts.get(1..parts.len() - 1).unwrap_or_default();
        let middle = between.iter().map(|part| memchr::memmem::Finder::new(part).into_owned()).collect();
        Ok(Wildcard { parts, middle })
    }

    /// The texts between the stars.
    pub(super) fn parts(&self) -> &[Vec<u8>] {
        &self.parts
    }

    fn matches(&self, value: &[u8]) -> bool {
        let [first, .., last] = self.parts.as_slice() else {
            return self.parts[0] == value;
        };
        let Some(inner) = value.len().checked_sub(first.len() + last.len()) else { return false };
        let mut rest = &value[first.len()..first.len() + inner];
        if !same(first, &value[..first.len()]) || !same(last, &value[first.len() + inner..]) {
            return false;
        }
        // The leftmost match of each part leaves the most text for the following parts.
        for part in &self.middle {
            match find(part, rest) {
                Some(at) => rest = &rest[at + part.needle().len()..],
                None => return false,
            }
        }
        true
    }
}
