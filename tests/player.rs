//! A player at a websocket, with a library that shares no code with the edge.

use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tungstenite::{Message, WebSocket};

/// Where everything happens.
pub(crate) const SOL: (f64, f64) = (40.4168, -3.7038);

/// A connected player. `None` from any method: the connection is gone.
pub(crate) struct Player {
    pub(crate) socket: WebSocket<TcpStream>,
}

impl Player {
    /// Takes a seat.
    pub(crate) fn connect(play: SocketAddr, name: &str) -> Option<Player> {
        let stream = TcpStream::connect(play).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        let (socket, _) = tungstenite::client(format!("ws://{play}/play?player={name}"), stream).ok()?;
        Some(Player { socket })
    }

    /// Sends without waiting for anything.
    pub(crate) fn say(&mut self, message: &Value) -> Option<()> {
        self.socket.send(Message::text(message.to_string())).ok()
    }

    /// The next message. Panics if there is none for twenty seconds: whoever is connected is answered.
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

    /// A throw, and its result.
    pub(crate) fn throw(&mut self, attempt_id: u64, fakemon_id: u64) -> Option<Value> {
        self.ask(&throw(attempt_id, fakemon_id))
    }
}

/// The message of a throw from [`SOL`].
pub(crate) fn throw(attempt_id: u64, fakemon_id: u64) -> Value {
    json!({ "type": "attempt", "attempt_id": attempt_id.to_string(), "fakemon_id": fakemon_id.to_string(),
            "lat": SOL.0, "lon": SOL.1 })
}

/// A number that a message gives as a string.
pub(crate) fn number(message: &Value, field: &str) -> u64 {
    let number = message[field].as_str().and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("{field} in {message}"))
}
