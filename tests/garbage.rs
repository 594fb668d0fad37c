//! Invalid input on every interface of the real binary together, while a player continues undisturbed.

use crate::dice::Dice;
use crate::player::{Player, SOL, attempt_at};
use crate::server::{Server, fresh_data};
use fakemon_fbs::play::{Request, Writer};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

const ROUNDS: usize = 60;

#[test]
fn nonsense_disturbs_nobody() {
    let (data, mut dice) = (fresh_data(), Dice::new());
    let server = Server::start(data.path(), &[]);
    let detail = json!({ "species": "sparkit", "lat": SOL.0, "lon": SOL.1, "catch_rate": 1 });
    let (fakemon, _) = server.try_spawn(&detail).unwrap();
    let over = AtomicBool::new(false);
    let (played, ended) = std::thread::scope(|scope| {
        let good = scope.spawn(|| play_on(server.play, fakemon, &over));
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| talk_nonsense(&server, &mut dice)));
        over.store(true, Ordering::Relaxed);
        (good.join().unwrap(), ended)
    });
    ended.unwrap();
    assert!(played > 0, "nobody threw meanwhile");
    assert_eq!(server.get("/healthz"), (200, "ok\n".into()));
    let log = server.log();
    assert!(!log.contains("panicked") && !log.contains(" ERROR "), "{log}");
    assert!(server.stop().success());
}

/// Makes attempts in a loop; each answer must come, and be right.
fn play_on(play: SocketAddr, fakemon: u64, over: &AtomicBool) -> u64 {
    let mut player = Player::connect(play, "ana").unwrap();
    let mut attempt = 0;
    while !over.load(Ordering::Relaxed) {
        let answer = player.attempt(attempt, fakemon).expect("the connection lives, and answers in its patience");
        let expected = if attempt == 0 { json!(null) } else { json!("already_captured") };
        assert_eq!(answer["reason"], expected, "{answer}");
        attempt += 1;
    }
    attempt
}

fn talk_nonsense(server: &Server, dice: &mut Dice) {
    let mut lingering = Vec::new(); // connections that are half open, silent, or not read: kept until the end
    for _ in 0..ROUNDS {
        lingering.extend(nonsense_bytes(server.play, dice));
        lingering.extend(nonsense_bytes(server.control, dice));
        lingering.push(nonsense_frames(server.play, dice));
        nonsense_messages(server.play, dice);
        nonsense_flatbuffers(server.play, dice);
        nonsense_http(server.control, dice);
    }
    lingering.extend((0..3).map(|index| deaf_watcher(server.play, index)));
    std::thread::sleep(Duration::from_millis(300));
    assert!(lingering.len() > ROUNDS);
}

/// Random bytes, or a request that breaks off or is corrupted.
fn nonsense_bytes(addr: SocketAddr, dice: &mut Dice) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(addr).expect("it accepts");
    let mut request = format!(
        "GET /play?player=eve HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes();
    match dice.below(4) {
        0 => {
            request = {
                let count = dice.below(20_000);
                dice.bytes(count)
            }
        }
        1 => request.truncate(dice.below(request.len())),
        2 => request = vec![b'A'; 100_000],
        _ => dice.spoil(&mut request),
    }
    let _ = stream.write_all(&request); // the server may close it in the middle
    if dice.below(2) == 0 {
        let _ = stream.shutdown(Shutdown::Write);
    }
    (dice.below(2) == 0).then_some(stream)
}

/// A valid handshake, then frames that violate the protocol.
fn nonsense_frames(play: SocketAddr, dice: &mut Dice) -> TcpStream {
    let player = Player::connect(play, "mallory").expect("it accepts");
    let mut stream = player.socket.get_ref().try_clone().expect("a descriptor");
    let mut bytes = match dice.below(6) {
        0 => {
            let count = dice.below(5_000);
            dice.bytes(count)
        }
        1 => vec![0x81, 0xff, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5], // 4 EiB
        2 => vec![0x81, 0x05, b'h', b'e', b'l', b'l', b'o'],                                  // not masked
        3 => [0x01, 0x81, 0, 0, 0, 0, b'['].repeat(1_000),                                    // text in text
        4 => vec![0x81, 0x84, 0, 0, 0, 0, 0xff, 0xfe, 0xc0, 0x80],                            // no UTF-8
        _ => vec![0xf1, 0x81, 0, 0, 0, 0, b'x'],                                              // reserved bits
    };
    if dice.below(3) == 0 {
        dice.spoil(&mut bytes);
    }
    let _ = stream.write_all(&bytes); // the server may close it in the middle
    stream
}

