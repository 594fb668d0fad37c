//! `POST /events`: events as plain JSON (one, or a list), as entries of `PutEvents`, or as CloudEvents. They go to
//! the bus that the query names (`?bus=NAME`), else to `default`.
//!
//! ```json
//! {"source": "fakemon.world", "detail-type": "fakemon.spawn",
//!  "detail": {"species": "sparkit", "lat": 40.4168, "lon": -3.7038, "lifetime_s": 600, "catch_rate": 1}}
//! {"source": "shop", "detail-type": "sold", "detail": {"unit": 1}, "resources": ["unit/1"], "time": "2026-11-24T12:00:00Z"}
//! ```
//!
//! `"event-bus": "NAME"` in an event names its bus, before the query; in an entry of `PutEvents`, `EventBusName`.
//!
//! Members that are not named here are ignored, as `PutEvents` ignores them, so that a sender may be newer than this
//! server, but for other spellings of those that are; those of a CloudEvent are its extensions, and become attributes
//! of the event. A list is a batch and never the members of one event.
//!
//! With an API key (`x-api-key`), the key's tags restrict buses and sources, and its usage plan the number of events.
//!
//! A spawn is executed before the answer, which names its fakémon; all other events are on their bus by then. A
//! command that is refused is counted (`fakemon_commands_refused_total`) and is no event: its sender has the answer.

use super::Shared;
use super::cloud_events::{self, Events, Plain};
use super::spawns::{self, missing, text};
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use fakemon_aws::api_keys::Caller;
use fakemon_capture::command::Spawn;
use fakemon_eventbridge::events::moment;
use fakemon_http::desk;
use fakemon_http::refusal::{InQuery, Refusal};
use fakemon_model::authorship::{self, ATTEMPT, SPAWN};
use fakemon_model::envelope::{REGION, SOURCE_WORLD, event_id};
use fakemon_model::ids::Position;
use fakemon_model::limits::PUT_EVENTS_MAX;
use fakemon_pattern::raw::{self, InvalidDetail};
use fakemon_pattern::syntax;
use fakemon_resource::{DEFAULT_BUS, NewEvent, Registry};
use fakemon_schedule::is_reserved;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Longest wait until the world's view shows what is durable.
const VIEW_WAIT_MAX: Duration = Duration::from_secs(10);

/// What one event asks for.
enum Incoming {
    Spawn(Spawn),
    Event(NewEvent),
}

/// Query: the bus of events that do not name one.
#[derive(Deserialize)]
pub(super) struct Target {
    bus: Option<String>,
}

