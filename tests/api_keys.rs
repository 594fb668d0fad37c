//! API keys: which events they may put over HTTP, rates, quotas, and usage that survives a kill.

use crate::partners::ask;
use crate::server::{Server, fresh_data};
use serde_json::{Value, json};

const EVENT: &str = r#"{"source":"shop","detail-type":"sold","detail":{}}"#;

/// Calls an operation with its own path; returns the answer.
fn gateway(server: &Server, method: &str, path: &str, body: Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, answer) = ask(server, method, path, &[], &body);
    let expected = match method {
        "POST" => 201,
        "DELETE" => 202,
        _ => 200,
    };
    assert_eq!(status, expected, "{method} {path}: {answer}");
    answer
}

/// A new key, enabled; its id and its value.
fn key(server: &Server, name: &str, tags: Value) -> (String, String) {
    let made = gateway(server, "POST", "/apikeys", json!({ "name": name, "enabled": true, "tags": tags }));
    let text = |member: &str| made[member].as_str().unwrap().to_owned();
    (text("id"), text("value"))
}

/// A new plan with one key in it; its id.
fn plan(server: &Server, bounds: Value, key: &str) -> String {
    let mut asked = bounds;
    asked["name"] = json!("plan");
    let id = gateway(server, "POST", "/usageplans", asked)["id"].as_str().unwrap().to_owned();
    let added = json!({ "keyId": key, "keyType": "API_KEY" });
    gateway(server, "POST", &format!("/usageplans/{id}/keys"), added);
    id
}

fn put(server: &Server, key: &str, body: &str) -> (u16, Value) {
    ask(server, "POST", "/events", &[("x-api-key", key)], body)
}

#[test]
fn a_key_is_known_by_its_value_alone_and_has_its_buses_and_sources() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (id, value) = key(&server, "shop", json!({ "fakemon:source": "shop, store", "fakemon:bus": "default" }));
    assert_eq!(put(&server, &value, EVENT).0, 200);
    for wrong in [&value[1..], "x", "", "\u{e9}", &"x".repeat(5_000)] {
        let (status, answer) = put(&server, wrong, EVENT);
        assert_eq!((status, &answer["error"]["code"]), (403, &json!("unknown_api_key")), "{wrong}");
    }
    for (body, field) in [
        (EVENT.replace("shop", "other"), "source"),
        (EVENT.replace("\"source\"", "\"event-bus\":\"fakemon\",\"source\""), "bus"),
        (format!("[{EVENT},{}]", EVENT.replace("shop", "other")), "source"),
    ] {
        let (status, answer) = put(&server, &value, &body);
        assert_eq!((status, &answer["error"]["field"]), (403, &json!(field)), "{answer}");
    }
    let spawn = json!({ "source": "fakemon.world", "detail-type": "fakemon.spawn",
                        "detail": { "species": "sparkit", "lat": 1, "lon": 1 } });
    assert_eq!(put(&server, &value, &spawn.to_string()).0, 403);
    let shown = gateway(&server, "GET", &format!("/apikeys/{id}?includeValue=true"), Value::Null);
    assert_eq!((&shown["name"], &shown["value"]), (&json!("shop"), &json!(value)));
    let shown = gateway(&server, "GET", &format!("/apikeys/{id}"), Value::Null);
    assert_eq!(shown["value"], Value::Null, "it is shown to those who ask for it");
    let off = json!({ "patchOperations": [{ "op": "replace", "path": "/enabled", "value": "false" }] });
    gateway(&server, "PATCH", &format!("/apikeys/{id}"), off);
    assert_eq!(put(&server, &value, EVENT).0, 403);
    assert_eq!(ask(&server, "POST", "/events", &[], EVENT).0, 200, "in open mode nobody needs one");
    gateway(&server, "DELETE", &format!("/apikeys/{id}"), Value::Null);
    assert_eq!(ask(&server, "GET", &format!("/apikeys/{id}"), &[], "").0, 404);
    // Neither the journal nor the log contains a key's value.
    let log = crate::server::answer(&["log", "--data", data.path().to_str().unwrap()]);
    assert!(log.contains(&format!("api-key/{id}")) && !log.contains(&value) && !server.log().contains(&value));
}

