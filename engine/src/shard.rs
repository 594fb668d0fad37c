//! A shard: the fakémon of one core, and what it does with a turn's worth of commands. No clock, no queue, no
//! executor: commands and the time come in, a [`Turn`] goes out. `cores` runs it live, benches run it bare.

use crate::bus::resource::Change as ResourceChange;
use crate::command::SpawnError;
use crate::ids::{FakemonId, Position, ShardId, Timestamp, Token};
use crate::model::Outcome;
use crate::players::Player;
use crate::record::{DecidedThrow, appeared_record, short_ns, vanished_record};
use crate::resolve::{Rules, Throw, resolve};
use crate::state::{Change, Fakemon, Fate, Population, StateHash};
use fakemon_fbs::journal::SectionDraft;
use fakemon_fbs::snapshot::Caught;

/// Which client waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId(pub u16);

/// A throw on its way to its shard.
pub struct ThrowCommand {
    pub(crate) throw: Throw,
    pub(crate) player: Player,
    pub(crate) token: Token,
    pub(crate) queued_after_ns: u32,
    pub(crate) client: ClientId,
}

impl ThrowCommand {
    /// A throw of `player` that was queued so long after it was received; `client` gets the answer under `token`.
    pub fn new(throw: Throw, player: Player, token: Token, queued_after_ns: u32, client: ClientId) -> ThrowCommand {
        ThrowCommand { throw, player, token, queued_after_ns, client }
    }
}

/// What changes the world besides throws.
pub(crate) enum WorldCommand {
    /// Let it appear, and tell the client.
    Appear { fakemon: Fakemon, at: Timestamp, token: Token, client: ClientId },
    /// Its time is over, unless it is gone already.
    Vanish { fakemon: FakemonId, at: Timestamp },
}

/// An answer that waits for its group to be durable.
pub(crate) struct Answer {
    /// The place of its event in the section.
    pub(crate) offset: u32,
    pub(crate) token: Token,
    pub(crate) body: AnswerBody,
}

pub(crate) enum AnswerBody {
    Thrown {
        decided: DecidedThrow,
        player: Player,
    },
    Spawned(Result<FakemonId, SpawnError>),
    /// Events that no shard decides are in the journal; this is the first.
    Written,
}

/// A win, for the collection of the winner.
pub(crate) struct Capture {
    pub(crate) offset: u32,
    pub(crate) player: u32,
    pub(crate) caught: Caught,
}

/// What a shard decided in one turn: the section for the journal, and whom to tell once it is durable.
pub struct Turn {
    /// The position of its first event; known once the group is written.
    pub(crate) first: Position,
    pub(crate) section: SectionDraft,
    pub(crate) facts: StateHash,
    pub(crate) captures: Vec<Capture>,
    pub(crate) answers: Vec<(ClientId, Vec<Answer>)>,
    /// What changes on the bus.
    pub(crate) changes: Vec<ResourceChange>,
}

impl Turn {
    fn new(shard: ShardId, throws: usize) -> Turn {
        Turn::of_names(SectionDraft::new(shard.0, throws), StateHash::default())
    }

    /// A turn that nobody waits for.
    pub(crate) fn of_names(section: SectionDraft, facts: StateHash) -> Turn {
        Turn {
            first: Position::default(),
            section,
            facts,
            captures: Vec::new(),
            answers: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// A turn that only writes, and says so to a client.
    pub(crate) fn of_writes(section: SectionDraft, facts: StateHash, client: ClientId, token: Token) -> Turn {
        let mut turn = Turn::of_names(section, facts);
        turn.answer(client, Answer { offset: 0, token, body: AnswerBody::Written });
        turn
    }

    /// How many events it holds.
    pub fn len(&self) -> usize {
        self.section.len()
    }

    /// Whether it holds neither events nor answers.
    pub fn is_empty(&self) -> bool {
        self.section.is_empty() && self.answers.is_empty()
    }

    fn next_offset(&self) -> u32 {
        u32::try_from(self.section.len()).expect("a turn is bounded far below")
    }

    #[inline]
    fn answer(&mut self, client: ClientId, answer: Answer) {
        match self.answers.iter_mut().rev().find(|(held, _)| *held == client) {
            Some((_, answers)) => answers.push(answer),
            None => self.answers.push((client, vec![answer])),
        }
    }
}

/// One core's share of the world.
pub struct Shard {
    id: ShardId,
    rules: Rules,
    population: Population,
}

impl Shard {
    /// A shard that owns this population.
    pub fn new(id: ShardId, rules: Rules, population: Population) -> Shard {
        Shard { id, rules, population }
    }

    /// Decides throws in their order; all get the same moment of decision.
    pub fn decide(&mut self, throws: &mut Vec<ThrowCommand>, now: Timestamp) -> Turn {
        let mut turn = Turn::new(self.id, throws.len());
        for command in throws.drain(..) {
            self.decide_throw(command, now, &mut turn);
        }
        turn
    }

    #[inline]
    fn decide_throw(&mut self, command: ThrowCommand, now: Timestamp, turn: &mut Turn) {
        let ThrowCommand { throw, player, token, queued_after_ns, client } = command;
        let target = self.population.get(throw.fakemon_id);
        let outcome = resolve(self.rules, target, &throw);
        let species = target.map_or(crate::ids::SpeciesId::UNKNOWN, |fakemon| fakemon.species);
        let decided_after_ns = short_ns(throw.received_at, now);
        let decided = DecidedThrow { throw, outcome, species, queued_after_ns, decided_after_ns };
        let offset = turn.next_offset();
        if outcome == Outcome::Captured {
            self.population.apply(Change::Captured(throw.fakemon_id, throw.player));
            let captured_at = throw.received_at.plus_ns(decided_after_ns.into());
            let caught = Caught::new(throw.fakemon_id.0, captured_at.0, species.0);
            turn.captures.push(Capture { offset, player: throw.player.0, caught });
        }
        turn.facts.add(decided.facts());
        turn.section.push_attempt(decided.record());
        turn.answer(client, Answer { offset, token, body: AnswerBody::Thrown { decided, player } });
    }

    /// Lets fakémon appear and vanish.
    pub(crate) fn change_world(&mut self, commands: &mut Vec<WorldCommand>) -> Turn {
        let mut turn = Turn::new(self.id, 0);
        for command in commands.drain(..) {
            match command {
                WorldCommand::Appear { fakemon, at, token, client } => {
                    self.appear(fakemon, at, token, client, &mut turn);
                }
                WorldCommand::Vanish { fakemon, at } => self.vanish(fakemon, at, &mut turn),
            }
        }
        turn
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
