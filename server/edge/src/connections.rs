//! Commands from other threads to connections. A command for one connection, or for all of a player, a group or an
//! area, is queued to the threads that may have them, as an order; each thread runs its orders in its turn, and
//! reports how many connections it reached. No thread waits for another: an order that finds a full queue, or a
//! connection that is far behind, counts as refused.

use super::authorizing::Verdict;
use super::handshake::Endpoint;
use crate::slots::SeatId;
use crossbeam::queue::ArrayQueue;
use fakemon_model::event::{Decision, PlayerName};
use fakemon_model::ids::{Position, Timestamp};
use fakemon_model::place::Place;
use mio::Waker;
use parking_lot::Mutex;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// Orders that may wait for one thread.
const ORDERS_MAX: usize = 65_536;
/// Undelivered letters of one order that are listed one by one; more are only counted.
const UNDELIVERED_MAX: usize = 1_000;

/// Id of a connection; unique over restarts too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// When its edge was started, in seconds since 1970.
    started_s: u32,
    thread: u8,
    pub(crate) seat: SeatId,
}

/// Makes the connection ids of one thread.
#[derive(Clone, Copy)]
pub(crate) struct ConnectionIds {
    pub(crate) started_s: u32,
    pub(crate) thread: u8,
}

impl ConnectionIds {
    pub(crate) fn of(self, seat: SeatId) -> ConnectionId {
        ConnectionId { started_s: self.started_s, thread: self.thread, seat }
    }
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

/// The connections that an errand is for.
#[derive(Clone, Debug)]
pub enum To {
    /// One connection.
    Connection(ConnectionId),
    /// All connections of a player.
    Player(PlayerName),
    /// All connections that were put into a group.
    Group(Arc<str>),
    /// All connections that watch an area whose centre lies within this many metres of a place.
    Around(Place, f64),
}

/// A command for connections.
#[derive(Clone, Debug)]
pub enum ConnectionCommand {
    /// Send a text frame, whatever the subprotocol.
    Text(Arc<str>),
    /// Send a binary frame, whatever the subprotocol.
    Binary(Arc<[u8]>),
    /// Send the result of an attempt, encoded by the subprotocol.
    Decided(Decision),
    /// Send results of attempts that the player missed.
    Missed(Arc<[Decision]>),
    /// End a catch-up: all results up to a position were sent.
    Resumed {
        /// The position up to which all results were sent.
        position: Position,
        /// Whether the journal still had all of them.
        is_complete: bool,
    },
    /// Read what the clients have sent so far; done when it is read.
    Fence,
    /// Accept or reject a connection that waits for an authorizer.
    Admit(Verdict),
    /// Close the connection.
    Close,
    /// Report its [`Description`].
    Describe,
    /// Add it to a group.
    Join(Arc<str>),
    /// Remove it from a group.
    Leave(Arc<str>),
}

/// A message for one connection, among many that are handed over at once.
#[derive(Clone, Debug)]
pub struct OutgoingMessage {
    /// The connection that it is for.
    pub connection: ConnectionId,
    /// Sent in a text frame, else in a binary one.
    pub is_text: bool,
    /// Its bytes, in the buffer of all letters.
    pub range: Range<usize>,
}

/// Public facts of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its endpoint.
    pub endpoint: Endpoint,
    /// Its player, if known.
    pub player: Option<PlayerName>,
    /// When it was opened.
    pub connected_at: Timestamp,
    /// When its last bytes came.
    pub active_at: Timestamp,
    /// The client's address; none if the socket is closed.
    pub source: Option<SocketAddr>,
    /// The client's user agent.
    pub user_agent: Box<str>,
    /// Data from its authorizer: the text of a JSON object.
    pub context: Option<Arc<str>>,
    /// Its groups.
    pub groups: Vec<Arc<str>>,
}

/// Outcome of an order, over all threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Connections that it was carried out on.
    pub reached: u32,
    /// Connections that are too far behind or in too many groups, and threads whose queue is full.
    pub refused: u32,
    /// Of letters: connections that are closed.
    pub gone: u32,
    /// Of letters: the first 1,000 that were refused, or whose connection is closed.
    pub undelivered: Vec<Undelivered>,
    /// Answer to `Describe`.
    pub description: Option<Description>,
}

/// A letter that did not reach its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// Index of the letter in the order.
    pub index: u32,
    /// The connection is closed; if false, the letter can be retried.
    pub is_gone: bool,
}

type Done = Box<dyn FnOnce(Said) + Send + Sync>;

/// Outcome of an order, counted by all threads that have it. Dropped by the last of them, it calls `done`, so the
/// counters need no ordering of their own.
pub(crate) struct Tally {
    reached: AtomicU32,
    refused: AtomicU32,
    gone: AtomicU32,
    undelivered: Mutex<Vec<Undelivered>>,
    pub(crate) description: OnceLock<Description>,
    done: Option<Done>,
}

impl Tally {
    fn new(done: impl FnOnce(Said) + Send + Sync + 'static) -> Arc<Tally> {
        Arc::new(Tally {
            reached: AtomicU32::new(0),
            refused: AtomicU32::new(0),
            gone: AtomicU32::new(0),
            undelivered: Mutex::default(),
            description: OnceLock::new(),
            done: Some(Box::new(done)),
        })
    }

