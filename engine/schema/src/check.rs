//! Checks a value against a schema: where exactly it does not conform, and why. Bounded in steps and in depth for
//! every schema: a check that needs more fails like a wrong value.

use super::equal::{canonical, equal};
use super::node::{Dependency, List, More, Node, NodeId, Object, Property, Range, Text, Types};
use fakemon_model::limits::{SCHEMA_NESTING_MAX, SCHEMA_STEPS_MAX};
use serde_json::{Map, Value};
use std::fmt::Write;

/// How a value violates its schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} {why}")]
pub struct Violation {
    /// Where, as a JSON path: `$.detail.items[2].price`.
    pub path: String,
    /// Why; reads as a continuation of the path.
    pub why: String,
}

/// A violation, and the path to it from the inside out.
struct Wrong {
    way: Vec<Step>,
    why: String,
    /// The value is not one of the allowed values: among alternatives that differ in such a value, another one is
    /// meant.
    unknown_value: bool,
    /// No other alternative can accept the value.
    hopeless: bool,
}

impl Wrong {
    fn is_further_than(&self, other: &Wrong) -> bool {
        (self.way.len(), !self.unknown_value) < (other.way.len(), !other.unknown_value)
    }
}

enum Step {
    Member(String),
    Item(usize),
}

type Checked = Result<(), Box<Wrong>>;

/// Checks the value at a path.
pub(crate) fn check(nodes: &[Node], root: NodeId, value: &Value, path: &str) -> Result<(), Violation> {
    let mut check = Check { nodes, steps: SCHEMA_STEPS_MAX, depth: 0 };
    check.node(root, value).map_err(|wrong| {
        let mut at = path.to_owned();
        for step in wrong.way.iter().rev() {
            match step {
                Step::Member(name) => push_member(&mut at, name),
                Step::Item(index) => write!(at, "[{index}]").expect("text grows as long as there is memory"),
            }
        }
        Violation { path: at, why: wrong.why }
    })
}

/// Appends a member to a JSON path: `.name`, or `['any name']`.
pub(crate) fn push_member(path: &mut String, name: &str) {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.chars().all(plain) {
        path.push('.');
        path.push_str(name);
    } else {
        path.push_str("['");
        path.push_str(&name.replace('\\', "\\\\").replace('\'', "\\'"));
        path.push_str("']");
    }
}

struct Check<'s> {
    nodes: &'s [Node],
    steps: u32,
    depth: u32,
}

#[cold]
fn wrong(why: impl Into<String>) -> Checked {
    Err(Box::new(Wrong { way: Vec::new(), why: why.into(), unknown_value: false, hopeless: false }))
}

#[cold]
fn at(step: Step, mut wrong: Box<Wrong>) -> Box<Wrong> {
    wrong.way.push(step);
    wrong
}

#[cold]
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

