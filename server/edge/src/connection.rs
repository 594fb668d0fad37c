//! One connection: small at rest (a socket, a player's name, empty vectors), with buffers only while data is on its
//! way. [`FrameWriter`] writes messages to it.

pub(crate) mod frame;
pub(crate) mod inbound;
pub(crate) mod stream;
pub(crate) mod rate;

use super::areas::Area;
use super::figures::{Counters, count};
use super::handshake::{Admitted, Endpoint};
use crate::connection::inbound::Inbound;
use crate::connection::rate::Allowance;
use crate::connection::stream::Stream;
use fakemon_capture::player::Player;
use fakemon_fbs::play::Writer;
use fakemon_model::event::{Decision, PlayerName};
use fakemon_model::ids::{Position, Timestamp};
use fakemon_protocol::{Reply, Subprotocol, flat, json};
use frame::{CloseCode, Kind};
use serde_json::value::RawValue;
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// Bytes that wait for a slow reader before we stop reading its requests: the answers would only wait too.
pub(crate) const OUT_BYTES_PAUSE: usize = 64 * 1024;
/// Bytes that wait for a slow reader before the connection is closed. Room for a whole page of a collection.
pub(crate) const OUT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A silent connection is pinged after this time at the latest: proxies cut connections that are idle for a minute.
const PING_AFTER_MS_MAX: u32 = 25_000;
/// Results of attempts that came as events, held while a player catches up.
const HELD_MAX: usize = 1_024;
/// Buffers larger than this are freed, not kept for other connections.
const KEPT_BYTES_MAX: usize = 32 * 1024;
/// Free buffers kept for other connections, per thread.
const KEPT_MAX: usize = 1024;

const _: () = assert!(size_of::<Connection>() <= 192, "a connection at rest must stay small");

/// Silence, in milliseconds, before a ping on a connection whose idle timeout is `idle_ms`.
pub(crate) fn ping_after_ms(idle_ms: u32) -> u32 {
    PING_AFTER_MS_MAX.min(idle_ms / 2)
}

/// A connection.
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) phase: Phase,
    /// Bytes read that are no whole message yet, or not parsed yet.
    pub(crate) rest: Vec<u8>,
    /// Output; the bytes from `written` on are still to be written.
    out: Vec<u8>,
    written: u32,
    /// When the last bytes came or, while it leaves, when that began; milliseconds on the thread's clock.
    pub(crate) heard_ms: u32,
    /// A ping was sent after `heard_ms`.
    pub(crate) is_pinged: bool,
    /// The socket may have more to read.
    pub(crate) is_unread: bool,
    /// The peer has closed, or broken, its half: read to the end.
    pub(crate) is_ending: bool,
    /// `rest` holds whole messages that are not parsed yet.
    pub(crate) is_rest_unheard: bool,
    /// It is in the queue of connections to read.
    pub(crate) is_queued: bool,
    /// It is in the queue of connections to write.
    pub(crate) is_spoken_to: bool,
}

/// State of a connection.
pub(crate) enum Phase {
    /// Its HTTP request is not whole yet.
    Handshake,
    /// The request is valid; its authorizer has not answered yet.
    Asking(Box<Admitted>),
    /// Open, at `/play` or at the general endpoint.
    Playing(Session),
    /// A close frame or an HTTP error was sent; further input is discarded.
    Leaving {
        /// Our half is closed: all output was written.
        is_finished: bool,
    },
}

/// An open connection's player, endpoint, limits and state.
pub(crate) struct Session {
    /// None only at the general endpoint.
    pub(crate) name: Option<PlayerName>,
    pub(crate) endpoint: Endpoint,
    /// When it was opened; milliseconds on the thread's clock.
    pub(crate) connected_ms: u32,
    /// None until the player's first attempt.
    pub(crate) player: Option<Player>,
    pub(crate) subprotocol: Subprotocol,
    pub(crate) inbound: Inbound,
    pub(crate) area: Option<Box<Area>>,
    /// An area that was asked for; until it is answered, nothing else of this connection is read.
    pub(crate) asked_area: Option<Box<Area>>,
    pub(crate) allowance: Option<Arc<Allowance>>,
    /// Attempts and collections without an answer.
    pub(crate) in_flight: u32,
    /// Collections without an answer; bounded apart, because each may be long.
    pub(crate) collections: u8,
    /// The player catches up: results are held until the missed ones were sent.
    is_resuming: bool,
    pub(crate) visit: Box<Visit>,
}

/// Cold fields, boxed to keep an idle connection small.
pub(crate) struct Visit {
    pub(crate) user_agent: Box<str>,
    /// Data from the authorizer: the text of a JSON object.
    pub(crate) context: Option<Arc<str>>,
    /// Expiry of the token; none if there is no token.
    pub(crate) expires_at: Option<Timestamp>,
    /// Messages received at the general endpoint so far.
    pub(crate) messages: u64,
    /// Rate limit of messages at the general endpoint.
    pub(crate) allowance: Allowance,
    resuming: Option<Resuming>,
}

