//! Copies of a data directory in which everything belongs together: files that never change are linked, logs are copied.
//!
//! A running engine copies what follows the journal first, and the journal last: so nothing in the copy knows more than
//! its journal, as after a crash, and the usual start-up brings all to its end. What lies only in memory is not written
//! for it. Retention must stand still meanwhile.

use super::depot::Depot;
use super::postings::PostingStore;
use super::rows::RowStore;
use super::store::{ACKNOWLEDGED, ReadError, Store, begin, complete, identify};
use crate::options::OpenError;
use rocksdb::DB;
use rocksdb::checkpoint::Checkpoint;
use rustix::fs::{FlockOperation, fcntl_lock};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The folders of a data directory, in the order in which they are copied.
const FOLDERS: [&str; 4] = ["snapshot", "index", "bus", JOURNAL];
const JOURNAL: &str = "journal";
const MAKING: &str = "a checkpoint";

/// All databases of a running engine.
pub(crate) struct Databases {
    pub(crate) store: Arc<Store>,
    pub(crate) rows: Arc<RowStore>,
    pub(crate) index: Arc<PostingStore>,
    pub(crate) depot: Arc<Depot>,
}

impl Databases {
    /// Copies the data directory `dir` to `to`, which is empty or not there.
    pub(crate) fn copy(&self, dir: &Path, to: &Path) -> Result<(), OpenError> {
        made(to, |to| {
            let fail = |error: ReadError| OpenError(format!("{}: {error}", to.display()));
            let [snapshot, index, bus, journal] = FOLDERS.map(|folder| to.join(folder));
            self.rows.checkpoint(&snapshot).map_err(fail)?;
            self.index.checkpoint(&index).map_err(fail)?;
            self.depot.checkpoint(&bus).map_err(fail)?;
            copy_acknowledged(dir, to)?;
            self.store.checkpoint(&journal).map_err(fail)
        })
    }
}

/// Copies a data directory that no process has open, and changes nothing in it. False: a process has it open.
pub(crate) fn copy_closed(dir: &Path, to: &Path) -> Result<bool, OpenError> {
    if !identify(dir)? {
        let what = "it is not a fakemon data directory (no file FAKEMON in it)";
        return Err(OpenError(format!("data directory {}: {what}", dir.display())));
    }
    let Some(_held) = hold(dir).map_err(|error| OpenError(format!("data directory {}: {error}", dir.display())))?
    else {
        return Ok(false);
    };
    made(to, |to| {
        copy_acknowledged(dir, to)?;
        for folder in FOLDERS.into_iter().filter(|folder| dir.join(folder).is_dir()) {
            link_folder(&dir.join(folder), &to.join(folder))
                .map_err(|error| OpenError(format!("{}: {error}", to.join(folder).display())))?;
        }
        Ok(())
    })?;
    Ok(true)
}

/// Makes a directory; takes it away again when that fails.
fn made(to: &Path, make: impl FnOnce(&Path) -> Result<(), OpenError>) -> Result<(), OpenError> {
    let was_there = to.exists();
    begin(to, MAKING)?;
    let done = make(to).and_then(|()| complete(to));
    if done.is_err() {
        let _ = fs::remove_dir_all(to); // it says itself that it is incomplete
        if was_there {
            let _ = fs::create_dir(to);
        }
    }
    done
}

/// Before the journal, so that the copy holds what was told.
fn copy_acknowledged(dir: &Path, to: &Path) -> Result<(), OpenError> {
    let (from, to) = (dir.join(ACKNOWLEDGED), to.join(ACKNOWLEDGED));
    match copy_file(&from, &to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        copied => copied.map_err(|error| OpenError(format!("{}: {error}", to.display()))),
    }
}

/// Keeps servers from opening a data directory; none if one has it open. The lock is RocksDB's own.
pub(super) fn hold(dir: &Path) -> io::Result<Option<Option<File>>> {
    let lock = match OpenOptions::new().write(true).open(dir.join(JOURNAL).join("LOCK")) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(None)), // nobody ever opened it
        Err(error) => return Err(error),
    };
    match fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Some(lock))),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Links the tables of a database, which never change; copies everything else that belongs to it.
pub(super) fn link_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if !entry.file_type()?.is_file() || name == "LOCK" || name.starts_with("LOG") {
            continue;
        }
        let table = path.extension().is_some_and(|kind| kind == "sst");
        if !table || fs::hard_link(&path, to.join(&*name)).is_err() {
            copy_file(&path, &to.join(&*name))?;
        }
    }
    File::open(to)?.sync_all()
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}

/// A copy of a database in which what lies only in memory is in the copied log, or missing if there is none.
pub(super) fn of_database(db: &DB, to: &Path) -> Result<(), ReadError> {
    Ok(Checkpoint::new(db)?.create_checkpoint_with_log_size(to, u64::MAX)?)
}
