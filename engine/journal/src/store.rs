//! RocksDB behind types: keys and values in, rows and blocks out.

pub(crate) mod acknowledged; // how far databases must reach
pub(crate) mod moments; // when, by the wall clock
pub(crate) mod chain; // the hash chain of blocks
pub(crate) mod look; // what its files say before it is opened to write
pub(crate) mod block_log; // the journal as a seam, with a simulated side

use super::database::{
    Access, FAMILIES, Part, calm_background_threads, check_writing, database_options, families, look_up_options,
    make_folder, open_to_read, scan_options,
};
use crate::copy::of_database;
use crate::copy::unfinished::Unfinished;
use crate::database::manifest::{CURRENT, NOTE};
use crate::database::open::{Database, Place};
use crate::error::{Directory, OpenError, ReadError};
use crate::files::{self, PRIVATE_FILE, PRIVATE_FOLDER};
use crate::location::{check_place, tighten};
use crate::options::Durability;
use crate::store::acknowledged::{BUS_NOTE, IS_MISSING, JOURNAL_NOTE, Note, Noted, damaged};
use crate::store::chain::StoredBlock;
use fakemon_fbs::Malformed;
use fakemon_fbs::journal::BlockReader;
use fakemon_fbs::snapshot::{self, Caught};
use fakemon_model::ids::{PlayerId, Position};
use rocksdb::{ColumnFamily, DB, DBRawIterator, Direction, FlushOptions, IteratorMode, WriteBatch, WriteOptions};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The format of the data directory that this program reads and writes.
pub const FORMAT: u32 = 1;
pub(super) const IDENTITY: &str = "FAKEMON";
const JOURNAL: &str = "journal";
/// Names in a data directory.
const OWN_NAMES: [&str; 9] =
    [IDENTITY, JOURNAL_NOTE, BUS_NOTE, JOURNAL, "snapshot", "index", "bus", "control", "salvaged"];
/// What the identity says of a directory that is still being made.
const INCOMPLETE: &str = "fakemon data directory, incomplete: ";
/// Beside the blocks: the first position that retention kept.
const KEPT_FROM: &[u8] = b"kept from";
/// And that the note of what was acknowledged is on the disk, with a checksum: one that is empty is damaged.
const HAS_NOTE: &[u8] = b"has a note";
/// And that a bus was opened beside the journal: one that is not there is missing.
const HAS_BUS: &[u8] = b"has a bus";
/// And that the note of the bus is on the disk.
const HAS_BUS_NOTE: &[u8] = b"has a note of the bus";
/// And that it was opened without syncs: a power cut may have taken what other databases have.
const UNSYNCED: &[u8] = b"unsynced";
/// Where all of them are.
const NOTES: &str = "default";
/// Longer than a file system takes for one moment.
const SAME_MOMENT: Duration = Duration::from_millis(100);
/// A read of more than this many blocks is treated as a scan and gets read-ahead.
const LOOK_UP_BLOCKS: u32 = 4;

/// A follower more than this many blocks behind switches from point look-ups to a scan.
const FOLLOWED_BLOCKS: u32 = 64;

impl From<rocksdb::Error> for ReadError {
    fn from(error: rocksdb::Error) -> Self {
        Part::Journal.unreadable(error.as_ref())
    }
}

pub(super) fn wrong_key(row: &str) -> ReadError {
    ReadError::Damaged(format!("a key of `{row}` is damaged"))
}

pub(super) fn malformed(row: &str, error: &Malformed) -> ReadError {
    ReadError::Damaged(format!("a row of `{row}` is damaged: {error}"))
}

/// An open data directory.
pub struct Store {
    db: Database,
    /// The note of what was told; of a writer.
    note: Option<Note>,
    /// What it said before the journal was opened: everything before this position must be there.
    told: Noted,
    /// Of a writer: the data directory, which no other process opens to write.
    held: Option<DirectoryLock>,
    /// Of a reader: where the log ends before its file does, and why.
    stopped: Option<String>,
    /// Of a reader: which logs it read, and when they had been written to.
    read: Option<(PathBuf, Option<SystemTime>)>,
}

impl Store {
    /// Opens or creates a data directory for writing; one process at a time.
    pub fn open(dir: &Path) -> Result<Store, OpenError> {
        let held = dir.is_dir().then(|| DirectoryLock::take(dir)).transpose()?;
        identify(dir)?;
        look::look(dir)?;
        Store::open_held(dir, held)
    }