/// Results held while a player catches up.
pub(crate) struct Resuming {
    /// The player knows all results up to this position.
    pub(crate) behind: Position,
    pub(crate) held: Vec<Decision>,
    /// Of the held ones, attempts of this connection: they count as in flight.
    held_in_flight: u32,
    held_told: usize,
    /// More than `HELD_MAX` came; those not held are in the journal, and catching up again finds them.
    pub(crate) is_overflowing: bool,
}

impl Visit {
    /// Whether the token has expired, by the wall clock, as in the handshake.
    pub(crate) fn has_expired(&self, wall: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= wall)
    }

    pub(crate) fn context(&self) -> Option<&RawValue> {
        serde_json::from_str(self.context.as_deref()?).ok() // it was read before, so it is JSON
    }
}

impl Session {
    pub(crate) fn new(admitted: &Admitted, context: Option<Arc<str>>, now_ms: u32) -> Session {
        Session {
            name: admitted.player.clone(),
            endpoint: admitted.endpoint,
            connected_ms: now_ms,
            player: None,
            subprotocol: admitted.subprotocol,
            inbound: Inbound::default(),
            area: None,
            asked_area: None,
            allowance: None,
            in_flight: 0,
            collections: 0,
            is_resuming: false,
            visit: Box::new(Visit {
                user_agent: admitted.user_agent().into(),
                context,
                expires_at: admitted.expires_at,
                messages: 0,
                allowance: Allowance::default(),
                resuming: None,
            }),
        }
    }

    /// Holds results from now on; the player knows those up to `behind`.
    pub(crate) fn begin_resuming(&mut self, behind: Position) {
        self.is_resuming = true;
        let (held, held_in_flight, held_told, is_overflowing) = (Vec::new(), 0, 0, false);
        self.visit.resuming = Some(Resuming { behind, held, held_in_flight, held_told, is_overflowing });
    }

    pub(crate) fn is_resuming(&self) -> bool {
        self.is_resuming
    }

    /// Holds the result of an attempt of this connection while the player catches up; it counts as in flight until
    /// then.
    #[inline]
    pub(crate) fn hold(&mut self, decision: Decision) -> bool {
        if !self.is_resuming {
            return false;
        }
        if let Some(resuming) = &mut self.visit.resuming {
            resuming.held.push(decision);
            resuming.held_in_flight += 1;
            self.in_flight += 1;
        }
        true
    }

    /// Holds the result of an attempt that came as an event, while the player catches up.
    pub(crate) fn hold_told(&mut self, decision: Decision) -> bool {
        if !self.is_resuming {
            return false;
        }
        if let Some(resuming) = &mut self.visit.resuming {
            match resuming.held_told < HELD_MAX {
                true => {
                    resuming.held.push(decision);
                    resuming.held_told += 1;
                }
                false => resuming.is_overflowing = true,
            }
        }
        true
    }

    /// Ends the holding of results, and returns those held.
    pub(crate) fn resumed(&mut self) -> Option<Resuming> {
        self.is_resuming = false;
        let resuming = self.visit.resuming.take()?;
        self.in_flight -= resuming.held_in_flight;
        Some(resuming)
    }
}

impl Connection {
    pub(crate) fn new(stream: Stream, now_ms: u32) -> Connection {
        Connection {
            stream,
            phase: Phase::Handshake,
            rest: Vec::new(),
            out: Vec::new(),
            written: 0,
            heard_ms: now_ms,
            is_pinged: false,
            is_unread: false,
            is_ending: false,
            is_rest_unheard: false,
            is_queued: false,
            is_spoken_to: false,
        }
    }

    pub(crate) fn session(&mut self) -> Option<&mut Session> {
        match &mut self.phase {
            Phase::Playing(session) => Some(session),
            _ => None,
        }
    }

    pub(crate) fn area(&self) -> Option<&Area> {
        match &self.phase {
            Phase::Playing(session) => session.area.as_deref(),
            _ => None,
        }
    }

    pub(crate) fn subprotocol(&self) -> Option<Subprotocol> {
        match &self.phase {
            Phase::Playing(session) => Some(session.subprotocol),
            _ => None,
        }
    }

