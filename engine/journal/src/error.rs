//! Why a journal cannot be opened, and why it cannot be read.

use fakemon_model::ids::Position;
use std::fmt::{self, Display};
use std::path::Path;

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

/// A journal that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Bytes are not what was written.
    #[error("the journal is damaged at position {position}: {what}")]
    Corrupt {
        /// Of the block or row, as far as it is known.
        position: Position,
        /// What is wrong.
        what: String,
    },
    /// RocksDB, or who reads its rows, found that they are not what was written.
    #[error("it cannot be read: {0}")]
    Damaged(String),
    /// The disk or the store said no.
    #[error("it cannot be read: {0}")]
    Store(String),
    /// Something else was not done, a write for one: which part, why, and what to do.
    #[error("{0}")]
    Failed(String),
}

impl ReadError {
    pub fn corrupt(position: Position, what: impl ToString) -> ReadError {
        ReadError::Corrupt { position, what: what.to_string() }
    }
}
