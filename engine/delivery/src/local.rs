//! Deliveries inside this process: to queues, log groups, other buses, the capture service, and functions of the
//! embedding program. One thread serves all of them, except user functions: each gets its own, because it may block.

mod buses;
mod captures;

pub use buses::{admit, put};
pub use captures::CaptureService;

use crate::lane::subscriber::Subscriber;
use crate::{Course, Dispatcher, Failed, FailureCode, Lane, Pending, ShapedEvent, by_destination};
use fakemon_capture::client::Client;
use fakemon_journal::{Batch, Progress, ReadError};
use fakemon_model::envelope::EventKey;
use fakemon_model::event::{Decision, PlayerName};
use fakemon_model::ids::{Position, Timestamp};
use fakemon_model::names::{LogGroupName, LogStreamName};
use fakemon_pattern::typed;
use fakemon_queue::queue::{NewMessage, is_fifo};
use fakemon_resource::resource::Queue;
use fakemon_resource::{Destination, Registry};
use fakemon_schedule::{PUT_EVENTS, message};
use fakemon_sync::failure::{Failure, caught};
use parking_lot::{Mutex, MutexGuard};
use serde::Deserialize;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The most events of one lane in one delivery.
const LETTERS_MAX: usize = 256;
/// The longest sleep between two looks at the lanes.
const IDLE: Duration = Duration::from_millis(200);
/// How often it checks whether the router has caught up.
const CATCHING_UP: Duration = Duration::from_millis(1);
/// How many times rules may hand an event on from bus to bus: ends loops of rules.
pub const HOPS_MAX: u8 = 8;

/// The outcome of each event.
pub type Outcomes = Vec<(EventKey, Result<(), Failed>)>;

/// Handles one event, or says why it failed.
pub type Function = Box<dyn FnMut(&ShapedEvent) -> Result<(), Failed> + Send>;

/// An event for a player.
#[derive(Clone, Debug)]
pub struct PlayerMessage {
    /// Whom it is for.
    pub player: PlayerName,
    /// What the target's input settings make of the event.
    pub body: Arc<str>,
}

/// Brings events to players, in order; an outcome for each, none for one that was not tried, because one before it
/// for the same player comes again.
pub type PlayerSink = Box<dyn FnMut(&[PlayerMessage]) -> Vec<Option<Result<(), Failed>>> + Send>;

/// Hears how attempts ended that came as events.
pub type OnDecision = Box<dyn Fn(&PlayerName, &Decision) + Send + Sync>;

pub enum LocalTarget {
    /// Everything inside but functions and players.
    Own(Box<Client>, Arc<OnceLock<OnDecision>>),
    /// To players.
    Players(Shared<PlayerSink>),
    /// A function, by name.
    Function(String, Shared<Function>),
}

/// A callback that lanes and pipes share: one caller at a time.
pub type Shared<T> = Arc<Mutex<T>>;

/// Locks the callback for one call.
pub fn turn<T>(shared: &Shared<T>) -> MutexGuard<'_, T> {
    shared.lock()
}

pub struct LocalDelivery {
    pub courier: Dispatcher,
    pub carrier: LocalTarget,
    pub progress: Arc<Progress>,
    /// The end of the journal when the engine was opened.
    pub opened_at: Position,
    pub stop: Arc<AtomicBool>,
    pub failure: Arc<Failure>,
}

impl LocalDelivery {
    /// Delivers until stopped.
    pub fn run(mut self) {
        let own = std::thread::current();
        self.courier.lanes().on_work(move || own.unpark());
        // Until the router has read the journal up to its end at opening, it is not known which events were
        // delivered.
        while self.progress.routed() < self.opened_at && !self.stop.load(Ordering::SeqCst) {
            std::thread::park_timeout(CATCHING_UP);
        }
        while !self.stop.load(Ordering::SeqCst) {
            match self.round() {
                Ok(true) => {}
                Ok(false) => std::thread::park_timeout(self.patience()),
                Err(error) => return self.failure.set(format!("the bus: {error}")),
            }
        }
    }

    fn is_ours(&self, lane: &Lane) -> bool {
        match (&self.carrier, Destination::of(&lane.target().arn)) {
            (LocalTarget::Function(name, _), Destination::Function(named)) => *name == named,
            (LocalTarget::Players(_), Destination::Players | Destination::Player(_)) => true,
            (LocalTarget::Function(..) | LocalTarget::Players(_), _) => false,
            (LocalTarget::Own(..), Destination::Function(_) | Destination::Players | Destination::Player(_)) => false,
            (LocalTarget::Own(..), destination) => !destination.is_outside(),
        }
    }

    fn patience(&self) -> Duration {
        let now = self.courier.now();
        let lanes = self.courier.lanes().of_rules();
        let due = lanes.iter().filter(|lane| self.is_ours(lane)).filter_map(|lane| lane.due_at()).min();
        due.map_or(IDLE, |due| Duration::from_nanos(due.ns_since(now)).min(IDLE))
    }

