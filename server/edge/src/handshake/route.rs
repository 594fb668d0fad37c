//! Which route a message takes: a route selection expression, as API Gateway has it, names the member of a JSON
//! message that holds the route key. A message without one takes the route `$default`.

use fakemon_model::authorship::OURS;
use fakemon_pattern::raw::{check_member, member};
use serde_json::value::RawValue;
use std::str::FromStr;

/// Route of messages without a route key.
pub(crate) const DEFAULT: &str = "$default";
/// Route of new connections.
pub(crate) const CONNECT: &str = "$connect";
/// Route of closed connections.
pub(crate) const DISCONNECT: &str = "$disconnect";
/// Prefix of every expression, after the `$`: only the body of a message can be selected from.
const BODY: &str = "request.body.";
/// Longest route key in bytes: that of a detail-type.
const KEY_BYTES_MAX: usize = 128;

/// A route selection expression, such as `$request.body.action`: the path of members to the route key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSelection(Vec<String>);

/// The route key of a message that is a JSON object, and the message as it was sent.
pub(crate) struct Selected<'m> {
    pub(crate) key: Option<String>,
    pub(crate) message: &'m RawValue,
}

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
    /// Reads a message; none if it is no JSON object, or nested too deep to be a part of an event.
    pub(crate) fn select<'m>(&self, text: &'m str) -> Option<Selected<'m>> {
        if !text.trim_ascii_start().starts_with('{') {
            return None;
        }
        check_member(text).ok()?;
        let message: &RawValue = serde_json::from_str(text).ok()?;
        let found = self.0.iter().try_fold(message, |value, name| member(value, name));
        let key: Option<String> = found.and_then(|key| serde_json::from_str(key.get()).ok());
        Some(Selected { key: key.filter(|key| is_key(key)), message })
    }
}

/// Keys that begin with `$` are reserved, and so are detail-types of the engine, because a key becomes the
/// detail-type: a client must not forge a connection or a capture.
fn is_key(key: &str) -> bool {
    let is_ours = key.starts_with('$') || key.starts_with(OURS);
    (1..=KEY_BYTES_MAX).contains(&key.len()) && !is_ours && !key.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(expression: &str, text: &str) -> Option<Option<String>> {
        expression.parse::<RouteSelection>().unwrap().select(text).map(|selected| selected.key)
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
