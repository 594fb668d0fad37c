//! A data directory that an earlier version made opens as it did then: `golden/directory` was written by the version
//! of 2026-11-28, with captures, a bus, queues, dead letters, a log group, schedules, a pipe, a schema and a secret
//! in it. It is never rewritten: a new format gets a directory of its own beside it.

use crate::aws::{call, sqs};
use crate::player::{Player, SOL};
use crate::server::{Server, answer, fresh_data, refusal};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A copy of the directory as it was left.
fn copied() -> tempfile::TempDir {
    let dir = fresh_data();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/directory"), dir.path());
    dir
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

fn named(answer: &Value, list: &str) -> Vec<String> {
    answer[list].as_array().unwrap().iter().map(|item| item["Name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_directory_of_an_earlier_version_is_verified() {
    let dir = copied();
    let said = answer(&["verify", "--data", dir.path().to_str().unwrap(), "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["state_hash"], "20ff5bf664dfee7a", "{said}");
}

#[test]
fn what_a_power_cut_left_of_the_note_of_an_earlier_version_is_no_damage() {
    for note in [None, Some(&[][..]), Some(&[0; 8])] {
        let dir = copied();
        match note {
            Some(note) => fs::write(dir.path().join("acknowledged"), note).unwrap(),
            None => fs::remove_file(dir.path().join("acknowledged")).unwrap(),
        }
        answer(&["verify", "--data", dir.path().to_str().unwrap()]);
        assert!(Server::start(dir.path(), &[]).stop().success());
        answer(&["verify", "--data", dir.path().to_str().unwrap()]);
        fs::write(dir.path().join("acknowledged"), "").unwrap();
        let (code, line) = refusal(&["verify", "--data", dir.path().to_str().unwrap()]);
        assert!(code == 1 && line.contains("`acknowledged` is damaged"), "this version synced it: {line}");
    }
}

#[test]
fn answers_of_an_earlier_version_are_given_again() {
    let dir = copied();
    let server = Server::start(dir.path(), &[]);
    let mut ash = Player::connect(server.play, "ash").unwrap();
    let attempt = |player: &mut Player, attempt_id: &str, fakemon_id: &str| {
        let (lat, lon) = SOL;
        let attempt = json!({ "type": "attempt", "attempt_id": attempt_id, "fakemon_id": fakemon_id,
                              "lat": lat, "lon": lon });
        player.ask(&attempt).unwrap()
    };
    let again = attempt(&mut ash, "2", "101");
    assert_eq!((&again["outcome"], &again["position"]), (&json!("captured"), &json!("52")), "{again}");
    let late = attempt(&mut ash, "9", "104");
    assert_eq!(late["reason"], "already_captured", "{late}");
    let wild = attempt(&mut ash, "10", "105");
    assert_eq!(wild["outcome"], "captured", "{wild}");
    let collection = ash.ask(&json!({ "type": "collection" })).unwrap();
    assert_eq!(collection["items"].as_array().unwrap().len(), 5, "{collection}");
}

#[test]
fn the_bus_of_an_earlier_version_goes_on() {
    let dir = copied();
    let server = Server::start(dir.path(), &[]);
    let events = |operation: &str, request: Value| {
        let (status, answer) = call(&server, &format!("AWSEvents.{operation}"), &request);
        assert_eq!(status, 200, "{operation}: {answer}");
        answer
    };
    assert_eq!(named(&events("ListEventBuses", json!({})), "EventBuses"), ["default", "fakemon", "shop"]);
    let rules = events("ListRules", json!({ "EventBusName": "fakemon" }));
    assert_eq!(named(&rules, "Rules"), ["all", "caught", "lost"]);
    assert_eq!(named(&events("ListApiDestinations", json!({})), "ApiDestinations"), ["nowhere"]);
    let waiting = |queue: &str| {
        let url = sqs(&server, "GetQueueUrl", json!({ "QueueName": queue }))["QueueUrl"].clone();
        let request = json!({ "QueueUrl": url, "AttributeNames": ["ApproximateNumberOfMessages"] });
        let all = sqs(&server, "GetQueueAttributes", request);
        all["Attributes"]["ApproximateNumberOfMessages"].as_str().unwrap().parse::<u32>().unwrap()
    };
    assert_eq!((waiting("dead"), waiting("order.fifo")), (4, 3));
    assert!(waiting("caught") >= 9, "a schedule that was due meanwhile may add to them");
    let (status, lines) = call(
        &server,
        "Logs_20140328.FilterLogEvents",
        &json!({ "logGroupName": "/fakemon", "filterPattern": "{ $.detail.player = \"misty\" }" }),
    );
    assert_eq!(status, 200, "{lines}");
    assert!(!lines["events"].as_array().unwrap().is_empty(), "{lines}");
    let (status, schedule) = server.get("/schedules/friday?groupName=waves");
    assert_eq!(status, 200, "{schedule}");
}
