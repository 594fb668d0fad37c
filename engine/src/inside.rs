//! Deliveries that stay inside of this process: to queues, log groups, other buses, the capture service, and functions
//! of the program that embeds the engine. One thread for all but functions, which have one each: what they do nobody
//! knows.

use crate::bus::resource::{Queue, Target};
use crate::bus::{Destination, GAME_BUS, NewEvent, Registry};
use crate::client::Client;
use crate::command::{Attempt, Completion, SpawnError, SubmitError};
use crate::delivery::commands::{self, Command};
use crate::delivery::{Courier, Course, Failed, Lane, Letter, Parcel, by_destination};
use crate::envelope::{COMMAND_REFUSED, EventKey, REGION, SOURCE_CAPTURE};
use crate::failure::Failure;
use crate::ids::{Position, Timestamp, Token};
use crate::journal::{Batch, ReadError};
use crate::limits::PUT_BYTES_MAX;
use crate::model::{Decision, PlayerName};
use crate::queue::{NewMessage, is_fifo};
use crate::schedule::{Entry, PUT_EVENTS, entries};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Events of one lane that are delivered at once.
const LETTERS_MAX: usize = 256;
/// How long it sleeps when nobody wakes it.
const IDLE: Duration = Duration::from_millis(200);
/// The code of what did not happen because the engine stops: it does not count as an attempt.
pub(crate) const STOPPED: &str = "STOPPED";
/// The code of a command that makes no sense.
const INVALID_COMMAND: &str = "INVALID_COMMAND";
/// How often rules may hand an event on from bus to bus: rules that feed each other end here.
pub(crate) const HOPS_MAX: u8 = 8;

/// What became of each event.
pub(crate) type Outcomes = Vec<(EventKey, Result<(), Failed>)>;

/// What a function says of an event.
pub type Function = Box<dyn FnMut(&Letter) -> Result<(), Failed> + Send>;

/// An event for a player.
#[derive(Clone, Debug)]
pub struct PlayerLetter {
    /// Whom it is for.
    pub player: PlayerName,
    /// What the target's input settings make of the event.
    pub body: Arc<str>,
}

/// Brings events to players, in order; an outcome for each, none for one that was not tried, because one before it for the
/// same player comes again.
pub type Postman = Box<dyn FnMut(&[PlayerLetter]) -> Vec<Option<Result<(), Failed>>> + Send>;

/// Hears how throws ended that came as events.
pub type Answered = Box<dyn Fn(&PlayerName, &Decision) + Send + Sync>;

pub(crate) enum Carrier {
    /// Everything inside but functions and players.
    Own(Box<Client>, Arc<OnceLock<Answered>>),
    /// To players.
    Players(Shared<Postman>),
    /// A function, by name.
    Function(String, Shared<Function>),
}

/// What lanes and pipes call, one at a time.
pub(crate) type Shared<T> = Arc<Mutex<T>>;

/// The turn of whoever calls it now.
pub(crate) fn turn<T>(shared: &Shared<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct Inside {
    pub(crate) courier: Courier,
    pub(crate) carrier: Carrier,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) failure: Arc<Failure>,
}

