//! CloudEvents 1.0 over HTTP, in all three content modes, converted to plain events: `type` becomes the detail-type,
//! `data` the detail. Nothing is lost: data that is not an object is `detail.data` (bytes: `detail.data_base64`), the
//! subject is a resource, and all other attributes are resources too, as `cloudevents:NAME=VALUE`.
//!
//! | mode | recognized by | the body |
//! |---|---|---|
//! | structured | `Content-Type: application/cloudevents+json` | the event with its attributes |
//! | batch | `Content-Type: application/cloudevents-batch+json` | a list of such |
//! | binary | a header `ce-specversion` | the data; attributes are headers `ce-…` |

use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use fakemon_http::refusal::Refusal;
use fakemon_pattern::{raw, syntax};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A plain event: its members, and its detail as it was sent.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plain {
    pub(super) members: Map<String, Value>,
    pub(super) detail: Option<String>,
}

/// Events of one request, plain.
#[derive(Debug, PartialEq)]
pub(super) enum Events {
    One(Plain),
    Batch(Vec<Plain>),
}

/// The longest name of an attribute, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Parses a body as its headers say; without CloudEvents headers it is a plain event, or a list of them.
pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Events, Refusal> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = text(header::CONTENT_TYPE);
    match media_type(content_type).as_str() {
        "application/cloudevents-batch+json" => match raw::elements(json_of(body)?) {
            Some(events) => batch(events, structured),
            None => Err(wrong_type("a batch is a JSON list of CloudEvents")),
        },
        "application/cloudevents+json" => Ok(Events::One(structured(json_of(body)?)?)),
        other if other.starts_with("application/cloudevents") => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            format!(
                "{other} is not read here: send application/cloudevents+json or application/cloudevents-batch+json"
            ),
        )),
        _ if headers.contains_key("ce-specversion") => Ok(Events::One(binary(headers, content_type, body)?)),
        _ => {
            let body = json_of(body)?;
            match raw::elements(body) {
                Some(events) => batch(events, bare),
                None => bare(body).map(Events::One),
            }
        }
    }
}

fn batch(events: Vec<&RawValue>, read: fn(&RawValue) -> Result<Plain, Refusal>) -> Result<Events, Refusal> {
    let read = |(index, event)| read(event).map_err(|refusal| refusal.in_element(index));
    (0..).zip(events).map(read).collect::<Result<_, _>>().map(Events::Batch)
}

fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn not_json(error: &serde_json::Error, text: &[u8]) -> Refusal {
    let message = format!("the body is not JSON: {}", syntax::expected(error, text));
    Refusal::new(StatusCode::BAD_REQUEST, "bad_json", message)
}

/// A member as a tree.
fn tree(value: &RawValue) -> Result<Value, Refusal> {
    raw::tree(value.get()).map_err(|error| not_json(&error, value.get().as_bytes()))
}

fn json_of(body: &[u8]) -> Result<&RawValue, Refusal> {
    serde_json::from_slice(body).map_err(|error| not_json(&error, body))
}

/// An event that is no CloudEvent: its detail as it is, all else read: none of that goes further than its texts.
fn bare(event: &RawValue) -> Result<Plain, Refusal> {
    let members = raw::members(event).ok_or_else(|| wrong_type("an event is a JSON object"))?;
    let mut plain = Plain::default();
    let is_entry = members.iter().any(|(name, _)| name == "DetailType");
    for (name, value) in members {
        check_name(&name, is_entry)?;
        let is_twice = if name == "detail" { plain.detail.is_some() } else { plain.members.contains_key(&name) };
        if is_twice {
            return Err(twice(&name));
        }
        if name == "detail" {
            plain.detail = Some(raw::compact(value.get()));
        } else {
            plain.members.insert(name, tree(value)?);
        }
    }
    Ok(plain)
}

fn twice(name: &str) -> Refusal {
    Refusal::field("bad_request", name.to_owned(), format!("{name} is there twice: leave one of them"))
}

