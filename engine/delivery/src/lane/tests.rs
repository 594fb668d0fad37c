//! Lanes over a depot in memory and on disk.

use super::*;
use fakemon_model::names::{BusName, RuleName, TargetId};

fn lane(course: Course) -> Lane {
    let id = LaneId { subscriber: Subscriber::of_rule(BusName("b"), RuleName("r"), TargetId("t")), course };
    let target = serde_json::json!({
        "bus": "b", "rule": "r", "id": "t", "arn": "arn:aws:sqs:local:123456789012:q", "input": null,
        "input_path": null, "transformer": null, "retry": null, "dead_letter_arn": null, "http": null, "given": {}
    });
    Lane::new(id, serde_json::from_value(target).unwrap(), EventKey(0))
}

fn write(lane: &Lane, depot: &BusStore) {
    let mut batch = Batch::default();
    lane.write(&mut batch);
    depot.write(batch, false).unwrap();
}

fn reopened(depot: &BusStore) -> Lane {
    let lane = lane(Course::Live);
    let (id, kept) = read_all(depot).unwrap().pop().unwrap();
    assert_eq!(id, *lane.id());
    lane.restore(kept, depot).unwrap();
    lane
}

fn keys(from: u64, to: u64) -> impl Iterator<Item = Arrival> {
    (from..to).map(|key| Arrival { key: EventKey(key * 3), json: None, at: Timestamp(key) })
}

#[test]
fn a_dead_target_costs_memory_for_few_of_its_events_and_gets_all_of_them_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let depot = BusStore::open(dir.path()).unwrap();
    let mut dead = lane(Course::Live);
    let events = 50_000;
    for from in (1..=events).step_by(500) {
        if dead.push(keys(from, from + 500)) {
            write(&dead, &depot);
        }
        let state = dead.state();
        assert!(state.ready.len() <= READY_MAX && state.tail.len() <= READY_MAX + 500);
    }
    write(&dead, &depot);
    assert_eq!(dead.backlog(), events);
    let mut expected = 1;
    while expected <= events {
        if expected % 9_000 < 100 {
            dead = reopened(&depot); // what was delivered since the last write is repeated, nothing is left out
            let oldest = dead.oldest().unwrap().0 / 3;
            assert!(oldest <= expected, "{oldest} after {expected}");
            expected = oldest;
            dead.push(keys(1, 20)); // as the router does when it reads again
        }
        let taken = dead.take(100, Timestamp(1));
        for (index, parcel) in taken.iter().enumerate() {
            assert_eq!(parcel.key.0, (expected + index as u64) * 3);
        }
        expected += taken.len() as u64;
        dead.done(taken.iter().map(|parcel| parcel.key));
        write(&dead, &depot);
        dead.refill(&depot).unwrap();
    }
    assert_eq!(dead.backlog(), 0);
    let rest = read_all(&depot).unwrap().pop().unwrap().1;
    assert!(rest.chunks.is_empty() && rest.cursor == Some(EventKey(events * 3)));
}

#[test]
fn the_first_event_holds_up_those_behind_it_unless_the_lane_is_parallel() {
    let lane = lane(Course::Live);
    lane.push(keys(1, 10));
    let first = lane.take(1, Timestamp(1)).pop().unwrap();
    assert!(lane.take(1, Timestamp(1)).is_empty());
    lane.again(first.key, Timestamp(50), Some(Timestamp(1)));
    assert!(lane.take(1, Timestamp(49)).is_empty());
    assert_eq!(lane.due_at(), Some(Timestamp(50)));
    assert_eq!(lane.take(1, Timestamp(50))[0].attempts, 1);
    lane.set_parallel(3);
    let others = lane.take(9, Timestamp(50));
    assert_eq!(others.len(), 2, "three at once, and the first is one of them");
    lane.done(others.iter().map(|parcel| parcel.key));
    assert_eq!(lane.state().cursor, EventKey(0), "the cursor is never ahead of what is undone");
    lane.done([first.key]);
    assert_eq!(lane.state().cursor, others[1].key);
}

#[test]
#[should_panic(expected = "in the order of the journal")]
fn an_event_that_comes_out_of_order_is_a_mistake_of_ours() {
    let lane = lane(Course::Live);
    lane.push(keys(5, 6));
    lane.push(keys(3, 4));
}

