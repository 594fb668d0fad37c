//! Pipes, from outside: created as by boto3, from each source to some targets; order, batches, enrichments, dead
//! letters, stops, updates while they run, and kills with batches in flight.

use crate::aws::{ERROR, Hook, PATIENCE, REFUSES, WELL, destination, events, queue, receive, sqs};
use crate::server::{Server, fresh_data};
use fakemon_capture::command::Completion;
use fakemon_delivery::{Failed, FailureCode};
use fakemon_engine::{Engine, Options};
use fakemon_model::ids::{Timestamp, Token};
use fakemon_resource::NewEvent;
use fakemon_resource::resource::{Change, DesiredState, Pipe, PipeChange, Resource, Tags};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub(crate) const ROLE: &str = "arn:aws:iam::123456789012:role/pipe";
const DEFAULT: &str = "arn:aws:events:local:123456789012:event-bus/default";
const JOURNAL: &str = "arn:aws:fakemon:local:123456789012:journal";

/// Status and answer of a request with a path of its own.
pub(crate) fn rest(server: &Server, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = server.raw(&format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        server.control,
        body.len()
    ));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
}

fn create(server: &Server, name: &str, mut pipe: Value) {
    pipe["RoleArn"] = ROLE.into();
    let (status, answer) = rest(server, "POST", &format!("/v1/pipes/{name}"), &pipe);
    assert_eq!((status, &answer["CurrentState"]), (200, &json!("CREATING")), "{answer}");
    state(server, name, "RUNNING");
}

/// Waits until a pipe is in a state; returns its description.
fn state(server: &Server, name: &str, wanted: &str) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let (status, pipe) = rest(server, "GET", &format!("/v1/pipes/{name}"), &Value::Null);
        assert_eq!(status, 200, "{pipe}");
        if pipe["CurrentState"] == wanted {
            return pipe;
        }
        assert!(Instant::now() < end, "{wanted}: {pipe}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn send(server: &Server, url: &str, body: &Value) {
    let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
    sqs(server, "SendMessage", json!({ "QueueUrl": url, "MessageBody": body }));
}

fn put(server: &Server, source: &str, units: std::ops::Range<u32>) {
    let units: Vec<u32> = units.collect();
    for units in units.chunks(10) {
        let entry = |unit: &u32| {
            let detail = json!({ "unit": unit }).to_string();
            json!({ "Source": source, "DetailType": "sold", "Detail": detail })
        };
        let entries: Vec<Value> = units.iter().map(entry).collect();
        assert_eq!(events(server, "PutEvents", json!({ "Entries": entries }))["FailedEntryCount"], 0);
    }
}

fn bodies(messages: &[Value]) -> Vec<Value> {
    let body = |message: &Value| serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
    messages.iter().map(body).collect()
}

fn numbers(messages: &[Value], member: &str) -> Vec<u64> {
    bodies(messages).iter().map(|body| body[member].as_u64().unwrap()).collect()
}

