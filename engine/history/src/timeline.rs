//! A range of the journal over time: rates, outcomes, group sizes, the duration of each stage, queue depths, stalls,
//! gaps, and the fakémon and players with the most attempts. One pass over the blocks, in bounded memory.
//!
//! Every event counts when it happened: an attempt when it was received, when it was decided (with its outcome), and
//! when it was durable; latencies belong to the moment at which the answer could be sent.
//!
//! ```text
//! received ── queued ──► mailbox ── decided ──► turn ── written ──► disk ── synced ──► durable
//! └──────────── undecided ─────────────┘└──────────────── undurable ──────────────────┘
//! ```
//!
//! Attempts that were refused (`throttled`) are not in the journal; only the engine's own notices tell of them.

mod axis;
mod depth;
mod hot;
mod slow;
mod marks;
mod latency;
mod aggregate;
#[cfg(test)]
mod tests;

pub use axis::{Axis, AxisError, BUCKET_NS_MIN, BUCKETS_MAX};
pub use depth::Depth;
pub use hot::{Hot, Hottest};
pub use latency::Spread;
pub use marks::{Mark, Marked, Marks};

use crate::archive::Archive;
use aggregate::Aggregate;
use fakemon_capture::decision::record;
use fakemon_fbs::journal::Event as Record;
use fakemon_journal::ReadError;
use fakemon_model::event::{Event, Outcome};
use fakemon_model::ids::{FakemonId, PlayerId, Position, Timestamp};
use std::ops::ControlFlow;

/// The stages of an attempt, and the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// From the socket into the mailbox of its shard.
    Queued,
    /// In the mailbox, and deciding.
    Decided,
    /// Until its group was handed to the disk.
    Written,
    /// Writing and syncing its group.
    Synced,
    /// From the socket until it was durable.
    Total,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Stage; 5] = [Stage::Queued, Stage::Decided, Stage::Written, Stage::Synced, Stage::Total];
    /// The stages that make up the whole.
    pub const PARTS: [Stage; 4] = [Stage::Queued, Stage::Decided, Stage::Written, Stage::Synced];

    /// Its word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Queued => "queued",
            Stage::Decided => "decided",
            Stage::Written => "written",
            Stage::Synced => "synced",
            Stage::Total => "total",
        }
    }
}

/// What happened in a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bucket {
    /// Attempts that were received.
    pub received: u64,
    /// Attempts that were decided, by outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Attempts that became durable.
    pub durable: u64,
    /// Fakémon that appeared.
    pub appeared: u64,
    /// Fakémon that vanished.
    pub vanished: u64,
    /// Events that were put on a bus.
    pub put: u64,
    /// Changes of resources.
    pub changed: u64,
    /// Openings, and new names of players and species.
    pub named: u64,
    /// Events per group that became durable.
    pub group_events: Spread,
    /// Nanoseconds, in the order of [`Stage::ALL`]: of attempts that became durable; of groups for `Synced`.
    pub stages_ns: [Spread; Stage::ALL.len()],
    /// Attempts that were received and not yet decided.
    pub undecided: Depth,
    /// Attempts that were decided and not yet durable.
    pub undurable: Depth,
}

impl Bucket {
    /// Attempts that were decided.
    pub fn decided(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// Everything that happened.
    pub fn events(&self) -> u64 {
        self.decided() + self.appeared + self.vanished + self.put + self.changed + self.named
    }

    /// How long a stage took.
    pub fn stage(&self, stage: Stage) -> &Spread {
        &self.stages_ns[stage as usize]
    }
}

/// A period in which attempts waited long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// When its first attempt was received.
    pub begin: Timestamp,
    /// When its last attempt was durable.
    pub end: Timestamp,
    /// The position of its first event.
    pub first: Position,
    /// The position of its last event.
    pub last: Position,
    /// The number of slow groups in it.
    pub groups: u64,
    /// Attempts in these groups.
    pub attempts: u64,
    /// How long its slowest attempt or group took, in nanoseconds.
    pub worst_ns: u64,
    /// The longest of each stage, in the order of [`Stage::PARTS`].
    pub stages_ns: [u64; 4],
    /// The slow stage. While a stage is slow, attempts also wait in the stages before it, so it is the last slow one.
    pub slow: Stage,
}

/// What was missing in a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapKind {
    /// Anything.
    Events,
    /// Attempts.
    Attempts,
    /// The engine was closed, or dead.
    Engine,
}

impl GapKind {
    /// Its words in reports.
    pub fn name(self) -> &'static str {
        match self {
            GapKind::Events => "no events",
            GapKind::Attempts => "no throws",
            GapKind::Engine => "engine not open",
        }
    }
}

