//! Made-up blocks in, timelines out.

use super::*;
use fakemon_fbs::journal::{Appeared, Attempt, BlockHead, BlockReader, BlockWriter, Opened, Put, SectionDraft};
use fakemon_model::event::Outcome;
use fakemon_model::ids::SpeciesId;
use std::ops::ControlFlow;
use std::time::Duration;

const MS: u64 = 1_000_000;

/// Neighbouring blocks, as a journal would have them.
#[derive(Default)]
struct Journal {
    blocks: Vec<Vec<u8>>,
    next: u64,
}

/// An attempt: when it was received, how long until it was queued and decided (all in microseconds).
#[derive(Clone, Copy)]
struct Made(u64, u32, u32);

impl Journal {
    fn new() -> Journal {
        Journal { blocks: Vec::new(), next: 1 }
    }

    /// A group that was handed to the disk at `committed_us`; the sync of the one before took `previous_sync_us`.
    fn group(&mut self, committed_us: u64, previous_sync_us: u32, section: SectionDraft) {
        let head = BlockHead {
            first_position: self.next,
            count: u32::try_from(section.len()).unwrap(),
            committed_ns: committed_us * 1_000,
            previous_sync_ns: previous_sync_us * 1_000,
            ..BlockHead::default()
        };
        self.next += section.len() as u64;
        self.blocks.push(BlockWriter::default().write(head, &[section]).to_vec());
    }

    fn attempts(&mut self, committed_us: u64, previous_sync_us: u32, attempts: &[Made]) {
        let mut section = SectionDraft::new(0, attempts.len());
        attempts.iter().enumerate().for_each(|(index, made)| section.push_attempt(attempt(*made, index as u64)));
        self.group(committed_us, previous_sync_us, section);
    }

    fn read(&self, axis: Axis) -> Timeline {
        let mut aggregate = Aggregate::new(axis);
        for block in &self.blocks {
            if aggregate.take_in(&BlockReader::new(block).unwrap()) == ControlFlow::Break(()) {
                break;
            }
        }
        aggregate.finish(3)
    }
}

/// The first attempt of a group at a fakémon catches it, the others come too late.
fn attempt(Made(received_us, queued_us, decided_us): Made, index: u64) -> Attempt {
    let outcome = if index == 0 { Outcome::Captured } else { Outcome::AlreadyCaptured };
    let species = SpeciesId(0).0;
    let player = 1 + u32::try_from(index).unwrap();
    let (received, queued, decided) = (received_us * 1_000, queued_us * 1_000, decided_us * 1_000);
    let outcome = fakemon_fbs::journal::Outcome(outcome as u8);
    Attempt::new(received_us, 42, received, player, 0, 0, queued, decided, species, outcome)
}

fn axis(begin_ms: u64, end_ms: u64, bucket_ms: u64) -> Axis {
    let bucket = Duration::from_millis(bucket_ms);
    Axis::new(Timestamp(begin_ms * MS), Timestamp(end_ms * MS), Some(bucket)).unwrap()
}

#[test]
fn events_count_where_they_happened_and_latencies_where_the_answer_went_out() {
    let mut journal = Journal::new();
    // Received in the first bucket, decided in the second, durable in the third.
    journal.attempts(19_500, 0, &[Made(9_000, 100, 2_000), Made(9_900, 50, 9_100)]);
    journal.attempts(26_000, 2_500, &[Made(25_000, 10, 20)]);
    let timeline = journal.read(axis(0, 30, 10));
    let buckets = &timeline.buckets;
    assert_eq!(buckets.iter().map(|bucket| bucket.received).collect::<Vec<_>>(), [2, 0, 1]);
    assert_eq!(buckets.iter().map(Bucket::decided).collect::<Vec<_>>(), [0, 2, 1]);
    assert_eq!(buckets.iter().map(|bucket| bucket.durable).collect::<Vec<_>>(), [0, 0, 3]);
    assert_eq!(buckets[1].outcomes, [1, 1, 0, 0, 0, 0]);
    let last = &buckets[2];
    let max = |stage| last.stage(stage).max;
    assert_eq!((max(Stage::Queued), max(Stage::Decided)), (100_000, 9_050_000));
    assert_eq!((max(Stage::Written), max(Stage::Synced)), (8_500_000, 2_500_000));
    assert_eq!(max(Stage::Total), 13_000_000);
    assert_eq!(last.stage(Stage::Total).count, 2, "nobody said when the newest group was durable");
    assert_eq!((last.group_events.count, last.group_events.max), (2, 2));
    assert_eq!((timeline.whole.received, timeline.whole.decided(), timeline.whole.durable), (3, 3, 3));
    assert_eq!(timeline.positions, Some((Position(1), Position(3))));
}

