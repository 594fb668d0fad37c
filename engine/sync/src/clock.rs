//! Two times, each with one rule.
//!
//! - **Wall time** ([`wall_clock`]) is what the machine shows now. It judges what was agreed with the world outside:
//!   tokens, signatures, schedules, and the `time` of events that are put. It may go back; nothing is ordered by it.
//! - **The engine's time** ([`Clock::now`]) stamps groups and throws, and measures durations and deadlines. It never goes
//!   back, not across restarts either, because a moment is looked up in the journal by halving, and because the stages of a
//!   throw are differences of it. The order itself is the position, which reads no clock.
//!
//! The engine's time follows the wall clock, so that a start with a wrong clock heals when the clock does:
//!
//! ```text
//! wall clock ahead    step: the engine's time is the wall clock's at once
//! wall clock behind   slew: the engine's time runs at half speed until both agree, after twice the difference
//! ```
//!
//! It looks at the wall clock ten times a second (`clockwork`). A newest time in the journal that lies in the future is
//! the second case: the engine begins there, at half speed.

use fakemon_model::ids::Timestamp;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Differences below this are no reason to do anything: reading two clocks takes time too.
const AGREES_NS: i128 = 5_000_000;
/// A step that is longer is a leap: a machine that slept, or a clock that was set.
const LEAP_NS: i128 = 60_000_000_000;
/// What a leap makes old is kept for so long, in case that the leap was the mistake.
const LEAP_DOUBT: Duration = Duration::from_secs(600);

/// What the wall clock shows now.
pub fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    Timestamp(u64::try_from(since).unwrap_or(u64::MAX))
}

/// The engine's time. Clones show the same.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Running>);

#[derive(Debug)]
struct Running {
    started: Instant,
    started_at: Timestamp,
    line: LineCell,
}

impl Clock {
    /// A clock that starts now, but not before `newest`.
    pub fn starting_after(newest: Timestamp) -> Clock {
        let wall = wall_clock();
        let started_at = wall.max(newest.plus_ns(1));
        let line = Line { since_ns: 0, at: started_at, slow_ns: 0, leapt_ns: 0 }.following(wall, 0);
        Clock(Arc::new(Running { started: Instant::now(), started_at, line: LineCell::new(line) }))
    }

    #[inline]
    /// The engine's time in nanoseconds since 1970; never before a time that it gave earlier.
    pub fn now(&self) -> Timestamp {
        let (line, elapsed_ns) = self.0.line.read(|| self.elapsed_ns());
        line.at(elapsed_ns)
    }

    /// Time that passed since the start, added to the engine's time at the start: neither steps nor slews.
    pub fn steady(&self) -> Timestamp {
        self.0.started_at.plus_ns(self.elapsed_ns())
    }

    /// The same as [`now`](Clock::now), unless the time has leapt a moment ago: nothing may be deleted for its age then.
    pub fn now_beyond_doubt(&self) -> Option<Timestamp> {
        let (line, elapsed_ns) = self.0.line.read(|| self.elapsed_ns());
        let is_doubtful = line.leapt_ns > 0 && u128::from(elapsed_ns - line.leapt_ns) < LEAP_DOUBT.as_nanos();
        (!is_doubtful).then(|| line.at(elapsed_ns))
    }

    /// Looks at the wall clock, and goes where it points.
    pub fn follow(&self, wall: Timestamp) {
        let changed = self.0.line.change(|line| {
            let elapsed_ns = self.elapsed_ns();
            let ahead_ns = line.ahead_ns(wall, elapsed_ns);
            (line.following(wall, elapsed_ns), ahead_ns)
        });
        if changed < -LEAP_NS {
            tracing::warn!(
                by_s = -changed / 1_000_000_000,
                "the wall clock was set forward: the engine's time follows"
            );
        }
    }

    #[inline]
    fn elapsed_ns(&self) -> u64 {
        let elapsed = self.0.started.elapsed();
        elapsed.as_secs() * 1_000_000_000 + u64::from(elapsed.subsec_nanos())
    }
}

/// The engine's time as a function of the time since the start: from `since_ns` on, at half speed for `slow_ns`, then as
/// time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    since_ns: u64,
    at: Timestamp,
    slow_ns: u64,
    /// When it leapt last; 0: never.
    leapt_ns: u64,
}

impl Line {
    #[inline]
    fn at(&self, elapsed_ns: u64) -> Timestamp {
        let passed = elapsed_ns - self.since_ns;
        self.at.plus_ns(passed - passed.min(self.slow_ns) / 2)
    }

    /// How much it is ahead of the wall clock; negative: behind.
    fn ahead_ns(&self, wall: Timestamp, elapsed_ns: u64) -> i128 {
        i128::from(self.at(elapsed_ns).0) - i128::from(wall.0)
    }

    /// The line from now on, when the wall clock shows `wall`; never before where it is now.
    fn following(self, wall: Timestamp, elapsed_ns: u64) -> Line {
        let (now, ahead_ns) = (self.at(elapsed_ns), self.ahead_ns(wall, elapsed_ns));
        if ahead_ns.abs() <= AGREES_NS {
            return self;
        }
        let leapt_ns = if ahead_ns < -LEAP_NS { elapsed_ns.max(1) } else { self.leapt_ns };
        let slow_ns = u64::try_from(ahead_ns.max(0)).unwrap_or(u64::MAX).saturating_mul(2);
        Line { since_ns: elapsed_ns, at: now.max(wall), slow_ns, leapt_ns }
    }
}

