//! The way from other threads to connections. What somebody wants to say to a player or on a connection is handed to
//! the threads that may have it, as an order; each takes its orders in its turn, and says how many connections it
//! reached. Nobody waits for anybody: an order that finds a full queue, or a reader who is far behind, counts as
//! refused.

use super::connection::{Connection, OUT_BYTES_PAUSE, Voice};
use super::figures::CloseReason;
use super::frame::{self, Kind};
use super::presence::Presence;
use super::seats::{SeatId, Seats};
use crate::play::Reply;
use crossbeam::queue::ArrayQueue;
use fakemon_engine::Client;
use fakemon_engine::model::{Decision, PlayerName};
use mio::Waker;
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Orders that wait for one thread.
const ORDERS_MAX: usize = 65_536;
/// Orders that one thread carries out in one turn, so that throws are not held up.
const ORDERS_PER_TURN: usize = 1_024;

/// A connection's name: the same connection for ever, over restarts too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// When its edge was started, in seconds since 1970.
    started_s: u32,
    thread: u8,
    seat: SeatId,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:08x}{:02x}{:016x}", self.started_s, self.thread, self.seat.0)
    }
}

impl FromStr for ConnectionId {
    type Err = ();

    fn from_str(text: &str) -> Result<ConnectionId, ()> {
        if text.len() != 26 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(());
        }
        let number = |part: &str| u64::from_str_radix(part, 16).map_err(|_| ());
        Ok(ConnectionId {
            started_s: u32::try_from(number(&text[..8])?).map_err(|_| ())?,
            thread: u8::try_from(number(&text[8..10])?).map_err(|_| ())?,
            seat: SeatId(number(&text[10..])?),
        })
    }
}

/// Who is meant.
#[derive(Clone, Debug)]
pub enum To {
    /// One connection.
    Connection(ConnectionId),
    /// All connections of a player.
    Player(PlayerName),
}

/// What is said.
#[derive(Clone, Debug)]
pub enum Saying {
    /// A text frame, whatever the subprotocol.
    Text(Arc<str>),
    /// How a throw ended, as the subprotocol writes it.
    Decided(Decision),
}

/// What became of an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Connections that it was said to.
    pub reached: u32,
    /// Connections that are too far behind, and threads that have too many orders.
    pub refused: u32,
}

type Done = Box<dyn FnOnce(Said) + Send + Sync>;

/// Counts for all threads that have an order. The last that lets go of it tells whoever asked.
struct Tally {
    reached: AtomicU32,
    refused: AtomicU32,
    done: Option<Done>,
}

impl Drop for Tally {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done(Said { reached: *self.reached.get_mut(), refused: *self.refused.get_mut() });
        }
    }
}

struct Order {
    to: To,
    saying: Saying,
    tally: Arc<Tally>,
}

/// The orders of one thread.
pub(crate) struct Line {
    orders: ArrayQueue<Order>,
    is_rung: AtomicBool,
    /// The thread has ended: nobody will carry out what is here.
    is_cut: AtomicBool,
}

