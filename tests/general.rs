//! The general endpoint, `/ws`: connections, messages and disconnections are events on the bus, and back ends answer.

use crate::at_connections;
use crate::aws::{events, queue, receive};
use crate::player::Player;
use crate::server::{Server, fresh_data};
use fakemon_delivery::schema::{Schema, our_schemas, schema_name};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::PathBuf;
use tungstenite::Message;

/// Settings in a file beside the data.
pub(crate) fn settings(data: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = data.path().join("fakemon.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// A queue of all events of `/ws`.
pub(crate) fn heard(server: &Server) -> String {
    let (url, arn) = queue(server, "heard");
    let pattern = json!({ "source": ["fakemon.connections"] }).to_string();
    events(server, "PutRule", json!({ "Name": "heard", "EventBusName": "fakemon", "EventPattern": pattern }));
    let targets = json!([{ "Id": "q", "Arn": arn }]);
    events(server, "PutTargets", json!({ "Rule": "heard", "EventBusName": "fakemon", "Targets": targets }));
    url
}

/// The next `count` events, each checked by its schema in our registry: detail-type and detail.
pub(crate) fn next(server: &Server, url: &str, count: usize) -> Vec<(String, Value)> {
    let event = |message: &Value| {
        let event: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
        check_by_our_schema(&event);
        (event["detail-type"].as_str().unwrap().to_owned(), event["detail"].clone())
    };
    receive(server, url, count).iter().map(event).collect()
}

/// Route keys that a client chose have no schema; all else has.
fn check_by_our_schema(event: &Value) {
    let (source, detail_type) = (event["source"].as_str().unwrap(), event["detail-type"].as_str().unwrap());
    if detail_type.starts_with('$') {
        let name = schema_name(source, detail_type);
        let ours = our_schemas().iter().find(|ours| ours.name == name).expect("every event of ours has a schema");
        Schema::read(ours.kind, &ours.content).unwrap().check(event).unwrap();
    }
}

#[test]
fn what_is_said_becomes_events_in_order_and_back_ends_answer() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let url = heard(&server);
    let (mut ash, id) = Player::connect_to(server.play, "/ws?player=ash").unwrap();
    ash.say(&json!({ "action": "join", "room": 7 })).unwrap();
    ash.socket.send(Message::text("good morning")).unwrap();
    ash.socket.send(Message::text("{\"action\":\"$connect\"}")).unwrap();
    ash.socket.send(Message::binary(vec![0xFF, 0])).unwrap();
    // Else a rule on the detail-type alone would take it for an event of the engine.
    ash.say(&json!({ "action": "fakemon.capture_succeeded" })).unwrap();
    let said = next(&server, &url, 6);
    let kinds: Vec<&str> = said.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["$connect", "join", "$default", "$default", "$default", "$default"]);
    for (kind, detail) in &said {
        assert_eq!((&detail["connection_id"], &detail["player"]), (&json!(id), &json!("ash")), "{kind}");
        assert_eq!(detail["route_key"], json!(kind));
    }
    assert_eq!((&said[0].1["event_type"], &said[0].1["source_ip"]), (&json!("CONNECT"), &json!("127.0.0.1")));
    let of = |index: usize| {
        let detail: &Value = &said[index].1;
        (detail["body"].clone(), detail["is_base64"].clone(), detail["message"].clone())
    };
    let joined = json!({ "action": "join", "room": 7 });
    assert_eq!(of(1), (json!(joined.to_string()), json!(false), joined));
    assert_eq!(of(2), (json!("good morning"), json!(false), Value::Null));
    assert_eq!(of(4), (json!("/wA="), json!(true), Value::Null));
    let ids: HashSet<_> = said[1..].iter().map(|(_, detail)| detail["message_id"].to_string()).collect();
    assert_eq!(ids.len(), 5, "every message has an id of its own");

    let path = format!("/@connections/{id}");
    assert_eq!(at_connections::call(&server, "POST", &path, b"{\"welcome\":7}").0, 200);
    assert_eq!(ash.hear().unwrap(), json!({ "welcome": 7 }));
    let (_, _, found) = at_connections::call(&server, "GET", &path, b"");
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!((&found["endpoint"], &found["player"]), (&json!("ws"), &json!("ash")), "{found}");
    ash.socket.close(None).unwrap();
    assert_eq!(ash.close_code(), None);
    let (kind, detail) = next(&server, &url, 1).remove(0);
    assert_eq!((kind.as_str(), &detail["reason"]), ("$disconnect", &json!("goodbye")));
    assert_eq!((&detail["event_type"], &detail["connection_id"]), (&json!("DISCONNECT"), &json!(id)));
}

