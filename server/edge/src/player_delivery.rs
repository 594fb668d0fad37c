//! Delivery to players: events for targets whose ARN names players, and results of attempts that came as events, go
//! to all connections of the player. Players who are offline are skipped; on reconnect they resume from the journal.

use crate::{ConnectionCommand, Connections, Said, To};
use fakemon_delivery::{Failed, FailureCode};
use fakemon_engine::{Engine, PlayerMessage};
use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc;

/// Delivers the bus's events for players to their connections from now on.
pub fn deliver(engine: &Engine, switchboard: Connections) {
    let results = switchboard.clone();
    let heard = engine.on_decision(move |player, decision| {
        // The result is an event too: whoever is not here now finds it there.
        results.send(To::Player(player.clone()), ConnectionCommand::Decided(*decision), |_| ());
    });
    let sink = engine.set_player_sink(move |letters| hand_over(&switchboard, letters));
    heard.and(sink).expect("a server sets them once");
}

/// Hands letters to the edge: of each player one at a time, so that none overtakes one that has to come again.
fn hand_over(switchboard: &Connections, letters: &[PlayerMessage]) -> Vec<Option<Result<(), Failed>>> {
    let mut by_player: BTreeMap<&str, VecDeque<usize>> = BTreeMap::new();
    for (index, letter) in letters.iter().enumerate() {
        by_player.entry(letter.player.as_str()).or_default().push_back(index);
    }
    let mut outcomes: Vec<_> = letters.iter().map(|_| None).collect();
    while !by_player.is_empty() {
        let next: Vec<usize> = by_player.values_mut().filter_map(VecDeque::pop_front).collect();
        for (index, said) in say(switchboard, letters, &next) {
            let outcome = outcome(said);
            if outcome.as_ref().is_err_and(|failed| failed.retriable) {
                by_player.remove(letters[index].player.as_str());
            }
            outcomes[index] = Some(outcome);
        }
        by_player.retain(|_, waiting| !waiting.is_empty());
    }
    outcomes
}

/// Says some of the letters at once, and waits until it is done.
fn say(switchboard: &Connections, letters: &[PlayerMessage], which: &[usize]) -> Vec<(usize, Said)> {
    let (tell, told) = mpsc::channel();
    for index in which.iter().copied() {
        let (letter, tell) = (&letters[index], tell.clone());
        let done = move |said| {
            let _ = tell.send((index, said)); // the receiver is gone when the process ends
        };
        switchboard.send(To::Player(letter.player.clone()), ConnectionCommand::Text(letter.body.clone()), done);
    }
    drop(tell);
    told.into_iter().collect()
}

fn outcome(said: Said) -> Result<(), Failed> {
    match said {
        Said { reached: 1.., .. } => Ok(()),
        Said { refused: 1.., .. } => {
            Err(Failed::for_now(FailureCode::Throttling, "the player's connection does not read what it gets"))
        }
        Said { .. } => Err(not_connected()),
    }
}

fn not_connected() -> Failed {
    Failed::permanently(FailureCode::NoResource, "the player has no connection")
}