fn is_empty(server: &Server, url: &str) -> bool {
    let all = sqs(server, "GetQueueAttributes", json!({ "QueueUrl": url, "AttributeNames": ["All"] }));
    let all = &all["Attributes"];
    all["ApproximateNumberOfMessages"] == "0" && all["ApproximateNumberOfMessagesNotVisible"] == "0"
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn filter(pattern: Value) -> Value {
    json!({ "Filters": [{ "Pattern": pattern.to_string() }] })
}

#[test]
fn a_pipe_says_what_its_target_does_not_want_and_each_message_waits_for_its_time() {
    let data = fresh_data();
    let server = Server::start(data.path(), &["--allow-private-targets"]);
    let hook = Hook::start(REFUSES);
    let (from, from_arn) = queue(&server, "from");
    let webhook = destination(&server, "hook", &format!("http://{}/", hook.address));
    (0..6).for_each(|number| send(&server, &from, &json!(number)));
    create(&server, "p", json!({ "Source": from_arn, "Target": webhook }));
    let mut tries: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..18 {
        let message: Value = serde_json::from_str(&hook.next().1).unwrap();
        *tries.entry(message["body"].to_string()).or_default() += 1;
    }
    let (most, least) = (tries.values().max().unwrap(), tries.values().min().unwrap());
    assert!(tries.len() == 6 && most - least <= 1, "{tries:?}");
    let reason = state(&server, "p", "RUNNING")["StateReason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("400"), "{reason}");
    hook.behaves.store(WELL, Ordering::SeqCst);
    let end = Instant::now() + PATIENCE;
    while !state(&server, "p", "RUNNING")["StateReason"].is_null() {
        assert!(Instant::now() < end, "what is over is not said any more");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_pipe_is_made_changed_stopped_and_deleted_in_the_words_of_the_service() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let ((from, from_arn), (to, to_arn)) = (queue(&server, "from"), queue(&server, "to"));
    let pipe = json!({ "Source": from_arn, "Target": to_arn, "RoleArn": ROLE, "Tags": { "team": "a" },
                       "SourceParameters": { "SqsQueueParameters": { "BatchSize": 3 } } });
    create(&server, "p", pipe.clone());
    let refused = |method: &str, path: &str, body: Value, status: u16, code: &str, says: &str| {
        let (found, answer) = rest(&server, method, path, &body);
        assert_eq!((found, &answer["Code"]), (status, &json!(code)), "{method} {path}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(says), "{says}: {answer}");
    };
    let with = |member: &str, value: Value| {
        let mut pipe = pipe.clone();
        pipe[member] = value;
        pipe
    };
    refused("POST", "/v1/pipes/p", pipe.clone(), 409, "ConflictException", "Pipe p already exists");
    for path in ["/v1/pipes/no", "/v1/pipes/no/start", "/v1/pipes/no/stop"] {
        let method = if path.ends_with("no") { "GET" } else { "POST" };
        refused(method, path, Value::Null, 404, "NotFoundException", "Pipe no does not exist");
    }
    let wrong = "ValidationException";
    refused("POST", "/v1/pipes/a%20b", pipe.clone(), 400, wrong, "Value 'a b' at 'name' failed");
    refused("POST", "/v1/pipes/x", json!({}), 400, wrong, "3 validation errors detected");
    refused("POST", "/v1/pipes/x", with("RoleArn", json!("foo")), 400, wrong, "Value 'foo' at 'roleArn' failed");
    refused("POST", "/v1/pipes/x", with("Tags", json!({ "aws:team": "a" })), 400, wrong, "aws: prefixed tag key");
    refused("POST", "/v1/pipes/x", with("DesiredState", json!("GONE")), 400, wrong, "at 'desiredState'");
    refused("POST", "/v1/pipes/x", with("Source", json!("arn:aws:kinesis:x:1:stream/s")), 400, wrong, "Source arn:");
    refused("POST", "/v1/pipes/x", with("Target", json!("arn:aws:lambda:x:1:function:f")), 400, wrong, "Target arn:");
    refused("POST", "/v1/pipes/x", with("Enrichment", json!(to_arn)), 400, wrong, "Enrichment arn:");
    for (member, parameters, says) in [
        ("SourceParameters", json!({ "SqsQueueParameters": { "BatchSize": 0 } }), "BatchSize is 0: it must be 1 to"),
        ("SourceParameters", json!({ "KinesisStreamParameters": {} }), "use SqsQueueParameters"),
        ("SourceParameters", json!({ "DynamoDBStreamParameters": {} }), "SourceParameters.DynamoDBStreamParameters"),
        (
            "SourceParameters",
            json!({ "FilterCriteria": filter(json!({ "a": 1 })) }),
            "Filters.1.Pattern is not valid",
        ),
        (
            "SourceParameters",
            json!({ "FilterCriteria": 7 }),
            "SourceParameters: FilterCriteria must be an object, not 7",
        ),
        ("TargetParameters", json!({ "InputTemplate": "<$.a> is" }), "TargetParameters.InputTemplate is not valid"),
        ("TargetParameters", json!({ "InputTemplate": "\"<aws.pipes.no>\"" }), "invalid placeholder aws.pipes.no"),
        ("EnrichmentParameters", json!({ "InputTemplate": "<$[>" }), "EnrichmentParameters.InputTemplate"),
        ("TargetParameters", json!(7), "at 'targetParameters'"),
    ] {
        refused("POST", "/v1/pipes/x", with(member, parameters), 400, wrong, says);
    }
    let fifo = with("Target", json!("arn:aws:sqs:local:123456789012:to.fifo"));
    refused("POST", "/v1/pipes/x", fifo, 400, wrong, "MessageGroupId is needed for a FIFO queue");

    // A missing source or target is found when the pipe starts.
    let lost = with("Source", json!("arn:aws:sqs:local:123456789012:nowhere"));
    assert_eq!(rest(&server, "POST", "/v1/pipes/lost", &lost).0, 200);
    let reason = state(&server, "lost", "CREATE_FAILED")["StateReason"].as_str().unwrap().to_owned();
    assert!(reason.contains("there is no queue nowhere"), "{reason}");
    queue(&server, "nowhere");
    assert_eq!(rest(&server, "POST", "/v1/pipes/lost/start", &Value::Null).1["CurrentState"], "STARTING");
    state(&server, "lost", "RUNNING");

    let stopped = rest(&server, "POST", "/v1/pipes/p/stop", &Value::Null).1;
    assert_eq!((&stopped["CurrentState"], &stopped["DesiredState"]), (&json!("STOPPING"), &json!("STOPPED")));
    state(&server, "p", "STOPPED");
    send(&server, &from, &json!("waits"));
    let (_, list) = rest(&server, "GET", "/v1/pipes?CurrentState=STOPPED&Limit=1", &Value::Null);
    assert_eq!((&list["Pipes"][0]["Name"], list["Pipes"].as_array().unwrap().len()), (&json!("p"), 1));
    let (_, first) = rest(&server, "GET", "/v1/pipes?Limit=1", &Value::Null);
    let next = format!("/v1/pipes?Limit=1&NextToken={}", first["NextToken"].as_str().unwrap());
    assert_eq!(rest(&server, "GET", &next, &Value::Null).1["Pipes"][0]["Name"], "p");

    let change = json!({ "RoleArn": ROLE, "DesiredState": "RUNNING", "Description": "d",
                         "TargetParameters": { "InputTemplate": "{\"said\":<$.body>}" } });
    assert_eq!(rest(&server, "PUT", "/v1/pipes/p", &change).1["CurrentState"], "UPDATING");
    let described = state(&server, "p", "RUNNING");
    assert_eq!(described["SourceParameters"], pipe["SourceParameters"], "what a change does not name stays");
    assert_eq!(bodies(&receive(&server, &to, 1)), [json!({ "said": "waits" })]);

    let tags = "/tags/arn:aws:pipes:local:123456789012:pipe%2Fp";
    assert_eq!(rest(&server, "POST", tags, &json!({ "tags": { "a": "1", "b": "2" } })).0, 200);
    assert_eq!(rest(&server, "DELETE", &format!("{tags}?tagKeys=a&tagKeys=team"), &Value::Null).0, 200);
    assert_eq!(rest(&server, "GET", tags, &Value::Null).1, json!({ "tags": { "b": "2" } }));
    refused("GET", &format!("{tags}x"), Value::Null, 404, "NotFoundException", "does not exist");

    let deleted = rest(&server, "DELETE", "/v1/pipes/p", &Value::Null).1;
    assert_eq!((&deleted["CurrentState"], &deleted["DesiredState"]), (&json!("DELETING"), &json!("DELETED")));
    refused("GET", "/v1/pipes/p", Value::Null, 404, "NotFoundException", "Pipe p does not exist");
}

#[test]
fn messages_pass_a_filter_in_order_and_stay_in_their_queue_until_the_target_took_them() {
    let (data, hook) = (fresh_data(), Hook::start(ERROR));
    let server = Server::start(data.path(), &["--allow-private-targets"]);
    let ((from, from_arn), (to, to_arn)) = (queue(&server, "from"), queue(&server, "to"));
    create(
        &server,
        "sorted",
        json!({ "Source": from_arn, "Target": to_arn,
                "SourceParameters": { "FilterCriteria": filter(json!({ "body": { "kind": ["good"] } })) },
                "TargetParameters": { "InputTemplate":
                    "{\"n\":<$.body.n>,\"by\":\"<aws.pipes.pipe-name>\",\"raw\":<aws.pipes.event>}" } }),
    );
    for n in 0..30 {
        send(&server, &from, &json!({ "kind": if n % 3 == 0 { "good" } else { "bad" }, "n": n }));
    }
    send(&server, &from, &json!("no JSON"));
    let received = receive(&server, &to, 10);
    assert_eq!(numbers(&received, "n"), (0..30).step_by(3).collect::<Vec<_>>());
    let first = &bodies(&received)[0];
    let raw: Value = serde_json::from_str(first["raw"].as_str().unwrap()).unwrap();
    assert_eq!((&first["by"], &raw["body"]), (&json!("sorted"), &json!("{\"kind\":\"good\",\"n\":0}")));
    wait_until("what the filter does not want is deleted", || is_empty(&server, &from));

    // A pipe with its own queue and a dead target: the other pipe continues.
    let (dead, dead_arn) = queue(&server, "dead");
    let redrive = json!({ "deadLetterTargetArn": dead_arn, "maxReceiveCount": 2 }).to_string();
    let poison = json!({ "QueueName": "poison", "Attributes": { "RedrivePolicy": redrive } });
    let poison = sqs(&server, "CreateQueue", poison)["QueueUrl"].as_str().unwrap().to_owned();
    let webhook = destination(&server, "hook", &format!("http://{}/n", hook.address));
    let source = "arn:aws:sqs:local:123456789012:poison";
    create(&server, "dead", json!({ "Source": source, "Target": webhook }));
    send(&server, &poison, &json!({ "n": 1 }));
    hook.next();
    wait_until("the state says what is wrong", || {
        let pipe = state(&server, "dead", "RUNNING");
        pipe["StateReason"].as_str().is_some_and(|reason| reason.contains("HTTP 500"))
    });
    send(&server, &from, &json!({ "kind": "good", "n": 99 }));
    assert_eq!(numbers(&receive(&server, &to, 1), "n"), [99]);
    assert_eq!(numbers(&receive(&server, &dead, 1), "n"), [1], "the queue's own policy says how often");
    hook.behaves.store(WELL, Ordering::SeqCst);
    send(&server, &poison, &json!({ "n": 2 }));
    wait_until("the target is back", || {
        let (_, body) = hook.next();
        serde_json::from_str::<Value>(&body).unwrap()["body"] == "{\"n\":2}"
    });
    wait_until("what the target took is deleted", || is_empty(&server, &poison));
    wait_until("nothing is wrong any more", || state(&server, "dead", "RUNNING")["StateReason"].is_null());
}

#[test]
fn groups_of_a_fifo_queue_keep_their_order_across_failures() {
    let (data, settings) = (fresh_data(), fresh_data());
    let file = settings.path().join("fakemon.toml"); // lets a deleted queue be created again at once
    std::fs::write(&file, "[aws]\nqueue_pause = \"1ms\"\n").unwrap();
    let server = Server::start(data.path(), &["--config", file.to_str().unwrap()]);
    let fifo = |name: &str| {
        let attributes = json!({ "FifoQueue": "true", "VisibilityTimeout": "1" });
        let made = json!({ "QueueName": name, "Attributes": attributes });
        let url = sqs(&server, "CreateQueue", made)["QueueUrl"].as_str().unwrap().to_owned();
        (url, format!("arn:aws:sqs:local:123456789012:{name}"))
    };
    let ((from, from_arn), (to, to_arn)) = (fifo("from.fifo"), fifo("to.fifo"));
    let parameters = json!({ "SqsQueueParameters": { "MessageGroupId": "$.body.g" }, "InputTemplate": "<$.body>" });
    create(&server, "p", json!({ "Source": from_arn, "Target": to_arn, "TargetParameters": parameters }));
    sqs(&server, "DeleteQueue", json!({ "QueueUrl": to }));
    for n in 0..20 {
        let message = json!({ "QueueUrl": from, "MessageBody": json!({ "n": n, "g": n % 2 }).to_string(),
                              "MessageGroupId": format!("{}", n % 2), "MessageDeduplicationId": format!("{n}") });
        sqs(&server, "SendMessage", message);
    }
    // The target does not exist: everything fails, and is retried.
    let why = || state(&server, "p", "RUNNING")["StateReason"].as_str().unwrap_or_default().to_owned();
    wait_until("the target is missed", || why().contains("there is no queue to.fifo"));
    fifo("to.fifo");
    let received = receive(&server, &to, 20);
    for group in 0..2 {
        let of_group: Vec<u64> = bodies(&received)
            .iter()
            .filter(|body| body["g"] == group)
            .map(|body| body["n"].as_u64().unwrap())
            .collect();
        assert_eq!(of_group, (0..20).filter(|n| n % 2 == group).collect::<Vec<_>>());
    }
    wait_until("all are deleted", || is_empty(&server, &from));
}

#[test]
fn events_of_a_bus_reach_a_webhook_in_order_and_what_it_never_takes_is_a_dead_letter() {
    let (data, hook) = (fresh_data(), Hook::start(WELL));
    let server = Server::start(data.path(), &["--allow-private-targets"]);
    let (dead, dead_arn) = queue(&server, "dead");
    let webhook = destination(&server, "hook", &format!("http://{}/*", hook.address));
    let stream = json!({ "StartingPosition": "LATEST", "MaximumRetryAttempts": 1, "BatchSize": 2,
                         "DeadLetterConfig": { "Arn": dead_arn } });
    create(
        &server,
        "p",
        json!({ "Source": DEFAULT, "Target": webhook,
                "SourceParameters": { "FilterCriteria": filter(json!({ "source": ["shop"] })),
                                      "KinesisStreamParameters": stream },
                "TargetParameters": { "InputTemplate": "{\"unit\":<$.detail.unit>}", "HttpParameters": {
                    "PathParameterValues": ["$.detail-type"], "HeaderParameters": { "x-unit": "$.detail.unit" } } } }),
    );
    put(&server, "other", 0..3);
    put(&server, "shop", 0..5);
    let unit = |body: &str| serde_json::from_str::<Value>(body).unwrap()["unit"].as_u64().unwrap();
    for expected in 0..5 {
        let (head, body) = hook.next();
        assert_eq!(unit(&body), expected);
        let head = head.to_lowercase();
        assert!(head.starts_with("post /sold ") && head.contains(&format!("x-unit: {expected}")), "{head}");
        assert!(head.contains("x-key: hush"), "{head}");
    }
    let delivered = || server.get("/metrics").1.contains("fakemon_pipe_delivered_total{pipe=\"p\"} 5");
    wait_until("the last answer has arrived", delivered);
    hook.behaves.store(ERROR, Ordering::SeqCst);
    put(&server, "shop", 5..7);
    let letters = receive(&server, &dead, 2);
    assert_eq!([5, 5, 6, 6], [0; 4].map(|_| unit(&hook.next().1)), "each is tried twice, in order");
    assert_eq!(bodies(&letters)[1]["detail"]["unit"], 6, "a dead letter is the record as it was");
    let says = |name: &str| letters[0]["MessageAttributes"][name]["StringValue"].as_str().unwrap().to_owned();
    assert_eq!(says("PIPE_ARN"), "arn:aws:pipes:local:123456789012:pipe/p");
    assert_eq!((says("ERROR_CODE").as_str(), says("RETRY_ATTEMPTS").as_str()), ("ERROR_FROM_TARGET", "1"));
    assert_eq!(says("EXHAUSTED_RETRY_CONDITION"), "MaximumRetryAttempts");
    hook.behaves.store(WELL, Ordering::SeqCst);
    put(&server, "shop", 7..8);
    assert_eq!(unit(&hook.next().1), 7);
}

#[test]
fn the_journal_is_read_from_its_beginning_in_batches_over_an_enrichment() {
    let (data, enricher) = (fresh_data(), Enricher::start());
    let server = Server::start(data.path(), &["--allow-private-targets"]);
    put(&server, "shop", 0..10);
    let (to, to_arn) = queue(&server, "to");
    let copies = json!({ "Name": "copies" });
    let copies = events(&server, "CreateEventBus", copies)["EventBusArn"].as_str().unwrap().to_owned();
    let rule = json!({ "Name": "r", "EventBusName": "copies", "EventPattern": "{\"source\":[\"copier\"]}" });
    events(&server, "PutRule", rule);
    let targets = json!([{ "Id": "q", "Arn": to_arn }]);
    events(&server, "PutTargets", json!({ "Rule": "r", "EventBusName": "copies", "Targets": targets }));
    let enrichment = destination(&server, "enrich", &format!("http://{}/", enricher.address));
    let window = json!({ "StartingPosition": "TRIM_HORIZON", "BatchSize": 4, "MaximumBatchingWindowInSeconds": 300 });
    create(
        &server,
        "p",
        json!({ "Source": JOURNAL, "Target": copies, "Enrichment": enrichment,
                "SourceParameters": { "FilterCriteria": filter(json!({ "source": ["shop"] })),
                                      "KinesisStreamParameters": window },
                "EnrichmentParameters": { "InputTemplate": "{\"unit\":<$.detail.unit>}" },
                "TargetParameters": { "InputTemplate": "{\"unit\":<$.unit>,\"twice\":<$.twice>}",
                    "EventBridgeEventBusParameters": { "Source": "copier", "DetailType": "$.kind",
                                                       "Resources": ["$.kind", "r"], "Time": "$.at" } } }),
    );
    let mut received = bodies(&receive(&server, &to, 8));
    assert!(is_empty(&server, &to), "two wait for more");
    put(&server, "shop", 10..12);
    received.extend(bodies(&receive(&server, &to, 4)));
    for (unit, event) in received.iter().enumerate() {
        assert_eq!(event["detail"], json!({ "unit": unit, "twice": unit * 2 }));
        assert_eq!((&event["detail-type"], &event["resources"]), (&json!("even more"), &json!(["even more", "r"])));
        assert!(event["time"].as_str().unwrap().starts_with("2001-02-03T04:05:06"), "{event}");
    }
    let batches: Vec<usize> = enricher.batches.try_iter().collect();
    assert_eq!(batches, [4, 4, 4], "full batches only, as long as the window is open");
}

/// An enrichment: doubles each unit of a batch, and reports the size of the batch.
struct Enricher {
    address: SocketAddr,
    batches: mpsc::Receiver<usize>,
}

impl Enricher {
    fn start() -> Enricher {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, (tell, batches)) = (listener.local_addr().unwrap(), mpsc::channel());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = enrich(&stream, &tell); // the client has gone
            }
        });
        Enricher { address, batches }
    }
}

