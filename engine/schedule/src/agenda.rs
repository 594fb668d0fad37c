//! The timetable, shared by the router, which follows the resources, and the timekeeper, which fires.

use super::timetable::{Now, Timetable};
use fakemon_model::ids::{Ahead, Timestamp};
use fakemon_sync::clock::Clock;
use fakemon_sync::notify::Notify;
use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicU64, Ordering};

/// Schedules and what became of them since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScheduleFigures {
    /// Enabled schedules and rules with a schedule.
    pub kept: usize,
    /// Due times that fired.
    pub fired: u64,
    /// How many times a schedule missed due times, because the engine was not running or the clock jumped.
    pub missed: u64,
    /// The greatest delay of a due time that fired and was not missed, in nanoseconds.
    pub late_ns_max: u64,
}

/// The timetable, with the bell of the thread that waits for it.
pub struct Agenda {
    timetable: Mutex<Timetable>,
    pub bell: Notify,
    clock: Clock,
    /// Due times before this, by the wall clock, were missed.
    pub opened_at: Timestamp,
    fired: AtomicU64,
    missed: AtomicU64,
    late_ns_max: AtomicU64,
}

impl Agenda {
    pub fn new(clock: Clock) -> Agenda {
        Agenda {
            timetable: Mutex::default(),
            bell: Notify::for_thread(),
            opened_at: clock.wall(),
            clock,
            fired: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            late_ns_max: AtomicU64::new(0),
        }
    }

    pub fn timetable(&self) -> MutexGuard<'_, Timetable> {
        self.timetable.lock()
    }

    /// Changes the timetable; wakes the waiting thread if the next due time is earlier now.
    pub fn change<T>(&self, change: impl FnOnce(&mut Timetable) -> T) -> T {
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

    /// Looks at the wall clock: how far the engine's time is ahead of it.
    pub fn look_at_wall(&self) -> Ahead {
        self.clock.look();
        self.clock.ahead()
    }

    /// Now, by the wall clock as it was last read.
    pub fn now(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Counts what fired and was missed at `now`.
    pub fn count(&self, taken: &Now, now: Timestamp) {
        self.fired.fetch_add(taken.fires.len() as u64, Ordering::Relaxed);
        self.missed.fetch_add(taken.missed.len() as u64, Ordering::Relaxed);
        if taken.missed.is_empty() {
            let latest = taken.fires.iter().map(|fire| now.ns_since(fire.fires_at)).max();
            self.late_ns_max.fetch_max(latest.unwrap_or_default(), Ordering::Relaxed);
        }
    }

    pub fn figures(&self) -> ScheduleFigures {
        ScheduleFigures {
            kept: self.timetable().len(),
            fired: self.fired.load(Ordering::Relaxed),
            missed: self.missed.load(Ordering::Relaxed),
            late_ns_max: self.late_ns_max.load(Ordering::Relaxed),
        }
    }
}
