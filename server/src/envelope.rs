//! How an event of the journal looks to the world: the EventBridge envelope, with an id that is derived from the
//! event's position, so that delivered again or replayed it is recognised.
//!
//! ```text
//! id          66616b65-PPPP-8000-8000-PPPPPPPPPPPP   a UUID (version 8) around the position in hexadecimal
//! time        when the event's group was handed to the disk: never goes back from one event to the next
//! ```

use fakemon_engine::ids::{PlayerId, Position, ShardId, SpeciesId, Timestamp};
use fakemon_engine::model::{Event, Outcome};
use fakemon_engine::place::Place;
use serde_json::{Map, Value, json};

/// What the game says of throws and collections.
pub const SOURCE_CAPTURE: &str = "fakemon.capture";
/// What the game says of the world.
pub const SOURCE_WORLD: &str = "fakemon.world";
/// What the engine says of itself.
pub const SOURCE_ENGINE: &str = "fakemon.engine";
/// The account of every event.
pub const ACCOUNT: &str = "123456789012";

/// The id of the event at a position: the record itself, as `fakemon log` shows it.
pub fn event_id(position: Position) -> String {
    let high = position.0 >> 48;
    let low = position.0 & 0xFFFF_FFFF_FFFF;
    format!("66616b65-{high:04x}-8000-8000-{low:012x}")
}

/// An event and where it stands, with what turns its numbers into names.
#[derive(Clone, Copy)]
pub struct Told<'a> {
    /// Its place in the journal.
    pub position: Position,
    /// Who decided it.
    pub shard: ShardId,
    /// When its group was handed to the disk.
    pub committed_at: Timestamp,
    /// What happened.
    pub event: &'a Event,
}

impl Told<'_> {
    /// The envelope, names looked up with `player` and `species`.
    pub fn envelope<'n>(
        &self,
        player: impl Fn(PlayerId) -> Option<&'n str>,
        species: impl Fn(SpeciesId) -> Option<&'n str>,
    ) -> Value {
        let (source, detail_type) = kind(self.event);
        let mut detail = detail(self.event, player, species);
        detail.insert("position".into(), self.position.to_string().into());
        detail.insert("shard".into(), self.shard.0.into());
        json!({
            "version": "0",
            "id": event_id(self.position),
            "detail-type": detail_type,
            "source": source,
            "account": ACCOUNT,
            "time": self.committed_at.to_string(),
            "region": "local",
            "resources": [],
            "detail": detail,
        })
    }
}

/// The source and the detail-type of an event.
pub fn kind(event: &Event) -> (&'static str, &'static str) {
    match event {
        Event::Attempt { outcome: Outcome::Captured, .. } => (SOURCE_CAPTURE, "fakemon.capture_succeeded"),
        Event::Attempt { .. } => (SOURCE_CAPTURE, "fakemon.capture_failed"),
        Event::PlayerNamed { .. } => (SOURCE_CAPTURE, "fakemon.player_named"),
        Event::Appeared { .. } => (SOURCE_WORLD, "fakemon.appeared"),
        Event::Vanished { .. } => (SOURCE_WORLD, "fakemon.vanished"),
        Event::SpeciesNamed { .. } => (SOURCE_WORLD, "fakemon.species_named"),
        Event::Opened { .. } => (SOURCE_ENGINE, "fakemon.engine_opened"),
    }
}

fn detail<'n>(
    event: &Event,
    player_name: impl Fn(PlayerId) -> Option<&'n str>,
    species_name: impl Fn(SpeciesId) -> Option<&'n str>,
) -> Map<String, Value> {
    let value = match event {
        Event::Attempt {
            player,
            attempt_id,
            fakemon_id,
            species,
            place,
            outcome,
            received_at,
            queued_at,
            decided_at,
        } => {
            let mut detail = object(json!({
                "attempt_id": attempt_id.to_string(),
                "player": player_name(*player),
                "fakemon_id": fakemon_id.to_string(),
                "species": species_name(*species),
                "received_at": received_at.to_string(),
                "queued_at": queued_at.to_string(),
                "decided_at": decided_at.to_string(),
            }));
            put_place(&mut detail, *place);
            match outcome {
                Outcome::Captured => detail.insert("captured_at".into(), decided_at.to_string().into()),
                failed => detail.insert("reason".into(), failed.name().into()),
            };
            return detail;
        }
        Event::Appeared { fakemon_id, species, place, catch_rate, at, vanishes_at } => {
            let mut detail = object(json!({
                "fakemon_id": fakemon_id.to_string(),
                "species": species_name(*species),
                "catch_rate": catch_rate.fraction(),
                "appeared_at": at.to_string(),
                "vanishes_at": vanishes_at.to_string(),
            }));
            put_place(&mut detail, *place);
            return detail;
        }
        Event::Vanished { fakemon_id, species, place, at, vanishes_at } => {
            let mut detail = object(json!({
                "fakemon_id": fakemon_id.to_string(),
                "species": species_name(*species),
                "vanishes_at": vanishes_at.to_string(),
                "vanished_at": at.to_string(),
            }));
            put_place(&mut detail, *place);
            return detail;
        }
        Event::PlayerNamed { player, name } => json!({ "player": name, "number": player.0 }),
        Event::SpeciesNamed { species, name } => json!({ "species": name, "number": species.0 }),
        Event::Opened { at, world_seed, reach_mm, cores, durable } => json!({
            "opened_at": at.to_string(),
            "world_seed": world_seed.to_string(),
            "reach_m": f64::from(*reach_mm) / 1_000.0,
            "cores": cores,
            "durability": if *durable { "synced" } else { "unsynced" },
        }),
    };
    object(value)
}

fn put_place(detail: &mut Map<String, Value>, place: Place) {
    detail.insert("lat".into(), place.lat().into());
    detail.insert("lon".into(), place.lon().into());
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => unreachable!("every detail above is written as an object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fakemon_engine::ids::{AttemptId, FakemonId};

    #[test]
    fn an_id_holds_the_whole_position() {
        assert_eq!(event_id(Position(1)), "66616b65-0000-8000-8000-000000000001");
        assert_eq!(event_id(Position(u64::MAX)), "66616b65-ffff-8000-8000-ffffffffffff");
    }

    #[test]
    fn a_throw_is_told_with_names_and_strings_for_ids() {
        let event = Event::Attempt {
            player: PlayerId(7),
            attempt_id: AttemptId(1),
            fakemon_id: FakemonId(42),
            species: SpeciesId(0),
            place: Place::from_degrees(40.4168, -3.7038).unwrap(),
            outcome: Outcome::Dodged,
            received_at: Timestamp(1),
            queued_at: Timestamp(2),
            decided_at: Timestamp(3),
        };
        let told = Told { position: Position(9), shard: ShardId(1), committed_at: Timestamp(4), event: &event };
        let envelope = told.envelope(|_| Some("ash"), |_| Some("sparkit"));
        assert_eq!(envelope["detail-type"], "fakemon.capture_failed");
        assert_eq!(envelope["source"], "fakemon.capture");
        assert_eq!(envelope["time"], "1970-01-01T00:00:00.000000004Z");
        assert_eq!(envelope["detail"]["player"], "ash");
        assert_eq!(envelope["detail"]["reason"], "dodged");
        assert_eq!(envelope["detail"]["fakemon_id"], "42");
        assert_eq!(envelope["detail"]["lat"], 40.4168);
        assert_eq!(envelope["detail"]["position"], "9");
    }
}
