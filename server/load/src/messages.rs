//! The player's messages as the generator writes and reads them, as JSON or as FlatBuffers. At a million messages per
//! second a general JSON parser would be most of the load, so attempts are written digit by digit, and results are
//! parsed in exactly the form that the server writes; a result in any other valid form takes the general parser.

use crate::frames::{self, Frame, Masks, Opcode};
use fakemon_fbs::play;
use fakemon_model::event::Outcome;
use fakemon_model::ids::{AttemptId, FakemonId, Position};
use fakemon_model::place::Place;
use fakemon_protocol::Subprotocol;
use serde::Deserialize;

/// An attempt to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) attempt_id: AttemptId,
    pub(crate) fakemon_id: FakemonId,
    pub(crate) place: Place,
}

/// The result of an attempt; a throttled one was not decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Decided { outcome: Outcome, position: Position },
    Throttled,
}

/// The answer to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) attempt_id: AttemptId,
    pub(crate) fakemon_id: FakemonId,
    pub(crate) verdict: Verdict,
}

/// Writes attempts.
pub(crate) enum Writer {
    Json,
    FlatBuffers(Box<play::Writer>),
}

impl Writer {
    pub(crate) fn new(subprotocol: Subprotocol) -> Writer {
        match subprotocol {
            Subprotocol::Json => Writer::Json,
            Subprotocol::FlatBuffers => Writer::FlatBuffers(Box::default()),
        }
    }

    /// Appends an attempt as one frame.
    #[inline]
    pub(crate) fn append_attempt(&mut self, out: &mut Vec<u8>, masks: &mut Masks, request: &Request) {
        match self {
            Writer::Json => frames::append(out, Opcode::Text, masks, |out| append_json(out, request)),
            Writer::FlatBuffers(writer) => {
                let bytes = writer.request(&play::Request::Attempt {
                    attempt_id: request.attempt_id.0,
                    fakemon_id: request.fakemon_id.0,
                    lat: request.place.lat(),
                    lon: request.place.lon(),
                });
                frames::append(out, Opcode::Binary, masks, |out| out.extend_from_slice(bytes));
            }
        }
    }
}

