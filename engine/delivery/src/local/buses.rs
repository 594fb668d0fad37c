//! Events that rules, schedules and pipes put on buses.

use super::{HOPS_MAX, IDLE, Outcomes, all, comes_again};
use crate::schema::Violation;
use crate::{Dispatcher, Failed, FailureCode, Lane, ShapedEvent};
use fakemon_capture::client::Client;
use fakemon_capture::command::SubmitError;
use fakemon_journal::ReadError;
use fakemon_model::authorship::{self, Reserved};
use fakemon_model::envelope::{EventKey, REGION};
use fakemon_model::event::Event;
use fakemon_model::ids::{Position, Timestamp, Token};
use fakemon_model::limits::PUT_BYTES_MAX;
use fakemon_pattern::raw::check_detail;
use fakemon_pattern::typed;
use fakemon_resource::{NewEvent, Registry};
use fakemon_schedule::{Entry, entries};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashMap;

#[derive(Deserialize)]
struct Envelope<'a> {
    source: String,
    #[serde(rename = "detail-type")]
    detail_type: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(borrow)]
    detail: &'a RawValue,
    region: String,
    time: String,
    #[serde(rename = "fakemon-time")]
    fakemon_time: Option<String>,
}

pub(super) fn to_bus(
    courier: &Dispatcher,
    lane: &Lane,
    client: &mut Client,
    registry: &Registry,
    bus: &str,
    letters: &[ShapedEvent],
) -> Result<Outcomes, ReadError> {
    if !registry.buses.contains_key(bus) {
        let missing = Failed::permanently(FailureCode::NoResource, format!("there is no event bus {bus}"));
        return Ok(all(letters, &Err(missing)));
    }
    let mut known = HashMap::new();
    let mut keys: Vec<EventKey> = letters.iter().map(|letter| letter.key).collect();
    keys.sort_unstable();
    courier.events.read(&keys, &mut |key, _, _, event| {
        let origin = match event {
            Event::Put(put) => put.origin.unwrap_or(key),
            _ => key,
        };
        known.insert(key, (courier.events.hops(event), origin));
    })?;
    let mut outcomes = Vec::with_capacity(letters.len());
    let mut events = Vec::new();
    for letter in letters {
        // Regions and accounts share one namespace, so the ARN of another region's bus can name the bus the event is
        // already on.
        if bus == lane.id().subscriber.bus() && letter.body == letter.event {
            outcomes.push((letter.key, Ok(())));
            continue;
        }
        let (hops, origin) = known.get(&letter.key).copied().unwrap_or((0, letter.key));
        let event = envelope(letter, hops).map(|envelope| NewEvent {
            bus: bus.to_owned(),
            time: envelope.time(),
            source: envelope.source,
            detail_type: envelope.detail_type,
            detail: envelope.detail.get().to_owned(),
            resources: envelope.resources,
            region: envelope.region,
            cause: Some(letter.key.position()),
            hops: hops + 1,
            by: lane.id().delivery(letter.key),
            // A body that an input setting changed is a new event.
            origin: (letter.body == letter.event).then_some(origin),
            trace: letter.trace.clone(),
        });
        let admitted = event.and_then(|event| {
            // An unchanged event was checked, including its source, when it came in.
            match letter.body == letter.event {
                true => fits(courier, registry, &event)?,
                false => admit(courier, registry, &event)?,
            }
            events.push(event);
            Ok(())
        });
        outcomes.push((letter.key, admitted));
    }
    put_in_order(client, events, &mut outcomes);
    Ok(outcomes)
}

impl Envelope<'_> {
    fn time(&self) -> Option<Timestamp> {
        let time = self.fakemon_time.as_ref().unwrap_or(&self.time).parse::<jiff::Timestamp>().ok();
        time.and_then(|time| u64::try_from(time.as_nanosecond()).ok()).map(Timestamp)
    }
}

/// The event in a letter's body, unless it cannot be put on a bus again.
fn envelope(letter: &ShapedEvent, hops: u8) -> Result<Envelope<'_>, Failed> {
    let invalid = |message: String| Failed::permanently(FailureCode::InvalidJson, message);
    let envelope: Envelope<'_> =
        typed::from_str(&letter.body).map_err(|error| invalid(format!("it is no event: {error}")))?;
    if hops >= HOPS_MAX {
        let message = format!("rules handed it from bus to bus {hops} times: do they feed each other?");
        return Err(Failed::permanently(FailureCode::ThirdAccountHopDetected, message));
    }
    check_detail(envelope.detail.get()).map_err(|error| invalid(format!("its detail: {error}")))?;
    Ok(envelope)
}

