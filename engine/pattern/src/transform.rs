//! The body that a target gets of an event: all of it, a part, a constant, or a text made from parts (`Input`,
//! `InputPath`, `InputTransformer`; of pipes `InputTemplate`). Event text in, body out.
//!
//! - `path`: parts of an event, as they were written

mod path;

use crate::raw::{compact, members};
use crate::syntax;
pub use path::{JsonPath, Parameter};
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The longest body, in bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// The input settings of a target.
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

/// A text with `<names>`: it is JSON once they are filled in, or several texts in quotation marks.
#[derive(Clone, Debug)]
pub struct Template {
    parts: Vec<Part>,
    /// Whether it is an object or a list, and not text.
    is_json: bool,
}

#[derive(Clone, Debug)]
enum Part {
    /// A part of the template's text.
    Text(String),
    /// A name, and whether it is inside quotation marks.
    Name { stands_for: StandsFor, quoted: bool },
}

#[derive(Clone, Debug)]
enum StandsFor {
    Path(JsonPath),
    RuleArn,
    RuleName,
    IngestionTime,
    /// The event without its detail.
    Event,
    WholeEvent,
    /// A variable that the caller resolves.
    Given(&'static str),
}

/// The values of reserved names.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// `<aws.events.rule-arn>`
    pub rule_arn: String,
    /// `<aws.events.rule-name>`
    pub rule_name: String,
    /// `<aws.events.event.ingestion-time>`
    pub ingestion_time: String,
    /// For pipes: reserved names and their values.
    pub given: Vec<(&'static str, Arc<str>)>,
}

/// Names that templates of pipes may use besides paths; the decoded event itself is `<aws.pipes.event.json>`.
pub const PIPE_NAMES: [&str; 7] = [
    "aws.pipes.pipe-arn",
    "aws.pipes.pipe-name",
    "aws.pipes.source-arn",
    "aws.pipes.enrichment-arn",
    "aws.pipes.target-arn",
    "aws.pipes.event.ingestion-time",
    "aws.pipes.event",
];

/// Input settings are not valid, or a body cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransformError {
    /// The input path is not a path.
    #[error("Invalid InputPath for target.")]
    Path,
    /// A name has no meaning.
    #[error("InputTemplate contains invalid placeholder {0}.")]
    Placeholder(String),
    /// The template is not JSON, whatever replaces its names.
    #[error("InputTemplate must be JSON: {0}")]
    Template(String),
    /// This event gives no body.
    #[error("{0}")]
    Body(String),
}

impl Transform {
    /// Parses a target's settings, of which at most one is set.
    ///
    /// # Errors
    /// The setting that is not valid.
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

    /// Parses the input template of a pipe, with paths in it: `{"who": <$.body.player>}`.
    ///
    /// # Errors
    /// [`TransformError`] for an invalid template.
    pub fn inline(template: &str) -> Result<Transform, TransformError> {
        let is_path = |name: &str| name.starts_with('$') || is_name(name);
        let stands_for = |name: &str| match name {
            "aws.pipes.event.json" => Ok(StandsFor::WholeEvent),
            path if path.starts_with('$') => JsonPath::parse(path).map(StandsFor::Path),
            name => {
                let known = PIPE_NAMES.into_iter().find(|known| *known == name);
                known.map(StandsFor::Given).ok_or_else(|| TransformError::Placeholder(name.to_owned()))
            }
        };
        Template::of(template, is_path, stands_for).map(Transform::Template)
    }

    /// The body for one event.
    ///
    /// # Errors
    /// When it would be longer than [`BODY_BYTES_MAX`] or not JSON, or the event is not JSON.
    pub fn apply(&self, event_json: &str, context: &Context) -> Result<String, TransformError> {
        let body = match self {
            Transform::Whole => return Ok(event_json.to_owned()),
            Transform::Constant(text) => return Ok(text.clone()),
            Transform::Path(path) => path.find(parse(event_json)?).unwrap_or_else(|| "null".into()),
            Transform::Template(template) => template.fill(parse(event_json)?, context)?,
        };
        match body.len() {
            0..=BODY_BYTES_MAX => Ok(body),
            length => Err(TransformError::Body(format!(
                "the body has {length} bytes, at most {BODY_BYTES_MAX} are allowed"
            ))),
        }
    }
}

fn parse(event_json: &str) -> Result<&RawValue, TransformError> {
    serde_json::from_str(event_json).map_err(|error| {
        TransformError::Body(format!("the event is not JSON: {}", syntax::expected(&error, event_json.as_bytes())))
    })
}

/// Checks that a text is one JSON value or several in a row.
fn check_json(text: &str) -> Result<(), String> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let read = values.try_for_each(|value| value.map(drop));
    read.map_err(|error| format!("it is not JSON: {}", syntax::expected(&error, text.as_bytes())))
}

