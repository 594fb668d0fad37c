//! Schedules: Amazon EventBridge Scheduler as boto3 uses it, rules with a schedule, due times missed while the server
//! was down, and `kill -9` while many are due.

use crate::aws::{PATIENCE, call, events, queue, receive, sqs};
use crate::dice::Dice;
use crate::player::{Player, SOL};
use crate::server::{Server, answer, fresh_data};
use fakemon_resource::resource::Resource;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const ROLE: &str = "arn:aws:iam::123456789012:role/any";

/// An answer of an API with paths of its own: the status and the body.
fn rest(server: &Server, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let url = format!("http://{}{path}", server.control);
    let response = match method {
        "GET" => agent.get(url).call(),
        "DELETE" => agent.delete(url).call(),
        "PUT" => agent.put(url).send(body.to_string()),
        _ => agent.post(url).send(body.to_string()),
    };
    let mut response = response.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap())
}

pub(crate) fn ok(server: &Server, method: &str, path: &str, body: Value) -> Value {
    let (status, answer) = rest(server, method, path, &body);
    assert_eq!(status, 200, "{method} {path}: {answer}");
    answer
}

fn refused(server: &Server, method: &str, path: &str, body: Value) -> (u16, String, String) {
    let (status, answer) = rest(server, method, path, &body);
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    (status, text("Code"), text("Message"))
}

/// A schedule for a target.
pub(crate) fn schedule(expression: &str, target: &Value) -> Value {
    let mut target = target.clone();
    target["RoleArn"] = ROLE.into();
    json!({ "ScheduleExpression": expression, "FlexibleTimeWindow": { "Mode": "OFF" }, "Target": target })
}

/// A one-time expression, `seconds` seconds from now.
pub(crate) fn in_seconds(seconds: i64) -> (String, String) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let at = jiff::Timestamp::from_second(i64::try_from(now).unwrap() + seconds).unwrap();
    let text = at.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    (format!("at({text})"), format!("{text}Z"))
}

fn attribute<'m>(message: &'m Value, name: &str) -> &'m str {
    message["MessageAttributes"][name]["StringValue"].as_str().unwrap_or_default()
}

/// The firings in a journal.
fn firings(data: &Path) -> Vec<Value> {
    let text = answer(&["log", "--data", data.to_str().unwrap()]);
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["detail-type"] == "Scheduled Event").collect()
}

