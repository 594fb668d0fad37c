//! A damaged data directory, opened to take out what can be read. All work happens on a copy beside the new
//! directory: tables are linked, the rest is copied, and RocksDB may repair the copy. The damaged directory itself is
//! not changed.

pub(crate) mod damaged; // reads around damage
mod repair; // a database without a manifest
mod table; // a table without a database

use super::database::{Access, Part, database_options, families, holds_nothing, salvage_options};
use super::store::{Store, identify, is_incomplete};
use crate::bus_store::{self, BusStore};
use crate::copy::{hold, link_folder};
use crate::database::manifest::Manifest;
use crate::database::open::Database;
use crate::database::records::cut_endless;
use crate::error::OpenError;
use crate::snapshot_store::{self, RowStore};
use crate::store::acknowledged::{BUS_NOTE, JOURNAL_NOTE, Note, Noted};
use repair::{repaired, tables};
use rocksdb::DB;
use std::fmt::Display;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

const JOURNAL: &str = "journal";
const BUS: &str = "bus";
const FOLDERS: [&str; 3] = [JOURNAL, "snapshot", BUS];

/// The copy; deleted when dropped.
pub struct SalvageCopy {
    dir: PathBuf,
    scratch: PathBuf,
    _held: Held,
}

/// While this exists, no server can open the directory.
pub struct Held(#[expect(dead_code, reason = "it is held")] Option<File>);

impl SalvageCopy {
    /// Keeps servers from opening a damaged directory.
    pub fn hold(dir: &Path) -> Result<Held, OpenError> {
        let fail = |error: io::Error| OpenError::Io(format!("data directory {}: {error}", dir.display()));
        match identify(dir) {
            Err(error @ OpenError::NewerFormat { .. }) => {
                let what = "if no newer fakemon ever opened it, the file `FAKEMON` is damaged: delete it";
                return Err(OpenError::Unsuitable(format!("{error}; {what}")));
            }
            Err(error) if is_incomplete(dir) => return Err(error),
            // What a damaged identity says, the folders say as well.
            Ok(_) | Err(_) => {}
        }
        hold(dir).map_err(fail)?.map(Held).ok_or_else(|| {
            let what = "a process has it open: stop it, or salvage a checkpoint of it";
            OpenError::Locked(format!("data directory {}: {what}", dir.display()))
        })
    }

    /// Copies the damaged directory `dir` beside `to`.
    pub fn of(dir: &Path, to: &Path, held: Held) -> Result<SalvageCopy, OpenError> {
        let mut scratch = to.as_os_str().to_owned();
        scratch.push(".salvage");
        let wreck = SalvageCopy { dir: dir.to_owned(), scratch: scratch.into(), _held: held };
        if wreck.scratch.exists() {
            fs::remove_dir_all(&wreck.scratch).map_err(|error| wreck.unwritable(&error))?; // of an interrupted salvage
        }
        let folders: Vec<&str> = FOLDERS.into_iter().filter(|folder| dir.join(folder).is_dir()).collect();
        if folders.is_empty() {
            let what =
                format!("it has none of the folders {}", FOLDERS.map(|folder| format!("`{folder}`")).join(", "));
            return Err(OpenError::Unsuitable(format!("data directory {}: {what}", dir.display())));
        }
        folders.into_iter().try_for_each(|folder| wreck.link(folder))?;
        let _ = fs::copy(dir.join(JOURNAL_NOTE), wreck.scratch.join(JOURNAL_NOTE)); // if any
        Ok(wreck)
    }

    fn unwritable(&self, error: &dyn Display) -> OpenError {
        OpenError::Io(format!("{}: {error}", self.scratch.display()))
    }

    /// Copies a folder, again if it was.
    fn link(&self, folder: &str) -> Result<(), OpenError> {
        let (from, to) = (self.dir.join(folder), self.scratch.join(folder));
        match fs::remove_dir_all(&to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.unwritable(&error)),
            _ => {}
        }
        match from.is_dir() {
            true => {
                let linked = link_folder(&from, &to).and_then(|()| cut_endless(&to));
                linked.map_err(|error| self.unwritable(&error))
            }
            false => Ok(()),
        }
    }

    /// What is left of the journal; and what was done for it, as a sentence, if its manifest is of no use. That is so
    /// where it cannot be opened, and where it ends too early: a manifest that is cut says nothing of the tables that
    /// came later.
    pub fn journal(&self) -> Result<(Store, Option<String>), OpenError> {
        let path = self.scratch.join(JOURNAL);
        // Without tables all that a manifest says is that there are none, and a damaged one hides the log, which is
        // lost once a database was opened without it.
        let is_only_log = self.is_only_log()?;
        if is_only_log {
            self.renew_manifest()?;
        }
        if !is_only_log && !self.manifest_is_whole(Part::Journal) {
            return self.repaired_journal();
        }
        let opened = DB::open_cf_descriptors(&salvage_options(), &path, families(Access::Write));
        match opened {
            Ok(db) => {
                let store = Store::of_wreck(db, &self.scratch);
                let is_short = store.end_position().map_or(true, |end| end < store.told());
                if !is_short {
                    return Ok((store, None));
                }
                drop(store);
            }
            Err(error) => tracing::warn!("the journal cannot be opened: {error}"),
        }
        self.repaired_journal()
    }

    fn repaired_journal(&self) -> Result<(Store, Option<String>), OpenError> {
        let path = self.scratch.join(JOURNAL);
        self.link(JOURNAL)?;
        let by_key = |key: &[u8]| match key.len() {
            8 => Some("blocks"),
            12 => Some("collections"),
            _ => None,
        };
        let repaired = repaired(&path, &salvage_options(), &|| families(Access::Write), by_key);
        let (db, wrong) = repaired.map_err(|error| self.unwritable(&format!("the copy of the journal: {error}")))?;
        let wrong = wrong.iter().map(|wrong| format!("; {wrong}")).collect::<String>();
        Ok((
            Store::of_wreck(db, &self.scratch),
            Some(format!("the tables of the journal were read one by one{wrong}")),
        ))
    }

    /// Whether all data of the journal is in its log.
    fn is_only_log(&self) -> Result<bool, OpenError> {
        let names = self.names_of_journal()?;
        let is = |kind: &str| names.iter().any(|name| name.ends_with(kind));
        Ok(is(".log") && !is(".sst"))
    }

    fn names_of_journal(&self) -> Result<Vec<String>, OpenError> {
        match fs::read_dir(self.scratch.join(JOURNAL)) {
            Ok(entries) => {
                Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(self.unwritable(&error)),
        }
    }

    /// Gives the copy the manifest of a new journal.
    fn renew_manifest(&self) -> Result<(), OpenError> {
        let (path, new) = (self.scratch.join(JOURNAL), self.scratch.join("new"));
        let fail = |error: &dyn Display| OpenError::Io(format!("{}: {error}", new.display()));
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

    /// Whether a manifest of the damaged directory says all that it once said. One that is cut is opened without a
    /// word, and what it does not name is deleted.
    fn manifest_is_whole(&self, part: Part) -> bool {
        let folder = self.dir.join(part.name());
        let Ok(Some(manifest)) = Manifest::read(&folder) else { return false };
        let is_whole = manifest.check_families(part.families(), false).and_then(|()| manifest.check_tables(&folder));
        is_whole.is_ok() && (manifest.is_proven || names_all(&manifest, &folder))
    }

    /// The snapshot, if all of it can be read; and what was done for it, as a sentence, if its manifest is of no use.
    /// No table of it may be lost: nothing else says what was in it.
    pub fn rows(&self) -> (Option<RowStore>, Option<String>) {
        let readable = |rows: RowStore| rows.check().ok().map(|()| rows);
        if self.manifest_is_whole(Part::Snapshot) {
            return (RowStore::open(&self.scratch).ok().and_then(readable), None);
        }
        if holds_nothing(&self.scratch.join("snapshot")) || self.is_cut_off_from_tables() {
            return (None, None);
        }
        let (path, options) = (self.scratch.join("snapshot"), snapshot_store::database_options());
        let repaired = self
            .link("snapshot")
            .map_err(|error| error.to_string())
            .and_then(|()| repaired(&path, &options, &|| snapshot_store::families(Access::Write), |_| None));
        let rows = match repaired {
            Ok((db, wrong)) if wrong.is_empty() => RowStore::of_wreck(db).ok().and_then(readable),
            _ => None,
        };
        let what =
            "the tables of the snapshot were read one by one: if one of them was deleted, what it held is lost";
        let said = rows.is_some().then(|| what.to_owned());
        (rows, said)
    }

    /// Whether the manifest of the snapshot names a table that is not there as it was written.
    fn is_cut_off_from_tables(&self) -> bool {
        let folder = self.dir.join("snapshot");
        matches!(Manifest::read(&folder), Ok(Some(manifest)) if manifest.check_tables(&folder).is_err())
    }

    /// Whether there is a bus, damaged or not.
    pub fn has_bus(&self) -> bool {
        let folder = self.dir.join(BUS);
        !holds_nothing(&folder) || Manifest::read(&folder).map_or(true, |manifest| manifest.is_some())
    }

    /// What is left of the bus, to be written to: up to where its log is damaged, if all of that can be read; else
    /// all that can be read of its tables and logs, and what was done for it, as a sentence. None if there is no bus,
    /// or nothing of it can be read.
    pub fn depot(&self) -> Result<Option<(BusStore, Option<String>)>, OpenError> {
        let path = self.scratch.join(BUS);
        if holds_nothing(&path) {
            return Ok(None);
        }
        if self.manifest_is_whole(Part::Bus)
            && let Ok(depot) = BusStore::of_wreck(&self.scratch)
            && depot.check().is_ok()
            && !self.misses_tables_of_bus(&depot)
        {
            return Ok(Some((depot, None)));
        }
        self.link(BUS)?;
        let repaired = repaired(&path, &bus_store::database_options(), &bus_store::families, |_| None);
        let (depot, wrong) = match repaired {
            Ok((db, wrong)) => (BusStore::of(Database::to_read(db)), wrong),
            Err(error) => {
                tracing::warn!("nothing of the bus can be read: {error}");
                return Ok(None);
            }
        };
        let wrong = wrong.iter().map(|wrong| format!("; {wrong}")).collect::<String>();
        let what = format!("the tables and logs of the bus were read one by one{wrong}");
        Ok(depot.holds_anything().is_ok_and(|holds| holds).then_some((depot, Some(what))))
    }

    /// Whether the manifest says nothing of a table that is there, and that is missed.
    fn misses_tables_of_bus(&self, depot: &BusStore) -> bool {
        let there = tables(&self.dir.join(BUS)).unwrap_or_default().len();
        depot.last_change() < Noted::read(&self.dir, BUS_NOTE).number() && depot.tables() < there
    }

    /// Moves the bus of the copy to the new directory, with a note of how far it reaches.
    pub fn hand_over_bus(&self, depot: BusStore, to: &Path) -> Result<(), OpenError> {
        depot.sync().map_err(OpenError::Io)?;
        let last_change = depot.last_change();
        depot.close();
        drop(depot);
        let noted = Note::open(to, BUS_NOTE, &Noted::Unproven(last_change));
        noted.map_err(|error| OpenError::Io(format!("{}: {error}", to.join(BUS_NOTE).display())))?;
        self.hand_over(BUS, to)
    }

    /// Moves a folder of the copy to the new directory.
    pub fn hand_over(&self, folder: &str, to: &Path) -> Result<(), OpenError> {
        let moved = fs::rename(self.scratch.join(folder), to.join(folder));
        moved.map_err(|error| OpenError::Io(format!("{}: {error}", to.join(folder).display())))
    }
}

/// Whether a manifest names all tables that are there.
fn names_all(manifest: &Manifest, folder: &Path) -> bool {
    tables(folder).is_ok_and(|tables| tables.iter().all(|table| manifest.has_table(table)))
}

impl Drop for SalvageCopy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.scratch); // else the next salvage deletes it
    }
}
