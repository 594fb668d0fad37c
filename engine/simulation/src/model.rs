//! What must hold, checked against what players were answered and what the journal says. The model keeps no state of
//! the node: it has a list of every answer, of every decision in its order, and reads the journal on its own.

use crate::memory_log::MemoryLog;
use fakemon_capture::decision::record;
use fakemon_capture::decision::resolve::{Rules, resolve};
use fakemon_capture::population::{Fakemon, Fate, StateHash};
use fakemon_capture::recovery::Recovered;
use fakemon_fbs::journal::Event;
use fakemon_journal::{BlockLog, Link, ReadError};
use fakemon_model::event::{DecidedAttempt, Decision, Outcome};
use fakemon_model::ids::{AttemptId, FakemonId, PlayerId, Position};
use hashbrown::HashMap;

/// What is claimed of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A fakémon has one winner, for ever.
    OneWinner,
    /// An answer is given after its event is durable.
    DurableFirst,
    /// Every accepted attempt is in the journal exactly once.
    ExactlyOnce,
    /// An attempt that is sent again gets its first answer.
    FirstAnswer,
    /// The journal has the order in which each shard decided.
    DecisionOrder,
    /// Positions have no gaps, and each block follows the one before.
    Contiguous,
    /// Deciding the journal again gives the same outcomes, and the same state.
    Replay,
    /// A collection has every capture that its player was answered.
    Collections,
    /// What is sent after an answer gets a later position.
    RealTime,
    /// Every start opens the directory, with every answer that was given.
    Recovers,
    /// Retention lets go only of what the bus has stored durably.
    Retained,
    /// A block that changed is refused.
    DamageRefused,
    /// Followers read only what is durable.
    FollowersBehind,
    /// The view of the world has every fakémon that is wild, and no other.
    WorldView,
    /// A message that a queue acknowledged is received until it is deleted, under one id.
    QueueKeeps,
    /// A message whose deletion was acknowledged is never received again.
    QueueDeletes,
    /// A message that was received is hidden for as long as was asked.
    QueueHides,
    /// A FIFO queue keeps the order of a group, and takes a message that is repeated once.
    QueueOrders,
    /// Once nothing fails any more, every attempt gets an answer.
    Answered,
    /// Nothing panics.
    NoPanic,
}

impl Claim {
    /// All of them.
    pub const ALL: [Claim; 20] = [
        Claim::OneWinner,
        Claim::DurableFirst,
        Claim::ExactlyOnce,
        Claim::FirstAnswer,
        Claim::DecisionOrder,
        Claim::Contiguous,
        Claim::Replay,
        Claim::Collections,
        Claim::RealTime,
        Claim::Recovers,
        Claim::Retained,
        Claim::DamageRefused,
        Claim::FollowersBehind,
        Claim::WorldView,
        Claim::QueueKeeps,
        Claim::QueueDeletes,
        Claim::QueueHides,
        Claim::QueueOrders,
        Claim::Answered,
        Claim::NoPanic,
    ];

    /// Whether runs of queues check it; the others check all else.
    pub fn is_of_queues(self) -> bool {
        matches!(self, Claim::QueueKeeps | Claim::QueueDeletes | Claim::QueueHides | Claim::QueueOrders)
    }

    /// The claim, and how it is checked, for people.
    pub fn says(self) -> (&'static str, &'static str) {
        match self {
            Claim::OneWinner => ("one winner per fakémon, for ever", "journal and answers, over all lives"),
            Claim::DurableFirst => ("durable before it is answered", "end of the synced log at every answer"),
            Claim::ExactlyOnce => ("accepted attempts exactly once", "journal against answers"),
            Claim::FirstAnswer => ("sent again, answered the same", "every answer against the first, and at the end"),
            Claim::DecisionOrder => ("journal order is decision order", "what each shard was given, in its order"),
            Claim::Contiguous => ("no gaps, one chain of hashes", "journal read from the beginning"),
            Claim::Replay => ("replay gives the same state", "decided again; snapshot and tail against all blocks"),
            Claim::Collections => ("collections have what was answered", "asked after answers, and at the end"),
            Claim::RealTime => ("later attempts, later positions", "answers before the first sending"),
            Claim::Recovers => ("starts after every crash", "the usual start, by the production code"),
            Claim::Retained => ("retention waits for the bus", "where the bus is and the journal begins, at starts"),
            Claim::DamageRefused => ("a changed block is refused", "one bit of the tail, before a start"),
            Claim::FollowersBehind => ("followers see durable blocks only", "every read of a follower"),
            Claim::WorldView => ("the view has what is wild", "as many as the journal says, at the end"),
            Claim::QueueKeeps => ("a queue keeps what it acknowledged", "all received at the end, each once"),
            Claim::QueueDeletes => ("what is deleted stays deleted", "every receive"),
            Claim::QueueHides => ("what is received is hidden", "every receive"),
            Claim::QueueOrders => ("groups in order, repeats once", "every receive, every repeated send"),
            Claim::Answered => ("every attempt is answered at last", "all sent again without faults"),
            Claim::NoPanic => ("nothing panics", "every run"),
        }
    }
}

