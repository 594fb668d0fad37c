//! A damaged data directory, opened to take out what can be read. All work happens on a copy beside the new
//! directory: tables are linked, the rest is copied, and RocksDB may repair the copy. The damaged directory itself is
//! not changed.

pub(crate) mod damaged; // reads around damage

use super::database::{Access, database_options, families, salvage_options};
use super::store::{Store, identify};
use crate::bus_store::BusStore;
use crate::copy::{hold, link_folder};
use crate::database::records::cut_endless;
use crate::error::OpenError;
use crate::snapshot_store::RowStore;
use crate::store::acknowledged::JOURNAL_NOTE;
use rocksdb::DB;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The copy; deleted when dropped.
pub struct SalvageCopy {
    scratch: PathBuf,
    _held: Held,
}

/// While this exists, no server can open the directory.
pub struct Held(#[expect(dead_code, reason = "it is held")] Option<File>);

impl SalvageCopy {
    /// Keeps servers from opening a damaged directory.
    pub fn hold(dir: &Path) -> Result<Held, OpenError> {
        let fail = |error: io::Error| OpenError::Io(format!("data directory {}: {error}", dir.display()));
        identify(dir)?; // a newer format is not damage
        hold(dir).map_err(fail)?.map(Held).ok_or_else(|| {
            let what = "a process has it open: stop it, or salvage a checkpoint of it";
            OpenError::Locked(format!("data directory {}: {what}", dir.display()))
        })
    }

    /// Copies the damaged directory `dir` beside `to`.
    pub fn of(dir: &Path, to: &Path, held: Held) -> Result<SalvageCopy, OpenError> {
        if !dir.join("journal").is_dir() {
            return Err(OpenError::Unsuitable(format!(
                "data directory {}: it has no folder `journal`",
                dir.display()
            )));
        }
        let mut scratch = to.as_os_str().to_owned();
        scratch.push(".salvage");
        let wreck = SalvageCopy { scratch: scratch.into(), _held: held };
        let unwritable = |error: io::Error| OpenError::Io(format!("{}: {error}", wreck.scratch.display()));
        if wreck.scratch.exists() {
            fs::remove_dir_all(&wreck.scratch).map_err(unwritable)?; // of an interrupted salvage
        }
        for folder in ["journal", "snapshot", "bus"].into_iter().filter(|folder| dir.join(folder).is_dir()) {
            link_folder(&dir.join(folder), &wreck.scratch.join(folder)).map_err(unwritable)?;
        }
        for folder in ["journal", "snapshot", "bus"] {
            cut_endless(&wreck.scratch.join(folder)).map_err(unwritable)?;
        }
        let _ = fs::copy(dir.join(JOURNAL_NOTE), wreck.scratch.join(JOURNAL_NOTE)); // if any
        Ok(wreck)
    }

    /// The journal, repaired if necessary; and whether it was.
    pub fn journal(&self) -> Result<(Store, bool), OpenError> {
        let path = self.scratch.join("journal");
        let open = || DB::open_cf_descriptors(&salvage_options(), &path, families(Access::Write));
        let fail = |error: rocksdb::Error| OpenError::Damaged {
            position: None,
            message: format!("nothing of the journal can be read: {error}"),
        };
        // Without tables all that a manifest says is that there are none, and a damaged one hides the log, which is
        // lost once a database was opened without it.
        if self.is_only_log()? {
            self.renew_manifest()?;
        }
        let (db, mended) = match open() {
            Ok(db) => (db, false),
            Err(error) => {
                tracing::warn!("the journal cannot be opened ({error}): its tables are taken one by one");
                DB::repair(&salvage_options(), &path).map_err(fail)?;
                (open().map_err(fail)?, true)
            }
        };
        Ok((Store::of_wreck(db, &self.scratch), mended))
    }

    /// Whether all data of the journal is in its log.
    fn is_only_log(&self) -> Result<bool, OpenError> {
        let names = self.names_of_journal()?;
        let is = |kind: &str| names.iter().any(|name| name.ends_with(kind));
        Ok(is(".log") && !is(".sst"))
    }

    fn names_of_journal(&self) -> Result<Vec<String>, OpenError> {
        let path = self.scratch.join("journal");
        let entries = fs::read_dir(&path).map_err(|error| OpenError::Io(format!("{}: {error}", path.display())))?;
        Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
    }

    /// Gives the copy the manifest of a new journal.
    fn renew_manifest(&self) -> Result<(), OpenError> {
        let (path, new) = (self.scratch.join("journal"), self.scratch.join("new"));
        let fail = |error: &dyn std::fmt::Display| OpenError::Io(format!("{}: {error}", new.display()));
        let made = DB::open_cf_descriptors(&database_options(), &new, families(Access::Write));
        drop(made.map_err(|error| fail(&error))?);
        let is_manifest = |name: &str| name == "CURRENT" || name.starts_with("MANIFEST-");
        for name in self.names_of_journal()?.iter().filter(|name| is_manifest(name)) {
            fs::remove_file(path.join(name)).map_err(|error| fail(&error))?;
        }
        for entry in fs::read_dir(&new).map_err(|error| fail(&error))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_manifest(&name) {
                fs::rename(entry.path(), path.join(name)).map_err(|error| fail(&error))?;
            }
        }
        fs::remove_dir_all(&new).map_err(|error| fail(&error))
    }

    /// The snapshot, if a server could open it and all of it can be read.
    pub fn rows(&self) -> Option<RowStore> {
        self.is_made("snapshot").then_some(())?;
        let rows = RowStore::open(&self.scratch).ok()?;
        rows.check().ok().map(|()| rows)
    }

    /// What the bus keeps, up to where its log is damaged, if all of that can be read.
    pub fn depot(&self) -> Option<BusStore> {
        self.is_made("bus").then_some(())?;
        let depot = BusStore::of_wreck(&self.scratch).ok()?;
        depot.check().ok().map(|()| depot)
    }

    /// Whether the database exists; otherwise opening would make a new one.
    fn is_made(&self, folder: &str) -> bool {
        self.scratch.join(folder).join("CURRENT").exists()
    }

    /// Moves a folder of the copy to the new directory.
    pub fn hand_over(&self, folder: &str, to: &Path) -> Result<(), OpenError> {
        let moved = fs::rename(self.scratch.join(folder), to.join(folder));
        moved.map_err(|error| OpenError::Io(format!("{}: {error}", to.join(folder).display())))
    }
}

impl Drop for SalvageCopy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.scratch); // else the next salvage deletes it
    }
}
