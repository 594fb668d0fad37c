//! Small facts that whoever stands around the engine wants to find again after a restart: how much a key has used, what
//! came already. A note survives the end of the process at once, and a power cut as soon as anything beside it is
//! synced.

use crate::journal::{Batch, Depot, ReadError, Room};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Notes by key. Whoever makes them sees to it that they stay few.
pub struct Notes(pub(crate) Arc<Depot>);

impl Notes {
    /// Puts notes, or with none takes them away; all or nothing.
    ///
    /// # Errors
    /// When the depot cannot be written.
    pub fn set(&self, notes: impl IntoIterator<Item = (String, Option<Vec<u8>>)>) -> Result<(), String> {
        let mut batch = Batch::default();
        for (key, value) in notes {
            match value {
                Some(value) => batch.put(Room::Notes, key, value),
                None => batch.delete(Room::Notes, key),
            }
        }
        self.0.write(batch, false)
    }

    /// Visits the notes whose keys begin with `prefix`, in order.
    ///
    /// # Errors
    /// When the depot cannot be read.
    pub fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &[u8])) -> Result<(), ReadError> {
        self.0.scan(Room::Notes, prefix.as_bytes(), b"", &mut |key, value| {
            if let Ok(key) = std::str::from_utf8(key) {
                visit(key, value);
            }
            ControlFlow::Continue(())
        })
    }
}
