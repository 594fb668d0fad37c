//! Partner webhooks and partner event sources: requests that a partner signed become events, others do not.

use crate::aws::{events, queue, receive, refused, sqs};
use crate::server::{Server, fresh_data};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::hmac;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

const SECRET: &str = "hush-hush-hush";
const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Status and JSON of an answer.
pub(crate) fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let uri = format!("http://{}{path}", server.control);
    let mut request = tungstenite::http::Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let mut response = agent.run(request.body(body.to_owned()).unwrap()).unwrap();
    let text = response.body_mut().read_to_string().unwrap();
    (response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn put(server: &Server, name: &str, settings: &Value) -> Value {
    let (status, answer) = ask(server, "PUT", &format!("/webhooks/{name}"), &[], &settings.to_string());
    assert_eq!(status, 200, "{answer}");
    answer
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn mac(secret: &[u8], signed: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The headers of a layout, as its partner sends them at `at_s`.
fn signed(layout: &str, secret: &str, at_s: u64, id: &str, body: &str) -> Vec<(&'static str, String)> {
    let key = secret.as_bytes();
    match layout {
        "github" => vec![
            ("x-hub-signature-256", format!("sha256={}", hex(&mac(key, body)))),
            ("x-github-event", "push".into()),
            ("x-github-delivery", id.into()),
        ],
        "stripe" => {
            vec![("stripe-signature", format!("t={at_s},v1={}", hex(&mac(key, &format!("{at_s}.{body}")))))]
        }
        "slack" => vec![
            ("x-slack-request-timestamp", at_s.to_string()),
            ("x-slack-signature", format!("v0={}", hex(&mac(key, &format!("v0:{at_s}:{body}"))))),
        ],
        "shopify" => vec![
            ("x-shopify-hmac-sha256", BASE64.encode(mac(key, body))),
            ("x-shopify-topic", "orders/create".into()),
            ("x-shopify-webhook-id", id.into()),
        ],
        "standard" => {
            let key = BASE64.decode(secret.trim_start_matches("whsec_")).unwrap();
            let signature = BASE64.encode(mac(&key, &format!("{id}.{at_s}.{body}")));
            vec![
                ("webhook-id", id.into()),
                ("webhook-timestamp", at_s.to_string()),
                ("webhook-signature", format!("v1,{signature}")),
            ]
        }
        _ => vec![
            ("x-sig", BASE64.encode(mac(key, &format!("{id}/{at_s}/{body}")))),
            ("x-at", at_s.to_string()),
            ("x-id", id.into()),
        ],
    }
}

fn deliver(server: &Server, webhook: &str, headers: &[(&str, String)], body: &str) -> (u16, Value) {
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    ask(server, "POST", &format!("/webhooks/{webhook}"), &headers, body)
}

/// Makes the bus of a partner event source, and a queue that gets everything on it; its URL.
fn bus(server: &Server, source: &str, queue_name: &str) -> String {
    let (url, arn) = queue(server, queue_name);
    events(server, "CreateEventBus", json!({ "Name": source, "EventSourceName": source }));
    let pattern = json!({ "source": [{ "prefix": "aws.partner" }] }).to_string();
    events(server, "PutRule", json!({ "Name": "all", "EventBusName": source, "EventPattern": pattern }));
    events(
        server,
        "PutTargets",
        json!({ "Rule": "all", "EventBusName": source, "Targets": [{ "Id": "q", "Arn": arn }] }),
    );
    url
}

fn waiting(server: &Server, url: &str) -> Value {
    let asked = json!({ "QueueUrl": url, "AttributeNames": ["ApproximateNumberOfMessages"] });
    sqs(server, "GetQueueAttributes", asked)["Attributes"]["ApproximateNumberOfMessages"].clone()
}

#[test]
fn every_layout_is_let_in_once_and_nothing_that_is_forged() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let generic = json!({ "header": "x-sig", "encoding": "base64", "content": "{id}/{timestamp}/{body}",
                          "timestamp_header": "x-at", "id_header": "x-id" });
    for (layout, detail_type) in [
        ("github", "push"),
        ("stripe", "charge.succeeded"),
        ("slack", "charge.succeeded"),
        ("shopify", "orders/create"),
        ("standard", "charge.succeeded"),
        ("generic", "charge.succeeded"),
    ] {
        let secret = if layout == "standard" { STANDARD_SECRET } else { SECRET };
        let mut settings = json!({ "layout": layout, "secrets": ["another secret", secret] });
        match layout {
            "generic" => {
                settings["signature"] = generic.clone();
                settings["detail_type"] = json!({ "body": "type" });
            }
            "standard" => settings["secrets"] = json!([secret]),
            _ => {}
        }
        let shown = put(&server, layout, &settings);
        let source = format!("aws.partner/webhooks/{layout}");
        assert_eq!((&shown["event_source"], &shown["event_source_state"]), (&json!(source), &json!("PENDING")));
        assert!(!shown.to_string().contains("another secret"), "{shown}");
        let url = bus(&server, &source, layout);
        let body = json!({ "id": layout, "event_id": layout, "type": "charge.succeeded", "n": 1 }).to_string();
        let at_s = now_s();
        let good = signed(layout, secret, at_s, "1", &body);
        let (status, told) = deliver(&server, layout, &good, &body);
        assert_eq!(status, 200, "{layout}: {told}");
        // A retry, and one signed again with the same id, are the same event.
        let later = signed(layout, secret, at_s + 1, "1", &body);
        for again in [&good, &later] {
            let (status, again) = deliver(&server, layout, again, &body);
            assert_eq!((status, &again["id"], &again["duplicate"]), (200, &told["id"], &json!(true)), "{layout}");
        }
        let guessed = if layout == "standard" { "whsec_eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4" } else { "guessed guessed" };
        let mut forged = vec![
            (signed(layout, guessed, at_s, "2", &body), body.clone()),
            (good.clone(), body.replace("succeeded", "failed")),
            (Vec::new(), body.clone()),
        ];
        if !["github", "shopify"].contains(&layout) {
            forged.push((signed(layout, secret, at_s - 301, "2", &body), body.clone()));
            forged.push((signed(layout, secret, at_s + 400, "2", &body), body.clone()));
        }
        for (headers, body) in forged {
            let (status, answer) = deliver(&server, layout, &headers, &body);
            assert_eq!((status, &answer["error"]["code"]), (401, &json!("bad_signature")), "{layout}: {answer}");
        }
        let event: Value = serde_json::from_str(receive(&server, &url, 1)[0]["Body"].as_str().unwrap()).unwrap();
        assert_eq!(
            (&event["id"], &event["source"], &event["detail-type"]),
            (&told["id"], &json!(source), &json!(detail_type))
        );
        assert_eq!(event["detail"], serde_json::from_str::<Value>(&body).unwrap());
        assert_eq!(waiting(&server, &url), "0", "{layout}: nothing else was told");
    }
    assert!(!server.log().contains(SECRET));
}

#[test]
fn events_that_look_the_same_are_told_by_their_ids() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    // Two layouts do not sign the id; the third has none, so its signature identifies the event.
    let unsigned = json!({ "header": "x-hub-signature-256", "prefix": "sha256=", "id_header": "x-github-delivery" });
    let nameless = json!({ "header": "x-hub-signature-256", "prefix": "sha256=" });
    for (name, settings, told) in [
        ("hub", json!({ "layout": "github", "secrets": [SECRET] }), 2),
        ("unsigned", json!({ "layout": "generic", "signature": unsigned, "secrets": [SECRET] }), 2),
        ("nameless", json!({ "layout": "generic", "signature": nameless, "secrets": [SECRET] }), 1),
    ] {
        put(&server, name, &settings);
        let url = bus(&server, &format!("aws.partner/webhooks/{name}"), name);
        let body = r#"{"event":"sold","unit":1}"#;
        let ids: HashSet<String> = ["d1", "d2", "d1", "d2"]
            .iter()
            .map(|delivery| {
                let (status, told) = deliver(&server, name, &signed("github", SECRET, 0, delivery, body), body);
                assert_eq!(status, 200, "{told}");
                told["id"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!((ids.len(), receive(&server, &url, told).len()), (told, told), "{name}");
        assert_eq!(waiting(&server, &url), "0", "{name}");
    }
}

#[test]
fn what_came_is_remembered_across_a_kill_and_what_waits_for_its_bus_comes_again() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let made = put(&server, "hub", &json!({ "layout": "standard" }));
    let secret = made["secret"].as_str().expect("a new webhook shows its secret once").to_owned();
    assert_eq!(ask(&server, "GET", "/webhooks/hub", &[], "").1["secret"], Value::Null);
    let headers = signed("standard", &secret, now_s(), "msg_1", "not JSON");
    let (status, answer) = deliver(&server, "hub", &headers, "not JSON");
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("not_active")), "its partner shall come again");
    let url = bus(&server, "aws.partner/webhooks/hub", "hub");
    let (status, told) = deliver(&server, "hub", &headers, "not JSON");
    assert_eq!((status, &told["duplicate"]), (200, &Value::Null), "{told}");
    server.kill();
    let server = Server::start(data.path(), &[]);
    let (status, again) = deliver(&server, "hub", &headers, "not JSON");
    assert_eq!((status, &again["id"], &again["duplicate"]), (200, &told["id"], &json!(true)));
    let event: Value = serde_json::from_str(receive(&server, &url, 1)[0]["Body"].as_str().unwrap()).unwrap();
    assert_eq!((&event["detail"]["body"], &event["detail-type"]), (&json!("not JSON"), &json!("webhook")));
    // A deactivated source rejects events, a reactivated one accepts them.
    events(&server, "DeactivateEventSource", json!({ "Name": "aws.partner/webhooks/hub" }));
    let next = signed("standard", &secret, now_s(), "msg_2", "{}");
    assert_eq!(deliver(&server, "hub", &next, "{}").0, 503);
    events(&server, "ActivateEventSource", json!({ "Name": "aws.partner/webhooks/hub" }));
    assert_eq!(deliver(&server, "hub", &next, "{}").0, 200);
    // Two secrets during the rotation, then only the new one.
    put(&server, "hub", &json!({ "layout": "standard", "secrets": [STANDARD_SECRET] }));
    let old = signed("standard", &secret, now_s(), "msg_3", "{}");
    assert_eq!(deliver(&server, "hub", &old, "{}").0, 401);
    let new = signed("standard", STANDARD_SECRET, now_s(), "msg_3", "{}");
    assert_eq!(deliver(&server, "hub", &new, "{}").0, 200);
    assert_eq!(ask(&server, "DELETE", "/webhooks/hub", &[], "").0, 204);
    assert_eq!(deliver(&server, "hub", &new, "{}").0, 404);
}

#[test]
fn settings_that_make_no_sense_are_told_with_their_field() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    for (settings, field) in [
        (json!({}), "layout"),
        (json!({ "layout": "myspace" }), "layout"),
        (json!({ "layout": "github", "what": 1 }), "what"),
        (json!({ "layout": "github", "secrets": [] }), "secrets"),
        (json!({ "layout": "github", "secrets": ["short"] }), "secrets"),
        (json!({ "layout": "standard", "secrets": ["no whsec_ at all"] }), "secrets"),
        (json!({ "layout": "github", "tolerance_s": 0 }), "tolerance_s"),
        (json!({ "layout": "github", "event_source": "shop" }), "event_source"),
        (json!({ "layout": "github", "signature": { "header": "x" } }), "signature"),
        (json!({ "layout": "generic" }), "signature"),
        (json!({ "layout": "generic", "signature": { "header": "x", "content": "{id}" } }), "signature.content"),
        (json!({ "layout": "github", "detail_type": { "header": "a b" } }), "detail_type"),
    ] {
        let (status, answer) = ask(&server, "PUT", "/webhooks/w", &[], &settings.to_string());
        assert_eq!((status, &answer["error"]["field"]), (400, &json!(field)), "{settings}: {answer}");
    }
    assert_eq!(ask(&server, "PUT", "/webhooks/a%20b", &[], "{\"layout\":\"github\"}").0, 400);
    assert_eq!(ask(&server, "GET", "/webhooks", &[], "").1, json!({ "webhooks": [] }));
}

