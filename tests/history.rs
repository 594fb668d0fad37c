//! `explain`, `trace` and `replay` on a server's data, beside the running server and after its end, with an index and
//! without one; and the index compared with a full scan.

use crate::aws::{events, queue, receive, sqs};
use crate::dice::Dice;
use crate::player::{Player, number};
use crate::server::{Server, answer, fresh_data, refusal};
use fakemon_capture::command::{Attempt, Completion, Spawn};
use fakemon_engine::{Client, Engine, Options};
use fakemon_history::archive::Archive;
use fakemon_history::state_at::Moment;
use fakemon_history::verify::verify;
use fakemon_journal::index::{Subject, build};
use fakemon_model::event::{Event, Outcome, PlayerName};
use fakemon_model::ids::{AttemptId, FakemonId, PlayerId, Position, Token};
use fakemon_model::place::Place;
use fakemon_model::species::CatchRate;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

fn told(arguments: &[&str]) -> Value {
    serde_json::from_str(&answer(&[arguments, &["--json"]].concat())).expect("it is JSON")
}

/// Spawns a fakémon with a catch rate of 0 or 1.
fn spawn(server: &Server, id: u64, catch_rate: f64) -> u64 {
    server
        .spawn(json!({ "fakemon_id": id.to_string(), "species": "sparkit", "lat": 40.4168, "lon": -3.7038,
                       "catch_rate": catch_rate }))
        .1
}

/// Ash captures a fakémon and misty comes too late; returns the answers.
fn race(server: &Server) -> [Value; 3] {
    spawn(server, 42, 1.0);
    spawn(server, 43, 0.0);
    let mut ash = Player::connect(server.play, "ash").unwrap();
    let mut misty = Player::connect(server.play, "misty").unwrap();
    [ash.attempt(1, 42).unwrap(), misty.attempt(7, 42).unwrap(), misty.attempt(8, 43).unwrap()]
}