impl Inside {
    /// Delivers until told to stop.
    pub(crate) fn run(mut self) {
        let own = std::thread::current();
        self.courier.lanes().on_work(move || own.unpark());
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
            (Carrier::Function(name, _), Destination::Function(named)) => *name == named,
            (Carrier::Players(_), Destination::Players | Destination::Player(_)) => true,
            (Carrier::Function(..) | Carrier::Players(_), _) => false,
            (Carrier::Own(..), Destination::Function(_) | Destination::Players | Destination::Player(_)) => false,
            (Carrier::Own(..), destination) => !destination.is_outside(),
        }
    }

    fn patience(&self) -> Duration {
        let now = self.courier.now();
        let lanes = self.courier.lanes().of_rules();
        let due = lanes.iter().filter(|lane| self.is_ours(lane)).filter_map(|lane| lane.due_at()).min();
        due.map_or(IDLE, |due| Duration::from_nanos(due.ns_since(now)).min(IDLE))
    }

    /// Gives each lane a turn; whether any had something.
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

    fn deliver(&mut self, lane: &Lane, parcels: &[Parcel], letters: Vec<Letter>) -> Result<(), ReadError> {
        let mut stuck = false;
        for (arn, letters) in by_destination(lane, letters) {
            if stuck {
                letters.iter().for_each(|letter| lane.again(letter.key, Timestamp(0), None));
                continue;
            }
            let outcomes = self.hand_over(lane, &arn, &letters)?;
            // Where order counts, nothing overtakes what comes again, wherever that goes.
            stuck = lane.parallel() == 1
                && (outcomes.len() < letters.len() || outcomes.iter().any(|(_, outcome)| comes_again(outcome)));
            self.settle(lane, parcels, &letters, outcomes);
        }
        Ok(())
    }

    fn hand_over(&mut self, lane: &Lane, arn: &str, letters: &[Letter]) -> Result<Outcomes, ReadError> {
        let registry = self.courier.registry();
        let courier = self.courier.clone();
        Ok(match (&mut self.carrier, Destination::of(arn)) {
            (Carrier::Function(_, function), _) => call(&mut turn(function), lane.parallel() == 1, letters),
            (Carrier::Players(postman), destination) => to_players(&mut turn(postman), &destination, letters),
            (Carrier::Own(..), Destination::Queue(queue)) => to_queue(&courier, lane, &registry, &queue, letters),
            (Carrier::Own(..), Destination::LogGroup(group)) => {
                to_log_group(&courier, lane, &registry, &group, letters)
            }
            (Carrier::Own(client, _), Destination::Bus(bus)) => to_bus(&courier, client, &registry, &bus, letters)?,
            (Carrier::Own(client, _), _) if arn == PUT_EVENTS => to_buses(client, &registry, letters),
            (Carrier::Own(client, answered), Destination::Capture) => {
                to_capture(client, answered, letters, &self.stop, courier.now())
            }
            (Carrier::Own(..), _) => {
                all(letters, &Err(Failed::permanently("UNSUPPORTED_TARGET", format!("nothing here is {arn}"))))
            }
        })
    }

    fn settle(&self, lane: &Lane, parcels: &[Parcel], letters: &[Letter], outcomes: Outcomes) {
        let courier = &self.courier;
        let delivered: Vec<EventKey> =
            outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(key, _)| *key).collect();
        courier.delivered(lane, &delivered);
        // What was taken and not tried, because it comes after what failed.
        if outcomes.len() < letters.len() {
            let tried: HashSet<EventKey> = outcomes.iter().map(|(key, _)| *key).collect();
            let untried = letters.iter().map(|letter| letter.key).filter(|key| !tried.contains(key));
            untried.for_each(|key| lane.again(key, Timestamp(0), None));
        }
        for (key, outcome) in outcomes {
            let Err(failed) = outcome else { continue };
            if failed.code == STOPPED {
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

/// Calls a function for each event, in order; after one that comes again nothing behind it, if order counts.
pub(crate) fn call(function: &mut Function, in_order: bool, letters: &[Letter]) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for letter in letters {
        let outcome = function(letter);
        let comes_again = outcome.as_ref().is_err_and(|failed| failed.retriable);
        outcomes.push((letter.key, outcome));
        if comes_again && in_order {
            break;
        }
    }
    outcomes
}

fn all(letters: &[Letter], outcome: &Result<(), Failed>) -> Outcomes {
    letters.iter().map(|letter| (letter.key, outcome.clone())).collect()
}

fn to_queue(courier: &Courier, lane: &Lane, registry: &Registry, name: &str, letters: &[Letter]) -> Outcomes {
    let Some(queue) = registry.queues.get(name) else {
        let missing = Failed::permanently("RESOURCE_NOT_FOUND", format!("there is no queue {name}"));
        return all(letters, &Err(missing));
    };
    let target = lane.target();
    let group = |target: &Target| {
        target.given.get("SqsParameters").and_then(|given| given["MessageGroupId"].as_str()).map(str::to_owned)
    };
    let message = |letter: &Letter| NewMessage {
        body: letter.body.to_string(),
        group: group(letter.target.as_ref().unwrap_or(&target)),
        deduplication_id: is_fifo(name).then(|| deduplication_id(lane, queue, letter)),
        deduplicate_in_group: queue.deduplicates_in_group(),
        ..NewMessage::default()
    };
    let messages = letters.iter().map(message).collect();
    let sent = courier.queues.enqueue(name, messages, Batch::default(), false, courier.now());
    all(letters, &sent.map(drop).map_err(|error| Failed::for_now("QUEUE_ERROR", error.to_string())))
}

/// An event that is delivered again is the same message; one that is replayed is another.
fn deduplication_id(lane: &Lane, queue: &Queue, letter: &Letter) -> String {
    match &lane.id().course {
        _ if queue.deduplicates_by_content() => NewMessage::content_id(&letter.body),
        Course::Replay(replay) => format!("{}-{replay}", letter.key.id()),
        Course::Live | Course::Redrive => letter.key.id(),
    }
}

pub(crate) fn to_players(postman: &mut Postman, destination: &Destination, letters: &[Letter]) -> Outcomes {
    let mut outcomes = Outcomes::new();
    let (mut addressed, mut keys) = (Vec::new(), Vec::new());
    for letter in letters {
        match addressee(destination, &letter.event) {
            Ok(player) => {
                addressed.push(PlayerLetter { player, body: letter.body.clone() });
                keys.push(letter.key);
            }
            Err(why) => outcomes.push((letter.key, Err(Failed::permanently("NO_PLAYER", why)))),
        }
    }
    let tried = keys.into_iter().zip(postman(&addressed));
    outcomes.extend(tried.filter_map(|(key, outcome)| Some((key, outcome?))));
    outcomes
}

/// Whom an event is for.
pub(crate) fn addressee(destination: &Destination, event: &str) -> Result<PlayerName, String> {
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
        _ => serde_json::from_str::<Event>(event).map_err(|_| "detail.player names nobody".to_owned())?.detail.player,
    };
    PlayerName::new(&name).map_err(|error| format!("detail.player: {error}"))
}

