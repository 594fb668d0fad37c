//! The databases beside the journal: each is read completely, and compared with the journal where that is cheap.

use super::{Cause, Finding};
use fakemon_delivery::Known;
use fakemon_delivery::reset::cut_back::reach;
use fakemon_journal::index;
use fakemon_journal::{BusStore, IndexStore, Part, ReadError, RowStore, Store};
use fakemon_model::ids::Position;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// The databases of a data directory, opened before its journal, so that they are not newer than it beside a running
/// server.
pub(super) struct Parts {
    dir: PathBuf,
    rows: Opened<RowStore>,
    index: Opened<IndexStore>,
    depot: Opened<BusStore>,
}

/// A database, none if it does not exist, or why it cannot be opened.
type Opened<D> = Result<Option<D>, String>;

impl Parts {
    pub(super) fn open(dir: &Path) -> Parts {
        Parts {
            dir: dir.to_owned(),
            rows: RowStore::open_to_read(dir).map_err(|error| error.to_string()),
            index: IndexStore::open_to_read(dir).map_err(|error| error.to_string()),
            depot: BusStore::open_to_read(dir).map_err(|error| error.to_string()),
        }
    }

    /// What is wrong with them.
    pub(super) fn findings(self, store: &Store, reading: &mut dyn FnMut(Part)) -> Vec<Finding> {
        let said = |error: ReadError| error.to_string();
        let ahead = self.ahead_of(store);
        let journal = store.check_beside().map_err(said);
        reading(Part::Snapshot);
        let rows = self.rows.and_then(|rows| check_rows(rows, store).map_err(said));
        reading(Part::Index);
        let index = self.index.and_then(|index| check_index(index).map_err(said));
        reading(Part::Bus);
        let depot = self.depot.and_then(|depot| check_depot(depot, store, &self.dir).map_err(said));
        let checked = [(Part::Journal, journal), (Part::Snapshot, rows), (Part::Index, index), (Part::Bus, depot)];
        let wrong = checked.into_iter().filter_map(|(part, checked)| Some((part, checked.err()?)));
        let wrong = wrong.map(|(part, what)| Finding::new(Cause::Part(part.name()), Position(0), what));
        ahead.into_iter().chain(wrong).collect()
    }

    /// That the journal ends before what one of them was made from: events of it are lost. Not where answers were
    /// given before the sync, because a power cut leaves that.
    fn ahead_of(&self, store: &Store) -> Option<Finding> {
        let end = store.end_position().ok()?;
        let head = self.rows.as_ref().ok()?.as_ref().and_then(|rows| rows.head().ok().flatten());
        if store.is_unsynced().ok()? || head.as_ref().is_some_and(|head| head.ever_unsynced) || store.told() > end {
            return None;
        }
        let indexed = self.index.as_ref().ok().and_then(|index| index.as_ref()?.segments().ok()?.last().copied());
        let read = self.depot.as_ref().ok().and_then(|depot| reach(depot.as_ref()?).ok());
        let reached = [
            (Part::Bus, read),
            (Part::Snapshot, head.map(|head| Position(head.position))),
            (Part::Index, indexed.map(|(_, end)| end)),
        ];
        let (part, told) = reached.into_iter().find_map(|(part, to)| Some((part, to.filter(|to| *to > end)?)))?;
        let what = format!("{}, or give `--salvage NEW_DIR`", store.lacks_what_was_read(part, end, told));
        Some(Finding::lacking(end, told, what))
    }
}

/// Checks that the snapshot can be read, and that the journal once had this state.
fn check_rows(rows: Option<RowStore>, store: &Store) -> Result<(), ReadError> {
    let begins = store.first_position().ok().flatten();
    let Some(rows) = rows else { return check_no_rows(begins, store) };
    rows.check()?;
    let Some(head) = rows.head()? else { return check_no_rows(begins, store) };
    let position = Position(head.position);
    // One that is ahead of a journal with its beginning is made again at the next start, or the journal lacks events.
    let (Some(first), Ok(end)) = (begins, store.end_position()) else { return Ok(()) };
    let mut agrees = position == Position(1) || position > end && first == Position(1);
    let read = store.blocks(Position(head.position.saturating_sub(1)), &mut |stored| {
        let block = stored.read()?.head();
        let end = stored.first.0 + u64::from(block.count);
        agrees |= end == position.0 && stored.hash == head.block_hash && block.state_hash == head.state_hash;
        agrees |= stored.first == position && stored.verify_after(&head.block_hash).is_ok();
        Ok(if end < position.0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    });
    match agrees || read.is_err() {
        true => Ok(()),
        false => {
            Err(rows.damaged(&format!("it stands at position {position}, where the journal says something else")))
        }
    }
}

/// Checks that no snapshot is needed: only it says what came before a journal that does not begin at 1. A directory
/// that no server had open is for tools, which need none.
fn check_no_rows(begins: Option<Position>, store: &Store) -> Result<(), ReadError> {
    match begins.unwrap_or(store.kept_from()?) {
        begins if begins > Position(1) && store.had_bus()? => Err(ReadError::Failed(format!(
            "the snapshot is missing, and the journal begins at position {begins}, so nothing says what came before: \
             restore a copy, or let `fakemon verify --salvage NEW_DIR` make a directory for tools"
        ))),
        _ => Ok(()),
    }
}

/// Checks that all postings can be read.
fn check_index(index: Option<IndexStore>) -> Result<(), ReadError> {
    index.map_or(Ok(()), |index| index::check(&index))
}

/// Checks that the data of the bus can be read, including its resources.
fn check_depot(depot: Option<BusStore>, store: &Store, dir: &Path) -> Result<(), ReadError> {
    let Some(depot) = depot else { return store.check_no_bus() };
    store.check_bus_note(dir)?;
    depot.check()?;
    Known::read(&depot, store.first_position().ok().flatten().unwrap_or(Position(1)), Position(u64::MAX)).map(drop)
}
