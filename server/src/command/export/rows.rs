//! One flat row for an event, whatever its kind. Columns that a kind does not have are empty.

use fakemon_engine::archive::{Archive, Recorded};
use fakemon_engine::ids::{PlayerId, SpeciesId, Timestamp};
use fakemon_engine::lines::kind;
use fakemon_engine::model::{Event, Put};
use fakemon_engine::place::Place;

/// Makes the row, and what visits its columns in order, from one list.
macro_rules! columns {
    ($($(#[$doc:meta])* $name:ident: $kind:ident,)*) => {
        /// A row.
        #[derive(Clone, Debug, Default)]
        pub(super) struct Row<'a> {
            $($(#[$doc])* pub(super) $name: Option<kind!($kind, 'a)>,)*
        }

        /// The columns in order.
        pub(super) const COLUMNS: &[(&str, Kind)] = &[$((stringify!($name), Kind::$kind)),*];

        impl Row<'_> {
            /// Visits the cells in the order of the columns.
            #[inline]
            pub(super) fn visit(&self, mut visit: impl FnMut(usize, Cell<'_>)) {
                let mut column = 0;
                $(
                    visit(column, self.$name.as_ref().map_or(Cell::Empty, |value| cell!($kind, value)));
                    column += 1;
                )*
                let _ = column; // one past the last
            }
        }
    };
}

macro_rules! kind {
    (Number, $life:lifetime) => { u64 };
    (Time, $life:lifetime) => { Timestamp };
    (Degrees, $life:lifetime) => { f64 };
    (Flag, $life:lifetime) => { bool };
    (Text, $life:lifetime) => { &$life str };
    (Json, $life:lifetime) => { String };
}

macro_rules! cell {
    (Number, $value:expr) => {
        Cell::Number(*$value)
    };
    (Time, $value:expr) => {
        Cell::Time(*$value)
    };
    (Degrees, $value:expr) => {
        Cell::Degrees(*$value)
    };
    (Flag, $value:expr) => {
        Cell::Flag(*$value)
    };
    (Text, $value:expr) => {
        Cell::Text($value)
    };
    (Json, $value:expr) => {
        Cell::Text($value.as_str())
    };
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// 64 bits, without a sign.
    Number,
    /// Nanoseconds since 1970.
    Time,
    /// Of latitude, longitude; or a fraction.
    Degrees,
    /// True or false.
    Flag,
    /// UTF-8.
    Text,
    /// UTF-8 that is JSON.
    Json,
}

/// A value in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Empty,
    Number(u64),
    Time(Timestamp),
    Degrees(f64),
    Flag(bool),
    Text(&'a str),
}

columns! {
    position: Number,
    kind: Text,
    shard: Number,
    /// When its group was handed to the disk.
    committed_at: Time,
    /// When it happened: of a throw, when it was decided.
    at: Time,
    player: Text,
    player_id: Number,
    attempt_id: Number,
    fakemon_id: Number,
    species: Text,
    outcome: Text,
    lat: Degrees,
    lon: Degrees,
    received_at: Time,
    queued_after_ns: Number,
    decided_after_ns: Number,
    catch_rate: Degrees,
    vanishes_at: Time,
    bus: Text,
    source: Text,
    detail_type: Text,
    detail: Text,
    resources: Json,
    region: Text,
    /// When the sender says that it happened.
    time: Time,
    cause: Number,
    hops: Number,
    /// Of a resource.
    key: Text,
    /// How the resource is from then on; empty: it is gone.
    value: Text,
    world_seed: Number,
    reach_mm: Number,
    cores: Number,
    durable: Flag,
}

impl<'a> Row<'a> {
    /// The row of an event.
    pub(super) fn of(recorded: &'a Recorded, archive: &'a Archive) -> Row<'a> {
        let mut row = Row {
            position: Some(recorded.position.0),
            kind: Some(kind(&recorded.event)),
            shard: Some(recorded.shard.0.into()),
            committed_at: Some(recorded.committed_at),
            ..Row::default()
        };
        row.fill(&recorded.event, archive);
        row
    }

    fn fill(&mut self, event: &'a Event, archive: &'a Archive) {
        match event {
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
                self.player(*player, archive);
                self.attempt_id = Some(attempt_id.0);
                self.fakemon(fakemon_id.0, *species, *place, archive);
                self.outcome = Some(outcome.name());
                self.received_at = Some(*received_at);
                self.queued_after_ns = Some(queued_at.ns_since(*received_at));
                self.decided_after_ns = Some(decided_at.ns_since(*received_at));
                self.at = Some(*decided_at);
            }
            Event::Appeared { fakemon_id, species, place, catch_rate, at, vanishes_at } => {
                self.fakemon(fakemon_id.0, *species, *place, archive);
                self.catch_rate = Some(catch_rate.fraction());
                (self.at, self.vanishes_at) = (Some(*at), Some(*vanishes_at));
            }
            Event::Vanished { fakemon_id, species, place, at, vanishes_at } => {
                self.fakemon(fakemon_id.0, *species, *place, archive);
                (self.at, self.vanishes_at) = (Some(*at), Some(*vanishes_at));
            }
            Event::PlayerNamed { player, name } => {
                (self.player_id, self.player) = (Some(player.0.into()), Some(name.as_str()));
            }
            Event::SpeciesNamed { name, .. } => self.species = Some(name),
            Event::Opened { at, world_seed, reach_mm, cores, durable } => {
                (self.at, self.world_seed, self.durable) = (Some(*at), Some(*world_seed), Some(*durable));
                (self.reach_mm, self.cores) = (Some((*reach_mm).into()), Some((*cores).into()));
            }
            Event::Put(put) => self.put(put),
            Event::Changed { at, key, value } => {
                (self.at, self.key, self.value) = (Some(*at), Some(key.as_str()), value.as_deref());
            }
        }
    }

    fn player(&mut self, player: PlayerId, archive: &'a Archive) {
        (self.player_id, self.player) = (Some(player.0.into()), archive.player_name(player));
    }

    fn fakemon(&mut self, id: u64, species: SpeciesId, place: Place, archive: &'a Archive) {
        (self.fakemon_id, self.species) = (Some(id), archive.species_name(species));
        (self.lat, self.lon) = (Some(f64::from(place.lat_e7) / 1e7), Some(f64::from(place.lon_e7) / 1e7));
    }

    fn put(&mut self, put: &'a Put) {
        // Which schedule was due stands in `resources` too.
        let Put { at, time, bus, source, detail_type, detail, resources, region, cause, hops, schedule: _, by: _ } =
            put;
        (self.at, self.time) = (Some(*at), Some(*time));
        (self.bus, self.source, self.detail_type) =
            (Some(bus.as_str()), Some(source.as_str()), Some(detail_type.as_str()));
        (self.detail, self.region) = (Some(detail.as_str()), Some(region.as_str()));
        self.resources = Some(serde_json::json!(resources).to_string());
        (self.cause, self.hops) = (cause.map(|cause| cause.0), Some((*hops).into()));
    }
}
