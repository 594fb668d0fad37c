//! Consistent copies of a data directory: files that never change are linked, logs are copied.
//!
//! A running engine copies the databases that follow the journal first, and the journal last, so derived data in the
//! copy is never newer than its journal, and opening the copy is ordinary crash recovery. Data that is only in memory
//! is not flushed for a copy. Retention must not delete anything meanwhile.
//!
//! RocksDB's own checkpoint of an open database copies all of its logs, including those kept for recycling, in pieces
//! of 4 KiB through the page cache; then it syncs hundreds of MiB at once, and every capture waits for that. So the
//! copy is made here: only of the logs that are needed, a piece at a time, past the page cache.

pub(crate) mod unfinished; // a directory that is being made

use super::store::{IDENTITY, Store, begin, check_identity, complete};
use crate::bus_store::BusStore;
use crate::database::manifest::note;
use crate::database::open::Place;

use crate::copy::unfinished::Unfinished;
use crate::error::{OpenError, ReadError};
use crate::files::{self, PRIVATE_FILE};
use crate::index_store::IndexStore;
use crate::location::{group_rights, is_wide, make_like, permit_like};
use crate::snapshot_store::RowStore;
use crate::store::acknowledged::{BUS_NOTE, JOURNAL_NOTE, Noted};
use rocksdb::DB;
use rocksdb::properties::MIN_LOG_NUMBER_TO_KEEP;
use rustix::fs::{FlockOperation, OFlags, fcntl_lock, fcntl_setfl, flock};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// The folders of a data directory, in the order in which they are copied.
const FOLDERS: [&str; 4] = ["snapshot", "index", "bus", JOURNAL];
const JOURNAL: &str = "journal";
/// Names the manifest that a database uses.
const CURRENT: &str = "CURRENT";
const MAKING: &str = "a checkpoint";
/// What is noted of the manifest of one directory: each makes its own.
const MANIFEST_NOTE: &str = "manifest.noted";
/// A note that is written while it is copied is copied again.
const COPIES_MAX: u32 = 3;
/// What a sync of the journal may have to wait for while a log is copied; after each piece the disk is left alone for
/// as long as it took.
const PIECE_BYTES: usize = 256 << 10;
/// Writes past the page cache must begin and end at multiples of this, on every disk.
const ALIGNMENT: usize = 4_096;

/// All databases of a running engine.
#[derive(Clone)]
pub struct Databases {
    pub store: Arc<Store>,
    pub rows: Arc<RowStore>,
    pub index: Arc<IndexStore>,
    pub depot: Arc<BusStore>,
}

impl Databases {
    /// Copies the data directory `dir` to `to`, which is empty or does not exist.
    pub fn copy(&self, dir: &Path, to: &Path) -> Result<(), OpenError> {
        made(dir, to, |to| {
            let fail = |error: ReadError| OpenError::reading(to.display(), &error, "");
            let [snapshot, index, bus, journal] = FOLDERS.map(|folder| to.join(folder));
            self.rows.checkpoint(&snapshot).map_err(fail)?;
            self.index.checkpoint(&index).map_err(fail)?;
            copy_note(dir, to, BUS_NOTE)?;
            self.depot.checkpoint(&bus).map_err(fail)?;
            copy_note(dir, to, JOURNAL_NOTE)?;
            self.store.checkpoint(&journal).map_err(fail)
        })
    }
}

/// Copies a data directory that no process has open, and changes nothing in it. False: a process has it open.
pub fn copy_closed(dir: &Path, to: &Path) -> Result<bool, OpenError> {
    check_identity(dir)?;
    let Some(_held) =
        hold(dir).map_err(|error| OpenError::Io(format!("data directory {}: {error}", dir.display())))?
    else {
        return Ok(false);
    };
    made(dir, to, |to| {
        copy_note(dir, to, JOURNAL_NOTE)?;
        copy_note(dir, to, BUS_NOTE)?;
        for folder in FOLDERS.into_iter().filter(|folder| dir.join(folder).is_dir()) {
            link_folder(&dir.join(folder), &to.join(folder))
                .map_err(|error| OpenError::Io(format!("{}: {error}", to.join(folder).display())))?;
        }
        Ok(())
    })?;
    Ok(true)
}

/// Makes a directory with the permissions of the copied one; deletes it again when that fails.
fn made(dir: &Path, to: &Path, make: impl FnOnce(&Path) -> Result<(), OpenError>) -> Result<(), OpenError> {
    let unfinished = Unfinished::begin(to)?;
    let group = group_rights(dir);
    let permit = |name: &str| {
        let permitted = permit_like(&dir.join(name), &to.join(name), group);
        permitted.map_err(|error| OpenError::Io(format!("{}: {error}", to.join(name).display())))
    };
    begin(to, MAKING).and_then(|()| permit(""))?;
    make(to)?;
    complete(to).and_then(|()| permit(IDENTITY))?;
    unfinished.is_complete();
    Ok(())
}

/// Before the database, so that the copy holds what was told.
fn copy_note(dir: &Path, to: &Path, name: &str) -> Result<(), OpenError> {
    let (from, copy) = (dir.join(name), to.join(name));
    for _ in 0..COPIES_MAX {
        match copy_file(&from, &copy, group_rights(dir)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            copied => copied.map_err(|error| OpenError::Io(format!("{}: {error}", copy.display())))?,
        }
        if !matches!(Noted::read(to, name), Noted::Damaged(_)) {
            break;
        }
    }
    Ok(()) // a damaged one is copied as it is
}

