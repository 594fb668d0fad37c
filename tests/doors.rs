//! What comes in and cannot be carried out is answered, counted and told in the same words by every door.

use crate::aws::{PATIENCE, destination, events, queue, receive};
use crate::partners::ask;
use crate::pipes::{ROLE, rest};
use crate::player::Player;
use crate::server::{Server, answer, fresh_data, refusal};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

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

fn attempt_at(attempt: &str, fakemon: &str) -> (&'static str, &'static str, Value) {
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
    let ids = put(&server, &[attempt_at("9", "1"), attempt_at("9", "1"), attempt_at("9", "2")]);
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

/// Sends the head of a request, reads what comes back before the body is sent, then sends as much of the body as the
/// server takes; returns all of the answer.
fn declared(server: &Server, path: &str, head: &str, bytes: usize) -> (String, String) {
    let mut stream = TcpStream::connect(server.control).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = format!("Content-Length: {bytes}\r\n{head}");
    write!(stream, "POST {path} HTTP/1.1\r\nHost: {}\r\n{length}\r\n", server.control).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    let first = String::from_utf8_lossy(&answer).into_owned();
    let _ = stream.write_all(&vec![b'x'; bytes.min(8 << 20)]); // it may have closed
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest); // a reset would lose the answer
    (first.clone(), first + &String::from_utf8_lossy(&rest))
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_comes() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    for (path, max, status, said) in [
        ("/events", 256 << 10, 413, "\"too_large\""),
        ("/webhooks/x", 256 << 10, 413, "\"too_large\""),
        ("/@connections/AAAAAAAAAAA=", 128 << 10, 410, "GoneException"),
        ("/@connections?batch", 2 << 20, 413, "PayloadTooLargeException"),
        ("/", 4 << 20, 413, ""),
        ("/v1/pipes/p", 4 << 20, 413, ""),
    ] {
        for more in ["", "Expect: 100-continue\r\n"] {
            let target = "X-Amz-Target: AWSEvents.PutEvents\r\nContent-Type: application/x-amz-json-1.1\r\n";
            let (first, answer) = declared(&server, path, &format!("{target}{more}"), max + 1);
            assert_eq!(first, format!("HTTP/1.1 {status}"), "{path}: {answer}");
            assert!(answer.contains(said) && answer.to_lowercase().contains("connection: close"), "{path}: {answer}");
        }
    }
    // Less than that is asked for, and read.
    let (first, _) = declared(&server, "/events", "Expect: 100-continue\r\nConnection: close\r\n", 256 << 10);
    assert_eq!(first, "HTTP/1.1 100");
}

#[test]
fn lists_are_no_objects_and_a_name_is_there_once() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    for (method, path, body, said) in [
        ("PUT", "/answers/webhooks/a", r#"["http://localhost/","ana"]"#, "must be an object"),
        (
            "PUT",
            "/answers/webhooks/a",
            r#"{"url":"http://localhost/","player":"ana","retry":[1,60]}"#,
            "retry must be an object",
        ),
        (
            "PUT",
            "/answers/webhooks/a",
            r#"{"url":"http://localhost/","plyer":"ana"}"#,
            "plyer is no member: known is `url`",
        ),
        ("POST", "/checkpoint", r#"["/tmp/x","w"]"#, "must be an object, not a list"),
        ("POST", "/@connections?batch", r#"["AAAAAAAAAAA=",[],"hi"]"#, "must be an object, not a list"),
        ("GET", "/stream?player=a&player=b", "", "player is there twice"),
        ("GET", "/stream?player=a&from=x", "", "from must be a position of the journal: a whole number"),
        ("GET", "/answers/webhooks?player=a&player=b", "", "player is there twice"),
        ("POST", "/events?bus=default&bus=fakemon", "{}", "bus is there twice"),
        ("POST", "/@connections?lat=x&lon=1&radius_m=1", "", "lat must be a number"),
    ] {
        let (status, answer) = ask(&server, method, path, &[], body);
        let answer = answer.to_string().replace("\\", "");
        assert!(status == 400 && answer.contains(said), "{method} {path} {body}: {status} {answer}");
    }
    let mut stream = TcpStream::connect(server.play).unwrap();
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    write!(stream, "GET /play?player=ana&player=ben HTTP/1.1\r\nHost: {}\r\n{upgrade}\r\n", server.play).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer); // the head and the body, then the end
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("player is there twice"), "{answer}");
}