    /// Bytes of `out` that wait to be written.
    #[inline]
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.out.len() - self.written as usize
    }

    /// Whether bytes wait to be written, here or in TLS.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting_bytes() > 0 || self.stream.is_holding()
    }

    /// Whether reading is paused: a look or the authorizer has to be answered first, or the client does not read.
    #[inline]
    pub(crate) fn is_paused(&self) -> bool {
        let is_waiting = match &self.phase {
            Phase::Playing(session) => session.asked_area.is_some(),
            Phase::Asking(_) => true,
            Phase::Handshake | Phase::Leaving { .. } => false,
        };
        is_waiting || (self.waiting_bytes() > OUT_BYTES_PAUSE && !matches!(self.phase, Phase::Leaving { .. }))
    }

    /// Whether there is input to read or parse.
    #[inline]
    pub(crate) fn has_more(&self) -> bool {
        self.is_unread || self.is_rest_unheard
    }
}

/// Writes to connections, with buffers that all connections of a thread share.
pub(crate) struct FrameWriter {
    kept: Vec<Vec<u8>>,
    message: Vec<u8>,
    flat: Writer,
    counters: Arc<Counters>,
}

impl FrameWriter {
    pub(crate) fn new(counters: Arc<Counters>) -> FrameWriter {
        FrameWriter { kept: Vec::new(), message: Vec::new(), flat: Writer::default(), counters }
    }

    /// Queues a message of the game; it is written at the end of this turn.
    #[inline]
    pub(crate) fn say(&mut self, connection: &mut Connection, reply: &Reply<'_>) {
        if let Some(subprotocol) = connection.subprotocol() {
            let mut out = self.open(connection);
            self.write(subprotocol, reply, &mut out);
            connection.out = out;
            count(&self.counters.messages_out, 1);
        }
    }

    /// Queues frames that are encoded already.
    pub(crate) fn say_encoded(&mut self, connection: &mut Connection, frames: &[u8]) {
        self.say_raw(connection, frames);
        count(&self.counters.messages_out, 1);
    }

    /// Queues a message that is not one of the game's.
    pub(crate) fn say_frame(&mut self, connection: &mut Connection, kind: Kind, message: &[u8]) {
        let mut out = self.open(connection);
        frame::write(&mut out, kind, message);
        connection.out = out;
        count(&self.counters.messages_out, 1);
    }

    /// Queues raw bytes: control frames, HTTP.
    pub(crate) fn say_raw(&mut self, connection: &mut Connection, bytes: &[u8]) {
        let mut out = self.open(connection);
        out.extend_from_slice(bytes);
        connection.out = out;
    }

    /// Appends a message as a frame.
    #[inline]
    pub(crate) fn write(&mut self, subprotocol: Subprotocol, reply: &Reply<'_>, out: &mut Vec<u8>) {
        match subprotocol {
            Subprotocol::Json => {
                self.message.clear();
                json::write(&mut self.message, reply);
                frame::write(out, Kind::Text, &self.message);
            }
            Subprotocol::FlatBuffers => frame::write(out, Kind::Binary, flat::write(&mut self.flat, reply)),
        }
    }

    pub(crate) fn ping(&mut self, connection: &mut Connection) {
        let mut out = self.open(connection);
        frame::write(&mut out, Kind::Ping, b"");
        connection.out = out;
    }

    pub(crate) fn pong(&mut self, connection: &mut Connection, payload: &[u8]) {
        let mut out = self.open(connection);
        frame::write(&mut out, Kind::Pong, payload);
        connection.out = out;
    }

    pub(crate) fn goodbye(&mut self, connection: &mut Connection, code: Option<CloseCode>, reason: &str) {
        let mut out = self.open(connection);
        frame::write_close(&mut out, code, reason);
        connection.out = out;
    }

    pub(crate) fn count_pushes(&self, pushes: u64) {
        count(&self.counters.pushes, pushes);
    }

    fn open(&mut self, connection: &mut Connection) -> Vec<u8> {
        match connection.out.capacity() {
            0 => self.kept.pop().unwrap_or_default(),
            _ => std::mem::take(&mut connection.out),
        }
    }

    /// Writes the output, with one call if the kernel takes all. True: nothing waits any more.
    #[inline]
    pub(crate) fn flush(&mut self, connection: &mut Connection) -> io::Result<bool> {
        while connection.waiting_bytes() > 0 {
            match connection.stream.write(&connection.out[connection.written as usize..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    count(&self.counters.bytes_out, written as u64);
                    connection.written += u32::try_from(written).expect("bounded by OUT_BYTES_MAX and a page");
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        connection.written = 0;
        self.keep(std::mem::take(&mut connection.out));
        connection.stream.flush()
    }

    /// Keeps a buffer for other connections, unless it is too large or enough are kept.
    pub(crate) fn keep(&mut self, mut buffer: Vec<u8>) {
        if (1..=KEPT_BYTES_MAX).contains(&buffer.capacity()) && self.kept.len() < KEPT_MAX {
            buffer.clear();
            self.kept.push(buffer);
        }
    }

    /// An empty buffer.
    pub(crate) fn buffer(&mut self) -> Vec<u8> {
        self.kept.pop().unwrap_or_default()
    }
}