/// A line that is read by all and changed by one, without a lock for those who read: they read it again if it changed
/// meanwhile. The number is odd while it changes.
#[derive(Debug)]
struct LineCell {
    version: AtomicU64,
    fields: [AtomicU64; 4],
    changing: Mutex<()>,
}

impl LineCell {
    fn new(line: Line) -> LineCell {
        LineCell { version: AtomicU64::new(0), fields: line.fields().map(AtomicU64::new), changing: Mutex::new(()) }
    }

    /// The line, and what `measure` returned while it held. The measure lies between both looks at the version: one that was
    /// taken later would belong to the next line, and show a time that goes back when that one is slower.
    #[inline]
    fn read(&self, measure: impl Fn() -> u64) -> (Line, u64) {
        loop {
            let before = self.version.load(Ordering::Acquire);
            let line = self.load();
            let measured = measure();
            fence(Ordering::Acquire); // the fields are read before the version is looked at again
            if before.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == before {
                return (line, measured);
            }
            std::hint::spin_loop();
        }
    }

    /// Changes the line; what `change` measures comes after everything that was read with the line before.
    fn change<T>(&self, change: impl FnOnce(Line) -> (Line, T)) -> T {
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::SeqCst); // before the clock is read in `change`
        fence(Ordering::SeqCst);
        let (line, result) = change(self.load());
        for (field, value) in self.fields.iter().zip(line.fields()) {
            field.store(value, Ordering::Relaxed);
        }
        self.version.store(version + 2, Ordering::Release); // who sees it sees the fields
        drop(changing);
        result
    }

    #[inline]
    fn load(&self) -> Line {
        let [since_ns, at, slow_ns, leapt_ns] = [0, 1, 2, 3].map(|index| self.fields[index].load(Ordering::Relaxed));
        Line { since_ns, at: Timestamp(at), slow_ns, leapt_ns }
    }
}

impl Line {
    fn fields(self) -> [u64; 4] {
        [self.since_ns, self.at.0, self.slow_ns, self.leapt_ns]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const START: Line = Line { since_ns: 0, at: Timestamp(1_000 * S), slow_ns: 0, leapt_ns: 0 };

    #[test]
    fn a_clock_that_was_behind_is_right_at_once() {
        let day = 86_400 * S;
        let line = START.following(Timestamp(1_010 * S + day), 10 * S);
        assert_eq!(line.at(10 * S), Timestamp(1_010 * S + day));
        assert_eq!(line.at(15 * S), Timestamp(1_015 * S + day));
    }

    #[test]
    fn a_clock_that_was_ahead_never_goes_back_and_is_right_after_twice_as_long() {
        let line = START.following(Timestamp(920 * S), 10 * S); // 90 s ahead
        let times: Vec<u64> = (10..300).map(|s| line.at(s * S).0).collect();
        assert!(times.is_sorted_by(|one, next| one < next));
        assert_eq!(line.at(10 * S), Timestamp(1_010 * S));
        let wall_at = |s: u64| Timestamp((910 + s) * S);
        assert_eq!(line.ahead_ns(wall_at(100), 100 * S), 45 * i128::from(S));
        for s in [190, 191, 1_000] {
            assert_eq!(line.at(s * S), wall_at(s));
        }
        let looked_again = line.following(wall_at(100), 100 * S);
        assert_eq!(looked_again.at(150 * S), line.at(150 * S), "looking more often changes nothing");
    }

    #[test]
    fn the_newest_time_of_the_journal_does_not_hold_the_clock_for_ever() {
        let hour = 3_600 * S;
        let newest = wall_clock().plus_ns(hour);
        let clock = Clock::starting_after(newest);
        assert!(clock.now() > newest);
        let line = clock.0.line.load();
        assert!((7_000 * S..=7_200 * S).contains(&line.slow_ns), "{line:?}");
    }

    #[test]
    fn after_a_leap_nothing_is_old_for_a_while() {
        let line = START.following(Timestamp(9_000_000 * S), 10 * S);
        assert_eq!(line.leapt_ns, 10 * S);
        let slewed = line.following(Timestamp(8_999_999 * S), 11 * S);
        assert_eq!(slewed.leapt_ns, 10 * S, "still");
        assert_eq!(START.following(Timestamp(1_012 * S), 10 * S).leapt_ns, 0, "two seconds are a correction");
    }

    #[test]
    fn threads_agree_that_time_never_goes_back_while_the_line_changes() {
        let clock = Clock::starting_after(Timestamp(0));
        let seen = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..50_000 {
                        let before = seen.load(Ordering::SeqCst);
                        let now = clock.now().0;
                        assert!(now >= before, "{now} after {before}");
                        seen.fetch_max(now, Ordering::SeqCst);
                    }
                });
            }
            scope.spawn(|| {
                for turn in 0..2_000 {
                    let now = clock.now().0;
                    let wall = if turn % 2 == 0 { now + 20_000_000 } else { now - 500_000_000 };
                    clock.follow(Timestamp(wall));
                }
            });
        });
    }
}
