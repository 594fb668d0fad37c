//! Output of every tool for one journal, stored as lines and made once by `make`: an evening of the seeded workload
//! on a real server. Imported, it has its original positions, ids, hashes and times, so the output is always the
//! same: in the transcripts `golden/*.txt`, and in the incident guide. `UPDATE_GOLDEN=1` rewrites the expected
//! output.

mod make;
mod transcript;

use crate::server::{answer, fresh_data};
use std::fs;
use std::path::{Path, PathBuf};
use transcript::Kind;

/// The folder of expected output.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

/// A working folder: the data directory `evening`, and the lines that it was imported from.
fn incident() -> tempfile::TempDir {
    let dir = fresh_data();
    let (lines, data) = (dir.path().join("journal.jsonl"), dir.path().join("evening"));
    fs::copy(folder().join("journal.jsonl"), &lines).unwrap();
    answer(&["import", "--data", path(&data), path(&lines)]);
    copy_files(&folder().join("bus"), &data.join("bus"));
    dir
}

/// Copies the files of a database that hold data; it recreates the others.
fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if !["LOCK", "LOG", "IDENTITY", "OPTIONS"].iter().any(|skipped| name.starts_with(skipped)) {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

/// Checks that the commands of a transcript print the same again.
fn is_said_again(name: &str) {
    transcript::check(&folder().join(name), Kind::Console, incident().path());
}

#[test]
fn events_are_told_and_found() {
    is_said_again("log.txt");
}

#[test]
fn attempts_are_explained() {
    is_said_again("explain.txt");
}

#[test]
fn causes_are_traced() {
    is_said_again("trace.txt");
}

#[test]
fn time_goes_back_and_takes_another_way() {
    is_said_again("replay.txt");
}

#[test]
fn a_range_is_told_in_charts() {
    is_said_again("timeline.txt");
}

#[test]
fn journals_change_hands() {
    is_said_again("export.txt");
}

#[test]
fn proofs_hold_and_damage_is_found() {
    is_said_again("verify.txt");
}

#[test]
fn questions_without_an_answer_are_told_why() {
    is_said_again("refused.txt");
}

#[test]
fn the_incident_guide_says_what_the_tools_say() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/incident.md");
    transcript::check(&guide, Kind::Markdown, incident().path());
    let text = fs::read_to_string(guide).unwrap();
    let long = text.lines().find(|line| line.chars().count() > 99);
    assert_eq!(long, None, "lines of the guide must fit a terminal");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return; // the binary still contains the old guide
    }
    assert!(answer(&["help", "incident"]).contains(text.trim()), "`fakemon help incident` is the guide");
}