    pub(crate) fn count(&self, done: bool) {
        let counter = if done { &self.reached } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a letter; `done` is none if its connection is closed.
    pub(crate) fn count_letter(&self, index: u32, done: Option<bool>) {
        match done {
            Some(true) => return self.count(true),
            Some(false) => self.count(false),
            None => drop(self.gone.fetch_add(1, Ordering::Relaxed)),
        }
        let mut undelivered = self.undelivered.lock();
        if undelivered.len() < UNDELIVERED_MAX {
            undelivered.push(Undelivered { index, is_gone: done.is_none() });
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            let mut undelivered = std::mem::take(self.undelivered.get_mut());
            undelivered.sort_unstable_by_key(|letter| letter.index);
            done(Said {
                reached: *self.reached.get_mut(),
                refused: *self.refused.get_mut(),
                gone: *self.gone.get_mut(),
                undelivered,
                description: self.description.take(),
            });
        }
    }
}

/// An errand or letters for one thread.
pub(crate) struct Order {
    pub(crate) what: What,
    pub(crate) tally: Arc<Tally>,
}

pub(crate) enum What {
    /// One errand for all connections that it is for.
    ConnectionCommand(To, ConnectionCommand),
    /// Letters for connections of this thread, each with its index.
    Letters(Arc<[u8]>, Vec<(u32, OutgoingMessage)>),
}

impl Order {
    fn refuse(&self) {
        match &self.what {
            What::ConnectionCommand(..) => self.tally.count(false),
            What::Letters(_, letters) => {
                letters.iter().for_each(|(index, _)| self.tally.count_letter(*index, Some(false)));
            }
        }
    }
}

/// The orders of one thread.
pub(crate) struct CommandQueue {
    pub(crate) orders: ArrayQueue<Order>,
    /// The thread was woken. It clears this before it pops orders, so that a later push wakes it again.
    pub(crate) is_rung: AtomicBool,
    /// The thread has ended: orders here will not run. `SeqCst`: a sender pushes, then reads it; the thread sets it,
    /// then drains; one of the two sees the other's step, so no order is left behind.
    pub(crate) is_cut: AtomicBool,
}

impl CommandQueue {
    pub(crate) fn new() -> CommandQueue {
        let orders = ArrayQueue::new(ORDERS_MAX);
        CommandQueue { orders, is_rung: AtomicBool::new(false), is_cut: AtomicBool::new(false) }
    }

    pub(crate) fn refuse_all(&self) {
        while let Some(order) = self.orders.pop() {
            order.refuse();
        }
    }
}

/// Sends commands to all connections of the edge.
#[derive(Clone)]
pub struct Connections {
    started_s: u32,
    lines: Arc<[(Arc<CommandQueue>, Arc<Waker>)]>,
}

impl Connections {
    pub(crate) fn new(started_s: u32, lines: Vec<(Arc<CommandQueue>, Arc<Waker>)>) -> Connections {
        Connections { started_s, lines: lines.into() }
    }

    /// Runs an errand on connections; `done` is called, from any thread, when it has run on all of them. `done` must
    /// not block.
    pub fn send(&self, to: To, errand: ConnectionCommand, done: impl FnOnce(Said) + Send + Sync + 'static) {
        let tally = Tally::new(done);
        let lines = match to {
            To::Connection(id) if id.started_s != self.started_s => &[],
            To::Connection(id) => {
                let thread = usize::from(id.thread);
                self.lines.get(thread..=thread).unwrap_or_default()
            }
            To::Player(_) | To::Group(_) | To::Around(..) => &self.lines[..],
        };
        for line in lines {
            hand_over(
                line,
                Order { what: What::ConnectionCommand(to.clone(), errand.clone()), tally: tally.clone() },
            );
        }
    }

    /// Hands over many messages at once, each for one connection; `done` as with [`send`](Self::send). Messages for
    /// one connection stay in their order.
    pub fn send_letters(
        &self,
        text: Arc<[u8]>,
        letters: Vec<OutgoingMessage>,
        done: impl FnOnce(Said) + Send + Sync + 'static,
    ) {
        let tally = Tally::new(done);
        let mut by_thread: Vec<Vec<(u32, OutgoingMessage)>> = self.lines.iter().map(|_| Vec::new()).collect();
        for (index, letter) in (0..).zip(letters) {
            let thread = usize::from(letter.connection.thread);
            match by_thread.get_mut(thread).filter(|_| letter.connection.started_s == self.started_s) {
                Some(letters) => letters.push((index, letter)),
                None => tally.count_letter(index, None),
            }
        }
        for (line, letters) in self.lines.iter().zip(by_thread) {
            if !letters.is_empty() {
                hand_over(line, Order { what: What::Letters(text.clone(), letters), tally: tally.clone() });
            }
        }
    }
}

fn hand_over((line, waker): &(Arc<CommandQueue>, Arc<Waker>), order: Order) {
    if let Err(order) = line.orders.push(order) {
        return order.refuse();
    }
    if line.is_cut.load(Ordering::SeqCst) {
        line.refuse_all();
    } else if !line.is_rung.swap(true, Ordering::SeqCst) {
        let _ = waker.wake(); // a thread that is not woken checks at its next tick
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
