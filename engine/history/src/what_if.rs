//! What would have happened: the attempts of a range decided again, under other settings, by the same [`resolve`]
//! that decided them. The differences are reported; nothing is changed.

use crate::archive::Archive;
use crate::state_at::{Moment, MomentError, Watch};
use fakemon_capture::decision::record;
use fakemon_capture::decision::resolve::{Rules, resolve};
use fakemon_capture::population::{Change, Fakemon, Fate, Population};
use fakemon_fbs::journal::Event;
use fakemon_model::event::{CaptureAttempt, DecidedAttempt, Outcome};
use fakemon_model::ids::{AttemptId, FakemonId, PlayerId, Position, SpeciesId, Timestamp};
use fakemon_model::species::CatchRate;
use hashbrown::HashMap;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;

/// How long an attempt waits for others that were received earlier: records hold no longer time from receiving to
/// deciding.
const REORDER_NS: u64 = u32::MAX as u64;
/// Differences that are listed; the others are counted.
const TOLD_MAX: usize = 10_000;

/// In which order attempts are decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrival {
    /// In the order in which they were decided.
    #[default]
    AsDecided,
    /// In the order in which they were read from their sockets, on whatever thread.
    AsReceived,
}

/// The settings that differ.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Another catch rate for every fakémon.
    pub catch_rate: Option<CatchRate>,
    /// Another catch rate for a species; overrides `catch_rate`.
    pub catch_rate_of: Vec<(SpeciesId, CatchRate)>,
    /// Another reach, in millimetres.
    pub reach_mm: Option<u32>,
    /// Another seed of dodge rolls.
    pub world_seed: Option<u64>,
    /// Another order of the attempts.
    pub arrival: Arrival,
    /// The most attempts of a player per second; a pause does not save up more.
    pub attempts_per_s: Option<u32>,
}

/// How an attempt ends in either world; none: it is throttled.
pub type Ending = Option<Outcome>;

/// An attempt with a different outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Differs {
    /// Its position in the journal.
    pub position: Position,
    pub player: PlayerId,
    /// The player's name for the attempt.
    pub attempt_id: AttemptId,
    /// The fakémon it was aimed at.
    pub fakemon_id: FakemonId,
    /// The outcome in the journal.
    pub was: Outcome,
    /// The outcome under these settings.
    pub would_be: Ending,
}

/// A fakémon with a different winner, or with a winner in only one of the two worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherWinner {
    /// The fakémon.
    pub fakemon_id: FakemonId,
    /// The winner in the journal and the winning attempt; none if it was not caught.
    pub was: Option<(PlayerId, Position)>,
    /// The winner under these settings and the winning attempt; none if it would not be caught.
    pub would_be: Option<(PlayerId, Position)>,
}

/// Both worlds side by side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// The first position that was decided again,
    pub from: Position,
    /// and the first that was not.
    pub to: Position,
    /// Attempts that were decided again.
    pub attempts: u64,
    /// How many attempts had this outcome and would have that one.
    pub endings: HashMap<(Outcome, Ending), u64>,
    /// Attempts with a different outcome, in the order in which they were decided; at most 10,000 of them.
    pub differs: Vec<Differs>,
    /// Fakémon with another winner, by id; at most 10,000 of them.
    pub other_winners: Vec<OtherWinner>,
    /// The number of all fakémon with another winner.
    pub other_winners_count: u64,
}

impl Comparison {
    /// The number of attempts with a different outcome.
    pub fn changed(&self) -> u64 {
        let changed = self.endings.iter().filter(|((was, would_be), _)| Some(*was) != *would_be);
        changed.map(|(_, count)| count).sum()
    }

    /// The number of attempts with this outcome in the journal.
    pub fn was(&self, outcome: Outcome) -> u64 {
        self.endings.iter().filter(|((was, _), _)| *was == outcome).map(|(_, count)| count).sum()
    }

    /// The number of attempts with this outcome under these settings.
    pub fn would_be(&self, ending: Ending) -> u64 {
        self.endings.iter().filter(|((_, would_be), _)| *would_be == ending).map(|(_, count)| count).sum()
    }
}

