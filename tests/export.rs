//! Exports: JSON lines that import to the same journal, tables that agree with the log; and what is rejected.

use crate::aws::{call, events};
use crate::dice::Dice;
use crate::player::{Player, SOL};
use crate::server::{Server, answer, fakemon, fresh_data, refusal};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

/// A journal with events of every kind, from three runs of a server, the last ended by a kill.
pub(crate) fn lived_in(data: &Path) {
    for (life, cores) in ["1", "2", "1"].into_iter().enumerate() {
        let server = Server::start(data, &["--cores", cores]);
        let spawned: Vec<u64> = (0..4).map(|_| server.spawn(sparkit()).0.parse().unwrap()).collect();
        for name in ["ana", "Zo%C3%AB", "%F0%9F%92%A5%20%22%5C"] {
            let mut player = Player::connect(server.play, name).unwrap();
            for attempt in 0..30 {
                player.attempt(life as u64 * 30 + attempt, spawned[attempt as usize % 4] + attempt % 2).unwrap();
            }
        }
        events(
            &server,
            "PutRule",
            json!({ "Name": "all", "EventBusName": "fakemon", "EventPattern": "{\"source\":[\"fakemon.capture\"]}" }),
        );
        let entry = json!({ "Source": "shop", "DetailType": "sold ünï \" \\", "Detail": "{\"a\":\"\\u0001,\\n\"}", "Resources": ["x", "y"] });
        let (status, put) = call(&server, "AWSEvents.PutEvents", &json!({ "Entries": [entry, entry] }));
        assert_eq!((status, &put["FailedEntryCount"]), (200, &json!(0)), "{put}");
        if life == 1 {
            events(&server, "DeleteRule", json!({ "Name": "all", "EventBusName": "fakemon" }));
        }
        match life {
            2 => server.kill(),
            _ => assert!(server.stop().success()),
        }
    }
}

fn sparkit() -> Value {
    json!({ "species": "sparkit", "lat": SOL.0, "lon": SOL.1, "catch_rate": 0.5 })
}

fn verified(data: &Path) -> Value {
    let mut report: Value = serde_json::from_str(&answer(&["verify", "--json", "--data", path(data)])).unwrap();
    for measured in ["seconds", "events_per_second"] {
        report.as_object_mut().unwrap().remove(measured);
    }
    report
}

fn export(data: &Path, format: &str, out: &Path, more: &[&str]) {
    answer(&[&["export", "--data", path(data), "--format", format, "--out", path(out)], more].concat());
}

#[test]
fn lines_of_a_journal_become_the_same_journal() {
    let dir = fresh_data();
    let data = dir.path().join("data");
    lived_in(&data);
    for name in ["lines.jsonl", "lines.jsonl.gz", "lines.jsonl.zst"] {
        let (out, again) = (dir.path().join(name), dir.path().join(format!("from-{name}")));
        export(&data, "jsonl", &out, &[]);
        let report: Value =
            serde_json::from_str(&answer(&["import", "--json", "--data", path(&again), path(&out)])).unwrap();
        assert_eq!(verified(&again), verified(&data), "{report}");
        assert_eq!(report["state_hash"], verified(&data)["state_hash"]);
        let second = dir.path().join("second.jsonl");
        export(&again, "jsonl", &second, &[]);
        if name == "lines.jsonl" {
            assert!(fs::read(&out).unwrap() == fs::read(&second).unwrap(), "the lines are not the same");
        }
    }
    assert!(
        fs::metadata(dir.path().join("lines.jsonl.zst")).unwrap().len()
            < fs::metadata(dir.path().join("lines.jsonl")).unwrap().len() / 3
    );
    // A server continues with the import: collections and rules are the same.
    let (old, new) = (Server::start(&data, &[]), Server::start(&dir.path().join("from-lines.jsonl"), &[]));
    for name in ["ana", "Zo%C3%AB"] {
        let collection = |server: &Server| {
            Player::connect(server.play, name).unwrap().ask(&json!({ "type": "collection" })).unwrap()
        };
        assert_eq!(collection(&old), collection(&new));
    }
    let rules = |server: &Server| events(server, "ListRules", json!({ "EventBusName": "fakemon" }))["Rules"].clone();
    assert_eq!(rules(&old), rules(&new));
    assert_eq!(rules(&old).as_array().unwrap().len(), 1);
}

