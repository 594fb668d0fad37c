//! `@connections`, as back ends use it: one connection, all of a player, a group, an area.

use crate::aws::{events, queue, receive};
use crate::player::{Player, SOL};
use crate::server::{Server, fresh_data};
use serde_json::{Value, json};
use tungstenite::Message;

/// The status, the AWS error type and the body of an answer.
pub(crate) fn call(server: &Server, method: &str, path: &str, body: &[u8]) -> (u16, String, String) {
    let uri = format!("http://{}{path}", server.control);
    let request = tungstenite::http::Request::builder().method(method).uri(uri).body(body).unwrap();
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let mut response = agent.run(request).unwrap();
    let code = response.headers().get("x-amzn-errortype").map_or("", |code| code.to_str().unwrap()).to_owned();
    (response.status().as_u16(), code, response.body_mut().read_to_string().unwrap())
}

/// Connects players; returns them with their connection ids, as reported on the bus.
fn connect(server: &Server, names: &[&str]) -> Vec<(Player, String)> {
    let (url, arn) = queue(server, "came");
    let pattern = json!({ "detail-type": ["fakemon.connected"] }).to_string();
    events(server, "PutRule", json!({ "Name": "came", "EventBusName": "fakemon", "EventPattern": pattern }));
    let targets = json!([{ "Id": "q", "Arn": arn, "InputPath": "$.detail.connection_id" }]);
    events(server, "PutTargets", json!({ "Rule": "came", "EventBusName": "fakemon", "Targets": targets }));
    let connect = |name: &&str| {
        let player = Player::connect(server.play, name).unwrap();
        let id = receive(server, &url, 1)[0]["Body"].as_str().unwrap().trim_matches('"').to_owned();
        (player, id)
    };
    names.iter().map(connect).collect()
}

#[test]
fn a_back_end_speaks_on_a_connection_describes_it_and_closes_it() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (mut ash, id) = connect(&server, &["ash"]).remove(0);
    let path = format!("/@connections/{id}");
    assert_eq!(call(&server, "POST", &path, b"{\"type\":\"hello\"}").0, 200);
    assert_eq!(ash.hear().unwrap(), json!({ "type": "hello" }));
    assert_eq!(call(&server, "POST", &format!("/prod{path}"), &[0xFF, 0]).0, 200);
    assert_eq!(ash.socket.read().unwrap(), Message::binary(vec![0xFF, 0]));
    let (status, _, found) = call(&server, "GET", &path, b"");
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!((status, &found["player"], &found["identity"]["sourceIp"]), (200, &json!("ash"), &json!("127.0.0.1")));
    assert!(found["connectedAt"].as_str().unwrap() <= found["lastActiveAt"].as_str().unwrap(), "{found}");
    let (status, code, _) = call(&server, "POST", &path, &vec![b'x'; 128 * 1024 + 1]);
    assert_eq!((status, code.as_str()), (413, "PayloadTooLargeException"));
    assert_eq!(call(&server, "DELETE", &path, b"").0, 204);
    assert!(ash.hear().is_none(), "it is closed");
    for (method, path) in [("POST", path.as_str()), ("GET", &path), ("DELETE", &path), ("GET", "/@connections/x")] {
        let (status, code, _) = call(&server, method, path, b"");
        assert_eq!((status, code.as_str()), (410, "GoneException"), "{method} {path}");
    }
}

