//! The edge from outside: a real engine behind it, and a websocket client that shares no code with it.

use super::*;
use fakemon_access::player_token::TokenKeys;
use fakemon_capture::command::Spawn;
use fakemon_engine::Options;
use fakemon_model::ids::{FakemonId, Token};
use fakemon_model::place::Place;
use fakemon_model::species::CatchRate;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;
use tempfile::TempDir;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";

/// A world with an edge around it.
struct House {
    edge: Edge,
    engine: Engine,
    _directory: TempDir,
}

struct Player(WebSocket<TcpStream>);

fn sol() -> Place {
    Place::from_degrees(40.4168, -3.7038).unwrap()
}

impl House {
    fn new(change: impl FnOnce(&mut EdgeOptions)) -> House {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { cores: 1, pin: false, ..Options::default() };
        let engine = Engine::open(directory.path(), options).unwrap();
        let mut options = EdgeOptions::new("127.0.0.1:0".parse().unwrap());
        options.tick = Duration::from_millis(5);
        change(&mut options);
        House { edge: start(engine.clone(), options).unwrap(), engine, _directory: directory }
    }

    fn spawn(&self, id: u64, place: Place) {
        let mut client = self.engine.client().unwrap();
        let spawn = Spawn {
            fakemon_id: Some(FakemonId(id)),
            species: "sparkit".into(),
            place,
            lifetime_s: Some(600),
            catch_rate: Some(CatchRate::ALWAYS),
        };
        client.spawn(Token(1), &spawn).unwrap();
        assert_eq!(client.wait(&mut Vec::new(), Duration::from_secs(5)), 1);
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.engine.world_position() < self.engine.position() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.edge.addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    }

    fn player(&self, name: &str) -> Player {
        let url = format!("ws://{}/play?player={name}", self.edge.addr());
        let (socket, _) = tungstenite::client(url, self.tcp()).unwrap();
        Player(socket)
    }