/// Puts events; answers once they are durable, and spawns are visible to all players.
pub(super) async fn put(
    State(shared): State<Arc<Shared>>,
    InQuery(target): InQuery<Target>,
    caller: Option<Extension<Caller>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Refusal> {
    let body = body.map_err(|rejection| unread_body(&rejection))?;
    let bus = target.bus.as_deref().unwrap_or(DEFAULT_BUS);
    let registry = shared.engine.registry();
    let parse = |event| {
        let parsed = parse(event, bus, &registry).and_then(|incoming| enforced(&shared, &registry, incoming));
        parsed.inspect_err(|refusal| count_refused(&shared, refusal))
    };
    match cloud_events::read(&headers, &body)? {
        Events::One(event) => {
            let incoming = parse(event)?;
            check_caller(&shared, caller.as_deref(), std::slice::from_ref(&incoming))?;
            let mut answers = put_all(&shared, vec![incoming]).await;
            answers.pop().expect("one answer for each event").map(Json)
        }
        Events::Batch(events) => {
            // Parse all before the first is put: a batch with an error changes nothing.
            let numbered = |(index, event)| parse(event).map_err(|refusal: Refusal| refusal.in_element(index));
            let incoming: Vec<Incoming> = (0..).zip(events).map(numbered).collect::<Result<_, _>>()?;
            check_caller(&shared, caller.as_deref(), &incoming)?;
            let answers = put_all(&shared, incoming).await.into_iter();
            Ok(Json(answers.map(|answer| answer.unwrap_or_else(|refusal| refusal.body())).collect()))
        }
    }
}

/// Counts a command that is not carried out.
fn count_refused(shared: &Shared, refusal: &Refusal) {
    if refusal.is_of_command() {
        shared.engine.courier().figures().command_refused(refusal.code());
    }
}

/// Checks whether the caller's API key allows these events, and counts them; `admit` counted the first.
fn check_caller(shared: &Shared, caller: Option<&Caller>, incoming: &[Incoming]) -> Result<(), Refusal> {
    let Some(caller) = caller else { return Ok(()) };
    for one in incoming {
        match one {
            Incoming::Spawn(_) => caller.may_spawn(SOURCE_WORLD)?,
            Incoming::Event(event) => caller.may(&event.bus, &event.source)?,
        }
    }
    caller.charge(&shared.api, (incoming.len() as u64).saturating_sub(1))
}

/// Checks an event against its schema, if that is enforced.
fn enforced(shared: &Shared, registry: &Registry, incoming: Incoming) -> Result<Incoming, Refusal> {
    let Incoming::Event(event) = &incoming else { return Ok(incoming) };
    shared.engine.enforcer().admit(registry, event).map_err(|violation| Refusal::of_schema(&violation))?;
    Ok(incoming)
}

/// Puts events in order; those between two spawns as one batch.
async fn put_all(shared: &Shared, incoming: Vec<Incoming>) -> Vec<Result<Value, Refusal>> {
    let mut answers = Vec::with_capacity(incoming.len());
    let mut events = Vec::new();
    for one in incoming {
        match one {
            Incoming::Event(event) if events.len() < PUT_EVENTS_MAX => events.push(event),
            Incoming::Event(event) => {
                answers.append(&mut put_events(shared, std::mem::replace(&mut events, vec![event])).await);
            }
            Incoming::Spawn(spawn) => {
                answers.append(&mut put_events(shared, std::mem::take(&mut events)).await);
                answers.push(put_spawn(shared, spawn).await);
            }
        }
    }
    answers.append(&mut put_events(shared, events).await);
    answers
}

async fn put_events(shared: &Shared, events: Vec<NewEvent>) -> Vec<Result<Value, Refusal>> {
    let count = events.len() as u64;
    if count == 0 {
        return Vec::new();
    }
    let refused = |error: desk::EngineClientError| error.refusal(&shared.engine);
    let put = match shared.draining.load(Ordering::Acquire) {
        true => Err(desk::EngineClientError::Stopped),
        false => desk::put(&shared.orders, events).await,
    };
    match put {
        Ok(first) => {
            let answer =
                |position: u64| json!({ "id": event_id(Position(position)), "position": position.to_string() });
            (first.0..first.0 + count).map(|position| Ok(answer(position))).collect()
        }
        Err(desk::EngineClientError::Throttled(ms)) => (0..count).map(|_| Err(Refusal::throttled(ms))).collect(),
        Err(error) => {
            let mut answers = vec![Err(refused(error))];
            answers.extend((1..count).map(|_| Err(Refusal::stopped(shared.engine.failure()))));
            answers
        }
    }
}

async fn put_spawn(shared: &Shared, spawn: Spawn) -> Result<Value, Refusal> {
    if shared.draining.load(Ordering::Acquire) {
        return Err(Refusal::stopped(shared.engine.failure()));
    }
    let spawned = desk::spawn(&shared.orders, spawn).await;
    let (position, fakemon_id) = spawned.map_err(|error| {
        let is_refused = matches!(error, desk::EngineClientError::Refused(_));
        let refusal = error.refusal(&shared.engine);
        let refusal = if is_refused { refusal.of_command() } else { refusal };
        count_refused(shared, &refusal);
        refusal
    })?;
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
            format!("a request has at most {} bytes: send fewer events at once", super::BODY_BYTES_MAX),
        ),
        _ => Refusal::new(StatusCode::BAD_REQUEST, "unread", "the body did not arrive whole: send it again"),
    }
}

