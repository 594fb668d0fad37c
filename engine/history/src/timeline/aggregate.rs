//! From blocks to buckets. Only the next block records when a group was durable, so its attempts are kept until then.

use super::axis::Axis;
use super::depth::Depths;
use super::hot::Tally;
use super::latency::{Spread, Spreading};
use super::marks::Marks;
use super::slow::{GroupTimes, Silences, Slowest};
use super::{Bucket, Depth, Gap, GapKind, Stage, Timeline, beginning};
use fakemon_capture::decision::record;
use fakemon_fbs::journal::{Attempt, BlockHead, BlockReader, Event as Record, Outcome};
use fakemon_model::ids::{FakemonId, PlayerId, Position, Timestamp};
use std::cmp::Reverse;
use std::ops::ControlFlow;

/// Openings that are kept as gaps.
const OPENINGS_MAX: usize = 1_000;

pub(super) struct Aggregate {
    axis: Axis,
    buckets: Vec<Bucket>,
    undecided: Depths,
    undurable: Depths,
    /// The bucket whose latencies are gathered now.
    gathering: usize,
    stages: [Spreading; Stage::ALL.len()],
    group_events: Spreading,
    group: Option<Group>,
    slowest: Slowest,
    silent: Silences,
    without_attempts: Silences,
    openings: Vec<Gap>,
    fakemon: Tally<FakemonId>,
    players: Tally<PlayerId>,
    marks: Marks,
    positions: Option<(Position, Position)>,
}

/// A group whose sync time is not known yet: the next block records it.
struct Group {
    head: BlockHead,
    attempts: Vec<AttemptTimes>,
    /// When its first event began, at the latest when it was handed to the disk; below, the same for attempts alone.
    begin: Timestamp,
    begin_of_attempts: Timestamp,
    opened_at: Option<Timestamp>,
    queued_ns_max: u64,
    decided_ns_max: u64,
}

/// When an attempt was received and decided.
#[derive(Clone, Copy)]
struct AttemptTimes {
    received_at: Timestamp,
    queued_ns: u32,
    decided_ns: u32,
}

impl AttemptTimes {
    #[inline]
    fn decided_at(&self) -> Timestamp {
        self.received_at.plus_ns(self.decided_ns.into())
    }
}

impl Group {
    fn new(head: BlockHead, mut attempts: Vec<AttemptTimes>) -> Group {
        attempts.clear();
        let begin = record::committed_at(&head);
        let begin_of_attempts = begin;
        Group { head, attempts, begin, begin_of_attempts, opened_at: None, queued_ns_max: 0, decided_ns_max: 0 }
    }

    #[inline]
    fn attempt(&mut self, attempt: &Attempt) -> AttemptTimes {
        let (queued_ns, decided_ns) = (attempt.queued_after_ns(), attempt.decided_after_ns());
        let received_at = self.by_wall(Timestamp(attempt.received_ns()));
        let times = AttemptTimes { received_at, queued_ns, decided_ns };
        self.begin_of_attempts = self.begin_of_attempts.min(times.received_at);
        self.queued_ns_max = self.queued_ns_max.max(queued_ns.into());
        self.decided_ns_max = self.decided_ns_max.max(decided_ns.saturating_sub(queued_ns).into());
        self.attempts.push(times);
        times
    }

    fn committed_at(&self) -> Timestamp {
        record::committed_at(&self.head)
    }

    fn by_wall(&self, engine: Timestamp) -> Timestamp {
        record::ahead(&self.head).to_wall(engine)
    }

    fn end(&self) -> Position {
        Position(self.head.first_position + u64::from(self.head.count))
    }

    fn times(&self, durable_at: Timestamp) -> GroupTimes {
        let committed_at = self.committed_at();
        let first_decided = self.attempts.iter().map(AttemptTimes::decided_at).min().unwrap_or(committed_at);
        GroupTimes {
            worst_ns: durable_at.ns_since(self.begin_of_attempts),
            first: Position(self.head.first_position),
            end: self.end(),
            attempts: self.attempts.len() as u64,
            begin: self.begin_of_attempts,
            durable_at,
            stages_ns: [
                self.queued_ns_max,
                self.decided_ns_max,
                committed_at.ns_since(first_decided),
                durable_at.ns_since(committed_at),
            ],
        }
    }
}

