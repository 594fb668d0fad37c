//! Small values that the program around the engine wants to find again after a restart: how much of its quota a key
//! has used, which requests were accepted. A note survives the end of the process at once, and a power cut after
//! [`NoteStore::sync`], which belongs before every answer that relies on a note.

use fakemon_journal::{Batch, BusStore, ReadError, Table};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Notes by key. The caller keeps their number small.
pub struct NoteStore(pub Arc<BusStore>);

impl NoteStore {
    /// Sets notes, or deletes those without a value; atomically. Not synced.
    ///
    /// # Errors
    /// When the depot cannot be written.
    pub fn set(&self, notes: impl IntoIterator<Item = (String, Option<Vec<u8>>)>) -> Result<(), String> {
        let mut batch = Batch::default();
        for (key, value) in notes {
            match value {
                Some(value) => batch.put(Table::NoteStore, key, value),
                None => batch.delete(Table::NoteStore, key),
            }
        }
        self.0.write(batch, false)
    }

    /// Syncs: every earlier note is on the disk when this returns. Callers that wait at the same time share one sync.
    ///
    /// # Errors
    /// When the disk reports an error.
    pub fn sync(&self) -> Result<(), String> {
        self.0.sync()
    }

    /// Visits the notes whose keys begin with `prefix`, in order.
    ///
    /// # Errors
    /// When the depot cannot be read.
    pub fn visit(&self, prefix: &str, visit: &mut dyn FnMut(&str, &[u8])) -> Result<(), ReadError> {
        self.0.scan(Table::NoteStore, prefix.as_bytes(), b"", &mut |key, value| {
            if let Ok(key) = std::str::from_utf8(key) {
                visit(key, value);
            }
            ControlFlow::Continue(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(dir: &std::path::Path) -> usize {
        let copy = tempfile::tempdir().unwrap();
        std::fs::create_dir(copy.path().join("bus")).unwrap();
        for entry in std::fs::read_dir(dir.join("bus")).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join("bus").join(entry.file_name())).unwrap();
        }
        let (notes, mut count) = (NoteStore(Arc::new(BusStore::open(copy.path()).unwrap())), 0);
        notes.visit("", &mut |_, _| count += 1).unwrap();
        count
    }

    #[test]
    fn a_note_survives_a_power_cut_once_it_is_synced() {
        let dir = tempfile::tempdir().unwrap();
        let notes = NoteStore(Arc::new(BusStore::open_forgetful(dir.path())));
        notes.set([("usage/p/k/00001".to_owned(), Some(vec![1]))]).unwrap();
        assert_eq!(left(dir.path()), 0, "a copy shows what a power cut leaves");
        notes.sync().unwrap();
        assert_eq!(left(dir.path()), 1);
    }
}
