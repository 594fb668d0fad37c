//! Power cuts in the first moments of a data directory: whatever they leave of its small files, it opens, with all
//! acknowledged events. And a server syncs the names of the files that it creates before it gives any answer.

use crate::damage::{copy_dir, lived_in};
use crate::player::Player;
use crate::racer::Racer;
use crate::server::{Server, answer, fakemon, fresh_data, refusal};
use crate::shim;
use serde_json::Value;
use std::fs;
use std::path::Path;

const IDENTITY: &str = "fakemon data directory, format 1\n";

/// What a power cut can leave of the file `FAKEMON`: versions that did not sync it lost its bytes, or the whole file.
fn leftovers() -> Vec<(&'static str, Option<Vec<u8>>)> {
    vec![
        ("none", None),
        ("an empty one", Some(Vec::new())),
        ("zeroes in its place", Some(vec![0; IDENTITY.len()])),
        ("its beginning", Some(IDENTITY.as_bytes()[..10].to_vec())),
        ("its beginning, then zeroes", Some([&IDENTITY.as_bytes()[..25], &[0; 8]].concat())),
    ]
}

fn leave(data: &Path, marker: Option<&[u8]>) {
    let path = data.join("FAKEMON");
    match marker {
        Some(bytes) => fs::write(&path, bytes).unwrap(),
        None => fs::remove_file(&path).unwrap(),
    }
}

fn path(data: &Path) -> &str {
    data.to_str().expect("temporary paths are UTF-8")
}

#[test]
fn a_lost_identity_beside_a_whole_journal_is_made_again() {
    let whole = fresh_data();
    let racer = lived_in(whole.path());
    let verified: Value = serde_json::from_str(&answer(&["verify", "--json", "--data", path(whole.path())])).unwrap();
    for (what, marker) in leftovers() {
        let copy = fresh_data();
        copy_dir(whole.path(), copy.path());
        leave(copy.path(), marker.as_deref());
        fs::write(copy.path().join("FAKEMON.new"), "fakem").unwrap();
        let report: Value =
            serde_json::from_str(&answer(&["verify", "--json", "--data", path(copy.path())])).unwrap();
        assert_eq!(report["events"], verified["events"], "{what}");
        starts_with_everything(copy.path(), &racer, what);
        assert_eq!(fs::read_to_string(copy.path().join("FAKEMON")).unwrap(), IDENTITY, "{what}");
        assert!(!copy.path().join("FAKEMON.new").exists(), "{what}");
    }
}

fn starts_with_everything(data: &Path, racer: &Racer, what: &str) {
    let server = Server::start(data, &[]);
    let mut player = Player::connect(server.play, &racer.name).expect("it listens");
    for (attempt, first) in racer.answers.iter().step_by(50) {
        assert_eq!(player.attempt(*attempt, 1).as_ref(), Some(first), "{what}");
    }
    assert!(server.stop().success(), "{what}");
    answer(&["verify", "--data", path(data)]);
}

#[test]
fn a_directory_that_is_cut_short_while_it_is_made_is_made_again() {
    let whole = fresh_data();
    Server::start(whole.path(), &[]).kill();
    for (what, marker) in leftovers() {
        for made in [&[][..], &["journal"], &["journal", "snapshot"], &["journal", "snapshot", "index", "bus"]] {
            let data = fresh_data();
            fs::write(data.path().join("FAKEMON.new"), "").unwrap();
            fs::write(data.path().join("FAKEMON"), "").unwrap();
            leave(data.path(), marker.as_deref());
            made.iter().for_each(|folder| fs::create_dir(data.path().join(folder)).unwrap());
            if !made.is_empty() {
                fs::copy(whole.path().join("journal/IDENTITY"), data.path().join("journal/IDENTITY")).unwrap();
                fs::write(data.path().join("journal/LOCK"), "").unwrap();
            }
            assert!(Server::start(data.path(), &[]).stop().success(), "{what}, {made:?}");
            answer(&["verify", "--data", path(data.path())]);
        }
    }
}

#[test]
fn what_belongs_to_somebody_else_is_not_taken() {
    for foreign in ["notes.txt", "journal/notes.txt", "index.html"] {
        let data = fresh_data();
        fs::create_dir(data.path().join("journal")).unwrap();
        fs::write(data.path().join(foreign), "mine").unwrap();
        let serve = ["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--data", path(data.path())];
        let (code, line) = refusal(&serve);
        assert!(code == 1 && line.contains("other files"), "{line}");
        assert!(!data.path().join("FAKEMON").exists());
        assert!(!fakemon(&["info", "--data", path(data.path())]).status.success());
    }
}

/// Logs files that are created, renamed and synced, in order.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void note(const char *what, const char *path) {
    const char *to = getenv("SYNC_NOTES");
    char line[8192];
    if (!to) return;
    int fd = open(to, O_WRONLY | O_CREAT | O_APPEND, 0600);
    int bytes = snprintf(line, sizeof line, "%s %s\n", what, path);
    if (write(fd, line, bytes) < 0) abort();
    close(fd);
}

static void note_fd(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t bytes = readlink(link, path, sizeof path - 1);
    if (bytes > 0) { path[bytes] = 0; note("sync", path); }
}

int fsync(int fd) { int done = syscall(SYS_fsync, fd); note_fd(fd); return done; }
int fdatasync(int fd) { int done = syscall(SYS_fdatasync, fd); note_fd(fd); return done; }
int mkdir(const char *path, mode_t mode) {
    int done = syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    if (!done) note("make", path);
    return done;
}
int rename(const char *from, const char *to) {
    int done = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (!done) { note("from", from); note("make", to); }
    return done;
}
"#;

#[test]
fn the_names_of_what_is_made_are_on_the_disk_before_anybody_is_told_anything() {
    let (tools, above) = (fresh_data(), fresh_data());
    let above = fs::canonicalize(above.path()).unwrap();
    let (data, notes) = (above.join("new/data"), tools.path().join("notes"));
    let shim = shim::compiled(tools.path(), SHIM);
    let environment = [("LD_PRELOAD", shim.as_os_str()), ("SYNC_NOTES", notes.as_os_str())];
    let server = Server::try_start_with(&data, &[], &environment).unwrap();
    let notes = fs::read_to_string(&notes).unwrap(); // read when the server says that it listens
    assert!(server.stop().success());
    let lines: Vec<(&str, &Path)> =
        notes.lines().filter_map(|line| line.split_once(' ')).map(|(what, path)| (what, Path::new(path))).collect();
    let is_synced = |path: &Path, lines: &[(&str, &Path)]| lines.contains(&("sync", path));
    let mut made = 0;
    for (at, (what, name)) in lines.iter().enumerate() {
        let file = name.file_name().unwrap().to_string_lossy();
        if !name.starts_with(&above) || file.starts_with("LOG") {
            continue; // RocksDB's own log holds no answers
        }
        match *what {
            "make" => {
                assert!(is_synced(name.parent().unwrap(), &lines[at..]), "{} may be gone: {notes}", name.display());
                made += 1;
            }
            "from" => assert!(is_synced(name, &lines[..at]), "{} may be empty: {notes}", name.display()),
            _ => {}
        }
    }
    assert!(made > 6, "folders and files are made: {notes}");
    assert!(is_synced(&data.join("control.new"), &lines) && is_synced(&data.join("FAKEMON.new"), &lines), "{notes}");
}