#[test]
fn depths_tell_how_many_waited_for_a_decision_and_for_the_disk() {
    let mut journal = Journal::new();
    journal.attempts(19_500, 0, &[Made(9_000, 100, 2_000), Made(9_900, 50, 9_100)]);
    journal.attempts(26_000, 2_500, &[Made(25_000, 10, 20)]);
    let timeline = journal.read(axis(0, 30, 10));
    let at_begin = |of: fn(&Bucket) -> Depth| timeline.buckets.iter().map(of).map(|depth| depth.at_begin);
    assert_eq!(at_begin(|bucket| bucket.undecided).collect::<Vec<_>>(), [0, 2, 0]);
    assert_eq!(at_begin(|bucket| bucket.undurable).collect::<Vec<_>>(), [0, 0, 2]);
    let mean = timeline.buckets[1].undecided.mean;
    assert!((mean - 1.0).abs() < 1e-9, "1 ms of one throw and 9 ms of the other in 10 ms: {mean}");
}

#[test]
fn a_range_holds_what_happened_in_it_and_nothing_else() {
    let mut journal = Journal::new();
    for ms in 0..100 {
        journal.attempts(ms * 1_000 + 500, 200, &[Made(ms * 1_000 + 100, 10, 100)]);
    }
    let timeline = journal.read(axis(20, 30, 1));
    assert_eq!(timeline.positions, Some((Position(21), Position(30))));
    let per_bucket: Vec<_> = timeline.buckets.iter().map(|one| (one.received, one.decided(), one.durable)).collect();
    assert_eq!(per_bucket, [(1, 1, 1); 10]);
    assert_eq!(timeline.fakemon.top[0], Hot { id: FakemonId(42), attempts: 10, captured: 10 });
    let all = journal.read(axis(0, 100, 1));
    let sum: u64 = all.buckets.iter().map(Bucket::events).sum();
    assert_eq!((sum, all.whole.events()), (100, 100));
}

/// An attempt in every millisecond, except where `change` says otherwise: when its group is handed to the disk, how
/// long the sync of the one before takes, and how long the attempt waits in the mailbox, all in microseconds.
fn steady(change: impl Fn(u64) -> Option<(u64, u32, u32)>) -> Journal {
    let mut journal = Journal::new();
    for ms in 0..1_000 {
        let received = ms * 1_000;
        let (committed, previous_sync, decided) = change(ms).unwrap_or((received + 300, 200, 100));
        journal.attempts(committed, previous_sync, &[Made(received, 20, decided)]);
    }
    journal
}

#[test]
fn a_stall_names_the_stage_that_was_slow() {
    let calm = steady(|_| None).read(axis(0, 1_000, 10));
    assert_eq!(calm.stalls, []);
    // One sync takes 50 ms: attempts that arrive meanwhile wait, decided but not written.
    let sync = steady(|ms| match ms {
        501 => Some((550_400, 50_100, 100)),
        502..=550 => Some((550_400 + (ms - 501) * 10, 10, 100)),
        _ => None,
    });
    let [stall] = sync.read(axis(0, 1_000, 10)).stalls[..] else { panic!("one stall") };
    assert_eq!((stall.slow, stall.first, stall.worst_ns), (Stage::Synced, Position(501), 50_400_000));
    assert!((30..=51).contains(&stall.groups), "{stall:?}");
    // An attempt waits in the mailbox; the disk is not involved.
    let mailbox = steady(|ms| (ms == 500).then_some((530_500, 200, 30_000)));
    let mailbox = mailbox.read(axis(0, 1_000, 10));
    let [stall] = mailbox.stalls[..] else { panic!("one stall: {:?}", mailbox.stalls) };
    assert_eq!((stall.slow, stall.groups, stall.stages_ns[1]), (Stage::Decided, 1, 29_980_000));
}

