//! What a journal promises and keeps, and why it cannot be opened.

use crate::store::ReadError;
use fakemon_model::ids::Position;
use std::fmt::{self, Display};
use std::path::Path;
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

/// Why a data directory cannot be opened, made or copied. `Display` is one line that says what is wrong, where, and
/// what to do; the variant is what a program can act on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// An option is out of its range: nothing was touched.
    #[error("{0}")]
    Options(String),
    /// Another process has the directory open: stop that one, wait for it, or read a checkpoint of it.
    #[error("{0}")]
    Locked(String),
    /// A newer version of this program made the directory: update this one. Nothing was changed.
    #[error("{message}")]
    NewerFormat {
        /// The format of the directory.
        found: u32,
        /// The newest that this program knows.
        supported: u32,
        /// The line.
        message: String,
    },
    /// The directory is none of this program, holds other files, is not empty where it must be, or was not made to
    /// its end: give another one.
    #[error("{0}")]
    Unsuitable(String),
    /// What is on the disk is not what was written: restore a copy, or salvage what can be read.
    #[error("{message}")]
    Damaged {
        /// Of the first event that is missing or cannot be read, where that is known.
        position: Option<Position>,
        /// The line.
        message: String,
    },
    /// The kernel has no io_uring, or does not allow it here.
    #[error("{0}")]
    NoIoUring(String),
    /// The process may lock too little memory for the rings of its shards: raise `RLIMIT_MEMLOCK`.
    #[error("{0}")]
    MemlockTooLow(String),
    /// The process may have too few files open: raise `RLIMIT_NOFILE`.
    #[error("{0}")]
    TooFewDescriptors(String),
    /// The engine was closed meanwhile.
    #[error("the engine is closed")]
    Closed,
    /// The system refused something else: permissions, space, descriptors, threads, a failing disk.
    #[error("{0}")]
    Io(String),
}

/// A data directory at the beginning of a line: `data directory PATH`.
pub struct Directory<'d>(pub &'d Path);

impl Display for Directory<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "data directory {}", self.0.display())
    }
}

impl OpenError {
    /// What a reader found, as the line that begins with `place` and ends with `remedy`.
    pub fn reading(place: impl Display, error: &ReadError, remedy: &str) -> OpenError {
        let message = format!("{place}: {error}{remedy}");
        match error {
            ReadError::Corrupt { position, .. } => OpenError::Damaged { position: Some(*position), message },
            ReadError::Damaged(_) => OpenError::Damaged { position: None, message },
            ReadError::Store(_) | ReadError::Failed(_) => OpenError::Io(message),
        }
    }
}
