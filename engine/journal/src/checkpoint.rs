//! A copy of the data directory while the engine runs, in milliseconds: a server can start from it, and every tool
//! can read it. It holds every event that was acknowledged before it began, and the secrets of connections: guard it
//! like the original.

use crate::error::OpenError;
use crate::{Databases, Progress, copy_closed};
use fakemon_model::ids::Position;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

/// Locked while no block may be deleted.
#[derive(Default)]
pub struct Standing(Mutex<()>);

impl Standing {
    pub fn hold<R>(&self, work: impl FnOnce() -> R) -> R {
        let _held = self.0.lock();
        work()
    }
}

impl Checkpointer {
    pub fn new(dir: &Path, databases: Databases, standing: Arc<Standing>, progress: Arc<Progress>) -> Checkpointer {
        Checkpointer { dir: dir.to_owned(), databases: Mutex::new(Some(databases)), standing, progress }
    }

    /// Copies to `to`; one at a time.
    pub fn copy(&self, to: &Path) -> Result<Checkpoint, OpenError> {
        let held = self.databases.lock();
        let databases = held.as_ref().ok_or(OpenError::Closed)?;
        let position = self.progress.committed();
        self.standing.hold(|| databases.copy(&self.dir, to))?;
        Ok(Checkpoint { position })
    }

    /// Closes the databases, after a running copy has ended. Flushes the log into tables first, so that tools and the
    /// next start need not read it.
    pub fn close(&self) {
        let databases = self.databases.lock().take();
        if let Some(Err(error)) = databases.map(|databases| databases.store.flush()) {
            tracing::warn!("the log stays, and the next start reads it: {error}");
        }
    }
}

/// Whether a directory is a copy, or another new data directory, that was begun and is not complete.
pub fn is_incomplete(dir: &Path) -> bool {
    crate::is_incomplete(dir)
}

/// Whether a path leads into a data directory, also through links and through folders that do not exist yet.
pub fn is_inside(dir: &Path, path: &Path) -> bool {
    crate::is_inside(dir, path)
}

/// Copies a data directory that no process has open, and changes nothing in it. False: a process has it open, and
/// must be asked for the copy.
///
/// # Errors
/// One line with the remedy: there is no data directory, or the destination is not empty or cannot be written.
pub fn checkpoint(dir: &Path, to: &Path) -> Result<bool, OpenError> {
    copy_closed(dir, to)
}
