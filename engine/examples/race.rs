//! Two players throw at the same creature at the same moment: one has it, the other is told so, and both answers are
//! on the disk. Run it with `cargo run --example race`.

#![expect(clippy::print_stdout, reason = "an example talks")]

use fakemon_engine::{CatchRate, Engine, Options, Outcome, Place, Spawn};
use std::error::Error;

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?; // a program takes a directory that stays
    let engine = Engine::open(dir.path(), Options { cores: 1, ..Options::default() })?;

    let sol = Place::from_degrees(40.4168, -3.7038)?;
    let sparkit = engine.spawn(Spawn { catch_rate: Some(CatchRate::ALWAYS), ..Spawn::new("sparkit", sol) })?;

    // Both are on their way before either is waited for.
    let (ana, ben) = (engine.player("ana")?, engine.player("ben")?);
    let of_ana = ana.attempt(sparkit, sol.moved(10.0, 5.0))?;
    let of_ben = ben.attempt(sparkit, sol.moved(-20.0, 0.0))?;
    let (of_ana, of_ben) = (of_ana.wait()?, of_ben.wait()?);
    println!("ana: {}, ben: {}", of_ana.name(), of_ben.name());
    assert_eq!((of_ana, of_ben), (Outcome::Captured, Outcome::AlreadyCaptured));

    // An engine that opens again knows who won: nothing was told before it was durable.
    engine.close();
    let engine = Engine::open(dir.path(), Options { cores: 2, ..Options::default() })?;
    let late = engine.player("cleo")?.attempt(sparkit, sol)?.wait()?;
    let owned = engine.player("ana")?.collection()?;
    println!("cleo, after a restart: {}; ana has {}", late.name(), owned[0].species);
    assert_eq!((late, owned.len()), (Outcome::AlreadyCaptured, 1));
    Ok(())
}
