//! JSON as it was written: the bytes of numbers and texts, and the order of members, are preserved by every API, rule
//! and target. And bodies in an unsupported encoding are rejected, not misread.

use crate::aws::{events, queue, receive, sqs};
use crate::general::settings;
use crate::partners::ask;
use crate::pipes::{ROLE, rest};
use crate::player::Player;
use crate::schedules::{in_seconds, ok, schedule};
use crate::server::{Server, answer, fresh_data};
use serde_json::{Value, json};
use tungstenite::Message;

/// JSON that parsing into a tree of values would change.
const DETAIL: &str = r#"{"z":1,"big":12345678901234567890123,"e":1e2,"p":1.10,"tiny":1e-400,"huge":1E+999,"a":[{"z":-0,"b":0.10}],"\u0061":"\u00e9\/ é"}"#;

/// A queue that is the target of a rule; its URL.
fn filled_by(server: &Server, bus: &str, name: &str, pattern: &Value, more: &Value) -> String {
    let (url, arn) = queue(server, name);
    let rule = json!({ "Name": name, "EventBusName": bus, "EventPattern": pattern.to_string() });
    events(server, "PutRule", rule);
    let mut target = json!({ "Id": "q", "Arn": arn });
    target.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    events(server, "PutTargets", json!({ "Rule": name, "EventBusName": bus, "Targets": [target] }));
    url
}