fn enrich(mut stream: &TcpStream, tell: &mpsc::Sender<usize>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let head = read_head(&mut reader)?;
        let length =
            head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())?;
        let mut body = vec![0; length];
        std::io::Read::read_exact(&mut reader, &mut body).ok()?;
        let batch: Vec<Value> = serde_json::from_slice(&body).ok()?;
        tell.send(batch.len()).ok()?;
        let enriched = batch.into_iter().map(|mut one| {
            one["twice"] = (one["unit"].as_u64().unwrap() * 2).into();
            one["kind"] = "even more".into();
            one["at"] = "2001-02-03T04:05:06Z".into();
            one
        });
        let answer = Value::from_iter(enriched).to_string();
        write!(stream, "HTTP/1.1 200 ok\r\ncontent-length: {}\r\n\r\n{answer}", answer.len()).ok()?;
    }
}

fn read_head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            return Some(head);
        }
        head.push_str(line.trim_end());
        head.push('\n');
    }
}

/// A stream of server-sent events that breaks off after every third.
fn broken_stream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let Some(head) = read_head(&mut BufReader::new(&stream)) else { continue };
            let last =
                head.to_lowercase().lines().find_map(|line| line.strip_prefix("last-event-id: ")?.parse().ok());
            let last: u64 = last.unwrap_or_default();
            let mut said = "HTTP/1.1 200 ok\r\ncontent-type: text/event-stream\r\n\r\nretry: 20\n\n".to_owned();
            for id in last + 1..last + 4 {
                said.push_str(&format!("id: {id}\nevent: tick\ndata: {{\"n\":{id}}}\n\n"));
            }
            said.push_str("id: 1000\ndata: {\"n\":"); // it breaks off in the middle of an event
            let _ = stream.write_all(said.as_bytes()); // the client has gone
        }
    });
    address
}

