//! What the bus keeps beside the journal, in a database of its own: how far deliveries are, what waits in queues,
//! lines of log groups, secrets. It is logged, so that what was written survives the process; a write that somebody
//! is told of asks for a sync.
//!
//! After each sync its number is noted (`acknowledged`). The log is read up to the first record that is damaged,
//! missing or cut short, in the last log or in one before (each log says how the one before it ended); if that is
//! before the note, the bus is damaged, and nothing opens it to write, which would delete what is left of it.

pub(crate) mod shared_sync; // writers that wait at the same time share one sync
pub(crate) mod memory_tables; // tables in memory, for simulations

use super::database::{
    Part, holds_nothing, is_not_there, look_beside, look_to_write, open_tables_max, open_to_read, scan_options,
};
use crate::bus_store::memory_tables::MemoryTables;
use crate::bus_store::shared_sync::SharedSync;
use crate::copy::of_database;
use crate::database::Looked;
use crate::database::manifest::{NOTE as MANIFEST_NOTE, damaged as damaged_as};
use crate::database::open::Database;
use crate::error::{Directory, OpenError, ReadError};
use crate::location::make_secret;
use crate::store::acknowledged::{BUS_NOTE, IS_MISSING, Note, Noted, damaged};
use parking_lot::{RwLock, RwLockReadGuard};
use rocksdb::{
    BlockBasedOptions, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, Direction,
    IteratorMode, Options, WriteBatch,
};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// A room of the depot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Resources as of the router's position, by their key; and that position.
    Router,
    /// Deliveries that wait for targets, and the position of each lane.
    Lanes,
    /// Messages of queues.
    Queues,
    /// Lines of log groups.
    Logs,
    /// Secrets of connections: not in the journal, so that copies of it give nothing away.
    Secrets,
    /// Values that the program around the engine stores.
    NoteStore,
}

const ROOMS: [(Table, &str); 6] = [
    (Table::Router, "router"),
    (Table::Lanes, "lanes"),
    (Table::Queues, "queues"),
    (Table::Logs, "logs"),
    (Table::Secrets, "secrets"),
    (Table::NoteStore, "notes"),
];

/// Visits a key and its value.
pub(crate) type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'v;

type OnFailure = Box<dyn Fn(&str) + Send + Sync>;

/// The depot of a data directory.
pub struct BusStore {
    /// None once the engine is closed, so that a remaining reference does not keep the files open.
    db: RwLock<Option<Database>>,
    /// What a simulation has instead.
    memory: Option<Arc<MemoryTables>>,
    syncs: SharedSync,
    /// Of a writer: the last change that was synced.
    note: Option<Note>,
    /// Hears of the first write or sync that fails.
    on_failure: OnceLock<OnFailure>,
    /// Only tests set it.
    refuses_writes: AtomicBool,
}

impl Drop for BusStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl BusStore {
    /// Opens or makes the depot of a data directory.
    pub fn open(dir: &Path) -> Result<BusStore, OpenError> {
        look_to_write(Part::Bus, dir, noted(dir)?.number() > 0)?;
        drop(BusStore::open_before_writing(dir)?);
        BusStore::open_seen(dir)
    }

    /// Opens the depot of a data directory for reading, before it is opened to write; none if there is none, or one
    /// of an older version whose log is damaged.
    pub(super) fn open_before_writing(dir: &Path) -> Result<Option<BusStore>, OpenError> {
        let noted = noted(dir)?;
        match BusStore::open_to_read(dir) {
            // A power cut leaves such logs too, so what comes before the damage is taken; but that is told.
            Err(error) if noted == Noted::Nothing && error.to_string().contains("(Corruption") => {
                tracing::warn!("what was written behind the damage, if this opens, is lost: {error}");
                Ok(None)
            }
            opened => opened,
        }
    }

