//! The AWS API and webhooks, from outside: requests as boto3 sends them, targets that work and targets that fail.

use crate::player::{Player, SOL};
use crate::server::{Server, fresh_data};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An answer of the API: the status and the body.
pub(crate) fn call(server: &Server, operation: &str, request: &Value) -> (u16, Value) {
    let response = ureq::post(format!("http://{}/", server.control))
        .config()
        .http_status_as_error(false)
        .build()
        .header("X-Amz-Target", operation)
        .header("Content-Type", "application/x-amz-json-1.1")
        .send(request.to_string());
    let mut response = response.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap())
}

pub(crate) fn events(server: &Server, operation: &str, request: Value) -> Value {
    let (status, answer) = call(server, &format!("AWSEvents.{operation}"), &request);
    assert_eq!(status, 200, "{operation}: {answer}");
    answer
}

pub(crate) fn sqs(server: &Server, operation: &str, request: Value) -> Value {
    let (status, answer) = call(server, &format!("AmazonSQS.{operation}"), &request);
    assert_eq!(status, 200, "{operation}: {answer}");
    answer
}

pub(crate) fn refused(server: &Server, operation: &str, request: Value) -> (String, String) {
    let (status, answer) = call(server, operation, &request);
    assert_eq!(status, 400, "{operation}: {answer}");
    (answer["__type"].as_str().unwrap().to_owned(), answer["message"].as_str().unwrap().to_owned())
}

/// Makes a queue; its URL and its ARN.
pub(crate) fn queue(server: &Server, name: &str) -> (String, String) {
    let url = sqs(server, "CreateQueue", json!({ "QueueName": name }))["QueueUrl"].as_str().unwrap().to_owned();
    let all = sqs(server, "GetQueueAttributes", json!({ "QueueUrl": url, "AttributeNames": ["All"] }));
    (url, all["Attributes"]["QueueArn"].as_str().unwrap().to_owned())
}

/// Receives and deletes `count` messages.
pub(crate) fn receive(server: &Server, url: &str, count: usize) -> Vec<Value> {
    let (mut received, end) = (Vec::new(), Instant::now() + PATIENCE);
    while received.len() < count {
        assert!(Instant::now() < end, "{} of {count} messages", received.len());
        let request = json!({ "QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 2,
                              "MessageAttributeNames": ["All"] });
        for message in sqs(server, "ReceiveMessage", request)["Messages"].as_array().into_iter().flatten() {
            sqs(server, "DeleteMessage", json!({ "QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"] }));
            received.push(message.clone());
        }
    }
    received
}

/// How a target behaves.
pub(crate) const WELL: u8 = 0;
pub(crate) const ERROR: u8 = 1;
const HANG: u8 = 2;
const ENDLESS: u8 = 3;
const RESET: u8 = 4;
const REDIRECT: u8 = 5;
pub(crate) const REFUSES: u8 = 6;

/// An HTTP server that keeps what it gets.
pub(crate) struct Hook {
    pub(crate) address: SocketAddr,
    pub(crate) behaves: Arc<AtomicU8>,
    pub(crate) got: mpsc::Receiver<(String, String)>,
}

impl Hook {
    pub(crate) fn start(behaves: u8) -> Hook {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (tell, got) = mpsc::channel();
        let (address, behaves) = (listener.local_addr().unwrap(), Arc::new(AtomicU8::new(behaves)));
        let behaviour = behaves.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tell, behaviour) = (tell.clone(), behaviour.clone());
                std::thread::spawn(move || answer_requests(&stream, &behaviour, &tell));
            }
        });
        Hook { address, behaves, got }
    }

    pub(crate) fn next(&self) -> (String, String) {
        self.got.recv_timeout(PATIENCE).expect("the webhook is called")
    }
}

