//! Authorizers: the question, the possible answers, and that a handshake without a decision is rejected.

use crate::at_connections;
use crate::aws::events;
use crate::general::{heard, next, settings};
use crate::player::Player;
use crate::server::{Server, fresh_data};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An authorizer that answers by the player's name, and reports its questions.
struct Authorizer {
    address: SocketAddr,
    asked: Receiver<Value>,
}

type Decide = fn(&Value) -> Option<(u16, String)>;

impl Authorizer {
    fn start(decide: Decide) -> Authorizer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, asked) = channel();
        let tell = Arc::new(Mutex::new(tell));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let tell = tell.lock().unwrap().clone();
                std::thread::spawn(move || serve(&stream, decide, &tell));
            }
        });
        Authorizer { address, asked }
    }

    fn next(&self) -> Value {
        self.asked.recv_timeout(Duration::from_secs(20)).expect("the authorizer is asked")
    }
}

fn serve(mut stream: &TcpStream, decide: Decide, tell: &Sender<Value>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let question: Value = serde_json::from_slice(&body).ok()?;
        let answer = decide(&question);
        let _ = tell.send(question); // the test may be over
        let Some((status, answer)) = answer else {
            std::thread::sleep(Duration::from_secs(30));
            return None;
        };
        write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{answer}", answer.len()).ok()?;
    }
}

/// Allows by name.
fn by_name(question: &Value) -> Option<(u16, String)> {
    let allow = |more: Value| {
        let mut answer = json!({ "allow": true });
        answer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Some((200, answer.to_string()))
    };
    match question["player"].as_str().unwrap_or_default() {
        "ash" => allow(json!({ "context": { "role": "champion" } })),
        "masked" => allow(json!({ "player": "misty" })),
        "slow" => None,
        "broken" => Some((500, String::new())),
        "nonsense" => Some((200, "{\"allow\":\"yes\"}".into())),
        "unknown" => Some((401, String::new())),
        "forbidden" => Some((403, String::new())),
        _ => Some((200, json!({ "allow": false }).to_string())),
    }
}

/// An API destination for the authorizer.
fn destination(server: &Server, name: &str, authorizer: &Authorizer) {
    let secret = json!({ "ApiKeyAuthParameters": { "ApiKeyName": "x-key", "ApiKeyValue": "hush" } });
    let connection = json!({ "Name": name, "AuthorizationType": "API_KEY", "AuthParameters": secret });
    let connection = events(server, "CreateConnection", connection);
    let endpoint = format!("http://{}/", authorizer.address);
    let destination = json!({ "Name": name, "ConnectionArn": connection["ConnectionArn"],
                              "InvocationEndpoint": endpoint, "HttpMethod": "POST" });
    events(server, "CreateApiDestination", destination);
}

fn refused(server: &Server, path: &str) -> (u16, Option<String>) {
    match Player::connect_to(server.play, path) {
        Ok(_) => panic!("{path} is let in"),
        Err((status, retry_after, _)) => (status, retry_after),
    }
}

