//! The schemas of our own events and formats, in a registry that is there from the start and that nobody can change. Those
//! of events are learned from events that the envelope itself writes, so that they say what it says; those of formats
//! are the files that the code is generated from.

use super::event::envelope_around;
use super::{Kind, Schema, Shape, schema_name};
use crate::envelope::{Facet, Told, kind};
use crate::envelope::{SOURCE_CAPTURE, SOURCE_CONNECTION, SOURCE_ENGINE, SOURCE_WORLD};
use crate::ids::{AttemptId, FakemonId, PlayerId, Position, ShardId, SpeciesId, Timestamp};
use crate::model::{Event, Outcome};
use crate::place::Place;
use crate::species::CatchRate;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// The registry of our own schemas.
pub const OUR_REGISTRY: &str = "fakemon.events";

/// A schema that is there from the start. All are of version 1: a newer program brings newer ones.
#[derive(Clone, Debug)]
pub struct OurSchema {
    /// Unique in our registry.
    pub name: String,
    /// Its language.
    pub kind: Kind,
    /// What it is for.
    pub description: String,
    /// The text.
    pub content: String,
    pub(crate) schema: Arc<Schema>,
}

/// All of them, sorted by name.
pub fn our_schemas() -> &'static [OurSchema] {
    static OURS: LazyLock<Vec<OurSchema>> = LazyLock::new(make);
    &OURS
}

/// The one of a name.
pub(crate) fn our_schema(name: &str) -> Option<&'static OurSchema> {
    static BY_NAME: LazyLock<HashMap<&str, &OurSchema>> =
        LazyLock::new(|| our_schemas().iter().map(|schema| (schema.name.as_str(), schema)).collect());
    BY_NAME.get(name).copied()
}

fn make() -> Vec<OurSchema> {
    let formats = fakemon_fbs::SCHEMAS.iter().map(|(name, content)| {
        let description = format!("the FlatBuffers schema of {}", name.trim_start_matches("fakemon."));
        our(name, Kind::FlatBuffers, description, (*content).to_owned())
    });
    let mut all: Vec<OurSchema> = formats.chain(told().into_iter().chain(put()).map(of_event)).collect();
    all.sort_by(|one, two| one.name.cmp(&two.name));
    all
}

fn our(name: &str, kind: Kind, description: String, content: String) -> OurSchema {
    let schema = Schema::read(kind, &content).expect("ours are tested");
    OurSchema { name: name.to_owned(), kind, description, content, schema: Arc::new(schema) }
}

/// A kind of event, with details of which no two lack the same.
struct Learned {
    source: &'static str,
    detail_type: &'static str,
    description: &'static str,
    details: Vec<Value>,
}

fn of_event(learned: Learned) -> OurSchema {
    let Learned { source, detail_type, description, details } = learned;
    let mut shape = Shape::default();
    for detail in &details {
        shape.take(detail);
    }
    let mut detail = shape.schema(Kind::OpenApi3);
    detail["description"] = description.into();
    if let Some(properties) = detail["properties"].as_object_mut() {
        for (name, property) in properties {
            explain(name, property);
        }
    }
    let content = envelope_around(Kind::OpenApi3, source, detail_type, detail).to_string();
    our(&schema_name(source, detail_type), Kind::OpenApi3, description.to_owned(), content)
}

/// What samples cannot show.
fn explain(name: &str, property: &mut Value) {
    let number = property["type"] == "string";
    let (description, more) = match name {
        "attempt_id" => ("the player's number for the throw", json!({ "pattern": DIGITS })),
        "fakemon_id" => ("which fakémon", json!({ "pattern": DIGITS })),
        "position" => ("the place in the journal", json!({ "pattern": DIGITS })),
        "world_seed" => ("decides dodges", json!({ "pattern": DIGITS })),
        "player" => ("the player's name", json!({ "minLength": 1, "maxLength": 64 })),
        "species" => ("the species' name", json!({ "maxLength": 64 })),
        "lat" => ("latitude, in degrees", json!({ "minimum": -90, "maximum": 90 })),
        "lon" => ("longitude, in degrees", json!({ "minimum": -180, "maximum": 180 })),
        "catch_rate" => ("the chance that a throw within reach catches", json!({ "minimum": 0, "maximum": 1 })),
        "lifetime_s" => ("how long it stays, in seconds", json!({ "minimum": 1 })),
        "durability" => ("whether answers wait for the disk", json!({ "enum": ["synced", "unsynced"] })),
        "change" => ("what happened to the resource", json!({ "enum": ["put", "deleted"] })),
        "shard" => ("who decided it", json!({ "minimum": 0 })),
        "reach_m" => ("how far a throw reaches, in metres", json!({ "minimum": 0 })),
        "received_at" => ("when the throw was received", json!({})),
        "queued_at" => ("when it waited for its shard", json!({})),
        "decided_at" => ("when it was decided", json!({})),
        "captured_at" => ("when it was caught", json!({})),
        "appeared_at" => ("when it appeared", json!({})),
        "vanishes_at" => ("until when it stays", json!({})),
        "vanished_at" => ("when it vanished", json!({})),
        _ => return,
    };
    property["description"] = description.into();
    let Value::Object(more) = more else { return };
    for (name, value) in more {
        if number || name != "pattern" {
            property[&name] = value;
        }
    }
}