#[test]
fn nonsense_in_the_headers_is_refused_and_disturbs_nobody() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    put(&server, "w", &json!({ "layout": "stripe", "secrets": [SECRET] }));
    let at_s = now_s();
    for value in [
        String::new(),
        "t".into(),
        "t=,v1=".into(),
        format!("t=-{at_s},v1=00"),
        format!("t={at_s},v1={}", "0".repeat(63)),
        format!("t={at_s}{}", ",v1=00".repeat(1_000)),
        format!("t={},v1={}", "9".repeat(30), "0".repeat(64)),
        "t=18446744073709551615,v1=00".into(),
        "\u{e9}".into(),
        "v1=".repeat(10_000),
    ] {
        let (status, _) = deliver(&server, "w", &[("stripe-signature", value.clone())], "{}");
        assert_eq!(status, 401, "{value}");
    }
    let huge = format!(
        "POST /webhooks/w HTTP/1.1\r\nhost: x\r\nconnection: close\r\nstripe-signature: {}\r\ncontent-length: 2\r\n\r\n{{}}",
        "0".repeat(1 << 20)
    );
    let answer = server.raw(&huge);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    let body = "x".repeat(300_000);
    let (status, answer) = deliver(&server, "w", &signed("stripe", SECRET, at_s, "1", &body), &body);
    assert_eq!((status, &answer["error"]["code"]), (413, &json!("too_large")));
    for path in ["/webhooks/", "/webhooks/none", "/webhooks/w/x", "/webhooks/..%2Fevents", "/webhooks/%00"] {
        let (status, _) = ask(&server, "POST", path, &[], "{}");
        assert!([404, 405].contains(&status), "{path}: {status}");
    }
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let (status, _) = deliver(&server, "w", &signed("stripe", SECRET, at_s, "1", &deep), &deep);
    assert_eq!(status, 503, "its signature is good, its bus is missing");
    assert_eq!(server.get("/healthz").0, 200);
}

