//! `POST /events`: events in plain JSON or as CloudEvents. So far the world listens to `fakemon.spawn` only.
//!
//! ```json
//! {"source": "fakemon.world", "detail-type": "fakemon.spawn",
//!  "detail": {"species": "sparkit", "lat": 40.4168, "lon": -3.7038, "lifetime_s": 600, "catch_rate": 1}}
//! ```

use super::cloud_events::{self, Events};
use super::refusal::Refusal;
use super::{Shared, desk};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use fakemon_engine::command::Spawn;
use fakemon_engine::envelope::{SOURCE_WORLD, event_id};
use fakemon_engine::ids::{FakemonId, Position};
use fakemon_engine::place::Place;
use fakemon_engine::species::CatchRate;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The one detail-type that is understood.
const SPAWN: &str = "fakemon.spawn";
/// How long the world's view may take to show what is durable.
const VIEW_WAIT_MAX: Duration = Duration::from_secs(10);

/// Puts an event; answers once it is durable and everybody who looks can see it.
pub(super) async fn put(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Refusal> {
    let body = body.map_err(|rejection| unread_body(&rejection))?;
    match cloud_events::read(&headers, &body)? {
        Events::One(event) => Ok(Json(put_one(&shared, parse(event)?).await?)),
        Events::Batch(events) => {
            // Read all before the first is put: a batch with a mistake changes nothing.
            let spawns = events.into_iter().map(parse).collect::<Result<Vec<_>, _>>()?;
            let mut answers = Vec::with_capacity(spawns.len());
            for spawn in spawns {
                answers.push(put_one(&shared, spawn).await.unwrap_or_else(|refusal| refusal.body()));
            }
            Ok(Json(Value::Array(answers)))
        }
    }
}

async fn put_one(shared: &Shared, spawn: Spawn) -> Result<Value, Refusal> {
    if shared.draining.load(Ordering::Acquire) {
        return Err(Refusal::stopped(shared.engine.failure()));
    }
    let spawned = desk::spawn(&shared.orders, spawn).await;
    let (position, fakemon_id) = spawned.map_err(|error| error.refusal(&shared.engine))?;
    seen(shared, position).await?;
    Ok(json!({
        "id": event_id(position),
        "position": position.to_string(),
        "fakemon_id": fakemon_id.to_string(),
    }))
}

/// Waits until the world's view has passed a position.
async fn seen(shared: &Shared, position: Position) -> Result<(), Refusal> {
    let patience_ends = Instant::now() + VIEW_WAIT_MAX;
    while shared.engine.world_position() <= position {
        let failure = shared.engine.failure();
        if failure.is_some() || Instant::now() > patience_ends {
            return Err(Refusal::stopped(failure));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

fn unread_body(rejection: &BytesRejection) -> Refusal {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("an event has at most {} bytes", super::BODY_BYTES_MAX),
        ),
        _ => Refusal::new(StatusCode::BAD_REQUEST, "unread", "the body did not arrive whole: send it again"),
    }
}

/// A spawn from an event; or which field is wrong, and what it must be.
fn parse(event: Value) -> Result<Spawn, Refusal> {
    let Value::Object(event) = event else {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "wrong_type", "an event is a JSON object"));
    };
    let source = text(&event, "source", "source")?;
    if source != SOURCE_WORLD {
        return Err(Refusal::field("unknown_source", "source", format!("source must be \"{SOURCE_WORLD}\"")));
    }
    if text(&event, "detail-type", "detail-type")? != SPAWN {
        let message = format!("detail-type must be \"{SPAWN}\"");
        return Err(Refusal::field("unknown_detail_type", "detail-type", message));
    }
    match event.get("detail") {
        Some(Value::Object(detail)) => parse_spawn(detail),
        None | Some(Value::Null) => Err(missing("detail")),
        Some(_) => Err(Refusal::field("wrong_type", "detail", "detail must be an object")),
    }
}

fn parse_spawn(detail: &Map<String, Value>) -> Result<Spawn, Refusal> {
    let species = text(detail, "species", "detail.species")?.to_owned();
    let lat = number(detail, "lat", "detail.lat")?.ok_or_else(|| missing("detail.lat"))?;
    let lon = number(detail, "lon", "detail.lon")?.ok_or_else(|| missing("detail.lon"))?;
    let place = Place::from_degrees(lat, lon).map_err(|error| {
        let field = if error.field() == "lat" { "detail.lat" } else { "detail.lon" };
        Refusal::field("out_of_range", field, format!("detail.{error}"))
    })?;
    let catch_rate = number(detail, "catch_rate", "detail.catch_rate")?
        .map(|fraction| {
            let out = || Refusal::field("out_of_range", "detail.catch_rate", "detail.catch_rate must be from 0 to 1");
            CatchRate::from_fraction(fraction).ok_or_else(out)
        })
        .transpose()?;
    Ok(Spawn { fakemon_id: fakemon_id(detail)?, species, place, lifetime_s: lifetime_s(detail)?, catch_rate })
}

