//! Following the journal: threads that read each block once it is durable, at their own pace. They read from the
//! store, so a slow follower delays no other thread, and no block is kept in memory for it.

mod progress;

use crate::{BlockLog, ReadError, Store, StoredBlock};
use fakemon_fbs::journal::BlockReader;
use fakemon_model::ids::Position;
use fakemon_sync::pulse;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use progress::Progress;

/// The follower that keeps the view of the world.
pub const WORLD: usize = 0;
/// The follower that keeps the snapshot.
pub const SNAPSHOT: usize = 1;
/// The follower that routes events to the targets of rules.
pub const BUS: usize = 2;
/// The follower that wakes pipes.
pub const PIPES: usize = 3;
/// How many there are.
pub const FOLLOWERS: usize = 4;

/// A place in the journal, of one thread that reads on from it.
pub struct Follower<L = Store> {
    store: Arc<L>,
    progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
    index: usize,
    /// The next block.
    pub next: Position,
}

impl<L: BlockLog> Follower<L> {
    pub fn new(store: Arc<L>, progress: Arc<Progress>, stop: Arc<AtomicBool>, index: usize) -> Follower<L> {
        let next = if index == SNAPSHOT { progress.snapshot() } else { progress.committed() };
        Follower { store, progress, stop, index, next }
    }

    /// Continues from another position.
    pub fn beginning_at(self, next: Position) -> Follower<L> {
        Follower { next, ..self }
    }

    /// A second follower at the same position with the same bell: only one of the two may wait.
    pub fn clone_place(&self) -> Follower<L> {
        let Follower { store, progress, stop, index, next } = self;
        Follower { store: store.clone(), progress: progress.clone(), stop: stop.clone(), index: *index, next: *next }
    }

    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Whether durable blocks are left to read.
    pub fn behind(&self) -> bool {
        self.next < self.progress.committed()
    }

    /// Waits until there is a block to read, but at most `patience`.
    pub fn wait(&self, patience: Duration) {
        let bell = self.progress.follower(self.index);
        bell.arm_thread();
        if !self.behind() && !self.stopping() {
            std::thread::park_timeout(patience);
        }
        bell.disarm();
    }

    /// Visits durable blocks in order until `enough` is true or none is left; false if none is left.
    pub fn read(
        &mut self,
        visit: &mut dyn FnMut(&BlockReader<'_>, &StoredBlock<'_>),
        enough: &dyn Fn() -> bool,
    ) -> Result<(), ReadError> {
        while self.behind() && !enough() {
            let next = self.store.block(self.next, |stored| {
                let block = stored.read()?;
                visit(&block, &stored);
                pulse::go_on();
                Ok(Position(self.next.0 + u64::from(block.head().count)))
            })?;
            self.next = next.ok_or_else(|| ReadError::corrupt(self.next, "the block is missing"))?;
        }
        Ok(())
    }
}