#[test]
fn a_flood_of_events_that_nothing_takes_is_a_few_lines_of_the_log() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let url = refusals(&server);
    let wrong = ("fakemon.game", "fakemon.capture_attempt", json!({ "player": "ash", "attempt_id": "x" }));
    for _ in 0..20 {
        put(&server, &vec![wrong.clone(); 10]);
    }
    let told = next(&server, &url, 200);
    assert_eq!((&told[0]["reason"], &told[0]["field"]), (&json!("out_of_range"), &json!("detail.attempt_id")));
    assert_eq!(
        told[0]["message"],
        "detail.attempt_id must be a whole number from 0 to 18446744073709551615, as a decimal string"
    );
    let log = server.log();
    // A message that quotes what was sent is cut, so that many fit into one put.
    put(&server, &vec![spawn("1", &"x".repeat(20_000), 1.0); 10]);
    for told in next(&server, &url, 10) {
        let message = told["message"].as_str().unwrap();
        assert!(message.starts_with("species `xxx") && message.len() == 1_024, "{}", message.len());
        let known = json!(["unknown_species", "detail.species", "1"]);
        assert_eq!(json!([told["reason"], told["field"], told["fakemon_id"]]), known);
    }
    let lines = log.lines().filter(|line| line.contains("given up, and there is no dead-letter queue")).count();
    assert_eq!(lines, 1, "{log}");
}

#[test]
fn a_filter_that_does_not_compile_is_refused_by_every_operation_of_pipes() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (source, target) = (queue(&server, "source").1, queue(&server, "target").1);
    let pipe = |pattern: &str| {
        let filters = json!({ "FilterCriteria": { "Filters": [{ "Pattern": pattern }] } });
        json!({ "RoleArn": ROLE, "Source": source, "Target": target, "SourceParameters": filters })
    };
    let (status, answer) = rest(&server, "POST", "/v1/pipes/good", &pipe(r#"{"body":{"kind":["a"]}}"#));
    assert_eq!(status, 200, "{answer}");
    for wrong in ["{", "[]", "7", r#"{"body":"a"}"#, r#"{"body":[{"prefix":7}]}"#, r#"{"a":[{"numeric":["<"]}]}"#] {
        for (method, name) in [("POST", "bad"), ("PUT", "good")] {
            let mut asked = pipe(wrong);
            if method == "PUT" {
                asked.as_object_mut().unwrap().remove("Source");
            }
            let (status, answer) = rest(&server, method, &format!("/v1/pipes/{name}"), &asked);
            let said = answer.to_string();
            assert!(
                status == 400 && said.contains("Filters.1.Pattern is not valid"),
                "{method} {wrong}: {status} {said}"
            );
        }
    }
}

#[test]
fn an_answer_of_exactly_the_largest_size_keeps_its_connection() {
    let data = fresh_data();
    let server = Server::start(data.path(), &["--allow-private-targets"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let arn = destination(&server, "large", &format!("http://{}/", listener.local_addr().unwrap()));
    let pattern = json!({ "source": ["shop"] }).to_string();
    events(&server, "PutRule", json!({ "Name": "sold", "EventPattern": pattern }));
    let target = json!({ "Id": "hook", "Arn": arn, "RoleArn": ROLE });
    events(&server, "PutTargets", json!({ "Rule": "sold", "Targets": [target] }));
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for (connection, stream) in (0u32..).zip(listener.incoming().flatten()) {
            let tell = tell.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(&stream);
                loop {
                    let (mut line, mut length) = (String::from("x"), 0);
                    while !line.trim().is_empty() {
                        line.clear();
                        if reader.read_line(&mut line).unwrap_or(0) == 0 {
                            return;
                        }
                        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                            length = value.trim().parse().unwrap();
                        }
                    }
                    reader.read_exact(&mut vec![0; length]).unwrap();
                    let body = "x".repeat(64 << 10);
                    write!(&stream, "HTTP/1.1 200 ok\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
                    let _ = tell.send(connection); // the test may be over
                }
            });
        }
    });
    for _ in 0..3 {
        let entry = json!({ "Source": "shop", "DetailType": "sold", "Detail": "{}" });
        events(&server, "PutEvents", json!({ "Entries": [entry] }));
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), 0, "the first connection");
        std::thread::sleep(Duration::from_millis(50)); // the answer is read to its end
    }
}

const CAPTURE: &str = "arn:aws:fakemon:local:123456789012:capture";

/// A rule of the game's bus that makes commands of its events.
fn to_capture(server: &Server, rule: &str, pattern: &Value, shape: &Value) {
    let target = json!({ "Id": "capture", "Arn": CAPTURE });
    let mut target = target.as_object().unwrap().clone();
    target.extend(shape.as_object().unwrap().clone());
    events(
        server,
        "PutRule",
        json!({ "Name": rule, "EventBusName": "fakemon", "EventPattern": pattern.to_string() }),
    );
    events(server, "PutTargets", json!({ "Rule": rule, "EventBusName": "fakemon", "Targets": [target] }));
}

