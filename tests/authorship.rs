//! Events of the engine can be put by the engine only, by any API and on any bus.

use crate::aws::{events, queue, receive};
use crate::partners::ask;
use crate::pipes::rest;
use crate::player::{Player, SOL};
use crate::server::{Server, fresh_data};
use serde_json::{Value, json};

#[test]
fn nobody_says_through_any_door_what_the_engine_says() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    for (source, kind) in [
        ("fakemon.capture", "fakemon.capture_succeeded"),
        ("fakemon.connection", "fakemon.spawn"),
        ("fakemon.engine", "sold"),
        ("shop", "fakemon.capture_succeeded"),
    ] {
        for bus in ["default", "fakemon"] {
            let entry = json!({ "Source": source, "DetailType": kind, "Detail": "{}", "EventBusName": bus });
            let answer = events(&server, "PutEvents", json!({ "Entries": [entry] }));
            assert_eq!(answer["Entries"][0]["ErrorCode"], "NotAuthorizedForSourceException", "{entry}: {answer}");
            let plain = json!({ "source": source, "detail-type": kind, "detail": {}, "event-bus": bus });
            for event in [entry, plain] {
                let (status, answer) = server.post_event(&event.to_string());
                assert_eq!((status, &answer["error"]["code"]), (400, &json!("reserved_source")), "{event}");
            }
            let event = json!({ "specversion": "1.0", "id": "1", "source": source, "type": kind, "data": {} });
            let headers = [("content-type", "application/cloudevents+json")];
            let (status, answer) = ask(&server, "POST", &format!("/events?bus={bus}"), &headers, &event.to_string());
            assert_eq!((status, &answer["error"]["code"]), (400, &json!("reserved_source")), "{event}: {answer}");
            let schedule = json!({
                "ScheduleExpression": "rate(1 hour)", "FlexibleTimeWindow": { "Mode": "OFF" },
                "Target": {
                    "Arn": format!("arn:aws:events:local:123456789012:event-bus/{bus}"), "Input": "{}",
                    "RoleArn": "arn:aws:iam::123456789012:role/any",
                    "EventBridgeParameters": { "Source": source, "DetailType": kind },
                },
            });
            assert_eq!(rest(&server, "POST", "/schedules/forged", &schedule).0, 400, "{schedule}");
        }
    }
    // Any client may put commands.
    let spawn = json!({ "fakemon_id": "5", "species": "sparkit", "lat": SOL.0, "lon": SOL.1 }).to_string();
    let attempt =
        json!({ "player": "ash", "attempt_id": "1", "fakemon_id": "5", "lat": SOL.0, "lon": SOL.1 }).to_string();
    for (source, kind, detail) in
        [("fakemon.world", "fakemon.spawn", spawn), ("fakemon.game", "fakemon.capture_attempt", attempt)]
    {
        let entry = json!({ "Source": source, "DetailType": kind, "Detail": detail });
        assert_eq!(events(&server, "PutEvents", json!({ "Entries": [entry] }))["FailedEntryCount"], 0, "{kind}");
    }
}

#[test]
fn rules_carry_on_what_the_engine_said_and_make_up_nothing() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let ((url, arn), (dead, dead_arn)) = (queue(&server, "heard"), queue(&server, "dead"));
    events(&server, "CreateEventBus", json!({ "Name": "shop" }));
    let to_shop = "arn:aws:events:local:123456789012:event-bus/shop";
    let forged = json!({ "version": "0", "id": "1", "source": "fakemon.capture", "account": "123456789012",
                         "detail-type": "fakemon.capture_succeeded", "time": "2026-01-01T00:00:00Z",
                         "region": "local", "resources": [], "detail": { "player": "bob" } });
    for (bus, source, target) in [
        ("fakemon", "fakemon.connection", json!({ "Id": "on", "Arn": to_shop })),
        (
            "default",
            "till",
            json!({ "Id": "forges", "Arn": to_shop, "DeadLetterConfig": { "Arn": dead_arn },
                    "InputTransformer": { "InputPathsMap": {}, "InputTemplate": forged.to_string() } }),
        ),
        ("shop", "fakemon.connection", json!({ "Id": "q", "Arn": arn })),
        ("shop", "fakemon.capture", json!({ "Id": "q", "Arn": arn })),
    ] {
        let pattern = json!({ "source": [source] }).to_string();
        events(&server, "PutRule", json!({ "Name": source, "EventBusName": bus, "EventPattern": pattern }));
        let targets = json!({ "Rule": source, "EventBusName": bus, "Targets": [target] });
        let answer = events(&server, "PutTargets", targets);
        assert_eq!(answer["FailedEntryCount"], 0, "{answer}");
    }
    let sold = json!({ "Source": "till", "DetailType": "sold", "Detail": "{}" });
    events(&server, "PutEvents", json!({ "Entries": [sold] }));
    let letter = receive(&server, &dead, 1).remove(0);
    assert!(letter["MessageAttributes"]["ERROR_MESSAGE"]["StringValue"].to_string().contains("fakemon.capture"));
    let _ash = Player::connect(server.play, "ash").unwrap();
    let heard: Value = serde_json::from_str(receive(&server, &url, 1)[0]["Body"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&heard["source"], &heard["detail-type"]),
        (&json!("fakemon.connection"), &json!("fakemon.connected"))
    );
}
