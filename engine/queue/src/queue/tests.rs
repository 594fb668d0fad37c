//! Queue tests with a manual clock.

use super::state::Slot;
use super::*;
use fakemon_model::names::ReceiptHandle;
use std::path::Path;

const RETENTION_S: u32 = 345_600;

fn second(s: u64) -> Timestamp {
    Timestamp(1_700_000_000_000_000_000 + s * 1_000_000_000)
}

fn message(body: &str) -> NewMessage {
    NewMessage { body: body.into(), ..NewMessage::default() }
}

fn receive(queues: &Queues, max: usize, at: u64) -> Vec<Received> {
    queues.receive("q", max, 30, RETENTION_S, None, second(at)).unwrap()
}

#[test]
fn a_message_is_hidden_while_somebody_has_it_and_comes_again_until_it_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let depot = Arc::new(BusStore::open(dir.path()).unwrap());
    let queues = Queues::open(depot.clone()).unwrap();
    queues.send("q", vec![message("a"), message("b")], second(0)).unwrap();
    let first = receive(&queues, 1, 1);
    assert_eq!((first[0].message.body.as_str(), first[0].receives), ("a", 1));
    assert_eq!(receive(&queues, 10, 2)[0].message.body, "b");
    assert!(receive(&queues, 10, 3).is_empty());
    assert_eq!(queues.counts("q", second(3)), Counts { visible: 0, in_flight: 2, delayed: 0 });
    drop(queues);
    let queues = Queues::open(depot).unwrap();
    assert!(receive(&queues, 10, 4).is_empty(), "a restart shows nothing that is hidden");
    let again = receive(&queues, 1, 31);
    assert_eq!((again[0].message.body.as_str(), again[0].receives), ("a", 2));
    queues.change_visibility("q", ReceiptHandle(&first[0].handle), 60, second(31)).unwrap();
    queues.delete("q", ReceiptHandle(&again[0].handle), second(31)).unwrap();
    queues.delete("q", ReceiptHandle(&again[0].handle), second(31)).unwrap();
    let gone = queues.change_visibility("q", ReceiptHandle(&first[0].handle), 60, second(31));
    assert!(matches!(gone, Err(QueueError::Gone)), "{gone:?}");
    assert_eq!(receive(&queues, 10, 100).len(), 1);
    assert!(receive(&queues, 10, u64::from(RETENTION_S) + 1000).is_empty(), "too old");
    assert!(queues.delete("q", ReceiptHandle("forged"), second(0)).is_err());
}

#[test]
fn delays_dead_letters_and_purges() {
    let dir = tempfile::tempdir().unwrap();
    let queues = Queues::open(Arc::new(BusStore::open(dir.path()).unwrap())).unwrap();
    queues.send("q", vec![NewMessage { delay_s: 5, ..message("late") }], second(0)).unwrap();
    assert!(receive(&queues, 1, 4).is_empty());
    assert_eq!(receive(&queues, 1, 5).len(), 1);
    let redrive = Redrive { queue: "dead".into(), receives_max: 1 };
    let none = queues.receive("q", 1, 30, RETENTION_S, Some(&redrive), second(50)).unwrap();
    assert!(none.is_empty());
    let dead = queues.receive("dead", 1, 30, RETENTION_S, None, second(50)).unwrap();
    assert_eq!(dead[0].message.body, "late");
    queues.purge("dead").unwrap();
    assert_eq!(queues.counts("dead", second(500)), Counts::default());
}

#[test]
fn what_is_before_a_message_that_cannot_be_read_is_received_and_moved() {
    let dir = tempfile::tempdir().unwrap();
    let depot = Arc::new(BusStore::open(dir.path()).unwrap());
    let queues = Queues::open(depot.clone()).unwrap();
    let sent = queues.send("q", ["a", "b", "c"].map(message).into(), second(0)).unwrap();
    assert_eq!(receive(&queues, 1, 1)[0].message.body, "a");
    let mut batch = Batch::default();
    batch.put(Table::Queues, row("q", b'm', sent[2].sequence), b"{");
    depot.write(batch, true).unwrap();
    let redrive = Redrive { queue: "dead".into(), receives_max: 1 };
    let receive = || queues.receive("q", 10, 30, RETENTION_S, Some(&redrive), second(40));
    assert_eq!(bodies(&receive().unwrap()), ["b"]);
    assert_eq!(queues.counts("dead", second(40)).visible, 1);
    assert!(matches!(receive(), Err(QueueError::Store(_))));
    assert_eq!(queues.counts("q", second(40)), Counts { visible: 1, in_flight: 1, delayed: 0 });
}

