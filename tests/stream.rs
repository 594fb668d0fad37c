//! `GET /stream`: results as server-sent events, which continue where a connection broke off.

use crate::aws::events;
use crate::general::settings;
use crate::player::{Player, SOL, attempt_at};
use crate::server::{Server, fresh_data};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A client that reads events: id and body of each.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(server: &Server, query: &str, last: Option<&str>) -> Stream {
        let last = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        Stream::ask(server, query, &last).unwrap_or_else(|line| panic!("{line}"))
    }

    /// Opens a stream with more request headers; or returns the status line of the error.
    fn ask(server: &Server, query: &str, more: &str) -> Result<Stream, String> {
        let mut socket = TcpStream::connect(server.control).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(socket, "GET /stream?{query} HTTP/1.1\r\nHost: {}\r\n{more}\r\n", server.control).unwrap();
        let mut reader = BufReader::new(socket);
        let (mut line, mut head) = (String::new(), String::new());
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
            head += &line;
        }
        if !head.starts_with("HTTP/1.1 200") {
            return Err(head);
        }
        let head = head.to_lowercase();
        for header in ["content-type: text/event-stream", "cache-control: no-cache", "x-accel-buffering: no"] {
            assert!(head.contains(&format!("\r\n{header}\r\n")), "{head}");
        }
        Ok(Stream(reader))
    }

    /// The lines of the next event, without events of connections.
    fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended: {lines:?}");
            match line.strip_suffix('\n') {
                Some(chunk) if chunk.ends_with('\r') => {}
                Some("") if !lines.is_empty() => return lines,
                Some(comment) if comment.is_empty() || comment.starts_with(':') => {}
                Some(line) => lines.push(line.to_owned()),
                None => panic!("half a line: {line}"),
            }
        }
    }

    fn next(&mut self) -> (String, Value) {
        self.try_next().expect("the stream goes on")
    }

    /// The next event; none at the end of the stream.
    fn try_next(&mut self) -> Option<(String, Value)> {
        let (mut id, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            // The last chunk is an empty one.
            if self.0.read_line(&mut line).unwrap() == 0 || line == "0\r\n" {
                return None;
            }
            if let Some(given) = line.strip_prefix("id: ") {
                id = given.trim().to_owned();
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some((id, serde_json::from_str(data).unwrap()));
            }
        }
    }

    /// The next result: the id of the event, and the attempt id.
    fn next_result(&mut self) -> (String, u64) {
        loop {
            let (id, event) = self.next();
            if event["source"] == "fakemon.capture" && event["detail"]["attempt_id"].is_string() {
                assert_eq!((&event["detail"]["player"], &event["id"]), (&json!("ash"), &json!(id)));
                return (id, event["detail"]["attempt_id"].as_str().unwrap().parse().unwrap());
            }
        }
    }
}

#[test]
fn a_stream_goes_on_where_it_broke_off_across_a_kill() {
    let data = fresh_data();
    let mut server = Server::start(data.path(), &[]);
    let attempt_at = |server: &Server, player: &str, attempts: std::ops::Range<u64>| {
        let mut player = Player::connect(server.play, player).unwrap();
        attempts.for_each(|attempt| drop(player.attempt(attempt, 5).unwrap()));
    };
    server.spawn(json!({ "fakemon_id": "5", "species": "sparkit", "lat": SOL.0, "lon": SOL.1 }));
    let mut first = Stream::open(&server, "player=ash", None);
    attempt_at(&server, "ash", 1..4);
    attempt_at(&server, "misty", 1..4);
    let results: Vec<(String, u64)> = (0..3).map(|_| first.next_result()).collect();
    assert_eq!(results.iter().map(|(_, attempt)| *attempt).collect::<Vec<_>>(), [1, 2, 3]);
    drop(first);
    attempt_at(&server, "ash", 4..50);
    server.kill();
    server = Server::start(data.path(), &[]);
    // From the second on: missed events, then live ones, each once and in order.
    let mut again = Stream::open(&server, "player=ash", Some(&results[1].0));
    attempt_at(&server, "ash", 50..60);
    assert_eq!((3..60).map(|_| again.next_result().1).collect::<Vec<_>>(), (3..60).collect::<Vec<_>>());
    let mut all = Stream::open(&server, "player=ash&from=1", None);
    assert_eq!((1..60).map(|_| all.next_result().1).collect::<Vec<_>>(), (1..60).collect::<Vec<_>>());
    let begun = std::time::Instant::now();
    assert!(server.stop().success());
    assert!(begun.elapsed() < Duration::from_secs(4), "open streams hold up nobody");
}

/// More than may wait for one client at a time.
const MISSED: u64 = 3_000;

