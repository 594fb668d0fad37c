//! Filter patterns of log groups: words that a line holds (`captured "sparkit" -dodged`), one of several
//! (`?ash ?gary`; beside other words these are ignored, as with the service), a condition on its JSON
//! (`{ $.detail.player = "ash" && $.detail.position > 100 }`), or on its columns (`[ip, ..., status = 4*, bytes]`).
//!
//! ```text
//! word  = ["?" | "-"] ("\"" text "\"" | "%" regular expression "%" | text without blanks)
//! any   = all ("||" all)*          all = one ("&&" one)*          one = "(" any ")" | path test
//! path  = "$" ("." name | "[" index "]" | "[*]")*
//! test  = ("=" | "!=" | "<" | "<=" | ">" | ">=") value | "IS" ("NULL" | "TRUE" | "FALSE") | "NOT EXISTS"
//! columns = "[" (name | "..." | any, with names for paths) ("," …)* "]"
//! value = "\"" text, * for anything "\"" | "%" regular expression "%" | number | word
//! ```
//!
//! - `parser`: conditions, from their text
//!
//! Within quotation marks a backslash escapes a quotation mark or another backslash.

mod parser;

use fakemon_pattern::raw;
use parser::{Parser, expression, quoted};
use regex::Regex;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::cmp::Ordering;

/// The longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1_024;
/// How deep parentheses may be nested.
const DEPTH_MAX: u32 = 32;
/// The memory of one regular expression, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A pattern.
#[derive(Debug)]
pub(super) enum Filter {
    /// Words: all of `wanted` and none of `unwanted`; without any of these, one of `any`.
    Words { wanted: Vec<Word>, any: Vec<Word>, unwanted: Vec<Word> },
    /// A condition on lines that are JSON.
    Json(Question),
    /// A condition on lines whose words are columns.
    Columns(Columns),
}

/// Columns of a line: the first ones and, if `...` allows any between, the last ones.
#[derive(Debug)]
pub(super) struct Columns {
    before: Vec<Option<Question>>,
    behind: Option<Vec<Option<Question>>>,
}

/// A word, text or expression that a line may contain.
#[derive(Debug)]
pub(super) enum Word {
    Text(String),
    Like(Regex),
}

impl Word {
    fn is_in(&self, line: &str) -> bool {
        match self {
            Word::Text(text) => line.contains(text.as_str()),
            Word::Like(regex) => regex.is_match(line),
        }
    }
}

#[derive(Debug)]
pub(crate) enum Question {
    All(Vec<Question>),
    Any(Vec<Question>),
    Is(Vec<Step>, Test),
}

/// A step of a path.
#[derive(Debug)]
pub(super) enum Step {
    Name(String),
    Index(usize),
    /// Any element.
    Every,
}

#[derive(Debug)]
pub(super) enum Test {
    Text {
        equal: bool,
        pattern: String,
    },
    Like {
        equal: bool,
        regex: Regex,
    },
    Number {
        is: &'static [Ordering],
        not: bool,
        number: f64,
    },
    /// `NULL`, `TRUE` or `FALSE`.
    Is(&'static str),
    NotExists,
}

impl Filter {
    /// Parses a pattern; the error is a sentence.
    pub(crate) fn parse(text: &str) -> Result<Filter, String> {
        let text = text.trim();
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!("filterPattern is longer than {PATTERN_BYTES_MAX} bytes"));
        }
        match text.as_bytes() {
            [b'{', .., b'}'] => Parser::question(&text[1..text.len() - 1]).map(Filter::Json),
            [b'{', ..] => Err("filterPattern: } is missing at the end".into()),
            [b'[', .., b']'] => Parser::columns(&text[1..text.len() - 1]).map(Filter::Columns),
            [b'[', ..] => Err("filterPattern: ] is missing at the end".into()),
            _ => words(text),
        }
    }

    /// Whether a line matches.
    pub(crate) fn holds(&self, line: &str) -> bool {
        match self {
            Filter::Words { wanted, any, unwanted } => {
                let holds = |word: &Word| word.is_in(line);
                let alone = wanted.is_empty() && unwanted.is_empty() && !any.is_empty();
                if alone { any.iter().any(holds) } else { wanted.iter().all(holds) && !unwanted.iter().any(holds) }
            }
            Filter::Json(question) => serde_json::from_str(line).is_ok_and(|line| question.holds(At::Json(line))),
            Filter::Columns(columns) => columns.hold(line),
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
        let (word, behind) = match rest.as_bytes().first() {
            Some(b'"') => quoted(rest).map(|(text, behind)| (Word::Text(text.into_owned()), behind))?,
            Some(b'%') => expression(rest).map(|(regex, behind)| (Word::Like(regex), behind))?,
            _ => {
                let (word, behind) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
                (Word::Text(word.to_owned()), behind)
            }
        };
        list.push(word);
        rest = behind.trim_start();
    }
    Ok(Filter::Words { wanted, any, unwanted })
}

