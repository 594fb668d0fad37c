//! Two times, each with one rule.
//!
//! - **Wall time** ([`wall_clock`]) is what the machine shows now. People see it and filter by it, and it judges what
//!   was agreed with the world outside: tokens, signatures, schedules, the `time` of events that are put. It may go
//!   back; nothing is ordered by it.
//! - **The engine's time** ([`Clock::now`]) stamps what the journal holds, and measures durations and deadlines: how
//!   long a fakémon stays, when a message comes again. It passes as time passes: it never goes back and never leaps
//!   while the engine runs, and goes on from the newest time of the journal when it starts again. The order itself is
//!   the position, which reads no clock.
//!
//! Between the two stands one number, [`Ahead`]. The engine looks at the wall clock before each group, else ten times
//! a second (`clockwork`), and each block of the journal says how far its times are ahead. So what is shown of an
//! event is its time by the wall clock as that was when the event was written, the same at every reading; and what
//! was begun under a wrong clock lasts as long as it should, and shows the right time once the clock is set right.
//!
//! ```text
//! engine's time   ────●────────●────────●────────●────►   in the records, and in all deadlines
//! ahead               +1 day   +1 day   0        0        in the blocks: the wall clock was set forward
//! wall time       ────●────────●──────────────── ●────►   one minus the other: what is shown, and what is filtered by
//! ```
//!
//! Between a stop and a start the wall clock says how much time passed, if it did not go back. A machine that sleeps
//! looks as if its wall clock was set forward: time does not pass for what lasts.

use fakemon_model::ids::{Ahead, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Differences below this are no reason to do anything: reading two clocks takes time too.
const AGREES_NS: u64 = 5_000_000;
/// A wall clock that goes forward by more was set.
const LEAP_NS: i64 = 60_000_000_000;
/// What a leap makes old is kept for so long, in case that the leap was the mistake.
const LEAP_DOUBT: Duration = Duration::from_secs(600);
/// A wall clock that shows an earlier time than this is taken to show this.
const EARLIEST: Timestamp = Timestamp(60_000_000_000);
/// The engine's time does not begin later than 2200, whatever the wall clock shows: a journal has centuries left
/// then.
const BEGINS_AT_MOST: Timestamp = Timestamp(7_258_118_400_000_000_000);

/// What the wall clock shows now; the first minute of 1970 if it shows a time before, so that what came shortly
/// before now has a time too.
pub fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    Timestamp(u64::try_from(since).unwrap_or(u64::MAX)).max(EARLIEST)
}

/// The engine's time. Clones show the same.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Running>);

/// The clocks of a machine that is simulated: they stand still until they are moved. Clones of the `Arc` show the
/// same.
#[derive(Debug)]
pub struct SimulatedTime {
    passed_ns: AtomicU64,
    wall: AtomicU64,
}

impl SimulatedTime {
    /// A machine that starts when its wall clock shows this.
    pub fn starting_at(wall: Timestamp) -> SimulatedTime {
        SimulatedTime { passed_ns: AtomicU64::new(0), wall: AtomicU64::new(wall.0) }
    }

    /// Lets time pass, by both clocks.
    pub fn pass(&self, ns: u64) {
        self.passed_ns.fetch_add(ns, Ordering::Relaxed);
        self.wall.fetch_add(ns, Ordering::Relaxed);
    }

    /// Sets the wall clock, forward or back; no time passes.
    pub fn set_wall(&self, wall: Timestamp) {
        self.wall.store(wall.0, Ordering::Relaxed);
    }

    /// Nanoseconds since the machine started, which only grow.
    pub fn passed_ns(&self) -> u64 {
        self.passed_ns.load(Ordering::Relaxed)
    }

    /// What the wall clock shows.
    pub fn wall(&self) -> Timestamp {
        Timestamp(self.wall.load(Ordering::Relaxed)).max(EARLIEST)
    }
}

/// Where a clock reads both times.
#[derive(Debug)]
enum Source {
    /// The machine's, from this moment on.
    Machine(Instant),
    /// A simulated machine's, from this many nanoseconds after its start on.
    Simulated(Arc<SimulatedTime>, u64),
}

