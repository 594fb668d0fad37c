//! A copy of the data directory while the engine goes on, in milliseconds: a server starts from it, every tool reads it.
//! It holds everything that was told before it began; secrets of connections too, so guard it as you guard the original.

use crate::error::OpenError;
use crate::{Databases, Progress, copy_closed};
use fakemon_model::ids::Position;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A copy that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// All events before it are in the copy.
    pub position: Position,
}

/// Makes copies while the engine is open.
pub struct Checkpointer {
    dir: PathBuf,
    /// None once the engine is closed.
    databases: Mutex<Option<Databases>>,
    standing: Arc<Standing>,
    progress: Arc<Progress>,
}

/// Held while nothing may be let go of.
#[derive(Default)]
pub struct Standing(Mutex<()>);

impl Standing {
    pub fn hold<R>(&self, work: impl FnOnce() -> R) -> R {
        let _held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        work()
    }
}

impl Checkpointer {
    pub fn new(dir: &Path, databases: Databases, standing: Arc<Standing>, progress: Arc<Progress>) -> Checkpointer {
        Checkpointer { dir: dir.to_owned(), databases: Mutex::new(Some(databases)), standing, progress }
    }

    /// Copies to `to`; one at a time.
    pub fn copy(&self, to: &Path) -> Result<Checkpoint, OpenError> {
        let held = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        let databases = held.as_ref().ok_or(OpenError::Closed)?;
        let position = self.progress.committed();
        self.standing.hold(|| databases.copy(&self.dir, to))?;
        Ok(Checkpoint { position })
    }

    /// Lets go of the files, after a copy that is being made. The log goes into tables before, so that tools and the next
    /// start find their way at once.
    pub fn close(&self) {
        let databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = databases.map(|databases| databases.store.flush()) {
            tracing::warn!("the log stays, and the next start reads it: {error}");
        }
    }
}

/// Whether a directory is a copy, or another data directory, that somebody began to make and has not completed.
pub fn is_incomplete(dir: &Path) -> bool {
    crate::is_incomplete(dir)
}

/// Whether a path leads into a data directory: also by links, and by folders that are not there yet.
pub fn is_inside(dir: &Path, path: &Path) -> bool {
    crate::is_inside(dir, path)
}

/// Copies a data directory that no process has open, and changes nothing in it. False: one has it open, and must be
/// asked.
///
/// # Errors
/// One line with the remedy: no data directory, a destination that is not empty or cannot be written.
pub fn checkpoint(dir: &Path, to: &Path) -> Result<bool, OpenError> {
    copy_closed(dir, to)
}
