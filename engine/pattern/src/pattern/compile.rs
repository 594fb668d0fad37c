//! From the text of a pattern to its conditions, with the service's error messages.
//!
//! All fields of one object must hold; objects under `$or` are alternatives. The result is a list of branches, each a
//! set of fields, of whose conditions one must hold. Of a field that is named twice the last one counts.

use super::address::{address, block};
use super::condition::{Condition, Folded, Range, Wildcard};
use super::number::comparable;
use super::token::{SyntaxError, Token, Tokens};
use super::{InvalidPattern, TOO_COMPLEX};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most alternatives that `$or` may multiply to.
const BRANCHES_MAX: usize = 1_000;
/// The most conditions of all alternatives together.
const ASKED_MAX: usize = 100_000;
/// How often the same characters may appear between two stars of one text.
const REPEATED_PARTS_MAX: usize = 3;
/// The most stars in one text.
const STARS_MAX: usize = 24;

/// Fields that must all hold; of the conditions of each, one must hold.
pub(super) type Branch = BTreeMap<String, Arc<[Condition]>>;

const RESERVED_IN_OR: [&str; 24] = [
    "exactly",
    "equals-ignore-case",
    "prefix",
    "suffix",
    "anything-but",
    "exists",
    "wildcard",
    "numeric",
    "cidr",
    "html",
    "=",
    "<",
    "<=",
    ">",
    ">=",
    "regex",
    "not-wildcard",
    "not-equals-ignore-case",
    "date-after",
    "date-on-or-after",
    "date-before",
    "date-on-or-before",
    "in-date-range",
    "ip-address-in-range",
];

/// What is wrong: with the position of the last token, or without.
enum Problem {
    Here(String),
    /// Inside a list the service prints the position twice.
    InList(String),
    Anywhere(String),
}

type Compiled<T> = Result<T, Problem>;

impl From<SyntaxError> for Problem {
    fn from(SyntaxError(what): SyntaxError) -> Problem {
        Problem::Here(what)
    }
}

fn in_list<T>(result: Compiled<T>) -> Compiled<T> {
    result.map_err(|problem| match problem {
        Problem::Here(what) => Problem::InList(what),
        other => other,
    })
}

fn here<T>(what: impl Into<String>) -> Compiled<T> {
    Err(Problem::Here(what.into()))
}

/// Compiles a pattern.
pub(super) fn compile(text: &str) -> Result<Vec<Branch>, InvalidPattern> {
    let mut compiler = Compiler { tokens: Tokens::new(text), path: Vec::new(), asked: 0 };
    compiler.pattern().map_err(|problem| match problem {
        Problem::Anywhere(what) => InvalidPattern(format!("Event pattern is not valid. Reason: {what}")),
        Problem::Here(what) => {
            InvalidPattern(format!("Event pattern is not valid. Reason: {what}{}", compiler.place()))
        }
        Problem::InList(what) => {
            let place = compiler.place();
            InvalidPattern(format!("Event pattern is not valid. Reason: {what}{place}{place}"))
        }
    })
}

struct Compiler<'t> {
    tokens: Tokens<'t>,
    path: Vec<String>,
    /// Conditions so far, counted for each alternative.
    asked: usize,
}

