//! What the bus has for players: events of targets whose ARN names players, and how throws ended that came as events, go
//! to all connections of the player. Who is not connected is not waited for: a player who comes back asks the journal.

use crate::edge::{Errand, Said, Switchboard, To};
use fakemon_engine::delivery::Failed;
use fakemon_engine::{Engine, PlayerLetter};
use std::sync::mpsc;

/// From now on players get what the bus has for them.
pub fn deliver(engine: &Engine, switchboard: Switchboard) {
    let results = switchboard.clone();
    engine.on_answers(Box::new(move |player, decision| {
        // The result is an event too: whoever is not here now finds it there.
        results.send(To::Player(player.clone()), Errand::Decided(*decision), |_| ());
    }));
    engine.on_letters(Box::new(move |letters| hand_over(&switchboard, letters)));
}

/// Hands letters to the edge, in order, and waits until it has said them.
fn hand_over(switchboard: &Switchboard, letters: &[PlayerLetter]) -> Vec<Result<(), Failed>> {
    let (tell, told) = mpsc::channel();
    for (index, letter) in letters.iter().enumerate() {
        let tell = tell.clone();
        let done = move |said| {
            let _ = tell.send((index, said)); // nobody listens when the process ends
        };
        switchboard.send(To::Player(letter.player.clone()), Errand::Text(letter.body.clone()), done);
    }
    drop(tell);
    let mut outcomes: Vec<_> = letters.iter().map(|_| Err(not_connected())).collect();
    for (index, said) in told {
        outcomes[index] = outcome(said);
    }
    outcomes
}

fn outcome(said: Said) -> Result<(), Failed> {
    match said {
        Said { reached: 1.., .. } => Ok(()),
        Said { refused: 1.., .. } => {
            Err(Failed::for_now("THROTTLED", "the player's connection does not read what it gets"))
        }
        Said { .. } => Err(not_connected()),
    }
}

fn not_connected() -> Failed {
    Failed::permanently("NOT_CONNECTED", "the player has no connection")
}
