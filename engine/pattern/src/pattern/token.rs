//! JSON as a sequence of tokens with positions: error messages name the line and column after the last token read, as
//! the service does. A string counts as read only up to its opening quotation mark until its text is requested.
//! Errors in the JSON use the words of the service's parser: an unexpected character with its own position, an
//! unknown word with the position after it, an early end with the bracket that is still open.

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
    /// The position up to which the last token counts as read.
    behind: usize,
    /// Open brackets.
    open: Vec<Open>,
    state: State,
}

/// An open bracket and its position.
#[derive(Clone, Copy)]
struct Open {
    object: bool,
    at: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    FirstName,
    FirstElement,
    AfterValue,
    End,
}

/// What is wrong. Reading stopped at the position after the last token.
pub(super) struct SyntaxError(pub(super) String);

/// The service's parser's name for a value.
const VALUES: &str = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')";
/// The most characters of an unknown word that are shown.
const WORD_MAX: usize = 256;

impl<'t> Tokens<'t> {
    pub(super) fn new(text: &'t str) -> Tokens<'t> {
        Tokens { text, at: 0, behind: 0, open: Vec::new(), state: State::Value }
    }

    /// The whole text.
    pub(super) fn source(&self) -> &'t str {
        self.text
    }

    /// Line and column after the last token, counted from 1, in UTF-16 units as the service counts.
    pub(super) fn place(&self) -> (usize, usize) {
        place(self.text, self.behind)
    }

    /// Marks the string that was just read as read to its end.
    pub(super) fn read_text(&mut self) {
        self.behind = self.at;
    }

    pub(super) fn next(&mut self) -> Result<Token, SyntaxError> {
        self.skip_space();
        self.token()
    }

