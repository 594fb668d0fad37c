//! A fakémon in 32 bytes, and what became of it.

use crate::ids::{FakemonId, PlayerId, SpeciesId, Timestamp};
use crate::place::Place;
use crate::species::CatchRate;

/// A fakémon in 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fakemon {
    /// Which.
    pub id: FakemonId,
    /// Until when it stays.
    pub vanishes_at: Timestamp,
    /// Where.
    pub place: Place,
    /// 0: wild; `u32::MAX`: vanished; else the winner.
    winner: u32,
    /// Its species.
    pub species: SpeciesId,
    /// How easily it is caught.
    pub catch_rate: CatchRate,
}

const _: () = assert!(size_of::<Fakemon>() == 32, "a slot of the table is half a cache line");

/// What has become of a fakémon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Still there.
    Wild,
    /// This player has it, for ever.
    Captured(PlayerId),
    /// Its time was over before anyone caught it.
    Vanished,
}

impl Fakemon {
    /// One that has just appeared.
    pub fn wild(id: FakemonId, species: SpeciesId, place: Place, rate: CatchRate, vanishes_at: Timestamp) -> Fakemon {
        Fakemon { id, vanishes_at, place, winner: 0, species, catch_rate: rate }
    }

    /// With the fate that a row of the snapshot says.
    pub fn with_fate(mut self, fate: Fate) -> Fakemon {
        match fate {
            Fate::Wild => {}
            Fate::Captured(player) => self.capture(player),
            Fate::Vanished => self.vanish(),
        }
        self
    }

    /// What has become of it.
    #[inline]
    pub fn fate(&self) -> Fate {
        match self.winner {
            0 => Fate::Wild,
            u32::MAX => Fate::Vanished,
            player => Fate::Captured(PlayerId(player)),
        }
    }

    /// The first winner stays the winner.
    pub fn capture(&mut self, player: PlayerId) {
        assert!(player.0 != 0 && player.0 != u32::MAX, "no player has this number");
        assert!(self.winner == 0 || self.winner == player.0, "a fakémon is captured at most once");
        self.winner = player.0;
    }

    /// Its time is over: it is never captured.
    pub fn vanish(&mut self) {
        assert!(self.winner == 0 || self.winner == u32::MAX, "who is captured does not vanish");
        self.winner = u32::MAX;
    }
}