#[test]
fn a_stream_from_outside_goes_on_where_it_broke_off_across_a_kill() {
    let data = fresh_data();
    let mut server = Server::start(data.path(), &["--allow-private-targets"]);
    let (to, to_arn) = queue(&server, "to");
    let source = destination(&server, "ticks", &format!("http://{}/ticks", broken_stream()));
    let template = "{\"n\":<$.data.n>,\"id\":<$.eventId>,\"kind\":<$.event>}";
    let parameters = json!({ "InputTemplate": template });
    create(&server, "p", json!({ "Source": source, "Target": to_arn, "TargetParameters": parameters }));
    let mut received = receive(&server, &to, 20);
    server.kill();
    server = Server::start(data.path(), &["--allow-private-targets"]);
    let to = format!("http://{}/123456789012/to", server.control);
    received.extend(receive(&server, &to, 40));
    let mut numbers = numbers(&received, "n");
    numbers.dedup();
    assert_eq!(bodies(&received)[0], json!({ "n": 1, "id": "1", "kind": "tick" }));
    let mut expected: Vec<u64> = (1..=*numbers.iter().max().unwrap()).collect();
    // Events in flight at the kill may be delivered again, in order; none is left out.
    let repeated = numbers.windows(2).filter(|pair| pair[1] <= pair[0]).count();
    assert!(repeated <= 1, "{numbers:?}");
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert!(count - numbers.len() <= 12, "it goes on where it was, not at the beginning: {count} received");
    expected.truncate(numbers.len());
    assert_eq!(numbers, expected);
}