    /// Gives each lane one turn; returns whether any had events.
    fn round(&mut self) -> Result<bool, ReadError> {
        let mut any = false;
        for lane in self.courier.lanes().of_rules() {
            if !self.is_ours(&lane) {
                continue;
            }
            let parcels = self.courier.take(&lane, LETTERS_MAX)?;
            if parcels.is_empty() {
                continue;
            }
            any = true;
            let letters = self.courier.open(&lane, &parcels)?;
            self.courier.started(&lane, &letters);
            self.deliver(&lane, &parcels, letters)?;
        }
        Ok(any)
    }

    fn deliver(&mut self, lane: &Lane, parcels: &[Pending], letters: Vec<ShapedEvent>) -> Result<(), ReadError> {
        let mut stuck = false;
        for (arn, letters) in by_destination(lane, letters) {
            if stuck {
                letters.iter().for_each(|letter| lane.again(letter.key, Timestamp(0), None));
                continue;
            }
            let outcomes = self.hand_over(lane, &arn, &letters)?;
            // Where order counts, a failed event that is retried blocks the following ones, even if their
            // destinations differ.
            stuck = lane.parallel() == 1
                && (outcomes.len() < letters.len() || outcomes.iter().any(|(_, outcome)| comes_again(outcome)));
            self.settle(lane, parcels, &letters, outcomes);
        }
        Ok(())
    }

    fn hand_over(&mut self, lane: &Lane, arn: &str, letters: &[ShapedEvent]) -> Result<Outcomes, ReadError> {
        let registry = self.courier.registry();
        let courier = self.courier.clone();
        Ok(match (&mut self.carrier, Destination::of(arn)) {
            (LocalTarget::Function(_, function), _) => call(&mut turn(function), lane.parallel() == 1, letters),
            (LocalTarget::Players(postman), destination) => to_players(&mut turn(postman), &destination, letters),
            (LocalTarget::Own(..), Destination::Queue(queue)) => to_queue(&courier, lane, &registry, &queue, letters),
            (LocalTarget::Own(..), Destination::LogGroup(group)) => {
                to_log_group(&courier, lane, &registry, &group, letters)
            }
            (LocalTarget::Own(client, _), Destination::Bus(bus)) => {
                buses::to_bus(&courier, lane, client, &registry, &bus, letters)?
            }
            (LocalTarget::Own(client, _), _) if arn == PUT_EVENTS => {
                buses::to_buses(&courier, lane, client, &registry, letters)
            }
            (LocalTarget::Own(client, answered), Destination::Capture) => {
                let fresh_from = (lane.id().subscriber == Subscriber::Commands).then_some(self.opened_at);
                let answered = answered.get();
                CaptureService { client, courier: &courier, answered, stop: &self.stop, fresh_from }
                    .carry_out(letters)
            }
            (LocalTarget::Own(..), _) => {
                all(letters, &Err(Failed::permanently(FailureCode::NoResource, format!("nothing here is {arn}"))))
            }
        })
    }

    fn settle(&self, lane: &Lane, parcels: &[Pending], letters: &[ShapedEvent], outcomes: Outcomes) {
        let courier = &self.courier;
        let delivered: Vec<EventKey> =
            outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(key, _)| *key).collect();
        courier.delivered(lane, &delivered);
        // Events that were taken but not tried, because an earlier one failed.
        if outcomes.len() < letters.len() {
            let tried: HashSet<EventKey> = outcomes.iter().map(|(key, _)| *key).collect();
            let untried = letters.iter().map(|letter| letter.key).filter(|key| !tried.contains(key));
            untried.for_each(|key| lane.again(key, Timestamp(0), None));
        }
        for (key, outcome) in outcomes {
            let Err(failed) = outcome else { continue };
            if failed.code == FailureCode::Stopped {
                lane.again(key, Timestamp(0), None);
                continue;
            }
            let parcel = parcels.iter().find(|parcel| parcel.key == key).expect("letters are made from parcels");
            let letter = letters.iter().find(|letter| letter.key == key);
            courier.failed(lane, parcel, letter.map(|letter| &letter.event), &failed);
        }
    }
}

fn comes_again(outcome: &Result<(), Failed>) -> bool {
    outcome.as_ref().is_err_and(|failed| failed.retriable)
}

/// The failure of a user function that panicked; the panic does not end the thread.
pub fn panicked(why: &str) -> Failed {
    Failed::for_now(FailureCode::ErrorFromTarget, format!("it panicked: {why}"))
}

/// Calls a function for each event, in order; if order counts, it stops after the first event that will be retried.
pub fn call(function: &mut Function, in_order: bool, letters: &[ShapedEvent]) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for letter in letters {
        let outcome = caught(|| function(letter)).unwrap_or_else(|why| Err(panicked(&why)));
        let comes_again = outcome.as_ref().is_err_and(|failed| failed.retriable);
        outcomes.push((letter.key, outcome));
        if comes_again && in_order {
            break;
        }
    }
    outcomes
}

