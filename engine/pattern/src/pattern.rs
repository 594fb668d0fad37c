//! Event patterns with EventBridge's exact semantics: whether an event matches a rule. Text in, verdicts out; no
//! clock, no queue, no journal.
//!
//! - `token`: JSON with positions, for error messages
//! - `number`, `address`: values that can be written in many ways
//! - `condition`: one condition on one value
//! - `compile`: from text to conditions, with the service's error messages
//! - `blocks`: many bytes of JSON per step
//! - `scan`: an event's JSON, front to back
//! - `field`: the conditions of all patterns on one path
//! - `agreement`: fields met in the same elements of arrays
//! - `matcher`: many patterns in one automaton
//!
//! A pattern is stored as alternatives (branches), each a set of fields; a field's name is its path with dots. Each
//! value in an array counts separately; all fields of one branch must be met within the same elements of arrays of
//! objects.

mod token;
mod number;
mod address;
mod condition;
mod compile;
mod blocks;
mod scan;
mod field;
mod agreement;
mod matcher;
#[cfg(test)]
mod tests;

pub use matcher::{Matcher, Scratch};

use condition::{Condition, Value};
use scan::{Elements, Listener, Scanner};
use std::collections::{BTreeMap, BTreeSet};

const TOO_COMPLEX: &str = "Rule is too complex - try using fewer wildcard characters or fewer repeating character \
                           sequences after a wildcard character";

/// A pattern is not valid; the message is the service's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidPattern(pub String);

/// An event is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidEvent(pub String);

/// The patterns are too complex together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rules of a bus have more than a million alternatives together: use fewer `$or`")]
pub struct TooComplex;

/// The most conditions of all rules of a bus together, each counted for each alternative of its pattern.
pub const WEIGHT_MAX: usize = 2_000_000;

/// A path that a matcher looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PathId(u32);

/// A value at the end of a path, of an event that is not JSON.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the kinds of JSON")]
pub enum Leaf<'a> {
    Text(&'a str),
    Number(f64),
    Bool(bool),
    Null,
}

/// A valid pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    branches: Vec<compile::Branch>,
    paths: Vec<String>,
}

/// The verdict on one field of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldVerdict {
    /// The path, with dots.
    pub path: String,
    /// The alternative of the pattern that has the field, from 0.
    pub alternative: usize,
    /// The values that the event has there, as JSON.
    pub values: Vec<String>,
    /// Whether one of them meets one of the conditions.
    pub met: bool,
}

/// Why an event matches a pattern or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Whether it matches.
    pub matches: bool,
    /// Each field of each alternative. If all fields of one are met and it still does not match, the values are in
    /// different elements of one array.
    pub fields: Vec<FieldVerdict>,
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// [`InvalidPattern`] with the service's message.
    pub fn parse(text: &str) -> Result<Pattern, InvalidPattern> {
        let branches = compile::compile(text)?;
        let paths: BTreeSet<&String> = branches.iter().flat_map(BTreeMap::keys).collect();
        let paths = paths.into_iter().cloned().collect();
        Ok(Pattern { text: text.to_owned(), branches, paths })
    }

    /// Its text as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Every path in it, with dots.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// Whether an event with this source and detail-type can match, whatever else is in it.
    pub fn admits(&self, source: &str, detail_type: &str) -> bool {
        let met = |branch: &compile::Branch, name: &str, text: &str| {
            branch.get(name).is_none_or(|conditions| conditions.iter().any(|one| one.holds(Value::Text(text))))
        };
        self.branches.iter().any(|branch| met(branch, "source", source) && met(branch, "detail-type", detail_type))
    }

    /// The number of its conditions, counted for each alternative: the cost to compile it.
    pub fn weight(&self) -> usize {
        self.branches.iter().flat_map(BTreeMap::values).map(|conditions| conditions.len()).sum()
    }

    fn branches(&self) -> &[compile::Branch] {
        &self.branches
    }

    /// Whether one event matches. For many events make a [`Matcher`].
    ///
    /// # Errors
    /// When the event is no JSON object, too large or nested too deep.
    pub fn matches(&self, event_json: &[u8]) -> Result<bool, InvalidEvent> {
        let matcher = Matcher::new([(0, self)]).map_err(|error| InvalidEvent(error.to_string()))?;
        Ok(!matcher.matches(event_json, &mut Scratch::default())?.is_empty())
    }

    /// Explains field by field why an event matches or does not.
    ///
    /// # Errors
    /// As [`matches`](Self::matches).
    pub fn explain(&self, event_json: &[u8]) -> Result<Explanation, InvalidEvent> {
        let matches = self.matches(event_json)?;
        let mut found =
            Found { paths: &self.paths, names: self.prefixes(), values: vec![Vec::new(); self.paths.len()] };
        Scanner::scan(event_json, 0, &mut found, &mut Elements::default())?;
        let mut fields = Vec::new();
        for (alternative, branch) in self.branches.iter().enumerate() {
            for (path, conditions) in branch {
                let index = self.paths.iter().position(|held| held == path).expect("paths are those of the branches");
                let values = &found.values[index];
                let absent = values.is_empty() && conditions.contains(&Condition::Absent);
                let holds = |value: &Held| conditions.iter().any(|condition| condition.holds(value.value()));
                let met = absent || values.iter().any(holds);
                let values = values.iter().map(Held::json).collect();
                fields.push(FieldVerdict { path: path.clone(), alternative, values, met });
            }
        }
        Ok(Explanation { matches, fields })
    }

    /// The root and every path that leads to one.
    fn prefixes(&self) -> Vec<String> {
        let mut names = BTreeSet::from([String::new()]);
        for path in &self.paths {
            names.extend(path.match_indices('.').map(|(dot, _)| path[..dot].to_owned()));
            names.insert(path.clone());
        }
        names.into_iter().collect()
    }
}

/// A value stored for an explanation.
#[derive(Clone)]
enum Held {
    Text(String),
    Number(String),
    Word(String),
}

impl Held {
    fn value(&self) -> Value<'_> {
        match self {
            Held::Text(text) => Value::Text(text),
            Held::Number(number) => Value::Number(number),
            Held::Word(word) => Value::Word(word),
        }
    }

    fn json(&self) -> String {
        match self {
            Held::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
            Held::Number(text) | Held::Word(text) => text.clone(),
        }
    }
}

struct Found<'p> {
    paths: &'p [String],
    names: Vec<String>,
    values: Vec<Vec<Held>>,
}

impl Listener for Found<'_> {
    type Place = usize;

    fn below(&self, place: usize, name: &str) -> Option<usize> {
        let above = &self.names[place];
        let path = if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") };
        self.names.binary_search(&path).ok()
    }

    fn value(&mut self, place: usize, value: Value<'_>, _: u32) {
        if let Some(index) = self.paths.iter().position(|path| *path == self.names[place]) {
            self.values[index].push(match value {
                Value::Text(text) => Held::Text(text.to_owned()),
                Value::Number(number) => Held::Number(number.to_owned()),
                Value::Word(word) => Held::Word(word.to_owned()),
            });
        }
    }
}