/// A queue of the events of a type; its URL.
fn seen(server: &Server, detail_type: &str) -> String {
    let name = detail_type.replace('.', "-");
    let (url, arn) = queue(server, &name);
    let pattern = json!({ "detail-type": [detail_type], "source": ["fakemon.world", "fakemon.capture"] }).to_string();
    events(server, "PutRule", json!({ "Name": name, "EventBusName": "fakemon", "EventPattern": pattern }));
    let target = json!([{ "Id": "q", "Arn": arn }]);
    events(server, "PutTargets", json!({ "Rule": name, "EventBusName": "fakemon", "Targets": target }));
    url
}

#[test]
fn commands_that_lead_to_commands_end_after_eight_rounds() {
    let data = fresh_data();
    let dir = data.path().to_str().unwrap();
    let server = Server::start(data.path(), &[]);
    let (told, appeared, failed) =
        (refusals(&server), seen(&server, "fakemon.appeared"), seen(&server, "fakemon.capture_failed"));
    let event = json!({ "source": "fakemon.world", "detail-type": "fakemon.spawn",
                        "detail": { "species": "leaflet", "lat": 1, "lon": 2 } });
    to_capture(
        &server,
        "again",
        &json!({ "detail-type": ["fakemon.appeared"] }),
        &json!({ "Input": event.to_string() }),
    );
    let template = r#"{"source":"fakemon.game","detail-type":"fakemon.capture_attempt","detail":{"player":"ash","attempt_id":"<p>","fakemon_id":"999","lat":1,"lon":2}}"#;
    let shape = json!({ "InputPathsMap": { "p": "$.detail.position" }, "InputTemplate": template });
    to_capture(
        &server,
        "throw",
        &json!({ "detail-type": ["fakemon.capture_failed"] }),
        &json!({ "InputTransformer": shape }),
    );
    let lines = answer(&["rules", "lint", "--data", dir]);
    assert_eq!(lines.matches("capture_loop").count(), 2, "{lines}");
    let found: Value = serde_json::from_str(&answer(&["topology", "--data", dir, "--json"])).unwrap();
    let found = found["findings"].as_array().unwrap().iter().filter(|found| found["code"] == "capture_loop");
    let subjects: Vec<&str> = found.map(|found| found["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects, ["rule/fakemon/again", "rule/fakemon/throw"]);
    // One that a sender asked for, and one for each round.
    assert_eq!(server.post_event(&event.to_string()).0, 200);
    assert_eq!(next(&server, &told, 1)[0]["reason"], "too_many_hops");
    receive(&server, &appeared, 9);
    put(&server, &[attempt_at("1", "999")]);
    assert_eq!(next(&server, &told, 1)[0]["reason"], "too_many_hops");
    receive(&server, &failed, 9);
    counted(&server, "too_many_hops", 2);
    let log = server.log();
    assert_eq!(log.matches("a command is not carried out: rules and pipes").count(), 1, "{log}");
}

#[test]
fn a_refusal_is_no_command_and_is_not_refused_again() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let told = refusals(&server);
    to_capture(&server, "all", &json!({ "source": [{ "prefix": "fakemon." }] }), &json!({}));
    let command = json!({ "source": "fakemon.world", "detail-type": "fakemon.spawn",
                          "detail": { "species": "leaflet", "lat": 1, "lon": 2 } });
    for round in 1..=2 {
        assert_eq!(server.post_event(&command.to_string()).0, 200);
        assert_eq!(next(&server, &told, 1)[0]["reason"], "bad_command");
        counted(&server, "refusal_is_no_command", round);
    }
    events(&server, "RemoveTargets", json!({ "Rule": "all", "EventBusName": "fakemon", "Ids": ["capture"] }));
    // A pipe that makes a wrong command of each refusal, too.
    let filters =
        json!({ "Filters": [{ "Pattern": json!({ "source": ["fakemon.world", "fakemon.capture"] }).to_string() }] });
    let game = "arn:aws:events:local:123456789012:event-bus/fakemon";
    let pipe = json!({ "RoleArn": ROLE, "Source": game, "Target": CAPTURE,
                       "SourceParameters": { "FilterCriteria": filters, "KinesisStreamParameters": { "StartingPosition": "LATEST" } },
                       "TargetParameters": { "InputTemplate": "{\"source\":\"fakemon.world\",\"detail-type\":\"fakemon.spawn\",\"detail\":{}}" } });
    let (status, answer) = rest(&server, "POST", "/v1/pipes/all", &pipe);
    assert_eq!(status, 200, "{answer}");
    let by = Instant::now() + PATIENCE;
    while rest(&server, "GET", "/v1/pipes/all", &Value::Null).1["CurrentState"] != "RUNNING" {
        assert!(Instant::now() < by);
    }
    assert_eq!(server.post_event(&command.to_string()).0, 200);
    assert_eq!(next(&server, &told, 1)[0]["reason"], "missing_field");
    counted(&server, "refusal_is_no_command", 3);
}

#[test]
fn what_an_event_or_a_query_means_is_never_guessed() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let sold = |more: &str| format!(r#"{{"source":"shop","detail-type":"sold","detail":{{}}{more}}}"#);
    let attempt = |detail: &str| {
        format!(r#"{{"source":"fakemon.game","detail-type":"fakemon.capture_attempt","detail":{detail}}}"#)
    };
    let cloud = |more: &str| format!(r#"{{"specversion":"1.0","id":"7","source":"s","type":"t"{more}}}"#);
    let (plain, cloud_event) = (&[][..], &[("Content-Type", "application/cloudevents+json")][..]);
    for (headers, path, body, field, said) in [
        (plain, "/events", attempt("{}"), "detail.player", "is missing"),
        (
            plain,
            "/events",
            attempt(r#"{"player":"ana","attempt_id":"1","fakemon_id":"x"}"#),
            "detail.fakemon_id",
            "whole number",
        ),
        (plain, "/events", sold(r#","bus":"default""#), "bus", "write event-bus"),
        (plain, "/events", sold(r#","EventBusName":"default""#), "EventBusName", "write event-bus"),
        (plain, "/events", sold(r#","event_bus_name":"default""#), "event_bus_name", "write event-bus"),
        (plain, "/events", sold(r#","event-bus":7"#), "event-bus", "must be a string"),
        (plain, "/events", sold(r#","source":"else""#), "source", "is there twice"),
        (plain, "/events", sold(r#","detail":{"a":1}"#), "detail", "is there twice"),
        (
            plain,
            "/events",
            r#"{"Source":"s","DetailType":"t","Detail":"{}","event-bus":"x"}"#.into(),
            "event-bus",
            "write EventBusName",
        ),
        (plain, "/events", format!("[{},{}]", sold(""), sold(r#","bus":"x""#)), "[1].bus", "write event-bus"),
        (plain, "/events", format!("[{},{{}}]", sold("")), "[1].source", "is missing"),
        (cloud_event, "/events", cloud(r#","Wrong":"x""#), "Wrong", "is no attribute"),
        (cloud_event, "/events", cloud(r#","id":"8""#), "id", "is there twice"),
        (plain, "/events?bus=%ff", sold(""), "bus", "percent-encoded UTF-8"),
    ] {
        let (status, answer) = ask(&server, "POST", path, headers, &body);
        let error = &answer["error"];
        let is_said = error["message"].as_str().is_some_and(|message| message.contains(said));
        assert!(status == 400 && error["field"] == field && is_said, "{path} {body}: {status} {answer}");
    }
    counted(&server, "missing_field", 1);
    for player in ["%ff", "%", "%zz"] {
        let (status, answer) = ask(&server, "GET", &format!("/stream?player={player}"), &[], "");
        assert_eq!((status, &answer["error"]["field"]), (400, &json!("player")), "{player}: {answer}");
        let (status, answer) = ask(&server, "POST", &format!("/@connections?group={player}"), &[], "x");
        assert!(status == 400 && answer.to_string().contains("group must be percent-encoded"), "{player}: {answer}");
    }
    let wrong = r#"{"url":"http://localhost/","player":""}"#;
    assert_eq!(ask(&server, "PUT", "/answers/webhooks/a", &[], wrong).1["error"]["field"], "player");
}

#[test]
fn a_text_that_is_no_json_is_told_where_it_ends_to_be() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let cloud = &[("Content-Type", "application/cloudevents+json")][..];
    for (method, path, headers, body, said) in [
        ("POST", "/events", &[][..], "", "it is empty"),
        ("POST", "/events", &[], "{\n\"source\":}", "at byte 12 (line 2, column 10): a value was expected"),
        ("POST", "/events", cloud, "[1", "at byte 2 (line 1, column 2): it ends inside of a list"),
        ("PUT", "/answers/webhooks/a", &[], "{} x", "at byte 4 (line 1, column 4): the end was expected"),
        ("POST", "/checkpoint", &[], "{", "it ends inside of an object"),
        ("POST", "/@connections?batch", &[], "{a", "the name of a member was expected"),
    ] {
        let (status, answer) = ask(&server, method, path, headers, body);
        let answer = answer.to_string();
        assert!(status == 400 && answer.contains(said), "{method} {path} {body}: {status} {answer}");
    }
    let mut ana = Player::connect(server.play, "ana").unwrap();
    ana.socket.send(tungstenite::Message::text("{\"type\":look}")).unwrap();
    let answer = ana.hear().unwrap();
    let said = "it is not JSON: at byte 9 (line 1, column 9): a value was expected";
    assert!(answer["message"].as_str().unwrap().contains(said), "{answer}");
}

#[test]
fn settings_and_requests_that_mean_nothing_are_refused_with_what_would() {
    let data = fresh_data();
    let dir = data.path().to_str().unwrap();
    let server = Server::start(data.path(), &[]);
    let (status, answer) = ask(&server, "PUT", "/webhooks/w", &[], r#"{"layout":"github","secret":"x"}"#);
    assert!(status == 400 && answer["error"]["message"].as_str().unwrap().contains("`secrets`"), "{answer}");
    for path in ["/webhooks/%2e%2e", "/answers/webhooks/%2e%2e"] {
        let raw = server.raw(&format!(
            "PUT {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}",
            server.control
        ));
        assert!(raw.starts_with("HTTP/1.1 400") && raw.contains("is not . or .."), "{raw}");
    }
    let group = json!({ "logGroupName": "g", "kmsKeyId": "garbage" });
    let (code, _) = crate::aws::refused(&server, "Logs_20140328.CreateLogGroup", group);
    assert!(code.ends_with("InvalidParameterException"), "{code}");
    let ids =
        put(&server, &[("fakemon.world", "fakemon.spawn", json!({ "species": "nothing", "lat": 1, "lon": 2 }))]);
    let by = Instant::now() + PATIENCE;
    let refused = || crate::server::answer(&["log", "--data", dir, "--kind", "command_refused"]);
    while !refused().contains(&ids[0]) {
        assert!(Instant::now() < by);
    }
    server.kill();
    let index = data.path().join("index");
    std::fs::remove_dir_all(&index).unwrap();
    std::fs::write(&index, "mine").unwrap();
    let said = refusal(&["index", "--data", dir]).1;
    assert!(said.contains("move it away") && !said.contains("makes it again"), "{said}");
    assert_eq!(std::fs::read_to_string(&index).unwrap(), "mine");
}

#[test]
fn an_authorizer_that_does_not_exist_is_told_at_the_start_and_to_players() {
    let data = fresh_data();
    let settings = data.path().join("settings.toml");
    std::fs::write(&settings, "[connections]\nauthorizer = \"nope\"\n").unwrap();
    let server = Server::start(&data.path().join("data"), &["--config", settings.to_str().unwrap()]);
    let mut stream = TcpStream::connect(server.play).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    write!(stream, "GET /play?player=ana HTTP/1.1\r\nHost: {}\r\n{upgrade}\r\n", server.play).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer); // the head and the body, then the end
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("authorizer_missing"), "{answer}");
    let log = server.log();
    assert!(log.contains("connections.authorizer: there is no API destination nope"), "{log}");
}

#[test]
fn two_tokens_in_one_request_are_refused_by_every_door_of_players() {
    let data = fresh_data();
    let secret = data.path().join("secret");
    std::fs::write(&secret, "a secret of thirty-two bytes, ok").unwrap();
    let settings = data.path().join("settings.toml");
    std::fs::write(&settings, format!("[auth]\nhs256_secret_file = {secret:?}\n")).unwrap();
    let server = Server::start(&data.path().join("data"), &["--config", settings.to_str().unwrap()]);
    let twice = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")];
    let (status, answer) = ask(&server, "GET", "/stream", &twice, "");
    assert_eq!((status, &answer["error"]["field"]), (400, &json!("Authorization")), "{answer}");
    let (status, answer) = ask(&server, "GET", "/stream", &twice[..1], "");
    assert_eq!((status, &answer["error"]["field"]), (401, &json!("token")), "{answer}");
    let mut stream = TcpStream::connect(server.play).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   Authorization: Bearer a\r\nAuthorization: Bearer b\r\n";
    write!(stream, "GET /play HTTP/1.1\r\nHost: {}\r\n{upgrade}\r\n", server.play).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer); // the head and the body, then the end
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("Authorization is there twice"), "{answer}");
}
