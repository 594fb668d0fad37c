//! A fakémon in 32 bytes, and its fate.

use crate::ids::{FakemonId, PlayerId, SpeciesId, Timestamp};
use crate::place::Place;
use crate::species::CatchRate;

/// A fakémon in 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fakemon {
    /// Its id.
    pub id: FakemonId,
    /// When it expires.
    pub vanishes_at: Timestamp,
    /// Where it is.
    pub place: Place,
    /// 0: wild; `u32::MAX`: vanished; else the winner.
    winner: u32,
    /// Its species.
    pub species: SpeciesId,
    /// How easily it is caught.
    pub catch_rate: CatchRate,
}

const _: () = assert!(size_of::<Fakemon>() == 32, "a slot of the table is half a cache line");

/// The state of a fakémon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Still there.
    Wild,
    /// This player caught it, for good.
    Captured(PlayerId),
    /// It expired before a player caught it.
    Vanished,
}

impl Fakemon {
    /// A fakémon that has just appeared.
    pub fn wild(id: FakemonId, species: SpeciesId, place: Place, rate: CatchRate, vanishes_at: Timestamp) -> Fakemon {
        Fakemon { id, vanishes_at, place, winner: 0, species, catch_rate: rate }
    }

    /// With the fate in a row of the snapshot.
    pub fn with_fate(mut self, fate: Fate) -> Fakemon {
        match fate {
            Fate::Wild => {}
            Fate::Captured(player) => self.capture(player),
            Fate::Vanished => self.vanish(),
        }
        self
    }

    /// Whether it is wild, captured or vanished.
    #[inline]
    pub fn fate(&self) -> Fate {
        match self.winner {
            0 => Fate::Wild,
            u32::MAX => Fate::Vanished,
            player => Fate::Captured(PlayerId(player)),
        }
    }

    /// Marks it captured. Its winner never changes: a second capture panics unless it is by the same player.
    pub fn capture(&mut self, player: PlayerId) {
        assert!(player.0 != 0 && player.0 != u32::MAX, "no player has this number");
        assert!(self.winner == 0 || self.winner == player.0, "a fakémon is captured at most once");
        self.winner = player.0;
    }

    /// Marks it expired: it is never captured.
    pub fn vanish(&mut self) {
        assert!(self.winner == 0 || self.winner == u32::MAX, "who is captured does not vanish");
        self.winner = u32::MAX;
    }
}
