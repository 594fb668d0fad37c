//! The tables of a bus in memory, for simulations: what was not synced can be lost, from its end, and every step can
//! fail.

use super::{Batch, Change, Table, Visit};
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// A step of a writer at which something can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterStep {
    /// A batch is about to be written.
    Write,
    /// It was written, all of it.
    Written,
    /// A sync begins.
    Sync,
    /// It ended: everything that was written is on the disk.
    Synced,
}

/// Whether a step goes well, and the words of the error if it does not.
type Hook = Box<dyn FnMut(WriterStep) -> Result<(), String> + Send>;
type TableRows = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

#[derive(Default)]
struct Tables {
    now: TableRows,
    synced: TableRows,
    /// Batches since the last sync.
    unsynced: Vec<Vec<Change>>,
}

/// Tables that outlive a [`BusStore`](super::BusStore), as files do.
#[derive(Default)]
pub struct MemoryTables {
    tables: Mutex<Tables>,
    hook: Mutex<Option<Hook>>,
    skips_syncs: AtomicBool,
}

impl MemoryTables {
    /// From now on `hook` says at each step whether it goes well.
    pub fn at_each_step(&self, hook: impl FnMut(WriterStep) -> Result<(), String> + Send + 'static) {
        *self.hook.lock() = Some(Box::new(hook));
    }

    /// From now on a sync is reported and not done: a mistake on purpose, for checks that have to find it.
    pub fn skip_syncs(&self) {
        self.skips_syncs.store(true, Ordering::Relaxed);
    }

    /// The process ended, and the system has everything that was written: the next one syncs it when it opens.
    pub fn after_kill(&self) {
        self.held().sync();
    }

    /// The power was cut: of the batches since the last sync `kept` are left, and `changes` changes of the next. A
    /// disk that keeps what it promises leaves no change of a batch without the others.
    pub fn after_power_cut(&self, kept: usize, changes: usize) {
        let mut tables = self.held();
        let mut unsynced = std::mem::take(&mut tables.unsynced).into_iter();
        for batch in unsynced.by_ref().take(kept) {
            batch.into_iter().for_each(|change| apply(&mut tables.synced, change));
        }
        let torn = unsynced.next().unwrap_or_default();
        torn.into_iter().take(changes).for_each(|change| apply(&mut tables.synced, change));
        tables.now = tables.synced.clone();
    }

    /// Batches since the last sync.
    pub fn unsynced(&self) -> usize {
        self.held().unsynced.len()
    }

    fn held(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock()
    }

    fn step(&self, step: WriterStep) -> Result<(), String> {
        self.hook.lock().as_mut().map_or(Ok(()), |hook| hook(step))
    }

    pub(super) fn write(&self, batch: Batch) -> Result<(), String> {
        self.step(WriterStep::Write)?;
        let mut tables = self.held();
        batch.0.iter().cloned().for_each(|change| apply(&mut tables.now, change));
        tables.unsynced.push(batch.0);
        drop(tables);
        self.step(WriterStep::Written)
    }

    pub(super) fn sync(&self) -> Result<(), String> {
        self.step(WriterStep::Sync)?;
        if !self.skips_syncs.load(Ordering::Relaxed) {
            self.held().sync();
        }
        self.step(WriterStep::Synced)
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Option<Vec<u8>> {
        self.held().now.get(&(table as u8, key.to_vec())).cloned()
    }

    pub(super) fn scan(&self, table: Table, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) {
        let start = (table as u8, from.max(prefix).to_vec());
        for ((of, key), value) in self.held().now.range(start..) {
            if *of != table as u8 || !key.starts_with(prefix) || visit(key, value).is_break() {
                break;
            }
        }
    }

    pub(super) fn scan_back(&self, table: Table, prefix: &[u8], before: &[u8], visit: &mut Visit<'_>) {
        let range = (table as u8, Vec::new())..(table as u8, before.to_vec());
        for ((_, key), value) in self.held().now.range(range).rev() {
            if !key.starts_with(prefix) || visit(key, value).is_break() {
                break;
            }
        }
    }
}

impl Tables {
    fn sync(&mut self) {
        for change in self.unsynced.drain(..).flatten() {
            apply(&mut self.synced, change);
        }
    }
}

fn apply(rows: &mut TableRows, change: Change) {
    match change {
        Change::Put(table, key, value) => drop(rows.insert((table as u8, key), value)),
        Change::Delete(table, key) => drop(rows.remove(&(table as u8, key))),
        Change::DeleteRange(table, from, to) => {
            let range = (table as u8, from)..(table as u8, to);
            let gone: Vec<_> = rows.range(range).map(|(key, _)| key.clone()).collect();
            gone.iter().for_each(|key| drop(rows.remove(key)));
        }
    }
}
