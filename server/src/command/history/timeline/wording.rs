//! Texts of numbers, times and marks, for both the terminal and the report.

use super::Told;
use fakemon_history::timeline::{Mark, Marked, Stage, Stall};
use fakemon_model::format::{span, thousands};
use fakemon_model::ids::{PlayerId, Timestamp};

/// Formats times of one range, as short as they stay distinct.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    /// The day, if it is the same for the whole range; then left out.
    day: Option<jiff::civil::Date>,
    format: &'static str,
}

impl Clock {
    /// Makes the format for a range, in steps of `step_ns`.
    pub(super) fn new(begin: Timestamp, end: Timestamp, step_ns: u64) -> Clock {
        let format = match step_ns {
            0..1_000_000 => "%H:%M:%S%.6f",
            1_000_000..1_000_000_000 => "%H:%M:%S%.3f",
            _ => "%H:%M:%S",
        };
        let (first, last) = (utc(begin).date(), utc(Timestamp(end.0.saturating_sub(1))).date());
        Clock { day: (first == last).then_some(first), format }
    }

    /// Formats a time, as in `20:00:00.017`, with the day if the range has several.
    pub(super) fn tell(&self, at: Timestamp) -> String {
        let moment = utc(at);
        let time = moment.strftime(self.format);
        match self.day == Some(moment.date()) {
            true => time.to_string(),
            false => format!("{} {time}", moment.date()),
        }
    }
}

fn utc(at: Timestamp) -> jiff::civil::DateTime {
    let moment = jiff::Timestamp::from_nanosecond(i128::from(at.0));
    let moment = moment.expect("nanoseconds since 1970 in 64 bits end in 2554");
    jiff::tz::TimeZone::UTC.to_datetime(moment)
}

/// The text of a mark, in one line.
pub(super) fn mark(mark: &Mark) -> String {
    match &mark.what {
        Marked::Opened { cores, durable } => {
            let unsynced = if *durable { "" } else { ", answers before the sync" };
            format!("the engine opened the journal, shards: {cores}{unsynced}")
        }
        Marked::Changed { key, gone: false } => format!("resource set: {key}"),
        Marked::Changed { key, gone: true } => format!("resource deleted: {key}"),
        Marked::Said { detail_type, detail } => format!("{detail_type}: {detail}"),
        Marked::Put { bus, source, detail_type } => format!("put on {}: {source}, {detail_type}", bus_name(bus)),
    }
}

/// The name of a bus; firings of schedules are on none.
pub(super) fn bus_name(bus: &str) -> &str {
    if bus.is_empty() { "no bus" } else { bus }
}

/// The slow part of a stall, and the longest time of each stage.
pub(super) fn slow(stall: &Stall) -> String {
    format!("{} {}", slow_stage(stall), slow_stages(stall))
}

/// The longest time of each stage of a stall.
pub(super) fn slow_stages(stall: &Stall) -> String {
    let part = |(stage, ns): (Stage, u64)| format!("{} {}", stage.name(), span(ns as f64));
    let parts: Vec<String> = Stage::PARTS.into_iter().zip(stall.stages_ns).map(part).collect();
    format!("({})", parts.join(", "))
}

/// The slow part of a stall.
pub(super) fn slow_stage(stall: &Stall) -> String {
    let why = match stall.slow {
        _ if stood_still(stall) => "nothing went on, not even deciding; the process or the machine stood still",
        Stage::Queued => "the edge was busy",
        Stage::Decided => "it waited in the mailbox of its shard",
        Stage::Written => "it was decided, and waited to be handed to the disk",
        Stage::Synced | Stage::Total => "the disk was slow to write and sync",
    };
    format!("{}: {why}", stall.slow.name())
}

/// Deciding does not wait for the disk, so both take long at once only if nothing ran.
fn stood_still(stall: &Stall) -> bool {
    let [_, decided, _, synced] = stall.stages_ns;
    decided.min(synced) > stall.worst_ns / 2
}

/// `1 group`, `2 groups`.
pub(super) fn many(count: u64, what: &str) -> String {
    format!("{} {what}{}", thousands(count as f64), if count == 1 { "" } else { "s" })
}

/// What a journal cannot show.
pub(super) const SHED_UNKNOWN: &str = "throttled attempts never come into the journal; of them there is only what the \
                                       engine said of itself on the bus `default`";

impl Told<'_> {
    /// The format of times of the range.
    pub(super) fn clock(&self) -> Clock {
        let axis = &self.timeline.axis;
        Clock::new(axis.begin(), axis.end(), axis.bucket_ns())
    }

    /// A player's name, or the number if it is unknown.
    pub(super) fn player(&self, player: PlayerId) -> String {
        self.archive.player_name(player).map_or_else(|| format!("#{player}"), str::to_owned)
    }

    /// The text of a count that may be too low by up to `missed_max`.
    pub(super) fn count(&self, count: u64, missed_max: u64) -> String {
        let more =
            if missed_max > 0 { format!(" to {}", thousands((count + missed_max) as f64)) } else { String::new() };
        thousands(count as f64) + &more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_leave_out_what_they_share() {
        let (begin, end) = (Timestamp(1_000_000_000), Timestamp(2_000_000_001));
        assert_eq!(Clock::new(begin, end, 1_000_000).tell(begin), "00:00:01.000");
        let next_day = Timestamp(86_400_000_000_000 + 1);
        assert_eq!(Clock::new(begin, next_day, 1_000_000_000).tell(begin), "1970-01-01 00:00:01");
    }
}
