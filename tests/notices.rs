//! Notices of the engine: events on the bus `default`, for rules that act on them.

use crate::aws::{call, events, queue, receive, sqs};
use crate::bus::{PATIENCE, change, put, queue as queue_resource, receive as take, rule, target};
use crate::disk::Disk;
use crate::server::{Server, answer, fresh_data};
use fakemon_capture::command::{Attempt, SubmitError};
use fakemon_delivery::notices::{Notice, NoticeKind};
use fakemon_delivery::{Failed, FailureCode};
use fakemon_engine::{Engine, Options, Thresholds};
use fakemon_model::event::PlayerName;
use fakemon_model::ids::{AttemptId, FakemonId, Position, Token};
use fakemon_model::place::Place;
use fakemon_resource::resource::Resource;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Thresholds that no test reaches by itself.
pub(crate) const SILENT: Thresholds = Thresholds {
    slow_sync: Duration::from_secs(600),
    disk_space_low: 0,
    disk_space_critical: 0,
    target_dead_attempts: u32::MAX,
    target_dead_after: Duration::from_secs(600),
};

pub(crate) fn open(dir: &Path, thresholds: Thresholds) -> Engine {
    Engine::open(dir, Options { cores: 1, pin: false, thresholds, unserved_targets: true, ..Options::default() })
        .unwrap()
}

/// The engine's notices so far, without changes of resources: detail-types without their prefix, and details.
fn told(engine: &Engine) -> Vec<(String, Value)> {
    let mut told = Vec::new();
    let tail = engine.tail();
    let mut next = Position(1);
    while next < tail.end() {
        let read = tail.read(next, 1_000, &mut |seen| {
            let event: Value = serde_json::from_str(&seen.json()).unwrap();
            if event["source"] == "fakemon.engine" && event["detail-type"] != "fakemon.resource_changed" {
                assert_ne!(seen.detail_type(), "");
                let kind = event["detail-type"].as_str().unwrap().trim_start_matches("fakemon.");
                told.push((kind.to_owned(), event["detail"].clone()));
            }
        });
        next = read.unwrap();
    }
    told
}

fn details_of(engine: &Engine, kind: &str) -> Vec<Value> {
    told(engine).into_iter().filter(|(told, _)| told == kind).map(|(_, detail)| detail).collect()
}

/// Waits until `count` notices of a kind were put.
fn wait_for(engine: &Engine, kind: &str, count: usize) -> Vec<Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        let details = details_of(engine, kind);
        if details.len() >= count {
            return details;
        }
        assert!(Instant::now() < end, "{} of {count} {kind}: {:?}", details.len(), told(engine));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn every_life_begins_and_ends_with_a_word_and_says_how_the_one_before_ended() {
    let dir = tempfile::tempdir().unwrap();
    for (lives, end) in (1..).zip(["new", "clean", "clean"]) {
        let engine = open(dir.path(), SILENT);
        let started = wait_for(&engine, "started", lives).pop().unwrap();
        assert_eq!((&started["recovery"]["end"], &started["cores"]), (&json!(end), &json!(1)), "{started}");
        engine.close();
    }
    let engine = open(dir.path(), SILENT);
    wait_for(&engine, "started", 4);
    let kinds: Vec<String> = told(&engine).into_iter().map(|(kind, _)| kind).collect();
    let life = ["engine_opened", "started", "stopping"];
    assert_eq!(kinds, [&life[..], &life[..], &life[..], &life[..2]].concat());
}

#[test]
fn after_a_kill_the_next_life_says_what_was_replayed() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    for units in 0..3 {
        server.post_event(
            &json!({ "source": "shop", "detail-type": "sold", "detail": { "units": units } }).to_string(),
        );
    }
    server.kill();
    let server = Server::start(data.path(), &[]);
    assert!(server.stop().success());
    let log = answer(&["log", "--data", data.path().to_str().unwrap(), "--kind", "put"]);
    let of = |kind: &str| -> Vec<Value> {
        let events = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter(|event| event["detail-type"] == kind).map(|event| event["detail"].clone()).collect()
    };
    let (recovered, started) = (of("fakemon.recovered"), of("fakemon.started"));
    let replayed = recovered[0]["events_replayed"].as_u64().unwrap();
    assert!(replayed >= 4, "three sold, and the opening: {recovered:?}");
    assert_eq!(started[1]["recovery"]["end"], "crash", "{started:?}");
    assert_eq!(started[1]["recovery"]["events_replayed"], replayed);
    assert_eq!((recovered.len(), of("fakemon.stopping").len()), (1, 1), "who is killed says nothing");
}

