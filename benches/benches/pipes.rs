//! Throughput of a pipe: from queue to queue over a filter, beside a client that does the same; from bus to bus,
//! beside a rule that does the same; and the cost for attempts while a pipe reads each. Medians of several runs.
//!
//! `cargo bench --profile dev --bench pipes`

#![expect(clippy::print_stdout, reason = "the table is the result")]

#[path = "shared/in_process.rs"]
mod in_process;

use fakemon_capture::command::Completion;
use fakemon_engine::{Client, Engine};
use fakemon_model::ids::{Timestamp, Token};
use fakemon_queue::queue::{NewMessage, Settlement};
use fakemon_resource::NewEvent;
use fakemon_resource::resource::{
    Bus, Change, DesiredState, Pipe, PipeChange, Queue, Resource, Rule, RuleState, Tags, Target,
};
use fakemon_workload::Scenario;
use in_process::InProcess;
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

const RUNS: usize = 3;
const MESSAGES: usize = 60_000;
const EVENTS: usize = 100_000;
const ATTEMPTS: u64 = 1_000_000;
const IN_FLIGHT: usize = 16_000;

fn main() {
    let mut runs: Vec<Vec<f64>> = (0..RUNS).map(|_| measure()).collect();
    let mut median = |which: usize| {
        runs.sort_by(|a, b| a[which].total_cmp(&b[which]));
        runs[RUNS / 2][which]
    };
    println!("medians of {RUNS} runs");
    for (name, pipe, hand) in [("10 at once", 0, 1), ("1,000 at once", 2, 3)] {
        println!("queue, filter, queue, {name:<14} {:>9.0} messages/s", median(pipe));
        println!("  beside the same by hand           {:>9.0} messages/s", median(hand));
    }
    println!("bus to bus, a pipe                  {:>9.0} events/s", median(4));
    println!("  beside a rule                     {:>9.0} events/s", median(5));
    println!("throws, no pipe                     {:>9.0} a second", median(6));
    println!("  with a pipe that looks at all     {:>9.0} a second", median(7));
    println!("  with a rule that looks at all     {:>9.0} a second", median(8));
}

fn measure() -> Vec<f64> {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory beside the build");
    let mut game = InProcess::open(&dir.path().join("data"), Scenario::Spread, 1);
    let mut client = game.engine.client().expect("one more client");
    let queues = ["a", "b"].map(|name| Resource::Queue(queue(name)));
    let buses = ["from", "by-pipe", "by-rule"].map(|name| Resource::Bus(bus(name)));
    change(&mut client, queues.into_iter().chain(buses).map(Change::Put).collect());
    let mut figures = Vec::new();
    for size in [10, 1_000] {
        figures.push(queue_to_queue(&game.engine, &mut client, size));
        figures.push(by_hand(&game.engine, size));
    }
    figures.push(bus_to_bus(
        &game.engine,
        &mut client,
        vec![Resource::Pipe(pipe(
            &arn("events", "event-bus/from"),
            &json!({ "KinesisStreamParameters": { "StartingPosition": "LATEST", "BatchSize": 1_000 },
                 "FilterCriteria": filter(&json!({ "source": ["shop"] })) }),
            &arn("events", "event-bus/by-pipe"),
            &json!({ "InputTemplate": "<$.detail>" }),
            &game.engine,
        ))],
    ));
    change(&mut client, vec![Change::Delete("pipe/p".into())]);
    let shop = json!({ "source": ["shop"] });
    figures.push(bus_to_bus(
        &game.engine,
        &mut client,
        rule("from", &shop, &arn("events", "event-bus/by-rule")).into(),
    ));
    change(&mut client, vec![Change::Delete("rule/from/r".into())]);
    figures.push(attempt_at(&mut game));
    let nobody = json!({ "detail": { "player": ["nobody"] } });
    let looks = json!({ "FilterCriteria": filter(&nobody) });
    let looks = pipe(&arn("events", "event-bus/fakemon"), &looks, &arn("sqs", "a"), &Value::Null, &game.engine);
    change(&mut client, vec![Change::Put(Resource::Pipe(looks))]);
    figures.push(attempt_at(&mut game));
    change(&mut client, vec![Change::Delete("pipe/p".into())]);
    change(&mut client, rule("fakemon", &nobody, &arn("sqs", "a")).map(Change::Put).into());
    figures.push(attempt_at(&mut game));
    game.engine.close();
    figures
}

fn arn(service: &str, name: &str) -> String {
    format!("arn:aws:{service}:local:123456789012:{name}")
}

fn filter(pattern: &Value) -> Value {
    json!({ "Filters": [{ "Pattern": pattern.to_string() }] })
}

fn pipe(source: &str, source_parameters: &Value, target: &str, target_parameters: &Value, engine: &Engine) -> Pipe {
    Pipe {
        name: "p".into(),
        description: None,
        desired_state: DesiredState::Running,
        change: PipeChange::Created,
        revision: 0,
        source: source.into(),
        source_parameters: source_parameters.clone(),
        enrichment: None,
        enrichment_parameters: Value::Null,
        target: target.into(),
        target_parameters: target_parameters.clone(),
        role_arn: String::new(),
        kept: Map::new(),
        runs_since: Some(engine.now()),
        region: "local".into(),
        created_at: engine.now(),
        modified_at: engine.now(),
        tags: Tags::new(),
    }
}

fn queue(name: &str) -> Queue {
    let at = Timestamp(0);
    Queue { name: name.into(), attributes: [].into(), created_at: at, modified_at: at, tags: Tags::new() }
}

