//! Paths into an event, and the values there as they were written, so that a number keeps its digits and members keep
//! their order; only blanks between tokens are dropped.

use super::TransformError;
use crate::raw::{compact, elements, member, members};
use serde_json::value::RawValue;

/// A path into an event: `$.detail.list[0].name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(usize),
    Every,
}

impl JsonPath {
    /// `$`, then names after dots or in brackets and quotation marks, indices in brackets.
    ///
    /// # Errors
    /// When it is not such a path.
    pub fn parse(path: &str) -> Result<JsonPath, TransformError> {
        let mut rest = path.strip_prefix('$').ok_or(TransformError::Path)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, behind) = step(rest).ok_or(TransformError::Path)?;
            steps.push(step);
            rest = behind;
        }
        Ok(JsonPath(steps))
    }

    /// The value at the path, as JSON.
    pub(super) fn find(&self, event: &RawValue) -> Option<String> {
        find(event, &self.0)
    }

    /// The value at the path in a JSON text: a text without quotation marks, everything else as JSON.
    pub fn text_in(&self, json: &str) -> Option<String> {
        let found = self.find(serde_json::from_str(json).ok()?)?;
        Some(if found.starts_with('"') { serde_json::from_str(&found).ok()? } else { found })
    }

    /// As [`text_in`](Self::text_in), but none for an object, a list or `null`.
    fn scalar_in(&self, json: &str) -> Option<String> {
        let found = self.find(serde_json::from_str(json).ok()?)?;
        match found.as_bytes().first()? {
            b'"' => serde_json::from_str(&found).ok(),
            b'{' | b'[' | b'n' => None,
            _ => Some(found),
        }
    }
}

/// A parameter: a constant text, or the value at a path in each event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// A constant text.
    Is(String),
    /// The value at this path.
    At(JsonPath),
}

impl Parameter {
    /// A text that begins with `$.` and is a path is read as a path; every other text is a constant.
    pub fn of(text: &str) -> Parameter {
        let path = text.starts_with("$.").then(|| JsonPath::parse(text).ok()).flatten();
        path.map_or_else(|| Parameter::Is(text.to_owned()), Parameter::At)
    }

    /// The text for one event; none if the path leads nowhere.
    pub fn for_event(&self, json: &str) -> Option<String> {
        match self {
            Parameter::Is(text) => Some(text.clone()),
            Parameter::At(path) => path.text_in(json),
        }
    }

    /// As [`for_event`](Self::for_event), but none for an object, a list or `null`.
    pub fn scalar_for_event(&self, json: &str) -> Option<String> {
        match self {
            Parameter::Is(text) => Some(text.clone()),
            Parameter::At(path) => path.scalar_in(json),
        }
    }
}

/// The first step of a path, and the rest.
fn step(path: &str) -> Option<(Step, &str)> {
    if let Some(named) = path.strip_prefix('.') {
        let end = named.find(['.', '[']).unwrap_or(named.len());
        let (name, behind) = named.split_at(end);
        return match name {
            "" => None,
            "*" => Some((Step::Every, behind)),
            name => Some((Step::Name(name.to_owned()), behind)),
        };
    }
    let (key, behind) = path.strip_prefix('[')?.split_once(']')?;
    let step = match key.trim_matches(['\'', '"']) {
        "*" if key == "*" => Step::Every,
        name if name.len() + 2 == key.len() => Step::Name(name.to_owned()),
        index => Step::Index(index.parse().ok()?),
    };
    Some((step, behind))
}

fn find(value: &RawValue, steps: &[Step]) -> Option<String> {
    let Some((step, rest)) = steps.split_first() else { return Some(compact(value.get())) };
    match step {
        Step::Name(name) => member(value, name),
        Step::Index(index) => elements(value)?.get(*index).copied(),
        Step::Every => {
            let parts =
                elements(value).or_else(|| Some(members(value)?.into_iter().map(|(_, part)| part).collect()))?;
            let found: Vec<String> = parts.into_iter().filter_map(|part| find(part, rest)).collect();
            return Some(format!("[{}]", found.join(",")));
        }
    }
    .and_then(|part| find(part, rest))
}
