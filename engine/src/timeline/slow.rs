//! What was slow, and when nothing happened: of each the worst, by thresholds that only the end of the range can tell.

use super::{Gap, GapKind, Stage, Stall};
use crate::ids::{Position, Timestamp};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The worst groups of which stalls are made.
const GROUPS_MAX: usize = 4_096;
/// The longest silences among which gaps are.
const SILENCES_MAX: usize = 1_024;
/// A group is slow when its slowest throw takes so many times the median of all throws,
const SLOW_TIMES: u64 = 10;
/// and so long.
const SLOW_NS_MIN: u64 = 5_000_000;
/// A silence is a gap when it takes so many times the median from one group to the next,
const GAP_TIMES: u64 = 30;
/// and so long.
const GAP_NS_MIN: u64 = 100_000_000;

/// One group, as far as it was slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupTimes {
    /// What the slowest of it took; ranks it.
    pub(super) worst_ns: u64,
    pub(super) first: Position,
    pub(super) end: Position,
    pub(super) throws: u64,
    /// When its first throw was received, or when it was handed to the disk.
    pub(super) begin: Timestamp,
    /// When it was durable.
    pub(super) durable_at: Timestamp,
    /// The longest of each of its throws, in the order of [`Stage::PARTS`].
    pub(super) stages_ns: [u64; 4],
}

/// The greatest of many, a bounded number of them.
struct Greatest<T>(BinaryHeap<Reverse<T>>, usize);

impl<T: Ord> Greatest<T> {
    fn new(most: usize) -> Greatest<T> {
        Greatest(BinaryHeap::new(), most)
    }

    fn add(&mut self, one: T) {
        if self.0.len() < self.1 {
            self.0.push(Reverse(one));
        } else if self.0.peek().is_some_and(|Reverse(least)| one > *least) {
            self.0.pop();
            self.0.push(Reverse(one));
        }
    }

    fn finish(self) -> impl Iterator<Item = T> {
        self.0.into_iter().map(|Reverse(one)| one)
    }
}

/// The slowest groups.
pub(super) struct Slowest(Greatest<GroupTimes>);

impl Slowest {
    pub(super) fn new() -> Slowest {
        Slowest(Greatest::new(GROUPS_MAX))
    }

    pub(super) fn add(&mut self, group: GroupTimes) {
        self.0.add(group);
    }

    /// Stalls, the longest first, and from what on a group is slow: slow groups whose times touch are one stall.
    pub(super) fn finish(self, median_ns: u64) -> (Vec<Stall>, u64) {
        let slow_ns = median_ns.saturating_mul(SLOW_TIMES).max(SLOW_NS_MIN);
        let mut slow: Vec<GroupTimes> = self.0.finish().filter(|group| group.worst_ns >= slow_ns).collect();
        slow.sort_unstable_by_key(|group| (group.begin, group.first));
        let mut stalls: Vec<Stall> = Vec::new();
        for group in slow {
            match stalls.last_mut().filter(|stall| group.begin <= stall.end) {
                Some(stall) => join(stall, &group),
                None => stalls.push(alone(&group)),
            }
        }
        stalls.iter_mut().for_each(|stall| stall.slow = slow_stage(&stall.stages_ns));
        stalls.sort_by_key(|stall| (Reverse(stall.worst_ns), stall.begin));
        (stalls, slow_ns)
    }
}

fn alone(group: &GroupTimes) -> Stall {
    let GroupTimes { worst_ns, first, end, throws, begin, durable_at, stages_ns } = *group;
    let slow = Stage::Synced;
    Stall { begin, end: durable_at, first, last: Position(end.0 - 1), groups: 1, throws, worst_ns, stages_ns, slow }
}

fn join(stall: &mut Stall, group: &GroupTimes) {
    stall.end = stall.end.max(group.durable_at);
    stall.first = stall.first.min(group.first);
    stall.last = stall.last.max(Position(group.end.0 - 1));
    stall.groups += 1;
    stall.throws += group.throws;
    stall.worst_ns = stall.worst_ns.max(group.worst_ns);
    for (stage, ns) in stall.stages_ns.iter_mut().zip(group.stages_ns) {
        *stage = (*stage).max(ns);
    }
}

/// Who waits for a slow stage waits in the stages before it: the last one that took about as long as the longest.
fn slow_stage(stages_ns: &[u64; 4]) -> Stage {
    let longest = stages_ns.iter().max().copied().unwrap_or(0);
    let mut stages = Stage::PARTS.into_iter().zip(stages_ns).rev();
    stages.find(|(_, ns)| **ns >= longest / 2).map_or(Stage::Synced, |(stage, _)| stage)
}

/// When nothing happened, or nobody threw.
pub(super) struct Silences {
    kind: GapKind,
    /// The last sign of life, and its position.
    last: Option<(Timestamp, Position)>,
    longest: Greatest<(u64, Silence)>,
}

type Silence = (Timestamp, Timestamp, Position);

impl Silences {
    pub(super) fn new(kind: GapKind) -> Silences {
        Silences { kind, last: None, longest: Greatest::new(SILENCES_MAX) }
    }

    /// Life from `begin` to `end`: the events from `first` to before `next`.
    pub(super) fn life(&mut self, begin: Timestamp, end: Timestamp, first: Position, next: Position) {
        if let Some((before, _)) = self.last
            && begin > before
        {
            self.longest.add((begin.ns_since(before), (before, begin, first)));
        }
        self.extend(end, next);
    }

    /// What has begun goes on until then.
    pub(super) fn extend(&mut self, end: Timestamp, next: Position) {
        let (until, _) = self.last.unwrap_or_default();
        self.last = Some((until.max(end), next));
    }

    /// The last sign of life.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.last.map(|(at, _)| at)
    }

    /// Gaps, the longest first, and from what on a silence is one.
    pub(super) fn finish(self, median_ns: u64) -> (Vec<Gap>, u64) {
        let gap_ns = median_ns.saturating_mul(GAP_TIMES).max(GAP_NS_MIN);
        let kind = self.kind;
        let long = self.longest.finish().filter(|(ns, _)| *ns >= gap_ns);
        let mut gaps: Vec<Gap> = long.map(|(_, (begin, end, next))| Gap { kind, begin, end, next }).collect();
        gaps.sort_by_key(|gap| (Reverse(gap.ns()), gap.begin));
        (gaps, gap_ns)
    }
}