#[test]
fn keys_and_plans_are_listed_newest_first_and_give_back_what_was_kept() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let made = gateway(&server, "POST", "/apikeys", json!({ "name": "empty", "value": "" }));
    assert_eq!(made["value"].as_str().unwrap().len(), 40, "an empty value is none");
    let (first, value) = key(&server, "first", json!({}));
    let (second, _) = key(&server, "second", json!({}));
    let listed = gateway(&server, "GET", "/apikeys?limit=2&includeValues=true", Value::Null);
    let ids: Vec<&Value> = listed["item"].as_array().unwrap().iter().map(|key| &key["id"]).collect();
    assert_eq!(ids, [&json!(second), &json!(first)]);
    assert_eq!(listed["item"][1]["value"], json!(value));
    let stages = json!([{ "apiId": "shop", "stage": "prod" }]);
    let plan = gateway(&server, "POST", "/usageplans", json!({ "name": "p", "apiStages": stages }));
    let path = format!("/usageplans/{}", plan["id"].as_str().unwrap());
    assert_eq!(gateway(&server, "GET", &path, Value::Null)["apiStages"], stages);
    let patch = |op: &str| json!({ "patchOperations": [{ "op": op, "path": "/apiStages", "value": "shop:prod" }] });
    assert_eq!(gateway(&server, "PATCH", &path, patch("remove"))["apiStages"], json!([]));
    assert_eq!(gateway(&server, "PATCH", &path, patch("add"))["apiStages"], stages);
    let added = json!({ "keyId": first, "keyType": "API_KEY" });
    assert_eq!(gateway(&server, "POST", &format!("{path}/keys"), added)["value"], json!(value));
}

#[test]
fn a_quota_counts_events_and_a_kill_takes_nothing_back() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (id, value) = key(&server, "shop", json!({}));
    let plan = plan(&server, json!({ "quota": { "limit": 5, "period": "MONTH" } }), &id);
    assert_eq!(put(&server, &value, EVENT).0, 200);
    assert_eq!(put(&server, &value, &format!("[{EVENT},{EVENT},{EVENT}]")).0, 200);
    server.kill();
    let server = Server::start(data.path(), &[]);
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let usage = |server: &Server| {
        let path = format!("/usageplans/{plan}/usage?startDate={today}&endDate={today}");
        gateway(server, "GET", &path, Value::Null)["values"][&id].clone()
    };
    assert_eq!(usage(&server), json!([[4, 1]]));
    let (status, answer) = put(&server, &value, &format!("[{EVENT},{EVENT}]"));
    assert_eq!((status, &answer["error"]["code"]), (429, &json!("LimitExceededException")), "{answer}");
    let (status, answer) = put(&server, &value, EVENT);
    assert_eq!(
        (status, &answer["error"]["code"]),
        (429, &json!("LimitExceededException")),
        "the request itself counted"
    );
    assert!(answer["error"]["retry_after_ms"].as_u64().unwrap() > 0);
    let more = json!({ "patchOperations": [{ "op": "replace", "path": "/quota/limit", "value": "7" }] });
    gateway(&server, "PATCH", &format!("/usageplans/{plan}"), more);
    assert_eq!(put(&server, &value, EVENT).0, 200);
    assert_eq!(usage(&server), json!([[6, 1]]));
    let (status, _) = ask(&server, "DELETE", &format!("/usageplans/{plan}"), &[], "");
    assert_eq!(status, 400, "its keys would have no bounds");
}

#[test]
fn a_rate_has_a_burst_and_says_when_to_come_again() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (slow, value) = key(&server, "slow", json!({}));
    let (other, others) = key(&server, "other", json!({}));
    let bounds = json!({ "throttle": { "rateLimit": 0.001, "burstLimit": 3 } });
    let plan = plan(&server, bounds, &slow);
    gateway(&server, "POST", &format!("/usageplans/{plan}/keys"), json!({ "keyId": other, "keyType": "API_KEY" }));
    for _ in 0..3 {
        assert_eq!(put(&server, &value, EVENT).0, 200);
    }
    let uri = format!("http://{}/events", server.control);
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let answer = agent.post(uri).header("x-api-key", &value).send(EVENT).unwrap();
    assert_eq!(answer.status().as_u16(), 429);
    let after: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((900..=1_000).contains(&after), "{after}");
    assert_eq!(put(&server, &others, EVENT).0, 200, "each key has its own");
    let listed = gateway(&server, "GET", &format!("/usageplans/{plan}/keys?limit=1"), Value::Null);
    let position = listed["position"].as_str().unwrap();
    let path = format!("/usageplans/{plan}/keys?limit=1&position={position}");
    let behind = gateway(&server, "GET", &path, Value::Null);
    assert_eq!((listed["item"].as_array().unwrap().len(), &behind["position"]), (1, &Value::Null), "{behind}");
    assert_ne!(behind["item"][0]["id"], listed["item"][0]["id"]);
}