/// Refuses a member that is another spelling of a known one: ignored, its event would go elsewhere.
fn check_name(name: &str, is_entry: bool) -> Result<(), Refusal> {
    let plain: String = name.chars().filter(|c| !matches!(c, '-' | '_')).collect();
    let (ours, theirs) = match plain.to_ascii_lowercase().as_str() {
        "source" => ("source", "Source"),
        "detailtype" => ("detail-type", "DetailType"),
        "detail" => ("detail", "Detail"),
        "resources" => ("resources", "Resources"),
        "time" => ("time", "Time"),
        "bus" | "busname" | "eventbus" | "eventbusname" => ("event-bus", "EventBusName"),
        _ => return Ok(()),
    };
    let known = if is_entry { theirs } else { ours };
    match name == known {
        true => Ok(()),
        false => {
            let message = format!("{name} is no member of an event: write {known}");
            Err(Refusal::field("bad_request", name.to_owned(), message))
        }
    }
}

fn wrong_type(message: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "wrong_type", message)
}

/// Attributes by name, and the data.
struct CloudEvent {
    attributes: BTreeMap<String, String>,
    detail: String,
}

fn structured(event: &RawValue) -> Result<Plain, Refusal> {
    let members = raw::members(event).ok_or_else(|| wrong_type("a CloudEvent is a JSON object"))?;
    let (mut attributes, mut data, mut bytes) = (BTreeMap::new(), None, None);
    for (name, value) in members {
        if attributes.contains_key(&name)
            || name == "data" && data.is_some()
            || name == "data_base64" && bytes.is_some()
        {
            return Err(twice(&name));
        }
        if name == "data" {
            data = Some(value);
            continue;
        }
        let value = tree(value)?;
        if name == "data_base64" {
            bytes = Some(value);
            continue;
        }
        let value = match value {
            Value::Null => continue,
            Value::String(text) => text,
            Value::Bool(_) if !REQUIRED.contains(&name.as_str()) => value.to_string(),
            Value::Number(number) if !REQUIRED.contains(&name.as_str()) && number.is_i64() => number.to_string(),
            _ => {
                return Err(attribute_error(
                    &name,
                    "must be text; an extension may be a whole number or a boolean too",
                ));
            }
        };
        attributes.insert(name, value);
    }
    let detail = match (data, bytes) {
        (Some(_), Some(_)) => {
            return Err(Refusal::field("bad_request", "data", "give data or data_base64, not both"));
        }
        (None, Some(Value::String(bytes))) if BASE64.decode(&bytes).is_ok() => wrapped("data_base64", &bytes.into()),
        (None, Some(_)) => {
            return Err(Refusal::field("wrong_type", "data_base64", "data_base64 must be text in base 64"));
        }
        (data, None) => data.map_or_else(nothing, detail_of),
    };
    plain(CloudEvent { attributes, detail })
}

fn binary(headers: &HeaderMap, content_type: &str, body: &[u8]) -> Result<Plain, Refusal> {
    let mut attributes = BTreeMap::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("ce-") else { continue };
        let value = value.to_str().ok().and_then(header_decoded);
        let value = value.ok_or_else(|| attribute_error(name, "must be percent-encoded UTF-8"))?;
        attributes.insert(name.to_owned(), value);
    }
    if !content_type.is_empty() {
        attributes.insert("datacontenttype".into(), content_type.to_owned());
    }
    let media_type = media_type(content_type);
    let is_json = media_type.is_empty() || media_type.ends_with("/json") || media_type.ends_with("+json");
    let detail = match std::str::from_utf8(body) {
        Ok("") => nothing(),
        Ok(_) if is_json => detail_of(json_of(body)?),
        Ok(text) if !is_bytes(&media_type) => wrapped("data", &text.into()),
        _ => wrapped("data_base64", &BASE64.encode(body).into()),
    };
    plain(CloudEvent { attributes, detail })
}

