//! Commands that come as events: `fakemon.spawn` from `fakemon.world`, `fakemon.capture_attempt` from `fakemon.game`.
//! They reach the capture service from any bus. Carrying out one twice changes nothing: an attempt has its id, and a
//! spawn without an id of its own gets one that is derived from its event.

use fakemon_capture::command::{Spawn, SpawnError};
use fakemon_model::authorship::{ATTEMPT, SPAWN};
use fakemon_model::envelope::{COMMAND_REFUSED, EventKey, SOURCE_CAPTURE};
use fakemon_model::event::{Event, PlayerName};
use fakemon_model::ids::{AttemptId, FakemonId, Position};
use fakemon_model::limits::LIFETIME_S_MAX;
use fakemon_model::place::Place;
use fakemon_model::species::CatchRate;
use fakemon_pattern::raw;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The first of the ids of fakémon that events spawn without an id.
const SPAWNED_BY_EVENTS: u64 = 1 << 62;

/// A command for the capture service.
#[derive(Clone, Debug)]
pub enum Command {
    Spawn(Spawn),
    Attempt { player: PlayerName, attempt_id: AttemptId, fakemon_id: FakemonId, place: Place },
}

/// Why an event is not a command that can be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidCommand {
    /// What kind of mistake it is, as in answers of `POST /events`: `missing_field`, `wrong_type`, `out_of_range`.
    pub code: &'static str,
    /// The field, as `detail.lat`.
    pub field: &'static str,
    /// What the field must be.
    pub message: String,
}

impl InvalidCommand {
    fn missing(field: &'static str) -> InvalidCommand {
        InvalidCommand { code: "missing_field", field, message: format!("{field} is missing") }
    }

    fn wrong_type(field: &'static str, wanted: &str) -> InvalidCommand {
        InvalidCommand { code: "wrong_type", field, message: format!("{field} must be {wanted}") }
    }

    fn out_of_range(field: &'static str, wanted: &str) -> InvalidCommand {
        InvalidCommand { code: "out_of_range", field, message: format!("{field} must be {wanted}") }
    }
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
    pub fn read(event: &str, key: EventKey) -> Result<Command, InvalidCommand> {
        let envelope = serde_json::from_str::<&RawValue>(event).ok();
        let member = |name| envelope.and_then(|envelope| raw::member(envelope, name));
        let text = |name| member(name).and_then(|value| serde_json::from_str::<String>(value.get()).ok());
        let [source, detail_type] = ["source", "detail-type"].map(|name| text(name).unwrap_or_default());
        let Some(kind) = kind(&source, &detail_type) else {
            let message = "the capture service carries out events: fakemon.spawn from fakemon.world, and \
                           fakemon.capture_attempt from fakemon.game; let the target have the whole event";
            return Err(InvalidCommand { code: "bad_command", field: "detail-type", message: message.into() });
        };
        let detail = member("detail").and_then(|detail| raw::tree(detail.get()).ok());
        let detail = detail.as_ref().and_then(Value::as_object);
        let detail = detail.ok_or_else(|| InvalidCommand::wrong_type("detail", "an object"))?;
        match kind {
            Kind::Spawn => {
                let spawn = spawn(detail)?;
                let fakemon_id = spawn.fakemon_id.unwrap_or(FakemonId(SPAWNED_BY_EVENTS + key.position().0));
                Ok(Command::Spawn(Spawn { fakemon_id: Some(fakemon_id), ..spawn }))
            }
            Kind::Attempt => attempt(detail),
        }
    }

    /// Whether an event of the journal is what carrying out this command leads to. `player` and `species` are the
    /// names in the event.
    pub fn leads_to(&self, done: &Event, player: Option<&str>, species: Option<&str>) -> bool {
        match (self, done) {
            (
                Command::Spawn(spawn),
                Event::Appeared { fakemon_id, place, catch_rate, at, vanishes_at, species: _ },
            ) => {
                spawn.fakemon_id == Some(*fakemon_id)
                    && spawn.place == *place
                    && species == Some(spawn.species.as_str())
                    && spawn.catch_rate.is_none_or(|rate| rate == *catch_rate)
                    && spawn.lifetime_s.is_none_or(|lifetime_s| {
                        vanishes_at.ns_since(*at) == lifetime_s.saturating_mul(1_000_000_000)
                    })
            }
            (Command::Attempt { player: name, attempt_id, fakemon_id, place }, Event::Attempt(done)) => {
                let is_same = (done.attempt_id, done.fakemon_id, done.place) == (*attempt_id, *fakemon_id, *place);
                player == Some(name.as_str()) && is_same
            }
            _ => false,
        }
    }
}

/// Parses the detail of a spawn, each member checked. Its id is none if the event gives none.
///
/// # Errors
/// The first field that is missing or wrong.
pub fn spawn(detail: &Map<String, Value>) -> Result<Spawn, InvalidCommand> {
    let species = text(detail, "species", "detail.species")?.to_owned();
    let place = place(detail)?;
    let rate = number(detail, "catch_rate", "detail.catch_rate", "a number from 0 to 1")?;
    let rate_of = |fraction| {
        let out = || InvalidCommand::out_of_range("detail.catch_rate", "from 0 to 1");
        CatchRate::from_fraction(fraction).ok_or_else(out)
    };
    let catch_rate = rate.map(rate_of).transpose()?;
    let wanted = "a whole number from 1 to 9223372036854775807, as a decimal string";
    let fakemon_id = whole(detail, "fakemon_id", "detail.fakemon_id", wanted)?.map(FakemonId);
    Ok(Spawn { fakemon_id, species, place, lifetime_s: lifetime_s(detail)?, catch_rate })
}