#[test]
fn attempts_and_dead_letters_survive() {
    let dir = tempfile::tempdir().unwrap();
    let depot = BusStore::open(dir.path()).unwrap();
    let live = lane(Course::Live);
    live.push(keys(1, 3));
    let first = live.take(1, Timestamp(1)).pop().unwrap();
    live.again(first.key, Timestamp(50), Some(Timestamp(7)));
    write(&live, &depot);
    let first = reopened(&depot).take(1, Timestamp(1)).pop().unwrap();
    assert_eq!((first.attempts, first.first_attempt_at), (1, Some(Timestamp(7))));
    let mut batch = Batch::default();
    live.erase(&mut batch);
    depot.write(batch, false).unwrap();
    assert!(read_all(&depot).unwrap().is_empty());

    let redrive = lane(Course::Redrive);
    for key in [9, 4, 9] {
        assert!(redrive.push_again(EventKey(key)));
    }
    write(&redrive, &depot);
    redrive.take(1, Timestamp(1));
    redrive.done([EventKey(9)]);
    write(&redrive, &depot);
    let (id, kept) = read_all(&depot).unwrap().pop().unwrap();
    let again = lane(id.course);
    again.restore(kept, &depot).unwrap();
    assert_eq!(again.take(9, Timestamp(1)).iter().map(|parcel| parcel.key.0).collect::<Vec<_>>(), [4]);
}

/// Dice decide how much arrives, how much is delivered with a batch or through the journal, and when the process
/// dies: each event is taken until it is delivered, and never afterwards.
#[test]
fn what_was_written_with_its_delivery_is_not_taken_again() {
    for seed in 0..60u64 {
        let mut state = seed;
        let mut below = |bound: u64| {
            state = fakemon_model::ids::mix(state ^ 0x9E37);
            state % bound
        };
        let dir = tempfile::tempdir().unwrap();
        let depot = BusStore::open(dir.path()).unwrap();
        let parallel = usize::try_from(1 + below(2) * 5).unwrap();
        let mut live = lane(Course::Live);
        live.set_parallel(parallel);
        write(&live, &depot);
        let (mut arrived, mut written_to) = (0, 0);
        let mut delivered = std::collections::BTreeSet::new();
        let mut of_journal = Vec::new();
        for _ in 0..40 {
            match below(6) {
                0 | 1 => {
                    let more = 1 + below(5);
                    live.push(keys(arrived + 1, arrived + 1 + more));
                    arrived += more;
                }
                2 => {
                    write(&live, &depot);
                    written_to = arrived;
                }
                3 => {
                    // The process dies: the router reads again what it had not written, with the deliveries in the
                    // journal.
                    live = lane(Course::Live);
                    let kept = read_all(&depot).unwrap().pop().map(|(_, kept)| kept).unwrap_or_default();
                    live.restore(kept, &depot).unwrap();
                    live.set_parallel(parallel);
                    live.push(keys(written_to + 1, arrived + 1));
                    of_journal.iter().for_each(|key| live.was_delivered(*key));
                }
                _ => {
                    live.refill(&depot).unwrap();
                    let mut taken: Vec<EventKey> =
                        live.take(4, Timestamp(1)).iter().map(|parcel| parcel.key).collect();
                    if parallel > 1 && taken.len() > 1 {
                        let failed = taken.remove(usize::try_from(below(taken.len() as u64)).unwrap());
                        live.again(failed, Timestamp(0), None); // the events after it continue
                    }
                    assert!(taken.iter().all(|key| delivered.insert(*key)), "seed {seed}: {taken:?} again");
                    if below(2) == 0 {
                        let mut batch = Batch::default();
                        live.deliver(&taken, &mut batch);
                        depot.write(batch, false).unwrap();
                    } else {
                        of_journal.extend(&taken); // permanently: the lane learns of it here, and after each restart
                    }
                    live.done(taken);
                }
            }
        }
        while live.backlog() > 0 {
            live.refill(&depot).unwrap();
            let taken: Vec<EventKey> = live.take(100, Timestamp(1)).iter().map(|parcel| parcel.key).collect();
            assert!(
                !taken.is_empty() || live.backlog() == 0,
                "seed {seed}: {} wait, and none is taken",
                live.backlog()
            );
            assert!(taken.iter().all(|key| delivered.insert(*key)), "seed {seed}: {taken:?} again");
            live.done(taken);
        }
        assert_eq!(delivered.len() as u64, arrived, "seed {seed}: something was left out");
        write(&live, &depot);
        let (_, kept) = read_all(&depot).unwrap().pop().unwrap_or_else(|| (live.id().clone(), StoredLane::default()));
        assert!(kept.delivered.is_empty() && kept.chunks.is_empty(), "seed {seed}: rows stay");
    }
}

#[test]
fn a_delivery_is_known_by_its_name() {
    for (course, bus, target) in [(Course::Live, "aws.partner/x/y", "t"), (Course::Redrive, "", "api-destination/n")]
    {
        let subscriber = Subscriber::named(BusName(bus), RuleName("schedule-group/g"), TargetId(target));
        let id = LaneId { subscriber, course };
        for facet in [fakemon_model::envelope::Facet::Attempt, fakemon_model::envelope::Facet::Happened] {
            let key = EventKey::new(fakemon_model::ids::Position(7), facet);
            let name = id.delivery(key).unwrap();
            assert_eq!(LaneId::of_delivery(&name, key.position()), Some((id.clone(), key)), "{name}");
        }
    }
    let replay = LaneId { course: Course::Replay("r".into()), ..lane(Course::Live).id };
    assert_eq!(replay.delivery(EventKey(3)), None);
}