/// Whether a media type is binary: its data stays base64 even where the bytes happen to be text, so that all events
/// of a sender look alike.
fn is_bytes(media_type: &str) -> bool {
    let kind = media_type.split('/').next().unwrap_or_default();
    media_type == "application/octet-stream"
        || matches!(kind, "image" | "audio" | "video" | "font") && !media_type.ends_with("+xml")
}

/// The detail for `data`: an object stays as it is, anything else is wrapped.
fn detail_of(data: &RawValue) -> String {
    match data.get().as_bytes() {
        b"null" => nothing(),
        [b'{', ..] => raw::compact(data.get()),
        _ => raw::object([("data", raw::compact(data.get()).as_str())]),
    }
}

fn nothing() -> String {
    "{}".into()
}

fn wrapped(name: &str, text: &Value) -> String {
    raw::object([(name, text.to_string().as_str())])
}

const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

fn attribute_error(name: &str, what: &str) -> Refusal {
    Refusal::field("bad_request", name.to_owned(), format!("{name} {what}"))
}

/// Converts a CloudEvent: required attributes first, then the optional ones.
fn plain(CloudEvent { mut attributes, detail }: CloudEvent) -> Result<Plain, Refusal> {
    for name in REQUIRED {
        if attributes.get(name).is_none_or(String::is_empty) {
            let message = format!("{name} must be a string that is not empty");
            return Err(Refusal::field("missing_field", name, message));
        }
    }
    for (name, value) in &attributes {
        let named = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !named || name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(attribute_error(name, "is no attribute: names are lower-case letters and digits"));
        }
        if value.is_empty() {
            return Err(attribute_error(name, "must not be empty"));
        }
        if value.contains(char::is_control) {
            return Err(attribute_error(name, "must have no control characters"));
        }
    }
    if attributes["specversion"] != "1.0" {
        return Err(Refusal::field("unknown_specversion", "specversion", "specversion must be \"1.0\""));
    }
    if attributes.get("time").is_some_and(|time| !is_rfc3339(time)) {
        return Err(attribute_error("time", "must be a time as in 2026-11-24T12:00:00Z"));
    }
    if attributes.get("datacontenttype").is_some_and(|media_type| !media_type.contains('/')) {
        return Err(attribute_error("datacontenttype", "must be a media type as in application/json"));
    }
    let mut members = Map::new();
    attributes.remove("specversion");
    for (theirs, ours) in [("source", "source"), ("type", "detail-type"), ("time", "time")] {
        attributes.remove(theirs).into_iter().for_each(|value| drop(members.insert(ours.to_owned(), value.into())));
    }
    let subject = attributes.remove("subject").into_iter();
    let others = attributes.iter().map(|(name, value)| format!("cloudevents:{name}={value}"));
    members.insert("resources".into(), subject.chain(others).collect());
    Ok(Plain { members, detail: Some(detail) })
}

/// Whether a text is a time with seconds and an offset of hours and minutes.
fn is_rfc3339(time: &str) -> bool {
    let whole = time.len() >= 20 && matches!(time.as_bytes()[10], b'T' | b't') && time.as_bytes()[16] == b':';
    let offset = time.ends_with(['Z', 'z']) || time.len() > 6 && time.as_bytes()[time.len() - 3] == b':';
    let hours = time.len().checked_sub(5).and_then(|at| time.get(at..at + 2)?.parse().ok());
    let offset = offset && (time.ends_with(['Z', 'z']) || hours.is_some_and(|hours: u32| hours < 24));
    time.is_ascii() && whole && offset && time.parse::<jiff::Timestamp>().is_ok()
}

