//! A player at a websocket, with a library that shares no code with the edge.

use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tungstenite::http::HeaderMap;
use tungstenite::{HandshakeError, Message, WebSocket};

/// The place of all tests.
pub(crate) const SOL: (f64, f64) = (40.4168, -3.7038);

/// A connected player. `None` from any method: the connection is gone.
pub(crate) struct Player {
    pub(crate) socket: WebSocket<TcpStream>,
}

impl Player {
    /// Connects as a player.
    pub(crate) fn connect(play: SocketAddr, name: &str) -> Option<Player> {
        Player::connect_to(play, &format!("/play?player={name}")).ok().map(|(player, _)| player)
    }

    /// Connects to any path: the connection and its id, or the status of the refusal, its `Retry-After` and its body.
    pub(crate) fn connect_to(
        play: SocketAddr,
        path: &str,
    ) -> Result<(Player, String), (u16, Option<String>, String)> {
        let stream = TcpStream::connect(play).map_err(|error| (0, None, error.to_string()))?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
        let header = |headers: &HeaderMap, name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        match tungstenite::client(format!("ws://{play}{path}"), stream) {
            Ok((socket, response)) => {
                let id = header(response.headers(), "x-fakemon-connection-id");
                Ok((Player { socket }, id.expect("every connection is told its id")))
            }
            Err(HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                let body = response.body().clone().unwrap_or_default();
                let retry_after = header(response.headers(), "retry-after");
                Err((response.status().as_u16(), retry_after, String::from_utf8(body).expect("bodies are UTF-8")))
            }
            Err(error) => Err((0, None, error.to_string())),
        }
    }

    /// The code that it is closed with.
    pub(crate) fn close_code(&mut self) -> Option<u16> {
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// Sends without waiting for anything.
    pub(crate) fn say(&mut self, message: &Value) -> Option<()> {
        self.socket.send(Message::text(message.to_string())).ok()
    }

    /// The next message. Panics if there is none for twenty seconds: a connected player is always answered.
    pub(crate) fn hear(&mut self) -> Option<Value> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).expect("messages are JSON")),
                Ok(Message::Close(_)) => return None,
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("no answer")
                }
                Err(_) => return None,
            }
        }
    }

    /// Sends and waits for the answer.
    pub(crate) fn ask(&mut self, message: &Value) -> Option<Value> {
        self.say(message)?;
        self.hear()
    }

    /// Makes an attempt; returns its result.
    pub(crate) fn attempt(&mut self, attempt_id: u64, fakemon_id: u64) -> Option<Value> {
        self.ask(&attempt_at(attempt_id, fakemon_id))
    }
}

/// The message of an attempt from [`SOL`].
pub(crate) fn attempt_at(attempt_id: u64, fakemon_id: u64) -> Value {
    json!({ "type": "attempt", "attempt_id": attempt_id.to_string(), "fakemon_id": fakemon_id.to_string(),
            "lat": SOL.0, "lon": SOL.1 })
}

/// A number in a message, sent as a string.
pub(crate) fn number(message: &Value, field: &str) -> u64 {
    let number = message[field].as_str().and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("{field} in {message}"))
}