fn answer_requests(
    mut stream: &TcpStream,
    behaviour: &AtomicU8,
    tell: &mpsc::Sender<(String, String)>,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
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
        let _ = tell.send((head, String::from_utf8(body).ok()?)); // the test may be over
        match behaviour.load(Ordering::SeqCst) {
            ERROR => stream.write_all(b"HTTP/1.1 500 no\r\ncontent-length: 0\r\n\r\n").ok()?,
            REFUSES => stream.write_all(b"HTTP/1.1 400 no\r\ncontent-length: 0\r\n\r\n").ok()?,
            HANG => std::thread::sleep(Duration::from_secs(60)),
            RESET => return None,
            REDIRECT => stream.write_all(b"HTTP/1.1 302 go\r\nlocation: /\r\ncontent-length: 0\r\n\r\n").ok()?,
            ENDLESS => {
                stream.write_all(b"HTTP/1.1 200 ok\r\ntransfer-encoding: chunked\r\n\r\n").ok()?;
                loop {
                    stream.write_all(b"1000\r\n").ok()?;
                    stream.write_all(&[b'x'; 0x1000]).ok()?;
                    stream.write_all(b"\r\n").ok()?;
                }
            }
            _ => stream.write_all(b"HTTP/1.1 200 ok\r\ncontent-length: 2\r\n\r\nok").ok()?,
        }
    }
}

/// Makes an API destination with a key; its ARN.
pub(crate) fn destination(server: &Server, name: &str, endpoint: &str) -> String {
    let secret = json!({ "ApiKeyAuthParameters": { "ApiKeyName": "x-key", "ApiKeyValue": "hush" } });
    let connection = json!({ "Name": name, "AuthorizationType": "API_KEY", "AuthParameters": secret });
    let connection = events(server, "CreateConnection", connection);
    let destination = json!({ "Name": name, "ConnectionArn": connection["ConnectionArn"],
                              "InvocationEndpoint": endpoint, "HttpMethod": "POST" });
    events(server, "CreateApiDestination", destination)["ApiDestinationArn"].as_str().unwrap().to_owned()
}

fn put_sold(server: &Server, units: std::ops::Range<u32>) {
    let units: Vec<u32> = units.collect();
    for units in units.chunks(10) {
        let entry = |unit: &u32| {
            let detail = json!({ "unit": unit }).to_string();
            let time = 1_700_000_000.0 + f64::from(unit + 1) / 1_000.0;
            json!({ "Source": "shop", "DetailType": "sold", "Detail": detail, "Time": time })
        };
        let entries: Vec<Value> = units.iter().map(entry).collect();
        assert_eq!(events(server, "PutEvents", json!({ "Entries": entries }))["FailedEntryCount"], 0);
    }
}