/// A claim that does not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which.
    pub claim: Claim,
    /// What was seen.
    pub what: String,
}

/// An attempt of a player, as the model numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberedAttempt {
    /// The player.
    pub player: usize,
    /// Which of the player's attempts.
    pub index: usize,
}

/// What is known of an attempt.
#[derive(Clone, Copy, Default)]
struct Sent {
    /// Every position that was answered before the first sending is lower than the attempt's.
    after: Position,
    answer: Option<Decision>,
}

/// What players know.
pub struct Model {
    /// The attempt ids of a player: `1 + index * stride`.
    strides: Vec<u64>,
    sent: Vec<Vec<Sent>>,
    /// Of each player: positions of captures that were answered.
    caught: Vec<Vec<Position>>,
    winners: HashMap<FakemonId, NumberedAttempt>,
    /// Where events were acknowledged that are no attempts: the fakémon that appeared there, or none for an event
    /// that was put.
    written: Vec<(Position, Option<FakemonId>)>,
    /// The highest position that was answered.
    newest: Position,
    /// Of each life: what its shards were given.
    lives: Vec<Given>,
    /// Answers so far.
    pub answers: u64,
    /// A hash of all answers in their order.
    pub digest: StateHash,
    /// What does not hold.
    pub violations: Vec<Violation>,
}

/// A life: where it began, and what each of its shards was given to decide.
struct Given {
    begin: Position,
    decided: Vec<Vec<(PlayerId, AttemptId)>>,
}

/// What the journal says, by the model's own reading.
pub struct Truth {
    /// The end of the journal.
    pub link: Link,
    fakemon: HashMap<FakemonId, Fakemon>,
    numbers: Vec<Option<usize>>,
    answers: Vec<Vec<Option<Decision>>>,
    captures: Vec<Vec<Position>>,
    rules: Option<Rules>,
    /// Events that are no attempts, as [`Model::written`] has them.
    written: HashMap<Position, Option<FakemonId>>,
    /// Of each life: how far each shard's decisions are in the journal.
    decided: Vec<Vec<usize>>,
}

/// The name of a player.
pub fn name_of(player: usize) -> String {
    format!("player-{player}")
}

impl Model {
    /// A model of players with these distances between their attempt ids.
    pub fn new(strides: Vec<u64>) -> Model {
        let players = strides.len();
        Model {
            strides,
            sent: vec![Vec::new(); players],
            caught: vec![Vec::new(); players],
            winners: HashMap::new(),
            written: Vec::new(),
            newest: Position(0),
            lives: Vec::new(),
            answers: 0,
            digest: StateHash::default(),
            violations: Vec::new(),
        }
    }

    /// Reports a violation.
    pub fn violated(&mut self, claim: Claim, what: impl Into<String>) {
        self.violations.push(Violation { claim, what: what.into() });
    }