#[derive(Debug)]
struct Running {
    source: Source,
    started_at: Timestamp,
    ahead_ns: AtomicI64,
    /// When the wall clock leapt last, in nanoseconds since the start; 0: never.
    leapt_ns: AtomicU64,
}

impl Clock {
    /// A clock that starts now, but not before `newest`, the newest time of a journal that was so far ahead.
    pub fn starting_after(newest: Timestamp, ahead: Ahead) -> Clock {
        Clock::starting(Source::Machine(Instant::now()), newest, ahead)
    }

    /// The same by the clocks of a simulated machine.
    pub fn simulated(time: Arc<SimulatedTime>, newest: Timestamp, ahead: Ahead) -> Clock {
        let started_ns = time.passed_ns();
        Clock::starting(Source::Simulated(time, started_ns), newest, ahead)
    }

    fn starting(source: Source, newest: Timestamp, ahead: Ahead) -> Clock {
        let wall = source.wall();
        let behind_s = ahead.to_wall(newest).ns_since(wall) / 1_000_000_000;
        if behind_s > 0 {
            tracing::warn!(
                behind_s,
                "the wall clock is behind the newest event of the journal: what is shown follows it"
            );
        }
        let started_at = ahead.to_engine(wall).min(BEGINS_AT_MOST).max(newest.plus_ns(1));
        let ahead_ns = AtomicI64::new(Ahead::of(started_at, wall).0);
        let leapt_ns = AtomicU64::new(0);
        Clock(Arc::new(Running { source, started_at, ahead_ns, leapt_ns }))
    }

    /// The engine's time in nanoseconds since 1970; never before a time that it gave earlier.
    #[inline]
    pub fn now(&self) -> Timestamp {
        self.0.started_at.plus_ns(self.elapsed_ns())
    }

    /// How far the engine's time is ahead of the wall clock, as it was seen last.
    #[inline]
    pub fn ahead(&self) -> Ahead {
        Ahead(self.0.ahead_ns.load(Ordering::Relaxed))
    }

    /// What the wall clock shows now.
    pub fn wall_now(&self) -> Timestamp {
        self.0.source.wall()
    }

    /// Now by the wall clock, as it was seen last.
    pub fn wall(&self) -> Timestamp {
        self.ahead().to_wall(self.now())
    }

    /// The same, unless it has leapt a moment ago: nothing may be deleted for its age then.
    pub fn wall_beyond_doubt(&self) -> Option<Timestamp> {
        let (leapt_ns, elapsed_ns) = (self.0.leapt_ns.load(Ordering::Relaxed), self.elapsed_ns());
        let is_doubtful = leapt_ns > 0 && u128::from(elapsed_ns.saturating_sub(leapt_ns)) < LEAP_DOUBT.as_nanos();
        (!is_doubtful).then(|| self.wall())
    }

    /// Looks at the wall clock; not if this thread was held up between looking at one clock and at the other.
    pub fn look(&self) {
        let before = self.now();
        let wall = self.wall_now();
        if self.now().ns_since(before) < AGREES_NS / 2 {
            self.follow(before, wall);
        }
    }

    /// Takes in what the wall clock shows at a moment of the engine's time.
    fn follow(&self, now: Timestamp, wall: Timestamp) {
        let (before, ahead) = (self.ahead(), Ahead::of(now, wall));
        let gained_ns = before.0.saturating_sub(ahead.0);
        if gained_ns.unsigned_abs() <= AGREES_NS {
            return;
        }
        self.0.ahead_ns.store(ahead.0, Ordering::Relaxed);
        if gained_ns > LEAP_NS {
            self.0.leapt_ns.store(self.elapsed_ns().max(1), Ordering::Relaxed);
        }
        if gained_ns.unsigned_abs() > LEAP_NS.unsigned_abs() {
            let (way, by_s) =
                (if gained_ns > 0 { "forward" } else { "back" }, gained_ns.unsigned_abs() / 1_000_000_000);
            tracing::warn!(by_s, "the wall clock was set {way}: what is shown follows it, what lasts does not");
        }
    }