    /// Opens a data directory that was looked at, and is held unless it did not exist.
    pub(super) fn open_held(dir: &Path, held: Option<DirectoryLock>) -> Result<Store, OpenError> {
        let fail =
            |error: &dyn std::fmt::Display| OpenError::Io(format!("data directory {}: {error}", dir.display()));
        check_writing().map_err(|error| fail(&error))?;
        if !dir.join(IDENTITY).exists() {
            check_place(dir)?;
        }
        files::make_folder(dir, PRIVATE_FOLDER)
            .map_err(|error| fail(&format!("{error}; give a directory that can be made, and written")))?;
        let held = match held {
            Some(held) => held,
            // Before anything is made in it: of several processes at once, one makes it, and the others hear of that.
            None => {
                let held = DirectoryLock::take(dir)?;
                if dir.join(IDENTITY).exists() {
                    let what = "another process has just made it: start again, or give another directory";
                    return Err(OpenError::Locked(format!("data directory {}: {what}", dir.display())));
                }
                held
            }
        };
        if identify(dir)? != Identity::Ours {
            if !holds_only_ours(dir).map_err(|error| fail(&error))? {
                let what = "it holds other files; give an empty directory or one that fakemon made";
                return Err(OpenError::Unsuitable(format!("data directory {}: {what}", dir.display())));
            }
            if dir.join(JOURNAL).join(CURRENT).exists() {
                tracing::warn!("{}: the file {IDENTITY} was lost, and is made again", dir.display());
            }
            complete(dir)?;
        }
        tighten(dir);
        Store::open_identified(dir, Some(held))
    }

    /// Makes a data directory for writing, or uses an empty one; it is marked as incomplete, because of `making`,
    /// until [`complete`] is called.
    pub fn create(dir: &Path, making: &str) -> Result<Store, OpenError> {
        Store::create_held(dir, making, None)
    }

    /// The same, in a directory that is made beside other things.
    pub fn create_in(unfinished: &Unfinished, making: &str) -> Result<Store, OpenError> {
        Store::create_held(unfinished.dir(), making, Some(unfinished.lock()))
    }

    fn create_held(dir: &Path, making: &str, held: Option<DirectoryLock>) -> Result<Store, OpenError> {
        check_writing().map_err(|error| OpenError::Io(format!("data directory {}: {error}", dir.display())))?;
        begin(dir, making)?;
        Store::open_identified(dir, held)
    }

    fn open_identified(dir: &Path, held: Option<DirectoryLock>) -> Result<Store, OpenError> {
        let held = held.map_or_else(|| DirectoryLock::take(dir), Ok)?;
        let fail =
            |error: &dyn std::fmt::Display| OpenError::Io(format!("data directory {}: {error}", dir.display()));
        let mut database = database_options();
        // Where answers were given there is a journal; to make a new one would delete what is left of a damaged one.
        let told = Noted::read(dir, JOURNAL_NOTE);
        let may_make = told == Noted::Nothing;
        database.create_if_missing(may_make);
        calm_background_threads().map_err(|error| fail(&error))?;
        if may_make {
            make_folder(dir, JOURNAL)?;
        }
        let db = DB::open_cf_descriptors(&database, dir.join(JOURNAL), families(Access::Write));
        let db = db.map_err(|error| Part::Journal.not_opened(dir, error.as_ref()))?;
        let db = Database::to_write(db, Part::Journal, dir)?;
        let mut store = Store {
            told: proven(&db, told, dir).map_err(|error| OpenError::reading(Directory(dir), &error, ""))?,
            db,
            note: None,
            held: Some(held),
            stopped: None,
            read: None,
        };
        store.begin_note(dir).map_err(|error| fail(&error))?;
        Ok(store)
    }

    /// Opens a data directory for reading, beside a running server or without one, and changes nothing in it.
    pub fn open_to_read(dir: &Path) -> Result<Store, OpenError> {
        check_identity(dir)?;
        let told = Noted::read(dir, JOURNAL_NOTE);
        let journal = dir.join(JOURNAL);
        let written_at = written_at(&journal);
        let (db, looked) = open_to_read(Part::Journal, dir, holds_acknowledged(&told), &database_options(), families)
            .map_err(|error| Part::Journal.not_opened(dir, error.as_ref()))?;
        let db = Database::to_read(db);
        let told = proven(&db, told, dir).map_err(|error| OpenError::reading(Directory(dir), &error, ""))?;
        let stopped = looked.and_then(|looked| looked.logs.stopped);
        Ok(Store { db, note: None, told, held: None, stopped, read: Some((journal, written_at)) })
    }

    /// Makes the note of what is acknowledged, unless there is one; a damaged one stays as it is.
    fn begin_note(&mut self, dir: &Path) -> Result<(), ReadError> {
        let unwritten = |error| ReadError::Failed(format!("the file `{JOURNAL_NOTE}`: {error}"));
        if let Noted::Damaged(_) = self.told {
            return Ok(()); // who opened it checks, and closes it again
        }
        let has_note = self.has(HAS_NOTE)?;
        self.note = Some(Note::open(dir, JOURNAL_NOTE, &self.told).map_err(unwritten)?);
        files::sync_folder(dir).map_err(unwritten)?;
        if !has_note {
            self.db.put(HAS_NOTE, [])?;
            self.db.flush_wal(true)?;
        }
        Ok(())
    }

