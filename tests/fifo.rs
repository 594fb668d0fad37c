//! FIFO queues of the SQS API: order of groups, deduplication, and rules with one as a target.

use crate::aws::{events, queue, refused, sqs};
use crate::server::{Server, fresh_data};
use serde_json::{Value, json};

fn fifo(server: &Server, name: &str, by_content: bool) -> (String, String) {
    let attributes = json!({ "FifoQueue": "true", "ContentBasedDeduplication": by_content.to_string() });
    let made = sqs(server, "CreateQueue", json!({ "QueueName": name, "Attributes": attributes }));
    let url = made["QueueUrl"].as_str().unwrap().to_owned();
    let all = sqs(server, "GetQueueAttributes", json!({ "QueueUrl": url, "AttributeNames": ["All"] }))["Attributes"]
        .clone();
    assert_eq!((&all["FifoQueue"], &all["DeduplicationScope"]), (&json!("true"), &json!("queue")));
    (url, all["QueueArn"].as_str().unwrap().to_owned())
}

fn send(server: &Server, url: &str, group: &str, body: &str) -> Value {
    sqs(server, "SendMessage", json!({ "QueueUrl": url, "MessageBody": body, "MessageGroupId": group }))
}

fn take(server: &Server, url: &str, max: u32) -> Vec<Value> {
    let request = json!({ "QueueUrl": url, "MaxNumberOfMessages": max, "WaitTimeSeconds": 2,
                          "MessageSystemAttributeNames": ["All"] });
    sqs(server, "ReceiveMessage", request)["Messages"].as_array().cloned().unwrap_or_default()
}

fn bodies(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["Body"].as_str().unwrap()).collect()
}

#[test]
fn groups_keep_their_order_and_repetitions_are_one_message_across_a_kill() {
    let data = fresh_data();
    let mut server = Server::start(data.path(), &[]);
    let (mut url, _) = fifo(&server, "throws.fifo", true);
    let first = send(&server, &url, "ana", "a1");
    let number = first["SequenceNumber"].as_str().unwrap().to_owned();
    assert_eq!(number.len(), 20);
    assert!(*send(&server, &url, "ana", "a2")["SequenceNumber"].as_str().unwrap() > *number);
    send(&server, &url, "ben", "b1");
    server.kill();
    server = Server::start(data.path(), &[]);
    url = sqs(&server, "GetQueueUrl", json!({ "QueueName": "throws.fifo" }))["QueueUrl"].as_str().unwrap().to_owned();
    let again = send(&server, &url, "ana", "a1");
    assert_eq!((&again["MessageId"], &again["SequenceNumber"]), (&first["MessageId"], &first["SequenceNumber"]));

    let taken = take(&server, &url, 1);
    assert_eq!(bodies(&taken), ["a1"]);
    let told = &taken[0]["Attributes"];
    assert_eq!((&told["MessageGroupId"], &told["SequenceNumber"]), (&json!("ana"), &json!(number)));
    assert_eq!(told["MessageDeduplicationId"].as_str().unwrap().len(), 64);
    let others = take(&server, &url, 10);
    assert_eq!(bodies(&others), ["b1"], "a2 waits for a1");
    sqs(&server, "DeleteMessage", json!({ "QueueUrl": url, "ReceiptHandle": taken[0]["ReceiptHandle"] }));
    assert_eq!(bodies(&take(&server, &url, 10)), ["a2"]);
}

