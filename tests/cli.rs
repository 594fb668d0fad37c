//! The command line, from outside: answers on stdout, one line on stderr on failure, the right exit code.

use crate::server::{FAKEMON, Server, answer, fakemon, fresh_data, refusal};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

fn sparkit() -> Value {
    json!({ "species": "sparkit", "lat": 40.4168, "lon": -3.7038, "catch_rate": 1 })
}

/// The lines of `fakemon log` with more arguments.
fn log(data: &str, arguments: &[&str]) -> Vec<Value> {
    let text = answer(&[&["log", "--data", data], arguments].concat());
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON"));
    lines.collect()
}

#[test]
fn help_and_version_are_answers() {
    let help = answer(&["--help"]);
    for command in ["serve", "load", "log", "verify", "info", "config"] {
        assert!(help.contains(command), "{help}");
    }
    assert!(answer(&["--version"]).starts_with("fakemon "));
    assert!(answer(&["serve", "--help"]).contains("--allow-private-targets"));
}

#[test]
fn a_wrong_command_line_is_told_in_one_line() {
    for arguments in [
        &["--nonsense"][..],
        &["serve", "--cores", "many"],
        &["serve", "--listen", "here"],
        &["serve", "--log-format", "xml"],
        &["log", "--from", "yesterday"],
        &["log", "--kind", "weather"],
        &["log", "--player", ""],
        &["topology", "--format", "dot", "--json"],
        &["topology", "--types", "3", "--json"],
        &["replay", "--what-if", "--seed", "1", "--diff"],
        &["replay", "--what-if", "--seed", "1", "--player", "ash"],
        &["replay", "--step", "--fakemon", "1"],
        &["rules", "test", "--pattern", "p", "--explain", "e", "--from", "1"],
        &[],
    ] {
        let (code, line) = refusal(arguments);
        assert_eq!(code, 2, "{line}");
        assert!(line.starts_with("fakemon: ") && line.contains("fakemon help"), "{line}");
    }
}

