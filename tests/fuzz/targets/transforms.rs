//! Input paths and templates: nothing panics, and what a template gives is JSON, one value or several.

#![no_main]

use fakemon_pattern::raw;
use fakemon_pattern::transform::{Context, Parameter, Transform};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

fuzz_target!(|input: (&str, &str, Vec<(&str, &str)>)| {
    let (template, event, paths) = input;
    let paths: BTreeMap<String, String> =
        paths.into_iter().map(|(name, path)| (name.to_owned(), path.to_owned())).collect();
    if raw::tree(event).is_err() {
        return; // what stands in the journal is JSON
    }
    let context = Context::default();
    let _ = Parameter::of(template).for_event(event);
    let whole = Transform::parse(None, None, Some((&paths, template)));
    for transform in [whole, Transform::inline(template), Transform::parse(None, Some(template), None)] {
        let Ok(transform) = transform else { continue };
        let Ok(body) = transform.apply(event, &context) else { continue };
        let mut values = serde_json::Deserializer::from_str(&body).into_iter::<&RawValue>();
        assert!(values.all(|value| value.is_ok()), "{template:?} gave {body:?}");
    }
});