const DIGITS: &str = "^[0-9]{1,20}$";

/// What the engine tells, as the envelope writes it.
fn told() -> Vec<Learned> {
    let (lived, place) = (Timestamp(1), Place { lat_e7: 404_168_001, lon_e7: -37_038_001 });
    let (fakemon_id, species) = (FakemonId(42), SpeciesId(0));
    let throw = |outcome| Event::Attempt {
        player: PlayerId(1),
        attempt_id: AttemptId(1),
        fakemon_id,
        species,
        place,
        outcome,
        received_at: lived,
        queued_at: lived,
        decided_at: lived,
    };
    let catch_rate = CatchRate::from_basis_points(4_999);
    let (at, vanishes_at) = (lived, lived);
    let failed: Vec<Event> =
        Outcome::ALL.into_iter().filter(|outcome| *outcome != Outcome::Captured).map(throw).collect();
    let changed =
        |value: Option<&str>| Event::Changed { at, key: "rule/b/r".into(), value: value.map(str::to_owned) };
    let opened = Event::Opened { at, world_seed: 1, reach_mm: 40_001, cores: 1, durable: true };
    let mut all = vec![
        learned(&[throw(Outcome::Captured)], Facet::Attempt, "a throw was made"),
        learned(&[throw(Outcome::Captured)], Facet::Happened, "a fakémon was caught"),
        learned(&failed, Facet::Happened, "a throw caught nothing"),
        learned(
            &[Event::Appeared { fakemon_id, species, place, catch_rate, at, vanishes_at }],
            Facet::Happened,
            "a fakémon appeared",
        ),
        learned(
            &[Event::Vanished { fakemon_id, species, place, at, vanishes_at }],
            Facet::Happened,
            "a fakémon vanished uncaught",
        ),
        learned(
            &[Event::PlayerNamed { player: PlayerId(1), name: "ash".into() }],
            Facet::Happened,
            "a player threw for the first time",
        ),
        learned(
            &[Event::SpeciesNamed { species, name: "sparkit".into() }],
            Facet::Happened,
            "a species got its number",
        ),
        learned(&[opened], Facet::Happened, "the engine opened the journal"),
        learned(&[changed(Some("{}")), changed(None)], Facet::Happened, "a resource of the bus changed"),
    ];
    // A throw at what nobody has ever seen has no species.
    for learned in &mut all {
        if learned.detail_type == "fakemon.capture_failed" {
            let mut unknown = learned.details[0].clone();
            unknown["species"] = Value::Null;
            learned.details.push(unknown);
        }
    }
    all
}

fn learned(events: &[Event], facet: Facet, description: &'static str) -> Learned {
    let detail = |event: &Event| {
        let (position, shard) = (Position(1), ShardId(0));
        let told = Told { position, facet, shard, committed_at: Timestamp(1), event, replay: None };
        let envelope = told.envelope(|_| Some("ash"), |_| Some("sparkit"));
        let mut envelope: Value = serde_json::from_str(&envelope).expect("envelopes are JSON");
        envelope["detail"].take()
    };
    let details = events.iter().map(detail).collect();
    let (source, detail_type) = match kind(&events[0], facet) {
        (SOURCE_CAPTURE, name) => (SOURCE_CAPTURE, name),
        (SOURCE_WORLD, name) => (SOURCE_WORLD, name),
        (_, name) => (SOURCE_ENGINE, name),
    };
    let detail_type = KINDS.iter().find(|known| **known == detail_type).expect("every kind is listed");
    Learned { source, detail_type, description, details }
}

const KINDS: [&str; 9] = [
    "fakemon.capture_attempt",
    "fakemon.capture_succeeded",
    "fakemon.capture_failed",
    "fakemon.appeared",
    "fakemon.vanished",
    "fakemon.player_named",
    "fakemon.species_named",
    "fakemon.engine_opened",
    "fakemon.resource_changed",
];

