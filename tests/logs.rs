//! Log groups: a catch-all rule writes into one; CloudWatch clients read it; `fakemon log --rule` shows the same.

use crate::aws::{PATIENCE, call, events, refused};
use crate::server::{Server, answer, fresh_data, refusal};
use serde_json::{Value, json};
use std::time::Instant;

fn logs(server: &Server, operation: &str, request: Value) -> Value {
    let (status, answer) = call(server, &format!("Logs_20140328.{operation}"), &request);
    assert_eq!(status, 200, "{operation}: {answer}");
    answer
}

fn put_sold(server: &Server, unit: u64) {
    let detail = json!({ "unit": unit, "shop": if unit.is_multiple_of(2) { "north" } else { "south" } }).to_string();
    let entry = json!({ "Source": "shop", "DetailType": "sold", "Detail": detail });
    assert_eq!(events(server, "PutEvents", json!({ "Entries": [entry] }))["FailedEntryCount"], 0);
}

fn units(lines: &Value) -> Vec<u64> {
    let unit = |line: &Value| {
        let event: Value = serde_json::from_str(line["message"].as_str().unwrap()).unwrap();
        event["detail"]["unit"].as_u64().unwrap()
    };
    lines["events"].as_array().unwrap().iter().map(unit).collect()
}

#[test]
fn a_catch_all_rule_writes_into_a_log_group_that_can_be_read_filtered_and_paged() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    logs(&server, "CreateLogGroup", json!({ "logGroupName": "/fakemon/all", "tags": { "team": "red" } }));
    let group =
        logs(&server, "DescribeLogGroups", json!({ "logGroupNamePrefix": "/fakemon" }))["logGroups"][0].clone();
    let arn = group["arn"].as_str().unwrap();
    events(&server, "PutRule", json!({ "Name": "all", "EventPattern": "{\"source\":[{\"prefix\":\"\"}]}" }));
    events(&server, "PutTargets", json!({ "Rule": "all", "Targets": [{ "Id": "log", "Arn": arn }] }));
    (0..10).for_each(|unit| put_sold(&server, unit));

    let all = json!({ "logGroupName": "/fakemon/all", "filterPattern": "{ $.source = \"shop\" }" });
    let end = Instant::now() + PATIENCE;
    while units(&logs(&server, "FilterLogEvents", all.clone())).len() < 10 {
        assert!(Instant::now() < end);
    }
    let filter = |pattern: &str, limit: u64, token: Option<&Value>| {
        logs(
            &server,
            "FilterLogEvents",
            json!({ "logGroupName": "/fakemon/all", "filterPattern": pattern,
                                                 "limit": limit, "nextToken": token }),
        )
    };
    let first = filter("{ $.detail.shop = \"north\" && $.detail.unit > 1 }", 2, None);
    assert_eq!(units(&first), [2, 4]);
    assert_eq!(first["events"][0]["logStreamName"], "default/all");
    let second = filter("{ $.detail.shop = \"north\" && $.detail.unit > 1 }", 10, Some(&first["nextToken"]));
    assert_eq!((units(&second), &second["nextToken"]), (vec![6, 8], &Value::Null));
    assert_eq!(units(&filter("sold south -north", 10, None)), [1, 3, 5, 7, 9]);

    let read = json!({ "logGroupName": "/fakemon/all", "logStreamName": "default/all", "limit": 3 });
    let last = logs(&server, "GetLogEvents", read);
    assert_eq!(units(&last), [7, 8, 9], "the newest, in their order");
    let before = json!({ "logGroupName": "/fakemon/all", "logStreamName": "default/all", "limit": 3,
                         "nextToken": last["nextBackwardToken"] });
    assert_eq!(units(&logs(&server, "GetLogEvents", before)), [4, 5, 6]);
    put_sold(&server, 10);
    let tail = json!({ "logGroupName": "/fakemon/all", "logStreamName": "default/all",
                       "nextToken": last["nextForwardToken"] });
    while units(&logs(&server, "GetLogEvents", tail.clone())) != [10] {
        assert!(Instant::now() < end);
    }

    let shown = answer(&["log", "--data", data.path().to_str().unwrap(), "--rule", "default/all"]);
    let shown: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sold = shown.iter().filter(|event| event["source"] == "shop").map(|event| event["detail"]["unit"].as_u64());
    assert_eq!(sold.collect::<Vec<_>>(), (0..=10).map(Some).collect::<Vec<_>>());
    let (_, why) = refusal(&["log", "--data", data.path().to_str().unwrap(), "--rule", "nothing"]);
    assert!(why.contains("the bus fakemon has no rule nothing"), "{why}");
}

