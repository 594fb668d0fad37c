//! SQS in detail, as its clients see it: messages, codes and statuses of errors in both protocols, attributes of dead
//! letters, and tasks that move messages back.

use crate::aws::{PATIENCE, call, queue, sqs};
use crate::server::{Server, fresh_data};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// An error: the status, the type, the code of the query protocol, and the message.
fn refusal(server: &Server, operation: &str, request: &Value) -> (u16, String, String, String) {
    let response = ureq::post(format!("http://{}/", server.control))
        .config()
        .http_status_as_error(false)
        .build()
        .header("X-Amz-Target", format!("AmazonSQS.{operation}"))
        .send(request.to_string());
    let mut response = response.unwrap();
    let header = |name: &str| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (status, kind, query) =
        (response.status().as_u16(), header("x-amzn-errortype"), header("x-amzn-query-error"));
    let body: Value = serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap();
    assert_eq!(body["__type"], kind.as_str(), "{operation}: {body}");
    let code = query.strip_suffix(";Sender").unwrap_or(&query).to_owned();
    (status, kind, code, body["message"].as_str().unwrap_or_default().to_owned())
}

/// The code and the message of an error.
fn refused(server: &Server, operation: &str, request: Value) -> (String, String) {
    let (status, _, code, message) = refusal(server, operation, &request);
    assert!((400..500).contains(&status), "{operation}: {status} {message}");
    (code, message)
}

fn send(server: &Server, url: &str, body: &str) -> Value {
    sqs(server, "SendMessage", json!({ "QueueUrl": url, "MessageBody": body }))
}

/// Receives up to `max` messages with all their attributes, and hides them for `hidden_s` seconds.
fn take(server: &Server, url: &str, max: u32, hidden_s: u32) -> Vec<Value> {
    let request = json!({ "QueueUrl": url, "MaxNumberOfMessages": max, "VisibilityTimeout": hidden_s,
                          "MessageSystemAttributeNames": ["All"], "MessageAttributeNames": ["All"] });
    sqs(server, "ReceiveMessage", request)["Messages"].as_array().cloned().unwrap_or_default()
}

fn set(server: &Server, url: &str, name: &str, value: &Value) {
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    sqs(server, "SetQueueAttributes", json!({ "QueueUrl": url, "Attributes": { name: value } }));
}

/// A dead-letter queue of some queues, which move a message there after one receipt.
fn dead_letters_of(server: &Server, name: &str, sources: &[&str]) -> (String, String) {
    let (url, arn) = queue(server, name);
    let policy = json!({ "deadLetterTargetArn": arn, "maxReceiveCount": 1 });
    sources.iter().for_each(|source| set(server, source, "RedrivePolicy", &policy));
    (url, arn)
}

/// Moves the messages of a queue to its dead-letter queue.
fn give_up(server: &Server, url: &str) {
    while !take(server, url, 10, 0).is_empty() {}
}

fn count(server: &Server, url: &str) -> u64 {
    let asked = json!({ "QueueUrl": url, "AttributeNames": ["ApproximateNumberOfMessages"] });
    let counts = sqs(server, "GetQueueAttributes", asked);
    counts["Attributes"]["ApproximateNumberOfMessages"].as_str().unwrap().parse().unwrap()
}

/// The last task of a queue, once it has ended.
fn ended_task(server: &Server, source_arn: &str) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let task = sqs(server, "ListMessageMoveTasks", json!({ "SourceArn": source_arn }))["Results"][0].clone();
        if task["Status"] != "RUNNING" && task["Status"] != "CANCELLING" {
            return task;
        }
        assert!(Instant::now() < end, "{task}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn refusals_have_the_names_of_both_protocols() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (url, _) = queue(&server, "q");
    let nowhere = json!({ "QueueUrl": "http://localhost/123456789012/nowhere" });
    let refused = |operation: &str, request: &Value| {
        let (status, kind, code, _) = refusal(&server, operation, request);
        (status, kind, code)
    };
    let own = |name: &str| format!("com.amazonaws.sqs#{name}");
    let common = |name: &str| format!("com.amazon.coral.service#{name}");
    let service = |name: &str| format!("AWS.SimpleQueueService.{name}");
    for (operation, request, status, kind, code) in [
        ("PurgeQueue", nowhere, 400, own("QueueDoesNotExist"), service("NonExistentQueue")),
        ("GetQueueUrl", json!({}), 400, common("MissingRequiredParameterException"), "MissingParameter".into()),
        (
            "CreateQueue",
            json!({ "QueueName": "q q" }),
            400,
            common("InvalidParameterValueException"),
            "InvalidParameterValue".into(),
        ),
        ("Dance", json!({}), 400, common("UnknownOperationException"), "InvalidAction".into()),
        (
            "DeleteMessage",
            json!({ "QueueUrl": url, "ReceiptHandle": "x" }),
            404,
            own("ReceiptHandleIsInvalid"),
            "ReceiptHandleIsInvalid".into(),
        ),
        (
            "DeleteMessageBatch",
            json!({ "QueueUrl": url, "Entries": [{ "Id": "1" }, { "Id": "1" }] }),
            400,
            own("BatchEntryIdsNotDistinct"),
            service("BatchEntryIdsNotDistinct"),
        ),
    ] {
        assert_eq!(refused(operation, &request), (status, kind, code), "{operation}");
    }
}

