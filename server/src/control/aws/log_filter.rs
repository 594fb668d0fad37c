//! Filter patterns of log groups: words that a line holds (`captured "sparkit" -dodged ?ash ?gary`), or a question about
//! its JSON (`{ $.detail.player = "ash" && $.detail.position > 100 }`).
//!
//! ```text
//! any   = all ("||" all)*          all = one ("&&" one)*          one = "(" any ")" | path test
//! path  = "$" ("." name | "[" index "]")*
//! test  = ("=" | "!=" | "<" | "<=" | ">" | ">=") value | "IS" ("NULL" | "TRUE" | "FALSE") | "NOT EXISTS"
//! value = "text, * for anything" | number | word
//! ```

use serde_json::Value;
use std::cmp::Ordering;

/// The longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1_024;
/// How deep parentheses may be nested.
const DEPTH_MAX: u32 = 32;

/// A pattern.
#[derive(Debug, PartialEq)]
pub(super) enum Filter {
    /// Words: all of `wanted`, one of `any` if there are some, none of `unwanted`.
    Words { wanted: Vec<String>, any: Vec<String>, unwanted: Vec<String> },
    /// About lines that are JSON.
    Json(Question),
}

#[derive(Debug, PartialEq)]
pub(super) enum Question {
    All(Vec<Question>),
    Any(Vec<Question>),
    Is(Vec<Step>, Test),
}

/// A step of a path.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Name(String),
    Index(usize),
}

#[derive(Debug, PartialEq)]
pub(super) enum Test {
    Text { equal: bool, pattern: String },
    Number { is: &'static [Ordering], not: bool, number: f64 },
    Is(Value),
    NotExists,
}

impl Filter {
    /// Parses a pattern; the error is a sentence.
    pub(super) fn parse(text: &str) -> Result<Filter, String> {
        let text = text.trim();
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!("filterPattern is longer than {PATTERN_BYTES_MAX} bytes"));
        }
        match text.as_bytes() {
            [b'{', inner @ .., b'}'] => {
                let inner = std::str::from_utf8(inner).expect("between two ASCII characters of a text");
                let mut parser = Parser { rest: inner, depth: 0 };
                let question = parser.any()?;
                parser.skip_space();
                if parser.rest.is_empty() { Ok(Filter::Json(question)) } else { Err(parser.expected("&&, || or }")) }
            }
            [b'{', ..] => Err("filterPattern: } is missing at the end".into()),
            [b'[' | b'%', ..] => {
                Err("filterPattern: lines here are JSON; patterns of columns or regular expressions do not apply"
                    .into())
            }
            _ => words(text),
        }
    }

    /// Whether a line is wanted.
    pub(super) fn holds(&self, line: &str) -> bool {
        match self {
            Filter::Words { wanted, any, unwanted } => {
                let holds = |word: &String| line.contains(word.as_str());
                wanted.iter().all(holds) && (any.is_empty() || any.iter().any(holds)) && !unwanted.iter().any(holds)
            }
            Filter::Json(question) => serde_json::from_str(line).is_ok_and(|line| question.holds(&line)),
        }
    }
}

