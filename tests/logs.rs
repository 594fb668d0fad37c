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
    let answer = logs(&server, "PutLogEvents", put(json!([{ "timestamp": old, "message": "old" }])));
    logs(&server, "PutLogEvents", put(json!([{ "timestamp": now, "message": "new" }])));
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

/// A group with streams and lines: time, stream and text of each.
fn group(server: &Server, name: &str, lines: &[(u64, &str, &str)]) {
    logs(server, "CreateLogGroup", json!({ "logGroupName": name }));
    for (at, stream, message) in lines {
        let stream = json!({ "logGroupName": name, "logStreamName": stream });
        call(server, "Logs_20140328.CreateLogStream", &stream);
        let mut put = stream;
        put["logEvents"] = json!([{ "timestamp": at, "message": message }]);
        logs(server, "PutLogEvents", put);
    }
}

fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap()
}

#[test]
fn streams_are_listed_by_name_or_by_their_last_line() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let now = now_ms();
    group(&server, "g", &[(now - 10, "a", "1"), (now, "b", "2"), (now - 20, "c", "3"), (now - 5, "a", "4")]);
    logs(&server, "CreateLogStream", json!({ "logGroupName": "g", "logStreamName": "empty" }));
    let listed = |server: &Server, more: Value| {
        let mut request = json!({ "logGroupName": "g" });
        request.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        logs(server, "DescribeLogStreams", request)
    };
    let names = |listed: &Value| -> Vec<String> {
        let streams = listed["logStreams"].as_array().unwrap().iter();
        streams.map(|stream| stream["logStreamName"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&listed(&server, json!({}))), ["a", "b", "c", "empty"]);
    let newest = listed(&server, json!({ "orderBy": "LastEventTime", "descending": true, "limit": 2 }));
    assert_eq!(names(&newest), ["b", "a"]);
    let a = &newest["logStreams"][1];
    assert_eq!((&a["firstEventTimestamp"], &a["lastEventTimestamp"]), (&json!(now - 10), &json!(now - 5)));
    assert!(a["lastIngestionTime"].as_u64().unwrap() >= now, "{a}");
    let more = json!({ "orderBy": "LastEventTime", "descending": true, "nextToken": newest["nextToken"] });
    assert_eq!(names(&listed(&server, more)), ["c", "empty"]);
    server.kill();
    let server = Server::start(data.path(), &[]);
    assert_eq!(names(&listed(&server, json!({ "orderBy": "LastEventTime" }))), ["empty", "c", "a", "b"]);
    for (more, says) in [
        (json!({ "orderBy": "LastEventTime", "logStreamNamePrefix": "a" }), "Cannot order by LastEventTime"),
        (json!({ "orderBy": "Size" }), "Member must satisfy enum value set: [LogStreamName, LastEventTime]"),
        (json!({ "limit": 51 }), "Value '51' at 'limit' failed to satisfy constraint: Member must have value less"),
        (json!({ "nextToken": "x" }), "The specified nextToken is invalid."),
    ] {
        let mut request = json!({ "logGroupName": "g" });
        request.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        let (code, said) = refused(&server, "Logs_20140328.DescribeLogStreams", request);
        assert!(code == "InvalidParameterException" && said.contains(says), "{more}: {code} {said}");
    }
}