#[test]
fn parameters_are_refused_in_the_words_of_sqs() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (url, _) = queue(&server, "q");
    let with = |more: Value| {
        let mut request = json!({ "QueueUrl": url, "MessageBody": "x", "ReceiptHandle": "h" });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let invalid = "InvalidParameterValue";
    let value = |name: &str, value: u32, reason: &str| {
        format!("Value {value} for parameter {name} is invalid. Reason: {reason}")
    };
    for (operation, more, code, message) in [
        (
            "ReceiveMessage",
            json!({ "MaxNumberOfMessages": 11 }),
            invalid,
            value("MaxNumberOfMessages", 11, "Must be between 1 and 10, if provided."),
        ),
        (
            "ReceiveMessage",
            json!({ "WaitTimeSeconds": 21 }),
            invalid,
            value("WaitTimeSeconds", 21, "Must be >= 0 and <= 20, if provided."),
        ),
        (
            "SendMessage",
            json!({ "DelaySeconds": 901 }),
            invalid,
            value("DelaySeconds", 901, "DelaySeconds must be >= 0 and <= 900."),
        ),
        (
            "SendMessage",
            json!({ "MessageBody": "" }),
            "MissingParameter",
            "The request must contain the parameter MessageBody.".into(),
        ),
        ("ListQueues", json!({ "NextToken": "garbage" }), invalid, "Invalid or expired next token.".into()),
        (
            "TagQueue",
            json!({ "Tags": {} }),
            "MissingParameter",
            "The request must contain the parameter Tags.".into(),
        ),
        (
            "UntagQueue",
            json!({ "TagKeys": [] }),
            invalid,
            "Tag keys must be between 1 and 128 characters in length.".into(),
        ),
        (
            "SendMessageBatch",
            json!({ "Entries": [] }),
            "AWS.SimpleQueueService.EmptyBatchRequest",
            "There should be at least one SendMessageBatchRequestEntry in the request.".into(),
        ),
        (
            "DeleteMessageBatch",
            json!({}),
            "AWS.SimpleQueueService.EmptyBatchRequest",
            "There should be at least one DeleteMessageBatchRequestEntry in the request.".into(),
        ),
        ("DeleteMessage", json!({}), "ReceiptHandleIsInvalid", "The input receipt handle is invalid.".into()),
        (
            "SetQueueAttributes",
            json!({ "Attributes": { "DelaySeconds": "901" } }),
            "InvalidAttributeValue",
            "Invalid value for the parameter DelaySeconds.".into(),
        ),
        (
            "SetQueueAttributes",
            json!({ "Attributes": { "Colour": "red" } }),
            "InvalidAttributeName",
            "Unknown Attribute Colour.".into(),
        ),
    ] {
        assert_eq!(refused(&server, operation, with(more)), (code.to_owned(), message), "{operation}");
    }
    for body in ["a\u{0}", "a\u{FFFE}"] {
        let (code, _) = refused(&server, "SendMessage", with(json!({ "MessageBody": body })));
        assert_eq!(code, "InvalidMessageContents");
    }
    let batch = json!({ "QueueUrl": url, "Entries": [{ "Id": "1", "ReceiptHandle": "garbage" }] });
    let answer = sqs(&server, "DeleteMessageBatch", batch);
    assert_eq!(
        answer,
        json!({ "Failed": [{ "Id": "1", "SenderFault": true, "Code": "ReceiptHandleIsInvalid",
                             "Message": "The input receipt handle \"garbage\" is not a valid receipt handle." }] })
    );
}

