//! `fakemon.spawn` events: a fakémon to put into the world; and required members of events.

use fakemon_capture::command::Spawn;
use fakemon_delivery::commands::{self, InvalidCommand};
use fakemon_http::refusal::Refusal;
use serde_json::{Map, Value};

/// Parses a spawn from the detail of its event; or which field is invalid, and what it must be.
pub(super) fn parse(detail: &Map<String, Value>) -> Result<Spawn, Refusal> {
    let refusal = |InvalidCommand { code, field, message }| Refusal::field(code, field, message);
    commands::spawn(detail).map_err(refusal)
}

/// Checks the detail of an attempt, as [`parse`] that of a spawn.
pub(super) fn check_attempt(detail: &Map<String, Value>) -> Result<(), Refusal> {
    let refusal = |InvalidCommand { code, field, message }| Refusal::field(code, field, message);
    commands::check_attempt(detail).map_err(refusal)
}

/// A required text.
pub(super) fn text<'v>(object: &'v Map<String, Value>, name: &str, field: &'static str) -> Result<&'v str, Refusal> {
    match object.get(name) {
        Some(Value::String(text)) => Ok(text),
        None | Some(Value::Null) => Err(missing(field)),
        Some(_) => Err(Refusal::field("wrong_type", field, format!("{field} must be a string"))),
    }
}

pub(super) fn missing(field: &'static str) -> Refusal {
    Refusal::field("missing_field", field, format!("{field} is missing"))
}
