//! What a target gets of an event: all of it, a part, a constant, or a text made from parts (`Input`, `InputPath`,
//! `InputTransformer`). Event text in, body out.

use serde_json::Value;
use std::collections::BTreeMap;

/// The longest body that is made.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// What a target's input settings say.
#[derive(Clone, Debug)]
pub enum Transform {
    /// The event as it is.
    Whole,
    /// A constant.
    Constant(String),
    /// A part of the event.
    Path(JsonPath),
    /// A text with parts of the event.
    Template(Template),
}

/// A path into an event: `$.detail.list[0].name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(usize),
    Every,
}

/// A text with `<names>`.
#[derive(Clone, Debug)]
pub struct Template {
    paths: BTreeMap<String, JsonPath>,
    text: String,
}

/// What reserved names stand for.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// `<aws.events.rule-arn>`
    pub rule_arn: String,
    /// `<aws.events.rule-name>`
    pub rule_name: String,
    /// `<aws.events.event.ingestion-time>`
    pub ingestion_time: String,
}

/// Input settings that make no sense, or a body that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TransformError(pub String);

impl Transform {
    /// From a target's settings, of which at most one is set.
    ///
    /// # Errors
    /// What is wrong, in the service's words.
    pub fn parse(
        input: Option<&str>,
        input_path: Option<&str>,
        transformer: Option<(&BTreeMap<String, String>, &str)>,
    ) -> Result<Transform, TransformError> {
        match (input, input_path, transformer) {
            (Some(input), _, _) => Ok(Transform::Constant(input.to_owned())),
            (None, Some("$"), _) => Ok(Transform::Whole),
            (None, Some(path), _) => JsonPath::parse(path).map(Transform::Path),
            (None, None, Some((paths, template))) => Template::parse(paths, template).map(Transform::Template),
            (None, None, None) => Ok(Transform::Whole),
        }
    }

    /// The body for one event.
    ///
    /// # Errors
    /// When it would be longer than [`BODY_BYTES_MAX`], or the event is no JSON.
    pub fn apply(&self, event_json: &str, context: &Context) -> Result<String, TransformError> {
        let body = match self {
            Transform::Whole => return Ok(event_json.to_owned()),
            Transform::Constant(text) => return Ok(text.clone()),
            Transform::Path(path) => {
                path.find(&parse(event_json)?).map_or("null".to_owned(), |part| part.to_string())
            }
            Transform::Template(template) => template.fill(event_json, &parse(event_json)?, context),
        };
        match body.len() {
            0..=BODY_BYTES_MAX => Ok(body),
            length => {
                Err(TransformError(format!("the body has {length} bytes, at most {BODY_BYTES_MAX} are allowed")))
            }
        }
    }
}

fn parse(event_json: &str) -> Result<Value, TransformError> {
    serde_json::from_str(event_json).map_err(|error| TransformError(format!("the event is no JSON: {error}")))
}

impl JsonPath {
    /// `$`, then names after dots or in brackets and quotation marks, indices in brackets.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(path: &str) -> Result<JsonPath, TransformError> {
        let wrong = || TransformError("Invalid InputPath for target.".into());
        let mut rest = path.strip_prefix('$').ok_or_else(wrong)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(named) = rest.strip_prefix('.') {
                let end = named.find(['.', '[']).unwrap_or(named.len());
                if end == 0 {
                    return Err(wrong());
                }
                steps.push(if &named[..end] == "*" { Step::Every } else { Step::Name(named[..end].to_owned()) });
                rest = &named[end..];
            } else if let Some(inside) = rest.strip_prefix('[') {
                let (key, after) = inside.split_once(']').ok_or_else(wrong)?;
                steps.push(match key.trim_matches(['\'', '"']) {
                    "*" if key == "*" => Step::Every,
                    name if name.len() + 2 == key.len() => Step::Name(name.to_owned()),
                    index => Step::Index(index.parse().map_err(|_| wrong())?),
                });
                rest = after;
            } else {
                return Err(wrong());
            }
        }
        Ok(JsonPath(steps))
    }

    fn find(&self, event: &Value) -> Option<Value> {
        find(event, &self.0)
    }
}

fn find(value: &Value, steps: &[Step]) -> Option<Value> {
    let Some((step, rest)) = steps.split_first() else { return Some(value.clone()) };
    match step {
        Step::Name(name) => find(value.get(name)?, rest),
        Step::Index(index) => find(value.get(index)?, rest),
        Step::Every => {
            let all: Vec<Value> = match value {
                Value::Array(values) => values.iter().filter_map(|value| find(value, rest)).collect(),
                Value::Object(members) => members.values().filter_map(|value| find(value, rest)).collect(),
                _ => return None,
            };
            Some(Value::Array(all))
        }
    }
}

const RESERVED: &str = "aws.events.";

impl Template {
    fn parse(paths: &BTreeMap<String, String>, text: &str) -> Result<Template, TransformError> {
        let mut parsed = BTreeMap::new();
        for (name, path) in paths {
            parsed.insert(name.clone(), JsonPath::parse(path)?);
        }
        for name in names(text) {
            if !parsed.contains_key(name) && !name.starts_with(RESERVED) {
                return Err(TransformError(format!(
                    "InputTemplate for target contains placeholder <{name}> that is not in InputPathsMap."
                )));
            }
        }
        Ok(Template { paths: parsed, text: text.to_owned() })
    }