#[test]
fn attributes_are_checked_and_count_towards_the_size() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (url, _) = queue(&server, "q");
    let message = |attributes: Value| json!({ "QueueUrl": url, "MessageBody": "x", "MessageAttributes": attributes });
    let text = |name: &str, kind: &str, value: &str| json!({ name: { "DataType": kind, "StringValue": value } });
    for (attributes, why) in [
        (text("a", "String", ""), "non-empty"),
        (text("a", "Foo", "x"), "supported type prefixes"),
        (text("a", "String.", "x"), "what follows the period"),
        (text("a", "Number", "abc"), "to a number"),
        (text("AWS.x", "String", "x"), "reserved"),
        (text("a..b", "String", "x"), "period"),
        (text("ä", "String", "x"), "A-Z"),
        (text("a", "Binary", "x"), "must use field 'Binary'"),
        (json!({ "a": { "DataType": "String", "BinaryValue": "AA==" } }), "must use field 'String'"),
        ((0..11).map(|n| (format!("a{n}"), text("a", "String", "x")["a"].clone())).collect(), "[11] exceeds"),
    ] {
        let (code, said) = refused(&server, "SendMessage", message(attributes));
        assert!(code == "InvalidParameterValue" && said.contains(why), "{code}: {said}");
    }
    set(&server, &url, "MaximumMessageSize", &json!("1024"));
    let full = "x".repeat(1_013); // with the body's one byte, `ab` and `String`: 1,022
    sqs(&server, "SendMessage", message(text("ab", "String", &full)));
    let over = "x".repeat(1_016);
    let (_, said) = refused(&server, "SendMessage", message(text("ab", "String", &over)));
    assert_eq!(said, "One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes.");
    set(&server, &url, "MaximumMessageSize", &json!("1048576"));
    let half = text("ab", "String", &"x".repeat(600_000));
    let entry = |id: &str| json!({ "Id": id, "MessageBody": "x", "MessageAttributes": half });
    let batch = json!({ "QueueUrl": url, "Entries": [entry("1"), entry("2")] });
    let (code, said) = refused(&server, "SendMessageBatch", batch);
    let expected = "Batch requests cannot be longer than 1048576 bytes. You have sent 1200018 bytes.";
    assert_eq!((code.as_str(), said.as_str()), ("AWS.SimpleQueueService.BatchRequestTooLong", expected));
    let huge = json!({ "QueueUrl": url, "MessageBody": "x".repeat(5_000_000) });
    let (code, said) = refused(&server, "SendMessage", huge);
    assert!(code == "InvalidParameterValue" && said.contains("shorter than 1048576 bytes"), "{code}: {said}");
}

#[test]
fn what_is_empty_is_absent() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    assert_eq!(sqs(&server, "ListQueues", json!({})), json!({}));
    let (url, _) = queue(&server, "q");
    let of_queue = || json!({ "QueueUrl": url });
    for operation in ["ListQueueTags", "GetQueueAttributes", "ReceiveMessage"] {
        assert_eq!(sqs(&server, operation, of_queue()), json!({}), "{operation}");
    }
    assert_eq!(sqs(&server, "ListDeadLetterSourceQueues", of_queue()), json!({ "queueUrls": [] }));
    let batch = json!({ "QueueUrl": url, "Entries": [{ "Id": "1", "MessageBody": "x" }] });
    assert!(sqs(&server, "SendMessageBatch", batch).get("Failed").is_none());
}

#[test]
fn a_dead_letter_is_the_message_that_it_was_and_a_trace_goes_along() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (url, arn) = queue(&server, "q");
    let (dead, _) = dead_letters_of(&server, "dead", &[&url]);
    let trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    let header = json!({ "AWSTraceHeader": { "DataType": "String", "StringValue": trace } });
    let message = json!({ "QueueUrl": url, "MessageBody": "bad", "MessageSystemAttributes": header });
    let sent = sqs(&server, "SendMessage", message);
    assert_eq!(sent["MD5OfMessageSystemAttributes"].as_str().map(str::len), Some(32));
    let first = take(&server, &url, 1, 0).remove(0);
    give_up(&server, &url);
    let letter = take(&server, &dead, 1, 0).remove(0);
    assert_eq!((&letter["MessageId"], &letter["Body"]), (&sent["MessageId"], &json!("bad")));
    let (before, after) = (&first["Attributes"], &letter["Attributes"]);
    for kept in ["SentTimestamp", "ApproximateFirstReceiveTimestamp", "AWSTraceHeader"] {
        assert_eq!(before[kept], after[kept], "{kept}");
    }
    assert_eq!((&after["ApproximateReceiveCount"], &after["AWSTraceHeader"]), (&json!("2"), &json!(trace)));
    assert_eq!((&after["DeadLetterQueueSourceArn"], before.get("DeadLetterQueueSourceArn")), (&json!(arn), None));
    let wrong = json!({ "QueueUrl": url, "MessageBody": "x", "MessageSystemAttributes": { "Other": header["AWSTraceHeader"] } });
    assert_eq!(refused(&server, "SendMessage", wrong).0, "InvalidParameterValue");
}

