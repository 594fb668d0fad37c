//! The progress of a pipe, across restarts. A queue tracks itself which messages are done; for the journal and for
//! streams the pipe stores its cursor whenever the target accepted something, so that after a `kill -9` at most the
//! last batch is repeated.
//!
//! ```text
//! depot, room Router: 'pipe' 0 name 0 created at (decimal) → Cursor as JSON
//! ```

use fakemon_journal::{Batch, BusStore, ReadError, Table};
use fakemon_model::envelope::{EventKey, Facet};
use fakemon_model::ids::{Position, Timestamp};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// The progress of a pipe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// All events up to this one are done.
    pub(super) key: Option<u64>,
    /// Of a stream: the id of the last event that is done.
    pub(super) event_id: Option<String>,
    /// How often the next record was tried already.
    pub(super) retries: u32,
}

impl Cursor {
    pub(super) fn read(depot: &BusStore, pipe: &str, created_at: Timestamp) -> Result<Cursor, ReadError> {
        let Some(value) = depot.get(Table::Router, &row(pipe, created_at))? else { return Ok(Cursor::default()) };
        let unreadable = |error| ReadError::Store(format!("the cursor of pipe {pipe} cannot be read: {error}"));
        serde_json::from_slice(&value).map_err(unreadable)
    }

    /// Stores it; it survives the end of the process, but a power cut may lose the last writes.
    pub(super) fn write(&self, depot: &BusStore, pipe: &str, created_at: Timestamp) -> Result<(), ReadError> {
        let mut batch = Batch::default();
        let value = serde_json::to_vec(self).expect("numbers and texts can always be written");
        batch.put(Table::Router, row(pipe, created_at), value);
        depot.write(batch, false).map_err(ReadError::Failed)
    }

    /// The event up to which everything is done.
    pub(super) fn event(&self) -> Option<EventKey> {
        self.key.map(EventKey)
    }
}

/// Deletes the cursors of pipes that no longer exist.
pub(super) fn forget(depot: &BusStore, is_there: impl Fn(&str, Timestamp) -> bool) -> Result<(), ReadError> {
    let mut gone = Batch::default();
    depot.scan(Table::Router, b"pipe\0", b"", &mut |key, _| {
        let text = std::str::from_utf8(key).unwrap_or_default();
        let mut parts = text.split('\0').skip(1);
        let (name, created_at) = (parts.next().unwrap_or_default(), parts.next().and_then(|at| at.parse().ok()));
        if !is_there(name, Timestamp(created_at.unwrap_or_default())) {
            gone.delete(Table::Router, key);
        }
        ControlFlow::Continue(())
    })?;
    if gone.is_empty() { Ok(()) } else { depot.write(gone, false).map_err(ReadError::Failed) }
}

/// Adds to a batch that pipes which had read events of the journal after `end` go on from there; how many.
pub fn cut_back(depot: &BusStore, end: Position, batch: &mut Batch) -> Result<u64, ReadError> {
    let last = EventKey::new(Position(end.0.saturating_sub(1)), Facet::Happened);
    let mut pipes = 0;
    depot.scan(Table::Router, b"pipe\0", b"", &mut |key, value| {
        if let Ok(cursor) = serde_json::from_slice::<Cursor>(value)
            && cursor.key.is_some_and(|key| key > last.0)
        {
            pipes += 1;
            let cursor = Cursor { key: Some(last.0), retries: 0, ..cursor };
            batch.put(
                Table::Router,
                key,
                serde_json::to_vec(&cursor).expect("numbers and texts can always be written"),
            );
        }
        ControlFlow::Continue(())
    })?;
    Ok(pipes)
}

fn row(pipe: &str, created_at: Timestamp) -> Vec<u8> {
    format!("pipe\0{pipe}\0{}", created_at.0).into_bytes()
}