/// Puts events in chunks that fit into one request. If a chunk cannot be put now, the events after it are not tried:
/// they have no outcome.
fn put_in_order(client: &mut Client, events: Vec<NewEvent>, outcomes: &mut Outcomes) {
    for chunk in chunks(events) {
        let keys: Vec<Option<Position>> = chunk.iter().map(|event| event.cause).collect();
        let Err(error) = put(client, chunk) else { continue };
        let failed = match error {
            SubmitError::Stopped => Failed::for_now(FailureCode::Stopped, error.to_string()),
            SubmitError::TooLarge => Failed::permanently(FailureCode::InvalidParameter, error.to_string()),
            _ => Failed::for_now(FailureCode::Throttling, error.to_string()),
        };
        let first = keys.first().copied().flatten().unwrap_or_default();
        for (key, outcome) in outcomes.iter_mut().filter(|(key, _)| key.position() >= first) {
            if outcome.is_ok() && keys.contains(&Some(key.position())) {
                *outcome = Err(failed.clone());
            }
        }
        let last = keys.last().copied().flatten().unwrap_or_default();
        outcomes.retain(|(key, _)| key.position() <= last);
        return;
    }
}

/// Events in order, cut where a chunk would become larger than half of a request.
fn chunks(events: Vec<NewEvent>) -> Vec<Vec<NewEvent>> {
    let mut chunks = Vec::new();
    let mut bytes = PUT_BYTES_MAX;
    for event in events {
        bytes += event.bytes();
        if bytes > PUT_BYTES_MAX / 2 {
            chunks.push(Vec::new());
            bytes = event.bytes();
        }
        chunks.last_mut().expect("one was just made").push(event);
    }
    chunks
}

/// Checks that the source of an event made here is not reserved for the engine, and that the event conforms to its
/// schema.
pub fn admit(courier: &Dispatcher, registry: &Registry, event: &NewEvent) -> Result<(), Failed> {
    let reserved = |reserved: Reserved| Failed::permanently(FailureCode::NoPermissions, reserved.to_string());
    authorship::check(&event.source, &event.detail_type).map_err(reserved)?;
    fits(courier, registry, event)
}

/// Checks an event against its schema, if its bus enforces one.
fn fits(courier: &Dispatcher, registry: &Registry, event: &NewEvent) -> Result<(), Failed> {
    let refused =
        |violation: Violation| Failed::permanently(FailureCode::EventsInBatchRequestRejected, violation.to_string());
    courier.enforcer.admit(registry, event).map_err(refused)
}

/// Puts the entries of `PutEvents` requests: all entries of one request at once, so that it is retried as a whole.
pub(super) fn to_buses(
    courier: &Dispatcher,
    lane: &Lane,
    client: &mut Client,
    registry: &Registry,
    letters: &[ShapedEvent],
) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for letter in letters {
        let outcome = put_entries(courier, lane, client, registry, letter);
        let stuck = comes_again(&outcome);
        outcomes.push((letter.key, outcome));
        if stuck {
            break;
        }
    }
    outcomes
}

fn put_entries(
    courier: &Dispatcher,
    lane: &Lane,
    client: &mut Client,
    registry: &Registry,
    letter: &ShapedEvent,
) -> Result<(), Failed> {
    let invalid = |why: String| Failed::permanently(FailureCode::InvalidParameter, why);
    let entries = entries(&letter.body).map_err(|error| invalid(error.to_string()))?;
    if let Some(entry) = entries.iter().find(|entry| !registry.buses.contains_key(entry.bus())) {
        return Err(Failed::permanently(FailureCode::NoResource, format!("there is no event bus {}", entry.bus())));
    }
    let event = |entry: Entry| NewEvent {
        bus: entry.bus().to_owned(),
        time: entry.time(),
        source: entry.source,
        detail_type: entry.detail_type,
        detail: entry.detail,
        resources: entry.resources,
        region: REGION.into(),
        cause: Some(letter.key.position()),
        hops: 1,
        by: lane.id().delivery(letter.key),
        origin: None,
        trace: entry.trace,
    };
    let events: Vec<NewEvent> = entries.into_iter().map(event).collect();
    events.iter().try_for_each(|event| admit(courier, registry, event))?;
    put(client, events).map_err(|error| match error {
        SubmitError::Stopped => Failed::for_now(FailureCode::Stopped, error.to_string()),
        SubmitError::TooLarge => invalid(error.to_string()),
        _ => Failed::for_now(FailureCode::Throttling, error.to_string()),
    })
}

/// Puts events that were admitted, and waits until they are durable.
pub fn put(client: &mut Client, events: Vec<NewEvent>) -> Result<(), SubmitError> {
    client.tell(Token(0), events)?;
    let mut completions = Vec::new();
    while completions.is_empty() {
        if client.is_stopped() {
            return Err(SubmitError::Stopped);
        }
        client.wait(&mut completions, IDLE);
    }
    Ok(())
}