impl<'s> Check<'s> {
    /// Counts `steps`; fails once the budget is used up.
    #[inline]
    fn take(&mut self, steps: usize) -> Checked {
        match u32::try_from(steps).ok().and_then(|steps| self.steps.checked_sub(steps)) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => self.hopeless("takes its schema too many steps: simplify the schema's alternatives"),
        }
    }

    #[cold]
    fn hopeless(&self, why: &str) -> Checked {
        Err(Box::new(Wrong { way: Vec::new(), why: why.into(), unknown_value: false, hopeless: true }))
    }

    fn node(&mut self, id: NodeId, value: &Value) -> Checked {
        let node: &'s Node = &self.nodes[id.0 as usize];
        self.take(1)?;
        if node.nullable && value.is_null() {
            return Ok(());
        }
        let is = Types::of(value);
        if !node.types.has(is) {
            return wrong(format!("is {}, must be {}", shown_with_type(value, is), node.allowed().words()));
        }
        self.depth += 1;
        if self.depth > SCHEMA_NESTING_MAX {
            return self.hopeless("is nested too deep for its schema");
        }
        if let Some(values) = &node.values {
            self.one_of_values(values, value)?;
        }
        match value {
            Value::String(text) => self.text(node, text)?,
            Value::Number(number) => number_fits(node, number.as_f64().unwrap_or_default())?,
            Value::Array(items) => {
                if let Some(list) = &node.list {
                    self.list(list, items)?;
                }
            }
            Value::Object(members) => {
                if let Some(object) = &node.object {
                    self.object(object, value, members)?;
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
        self.combined(node, value)?;
        self.depth -= 1;
        Ok(())
    }

    fn one_of_values(&mut self, values: &[Value], value: &Value) -> Checked {
        for one in values {
            self.take(1)?;
            if equal(one, value) {
                return Ok(());
            }
        }
        let known: Vec<String> = values.iter().take(8).map(shown).collect();
        let more = if values.len() > known.len() { ", …" } else { "" };
        let why = format!("is {}, must be one of {}{more}", shown(value), known.join(", "));
        Err(Box::new(Wrong { way: Vec::new(), why, unknown_value: true, hopeless: false }))
    }

    fn text(&mut self, node: &Node, text: &str) -> Checked {
        if let Some(format) = node.format
            && !format.fits_text(text)
        {
            return wrong(format!("is {}, must be a {}", shown(&text.into()), format.name()));
        }
        let Some(Text { length_min, length_max, pattern }) = node.text.as_deref() else { return Ok(()) };
        if length_min.is_some() || length_max.is_some() {
            count_fits(text.chars().count(), *length_min, *length_max, "characters")?;
        }
        let Some(pattern) = pattern else { return Ok(()) };
        self.take(1 + text.len() / 64)?;
        match pattern.is_match(text) {
            true => Ok(()),
            false => wrong(format!("is {}, must match {}", shown(&text.into()), pattern.as_str())),
        }
    }

    fn list(&mut self, list: &List, items: &[Value]) -> Checked {
        count_fits(items.len(), list.length_min, list.length_max, "items")?;
        for (index, item) in items.iter().enumerate() {
            let node = match (list.items, list.tuple.get(index), list.more) {
                (Some(node), ..) | (None, Some(&node), _) => node,
                (None, None, More::Like(node)) if !list.tuple.is_empty() => node,
                (None, None, More::Nothing) if !list.tuple.is_empty() => {
                    return wrong(format!("must have at most {} items", list.tuple.len()));
                }
                (None, None, _) => continue,
            };
            self.node(node, item).map_err(|wrong| at(Step::Item(index), wrong))?;
        }
        if list.unique { self.unique(items) } else { Ok(()) }
    }

    /// Compares the items' canonical texts, sorted: equal items are then neighbours.
    fn unique(&mut self, items: &[Value]) -> Checked {
        let mut texts: Vec<(String, usize)> = items.iter().map(canonical).zip(0..).collect();
        self.take(texts.iter().map(|(text, _)| 1 + text.len() / 64).sum())?;
        texts.sort();
        match texts.windows(2).find(|two| two[0].0 == two[1].0) {
            None => Ok(()),
            Some(two) => wrong(format!("is the same as item {}, must be unique", two[0].1))
                .map_err(|wrong| at(Step::Item(two[1].1), wrong)),
        }
    }

    /// Members and properties are both sorted by name, so one walk goes along both.
    fn object(&mut self, object: &'s Object, value: &Value, members: &Map<String, Value>) -> Checked {
        count_fits(members.len(), object.length_min, object.length_max, "members")?;
        let mut known = object.properties.iter().peekable();
        for (name, member) in members {
            let mut said = false;
            while let Some(property) = known.next_if(|property| property.name.as_str() <= name.as_str()) {
                if property.name == *name {
                    said = !property.only_required;
                    self.node(property.node, member).map_err(|wrong| at(Step::Member(name.clone()), wrong))?;
                } else {
                    not_required(property)?;
                }
            }
            for (pattern, node) in &object.patterns {
                self.take(1 + name.len() / 64)?;
                if pattern.is_match(name) {
                    said = true;
                    self.node(*node, member).map_err(|wrong| at(Step::Member(name.clone()), wrong))?;
                }
            }
            if !said {
                self.other_member(object.more, name, member)?;
            }
        }
        known.try_for_each(not_required)?;
        for (name, dependency) in &object.dependencies {
            self.take(1)?;
            if members.contains_key(name) {
                self.dependency(name, dependency, value, members)?;
            }
        }
        Ok(())
    }

    fn other_member(&mut self, more: More, name: &str, member: &Value) -> Checked {
        match more {
            More::Anything => Ok(()),
            More::Nothing => wrong("is not in its schema, which allows no others")
                .map_err(|wrong| at(Step::Member(name.into()), wrong)),
            More::Like(node) => self.node(node, member).map_err(|wrong| at(Step::Member(name.into()), wrong)),
        }
    }

    fn dependency(
        &mut self,
        name: &str,
        dependency: &Dependency,
        value: &Value,
        members: &Map<String, Value>,
    ) -> Checked {
        match dependency {
            Dependency::Schema(node) => self.node(*node, value),
            Dependency::Names(names) => match names.iter().find(|needed| !members.contains_key(*needed)) {
                None => Ok(()),
                Some(missing) => wrong(format!("is missing, and must be there beside {name}"))
                    .map_err(|wrong| at(Step::Member(missing.clone()), wrong)),
            },
        }
    }

    fn combined(&mut self, node: &'s Node, value: &Value) -> Checked {
        for part in &node.all_of {
            self.node(*part, value)?;
        }
        if !node.any_of.is_empty() {
            self.alternatives(&node.any_of, value, false)?;
        }
        if !node.one_of.is_empty() {
            self.alternatives(&node.one_of, value, true)?;
        }
        let Some(not) = node.not else { return Ok(()) };
        match self.fits(not, value)? {
            Ok(()) => wrong(format!("is {}, which its schema excludes", shown(value))),
            Err(_) => Ok(()),
        }
    }

    /// Whether a value fits a part; the result is not reported.
    fn fits(&mut self, part: NodeId, value: &Value) -> Result<Checked, Box<Wrong>> {
        let depth = self.depth;
        let outcome = self.node(part, value);
        self.depth = depth;
        match outcome {
            Err(wrong) if wrong.hopeless => Err(wrong),
            outcome => Ok(outcome),
        }
    }

    fn alternatives(&mut self, parts: &[NodeId], value: &Value, only_one: bool) -> Checked {
        let (mut fitting, mut nearest): (usize, Option<Box<Wrong>>) = (0, None);
        let is = Types::of(value);
        for part in parts {
            let node = &self.nodes[part.0 as usize];
            if !node.allowed().has(is) {
                self.take(1)?;
                continue;
            }
            match self.fits(*part, value)? {
                Ok(()) => fitting += 1,
                // Reports the alternative that got furthest, because it is the one that was meant.
                Err(wrong) if nearest.as_ref().is_none_or(|near| near.is_further_than(&wrong)) => {
                    nearest = Some(wrong);
                }
                Err(_) => {}
            }
            if fitting > usize::from(only_one) {
                break;
            }
        }
        match (fitting, nearest) {
            (0, Some(nearest)) => Err(nearest),
            (0, None) => {
                let types =
                    parts.iter().fold(Types::NONE, |all, part| all.with(self.nodes[part.0 as usize].allowed()));
                wrong(format!("is {}, must be {}", shown_with_type(value, is), types.words()))
            }
            (2.., _) if only_one => wrong("fits several alternatives of its schema, must fit exactly one"),
            _ => Ok(()),
        }
    }
}

#[cold]
fn shown_with_type(value: &Value, is: Types) -> String {
    match value {
        Value::Object(_) | Value::Array(_) => format!("{} {}", article(is), is.words()),
        _ => format!("{} ({})", shown(value), is.words()),
    }
}

fn article(is: Types) -> &'static str {
    if is == Types::ARRAY || is == Types::OBJECT { "an" } else { "a" }
}

fn not_required(property: &Property) -> Checked {
    match property.required {
        false => Ok(()),
        true => wrong("is missing").map_err(|wrong| at(Step::Member(property.name.clone()), wrong)),
    }
}

fn count_fits(count: usize, min: Option<u64>, max: Option<u64>, of: &str) -> Checked {
    let count = count as u64;
    match (min, max) {
        (Some(min), _) if count < min => wrong(format!("has {count} {of}, must have at least {min}")),
        (_, Some(max)) if count > max => wrong(format!("has {count} {of}, must have at most {max}")),
        _ => Ok(()),
    }
}

fn number_fits(node: &Node, number: f64) -> Checked {
    if let Some(format) = node.format
        && !format.fits_number(number)
    {
        return wrong(format!("is {number}, must be an {}", format.name()));
    }
    let Some(Range { min, above, max, below, multiple_of }) = node.number.as_deref() else { return Ok(()) };
    let bound = |bound: &Option<f64>, fits: fn(f64, f64) -> bool, words: &str| match bound {
        Some(bound) if !fits(number, *bound) => wrong(format!("is {number}, must be {words} {bound}")),
        _ => Ok(()),
    };
    bound(min, |number, min| number >= min, "at least")?;
    bound(above, |number, above| number > above, "greater than")?;
    bound(max, |number, max| number <= max, "at most")?;
    bound(below, |number, below| number < below, "less than")?;
    let of = |number: f64, step: f64| {
        let times = number / step;
        (times - times.round()).abs() < 1e-9
    };
    bound(multiple_of, of, "a multiple of")
}