/// Output that cannot be written is never a success, whatever the command; a reader that leaves is.
#[test]
fn a_full_disk_behind_stdout_is_told() {
    let data = fresh_data();
    let dir = data.path().to_str().unwrap();
    assert!(Server::start(data.path(), &[]).stop().success());
    for arguments in [
        &["help"][..],
        &["--version"],
        &["config"],
        &["services", "--json"],
        &["info", "--data", dir],
        &["log", "--data", dir],
        &["topology", "--data", dir, "--format", "dot"],
        &["export", "--data", dir, "--format", "csv", "--out", "-"],
        &["trace", "--data", dir, "1", "--chrome", "-"],
        &["timeline", "--data", dir, "--html", "-"],
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = Command::new(FAKEMON).args(arguments).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{arguments:?}: {said}");
        assert!(said.contains("No space left"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_file_named_dash_is_stdout_and_stdout_has_that_alone() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let position = server.spawn(sparkit()).1.to_string();
    let dir = data.path().to_str().unwrap();
    let trace = ["trace", "--data", dir, &position];
    let spans: Value = serde_json::from_str(&answer(&[&trace[..], &["--chrome", "-"]].concat())).unwrap();
    assert!(spans["traceEvents"].is_array(), "{spans}");
    let spans: Value = serde_json::from_str(&answer(&[&trace[..], &["--otlp", "-"]].concat())).unwrap();
    assert!(spans["resourceSpans"].is_array(), "{spans}");
    let report = answer(&["timeline", "--data", dir, "--html", "-"]);
    assert!(report.starts_with("<!doctype html>") && report.trim_end().ends_with("</html>"), "{report}");
    for (arguments, named) in [
        (&[&trace[..], &["--chrome", "-", "--otlp", "-"]].concat()[..], &["--chrome", "--otlp"]),
        (&[&trace[..], &["--chrome", "-", "--json"]].concat(), &["--chrome", "--json"]),
        (&["timeline", "--data", dir, "--html", "-", "--json"], &["--html", "--json"]),
        (&["export", "--data", dir, "--format", "csv", "--out", "-", "--json"], &["--out", "--json"]),
        (&["rules", "test", "--pattern", "-", "--explain", "-"], &["--pattern", "--explain"]),
    ] {
        let (code, line) = refusal(arguments);
        assert!(code == 1 && named.iter().all(|name| line.contains(name)), "{arguments:?}: {line}");
    }
    assert!(!std::path::Path::new("-").exists());
}

#[test]
fn a_file_that_cannot_be_written_or_read_is_named_as_the_command_line_does() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let position = server.spawn(sparkit()).1.to_string();
    let dir = data.path().to_str().unwrap();
    let missing = data.path().with_extension("missing").join("file");
    let missing = missing.to_str().unwrap();
    for (option, arguments) in [
        ("--out", &["export", "--data", dir, "--format", "jsonl"][..]),
        ("--out", &["export", "--data", dir, "--format", "parquet"]),
        ("--html", &["timeline", "--data", dir]),
        ("--chrome", &["trace", "--data", dir, &position]),
        ("--otlp", &["trace", "--data", dir, &position]),
        ("--pattern", &["rules", "test", "--data", dir]),
    ] {
        for file in [missing, "/", "/dev/full"] {
            let (code, line) = refusal(&[arguments, &[option, file]].concat());
            let is_named = line.contains(&format!("{option} {file}: "));
            assert!(code == 1 && is_named && !line.contains(".part"), "{arguments:?} {file}: {line}");
        }
    }
    let (code, line) = refusal(&["schemas", "check", "shop@sold", "shop@sold"]);
    assert!(
        code == 1 && line.contains("shop@sold: there is no such file") && line.contains("describe-schema"),
        "{line}"
    );
    let bindings = ["schemas", "bindings", "--data", dir, "--language", "go"];
    let (code, line) = refusal(&[&bindings[..], &["shop@sold"]].concat());
    assert!(code == 1 && line.contains("shop@sold: no file") && line.contains("discovered-schemas"), "{line}");
}

#[test]
fn the_printed_settings_file_starts_a_server() {
    let data = fresh_data();
    let path = data.path().join("fakemon.toml");
    std::fs::write(&path, answer(&["config"])).unwrap();
    let server = Server::start(&data.path().join("world"), &["--config", path.to_str().unwrap()]);
    assert_eq!(server.get("/readyz").0, 200);
    assert!(server.stop().success());
}

#[test]
fn settings_are_refused_by_name_with_the_remedy() {
    let data = fresh_data();
    let file = data.path().join("fakemon.toml");
    let serve_with = |text: &str| {
        std::fs::write(&file, text).unwrap();
        refusal(&["serve", "--config", file.to_str().unwrap()])
    };
    for (text, expected) in [
        ("cors = 2", "there is no setting cors"),
        ("cores = 0", "cores must be from 1 to"),
        ("[world]\nreach_m = -1", "world.reach_m"),
        (
            "[world]\nspecies_file = \"nowhere.toml\"",
            "line 2 (`species_file = \"nowhere.toml\"`): world.species_file",
        ),
        ("[world]\nspecies_file = \"nowhere.toml\"", "leave it out for those that are built in"),
        (
            "\n[aws]\naccess_keys_file = \"nowhere\"",
            "line 3 (`access_keys_file = \"nowhere\"`): aws.access_keys_file",
        ),
        ("[aws]\naccess_keys_file = \"nowhere\"", "name a file of `access_key_id secret_access_key` lines"),
        ("[auth]\nhs256_secret_file = \"nowhere\"", "auth.hs256_secret_file"),
        ("[log]\nlevel = \"=\"", "log level"),
        ("[log]\nlevel = \"inof\"", "`inof` is no log level"),
    ] {
        let (code, line) = serve_with(text);
        assert!(code == 1 && line.contains(expected), "{text}: {code} {line}");
    }
    let missing = data.path().join("missing.toml");
    assert!(refusal(&["serve", "--config", missing.to_str().unwrap()]).1.contains("--config"));
    assert!(refusal(&["serve", "--config", "/dev/zero"]).1.contains("no regular file"));
}

#[test]
fn open_mode_refuses_other_addresses() {
    let data = fresh_data();
    let data = data.path().to_str().unwrap();
    let (code, line) = refusal(&["serve", "--data", data, "--listen", "0.0.0.0:0"]);
    assert!(code == 1 && line.contains("loopback") && line.contains("auth."), "{line}");
    let (code, line) = refusal(&["serve", "--data", data, "--control", "0.0.0.0:0"]);
    assert!(code == 1 && line.contains("loopback"), "{line}");
}

#[test]
fn a_port_in_use_is_told_with_the_flag_to_change() {
    let (data, other) = (fresh_data(), fresh_data());
    let server = Server::start(data.path(), &[]);
    let other = other.path().to_str().unwrap();
    let control = server.control.to_string();
    let (code, line) = refusal(&["serve", "--data", other, "--listen", "127.0.0.1:0", "--control", &control]);
    assert!(code == 1 && line.contains(&control) && line.contains("--control"), "{line}");
    let play = server.play.to_string();
    let (code, line) = refusal(&["serve", "--data", other, "--control", "127.0.0.1:0", "--listen", &play]);
    assert!(code == 1 && line.contains(&play), "{line}");
}

#[test]
fn a_second_process_on_the_same_directory_is_refused() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let arguments = ["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"];
    let (code, line) = refusal(&[&["serve", "--data", data.path().to_str().unwrap()], &arguments[..]].concat());
    assert!(code == 1 && line.contains(data.path().to_str().unwrap()), "{line}");
    assert_eq!(server.get("/healthz").0, 200);
}

#[test]
fn too_little_locked_memory_is_told_with_the_limit_to_raise() {
    let data = fresh_data();
    let serve = r#"ulimit -l 64 && exec "$0" serve --cores 2 --listen 127.0.0.1:0 --control 127.0.0.1:0 --data "$1""#;
    let output = Command::new("sh").args(["-c", serve, FAKEMON]).arg(data.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("locked memory") && said.contains("ulimit -l"), "{said}");
}

#[test]
fn a_directory_that_cannot_be_made_is_told() {
    let folder = fresh_data();
    let file = folder.path().join("thesis.tex");
    std::fs::write(&file, "chapter one").unwrap();
    for data in [file.clone(), file.join("below"), "/proc/nowhere".into()] {
        let data = data.to_str().unwrap();
        let (code, line) = refusal(&["serve", "--data", data, "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]);
        assert!(code == 1 && line.contains(data) && line.contains("give a directory"), "{line}");
    }
}

#[test]
fn offline_commands_refuse_what_is_no_journal() {
    let empty = fresh_data();
    std::fs::write(empty.path().join("notes.txt"), "not a journal").unwrap();
    for data in [empty.path().to_str().unwrap(), "/nonexistent/journal", "/dev/null"] {
        for command in ["info", "log", "verify"] {
            let (code, line) = refusal(&[command, "--data", data]);
            assert!(code == 1 && line.contains(data) && line.contains("not a fakemon data"), "{command}: {line}");
        }
    }
    let left: Vec<_> = std::fs::read_dir(empty.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "an offline command wrote into a foreign directory");
}

#[test]
fn sigterm_and_sigint_drain_and_exit_0() {
    let data = fresh_data();
    assert!(Server::start(data.path(), &[]).stop().success());
    let server = Server::start(data.path(), &[]);
    rustix::process::kill_process(server.pid(), rustix::process::Signal::INT).unwrap();
    let status = server.wait();
    assert!(status.success(), "{status:?}");
}

#[test]
fn events_are_printed_beside_a_running_server_and_after_it() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let path = server.data.to_str().unwrap().to_owned();
    let (id, position) = server.spawn(sparkit());
    for running in [true, false] {
        let lines = log(&path, &["--fakemon", &id]);
        assert_eq!(lines.len(), 1, "{running} {lines:?}");
        let line = &lines[0];
        assert_eq!(line["version"], "0");
        assert_eq!(line["detail-type"], "fakemon.appeared");
        assert_eq!(line["source"], "fakemon.world");
        assert_eq!(line["account"], "123456789012");
        assert_eq!(line["region"], "local");
        assert_eq!(line["resources"], json!([]));
        assert_eq!(line["detail"]["species"], "sparkit");
        assert_eq!(line["detail"]["fakemon_id"], id.as_str());
        assert_eq!(line["detail"]["position"], position.to_string());
        if running {
            assert_eq!(server.get("/readyz").0, 200);
        }
    }
    assert!(server.stop().success());
    assert_eq!(log(&path, &["--fakemon", &id]).len(), 1);
}

#[test]
fn the_log_is_cut_by_kind_position_time_and_number() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let path = server.data.to_str().unwrap().to_owned();
    let positions: Vec<u64> = (0..5).map(|_| server.spawn(sparkit()).1).collect();
    server.kill();
    let all = log(&path, &["--kind", "appeared"]);
    let at = |line: &Value| line["detail"]["position"].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(all.iter().map(at).collect::<Vec<_>>(), positions);
    let (from, to) = (positions[1].to_string(), positions[3].to_string());
    let cut = log(&path, &["--kind", "appeared", "--from", &from, "--to", &to]);
    assert_eq!(cut.iter().map(at).collect::<Vec<_>>(), positions[1..=3]);
    let (from, to) = (all[1]["fakemon-time"].as_str().unwrap(), all[3]["fakemon-time"].as_str().unwrap());
    let cut = log(&path, &["--kind", "appeared", "--from", from, "--to", to]);
    assert_eq!(cut.iter().map(at).collect::<Vec<_>>(), positions[1..=3]);
    assert_eq!(log(&path, &["--kind", "appeared", "--limit", "2"]).len(), 2);
    assert_eq!(log(&path, &["--player", "nobody"]).len(), 0);
    assert_eq!(log(&path, &["--kind", "engine_opened"]).len(), 1);
}

#[test]
fn a_follower_sees_what_is_written_later() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let mut follower = Command::new(FAKEMON)
        .args(["log", "--follow", "--kind", "appeared", "--limit", "2", "--data"])
        .arg(&server.data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let (id, _) = server.spawn(sparkit());
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(line["detail"]["fakemon_id"], id.as_str());
    }
    assert!(follower.wait().unwrap().success(), "it ends when the limit is reached");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    (0..300).for_each(|_| drop(server.spawn(sparkit())));
    let mut child = Command::new(FAKEMON)
        .args(["log", "--data"])
        .arg(&server.data)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_journal_verifies_also_after_a_kill() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    (0..20).for_each(|_| drop(server.spawn(sparkit())));
    let path = server.data.to_str().unwrap().to_owned();
    server.kill();
    let report: Value = serde_json::from_str(&answer(&["verify", "--data", &path, "--json"])).unwrap();
    assert_eq!(report["ok"], true);
    assert!(report["events"].as_u64().unwrap() >= 20, "{report}");
    assert!(answer(&["verify", "--data", &path]).contains("the hash chain holds"));
}