#[test]
fn letters_of_several_queues_go_back_each_to_its_own() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let queues = ["a", "b"].map(|name| queue(&server, name).0);
    let (dead, dead_arn) = dead_letters_of(&server, "dead", &[&queues[0], &queues[1]]);
    for (url, body) in queues.iter().zip(["of a", "of b"]) {
        let id = send(&server, url, body)["MessageId"].clone();
        give_up(&server, url);
        assert_ne!(id, Value::Null);
    }
    assert_eq!(count(&server, &dead), 2);
    sqs(&server, "StartMessageMoveTask", json!({ "SourceArn": dead_arn }));
    let task = ended_task(&server, &dead_arn);
    assert_eq!((&task["Status"], &task["ApproximateNumberOfMessagesMoved"]), (&json!("COMPLETED"), &json!(2)));
    for (url, body) in queues.iter().zip(["of a", "of b"]) {
        let back = take(&server, url, 10, 30);
        assert_eq!((back.len(), &back[0]["Body"]), (1, &json!(body)));
        assert_eq!(back[0]["Attributes"]["ApproximateReceiveCount"], "1", "a new message");
        assert!(back[0]["Attributes"].get("DeadLetterQueueSourceArn").is_none());
    }
    send(&server, &dead, "sent here");
    sqs(&server, "StartMessageMoveTask", json!({ "SourceArn": dead_arn }));
    let task = ended_task(&server, &dead_arn);
    let failed = (&task["Status"], &task["FailureReason"]);
    assert_eq!(failed, (&json!("FAILED"), &json!("CouldNotDetermineMessageSource")));
    assert_eq!(count(&server, &dead), 1, "it stays");
}

#[test]
fn a_task_fails_when_its_destination_goes_and_what_is_left_stays() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (url, _) = queue(&server, "q");
    let (dead, dead_arn) = dead_letters_of(&server, "dead", &[&url]);
    let (other, other_arn) = queue(&server, "other");
    (0..5).for_each(|n| drop(send(&server, &dead, &n.to_string())));
    let start = json!({ "SourceArn": dead_arn, "DestinationArn": other_arn, "MaxNumberOfMessagesPerSecond": 1 });
    let handle = sqs(&server, "StartMessageMoveTask", start.clone())["TaskHandle"].as_str().unwrap().to_owned();
    let running = sqs(&server, "ListMessageMoveTasks", json!({ "SourceArn": dead_arn }))["Results"][0].clone();
    assert_eq!((&running["TaskHandle"], &running["MaxNumberOfMessagesPerSecond"]), (&json!(handle), &json!(1)));
    let (code, why) = refused(&server, "StartMessageMoveTask", start);
    assert!(code == "InvalidParameterValue" && why.contains("already a task running"), "{code}: {why}");
    let end = Instant::now() + PATIENCE;
    while count(&server, &other) == 0 {
        assert!(Instant::now() < end, "nothing is moved");
        std::thread::sleep(Duration::from_millis(20));
    }
    sqs(&server, "DeleteQueue", json!({ "QueueUrl": other }));
    let task = ended_task(&server, &dead_arn);
    assert_eq!(task["FailureReason"], "AWS.SimpleQueueService.NonExistentQueue", "{task}");
    let moved = task["ApproximateNumberOfMessagesMoved"].as_u64().unwrap();
    assert_eq!((task["Status"].as_str(), moved + count(&server, &dead)), (Some("FAILED"), 5));
    assert!(task.get("TaskHandle").is_none());
}

