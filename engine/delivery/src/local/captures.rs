//! Events that are commands: attempts and spawns for the capture service.

use super::{HOPS_MAX, IDLE, OnDecision, Outcomes, addressee, buses::put};
use crate::commands::{Command, InvalidCommand, field_of, ids_in, is_refusal, spawned_by};
use crate::{Dispatcher, Failed, FailureCode, ShapedEvent};
use fakemon_capture::client::Client;
use fakemon_capture::command::{Attempt, Completion, Spawn, SpawnError, SubmitError};
use fakemon_capture::decision::record;
use fakemon_journal::ReadError;
use fakemon_model::envelope::{COMMAND_REFUSED, EventKey, SOURCE_CAPTURE};
use fakemon_model::event::{Decision, Event, PlayerName};
use fakemon_model::ids::{Ahead, FakemonId, Position, Token};
use fakemon_model::limits::{PUT_BYTES_MAX, PUT_EVENTS_MAX};
use fakemon_resource::descent::Deed;
use fakemon_resource::{Destination, GAME_BUS, NewEvent};
use fakemon_sync::seldom::Seldom;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

/// The most bytes of a message, which may quote what the event says.
const MESSAGE_BYTES_MAX: usize = 1_024;
/// Refusals that are put at once: with their messages less than one put may have.
const TOLD_MAX: usize = 256;
const _: () = assert!(TOLD_MAX <= PUT_EVENTS_MAX && TOLD_MAX * 8 * MESSAGE_BYTES_MAX <= PUT_BYTES_MAX);
/// A fakémon that an event spawned is looked for among this many events after it.
const SPAWNED_WITHIN: u64 = 200_000;

static LOOPS: Seldom = Seldom::new("rules and pipes make commands of what commands led to, again and again");
static UNTOLD: Seldom = Seldom::new("that commands were refused is not on the bus yet");

/// Carries out commands that come as events.
pub struct CaptureService<'a> {
    /// Submits the commands.
    pub client: &'a mut Client,
    /// Reads what the journal says of commands that were carried out before, and counts those that are refused.
    pub courier: &'a Dispatcher,
    /// Hears the answers to attempts.
    pub answered: Option<&'a OnDecision>,
    /// Set when the thread is to end.
    pub stop: &'a AtomicBool,
    /// A spawn from this position on is carried out for the first time; none if any may come again.
    pub fresh_from: Option<Position>,
}

/// Why a command is not carried out.
struct RefusedCommand {
    /// The kind of mistake, as in the metric.
    code: &'static str,
    /// What is wrong, for people.
    message: String,
    /// Which member of the event is wrong.
    field: Option<&'static str>,
    /// Further members of the event.
    more: Map<String, Value>,
}

/// What was submitted and has no completion yet.
enum Submitted {
    Spawn(Spawn, EventKey),
    Attempt(PlayerName, FakemonId),
}

/// Commands of one call.
#[derive(Default)]
struct Turn {
    waiting: HashMap<u64, Submitted>,
    outcomes: HashMap<u64, Result<(), Failed>>,
    refused: HashMap<u64, RefusedCommand>,
}

impl Turn {
    /// Refuses a command for good: a retry would not help.
    fn refuse(&mut self, token: u64, code: &'static str, field: Option<&'static str>, message: String) {
        self.outcomes.insert(token, Err(Failed::permanently(FailureCode::InvalidParameter, message.clone())));
        self.refused.insert(token, RefusedCommand { code, message, field, more: Map::new() });
    }

    /// The command in an event; none if it is refused.
    fn read(&mut self, token: u64, letter: &ShapedEvent, courier: &Dispatcher) -> Option<Command> {
        if is_refusal(&letter.event) {
            let code = "refusal_is_no_command";
            return self.end_loop(token, letter, courier, code, "that a command was refused is never a command");
        }
        if letter.hops >= HOPS_MAX {
            let hops = letter.hops;
            let why = format!(
                "rules and pipes made commands of what commands led to, {hops} times: do they feed each other? \
                 `fakemon rules lint` names them"
            );
            return self.end_loop(token, letter, courier, "too_many_hops", &why);
        }
        match Command::read(&letter.body, letter.key) {
            Ok(command) => Some(command),
            Err(InvalidCommand { code, field, message }) => {
                self.refuse(token, code, Some(field), message);
                None
            }
        }
    }

    /// Refuses a command of a loop. One event says so, at the bound: a rule may make the next command of that, too.
    fn end_loop(
        &mut self,
        token: u64,
        letter: &ShapedEvent,
        courier: &Dispatcher,
        code: &'static str,
        why: &str,
    ) -> Option<Command> {
        LOOPS.say(|| tracing::warn!(event = letter.key.id(), "a command is not carried out: {why}"));
        self.refuse(token, code, None, why.to_owned());
        let is_told = code == "too_many_hops" && letter.hops == HOPS_MAX;
        if !is_told {
            self.refused.remove(&token);
            courier.figures().command_refused(code);
        }
        let failed = Failed::permanently(FailureCode::ThirdAccountHopDetected, why);
        self.outcomes.insert(token, Err(failed));
        None
    }

