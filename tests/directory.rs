//! Permissions of a data directory and its copies, the places where copies may be, and errors when the system refuses
//! a file, a thread or a mount. Nothing unfinished stays behind.

use crate::damage::lived_in;
use crate::disk::Disk;
use crate::server::{FAKEMON, Server, answer, fresh_data, refusal};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Uid of a user who owns nothing.
const NOBODY: u32 = 65_534;

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Permissions of group and others on a directory, its folders and its files, combined.
fn granted(dir: &Path) -> u32 {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let inside = entries.map(|entry| if entry.is_dir() { granted(&entry) } else { mode(&entry) & 0o077 });
    inside.fold(mode(dir) & 0o077, |all, one| all | one)
}

/// A directory that a server made, with some events.
fn made(data: &Path) {
    let server = Server::start(data, &[]);
    (0..20).for_each(|_| drop(server.spawn(json!({ "species": "sparkit", "lat": 1, "lon": 2 }))));
    assert!(server.stop().success());
}

#[test]
fn a_data_directory_and_its_copies_are_for_their_owner() {
    let dir = fresh_data();
    let [data, beside, closed, exported, imported, page] =
        ["data", "beside", "closed", "lines.jsonl", "imported", "page.html"].map(|name| dir.path().join(name));
    let server = Server::start(&data, &[]);
    server.spawn(json!({ "species": "sparkit", "lat": 1, "lon": 2 }));
    assert_eq!(granted(&data), 0, "while a server has it open");
    answer(&["checkpoint", "--data", path(&data), "--to", path(&beside)]);
    assert!(server.stop().success());
    answer(&["checkpoint", "--data", path(&data), "--to", path(&closed)]);
    answer(&["export", "--data", path(&data), "--format", "jsonl", "--out", path(&exported)]);
    answer(&["import", "--data", path(&imported), path(&exported)]);
    answer(&["timeline", "--data", path(&data), "--html", path(&page)]);
    for dir in [&data, &beside, &closed, &imported] {
        assert_eq!(granted(dir), 0, "{}", dir.display());
    }
    for file in [&exported, &page] {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_group_that_was_let_in_stays_so_and_others_never_see_secrets() {
    let dir = fresh_data();
    let [data, copy] = ["data", "copy"].map(|name| dir.path().join(name));
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o750)).unwrap();
    made(&data);
    fs::set_permissions(data.join("bus"), fs::Permissions::from_mode(0o755)).unwrap(); // as an older version left it
    made(&data);
    assert_eq!((mode(&data), mode(&data.join("bus"))), (0o750, 0o750));
    answer(&["checkpoint", "--data", path(&data), "--to", path(&copy)]);
    assert_eq!((mode(&copy), mode(&copy.join("bus"))), (0o750, 0o750));
    assert_eq!(granted(&copy) & 0o007, 0, "others may do nothing");
    assert_ne!(mode(&copy.join("journal/CURRENT")) & 0o040, 0, "the group may read");
}

/// Runs the binary without a umask.
fn unmasked() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "umask 000; exec \"$0\" \"$@\"", FAKEMON]);
    command
}

