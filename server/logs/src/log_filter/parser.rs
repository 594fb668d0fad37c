//! Parses conditions on JSON and on columns.

use super::{Columns, DEPTH_MAX, Question, REGEX_BYTES_MAX, Step, Test};
use regex::{Regex, RegexBuilder};
use std::borrow::Cow;
use std::cmp::Ordering;

pub(crate) struct Parser<'p> {
    rest: &'p str,
    depth: u32,
    /// Whether the condition is on columns: operands are names of columns, not paths of members.
    columns: bool,
}

impl<'p> Parser<'p> {
    /// A condition on JSON: the text between the braces.
    pub(crate) fn question(text: &'p str) -> Result<Question, String> {
        let mut parser = Parser { rest: text, depth: 0, columns: false };
        let question = parser.any()?;
        parser.skip_space();
        if parser.rest.is_empty() { Ok(question) } else { Err(parser.expected("&&, || or }")) }
    }

    /// Columns: the text between the brackets.
    pub(super) fn columns(text: &'p str) -> Result<Columns, String> {
        let mut parser = Parser { rest: text, depth: 0, columns: true };
        let (mut before, mut behind) = (Vec::new(), None);
        loop {
            if parser.take("...") {
                if behind.replace(Vec::new()).is_some() {
                    return Err("filterPattern: ... stands for what is left once".into());
                }
            } else {
                let column = parser.column()?;
                behind.as_mut().unwrap_or(&mut before).push(column);
            }
            if !parser.take(",") {
                break;
            }
        }
        parser.skip_space();
        if parser.rest.is_empty() { Ok(Columns { before, behind }) } else { Err(parser.expected(", or ]")) }
    }

    /// A name without a condition matches any column.
    fn column(&mut self) -> Result<Option<Question>, String> {
        let start = self.rest;
        if !self.take("(") {
            self.name()?;
            self.skip_space();
            if self.rest.is_empty() || self.rest.starts_with(',') {
                return Ok(None);
            }
        }
        self.rest = start;
        self.any().map(Some)
    }

    fn name(&mut self) -> Result<(), String> {
        self.skip_space();
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(self.expected("the name of a column"));
        }
        self.rest = &self.rest[end..];
        Ok(())
    }

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
        if self.columns {
            self.name()?;
            return Ok(Question::Is(Vec::new(), self.test()?));
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
                let index = index.trim();
                let name = index.trim_matches(['"', '\'']);
                path.push(match index.parse() {
                    Ok(index) => Step::Index(index),
                    Err(_) if index == "*" => Step::Every,
                    Err(_) => Step::Name(name.to_owned()),
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
            let known = [("NULL", "null"), ("TRUE", "true"), ("FALSE", "false")];
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
        let is_equal = is == [Ordering::Equal];
        self.skip_space();
        if is_equal && self.rest.starts_with('%') {
            let (regex, rest) = expression(self.rest)?;
            self.rest = rest;
            return Ok(Test::Like { equal: !not, regex });
        }
        let (value, quoted) = self.value()?;
        match value.parse() {
            Ok(number) if !quoted => Ok(Test::Number { is, not, number }),
            _ if is_equal => Ok(Test::Text { equal: !not, pattern: value.into_owned() }),
            _ => Err(format!("filterPattern: `{value}` is no number to compare with")),
        }
    }

    fn value(&mut self) -> Result<(Cow<'p, str>, bool), String> {
        self.skip_space();
        if self.rest.starts_with('"') {
            let (value, rest) = quoted(self.rest)?;
            self.rest = rest;
            return Ok((value, true));
        }
        let ends = |c: char| c.is_whitespace() || matches!(c, ')' | '&' | '|') || self.columns && c == ',';
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (value, rest) = self.rest.split_at(end);
        if value.is_empty() {
            return Err(self.expected("a value"));
        }
        self.rest = rest;
        Ok((Cow::Borrowed(value), false))
    }
}

/// A text in quotation marks, and the rest behind it.
pub(crate) fn quoted(text: &str) -> Result<(Cow<'_, str>, &str), String> {
    let inner = text.strip_prefix('"').unwrap_or(text);
    let mut escaped = false;
    let end = inner.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    let end = end.ok_or("filterPattern: a quotation mark is missing")?;
    let (held, behind) = (&inner[..end], &inner[end + 1..]);
    if !held.contains('\\') {
        return Ok((Cow::Borrowed(held), behind));
    }
    let (mut plain, mut chars) = (String::new(), held.chars());
    while let Some(c) = chars.next() {
        match (c, chars.clone().next()) {
            ('\\', Some(next @ ('"' | '\\'))) => {
                plain.push(next);
                chars.next();
            }
            _ => plain.push(c),
        }
    }
    Ok((Cow::Owned(plain), behind))
}

/// A regular expression between percent signs, and the rest behind it.
pub(super) fn expression(text: &str) -> Result<(Regex, &str), String> {
    let inner = text.strip_prefix('%').unwrap_or(text);
    let mut escaped = false;
    let end = inner.find(|c| {
        let ends = c == '%' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    let end = end.ok_or("filterPattern: a percent sign is missing at the end of a regular expression")?;
    let (held, behind) = (&inner[..end], &inner[end + 1..]);
    let regex = RegexBuilder::new(&held.replace("\\%", "%")).size_limit(REGEX_BYTES_MAX).build();
    let regex = regex.map_err(|_| format!("filterPattern: %{held}% is no regular expression"))?;
    Ok((regex, behind))
}