impl Template {
    fn parse(paths: &BTreeMap<String, String>, text: &str) -> Result<Template, TransformError> {
        let mut parsed = BTreeMap::new();
        for (name, path) in paths {
            parsed.insert(name.as_str(), JsonPath::parse(path)?);
        }
        Template::of(text, is_name, |name| {
            let stands_for = reserved(name).or_else(|| parsed.get(name).cloned().map(StandsFor::Path));
            stands_for.ok_or_else(|| TransformError::Placeholder(name.to_owned()))
        })
    }

    fn of(
        text: &str,
        is_name: impl Fn(&str) -> bool,
        stands_for: impl Fn(&str) -> Result<StandsFor, TransformError>,
    ) -> Result<Template, TransformError> {
        let (mut parts, mut rest, mut quoted) = (Vec::new(), text, false);
        while let Some((before, name, behind)) = next_name(rest, &is_name) {
            quoted = within_quotes(before, quoted);
            let stands_for = stands_for(name)?;
            parts.extend([Part::Text(before.to_owned()), Part::Name { stands_for, quoted }]);
            rest = behind;
        }
        parts.push(Part::Text(rest.to_owned()));
        let template = Template { parts, is_json: text.trim_start().starts_with(['{', '[']) };
        let example = template.filled(|_, quoted| if quoted { String::new() } else { "0".into() });
        check_json(&example).map_err(TransformError::Template)?;
        Ok(template)
    }

    fn filled(&self, value: impl Fn(&StandsFor, bool) -> String) -> String {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Name { stands_for, quoted } => filled.push_str(&value(stands_for, *quoted)),
            }
        }
        filled
    }

    fn fill(&self, event: &RawValue, context: &Context) -> Result<String, TransformError> {
        let filled = self.filled(|stands_for, quoted| self.value(stands_for, quoted, event, context));
        check_json(&filled).map_err(|error| {
            TransformError::Body(format!(
                "InputTemplate with the values of this event is no JSON (a list or an object must stand outside of \
                 quotation marks): {error}"
            ))
        })?;
        Ok(filled)
    }

    /// The value of a name: inside quotation marks a text is inserted without its own; in a text, a list or an object
    /// is inserted without quotation marks; everywhere else every value is inserted as JSON. A missing value is an
    /// empty text.
    fn value(&self, stands_for: &StandsFor, quoted: bool, event: &RawValue, context: &Context) -> String {
        let text = |text: &str| {
            let json = Value::from(text).to_string();
            if quoted { json[1..json.len() - 1].to_owned() } else { json }
        };
        let whole = |json: String| if quoted { text(&json) } else { json };
        let path = match stands_for {
            StandsFor::RuleArn => return text(&context.rule_arn),
            StandsFor::RuleName => return text(&context.rule_name),
            StandsFor::IngestionTime => return text(&context.ingestion_time),
            StandsFor::Event => return whole(without_detail(event)),
            StandsFor::WholeEvent => return whole(compact(event.get())),
            StandsFor::Given(name) => {
                let given = context.given.iter().find(|(known, _)| known == name);
                return text(given.map_or("", |(_, text)| text));
            }
            StandsFor::Path(path) => path,
        };
        match path.find(event) {
            None if self.is_json && !quoted => "\"\"".into(),
            None => String::new(),
            Some(found) if !quoted => found,
            Some(found) if found.starts_with('"') => found[1..found.len() - 1].to_owned(),
            Some(found) if self.is_json => found,
            Some(found) => found.replace('"', ""),
        }
    }
}

fn reserved(name: &str) -> Option<StandsFor> {
    Some(match name {
        "aws.events.rule-arn" => StandsFor::RuleArn,
        "aws.events.rule-name" => StandsFor::RuleName,
        "aws.events.event.ingestion-time" => StandsFor::IngestionTime,
        "aws.events.event" => StandsFor::Event,
        "aws.events.event.json" => StandsFor::WholeEvent,
        _ => return None,
    })
}

/// The value of `<aws.events.event>`: the event without its detail, and with `detail-type` spelled as the service
/// does here.
fn without_detail(event: &RawValue) -> String {
    let members = members(event).unwrap_or_default();
    let shown = members.iter().filter(|(name, _)| name != "detail").map(|(name, value)| {
        let name = if name == "detail-type" { "detailType" } else { name };
        format!("{}:{}", Value::from(name), compact(value.get()))
    });
    format!("{{{}}}", shown.collect::<Vec<_>>().join(","))
}

