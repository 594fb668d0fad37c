//! Messages as FlatBuffers, subprotocol `fakemon.v1.fb`: the messages of [`json`](super::json), field for field.

use super::{BadMessage, Reply, Request, look, place, position};
use fakemon_fbs::{Malformed, play as wire};
use fakemon_model::event::{Caught, Outcome, Sighting};
use fakemon_model::ids::{AttemptId, FakemonId, Position};
use fakemon_model::limits::LOOK_FAKEMON_MAX;

/// Parses one message of a player.
pub fn read(bytes: &[u8]) -> Result<Request, BadMessage> {
    match wire::read_request(bytes).map_err(|error| not_a_message(&error))? {
        wire::Request::Look { lat, lon, radius_m } => look(lat, lon, radius_m),
        wire::Request::Attempt { attempt_id, fakemon_id, lat, lon } => {
            let attempt_id = AttemptId(attempt_id);
            Ok(Request::Attempt {
                attempt_id,
                fakemon_id: FakemonId(fakemon_id),
                place: place(lat, lon).map_err(|bad| bad.about(attempt_id))?,
            })
        }
        wire::Request::Collection { before } => Ok(Request::Collection { before: position(before) }),
        wire::Request::Resume { position } => Ok(Request::Resume { position: Position(position) }),
    }
}

/// The verifier's words name offsets of its own, which help no sender.
fn not_a_message(error: &Malformed) -> BadMessage {
    match error {
        Malformed::Structure(_) => BadMessage::new(
            "a message must be one FlatBuffer with a Request of play.fbs as its root, without a size before it: write \
             it with the code that flatc makes of that file",
        ),
        Malformed::Value(what) => BadMessage::new(*what),
    }
}

/// Encodes one message of the server.
pub fn write<'w>(writer: &'w mut wire::Writer, reply: &Reply<'_>) -> &'w [u8] {
    match *reply {
        Reply::World(fakemon) => writer.world(fakemon.iter().map(sighting), fakemon.len() >= LOOK_FAKEMON_MAX),
        Reply::Appeared(appeared) => writer.appeared(sighting(appeared)),
        Reply::Vanished(fakemon_id) => writer.vanished(fakemon_id.0),
        Reply::Decided(decision) => writer.attempt_result(&wire::AttemptResult {
            attempt_id: decision.attempt_id.0,
            fakemon_id: decision.fakemon_id.0,
            outcome: outcome(decision.outcome),
            position: decision.position.0,
            retry_after_ms: 0,
        }),
        Reply::Throttled { attempt_id, fakemon_id, retry_after_ms } => writer.attempt_result(&wire::AttemptResult {
            attempt_id: attempt_id.0,
            fakemon_id: fakemon_id.0,
            outcome: wire::Outcome::Throttled,
            position: 0,
            retry_after_ms,
        }),
        Reply::Collection { items, more_before } => {
            writer.collection(items.iter().map(caught), more_before.map_or(0, |position| position.0))
        }
        Reply::Resumed { position, complete } => writer.resumed(position.0, complete),
        Reply::Error { code, message, attempt_id } => {
            writer.error(code.name(), message, attempt_id.map(|attempt_id| attempt_id.0))
        }
    }
}

fn outcome(outcome: Outcome) -> wire::Outcome {
    match outcome {
        Outcome::Captured => wire::Outcome::Captured,
        Outcome::AlreadyCaptured => wire::Outcome::AlreadyCaptured,
        Outcome::Dodged => wire::Outcome::Dodged,
        Outcome::Vanished => wire::Outcome::Vanished,
        Outcome::OutOfReach => wire::Outcome::OutOfReach,
        Outcome::UnknownFakemon => wire::Outcome::UnknownFakemon,
    }
}

fn sighting(sighting: &Sighting) -> wire::Sighting<'_> {
    wire::Sighting {
        fakemon_id: sighting.fakemon_id.0,
        species: &sighting.species,
        lat: sighting.place.lat(),
        lon: sighting.place.lon(),
        vanishes_at_ns: sighting.vanishes_at.0,
    }
}

fn caught(caught: &Caught) -> wire::Caught<'_> {
    wire::Caught {
        fakemon_id: caught.fakemon_id.0,
        species: &caught.species,
        captured_at_ns: caught.captured_at.0,
        position: caught.position.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fakemon_model::event::Decision;

    #[test]
    fn numbers_that_are_no_place_are_refused() {
        let mut writer = wire::Writer::default();
        for (lat, lon) in [(f64::NAN, 0.0), (0.0, f64::INFINITY), (90.1, 0.0), (0.0, -181.0)] {
            let attempt = wire::Request::Attempt { attempt_id: 4, fakemon_id: 1, lat, lon };
            assert_eq!(read(writer.request(&attempt)).unwrap_err().attempt_id, Some(AttemptId(4)));
        }
        for radius_m in [f64::NAN, f64::INFINITY, -1.0] {
            let (lat, lon) = (0.0, 0.0);
            let bad = read(writer.request(&wire::Request::Look { lat, lon, radius_m })).unwrap_err();
            assert!(bad.message.starts_with("radius_m"), "{bad}");
        }
        assert!(read(b"garbage that is long enough").is_err());
    }

    #[test]
    fn every_outcome_has_its_word() {
        let mut writer = wire::Writer::default();
        for (code, outcome) in (0..).zip(Outcome::ALL) {
            let decision =
                Decision { attempt_id: AttemptId(1), fakemon_id: FakemonId(2), outcome, position: Position(3) };
            let bytes = write(&mut writer, &Reply::Decided(decision));
            let Ok(wire::Reply::AttemptResult(result)) = wire::read_reply(bytes) else {
                panic!("{outcome:?}");
            };
            assert_eq!((result.outcome.0, result.position), (code, 3));
        }
    }
}