#[test]
fn a_pipe_that_is_killed_in_flight_loses_nothing_and_goes_on_where_it_was() {
    let data = fresh_data();
    let mut server = Server::start(data.path(), &[]);
    let ((from, from_arn), (_, to_arn)) = (queue(&server, "from"), queue(&server, "to"));
    let by_bus = json!({ "Source": DEFAULT, "Target": from_arn,
                         "SourceParameters": { "FilterCriteria": filter(json!({ "source": ["shop"] })) },
                         "TargetParameters": { "InputTemplate": "<$.detail>" } });
    create(&server, "first", by_bus);
    let visible = json!({ "QueueUrl": from, "Attributes": { "VisibilityTimeout": "1" } });
    sqs(&server, "SetQueueAttributes", visible);
    let parameters = json!({ "InputTemplate": "<$.body>" });
    create(&server, "second", json!({ "Source": from_arn, "Target": to_arn, "TargetParameters": parameters }));
    for life in 0..3 {
        put(&server, "shop", life * 200..life * 200 + 200);
        server.kill();
        server = Server::start(data.path(), &[]);
    }
    put(&server, "shop", 600..601);
    let (url, mut seen) = (format!("http://{}/123456789012/to", server.control), Vec::new());
    let end = Instant::now() + PATIENCE;
    while (0..601).any(|unit| !seen.contains(&unit)) {
        let missing: Vec<u64> = (0..601).filter(|unit| !seen.contains(unit)).collect();
        assert!(Instant::now() < end, "{missing:?}");
        seen.extend(numbers(&receive(&server, &url, 1), "unit"));
    }
    assert!(seen.len() < 1_201, "only what was in flight comes again: {}", seen.len());
}