#[test]
fn a_stream_tells_all_that_was_missed_while_others_do_not_read() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let mut ash = Player::connect(server.play, "ash").unwrap();
    for attempt in 1..=MISSED {
        ash.say(&attempt_at(attempt, 5)).unwrap();
    }
    (0..MISSED).for_each(|_| drop(ash.hear().unwrap()));
    let unread: Vec<_> = (0..20).map(|_| Stream::open(&server, "player=ash&from=1", None)).collect();
    for _ in 0..2 {
        let mut all = Stream::open(&server, "player=ash&from=1", None);
        let told: Vec<u64> = (0..MISSED).map(|_| all.next_result().1).collect();
        assert!(told.iter().copied().eq(1..=MISSED), "{told:?}");
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(server.get(path).0, 200);
    }
    drop(unread);
    assert!(server.stop().success());
}

#[test]
fn what_would_end_a_line_of_a_stream_is_escaped() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let mut live = Stream::open(&server, "player=ash", None);
    let kind = "x\ny\r\u{85}\0ñ: z";
    let event = json!({ "source": "a", "detail-type": kind, "detail": { "player": "ash", "note": "\r\n\u{2028}" } });
    assert_eq!(server.post_event(&event.to_string()).0, 200);
    let detail = "{\r\n\"player\":\r\"ash\"\n}";
    let entry = json!({ "Source": "a", "DetailType": "\r", "Detail": detail });
    assert_eq!(events(&server, "PutEvents", json!({ "Entries": [entry] }))["FailedEntryCount"], 0);
    let mut first = String::new();
    for stream in [&mut live, &mut Stream::open(&server, "player=ash&from=1", None)] {
        for (name, note) in [("x\\ny\\r\\u0085\\u0000ñ: z", json!("\r\n\u{2028}")), ("\\r", Value::Null)] {
            let lines = stream.lines();
            let [id, event, data] = &lines[..] else { panic!("{lines:?}") };
            assert_eq!(event, &format!("event: {name}"));
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!((&data["detail"]["player"], &data["detail"]["note"]), (&json!("ash"), &note));
            if first.is_empty() {
                first = id.strip_prefix("id: ").unwrap().to_owned();
                assert_eq!(data["detail-type"], kind);
            }
        }
    }
    // The stream continues after each of them, too.
    assert_eq!(Stream::open(&server, "player=ash", Some(&first)).lines()[1], "event: \\r");
}

#[test]
fn a_stream_says_what_it_cannot_tell_any_more() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let ours = json!({ "source": "shop", "detail-type": "sold", "detail": { "player": "ash" } }).to_string();
    let position = server.post_event(&ours).1["position"].as_str().unwrap().to_owned();
    // A position beyond the end is of another journal: the client knows no event of this one.
    let mut ahead = Stream::open(&server, "player=ash", Some("123456789"));
    let lines = ahead.lines();
    assert_eq!(lines[1], "event: fakemon.stream_incomplete");
    let said: Value = serde_json::from_str(lines[2].strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((&said["complete"], lines[0].strip_prefix("id: ")), (&json!(false), said["position"].as_str()));
    assert_eq!(server.post_event(&ours).0, 200);
    assert_eq!(ahead.lines()[1], "event: sold");
    // From the position that it sent, nothing is missing; nor for a client that was up to date.
    for last in [said["position"].as_str().unwrap(), &position] {
        assert_eq!(Stream::open(&server, "player=ash", Some(last)).lines()[1], "event: sold");
    }
    assert_eq!(Stream::open(&server, "player=ash&from=1", None).lines()[1], "event: sold");
}

