//! The timetable between the router, which follows the resources, and the timekeeper, which fires.

use super::timetable::{Now, Timetable};
use fakemon_model::ids::Timestamp;
use fakemon_sync::bell::Bell;
use fakemon_sync::clock::{Clock, wall_clock};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The journal may be so much ahead of the wall clock without a word: its clock never goes back.
const BEHIND_NS: i64 = 1_000_000_000;

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
pub struct Agenda {
    timetable: Mutex<Timetable>,
    pub bell: Bell,
    clock: Clock,
    /// What was due before, by the wall clock, was missed.
    pub opened_at: Timestamp,
    /// How much the wall clock is ahead of the time that passed steadily since the start; negative: behind.
    ahead_ns: AtomicI64,
    fired: AtomicU64,
    missed: AtomicU64,
    late_ns_max: AtomicU64,
}

impl Agenda {
    pub fn new(clock: Clock) -> Agenda {
        let ahead_ns = ahead_of(&clock);
        if ahead_ns < -BEHIND_NS {
            let behind_s = -ahead_ns / 1_000_000_000;
            tracing::warn!(
                behind_s,
                "the wall clock is behind the newest event: schedules and tokens follow the wall clock; times of throws run \
                 at half speed until it has caught up"
            );
        }
        Agenda {
            timetable: Mutex::default(),
            bell: Bell::for_thread(),
            opened_at: Timestamp(clock.steady().0.saturating_add_signed(ahead_ns)),
            clock,
            ahead_ns: AtomicI64::new(ahead_ns),
            fired: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            late_ns_max: AtomicU64::new(0),
        }
    }

    pub fn timetable(&self) -> MutexGuard<'_, Timetable> {
        self.timetable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the timetable; whoever waits hears of it if something is due earlier now.
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

    /// Looks at the wall clock: how much it is ahead of the time that passed steadily since the start. It changes only when
    /// somebody set the clock, or the machine slept.
    pub fn look_at_wall(&self) -> i64 {
        let ahead_ns = ahead_of(&self.clock);
        self.ahead_ns.store(ahead_ns, Ordering::Relaxed);
        ahead_ns
    }

    /// A moment of the engine's clock by the wall clock, as it was seen last.
    pub fn by_wall(&self, at: Timestamp) -> Timestamp {
        let (wall, engine) = (self.now(), self.clock.now());
        Timestamp(at.0.saturating_add(wall.0).saturating_sub(engine.0))
    }

    /// Now, by the wall clock.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.clock.steady().0.saturating_add_signed(self.ahead_ns.load(Ordering::Relaxed)))
    }

    /// Counts what happened at `now`.
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

fn ahead_of(clock: &Clock) -> i64 {
    let ahead = i128::from(wall_clock().0) - i128::from(clock.steady().0);
    i64::try_from(ahead).unwrap_or(if ahead < 0 { i64::MIN } else { i64::MAX })
}
