//! A look at a whole data directory before any of it is opened to write. RocksDB, when it opens a database to write,
//! writes the log into tables and begins a new manifest; of a damaged one, that would leave less for a salvage. So
//! everything that can be refused is refused here, where nothing is changed.
//!
//! While it is open, manifests are noted, and the folders compared with those that were opened.
//!
//! The log of the journal, which can be long, is read by `database::logs` alone; the tables are opened without it.

use crate::bus_store::{BusStore, Table};
use crate::copy::Databases;
use crate::database::open::Database;
use crate::database::{Part, look_to_write};
use crate::error::{Directory, OpenError, ReadError};
use crate::index_store::IndexStore;
use crate::snapshot_store::RowStore;
use crate::store::look::{Journal, look};
use crate::store::{DirectoryLock, Store, identify};
use fakemon_model::ids::Position;
use std::ops::ControlFlow;
use std::path::Path;

/// One past the last event that a bus has read.
pub type BusReach = fn(&BusStore) -> Result<Position, ReadError>;

/// What was seen of a data directory, which no other process opens to write while this exists.
#[derive(Default)]
pub struct Seen {
    /// None: there is no directory.
    pub(super) held: Option<DirectoryLock>,
    /// The snapshot, if there is one that is not ahead of the journal.
    pub rows: Option<RowStore>,
}

impl Seen {
    /// Looks at the data directory `dir`, and changes nothing; `reach` is how far a bus has read the journal.
    ///
    /// # Errors
    /// When another process has it open, or anything that a server needs to start is damaged or missing.
    pub fn at(dir: &Path, reach: BusReach) -> Result<Seen, OpenError> {
        if !dir.is_dir() {
            return Ok(Seen::default());
        }
        let held = Some(DirectoryLock::take(dir)?);
        identify(dir)?;
        let fail = |error: ReadError| OpenError::reading(Directory(dir), &error, "");
        let journal = look(dir)?;
        look_to_write(Part::Snapshot, dir, false)?;
        look_to_write(Part::Index, dir, false)?;
        let bus = look_to_write(Part::Bus, dir, false)?;
        journal.check_parts(dir, bus.is_some())?;
        let rows = RowStore::open_to_read(dir)?;
        let head = rows.as_ref().map(RowStore::head).transpose().map_err(fail)?.flatten();
        // Where answers were given before the sync, a power cut takes events that others have read.
        let may_be_ahead = journal.is_unsynced || head.as_ref().is_some_and(|head| head.ever_unsynced);
        let check_reach = |part, reach| match may_be_ahead {
            true => Ok(()),
            false => journal.check_reach(dir, part, reach),
        };
        if let Some(depot) = BusStore::open_before_writing(dir)? {
            depot.check_rooms(&[Table::Router, Table::Lanes, Table::Queues]).map_err(fail)?;
            check_reach(Part::Bus, reach(&depot).map_err(fail)?)?;
        }
        if let Some(head) = &head {
            check_reach(Part::Snapshot, Position(head.position))?;
        }
        if let Some(index) = IndexStore::open_to_read(dir)? {
            let segments = index.segments().map_err(fail)?;
            check_reach(Part::Index, segments.last().map_or(Position(1), |(_, end)| *end))?;
        }
        let rows = rows_up_to(dir, &journal, rows)?;
        let from = rows.as_ref().map(RowStore::head).transpose().map_err(fail)?.flatten();
        if journal.first > Position(1) && from.is_none() {
            let what = format!(
                "it begins at position {}, and no snapshot says what came before: it is for tools only (`fakemon log`, \
                 `explain`, `export`); restore a copy for a server",
                journal.first
            );
            let message = format!("{}: {what}", Directory(dir));
            return Err(OpenError::Damaged { position: Some(Position(1)), message });
        }
        if let Some(tables) = &journal.tables {
            check_tail(tables, Position(from.map_or(0, |head| head.position))).map_err(fail)?;
        }
        if journal.is_unproven {
            let what = "it is of an older version: this once, nothing proves that no end of a manifest is missing";
            tracing::warn!("{}: {what}", Directory(dir));
        }
        Ok(Seen { held, rows })
    }
}

/// Reads all blocks of tables that recovery will read.
fn check_tail(tables: &Store, from: Position) -> Result<(), ReadError> {
    tables.blocks(from, &mut |_| Ok(ControlFlow::Continue(())))
}

/// The snapshot, unless there is none, or it is ahead of the journal and can be made again.
fn rows_up_to(dir: &Path, journal: &Journal, rows: Option<RowStore>) -> Result<Option<RowStore>, OpenError> {
    let Some(rows) = rows else { return Ok(None) };
    let head = rows.head().map_err(|error| OpenError::reading(Directory(dir), &error, ""))?;
    match head {
        Some(head) if head.position > journal.end.0 && journal.first > Position(1) => {
            Err(RowStore::ahead(dir, journal.end))
        }
        Some(head) if head.position > journal.end.0 => Ok(None),
        _ => Ok(Some(rows)),
    }
}

impl Seen {
    /// Opens the journal to write, or makes a data directory.
    pub fn open_store(&mut self, dir: &Path) -> Result<Store, OpenError> {
        Store::open_held(dir, self.held.take())
    }
}

impl Databases {
    /// Notes what the manifests have grown by, so that damage in them is found at the next start. To be called once a
    /// second.
    ///
    /// # Errors
    /// When a note cannot be written.
    pub fn note_manifests(&self) -> Result<(), ReadError> {
        self.each(Database::note)
    }

    /// Whether the folders that were opened are still in their places.
    ///
    /// # Errors
    /// When one was deleted or replaced: the databases that are open are no longer those of the data directory.
    pub fn check_places(&self) -> Result<(), ReadError> {
        self.store.check_place()?;
        self.each(Database::check_place)
    }

    fn each(&self, work: impl Fn(&Database) -> Result<(), ReadError>) -> Result<(), ReadError> {
        work(self.store.database())?;
        work(self.rows.database())?;
        work(self.index.database())?;
        self.depot.with_database(work)
    }
}