#[test]
fn with_access_keys_an_event_comes_by_signature_or_by_key_and_everything_else_by_signature() {
    let data = fresh_data();
    let world = data.path().join("world");
    let server = Server::start(&world, &[]);
    let (_, value) = key(&server, "shop", json!({}));
    server.stop();
    let keys = data.path().join("access.keys");
    std::fs::write(&keys, "AKIAFAKEMON hush/this+is/the-secret-of-ana\n").unwrap();
    let server = Server::start(&world, &["--access-keys-file", keys.to_str().unwrap()]);
    assert_eq!(put(&server, &value, EVENT).0, 200);
    assert_eq!(put(&server, "guessed-guessed-guessed", EVENT).0, 403);
    assert_eq!(ask(&server, "POST", "/events", &[], EVENT).0, 403);
    for (method, path) in [
        ("GET", "/apikeys"),
        ("POST", "/usageplans"),
        ("PUT", "/webhooks/w"),
        ("GET", "/webhooks"),
        ("GET", "/answers/webhooks"),
        ("PUT", "/answers/webhooks/w"),
        ("POST", "/"),
    ] {
        let (status, answer) = ask(&server, method, path, &[("x-api-key", &value)], "{}");
        assert_eq!(status, 403, "{method} {path}: {answer}");
    }
    let (status, _) = ask(&server, "POST", "/webhooks/w", &[], "{}");
    assert_eq!(status, 404, "partners sign in their own way");
}

#[test]
fn mistakes_are_told_in_the_services_words() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (id, _) = key(&server, "shop", json!({}));
    let plan = plan(&server, json!({}), &id);
    let by_plan = format!("/usageplans/{plan}");
    for (method, path, body, status, code) in [
        ("POST", "/apikeys", json!({ "value": "short" }), 400, "BadRequestException"),
        ("POST", "/apikeys", json!({ "value": "x".repeat(129) }), 400, "BadRequestException"),
        ("POST", "/apikeys?mode=import", Value::Null, 501, "NotImplemented"),
        ("POST", "/apikeys", json!({ "tags": { "fakemon:bus": " " } }), 400, "BadRequestException"),
        ("GET", "/apikeys/none", Value::Null, 404, "NotFoundException"),
        ("POST", "/usageplans", json!({}), 400, "BadRequestException"),
        (
            "POST",
            "/usageplans",
            json!({ "name": "p", "quota": { "limit": 0, "period": "DAY" } }),
            400,
            "BadRequestException",
        ),
        (
            "POST",
            "/usageplans",
            json!({ "name": "p", "quota": { "limit": 1, "period": "YEAR" } }),
            400,
            "BadRequestException",
        ),
        (
            "POST",
            "/usageplans",
            json!({ "name": "p", "quota": { "limit": 1, "offset": 7, "period": "WEEK" } }),
            400,
            "BadRequestException",
        ),
        (
            "POST",
            "/usageplans",
            json!({ "name": "p", "throttle": { "rateLimit": -1, "burstLimit": 1 } }),
            400,
            "BadRequestException",
        ),
        ("POST", &format!("{by_plan}/keys"), json!({ "keyId": id, "keyType": "API_KEY" }), 409, "ConflictException"),
        ("GET", &format!("{by_plan}/keys/none"), Value::Null, 404, "NotFoundException"),
        ("GET", &format!("{by_plan}/usage?startDate=x&endDate=y"), Value::Null, 400, "BadRequestException"),
        (
            "PATCH",
            &by_plan,
            json!({ "patchOperations": [{ "op": "replace", "path": "/what", "value": "1" }] }),
            400,
            "BadRequestException",
        ),
    ] {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (found, answer) = ask(&server, method, path, &[], &body);
        assert_eq!((found, &answer["Code"]), (status, &json!(code)), "{method} {path} {body}: {answer}");
    }
}