/// What is put on a bus: by whoever serves players, by the engine of itself, by everybody as a command.
fn put() -> Vec<Learned> {
    let place = json!({ "lat": 40.5, "lon": -3.5 });
    let with = |more: Value| {
        let mut detail = place.clone();
        if let (Some(detail), Value::Object(more)) = (detail.as_object_mut(), more) {
            detail.extend(more);
        }
        detail
    };
    let connected = json!({ "connection_id": "c", "player": "ash" });
    let disconnected = json!({ "connection_id": "c", "player": "ash", "reason": "closed" });
    let drift = json!({ "registry": "r", "schema": "s", "version": "2", "bus": "b", "source": "shop", "detail_type": "sold",
                        "event_id": "e", "changes": [{ "path": "$.detail.unit", "change": "is new: integer" }] });
    vec![
        Learned {
            source: SOURCE_WORLD,
            detail_type: "fakemon.spawn",
            description: "a command: put a fakémon into the world",
            details: vec![
                with(json!({ "species": "sparkit" })),
                with(json!({ "species": "sparkit", "fakemon_id": "1", "lifetime_s": 60, "catch_rate": 0.5 })),
                with(json!({ "species": "sparkit", "fakemon_id": 1 })),
            ],
        },
        Learned {
            source: "fakemon.game",
            detail_type: "fakemon.capture_attempt",
            description: "a command: throw a ball",
            details: vec![
                with(json!({ "player": "ash", "attempt_id": "1", "fakemon_id": "1" })),
                with(json!({ "player": "ash", "attempt_id": 1, "fakemon_id": 1 })),
            ],
        },
        Learned {
            source: SOURCE_CAPTURE,
            detail_type: "fakemon.command_refused",
            description: "a command made no sense",
            details: vec![json!({ "event_id": "e", "reason": "r" })],
        },
        Learned {
            source: SOURCE_CONNECTION,
            detail_type: "fakemon.connected",
            description: "a player connected",
            details: vec![connected],
        },
        Learned {
            source: SOURCE_CONNECTION,
            detail_type: "fakemon.disconnected",
            description: "a player's connection ended",
            details: vec![disconnected],
        },
        Learned {
            source: SOURCE_ENGINE,
            detail_type: SCHEMA_DRIFT,
            description: "events look different from what their discovered schema said",
            details: vec![drift],
        },
    ]
    .into_iter()
    .chain(said())
    .collect()
}

/// What the engine says of itself; see [`notices`](crate::notices).
fn said() -> impl Iterator<Item = Learned> {
    let of_target = json!({ "bus": "b", "rule": "r", "target": "t", "arn": "a", "count": 1 });
    let and = |more: Value| {
        let mut detail = of_target.clone();
        detail
            .as_object_mut()
            .into_iter()
            .for_each(|detail| detail.extend(more.as_object().cloned().unwrap_or_default()));
        detail
    };
    let recovery = json!({ "end": "crash", "events_replayed": 1, "took_ms": 1 });
    let all = [
        (
            "fakemon.started",
            "the engine is open",
            json!({ "version": "0", "cores": 1, "position": "1", "recovery": recovery, "count": 1 }),
        ),
        ("fakemon.stopping", "the engine is asked to stop", json!({ "position": "1", "count": 1 })),
        (
            "fakemon.recovered",
            "the engine was opened after a crash",
            json!({ "events_replayed": 1, "from_position": "1", "to_position": "2", "took_ms": 1, "count": 1 }),
        ),
        (
            "fakemon.slow_sync",
            "groups took long to write and sync",
            json!({ "syncs": 1, "worst_ms": 1, "threshold_ms": 1, "position": "1", "count": 1 }),
        ),
        (
            "fakemon.disk_space",
            "free space passed a threshold",
            json!({ "state": "low", "before": "ok", "free_bytes": 1, "total_bytes": 1, "threshold_bytes": 1,
                    "directory": "d", "count": 1 }),
        ),
        ("fakemon.shedding_started", "throws are throttled", json!({ "throttled": 1, "attempts": 1, "count": 1 })),
        (
            "fakemon.shedding_ended",
            "throws are not throttled any more",
            json!({ "throttled": 1, "attempts": 1, "lasted_ms": 1, "count": 1 }),
        ),
        (
            "fakemon.target_dead",
            "nothing reaches a target any more",
            and(json!({ "error_code": "e", "error_message": "m", "attempts": 1,
                        "failing_since": "2026-03-01T20:00:00Z", "backlog": 1 })),
        ),
        ("fakemon.target_recovered", "a target took an event again", and(json!({ "dead_ms": 1, "backlog": 1 }))),
        (
            "fakemon.dead_letter",
            "events for a target were given up",
            and(json!({ "dead_letters": 1, "lost": 1, "error_code": "e" })),
        ),
        (
            "fakemon.connection_deauthorized",
            "a connection is not let in any more",
            json!({ "connection": "c", "reason": "r", "count": 1 }),
        ),
    ];
    all.into_iter().map(|(detail_type, description, detail)| Learned {
        source: SOURCE_ENGINE,
        detail_type,
        description,
        details: vec![detail],
    })
}

/// The detail-type of what discoverers say when the shape of events changes.
pub const SCHEMA_DRIFT: &str = "fakemon.schema_drift";