fn words(text: &str) -> Result<Filter, String> {
    let (mut wanted, mut any, mut unwanted) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = text;
    while !rest.is_empty() {
        let list = match rest.as_bytes()[0] {
            b'?' => &mut any,
            b'-' => &mut unwanted,
            _ => &mut wanted,
        };
        rest = rest.strip_prefix(['?', '-']).unwrap_or(rest);
        let (word, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or("filterPattern: a quotation mark is missing")?,
            None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        list.push(word.to_owned());
        rest = behind.trim_start();
    }
    Ok(Filter::Words { wanted, any, unwanted })
}

impl Question {
    fn holds(&self, line: &Value) -> bool {
        match self {
            Question::All(questions) => questions.iter().all(|question| question.holds(line)),
            Question::Any(questions) => questions.iter().any(|question| question.holds(line)),
            Question::Is(path, test) => {
                let found = path.iter().try_fold(line, |value, step| match step {
                    Step::Name(name) => value.get(name),
                    Step::Index(index) => value.get(index),
                });
                test.holds(found)
            }
        }
    }
}

impl Test {
    fn holds(&self, value: Option<&Value>) -> bool {
        let Some(value) = value else { return *self == Test::NotExists };
        match self {
            Test::NotExists => false,
            Test::Is(wanted) => value == wanted,
            Test::Text { equal, pattern } => match value {
                Value::String(text) => like(pattern, text) == *equal,
                Value::Number(_) | Value::Bool(_) => like(pattern, &value.to_string()) == *equal,
                _ => false,
            },
            Test::Number { is, not, number } => {
                let found = value.as_f64().or_else(|| value.as_str()?.parse().ok());
                let order = found.and_then(|found| found.partial_cmp(number));
                order.is_some_and(|order| is.contains(&order) != *not)
            }
        }
    }
}

/// Whether a text is a pattern with stars.
fn like(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(first) else { return false };
    let Some((middle, last)) = rest.rsplit_once('*') else { return text.ends_with(rest) };
    let Some(mut text) = text.strip_suffix(last) else { return false };
    middle.split('*').all(|part| match text.find(part) {
        Some(at) => {
            text = &text[at + part.len()..];
            true
        }
        None => false,
    })
}

struct Parser<'p> {
    rest: &'p str,
    depth: u32,
}

