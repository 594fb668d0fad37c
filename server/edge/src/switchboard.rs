//! The way from other threads to connections. What somebody wants to do with a connection, or with all of a player, a
//! group or an area, is handed to the threads that may have them, as an order; each takes its orders in its turn, and
//! says how many connections it reached. Nobody waits for anybody: an order that finds a full queue, or a reader who
//! is far behind, counts as refused.

use super::authorizing::Verdict;
use super::handshake::Endpoint;
use super::seats::SeatId;
use crossbeam::queue::ArrayQueue;
use fakemon_model::event::{Decision, PlayerName};
use fakemon_model::ids::{Position, Timestamp};
use fakemon_model::place::Place;
use mio::Waker;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Orders that wait for one thread.
const ORDERS_MAX: usize = 65_536;
/// Letters of one order whose fate is told one by one.
const UNDELIVERED_MAX: usize = 1_000;

/// A connection's name: the same connection for ever, over restarts too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// When its edge was started, in seconds since 1970.
    started_s: u32,
    thread: u8,
    pub(crate) seat: SeatId,
}

/// The names that one thread gives.
#[derive(Clone, Copy)]
pub(crate) struct Names {
    pub(crate) started_s: u32,
    pub(crate) thread: u8,
}

impl Names {
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

/// Who is meant.
#[derive(Clone, Debug)]
pub enum To {
    /// One connection.
    Connection(ConnectionId),
    /// All connections of a player.
    Player(PlayerName),
    /// All connections that were put into a group.
    Group(Arc<str>),
    /// All connections that look at an area whose centre lies within so many metres of a place.
    Around(Place, f64),
}

/// What is to be done with connections.
#[derive(Clone, Debug)]
pub enum Errand {
    /// Say it in a text frame, whatever the subprotocol.
    Text(Arc<str>),
    /// Say it in a binary frame, whatever the subprotocol.
    Binary(Arc<[u8]>),
    /// Say how a throw ended, as the subprotocol writes it.
    Decided(Decision),
    /// Say how throws ended that the player missed.
    Missed(Arc<[Decision]>),
    /// Say that nothing is missed any more, up to a position.
    Resumed {
        /// The last position before which all is told.
        position: Position,
        /// Whether the journal still had all of it.
        is_complete: bool,
    },
    /// Read what they have sent so far; done when it is read.
    Fence,
    /// Let them in, or do not: of a connection that waits for an authorizer.
    Admit(Verdict),
    /// Say goodbye.
    Close,
    /// Tell about it.
    Describe,
    /// Put it into a group.
    Join(Arc<str>),
    /// Take it out of a group.
    Leave(Arc<str>),
}

/// A message for one connection, among many that are handed over at once.
#[derive(Clone, Debug)]
pub struct Letter {
    /// For whom.
    pub connection: ConnectionId,
    /// In a text frame, or in a binary one.
    pub is_text: bool,
    /// Where it stands.
    pub range: Range<usize>,
}

/// What there is to know of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Where it is connected.
    pub endpoint: Endpoint,
    /// Who it is, if that is known.
    pub player: Option<PlayerName>,
    /// Since when.
    pub connected_at: Timestamp,
    /// When something was heard last.
    pub active_at: Timestamp,
    /// From where; none if the socket does not say any more.
    pub source: Option<SocketAddr>,
    /// What its client says it is.
    pub user_agent: Box<str>,
    /// What its authorizer said of it: the text of a JSON object.
    pub context: Option<Arc<str>>,
    /// Its groups.
    pub groups: Vec<Arc<str>>,
}

/// What became of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Connections that it was done with.
    pub reached: u32,
    /// Connections that are too far behind or in too many groups, and threads that have too many orders.
    pub refused: u32,
    /// Of letters: connections that are not there any more.
    pub gone: u32,
    /// Of letters: the first that were refused, or for connections that are gone.
    pub undelivered: Vec<Undelivered>,
    /// What was asked for.
    pub description: Option<Description>,
}

/// A letter that did not reach its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// Which of the letters.
    pub index: u32,
    /// The connection is not there any more; else it can be tried again.
    pub is_gone: bool,
}

type Done = Box<dyn FnOnce(Said) + Send + Sync>;

/// Counts for all threads that have an order. The last that lets go of it tells whoever asked.
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

    /// Counts a letter; none: its connection is gone.
    pub(crate) fn count_letter(&self, index: u32, done: Option<bool>) {
        match done {
            Some(true) => return self.count(true),
            Some(false) => self.count(false),
            None => drop(self.gone.fetch_add(1, Ordering::Relaxed)),
        }
        let mut undelivered = self.undelivered.lock().unwrap_or_else(PoisonError::into_inner);
        if undelivered.len() < UNDELIVERED_MAX {
            undelivered.push(Undelivered { index, is_gone: done.is_none() });
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            let mut undelivered = std::mem::take(self.undelivered.get_mut().unwrap_or_else(PoisonError::into_inner));
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

/// What one thread is to do.
pub(crate) struct Order {
    pub(crate) what: What,
    pub(crate) tally: Arc<Tally>,
}

pub(crate) enum What {
    /// The same with all who are meant.
    Errand(To, Errand),
    /// Letters for connections of this thread, each with its number.
    Letters(Arc<[u8]>, Vec<(u32, Letter)>),
}

impl Order {
    fn refuse(&self) {
        match &self.what {
            What::Errand(..) => self.tally.count(false),
            What::Letters(_, letters) => {
                letters.iter().for_each(|(index, _)| self.tally.count_letter(*index, Some(false)));
            }
        }
    }
}

/// The orders of one thread.
pub(crate) struct Line {
    pub(crate) orders: ArrayQueue<Order>,
    pub(crate) is_rung: AtomicBool,
    /// The thread has ended: nobody will carry out what is here.
    pub(crate) is_cut: AtomicBool,
}

impl Line {
    pub(crate) fn new() -> Line {
        let orders = ArrayQueue::new(ORDERS_MAX);
        Line { orders, is_rung: AtomicBool::new(false), is_cut: AtomicBool::new(false) }
    }

    pub(crate) fn refuse_all(&self) {
        while let Some(order) = self.orders.pop() {
            order.refuse();
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

    /// Does something with connections; `done` is called, from any thread, when it is done with all who were meant.
    /// It must not block.
    pub fn send(&self, to: To, errand: Errand, done: impl FnOnce(Said) + Send + Sync + 'static) {
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
            hand_over(line, Order { what: What::Errand(to.clone(), errand.clone()), tally: tally.clone() });
        }
    }

    /// Hands over many messages at once, each for one connection; `done` as with [`send`](Self::send). Messages for
    /// one connection stay in their order.
    pub fn send_letters(
        &self,
        text: Arc<[u8]>,
        letters: Vec<Letter>,
        done: impl FnOnce(Said) + Send + Sync + 'static,
    ) {
        let tally = Tally::new(done);
        let mut by_thread: Vec<Vec<(u32, Letter)>> = self.lines.iter().map(|_| Vec::new()).collect();
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

fn hand_over((line, waker): &(Arc<Line>, Arc<Waker>), order: Order) {
    if let Err(order) = line.orders.push(order) {
        return order.refuse();
    }
    if line.is_cut.load(Ordering::SeqCst) {
        line.refuse_all();
    } else if !line.is_rung.swap(true, Ordering::SeqCst) {
        let _ = waker.wake(); // a thread that is not woken looks at its next tick
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