#[test]
fn dead_letters_that_cannot_be_moved_are_still_in_their_queue() {
    let dir = tempfile::tempdir().unwrap();
    let depot = Arc::new(BusStore::open(dir.path()).unwrap());
    let queues = Queues::open(depot.clone()).unwrap();
    queues.send("q", ["a", "b"].map(message).into(), second(0)).unwrap();
    receive(&queues, 1, 1);
    depot.refuse_writes();
    let redrive = Redrive { queue: "dead".into(), receives_max: 1 };
    let failed = queues.receive("q", 10, 30, RETENTION_S, Some(&redrive), second(40));
    assert!(matches!(failed, Err(QueueError::Store(_))), "{failed:?}");
    assert_eq!(queues.counts("q", second(80)), Counts { visible: 2, in_flight: 0, delayed: 0 });
}

#[test]
fn a_look_that_comes_after_the_deletion_does_not_keep_the_next_start_from_reading() {
    let dir = tempfile::tempdir().unwrap();
    let depot = Arc::new(BusStore::open(dir.path()).unwrap());
    let queues = Queues::open(depot.clone()).unwrap();
    let sent = queues.send("q", vec![message("a"), message("b")], second(0)).unwrap();
    let taken = receive(&queues, 1, 1);
    queues.delete("q", ReceiptHandle(&taken[0].handle), second(1)).unwrap();
    let late = row("q", b's', sent[0].sequence); // written by a heartbeat after the deletion
    let mut batch = Batch::default();
    batch.put(Table::Queues, late.clone(), Slot { receives: 1, ..Slot::default() }.value());
    depot.write(batch, false).unwrap();
    let queues = Queues::open(depot.clone()).unwrap();
    assert_eq!(receive(&queues, 10, 2)[0].message.body, "b");
    assert_eq!(depot.get(Table::Queues, &late).unwrap(), None);
}

#[test]
fn a_message_leaves_its_queue_only_together_with_its_arrival_in_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let depot = Arc::new(BusStore::open(dir.path()).unwrap());
    let queues = Queues::open(depot.clone()).unwrap();
    queues.send("q", vec![message("poison")], second(0)).unwrap();
    assert_eq!(receive(&queues, 1, 1).len(), 1);
    queues.held().entry("dead".into()).or_default().reserved = MESSAGES_MAX;
    let redrive = Redrive { queue: "dead".into(), receives_max: 1 };
    let look = |at| queues.receive("q", 1, 30, RETENTION_S, Some(&redrive), second(at)).unwrap().len();
    assert_eq!(look(40), 0);
    assert_eq!(queues.counts("q", second(40)).in_flight, 1, "the other is full: it stays");
    queues.held().entry("dead".into()).or_default().reserved = 0;
    assert_eq!(look(80), 0);
    let queues = Queues::open(depot).unwrap();
    let visible = |queue| queues.counts(queue, second(500)).visible;
    assert_eq!((visible("q"), visible("dead")), (0, 1));
}

#[test]
fn no_more_than_so_many_are_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    let queues = Queues::open(Arc::new(BusStore::open(dir.path()).unwrap())).unwrap();
    queues.send("q", vec![message(""); IN_FLIGHT_MAX + 1], second(0)).unwrap();
    assert_eq!(receive(&queues, IN_FLIGHT_MAX - 1, 1).len(), IN_FLIGHT_MAX - 1);
    assert_eq!(receive(&queues, 10, 1).len(), 1, "there is no place for more");
    let refused = queues.receive("q", 1, 30, RETENTION_S, None, second(2));
    assert!(matches!(refused, Err(QueueError::OverLimit)));
    assert_eq!(queues.counts("q", second(2)), Counts { visible: 1, in_flight: IN_FLIGHT_MAX, delayed: 0 });
    assert_eq!(receive(&queues, 1, 31).len(), 1, "they are visible again");
    let in_group = |group: usize| {
        let id = Some(group.to_string());
        NewMessage { group: id.clone(), deduplication_id: id, ..message("") }
    };
    queues.send("q.fifo", (0..=IN_FLIGHT_MAX).map(in_group).collect(), second(0)).unwrap();
    let take = |max| queues.receive("q.fifo", max, 30, RETENTION_S, None, second(1)).unwrap().len();
    assert_eq!((take(IN_FLIGHT_MAX), take(1)), (IN_FLIGHT_MAX, 0), "a FIFO queue says nothing of it");
}

