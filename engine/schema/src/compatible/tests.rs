//! Compatibility: hand-written cases, and random schemas checked against the validator.

use super::Mode;
use crate::{Kind, Schema};
use fakemon_model::dice::Dice;
use serde_json::{Map, Value, json};

fn read(schema: &Value) -> Schema {
    Schema::read(Kind::JsonSchemaDraft4, &schema.to_string()).unwrap()
}

fn backward(old: &Value, new: &Value) -> Vec<String> {
    read(new).incompatibilities(&read(old), Mode::Backward).iter().map(ToString::to_string).collect()
}

/// The report without its prefix; nothing if the new version reads all that the old one wrote.
fn told(old: Value, new: Value) -> String {
    let found = backward(&old, &new);
    found.first().map_or_else(String::new, |one| one.replace("written with the old version, it ", ""))
}

#[test]
fn patterns_of_names_are_compared() {
    let map = |pattern: &str, kind: &str| json!({ "patternProperties": { pattern: { "type": kind } } });
    assert_eq!(told(map("^x_", "integer"), map("^x_", "number")), "");
    assert_eq!(
        told(map("^x_", "number"), map("^x_", "integer")),
        "$['/^x_/'] may be fraction, and is read as integer"
    );
    // Whether a name matches both patterns is undecided; it does not matter if their values fit both.
    assert_eq!(told(map("^x_", "integer"), map("^x", "number")), "");
    assert!(told(map("^x_", "string"), map("^x", "number")).contains("may match /^x/ as well"));
    let closed = json!({ "patternProperties": { "^y": {} }, "additionalProperties": false });
    assert!(told(map("^x", "string"), closed).contains("is not known to the reader"));
    let named = |kind: &str| json!({ "properties": { "x_1": { "type": kind } } });
    assert_eq!(told(named("string"), map("^x_", "number")), "$.x_1 may be string, and is read as number");
    assert_eq!(told(map("^x_", "string"), named("number")), "$.x_1 may be string, and is read as number");
}

#[test]
fn what_fits_several_alternatives_of_which_one_is_asked_for_is_refused() {
    let whole = json!({ "type": "integer" });
    let overlapping = json!({ "oneOf": [{ "type": "integer" }, { "type": "number" }] });
    assert!(told(whole.clone(), overlapping.clone()).contains("exactly one (oneOf)"));
    assert_eq!(told(overlapping.clone(), overlapping), "", "the same is the same");
    let apart = json!({ "oneOf": [{ "type": "integer" }, { "type": "string" }] });
    assert_eq!(told(whole, apart), "");
    // Alternatives that a member distinguishes.
    let kind = |kind: &str, more: &str| json!({ "properties": { "kind": { "enum": [kind] }, more: {} }, "required": ["kind"] });
    let old = json!({ "type": "object", "oneOf": [kind("a", "x"), kind("b", "y")] });
    let new = json!({ "type": "object", "oneOf": [kind("a", "x"), kind("b", "y"), kind("c", "z")] });
    assert_eq!(told(old.clone(), new.clone()), "");
    assert_eq!(told(new, old), "$ fits none of the reader's alternatives");
}

#[test]
fn it_does_not_matter_how_a_schema_is_put_together() {
    let required = json!({ "type": "object", "required": ["a"] });
    for same in [
        json!({ "type": "object", "allOf": [{ "required": ["a"] }] }),
        json!({ "allOf": [{ "type": "object" }, { "required": ["a"] }] }),
        json!({ "allOf": [{ "allOf": [{ "required": ["a"] }] }, { "type": "object", "required": ["a"] }] }),
        json!({ "anyOf": [{ "type": "object", "required": ["a"] }] }),
    ] {
        assert_eq!(
            (told(same.clone(), required.clone()), told(required.clone(), same)),
            (String::new(), String::new())
        );
    }
    // Each part describes the same member.
    let parts = json!({ "allOf": [{ "properties": { "a": { "type": "string" } } }, { "required": ["a"] }] });
    assert_eq!(told(parts.clone(), json!({ "properties": { "a": { "type": "string" } }, "required": ["a"] })), "");
    let number = json!({ "properties": { "a": { "type": "number" } } });
    assert_eq!(told(parts, number), "$.a may be string, and is read as number");
    let either = json!({ "properties": { "b": {} }, "anyOf": [{ "properties": { "a": { "type": "string" } } }] });
    assert_eq!(
        told(either, json!({ "properties": { "a": { "type": "number" } } })),
        "$.a may be string, and is read as number"
    );
}

