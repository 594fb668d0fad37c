//! A hundred thousand players throw at one creature: exactly one has it. This is the client of an event loop: it
//! submits under tokens, and polls completions; one thread is enough. Run it with `cargo run --example crowd`.

#![expect(clippy::print_stdout, reason = "an example talks")]

use fakemon_engine::{
    Attempt, AttemptId, CatchRate, Client, Completion, Engine, FakemonId, Options, Outcome, Place, PlayerName, Spawn,
    SubmitError, Token,
};
use std::error::Error;
use std::time::{Duration, Instant};

const PLAYERS: u64 = 100_000;

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let engine = Engine::open(dir.path(), Options { cores: 1, ..Options::default() })?;
    let sol = Place::from_degrees(40.4168, -3.7038)?;
    let sparkit = engine.spawn(Spawn { catch_rate: Some(CatchRate::ALWAYS), ..Spawn::new("sparkit", sol) })?;

    let (mut client, mut done, start) = (engine.client()?, Vec::new(), Instant::now());
    for number in 0..PLAYERS {
        // Full is an answer: take what came meanwhile, and throw again.
        while let Err(error) = attempt_at(&engine, &mut client, number, sparkit, sol) {
            let SubmitError::Throttled(throttled) = error else { return Err(error.into()) };
            client.wait(&mut done, Duration::from_millis(throttled.retry_after_ms.into()));
        }
    }
    while done.len() < PLAYERS as usize {
        client.wait(&mut done, Duration::from_secs(1));
    }

    let has_it = |completion: &&Completion| matches!(completion, Completion::Decided { decision, .. } if decision.outcome == Outcome::Captured);
    let winners: Vec<Token> = done.iter().filter(has_it).map(Completion::token).collect();
    println!("{PLAYERS} players, {:.1?}: player {} has it", start.elapsed(), winners[0].0);
    assert_eq!(winners.len(), 1);
    Ok(())
}

fn attempt_at(
    engine: &Engine,
    client: &mut Client,
    number: u64,
    at: FakemonId,
    place: Place,
) -> Result<(), SubmitError> {
    let name = PlayerName::new(&format!("player {number}")).expect("a short name");
    let player = client.register(&name)?;
    let (attempt_id, received_at) = (AttemptId(1), engine.now());
    client.attempt(Token(number), Attempt { player, attempt_id, fakemon_id: at, place, received_at })
}