#[test]
fn one_call_reaches_all_connections_of_a_player_a_group_or_an_area() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let mut all = connect(&server, &["ash", "ash", "misty", "brock"]);
    let reached = |query: &str, body: &str| -> Value {
        let (status, _, answer) = call(&server, "POST", &format!("/@connections?{query}"), body.as_bytes());
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str::<Value>(&answer).unwrap()["reached"].clone()
    };
    assert_eq!(reached("player=ash", "1"), 2);
    assert_eq!(reached("player=gary", "0"), 0);
    for member in [1, 2] {
        let path = format!("/@connections/{}/groups/raid", all[member].1);
        assert_eq!(call(&server, "PUT", &path, b"").0, 204);
        assert_eq!(call(&server, "PUT", &path, b"").0, 204, "twice is once");
    }
    assert_eq!(reached("group=raid", "2"), 2);
    assert_eq!(call(&server, "DELETE", &format!("/@connections/{}/groups/raid", all[1].1), b"").0, 204);
    assert_eq!(reached("group=raid", "3"), 1);
    let heard = |player: &mut Player, count: usize| (0..count).map(|_| player.hear().unwrap()).collect::<Vec<_>>();
    assert_eq!(heard(&mut all[0].0, 1), [json!(1)]);
    assert_eq!(heard(&mut all[1].0, 2), [json!(1), json!(2)]);
    assert_eq!(heard(&mut all[2].0, 2), [json!(2), json!(3)]);
    for (player, lat) in [(0, SOL.0), (3, SOL.0 + 0.5)] {
        let look = json!({ "type": "look", "lat": lat, "lon": SOL.1, "radius_m": 100 });
        assert_eq!(all[player].0.ask(&look).unwrap()["type"], "world");
    }
    assert_eq!(reached(&format!("lat={}&lon={}&radius_m=500", SOL.0, SOL.1), "5"), 1);
    assert_eq!(heard(&mut all[0].0, 1), [json!(5)]);
    for query in ["", "player=a&group=b", "lat=1", "lat=1&lon=200&radius_m=5", "group=", "player=%00"] {
        let (status, code, _) = call(&server, "POST", &format!("/@connections?{query}"), b"x");
        assert_eq!((status, code.as_str()), (400, "BadRequestException"), "{query}");
    }
}

#[test]
fn one_call_brings_many_messages_to_many_connections() {
    let data = fresh_data();
    let server = Server::start(data.path(), &["--edges", "2"]);
    let mut all: Vec<(Player, String)> =
        (0..20).map(|number| Player::connect_to(server.play, &format!("/ws?player=p{number}")).unwrap()).collect();
    let (gone, gone_id) = Player::connect_to(server.play, "/ws").unwrap();
    drop(gone);
    while call(&server, "GET", &format!("/@connections/{gone_id}"), b"").0 == 200 {}
    let ids: Vec<&str> = all.iter().map(|(_, id)| id.as_str()).collect();
    let mut lines = vec![json!({ "ids": ids, "json": { "round": 0 } }).to_string()];
    for round in 1..50 {
        lines.extend(
            ids.iter().map(|id| json!({ "id": id, "text": json!({ "round": round }).to_string() }).to_string()),
        );
    }
    lines.push(json!({ "ids": [gone_id, "nobody"], "base64": "AAAA" }).to_string());
    let (status, _, answer) = call(&server, "POST", "/@connections?batch", lines.join("\n").as_bytes());
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &answer["reached"], &answer["refused"]), (200, &json!(1_000), &json!(0)), "{answer}");
    let line = lines.len();
    let undelivered =
        json!([{ "line": line, "id": gone_id, "status": 410 }, { "line": line, "id": "nobody", "status": 410 }]);
    assert_eq!((&answer["gone"], &answer["undelivered"]), (&json!(2), &undelivered));
    for (player, _) in &mut all {
        for round in 0..50 {
            assert_eq!(player.hear().unwrap(), json!({ "round": round }), "in order, each once");
        }
    }
    for (body, status, what) in [("{\"id\":\"x\"}\nx", 400, "line 1"), ("\n\nx", 400, "line 3")] {
        let (got, code, message) = call(&server, "POST", "/@connections?batch", body.as_bytes());
        assert_eq!((got, code.as_str()), (status, "BadRequestException"));
        assert!(message.contains(what), "{message}");
    }
    let large = vec![b'\n'; (2 << 20) + 1];
    assert_eq!(call(&server, "POST", "/@connections?batch", &large).0, 413);
}

#[test]
fn who_does_not_read_is_refused_and_others_are_not() {
    let data = fresh_data();
    let server = Server::start(data.path(), &[]);
    let (_deaf, deaf_id) = Player::connect_to(server.play, "/ws").unwrap();
    let (mut other, other_id) = Player::connect_to(server.play, "/ws").unwrap();
    let message = vec![b'x'; 128 * 1024];
    // The kernel buffers some; then the server does, up to a bound.
    let refused = (0..200).find_map(|_| {
        let (status, code, _) = call(&server, "POST", &format!("/@connections/{deaf_id}"), &message);
        (status != 200).then_some((status, code))
    });
    assert_eq!(refused, Some((429, "LimitExceededException".into())));
    assert_eq!(call(&server, "POST", &format!("/@connections/{other_id}"), b"1").0, 200);
    assert_eq!(other.hear().unwrap(), json!(1));
}