#[test]
fn slow_syncs_are_told_and_do_not_tell_of_the_telling() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path(), Thresholds { slow_sync: Duration::ZERO, ..SILENT });
    let mut client = engine.client().unwrap();
    put(&mut client, &[("default", "shop", "sold", "{}")]);
    let slow = wait_for(&engine, "slow_sync", 1).remove(0);
    assert!(slow["syncs"].as_u64().unwrap() >= 1 && slow["threshold_ms"] == 0, "{slow}");
    // The notices are in groups of their own, slow like all, and no other events are written.
    std::thread::sleep(Duration::from_millis(2_500));
    let quiet = details_of(&engine, "slow_sync").len();
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(details_of(&engine, "slow_sync").len(), quiet, "{:?}", told(&engine));
    put(&mut client, &[("default", "shop", "sold", "{}")]);
    wait_for(&engine, "slow_sync", quiet + 1);
}

#[test]
fn little_space_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path(), Thresholds { disk_space_low: u64::MAX, ..SILENT });
    let low = wait_for(&engine, "disk_space", 1).remove(0);
    assert_eq!((&low["state"], &low["before"]), (&json!("low"), &json!("ok")), "{low}");
    assert!(low["free_bytes"].as_u64().unwrap() <= low["total_bytes"].as_u64().unwrap(), "{low}");
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(details_of(&engine, "disk_space").len(), 1);
}

#[test]
fn a_disk_that_shrinks_and_grows_again_is_told_both_times() {
    let folder = fresh_data();
    let Some(disk) = Disk::mount(folder.path(), "size=900m") else {
        return eprintln!("skipped: this user may not mount a small disk");
    };
    let data = folder.path().join("data");
    let engine = open(&data, Thresholds { disk_space_low: 500 << 20, ..SILENT });
    wait_for(&engine, "started", 1);
    disk.resize("size=500m");
    let low = wait_for(&engine, "disk_space", 1).remove(0);
    assert_eq!((&low["state"], &low["total_bytes"]), (&json!("low"), &json!(500 << 20)), "{low}");
    disk.resize("size=900m");
    let back = wait_for(&engine, "disk_space", 2).remove(1);
    assert_eq!((&back["state"], &back["before"]), (&json!("ok"), &json!("low")), "{back}");
    engine.close();
}

#[test]
fn a_dead_target_is_told_once_also_when_it_is_the_one_to_hear_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path(), Thresholds { target_dead_attempts: 3, ..SILENT });
    let works = Arc::new(AtomicBool::new(false));
    let working = works.clone();
    let shaky = move || {
        if working.load(Ordering::SeqCst) {
            Ok(())
        } else {
            Err(Failed::for_now(FailureCode::ErrorFromTarget, "not now"))
        }
    };
    engine.on_events("shaky", move |_| shaky()).unwrap();
    let mut client = engine.client().unwrap();
    let pattern = r#"{"source":["shop",{"prefix":"fakemon."}],"detail-type":["sold",{"prefix":"fakemon.target_"}]}"#;
    change(
        &mut client,
        vec![
            queue_resource("ops"),
            rule("default", "r", pattern),
            Resource::Target(target("default", "r", "shaky", "fakemon:local:123456789012:function/shaky")),
            rule("default", "ops", r#"{"detail-type":[{"prefix":"fakemon.target_"}]}"#),
            Resource::Target(target("default", "ops", "q", "sqs:local:123456789012:ops")),
        ],
    );
    put(&mut client, &[("default", "shop", "sold", "{}")]);
    let dead = take(&engine, "ops", 1).remove(0).0;
    assert_eq!((&dead["detail-type"], &dead["detail"]["target"]), (&json!("fakemon.target_dead"), &json!("shaky")));
    assert_eq!(
        (&dead["detail"]["error_code"], &dead["detail"]["backlog"]),
        (&json!("ERROR_FROM_TARGET"), &json!(1)),
        "{dead}"
    );
    assert_eq!(dead["resources"][0], "arn:aws:fakemon:local:123456789012:function/shaky");
    std::thread::sleep(Duration::from_millis(2_500)); // its notice waits for the same sync now, and fails too
    assert_eq!(details_of(&engine, "target_dead").len(), 1, "{:?}", told(&engine));
    works.store(true, Ordering::SeqCst);
    let alive = take(&engine, "ops", 1).remove(0).0;
    assert_eq!(alive["detail-type"], "fakemon.target_recovered", "{alive}");
    assert!(alive["detail"]["dead_ms"].as_u64().unwrap() > 1_000, "{alive}");
    assert_eq!(details_of(&engine, "target_dead").len(), 1);
}

