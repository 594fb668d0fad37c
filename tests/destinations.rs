//! Deliveries to targets of rules, byte for byte: paths, queries and headers of requests from the event, tokens,
//! numbers; reasons of failed deliveries; and settings that are rejected before they could fail.

use crate::aws::{ERROR, Hook, PATIENCE, WELL, destination, events, queue, receive, refused, sqs};
use crate::pipes::rest;
use crate::schedules::{ok, schedule};
use crate::server::{Server, fresh_data};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Instant;

const QUEUE: &str = "arn:aws:sqs:local:123456789012:";
const BUS: &str = "arn:aws:events:local:123456789012:event-bus/";

/// A received request: its first line and headers, and its body.
struct Asked {
    head: String,
    body: String,
}

impl Asked {
    fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    /// All values of a header.
    fn all(&self, name: &str) -> Vec<&str> {
        let pairs = self.head.lines().filter_map(|line| line.split_once(": "));
        pairs.filter(|(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

/// An HTTP server whose answers a function makes.
fn answering(
    answer: impl Fn(&Asked) -> String + Send + Sync + Clone + 'static,
) -> (SocketAddr, mpsc::Receiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (tell, told) = mpsc::channel();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (tell, answer) = (tell.clone(), answer.clone());
            std::thread::spawn(move || while one(&stream, &answer, &tell).is_some() {});
        }
    });
    (address, told)
}

fn one(mut stream: &TcpStream, answer: &impl Fn(&Asked) -> String, tell: &mpsc::Sender<Asked>) -> Option<()> {
    let (mut head, mut length, mut reader) = (String::new(), 0, BufReader::new(stream));
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let asked = Asked { head, body: String::from_utf8(body).ok()? };
    let answered = answer(&asked);
    let _ = tell.send(asked); // the test may be over
    stream.write_all(answered.as_bytes()).ok()
}

fn said(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

fn rule(server: &Server, bus: &str, name: &str) {
    let rule = json!({ "Name": name, "EventBusName": bus, "EventPattern": r#"{"source":["shop"]}"# });
    events(server, "PutRule", rule);
}

fn target(server: &Server, bus: &str, rule: &str, target: Value) {
    events(server, "PutTargets", json!({ "Rule": rule, "EventBusName": bus, "Targets": [target] }));
}

fn put(server: &Server, bus: &str, detail: &str) -> Value {
    let entry = json!({ "Source": "shop", "DetailType": "sold", "Detail": detail, "EventBusName": bus });
    let answer = events(server, "PutEvents", json!({ "Entries": [entry] }));
    assert_eq!(answer["FailedEntryCount"], 0, "{answer}");
    answer["Entries"][0].clone()
}

fn body(message: &Value) -> Value {
    serde_json::from_str(message["Body"].as_str().unwrap()).unwrap()
}

#[test]
fn parameters_of_a_request_come_from_the_event_and_a_connection_stands_over_its_target() {
    let data = fresh_data();
    let server = Server::start(data.path(), &["--allow-private-targets"]);
    let (address, asked) = answering(|_| said("200 ok", "", ""));
    let key = |name: &str, value: &str| json!({ "Key": name, "Value": value });
    let more = json!({ "QueryStringParameters": [key("who", "connection")], "HeaderParameters": [key("Via", "x")],
                       "BodyParameters": [key("more", "m")] });
    let secret = json!({ "ApiKeyAuthParameters": { "ApiKeyName": "x-key", "ApiKeyValue": "hush" },
                         "InvocationHttpParameters": more });
    let connection = json!({ "Name": "c", "AuthorizationType": "API_KEY", "AuthParameters": secret });
    let connection = events(&server, "CreateConnection", connection)["ConnectionArn"].clone();
    let made = json!({ "Name": "d", "ConnectionArn": connection, "HttpMethod": "POST",
                       "InvocationEndpoint": format!("http://{address}/a/*/b/*") });
    let arn = events(&server, "CreateApiDestination", made)["ApiDestinationArn"].clone();
    rule(&server, "default", "r");
    let http = json!({
        "PathParameterValues": ["$.detail.topic", "$.detail.none"],
        "HeaderParameters": { "X-N": "$.detail.n", "X-Is": "plain", "X-None": "$.detail.none", "Content-Length": "3",
                              "Host": "evil", "Transfer-Encoding": "chunked", "Expect": "100-continue", "Range": "x" },
        "QueryStringParameters": { "from": "$.source", "who": "target" },
    });
    target(
        &server,
        "default",
        "r",
        json!({ "Id": "t", "Arn": arn, "HttpParameters": http, "InputPath": "$.detail" }),
    );
    put(&server, "default", r#"{"topic":"a/b","n":1.10,"big":12345678901234567890123,"e":1e2,"tiny":1e-400}"#);
    let asked = asked.recv_timeout(PATIENCE).unwrap();
    assert_eq!(asked.line(), "POST /a/a%2Fb/b/?from=shop&who=connection HTTP/1.1");
    assert_eq!(
        asked.body,
        r#"{"topic":"a/b","n":1.10,"big":12345678901234567890123,"e":1e2,"tiny":1e-400,"more":"m"}"#
    );
    assert_eq!(
        (asked.all("x-n"), asked.all("x-is"), asked.all("x-key")),
        (vec!["1.10"], vec!["plain"], vec!["hush"])
    );
    assert!(asked.all("x-none").concat().is_empty());
    assert_eq!(asked.all("content-length"), [asked.body.len().to_string()]);
    assert_eq!(
        (asked.all("host"), asked.all("range")),
        (vec![address.to_string().as_str()], vec!["bytes=0-1048575"])
    );
    for left_out in ["transfer-encoding", "expect", "via"] {
        assert!(asked.all(left_out).is_empty(), "{left_out}: {}", asked.head);
    }
    let wrong = |http: Value| {
        let target = json!({ "Id": "t", "Arn": arn, "HttpParameters": http });
        refused(&server, "AWSEvents.PutTargets", json!({ "Rule": "r", "Targets": [target] }))
    };
    for http in [
        json!({ "HeaderParameters": { "Bad Name": "v" } }),
        json!({ "HeaderParameters": { "x": "a\nb" } }),
        json!({ "HeaderParameters": { "x": "ü" } }),
        json!({ "PathParameterValues": [""] }),
    ] {
        assert_eq!(wrong(http.clone()).0, "ValidationException", "{http}");
    }
}

#[test]
fn a_token_is_asked_for_with_each_parameter_once_and_anew_when_a_proxy_refuses_it() {
    let data = fresh_data();
    let server = Server::start(data.path(), &["--allow-private-targets"]);
    let (issuer, asked) = answering(|asked| {
        let token = format!(r#"{{"access_token":"t{}","expires_in":3600}}"#, asked.all("x-forms").len());
        said("200 ok", "", &token)
    });
    let refuse_once = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let (proxy, delivered) = answering(move |_| match refuse_once.swap(false, std::sync::atomic::Ordering::SeqCst) {
        true => said("407 who are you", "", ""),
        false => said("200 ok", "", ""),
    });
    let pair = |name: &str, value: &str| json!({ "Key": name, "Value": value });
    let http = json!({ "BodyParameters": [pair("grant_type", "password"), pair("scope", "all")],
                       "HeaderParameters": [pair("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")] });
    let oauth = json!({ "AuthorizationEndpoint": format!("http://{issuer}/token"), "HttpMethod": "POST",
                        "ClientParameters": { "ClientID": "me", "ClientSecret": "hush" }, "OAuthHttpParameters": http });
    let made = json!({ "Name": "c", "AuthorizationType": "OAUTH_CLIENT_CREDENTIALS",
                       "AuthParameters": { "OAuthParameters": oauth } });
    let connection = events(&server, "CreateConnection", made)["ConnectionArn"].clone();
    let first = asked.recv_timeout(PATIENCE).unwrap();
    assert_eq!(first.body, "client_id=me&client_secret=hush&grant_type=password&scope=all");
    assert_eq!(first.all("content-type"), ["application/x-www-form-urlencoded; charset=utf-8"]);
    assert_eq!(first.all("accept"), ["application/json"]);
    let end = Instant::now() + PATIENCE;
    while events(&server, "DescribeConnection", json!({ "Name": "c" }))["ConnectionState"] != "AUTHORIZED" {
        assert!(Instant::now() < end, "it is not authorized");
    }
    let made = json!({ "Name": "d", "ConnectionArn": connection, "HttpMethod": "POST",
                       "InvocationEndpoint": format!("http://{proxy}/") });
    let arn = events(&server, "CreateApiDestination", made)["ApiDestinationArn"].clone();
    rule(&server, "default", "r");
    target(&server, "default", "r", json!({ "Id": "t", "Arn": arn }));
    put(&server, "default", "{}");
    let tries = [delivered.recv_timeout(PATIENCE).unwrap(), delivered.recv_timeout(PATIENCE).unwrap()];
    assert_eq!(tries[0].body, tries[1].body);
    assert_eq!(asked.try_iter().count(), 1, "one more token, at once");
}

#[test]
fn dead_letters_say_why_in_the_services_words() {
    let data = fresh_data();
    let server = Server::start(data.path(), &["--allow-private-targets"]);
    let (dead, dead_arn) = queue(&server, "dead");
    let (gone, gone_arn) = queue(&server, "gone");
    let (busy, _busy) = answering(|_| said("429 later", "retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n", ""));
    let hook = Hook::start(ERROR);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(); // closed at once, so it refuses connections
    rule(&server, "default", "r");
    let at = |name: &str, address: SocketAddr| destination(&server, name, &format!("http://{address}/"));
    for (id, arn, input) in [
        ("no-queue", gone_arn, Value::Null),
        ("error", at("error", hook.address), Value::Null),
        ("busy", at("busy", busy), Value::Null),
        ("closed", at("closed", closed), Value::Null),
        ("no-event", format!("{BUS}default"), json!("7")),
    ] {
        let mut made = json!({ "Id": id, "Arn": arn, "DeadLetterConfig": { "Arn": dead_arn },
                               "RetryPolicy": { "MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60 } });
        if input.is_string() {
            made["Input"] = input;
        }
        target(&server, "default", "r", made);
    }
    sqs(&server, "DeleteQueue", json!({ "QueueUrl": gone }));
    put(&server, "default", "{}");
    let mut found: Vec<(String, String)> = receive(&server, &dead, 5)
        .iter()
        .map(|letter| {
            let text = |name: &str| letter["MessageAttributes"][name]["StringValue"].as_str().unwrap().to_owned();
            assert!(!text("ERROR_MESSAGE").is_empty(), "{letter}");
            (text("FAKEMON_TARGET_ID"), text("ERROR_CODE"))
        })
        .collect();
    found.sort();
    let expected = [
        ("busy", "THROTTLING"),
        ("closed", "CONNECTION_FAILURE"),
        ("error", "ERROR_FROM_TARGET"),
        ("no-event", "INVALID_JSON"),
        ("no-queue", "NO_RESOURCE"),
    ];
    assert_eq!(found, expected.map(|(id, code)| (id.to_owned(), code.to_owned())));
}

#[test]
fn what_nothing_here_serves_is_refused_where_it_is_put_and_accepted_for_test_suites() {
    const LAMBDA: &str = "arn:aws:lambda:local:123456789012:function:f";
    let role = "arn:aws:iam::123456789012:role/any";
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    rule(&server, "default", "r");
    let targets = json!({ "Rule": "r", "Targets": [{ "Id": "t", "Arn": LAMBDA }] });
    let (code, message) = refused(&server, "AWSEvents.PutTargets", targets.clone());
    assert_eq!(code, "ValidationException");
    assert!(message.contains(LAMBDA) && message.contains("bus.allow_unserved_targets"), "{message}");
    let rate = schedule("rate(1 hour)", &json!({ "Arn": LAMBDA }));
    let (status, answer) = rest(&server, "POST", "/schedules/s", &rate);
    assert!(status == 400 && answer["Message"].as_str().unwrap().contains("bus.allow_unserved_targets"), "{answer}");
    let pipe = json!({ "Source": format!("{QUEUE}q"), "Target": LAMBDA, "RoleArn": role });
    let (status, answer) = rest(&server, "POST", "/v1/pipes/p", &pipe);
    assert!(status == 400 && answer.to_string().contains("bus.allow_unserved_targets"), "{answer}");
    drop(server);
    let server = Server::start(data.path(), &["--dev"]);
    assert_eq!(events(&server, "PutTargets", targets)["FailedEntryCount"], 0);
    ok(&server, "POST", "/schedules/s", rate);
    assert_eq!(rest(&server, "POST", "/v1/pipes/p", &pipe).0, 200);
}

#[test]
fn the_services_limits_hold_where_a_setting_asks_for_them() {
    let data = fresh_data();
    let config = data.path().with_extension("toml");
    let data = data.path().join("data");
    std::fs::write(&config, "[bus]\naws_limits = true\n").unwrap();
    let server = Server::start(&data, &["--config", config.to_str().unwrap()]);
    std::fs::remove_file(&config).unwrap();
    rule(&server, "default", "r");
    let targets = |ids: std::ops::Range<u32>| {
        let one = |id: u32| json!({ "Id": id.to_string(), "Arn": format!("{QUEUE}q") });
        json!({ "Rule": "r", "Targets": ids.map(one).collect::<Vec<_>>() })
    };
    assert_eq!(refused(&server, "AWSEvents.PutTargets", targets(0..6)).0, "LimitExceededException");
    events(&server, "PutTargets", targets(0..5));
    events(&server, "PutTargets", targets(0..5)); // putting the same again adds none
    assert_eq!(refused(&server, "AWSEvents.PutTargets", targets(5..6)).0, "LimitExceededException");
}

#[test]
fn an_event_keeps_its_id_and_its_time_from_bus_to_bus_and_never_goes_round_on_one() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (url, arn) = queue(&server, "q");
    for bus in ["left", "right"] {
        events(&server, "CreateEventBus", json!({ "Name": bus }));
    }
    for (from, to) in [("default", "left"), ("left", "right")] {
        rule(&server, from, "on");
        target(&server, from, "on", json!({ "Id": "bus", "Arn": format!("{BUS}{to}") }));
        target(&server, from, "on", json!({ "Id": "queue", "Arn": arn }));
    }
    rule(&server, "right", "on");
    target(&server, "right", "on", json!({ "Id": "queue", "Arn": arn }));
    // Regions and accounts share one namespace: all these ARNs name the bus itself.
    for (id, own) in [
        ("region", "arn:aws:events:us-west-2:123456789012:event-bus/default"),
        ("account", "arn:aws:events:local:000000000000:event-bus/default"),
        ("own", "arn:aws:events:local:123456789012:event-bus/default"),
    ] {
        target(&server, "default", "on", json!({ "Id": id, "Arn": own }));
    }
    let entry = json!({ "Source": "shop", "DetailType": "sold", "Detail": "{}", "Time": 1_641_040_200 });
    let id = events(&server, "PutEvents", json!({ "Entries": [entry] }))["Entries"][0]["EventId"].clone();
    let arrived: Vec<Value> = receive(&server, &url, 3).iter().map(body).collect();
    for event in &arrived {
        assert_eq!((&event["id"], &event["time"]), (&id, &json!("2022-01-01T12:30:00Z")), "{event}");
        let names: Vec<&String> = event.as_object().unwrap().keys().collect();
        let service = ["account", "detail", "detail-type", "id", "region", "resources", "source", "time", "version"];
        assert_eq!(names, service, "the service's members, and no others");
    }
    put(&server, "default", r#"{"last":true}"#);
    let last: Vec<Value> = receive(&server, &url, 3).iter().map(body).collect();
    assert!(last.iter().all(|event| event["detail"]["last"] == true), "nothing went round: {last:?}");
}

#[test]
fn times_have_whole_seconds_and_nanoseconds_a_member_of_their_own() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (url, arn) = queue(&server, "q");
    for (bus, pattern) in
        [("default", r#"{"source":["shop"]}"#), ("fakemon", r#"{"detail-type":["fakemon.appeared"]}"#)]
    {
        events(&server, "PutRule", json!({ "Name": "r", "EventBusName": bus, "EventPattern": pattern }));
        target(&server, bus, "r", json!({ "Id": "q", "Arn": arn }));
    }
    let shape = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "0");
    put(&server, "default", "{}");
    let event = body(&receive(&server, &url, 1)[0]);
    assert_eq!(shape(event["time"].as_str().unwrap()), "0000-00-00T00:00:00Z", "{event}");
    assert!(event.get("fakemon-time").is_none(), "{event}");
    let said =
        json!({ "source": "shop", "detail-type": "sold", "detail": {}, "time": "2026-03-01T20:00:00.000000017Z" });
    assert_eq!(server.post_event(&said.to_string()).0, 200);
    let event = body(&receive(&server, &url, 1)[0]);
    let times = (&event["time"], &event["fakemon-time"]);
    assert_eq!(times, (&json!("2026-03-01T20:00:00Z"), &json!("2026-03-01T20:00:00.000000017Z")), "{event}");
    server.spawn(json!({ "species": "sparkit", "lat": 1, "lon": 2 }));
    let event = body(&receive(&server, &url, 1)[0]);
    assert_eq!(shape(event["time"].as_str().unwrap()), "0000-00-00T00:00:00Z", "{event}");
    assert_eq!(shape(event["fakemon-time"].as_str().unwrap()), "0000-00-00T00:00:00.000000000Z", "{event}");
}

#[test]
fn details_of_up_to_255_levels_go_all_the_way() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (url, arn) = queue(&server, "q");
    events(&server, "CreateEventBus", json!({ "Name": "on" }));
    rule(&server, "default", "r");
    rule(&server, "on", "r");
    target(&server, "default", "r", json!({ "Id": "on", "Arn": format!("{BUS}on") }));
    let template = json!({ "InputPathsMap": { "d": "$.detail" }, "InputTemplate": r#"{"is":<d>}"# });
    target(&server, "on", "r", json!({ "Id": "q", "Arn": arn, "InputTransformer": template }));
    let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    for levels in [127, 128, 200, 255] {
        put(&server, "default", &nested(levels));
        assert_eq!(receive(&server, &url, 1)[0]["Body"], format!(r#"{{"is":{}}}"#, nested(levels)), "{levels}");
    }
    let entry = json!({ "Source": "shop", "DetailType": "sold", "Detail": nested(256) });
    let answer = events(&server, "PutEvents", json!({ "Entries": [entry] }));
    assert_eq!(answer["Entries"][0]["ErrorCode"], "MalformedDetail");
}

#[test]
fn an_archive_says_how_much_it_holds() {
    let data = fresh_data();
    let mut server = Server::start(data.path(), &[]);
    events(&server, "CreateEventBus", json!({ "Name": "b" }));
    let archive = |name: &str, pattern: &Value| {
        let mut made = json!({ "ArchiveName": name, "EventSourceArn": format!("{BUS}b") });
        if pattern.is_string() {
            made["EventPattern"] = pattern.clone();
        }
        events(&server, "CreateArchive", made);
    };
    archive("all", &Value::Null);
    archive("some", &json!(r#"{"detail":{"unit":[7]}}"#));
    let shown = |server: &Server, name: &str| {
        let shown = events(server, "DescribeArchive", json!({ "ArchiveName": name }));
        (shown["EventCount"].as_u64().unwrap(), shown["SizeBytes"].as_u64().unwrap())
    };
    assert_eq!((shown(&server, "all"), shown(&server, "some")), ((0, 0), (0, 0)));
    (0..10).for_each(|unit| drop(put(&server, "b", &format!(r#"{{"unit":{unit}}}"#))));
    let (ten, one) = (shown(&server, "all"), shown(&server, "some"));
    assert_eq!((ten.0, one.0), (10, 1));
    assert!(one.1 > 150 && ten.1 == one.1 * 10, "{ten:?} {one:?}: they are equally long");
    server.kill();
    server = Server::start(data.path(), &[]);
    let list = events(&server, "ListArchives", json!({}));
    let counts: Vec<u64> =
        list["Archives"].as_array().unwrap().iter().map(|one| one["EventCount"].as_u64().unwrap()).collect();
    assert_eq!(counts, [10, 1], "also after a restart: {list}");
}

#[test]
fn test_suites_see_their_own_events_only() {
    let data = fresh_data();
    let server = Server::start(data.path(), &["--dev"]);
    let (url, arn) = queue(&server, "q");
    let pattern = r#"{"account":["123456789012"]}"#;
    events(&server, "PutRule", json!({ "Name": "r", "EventPattern": pattern }));
    target(&server, "default", "r", json!({ "Id": "q", "Arn": arn }));
    events(&server, "CreateEventBus", json!({ "Name": "makes-a-notice" }));
    events(&server, "CreateArchive", json!({ "ArchiveName": "a", "EventSourceArn": format!("{BUS}default") }));
    put(&server, "default", "{}");
    assert_eq!(body(&receive(&server, &url, 1)[0])["source"], "shop");
    events(&server, "PutRule", json!({ "Name": "asks", "EventPattern": r#"{"source":["fakemon.engine"]}"# }));
    target(&server, "default", "asks", json!({ "Id": "q", "Arn": arn }));
    events(&server, "CreateEventBus", json!({ "Name": "makes-another" }));
    assert_eq!(body(&receive(&server, &url, 1)[0])["source"], "fakemon.engine", "who asks for it sees it");
    assert_eq!(events(&server, "DescribeArchive", json!({ "ArchiveName": "a" }))["EventCount"], 1);
}

#[test]
fn an_event_is_tested_as_the_service_does() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let event = json!({ "id": "1", "source": "shop", "detail-type": "t", "account": "1", "region": "r",
                        "time": "2022-07-13T13:48:01Z" });
    let test = |event: &str| json!({ "EventPattern": r#"{"source":["shop"]}"#, "Event": event });
    assert_eq!(events(&server, "TestEventPattern", test(&event.to_string()))["Result"], true);
    for wrong in ["plain string", r#"["a"]"#, r#"{"testEvent":"v"}"#, r#""shop""#, "7", ""] {
        let (code, message) = refused(&server, "AWSEvents.TestEventPattern", test(wrong));
        assert_eq!(
            (code.as_str(), message.as_str()),
            ("ValidationException", "Parameter Event is not valid."),
            "{wrong}"
        );
    }
}

#[test]
fn an_endpoint_is_what_the_service_takes_for_one() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let hook = Hook::start(WELL);
    destination(&server, "hook", &format!("http://{}", hook.address));
    destination(&server, "bare", "www.google.com");
    let shown = events(&server, "DescribeApiDestination", json!({ "Name": "bare" }));
    assert_eq!(shown["InvocationEndpoint"], "www.google.com");
    for wrong in
        ["https://example.com/a b", "https://example.com/{id}", "ftp://example.com", "https://", "/path", "%zz"]
    {
        let request = json!({ "Name": "bare", "InvocationEndpoint": wrong });
        let (code, message) = refused(&server, "AWSEvents.UpdateApiDestination", request);
        assert!(code == "ValidationException" && message.contains("'invocationEndpoint'"), "{wrong}: {message}");
    }
    for endpoint in ["http://ash:pika@example.com/path", "ash:pika@example.com", "https://ash@example.com?to=x"] {
        let request = json!({ "Name": "bare", "InvocationEndpoint": endpoint });
        let (code, message) = refused(&server, "AWSEvents.UpdateApiDestination", request);
        assert!(code == "ValidationException" && message.contains("BASIC") && !message.contains("pika"), "{message}");
        let oauth = json!({ "AuthorizationEndpoint": endpoint, "HttpMethod": "POST",
                            "ClientParameters": { "ClientID": "i", "ClientSecret": "s" } });
        let request = json!({ "Name": "oauth", "AuthorizationType": "OAUTH_CLIENT_CREDENTIALS",
                              "AuthParameters": { "OAuthParameters": oauth } });
        let (code, message) = refused(&server, "AWSEvents.CreateConnection", request);
        let at = "authParameters.oAuthParameters.authorizationEndpoint";
        assert!(code == "ValidationException" && message.contains(at) && !message.contains("pika"), "{message}");
    }
    let shown = |name: &str| events(&server, "DescribeConnection", json!({ "Name": name }));
    let (one, again, other) = (shown("hook"), shown("hook"), shown("bare"));
    let id = |arn: &Value| arn.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    assert_eq!(one["SecretArn"], again["SecretArn"]);
    assert_ne!(one["SecretArn"], other["SecretArn"]);
    let parts: Vec<usize> = id(&one["SecretArn"]).split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12, 6]);
    assert!(!id(&one["SecretArn"]).starts_with(&id(&one["ConnectionArn"])), "an id of its own: {one}");
}

#[test]
fn a_schedule_begins_five_minutes_ago_at_the_earliest() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let now =
        i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let begins = |ago_s: i64| {
        let mut made = schedule("rate(1 hour)", &json!({ "Arn": format!("{QUEUE}q") }));
        made["StartDate"] = (now - ago_s).into();
        rest(&server, "POST", &format!("/schedules/s{ago_s}"), &made)
    };
    assert_eq!(begins(240).0, 200);
    let (status, answer) = begins(360);
    assert_eq!(status, 400, "{answer}");
    assert_eq!(answer["Message"], "The StartDate you specify cannot be earlier than 5 minutes ago.");
}

#[test]
fn a_pipe_gives_a_fifo_queue_a_group_or_fails() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let fifo = json!({ "QueueName": "to.fifo", "Attributes": { "FifoQueue": "true" } });
    let to = sqs(&server, "CreateQueue", fifo)["QueueUrl"].as_str().unwrap().to_owned();
    let (dead, dead_arn) = queue(&server, "dead");
    events(&server, "CreateEventBus", json!({ "Name": "b" }));
    let pipe = |group: &str| {
        json!({ "Source": format!("{BUS}b"), "Target": format!("{QUEUE}to.fifo"), "RoleArn": "arn:aws:iam::123456789012:role/r",
                "SourceParameters": { "KinesisStreamParameters": { "StartingPosition": "TRIM_HORIZON",
                    "DeadLetterConfig": { "Arn": dead_arn }, "MaximumRetryAttempts": 0 } },
                "TargetParameters": { "SqsQueueParameters": { "MessageGroupId": group } } })
    };
    let long = "g".repeat(129);
    for never in ["", " ", "a b", &long] {
        assert_eq!(rest(&server, "POST", "/v1/pipes/p", &pipe(never)).0, 400, "{never}");
    }
    assert_eq!(rest(&server, "POST", "/v1/pipes/p", &pipe("$.detail.group")).0, 200);
    let wrong = [json!({}), json!(""), Value::Null, json!({ "a": 1 }), json!(["a"]), json!(" "), json!(long)];
    for (number, group) in wrong.iter().enumerate() {
        let detail = if number == 0 { json!({}) } else { json!({ "group": group }) };
        put(&server, "b", &detail.to_string());
    }
    put(&server, "b", r#"{"group":"g"}"#);
    put(&server, "b", r#"{"group":7}"#);
    for letter in receive(&server, &dead, wrong.len()) {
        assert_eq!(letter["MessageAttributes"]["ERROR_CODE"]["StringValue"], "INVALID_PARAMETER", "{letter}");
    }
    let groups: Vec<Value> =
        receive(&server, &to, 2).iter().map(|message| body(message)["detail"]["group"].clone()).collect();
    assert_eq!(groups, [json!("g"), json!(7)]);
}

/// The trace that an event belongs to goes along, as X-Ray wants it: to queues and webhooks, and from bus to bus.
#[test]
fn a_trace_goes_along_to_queues_and_webhooks_and_from_bus_to_bus() {
    let (data, trace) = (fresh_data(), "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1");
    let server = Server::start(data.path(), &["--allow-private-targets"]);
    let (address, asked) = answering(|_| said("200 ok", "", ""));
    let hook = crate::aws::destination(&server, "d", &format!("http://{address}/"));
    let queues = ["here", "there"].map(|name| queue(&server, name));
    events(&server, "CreateEventBus", json!({ "Name": "other" }));
    rule(&server, "default", "r");
    rule(&server, "other", "r");
    target(&server, "default", "r", json!({ "Id": "queue", "Arn": queues[0].1 }));
    target(&server, "default", "r", json!({ "Id": "hook", "Arn": hook }));
    target(&server, "default", "r", json!({ "Id": "bus", "Arn": format!("{BUS}other") }));
    target(&server, "other", "r", json!({ "Id": "queue", "Arn": queues[1].1, "InputPath": "$.detail" }));
    let own = json!({ "HeaderParameters": { "x-amzn-trace-id": "own" } });
    target(&server, "other", "r", json!({ "Id": "hook", "Arn": hook, "HttpParameters": own }));
    let trace_of = |url: &str| {
        let request =
            json!({ "QueueUrl": url, "WaitTimeSeconds": 20, "MessageSystemAttributeNames": ["AWSTraceHeader"] });
        let message = sqs(&server, "ReceiveMessage", request)["Messages"][0].clone();
        sqs(&server, "DeleteMessage", json!({ "QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"] }));
        message["Attributes"].clone()
    };
    let entry = json!({ "Source": "shop", "DetailType": "sold", "Detail": "{}", "TraceHeader": trace });
    assert_eq!(events(&server, "PutEvents", json!({ "Entries": [entry] }))["FailedEntryCount"], 0);
    for (url, _) in &queues {
        assert_eq!(trace_of(url), json!({ "AWSTraceHeader": trace }));
    }
    let mut heads: Vec<Asked> = (0..2).map(|_| asked.recv_timeout(PATIENCE).unwrap()).collect();
    heads.sort_by_key(|asked| asked.all("x-amzn-trace-id").concat());
    assert_eq!(heads.iter().map(|asked| asked.all("x-amzn-trace-id")).collect::<Vec<_>>(), [[trace], ["own"]]);
    put(&server, "default", "{}");
    assert_eq!(trace_of(&queues[0].0), Value::Null);
    let heads: Vec<Asked> = (0..2).map(|_| asked.recv_timeout(PATIENCE).unwrap()).collect();
    assert!(heads.iter().any(|asked| asked.all("x-amzn-trace-id").is_empty()));
}
