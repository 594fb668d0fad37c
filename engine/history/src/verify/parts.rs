//! The databases beside the journal: each is read completely, and compared with the journal where that is cheap.

use super::{Cause, Finding};
use fakemon_delivery::Known;
use fakemon_journal::index;
use fakemon_journal::{BusStore, IndexStore, Part, ReadError, RowStore, Store};
use fakemon_model::ids::Position;
use std::ops::ControlFlow;
use std::path::Path;

/// The databases of a data directory, opened before its journal, so that they are not newer than it beside a running
/// server.
pub(super) struct Parts {
    rows: Opened<RowStore>,
    index: Opened<IndexStore>,
    depot: Opened<BusStore>,
}

/// A database, none if it does not exist, or why it cannot be opened.
type Opened<D> = Result<Option<D>, String>;

impl Parts {
    pub(super) fn open(dir: &Path) -> Parts {
        Parts {
            rows: RowStore::open_to_read(dir).map_err(|error| error.to_string()),
            index: IndexStore::open_to_read(dir).map_err(|error| error.to_string()),
            depot: BusStore::open_to_read(dir).map_err(|error| error.to_string()),
        }
    }

    /// What is wrong with them.
    pub(super) fn findings(self, store: &Store, reading: &mut dyn FnMut(Part)) -> Vec<Finding> {
        let said = |error: ReadError| error.to_string();
        let journal = store.check_beside().map_err(said);
        reading(Part::Snapshot);
        let rows = self.rows.and_then(|rows| check_rows(rows, store).map_err(said));
        reading(Part::Index);
        let index = self.index.and_then(|index| check_index(index).map_err(said));
        reading(Part::Bus);
        let depot = self.depot.and_then(|depot| check_depot(depot, store).map_err(said));
        let checked = [(Part::Journal, journal), (Part::Snapshot, rows), (Part::Index, index), (Part::Bus, depot)];
        let wrong = checked.into_iter().filter_map(|(part, checked)| Some((part, checked.err()?)));
        wrong.map(|(part, what)| Finding::new(Cause::Part(part.name()), Position(0), what)).collect()
    }
}

/// Checks that the snapshot can be read, and that the journal once had this state.
fn check_rows(rows: Option<RowStore>, store: &Store) -> Result<(), ReadError> {
    let Some(rows) = rows else { return Ok(()) };
    rows.check()?;
    let Some(head) = rows.head()? else { return Ok(()) };
    let position = Position(head.position);
    // A snapshot that is ahead of a journal with its beginning is made again at the next start.
    let (Ok(Some(first)), Ok(end)) = (store.first_position(), store.end_position()) else { return Ok(()) };
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

/// Checks that all postings can be read.
fn check_index(index: Option<IndexStore>) -> Result<(), ReadError> {
    index.map_or(Ok(()), |index| index::check(&index))
}

/// Checks that the data of the bus can be read, including its resources.
fn check_depot(depot: Option<BusStore>, store: &Store) -> Result<(), ReadError> {
    let Some(depot) = depot else { return store.check_no_bus() };
    depot.check()?;
    Known::read(&depot, store.first_position().ok().flatten().unwrap_or(Position(1)), Position(u64::MAX)).map(drop)
}
