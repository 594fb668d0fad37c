//! Events as the journal has them: from decisions to records, and back.

use crate::population::{Change, Fakemon, StateHash};
use fakemon_fbs::journal as wire;
use fakemon_model::event::{CaptureAttempt, DecidedAttempt, Event, Outcome, Put};
use fakemon_model::ids::{Ahead, AttemptId, EventKey, FakemonId, PlayerId, Position, SpeciesId, Timestamp};
use fakemon_model::place::Place;
use fakemon_model::species::CatchRate;

/// Nanoseconds between two moments, at most `u32::MAX` (4.29 s), as records store them.
#[inline]
pub fn short_ns(from: Timestamp, to: Timestamp) -> u32 {
    u32::try_from(to.ns_since(from)).unwrap_or(u32::MAX)
}

/// The record of an attempt.
#[inline]
pub fn attempt_record(decided: &DecidedAttempt) -> wire::Attempt {
    let CaptureAttempt { player, attempt_id, fakemon_id, place, received_at } = decided.attempt;
    wire::Attempt::new(
        attempt_id.0,
        fakemon_id.0,
        received_at.0,
        player.0,
        place.lat_e7,
        place.lon_e7,
        decided.queued_after_ns,
        decided.decided_after_ns,
        decided.species.0,
        outcome_record(decided.outcome),
    )
}

/// The attempt that a record describes, by the engine's time.
#[inline]
pub fn attempt(record: &wire::Attempt) -> DecidedAttempt {
    DecidedAttempt {
        attempt: CaptureAttempt {
            player: PlayerId(record.player()),
            attempt_id: AttemptId(record.attempt_id()),
            fakemon_id: FakemonId(record.fakemon_id()),
            place: Place { lat_e7: record.lat_e7(), lon_e7: record.lon_e7() },
            received_at: Timestamp(record.received_ns()),
        },
        outcome: outcome(record.outcome()),
        species: SpeciesId(record.species()),
        queued_after_ns: record.queued_after_ns(),
        decided_after_ns: record.decided_after_ns(),
    }
}

/// What an attempt adds to the state hash.
#[inline]
pub fn facts_of_attempt(decided: &DecidedAttempt) -> StateHash {
    let CaptureAttempt { player, attempt_id, fakemon_id, .. } = decided.attempt;
    StateHash::answered(player, attempt_id, fakemon_id, decided.outcome)
}

/// The attempt, received at another moment: its times by another clock.
fn received_at(decided: DecidedAttempt, received_at: Timestamp) -> DecidedAttempt {
    DecidedAttempt { attempt: CaptureAttempt { received_at, ..decided.attempt }, ..decided }
}

#[inline]
fn outcome_record(outcome: Outcome) -> wire::Outcome {
    wire::Outcome(outcome as u8)
}

/// The outcome of a record; blocks are verified to hold known ones only.
#[inline]
pub fn outcome(record: wire::Outcome) -> Outcome {
    Outcome::ALL[usize::from(record.0)]
}

/// The record of a fakémon that appears.
pub fn appeared_record(fakemon: &Fakemon, at: Timestamp) -> wire::Appeared {
    wire::Appeared::new(
        fakemon.id.0,
        at.0,
        fakemon.vanishes_at.0,
        fakemon.place.lat_e7,
        fakemon.place.lon_e7,
        fakemon.species.0,
        fakemon.catch_rate.basis_points(),
    )
}

/// The record of a fakémon whose time is over.
pub fn vanished_record(fakemon: &Fakemon, at: Timestamp) -> wire::Vanished {
    let Place { lat_e7, lon_e7 } = fakemon.place;
    wire::Vanished::new(fakemon.id.0, at.0, fakemon.vanishes_at.0, lat_e7, lon_e7, fakemon.species.0)
}

/// The fakémon that a record describes.
pub fn appeared(record: &wire::Appeared) -> Fakemon {
    Fakemon::wild(
        FakemonId(record.fakemon_id()),
        SpeciesId(record.species()),
        Place { lat_e7: record.lat_e7(), lon_e7: record.lon_e7() },
        CatchRate::from_basis_points(record.catch_rate_bp()),
        Timestamp(record.vanishes_at_ns()),
    )
}

/// What an event does to the population, if anything.
pub fn change(event: &wire::Event<'_>) -> Option<Change> {
    match event {
        wire::Event::Attempt(record) if record.outcome() == wire::Outcome::Captured => {
            Some(Change::Captured(FakemonId(record.fakemon_id()), PlayerId(record.player())))
        }
        wire::Event::Appeared(record) => Some(Change::Appeared(appeared(record))),
        wire::Event::Vanished(record) => Some(Change::Vanished(FakemonId(record.fakemon_id()))),
        _ => None,
    }
}

