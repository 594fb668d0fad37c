//! `POST /_reset`: nothing of one test is left in the next, whatever was in flight, and after a kill.

use crate::player::{Player, SOL};
use crate::server::{Server, fresh_data};
use fakemon_engine::{Engine, Options};
use fakemon_model::names::{LogGroupName, LogStreamName};
use fakemon_queue::queue::NewMessage;
use serde_json::{Value, json};
use std::io::Read;
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Resets the bus; returns status and answer.
fn reset(server: &Server) -> (u16, Value) {
    let answer = server.raw(&format!(
        "POST /_reset HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        server.control
    ));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

fn call(server: &Server, operation: &str, request: Value) -> Value {
    let (status, answer) = crate::aws::call(server, operation, &request);
    assert_eq!(status, 200, "{operation}: {answer}");
    answer
}

fn arn(kind: &str, name: &str) -> String {
    format!("arn:aws:{kind}:local:123456789012:{name}")
}

fn url(server: &Server, queue: &str) -> String {
    format!("http://{}/123456789012/{queue}", server.control)
}

/// A rule for all events of a shop, with a queue as its target.
fn rule_into_queue(server: &Server, name: &str) {
    call(server, "AmazonSQS.CreateQueue", json!({ "QueueName": name }));
    call(server, "AWSEvents.PutRule", json!({ "Name": name, "EventPattern": r#"{"source":["shop"]}"# }));
    let target = json!({ "Id": "queue", "Arn": arn("sqs", name) });
    call(server, "AWSEvents.PutTargets", json!({ "Rule": name, "Targets": [target] }));
}

fn put(server: &Server, unit: &str, count: usize) {
    let entry = json!({ "Source": "shop", "DetailType": "sold", "Detail": json!({ "unit": unit }).to_string() });
    for _ in 0..count.div_ceil(10) {
        call(server, "AWSEvents.PutEvents", json!({ "Entries": vec![&entry; count.min(10)] }));
    }
}

/// Creates every kind of resource, and events in flight to a queue and to a webhook.
fn fill(server: &Server, hook: &str) {
    rule_into_queue(server, "sold");
    call(server, "AWSEvents.CreateEventBus", json!({ "Name": "shop" }));
    call(server, "AWSEvents.PutRule", json!({ "Name": "r", "EventBusName": "shop", "EventPattern": r#"{"a":[1]}"# }));
    let permission = json!({ "StatementId": "s", "Principal": "*", "Action": "events:PutEvents" });
    call(server, "AWSEvents.PutPermission", permission);
    let tags = json!([{ "Key": "k", "Value": "v" }]);
    let fakemon = arn("events", "event-bus/fakemon");
    call(server, "AWSEvents.TagResource", json!({ "ResourceARN": fakemon, "Tags": tags }));
    let secret = json!({ "ApiKeyAuthParameters": { "ApiKeyName": "x-key", "ApiKeyValue": "hush" } });
    let connection = json!({ "Name": "hook", "AuthorizationType": "API_KEY", "AuthParameters": secret });
    let connection = call(server, "AWSEvents.CreateConnection", connection)["ConnectionArn"].clone();
    let destination =
        json!({ "Name": "hook", "ConnectionArn": connection, "InvocationEndpoint": hook, "HttpMethod": "POST" });
    let destination = call(server, "AWSEvents.CreateApiDestination", destination)["ApiDestinationArn"].clone();
    let target = json!({ "Id": "hook", "Arn": destination, "DeadLetterConfig": { "Arn": arn("sqs", "sold") } });
    call(server, "AWSEvents.PutTargets", json!({ "Rule": "sold", "Targets": [target] }));
    call(server, "Logs_20140328.CreateLogGroup", json!({ "logGroupName": "/all" }));
    let line = json!([{ "timestamp": now_ms(), "message": "old" }]);
    call(server, "Logs_20140328.CreateLogStream", json!({ "logGroupName": "/all", "logStreamName": "s" }));
    let lines = json!({ "logGroupName": "/all", "logStreamName": "s", "logEvents": line });
    call(server, "Logs_20140328.PutLogEvents", lines);
    put(server, "old", 200);
    start_replay(server);
}

fn start_replay(server: &Server) {
    let bus = arn("events", "event-bus/default");
    call(server, "AWSEvents.CreateArchive", json!({ "ArchiveName": "all", "EventSourceArn": bus }));
    let archive = arn("events", "archive/all");
    let replay = json!({ "ReplayName": "again", "EventSourceArn": archive, "Destination": { "Arn": bus },
                         "EventStartTime": 0, "EventEndTime": now_ms() / 1_000 + 60 });
    call(server, "AWSEvents.StartReplay", replay);
}

fn now_ms() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()
}

fn assert_empty(server: &Server) {
    let buses = call(server, "AWSEvents.ListEventBuses", json!({}));
    let names: Vec<&str> =
        buses["EventBuses"].as_array().unwrap().iter().map(|bus| bus["Name"].as_str().unwrap()).collect();
    assert_eq!(names, ["default", "fakemon"]);
    assert!(buses["EventBuses"][0].get("Policy").is_none(), "{buses}");
    let tags = json!({ "ResourceARN": arn("events", "event-bus/fakemon") });
    assert_eq!(call(server, "AWSEvents.ListTagsForResource", tags)["Tags"], json!([]));
    for (operation, list) in [
        ("AWSEvents.ListRules", "Rules"),
        ("AWSEvents.ListArchives", "Archives"),
        ("AWSEvents.ListReplays", "Replays"),
        ("AWSEvents.ListConnections", "Connections"),
        ("AWSEvents.ListApiDestinations", "ApiDestinations"),
        ("Logs_20140328.DescribeLogGroups", "logGroups"),
    ] {
        assert_eq!(call(server, operation, json!({}))[list], json!([]), "{operation}");
    }
    assert_eq!(call(server, "AmazonSQS.ListQueues", json!({})), json!({}));
}

/// Receives the bodies of `count` messages of a queue, and checks that there are no more.
fn bodies(server: &Server, queue: &str, count: usize) -> Vec<String> {
    let (mut bodies, end) = (Vec::new(), Instant::now() + Duration::from_secs(20));
    loop {
        let request = json!({ "QueueUrl": url(server, queue), "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1 });
        let answer = call(server, "AmazonSQS.ReceiveMessage", request);
        let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
        if messages.is_empty() && bodies.len() >= count {
            return bodies;
        }
        assert!(Instant::now() < end, "{} of {count}", bodies.len());
        bodies.extend(messages.iter().map(|message| message["Body"].as_str().unwrap().to_owned()));
    }
}

#[test]
fn nothing_of_one_test_is_there_in_the_next_however_much_was_under_way() {
    let data = fresh_data();
    let mut server = Server::start(data.path(), &["--dev", "--allow-private-targets"]);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap(); // connects, and never answers
    let hook = format!("http://{}/", silent.local_addr().unwrap());
    for round in 0..3 {
        fill(&server, &hook);
        let started = Instant::now();
        let (status, answer) = reset(&server);
        assert_eq!(status, 200, "{answer}");
        assert!(answer["position"].as_str().unwrap().parse::<u64>().is_ok(), "{answer}");
        assert!(
            started.elapsed() < Duration::from_secs(4),
            "a target that hangs holds it up: {:?}",
            started.elapsed()
        );
        if round == 1 {
            server.kill();
            server = Server::start(data.path(), &["--dev", "--allow-private-targets"]);
        }
        assert_empty(&server);

        // The same names again: only new events arrive.
        rule_into_queue(&server, "sold");
        call(&server, "Logs_20140328.CreateLogGroup", json!({ "logGroupName": "/all" }));
        put(&server, "new", 1);
        let arrived = bodies(&server, "sold", 1);
        assert!(arrived.len() == 1 && arrived[0].contains("new"), "{arrived:?}");
        let lines = json!({ "logGroupName": "/all" });
        assert_eq!(call(&server, "Logs_20140328.FilterLogEvents", lines)["events"], json!([]));
        start_replay(&server);
        let end = Instant::now() + Duration::from_secs(20);
        while call(&server, "AWSEvents.DescribeReplay", json!({ "ReplayName": "again" }))["State"] != "COMPLETED" {
            assert!(Instant::now() < end, "a replay of the same name runs anew");
        }
        assert!(!bodies(&server, "sold", 1).is_empty(), "it brought what the journal has, which forgets nothing");
        assert_eq!(reset(&server).0, 200);
    }
    assert_eq!(reset(&server).0, 200, "empty is empty");
}

#[test]
fn what_is_under_way_to_a_webhook_is_cut_off_and_does_not_come_again() {
    let data = fresh_data();
    let server = Server::start(data.path(), &["--dev", "--allow-private-targets"]);
    let hook = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hook.local_addr().unwrap();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in hook.incoming().flatten() {
            let mut request = [0; 4_096];
            let read = stream.read(&mut request).unwrap_or(0);
            tell.send(Some(String::from_utf8_lossy(&request[..read]).into_owned())).unwrap();
            while stream.read(&mut request).is_ok_and(|read| read > 0) {}
            let _ = tell.send(None); // the test may be over
        }
    });
    fill(&server, &format!("http://{address}/"));
    let next = || told.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(next().unwrap().to_lowercase().contains("x-key: hush"));
    assert_eq!(reset(&server).0, 200);
    assert_eq!(told.recv_timeout(Duration::from_secs(2)), Ok(None), "long before the patience with a webhook ends");
    server.kill();
    let server = Server::start(data.path(), &["--dev", "--allow-private-targets"]);
    assert_empty(&server);
    put(&server, "new", 1);
    assert!(told.recv_timeout(Duration::from_secs(1)).is_err(), "nothing comes again");
}

#[test]
fn the_game_goes_on_and_what_was_put_before_is_carried_out_before() {
    let data = fresh_data();
    let server = Server::start(data.path(), &["--dev"]);
    let (fakemon_id, species) = ("7", "sparkit");
    let detail = json!({ "fakemon_id": fakemon_id, "species": species, "lat": SOL.0, "lon": SOL.1, "catch_rate": 1 });
    let spawn = json!({ "Source": "fakemon.world", "DetailType": "fakemon.spawn", "Detail": detail.to_string() });
    call(&server, "AWSEvents.PutEvents", json!({ "Entries": [spawn] }));
    assert_eq!(reset(&server).0, 200);
    call(&server, "AmazonSQS.CreateQueue", json!({ "QueueName": "all" }));
    let rule =
        json!({ "Name": "all", "EventBusName": "fakemon", "EventPattern": r#"{"detail-type":[{"exists":true}]}"# });
    call(&server, "AWSEvents.PutRule", rule);
    let target = json!({ "Id": "queue", "Arn": arn("sqs", "all") });
    call(&server, "AWSEvents.PutTargets", json!({ "Rule": "all", "EventBusName": "fakemon", "Targets": [target] }));
    let mut ana = Player::connect(server.play, "ana").unwrap();
    assert_eq!(ana.attempt(1, 7).unwrap()["outcome"], "captured");
    let arrived = bodies(&server, "all", 1);
    assert!(arrived.iter().any(|body| body.contains("fakemon.capture_succeeded")), "{arrived:?}");
    assert!(!arrived.iter().any(|body| body.contains("fakemon.appeared")), "it appeared before: {arrived:?}");
    assert_eq!(reset(&server).0, 200);
    assert_eq!(ana.attempt(1, 7).unwrap()["outcome"], "captured", "the first answer again");
}

#[test]
fn an_embedded_bus_forgets_messages_and_secrets_together() {
    let data = fresh_data();
    let engine = Engine::open(data.path(), Options { cores: 1, ..Options::default() }).unwrap();
    engine.secrets().set("hook", Some(b"hush")).unwrap();
    let message = NewMessage { body: "old".into(), ..NewMessage::default() };
    engine.queues().send("sold", vec![message], engine.now()).unwrap();
    engine.logs().append(LogGroupName("all"), LogStreamName("s"), &[(1, "old")], None, true, engine.now()).unwrap();
    engine.empty_bus(engine.position()).unwrap();
    let is_empty = |engine: &Engine| {
        assert_eq!(engine.secrets().get("hook").unwrap(), None);
        assert_eq!(engine.queues().counts("sold", engine.now()).visible, 0);
        assert_eq!((engine.logs().lines("all").unwrap(), engine.logs().streams("all").unwrap().len()), (0, 0));
    };
    is_empty(&engine);
    engine.close();
    drop(engine);
    is_empty(&Engine::open(data.path(), Options { cores: 1, ..Options::default() }).unwrap());
}

#[test]
fn without_the_flag_nothing_is_emptied() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    rule_into_queue(&server, "sold");
    let (status, answer) = reset(&server);
    assert_eq!((status, &answer["error"]["code"]), (403, &json!("not_dev")));
    assert!(answer["error"]["message"].as_str().unwrap().contains("--dev"), "{answer}");
    assert_eq!(call(&server, "AWSEvents.ListRules", json!({}))["Rules"].as_array().unwrap().len(), 1);
}
