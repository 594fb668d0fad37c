//! Wall clocks that are wrong at the start, and then set right: what people see and filter by, tokens and schedules
//! follow the wall clock; what lasts does not, and the order follows the positions. The clock that the server sees is
//! a file's, by libfaketime.

use crate::aws::{call, queue, sqs};
use crate::player::{Player, SOL};
use crate::server::{FAKEMON, Server, answer, fresh_data};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";
/// Its path on Debian.
const FAKE_TIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// A server that needs tokens, and whose wall clock can be set.
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

    /// Sets the server's wall clock ahead by `ahead`.
    fn set(&self, ahead: &str) {
        std::fs::write(self.file("ahead.new"), format!("{ahead}\n")).unwrap();
        std::fs::rename(self.file("ahead.new"), self.file("ahead")).unwrap();
    }

    fn start(&self) -> Server {
        self.try_start().unwrap()
    }

    fn try_start(&self) -> Result<Server, String> {
        assert!(Path::new(FAKE_TIME).exists(), "libfaketime is needed: `make test` installs it");
        let (settings, ahead) = (self.file("settings.toml"), self.file("ahead"));
        let mut command = Command::new(FAKEMON);
        command.envs([
            ("LD_PRELOAD", FAKE_TIME),
            ("FAKETIME_TIMESTAMP_FILE", ahead.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ]);
        Server::try_start_by(command, &self.data(), &["--config", settings.to_str().unwrap()])
    }

    /// What was put, the newest last.
    fn put_events(&self) -> Vec<Value> {
        let log = answer(&["log", "--data", self.data().to_str().unwrap(), "--kind", "put"]);
        let events = log.lines().map(|line| serde_json::from_str(line).unwrap());
        events.filter(|event: &Value| event["source"] == "shop").collect()
    }

    /// The `time` of the newest event that was put, ahead of this machine's clock, in seconds.
    fn newest_ahead_s(&self) -> i64 {
        from_now_s(&self.put_events().pop().unwrap()["time"])
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

/// A player with a token for one minute is admitted, and stays connected.
fn plays(server: &Server, name: &str, attempt: u64) {
    let mut player = connect(server, &token(name, now_s() + 60)).unwrap();
    for index in 0..30 {
        assert!(player.attempt(attempt + index, 5).is_some(), "let in, then sent away");
        std::thread::sleep(std::time::Duration::from_millis(50)); // until every connection was checked
    }
}

fn put(server: &Server) {
    let event = json!({ "source": "shop", "detail-type": "sold", "detail": {} });
    assert_eq!(server.post_event(&event.to_string()).0, 200);
}

/// Waits until the server has noticed that its clock was set.
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

/// Seconds from now by the clock of this machine to a moment.
fn from_now_s(moment: &Value) -> i64 {
    let moment: jiff::Timestamp = moment.as_str().unwrap().parse().unwrap();
    moment.as_second() - i64::try_from(now_s()).unwrap()
}

impl Faked {
    /// Events of a kind at about a moment, `s` seconds from now; of what was put, what the test put.
    fn around(&self, kind: &str, s: i64) -> Vec<Value> {
        let middle = i64::try_from(now_s()).unwrap() + s;
        let [from, to] = [-60, 60].map(|s| jiff::Timestamp::from_second(middle + s).unwrap().to_string());
        let data = self.data();
        let log = answer(&["log", "--data", data.to_str().unwrap(), "--kind", kind, "--from", &from, "--to", &to]);
        let events = log.lines().map(|line| serde_json::from_str(line).unwrap());
        events.filter(|event: &Value| kind != "put" || event["source"] == "shop").collect()
    }

    /// Seconds from now until a fakémon vanishes, as players see it.
    fn vanishes_in_s(server: &Server, player: &str, fakemon: &str) -> i64 {
        let mut player = connect(server, &token(player, now_s() + 60)).unwrap();
        let look = json!({ "type": "look", "lat": SOL.0, "lon": SOL.1, "radius_m": 100 });
        let world = player.ask(&look).unwrap();
        let found = world["fakemon"].as_array().unwrap().iter().find(|one| one["fakemon_id"] == fakemon);
        from_now_s(&found.unwrap_or_else(|| panic!("{fakemon} is not in {world}"))["vanishes_at"])
    }
}

fn spawn(server: &Server, id: &str, lifetime_s: u64) {
    let detail = json!({ "fakemon_id": id, "species": "sparkit", "lat": SOL.0, "lon": SOL.1, "lifetime_s": lifetime_s,
                         "catch_rate": 1 });
    server.spawn(detail);
}

#[test]
fn what_is_shown_and_what_is_filtered_by_are_one_clock_whatever_it_was_at_the_start() {
    for ahead in ["+1d", "-1d", "+274y"] {
        let faked = Faked::new();
        faked.set(ahead);
        let server = faked.start();
        spawn(&server, "5", 3_600);
        spawn(&server, "9", 4);
        put(&server);
        faked.set("+0s");
        settle();
        spawn(&server, "6", 3_600);
        put(&server);
        let near = |s: i64, expected: i64| (s - expected).abs() < 60;
        for fakemon in ["5", "6"] {
            let left = Faked::vanishes_in_s(&server, "ash", fakemon);
            assert!(near(left, 3_600), "{ahead}: fakémon {fakemon} stays {left} s");
        }
        let caught = connect(&server, &token("ash", now_s() + 60)).unwrap().attempt(1, 6).unwrap();
        assert_eq!(caught["outcome"], "captured");
        for kind in ["put", "appeared", "capture_succeeded"] {
            let now = faked.around(kind, 0);
            assert_eq!(now.len(), 1, "{ahead}: {kind}: {now:?}");
            assert!(near(from_now_s(&now[0]["time"]), 0), "{ahead}: {now:?}");
        }
        let (appeared, captured) = (&faked.around("appeared", 0)[0], &faked.around("capture_succeeded", 0)[0]);
        assert!(near(from_now_s(&appeared["detail"]["vanishes_at"]), 3_600), "{appeared}");
        assert!(near(from_now_s(&captured["detail"]["captured_at"]), 0), "{captured}");
        // What was put under the wrong clock is where it says that it is.
        let first = faked.put_events().remove(0);
        assert_eq!(faked.around("put", from_now_s(&first["time"])), [first], "{ahead}");
        // Four seconds are four seconds.
        let mut vanished = Vec::new();
        for _ in 0..100 {
            vanished = faked.around("vanished", 0);
            if !vanished.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        assert_eq!(vanished[0]["detail"]["fakemon_id"], "9", "{ahead}");
        assert!(server.stop().success());
        let server = faked.start();
        spawn(&server, "7", 3_600);
        assert!(near(Faked::vanishes_in_s(&server, "ash", "7"), 3_600), "{ahead}: after a restart too");
        assert!(near(Faked::vanishes_in_s(&server, "ash", "5"), 3_600), "{ahead}: after a restart too");
        assert!(server.stop().success());
        restores(&faked);
    }
}

/// The journal can be verified, and exported and imported bit for bit.
fn restores(faked: &Faked) {
    let (data, lines, again) = (faked.data(), faked.file("lines.jsonl"), faked.file("again"));
    let [data, lines, again] = [&data, &lines, &again].map(|path| path.to_str().unwrap());
    let verified = answer(&["verify", "--data", data]);
    assert!(verified.contains("the hash chain holds"), "{verified}");
    answer(&["export", "--format", "jsonl", "--data", data, "--out", lines]);
    answer(&["import", "--data", again, lines]);
    let verified = answer(&["verify", "--data", again]);
    assert!(verified.contains("the hash chain holds"), "{verified}");
    let timeline: Value = serde_json::from_str(&answer(&["timeline", "--data", data, "--json"])).unwrap();
    assert!(timeline.is_object());
}

#[test]
fn a_clock_that_was_behind_at_the_start_is_right_once_it_is_set() {
    let faked = Faked::new();
    faked.set("-1d");
    let server = faked.start();
    server.spawn(json!({ "fakemon_id": "5", "species": "sparkit", "lat": SOL.0, "lon": SOL.1, "lifetime_s": 200_000,
                       "catch_rate": 1 }));
    put(&server);
    assert!((-86_405..-86_395).contains(&faked.newest_ahead_s()));
    let late = token("misty", now_s() - 10);
    assert!(connect(&server, &late).is_ok(), "a day ago it was good");
    let mut player = connect(&server, &token("ash", now_s() + 3)).unwrap();
    faked.set("+0s");
    settle();
    assert_eq!(connect(&server, &late).err(), Some(401));
    player.attempt(1, 5).expect("there are seconds left");
    assert_eq!(player.close_code(), Some(4401), "a token ends when it says so");
    put(&server);
    assert!(faked.newest_ahead_s().abs() < 5);
    let mut player = connect(&server, &token("brock", now_s() + 60)).unwrap();
    assert_eq!(player.attempt(1, 5).unwrap()["reason"], "already_captured");
    assert!(server.stop().success());
    let log = answer(&["log", "--data", faked.data().to_str().unwrap(), "--kind", "attempt"]);
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    let time: jiff::Timestamp = last["time"].as_str().unwrap().parse().unwrap();
    assert!((time.as_second() - i64::try_from(now_s()).unwrap()).abs() < 10, "throws are stamped now: {last}");
}

#[test]
fn what_lasts_lasts_as_long_when_the_clock_is_set() {
    let faked = Faked::new();
    faked.set("+0s");
    let settings = "[auth]\nhs256_secret_file = \"secret\"\n[aws]\nqueue_pause = \"1s\"\n";
    std::fs::write(faked.file("settings.toml"), settings).unwrap();
    let server = faked.start();
    let (url, _) = queue(&server, "q");
    for body in ["hidden", "late"] {
        sqs(&server, "SendMessage", json!({ "QueueUrl": url, "MessageBody": body, "DelaySeconds": 0 }));
    }
    let hide =
        |seconds: u64| sqs(&server, "ReceiveMessage", json!({ "QueueUrl": url, "VisibilityTimeout": seconds }));
    let (hidden, late) = (hide(1_800), hide(1));
    assert!(hidden["Messages"].is_array() && late["Messages"].is_array());
    let late = &late["Messages"][0]["MessageId"];
    faked.set("+1h");
    settle();
    let next = || {
        let ask = json!({ "QueueUrl": url, "WaitTimeSeconds": 1, "VisibilityTimeout": 1_800,
                          "MessageSystemAttributeNames": ["SentTimestamp"] });
        sqs(&server, "ReceiveMessage", ask)["Messages"].as_array().cloned().unwrap_or_default()
    };
    let came: Vec<Value> = (0..5).flat_map(|_| next()).collect();
    assert_eq!(came.len(), 1, "half an hour did not pass: {came:?}");
    assert_eq!(came[0]["MessageId"], *late);
    sqs(&server, "PurgeQueue", json!({ "QueueUrl": url }));
    sqs(&server, "SendMessage", json!({ "QueueUrl": url, "MessageBody": "soon", "DelaySeconds": 1 }));
    faked.set("-1h");
    settle();
    let soon = (0..60).flat_map(|_| next()).next().expect("a second passes");
    let sent_s: i64 = soon["Attributes"]["SentTimestamp"].as_str().unwrap().parse::<i64>().unwrap() / 1_000;
    assert!((sent_s + 3_600 - i64::try_from(now_s()).unwrap()).abs() < 600, "sent a moment ago: {soon}");
    let purged = (0..60).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        call(&server, "AmazonSQS.PurgeQueue", &json!({ "QueueUrl": url })).0 == 200
    });
    assert!(purged, "a pause of a second is over, although the clock was set back");
    let head = server.raw("GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    let (_, date) = fields.find(|(name, _)| name.eq_ignore_ascii_case("date")).unwrap();
    let date = jiff::fmt::rfc2822::parse(date).unwrap().timestamp();
    assert!((date.as_second() + 3_600 - i64::try_from(now_s()).unwrap()).abs() < 600, "{head}");
    assert!(server.stop().success());
}

#[test]
fn a_clock_before_1970_is_refused_with_a_word() {
    let faked = Faked::new();
    faked.set("-80y");
    let refused = faked.try_start().err().unwrap();
    assert!(refused.contains("a time before 1970: set it"), "{refused}");
}