    fn refuse_spawn(&mut self, token: u64, error: &SpawnError) {
        self.refuse(token, error.code(), Some(field_of(error)), error.to_string());
    }

    /// An attempt id that was used for another fakémon: the attempt has an answer, the first one, and its sender
    /// meant another.
    fn note_used(&mut self, token: u64, first: &Decision) {
        let Decision { attempt_id, fakemon_id, position, .. } = first;
        let message = format!(
            "attempt_id {attempt_id} was used for fakemon_id {fakemon_id}: an attempt that is sent again gets its first \
             answer; give each attempt an id of its own"
        );
        let more = json!({ "attempt_id": attempt_id.to_string(), "fakemon_id": fakemon_id.to_string(),
                           "position": position.to_string() });
        let Value::Object(more) = more else { unreachable!("it is written as an object") };
        let (code, field) = ("attempt_id_used", Some("detail.attempt_id"));
        self.refused.insert(token, RefusedCommand { code, message, field, more });
    }
}

impl CaptureService<'_> {
    /// Carries out commands in their order and waits for their completions. An attempt counts as delivered once it is
    /// decided; its outcome is in an event of its own. Attempts can overtake spawns on their way to the shards, so
    /// the two kinds are never in flight together.
    pub fn carry_out(&mut self, letters: &[ShapedEvent]) -> Outcomes {
        let mut turn = Turn::default();
        let (mut spawns, mut tried) = (false, letters.len());
        for (token, letter) in (0..).zip(letters) {
            let Some(command) = turn.read(token, letter, self.courier) else { continue };
            let is_spawn = matches!(command, Command::Spawn(_));
            if is_spawn != spawns {
                self.settle(&mut turn);
                spawns = is_spawn;
            }
            let submitted = match &command {
                Command::Attempt { player, fakemon_id, .. } => Submitted::Attempt(player.clone(), *fakemon_id),
                Command::Spawn(spawn) => Submitted::Spawn(spawn.clone(), letter.key),
            };
            match self.submit(Token(token), command, self.hops_after(letter)) {
                Ok(()) => drop(turn.waiting.insert(token, submitted)),
                Err(SubmitError::Spawn(error)) => turn.refuse_spawn(token, &error),
                Err(error) => {
                    // Later commands must not overtake it.
                    turn.outcomes.insert(token, Err(for_now(&error)));
                    tried = token as usize + 1;
                    break;
                }
            }
        }
        self.settle(&mut turn);
        let letters = &letters[..tried];
        if let Err(error) = self.say_refused(letters, &turn.refused) {
            // They come again, and are refused again: none goes without a word.
            let again = |token: &u64| drop(turn.outcomes.insert(*token, Err(for_now(&error))));
            turn.refused.keys().for_each(again);
        }
        let unknown = || Err(Failed::for_now(FailureCode::Stopped, "the engine is stopping"));
        let outcome =
            |(token, letter): (u64, &ShapedEvent)| (letter.key, turn.outcomes.remove(&token).unwrap_or_else(unknown));
        (0..).zip(letters).map(outcome).collect()
    }

    /// Puts an event that says why a command was refused; it counts as delivered, because a retry would not help.
    fn say_refused(
        &mut self,
        letters: &[ShapedEvent],
        refused: &HashMap<u64, RefusedCommand>,
    ) -> Result<(), SubmitError> {
        let event = |(token, letter): (u64, &ShapedEvent)| {
            let RefusedCommand { code, message, field, more } = refused.get(&token)?;
            let message = &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)];
            let mut detail = json!({ "event_id": letter.key.id(), "reason": code, "message": message });
            if let Some(field) = field {
                detail["field"] = (*field).into();
            }
            for (name, id) in ids_in(&letter.body) {
                detail[name] = id.to_string().into();
            }
            if let Ok(player) = addressee(&Destination::Players, &letter.event) {
                detail["player"] = player.as_str().into();
            }
            more.iter().for_each(|(name, value)| detail[name] = value.clone());
            let event = NewEvent {
                bus: GAME_BUS.into(),
                cause: Some(letter.key.position()),
                hops: self.hops_after(letter),
                ..NewEvent::new(SOURCE_CAPTURE, COMMAND_REFUSED, &detail.to_string())
            };
            Some((*code, event))
        };
        let events: Vec<(&str, NewEvent)> = (0..).zip(letters).filter_map(event).collect();
        for chunk in events.chunks(TOLD_MAX) {
            let put = put(self.client, chunk.iter().map(|(_, event)| event.clone()).collect());
            put.inspect_err(|error| {
                UNTOLD.say(|| tracing::warn!("that commands were refused is not on the bus yet: {error}"));
            })?;
            chunk.iter().for_each(|(code, _)| self.courier.figures().command_refused(code));
        }
        Ok(())
    }

    /// Waits for the completions of commands.
    fn settle(&mut self, turn: &mut Turn) {
        let mut completions = Vec::new();
        while !turn.waiting.is_empty() && !self.client.is_stopped() && !self.stop.load(Ordering::SeqCst) {
            self.client.wait(&mut completions, IDLE);
            for completion in completions.drain(..) {
                let Some(submitted) = turn.waiting.remove(&completion.token().0) else { continue };
                self.complete(turn, submitted, completion);
            }
        }
    }

    fn complete(&mut self, turn: &mut Turn, submitted: Submitted, completion: Completion) {
        let token = completion.token().0;
        let outcome = match (completion, submitted) {
            (Completion::Decided { decision, .. }, Submitted::Attempt(player, aim)) => {
                if let Some(hears) = self.answered {
                    hears(&player, &decision);
                }
                if decision.fakemon_id != aim {
                    turn.note_used(token, &decision);
                }
                Ok(())
            }
            (Completion::Spawned { result: Ok(_), .. }, _) => Ok(()),
            (Completion::Spawned { result: Err(error), .. }, Submitted::Spawn(spawn, key)) => {
                let before = match error {
                    SpawnError::IdTaken(_) => self.was_carried_out(&spawn, key),
                    _ => Ok(false),
                };
                match before {
                    Ok(true) => Ok(()),
                    Ok(false) => return turn.refuse_spawn(token, &error),
                    Err(error) => Err(Failed::for_now(FailureCode::InternalError, error.to_string())),
                }
            }
            (Completion::Throttled { throttled, .. }, _) => {
                Err(Failed::for_now(FailureCode::Throttling, throttled.to_string()))
            }
            // The attempt was decided already: only its first answer cannot be read.
            (Completion::Unreadable { .. }, _) => Ok(()),
            (
                Completion::Spawned { .. }
                | Completion::Decided { .. }
                | Completion::Written { .. }
                | Completion::Collection { .. },
                submitted,
            ) => return drop(turn.waiting.insert(token, submitted)), // the completion of something else
        };
        turn.outcomes.insert(token, outcome);
    }

    /// Whether a fakémon whose id is taken is the one that this event put into the world, when it was delivered
    /// before. An event that came in since the engine is open was not; of any other the journal says whether such a
    /// fakémon appeared after it.
    fn was_carried_out(&self, spawn: &Spawn, key: EventKey) -> Result<bool, ReadError> {
        if spawn.fakemon_id.and_then(spawned_by) == Some(key.position()) {
            return Ok(true); // an id that is derived from the event is taken only if that was carried out
        }
        if self.fresh_from.is_some_and(|from| key.position() >= from) {
            return Ok(false);
        }
        let (command, events) = (Command::Spawn(spawn.clone()), &self.courier.events);
        let (mut found, until) = (None, key.position().0.saturating_add(SPAWNED_WITHIN));
        events.journal.store()?.blocks(key.position(), &mut |stored| {
            let block = stored.read()?;
            block.for_each(|position, _, event| {
                let is_it = matches!(&event, fakemon_fbs::journal::Event::Appeared(appeared)
                    if Some(FakemonId(appeared.fakemon_id())) == spawn.fakemon_id);
                if is_it && position > key.position().0 {
                    found = Some(record::event(event, Ahead::default()));
                }
            });
            let is_over = found.is_some() || block.head().first_position > until;
            Ok(if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        let Some(appeared) = found else { return Ok(false) };
        let Event::Appeared { species, .. } = appeared else { return Ok(false) };
        Ok(command.leads_to(&appeared, None, Some(&events.world.species_name(species))))
    }

    /// How often rules and pipes handed on what comes of a command: a sender's own command starts at 0.
    fn hops_after(&self, letter: &ShapedEvent) -> u8 {
        let is_senders = self.fresh_from.is_some() && letter.hops == 0;
        if is_senders { 0 } else { letter.hops.saturating_add(1) }
    }

    fn submit(&mut self, token: Token, command: Command, hops: u8) -> Result<(), SubmitError> {
        let descent = &self.courier.events.descent;
        let note = |deed| {
            if hops > 0 {
                descent.note(deed, hops)
            }
        };
        match command {
            Command::Spawn(spawn) => {
                spawn.fakemon_id.into_iter().for_each(|fakemon_id| note(Deed::Spawned(fakemon_id)));
                self.client.spawn(token, &spawn)
            }
            Command::Attempt { player, attempt_id, fakemon_id, place } => {
                let (player, received_at) = (self.client.register(&player)?, self.courier.now());
                note(Deed::Attempted(player.id(), attempt_id));
                self.client.attempt(token, Attempt { player, attempt_id, fakemon_id, place, received_at })
            }
        }
    }
}

fn for_now(error: &SubmitError) -> Failed {
    let code = match error {
        SubmitError::Stopped => return Failed::for_now(FailureCode::Stopped, "the engine is stopping"),
        _ => FailureCode::Throttling,
    };
    Failed::for_now(code, error.to_string())
}