#[test]
fn what_is_wrong_with_members_has_the_services_own_code() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    group(&server, "g", &[(now_ms(), "s", "x")]);
    let long = "a".repeat(513);
    let arn = "arn:aws:logs:local:123456789012:log-group:g";
    let both = json!({ "logGroupName": "g", "logGroupIdentifier": "g", "logStreamName": "s" });
    let starred = json!({ "logGroupIdentifier": format!("{arn}:*"), "logStreamName": "s" });
    for (operation, request, says) in [
        (
            "GetLogEvents",
            json!({ "logGroupName": "g", "logStreamName": "s", "limit": 10_001 }),
            "less than or equal to 10000",
        ),
        ("FilterLogEvents", json!({ "logGroupName": "g", "limit": 10_001 }), "Value '10001' at 'limit'"),
        ("DescribeLogGroups", json!({ "limit": 51 }), "less than or equal to 50"),
        ("DescribeLogGroups", json!({ "logGroupNamePrefix": "a", "logGroupNamePattern": "a" }), "mutually exclusive"),
        ("CreateLogGroup", json!({ "logGroupName": long }), "Member must have length less than or equal to 512"),
        ("CreateLogStream", json!({ "logGroupName": "g", "logStreamName": long }), "less than or equal to 512"),
        ("CreateLogStream", json!({ "logGroupName": "g", "logStreamName": "a:b" }), "regular expression pattern"),
        ("GetLogEvents", both, "LogGroup name and LogGroup identifier are mutually exclusive parameters."),
        ("GetLogEvents", starred, "[\\w#+=/:,.@-]*"),
        ("PutResourcePolicy", json!({ "policyName": "p", "policyDocument": "{" }), "must be JSON"),
    ] {
        let (code, said) = refused(&server, &format!("Logs_20140328.{operation}"), request);
        assert!(code == "InvalidParameterException" && said.contains(says), "{operation}: {code} {said}");
    }
    let by_arn = json!({ "logGroupIdentifier": arn, "logStreamName": "s" });
    assert_eq!(logs(&server, "GetLogEvents", by_arn)["events"][0]["message"], "x");
}

#[test]
fn keys_classes_and_policies_are_kept_and_given_back() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let key = "arn:aws:kms:us-east-1:123456789012:key/k";
    let group = json!({ "logGroupName": "g", "kmsKeyId": key, "logGroupClass": "INFREQUENT_ACCESS" });
    logs(&server, "CreateLogGroup", group);
    logs(&server, "CreateLogGroup", json!({ "logGroupName": "h" }));
    logs(&server, "AssociateKmsKey", json!({ "logGroupName": "h", "kmsKeyId": key }));
    let policy = json!({ "policyName": "p", "policyDocument": "{\"Statement\":[]}" });
    assert_eq!(logs(&server, "PutResourcePolicy", policy)["resourcePolicy"]["policyName"], "p");
    server.kill();
    let server = Server::start(data.path(), &[]);
    let groups = logs(&server, "DescribeLogGroups", json!({}))["logGroups"].clone();
    assert_eq!((&groups[0]["kmsKeyId"], &groups[1]["kmsKeyId"]), (&json!(key), &json!(key)));
    let listed = logs(&server, "ListLogGroups", json!({ "limit": 1 }));
    let arn = "arn:aws:logs:local:123456789012:log-group:g";
    let shown = json!([{ "logGroupName": "g", "logGroupArn": arn, "logGroupClass": "INFREQUENT_ACCESS" }]);
    assert_eq!(listed["logGroups"], shown);
    let next = json!({ "nextToken": listed["nextToken"], "logGroupNamePattern": "H" });
    assert_eq!(logs(&server, "ListLogGroups", next)["logGroups"][0]["logGroupName"], "h");
    logs(&server, "DisassociateKmsKey", json!({ "logGroupName": "h" }));
    assert_eq!(logs(&server, "DescribeLogGroups", json!({}))["logGroups"][1]["kmsKeyId"], Value::Null);
    let held = logs(&server, "DescribeResourcePolicies", json!({}))["resourcePolicies"].clone();
    assert_eq!((&held[0]["policyDocument"], held.as_array().unwrap().len()), (&json!("{\"Statement\":[]}"), 1));
    for number in 1..10 {
        logs(&server, "PutResourcePolicy", json!({ "policyName": format!("p{number}"), "policyDocument": "{}" }));
    }
    let more = json!({ "policyName": "more", "policyDocument": "{}" });
    assert_eq!(refused(&server, "Logs_20140328.PutResourcePolicy", more).0, "LimitExceededException");
    logs(&server, "DeleteResourcePolicy", json!({ "policyName": "p" }));
    let (code, said) = refused(&server, "Logs_20140328.DeleteResourcePolicy", json!({ "policyName": "p" }));
    assert_eq!((code.as_str(), said.as_str()), ("ResourceNotFoundException", "Policy with name [p] does not exist"));
}

