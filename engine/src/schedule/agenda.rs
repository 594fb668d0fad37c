//! The timetable between the router, which follows the resources, and the timekeeper, which fires.

use super::timetable::{Now, Timetable};
use crate::bell::Bell;
use crate::ids::Timestamp;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Schedules and what became of them since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScheduleFigures {
    /// Schedules and rules of the clock that are enabled.
    pub kept: usize,
    /// What fired.
    pub fired: u64,
    /// Schedules that missed due times while nobody was there, each time.
    pub missed: u64,
    /// How much later than it was to the latest fired, of those that were not missed; nanoseconds.
    pub late_ns_max: u64,
}

/// What is due next, and who waits for it.
pub(crate) struct Agenda {
    timetable: Mutex<Timetable>,
    pub(crate) bell: Bell,
    /// What was due before was missed.
    pub(crate) opened_at: Timestamp,
    /// How much the wall clock is ahead of the engine's.
    ahead_ns: AtomicU64,
    fired: AtomicU64,
    missed: AtomicU64,
    late_ns_max: AtomicU64,
}

impl Agenda {
    pub(crate) fn new(opened_at: Timestamp) -> Agenda {
        Agenda {
            timetable: Mutex::default(),
            bell: Bell::for_thread(),
            opened_at,
            ahead_ns: AtomicU64::new(0),
            fired: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            late_ns_max: AtomicU64::new(0),
        }
    }

    pub(crate) fn timetable(&self) -> MutexGuard<'_, Timetable> {
        self.timetable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the timetable; whoever waits hears of it if something is due earlier now.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Timetable) -> T) -> T {
        let mut timetable = self.timetable();
        let before = timetable.next_at();
        let changed = change(&mut timetable);
        let after = timetable.next_at();
        drop(timetable);
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.bell.ring();
        }
        changed
    }

    /// How much the wall clock is ahead of the engine's, by which everything else is noted.
    pub(crate) fn ahead_ns(&self) -> u64 {
        self.ahead_ns.load(Ordering::Relaxed)
    }

    pub(crate) fn set_ahead_ns(&self, ns: u64) {
        self.ahead_ns.store(ns, Ordering::Relaxed);
    }

    /// Counts what happened at `now`.
    pub(crate) fn count(&self, taken: &Now, now: Timestamp) {
        self.fired.fetch_add(taken.fires.len() as u64, Ordering::Relaxed);
        self.missed.fetch_add(taken.missed.len() as u64, Ordering::Relaxed);
        if taken.missed.is_empty() {
            let latest = taken.fires.iter().map(|fire| now.ns_since(fire.fires_at)).max();
            self.late_ns_max.fetch_max(latest.unwrap_or_default(), Ordering::Relaxed);
        }
    }

    pub(crate) fn figures(&self) -> ScheduleFigures {
        ScheduleFigures {
            kept: self.timetable().len(),
            fired: self.fired.load(Ordering::Relaxed),
            missed: self.missed.load(Ordering::Relaxed),
            late_ns_max: self.late_ns_max.load(Ordering::Relaxed),
        }
    }
}