fn attempt(detail: &Map<String, Value>) -> Result<Command, InvalidCommand> {
    let player = PlayerName::new(text(detail, "player", "detail.player")?);
    let wrong = |message: String| InvalidCommand { code: "out_of_range", field: "detail.player", message };
    let player = player.map_err(|error| wrong(format!("detail.{error}")))?;
    let attempt_wanted = "a whole number from 0 to 18446744073709551615, as a decimal string";
    let attempt_id = whole(detail, "attempt_id", "detail.attempt_id", attempt_wanted)?;
    let wanted = "a whole number from 1 to 9223372036854775807, as a decimal string";
    let fakemon_id = whole(detail, "fakemon_id", "detail.fakemon_id", wanted)?;
    Ok(Command::Attempt {
        player,
        attempt_id: AttemptId(attempt_id.ok_or_else(|| InvalidCommand::missing("detail.attempt_id"))?),
        fakemon_id: FakemonId(fakemon_id.ok_or_else(|| InvalidCommand::missing("detail.fakemon_id"))?),
        place: place(detail)?,
    })
}

fn place(detail: &Map<String, Value>) -> Result<Place, InvalidCommand> {
    let degrees =
        |name, field, wanted| number(detail, name, field, wanted)?.ok_or_else(|| InvalidCommand::missing(field));
    let lat = degrees("lat", "detail.lat", "a number from -90 to 90")?;
    let lon = degrees("lon", "detail.lon", "a number from -180 to 180")?;
    Place::from_degrees(lat, lon).map_err(|error| {
        let field = if error.field() == "lat" { "detail.lat" } else { "detail.lon" };
        InvalidCommand { code: "out_of_range", field, message: format!("detail.{error}") }
    })
}

/// A required text.
fn text<'v>(detail: &'v Map<String, Value>, name: &str, field: &'static str) -> Result<&'v str, InvalidCommand> {
    match detail.get(name) {
        Some(Value::String(text)) => Ok(text),
        None | Some(Value::Null) => Err(InvalidCommand::missing(field)),
        Some(_) => Err(InvalidCommand::wrong_type(field, "a string")),
    }
}

fn number(
    detail: &Map<String, Value>,
    name: &str,
    field: &'static str,
    wanted: &str,
) -> Result<Option<f64>, InvalidCommand> {
    match detail.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => Ok(number.as_f64()),
        Some(_) => Err(InvalidCommand::wrong_type(field, wanted)),
    }
}

/// A whole number, as itself or as decimal digits.
fn whole(
    detail: &Map<String, Value>,
    name: &str,
    field: &'static str,
    wanted: &str,
) -> Result<Option<u64>, InvalidCommand> {
    let number = match detail.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
        Some(number) => number.as_u64(),
    };
    number.map(Some).ok_or_else(|| InvalidCommand::out_of_range(field, wanted))
}

fn lifetime_s(detail: &Map<String, Value>) -> Result<Option<u64>, InvalidCommand> {
    match detail.get("lifetime_s") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| {
            let wanted = format!("a whole number of seconds, from 1 to {LIFETIME_S_MAX}");
            InvalidCommand::wrong_type("detail.lifetime_s", &wanted)
        }),
    }
}

/// The member of a spawn that the engine refuses.
pub fn field_of(error: &SpawnError) -> &'static str {
    match error {
        SpawnError::UnknownSpecies(_) => "detail.species",
        SpawnError::Lifetime => "detail.lifetime_s",
        SpawnError::IdTaken(_) | SpawnError::Id => "detail.fakemon_id",
    }
}

/// The ids that a command names, as far as they can be read.
pub(crate) fn ids_in(event: &str) -> impl Iterator<Item = (&'static str, u64)> {
    let detail = serde_json::from_str::<&RawValue>(event).ok().and_then(|event| raw::member(event, "detail"));
    let detail = detail.and_then(|detail| raw::tree(detail.get()).ok());
    ["fakemon_id", "attempt_id"].into_iter().filter_map(move |name| {
        let id = whole(detail.as_ref()?.as_object()?, name, "", "").ok()??;
        Some((name, id))
    })
}

/// Checks the detail of an attempt.
///
/// # Errors
/// The first field that is missing or wrong.
pub fn check_attempt(detail: &Map<String, Value>) -> Result<(), InvalidCommand> {
    attempt(detail).map(drop)
}

/// Whether the JSON of an event says that a command was refused. That is never a command, with any input settings:
/// else its refusal would be refused again, for ever.
pub fn is_refusal(event: &str) -> bool {
    #[derive(Deserialize)]
    struct Head {
        source: String,
        #[serde(rename = "detail-type")]
        detail_type: String,
    }
    let said = |head: Head| head.source == SOURCE_CAPTURE && head.detail_type == COMMAND_REFUSED;
    event.contains(COMMAND_REFUSED) && serde_json::from_str(event).is_ok_and(said)
}
