//! What comes in and cannot be carried out is answered, counted and told in the same words by every door.

use crate::aws::{PATIENCE, events, queue, receive};
use crate::player::Player;
use crate::server::{Server, answer, fresh_data, refusal};
use serde_json::{Value, json};
use std::time::Instant;

/// Puts commands as events of one call; returns their ids.
fn put(server: &Server, commands: &[(&str, &str, Value)]) -> Vec<String> {
    let entry = |(source, detail_type, detail): &(&str, &str, Value)| json!({ "Source": source, "DetailType": detail_type, "Detail": detail.to_string() });
    let entries: Vec<Value> = commands.iter().map(entry).collect();
    let put = events(server, "PutEvents", json!({ "Entries": entries }));
    let ids = put["Entries"].as_array().unwrap().iter().map(|entry| entry["EventId"].as_str().unwrap().to_owned());
    ids.collect()
}

/// A queue of the commands that are refused; its URL.
fn refusals(server: &Server) -> String {
    let (url, arn) = queue(server, "refusals");
    let pattern = json!({ "detail-type": ["fakemon.command_refused"] }).to_string();
    events(server, "PutRule", json!({ "Name": "refusals", "EventBusName": "fakemon", "EventPattern": pattern }));
    let target = json!([{ "Id": "q", "Arn": arn, "InputPath": "$.detail" }]);
    events(server, "PutTargets", json!({ "Rule": "refusals", "EventBusName": "fakemon", "Targets": target }));
    url
}

/// The details of the next refusals.
fn next(server: &Server, url: &str, count: usize) -> Vec<Value> {
    let body = |message: &Value| serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
    receive(server, url, count).iter().map(body).collect()
}

fn spawn(id: &str, species: &str, lat: f64) -> (&'static str, &'static str, Value) {
    let detail = json!({ "fakemon_id": id, "species": species, "lat": lat, "lon": 2, "catch_rate": 1 });
    ("fakemon.world", "fakemon.spawn", detail)
}

fn throw(attempt: &str, fakemon: &str) -> (&'static str, &'static str, Value) {
    let detail = json!({ "player": "ash", "attempt_id": attempt, "fakemon_id": fakemon, "lat": 1, "lon": 2 });
    ("fakemon.game", "fakemon.capture_attempt", detail)
}

/// The tree of an event, and the relations of what is directly below it.
fn traced(dir: &str, event: &str) -> (Value, Vec<String>) {
    let tree: Value = serde_json::from_str(&answer(&["trace", "--data", dir, "--json", event])).unwrap();
    let children = tree["tree"]["children"].as_array().unwrap().iter();
    let relations = children.map(|child| format!("{} {}", child["relation"], child["detail_type"]).replace('"', ""));
    let relations = relations.collect();
    (tree, relations)
}

/// Waits until so many commands were refused for a reason: metrics are made ten times a second.
fn counted(server: &Server, reason: &str, count: u64) {
    let sample = format!("fakemon_commands_refused_total{{reason=\"{reason}\"}} {count}\n");
    let by = Instant::now() + PATIENCE;
    while !server.get("/metrics").1.contains(&sample) {
        assert!(Instant::now() < by, "{sample} of {}", server.get("/metrics").1);
    }
}