#[test]
fn tasks_that_cannot_be_are_refused() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (url, arn) = queue(&server, "q");
    let (_, dead_arn) = dead_letters_of(&server, "dead", &[&url]);
    let nowhere = "arn:aws:sqs:local:123456789012:nowhere";
    let start = |request: Value| {
        let (status, _, code, message) = refusal(&server, "StartMessageMoveTask", &request);
        (status, code, message)
    };
    let missing = |parameter: &str| {
        let message = format!("The resource that you specified for the {parameter} parameter doesn't exist.");
        (404, "ResourceNotFoundException".to_owned(), message)
    };
    assert_eq!(start(json!({ "SourceArn": nowhere })), missing("SourceArn"));
    assert_eq!(start(json!({ "SourceArn": dead_arn, "DestinationArn": nowhere })), missing("DestinationArn"));
    for (request, why) in [
        (json!({ "SourceArn": arn }), "Source queue must be configured as a Dead Letter Queue."),
        (json!({ "SourceArn": dead_arn, "DestinationArn": dead_arn }), "cannot be the same"),
        (json!({ "SourceArn": dead_arn, "MaxNumberOfMessagesPerSecond": 501 }), "between 1 and 500"),
    ] {
        let (status, code, message) = start(request);
        assert!(
            (status, code.as_str()) == (400, "InvalidParameterValue") && message.contains(why),
            "{code}: {message}"
        );
    }
    let cancel = |handle: &str| {
        let (status, _, code, _) = refusal(&server, "CancelMessageMoveTask", &json!({ "TaskHandle": handle }));
        (status, code)
    };
    assert_eq!(cancel("garbage"), (400, "InvalidParameterValue".to_owned()));
    // {"taskId":"x","sourceArn":"arn:aws:sqs:local:123456789012:dead"}
    let unknown = "eyJ0YXNrSWQiOiJ4Iiwic291cmNlQXJuIjoiYXJuOmF3czpzcXM6bG9jYWw6MTIzNDU2Nzg5MDEyOmRlYWQifQ==";
    assert_eq!(cancel(unknown), (404, "ResourceNotFoundException".to_owned()));
    assert_eq!(
        refused(&server, "ListMessageMoveTasks", json!({ "SourceArn": nowhere })).0,
        "ResourceNotFoundException"
    );
}

#[test]
fn a_task_goes_on_after_a_kill() {
    let data = fresh_data();
    let mut server = Server::start(data.path(), &[]);
    let (url, arn) = queue(&server, "q");
    let (dead, dead_arn) = dead_letters_of(&server, "dead", &[&url]);
    (0..4).for_each(|n| drop(send(&server, &dead, &n.to_string())));
    let start = json!({ "SourceArn": dead_arn, "DestinationArn": arn, "MaxNumberOfMessagesPerSecond": 2 });
    sqs(&server, "StartMessageMoveTask", start);
    server.kill();
    server = Server::start(data.path(), &[]);
    let task = ended_task(&server, &dead_arn);
    assert_eq!(task["Status"], "COMPLETED", "{task}");
    assert_eq!((count(&server, &url), count(&server, &dead)), (4, 0));
}

#[test]
fn without_its_dead_letter_queue_a_message_stays() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (url, _) = queue(&server, "q");
    let (dead, _) = dead_letters_of(&server, "dead", &[&url]);
    send(&server, &url, "x");
    assert_eq!(take(&server, &url, 1, 0).len(), 1);
    sqs(&server, "DeleteQueue", json!({ "QueueUrl": dead }));
    let again = take(&server, &url, 1, 0).remove(0);
    assert_eq!(again["Attributes"]["ApproximateReceiveCount"], "2");
    assert_eq!(count(&server, &url), 1);
}

