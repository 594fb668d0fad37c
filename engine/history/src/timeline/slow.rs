//! Slow groups and silences: the worst of each are kept, because the thresholds are known only at the end of the
//! range.

use super::{Gap, GapKind, Stage, Stall};
use fakemon_model::ids::{Position, Timestamp};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// The worst groups of which stalls are made.
const GROUPS_MAX: usize = 4_096;
/// The longest silences, from which gaps are chosen.
const SILENCES_MAX: usize = 1_024;
/// A group is slow when its slowest attempt takes at least this multiple of the median of all attempts,
const SLOW_TIMES: u64 = 10;
/// and at least this long.
const SLOW_NS_MIN: u64 = 5_000_000;
/// A silence is a gap when it takes at least this multiple of the usual distance between events around it,
const GAP_TIMES: u64 = 30;
/// and at least this long.
pub(super) const GAP_NS_MIN: u64 = 100_000_000;
/// The number of events before and after that count as around it.
const AROUND: u64 = 16;

/// The times of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupTimes {
    /// How long its slowest attempt took; ranks the groups.
    pub(super) worst_ns: u64,
    pub(super) first: Position,
    pub(super) end: Position,
    pub(super) attempts: u64,
    /// When its first attempt was received, or when it was handed to the disk.
    pub(super) begin: Timestamp,
    /// When it was durable.
    pub(super) durable_at: Timestamp,
    /// The longest of each stage over its attempts, in the order of [`Stage::PARTS`].
    pub(super) stages_ns: [u64; 4],
}

/// The greatest of many items, at most the given number of them.
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

    /// Stalls, the longest first, and from how many nanoseconds on a group is slow: slow groups whose times touch are
    /// one stall.
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
    let GroupTimes { worst_ns, first, end, attempts, begin, durable_at, stages_ns } = *group;
    let slow = Stage::Synced;
    Stall { begin, end: durable_at, first, last: Position(end.0 - 1), groups: 1, attempts, worst_ns, stages_ns, slow }
}

fn join(stall: &mut Stall, group: &GroupTimes) {
    stall.end = stall.end.max(group.durable_at);
    stall.first = stall.first.min(group.first);
    stall.last = stall.last.max(Position(group.end.0 - 1));
    stall.groups += 1;
    stall.attempts += group.attempts;
    stall.worst_ns = stall.worst_ns.max(group.worst_ns);
    for (stage, ns) in stall.stages_ns.iter_mut().zip(group.stages_ns) {
        *stage = (*stage).max(ns);
    }
}

/// While a stage is slow, attempts also wait in the stages before it: the last one that took about as long as the
/// longest.
fn slow_stage(stages_ns: &[u64; 4]) -> Stage {
    let longest = stages_ns.iter().max().copied().unwrap_or(0);
    let mut stages = Stage::PARTS.into_iter().zip(stages_ns).rev();
    stages.find(|(_, ns)| **ns >= longest / 4 * 3).map_or(Stage::Synced, |(stage, _)| stage)
}

/// Periods without events, or without attempts, although there were some before and after.
pub(super) struct Silences {
    kind: GapKind,
    /// When the last activity began, and when all activity so far ended.
    began: Timestamp,
    ended: Option<Timestamp>,
    /// The mean distance between recent activities, and over how many of them, up to [`AROUND`].
    apart_ns: u64,
    known: u64,
    /// Long silences that are not judged yet, because too little is known of what follows.
    open: VecDeque<Open>,
    longest: Greatest<(u64, Silence)>,
}

type Silence = (Timestamp, Timestamp, Position);

/// A silence that is long compared with the time before it.
struct Open {
    silence: Silence,
    after: u64,
    after_ns: u64,
}

impl Silences {
    pub(super) fn new(kind: GapKind) -> Silences {
        Silences {
            kind,
            began: Timestamp(0),
            ended: None,
            apart_ns: 0,
            known: 0,
            open: VecDeque::new(),
            longest: Greatest::new(SILENCES_MAX),
        }
    }

    /// Adds activity from `begin` to `end`; `first` is its first event.
    pub(super) fn life(&mut self, begin: Timestamp, end: Timestamp, first: Position) {
        if let Some(ended) = self.ended {
            let apart_ns = begin.ns_since(self.began);
            self.follow(apart_ns);
            let silent_ns = begin.ns_since(ended);
            if silent_ns >= GAP_NS_MIN && self.known == AROUND && silent_ns / GAP_TIMES >= self.apart_ns {
                self.open.push_back(Open { silence: (ended, begin, first), after: 0, after_ns: 0 });
            }
            self.known = (self.known + 1).min(AROUND);
            // A wall clock that was set forward is centuries in one step.
            let sum = u128::from(self.apart_ns) * u128::from(self.known - 1) + u128::from(apart_ns);
            self.apart_ns = u64::try_from(sum / u128::from(self.known)).expect("a mean is not above the greatest");
        }
        self.began = begin;
        self.extend(end);
    }

    /// Counts the distance for the open silences, and judges those with enough activity after them.
    fn follow(&mut self, apart_ns: u64) {
        for open in &mut self.open {
            open.after += 1;
            open.after_ns = open.after_ns.saturating_add(apart_ns);
        }
        while let Some(open) = self.open.pop_front_if(|open| open.after == AROUND) {
            self.judge(&open);
        }
    }

    fn judge(&mut self, open: &Open) {
        let (begin, end, next) = open.silence;
        let silent_ns = end.ns_since(begin);
        if open.after_ns / open.after.max(1) <= silent_ns / GAP_TIMES {
            self.longest.add((silent_ns, (begin, end, next)));
        }
    }

    /// Extends the current activity until `end`.
    pub(super) fn extend(&mut self, end: Timestamp) {
        self.ended = Some(self.ended.unwrap_or_default().max(end));
    }

    /// When the last activity ended.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.ended
    }

    /// Gaps, in no order.
    pub(super) fn finish(mut self) -> Vec<Gap> {
        while let Some(open) = self.open.pop_front() {
            self.judge(&open);
        }
        let kind = self.kind;
        self.longest.finish().map(|(_, (begin, end, next))| Gap { kind, begin, end, next }).collect()
    }
}