#[test]
fn whatever_the_umask_and_the_mode_of_the_directory_nothing_is_for_others() {
    for given in [0o777, 0o755, 0o775] {
        let dir = fresh_data();
        let [data, beside, closed, rescued] =
            ["data", "beside", "closed", "rescued"].map(|name| dir.path().join(name));
        for made in [&data, &beside, &rescued] {
            fs::create_dir(made).unwrap();
            fs::set_permissions(made, fs::Permissions::from_mode(given)).unwrap();
        }
        let run = |arguments: &[&str]| {
            let output = unmasked().args(arguments).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let inside = |dir: &Path| {
            let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
            entries
                .map(|entry| if entry.is_dir() { granted(&entry) } else { mode(&entry) & 0o077 })
                .fold(0, |a, b| a | b)
        };
        let server = Server::try_start_by(unmasked(), &data, &[]).expect("it starts");
        server.spawn(json!({ "species": "sparkit", "lat": 1, "lon": 2 }));
        run(&["checkpoint", "--data", path(&data), "--to", path(&beside)]);
        assert!(server.stop().success());
        run(&["index", "--data", path(&data)]);
        run(&["checkpoint", "--data", path(&data), "--to", path(&closed)]);
        assert_eq!(mode(&data), given, "it is its owner's");
        fs::write(data.join("acknowledged.bus"), "?").unwrap(); // so that there is something to salvage
        run(&["verify", "--data", path(&data), "--salvage", path(&rescued)]);
        for made in [&data, &beside, &closed, &rescued] {
            assert_eq!(inside(made), 0, "{given:o} {}", made.display());
        }
        assert_eq!((granted(&beside), granted(&closed), mode(&data.join("bus"))), (0, 0, 0o700));
    }
}

#[test]
fn of_servers_that_make_the_same_directory_at_once_one_does_and_the_others_are_told() {
    for _ in 0..3 {
        let dir = fresh_data();
        let data = dir.path().join("data");
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--cores", "1", "--data"];
        let mut servers: Vec<_> = (0..6)
            .map(|_| {
                let mut command = Command::new(FAKEMON);
                command.args(arguments).arg(&data).stdout(Stdio::null()).stderr(Stdio::piped());
                command.spawn().unwrap()
            })
            .collect();
        let mut told = Vec::new();
        while told.len() < 5 {
            for server in &mut servers {
                if server.stderr.is_some() && server.try_wait().unwrap().is_some() {
                    let mut said = String::new();
                    std::io::Read::read_to_string(&mut server.stderr.take().unwrap(), &mut said).unwrap();
                    told.push(said);
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        for server in &mut servers {
            let _ = server.kill(); // those that are gone already are only waited for
            server.wait().unwrap();
        }
        assert!(told.iter().all(|said| said.contains("another process has")), "{told:?}");
    }
}

#[test]
fn rights_that_were_given_to_all_are_taken_back_from_others() {
    let dir = fresh_data();
    let [data, copy] = ["data", "copy"].map(|name| dir.path().join(name));
    made(&data);
    let inside = |dir: &Path| {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|entry| if entry.is_dir() { granted(&entry) } else { mode(&entry) & 0o077 }).fold(0, |a, b| a | b)
    };
    for (given, left) in [("a+rwX", 0), ("o-rwx", 0o070), ("o+rwX", 0)] {
        let changed = Command::new("chmod").args(["-R", given, path(&data)]).status().unwrap();
        assert!(changed.success());
        if given == "o-rwx" {
            Command::new("chmod").args(["-R", "g+rwX", path(&data)]).status().unwrap();
        }
        fs::write(data.join("notes.txt"), "not ours").unwrap();
        fs::set_permissions(data.join("notes.txt"), fs::Permissions::from_mode(0o600)).unwrap();
        answer(&["checkpoint", "--data", path(&data), "--to", path(&copy)]);
        assert_eq!(granted(&copy) & 0o007, 0, "{given}: a copy of a closed directory");
        fs::remove_dir_all(&copy).unwrap();
        made(&data);
        assert_eq!(inside(&data) & !left, 0, "{given}");
        fs::remove_file(data.join("notes.txt")).unwrap();
    }
}

#[test]
fn nothing_is_written_into_a_data_directory_but_by_its_server() {
    let dir = fresh_data();
    let data = dir.path().join("data");
    made(&data);
    let lines = dir.path().join("lines.jsonl");
    answer(&["export", "--data", path(&data), "--format", "jsonl", "--out", path(&lines)]);
    std::os::unix::fs::symlink(&data, dir.path().join("link")).unwrap();
    for place in ["data/n1/n2/copy", "data/copy", "link/copy", "other/../data/n1/copy"] {
        let to = dir.path().join(place);
        for arguments in [
            &["checkpoint", "--data", path(&data), "--to", path(&to)][..],
            &["verify", "--data", path(&data), "--salvage", path(&to)],
            &["export", "--data", path(&data), "--format", "csv", "--out", path(&to)],
            &["trace", "--data", path(&data), "1", "--otlp", path(&to)],
            &["import", "--data", path(&to), path(&lines)],
            &["serve", "--data", path(&to), "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"],
        ] {
            let (code, line) = refusal(arguments);
            assert!(code == 1 && line.contains("outside of"), "{arguments:?}: {line}");
        }
    }
    assert!(!data.join("n1").exists() && !data.join("copy").join("journal").exists());
    // The caller may read the directory and sends its word, and the server still refuses.
    let server = Server::start(&data, &[]);
    let contact = fs::read_to_string(data.join("control")).unwrap();
    let word = contact.trim().split(' ').nth(1).unwrap();
    let body = json!({ "to": data.join("n1/copy"), "word": word }).to_string();
    let request = format!(
        "POST /checkpoint HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let said = server.raw(&request);
    assert!(said.starts_with("HTTP/1.1 4") && said.contains("outside of it"), "{said}");
    assert!(!data.join("n1").exists());
}

#[test]
fn a_checkpoint_that_finds_no_room_leaves_nothing_and_is_made_once_there_is_some() {
    let (dir, small) = (fresh_data(), fresh_data());
    let data = dir.path().join("data");
    made(&data);
    let Some(disk) = Disk::mount(small.path(), "size=16k") else {
        return eprintln!("skipped: this user may not mount a small disk");
    };
    let to = small.path().join("copy");
    for room in ["size=16k", "size=4k"] {
        disk.resize(room);
        let (code, line) = refusal(&["checkpoint", "--data", path(&data), "--to", path(&to)]);
        assert!(code == 1 && line.contains("No space left"), "{line}");
        assert_eq!(fs::read_dir(small.path()).unwrap().count(), 0, "{room}");
    }
    disk.resize("size=300m");
    answer(&["checkpoint", "--data", path(&data), "--to", path(&to)]);
    answer(&["verify", "--data", path(&to)]);
}

#[test]
fn what_can_only_be_read_is_copied_and_what_cannot_be_written_is_told() {
    let (dir, disk) = (fresh_data(), fresh_data());
    let Some(mounted) = Disk::mount(disk.path(), "size=300m") else {
        return eprintln!("skipped: this user may not mount a disk");
    };
    let (data, copy) = (disk.path().join("data"), dir.path().join("copy"));
    lived_in(&data);
    mounted.resize("ro");
    let (lines, new) = (dir.path().join("lines.jsonl"), dir.path().join("new"));
    let commands: [&[&str]; 11] = [
        &["verify"],
        &["verify", "--salvage", path(&new)],
        &["log"],
        &["info"],
        &["replay"],
        &["timeline"],
        &["topology"],
        &["rules", "lint"],
        &["explain", "--player", "ana", "--attempt", "1"],
        &["trace", "5"],
        &["export", "--format", "jsonl", "--out", path(&lines)],
    ];
    for command in commands {
        answer(&[command, &["--data", path(&data)]].concat());
    }
    answer(&["checkpoint", "--data", path(&data), "--to", path(&copy)]);
    answer(&["verify", "--data", path(&copy)]);
    let (code, line) = refusal(&["index", "--data", path(&data)]);
    assert!(code == 1 && line.contains("mounted read-only") && !line.contains("move"), "{line}");
    let (code, line) =
        refusal(&["serve", "--data", path(&data), "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]);
    assert!(code == 1 && line.to_lowercase().contains("read-only") && !line.contains("another process"), "{line}");
}

#[test]
fn too_few_descriptors_are_told_with_the_limit_to_raise() {
    let dir = fresh_data();
    let data = dir.path().join("data");
    made(&data);
    for limit in [16, 20, 24, 28] {
        let run = format!(r#"ulimit -n {limit} && exec "$0" verify --data "$1""#);
        let output = Command::new("sh").args(["-c", &run, FAKEMON]).arg(&data).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        if !output.status.success() {
            assert!(said.contains("`ulimit -n`") && !said.contains("another process"), "{limit}: {said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
}

/// Runs the binary as a user who owns nothing; none if this user cannot.
fn as_nobody(folder: &Path, before: &str, arguments: &[&str]) -> Option<Output> {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    // Other users may not be able to read the build's folder.
    let binary: PathBuf = folder.join("fakemon");
    if !binary.exists() {
        fs::copy(FAKEMON, &binary).unwrap();
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let run = format!(r#"{before}exec "$0" "$@""#);
    let mut command = Command::new("bash");
    command.args(["-c", &run]).arg(&binary).args(arguments).uid(NOBODY).gid(NOBODY);
    command.output().ok()
}

/// Makes a directory readable for all users.
fn open_to_all(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => open_to_all(&entry),
            false => fs::set_permissions(&entry, fs::Permissions::from_mode(0o644)).unwrap(),
        }
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn another_user_who_may_read_a_directory_copies_it_and_one_who_may_not_is_told_why() {
    let folder = fresh_data();
    let [data, copies] = ["data", "copies"].map(|name| folder.path().join(name));
    made(&data);
    open_to_all(&data);
    fs::create_dir(&copies).unwrap();
    fs::set_permissions(&copies, fs::Permissions::from_mode(0o777)).unwrap();
    let to = copies.join("copy");
    let Some(copied) = as_nobody(folder.path(), "", &["checkpoint", "--data", path(&data), "--to", path(&to)]) else {
        return eprintln!("skipped: this user cannot become another one");
    };
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    answer(&["verify", "--data", path(&to)]);
    fs::set_permissions(data.join("index"), fs::Permissions::from_mode(0o700)).unwrap();
    for arguments in [&["index", "--data", path(&data)][..], &["verify", "--data", path(&data)]] {
        let said = as_nobody(folder.path(), "", arguments).unwrap();
        let said = String::from_utf8(said.stderr).unwrap();
        assert!(said.contains("Permission denied") && said.contains("run as the user"), "{said}");
        assert!(!said.contains("another process") && !said.contains("move"), "{said}");
    }
}

#[test]
fn too_few_threads_are_told_with_the_limit_to_raise() {
    let folder = fresh_data();
    let data = folder.path().join("data");
    made(&data);
    open_to_all(&data);
    for threads in [1, 2, 3, 4] {
        let before = format!("ulimit -u {threads} && ");
        let Some(output) = as_nobody(folder.path(), &before, &["verify", "--data", path(&data)]) else {
            return eprintln!("skipped: this user cannot become another one");
        };
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() || said.contains("`ulimit -u`"), "{threads}: {said}");
        assert!(!said.contains("terminate called") && !said.contains("panicked"), "{threads}: {said}");
    }
    let made = folder.path().join("made");
    fs::create_dir(&made).unwrap();
    fs::set_permissions(&made, fs::Permissions::from_mode(0o777)).unwrap();
    let [own, listen] = [made.join("data"), PathBuf::from("127.0.0.1:0")];
    let serve =
        ["serve", "--data", path(&own), "--listen", path(&listen), "--control", path(&listen), "--cores", "1"];
    let output = as_nobody(folder.path(), "ulimit -u 8 && ", &serve).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("`ulimit -u`"), "{:?} {said}", output.status);
    // The system says the same when it is the address space that ends.
    for kib in [200_000, 300_000, 1_000_000, 1_250_000] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -v {kib}; exec \"$0\" \"$@\""), FAKEMON]).args(serve);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains("`ulimit -v`"), "{kib}: {:?} {said}", output.status);
    }
}

#[test]
fn settings_are_refused_before_anything_is_made() {
    let dir = fresh_data();
    let (data, config) = (dir.path().join("data"), dir.path().join("my.toml"));
    for (text, key, line) in [
        ("[limits]\nmessage_bytes_max = 2097152\n", "limits.message_bytes_max", 2),
        ("edges = 100\n", "edges", 1),
        ("\n[limits]\nidle_timeout = \"8d\"\n", "limits.idle_timeout", 3),
        ("[limits]\nidle_timeout = \"50ms\"\n", "limits.idle_timeout", 2),
        ("[connections]\nidle_timeout = \"50ms\"\n", "connections.idle_timeout", 2),
        ("[demo]\nenabled = true\ntime_zone = \"Mars\"\n", "demo.time_zone", 3),
        ("[demo]\nenabled = true\nradius_m = 1.0\n", "demo.radius_m", 3),
        ("demo.players = 5000\n", "demo.players", 1),
        ("limits.connections_max = 1000001\n", "limits.connections_max", 1),
        ("connections.authorizer = \"\"\n", "connections.authorizer", 1),
        ("connections.ws_authorizer = \"\\u0000\"\n", "connections.ws_authorizer", 1),
        ("[log]\nlevel = \"-5s\"\n", "log.level", 2),
        ("log.level = \"\"\n", "log.level", 1),
        ("data = \"\"\n", "data must be a path", 1),
    ] {
        fs::write(&config, text).unwrap();
        let arguments = ["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--config", path(&config)];
        let (code, said) = refusal(&[&["serve", "--data", path(&data)], &arguments[..]].concat());
        assert!(code == 1 && said.contains(key) && said.contains(&format!("line {line} ")), "{text}: {said}");
        assert!(!data.exists(), "{text}");
    }
    let (code, said) = refusal(&["serve", "--data", path(&data), "--edges", "100"]);
    assert!(code == 1 && said.contains("--edges"), "{said}");
    let (code, said) = refusal(&["serve", "--data", path(&data), "--log-level", "verbose"]);
    assert!(code == 1 && said.contains("--log-level: log.level"), "{said}");
    for (key, file) in [("certificate_file", "key_file"), ("key_file", "certificate_file")] {
        fs::write(&config, format!("[tls]\n{key} = \"my.toml\"\n{file} = \"nowhere.pem\"\n")).unwrap();
        let arguments = ["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--config", path(&config)];
        let (code, said) = refusal(&[&["serve", "--data", path(&data)], &arguments[..]].concat());
        assert!(code == 1 && said.contains("tls.") && !data.exists(), "{said}");
    }
}

#[test]
fn a_file_of_a_setting_that_has_no_end_or_no_beginning_is_refused_with_its_line() {
    let dir = fresh_data();
    let (data, config, pipe) = (dir.path().join("data"), dir.path().join("my.toml"), dir.path().join("pipe"));
    let (kind, rights) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, rights, 0).unwrap();
    let serve = |more: &[&str]| {
        let arguments = ["serve", "--data", path(&data), "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"];
        refusal(&[&arguments[..], more].concat())
    };
    for file in [Path::new("/dev/zero"), &pipe] {
        for (key, beside) in [
            ("tls.certificate_file", "tls.key_file = \"my.toml\"\n"),
            ("tls.key_file", "tls.certificate_file = \"my.toml\"\n"),
            ("auth.hs256_secret_file", ""),
            ("auth.eddsa_public_key_file", ""),
            ("aws.access_keys_file", ""),
            ("world.species_file", ""),
        ] {
            fs::write(&config, format!("{beside}{key} = \"{}\"\n", file.display())).unwrap();
            let (code, said) = serve(&["--config", path(&config)]);
            let line = if beside.is_empty() { "line 1 " } else { "line 2 " };
            let told = [key, line, path(&config), "no regular file"].iter().all(|part| said.contains(part));
            assert!(code == 1 && told && !data.exists(), "{key}: {said}");
        }
        let (code, said) = serve(&["--access-keys-file", path(file)]);
        assert!(code == 1 && said.contains("--access-keys-file") && said.contains("no regular file"), "{said}");
        let (code, said) = serve(&["--config", path(file)]);
        assert!(code == 1 && said.contains("--config") && said.contains("no regular file"), "{said}");
    }
}

#[test]
fn load_touches_nothing_unless_players_can_connect() {
    let dir = fresh_data();
    let server = Server::start(&dir.path().join("data"), &[]);
    let control = format!("http://{}", server.control);
    let (code, said) = refusal(&["load", "--url", "ws://127.0.0.1:9", "--control", &control]);
    assert!(code == 1 && said.contains("127.0.0.1:9"), "{said}");
    let log = answer(&["log", "--data", path(&server.data), "--kind", "appeared"]);
    let spawned: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(spawned.len(), 0);
}

/// Refuses `sched_setaffinity`, as the profiles of some containers do, and runs what follows.
const UNPINNABLE: &str = r#"
import ctypes, os, platform, struct, sys
call = {"x86_64": 203, "aarch64": 122}[platform.machine()]
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, call), (6, 0, 0, 0x50001), (6, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
program, libc = Program(len(steps), ctypes.addressof(code)), ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"#;

#[test]
fn a_shard_that_cannot_be_pinned_runs_where_the_kernel_wants_and_says_why() {
    let (dir, log) = (fresh_data(), tempfile::NamedTempFile::new().unwrap());
    let mut child = Command::new("python3")
        .args(["-c", UNPINNABLE, FAKEMON, "serve", "--cores", "1", "--listen", "127.0.0.1:0"])
        .args(["--control", "127.0.0.1:0", "--data", path(&dir.path().join("data"))])
        .stdout(Stdio::piped())
        .stderr(log.reopen().unwrap())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let said = fs::read_to_string(log.path()).unwrap();
    assert!(line.starts_with("listening "), "{said}");
    assert!(said.contains("sched_setaffinity") && !said.contains("io_uring is not available"), "{said}");
}