#[test]
fn what_kind_of_queue_it_is_decides_what_a_request_may_say() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (url, arn) = fifo(&server, "f.fifo", false);
    let (standard, standard_arn) = queue(&server, "s");
    let refuse = |operation: &str, request: Value, code: &str, message: &str| {
        let (said, why) = refused(&server, &format!("AmazonSQS.{operation}"), request);
        assert!(said.ends_with(&format!("#{code}")) && why.contains(message), "{said}: {why}");
    };
    let queue = |name: &str, attributes: Value| json!({ "QueueName": name, "Attributes": attributes });
    let dead = |arn: &str| json!({ "deadLetterTargetArn": arn, "maxReceiveCount": 2 }).to_string();
    refuse("CreateQueue", queue("x.fifo", json!({})), "InvalidParameterValueException", "alphanumeric");
    refuse(
        "CreateQueue",
        queue("x", json!({ "FifoQueue": "true" })),
        "InvalidParameterValueException",
        ".fifo suffix",
    );
    let scope = json!({ "DeduplicationScope": "queue" });
    refuse("CreateQueue", queue("x", scope), "InvalidAttributeName", "DeduplicationScope");
    let policy = json!({ "RedrivePolicy": dead(&arn) });
    refuse("CreateQueue", queue("x", policy), "InvalidParameterValueException", "same type of queue");
    sqs(&server, "CreateQueue", queue("f.fifo", json!({ "FifoQueue": "True" })));
    let nowhere = json!({ "RedrivePolicy": dead("arn:aws:sqs:local:123456789012:nowhere") });
    refuse("CreateQueue", queue("x", nowhere), "InvalidParameterValueException", "does not exist");
    let fitting = json!({ "QueueUrl": standard, "Attributes": { "RedrivePolicy": dead(&standard_arn) } });
    sqs(&server, "SetQueueAttributes", fitting);

    let message = |url: &str, more: Value| {
        let mut message = json!({ "QueueUrl": url, "MessageBody": "x" });
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        message
    };
    let group = || json!({ "MessageGroupId": "g" });
    let late = json!({ "MessageGroupId": "g", "MessageDeduplicationId": "1", "DelaySeconds": 3 });
    let blank = json!({ "MessageGroupId": "g g", "MessageDeduplicationId": "1" });
    refuse("SendMessage", message(&url, json!({})), "MissingRequiredParameterException", "MessageGroupId");
    refuse("SendMessage", message(&url, group()), "InvalidParameterValueException", "ContentBasedDeduplication");
    refuse("SendMessage", message(&url, late), "InvalidParameterValueException", "DelaySeconds");
    refuse("SendMessage", message(&url, blank), "InvalidParameterValueException", "1 to 128");
    let id = json!({ "MessageDeduplicationId": "1" });
    refuse("SendMessage", message(&standard, id), "InvalidParameterValueException", "MessageDeduplicationId");
    sqs(&server, "SendMessage", message(&standard, group()));
    let entry = |id: &str, more: Value| {
        let mut entry = message("", more);
        entry["Id"] = id.into();
        entry
    };
    let whole = || json!({ "MessageGroupId": "g", "MessageDeduplicationId": "1" });
    let batch = |entries: [Value; 2]| json!({ "QueueUrl": url, "Entries": entries });
    let lacks_group = batch([entry("good", whole()), entry("bad", json!({}))]);
    refuse("SendMessageBatch", lacks_group, "MissingRequiredParameterException", "MessageGroupId");
    let lacks_id = batch([entry("good", whole()), entry("bad", group())]);
    refuse("SendMessageBatch", lacks_id, "InvalidParameterValueException", "ContentBasedDeduplication");
    let late = json!({ "MessageGroupId": "g", "MessageDeduplicationId": "2", "DelaySeconds": 3 });
    let sent = sqs(&server, "SendMessageBatch", batch([entry("good", whole()), entry("bad", late)]));
    assert_eq!((&sent["Successful"][0]["Id"], &sent["Failed"][0]["Id"]), (&json!("good"), &json!("bad")));
}

