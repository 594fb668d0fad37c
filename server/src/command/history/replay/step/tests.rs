//! Keys in, screens out.

use super::*;
use fakemon_capture::command::{Attempt, Completion, Spawn};
use fakemon_engine::{Engine, Options};
use fakemon_model::event::PlayerName;
use fakemon_model::ids::{AttemptId, Token};
use fakemon_model::place::Place;
use fakemon_model::species::CatchRate;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

/// A journal in which two players try to capture one fakémon, the first one twice.
fn played(dir: &std::path::Path) -> Archive {
    let engine = Engine::open(dir, Options { cores: 1, ..Options::default() }).unwrap();
    let mut client = engine.client().unwrap();
    let mut done: Vec<Completion> = Vec::new();
    let mut settle = |client: &mut fakemon_engine::Client, count: usize| {
        while done.len() < count {
            client.wait(&mut done, Duration::from_secs(10));
        }
        done.clear();
    };
    let place = Place::from_degrees(40.4168, -3.7038).unwrap();
    let (fakemon_id, species) = (FakemonId(42), "sparkit".to_owned());
    let catch_rate = CatchRate::from_fraction(1.0);
    let spawn = Spawn { fakemon_id: Some(fakemon_id), species, place, lifetime_s: None, catch_rate };
    client.spawn(Token(0), &spawn).unwrap();
    settle(&mut client, 1);
    for (name, attempt) in [("ash", 1), ("misty", 1), ("ash", 2)] {
        let player = client.register(&PlayerName::new(name).unwrap()).unwrap();
        let attempt_id = AttemptId(attempt);
        let attempt = Attempt { player, attempt_id, fakemon_id, place, received_at: engine.now() };
        client.attempt(Token(attempt_id.0), attempt).unwrap();
        settle(&mut client, 1);
    }
    drop(client);
    engine.close();
    drop(engine);
    Archive::open(dir).unwrap()
}

/// The position after the last attempt; the engine's own closing event follows it.
fn after_the_last_attempt(archive: &Archive) -> Position {
    let mut after = archive.first_position();
    let mut see = |recorded: &Recorded| {
        if matches!(recorded.event, Event::Attempt(_)) {
            after = Position(recorded.position.0 + 1);
        }
        ControlFlow::Continue(())
    };
    archive.for_each(archive.first_position(), &mut see).unwrap();
    after
}

/// Presses a key that does not end the program.
fn press(stepper: &mut Stepper<'_>, key: KeyCode) {
    assert!(stepper.press(key).unwrap().is_continue());
}

fn screen(stepper: &Stepper<'_>) -> String {
    let mut terminal = Terminal::new(TestBackend::new(140, 40)).unwrap();
    terminal.draw(|frame| screen::draw(frame, stepper)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn keys_go_through_the_journal_forwards_and_backwards() {
    let dir = tempfile::tempdir().unwrap();
    let archive = played(dir.path());
    let (from, to) = (archive.first_position(), after_the_last_attempt(&archive));
    let mut stepper = Stepper::new(&archive, Wild::default(), from, to).unwrap();
    press(&mut stepper, KeyCode::End);
    assert!(screen(&stepper).contains("ash throws at sparkit 42 (throw 2): failed, already_captured"));
    assert!(screen(&stepper).contains("fakémon 42 was not wild"));
    press(&mut stepper, KeyCode::Char('F'));
    assert!(screen(&stepper).contains("misty throws at sparkit 42 (throw 1): failed, already_captured"));
    press(&mut stepper, KeyCode::Char('F'));
    assert!(screen(&stepper).contains("ash throws at sparkit 42 (throw 1): captured"));
    assert!(screen(&stepper).contains("sparkit 42 was wild at 40.4168000, -3.7038000"), "before the capture");
    assert!(screen(&stepper).contains(" 1 wild "), "{}", screen(&stepper));
    press(&mut stepper, KeyCode::Char('p'));
    assert!(screen(&stepper).contains("(throw 2): failed, already_captured"), "the next of ash");
    press(&mut stepper, KeyCode::Char('p'));
    assert!(screen(&stepper).contains("there is no later one"));
    press(&mut stepper, KeyCode::Home);
    assert_eq!((stepper.at, &stepper.wild), (from, &Wild::default()), "all that happened is undone");
    for _ in 0..3 {
        press(&mut stepper, KeyCode::Left);
    }
    assert_eq!(stepper.at, from);
    assert!(stepper.press(KeyCode::Char('q')).unwrap().is_break());
}

#[test]
fn it_plays_to_the_end_and_pauses_there() {
    let dir = tempfile::tempdir().unwrap();
    let archive = played(dir.path());
    let (from, to) = (archive.first_position(), archive.end_position());
    let mut stepper = Stepper::new(&archive, Wild::default(), from, to).unwrap();
    (0..20).for_each(|_| stepper.pace(2.0));
    press(&mut stepper, KeyCode::Char(' '));
    let patience = Instant::now() + Duration::from_secs(30);
    while stepper.plays() {
        assert!(Instant::now() < patience, "it stands at {}", stepper.at);
        stepper.play_on().unwrap();
    }
    assert_eq!(stepper.at.0, to.0 - 1);
    assert!(screen(&stepper).contains("paused"));
}

#[test]
fn it_plays_at_the_pace_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let archive = played(dir.path());
    let (from, to) = (archive.first_position(), after_the_last_attempt(&archive));
    for (speed, shown) in [(None, "· 1×"), (Some(5.0), "· 5×"), (Some(0.0), "· 10000×")] {
        let stepper = Stepper::new(&archive, Wild::default(), from, to).unwrap().at_pace(speed);
        assert!(screen(&stepper).contains(shown), "{speed:?}: {}", screen(&stepper));
    }
}
