//! The snapshot's rows, in a database of their own: they are made from the journal, and can be made again. They are
//! not logged; all families are flushed together, so that after a crash all rows are of the same moment.

pub(crate) mod snapshot_rows; // the snapshot as a seam, with a simulated side

use super::database::{
    Access, Part, holds_nothing, is_half_made, is_not_there, look_to_write, make_folder, open_tables_max,
    open_to_read, scan_options, table_options,
};
use crate::copy::of_database;
use crate::database::manifest::forget;
use crate::database::open::Database;
use crate::error::ReadError;
use crate::error::{Directory, OpenError};
use fakemon_fbs::Malformed;
use fakemon_fbs::snapshot::{self, Answer, Fakemon, Head};
use fakemon_model::ids::{AttemptId, FakemonId, PlayerId, Position};
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, DBCompactionStyle, DBCompressionType, Direction, FlushOptions,
    IteratorMode, Options, WriteBatch, WriteOptions,
};
use std::path::Path;

const FAMILIES: [&str; 4] = ["fakemon", "players", "answers", "head"];

/// The rows of a data directory.
pub struct RowStore {
    db: Database,
}

impl RowStore {
    pub(super) fn open(dir: &Path) -> Result<RowStore, OpenError> {
        let mut options = database_options();
        look_to_write(Part::Snapshot, dir, false)?;
        options.create_if_missing(holds_nothing(&dir.join("snapshot")));
        make_folder(dir, "snapshot")?;
        let db = DB::open_cf_descriptors(&options, dir.join("snapshot"), families(Access::Write));
        let db = db.map_err(|error| fail(dir, &error))?;
        Ok(RowStore { db: Database::to_write(db, Part::Snapshot, dir)? })
    }

    /// Opens the rows of a data directory whose journal goes from `first` to `end`. Rows that are newer than the
    /// journal, which a power cut without syncs can leave, are made again if the journal still has its beginning.
    pub fn open_up_to(dir: &Path, first: Position, end: Position) -> Result<RowStore, OpenError> {
        let rows = RowStore::open(dir)?;
        let head = rows.head().map_err(|error| OpenError::reading(Directory(dir), &error, ""))?;
        if head.is_none_or(|head| head.position <= end.0) {
            return Ok(rows);
        }
        if first > Position(1) {
            return Err(RowStore::ahead(dir, end));
        }
        tracing::warn!("the snapshot is ahead of the journal, which ends at {end}: it is made again");
        drop(rows);
        let snapshot = dir.join("snapshot");
        forget(&snapshot)
            .and_then(|()| std::fs::remove_dir_all(&snapshot))
            .map_err(|error| OpenError::Io(format!("{} cannot be deleted: {error}", snapshot.display())))?;
        RowStore::open(dir)
    }

    /// The snapshot is ahead of the journal, and cannot be made again.
    pub(super) fn ahead(dir: &Path, end: Position) -> OpenError {
        let message = format!(
            "data directory {}: the snapshot is ahead of the journal, which ends at {end} and cannot make it again, \
             because retention let go of its beginning: restore a copy",
            dir.display()
        );
        OpenError::Damaged { position: Some(end), message }
    }

    /// Opens the rows of a data directory for reading; none if there are none yet.
    pub fn open_to_read(dir: &Path) -> Result<Option<RowStore>, OpenError> {
        if is_not_there(Part::Snapshot, dir)? || is_half_made(Part::Snapshot, dir) {
            return Ok(None);
        }
        let opened = open_to_read(Part::Snapshot, dir, true, &database_options(), families);
        let (db, _) = opened.map_err(|error| fail(dir, &error))?;
        Ok(Some(RowStore { db: Database::to_read(db) }))
    }

    /// What is left of a damaged one.
    pub(super) fn of_wreck(db: DB) -> Result<RowStore, ReadError> {
        let rows = RowStore { db: Database::to_read(db) };
        rows.flush()?; // it is not logged
        Ok(rows)
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("all families are opened with the rows")
    }

    /// The position of the snapshot; none in a new directory.
    pub fn head(&self) -> Result<Option<Head>, ReadError> {
        let Some(bytes) = self.db.get_pinned_cf(self.family("head"), b"").map_err(unreadable)? else {
            return Ok(None);
        };
        snapshot::read_head(&bytes).map(Some).map_err(|error| malformed("head", &error))
    }

    /// All fakémon of the snapshot.
    pub fn fakemon(&self, visit: &mut dyn FnMut(Fakemon)) -> Result<(), ReadError> {
        let family = self.family("fakemon");
        for entry in self.db.iterator_cf_opt(family, scan_options(), IteratorMode::Start) {
            visit(
                snapshot::read_fakemon(&entry.map_err(unreadable)?.1)
                    .map_err(|error| malformed("fakemon", &error))?,
            );
        }
        Ok(())
    }

    /// One fakémon of the snapshot.
    pub fn fakemon_row(&self, id: FakemonId) -> Result<Option<Fakemon>, ReadError> {
        let Some(bytes) = self.db.get_pinned_cf(self.family("fakemon"), id.0.to_be_bytes()).map_err(unreadable)?
        else {
            return Ok(None);
        };
        snapshot::read_fakemon(&bytes).map(Some).map_err(|error| malformed("fakemon", &error))
    }

    /// All players of the snapshot.
    pub fn players(&self, visit: &mut dyn FnMut(PlayerId, snapshot::Player)) -> Result<(), ReadError> {
        for entry in self.db.iterator_cf_opt(self.family("players"), scan_options(), IteratorMode::Start) {
            let (key, value) = entry.map_err(unreadable)?;
            let id = key.as_ref().try_into().map(u32::from_be_bytes);
            let id = id.map_err(|_| wrong_key("players"))?;
            visit(PlayerId(id), snapshot::read_player(&value).map_err(|error| malformed("players", &error))?);
        }
        Ok(())
    }