/// A line per event, of the moment of its delivery (its own time is in it), in the stream of its rule.
fn to_log_group(courier: &Courier, lane: &Lane, registry: &Registry, group: &str, letters: &[Letter]) -> Outcomes {
    let Some(held) = registry.log_groups.get(group) else {
        let missing = Failed::permanently("RESOURCE_NOT_FOUND", format!("there is no log group {group}"));
        return all(letters, &Err(missing));
    };
    let now = courier.now();
    let lines: Vec<(u64, &str)> = letters.iter().map(|letter| (now.0 / 1_000_000, &*letter.body)).collect();
    let stream = format!("{}/{}", lane.id().bus, lane.id().rule);
    let written = courier.logs.append(group, &stream, &lines, held.retention_days, false, now);
    all(letters, &written.map_err(|error| Failed::for_now("LOG_GROUP_ERROR", error.to_string())))
}

#[derive(Deserialize)]
struct Envelope<'a> {
    source: String,
    #[serde(rename = "detail-type")]
    detail_type: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(borrow)]
    detail: &'a RawValue,
    region: String,
    time: String,
}

fn to_bus(
    courier: &Courier,
    client: &mut Client,
    registry: &Registry,
    bus: &str,
    letters: &[Letter],
) -> Result<Outcomes, ReadError> {
    if !registry.buses.contains_key(bus) {
        let missing = Failed::permanently("RESOURCE_NOT_FOUND", format!("there is no event bus {bus}"));
        return Ok(all(letters, &Err(missing)));
    }
    let mut hops = HashMap::new();
    let mut keys: Vec<EventKey> = letters.iter().map(|letter| letter.key).collect();
    keys.sort_unstable();
    courier.events.read(&keys, &mut |key, _, _, event| {
        hops.insert(key, commands::hops(event));
    })?;
    let mut outcomes = Vec::with_capacity(letters.len());
    let mut events = Vec::new();
    for letter in letters {
        let hops = hops.get(&letter.key).copied().unwrap_or_default();
        let event = match serde_json::from_str::<Envelope<'_>>(&letter.body) {
            Ok(_) if hops >= HOPS_MAX => {
                let message = format!("rules handed it from bus to bus {hops} times: do they feed each other?");
                Err(Failed::permanently("TOO_MANY_HOPS", message))
            }
            Ok(envelope) => Ok(envelope),
            Err(error) => Err(Failed::permanently("INVALID_INPUT", format!("no event: {error}"))),
        };
        match event {
            Ok(envelope) => {
                let time = envelope.time.parse::<jiff::Timestamp>().ok();
                let time = time.and_then(|time| u64::try_from(time.as_nanosecond()).ok()).map(Timestamp);
                events.push(NewEvent {
                    bus: bus.to_owned(),
                    source: envelope.source,
                    detail_type: envelope.detail_type,
                    detail: envelope.detail.get().to_owned(),
                    resources: envelope.resources,
                    time,
                    region: envelope.region,
                    cause: Some(letter.key.position()),
                    hops: hops + 1,
                });
                outcomes.push((letter.key, Ok(())));
            }
            Err(failed) => outcomes.push((letter.key, Err(failed))),
        }
    }
    // In pieces that can be put at once; what comes behind one that cannot be put now was not tried.
    let mut pieces = Vec::new();
    let mut bytes = PUT_BYTES_MAX;
    for event in events {
        bytes += event.bytes();
        if bytes > PUT_BYTES_MAX / 2 {
            pieces.push(Vec::new());
            bytes = event.bytes();
        }
        pieces.last_mut().expect("one was just made").push(event);
    }
    for piece in pieces {
        let keys: Vec<Option<Position>> = piece.iter().map(|event| event.cause).collect();
        let Err(error) = put(client, piece) else { continue };
        let failed = match error {
            SubmitError::Stopped => Failed::for_now(STOPPED, error.to_string()),
            SubmitError::TooLarge => Failed::permanently("INVALID_INPUT", error.to_string()),
            _ => Failed::for_now("THROTTLED", error.to_string()),
        };
        let first = keys.first().copied().flatten().unwrap_or_default();
        for (key, outcome) in outcomes.iter_mut().filter(|(key, _)| key.position() >= first) {
            if outcome.is_ok() && keys.contains(&Some(key.position())) {
                *outcome = Err(failed.clone());
            }
        }
        let last = keys.last().copied().flatten().unwrap_or_default();
        outcomes.retain(|(key, _)| key.position() <= last);
        break;
    }
    Ok(outcomes)
}