#[test]
fn a_query_selects_sorts_and_bounds_lines() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let now = now_ms();
    let line = |unit: u64| json!({ "unit": unit, "detail": { "shop": if unit == 3 { "south" } else { "north" } } });
    let texts: Vec<String> = (0..5).map(|unit| line(unit).to_string()).collect();
    let lines: Vec<(u64, &str, &str)> =
        (0..5).map(|unit| (now - 5_000 + unit * 1_000, "s", texts[unit as usize].as_str())).collect();
    group(&server, "g", &lines);
    let ask = |query: &str| {
        let request = json!({ "logGroupName": "g", "startTime": (now - 60_000) / 1_000, "endTime": now / 1_000 + 1,
                              "queryString": query });
        let id = logs(&server, "StartQuery", request)["queryId"].clone();
        logs(&server, "GetQueryResults", json!({ "queryId": id }))
    };
    let column = |answer: &Value, name: &str| -> Vec<String> {
        let of_row = |row: &Value| {
            let cells = row.as_array().unwrap().iter();
            cells.filter(|cell| cell["field"] == name).map(|cell| cell["value"].as_str().unwrap().to_owned()).next()
        };
        answer["results"].as_array().unwrap().iter().filter_map(of_row).collect()
    };
    let all = ask("fields @message");
    assert_eq!((&all["status"], &all["statistics"]["recordsMatched"]), (&json!("Complete"), &json!(5)));
    assert_eq!(column(&all, "@message"), texts.iter().rev().cloned().collect::<Vec<_>>(), "the newest first");
    assert!(column(&all, "@ptr").len() == 5 && column(&all, "@timestamp").is_empty());
    let some =
        ask("fields unit, detail.shop as shop | filter shop = \"north\" and unit > 0 | sort unit asc | limit 2");
    assert_eq!(
        (column(&some, "unit"), column(&some, "shop")),
        (vec!["1".into(), "2".into()], vec!["north".to_owned(); 2])
    );
    assert_eq!(column(&ask("fields @logStream | filter @message like /\"unit\":[34]/"), "@logStream"), ["s", "s"]);
    let request = |query: &str, group: &str| json!({ "logGroupName": group, "startTime": 0, "endTime": 1, "queryString": query });
    for (request, code) in [
        (request("stats count(*)", "g"), "MalformedQueryException"),
        (request("fields @message", "none"), "ResourceNotFoundException"),
        (json!({ "startTime": 0, "endTime": 1, "queryString": "fields a" }), "InvalidParameterException"),
    ] {
        assert_eq!(refused(&server, "Logs_20140328.StartQuery", request).0, code);
    }
    let unknown = refused(&server, "Logs_20140328.GetQueryResults", json!({ "queryId": "none" }));
    assert_eq!(unknown.0, "ResourceNotFoundException");
    assert_eq!(
        logs(&server, "DescribeQueries", json!({ "logGroupName": "g" }))["queries"].as_array().unwrap().len(),
        3
    );
}

#[test]
fn patterns_know_regular_expressions_escapes_and_words_of_which_one_is_enough() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let now = now_ms();
    let lines = ["{\"t\":\"a Trail\"}", "say \"hi\" to ERROR", "REQUEST", "ERROR in REQUEST"];
    let lines: Vec<(u64, &str, &str)> = lines.into_iter().map(|line| (now, "s", line)).collect();
    group(&server, "g", &lines);
    for (pattern, expected) in [
        ("{ $.t = %Trail% }", &[0][..]),
        ("\"say \\\"hi\\\"\"", &[1]),
        ("?ERROR ?x REQUEST", &[2, 3]),
        ("?ERROR ?REQUEST", &[1, 2, 3]),
        ("%^(say|ERR)%", &[1, 3]),
    ] {
        let found = logs(&server, "FilterLogEvents", json!({ "logGroupName": "g", "filterPattern": pattern }));
        let found: Vec<&str> =
            found["events"].as_array().unwrap().iter().map(|e| e["message"].as_str().unwrap()).collect();
        assert_eq!(found, expected.iter().map(|index: &usize| lines[*index].2).collect::<Vec<_>>(), "{pattern}");
    }
}

