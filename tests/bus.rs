//! The bus of an embedded engine: resources and events in, deliveries to targets out; across restarts too.

use fakemon_capture::command::{Completion, SubmitError};
use fakemon_delivery::{Failed, FailureCode};
use fakemon_engine::{Client, Engine, Options};
use fakemon_model::ids::{Timestamp, Token};
use fakemon_model::names::ReceiptHandle;
use fakemon_resource::resource::{Bus, Change, Queue, Resource, Rule, RuleState, Tags, Target};
use fakemon_resource::{Destination, NewEvent};
use serde_json::Value;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn open(dir: &Path) -> Engine {
    Engine::open(dir, Options { cores: 1, pin: false, ..Options::default() }).unwrap()
}

fn written(client: &mut Client) {
    let mut done = Vec::new();
    let end = Instant::now() + PATIENCE;
    while !done.iter().any(|completion| matches!(completion, Completion::Written { .. })) {
        assert!(Instant::now() < end, "nothing was written");
        client.wait(&mut done, Duration::from_millis(100));
    }
}

pub(crate) fn change(client: &mut Client, resources: Vec<Resource>) {
    client.change(Token(1), resources.into_iter().map(Change::Put).collect()).unwrap();
    written(client);
}

fn new_event((bus, source, detail_type, detail): &(&str, &str, &str, &str)) -> NewEvent {
    NewEvent {
        bus: (*bus).into(),
        source: (*source).into(),
        detail_type: (*detail_type).into(),
        detail: (*detail).into(),
        resources: Vec::new(),
        time: None,
        region: "local".into(),
        cause: None,
        hops: 0,
        by: None,
        origin: None,
        trace: None,
    }
}

pub(crate) fn put(client: &mut Client, events: &[(&str, &str, &str, &str)]) {
    client.put(Token(2), events.iter().map(new_event).collect()).unwrap();
    written(client);
}

pub(crate) fn rule(bus: &str, name: &str, pattern: &str) -> Resource {
    Resource::Rule(Rule {
        bus: bus.into(),
        name: name.into(),
        pattern: Some(pattern.into()),
        schedule: None,
        state: RuleState::Enabled,
        description: None,
        role_arn: None,
        region: "local".into(),
        created_at: Timestamp(0),
        tags: Tags::new(),
    })
}

pub(crate) fn target(bus: &str, rule: &str, id: &str, arn: &str) -> Target {
    Target {
        bus: bus.into(),
        rule: rule.into(),
        id: id.into(),
        arn: format!("arn:aws:{arn}"),
        input: None,
        input_path: None,
        transformer: None,
        retry: None,
        dead_letter_arn: None,
        http: None,
        given: serde_json::Map::new(),
    }
}

pub(crate) fn queue(name: &str) -> Resource {
    Resource::Queue(Queue {
        name: name.into(),
        attributes: Tags::new(),
        created_at: Timestamp(0),
        modified_at: Timestamp(0),
        tags: Tags::new(),
    })
}

pub(crate) fn bus(name: &str) -> Resource {
    Resource::Bus(Bus {
        name: name.into(),
        description: None,
        policy: None,
        dead_letter_arn: None,
        kept: serde_json::Map::new(),
        created_at: Timestamp(0),
        modified_at: Timestamp(0),
        tags: Tags::new(),
    })
}

