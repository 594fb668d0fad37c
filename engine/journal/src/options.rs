//! What a journal promises and keeps.

use std::time::Duration;

/// When answers are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// After the sync (`fdatasync`): an acknowledged event is never lost.
    #[default]
    Synced,
    /// After the write, before the sync: answers survive a crash of the process, a power cut can take some back.
    Unsynced,
}

/// What the journal keeps. Only events that the snapshot holds are deleted; at least the last block stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Events older than this are deleted.
    pub max_age: Option<Duration>,
    /// The oldest events are deleted while all blocks together, before compression, are larger than this.
    pub max_bytes: Option<u64>,
}
