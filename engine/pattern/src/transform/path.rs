//! Paths into an event, and what stands there: as it was written, so that a number keeps its digits and members keep
//! their order; only blanks between the tokens go.

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
    /// When it is something else.
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

    /// What stands there, as JSON.
    pub(super) fn find(&self, event: &RawValue) -> Option<String> {
        find(event, &self.0)
    }

    /// What stands there in a JSON text: a text as it is, everything else as JSON.
    pub fn text_in(&self, json: &str) -> Option<String> {
        let found = self.find(serde_json::from_str(json).ok()?)?;
        Some(if found.starts_with('"') { serde_json::from_str(&found).ok()? } else { found })
    }

    /// The same, but none of an object, a list or `null`.
    fn scalar_in(&self, json: &str) -> Option<String> {
        let found = self.find(serde_json::from_str(json).ok()?)?;
        match found.as_bytes().first()? {
            b'"' => serde_json::from_str(&found).ok(),
            b'{' | b'[' | b'n' => None,
            _ => Some(found),
        }
    }
}

/// A text of a parameter: as it is, or what stands at a path in each event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// As it is.
    Is(String),
    /// At this path.
    At(JsonPath),
}

impl Parameter {
    /// A text that begins with `$.` and is a path is one; every other text is itself.
    pub fn of(text: &str) -> Parameter {
        let path = text.starts_with("$.").then(|| JsonPath::parse(text).ok()).flatten();
        path.map_or_else(|| Parameter::Is(text.to_owned()), Parameter::At)
    }

    /// The text for one event; a path that leads nowhere gives none.
    pub fn for_event(&self, json: &str) -> Option<String> {
        match self {
            Parameter::Is(text) => Some(text.clone()),
            Parameter::At(path) => path.text_in(json),
        }
    }

    /// The text for one event, where an object, a list or `null` is none.
    pub fn scalar_for_event(&self, json: &str) -> Option<String> {
        match self {
            Parameter::Is(text) => Some(text.clone()),
            Parameter::At(path) => path.scalar_in(json),
        }
    }
}

/// The first step of a path, and what comes behind it.
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