impl Compiler<'_> {
    fn place(&self) -> String {
        let (line, column) = self.tokens.place();
        format!("\n at [Source: (String)\"{}\"; line: {line}, column: {column}]", self.tokens.source())
    }

    fn next(&mut self) -> Compiled<Token> {
        Ok(self.tokens.next()?)
    }

    fn pattern(&mut self) -> Compiled<Vec<Branch>> {
        if self.next()? != Token::ObjectStart {
            return here("Filter is not an object");
        }
        let mut branches = Vec::new();
        self.object(&mut branches, false)?;
        Ok(branches)
    }

    fn object(&mut self, branches: &mut Vec<Branch>, in_or: bool) -> Compiled<()> {
        let mut any = false;
        loop {
            let name = match self.next()? {
                Token::ObjectEnd => break,
                Token::Name(name) => name,
                _ => return here("Expected a field name"),
            };
            any = true;
            if name == "$or" {
                self.alternatives(branches)?;
                continue;
            }
            if in_or && RESERVED_IN_OR.contains(&name.as_str()) {
                return here(format!("{name} is Ruler reserved fieldName which cannot be used inside $or."));
            }
            match self.next()? {
                Token::ObjectStart => {
                    self.path.push(name);
                    self.object(branches, in_or)?;
                    self.path.pop();
                }
                Token::ArrayStart => self.field(name, branches)?,
                _ => return here(format!("\"{name}\" must be an object or an array")),
            }
        }
        if any { Ok(()) } else { here("Empty objects are not allowed") }
    }

    fn alternatives(&mut self, branches: &mut Vec<Branch>) -> Compiled<()> {
        if self.next()? != Token::ArrayStart {
            return here("It must be an Array followed with $or.");
        }
        let before = std::mem::take(branches);
        let mut objects = 0;
        loop {
            match self.next()? {
                Token::ArrayEnd => break,
                Token::ObjectStart => {
                    objects += 1;
                    let mut alternative = if before.is_empty() { vec![Branch::new()] } else { before.clone() };
                    self.object(&mut alternative, true)?;
                    branches.append(&mut alternative);
                    if branches.len() > BRANCHES_MAX {
                        return Err(Problem::Anywhere(TOO_COMPLEX.into()));
                    }
                }
                _ => return here("Only JSON object is allowed in array of $or relationship."),
            }
        }
        match objects {
            0 | 1 => here("There must have at least 2 Objects in $or relationship."),
            _ => Ok(()),
        }
    }

    fn field(&mut self, name: String, branches: &mut Vec<Branch>) -> Compiled<()> {
        let mut conditions = Vec::new();
        loop {
            match self.next()? {
                Token::ArrayEnd => break,
                Token::ObjectStart => conditions.push(self.expression()?),
                Token::Text(text) => conditions.push(match address(&text) {
                    Some(address) => Condition::Address(address),
                    None => Condition::Text(text),
                }),
                Token::Number(written) => {
                    conditions.push(Condition::Number { equal: comparable(&written), written });
                }
                Token::True => conditions.push(Condition::Word("true".into())),
                Token::False => conditions.push(Condition::Word("false".into())),
                Token::Null => conditions.push(Condition::Word("null".into())),
                _ => return here("Match value must be String, number, true, false, or null"),
            }
        }
        if conditions.is_empty() {
            return here("Empty arrays are not allowed");
        }
        if branches.is_empty() {
            branches.push(Branch::new());
        }
        self.path.push(name);
        let path = self.path.join(".");
        self.path.pop();
        self.asked += conditions.len() * branches.len();
        if self.asked > ASKED_MAX {
            return Err(Problem::Anywhere(TOO_COMPLEX.into()));
        }
        let conditions: Arc<[Condition]> = conditions.into();
        for branch in branches {
            branch.insert(path.clone(), conditions.clone());
        }
        Ok(())
    }

    fn expression(&mut self) -> Compiled<Condition> {
        let Token::Name(operator) = self.next()? else { return here("Match expression name not found") };
        let condition = match operator.as_str() {
            "exactly" => Condition::Text(self.text("exact")?),
            "prefix" => self.affix("prefix")?,
            "suffix" => self.affix("suffix")?,
            "equals-ignore-case" => Condition::TextIgnoreCase(Folded::new(&self.text("equals-ignore-case")?)),
            "wildcard" => self.wildcard_text()?,
            "cidr" => {
                let text = self.text("prefix")?; // the service says so too
                let (first, last) = block(&text).map_err(Problem::Anywhere)?;
                Condition::Block(first, last)
            }
            "numeric" => {
                if self.next()? != Token::ArrayStart {
                    return here("Value of numeric must be an array.");
                }
                let condition = self.numeric()?;
                return self.end(condition, "Too many elements in numeric expression");
            }
            "exists" => match self.next()? {
                Token::True => Condition::Exists,
                Token::False => Condition::Absent,
                _ => return here("exists match pattern must be either true or false."),
            },
            "anything-but" => return self.anything_but(),
            other => {
                self.next()?;
                return here(format!("Unrecognized match type {other}"));
            }
        };
        self.end(condition, "Only one key allowed in match expression")
    }

    fn end<T>(&mut self, value: T, otherwise: &str) -> Compiled<T> {
        if self.next()? == Token::ObjectEnd { Ok(value) } else { here(otherwise) }
    }

    fn text(&mut self, what: &str) -> Compiled<String> {
        match self.next()? {
            Token::Text(text) => {
                self.tokens.read_text();
                Ok(text)
            }
            _ => here(format!("{what} match pattern must be a string")),
        }
    }

    fn affix(&mut self, which: &str) -> Compiled<Condition> {
        match (self.next()?, which) {
            (Token::Text(text), "prefix") => Ok(Condition::Prefix(text)),
            (Token::Text(text), _) => Ok(Condition::Suffix(text)),
            (Token::ObjectStart, _) => {
                let Token::Name(operator) = self.next()? else {
                    return here(format!("{which} expression name not found"));
                };
                if operator != "equals-ignore-case" {
                    return here(format!("Unsupported {which} pattern: {operator}"));
                }
                let folded = Folded::new(&self.text("equals-ignore-case")?);
                let condition = match which {
                    "prefix" => Condition::PrefixIgnoreCase(folded),
                    _ => Condition::SuffixIgnoreCase(folded),
                };
                self.end(condition, "Only one key allowed in match expression")
            }
            _ => here(format!("{which} match pattern must be a string")),
        }
    }

    fn wildcard_text(&mut self) -> Compiled<Condition> {
        let text = self.text("wildcard")?;
        self.wildcard(&text)
    }

    fn wildcard(&mut self, text: &str) -> Compiled<Condition> {
        let wildcard = Wildcard::parse(text).map_err(Problem::Here)?;
        let parts = wildcard.parts();
        let between = parts.get(1..parts.len().saturating_sub(1)).unwrap_or_default();
        let repeated = between.iter().map(|part| between.iter().filter(|other| *other == part).count()).max();
        if parts.len() > STARS_MAX || repeated.is_some_and(|times| times > REPEATED_PARTS_MAX) {
            return Err(Problem::Anywhere(TOO_COMPLEX.into()));
        }
        Ok(Condition::Wildcard(wildcard))
    }

    fn anything_but(&mut self) -> Compiled<Condition> {
        const SINGLE: &str = "Value of anything-but must be an array or single string/number value.";
        let excluded = match self.next()? {
            Token::Text(text) => vec![Condition::Text(text)],
            Token::Number(number) => vec![number_of(&number)?],
            Token::ArrayStart => self.excluded_values()?,
            Token::ObjectStart => {
                let Token::Name(operator) = self.next()? else {
                    return here("Anything-But expression name not found");
                };
                let excluded = match operator.as_str() {
                    "prefix" | "suffix" | "wildcard" | "equals-ignore-case" => {
                        self.excluded_texts(&operator, SINGLE)?
                    }
                    other => return here(format!("Unsupported anything-but pattern: {other}")),
                };
                self.end((), "Only one key allowed in match expression")?;
                excluded
            }
            _ => return here(SINGLE),
        };
        self.end(Condition::AnythingBut(excluded), "Too many elements in numeric expression")
    }

    fn excluded_values(&mut self) -> Compiled<Vec<Condition>> {
        let mut excluded = Vec::new();
        loop {
            excluded.push(match in_list(self.next())? {
                Token::ArrayEnd => break,
                Token::Text(text) => Condition::Text(text),
                Token::Number(number) => number_of(&number)?,
                _ => return in_list(here("Inside anything but list, start|null|boolean is not supported.")),
            });
        }
        let texts = excluded.iter().filter(|condition| matches!(condition, Condition::Text(_))).count();
        if excluded.is_empty() || texts != 0 && texts != excluded.len() {
            return here(
                "Inside anything but list, either all values are number or string, mixed type is not supported",
            );
        }
        Ok(excluded)
    }

    fn excluded_texts(&mut self, operator: &str, single: &str) -> Compiled<Vec<Condition>> {
        let wrong = match operator {
            "wildcard" => "wildcard match pattern must be a string",
            "equals-ignore-case" => {
                "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported."
            }
            _ => "prefix/suffix match pattern must be a string",
        };
        match self.next()? {
            Token::Text(text) => Ok(vec![self.excluded_text(operator, text)?]),
            Token::ArrayStart => {
                let mut excluded = Vec::new();
                loop {
                    match self.next()? {
                        Token::ArrayEnd => break,
                        Token::Text(text) => excluded.push(self.excluded_text(operator, text)?),
                        _ => return in_list(here(wrong)),
                    }
                }
                if excluded.is_empty() { here("Empty arrays are not allowed") } else { Ok(excluded) }
            }
            Token::ObjectStart | Token::Null | Token::True | Token::False => here(single),
            _ => here(wrong),
        }
    }

    fn excluded_text(&mut self, operator: &str, text: String) -> Compiled<Condition> {
        match operator {
            "equals-ignore-case" => Ok(Condition::TextIgnoreCase(Folded::new(&text))),
            "wildcard" => {
                self.tokens.read_text();
                self.wildcard(&text)
            }
            _ if text.is_empty() => {
                self.tokens.read_text();
                here("Null prefix/suffix not allowed")
            }
            "prefix" => Ok(Condition::Prefix(text)),
            _ => Ok(Condition::Suffix(text)),
        }
    }

    fn numeric(&mut self) -> Compiled<Condition> {
        let operator = match self.next()? {
            Token::Text(operator) => operator,
            other => {
                self.tokens.read_text();
                return here(format!("Invalid member in numeric match: {}", shown(&other)));
            }
        };
        self.tokens.read_text();
        let open = match operator.as_str() {
            "=" | ">" | "<" => true,
            ">=" | "<=" => false,
            other => {
                self.next()?;
                return here(format!("Unrecognized numeric range operator: {other}"));
            }
        };
        let name = if operator == "=" { "equals" } else { operator.as_str() };
        let number = self.bound(name)?;
        let range = |bottom, open_bottom, top, open_top| Range { bottom, open_bottom, top, open_top };
        let rest = self.next()?;
        match (operator.as_str(), rest) {
            (">" | ">=", Token::ArrayEnd) => Ok(Condition::Range(range(number, open, f64::INFINITY, false))),
            (">" | ">=", rest) => {
                let (top, open_top) = self.upper(rest)?;
                if number >= top {
                    return here("Bottom must be less than top");
                }
                Ok(Condition::Range(range(number, open, top, open_top)))
            }
            ("=", Token::ArrayEnd) => Ok(Condition::Range(range(number, false, number, false))),
            (_, Token::ArrayEnd) => Ok(Condition::Range(range(f64::NEG_INFINITY, false, number, open))),
            _ => here("Too many elements in numeric expression"),
        }
    }

    fn bound(&mut self, operator: &str) -> Compiled<f64> {
        match self.next()? {
            Token::Number(number) => match comparable(&number) {
                Some(number) => Ok(number),
                None => here(format!("Cannot compare number : {number}")),
            },
            _ => here(format!("Value of {operator} must be numeric")),
        }
    }

    fn upper(&mut self, operator: Token) -> Compiled<(f64, bool)> {
        self.tokens.read_text();
        let operator = match operator {
            Token::Text(operator) => operator,
            other => return here(format!("Bad value in numeric range: {}", shown(&other))),
        };
        if operator != "<" && operator != "<=" {
            return here(format!("Bad numeric range operator: {operator}"));
        }
        let top = self.bound(&operator)?;
        match self.next()? {
            Token::ArrayEnd => Ok((top, operator == "<")),
            _ => here("Too many terms in numeric range expression"),
        }
    }
}

fn number_of(written: &str) -> Compiled<Condition> {
    match comparable(written) {
        Some(number) => Ok(Condition::Number { equal: Some(number), written: String::new() }),
        None => here(format!("Cannot compare number : {written}")),
    }
}

fn shown(token: &Token) -> &str {
    match token {
        Token::ObjectStart => "{",
        Token::ObjectEnd => "}",
        Token::ArrayStart => "[",
        Token::ArrayEnd => "]",
        Token::Name(text) | Token::Text(text) | Token::Number(text) => text,
        Token::True => "true",
        Token::False => "false",
        Token::Null => "null",
    }
}
