//! Makes the golden journal: an evening of the seeded workload on a real server, with everything that incidents are
//! made of. Positions, ids and times are new each time it is made, so what the tests compare is written anew after
//! it, and the guide is read again, because its sentences name players and positions:
//!
//! ```sh
//! cargo test --locked --workspace --test tests -- --ignored --exact golden::make::the_journal
//! UPDATE_GOLDEN=1 cargo test --locked --workspace --test tests -- golden::
//! git add --force tests/golden/bus  # logs of databases are logs to git too
//! ```

use super::{copy_files, folder, path};
use crate::aws::{ERROR, Hook, PATIENCE, WELL, destination, events, queue, sqs};
use crate::player::{Player, number};
use crate::schedules::{in_seconds, ok, schedule};
use crate::server::{Server, answer, fresh_data};
use fakemon_model::ids::FakemonId;
use fakemon_model::place::Place;
use fakemon_workload::attempts::Contender;
use fakemon_workload::board::Slot;
use fakemon_workload::{Act, Attempts, Board, Nth, Scenario, World};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tungstenite::Message;

const FLAGS: [&str; 7] = ["--seed", "7", "--cores", "2", "--edges", "2", "--allow-private-targets"];
const NAMES: [&str; 6] = ["ash", "misty", "brock", "gary", "jessie", "james"];
/// Fakémon that can be attempted, at any time.
const SLOTS: u32 = 12;
/// All of them, with those in reserve.
const SPAWNED: u32 = 7 * SLOTS;
/// Longer than the evening.
const LIFETIME_S: u64 = 86_400;
/// Ids of fakémon that the workload does not know.
const FIRST_OF_OURS: u64 = 500;
/// Messages that are read from the socket together with the attempt that comes too late.
const BESIDE: usize = 9_000;
/// How often two race until one is received first and decided second.
const RACES_MAX: u64 = 60;

#[test]
#[ignore = "makes what the other tests compare with; its file says how"]
fn the_journal() {
    let (dir, hook) = (fresh_data(), Hook::start(WELL));
    let data = dir.path().join("data");
    let server = Server::start(&data, &FLAGS);
    let mut evening = Evening::begin();
    set_up(&server, &hook);
    evening.seats = evening.seated(&server);
    evening.spawn(&server);
    evening.play(130);
    evening.race(&server);
    evening.play(20);
    the_partner_is_down(&mut evening, &server, &hook);
    evening.play(30);
    evening.the_process_is_stopped(&server);
    evening.play(20);
    evening.attempt_in_vain(&server);
    server.kill();
    std::thread::sleep(Duration::from_millis(1_300));
    let server = Server::start(&data, &FLAGS);
    evening.seats = evening.seated(&server);
    evening.play(80);
    everything_is_delivered(&server);
    assert!(server.stop().success());
    keep(&data, dir.path());
}

/// Rules, targets that work and one that will not, and a schedule.
fn set_up(server: &Server, hook: &Hook) {
    let ((_, caught), (_, missed)) = (queue(server, "caught"), queue(server, "missed"));
    let partner = destination(server, "partner", &format!("http://{}/captures", hook.address));
    let rule = |bus: &str, name: &str, pattern: Value| {
        events(server, "PutRule", json!({ "Name": name, "EventBusName": bus, "EventPattern": pattern.to_string() }));
    };
    let target = |bus: &str, rule: &str, targets: Value| {
        events(server, "PutTargets", json!({ "Rule": rule, "EventBusName": bus, "Targets": targets }));
    };
    rule("fakemon", "caught", json!({ "detail-type": ["fakemon.capture_succeeded"] }));
    let retry = json!({ "MaximumRetryAttempts": 1, "MaximumEventAgeInSeconds": 60 });
    let partner =
        json!({ "Id": "partner", "Arn": partner, "RetryPolicy": retry, "DeadLetterConfig": { "Arn": missed } });
    target("fakemon", "caught", json!([partner, { "Id": "queue", "Arn": caught }]));
    events(server, "CreateEventBus", json!({ "Name": "shop" }));
    rule("default", "to-shop", json!({ "source": ["promo"] }));
    let shop = "arn:aws:events:local:123456789012:event-bus/shop";
    target("default", "to-shop", json!([{ "Id": "shop", "Arn": shop }]));
    rule("shop", "promo", json!({ "source": ["promo"] }));
    target("shop", "promo", json!([{ "Id": "queue", "Arn": caught }]));
    let place = world().place(Nth(0));
    let spawn = json!({ "species": "sparkit", "lat": place.lat(), "lon": place.lon() }).to_string();
    let entry = json!({ "Source": "fakemon.world", "DetailType": "fakemon.spawn", "Detail": spawn });
    let wave = json!({ "Arn": "arn:aws:scheduler:::aws-sdk:eventbridge:putEvents",
                       "Input": json!({ "Entries": [entry, entry, entry] }).to_string() });
    ok(server, "POST", "/schedules/wave", schedule(&in_seconds(2).0, &wave));
    let promo = json!({ "source": "promo", "detail-type": "begins", "detail": { "species": "sparkit" } });
    assert_eq!(server.post_event(&promo.to_string()).0, 200);
}