    fn holds(&mut self, claim: Claim, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violated(claim, what());
        }
    }

    /// The id of an attempt.
    pub fn attempt_id(&self, attempt: NumberedAttempt) -> AttemptId {
        AttemptId(1 + attempt.index as u64 * self.strides[attempt.player])
    }

    fn index_of(&self, player: usize, attempt: AttemptId) -> Option<usize> {
        let (stride, id) = (self.strides[player], attempt.0.checked_sub(1)?);
        (id % stride == 0).then_some(usize::try_from(id / stride).ok()?)
    }

    /// A new attempt of a player, about to be sent for the first time.
    pub fn sends(&mut self, player: usize) -> NumberedAttempt {
        self.sent[player].push(Sent { after: self.newest, answer: None });
        NumberedAttempt { player, index: self.sent[player].len() - 1 }
    }

    /// How many players there are.
    pub fn players(&self) -> usize {
        self.sent.len()
    }

    /// How many attempts a player has sent.
    pub fn sent_by(&self, player: usize) -> usize {
        self.sent[player].len()
    }

    /// The first answer to an attempt.
    pub fn answer_to(&self, attempt: NumberedAttempt) -> Option<Decision> {
        self.sent[attempt.player][attempt.index].answer
    }

    /// How many captures a player was answered.
    pub fn captures_of(&self, player: usize) -> usize {
        self.caught[player].len()
    }

    /// A life of the node begins.
    pub fn begins(&mut self, begin: Position, shards: usize) -> usize {
        self.lives.push(Given { begin, decided: vec![Vec::new(); shards] });
        self.lives.len() - 1
    }

    /// A shard is about to decide an attempt.
    #[inline]
    pub fn decides(&mut self, life: usize, shard: usize, player: PlayerId, attempt: AttemptId) {
        self.lives[life].decided[shard].push((player, attempt));
    }

    /// Something at a position leaves the node while everything before `durable` is synced.
    pub fn is_told(&mut self, position: Position, durable: Position) {
        self.holds(Claim::DurableFirst, position < durable, || {
            format!("position {position} was answered while the log was durable up to {durable}")
        });
        self.newest = self.newest.max(position);
        self.answers += 1;
    }

    /// An event that is no attempt is acknowledged.
    pub fn is_written(&mut self, position: Position, appeared: Option<FakemonId>, durable: Position) {
        self.is_told(position, durable);
        self.written.push((position, appeared));
    }

    /// A player is answered.
    pub fn answered(&mut self, attempt: NumberedAttempt, decision: Decision, durable: Position) {
        self.is_told(decision.position, durable);
        let NumberedAttempt { player, index } = attempt;
        let Decision { attempt_id, fakemon_id, outcome, position } = decision;
        self.digest.add(StateHash::answered(PlayerId(player as u32), attempt_id, fakemon_id, outcome));
        self.digest.0 = self.digest.0.rotate_left(7) ^ position.0;
        let expected = self.attempt_id(attempt);
        self.holds(Claim::FirstAnswer, attempt_id == expected, || format!("{attempt:?} got {decision:?}"));
        let sent = self.sent[player][index];
        if let Some(first) = sent.answer {
            self.holds(Claim::FirstAnswer, first == decision, || {
                format!("{first:?}, then {decision:?} to {attempt:?}")
            });
            return;
        }
        self.sent[player][index].answer = Some(decision);
        self.holds(Claim::RealTime, position > sent.after, || {
            format!("{attempt:?} was sent after position {} was answered, and got {position}", sent.after)
        });
        if outcome == Outcome::Captured {
            self.caught[player].push(position);
            let winner = *self.winners.entry(fakemon_id).or_insert(attempt);
            self.holds(Claim::OneWinner, winner == attempt, || {
                format!("fakémon {fakemon_id}: {winner:?} and {attempt:?} were answered that they have it")
            });
        }
    }

    /// A player gets a collection; the first `floor` captures were answered before it was asked for.
    pub fn collected(&mut self, player: usize, floor: usize, items: &[Position]) {
        let missing = self.caught[player][..floor].iter().find(|position| !items.contains(position)).copied();
        self.holds(Claim::Collections, missing.is_none(), || {
            format!("the capture at {missing:?} was answered, and player {player} does not have it in {items:?}")
        });
        let sorted = items.windows(2).all(|pair| pair[0] < pair[1]);
        self.holds(Claim::Collections, sorted, || format!("the captures of player {player} are {items:?}"));
    }
}

