//! What SQS does not do again at once: a queue is purged once a minute, and the name of a deleted one is free after a
//! minute, for who still uses the old one would use the new one. A setting for test suites makes it shorter. A restart
//! forgets the pauses.

use fakemon_engine::ids::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Names that are remembered of each kind; beyond, the oldest are free early.
const NAMES_MAX: usize = 10_000;

/// What is not done again at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Paused {
    /// To make a queue that was deleted.
    Create,
    /// To purge a queue that was purged.
    Purge,
}

/// When what was done last, by name.
#[derive(Default)]
pub(in crate::control) struct Pauses(Mutex<HashMap<(Paused, String), Timestamp>>);

impl Pauses {
    /// Notes that something is done now.
    pub(super) fn begin(&self, what: Paused, queue: &str, now: Timestamp, pause: Duration) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= NAMES_MAX {
            held.retain(|_, since| !is_over(*since, now, pause));
        }
        if held.len() >= NAMES_MAX
            && let Some(oldest) = held.iter().min_by_key(|(_, since)| **since).map(|(name, _)| name.clone())
        {
            held.remove(&oldest);
        }
        held.insert((what, queue.to_owned()), now);
    }

    /// Whether it was done less than a pause ago.
    pub(super) fn holds(&self, what: Paused, queue: &str, now: Timestamp, pause: Duration) -> bool {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(&(what, queue.to_owned())).is_some_and(|since| !is_over(*since, now, pause))
    }

    /// Forgets all.
    pub(in crate::control) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn is_over(since: Timestamp, now: Timestamp, pause: Duration) -> bool {
    u128::from(now.ns_since(since)) >= pause.as_nanos()
}
