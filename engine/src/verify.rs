//! Proof that a journal is whole: every block follows the one before, every throw is decided again with the same
//! outcome, no attempt id is used twice, and the state after every block is the one it says.

use crate::ids::{PlayerId, Position, mix};
use crate::journal::{BlockHash, ReadError, Store};
use crate::model::Outcome;
use crate::options::OpenError;
use crate::players::IdRanges;
use crate::record::{self, DecidedThrow};
use crate::resolve::{Rules, resolve};
use crate::state::{Change, Fakemon, Fate, Population, StateHash};
use fakemon_fbs::journal::{BlockReader, Event};
use hashbrown::HashMap;
use std::ops::ControlFlow;
use std::path::Path;

/// What was proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Blocks whose hash holds.
    pub blocks: u64,
    /// Events in them.
    pub events: u64,
    /// Throws that were decided again.
    pub attempts: u64,
    /// Of the oldest event.
    pub first_position: Position,
    /// One past the newest.
    pub end_position: Position,
    /// Of the world at the end.
    pub state_hash: u64,
    /// False: the beginning was let go by the retention settings, so that outcomes could not be decided again; only
    /// the chain is proven.
    pub from_the_beginning: bool,
}

/// Why a journal is not proven.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be read, or bytes changed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It says something that does not follow from what came before.
    #[error("the journal diverges at position {position}: {what}")]
    Diverged {
        /// The first event that does not follow.
        position: Position,
        /// What it says, and what follows.
        what: String,
    },
}

/// Verifies a data directory, beside a running server too; `progress` hears the position and the end now and then.
///
/// # Errors
/// The first thing that is wrong, and where.
pub fn verify(dir: &Path, progress: &mut dyn FnMut(Position, Position)) -> Result<Verified, VerifyError> {
    let store = Store::open_to_read(dir)?;
    store.check_beginning()?;
    let end = store.end_position()?;
    let mut again = Again::default();
    let (mut hash, mut next): (BlockHash, _) = ([0; 32], None);
    let mut verified = Verified { from_the_beginning: true, ..Verified::default() };
    let mut diverged = None;
    store.blocks(Position(0), &mut |stored| {
        let block = match next {
            None if stored.first != Position(1) => {
                verified.from_the_beginning = false;
                stored.read()?
            }
            None => stored.verify_after(&hash)?,
            Some(next) if stored.first != next => {
                return Err(ReadError::corrupt(next, format!("the next block is at {}", stored.first)));
            }
            Some(_) => stored.verify_after(&hash)?,
        };
        if next.is_none() {
            verified.first_position = stored.first;
        }
        if verified.from_the_beginning
            && let Err(error) = again.block(&block)
        {
            diverged = Some(error);
            return Ok(ControlFlow::Break(()));
        }
        hash = stored.hash;
        let head = block.head();
        verified.blocks += 1;
        verified.events += u64::from(head.count);
        verified.state_hash = head.state_hash;
        verified.end_position = Position(head.first_position + u64::from(head.count));
        next = Some(verified.end_position);
        progress(verified.end_position, end);
        Ok(ControlFlow::Continue(()))
    })?;
    verified.attempts = again.attempts;
    if let Some(error) = diverged {
        return Err(error);
    }
    store.check_acknowledged(verified.end_position.max(Position(1)))?;
    if verified.from_the_beginning {
        again.check_collections(&store)?;
    }
    Ok(verified)
}

/// The world, lived through again.
#[derive(Default)]
struct Again {
    population: Population,
    rules: Rules,
    used: HashMap<PlayerId, IdRanges>,
    state: StateHash,
    attempts: u64,
    captures: Captures,
}

/// All captures, in whatever order: how many, and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Captures {
    count: u64,
    sum: u64,
}

impl Captures {
    fn add(&mut self, player: PlayerId, position: Position, fakemon_id: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(mix(position.0 ^ mix(fakemon_id ^ mix(u64::from(player.0)))));
    }
}

impl Again {
    fn block(&mut self, block: &BlockReader<'_>) -> Result<(), VerifyError> {
        let mut result = Ok(());
        block.for_each(|position, _, event| {
            if result.is_ok() {
                self.state.add(record::facts(&event));
                result = self.event(position, event).map_err(|what| (position, what));
            }
        });
        let head = block.head();
        let same = self.state.0 == head.state_hash;
        let state = || (head.first_position, "the state after this block is not what it says".into());
        let result = result.and_then(|()| if same { Ok(()) } else { Err(state()) });
        result.map_err(|(position, what)| VerifyError::Diverged { position: Position(position), what })
    }

    /// Whoever caught something finds it in their collection, and nothing else.
    fn check_collections(&self, store: &Store) -> Result<(), ReadError> {
        let mut kept = Captures::default();
        store.collections(&mut |player, position, caught| kept.add(player, position, caught.fakemon_id()))?;
        match kept == self.captures {
            true => Ok(()),
            false => Err(ReadError::Store(format!(
                "the collections hold {} captures that are not the {} of the journal: restore a copy",
                kept.count, self.captures.count
            ))),
        }
    }

    fn event(&mut self, position: u64, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Attempt(attempt) => self.attempt(Position(position), &DecidedThrow::read(attempt)),
            Event::Appeared(appeared) => {
                let fakemon = record::appeared(appeared);
                if self.population.get(fakemon.id).is_some() {
                    return Err(format!("fakémon {} appears a second time", fakemon.id));
                }
                self.population.apply(Change::Appeared(fakemon));
                Ok(())
            }
            Event::Vanished(vanished) => {
                let id = crate::ids::FakemonId(vanished.fakemon_id());
                if self.population.get(id).map(Fakemon::fate) != Some(Fate::Wild) {
                    return Err(format!("fakémon {id} vanishes, but it was not wild"));
                }
                self.population.apply(Change::Vanished(id));
                Ok(())
            }
            Event::Opened(opened) => {
                self.rules = Rules { world_seed: opened.world_seed, reach_mm: opened.reach_mm };
                Ok(())
            }
            Event::PlayerNamed(named) => match self.used.insert(PlayerId(named.player), IdRanges::default()) {
                Some(_) => Err(format!("player {} is named a second time", named.player)),
                None => Ok(()),
            },
            Event::SpeciesNamed(_) | Event::Put(_) | Event::Changed(_) => Ok(()),
        }
    }

    fn attempt(&mut self, position: Position, decided: &DecidedThrow) -> Result<(), String> {
        let throw = &decided.throw;
        let used = self.used.get_mut(&throw.player);
        let used = used.ok_or_else(|| format!("player {} was never named", throw.player))?;
        if !used.insert(throw.attempt_id.0) {
            return Err(format!("attempt {} of player {} is decided a second time", throw.attempt_id, throw.player));
        }
        let outcome = resolve(self.rules, self.population.get(throw.fakemon_id), throw);
        if outcome != decided.outcome {
            let (said, follows) = (decided.outcome.name(), outcome.name());
            return Err(format!("attempt {} says {said}, but {follows} follows", throw.attempt_id));
        }
        if outcome == Outcome::Captured {
            if matches!(throw.player, PlayerId(0 | u32::MAX)) {
                return Err("no player has this number".into());
            }
            self.population.apply(Change::Captured(throw.fakemon_id, throw.player));
            self.captures.add(throw.player, position, throw.fakemon_id.0);
        }
        self.attempts += 1;
        Ok(())
    }
}
