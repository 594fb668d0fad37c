//! Wall clocks that are wrong at the start, and then set right: tokens, events and schedules follow the wall clock, the
//! order follows the positions. The clock that the server sees is a file's, by libfaketime.

use crate::player::{Player, SOL};
use crate::server::{FAKEMON, Server, answer, fresh_data};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";
/// Where Debian has it.
const FAKE_TIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// A server that takes tokens, and whose wall clock can be set.
struct Faked {
    folder: tempfile::TempDir,
}

impl Faked {
    fn new() -> Faked {
        let faked = Faked { folder: fresh_data() };
        std::fs::write(faked.file("secret"), SECRET).unwrap();
        std::fs::write(faked.file("settings.toml"), "[auth]\nhs256_secret_file = \"secret\"\n").unwrap();
        faked
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.file("data")
    }

    /// From now on the server sees the wall clock so much ahead.
    fn set(&self, ahead: &str) {
        std::fs::write(self.file("ahead.new"), format!("{ahead}\n")).unwrap();
        std::fs::rename(self.file("ahead.new"), self.file("ahead")).unwrap();
    }

    fn start(&self) -> Server {
        assert!(Path::new(FAKE_TIME).exists(), "libfaketime is needed: `make test` installs it");
        let (settings, ahead) = (self.file("settings.toml"), self.file("ahead"));
        let mut command = Command::new(FAKEMON);
        command.envs([
            ("LD_PRELOAD", FAKE_TIME),
            ("FAKETIME_TIMESTAMP_FILE", ahead.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ]);
        Server::try_start_by(command, &self.data(), &["--config", settings.to_str().unwrap()]).unwrap()
    }

    /// The `time` of the newest event that was put, against the clock of this machine: how many seconds ahead.
    fn newest_ahead_s(&self) -> i64 {
        let log = answer(&["log", "--data", self.data().to_str().unwrap(), "--kind", "put"]);
        let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        let time: jiff::Timestamp = last["time"].as_str().unwrap().parse().unwrap();
        time.as_second() - i64::try_from(now_s()).unwrap()
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn token(player: &str, expires_at_s: u64) -> String {
    let claims = json!({ "sub": player, "exp": expires_at_s });
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

fn connect(server: &Server, token: &str) -> Result<Player, u16> {
    Player::connect_to(server.play, &format!("/play?token={token}"))
        .map(|(player, _)| player)
        .map_err(|(status, ..)| status)
}

/// A player with a token of a minute is let in, and stays.
fn plays(server: &Server, name: &str, attempt: u64) {
    let mut player = connect(server, &token(name, now_s() + 60)).unwrap();
    for throw in 0..30 {
        assert!(player.throw(attempt + throw, 5).is_some(), "let in, then sent away");
        std::thread::sleep(std::time::Duration::from_millis(50)); // until every connection was looked at
    }
}

fn put(server: &Server) {
    let event = json!({ "source": "shop", "detail-type": "sold", "detail": {} });
    assert_eq!(server.post_event(&event.to_string()).0, 200);
}

/// Until the server has seen that its clock was set.
fn settle() {
    std::thread::sleep(std::time::Duration::from_millis(500));
}

#[test]
fn a_clock_that_was_ahead_at_the_start_is_right_once_it_is_set() {
    let faked = Faked::new();
    faked.set("+90s");
    let server = faked.start();
    server.spawn(json!({ "fakemon_id": "5", "species": "sparkit", "lat": SOL.0, "lon": SOL.1 }));
    put(&server);
    assert!((85..95).contains(&faked.newest_ahead_s()), "as its clock shows");
    faked.set("+0s");
    settle();
    plays(&server, "ash", 1);
    put(&server);
    assert!(faked.newest_ahead_s().abs() < 5, "by the clock that was set right");
    assert!(server.stop().success());
    let server = faked.start();
    plays(&server, "ash", 100);
    put(&server);
    assert!(faked.newest_ahead_s().abs() < 5, "the newest event of the journal does not hold the clock");
    assert!(server.stop().success());
    let verified = answer(&["verify", "--data", faked.data().to_str().unwrap()]);
    assert!(verified.contains("the hash chain holds"), "{verified}");
}

#[test]
fn a_clock_that_was_behind_at_the_start_is_right_once_it_is_set() {
    let faked = Faked::new();
    faked.set("-1d");
    let server = faked.start();
    server
        .spawn(json!({ "fakemon_id": "5", "species": "sparkit", "lat": SOL.0, "lon": SOL.1, "lifetime_s": 200_000 }));
    put(&server);
    assert!((-86_405..-86_395).contains(&faked.newest_ahead_s()));
    let late = token("misty", now_s() - 10);
    assert!(connect(&server, &late).is_ok(), "a day ago it was good");
    let mut player = connect(&server, &token("ash", now_s() + 3)).unwrap();
    faked.set("+0s");
    settle();
    assert_eq!(connect(&server, &late).err(), Some(401));
    player.throw(1, 5).expect("there are seconds left");
    assert_eq!(player.close_code(), Some(4401), "a token ends when it says so");
    put(&server);
    assert!(faked.newest_ahead_s().abs() < 5);
    let mut player = connect(&server, &token("brock", now_s() + 60)).unwrap();
    assert_eq!(player.throw(1, 5).unwrap()["reason"], "already_captured");
    assert!(server.stop().success());
    let log = answer(&["log", "--data", faked.data().to_str().unwrap(), "--kind", "attempt"]);
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    let time: jiff::Timestamp = last["time"].as_str().unwrap().parse().unwrap();
    assert!((time.as_second() - i64::try_from(now_s()).unwrap()).abs() < 10, "throws are stamped now: {last}");
}
