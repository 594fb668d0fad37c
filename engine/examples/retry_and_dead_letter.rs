//! A target that fails gets the event again, later and later; what it never takes becomes a dead letter in a queue,
//! with the reason. Nothing is lost without a word. Run it with `cargo run --example retry_and_dead_letter`.

#![expect(clippy::print_stdout, reason = "an example talks")]

use fakemon_engine::bus::{Change, Queue, Retry, Rule, Target};
use fakemon_engine::{Engine, Failed, FailureCode, NewEvent, Options};
use std::error::Error;
use std::sync::mpsc;
use std::time::Duration;

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let engine = Engine::open(dir.path(), Options { cores: 1, ..Options::default() })?;

    let (tell, told) = mpsc::channel();
    let mut is_down = true;
    engine.on_events("till", move |event| {
        tell.send(event.body.to_string()).expect("the example listens");
        match &*event.body {
            r#"{"euros":-1}"# => Err(Failed::permanently(FailureCode::ErrorFromTarget, "nobody sells for less")),
            _ if std::mem::take(&mut is_down) => Err(Failed::for_now(FailureCode::ErrorFromTarget, "out of paper")),
            _ => Ok(()),
        }
    })?;
    let target = Target {
        input_path: Some("$.detail".into()),
        retry: Some(Retry { attempts_max: 3, age_s_max: 3_600 }),
        dead_letter_arn: Some("arn:aws:sqs:local:123456789012:dead".into()),
        ..Target::new("default", "sold", "till", "arn:aws:fakemon:local:123456789012:function/till")
    };
    engine.change(vec![
        Change::put(Queue::new("dead")),
        Change::put(Rule::new("default", "sold", r#"{"source": ["shop"]}"#)),
        Change::put(target),
    ])?;

    let sold = |detail| NewEvent::new("shop", "sold", detail);
    engine.put(vec![sold(r#"{"euros":12}"#), sold(r#"{"euros":-1}"#)])?;
    let calls: Vec<String> = (0..3).map(|_| told.recv_timeout(Duration::from_secs(20))).collect::<Result<_, _>>()?;
    println!("the function was called with {calls:?}");
    assert_eq!(calls, [r#"{"euros":12}"#, r#"{"euros":12}"#, r#"{"euros":-1}"#], "again, and in order");

    let dead = loop {
        // At most one message, hidden from others for 30 s; messages older than an hour go.
        if let Some(dead) = engine.queues().receive("dead", 1, 30, 3_600, None, engine.now())?.pop() {
            break dead;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let why = &dead.message.attributes["ERROR_MESSAGE"].value;
    println!("dead letter: {}, because {why}", dead.message.body);
    assert_eq!(why, "nobody sells for less");
    Ok(())
}
