//! Secrets of connections: kept in the depot, not in the journal, so that a copy of the journal gives nothing away.

use fakemon_journal::{Batch, Depot, ReadError, Room};
use std::sync::Arc;

/// Secrets by name of their connection.
pub struct Secrets(pub Arc<Depot>);

impl Secrets {
    /// Keeps a secret, or with none forgets it; on the disk after this.
    ///
    /// # Errors
    /// When the depot cannot be written.
    pub fn set(&self, connection: &str, secret: Option<&[u8]>) -> Result<(), String> {
        let mut batch = Batch::default();
        match secret {
            Some(secret) => batch.put(Room::Secrets, connection, secret),
            None => batch.delete(Room::Secrets, connection),
        }
        self.0.write(batch, true)
    }

    /// The secret of a connection.
    ///
    /// # Errors
    /// When the depot cannot be read.
    pub fn get(&self, connection: &str) -> Result<Option<Vec<u8>>, ReadError> {
        self.0.get(Room::Secrets, connection.as_bytes())
    }
}
