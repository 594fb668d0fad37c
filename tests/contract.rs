//! The AWS API in detail: checks and their messages, shapes of answers, what an update keeps.

use crate::aws::{PATIENCE, call, events, queue, receive, refused, sqs};
use crate::pipes::rest;
use crate::server::{Server, fresh_data};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

const BUS: &str = "arn:aws:events:local:123456789012:event-bus/default";

/// Requests that are refused, each with its code and its message.
fn refuse(server: &Server, operation: &str, cases: &[(Value, &str, &str)]) {
    for (request, code, message) in cases {
        let (said, why) = refused(server, &format!("AWSEvents.{operation}"), request.clone());
        assert_eq!((said.as_str(), why.as_str()), (*code, *message), "{operation}: {request}");
    }
}

fn rule(server: &Server, name: &str) {
    events(server, "PutRule", json!({ "Name": name, "EventPattern": r#"{"source":["shop"]}"# }));
}

#[test]
fn a_policy_is_made_of_statements_that_come_and_go_by_their_ids() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let statement =
        |id: &str, who: &str| json!({ "StatementId": id, "Principal": who, "Action": "events:PutEvents" });
    for (id, who) in [("all", "*"), ("one", "210987654321"), ("all", "111122223333")] {
        events(&server, "PutPermission", statement(id, who));
    }
    let described = events(&server, "DescribeEventBus", json!({}));
    let policy: Value = serde_json::from_str(described["Policy"].as_str().unwrap()).unwrap();
    let of = |number: usize| (&policy["Statement"][number]["Sid"], &policy["Statement"][number]["Principal"]["AWS"]);
    assert_eq!(of(0), (&json!("one"), &json!("arn:aws:iam::210987654321:root")));
    assert_eq!(of(1), (&json!("all"), &json!("arn:aws:iam::111122223333:root")));
    assert_eq!(policy["Statement"][0]["Resource"], BUS);
    events(&server, "RemovePermission", json!({ "StatementId": "one" }));
    let unknown = "Statement with the provided id does not exist.";
    refuse(&server, "RemovePermission", &[(json!({ "StatementId": "one" }), "ResourceNotFoundException", unknown)]);
    events(&server, "RemovePermission", json!({ "RemoveAllPermissions": true }));
    assert_eq!(events(&server, "DescribeEventBus", json!({}))["Policy"], Value::Null);
    let none = "EventBus does not have a policy.";
    refuse(&server, "RemovePermission", &[(json!({ "StatementId": "one" }), "ResourceNotFoundException", none)]);
    let pattern = r"Value 'you' at 'principal' failed to satisfy constraint: Member must satisfy regular expression pattern: (\d{12}|\*)";
    let wrong = format!("1 validation error detected: {pattern}");
    let action = "Provided value in parameter 'action' is not supported.";
    let other = json!({ "StatementId": "a", "Principal": "*", "Action": "events:PutRule" });
    let cases = [
        (statement("a", "you"), "ValidationException", wrong.as_str()),
        (other, "ValidationException", action),
        (json!({ "Policy": "{" }), "ValidationException", "This policy contains invalid Json"),
    ];
    refuse(&server, "PutPermission", &cases);
}

#[test]
fn a_bus_with_rules_stays_and_what_one_node_cannot_be_is_said() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    events(&server, "CreateEventBus", json!({ "Name": "shop" }));
    events(&server, "PutRule", json!({ "Name": "r", "EventBusName": "shop", "EventPattern": r#"{"source":["x"]}"# }));
    let held = "EventBus can't be deleted since it has rules.";
    refuse(&server, "DeleteEventBus", &[(json!({ "Name": "shop" }), "ValidationException", held)]);
    events(&server, "DeleteRule", json!({ "Name": "r", "EventBusName": "shop" }));
    events(&server, "DeleteEventBus", json!({ "Name": "shop" }));
    events(&server, "DeleteEventBus", json!({ "Name": "shop" })); // deleting twice succeeds
    let slash = "Event bus name must not contain '/'.";
    refuse(&server, "CreateEventBus", &[(json!({ "Name": "a/b" }), "ValidationException", slash)]);
    let source = json!({ "Name": "aws.partner/x", "EventSourceName": "aws.partner/x" });
    let unknown = "Event source aws.partner/x does not exist.";
    refuse(&server, "CreateEventBus", &[(source, "ResourceNotFoundException", unknown)]);
    let missing = "Endpoint 'e' does not exist.";
    for operation in ["DescribeEndpoint", "UpdateEndpoint", "DeleteEndpoint"] {
        refuse(&server, operation, &[(json!({ "Name": "e" }), "ResourceNotFoundException", missing)]);
    }
    let (status, told) = call(&server, "AWSEvents.CreateEndpoint", &json!({ "Name": "e" }));
    let why = told["message"].as_str().unwrap();
    assert_eq!((status, &told["__type"]), (501, &json!("NotImplemented")));
    assert!(why.contains("CreateEndpoint of Amazon EventBridge") && why.contains("one node"), "{why}");
    assert_eq!(events(&server, "ListEndpoints", json!({}))["Endpoints"], json!([]));
    assert_eq!(events(&server, "ListEventSources", json!({}))["EventSources"], json!([]));
}

#[test]
fn schedules_have_six_fields_within_their_bounds() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let request = |schedule: &str| json!({ "Name": "tick", "ScheduleExpression": schedule });
    for schedule in [
        "rate(1 hour)",
        "rate(7 days)",
        "cron(0/20 6-22 ? * TUE-SAT *)",
        "cron(30 4 L * ? *)",
        "cron(0 9 15W JAN,jul ? 2030-2035)",
        "cron(59 23 ? 12 FRI#2 *)",
        "cron(0 0 ? * 5L *)",
    ] {
        events(&server, "PutRule", request(schedule));
    }
    for schedule in [
        "rate(1 hours)",
        "rate(0 days)",
        "cron(60 1 * * ? *)",
        "cron(0 24 * * ? *)",
        "cron(0 1 32 * ? *)",
        "cron(0 1 * * * *)",
        "cron(0 1 ? * ? *)",
        "cron(0 1 ? * DAY *)",
        "cron(0 1 * 13 ? *)",
        "cron(0 1 ? * MON#6 *)",
        "cron(0 1 * * ?)",
        "cron(0/0 1 * * ? *)",
    ] {
        let wrong = "Parameter ScheduleExpression is not valid.";
        refuse(&server, "PutRule", &[(request(schedule), "ValidationException", wrong)]);
    }
}

#[test]
fn targets_are_checked_member_by_member() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    rule(&server, "r");
    let arn = "arn:aws:sqs:local:123456789012:q";
    let target = |more: Value| {
        let mut target = json!({ "Id": "t", "Arn": arn });
        target.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "Rule": "r", "Targets": [target] })
    };
    let template = |text: &str| {
        let paths = json!({ "unit": "$.detail.unit" });
        target(json!({ "InputTransformer": { "InputPathsMap": paths, "InputTemplate": text } }))
    };
    let bounds = |what: &str| format!("1 validation error detected: Value {what}");
    let at = "at 'targets.1.member";
    let empty =
        bounds("'[]' at 'targets' failed to satisfy constraint: Member must have length greater than or equal to 1");
    let attempts = bounds(&format!(
        "'186' {at}.retryPolicy.maximumRetryAttempts' failed to satisfy constraint: Member must have value less than or equal to 185"
    ));
    let age = bounds(&format!(
        "'59' {at}.retryPolicy.maximumEventAgeInSeconds' failed to satisfy constraint: Member must have value greater than or equal to 60"
    ));
    let no_template = bounds(&format!(
        "null {at}.inputTransformer.inputTemplate' failed to satisfy constraint: Member must not be null"
    ));
    let cases = [
        (json!({ "Rule": "r", "Targets": [] }), empty.as_str()),
        (target(json!({ "RetryPolicy": { "MaximumRetryAttempts": 186 } })), attempts.as_str()),
        (target(json!({ "RetryPolicy": { "MaximumEventAgeInSeconds": 59 } })), age.as_str()),
        (target(json!({ "InputTransformer": {} })), no_template.as_str()),
        (template(r#""<units>""#), "InputTemplate for target t contains invalid placeholder units."),
        (
            template(r#""<aws.events.event.age>""#),
            "InputTemplate for target t contains invalid placeholder aws.events.event.age.",
        ),
        (target(json!({ "InputPath": "detail" })), "Invalid InputPath for target t."),
        (target(json!({ "Input": "{" })), "JSON syntax error in input for target t."),
        (
            target(json!({ "Input": "1", "InputPath": "$.detail" })),
            "Only one of Input, InputPath, or InputTransformer must be provided for target t.",
        ),
        (target(json!({ "Arn": "q" })), "Parameter q is not valid. Reason: Provided Arn is not in correct format."),
        (
            target(json!({ "Arn": format!("{arn}.fifo") })),
            "Parameter(s) SqsParameters must be specified for target: t.",
        ),
    ];
    let cases = cases.map(|(request, message)| (request, "ValidationException", message));
    refuse(&server, "PutTargets", &cases);
    let (_, why) = refused(&server, "AWSEvents.PutTargets", template("<unit> sold"));
    assert!(why.starts_with("Invalid InputTemplate for target t"), "{why}");
    let letters = target(json!({ "DeadLetterConfig": { "Arn": format!("{arn}.fifo") } }));
    assert!(refused(&server, "AWSEvents.PutTargets", letters).1.contains("standard queue"));
    assert_eq!(events(&server, "ListTargetsByRule", json!({ "Rule": "r" }))["Targets"], json!([]));
    events(&server, "PutTargets", template(r#"{"unit":<unit>}"#));
    let removed = events(&server, "RemoveTargets", json!({ "Rule": "r", "Ids": ["t", "u"] }));
    assert_eq!((&removed["FailedEntryCount"], &removed["FailedEntries"][0]["TargetId"]), (&json!(1), &json!("u")));
}

#[test]
fn a_template_gets_values_as_they_were_written_and_one_that_fits_no_json_becomes_a_dead_letter() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (made, made_arn) = queue(&server, "made");
    let (dead, dead_arn) = queue(&server, "dead");
    rule(&server, "r");
    let target = |id: &str, template: &str| {
        let paths = json!({ "lat": "$.detail.lat", "tags": "$.detail.tags" });
        json!({ "Id": id, "Arn": made_arn, "DeadLetterConfig": { "Arn": dead_arn },
                "InputTransformer": { "InputPathsMap": paths, "InputTemplate": template } })
    };
    let good = target(
        "good",
        r#"{"lat":<lat>,"all":"<lat>","at":<aws.events.event.ingestion-time>,"rule":"<aws.events.rule-name>"}"#,
    );
    let bad = target("bad", r#"{"tags":"<tags>"}"#);
    events(&server, "PutTargets", json!({ "Rule": "r", "Targets": [good, bad] }));
    let entry = json!({ "Source": "shop", "DetailType": "sold", "Detail": r#"{"lat": 1.0, "tags": ["new"]}"#,
                        "Time": 1_000 });
    events(&server, "PutEvents", json!({ "Entries": [entry] }));
    let body = receive(&server, &made, 1)[0]["Body"].as_str().unwrap().to_owned();
    assert!(
        body.starts_with(r#"{"lat":1.0,"all":"1.0","at":"20"#),
        "{body}: the moment it came in, not the sender's"
    );
    assert!(body.ends_with(r#""rule":"r"}"#), "{body}");
    let letter = receive(&server, &dead, 1).remove(0);
    assert_eq!(letter["MessageAttributes"]["ERROR_CODE"]["StringValue"], "INVALID_JSON");
    assert!(letter["Body"].as_str().unwrap().contains(r#""tags": ["new"]"#), "{letter}");
}

#[test]
fn lists_of_archives_and_replays_take_one_filter() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let archive = json!({ "ArchiveName": "all", "EventSourceArn": BUS, "RetentionDays": 3 });
    let arn = events(&server, "CreateArchive", archive)["ArchiveArn"].clone();
    let names = |filter: Value| {
        let archives = events(&server, "ListArchives", filter)["Archives"].clone();
        archives.as_array().unwrap().iter().map(|archive| archive["ArchiveName"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(json!({ "State": "ENABLED" })), ["all"]);
    assert!(names(json!({ "State": "DISABLED" })).is_empty());
    assert_eq!(names(json!({ "EventSourceArn": BUS })), ["all"]);
    let one = |of: &str| {
        format!("At most one filter is allowed for {of}. Use either : State, EventSourceArn, or NamePrefix.")
    };
    let both = json!({ "NamePrefix": "a", "State": "ENABLED" });
    let nowhere = json!({ "EventSourceArn": BUS.replace("default", "nowhere") });
    let cases = [
        (both, "ValidationException", &*one("ListArchives")),
        (nowhere, "ResourceNotFoundException", "Event bus nowhere does not exist."),
    ];
    refuse(&server, "ListArchives", &cases);
    let both = json!({ "NamePrefix": "a", "State": "RUNNING" });
    refuse(&server, "ListReplays", &[(both, "ValidationException", &*one("ListReplays"))]);
    let replay = |from: u64, to: u64| {
        json!({ "ReplayName": "again", "EventSourceArn": arn, "EventStartTime": from, "EventEndTime": to,
                "Destination": { "Arn": BUS } })
    };
    let order = "Parameter EventEndTime is not valid. Reason: EventStartTime must be before EventEndTime.";
    let taken = "Replay again already exists.";
    events(&server, "StartReplay", replay(1, 2));
    let cases =
        [(replay(2, 2), "ValidationException", order), (replay(1, 2), "ResourceAlreadyExistsException", taken)];
    refuse(&server, "StartReplay", &cases);
}

#[test]
fn tags_are_few_and_short() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let tags = |range: std::ops::Range<u32>| -> Vec<Value> {
        range.map(|number| json!({ "Key": format!("k{number}"), "Value": "v" })).collect()
    };
    let tag = |tags: Vec<Value>| json!({ "ResourceARN": BUS, "Tags": tags });
    events(&server, "TagResource", tag(tags(0..50)));
    let (code, _) = refused(&server, "AWSEvents.TagResource", tag(tags(50..51)));
    assert_eq!(code, "LimitExceededException");
    let no_value = "1 validation error detected: Value null at 'tags.1.member.value' failed to satisfy constraint: Member must not be null";
    refuse(&server, "TagResource", &[(tag(vec![json!({ "Key": "a" })]), "ValidationException", no_value)]);
    let held = events(&server, "ListTagsForResource", json!({ "ResourceARN": BUS }));
    assert_eq!(held["Tags"].as_array().unwrap().len(), 50);
}

/// An endpoint that gives tokens, or does not.
fn token_server(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/token", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]); // the request is small
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    endpoint
}

#[test]
fn a_connection_is_authorized_once_its_endpoint_gives_a_token() {
    let data = fresh_data();
    let server = Server::start(data.path(), &["--allow-private-targets"]);
    let good =
        token_server("HTTP/1.1 200 ok\r\ncontent-length: 20\r\nconnection: close\r\n\r\n{\"access_token\":\"t\"}");
    let bad = token_server("HTTP/1.1 403 no\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let mut arn = Value::Null;
    for (name, endpoint) in [("good", &good), ("bad", &bad)] {
        let client = json!({ "ClientID": "me", "ClientSecret": "hush" });
        let oauth = json!({ "AuthorizationEndpoint": endpoint, "HttpMethod": "POST", "ClientParameters": client });
        let connection = json!({ "Name": name, "AuthorizationType": "OAUTH_CLIENT_CREDENTIALS",
                                 "AuthParameters": { "OAuthParameters": oauth } });
        let made = events(&server, "CreateConnection", connection);
        assert_eq!(made["ConnectionState"], "AUTHORIZING");
        arn = made["ConnectionArn"].clone();
    }
    let becomes = |name: &str, state: &str| {
        let end = Instant::now() + PATIENCE;
        loop {
            let connection = events(&server, "DescribeConnection", json!({ "Name": name }));
            assert!(!connection.to_string().contains("hush"));
            if connection["ConnectionState"] == state {
                return connection;
            }
            assert!(Instant::now() < end, "{connection}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    becomes("good", "AUTHORIZED");
    let why = becomes("bad", "DEAUTHORIZED")["StateReason"].clone();
    assert!(why.as_str().unwrap().contains("403"), "{why}");
    let destination = json!({ "Name": "d", "ConnectionArn": arn, "InvocationEndpoint": bad, "HttpMethod": "POST" });
    assert_eq!(events(&server, "CreateApiDestination", destination)["ApiDestinationState"], "INACTIVE");

    // An update names only what changes; but another type needs all its own parameters.
    let endpoint = json!({ "OAuthParameters": { "AuthorizationEndpoint": good } });
    let changed = events(&server, "UpdateConnection", json!({ "Name": "bad", "AuthParameters": endpoint }));
    assert_eq!(changed["ConnectionState"], "AUTHORIZING");
    becomes("bad", "AUTHORIZED");
    assert_eq!(events(&server, "DescribeApiDestination", json!({ "Name": "d" }))["ApiDestinationState"], "ACTIVE");
    let (_, why) =
        refused(&server, "AWSEvents.UpdateConnection", json!({ "Name": "bad", "AuthorizationType": "BASIC" }));
    assert!(why.contains("BasicAuthParameters.Username"), "{why}");
}

#[test]
fn connections_and_destinations_are_refused_in_the_services_words() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let missing = "1 validation error detected: Value null at 'authParameters' failed to satisfy constraint: Member must not be null";
    let connection = json!({ "Name": "c", "AuthorizationType": "BASIC" });
    refuse(&server, "CreateConnection", &[(connection, "ValidationException", missing)]);
    let destination = json!({ "Name": "d", "ConnectionArn": "arn:aws:events:local:123456789012:connection/c",
                              "InvocationEndpoint": "https://example.com", "HttpMethod": "SEND" });
    let (code, why) = refused(&server, "AWSEvents.CreateApiDestination", destination);
    assert_eq!(code, "ValidationException");
    assert!(
        why.starts_with(
            "2 validation errors detected: Value 'arn:aws:events:local:123456789012:connection/c' at 'connectionArn'"
        ),
        "{why}"
    );
    assert!(why.ends_with("[HEAD, POST, PATCH, DELETE, PUT, GET, OPTIONS]"), "{why}");
}

#[test]
fn queues_come_in_pages_and_batches_name_their_entries_once() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    for name in ["a", "b", "c"] {
        queue(&server, name);
    }
    let page = sqs(&server, "ListQueues", json!({ "MaxResults": 2 }));
    assert_eq!(page["QueueUrls"].as_array().unwrap().len(), 2);
    let rest = sqs(&server, "ListQueues", json!({ "MaxResults": 2, "NextToken": page["NextToken"] }));
    assert!(rest["QueueUrls"][0].as_str().unwrap().ends_with("/c") && rest["NextToken"].is_null(), "{rest}");
    let url = &rest["QueueUrls"][0];
    let entry = |id: &str| json!({ "Id": id, "MessageBody": "x" });
    for (entries, code) in [
        (json!([entry("1"), entry("1")]), "BatchEntryIdsNotDistinct"),
        (json!([entry("1 2")]), "InvalidBatchEntryId"),
        (json!([]), "EmptyBatchRequest"),
    ] {
        let (said, _) =
            refused(&server, "AmazonSQS.SendMessageBatch", json!({ "QueueUrl": url, "Entries": entries }));
        assert_eq!(said, format!("com.amazonaws.sqs#{code}"));
    }
    let asked = json!({ "QueueUrl": url, "AttributeNames": ["Colour"] });
    let (said, _) = refused(&server, "AmazonSQS.GetQueueAttributes", asked);
    assert_eq!(said, "com.amazonaws.sqs#InvalidAttributeName");
}

#[test]
fn bounds_of_a_replay_that_make_no_sense_end_no_other_replay() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let bus = "arn:aws:events:local:123456789012:event-bus/default";
    let archive = json!({ "ArchiveName": "all", "EventSourceArn": bus, "RetentionDays": 300_000 });
    events(&server, "CreateArchive", archive);
    let entry = json!({ "Source": "shop", "DetailType": "sold", "Detail": "{}" });
    events(&server, "PutEvents", json!({ "Entries": [entry] }));
    let start = |name: &str, description: &str| {
        json!({ "ReplayName": name, "Description": description, "EventStartTime": 0, "EventEndTime": 9_000_000_000_u64,
                "EventSourceArn": "arn:aws:events:local:123456789012:archive/all", "Destination": { "Arn": bus } })
    };
    for (name, description) in [("slow", "speed=1e-19"), ("plain", "")] {
        events(&server, "StartReplay", start(name, description));
    }
    let end = Instant::now() + PATIENCE;
    while events(&server, "DescribeReplay", json!({ "ReplayName": "plain" }))["State"] != "COMPLETED" {
        assert!(Instant::now() < end, "a replay beside one that never moves");
        std::thread::sleep(Duration::from_millis(20));
    }
    events(&server, "CancelReplay", json!({ "ReplayName": "slow" }));
    assert!(server.stop().success());
}

#[test]
fn a_list_goes_on_behind_the_last_of_its_page_whatever_was_deleted() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let names: Vec<String> = (0..7).map(|number| format!("r{number}")).collect();
    names.iter().for_each(|name| rule(&server, name));
    let (mut seen, mut token) = (Vec::new(), Value::Null);
    loop {
        let page = events(&server, "ListRules", json!({ "Limit": 2, "NextToken": token }));
        for shown in page["Rules"].as_array().unwrap() {
            seen.push(shown["Name"].as_str().unwrap().to_owned());
            events(&server, "DeleteRule", json!({ "Name": shown["Name"] }));
        }
        token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(seen, names);
    assert_eq!(events(&server, "ListRules", json!({}))["Rules"], json!([]));

    // The same of services with paths of their own.
    let schemas = "/v1/registries/name/mine/schemas";
    assert_eq!(rest(&server, "POST", "/v1/registries/name/mine", &json!({})).0, 201);
    for number in 0..5 {
        let schema = json!({ "Type": "JSONSchemaDraft4", "Content": r#"{"type":"object"}"# });
        assert_eq!(rest(&server, "POST", &format!("{schemas}/name/s{number}"), &schema).0, 201);
    }
    for number in 0..3 {
        let schema = json!({ "Type": "JSONSchemaDraft4", "Content": format!(r#"{{"title":"{number}"}}"#) });
        assert_eq!(rest(&server, "PUT", &format!("{schemas}/name/s0"), &schema).0, 200);
    }
    let versions =
        all_pages(&server, &format!("{schemas}/name/s0/versions"), "SchemaVersions", "SchemaVersion", None);
    assert_eq!(versions, ["4", "3", "2", "1"], "the newest first");
    let seen = all_pages(&server, schemas, "Schemas", "SchemaName", Some("/v1/registries/name/mine/schemas/name/"));
    assert_eq!(seen, ["s0", "s1", "s2", "s3", "s4"]);

    // Each list takes its own tokens only.
    ["a", "b"].iter().for_each(|name| rule(&server, name));
    let of_rules = events(&server, "ListRules", json!({ "Limit": 1 }))["NextToken"].as_str().unwrap().to_owned();
    for token in [of_rules.as_str(), "after-00000001", "a/b", ""] {
        let said = refused(&server, "AWSEvents.ListEventBuses", json!({ "NextToken": token }));
        assert_eq!(said, ("ValidationException".into(), "The specified NextToken is not valid.".into()), "{token}");
        let token = token.replace('/', "%2F");
        let paths = ["/v1/pipes", "/schedules", "/schedule-groups", schemas, "/v1/discoverers"];
        for path in paths.iter().filter(|_| !token.is_empty()) {
            let name = if path.starts_with("/v1/") && *path != "/v1/pipes" { "nextToken" } else { "NextToken" };
            let (status, said) = rest(&server, "GET", &format!("{path}?{name}={token}"), &Value::Null);
            assert_eq!(status, 400, "{path} {token}: {said}");
        }
    }
}

/// The names of all items of a list, read with two per page; each is deleted once seen if `deleted_at` is given.
fn all_pages(server: &Server, path: &str, list: &str, name: &str, deleted_at: Option<&str>) -> Vec<String> {
    let (mut seen, mut next) = (Vec::new(), String::new());
    loop {
        let (status, page) = rest(server, "GET", &format!("{path}?limit=2{next}"), &Value::Null);
        assert_eq!(status, 200, "{page}");
        for shown in page[list].as_array().unwrap() {
            let name = shown[name].as_str().unwrap();
            seen.push(name.to_owned());
            if let Some(path) = deleted_at {
                assert_eq!(rest(server, "DELETE", &format!("{path}{name}"), &Value::Null).0, 204);
            }
        }
        let Some(token) = page["NextToken"].as_str() else { return seen };
        next = format!("&nextToken={token}");
    }
}
