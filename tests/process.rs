//! The process as a whole: logs without a reader, file descriptors that run out, idle connections, signals that come
//! twice, missing clocks.

use crate::aws::{PATIENCE, events};
use crate::player::{Player, SOL};
use crate::server::{FAKEMON, Server, fresh_data};
use crate::shim;
use rustix::process::{Signal, kill_process};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Opens a socket to the control plane, and writes `head`.
fn connect(server: &Server, head: &str) -> TcpStream {
    let mut socket = TcpStream::connect(server.control).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.write_all(head.replace("HOST", &server.control.to_string()).as_bytes()).unwrap();
    socket
}

/// The status line of the answer.
fn status(mut socket: TcpStream) -> String {
    let mut answer = [0; 15];
    let read = socket.read(&mut answer).unwrap_or(0);
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

fn is_well(server: &Server) {
    for path in ["/healthz", "/readyz", "/metrics"] {
        let (status, answer) = server.get(path);
        assert_eq!(status, 200, "{path}: {answer}");
    }
}

#[test]
fn health_is_answered_whatever_else_is_connected() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let stream = "GET /stream?player=ash HTTP/1.1\r\nHost: HOST\r\n\r\n";
    let half_head = "GET /healthz HTTP/1.1\r\nHo";
    let half_body = "POST /events HTTP/1.1\r\nHost: HOST\r\nContent-Length: 100\r\n\r\n{";
    let held: Vec<TcpStream> = (0..1_400).map(|n| connect(&server, ["", half_head, half_body][n % 3])).collect();
    is_well(&server);
    let streams: Vec<TcpStream> = (0..40).map(|_| connect(&server, stream)).collect();
    // Streams that were accepted stay open while the others are rejected: each that ends frees a place.
    let answers: Vec<String> = streams.iter().map(|stream| status(stream.try_clone().unwrap())).collect();
    assert_eq!(
        answers.iter().filter(|answer| answer.contains("200")).count(),
        32,
        "places of one player: {answers:?}"
    );
    assert_eq!(answers.iter().filter(|answer| answer.contains("429")).count(), 8, "{answers:?}");
    is_well(&server);
    drop(held);
    assert!(server.stop().success());
}

#[test]
fn places_are_settings_and_a_request_that_finds_none_is_told_so() {
    let data = fresh_data();
    let settings = data.path().join("settings.toml");
    let limits = "[limits]\nrequests_max = 2\nstreams_max = 3\nrequest_timeout = \"2s\"\n";
    std::fs::write(&settings, limits).unwrap();
    let directory = data.path().join("data");
    let server = Server::start(&directory, &["--config", settings.to_str().unwrap()]);
    let streams: Vec<_> = (0..3)
        .map(|n| connect(&server, &format!("GET /stream?player=p{n} HTTP/1.1\r\nHost: HOST\r\n\r\n")))
        .map(|mut socket| {
            let mut answer = [0; 12];
            socket.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
            socket
        })
        .collect();
    let (code, answer) = server.get("/stream?player=p9");
    assert_eq!(code, 503);
    assert!(answer.contains("limits.streams_max"), "{answer}");
    assert_eq!(server.get("/figures").0, 200, "streams take no places of requests");
    let begun = "POST /events HTTP/1.1\r\nHost: HOST\r\nContent-Length: 100\r\n\r\n{";
    let mut slow: Vec<TcpStream> = (0..2).map(|_| connect(&server, begun)).collect();
    while server.get("/figures").0 != 503 {} // until both requests have arrived in part
    is_well(&server);
    // Single bytes now and then do not extend the total time.
    let cut = loop {
        std::thread::sleep(Duration::from_millis(100));
        if slow[0].write_all(b" ").is_err() {
            break String::new();
        }
        slow[0].set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut answer = [0; 12];
        if slow[0].read_exact(&mut answer).is_ok() {
            break String::from_utf8_lossy(&answer).into_owned();
        }
    };
    assert_eq!(cut, "HTTP/1.1 408");
    drop((slow, streams));
    assert!(server.stop().success());
}

#[test]
fn a_request_names_one_host() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    for (head, expected) in [
        ("GET /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Ba"),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", "HTTP/1.1 400 Ba"),
        ("GET /healthz HTTP/1.1\r\nHost: [::1]evil\r\n\r\n", "HTTP/1.1 400 Ba"),
        ("GET /healthz HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "HTTP/1.1 200 OK"),
        ("GET /healthz HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK"),
    ] {
        assert_eq!(status(connect(&server, head)), expected, "{head}");
    }
}