impl Columns {
    fn hold(&self, line: &str) -> bool {
        let found = columns_of(line);
        let behind = self.behind.as_deref().unwrap_or_default();
        let fits = match self.behind {
            Some(_) => found.len() >= self.before.len() + behind.len(),
            None => found.len() == self.before.len(),
        };
        let holds = |(question, column): (&Option<Question>, &&str)| {
            question.as_ref().is_none_or(|question| question.holds(At::Column(column)))
        };
        fits && self.before.iter().zip(&found).all(holds)
            && behind.iter().zip(&found[found.len() - behind.len()..]).all(holds)
    }
}

/// The words of a line; text in brackets or quotation marks is one word.
fn columns_of(line: &str) -> Vec<&str> {
    let (mut columns, mut rest) = (Vec::new(), line.trim_start());
    while let Some(first) = rest.chars().next() {
        let mark = match first {
            '"' => Some('"'),
            '[' => Some(']'),
            _ => None,
        };
        let closed = mark.and_then(|mark| rest[1..].split_once(mark));
        let (column, behind) = match closed {
            Some(closed) => closed,
            None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        columns.push(column);
        rest = behind.trim_start();
    }
    columns
}

/// The value that a condition tests. JSON stays as it was written, so that no number is rounded and no depth is cut.
#[derive(Clone, Copy)]
enum At<'l> {
    Json(&'l RawValue),
    Column(&'l str),
}

/// A value, as it is compared.
enum Held<'l> {
    Text(Cow<'l, str>),
    /// A number or a boolean, as it was written.
    Plain(&'l str),
    /// Null, an object, a list.
    Other(&'l str),
}

impl<'l> At<'l> {
    fn held(self) -> Option<Held<'l>> {
        let json = match self {
            At::Column(text) => return Some(Held::Text(Cow::Borrowed(text))),
            At::Json(json) => json.get(),
        };
        Some(match json.as_bytes().first()? {
            b'"' => Held::Text(Cow::Owned(serde_json::from_str(json).ok()?)),
            b'n' | b'{' | b'[' => Held::Other(json),
            _ => Held::Plain(json),
        })
    }

    fn json(self) -> Option<&'l RawValue> {
        match self {
            At::Json(json) => Some(json),
            At::Column(_) => None,
        }
    }
}

impl Question {
    fn holds(&self, line: At<'_>) -> bool {
        match self {
            Question::All(questions) => questions.iter().all(|question| question.holds(line)),
            Question::Any(questions) => questions.iter().any(|question| question.holds(line)),
            Question::Is(path, test) => any_at(line, path, test),
        }
    }
}

/// Whether any value at the path passes the test.
fn any_at(value: At<'_>, path: &[Step], test: &Test) -> bool {
    let Some((step, rest)) = path.split_first() else { return test.holds(Some(value)) };
    let next = match step {
        Step::Name(name) => value.json().and_then(|json| raw::member(json, name)),
        Step::Index(index) => value.json().and_then(|json| raw::elements(json)?.get(*index).copied()),
        Step::Every => {
            let elements = value.json().and_then(raw::elements).unwrap_or_default();
            return match elements.is_empty() {
                true => test.holds(None),
                false => elements.into_iter().any(|element| any_at(At::Json(element), rest, test)),
            };
        }
    };
    next.map_or_else(|| test.holds(None), |next| any_at(At::Json(next), rest, test))
}

impl Test {
    fn holds(&self, value: Option<At<'_>>) -> bool {
        let Some(value) = value else { return matches!(self, Test::NotExists) };
        let Some(held) = value.held() else { return false };
        let text = match &held {
            Held::Text(text) => Some(text.as_ref()),
            Held::Plain(text) => Some(*text),
            Held::Other(_) => None,
        };
        match self {
            Test::NotExists => false,
            Test::Is(wanted) => {
                matches!(held, Held::Plain(found) | Held::Other(found) if found == *wanted)
            }
            Test::Text { equal, pattern } => text.is_some_and(|text| like(pattern, text) == *equal),
            Test::Like { equal, regex } => text.is_some_and(|text| regex.is_match(text) == *equal),
            Test::Number { is, not, number } => {
                let found = text.and_then(|text| text.parse::<f64>().ok());
                let order = found.and_then(|found| found.partial_cmp(number));
                order.is_some_and(|order| is.contains(&order) != *not)
            }
        }
    }
}

/// Whether a text matches a pattern with stars.
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
            ("?misty ?gary", false),
            ("?misty capture_failed", true),
            ("?ash -capture_failed", false),
            (r"%capture_(failed|dodged)%", true),
            (r"-%lat.:\d+%", false),
            (r#"{ $.detail.player = %^a.h$% }"#, true),
            (r#"{ $.detail.player != %^a.h$% }"#, false),
            (r#"{ $.detail.tags[*] = "b" }"#, true),
            (r#"{ $.detail.tags[*] = "c" }"#, false),
            ("{ $.detail.tags[5] NOT EXISTS }", true),
            ("{ $.detail.player = * }", true),
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
    fn numbers_of_any_size_and_any_depth_hide_nothing() {
        let line = r#"{"k":"v","h":1e400,"p":1.10,"t":true,"n":null}"#;
        for (pattern, wanted) in [
            (r#"{ $.k = "v" }"#, true),
            ("{ $.h > 1 }", true),
            (r#"{ $.h = "1e400" }"#, true),
            ("{ $.p = 1.1 }", true),
            (r#"{ $.p = "1.10" }"#, true),
            ("{ $.t IS TRUE && $.n IS NULL }", true),
            ("{ $.t IS FALSE }", false),
            ("{ $.n = * }", false),
        ] {
            assert_eq!(Filter::parse(pattern).unwrap().holds(line), wanted, "{pattern}");
        }
        for depth in [1, 126, 127, 128, 254, 255, 1_000] {
            let line = format!(r#"{{"k":"v","a":{}1{}}}"#, r#"{"a":"#.repeat(depth), "}".repeat(depth));
            assert!(Filter::parse(r#"{ $.k = "v" }"#).unwrap().holds(&line), "{depth}");
            let path = ".a".repeat(depth + 1);
            if path.len() < 1_000 {
                assert!(Filter::parse(&format!("{{ ${path} = 1 }}")).unwrap().holds(&line), "{depth}");
            }
        }
    }

    #[test]
    fn words_of_a_line_are_columns() {
        let line = r#"127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534"#;
        for (pattern, wanted) in [
            ("[ip, server, user, time, request, status, bytes]", true),
            ("[ip, server, user, time, request, status]", false),
            ("[..., status = 4*, bytes]", true),
            ("[ip, ..., status = 404, bytes > 1534]", false),
            ("[ip = %^127%, ...]", true),
            (r#"[w1, w2, w3, time, request = "*index*", status != 200 && status < 500, bytes]"#, true),
            ("[w1 = 1, ...]", false),
            ("[(w1 = 1 || w1 = 127*), ...]", true),
            ("[...]", true),
        ] {
            assert_eq!(Filter::parse(pattern).unwrap().holds(line), wanted, "{pattern}");
        }
    }

    #[test]
    fn quotation_marks_and_backslashes_are_escaped_within_quotation_marks() {
        let line = r#"{"t":"a Trail","q":"say \"hi\"","p":"C:\\dir","n":"50%"}"#;
        for (pattern, wanted) in [
            ("{ $.t = %Trail% }", true),
            ("{ $.t = %trail% }", false),
            (r#"{ $.q = "say \"hi\"" }"#, true),
            (r#"{ $.q = "*\"hi\"" && $.t = "a Trail" }"#, true),
            (r#"{ $.p = "C:\\dir" }"#, true),
            (r"{ $.n = %50\%% }", true),
        ] {
            assert_eq!(Filter::parse(pattern).unwrap().holds(line), wanted, "{pattern}");
        }
        let filter = Filter::parse(r#""say \"hi\"""#).unwrap();
        assert!(filter.holds(r#"he did say "hi" to me"#) && !filter.holds("say hi"));
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
            ("[a, b", "] is missing"),
            ("[a, b c]", "=, !="),
            ("[..., a, ...]", "once"),
            ("[= 1]", "the name of a column"),
            ("\"open", "quotation mark"),
            ("\"open\\\"", "quotation mark"),
            ("%open", "percent sign"),
            ("%(%", "no regular expression"),
            ("{ $.a = %x }", "percent sign"),
            ("{ $.a < %x% }", "no number"),
        ] {
            let error = Filter::parse(pattern).unwrap_err();
            assert!(error.contains(says), "{pattern}: {error}");
        }
        assert!(Filter::parse(&format!("{{{}$.a = 1}}", "(".repeat(500))).unwrap_err().contains("nested"));
    }
}
