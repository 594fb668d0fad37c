//! Commands that a signal ends: at once, whatever they wait for, with one line and exit code 130; unfinished output
//! is deleted, or marked as incomplete.

use crate::aws::call;
use crate::player::SOL;
use crate::server::{FAKEMON, Server, answer, fresh_data, refusal};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait of these tests; a second is promised.
const PATIENCE: Duration = Duration::from_secs(20);

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

/// A running command, whose temporary files are in a folder of their own.
struct Working {
    child: Child,
    temporary: tempfile::TempDir,
}

impl Working {
    fn begin(arguments: &[&str]) -> Working {
        let temporary = fresh_data();
        let mut command = Command::new(FAKEMON);
        command.args(arguments).env_remove("RUST_LOG").env("TMPDIR", temporary.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Working { child: command.spawn().expect("the binary was built for this test"), temporary }
    }

    /// Waits until the command has reached a state.
    fn until(&mut self, mut there: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !there() {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended too early");
            assert!(begun.elapsed() < PATIENCE, "it does not get there");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal; returns the command's output.
    fn ended_by(mut self, signal: Signal) -> String {
        kill_process(Pid::from_child(&self.child), signal).expect("it still works");
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if begun.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("it does not end");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = self.child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(130), "{stderr}");
        let left: Vec<_> = fs::read_dir(self.temporary.path()).unwrap().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
        stderr
    }
}

/// A journal whose lines do not fit into a pipe.
fn journal(data: &Path) {
    let server = Server::start(data, &[]);
    for _ in 0..4 {
        server.spawn(json!({ "species": "sparkit", "lat": SOL.0, "lon": SOL.1 }));
    }
    let detail = json!({ "text": "x".repeat(200_000) }).to_string();
    let entry = json!({ "Source": "shop", "DetailType": "sold", "Detail": detail });
    let (status, put) = call(&server, "AWSEvents.PutEvents", &json!({ "Entries": [entry] }));
    assert_eq!((status, &put["FailedEntryCount"]), (200, &json!(0)), "{put}");
    assert!(server.stop().success());
}

#[test]
fn an_export_that_is_interrupted_leaves_no_file() {
    let dir = fresh_data();
    let (data, out) = (dir.path().join("data"), dir.path().join("lines.jsonl"));
    journal(&data);
    // A pipe without a reader in place of the file: the export blocks in the middle.
    let part = dir.path().join("lines.jsonl.part");
    mknodat(CWD, &part, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut pipe = OpenOptions::new();
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut pipe = pipe.read(true).write(true).custom_flags(flags).open(&part).unwrap();
    let mut export = Working::begin(&["export", "--data", path(&data), "--format", "jsonl", "--out", path(&out)]);
    export.until(|| pipe.read(&mut [0]).is_ok_and(|read| read == 1));
    assert_eq!(export.ended_by(Signal::INT), "fakemon: interrupted\n");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["data"]);
}

#[test]
fn an_import_that_is_interrupted_says_so_and_so_does_its_directory() {
    let dir = fresh_data();
    let (data, half) = (dir.path().join("data"), dir.path().join("half"));
    journal(&data);
    let lines = answer(&["export", "--data", path(&data), "--format", "jsonl", "--out", "-"]);
    let mut import = Working::begin(&["import", "--data", path(&half), "-"]);
    let mut stdin = import.child.stdin.take().expect("it is piped");
    let end = lines.trim_end().rfind('\n').expect("there are many lines");
    stdin.write_all(&lines.as_bytes()[..end + 1]).unwrap(); // the last line is not sent
    import.until(|| fs::read_to_string(half.join("FAKEMON")).is_ok_and(|text| text.contains("incomplete")));
    let said = import.ended_by(Signal::TERM);
    assert_eq!(said, format!("fakemon: interrupted; {} is incomplete: delete it\n", half.display()));
    drop(stdin);
    let (code, line) = refusal(&["info", "--data", path(&half)]);
    assert_eq!(code, 1);
    assert!(line.contains("it is incomplete"), "{line}");
}

#[test]
fn a_follower_that_is_interrupted_leaves_nothing_behind() {
    let dir = fresh_data();
    let data = dir.path().join("data");
    journal(&data);
    let mut log = Working::begin(&["log", "--follow", "--kind", "appeared", "--data", path(&data)]);
    let mut line = [0];
    log.child.stdout.as_mut().expect("it is piped").read_exact(&mut line).unwrap();
    assert_eq!(log.ended_by(Signal::INT), "fakemon: interrupted\n");
}
