//! Players who reconnect to `/play` send their last position, and get the results that they missed: all of them, in
//! order, each once.

use crate::dice::Dice;
use crate::player::{Player, SOL, attempt_at, number};
use crate::server::{Server, fresh_data};
use fakemon_fbs::play as flat;
use serde_json::{Value, json};
use tungstenite::Message;
use tungstenite::client::IntoClientRequest;

/// The results up to `resumed`, and that message.
fn told(player: &mut Player) -> (Vec<Value>, Value) {
    let mut results = Vec::new();
    loop {
        let message = player.hear().expect("the connection lives on");
        match message["type"].as_str().unwrap() {
            "result" => results.push(message),
            "resumed" => return (results, message),
            other => panic!("{other}: {message}"),
        }
    }
}

fn back(server: &Server, name: &str, from: u64) -> Player {
    Player::connect_to(server.play, &format!("/play?player={name}&from={from}")).unwrap().0
}

fn attempts(results: &[Value]) -> Vec<u64> {
    results.iter().map(|result| number(result, "attempt_id")).collect()
}

#[test]
fn who_comes_back_is_told_what_they_missed_across_a_kill() {
    let data = fresh_data();
    let mut server = Server::start(data.path(), &[]);
    let mut first = Player::connect(server.play, "ash").unwrap();
    let mut other = Player::connect(server.play, "misty").unwrap();
    let heard: Vec<Value> = (1..4).map(|attempt| first.attempt(attempt, 7).unwrap()).collect();
    drop(first);
    let mut second = Player::connect(server.play, "ash").unwrap();
    for attempt in 4..600 {
        second.attempt(attempt, 7).unwrap();
        if attempt % 10 == 0 {
            other.attempt(attempt, 7).unwrap();
        }
    }
    server.kill();
    server = Server::start(data.path(), &[]);
    let mut again = back(&server, "ash", number(&heard[1], "position"));
    let (results, resumed) = told(&mut again);
    assert_eq!(attempts(&results), (3..600).collect::<Vec<_>>());
    assert_eq!(results[0], heard[2], "the same answer");
    assert!(number(&resumed, "position") >= number(&results[596], "position"));
    assert_eq!(resumed["complete"], true);
    // Live again, and no result comes twice.
    assert_eq!(number(&again.attempt(600, 7).unwrap(), "attempt_id"), 600);
    // From the position in `resumed`, only the last result is missing; requested on the same connection.
    let resume = json!({ "type": "resume", "position": resumed["position"] });
    again.say(&resume).unwrap();
    let (results, _) = told(&mut again);
    assert_eq!(attempts(&results), [600]);
    // A player without attempts, and a position beyond the end.
    assert!(told(&mut back(&server, "gary", 0)).0.is_empty());
    let (results, beyond) = told(&mut back(&server, "ash", u64::MAX));
    assert_eq!((results.len(), &beyond["complete"]), (0, &json!(false)), "no position of this journal");
    let ahead = number(&resumed, "position") + 1_000;
    again.say(&json!({ "type": "resume", "position": ahead.to_string() })).unwrap();
    assert_eq!(told(&mut again).1["complete"], false);
}

#[test]
fn attempts_under_way_when_a_connection_breaks_are_told_to_the_next_each_once_and_in_order() {
    let data = fresh_data();
    let server = Server::start(data.path(), &["--edges", "2"]);
    let mut dice = Dice::new();
    let (mut last, mut next, mut heard) = (0, 1u64, Vec::new());
    let mut player = Player::connect(server.play, "ash").unwrap();
    for _ in 0..60 {
        // Many attempts; some of their answers are read, then the connection breaks.
        let count = 1 + dice.below(30) as u64;
        for attempt in next..next + count {
            player.say(&attempt_at(attempt, 7)).unwrap();
        }
        next += count;
        // A connection that breaks before the server read its attempts loses them: wait for at least one answer.
        for _ in 0..=dice.below(count as usize) {
            let result = player.hear().unwrap();
            last = number(&result, "position");
            heard.push(number(&result, "attempt_id"));
        }
        drop(player);
        player = back(&server, "ash", last);
        // Attempts made meanwhile are answered in order of position.
        let meanwhile = dice.below(5) as u64;
        for attempt in next..next + meanwhile {
            player.say(&attempt_at(attempt, 7)).unwrap();
        }
        let (results, resumed) = told(&mut player);
        last = number(&resumed, "position");
        let mut positions: Vec<u64> = results.iter().map(|result| number(result, "position")).collect();
        heard.extend(attempts(&results));
        let early = results.iter().filter(|result| number(result, "attempt_id") >= next).count();
        for _ in early as u64..meanwhile {
            let result = player.hear().unwrap();
            last = number(&result, "position");
            positions.push(last);
            heard.push(number(&result, "attempt_id"));
        }
        next += meanwhile;
        assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");
    }
    // Attempts that the server never read are not in the journal; all others were answered, once.
    let mut once = heard.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), heard.len(), "nothing is told twice");
    let mut all = back(&server, "ash", 0);
    let mut decided = attempts(&told(&mut all).0);
    decided.sort_unstable();
    assert_eq!(once, decided, "nothing is left out");
}

