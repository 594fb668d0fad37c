//! What would have happened? The attempts of a journal, decided again by other settings, by the code that decided
//! them: the same settings give the same outcomes, others show what they change. Run it with `cargo run --example
//! what_if`.

#![expect(clippy::print_stdout, reason = "an example talks")]

use fakemon_engine::history::archive::Archive;
use fakemon_engine::history::what_if::{Comparison, Settings, what_if};
use fakemon_engine::{CatchRate, Engine, Options, Outcome, Place, Spawn};
use std::error::Error;
use std::ops::ControlFlow;

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let options = Options { cores: 1, world_seed: Some(7), ..Options::default() };
    let engine = Engine::open(dir.path(), options)?;

    // A creature that dodges nearly everything, and ten players who throw at it in vain.
    let sol = Place::from_degrees(40.4168, -3.7038)?;
    let catch_rate = Some(CatchRate::from_basis_points(1));
    let slippery = engine.spawn(Spawn { catch_rate, ..Spawn::new("sparkit", sol) })?;
    for number in 0..10 {
        let outcome = engine.player(&format!("player {number}"))?.attempt(slippery, sol)?.wait()?;
        assert_eq!(outcome, Outcome::Dodged);
    }

    let archive = Archive::open(dir.path())?;
    let decide_again = |settings: &Settings| -> Result<Comparison, Box<dyn Error>> {
        let (from, to) = (archive.first_position(), archive.end_position());
        Ok(what_if(&archive, settings, from, to, &mut |_| ControlFlow::Continue(()))?)
    };
    let same = decide_again(&Settings::default())?;
    assert_eq!((same.attempts, same.changed()), (10, 0), "the same settings decide the same");

    let easy = decide_again(&Settings { catch_rate: Some(CatchRate::ALWAYS), ..Settings::default() })?;
    let winner = easy.other_winners[0].would_be.map(|(player, _)| player);
    let winner = winner.and_then(|player| archive.player_name(player));
    println!("had it never dodged: {} attempts end otherwise, and {winner:?} has it", easy.changed());
    assert_eq!((easy.changed(), winner), (10, Some("player 0")), "the first ball catches, the others come too late");
    Ok(())
}
