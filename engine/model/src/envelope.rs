//! How an event of the journal looks on a bus: the EventBridge envelope, with an id that is derived from the event's
//! position, so that a repeated or replayed delivery is recognised. A decided attempt is one record and two events:
//! that it was made, and how it ended.
//!
//! ```text
//! id     66616b65-PPPP-8000-8000-PPPPPPPPPPPP   a UUID (version 8) around the position in hexadecimal
//!        66616b65-PPPP-8000-8001-PPPPPPPPPPPP   that the attempt was made
//!        An event that rules hand on to another bus keeps its id there.
//! time   of events that a client put: as the sender says; of all others when their group was handed to the disk, by
//!        the wall clock. In whole seconds, as the service writes it: tools choke on more
//! fakemon-time   the same with nanoseconds: of events whose source is ours, and where a sender gave a fraction
//! ```

use crate::authorship::{OURS, SPAWN};
use crate::event::{DecidedAttempt, Event, Outcome};
pub use crate::ids::{EventKey, Facet};
use crate::ids::{PlayerId, Position, ShardId, SpeciesId, Timestamp, WHOLE_SECONDS};
use crate::place::Place;
use std::fmt::Write;

/// Source of attempts and collections.
pub const SOURCE_CAPTURE: &str = "fakemon.capture";
/// Source of what appears in the world and vanishes from it.
pub const SOURCE_WORLD: &str = SPAWN.0;
/// Source of what the engine reports about itself.
pub const SOURCE_ENGINE: &str = "fakemon.engine";
/// The detail-type of a change of a resource of the bus.
pub const RESOURCE_CHANGED: &str = "fakemon.resource_changed";
/// The detail-type of a command that is not valid.
pub const COMMAND_REFUSED: &str = "fakemon.command_refused";
/// Source of `fakemon.connected` and `fakemon.disconnected`; put by the player edge.
pub const SOURCE_CONNECTION: &str = "fakemon.connection";
/// Source of connections, messages and disconnections of the general endpoint; put by the player edge.
pub const SOURCE_MESSAGES: &str = "fakemon.connections";
/// The bus of the game.
pub const GAME_BUS: &str = "fakemon";
/// The bus of the engine, and of every event that names none.
pub const DEFAULT_BUS: &str = "default";
/// The account of every event.
pub const ACCOUNT: &str = "123456789012";
/// The region of events that come from no request.
pub const REGION: &str = "local";

/// The key of a resource without the revision that the deletion of a schedule may name.
pub fn plain_key(key: &str) -> &str {
    key.split_once('@').filter(|_| key.starts_with("schedule/")).map_or(key, |(plain, _)| plain)
}

const TEXT: &str = "text grows as long as there is memory";

/// The id of what happened at a position.
pub fn event_id(position: Position) -> String {
    EventKey::new(position, Facet::Happened).id()
}

/// The bus on which an event appears.
pub fn bus(event: &Event) -> &str {
    match event {
        Event::Put(put) => &put.bus,
        Event::Opened { .. } | Event::Changed { .. } => DEFAULT_BUS,
        Event::Attempt(_)
        | Event::Appeared { .. }
        | Event::Vanished { .. }
        | Event::PlayerNamed { .. }
        | Event::SpeciesNamed { .. } => GAME_BUS,
    }
}

/// The source and the detail-type of an event.
pub fn kind(event: &Event, facet: Facet) -> (&str, &str) {
    match event {
        Event::Attempt(_) if facet == Facet::Attempt => (SOURCE_CAPTURE, "fakemon.capture_attempt"),
        Event::Attempt(attempt) if attempt.outcome == Outcome::Captured => {
            (SOURCE_CAPTURE, "fakemon.capture_succeeded")
        }
        Event::Attempt(_) => (SOURCE_CAPTURE, "fakemon.capture_failed"),
        Event::PlayerNamed { .. } => (SOURCE_CAPTURE, "fakemon.player_named"),
        Event::Appeared { .. } => (SOURCE_WORLD, "fakemon.appeared"),
        Event::Vanished { .. } => (SOURCE_WORLD, "fakemon.vanished"),
        Event::SpeciesNamed { .. } => (SOURCE_WORLD, "fakemon.species_named"),
        Event::Opened { .. } => (SOURCE_ENGINE, "fakemon.engine_opened"),
        Event::Changed { .. } => (SOURCE_ENGINE, RESOURCE_CHANGED),
        Event::Put(put) => (&put.source, &put.detail_type),
    }
}