#[test]
fn a_stream_takes_tokens_as_the_websocket_does_and_ends_with_them() {
    use jsonwebtoken::{EncodingKey, Header, encode};
    let data = fresh_data();
    std::fs::write(data.path().join("secret"), "a secret of thirty-two bytes, ok\n").unwrap();
    let config = settings(&data, "[auth]\nhs256_secret_file = \"secret\"\n");
    let server = Server::start(&data.path().join("world"), &["--config", config.to_str().unwrap()]);
    assert!(server.log().contains("auth.hs256_secret_file"), "it says that the line break is none of the secret");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let token = |player: &str, more: Value| {
        let mut claims = json!({ "sub": player });
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        encode(&Header::default(), &claims, &EncodingKey::from_secret(b"a secret of thirty-two bytes, ok")).unwrap()
    };
    let (ash, misty) = (token("ash", json!({})), token("misty", json!({})));
    let sold = |player: &str| {
        let event = json!({ "source": "shop", "detail-type": player, "detail": { "player": player } });
        assert_eq!(server.post_event(&event.to_string()).0, 200);
    };
    for (query, header, player) in [
        (format!("token={ash}"), String::new(), "ash"),
        (String::new(), format!("Authorization: bearer {ash}\r\n"), "ash"),
        (format!("token={misty}"), format!("Authorization: Bearer {ash}\r\n"), "ash"),
        (format!("token={misty}"), format!("Authorization: Basic {ash}\r\n"), "misty"),
        (format!("token={misty}&player=ash"), String::new(), "misty"),
    ] {
        let mut stream = Stream::ask(&server, &query, &header).unwrap_or_else(|head| panic!("{head}"));
        ["ash", "misty"].into_iter().for_each(sold);
        assert_eq!(stream.lines()[1], format!("event: {player}"));
    }
    let (late, early) = (token("ash", json!({ "exp": now - 5 })), token("ash", json!({ "nbf": now + 60 })));
    for (query, header) in [
        ("player=ash".to_owned(), String::new()),
        ("player=ash".into(), format!("Authorization: Basic {ash}\r\n")),
        (format!("token={late}"), String::new()),
        (format!("token={early}"), String::new()),
        (format!("token={}", token("", json!({}))), String::new()),
        (format!("token={}", token(&"a".repeat(65), json!({}))), String::new()),
    ] {
        let Err(head) = Stream::ask(&server, &query, &header) else { panic!("{query} {header}") };
        assert!(head.starts_with("HTTP/1.1 401"), "{head}");
    }
    let Err(head) = Stream::ask(&server, &format!("token={misty}&token={ash}"), "") else { panic!("which one?") };
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    let soon = token("ash", json!({ "exp": now + 3 }));
    let mut stream = Stream::ask(&server, &format!("token={soon}"), "").unwrap_or_else(|head| panic!("{head}"));
    let lines = stream.lines();
    assert_eq!(lines[0], "event: fakemon.stream_expired");
    let said: Value = serde_json::from_str(lines[1].strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(said["code"], 4401);
    assert!(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() >= now + 3);
    assert_eq!(stream.try_next(), None);
}

#[test]
fn many_streams_hear_while_others_attempt() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    server.spawn(json!({ "fakemon_id": "5", "species": "sparkit", "lat": SOL.0, "lon": SOL.1 }));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut ash = Player::connect(server.play, "ash").unwrap();
            (1..400).for_each(|attempt| drop(ash.attempt(attempt, 5).unwrap()));
        });
        for late_ms in 0..20 {
            let server = &server;
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(late_ms * 3));
                let mut stream = Stream::open(server, "player=ash&from=1", None);
                let heard: Vec<u64> = (1..400).map(|_| stream.next_result().1).collect();
                assert_eq!(heard, (1..400).collect::<Vec<_>>(), "whenever it came");
            });
        }
    });
    for (query, last, status) in [("", "", 400), ("player=", "", 400), ("player=ash", "Last-Event-ID: x\r\n", 400)] {
        let host = server.control;
        let request = format!("GET /stream?{query} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{last}\r\n");
        let answer = server.raw(&request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
}

/// More events together than one stream's queue holds: the stream ends at the first that does not fit, and none is
/// left out.
#[test]
fn a_burst_leaves_no_gap() {
    const WRITERS: usize = 8;
    const EACH: usize = 1_000;
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let event = |player: &str, number: usize| json!({ "source": "shop", "detail-type": "sold", "detail": { "player": player, "number": number } });
    let mut stream = Stream::open(&server, "player=ash", None);
    // All but the last byte of each request, then all last bytes together.
    let mut writers: Vec<(TcpStream, String)> = (0..WRITERS)
        .map(|writer| {
            let events: Vec<Value> = (0..EACH).map(|number| event("ash", writer * EACH + number)).collect();
            (TcpStream::connect(server.control).unwrap(), json!(events).to_string())
        })
        .collect();
    for (socket, body) in &mut writers {
        let (host, length, begin) = (server.control, body.len(), &body[..body.len() - 1]);
        write!(socket, "POST /events HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n").unwrap();
        write!(socket, "Content-Length: {length}\r\n\r\n{begin}").unwrap();
    }
    writers.iter_mut().for_each(|(socket, body)| socket.write_all(&body.as_bytes()[body.len() - 1..]).unwrap());
    for (socket, _) in &mut writers {
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut line = String::new();
        BufReader::new(&*socket).read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    }
    assert_eq!(server.post_event(&event("ash", WRITERS * EACH).to_string()).0, 200);
    let (mut last, mut heard, mut ended) = (String::new(), Vec::new(), 0);
    while heard.last() != Some(&(WRITERS * EACH)) {
        match stream.try_next() {
            Some((id, event)) => {
                last = id;
                heard.push(event["detail"]["number"].as_u64().unwrap() as usize);
            }
            None => {
                ended += 1;
                stream = Stream::open(&server, "player=ash", Some(&last));
            }
        }
    }
    let mut sorted = heard.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..=WRITERS * EACH).collect::<Vec<_>>(), "each once; the stream ended {ended} times");
    for of_writer in (0..WRITERS).map(|writer| heard.iter().filter(move |number| **number / EACH == writer)) {
        assert!(of_writer.is_sorted(), "in order");
    }
}