    /// Opens or makes the depot of a data directory that was looked at.
    pub fn open_seen(dir: &Path) -> Result<BusStore, OpenError> {
        let (path, noted) = (dir.join("bus"), noted(dir)?);
        make_secret(dir, &path).map_err(|error| OpenError::Io(format!("{}: {error}", path.display())))?;
        // Before the note of the manifest, which says that this one was made.
        let note = Note::open(dir, BUS_NOTE, &noted);
        let note = note.map_err(|error| OpenError::Io(format!("{}: {error}", dir.join(BUS_NOTE).display())))?;
        let mut depot = BusStore::of(open_to_write(dir)?);
        depot.note = Some(note);
        Ok(depot)
    }

    /// Opens what is left of a damaged one, up to the damage; the directory is a copy.
    pub(super) fn of_wreck(dir: &Path) -> Result<BusStore, OpenError> {
        open_to_write(dir).map(BusStore::of)
    }

    /// RocksDB's number of the last change.
    pub(super) fn last_change(&self) -> u64 {
        self.held().as_ref().map_or(0, |db| db.latest_sequence_number())
    }

    /// How many tables it has.
    pub(super) fn tables(&self) -> usize {
        self.held().as_ref().and_then(|db| db.live_files().ok()).map_or(0, |files| files.len())
    }

    /// Opens the depot of a data directory for reading, beside a running server or without one; none if it does not
    /// exist.
    pub fn open_to_read(dir: &Path) -> Result<Option<BusStore>, OpenError> {
        let noted = noted(dir)?; // first: a writer goes on
        if is_not_there(Part::Bus, dir)? {
            return if noted.number() == 0 { Ok(None) } else { Err(fail(dir, &missing(0, noted.number(), None))) };
        }
        let looked = look_beside(Part::Bus, dir, noted.number() > 0).map_err(|error| fail(dir, &error))?;
        let Some(Looked { manifest, logs }) = looked else { return Ok(None) };
        if logs.last_change < noted.number() {
            return Err(fail(dir, &missing(logs.last_change, noted.number(), logs.stopped.as_deref())));
        }
        // A depot of an older version lacks the rooms that were added since.
        let is_there = |family: &ColumnFamilyDescriptor| manifest.family(family.name()).is_some();
        let known = |_| families().into_iter().filter(is_there).collect();
        let mut options = checked_options();
        if noted == Noted::Nothing {
            // Without a note, only this mode finds damage.
            options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        }
        let opened = open_to_read(Part::Bus, dir, noted.number() > 0, &options, known);
        let (db, _) = opened.map_err(|error| fail(dir, &error))?;
        match db.latest_sequence_number() {
            end if end < noted.number() => Err(fail(dir, &missing(end, noted.number(), None))),
            _ => Ok(Some(BusStore::of(Database::to_read(db)))),
        }
    }

    pub(super) fn of(db: Database) -> BusStore {
        BusStore {
            db: RwLock::new(Some(db)),
            memory: None,
            syncs: SharedSync::default(),
            note: None,
            on_failure: OnceLock::new(),
            refuses_writes: AtomicBool::default(),
        }
    }

    /// A depot of a simulation, whose tables outlive it.
    pub fn in_memory(tables: Arc<MemoryTables>) -> BusStore {
        BusStore {
            db: RwLock::new(None),
            memory: Some(tables),
            syncs: SharedSync::default(),
            note: None,
            on_failure: OnceLock::new(),
            refuses_writes: AtomicBool::default(),
        }
    }

    /// A depot whose writes stay in memory until a sync, so that a copy of its files is what a power cut leaves. For
    /// tests.
    #[doc(hidden)]
    pub fn open_forgetful(dir: &Path) -> BusStore {
        let mut options = database_options();
        options.set_manual_wal_flush(true);
        let db = DB::open_cf_descriptors(&options, dir.join("bus"), families()).expect("a fresh directory");
        BusStore::of(Database::to_read(db))
    }

