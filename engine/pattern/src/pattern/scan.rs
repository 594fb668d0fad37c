//! Scans an event's JSON once from front to back: reports values on paths that patterns look at, and skips everything
//! else. The event was validated as JSON when it came in; if it is not JSON, the result is an error, never a panic.

use super::InvalidEvent;
use super::blocks::{behind_brackets, quote_or_backslash};
use super::condition::Value;

/// How deep events may be nested.
const DEPTH_MAX: usize = 256;
/// The largest event, in bytes.
const BYTES_MAX: usize = 8 << 20;
/// Elements whose memory is kept for the next event.
const ELEMENTS_KEPT: usize = 1 << 16;

/// An object or array that is an element of an array. Each value is in one, or outside all: that is element 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element {
    /// The element that contains it.
    pub(super) above: u32,
    /// The array that contains it; every array of an event has its own number.
    pub(super) array: u32,
}

/// The elements of one event, by number, in the order in which they begin.
#[derive(Clone, Debug, Default)]
pub(super) struct Elements(Vec<Element>);

impl Elements {
    /// The number that stands for outside all elements.
    pub(super) const OUTSIDE: u32 = 0;

    fn begin(&mut self) {
        self.0.clear();
        self.0.shrink_to(ELEMENTS_KEPT);
        self.0.push(Element { above: Elements::OUTSIDE, array: u32::MAX });
    }

    fn enter(&mut self, above: u32, array: u32) -> u32 {
        self.0.push(Element { above, array });
        (self.0.len() - 1) as u32 // fewer than the bytes of an event
    }

    /// An element by its number.
    pub(super) fn get(&self, number: u32) -> Element {
        self.0[number as usize]
    }

    /// An element and all elements around it, from the inside out.
    pub(super) fn chain(&self, number: u32) -> impl Iterator<Item = u32> + '_ {
        let above = |number: &u32| Some(self.get(*number).above);
        std::iter::successors(Some(number), above).take_while(|number| *number != Elements::OUTSIDE)
    }
}

/// Is asked at every name, and gets every value.
pub(super) trait Listener {
    /// A place among the names that patterns look at.
    type Place: Copy;
    /// The place of a name below another; none if no pattern looks there.
    fn below(&self, place: Self::Place, name: &str) -> Option<Self::Place>;
    /// A value at a place, in an element.
    fn value(&mut self, place: Self::Place, value: Value<'_>, element: u32);
}

pub(super) struct Scanner<'e, 'k> {
    text: &'e str,
    at: usize,
    depth: usize,
    arrays: u32,
    /// The element that is being scanned.
    element: u32,
    elements: &'k mut Elements,
}

fn wrong(at: usize) -> InvalidEvent {
    InvalidEvent(format!("the event is no JSON object: something else was expected at byte {at}"))
}

impl<'e, 'k> Scanner<'e, 'k> {
    pub(super) fn scan<L: Listener>(
        event: &'e [u8],
        root: L::Place,
        listener: &mut L,
        elements: &'k mut Elements,
    ) -> Result<(), InvalidEvent> {
        if event.len() > BYTES_MAX {
            return Err(InvalidEvent(format!(
                "the event has {} bytes, at most {BYTES_MAX} are allowed",
                event.len()
            )));
        }
        let text = std::str::from_utf8(event).map_err(|error| wrong(error.valid_up_to()))?;
        elements.begin();
        let mut scanner = Scanner { text, at: 0, depth: 0, arrays: 0, element: Elements::OUTSIDE, elements };
        scanner.space();
        if scanner.byte() != Some(b'{') {
            return Err(wrong(scanner.at));
        }
        scanner.object(root, listener)?;
        scanner.space();
        if scanner.at == text.len() { Ok(()) } else { Err(wrong(scanner.at)) }
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    fn enter(&mut self) -> Result<(), InvalidEvent> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(InvalidEvent(format!("the event is nested deeper than {DEPTH_MAX} levels")));
        }
        self.space();
        Ok(())
    }

    /// After an element or member: whether another follows.
    fn more(&mut self, end: u8) -> Result<bool, InvalidEvent> {
        self.space();
        let byte = self.byte();
        self.at += 1;
        match byte {
            Some(b',') => {
                self.space();
                Ok(true)
            }
            Some(byte) if byte == end => {
                self.depth -= 1;
                Ok(false)
            }
            _ => Err(wrong(self.at - 1)),
        }
    }