#[test]
fn a_reset_takes_pipes_along_and_how_far_they_are() {
    let data = fresh_data();
    let server = Server::start(data.path(), &["--dev"]);
    let make = || {
        let (to, to_arn) = queue(&server, "to");
        let from_the_beginning = json!({ "KinesisStreamParameters": { "StartingPosition": "TRIM_HORIZON" },
                                         "FilterCriteria": filter(json!({ "source": ["shop"] })) });
        create(&server, "p", json!({ "Source": JOURNAL, "Target": to_arn, "SourceParameters": from_the_beginning }));
        to
    };
    put(&server, "shop", 0..5);
    assert_eq!(receive(&server, &make(), 5).len(), 5);
    let (status, _) = rest(&server, "POST", "/_reset", &Value::Null);
    assert_eq!(status, 200);
    assert_eq!(rest(&server, "GET", "/v1/pipes", &Value::Null).1["Pipes"], json!([]));
    assert!(!server.get("/metrics").1.contains("fakemon_pipe_records_total{"));
    assert_eq!(receive(&server, &make(), 5).len(), 5, "a new pipe of the name begins at the beginning");
    let delivered = || server.get("/metrics").1.contains("fakemon_pipe_delivered_total{pipe=\"p\"} 5");
    wait_until("the metrics of a moment later say so", delivered);
}

