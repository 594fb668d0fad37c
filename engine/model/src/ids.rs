//! Numbers that must not be mistaken for each other.

use std::fmt;
use std::fmt::Write;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A place in the journal: events are numbered from 1 without gaps, in the order in which they happened.
    Position(u64)
}
id! {
    /// A fakémon. Ids are never reused.
    FakemonId(u64)
}
id! {
    /// A player's number; the journal gives it to a name at the first attempt. Never 0.
    PlayerId(u32)
}
id! {
    /// A player's id for an attempt; unique among the player's attempts.
    AttemptId(u64)
}
id! {
    /// A species' number in the journal.
    SpeciesId(u16)
}
id! {
    /// Which shard: the core that owns a fakémon.
    ShardId(u16)
}
id! {
    /// A client's id for a command, returned with its completion. Chosen by the client; the engine never reads it.
    Token(u64)
}

impl SpeciesId {
    /// The species of an unknown fakémon.
    pub const UNKNOWN: SpeciesId = SpeciesId(u16::MAX);
}

/// A moment: nanoseconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Adds nanoseconds; saturates at the end of time.
    pub fn plus_ns(self, ns: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(ns))
    }

    /// Whole seconds since 1970.
    pub fn seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// Nanoseconds from `earlier` to this moment; 0 if it is not earlier.
    pub fn ns_since(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// How far the engine's time is ahead of the wall clock, in nanoseconds; negative: behind. Zero unless the wall clock
/// was set since the data directory was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ahead(pub i64);

impl Ahead {
    /// From the same moment by both clocks; a difference beyond 292 years is said to be 292 years.
    pub fn of(engine: Timestamp, wall: Timestamp) -> Ahead {
        let ahead = i128::from(engine.0) - i128::from(wall.0);
        Ahead(i64::try_from(ahead).unwrap_or(if ahead < 0 { -i64::MAX } else { i64::MAX }))
    }

    /// A moment of the engine's time as the wall clock shows it; not before 1970.
    #[inline]
    pub fn to_wall(self, engine: Timestamp) -> Timestamp {
        Timestamp(engine.0.saturating_add_signed(self.0.saturating_neg()))
    }

    /// A moment of the wall clock by the engine's time.
    #[inline]
    pub fn to_engine(self, wall: Timestamp) -> Timestamp {
        Timestamp(wall.0.saturating_add_signed(self.0))
    }
}

/// RFC 3339 in UTC, with all nine decimals: `2026-03-01T20:00:00.000000001Z`.
impl Timestamp {
    /// RFC 3339 with whole seconds, as the service writes moments; what is finer is left out.
    pub fn whole_seconds(self) -> String {
        let mut text = self.to_string();
        text.truncate(WHOLE_SECONDS);
        text.push('Z');
        text
    }
}

/// Characters of a moment up to its seconds: `2026-11-24T20:00:00`.
pub const WHOLE_SECONDS: usize = 19;

/// RFC 3339 in UTC, with all nine decimals: `2026-03-01T20:00:00.000000001Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = jiff::Timestamp::from_nanosecond(i128::from(self.0)).map_err(|_| fmt::Error)?;
        write!(f, "{moment:.9}")
    }
}

/// Which of the events that a record stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Facet {
    /// The attempt was made.
    Attempt,
    /// The outcome of the attempt, and every other event.
    Happened,
}

/// An event on a bus: its record and its facet. Ordered as the journal is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKey(pub u64);

impl EventKey {
    /// The event of a facet of the record at a position.
    #[inline]
    pub fn new(position: Position, facet: Facet) -> EventKey {
        EventKey(position.0 << 1 | u64::from(facet == Facet::Happened))
    }

    /// Where its record is.
    #[inline]
    pub fn position(self) -> Position {
        Position(self.0 >> 1)
    }

    /// Which of the record's events it is.
    #[inline]
    pub fn facet(self) -> Facet {
        if self.0 & 1 == 0 { Facet::Attempt } else { Facet::Happened }
    }

    /// Its id in the envelope.
    pub fn id(self) -> String {
        let mut id = String::with_capacity(36);
        self.write_id(&mut id);
        id
    }

    /// Appends its id in the envelope.
    pub fn write_id(self, out: &mut String) {
        let position = self.position().0;
        let (high, low) = (position >> 48, position & 0xFFFF_FFFF_FFFF);
        let facet = u8::from(self.facet() == Facet::Attempt);
        write!(out, "66616b65-{high:04x}-8000-800{facet}-{low:012x}").expect("text grows as long as there is memory");
    }

    /// From its id in the envelope.
    pub fn of_id(id: &str) -> Option<EventKey> {
        let rest = id.strip_prefix("66616b65-")?;
        let (high, rest) = rest.split_once("-8000-800")?;
        let (facet, low) = rest.split_once('-')?;
        let facet = match facet {
            "0" => Facet::Happened,
            "1" => Facet::Attempt,
            _ => return None,
        };
        let (high, low) = (u64::from_str_radix(high, 16).ok()?, u64::from_str_radix(low, 16).ok()?);
        Some(EventKey::new(Position(high << 48 | low), facet))
    }
}

/// Which shard of `shards` owns a fakémon. Ids in sequence spread as evenly as random ones.
pub fn owner(fakemon: FakemonId, shards: usize) -> ShardId {
    let wide = u128::from(mix(fakemon.0)) * shards as u128;
    ShardId(u16::try_from(wide >> 64).expect("the product is below the number of shards"))
}

/// Spreads a number over all 64 bits; a bijection (the finaliser of SplitMix64).
#[inline]
pub fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_sequence_spread_evenly() {
        for shards in [1, 2, 3, 8] {
            let mut counts = vec![0usize; shards];
            (1..=80_000).for_each(|id| counts[usize::from(owner(FakemonId(id), shards).0)] += 1);
            let fair = 80_000 / shards;
            assert!(counts.iter().all(|count| count.abs_diff(fair) < fair / 20), "{counts:?}");
        }
    }

    #[test]
    fn a_moment_goes_from_clock_to_clock_and_back() {
        for (engine, wall) in [(5, 3), (3, 5), (0, 0), (0, u64::MAX), (u64::MAX, 0)] {
            let (engine, wall) = (Timestamp(engine), Timestamp(wall));
            let ahead = Ahead::of(engine, wall);
            let exact = engine.0.abs_diff(wall.0) <= i64::MAX as u64;
            assert_eq!(ahead.to_wall(engine) == wall && ahead.to_engine(wall) == engine, exact, "{ahead:?}");
        }
    }

    #[test]
    fn times_are_written_with_all_nanoseconds() {
        assert_eq!(Timestamp(1).to_string(), "1970-01-01T00:00:00.000000001Z");
        assert_eq!(Timestamp(u64::MAX).to_string(), "2554-07-21T23:34:33.709551615Z");
    }
}
