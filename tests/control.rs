//! The control plane, from outside: what it answers, what it refuses, in which shape.

use crate::aws::events;
use crate::server::{Server, fresh_data};
use serde_json::{Value, json};

fn spawn_with(detail: Value) -> String {
    json!({ "source": "fakemon.world", "detail-type": "fakemon.spawn", "detail": detail }).to_string()
}

#[test]
fn a_spawn_is_answered_with_its_place_in_the_journal() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let detail =
        json!({ "fakemon_id": "42", "species": "leaflet", "lat": 40.4168, "lon": -3.7038, "lifetime_s": 60 });
    let (status, answer) = server.post_event(&spawn_with(detail.clone()));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["fakemon_id"], "42");
    let position: u64 = answer["position"].as_str().unwrap().parse().unwrap();
    assert_eq!(answer["id"], format!("66616b65-0000-8000-8000-{position:012x}"));
    let (status, answer) = server.post_event(&spawn_with(detail));
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("id_taken")));
    assert_eq!(answer["error"]["field"], "detail.fakemon_id");
    // A shard that only answered writes its next events as any other, and so does one that was asked by the bus.
    let again = json!([{ "Source": "fakemon.world", "DetailType": "fakemon.spawn",
                         "Detail": r#"{"fakemon_id":"42","species":"leaflet","lat":1,"lon":1}"# }]);
    assert_eq!(events(&server, "PutEvents", json!({ "Entries": again }))["FailedEntryCount"], 0);
    for id in 43..51 {
        let detail = json!({ "fakemon_id": id.to_string(), "species": "leaflet", "lat": 1, "lon": 1 });
        assert_eq!(server.post_event(&spawn_with(detail)).0, 200, "{id}");
    }
    assert_eq!(server.get("/healthz").0, 200, "{}", server.log());
}

#[test]
fn any_event_is_put_on_its_bus_alone_and_in_lists() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let event = |unit: u64| json!({ "source": "shop", "detail-type": "sold", "detail": { "unit": unit } });
    let (status, answer) = server.post_event(&event(1).to_string());
    assert_eq!(status, 200, "{answer}");
    let spawn: Value =
        serde_json::from_str(&spawn_with(json!({ "species": "sparkit", "lat": 1, "lon": 1 }))).unwrap();
    let (status, answers) = server.post_event(&json!([event(2), event(3), spawn, event(4)]).to_string());
    assert_eq!(status, 200, "{answers}");
    let ids: Vec<&str> = answers.as_array().unwrap().iter().map(|answer| answer["id"].as_str().unwrap()).collect();
    assert!(ids.is_sorted() && ids.len() == 4 && answers[2]["fakemon_id"].is_string(), "{answers}");
    let log = crate::server::answer(&["log", "--data", data.path().to_str().unwrap(), "--kind", "put"]);
    let put = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let put: Vec<Value> = put.filter(|event| event["source"] == "shop").collect();
    let units: Vec<&Value> = put.iter().map(|event| &event["detail"]["unit"]).collect();
    assert_eq!(units, [1, 2, 3, 4]);
    assert_eq!(put[1]["id"], answers[0]["id"]);
    let (status, answer) = server.post_event(&json!([event(5), { "source": "shop" }]).to_string());
    assert_eq!((status, &answer["error"]["field"]), (400, &json!("[1].detail-type")), "a mistake changes nothing");
}

#[test]
fn many_spawns_at_once_each_get_their_own_answer() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let detail = json!({ "species": "sparkit", "lat": 1, "lon": 1 });
    let spawn = || (0..50).map(|_| server.spawn(detail.clone())).collect::<Vec<_>>();
    let mut all: Vec<(String, u64)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(spawn)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    all.sort();
    all.dedup_by(|a, b| a.0 == b.0);
    assert_eq!(all.len(), 400);
    assert!(server.get("/metrics").1.contains("\nfakemon_appeared_total 400\n"));
}

#[test]
fn mistakes_are_told_with_their_field() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let good = json!({ "species": "sparkit", "lat": 1, "lon": 1 });
    let with = |name: &str, value: Value| {
        let mut detail = good.clone();
        detail[name] = value;
        spawn_with(detail)
    };
    for (body, field) in [
        (with("species", json!("dragon")), json!("detail.species")),
        (with("lat", json!("1")), json!("detail.lat")),
        (with("lon", json!(181)), json!("detail.lon")),
        (with("fakemon_id", json!("18446744073709551615")), json!("detail.fakemon_id")),
        (with("fakemon_id", json!(0)), json!("detail.fakemon_id")),
        (with("lifetime_s", json!(0)), json!("detail.lifetime_s")),
        (with("catch_rate", json!(2)), json!("detail.catch_rate")),
        ("{\"source\":".into(), Value::Null),
        ("\u{0}\u{1}".into(), Value::Null),
        ("[".repeat(10_000), Value::Null),
        (spawn_with(good.clone()).replace(".spawn", ".rain"), json!("detail-type")),
        (spawn_with(good.clone()).replace("\"source\"", "\"sauce\""), json!("source")),
    ] {
        let (status, answer) = server.post_event(&body);
        assert_eq!((status, &answer["error"]["field"]), (400, &field), "{answer}");
        let error = &answer["error"];
        assert!(error["code"].is_string() && !error["message"].as_str().unwrap().is_empty(), "{answer}");
    }
    assert_eq!(server.post_event(&spawn_with(good)).0, 200, "the server is undisturbed");
}

