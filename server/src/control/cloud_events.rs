//! CloudEvents 1.0 over HTTP, in all three content modes, as the plain events that the rest understands: `type` is the
//! detail-type, `data` the detail.
//!
//! | mode | how it is told | the body |
//! |---|---|---|
//! | structured | `Content-Type: application/cloudevents+json` | the event with its attributes |
//! | batch | `Content-Type: application/cloudevents-batch+json` | a list of such |
//! | binary | a header `ce-specversion` | the data; attributes are headers `ce-…` |

use super::refusal::Refusal;
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value, json};

/// Events of one request, plain.
#[derive(Debug, PartialEq)]
pub(super) enum Events {
    One(Value),
    Batch(Vec<Value>),
}

/// Reads a body as its headers say; without any sign of CloudEvents it is a plain event, or a list of them.
pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Events, Refusal> {
    let body: Value = serde_json::from_slice(body).map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, "bad_json", format!("the body is not JSON: {error}"))
    })?;
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match (content_type.as_str(), body) {
        ("application/cloudevents-batch+json", Value::Array(events)) => {
            Ok(Events::Batch(events.into_iter().map(structured).collect::<Result<_, _>>()?))
        }
        ("application/cloudevents-batch+json", _) => {
            Err(Refusal::new(StatusCode::BAD_REQUEST, "wrong_type", "a batch is a JSON list of CloudEvents"))
        }
        ("application/cloudevents+json", event) => Ok(Events::One(structured(event)?)),
        (_, data) if headers.contains_key("ce-specversion") => Ok(Events::One(binary(headers, data)?)),
        (_, Value::Array(events)) => Ok(Events::Batch(events)),
        (_, event) => Ok(Events::One(event)),
    }
}

fn structured(event: Value) -> Result<Value, Refusal> {
    let Value::Object(mut event) = event else {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "wrong_type", "a CloudEvent is a JSON object"));
    };
    let data = event.remove("data").unwrap_or_default();
    let attribute = |name: &'static str| event.get(name).and_then(Value::as_str).map(str::to_owned);
    plain(attribute, data)
}

fn binary(headers: &HeaderMap, data: Value) -> Result<Value, Refusal> {
    let attribute = |name: &'static str| {
        headers.get(format!("ce-{name}")).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    plain(attribute, data)
}

/// A plain event of the attributes that every CloudEvent must have, and its data.
fn plain(attribute: impl Fn(&'static str) -> Option<String>, data: Value) -> Result<Value, Refusal> {
    let required = |name: &'static str| {
        let missing = || Refusal::field("missing_field", name, format!("{name} must be a string that is not empty"));
        attribute(name).filter(|value| !value.is_empty()).ok_or_else(missing)
    };
    if required("specversion")? != "1.0" {
        return Err(Refusal::field("unknown_specversion", "specversion", "specversion must be \"1.0\""));
    }
    required("id")?;
    let mut event = Map::new();
    event.insert("source".into(), required("source")?.into());
    event.insert("detail-type".into(), required("type")?.into());
    if let Some(subject) = attribute("subject") {
        event.insert("resources".into(), json!([subject]));
    }
    if let Some(time) = attribute("time") {
        event.insert("time".into(), time.into());
    }
    event.insert("detail".into(), if data.is_null() { json!({}) } else { data });
    Ok(Value::Object(event))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn event() -> Value {
        json!({"specversion": "1.0", "id": "7", "source": "fakemon.world", "type": "fakemon.spawn", "data": {"lat": 1}})
    }

    #[test]
    fn all_modes_say_the_same() {
        let expected = json!({"source": "fakemon.world", "detail-type": "fakemon.spawn", "detail": {"lat": 1}});
        let plain = expected.to_string();
        assert_eq!(read(&HeaderMap::new(), plain.as_bytes()).unwrap(), Events::One(expected.clone()));
        let structured = headers(&[("content-type", "application/cloudevents+json; charset=utf-8")]);
        let body = event().to_string();
        assert_eq!(read(&structured, body.as_bytes()).unwrap(), Events::One(expected.clone()));
        let batch = headers(&[("content-type", "application/cloudevents-batch+json")]);
        let body = json!([event(), event()]).to_string();
        assert_eq!(read(&batch, body.as_bytes()).unwrap(), Events::Batch(vec![expected.clone(), expected.clone()]));
        let binary = headers(&[
            ("ce-specversion", "1.0"),
            ("ce-id", "7"),
            ("ce-source", "fakemon.world"),
            ("ce-type", "fakemon.spawn"),
            ("content-type", "application/json"),
        ]);
        assert_eq!(read(&binary, br#"{"lat": 1}"#).unwrap(), Events::One(expected));
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