    /// Flushes everything that was written to the disk, and notes where the journal begins if that is not the first
    /// event.
    pub fn settle(&self, first: Position, end: Position) -> Result<(), ReadError> {
        if first > Position(1) {
            self.db.put(KEPT_FROM, first.0.to_be_bytes())?;
        }
        self.db.flush_wal(true)?;
        self.acknowledge(end).map_err(|error| ReadError::Store(format!("the file `acknowledged`: {error}")))
    }

    /// Flushes memory and log into tables, so that the next process to open them need not read the log.
    pub fn flush(&self) -> Result<(), ReadError> {
        self.check_place()?;
        let families = FAMILIES.into_iter().chain([NOTES]).map(|name| self.family(name));
        Ok(self.db.flush_cfs_opt(&families.collect::<Vec<_>>(), &FlushOptions::default())?)
    }

    pub(super) fn database(&self) -> &Database {
        &self.db
    }

    /// Whether the data directory that was opened is still in its place.
    pub(super) fn check_place(&self) -> Result<(), ReadError> {
        match &self.held {
            Some(DirectoryLock(place)) if !place.is_there() => Err(ReadError::Failed(format!(
                "the data directory {} was deleted or replaced while it was open: nothing more is written there, and \
                 what was written since is lost; start again",
                place.path.display()
            ))),
            _ => self.db.check_place(),
        }
    }

    /// What is left of a damaged journal; `dir` holds the note of acknowledged events.
    pub(super) fn of_wreck(db: DB, dir: &Path) -> Store {
        let told = proven(&db, Noted::read(dir, JOURNAL_NOTE), dir).unwrap_or(Noted::Nothing);
        Store { told, ..Store::of_tables(db) }
    }

    /// Tables of a journal without its log.
    fn of_tables(db: DB) -> Store {
        let db = Database::to_read(db);
        Store { db, note: None, told: Noted::Nothing, held: None, stopped: None, read: None }
    }

    /// Whether something stands beside the blocks.
    fn has(&self, key: &[u8]) -> Result<bool, ReadError> {
        Ok(self.db.get_pinned(key)?.is_some())
    }

    /// Fails if what stands beside the blocks cannot be read.
    pub fn check_beside(&self) -> Result<(), ReadError> {
        let mut iterator = self.db.raw_iterator_opt(scan_options());
        iterator.seek_to_first();
        while iterator.valid() {
            iterator.next();
        }
        Ok(iterator.status()?)
    }

    /// Notes that there is a bus beside the journal, with a note of its own.
    pub fn note_bus(&self) -> Result<(), ReadError> {
        self.note_beside(HAS_BUS).and_then(|()| self.note_beside(HAS_BUS_NOTE))
    }

    /// Notes that events are not synced: after a power cut other databases may be ahead of the journal.
    pub fn note_unsynced(&self) -> Result<(), ReadError> {
        self.note_beside(UNSYNCED)
    }

    fn note_beside(&self, key: &[u8]) -> Result<(), ReadError> {
        if !self.has(key)? {
            self.db.put(key, [])?;
            self.db.flush_wal(true)?;
        }
        Ok(())
    }

    /// Whether it was opened without syncs once.
    pub fn is_unsynced(&self) -> Result<bool, ReadError> {
        self.has(UNSYNCED)
    }

    /// Whether a server had it open, beside a bus.
    pub fn had_bus(&self) -> Result<bool, ReadError> {
        self.has(HAS_BUS)
    }

    /// Fails if there is no bus beside the journal, and it says that there was one.
    pub fn check_no_bus(&self) -> Result<(), ReadError> {
        match self.had_bus()? {
            true => Err(ReadError::Failed(look::BUS_IS_MISSING.into())),
            false => Ok(()),
        }
    }

    /// Fails if the note of the bus is not there, and the journal says that it was made.
    pub fn check_bus_note(&self, dir: &Path) -> Result<(), ReadError> {
        match self.has(HAS_BUS_NOTE)? && Noted::read(dir, BUS_NOTE) == Noted::Nothing {
            true => Err(ReadError::Failed(damaged(BUS_NOTE, IS_MISSING))),
            false => Ok(()),
        }
    }

    /// Whether the writer may have written since a store was opened to read.
    pub fn is_behind(&self) -> bool {
        self.read.as_ref().is_some_and(|(journal, written)| written.is_none() || written_at(journal) != *written)
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("all families are opened with the store")
    }