/// A period in which nothing happened, although there were events before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// What was missing.
    pub kind: GapKind,
    /// The last event before it.
    pub begin: Timestamp,
    /// The first event after it.
    pub end: Timestamp,
    /// The position of the first event after it.
    pub next: Position,
}

impl Gap {
    /// Its length in nanoseconds.
    pub fn ns(&self) -> u64 {
        self.end.ns_since(self.begin)
    }
}

/// A range of the journal over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    /// The buckets.
    pub axis: Axis,
    /// One per bucket of the axis.
    pub buckets: Vec<Bucket>,
    /// All buckets together; `at_begin` is that of the first.
    pub whole: Bucket,
    /// The first and the last event of the range; none if nothing happened in it.
    pub positions: Option<(Position, Position)>,
    /// Stalls, the longest first.
    pub stalls: Vec<Stall>,
    /// Attempts and groups that took at least this long count as slow.
    pub slow_ns: u64,
    /// Gaps, the longest first.
    pub gaps: Vec<Gap>,
    /// A silence of at least this length is a gap, if it is also long compared with the time around it.
    pub gap_ns: u64,
    /// The fakémon with the most attempts.
    pub fakemon: Hottest<FakemonId>,
    /// The players with the most attempts.
    pub players: Hottest<PlayerId>,
    /// Events put on buses, changes, openings, and the engine's own notices.
    pub marks: Marks,
}

/// Reads the timeline of an axis, with the `top` fakémon and players. `progress` is called now and then with the
/// position and the last one.
///
/// # Errors
/// A damaged or unreadable journal.
pub fn read(
    archive: &Archive,
    axis: Axis,
    top: usize,
    progress: &mut dyn FnMut(Position, Position),
) -> Result<Timeline, ReadError> {
    let mut aggregate = Aggregate::new(axis);
    let last = archive.end_before(axis.end())?;
    // The group before the first of the range may have become durable in it.
    let from = Position(archive.first_since(axis.begin())?.0.saturating_sub(1));
    archive.blocks(from, &mut |_, block| {
        let head = block.head();
        progress(Position(head.first_position), last.max(Position(head.first_position)));
        let flow = aggregate.take_in(block);
        Ok(if head.first_position < last.0 { ControlFlow::Continue(()) } else { flow })
    })?;
    Ok(aggregate.finish(top))
}

/// The time of everything in the journal by the wall clock: from its first moment to the one after its last. None: it
/// is empty.
///
/// # Errors
/// A damaged or unreadable journal.
pub fn extent(archive: &Archive) -> Result<Option<(Timestamp, Timestamp)>, ReadError> {
    let mut begin = None;
    archive.blocks(archive.first_position(), &mut |_, block| {
        let (mut first, ahead) = (record::committed_at(&block.head()), record::ahead(&block.head()));
        block.for_each(|_, _, event| first = first.min(beginning(&event).map_or(first, |at| ahead.to_wall(at))));
        begin = Some(first);
        Ok(ControlFlow::Break(()))
    })?;
    let last = Position(archive.end_position().0.saturating_sub(1));
    let (begin, end) = (begin, durable_at(archive, last)?.map(|at| at.plus_ns(1)));
    let Some(((begin, end), (first, last))) = begin.zip(end).zip(archive.wall_extent()?) else { return Ok(None) };
    Ok(Some((begin.min(first), end.max(last.plus_ns(1))))) // the wall clock may have been set back between
}

/// When an event began, by the engine's time: an attempt, when it was received; names have no time of their own.
fn beginning(event: &Record<'_>) -> Option<Timestamp> {
    match event {
        Record::Attempt(attempt) => Some(Timestamp(attempt.received_ns())),
        event => record::at(event),
    }
}

/// When the event at a position began: for an attempt, when it was received. None if there is no such event.
///
/// # Errors
/// A damaged or unreadable journal.
pub fn received_at(archive: &Archive, position: Position) -> Result<Option<Timestamp>, ReadError> {
    let recorded = archive.event(position)?;
    Ok(recorded.map(|recorded| match recorded.event {
        Event::Attempt(attempt) => attempt.received_at,
        Event::Appeared { at, .. }
        | Event::Vanished { at, .. }
        | Event::Opened { at, .. }
        | Event::Changed { at, .. } => at,
        Event::Put(put) => put.at,
        Event::PlayerNamed { .. } | Event::SpeciesNamed { .. } => recorded.committed_at,
    }))
}

/// When the event at a position was durable, or at least handed to the disk. None if there is no such event.
///
/// # Errors
/// A damaged or unreadable journal.
pub fn durable_at(archive: &Archive, position: Position) -> Result<Option<Timestamp>, ReadError> {
    let Some(group) = archive.group(position)? else { return Ok(None) };
    Ok(Some(archive.synced_at(&group)?.unwrap_or(group.committed_at)))
}
