//! What a journal promises and keeps.

use std::time::Duration;

/// When answers are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// After the sync (`fdatasync`): nothing that was told is ever lost.
    #[default]
    Synced,
    /// After the write, before the sync: answers survive a crash of the process, a power cut can take some back.
    Unsynced,
}

/// What the journal keeps. Only what the snapshot holds goes; at least the last block stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Events older than this go.
    pub max_age: Option<Duration>,
    /// The oldest go while all blocks together, before compression, are larger than this.
    pub max_bytes: Option<u64>,
}
