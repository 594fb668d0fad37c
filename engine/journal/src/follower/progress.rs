//! The positions of the journal's parts: durable, in the snapshot, routed, and still needed. Followers sleep on its
//! bells.

use fakemon_model::ids::Position;
use fakemon_sync::notify::Notify;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far each part of the journal is; followers wait on it.
pub struct Progress {
    committed: AtomicU64,
    snapshot: AtomicU64,
    routed: AtomicU64,
    needed: AtomicU64,
    followers: Vec<Notify>,
}

impl Progress {
    pub fn new(committed: Position, snapshot: Position, followers: usize) -> Progress {
        Progress {
            committed: AtomicU64::new(committed.0),
            snapshot: AtomicU64::new(snapshot.0),
            routed: AtomicU64::new(0),
            needed: AtomicU64::new(0),
            followers: (0..followers).map(|_| Notify::for_thread()).collect(),
        }
    }

    /// The first position that is not durable yet.
    pub fn committed(&self) -> Position {
        Position(self.committed.load(Ordering::Acquire))
    }

    /// All events before it are in the snapshot.
    pub fn snapshot(&self) -> Position {
        Position(self.snapshot.load(Ordering::Acquire))
    }

    pub fn set_snapshot(&self, position: Position) {
        advance(&self.snapshot, position, "the snapshot");
    }

    /// All events before it were matched against the rules of their bus.
    pub fn routed(&self) -> Position {
        Position(self.routed.load(Ordering::Acquire))
    }

    pub fn set_routed(&self, position: Position) {
        advance(&self.routed, position, "the router");
    }

    /// The first event that the bus still needs; retention keeps it.
    pub fn needed(&self) -> Position {
        Position(self.needed.load(Ordering::Acquire))
    }

    pub fn set_needed(&self, position: Position) {
        self.needed.store(position.0, Ordering::Release);
    }

    pub fn set_committed(&self, position: Position) {
        advance(&self.committed, position, "the journal");
        self.ring_followers();
    }

    pub fn ring_followers(&self) {
        self.followers.iter().for_each(Notify::ring);
    }

    /// The bell of a follower.
    pub fn follower(&self, index: usize) -> &Notify {
        &self.followers[index]
    }
}

/// Advances a position, which never goes back. AcqRel: a thread that reads it sees everything written before.
fn advance(held: &AtomicU64, position: Position, whose: &str) {
    let before = held.swap(position.0, Ordering::AcqRel);
    assert!(before <= position.0, "{whose} goes back from position {before} to {position}");
}