fn all(letters: &[ShapedEvent], outcome: &Result<(), Failed>) -> Outcomes {
    letters.iter().map(|letter| (letter.key, outcome.clone())).collect()
}

/// A batch that marks events as delivered. The event is written to its queue or log in the same batch, so it is
/// delivered exactly once.
fn delivering(lane: &Lane, letters: &[ShapedEvent]) -> (Vec<EventKey>, Batch) {
    let (keys, mut batch) = (letters.iter().map(|letter| letter.key).collect::<Vec<_>>(), Batch::default());
    lane.deliver(&keys, &mut batch);
    (keys, batch)
}

fn to_queue(courier: &Dispatcher, lane: &Lane, registry: &Registry, name: &str, letters: &[ShapedEvent]) -> Outcomes {
    let Some(queue) = registry.queues.get(name) else {
        let missing = Failed::permanently(FailureCode::NoResource, format!("there is no queue {name}"));
        return all(letters, &Err(missing));
    };
    let target = lane.target();
    let message = |letter: &ShapedEvent| {
        let new = message(letter.target.as_ref().unwrap_or(&target), &letter.body);
        let id = is_fifo(name).then(|| deduplication_id(lane, queue, letter, &new));
        let trace_header = new.trace_header.or_else(|| letter.trace.clone());
        let deduplicate_in_group = queue.deduplicates_in_group();
        NewMessage { deduplication_id: id, deduplicate_in_group, trace_header, ..new }
    };
    let messages = letters.iter().map(message).collect();
    let (keys, batch) = delivering(lane, letters);
    let sent = courier.queues.enqueue(name, messages, batch, false, courier.now());
    if sent.is_err() {
        lane.not_delivered(&keys);
    }
    all(letters, &sent.map(drop).map_err(Failed::from))
}

/// The deduplication id of an event: a retry has the same, a replay a different one.
fn deduplication_id(lane: &Lane, queue: &Queue, letter: &ShapedEvent, new: &NewMessage) -> String {
    if let Some(said) = &new.deduplication_id {
        return said.clone();
    }
    match &lane.id().course {
        _ if queue.deduplicates_by_content() => NewMessage::content_id(&new.body),
        Course::Replay(replay) => format!("{}-{replay}", letter.key.id()),
        Course::Live | Course::Redrive => letter.key.id(),
    }
}

pub fn to_players(postman: &mut PlayerSink, destination: &Destination, letters: &[ShapedEvent]) -> Outcomes {
    let mut outcomes = Outcomes::new();
    let (mut addressed, mut keys) = (Vec::new(), Vec::new());
    for letter in letters {
        match addressee(destination, &letter.event) {
            Ok(player) => {
                addressed.push(PlayerMessage { player, body: letter.body.clone() });
                keys.push(letter.key);
            }
            Err(why) => outcomes.push((letter.key, Err(Failed::permanently(FailureCode::InvalidParameter, why)))),
        }
    }
    let answered = caught(|| postman(&addressed));
    let answered = answered.unwrap_or_else(|why| addressed.iter().map(|_| Some(Err(panicked(&why)))).collect());
    let tried = keys.into_iter().zip(answered);
    outcomes.extend(tried.filter_map(|(key, outcome)| Some((key, outcome?))));
    outcomes
}

/// The player an event is for.
pub fn addressee(destination: &Destination, event: &str) -> Result<PlayerName, String> {
    #[derive(Deserialize)]
    struct Event {
        detail: Detail,
    }
    #[derive(Deserialize)]
    struct Detail {
        player: String,
    }
    let name = match destination {
        Destination::Player(name) => name.clone(),
        _ => typed::from_str::<Event>(event).map_err(|_| "detail.player names nobody".to_owned())?.detail.player,
    };
    PlayerName::new(&name).map_err(|error| format!("detail.player: {error}"))
}

/// Appends a line per event to the stream of its rule, with the time of delivery (the event's own time is in the
/// line).
fn to_log_group(
    courier: &Dispatcher,
    lane: &Lane,
    registry: &Registry,
    group: &str,
    letters: &[ShapedEvent],
) -> Outcomes {
    let Some(held) = registry.log_groups.get(group) else {
        let missing = Failed::permanently(FailureCode::NoResource, format!("there is no log group {group}"));
        return all(letters, &Err(missing));
    };
    let now = courier.wall();
    let lines: Vec<(u64, &str)> = letters.iter().map(|letter| (now.0 / 1_000_000, &*letter.body)).collect();
    let stream = format!("{}/{}", lane.id().subscriber.bus(), lane.id().subscriber.rule());
    let (keys, batch) = delivering(lane, letters);
    let written = courier.logs.append_with(
        LogGroupName(group),
        LogStreamName(&stream),
        &lines,
        held.retention_days,
        batch,
        false,
        now,
    );
    if written.is_err() {
        lane.not_delivered(&keys);
    }
    all(letters, &written.map_err(|error| Failed::for_now(FailureCode::InternalError, error.to_string())))
}