    /// One player of the snapshot.
    pub fn player_row(&self, id: PlayerId) -> Result<Option<snapshot::Player>, ReadError> {
        let Some(bytes) = self.db.get_pinned_cf(self.family("players"), id.0.to_be_bytes()).map_err(unreadable)?
        else {
            return Ok(None);
        };
        snapshot::read_player(&bytes).map(Some).map_err(|error| malformed("players", &error))
    }

    /// The answer to an attempt, from the snapshot. The look-up is one seek if a player used attempt ids in ascending
    /// order.
    pub fn answer(&self, player: PlayerId, attempt: AttemptId) -> Result<Option<Answer>, ReadError> {
        let start = answers_key(player, attempt, Position(0));
        let mode = IteratorMode::From(&start, Direction::Forward);
        for entry in self.db.iterator_cf(self.family("answers"), mode) {
            let (key, value) = entry.map_err(unreadable)?;
            if !key.starts_with(&player.0.to_be_bytes()) {
                break;
            }
            let answers = snapshot::read_answers(&value).map_err(|error| malformed("answers", &error))?;
            if let Ok(index) = answers.binary_search_by_key(&attempt.0, Answer::attempt_id) {
                return Ok(Some(answers[index]));
            }
        }
        Ok(None)
    }

    /// Reports a row that can be read and is wrong.
    pub fn damaged(&self, what: &str) -> ReadError {
        ReadError::Damaged(Part::Snapshot.damaged(&what))
    }

    /// Checks that everything can be read.
    pub fn check(&self) -> Result<(), ReadError> {
        for family in FAMILIES {
            for entry in self.db.iterator_cf_opt(self.family(family), scan_options(), IteratorMode::Start) {
                let (_, value) = entry.map_err(unreadable)?;
                if family == "answers" {
                    snapshot::read_answers(&value).map_err(|error| malformed(family, &error))?;
                }
            }
        }
        self.head()?;
        self.fakemon(&mut drop)?;
        self.players(&mut |_, _| {})
    }

    /// Writes changed rows. Some may be newer than the head: recovery applies the same events again.
    pub fn write_rows(&self, rows: &Rows) -> Result<(), ReadError> {
        let mut batch = WriteBatch::default();
        for row in &rows.fakemon {
            batch.put_cf(self.family("fakemon"), row.fakemon_id().to_be_bytes(), row.0);
        }
        for (id, player) in &rows.players {
            batch.put_cf(self.family("players"), id.0.to_be_bytes(), snapshot::write_player(player));
        }
        for (id, answers) in &rows.answers {
            if let (Some(last), Some(first)) = (answers.last(), answers.first()) {
                let key = answers_key(*id, AttemptId(last.attempt_id()), Position(first.position()));
                batch.put_cf(self.family("answers"), key, snapshot::write_answers(answers));
            }
        }
        if let Some(head) = &rows.head {
            batch.put_cf(self.family("head"), b"", snapshot::write_head(head));
        }
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

    /// Flushes to the disk everything that is only in memory.
    pub fn flush(&self) -> Result<(), ReadError> {
        self.db.check_place()?;
        let families = FAMILIES.map(|name| self.family(name));
        self.db.flush_cfs_opt(&families, &FlushOptions::default()).map_err(unreadable)
    }
}

/// Rows that changed.
#[derive(Default)]
pub struct Rows {
    pub fakemon: Vec<Fakemon>,
    pub players: Vec<(PlayerId, snapshot::Player)>,
    /// Answers of each player, sorted by attempt id.
    pub answers: Vec<(PlayerId, Vec<Answer>)>,
    /// The new head, with the last batch of rows only.
    pub head: Option<Head>,
}

fn answers_key(player: PlayerId, last: AttemptId, position: Position) -> [u8; 20] {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&player.0.to_be_bytes());
    key[4..12].copy_from_slice(&last.0.to_be_bytes());
    key[12..].copy_from_slice(&position.0.to_be_bytes());
    key
}

fn fail(dir: &Path, error: &impl AsRef<str>) -> OpenError {
    Part::Snapshot.not_opened(dir, error.as_ref())
}

fn unreadable(error: rocksdb::Error) -> ReadError {
    Part::Snapshot.unreadable(error.as_ref())
}

/// A row that RocksDB could read and this program cannot.
fn malformed(row: &str, error: &Malformed) -> ReadError {
    ReadError::Damaged(Part::Snapshot.damaged(&format!("a row of `{row}`: {error}")))
}

fn wrong_key(row: &str) -> ReadError {
    ReadError::Damaged(Part::Snapshot.damaged(&format!("a key of `{row}`")))
}

pub(super) fn database_options() -> Options {
    let mut options = Options::default();
    options.set_max_open_files(open_tables_max(Part::Snapshot));
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_atomic_flush(true);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(4);
    options.set_stats_dump_period_sec(0);
    options
}

pub(super) fn families(access: Access) -> Vec<ColumnFamilyDescriptor> {
    FAMILIES.map(|name| ColumnFamilyDescriptor::new(name, family_options(name, access))).into()
}

fn family_options(name: &str, access: Access) -> Options {
    let mut table = table_options(access);
    table.set_bloom_filter(10.0, false);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(64 << 20);
    if name == "answers" {
        // Keys of answers arrive in random order, one per attempt: leveled compaction would rewrite them again and
        // again.
        options.set_compaction_style(DBCompactionStyle::Universal);
    }
    options
}
