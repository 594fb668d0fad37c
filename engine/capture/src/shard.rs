//! A shard: the fakémon of one core, and what it does with a batch of commands. No clock, no executor: commands and
//! the time come in, a [`Turn`] goes to the desk. `cores` runs it live, benches run it bare.
//!
//! Nothing here changes without a [`Place`] at the desk: it is reserved before anything is decided, and the turn is
//! in the queue when the call ends. So the journal has the order in which the shard decided, even when the desk is
//! full.

#[cfg(test)]
mod interleavings;

use crate::command::SpawnError;
use crate::commit::commit_queue::Place;
use crate::decision::record::{appeared_record, attempt_record, facts_of_attempt, short_ns, vanished_record};
use crate::decision::resolve::{Rules, resolve};
use crate::decision::turn::{Answer, AnswerBody, Capture, ClientId, Turn};
use crate::player::Player;
use crate::population::{Change, Fakemon, Fate, Population, StateHash};
use fakemon_fbs::snapshot::Caught;
use fakemon_model::event::{CaptureAttempt, DecidedAttempt, Outcome};
use fakemon_model::ids::{FakemonId, ShardId, Timestamp, Token};

/// An attempt on its way to its shard.
pub struct AttemptCommand {
    pub attempt: CaptureAttempt,
    pub player: Player,
    pub token: Token,
    pub queued_after_ns: u32,
    pub client: ClientId,
}

impl AttemptCommand {
    /// An attempt of `player` that was queued this many nanoseconds after it was received; `client` gets the answer
    /// under `token`.
    pub fn new(
        attempt: CaptureAttempt,
        player: Player,
        token: Token,
        queued_after_ns: u32,
        client: ClientId,
    ) -> AttemptCommand {
        AttemptCommand { attempt, player, token, queued_after_ns, client }
    }
}

/// What changes the world besides attempts.
pub enum WorldCommand {
    /// Makes a fakémon appear, and answers the client.
    Appear { fakemon: Fakemon, at: Timestamp, token: Token, client: ClientId },
    /// Makes a fakémon vanish, unless it is gone already.
    Vanish { fakemon: FakemonId, at: Timestamp },
}

/// One core's share of the world.
pub struct Shard {
    id: ShardId,
    rules: Rules,
    population: Population,
    /// Turns handed over so far.
    turns: u64,
}

impl Shard {
    /// A shard that owns this population.
    pub fn new(id: ShardId, rules: Rules, population: Population) -> Shard {
        Shard { id, rules, population, turns: 0 }
    }

    /// Decides attempts in their order, all at the same moment, and hands them over to the journal; returns the
    /// number of events.
    pub fn decide(&mut self, place: Place<'_>, attempts: &mut Vec<AttemptCommand>, now: Timestamp) -> usize {
        let mut turn = self.turn(attempts.len());
        for command in attempts.drain(..) {
            self.decide_attempt(command, now, &mut turn);
        }
        self.hand_over(place, turn)
    }

    fn turn(&self, attempts: usize) -> Turn {
        Turn::of_shard(self.id, self.turns, attempts)
    }

    /// Gives the place back if nothing was decided.
    fn hand_over(&mut self, place: Place<'_>, turn: Turn) -> usize {
        let events = turn.len();
        if !turn.is_empty() {
            self.turns += 1;
            place.hand_over(turn);
        }
        events
    }

    #[inline]
    fn decide_attempt(&mut self, command: AttemptCommand, now: Timestamp, turn: &mut Turn) {
        let AttemptCommand { attempt, player, token, queued_after_ns, client } = command;
        let target = self.population.get(attempt.fakemon_id);
        let outcome = resolve(self.rules, target, &attempt);
        let species = target.map_or(fakemon_model::ids::SpeciesId::UNKNOWN, |fakemon| fakemon.species);
        let decided_after_ns = short_ns(attempt.received_at, now);
        let decided = DecidedAttempt { attempt, outcome, species, queued_after_ns, decided_after_ns };
        let offset = turn.next_offset();
        if outcome == Outcome::Captured {
            self.population.apply(Change::Captured(attempt.fakemon_id, attempt.player));
            let captured_at = decided.decided_at();
            let caught = Caught::new(attempt.fakemon_id.0, captured_at.0, species.0);
            turn.captures.push(Capture { offset, player: attempt.player.0, caught });
        }
        turn.facts.add(facts_of_attempt(&decided));
        turn.section.push_attempt(attempt_record(&decided));
        turn.answer(client, Answer { offset, token, body: AnswerBody::Decided { decided, player } });
    }

    /// Makes fakémon appear and vanish, and hands the turn over to the journal; returns the number of events.
    pub fn change_world(&mut self, place: Place<'_>, commands: &mut Vec<WorldCommand>) -> usize {
        let mut turn = self.turn(0);
        for command in commands.drain(..) {
            match command {
                WorldCommand::Appear { fakemon, at, token, client } => {
                    self.appear(fakemon, at, token, client, &mut turn);
                }
                WorldCommand::Vanish { fakemon, at } => self.vanish(fakemon, at, &mut turn),
            }
        }
        self.hand_over(place, turn)
    }

    fn appear(&mut self, fakemon: Fakemon, at: Timestamp, token: Token, client: ClientId, turn: &mut Turn) {
        let offset = turn.next_offset();
        let taken = self.population.get(fakemon.id).is_some();
        let result = if taken { Err(SpawnError::IdTaken(fakemon.id)) } else { Ok(fakemon.id) };
        if !taken {
            self.population.apply(Change::Appeared(fakemon));
            turn.facts.add(StateHash::appeared(&fakemon));
            turn.section.push_appeared(appeared_record(&fakemon, at));
        }
        turn.answer(client, Answer { offset, token, body: AnswerBody::Spawned(result) });
    }

    fn vanish(&mut self, id: FakemonId, at: Timestamp, turn: &mut Turn) {
        let over = |fakemon: &&Fakemon| fakemon.fate() == Fate::Wild && at >= fakemon.vanishes_at;
        if let Some(fakemon) = self.population.get(id).copied().as_ref().filter(over) {
            self.population.apply(Change::Vanished(id));
            turn.facts.add(StateHash::vanished(id));
            turn.section.push_vanished(vanished_record(fakemon, at));
        }
    }
}
