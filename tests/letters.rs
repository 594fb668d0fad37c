//! Messages of the bus to players, and events of their connections.

use crate::aws::{events, queue, receive};
use crate::player::{Player, SOL};
use crate::server::{Server, fresh_data};
use serde_json::{Value, json};

/// Makes a rule on the game's bus with one target.
fn rule(server: &Server, name: &str, pattern: &Value, target: Value) {
    events(
        server,
        "PutRule",
        json!({ "Name": name, "EventBusName": "fakemon", "EventPattern": pattern.to_string() }),
    );
    let answer =
        events(server, "PutTargets", json!({ "Rule": name, "EventBusName": "fakemon", "Targets": [target] }));
    assert_eq!(answer["FailedEntryCount"], 0, "{answer}");
}

fn put(server: &Server, source: &str, detail_type: &str, detail: &Value) {
    let entry = json!({ "Source": source, "DetailType": detail_type, "Detail": detail.to_string() });
    assert_eq!(events(server, "PutEvents", json!({ "Entries": [entry] }))["FailedEntryCount"], 0);
}

fn body(message: &Value) -> Value {
    serde_json::from_str(message["Body"].as_str().unwrap()).unwrap()
}

#[test]
fn an_attempt_that_came_as_event_is_answered_on_all_connections_of_its_player_and_rules_reach_them() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (dead, dead_arn) = queue(&server, "dead");
    let caught = json!({ "detail-type": ["fakemon.capture_succeeded"] });
    let everybody = json!({ "Id": "players", "Arn": "arn:aws:fakemon:local:123456789012:players",
                            "InputTransformer": { "InputPathsMap": { "who": "$.detail.player" },
                                                  "InputTemplate": "{\"type\":\"news\",\"winner\":<who>}" } });
    rule(&server, "winner", &caught, everybody);
    let nobody = json!({ "Id": "gary", "Arn": "arn:aws:fakemon:local:123456789012:player/gary",
                         "DeadLetterConfig": { "Arn": dead_arn } });
    rule(&server, "rival", &caught, nobody);

    let mut phone = Player::connect(server.play, "ash").unwrap();
    let mut watch = Player::connect(server.play, "ash").unwrap();
    let mut other = Player::connect(server.play, "misty").unwrap();
    put(
        &server,
        "fakemon.world",
        "fakemon.spawn",
        &json!({ "fakemon_id": "5", "species": "sparkit", "lat": SOL.0, "lon": SOL.1, "catch_rate": 1 }),
    );
    put(
        &server,
        "fakemon.game",
        "fakemon.capture_attempt",
        &json!({ "player": "ash", "attempt_id": "1", "fakemon_id": "5", "lat": SOL.0, "lon": SOL.1 }),
    );
    for connection in [&mut phone, &mut watch] {
        let mut heard = [connection.hear().unwrap(), connection.hear().unwrap()];
        heard.sort_by_key(|message| message["type"].to_string());
        assert_eq!(heard[0], json!({ "type": "news", "winner": "ash" }));
        assert_eq!((&heard[1]["type"], &heard[1]["outcome"]), (&json!("result"), &json!("captured")));
        assert_eq!((&heard[1]["attempt_id"], &heard[1]["fakemon_id"]), (&json!("1"), &json!("5")));
    }
    let letter = receive(&server, &dead, 1).remove(0);
    assert_eq!(letter["MessageAttributes"]["ERROR_CODE"]["StringValue"], "NO_RESOURCE");
    // No other player got the message: the next one is the answer to a request.
    assert_eq!(other.ask(&json!({ "type": "collection" })).unwrap()["type"], "collection");
}

#[test]
fn a_command_that_makes_no_sense_is_told_on_the_bus() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (refused, arn) = queue(&server, "refused");
    let pattern = json!({ "detail-type": ["fakemon.command_refused"] });
    rule(&server, "refused", &pattern, json!({ "Id": "q", "Arn": arn, "InputPath": "$.detail.field" }));
    for (detail, what) in [
        (json!({ "player": "ash", "attempt_id": "x", "fakemon_id": "5", "lat": 1, "lon": 1 }), "attempt_id"),
        (json!({ "player": "ash", "attempt_id": "1", "fakemon_id": "5", "lat": 400, "lon": 1 }), "lat"),
    ] {
        put(&server, "fakemon.game", "fakemon.capture_attempt", &detail);
        let reason = receive(&server, &refused, 1)[0]["Body"].to_string();
        assert!(reason.contains(what), "{reason}");
    }
}

#[test]
fn who_comes_and_who_goes_is_on_the_bus() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (presence, arn) = queue(&server, "presence");
    rule(&server, "presence", &json!({ "source": ["fakemon.connection"] }), json!({ "Id": "q", "Arn": arn }));
    let player = Player::connect(server.play, "ash").unwrap();
    let came = body(&receive(&server, &presence, 1)[0]);
    assert_eq!((&came["detail-type"], &came["detail"]["player"]), (&json!("fakemon.connected"), &json!("ash")));
    drop(player);
    let went = body(&receive(&server, &presence, 1)[0]);
    assert_eq!(went["detail-type"], "fakemon.disconnected");
    assert_eq!(went["detail"]["connection_id"], came["detail"]["connection_id"]);
    assert_eq!(went["detail"]["reason"], "lost");
}