#[test]
fn an_attempt_sent_again_while_catching_up_is_answered_once() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let mut first = Player::connect(server.play, "ash").unwrap();
    let heard: Vec<Value> = (1..6).map(|attempt| first.attempt(attempt, 7).unwrap()).collect();
    for _ in 0..50 {
        let mut again = back(&server, "ash", number(&heard[2], "position"));
        // One attempt whose result is known, one that is missed.
        again.say(&attempt_at(2, 7)).unwrap();
        again.say(&attempt_at(5, 7)).unwrap();
        again.say(&json!({ "type": "collection" })).unwrap();
        let mut results = Vec::new();
        let (mut is_resumed, mut is_collected) = (false, false);
        while !(is_resumed && is_collected) {
            let message = again.hear().unwrap();
            match message["type"].as_str().unwrap() {
                "result" => results.push(number(&message, "attempt_id")),
                "resumed" => is_resumed = true,
                _ => is_collected = true,
            }
        }
        results.sort_unstable();
        // A retry after its result was sent gets an answer of its own, which is no duplicate.
        assert!([vec![2, 4, 5], vec![2, 4, 5, 5]].contains(&results), "{results:?}");
    }
}

#[test]
fn many_come_back_at_once_and_those_who_do_not_read_hold_up_nobody() {
    let data = fresh_data();
    let server = Server::start(data.path(), &["--edges", "2"]);
    server.spawn(json!({ "fakemon_id": "7", "species": "sparkit", "lat": SOL.0, "lon": SOL.1, "catch_rate": 0 }));
    let mut ash = Player::connect(server.play, "ash").unwrap();
    // More than the kernel buffers for a client that does not read.
    for round in 0..60 {
        for attempt in 0..1_000 {
            ash.say(&attempt_at(round * 1_000 + attempt, 7)).unwrap();
        }
        (0..1_000).for_each(|_| drop(ash.hear().unwrap()));
    }
    let deaf: Vec<Player> = (0..4).map(|_| back(&server, "ash", 0)).collect();
    std::thread::scope(|scope| {
        for late in 0..16 {
            let server = &server;
            scope.spawn(move || {
                let mut player = back(server, "ash", late % 3);
                let (results, resumed) = told(&mut player);
                assert_eq!(results.len(), 60_000, "{resumed}");
                assert_eq!(attempts(&results), (0..60_000).collect::<Vec<_>>());
            });
        }
    });
    drop(deaf);
}

#[test]
fn the_same_is_told_in_flatbuffers() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let mut ash = Player::connect(server.play, "ash").unwrap();
    let heard: Vec<Value> = (1..4).map(|attempt| ash.attempt(attempt, 7).unwrap()).collect();
    let connect = |query: &str| {
        let mut request = format!("ws://{}/play?player=ash{query}", server.play).into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", "fakemon.v1.fb".parse().unwrap());
        let stream = std::net::TcpStream::connect(server.play).unwrap();
        tungstenite::client(request, stream).unwrap().0
    };
    let told = |socket: &mut tungstenite::WebSocket<std::net::TcpStream>| {
        let mut attempts = Vec::new();
        loop {
            let Message::Binary(bytes) = socket.read().unwrap() else { continue };
            match flat::read_reply(&bytes).unwrap() {
                flat::Reply::AttemptResult(result) => attempts.push(result.attempt_id),
                flat::Reply::Resumed { complete, .. } => return (attempts, complete),
                other => panic!("{other:?}"),
            }
        }
    };
    let position = number(&heard[0], "position");
    assert_eq!(told(&mut connect(&format!("&from={position}"))), (vec![2, 3], true));
    let mut socket = connect("");
    let mut writer = flat::Writer::default();
    let resume = writer.request(&flat::Request::Resume { position: 0 }).to_vec();
    socket.send(Message::binary(resume)).unwrap();
    assert_eq!(told(&mut socket), (vec![1, 2, 3], true));
}