fn world() -> World {
    World::new(7, Scenario::Realistic, FakemonId(1_000))
}

/// What the webhook misses is given up after a retry, and kept.
fn the_partner_is_down(evening: &mut Evening, server: &Server, hook: &Hook) {
    hook.behaves.store(ERROR, Ordering::SeqCst);
    for (number, player) in [(600, 2), (601, 4)] {
        let place = evening.appear(server, number, 1.0, LIFETIME_S);
        assert_eq!(evening.attempt(player, number, place)["outcome"], "captured");
    }
    until(|| waiting(server, "missed") == 2);
    hook.behaves.store(WELL, Ordering::SeqCst);
}

fn everything_is_delivered(server: &Server) {
    let captured = |line: &str| line.contains("fakemon.capture_succeeded");
    let captures = answer(&["log", "--data", path(&server.data)]).lines().filter(|line| captured(line)).count();
    until(|| waiting(server, "caught") == captures as u64 + 1); // and the promo
    std::thread::sleep(Duration::from_secs(2)); // what was delivered last is noted by then
}

/// Messages in a queue.
fn waiting(server: &Server, queue: &str) -> u64 {
    let url = format!("http://{}/123456789012/{queue}", server.control);
    let all = sqs(server, "GetQueueAttributes", json!({ "QueueUrl": url, "AttributeNames": ["All"] }));
    number(&all["Attributes"], "ApproximateNumberOfMessages")
}

fn until(is_so: impl Fn() -> bool) {
    let by = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < by, "it did not come to pass");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The journal as lines, and what the bus knows beside it.
fn keep(data: &Path, beside: &Path) {
    let (lines, copy, bus) = (folder().join("journal.jsonl"), beside.join("copy"), folder().join("bus"));
    answer(&["export", "--format", "jsonl", "--data", path(data), "--out", path(&lines)]);
    answer(&["checkpoint", "--data", path(data), "--to", path(&copy)]);
    let _ = std::fs::remove_dir_all(&bus); // it may not be there
    copy_files(&copy.join("bus"), &bus);
    let (text, most) = (std::fs::read_to_string(lines).unwrap(), 400_000);
    assert!(text.len() < most, "{} bytes are too many", text.len());
}

/// Players, and what they attempt.
struct Evening {
    board: Board,
    planned: Attempts,
    seats: Vec<Player>,
    attempts: [u64; NAMES.len()],
}

impl Evening {
    fn begin() -> Evening {
        let (board, planned) = (Board::new(SLOTS), Attempts::new(world(), 0, SLOTS));
        Evening { board, planned, seats: Vec::new(), attempts: [0; NAMES.len()] }
    }

    fn seated(&self, server: &Server) -> Vec<Player> {
        NAMES.iter().map(|name| Player::connect(server.play, name).unwrap()).collect()
    }

    /// Enough for the slots, and some in reserve.
    fn spawn(&self, server: &Server) {
        for nth in 0..SPAWNED {
            let (id, place) = (world().id(Nth(nth)), world().place(Nth(nth)));
            server.spawn(json!({ "fakemon_id": id.to_string(), "species": world().spawn(Nth(nth)).species,
                                 "lat": place.lat(), "lon": place.lon(), "lifetime_s": LIFETIME_S }));
        }
        self.board.spawned(SPAWNED);
    }

    /// A fakémon of our own; where it is.
    fn appear(&self, server: &Server, id: u64, catch_rate: f64, lifetime_s: u64) -> Place {
        let place = world().place(Nth(u32::try_from(id).unwrap()));
        server.spawn(json!({ "fakemon_id": id.to_string(), "species": "sparkit", "lat": place.lat(),
                             "lon": place.lon(), "catch_rate": catch_rate, "lifetime_s": lifetime_s }));
        place
    }

    /// The message of a player's next attempt.
    fn message(&mut self, player: usize, fakemon: u64, place: Place) -> Value {
        self.attempts[player] += 1;
        json!({ "type": "attempt", "attempt_id": self.attempts[player].to_string(),
                "fakemon_id": fakemon.to_string(), "lat": place.lat(), "lon": place.lon() })
    }

