//! The store of the index (`crate::index`): segments of postings, in a database of their own. They can be made again
//! from the journal, so they are not logged; what a crash loses is read from the journal until it is indexed again.
//!
//! ```text
//! 0xFF, first position                   → end position       a segment: everything in between is indexed
//! kind, bucket, first position           → postings of the segment whose subjects fall into the bucket
//! ```

use super::database::{
    Part, is_not_there, look_to_write, look_up_options, make_folder, open_tables_max, open_to_read, scan_options,
    table_options,
};
use super::store::number;
use crate::copy::of_database;
use crate::database::manifest::forget;
use crate::database::open::Database;
use crate::error::ReadError;
use crate::error::{Directory, OpenError};
use fakemon_model::ids::Position;
use rocksdb::{
    ColumnFamilyDescriptor, DB, DBCompressionType, Direction, IteratorMode, Options, WriteBatch, WriteOptions,
};
use std::ops::ControlFlow;
use std::path::Path;

const SEGMENT: u8 = 0xFF;

/// Visits the first position of a segment, and postings of it.
pub(crate) type VisitPostings<'v> = dyn FnMut(Position, &[u8]) -> Result<ControlFlow<()>, ReadError> + 'v;

/// Checks postings: of a kind, in the segment that begins at a position.
pub(crate) type CheckPostings<'v> = dyn FnMut(u8, Position, &[u8]) -> Result<(), ReadError> + 'v;

/// The index of a data directory.
pub struct IndexStore {
    db: Database,
}

impl IndexStore {
    fn open(dir: &Path) -> Result<IndexStore, OpenError> {
        look_to_write(Part::Index, dir, false)?;
        make_folder(dir, "index")?;
        let db = DB::open(&database_options(), dir.join("index"));
        let db = db.map_err(|error| fail(dir, &error))?;
        Ok(IndexStore { db: Database::to_write(db, Part::Index, dir)? })
    }

    /// Opens or makes the index of a data directory whose journal ends at `end`. An index that reaches further than
    /// the journal, which a power cut without syncs can leave, is deleted.
    pub fn open_up_to(dir: &Path, end: Position) -> Result<IndexStore, OpenError> {
        let store = IndexStore::open(dir)?;
        let segments = store.segments().map_err(|error| OpenError::reading(Directory(dir), &error, ""))?;
        if segments.last().is_none_or(|(_, indexed)| *indexed <= end) {
            return Ok(store);
        }
        tracing::warn!("the index is ahead of the journal, which ends at {end}: it is deleted");
        drop(store);
        IndexStore::delete(dir)?;
        IndexStore::open(dir)
    }

    /// Opens the index for reading, beside a running server or without one; none if it does not exist.
    pub fn open_to_read(dir: &Path) -> Result<Option<IndexStore>, OpenError> {
        if is_not_there(Part::Index, dir)? {
            return Ok(None);
        }
        let families = |access| {
            let mut options = database_options();
            options.set_block_based_table_factory(&table_options(access));
            vec![ColumnFamilyDescriptor::new("default", options)]
        };
        let opened = open_to_read(Part::Index, dir, true, &database_options(), families);
        let (db, _) = opened.map_err(|error| fail(dir, &error))?;
        Ok(Some(IndexStore { db: Database::to_read(db) }))
    }

    /// Deletes the index of a data directory that no server has open.
    pub fn delete(dir: &Path) -> Result<(), OpenError> {
        let folder = dir.join("index");
        if std::fs::symlink_metadata(&folder).is_ok_and(|found| !found.is_dir()) {
            let why = format!("{} is a file that the engine did not make: move it away", folder.display());
            return Err(fail(dir, &why));
        }
        forget(&folder).map_err(|error| fail(dir, &format!("IO error: {}: {error}", folder.display())))?;
        DB::destroy(&database_options(), dir.join("index")).map_err(|error| fail(dir, &error))
    }

    /// Writes a segment atomically: the postings of its buckets by kind and bucket.
    pub fn write(
        &self,
        first: Position,
        end: Position,
        buckets: impl Iterator<Item = (u8, u8, Vec<u8>)>,
    ) -> Result<(), ReadError> {
        let mut batch = WriteBatch::default();
        for (kind, bucket, postings) in buckets {
            batch.put(posting_key(kind, bucket, first), postings);
        }
        batch.put(segment_key(first), end.0.to_be_bytes());
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(batch, &options).map_err(unreadable)
    }

