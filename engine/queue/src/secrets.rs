//! Secrets of connections: stored in the depot, not in the journal, so that a copy of the journal reveals none.

use fakemon_journal::{Batch, BusStore, ReadError, Table};
use std::sync::Arc;

/// Secrets by the name of their connection.
pub struct Secrets(pub Arc<BusStore>);

impl Secrets {
    /// Stores a secret, or deletes it if there is none; on the disk when this returns.
    ///
    /// # Errors
    /// When the depot cannot be written.
    pub fn set(&self, connection: &str, secret: Option<&[u8]>) -> Result<(), String> {
        let mut batch = Batch::default();
        match secret {
            Some(secret) => batch.put(Table::Secrets, connection, secret),
            None => batch.delete(Table::Secrets, connection),
        }
        self.0.write(batch, true)
    }

    /// The secret of a connection.
    ///
    /// # Errors
    /// When the depot cannot be read.
    pub fn get(&self, connection: &str) -> Result<Option<Vec<u8>>, ReadError> {
        self.0.get(Table::Secrets, connection.as_bytes())
    }
}