    /// `hear` is called when a write or a sync fails: what is on the disk is not known from then on, so the process
    /// must end.
    pub fn on_failure(&self, hear: impl Fn(&str) + Send + Sync + 'static) {
        let _ = self.on_failure.set(Box::new(hear)); // the first one stays
    }

    fn heard<T>(&self, done: Result<T, String>) -> Result<T, String> {
        if let (Err(error), Some(hear)) = (&done, self.on_failure.get()) {
            hear(error);
        }
        done
    }

    /// From now on it fails as on a disk that does. For tests.
    #[doc(hidden)]
    pub fn refuse_writes(&self) {
        self.refuses_writes.store(true, Ordering::SeqCst);
    }

    /// Whether everything can be read.
    pub fn check(&self) -> Result<(), ReadError> {
        self.check_rooms(&ROOMS.map(|(room, _)| room))
    }

    /// Whether everything in some rooms can be read.
    pub(super) fn check_rooms(&self, rooms: &[Table]) -> Result<(), ReadError> {
        rooms.iter().try_for_each(|room| self.scan(*room, b"", b"", &mut |_, _| ControlFlow::Continue(())))
    }

    pub(super) fn with_database(
        &self,
        work: impl FnOnce(&Database) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        self.held().as_ref().map_or(Ok(()), work)
    }

    /// Whether there is anything in it, and all of it can be read.
    pub(super) fn holds_anything(&self) -> Result<bool, ReadError> {
        let mut holds = false;
        for (room, _) in ROOMS {
            self.scan(room, b"", b"", &mut |_, _| {
                holds = true;
                ControlFlow::Continue(())
            })?;
        }
        Ok(holds)
    }

    /// Copies the database to `to`, which does not exist yet.
    pub(super) fn checkpoint(&self, to: &Path) -> Result<(), ReadError> {
        let held = self.held();
        of_database(held.as_ref().ok_or_else(closed)?, to)
    }

    /// Lets go of the files, after a last sync.
    pub fn close(&self) {
        let is_open = self.held().is_some();
        if is_open && self.note.is_some() {
            let _ = self.sync(); // who is to hear of a failure hears of it
        }
        *self.db.write() = None;
    }

    fn held(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.db.read()
    }

    /// The value of a key.
    pub fn get(&self, room: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        if let Some(memory) = &self.memory {
            return Ok(memory.get(room, key));
        }
        let held = self.held();
        let db = held.as_ref().ok_or_else(closed)?;
        let Some(family) = held_family(db, room) else { return Ok(None) };
        db.get_cf(family, key).map_err(unreadable)
    }

