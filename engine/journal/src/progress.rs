//! How far the journal is: what is durable, in the snapshot, routed, and still needed. Followers sleep on it.

use fakemon_model::ids::Position;
use fakemon_sync::bell::Bell;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far the journal is, and who follows it.
pub struct Progress {
    committed: AtomicU64,
    snapshot: AtomicU64,
    routed: AtomicU64,
    needed: AtomicU64,
    followers: Vec<Bell>,
}

impl Progress {
    pub fn new(committed: Position, snapshot: Position, followers: usize) -> Progress {
        Progress {
            committed: AtomicU64::new(committed.0),
            snapshot: AtomicU64::new(snapshot.0),
            routed: AtomicU64::new(0),
            needed: AtomicU64::new(0),
            followers: (0..followers).map(|_| Bell::for_thread()).collect(),
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

    /// All events before it were looked at by the rules of their bus.
    pub fn routed(&self) -> Position {
        Position(self.routed.load(Ordering::Acquire))
    }

    pub fn set_routed(&self, position: Position) {
        advance(&self.routed, position, "the router");
    }

    /// The first event that the bus still needs.
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
        self.followers.iter().for_each(Bell::ring);
    }

    /// The bell of a follower.
    pub fn follower(&self, index: usize) -> &Bell {
        &self.followers[index]
    }
}

/// What was told of a position stays true: progress never goes back.
fn advance(held: &AtomicU64, position: Position, whose: &str) {
    let before = held.swap(position.0, Ordering::AcqRel);
    assert!(before <= position.0, "{whose} goes back from position {before} to {position}");
}
