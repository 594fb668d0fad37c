//! Negative controls: mistakes that a programmer could make on the way of an attempt, each behind a name. A campaign
//! makes each of them on purpose, and the checks have to find it; a check that finds nothing checks nothing.

use crate::scene::Scene;
use std::fmt;

/// A mistake on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// An append reports success, and syncs with the next one.
    AnswerBeforeSync,
    /// Nothing is synced.
    SkipSync,
    /// Two shards have the same fakémon, and attempts go to either.
    TwoOwners,
    /// After a restart players may use their attempt ids again.
    ForgetResent,
    /// A crash takes the last durable block, and the note of it.
    DropTail,
    /// A crash leaves the last two blocks in the wrong order.
    ReorderBlocks,
    /// A shard decides first and looks for a place in the journal afterwards.
    DecideBeforePlace,
    /// A process that lost the lock of the data directory writes on.
    TwoWriters,
    /// A follower reads blocks that are written and not synced yet.
    FollowerAhead,
    /// After a restart dodge rolls use another seed.
    WrongRoll,
    /// What was acknowledged is noted before it is written.
    NoteBeforeWrite,
    /// The head of the snapshot is written before its rows.
    HeadBeforeRows,
    /// Rows of the snapshot are not flushed before retention lets go of their blocks.
    RowsNotFlushed,
    /// What the bus stored is not synced before retention lets go of its blocks.
    BusNotSynced,
    /// A collection is read as it was before the last block.
    StaleCollection,
    /// A deletion from a queue is acknowledged and not synced.
    SkipQueueSync,
    /// A power cut leaves a part of a batch of the bus.
    TearBatches,
    /// A player is known under a new number after a restart.
    RenumberPlayers,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Mistake; 18] = [
        Mistake::AnswerBeforeSync,
        Mistake::SkipSync,
        Mistake::TwoOwners,
        Mistake::ForgetResent,
        Mistake::DropTail,
        Mistake::ReorderBlocks,
        Mistake::DecideBeforePlace,
        Mistake::TwoWriters,
        Mistake::FollowerAhead,
        Mistake::WrongRoll,
        Mistake::NoteBeforeWrite,
        Mistake::HeadBeforeRows,
        Mistake::RowsNotFlushed,
        Mistake::BusNotSynced,
        Mistake::StaleCollection,
        Mistake::SkipQueueSync,
        Mistake::TearBatches,
        Mistake::RenumberPlayers,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Mistake::AnswerBeforeSync => "answer-before-sync",
            Mistake::SkipSync => "skip-sync",
            Mistake::TwoOwners => "two-owners",
            Mistake::ForgetResent => "forget-resent",
            Mistake::DropTail => "drop-tail",
            Mistake::ReorderBlocks => "reorder-blocks",
            Mistake::DecideBeforePlace => "decide-before-place",
            Mistake::TwoWriters => "two-writers",
            Mistake::FollowerAhead => "follower-ahead",
            Mistake::WrongRoll => "wrong-roll",
            Mistake::NoteBeforeWrite => "note-before-write",
            Mistake::HeadBeforeRows => "head-before-rows",
            Mistake::RowsNotFlushed => "rows-not-flushed",
            Mistake::BusNotSynced => "bus-not-synced",
            Mistake::StaleCollection => "stale-collection",
            Mistake::SkipQueueSync => "skip-queue-sync",
            Mistake::TearBatches => "tear-batches",
            Mistake::RenumberPlayers => "renumber-players",
        }
    }

    /// Where it is made.
    pub fn scene(self) -> Scene {
        match self {
            Mistake::SkipQueueSync | Mistake::TearBatches => Scene::Queues,
            _ => Scene::Small,
        }
    }

    /// The mistake of a name.
    pub fn named(name: &str) -> Option<Mistake> {
        Mistake::ALL.into_iter().find(|mistake| mistake.name() == name)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