#[test]
fn a_program_enriches_and_receives_in_process_and_a_poisoned_batch_is_halved() {
    let data = fresh_data();
    let options = Options { cores: 1, pin: false, ..Options::default() };
    let engine = Engine::open(data.path(), options).unwrap();
    let function = |name: &str| format!("arn:aws:fakemon:local:123456789012:function/{name}");
    let pipe = Pipe {
        name: "p".into(),
        description: None,
        desired_state: DesiredState::Running,
        change: PipeChange::Created,
        revision: 0,
        source: DEFAULT.into(),
        source_parameters: json!({
            "FilterCriteria": filter(json!({ "source": ["shop"] })),
            "KinesisStreamParameters": { "BatchSize": 8, "MaximumBatchingWindowInSeconds": 1,
                                         "OnPartialBatchItemFailure": "AUTOMATIC_BISECT" },
        }),
        enrichment: Some(function("sieve")),
        enrichment_parameters: json!({ "InputTemplate": "<$.detail.unit>" }),
        target: function("sink"),
        target_parameters: Value::Null,
        role_arn: ROLE.into(),
        kept: serde_json::Map::new(),
        runs_since: Some(engine.now()),
        region: "local".into(),
        created_at: engine.now(),
        modified_at: Timestamp(0),
        tags: Tags::new(),
    };
    let mut client = engine.client().unwrap();
    let written = |client: &mut fakemon_engine::Client| {
        let mut done = Vec::new();
        while !done.iter().any(|one| matches!(one, Completion::Written { .. })) {
            client.wait(&mut done, PATIENCE);
        }
    };
    client.change(Token(1), vec![Change::Put(Resource::Pipe(pipe))]).unwrap();
    written(&mut client);
    let event = |unit: u32| NewEvent {
        bus: "default".into(),
        source: "shop".into(),
        detail_type: "sold".into(),
        detail: json!({ "unit": unit }).to_string(),
        resources: Vec::new(),
        time: None,
        region: "local".into(),
        cause: None,
        hops: 0,
        by: None,
        origin: None,
        trace: None,
    };
    client.put(Token(2), (0..8).map(event).collect()).unwrap();
    written(&mut client);
    // Nothing is lost while the program is not ready yet.
    std::thread::sleep(Duration::from_millis(100));
    engine
        .set_enricher("sieve", |batch| {
            let units: Vec<u64> = serde_json::from_str(batch).unwrap();
            if units.contains(&5) {
                return Err(Failed::permanently(FailureCode::ErrorFromTarget, "five is right out"));
            }
            Ok(json!(units.into_iter().filter(|unit| unit % 2 == 0 || *unit == 7).collect::<Vec<_>>()).to_string())
        })
        .unwrap();
    let (tell, told) = mpsc::channel();
    let mut failures = 2;
    engine
        .on_events("sink", move |letter| {
            if &*letter.body == "4" && failures > 0 {
                failures -= 1;
                return Err(Failed::for_now(FailureCode::ErrorFromTarget, "not now"));
            }
            tell.send(letter.body.to_string()).unwrap();
            Ok(())
        })
        .unwrap();
    let received: Vec<String> = (0..5).map(|_| told.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(received, ["0", "2", "4", "6", "7"], "in order, whatever failed, and only the poison is left out");
    let (_, runs, figures) = engine.pipes().figures().remove(0);
    wait_until("the poison is given up", || figures.failed.load(Ordering::Relaxed) == 1);
    assert!(runs);
}

#[test]
fn a_pipe_into_the_game_says_why_nothing_is_taken() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let from = json!({ "KinesisStreamParameters": { "StartingPosition": "LATEST" } });
    let capture = "arn:aws:fakemon:local:123456789012:capture";
    create(&server, "p", json!({ "Source": DEFAULT, "SourceParameters": from, "Target": capture }));
    let put = |detail_type: &str| {
        let event = json!({ "source": "shop", "detail-type": detail_type, "detail": {} });
        assert_eq!(server.post_event(&event.to_string()).0, 200);
    };
    put("sold");
    let why = || state(&server, "p", "RUNNING")["StateReason"].as_str().unwrap_or_default().to_owned();
    wait_until("it says why", || why().contains("the capture service carries out events"));
}
