//! The way from other threads to connections. What somebody wants to do with a connection, or with all of a player, a
//! group or an area, is handed to the threads that may have them, as an order; each takes its orders in its turn, and says how many
//! connections it reached. Nobody waits for anybody: an order that finds a full queue, or a reader who is far behind, counts as
//! refused.

use super::connection::{Connection, OUT_BYTES_PAUSE, Voice};
use super::figures::CloseReason;
use super::frame::{self, Kind};
use super::presence::Presence;
use super::seats::{SeatId, Seats};
use crate::play::Reply;
use crossbeam::queue::ArrayQueue;
use fakemon_engine::Client;
use fakemon_engine::ids::Timestamp;
use fakemon_engine::model::{Decision, PlayerName};
use fakemon_engine::place::Place;
use mio::Waker;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

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
    /// Say goodbye.
    Close,
    /// Tell about it.
    Describe,
    /// Put it into a group.
    Join(Arc<str>),
    /// Take it out of a group.
    Leave(Arc<str>),
}

/// What there is to know of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Who it is.
    pub player: PlayerName,
    /// Since when.
    pub connected_at: Timestamp,
    /// When something was heard last.
    pub active_at: Timestamp,
    /// From where; none if the socket does not say any more.
    pub source: Option<SocketAddr>,
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
    /// What was asked for.
    pub description: Option<Description>,
}

type Done = Box<dyn FnOnce(Said) + Send + Sync>;

/// Groups of one connection.
const GROUPS_MAX: usize = 100;

/// Counts for all threads that have an order. The last that lets go of it tells whoever asked.
struct Tally {
    reached: AtomicU32,
    refused: AtomicU32,
    description: OnceLock<Description>,
    done: Option<Done>,
}

impl Drop for Tally {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            let (reached, refused) = (*self.reached.get_mut(), *self.refused.get_mut());
            done(Said { reached, refused, description: self.description.take() });
        }
    }
}

struct Order {
    to: To,
    errand: Errand,
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

    /// Does something with connections; `done` is called, from any thread, when it is done with all who were meant. It
    /// must not block.
    pub fn send(&self, to: To, errand: Errand, done: impl FnOnce(Said) + Send + Sync + 'static) {
        let (reached, refused) = (AtomicU32::new(0), AtomicU32::new(0));
        let tally = Arc::new(Tally { reached, refused, description: OnceLock::new(), done: Some(Box::new(done)) });
        let lines = match to {
            To::Connection(id) if id.started_s != self.started_s => &[],
            To::Connection(id) => {
                let thread = usize::from(id.thread);
                self.lines.get(thread..=thread).unwrap_or_default()
            }
            To::Player(_) | To::Group(_) | To::Around(..) => &self.lines[..],
        };
        for line in lines {
            hand_over(line, Order { to: to.clone(), errand: errand.clone(), tally: tally.clone() });
        }
    }
}

fn hand_over((line, waker): &(Arc<Line>, Arc<Waker>), order: Order) {
    if let Err(order) = line.orders.push(order) {
        order.tally.refused.fetch_add(1, Ordering::Relaxed);
        return;
    }
    if line.is_cut.load(Ordering::SeqCst) {
        line.refuse_all();
    } else if !line.is_rung.swap(true, Ordering::SeqCst) {
        let _ = waker.wake(); // a thread that is not woken looks at its next tick
    }
}

/// The end of a line: which connections the thread has, by player and by group.
pub(crate) struct Directory {
    line: Arc<Line>,
    started_s: u32,
    thread: u8,
    players: HashMap<PlayerName, Vec<SeatId>>,
    groups: HashMap<Arc<str>, Vec<SeatId>>,
    /// Of those that are in one.
    groups_of: HashMap<SeatId, Vec<Arc<str>>>,
    presence: Presence,
}

impl Directory {
    pub(crate) fn new(started_s: u32, thread: u8) -> Directory {
        let orders = ArrayQueue::new(ORDERS_MAX);
        let line = Line { orders, is_rung: AtomicBool::new(false), is_cut: AtomicBool::new(false) };
        Directory {
            line: Arc::new(line),
            started_s,
            thread,
            players: HashMap::new(),
            groups: HashMap::new(),
            groups_of: HashMap::new(),
            presence: Presence::default(),
        }
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
        remove(&mut self.players, player, seat);
        for group in self.groups_of.remove(&seat).into_iter().flatten() {
            remove(&mut self.groups, &group, seat);
        }
    }

    /// Puts a connection into a group; false if it is in too many.
    fn join(&mut self, group: &Arc<str>, seat: SeatId) -> bool {
        let groups = self.groups_of.entry(seat).or_default();
        if groups.contains(group) {
            return true;
        }
        if groups.len() >= GROUPS_MAX {
            return false;
        }
        groups.push(group.clone());
        self.groups.entry(group.clone()).or_default().push(seat);
        true
    }

