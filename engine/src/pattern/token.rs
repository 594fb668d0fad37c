//! JSON as a row of tokens that know where they stand: error messages name the line and column behind the last token
//! read, as the service does. A string counts as read up to its opening quotation mark until somebody wants its text.

/// How deep patterns may be nested.
const DEPTH_MAX: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    ObjectStart,
    ObjectEnd,
    ArrayStart,
    ArrayEnd,
    Name(String),
    Text(String),
    /// As it was written.
    Number(String),
    True,
    False,
    Null,
}

pub(super) struct Tokens<'t> {
    text: &'t str,
    at: usize,
    /// Where the last token counts as read up to.
    behind: usize,
    /// Open brackets; true: an object.
    open: Vec<bool>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    FirstName,
    FirstElement,
    AfterValue,
    End,
}

/// What is wrong, and where reading stopped.
pub(super) struct SyntaxError(pub(super) String);

impl<'t> Tokens<'t> {
    pub(super) fn new(text: &'t str) -> Tokens<'t> {
        Tokens { text, at: 0, behind: 0, open: Vec::new(), state: State::Value }
    }

    /// The whole text.
    pub(super) fn source(&self) -> &'t str {
        self.text
    }

    /// Line and column behind the last token, counted from 1, in UTF-16 units as the service counts.
    pub(super) fn place(&self) -> (usize, usize) {
        let before = &self.text[..self.behind];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (line, before[start..].encode_utf16().count() + 1)
    }

    /// The text of the string that was just read is wanted: it counts as read to its end.
    pub(super) fn read_text(&mut self) {
        self.behind = self.at;
    }

    pub(super) fn next(&mut self) -> Result<Token, SyntaxError> {
        self.skip_space();
        let token = self.token();
        if token.is_err() {
            self.behind = (self.at + 1).min(self.text.len());
            while !self.text.is_char_boundary(self.behind) {
                self.behind += 1;
            }
        }
        token
    }

    fn token(&mut self) -> Result<Token, SyntaxError> {
        let in_object = self.open.last().copied();
        match (self.state, in_object) {
            (State::End, _) => Err(SyntaxError("Unexpected content after the end".into())),
            (State::FirstName, _) if self.peek() == Some(b'}') => self.close(),
            (State::FirstName, _) => self.name(),
            (State::FirstElement, _) if self.peek() == Some(b']') => self.close(),
            (State::FirstElement | State::Value, _) => self.value(),
            (State::AfterValue, Some(true)) => match self.peek() {
                Some(b'}') => self.close(),
                Some(b',') => {
                    self.at += 1;
                    self.skip_space();
                    self.name()
                }
                _ => Err(self.unexpected("was expecting comma to separate Object entries", "Object")),
            },
            (State::AfterValue, Some(false)) => match self.peek() {
                Some(b']') => self.close(),
                Some(b',') => {
                    self.at += 1;
                    self.skip_space();
                    self.value()
                }
                _ => Err(self.unexpected("was expecting comma to separate Array entries", "Array")),
            },
            (State::AfterValue, None) => Err(SyntaxError("Unexpected content after the end".into())),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn unexpected(&self, expected: &str, inside: &str) -> SyntaxError {
        match self.text[self.at..].chars().next() {
            Some(found) => {
                SyntaxError(format!("Unexpected character ('{found}' (code {})): {expected}", u32::from(found)))
            }
            None => SyntaxError(format!("Unexpected end-of-input: expected close marker for {inside}")),
        }
    }

    fn close(&mut self) -> Result<Token, SyntaxError> {
        self.at += 1;
        self.behind = self.at;
        let object = self.open.pop() == Some(true);
        self.state = if self.open.is_empty() { State::End } else { State::AfterValue };
        Ok(if object { Token::ObjectEnd } else { Token::ArrayEnd })
    }

    fn name(&mut self) -> Result<Token, SyntaxError> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("was expecting double-quote to start field name", "Object"));
        }
        let name = self.string()?;
        self.behind = self.at;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.unexpected("was expecting a colon to separate field name and value", "Object"));
        }
        self.at += 1;
        self.state = State::Value;
        Ok(Token::Name(name))
    }

    fn value(&mut self) -> Result<Token, SyntaxError> {
        self.state = if self.open.is_empty() { State::End } else { State::AfterValue };
        let token = match self.peek() {
            Some(bracket @ (b'{' | b'[')) => {
                if self.open.len() >= DEPTH_MAX {
                    return Err(SyntaxError(format!("It is nested deeper than {DEPTH_MAX} levels")));
                }
                self.at += 1;
                self.open.push(bracket == b'{');
                self.state = if bracket == b'{' { State::FirstName } else { State::FirstElement };
                if bracket == b'{' { Token::ObjectStart } else { Token::ArrayStart }
            }
            Some(b'"') => {
                let start = self.at;
                let text = self.string()?;
                self.behind = start + 1;
                return Ok(Token::Text(text));
            }
            Some(b'-' | b'0'..=b'9') => Token::Number(self.number()?),
            Some(b't') if self.word("true") => Token::True,
            Some(b'f') if self.word("false") => Token::False,
            Some(b'n') if self.word("null") => Token::Null,
            _ => {
                return Err(
                    self.unexpected("expected a valid value (JSON String, Number, Array, Object or token)", "value")
                );
            }
        };
        self.behind = self.at;
        Ok(token)
    }

    fn word(&mut self, word: &str) -> bool {
        let is = self.text[self.at..].starts_with(word);
        self.at += if is { word.len() } else { 0 };
        is
    }

    fn number(&mut self) -> Result<String, SyntaxError> {
        let rest = &self.text[self.at..];
        let length = rest.bytes().take_while(|b| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')).count();
        let number = &rest[..length];
        if serde_json::from_str::<&serde_json::value::RawValue>(number).is_err() {
            return Err(SyntaxError(format!("Invalid numeric value: {number}")));
        }
        self.at += length;
        Ok(number.to_owned())
    }

    fn string(&mut self) -> Result<String, SyntaxError> {
        let bytes = self.text.as_bytes();
        let mut end = self.at + 1;
        loop {
            match bytes.get(end) {
                None => return Err(SyntaxError("Unexpected end-of-input in VALUE_STRING".into())),
                Some(b'"') => break,
                Some(b'\\') => end += 2,
                Some(_) => end += 1,
            }
        }
        let quoted = &self.text[self.at..=end];
        let text = serde_json::from_str(quoted).map_err(|error| SyntaxError(format!("Invalid string: {error}")))?;
        self.at = end + 1;
        Ok(text)
    }
}