    /// Writes a block and the captures in it, and makes them durable if so wanted.
    pub fn write_block(
        &self,
        first: Position,
        value: &[u8],
        captures: impl Iterator<Item = (PlayerId, Position, Caught)>,
        durability: Durability,
    ) -> Result<(), rocksdb::Error> {
        let mut batch = WriteBatch::default();
        batch.put_cf(self.family("blocks"), first.0.to_be_bytes(), value);
        let collections = self.family("collections");
        for (player, position, caught) in captures {
            batch.put_cf(collections, collection_key(player, position), caught.0);
        }
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Synced);
        self.db.write_opt(batch, &options)
    }

    /// Writes one entry of a collection.
    pub fn write_capture(&self, player: PlayerId, position: Position, caught: Caught) -> Result<(), rocksdb::Error> {
        self.db.put_cf(self.family("collections"), collection_key(player, position), caught.0)
    }

    /// Notes that every event before `position` was acknowledged: if the journal ever ends earlier, it is damaged.
    pub fn acknowledge(&self, position: Position) -> std::io::Result<()> {
        self.note.as_ref().expect("only writers acknowledge").set(position.0)
    }

    /// Fails if the journal ends before the last acknowledged event: then a part of it is lost.
    pub fn check_acknowledged(&self, end: Position) -> Result<(), ReadError> {
        if let Some(what) = self.damaged_note() {
            return Err(ReadError::corrupt(end, what));
        }
        match self.told() <= end {
            true => Ok(()),
            false => Err(ReadError::corrupt(end, self.lacks_acknowledged())),
        }
    }

    /// What is wrong with the journal if another database was made from events before `reach`, and it ends earlier.
    pub fn lacks_what_was_read(&self, part: Part, end: Position, reach: Position) -> String {
        format!("{}: restore a copy", look::lacks_what_was_read(part, end, reach))
    }

    /// What is wrong with a journal that ends before what was acknowledged, and what to do.
    pub fn lacks_acknowledged(&self) -> String {
        let why = self.stopped.as_ref().map_or(String::new(), |why| format!(", for {why}"));
        format!("it ends here{why}, but everything before position {} was acknowledged: restore a copy", self.told())
    }

    /// The first position that retention kept.
    pub fn kept_from(&self) -> Result<Position, ReadError> {
        let note = self.db.get_pinned(KEPT_FROM)?;
        Ok(Position(note.map_or(Ok(1), |note| number(&note))?))
    }

    /// Whether what is noted beside the blocks can be read: a server needs it.
    pub fn check_notes(&self) -> Result<(), ReadError> {
        self.db.iterator_opt(IteratorMode::Start, scan_options()).try_for_each(|entry| Ok(entry.map(drop)?))
    }

    /// Everything before it was acknowledged, as far as it is known.
    pub fn told(&self) -> Position {
        self.told.position()
    }

    /// Why nothing says what was acknowledged, and what to do.
    pub fn damaged_note(&self) -> Option<String> {
        match &self.told {
            Noted::Damaged(why) => Some(damaged(JOURNAL_NOTE, why)),
            _ => None,
        }
    }

    /// Fails if the journal begins after the first position that retention kept: then a part of it is lost.
    pub fn check_beginning(&self) -> Result<(), ReadError> {
        let Position(kept_from) = self.kept_from()?;
        match self.first_position()? {
            Some(Position(first)) if first > kept_from => {
                let what = format!("it begins at position {first} only: files of it are missing, restore a copy");
                Err(ReadError::corrupt(Position(kept_from), what))
            }
            _ => Ok(()),
        }
    }

    /// Calls `visit` with the block that starts at `first`.
    pub fn block<R>(
        &self,
        first: Position,
        visit: impl FnOnce(StoredBlock<'_>) -> Result<R, ReadError>,
    ) -> Result<Option<R>, ReadError> {
        match self.db.get_pinned_cf(self.family("blocks"), first.0.to_be_bytes())? {
            Some(value) => Ok(Some(visit(StoredBlock::split(first, &value)?)?)),
            None => Ok(None),
        }
    }

    /// Calls `visit` with all blocks in order, from the one that holds `from`, until it breaks. The first few are
    /// read without read-ahead; a longer read is treated as a scan.
    pub fn blocks(
        &self,
        from: Position,
        visit: &mut dyn FnMut(StoredBlock<'_>) -> Result<ControlFlow<()>, ReadError>,
    ) -> Result<(), ReadError> {
        let mut iterator = self.db.raw_iterator_cf_opt(self.family("blocks"), look_up_options());
        iterator.seek_for_prev(from.0.to_be_bytes());
        if !iterator.valid() {
            iterator.status()?;
            iterator.seek_to_first();
        }
        let mut visited = 0;
        while let Some((key, value)) = iterator.item() {
            let first = number(key)?;
            if visit(StoredBlock::split(Position(first), value)?)?.is_break() {
                return Ok(());
            }
            visited += 1;
            if visited == LOOK_UP_BLOCKS {
                iterator = self.block_iterator();
                iterator.seek(first.to_be_bytes());
            }
            iterator.next();
        }
        Ok(iterator.status()?)
    }

    /// Calls `visit` with all blocks in order, from the one that holds `from`, until it breaks: for a follower that
    /// is nearly up to date. While a block begins where the last one ended it is looked up by its key, which costs a
    /// fraction of a search.
    pub fn follow(
        &self,
        from: Position,
        visit: &mut dyn FnMut(&BlockReader<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut next = from;
        for _ in 0..FOLLOWED_BLOCKS {
            let visited = self.block(next, |stored| {
                let block = stored.read()?;
                next = Position(stored.first.0 + u64::from(block.head().count));
                Ok(visit(&block))
            })?;
            match visited {
                Some(ControlFlow::Continue(())) => {}
                Some(ControlFlow::Break(())) => return Ok(()),
                None if next > from => return Ok(()), // no block was written after it yet
                None => break,                        // the position is inside a block
            }
        }
        self.blocks(next, &mut |stored| match stored.first < next && next > from {
            true => Ok(ControlFlow::Continue(())), // visited already
            false => Ok(visit(&stored.read()?)),
        })
    }

    pub(super) fn block_iterator(&self) -> DBRawIterator<'_> {
        self.iterator_of("blocks")
    }

    pub(super) fn iterator_of(&self, family: &str) -> DBRawIterator<'_> {
        self.db.raw_iterator_cf_opt(self.family(family), scan_options())
    }

    /// The first position of the oldest block.
    pub fn first_position(&self) -> Result<Option<Position>, ReadError> {
        let mut iterator = self.db.iterator_cf(self.family("blocks"), IteratorMode::Start);
        iterator.next().transpose()?.map(|(key, _)| Ok(Position(number(&key)?))).transpose()
    }

    /// One past the last event; of a journal without any, where its first will be.
    pub fn end_position(&self) -> Result<Position, ReadError> {
        let mut iterator = self.db.iterator_cf(self.family("blocks"), IteratorMode::End);
        let Some(entry) = iterator.next() else { return self.kept_from() };
        let (key, value) = entry?;
        let head = StoredBlock::split(Position(number(&key)?), &value)?.read()?.head();
        Ok(Position(head.first_position + u64::from(head.count)))
    }

    /// Deletes all blocks that start before `before`, and notes that first: a block that is missing without a note
    /// counts as lost.
    pub fn forget_blocks(&self, before: Position) -> Result<(), ReadError> {
        let blocks = self.family("blocks");
        // Synced, because the files below are gone at once: a power cut must not take the note and leave the gap.
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        self.db.put_opt(KEPT_FROM, before.0.to_be_bytes(), &synced)?;
        let (from, to) = (0u64.to_be_bytes(), before.0.to_be_bytes());
        // RocksDB deletes files including both ends of the range, so the range must not include the first block that
        // stays.
        let last = before.0.saturating_sub(1).to_be_bytes();
        self.db.delete_file_in_range_cf(blocks, from, last)?;
        Ok(self.db.delete_range_cf(blocks, from, to)?)
    }

    /// Copies the database to `to`, which does not exist yet.
    pub(super) fn checkpoint(&self, to: &Path) -> Result<(), ReadError> {
        of_database(&self.db, to)
    }

    /// Bytes of the blocks on disk, about.
    pub fn block_bytes(&self) -> u64 {
        let blocks = self.family("blocks");
        let figure = |name: &str| self.db.property_int_value_cf(blocks, name).ok().flatten().unwrap_or(0);
        figure("rocksdb.total-sst-files-size") + figure("rocksdb.cur-size-all-mem-tables")
    }

    /// A player's captures before `before`, the newest first, at most `max`.
    pub fn collection(
        &self,
        player: PlayerId,
        before: Position,
        max: usize,
    ) -> Result<Vec<(Position, Caught)>, ReadError> {
        let Some(last) = before.0.checked_sub(1) else {
            return Ok(Vec::new());
        };
        let start = collection_key(player, Position(last));
        let mode = IteratorMode::From(&start, Direction::Reverse);
        let mut captures = Vec::new();
        for entry in self.db.iterator_cf(self.family("collections"), mode) {
            let (key, value) = entry?;
            let Some(position) = key.strip_prefix(&player.0.to_be_bytes()) else {
                break;
            };
            if captures.len() == max {
                break;
            }
            let caught = snapshot::read_caught(&value).map_err(|error| malformed("collections", &error))?;
            captures.push((Position(number(position)?), caught));
        }
        Ok(captures)
    }

    /// What a player caught at a position, from their collection.
    pub fn capture(&self, player: PlayerId, position: Position) -> Result<Option<Caught>, ReadError> {
        let row = self.db.get_pinned_cf(self.family("collections"), collection_key(player, position))?;
        row.map(|row| snapshot::read_caught(&row).map_err(|error| malformed("collections", &error))).transpose()
    }

    /// All entries of all collections.
    pub fn collections(&self, visit: &mut dyn FnMut(PlayerId, Position, Caught)) -> Result<(), ReadError> {
        for entry in self.db.iterator_cf_opt(self.family("collections"), scan_options(), IteratorMode::Start) {
            let (key, value) = entry?;
            let (player, position) = key.split_at_checked(4).ok_or_else(|| wrong_key("collections"))?;
            let player = player.try_into().map_err(|_| wrong_key("collections"))?;
            let caught = snapshot::read_caught(&value).map_err(|error| malformed("collections", &error))?;
            visit(PlayerId(u32::from_be_bytes(player)), Position(number(position)?), caught);
        }
        Ok(())
    }
}