/// Parses an event; or which field is invalid, and what it must be.
fn parse(event: Plain, bus: &str, registry: &Registry) -> Result<Incoming, Refusal> {
    let event = if event.members.contains_key("DetailType") { plain(event)? } else { event };
    let Plain { members: event, detail } = event;
    let source = text(&event, "source", "source")?;
    let detail_type = text(&event, "detail-type", "detail-type")?;
    let detail = detail.filter(|detail| detail != "null").ok_or_else(|| missing("detail"))?;
    raw::check_detail(&detail).map_err(|invalid| wrong_detail("detail", &invalid))?;
    if source == SOURCE_WORLD {
        if detail_type == SPAWN.1 {
            return spawns::parse(&detail_of(&detail)?).map(Incoming::Spawn).map_err(Refusal::of_command);
        }
        let message = format!("detail-type must be \"{}\" where source is \"{SOURCE_WORLD}\"", SPAWN.1);
        return Err(Refusal::field("unknown_detail_type", "detail-type", message));
    }
    if (source, detail_type) == ATTEMPT {
        spawns::check_attempt(&detail_of(&detail)?).map_err(Refusal::of_command)?;
    }
    let named = event.get("event-bus").filter(|bus| !bus.is_null());
    let not_text = || Refusal::field("wrong_type", "event-bus", "event-bus must be a string: the name of a bus");
    let bus = named.map_or(Ok(bus), |named| named.as_str().ok_or_else(not_text))?;
    if !registry.buses.contains_key(bus) {
        return Err(Refusal::field("unknown_bus", "bus", format!("there is no event bus {bus}: create it first")));
    }
    authorship::check(source, detail_type).map_err(|error| Refusal::reserved(&error))?;
    if is_reserved(bus, source, detail_type) {
        let message = format!("on the bus {bus}, source must not be {source}: others say that");
        return Err(Refusal::field("reserved_source", "source", message));
    }
    let time =
        match event.get("time").filter(|time| !time.is_null()) {
            Some(time) => Some(moment(time).ok_or_else(|| {
                Refusal::field("wrong_type", "time", "time must be a time as in 2026-11-24T12:00:00Z")
            })?),
            None => None,
        };
    Ok(Incoming::Event(NewEvent {
        bus: bus.to_owned(),
        source: source.to_owned(),
        detail_type: detail_type.to_owned(),
        resources: resources(&event)?,
        detail,
        time,
        region: REGION.to_owned(),
        cause: None,
        hops: 0,
        by: None,
        origin: None,
        trace: None,
    }))
}

/// The members of a detail.
fn detail_of(detail: &str) -> Result<Map<String, Value>, Refusal> {
    match raw::tree(detail) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(wrong_detail("detail", &InvalidDetail::NoObject)),
        Err(error) => {
            let what = syntax::expected(&error, detail.as_bytes());
            Err(wrong_detail("detail", &InvalidDetail::Syntax(what)))
        }
    }
}

fn wrong_detail(field: &'static str, invalid: &InvalidDetail) -> Refusal {
    let (code, said) = match invalid {
        InvalidDetail::NoObject => ("wrong_type", format!("{field} must be an object")),
        invalid => ("bad_json", format!("{field} cannot be read: {invalid}")),
    };
    Refusal::field(code, field, said)
}

/// An entry of `PutEvents` as a plain event.
fn plain(Plain { members: mut entry, .. }: Plain) -> Result<Plain, Refusal> {
    let mut members = Map::new();
    let names = [
        ("Source", "source"),
        ("DetailType", "detail-type"),
        ("Resources", "resources"),
        ("Time", "time"),
        ("EventBusName", "event-bus"),
    ];
    for (theirs, ours) in names {
        entry.remove(theirs).into_iter().for_each(|value| drop(members.insert(ours.to_owned(), value)));
    }
    let detail = text(&entry, "Detail", "Detail")?.to_owned();
    raw::check_detail(&detail).map_err(|invalid| wrong_detail("Detail", &invalid))?;
    Ok(Plain { members, detail: Some(detail) })
}