/// Starts a server with this stderr, at the most verbose log level.
fn with_stderr(data: &std::path::Path, stderr: Stdio) -> (std::process::Child, String) {
    let mut child = Command::new(FAKEMON)
        .args(["serve", "--cores", "1", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--data"])
        .arg(data)
        .args(["--log-level", "trace", "--demo"])
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    let control = line.trim().rsplit_once("http://").unwrap_or_else(|| panic!("it did not start: {line}")).1;
    (child, control.to_owned())
}

/// The server still answers after it has logged a lot, and stops cleanly.
fn works_and_stops(mut child: std::process::Child, control: &str) {
    for _ in 0..300 {
        for path in ["/readyz", "/nothing"] {
            let asked = ureq::get(format!("http://{control}{path}")).config().http_status_as_error(false).build();
            assert_eq!(asked.call().unwrap().status().as_u16(), if path == "/readyz" { 200 } else { 404 });
        }
    }
    kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_log_that_nobody_takes_ends_nothing() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let data = fresh_data();
    let (child, control) = with_stderr(data.path(), full.into());
    works_and_stops(child, &control);
    let data = fresh_data();
    let (mut child, control) = with_stderr(data.path(), Stdio::piped());
    drop(child.stderr.take()); // its reader is gone
    works_and_stops(child, &control);
    let data = fresh_data();
    let (mut child, control) = with_stderr(data.path(), Stdio::piped());
    let unread = child.stderr.take(); // its reader does not read
    works_and_stops(child, &control);
    drop(unread);
}

#[test]
fn signals_that_come_twice_are_one_wish_and_a_hangup_is_none() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    // Those that mean nothing here would end a process that does not hear them.
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2, Signal::ALARM, Signal::VTALARM, Signal::PROF] {
        kill_process(server.pid(), signal).unwrap();
    }
    is_well(&server);
    let mut player = Player::connect(server.play, "ash").unwrap();
    server.spawn(json!({ "fakemon_id": "5", "species": "sparkit", "lat": SOL.0, "lon": SOL.1 }));
    player.attempt(1, 5).unwrap();
    for _ in 0..3 {
        kill_process(server.pid(), Signal::TERM).unwrap();
    }
    assert!(server.wait().success(), "it says goodbye, once");
}

#[test]
fn stdout_that_nobody_reads_is_told() {
    let data = fresh_data();
    let mut child = Command::new(FAKEMON)
        .args(["serve", "--cores", "1", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--data"])
        .arg(data.path())
        .stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.lines().last().unwrap().contains("stdout, which says where this server listens"), "{said}");
}

/// Starts a server with a limit of `count` file descriptors.
fn with_descriptors(count: usize, data: &std::path::Path) -> Result<Server, String> {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {count}; exec \"$0\" \"$@\""), FAKEMON]);
    Server::try_start_by(command, data, &["--allow-private-targets"])
}