fn collection_key(player: PlayerId, position: Position) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&player.0.to_be_bytes());
    key[4..].copy_from_slice(&position.0.to_be_bytes());
    key
}

pub(super) fn number(key: &[u8]) -> Result<u64, ReadError> {
    let bytes = key.try_into().map_err(|_| ReadError::Damaged("a key has the wrong length".into()))?;
    Ok(u64::from_be_bytes(bytes))
}

/// When the logs of a database were last written to; none if that is so recent that a later write could get the same
/// timestamp.
fn written_at(journal: &Path) -> Option<SystemTime> {
    let logs =
        fs::read_dir(journal).ok()?.flatten().filter(|entry| entry.file_name().to_string_lossy().ends_with(".log"));
    let newest = logs.filter_map(|log| log.metadata().ok()?.modified().ok()).max()?;
    newest.elapsed().is_ok_and(|age| age > SAME_MOMENT).then_some(newest)
}

/// Whether some event was acknowledged.
fn holds_acknowledged(told: &Noted) -> bool {
    told.position() > Position(1)
}

/// What a note says, once the journal is open: one that was made with a checksum is there, and still has it.
fn proven(db: &DB, told: Noted, dir: &Path) -> Result<Noted, ReadError> {
    let why = match told {
        Noted::Unproven(_) => "its end is missing",
        // A writer may just have made it, and the journal; how far that reaches was not known before.
        Noted::Nothing if Noted::read(dir, JOURNAL_NOTE) == Noted::Nothing => IS_MISSING,
        told => return Ok(told),
    };
    Ok(if db.get_pinned(HAS_NOTE)?.is_some() { Noted::Damaged(why.into()) } else { told })
}

