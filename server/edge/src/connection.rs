//! One connection: small at rest (a socket, a player's name, empty vectors), with buffers only while something is on
//! its way. [`Voice`] writes what is said to it.

use super::areas::Area;
use super::figures::{Counters, count};
use super::frame::{self, CloseCode, Kind};
use super::handshake::{Admitted, Endpoint};
use super::inbound::Inbound;
use super::rate::Allowance;
use super::stream::Stream;
use fakemon_capture::players::Player;
use fakemon_fbs::play::Writer;
use fakemon_model::event::{Decision, PlayerName};
use fakemon_model::ids::{Position, Timestamp};
use fakemon_protocol::{Reply, Subprotocol, flat, json};
use serde_json::value::RawValue;
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// Bytes that wait for a slow reader before we stop listening to them: their answers would only wait too.
pub(crate) const OUT_BYTES_PAUSE: usize = 64 * 1024;
/// Bytes that wait for a slow reader before we give them up. Room for a whole page of a collection.
pub(crate) const OUT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A connection on which nothing was heard is pinged after this time at the latest: proxies cut those on which
/// nothing moves for a minute.
const PING_AFTER_MS_MAX: u32 = 25_000;
/// Results of throws that came as events, held while a player catches up.
const HELD_MAX: usize = 1_024;
/// Buffers larger than this are not kept for others.
const KEPT_BYTES_MAX: usize = 32 * 1024;
/// Buffers kept for others.
const KEPT_MAX: usize = 1024;

const _: () = assert!(size_of::<Connection>() <= 192, "a connection at rest must stay small");

/// After how much silence a connection is pinged that is given up after `idle_ms`.
pub(crate) fn ping_after_ms(idle_ms: u32) -> u32 {
    PING_AFTER_MS_MAX.min(idle_ms / 2)
}

/// A connection.
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) phase: Phase,
    /// Read, but not whole yet, or not looked at yet.
    pub(crate) rest: Vec<u8>,
    /// To be written, from `written` on.
    out: Vec<u8>,
    written: u32,
    /// When something was heard last, or since when it leaves; milliseconds on the thread's clock.
    pub(crate) heard_ms: u32,
    /// A ping was sent since.
    pub(crate) is_pinged: bool,
    /// The socket may have more to read.
    pub(crate) is_unread: bool,
    /// The other side has ended, or broken, its half: read to the end.
    pub(crate) is_ending: bool,
    /// `rest` holds whole messages that nobody has looked at.
    pub(crate) is_rest_unheard: bool,
    /// It is on the list of those to listen to.
    pub(crate) is_queued: bool,
    /// It is on the list of those to write to.
    pub(crate) is_spoken_to: bool,
}

/// Where in its life a connection is.
pub(crate) enum Phase {
    /// Wants to come in.
    Handshake,
    /// May come in, if an authorizer says so too.
    Asking(Box<Admitted>),
    /// Plays, or is at the general endpoint.
    Playing(Session),
    /// Was said goodbye; what still comes is thrown away.
    Leaving {
        /// Our half is ended: all was written.
        is_finished: bool,
    },
}

/// What is known of somebody who is connected.
pub(crate) struct Session {
    /// None only at the general endpoint.
    pub(crate) name: Option<PlayerName>,
    pub(crate) endpoint: Endpoint,
    /// Since when; milliseconds on the thread's clock.
    pub(crate) connected_ms: u32,
    /// None until they have thrown.
    pub(crate) player: Option<Player>,
    pub(crate) subprotocol: Subprotocol,
    pub(crate) inbound: Inbound,
    pub(crate) area: Option<Box<Area>>,
    /// Asked for; until it is answered nothing else of this player is listened to.
    pub(crate) asked_area: Option<Box<Area>>,
    pub(crate) allowance: Option<Arc<Allowance>>,
    /// Throws and collections without an answer.
    pub(crate) in_flight: u32,
    /// Collections without an answer: they may be long.
    pub(crate) collections: u8,
    /// They catch up: results are held until what was missed is told.
    is_resuming: bool,
    pub(crate) visit: Box<Visit>,
}

