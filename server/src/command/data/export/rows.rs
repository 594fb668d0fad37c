//! One flat row per event, whatever its kind. Columns that a kind does not have are empty.

use fakemon_history::archive::{Archive, Recorded};
use fakemon_history::jsonl::kind;
use fakemon_model::event::{Event, Put};
use fakemon_model::ids::{PlayerId, SpeciesId, Timestamp};
use fakemon_model::place::Place;

/// Declares the columns, their names and their kinds from one list.
macro_rules! columns {
    ($($(#[$doc:meta])* $column:ident $name:literal: $kind:ident,)*) => {
        /// A column; they are declared in their order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Column {
            $($(#[$doc])* $column,)*
        }

        /// Names and kinds of the columns, in order.
        pub(super) const COLUMNS: &[(&str, Kind)] = &[$(($name, Kind::$kind)),*];
    };
}

columns! {
    Position "position": Number,
    Kind "kind": Text,
    Shard "shard": Number,
    /// When its group was handed to the disk.
    CommittedAt "committed_at": Time,
    /// When it happened; for an attempt, when it was decided.
    At "at": Time,
    Player "player": Text,
    PlayerId "player_id": Number,
    AttemptId "attempt_id": Id,
    FakemonId "fakemon_id": Id,
    Species "species": Text,
    Outcome "outcome": Text,
    Lat "lat": Degrees,
    Lon "lon": Degrees,
    ReceivedAt "received_at": Time,
    QueuedAfterNs "queued_after_ns": Number,
    DecidedAfterNs "decided_after_ns": Number,
    CatchRate "catch_rate": Degrees,
    VanishesAt "vanishes_at": Time,
    Bus "bus": Text,
    Source "source": Text,
    DetailType "detail_type": Text,
    Detail "detail": Text,
    /// A list of strings, as JSON.
    Resources "resources": Text,
    Region "region": Text,
    /// The time that the sender gave.
    Time "time": Time,
    Cause "cause": Number,
    Hops "hops": Number,
    /// Key of a resource.
    Key "key": Text,
    /// The new state of the resource; empty if it was deleted.
    Value "value": Text,
    WorldSeed "world_seed": Id,
    ReachMm "reach_mm": Number,
    Cores "cores": Number,
    Durable "durable": Flag,
}

/// Columns that every row has.
pub(super) const ALWAYS_THERE: [Column; 4] = [Column::Position, Column::Kind, Column::Shard, Column::CommittedAt];

/// Type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Counts, positions and durations: unsigned, below 2^53.
    Number,
    /// A 64-bit id or seed; as text, because tools without 64-bit integers would round it.
    Id,
    /// Nanoseconds since 1970.
    Time,
    /// Latitude, longitude, or a fraction.
    Degrees,
    /// True or false.
    Flag,
    /// UTF-8.
    Text,
}

/// A value in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Number(u64),
    Id(u64),
    Time(Timestamp),
    Degrees(f64),
    Flag(bool),
    Text(&'a str),
}

/// Visits the cells of an event that have a value, in the order of the columns.
#[inline]
pub(super) fn visit_cells(recorded: &Recorded, archive: &Archive, visit: &mut impl FnMut(Column, Cell<'_>)) {
    let mut row = Row { archive, visit };
    row.number(Column::Position, recorded.position.0);
    row.text(Column::Kind, kind(&recorded.event));
    row.number(Column::Shard, recorded.shard.0.into());
    row.time(Column::CommittedAt, recorded.committed_at);
    row.event(&recorded.event);
}

/// A row that is being visited.
struct Row<'a, V> {
    archive: &'a Archive,
    visit: &'a mut V,
}

impl<V: FnMut(Column, Cell<'_>)> Row<'_, V> {
    #[inline]
    fn event(&mut self, event: &Event) {
        match event {
            Event::Attempt(attempt) => {
                self.time(Column::At, attempt.decided_at());
                self.player(attempt.player);
                self.id(Column::AttemptId, attempt.attempt_id.0);
                self.fakemon(attempt.fakemon_id.0, attempt.species);
                self.text(Column::Outcome, attempt.outcome.name());
                self.place(attempt.place);
                self.time(Column::ReceivedAt, attempt.received_at);
                self.number(Column::QueuedAfterNs, attempt.queued_after_ns.into());
                self.number(Column::DecidedAfterNs, attempt.decided_after_ns.into());
            }
            Event::Appeared { fakemon_id, species, place, catch_rate, at, vanishes_at } => {
                self.time(Column::At, *at);
                self.fakemon(fakemon_id.0, *species);
                self.place(*place);
                self.degrees(Column::CatchRate, catch_rate.fraction());
                self.time(Column::VanishesAt, *vanishes_at);
            }
            Event::Vanished { fakemon_id, species, place, at, vanishes_at } => {
                self.time(Column::At, *at);
                self.fakemon(fakemon_id.0, *species);
                self.place(*place);
                self.time(Column::VanishesAt, *vanishes_at);
            }
            Event::PlayerNamed { player, name } => {
                self.text(Column::Player, name.as_str());
                self.number(Column::PlayerId, player.0.into());
            }
            Event::SpeciesNamed { name, .. } => self.text(Column::Species, name),
            Event::Opened { at, world_seed, reach_mm, cores, durable } => {
                self.time(Column::At, *at);
                self.id(Column::WorldSeed, *world_seed);
                self.number(Column::ReachMm, (*reach_mm).into());
                self.number(Column::Cores, (*cores).into());
                (self.visit)(Column::Durable, Cell::Flag(*durable));
            }
            Event::Put(put) => self.put(put),
            Event::Changed { at, key, value } => {
                self.time(Column::At, *at);
                self.text(Column::Key, key);
                value.iter().for_each(|value| self.text(Column::Value, value));
            }
        }
    }

    #[inline]
    fn player(&mut self, player: PlayerId) {
        self.archive.player_name(player).into_iter().for_each(|name| self.text(Column::Player, name));
        self.number(Column::PlayerId, player.0.into());
    }

    #[inline]
    fn fakemon(&mut self, id: u64, species: SpeciesId) {
        self.id(Column::FakemonId, id);
        self.archive.species_name(species).into_iter().for_each(|name| self.text(Column::Species, name));
    }

    #[inline]
    fn place(&mut self, place: Place) {
        self.degrees(Column::Lat, f64::from(place.lat_e7) / 1e7);
        self.degrees(Column::Lon, f64::from(place.lon_e7) / 1e7);
    }

    fn put(&mut self, put: &Put) {
        // `resources` names the schedule that was due, too.
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
            schedule: _,
            by: _,
            origin: _,
            trace: _,
        } = put;
        self.time(Column::At, *at);
        self.text(Column::Bus, bus);
        self.text(Column::Source, source);
        self.text(Column::DetailType, detail_type);
        self.text(Column::Detail, detail);
        self.text(Column::Resources, &serde_json::json!(resources).to_string());
        self.text(Column::Region, region);
        self.time(Column::Time, *time);
        cause.iter().for_each(|cause| self.number(Column::Cause, cause.0));
        self.number(Column::Hops, (*hops).into());
    }

    #[inline]
    fn number(&mut self, column: Column, number: u64) {
        (self.visit)(column, Cell::Number(number));
    }

    #[inline]
    fn id(&mut self, column: Column, id: u64) {
        (self.visit)(column, Cell::Id(id));
    }

    #[inline]
    fn time(&mut self, column: Column, time: Timestamp) {
        (self.visit)(column, Cell::Time(time));
    }

    #[inline]
    fn degrees(&mut self, column: Column, degrees: f64) {
        (self.visit)(column, Cell::Degrees(degrees));
    }

    #[inline]
    fn text(&mut self, column: Column, text: &str) {
        (self.visit)(column, Cell::Text(text));
    }
}
