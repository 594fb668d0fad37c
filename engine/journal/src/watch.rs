//! What is looked after while databases are open to write.

use crate::copy::Databases;
use crate::database::open::Database;
use crate::error::ReadError;

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
        self.each(Database::check_place)
    }

    fn each(&self, work: impl Fn(&Database) -> Result<(), ReadError>) -> Result<(), ReadError> {
        work(self.store.database())?;
        work(self.rows.database())?;
        work(self.index.database())?;
        self.depot.with_database(work)
    }
}
