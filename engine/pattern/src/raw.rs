//! JSON as it was written. What passes through a bus is never parsed into a tree of values and printed again: numbers
//! would lose digits, objects the order of their members, keys their spelling. Code that takes events apart or
//! assembles them works on slices of the original text; only blanks between tokens may be dropped.

use crate::syntax;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// How deep a detail may be nested; with the envelope around it, that is as deep as patterns look.
pub const DETAIL_DEPTH_MAX: usize = 255;

/// A text that cannot be the detail of an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDetail {
    /// It is JSON, but no object.
    #[error("it must be a JSON object")]
    NoObject,
    /// It is not JSON, or not valid Unicode.
    #[error("it is not JSON: {0}")]
    Syntax(String),
    /// It is nested deeper than [`DETAIL_DEPTH_MAX`].
    #[error("it is nested deeper than {DETAIL_DEPTH_MAX} levels")]
    Depth,
}

/// Parses a detail completely, so that every detail in the journal is valid.
///
/// # Errors
/// When it is not an object, not JSON, or nested too deep.
pub fn check_detail(detail: &str) -> Result<(), InvalidDetail> {
    let text = check(detail, DETAIL_DEPTH_MAX)?;
    if text.starts_with('{') { Ok(()) } else { Err(InvalidDetail::NoObject) }
}

/// As [`check_detail`], for a value that becomes a member of a detail.
///
/// # Errors
/// When it is not JSON, or nested too deep.
pub fn check_member(value: &str) -> Result<(), InvalidDetail> {
    check(value, DETAIL_DEPTH_MAX - 1).map(drop)
}

/// Parses JSON; returns the text without the blanks around it.
fn check(json: &str, depth_max: usize) -> Result<&str, InvalidDetail> {
    let syntax = |error: serde_json::Error| InvalidDetail::Syntax(syntax::expected(&error, json.as_bytes()));
    let text = serde_json::from_str::<&RawValue>(json).map_err(syntax)?.get();
    let (bytes, mut at, mut depth) = (text.as_bytes(), 0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let end = string_end(bytes, at);
                let string = &text[at..end];
                // A raw value is only skipped, which would leave half of a surrogate pair to the next reader.
                if string.contains("\\u") {
                    let half = |_| InvalidDetail::Syntax(half_a_pair(json, string));
                    serde_json::from_str::<String>(string).map_err(half)?;
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

/// A raw value is skipped without a look at its escapes: only half of a surrogate pair is left to be found.
fn half_a_pair(json: &str, string: &str) -> String {
    let byte = string.as_ptr() as usize - json.as_ptr() as usize + 1;
    format!("in the string at byte {byte}: the other half of a surrogate pair was expected, as in \\ud83d\\ude00")
}

/// The position after the string that begins with the quotation mark at `start`.
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

/// The members of an object, in order; a name may occur twice.
pub fn members(value: &RawValue) -> Option<Vec<(String, &RawValue)>> {
    serde_json::from_str::<Members<'_, String>>(value.get()).ok().map(|members| members.0)
}

/// A member of an object; of a name that occurs twice the last one counts, as everywhere.
pub fn member<'e>(value: &'e RawValue, name: &str) -> Option<&'e RawValue> {
    members(value)?.into_iter().rev().find(|(held, _)| held == name).map(|(_, part)| part)
}

struct Members<'e, N>(Vec<(N, &'e RawValue)>);

impl<'e, N: Deserialize<'e>> Deserialize<'e> for Members<'e, N> {
    fn deserialize<D: Deserializer<'e>>(from: D) -> Result<Members<'e, N>, D::Error> {
        struct Collect<N>(PhantomData<N>);
        impl<'e, N: Deserialize<'e>> Visitor<'e> for Collect<N> {
            type Value = Members<'e, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'e>>(self, mut map: A) -> Result<Members<'e, N>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Collect(PhantomData))
    }
}

/// An object with members whose values are JSON already.
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

/// An object with texts as further members: each replaces the member of its name, or is added at the end. None if
/// `json` is not an object.
pub fn with_texts(json: &str, texts: &[(String, String)]) -> Option<String> {
    let Members(members) = serde_json::from_str::<Members<'_, &RawValue>>(json).ok()?;
    let mut waiting: Vec<&(String, String)> = texts.iter().collect();
    let mut joined = String::with_capacity(json.len() + 64);
    let mut add = |name: &str, value: &str| {
        joined.push(if joined.is_empty() { '{' } else { ',' });
        joined.push_str(name);
        joined.push(':');
        joined.push_str(value);
    };
    for (raw_name, value) in members {
        let name: String = serde_json::from_str(raw_name.get()).ok()?;
        match texts.iter().find(|(added, _)| *added == name) {
            // A member that occurs twice is replaced by one.
            Some((_, text)) if waiting.iter().any(|(added, _)| *added == name) => {
                waiting.retain(|(added, _)| *added != name);
                add(raw_name.get(), &quoted(text));
            }
            Some(_) => {}
            None => add(raw_name.get(), value.get()),
        }
    }
    waiting.into_iter().for_each(|(name, text)| add(&quoted(name), &quoted(text)));
    if joined.is_empty() {
        joined.push('{');
    }
    joined.push('}');
    Some(joined)
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text can always be written")
}

/// How deep a JSON text is nested: `{"a":[1]}` has two levels.
fn depth(json: &str) -> usize {
    let (mut quoted, mut escaped, mut depth, mut deepest) = (false, false, 0_usize, 0);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1), // only if it is not JSON
            _ => {}
        }
    }
    deepest
}