#[test]
fn nobody_in_particular_may_talk_too_and_only_the_server_says_who_connects() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let url = heard(&server);
    let forged = json!({ "Source": "fakemon.connections", "DetailType": "$connect", "Detail": "{}", "EventBusName": "fakemon" });
    assert_eq!(events(&server, "PutEvents", json!({ "Entries": [forged] }))["FailedEntryCount"], 1);
    let (_somebody, id) = Player::connect_to(server.play, "/ws").unwrap();
    let (kind, detail) = next(&server, &url, 1).remove(0);
    assert_eq!((kind.as_str(), &detail["connection_id"]), ("$connect", &json!(id)));
    assert!(detail.get("player").is_none(), "{detail}");
}

#[test]
fn routes_and_limits_are_settings() {
    let data = fresh_data();
    let path = settings(
        &data,
        "[connections]\nroute_selection_expression = \"$request.body.head.type\"\nmessages_per_second = 1\n\
         messages_burst = 3\nmessage_bytes_max = 1024\n",
    );
    let server = Server::start(&data.path().join("world"), &["--config", path.to_str().unwrap()]);
    let url = heard(&server);
    let (mut ash, id) = Player::connect_to(server.play, "/ws").unwrap();
    for number in 0..4 {
        ash.say(&json!({ "head": { "type": format!("route-{number}") } })).unwrap();
    }
    let refused = ash.hear().unwrap();
    assert_eq!((&refused["message"], &refused["connectionId"]), (&json!("Limit exceeded"), &json!(id)));
    assert!(refused["requestId"].as_str().unwrap().starts_with(&id), "{refused}");
    let kinds: Vec<String> = next(&server, &url, 4).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["$connect", "route-0", "route-1", "route-2"]);
    let (mut other, _) = Player::connect_to(server.play, "/ws").unwrap();
    other.socket.send(Message::text("x".repeat(1_025))).unwrap();
    assert_eq!(other.close_code(), Some(1009));
}

#[test]
fn what_was_told_of_connections_survives_a_kill() {
    let data = fresh_data();
    let mut server = Server::start(data.path(), &[]);
    let url = heard(&server);
    let (mut ash, _) = Player::connect_to(server.play, "/ws").unwrap();
    for number in 0..200 {
        ash.say(&json!({ "action": "count", "number": number })).unwrap();
    }
    // Some are durable, the rest is in flight. Events delivered before the kill may be delivered again after it.
    let (mut numbers, mut known): (Vec<u64>, HashSet<String>) = Default::default();
    let mut hear = |server: &Server| {
        let mut said = next(server, &url, 1);
        said.retain(|(_, detail)| known.insert(detail["message_id"].to_string()));
        numbers.extend(said.iter().filter_map(|(_, detail)| detail["message"]["number"].as_u64()));
        said.iter().any(|(kind, _)| kind == "end")
    };
    hear(&server);
    server.kill();
    server = Server::start(data.path(), &[]);
    let (mut again, _) = Player::connect_to(server.play, "/ws").unwrap();
    again.say(&json!({ "action": "end" })).unwrap();
    while !hear(&server) {}
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "the first so many, in order, each once");
}