/// Requests `PutEvents`: all entries of one at once, so that one that comes again comes again as a whole.
fn to_buses(client: &mut Client, registry: &Registry, letters: &[Letter]) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for letter in letters {
        let outcome = put_entries(client, registry, letter);
        let stuck = comes_again(&outcome);
        outcomes.push((letter.key, outcome));
        if stuck {
            break;
        }
    }
    outcomes
}

fn put_entries(client: &mut Client, registry: &Registry, letter: &Letter) -> Result<(), Failed> {
    let invalid = |why: String| Failed::permanently("INVALID_INPUT", why);
    let entries = entries(&letter.body).map_err(|error| invalid(error.to_string()))?;
    if let Some(entry) = entries.iter().find(|entry| !registry.buses.contains_key(entry.bus())) {
        return Err(Failed::permanently("RESOURCE_NOT_FOUND", format!("there is no event bus {}", entry.bus())));
    }
    let event = |entry: Entry| NewEvent {
        bus: entry.bus().to_owned(),
        source: entry.source,
        detail_type: entry.detail_type,
        detail: entry.detail,
        resources: entry.resources,
        time: None,
        region: REGION.into(),
        cause: Some(letter.key.position()),
        hops: 1,
    };
    put(client, entries.into_iter().map(event).collect()).map_err(|error| match error {
        SubmitError::Stopped => Failed::for_now(STOPPED, error.to_string()),
        SubmitError::TooLarge => invalid(error.to_string()),
        _ => Failed::for_now("THROTTLED", error.to_string()),
    })
}

/// Puts events and waits until they are durable.
pub(crate) fn put(client: &mut Client, events: Vec<NewEvent>) -> Result<(), SubmitError> {
    client.put(Token(0), events)?;
    let mut completions = Vec::new();
    while completions.is_empty() {
        if client.is_stopped() {
            return Err(SubmitError::Stopped);
        }
        client.wait(&mut completions, IDLE);
    }
    Ok(())
}

/// Carries out commands in their order and waits for what became of them. That a throw was decided is enough: how,
/// stands in its own event. Throws overtake spawns on their way to the shards, so neither goes while the other waits.
pub(crate) fn to_capture(
    client: &mut Client,
    answered: &OnceLock<Answered>,
    letters: &[Letter],
    stop: &AtomicBool,
    now: Timestamp,
) -> Outcomes {
    let mut outcomes: HashMap<u64, Result<(), Failed>> = HashMap::new();
    let mut waiting = Waiting { commands: HashMap::new(), answered: answered.get() };
    let (mut spawns, mut tried) = (false, letters.len());
    for (token, letter) in (0..).zip(letters) {
        let command = match Command::read(&letter.body, letter.key) {
            Ok(command) => command,
            Err(why) => {
                outcomes.insert(token, Err(Failed::permanently(INVALID_COMMAND, why)));
                continue;
            }
        };
        let is_spawn = matches!(command, Command::Spawn(_));
        if is_spawn != spawns {
            settle(client, &mut waiting, &mut outcomes, stop);
            spawns = is_spawn;
        }
        let player = match &command {
            Command::Attempt { player, .. } => Some(player.clone()),
            Command::Spawn(_) => None,
        };
        match submit(client, Token(token), command, now) {
            Ok(()) => drop(waiting.commands.insert(token, player)),
            Err(failed) => {
                let comes_again = failed.retriable;
                outcomes.insert(token, Err(failed));
                if comes_again {
                    tried = token as usize + 1; // what comes behind it must not overtake it
                    break;
                }
            }
        }
    }
    settle(client, &mut waiting, &mut outcomes, stop);
    let letters = &letters[..tried];
    say_refused(client, letters, &outcomes);
    let unknown = || Err(Failed::for_now(STOPPED, "the engine is stopping"));
    let outcome = |(token, letter): (u64, &Letter)| (letter.key, outcomes.remove(&token).unwrap_or_else(unknown));
    (0..).zip(letters).map(outcome).collect()
}