#[test]
fn every_refusal_has_one_shape() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let host = format!("Host: {}\r\nConnection: close\r\n", server.control);
    let huge = format!("POST /events HTTP/1.1\r\n{host}Content-Length: 300000\r\n\r\n{}", " ".repeat(300_000));
    for (request, status, code) in [
        (format!("GET /nowhere HTTP/1.1\r\n{host}\r\n"), 404, "not_found"),
        (format!("GET /events HTTP/1.1\r\n{host}\r\n"), 405, "method_not_allowed"),
        (format!("DELETE /metrics HTTP/1.1\r\n{host}\r\n"), 405, "method_not_allowed"),
        (huge, 413, "too_large"),
        (format!("GET /stream?player=ash&from=abc HTTP/1.1\r\n{host}\r\n"), 400, "bad_query"),
        (format!("POST /events?bus=a&bus=b HTTP/1.1\r\n{host}Content-Length: 2\r\n\r\n{{}}"), 400, "bad_query"),
        (
            format!(
                "POST /events HTTP/1.1\r\n{host}Content-Type: application/cloudevents+xml; charset=utf-8\r\n\
                 Content-Length: 2\r\n\r\n{{}}"
            ),
            415,
            "unsupported_media_type",
        ),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".into(), 403, "foreign_host"),
        (
            format!("POST /events HTTP/1.1\r\n{host}Origin: http://evil.example\r\nContent-Length: 2\r\n\r\n{{}}"),
            403,
            "foreign_origin",
        ),
    ] {
        let answer = server.raw(&request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{code}: {answer}");
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
        assert!(answer.contains("\"message\":") && answer.contains("\"field\":"), "{answer}");
        if code == "too_large" {
            assert!(answer.contains("send fewer events at once"), "{answer}");
        }
        if request.contains("from=abc") {
            assert!(answer.contains("\"field\":\"from\""), "{answer}");
        }
    }
}

#[test]
fn garbage_is_answered_or_closed() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    for garbage in [
        "\u{0}\u{1}\u{2}\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST /events HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ] {
        let answer = server.raw(garbage);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(server.get("/healthz").0, 200);
}

#[test]
fn metrics_are_well_formed_and_complete() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    server.spawn(json!({ "species": "sparkit", "lat": 1, "lon": 1 }));
    let (status, text) = server.get("/metrics");
    assert_eq!(status, 200);
    for family in [
        "attempts_total",
        "attempts_throttled_total",
        "attempts_resent_total",
        "stage_seconds",
        "attempt_seconds",
        "group_events",
        "sync_seconds",
        "mailbox_depth",
        "journal_depth",
        "journal_position",
        "snapshot_position",
        "connections",
        "process_resident_memory_bytes",
        "wild",
    ] {
        assert!(text.contains(&format!("# TYPE fakemon_{family} ")), "{family}\n{text}");
    }
    let mut helped = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            helped = rest.split(' ').next().unwrap().to_owned();
        } else if !line.starts_with('#') {
            assert!(line.starts_with(&helped), "{line} stands under {helped}");
            let value = line.rsplit(' ').next().unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
    assert!(text.contains("\nfakemon_wild 1\n"), "{text}");
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (status, page) = server.get("/");
    assert_eq!(status, 200);
    assert!(page.starts_with("<!doctype html>"));
    for path in ["/page.css", "/page.js"] {
        assert!(page.contains(path));
        let (status, text) = server.get(path);
        assert_eq!(status, 200);
        assert!(!text.replace("http://www.w3.org", "").contains("://cdn"), "{path}");
    }
    let figures: Value = serde_json::from_str(&server.get("/figures").1).unwrap();
    assert_eq!(figures["play"]["port"], server.play.port());
    assert_eq!(figures["synced"], true);
    assert!(figures["world"]["species"].as_array().unwrap().contains(&json!("sparkit")));
}

#[test]
fn health_and_readiness_are_plain() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    assert_eq!(server.get("/healthz"), (200, "ok\n".into()));
    assert_eq!(server.get("/readyz"), (200, "ready\n".into()));
}