fn resources(event: &Map<String, Value>) -> Result<Vec<String>, Refusal> {
    let wrong = || Refusal::field("wrong_type", "resources", "resources must be a list of strings");
    match event.get("resources") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(resources)) => {
            resources.iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;
    use fakemon_model::ids::{FakemonId, Timestamp};
    use fakemon_model::species::CatchRate;

    fn parse_any(body: &[u8]) -> Result<Incoming, Refusal> {
        match cloud_events::read(&HeaderMap::new(), body)? {
            Events::One(event) => super::parse(event, DEFAULT_BUS, &Registry::new()),
            Events::Batch(events) => panic!("a batch: {events:?}"),
        }
    }

    fn parse(body: &[u8]) -> Result<Spawn, Refusal> {
        parse_any(body).map(|incoming| match incoming {
            Incoming::Spawn(spawn) => spawn,
            Incoming::Event(event) => panic!("no spawn: {event:?}"),
        })
    }

    #[test]
    fn any_event_is_read_plain_and_as_an_entry() {
        let plain = r#"{"source":"shop","detail-type":"sold","detail":{"unit":1},"resources":["a"],"time":"1970-01-01T00:00:01Z"}"#;
        let entry = r#"{"Source":"shop","DetailType":"sold","Detail":"{\"unit\":1}","Resources":["a"],"Time":1}"#;
        for body in [plain, entry] {
            let Ok(Incoming::Event(event)) = parse_any(body.as_bytes()) else { panic!("{body}") };
            assert_eq!((event.bus.as_str(), event.source.as_str()), ("default", "shop"));
            assert_eq!((event.detail_type.as_str(), event.detail.as_str()), ("sold", r#"{"unit":1}"#));
            assert_eq!((event.resources, event.time), (vec!["a".to_owned()], Some(Timestamp(1_000_000_000))));
        }
        for (body, field) in [
            (plain.replace("[\"a\"]", "7"), "resources"),
            (plain.replace("1970-01-01T00:00:01Z", "soon"), "time"),
            (entry.replace("\"Source\"", "\"EventBusName\":\"none\",\"Source\""), "bus"),
            (entry.replace("\"shop\"", "\"fakemon.capture\""), "source"),
            (entry.replace("\"shop\"", "\"fakemon.capture\",\"EventBusName\":\"fakemon\""), "source"),
            (entry.replace("\"sold\"", "\"fakemon.capture_succeeded\""), "detail-type"),
            (entry.replace("{\\\"unit\\\":1}", "{"), "Detail"),
        ] {
            let shown = format!("{:?}", parse_any(body.as_bytes()).err());
            assert!(shown.contains(&format!("field: Some(\"{field}\")")), "{body}: {shown}");
        }
    }

    #[test]
    fn members_that_are_not_read_may_hold_any_number() {
        let body = r#"{"source":"shop","huge":-1e400,"detail-type":"sold","detail":{"z":1e400,"a":[1.10]}}"#;
        let Ok(Incoming::Event(event)) = parse_any(body.as_bytes()) else { panic!("{body}") };
        assert_eq!(event.detail, r#"{"z":1e400,"a":[1.10]}"#);
        let body = body.replace("huge", "time");
        assert!(format!("{:?}", parse_any(body.as_bytes()).err()).contains("time must be a time"));
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
            ("7".into(), "wrong_type"),
            ("{}".into(), "\"source\""),
            (event("{}").replace("spawn", "despawn"), "unknown_detail_type"),
            (event("\"{}\""), "\"detail\""),
            (event("{}"), "\"detail.species\""),
            (event(r#"{"species":7}"#), "detail.species must be a string"),
            (event(r#"{"species":"s","lon":0}"#), "detail.lat is missing"),
            (event(r#"{"species":"s","lat":"0","lon":0}"#), "detail.lat must be a number"),
            (event(r#"{"species":"s","lat":91,"lon":0}"#), "\"detail.lat\""),
            (event(r#"{"species":"s","lat":0,"lon":-180.5}"#), "\"detail.lon\""),
            (event(r#"{"species":"s","lat":NaN,"lon":0}"#), "bad_json"),
            (event(r#"{"species":"s","lat":1e999,"lon":0}"#), "\"detail.lat\""),
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
