//! When a schedule is due: its expression in its time zone, between its start and end, somewhere in its window.
//!
//! At changes of daylight saving time: a local time that is skipped is not due; one that occurs twice is due once,
//! the first time. Rates are not affected. `at` with a skipped time is due later by as much as the clocks were set
//! forward.

use super::cron::{Cron, Way};
use super::expression::{Expression, Kind};
use fakemon_model::ids::{Timestamp, mix};
use jiff::SignedDuration;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use std::sync::LazyLock;

/// A one-time schedule that was created at most this much too late is due at once.
const ONCE_LATE_NS: u64 = 60_000_000_000;
const TICK: SignedDuration = SignedDuration::from_nanos(1);

/// The time zones, the same on every machine.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A time zone by its IANA name.
pub fn zone(name: &str) -> Option<TimeZone> {
    // Zones in other forms (`local`, POSIX rules) are not in the database.
    ZONES.get(name).ok()
}

/// What determines when a schedule is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    pub expression: Expression,
    pub zone: TimeZone,
    pub start: Option<Timestamp>,
    pub end: Option<Timestamp>,
    /// By how much it may fire late, in nanoseconds.
    pub window_ns: u64,
    /// Determines the moment in the window; derived from its name.
    pub seed: u64,
}

impl Timing {
    /// The first due time after `after`, of a schedule that exists since `since`.
    pub fn next(&self, since: Timestamp, after: Timestamp) -> Option<Timestamp> {
        let after = after.max(self.floor(since));
        let due = match &self.expression.0 {
            Kind::Rate(period_ns) => {
                let base = self.base(since);
                let periods = if after < base { 0 } else { after.ns_since(base) / period_ns + 1 };
                Timestamp(period_ns.checked_mul(periods)?.checked_add(base.0)?)
            }
            Kind::Cron(cron) => self.minutes(cron, after, Way::Later).find(|due| *due > after)?,
            Kind::At(at) => self.once(*at).filter(|due| *due > after)?,
        };
        self.end.is_none_or(|end| due <= end).then_some(due)
    }

    /// Due times up to and including `until`, the last one first.
    pub fn earlier(&self, since: Timestamp, until: Timestamp) -> Box<dyn Iterator<Item = Timestamp> + '_> {
        let until = until.min(self.end.unwrap_or(until));
        let floor = self.floor(since);
        let due: Box<dyn Iterator<Item = Timestamp>> = match &self.expression.0 {
            Kind::Rate(period_ns) => {
                let base = self.base(since);
                let last = (until >= base).then(|| until.ns_since(base) / period_ns);
                let nth = move |number| base.plus_ns(number * period_ns);
                Box::new(last.into_iter().flat_map(|last| (0..=last).rev()).map(nth))
            }
            Kind::Cron(cron) => Box::new(self.minutes(cron, until, Way::Earlier).skip_while(move |due| *due > until)),
            Kind::At(at) => Box::new(self.once(*at).filter(|due| *due <= until).into_iter()),
        };
        Box::new(due.take_while(move |due| *due > floor))
    }

    /// Whether it is due at most once.
    pub fn is_once(&self) -> bool {
        self.expression.is_once()
    }

    /// When a due time fires: in its window, and before the next due time.
    pub fn fires_at(&self, since: Timestamp, due: Timestamp) -> Timestamp {
        if self.window_ns == 0 {
            return due;
        }
        let gap_ns = self.next(since, due).map_or(u64::MAX, |next| next.ns_since(due));
        due.plus_ns(mix(self.seed ^ mix(due.0)) % self.window_ns.min(gap_ns))
    }

    /// No time up to this is due.
    fn floor(&self, since: Timestamp) -> Timestamp {
        let since = if self.expression.is_once() { Timestamp(since.0.saturating_sub(ONCE_LATE_NS)) } else { since };
        self.start.map_or(since, |start| since.max(Timestamp(start.0.saturating_sub(1))))
    }

    /// The time from which rates count.
    fn base(&self, since: Timestamp) -> Timestamp {
        self.start.unwrap_or(since)
    }

    /// Due times of a cron expression in order, from about `from` on.
    fn minutes<'t>(&'t self, cron: &'t Cron, from: Timestamp, way: Way) -> impl Iterator<Item = Timestamp> + use<'t> {
        let local = |at: jiff::Timestamp| self.zone.to_datetime(at);
        let begin = moment(from).map(|from| match way {
            Way::Later => local(from),
            // A time that occurs twice is due the first time: before the clocks were set back the local time may have
            // been later than now.
            Way::Earlier => {
                let set = self.zone.preceding(from).next().and_then(|set| set.timestamp().checked_sub(TICK).ok());
                set.map_or(local(from), |set| local(set).max(local(from)))
            }
        });
        begin.into_iter().flat_map(move |begin| cron.minutes(begin, way)).filter_map(|minute| self.instant(minute))
    }

    /// The time of a local time; none if it is skipped.
    fn instant(&self, local: DateTime) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        match ambiguous.offset() {
            AmbiguousOffset::Gap { .. } => None,
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => of(ambiguous.earlier().ok()?),
        }
    }

    fn once(&self, at: DateTime) -> Option<Timestamp> {
        of(self.zone.to_ambiguous_timestamp(at).compatible().ok()?)
    }
}

fn moment(at: Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_nanosecond(i128::from(at.0)).ok()
}

fn of(moment: jiff::Timestamp) -> Option<Timestamp> {
    u64::try_from(moment.as_nanosecond()).ok().map(Timestamp)
}

/// A number derived from a name.
pub(crate) fn seed(name: &str) -> u64 {
    name.bytes().fold(0, |seed, byte| mix(seed ^ u64::from(byte)))
}