#[test]
fn lines_can_be_put_and_what_is_wrong_is_said_in_the_words_of_the_service() {
    let data = fresh_data();
    let mut server = Server::start(data.path(), &[]);
    logs(&server, "CreateLogGroup", json!({ "logGroupName": "app" }));
    logs(&server, "CreateLogStream", json!({ "logGroupName": "app", "logStreamName": "one" }));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let put = |lines: Value| json!({ "logGroupName": "app", "logStreamName": "one", "logEvents": lines });
    let old = now - 30 * 86_400_000;
    let lines = json!([{ "timestamp": old, "message": "old" }, { "timestamp": now, "message": "new" }]);
    let answer = logs(&server, "PutLogEvents", put(lines));
    assert_eq!(answer["rejectedLogEventsInfo"]["tooOldLogEventEndIndex"], 1);
    server.kill();
    server = Server::start(data.path(), &[]);
    let read = json!({ "logGroupName": "app", "logStreamName": "one", "startFromHead": true });
    assert_eq!(logs(&server, "GetLogEvents", read.clone())["events"][0]["message"], "new");
    for (operation, request, code, message) in [
        (
            "CreateLogGroup",
            json!({ "logGroupName": "app" }),
            "ResourceAlreadyExistsException",
            "The specified log group already exists",
        ),
        (
            "CreateLogGroup",
            json!({ "logGroupName": "a b" }),
            "InvalidParameterException",
            "regular expression pattern",
        ),
        (
            "CreateLogStream",
            json!({ "logGroupName": "app", "logStreamName": "one" }),
            "ResourceAlreadyExistsException",
            "The specified log stream already exists",
        ),
        (
            "GetLogEvents",
            json!({ "logGroupName": "none", "logStreamName": "one" }),
            "ResourceNotFoundException",
            "The specified log group does not exist.",
        ),
        (
            "GetLogEvents",
            json!({ "logGroupName": "app", "logStreamName": "none" }),
            "ResourceNotFoundException",
            "The specified log stream does not exist.",
        ),
        (
            "PutLogEvents",
            put(json!([{ "timestamp": now, "message": "b" }, { "timestamp": now - 1, "message": "a" }])),
            "InvalidParameterException",
            "chronological order",
        ),
        ("PutLogEvents", put(json!([])), "InvalidParameterException", "logEvents"),
        (
            "PutRetentionPolicy",
            json!({ "logGroupName": "app", "retentionInDays": 2 }),
            "InvalidParameterException",
            "retentionInDays is one of",
        ),
        (
            "FilterLogEvents",
            json!({ "logGroupName": "app", "filterPattern": "{ $.a" }),
            "InvalidParameterException",
            "} is missing",
        ),
        (
            "FilterLogEvents",
            json!({ "logGroupName": "app", "nextToken": "x" }),
            "InvalidParameterException",
            "The specified nextToken is invalid.",
        ),
    ] {
        let (found, said) = refused(&server, &format!("Logs_20140328.{operation}"), request);
        assert!(found.ends_with(code) && said.contains(message), "{operation}: {found} {said}");
    }
    logs(&server, "PutRetentionPolicy", json!({ "logGroupName": "app", "retentionInDays": 7 }));
    assert_eq!(logs(&server, "DescribeLogGroups", json!({}))["logGroups"][0]["retentionInDays"], 7);
    logs(&server, "DeleteLogGroup", json!({ "logGroupName": "app" }));
    logs(&server, "CreateLogGroup", json!({ "logGroupName": "app" }));
    assert_eq!(logs(&server, "DescribeLogStreams", json!({ "logGroupName": "app" }))["logStreams"], json!([]));
}