impl Model {
    /// Reads the journal from its beginning and checks everything that it can prove alone.
    pub fn read(&mut self, log: &MemoryLog) -> Truth {
        let mut truth = Truth {
            link: Link { next: Position(1), ..Link::default() },
            fakemon: HashMap::new(),
            numbers: Vec::new(),
            answers: self.sent.iter().map(|sent| vec![None; sent.len()]).collect(),
            captures: vec![Vec::new(); self.sent.len()],
            rules: None,
            written: HashMap::new(),
            decided: self.lives.iter().map(|life| vec![0; life.decided.len()]).collect(),
        };
        let read = log.every_block(&mut |stored| {
            if stored.first != truth.link.next {
                return Err(ReadError::corrupt(truth.link.next, format!("the next block is at {}", stored.first)));
            }
            let block = stored.verify_after(&truth.link.hash)?;
            block.for_each(|position, shard, event| self.take_in(&mut truth, Position(position), shard, event));
            let said = block.head().state_hash;
            self.holds(Claim::Replay, truth.link.state.0 == said, || format!("the state after {}", stored.first));
            truth.link.hash = stored.hash;
            truth.link.next.0 += u64::from(block.head().count);
            Ok(())
        });
        if let Err(error) = read {
            self.violated(Claim::Contiguous, error.to_string());
        }
        truth
    }

    fn take_in(&mut self, truth: &mut Truth, position: Position, shard: u16, event: Event<'_>) {
        truth.link.state.add(record::facts(&event));
        match event {
            Event::Attempt(attempt) => {
                let decided = record::attempt(attempt);
                self.take_in_attempt(truth, position, usize::from(shard), &decided);
            }
            Event::Appeared(appeared) => {
                let fakemon = record::appeared(appeared);
                let before = truth.fakemon.insert(fakemon.id, fakemon);
                truth.written.insert(position, Some(fakemon.id));
                self.holds(Claim::ExactlyOnce, before.is_none(), || format!("{} appears twice", fakemon.id));
            }
            Event::Vanished(vanished) => {
                let id = FakemonId(vanished.fakemon_id());
                let fakemon = truth.fakemon.get_mut(&id).filter(|fakemon| fakemon.fate() == Fate::Wild);
                let was_wild = fakemon.map(Fakemon::vanish).is_some();
                self.holds(Claim::Replay, was_wild, || format!("{id} vanishes at {position} and was not wild"));
            }
            Event::PlayerNamed(named) => {
                let number = named.player as usize;
                let player = (0..self.sent.len()).find(|player| name_of(*player) == named.name);
                let is_new = !truth.numbers.contains(&player);
                truth.numbers.resize(truth.numbers.len().max(number + 1), None);
                let is_free = std::mem::replace(&mut truth.numbers[number], player).is_none();
                self.holds(Claim::ExactlyOnce, player.is_some() && is_new && is_free, || {
                    format!("{} gets the number {number} at {position}", named.name)
                });
            }
            Event::Opened(opened) => {
                let rules = Rules { world_seed: opened.world_seed, reach_mm: opened.reach_mm };
                let same = *truth.rules.get_or_insert(rules) == rules;
                self.holds(Claim::Replay, same, || format!("the rules changed at {position}"));
            }
            Event::Put(_) => drop(truth.written.insert(position, None)),
            Event::SpeciesNamed(_) | Event::Changed(_) => {}
        }
    }

    fn take_in_attempt(&mut self, truth: &mut Truth, position: Position, shard: usize, decided: &DecidedAttempt) {
        let DecidedAttempt { attempt, outcome, .. } = *decided;
        let fakemon = truth.fakemon.get_mut(&attempt.fakemon_id);
        let again = resolve(truth.rules.unwrap_or_default(), fakemon.as_deref(), &attempt);
        if let Some(fakemon) = fakemon.filter(|_| outcome == Outcome::Captured) {
            match fakemon.fate() {
                Fate::Wild => fakemon.capture(attempt.player),
                fate => self.violated(Claim::OneWinner, format!("{fate:?} is captured at {position}")),
            }
        }
        self.holds(Claim::Replay, again == outcome, || {
            format!("{} at {position} is {} when decided again", outcome.name(), again.name())
        });
        self.check_order(truth, position, shard, decided);
        let player = truth.numbers.get(attempt.player.0 as usize).copied().flatten();
        let index = player.and_then(|player| self.index_of(player, attempt.attempt_id));
        let (Some(player), Some(index)) = (player, index) else {
            return self.violated(Claim::ExactlyOnce, format!("no player sent what is at {position}"));
        };
        let (attempt_id, fakemon_id) = (attempt.attempt_id, attempt.fakemon_id);
        let decision = Decision { attempt_id, fakemon_id, outcome, position };
        let Some(held) = truth.answers[player].get_mut(index) else {
            return self.violated(Claim::ExactlyOnce, format!("player {player} never sent what is at {position}"));
        };
        let before = held.replace(decision);
        self.holds(Claim::ExactlyOnce, before.is_none(), || format!("{before:?}, and again at {position}"));
        if outcome == Outcome::Captured {
            truth.captures[player].push(position);
        }
    }

