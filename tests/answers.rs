//! Answer webhooks: a player's results as signed requests, in order, retried, and dead letters after the last
//! attempt.

use crate::aws::{ERROR, Hook, WELL, events, queue, receive, sqs};
use crate::partners::ask;
use crate::player::{Player, SOL};
use crate::server::{Server, fresh_data};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::hmac;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

fn put(server: &Server, name: &str, settings: &Value) -> Value {
    let (status, answer) = ask(server, "PUT", &format!("/answers/webhooks/{name}"), &[], &settings.to_string());
    assert_eq!(status, 200, "{answer}");
    answer
}

fn spawn(server: &Server, fakemon: std::ops::RangeInclusive<u64>) {
    for id in fakemon {
        let id = id.to_string();
        server.spawn(json!({ "fakemon_id": id, "species": "sparkit", "lat": SOL.0, "lon": SOL.1, "catch_rate": 1 }));
    }
}

fn header<'h>(head: &'h str, name: &str) -> &'h str {
    let line = head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:")));
    line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
}

/// The signature of a request with a secret, as Standard Webhooks has it.
fn signature(secret: &str, head: &str, body: &str) -> String {
    let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let signed = format!("{}.{}.{body}", header(head, "webhook-id"), header(head, "webhook-timestamp"));
    format!("v1,{}", BASE64.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), signed.as_bytes())))
}

fn event((_, body): &(String, String)) -> Value {
    serde_json::from_str(body).unwrap()
}

#[test]
fn results_reach_the_webhooks_of_their_players_signed_and_in_order() {
    let (data, hook, team) = (fresh_data(), Hook::start(WELL), Hook::start(WELL));
    let server = Server::start(data.path(), &["--allow-private-targets"]);
    let mut ana = Player::connect(server.play, "ana").unwrap();
    let mut ben = Player::connect(server.play, "ben").unwrap();
    spawn(&server, 1..=8);
    assert_eq!(ben.attempt(1, 8).unwrap()["outcome"], "captured", "before there is a webhook");
    let made = put(&server, "ana", &json!({ "url": format!("http://{}/a", hook.address), "player": "ana" }));
    let secret = made["secret"].as_str().unwrap().to_owned();
    // A webhook for several players, some of whom exist already.
    put(&server, "team", &json!({ "url": format!("http://{}/t", team.address), "players": ["ana", "ben", "cleo"] }));
    for attempt in 1..=3 {
        assert_eq!(ana.attempt(attempt, attempt).unwrap()["outcome"], "captured");
    }
    assert_eq!(ben.attempt(2, 1).unwrap()["reason"], "already_captured");
    let mut cleo = Player::connect(server.play, "cleo").unwrap();
    assert_eq!(cleo.attempt(1, 4).unwrap()["outcome"], "captured");
    let mut last = None;
    for attempt in 1..=3u64 {
        let (head, body) = hook.next();
        assert!(head.starts_with("POST /a HTTP/1.1"), "{head}");
        let told = event(&(head.clone(), body.clone()));
        assert_eq!(
            (&told["detail-type"], &told["detail"]["player"]),
            (&json!("fakemon.capture_succeeded"), &json!("ana"))
        );
        assert_eq!(told["detail"]["attempt_id"], attempt.to_string());
        assert_eq!(
            (header(&head, "webhook-id"), header(&head, "webhook-signature")),
            (told["id"].as_str().unwrap(), signature(&secret, &head, &body).as_str())
        );
        last = Some(head);
    }
    let of_team: Vec<Value> = (0..5).map(|_| event(&team.next())).collect();
    let told: Vec<(&str, &str)> = of_team
        .iter()
        .map(|told| (told["detail"]["player"].as_str().unwrap(), told["detail-type"].as_str().unwrap()))
        .collect();
    let caught = "fakemon.capture_succeeded";
    assert_eq!(
        told,
        [("ana", caught), ("ana", caught), ("ana", caught), ("ben", "fakemon.capture_failed"), ("cleo", caught)]
    );

    // Two signatures while the secret changes, the old one among them.
    let (_, rotated) = ask(&server, "POST", "/answers/webhooks/ana/secret", &[], "");
    let new = rotated["secret"].as_str().unwrap().to_owned();
    assert_eq!(ana.attempt(4, 5).unwrap()["outcome"], "captured");
    let (head, body) = hook.next();
    let both = format!("{} {}", signature(&new, &head, &body), signature(&secret, &head, &body));
    assert_eq!(header(&head, "webhook-signature"), both);
    let (_, rotated) = ask(&server, "POST", "/answers/webhooks/ana/secret", &[], "{\"grace_s\":0}");
    let newest = rotated["secret"].as_str().unwrap().to_owned();
    // An invalid command that names its player.
    let entry = json!({ "Source": "fakemon.game", "DetailType": "fakemon.capture_attempt",
                        "Detail": "{\"player\":\"ana\",\"attempt_id\":\"x\",\"fakemon_id\":\"5\",\"lat\":1,\"lon\":1}" });
    events(&server, "PutEvents", json!({ "Entries": [entry] }));
    let (head, body) = hook.next();
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&told["detail-type"], &told["detail"]["player"]), (&json!("fakemon.command_refused"), &json!("ana")));
    // The first secret is still valid for a day: only secrets without an expiry got one in the past.
    assert!(header(&head, "webhook-signature").contains(&signature(&newest, &head, &body)));
    assert!(!header(&head, "webhook-signature").contains(&signature(&new, &head, &body)));
    assert_ne!(header(&head, "webhook-id"), header(&last.unwrap(), "webhook-id"));

    // The webhook is for another player from now on; then for none.
    put(&server, "ana", &json!({ "url": format!("http://{}/b", hook.address), "player": "ben" }));
    assert_eq!(ana.attempt(5, 6).unwrap()["outcome"], "captured");
    assert_eq!(ben.attempt(3, 7).unwrap()["outcome"], "captured");
    let got = hook.next();
    assert!(got.0.starts_with("POST /b ") && event(&got)["detail"]["player"] == "ben", "{got:?}");
    assert_eq!(ask(&server, "DELETE", "/answers/webhooks/ana", &[], "").0, 204);
    assert_eq!(ask(&server, "GET", "/answers/webhooks/ana", &[], "").0, 404);
    let log = crate::server::answer(&["log", "--data", data.path().to_str().unwrap()]);
    assert!(!log.contains(&secret[6..]) && !server.log().contains(&secret[6..]));
}