/// A data directory that no other process opens to write while this exists. Each database has a lock of its own,
/// which is gone once its file is deleted; this one is on the folder itself.
#[derive(Clone)]
pub(crate) struct DirectoryLock(Arc<Place>);

impl DirectoryLock {
    pub(super) fn take(dir: &Path) -> Result<DirectoryLock, OpenError> {
        let line = |what: &dyn std::fmt::Display| format!("data directory {}: {what}", dir.display());
        let place = Place::of(dir).map_err(|error| OpenError::Io(line(&error)))?;
        match flock(&place.handle, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                let what = "another process has it open: stop that one, or give another directory";
                Err(OpenError::Locked(line(&what)))
            }
            _ => Ok(DirectoryLock(Arc::new(place))), // a file system without such locks has those of the databases
        }
    }
}

/// The content of the file `FAKEMON` in a data directory of this format.
fn identity() -> String {
    format!("fakemon data directory, format {FORMAT}\n")
}

/// Takes a directory that is empty or does not exist, for a new data directory, and marks it as incomplete.
pub(super) fn begin(dir: &Path, making: &str) -> Result<(), OpenError> {
    let fail = |error: &dyn std::fmt::Display| OpenError::Io(format!("{}: {error}", dir.display()));
    check_empty(dir)?;
    files::make_folder(dir, PRIVATE_FOLDER)
        .map_err(|error| fail(&format!("{error}; give a directory that can be made")))?;
    let says = format!("{INCOMPLETE}{making}\n");
    files::replace(&dir.join(IDENTITY), says.as_bytes(), PRIVATE_FILE).map_err(|error| fail(&error))
}

/// Checks that a directory is empty or does not exist, and is a place for a data directory.
pub fn check_empty(dir: &Path) -> Result<(), OpenError> {
    check_place(dir)?;
    let line = |what: &dyn std::fmt::Display| format!("{}: {what}", dir.display());
    match fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err(OpenError::Unsuitable(line(&"it is not empty; give a directory that is, or that is not there")))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(OpenError::Io(line(&format!("{error}; give a directory that can be made")))),
    }
}