#[test]
fn a_catch_reaches_a_webhook_and_a_queue_and_what_the_webhook_missed_is_sent_again() {
    let (data, hook) = (fresh_data(), Hook::start(WELL));
    let server = Server::start(data.path(), &["--allow-private-targets"]);
    let (caught, caught_arn) = queue(&server, "caught");
    let (dead, dead_arn) = queue(&server, "dead");
    let webhook = destination(&server, "hook", &format!("http://{}/caught", hook.address));
    let pattern = json!({ "detail-type": ["fakemon.capture_succeeded"] }).to_string();
    events(&server, "PutRule", json!({ "Name": "caught", "EventBusName": "fakemon", "EventPattern": pattern }));
    let retry = json!({ "MaximumRetryAttempts": 1, "MaximumEventAgeInSeconds": 60 });
    let targets = json!([
        { "Id": "hook", "Arn": webhook, "RetryPolicy": retry, "DeadLetterConfig": { "Arn": dead_arn } },
        { "Id": "queue", "Arn": caught_arn, "InputPath": "$.detail" },
    ]);
    events(&server, "PutTargets", json!({ "Rule": "caught", "EventBusName": "fakemon", "Targets": targets }));

    let mut ana = Player::connect(server.play, "ana").unwrap();
    for fakemon in [1, 2] {
        let detail = json!({ "fakemon_id": fakemon.to_string(), "species": "sparkit", "lat": SOL.0, "lon": SOL.1,
                             "catch_rate": 1 });
        server.spawn(detail);
    }
    assert_eq!(ana.attempt(1, 1).unwrap()["outcome"], "captured");
    let (head, body) = hook.next();
    assert!(head.starts_with("POST /caught HTTP/1.1") && head.to_lowercase().contains("x-key: hush"), "{head}");
    let event: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&event["detail"]["player"], &event["detail"]["fakemon_id"]), (&json!("ana"), &json!("1")));
    let polled: Value = serde_json::from_str(receive(&server, &caught, 1)[0]["Body"].as_str().unwrap()).unwrap();
    assert_eq!(polled, event["detail"]);

    hook.behaves.store(ERROR, Ordering::SeqCst);
    assert_eq!(ana.attempt(2, 2).unwrap()["outcome"], "captured");
    let letter = receive(&server, &dead, 1).remove(0);
    assert_eq!(hook.next().1, hook.next().1, "tried twice, the same event");
    let attribute = |name: &str| letter["MessageAttributes"][name]["StringValue"].as_str().unwrap_or("").to_owned();
    assert_eq!(attribute("EXHAUSTED_RETRY_CONDITION"), "MaximumRetryAttempts");
    assert_eq!((attribute("RETRY_ATTEMPTS"), attribute("TARGET_ARN")), ("1".into(), webhook));
    assert_eq!(attribute("RULE_ARN"), "arn:aws:events:local:123456789012:rule/fakemon/caught");

    // The dead letter was received above: it is sent back to its queue, and from there redriven to its target.
    let back =
        json!({ "QueueUrl": dead, "MessageBody": letter["Body"], "MessageAttributes": letter["MessageAttributes"] });
    sqs(&server, "SendMessage", back);
    hook.behaves.store(WELL, Ordering::SeqCst);
    sqs(&server, "StartMessageMoveTask", json!({ "SourceArn": dead_arn }));
    let event: Value = serde_json::from_str(&hook.next().1).unwrap();
    assert_eq!(event["detail"]["fakemon_id"], "2");
    let end = Instant::now() + PATIENCE;
    loop {
        let task = sqs(&server, "ListMessageMoveTasks", json!({ "SourceArn": dead_arn }))["Results"][0].clone();
        if task["Status"] == "COMPLETED" {
            assert_eq!(task["ApproximateNumberOfMessagesMoved"], 1);
            break;
        }
        assert!(Instant::now() < end, "{task}");
    }
}

