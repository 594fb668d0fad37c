//! Every order in which the tasks of a shard, a client and the committer can take their steps at a small desk. In
//! each of them, deciding again in the order of the journal gives the same outcomes. With the steps in the old order
//! (decide first, then look for room) some orders do not.

use super::*;
use crate::commit::commit_queue::{CommitQueue, NoPlace};
use crate::decision::record;
use crate::player::IdRanges;
use fakemon_fbs::journal::{BlockHead, BlockReader, BlockWriter, Event, SectionDraft};
use fakemon_model::event::PlayerName;
use fakemon_model::ids::{AttemptId, PlayerId, SpeciesId};
use fakemon_model::place::Place as DamageLocation;
use fakemon_model::species::CatchRate;

const RULES: Rules = Rules { world_seed: 7, reach_mm: 50_000 };
const SPOT: DamageLocation = DamageLocation { lat_e7: 0, lon_e7: 0 };
const FAKEMON: FakemonId = FakemonId(1);
const VANISHES_AT: Timestamp = Timestamp(1_000);

/// In which order a task takes its steps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    ReserveThenDecide,
    DecideThenSubmit,
}

/// What one turn is about.
#[derive(Clone, Copy)]
enum Work {
    Attempt(AttemptId),
    Appear,
    Vanish,
    Write,
}

/// A task: turns that it takes one after another, in two steps each.
struct Task<'d> {
    turns: &'static [Work],
    place: Option<Place<'d>>,
    decided: Option<Turn>,
}