/// The text of a header's value: unquoted if it is a quoted string, then percent-decoded. A percent sign that encodes
/// nothing is kept.
fn header_decoded(value: &str) -> Option<String> {
    let unquoted = value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).map(|inner| {
        let mut escaped = false;
        let keep = |c: &char| {
            escaped = *c == '\\' && !escaped;
            !escaped
        };
        inner.chars().filter(keep).collect::<String>()
    });
    let text = unquoted.as_deref().unwrap_or(value);
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        let encoded = match (byte, behind) {
            (b'%', [high, low, behind @ ..]) => {
                digit(*high).zip(digit(*low)).map(|(high, low)| (high << 4 | low, behind))
            }
            _ => None,
        };
        let (byte, behind) = encoded.unwrap_or((*byte, behind));
        bytes.push(byte);
        rest = behind;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// An event as one value, for comparing.
    fn whole(Plain { mut members, detail }: Plain) -> Value {
        members.insert("detail".into(), serde_json::from_str(&detail.unwrap()).unwrap());
        members.into()
    }

    fn all(events: Events) -> Vec<Value> {
        match events {
            Events::One(event) => vec![whole(event)],
            Events::Batch(events) => events.into_iter().map(whole).collect(),
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn event() -> Value {
        json!({"specversion": "1.0", "id": "7", "source": "fakemon.world", "type": "fakemon.spawn", "data": {"lat": 1}})
    }

    #[test]
    fn all_modes_say_the_same() {
        let plain = json!({"source": "fakemon.world", "detail-type": "fakemon.spawn", "detail": {"lat": 1}});
        let found = all(read(&HeaderMap::new(), plain.to_string().as_bytes()).unwrap());
        assert_eq!(found, std::slice::from_ref(&plain));
        let mut expected = plain;
        expected["resources"] = json!(["cloudevents:id=7"]);
        let structured = headers(&[("content-type", "application/cloudevents+json; charset=utf-8")]);
        let body = event().to_string();
        assert_eq!(all(read(&structured, body.as_bytes()).unwrap()), std::slice::from_ref(&expected));
        let batch = headers(&[("content-type", "application/cloudevents-batch+json")]);
        let body = json!([event(), event()]).to_string();
        assert_eq!(all(read(&batch, body.as_bytes()).unwrap()), [expected.clone(), expected.clone()]);
        let binary = headers(&[
            ("ce-specversion", "1.0"),
            ("ce-id", "7"),
            ("ce-source", "fakemon.world"),
            ("ce-type", "fakemon.spawn"),
        ]);
        assert_eq!(all(read(&binary, br#"{"lat": 1}"#).unwrap()), [expected]);
    }

    fn one(headers: &HeaderMap, body: &[u8]) -> Value {
        let mut events = all(read(headers, body).unwrap());
        assert_eq!(events.len(), 1, "one event");
        events.remove(0)
    }

    #[test]
    fn values_of_headers_are_unquoted_then_percent_decoded() {
        for (value, text) in [
            ("plain", "plain"),
            (r#""a\"b""#, r#"a"b"#),
            (r#""a\\b""#, r"a\b"),
            (r#""Euro %E2%82%AC""#, "Euro €"),
            (r#"a"b"#, r#"a"b"#),
            (r"a\b", r"a\b"),
            ("50%+1x", "50%+1x"),
            ("50%", "50%"),
            ("5%2", "5%2"),
            ("%25%32%35", "%25"),
            ("\"", "\""),
        ] {
            assert_eq!(header_decoded(value).as_deref(), Some(text), "{value}");
        }
        assert_eq!(header_decoded("%FF"), None);
        let with = |subject: &'static str| {
            headers(&[
                ("ce-specversion", "1.0"),
                ("ce-id", "7"),
                ("ce-source", "s"),
                ("ce-type", "t"),
                ("ce-subject", subject),
            ])
        };
        assert_eq!(one(&with(r#""a\"b""#), b"")["resources"][0], r#"a"b"#);
        assert!(read(&with("a%0Ab"), b"").is_err(), "a line break cannot be in an attribute");
    }

    #[test]
    fn data_of_every_kind_and_all_attributes_are_kept() {
        for (content_type, body, detail) in [
            ("text/plain; charset=us-ascii", &b"Hello"[..], json!({ "data": "Hello" })),
            ("text/plain; charset=utf-8", "Hello, 🌎!".as_bytes(), json!({ "data": "Hello, 🌎!" })),
            ("application/json; charset=utf-8", "\"🌎\"".as_bytes(), json!({ "data": "🌎" })),
            ("application/json", br#"{"msg":"hi"}"#, json!({ "msg": "hi" })),
            ("application/vnd.x+json", b"[1]", json!({ "data": [1] })),
            ("application/xml; charset=utf-8", b"<msg/>", json!({ "data": "<msg/>" })),
            ("application/octet-stream", b"\xFF\x00", json!({ "data_base64": "/wA=" })),
            ("application/octet-stream", b"Hello", json!({ "data_base64": "SGVsbG8=" })),
            ("Image/PNG", b"Hello", json!({ "data_base64": "SGVsbG8=" })),
            ("image/svg+xml", b"<svg/>", json!({ "data": "<svg/>" })),
        ] {
            let mut with = headers(&[
                ("ce-specversion", "1.0"),
                ("ce-id", "1"),
                ("ce-source", "/a%20b"),
                ("ce-type", "t"),
                ("ce-time", "2018-04-05T03:56:24Z"),
                ("ce-subject", "s"),
                ("ce-ext", "x"),
            ]);
            with.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
            let event = one(&with, body);
            assert_eq!((&event["detail"], &event["source"]), (&detail, &json!("/a b")), "{content_type}");
            let kept = [
                "s".to_owned(),
                format!("cloudevents:datacontenttype={content_type}"),
                "cloudevents:ext=x".into(),
                "cloudevents:id=1".into(),
            ];
            assert_eq!((&event["resources"], &event["time"]), (&json!(kept), &json!("2018-04-05T03:56:24Z")));
        }
        let structured = headers(&[("content-type", "application/cloudevents+json")]);
        let with_bytes =
            json!({"specversion": "1.0", "id": "7", "source": "s", "type": "t", "data_base64": "/wA=", "n": 7});
        let event = one(&structured, with_bytes.to_string().as_bytes());
        assert_eq!(
            (&event["detail"], &event["resources"][1]),
            (&json!({ "data_base64": "/wA=" }), &json!("cloudevents:n=7"))
        );
    }

    #[test]
    fn attributes_that_are_none_are_refused() {
        let structured = headers(&[("content-type", "application/cloudevents+json")]);
        for (name, value) in [
            ("time", json!("noon")),
            ("time", json!("2018-04-05T18:31Z")),
            ("time", json!("2018-04-05T18:31:00X")),
            ("time", json!("2018-04-05T18:31:00+25:00")),
            ("time", json!("2018-04-05T18:31:00+05")),
            ("datacontenttype", json!("xyz")),
            ("datacontenttype", json!("")),
            ("dataschema", json!("")),
            ("subject", json!("")),
            ("id", json!(25)),
            ("id", json!({ "a": "b" })),
            ("MyExtension", json!("x")),
            ("my.extension", json!("x")),
            ("extension", json!(1.5)),
            ("data_base64", json!("/wA=")),
        ] {
            let mut event = event();
            event[name] = value.clone();
            assert!(read(&structured, event.to_string().as_bytes()).is_err(), "{name}: {value}");
        }
        for good in ["2018-04-05T18:31:00Z", "2018-04-05T18:31:00.123456789+05:30", "2018-04-05t18:31:00z"] {
            let mut event = event();
            event["time"] = json!(good);
            assert!(read(&structured, event.to_string().as_bytes()).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_every_cloud_event_must_have_is_asked_for() {
        let structured = headers(&[("content-type", "application/cloudevents+json")]);
        for name in ["specversion", "id", "source", "type"] {
            let mut event = event();
            event[name] = json!("");
            let refused = format!("{:?}", read(&structured, event.to_string().as_bytes()).unwrap_err());
            assert!(refused.contains(&format!("{name} must be a string")), "{refused}");
        }
        let old = event().to_string().replace("1.0", "0.3");
        assert!(read(&structured, old.as_bytes()).is_err());
        let batch = headers(&[("content-type", "application/cloudevents-batch+json")]);
        assert!(read(&batch, b"{}").is_err() && read(&batch, b"[1]").is_err());
    }
}
