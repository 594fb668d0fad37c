//! `GET /stream`: answers as server-sent events, which go on where a connection broke off.

use crate::player::{Player, SOL};
use crate::server::{Server, fresh_data};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A client that reads events: id and body of each.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(server: &Server, query: &str, last: Option<&str>) -> Stream {
        let mut socket = TcpStream::connect(server.control).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let last = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        write!(socket, "GET /stream?{query} HTTP/1.1\r\nHost: {}\r\n{last}\r\n", server.control).unwrap();
        let mut reader = BufReader::new(socket);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        Stream(reader)
    }

    fn next(&mut self) -> (String, Value) {
        self.try_next().expect("the stream goes on")
    }

    /// None at its end.
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

    /// How the next throw ended: the id of the event, and which throw.
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
    let throw = |server: &Server, player: &str, attempts: std::ops::Range<u64>| {
        let mut player = Player::connect(server.play, player).unwrap();
        attempts.for_each(|attempt| drop(player.throw(attempt, 5).unwrap()));
    };
    server.spawn(json!({ "fakemon_id": "5", "species": "sparkit", "lat": SOL.0, "lon": SOL.1 }));
    let mut first = Stream::open(&server, "player=ash", None);
    throw(&server, "ash", 1..4);
    throw(&server, "misty", 1..4);
    let results: Vec<(String, u64)> = (0..3).map(|_| first.next_result()).collect();
    assert_eq!(results.iter().map(|(_, attempt)| *attempt).collect::<Vec<_>>(), [1, 2, 3]);
    drop(first);
    throw(&server, "ash", 4..50);
    server.kill();
    server = Server::start(data.path(), &[]);
    // From the second on: what was missed, then what happens now, each once and in order.
    let mut again = Stream::open(&server, "player=ash", Some(&results[1].0));
    throw(&server, "ash", 50..60);
    assert_eq!((3..60).map(|_| again.next_result().1).collect::<Vec<_>>(), (3..60).collect::<Vec<_>>());
    let mut all = Stream::open(&server, "player=ash&from=1", None);
    assert_eq!((1..60).map(|_| all.next_result().1).collect::<Vec<_>>(), (1..60).collect::<Vec<_>>());
    let begun = std::time::Instant::now();
    assert!(server.stop().success());
    assert!(begun.elapsed() < Duration::from_secs(4), "open streams hold up nobody");
}

#[test]
fn many_streams_hear_while_others_throw() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    server.spawn(json!({ "fakemon_id": "5", "species": "sparkit", "lat": SOL.0, "lon": SOL.1 }));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut ash = Player::connect(server.play, "ash").unwrap();
            (1..400).for_each(|attempt| drop(ash.throw(attempt, 5).unwrap()));
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

/// More at once than waits for one stream: it ends where it could not go on, and nothing is left out.
#[test]
fn a_burst_leaves_no_gap() {
    const WRITERS: usize = 8;
    const EACH: usize = 1_000;
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let event = |player: &str, number: usize| json!({ "source": "shop", "detail-type": "sold", "detail": { "player": player, "number": number } });
    let mut stream = Stream::open(&server, "player=ash", None);
    // All but the last byte of each, then the last bytes at once.
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
