//! Which route a message takes: a route selection expression, as API Gateway has it, names the member of a JSON message
//! that holds the route key. What holds none takes the route `$default`.

use fakemon_engine::authorship::OURS;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::str::FromStr;

/// The route of messages that name none.
pub(crate) const DEFAULT: &str = "$default";
/// The route of whoever comes.
pub(crate) const CONNECT: &str = "$connect";
/// The route of whoever goes.
pub(crate) const DISCONNECT: &str = "$disconnect";
/// What every expression begins with: only the body of a message can be looked at.
const BODY: &str = "request.body.";
/// The longest route key, as long as a detail-type.
const KEY_BYTES_MAX: usize = 128;

/// Where the route key stands in a message: `$request.body.action`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSelection(Vec<String>);

/// What a message that is a JSON object says of its route.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selected(pub(crate) Option<String>);

impl Default for RouteSelection {
    fn default() -> RouteSelection {
        RouteSelection(vec!["action".into()])
    }
}

impl FromStr for RouteSelection {
    type Err = String;

    fn from_str(text: &str) -> Result<RouteSelection, String> {
        let braced = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        let path = braced.or_else(|| text.strip_prefix('$')).and_then(|path| path.strip_prefix(BODY));
        let names: Vec<String> = path.unwrap_or_default().split('.').map(str::to_owned).collect();
        let is_name =
            |name: &String| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
        match names.iter().all(is_name) {
            true => Ok(RouteSelection(names)),
            false => Err(format!("`{text}` selects no route: give a path into the body, as in $request.body.action")),
        }
    }
}

impl RouteSelection {
    /// Reads a message; none if it is no JSON object, or nested too deep to be looked at.
    pub(crate) fn select(&self, text: &str) -> Option<Selected> {
        if !text.trim_ascii_start().starts_with('{') {
            return None;
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        let found = Follow(Some(&self.0)).deserialize(&mut reader).ok()?;
        reader.end().ok()?;
        Some(Selected(found.filter(|key| is_key(key))))
    }
}

/// Names that begin with `$` are ours, and so are detail-types of ours, which a key becomes: nobody says of themselves
/// that they connect, or that they caught something.
fn is_key(key: &str) -> bool {
    let is_ours = key.starts_with('$') || key.starts_with(OURS);
    (1..=KEY_BYTES_MAX).contains(&key.len()) && !is_ours && !key.chars().any(char::is_control)
}

/// Reads a value to its end, and the text at the end of a path in it, if there is one.
#[derive(Clone, Copy)]
struct Follow<'p>(Option<&'p [String]>);

impl<'de> DeserializeSeed<'de> for Follow<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<String>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Follow<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Option<String>, E> {
        Ok(self.0.filter(|path| path.is_empty()).map(|_| text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<String>, A::Error> {
        let mut found = None;
        let step = self.0.and_then(<[String]>::split_first);
        while let Some(name) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            match step {
                // A name that stands there twice counts where it stands last, as with all who read JSON into maps.
                Some((wanted, rest)) if *name == **wanted => found = map.next_value_seed(Follow(Some(rest)))?,
                _ => drop(map.next_value_seed(Follow(None))?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Option<String>, A::Error> {
        while seq.next_element_seed(Follow(None))?.is_some() {}
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<String>, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(expression: &str, text: &str) -> Option<Option<String>> {
        expression.parse::<RouteSelection>().unwrap().select(text).map(|Selected(key)| key)
    }

    #[test]
    fn a_route_is_what_the_expression_points_at() {
        for (expression, text, key) in [
            ("$request.body.action", r#"{"action":"join"}"#, Some("join")),
            ("${request.body.action}", r#" {"x":[1,{"action":"no"}],"action":"jo\u0069n"} "#, Some("join")),
            ("$request.body.a.b", r#"{"a":{"b":"deep"},"b":"no"}"#, Some("deep")),
            ("$request.body.action", r#"{"action":"old","action":"new"}"#, Some("new")),
            ("$request.body.action", r#"{"action":7}"#, None),
            ("$request.body.action", r#"{"action":{"action":"no"}}"#, None),
            ("$request.body.a.b", r#"{"a":"b"}"#, None),
            ("$request.body.action", r#"{"action":""}"#, None),
            ("$request.body.action", r#"{"action":"$connect"}"#, None),
            ("$request.body.action", r#"{"action":"fakemon.capture_succeeded"}"#, None),
            ("$request.body.action", r#"{"action":"fakemons"}"#, Some("fakemons")),
            ("$request.body.action", r#"{"action":"a\nb"}"#, None),
            ("$request.body.action", "{}", None),
        ] {
            assert_eq!(selected(expression, text), Some(key.map(str::to_owned)), "{text}");
        }
        let long = format!(r#"{{"action":"{}"}}"#, "x".repeat(129));
        assert_eq!(selected("$request.body.action", &long), Some(None));
    }

    #[test]
    fn what_is_no_object_has_no_route() {
        let deep = format!(r#"{{"action":"x","y":{}{}}}"#, "[".repeat(50_000), "]".repeat(50_000));
        for text in ["", "hello", "[]", "null", "{", r#"{"action":"x"} y"#, r#"{"action":"x"}{}"#, &deep] {
            assert_eq!(selected("$request.body.action", text), None, "{text:.40}");
        }
    }

    #[test]
    fn only_paths_into_the_body_are_expressions() {
        for wrong in [
            "",
            "action",
            "$request.body",
            "$request.body.",
            "$request.header.x",
            "$request.body.a..b",
            "${request.body.a",
        ] {
            assert!(wrong.parse::<RouteSelection>().unwrap_err().contains("$request.body.action"), "{wrong}");
        }
    }
}