#[test]
fn one_message_is_found_and_taken_and_the_others_are_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let queues = Queues::open(Arc::new(BusStore::open(dir.path()).unwrap())).unwrap();
    let sent = queues.send("q", vec![message("a"), message("b"), message("c")], second(0)).unwrap();
    let b = queues.next_after("q", sent[0].sequence, second(1)).unwrap().unwrap();
    assert_eq!(b.body, "b");
    let taken = queues.receive_one("q", b.sequence, 30, second(1)).unwrap().unwrap();
    assert!(queues.receive_one("q", b.sequence, 30, second(1)).unwrap().is_none(), "somebody has it");
    assert_eq!(queues.next_after("q", sent[0].sequence, second(1)).unwrap().unwrap().body, "c");
    queues.delete("q", ReceiptHandle(&taken.handle), second(1)).unwrap();
    assert_eq!(receive(&queues, 10, 2).iter().map(|one| one.receives).collect::<Vec<_>>(), [1, 1]);
}

fn of_group(group: &str, body: &str, id: &str) -> NewMessage {
    NewMessage { group: Some(group.into()), deduplication_id: Some(id.into()), ..message(body) }
}

fn bodies(received: &[Received]) -> Vec<&str> {
    received.iter().map(|one| one.message.body.as_str()).collect()
}

#[test]
fn a_group_keeps_its_order_and_others_do_not_wait_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let depot = Arc::new(BusStore::open(dir.path()).unwrap());
    let mut queues = Queues::open(depot.clone()).unwrap();
    let receive =
        |queues: &Queues, max, at| queues.receive("f.fifo", max, 30, RETENTION_S, None, second(at)).unwrap();
    for (number, (group, body)) in
        [("a", "a1"), ("b", "b1"), ("a", "a2"), ("a", "a3"), ("b", "b2")].iter().enumerate()
    {
        queues.send("f.fifo", vec![of_group(group, body, &number.to_string())], second(0)).unwrap();
    }
    let first = receive(&queues, 1, 1);
    assert_eq!(bodies(&first), ["a1"]);
    assert_eq!(bodies(&receive(&queues, 1, 2)), ["b1"]);
    assert!(receive(&queues, 10, 3).is_empty(), "both groups are with somebody");
    drop(queues);
    queues = Queues::open(depot).unwrap();
    assert!(receive(&queues, 10, 4).is_empty(), "after a restart too");
    queues.delete("f.fifo", ReceiptHandle(&first[0].handle), second(5)).unwrap();
    let next = receive(&queues, 10, 5);
    assert_eq!(bodies(&next), ["a2", "a3"], "one receiver may have several, in order");
    queues.change_visibility("f.fifo", ReceiptHandle(&next[1].handle), 0, second(6)).unwrap();
    assert!(receive(&queues, 10, 7).is_empty(), "a3 waits for a2");
    assert_eq!(bodies(&receive(&queues, 10, 33)), ["b1", "b2"]);
    assert_eq!(bodies(&receive(&queues, 10, 36)), ["a2", "a3"]);
}