#[test]
fn a_dead_letter_queue_says_whose_letters_it_takes() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let ((url, arn), (dead, dead_arn)) = (queue(&server, "q"), queue(&server, "dead"));
    let policy = json!({ "deadLetterTargetArn": dead_arn, "maxReceiveCount": "3" });
    let request = |name: &str, value: &Value| json!({ "QueueUrl": url, "Attributes": { name: value.to_string() } });
    let allow = |permission: Value| set(&server, &dead, "RedriveAllowPolicy", &permission);
    allow(json!({ "redrivePermission": "denyAll" }));
    let (code, why) = refused(&server, "SetQueueAttributes", request("RedrivePolicy", &policy));
    assert!(code == "InvalidParameterValue" && why.contains("RedriveAllowPolicy"), "{why}");
    allow(json!({ "redrivePermission": "byQueue", "sourceQueueArns": [arn] }));
    set(&server, &url, "RedrivePolicy", &policy);
    let asked = json!({ "QueueUrl": url, "AttributeNames": ["RedrivePolicy", "SqsManagedSseEnabled"] });
    let shown = sqs(&server, "GetQueueAttributes", asked)["Attributes"].clone();
    let kept: Value = serde_json::from_str(shown["RedrivePolicy"].as_str().unwrap()).unwrap();
    assert_eq!((&kept["maxReceiveCount"], &shown["SqsManagedSseEnabled"]), (&json!(3), &json!("true")));
    for (name, value) in [
        ("RedriveAllowPolicy", json!({ "redrivePermission": "perhaps" })),
        ("RedriveAllowPolicy", json!({ "redrivePermission": "byQueue" })),
        ("RedrivePolicy", json!({ "deadLetterTargetArn": dead_arn })),
        ("RedrivePolicy", json!({ "deadLetterTargetArn": dead_arn, "maxReceiveCount": 1_001 })),
    ] {
        assert_eq!(
            refused(&server, "SetQueueAttributes", request(name, &value)).0,
            "InvalidParameterValue",
            "{value}"
        );
    }
}

#[test]
fn a_purge_and_a_name_have_a_pause_unless_the_settings_say_otherwise() {
    let data = fresh_data();
    let mut server = Server::start(data.path(), &["--dev"]);
    let (url, _) = queue(&server, "q");
    let of_queue = || json!({ "QueueUrl": url });
    sqs(&server, "PurgeQueue", of_queue());
    server.kill();
    server = Server::start(data.path(), &["--dev"]);
    let (status, _, code, why) = refusal(&server, "PurgeQueue", &of_queue());
    assert_eq!((status, code.as_str()), (403, "AWS.SimpleQueueService.PurgeQueueInProgress"));
    assert_eq!(why, "Only one PurgeQueue operation on q is allowed every 60 seconds.");
    sqs(&server, "DeleteQueue", of_queue());
    server.kill();
    server = Server::start(data.path(), &["--dev"]);
    let (code, _) = refused(&server, "CreateQueue", json!({ "QueueName": "q" }));
    assert_eq!(code, "AWS.SimpleQueueService.QueueDeletedRecently");
    let reset = ureq::post(format!("http://{}/_reset", server.control)).send_empty();
    assert!(reset.is_ok());
    queue(&server, "q");
    drop(server);
    let file = data.path().join("settings.toml");
    std::fs::write(&file, "[aws]\nqueue_pause = \"1ms\"\n").unwrap();
    let other = fresh_data();
    let server = Server::start(other.path(), &["--config", file.to_str().unwrap()]);
    for _ in 0..2 {
        let (url, _) = queue(&server, "q");
        sqs(&server, "PurgeQueue", json!({ "QueueUrl": url }));
        sqs(&server, "DeleteQueue", json!({ "QueueUrl": url }));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn permissions_are_statements_of_the_policy() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (url, arn) = queue(&server, "q");
    let add = |label: &str, accounts: Value, actions: Value| json!({ "QueueUrl": url, "Label": label, "AWSAccountIds": accounts, "Actions": actions });
    sqs(&server, "AddPermission", add("one", json!(["111111111111"]), json!(["SendMessage"])));
    let asked = || json!({ "QueueUrl": url, "AttributeNames": ["Policy"] });
    let shown = sqs(&server, "GetQueueAttributes", asked())["Attributes"]["Policy"].clone();
    let policy: Value = serde_json::from_str(shown.as_str().unwrap()).unwrap();
    assert_eq!(
        policy["Statement"],
        json!([{ "Sid": "one", "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::111111111111:root" },
                 "Action": "SQS:SendMessage", "Resource": arn }])
    );
    for (accounts, actions, code) in [
        (json!(["111111111111"]), json!(["SendMessage"]), "InvalidParameterValue"),
        (json!([]), json!(["SendMessage"]), "InvalidParameterValue"),
        (json!(["111111111111"]), json!([]), "MissingParameter"),
        (json!(["111111111111"]), json!(["AddPermission"]), "InvalidParameterValue"),
        (json!(["111111111111"]), json!(vec!["*"; 8]), "OverLimit"),
    ] {
        assert_eq!(refused(&server, "AddPermission", add("one", accounts, actions)).0, code);
    }
    let remove = || json!({ "QueueUrl": url, "Label": "one" });
    sqs(&server, "RemovePermission", remove());
    assert_eq!(sqs(&server, "GetQueueAttributes", asked()), json!({}));
    assert_eq!(refused(&server, "RemovePermission", remove()).0, "InvalidParameterValue");
}