#[test]
fn the_authorizer_decides_and_what_it_says_of_somebody_is_remembered() {
    let data = fresh_data();
    let path = settings(&data, "[connections]\nauthorizer = \"who\"\nauthorizer_timeout = \"700ms\"\n");
    let arguments = ["--config", path.to_str().unwrap(), "--allow-private-targets"];
    let server = Server::start(&data.path().join("world"), &arguments);
    let later = Some("5".to_owned());
    assert_eq!(refused(&server, "/ws?player=ash"), (503, later.clone()), "there is no such API destination");
    let authorizer = Authorizer::start(by_name);
    destination(&server, "who", &authorizer);
    let url = heard(&server);

    let (mut ash, id) = Player::connect_to(server.play, "/ws?player=ash&color=red%20dark").unwrap();
    let question = authorizer.next();
    assert_eq!((&question["connection_id"], &question["endpoint"]), (&json!(id), &json!("ws")), "{question}");
    assert_eq!(question["query"], json!({ "player": "ash", "color": "red dark" }));
    assert_eq!((&question["source_ip"], &question["headers"]["upgrade"]), (&json!("127.0.0.1"), &json!("websocket")));
    let (kind, detail) = next(&server, &url, 1).remove(0);
    assert_eq!((kind.as_str(), &detail["context"]), ("$connect", &json!({ "role": "champion" })));
    ash.say(&json!({ "action": "wave" })).unwrap();
    assert_eq!(next(&server, &url, 1)[0].1["context"], json!({ "role": "champion" }));
    let (_, _, found) = at_connections::call(&server, "GET", &format!("/@connections/{id}"), b"");
    assert_eq!(serde_json::from_str::<Value>(&found).unwrap()["context"], json!({ "role": "champion" }));

    // A name from the authorizer is the player's name in the game too.
    let (mut misty, id) = Player::connect_to(server.play, "/play?player=masked").unwrap();
    assert_eq!(misty.ask(&json!({ "type": "collection" })).unwrap()["type"], "collection");
    let (_, _, found) = at_connections::call(&server, "GET", &format!("/@connections/{id}"), b"");
    assert_eq!(serde_json::from_str::<Value>(&found).unwrap()["player"], "misty");

    for name in ["gary", "unknown", "forbidden"] {
        assert_eq!(refused(&server, &format!("/play?player={name}")), (403, None), "{name}");
        assert_eq!(refused(&server, &format!("/ws?player={name}")), (403, None), "{name}");
    }
    for name in ["broken", "nonsense", "slow"] {
        assert_eq!(refused(&server, &format!("/play?player={name}")), (503, later.clone()), "{name}");
    }
    drop(authorizer);
}

#[test]
fn while_some_wait_for_the_authorizer_others_play_and_too_many_do_not_wait() {
    let data = fresh_data();
    let path = settings(&data, "[connections]\nws_authorizer = \"who\"\nauthorizer_timeout = \"1500ms\"\n");
    let arguments = ["--config", path.to_str().unwrap(), "--allow-private-targets"];
    let server = Server::start(&data.path().join("world"), &arguments);
    let authorizer = Authorizer::start(by_name);
    destination(&server, "who", &authorizer);
    std::thread::scope(|scope| {
        let slow: Vec<_> = (0..20).map(|_| scope.spawn(|| refused(&server, "/ws?player=slow"))).collect();
        authorizer.next();
        let mut ash = Player::connect(server.play, "ash").unwrap();
        for attempt in 0..20 {
            assert_eq!(ash.attempt(attempt, 5).unwrap()["reason"], "unknown_fakemon");
        }
        assert!(!slow[0].is_finished(), "they wait still");
        for waiting in slow {
            assert_eq!(waiting.join().unwrap().0, 503);
        }
    });
    // Messages sent before the decision are handled after it.
    let url = heard(&server);
    let mut stream = TcpStream::connect(server.play).unwrap();
    let mut request = "GET /ws?player=ash HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .as_bytes()
        .to_vec();
    request.extend([0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
    stream.write_all(&request).unwrap();
    let said = next(&server, &url, 2);
    assert_eq!((said[1].0.as_str(), &said[1].1["body"]), ("$default", &json!("hi")));
}

#[test]
fn a_decision_holds_as_long_as_the_settings_say() {
    let data = fresh_data();
    let settings = settings(&data, "[connections]\nauthorizer = \"who\"\nauthorizer_ttl = \"1h\"\n");
    let arguments = ["--config", settings.to_str().unwrap(), "--allow-private-targets"];
    let server = Server::start(&data.path().join("world"), &arguments);
    let authorizer = Authorizer::start(by_name);
    destination(&server, "who", &authorizer);
    for _ in 0..5 {
        Player::connect_to(server.play, "/ws?player=ash").map_err(|refused| refused.0).unwrap();
        assert_eq!(refused(&server, "/ws?player=gary").0, 403);
        assert_eq!(refused(&server, "/ws?player=broken").0, 503);
    }
    let asked: Vec<Value> = authorizer.asked.try_iter().collect();
    let of = |name: &str| asked.iter().filter(|question| question["player"] == name).count();
    assert_eq!((of("ash"), of("gary"), of("broken")), (1, 1, 5), "failures are not remembered");
}