/// Marks a directory as a complete data directory.
pub fn complete(dir: &Path) -> Result<(), OpenError> {
    let done = files::replace(&dir.join(IDENTITY), identity().as_bytes(), PRIVATE_FILE);
    done.map_err(|error| OpenError::Io(format!("{}: {error}", dir.display())))
}

/// Whether a directory is marked as a data directory that is still being made.
pub fn is_incomplete(dir: &Path) -> bool {
    fs::read_to_string(dir.join(IDENTITY)).is_ok_and(|text| text.starts_with(INCOMPLETE))
}

/// What the identity of a directory says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// It is a data directory.
    Ours,
    /// Nothing, or only the beginning of the text: versions that did not sync the file left it so after a power cut.
    CutShort,
}

/// Reads the identity of a directory; an error if its format is unknown to this program, or if it is incomplete.
pub(super) fn identify(dir: &Path) -> Result<Identity, OpenError> {
    let path = dir.join(IDENTITY);
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(Identity::CutShort);
        }
        Err(error) => return Err(OpenError::Io(format!("{}: {error}", path.display()))),
    };
    // A power cut can leave a file with its new length but without its bytes, which are zeros then.
    let text = text.trim_end_matches('\0');
    if text.len() < identity().trim().len() && identity().starts_with(text) {
        return Ok(Identity::CutShort);
    }
    if let Some(making) = text.trim().strip_prefix(INCOMPLETE) {
        let what = format!("data directory {}: it is incomplete: {making} did not end; delete it", dir.display());
        return Err(OpenError::Unsuitable(format!("{what}, and begin again")));
    }
    let format = text.trim().strip_prefix("fakemon data directory, format ").and_then(|format| format.parse().ok());
    match format {
        Some(FORMAT) => Ok(Identity::Ours),
        Some(found) if found > FORMAT => {
            let what = format!("its format is {found}, this program knows up to {FORMAT}: use a newer fakemon");
            let message = format!("data directory {}: {what}", dir.display());
            Err(OpenError::NewerFormat { found, supported: FORMAT, message })
        }
        _ => Err(OpenError::Unsuitable(format!(
            "{}: it does not say `format N`: this is no data directory, or the file is damaged; if it is one, delete the \
             file, and it is made again",
            path.display()
        ))),
    }
}

/// A directory that this program made: by what it says, or by its journal if what it says was lost.
///
/// # Errors
/// When it is none, of a newer version, or incomplete.
pub fn check_identity(dir: &Path) -> Result<(), OpenError> {
    if identify(dir)? == Identity::Ours || dir.join(JOURNAL).join(CURRENT).exists() {
        return Ok(());
    }
    let what = format!("it is not a fakemon data directory (no file {IDENTITY} in it)");
    Err(OpenError::Unsuitable(format!("data directory {}: {what}", dir.display())))
}

