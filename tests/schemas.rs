//! The schema registry from outside: schemas are discovered from events, enforced when events are put, compared from
//! version to version, and turned into types that compile.

use crate::aws::{PATIENCE, events, queue, receive, sqs};
use crate::schedules::in_seconds;
use crate::server::{Server, answer, fresh_data, refusal};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Status and answer of a request to a path of its own.
fn ask(server: &Server, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = server.raw(&format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    (status, serde_json::from_str(body).unwrap_or_default())
}

fn get(server: &Server, path: &str) -> (u16, Value) {
    ask(server, "GET", path, &Value::Null)
}

const ROLE: &str = "arn:aws:iam::123456789012:role/any";
const DISCOVERED: &str = "/v1/registries/name/discovered-schemas/schemas/name";

/// A server with a bus `shop` and a discoverer for it.
fn learning(data: &Path) -> Server {
    let server = Server::start(data, &[]);
    events(&server, "CreateEventBus", json!({ "Name": "shop" }));
    let (status, discoverer) = ask(&server, "POST", "/v1/discoverers", &json!({ "SourceArn": bus_arn() }));
    assert_eq!((status, &discoverer["State"]), (201, &json!("STARTED")), "{discoverer}");
    server
}

fn bus_arn() -> String {
    "arn:aws:events:local:123456789012:event-bus/shop".into()
}

fn put(server: &Server, detail: &Value) -> Value {
    let entry =
        json!({ "Source": "shop", "DetailType": "sold", "Detail": detail.to_string(), "EventBusName": "shop" });
    events(server, "PutEvents", json!({ "Entries": [entry] }))["Entries"][0].clone()
}

/// Puts events of `shop`, each with its detail-type, in one request; returns the answer.
fn put_all(server: &Server, details: &[(&str, Value)]) -> (u16, Value) {
    let event = |(detail_type, detail): &(&str, Value)| json!({ "source": "shop", "detail-type": detail_type, "detail": detail });
    ask(server, "POST", "/events?bus=shop", &details.iter().map(event).collect())
}

fn enforce(server: &Server, how: &str) {
    let tags = json!([{ "Key": "fakemon:schema-enforcement", "Value": how }]);
    events(server, "TagResource", json!({ "ResourceARN": bus_arn(), "Tags": tags }));
}

/// Waits until the discovered schema has this version.
fn discovered(server: &Server, version: &str) -> Value {
    discovered_as(server, "shop@sold", version)
}

fn discovered_as(server: &Server, name: &str, version: &str) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let (status, schema) = get(server, &format!("{DISCOVERED}/{}", name.replace('@', "%40")));
        if status == 200 && schema["SchemaVersion"] == version {
            return serde_json::from_str(schema["Content"].as_str().unwrap()).unwrap();
        }
        assert!(Instant::now() < end, "{status} {schema}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_happens_is_discovered_then_enforced_also_after_a_kill() {
    let data = fresh_data();
    let server = learning(data.path());
    put(&server, &json!({ "unit": 1, "price": 2.5, "at": "2026-11-24T12:00:00Z" }));
    let sold = discovered(&server, "1")["components"]["schemas"]["Sold"].clone();
    assert_eq!(sold["properties"]["at"], json!({ "type": "string", "format": "date-time" }));
    assert_eq!(sold["required"], json!(["at", "price", "unit"]));
    put(&server, &json!({ "unit": 1, "price": 3, "note": null }));
    let sold = discovered(&server, "2")["components"]["schemas"]["Sold"].clone();
    assert_eq!(sold["required"], json!(["price", "unit"]));
    // An event of a known shape makes no new version.
    put(&server, &json!({ "unit": 2, "price": 1, "note": null }));
    enforce(&server, "reject");
    server.kill();

    let server = Server::start(data.path(), &[]);
    let refused = put(&server, &json!({ "unit": "three", "price": 1 }));
    assert_eq!(refused["ErrorCode"], "SchemaValidationFailed");
    let expected =
        "$.detail.unit is \"three\" (string), must be integer (schema shop@sold, version 2, in discovered-schemas)";
    assert_eq!(refused["ErrorMessage"], expected);
    let posted = json!({ "source": "shop", "detail-type": "sold", "detail": { "unit": 1 }, "event-bus": "shop" });
    let (status, answer) = server.post_event(&posted.to_string());
    assert_eq!((status, &answer["error"]["field"]), (400, &json!("detail.price")), "{answer}");
    assert_eq!(answer["error"]["code"], "schema_validation_failed");
    let beyond = json!({ "Source": "shop", "DetailType": "sold", "EventBusName": "shop",
                         "Detail": "{\"unit\":3,\"price\":1e400}" });
    let answer = events(&server, "PutEvents", json!({ "Entries": [beyond] }));
    assert!(answer["Entries"][0]["EventId"].is_string(), "{answer}");
    assert!(put(&server, &json!({ "unit": 3, "price": 1, "new": true }))["EventId"].is_string());
    discovered(&server, "3");
    enforce(&server, "warn");
    assert!(put(&server, &json!({ "unit": 1 }))["EventId"].is_string());
    let metrics = server.get("/metrics").1;
    for (outcome, count) in [("valid", 2), ("warned", 1), ("rejected", 2)] {
        let line = format!("fakemon_schema_checked_events_total{{outcome=\"{outcome}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    assert!(server.log().contains("$.detail.price is missing"), "{}", server.log());
    enforce(&server, "off");
    assert!(put(&server, &json!({}))["EventId"].is_string());
    drop(server);
    let log = answer_of_log(data.path());
    let drift: Value =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).find(is_drift).expect("a drift is told");
    assert_eq!((&drift["source"], &drift["detail"]["version"]), (&json!("fakemon.engine"), &json!("2")));
    let changes = drift["detail"]["changes"].as_array().unwrap();
    assert!(changes.contains(&json!({ "path": "$.detail.at", "change": "is optional now" })), "{changes:?}");
}

/// Rules, schedules and pipes put nothing on a bus that a client could not.
#[test]
fn what_is_rare_is_discovered_among_what_is_common() {
    let data = fresh_data();
    let server = learning(data.path());
    let mut details: Vec<(&str, Value)> = (0..2_000).map(|unit| ("common", json!({ "unit": unit }))).collect();
    details.push(("rare", json!({ "unit": 1 })));
    assert_eq!(put_all(&server, &details).0, 200);
    discovered_as(&server, "shop@rare", "1");
    discovered_as(&server, "shop@common", "1");
}

#[test]
fn types_whose_names_become_the_same_have_schemas_of_their_own() {
    let data = fresh_data();
    let server = learning(data.path());
    let details = [("a b", json!({ "x": 1 })), ("a-b", json!({ "x": "text" })), ("a/b", json!({ "x": true }))];
    assert_eq!(put_all(&server, &details).0, 200);
    let expected = [("shop@aB", "a b", "integer"), ("shop@aB-2", "a-b", "string"), ("shop@aB-3", "a/b", "boolean")];
    for (name, detail_type, kind) in expected {
        let schemas = discovered_as(&server, name, "1")["components"]["schemas"].clone();
        assert_eq!(schemas["AWSEvent"]["x-amazon-events-detail-type"], detail_type);
        assert_eq!(schemas["AB"]["properties"]["x"]["type"], kind, "{name}");
    }
    enforce(&server, "reject");
    assert_eq!(put_all(&server, &details).0, 200, "each is as its own schema says");
    let (status, refused) = put_all(&server, &[("a-b", json!({ "x": 1 }))]);
    assert_eq!(status, 400, "{refused}");
    assert!(refused.to_string().contains("(schema shop@aB-2, version 1, in discovered-schemas)"), "{refused}");
    assert_eq!(put_all(&server, &[("a@b", json!({ "x": null }))]).0, 200, "nobody knows it");
    // After a kill, and without the first, each type keeps its own schema.
    discovered_as(&server, "shop@aB-4", "1");
    server.kill();
    let server = Server::start(data.path(), &[]);
    assert_eq!(ask(&server, "DELETE", &format!("{DISCOVERED}/shop%40aB"), &Value::Null).0, 204);
    enforce(&server, "off");
    assert_eq!(put_all(&server, &[("a/b", json!({ "x": true, "y": 1 }))]).0, 200);
    discovered_as(&server, "shop@aB-3", "2");
    discovered_as(&server, "shop@aB-2", "1");
}

#[test]
fn what_is_not_as_its_schema_says_comes_in_by_no_way() {
    let data = fresh_data();
    let server = learning(data.path());
    let ((good, good_arn), (dead, dead_arn), (from, from_arn)) =
        (queue(&server, "good"), queue(&server, "dead"), queue(&server, "from"));
    put(&server, &json!({ "unit": 1 }));
    discovered(&server, "1");
    enforce(&server, "reject");
    let to_good = json!([{ "Id": "good", "Arn": good_arn }]);
    events(
        &server,
        "PutRule",
        json!({ "Name": "all", "EventBusName": "shop", "EventPattern": r#"{"source":["shop"]}"# }),
    );
    events(&server, "PutTargets", json!({ "Rule": "all", "EventBusName": "shop", "Targets": to_good }));

    events(&server, "PutRule", json!({ "Name": "on", "EventPattern": r#"{"source":["shop"]}"# }));
    let on = json!([{ "Id": "on", "Arn": bus_arn(), "DeadLetterConfig": { "Arn": dead_arn } }]);
    events(&server, "PutTargets", json!({ "Rule": "on", "Targets": on }));
    let entry = |unit: Value| json!({ "Source": "shop", "DetailType": "sold", "Detail": json!({ "unit": unit }).to_string() });
    let entries = json!({ "Entries": [entry(json!("by a rule")), entry(json!(10))] });
    assert_eq!(events(&server, "PutEvents", entries)["FailedEntryCount"], 0, "the default bus asks for nothing");

    let mut wrong = entry(json!("by a schedule"));
    wrong["EventBusName"] = "shop".into();
    let schedule = json!({
        "ScheduleExpression": in_seconds(1).0, "FlexibleTimeWindow": { "Mode": "OFF" },
        "Target": { "Arn": "arn:aws:scheduler:::aws-sdk:eventbridge:putEvents", "RoleArn": ROLE,
                    "Input": json!({ "Entries": [wrong] }).to_string(), "DeadLetterConfig": { "Arn": dead_arn } }
    });
    assert_eq!(ask(&server, "POST", "/schedules/s", &schedule).0, 200);

    let why = |letter: &Value| {
        let attribute = |name: &str| letter["MessageAttributes"][name]["StringValue"].as_str().unwrap().to_owned();
        assert_eq!(attribute("ERROR_CODE"), "EVENTS_IN_BATCH_REQUEST_REJECTED", "{letter}");
        attribute("ERROR_MESSAGE")
    };
    let mut whys: Vec<String> = receive(&server, &dead, 2).iter().map(why).collect();
    whys.sort();
    let expected = |unit: &str| {
        format!(
            "$.detail.unit is \"{unit}\" (string), must be integer (schema shop@sold, version 1, in discovered-schemas)"
        )
    };
    assert_eq!(whys, [expected("by a rule"), expected("by a schedule")]);

    let pipe = json!({ "Source": from_arn, "Target": bus_arn(), "RoleArn": ROLE,
                       "TargetParameters": { "InputTemplate": "<$.body>", "EventBridgeEventBusParameters":
                                             { "Source": "shop", "DetailType": "sold" } } });
    assert_eq!(ask(&server, "POST", "/v1/pipes/p", &pipe).0, 200);
    for unit in [json!("by a pipe"), json!(11)] {
        sqs(&server, "SendMessage", json!({ "QueueUrl": from, "MessageBody": json!({ "unit": unit }).to_string() }));
    }
    let unit = |message: &Value| {
        let event: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
        event["detail"]["unit"].as_u64().expect("only what is as its schema says")
    };
    let mut units: Vec<u64> = receive(&server, &good, 2).iter().map(unit).collect();
    units.sort_unstable();
    assert_eq!(units, [10, 11]);
}

fn answer_of_log(data: &Path) -> String {
    answer(&["log", "--json", "--data", data.to_str().unwrap()])
}

fn is_drift(event: &Value) -> bool {
    event["detail-type"] == "fakemon.schema_drift"
}

#[test]
fn versions_have_to_go_together_where_somebody_asked_for_it() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let registry = "/v1/registries/name/mine";
    let (status, _) = ask(&server, "POST", registry, &json!({ "tags": { "fakemon:compatibility": "sideways" } }));
    assert_eq!(status, 400);
    let (status, _) = ask(&server, "POST", registry, &json!({ "tags": { "fakemon:compatibility": "backward" } }));
    assert_eq!(status, 201);
    assert_eq!(ask(&server, "POST", registry, &json!({})).0, 409);
    let schema = format!("{registry}/schemas/name/order");
    let content = |required: Value| {
        let properties = json!({ "a": { "type": "integer" }, "b": { "type": "string" } });
        json!({ "type": "object", "properties": properties, "required": required }).to_string()
    };
    let of = |content: String| json!({ "Type": "JSONSchemaDraft4", "Content": content });
    let (status, made) = ask(&server, "POST", &schema, &of(content(json!(["a"]))));
    assert_eq!((status, &made["SchemaVersion"]), (201, &json!("1")), "{made}");
    let (status, refused) = ask(&server, "PUT", &schema, &of(content(json!(["a", "b"]))));
    assert_eq!((status, &refused["Code"]), (409, &json!("ConflictException")));
    let why = "Content is not backward compatible with version 1: $.b written with the old version, it may be missing, and is \
               required";
    assert_eq!(refused["Message"], why);
    let same = format!(" {}", content(json!(["a"])));
    assert_eq!(ask(&server, "PUT", &schema, &of(same)).1["SchemaVersion"], "1");
    assert_eq!(ask(&server, "PUT", &schema, &of(content(json!([])))).1["SchemaVersion"], "2");
    let hostile = json!({ "properties": { "a": { "$ref": "https://example.org/a" } } });
    let (status, refused) = ask(&server, "PUT", &schema, &of(hostile.to_string()));
    assert!(status == 400 && refused["Message"].as_str().unwrap().contains("nothing is ever fetched"), "{refused}");
    assert_eq!(get(&server, &format!("{schema}?schemaVersion=7")).0, 404);
    assert_eq!(ask(&server, "DELETE", registry, &Value::Null).0, 400, "it is not empty");
    assert_eq!(ask(&server, "DELETE", &format!("{schema}/version/2"), &Value::Null).0, 204);
    assert_eq!(get(&server, &schema).1["SchemaVersion"], "1");
    assert_eq!(
        ask(&server, "PUT", &schema, &of(content(json!([])))).1["SchemaVersion"],
        "3",
        "no number is given twice"
    );
    assert_eq!(ask(&server, "DELETE", &schema, &Value::Null).0, 204);
    assert_eq!(ask(&server, "DELETE", registry, &Value::Null).0, 204);
    let ours = "/v1/registries/name/fakemon.events/schemas/name/fakemon.play";
    assert_eq!(get(&server, ours).1["Type"], "FlatBuffers");
    assert_eq!(ask(&server, "DELETE", ours, &Value::Null).0, 403);
}

#[test]
fn the_command_line_compares_versions() {
    let data = fresh_data();
    let file = |name: &str, text: &str| {
        let path = data.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let old = file("old.json", r#"{"type":"object","properties":{"a":{"type":"integer"}}}"#);
    let new = file("new.json", r#"{"type":"object","properties":{"a":{"type":"number"}}}"#);
    assert_eq!(answer(&["schemas", "check", &old, &new, "--mode", "backward"]), "backward compatible\n");
    let (code, said) = refusal(&["schemas", "check", &old, &new, "--mode", "full"]);
    assert_eq!((code, said.as_str()), (1, "fakemon: not full compatible (1 found)"));
    let broken = file("broken.json", r#"{"pattern":"(?=x)"}"#);
    assert!(refusal(&["schemas", "check", &old, &broken]).1.contains("#/pattern"));
}

/// Files of a binding, below a folder.
fn bindings(folder: &Path, language: &str, name: &str) -> Vec<PathBuf> {
    let out = folder.to_str().unwrap();
    let written = answer(&["schemas", "bindings", "--language", language, name, "--out", out]);
    written.lines().map(PathBuf::from).collect()
}

/// A schema with every construct.
const EVERYTHING: &str = r##"{
  "openapi": "3.0.0",
  "components": { "schemas": {
    "AWSEvent": { "type": "object", "required": ["detail", "detail-type"], "properties": {
      "detail": { "$ref": "#/components/schemas/Order" }, "detail-type": { "type": "string" },
      "time": { "type": "string", "format": "date-time" } } },
    "Order": { "type": "object", "description": "What \"was\" */ bought\nby whom \\", "required": ["id", "type", "items"],
      "properties": {
        "id": { "type": "integer" }, "type": { "enum": ["gift", "self", "2nd-hand"] }, "class": { "type": "string" },
        "items": { "type": "array", "items": { "$ref": "#/components/schemas/Item" } },
        "parent": { "$ref": "#/components/schemas/Order" },
        "paid": { "oneOf": [{ "type": "string" }, { "$ref": "#/components/schemas/Money" }] },
        "by name": { "type": "object", "additionalProperties": { "$ref": "#/components/schemas/Money" } },
        "note": { "type": "string", "nullable": true }, "anything": {}, "flags": { "type": "array", "items": { "type": "boolean" } },
        "when": { "type": "string", "format": "date-time" } } },
    "Odd": { "type": "object", "required": ["say \"a\"", ""], "properties": {
        "say \"a\"": { "type": "string" }, "": { "enum": ["\"", "a\\b"] }, "a\\b": { "type": "integer" },
        "two\nlines": { "$ref": "#/components/schemas/Money" }, "a,b": { "type": "array", "items": { "type": "string" } },
        "-": { "type": "boolean" }, "café`😀": { "type": "string", "nullable": true }, "plain": { "type": "integer" },
        "marshalJSON": { "type": "string" } } },
    "Item": { "allOf": [{ "$ref": "#/components/schemas/Money" }, { "type": "object", "properties": { "of": { "type": "string" } } }] },
    "Money": { "type": "object", "required": ["amount"], "properties": { "amount": { "type": "number" } } },
    "Many": { "type": "array", "items": { "$ref": "#/components/schemas/Money" } }
  } }
}"##;

fn everything(folder: &Path) -> String {
    let path = folder.join("everything.json");
    std::fs::write(&path, EVERYTHING).unwrap();
    path.to_str().unwrap().to_owned()
}

const NAMES: [&str; 3] = ["fakemon.capture@fakemon.capture_failed", "fakemon.world@fakemon.spawn", "fakemon.play"];

#[test]
fn rust_types_compile_and_read_what_they_describe() {
    let folder = fresh_data();
    let everything = everything(folder.path());
    let (mut sources, mut calls) = (String::from("extern crate serde; extern crate serde_json;\n"), String::new());
    for (number, name) in NAMES.into_iter().chain([everything.as_str()]).enumerate() {
        let files = bindings(&folder.path().join(format!("r{number}")), "rust", name);
        sources += &format!("#[path = {:?}] #[allow(dead_code)] mod r{number};\n", files[0]);
    }
    let order = r##"{"detail-type":"x","detail":{"id":1,"type":"2nd-hand","items":[{"amount":1.5,"of":"a"}],"parent":{"id":2,"type":"self","items":[]},"paid":{"amount":2.0},"note":"n"}}"##;
    calls += &format!(
        "let e: r3::AWSEvent = serde_json::from_str({order:?}).unwrap(); let back = serde_json::to_value(&e).unwrap();"
    );
    calls += &format!("assert_eq!(back, serde_json::from_str::<serde_json::Value>({order:?}).unwrap());");
    let main = folder.path().join("main.rs");
    std::fs::write(&main, format!("{sources}fn main() {{ {calls} }}")).unwrap();
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let built = |name: &str| -> Vec<PathBuf> {
        let files = std::fs::read_dir(&deps).unwrap().flatten().map(|file| file.path());
        let fits = |path: &PathBuf| {
            let file = path.file_name().unwrap().to_str().unwrap();
            file.starts_with(&format!("lib{name}-")) && file.ends_with(".rlib")
        };
        files.filter(fits).collect()
    };
    let mut said = String::new();
    // There may be several builds of a package; two that fit together compile.
    for serde in built("serde") {
        for json in built("serde_json") {
            let out = folder.path().join("reads");
            let ran = Command::new("rustc")
                .args(["--edition", "2021", "-A", "warnings", "-o"])
                .arg(&out)
                .arg("-L")
                .arg(format!("dependency={}", deps.display()))
                .args(["--extern", &format!("serde={}", serde.display())])
                .args(["--extern", &format!("serde_json={}", json.display())])
                .arg(&main)
                .output();
            let Ok(ran) = ran else { return eprintln!("no rustc here: not compiled") };
            if ran.status.success() {
                let read = Command::new(&out).output().unwrap();
                assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
                return;
            }
            said = String::from_utf8_lossy(&ran.stderr).into_owned();
        }
    }
    panic!("{said}");
}

/// Runs a program that may not be installed; returns its output if it failed.
fn compiles(program: &str, arguments: &[&str], folder: &Path) {
    match Command::new(program).args(arguments).current_dir(folder).output() {
        Err(_) => eprintln!("no {program} here: not compiled"),
        Ok(ran) => {
            let said = [ran.stdout, ran.stderr].concat();
            assert!(ran.status.success(), "{program}: {}", String::from_utf8_lossy(&said));
        }
    }
}

#[test]
fn python_typescript_and_go_types_compile_where_their_compilers_are() {
    let folder = fresh_data();
    let everything = everything(folder.path());
    for (number, name) in NAMES.into_iter().chain([everything.as_str()]).enumerate() {
        let at = |language: &str| folder.path().join(format!("{language}{number}"));
        let python = bindings(&at("python"), "python", name);
        compiles("python3", &["-m", "py_compile", python[0].to_str().unwrap()], folder.path());
        bindings(&at("typescript"), "typescript", name);
        compiles("tsc", &["--strict", "--noEmit", "index.ts"], &at("typescript"));
        bindings(&at("go"), "go", name);
        compiles("go", &["build", "./..."], &at("go"));
    }
    let reads = "import json, everything as e\n\
        order = {'id': 1, 'type': '2nd-hand', 'items': [{'amount': 1.5, 'of': 'a'}], 'by name': {'x': {'amount': 1}},\n\
                 'parent': {'id': 2, 'type': 'self', 'items': []}, 'class': 'c'}\n\
        read = e.AWSEvent.from_dict({'detail-type': 'x', 'detail': order})\n\
        assert read.detail.items[0].amount == 1.5 and read.detail.type.value == '2nd-hand', read\n\
        assert read.to_dict()['detail'] == order, read.to_dict()\n";
    compiles("python3", &["-c", reads], &folder.path().join("python3"));
    let go = folder.path().join("go3");
    let module = std::fs::read_to_string(go.join("go.mod")).unwrap();
    let module = module.lines().find_map(|line| line.strip_prefix("module ")).unwrap().to_owned();
    let reads = r##"package main
import ("encoding/json"; "fmt"; "os"; e "MODULE")
func main() {
    order := `{"detail":{"by name":{"x":{"amount":1}},"class":"c","id":1,"items":[{"amount":1.5,"of":"a"}],"parent":{"id":2,"items":[],"type":"self"},"type":"2nd-hand"},"detail-type":"x"}`
    var read e.AWSEvent
    if err := json.Unmarshal([]byte(order), &read); err != nil { panic(err) }
    var parent e.Order = *read.Detail.Parent
    if parent.ID != 2 || read.Detail.Type != e.OrderTypeValue2ndHand { panic(fmt.Sprint(read)) }
    back, _ := json.Marshal(read)
    var known, found any
    json.Unmarshal([]byte(order), &known); json.Unmarshal(back, &found)
    if fmt.Sprint(known) != fmt.Sprint(found) { fmt.Println(string(back)); os.Exit(1) }
    for _, text := range []string{ODD} {
        var odd e.Odd
        if err := json.Unmarshal([]byte(text), &odd); err != nil { panic(err) }
        back, _ := json.Marshal([]e.Odd{odd})
        var known, found any
        json.Unmarshal([]byte("[" + text + "]"), &known); json.Unmarshal(back, &found)
        if fmt.Sprint(known) != fmt.Sprint(found) { fmt.Println(text, string(back)); os.Exit(1) }
    }
}"##;
    // Names that a Go struct tag cannot contain.
    let full = json!({ "say \"a\"": "x", "": "a\\b", "a\\b": 1, "two\nlines": { "amount": 2 }, "a,b": ["c"], "-": true,
                       "café`😀": "y", "plain": 3, "marshalJSON": "z" });
    let odd = format!("{:?}, {:?}", full.to_string(), json!({ "say \"a\"": "", "": "\"" }).to_string());
    let reads = reads.replace("ODD", &odd);
    std::fs::create_dir(go.join("reads")).unwrap();
    std::fs::write(go.join("reads/main.go"), reads.replace("MODULE", &module)).unwrap();
    compiles("go", &["run", "./reads"], &go);
    let reads = r##"import { AWSEvent } from "./index";
const event: AWSEvent = { "detail-type": "x", detail: { id: 1, type: "2nd-hand", items: [{ amount: 1.5, of: "a" }] } };
// @ts-expect-error: a gift is no thing
event.detail.type = "thing";
export const amount: number = event.detail.items[0].amount;
"##;
    let typescript = folder.path().join("typescript3");
    std::fs::write(typescript.join("reads.ts"), reads).unwrap();
    compiles("tsc", &["--strict", "--noEmit", "reads.ts"], &typescript);
}
