//! Figures. Each thread gathers its own histograms and hands them in from time to time, so that attempts share no
//! counter on their way.

use crate::command::Stages;
use fakemon_model::event::Outcome;
use fakemon_model::ids::{Position, Timestamp};
use hdrhistogram::Histogram;
use std::time::Duration;

/// Two significant digits: a latency is known to one per cent.
const DIGITS: u8 = 2;
const NS_MAX: u64 = 60_000_000_000;

/// A histogram of nanoseconds up to a minute; longer counts as a minute.
pub fn histogram_ns() -> Histogram<u64> {
    Histogram::new_with_bounds(1, NS_MAX, DIGITS).expect("constant bounds")
}

/// Figures of the thread that writes the journal.
#[derive(Clone)]
pub struct GroupFigures {
    pub events: Histogram<u64>,
    pub sync_ns: Histogram<u64>,
    pub bytes: u64,
    pub slow: SlowSyncs,
}

/// Groups that were slow to sync since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlowSyncs {
    pub threshold_ns: u64,
    pub groups: u64,
    /// Events in these groups.
    pub events: u64,
    pub worst_ns: u64,
    /// The first position of the slowest group.
    pub worst_at: Position,
}

impl SlowSyncs {
    #[inline]
    pub fn record(&mut self, events: u64, sync_ns: u64, first: Position) {
        if sync_ns >= self.threshold_ns {
            self.groups += 1;
            self.events += events;
            if sync_ns >= self.worst_ns {
                (self.worst_ns, self.worst_at) = (sync_ns, first);
            }
        }
    }

    /// Takes the figures and starts again from zero.
    pub fn take(&mut self) -> SlowSyncs {
        std::mem::replace(self, SlowSyncs { threshold_ns: self.threshold_ns, ..SlowSyncs::default() })
    }
}

impl GroupFigures {
    pub fn new(slow_sync: Duration) -> GroupFigures {
        let threshold_ns = u64::try_from(slow_sync.as_nanos()).unwrap_or(u64::MAX);
        let events = Histogram::new_with_bounds(1, 1 << 20, DIGITS).expect("constant bounds");
        let slow = SlowSyncs { threshold_ns, ..SlowSyncs::default() };
        GroupFigures { events, sync_ns: histogram_ns(), bytes: 0, slow }
    }

    pub fn record(&mut self, events: usize, bytes: usize, sync_ns: u32, first: Position) {
        if events > 0 {
            self.events.saturating_record(events as u64);
            self.sync_ns.saturating_record(u64::from(sync_ns));
            self.bytes += bytes as u64;
            self.slow.record(events as u64, sync_ns.into(), first);
        }
    }
}

/// Figures of clients: the outcomes of their attempts, and how long each stage took.
#[derive(Clone)]
pub struct AttemptMetrics {
    pub outcomes: [u64; Outcome::ALL.len()],
    pub throttled: u64,
    pub resent: u64,
    pub queued_ns: Histogram<u64>,
    pub decided_ns: Histogram<u64>,
    pub durable_ns: Histogram<u64>,
    pub total_ns: Histogram<u64>,
}

impl Default for AttemptMetrics {
    fn default() -> Self {
        AttemptMetrics {
            outcomes: Default::default(),
            throttled: 0,
            resent: 0,
            queued_ns: histogram_ns(),
            decided_ns: histogram_ns(),
            durable_ns: histogram_ns(),
            total_ns: histogram_ns(),
        }
    }
}

impl AttemptMetrics {
    #[inline]
    pub fn record(&mut self, outcome: Outcome, stages: &Stages) {
        let Stages { received_at, queued_at, decided_at, durable_at } = *stages;
        let between = |from: Timestamp, to: Timestamp| to.ns_since(from);
        self.outcomes[outcome as usize] += 1;
        self.queued_ns.saturating_record(between(received_at, queued_at));
        self.decided_ns.saturating_record(between(queued_at, decided_at));
        self.durable_ns.saturating_record(between(decided_at, durable_at));
        self.total_ns.saturating_record(between(received_at, durable_at));
    }

    /// Adds these figures to `sum` and starts again from zero.
    pub fn hand_in(&mut self, sum: &mut AttemptMetrics) {
        for (sum, count) in sum.outcomes.iter_mut().zip(&mut self.outcomes) {
            *sum += std::mem::take(count);
        }
        sum.throttled += std::mem::take(&mut self.throttled);
        sum.resent += std::mem::take(&mut self.resent);
        for (sum, histogram) in [
            (&mut sum.queued_ns, &mut self.queued_ns),
            (&mut sum.decided_ns, &mut self.decided_ns),
            (&mut sum.durable_ns, &mut self.durable_ns),
            (&mut sum.total_ns, &mut self.total_ns),
        ] {
            sum.add(&*histogram).expect("both have the same bounds");
            histogram.reset();
        }
    }
}

/// Figures of the engine since it was opened; histograms of nanoseconds.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Decided attempts by outcome, in the order of [`Outcome::ALL`].
    pub attempts: [u64; Outcome::ALL.len()],
    /// Attempts that were not accepted.
    pub throttled: u64,
    /// Attempts that were sent again and got their first answer.
    pub resent: u64,
    /// Fakémon that are wild now.
    pub wild: u64,
    /// Reads of collections and of earlier answers that failed, because the disk does not hold what was written.
    pub reads_failed: u64,
    /// Fakémon that appeared since the start.
    pub appeared: u64,
    /// Fakémon that vanished uncaught since the start.
    pub vanished: u64,
    /// Players who have ever made an attempt.
    pub players: u64,
    /// Events per group.
    pub group_events: Histogram<u64>,
    /// Bytes of all groups.
    pub group_bytes: u64,
    /// Write and sync of a group.
    pub sync_ns: Histogram<u64>,
    /// From received to in the mailbox.
    pub queued_ns: Histogram<u64>,
    /// From in the mailbox to decided.
    pub decided_ns: Histogram<u64>,
    /// From decided to durable.
    pub durable_ns: Histogram<u64>,
    /// From received to durable.
    pub total_ns: Histogram<u64>,
    /// Attempts waiting, by shard.
    pub mailbox_depth: Vec<usize>,
    /// Turns waiting for the journal.
    pub journal_depth: usize,
    /// The first position that is not durable yet.
    pub position: Position,
    /// All events before it are in the snapshot.
    pub snapshot_position: Position,
}
