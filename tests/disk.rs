//! A full disk, a limit of file sizes: the process stops, reports the error, the file and the remedy, and no
//! acknowledged answer is lost.

use crate::aws::{call, queue, receive, sqs};
use crate::dice::Dice;
use crate::player::SOL;
use crate::racer::Racer;
use crate::server::{Server, answer, fresh_data, refusal};
use crate::shim;
use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::json;
use std::path::Path;
use std::process::Command;

#[test]
fn a_limit_of_file_sizes_stops_it_and_loses_nothing() {
    let (data, mut dice, mut racer) = (fresh_data(), Dice::new(), Racer::new("ana"));
    let server = Server::start(data.path(), &[]);
    let limit = Rlimit { current: Some(300_000 + dice.below(300_000) as u64), maximum: None };
    prlimit(Some(server.pid()), Resource::Fsize, limit).expect("a process may be limited");
    race_until_it_stops(server, &mut racer, "ulimit -f");
    is_told_the_same_later(data.path(), &mut racer, &mut dice);
}

#[test]
fn a_full_disk_stops_it_and_loses_nothing() {
    let (folder, mut dice, mut racer) = (fresh_data(), Dice::new(), Racer::new("ana"));
    let Some(disk) = Disk::mount(folder.path(), "size=3m") else {
        return eprintln!("skipped: this user may not mount a small disk");
    };
    let data = folder.path().join("data");
    race_until_it_stops(Server::start(&data, &[]), &mut racer, "free some space");
    // Still no room: it starts and serves what it can, or fails with the same message.
    std::fs::write(folder.path().join("ballast"), vec![1; 3 << 20]).expect_err("it is full");
    let arguments = ["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--cores", "1"];
    let (code, line) = refusal(&[&["serve", "--data", data.to_str().expect("UTF-8")], &arguments[..]].concat());
    assert!(code == 1 && line.contains("free some space"), "{line}");
    std::fs::remove_file(folder.path().join("ballast")).expect("it is ours");
    disk.resize("size=300m");
    is_told_the_same_later(&data, &mut racer, &mut dice);
}

/// Syncs of the bus fail once a file is there.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fails(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t bytes = readlink(link, path, sizeof path - 1);
    if (bytes <= 0 || access(getenv("FAILS_FROM"), F_OK)) return 0;
    path[bytes] = 0;
    return strstr(path, "/bus/") && strstr(path, ".log");
}
int fsync(int fd) { if (fails(fd)) { errno = EIO; return -1; } return syscall(SYS_fsync, fd); }
int fdatasync(int fd) { if (fails(fd)) { errno = EIO; return -1; } return syscall(SYS_fdatasync, fd); }
"#;

#[test]
fn a_failed_sync_of_the_bus_stops_it_and_says_what_where_and_why() {
    let (tools, data) = (fresh_data(), fresh_data());
    let (shim, from) = (shim::compiled(tools.path(), SHIM), tools.path().join("from"));
    let environment = [("LD_PRELOAD", shim.as_os_str()), ("FAILS_FROM", from.as_os_str())];
    let server = Server::try_start_with(data.path(), &[], &environment).unwrap();
    let (url, _) = queue(&server, "sent");
    let request = |body: &str| json!({ "QueueUrl": url, "MessageBody": body });
    sqs(&server, "SendMessage", request("one"));
    std::fs::write(&from, "").unwrap();
    let (status, said) = call(&server, "AmazonSQS.SendMessage", &request("two"));
    assert_eq!(status, 500, "{said}");
    let (status, said) = server.wait_for_failure();
    let line = said.lines().find(|line| line.starts_with("fakemon: ")).unwrap_or_default();
    let told = ["the bus could not be written", "/bus/", "Input/output error", "the disk fails"];
    assert!(status.code() == Some(1) && told.iter().all(|words| line.contains(words)), "{said}");
    assert!(!line.contains("cannot be read") && !line.contains("journal"), "{said}");
    let server = Server::start(data.path(), &[]);
    assert!(!receive(&server, &url, 1).is_empty());
}

/// Races until the server stops by itself, with code 1 and one line that says where and what to do.
fn race_until_it_stops(server: Server, racer: &mut Racer, remedy: &str) {
    let detail = json!({ "species": "sparkit", "lat": SOL.0, "lon": SOL.1, "catch_rate": 1 });
    let spawned: Vec<u64> = (0..20).map(|_| server.try_spawn(&detail).expect("there is room for this").0).collect();
    let made = std::cell::Cell::new(0);
    racer.race(server.play, || {
        made.set(made.get() + 1);
        spawned[(made.get() / 10).min(spawned.len() - 1)]
    });
    assert!(racer.captures().count() == spawned.len(), "it stopped too early: {} throws", made.get());
    let data = server.data.display().to_string();
    let (status, said) = server.wait_for_failure();
    let lines: Vec<_> = said.lines().filter(|line| line.starts_with("fakemon: ")).collect();
    let [line] = lines[..] else { panic!("{said}") };
    assert!(line.contains(&data) && line.contains(remedy), "{said}");
    assert!(status.code() == Some(1) && !said.contains("panicked"), "{status} {said}");
}

/// With room again, all answers are repeated.
fn is_told_the_same_later(data: &Path, racer: &mut Racer, dice: &mut Dice) {
    let server = Server::start(data, &[]);
    racer.is_told_the_same(server.play, dice);
    assert!(server.stop().success());
    answer(&["verify", "--data", data.to_str().expect("temporary paths are UTF-8")]);
}

/// A small disk in memory; gone when dropped.
pub(crate) struct Disk<'a>(&'a Path);

impl Disk<'_> {
    /// None if this user may not mount.
    pub(crate) fn mount<'a>(folder: &'a Path, size: &str) -> Option<Disk<'a>> {
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(folder).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Disk(folder))
    }

    pub(crate) fn resize(&self, size: &str) {
        let resized = Command::new("mount").args(["-o", &format!("remount,{size}")]).arg(self.0).status();
        assert!(resized.is_ok_and(|status| status.success()));
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(self.0).status(); // it may be gone already
    }
}
