//! The hash of everything the engine knows: a sum over facts, so that shards need not agree on an order.

use crate::event::Outcome;
use crate::fakemon::Fakemon;
use crate::ids::{AttemptId, FakemonId, PlayerId, mix};

/// A hash of everything the engine knows, the same for any number of shards: the sum of the hashes of all facts, so
/// that each shard can say what its turn adds. Blocks of the journal carry it; verification recomputes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateHash(pub u64);

impl StateHash {
    /// Adds the facts that another hash stands for.
    #[inline]
    pub fn add(&mut self, facts: StateHash) {
        self.0 = self.0.wrapping_add(facts.0);
    }

    #[inline]
    fn of(kind: u64, parts: [u64; 4]) -> StateHash {
        StateHash(parts.into_iter().fold(kind, |hash, part| mix(hash ^ part)))
    }

    /// The fact that an attempt had this outcome.
    #[inline]
    pub fn answered(player: PlayerId, attempt: AttemptId, fakemon: FakemonId, outcome: Outcome) -> StateHash {
        StateHash::of(1, [u64::from(player.0), attempt.0, fakemon.0, outcome as u64])
    }

    /// The fact that a fakémon appeared.
    pub fn appeared(fakemon: &Fakemon) -> StateHash {
        let place = (fakemon.place.lat_e7 as u32 as u64) << 32 | fakemon.place.lon_e7 as u32 as u64;
        let kind = u64::from(fakemon.species.0) << 16 | u64::from(fakemon.catch_rate.basis_points());
        StateHash::of(2, [fakemon.id.0, fakemon.vanishes_at.0, place, kind])
    }

    /// The fact that a fakémon vanished.
    pub fn vanished(fakemon: FakemonId) -> StateHash {
        StateHash::of(3, [fakemon.0, 0, 0, 0])
    }

    /// The fact that a player's or species' name has this number.
    pub fn named(number: u64, name: &str) -> StateHash {
        StateHash::of(4, [number, text_hash(name), 0, 0])
    }

    /// The fact that a resource of the bus was changed to this value, or deleted.
    pub fn changed(key: &str, value: Option<&str>) -> StateHash {
        StateHash::of(5, [text_hash(key), u64::from(value.is_some()), value.map_or(0, text_hash), 0])
    }
}

fn text_hash(text: &str) -> u64 {
    let chunk = |bytes: &[u8]| bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    text.as_bytes().chunks(8).fold(text.len() as u64, |hash, bytes| mix(hash ^ chunk(bytes)))
}