fn bus(name: &str) -> Bus {
    Bus {
        name: name.into(),
        description: None,
        policy: None,
        dead_letter_arn: None,
        kept: Map::new(),
        created_at: Timestamp(0),
        modified_at: Timestamp(0),
        tags: Tags::new(),
    }
}

/// A rule and its target.
fn rule(bus: &str, pattern: &Value, to: &str) -> [Resource; 2] {
    let rule = Rule {
        bus: bus.into(),
        name: "r".into(),
        pattern: Some(pattern.to_string()),
        schedule: None,
        state: RuleState::Enabled,
        description: None,
        role_arn: None,
        region: "local".into(),
        created_at: Timestamp(0),
        tags: Tags::new(),
    };
    let target = Target {
        bus: bus.into(),
        rule: "r".into(),
        id: "t".into(),
        arn: to.into(),
        input: None,
        input_path: None,
        transformer: None,
        retry: None,
        dead_letter_arn: None,
        http: None,
        given: Map::new(),
    };
    [Resource::Rule(rule), Resource::Target(target)]
}

fn change(client: &mut Client, changes: Vec<Change>) {
    client.change(Token(0), changes).expect("there is room");
    written(client, 1);
}

fn written(client: &mut Client, count: usize) {
    let mut done = Vec::new();
    while done.iter().filter(|completion| matches!(completion, Completion::Written { .. })).count() < count {
        client.wait(&mut done, Duration::from_millis(100));
    }
}

/// Fills the queue; every second message passes the filter.
fn fill(engine: &Engine) {
    let numbers: Vec<usize> = (0..MESSAGES).collect();
    for numbers in numbers.chunks(1_000) {
        let message = |number: &usize| NewMessage {
            body: json!({ "kind": if number.is_multiple_of(2) { "good" } else { "bad" }, "number": number })
                .to_string(),
            ..NewMessage::default()
        };
        engine.queues().send("a", numbers.iter().map(message).collect(), engine.now()).expect("there is room");
    }
}

fn waits(engine: &Engine, queue: &str) -> usize {
    let counts = engine.queues().counts(queue, engine.now());
    counts.visible + counts.in_flight
}

fn queue_to_queue(engine: &Engine, client: &mut Client, size: usize) -> f64 {
    fill(engine);
    let parameters = json!({ "SqsQueueParameters": { "BatchSize": size },
                             "FilterCriteria": filter(&json!({ "body": { "kind": ["good"] } })) });
    let pipe = pipe(&arn("sqs", "a"), &parameters, &arn("sqs", "b"), &json!({ "InputTemplate": "<$.body>" }), engine);
    let start = Instant::now();
    change(client, vec![Change::Put(Resource::Pipe(pipe))]);
    while waits(engine, "a") > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let rate = MESSAGES as f64 / start.elapsed().as_secs_f64();
    assert_eq!(waits(engine, "b"), MESSAGES / 2, "each message that is wanted, once");
    change(client, vec![Change::Delete("pipe/p".into())]);
    engine.queues().purge("b").expect("the depot can be written");
    rate
}

/// What a client of the queues would do: receive, filter, send, delete.
fn by_hand(engine: &Engine, size: usize) -> f64 {
    fill(engine);
    let (queues, start) = (engine.queues(), Instant::now());
    loop {
        let received = queues.receive("a", size, 30, 86_400, None, engine.now()).expect("the depot can be read");
        if received.is_empty() {
            break;
        }
        let good = received
            .iter()
            .map(|received| &received.message.body)
            .filter(|body| serde_json::from_str::<Value>(body).expect("it is JSON")["kind"] == "good");
        let good = good.map(|body| NewMessage { body: body.clone(), ..NewMessage::default() }).collect();
        queues.send("b", good, engine.now()).expect("there is room");
        let done: Vec<_> = received.into_iter().map(|one| (one.handle, Settlement::Delete)).collect();
        queues.settle("a", &done, engine.now()).into_iter().for_each(|one| one.expect("the depot can be written"));
    }
    let rate = MESSAGES as f64 / start.elapsed().as_secs_f64();
    queues.purge("b").expect("the depot can be written");
    rate
}

/// Time from the first event put until all of them are on the other bus too.
fn bus_to_bus(engine: &Engine, client: &mut Client, by: Vec<Resource>) -> f64 {
    change(client, by.into_iter().map(Change::Put).collect());
    std::thread::sleep(Duration::from_millis(200));
    let event = |number: usize| NewEvent {
        bus: "from".into(),
        source: "shop".into(),
        detail_type: "sold".into(),
        detail: json!({ "unit": number, "what": "a ball", "price": 7.5 }).to_string(),
        resources: Vec::new(),
        time: None,
        region: "local".into(),
        cause: None,
        hops: 0,
        by: None,
        origin: None,
        trace: None,
    };
    let (start, end) = (Instant::now(), engine.position().0 + 2 * EVENTS as u64);
    for first in (0..EVENTS).step_by(1_000) {
        client.put(Token(0), (first..first + 1_000).map(event).collect()).expect("there is room");
        written(client, 1);
    }
    while engine.position().0 < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    EVENTS as f64 / start.elapsed().as_secs_f64()
}

/// A million attempts, as fast as possible; returns attempts per second.
fn attempt_at(game: &mut InProcess) -> f64 {
    let (start, mut made) = (Instant::now(), 0);
    while made < ATTEMPTS {
        while made < ATTEMPTS && game.in_flight() < IN_FLIGHT && game.attempt(0) {
            made += 1;
        }
        game.settle(Duration::from_millis(1), |_| {});
    }
    game.drain();
    ATTEMPTS as f64 / start.elapsed().as_secs_f64()
}