#[test]
fn explain_tells_who_won_and_why_with_an_index_and_without() {
    let data = fresh_data();
    let dir = data.path().to_str().unwrap();
    let server = Server::start(data.path(), &[]);
    let [won, lost, dodged] = race(&server);
    let lost_at = number(&lost, "position").to_string();
    let beside = told(&["explain", "--data", dir, &lost_at]);
    assert_eq!(beside["attempt"]["outcome"], "already_captured");
    assert_eq!(beside["winner"]["player"], "ash");
    assert_eq!(beside["winner"]["position"], won["position"]);
    assert_eq!(beside["winner"]["because"], "it was received earlier");
    assert!(beside["winner"]["received_earlier_ns"].as_i64().unwrap() > 0, "{beside}");
    let stage = |name: &str| beside["stages"][name].as_str().unwrap().to_owned();
    assert!(stage("received_at") <= stage("queued_at") && stage("queued_at") <= stage("decided_at"), "{beside}");
    assert_eq!(beside["fakemon"]["throws_before"], 1);
    assert!(server.stop().success());

    let by_name = told(&["explain", "--data", dir, "--player", "misty", "--attempt", "7"]);
    assert_eq!(by_name["attempt"], beside["attempt"]);
    let by_id = told(&["explain", "--data", dir, by_name["event_id"].as_str().unwrap()]);
    assert_eq!(by_id, by_name);
    std::fs::remove_dir_all(data.path().join("index")).unwrap();
    assert_eq!(told(&["explain", "--data", dir, &lost_at]), by_name, "without an index the journal is read");
    assert!(answer(&["index", "--data", dir]).contains("indexed: "));
    assert_eq!(told(&["explain", "--data", dir, &lost_at]), by_name);

    let winner = told(&["explain", "--data", dir, &number(&won, "position").to_string()]);
    assert_eq!((&winner["winner"], &winner["runner_up"]["position"]), (&Value::Null, &lost["position"]));
    assert_eq!(winner["roll"]["threshold"], 10_000);
    let missed = told(&["explain", "--data", dir, &number(&dodged, "position").to_string()]);
    assert_eq!((&missed["attempt"]["outcome"], &missed["roll"]["threshold"]), (&json!("dodged"), &json!(0)));
    let text = answer(&["explain", "--data", dir, &lost_at]);
    for part in ["throw 7 of misty at fakémon 42 (sparkit): already_captured", "captured before by ash", "earlier"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn an_attempt_is_explained_by_what_was_before_it_whatever_came_later() {
    let data = fresh_data();
    let dir = data.path().to_str().unwrap();
    let server = Server::start(data.path(), &[]);
    let mut ash = Player::connect(server.play, "ash").unwrap();
    let far = json!({ "type": "attempt", "attempt_id": "2", "fakemon_id": "44", "lat": 0.0, "lon": 0.0 });
    let unknown = ash.attempt(1, 44).unwrap();
    spawn(&server, 44, 1.0);
    let out_of_reach = ash.ask(&far).unwrap();
    let captured = ash.attempt(3, 44).unwrap();
    assert!(server.stop().success());
    let explained = |told: &Value| told_of(dir, number(told, "position"));
    let story = explained(&unknown);
    assert_eq!((&story["attempt"]["outcome"], &story["fakemon"]), (&json!("unknown_fakemon"), &Value::Null));
    let story = explained(&out_of_reach);
    assert_eq!((&story["fakemon"]["throws_before"], &story["fakemon"]["throws_after"]), (&json!(0), &json!(1)));
    assert_eq!((&story["winner"], &story["captured_later"]["position"]), (&Value::Null, &captured["position"]));
    let text = answer(&["explain", "--data", dir, &number(&out_of_reach, "position").to_string()]);
    assert!(text.contains("captured later by ash (throw 3, position"), "{text}");
    assert_eq!(explained(&captured)["fakemon"]["throws_before"], 1);
}

fn told_of(dir: &str, position: u64) -> Value {
    told(&["explain", "--data", dir, &position.to_string()])
}

#[test]
fn questions_without_an_answer_are_told_why() {
    let data = fresh_data();
    let dir = data.path().to_str().unwrap();
    let server = Server::start(data.path(), &[]);
    let spawned = spawn(&server, 42, 1.0).to_string();
    assert!(server.stop().success());
    for (arguments, expected) in [
        (&["explain", "999999"][..], "position 999999 is not in the journal"),
        (&["explain", &spawned], "is no throw but fakemon.appeared: see `fakemon trace"),
        (&["explain", "soon"], "neither a position nor the id of an event"),
        (&["explain", "--player", "gary", "--attempt", "1"], "nobody of this name ever threw"),
        (&["trace", "999999"], "position 999999 is not in the journal"),
        (&["replay", "--until", "999999"], "position 999999 is not in the journal"),
        (&["replay", "--fakemon", "7"], "had not appeared by then"),
        (&["replay", "--player", "gary"], "nobody of this name ever threw"),
        (&["replay", "--what-if"], "needs a setting that is different"),
        (&["replay", "--what-if", "--catch-rate-of", "dragon=1"], "knows no species `dragon`"),
        (&["replay", "--from", "3", "--to", "1"], "--to (1) lies before --from (3)"),
        (&["log", "--from", "3", "--to", "1"], "--to (1) lies before --from (3)"),
        (&["timeline", "--from", "3", "--to", "1"], "--to (1) lies before --from (3)"),
        (
            &["export", "--format", "jsonl", "--out", "-", "--from", "3", "--to", "1"],
            "--to (1) lies before --from (3)",
        ),
        (&["replay", "--step"], "needs a terminal"),
    ] {
        let (code, line) = refusal(&[&arguments[..1], &["--data", dir], &arguments[1..]].concat());
        assert!(code == 1 && line.contains(expected), "{arguments:?}: {code} {line}");
    }
    for arguments in [&["explain"][..], &["explain", "--player", "ash"], &["replay", "--area", "1,2"]] {
        assert_eq!(refusal(arguments).0, 2, "{arguments:?}");
    }
    assert_eq!(refusal(&["explain", "--data", "/nowhere", "1"]).0, 1);
}

#[test]
fn trace_shows_what_came_of_an_event_and_where_it_went() {
    let data = fresh_data();
    let dir = data.path().to_str().unwrap();
    let server = Server::start(data.path(), &[]);
    let (url, arn) = queue(&server, "caught");
    events(&server, "CreateEventBus", json!({ "Name": "shop" }));
    let bus = "arn:aws:events:local:123456789012:event-bus/shop";
    let pattern = json!({ "source": ["promo"] }).to_string();
    events(&server, "PutRule", json!({ "Name": "on", "EventPattern": pattern }));
    events(&server, "PutTargets", json!({ "Rule": "on", "Targets": [{ "Id": "bus", "Arn": bus }] }));
    events(&server, "PutRule", json!({ "Name": "in", "EventBusName": "shop", "EventPattern": pattern }));
    let targets = json!([{ "Id": "q", "Arn": arn }]);
    events(&server, "PutTargets", json!({ "Rule": "in", "EventBusName": "shop", "Targets": targets }));
    let (status, put) = server.post_event(r#"{"source":"promo","detail-type":"begins","detail":{"n":1}}"#);
    assert_eq!(status, 200, "{put}");
    let arrived = receive(&server, &url, 1);
    let copy: Value = serde_json::from_str(arrived[0]["Body"].as_str().unwrap()).unwrap();
    assert!(server.stop().success());

    let beside = fresh_data();
    let (otlp, chrome) = (beside.path().join("otlp.json"), beside.path().join("chrome.json"));
    let files = ["--otlp", otlp.to_str().unwrap(), "--chrome", chrome.to_str().unwrap()];
    // Asked for the last event, the tree begins with the first cause.
    let tree = told(&[&["trace", "--data", dir, copy["id"].as_str().unwrap()][..], &files].concat());
    let root = &tree["tree"];
    assert_eq!((&root["position"], &root["relation"]), (&put["position"], &json!("first")));
    assert_eq!(root["deliveries"][0]["rule"], "on");
    assert_eq!(root["deliveries"][0]["state"], "delivered");
    let child = &root["children"][0];
    assert_eq!((&child["relation"], &child["event"]["id"]), (&json!("by_rule"), &copy["id"]));
    assert_eq!(
        (&child["deliveries"][0]["rule"], &child["deliveries"][0]["state"]),
        (&json!("in"), &json!("delivered"))
    );

    let spans: Value = serde_json::from_str(&std::fs::read_to_string(otlp).unwrap()).unwrap();
    let spans = spans["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone();
    let named = |name: &str| spans.iter().filter(|span| span["name"] == name).count();
    assert_eq!((named("begins"), named("delivery")), (2, 2), "{spans:?}");
    let ids: HashMap<&str, usize> = spans.iter().map(|span| (span["spanId"].as_str().unwrap(), 1)).collect();
    assert_eq!(ids.len(), spans.len(), "span ids are unique");
    for span in &spans {
        let parent = span["parentSpanId"].as_str().unwrap();
        assert!(parent.is_empty() || ids.contains_key(parent), "{span}");
        assert!(span["startTimeUnixNano"].as_str() <= span["endTimeUnixNano"].as_str(), "{span}");
    }
    let chrome: Value = serde_json::from_str(&std::fs::read_to_string(chrome).unwrap()).unwrap();
    assert_eq!(chrome["traceEvents"].as_array().unwrap().len(), spans.len());
    let text = answer(&["trace", "--data", dir, put["position"].as_str().unwrap()]);
    assert!(text.contains("└─") && text.contains("rule default/on → bus"), "{text}");
}

/// The tree of an event, once it has children.
fn tree_with_children(dir: &str, id: &str) -> Value {
    let by = Instant::now() + PATIENCE;
    loop {
        let tree = told(&["trace", "--data", dir, id]);
        if tree["tree"]["children"][0].is_object() {
            return tree;
        }
        assert!(Instant::now() < by, "{tree}");
    }
}

#[test]
fn a_spawn_by_an_event_leads_to_the_fakemon_and_a_dead_letter_is_found() {
    let data = fresh_data();
    let dir = data.path().to_str().unwrap();
    let server = Server::start(data.path(), &["--allow-private-targets"]);
    let (_, dead) = queue(&server, "dead");
    let pattern = json!({ "detail-type": ["fakemon.spawn"] }).to_string();
    events(&server, "PutRule", json!({ "Name": "spawns", "EventPattern": pattern }));
    let nowhere = json!([{ "Id": "gone", "Arn": "arn:aws:sqs:local:123456789012:missing",
                           "DeadLetterConfig": { "Arn": dead } }]);
    events(&server, "PutTargets", json!({ "Rule": "spawns", "Targets": nowhere }));
    let detail = json!({ "species": "leaflet", "lat": 1, "lon": 2 }).to_string();
    let entries = json!([{ "Source": "fakemon.world", "DetailType": "fakemon.spawn", "Detail": detail }]);
    let put = events(&server, "PutEvents", json!({ "Entries": entries }));
    let id = put["Entries"][0]["EventId"].as_str().unwrap();
    let url = format!("http://{}/123456789012/dead", server.control);
    let by = Instant::now() + PATIENCE;
    let count = || {
        let attributes = json!({ "QueueUrl": url, "AttributeNames": ["All"] });
        sqs(&server, "GetQueueAttributes", attributes)["Attributes"]["ApproximateNumberOfMessages"].clone()
    };
    while count() != "1" {
        assert!(Instant::now() < by, "no dead letter");
        std::thread::sleep(Duration::from_millis(20));
    }
    let tree = tree_with_children(dir, id);
    assert_eq!(tree["tree"]["children"][0]["relation"], "carried_out");
    assert_eq!(tree["tree"]["children"][0]["detail_type"], "fakemon.appeared");
    let delivery = &tree["tree"]["deliveries"][0];
    assert_eq!((&delivery["state"], &delivery["queue"]), (&json!("dead_letter"), &json!("dead")), "{tree}");
    assert_eq!(delivery["code"], "NO_RESOURCE");
    let appeared = tree["tree"]["children"][0]["position"].as_str().unwrap();
    let from_below = told(&["trace", "--data", dir, appeared]);
    assert_eq!(from_below["tree"]["position"], tree["tree"]["position"], "the spawn is the first cause");
    // The same for ids that a client chose, and for attempts that came as events.
    let spawn = json!({ "fakemon_id": "777", "species": "leaflet", "lat": 1, "lon": 2, "catch_rate": 1 });
    let attempt = json!({ "player": "ash", "attempt_id": "9", "fakemon_id": "777", "lat": 1, "lon": 2 });
    for (source, detail_type, detail, wanted) in [
        ("fakemon.world", "fakemon.spawn", spawn, "fakemon.appeared"),
        ("fakemon.game", "fakemon.capture_attempt", attempt, "fakemon.capture_succeeded"),
    ] {
        let entry = json!({ "Source": source, "DetailType": detail_type, "Detail": detail.to_string() });
        let put = events(&server, "PutEvents", json!({ "Entries": [entry] }));
        let id = put["Entries"][0]["EventId"].as_str().unwrap();
        let tree = tree_with_children(dir, id);
        let child = &tree["tree"]["children"][0];
        assert_eq!(child["detail_type"], wanted, "{tree}");
        let from_below = told(&["trace", "--data", dir, child["position"].as_str().unwrap()]);
        for part in ["position", "children"] {
            assert_eq!(from_below["tree"][part], tree["tree"][part], "from wherever it is asked");
        }
    }
}

/// A damaged derived index never hides an answer.
#[test]
fn a_damaged_index_is_read_around() {
    let data = fresh_data();
    let dir = data.path().to_str().unwrap();
    let server = Server::start(data.path(), &[]);
    let [_, lost, _] = race(&server);
    assert!(server.stop().success());
    answer(&["index", "--data", dir]);
    let asked = ["explain", "--data", dir, &number(&lost, "position").to_string()];
    let expected = told(&asked);
    let tables: Vec<_> =
        std::fs::read_dir(data.path().join("index")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let tables = tables.into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "sst"));
    for table in tables {
        let mut bytes = std::fs::read(&table).unwrap();
        let half = bytes.len() / 2;
        bytes[..half].iter_mut().for_each(|byte| *byte ^= 0x55);
        std::fs::write(&table, bytes).unwrap();
    }
    assert_eq!(told(&asked), expected);
    answer(&["index", "--data", dir]);
    assert_eq!(told(&asked), expected);
}

#[test]
fn replay_goes_back_to_any_position_and_decides_again() {
    let data = fresh_data();
    let dir = data.path().to_str().unwrap();
    let server = Server::start(data.path(), &[]);
    let [won, lost, dodged] = race(&server).map(|result| number(&result, "position"));
    assert!(server.stop().success());
    let until = |position: u64, more: &[&str]| {
        told(&[&["replay", "--data", dir, "--until", &position.to_string()][..], more].concat())
    };
    assert_eq!((&until(won - 1, &[])["wild"], &until(won - 1, &[])["captured"]), (&json!(2), &json!(0)));
    assert_eq!((&until(won, &[])["wild"], &until(won, &[])["captured"]), (&json!(1), &json!(1)));
    assert_eq!(until(won - 1, &["--fakemon", "42"])["fakemon"]["fate"], "wild");
    let caught = &until(lost, &["--fakemon", "42"])["fakemon"];
    assert_eq!(
        (&caught["fate"], &caught["winner"], &caught["throws"]),
        (&json!("captured"), &json!("ash"), &json!(2))
    );
    assert_eq!(until(dodged, &["--player", "ash"])["collection"][0]["fakemon_id"], "42");
    assert_eq!(until(dodged, &["--player", "misty"])["outcomes"]["dodged"], 1);
    let near = ["--area", "40.4168,-3.7038,100"];
    assert_eq!(until(won - 1, &near)["fakemon"].as_array().unwrap().len(), 2);
    assert_eq!(until(won, &near)["fakemon"][0]["fakemon_id"], "43");
    let whole = told(&["replay", "--data", dir]);
    assert_eq!(whole["state_hash"], told(&["verify", "--data", dir])["state_hash"], "what verify proves");

    let [from, to] = [won, dodged].map(|position| position.to_string());
    let range = ["replay", "--data", dir, "--from", &from, "--to", &to];
    let difference = told(&[&range[..], &["--diff"]].concat());
    assert_eq!(difference["captured"]["count"], 1);
    assert_eq!(difference["outcomes"]["already_captured"], 1);
    let played = answer(&[&range[..], &["--player", "misty"]].concat());
    assert_eq!(played.lines().count(), 3, "her name, and two throws: {played}");
    let nobody = told(&[&range[..], &["--what-if", "--catch-rate", "0"]].concat());
    assert_eq!((&nobody["would_be"]["dodged"], &nobody["changed"]), (&json!(3), &json!(2)));
    assert_eq!(nobody["other_winners"][0]["was"]["player"], "ash");
    assert_eq!(nobody["other_winners"][0]["would_be"], Value::Null);
    let same = told(&[&range[..], &["--what-if", "--in-order-received"]].concat());
    assert_eq!((&same["changed"], &same["other_winners_count"]), (&json!(0), &json!(0)));
}

fn wait_for(client: &mut Client, count: usize) {
    let (mut completions, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while completions.len() < count {
        client.wait(&mut completions, Duration::from_millis(100));
        assert!(Instant::now() < deadline, "{} of {count} completions", completions.len());
    }
    assert!(completions.iter().all(|done| !matches!(done, Completion::Throttled { .. })));
}

/// Makes some fakémon, some players, and some attempts.
fn play(dir: &Path, dice: &mut Dice, life: u64) {
    let options = Options { cores: 2, pin: false, snapshot_every: Duration::from_millis(20), ..Options::default() };
    let engine = Engine::open(dir, options).unwrap();
    let mut client = engine.client().unwrap();
    let place = Place::from_degrees(1.0, 2.0).unwrap();
    for id in 1..=20 {
        let catch_rate = CatchRate::from_fraction(0.2);
        let fakemon_id = Some(FakemonId(life * 100 + id));
        let spawn = Spawn { fakemon_id, species: "sparkit".into(), place, lifetime_s: None, catch_rate };
        client.spawn(Token(id), &spawn).unwrap();
    }
    wait_for(&mut client, 20);
    let attempts = 2_000 + dice.below(3_000);
    for number in 0..attempts as u64 {
        let player = client.register(&PlayerName::new(&format!("p{}", dice.below(30))).unwrap()).unwrap();
        let fakemon_id = FakemonId(dice.below((life * 100) as usize + 25) as u64);
        let attempt_id = AttemptId(life << 32 | number);
        let attempt = Attempt { player, attempt_id, fakemon_id, place, received_at: engine.now() };
        client.attempt(Token(number), attempt).unwrap();
    }
    wait_for(&mut client, attempts);
    drop(client);
    engine.close();
}

/// All positions of a subject, found by a full scan.
fn searched(archive: &Archive, subject: Subject) -> Vec<Position> {
    let mut found = Vec::new();
    archive
        .for_each(Position(1), &mut |recorded| {
            let about = match (&recorded.event, subject) {
                (Event::Attempt(attempt), Subject::Fakemon(id)) => attempt.fakemon_id == id,
                (Event::Appeared { fakemon_id, .. }, Subject::Fakemon(id) | Subject::Fate(id)) => *fakemon_id == id,
                (Event::Attempt(attempt), Subject::Fate(id)) => {
                    attempt.outcome == Outcome::Captured && attempt.fakemon_id == id
                }
                (Event::Attempt(attempt), Subject::Player(id)) => attempt.player == id,
                (Event::PlayerNamed { player, .. }, Subject::Player(id)) => *player == id,
                (Event::Opened { .. }, Subject::Openings) => true,
                _ => false,
            };
            found.extend(about.then_some(recorded.position));
            ControlFlow::Continue(())
        })
        .unwrap();
    found
}

#[test]
fn the_index_says_what_reading_everything_says_over_several_lives() {
    let (data, mut dice) = (fresh_data(), Dice::new());
    for life in 1..=3 {
        play(data.path(), &mut dice, life);
        if life == 2 {
            std::fs::remove_dir_all(data.path().join("index")).unwrap(); // the next run begins a new index after the last position
        }
    }
    for rebuilt in [false, true] {
        if rebuilt {
            build(data.path(), &mut |_, _| {}).unwrap();
        }
        let archive = Archive::open(data.path()).unwrap();
        let end = archive.end_position();
        let mut subjects = vec![Subject::Openings, Subject::Player(PlayerId(77_777)), Subject::Fate(FakemonId(105))];
        subjects.extend((1..=40).map(|_| Subject::Fakemon(FakemonId(dice.below(330) as u64))));
        subjects.extend((1..=10).map(|_| Subject::Player(PlayerId(1 + dice.below(32) as u32))));
        for subject in subjects {
            let all = searched(&archive, subject);
            let (from, to) =
                (Position(1 + dice.below(end.0 as usize) as u64), Position(dice.below(end.0 as usize) as u64));
            for (from, to) in [(Position(1), end), (from, to)] {
                let mut found = Vec::new();
                archive
                    .positions(subject, from, to, &mut |position| {
                        found.push(position);
                        ControlFlow::Continue(())
                    })
                    .unwrap();
                let wanted: Vec<_> = all.iter().copied().filter(|at| (from..to).contains(at)).collect();
                assert_eq!(found, wanted, "{subject:?} from {from} to {to}, rebuilt: {rebuilt}");
            }
        }
    }
    let archive = Archive::open(data.path()).unwrap();
    let mut moment = Moment::beginning(&archive).unwrap();
    moment.advance(&archive, archive.end_position(), &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(moment.state_hash().0, verify(data.path(), &mut |_, _| {}).unwrap().state_hash);
}