#[test]
fn what_a_webhook_misses_comes_again_across_a_kill_and_at_last_lies_in_its_queue() {
    let (data, hook) = (fresh_data(), Hook::start(ERROR));
    let mut server = Server::start(data.path(), &["--allow-private-targets"]);
    let (dead, dead_arn) = queue(&server, "dead");
    spawn(&server, 1..=4);
    let settings = json!({ "url": format!("http://{}", hook.address), "player": "ana" });
    put(&server, "ana", &settings);
    let mut ana = Player::connect(server.play, "ana").unwrap();
    for attempt in 1..=3 {
        assert_eq!(ana.attempt(attempt, attempt).unwrap()["outcome"], "captured");
    }
    let first = hook.next();
    server.kill();
    hook.behaves.store(WELL, Ordering::SeqCst);
    server = Server::start(data.path(), &["--allow-private-targets"]);
    let mut ids = vec![header(&first.0, "webhook-id").to_owned()];
    while ids.len() < 3 {
        let id = header(&hook.next().0, "webhook-id").to_owned();
        assert!(id >= *ids.last().unwrap(), "{id} after {ids:?}");
        ids.push(id);
        ids.dedup();
    }
    while !server.get("/metrics").1.contains("\nfakemon_answers_waiting 0\n") {
        std::thread::sleep(std::time::Duration::from_millis(5)); // the hook reports a request before it answers
    }
    hook.behaves.store(ERROR, Ordering::SeqCst);
    let mut settings = settings;
    settings["retry"] = json!({ "attempts_max": 1, "age_s_max": 60 });
    settings["dead_letter_arn"] = json!(dead_arn);
    let shown = put(&server, "ana", &settings);
    assert_eq!(shown["secret"], Value::Null, "a change shows no secret");
    let mut ana = Player::connect(server.play, "ana").unwrap();
    assert_eq!(ana.attempt(4, 4).unwrap()["outcome"], "captured");
    let letter = receive(&server, &dead, 1).remove(0);
    let attribute = |name: &str| letter["MessageAttributes"][name]["StringValue"].as_str().unwrap_or("").to_owned();
    assert_eq!((attribute("ERROR_CODE"), attribute("FAKEMON_TARGET_ID")), ("ERROR_FROM_TARGET".into(), "ana".into()));
    // Back to the queue, and from there to its webhook.
    let back =
        json!({ "QueueUrl": dead, "MessageBody": letter["Body"], "MessageAttributes": letter["MessageAttributes"] });
    sqs(&server, "SendMessage", back);
    hook.behaves.store(WELL, Ordering::SeqCst);
    while hook.got.try_recv().is_ok() {}
    sqs(&server, "StartMessageMoveTask", json!({ "SourceArn": dead_arn }));
    assert_eq!(event(&hook.next())["detail"]["attempt_id"], "4");
}

