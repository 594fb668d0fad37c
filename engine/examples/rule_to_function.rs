//! A rule hands the events that match its pattern to a function of this program. Patterns are those of Amazon
//! EventBridge, and so is the event that the function gets. Run it with `cargo run --example rule_to_function`.

#![expect(clippy::print_stdout, reason = "an example talks")]

use fakemon_engine::bus::{Change, Rule, Target};
use fakemon_engine::{Engine, NewEvent, Options};
use std::error::Error;
use std::sync::mpsc;
use std::time::Duration;

const EXPENSIVE: &str = r#"{"source": ["shop"], "detail": {"euros": [{"numeric": [">=", 100]}]}}"#;
const FUNCTION: &str = "arn:aws:fakemon:local:123456789012:function/congratulate";

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let engine = Engine::open(dir.path(), Options { cores: 1, ..Options::default() })?;

    // The function runs on a thread of the engine, one event after the other.
    let (tell, told) = mpsc::channel();
    engine.on_events("congratulate", move |event| {
        tell.send(event.body.to_string()).expect("the example listens");
        Ok(())
    })?;

    // The rule and its target are resources: durable, and checked as a whole before they are.
    engine.change(vec![
        Change::put(Rule::new("default", "expensive", EXPENSIVE)),
        Change::put(Target::new("default", "expensive", "congratulate", FUNCTION)),
    ])?;
    let broken = engine.change(vec![Change::put(Rule::new("default", "broken", r#"{"source": "shop"}"#))]);
    println!("refused: {}", broken.expect_err("a pattern holds lists"));

    let sold = |detail| NewEvent::new("shop", "sold", detail);
    engine.put(vec![sold(r#"{"euros":12}"#), sold(r#"{"euros":240}"#)])?;
    let event = told.recv_timeout(Duration::from_secs(20))?;
    println!("matched: {event}");
    assert!(event.contains(r#""detail":{"euros":240}"#), "the cheap one is not wanted");
    Ok(())
}