/// Decides the attempts between `from` and `to` (not included) again.
///
/// # Errors
/// As [`Moment::advance`].
pub fn what_if(
    archive: &Archive,
    settings: &Settings,
    from: Position,
    to: Position,
    watch: &mut Watch<'_>,
) -> Result<Comparison, MomentError> {
    let mut before = Moment::beginning(archive)?;
    before.advance(archive, from, watch)?;
    let mut world = World::after(&before, settings);
    let mut interrupted = false;
    archive.blocks(from, &mut |_, block| {
        if block.head().first_position >= to.0 {
            return Ok(ControlFlow::Break(()));
        }
        let head = block.head();
        block.for_each(|position, _, event| {
            if (from.0..to.0).contains(&position) {
                world.take_in(Position(position), &event);
            }
        });
        world.decide_up_to(head.committed_ns.saturating_sub(REORDER_NS));
        let end = Position(head.first_position + u64::from(head.count)).min(to);
        world.comparison.to = end;
        interrupted = watch(end).is_break();
        Ok(if interrupted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    if interrupted {
        return Err(MomentError::Interrupted);
    }
    world.decide_up_to(u64::MAX);
    Ok(world.compared(from))
}

/// What happens next in time: attempts and changes of the world in one order.
#[derive(Clone, Copy)]
enum Next {
    Attempt(DecidedAttempt),
    Change(Change),
    Rules(Rules),
}

struct Waiting {
    at: u64,
    position: Position,
    next: Next,
}

impl Waiting {
    fn key(&self) -> (u64, Position) {
        (self.at, self.position)
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Waiting) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Waiting) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Waiting) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// The winner of a fakémon: in the journal, and under these settings.
#[derive(Clone, Copy, Default)]
struct Winners {
    was: Option<(PlayerId, Position)>,
    would_be: Option<(PlayerId, Position)>,
}

/// The world under these settings.
struct World<'s> {
    settings: &'s Settings,
    rules: Rules,
    population: Population,
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// Until when each player has used up the allowed rate.
    earned_until_ns: HashMap<PlayerId, u64>,
    winners: HashMap<FakemonId, Winners>,
    comparison: Comparison,
}

impl<'s> World<'s> {
    fn after(before: &Moment, settings: &'s Settings) -> World<'s> {
        let mut population = Population::default();
        before.all().for_each(|fakemon| population.apply(Change::Appeared(settings.changed(*fakemon))));
        World {
            settings,
            rules: settings.rules(before.rules()),
            population,
            waiting: BinaryHeap::new(),
            earned_until_ns: HashMap::new(),
            winners: HashMap::new(),
            comparison: Comparison::default(),
        }
    }

    fn take_in(&mut self, position: Position, event: &Event<'_>) {
        let received = self.settings.arrival == Arrival::AsReceived;
        let next = match event {
            Event::Attempt(attempt) => Next::Attempt(record::attempt(attempt)),
            Event::Opened(opened) => {
                let rules = Rules { world_seed: opened.world_seed, reach_mm: opened.reach_mm };
                Next::Rules(self.settings.rules(rules))
            }
            event => match record::change(event) {
                Some(change) => Next::Change(change),
                None => return,
            },
        };
        let at = match &next {
            Next::Attempt(decided) if received => decided.received_at,
            _ => record::at(event).unwrap_or_default(),
        };
        if received {
            self.waiting.push(Reverse(Waiting { at: at.0, position, next }));
        } else {
            self.happen(position, next);
        }
    }

    fn decide_up_to(&mut self, at: u64) {
        while self.waiting.peek().is_some_and(|Reverse(first)| first.at <= at) {
            let Some(Reverse(Waiting { position, next, .. })) = self.waiting.pop() else { return };
            self.happen(position, next);
        }
    }

    fn happen(&mut self, position: Position, next: Next) {
        match next {
            Next::Attempt(decided) => self.decide(position, &decided),
            Next::Rules(rules) => self.rules = rules,
            Next::Change(Change::Appeared(fakemon)) => {
                self.population.apply(Change::Appeared(self.settings.changed(fakemon)));
            }
            // A fakémon that is caught in this world stays caught; one that is not vanishes when it expires.
            Next::Change(Change::Vanished(id)) => {
                if self.population.get(id).map(Fakemon::fate) == Some(Fate::Wild) {
                    self.population.apply(Change::Vanished(id));
                }
            }
            Next::Change(Change::Captured(..)) => {} // an attempt
        }
    }

    fn decide(&mut self, position: Position, decided: &DecidedAttempt) {
        let (attempt, was) = (&decided.attempt, decided.outcome);
        let would_be = match self.may_attempt(attempt.player, attempt.received_at) {
            true => Some(resolve(self.rules, self.population.get(attempt.fakemon_id), attempt)),
            false => None,
        };
        self.comparison.attempts += 1;
        *self.comparison.endings.entry((was, would_be)).or_default() += 1;
        if was == Outcome::Captured {
            self.winners.entry(attempt.fakemon_id).or_default().was = Some((attempt.player, position));
        }
        if would_be == Some(Outcome::Captured) && !matches!(attempt.player, PlayerId(0 | u32::MAX)) {
            self.population.apply(Change::Captured(attempt.fakemon_id, attempt.player));
            self.winners.entry(attempt.fakemon_id).or_default().would_be = Some((attempt.player, position));
        }
        if Some(was) != would_be && self.comparison.differs.len() < TOLD_MAX {
            let CaptureAttempt { player, attempt_id, fakemon_id, .. } = *attempt;
            self.comparison.differs.push(Differs { position, player, attempt_id, fakemon_id, was, would_be });
        }
    }

    fn may_attempt(&mut self, player: PlayerId, at: Timestamp) -> bool {
        let Some(per_s) = self.settings.attempts_per_s else { return true };
        let step = 1_000_000_000 / u64::from(per_s.max(1));
        let earned = self.earned_until_ns.entry(player).or_default();
        let after = (*earned).max(at.0) + step;
        let may = after <= at.0 + 1_000_000_000;
        if may {
            *earned = after;
        }
        may
    }

    fn compared(mut self, from: Position) -> Comparison {
        let other = self.winners.into_iter().filter(|(_, winners)| {
            winners.was.map(|(player, _)| player) != winners.would_be.map(|(player, _)| player)
        });
        let mut other: Vec<OtherWinner> =
            other.map(|(fakemon_id, Winners { was, would_be })| OtherWinner { fakemon_id, was, would_be }).collect();
        other.sort_unstable_by_key(|other| other.fakemon_id);
        self.comparison.from = from;
        self.comparison.other_winners_count = other.len() as u64;
        other.truncate(TOLD_MAX);
        self.comparison.other_winners = other;
        self.comparison
    }
}

impl Settings {
    fn changed(&self, mut fakemon: Fakemon) -> Fakemon {
        let of_species = self.catch_rate_of.iter().find(|(species, _)| *species == fakemon.species);
        fakemon.catch_rate = of_species.map(|(_, rate)| *rate).or(self.catch_rate).unwrap_or(fakemon.catch_rate);
        fakemon
    }

    fn rules(&self, rules: Rules) -> Rules {
        Rules {
            world_seed: self.world_seed.unwrap_or(rules.world_seed),
            reach_mm: self.reach_mm.unwrap_or(rules.reach_mm),
        }
    }
}