#[test]
fn given_up_events_are_told_but_not_those_that_tell_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path(), SILENT);
    engine.on_events("never", |_| Err(Failed::permanently(FailureCode::ErrorFromTarget, "not this"))).unwrap();
    let mut client = engine.client().unwrap();
    let pattern = r#"{"detail-type":["sold","fakemon.dead_letter"]}"#;
    let mut never = target("default", "r", "never", "fakemon:local:123456789012:function/never");
    never.dead_letter_arn = Some("arn:aws:sqs:local:123456789012:dead".into());
    change(&mut client, vec![queue_resource("dead"), rule("default", "r", pattern), Resource::Target(never)]);
    put(&mut client, &[("default", "shop", "sold", "{}"), ("default", "shop", "sold", "{}")]);
    wait_for(&engine, "dead_letter", 1);
    // Two events of the shop, and the notice about them.
    let letters = take(&engine, "dead", 3);
    assert!(letters.iter().any(|(event, _)| event["detail-type"] == "fakemon.dead_letter"));
    std::thread::sleep(Duration::from_millis(2_500));
    let told = details_of(&engine, "dead_letter");
    let sum: u64 = told.iter().map(|detail| detail["dead_letters"].as_u64().unwrap()).sum();
    assert_eq!(
        (sum, &told[0]["lost"], &told[0]["error_code"]),
        (2, &json!(0), &json!("ERROR_FROM_TARGET")),
        "{told:?}"
    );
    assert_eq!(engine.queues().counts("dead", engine.now()).visible, 0, "it ends there");
}

#[test]
fn attempts_that_are_shed_are_told_with_their_number() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path(), SILENT);
    let mut client = engine.client().unwrap();
    let player = client.register(&PlayerName::new("ana").unwrap()).unwrap();
    let place = Place::from_degrees(1.0, 1.0).unwrap();
    let mut throttled = 0;
    for attempt in 1..=200_000 {
        let (player, attempt_id, received_at) = (player.clone(), AttemptId(attempt), engine.now());
        let attempt = Attempt { player, attempt_id, fakemon_id: FakemonId(1), place, received_at };
        match client.attempt(Token(attempt.attempt_id.0), attempt) {
            Ok(()) => {}
            Err(SubmitError::Throttled(_)) => throttled += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(throttled > 0);
    let end = Instant::now() + PATIENCE;
    while details_of(&engine, "shedding_ended").is_empty() {
        assert!(Instant::now() < end, "{:?}", told(&engine));
        client.wait(&mut Vec::new(), Duration::from_millis(100)); // the client flushes its metrics
    }
    let told = told(&engine);
    let kinds: Vec<&str> =
        told.iter().map(|(kind, _)| kind.as_str()).filter(|kind| kind.starts_with("shed")).collect();
    assert_eq!(kinds, ["shedding_started", "shedding_ended"]);
    let ended = details_of(&engine, "shedding_ended").remove(0);
    assert_eq!(ended["throttled"], throttled, "{ended}");
}

#[test]
fn whoever_tells_too_much_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path(), SILENT);
    for number in 0..500 {
        engine.notices().tell(Notice::new(NoticeKind::ConnectionDeauthorized, "s").with("number", number));
    }
    let end = Instant::now() + PATIENCE;
    let counts = || -> Vec<u64> {
        details_of(&engine, "connection_deauthorized")
            .iter()
            .map(|detail| detail["count"].as_u64().unwrap())
            .collect()
    };
    while counts().iter().sum::<u64>() < 500 {
        assert!(Instant::now() < end, "{:?}", counts());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(counts().len() <= 3 && counts().iter().sum::<u64>() == 500, "{:?}", counts());
    assert_eq!(details_of(&engine, "connection_deauthorized").last().unwrap()["number"], 499, "the newest is told");
}