    fn attempt(&mut self, player: usize, fakemon: u64, place: Place) -> Value {
        let message = self.message(player, fakemon, place);
        self.seats[player].ask(&message).unwrap()
    }

    /// What the workload lets a player do next.
    fn act(&mut self, player: usize) {
        match self.planned.next(Contender(u32::try_from(player).unwrap()), &self.board) {
            Act::Attempt(attempt) => {
                let told = self.attempt(player, world().id(attempt.nth).0, attempt.place);
                if told["outcome"] == "captured" {
                    self.board.caught(attempt.slot, attempt.nth);
                }
            }
            Act::Repeat => {
                self.attempts[player] = self.attempts[player].saturating_sub(1);
                self.attempt(player, 1, world().place(Nth(0))); // the id decides, not the fakémon
            }
        }
    }

    /// Each player in turn makes an attempt, this many together.
    fn play(&mut self, attempts: usize) {
        for turn in 0..attempts {
            self.act(turn % NAMES.len());
            std::thread::sleep(Duration::from_millis(8));
        }
    }

    /// Two try for one fakémon within microseconds, again and again, until the one who was received first comes
    /// second: much stood before it in what was read from the socket together with it.
    fn race(&mut self, server: &Server) {
        for round in 0..RACES_MAX {
            let (fakemon, rival) = (FIRST_OF_OURS + round, 1 + round as usize % (NAMES.len() - 1));
            let place = self.appear(server, fakemon, 1.0, LIFETIME_S);
            let told = self.at_once(rival, fakemon, place);
            if told["reason"] == "already_captured" && was_received_first(server, &told) {
                let others = (1..NAMES.len()).filter(|other| *other != rival);
                return others.for_each(|other| drop(self.attempt(other, fakemon, place)));
            }
        }
        panic!("nobody who was received first came second: make it again");
    }

    /// Ash says much in one piece, at its end the attempt; the rival tries a moment later. What ash is told.
    fn at_once(&mut self, rival: usize, fakemon: u64, place: Place) -> Value {
        let [attempt, rivals] = [0, rival].map(|player| self.message(player, fakemon, place));
        for _ in 0..BESIDE {
            self.seats[0].socket.write(Message::Pong(Vec::new().into())).unwrap(); // it is read, and not answered
        }
        self.seats[0].socket.write(Message::text(attempt.to_string())).unwrap();
        self.seats[rival].socket.write(Message::text(rivals.to_string())).unwrap();
        [0, rival].into_iter().for_each(|player| self.seats[player].socket.flush().unwrap());
        self.seats[rival].hear().unwrap();
        loop {
            let told = self.seats[0].hear().unwrap();
            if told["type"] == "result" {
                return told;
            }
        }
    }

    /// The process stands still while a group is on its way to the disk, as on a disk that hangs.
    fn the_process_is_stopped(&mut self, server: &Server) {
        for player in 0..NAMES.len() {
            let nth = self.board.at(Slot(u32::try_from(player).unwrap()));
            let message = self.message(player, world().id(nth).0, world().place(nth));
            self.seats[player].say(&message).unwrap();
        }
        kill_process(server.pid(), Signal::STOP).unwrap();
        std::thread::sleep(Duration::from_millis(700));
        kill_process(server.pid(), Signal::CONT).unwrap();
        self.seats.iter_mut().for_each(|seat| drop(seat.hear().unwrap()));
        let timeline = answer(&["timeline", "--json", "--data", path(&server.data)]);
        let timeline: Value = serde_json::from_str(&timeline).unwrap();
        let synced = timeline["stalls"][0]["stages_ns_max"]["synced"].as_u64();
        assert!(synced > Some(500_000_000), "no group was on its way to the disk: make it again");
    }

    /// What vanished, and what never was.
    fn attempt_in_vain(&mut self, server: &Server) {
        let place = self.appear(server, 700, 0.0, 1);
        assert_eq!(self.attempt(3, 700, place)["reason"], "dodged");
        std::thread::sleep(Duration::from_millis(1_100));
        assert_eq!(self.attempt(3, 700, place)["reason"], "vanished");
        assert_eq!(self.attempt(5, 701, place)["reason"], "unknown_fakemon");
    }
}

/// Whether the attempt was read from its socket before the one that won.
fn was_received_first(server: &Server, told: &Value) -> bool {
    let position = told["position"].as_str().unwrap();
    let story = answer(&["explain", "--json", "--data", path(&server.data), position]);
    let story: Value = serde_json::from_str(&story).unwrap();
    story["winner"]["received_earlier_ns"].as_i64().unwrap() < 0
}
