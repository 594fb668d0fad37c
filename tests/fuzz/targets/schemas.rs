//! Schemas in all languages: reading, checking, comparing and generating code never panic, and a schema that is
//! learned from values takes these values.

#![no_main]

use fakemon_schema::{Binding, Kind, Language, Mode, Schema, Shape};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|input: (u8, &str, &str, &str)| {
    let (kind, content, one, two) = input;
    let kind = Kind::ALL[usize::from(kind) % Kind::ALL.len()];
    let values: Vec<Value> = [one, two].into_iter().filter_map(|value| serde_json::from_str(value).ok()).collect();
    if let Ok(schema) = Schema::read(kind, content) {
        values.iter().for_each(|value| drop(schema.check(value)));
        assert!(schema.incompatibilities(&schema, Mode::Full).is_empty(), "it can read what it wrote: {content}");
        Language::ALL.into_iter().for_each(|(language, ..)| drop(Binding::of(&schema, "Fuzzed", language)));
    }
    let mut shape = Shape::default();
    values.iter().for_each(|value| _ = shape.take(value));
    if !values.is_empty() {
        let text = shape.schema(Kind::JsonSchemaDraft4).to_string();
        let learned = Schema::read(Kind::JsonSchemaDraft4, &text).unwrap_or_else(|error| panic!("{text}: {error}"));
        values.iter().for_each(|value| learned.check(value).unwrap_or_else(|error| panic!("{text}: {error:?}")));
    }
});