/// Whether an envelope, as [`Told::write`] makes it, is of an event that the engine reports about itself.
pub fn is_of_engine(envelope: &str) -> bool {
    let head = envelope.split_once(r#","account":""#).map(|(head, _)| head);
    head.and_then(|head| head.strip_suffix('"')?.strip_suffix(SOURCE_ENGINE))
        .is_some_and(|head| head.ends_with(r#","source":""#))
}

/// An event with its position.
#[derive(Clone, Copy)]
pub struct Told<'a> {
    /// Its place in the journal.
    pub position: Position,
    /// Which event of the record.
    pub facet: Facet,
    /// The shard that decided it.
    pub shard: ShardId,
    /// When its group was handed to the disk.
    pub committed_at: Timestamp,
    /// What happened.
    pub event: &'a Event,
    /// The replay that emitted it again.
    pub replay: Option<&'a str>,
}

impl Told<'_> {
    /// The moment in the envelope.
    pub fn time(&self) -> Timestamp {
        match self.event {
            Event::Put(put) => put.time,
            _ => self.committed_at,
        }
    }

    /// The key whose id the envelope shows: its own, or that of the event that rules handed on to this bus.
    pub fn key_of_id(&self) -> EventKey {
        let origin = match self.event {
            Event::Put(put) => put.origin,
            _ => None,
        };
        origin.unwrap_or(EventKey::new(self.position, self.facet))
    }

    /// Whether the envelope shows its time with nanoseconds too: always for the engine's own events. An event of
    /// another sender that has no fraction of a second gets the members of the service's envelope and no others.
    pub fn has_fraction(&self) -> bool {
        match self.event {
            Event::Put(put) if put.source.starts_with(OURS) => true,
            Event::Put(put) => put.time != put.at && put.schedule.is_none() && put.time.0 % 1_000_000_000 != 0,
            _ => true,
        }
    }

    /// Appends the envelope as JSON, names looked up with `player` and `species`.
    pub fn write<P: AsRef<str>, S: AsRef<str>>(
        &self,
        out: &mut String,
        player: impl Fn(PlayerId) -> Option<P>,
        species: impl Fn(SpeciesId) -> Option<S>,
    ) {
        let (source, detail_type) = kind(self.event, self.facet);
        out.push_str(r#"{"version":"0","id":""#);
        self.key_of_id().write_id(out);
        out.push_str(r#"","detail-type":"#);
        write_text(out, detail_type);
        out.push_str(r#","source":"#);
        write_text(out, source);
        write!(out, r#","account":"{ACCOUNT}","time":""#).expect(TEXT);
        let (start, time) = (out.len(), self.time());
        write!(out, "{time}").expect(TEXT);
        out.truncate(start + WHOLE_SECONDS);
        if self.has_fraction() {
            write!(out, r#"Z","fakemon-time":"{time}","region":"#).expect(TEXT);
        } else {
            out.push_str(r#"Z","region":"#);
        }
        match self.event {
            Event::Put(put) => write_text(out, &put.region),
            _ => write_text(out, REGION),
        }
        out.push_str(r#","resources":["#);
        if let Event::Put(put) = self.event {
            for (index, resource) in put.resources.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_text(out, resource);
            }
        }
        out.push(']');
        if let Some(replay) = self.replay {
            out.push_str(r#","replay-name":"#);
            write_text(out, replay);
        }
        out.push_str(r#","detail":"#);
        match self.event {
            Event::Put(put) => out.push_str(&put.detail),
            event => {
                let mut detail = Members::open(out);
                self.write_detail(&mut detail, event, player, species);
                detail.display("position", Quoted(self.position));
                detail.display("shard", self.shard.0);
                detail.close();
            }
        }
        out.push('}');
    }

    /// The envelope as JSON.
    pub fn envelope<P: AsRef<str>, S: AsRef<str>>(
        &self,
        player: impl Fn(PlayerId) -> Option<P>,
        species: impl Fn(SpeciesId) -> Option<S>,
    ) -> String {
        let mut out = String::with_capacity(700);
        self.write(&mut out, player, species);
        out
    }

    fn write_detail<P: AsRef<str>, S: AsRef<str>>(
        &self,
        detail: &mut Members<'_>,
        event: &Event,
        player_name: impl Fn(PlayerId) -> Option<P>,
        species_name: impl Fn(SpeciesId) -> Option<S>,
    ) {
        match event {
            Event::Attempt(attempt) => {
                detail.display("attempt_id", Quoted(attempt.attempt_id));
                detail.name("player", player_name(attempt.player));
                detail.display("fakemon_id", Quoted(attempt.fakemon_id));
                if self.facet == Facet::Happened {
                    detail.name("species", species_name(attempt.species));
                }
                detail.place(attempt.place);
                self.write_stages(detail, attempt);
                match (self.facet, attempt.outcome) {
                    (Facet::Attempt, _) | (Facet::Happened, Outcome::Captured) => {}
                    (Facet::Happened, failed) => detail.text("reason", failed.name()),
                }
            }
            Event::Appeared { fakemon_id, species, place, catch_rate, at, vanishes_at } => {
                detail.display("fakemon_id", Quoted(fakemon_id));
                detail.name("species", species_name(*species));
                detail.place(*place);
                detail.display("catch_rate", catch_rate.fraction());
                detail.display("appeared_at", Quoted(at));
                detail.display("vanishes_at", Quoted(vanishes_at));
            }
            Event::Vanished { fakemon_id, species, place, at, vanishes_at } => {
                detail.display("fakemon_id", Quoted(fakemon_id));
                detail.name("species", species_name(*species));
                detail.place(*place);
                detail.display("vanishes_at", Quoted(vanishes_at));
                detail.display("vanished_at", Quoted(at));
            }
            Event::PlayerNamed { player, name } => {
                detail.text("player", name);
                detail.display("number", player);
            }
            Event::SpeciesNamed { species, name } => {
                detail.text("species", name);
                detail.display("number", species);
            }
            Event::Opened { at, world_seed, reach_mm, cores, durable } => {
                detail.display("opened_at", Quoted(at));
                detail.display("world_seed", Quoted(world_seed));
                detail.display("reach_m", f64::from(*reach_mm) / 1_000.0);
                detail.display("cores", cores);
                detail.text("durability", if *durable { "synced" } else { "unsynced" });
            }
            Event::Changed { at, key, value } => {
                detail.display("changed_at", Quoted(at));
                detail.text("resource", plain_key(key));
                detail.text("change", if value.is_some() { "put" } else { "deleted" });
            }
            Event::Put(_) => unreachable!("its detail is given"),
        }
    }

    /// Writes when the attempt passed each stage; the event that it was made has only `received_at`.
    fn write_stages(&self, detail: &mut Members<'_>, attempt: &DecidedAttempt) {
        detail.display("received_at", Quoted(attempt.received_at));
        if self.facet == Facet::Happened {
            detail.display("queued_at", Quoted(attempt.queued_at()));
            detail.display("decided_at", Quoted(attempt.decided_at()));
            if attempt.outcome == Outcome::Captured {
                detail.display("captured_at", Quoted(attempt.decided_at()));
            }
        }
    }
}

/// Members of a JSON object, one after the other.
struct Members<'o> {
    out: &'o mut String,
    first: bool,
}

/// Shown between quotation marks; holds none itself.
struct Quoted<T>(T);

impl<T: std::fmt::Display> std::fmt::Display for Quoted<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

impl<'o> Members<'o> {
    fn open(out: &'o mut String) -> Members<'o> {
        out.push('{');
        Members { out, first: true }
    }

    fn member(&mut self, name: &str) {
        if !std::mem::take(&mut self.first) {
            self.out.push(',');
        }
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":");
    }

    fn display(&mut self, name: &str, value: impl std::fmt::Display) {
        self.member(name);
        write!(self.out, "{value}").expect(TEXT);
    }

    fn text(&mut self, name: &str, text: &str) {
        self.member(name);
        write_text(self.out, text);
    }

    fn name(&mut self, name: &str, text: Option<impl AsRef<str>>) {
        match text {
            Some(text) => self.text(name, text.as_ref()),
            None => self.display(name, "null"),
        }
    }

    fn place(&mut self, place: Place) {
        self.display("lat", place.lat());
        self.display("lon", place.lon());
    }

    fn close(self) {
        self.out.push('}');
    }
}

/// A JSON string.
fn write_text(out: &mut String, text: &str) {
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::to_string(text).expect("text can always be written"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::CaptureAttempt;
    use crate::ids::{AttemptId, FakemonId};

    #[test]
    fn an_id_holds_the_whole_position_and_the_facet() {
        assert_eq!(event_id(Position(1)), "66616b65-0000-8000-8000-000000000001");
        assert_eq!(event_id(Position(u64::MAX >> 1)), "66616b65-7fff-8000-8000-ffffffffffff");
        for position in [1, 77, 1 << 50] {
            for facet in [Facet::Attempt, Facet::Happened] {
                let key = EventKey::new(Position(position), facet);
                assert_eq!(EventKey::of_id(&key.id()), Some(key));
            }
        }
        assert_eq!(EventKey::of_id("66616b65-0000-8000-8002-000000000001"), None);
    }

    fn ended(outcome: Outcome) -> Event {
        let attempt = CaptureAttempt {
            player: PlayerId(7),
            attempt_id: AttemptId(1),
            fakemon_id: FakemonId(42),
            place: Place::from_degrees(40.4168, -3.7038).unwrap(),
            received_at: Timestamp(1),
        };
        let (queued_after_ns, decided_after_ns) = (1, 2);
        Event::Attempt(DecidedAttempt { attempt, outcome, species: SpeciesId(0), queued_after_ns, decided_after_ns })
    }

    fn told(event: &Event, facet: Facet) -> serde_json::Value {
        let (position, shard) = (Position(9), ShardId(1));
        let told = Told { position, facet, shard, committed_at: Timestamp(4), event, replay: None };
        serde_json::from_str(&told.envelope(|_| Some("ash \"k\""), |_| Some("sparkit"))).unwrap()
    }

    #[test]
    fn an_attempt_is_told_as_its_attempt_and_as_how_it_ended() {
        let attempt = told(&ended(Outcome::Dodged), Facet::Attempt);
        assert_eq!(attempt["detail-type"], "fakemon.capture_attempt");
        assert_eq!(attempt["detail"]["reason"], serde_json::Value::Null);
        let failed = told(&ended(Outcome::Dodged), Facet::Happened);
        assert_eq!(failed["detail-type"], "fakemon.capture_failed");
        assert_eq!(failed["source"], "fakemon.capture");
        assert_eq!(failed["time"], "1970-01-01T00:00:00Z");
        assert_eq!(failed["fakemon-time"], "1970-01-01T00:00:00.000000004Z");
        assert_eq!(failed["detail"]["player"], "ash \"k\"");
        assert_eq!(failed["detail"]["reason"], "dodged");
        assert_eq!(failed["detail"]["fakemon_id"], "42");
        assert_eq!(failed["detail"]["lat"], 40.4168);
        assert_eq!(failed["detail"]["position"], "9");
        let caught = told(&ended(Outcome::Captured), Facet::Happened);
        assert_eq!(caught["detail"]["captured_at"], "1970-01-01T00:00:00.000000003Z");
        assert_ne!(attempt["id"], failed["id"]);
    }

    #[test]
    fn who_speaks_is_seen_in_the_envelope() {
        let envelope = |event: &Event| {
            let (position, shard, facet) = (Position(9), ShardId(1), Facet::Happened);
            let told = Told { position, facet, shard, committed_at: Timestamp(4), event, replay: None };
            told.envelope(|_| Some(""), |_| Some(""))
        };
        let changed = Event::Changed { at: Timestamp(1), key: "queue/q".into(), value: None };
        assert!(is_of_engine(&envelope(&changed)));
        assert!(!is_of_engine(&envelope(&ended(Outcome::Dodged))));
        let put = |source: &str, detail_type: &str| {
            let (source, detail_type) = (source.to_owned(), detail_type.to_owned());
            envelope(&Event::Put(Box::new(crate::event::Put {
                at: Timestamp(1),
                time: Timestamp(1),
                bus: "default".into(),
                source,
                detail_type,
                detail: "{}".into(),
                resources: Vec::new(),
                region: REGION.into(),
                cause: None,
                hops: 0,
                by: None,
                origin: None,
                trace: None,
                schedule: None,
            })))
        };
        assert!(is_of_engine(&put(SOURCE_ENGINE, "fakemon.dead_letter")));
        assert!(!is_of_engine(&put("shop", r#"x","source":"fakemon.engine","account":""#)));
        assert!(!is_of_engine(&put(r#"x","source":"fakemon.engine"#, "x")));
    }
}