#[test]
fn lines_that_are_not_those_of_a_journal_are_refused_with_their_number() {
    let (dir, mut dice) = (fresh_data(), Dice::new());
    let (data, out) = (dir.path().join("data"), dir.path().join("lines.jsonl"));
    lived_in(&data);
    export(&data, "jsonl", &out, &[]);
    let text = fs::read_to_string(&out).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for round in 0..12 {
        let mut spoilt: Vec<String> = lines.iter().map(ToString::to_string).collect();
        let at = 1 + dice.below(lines.len() - 2);
        let what = match round % 4 {
            0 => {
                spoilt.remove(at);
                "removed"
            }
            1 => {
                spoilt.insert(at, lines[at].to_owned());
                "twice"
            }
            2 => {
                spoilt.truncate(at + 1);
                "cut off"
            }
            _ => {
                let kind = lines[at].find(|c: char| c.is_ascii_digit()).expect("every line holds a number");
                let digit = if &lines[at][kind..=kind] == "1" { "2" } else { "1" };
                spoilt[at].replace_range(kind..=kind, digit);
                "changed"
            }
        };
        fs::write(&out, spoilt.join("\n") + "\n").unwrap();
        let again = dir.path().join(format!("again-{round}"));
        let (code, line) = refusal(&["import", "--data", path(&again), path(&out)]);
        assert!(code == 1 && line.contains(": line "), "line {at} {what}: {line}");
        for command in ["info", "verify", "log"] {
            let (code, line) = refusal(&[command, "--data", path(&again)]);
            assert!(code == 1 && line.contains("incomplete"), "{line}");
        }
        let (code, line) = refusal(&["import", "--data", path(&again), path(&out)]);
        assert!(code == 1 && line.contains("not empty"), "{line}");
    }
    let again = dir.path().join("filtered");
    export(&data, "jsonl", &out, &["--kind", "attempt"]);
    let (code, line) = refusal(&["import", "--data", path(&again), path(&out)]);
    assert!(code == 1 && line.contains("line 1") && line.contains("without filters"), "{line}");
    assert!(!again.exists());
    let (code, line) = refusal(&["import", "--data", path(&again), path(&data.join("FAKEMON"))]);
    assert!(code == 1 && line.contains("line 1"), "{line}");
}

#[test]
fn what_retention_kept_is_exported_and_imported() {
    let dir = fresh_data();
    let (data, again, out) = (dir.path().join("data"), dir.path().join("again"), dir.path().join("lines.jsonl"));
    let config = dir.path().join("fakemon.toml");
    fs::write(&config, "[journal]\nkeep_age = \"1ms\"\nsnapshot_every = \"50ms\"\n").unwrap();
    let server = Server::start(&data, &["--config", path(&config)]);
    let mut player = Player::connect(server.play, "ana").unwrap();
    let first = |data: &Path| verified(data)["first_position"].as_str().unwrap().parse::<u64>().unwrap();
    for attempt in 0.. {
        player.attempt(attempt, 1).unwrap();
        if attempt % 100 == 99 && first(&data) > 20 {
            break;
        }
    }
    server.kill();
    export(&data, "jsonl", &out, &[]);
    let report = answer(&["import", "--data", path(&again), path(&out)]);
    assert!(report.contains("retention"), "{report}");
    assert_eq!(verified(&again), verified(&data));
    assert!(first(&again) > 20);
}

#[test]
fn tables_say_what_the_log_says() {
    let dir = fresh_data();
    let (data, table, csv) = (dir.path().join("data"), dir.path().join("t.parquet"), dir.path().join("t.csv"));
    lived_in(&data);
    export(&data, "parquet", &table, &[]);
    export(&data, "csv", &csv, &[]);
    let file = SerializedFileReader::new(fs::File::open(&table).unwrap()).unwrap();
    let log = answer(&["log", "--data", path(&data)]);
    let log: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut cells = csv::Reader::from_path(&csv).unwrap();
    let headers = cells.headers().unwrap().clone();
    let rows: Vec<BTreeMap<String, String>> = cells
        .records()
        .map(|record| headers.iter().map(str::to_owned).zip(record.unwrap().iter().map(str::to_owned)).collect())
        .collect();
    assert_eq!((rows.len(), file.metadata().file_metadata().num_rows()), (log.len(), log.len() as i64));
    let names: Vec<String> =
        file.metadata().file_metadata().schema().get_fields().iter().map(|field| field.name().to_owned()).collect();
    // Each time in microseconds has a column with the remaining nanoseconds.
    let below = |name: &str| name.strip_suffix("_ns").is_some_and(|time| names.iter().any(|name| name == time));
    assert_eq!(names.iter().filter(|name| !below(name)).collect::<Vec<_>>(), headers.iter().collect::<Vec<_>>());
    assert_eq!(names.iter().filter(|name| below(name)).count(), 5, "{names:?}");
    let column = |name: &str| names.iter().position(|column| column == name).unwrap();
    for ((row, record), event) in file.get_row_iter(None).unwrap().zip(&rows).zip(&log) {
        let row = row.unwrap();
        let position = row.get_ulong(column("position")).unwrap().to_string();
        assert_eq!(position, record["position"]);
        let text = |name: &str| row.get_string(column(name)).ok().cloned().unwrap_or_default();
        let micros = row.get_timestamp_micros(column("committed_at")).unwrap();
        let nanos = row.get_short(column("committed_at_ns")).unwrap();
        let committed_at: jiff::Timestamp = record["committed_at"].parse().unwrap();
        assert_eq!(i128::from(micros) * 1_000 + i128::from(nanos), committed_at.as_nanosecond(), "at {position}");
        for name in [
            "kind",
            "player",
            "species",
            "outcome",
            "detail_type",
            "detail",
            "key",
            "value",
            "resources",
            "attempt_id",
            "fakemon_id",
            "world_seed",
        ] {
            assert_eq!(text(name), record[name], "{name} at {position}");
        }
        let detail = &event["detail"];
        match record["kind"].as_str() {
            "attempt" => {
                assert_eq!(
                    (detail["player"].as_str().unwrap(), &detail["position"]),
                    (&*text("player"), &json!(position))
                );
                let caught = text("outcome") == "captured";
                assert_eq!(caught, event["detail-type"] == "fakemon.capture_succeeded");
                let lat = row.get_double(column("lat")).unwrap();
                assert!((lat - SOL.0).abs() < 1e-6 && record["lat"] == lat.to_string(), "{lat}");
            }
            "put" => {
                assert_eq!(event["detail-type"], text("detail_type"));
                assert_eq!(*detail, serde_json::from_str::<Value>(&text("detail")).unwrap());
            }
            _ => {}
        }
    }
}

