//! Valid and hostile schemas; events checked against them; versions compared.

use super::*;
use serde_json::json;
use std::time::Instant;

fn draft4(schema: &Value) -> Schema {
    Schema::read(Kind::JsonSchemaDraft4, &schema.to_string()).unwrap()
}

fn refused(schema: &Value) -> String {
    Schema::read(Kind::JsonSchemaDraft4, &schema.to_string()).unwrap_err().to_string()
}

/// The violation of a value, as `path why`.
fn wrong(schema: &Schema, value: &Value) -> String {
    schema.check(value).map_or_else(|violation| violation.to_string(), |()| "nothing".into())
}

#[test]
fn a_violation_names_its_exact_path() {
    let order = draft4(&json!({
        "type": "object",
        "required": ["id", "items"],
        "properties": {
            "id": { "type": "string", "format": "uuid" },
            "items": { "type": "array", "minItems": 1, "items": { "$ref": "#/definitions/item" } },
            "note": { "type": ["string", "null"], "maxLength": 5 },
            "odd names": { "enum": ["a", 1, null] },
        },
        "additionalProperties": false,
        "patternProperties": { "^x-": { "type": "integer", "minimum": 0, "exclusiveMinimum": true } },
        "definitions": { "item": {
            "type": "object",
            "required": ["price"],
            "properties": { "price": { "type": "number", "multipleOf": 0.01 }, "of": { "$ref": "#/definitions/item" } },
        } },
    }));
    let id = "66616b65-0000-8000-8000-000000000001";
    let good = json!({ "id": id, "items": [{ "price": 1.25, "of": { "price": 2 } }], "note": null, "odd names": 1, "x-a": 1 });
    assert_eq!(wrong(&order, &good), "nothing");
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut value = good.clone();
        change(&mut value);
        wrong(&order, &value)
    };
    type Case<'c> = (&'c dyn Fn(&mut Value), &'c str);
    let cases: [Case<'_>; 10] = [
        (&|v| v["items"][0]["of"]["price"] = "2".into(), "$.items[0].of.price is \"2\" (string), must be number"),
        (&|v| v["items"][0] = json!({}), "$.items[0].price is missing"),
        (&|v| v["items"] = json!([]), "$.items has 0 items, must have at least 1"),
        (&|v| v["items"] = json!({}), "$.items is an object, must be array"),
        (&|v| v["id"] = "x".into(), "$.id is \"x\", must be a uuid"),
        (&|v| v["note"] = "longer".into(), "$.note has 6 characters, must have at most 5"),
        (&|v| v["odd names"] = 2.into(), "$['odd names'] is 2, must be one of \"a\", 1, null"),
        (&|v| v["x-a"] = 0.into(), "$.x-a is 0, must be greater than 0"),
        (&|v| v["other"] = 0.into(), "$.other is not in its schema, which allows no others"),
        (&|v| v["items"][0]["price"] = 0.125.into(), "$.items[0].price is 0.125, must be a multiple of 0.01"),
    ];
    for (change, expected) in cases {
        assert_eq!(changed(change), expected);
    }
}

#[test]
fn combined_schemas_are_checked_in_all_their_parts() {
    let schema = draft4(&json!({
        "allOf": [{ "required": ["kind"] }, { "properties": { "kind": { "type": "string" } } }],
        "oneOf": [
            { "properties": { "kind": { "enum": ["circle"] }, "radius": { "type": "number" } }, "required": ["radius"] },
            { "properties": { "kind": { "enum": ["square"] }, "side": { "type": "number" } }, "required": ["side"] },
        ],
        "not": { "required": ["forbidden"] },
        "dependencies": { "side": ["unit"], "radius": { "properties": { "unit": { "enum": ["m"] } } } },
    }));
    assert_eq!(wrong(&schema, &json!({ "kind": "circle", "radius": 1 })), "nothing");
    assert_eq!(
        wrong(&schema, &json!({ "kind": "square", "side": "1", "unit": 1 })),
        "$.side is \"1\" (string), must be number"
    );
    assert_eq!(
        wrong(&schema, &json!({ "kind": "square", "side": 1 })),
        "$.unit is missing, and must be there beside side"
    );
    assert_eq!(
        wrong(&schema, &json!({ "kind": "circle", "radius": 1, "unit": "cm" })),
        "$.unit is \"cm\", must be one of \"m\""
    );
    let forbidden = wrong(&schema, &json!({ "kind": "circle", "radius": 1, "forbidden": 1 }));
    assert!(forbidden.ends_with("which its schema excludes"), "{forbidden}");
    let tuple = draft4(&json!({ "items": [{ "type": "integer" }], "additionalItems": false, "uniqueItems": true }));
    assert_eq!(wrong(&tuple, &json!([1, 2])), "$ must have at most 1 items");
    let unique = draft4(&json!({ "uniqueItems": true }));
    assert_eq!(wrong(&unique, &json!([{ "a": 1 }, 2, { "a": 1 }])), "$[2] is the same as item 0, must be unique");
}

