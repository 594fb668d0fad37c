//! What the bus keeps beside the journal, in a database of its own: how far deliveries are, what waits in queues, lines
//! of log groups, secrets. It is logged, so that what was written survives the process; a write that somebody is told of
//! asks for a sync.

use super::copies::of_database;
use super::database::{Part, explain_write, holds_nothing, open_tables_max, open_to_read, scan_options};
use super::places::make_secret;
use super::shared_sync::SharedSync;
use super::store::ReadError;
use crate::options::OpenError;
use rocksdb::{
    BlockBasedOptions, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, Direction,
    IteratorMode, Options, WriteBatch,
};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// A room of the depot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Resources as of the router's position, by their key; and that position.
    Router,
    /// What waits for targets, and how far each is.
    Lanes,
    /// Messages of queues.
    Queues,
    /// Lines of log groups.
    Logs,
    /// Secrets of connections: not in the journal, so that copies of it give nothing away.
    Secrets,
    /// What those around the engine want to remember.
    Notes,
}

const ROOMS: [(Room, &str); 6] = [
    (Room::Router, "router"),
    (Room::Lanes, "lanes"),
    (Room::Queues, "queues"),
    (Room::Logs, "logs"),
    (Room::Secrets, "secrets"),
    (Room::Notes, "notes"),
];

/// Visits a key and its value.
pub(crate) type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'v;

/// The depot of a data directory.
pub struct Depot {
    /// None once the engine is closed: whoever still holds the depot does not hold its files.
    db: RwLock<Option<DB>>,
    syncs: SharedSync,
}

impl Drop for Depot {
    fn drop(&mut self) {
        self.close();
    }
}

impl Depot {
    /// Opens or makes the depot of a data directory.
    pub fn open(dir: &Path) -> Result<Depot, OpenError> {
        let path = dir.join("bus");
        make_secret(&path).map_err(|error| OpenError(format!("{}: {error}", path.display())))?;
        let mut options = database_options();
        options.create_if_missing(holds_nothing(&path)); // to make a new one would delete what is left of a damaged one
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        let mut opened = DB::open_cf_descriptors(&options, &path, families());
        if let Err(error) = &opened
            && error.as_ref().starts_with("Corruption")
        {
            // A power cut leaves such logs too, so what comes before the damage is taken; but that is told.
            options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
            let up_to_there = DB::open_cf_descriptors(&options, &path, families());
            if up_to_there.is_ok() {
                tracing::warn!("the log of the bus is damaged, what was written after the damage is lost: {error}");
                opened = up_to_there;
            }
        }
        Ok(Depot::of(opened.map_err(|error| fail(dir, &error))?))
    }

    /// Opens the depot of a data directory for reading, beside a running server or without one; none if there is none.
    pub fn open_to_read(dir: &Path) -> Result<Option<Depot>, OpenError> {
        if holds_nothing(&dir.join("bus")) {
            return Ok(None);
        }
        // One that an older version wrote lacks the rooms that are new since.
        let there = DB::list_cf(&database_options(), dir.join("bus")).map_err(|error| fail(dir, &error))?;
        let is_there = |family: &ColumnFamilyDescriptor| there.iter().any(|name| name == family.name());
        let known = |_| families().into_iter().filter(is_there).collect();
        let mut options = database_options();
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        let opened = open_to_read(&dir.join("bus"), &options, known);
        let db = opened.map_err(|error| fail(dir, &error))?;
        Ok(Some(Depot::of(db)))
    }

    fn of(db: DB) -> Depot {
        Depot { db: RwLock::new(Some(db)), syncs: SharedSync::default() }
    }

    /// One whose writes stay in memory until a sync: a copy of its files is what a power cut leaves. For tests.
    #[doc(hidden)]
    pub fn open_forgetful(dir: &Path) -> Depot {
        let mut options = database_options();
        options.set_manual_wal_flush(true);
        Depot::of(DB::open_cf_descriptors(&options, dir.join("bus"), families()).expect("a fresh directory"))
    }

    /// Whether everything can be read.
    pub fn check(&self) -> Result<(), ReadError> {
        for (room, _) in ROOMS {
            self.scan(room, b"", b"", &mut |_, _| ControlFlow::Continue(()))?;
        }
        Ok(())
    }

