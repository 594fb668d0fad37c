//! `PutEvents`, `PutPartnerEvents` and `TestEventPattern`.

use fakemon_aws::event_pattern::valid_pattern;
use fakemon_aws::request::Request;
use fakemon_aws::{ApiError, Call, unavailable};
use fakemon_http::Backend;
use fakemon_http::desk;
use fakemon_model::authorship;
use fakemon_model::envelope::event_id;
use fakemon_model::ids::{Position, Timestamp};
use fakemon_pattern::raw;
use fakemon_resource::inbound::EventSourceState;
use fakemon_resource::{NewEvent, Registry};
use fakemon_schedule::is_reserved;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Entries of one request; and of a partner's.
const ENTRIES_MAX: usize = 10;
const PARTNER_ENTRIES_MAX: usize = 20;
/// Bytes of all entries together, as the service counts them.
const BYTES_MAX: usize = 1 << 20;
/// The longest header of a trace, in characters.
const TRACE_HEADER_CHARS_MAX: usize = 500;
/// Error message for an invalid detail.
const MALFORMED: &str = "Detail is malformed.";

/// Error of an entry: `ErrorCode`, `ErrorMessage`.
type Refused = (&'static str, String);

/// Parses an entry into the event that it puts.
type Read = fn(&Value, &Registry, &Call<'_>) -> Result<NewEvent, Refused>;

/// Puts events: durable before the answer; each entry succeeds or fails alone.
pub async fn put(backend: &Arc<Backend>, request: &Request<'_>, call: &Call<'_>) -> Result<Value, ApiError> {
    put_all(backend, request, call, ENTRIES_MAX, read).await
}

/// Puts events of partner event sources.
pub async fn put_partner(backend: &Arc<Backend>, request: &Request<'_>, call: &Call<'_>) -> Result<Value, ApiError> {
    put_all(backend, request, call, PARTNER_ENTRIES_MAX, read_partner).await
}

async fn put_all(
    backend: &Arc<Backend>,
    request: &Request<'_>,
    call: &Call<'_>,
    entries_max: usize,
    read: Read,
) -> Result<Value, ApiError> {
    if backend.draining.load(Ordering::Acquire) {
        return Err(unavailable(backend, &desk::EngineClientError::Stopped));
    }
    let entries = request.get("Entries").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if entries.is_empty() || entries.len() > entries_max {
        let (bound, limit) = match entries.is_empty() {
            true => ("greater", 1),
            false => ("less", entries_max),
        };
        request.found(format!(
            "Value '{}' at 'entries' failed to satisfy constraint: Member must have length {bound} than or equal to {limit}",
            shown(entries)
        ));
    }
    for (index, entry) in entries.iter().enumerate() {
        if let Some(header) = entry["TraceHeader"].as_str() {
            let at = format!("entries.{}.member.traceHeader", index + 1);
            request.check_length(&at, header, 1, TRACE_HEADER_CHARS_MAX);
        }
    }
    request.check()?;
    if entries.iter().map(size).sum::<usize>() > BYTES_MAX {
        return Err(ApiError::invalid("Total size of the entries in the request is over the limit."));
    }
    for (index, entry) in entries.iter().enumerate() {
        check_types(entry)
            .map_err(|what| ApiError::new("SerializationException", format!("Entries[{index}].{what}")))?;
    }
    let registry = backend.engine.registry();
    let enforced = |event: NewEvent| match backend.engine.enforcer().admit(&registry, &event) {
        Ok(()) => Ok(event),
        Err(violation) => Err(("SchemaValidationFailed", violation.to_string())),
    };
    let read = entries.iter().map(|entry| read(entry, &registry, call).and_then(enforced));
    let read: Vec<Result<NewEvent, Refused>> = read.collect();
    drop(registry);
    let events: Vec<NewEvent> = read.iter().filter_map(|entry| entry.as_ref().ok().cloned()).collect();
    let first = match events.is_empty() {
        true => Position(0),
        false => desk::put(&backend.orders, events).await.map_err(|error| unavailable(backend, &error))?,
    };
    let failed = read.iter().filter(|entry| entry.is_err()).count();
    let mut next = first.0..;
    let answers = read.into_iter().map(|entry| match entry {
        Ok(_) => json!({ "EventId": event_id(Position(next.next().unwrap_or_default())) }),
        Err((code, message)) => json!({ "ErrorCode": code, "ErrorMessage": message }),
    });
    let answers: Vec<Value> = answers.collect();
    Ok(json!({ "FailedEntryCount": failed, "Entries": answers }))
}

/// Checks the types of the members that are present.
fn check_types(entry: &Value) -> Result<(), &'static str> {
    let texts = |value: &Value| value.as_array().is_some_and(|texts| texts.iter().all(Value::is_string));
    match entry {
        Value::Object(entry) => {
            let time = entry.get("Time").filter(|time| !time.is_null());
            let is_time =
                |time: &Value| time.is_number() || time.as_str().is_some_and(|text| timestamp(text).is_some());
            if time.is_some_and(|time| !is_time(time)) {
                return Err("Time is a number of seconds since 1970, or a time as in 2026-11-24T12:00:00Z");
            }
            match entry.get("Resources") {
                None | Some(Value::Null) => Ok(()),
                Some(resources) if texts(resources) => Ok(()),
                Some(_) => Err("Resources is a list of strings"),
            }
        }
        _ => Err("it is an object"),
    }
}

/// Entries as the service's error messages show them.
fn shown(entries: &[Value]) -> String {
    let member = |entry: &Value, name: &str| entry[name].as_str().map_or("null".to_owned(), str::to_owned);
    let entry = |entry: &Value| {
        format!(
            "PutEventsRequestEntry(time=null, source={}, resources=null, detailType={}, detail={}, eventBusName={}, \
             traceHeader=null, kmsKeyIdentifier=null, internalMetadata=null)",
            member(entry, "Source"),
            member(entry, "DetailType"),
            member(entry, "Detail"),
            member(entry, "EventBusName")
        )
    };
    format!("[{}]", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
}

/// The size of an entry as the service counts it: 14 bytes for a time, and the bytes of all texts.
fn size(entry: &Value) -> usize {
    let text = |name: &str| entry[name].as_str().map_or(0, str::len);
    let resources = entry["Resources"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::len);
    let time = if entry["Time"].is_null() { 0 } else { 14 };
    time + text("Source") + text("DetailType") + text("Detail") + resources.sum::<usize>()
}

/// Source, detail-type and detail of an entry.
fn said(entry: &Value) -> Result<(&str, &str, &str), Refused> {
    let required = |name: &str| {
        let text = entry[name].as_str().filter(|text| !text.is_empty());
        let missing = || format!("Parameter {name} is not valid. Reason: {name} is a required argument.");
        text.ok_or_else(|| ("InvalidArgument", missing()))
    };
    let said = (required("Source")?, required("DetailType")?, required("Detail")?);
    check_time(&entry["Time"])?;
    Ok(said)
}

/// A moment that an event cannot have is wrong in its own entry only.
fn check_time(time: &Value) -> Result<(), Refused> {
    if time.is_null() || moment(time).is_some() {
        return Ok(());
    }
    let reason = "Time lies between 1970-01-01T00:00:00Z and 2554-07-21T23:34:33Z.";
    Err(("InvalidArgument", format!("Parameter Time is not valid. Reason: {reason}")))
}

/// Parses the whole detail, so that no reader of the journal meets one that is not an object.
fn check_detail(detail: &str) -> Result<(), Refused> {
    raw::check_detail(detail).map_err(|_| ("MalformedDetail", MALFORMED.into()))
}

fn unauthorized() -> Refused {
    ("NotAuthorizedForSourceException", "Not authorized for the source.".into())
}

/// An entry of a partner: its source is a partner event source, and names the bus.
fn read_partner(entry: &Value, registry: &Registry, call: &Call<'_>) -> Result<NewEvent, Refused> {
    let (source, detail_type, detail) = said(entry)?;
    authorship::check(source, detail_type).map_err(|_| unauthorized())?;
    check_detail(detail)?;
    let held = registry.event_sources.get(source).ok_or_else(unauthorized)?;
    if held.state != EventSourceState::Active || !registry.buses.contains_key(source) {
        let message = format!("Event source {source} is not active: create the event bus of its name from it.");
        return Err(("InvalidStateException", message));
    }
    Ok(new_event(entry, source, call))
}

fn read(entry: &Value, registry: &Registry, call: &Call<'_>) -> Result<NewEvent, Refused> {
    let (source, detail_type, detail) = said(entry)?;
    if source.starts_with("aws.") || authorship::check(source, detail_type).is_err() {
        return Err(unauthorized());
    }
    check_detail(detail)?;
    let bus = entry["EventBusName"].as_str().unwrap_or("default");
    let bus = bus.rsplit_once(":event-bus/").map_or(bus, |(_, name)| name);
    if !registry.buses.contains_key(bus) {
        return Err(("ResourceNotFoundException", format!("Event bus {bus} does not exist.")));
    }
    if is_reserved(bus, source, detail_type) {
        return Err(unauthorized());
    }
    Ok(new_event(entry, bus, call))
}

/// The event of an entry that was checked.
fn new_event(entry: &Value, bus: &str, call: &Call<'_>) -> NewEvent {
    let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let resources = entry["Resources"].as_array().into_iter().flatten().filter_map(Value::as_str);
    NewEvent {
        bus: bus.into(),
        source: text("Source"),
        detail_type: text("DetailType"),
        detail: text("Detail"),
        resources: resources.map(str::to_owned).collect(),
        time: moment(&entry["Time"]),
        region: call.region.into(),
        cause: None,
        hops: 0,
        by: None,
        origin: None,
        trace: entry["TraceHeader"].as_str().map(str::to_owned),
    }
}

/// The latest moment, in whole seconds since 1970: what nanoseconds in 64 bits hold.
const SECONDS_MAX: u64 = u64::MAX / 1_000_000_000;

/// Seconds since 1970, or a text as in RFC 3339; none before 1970 or after 2554.
pub fn moment(value: &Value) -> Option<Timestamp> {
    if let Some(text) = value.as_str() {
        return u64::try_from(timestamp(text)?.as_nanosecond()).ok().map(Timestamp);
    }
    if let Some(seconds) = value.as_u64() {
        return seconds.checked_mul(1_000_000_000).map(Timestamp);
    }
    let seconds = value.as_f64().filter(|seconds| (0.0..SECONDS_MAX as f64).contains(seconds))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: from 0 to SECONDS_MAX")]
    let milliseconds = (seconds * 1_000.0).round() as u64;
    Some(Timestamp(milliseconds * 1_000_000))
}

fn timestamp(text: &str) -> Option<jiff::Timestamp> {
    text.parse().ok()
}

/// What an event that is tested has to have. The service asks neither for `resources` nor for `detail`.
const EVENT_MEMBERS: [&str; 6] = ["id", "account", "source", "time", "region", "detail-type"];

/// Whether an event matches a pattern; with `Explain` also why.
pub fn test_pattern(request: &Request<'_>) -> Result<Value, ApiError> {
    let (pattern, event) = (request.required("EventPattern"), request.required("Event"));
    request.check()?;
    let pattern = valid_pattern(pattern)?;
    let invalid = |reason: String| ApiError::new("InvalidEventPatternException", reason);
    let parsed: BTreeMap<String, IgnoredAny> =
        serde_json::from_str(event).map_err(|_| ApiError::invalid("Parameter Event is not valid."))?;
    if !EVENT_MEMBERS.iter().all(|member| parsed.contains_key(*member)) {
        return Err(ApiError::invalid("Parameter Event is not valid."));
    }
    let explanation = pattern.explain(event.as_bytes()).map_err(|error| invalid(error.to_string()))?;
    let mut answer = json!({ "Result": explanation.matches });
    if request.get("Explain").and_then(Value::as_bool).unwrap_or_default() {
        let fields = explanation.fields.iter().map(|field| {
            json!({ "Path": field.path, "Alternative": field.alternative, "Values": field.values, "Met": field.met })
        });
        answer["Explanation"] = fields.collect();
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fakemon_aws::BusSettings;
    use fakemon_delivery::Archived;

    fn refused(entry: Value) -> (&'static str, String) {
        let nothing = |_: &str| None;
        let call = Call {
            region: "local",
            endpoint: "",
            now: Timestamp(0),
            secret: &nothing,
            progress: &|_| None,
            pipe: &|_| ("", None),
            archived: &|_| Archived::default(),
            settings: BusSettings::default(),
        };
        read(&entry, &Registry::new(), &call).unwrap_err()
    }

    #[test]
    fn entries_are_refused_in_the_services_words() {
        let entry = |detail: &str| json!({ "Source": "shop", "DetailType": "sold", "Detail": detail });
        let mut without_source = entry("{}");
        without_source["Source"] = Value::Null;
        let message = "Parameter Source is not valid. Reason: Source is a required argument.";
        assert_eq!(refused(without_source), ("InvalidArgument", message.into()));
        for malformed in ["[]", "\"{}\"", "{", "nothing", &"[".repeat(100_000)] {
            assert_eq!(refused(entry(malformed)), ("MalformedDetail", "Detail is malformed.".into()));
        }
        for (source, detail_type, bus) in [
            ("fakemon.capture", "fakemon.capture_succeeded", "default"),
            ("fakemon.capture", "fakemon.capture_succeeded", "fakemon"),
            ("fakemon.engine", "sold", "fakemon"),
            ("fakemon.connection", "fakemon.spawn", "fakemon"),
            ("shop", "fakemon.capture_succeeded", "fakemon"),
            ("aws.s3", "sold", "default"),
        ] {
            let entry = json!({ "Source": source, "DetailType": detail_type, "Detail": "{}", "EventBusName": bus });
            assert_eq!(refused(entry).0, "NotAuthorizedForSourceException", "{source} {detail_type}");
        }
        let mut elsewhere = entry("{}");
        elsewhere["EventBusName"] = "nowhere".into();
        assert_eq!(refused(elsewhere).0, "ResourceNotFoundException");
        for absurd in
            [json!(-1), json!(-0.5), json!(1e300), json!(u64::MAX), json!(i64::MIN), json!("0001-01-01T00:00:00Z")]
        {
            let mut early = entry("{}");
            early["Time"] = absurd;
            assert_eq!(check_types(&early), Ok(()));
            let (code, message) = refused(early);
            assert!(code == "InvalidArgument" && message.starts_with("Parameter Time is not valid."), "{message}");
        }
        for no_time in [json!("soon"), json!(true), json!([1]), json!({})] {
            assert!(check_types(&json!({ "Time": no_time })).is_err());
        }
    }

    #[test]
    fn times_are_seconds_or_texts() {
        assert_eq!(moment(&json!(1_700_000_000)), Some(Timestamp(1_700_000_000_000_000_000)));
        assert_eq!(moment(&json!(1_700_000_000.25)), Some(Timestamp(1_700_000_000_250_000_000)));
        assert_eq!(moment(&json!("1970-01-01T00:00:00.000000007Z")), Some(Timestamp(7)));
        assert_eq!((moment(&json!(-1)), moment(&json!("soon")), moment(&json!(1e300))), (None, None, None));
    }
}