#[test]
fn what_is_sent_twice_within_five_minutes_is_one_message() {
    let dir = tempfile::tempdir().unwrap();
    let depot = Arc::new(BusStore::open(dir.path()).unwrap());
    let mut queues = Queues::open(depot.clone()).unwrap();
    let twice = vec![of_group("a", "x", "1"), of_group("b", "y", "1"), of_group("a", "z", "2")];
    let sent = queues.send("f.fifo", twice, second(0)).unwrap();
    assert_eq!(sent[0].id, sent[1].id);
    let receive = |queues: &Queues, at| queues.receive("f.fifo", 10, 30, RETENTION_S, None, second(at)).unwrap();
    let received = receive(&queues, 1);
    assert_eq!(bodies(&received), ["x", "z"]);
    received.iter().for_each(|one| queues.delete("f.fifo", ReceiptHandle(&one.handle), second(1)).unwrap());
    drop(queues);
    queues = Queues::open(depot).unwrap();
    let again = queues.send("f.fifo", vec![of_group("a", "x", "1")], second(299)).unwrap();
    assert_eq!((&again[0].id, receive(&queues, 299).len()), (&sent[0].id, 0), "received and deleted, and a restart");
    let in_group = NewMessage { deduplicate_in_group: true, ..of_group("c", "c", "1") };
    queues.send("f.fifo", vec![in_group.clone(), in_group], second(299)).unwrap();
    assert_eq!(bodies(&receive(&queues, 299)), ["c"], "another scope");
    queues.send("f.fifo", vec![of_group("a", "late", "1")], second(300)).unwrap();
    assert_eq!(bodies(&receive(&queues, 300)), ["late"]);
}

#[test]
fn poison_leaves_its_group_before_the_next_message_comes() {
    let dir = tempfile::tempdir().unwrap();
    let queues = Queues::open(Arc::new(BusStore::open(dir.path()).unwrap())).unwrap();
    let redrive = Redrive { queue: "dead.fifo".into(), receives_max: 1 };
    queues.send("dead.fifo", vec![of_group("a", "before", "1")], second(0)).unwrap();
    queues.send("f.fifo", vec![of_group("a", "bad", "1"), of_group("a", "good", "2")], second(0)).unwrap();
    let receive = |max, at| queues.receive("f.fifo", max, 30, RETENTION_S, Some(&redrive), second(at)).unwrap();
    assert_eq!(bodies(&receive(1, 1)), ["bad"]);
    assert!(receive(10, 40).is_empty());
    assert_eq!(bodies(&receive(10, 40)), ["good"]);
    let dead = queues.receive("dead.fifo", 10, 30, RETENTION_S, None, second(40)).unwrap();
    assert_eq!(bodies(&dead), ["before", "bad"], "its id is no repetition there");
    assert_eq!(dead[1].message.group.as_deref(), Some("a"));
}

#[test]
fn in_a_fifo_queue_a_handle_is_good_while_its_receiver_has_the_message() {
    let dir = tempfile::tempdir().unwrap();
    let queues = Queues::open(Arc::new(BusStore::open(dir.path()).unwrap())).unwrap();
    queues.send("f.fifo", vec![of_group("a", "a1", "1")], second(0)).unwrap();
    let receive = |at| queues.receive("f.fifo", 1, 1, RETENTION_S, None, second(at)).unwrap();
    let first = receive(0);
    for refused in [
        queues.delete("f.fifo", ReceiptHandle(&first[0].handle), second(2)),
        queues.change_visibility("f.fifo", ReceiptHandle(&first[0].handle), 9, second(2)),
    ] {
        assert!(matches!(refused, Err(QueueError::Expired)), "{refused:?}");
    }
    let again = receive(2);
    assert_eq!(again[0].receives, 2, "the message is still there");
    assert!(queues.delete("f.fifo", ReceiptHandle(&first[0].handle), second(2)).is_err(), "another receiver has it");
    queues.delete("f.fifo", ReceiptHandle(&again[0].handle), second(2)).unwrap();
    queues.send("g.fifo", vec![of_group("a", "a1", "1")], second(3)).unwrap();
    let other = queues.receive("g.fifo", 1, 9, RETENTION_S, None, second(3)).unwrap();
    assert!(matches!(queues.delete("f.fifo", ReceiptHandle(&other[0].handle), second(3)), Err(QueueError::Handle)));
}

#[test]
fn in_a_standard_queue_every_handle_of_a_message_is_good() {
    let dir = tempfile::tempdir().unwrap();
    let queues = Queues::open(Arc::new(BusStore::open(dir.path()).unwrap())).unwrap();
    queues.send("q", vec![message("a")], second(0)).unwrap();
    let first = receive(&queues, 1, 0);
    let early = queues.change_visibility("q", ReceiptHandle(&first[0].handle), 9, second(31));
    assert!(matches!(early, Err(QueueError::NotInFlight)), "{early:?}");
    assert_eq!(receive(&queues, 1, 31).len(), 1);
    queues.change_visibility("q", ReceiptHandle(&first[0].handle), 100, second(32)).unwrap();
    assert!(receive(&queues, 1, 100).is_empty(), "hidden by the first receiver");
    queues.delete("q", ReceiptHandle(&first[0].handle), second(100)).unwrap();
    assert_eq!(queues.counts("q", second(500)), Counts::default());
}