    fn leave_group(&mut self, group: &Arc<str>, seat: SeatId) {
        if let Some(groups) = self.groups_of.get_mut(&seat) {
            groups.retain(|held| held != group);
            if groups.is_empty() {
                self.groups_of.remove(&seat);
            }
        }
        remove(&mut self.groups, group, seat);
    }

    /// Writes who came and who went into the journal.
    pub(crate) fn report(&mut self, client: &mut Client) {
        self.presence.write(client);
    }

    /// Whether orders wait.
    pub(crate) fn is_busy(&self) -> bool {
        !self.line.orders.is_empty()
    }

    /// Carries out the next orders; calls `spoke` with each connection that has something to be written, and returns
    /// those that are to be closed.
    pub(crate) fn carry_out(
        &mut self,
        seats: &mut Seats<Connection>,
        voice: &mut Voice,
        clock: Clock,
        mut spoke: impl FnMut(SeatId, &mut Connection),
    ) -> Vec<SeatId> {
        let mut closing = Vec::new();
        self.line.is_rung.store(false, Ordering::SeqCst);
        let mut said = 0;
        while said < ORDERS_PER_TURN {
            let Some(order) = self.line.orders.pop() else { break };
            let meant = self.meant(&order.to, seats);
            said += meant.len().max(1);
            for seat in meant {
                let Some(connection) = seats.get_mut(seat) else { continue };
                let Some(done) = self.run(&order, seat, connection, voice, clock) else { continue };
                if done {
                    order.tally.reached.fetch_add(1, Ordering::Relaxed);
                } else {
                    order.tally.refused.fetch_add(1, Ordering::Relaxed);
                }
                match &order.errand {
                    Errand::Close => closing.push(seat),
                    _ if connection.waiting_bytes() > 0 => spoke(seat, connection),
                    _ => {}
                }
            }
        }
        closing
    }

    fn meant(&self, to: &To, seats: &mut Seats<Connection>) -> Vec<SeatId> {
        match to {
            To::Connection(id) => vec![id.seat],
            To::Player(name) => self.players.get(name).cloned().unwrap_or_default(),
            To::Group(group) => self.groups.get(group).cloned().unwrap_or_default(),
            To::Around(place, radius_m) => {
                let mut all = seats.all();
                all.retain(|seat| {
                    let area = seats.get_mut(*seat).and_then(|connection| connection.area().copied());
                    area.is_some_and(|area| area.is_around(*place, *radius_m))
                });
                all
            }
        }
    }

    /// Does what an order wants with one connection; none if it does not play any more, false if it refuses.
    fn run(
        &mut self,
        order: &Order,
        seat: SeatId,
        connection: &mut Connection,
        voice: &mut Voice,
        clock: Clock,
    ) -> Option<bool> {
        connection.session()?;
        let is_behind = connection.waiting_bytes() > OUT_BYTES_PAUSE;
        match &order.errand {
            Errand::Text(_) | Errand::Binary(_) | Errand::Decided(_) if is_behind => return Some(false),
            Errand::Text(text) => say(connection, voice, Kind::Text, text.as_bytes()),
            Errand::Binary(bytes) => say(connection, voice, Kind::Binary, bytes),
            Errand::Decided(decision) => voice.say(connection, &Reply::Decided(*decision)),
            Errand::Join(group) => return Some(self.join(group, seat)),
            Errand::Leave(group) => self.leave_group(group, seat),
            Errand::Close => {}
            Errand::Describe => {
                let source = connection.stream.socket().peer_addr().ok();
                let active_at = clock.at(connection.heard_ms);
                let session = connection.session()?;
                let description = Description {
                    player: session.name.clone(),
                    connected_at: clock.at(session.connected_ms),
                    active_at,
                    source,
                    groups: self.groups_of.get(&seat).cloned().unwrap_or_default(),
                };
                let _ = order.tally.description.set(description); // only one connection is asked
            }
        }
        Some(true)
    }
}

/// The moment of a turn, on the thread's clock and on the engine's.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) now_ms: u32,
    pub(crate) now: Timestamp,
}

impl Clock {
    fn at(self, ms: u32) -> Timestamp {
        Timestamp(self.now.0.saturating_sub(u64::from(self.now_ms.wrapping_sub(ms)) * 1_000_000))
    }
}

fn remove<K: Eq + Hash>(seats: &mut HashMap<K, Vec<SeatId>>, key: &K, seat: SeatId) {
    if let Some(held) = seats.get_mut(key) {
        held.retain(|held| *held != seat);
        if held.is_empty() {
            seats.remove(key);
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.line.is_cut.store(true, Ordering::SeqCst);
        self.line.refuse_all();
    }
}

fn say(connection: &mut Connection, voice: &mut Voice, kind: Kind, message: &[u8]) {
    let mut bytes = voice.buffer();
    frame::write(&mut bytes, kind, message);
    voice.say_encoded(connection, &bytes);
    voice.keep(bytes);
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