#[test]
fn filters_are_those_of_the_log() {
    let dir = fresh_data();
    let (data, out) = (dir.path().join("data"), dir.path().join("lines.jsonl"));
    lived_in(&data);
    for filters in [
        &["--kind", "capture_succeeded", "--kind", "put"][..],
        &["--player", "Zoë"],
        &["--from", "30", "--to", "60"],
        &["--from", "17", "--to", "90", "--kind", "attempt", "--player", "ana"],
        &["--kind", "attempt", "--rule", "all"],
    ] {
        let log = answer(&[&["log", "--data", path(&data)], filters].concat());
        let positions = |value: &Value| value["detail"]["position"].as_str().map(str::to_owned);
        let mut logged: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        logged.dedup_by_key(|line| positions(line).unwrap_or_else(|| line["id"].to_string())); // a rule sees the attempt and its result
        export(&data, "jsonl", &out, filters);
        let text = fs::read_to_string(&out).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["export"]["whole"], false);
        let exported = lines.iter().filter(|line| line.get("position").is_some());
        assert_eq!(exported.count(), logged.len(), "{filters:?}");
        assert!(!logged.is_empty());
    }
}

#[test]
fn a_part_is_never_mistaken_for_all() {
    let dir = fresh_data();
    let (data, out) = (dir.path().join("data"), dir.path().join("nowhere").join("lines.jsonl"));
    lived_in(&data);
    let (code, line) = refusal(&["export", "--data", path(&data), "--format", "csv", "--out", path(&out)]);
    assert!(code == 1 && line.contains("--out"), "{line}");
    let out = dir.path().join("there.parquet");
    fs::create_dir(&out).unwrap(); // the name is taken by a directory
    let (code, line) = refusal(&["export", "--data", path(&data), "--format", "parquet", "--out", path(&out)]);
    assert!(code == 1 && line.contains("--out"), "{line}");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_str().unwrap().ends_with(".part")), "{left:?}");
    // A symbolic link is kept, a pipe is written to, and the source directory does not change.
    let (file, link, pipe) = (dir.path().join("file.jsonl"), dir.path().join("link"), dir.path().join("pipe"));
    fs::write(&file, "").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    export(&data, "jsonl", &link, &[]);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read(pipe).unwrap()
    });
    export(&data, "jsonl", &pipe, &[]);
    assert_eq!(reader.join().unwrap(), fs::read(&file).unwrap());
    let inside = data.join("journal").join("x.csv");
    let (code, line) = refusal(&["export", "--data", path(&data), "--format", "csv", "--out", path(&inside)]);
    assert!(code == 1 && line.contains("outside of the data directory") && !inside.exists(), "{line}");
    let piped = fakemon(&["export", "--data", path(&data), "--format", "jsonl", "--out", "-"]);
    assert!(piped.status.success() && piped.stdout.ends_with(b"}}\n"));
}

#[test]
fn a_spreadsheet_computes_nothing_of_what_others_wrote() {
    let dir = fresh_data();
    let (data, csv) = (dir.path().join("data"), dir.path().join("t.csv"));
    let server = Server::start(&data, &[]);
    let name = "=HYPERLINK(\"http://x\")";
    let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
    Player::connect(server.play, &encoded).unwrap().attempt(1, 1).unwrap();
    server.post_event(&json!({ "source": "+shop", "detail-type": "@sold", "detail": {} }).to_string());
    assert!(server.stop().success());
    export(&data, "csv", &csv, &[]);
    let mut cells = csv::Reader::from_path(&csv).unwrap();
    let cells: Vec<String> =
        cells.records().flat_map(|row| row.unwrap().iter().map(str::to_owned).collect::<Vec<_>>()).collect();
    assert!(cells.iter().any(|cell| *cell == format!("'{name}")));
    let computed = cells.iter().find(|cell| cell.starts_with(['=', '+', '@']));
    assert_eq!(computed, None);
}
