//! Salvage: whatever the damage, the new directory opens and verifies, has the readable events at their old
//! positions, and reports what is missing; the damaged one is not changed.

use crate::aws::{events, queue, sqs};
use crate::damage::{copy_dir, damage, lived_in};
use crate::dice::Dice;
use crate::player::{Player, SOL, number};
use crate::server::{Server, answer, fakemon, fresh_data, refusal};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const ROUNDS: usize = 8;

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

fn log(data: &Path) -> Vec<String> {
    answer(&["log", "--data", path(data)]).lines().map(str::to_owned).collect()
}

#[test]
fn what_can_be_read_is_salvaged() {
    let (whole, mut dice) = (fresh_data(), Dice::new());
    lived_in(whole.path());
    let events = log(whole.path());
    let mut salvaged = 0;
    for _ in 0..ROUNDS {
        let dir = fresh_data();
        let (copy, new) = (dir.path().join("copy"), dir.path().join("new"));
        fs::create_dir(&copy).unwrap();
        copy_dir(whole.path(), &copy);
        let what = damage(&copy, &mut dice);
        let output = fakemon(&["verify", "--json", "--data", path(&copy), "--salvage", path(&new)]);
        assert!(!dir.path().join("new.salvage").exists(), "{what}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("panicked"), "{what}: {stderr}");
        if !output.status.success() {
            assert!(stderr.lines().any(|line| line.starts_with("fakemon: ")), "{what}: {stderr}");
            continue;
        }
        salvaged += 1;
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        if report["kept"] == "untouched" {
            assert!(!new.exists() && log(&copy) == events, "{what}: {report}");
            answer(&["verify", "--data", path(&copy)]);
            continue;
        }
        answer(&["verify", "--data", path(&new)]);
        let (first, end) = (position(&report, "first_position"), position(&report, "end_position"));
        let kept = log(&new);
        assert_eq!(kept.len() as u64, end - first, "{what}: {report}");
        assert_eq!(kept, events[first as usize - 1..end as usize - 1], "{what}: {report}");
        if report["kept"] == "everything" || report["kept"] == "mended" {
            assert_eq!(kept.len(), events.len(), "{what}: {report}");
        }
        if report["kept"] != "history" {
            assert!(Server::start(&new, &[]).stop().success(), "{what}: {report}");
            answer(&["verify", "--data", path(&new)]);
        }
    }
    assert!(salvaged > ROUNDS / 3, "only {salvaged}");
}

fn position(report: &Value, member: &str) -> u64 {
    report[member].as_str().unwrap().parse().unwrap()
}

#[test]
fn salvage_asks_for_a_directory_that_nobody_has_open_and_a_free_place() {
    let dir = fresh_data();
    let (data, new) = (dir.path().join("data"), dir.path().join("new"));
    let server = Server::start(&data, &[]);
    let (code, line) = refusal(&["verify", "--data", path(&data), "--salvage", path(&new)]);
    assert!(code == 1 && line.contains("checkpoint"), "{line}");
    assert!(!new.exists());
    assert!(server.stop().success());
    let (code, line) = refusal(&["verify", "--data", path(&data), "--salvage", path(&data)]);
    assert!(code == 1 && line.contains("outside of"), "{line}");
    let said = answer(&["verify", "--data", path(&data), "--salvage", path(&new)]);
    assert!(said.contains("nothing was written") && !new.exists(), "{said}");
}

type Damage = fn(&Path);

fn manifest(copy: &Path) -> PathBuf {
    let mut names = fs::read_dir(copy.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    names.find(|path| path.to_str().unwrap().contains("MANIFEST")).unwrap()
}

/// Before the first tables are written all events are in the log, and a manifest that is missing or cut hides none of
/// them.
#[test]
fn a_damaged_manifest_hides_no_log() {
    let dir = fresh_data();
    let data = dir.path().join("data");
    let server = Server::start(&data, &[]);
    (0..50).for_each(|_| drop(server.spawn(json!({ "species": "sparkit", "lat": 1, "lon": 2 }))));
    server.kill();
    let events = log(&data);
    let damages: [(&str, Damage); 4] = [
        ("no CURRENT", |copy| fs::remove_file(copy.join("journal/CURRENT")).unwrap()),
        ("CURRENT is nonsense", |copy| fs::write(copy.join("journal/CURRENT"), "MANIFEST").unwrap()),
        ("an empty manifest", |copy| fs::write(manifest(copy), "").unwrap()),
        ("a cut manifest", |copy| {
            let bytes = fs::read(manifest(copy)).unwrap();
            fs::write(manifest(copy), &bytes[..bytes.len().min(150)]).unwrap();
        }),
    ];
    for (number, (what, damage)) in damages.iter().enumerate() {
        let (copy, new) = (dir.path().join(format!("copy{number}")), dir.path().join(format!("new{number}")));
        fs::create_dir(&copy).unwrap();
        copy_dir(&data, &copy);
        damage(&copy);
        let output = fakemon(&["verify", "--data", path(&copy), "--salvage", path(&new)]);
        assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(log(&new), events, "{what}");
    }
}

/// A directory with captures, messages, a schedule, log lines and a dead letter, after a clean stop; `more` events
/// came after it, and a kill.
fn with_everything(data: &Path, more: usize) -> (u64, Vec<Value>) {
    let server = Server::start(data, &[]);
    let (url, arn) = queue(&server, "sent");
    let rule = json!({ "Name": "spawned", "EventBusName": "fakemon",
        "EventPattern": json!({ "detail-type": ["fakemon.appeared"] }).to_string() });
    events(&server, "PutRule", rule);
    let targets = json!({ "Rule": "spawned", "EventBusName": "fakemon", "Targets": [{ "Id": "q", "Arn": arn }] });
    events(&server, "PutTargets", targets);
    let clock = json!({ "Name": "clock", "ScheduleExpression": "rate(1 minute)" });
    events(&server, "PutRule", clock);
    (0..5).for_each(|n| drop(sqs(&server, "SendMessage", json!({ "QueueUrl": url, "MessageBody": format!("{n}") }))));
    let mut ana = Player::connect(server.play, "ana").unwrap();
    let mut caught = Vec::new();
    let mut capture = |server: &Server, ana: &mut Player, attempt: u64| {
        let detail = json!({ "species": "sparkit", "lat": SOL.0, "lon": SOL.1, "catch_rate": 1 });
        let (fakemon_id, _) = server.spawn(detail);
        caught.push(ana.attempt(attempt, fakemon_id.parse().unwrap()).unwrap());
    };
    (1..=20).for_each(|attempt| capture(&server, &mut ana, attempt));
    let by = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while waiting(&server, "sent") < 25 {
        assert!(std::time::Instant::now() < by, "events reach the queue");
    }
    assert!(server.stop().success());
    if more > 0 {
        let server = Server::start(data, &[]);
        let mut ana = Player::connect(server.play, "ana").unwrap();
        (21..21 + more as u64).for_each(|attempt| capture(&server, &mut ana, attempt));
        while waiting(&server, "sent") < 25 + more {
            assert!(std::time::Instant::now() < by, "events reach the queue");
        }
        std::thread::sleep(std::time::Duration::from_millis(500)); // the router stores where it stands
        server.kill();
    }
    let end = caught.last().map_or(0, |answer| number(answer, "position")) + 1;
    (end, caught)
}

fn waiting(server: &Server, name: &str) -> usize {
    let (url, _) = queue(server, name);
    let asked = json!({ "QueueUrl": url, "AttributeNames": ["ApproximateNumberOfMessages"] });
    let counts = sqs(server, "GetQueueAttributes", asked);
    counts["Attributes"]["ApproximateNumberOfMessages"].as_str().unwrap().parse().unwrap()
}

fn tables(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut tables: Vec<_> = files.filter(|path| path.extension().is_some_and(|kind| kind == "sst")).collect();
    tables.sort();
    tables
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

fn salvaged(data: &Path, new: &Path) -> Value {
    serde_json::from_str(&answer(&["verify", "--json", "--data", path(data), "--salvage", path(new)])).unwrap()
}

/// Copies of a directory, each with a damage, and what is made of each.
fn damaged(whole: &Path, dir: &Path, name: &str, damage: impl FnOnce(&Path)) -> (PathBuf, Value) {
    let (copy, new) = (dir.join(format!("{name}-copy")), dir.join(format!("{name}-new")));
    fs::create_dir(&copy).unwrap();
    copy_dir(whole, &copy);
    damage(&copy);
    let report = salvaged(&copy, &new);
    assert!(!dir.join(format!("{name}-new.salvage")).exists());
    (new, report)
}

#[test]
fn the_bus_is_kept_whatever_is_left_of_the_journal() {
    let (whole, dir) = (fresh_data(), fresh_data());
    let (_, caught) = with_everything(whole.path(), 0);
    let spoil_journal = |copy: &Path| {
        for file in fs::read_dir(copy.join("journal")).unwrap().map(|entry| entry.unwrap().path()) {
            match file.extension().and_then(|kind| kind.to_str()) {
                Some("sst") => flip(&file, 10),
                Some("log") => fs::write(&file, "").unwrap(), // a log that was flushed is kept for a while
                _ => {}
            }
        }
    };
    // The snapshot knows what the journal no longer says.
    let (new, report) = damaged(whole.path(), dir.path(), "snapshot", spoil_journal);
    assert!(report["kept"] == "snapshot" && report["servable"] == true, "{report}");
    let server = Server::start(&new, &[]);
    let mut ana = Player::connect(server.play, "ana").unwrap();
    for answer in &caught {
        assert_eq!(ana.attempt(number(answer, "attempt_id"), 1).as_ref(), Some(answer));
    }
    assert_eq!(waiting(&server, "sent"), 25);
    let (fakemon_id, at) = server.spawn(json!({ "species": "sparkit", "lat": SOL.0, "lon": SOL.1, "catch_rate": 1 }));
    assert!(at >= position(&report, "end_position"), "no position is given twice: {at} {report}");
    assert_eq!(ana.attempt(99, fakemon_id.parse().unwrap()).unwrap()["outcome"], "captured");
    assert!(server.stop().success());
    answer(&["verify", "--data", path(&new)]);
    // Without it, the bus is all that is left.
    let (new, report) = damaged(whole.path(), dir.path(), "bus", |copy| {
        spoil_journal(copy);
        fs::remove_dir_all(copy.join("snapshot")).unwrap();
    });
    assert!(report["kept"] == "bus" && report["servable"] == true, "{report}");
    let server = Server::start(&new, &[]);
    assert_eq!(waiting(&server, "sent"), 25);
    let (_, at) = server.spawn(json!({ "species": "sparkit", "lat": SOL.0, "lon": SOL.1, "catch_rate": 1 }));
    assert!(at >= position(&report, "end_position"), "no position is given twice: {at} {report}");
    let by = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while waiting(&server, "sent") < 26 {
        assert!(std::time::Instant::now() < by, "rules go on");
    }
    assert!(server.stop().success());
    answer(&["verify", "--data", path(&new)]);
    // And if nothing is, nothing is made.
    let (copy, none) = (dir.path().join("none-copy"), dir.path().join("none"));
    fs::create_dir(&copy).unwrap();
    copy_dir(whole.path(), &copy);
    for folder in ["journal", "snapshot", "bus"] {
        for file in fs::read_dir(copy.join(folder)).unwrap().map(|entry| entry.unwrap().path()) {
            fs::write(file, "").unwrap();
        }
    }
    let output = fakemon(&["verify", "--data", path(&copy), "--salvage", path(&none)]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("nothing can be read"), "{said}");
    assert!(!none.exists() && !dir.path().join("none.salvage").exists());
}

#[test]
fn what_stands_after_the_end_of_the_journal_is_taken_back_to_it() {
    let (whole, dir) = (fresh_data(), fresh_data());
    let (end, _) = with_everything(whole.path(), 20);
    // The journal loses the end of its log, and the snapshot is of the time before.
    let (new, report) = damaged(whole.path(), dir.path(), "cut", |copy| {
        let logs = fs::read_dir(copy.join("journal")).unwrap().map(|entry| entry.unwrap().path());
        let log = logs.filter(|path| path.extension().is_some_and(|kind| kind == "log"));
        let log = log.max_by_key(|log| fs::read(log).unwrap().iter().filter(|byte| **byte != 0).count()).unwrap();
        let bytes = fs::read(&log).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        fs::write(&log, &bytes[..used / 2]).unwrap();
    });
    let kept_end = position(&report, "end_position");
    assert!(kept_end < end, "{report}");
    let notes = report["notes"].to_string();
    assert!(notes.contains(&format!("go on at position {kept_end}")) && notes.contains("is forgotten"), "{report}");
    let server = Server::start(&new, &[]);
    let before = waiting(&server, "sent");
    assert_eq!(before, 45, "messages stay");
    server.spawn(json!({ "species": "sparkit", "lat": SOL.0, "lon": SOL.1 }));
    let by = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while waiting(&server, "sent") <= before {
        assert!(std::time::Instant::now() < by, "an event with a position that was given before is delivered");
    }
    assert!(server.stop().success());
    answer(&["verify", "--data", path(&new)]);
}

#[test]
fn a_manifest_that_is_gone_hides_no_table_and_a_table_that_is_damaged_no_other() {
    let (whole, dir) = (fresh_data(), fresh_data());
    let (_, caught) = with_everything(whole.path(), 20);
    let events = log(whole.path());
    for folder in ["journal", "bus"] {
        for how in ["no CURRENT", "no manifest", "an empty manifest"] {
            let name = format!("{folder}-{}", how.replace(' ', "-"));
            let (new, report) = damaged(whole.path(), dir.path(), &name, |copy| {
                let current = copy.join(folder).join("CURRENT");
                let manifest = copy.join(folder).join(fs::read_to_string(&current).unwrap().trim());
                match how {
                    "no CURRENT" => fs::remove_file(current).unwrap(),
                    "no manifest" => fs::remove_file(manifest).unwrap(),
                    _ => fs::write(manifest, "").unwrap(),
                }
            });
            assert_eq!(report["kept"], "everything", "{name}: {report}");
            assert_eq!(log(&new), events, "{name}");
            let server = Server::start(&new, &[]);
            assert_eq!(waiting(&server, "sent"), 45, "{name}: {report}");
            let mut ana = Player::connect(server.play, "ana").unwrap();
            let last = caught.last().unwrap();
            assert_eq!(ana.attempt(number(last, "attempt_id"), 1).as_ref(), Some(last), "{name}");
            assert!(server.stop().success());
        }
    }
    for table in tables(&whole.path().join("bus")) {
        let name = table.file_name().unwrap().to_str().unwrap().to_owned();
        let (new, report) = damaged(whole.path(), dir.path(), &name, |copy| flip(&copy.join("bus").join(&name), 10));
        assert!(report["notes"].to_string().contains("one by one"), "{name}: {report}");
        let server = Server::start(&new, &[]);
        let left = waiting(&server, "sent");
        assert!(left >= 20, "{name}: what other tables and the log hold, but {left}: {report}");
        assert!(server.stop().success());
    }
}

/// The bytes at which records of a manifest end.
fn cuts_of(manifest: &Path) -> Vec<usize> {
    let (bytes, mut at, mut ends) = (fs::read(manifest).unwrap(), 0, Vec::new());
    while at + 7 < bytes.len() && bytes[at + 6] != 0 {
        at += 7 + usize::from(u16::from_le_bytes([bytes[at + 4], bytes[at + 5]]));
        ends.push(at);
    }
    ends
}

#[test]
fn a_manifest_of_the_bus_that_is_cut_hides_nothing() {
    let (whole, dir) = (fresh_data(), fresh_data());
    with_everything(whole.path(), 20);
    let current = fs::read_to_string(whole.path().join("bus/CURRENT")).unwrap();
    let manifest = Path::new("bus").join(current.trim());
    let ends = cuts_of(&whole.path().join(&manifest));
    assert!(ends.len() > 8, "{ends:?}");
    for nth in [0, ends.len() / 3, ends.len() * 2 / 3, ends.len() - 2] {
        for (cut, is_noted) in [(ends[nth] + 1, true), (ends[nth], false)] {
            let name = format!("{cut}-{is_noted}");
            let (new, report) = damaged(whole.path(), dir.path(), &name, |copy| {
                let bytes = fs::read(copy.join(&manifest)).unwrap();
                fs::write(copy.join(&manifest), &bytes[..cut]).unwrap();
                if !is_noted {
                    fs::remove_file(copy.join("bus/manifest.noted")).unwrap();
                    fs::write(copy.join("journal/CURRENT"), "so that there is something to do").unwrap();
                }
            });
            let server = Server::start(&new, &[]);
            assert_eq!(waiting(&server, "sent"), 45, "{name}: {report}");
            assert!(server.stop().success());
        }
    }
}

/// A directory whose journal no longer begins at 1, after a clean stop.
fn with_retention(data: &Path) {
    let config = data.parent().unwrap().join("fakemon.toml");
    fs::write(&config, "[journal]\nkeep_age = \"1ms\"\nsnapshot_every = \"50ms\"\n").unwrap();
    let server = Server::start(data, &["--config", path(&config)]);
    let spawned = server.spawn(json!({ "species": "sparkit", "lat": SOL.0, "lon": SOL.1, "catch_rate": 1 })).0;
    let mut ana = Player::connect(server.play, "ana").unwrap();
    assert_eq!(ana.attempt(1, spawned.parse().unwrap()).unwrap()["outcome"], "captured");
    for attempt in 2.. {
        ana.attempt(attempt, 1).unwrap();
        if attempt % 100 == 0 {
            let info: Value = serde_json::from_str(&answer(&["info", "--json", "--data", path(data)])).unwrap();
            if position(&info, "first_position") > 20 {
                break;
            }
        }
    }
    assert!(server.stop().success());
}

#[test]
fn a_snapshot_that_alone_says_what_came_before_is_kept_or_nothing_serves_without_it() {
    let (whole, dir) = (fresh_data(), fresh_data());
    let whole = whole.path().join("data");
    with_retention(&whole);
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 2] = [
        ("no CURRENT", |copy| fs::remove_file(copy.join("snapshot/CURRENT")).unwrap()),
        ("no snapshot", |copy| fs::remove_dir_all(copy.join("snapshot")).unwrap()),
    ];
    for (how, damage) in damages {
        let (new, report) = damaged(&whole, dir.path(), &how.replace(' ', "-"), |copy| {
            damage(copy);
            let verified = fakemon(&["verify", "--data", path(copy)]);
            assert_eq!(verified.status.code(), Some(1), "{how}: a server refuses it, so verify does");
        });
        match how {
            "no CURRENT" => {
                assert!(report["kept"] == "everything" && report["servable"] == true, "{report}");
                let server = Server::start(&new, &[]);
                let mut ana = Player::connect(server.play, "ana").unwrap();
                assert_eq!(ana.attempt(1, 1).unwrap()["outcome"], "captured", "the answer is given again");
                assert!(server.stop().success());
            }
            _ => assert!(report["kept"] == "history" && report["servable"] == false, "{report}"),
        }
        answer(&["verify", "--data", path(&new)]);
    }
    // Collections that no event proves any more are read all the same.
    let copy = dir.path().join("collections");
    fs::create_dir(&copy).unwrap();
    copy_dir(&whole, &copy);
    let is_of = |path: &PathBuf| fs::read(path).unwrap().windows(15).any(|bytes| bytes == b"namecollections");
    let table = tables(&copy.join("journal")).into_iter().find(is_of).expect("captures were flushed");
    flip(&table, 10);
    let verified = fakemon(&["verify", "--data", path(&copy)]);
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.code() == Some(1) && said.contains("collections"), "{said}");
}

#[test]
fn small_files_are_no_obstacle_and_no_note_of_a_manifest_is_copied() {
    let (whole, dir) = (fresh_data(), fresh_data());
    with_everything(whole.path(), 5);
    let events = log(whole.path());
    for folder in ["journal", "bus"] {
        fs::write(whole.path().join(folder).join("manifest.noted"), "of another directory").unwrap();
    }
    for (nth, (name, bytes)) in [
        ("FAKEMON", "no"),
        ("FAKEMON", "fakemon data directory, form\u{0}t 1\n"),
        ("acknowledged", ""),
        ("acknowledged", "no"),
        ("acknowledged.bus", "no"),
        ("journal/IDENTITY", ""),
        ("bus/IDENTITY", ""),
        ("journal/CURRENT", "no"),
    ]
    .into_iter()
    .enumerate()
    {
        let (new, report) = damaged(whole.path(), dir.path(), &nth.to_string(), |copy| {
            fs::write(copy.join(name), bytes).unwrap();
            fs::remove_file(copy.join("bus/CURRENT")).unwrap(); // so that there is something to do
        });
        assert_eq!(log(&new), events, "{name}: {report}");
        for folder in ["journal", "bus"] {
            let noted = new.join(folder).join("manifest.noted");
            assert!(fs::read(&noted).map_or(true, |noted| noted != b"of another directory"), "{name}");
        }
        let server = Server::start(&new, &[]);
        assert_eq!(waiting(&server, "sent"), 30, "{name}: {report}");
        assert!(server.stop().success());
    }
    let copy = dir.path().join("checkpoint");
    answer(&["checkpoint", "--data", path(whole.path()), "--to", path(&copy)]);
    assert!(!copy.join("journal/manifest.noted").exists() && !copy.join("bus/manifest.noted").exists());
}
