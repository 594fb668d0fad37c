//! The journal is the database: the world as it was before any event can be looked at, beside the engine that goes
//! on. Run it with `cargo run --example time_travel`.

#![expect(clippy::print_stdout, reason = "an example talks")]

use fakemon_engine::history::archive::Archive;
use fakemon_engine::history::explain::explain;
use fakemon_engine::history::state_at::{Moment, MomentError};
use fakemon_engine::{CatchRate, Engine, Fate, Options, Outcome, Place, Position, Spawn};
use std::error::Error;
use std::ops::ControlFlow;

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let engine = Engine::open(dir.path(), Options { cores: 1, ..Options::default() })?;
    let sol = Place::from_degrees(40.4168, -3.7038)?;
    let sparkit = engine.spawn(Spawn { catch_rate: Some(CatchRate::ALWAYS), ..Spawn::new("sparkit", sol) })?;
    let far = engine.player("ben")?.attempt(sparkit, sol.moved(500.0, 0.0))?.decision()?;
    let won = engine.player("ana")?.attempt(sparkit, sol)?.decision()?;
    assert_eq!((far.outcome, won.outcome), (Outcome::OutOfReach, Outcome::Captured));

    // An archive only reads; it needs no engine, and disturbs none.
    let archive = Archive::open(dir.path())?;
    let before = world_before(&archive, won.position)?;
    let after = world_before(&archive, Position(won.position.0 + 1))?;
    for moment in [&before, &after] {
        let fate = moment.fakemon(sparkit).map(|fakemon| fakemon.fate());
        println!(
            "before position {}: {} attempts, sparkit is {fate:?}",
            moment.position(),
            moment.counters().attempts()
        );
    }
    assert_eq!(before.fakemon(sparkit).map(|fakemon| fakemon.fate()), Some(Fate::Wild));
    assert!(matches!(after.fakemon(sparkit).map(|fakemon| fakemon.fate()), Some(Fate::Captured(_))));

    // And why it ended so.
    let story = explain(&archive, far.position)?;
    println!("ben's attempt, explained: {:?}", story.attempt.outcome);
    assert_eq!(story.attempt.outcome, Outcome::OutOfReach);
    Ok(())
}

/// Every event before `position` happens again; nothing else does.
fn world_before(archive: &Archive, position: Position) -> Result<Moment, MomentError> {
    let mut moment = Moment::beginning(archive)?;
    moment.advance(archive, position, &mut |_| ControlFlow::Continue(()))?;
    Ok(moment)
}