impl<'d> Task<'d> {
    fn new(turns: &'static [Work]) -> Task<'d> {
        Task { turns, place: None, decided: None }
    }

    /// Whether it can take a step: all wait only for room at the desk.
    fn can_go_on(&self, order: Order, desk: &CommitQueue) -> bool {
        let waits_for_room = match order {
            Order::ReserveThenDecide => self.place.is_none(),
            Order::DecideThenSubmit => self.decided.is_some(),
        };
        !self.turns.is_empty() && (!waits_for_room || desk.reserve().is_ok())
    }

    fn step(&mut self, order: Order, desk: &'d CommitQueue, shard: &mut Shard) {
        match (order, self.place.take(), self.decided.take()) {
            (Order::ReserveThenDecide, None, _) => self.place = desk.reserve().ok(),
            (Order::ReserveThenDecide, Some(place), _) => {
                let _events = match self.turns[0] {
                    Work::Write => {
                        place.hand_over(draft(shard, Work::Write));
                        1
                    }
                    Work::Attempt(attempt) => shard.decide(place, &mut vec![command_of(attempt)], Timestamp(5)),
                    work => shard.change_world(place, &mut vec![command(work)]),
                };
                self.turns = &self.turns[1..];
            }
            (Order::DecideThenSubmit, _, None) => self.decided = Some(draft(shard, self.turns[0])),
            (Order::DecideThenSubmit, _, Some(turn)) => {
                if !turn.is_empty() {
                    desk.reserve().expect("it can go on").hand_over(turn);
                }
                self.turns = &self.turns[1..];
            }
        }
    }
}

/// Decides without a place, which only this test can do.
fn draft(shard: &mut Shard, work: Work) -> Turn {
    let mut turn = match work {
        Work::Write => Turn::of_names(SectionDraft::default(), StateHash::default()),
        _ => shard.turn(1),
    };
    match work {
        Work::Attempt(attempt) => shard.decide_attempt(command_of(attempt), Timestamp(5), &mut turn),
        Work::Vanish => shard.vanish(FAKEMON, VANISHES_AT, &mut turn),
        Work::Appear => shard.appear(fakemon(), Timestamp(5), Token(0), ClientId(0), &mut turn),
        Work::Write => {
            let named = fakemon_fbs::journal::SpeciesNamed { species: 0, name: "sparkit".into() };
            turn.section.push_species_named(named);
        }
    }
    shard.turns += u64::from(turn.of_shard.is_some() && !turn.is_empty());
    turn
}

fn fakemon() -> Fakemon {
    Fakemon::wild(FAKEMON, SpeciesId(0), SPOT, CatchRate::from_basis_points(5_000), VANISHES_AT)
}

fn command_of(attempt_id: AttemptId) -> AttemptCommand {
    let player = Player::new(PlayerId(1), PlayerName::new("ana").unwrap(), IdRanges::default());
    let attempt = CaptureAttempt {
        player: player.id(),
        attempt_id,
        fakemon_id: FAKEMON,
        place: SPOT,
        received_at: Timestamp(1),
    };
    AttemptCommand::new(attempt, player, Token(0), 0, ClientId(0))
}

fn command(work: Work) -> WorldCommand {
    match work {
        Work::Vanish => WorldCommand::Vanish { fakemon: FAKEMON, at: VANISHES_AT },
        _ => WorldCommand::Appear { fakemon: fakemon(), at: Timestamp(5), token: Token(0), client: ClientId(0) },
    }
}

/// What one order of steps leaves in the journal. `path` lists which of the possible steps was taken each time, and
/// how many were possible; it is continued with the first ones.
fn run(order: Order, places: usize, path: &mut Vec<(usize, usize)>) -> Vec<Turn> {
    const ATTEMPTS: &[Work] = &[Work::Attempt(AttemptId(1)), Work::Attempt(AttemptId(2))];
    let desk = CommitQueue::with_places(places, 1);
    let mut shard = Shard::new(ShardId(0), RULES, Population::default());
    let mut tasks = [Task::new(ATTEMPTS), Task::new(&[Work::Appear, Work::Vanish]), Task::new(&[Work::Write])];
    let (mut journal, mut step) = (Vec::new(), 0);
    loop {
        let mut possible: Vec<usize> = (0..tasks.len()).filter(|task| tasks[*task].can_go_on(order, &desk)).collect();
        if desk.depth() > 0 {
            possible.push(tasks.len()); // the committer
        }
        if possible.is_empty() {
            assert!(tasks.iter().all(|task| task.turns.is_empty()), "they wait for each other: {path:?}");
            assert_eq!((0..places).filter_map(|_| desk.reserve().ok()).collect::<Vec<_>>().len(), places);
            return journal;
        }
        if path.len() == step {
            path.push((0, possible.len()));
        }
        match possible[path[step].0] {
            task if task < tasks.len() => tasks[task].step(order, &desk, &mut shard),
            _ => assert_eq!(desk.take(1, &mut journal), 1),
        }
        step += 1;
    }
}

/// Whether deciding everything again gives the same outcomes.
fn is_decided_again(journal: Vec<Turn>) -> bool {
    let numbers = journal.iter().filter_map(|turn| turn.of_shard).map(|(_, number)| number);
    let in_order = numbers.zip(0..).all(|(number, expected)| number == expected);
    let sections: Vec<SectionDraft> = journal.into_iter().map(|turn| turn.section).collect();
    let count = sections.iter().map(|section| u32::try_from(section.len()).unwrap()).sum();
    let head = BlockHead { first_position: 1, count, ..BlockHead::default() };
    let (mut writer, mut population, mut holds) = (BlockWriter::default(), Population::default(), in_order);
    BlockReader::new(writer.write(head, &sections)).unwrap().for_each(|_, _, event| {
        if let Event::Attempt(attempt) = event {
            let decided = record::attempt(attempt);
            holds &= resolve(RULES, population.get(FAKEMON), &decided) == decided.outcome;
        }
        if let Some(change) = record::change(&event).filter(|_| holds) {
            population.apply(change);
        }
    });
    holds
}

/// How many orders of steps there are, and how many of them leave a journal that diverges.
fn all_orders(order: Order, places: usize) -> (usize, usize) {
    let (mut path, mut orders, mut diverge) = (Vec::new(), 0, 0);
    loop {
        let journal = run(order, places, &mut path);
        (orders, diverge) = (orders + 1, diverge + usize::from(!is_decided_again(journal)));
        while let Some((taken, possible)) = path.pop() {
            if taken + 1 < possible {
                path.push((taken + 1, possible));
                break;
            }
        }
        if path.is_empty() {
            return (orders, diverge);
        }
    }
}

#[test]
fn whatever_waits_the_journal_has_the_order_of_the_decisions() {
    for places in [1, 2] {
        let (orders, diverge) = all_orders(Order::ReserveThenDecide, places);
        assert!(orders > 10 && diverge == 0, "{diverge} of {orders} orders with {places} places");
    }
}

#[test]
fn deciding_before_there_is_a_place_is_found_out() {
    let (orders, diverge) = all_orders(Order::DecideThenSubmit, 1);
    assert!(diverge > 0, "none of {orders} orders");
}

#[test]
fn a_turn_without_anything_to_write_gives_its_place_back() {
    let desk = CommitQueue::with_places(1, 1);
    let mut shard = Shard::new(ShardId(0), RULES, Population::default());
    for _ in 0..2 {
        let place = desk.reserve().expect("the place came back");
        assert_eq!(shard.change_world(place, &mut vec![command(Work::Vanish)]), 0);
    }
    let place = desk.reserve().expect("the place came back");
    assert_eq!(shard.change_world(place, &mut vec![command(Work::Appear)]), 1);
    assert_eq!(desk.reserve().err(), Some(NoPlace::Full));
}