/// Each message is answered, whatever its content, until one violates the protocol.
fn nonsense_messages(play: SocketAddr, dice: &mut Dice) {
    let mut player = Player::connect(play, "mallory").expect("it accepts");
    let numbers = [
        "1e999",
        "-1e999",
        "1e-999",
        "NaN",
        "Infinity",
        "91",
        "-181.0",
        "null",
        "\"1\"",
        "18446744073709551616",
        "-1",
        "0.5",
        "[]",
        "{}",
        "\"\\ud800\"",
        "99999999999999999999999999999999",
        "true",
    ];
    for _ in 0..10 {
        let mut text = match dice.below(5) {
            0 => format!("{}1{}", "[".repeat(2_000), "]".repeat(2_000)),
            1 => format!("{}\"a\":1{}", "{\"a\":".repeat(1_500), "}".repeat(1_500)),
            2 => json!({ "type": "look", "lat": SOL.0, "lon": SOL.1, "radius_m": 1e9 }).to_string(),
            3 => format!(
                r#"{{"type":"attempt","attempt_id":{},"fakemon_id":{},"lat":{},"lon":{}}}"#,
                dice.one_of(&numbers),
                dice.one_of(&numbers),
                dice.one_of(&numbers),
                dice.one_of(&numbers)
            ),
            _ => {
                let mut bytes = attempt_at(7, 1).to_string().into_bytes();
                dice.spoil(&mut bytes);
                String::from_utf8_lossy(&bytes).into_owned()
            }
        };
        text.truncate(8_000);
        player.socket.send(Message::text(text)).expect("the connection lives");
        let answer: Value = loop {
            let answer = player.hear().expect("the connection lives");
            if answer["type"] != "appeared" && answer["type"] != "vanished" {
                break answer;
            }
        };
        assert!(["error", "world", "result"].contains(&answer["type"].as_str().unwrap_or_default()), "{answer}");
    }
}

/// The same in the binary protocol: invalid numbers, and corrupted buffers.
fn nonsense_flatbuffers(play: SocketAddr, dice: &mut Dice) {
    let mut request = format!("ws://{play}/play?player=mallory").into_client_request().expect("a URL");
    let protocol = "fakemon.v1.fb".parse().expect("a value");
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
    let stream = TcpStream::connect(play).expect("it accepts");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
    let (mut socket, _): (WebSocket<_>, _) = tungstenite::client(request, stream).expect("it knows both protocols");
    let mut writer = Writer::default();
    for _ in 0..10 {
        let degrees = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -0.0, f64::MIN_POSITIVE, SOL.0];
        let (lat, lon, radius_m) = (*dice.one_of(&degrees), *dice.one_of(&degrees), *dice.one_of(&degrees));
        let request = match dice.below(3) {
            0 => Request::Look { lat, lon, radius_m },
            1 => Request::Attempt { attempt_id: u64::MAX, fakemon_id: u64::MAX, lat, lon },
            _ => Request::Attempt { attempt_id: 0, fakemon_id: 0, lat, lon },
        };
        let mut bytes = writer.request(&request).to_vec();
        if dice.below(2) == 0 {
            dice.spoil(&mut bytes);
        }
        socket.send(Message::binary(bytes)).expect("the connection lives");
        let answer = socket.read().expect("it answers").into_data();
        fakemon_fbs::play::read_reply(&answer).expect("answers are well formed");
    }
}

/// Requests that are corrupted, huge, deeply nested, or never end.
fn nonsense_http(control: SocketAddr, dice: &mut Dice) {
    let body = match dice.below(5) {
        0 => "[".repeat(100_000).into_bytes(),
        1 => vec![0xff; 1_000],
        2 => format!(
            r#"{{"source":"fakemon.world","detail-type":"fakemon.spawn","detail":{}{}}}"#,
            "{\"a\":".repeat(20_000),
            "}".repeat(20_000)
        )
        .into_bytes(),
        3 => vec![b' '; 2_000_000],
        _ => {
            let mut bytes = json!({ "source": "fakemon.world", "detail-type": "fakemon.spawn",
                "detail": { "species": "sparkit", "lat": 1e300, "lon": SOL.1 } })
            .to_string()
            .into_bytes();
            dice.spoil(&mut bytes);
            bytes
        }
    };
    let framing = dice.one_of(&[
        "Content-Length: 1",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: chunked",
        "Content-Length: -1",
        "X: \u{e9}",
        "",
    ]);
    let length = format!("Content-Length: {}", body.len());
    let framing = if dice.below(2) == 0 { *framing } else { &length };
    let head = format!("POST /events HTTP/1.1\r\nHost: {control}\r\nConnection: close\r\n{framing}\r\n\r\n");
    let mut stream = TcpStream::connect(control).expect("it accepts");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
    let _ = stream.write_all(&[head.as_bytes(), &body].concat()); // the server may close it in the middle
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer); // a reset is an answer to this
    let fine = answer.is_empty() || answer.starts_with(b"HTTP/1.1 4");
    assert!(fine, "{}", String::from_utf8_lossy(&answer));
}

/// A client that sends many requests and reads no answers.
fn deaf_watcher(play: SocketAddr, index: usize) -> TcpStream {
    let mut player = Player::connect(play, &format!("deaf-{index}")).expect("it accepts");
    let stream = player.socket.get_ref().try_clone().expect("a descriptor");
    stream.set_write_timeout(Some(Duration::from_millis(50))).expect("a timeout can be set");
    let look = json!({ "type": "look", "lat": SOL.0, "lon": SOL.1, "radius_m": 100 });
    for _ in 0..20_000 {
        if player.say(&look).is_none() {
            break;
        }
    }
    stream
}