#[test]
fn targets_that_misbehave_hold_up_nobody_and_nothing_is_lost_when_the_server_is_killed() {
    let data = fresh_data();
    let mut server = Server::start(data.path(), &["--allow-private-targets"]);
    let (sold, sold_arn) = queue(&server, "sold");
    events(&server, "PutRule", json!({ "Name": "sold", "EventPattern": r#"{"source":["shop"]}"# }));
    let hooks = [HANG, ENDLESS, RESET, REDIRECT, ERROR].map(Hook::start);
    let well = Hook::start(WELL);
    for (number, hook) in hooks.iter().chain([&well]).enumerate() {
        let arn = destination(&server, &format!("hook{number}"), &format!("http://{}", hook.address));
        let targets = json!([{ "Id": number.to_string(), "Arn": arn }]);
        events(&server, "PutTargets", json!({ "Rule": "sold", "Targets": targets }));
    }
    let refuses = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(); // closed at once, so it refuses connections
    let arn = destination(&server, "refuses", &format!("http://{refuses}"));
    let targets = json!([{ "Id": "refuses", "Arn": arn }, { "Id": "queue", "Arn": sold_arn }]);
    events(&server, "PutTargets", json!({ "Rule": "sold", "Targets": targets }));

    put_sold(&server, 0..100);
    let units = |bodies: Vec<String>| -> Vec<u64> {
        let event = |body: String| serde_json::from_str::<Value>(&body).unwrap()["detail"]["unit"].as_u64().unwrap();
        bodies.into_iter().map(event).collect()
    };
    let polled = receive(&server, &sold, 100).iter().map(|m| m["Body"].as_str().unwrap().to_owned()).collect();
    assert_eq!(units(polled), (0..100).collect::<Vec<_>>());
    assert_eq!(units((0..100).map(|_| well.next().1).collect()), (0..100).collect::<Vec<_>>());

    // The target that answered 500 gets everything in the end, across a kill, in order; some events perhaps twice.
    hooks[4].behaves.store(WELL, Ordering::SeqCst);
    server.kill();
    server = Server::start(data.path(), &["--allow-private-targets"]);
    put_sold(&server, 100..110);
    let (mut expected, end) = (0, Instant::now() + PATIENCE);
    while expected < 110 {
        assert!(Instant::now() < end, "{expected} of 110");
        let unit = units(vec![hooks[4].next().1])[0];
        assert!(unit <= expected, "{unit} came before {expected}");
        expected = expected.max(unit + 1);
    }
}

#[test]
fn private_addresses_are_reached_only_when_the_settings_say_so() {
    let (data, hook) = (fresh_data(), Hook::start(WELL));
    let server = Server::start(data.path(), &[]);
    let (dead, dead_arn) = queue(&server, "dead");
    events(&server, "PutRule", json!({ "Name": "sold", "EventPattern": r#"{"source":["shop"]}"# }));
    let port = hook.address.port();
    for (number, host) in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "2130706433"]
        .into_iter()
        .enumerate()
    {
        let arn = destination(&server, &format!("hook{number}"), &format!("http://{host}:{port}"));
        let target = json!({ "Id": number.to_string(), "Arn": arn, "DeadLetterConfig": { "Arn": dead_arn } });
        events(&server, "PutTargets", json!({ "Rule": "sold", "Targets": [target] }));
    }
    put_sold(&server, 0..1);
    for letter in receive(&server, &dead, 6) {
        assert_eq!(letter["MessageAttributes"]["ERROR_CODE"]["StringValue"], "NO_PERMISSIONS", "{letter}");
        let message = letter["MessageAttributes"]["ERROR_MESSAGE"]["StringValue"].as_str().unwrap();
        assert!(message.contains("--allow-private-targets"), "{message}");
    }
    assert!(hook.got.try_recv().is_err());
}

#[test]
fn mistakes_are_told_in_the_services_words() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    for (operation, request, code, message) in [
        ("AWSEvents.Dance", json!({}), "UnknownOperationException", "`Dance`"),
        (
            "AWSEvents.DescribeRule",
            json!({ "Name": "r" }),
            "ResourceNotFoundException",
            "Rule r does not exist on EventBus default.",
        ),
        (
            "AWSEvents.DescribeEventBus",
            json!({ "Name": "b" }),
            "ResourceNotFoundException",
            "Event bus b does not exist.",
        ),
        (
            "AWSEvents.DeleteEventBus",
            json!({ "Name": "default" }),
            "ValidationException",
            "Cannot delete event bus default.",
        ),
        ("AWSEvents.PutRule", json!({ "Name": "r" }), "ValidationException", "EventPattern or ScheduleExpression"),
        (
            "AWSEvents.PutRule",
            json!({ "Name": "r", "EventPattern": r#"{"a":[]}"# }),
            "InvalidEventPatternException",
            "Reason: Empty arrays are not allowed\n at [Source: (String)\"{\"a\":[]}\"; line: 1, column: 8]",
        ),
        (
            "AWSEvents.PutRule",
            json!({ "Name": "n o", "State": "ON", "EventPattern": "{}" }),
            "ValidationException",
            "2 validation errors detected: Value 'n o' at 'name'",
        ),
        ("AWSEvents.PutEvents", json!({ "Entries": [] }), "ValidationException", "at 'entries'"),
        (
            "AWSEvents.PutEvents",
            json!({ "Entries": [{ "Source": "s", "DetailType": "t", "Detail": "{}", "TraceHeader": "r".repeat(501) }] }),
            "ValidationException",
            "at 'entries.1.member.traceHeader' failed to satisfy constraint: Member must have length less than or equal",
        ),
        (
            "AWSEvents.TagResource",
            json!({ "ResourceARN": "x", "Tags": [] }),
            "ValidationException",
            "not in correct format",
        ),
        (
            "AmazonSQS.GetQueueUrl",
            json!({ "QueueName": "q" }),
            "com.amazonaws.sqs#QueueDoesNotExist",
            "does not exist",
        ),
        (
            "AmazonSQS.CreateQueue",
            json!({ "QueueName": "q q" }),
            "com.amazon.coral.service#InvalidParameterValueException",
            "alphanumeric",
        ),
    ] {
        let (said, why) = refused(&server, operation, request);
        assert!(said == code && why.contains(message), "{operation}: {said}: {why}");
    }
    let nested = format!("{{\"Name\":{}1{}}}", "[".repeat(50_000), "]".repeat(50_000));
    let mut response = ureq::post(format!("http://{}/", server.control))
        .config()
        .http_status_as_error(false)
        .build()
        .header("X-Amz-Target", "AWSEvents.PutRule")
        .send(nested)
        .unwrap();
    assert!(response.body_mut().read_to_string().unwrap().contains("SerializationException"));
    assert_eq!(events(&server, "ListRules", json!({}))["Rules"], json!([]));
}

#[test]
fn rules_and_buses_come_in_pages_and_survive_a_restart() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    events(&server, "CreateEventBus", json!({ "Name": "shop", "Tags": [{ "Key": "a", "Value": "b" }] }));
    for number in 0..5 {
        let rule =
            json!({ "Name": format!("r{number}"), "EventBusName": "shop", "EventPattern": r#"{"source":["x"]}"# });
        events(&server, "PutRule", rule);
    }
    events(&server, "DisableRule", json!({ "Name": "r1", "EventBusName": "shop" }));
    assert!(server.stop().success());
    let server = Server::start(data.path(), &[]);
    let (mut names, mut token) = (Vec::new(), Value::Null);
    loop {
        let page = events(&server, "ListRules", json!({ "EventBusName": "shop", "Limit": 2, "NextToken": token }));
        let rules = page["Rules"].as_array().unwrap();
        names.extend(rules.iter().map(|rule| (rule["Name"].as_str().unwrap().to_owned(), rule["State"].clone())));
        token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
        assert_eq!(rules.len(), 2);
    }
    let names: Vec<(&str, &Value)> = names.iter().map(|(name, state)| (name.as_str(), state)).collect();
    let (on, off) = (json!("ENABLED"), json!("DISABLED"));
    assert_eq!(names, [("r0", &on), ("r1", &off), ("r2", &on), ("r3", &on), ("r4", &on)]);
    let arn = "arn:aws:events:local:123456789012:event-bus/shop";
    let tags = events(&server, "ListTagsForResource", json!({ "ResourceARN": arn }));
    assert_eq!(tags["Tags"], json!([{ "Key": "a", "Value": "b" }]));
    for (name, _) in names {
        events(&server, "DeleteRule", json!({ "Name": name, "EventBusName": "shop" }));
    }
    events(&server, "DeleteEventBus", json!({ "Name": "shop" }));
    let (code, _) = refused(&server, "AWSEvents.ListRules", json!({ "EventBusName": "shop" }));
    assert_eq!(code, "ResourceNotFoundException");
}

#[test]
fn a_replay_shows_exactly_what_lies_between_its_bounds_to_the_rules_that_are_named() {
    let (data, hook) = (fresh_data(), Hook::start(WELL));
    let mut server = Server::start(data.path(), &["--allow-private-targets"]);
    put_sold(&server, 0..500);
    let bus = "arn:aws:events:local:123456789012:event-bus/default";
    let archive = json!({ "ArchiveName": "all", "EventSourceArn": bus, "EventPattern": r#"{"source":["shop"]}"# });
    let archive = events(&server, "CreateArchive", archive)["ArchiveArn"].clone();
    let (again, again_arn) = queue(&server, "again");
    let webhook = destination(&server, "hook", &format!("http://{}", hook.address));
    let pattern = r#"{"replay-name":[{"exists":true}]}"#;
    events(&server, "PutRule", json!({ "Name": "again", "EventPattern": pattern }));
    let targets = json!([{ "Id": "queue", "Arn": again_arn }, { "Id": "hook", "Arn": webhook }]);
    events(&server, "PutTargets", json!({ "Rule": "again", "Targets": targets }));

    let everything = json!({ "ReplayName": "everything", "EventSourceArn": archive, "Destination": { "Arn": bus },
                             "EventStartTime": 0, "EventEndTime": 4_000_000_000_u64 });
    events(&server, "StartReplay", everything);
    let replayed: Vec<Value> = receive(&server, &again, 500)
        .iter()
        .map(|message| serde_json::from_str(message["Body"].as_str().unwrap()).unwrap())
        .collect();
    for (unit, event) in replayed.iter().enumerate() {
        assert_eq!((&event["detail"]["unit"], &event["replay-name"]), (&json!(unit), &json!("everything")));
    }
    let ended = |server: &Server, name: &str| {
        let end = Instant::now() + PATIENCE;
        loop {
            let replay = events(server, "DescribeReplay", json!({ "ReplayName": name }));
            if replay["State"] == "COMPLETED" {
                return replay;
            }
            assert!(Instant::now() < end, "{replay}");
        }
    };
    assert_eq!(ended(&server, "everything")["EventsReplayed"], 500);
    assert!(hook.got.try_recv().is_err(), "outside gets replays only when it is named");

    // Bounds to the nanosecond, in the description, which every client can send; for one rule by name, so its webhook
    // gets them too.
    let rule = "arn:aws:events:local:123456789012:rule/again";
    let (from, to) = (&replayed[7]["fakemon-time"], &replayed[490]["fakemon-time"]);
    let between = json!({ "ReplayName": "between", "EventSourceArn": archive, "EventStartTime": 0, "EventEndTime": 1,
                          "Description": format!("from={} to={}", from.as_str().unwrap(), to.as_str().unwrap()),
                          "Destination": { "Arn": bus, "FilterArns": [rule] } });
    events(&server, "StartReplay", between);
    let expected = |event: &&Value| {
        let time = event["fakemon-time"].as_str().unwrap();
        from.as_str().unwrap() <= time && time < to.as_str().unwrap()
    };
    let expected: Vec<&Value> = replayed.iter().filter(expected).map(|event| &event["id"]).collect();
    let id = |body: &str| serde_json::from_str::<Value>(body).unwrap()["id"].clone();
    let polled: Vec<Value> = receive(&server, &again, expected.len())
        .iter()
        .map(|message| id(message["Body"].as_str().unwrap()))
        .collect();
    assert_eq!(polled.iter().collect::<Vec<_>>(), expected);
    let called: Vec<Value> = expected.iter().map(|_| id(&hook.next().1)).collect();
    assert_eq!(called.iter().collect::<Vec<_>>(), expected);
    assert_eq!(ended(&server, "between")["EventsReplayed"], expected.len());

    // A replay that runs when the server is killed continues; one that is cancelled ends.
    hook.behaves.store(ERROR, Ordering::SeqCst);
    let slow = |name: &str| {
        json!({ "ReplayName": name, "EventSourceArn": archive, "EventStartTime": 0, "EventEndTime": 4_000_000_000_u64,
                "Destination": { "Arn": bus, "FilterArns": [rule] } })
    };
    events(&server, "StartReplay", slow("killed"));
    receive(&server, &again, 500);
    server.kill();
    hook.behaves.store(WELL, Ordering::SeqCst);
    server = Server::start(data.path(), &["--allow-private-targets"]);
    ended(&server, "killed");
    hook.behaves.store(HANG, Ordering::SeqCst);
    events(&server, "StartReplay", slow("cancelled"));
    events(&server, "CancelReplay", json!({ "ReplayName": "cancelled" }));
    let end = Instant::now() + PATIENCE;
    while events(&server, "DescribeReplay", json!({ "ReplayName": "cancelled" }))["State"] != "CANCELLED" {
        assert!(Instant::now() < end, "it is not cancelled");
    }
    let (code, _) = refused(&server, "AWSEvents.CancelReplay", json!({ "ReplayName": "cancelled" }));
    assert_eq!(code, "IllegalStatusException");
}