#[test]
fn requests_of_universal_targets_are_delivered_with_all_they_say() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (got, arn) = queue(&server, "got");
    let made = sqs(&server, "CreateQueue", json!({ "QueueName": "got.fifo", "Attributes": { "FifoQueue": "true" } }));
    let fifo = made["QueueUrl"].as_str().unwrap().to_owned();
    events(&server, "PutRule", json!({ "Name": "sold", "EventPattern": r#"{"source":["shop"]}"# }));
    let target = json!({ "Id": "got", "Arn": arn, "InputPath": "$.time" });
    events(&server, "PutTargets", json!({ "Rule": "sold", "Targets": [target] }));
    let (expression, _) = in_seconds(1);
    let invoke = |name: &str, api: &str, input: Value| {
        let target = json!({ "Arn": format!("arn:aws:scheduler:::aws-sdk:{api}"), "Input": input.to_string() });
        ok(&server, "POST", &format!("/schedules/{name}"), schedule(&expression, &target));
    };
    let attributes = json!({ "unit": { "DataType": "Number", "StringValue": "7" },
                             "at": { "DataType": "String", "StringValue": "<aws.scheduler.scheduled-time>" } });
    let delayed =
        json!({ "QueueUrl": got, "MessageBody": "later", "DelaySeconds": 1, "MessageAttributes": attributes });
    invoke("delayed", "sqs:sendMessage", delayed);
    for name in ["one", "same"] {
        let request =
            json!({ "QueueUrl": fifo, "MessageBody": name, "MessageGroupId": "g", "MessageDeduplicationId": "d" });
        invoke(name, "sqs:sendMessage", request);
    }
    let entry = json!({ "Source": "shop", "DetailType": "sold", "Detail": "{}", "Time": "2026-03-01T20:00:00Z" });
    invoke("put", "eventbridge:putEvents", json!({ "Entries": [entry] }));
    let mut messages = receive(&server, &got, 2);
    messages.sort_by_key(|message| message["Body"].to_string());
    let time = messages[0]["Body"].as_str().unwrap().trim_matches('"');
    assert_eq!(time.parse::<jiff::Timestamp>().unwrap().to_string(), "2026-03-01T20:00:00Z");
    assert_eq!((&messages[1]["Body"], attribute(&messages[1], "unit")), (&json!("later"), "7"));
    assert!(attribute(&messages[1], "at").ends_with('Z'), "{messages:?}");
    assert_eq!(receive(&server, &fifo, 1).len(), 1);
    let asked = json!({ "QueueUrl": fifo, "AttributeNames": ["ApproximateNumberOfMessages"] });
    assert_eq!(sqs(&server, "GetQueueAttributes", asked)["Attributes"]["ApproximateNumberOfMessages"], "0");

    // An unserved target is rejected when a schedule is created, not when it is due.
    for arn in ["arn:aws:scheduler:::aws-sdk:lambda:invoke", "arn:aws:lambda:local:123456789012:function:f"] {
        let request = schedule("rate(1 day)", &json!({ "Arn": arn, "Input": "{}" }));
        let (status, code, why) = refused(&server, "POST", "/schedules/no", request);
        assert_eq!((status, code.as_str()), (400, "ValidationException"));
        assert!(why.contains(&format!("nothing here is {arn}")), "{why}");
    }
}

#[test]
fn a_schedule_invokes_its_target_and_goes_when_it_is_over() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let ((got, got_arn), (dead, dead_arn)) = (queue(&server, "got"), queue(&server, "dead"));
    let (expression, due) = in_seconds(2);
    let words = r#"{"time":"<aws.scheduler.scheduled-time>","attempt":<aws.scheduler.attempt-number>,
                    "schedule":"<aws.scheduler.schedule-arn>","id":"<aws.scheduler.execution-id>"}"#;
    let mut once = schedule(&expression, &json!({ "Arn": got_arn, "Input": words }));
    once["ActionAfterCompletion"] = "DELETE".into();
    once["ClientToken"] = "token".into();
    let made = ok(&server, "POST", "/schedules/once", once.clone());
    assert_eq!(made["ScheduleArn"], "arn:aws:scheduler:local:123456789012:schedule/default/once");
    assert_eq!(ok(&server, "POST", "/schedules/once", once.clone()), made, "the same request, sent again");
    let mut other = once.clone();
    other["State"] = "DISABLED".into();
    let (status, code, why) = refused(&server, "POST", "/schedules/once", other);
    assert_eq!((status, code.as_str()), (409, "ConflictException"), "the same token, another request");
    assert!(why.contains("other parameters"), "{why}");
    once["ClientToken"] = "another".into();
    let again = refused(&server, "POST", "/schedules/once", once);
    assert_eq!(again, (409, "ConflictException".into(), "Schedule once already exists.".into()));

    // Other targets: the API of a service, a bus, the game; and one that does not exist.
    let body = json!({ "QueueUrl": got, "MessageBody": "sent" }).to_string();
    let send = json!({ "Arn": "arn:aws:scheduler:::aws-sdk:sqs:sendMessage", "Input": body });
    ok(&server, "POST", "/schedules/send", schedule(&expression, &send));
    let bus = json!({ "Arn": "arn:aws:events:local:123456789012:event-bus/default", "Input": r#"{"unit":7}"#,
                      "EventBridgeParameters": { "Source": "shop", "DetailType": "sold" } });
    ok(&server, "POST", "/schedules/bus", schedule(&expression, &bus));
    events(&server, "PutRule", json!({ "Name": "sold", "EventPattern": r#"{"source":["shop"]}"# }));
    let target = json!({ "Id": "got", "Arn": got_arn, "InputPath": "$.detail.unit" });
    events(&server, "PutTargets", json!({ "Rule": "sold", "Targets": [target] }));
    let nowhere = json!({ "Arn": "arn:aws:sqs:local:123456789012:nowhere", "Input": "lost",
                          "DeadLetterConfig": { "Arn": dead_arn } });
    ok(&server, "POST", "/schedules/nowhere", schedule(&expression, &nowhere));
    let spawn = json!({ "species": "sparkit", "lat": SOL.0, "lon": SOL.1, "catch_rate": 1 }).to_string();
    let entry = json!({ "Source": "fakemon.world", "DetailType": "fakemon.spawn", "Detail": spawn });
    let wave = json!({ "Arn": "arn:aws:scheduler:::aws-sdk:eventbridge:putEvents",
                       "Input": json!({ "Entries": [entry, entry, entry] }).to_string() });
    ok(&server, "POST", "/schedules/wave", schedule(&expression, &wave));

    let bodies: Vec<String> =
        receive(&server, &got, 3).iter().map(|message| message["Body"].as_str().unwrap().to_owned()).collect();
    let body =
        |is: &dyn Fn(&str) -> bool| bodies.iter().find(|body| is(body)).unwrap_or_else(|| panic!("{bodies:?}"));
    body(&|body| body == "sent");
    body(&|body| body == "7");
    let words: Value = serde_json::from_str(body(&|body| body.contains("attempt"))).unwrap();
    assert_eq!((&words["time"], &words["attempt"]), (&json!(due), &json!(1)), "{words}");
    assert_eq!((&words["schedule"], words["id"].as_str().unwrap().len()), (&made["ScheduleArn"], 16), "{words}");
    let letter = receive(&server, &dead, 1).remove(0);
    assert_eq!((&letter["Body"], attribute(&letter, "ERROR_CODE")), (&json!("lost"), "NO_RESOURCE"));
    assert_eq!(attribute(&letter, "SCHEDULED_TIME"), due);
    assert!(attribute(&letter, "SCHEDULE_ARN").ends_with(":schedule/default/nowhere"), "{letter}");

    let mut ana = Player::connect(server.play, "ana").unwrap();
    let end = Instant::now() + PATIENCE;
    let look = json!({ "type": "look", "lat": SOL.0, "lon": SOL.1, "radius_m": 200 });
    while ana.ask(&look).unwrap()["fakemon"].as_array().is_none_or(|seen| seen.len() < 3) {
        assert!(Instant::now() < end, "the wave of three did not come");
    }
    let gone = refused(&server, "GET", "/schedules/once", Value::Null);
    assert_eq!(gone, (404, "ResourceNotFoundException".into(), "Schedule once does not exist.".into()));
    assert_eq!(ok(&server, "GET", "/schedules/send", Value::Null)["ActionAfterCompletion"], "NONE");

    // Dead letters are redriven once their target exists.
    let (nowhere, _) = queue(&server, "nowhere");
    sqs(
        &server,
        "SendMessage",
        json!({ "QueueUrl": dead, "MessageBody": letter["Body"],
                                        "MessageAttributes": letter["MessageAttributes"] }),
    );
    sqs(&server, "StartMessageMoveTask", json!({ "SourceArn": dead_arn }));
    assert_eq!(receive(&server, &nowhere, 1)[0]["Body"], "lost");
}

#[test]
fn schedules_and_groups_are_made_shown_changed_and_deleted() {
    let data = fresh_data();
    let mut server = Server::start(data.path(), &[]);
    let target = json!({ "Arn": "arn:aws:sqs:local:123456789012:q", "SqsParameters": { "MessageGroupId": "g" } });
    let group = json!({ "Tags": [{ "Key": "fakemon:missed", "Value": "skip" }] });
    let arn = ok(&server, "POST", "/schedule-groups/waves", group)["ScheduleGroupArn"].as_str().unwrap().to_owned();
    let mut full = schedule("cron(0 20 ? * FRI *)", &target);
    for (member, value) in [
        ("GroupName", json!("waves")),
        ("ScheduleExpressionTimezone", json!("Europe/Madrid")),
        ("StartDate", json!(1_800_000_000)),
        ("EndDate", json!(1_900_000_000)),
        ("State", json!("DISABLED")),
        ("Description", json!("friday nights missed=all")),
        ("FlexibleTimeWindow", json!({ "Mode": "FLEXIBLE", "MaximumWindowInMinutes": 5 })),
    ] {
        full[member] = value;
    }
    ok(&server, "POST", "/schedules/friday", full.clone());
    for number in 0..7 {
        ok(&server, "POST", &format!("/schedules/s{number}"), schedule("rate(1 hour)", &target));
    }
    assert!(server.stop().success());
    server = Server::start(data.path(), &[]);
    let shown = ok(&server, "GET", "/schedules/friday?groupName=waves", Value::Null);
    for (member, value) in full.as_object().unwrap().iter().filter(|(member, _)| *member != "Target") {
        let seconds = value.as_f64();
        assert!(
            shown[member] == *value || seconds.is_some() && shown[member].as_f64() == seconds,
            "{member}: {shown}"
        );
    }
    assert_eq!(
        shown["Target"]["RetryPolicy"],
        json!({ "MaximumEventAgeInSeconds": 86_400, "MaximumRetryAttempts": 185 })
    );
    ok(&server, "PUT", "/schedules/friday", {
        let mut simple = schedule("rate(2 days)", &target);
        simple["GroupName"] = "waves".into();
        simple
    });
    let changed = ok(&server, "GET", "/schedules/friday?groupName=waves", Value::Null);
    assert_eq!(
        (&changed["State"], changed.get("Description")),
        (&json!("ENABLED"), None),
        "an update says everything"
    );
    assert_eq!(changed["CreationDate"], shown["CreationDate"]);

    let (mut names, mut next) = (Vec::new(), String::new());
    loop {
        let page = ok(&server, "GET", &format!("/schedules?MaxResults=3{next}"), Value::Null);
        let schedules = page["Schedules"].as_array().unwrap();
        names.extend(schedules.iter().map(|shown| shown["Name"].as_str().unwrap().to_owned()));
        let Some(token) = page["NextToken"].as_str() else { break };
        assert_eq!(schedules.len(), 3);
        next = format!("&NextToken={}", token.replace('/', "%2F"));
    }
    assert_eq!(names, ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "friday"]);
    let few = ok(&server, "GET", "/schedules?ScheduleGroup=default&NamePrefix=s6&State=ENABLED", Value::Null);
    assert_eq!(few["Schedules"].as_array().unwrap().len(), 1);
    let groups = ok(&server, "GET", "/schedule-groups", Value::Null);
    let groups: Vec<&Value> =
        groups["ScheduleGroups"].as_array().unwrap().iter().map(|shown| &shown["Name"]).collect();
    assert_eq!(groups, ["default", "waves"]);

    let tags = format!("/tags/{}", arn.replace(':', "%3A").replace('/', "%2F"));
    ok(&server, "POST", &tags, json!({ "Tags": [{ "Key": "TagKey", "Value": "TagValue" }] }));
    ok(&server, "DELETE", &format!("{tags}?TagKeys=fakemon:missed&TagKeys=none"), Value::Null);
    let listed = ok(&server, "GET", &tags, Value::Null);
    assert_eq!(listed["Tags"], json!([{ "Key": "TagKey", "Value": "TagValue" }]));

    ok(&server, "DELETE", "/schedules/s0", Value::Null);
    ok(&server, "DELETE", "/schedule-groups/waves", Value::Null);
    for (method, path, status, message) in [
        ("GET", "/schedules/s0", 404, "Schedule s0 does not exist."),
        ("DELETE", "/schedules/s0", 404, "Schedule s0 does not exist."),
        ("PUT", "/schedules/s0", 404, "Schedule s0 does not exist."),
        ("GET", "/schedules/friday?groupName=waves", 404, "Schedule group waves does not exist."),
        ("GET", "/schedules?ScheduleGroup=waves", 404, "Schedule group waves does not exist."),
        ("GET", tags.as_str(), 404, "Schedule group waves does not exist."),
        ("DELETE", "/schedule-groups/default", 400, "The default schedule group cannot be deleted."),
        ("POST", "/schedule-groups/default", 409, "Schedule group default already exists."),
        ("GET", "/schedules?MaxResults=0", 400, "maxResults"),
        ("GET", "/schedules?NextToken=none", 400, "NextToken"),
        ("POST", "/schedule-groups/reserved", 400, "aws: prefixed tag key names are not allowed"),
        ("GET", "/schedules/a%20b", 400, "'name' failed to satisfy constraint"),
        ("GET", "/tags/arn%3Aaws%3As3%3A%3A%3Ab", 400, "it names nothing that has tags"),
    ] {
        let mut request = schedule("rate(1 hour)", &target);
        if path.ends_with("reserved") {
            request["Tags"] = json!([{ "Key": "AWS:team", "Value": "a" }]);
        }
        let (found, _, said) = refused(&server, method, path, request);
        assert!(found == status && said.contains(message), "{method} {path}: {found} {said}");
    }
    // A token creates a group once, with the same tags.
    let group = |tag: &str| json!({ "ClientToken": "t", "Tags": [{ "Key": "k", "Value": tag }] });
    let made = ok(&server, "POST", "/schedule-groups/tokens", group("a"));
    assert_eq!(ok(&server, "POST", "/schedule-groups/tokens", group("a")), made);
    assert_eq!(refused(&server, "POST", "/schedule-groups/tokens", group("b")).1, "ConflictException");
}

#[test]
fn what_makes_no_sense_is_refused_with_its_member() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let q = json!({ "Arn": "arn:aws:sqs:local:123456789012:q" });
    let with = |member: &str, value: Value| {
        let mut request = schedule("rate(1 hour)", &q);
        request[member] = value;
        request
    };
    let target = |member: &str, value: Value| {
        let mut request = schedule("rate(1 hour)", &q);
        request["Target"][member] = value;
        request
    };
    let sdk = |what: &str| json!(format!("arn:aws:scheduler:::aws-sdk:{what}"));
    let both = |arn: Value, input: &str| {
        let mut request = target("Arn", arn);
        request["Target"]["Input"] = input.into();
        request
    };
    for (request, expected) in [
        (with("ScheduleExpression", "rate(10 seconds)".into()), "Invalid Schedule Expression rate(10 seconds)."),
        (with("ScheduleExpression", " rate(1 hour)".into()), "Invalid Schedule Expression  rate(1 hour)."),
        (with("ScheduleExpression", Value::Null), "'scheduleExpression'"),
        (with("ScheduleExpression", 7.into()), "'scheduleExpression'"),
        (with("ScheduleExpressionTimezone", "Mars/Olympus".into()), "Timezone Mars/Olympus."),
        (with("FlexibleTimeWindow", Value::Null), "'flexibleTimeWindow'"),
        (with("FlexibleTimeWindow", json!({ "Mode": "FLEXIBLE" })), "MaximumWindowInMinutes must be specified"),
        (with("FlexibleTimeWindow", json!({ "Mode": "SOMETIMES" })), "'flexibleTimeWindow.mode'"),
        (with("State", "SLEEPING".into()), "'state'"),
        (with("ActionAfterCompletion", "EXPLODE".into()), "'actionAfterCompletion'"),
        (with("StartDate", "soon".into()), "StartDate must be a time"),
        (with("EndDate", json!(-1)), "EndDate must be a time"),
        (with("Target", Value::Null), "'target'"),
        (with("Target", json!([])), "'target.arn'"),
        (target("Arn", "q".into()), "Provided Arn is not in correct format"),
        (target("RoleArn", "me".into()), "'target.roleArn'"),
        (target("Input", 7.into()), "'target.input'"),
        (target("Input", "x".repeat(300_000).into()), "'target.input'"),
        (target("RetryPolicy", json!({ "MaximumRetryAttempts": 186 })), "'target.retryPolicy.maximumRetryAttempts'"),
        (target("DeadLetterConfig", json!({ "Arn": "arn:aws:sqs:local:1:q.fifo" })), "standard queue"),
        (target("Arn", "arn:aws:sqs:local:1:q.fifo".into()), "SqsParameters is missing MessageGroupId"),
        (target("Arn", "arn:aws:events:local:1:event-bus/default".into()), "EventBridgeParameters is missing Source"),
        (both(sdk("sqs:sendMessage"), "{}"), "QueueUrl is missing"),
        (both(sdk("sqs:sendMessage"), r#"{"What":1}"#), "What is no member"),
        (both(sdk("eventbridge:putEvents"), r#"{"Entries":[]}"#), "at least one entry"),
        (
            both(sdk("eventbridge:putEvents"), r#"{"Entries":[{"Source":"a","DetailType":"b","Detail":"[]"}]}"#),
            "Entries[0].Detail",
        ),
        (
            both(
                sdk("eventbridge:putEvents"),
                r#"{"Entries":[{"Source":"fakemon.capture","DetailType":"b","Detail":"{}","EventBusName":"fakemon"}]}"#,
            ),
            "Source must not be fakemon.capture on the event bus fakemon",
        ),
    ] {
        let (status, code, message) = refused(&server, "POST", "/schedules/bad", request);
        assert_eq!((status, code.as_str()), (400, "ValidationException"), "{message}");
        assert!(message.contains(expected), "{expected}: {message}");
    }
    let (_, _, message) = refused(
        &server,
        "POST",
        "/schedules/bad",
        json!({ "StartDate": 2, "EndDate": 1, "Target": target("Input", "x".into())["Target"],
            "ScheduleExpression": "rate(1 hour)", "FlexibleTimeWindow": { "Mode": "OFF" } }),
    );
    assert!(message.contains("StartDate must come before EndDate"), "{message}");
    assert_eq!(rest(&server, "POST", "/schedules/bad", &json!("no object")).1["Code"], "SerializationException");
    for expression in ["at(2026-11-24T20:00:00)", "rate(1 minutes)", "cron(0 0 ? * 2#1,3#2 *)"] {
        let rule = json!({ "Name": "r", "ScheduleExpression": expression });
        let (_, answer) = call(&server, "AWSEvents.PutRule", &rule);
        assert_eq!(answer["message"], "Parameter ScheduleExpression is not valid.", "{expression}");
    }
    assert_eq!(ok(&server, "GET", "/schedules", Value::Null)["Schedules"], json!([]));
}

#[test]
fn each_due_time_fires_exactly_once_however_often_the_server_is_killed() {
    const EACH: i64 = 25;
    let (mut dice, data) = (Dice::new(), fresh_data());
    let mut server = Server::start(data.path(), &[]);
    let (got, got_arn) = queue(&server, "got");
    // Half of them by way of a bus and a rule.
    events(&server, "PutRule", json!({ "Name": "on", "EventPattern": r#"{"source":["wave"]}"# }));
    let targets = json!([{ "Id": "got", "Arn": got_arn, "InputPath": "$.detail.number" }]);
    events(&server, "PutTargets", json!({ "Rule": "on", "Targets": targets }));
    let target = |number: i64| {
        let entry =
            json!({ "Source": "wave", "DetailType": "due", "Detail": json!({ "number": number }).to_string() });
        match number % 4 {
            0 | 1 => json!({ "Arn": got_arn, "Input": format!("{number}") }),
            2 => json!({ "Arn": "arn:aws:scheduler:::aws-sdk:eventbridge:putEvents",
                         "Input": json!({ "Entries": [entry] }).to_string() }),
            _ => json!({ "Arn": "arn:aws:events:local:123456789012:event-bus/default",
                         "EventBridgeParameters": { "Source": "wave", "DetailType": "due" },
                         "Input": json!({ "number": number }).to_string() }),
        }
    };
    let mut expected = BTreeMap::new();
    for number in 0..6 * EACH {
        let (expression, due) = in_seconds(4 + number / EACH);
        let mut one = schedule(&expression, &target(number));
        if number % 2 == 0 {
            one["ActionAfterCompletion"] = "DELETE".into();
        }
        ok(&server, "POST", &format!("/schedules/s{number}"), one);
        expected.insert(format!("arn:aws:scheduler:local:123456789012:schedule/default/s{number}"), due);
    }
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        // Often just after a second began, while its firings are in flight.
        let within = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_millis();
        std::thread::sleep(Duration::from_millis(u64::from(1_000 - within) + dice.below(90) as u64));
        server.kill();
        server = Server::start(data.path(), &[]);
    }
    let body = |message: &Value| message["Body"].as_str().unwrap().parse::<i64>().unwrap();
    let mut numbers: Vec<i64> = receive(&server, &got, expected.len()).iter().map(body).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..6 * EACH).collect::<Vec<_>>(), "each once");
    assert_eq!(sqs(&server, "ReceiveMessage", json!({ "QueueUrl": got })), json!({}), "and no more");
    let left = ok(&server, "GET", "/schedules?MaxResults=100", Value::Null);
    assert_eq!(left["Schedules"].as_array().unwrap().len() as i64, 3 * EACH, "every second one goes when it is over");
    assert!(server.stop().success());
    let mut fired = BTreeMap::new();
    for firing in firings(data.path()) {
        let schedule = firing["resources"][0].as_str().unwrap().to_owned();
        let due = firing["time"].as_str().unwrap().replace(".000000000", "");
        assert_eq!(fired.insert(schedule.clone(), due), None, "{schedule} fired twice");
    }
    assert_eq!(fired, expected);
}

#[test]
fn what_was_due_while_nobody_was_there_is_skipped_or_fires_late_as_the_schedule_says() {
    let data = fresh_data();
    let mut server = Server::start(data.path(), &["--dev"]);
    let ((got, got_arn), (missed, missed_arn)) = (queue(&server, "got"), queue(&server, "missed"));
    let pattern = json!({ "source": ["fakemon.engine"], "detail-type": ["fakemon.schedule_missed"] }).to_string();
    events(&server, "PutRule", json!({ "Name": "missed", "EventPattern": pattern }));
    let targets = json!([{ "Id": "q", "Arn": missed_arn, "InputPath": "$.detail" }]);
    events(&server, "PutTargets", json!({ "Rule": "missed", "Targets": targets }));
    let tags = json!({ "Tags": [{ "Key": "fakemon:missed", "Value": "skip" }] });
    ok(&server, "POST", "/schedule-groups/skipping", tags);
    let (expression, due) = in_seconds(2);
    let (after, _) = in_seconds(5);
    for (name, group, description, expression) in [
        ("by-default", "default", "", &expression),
        ("skip", "default", "a wave, missed=skip", &expression),
        ("skip-by-group", "skipping", "", &expression),
        ("last-after-all", "skipping", "missed=last of them", &expression),
        ("later", "default", "", &after),
    ] {
        let mut one = schedule(expression, &json!({ "Arn": got_arn, "Input": name }));
        (one["GroupName"], one["Description"]) = (group.into(), description.into());
        ok(&server, "POST", &format!("/schedules/{name}"), one);
    }
    server.kill();
    std::thread::sleep(Duration::from_millis(2_200));
    server = Server::start(data.path(), &["--dev"]);
    let bodies: Vec<Value> = receive(&server, &got, 3).iter().map(|message| message["Body"].clone()).collect();
    assert_eq!(bodies, ["by-default", "last-after-all", "later"]);
    let told = receive(&server, &missed, 4);
    for message in told {
        let detail: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
        let is_skipped = detail["schedule"].as_str().unwrap().contains("/skip");
        let is_skipped = is_skipped && !detail["schedule"].as_str().unwrap().ends_with("last-after-all");
        assert_eq!(detail["caught_up"], json!(i32::from(!is_skipped)), "{detail}");
        assert_eq!((&detail["missed"], &detail["first"]), (&json!(1), &detail["last"]), "{detail}");
        assert_eq!(detail["last"].as_str().unwrap().replace(".000000000", ""), due);
    }
    // Missed firings that were skipped never come; and a reset deletes schedules.
    server.kill();
    server = Server::start(data.path(), &["--dev"]);
    let (status, answer) = rest(&server, "POST", "/_reset", &Value::Null);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(ok(&server, "GET", "/schedules", Value::Null)["Schedules"], json!([]));
    let groups = ok(&server, "GET", "/schedule-groups", Value::Null);
    assert_eq!(groups["ScheduleGroups"].as_array().unwrap().len(), 1);
    assert!(server.stop().success());
    assert_eq!(firings(data.path()).len(), 3);
    let log = crate::server::answer(&["log", "--data", data.path().to_str().unwrap()]);
    assert_eq!(log.matches("fakemon.schedule_missed\",\"source").count(), 4, "each is told once");
}

/// Calls as users write them; the last line confirms that all succeeded.
const BOTO3: &str = r#"
import boto3, datetime, json, sys

here = dict(endpoint_url=sys.argv[1], region_name="local", aws_access_key_id="x", aws_secret_access_key="x")
scheduler, sqs = boto3.client("scheduler", **here), boto3.client("sqs", **here)
queue = sqs.create_queue(QueueName="reminders")["QueueUrl"]
arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]["QueueArn"]
role, off = "arn:aws:iam::123456789012:role/any", {"Mode": "OFF"}
soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)

# A spawn wave, once; afterwards the schedule is gone.
spawn = {"species": "sparkit", "lat": 40.4168, "lon": -3.7038, "catch_rate": 1}
entry = {"Source": "fakemon.world", "DetailType": "fakemon.spawn", "Detail": json.dumps(spawn)}
scheduler.create_schedule(
    Name="wave", ScheduleExpression=soon.strftime("at(%Y-%m-%dT%H:%M:%S)"), FlexibleTimeWindow=off,
    ActionAfterCompletion="DELETE", Target={"Arn": "arn:aws:scheduler:::aws-sdk:eventbridge:putEvents", "RoleArn": role,
                                            "Input": json.dumps({"Entries": [entry] * 5})})
scheduler.create_schedule(
    Name="reminder", ScheduleExpression=soon.strftime("at(%Y-%m-%dT%H:%M:%S)"), FlexibleTimeWindow=off,
    Target={"Arn": arn, "RoleArn": role, "Input": "due at <aws.scheduler.scheduled-time>"})
message = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=10)["Messages"][0]
assert message["Body"] == soon.strftime("due at %Y-%m-%dT%H:%M:%SZ"), message

# Every Friday evening in Madrid, in a group, from December on.
group = scheduler.create_schedule_group(Name="madrid", Tags=[{"Key": "fakemon:missed", "Value": "all"}])
scheduler.create_schedule(
    Name="friday", GroupName="madrid", ScheduleExpression="cron(0 20 ? * FRI *)", FlexibleTimeWindow=off,
    ScheduleExpressionTimezone="Europe/Madrid", StartDate=datetime.datetime(2026, 12, 1),
    Target={"Arn": "arn:aws:fakemon:local:123456789012:capture", "RoleArn": role, "Input": json.dumps(
        {"source": "fakemon.world", "detail-type": "fakemon.spawn", "detail": spawn})})
shown = scheduler.get_schedule(Name="friday", GroupName="madrid")
assert shown["StartDate"].timestamp() == datetime.datetime(2026, 12, 1, tzinfo=datetime.timezone.utc).timestamp(), shown
names = [one["Name"] for page in scheduler.get_paginator("list_schedules").paginate() for one in page["Schedules"]]
assert names == ["reminder", "friday"], names
tags = scheduler.list_tags_for_resource(ResourceArn=group["ScheduleGroupArn"])["Tags"]
assert tags == [{"Key": "fakemon:missed", "Value": "all"}], tags
scheduler.untag_resource(ResourceArn=group["ScheduleGroupArn"], TagKeys=["fakemon:missed"])
assert scheduler.list_tags_for_resource(ResourceArn=group["ScheduleGroupArn"])["Tags"] == []
try:
    scheduler.create_schedule(Name="no", ScheduleExpression="rate(10 seconds)", FlexibleTimeWindow=off,
                              Target={"Arn": arn, "RoleArn": role})
except scheduler.exceptions.ValidationException as error:
    assert "Invalid Schedule Expression rate(10 seconds)." in str(error), error
try:
    scheduler.get_schedule(Name="wave")
except scheduler.exceptions.ResourceNotFoundException as error:
    print("as it should be")
"#;

#[test]
fn boto3_schedules_a_wave_and_a_reminder() {
    let has_boto3 = Command::new("python3").args(["-c", "import boto3"]).output();
    if !has_boto3.is_ok_and(|output| output.status.success()) {
        return eprintln!("left out: no boto3 here (pip install boto3)");
    }
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let url = format!("http://{}", server.control);
    let mut python = Command::new("python3");
    python.args(["-c", BOTO3, &url]).env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN");
    let output = python.output().unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("as it should be"), "{said}{wrong}\n{}", server.log());
    let mut ana = Player::connect(server.play, "ana").unwrap();
    let look = json!({ "type": "look", "lat": SOL.0, "lon": SOL.1, "radius_m": 200 });
    assert_eq!(ana.ask(&look).unwrap()["fakemon"].as_array().unwrap().len(), 5);
}

/// Each firing is in the journal long before the next is due, so the timekeeper must free it.
#[test]
fn firings_that_come_one_by_one_do_not_wear_the_clock_out() {
    let dir = tempfile::tempdir().unwrap();
    let engine = crate::bus::open(dir.path());
    let mut client = engine.client().unwrap();
    let (fires, fired) = mpsc::channel();
    engine
        .on_events("count", move |_| {
            fires.send(()).unwrap();
            Ok(())
        })
        .unwrap();
    for number in 0..20 {
        let due = engine.now().plus_ns(30_000_000);
        let target = r#"{"Arn":"arn:aws:fakemon:local:123456789012:function/count","Input":"{}"}"#;
        let schedule = json!({
            "group": "default", "name": format!("s{number}"), "expression": "rate(1 day)", "zone": "UTC",
            "start": due, "end": null, "window_minutes": 0, "enabled": true, "description": null, "kms_key_arn": null,
            "target": target, "delete_when_over": false, "region": "local", "created_at": 0, "modified_at": 0,
            "client_token": null
        });
        let schedule = Resource::read(&format!("schedule/default/s{number}"), &schedule.to_string()).unwrap();
        crate::bus::change(&mut client, vec![schedule]);
        fired.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{number} fired, and no more"));
    }
    drop(client);
    engine.close();
}