/// The texts of the next messages.
fn bodies(server: &Server, url: &str, count: usize) -> Vec<String> {
    receive(server, url, count).iter().map(|message| message["Body"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_put_leaves_as_it_came_whichever_way_it_comes_in() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let url = filled_by(&server, "default", "all", &json!({ "source": [{ "prefix": "s" }] }), &Value::Null);
    let cloud = |data: &str| format!(r#"{{"specversion":"1.0","id":"1","source":"s","type":"t",{data}}}"#);
    let plain = format!(r#"{{"source":"s","detail-type":"t","detail": {DETAIL} }}"#);
    let entry = json!({ "Source": "s", "DetailType": "t", "Detail": DETAIL });
    let binary = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "s"), ("ce-type", "t")];
    let structured = [("content-type", "application/cloudevents+json; charset=UTF-8")];
    let batch = [("content-type", "application/cloudevents-batch+json")];
    let in_data = format!("{{\"data\":[{DETAIL},1.10]}}");
    for (headers, body, detail) in [
        (&[][..], plain.clone(), DETAIL),
        (&[], format!("[{plain}]"), DETAIL),
        (&[], entry.to_string(), DETAIL),
        (&structured, cloud(&format!(r#""data": {DETAIL}"#)), DETAIL),
        (&structured, cloud(&format!(r#""data": [ {DETAIL}, 1.10 ]"#)), &in_data),
        (&batch, format!("[{}]", cloud(&format!(r#""data":{DETAIL}"#))), DETAIL),
        (&binary, format!("\n{DETAIL}\n"), DETAIL),
    ] {
        let (status, told) = ask(&server, "POST", "/events", headers, &body);
        assert_eq!(status, 200, "{body}: {told}");
        let heard = bodies(&server, &url, 1).remove(0);
        assert!(heard.ends_with(&format!(r#","detail":{detail}}}"#)), "{body}: {heard}");
    }
    events(&server, "PutEvents", json!({ "Entries": [entry] }));
    let heard = bodies(&server, &url, 1).remove(0);
    assert!(heard.contains(DETAIL), "{heard}");
    let log = answer(&["log", "--data", data.path().to_str().unwrap()]);
    assert_eq!(log.matches(DETAIL).count(), 8);
    let id = heard.split('"').nth(7).expect("version, then the id");
    let trace = answer(&["trace", "--data", data.path().to_str().unwrap(), id, "--json"]);
    assert!(trace.contains(DETAIL), "{trace}");
}

#[test]
fn partners_connections_schedules_and_pipes_keep_it_too() {
    let data = fresh_data();
    let file = settings(&data, "");
    let server = Server::start(&data.path().join("world"), &["--config", file.to_str().unwrap()]);
    // A webhook of the generic layout; the body is signed by hand.
    let secret = "hush-hush-hush";
    let signed = |body: &str| {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
        let tag = ring::hmac::sign(&key, body.as_bytes());
        format!("sha256={}", tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    };
    let made =
        ask(&server, "PUT", "/webhooks/hub", &[], &json!({ "layout": "github", "secrets": [secret] }).to_string());
    assert_eq!(made.0, 200, "{}", made.1);
    let source = "aws.partner/webhooks/hub";
    events(&server, "CreateEventBus", json!({ "Name": source, "EventSourceName": source }));
    let url = filled_by(&server, source, "partner", &json!({ "source": [source] }), &Value::Null);
    let payload: String = form_encoded(DETAIL);
    for (number, (content_type, body, detail)) in [
        ("application/json", DETAIL.to_owned(), DETAIL.to_owned()),
        (
            "application/json",
            format!("[{DETAIL}]"),
            format!(r#"{{"body":[{DETAIL}],"content_type":"application/json"}}"#),
        ),
        ("application/x-www-form-urlencoded", format!("payload={payload}"), DETAIL.to_owned()),
        (
            "application/x-www-form-urlencoded",
            "command=%2Fthrow".to_owned(),
            r#"{"body":"command=%2Fthrow","content_type":"application/x-www-form-urlencoded"}"#.to_owned(),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let (mac, delivery) = (signed(&body), number.to_string());
        let headers = [
            ("content-type", content_type),
            ("x-hub-signature-256", &mac),
            ("x-github-event", "push"),
            ("x-github-delivery", &delivery),
        ];
        let (status, told) = ask(&server, "POST", "/webhooks/hub", &headers, &body);
        assert_eq!(status, 200, "{told}");
        let heard = bodies(&server, &url, 1).remove(0);
        assert!(heard.ends_with(&format!(r#","detail":{detail}}}"#)), "{body}: {heard}");
    }

    let said = json!({ "source": ["fakemon.connections"], "detail": { "event_type": ["MESSAGE"] } });
    let url = filled_by(&server, "fakemon", "said", &said, &Value::Null);
    let (mut ash, _) = Player::connect_to(server.play, "/ws?player=ash").unwrap();
    ash.socket.send(Message::text(DETAIL)).unwrap();
    let heard = bodies(&server, &url, 1).remove(0);
    assert!(heard.contains(&format!(r#""message":{DETAIL}"#)), "{heard}");
    // JSON nested too deep for a detail is there as a string.
    ash.socket.send(Message::text(format!("{}{}", "{\"a\":".repeat(300), "1") + &"}".repeat(300))).unwrap();
    let heard = bodies(&server, &url, 1).remove(0);
    assert!(!heard.contains("\"message\":"), "{heard}");

    let url = filled_by(&server, "default", "due", &json!({ "source": ["due"] }), &Value::Null);
    let parameters = json!({ "Source": "due", "DetailType": "t" });
    let bus = "arn:aws:events:local:123456789012:event-bus/default";
    let target = json!({ "Arn": bus, "EventBridgeParameters": parameters, "Input": DETAIL });
    ok(&server, "POST", "/schedules/one", schedule(&in_seconds(1).0, &target));
    let heard = bodies(&server, &url, 1).remove(0);
    assert!(heard.ends_with(&format!(r#","detail":{DETAIL}}}"#)), "{heard}");

    let url = filled_by(&server, "default", "piped", &json!({ "source": ["pipe"] }), &Value::Null);
    let (source_url, source) = queue(&server, "source");
    let to_bus = json!({ "Source": "pipe", "DetailType": "t" });
    let pipe = json!({ "RoleArn": ROLE, "Source": source, "Target": bus, "TargetParameters": {
        "InputTemplate": "{\"was\":<$.body>,\"p\":<$.body.p>}", "EventBridgeEventBusParameters": to_bus } });
    assert_eq!(rest(&server, "POST", "/v1/pipes/p", &pipe).0, 200);
    sqs(&server, "SendMessage", json!({ "QueueUrl": source_url, "MessageBody": DETAIL }));
    let heard = bodies(&server, &url, 1).remove(0);
    assert!(heard.ends_with(&format!(r#","detail":{{"was":{DETAIL},"p":1.10}}}}"#)), "{heard}");
}

fn form_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[test]
fn it_passes_rules_transforms_other_buses_and_log_groups() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    events(&server, "CreateEventBus", json!({ "Name": "other" }));
    let all = json!({ "source": ["s"] });
    let part = filled_by(&server, "default", "part", &all, &json!({ "InputPath": "$.detail" }));
    let template = json!({ "InputTransformer": {
        "InputPathsMap": { "d": "$.detail", "big": "$.detail.big" }, "InputTemplate": "{\"big\":<big>,\"d\":<d>}" } });
    let template = filled_by(&server, "default", "template", &all, &template);
    let there = filled_by(&server, "other", "there", &all, &Value::Null);
    events(&server, "PutRule", json!({ "Name": "over", "EventPattern": all.to_string() }));
    let bus = "arn:aws:events:local:123456789012:event-bus/other";
    events(&server, "PutTargets", json!({ "Rule": "over", "Targets": [{ "Id": "b", "Arn": bus }] }));
    events(&server, "PutEvents", json!({ "Entries": [{ "Source": "s", "DetailType": "t", "Detail": DETAIL }] }));
    assert_eq!(bodies(&server, &part, 1), [DETAIL]);
    assert_eq!(bodies(&server, &template, 1), [format!(r#"{{"big":12345678901234567890123,"d":{DETAIL}}}"#)]);
    let heard = bodies(&server, &there, 1).remove(0);
    assert!(heard.ends_with(&format!(r#","detail":{DETAIL}}}"#)), "{heard}");
    let pattern = data.path().join("pattern.json");
    std::fs::write(&pattern, all.to_string()).unwrap();
    let (dir, pattern) = (data.path().to_str().unwrap(), pattern.to_str().unwrap());
    let tried = answer(&["rules", "test", "--data", dir, "--pattern", pattern, "--bus", "other", "--json"]);
    assert!(tried.contains(DETAIL), "{tried}");
}

#[test]
fn a_body_that_is_compressed_or_in_another_encoding_is_refused_at_every_door() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let body = r#"{"source":"s","detail-type":"t","detail":{}}"#;
    for (method, path, target) in [
        ("POST", "/events", None),
        ("POST", "/", Some("AWSEvents.PutEvents")),
        ("POST", "/", Some("AmazonSQS.ListQueues")),
        ("POST", "/v1/pipes/p", None),
        ("POST", "/schedules/s", None),
        ("POST", "/apikeys", None),
        ("POST", "/webhooks/w", None),
        ("PUT", "/answers/webhooks/w", None),
        ("POST", "/@connections/x", None),
    ] {
        for unread in [("content-encoding", "gzip"), ("content-type", "application/json; charset=iso-8859-1")] {
            let mut headers = vec![unread];
            headers.extend(target.map(|target| ("x-amz-target", target)));
            let (status, told) = ask(&server, method, path, &headers, body);
            assert_eq!(status, 415, "{method} {path} {unread:?}: {told}");
            assert!(told.to_string().contains("not read here"), "{told}");
        }
    }
    let identity = [("content-encoding", "identity"), ("content-type", "application/json; charset=utf-8")];
    assert_eq!(ask(&server, "POST", "/events", &identity, body).0, 200);
}

#[test]
fn paths_mean_the_same_encoded_or_not() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (mut ash, id) = Player::connect_to(server.play, "/ws?player=ash").unwrap();
    for path in [format!("/%40connections/{id}"), format!("/prod/%40connections/{id}"), format!("/@connections/{id}")]
    {
        assert_eq!(ask(&server, "POST", &path, &[], "hello").0, 200, "{path}");
        let said = ash.socket.read().unwrap();
        assert_eq!(said, Message::text("hello"), "{path}");
    }
    let body = r#"{"source":"s","detail-type":"t","detail":{}}"#;
    assert_eq!(ask(&server, "POST", "/%65vents", &[], body).0, 200);
    assert_eq!(ask(&server, "POST", "/%2Fevents", &[], body).0, 404);
}