    /// Whether an attempt in the journal is the next that its shard was given in that life.
    fn check_order(&mut self, truth: &mut Truth, position: Position, shard: usize, decided: &DecidedAttempt) {
        let life = self.lives.iter().rposition(|life| life.begin <= position).unwrap_or(0);
        let given = self.lives.get(life).and_then(|life| life.decided.get(shard));
        let next = truth.decided.get_mut(life).and_then(|shards| shards.get_mut(shard));
        let (Some(given), Some(next)) = (given, next) else {
            return self.violated(Claim::DecisionOrder, format!("no shard {shard} decided what is at {position}"));
        };
        let (expected, found) = (given.get(*next).copied(), (decided.player, decided.attempt_id));
        *next += 1;
        self.holds(Claim::DecisionOrder, expected == Some(found), || {
            format!("shard {shard} of life {life} decided {expected:?}, and {found:?} is at {position}")
        });
    }

    /// Every answer is in the journal, as it was given.
    pub fn check_answers(&mut self, truth: &Truth) {
        let mut wrong = Vec::new();
        for (player, sent) in self.sent.iter().enumerate() {
            for (index, sent) in sent.iter().enumerate() {
                let held = truth.answers[player][index];
                if sent.answer.is_some() && sent.answer != held {
                    wrong.push(format!("answered {:?}, and the journal has {held:?}", sent.answer));
                }
            }
        }
        for (position, expected) in &self.written {
            let held = truth.written.get(position);
            if held != Some(expected) {
                wrong.push(format!("{expected:?} was acknowledged at {position}, and the journal has {held:?}"));
            }
        }
        wrong.into_iter().for_each(|what| self.violated(Claim::ExactlyOnce, what));
    }

    /// The view of the world has as many fakémon as the journal says.
    pub fn check_world(&mut self, truth: &Truth, seen: usize) {
        let wild = truth.fakemon.values().filter(|fakemon| fakemon.fate() == Fate::Wild).count();
        self.holds(Claim::WorldView, seen == wild, || format!("{seen} are seen, and {wild} are wild"));
    }

    /// A start found the same as the journal says.
    pub fn check_recovered(&mut self, truth: &Truth, recovered: Result<Recovered, ReadError>) {
        let recovered = match recovered {
            Ok(recovered) => recovered,
            Err(error) => return self.violated(Claim::Recovers, error.to_string()),
        };
        self.holds(Claim::Replay, recovered.link == truth.link, || {
            format!("a start found {:?}, the journal says {:?}", recovered.link, truth.link)
        });
        let mut found = 0;
        for fakemon in recovered.populations.iter().flat_map(|population| population.iter()) {
            found += 1;
            let expected = truth.fakemon.get(&fakemon.id).copied();
            self.holds(Claim::Replay, expected == Some(*fakemon), || format!("{fakemon:?}, not {expected:?}"));
        }
        let expected = truth.fakemon.len();
        self.holds(Claim::Replay, found == expected, || format!("{found} fakémon after a start, not {expected}"));
    }

    /// The collections of a log hold what the journal says.
    pub fn check_collections(&mut self, truth: &Truth, log: &MemoryLog) {
        for (number, player) in truth.numbers.iter().enumerate() {
            let (Some(player), Ok(number)) = (*player, u32::try_from(number)) else { continue };
            let held = log.collection(PlayerId(number), Position(u64::MAX), usize::MAX).unwrap_or_default();
            let held: Vec<Position> = held.into_iter().rev().map(|(position, _)| position).collect();
            let expected = &truth.captures[player];
            self.holds(Claim::Collections, held == *expected, || {
                format!("player {player}: {held:?}, not {expected:?}")
            });
        }
    }
}
