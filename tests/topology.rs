//! The topology: a small world in, the graph out; live, and from the journal alone.

use crate::aws::{events, queue, receive};
use crate::bus::{bus, change, put, queue as queue_resource, rule, target};
use crate::notices::{SILENT, open};
use crate::pipes::{ROLE, rest};
use crate::schedules::in_seconds;
use crate::server::{FAKEMON, Server, answer, fakemon, fresh_data, refusal};
use fakemon_history::topology;
use fakemon_resource::resource::{Resource, RuleState};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Two shops, four buses, rules that work, that are disabled, without targets and in loops. Nothing in it depends on
/// time.
fn small_world(dir: &Path) -> topology::Topology {
    let engine = open(dir, SILENT);
    let mut client = engine.client().unwrap();
    let to = |bus: &str, rule: &str, id: &str, arn: &str| Resource::Target(target(bus, rule, id, arn));
    let mut off = rule("default", "off", r#"{"source":["shop"]}"#);
    if let Resource::Rule(off) = &mut off {
        off.state = RuleState::Disabled;
    }
    let mut dead_letters = target("default", "sold", "dead", "sqs:local:123456789012:sold");
    dead_letters.dead_letter_arn = Some("arn:aws:sqs:local:123456789012:lost".into());
    change(
        &mut client,
        vec![
            bus("ops"),
            bus("audit"),
            queue_resource("sold"),
            queue_resource("lost"),
            rule("default", "sold", r#"{"source":["shop"],"detail-type":["sold"]}"#),
            Resource::Target(dead_letters),
            to("default", "sold", "gone", "sqs:local:123456789012:gone"),
            rule("default", "again", r#"{ "detail-type": ["sold"], "source": ["shop"] }"#),
            to("default", "again", "t", "sqs:local:123456789012:sold"),
            rule("default", "dear", r#"{"source":["shop"],"detail":{"price":[{"numeric":[">",1000]}]}}"#),
            to("default", "dear", "t", "lambda:local:1:function:f"),
            rule("default", "nobody", r#"{"source":["nobody"]}"#),
            off,
            rule("ops", "on", r#"{"source":["shop"]}"#),
            to("ops", "on", "t", "events:local:123456789012:event-bus/audit"),
            rule("audit", "back", r#"{"source":["shop"],"detail-type":["never"]}"#),
            to("audit", "back", "t", "events:local:123456789012:event-bus/ops"),
        ],
    );
    let sold = ("default", "shop", "sold", r#"{"price":7}"#);
    put(
        &mut client,
        &[sold, sold, sold, ("default", "kiosk \"7\"", "opened", "{}"), ("ops", "shop", "checked", "{}")],
    );
    let end = Instant::now() + Duration::from_secs(20);
    let live = loop {
        let live = engine.topology();
        let forwarded = |row: &topology::EventTypeRow| row.bus == "audit" && row.events == 1;
        if live.event_types.iter().any(forwarded)
            && live.nodes.iter().any(|node| node.id == "target/default/again/t" && node.events == 3)
        {
            break live;
        }
        assert!(Instant::now() < end, "{live:#?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    drop(client);
    engine.close();
    live
}

/// Masks times, which differ from run to run.
fn masked(text: &str) -> String {
    let is_moment = |text: &str| text.len() == 30 && text.ends_with('Z') && text.as_bytes()[10] == b'T';
    let mut out = String::new();
    let mut rest = text;
    while let Some(one) = rest.chars().next() {
        match rest.get(..30).filter(|text| text.starts_with("20") && is_moment(text)) {
            Some(_) => {
                out.push_str("TIME");
                rest = &rest[30..];
            }
            None => {
                out.push(one);
                rest = &rest[one.len_utf8()..];
            }
        }
    }
    out
}

#[test]
fn a_journal_tells_what_its_rules_match() {
    let dir = tempfile::tempdir().unwrap();
    small_world(dir.path());
    let data = dir.path().to_str().unwrap();
    let text = masked(&answer(&["topology", "--data", data]));
    compare("golden/topology.txt", &text, include_str!("golden/topology.txt"));
    let dot = masked(&answer(&["topology", "--data", data, "--format", "dot"]));
    compare("golden/topology.dot", &dot, include_str!("golden/topology.dot"));
}

/// `UPDATE_GOLDEN=1` rewrites the expected output.
fn compare(file: &str, found: &str, expected: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests").join(file);
        std::fs::write(path, found).unwrap();
        return;
    }
    assert_eq!(found, expected, "{file}; UPDATE_GOLDEN=1 writes it anew:\n{found}");
}

#[test]
fn live_and_from_the_journal_the_counts_agree() {
    let dir = tempfile::tempdir().unwrap();
    let live = small_world(dir.path());
    let recorded: Value =
        serde_json::from_str(&answer(&["topology", "--data", dir.path().to_str().unwrap(), "--json"])).unwrap();
    assert_eq!((live.live, &recorded["live"]), (true, &json!(false)));
    for row in live.event_types.iter().filter(|row| row.source != "fakemon.engine") {
        let found = recorded["event_types"].as_array().unwrap().iter().find(|found| {
            (&found["bus"], &found["source"], &found["detail_type"])
                == (&json!(row.bus), &json!(row.source), &json!(row.detail_type))
        });
        let found = found.unwrap_or_else(|| panic!("{row:?} is not in the journal"));
        let counts = (&found["events"], &found["unmatched"], &found["rules"]);
        assert_eq!(counts, (&json!(row.events), &json!(row.unmatched), &json!(row.rules)), "{row:?}");
        assert!(row.per_second.is_some() && found["per_second"].is_null());
    }
    let missing = live.nodes.iter().find(|node| node.id == "target/default/sold/gone").unwrap();
    assert_eq!(missing.state, topology::NodeState::Missing);
    let to_audit = live.edges.iter().find(|edge| edge.to == "bus/audit" && edge.from.starts_with("target/")).unwrap();
    assert_eq!((to_audit.from.as_str(), to_audit.events), ("target/ops/on/t", 1));
    let (code, line) = refusal(&["rules", "lint", "--data", dir.path().to_str().unwrap()]);
    assert!(code == 1 && line.contains("errors"), "{line}");
}

#[test]
fn a_running_server_shows_rates_and_targets_that_fail() {
    let data = fresh_data();
    let server = Server::start(data.path(), &["--allow-private-targets"]);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(); // closed at once, so it refuses connections
    let secret = json!({ "ApiKeyAuthParameters": { "ApiKeyName": "x-key", "ApiKeyValue": "hush" } });
    let connection = json!({ "Name": "c", "AuthorizationType": "API_KEY", "AuthParameters": secret });
    let connection = events(&server, "CreateConnection", connection)["ConnectionArn"].clone();
    let destination = json!({ "Name": "hook", "ConnectionArn": connection, "HttpMethod": "POST",
                              "InvocationEndpoint": format!("http://{closed}/") });
    let hook = events(&server, "CreateApiDestination", destination)["ApiDestinationArn"].clone();
    let (url, arn) = queue(&server, "q");
    events(&server, "PutRule", json!({ "Name": "sold", "EventPattern": r#"{"source":["shop"]}"# }));
    let targets = json!([{ "Id": "hook", "Arn": hook }, { "Id": "q", "Arn": arn }]);
    events(&server, "PutTargets", json!({ "Rule": "sold", "Targets": targets }));
    for _ in 0..3 {
        server.post_event(&json!({ "source": "shop", "detail-type": "sold", "detail": {} }).to_string());
    }
    receive(&server, &url, 3);
    let end = Instant::now() + Duration::from_secs(20);
    let failing = loop {
        let (status, body) = server.get("/topology");
        assert_eq!(status, 200, "{body}");
        let topology: Value = serde_json::from_str(&body).unwrap();
        let find = |id: &str| topology["nodes"].as_array().unwrap().iter().find(|node| node["id"] == id).cloned();
        let queue = find("target/default/sold/q").unwrap();
        assert_eq!((&queue["events"], &queue["per_second"]), (&json!(3), &json!(0.05)), "{queue}");
        let hook = find("target/default/sold/hook").unwrap();
        if hook["state"] == "failing" {
            break hook;
        }
        assert!(Instant::now() < end, "{hook}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!((&failing["detail"]["backlog"], &failing["detail"]["delivered"]), (&json!(3), &json!(0)), "{failing}");
    assert!(failing["detail"]["error_code"].is_string(), "{failing}");
    let control = format!("http://{}", server.control);
    let text = answer(&["topology", "--control", &control]);
    assert!(text.contains("├─ webhook hook: FAILING, 0 events, failing since"), "{text}");
    assert!(text.contains("└─ queue q: 3 events, 0.05/s"), "{text}");
    let (code, line) = refusal(&["rules", "lint", "--control", &control]);
    assert!(code == 1 && line.contains("1 of 2 findings"), "{line}");
    let metrics = server.get("/metrics").1;
    assert!(metrics.contains("fakemon_unmatched_events_total{bus=\"default\"}"), "{metrics}");
    let refused = fakemon(&["topology", "--control", "http://127.0.0.1:1"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("cannot connect"));
}

#[test]
fn where_signatures_are_asked_for_the_command_line_makes_one() {
    let (data, keys) = (fresh_data(), tempfile::NamedTempFile::new().unwrap());
    std::fs::write(keys.path(), "AKID secret\n").unwrap();
    let server = Server::start(data.path(), &["--access-keys-file", keys.path().to_str().unwrap()]);
    let control = format!("http://{}", server.control);
    assert_eq!(server.get("/topology").0, 403);
    let ask = |id: &str, secret: &str| {
        let mut command = Command::new(FAKEMON);
        command.args(["topology", "--control", &control, "--json"]).stdin(Stdio::null());
        command.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret).output().unwrap()
    };
    let told = ask("AKID", "secret");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    assert_eq!(serde_json::from_slice::<Value>(&told.stdout).unwrap()["live"], true);
    let refused = ask("AKID", "guess");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("AWS_SECRET_ACCESS_KEY"));
}

#[test]
fn schedules_pipes_and_changed_shapes_take_part() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let control = format!("http://{}", server.control);
    let ((_, from), (_, to)) = (queue(&server, "from"), queue(&server, "to"));
    events(&server, "CreateEventBus", json!({ "Name": "shop" }));
    let shop = "arn:aws:events:local:123456789012:event-bus/shop";
    assert_eq!(rest(&server, "POST", "/v1/discoverers", &json!({ "SourceArn": shop })).0, 201);
    let pipe = json!({ "Source": from, "Target": to, "RoleArn": ROLE });
    assert_eq!(rest(&server, "POST", "/v1/pipes/carry", &pipe).0, 200);
    assert_eq!(rest(&server, "POST", "/schedule-groups/waves", &json!({})).0, 200);
    let gone = "arn:aws:sqs:local:123456789012:gone";
    let entry = json!({ "EventBusName": "shop", "Source": "shop", "DetailType": "sold", "Detail": "{}" });
    let put = json!({ "Entries": [entry] }).to_string();
    let targets = [
        ("first", json!({ "Arn": to, "RoleArn": ROLE })),
        ("second", json!({ "Arn": to, "RoleArn": ROLE })),
        ("lost", json!({ "Arn": gone, "RoleArn": ROLE })),
        (
            "sale",
            json!({ "Arn": "arn:aws:scheduler:::aws-sdk:eventbridge:putEvents", "RoleArn": ROLE, "Input": put }),
        ),
    ];
    for (name, target) in targets {
        let expression = if name == "first" { in_seconds(1).0 } else { "cron(0 12 1 1 ? 2199)".into() };
        let schedule = json!({ "GroupName": "waves", "ScheduleExpression": expression,
                               "FlexibleTimeWindow": { "Mode": "OFF" }, "Target": target });
        assert_eq!(rest(&server, "POST", &format!("/schedules/{name}"), &schedule).0, 200);
    }
    let end = Instant::now() + Duration::from_secs(20);
    let drifted = |topology: &Value| {
        let rows = topology["event_types"].as_array().unwrap();
        rows.iter().any(|row| row["detail_type"] == "sold" && row["schema_version"].as_u64() > Some(1))
    };
    let mut topology = Value::Null;
    for unit in 0.. {
        let entry = |detail: &str| json!({ "EventBusName": "shop", "Source": "shop", "DetailType": "sold", "Detail": detail });
        let detail = if unit == 0 { r#"{"unit":1}"# } else { r#"{"unit":1,"price":2}"# };
        events(&server, "PutEvents", json!({ "Entries": [entry(detail)] }));
        topology = serde_json::from_str(&answer(&["topology", "--control", &control, "--json"])).unwrap();
        let nodes = topology["nodes"].as_array().unwrap();
        let fired = nodes.iter().any(|node| node["id"] == "schedule-group/waves" && node["events"] == 1);
        if drifted(&topology) && fired {
            break;
        }
        assert!(Instant::now() < end, "{topology:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let node = |id: &str| {
        let nodes = topology["nodes"].as_array().unwrap();
        nodes.iter().find(|node| node["id"] == id).unwrap_or_else(|| panic!("{id}: {topology:#}"))
    };
    assert_eq!(node("schedule-group/waves")["note"], "4 schedules");
    assert_eq!(node("schedule-group/waves")["state"], "missing");
    assert_eq!(node("target/schedule-group/waves/queue to")["note"], "2 schedules");
    assert_eq!(node("target/schedule-group/waves/queue gone")["state"], "missing");
    let codes: Vec<&str> =
        topology["findings"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap()).collect();
    assert!(codes.contains(&"schedule_target_missing") && codes.contains(&"schema_drift"), "{codes:?}");
    let text = answer(&["topology", "--control", &control]);
    for line in ["from schedules waves: ", "\nschedules waves: MISSING, 1 event, 4 schedules", "pipe carry: "] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let dot = answer(&["topology", "--control", &control, "--format", "dot"]);
    assert!(dot.contains(r#""schedule-group/waves" -> "bus/shop""#), "{dot}");
    // The same from the journal, after the server has ended.
    drop(server);
    let recorded = answer(&["topology", "--data", data.path().to_str().unwrap()]);
    assert!(recorded.contains("schedules waves: MISSING, 1 event, 4 schedules"), "{recorded}");
}
