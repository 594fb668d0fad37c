//! A disk whose syncs take long: a library that is preloaded into the server delays every sync of the journal's log,
//! so that the journal's desk is full most of the time. The order of decisions still is the order of the journal.

use crate::dice::Dice;
use crate::player::{Player, SOL, attempt_at};
use crate::server::{Server, answer, fresh_data};
use crate::shim;
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const PLAYERS: usize = 8;
const SPAWNERS: u64 = 32;
/// Attempts in flight per player.
const BURST: u64 = 1_000;
/// Pause between two attempts of a player, so that each is a batch of its own: only then do many wait for the
/// journal.
const PACE: Duration = Duration::from_micros(100);
/// Turns that may wait for the journal.
const PLACES: usize = fakemon_model::limits::JOURNAL_TURNS;
const LIFETIME: Duration = Duration::from_millis(4_000);
/// The desk must have been full by then; a busy machine takes longer to fill it.
const LIFETIME_MAX: Duration = Duration::from_mins(1);

/// Waits before each sync of the journal's log, for a random time between two bounds in milliseconds from the
/// environment.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned wait_ms(void) {
    static __thread unsigned seed = 1;
    const char *least = getenv("SLOW_LOG_MS_MIN"), *most = getenv("SLOW_LOG_MS_MAX");
    if (!least || !most) return 0;
    unsigned from = atoi(least), to = atoi(most);
    return from + rand_r(&seed) % (to - from + 1);
}

int fdatasync(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t bytes = readlink(link, path, sizeof path - 1);
    if (bytes > 4) {
        path[bytes] = 0;
        if (strstr(path, "/journal/") && !strcmp(path + bytes - 4, ".log")) usleep(1000 * wait_ms());
    }
    return (int)syscall(SYS_fdatasync, fd);
}
"#;

#[test]
fn a_slow_log_leaves_what_was_decided_first_in_front() {
    let (tools, mut dice) = (fresh_data(), Dice::new());
    let shim = shim::compiled(tools.path(), SHIM);
    for (cores, is_killed) in [("1", true), ("1", false), ("2", true)] {
        let data = fresh_data();
        let environment = [
            ("LD_PRELOAD", shim.as_os_str()),
            ("SLOW_LOG_MS_MIN", "100".as_ref()),
            ("SLOW_LOG_MS_MAX", "600".as_ref()),
        ];
        let server = Server::try_start_with(data.path(), &["--cores", cores], &environment).expect("it starts");
        let told = overtake(&server, dice.below(1_000) as u64);
        match is_killed {
            true => server.kill(),
            false => assert!(server.stop().success()),
        }
        let path = data.path().to_str().expect("temporary paths are UTF-8");
        let report: Value = serde_json::from_str(&answer(&["verify", "--json", "--data", path])).expect("JSON");
        assert_eq!(report["ok"], true, "{report}");
        let server = Server::start(data.path(), &["--cores", cores]);
        for (name, first) in told {
            let mut player = Player::connect(server.play, &name).expect("it listens");
            let attempt = first["attempt_id"].as_str().and_then(|attempt| attempt.parse().ok()).expect("a number");
            assert_eq!(player.attempt(attempt, 1), Some(first));
        }
        assert!(server.stop().success());
    }
}

/// Players make attempts at fakémon that are about to appear, and at those that are about to expire. Returns the last
/// answer of each player.
fn overtake(server: &Server, first: u64) -> Vec<(String, Value)> {
    let (next, over, deepest) = (AtomicU64::new(first + 1), AtomicBool::new(false), AtomicUsize::new(0));
    let begun = Instant::now();
    let goes_on = || match deepest.load(Ordering::Relaxed) < PLACES {
        true => begun.elapsed() < LIFETIME_MAX,
        false => begun.elapsed() < LIFETIME,
    };
    std::thread::scope(|scope| {
        let (next, over, deepest, goes_on) = (&next, &over, &deepest, &goes_on);
        for spawner in 0..SPAWNERS {
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    // They are answered together, when a sync is over; the next ones come while the desk is full.
                    let rest_ms = (next.load(Ordering::Relaxed) + spawner) * 37 % 300;
                    std::thread::sleep(Duration::from_millis(rest_ms));
                    let id = next.fetch_add(1, Ordering::Relaxed).to_string();
                    let detail = json!({ "fakemon_id": id, "species": "sparkit", "lat": SOL.0, "lon": SOL.1,
                                         "lifetime_s": 1, "catch_rate": 0.1 });
                    let _ = server.try_spawn(&detail); // throttled, or the server ends
                }
            });
        }
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                deepest.fetch_max(depth(server), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let players: Vec<_> = (0..PLAYERS)
            .map(|number| {
                let name = format!("player-{number}");
                scope.spawn(move || (name.clone(), attempt_while(&goes_on, server, &name, next)))
            })
            .collect();
        let told = players.into_iter().map(|player| player.join().expect("a player does not panic"));
        let told = told.filter_map(|(name, last)| Some((name, last?))).collect();
        over.store(true, Ordering::Relaxed);
        let deepest = deepest.load(Ordering::Relaxed);
        assert!(deepest >= PLACES, "the desk was never full: at most {deepest} turns waited");
        told
    })
}

/// The number of batches that wait for the journal.
fn depth(server: &Server) -> usize {
    let (_, metrics) = server.get("/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix("fakemon_journal_depth "));
    line.and_then(|depth| depth.parse().ok()).expect("a gauge")
}

/// Makes attempts while `goes_on`; returns the last answer from the journal.
fn attempt_while(goes_on: &dyn Fn() -> bool, server: &Server, name: &str, next: &AtomicU64) -> Option<Value> {
    let mut player = Player::connect(server.play, name)?;
    let (mut attempt, mut last) = (0, None);
    while goes_on() {
        for nth in 0..BURST {
            attempt += 1;
            let newest = next.load(Ordering::Relaxed);
            let target = if nth % 2 == 0 { newest + nth % 16 } else { newest.saturating_sub(nth % 64) };
            player.say(&attempt_at(attempt, target.max(1)))?;
            std::thread::sleep(PACE);
        }
        for _ in 0..BURST {
            last = player.hear().filter(|answer| answer["position"].is_string()).or(last);
        }
    }
    last
}

/// The next decision sees all earlier ones, even if the client of an earlier one has disconnected meanwhile.
#[test]
fn who_hangs_up_leaves_no_gap_for_a_second_decision() {
    let (tools, data) = (fresh_data(), fresh_data());
    let shim = shim::compiled(tools.path(), SHIM);
    let slow = |ms| [("LD_PRELOAD", shim.as_os_str()), ("SLOW_LOG_MS_MIN", ms), ("SLOW_LOG_MS_MAX", ms)];
    let server = Server::try_start_with(data.path(), &[], &slow("700".as_ref())).expect("it starts");
    let body = r#"{"Name":"twice"}"#;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {}\r\nX-Amz-Target: AWSEvents.CreateEventBus\r\nContent-Length: {}\r\n\
         Content-Type: application/x-amz-json-1.1\r\nConnection: close\r\n\r\n{body}",
        server.control,
        body.len()
    );
    let mut impatient = TcpStream::connect(server.control).expect("it listens");
    impatient.write_all(request.as_bytes()).expect("it reads");
    std::thread::sleep(Duration::from_millis(150)); // the change is being written
    drop(impatient);
    std::thread::sleep(Duration::from_millis(50));
    let answer = server.raw(&request);
    assert!(answer.contains("ResourceAlreadyExistsException"), "{answer}");
    assert!(server.stop().success());
}
