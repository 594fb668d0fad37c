//! Events as the journal has them: from decisions to records, and back.

use crate::ids::{AttemptId, FakemonId, PlayerId, Position, SpeciesId, Timestamp};
use crate::model::{Event, Outcome, Put};
use crate::place::Place;
use crate::resolve::Throw;
use crate::species::CatchRate;
use crate::state::{Change, Fakemon, StateHash};
use fakemon_fbs::journal as wire;

/// A decided throw and its way to the decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DecidedThrow {
    pub(crate) throw: Throw,
    pub(crate) outcome: Outcome,
    pub(crate) species: SpeciesId,
    pub(crate) queued_after_ns: u32,
    pub(crate) decided_after_ns: u32,
}

/// Nanoseconds from one moment to a later one, as far as a record can say: at most 4.29 s.
#[inline]
pub(crate) fn short_ns(from: Timestamp, to: Timestamp) -> u32 {
    u32::try_from(to.ns_since(from)).unwrap_or(u32::MAX)
}

impl DecidedThrow {
    #[inline]
    pub(crate) fn record(&self) -> wire::Attempt {
        let throw = &self.throw;
        wire::Attempt::new(
            throw.attempt_id.0,
            throw.fakemon_id.0,
            throw.received_at.0,
            throw.player.0,
            throw.place.lat_e7,
            throw.place.lon_e7,
            self.queued_after_ns,
            self.decided_after_ns,
            self.species.0,
            outcome_record(self.outcome),
        )
    }

    #[inline]
    pub(crate) fn read(record: &wire::Attempt) -> DecidedThrow {
        DecidedThrow {
            throw: Throw {
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

    pub(crate) fn facts(&self) -> StateHash {
        let Throw { player, attempt_id, fakemon_id, .. } = self.throw;
        StateHash::answered(player, attempt_id, fakemon_id, self.outcome)
    }
}

#[inline]
fn outcome_record(outcome: Outcome) -> wire::Outcome {
    wire::Outcome(outcome as u8)
}

/// The outcome of a record; blocks are verified to hold known ones only.
#[inline]
pub(crate) fn outcome(record: wire::Outcome) -> Outcome {
    Outcome::ALL[usize::from(record.0)]
}

/// The record of a fakémon that appears.
pub(crate) fn appeared_record(fakemon: &Fakemon, at: Timestamp) -> wire::Appeared {
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
pub(crate) fn vanished_record(fakemon: &Fakemon, at: Timestamp) -> wire::Vanished {
    let Place { lat_e7, lon_e7 } = fakemon.place;
    wire::Vanished::new(fakemon.id.0, at.0, fakemon.vanishes_at.0, lat_e7, lon_e7, fakemon.species.0)
}

/// The fakémon that a record lets appear.
pub(crate) fn appeared(record: &wire::Appeared) -> Fakemon {
    Fakemon::wild(
        FakemonId(record.fakemon_id()),
        SpeciesId(record.species()),
        Place { lat_e7: record.lat_e7(), lon_e7: record.lon_e7() },
        CatchRate::from_basis_points(record.catch_rate_bp()),
        Timestamp(record.vanishes_at_ns()),
    )
}

/// What an event does to the population, if anything.
pub(crate) fn change(event: &wire::Event<'_>) -> Option<Change> {
    match event {
        wire::Event::Attempt(record) if record.outcome() == wire::Outcome::Captured => {
            Some(Change::Captured(FakemonId(record.fakemon_id()), PlayerId(record.player())))
        }
        wire::Event::Appeared(record) => Some(Change::Appeared(appeared(record))),
        wire::Event::Vanished(record) => Some(Change::Vanished(FakemonId(record.fakemon_id()))),
        _ => None,
    }
}

/// What an event adds to what the engine knows.
pub(crate) fn facts(event: &wire::Event<'_>) -> StateHash {
    match event {
        wire::Event::Attempt(record) => DecidedThrow::read(record).facts(),
        wire::Event::Appeared(record) => StateHash::appeared(&appeared(record)),
        wire::Event::Vanished(record) => StateHash::vanished(FakemonId(record.fakemon_id())),
        wire::Event::PlayerNamed(named) => StateHash::named(u64::from(named.player), &named.name),
        wire::Event::SpeciesNamed(named) => StateHash::named(u64::from(named.species) << 32, &named.name),
        wire::Event::Changed(changed) => StateHash::changed(&changed.key, changed.value.as_deref()),
        wire::Event::Opened(_) | wire::Event::Put(_) => StateHash::default(),
    }
}

/// When an event happened; names have no time of their own.
pub(crate) fn at(event: &wire::Event<'_>) -> Option<Timestamp> {
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

/// An event as tools and followers see it.
pub(crate) fn event(record: wire::Event<'_>) -> Event {
    match record {
        wire::Event::Attempt(record) => {
            let DecidedThrow { throw, outcome, species, queued_after_ns, decided_after_ns } =
                DecidedThrow::read(record);
            Event::Attempt {
                player: throw.player,
                attempt_id: throw.attempt_id,
                fakemon_id: throw.fakemon_id,
                species,
                place: throw.place,
                outcome,
                received_at: throw.received_at,
                queued_at: throw.received_at.plus_ns(queued_after_ns.into()),
                decided_at: throw.received_at.plus_ns(decided_after_ns.into()),
            }
        }
        wire::Event::Appeared(record) => {
            let Fakemon { id, vanishes_at, place, species, catch_rate, .. } = appeared(record);
            let at = Timestamp(record.at_ns());
            Event::Appeared { fakemon_id: id, species, place, catch_rate, at, vanishes_at }
        }
        wire::Event::Vanished(record) => Event::Vanished {
            fakemon_id: FakemonId(record.fakemon_id()),
            species: SpeciesId(record.species()),
            place: Place { lat_e7: record.lat_e7(), lon_e7: record.lon_e7() },
            at: Timestamp(record.at_ns()),
            vanishes_at: Timestamp(record.vanishes_at_ns()),
        },
        wire::Event::PlayerNamed(named) => Event::PlayerNamed { player: PlayerId(named.player), name: named.name },
        wire::Event::SpeciesNamed(named) => {
            Event::SpeciesNamed { species: SpeciesId(named.species), name: named.name }
        }
        wire::Event::Opened(opened) => Event::Opened {
            at: Timestamp(opened.at_ns),
            world_seed: opened.world_seed,
            reach_mm: opened.reach_mm,
            cores: opened.cores,
            durable: opened.durable,
        },
        wire::Event::Put(put) => Event::Put(Box::new(put_event(put))),
        wire::Event::Changed(changed) => {
            Event::Changed { at: Timestamp(changed.at_ns), key: changed.key, value: changed.value }
        }
    }
}

fn put_event(record: wire::Put) -> Put {
    let wire::Put { at_ns, time_ns, bus, source, detail_type, detail, resources, region, cause, hops, schedule } =
        record;
    Put {
        at: Timestamp(at_ns),
        time: Timestamp(time_ns),
        bus,
        source,
        detail_type,
        detail,
        resources,
        region,
        cause: (cause != 0).then_some(Position(cause)),
        hops,
        schedule,
    }
}
