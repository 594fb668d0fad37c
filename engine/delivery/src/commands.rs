//! Commands that come as events: `fakemon.spawn` from `fakemon.world`, `fakemon.capture_attempt` from `fakemon.game`.
//! They reach the capture service from any bus. Carrying out one twice changes nothing: an attempt has its id, and a
//! spawn without an id of its own gets one that is derived from its event.

use fakemon_capture::command::Spawn;
use fakemon_model::authorship::{ATTEMPT, SPAWN};
use fakemon_model::envelope::EventKey;
use fakemon_model::event::{Event, PlayerName};
use fakemon_model::ids::{AttemptId, FakemonId, Position};
use fakemon_model::place::Place;
use fakemon_model::species::CatchRate;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The first of the ids of fakémon that events spawn without an id.
const SPAWNED_BY_EVENTS: u64 = 1 << 62;

/// A command for the capture service.
#[derive(Clone, Debug)]
pub enum Command {
    Spawn(Spawn),
    Attempt { player: PlayerName, attempt_id: AttemptId, fakemon_id: FakemonId, place: Place },
}

#[derive(Deserialize)]
struct Envelope<'a> {
    source: String,
    #[serde(rename = "detail-type")]
    detail_type: String,
    #[serde(borrow)]
    detail: &'a RawValue,
}

/// A number, as itself or as decimal text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(u64),
    Text(String),
}

impl Number {
    fn value(&self, field: &str) -> Result<u64, String> {
        match self {
            Number::Number(number) => Ok(*number),
            Number::Text(text) => text.parse().map_err(|_| format!("detail.{field} must be a whole number")),
        }
    }
}

#[derive(Deserialize)]
struct SpawnDetail {
    fakemon_id: Option<Number>,
    species: String,
    lat: f64,
    lon: f64,
    lifetime_s: Option<u64>,
    catch_rate: Option<f64>,
}

#[derive(Deserialize)]
struct AttemptDetail {
    player: String,
    attempt_id: Number,
    fakemon_id: Number,
    lat: f64,
    lon: f64,
}

/// The position of the event that spawned a fakémon, if its id was derived from it.
pub fn spawned_by(fakemon: FakemonId) -> Option<Position> {
    fakemon.0.checked_sub(SPAWNED_BY_EVENTS).filter(|position| *position > 0).map(Position)
}

/// Whether an event is a command.
pub fn is_command(event: &Event) -> bool {
    matches!(event, Event::Put(put) if kind(&put.source, &put.detail_type).is_some())
}

/// Whether events of this type are commands.
pub fn is_command_type(source: &str, detail_type: &str) -> bool {
    kind(source, detail_type).is_some()
}

enum Kind {
    Spawn,
    Attempt,
}

fn kind(source: &str, detail_type: &str) -> Option<Kind> {
    match (source, detail_type) {
        SPAWN => Some(Kind::Spawn),
        ATTEMPT => Some(Kind::Attempt),
        _ => None,
    }
}

impl Command {
    /// From the JSON of an event; or what is wrong with it.
    pub fn read(event: &str, key: EventKey) -> Result<Command, String> {
        let envelope: Envelope<'_> = serde_json::from_str(event).map_err(|error| format!("no event: {error}"))?;
        let detail = envelope.detail.get();
        match kind(&envelope.source, &envelope.detail_type) {
            Some(Kind::Spawn) => Command::spawn(detail, key),
            Some(Kind::Attempt) => Command::attempt(detail),
            None => {
                Err("the capture service knows fakemon.spawn from fakemon.world, and fakemon.capture_attempt from \
                         fakemon.game"
                    .into())
            }
        }
    }

    fn spawn(detail: &str, key: EventKey) -> Result<Command, String> {
        let detail: SpawnDetail = serde_json::from_str(detail).map_err(|error| format!("detail: {error}"))?;
        let place = Place::from_degrees(detail.lat, detail.lon).map_err(|error| format!("detail.{error}"))?;
        let given = detail.fakemon_id.map(|id| id.value("fakemon_id")).transpose()?;
        let fakemon_id = given.unwrap_or(SPAWNED_BY_EVENTS + key.position().0);
        let rate = |rate| CatchRate::from_fraction(rate).ok_or("detail.catch_rate must be from 0 to 1");
        let catch_rate = detail.catch_rate.map(rate).transpose()?;
        let SpawnDetail { species, lifetime_s, .. } = detail;
        Ok(Command::Spawn(Spawn { fakemon_id: Some(FakemonId(fakemon_id)), species, place, lifetime_s, catch_rate }))
    }

    fn attempt(detail: &str) -> Result<Command, String> {
        let detail: AttemptDetail = serde_json::from_str(detail).map_err(|error| format!("detail: {error}"))?;
        Ok(Command::Attempt {
            player: PlayerName::new(&detail.player).map_err(|error| format!("detail.{error}"))?,
            attempt_id: AttemptId(detail.attempt_id.value("attempt_id")?),
            fakemon_id: FakemonId(detail.fakemon_id.value("fakemon_id")?),
            place: Place::from_degrees(detail.lat, detail.lon).map_err(|error| format!("detail.{error}"))?,
        })
    }
}

/// How often rules handed an event from bus to bus.
pub fn hops(event: &Event) -> u8 {
    match event {
        Event::Put(put) => put.hops,
        _ => 0,
    }
}
