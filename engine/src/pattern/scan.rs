//! An event's JSON, read once from front to back: values on paths that somebody looks at, everything else is passed
//! over. The event was checked to be JSON when it came in; what is not is an error here, never a panic.

use super::InvalidEvent;
use super::condition::Value;

/// How deep events may be nested.
const DEPTH_MAX: usize = 1_000;
/// The largest event.
const BYTES_MAX: usize = 8 << 20;

/// Where in arrays of objects a value stands: which element of which array. Sorted by array.
pub(super) type Membership = Vec<(u32, u32)>;

/// What the scanner asks at every name, and tells at every value.
pub(super) trait Listener {
    /// A place among the names that somebody looks at.
    type Place: Copy;
    /// The place of a name below another; none if nobody looks there.
    fn below(&self, place: Self::Place, name: &str) -> Option<Self::Place>;
    /// A value at a place.
    fn value(&mut self, place: Self::Place, value: Value<'_>, membership: &Membership);
}

pub(super) struct Scanner<'e> {
    text: &'e str,
    at: usize,
    depth: usize,
    arrays: u32,
    membership: Membership,
}

fn wrong(at: usize) -> InvalidEvent {
    InvalidEvent(format!("the event is no JSON object: something else was expected at byte {at}"))
}

impl<'e> Scanner<'e> {
    pub(super) fn scan<L: Listener>(event: &'e [u8], root: L::Place, listener: &mut L) -> Result<(), InvalidEvent> {
        if event.len() > BYTES_MAX {
            return Err(InvalidEvent(format!(
                "the event has {} bytes, at most {BYTES_MAX} are allowed",
                event.len()
            )));
        }
        let text = std::str::from_utf8(event).map_err(|error| wrong(error.valid_up_to()))?;
        let mut scanner = Scanner { text, at: 0, depth: 0, arrays: 0, membership: Vec::new() };
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

    /// After an element: whether another follows.
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
            let raw = self.string()?;
            self.space();
            if self.byte() != Some(b':') {
                return Err(wrong(self.at));
            }
            self.at += 1;
            self.space();
            let below = if raw.contains('\\') {
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
        let mut index = 0;
        loop {
            match self.byte() {
                Some(b'{' | b'[') => {
                    self.membership.push((array, index));
                    self.value(place, listener)?;
                    self.membership.pop();
                }
                _ => self.scalar(place, listener)?,
            }
            index += 1;
            if !self.more(b']')? {
                return Ok(());
            }
        }
    }

    fn scalar<L: Listener>(&mut self, place: L::Place, listener: &mut L) -> Result<(), InvalidEvent> {
        if self.byte() == Some(b'"') {
            let raw = self.string()?;
            if raw.contains('\\') {
                let text = unescaped(raw).ok_or_else(|| wrong(self.at))?;
                listener.value(place, Value::Text(&text), &self.membership);
            } else {
                listener.value(place, Value::Text(raw), &self.membership);
            }
            return Ok(());
        }
        let word = self.word()?;
        let value = if matches!(word, "true" | "false" | "null") { Value::Word(word) } else { Value::Number(word) };
        listener.value(place, value, &self.membership);
        Ok(())
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> Result<&'e str, InvalidEvent> {
        let rest = &self.text[self.at..];
        let length =
            rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.')).count();
        let word = &rest[..length];
        let sound = matches!(word, "true" | "false" | "null")
            || word.bytes().next().is_some_and(|first| first == b'-' || first.is_ascii_digit());
        if !sound {
            return Err(wrong(self.at));
        }
        self.at += length;
        Ok(word)
    }

    /// What stands between two quotation marks, as it is written.
    fn string(&mut self) -> Result<&'e str, InvalidEvent> {
        if self.byte() != Some(b'"') {
            return Err(wrong(self.at));
        }
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let mut at = start;
        loop {
            match memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
                None => return Err(wrong(self.text.len())),
                Some(found) if bytes[at + found] == b'"' => {
                    self.at = at + found + 1;
                    return Ok(&self.text[start..at + found]);
                }
                Some(found) => at += found + 2,
            }
        }
    }

    fn pass_over(&mut self) -> Result<(), InvalidEvent> {
        match self.byte() {
            Some(b'"') => self.string().map(drop),
            Some(b'{' | b'[') => self.pass_over_brackets(),
            _ => self.word().map(drop),
        }
    }

    /// To the bracket that closes the one here. Which kinds they are was checked when the event came in.
    fn pass_over_brackets(&mut self) -> Result<(), InvalidEvent> {
        let bytes = self.text.as_bytes();
        let mut open = 0usize;
        loop {
            match bytes.get(self.at) {
                None => return Err(wrong(self.at)),
                Some(b'"') => {
                    self.string()?;
                    continue;
                }
                Some(b'{' | b'[') => open += 1,
                Some(b'}' | b']') => open -= 1,
                Some(_) => {}
            }
            self.at += 1;
            if open == 0 {
                return Ok(());
            }
        }
    }
}

/// A string without its escapes.
fn unescaped(raw: &str) -> Option<String> {
    serde_json::from_str(&format!("\"{raw}\"")).ok()
}