/// Keeps servers from opening a data directory; none if a process has it open. The lock is RocksDB's own.
pub(super) fn hold(dir: &Path) -> io::Result<Option<Option<File>>> {
    if flock(&Place::of(dir)?.handle, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK) {
        return Ok(None); // its own lock may have been deleted
    }
    // Opened for reading, so that a user with read access only, or a read-only file system, suffices for a copy.
    let lock = match File::open(dir.join(JOURNAL).join("LOCK")) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(None)), // never opened
        Err(error) => return Err(error),
    };
    match fcntl_lock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Some(Some(lock))),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Links the tables of a database, which never change; copies everything else that belongs to it.
pub(super) fn link_folder(from: &Path, to: &Path) -> io::Result<()> {
    let group = group_rights(files::folder_of(from));
    make_like(from, to, group)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if !entry.file_type()?.is_file() || name == "LOCK" || name == MANIFEST_NOTE || name.starts_with("LOG") {
            continue;
        }
        match path.extension().is_some_and(|kind| kind == "sst") {
            true => link_or_copy(&path, &to.join(&*name), group)?,
            false => copy_file(&path, &to.join(&*name), group)?,
        }
    }
    File::open(to)?.sync_all()
}

fn copy_file(from: &Path, to: &Path, group: u32) -> io::Result<()> {
    fs::copy(from, to)?;
    permit_like(from, to, group)?;
    File::open(to)?.sync_all()
}

/// Copies an open database to `to`, which does not exist yet. Data that is only in memory is in the copied logs; a
/// database without logs loses it in the copy.
pub(super) fn of_database(db: &DB, to: &Path) -> Result<(), ReadError> {
    db.disable_file_deletions()?; // no log is recycled either
    let needed = db.property_int_value(MIN_LOG_NUMBER_TO_KEEP);
    let copied = needed.map(|needed| copy_open(db.path(), to, needed.unwrap_or(0)).and_then(|()| note(to)));
    db.enable_file_deletions()?;
    copied?.map_err(|error| ReadError::Store(error.to_string()))
}

/// Copies in the order in which files refer to each other: the manifest, then the tables it may name, then the logs.
fn copy_open(from: &Path, to: &Path, needed_log: u64) -> io::Result<()> {
    let group = group_rights(files::folder_of(from));
    make_like(from, to, group)?;
    let current = fs::read_to_string(from.join(CURRENT))?;
    copy_file(&from.join(current.trim_end()), &to.join(current.trim_end()), group)?;
    files::replace(&to.join(CURRENT), current.as_bytes(), PRIVATE_FILE)?;
    permit_like(&from.join(CURRENT), &to.join(CURRENT), group)?;
    let mut logs = Vec::new();
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        match path.extension().and_then(|kind| kind.to_str()) {
            Some("sst") => match link_or_copy(&path, &to.join(name), group) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {} // no longer needed
                linked => linked?,
            },
            Some("log") => {
                logs.extend(stem.parse().ok().filter(|log| *log >= needed_log).map(|log: u64| (log, path)))
            }
            None if stem == "IDENTITY" || stem.starts_with("OPTIONS-") => copy_file(&path, &to.join(name), group)?,
            _ => {}
        }
    }
    logs.sort_unstable(); // oldest first: each continues the one before
    for (_, log) in logs {
        copy_in_pieces(&log, &to.join(log.file_name().unwrap_or_default()), group)?;
    }
    File::open(to)?.sync_all()
}

fn link_or_copy(from: &Path, to: &Path, group: u32) -> io::Result<()> {
    // A link has the rights of its original, which may be wider than those of a copy.
    match is_wide(from, group) {
        true => copy_in_pieces(from, to, group),
        false => fs::hard_link(from, to).or_else(|_| copy_in_pieces(from, to, group)),
    }
}

/// Copies a file past the page cache, a piece at a time; where the file system does not support that, through the
/// cache with a sync after each piece.
fn copy_in_pieces(from: &Path, to: &Path, group: u32) -> io::Result<()> {
    let (original, from, mut copy) = (from, File::open(from)?, File::create(to)?);
    permit_like(original, to, group)?;
    let mut direct = fcntl_setfl(&copy, OFlags::DIRECT).is_ok();
    let mut buffer = vec![0; PIECE_BYTES + ALIGNMENT];
    let piece = buffer.as_ptr().align_offset(ALIGNMENT);
    let piece = &mut buffer[piece..piece + PIECE_BYTES];
    let mut bytes = 0;
    loop {
        let begun = Instant::now();
        let read = fill(&from, piece)?;
        let whole = read.next_multiple_of(ALIGNMENT);
        piece[read..whole].fill(0);
        if direct && let Err(error) = copy.write_all(&piece[..whole]) {
            if error.kind() != io::ErrorKind::InvalidInput {
                return Err(error);
            }
            direct = false;
            fcntl_setfl(&copy, OFlags::empty())?;
        }
        if !direct {
            copy.write_all(&piece[..whole])?;
            copy.sync_data()?;
        }
        bytes += read as u64;
        if read < PIECE_BYTES {
            break;
        }
        std::thread::sleep(begun.elapsed());
    }
    copy.set_len(bytes)?;
    copy.sync_all()
}

/// Reads until the piece is full or the file ends; returns the number of bytes.
fn fill(mut file: &File, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match file.read(&mut piece[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        for bytes in [0, 1, ALIGNMENT, PIECE_BYTES - 1, PIECE_BYTES, 3 * PIECE_BYTES + 4_097] {
            let noise: Vec<u8> = (0..bytes as u64).map(|at| fakemon_model::ids::mix(at) as u8).collect();
            fs::write(&from, &noise).unwrap();
            copy_in_pieces(&from, &to, 0).unwrap();
            assert!(fs::read(&to).unwrap() == noise, "{bytes} bytes");
        }
    }
}