#[test]
fn a_partner_event_source_waits_for_its_bus_as_eventbridge_has_it() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (name, account) = ("aws.partner/example.com/orders", "123456789012");
    let made = events(&server, "CreatePartnerEventSource", json!({ "Name": name, "Account": account }));
    assert_eq!(made["EventSourceArn"], format!("arn:aws:events:local::event-source/{name}"));
    let entry = json!({ "Source": name, "DetailType": "ordered", "Detail": "{\"n\":1}" });
    let put = |entry: &Value| events(&server, "PutPartnerEvents", json!({ "Entries": [entry] }));
    assert_eq!(put(&entry)["Entries"][0]["ErrorCode"], "InvalidStateException");
    let state = || events(&server, "DescribeEventSource", json!({ "Name": name }))["State"].clone();
    assert_eq!(state(), "PENDING");
    let (code, _) = refused(&server, "AWSEvents.CreateEventBus", json!({ "Name": "mine", "EventSourceName": name }));
    assert_eq!(code, "ValidationException");
    let url = bus(&server, name, "orders");
    assert_eq!(state(), "ACTIVE");
    let listed = events(&server, "ListEventSources", json!({ "NamePrefix": "aws.partner/example" }));
    assert_eq!(
        (&listed["EventSources"][0]["Name"], &listed["EventSources"][0]["CreatedBy"]),
        (&json!(name), &json!("example.com"))
    );
    let accounts = events(&server, "ListPartnerEventSourceAccounts", json!({ "EventSourceName": name }));
    assert_eq!(accounts["PartnerEventSourceAccounts"][0]["Account"], account);
    let told = put(&entry);
    assert_eq!(told["FailedEntryCount"], 0, "{told}");
    let event: Value = serde_json::from_str(receive(&server, &url, 1)[0]["Body"].as_str().unwrap()).unwrap();
    assert_eq!((&event["source"], &event["id"]), (&json!(name), &told["Entries"][0]["EventId"]));
    // Other sources cannot put on a partner's bus, and a partner's name cannot be inside another's.
    let mine = json!({ "Source": "mine", "DetailType": "d", "Detail": "{}", "EventBusName": name });
    let answer = events(&server, "PutEvents", json!({ "Entries": [mine] }));
    assert_eq!(answer["Entries"][0]["ErrorCode"], "NotAuthorizedForSourceException");
    let inside = json!({ "Name": format!("{name}/eu"), "Account": account });
    assert_eq!(refused(&server, "AWSEvents.CreatePartnerEventSource", inside).0, "ValidationException");
    // A kill loses none of it; rules of a bus with slashes in its name can be found and removed.
    server.kill();
    let server = Server::start(data.path(), &[]);
    assert_eq!(events(&server, "PutPartnerEvents", json!({ "Entries": [entry] }))["FailedEntryCount"], 0);
    receive(&server, &url, 1);
    let arn = format!("arn:aws:events:local:{account}:rule/{name}/all");
    let tags = json!({ "ResourceARN": arn, "Tags": [{ "Key": "a", "Value": "b" }] });
    events(&server, "TagResource", tags);
    events(&server, "RemoveTargets", json!({ "Rule": "all", "EventBusName": name, "Ids": ["q"] }));
    events(&server, "DeleteRule", json!({ "Name": "all", "EventBusName": name }));
    events(&server, "DeleteEventBus", json!({ "Name": name }));
    assert_eq!(events(&server, "DescribeEventSource", json!({ "Name": name }))["State"], "PENDING");
    events(&server, "DeletePartnerEventSource", json!({ "Name": name, "Account": account }));
    assert_eq!(
        events(&server, "ListPartnerEventSources", json!({ "NamePrefix": "aws" }))["PartnerEventSources"],
        json!([])
    );
}

#[test]
fn boto3_brings_events_in_by_key_and_by_partner() {
    let has_boto3 = Command::new("python3").args(["-c", "import boto3"]).output();
    if !has_boto3.is_ok_and(|output| output.status.success()) {
        return eprintln!("left out: no boto3 here (pip install boto3)");
    }
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let mut python = Command::new("python3");
    python.args(["-c", include_str!("inbound.py"), &format!("http://{}", server.control)]);
    let output = python.env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN").output().unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("as it should be"), "{said}{wrong}\n{}", server.log());
}