#[test]
fn a_damaged_journal_is_not_served() {
    let data = damaged_journal();
    let path = data.path().to_str().expect("temporary paths are UTF-8");
    let (code, line) = refusal(&["serve", "--data", path, "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]);
    assert!(code == 1 && line.contains(path) && line.contains("damaged"), "{line}");
}

#[test]
fn a_damaged_journal_does_not_verify() {
    let data = damaged_journal();
    let output = fakemon(&["verify", "--data", data.path().to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

/// A journal in which one byte changed after it was written; its server was killed, so its log is needed.
fn damaged_journal() -> tempfile::TempDir {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    (0..20).for_each(|_| drop(server.spawn(json!({ "species": "quartzel", "lat": 1.25, "lon": 2.5 }))));
    server.kill();
    let flipped = flip_somewhere(data.path());
    assert!(flipped, "no file of the journal holds the name of the species");
    data
}

/// Changes one byte in each file that holds the name of a species; true if there was one.
fn flip_somewhere(folder: &std::path::Path) -> bool {
    let mut flipped = false;
    for entry in std::fs::read_dir(folder).expect("it can be read").filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            flipped |= flip_somewhere(&path);
            continue;
        }
        let Ok(mut bytes) = std::fs::read(&path) else { continue };
        if let Some(at) = bytes.windows(8).position(|window| window == b"quartzel") {
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).expect("it can be written");
            flipped = true;
        }
    }
    flipped
}

#[test]
fn info_says_how_durable_answers_are() {
    let data = fresh_data();
    let path = data.path().to_str().unwrap().to_owned();
    assert!(Server::start(data.path(), &["--seed", "7"]).stop().success());
    let info: Value = serde_json::from_str(&answer(&["info", "--data", &path, "--json"])).unwrap();
    assert_eq!(info["world_seed"], "7");
    assert_eq!(info["durability"], "synced");
    assert!(!answer(&["info", "--data", &path]).contains("power cut"));
    assert!(Server::start(data.path(), &["--durability", "unsynced"]).stop().success());
    let info: Value = serde_json::from_str(&answer(&["info", "--data", &path, "--json"])).unwrap();
    assert_eq!(info["durability"], "unsynced");
    assert!(answer(&["info", "--data", &path]).contains("power cut"));
    assert!(Server::start(data.path(), &[]).stop().success());
    assert!(answer(&["info", "--data", &path]).contains("some earlier answers were given before the sync"));
}

#[test]
fn a_pattern_is_tried_on_what_happened_and_explained_on_one_event() {
    let data = fresh_data();
    let dir = data.path().to_str().unwrap();
    let server = Server::start(data.path(), &[]);
    for species in ["sparkit", "sparkit", "leaflet"] {
        server.spawn(json!({ "species": species, "lat": 1, "lon": 1 }));
    }
    let file = |name: &str, text: &str| {
        let path = data.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let pattern = file("pattern.json", r#"{"detail-type":["fakemon.appeared"],"detail":{"species":["sparkit"]}}"#);
    let found = answer(&["rules", "test", "--data", dir, "--pattern", &pattern, "--samples", "1", "--json"]);
    let found: Value = serde_json::from_str(&found).unwrap();
    let appeared =
        found["by_detail_type"].as_array().unwrap().iter().find(|one| one["detail_type"] == "fakemon.appeared");
    assert_eq!(appeared.unwrap(), &json!({ "detail_type": "fakemon.appeared", "events": 3, "matched": 2 }));
    assert_eq!((&found["matched"], found["samples"].as_array().unwrap().len()), (&json!(2), 1));
    assert_eq!(found["samples"][0]["detail"]["species"], "sparkit");
    let event = file("event.json", r#"{"detail-type":"fakemon.appeared","detail":{"species":"leaflet"}}"#);
    let why = answer(&["rules", "test", "--pattern", &pattern, "--explain", &event, "--json"]);
    let why: Value = serde_json::from_str(&why).unwrap();
    assert_eq!(why["matches"], false);
    let fields: Vec<(&str, bool)> = why["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| (field["path"].as_str().unwrap(), field["met"].as_bool().unwrap()))
        .collect();
    assert_eq!(fields, [("detail-type", true), ("detail.species", false)]);
    let wrong = file("wrong.json", r#"{"source":"shop"}"#);
    let (_, said) = refusal(&["rules", "test", "--data", dir, "--pattern", &wrong]);
    assert!(said.contains("\"source\" must be an object or an array"), "{said}");
}

#[test]
fn a_position_that_the_journal_does_not_have_is_no_beginning() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let dir = data.path().to_str().unwrap();
    for command in ["log", "replay"] {
        let (code, line) = refusal(&[command, "--data", dir, "--from", "1795881043"]);
        assert!(code == 1 && line.contains("holds positions") && line.contains("2026-03-01T20:00:00Z"), "{line}");
    }
    let next = server.spawn(sparkit()).1 + 1;
    assert_eq!(log(dir, &["--from", &next.to_string()]).len(), 0, "what is written next is one");
}
