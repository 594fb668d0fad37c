//! A range of the journal over time: rates, outcomes, how large groups were, how long each stage took, how many waited,
//! what stalled, when nothing happened, who was hot. One pass over the blocks, in bounded memory.
//!
//! Every event counts where it happened: a throw when it was received, when it was decided (with its outcome), and when it
//! was durable; latencies belong to the moment at which the answer could go out.
//!
//! ```text
//! received ── queued ──► mailbox ── decided ──► turn ── written ──► disk ── synced ──► durable
//! └──────────── undecided ─────────────┘└──────────────── undurable ──────────────────┘
//! ```
//!
//! What was refused (`throttled`) never came into the journal; of that there is only what the engine said of itself.

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
use fakemon_capture::record;
use fakemon_fbs::journal::Event as Record;
use fakemon_journal::ReadError;
use fakemon_model::event::{Event, Outcome};
use fakemon_model::ids::{FakemonId, PlayerId, Position, Timestamp};
use std::ops::ControlFlow;

/// Parts of a throw's way, and the whole.
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
    /// All of them, in the order of the way.
    pub const ALL: [Stage; 5] = [Stage::Queued, Stage::Decided, Stage::Written, Stage::Synced, Stage::Total];
    /// Those that make up the whole.
    pub const PARTS: [Stage; 4] = [Stage::Queued, Stage::Decided, Stage::Written, Stage::Synced];

    /// The word for it.
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
    /// Throws that were received.
    pub received: u64,
    /// Throws that were decided, by outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Throws that became durable.
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
    /// Nanoseconds, in the order of [`Stage::ALL`]: of throws that became durable; of groups for `Synced`.
    pub stages_ns: [Spread; Stage::ALL.len()],
    /// Throws that were received and not yet decided.
    pub undecided: Depth,
    /// Throws that were decided and not yet durable.
    pub undurable: Depth,
}

impl Bucket {
    /// Throws that were decided.
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

/// A time in which throws waited long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// When the first throw of it was received.
    pub begin: Timestamp,
    /// When the last was durable.
    pub end: Timestamp,
    /// Of its first event.
    pub first: Position,
    /// Of its last.
    pub last: Position,
    /// Slow groups in it.
    pub groups: u64,
    /// Throws in these.
    pub throws: u64,
    /// What its slowest throw, or group, took.
    pub worst_ns: u64,
    /// The longest of each stage, in the order of [`Stage::PARTS`].
    pub stages_ns: [u64; 4],
    /// What was slow. Whoever waits for a slow stage waits in the stages before it, so it is the last that was.
    pub slow: Stage,
}

/// What did not happen in a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapKind {
    /// Anything.
    Events,
    /// Throws.
    Throws,
    /// The engine was closed, or dead.
    Engine,
}

impl GapKind {
    /// The words for it.
    pub fn name(self) -> &'static str {
        match self {
            GapKind::Events => "no events",
            GapKind::Throws => "no throws",
            GapKind::Engine => "engine not open",
        }
    }
}

/// A time in which nothing happened, although there was life before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// What did not happen.
    pub kind: GapKind,
    /// The last sign of life.
    pub begin: Timestamp,
    /// The next.
    pub end: Timestamp,
    /// The first event after it.
    pub next: Position,
}

impl Gap {
    /// How long it took.
    pub fn ns(&self) -> u64 {
        self.end.ns_since(self.begin)
    }
}

/// A range of the journal over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    /// Which buckets there are.
    pub axis: Axis,
    /// One for each of the axis.
    pub buckets: Vec<Bucket>,
    /// All buckets together; `at_begin` is that of the first.
    pub whole: Bucket,
    /// The first and the last event of the range; none if nothing happened in it.
    pub positions: Option<(Position, Position)>,
    /// The longest first.
    pub stalls: Vec<Stall>,
    /// Throws and groups that took so long were slow.
    pub slow_ns: u64,
    /// The longest first.
    pub gaps: Vec<Gap>,
    /// A silence so long is a gap, if it is long for what was around it.
    pub gap_ns: u64,
    /// At which fakémon most throws went.
    pub fakemon: Hottest<FakemonId>,
    /// Who threw most.
    pub players: Hottest<PlayerId>,
    /// What was put, changed, opened, and what the engine said of itself.
    pub marks: Marks,
}

/// Reads the time of an axis; names the `top` hottest. `progress` hears the position and the last one now and then.
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

/// The time of everything in the journal by the wall clock: from its first moment to the one after its last. None: it is
/// empty.
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

/// When an event began, by the engine's time: a throw, when it was received; names have no time of their own.
fn beginning(event: &Record<'_>) -> Option<Timestamp> {
    match event {
        Record::Attempt(attempt) => Some(Timestamp(attempt.received_ns())),
        event => record::at(event),
    }
}

/// When the event at a position began: a throw, when it was received. None: there is none.
///
/// # Errors
/// A damaged or unreadable journal.
pub fn received_at(archive: &Archive, position: Position) -> Result<Option<Timestamp>, ReadError> {
    let recorded = archive.event(position)?;
    Ok(recorded.map(|recorded| match recorded.event {
        Event::Attempt { received_at, .. } => received_at,
        Event::Appeared { at, .. }
        | Event::Vanished { at, .. }
        | Event::Opened { at, .. }
        | Event::Changed { at, .. } => at,
        Event::Put(put) => put.at,
        Event::PlayerNamed { .. } | Event::SpeciesNamed { .. } => recorded.committed_at,
    }))
}

/// When the event at a position was durable, or at least handed to the disk. None: there is none.
///
/// # Errors
/// A damaged or unreadable journal.
pub fn durable_at(archive: &Archive, position: Position) -> Result<Option<Timestamp>, ReadError> {
    let Some(group) = archive.group(position)? else { return Ok(None) };
    Ok(Some(archive.synced_at(&group)?.unwrap_or(group.committed_at)))
}
