//! The schemas of the engine's own events and formats, in a registry that always exists and cannot be changed.
//! Schemas of events are learned from samples that the envelope itself writes, so that the two cannot differ; those
//! of formats are the files from which the code is generated.

mod put;

use super::{Kind, Schema, Shape, schema_name};
use fakemon_model::envelope::{Facet, Told, kind};
use fakemon_model::envelope::{SOURCE_CAPTURE, SOURCE_ENGINE, SOURCE_WORLD};
use fakemon_model::event::{CaptureAttempt, DecidedAttempt, Event, Outcome};
use fakemon_model::ids::{AttemptId, FakemonId, PlayerId, Position, ShardId, SpeciesId, Timestamp};
use fakemon_model::place::Place;
use fakemon_model::species::CatchRate;
use fakemon_schema::envelope_around;
pub use put::SCHEMA_DRIFT;
use put::put;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// The name of the registry.
pub const OUR_REGISTRY: &str = "fakemon.events";

/// A built-in schema. All have version 1: a newer program brings newer schemas.
#[derive(Clone, Debug)]
pub struct OurSchema {
    /// The name; unique in the registry.
    pub name: String,
    /// Its language.
    pub kind: Kind,
    /// What it is for.
    pub description: String,
    /// The text.
    pub content: String,
    pub schema: Arc<Schema>,
}

/// All built-in schemas, sorted by name.
pub fn our_schemas() -> &'static [OurSchema] {
    static OURS: LazyLock<Vec<OurSchema>> = LazyLock::new(make);
    &OURS
}

/// The schema of a name.
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

/// A kind of event, with samples of its detail; no two samples lack the same member.
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

/// Describes what samples cannot show.
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
        "connection_id" => ("where @connections reaches them", json!({})),
        "context" => ("what the authorizer says of them", json!({})),
        "message" => ("the body, if it is a JSON object", json!({})),
        "is_base64" => ("whether the body is base 64: the message was no text", json!({})),
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

/// The engine's events, as the envelope writes them.
fn told() -> Vec<Learned> {
    let (lived, place) = (Timestamp(1), Place { lat_e7: 404_168_001, lon_e7: -37_038_001 });
    let (fakemon_id, species) = (FakemonId(42), SpeciesId(0));
    let (player, attempt_id, received_at) = (PlayerId(1), AttemptId(1), lived);
    let attempt = CaptureAttempt { player, attempt_id, fakemon_id, place, received_at };
    let ended = |outcome| {
        Event::Attempt(DecidedAttempt { attempt, outcome, species, queued_after_ns: 0, decided_after_ns: 0 })
    };
    let catch_rate = CatchRate::from_basis_points(4_999);
    let (at, vanishes_at) = (lived, lived);
    let failed: Vec<Event> =
        Outcome::ALL.into_iter().filter(|outcome| *outcome != Outcome::Captured).map(ended).collect();
    let changed =
        |value: Option<&str>| Event::Changed { at, key: "rule/b/r".into(), value: value.map(str::to_owned) };
    let opened = Event::Opened { at, world_seed: 1, reach_mm: 40_001, cores: 1, durable: true };
    let mut all = vec![
        learned(&[ended(Outcome::Captured)], Facet::Attempt, "a throw was made"),
        learned(&[ended(Outcome::Captured)], Facet::Happened, "a fakémon was caught"),
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
    // An attempt at an id that never existed has no species.
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