#[test]
fn numbers_are_the_same_by_their_value() {
    let few = draft4(&json!({ "enum": [1, 2.0, [3], { "n": 4 }] }));
    for value in [json!(1.0), json!(2), json!([3.0]), json!({ "n": 4.0 })] {
        assert_eq!(few.check(&value), Ok(()), "{value}");
    }
    assert!(few.check(&json!(1.5)).is_err());
    let unique = draft4(&json!({ "uniqueItems": true }));
    assert_eq!(wrong(&unique, &json!([1, 2, 1.0])), "$[2] is the same as item 0, must be unique");
    assert_eq!(wrong(&unique, &json!([{ "n": 1.0 }, { "n": 1 }])), "$[1] is the same as item 0, must be unique");
    assert_eq!(unique.check(&json!([1, "1", 1.5, [1], true, null])), Ok(()));
}

#[test]
fn hostile_schemas_are_refused_or_bounded() {
    let began = Instant::now();
    let deep = (0..200).fold(json!({}), |inner, _| json!({ "items": inner }));
    let wide: serde_json::Map<String, Value> = (0..10_001).map(|n| (n.to_string(), json!({}))).collect();
    let chain: serde_json::Map<String, Value> = (0..2_000)
        .map(|n| (format!("d{n}"), json!({ "allOf": [{ "$ref": format!("#/definitions/d{}", n + 1) }] })))
        .collect();
    let mut chain = json!({ "allOf": [{ "$ref": "#/definitions/d0" }], "definitions": chain });
    chain["definitions"]["d2000"] = json!({ "type": "string" });
    for (schema, expected) in [
        (json!({ "$ref": "https://example.org/schema.json" }), "nothing is ever fetched"),
        (
            json!({ "properties": { "a": { "$ref": "file:/etc/passwd" } } }),
            "#/properties/a: $ref file:/etc/passwd leads elsewhere",
        ),
        (json!({ "$ref": "#/definitions/none" }), "names nothing in this schema"),
        (json!({ "$ref": "#" }), "references that only lead to each other"),
        (json!({ "allOf": [{ "$ref": "#" }] }), "it contains itself for the same value"),
        (json!({ "not": { "anyOf": [{ "$ref": "#/not" }] } }), "it contains itself for the same value"),
        (json!({ "pattern": "(?=a)b" }), "#/pattern: no regular expression that is matched in linear time"),
        (json!({ "pattern": "(a)\\1" }), "no regular expression that is matched in linear time"),
        (json!({ "pattern": "((a{100}){100}){100}" }), "repeat less"),
        (json!({ "pattern": "(".repeat(5_000) }), "no regular expression"),
        (json!({ "properties": wide }), "at most 10000 parts"),
        (deep, "less nesting was expected"),
        (json!({ "type": "strnig" }), "#/type: type must be one of"),
        (json!({ "required": "id" }), "#/required: required must be a list of names"),
        (json!([]), "a schema is a JSON object"),
    ] {
        let said = refused(&schema);
        assert!(said.contains(expected), "{said}");
    }
    // Matched in linear time, whatever the pattern.
    let catastrophic = draft4(&json!({ "pattern": "^(a+)+$" }));
    assert!(wrong(&catastrophic, &("a".repeat(50_000) + "!").into()).contains("must match"));
    // Every alternative leads to both again: two to the power of a hundred paths, if there were no bound.
    let branching = draft4(&json!({ "anyOf": [
        { "properties": { "a": { "$ref": "#" } }, "required": ["never"] },
        { "properties": { "a": { "$ref": "#" } }, "required": ["nowhere"] },
    ] }));
    let nested = (0..100).fold(json!({}), |inner, _| json!({ "a": inner }));
    assert!(wrong(&branching, &nested).contains("too many steps"));
    assert!(wrong(&draft4(&chain), &json!("x")).contains("nested too deep"));
    let list = draft4(&json!({ "type": "array", "items": { "$ref": "#" } }));
    let nested = (0..120).fold(json!([]), |inner, _| json!([inner]));
    assert_eq!(wrong(&list, &nested), "nothing");
    assert!(branching.incompatibilities(&branching, Mode::Full).len() <= 200);
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[test]
fn a_schema_has_at_most_a_hundred_thousand_characters() {
    let text = |chars: usize| format!("{{\"title\":\"{}\"}}", "é".repeat(chars - 12));
    assert!(Schema::read(Kind::JsonSchemaDraft4, &text(100_000)).is_ok());
    let error = Schema::read(Kind::JsonSchemaDraft4, &text(100_001)).unwrap_err().to_string();
    assert_eq!(error, "Content: a schema has at most 100000 characters");
}

#[test]
fn names_are_as_the_service_makes_them() {
    let names = [
        ("aws.ec2", "EC2 Instance State-change Notification", "aws.ec2@EC2InstanceStateChangeNotification"),
        ("shop", "order.placed", "shop@order.placed"),
        ("a b/c", "é x", "a-b-c@ue9X"),
    ];
    for (source, detail_type, expected) in names {
        assert_eq!(schema_name(source, detail_type), expected);
    }
    assert_eq!(schema_name(&"s".repeat(1_000), "x").len(), 385);
    assert_eq!(component_name("order.placed"), "OrderPlaced");
}

fn incompatible(old: &Value, new: &Value, mode: Mode) -> Vec<String> {
    draft4(new).incompatibilities(&draft4(old), mode).iter().map(ToString::to_string).collect()
}

#[test]
fn versions_are_compared_both_ways() {
    let object = |properties: Value, required: Value| json!({ "type": "object", "properties": properties, "required": required });
    let old = object(json!({ "unit": { "type": "integer" }, "note": { "type": "string" } }), json!(["unit"]));
    assert_eq!(incompatible(&old, &old, Mode::Full), [""; 0]);
    let one = |new: &Value, backward: &str, forward: &str| {
        for (mode, expected) in [(Mode::Backward, backward), (Mode::Forward, forward)] {
            let found = incompatible(&old, new, mode);
            let told: Vec<&str> = if expected.is_empty() { Vec::new() } else { vec![expected] };
            assert!(
                found.len() == told.len() && found.iter().zip(told).all(|(one, told)| one.ends_with(told)),
                "{new} {mode:?}: {found:?}"
            );
        }
    };
    let note = || json!({ "type": "string" });
    // One more or less optional member breaks no writer; a required one breaks writers that do not write it.
    one(&object(json!({ "unit": { "type": "integer" }, "note": note(), "more": note() }), json!(["unit"])), "", "");
    one(
        &object(json!({ "unit": { "type": "integer" }, "note": note(), "more": note() }), json!(["unit", "more"])),
        "$.more written with the old version, it is missing, and is required",
        "",
    );
    one(
        &object(json!({ "unit": { "type": "integer" }, "note": note() }), json!([])),
        "",
        "$.unit written with the new version, it may be missing, and is required",
    );
    one(
        &object(json!({ "unit": { "type": "number" }, "note": note() }), json!(["unit"])),
        "",
        "$.unit written with the new version, it may be fraction, and is read as integer",
    );
    one(
        &object(
            json!({ "unit": { "type": "integer" }, "note": { "type": "string", "enum": ["a"] } }),
            json!(["unit"]),
        ),
        "$.note written with the old version, it may be any value, and is read as one of a few (enum)",
        "",
    );
    one(
        &object(json!({ "unit": { "type": "integer", "minimum": 1 }, "note": note() }), json!(["unit"])),
        "$.unit written with the old version, it may be less than the reader allows (1)",
        "",
    );
    let mut closed = old.clone();
    closed["additionalProperties"] = false.into();
    let more = object(json!({ "unit": { "type": "integer" }, "note": note(), "more": note() }), json!(["unit"]));
    assert_eq!(
        incompatible(&closed, &more, Mode::Forward),
        ["$.more written with the new version, it is not known to the reader, which allows no others"]
    );
    let list = |item: Value| json!({ "type": "array", "items": { "anyOf": [item, { "type": "null" }] } });
    assert_eq!(
        incompatible(&list(json!({ "type": "integer" })), &list(json!({ "type": "number" })), Mode::Backward),
        [""; 0]
    );
    assert_eq!(
        incompatible(&list(json!({ "type": "number" })), &list(json!({ "type": "integer" })), Mode::Backward),
        ["$[*] written with the old version, it may be fraction, and is read as integer"]
    );
    let node = |value: &str| json!({ "type": "object", "properties": { "value": { "type": value }, "next": { "$ref": "#" } } });
    assert_eq!(incompatible(&node("string"), &node("string"), Mode::Full), [""; 0]);
    assert_eq!(incompatible(&node("string"), &node("integer"), Mode::Backward).len(), 1);
}

#[test]
fn tables_keep_the_places_of_their_fields() {
    let flat = |text: &str| Schema::read(Kind::FlatBuffers, text).unwrap();
    let old = flat("namespace shop; table Order { id:ulong; note:string; } root_type Order;");
    let found = |new: &str| {
        let found = flat(new).incompatibilities(&old, Mode::Backward);
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(found("table Order { id:ulong; note:string; more:[int]; } root_type Order;"), [""; 0]);
    assert_eq!(found("table Order { id:ulong; note:string (deprecated); } root_type Order;"), [""; 0]);
    let moved = found("table Order { more:int; id:ulong; note:string; } root_type Order;");
    assert_eq!(moved[0], "Order.more written with the old version, it was written as id ulong, is read as int");
    let renamed = found("table Order { number:ulong; note:string; } root_type Order;");
    assert_eq!(renamed[0], "Order.number written with the old version, it has the place of id: new fields come last");
    let required = found("table Order { id:ulong; note:string (required); } root_type Order;");
    assert!(required[0].ends_with("is required, and was not always written"), "{required:?}");
    assert_eq!(wrong(&old, &json!({ "id": -1 })), "$.id is -1, must be at least 0");
    for (text, expected) in [
        ("include \"other.fbs\";", "line 1: nothing is ever fetched"),
        ("table A { b:C; }", "A: nothing here is named C"),
        ("table A {\n b }", "line 2: `:` is missing before `}`"),
        ("", "it declares nothing"),
        ("table A { a:int; } table A { b:int; }", "two declarations have one name"),
        ("/* open", "a comment has no end"),
    ] {
        let said = Schema::read(Kind::FlatBuffers, text).unwrap_err().to_string();
        assert!(said.contains(expected), "{text}: {said}");
    }
}

#[test]
fn an_open_api_schema_is_exported_as_json_schema() {
    let mut shape = Shape::default();
    shape.take(&json!({ "unit": null }));
    shape.take(&json!({ "unit": 1 }));
    let content = envelope_schema(Kind::OpenApi3, "shop", "order placed", &shape).to_string();
    let exported = Schema::export(Kind::OpenApi3, &content, Kind::JsonSchemaDraft4, "shop@orderPlaced").unwrap();
    let exported: Value = serde_json::from_str(&exported).unwrap();
    assert_eq!(exported["definitions"]["OrderPlaced"]["properties"]["unit"], json!({ "type": ["integer", "null"] }));
    assert_eq!(exported["properties"]["detail"]["$ref"], "#/definitions/OrderPlaced");
    let schema = draft4(&exported);
    let detail = json!({ "unit": "x" });
    let event = EventParts { source: "shop", detail_type: "order placed", detail: &detail, resources: &[] };
    assert_eq!(schema.check_event(&event).unwrap_err().path, "$.detail.unit");
}
