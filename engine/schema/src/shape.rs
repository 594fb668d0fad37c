//! The form of events, learned from samples: a shape takes one value after another, and grows only where a value does
//! not fit yet. Bounded in depth, properties and parts; beyond the bounds anything is allowed. Taking the same value
//! twice changes nothing.

use super::format::Format;
use super::node::{Node, NodeId, Types};
use super::{Kind, Schema};
use crate::check::push_member;
use fakemon_model::limits::{SHAPE_DEPTH_MAX, SHAPE_PARTS_MAX, SHAPE_PROPERTIES_MAX};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Everything that was seen at one place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shape {
    /// Bounds were reached: anything is allowed here.
    any: bool,
    null: bool,
    boolean: bool,
    number: Option<Numbers>,
    text: Option<Option<Format>>,
    items: Option<Box<Shape>>,
    members: Option<Members>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbers {
    Whole,
    Any,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Members {
    /// Each with whether it was always present.
    named: BTreeMap<String, (Shape, bool)>,
    /// There were too many names: they are keys of a map, and this is the shape of all values.
    map: Option<Box<Shape>>,
}

/// The description of such a shape in its schema.
const ANYTHING: &str = "may be anything";

/// A change of a shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Where, as a JSON path.
    pub path: String,
    /// The difference.
    pub change: String,
}

impl Shape {
    /// Adds a value; returns whether it changed anything.
    pub fn take(&mut self, value: &Value) -> bool {
        let mut room = SHAPE_PARTS_MAX.saturating_sub(self.parts());
        self.take_within(value, 0, &mut room)
    }

    fn take_within(&mut self, value: &Value, depth: usize, room: &mut usize) -> bool {
        if self.any {
            return false;
        }
        if depth > SHAPE_DEPTH_MAX {
            *self = Shape { any: true, ..Shape::default() };
            return true;
        }
        match value {
            Value::Null => !std::mem::replace(&mut self.null, true),
            Value::Bool(_) => !std::mem::replace(&mut self.boolean, true),
            Value::Number(number) => {
                // A sender that writes 10.0 may write a fraction next time.
                let is = if number.is_f64() { Numbers::Any } else { Numbers::Whole };
                let now = if self.number.is_none() || self.number == Some(is) { is } else { Numbers::Any };
                self.number.replace(now) != Some(now)
            }
            Value::String(text) => {
                let now = match self.text {
                    None => Format::shown_by(text),
                    Some(Some(format)) if format.fits_text(text) => Some(format),
                    Some(_) => None,
                };
                self.text.replace(now) != Some(now)
            }
            Value::Array(items) => {
                let mut changed = self.items.is_none();
                let all = self.items.get_or_insert_default();
                for item in items {
                    changed |= all.take_within(item, depth + 1, room);
                }
                changed
            }
            Value::Object(given) => {
                let first = self.members.is_none();
                self.members.get_or_insert_default().take_within(given, first, depth, room) || first
            }
        }
    }

    fn parts(&self) -> usize {
        let items = self.items.as_ref().map_or(0, |items| items.parts());
        let members = self.members.iter().flat_map(|members| {
            let named = members.named.values().map(|(shape, _)| shape.parts());
            named.chain(members.map.iter().map(|shape| shape.parts()))
        });
        1 + items + members.sum::<usize>()
    }

    /// Merges another shape into this one.
    fn merge(&mut self, other: Shape) {
        if self.any || other.any {
            *self = Shape { any: true, ..Shape::default() };
            return;
        }
        self.null |= other.null;
        self.boolean |= other.boolean;
        self.number = match (self.number, other.number) {
            (Some(one), Some(two)) => Some(if one == two { one } else { Numbers::Any }),
            (one, two) => one.or(two),
        };
        self.text = match (self.text, other.text) {
            (Some(one), Some(two)) => Some(one.filter(|_| one == two)),
            (one, two) => one.or(two),
        };
        if let Some(items) = other.items {
            self.items.get_or_insert_default().merge(*items);
        }
        if let Some(members) = other.members {
            match &mut self.members {
                None => self.members = Some(members),
                Some(own) => own.merge(members),
            }
        }
    }

    /// The differences of `now` from this shape.
    pub fn drift(&self, now: &Shape, path: &str) -> Vec<Drift> {
        let mut drifts = Vec::new();
        self.drift_at(now, path, &mut drifts);
        drifts
    }

    fn drift_at(&self, now: &Shape, path: &str, drifts: &mut Vec<Drift>) {
        let before = self.words();
        if before != now.words() {
            drifts.push(Drift { path: path.to_owned(), change: format!("was {before}, is {} now", now.words()) });
        }
        if let (Some(before), Some(now)) = (&self.items, &now.items) {
            before.drift_at(now, &format!("{path}[*]"), drifts);
        }
        let (Some(before), Some(now)) = (&self.members, &now.members) else { return };
        if before.map.is_none() && now.map.is_some() {
            drifts.push(Drift { path: path.to_owned(), change: "has so many names now that it is a map".into() });
            return;
        }
        for (name, (shape, always)) in &now.named {
            let mut at = path.to_owned();
            push_member(&mut at, name);
            match before.named.get(name) {
                None => {
                    let always = if *always { "" } else { ", optional" };
                    drifts.push(Drift { path: at, change: format!("is new: {}{always}", shape.words()) });
                }
                Some((earlier, was_always)) => {
                    if *was_always && !always {
                        drifts.push(Drift { path: at.clone(), change: "is optional now".into() });
                    }
                    earlier.drift_at(shape, &at, drifts);
                }
            }
        }
    }

    /// `integer or null`.
    fn words(&self) -> String {
        if self.any {
            return "anything".into();
        }
        let mut types = Types::NONE;
        for (seen, one) in [
            (self.members.is_some(), Types::OBJECT),
            (self.items.is_some(), Types::ARRAY),
            (self.text.is_some(), Types::STRING),
            (self.boolean, Types::BOOLEAN),
            (self.null, Types::NULL),
        ] {
            types = if seen { types.with(one) } else { types };
        }
        types = match self.number {
            Some(Numbers::Whole) => types.with(Types::INTEGER),
            Some(Numbers::Any) => types.with(Types::NUMBER),
            None => types,
        };
        match self.text.flatten() {
            Some(format) => format!("{} ({})", types.words(), format.name()),
            None => types.words(),
        }
    }

    /// Its schema.
    pub fn schema(&self, kind: Kind) -> Value {
        if self.any {
            return json!({ "description": ANYTHING });
        }
        let mut kinds = Vec::new();
        if let Some(members) = &self.members {
            kinds.push(members.schema(kind));
        }
        if let Some(items) = &self.items {
            kinds.push(json!({ "type": "array", "items": items.schema(kind) }));
        }
        if let Some(format) = &self.text {
            kinds.push(match format {
                Some(format) => json!({ "type": "string", "format": format.name() }),
                None => json!({ "type": "string" }),
            });
        }
        if let Some(numbers) = self.number {
            kinds.push(json!({ "type": if numbers == Numbers::Whole { "integer" } else { "number" } }));
        }
        if self.boolean {
            kinds.push(json!({ "type": "boolean" }));
        }
        let mut schema = match kinds.len() {
            0 => json!({}),
            1 => kinds.remove(0),
            _ => json!({ "anyOf": kinds }),
        };
        match kind {
            _ if !self.null => {}
            Kind::OpenApi3 => schema["nullable"] = true.into(),
            Kind::JsonSchemaDraft4 | Kind::FlatBuffers => match schema["type"].take() {
                Value::String(one) => schema["type"] = json!([one, "null"]),
                _ => {
                    // Null beside alternatives becomes one of them; alone it means that nothing else was seen yet.
                    schema.as_object_mut().map(|members| members.remove("type"));
                    match schema.get_mut("anyOf").and_then(Value::as_array_mut) {
                        Some(kinds) => kinds.push(json!({ "type": "null" })),
                        None => schema = json!({ "nullable": true }),
                    }
                }
            },
        }
        schema
    }

    /// The shape that a schema describes; restrictions that shapes do not have, such as bounds of values, are left
    /// out.
    pub(crate) fn of(schema: &Schema, id: NodeId) -> Shape {
        let mut room = SHAPE_PARTS_MAX;
        Shape::of_node(&schema.nodes, id, 0, &mut room)
    }

    fn of_node(nodes: &[Node], id: NodeId, depth: usize, room: &mut usize) -> Shape {
        let node = &nodes[id.0 as usize];
        let anything = Shape { any: true, ..Shape::default() };
        if depth > SHAPE_DEPTH_MAX || *room == 0 {
            return anything;
        }
        *room -= 1;
        let mut shape = Shape { null: node.nullable, ..Shape::default() };
        let parts: Vec<NodeId> = [&node.all_of, &node.any_of, &node.one_of].into_iter().flatten().copied().collect();
        for part in &parts {
            shape.merge(Shape::of_node(nodes, *part, depth + 1, room));
        }
        if node.types == Types::ALL {
            return if parts.is_empty() && !node.nullable { anything } else { shape };
        }
        shape.null |= node.types.has(Types::NULL);
        shape.boolean |= node.types.has(Types::BOOLEAN);
        shape.number = shape.number.or(match node.types.and(Types::NUMBER) {
            Types::NONE => None,
            Types::INTEGER => Some(Numbers::Whole),
            _ => Some(Numbers::Any),
        });
        if node.types.has(Types::STRING) {
            shape.text.get_or_insert(node.format);
        }
        if node.types.has(Types::ARRAY) {
            // Lists that were always empty say nothing about their items.
            let says = |items: &NodeId| {
                let items = &nodes[items.0 as usize];
                !items.is_anything() || items.description.is_some()
            };
            let items = node.list.as_ref().and_then(|list| list.items).filter(says);
            let items = items.map_or(Shape::default(), |items| Shape::of_node(nodes, items, depth + 1, room));
            shape.items.get_or_insert_default().merge(items);
        }
        if node.types.has(Types::OBJECT) {
            let members = Members::of_node(nodes, node, depth, room);
            shape.merge(Shape { members: Some(members), ..Shape::default() });
        }
        shape
    }
}

impl Members {
    fn take_within(&mut self, given: &Map<String, Value>, first: bool, depth: usize, room: &mut usize) -> bool {
        let mut changed = false;
        if let Some(all) = &mut self.map {
            for value in given.values() {
                changed |= all.take_within(value, depth + 1, room);
            }
            return changed;
        }
        for (name, (_, always)) in &mut self.named {
            if *always && !given.contains_key(name) {
                *always = false;
                changed = true;
            }
        }
        for (name, value) in given {
            if let Some((shape, _)) = self.named.get_mut(name) {
                changed |= shape.take_within(value, depth + 1, room);
            } else if *room > 0 {
                *room -= 1;
                let mut shape = Shape::default();
                shape.take_within(value, depth + 1, room);
                self.named.insert(name.clone(), (shape, first));
                changed = true;
            }
        }
        if self.named.len() > SHAPE_PROPERTIES_MAX {
            self.become_a_map();
        }
        changed
    }

    fn become_a_map(&mut self) {
        let mut all = Shape::default();
        for (shape, _) in std::mem::take(&mut self.named).into_values() {
            all.merge(shape);
        }
        self.map = Some(Box::new(all));
    }

    fn merge(&mut self, mut other: Members) {
        match (self.map.is_some(), other.map.is_some()) {
            (false, true) => self.become_a_map(),
            (true, false) => other.become_a_map(),
            _ => {}
        }
        if let (Some(one), Some(two)) = (&mut self.map, other.map) {
            return one.merge(*two);
        }
        for (name, (_, always)) in &mut self.named {
            *always &= other.named.contains_key(name);
        }
        for (name, (shape, always)) in other.named {
            match self.named.get_mut(&name) {
                None => drop(self.named.insert(name, (shape, false))),
                Some((own, own_always)) => {
                    own.merge(shape);
                    *own_always &= always;
                }
            }
        }
        if self.named.len() > SHAPE_PROPERTIES_MAX {
            self.become_a_map();
        }
    }

    fn schema(&self, kind: Kind) -> Value {
        if let Some(all) = &self.map {
            return json!({ "type": "object", "additionalProperties": all.schema(kind) });
        }
        let properties: Map<String, Value> =
            self.named.iter().map(|(name, (shape, _))| (name.clone(), shape.schema(kind))).collect();
        let required: Vec<&String> =
            self.named.iter().filter(|(_, (_, always))| *always).map(|(name, _)| name).collect();
        let mut schema = json!({ "type": "object", "properties": properties });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        schema
    }

    fn of_node(nodes: &[Node], node: &Node, depth: usize, room: &mut usize) -> Members {
        let Some(object) = &node.object else { return Members::default() };
        if let super::node::More::Like(all) = object.more
            && object.properties.is_empty()
        {
            let all = Shape::of_node(nodes, all, depth + 1, room);
            return Members { map: Some(Box::new(all)), ..Members::default() };
        }
        let named = object.properties.iter().take(SHAPE_PROPERTIES_MAX).map(|property| {
            let shape = Shape::of_node(nodes, property.node, depth + 1, room);
            (property.name.clone(), (shape, property.required))
        });
        Members { named: named.collect(), map: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(values: &[Value]) -> Shape {
        let mut shape = Shape::default();
        for value in values {
            shape.take(value);
        }
        shape
    }

    #[test]
    fn a_shape_grows_only_where_values_do_not_fit_yet() {
        let mut shape = seen(&[json!({ "unit": 1, "at": "2026-11-24T12:00:00Z", "tags": ["a"] })]);
        let before = shape.clone();
        assert!(!shape.take(&json!({ "unit": 2, "at": "2026-11-24T13:00:00+01:00", "tags": [] })));
        assert!(shape.take(&json!({ "unit": 2.5, "at": "soon", "tags": [7], "more": null })));
        let drift: Vec<String> =
            before.drift(&shape, "$").into_iter().map(|drift| format!("{} {}", drift.path, drift.change)).collect();
        assert_eq!(
            drift,
            [
                "$.at was string (date-time), is string now",
                "$.more is new: null, optional",
                "$.tags[*] was string, is string or integer now",
                "$.unit was integer, is number now"
            ]
        );
        assert!(shape.take(&json!({ "unit": null })));
        let expected = json!({ "type": "object", "required": ["unit"], "properties": {
            "at": { "type": "string" },
            "more": { "nullable": true },
            "tags": { "type": "array", "items": { "anyOf": [{ "type": "string" }, { "type": "integer" }] } },
            "unit": { "type": "number", "nullable": true },
        } });
        assert_eq!(shape.schema(Kind::OpenApi3), expected);
    }

    #[test]
    fn a_shape_comes_back_from_its_schema() {
        let shape = seen(&[
            json!({ "a": [{ "b": null }, { "b": "x" }], "c": { "d": 1.5 }, "e": [], "f": null, "g": [[1, "x", null]] }),
            json!({ "a": [], "c": { "d": null }, "e": [], "f": null, "g": [], "h": true }),
        ]);
        for kind in [Kind::OpenApi3, Kind::JsonSchemaDraft4] {
            let content = match kind {
                Kind::OpenApi3 => {
                    json!({ "openapi": "3.0.0", "components": { "schemas": { "x": shape.schema(kind) } } })
                }
                _ => shape.schema(kind),
            };
            let schema = Schema::read(kind, &content.to_string()).unwrap();
            assert_eq!(Shape::of(&schema, schema.detail().unwrap()), shape, "{content}");
        }
    }

    #[test]
    fn what_would_grow_without_end_becomes_a_map_or_anything() {
        let mut shape = Shape::default();
        for number in 0..10_000 {
            shape.take(&json!({ "by_player": { format!("player-{number}"): number } }));
        }
        let map = json!({ "type": "object", "additionalProperties": { "type": "integer" } });
        assert_eq!(shape.schema(Kind::OpenApi3)["properties"]["by_player"], map);
        let deep = (0..100).fold(json!(1), |inner, _| json!({ "deeper": inner }));
        assert!(shape.take(&json!({ "deep": deep })) && !shape.take(&json!({ "deep": deep, "by_player": {} })));
        for number in 0..10_000 {
            shape.take(
                &json!({ "wide": { format!("group-{}", number % 100): { format!("field-{}", number / 100): 1 } } }),
            );
        }
        assert!(shape.parts() <= SHAPE_PARTS_MAX + 1, "{}", shape.parts());
    }

    #[test]
    fn a_number_that_is_written_with_a_fraction_may_have_one() {
        let priced: Value = serde_json::from_str(r#"{"price":10.0,"e":1e2,"unit":10}"#).unwrap();
        let schema = seen(&[priced.clone(), priced.clone(), priced]).schema(Kind::JsonSchemaDraft4);
        let of = |name: &str| schema["properties"][name]["type"].clone();
        assert_eq!((of("price"), of("e"), of("unit")), (json!("number"), json!("number"), json!("integer")));
    }
}
