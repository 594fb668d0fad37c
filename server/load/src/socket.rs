//! A player's websocket connection: opened while nothing is measured, then non-blocking. At rest it owns two empty
//! vectors; reads go through the buffer of the thread.

use super::target::Target;
use crate::frames::{self, Frame};
use anyhow::{Context, bail, ensure};
use fakemon_protocol::Subprotocol;
use mio::net::TcpStream;
use std::io::{self, Read, Write};
use std::time::Duration;
use tungstenite::handshake::{client::generate_key, derive_accept_key};

/// How players authenticate.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// By name: the server is in open mode.
    Open {
        /// Prefix of the names; a player's number follows.
        prefix: String,
    },
    /// By a token, which is one player's.
    Token(String),
}

/// Longest answer to a handshake, in bytes; a longer one is an error.
const HANDSHAKE_BYTES_MAX: usize = 8_192;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection whose handshake is in flight. Sending many before waiting for the first lets the server answer them
/// in one turn.
pub(crate) struct Opening {
    stream: std::net::TcpStream,
    key: String,
    subprotocol: Subprotocol,
}

impl Opening {
    /// Connects and asks for the upgrade.
    pub(crate) fn start(
        target: &Target,
        access: &Access,
        subprotocol: Subprotocol,
        contender: u32,
    ) -> anyhow::Result<Opening> {
        let mut stream = target
            .connect()
            .with_context(|| format!("cannot connect to {}: is the server running there?", target.authority))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
        let (query, authorization) = match access {
            Access::Open { prefix } => (format!("?player={prefix}{contender}"), String::new()),
            Access::Token(token) => (String::new(), format!("Authorization: Bearer {token}\r\n")),
        };
        let key = generate_key();
        let request = format!(
            "GET /play{query} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {}\r\nSec-WebSocket-Key: {key}\r\n\
             {authorization}\r\n",
            target.authority,
            subprotocol.name()
        );
        stream.write_all(request.as_bytes()).context("cannot send the handshake")?;
        Ok(Opening { stream, key, subprotocol })
    }

    /// Waits for the server to agree.
    pub(crate) fn finish(mut self) -> anyhow::Result<Socket> {
        let mut bytes = Vec::new();
        let mut chunk = [0; 1_024];
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            ensure!(bytes.len() < HANDSHAKE_BYTES_MAX, "the server's handshake has no end");
            match self.stream.read(&mut chunk).context("the server does not answer the handshake")? {
                0 => bail!("the server closed the connection during the handshake"),
                read => bytes.extend_from_slice(&chunk[..read]),
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        ensure!(
            head.starts_with("HTTP/1.1 101 "),
            "the server refused the handshake: {} {}",
            head.lines().next().unwrap_or_default(),
            String::from_utf8_lossy(&bytes[end..]).trim()
        );
        let accept = derive_accept_key(self.key.as_bytes());
        ensure!(
            header(&head, "sec-websocket-accept") == Some(&accept),
            "the server answered the handshake with a wrong Sec-WebSocket-Accept"
        );
        ensure!(
            header(&head, "sec-websocket-protocol") == Some(self.subprotocol.name()),
            "the server does not speak {}",
            self.subprotocol.name()
        );
        self.stream.set_nonblocking(true)?;
        let id = header(&head, "x-fakemon-connection-id").unwrap_or_default().to_owned();
        Ok(Socket { stream: TcpStream::from_std(self.stream), id, rest: bytes.split_off(end), unsent: Vec::new() })
    }
}

/// The value of a header, by its name in lower case.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// An open connection.
pub(crate) struct Socket {
    pub(crate) stream: TcpStream,
    /// Its connection id, for `@connections`.
    pub(crate) id: String,
    /// The start of a frame whose end is still to come.
    rest: Vec<u8>,
    /// Frames that the kernel has not taken yet. Bounded by the attempts in flight.
    unsent: Vec<u8>,
}

/// Result of one read.
pub(crate) enum Received {
    /// The number of bytes at the start of the buffer; `more`: the buffer was full, the socket may have more.
    Bytes { length: usize, more: bool },
    /// No bytes are available.
    Nothing,
    /// The server has closed.
    Closed,
}

impl Socket {
    /// The buffer to which frames for the next [`flush`](Socket::flush) are appended.
    pub(crate) fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.unsent
    }

    /// Writes the frames that wait, as far as the kernel takes them.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(written) if written == self.unsent.len() => self.unsent.clear(),
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// One read into the buffer, after what was left of the last one.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        let kept = self.rest.len();
        if kept == buffer.len() {
            return Err(io::Error::other("the server sent a larger frame than the generator reads"));
        }
        buffer[..kept].copy_from_slice(&self.rest);
        match self.stream.read(&mut buffer[kept..]) {
            Ok(0) => Ok(Received::Closed),
            Ok(read) => {
                self.rest.clear();
                let length = kept + read;
                // A short read has emptied the socket: another one would be a wasted system call.
                let more = length == buffer.len();
                Ok(Received::Bytes { length, more })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Received::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Calls `visit` with each whole frame of `bytes`; keeps the start of one that is not.
    pub(crate) fn frames(
        &mut self,
        bytes: &[u8],
        mut visit: impl FnMut(Frame<'_>),
    ) -> Result<(), frames::FrameError> {
        let mut rest = bytes;
        while let Some((frame, taken)) = frames::parse(rest)? {
            visit(frame);
            rest = &rest[taken..];
        }
        self.rest.extend_from_slice(rest);
        Ok(())
    }
}