/// Status, content type and XML of a request of the query protocol.
fn query(server: &Server, path: &str, form: Option<&str>) -> (u16, String, String) {
    let url = format!("http://{}{path}", server.control);
    let response = match form {
        Some(form) => ureq::post(url)
            .config()
            .http_status_as_error(false)
            .build()
            .header("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
            .send(form),
        None => ureq::get(url).config().http_status_as_error(false).build().call(),
    };
    let mut response = response.unwrap();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    (response.status().as_u16(), kind, response.body_mut().read_to_string().unwrap())
}

/// The text of the first element of a name.
fn element<'x>(xml: &'x str, name: &str) -> &'x str {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {xml}"));
    rest.split_once(&format!("</{name}>")).unwrap().0
}

#[test]
fn the_query_protocol_of_older_clients_is_spoken() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let ask = |path: &str, form: Option<&str>| {
        let (status, kind, xml) = query(&server, path, form);
        assert_eq!((status, kind.as_str()), (200, "text/xml"), "{xml}");
        xml
    };
    let made = ask(
        "/",
        Some(
            "Action=CreateQueue&Version=2012-11-05&QueueName=q&Attribute.1.Name=DelaySeconds&Attribute.1.Value=0&Tag.1.Key=k&Tag.1.Value=v",
        ),
    );
    assert!(made.contains("<CreateQueueResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\">"), "{made}");
    assert!(element(&made, "QueueUrl").ends_with("/123456789012/q"), "{made}");
    let path = "/123456789012/q";
    let sent = ask(
        path,
        Some(
            "Action=SendMessage&Version=2012-11-05&MessageBody=%3Ca%3E+%26+%C3%A4%0D&MessageAttribute.1.Name=n&MessageAttribute.1.Value.DataType=Number&MessageAttribute.1.Value.StringValue=1",
        ),
    );
    assert_eq!(element(&sent, "MD5OfMessageAttributes").len(), 32);
    let batch = ask(
        path,
        Some(
            "Action=SendMessageBatch&SendMessageBatchRequestEntry.1.Id=a&SendMessageBatchRequestEntry.1.MessageBody=x&SendMessageBatchRequestEntry.2.Id=b&SendMessageBatchRequestEntry.2.MessageBody=y&SendMessageBatchRequestEntry.2.DelaySeconds=901",
        ),
    );
    assert!(element(&batch, "SendMessageBatchResultEntry").contains("<Id>a</Id>"), "{batch}");
    assert_eq!(element(element(&batch, "BatchResultErrorEntry"), "Code"), "InvalidParameterValue");
    let received =
        ask(path, Some("Action=ReceiveMessage&AttributeName.1=All&MessageAttributeName.1=n&MaxNumberOfMessages=1"));
    let message = element(&received, "Message");
    assert_eq!(element(message, "Body"), "&lt;a&gt; &amp; ä&#xD;");
    assert!(
        message.contains("<Attribute><Name>ApproximateReceiveCount</Name><Value>1</Value></Attribute>"),
        "{message}"
    );
    assert!(element(message, "MessageAttribute").contains("<StringValue>1</StringValue>"), "{message}");
    let handle = element(message, "ReceiptHandle");
    let deleted = ask(path, Some(&format!("Action=DeleteMessage&ReceiptHandle={handle}")));
    assert!(!deleted.contains("DeleteMessageResult") && deleted.contains("<RequestId>"), "{deleted}");
    let all = ask(&format!("{path}?Action=GetQueueAttributes&Version=2012-11-05&AttributeName=All"), None);
    assert!(all.contains("<Attribute><Name>QueueArn</Name><Value>arn:aws:sqs:local:123456789012:q</Value>"), "{all}");
    let listed = ask("/?Action=ListQueues&Version=2012-11-05", None);
    assert!(listed.contains("<QueueUrl>") && listed.contains("</ListQueuesResult>"), "{listed}");
    let tags = ask(&format!("{path}?Action=ListQueueTags"), None);
    assert!(tags.contains("<Tag><Key>k</Key><Value>v</Value></Tag>"), "{tags}");
    let task = ask("/", Some("Action=ReceiveMessage&QueueUrl=q&MaxNumberOfMessages=10"));
    assert_eq!(element(element(&task, "Message"), "Body"), "x", "a name alone is a queue too");
    assert_eq!(server.get("/").0, 200);
    assert!(server.get("/").1.contains("<html"), "the page is still there");
}