#[inline]
fn append_json(out: &mut Vec<u8>, request: &Request) {
    out.extend_from_slice(br#"{"type":"attempt","attempt_id":""#);
    append_decimal(out, request.attempt_id.0);
    out.extend_from_slice(br#"","fakemon_id":""#);
    append_decimal(out, request.fakemon_id.0);
    out.extend_from_slice(br#"","lat":"#);
    append_degrees(out, request.place.lat_e7);
    out.extend_from_slice(br#","lon":"#);
    append_degrees(out, request.place.lon_e7);
    out.push(b'}');
}

fn append_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Ten-millionths of a degree, as degrees.
fn append_degrees(out: &mut Vec<u8>, e7: i32) {
    if e7 < 0 {
        out.push(b'-');
    }
    let e7 = e7.unsigned_abs();
    append_decimal(out, u64::from(e7 / 10_000_000));
    let mut fraction = *b".0000000";
    let mut rest = e7 % 10_000_000;
    for digit in fraction[1..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&fraction);
}

/// A message of the server, as far as the generator needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The answer to an attempt.
    Answer(Answer),
    /// `appeared`, `vanished`, `world`, `collection`: not requested while it measures.
    Other,
    /// An error, or an invalid message, as text.
    Wrong(String),
}

/// Parses the message in a frame; none for control frames.
#[inline]
pub(crate) fn read_frame(frame: &Frame<'_>) -> Option<Message> {
    match frame.opcode {
        Opcode::Text => Some(read(frame.payload)),
        Opcode::Binary => Some(read_flat(frame.payload)),
        Opcode::Close | Opcode::Ping | Opcode::Pong => None,
    }
}

fn read_flat(payload: &[u8]) -> Message {
    match play::read_reply(payload) {
        Ok(play::Reply::AttemptResult(result)) => {
            let outcome = Outcome::ALL.get(usize::from(result.outcome.0));
            let decided =
                |outcome: &Outcome| Verdict::Decided { outcome: *outcome, position: Position(result.position) };
            Message::Answer(Answer {
                attempt_id: AttemptId(result.attempt_id),
                fakemon_id: FakemonId(result.fakemon_id),
                verdict: outcome.map_or(Verdict::Throttled, decided),
            })
        }
        Ok(play::Reply::Error { code, message, .. }) => {
            Message::Wrong(format!("the server answered {code}: {message}"))
        }
        Ok(_) => Message::Other,
        Err(error) => Message::Wrong(format!("the server sent no message of the protocol ({error})")),
    }
}

/// Parses a message in JSON.
#[inline]
pub(crate) fn read(payload: &[u8]) -> Message {
    match read_result(payload) {
        Some(answer) => Message::Answer(answer),
        None => read_any(payload),
    }
}

/// Parses a result in exactly the form that the server writes.
#[inline]
fn read_result(payload: &[u8]) -> Option<Answer> {
    let rest = payload.strip_prefix(br#"{"type":"result","attempt_id":""#)?;
    let (attempt_id, rest) = take_decimal(rest)?;
    let rest = rest.strip_prefix(br#"","fakemon_id":""#)?;
    let (fakemon_id, rest) = take_decimal(rest)?;
    let rest = rest.strip_prefix(br#"","outcome":""#)?;
    let (outcome, rest) = match rest.strip_prefix(br#"failed","reason":""#) {
        None => (Outcome::Captured, rest.strip_prefix(br#"captured""#)?),
        Some(rest) => {
            let end = rest.iter().position(|byte| *byte == b'"')?;
            (reason(&rest[..end])?, &rest[end + 1..])
        }
    };
    let (position, rest) = take_decimal(rest.strip_prefix(br#","position":""#)?)?;
    (rest == br#""}"#).then_some(Answer {
        attempt_id: AttemptId(attempt_id),
        fakemon_id: FakemonId(fakemon_id),
        verdict: Verdict::Decided { outcome, position: Position(position) },
    })
}

/// The outcome that a reason names.
fn reason(word: &[u8]) -> Option<Outcome> {
    let failed = |outcome: &Outcome| *outcome != Outcome::Captured && outcome.name().as_bytes() == word;
    Outcome::ALL.into_iter().find(failed)
}

fn take_decimal(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    let mut length = 0;
    while let Some(digit @ b'0'..=b'9') = bytes.get(length) {
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        length += 1;
    }
    (length > 0).then(|| (value, &bytes[length..]))
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Any<'a> {
    Result {
        attempt_id: &'a str,
        fakemon_id: &'a str,
        outcome: &'a str,
        reason: Option<&'a str>,
        position: Option<&'a str>,
    },
    World {},
    Appeared {},
    Vanished {},
    Collection {},
    Error {
        code: String,
        message: String,
    },
}

#[cold]
fn read_any(payload: &[u8]) -> Message {
    let wrong = |why: &str| {
        let text = String::from_utf8_lossy(&payload[..payload.len().min(300)]);
        Message::Wrong(format!("{why}: {text}"))
    };
    match serde_json::from_slice(payload) {
        Ok(Any::Result { attempt_id, fakemon_id, outcome, reason, position }) => {
            match general_answer(attempt_id, fakemon_id, outcome, reason, position) {
                Some(answer) => Message::Answer(answer),
                None => wrong("the server sent a result that says nothing"),
            }
        }
        Ok(Any::Error { code, message }) => Message::Wrong(format!("the server answered {code}: {message}")),
        Ok(_) => Message::Other,
        Err(error) => wrong(&format!("the server sent no message of the protocol ({error})")),
    }
}

fn general_answer(
    attempt_id: &str,
    fakemon_id: &str,
    outcome: &str,
    why: Option<&str>,
    position: Option<&str>,
) -> Option<Answer> {
    let outcome = match (outcome, why) {
        ("captured", None) => Some(Outcome::Captured),
        ("failed", Some("throttled")) => None,
        ("failed", Some(word)) => Some(reason(word.as_bytes())?),
        _ => return None,
    };
    let verdict = match outcome {
        None => Verdict::Throttled,
        Some(outcome) => Verdict::Decided { outcome, position: Position(position?.parse().ok()?) },
    };
    Some(Answer {
        attempt_id: AttemptId(attempt_id.parse().ok()?),
        fakemon_id: FakemonId(fakemon_id.parse().ok()?),
        verdict,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::Masks;

    #[test]
    fn an_attempt_is_valid_json_that_says_the_same() {
        for (lat, lon) in [(40.4168, -3.7038), (-0.0000001, 179.9999999), (0.0, -0.5)] {
            let request = Request {
                attempt_id: AttemptId(u64::MAX),
                fakemon_id: FakemonId(0),
                place: Place::from_degrees(lat, lon).unwrap(),
            };
            let mut out = Vec::new();
            Writer::new(Subprotocol::Json).append_attempt(&mut out, &mut Masks::new(1), &request);
            let header = if out[1] & 0x7F == 126 { 8 } else { 6 };
            let mask = out[header - 4..header].to_vec();
            let text: Vec<u8> =
                out[header..].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
            let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(json["attempt_id"], u64::MAX.to_string());
            assert_eq!(json["fakemon_id"], "0");
            assert_eq!((json["lat"].as_f64(), json["lon"].as_f64()), (Some(lat), Some(lon)));
        }
    }

    #[test]
    fn both_ways_of_reading_a_result_agree() {
        for outcome in Outcome::ALL {
            let ending = match outcome {
                Outcome::Captured => r#""outcome":"captured""#.to_owned(),
                other => format!(r#""outcome":"failed","reason":"{}""#, other.name()),
            };
            let quick = format!(r#"{{"type":"result","attempt_id":"7","fakemon_id":"42",{ending},"position":"9"}}"#);
            let other = format!(r#"{{"position":"9",{ending}, "fakemon_id":"42","attempt_id":"7","type":"result"}}"#);
            let answer = read_result(quick.as_bytes()).unwrap();
            assert_eq!(read_result(other.as_bytes()), None);
            assert_eq!(read(other.as_bytes()), Message::Answer(answer));
            assert_eq!(answer.verdict, Verdict::Decided { outcome, position: Position(9) });
        }
    }

    #[test]
    fn flatbuffers_say_the_same() {
        let mut writer = play::Writer::default();
        for (number, outcome) in Outcome::ALL.into_iter().enumerate() {
            let result = play::AttemptResult {
                attempt_id: 7,
                fakemon_id: 42,
                outcome: play::Outcome(number as u8),
                position: 9,
                retry_after_ms: 0,
            };
            let Message::Answer(answer) = read_flat(writer.attempt_result(&result)) else { panic!("{outcome:?}") };
            let position = Position(9);
            assert_eq!(answer.verdict, Verdict::Decided { outcome, position });
        }
        assert!(matches!(read_flat(writer.error("bad_message", "no", None)), Message::Wrong(_)));
        assert!(matches!(read_flat(b"nonsense"), Message::Wrong(_)));
    }

    #[test]
    fn what_is_no_result_is_told_apart() {
        let throttled = br#"{"type":"result","attempt_id":"7","fakemon_id":"42","outcome":"failed","reason":"throttled","retry_after_ms":20}"#;
        assert!(matches!(read(throttled), Message::Answer(Answer { verdict: Verdict::Throttled, .. })));
        assert_eq!(read(br#"{"type":"vanished","fakemon_id":"3"}"#), Message::Other);
        for wrong in [
            &br#"{"type":"error","code":"bad_message","message":"no"}"#[..],
            br#"{"type":"result","attempt_id":"7","fakemon_id":"42","outcome":"captured"}"#,
            br#"{"type":"result","attempt_id":"7","fakemon_id":"42","outcome":"failed","reason":"captured","position":"1"}"#,
            br#"{"type":"result","attempt_id":"99999999999999999999","fakemon_id":"42","outcome":"captured","position":"1"}"#,
            b"",
            b"\xFF\xFE",
        ] {
            assert!(matches!(read(wrong), Message::Wrong(_)), "{}", String::from_utf8_lossy(wrong));
        }
    }
}