    /// Visits keys and values in order, of keys from `from` that begin with `prefix`, until the visitor breaks.
    pub fn scan(&self, room: Table, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), ReadError> {
        if let Some(memory) = &self.memory {
            memory.scan(room, prefix, from, visit);
            return Ok(());
        }
        let start = from.max(prefix);
        let mode = IteratorMode::From(start, Direction::Forward);
        let held = self.held();
        let db = held.as_ref().ok_or_else(closed)?;
        let Some(family) = held_family(db, room) else { return Ok(()) };
        for entry in db.iterator_cf_opt(family, scan_options(), mode) {
            let (key, value) = entry.map_err(unreadable)?;
            if !key.starts_with(prefix) || visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Visits keys and values backwards, of keys before `before` that begin with `prefix`, until the visitor breaks.
    pub fn scan_back(
        &self,
        room: Table,
        prefix: &[u8],
        before: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), ReadError> {
        if let Some(memory) = &self.memory {
            memory.scan_back(room, prefix, before, visit);
            return Ok(());
        }
        let held = self.held();
        let db = held.as_ref().ok_or_else(closed)?;
        let mode = IteratorMode::From(before, Direction::Reverse);
        let Some(family) = held_family(db, room) else { return Ok(()) };
        for entry in db.iterator_cf_opt(family, scan_options(), mode) {
            let (key, value) = entry.map_err(unreadable)?;
            if *key >= *before {
                continue;
            }
            if !key.starts_with(prefix) || visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Writes all of a batch or nothing of it. With `sync` it is on the disk when this returns; without, it survives
    /// the end of the process, and a power cut only after the next [`sync`](Depot::sync).
    pub fn write(&self, batch: Batch, sync: bool) -> Result<(), String> {
        self.write_unsynced(batch)?;
        if sync { self.sync() } else { Ok(()) }
    }

    /// Syncs: earlier writes are on the disk when this returns. Threads that wait at the same time share one sync.
    pub fn sync(&self) -> Result<(), String> {
        self.syncs.wait(|| {
            if let Some(memory) = &self.memory {
                return self.heard(memory.sync());
            }
            let held = self.held();
            let db = held.as_ref().ok_or_else(|| closed().to_string())?;
            let number = db.latest_sequence_number(); // before the sync: it covers what was written before it
            self.heard(db.flush_wal(true).map_err(|error| Part::Bus.explain_write(&error)))?;
            let noted = self.note.as_ref().map_or(Ok(()), |note| note.set(number));
            self.heard(noted.map_err(|error| format!("the file `{BUS_NOTE}` could not be written: {error}")))
        })
    }

    fn write_unsynced(&self, batch: Batch) -> Result<(), String> {
        if let Some(memory) = &self.memory {
            return self.heard(memory.write(batch));
        }
        let held = self.held();
        let db = held.as_ref().ok_or_else(|| closed().to_string())?;
        if self.refuses_writes.load(Ordering::Relaxed) {
            return Err("the bus could not be written (a test)".into());
        }
        let mut written = WriteBatch::default();
        for change in batch.0 {
            match change {
                Change::Put(room, key, value) => written.put_cf(family(db, room), key, value),
                Change::Delete(room, key) => written.delete_cf(family(db, room), key),
                Change::DeleteRange(room, from, to) => written.delete_range_cf(family(db, room), from, to),
            }
        }
        self.heard(db.write(written).map_err(|error| Part::Bus.explain_write(&error)))
    }
}

fn family(db: &DB, room: Table) -> &ColumnFamily {
    held_family(db, room).expect("a writer opens all families")
}

/// None if the depot was opened for reading and lacks the room.
fn held_family(db: &DB, room: Table) -> Option<&ColumnFamily> {
    let (_, name) = ROOMS[room as usize];
    db.cf_handle(name)
}

fn closed() -> ReadError {
    ReadError::Store("the engine is closed".into())
}

/// Changes that are written atomically.
#[derive(Default)]
pub struct Batch(Vec<Change>);

#[derive(Clone)]
enum Change {
    Put(Table, Vec<u8>, Vec<u8>),
    Delete(Table, Vec<u8>),
    DeleteRange(Table, Vec<u8>, Vec<u8>),
}

impl Batch {
    /// Sets the value of a key.
    pub fn put(&mut self, room: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.0.push(Change::Put(room, key.into(), value.into()));
    }

    /// Deletes a key.
    pub fn delete(&mut self, room: Table, key: impl Into<Vec<u8>>) {
        self.0.push(Change::Delete(room, key.into()));
    }

    /// Deletes all keys from `from` up to, but not including, `to`.
    pub fn delete_range(&mut self, room: Table, from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) {
        self.0.push(Change::DeleteRange(room, from.into(), to.into()));
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn fail(dir: &Path, error: &impl AsRef<str>) -> OpenError {
    Part::Bus.not_opened(dir, error.as_ref())
}

/// In RocksDB's words, so that it is explained as those are.
fn missing(end: u64, acknowledged: u64, stopped: Option<&str>) -> String {
    let why = stopped.map_or(String::new(), |why| format!(", for {why}"));
    damaged_as(format_args!(
        "it ends with change {end}{why}, but everything up to change {acknowledged} was acknowledged"
    ))
}

fn unreadable(error: rocksdb::Error) -> ReadError {
    Part::Bus.unreadable(error.as_ref())
}

pub(super) fn database_options() -> Options {
    let mut options = Options::default();
    options.set_max_open_files(open_tables_max(Part::Bus));
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_total_wal_size(64 << 20);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(4);
    options.set_stats_dump_period_sec(0);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options
}

/// Each log says how the one before it ended, or a log that is gone would not be missed. There must be one.
fn checked_options() -> Options {
    database_options().get_options_from_string("track_and_verify_wals=true").expect("RocksDB knows this name")
}

fn open_to_write(dir: &Path) -> Result<Database, OpenError> {
    let path = dir.join("bus");
    // What a power cut left of the first moments is a database that has no log yet.
    let is_half_made = path.join("CURRENT").exists() && !holds_log(&path);
    let mut options = if is_half_made { database_options() } else { checked_options() };
    options.create_if_missing(holds_nothing(&path)); // to make a new one would delete what is left of a damaged one
    let db = DB::open_cf_descriptors(&options, &path, families()).map_err(|error| fail(dir, &error))?;
    Database::to_write(db, Part::Bus, dir)
}

/// What the note of the bus says; every version that makes one makes it whole, and before it notes the manifest.
fn noted(dir: &Path) -> Result<Noted, OpenError> {
    let is_made = dir.join("bus").join(MANIFEST_NOTE).exists();
    match Noted::read(dir, BUS_NOTE) {
        Noted::Nothing if is_made => Err(says_nothing(dir, IS_MISSING)),
        Noted::Damaged(why) => Err(says_nothing(dir, &why)),
        Noted::Unproven(_) => Err(says_nothing(dir, "its end is missing")),
        noted => Ok(noted),
    }
}

fn says_nothing(dir: &Path, why: &str) -> OpenError {
    OpenError::Damaged { position: None, message: format!("{}: {}", Directory(dir), damaged(BUS_NOTE, why)) }
}

fn holds_log(folder: &Path) -> bool {
    let is_log = |entry: std::fs::DirEntry| entry.path().extension().is_some_and(|kind| kind == "log");
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(is_log)))
}

pub(super) fn families() -> Vec<ColumnFamilyDescriptor> {
    ROOMS
        .map(|(_, name)| {
            let mut table = BlockBasedOptions::default();
            table.set_bloom_filter(10.0, false);
            let mut options = Options::default();
            options.set_block_based_table_factory(&table);
            options.set_compression_type(DBCompressionType::Lz4);
            options.set_write_buffer_size(16 << 20);
            ColumnFamilyDescriptor::new(name, options)
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    /// A directory as a kill leaves it: `tables` of the queues were written after that many messages, which began a
    /// new log each; other rooms still need the old ones.
    fn killed(messages: u64, tables: &[u64]) -> tempfile::TempDir {
        let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let depot = BusStore::open(dir.path()).unwrap();
        let put = |room, key: u64| {
            let mut batch = Batch::default();
            batch.put(room, key.to_be_bytes(), [7; 300]);
            depot.write(batch, true).unwrap();
        };
        for message in 1..=messages {
            put(Table::Router, message);
            put(Table::Queues, message);
            if tables.contains(&message) {
                let held = depot.held();
                let db = held.as_ref().unwrap();
                db.flush_cf(family(db, Table::Queues)).unwrap();
            }
        }
        fs::create_dir(copy.path().join("bus")).unwrap();
        for name in ["bus", ""].map(|folder| dir.path().join(folder)) {
            for file in fs::read_dir(&name).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
            {
                fs::copy(&file, copy.path().join(file.strip_prefix(dir.path()).unwrap())).unwrap();
            }
        }
        copy
    }

    fn logs(dir: &Path) -> Vec<PathBuf> {
        let files = fs::read_dir(dir.join("bus")).unwrap().map(|entry| entry.unwrap().path());
        let mut logs: Vec<_> = files.filter(|path| path.extension().is_some_and(|kind| kind == "log")).collect();
        logs.sort();
        logs
    }

    fn count(depot: &BusStore, room: Table) -> u64 {
        let mut count = 0;
        let counted = depot.scan(room, b"", b"", &mut |_, _| {
            count += 1;
            ControlFlow::Continue(())
        });
        counted.map(|()| count).unwrap()
    }

    fn spoil(log: &Path, how: &str) {
        let mut bytes = fs::read(log).unwrap();
        let middle = bytes.len() / 2;
        match how {
            "bit" => bytes[middle] ^= 1,
            "cut" => bytes.truncate(middle),
            "end" => bytes.truncate(bytes.len() - 1),
            _ => return fs::remove_file(log).unwrap(),
        }
        fs::write(log, bytes).unwrap();
    }

    #[test]
    fn logs_that_lack_something_that_was_acknowledged_are_refused_again_and_again() {
        for tables in [&[][..], &[20], &[20, 30]] {
            for log in 0..=tables.len() {
                for how in ["bit", "cut", "end", "gone"] {
                    let dir = killed(40, tables);
                    let logs = logs(dir.path());
                    assert_eq!(logs.len(), tables.len() + 1);
                    spoil(&logs[log], how);
                    for _ in 0..2 {
                        let read = BusStore::open_to_read(dir.path()).err();
                        let written = BusStore::open(dir.path()).err();
                        for refused in [read, written] {
                            let refused = refused.unwrap_or_else(|| panic!("{how} of log {log} of {tables:?}"));
                            assert!(matches!(refused, OpenError::Damaged { .. }), "{refused:?}");
                            let said = refused.to_string();
                            assert!(said.contains("the bus is damaged") && said.contains("--salvage"), "{said}");
                        }
                    }
                    // RocksDB refuses where tables know what a log before them does not.
                    if let Ok(left) = BusStore::of_wreck(dir.path()) {
                        let (routed, sent) = (count(&left, Table::Router), count(&left, Table::Queues));
                        assert!(routed < 40 || sent < 40, "{how} of log {log} of {tables:?}: {routed} {sent}");
                        assert!(sent <= routed, "{how} of log {log} of {tables:?}: {routed} {sent}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_log_that_ends_behind_what_was_acknowledged_is_what_a_kill_leaves() {
        let dir = killed(40, &[20]);
        let last = logs(dir.path()).pop().unwrap();
        let whole = fs::read(&last).unwrap();
        for torn in [&[0; 4_000][..], &[0xAB; 37], &whole[..100]] {
            fs::write(&last, [&whole, torn].concat()).unwrap();
            let read = BusStore::open_to_read(dir.path()).unwrap().unwrap();
            assert_eq!((count(&read, Table::Router), count(&read, Table::Queues)), (40, 40));
        }
        let depot = BusStore::open(dir.path()).unwrap();
        assert_eq!((count(&depot, Table::Router), count(&depot, Table::Queues)), (40, 40));
    }

    #[test]
    fn a_note_that_says_nothing_and_a_folder_that_is_gone_are_told() {
        let dir = killed(3, &[]);
        let note = dir.path().join(BUS_NOTE);
        let whole = fs::read(&note).unwrap();
        for damage in [&b""[..], &whole[..12], &[&whole[..20], &[0; 4][..]].concat()[..]] {
            fs::write(&note, damage).unwrap();
            let said = BusStore::open(dir.path()).err().unwrap().to_string();
            assert!(said.contains("`acknowledged.bus` is damaged") && said.contains("--salvage"), "{said}");
        }
        fs::write(&note, whole).unwrap();
        fs::remove_dir_all(dir.path().join("bus")).unwrap();
        let said = BusStore::open(dir.path()).err().unwrap().to_string();
        assert!(said.contains("the bus is damaged"), "{said}");
        fs::remove_file(&note).unwrap();
        assert_eq!(count(&BusStore::open(dir.path()).unwrap(), Table::Queues), 0, "it was deleted: go on without");
    }
}