    fn wait_for(&self, done: impl Fn(&Figures) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !done(&self.edge.figures()) {
            assert!(Instant::now() < deadline, "{:?}", self.edge.figures());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Player {
    fn say(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).unwrap();
    }

    fn hear(&mut self) -> Value {
        loop {
            match self.0.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn ask(&mut self, message: &Value) -> Value {
        self.say(message);
        self.hear()
    }

    fn attempt(&mut self, attempt_id: u64, fakemon_id: u64) -> Value {
        self.ask(&attempt_at(attempt_id, fakemon_id))
    }

    fn close_code(&mut self) -> Option<u16> {
        loop {
            match self.0.read() {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn attempt_at(attempt_id: u64, fakemon_id: u64) -> Value {
    json!({"type": "attempt", "attempt_id": attempt_id.to_string(), "fakemon_id": fakemon_id.to_string(),
           "lat": 40.4168, "lon": -3.7038})
}

#[test]
fn one_wins_and_finds_it_in_the_collection() {
    let house = House::new(|options| options.threads = 2);
    house.spawn(42, sol());
    let (mut ana, mut ben) = (house.player("ana"), house.player("ben"));
    assert_eq!(ana.ask(&json!({"type": "collection"})), json!({"type": "collection", "items": []}));
    assert_eq!(house.engine.metrics().players, 0, "looking at nothing registers nobody");
    let won = ana.attempt(1, 42);
    assert_eq!((won["outcome"].as_str(), won["fakemon_id"].as_str()), (Some("captured"), Some("42")));
    let lost = ben.attempt(1, 42);
    assert_eq!((lost["outcome"].as_str(), lost["reason"].as_str()), (Some("failed"), Some("already_captured")));
    assert_eq!(ana.attempt(1, 99), won, "an attempt id keeps its first answer");
    drop(ana);
    let mut ana = house.player("ana");
    assert_eq!(ana.attempt(1, 42), won, "on every connection");
    let collection = ana.ask(&json!({"type": "collection"}));
    assert_eq!(collection["items"][0]["fakemon_id"], "42");
    assert_eq!(collection["items"][0]["position"], won["position"]);
    assert_eq!(ben.attempt(2, 7)["reason"], "unknown_fakemon");
}

#[test]
fn nonsense_is_answered_and_the_connection_lives_on() {
    let house = House::new(|_| {});
    house.spawn(1, sol());
    let mut ana = house.player("ana");
    for message in [json!({"type": "dance"}), json!(7), attempt_at(1, 1)["lat"].clone()] {
        assert_eq!(ana.ask(&message)["code"], "bad_message");
    }
    let mut bad = attempt_at(5, 1);
    bad["fakemon_id"] = json!(-1);
    assert_eq!(ana.ask(&bad)["attempt_id"], "5");
    assert_eq!(ana.attempt(5, 1)["outcome"], "captured");
    for (message, code) in [(Message::binary(vec![1, 2, 3]), 1003), (Message::text("x".repeat(20_000)), 1009)] {
        let mut ben = house.player("ben");
        ben.0.send(message).unwrap();
        assert_eq!(ben.close_code(), Some(code));
    }
    assert_eq!(ana.attempt(6, 1)["reason"], "already_captured", "others are undisturbed");
}

#[test]
fn the_same_is_said_in_flatbuffers() {
    use fakemon_fbs::play::{Outcome, Reply, Request, Writer, read_reply};
    let house = House::new(|_| {});
    house.spawn(42, sol());
    let url = format!("ws://{}/play?player=ana", house.edge.addr());
    let mut request = url.into_client_request().unwrap();
    let protocol = "fakemon.v1.fb".parse().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
    let (mut socket, _) = tungstenite::client(request, house.tcp()).unwrap();
    let mut writer = Writer::default();
    let mut ask = |request: &Request| {
        socket.send(Message::binary(writer.request(request).to_vec())).unwrap();
        loop {
            let reply = socket.read().unwrap().into_data();
            // That it is gone may be sent before the capture itself.
            if !matches!(read_reply(&reply).unwrap(), Reply::Vanished(_)) {
                return reply;
            }
        }
    };
    let (lat, lon) = (40.4168, -3.7038);
    let world = ask(&Request::Look { lat, lon, radius_m: 100.0 });
    assert!(matches!(read_reply(&world).unwrap(), Reply::World(fakemon) if fakemon[0].fakemon_id == 42));
    let attempt_at = |lat| Request::Attempt { attempt_id: 1, fakemon_id: 42, lat, lon };
    let error = ask(&attempt_at(f64::NAN));
    assert!(matches!(read_reply(&error).unwrap(), Reply::Error { attempt_id: Some(1), .. }));
    let result = ask(&attempt_at(lat));
    assert!(
        matches!(read_reply(&result).unwrap(), Reply::AttemptResult(result) if result.outcome == Outcome::Captured)
    );
}

#[test]
fn watchers_are_told_what_changes_where_they_look() {
    let house = House::new(|_| {});
    house.spawn(1, sol());
    let mut ana = house.player("ana");
    let look = |place: Place| json!({"type": "look", "lat": place.lat(), "lon": place.lon(), "radius_m": 200});
    let world = ana.ask(&look(sol()));
    assert_eq!(world["fakemon"].as_array().unwrap().len(), 1);
    house.wait_for(|figures| figures.watchers == 1);
    house.spawn(2, sol().moved(0.0, 400.0));
    house.spawn(3, sol().moved(100.0, 100.0));
    let appeared = ana.hear();
    assert_eq!((appeared["type"].as_str(), appeared["fakemon_id"].as_str()), (Some("appeared"), Some("3")));
    house.player("ben").attempt(1, 1);
    assert_eq!(ana.hear(), json!({"type": "vanished", "fakemon_id": "1"}));
    let elsewhere = sol().moved(0.0, 400.0);
    assert_eq!(ana.ask(&look(elsewhere))["fakemon"][0]["fakemon_id"], "2");
    house.spawn(4, sol());
    house.spawn(5, elsewhere);
    assert_eq!(ana.hear()["fakemon_id"], "5", "a new look replaces the old area");
    drop(ana);
    house.wait_for(|figures| figures.watchers == 0);
}

#[test]
fn who_attempts_too_often_is_throttled() {
    let rate = Rate { attempts_per_s: 0.5, burst: 2 };
    let house = House::new(|options| options.rate = Some(rate));
    let (mut ana, mut again) = (house.player("ana"), house.player("ana"));
    assert_eq!(ana.attempt(1, 1)["reason"], "unknown_fakemon");
    assert_eq!(again.attempt(2, 1)["reason"], "unknown_fakemon");
    let throttled = ana.attempt(3, 1);
    assert_eq!(throttled["reason"], "throttled");
    assert!(throttled["retry_after_ms"].as_u64().unwrap() > 1_000, "{throttled}");
    assert_eq!(throttled.get("position"), None);
    assert_eq!(house.player("ben").attempt(1, 1)["reason"], "unknown_fakemon");
    assert_eq!(house.edge.figures().throttled, 1);
}

#[test]
fn an_attempt_that_is_sent_again_has_its_first_answer_whatever_the_rate() {
    let rate = Rate { attempts_per_s: 0.001, burst: 2 };
    let house = House::new(|options| options.rate = Some(rate));
    house.spawn(1, sol());
    let mut ana = house.player("ana");
    let first = [1, 2].map(|attempt| ana.attempt(attempt, 1));
    assert_eq!(first[0]["outcome"], "captured");
    assert_eq!(ana.attempt(3, 1)["reason"], "throttled");
    for again in [&mut ana, &mut house.player("ana")] {
        for _ in 0..100 {
            assert_eq!([1, 2].map(|attempt| again.attempt(attempt, 1)), first);
        }
        assert_eq!(again.attempt(3, 1)["reason"], "throttled", "what was throttled is no throw that was made");
    }
}

#[test]
fn many_in_one_write_are_answered_each_once() {
    let house = House::new(|_| {});
    house.spawn(1, sol());
    let mut ana = house.player("ana");
    for attempt_id in 0..3_000 {
        ana.0.write(Message::text(attempt_at(attempt_id, 1).to_string())).unwrap();
    }
    ana.0.flush().unwrap();
    let mut answered: Vec<u64> =
        (0..3_000).map(|_| ana.hear()["attempt_id"].as_str().unwrap().parse().unwrap()).collect();
    answered.sort_unstable();
    assert!(answered.into_iter().eq(0..3_000));
    house.wait_for(|figures| figures.messages_out == 3_000 && figures.answered_ns.len() == 3_000);
}

#[test]
fn who_does_not_read_is_given_up_and_nobody_else_notices() {
    let house = House::new(|options| options.idle_timeout = Duration::from_millis(600));
    (1..=100).for_each(|id| house.spawn(id, sol()));
    let mut ana = house.player("ana");
    let look = json!({"type": "look", "lat": 40.4168, "lon": -3.7038, "radius_m": 100}).to_string();
    ana.0.get_ref().set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    while ana.0.send(Message::text(look.clone())).is_ok() {}
    assert_eq!(house.player("ben").attempt(1, 1)["outcome"], "captured");
    let lost = |figures: &Figures| {
        figures.closed[CloseReason::SlowConsumer as usize] + figures.closed[CloseReason::Idle as usize]
    };
    house.wait_for(|figures| lost(figures) >= 1);
}

#[test]
fn the_silent_are_pinged_then_given_up() {
    let house = House::new(|options| {
        options.idle_timeout = Duration::from_millis(400);
        options.handshake_timeout = Duration::from_millis(200);
    });
    let mut half_open = house.tcp();
    half_open.write_all(b"GET /play?player=ana HTTP/1.1\r\n").unwrap();
    let _mute = house.player("ben");
    let mut ana = house.player("ana");
    let answering = std::thread::spawn(move || {
        let deadline = Instant::now() + Duration::from_millis(1_500);
        while Instant::now() < deadline {
            assert!(matches!(ana.0.read().unwrap(), Message::Ping(_)), "pings only");
            ana.0.flush().unwrap();
        }
        ana.attempt(1, 1)
    });
    assert_eq!(half_open.read(&mut [0; 10]).unwrap(), 0, "closed");
    assert_eq!(answering.join().unwrap()["reason"], "unknown_fakemon");
    let closed = house.edge.figures().closed;
    assert_eq!(closed[CloseReason::HandshakeTimeout as usize], 1);
    assert_eq!(closed[CloseReason::Idle as usize], 1, "the mute one, not the one who answers");
}

#[test]
fn the_silent_are_pinged_before_a_proxy_cuts_the_line() {
    let idle =
        [EdgeOptions::new("127.0.0.1:0".parse().unwrap()).idle_timeout, GeneralOptions::default().idle_timeout];
    for idle in idle.into_iter().chain([Duration::from_secs(7 * 86_400)]) {
        let idle_ms = u32::try_from(idle.as_millis()).unwrap();
        // Checking all connections takes a second.
        assert!(connection::ping_after_ms(idle_ms) + 2_000 < 30_000, "{idle:?}");
    }
    assert_eq!(connection::ping_after_ms(400), 200);
}

#[test]
fn a_client_of_version_4_at_a_socket_of_version_6_has_its_own_address() {
    let secret = TokenKeys::new(Some(SECRET), None).unwrap();
    let Ok(listener) = std::net::TcpListener::bind("[::]:0") else {
        return eprintln!("left out: no IPv6 here");
    };
    drop(listener);
    let house = House::new(|options| {
        options.listen = "[::]:0".parse().unwrap();
        options.access = Access::Tokens(secret);
    });
    let claims = json!({"sub": "ana"});
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
    let port = house.edge.addr().port();
    let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (_socket, answer) = tungstenite::client(format!("ws://127.0.0.1:{port}/play?token={token}"), socket).unwrap();
    let id = answer.headers()["x-fakemon-connection-id"].to_str().unwrap().parse().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    house
        .edge
        .switchboard()
        .send(To::Connection(id), ConnectionCommand::Describe, move |said| tell.send(said).unwrap());
    let said = told.recv_timeout(Duration::from_secs(20)).unwrap();
    let source = said.description.and_then(|found| found.source).expect("the socket is open");
    assert_eq!(source.ip(), std::net::Ipv4Addr::LOCALHOST);
}

#[test]
fn a_connection_lasts_as_long_as_its_token() {
    use jsonwebtoken::{EncodingKey, Header, encode};
    let house = House::new(|options| options.access = Access::Tokens(TokenKeys::new(Some(SECRET), None).unwrap()));
    let connect = |path: &str, claims: Value| {
        let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET)).unwrap();
        let (socket, _) =
            tungstenite::client(format!("ws://{}{path}?token={token}", house.edge.addr()), house.tcp()).unwrap();
        Player(socket)
    };
    let soon = house.engine.now().0 / 1_000_000_000 + 2;
    let mut ana = connect("/play", json!({"sub": "ana", "exp": soon}));
    let mut ben = connect("/ws", json!({"sub": "ben", "exp": soon}));
    let mut eve = connect("/play", json!({"sub": "eve", "exp": soon + 3_600}));
    assert_eq!(ana.attempt(1, 1)["reason"], "unknown_fakemon");
    assert_eq!((ana.close_code(), ben.close_code()), (Some(4401), Some(4401)));
    assert_eq!(house.edge.figures().closed[CloseReason::Expired as usize], 2);
    assert_eq!(eve.attempt(1, 1)["reason"], "unknown_fakemon");
}

#[test]
fn at_the_end_everybody_is_told() {
    let mut house = House::new(|options| options.threads = 2);
    assert_eq!(house.engine.failure(), None);
    let mut players: Vec<Player> = (0..10).map(|index| house.player(&format!("p{index}"))).collect();
    for player in &mut players {
        player.say(&attempt_at(1, 1));
    }
    house.wait_for(|figures| figures.messages_in == 10);
    let stopping = std::thread::spawn(move || {
        let started = Instant::now();
        house.edge.stop();
        (house, started.elapsed())
    });
    for player in &mut players {
        assert_eq!(player.hear()["reason"], "unknown_fakemon");
        assert_eq!(player.close_code(), Some(1001));
        let _ = player.0.flush();
    }
    drop(players);
    let (house, took) = stopping.join().unwrap();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(house.edge.figures().connections, 0);
    assert!(TcpStream::connect(house.edge.addr()).is_err());
}

#[test]
fn what_cannot_be_served_is_said_in_one_line() {
    let mut house = House::new(|options| options.connections_max = 1);
    let start = |options: EdgeOptions| match start(house.engine.clone(), options) {
        Ok(_) => panic!("it started"),
        Err(error) => format!("{error:#}"),
    };
    let everywhere = EdgeOptions::new("0.0.0.0:0".parse().unwrap());
    assert!(start(everywhere.clone()).contains("loopback"));
    let taken = EdgeOptions::new(house.edge.addr());
    assert!(start(taken).contains("in use"));
    let tls = EdgeOptions {
        access: Access::Tokens(TokenKeys::new(Some(SECRET), None).unwrap()),
        tls: Some(Tls { certificates: "/nowhere/cert.pem".into(), key: "/nowhere/key.pem".into() }),
        ..everywhere
    };
    assert!(start(tls).contains("/nowhere/cert.pem"));
    let _ana = house.player("ana");
    let mut full = String::new();
    house.tcp().read_to_string(&mut full).unwrap();
    assert!(full.starts_with("HTTP/1.1 503 "), "{full}");
    house.edge.stop();
}