#[test]
fn a_spawn_with_a_taken_id_is_told_counted_and_causes_nothing_else() {
    let data = fresh_data();
    let dir = data.path().to_str().unwrap();
    let mut server = Server::start(data.path(), &[]);
    let url = refusals(&server);
    // The same twice in one call, and then at another place, and of another species.
    let same = || spawn("777", "leaflet", 1.0);
    let ids = put(&server, &[same(), same(), spawn("777", "leaflet", 1.5), spawn("777", "sparkit", 1.0)]);
    let told = next(&server, &url, 3);
    for (told, id) in told.iter().zip(&ids[1..]) {
        assert_eq!((&told["event_id"], &told["reason"]), (&json!(id), &json!("id_taken")));
        assert_eq!(told["fakemon_id"], "777", "{told}");
    }
    counted(&server, "id_taken", 3);
    // Refused at `POST /events`, the sender has the answer: it is counted, and no event.
    let taken = json!({ "source": "fakemon.world", "detail-type": "fakemon.spawn", "detail": same().2 }).to_string();
    assert_eq!(server.post_event(&taken).1["error"]["code"], "id_taken");
    assert_eq!(server.post_event(&taken.replace("leaflet", "nothing")).1["error"]["code"], "unknown_species");
    assert_eq!(server.post_event(&taken.replace("\"lat\":1.0", "\"lat\":91")).1["error"]["code"], "out_of_range");
    for (reason, count) in [("id_taken", 4), ("unknown_species", 1), ("out_of_range", 1)] {
        counted(&server, reason, count);
    }
    let mut ash = Player::connect(server.play, "ash").unwrap();
    let caught = ash.ask(&json!({ "type": "attempt", "attempt_id": "1", "fakemon_id": "777", "lat": 1, "lon": 2 }));
    assert_eq!(caught.unwrap()["outcome"], "captured");
    // Only the first caused something in the world.
    assert_eq!(traced(dir, &ids[0]).1, ["carried_out fakemon.appeared"]);
    for id in &ids[1..] {
        assert_eq!(traced(dir, id).1, ["refused fakemon.command_refused"], "{id}");
    }
    // A spawn that was carried out before the process died is not refused when it comes again.
    let ids = put(&server, &[spawn("778", "leaflet", 1.0)]);
    while traced(dir, &ids[0]).1.is_empty() {}
    server.kill();
    server = Server::start(data.path(), &[]);
    put(&server, &[spawn("777", "leaflet", 1.0)]);
    assert_eq!(next(&server, &url, 1)[0]["fakemon_id"], "777", "the refusal of 778 would be first");
}

#[test]
fn an_attempt_id_that_was_used_gets_its_first_answer_and_its_sender_is_told() {
    let data = fresh_data();
    let dir = data.path().to_str().unwrap();
    let server = Server::start(data.path(), &[]);
    let url = refusals(&server);
    let mut phone = Player::connect(server.play, "ash").unwrap();
    put(&server, &[spawn("1", "leaflet", 1.0), spawn("2", "leaflet", 1.0)]);
    let ids = put(&server, &[throw("9", "1"), throw("9", "1"), throw("9", "2")]);
    let answers: Vec<Value> = (0..3).map(|_| phone.hear().unwrap()).collect();
    for answer in &answers {
        assert_eq!((&answer["outcome"], &answer["fakemon_id"]), (&json!("captured"), &json!("1")), "{answers:?}");
        assert_eq!(answer["position"], answers[0]["position"]);
    }
    let told = next(&server, &url, 1).remove(0);
    let position = answers[0]["position"].as_str().unwrap();
    assert_eq!((&told["event_id"], &told["reason"]), (&json!(ids[2]), &json!("attempt_id_used")));
    assert_eq!((&told["player"], &told["position"]), (&json!("ash"), &json!(position)), "{told}");
    counted(&server, "attempt_id_used", 1);
    assert_eq!(traced(dir, &ids[0]).1, ["carried_out fakemon.capture_succeeded"]);
    let (tree, relations) = traced(dir, &ids[1]);
    assert_eq!(relations, ["answered_before fakemon.capture_succeeded"]);
    assert_eq!(tree["tree"]["children"][0]["position"], position);
    let (tree, relations) = traced(dir, &ids[2]);
    let mut relations = relations;
    relations.sort();
    assert_eq!(relations, ["answered_before fakemon.capture_succeeded", "refused fakemon.command_refused"], "{tree}");
    let said = refusal(&["explain", "--data", dir, &ids[2]]).1;
    assert!(said.contains(&format!("`fakemon explain {position}`")), "{said}");
}
