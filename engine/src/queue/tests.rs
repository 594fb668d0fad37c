//! Queues with a clock in the hand.

use super::*;

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
    let depot = Arc::new(Depot::open(dir.path()).unwrap());
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
    assert!(queues.change_visibility("q", &first[0].handle, 0, second(31)).is_err(), "an old receipt");
    queues.delete("q", &again[0].handle).unwrap();
    queues.delete("q", &again[0].handle).unwrap();
    assert_eq!(receive(&queues, 10, 100).len(), 1);
    assert!(receive(&queues, 10, u64::from(RETENTION_S) + 1000).is_empty(), "too old");
    assert!(queues.delete("q", "forged").is_err());
}

#[test]
fn delays_dead_letters_and_purges() {
    let dir = tempfile::tempdir().unwrap();
    let queues = Queues::open(Arc::new(Depot::open(dir.path()).unwrap())).unwrap();
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
fn a_look_that_comes_after_the_deletion_does_not_keep_the_next_start_from_reading() {
    let dir = tempfile::tempdir().unwrap();
    let depot = Arc::new(Depot::open(dir.path()).unwrap());
    let queues = Queues::open(depot.clone()).unwrap();
    let sent = queues.send("q", vec![message("a"), message("b")], second(0)).unwrap();
    let taken = receive(&queues, 1, 1);
    queues.delete("q", &taken[0].handle).unwrap();
    let late = row("q", b's', sent[0].sequence); // of a heartbeat that lost the race against the deletion
    let mut batch = Batch::default();
    batch.put(Room::Queues, late.clone(), Slot { receives: 1, ..Slot::default() }.value());
    depot.write(batch, false).unwrap();
    let queues = Queues::open(depot.clone()).unwrap();
    assert_eq!(receive(&queues, 10, 2)[0].message.body, "b");
    assert_eq!(depot.get(Room::Queues, &late).unwrap(), None);
}

#[test]
fn a_message_leaves_its_queue_only_together_with_its_arrival_in_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let depot = Arc::new(Depot::open(dir.path()).unwrap());
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
    let queues = Queues::open(Arc::new(Depot::open(dir.path()).unwrap())).unwrap();
    queues.send("q", vec![message(""); IN_FLIGHT_MAX + 1], second(0)).unwrap();
    assert_eq!(receive(&queues, IN_FLIGHT_MAX, 1).len(), IN_FLIGHT_MAX);
    let refused = queues.receive("q", 1, 30, RETENTION_S, None, second(2));
    assert!(matches!(refused, Err(QueueError::OverLimit)));
    assert_eq!(queues.counts("q", second(2)), Counts { visible: 1, in_flight: IN_FLIGHT_MAX, delayed: 0 });
    assert_eq!(receive(&queues, 1, 31).len(), 1, "they are visible again");
}

#[test]
fn one_message_is_found_and_taken_and_the_others_are_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let queues = Queues::open(Arc::new(Depot::open(dir.path()).unwrap())).unwrap();
    let sent = queues.send("q", vec![message("a"), message("b"), message("c")], second(0)).unwrap();
    let b = queues.next_after("q", sent[0].sequence, second(1)).unwrap().unwrap();
    assert_eq!(b.body, "b");
    let taken = queues.receive_one("q", b.sequence, 30, second(1)).unwrap().unwrap();
    assert!(queues.receive_one("q", b.sequence, 30, second(1)).unwrap().is_none(), "somebody has it");
    assert_eq!(queues.next_after("q", sent[0].sequence, second(1)).unwrap().unwrap().body, "c");
    queues.delete("q", &taken.handle).unwrap();
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
    let depot = Arc::new(Depot::open(dir.path()).unwrap());
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
    queues.delete("f.fifo", &first[0].handle).unwrap();
    let next = receive(&queues, 10, 5);
    assert_eq!(bodies(&next), ["a2", "a3"], "one receiver may have several, in order");
    queues.change_visibility("f.fifo", &next[1].handle, 0, second(6)).unwrap();
    assert!(receive(&queues, 10, 7).is_empty(), "a3 waits for a2");
    assert_eq!(bodies(&receive(&queues, 10, 33)), ["b1", "b2"]);
    assert_eq!(bodies(&receive(&queues, 10, 36)), ["a2", "a3"]);
}

#[test]
fn what_is_sent_twice_within_five_minutes_is_one_message() {
    let dir = tempfile::tempdir().unwrap();
    let depot = Arc::new(Depot::open(dir.path()).unwrap());
    let mut queues = Queues::open(depot.clone()).unwrap();
    let twice = vec![of_group("a", "x", "1"), of_group("b", "y", "1"), of_group("a", "z", "2")];
    let sent = queues.send("f.fifo", twice, second(0)).unwrap();
    assert_eq!(sent[0].id, sent[1].id);
    let receive = |queues: &Queues, at| queues.receive("f.fifo", 10, 30, RETENTION_S, None, second(at)).unwrap();
    let received = receive(&queues, 1);
    assert_eq!(bodies(&received), ["x", "z"]);
    received.iter().for_each(|one| queues.delete("f.fifo", &one.handle).unwrap());
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
    let queues = Queues::open(Arc::new(Depot::open(dir.path()).unwrap())).unwrap();
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