/// The rule of the README: when a target is dead, its rule is disabled.
#[test]
fn a_rule_switches_off_the_rule_of_a_dead_target() {
    let data = fresh_data();
    let config = data.path().with_extension("toml");
    std::fs::write(&config, "[thresholds]\ntarget_dead_attempts = 2\n").unwrap();
    let server = Server::start(data.path(), &["--allow-private-targets", "--config", config.to_str().unwrap()]);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(); // closed at once, so it refuses connections
    let secret =
        |name: &str, value: &str| json!({ "ApiKeyAuthParameters": { "ApiKeyName": name, "ApiKeyValue": value } });
    let webhook = |name: &str, auth: Value, endpoint: String| {
        let connection = json!({ "Name": name, "AuthorizationType": "API_KEY", "AuthParameters": auth });
        let connection = events(&server, "CreateConnection", connection)["ConnectionArn"].clone();
        let destination = json!({ "Name": name, "ConnectionArn": connection, "InvocationEndpoint": endpoint,
                                  "HttpMethod": "POST" });
        events(&server, "CreateApiDestination", destination)["ApiDestinationArn"].clone()
    };
    let dead = webhook("dead", secret("x-key", "hush"), format!("http://{closed}/"));
    let breaker = secret("X-Amz-Target", "AWSEvents.DisableRule");
    let breaker = webhook("disable-rule", breaker, format!("http://{}/", server.control));
    events(&server, "PutRule", json!({ "Name": "sold", "EventPattern": r#"{"source":["shop"]}"# }));
    events(&server, "PutTargets", json!({ "Rule": "sold", "Targets": [{ "Id": "hook", "Arn": dead }] }));
    let pattern = r#"{"detail-type":["fakemon.target_dead"]}"#;
    events(&server, "PutRule", json!({ "Name": "breaker", "EventPattern": pattern }));
    let (seen, seen_arn) = queue(&server, "seen");
    let transformer = json!({ "InputPathsMap": { "rule": "$.detail.rule", "bus": "$.detail.bus" },
                              "InputTemplate": r#"{"Name": <rule>, "EventBusName": <bus>}"# });
    let targets = json!([{ "Id": "disable", "Arn": breaker, "InputTransformer": transformer },
                         { "Id": "seen", "Arn": seen_arn }]);
    events(&server, "PutTargets", json!({ "Rule": "breaker", "Targets": targets }));
    server.post_event(&json!({ "source": "shop", "detail-type": "sold", "detail": {} }).to_string());
    let told: Value = serde_json::from_str(receive(&server, &seen, 1)[0]["Body"].as_str().unwrap()).unwrap();
    assert_eq!((&told["detail"]["rule"], &told["detail"]["arn"]), (&json!("sold"), &dead), "{told}");
    let end = Instant::now() + PATIENCE;
    while call(&server, "AWSEvents.DescribeRule", &json!({ "Name": "sold" })).1["State"] != "DISABLED" {
        assert!(Instant::now() < end, "it is still on: {}", server.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    std::fs::remove_file(config).unwrap();
}

#[test]
fn a_connection_that_is_not_let_in_any_more_is_told() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let secret = json!({ "ApiKeyAuthParameters": { "ApiKeyName": "k", "ApiKeyValue": "v" } });
    events(
        &server,
        "CreateConnection",
        json!({ "Name": "c", "AuthorizationType": "API_KEY", "AuthParameters": secret }),
    );
    let (url, arn) = queue(&server, "q");
    let pattern = r#"{"detail-type":["fakemon.connection_deauthorized"]}"#;
    events(&server, "PutRule", json!({ "Name": "r", "EventPattern": pattern }));
    events(&server, "PutTargets", json!({ "Rule": "r", "Targets": [{ "Id": "q", "Arn": arn }] }));
    std::thread::sleep(Duration::from_millis(1_200)); // the old state was seen
    events(&server, "DeauthorizeConnection", json!({ "Name": "c" }));
    let told = || {
        let body = receive(&server, &url, 1)[0]["Body"].as_str().unwrap().to_owned();
        serde_json::from_str::<Value>(&body).unwrap()
    };
    let first = told();
    let expected = json!({ "connection": "c", "count": 1, "reason": "an operator deauthorized it" });
    assert_eq!((&first["source"], &first["detail"]), (&json!("fakemon.engine"), &expected));
    // One notice each time: between two checks there is time for another one.
    let secret = json!({ "ApiKeyAuthParameters": { "ApiKeyName": "k", "ApiKeyValue": "w" } });
    events(&server, "UpdateConnection", json!({ "Name": "c", "AuthParameters": secret }));
    std::thread::sleep(Duration::from_millis(2_200));
    assert_eq!(sqs(&server, "ReceiveMessage", json!({ "QueueUrl": url })), json!({}), "once");
    events(&server, "DeauthorizeConnection", json!({ "Name": "c" }));
    assert_eq!(told()["detail"], expected);
}
