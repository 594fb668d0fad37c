//! The game as it was before a position: every fakémon and its fate, and what happened so far. A moment advances
//! along the journal with the same changes that the engine applies, so it shows the engine's state.

use crate::archive::{Archive, Opened};
use fakemon_capture::decision::record;
use fakemon_capture::decision::resolve::Rules;
use fakemon_capture::population::{Change, Fakemon, Fate, Population, StateHash};
use fakemon_fbs::journal::{BlockHead, Event};
use fakemon_journal::ReadError;
use fakemon_model::event::Outcome;
use fakemon_model::ids::{Ahead, FakemonId, Position, Timestamp};
use fakemon_model::place::Place;
use std::ops::ControlFlow;

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Attempts by how they ended, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Fakémon that appeared.
    pub appeared: u64,
    /// Fakémon that vanished uncaught.
    pub vanished: u64,
    /// Players who got a number.
    pub players: u64,
    /// Events that clients put on a bus.
    pub put: u64,
    /// Changes of resources of the bus.
    pub changed: u64,
}

impl Counters {
    /// All attempts.
    pub fn attempts(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// Attempts with this outcome.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    fn count(&mut self, event: &Event<'_>) {
        match event {
            Event::Attempt(attempt) => self.outcomes[record::outcome(attempt.outcome()) as usize] += 1,
            Event::Appeared(_) => self.appeared += 1,
            Event::Vanished(_) => self.vanished += 1,
            Event::PlayerNamed(_) => self.players += 1,
            Event::Put(_) => self.put += 1,
            Event::Changed(_) => self.changed += 1,
            Event::SpeciesNamed(_) | Event::Opened(_) => {}
        }
    }
}

/// The game before a position.
#[derive(Default)]
pub struct Moment {
    position: Position,
    at: Timestamp,
    ahead: Ahead,
    population: Population,
    opened: Option<Opened>,
    counters: Counters,
    state: StateHash,
}

/// Why there is no moment.
#[derive(Debug, thiserror::Error)]
pub enum MomentError {
    /// Retention deleted the beginning of the journal.
    #[error(
        "the journal begins at position {0}: what was there before nobody knows any more; ask for one fakémon or \
         player, or keep more (journal.keep_age, journal.keep_size)"
    )]
    NoBeginning(Position),
    /// The watcher stopped it.
    #[error("interrupted")]
    Interrupted,
    /// The journal cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Called now and then with the position that was reached; a break stops it.
pub type Watch<'w> = dyn FnMut(Position) -> ControlFlow<()> + 'w;

impl Moment {
    /// Before the first event.
    ///
    /// # Errors
    /// When the journal no longer has its beginning.
    pub fn beginning(archive: &Archive) -> Result<Moment, MomentError> {
        match archive.first_position() {
            first if first > Position(1) => Err(MomentError::NoBeginning(first)),
            first => Ok(Moment { position: first, ..Moment::default() }),
        }
    }

    /// Advances to a position: applies all events before it.
    ///
    /// # Errors
    /// When the journal cannot be read, or the watcher stops.
    pub fn advance(&mut self, archive: &Archive, to: Position, watch: &mut Watch<'_>) -> Result<(), MomentError> {
        let mut interrupted = false;
        archive.blocks(self.position, &mut |_, block| {
            if block.head().first_position >= to.0 {
                return Ok(ControlFlow::Break(()));
            }
            let head = block.head();
            block.for_each(|position, _, event| {
                if (self.position.0..to.0).contains(&position) {
                    self.event(Position(position), &head, event);
                }
            });
            interrupted = watch(self.position).is_break();
            Ok(if interrupted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        if interrupted { Err(MomentError::Interrupted) } else { Ok(()) }
    }

    /// Makes the next event happen.
    pub fn event(&mut self, position: Position, head: &BlockHead, event: Event<'_>) {
        self.counters.count(&event);
        self.state.add(record::facts(&event));
        if let Some(change) = record::change(&event) {
            self.change(change);
        }
        if let Event::Opened(opened) = event {
            self.opened = Some(Opened::read(opened, record::ahead(head)));
        }
        self.position = Position(position.0 + 1);
        (self.at, self.ahead) = (record::committed_at(head), record::ahead(head));
    }

    /// Applies a change. One that contradicts the state means that the journal is damaged (`fakemon verify` says
    /// where); it is skipped here, so that the rest can be looked at.
    fn change(&mut self, change: Change) {
        let fate = |id| self.population.get(id).map(Fakemon::fate);
        let sound = match change {
            Change::Appeared(_) => true,
            Change::Captured(id, player) => player.0 != 0 && player.0 != u32::MAX && fate(id) == Some(Fate::Wild),
            Change::Vanished(id) => fate(id) == Some(Fate::Wild),
        };
        if sound {
            self.population.apply(change);
        }
    }

    /// All events before it were applied.
    pub fn position(&self) -> Position {
        self.position
    }

    /// When the last of them was handed to the disk.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The opening whose settings apply.
    pub fn opened(&self) -> Option<Opened> {
        self.opened
    }

    /// The hash of the state; after the last event of a block it is the block's.
    pub fn state_hash(&self) -> StateHash {
        self.state
    }

    /// A fakémon that has appeared.
    pub fn fakemon(&self, id: FakemonId) -> Option<&Fakemon> {
        self.population.get(id)
    }

    /// All fakémon that have appeared, wild or not.
    pub fn all(&self) -> impl Iterator<Item = &Fakemon> {
        self.population.iter()
    }

    /// The number of wild fakémon.
    pub fn wild(&self) -> usize {
        self.population.wild()
    }

    /// A time of the engine, such as until when a fakémon stays, as the wall clock showed it at this moment.
    pub fn by_wall(&self, engine: Timestamp) -> Timestamp {
        self.ahead.to_wall(engine)
    }

    /// Wild fakémon within `radius_m` metres, the nearest first.
    pub fn around(&self, place: Place, radius_m: f64) -> Vec<(f64, Fakemon)> {
        let wild = self.all().filter(|fakemon| fakemon.fate() == Fate::Wild);
        let distances = wild.map(|fakemon| (fakemon.place.distance_m_squared(place).sqrt(), *fakemon));
        let mut near: Vec<_> = distances.filter(|(distance, _)| *distance <= radius_m).collect();
        near.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        near
    }

    pub fn rules(&self) -> Rules {
        let rules = |opened: Opened| Rules { world_seed: opened.world_seed, reach_mm: opened.reach_mm };
        self.opened.map(rules).unwrap_or_default()
    }
}
