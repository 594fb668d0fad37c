//! Events that are commands: attempts and spawns for the capture service.

use super::{IDLE, OnDecision, Outcomes, addressee, buses::put};
use crate::commands::Command;
use crate::{Failed, FailureCode, ShapedEvent};
use fakemon_capture::client::Client;
use fakemon_capture::command::{Attempt, Completion, SpawnError, SubmitError};
use fakemon_model::envelope::{COMMAND_REFUSED, REGION, SOURCE_CAPTURE};
use fakemon_model::event::PlayerName;
use fakemon_model::ids::{Timestamp, Token};
use fakemon_resource::{Destination, GAME_BUS, NewEvent};
use serde_json::json;
use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Carries out commands in their order and waits for their completions. An attempt counts as delivered once it is
/// decided; its outcome is in an event of its own. Attempts can overtake spawns on their way to the shards, so the
/// two kinds are never in flight together.
pub fn to_capture(
    client: &mut Client,
    answered: &OnceLock<OnDecision>,
    letters: &[ShapedEvent],
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
                outcomes.insert(token, Err(Failed::permanently(FailureCode::InvalidParameter, why)));
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
                    tried = token as usize + 1; // later commands must not overtake it
                    break;
                }
            }
        }
    }
    settle(client, &mut waiting, &mut outcomes, stop);
    let letters = &letters[..tried];
    say_refused(client, letters, &outcomes);
    let unknown = || Err(Failed::for_now(FailureCode::Stopped, "the engine is stopping"));
    let outcome =
        |(token, letter): (u64, &ShapedEvent)| (letter.key, outcomes.remove(&token).unwrap_or_else(unknown));
    (0..).zip(letters).map(outcome).collect()
}

/// Puts an event that says why a command was refused; it counts as delivered, because a retry would not help.
fn say_refused(client: &mut Client, letters: &[ShapedEvent], outcomes: &HashMap<u64, Result<(), Failed>>) {
    let refused = |(token, letter): (u64, &ShapedEvent)| {
        let failed =
            outcomes.get(&token)?.as_ref().err().filter(|failed| failed.code == FailureCode::InvalidParameter)?;
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
            by: None,
            origin: None,
            trace: None,
        })
    };
    let events: Vec<NewEvent> = (0..).zip(letters).filter_map(refused).collect();
    if !events.is_empty()
        && let Err(error) = put(client, events)
    {
        tracing::warn!("that commands were refused is not on the bus: {error}");
    }
}

/// Commands in flight, each with the player if it is an attempt; and the callback for answers.
struct Waiting<'a> {
    commands: HashMap<u64, Option<PlayerName>>,
    answered: Option<&'a OnDecision>,
}

/// Waits for the completions of commands.
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
                // An id derived from the event is taken only if the event was already carried out.
                Completion::Spawned { token, result: Ok(_) | Err(SpawnError::IdTaken(_)) } => (token, Ok(())),
                Completion::Spawned { token, result: Err(error) } => {
                    (token, Err(Failed::permanently(FailureCode::InvalidParameter, error.to_string())))
                }
                Completion::Throttled { token, throttled, .. } => {
                    (token, Err(Failed::for_now(FailureCode::Throttling, throttled.to_string())))
                }
                // The attempt was decided already: only its first answer cannot be read.
                Completion::Unreadable { token, .. } => (token, Ok(())),
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
        SubmitError::Spawn(error) => Failed::permanently(FailureCode::InvalidParameter, error.to_string()),
        SubmitError::Stopped => Failed::for_now(FailureCode::Stopped, "the engine is stopping"),
        other => Failed::for_now(FailureCode::Throttling, other.to_string()),
    })
}
