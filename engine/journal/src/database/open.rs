//! A database that is open, and the folder it was opened in.
//!
//! RocksDB opens its files by their names whenever it needs one. If the folder was deleted meanwhile, and another one
//! made in its place, then what it writes, and the files it deletes as its own that are no longer needed, would be
//! those of the database that is there now. So the folder that was opened is compared with the one that is there.

use super::Part;
use super::manifest::Noter;
use crate::error::{OpenError, ReadError};
use parking_lot::Mutex;
use rocksdb::DB;
use std::fs::{self, File};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An open database.
pub(crate) struct Database {
    /// None only while it is dropped.
    db: Option<DB>,
    /// Of a writer.
    folder: Option<Folder>,
}

impl Database {
    /// One that is only read.
    pub(crate) fn to_read(db: DB) -> Database {
        Database { db: Some(db), folder: None }
    }

    /// One that was just opened to write in a data directory; its manifest is noted.
    pub(crate) fn to_write(db: DB, part: Part, dir: &Path) -> Result<Database, OpenError> {
        let path = dir.join(part.name());
        let fail = |error: io::Error| part.not_opened(dir, &format!("IO error: {}: {error}", path.display()));
        let place = Place::of(&path).map_err(fail)?;
        let folder = Folder { part, place, noter: Mutex::default() };
        let database = Database { db: Some(db), folder: Some(folder) };
        database.note().map_err(|error| part.not_opened(dir, &format!("IO error: {error}")))?;
        Ok(database)
    }

    /// Notes what the manifest has grown by since the last call. To be called once a second.
    pub(crate) fn note(&self) -> Result<(), ReadError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        folder.check()?;
        let noted = folder.noter.lock().note(&folder.place.path);
        noted.map_err(|error| {
            ReadError::Failed(format!("the manifest of the {} could not be noted: {error}", folder.part.name()))
        })
    }

    /// Whether the folder that was opened is still in its place: files written by name would reach another one.
    pub(crate) fn check_place(&self) -> Result<(), ReadError> {
        self.folder.as_ref().map_or(Ok(()), Folder::check)
    }
}

impl Deref for Database {
    type Target = DB;

    fn deref(&self) -> &DB {
        self.db.as_ref().expect("it is taken only when it is dropped")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.check_place().is_err() {
            // Closing would write what is in memory, and delete what it takes for its own, in the folder that is
            // there now. What is leaked ends with the process.
            std::mem::forget(self.db.take());
            return;
        }
        drop(self.db.take());
        if let Err(error) = self.note() {
            tracing::warn!("{error}"); // the next opening notes it
        }
    }
}

struct Folder {
    part: Part,
    place: Place,
    noter: Mutex<Noter>,
}

impl Folder {
    fn check(&self) -> Result<(), ReadError> {
        match self.place.is_there() {
            true => Ok(()),
            false => Err(ReadError::Failed(format!(
                "the folder {} was deleted or replaced while it was open: nothing more is written there",
                self.place.path.display()
            ))),
        }
    }
}

/// A folder that was opened, by its path. It is held open, so that no other one gets its number.
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) handle: File,
    number: (u64, u64),
}

impl Place {
    pub(crate) fn of(path: &Path) -> io::Result<Place> {
        // The working directory may change; the folder that was opened does not.
        let (path, handle) = (std::path::absolute(path)?, File::open(path)?);
        let number = number(&handle.metadata()?);
        Ok(Place { path, handle, number })
    }

    /// Whether the path still leads to it.
    pub(crate) fn is_there(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|folder| number(&folder) == self.number)
    }
}

fn number(folder: &fs::Metadata) -> (u64, u64) {
    (folder.dev(), folder.ino())
}