#[test]
fn the_query_protocol_refuses_in_xml() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    queue(&server, "q");
    for (path, form, status, code) in [
        ("/", Some("Action=GetQueueUrl&QueueName=nowhere"), 400, "AWS.SimpleQueueService.NonExistentQueue"),
        ("/?Action=Dance&Version=2012-11-05", None, 400, "InvalidAction"),
        ("/123456789012/q", Some("Action=DeleteMessage&ReceiptHandle=x"), 404, "ReceiptHandleIsInvalid"),
        ("/123456789012/q", Some("Action=SendMessageBatch"), 400, "AWS.SimpleQueueService.EmptyBatchRequest"),
        ("/123456789012/q?Action=SendMessage", None, 400, "MissingParameter"),
        ("/?Action=ReceiveMessage&QueueUrl=q&MaxNumberOfMessages=x", None, 400, "InvalidParameterValue"),
        ("/", Some("Action=SendMessage&QueueUrl=q&MessageBody=%zz"), 400, "MalformedQueryString"),
        ("/", Some("Action=SendMessage&QueueUrl=q&MessageBody=%FF"), 400, "MalformedQueryString"),
        ("/?Action=ListQueues&%C3=1", None, 400, "MalformedQueryString"),
    ] {
        let (got, kind, xml) = query(&server, path, form);
        assert_eq!((got, kind.as_str(), element(&xml, "Code")), (status, "text/xml", code), "{xml}");
        assert_eq!(element(&xml, "Type"), "Sender");
    }
    let (status, answer) = call(&server, "AmazonSQS.ListQueues", &json!({}));
    assert_eq!((status, answer["QueueUrls"].as_array().map(Vec::len)), (200, Some(1)));
}

#[test]
fn a_number_is_whole_however_it_is_written() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (url, _) = queue(&server, "q");
    send(&server, &url, "x");
    let receive = |max: Value| json!({ "QueueUrl": url, "MaxNumberOfMessages": max, "VisibilityTimeout": 0.0 });
    assert_eq!(sqs(&server, "ReceiveMessage", receive(json!(10.0)))["Messages"].as_array().map(Vec::len), Some(1));
    for wrong in [json!(1.5), json!(1e300), json!(-1.0), json!("10.0"), json!([1])] {
        assert_eq!(refused(&server, "ReceiveMessage", receive(wrong)).0, "InvalidParameterValue");
    }
}

#[test]
fn a_receiver_that_waits_is_told_that_its_queue_is_deleted() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (url, _) = queue(&server, "q");
    std::thread::scope(|scope| {
        let wait = json!({ "QueueUrl": url, "WaitTimeSeconds": 20 });
        let waits = scope.spawn(|| refused(&server, "ReceiveMessage", wait).0);
        sqs(&server, "DeleteQueue", json!({ "QueueUrl": url }));
        assert_eq!(waits.join().unwrap(), "AWS.SimpleQueueService.NonExistentQueue");
    });
}

/// The messages of a deleted queue go after it: not those of one of its name that was made meanwhile.
#[test]
fn a_queue_that_is_made_anew_keeps_what_it_gets() {
    let data = fresh_data();
    let file = data.path().join("settings.toml");
    std::fs::write(&file, "[aws]\nqueue_pause = \"1ms\"\n").unwrap();
    let server = Server::start(&data.path().join("data"), &["--config", file.to_str().unwrap()]);
    let (url, _) = queue(&server, "q");
    for round in 0..20 {
        send(&server, &url, "old");
        std::thread::scope(|scope| {
            let deletes = scope.spawn(|| sqs(&server, "DeleteQueue", json!({ "QueueUrl": url })));
            // A queue that is still there is answered, too, and does not get the tag.
            let anew = json!({ "QueueName": "q", "tags": { "round": round.to_string() } });
            let is_new = || {
                call(&server, "AmazonSQS.CreateQueue", &anew); // its name may have its pause
                let (status, tags) = call(&server, "AmazonSQS.ListQueueTags", &json!({ "QueueUrl": url }));
                status == 200 && tags["Tags"]["round"] == json!(round.to_string())
            };
            while !is_new() {}
            send(&server, &url, "new");
            deletes.join().unwrap();
        });
        let bodies: Vec<Value> = take(&server, &url, 10, 30).iter().map(|message| message["Body"].clone()).collect();
        assert_eq!(bodies, ["new"], "round {round}");
    }
}