#[test]
fn values_that_are_known_are_tried() {
    let few = json!({ "enum": ["a", 3, null] });
    assert_eq!(told(few.clone(), json!({ "type": ["string", "number", "null"], "maximum": 3 })), "");
    assert!(told(few.clone(), json!({ "maximum": 2 })).contains("may be 3, and by the reader's schema $ is 3"));
    assert_eq!(told(few, json!({ "enum": ["a", 3.0] })), "$ may be null, which the reader does not know (enum)");
    let asked = json!({ "properties": { "a": {} }, "dependencies": { "a": { "required": ["b"] } } });
    assert_eq!(told(asked.clone(), asked.clone()), "");
    assert!(told(json!({ "properties": { "a": {} } }), asked.clone()).contains("asks for beside a"));
    assert_eq!(told(json!({ "properties": { "c": {} } }), asked), "");
}

#[test]
fn hostile_schemas_are_compared_within_bounds() {
    // Many nested cases of many members that many patterns match, and no two versions quite equal.
    let hostile = |more: &str| {
        let mut properties: Map<String, Value> =
            (0..1_200).map(|number| (format!("m{number}"), json!({ "$ref": "#" }))).collect();
        properties.insert("last".into(), json!({ "const": more }));
        let pair = |number: u32| {
            let one = |side: &str| json!({ "properties": { format!("{side}{number}"): { "$ref": "#" } } });
            json!({ "anyOf": [one("a"), one("b")] })
        };
        let patterns: Map<String, Value> =
            (0..40).map(|number| (format!("m.*{number}"), json!({ "$ref": "#" }))).collect();
        json!({ "properties": properties, "patternProperties": patterns, "allOf": (0..8).map(pair).collect::<Value>() })
    };
    assert!(backward(&hostile("one"), &hostile("other"))[0].contains("within bounds"));
    let deep = |end: &str| {
        let part = |number: u32| json!({ "allOf": [{ "$ref": format!("#/definitions/d{}", number + 1) }, {}] });
        let mut definitions: Map<String, Value> =
            (0..1_000).map(|number| (format!("d{number}"), part(number))).collect();
        definitions.insert("d1000".into(), json!({ "type": end }));
        json!({ "definitions": definitions, "$ref": "#/definitions/d0" })
    };
    assert!(backward(&deep("string"), &deep("number"))[0].contains("within bounds"));
    let long = |end: &str| {
        let next = |number: u32| json!({ "$ref": format!("#/definitions/d{}", number + 1) });
        let either = |number: u32| json!({ "anyOf": [next(number), { "type": "object", "required": ["other"] }] });
        let part = |number: u32| json!({ "oneOf": [{ "properties": { "x": either(number) } }, { "type": "null" }] });
        let mut definitions: Map<String, Value> =
            (0..400).map(|number| (format!("d{number}"), part(number))).collect();
        definitions.insert("d400".into(), json!({ "type": end }));
        json!({ "definitions": definitions, "$ref": "#/definitions/d0" })
    };
    assert!(!backward(&long("string"), &long("number")).is_empty());
}

/// Random schemas and values: small, so that they often fit together.
trait RandomJson {
    fn value(&mut self, depth: u64) -> Value;
    fn schema(&mut self, depth: u64) -> Value;
    /// The same schema with something changed, or another one.
    fn other_version(&mut self, schema: &Value, depth: u64) -> Value;
}

impl RandomJson for Dice {
    fn value(&mut self, depth: u64) -> Value {
        match self.below(if depth == 0 { 7 } else { 10 }) {
            0 => Value::Null,
            1 => true.into(),
            2 => "a".into(),
            3 => "bb".into(),
            4 => 1.into(),
            5 => json!(2.0),
            6 => json!(1.5),
            7 => (0..self.below(3)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let members =
                    (0..self.below(4)).map(|_| (self.of(&["a", "b", "ab", "c"]).to_owned(), self.value(depth - 1)));
                Value::Object(members.collect())
            }
        }
    }

