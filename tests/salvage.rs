//! Salvage: whatever the damage, the new directory opens and verifies, has the readable events at their old
//! positions, and reports what is missing; the damaged one is not changed.

use crate::damage::{copy_dir, damage, lived_in};
use crate::dice::Dice;
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
        if report["kept"] == "everything" {
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
