//! What one turn of a shard, or of a writer without a shard, decided: the section for the journal, and the answers to
//! send once it is durable. Only the desk takes turns, and only from the holder of a place.

use crate::command::SpawnError;
use crate::player::Player;
use crate::population::StateHash;
use fakemon_fbs::journal::SectionDraft;
use fakemon_fbs::snapshot::Caught;
use fakemon_model::event::DecidedAttempt;
use fakemon_model::ids::{FakemonId, Position, ShardId, Token};
use fakemon_resource::resource::Change as ResourceChange;

/// The client that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId(pub u16);

/// An answer that waits for its group to be durable.
pub struct Answer {
    /// The index of its event in the section.
    pub offset: u32,
    pub token: Token,
    pub body: AnswerBody,
}

pub enum AnswerBody {
    Decided {
        decided: DecidedAttempt,
        player: Player,
    },
    Spawned(Result<FakemonId, SpawnError>),
    /// Events that were not decided by a shard are in the journal; this is the first.
    Written,
}

/// A win, for the collection of the winner.
pub struct Capture {
    pub offset: u32,
    pub player: u32,
    pub caught: Caught,
}

/// The result of one turn.
pub struct Turn {
    /// The position of its first event; known once the group is written.
    pub first: Position,
    pub section: SectionDraft,
    pub facts: StateHash,
    pub captures: Vec<Capture>,
    pub answers: Vec<(ClientId, Vec<Answer>)>,
    /// Changes of resources of the bus.
    pub changes: Vec<ResourceChange>,
    /// The shard and the number of the turn in it; none if it was not decided by a shard.
    pub of_shard: Option<(ShardId, u64)>,
}

impl Turn {
    /// The turn of this number of a shard, with room for attempts.
    pub fn of_shard(shard: ShardId, number: u64, attempts: usize) -> Turn {
        let turn = Turn::of_names(SectionDraft::new(shard.0, attempts), StateHash::default());
        Turn { of_shard: Some((shard, number)), ..turn }
    }

    /// A turn that has no client to answer.
    pub fn of_names(section: SectionDraft, facts: StateHash) -> Turn {
        Turn {
            first: Position::default(),
            section,
            facts,
            captures: Vec::new(),
            answers: Vec::new(),
            changes: Vec::new(),
            of_shard: None,
        }
    }

    /// A turn that only writes, and answers one client.
    pub fn of_writes(section: SectionDraft, facts: StateHash, client: ClientId, token: Token) -> Turn {
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

    pub fn next_offset(&self) -> u32 {
        u32::try_from(self.section.len()).expect("a turn is bounded far below")
    }

    #[inline]
    pub fn answer(&mut self, client: ClientId, answer: Answer) {
        match self.answers.iter_mut().rev().find(|(held, _)| *held == client) {
            Some((_, answers)) => answers.push(answer),
            None => self.answers.push((client, vec![answer])),
        }
    }
}