    #[inline]
    fn elapsed_ns(&self) -> u64 {
        self.0.source.elapsed_ns()
    }
}

impl Source {
    #[inline]
    fn elapsed_ns(&self) -> u64 {
        match self {
            Source::Machine(started) => {
                let elapsed = started.elapsed();
                elapsed.as_secs() * 1_000_000_000 + u64::from(elapsed.subsec_nanos())
            }
            Source::Simulated(time, started_ns) => time.passed_ns() - started_ns,
        }
    }

    fn wall(&self) -> Timestamp {
        match self {
            Source::Machine(_) => wall_clock(),
            Source::Simulated(time, _) => time.wall(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const DAY: u64 = 86_400 * S;

    /// Whether two moments are the same, but for the time that a test takes.
    fn about(one: Timestamp, other: Timestamp) -> bool {
        one.0.abs_diff(other.0) < 3_600 * S
    }

    #[test]
    fn the_engines_time_neither_leaps_nor_goes_back_and_the_wall_clock_is_right_at_once() {
        let clock = Clock::starting_after(Timestamp(0), Ahead(0));
        let (mut before, start) = (clock.now(), clock.now());
        assert_eq!(clock.ahead(), Ahead(0));
        for wall in [start.plus_ns(DAY), Timestamp(start.0 - DAY), start, Timestamp(0), Timestamp(u64::MAX / 2)] {
            clock.follow(clock.now(), wall);
            assert!(clock.now() >= before && about(clock.now(), start), "{:?}", clock.now());
            assert!(about(clock.wall(), wall), "{:?} for {wall:?}", clock.wall());
            before = clock.now();
        }
    }

    #[test]
    fn a_start_goes_on_from_the_newest_time_and_shows_what_the_wall_clock_shows() {
        let wall = wall_clock();
        for (newest, ahead, expected) in [
            (wall.plus_ns(DAY), Ahead(0), wall.plus_ns(DAY)), // the journal was written under a wrong clock
            (wall.plus_ns(DAY), Ahead(2 * DAY as i64), wall.plus_ns(2 * DAY)), // a day passed since
            (Timestamp(wall.0 - 9 * DAY), Ahead(-(DAY as i64)), Timestamp(wall.0 - DAY)),
            (Timestamp(wall.0 - DAY), Ahead(0), wall),
            (Timestamp(0), Ahead(i64::MAX), BEGINS_AT_MOST),
        ] {
            let clock = Clock::starting_after(newest, ahead);
            assert!(clock.now() > newest && about(clock.now(), expected), "{newest:?} {ahead:?}: {:?}", clock.now());
            assert!(about(clock.wall(), wall));
        }
    }

    #[test]
    fn the_clock_of_a_simulated_machine_follows_its_time() {
        let time = Arc::new(SimulatedTime::starting_at(Timestamp(DAY)));
        time.pass(S);
        let clock = Clock::simulated(time.clone(), Timestamp(0), Ahead(0));
        assert_eq!((clock.now(), clock.wall_now()), (Timestamp(DAY + S), Timestamp(DAY + S)));
        time.pass(S);
        time.set_wall(Timestamp(3 * DAY));
        clock.look();
        assert_eq!(
            (clock.now(), clock.wall(), clock.wall_now()),
            (Timestamp(DAY + 2 * S), Timestamp(3 * DAY), Timestamp(3 * DAY))
        );
        assert_eq!(clock.wall_beyond_doubt(), None);
    }

    #[test]
    fn after_a_leap_nothing_is_old_for_a_while() {
        let clock = Clock::starting_after(Timestamp(0), Ahead(0));
        clock.follow(clock.now(), clock.now().plus_ns(2 * S));
        assert!(clock.wall_beyond_doubt().is_some(), "two seconds are a correction");
        clock.follow(clock.now(), clock.now().plus_ns(DAY));
        assert_eq!(clock.wall_beyond_doubt(), None);
        clock.follow(clock.now(), clock.now());
        assert_eq!(clock.wall_beyond_doubt(), None, "still");
    }
}