/// Whether a directory is what a kill leaves while the first server makes it: nothing was acknowledged, and there is
/// nothing that could be lost.
pub fn is_not_begun(dir: &Path) -> bool {
    let is_empty = |entry: &fs::DirEntry| match entry.path().extension().and_then(|kind| kind.to_str()) {
        Some("sst") => false,
        Some("log") => entry.metadata().is_ok_and(|file| file.len() == 0),
        _ => true,
    };
    let holds_nothing = |folder: &str| match fs::read_dir(dir.join(folder)) {
        Ok(mut entries) => entries.all(|entry| entry.is_ok_and(|entry| is_empty(&entry))),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    matches!(identify(dir), Ok(Identity::Ours))
        && [JOURNAL_NOTE, BUS_NOTE].iter().all(|note| Noted::read(dir, note) == Noted::Nothing)
        && [JOURNAL, "snapshot", "index", "bus"].into_iter().all(holds_nothing)
}

/// Whether a file or folder of a data directory has this name, or will have it.
pub(super) fn is_own_name(name: &str) -> bool {
    OWN_NAMES.contains(&name.trim_end_matches(".new"))
}

/// Whether a directory is empty, or holds only what this program makes first in a new one.
fn holds_only_ours(dir: &Path) -> std::io::Result<bool> {
    let mut ours = true;
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        ours &= is_own_name(&name);
    }
    let journal = match fs::read_dir(dir.join(JOURNAL)) {
        Ok(journal) => journal,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(ours),
        Err(error) => return Err(error),
    };
    for entry in journal {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let begins = ["CURRENT", "IDENTITY", "LOCK", "LOG", "MANIFEST-", "OPTIONS-", NOTE]
            .iter()
            .any(|of| name.starts_with(of));
        ours &= begins || [".sst", ".log", ".dbtmp"].iter().any(|kind| name.ends_with(kind));
    }
    Ok(ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::chain::Link;
    use fakemon_fbs::journal::{BlockHead, BlockWriter, PlayerNamed, SectionDraft};
    use std::sync::mpsc;

    /// How many blocks a reader finds that opens the directory now. The open may hang, so it runs on a thread of its
    /// own.
    fn blocks_read(dir: &Path) -> (usize, Store) {
        let (found, finds) = mpsc::channel();
        let dir = dir.to_owned();
        std::thread::spawn(move || {
            let store = Store::open_to_read(&dir).unwrap();
            let mut blocks = store.block_iterator();
            blocks.seek_to_first();
            let mut count = 0;
            while blocks.valid() {
                (count, _) = (count + 1, blocks.next());
            }
            drop(blocks);
            found.send((count, store)).unwrap();
        });
        finds.recv_timeout(Duration::from_secs(20)).expect("the reader comes to the end of the log")
    }

    #[test]
    fn a_power_cut_does_not_take_the_note_of_what_retention_let_go_of() {
        let (dir, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        drop(Store::open(dir.path()).unwrap());
        let mut options = database_options();
        options.set_manual_wal_flush(true); // what is not synced stays in memory: a copy is what a power cut leaves
        let db = DB::open_cf_descriptors(&options, dir.path().join(JOURNAL), families(Access::Write)).unwrap();
        let store = Store::of_tables(db);
        for first in 1..=4u64 {
            store.write_block(Position(first), &[1; 100], std::iter::empty(), Durability::Synced).unwrap();
            store.flush().unwrap();
            let key = first.to_be_bytes();
            store.db.compact_range_cf(store.family("blocks"), Some(key), Some(key)); // a file of its own, not of level 0
        }
        store.forget_blocks(Position(3)).unwrap();
        fs::create_dir(left.path().join(JOURNAL)).unwrap();
        for file in fs::read_dir(dir.path().join(JOURNAL)).unwrap().map(|file| file.unwrap().file_name()) {
            let file = Path::new(JOURNAL).join(file);
            fs::copy(dir.path().join(&file), left.path().join(&file)).unwrap();
        }
        fs::copy(dir.path().join(IDENTITY), left.path().join(IDENTITY)).unwrap();
        let left = Store::open_to_read(left.path()).unwrap();
        assert_eq!(left.first_position().unwrap(), Some(Position(3)), "the files are gone");
        left.check_beginning().unwrap();
        assert_eq!(left.kept_from().unwrap(), Position(3));
    }

    #[test]
    fn readers_come_to_the_end_of_a_log_that_was_recycled_and_see_when_there_is_more() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        for block in 1..=8u8 {
            let write = |first: u64| {
                let value = [block; 40_000];
                store.write_block(Position(first), &value, std::iter::empty(), Durability::Synced).unwrap();
            };
            write(u64::from(block) * 2);
            store.flush().unwrap(); // the next log is a recycled one, and still holds its old records
            let (blocks, reader) = blocks_read(dir.path());
            assert_eq!(blocks, usize::from(block) * 2 - 1);
            write(u64::from(block) * 2 + 1);
            assert!(reader.is_behind());
            assert_eq!(blocks_read(dir.path()).0, usize::from(block) * 2);
        }
    }

    #[test]
    fn what_a_kill_leaves_of_flushed_and_recycled_logs_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (mut link, mut writer, mut value) = (Link { next: Position(1), ..Link::default() }, writer(), Vec::new());
        for block in 1..=24u64 {
            let first = link.next;
            link.append(&writer(first), 1, &mut value);
            store.write_block(first, &value, std::iter::empty(), Durability::Synced).unwrap();
            store.acknowledge(link.next).unwrap();
            if block % 3 == 0 {
                store.flush().unwrap();
            }
            store.database().note().unwrap();
            let copy = tempfile::tempdir().unwrap();
            for folder in ["", JOURNAL] {
                fs::create_dir_all(copy.path().join(folder)).unwrap();
                for file in fs::read_dir(dir.path().join(folder)).unwrap().map(|entry| entry.unwrap().path()) {
                    if file.is_file() {
                        fs::copy(&file, copy.path().join(file.strip_prefix(dir.path()).unwrap())).unwrap();
                    }
                }
            }
            for _ in 0..2 {
                let opened = Store::open(copy.path()).unwrap();
                assert_eq!(opened.end_position().unwrap(), link.next, "block {block}");
            }
        }
    }

    /// Writes blocks of one event.
    fn writer() -> impl FnMut(Position) -> Vec<u8> {
        let mut writer = BlockWriter::default();
        move |first| {
            let mut section = SectionDraft::default();
            section.push_player_named(PlayerNamed { player: 1, name: "a".repeat(20_000) });
            let head = BlockHead { first_position: first.0, count: 1, ..BlockHead::default() };
            writer.write(head, &[section]).to_vec()
        }
    }
}