/// What an event adds to the state hash.
pub fn facts(event: &wire::Event<'_>) -> StateHash {
    match event {
        wire::Event::Attempt(record) => facts_of_attempt(&attempt(record)),
        wire::Event::Appeared(record) => StateHash::appeared(&appeared(record)),
        wire::Event::Vanished(record) => StateHash::vanished(FakemonId(record.fakemon_id())),
        wire::Event::PlayerNamed(named) => StateHash::named(u64::from(named.player), &named.name),
        wire::Event::SpeciesNamed(named) => StateHash::named(u64::from(named.species) << 32, &named.name),
        wire::Event::Changed(changed) => StateHash::changed(&changed.key, changed.value.as_deref()),
        wire::Event::Opened(_) | wire::Event::Put(_) => StateHash::default(),
    }
}

/// As [`facts`], for an owned event.
pub fn facts_of(event: &Event) -> StateHash {
    match event {
        Event::Attempt(decided) => facts_of_attempt(decided),
        Event::Appeared { fakemon_id, species, place, catch_rate, vanishes_at, .. } => {
            StateHash::appeared(&Fakemon::wild(*fakemon_id, *species, *place, *catch_rate, *vanishes_at))
        }
        Event::Vanished { fakemon_id, .. } => StateHash::vanished(*fakemon_id),
        Event::PlayerNamed { player, name } => StateHash::named(u64::from(player.0), name),
        Event::SpeciesNamed { species, name } => StateHash::named(u64::from(species.0) << 32, name),
        Event::Changed { key, value, .. } => StateHash::changed(key, value.as_deref()),
        Event::Opened { .. } | Event::Put(_) => StateHash::default(),
    }
}

/// How far the times of a block are ahead of the wall clock.
#[inline]
pub fn ahead(head: &wire::BlockHead) -> Ahead {
    Ahead(head.ahead_ns)
}

/// When a group was handed to the disk, by the wall clock.
#[inline]
pub fn committed_at(head: &wire::BlockHead) -> Timestamp {
    ahead(head).to_wall(Timestamp(head.committed_ns))
}

/// When an event happened, by the engine's time; names have no time of their own.
pub fn at(event: &wire::Event<'_>) -> Option<Timestamp> {
    Some(match event {
        wire::Event::Attempt(record) => Timestamp(record.received_ns()).plus_ns(u64::from(record.decided_after_ns())),
        wire::Event::Appeared(record) => Timestamp(record.at_ns()),
        wire::Event::Vanished(record) => Timestamp(record.at_ns()),
        wire::Event::Opened(opened) => Timestamp(opened.at_ns),
        wire::Event::Put(put) => Timestamp(put.at_ns),
        wire::Event::Changed(changed) => Timestamp(changed.at_ns),
        wire::Event::PlayerNamed(_) | wire::Event::SpeciesNamed(_) => return None,
    })
}

/// An event as tools and followers see it: by the wall clock. `ahead` is that of its block; zero leaves the engine's
/// time.
pub fn event(record: wire::Event<'_>, ahead: Ahead) -> Event {
    let wall = |ns| ahead.to_wall(Timestamp(ns));
    match record {
        wire::Event::Attempt(record) => {
            let decided = attempt(record);
            Event::Attempt(received_at(decided, ahead.to_wall(decided.received_at)))
        }
        wire::Event::Appeared(record) => {
            let Fakemon { id, vanishes_at, place, species, catch_rate, .. } = appeared(record);
            let (at, vanishes_at) = (wall(record.at_ns()), ahead.to_wall(vanishes_at));
            Event::Appeared { fakemon_id: id, species, place, catch_rate, at, vanishes_at }
        }
        wire::Event::Vanished(record) => Event::Vanished {
            fakemon_id: FakemonId(record.fakemon_id()),
            species: SpeciesId(record.species()),
            place: Place { lat_e7: record.lat_e7(), lon_e7: record.lon_e7() },
            at: wall(record.at_ns()),
            vanishes_at: wall(record.vanishes_at_ns()),
        },
        wire::Event::PlayerNamed(named) => Event::PlayerNamed { player: PlayerId(named.player), name: named.name },
        wire::Event::SpeciesNamed(named) => {
            Event::SpeciesNamed { species: SpeciesId(named.species), name: named.name }
        }
        wire::Event::Opened(opened) => Event::Opened {
            at: wall(opened.at_ns),
            world_seed: opened.world_seed,
            reach_mm: opened.reach_mm,
            cores: opened.cores,
            durable: opened.durable,
        },
        wire::Event::Put(put) => Event::Put(Box::new(put_event(put, ahead))),
        wire::Event::Changed(changed) => {
            Event::Changed { at: wall(changed.at_ns), key: changed.key, value: changed.value }
        }
    }
}