    fn token(&mut self) -> Result<Token, SyntaxError> {
        let in_object = self.open.last().map(|open| open.object);
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
                _ => Err(self.unexpected("was expecting comma to separate Object entries")),
            },
            (State::AfterValue, Some(false)) => match self.peek() {
                Some(b']') => self.close(),
                Some(b',') => {
                    self.at += 1;
                    self.skip_space();
                    self.value()
                }
                _ => Err(self.unexpected("was expecting comma to separate Array entries")),
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

    /// An error at the position `at`.
    fn wrong_at(&mut self, at: usize, what: String) -> SyntaxError {
        self.behind = at;
        SyntaxError(what)
    }

    /// An error at the next character: the service names the position of that character itself.
    fn unexpected(&mut self, expected: &str) -> SyntaxError {
        match self.text[self.at..].chars().next() {
            Some('/') if expected != HEX_DIGIT => self.unexpected_as(
                '/',
                "maybe a (non-standard) comment? (not recognized as one since Feature 'ALLOW_COMMENTS' not enabled for \
                 parser)",
            ),
            Some(found) => self.unexpected_as(found, expected),
            None => self.ended(),
        }
    }

    fn unexpected_as(&mut self, found: char, expected: &str) -> SyntaxError {
        self.wrong_at(self.at, format!("Unexpected character ({}): {expected}", described(found)))
    }

    /// The text ends between two tokens.
    fn ended(&mut self) -> SyntaxError {
        let what = match self.open.last() {
            Some(open) => {
                let kind = if open.object { "Object" } else { "Array" };
                let (line, column) = place(self.text, open.at);
                let start = format!("[Source: (String)\"{}\"; line: {line}, column: {column}]", self.text);
                format!("Unexpected end-of-input: expected close marker for {kind} (start marker at {start})")
            }
            None => "Filter is not an object".to_owned(),
        };
        self.wrong_at(self.text.len(), what)
    }

    fn close(&mut self) -> Result<Token, SyntaxError> {
        self.at += 1;
        self.behind = self.at;
        let object = self.open.pop().is_some_and(|open| open.object);
        self.state = if self.open.is_empty() { State::End } else { State::AfterValue };
        Ok(if object { Token::ObjectEnd } else { Token::ArrayEnd })
    }

    fn name(&mut self) -> Result<Token, SyntaxError> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("was expecting double-quote to start field name"));
        }
        let name = self.string(" in field name")?;
        self.behind = self.at;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.unexpected("was expecting a colon to separate field name and value"));
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
                    return Err(self.wrong_at(self.at, format!("It is nested deeper than {DEPTH_MAX} levels")));
                }
                self.open.push(Open { object: bracket == b'{', at: self.at });
                self.at += 1;
                self.state = if bracket == b'{' { State::FirstName } else { State::FirstElement };
                if bracket == b'{' { Token::ObjectStart } else { Token::ArrayStart }
            }
            Some(b'"') => {
                let start = self.at;
                let text = self.string(": was expecting closing quote for a string value")?;
                self.behind = start + 1;
                return Ok(Token::Text(text));
            }
            Some(b'-' | b'0'..=b'9') => Token::Number(self.number()?),
            _ => self.word()?,
        };
        self.behind = self.at;
        Ok(token)
    }

    /// `true`, `false` or `null`; any other word is reported completely.
    fn word(&mut self) -> Result<Token, SyntaxError> {
        let rest = &self.text[self.at..];
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let word = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
        let token = match word {
            "true" => Token::True,
            "false" => Token::False,
            "null" => Token::Null,
            _ if word.is_empty() || word.starts_with(char::is_numeric) => {
                return Err(self.unexpected(&format!("expected a valid value {VALUES}")));
            }
            "NaN" | "Infinity" => {
                let what = format!(
                    "Non-standard token '{word}': enable `JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS` to allow"
                );
                return Err(self.wrong_at(self.at + word.len(), what));
            }
            _ => {
                let shown: String = word.chars().take(WORD_MAX).collect();
                let more = if shown.len() < word.len() { "..." } else { "" };
                let what = format!("Unrecognized token '{shown}{more}': was expecting {VALUES}");
                return Err(self.wrong_at(self.at + shown.len(), what));
            }
        };
        self.at += word.len();
        Ok(token)
    }

    /// A number, digit by digit: each position where a digit must follow has an error message of its own.
    fn number(&mut self) -> Result<String, SyntaxError> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.digits() == 0 {
            return Err(self.no_digit("expected digit (0-9) to follow minus sign, for valid numeric value"));
        }
        let whole = self.text[start..self.at].trim_start_matches('-');
        if whole.len() > 1 && whole.starts_with('0') {
            return Err(self.wrong_at(self.at, "Invalid numeric value: Leading zeroes not allowed".into()));
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.no_digit("Decimal point not followed by a digit"));
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            if self.digits() == 0 {
                return Err(self.no_digit("Exponent indicator not followed by a digit"));
            }
        }
        Ok(self.text[start..self.at].to_owned())
    }

    /// Skips digits; returns how many.
    fn digits(&mut self) -> usize {
        let count = self.text.as_bytes()[self.at..].iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += count;
        count
    }

    fn no_digit(&mut self, expected: &str) -> SyntaxError {
        match self.text[self.at..].chars().next() {
            Some(found) => self.unexpected_as(found, expected),
            None => self.wrong_at(self.at, "Unexpected end-of-input within/between Number values".into()),
        }
    }

    /// A string from its opening quotation mark on; `ended` is the error if the text ends inside it.
    fn string(&mut self, ended: &str) -> Result<String, SyntaxError> {
        let bytes = self.text.as_bytes();
        let mut end = self.at + 1;
        loop {
            match bytes.get(end) {
                None => return Err(self.wrong_at(self.text.len(), format!("Unexpected end-of-input{ended}"))),
                Some(b'"') => break,
                Some(b'\\') => end = self.escape(end + 1)?,
                Some(control @ 0..=0x1F) => {
                    let what = format!(
                        "Illegal unquoted character ({}): has to be escaped using backslash to be included in string value",
                        described(char::from(*control))
                    );
                    return Err(self.wrong_at(end + 1, what));
                }
                Some(_) => end += 1,
            }
        }
        let quoted = &self.text[self.at..=end];
        let text = serde_json::from_str(quoted)
            .map_err(|error| self.wrong_at(end + 1, format!("Invalid string: {error}")))?;
        self.at = end + 1;
        Ok(text)
    }

    /// An escape after a backslash; returns the position after it.
    fn escape(&mut self, at: usize) -> Result<usize, SyntaxError> {
        match self.text[at.min(self.text.len())..].chars().next() {
            Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => Ok(at + 1),
            Some('u') => {
                for digit in at + 1..at + 5 {
                    if !self.text.as_bytes().get(digit).is_some_and(u8::is_ascii_hexdigit) {
                        self.at = digit.min(self.text.len());
                        return Err(match self.text[self.at..].chars().next() {
                            Some(_) => self.unexpected(HEX_DIGIT),
                            None => self.wrong_at(self.at, format!("Unexpected end-of-input{IN_ESCAPE}")),
                        });
                    }
                }
                Ok(at + 5)
            }
            Some(other) => {
                let what = format!("Unrecognized character escape {}", described(other));
                Err(self.wrong_at(at + other.len_utf8(), what))
            }
            None => Err(self.wrong_at(self.text.len(), format!("Unexpected end-of-input{IN_ESCAPE}"))),
        }
    }
}

const HEX_DIGIT: &str = "expected a hex-digit for character escape sequence";
const IN_ESCAPE: &str = " in character escape sequence";

/// Line and column of a byte of a text, counted from 1, in UTF-16 units.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before[start..].encode_utf16().count() + 1)
}

/// A character as the service's parser prints it.
fn described(found: char) -> String {
    match u32::from(found) {
        code if found.is_control() => format!("(CTRL-CHAR, code {code})"),
        code if code > 255 => format!("'{found}' (code {code} / 0x{code:x})"),
        code => format!("'{found}' (code {code})"),
    }
}