/// An HTTP server that answers every request and keeps its connections; counts of open connections, of the most open,
/// and of requests.
fn keeping() -> (SocketAddr, Arc<[AtomicUsize; 3]>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, counts) = (listener.local_addr().unwrap(), Arc::new([const { AtomicUsize::new(0) }; 3]));
    let counted = counts.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let counts = counted.clone();
            std::thread::spawn(move || {
                let open = counts[0].fetch_add(1, Ordering::SeqCst) + 1;
                counts[1].fetch_max(open, Ordering::SeqCst);
                let mut read = [0; 4096];
                while stream.read(&mut read).is_ok_and(|read| read > 0) {
                    counts[2].fetch_add(1, Ordering::SeqCst);
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap_or_default();
                }
                counts[0].fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (address, counts)
}

#[test]
fn webhooks_take_their_share_of_the_descriptors_and_all_get_through() {
    let data = fresh_data();
    let server = with_descriptors(200, data.path()).unwrap();
    let (address, counts) = keeping();
    let secret = json!({ "ApiKeyAuthParameters": { "ApiKeyName": "x-key", "ApiKeyValue": "hush" } });
    let connection = json!({ "Name": "c", "AuthorizationType": "API_KEY", "AuthParameters": secret });
    let connection = events(&server, "CreateConnection", connection)["ConnectionArn"].clone();
    let made = json!({ "Name": "d", "ConnectionArn": connection, "HttpMethod": "POST",
                       "InvocationEndpoint": format!("http://{address}/") });
    let arn = events(&server, "CreateApiDestination", made)["ApiDestinationArn"].clone();
    events(&server, "PutRule", json!({ "Name": "r", "EventPattern": r#"{"source":["shop"]}"# }));
    let targets: Vec<_> = (0..30).map(|n| json!({ "Id": n.to_string(), "Arn": arn })).collect();
    events(&server, "PutTargets", json!({ "Rule": "r", "Targets": targets }));
    let (status, answer) = server.post_event(r#"{"source":"shop","detail-type":"sold","detail":{}}"#);
    assert_eq!(status, 200, "{answer}");
    let end = Instant::now() + PATIENCE;
    while counts[2].load(Ordering::SeqCst) < 30 {
        assert!(Instant::now() < end, "{counts:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let most = counts[1].load(Ordering::SeqCst);
    assert!((1..12).contains(&most), "{most} connections at once");
    is_well(&server);
    assert!(server.stop().success());
}

#[test]
fn players_who_find_no_descriptors_take_none_away_from_the_journal() {
    let data = fresh_data();
    let server = with_descriptors(200, data.path()).unwrap();
    let players: Vec<_> = (0..300).map(|n| Player::connect(server.play, &format!("p{n}"))).collect();
    let let_in = players.iter().flatten().count();
    assert!((1..150).contains(&let_in), "{let_in} players");
    let detail = json!({ "text": "x".repeat(200_000) });
    let event = json!({ "source": "shop", "detail-type": "sold", "detail": detail }).to_string();
    for _ in 0..230 {
        let (status, answer) = server.post_event(&event);
        assert_eq!(status, 200, "46 MB are more than the journal keeps in one file: {answer}");
    }
    is_well(&server);
    let log = server.log();
    assert!(log.matches("cannot take in").count() <= 1, "{log}");
    drop(players);
    assert!(server.stop().success());
}

#[test]
fn too_few_descriptors_are_refused_with_the_remedy() {
    for count in [100, 48, 32] {
        let data = fresh_data();
        let said = with_descriptors(count, data.path()).err().expect("it does not start");
        let last = said.lines().last().unwrap_or_default();
        assert!(last.contains("limit of open files") && last.contains("ulimit -n"), "{count}: {said}");
        assert!(!said.contains("panicked"), "{count}: {said}");
    }
}

/// Once the file `NO_CLOCK` exists, a thread whose name begins with `shard-` gets an error from the clock, a single
/// time; the library that asks for it panics.
const NO_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int failed;

int clock_gettime(clockid_t clock, struct timespec *now) {
    char name[16] = "";
    const char *file = getenv("NO_CLOCK");
    prctl(PR_GET_NAME, name);
    if (file && strncmp(name, "shard-", 6) == 0 && access(file, F_OK) == 0
        && __sync_bool_compare_and_swap(&failed, 0, 1)) {
        errno = EINVAL;
        return -1;
    }
    return syscall(SYS_clock_gettime, clock, now);
}
"#;

#[test]
fn a_shard_that_panics_outside_of_its_tasks_ends_the_process() {
    let (tools, data) = (fresh_data(), fresh_data());
    let (shim, file) = (shim::compiled(tools.path(), NO_CLOCK), tools.path().join("now"));
    let environment = [("LD_PRELOAD", shim.as_os_str()), ("NO_CLOCK", file.as_os_str())];
    let server = Server::try_start_with(data.path(), &[], &environment).expect("it starts");
    is_well(&server);
    std::fs::write(&file, "").unwrap();
    // The spawn wakes the shard, and with it its executor. The answer may never come.
    let spawn =
        r#"{"source":"fakemon.world","detail-type":"fakemon.spawn","detail":{"species":"sparkit","lat":1,"lon":1}}"#;
    let mut socket = connect(&server, "");
    let request = format!(
        "POST /events HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{spawn}",
        server.control,
        spawn.len()
    );
    socket.write_all(request.as_bytes()).unwrap();
    let (status, said) = server.wait_for_failure();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("the thread `shard-0` panicked"), "{said}");
}

/// While this is preloaded, a settings file is not opened.
const UNOPENED: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int open64(const char *path, int flags, ...) {
    while (strstr(path, "settings.toml")) usleep(10000);
    return syscall(SYS_openat, AT_FDCWD, path, flags, 0666);
}
"#;

/// Whether a process hears SIGTERM, and does not hold it back.
fn hears_sigterm(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let has = |line: &str| {
        let set = status.lines().find_map(|found| found.strip_prefix(line)).unwrap_or("0").trim();
        u64::from_str_radix(set, 16).unwrap() & 1 << (Signal::TERM.as_raw() - 1) != 0
    };
    has("SigCgt:") && !has("SigBlk:")
}

#[test]
fn signals_are_heard_from_the_start_whatever_the_parent_holds_back() {
    let dir = fresh_data();
    let (data, shim) = (dir.path().join("data"), shim::compiled(dir.path(), UNOPENED));
    let held_back = "import os, signal, sys; \
                     signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]); \
                     os.execv(sys.argv[1], sys.argv[1:])";
    let mut child = Command::new("python3")
        .args(["-c", held_back, FAKEMON, "serve", "--data"])
        .args([data.as_os_str(), "--config".as_ref(), "settings.toml".as_ref()])
        .env("LD_PRELOAD", shim)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !hears_sigterm(child.id()) {
        assert!(Instant::now() < deadline, "it does not hear SIGTERM");
        std::thread::sleep(Duration::from_millis(1));
    }
    let pid = rustix::process::Pid::from_child(&child);
    kill_process(pid, Signal::HUP).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "nothing was begun");
    assert!(!data.exists());
}

/// While the file `HELD` is there, the thread `journal` waits for its disk.
const HELD: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int fdatasync(int fd) {
    char name[16] = "";
    prctl(PR_GET_NAME, name);
    while (strcmp(name, "journal") == 0 && access(getenv("HELD"), F_OK) == 0) usleep(10000);
    return syscall(SYS_fdatasync, fd);
}
"#;

#[test]
fn a_thread_that_does_not_move_is_told_by_name_and_waited_for_within_bounds() {
    let (tools, dir) = (fresh_data(), fresh_data());
    let (shim, held) = (shim::compiled(tools.path(), HELD), tools.path().join("held"));
    let settings = dir.path().join("settings.toml");
    std::fs::write(&settings, "[limits]\nthread_stalled = \"2s\"\nstop_within = \"2s\"\n").unwrap();
    let environment = [("LD_PRELOAD", shim.as_os_str()), ("HELD", held.as_os_str())];
    let arguments = ["--config", settings.to_str().unwrap()];
    let server = Server::try_start_with(&dir.path().join("data"), &arguments, &environment).expect("it starts");
    let spawn = r#"{"source":"shop","detail-type":"sold","detail":{}}"#;
    let request = format!("POST /events HTTP/1.1\r\nHost: HOST\r\nContent-Length: {}\r\n\r\n{spawn}", spawn.len());
    let becomes = |wanted: u16| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (status, answer) = server.get("/readyz");
            match status == wanted {
                true => return answer,
                false => assert!(Instant::now() < deadline, "{status} {answer}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    becomes(200);
    let mut unanswered = Vec::new();
    for _ in 0..2 {
        std::fs::write(&held, "").unwrap();
        unanswered.push(connect(&server, &request));
        assert!(becomes(503).contains("`journal`"));
        assert_eq!(server.get("/healthz").0, 200);
        std::fs::remove_file(&held).unwrap();
        becomes(200);
    }
    std::fs::write(&held, "").unwrap();
    unanswered.push(connect(&server, &request));
    becomes(503);
    kill_process(server.pid(), Signal::TERM).unwrap();
    let (status, said) = server.wait_for_failure();
    assert_eq!(status.code(), Some(1), "{said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.contains("limits.stop_within") && last.contains("`journal`"), "{said}");
}

#[test]
fn requests_that_come_ahead_of_answers_are_answered_in_order() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let expected = [("/metrics", "fakemon_uptime_seconds"), ("/healthz", "\r\n\r\nok\n"), ("/nowhere", "not_found")];
    let path = |n: usize| expected[n % 3].0;
    let requests: String = (0..100).map(|n| format!("GET {} HTTP/1.1\r\nHost: HOST\r\n\r\n", path(n))).collect();
    let unread: Vec<TcpStream> = (0..20).map(|_| connect(&server, &requests)).collect();
    let last = format!("GET {} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n", path(100));
    let mut ahead = connect(&server, &(requests + &last));
    is_well(&server);
    let mut answers = String::new();
    ahead.read_to_string(&mut answers).unwrap();
    let answers: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).collect();
    assert_eq!(answers.len(), 101);
    for (n, answer) in answers.iter().enumerate() {
        assert!(answer.contains(expected[n % 3].1), "{n}: {answer}");
    }
    drop(unread);
    assert!(server.stop().success());
}