/// Appends an event to a section, as the journal had it: the inverse of [`event`].
pub fn draft(section: &mut wire::SectionDraft, event: &Event, ahead: Ahead) {
    let engine = |at: &Timestamp| ahead.to_engine(*at);
    match event {
        Event::Attempt(decided) => {
            section.push_attempt(attempt_record(&received_at(*decided, engine(&decided.received_at))));
        }
        Event::Appeared { fakemon_id, species, place, catch_rate, at, vanishes_at } => {
            let fakemon = Fakemon::wild(*fakemon_id, *species, *place, *catch_rate, engine(vanishes_at));
            section.push_appeared(appeared_record(&fakemon, engine(at)));
        }
        Event::Vanished { fakemon_id, species, place, at, vanishes_at } => {
            let fakemon = Fakemon::wild(*fakemon_id, *species, *place, CatchRate::ALWAYS, engine(vanishes_at));
            section.push_vanished(vanished_record(&fakemon, engine(at)));
        }
        Event::PlayerNamed { player, name } => {
            section.push_player_named(wire::PlayerNamed { player: player.0, name: name.clone() });
        }
        Event::SpeciesNamed { species, name } => {
            section.push_species_named(wire::SpeciesNamed { species: species.0, name: name.clone() });
        }
        Event::Opened { at, world_seed, reach_mm, cores, durable } => section.push_opened(wire::Opened {
            at_ns: engine(at).0,
            world_seed: *world_seed,
            reach_mm: *reach_mm,
            cores: *cores,
            durable: *durable,
        }),
        Event::Put(put) => section.push_put(put_record((**put).clone(), ahead)),
        Event::Changed { at, key, value } => {
            section.push_changed(wire::Changed { at_ns: engine(at).0, key: key.clone(), value: value.clone() });
        }
    }
}

/// The record of an event that is put on a bus. `ahead` is zero for one whose `at` is by the engine's time.
pub fn put_record(put: Put, ahead: Ahead) -> wire::Put {
    let Put {
        at,
        time,
        bus,
        source,
        detail_type,
        detail,
        resources,
        region,
        cause,
        hops,
        schedule,
        by,
        origin,
        trace,
    } = put;
    let cause = cause.map_or(0, |cause| cause.0);
    let (at_ns, time_ns) = (ahead.to_engine(at).0, time.0);
    let origin = origin.map_or(0, |origin| origin.0);
    wire::Put {
        at_ns,
        time_ns,
        bus,
        source,
        detail_type,
        detail,
        resources,
        region,
        cause,
        hops,
        schedule,
        by,
        origin,
        trace,
    }
}

fn put_event(record: wire::Put, ahead: Ahead) -> Put {
    let wire::Put { at_ns, time_ns, bus, source, detail_type, detail, resources, region, cause, hops, .. } = record;
    Put {
        at: ahead.to_wall(Timestamp(at_ns)),
        time: Timestamp(time_ns),
        bus,
        source,
        detail_type,
        detail,
        resources,
        region,
        cause: (cause != 0).then_some(Position(cause)),
        hops,
        schedule: record.schedule,
        by: record.by,
        origin: (record.origin != 0).then_some(EventKey(record.origin)),
        trace: record.trace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fakemon_fbs::journal::{BlockHead, BlockReader, BlockWriter, SectionDraft};

    #[test]
    fn events_become_the_records_that_they_were() {
        let mut section = SectionDraft::default();
        section.push_attempt(wire::Attempt::new(1, 2, 1 << 60, 3, -4, 5, 6, u32::MAX, 7, wire::Outcome::Dodged));
        section.push_appeared(wire::Appeared::new(1, 2, 3, 4, -5, 6, 7));
        section.push_vanished(wire::Vanished::new(1, 2, 3, -4, 5, 6));
        section.push_player_named(wire::PlayerNamed { player: 1, name: "Zoë \"\\".into() });
        section.push_species_named(wire::SpeciesNamed { species: 1, name: "sparkit".into() });
        section.push_opened(wire::Opened { at_ns: 1, world_seed: u64::MAX, reach_mm: 2, cores: 3, durable: false });
        let resources = vec!["a".into(), String::new()];
        section.push_put(wire::Put {
            at_ns: 1,
            detail: "{}".into(),
            resources,
            hops: 2,
            cause: 3,
            by: Some("b r t".into()),
            origin: 9,
            trace: Some("Root=1".into()),
            ..Default::default()
        });
        section.push_put(wire::Put::default());
        section.push_changed(wire::Changed { at_ns: 1, key: "bus/x".into(), value: None });
        section.push_changed(wire::Changed { at_ns: 1, key: "bus/x".into(), value: Some("{}".into()) });
        let head = BlockHead { first_position: 1, count: 10, committed_ns: 1, ..BlockHead::default() };
        let mut writer = BlockWriter::default();
        let bytes = writer.write(head, &[section, SectionDraft::default()]).to_vec();
        let block = BlockReader::new(&bytes).unwrap();
        assert_eq!(block.sections().collect::<Vec<_>>(), [(0, 10), (0, 0)]);
        for ahead in [0, -5, -3_600_000_000_000] {
            let mut again = SectionDraft::default();
            block.for_each(|_, _, record| {
                let added = facts(&record);
                let event = event(record, Ahead(ahead));
                assert!(ahead != 0 || facts_of(&event) == added, "{event:?}");
                draft(&mut again, &event, Ahead(ahead));
            });
            assert_eq!(writer.write(head, &[again, SectionDraft::default()]), bytes);
        }
    }
}