fn fakemon_id(detail: &Map<String, Value>) -> Result<Option<FakemonId>, Refusal> {
    let id = match detail.get("fakemon_id") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
        Some(number) => number.as_u64(),
    };
    let wrong = || {
        let message = "detail.fakemon_id must be a whole number from 1 to 9223372036854775807, as a decimal string";
        Refusal::field("out_of_range", "detail.fakemon_id", message)
    };
    id.map(|id| Some(FakemonId(id))).ok_or_else(wrong)
}

fn lifetime_s(detail: &Map<String, Value>) -> Result<Option<u64>, Refusal> {
    match detail.get("lifetime_s") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| {
            let message = "detail.lifetime_s must be a whole number of seconds";
            Refusal::field("wrong_type", "detail.lifetime_s", message)
        }),
    }
}

fn text<'v>(object: &'v Map<String, Value>, name: &str, field: &'static str) -> Result<&'v str, Refusal> {
    match object.get(name) {
        Some(Value::String(text)) => Ok(text),
        None | Some(Value::Null) => Err(missing(field)),
        Some(_) => Err(Refusal::field("wrong_type", field, format!("{field} must be a string"))),
    }
}

fn number(object: &Map<String, Value>, name: &str, field: &'static str) -> Result<Option<f64>, Refusal> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => Ok(number.as_f64()),
        Some(_) => Err(Refusal::field("wrong_type", field, format!("{field} must be a number"))),
    }
}

fn missing(field: &'static str) -> Refusal {
    Refusal::field("missing_field", field, format!("{field} is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;

    fn parse(body: &[u8]) -> Result<Spawn, Refusal> {
        match cloud_events::read(&HeaderMap::new(), body)? {
            Events::One(event) => super::parse(event),
            Events::Batch(_) => unreachable!("no header says so"),
        }
    }

    fn event(detail: &str) -> String {
        format!(r#"{{"source":"fakemon.world","detail-type":"fakemon.spawn","detail":{detail}}}"#)
    }

    #[test]
    fn a_spawn_is_read_with_and_without_what_is_optional() {
        let spawn = parse(event(r#"{"species":"sparkit","lat":1,"lon":2.5}"#).as_bytes()).unwrap();
        assert_eq!((spawn.species.as_str(), spawn.place.lat(), spawn.place.lon()), ("sparkit", 1.0, 2.5));
        assert!(spawn.fakemon_id.is_none() && spawn.lifetime_s.is_none() && spawn.catch_rate.is_none());
        for id in ["42", "\"42\"", "\"0042\""] {
            let detail = format!(
                r#"{{"fakemon_id":{id},"species":"s","lat":0,"lon":0,"lifetime_s":60,"catch_rate":1,"else":[]}}"#
            );
            let spawn = parse(event(&detail).as_bytes()).unwrap();
            assert_eq!(spawn.fakemon_id, Some(FakemonId(42)));
            assert_eq!((spawn.lifetime_s, spawn.catch_rate), (Some(60), Some(CatchRate::ALWAYS)));
        }
    }

    #[test]
    fn every_mistake_is_told_with_its_field() {
        let detail = |what: &str| event(&format!(r#"{{"species":"s","lat":0,"lon":0,{what}}}"#));
        for (body, expected) in [
            ("".into(), "bad_json"),
            ("[]".into(), "wrong_type"),
            ("{}".into(), "\"source\""),
            (event("{}").replace("world", "moon"), "unknown_source"),
            (event("{}").replace("spawn", "despawn"), "unknown_detail_type"),
            (event("\"{}\""), "\"detail\""),
            (event("{}"), "\"detail.species\""),
            (event(r#"{"species":7}"#), "detail.species must be a string"),
            (event(r#"{"species":"s","lon":0}"#), "detail.lat is missing"),
            (event(r#"{"species":"s","lat":"0","lon":0}"#), "detail.lat must be a number"),
            (event(r#"{"species":"s","lat":91,"lon":0}"#), "\"detail.lat\""),
            (event(r#"{"species":"s","lat":0,"lon":-180.5}"#), "\"detail.lon\""),
            (event(r#"{"species":"s","lat":NaN,"lon":0}"#), "bad_json"),
            (event(r#"{"species":"s","lat":1e999,"lon":0}"#), "bad_json"),
            (detail(r#""fakemon_id":-1"#), "\"detail.fakemon_id\""),
            (detail(r#""fakemon_id":1.5"#), "\"detail.fakemon_id\""),
            (detail(r#""fakemon_id":"+1""#), "\"detail.fakemon_id\""),
            (detail(r#""fakemon_id":"""#), "\"detail.fakemon_id\""),
            (detail(r#""fakemon_id":"18446744073709551616""#), "\"detail.fakemon_id\""),
            (detail(r#""lifetime_s":1.5"#), "\"detail.lifetime_s\""),
            (detail(r#""catch_rate":1.01"#), "\"detail.catch_rate\""),
            (detail(r#""catch_rate":true"#), "\"detail.catch_rate\""),
        ] {
            let refusal = parse(body.as_bytes()).unwrap_err();
            let shown = format!("{refusal:?}");
            assert!(shown.contains(expected), "{body}: {shown}");
            assert_eq!(refusal.into_response().status(), 400);
        }
    }
}