    fn object<L: Listener>(&mut self, place: L::Place, listener: &mut L) -> Result<(), InvalidEvent> {
        self.enter()?;
        if self.byte() == Some(b'}') {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        loop {
            let (raw, escaped) = self.string()?;
            self.space();
            if self.byte() != Some(b':') {
                return Err(wrong(self.at));
            }
            self.at += 1;
            self.space();
            let below = if escaped {
                listener.below(place, &unescaped(raw).ok_or_else(|| wrong(self.at))?)
            } else {
                listener.below(place, raw)
            };
            match below {
                Some(below) => self.value(below, listener)?,
                None => self.pass_over()?,
            }
            if !self.more(b'}')? {
                return Ok(());
            }
        }
    }

    fn value<L: Listener>(&mut self, place: L::Place, listener: &mut L) -> Result<(), InvalidEvent> {
        match self.byte() {
            Some(b'{') => self.object(place, listener),
            Some(b'[') => self.array(place, listener),
            _ => self.scalar(place, listener),
        }
    }

    fn array<L: Listener>(&mut self, place: L::Place, listener: &mut L) -> Result<(), InvalidEvent> {
        self.enter()?;
        let array = self.arrays;
        self.arrays += 1;
        if self.byte() == Some(b']') {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        loop {
            match self.byte() {
                Some(b'{' | b'[') => {
                    let above = self.element;
                    self.element = self.elements.enter(above, array);
                    self.value(place, listener)?;
                    self.element = above;
                }
                _ => self.scalar(place, listener)?,
            }
            if !self.more(b']')? {
                return Ok(());
            }
        }
    }

    fn scalar<L: Listener>(&mut self, place: L::Place, listener: &mut L) -> Result<(), InvalidEvent> {
        if self.byte() == Some(b'"') {
            let (raw, escaped) = self.string()?;
            if escaped {
                let text = unescaped(raw).ok_or_else(|| wrong(self.at))?;
                listener.value(place, Value::Text(&text), self.element);
            } else {
                listener.value(place, Value::Text(raw), self.element);
            }
            return Ok(());
        }
        let word = self.word()?;
        let value = if matches!(word, "true" | "false" | "null") { Value::Word(word) } else { Value::Number(word) };
        listener.value(place, value, self.element);
        Ok(())
    }

    /// A number, `true`, `false` or `null`.
    #[inline]
    fn word(&mut self) -> Result<&'e str, InvalidEvent> {
        let rest = &self.text.as_bytes()[self.at..];
        let length = rest.iter().position(|byte| !IN_WORD[*byte as usize]).unwrap_or(rest.len());
        let word = &self.text[self.at..self.at + length];
        let sound = rest.first().is_some_and(|first| *first == b'-' || first.is_ascii_digit())
            || matches!(word, "true" | "false" | "null");
        if !sound {
            return Err(wrong(self.at));
        }
        self.at += length;
        Ok(word)
    }

    /// The text between two quotation marks as it is written, and whether it has an escape.
    #[inline]
    fn string(&mut self) -> Result<(&'e str, bool), InvalidEvent> {
        if self.byte() != Some(b'"') {
            return Err(wrong(self.at));
        }
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let (mut at, mut escaped) = (start, false);
        loop {
            match quote_or_backslash(bytes, at) {
                None => return Err(wrong(self.text.len())),
                Some(found) if bytes[found] == b'"' => {
                    self.at = found + 1;
                    return Ok((&self.text[start..found], escaped));
                }
                Some(found) => {
                    escaped = true;
                    at = found + 2;
                }
            }
        }
    }

    #[inline]
    fn pass_over(&mut self) -> Result<(), InvalidEvent> {
        match self.byte() {
            Some(b'"') => self.string().map(drop),
            Some(b'{' | b'[') => {
                self.at = behind_brackets(self.text.as_bytes(), self.at).ok_or_else(|| wrong(self.text.len()))?;
                Ok(())
            }
            _ => self.word().map(drop),
        }
    }
}

/// The bytes of numbers and words.
const IN_WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'+' | b'.');
        byte += 1;
    }
    table
};

/// A string without its escapes.
fn unescaped(raw: &str) -> Option<String> {
    serde_json::from_str(&format!("\"{raw}\"")).ok()
}