    pub(super) fn database(&self) -> &Database {
        &self.db
    }

    /// Copies the database to `to`, which does not exist yet.
    pub(super) fn checkpoint(&self, to: &Path) -> Result<(), ReadError> {
        of_database(&self.db, to)
    }

    /// Flushes to the disk what is only in memory.
    pub fn flush(&self) -> Result<(), ReadError> {
        self.db.check_place()?;
        self.db.flush().map_err(unreadable)
    }

    /// First and end positions of all segments, in order.
    pub fn segments(&self) -> Result<Vec<(Position, Position)>, ReadError> {
        let mut segments = Vec::new();
        for entry in self.db.iterator_opt(IteratorMode::From(&[SEGMENT], Direction::Forward), look_up_options()) {
            let (key, end) = entry.map_err(unreadable)?;
            segments.push((Position(number(&key[1..])?), Position(number(&end)?)));
        }
        Ok(segments)
    }

    /// Visits the postings of a bucket, segment by segment, of segments that begin at `from` or later.
    pub fn postings(
        &self,
        kind: u8,
        bucket: u8,
        from: Position,
        visit: &mut VisitPostings<'_>,
    ) -> Result<(), ReadError> {
        let start = posting_key(kind, bucket, from);
        for entry in self.db.iterator_opt(IteratorMode::From(&start, Direction::Forward), look_up_options()) {
            let (key, value) = entry.map_err(unreadable)?;
            let Some(first) = key.strip_prefix(&[kind, bucket]) else { break };
            if visit(Position(number(first)?), &value)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Visits all postings: kind, first position of the segment, and the bytes.
    pub fn all(&self, visit: &mut CheckPostings<'_>) -> Result<(), ReadError> {
        for entry in self.db.iterator_opt(IteratorMode::Start, scan_options()) {
            let (key, value) = entry.map_err(unreadable)?;
            match &*key {
                [SEGMENT, ..] => {}
                [kind, _, first @ ..] => visit(*kind, Position(number(first)?), &value)?,
                _ => return Err(damaged(&"a key is too short")),
            }
        }
        Ok(())
    }

    /// Deletes segments that end before `before`.
    pub fn forget(&self, before: Position, kinds: &[u8]) -> Result<(), ReadError> {
        let gone = self.segments()?.into_iter().take_while(|(_, end)| *end <= before).last();
        let Some((last, _)) = gone else { return Ok(()) };
        let after = Position(last.0 + 1);
        let mut batch = WriteBatch::default();
        for kind in kinds {
            for bucket in 0..=u8::MAX {
                batch.delete_range(posting_key(*kind, bucket, Position(0)), posting_key(*kind, bucket, after));
            }
        }
        batch.delete_range(segment_key(Position(0)), segment_key(after));
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(batch, &options).map_err(unreadable)
    }
}

fn posting_key(kind: u8, bucket: u8, first: Position) -> [u8; 10] {
    let mut key = [0; 10];
    key[0] = kind;
    key[1] = bucket;
    key[2..].copy_from_slice(&first.0.to_be_bytes());
    key
}

fn segment_key(first: Position) -> [u8; 9] {
    let mut key = [SEGMENT; 9];
    key[1..].copy_from_slice(&first.0.to_be_bytes());
    key
}

fn fail(dir: &Path, error: &impl AsRef<str>) -> OpenError {
    Part::Index.not_opened(dir, error.as_ref())
}

fn unreadable(error: rocksdb::Error) -> ReadError {
    Part::Index.unreadable(error.as_ref())
}

/// A value that RocksDB could read, but that is not valid.
pub fn damaged(what: &dyn std::fmt::Display) -> ReadError {
    ReadError::Damaged(Part::Index.damaged(what))
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.set_max_open_files(open_tables_max(Part::Index));
    options.create_if_missing(true);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(32 << 20);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(4);
    options.set_stats_dump_period_sec(0);
    options
}