#[test]
fn groups_take_turns() {
    let dir = tempfile::tempdir().unwrap();
    let queues = Queues::open(Arc::new(BusStore::open(dir.path()).unwrap())).unwrap();
    for (number, (group, body)) in [("a", "a1"), ("a", "a2"), ("b", "b1"), ("c", "c1")].iter().enumerate() {
        queues.send("f.fifo", vec![of_group(group, body, &number.to_string())], second(0)).unwrap();
    }
    let receive = |at| queues.receive("f.fifo", 1, 30, RETENTION_S, None, second(at)).unwrap();
    let first = receive(1);
    assert_eq!(bodies(&first), ["a1"]);
    queues.change_visibility("f.fifo", ReceiptHandle(&first[0].handle), 0, second(1)).unwrap();
    let next = receive(1);
    assert_eq!(bodies(&next), ["b1"], "the group that was with a receiver comes behind those that wait");
    queues.delete("f.fifo", ReceiptHandle(&next[0].handle), second(1)).unwrap();
    assert_eq!(bodies(&receive(1)), ["c1"]);
    assert_eq!(bodies(&receive(1)), ["a1"]);
}

#[test]
fn a_dead_letter_is_the_message_that_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let depot = Arc::new(BusStore::open(dir.path()).unwrap());
    let mut queues = Queues::open(depot.clone()).unwrap();
    let traced = NewMessage { trace_header: Some("Root=1".into()), ..message("bad") };
    let sent = queues.send("q", vec![traced], second(0)).unwrap();
    let redrive = |queue: &str| Redrive { queue: queue.into(), receives_max: 2 };
    let look = |queues: &Queues, queue: &str, dead: &str, at| {
        queues.receive(queue, 1, 1, RETENTION_S, Some(&redrive(dead)), second(at)).unwrap()
    };
    let first = look(&queues, "q", "dead", 1);
    assert_eq!(look(&queues, "q", "dead", 3)[0].receives, 2);
    assert!(look(&queues, "q", "dead", 5).is_empty());
    queues = Queues::open(depot).unwrap();
    let dead = look(&queues, "dead", "dead2", 6).remove(0);
    assert_eq!((&dead.message.id, dead.message.sent_at), (&sent[0].id, second(0)));
    assert_eq!((dead.receives, dead.first_received_at), (3, first[0].first_received_at));
    assert_eq!(dead.message.origin.as_ref().map(|origin| origin.queue.as_str()), Some("q"));
    assert_eq!(dead.message.trace_header.as_deref(), Some("Root=1"));
    assert_eq!(look(&queues, "dead", "dead2", 8)[0].receives, 4, "each queue counts for its own policy");
    assert!(look(&queues, "dead", "dead2", 10).is_empty());
    let last = look(&queues, "dead2", "dead3", 11).remove(0);
    assert_eq!((last.message.id.as_str(), last.receives), (sent[0].id.as_str(), 5));
    assert_eq!(last.message.origin.map(|origin| origin.queue).as_deref(), Some("dead"));
    let old = queues.receive("dead2", 1, 1, 10, None, second(13)).unwrap();
    assert!(old.is_empty(), "as old as it was in its first queue");
}

#[test]
fn a_message_is_handed_over_in_one_write_or_stays() {
    let dir = tempfile::tempdir().unwrap();
    let depot = Arc::new(BusStore::open(dir.path()).unwrap());
    let queues = Queues::open(depot.clone()).unwrap();
    let sent = queues.send("dead", vec![message("a")], second(0)).unwrap();
    let taken = queues.receive_one("dead", sent[0].sequence, 30, second(1)).unwrap().unwrap();
    queues.held().entry("q".into()).or_default().reserved = MESSAGES_MAX;
    assert!(matches!(queues.hand_over("dead", &taken, "q", second(1)), Err(QueueError::Full)));
    assert_eq!(queues.counts("dead", second(1)).in_flight, 1);
    queues.held().entry("q".into()).or_default().reserved = 0;
    queues.hand_over("dead", &taken, "q", second(2)).unwrap();
    let queues = Queues::open(depot).unwrap();
    assert_eq!(queues.counts("dead", second(500)), Counts::default());
    let moved = queues.receive("q", 1, 1, RETENTION_S, None, second(3)).unwrap();
    assert_ne!(moved[0].message.id, sent[0].id, "a new message");
    assert_eq!((moved[0].message.sent_at, moved[0].receives), (second(2), 1));
}

