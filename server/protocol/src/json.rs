//! Messages as JSON, subprotocol `fakemon.v1.json`. Ids are decimal strings, because many languages read JSON numbers
//! as 64-bit floats and lose digits; integers are accepted too if they are exact.

use super::{BadMessage, Reply, Request, look, place, position};
use fakemon_model::event::{Caught, Decision, Outcome, Sighting};
use fakemon_model::ids::{AttemptId, FakemonId, Position, Timestamp};
use fakemon_model::limits::LOOK_FAKEMON_MAX;
use fakemon_model::place::Place;
use fakemon_pattern::syntax;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::io::Write as _;

/// Parses one message of a player. Unknown fields are ignored.
pub fn read(text: &str) -> Result<Request, BadMessage> {
    let fields: Fields = serde_json::from_str(text).map_err(|error| not_a_message(&error, text))?;
    match fields.kind {
        Value::Kind(Kind::Look) => {
            let [lat, lon, radius_m] =
                [("lat", fields.lat), ("lon", fields.lon), ("radius_m", fields.radius_m)].map(number);
            look(lat?, lon?, radius_m?)
        }
        Value::Kind(Kind::Attempt) => {
            let attempt_id = AttemptId(id("attempt_id", fields.attempt_id)?);
            read_attempt(&fields, attempt_id).map_err(|bad| bad.about(attempt_id))
        }
        Value::Kind(Kind::Collection) => Ok(Request::Collection {
            before: match fields.before {
                Value::Missing => None,
                given => position(id("before", given)?),
            },
        }),
        Value::Kind(Kind::Resume) => Ok(Request::Resume { position: Position(id("position", fields.position)?) }),
        _ => Err(BadMessage::new(r#"type must be "look", "attempt", "collection" or "resume""#)),
    }
}

fn read_attempt(fields: &Fields, attempt_id: AttemptId) -> Result<Request, BadMessage> {
    Ok(Request::Attempt {
        attempt_id,
        fakemon_id: FakemonId(id("fakemon_id", fields.fakemon_id)?),
        place: place(number(("lat", fields.lat))?, number(("lon", fields.lon))?)?,
    })
}

fn id(field: &'static str, value: Value) -> Result<u64, BadMessage> {
    match value {
        Value::Integer(id) | Value::Digits(id) => Ok(id),
        _ => Err(BadMessage::new(format!(
            "{field} must be a decimal string from \"0\" to \"{}\", without sign or leading zeros",
            u64::MAX
        ))),
    }
}

fn number((field, value): (&'static str, Value)) -> Result<f64, BadMessage> {
    match value {
        Value::Integer(number) => Ok(number as f64),
        Value::Number(number) => Ok(number),
        _ => Err(BadMessage::new(format!("{field} must be a number"))),
    }
}

/// The words of the field reader are kept where they say what is there twice.
fn not_a_message(error: &serde_json::Error, text: &str) -> BadMessage {
    let said = error.to_string();
    let why = match error.is_data() {
        true if !said.starts_with(TWICE) => return BadMessage::new("a message must be one JSON object"),
        true => said,
        false => format!("it is not JSON: {}", syntax::expected(error, text.as_bytes())),
    };
    BadMessage::new(format!("a message must be one JSON object: {why}"))
}

const TWICE: &str = "a field stands there twice";

/// The fields of all messages together: which of them are used depends on `type`, which may come last.
#[derive(Default)]
struct Fields {
    kind: Value,
    attempt_id: Value,
    fakemon_id: Value,
    lat: Value,
    lon: Value,
    radius_m: Value,
    before: Value,
    position: Value,
}

/// A field's value, in a type that some message can use. Any other value is `Other`, not an error, so that the later
/// error can name the field.
#[derive(Clone, Copy, Default)]
enum Value {
    #[default]
    Missing,
    Integer(u64),
    Number(f64),
    Digits(u64),
    Kind(Kind),
    Other,
}

#[derive(Clone, Copy)]
enum Kind {
    Look,
    Attempt,
    Collection,
    Resume,
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key()? {
            let field = match name {
                Name::Type => &mut fields.kind,
                Name::AttemptId => &mut fields.attempt_id,
                Name::FakemonId => &mut fields.fakemon_id,
                Name::Lat => &mut fields.lat,
                Name::Lon => &mut fields.lon,
                Name::RadiusM => &mut fields.radius_m,
                Name::Before => &mut fields.before,
                Name::Position => &mut fields.position,
                Name::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if !matches!(field, Value::Missing) {
                return Err(serde::de::Error::custom(TWICE));
            }
            *field = map.next_value()?;
        }
        Ok(fields)
    }
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Name {
    Type,
    AttemptId,
    FakemonId,
    Lat,
    Lon,
    RadiusM,
    Before,
    Position,
    #[serde(other)]
    Unknown,
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(match text {
            "look" => Value::Kind(Kind::Look),
            "attempt" => Value::Kind(Kind::Attempt),
            "collection" => Value::Kind(Kind::Collection),
            "resume" => Value::Kind(Kind::Resume),
            _ => digits(text).map_or(Value::Other, Value::Digits),
        })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }
}

/// A number in the only spelling that the answer uses, so that a client that compares strings finds its own.
fn digits(text: &str) -> Option<u64> {
    let canonical = text == "0" || text.starts_with(|first| matches!(first, '1'..='9'));
    (canonical && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// Appends one message of the server.
pub fn write(out: &mut Vec<u8>, reply: &Reply<'_>) {
    match *reply {
        Reply::World(fakemon) => {
            out.extend_from_slice(br#"{"type":"world","fakemon":["#);
            write_list(out, fakemon, |out, sighting| {
                out.push(b'{');
                write_sighting(out, sighting);
            });
            // The limit was reached: the nearest, but not all.
            let more = fakemon.len() >= LOOK_FAKEMON_MAX;
            out.extend_from_slice(if more { br#"],"more":true}"# } else { b"]}" });
        }
        Reply::Appeared(sighting) => {
            out.extend_from_slice(br#"{"type":"appeared","#);
            write_sighting(out, sighting);
        }
        Reply::Vanished(fakemon_id) => {
            out.extend_from_slice(br#"{"type":"vanished","fakemon_id":""#);
            write_u64(out, fakemon_id.0);
            out.extend_from_slice(br#""}"#);
        }
        Reply::Decided(decision) => write_decision(out, &decision),
        Reply::Throttled { attempt_id, fakemon_id, retry_after_ms } => {
            write_result_start(out, attempt_id, fakemon_id);
            out.extend_from_slice(br#","outcome":"failed","reason":"throttled","retry_after_ms":"#);
            write_u64(out, u64::from(retry_after_ms));
            out.push(b'}');
        }
        Reply::Collection { items, more_before } => {
            out.extend_from_slice(br#"{"type":"collection","items":["#);
            write_list(out, items, write_caught);
            out.push(b']');
            if let Some(position) = more_before {
                out.extend_from_slice(br#","more_before":""#);
                write_u64(out, position.0);
                out.push(b'"');
            }
            out.push(b'}');
        }
        Reply::Resumed { position, complete } => {
            out.extend_from_slice(br#"{"type":"resumed","position":""#);
            write_u64(out, position.0);
            out.extend_from_slice(if complete { br#"","complete":true}"# } else { br#"","complete":false}"# });
        }
        Reply::Error { code, message, attempt_id } => {
            out.extend_from_slice(br#"{"type":"error","code":""#);
            out.extend_from_slice(code.name().as_bytes());
            out.extend_from_slice(br#"","message":"#);
            write_string(out, message);
            if let Some(attempt_id) = attempt_id {
                out.extend_from_slice(br#","attempt_id":""#);
                write_u64(out, attempt_id.0);
                out.push(b'"');
            }
            out.push(b'}');
        }
    }
}

fn write_decision(out: &mut Vec<u8>, decision: &Decision) {
    write_result_start(out, decision.attempt_id, decision.fakemon_id);
    match decision.outcome {
        Outcome::Captured => out.extend_from_slice(br#","outcome":"captured","position":""#),
        reason => {
            out.extend_from_slice(br#","outcome":"failed","reason":""#);
            out.extend_from_slice(reason.name().as_bytes());
            out.extend_from_slice(br#"","position":""#);
        }
    }
    write_u64(out, decision.position.0);
    out.extend_from_slice(br#""}"#);
}

fn write_result_start(out: &mut Vec<u8>, attempt_id: AttemptId, fakemon_id: FakemonId) {
    out.extend_from_slice(br#"{"type":"result","attempt_id":""#);
    write_u64(out, attempt_id.0);
    out.extend_from_slice(br#"","fakemon_id":""#);
    write_u64(out, fakemon_id.0);
    out.push(b'"');
}

/// The fields of a sighting and the closing brace.
fn write_sighting(out: &mut Vec<u8>, sighting: &Sighting) {
    out.extend_from_slice(br#""fakemon_id":""#);
    write_u64(out, sighting.fakemon_id.0);
    out.extend_from_slice(br#"","species":"#);
    write_string(out, &sighting.species);
    write_place(out, sighting.place);
    out.extend_from_slice(br#","vanishes_at":""#);
    write_timestamp(out, sighting.vanishes_at);
    out.extend_from_slice(br#""}"#);
}

fn write_caught(out: &mut Vec<u8>, caught: &Caught) {
    out.extend_from_slice(br#"{"fakemon_id":""#);
    write_u64(out, caught.fakemon_id.0);
    out.extend_from_slice(br#"","species":"#);
    write_string(out, &caught.species);
    out.extend_from_slice(br#","captured_at":""#);
    write_timestamp(out, caught.captured_at);
    out.extend_from_slice(br#"","position":""#);
    write_u64(out, caught.position.0);
    out.extend_from_slice(br#""}"#);
}

fn write_list<T>(out: &mut Vec<u8>, items: &[T], mut write_item: impl FnMut(&mut Vec<u8>, &T)) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_item(out, item);
    }
}

fn write_place(out: &mut Vec<u8>, place: Place) {
    out.extend_from_slice(br#","lat":"#);
    write_e7(out, place.lat_e7);
    out.extend_from_slice(br#","lon":"#);
    write_e7(out, place.lon_e7);
}

/// Degrees, exact to the place's 1e-7.
fn write_e7(out: &mut Vec<u8>, e7: i32) {
    if e7 < 0 {
        out.push(b'-');
    }
    let (degrees, mut fraction) = (e7.unsigned_abs() / 10_000_000, e7.unsigned_abs() % 10_000_000);
    write_u64(out, u64::from(degrees));
    let mut unit = 1_000_000;
    out.push(b'.');
    loop {
        out.push(b'0' + u8::try_from(fraction / unit).expect("the fraction is below ten units"));
        fraction %= unit;
        unit /= 10;
        if fraction == 0 {
            break;
        }
    }
}

fn write_u64(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

fn write_timestamp(out: &mut Vec<u8>, timestamp: Timestamp) {
    write!(out, "{timestamp}").expect("a vector takes all, and every timestamp has a date");
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a vector takes all, and a string is JSON");
}

#[cfg(test)]
mod tests {
    use super::super::ErrorCode;
    use super::*;

    fn written(reply: Reply<'_>) -> String {
        let mut out = Vec::new();
        write(&mut out, &reply);
        let text = String::from_utf8(out).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
        text
    }

    #[test]
    fn requests_are_read() {
        let here = Place::from_degrees(40.4168, -3.7038).unwrap();
        assert_eq!(
            read(r#"{"type":"look","lat":40.4168,"lon":-3.7038,"radius_m":200}"#).unwrap(),
            Request::Look { place: here, radius_m: 200.0 }
        );
        let attempt = Request::Attempt { attempt_id: AttemptId(1), fakemon_id: FakemonId(u64::MAX), place: here };
        for text in [
            r#"{"type":"attempt","attempt_id":"1","fakemon_id":"18446744073709551615","lat":40.4168,"lon":-3.7038}"#,
            r#"{"lon":-3.7038,"lat":40.4168,"fakemon_id":18446744073709551615,"attempt_id":1,"type":"attempt"}"#,
            r#" {"x":[{}],"type":"\u0061ttempt","attempt_id":"\u0031","fakemon_id":"18446744073709551615","lat":4.04168e1,"lon":-3.7038} "#,
        ] {
            assert_eq!(read(text).unwrap(), attempt, "{text}");
        }
        for (text, before) in [
            (r#"{"type":"collection"}"#, None),
            (r#"{"type":"collection","before":"0"}"#, None),
            (r#"{"type":"collection","before":"7"}"#, Some(Position(7))),
        ] {
            assert_eq!(read(text).unwrap(), Request::Collection { before });
        }
        let resume = Request::Resume { position: Position(123) };
        assert_eq!(read(r#"{"type":"resume","position":"123"}"#).unwrap(), resume);
    }

    #[test]
    fn nonsense_is_named_with_the_remedy() {
        let deep = "[".repeat(10_000);
        for (text, message) in [
            ("", "one JSON object"),
            ("[]", "one JSON object"),
            ("null", "one JSON object"),
            ("{} {}", "one JSON object"),
            (deep.as_str(), "one JSON object"),
            ("{}", "type must be"),
            (r#"{"type":"dance"}"#, "type must be"),
            (r#"{"type":7}"#, "type must be"),
            (r#"{"type":"collection","type":"collection"}"#, "stands there twice"),
            (r#"{"type":"collection","before":-1}"#, "before must be a decimal string"),
            (r#"{"type":"resume"}"#, "position must be a decimal string"),
            (r#"{"type":"look","lat":1,"lon":2}"#, "radius_m must be"),
            (r#"{"type":"look","lat":1,"lon":2,"radius_m":-1}"#, "radius_m must be"),
            (r#"{"type":"look","lat":"1","lon":2,"radius_m":1}"#, "lat must be a number"),
            (r#"{"type":"look","lat":91,"lon":2,"radius_m":1}"#, "lat must be a number from -90 to 90"),
            (r#"{"type":"look","lat":1,"lon":1e400,"radius_m":1}"#, "a number from -1.7e308"),
        ] {
            let bad = read(text).unwrap_err();
            assert!(bad.message.contains(message), "{text}: {bad}");
        }
    }

    #[test]
    fn ids_are_exact_or_refused_and_a_bad_attempt_is_named_by_its_id() {
        for id in ["-1", "1.0", "1e3", "18446744073709551616", "null", "true", "[1]", r#"{"a":1}"#]
            .into_iter()
            .chain([r#""-1""#, r#""+1""#, r#""01""#, r#""""#, r#"" 1""#, r#""1.5""#, r#""18446744073709551616""#])
        {
            let bad = read(&format!(r#"{{"type":"attempt","attempt_id":{id}}}"#)).unwrap_err();
            assert!(bad.message.starts_with("attempt_id must be a decimal string"), "{id}: {bad}");
            assert_eq!(bad.attempt_id, None);
            let text = format!(r#"{{"type":"attempt","attempt_id":"9","fakemon_id":{id},"lat":0,"lon":0}}"#);
            let bad = read(&text).unwrap_err();
            assert!(bad.message.starts_with("fakemon_id must be"), "{id}: {bad}");
            assert_eq!(bad.attempt_id, Some(AttemptId(9)));
        }
    }

    #[test]
    fn replies_are_written_as_promised() {
        let decision = |outcome| Decision {
            attempt_id: AttemptId(1),
            fakemon_id: FakemonId(42),
            outcome,
            position: Position(1001),
        };
        assert_eq!(
            written(Reply::Decided(decision(Outcome::Captured))),
            r#"{"type":"result","attempt_id":"1","fakemon_id":"42","outcome":"captured","position":"1001"}"#
        );
        assert_eq!(
            written(Reply::Decided(decision(Outcome::OutOfReach))),
            r#"{"type":"result","attempt_id":"1","fakemon_id":"42","outcome":"failed","reason":"out_of_reach","position":"1001"}"#
        );
        assert_eq!(
            written(Reply::Throttled {
                attempt_id: AttemptId(u64::MAX),
                fakemon_id: FakemonId(0),
                retry_after_ms: 20
            }),
            r#"{"type":"result","attempt_id":"18446744073709551615","fakemon_id":"0","outcome":"failed","reason":"throttled","retry_after_ms":20}"#
        );
        assert_eq!(
            written(Reply::Error {
                code: ErrorCode::BadMessage,
                message: "say \"look\"",
                attempt_id: Some(AttemptId(5))
            }),
            r#"{"type":"error","code":"bad_message","message":"say \"look\"","attempt_id":"5"}"#
        );
        let sighting = Sighting {
            fakemon_id: FakemonId(7),
            species: "spar\"kit".into(),
            place: Place { lat_e7: 404_168_000, lon_e7: -37_038_001 },
            vanishes_at: Timestamp(1),
        };
        let fields = r#""fakemon_id":"7","species":"spar\"kit","lat":40.4168,"lon":-3.7038001,"vanishes_at":"1970-01-01T00:00:00.000000001Z"}"#;
        assert_eq!(
            written(Reply::World(&[sighting.clone(), sighting.clone()])),
            format!(r#"{{"type":"world","fakemon":[{{{fields},{{{fields}]}}"#)
        );
        assert_eq!(written(Reply::Appeared(&sighting)), format!(r#"{{"type":"appeared",{fields}"#));
        assert_eq!(
            written(Reply::Resumed { position: Position(7), complete: false }),
            r#"{"type":"resumed","position":"7","complete":false}"#
        );
        assert_eq!(written(Reply::Vanished(FakemonId(3))), r#"{"type":"vanished","fakemon_id":"3"}"#);
        let caught = Caught {
            fakemon_id: FakemonId(3),
            species: "leaflet".into(),
            captured_at: Timestamp(2),
            position: Position(8),
        };
        assert_eq!(
            written(Reply::Collection { items: &[caught], more_before: Some(Position(8)) }),
            r#"{"type":"collection","items":[{"fakemon_id":"3","species":"leaflet","captured_at":"1970-01-01T00:00:00.000000002Z","position":"8"}],"more_before":"8"}"#
        );
    }

    #[test]
    fn degrees_are_written_exactly() {
        for (e7, text) in [
            (0, "0.0"),
            (1, "0.0000001"),
            (-1, "-0.0000001"),
            (10_000_000, "1.0"),
            (-1_800_000_000, "-180.0"),
            (404_168_000, "40.4168"),
        ] {
            let mut out = Vec::new();
            write_e7(&mut out, e7);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