    fn schema(&mut self, depth: u64) -> Value {
        let mut schema = Map::new();
        let parts = |dice: &mut Dice| -> Value { (0..1 + dice.below(2)).map(|_| dice.schema(depth - 1)).collect() };
        for _ in 0..1 + self.below(3) {
            let (name, value) = match self.below(if depth == 0 { 8 } else { 19 }) {
                0..3 => {
                    ("type", self.of(&["null", "boolean", "string", "integer", "number", "array", "object"]).into())
                }
                3 => ("enum", (0..1 + self.below(3)).map(|_| self.value(1)).collect()),
                4 => ("minimum", self.below(3).into()),
                5 => ("maximum", self.below(3).into()),
                6 => ("maxLength", self.below(3).into()),
                7 => ("required", json!([self.of(&["a", "b"])])),
                8 => ("items", self.schema(depth - 1)),
                9 => ("items", parts(self)),
                10 => ("additionalItems", json!(self.below(2) == 0)),
                11 => (self.of(&["maxItems", "minItems"]), self.below(3).into()),
                12 => ("patternProperties", json!({ self.of(&["^a", "b$"]): self.schema(depth - 1) })),
                13 if self.below(2) == 0 => ("additionalProperties", false.into()),
                13 => ("additionalProperties", self.schema(depth - 1)),
                14 => (self.of(&["allOf", "anyOf", "oneOf"]), parts(self)),
                15 => ("not", self.schema(depth - 1)),
                16 => ("dependencies", json!({ self.of(&["a", "b"]): self.schema(depth - 1) })),
                _ => (
                    "properties",
                    json!({ "a": self.schema(depth - 1), self.of(&["b", "c"]): self.schema(depth - 1) }),
                ),
            };
            schema.insert(name.into(), value);
        }
        schema.into()
    }

    fn other_version(&mut self, schema: &Value, depth: u64) -> Value {
        let Value::Object(members) = schema else { return schema.clone() };
        let mut other = members.clone();
        match self.below(4) {
            0 => return self.schema(depth),
            1 => drop(other.remove(&self.of(&members.keys().cloned().collect::<Vec<_>>()))),
            2 => return json!({ "allOf": [schema, self.schema(0)] }),
            _ => other.extend(self.schema(depth).as_object().cloned().unwrap()),
        }
        other.into()
    }
}

/// Whether a schema names everything in a value that fits it: its writers write nothing else.
fn is_named(schemas: &[&Value], value: &Value) -> bool {
    let mut all: Vec<&Value> = Vec::new();
    let mut left: Vec<&Value> = schemas.to_vec();
    while let Some(schema) = left.pop() {
        if read(schema).check(value).is_err() {
            continue;
        }
        all.push(schema);
        for name in ["allOf", "anyOf", "oneOf"] {
            left.extend(schema[name].as_array().into_iter().flatten());
        }
        let dependent = schema["dependencies"].as_object().into_iter().flatten();
        left.extend(dependent.filter(|(name, _)| value.get(name).is_some()).map(|(_, schema)| schema));
    }
    match value {
        Value::Object(members) => members.iter().all(|(name, member)| {
            let mut of: Vec<&Value> = Vec::new();
            let mut named = false;
            for schema in &all {
                let before = of.len();
                of.extend(schema["properties"].get(name));
                let patterns = schema["patternProperties"].as_object().into_iter().flatten();
                of.extend(
                    patterns
                        .filter(|(pattern, _)| regex::Regex::new(pattern).unwrap().is_match(name))
                        .map(|(_, it)| it),
                );
                if of.len() == before {
                    of.extend(schema.get("additionalProperties").filter(|more| more.is_object()));
                }
                named |= schema["required"].as_array().is_some_and(|all| all.contains(&json!(name)));
            }
            // A member that is only required may be anything.
            named && of.is_empty() && is_named(&[&json!({})], member) || !of.is_empty() && is_named(&of, member)
        }),
        Value::Array(items) => items.iter().enumerate().all(|(index, item)| {
            let mut of: Vec<&Value> = Vec::new();
            let mut is_behind = false;
            for schema in &all {
                match &schema["items"] {
                    Value::Array(tuple) => {
                        of.extend(tuple.get(index));
                        is_behind |= tuple.len() <= index;
                    }
                    Value::Object(_) => of.push(&schema["items"]),
                    _ => {}
                }
            }
            of.is_empty() && !is_behind && is_named(&[&json!({})], item) || !of.is_empty() && is_named(&of, item)
        }),
        _ => true,
    }
}

#[test]
fn what_is_called_compatible_is_read() {
    let (mut compatible, mut written) = (0, 0);
    for seed in 0..2_000_u64 {
        let mut dice = Dice(seed << 32);
        let old = dice.schema(2);
        let new = dice.other_version(&old, 2);
        if !backward(&old, &new).is_empty() {
            continue;
        }
        compatible += 1;
        let (writer, reader) = (read(&old), read(&new));
        for _ in 0..60 {
            let value = dice.value(2);
            if writer.check(&value).is_ok() && is_named(&[&old], &value) {
                written += 1;
                assert_eq!(reader.check(&value), Ok(()), "seed {seed}: {value}\n{old}\n{new}");
            }
        }
    }
    assert!(compatible > 300 && written > 3_000, "{compatible} {written}");
}