#[test]
fn any_api_destination_signs_if_its_connection_says_so() {
    let (data, hook) = (fresh_data(), Hook::start(WELL));
    let server = Server::start(data.path(), &["--allow-private-targets"]);
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let parameters = json!({ "ApiKeyAuthParameters": { "ApiKeyName": "webhook-signature", "ApiKeyValue": secret } });
    let connection = json!({ "Name": "hook", "AuthorizationType": "API_KEY", "AuthParameters": parameters });
    let connection = events(&server, "CreateConnection", connection)["ConnectionArn"].clone();
    let destination = json!({ "Name": "hook", "ConnectionArn": connection, "HttpMethod": "POST",
                              "InvocationEndpoint": format!("http://{}", hook.address) });
    let arn = events(&server, "CreateApiDestination", destination)["ApiDestinationArn"].clone();
    events(&server, "PutRule", json!({ "Name": "sold", "EventPattern": r#"{"source":["shop"]}"# }));
    let target = json!({ "Id": "hook", "Arn": arn, "InputPath": "$.detail" });
    events(&server, "PutTargets", json!({ "Rule": "sold", "Targets": [target] }));
    let entry = json!({ "Source": "shop", "DetailType": "sold", "Detail": "{\"n\":1}" });
    let put = events(&server, "PutEvents", json!({ "Entries": [entry] }));
    let (head, body) = hook.next();
    assert_eq!(
        (body.as_str(), header(&head, "webhook-id")),
        ("{\"n\":1}", put["Entries"][0]["EventId"].as_str().unwrap())
    );
    assert_eq!(header(&head, "webhook-signature"), signature(secret, &head, &body));
    assert!(!head.contains(secret), "a secret that signs is not sent");
}

#[test]
fn settings_that_make_no_sense_are_told_with_their_field() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let url = "http://example.org/hook";
    for (settings, field) in [
        (json!({}), json!("url")),
        (json!([url, "a"]), Value::Null),
        (json!({ "url": url }), json!("player")),
        (json!({ "url": url, "player": "a", "players": ["b"] }), json!("player")),
        (json!({ "url": url, "players": [] }), json!("players")),
        (json!({ "url": url, "player": "a\nb" }), json!("player")),
        (json!({ "url": url, "players": (0..10_001).map(|n| n.to_string()).collect::<Vec<_>>() }), json!("players")),
        (json!({ "url": "example.org", "player": "a" }), json!("url")),
        (json!({ "url": "ftp://example.org", "player": "a" }), json!("url")),
        (json!({ "url": "https://ash:pika@example.org/hook", "player": "a" }), json!("url")),
        (json!({ "url": url, "player": "a", "rate_limit_per_second": 0 }), json!("rate_limit_per_second")),
        (json!({ "url": url, "player": "a", "retry": { "attempts_max": 186, "age_s_max": 60 } }), json!("retry")),
        (
            json!({ "url": url, "player": "a", "dead_letter_arn": "arn:aws:sqs:local:1:q.fifo" }),
            json!("dead_letter_arn"),
        ),
    ] {
        let (status, answer) = ask(&server, "PUT", "/answers/webhooks/w", &[], &settings.to_string());
        assert_eq!((status, &answer["error"]["field"]), (400, &field), "{settings}: {answer}");
    }
    for (method, path) in
        [("GET", "/answers/webhooks/w"), ("DELETE", "/answers/webhooks/w"), ("POST", "/answers/webhooks/w/secret")]
    {
        assert_eq!(ask(&server, method, path, &[], "").0, 404, "{method} {path}");
    }
    assert_eq!(ask(&server, "GET", "/answers/webhooks", &[], "").1, json!({ "webhooks": [], "next": null }));
}