impl<'p> Parser<'p> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expected(&self, what: &str) -> String {
        let found: String = self.rest.chars().take(12).collect();
        format!("filterPattern: {what} was expected, `{found}` was found")
    }

    fn any(&mut self) -> Result<Question, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("filterPattern: parentheses are nested deeper than {DEPTH_MAX}"));
        }
        let mut questions = vec![self.all()?];
        while self.take("||") {
            questions.push(self.all()?);
        }
        self.depth -= 1;
        Ok(Question::Any(questions))
    }

    fn all(&mut self) -> Result<Question, String> {
        let mut questions = vec![self.one()?];
        while self.take("&&") {
            questions.push(self.one()?);
        }
        Ok(Question::All(questions))
    }

    fn one(&mut self) -> Result<Question, String> {
        if self.take("(") {
            let question = self.any()?;
            return if self.take(")") { Ok(question) } else { Err(self.expected(")")) };
        }
        if !self.take("$") {
            return Err(self.expected("a path that begins with $"));
        }
        let path = self.path()?;
        Ok(Question::Is(path, self.test()?))
    }

    fn path(&mut self) -> Result<Vec<Step>, String> {
        let mut path = Vec::new();
        loop {
            if let Some(rest) = self.rest.strip_prefix('.') {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-'))).unwrap_or(rest.len());
                path.push(Step::Name(rest[..end].to_owned()));
                self.rest = &rest[end..];
            } else if let Some(rest) = self.rest.strip_prefix('[') {
                let (index, behind) = rest.split_once(']').ok_or_else(|| self.expected("]"))?;
                path.push(match index.trim().trim_matches(['"', '\'']).parse() {
                    Ok(index) => Step::Index(index),
                    Err(_) => Step::Name(index.trim().trim_matches(['"', '\'']).to_owned()),
                });
                self.rest = behind;
            } else {
                return Ok(path);
            }
        }
    }

    fn test(&mut self) -> Result<Test, String> {
        if self.take("NOT EXISTS") {
            return Ok(Test::NotExists);
        }
        if self.take("IS") {
            let known = [("NULL", Value::Null), ("TRUE", Value::Bool(true)), ("FALSE", Value::Bool(false))];
            let found = known.into_iter().find(|(word, _)| self.take(word));
            return found.map(|(_, value)| Test::Is(value)).ok_or_else(|| self.expected("NULL, TRUE or FALSE"));
        }
        const COMPARISONS: [(&str, &[Ordering], bool); 6] = [
            ("!=", &[Ordering::Equal], true),
            ("<=", &[Ordering::Less, Ordering::Equal], false),
            (">=", &[Ordering::Greater, Ordering::Equal], false),
            ("=", &[Ordering::Equal], false),
            ("<", &[Ordering::Less], false),
            (">", &[Ordering::Greater], false),
        ];
        let comparison = COMPARISONS.into_iter().find(|(sign, ..)| self.take(sign));
        let (_, is, not) = comparison.ok_or_else(|| self.expected("=, !=, <, <=, >, >=, IS or NOT EXISTS"))?;
        let (value, quoted) = self.value()?;
        match value.parse() {
            Ok(number) if !quoted => Ok(Test::Number { is, not, number }),
            _ if is == [Ordering::Equal] => Ok(Test::Text { equal: !not, pattern: value.to_owned() }),
            _ => Err(format!("filterPattern: `{value}` is no number to compare with")),
        }
    }

    fn value(&mut self) -> Result<(&'p str, bool), String> {
        self.skip_space();
        if let Some(quoted) = self.rest.strip_prefix('"') {
            let (value, rest) = quoted.split_once('"').ok_or("filterPattern: a quotation mark is missing")?;
            self.rest = rest;
            return Ok((value, true));
        }
        let end =
            self.rest.find(|c: char| c.is_whitespace() || matches!(c, ')' | '&' | '|')).unwrap_or(self.rest.len());
        let (value, rest) = self.rest.split_at(end);
        if value.is_empty() {
            return Err(self.expected("a value"));
        }
        self.rest = rest;
        Ok((value, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wanted_as_the_pattern_says() {
        let line = r#"{"source":"fakemon.capture","detail-type":"fakemon.capture_failed","detail":{"player":"ash","position":"42","lat":40.5,"tags":["a","b"],"reason":null}}"#;
        for (pattern, wanted) in [
            ("", true),
            ("ash", true),
            ("ash gary", false),
            ("?ash ?gary", true),
            ("ash -capture_failed", false),
            (r#""player":"ash""#, true),
            (r#"{ $.detail.player = "ash" }"#, true),
            (r#"{ $.detail.player = a* }"#, true),
            (r#"{ $.detail.player != "ash" }"#, false),
            (r#"{ $.detail-type = "*failed" && $.detail.position >= 42 }"#, true),
            (r#"{ $.detail.lat < 40.5 || ($.detail.tags[1] = "b" && $.detail.lat > 40) }"#, true),
            ("{ $.detail.reason IS NULL }", true),
            ("{ $.detail.nothing NOT EXISTS }", true),
            ("{ $.detail.player NOT EXISTS }", false),
            ("{ $.detail.nothing = 1 }", false),
        ] {
            assert_eq!(Filter::parse(pattern).unwrap().holds(line), wanted, "{pattern}");
        }
        assert!(!Filter::parse("{ $.a = 1 }").unwrap().holds("no JSON"));
    }

    #[test]
    fn what_is_no_pattern_says_what_was_expected() {
        for (pattern, says) in [
            ("{ $.a = 1", "} is missing"),
            ("{ a = 1 }", "begins with $"),
            ("{ $.a }", "=, !="),
            ("{ $.a > \"x\" }", "no number"),
            ("{ $.a = 1 $.b = 2 }", "&&, || or }"),
            ("{ ($.a = 1 }", ") was expected"),
            ("{ $.a = \"x }", "quotation mark"),
            ("[a, b]", "columns"),
            ("\"open", "quotation mark"),
        ] {
            let error = Filter::parse(pattern).unwrap_err();
            assert!(error.contains(says), "{pattern}: {error}");
        }
        assert!(Filter::parse(&format!("{{{}$.a = 1}}", "(".repeat(500))).unwrap_err().contains("nested"));
    }
}
