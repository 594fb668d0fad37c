//! `fakemon.spawn` events: a fakémon to put into the world, each member checked.

use fakemon_capture::command::Spawn;
use fakemon_http::refusal::Refusal;
use fakemon_model::ids::FakemonId;
use fakemon_model::place::Place;
use fakemon_model::species::CatchRate;
use serde_json::{Map, Value};

/// Parses a spawn from the detail of its event; or which field is invalid, and what it must be.
pub(super) fn parse(detail: &Map<String, Value>) -> Result<Spawn, Refusal> {
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

/// A required text.
pub(super) fn text<'v>(object: &'v Map<String, Value>, name: &str, field: &'static str) -> Result<&'v str, Refusal> {
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

pub(super) fn missing(field: &'static str) -> Refusal {
    Refusal::field("missing_field", field, format!("{field} is missing"))
}
