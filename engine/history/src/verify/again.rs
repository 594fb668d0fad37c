//! Decides a journal again: every attempt must have the same outcome, every fact must follow from those before it.

use super::{Cause, Finding};
use fakemon_capture::decision::record;
use fakemon_capture::decision::resolve::{Rules, resolve};
use fakemon_capture::player::IdRanges;
use fakemon_capture::population::{Change, Fakemon, Fate, Population};
use fakemon_fbs::journal::{BlockReader, Event};
use fakemon_fbs::snapshot::Caught;
use fakemon_journal::{ReadError, Store};
use fakemon_model::event::{DecidedAttempt, Outcome};
use fakemon_model::ids::{FakemonId, PlayerId, Position, mix};
use hashbrown::HashMap;
use std::ops::ControlFlow;

/// What is wrong with collections that the journal can no longer prove: that they cannot be read.
pub(super) fn unreadable_collections(store: &Store) -> Option<Finding> {
    let read = store.collections(&mut |_, _, _| {});
    read.err().map(|error| unreadable(&error))
}

fn unreadable(error: &ReadError) -> Finding {
    Finding::new(Cause::Collections, Position(0), format!("collections: {error}"))
}

/// The state of the world, rebuilt from the journal.
#[derive(Default)]
pub(super) struct Again {
    population: Population,
    rules: Rules,
    used: HashMap<PlayerId, IdRanges>,
    pub(super) attempts: u64,
    captures: Captures,
}

/// All captures, independent of their order: their number, and the sum of their hashes.
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

/// An event that does not follow: what is wrong, what would follow, and what the event says.
struct Contradiction {
    what: String,
    expected: Option<String>,
    found: Option<String>,
}

impl From<String> for Contradiction {
    fn from(what: String) -> Contradiction {
        Contradiction { what, expected: None, found: None }
    }
}

impl Again {
    /// Applies a block; an error for the first event that does not follow.
    pub(super) fn block(&mut self, block: &BlockReader<'_>) -> Result<(), Box<Finding>> {
        let mut result = Ok(());
        block.for_each(|position, _, event| {
            if result.is_ok() {
                result = self.event(position, event).map_err(|wrong| (position, wrong));
            }
        });
        let first = Position(block.head().first_position);
        result.map_err(|(position, Contradiction { what, expected, found })| {
            let finding = Finding::new(Cause::Diverged, Position(position), what).in_block(first);
            Box::new(Finding { expected, found, ..finding })
        })
    }

    /// Checks that the collections hold exactly the captures of the journal.
    pub(super) fn check_collections(&self, store: &Store) -> Option<Finding> {
        let mut kept = Captures::default();
        let read = store.collections(&mut |player, position, caught| kept.add(player, position, caught.fakemon_id()));
        match read {
            Err(error) => Some(unreadable(&error)),
            Ok(()) if kept == self.captures => None,
            Ok(()) => Some(self.wrong_collections(store, kept)),
        }
    }

    /// The first capture that is missing in its collection; if none is, collections hold captures that are not in the
    /// journal.
    fn wrong_collections(&self, store: &Store, kept: Captures) -> Finding {
        let what = |what: &str| format!("the collections are not those of the journal: {what}");
        let mut wrong = None;
        let read = store.blocks(Position(0), &mut |stored| {
            stored.read()?.for_each(|position, _, event| {
                if wrong.is_none()
                    && let Event::Attempt(attempt) = event
                    && attempt.outcome().0 == 0
                {
                    let position = Position(position);
                    let row = store.capture(PlayerId(attempt.player()), position).ok().flatten();
                    if row.as_ref().map(Caught::fakemon_id) != Some(attempt.fakemon_id()) {
                        let caught = |id: u64| format!("fakémon {id} for player {}", attempt.player());
                        let found = row.map_or("nothing".into(), |row| caught(row.fakemon_id()));
                        wrong = Some((position, caught(attempt.fakemon_id()), found));
                    }
                }
            });
            Ok(if wrong.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        match (read, wrong) {
            (Ok(()), Some((position, expected, found))) => {
                let finding = Finding::new(Cause::Collections, position, what("a capture is missing, or another"));
                Finding { expected: Some(expected), found: Some(found), ..finding }
            }
            _ => {
                let finding = Finding::new(Cause::Collections, Position(0), what("there are more than were made"));
                let expected = Some(format!("{} captures", self.captures.count));
                Finding { expected, found: Some(format!("{} captures", kept.count)), ..finding }
            }
        }
    }

    fn event(&mut self, position: u64, event: Event<'_>) -> Result<(), Contradiction> {
        match event {
            Event::Attempt(attempt) => self.attempt(Position(position), &record::attempt(attempt)),
            Event::Appeared(appeared) => {
                let fakemon = record::appeared(appeared);
                if self.population.get(fakemon.id).is_some() {
                    return Err(format!("fakémon {} appears a second time", fakemon.id).into());
                }
                self.population.apply(Change::Appeared(fakemon));
                Ok(())
            }
            Event::Vanished(vanished) => {
                let id = FakemonId(vanished.fakemon_id());
                if self.population.get(id).map(Fakemon::fate) != Some(Fate::Wild) {
                    return Err(format!("fakémon {id} vanishes, but it was not wild").into());
                }
                self.population.apply(Change::Vanished(id));
                Ok(())
            }
            Event::Opened(opened) => {
                self.rules = Rules { world_seed: opened.world_seed, reach_mm: opened.reach_mm };
                Ok(())
            }
            Event::PlayerNamed(named) => match self.used.insert(PlayerId(named.player), IdRanges::default()) {
                Some(_) => Err(format!("player {} is named a second time", named.player).into()),
                None => Ok(()),
            },
            Event::SpeciesNamed(_) | Event::Put(_) | Event::Changed(_) => Ok(()),
        }
    }

    fn attempt(&mut self, position: Position, decided: &DecidedAttempt) -> Result<(), Contradiction> {
        let attempt = &decided.attempt;
        let used = self.used.get_mut(&attempt.player);
        let used = used.ok_or_else(|| format!("player {} was never named", attempt.player))?;
        if !used.insert(attempt.attempt_id.0) {
            let (id, player) = (attempt.attempt_id, attempt.player);
            return Err(format!("attempt {id} of player {player} is decided a second time").into());
        }
        let outcome = resolve(self.rules, self.population.get(attempt.fakemon_id), attempt);
        if outcome != decided.outcome {
            let (said, follows) = (decided.outcome.name(), outcome.name());
            let what = format!("attempt {} says {said}, but {follows} follows", attempt.attempt_id);
            return Err(Contradiction { what, expected: Some(follows.into()), found: Some(said.into()) });
        }
        if outcome == Outcome::Captured {
            if matches!(attempt.player, PlayerId(0 | u32::MAX)) {
                return Err(String::from("no player has this number").into());
            }
            self.population.apply(Change::Captured(attempt.fakemon_id, attempt.player));
            self.captures.add(attempt.player, position, attempt.fakemon_id.0);
        }
        self.attempts += 1;
        Ok(())
    }
}