#[test]
fn gaps_tell_what_did_not_happen_until_when() {
    let mut journal = Journal::new();
    let mut opened = SectionDraft::default();
    opened.push_opened(Opened { at_ns: 0, world_seed: 1, reach_mm: 1, cores: 1, durable: true });
    journal.group(1, 0, opened);
    let appeared = |ms: u64| {
        let mut section = SectionDraft::default();
        section.push_appeared(Appeared::new(ms, ms * MS, u64::MAX, 0, 0, 0, 0));
        section
    };
    for ms in 0..3_000u64 {
        let (received, committed) = (ms * 1_000 + 100, ms * 1_000 + 500);
        match ms {
            500..800 => {}
            1_000..1_300 => journal.group(committed, 200, appeared(ms)), // no attempts, but other events
            1_500..2_000 => {}
            2_000 => {
                let mut opened = SectionDraft::default();
                let at_ns = ms * MS;
                opened.push_opened(Opened { at_ns, world_seed: 1, reach_mm: 1, cores: 2, durable: true });
                journal.group(committed, 0, opened);
            }
            _ => journal.attempts(committed, 200, &[Made(received, 10, 100)]),
        }
    }
    let timeline = journal.read(axis(0, 3_000, 10));
    let gaps: Vec<_> = timeline.gaps.iter().map(|gap| (gap.kind, gap.begin.0 / MS, gap.end.0 / MS)).collect();
    let expected = [(GapKind::Engine, 1_499, 2_000), (GapKind::Events, 499, 800), (GapKind::Attempts, 999, 1_300)];
    assert_eq!(gaps, expected);
    assert_eq!(timeline.marks.opened.len(), 2);
    assert_eq!(timeline.stalls, [], "nobody waited for an engine that was not there");
    // A range that ends inside a gap shows it, if there are events after it.
    let cut = journal.read(axis(100, 600, 10));
    assert_eq!(cut.gaps.iter().map(|gap| (gap.kind, gap.end.0 / MS)).collect::<Vec<_>>(), [(GapKind::Events, 800)]);
}

#[test]
fn a_silence_is_a_gap_only_among_what_is_denser() {
    let mut journal = Journal::new();
    let mut attempt_at = |ms: u64| journal.attempts(ms * 1_000 + 500, 200, &[Made(ms * 1_000, 10, 100)]);
    (0..500).for_each(|step| attempt_at(step * 2)); // busy for a second
    (0..40).for_each(|step| attempt_at(1_000 + step * 500)); // calm for twenty
    (0..500).for_each(|step| attempt_at(21_000 + step * 2)); // busy again
    (0..40).for_each(|step| attempt_at(22_200 + step * 2)); // after a fifth of a second
    let timeline = journal.read(axis(0, 30_000, 500));
    let gaps: Vec<_> = timeline.gaps.iter().map(|gap| (gap.begin.0 / MS, gap.end.0 / MS)).collect();
    assert_eq!(gaps, [(21_998, 22_200)]);
}

#[test]
fn marks_of_each_kind_are_bounded_and_what_the_engine_says_is_apart() {
    let mut journal = Journal::new();
    let mut section = SectionDraft::default();
    let put = |bus: &str, source: &str, detail_type: &str| Put {
        at_ns: 5 * MS,
        bus: bus.into(),
        source: source.into(),
        detail_type: detail_type.into(),
        detail: r#"{"throttled":17}"#.into(),
        ..Put::default()
    };
    section.push_put(put("default", "fakemon.engine", "fakemon.shedding_started"));
    section.push_put(put("fakemon", "fakemon.engine", "fakemon.shedding_started"));
    (0..2_000).for_each(|_| section.push_put(put("shop", "é", &"é".repeat(900))));
    journal.group(6_000, 0, section);
    let timeline = journal.read(axis(0, 10, 1));
    let marks = &timeline.marks;
    assert_eq!((marks.said.len(), marks.put.len(), marks.left_out), (1, 1_000, 1_001));
    assert!(marks.said[0].what.is_shedding());
    assert_eq!(marks.put_kinds.values().copied().collect::<Vec<_>>(), [1, 2_000]);
    assert_eq!((timeline.buckets[5].put, timeline.whole.put), (2_002, 2_002));
    assert!(!timeline.marks.put[0].what.is_shedding());
}