impl Aggregate {
    pub(super) fn new(axis: Axis) -> Aggregate {
        Aggregate {
            axis,
            buckets: vec![Bucket::default(); axis.len()],
            undecided: Depths::new(axis),
            undurable: Depths::new(axis),
            gathering: 0,
            stages: std::array::from_fn(|_| Spreading::new()),
            group_events: Spreading::new(),
            group: None,
            slowest: Slowest::new(),
            silent: Silences::new(GapKind::Events),
            without_attempts: Silences::new(GapKind::Attempts),
            openings: Vec::new(),
            fakemon: Tally::new(),
            players: Tally::new(),
            marks: Marks::default(),
            positions: None,
        }
    }

    /// Adds the next block; breaks after the first one that is past the range.
    pub(super) fn take_in(&mut self, block: &BlockReader<'_>) -> ControlFlow<()> {
        let head = block.head();
        let attempts = self.settle(&head);
        let mut group = Group::new(head, attempts);
        block.for_each(|position, _, event| match event {
            Record::Attempt(attempt) => self.attempt(position, attempt, &mut group),
            event => self.other(position, &event, &mut group),
        });
        group.begin = group.begin.min(group.begin_of_attempts);
        let is_past = group.begin >= self.axis.end();
        self.group = Some(group);
        if is_past { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    #[inline]
    fn attempt(&mut self, position: u64, attempt: &Attempt, group: &mut Group) {
        let times = group.attempt(attempt);
        let decided_at = times.decided_at();
        self.undecided.add(times.received_at, decided_at);
        if let Some(index) = self.axis.index(times.received_at) {
            self.buckets[index].received += 1;
        }
        if let Some(index) = self.axis.index(decided_at) {
            let outcome = attempt.outcome();
            self.buckets[index].outcomes[record::outcome(outcome) as usize] += 1;
            let captured = outcome == Outcome::Captured;
            self.fakemon.add(FakemonId(attempt.fakemon_id()), captured);
            self.players.add(PlayerId(attempt.player()), captured);
            self.spans(position);
        }
    }

    fn other(&mut self, position: u64, event: &Record<'_>, group: &mut Group) {
        let at = record::at(event).map_or(group.committed_at(), |at| group.by_wall(at));
        group.begin = group.begin.min(beginning(event).map_or(at, |at| group.by_wall(at)));
        if matches!(event, Record::Opened(_)) {
            group.opened_at = Some(at);
        }
        let Some(index) = self.axis.index(at) else { return };
        let bucket = &mut self.buckets[index];
        *match event {
            Record::Appeared(_) => &mut bucket.appeared,
            Record::Vanished(_) => &mut bucket.vanished,
            Record::Put(_) => &mut bucket.put,
            Record::Changed(_) => &mut bucket.changed,
            _ => &mut bucket.named,
        } += 1;
        self.marks.add(at, Position(position), event);
        self.spans(position);
    }

    fn spans(&mut self, position: u64) {
        let position = Position(position);
        let (first, last) = self.positions.unwrap_or((position, position));
        self.positions = Some((first.min(position), last.max(position)));
    }

    /// Counts the previous group, whose sync time is known now; gives back its buffer.
    fn settle(&mut self, next: &BlockHead) -> Vec<AttemptTimes> {
        let Some(group) = self.group.take() else { return Vec::new() };
        self.durable(&group, next.previous_sync_ns);
        group.attempts
    }

    /// Counts a group as durable `sync_ns` after it was handed to the disk; 0: its sync time was not recorded.
    fn durable(&mut self, group: &Group, sync_ns: u32) {
        let durable_at = group.committed_at().plus_ns(sync_ns.into());
        group.attempts.iter().for_each(|times| self.undurable.add(times.decided_at(), durable_at));
        if let Some(index) = self.axis.index(durable_at) {
            self.turn_to(index);
            self.buckets[index].durable += group.attempts.len() as u64;
            self.group_events.add(group.head.count.into());
            self.record(group, durable_at, sync_ns > 0);
        }
        if group.begin_of_attempts < self.axis.end() && durable_at >= self.axis.begin() {
            self.slowest.add(group.times(durable_at));
        }
        self.live(group, durable_at);
    }

    fn record(&mut self, group: &Group, durable_at: Timestamp, is_told: bool) {
        let committed_at = group.committed_at();
        let [queued, decided, written, synced, total] = &mut self.stages;
        for times in &group.attempts {
            queued.add(times.queued_ns.into());
            decided.add(times.decided_ns.saturating_sub(times.queued_ns).into());
            written.add(committed_at.ns_since(times.decided_at()));
        }
        if is_told {
            synced.add(durable_at.ns_since(committed_at));
            group.attempts.iter().for_each(|times| total.add(durable_at.ns_since(times.received_at)));
        }
    }

    /// Notes the times in which the engine was active.
    fn live(&mut self, group: &Group, durable_at: Timestamp) {
        let first = Position(group.head.first_position);
        if let Some(opened_at) = group.opened_at {
            if let Some(begin) = self.silent.last()
                && self.openings.len() < OPENINGS_MAX
            {
                self.openings.push(Gap { kind: GapKind::Engine, begin, end: opened_at, next: first });
            }
            self.silent.extend(opened_at);
            self.without_attempts.extend(opened_at);
        }
        self.silent.life(group.begin, durable_at, first);
        if !group.attempts.is_empty() {
            self.without_attempts.life(group.begin_of_attempts, durable_at, first);
        }
    }

    /// Makes this bucket the one that collects latencies.
    fn turn_to(&mut self, index: usize) {
        if index != self.gathering {
            let [queued, decided, written, synced, total] = &mut self.stages;
            let bucket = &mut self.buckets[self.gathering];
            bucket.stages_ns = [queued, decided, written, synced, total].map(Spreading::turn);
            bucket.group_events = self.group_events.turn();
            self.gathering = index;
        }
    }

    /// The timeline, with the `top` fakémon and players.
    pub(super) fn finish(mut self, top: usize) -> Timeline {
        if let Some(group) = self.group.take() {
            self.durable(&group, 0);
        }
        self.turn_to(self.axis.len());
        let depths = self.undecided.finish().zip(self.undurable.finish());
        for (bucket, (undecided, undurable)) in self.buckets.iter_mut().zip(depths) {
            (bucket.undecided, bucket.undurable) = (undecided, undurable);
        }
        let whole = self.whole();
        let (stalls, slow_ns) = self.slowest.finish(whole.stage(Stage::Total).p50);
        let mut gaps = self.silent.finish();
        let is_told = |one: &Gap, told: &[Gap]| told.iter().any(|gap| gap.begin <= one.begin && one.end <= gap.end);
        let more: Vec<Gap> = self.without_attempts.finish().into_iter().filter(|gap| !is_told(gap, &gaps)).collect();
        gaps.extend(more.into_iter().chain(self.openings));
        gaps.retain(|gap| gap.begin < self.axis.end() && gap.end > self.axis.begin());
        gaps.sort_by_key(|gap| (Reverse(gap.ns()), gap.begin));
        Timeline {
            axis: self.axis,
            buckets: self.buckets,
            whole,
            positions: self.positions,
            stalls,
            slow_ns,
            gaps,
            gap_ns: super::slow::GAP_NS_MIN,
            fakemon: self.fakemon.finish(top),
            players: self.players.finish(top),
            marks: self.marks,
        }
    }

    fn whole(&self) -> Bucket {
        let sum = |of: fn(&Bucket) -> u64| self.buckets.iter().map(of).sum();
        let depth = |of: fn(&Bucket) -> Depth| {
            let weighed = |(index, bucket): (usize, &Bucket)| of(bucket).mean * self.axis.covered_ns(index) as f64;
            let total: f64 = self.buckets.iter().enumerate().map(weighed).sum();
            let mean = total / self.axis.end().ns_since(self.axis.begin()) as f64;
            Depth { at_begin: self.buckets.first().map_or(0, |bucket| of(bucket).at_begin), mean }
        };
        let spread = |of: &Spreading| -> Spread { of.whole() };
        Bucket {
            received: sum(|bucket| bucket.received),
            outcomes: std::array::from_fn(|outcome| self.buckets.iter().map(|bucket| bucket.outcomes[outcome]).sum()),
            durable: sum(|bucket| bucket.durable),
            appeared: sum(|bucket| bucket.appeared),
            vanished: sum(|bucket| bucket.vanished),
            put: sum(|bucket| bucket.put),
            changed: sum(|bucket| bucket.changed),
            named: sum(|bucket| bucket.named),
            group_events: spread(&self.group_events),
            stages_ns: std::array::from_fn(|stage| spread(&self.stages[stage])),
            undecided: depth(|bucket| bucket.undecided),
            undurable: depth(|bucket| bucket.undurable),
        }
    }
}
