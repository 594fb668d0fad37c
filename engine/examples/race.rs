//! Two players throw at the same fakémon at the same moment: one has it, the other is told so. Run it with
//! `cargo run --example race`, twice: the second time both find out that it is long gone.

#![expect(clippy::print_stdout, reason = "an example talks")]

use fakemon_engine::command::{Attempt, Completion, Spawn};
use fakemon_engine::ids::{AttemptId, FakemonId, Token};
use fakemon_engine::model::PlayerName;
use fakemon_engine::place::Place;
use fakemon_engine::species::CatchRate;
use fakemon_engine::{Client, Engine, Options};
use std::error::Error;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::temp_dir().join("fakemon-race");
    let engine = Engine::open(&dir, Options { cores: 1, ..Options::default() })?;
    let mut client = engine.client()?;

    let sol = Place::from_degrees(40.4168, -3.7038)?;
    let spawn = Spawn {
        fakemon_id: Some(FakemonId(42)),
        species: "sparkit".into(),
        place: sol,
        lifetime_s: Some(3600),
        catch_rate: Some(CatchRate::ALWAYS),
    };
    client.spawn(Token(0), &spawn)?;
    print(&mut client, 1);

    for (token, name) in [(1, "ana"), (2, "ben")] {
        let attempt = Attempt {
            player: client.register(&PlayerName::new(name)?)?,
            attempt_id: AttemptId(engine.now().0), // unique for the player, also when this runs again
            fakemon_id: FakemonId(42),
            place: sol.moved(10.0, 5.0),
            received_at: engine.now(),
        };
        client.attempt(Token(token), attempt)?;
    }
    print(&mut client, 2);

    let ana = engine.find_player(&PlayerName::new("ana")?).ok_or("ana has thrown, so she is known")?;
    client.collection(Token(3), &ana, None)?;
    print(&mut client, 1);
    engine.close();
    Ok(())
}

/// Prints so many completions; each is durable when it comes.
fn print(client: &mut Client, count: usize) {
    let mut completions: Vec<Completion> = Vec::new();
    while completions.len() < count {
        client.wait(&mut completions, Duration::from_secs(1));
    }
    completions.iter().for_each(|completion| println!("{completion:?}"));
}