    /// Copies it to `to`, which is not there yet.
    pub(super) fn checkpoint(&self, to: &Path) -> Result<(), ReadError> {
        let held = self.held();
        of_database(held.as_ref().ok_or_else(closed)?, to)
    }

    /// Lets go of the files.
    pub fn close(&self) {
        *self.db.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn held(&self) -> RwLockReadGuard<'_, Option<DB>> {
        self.db.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What lies under a key.
    pub fn get(&self, room: Room, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let held = self.held();
        let db = held.as_ref().ok_or_else(closed)?;
        let Some(family) = held_family(db, room) else { return Ok(None) };
        db.get_cf(family, key).map_err(unreadable)
    }

    /// Visits keys and values in order, of keys from `from` that begin with `prefix`, until the visitor breaks.
    pub fn scan(&self, room: Room, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), ReadError> {
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
        room: Room,
        prefix: &[u8],
        before: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), ReadError> {
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

    /// Writes all of a batch or nothing of it. With `sync` it is on the disk after this; without, it survives the end of
    /// the process, and a power cut from the next [`sync`](Depot::sync) on.
    pub fn write(&self, batch: Batch, sync: bool) -> Result<(), String> {
        self.write_unsynced(batch)?;
        if sync { self.sync() } else { Ok(()) }
    }

    /// What was written before is on the disk after this. Threads that wait at the same time share one sync.
    pub fn sync(&self) -> Result<(), String> {
        self.syncs.wait(|| {
            let held = self.held();
            let db = held.as_ref().ok_or_else(|| closed().to_string())?;
            db.flush_wal(true).map_err(|error| explain_write(&error))
        })
    }

    fn write_unsynced(&self, batch: Batch) -> Result<(), String> {
        let held = self.held();
        let db = held.as_ref().ok_or_else(|| closed().to_string())?;
        let mut written = WriteBatch::default();
        for change in batch.0 {
            match change {
                Change::Put(room, key, value) => written.put_cf(family(db, room), key, value),
                Change::Delete(room, key) => written.delete_cf(family(db, room), key),
                Change::DeleteRange(room, from, to) => written.delete_range_cf(family(db, room), from, to),
            }
        }
        db.write(written).map_err(|error| explain_write(&error))
    }
}

fn family(db: &DB, room: Room) -> &ColumnFamily {
    held_family(db, room).expect("a writer opens all families")
}

/// None of a depot that is only read, if it lacks the room.
fn held_family(db: &DB, room: Room) -> Option<&ColumnFamily> {
    let (_, name) = ROOMS[room as usize];
    db.cf_handle(name)
}

fn closed() -> ReadError {
    ReadError::Store("the engine is closed".into())
}

/// Changes that happen together.
#[derive(Default)]
pub struct Batch(Vec<Change>);

enum Change {
    Put(Room, Vec<u8>, Vec<u8>),
    Delete(Room, Vec<u8>),
    DeleteRange(Room, Vec<u8>, Vec<u8>),
}

impl Batch {
    /// Lays a value under a key.
    pub fn put(&mut self, room: Room, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.0.push(Change::Put(room, key.into(), value.into()));
    }

    /// Takes a key away.
    pub fn delete(&mut self, room: Room, key: impl Into<Vec<u8>>) {
        self.0.push(Change::Delete(room, key.into()));
    }

    /// Takes all keys away from `from` up to, not including, `to`.
    pub fn delete_range(&mut self, room: Room, from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) {
        self.0.push(Change::DeleteRange(room, from.into(), to.into()));
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn fail(dir: &Path, error: &impl AsRef<str>) -> OpenError {
    OpenError(format!("data directory {}: {}", dir.display(), Part::Bus.explain(error.as_ref())))
}

fn unreadable(error: rocksdb::Error) -> ReadError {
    ReadError::Store(Part::Bus.explain(error.as_ref()))
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.set_max_open_files(open_tables_max(Part::Bus));
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_total_wal_size(64 << 20);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(4);
    options.set_stats_dump_period_sec(0);
    options
}

fn families() -> Vec<ColumnFamilyDescriptor> {
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
