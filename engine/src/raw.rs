//! JSON as it was written. What passes through a bus is never read into a tree of values and written again: numbers
//! would lose digits, objects the order of their members, keys their spelling. Everything that takes an event apart, or
//! puts one together, works on slices of the text that came in; only blanks between tokens may go.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::fmt;

/// How deep a detail may be nested; with the envelope around it, as deep as patterns look.
pub const DETAIL_DEPTH_MAX: usize = 255;

/// A text that cannot be the detail of an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDetail {
    /// JSON, but no object.
    #[error("it must be a JSON object")]
    NoObject,
    /// No JSON, or text that is no Unicode.
    #[error("it is not JSON: {0}")]
    Syntax(String),
    /// Nested deeper than [`DETAIL_DEPTH_MAX`].
    #[error("it is nested deeper than {DETAIL_DEPTH_MAX} levels")]
    Depth,
}

/// Reads a detail to its end, so that nothing behind the journal meets one that is none.
///
/// # Errors
/// When it is no object, is no JSON, or is nested too deep.
pub fn check_detail(detail: &str) -> Result<(), InvalidDetail> {
    let text = check(detail, DETAIL_DEPTH_MAX)?;
    if text.starts_with('{') { Ok(()) } else { Err(InvalidDetail::NoObject) }
}

/// The same for a value that becomes a member of a detail.
///
/// # Errors
/// When it is no JSON, or is nested too deep.
pub fn check_member(value: &str) -> Result<(), InvalidDetail> {
    check(value, DETAIL_DEPTH_MAX - 1).map(drop)
}

/// Passes over JSON; the text without the blanks around it.
fn check(json: &str, depth_max: usize) -> Result<&str, InvalidDetail> {
    let syntax = |error: serde_json::Error| InvalidDetail::Syntax(error.to_string());
    let text = serde_json::from_str::<&RawValue>(json).map_err(syntax)?.get();
    let (bytes, mut at, mut depth) = (text.as_bytes(), 0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let end = string_end(bytes, at);
                let string = &text[at..end];
                // A raw value is only passed over: half of a surrogate pair would be found by the first reader.
                if string.contains("\\u") {
                    serde_json::from_str::<String>(string).map_err(syntax)?;
                }
                at = end;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        if depth > depth_max {
            return Err(InvalidDetail::Depth);
        }
        at += 1;
    }
    Ok(text)
}

/// Where a string ends that begins at a quotation mark, behind the last one.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The elements of a list.
pub fn elements(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(value.get()).ok()
}

/// The members of an object, in their order; a name may come twice.
pub fn members(value: &RawValue) -> Option<Vec<(String, &RawValue)>> {
    serde_json::from_str::<Members<'_>>(value.get()).ok().map(|members| members.0)
}

/// A member of an object; of a name that comes twice the last one counts, as everywhere.
pub fn member<'e>(value: &'e RawValue, name: &str) -> Option<&'e RawValue> {
    members(value)?.into_iter().rev().find(|(held, _)| held == name).map(|(_, part)| part)
}

struct Members<'e>(Vec<(String, &'e RawValue)>);

impl<'e> Deserialize<'e> for Members<'e> {
    fn deserialize<D: Deserializer<'e>>(from: D) -> Result<Members<'e>, D::Error> {
        struct Collect;
        impl<'e> Visitor<'e> for Collect {
            type Value = Members<'e>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'e>>(self, mut map: A) -> Result<Members<'e>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Collect)
    }
}

/// An object of members whose values are JSON already.
pub fn object<'m>(members: impl IntoIterator<Item = (&'m str, &'m str)>) -> String {
    let members = members.into_iter().map(|(name, value)| format!("{}:{value}", Value::from(name)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// JSON without blanks between its tokens.
pub fn compact(json: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    let keep = |c: &char| {
        let keep = quoted || !c.is_ascii_whitespace();
        quoted ^= *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        keep
    };
    json.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_checked_to_its_end_and_numbers_of_any_size_pass() {
        let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        for sound in [
            "{}",
            r#" {"big":12345678901234567890123,"e":1e2,"huge":1e999,"tiny":1e-400} "#,
            r#"{"a":"\ud83c\udf0e }]","b\"{":["\\"]}"#,
            &nested(DETAIL_DEPTH_MAX),
        ] {
            assert_eq!(check_detail(sound), Ok(()), "{sound}");
        }
        for none in ["[]", "7", "null", "\"{}\""] {
            assert_eq!(check_detail(none), Err(InvalidDetail::NoObject), "{none}");
        }
        for wrong in ["", "{", "{}{}", r#"{"a":01}"#, r#"{"a":"\ud83c"}"#, r#"{"\udf0e":1}"#, &"[".repeat(100_000)] {
            assert!(matches!(check_detail(wrong), Err(InvalidDetail::Syntax(_))), "{wrong}");
        }
        assert_eq!(check_detail(&nested(DETAIL_DEPTH_MAX + 1)), Err(InvalidDetail::Depth));
        assert_eq!(check_member("[1]"), Ok(()));
        assert_eq!(check_member(&nested(DETAIL_DEPTH_MAX)), Err(InvalidDetail::Depth));
    }

    #[test]
    fn parts_are_slices_and_what_is_put_together_keeps_them() {
        let text = r#"{ "z": 1.10, "a": [1e2 , {"b":  1e-400}], "z": "q" }"#;
        let read: &RawValue = serde_json::from_str(text).unwrap();
        let found: Vec<(String, &str)> =
            members(read).unwrap().into_iter().map(|(name, part)| (name, part.get())).collect();
        assert_eq!(found[0], ("z".into(), "1.10"));
        assert_eq!(found[1].1, r#"[1e2 , {"b":  1e-400}]"#);
        assert_eq!(member(read, "z").unwrap().get(), "\"q\"");
        let parts = elements(member(read, "a").unwrap()).unwrap();
        assert_eq!(
            object([("n\"", parts[0].get()), ("o", &compact(parts[1].get()))]),
            r#"{"n\"":1e2,"o":{"b":1e-400}}"#
        );
    }
}