    fn fill(&self, event_json: &str, event: &Value, context: &Context) -> String {
        let template = self.text.trim();
        let is_json = template.starts_with('{') || template.starts_with('[');
        let mut filled = String::with_capacity(self.text.len());
        let mut rest = self.text.as_str();
        let mut quoted = false;
        while let Some(start) = rest.find('<') {
            let name = rest[start + 1..].split_once('>').map(|(name, _)| name).filter(|name| is_name(name));
            let Some(name) = name else {
                quoted = within_quotes(&rest[..=start], quoted);
                filled.push_str(&rest[..=start]);
                rest = &rest[start + 1..];
                continue;
            };
            quoted = within_quotes(&rest[..start], quoted);
            filled.push_str(&rest[..start]);
            filled.push_str(&self.value(name, event_json, event, context, quoted, is_json));
            rest = &rest[start + name.len() + 2..];
        }
        filled.push_str(rest);
        // A template that is one quoted string per line becomes the text itself.
        if !is_json && let Ok(text) = serde_json::from_str::<String>(&filled) {
            return serde_json::Value::from(text).to_string();
        }
        filled
    }

    /// Inside of quotation marks a text stands without its own, and an object without any; outside everything stands as
    /// JSON. What is not there is an empty text.
    fn value(
        &self,
        name: &str,
        event_json: &str,
        event: &Value,
        context: &Context,
        quoted: bool,
        is_json: bool,
    ) -> String {
        let text = |text: &str| {
            let json = Value::from(text).to_string();
            if quoted { json[1..json.len() - 1].to_owned() } else { json }
        };
        match name.strip_prefix(RESERVED) {
            Some("rule-arn") => return text(&context.rule_arn),
            Some("rule-name") => return text(&context.rule_name),
            Some("event.ingestion-time") => return text(&context.ingestion_time),
            Some("event.json") => return if quoted { text(event_json) } else { event_json.to_owned() },
            Some("event") => {
                let mut without_detail = event.clone();
                without_detail.as_object_mut().map(|members| members.remove("detail"));
                let json = without_detail.to_string();
                return if quoted { text(&json) } else { json };
            }
            _ => {}
        }
        match self.paths.get(name).and_then(|path| path.find(event)) {
            None if quoted => String::new(),
            None if is_json => "\"\"".into(),
            None => String::new(),
            Some(Value::String(found)) => text(&found),
            Some(found) if quoted => found.to_string().replace('"', ""),
            Some(found) => found.to_string(),
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split('<').skip(1).filter_map(|part| part.split_once('>').map(|(name, _)| name)).filter(|name| is_name(name))
}

/// Whether the end of a text is within quotation marks, if its beginning was or was not.
fn within_quotes(text: &str, quoted: bool) -> bool {
    let mut escaped = false;
    text.bytes().fold(quoted, |quoted, byte| {
        let turns = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        quoted != turns
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"id":"1","detail":{"player":"ash \"k\"","cp":7,"list":[{"a":1},{"a":2}],"o":{"b":"c"}}}"#;

    fn template(text: &str) -> Result<String, TransformError> {
        let paths =
            [("player", "$.detail.player"), ("cp", "$.detail.cp"), ("o", "$.detail.o"), ("no", "$.detail.no")];
        let paths = paths.map(|(name, path)| (name.to_owned(), path.to_owned())).into();
        let context = Context { rule_name: "r".into(), ..Context::default() };
        Transform::parse(None, None, Some((&paths, text)))?.apply(EVENT, &context)
    }

    #[test]
    fn paths_take_parts() {
        let path = |path| Transform::parse(None, Some(path), None).and_then(|t| t.apply(EVENT, &Context::default()));
        assert_eq!(path("$").unwrap(), EVENT);
        assert_eq!(path("$.detail.cp").unwrap(), "7");
        assert_eq!(path("$.detail.list[1].a").unwrap(), "2");
        assert_eq!(path("$.detail.list[*].a").unwrap(), "[1,2]");
        assert_eq!(path("$['detail']['o']").unwrap(), r#"{"b":"c"}"#);
        assert_eq!(path("$.detail.no").unwrap(), "null");
        for wrong in ["detail", "$detail", "$.", "$[", "$[x]"] {
            assert!(path(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn templates_are_filled_within_and_without_quotation_marks() {
        let is = |text, expected: &str| assert_eq!(template(text).unwrap(), expected, "{text}");
        is(r#"{"who":<player>,"cp":<cp>,"o":<o>}"#, r#"{"who":"ash \"k\"","cp":7,"o":{"b":"c"}}"#);
        is(r#"{"text":"<player> has <cp>"}"#, r#"{"text":"ash \"k\" has 7"}"#);
        is(r#""<player> has <cp>""#, r#""ash \"k\" has 7""#);
        is(
            r#"{"no":<no>,"rule":<aws.events.rule-name>,"id":<aws.events.event>}"#,
            r#"{"no":"","rule":"r","id":{"id":"1"}}"#,
        );
        is(r#"{"o":"<o>"}"#, r#"{"o":"{b:c}"}"#);
        assert!(template("<other>").unwrap_err().0.contains("<other>"));
    }
}
