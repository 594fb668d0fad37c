//! Finds an order of the events of one fakémon in which each follows from those before it. Attempts keep their order
//! among each other, and so do its appearing and vanishing: a shard never let those overtake their own kind.

use super::changed;
use fakemon_capture::decision::resolve::{Rules, resolve};
use fakemon_capture::population::{Fakemon, Fate};
use fakemon_model::event::{DecidedAttempt, Event, Outcome};
use fakemon_model::ids::{PlayerId, Position};
use std::collections::{BTreeMap, VecDeque};

/// The events of a fakémon, in the order in which the journal has them.
pub(super) struct Sequence<'a> {
    /// The fakémon before them.
    pub(super) before: Option<Fakemon>,
    pub(super) events: Vec<(Position, Event)>,
    /// The settings at a position.
    pub(super) rules: &'a dyn Fn(Position) -> Rules,
    /// Where a player got a number: no attempt of the player can come before it.
    pub(super) named_at: &'a dyn Fn(PlayerId) -> Position,
}

/// The same events, placed.
#[derive(Default)]
pub(super) struct Ordered {
    /// The old and the new position of each, and the event.
    pub(super) placed: Vec<(Position, Position, Event)>,
    /// What does not follow in any order, and why.
    pub(super) left_out: Vec<(Position, Event, String)>,
}

impl Sequence<'_> {
    pub(super) fn ordered(&self) -> Ordered {
        let mut left_out: BTreeMap<Position, String> = BTreeMap::new();
        // Leaving out an event changes the positions of the others: each round leaves out at least one more.
        loop {
            let (order, wrong) = self.merged(&left_out);
            left_out.extend(wrong);
            let mut places: Vec<Position> = order.iter().map(|index| self.events[*index].0).collect();
            places.sort_unstable();
            let misplaced = order.iter().zip(&places).find_map(|(index, place)| self.misplaced(*index, *place));
            match misplaced {
                Some((position, why)) => drop(left_out.insert(position, why)),
                None => return self.placed(&order, &places, left_out),
            }
        }
    }

    fn placed(&self, order: &[usize], places: &[Position], left_out: BTreeMap<Position, String>) -> Ordered {
        let mut ordered = Ordered::default();
        for (index, place) in order.iter().zip(places) {
            let (position, event) = &self.events[*index];
            ordered.placed.push((*position, *place, event.clone()));
        }
        for (position, event) in &self.events {
            if let Some(why) = left_out.get(position) {
                ordered.left_out.push((*position, event.clone(), why.clone()));
            }
        }
        ordered
    }

    /// Why an event cannot be at a position.
    fn misplaced(&self, index: usize, place: Position) -> Option<(Position, String)> {
        let (position, event) = &self.events[index];
        let Event::Attempt(attempt) = event else { return None };
        if (self.named_at)(attempt.player) > place {
            return Some((*position, format!("it follows only where player {} is not named yet", attempt.player)));
        }
        let changed = (self.rules)(*position) != (self.rules)(place);
        changed.then(|| (*position, "it follows only where other settings held".to_owned()))
    }

    /// Puts appearing and vanishing between the attempts, as late as their outcomes allow.
    fn merged(&self, left_out: &BTreeMap<Position, String>) -> (Vec<usize>, BTreeMap<Position, String>) {
        let (mut order, mut wrong) = (Vec::new(), BTreeMap::new());
        let all = (0..self.events.len()).filter(|index| !left_out.contains_key(&self.events[*index].0));
        let (mut attempts, mut world) = (Vec::new(), VecDeque::new());
        for index in all {
            match self.events[index].1 {
                Event::Attempt(attempt) => attempts.push((index, attempt)),
                _ => world.push_back(index),
            }
        }
        let mut fakemon = self.before;
        for (index, DecidedAttempt { attempt, outcome: said, .. }) in attempts {
            let position = self.events[index].0;
            let rules = (self.rules)(position);
            // How many of the world's next events must come first: none, one, two, …
            let (mut needed, mut after) = (0, fakemon);
            while resolve(rules, after.as_ref(), &attempt) != said && needed <= world.len() {
                let next = world.get(needed).and_then(|next| changed(after, &self.events[*next].1));
                needed = if next.is_some() { needed + 1 } else { usize::MAX };
                after = next.or(after);
            }
            if needed > world.len() {
                let follows = resolve(rules, fakemon.as_ref(), &attempt).name();
                wrong.insert(position, format!("it says {}, but {follows} follows", said.name()));
                continue;
            }
            order.extend(world.drain(..needed));
            order.push(index);
            fakemon = match (said, after) {
                (Outcome::Captured, Some(wild)) => Some(wild.with_fate(Fate::Captured(attempt.player))),
                _ => after,
            };
        }
        for index in world {
            let (position, event) = &self.events[index];
            match changed(fakemon, event) {
                Some(next) => {
                    fakemon = Some(next);
                    order.push(index);
                }
                None => drop(wrong.insert(*position, "it appears a second time, or was not wild".to_owned())),
            }
        }
        (order, wrong)
    }
}