/// How deep a JSON text may be to be parsed into a tree; the parser has a limit of its own, a little above.
const TREE_DEPTH_MAX: usize = 120;

/// The JSON text with objects and lists below [`TREE_DEPTH_MAX`] emptied, so that it can be parsed into a tree; no
/// schema describes anything deeper.
fn for_tree(json: &str) -> Cow<'_, str> {
    if depth(json) <= TREE_DEPTH_MAX {
        return Cow::Borrowed(json);
    }
    let (mut quoted, mut escaped, mut depth) = (false, false, 0_usize);
    let keep = |c: &char| {
        let is_bracket = !quoted && matches!(c, '{' | '[' | '}' | ']');
        let before = depth;
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        // On the last level only the brackets are kept.
        before.max(depth) < TREE_DEPTH_MAX || before.max(depth) == TREE_DEPTH_MAX && is_bracket
    };
    Cow::Owned(json.chars().filter(keep).collect())
}

/// Replaces a number that is too large for a double: close to the greatest one.
const BEYOND: &str = "1e308";

/// A JSON text whose numbers all fit into doubles.
fn with_bounded_numbers(json: &str) -> String {
    let (bytes, mut at, mut bounded) = (json.as_bytes(), 0, String::with_capacity(json.len()));
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b'"' => at = string_end(bytes, at).min(bytes.len()),
            b'-' | b'0'..=b'9' => {
                let is_of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                at += bytes[at..].iter().take_while(|byte| is_of_number(byte)).count();
                let number = &json[start..at];
                if serde_json::from_str::<&RawValue>(number).is_ok() && serde_json::from_str::<f64>(number).is_err() {
                    bounded.push_str(if number.starts_with('-') { "-" } else { "" });
                    bounded.push_str(BEYOND);
                    continue;
                }
            }
            _ => at += json[at..].chars().next().map_or(1, char::len_utf8),
        }
        bounded.push_str(&json[start..at]);
    }
    bounded
}

/// A tree of any JSON, to compare it with a schema or to learn from it; it must not be printed again. What is too
/// deep is empty, and a number that is too large is replaced by one close to the greatest double.
///
/// # Errors
/// When it is not JSON.
pub fn tree(json: &str) -> Result<Value, serde_json::Error> {
    let json = for_tree(json);
    match serde_json::from_str(&json) {
        Err(_) => serde_json::from_str(&with_bounded_numbers(&json)),
        read => read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_json_can_be_read_into_a_tree() {
        let read = tree(r#"{"h":1e400,"m":[-1E+999,{"1e400":"1e400 \" -1e400 ää"}],"z":1e-999,"n":1.5}"#).unwrap();
        let same = r#"{"h":1e308,"m":[-1e308,{"1e400":"1e400 \" -1e400 ää"}],"z":0.0,"n":1.5}"#;
        assert_eq!(read, serde_json::from_str::<Value>(same).unwrap());
        assert_eq!(tree(&"9".repeat(400)).unwrap(), serde_json::json!(1e308));
        assert_eq!(tree("1.7976931348623157e308").unwrap().as_f64().map(|number| number >= 1e308), Some(true));
        let deep = format!("{}1e400{}", r#"{"a":"#.repeat(200), "}".repeat(200));
        assert!(tree(&deep).unwrap().is_object());
        for wrong in ["", "{", "1e", "--1", "[1e400", r#"{"a":1e400,}"#, "\"", "\"\\", "01e400"] {
            assert!(tree(wrong).is_err(), "{wrong}");
        }
    }

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

    fn texts(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn texts_take_their_place_and_everything_else_keeps_its_bytes() {
        let json = r#"{"big":12345678901234567890123,"e":1e2,"k\u0065y":"\u00e4","p":1.10}"#;
        let with = |pairs: &[(&str, &str)]| with_texts(json, &texts(pairs)).unwrap();
        assert_eq!(
            with(&[("more", "m \"q\"")]),
            r#"{"big":12345678901234567890123,"e":1e2,"k\u0065y":"\u00e4","p":1.10,"more":"m \"q\""}"#
        );
        assert_eq!(
            with(&[("e", "x"), ("key", "y")]),
            r#"{"big":12345678901234567890123,"e":"x","k\u0065y":"y","p":1.10}"#
        );
        assert_eq!(with_texts("{}", &texts(&[("a", "b")])).unwrap(), r#"{"a":"b"}"#);
        assert_eq!(with_texts(" { } ", &[]).unwrap(), "{}");
        assert_eq!(with_texts(r#"{"a":1,"a":2}"#, &texts(&[("a", "b")])).unwrap(), r#"{"a":"b"}"#);
        assert_eq!(with_texts("[1]", &texts(&[("a", "b")])), None);
    }

    #[test]
    fn depth_counts_brackets_outside_of_texts() {
        for (json, levels) in
            [("1", 0), ("{}", 1), (r#"{"a":[1]}"#, 2), (r#"{"[{":"}\"]["}"#, 1), (r#"[[],[[]]]"#, 3)]
        {
            assert_eq!(depth(json), levels, "{json}");
        }
        assert_eq!(depth(&"[".repeat(1_000_000)), 1_000_000);
    }

    #[test]
    fn what_is_too_deep_for_a_tree_is_empty_there() {
        let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        assert_eq!(for_tree(&nested(120)), nested(120));
        for levels in [121, 128, 255] {
            let json = nested(levels);
            let tree: serde_json::Value = serde_json::from_str(&for_tree(&json)).unwrap();
            let mut at = &tree;
            for _ in 1..120 {
                at = &at["a"];
            }
            assert_eq!(at, &serde_json::json!({}), "{levels}");
        }
    }
}