/// What is rarely looked at.
pub(crate) struct Visit {
    pub(crate) user_agent: Box<str>,
    /// What the authorizer said: the text of a JSON object.
    pub(crate) context: Option<Arc<str>>,
    /// When the token expires.
    pub(crate) expires_at: Option<Timestamp>,
    /// Messages at the general endpoint so far.
    pub(crate) messages: u64,
    /// How often they may say something there.
    pub(crate) allowance: Allowance,
    resuming: Option<Resuming>,
}

/// What ended while a player catches up.
pub(crate) struct Resuming {
    /// Everything up to here is known to them.
    pub(crate) behind: Position,
    pub(crate) held: Vec<Decision>,
    /// Of these, throws of this connection: they count as in flight.
    held_in_flight: u32,
    held_told: usize,
    /// Results that could not be held are in the journal, where they are found by catching up once more.
    pub(crate) is_overflowing: bool,
}

impl Visit {
    /// Whether the token is over, by the wall clock: the handshake judged it by the same.
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

    /// From now on results are held.
    pub(crate) fn begin_resuming(&mut self, behind: Position) {
        self.is_resuming = true;
        let (held, held_in_flight, held_told, is_overflowing) = (Vec::new(), 0, 0, false);
        self.visit.resuming = Some(Resuming { behind, held, held_in_flight, held_told, is_overflowing });
    }

    pub(crate) fn is_resuming(&self) -> bool {
        self.is_resuming
    }

    /// Holds the result of a throw of this connection, if they catch up; it stays in flight so long.
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

    /// Holds the result of a throw that came as an event, if they catch up.
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

    /// What was held; from now on nothing is.
    pub(crate) fn resumed(&mut self) -> Option<Resuming> {
        self.is_resuming = false;
        let resuming = self.visit.resuming.take()?;
        self.in_flight = self.in_flight.saturating_sub(resuming.held_in_flight);
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

    /// Bytes that wait to be written.
    #[inline]
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.out.len() - self.written as usize
    }

    /// Whether something waits to be written, here or in TLS.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting_bytes() > 0 || self.stream.is_holding()
    }

    /// Whether it is not the time to listen: a look or the authorizer is to be waited for first, or the player does
    /// not read.
    #[inline]
    pub(crate) fn is_paused(&self) -> bool {
        let is_waiting = match &self.phase {
            Phase::Playing(session) => session.asked_area.is_some(),
            Phase::Asking(_) => true,
            Phase::Handshake | Phase::Leaving { .. } => false,
        };
        is_waiting || (self.waiting_bytes() > OUT_BYTES_PAUSE && !matches!(self.phase, Phase::Leaving { .. }))
    }

    /// Whether there is something to listen to.
    #[inline]
    pub(crate) fn has_more(&self) -> bool {
        self.is_unread || self.is_rest_unheard
    }
}

/// Writes to connections, with buffers that all connections of a thread share.
pub(crate) struct Voice {
    kept: Vec<Vec<u8>>,
    message: Vec<u8>,
    flat: Writer,
    counters: Arc<Counters>,
}

impl Voice {
    pub(crate) fn new(counters: Arc<Counters>) -> Voice {
        Voice { kept: Vec::new(), message: Vec::new(), flat: Writer::default(), counters }
    }

    /// Says something to a player, at the end of this turn.
    #[inline]
    pub(crate) fn say(&mut self, connection: &mut Connection, reply: &Reply<'_>) {
        if let Some(subprotocol) = connection.subprotocol() {
            let mut out = self.open(connection);
            self.write(subprotocol, reply, &mut out);
            connection.out = out;
            count(&self.counters.messages_out, 1);
        }
    }

    /// Says what is encoded already.
    pub(crate) fn say_encoded(&mut self, connection: &mut Connection, frames: &[u8]) {
        self.say_raw(connection, frames);
        count(&self.counters.messages_out, 1);
    }

    /// Says a message that is none of the game's.
    pub(crate) fn say_frame(&mut self, connection: &mut Connection, kind: Kind, message: &[u8]) {
        let mut out = self.open(connection);
        frame::write(&mut out, kind, message);
        connection.out = out;
        count(&self.counters.messages_out, 1);
    }

    /// Says something that is not of the game: control frames, HTTP.
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

    /// Writes what waits, with one call if the kernel takes all. True: nothing waits any more.
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

    /// Keeps a buffer for others, if it is worth it.
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