impl Line {
    fn refuse_all(&self) {
        while let Some(order) = self.orders.pop() {
            order.tally.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Reaches every connection.
#[derive(Clone)]
pub struct Switchboard {
    started_s: u32,
    lines: Arc<[(Arc<Line>, Arc<Waker>)]>,
}

impl Switchboard {
    pub(crate) fn new(started_s: u32, lines: Vec<(Arc<Line>, Arc<Waker>)>) -> Switchboard {
        Switchboard { started_s, lines: lines.into() }
    }

    /// Says something; `done` is called, from any thread, when all who were meant were reached or not. It must not
    /// block.
    pub fn say(&self, to: To, saying: Saying, done: impl FnOnce(Said) + Send + Sync + 'static) {
        let tally =
            Arc::new(Tally { reached: AtomicU32::new(0), refused: AtomicU32::new(0), done: Some(Box::new(done)) });
        match to {
            To::Connection(id) if id.started_s != self.started_s => {}
            To::Connection(id) => {
                let line = self.lines.get(usize::from(id.thread));
                line.into_iter().for_each(|line| hand_over(line, to.clone(), saying.clone(), tally.clone()));
            }
            To::Player(_) => {
                self.lines.iter().for_each(|line| hand_over(line, to.clone(), saying.clone(), tally.clone()));
            }
        }
    }
}

fn hand_over((line, waker): &(Arc<Line>, Arc<Waker>), to: To, saying: Saying, tally: Arc<Tally>) {
    if let Err(order) = line.orders.push(Order { to, saying, tally }) {
        order.tally.refused.fetch_add(1, Ordering::Relaxed);
        return;
    }
    if line.is_cut.load(Ordering::SeqCst) {
        line.refuse_all();
    } else if !line.is_rung.swap(true, Ordering::SeqCst) {
        let _ = waker.wake(); // a thread that is not woken looks at its next tick
    }
}

/// The end of a line: which connections the thread has, by player.
pub(crate) struct Directory {
    line: Arc<Line>,
    started_s: u32,
    thread: u8,
    players: HashMap<PlayerName, Vec<SeatId>>,
    presence: Presence,
}

impl Directory {
    pub(crate) fn new(started_s: u32, thread: u8) -> Directory {
        let orders = ArrayQueue::new(ORDERS_MAX);
        let line = Line { orders, is_rung: AtomicBool::new(false), is_cut: AtomicBool::new(false) };
        Directory { line: Arc::new(line), started_s, thread, players: HashMap::new(), presence: Presence::default() }
    }

    pub(crate) fn line(&self) -> Arc<Line> {
        self.line.clone()
    }

    fn id(&self, seat: SeatId) -> ConnectionId {
        ConnectionId { started_s: self.started_s, thread: self.thread, seat }
    }

    /// A player is there.
    pub(crate) fn enter(&mut self, player: &PlayerName, seat: SeatId) {
        self.presence.connected(&self.id(seat).to_string(), player);
        self.players.entry(player.clone()).or_default().push(seat);
    }

    /// A connection of a player is not there any more.
    pub(crate) fn leave(&mut self, player: &PlayerName, seat: SeatId, reason: CloseReason) {
        self.presence.disconnected(&self.id(seat).to_string(), player, reason);
        if let Some(seats) = self.players.get_mut(player) {
            seats.retain(|held| *held != seat);
            if seats.is_empty() {
                self.players.remove(player);
            }
        }
    }

    /// Writes who came and who went into the journal.
    pub(crate) fn report(&mut self, client: &mut Client) {
        self.presence.write(client);
    }

    /// Whether orders wait.
    pub(crate) fn is_busy(&self) -> bool {
        !self.line.orders.is_empty()
    }

    /// Carries out the next orders; calls `spoke` with each connection that has something to be written.
    pub(crate) fn carry_out(
        &mut self,
        seats: &mut Seats<Connection>,
        voice: &mut Voice,
        mut spoke: impl FnMut(SeatId, &mut Connection),
    ) {
        self.line.is_rung.store(false, Ordering::SeqCst);
        for _ in 0..ORDERS_PER_TURN {
            let Some(Order { to, saying, tally }) = self.line.orders.pop() else { break };
            let meant = match &to {
                To::Connection(id) => std::slice::from_ref(&id.seat),
                To::Player(name) => self.players.get(name).map_or(&[][..], Vec::as_slice),
            };
            for seat in meant {
                let Some(connection) = seats.get_mut(*seat) else { continue };
                if connection.session().is_none() {
                    continue;
                }
                if connection.waiting_bytes() > OUT_BYTES_PAUSE {
                    tally.refused.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                say(connection, voice, &saying);
                spoke(*seat, connection);
                tally.reached.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.line.is_cut.store(true, Ordering::SeqCst);
        self.line.refuse_all();
    }
}

fn say(connection: &mut Connection, voice: &mut Voice, saying: &Saying) {
    match saying {
        Saying::Decided(decision) => voice.say(connection, &Reply::Decided(*decision)),
        Saying::Text(text) => {
            let mut bytes = voice.buffer();
            frame::write(&mut bytes, Kind::Text, text.as_bytes());
            voice.say_encoded(connection, &bytes);
            voice.keep(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_id_is_read_as_it_is_written() {
        let id = ConnectionId { started_s: 1_790_000_000, thread: 3, seat: SeatId(7 << 32 | 42) };
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "x", &"0".repeat(25), &"g".repeat(26), &"é".repeat(13), &"A".repeat(26)] {
            assert_eq!(wrong.parse::<ConnectionId>(), Err(()), "{wrong}");
        }
    }
}