#[test]
fn a_content_id_is_the_sha_256_of_the_body() {
    assert_eq!(NewMessage::content_id("test"), "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
}

/// The queues that a power cut leaves of an open depot in `dir`.
fn after_a_power_cut(dir: &Path) -> (tempfile::TempDir, Queues) {
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("bus")).unwrap();
    for entry in std::fs::read_dir(dir.join("bus")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join("bus").join(entry.file_name())).unwrap();
    }
    let queues = Queues::open(Arc::new(BusStore::open(copy.path()).unwrap())).unwrap();
    (copy, queues)
}

#[test]
fn what_a_receiver_was_told_survives_a_power_cut() {
    let dir = tempfile::tempdir().unwrap();
    let queues = Queues::open(Arc::new(BusStore::open_forgetful(dir.path()))).unwrap();
    let left = |at| after_a_power_cut(dir.path()).1.counts("q", second(at));
    queues.enqueue("q", vec![message("a"), message("b")], Batch::default(), false, second(0)).unwrap();
    assert_eq!(left(0).visible, 0, "nobody was told, and a copy shows what a power cut leaves");
    let taken = receive(&queues, 2, 1);
    assert_eq!(left(2).in_flight, 2, "received: a power cut brings them under no other id");
    queues.change_visibility("q", ReceiptHandle(&taken[0].handle), 500, second(2)).unwrap();
    assert_eq!(left(100), Counts { visible: 1, in_flight: 1, delayed: 0 });
    queues.delete("q", ReceiptHandle(&taken[1].handle), second(2)).unwrap();
    assert_eq!(left(1_000).visible, 1);
    queues.purge("q").unwrap();
    assert_eq!(left(1_000), Counts::default());
}

#[test]
fn an_attempt_that_is_repeated_gets_the_same_handles_until_something_happens_to_its_messages() {
    let dir = tempfile::tempdir().unwrap();
    let queues = Queues::open(Arc::new(BusStore::open(dir.path()).unwrap())).unwrap();
    let queue = "f.fifo";
    let send = |bodies: &[&str], at| {
        let message = |body: &&str| NewMessage {
            body: (*body).into(),
            group: Some((*body).into()),
            deduplication_id: Some((*body).into()),
            ..NewMessage::default()
        };
        queues.send(queue, bodies.iter().map(message).collect(), second(at)).unwrap();
    };
    let ask = |id: &str, at| {
        let take = |queues: &Queues| queues.take(queue, 2, 30, RETENTION_S, None, second(at));
        queues.receive_again(queue, id, 30, second(at), take).unwrap()
    };
    send(&["a", "b", "c", "d"], 1);
    let first = ask("A", 2);
    assert_eq!(first.len(), 2);
    assert_eq!(ask("A", 20), first, "the same handles and counts, and hidden anew");
    let second_pair = ask("B", 40);
    assert_eq!(second_pair.iter().map(|one| one.message.body.as_str()).collect::<Vec<_>>(), ["c", "d"]);
    assert_eq!(ask("A", 41), first, "at 32 the first visibility was over, the second is not");
    queues.delete(queue, ReceiptHandle(&first[0].handle), second(42)).unwrap();
    assert!(ask("A", 43).is_empty(), "one was deleted: the id is void");
    queues.change_visibility(queue, ReceiptHandle(&second_pair[1].handle), 100, second(44)).unwrap();
    assert!(ask("B", 45).is_empty(), "the visibility of one was changed");
    let later = ask("A", 72);
    assert_eq!(later.len(), 2, "visible again: received anew");
    assert!(later.iter().all(|one| one.receives == 2), "{later:?}");
    let visible = (0..12).map(|minute| ask("A", 100 + 25 * minute)).filter(|again| *again == later).count();
    assert_eq!(visible, 11, "five minutes after 72 it is a new attempt");
}
