//! A player's connection: a websocket client that never blocks, so that one thread can be many players.

use serde::Deserialize;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message as Frame, WebSocket};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Messages read in one step: more wait for the next.
const MESSAGES_MAX: usize = 64;
const READ_BUFFER_BYTES: usize = 4 * 1_024;
const UNSENT_BYTES_MAX: usize = 64 * 1_024;

/// A fakémon as the server shows it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Sighting {
    pub(super) fakemon_id: String,
    pub(super) species: String,
    pub(super) lat: f64,
    pub(super) lon: f64,
}

/// A message of the server.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Heard {
    World { fakemon: Vec<Sighting> },
    Appeared(Sighting),
    Vanished { fakemon_id: String },
    Result { fakemon_id: String, outcome: String, reason: Option<String> },
    Collection {},
    Error { message: String },
}

pub(super) struct Socket(WebSocket<TcpStream>);

impl Socket {
    /// Connects as this player. The server is in the same process, so this does not block for long.
    pub(super) fn open(play: SocketAddr, player: &str) -> anyhow::Result<Socket> {
        let stream = TcpStream::connect_timeout(&play, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(CONNECT_TIMEOUT))?;
        stream.set_write_timeout(Some(CONNECT_TIMEOUT))?;
        let mut request = format!("ws://{play}/play?player={player}").into_client_request()?;
        let subprotocol = HeaderValue::from_static("fakemon.v1.json");
        request.headers_mut().insert("Sec-WebSocket-Protocol", subprotocol);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(UNSENT_BYTES_MAX);
        let (socket, _) = tungstenite::client::client_with_config(request, stream, Some(config))
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        socket.get_ref().set_nonblocking(true)?;
        Ok(Socket(socket))
    }

    /// Sends a message. Bytes that the kernel does not take now are sent with the next message.
    pub(super) fn say(&mut self, message: String) -> Result<(), Error> {
        match self.0.send(Frame::text(message)) {
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            other => other,
        }
    }

    /// The messages received since the last call.
    pub(super) fn listen(&mut self) -> Result<Vec<Heard>, Error> {
        let mut heard = Vec::new();
        while heard.len() < MESSAGES_MAX {
            match self.0.read() {
                Ok(Frame::Text(text)) => heard.extend(serde_json::from_str::<Heard>(&text)),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(heard)
    }

    /// Sends a close frame, without waiting for the answer.
    pub(super) fn close(&mut self) {
        let _ = self.0.close(None);
    }
}