/// So many messages of a queue, once they are there.
pub(crate) fn receive(engine: &Engine, queue: &str, count: usize) -> Vec<(Value, fakemon_queue::queue::Message)> {
    let mut received = Vec::new();
    let end = Instant::now() + PATIENCE;
    while received.len() < count {
        assert!(Instant::now() < end, "{} of {count} messages in {queue}", received.len());
        for one in engine.queues().receive(queue, 10, 600, 345_600, None, engine.now()).unwrap() {
            engine.queues().delete(queue, ReceiptHandle(&one.handle), engine.now()).unwrap();
            received.push((serde_json::from_str(&one.message.body).unwrap(), one.message));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    received
}

#[test]
fn events_reach_the_queues_of_rules_that_match_in_order_and_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut client = engine.client().unwrap();
    put(&mut client, &[("default", "shop", "sold", r#"{"unit":0}"#)]); // before there is a rule
    change(
        &mut client,
        vec![
            queue("q"),
            rule("default", "sold", r#"{"source":["shop"],"detail":{"unit":[{"numeric":[">=",0]}]}}"#),
            Resource::Target(target("default", "sold", "t", "sqs:local:123456789012:q")),
            rule("default", "never", r#"{"source":["nobody"]}"#),
            Resource::Target(target("default", "never", "t", "sqs:local:123456789012:q")),
        ],
    );
    let events: Vec<String> = (1..=40).map(|unit| format!(r#"{{"unit":{unit}}}"#)).collect();
    for event in &events[..20] {
        put(&mut client, &[("default", "shop", "sold", event), ("fakemon", "shop", "sold", event)]);
    }
    let first = receive(&engine, "q", 20);
    drop(client);
    engine.close();
    drop(engine);
    let engine = open(dir.path());
    let mut client = engine.client().unwrap();
    assert!(engine.registry().rules.contains_key(&("default".into(), "sold".into())));
    for event in &events[20..] {
        put(&mut client, &[("default", "shop", "sold", event)]);
    }
    let second = receive(&engine, "q", 20);
    let units: Vec<u64> =
        first.iter().chain(&second).map(|(event, _)| event["detail"]["unit"].as_u64().unwrap()).collect();
    assert_eq!(units, (1..=40).collect::<Vec<_>>());
    assert_eq!(first[0].0["detail-type"], "sold");
    assert!(first[0].0["id"].as_str().unwrap().starts_with("66616b65-"));
    client.change(Token(1), vec![Change::Delete("target/default/sold/t".into())]).unwrap();
    written(&mut client);
    put(&mut client, &[("default", "shop", "sold", r#"{"unit":41}"#)]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(engine.queues().counts("q", engine.now()).visible, 0, "the target is gone");
}

#[test]
fn a_command_on_any_bus_reaches_the_capture_service_and_its_result_is_an_event() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut client = engine.client().unwrap();
    change(
        &mut client,
        vec![
            queue("won"),
            queue("tried"),
            rule(
                "fakemon",
                "won",
                r#"{"detail-type":["fakemon.capture_succeeded"],"detail":{"species":["sparkit"]}}"#,
            ),
            Resource::Target(target("fakemon", "won", "t", "sqs:local:123456789012:won")),
            rule(
                "fakemon",
                "tried",
                r#"{"detail-type":["fakemon.capture_attempt"],"detail":{"player":[{"prefix":"a"}]}}"#,
            ),
            Resource::Target(target("fakemon", "tried", "t", "sqs:local:123456789012:tried")),
            bus("game"),
        ],
    );
    // Put together, so that they are executed in one batch: still in their order.
    let spawn = r#"{"fakemon_id":"42","species":"sparkit","lat":1.5,"lon":2.5,"catch_rate":1}"#;
    let attempt = r#"{"player":"ana","attempt_id":"7","fakemon_id":"42","lat":1.5,"lon":2.5}"#;
    put(
        &mut client,
        &[
            ("game", "fakemon.world", "fakemon.spawn", spawn),
            ("default", "fakemon.game", "fakemon.capture_attempt", attempt),
        ],
    );
    let won = receive(&engine, "won", 1).remove(0).0;
    assert_eq!(won["detail"]["player"], "ana");
    assert_eq!(won["detail"]["fakemon_id"], "42");
    let tried = receive(&engine, "tried", 1).remove(0).0;
    assert_eq!(tried["detail"]["attempt_id"], "7");
    assert_eq!(tried["detail"]["position"], won["detail"]["position"]);
    assert_ne!(tried["id"], won["id"]);
}

#[test]
fn a_function_that_panics_is_a_failed_delivery_and_ends_no_thread() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut client = engine.client().unwrap();
    let (tell, told) = mpsc::channel();
    engine
        .on_events("shaky", move |letter| {
            tell.send(letter.body.to_string()).unwrap();
            panic!("not today");
        })
        .unwrap();
    let mut shaky = target("default", "r", "shaky", "fakemon:local:123456789012:function/shaky");
    shaky.retry = Some(fakemon_resource::resource::Retry { attempts_max: 1, age_s_max: 3600 });
    shaky.dead_letter_arn = Some("arn:aws:sqs:local:123456789012:dead".into());
    shaky.input_path = Some("$.detail".into());
    change(&mut client, vec![queue("dead"), rule("default", "r", r#"{"source":["shop"]}"#), Resource::Target(shaky)]);
    put(&mut client, &[("default", "shop", "sold", r#"{"unit":1}"#)]);
    let dead = receive(&engine, "dead", 1);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [r#"{"unit":1}"#; 2]);
    assert_eq!(dead[0].1.attributes["ERROR_MESSAGE"].value, "it panicked: not today");
    assert_eq!(engine.failure(), None);
    engine.close();
}

#[test]
fn what_a_target_cannot_take_is_tried_again_and_then_becomes_a_dead_letter_that_can_be_sent_back() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut client = engine.client().unwrap();
    let (tell, told) = mpsc::channel();
    let works = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let working = works.clone();
    engine
        .on_events("shaky", move |letter| {
            tell.send(letter.body.to_string()).unwrap();
            match working.load(std::sync::atomic::Ordering::SeqCst) {
                true => Ok(()),
                false => Err(Failed::for_now(FailureCode::ErrorFromTarget, "not now")),
            }
        })
        .unwrap();
    let mut shaky = target("default", "r", "shaky", "fakemon:local:123456789012:function/shaky");
    assert_eq!(Destination::of(&shaky.arn), Destination::Function("shaky".into()));
    shaky.retry = Some(fakemon_resource::resource::Retry { attempts_max: 2, age_s_max: 3600 });
    shaky.dead_letter_arn = Some("arn:aws:sqs:local:123456789012:dead".into());
    shaky.input_path = Some("$.detail".into());
    change(
        &mut client,
        vec![
            queue("dead"),
            queue("q"),
            rule("default", "r", r#"{"source":["shop"]}"#),
            Resource::Target(shaky),
            Resource::Target(target("default", "r", "well", "sqs:local:123456789012:q")),
        ],
    );
    put(&mut client, &[("default", "shop", "sold", r#"{"unit":1}"#), ("default", "shop", "sold", r#"{"unit":2}"#)]);
    receive(&engine, "q", 2); // a target that fails delays no other
    let dead = receive(&engine, "dead", 2);
    let tries: Vec<String> = told.try_iter().collect();
    assert_eq!(tries, [r#"{"unit":1}"#; 3].into_iter().chain([r#"{"unit":2}"#; 3]).collect::<Vec<_>>());
    let attributes = &dead[0].1.attributes;
    for (name, expected) in [
        ("RULE_ARN", "arn:aws:events:local:123456789012:rule/r"),
        ("TARGET_ARN", "arn:aws:fakemon:local:123456789012:function/shaky"),
        ("ERROR_CODE", "ERROR_FROM_TARGET"),
        ("ERROR_MESSAGE", "not now"),
        ("EXHAUSTED_RETRY_CONDITION", "MaximumRetryAttempts"),
        ("RETRY_ATTEMPTS", "2"),
    ] {
        assert_eq!(attributes[name].value, expected, "{name}");
    }
    assert_eq!(dead[0].0["detail"]["unit"], 1);
    works.store(true, std::sync::atomic::Ordering::SeqCst);
    engine.courier().redrive(&dead[1].1).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), r#"{"unit":2}"#);
}

#[test]
fn an_embedding_program_says_what_the_engine_says_only_in_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut client = engine.client().unwrap();
    change(&mut client, vec![queue("q"), rule("fakemon", "r", r#"{"source":["fakemon.connection"]}"#)]);
    change(&mut client, vec![Resource::Target(target("fakemon", "r", "q", "sqs:local:123456789012:q"))]);
    let came = |source: &str| new_event(&("fakemon", source, "fakemon.connected", r#"{"player":"ash"}"#));
    for source in ["fakemon.connection", "shop"] {
        let refused = client.put(Token(2), vec![new_event(&("fakemon", "shop", "sold", "{}")), came(source)]);
        assert!(matches!(refused, Err(SubmitError::Reserved(_))), "{source}: {refused:?}");
    }
    assert_eq!(client.in_flight(), 0, "all or nothing");
    client.tell(Token(3), vec![came("fakemon.connection")]).unwrap();
    written(&mut client);
    assert_eq!(receive(&engine, "q", 1)[0].0["detail"]["player"], "ash");
}

#[test]
fn rules_hand_events_to_other_buses_but_not_round_and_round() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut client = engine.client().unwrap();
    change(
        &mut client,
        vec![
            bus("left"),
            bus("right"),
            queue("q"),
            queue("dead"),
            rule("left", "r", r#"{"source":["shop"]}"#),
            Resource::Target(Target {
                dead_letter_arn: Some("arn:aws:sqs:local:123456789012:dead".into()),
                ..target("left", "r", "on", "events:local:123456789012:event-bus/right")
            }),
            rule("right", "r", r#"{"source":["shop"]}"#),
            Resource::Target(target("right", "r", "back", "events:local:123456789012:event-bus/left")),
            Resource::Target(target("right", "r", "q", "sqs:local:123456789012:q")),
        ],
    );
    put(&mut client, &[("left", "shop", "sold", r#"{"unit":1}"#)]);
    let dead = receive(&engine, "dead", 1);
    assert_eq!(dead[0].1.attributes["ERROR_CODE"].value, "THIRD_ACCOUNT_HOP_DETECTED");
    assert_eq!(receive(&engine, "q", 4).len(), 4, "each time round it was on the bus");
}

#[test]
fn a_rule_of_the_clock_feeds_its_own_targets_and_nobody_else_also_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut client = engine.client().unwrap();
    // Rules made by the API are due at the next whole minute at the earliest.
    let second = engine.now().0 / 1_000_000_000 + 2;
    let due = jiff::Timestamp::from_second(i64::try_from(second).unwrap()).unwrap();
    let Resource::Rule(mut clock) = rule("default", "clock", "{}") else { unreachable!() };
    clock.pattern = None;
    clock.schedule = Some(due.strftime("at(%Y-%m-%dT%H:%M:%S)").to_string());
    let off = Rule { name: "off".into(), state: RuleState::Disabled, ..clock.clone() };
    let mut constant = target("default", "clock", "constant", "sqs:local:123456789012:constant");
    constant.input = Some(r#"{"wave":1}"#.into());
    let everything = r#"{"source":[{"anything-but":["fakemon.engine"]}]}"#;
    change(
        &mut client,
        vec![
            queue("whole"),
            queue("constant"),
            queue("others"),
            rule("default", "others", everything),
            Resource::Target(target("default", "others", "t", "sqs:local:123456789012:others")),
            Resource::Rule(clock),
            Resource::Target(target("default", "clock", "whole", "sqs:local:123456789012:whole")),
            Resource::Target(constant),
            Resource::Rule(off),
            Resource::Target(target("default", "off", "t", "sqs:local:123456789012:others")),
        ],
    );
    drop(client);
    engine.close();
    drop(engine);
    let engine = open(dir.path());
    let (whole, _) = receive(&engine, "whole", 1).remove(0);
    assert_eq!(whole["source"], "aws.events");
    assert_eq!((&whole["detail-type"], &whole["detail"]), (&"Scheduled Event".into(), &serde_json::json!({})));
    assert_eq!(whole["resources"], serde_json::json!(["arn:aws:events:local:123456789012:rule/clock"]));
    assert_eq!(whole["time"], Timestamp(second * 1_000_000_000).whole_seconds());
    assert_eq!(receive(&engine, "constant", 1)[0].0, serde_json::json!({ "wave": 1 }));
    let mut client = engine.client().unwrap();
    put(&mut client, &[("default", "shop", "sold", "{}")]);
    assert_eq!(receive(&engine, "others", 1)[0].0["source"], "shop", "a firing is on no bus");
}
