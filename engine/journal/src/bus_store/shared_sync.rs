//! One sync for all writers that wait: a writer that arrives while a sync runs waits for the next one, together with
//! all others that arrived meanwhile. A thousand deletions at once cost a few syncs; a single one costs one sync and
//! waits for no timer.

use parking_lot::{Condvar, Mutex, MutexGuard};

/// Syncs of one file, in turn.
#[derive(Default)]
pub(crate) struct SharedSync {
    turns: Mutex<Turns>,
    ended: Condvar,
}

#[derive(Default)]
struct Turns {
    begun: u64,
    ended: u64,
    /// After a failed sync the content of the disk is unknown, so every later sync fails too.
    failed: Option<String>,
}

impl SharedSync {
    /// Waits until everything written before this call is on the disk. `sync` runs on one of the waiting threads.
    pub(crate) fn wait(&self, sync: impl Fn() -> Result<(), String>) -> Result<(), String> {
        let mut turns = self.turns();
        let wanted = turns.begun + 1; // a running sync may have begun before the write
        while turns.ended < wanted {
            if turns.begun > turns.ended {
                self.ended.wait(&mut turns);
                continue;
            }
            turns.begun += 1;
            drop(turns);
            let outcome = sync();
            turns = self.turns();
            turns.ended = turns.begun;
            turns.failed = turns.failed.take().or(outcome.err());
            self.ended.notify_all();
        }
        turns.failed.clone().map_or(Ok(()), Err)
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn every_write_is_covered_by_a_sync_that_began_after_it() {
        let (syncs, written, synced) = (SharedSync::default(), AtomicU64::new(0), AtomicU64::new(0));
        let count = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let mine = written.fetch_add(1, Ordering::SeqCst) + 1;
                        let sync = || {
                            let covered = written.load(Ordering::SeqCst);
                            std::thread::yield_now();
                            synced.fetch_max(covered, Ordering::SeqCst);
                            count.fetch_add(1, Ordering::SeqCst);
                            Ok(())
                        };
                        syncs.wait(sync).unwrap();
                        assert!(synced.load(Ordering::SeqCst) >= mine);
                    }
                });
            }
        });
        assert!(count.load(Ordering::SeqCst) <= 1_600, "no more syncs than writes");
    }

    #[test]
    fn nothing_succeeds_after_a_sync_that_failed() {
        let syncs = SharedSync::default();
        assert_eq!(syncs.wait(|| Err("no disk".into())), Err("no disk".into()));
        assert_eq!(syncs.wait(|| Ok(())), Err("no disk".into()));
    }
}