/// The next `<name>`, with the text before and after it.
fn next_name(text: &str, is_name: impl Fn(&str) -> bool) -> Option<(&str, &str, &str)> {
    text.match_indices('<').find_map(|(start, _)| {
        let (name, behind) = text[start + 1..].split_once('>').filter(|(name, _)| is_name(name))?;
        Some((&text[..start], name, behind))
    })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Whether the end of a text is within quotation marks, given whether its beginning was.
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

    const EVENT: &str = r#"{"id":"1","detail-type":"t","detail":{"player":"ash \"k\"","cp":7,"lat":1.0, "big":
        12345678901234567890123,"list":[ {"a":1}, {"a":2}],"o":{"z":"c d","b":1.50},"words":["x","y"]}}"#;

    fn template(text: &str) -> Result<String, TransformError> {
        let named = |name: &str| (name.to_owned(), format!("$.detail.{name}"));
        let paths = ["player", "cp", "lat", "big", "o", "words", "no"].map(named).into();
        let context = Context { rule_name: "r".into(), ..Context::default() };
        Transform::parse(None, None, Some((&paths, text)))?.apply(EVENT, &context)
    }

    #[test]
    fn paths_take_parts_as_they_were_written() {
        let path = |path| Transform::parse(None, Some(path), None).and_then(|t| t.apply(EVENT, &Context::default()));
        assert_eq!(path("$").unwrap(), EVENT);
        assert_eq!(path("$.detail.cp").unwrap(), "7");
        assert_eq!(path("$.detail.lat").unwrap(), "1.0");
        assert_eq!(path("$.detail.big").unwrap(), "12345678901234567890123");
        assert_eq!(path("$.detail.list[1].a").unwrap(), "2");
        assert_eq!(path("$.detail.list[*].a").unwrap(), "[1,2]");
        assert_eq!(path("$['detail']['o']").unwrap(), r#"{"z":"c d","b":1.50}"#);
        assert_eq!(path("$.detail.o.*").unwrap(), r#"["c d",1.50]"#);
        assert_eq!(path("$.detail.no").unwrap(), "null");
        for wrong in ["detail", "$detail", "$.", "$[", "$[x]"] {
            assert_eq!(path(wrong), Err(TransformError::Path), "{wrong}");
        }
    }

    #[test]
    fn templates_are_filled_within_and_without_quotation_marks() {
        let is = |text, expected: &str| assert_eq!(template(text).unwrap(), expected, "{text}");
        is(
            r#"{"who":<player>,"lat":<lat>,"big":<big>,"o":<o>}"#,
            r#"{"who":"ash \"k\"","lat":1.0,"big":12345678901234567890123,"o":{"z":"c d","b":1.50}}"#,
        );
        is(r#"{"text":"<player> has <cp> at <lat><no>"}"#, r#"{"text":"ash \"k\" has 7 at 1.0"}"#);
        is(r#""<player> has <cp>, <words>, <o>""#, r#""ash \"k\" has 7, [x,y], {z:c d,b:1.50}""#);
        is("\"a <cp>\"\n\"b\"", "\"a 7\"\n\"b\"");
        is(
            r#"{"no":<no>,"rule":<aws.events.rule-name>,"id":<aws.events.event>}"#,
            r#"{"no":"","rule":"r","id":{"id":"1","detailType":"t"}}"#,
        );
        let whole = format!("{{\"e\":{}}}", compact(EVENT));
        is(r#"{"e":<aws.events.event.json>}"#, &whole);
    }

    #[test]
    fn templates_of_pipes_have_paths_in_them() {
        let given = vec![("aws.pipes.pipe-name", Arc::from("p")), ("aws.pipes.event", Arc::from("{\"body\":1}"))];
        let context = Context { given, ..Context::default() };
        let filled = |text: &str| Transform::inline(text).and_then(|template| template.apply(EVENT, &context));
        assert_eq!(
            filled(r#"{"b":<$.detail.list[1].a>,"c":"<$.detail.cp> of <$['detail'].player>"}"#).unwrap(),
            r#"{"b":2,"c":"7 of ash \"k\""}"#
        );
        assert_eq!(
            filled(r#"{"p":<aws.pipes.pipe-name>,"e":<aws.pipes.event>}"#).unwrap(),
            r#"{"p":"p","e":"{\"body\":1}"}"#
        );
        assert_eq!(filled("<aws.pipes.event.json>").unwrap(), compact(EVENT));
        assert_eq!(
            filled("<$.detail.no>").map_err(|error| matches!(error, TransformError::Body(_))),
            Ok(String::new())
        );
        assert_eq!(filled("<aws.events.rule-name>"), Err(TransformError::Placeholder("aws.events.rule-name".into())));
        assert_eq!(filled("<$[>"), Err(TransformError::Path));
    }

    #[test]
    fn what_can_be_no_json_is_refused_when_the_target_is_made_or_when_the_event_comes() {
        for (text, name) in [(r#""<other>""#, "other"), (r#""<aws.events.other>""#, "aws.events.other")] {
            assert_eq!(template(text), Err(TransformError::Placeholder(name.into())));
        }
        for text in ["<player> was here", "{\"a\":}", "{<player>:1}", "\"open"] {
            assert!(matches!(template(text), Err(TransformError::Template(_))), "{text}");
        }
        assert!(matches!(template(r#"{"words":"<words>"}"#), Err(TransformError::Body(_))));
    }
}