#[test]
fn json_of_any_number_and_depth_is_found_and_shown_as_it_was_written() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let now = now_ms();
    let deep = format!(r#"{{"k":"v","a":{}1{}}}"#, r#"{"a":"#.repeat(252), "}".repeat(252));
    let exact = r#"{"k":"v","p":1.10,"e":1e2,"b":12345678901234567890123,"o":{"z": 1.0, "a":[1e400]}}"#;
    let lines = [r#"{"k":"v","h":1e400}"#, deep.as_str(), exact];
    group(&server, "g", &lines.map(|line| (now, "s", line)));
    let wanted = json!({ "logGroupName": "g", "filterPattern": "{ $.k = \"v\" }" });
    let found = logs(&server, "FilterLogEvents", wanted);
    let found: Vec<&str> =
        found["events"].as_array().unwrap().iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(found, lines);
    let query = "filter k = \"v\" | fields p, e, b, o, o.a.0 as first, h";
    let request = json!({ "logGroupName": "g", "startTime": (now - 60_000) / 1_000, "endTime": now / 1_000 + 1,
                          "queryString": query });
    let id = logs(&server, "StartQuery", request)["queryId"].clone();
    let answer = logs(&server, "GetQueryResults", json!({ "queryId": id }));
    let rows = answer["results"].as_array().unwrap();
    let shown = |row: &Value| -> Vec<String> {
        let cells = row.as_array().unwrap().iter().filter(|cell| cell["field"] != "@ptr");
        cells.map(|cell| format!("{}={}", cell["field"].as_str().unwrap(), cell["value"].as_str().unwrap())).collect()
    };
    let mut rows: Vec<Vec<String>> = rows.iter().map(shown).collect();
    rows.sort();
    assert_eq!(rows[0], Vec::<String>::new(), "the deep one has none of these fields");
    assert_eq!(rows[1], ["h=1e400"]);
    let exact = ["p=1.10", "e=1e2", "b=12345678901234567890123", r#"o={"z":1.0,"a":[1e400]}"#, "first=1e400"];
    assert_eq!(rows[2], exact);
}

#[test]
fn batches_and_names_of_streams_are_held_to_the_services_bounds() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let now = now_ms();
    group(&server, "g", &[(now, "s", "x")]);
    let put = |lines: &[(u64, usize)]| {
        let lines = lines.iter().map(|(at, bytes)| json!({ "timestamp": at, "message": "m".repeat(*bytes) }));
        json!({ "logGroupName": "g", "logStreamName": "s", "logEvents": lines.collect::<Vec<_>>() })
    };
    let fits = (1 << 19) - 26;
    let day = 24 * 3_600_000;
    logs(&server, "PutLogEvents", put(&[(now, fits), (now, fits)]));
    logs(&server, "PutLogEvents", put(&[(now - day, 1), (now, 1)]));
    for (request, says) in [
        (put(&[(now, 600_000), (now, 600_000)]), "Upload too large: 1200052 bytes exceeds limit of 1048576"),
        (put(&[(now, fits), (now, fits + 1)]), "Upload too large: 1048577 bytes"),
        (put(&[(now - day - 1, 1), (now, 1)]), "cannot span more than 24 hours"),
    ] {
        let (code, said) = refused(&server, "Logs_20140328.PutLogEvents", request);
        assert!(code == "InvalidParameterException" && said.contains(says), "{says}: {code} {said}");
    }
    for names in [json!(["zz"]), json!(["s", "zz"])] {
        let request = json!({ "logGroupName": "g", "logStreamNames": names });
        assert_eq!(refused(&server, "Logs_20140328.FilterLogEvents", request).0, "ResourceNotFoundException");
    }
    let known = json!({ "logGroupName": "g", "logStreamNames": ["s"], "filterPattern": "x" });
    assert_eq!(logs(&server, "FilterLogEvents", known)["events"].as_array().unwrap().len(), 1);
    let prefix = json!({ "logGroupName": "g", "logStreamNamePrefix": "zz" });
    assert_eq!(logs(&server, "FilterLogEvents", prefix)["events"], json!([]));
}