#[test]
fn a_rule_fills_a_fifo_queue_in_order_in_the_group_that_its_target_names() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (url, arn) = fifo(&server, "sold.fifo", false);
    events(&server, "PutRule", json!({ "Name": "sold", "EventPattern": r#"{"source":["shop"]}"# }));
    let target = json!({ "Id": "q", "Arn": arn, "InputPath": "$.detail.unit",
                         "SqsParameters": { "MessageGroupId": "units" } });
    events(&server, "PutTargets", json!({ "Rule": "sold", "Targets": [target] }));
    let entry =
        |unit: u32| json!({ "Source": "shop", "DetailType": "sold", "Detail": json!({ "unit": unit }).to_string() });
    for units in [[1, 2, 2], [3, 4, 5]] {
        events(&server, "PutEvents", json!({ "Entries": units.map(entry) }));
    }
    let mut received: Vec<String> = Vec::new();
    while received.len() < 6 {
        let taken = take(&server, &url, 10);
        assert!(!taken.is_empty(), "after {received:?}");
        for message in taken {
            assert_eq!(message["Attributes"]["MessageGroupId"], "units");
            received.push(message["Body"].as_str().unwrap().to_owned());
            sqs(&server, "DeleteMessage", json!({ "QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"] }));
        }
    }
    assert_eq!(received, ["1", "2", "2", "3", "4", "5"], "two events with one body are two messages");
}

#[test]
fn a_handle_ends_with_its_receipt_groups_take_turns_and_messages_have_the_delay_of_their_queue() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (url, _) = fifo(&server, "turns.fifo", true);
    for (group, body) in [("a", "a1"), ("a", "a2"), ("b", "b1")] {
        send(&server, &url, group, body);
    }
    let hidden = |seconds: u32| json!({ "QueueUrl": url, "VisibilityTimeout": seconds, "WaitTimeSeconds": 5 });
    let first = sqs(&server, "ReceiveMessage", hidden(1))["Messages"][0].clone();
    let handle = first["ReceiptHandle"].as_str().unwrap().to_owned();
    assert_eq!(first["Body"], "a1");
    let next = sqs(&server, "ReceiveMessage", hidden(30))["Messages"][0].clone();
    assert_eq!(next["Body"], "b1");
    let again = sqs(&server, "ReceiveMessage", hidden(30))["Messages"][0].clone();
    assert_eq!(again["Body"], "a1", "after a second");
    let delete = json!({ "QueueUrl": url, "ReceiptHandle": handle });
    let (said, why) = refused(&server, "AmazonSQS.DeleteMessage", delete);
    assert_eq!(said, "com.amazon.coral.service#InvalidParameterValueException");
    let expected =
        format!("Value {handle} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.");
    assert_eq!(why, expected);
    let visible = json!({ "QueueUrl": url, "ReceiptHandle": again["ReceiptHandle"], "VisibilityTimeout": 0 });
    send(&server, &url, "c", "c1");
    sqs(&server, "ChangeMessageVisibility", visible);
    assert_eq!(bodies(&take(&server, &url, 1)), ["c1"], "the group that was with a receiver comes last");
    assert_eq!(bodies(&take(&server, &url, 1)), ["a1"]);

    let delayed = json!({ "QueueUrl": url, "Attributes": { "DelaySeconds": "900" } });
    sqs(&server, "SetQueueAttributes", delayed);
    let now = json!({ "QueueUrl": url, "MessageBody": "late", "MessageGroupId": "d", "DelaySeconds": 0 });
    sqs(&server, "SendMessage", now);
    let all = json!({ "QueueUrl": url, "AttributeNames": ["ApproximateNumberOfMessagesDelayed"] });
    let counts = sqs(&server, "GetQueueAttributes", all);
    assert_eq!(counts["Attributes"]["ApproximateNumberOfMessagesDelayed"], "1");
}

#[test]
fn content_is_known_by_its_sha_256() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (url, _) = fifo(&server, "content.fifo", true);
    let first = send(&server, &url, "a", "test");
    let id = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let same =
        json!({ "QueueUrl": url, "MessageBody": "other", "MessageGroupId": "b", "MessageDeduplicationId": id });
    assert_eq!(sqs(&server, "SendMessage", same)["MessageId"], first["MessageId"]);
    assert_eq!(take(&server, &url, 10)[0]["Attributes"]["MessageDeduplicationId"], id);
}

#[test]
fn a_receive_whose_answer_was_lost_is_repeated_with_the_id_of_its_attempt() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (url, _) = fifo(&server, "again.fifo", true);
    send(&server, &url, "ana", "a");
    let ask = |id: &str| {
        let request = json!({ "QueueUrl": url, "ReceiveRequestAttemptId": id });
        sqs(&server, "ReceiveMessage", request)["Messages"].clone()
    };
    let first = ask("A");
    assert_eq!(bodies(first.as_array().unwrap()), ["a"]);
    assert_eq!(ask("A"), first);
    assert_eq!(ask("B"), Value::Null);
    sqs(&server, "DeleteMessage", json!({ "QueueUrl": url, "ReceiptHandle": first[0]["ReceiptHandle"] }));
    assert_eq!(ask("A"), Value::Null);
}