/// A command that makes no sense has no result; that it was refused, and why, is an event of its own.
fn say_refused(client: &mut Client, letters: &[Letter], outcomes: &HashMap<u64, Result<(), Failed>>) {
    let refused = |(token, letter): (u64, &Letter)| {
        let failed = outcomes.get(&token)?.as_ref().err().filter(|failed| failed.code == INVALID_COMMAND)?;
        let mut detail = json!({ "event_id": letter.key.id(), "reason": failed.message });
        if let Ok(player) = addressee(&Destination::Players, &letter.event) {
            detail["player"] = player.as_str().into();
        }
        Some(NewEvent {
            bus: GAME_BUS.into(),
            source: SOURCE_CAPTURE.into(),
            detail_type: COMMAND_REFUSED.into(),
            detail: detail.to_string(),
            resources: Vec::new(),
            time: None,
            region: REGION.into(),
            cause: Some(letter.key.position()),
            hops: 0,
        })
    };
    let events: Vec<NewEvent> = (0..).zip(letters).filter_map(refused).collect();
    if !events.is_empty()
        && let Err(error) = put(client, events)
    {
        tracing::warn!("that commands were refused is not on the bus: {error}");
    }
}

/// Commands on their way, with whose throw each is; and who wants to hear of answers.
struct Waiting<'a> {
    commands: HashMap<u64, Option<PlayerName>>,
    answered: Option<&'a Answered>,
}

/// Waits for commands.
fn settle(
    client: &mut Client,
    waiting: &mut Waiting<'_>,
    outcomes: &mut HashMap<u64, Result<(), Failed>>,
    stop: &AtomicBool,
) {
    let mut completions = Vec::new();
    while !waiting.commands.is_empty() && !client.is_stopped() && !stop.load(Ordering::SeqCst) {
        client.wait(&mut completions, IDLE);
        for completion in completions.drain(..) {
            let (token, outcome) = match completion {
                Completion::Decided { token, decision, .. } => {
                    let player = waiting.commands.get(&token.0).and_then(Option::as_ref);
                    player.zip(waiting.answered).into_iter().for_each(|(player, hears)| hears(player, &decision));
                    (token, Ok(()))
                }
                // An id that was chosen by the event itself is taken because the event was carried out before.
                Completion::Spawned { token, result: Ok(_) | Err(SpawnError::IdTaken(_)) } => (token, Ok(())),
                Completion::Spawned { token, result: Err(error) } => {
                    (token, Err(Failed::permanently(INVALID_COMMAND, error.to_string())))
                }
                Completion::Throttled { token, throttled, .. } => {
                    (token, Err(Failed::for_now("THROTTLED", throttled.to_string())))
                }
                Completion::Written { .. } | Completion::Collection { .. } => continue,
            };
            if waiting.commands.remove(&token.0).is_some() {
                outcomes.insert(token.0, outcome);
            }
        }
    }
}

fn submit(client: &mut Client, token: Token, command: Command, now: Timestamp) -> Result<(), Failed> {
    let submitted = match command {
        Command::Spawn(spawn) => client.spawn(token, &spawn),
        Command::Attempt { player, attempt_id, fakemon_id, place } => client.register(&player).and_then(|player| {
            client.attempt(token, Attempt { player, attempt_id, fakemon_id, place, received_at: now })
        }),
    };
    submitted.map_err(|error| match error {
        SubmitError::Spawn(error) => Failed::permanently(INVALID_COMMAND, error.to_string()),
        SubmitError::Stopped => Failed::for_now(STOPPED, "the engine is stopping"),
        other => Failed::for_now("THROTTLED", other.to_string()),
    })
}
