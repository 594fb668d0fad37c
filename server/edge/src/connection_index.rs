//! A thread's connections, indexed by player and group, and the commands it runs on them.

use super::authorizing::Verdict;
use super::connection::{Connection, FrameWriter, OUT_BYTES_PAUSE, Phase, Session};
use super::figures::CloseReason;
use crate::connection::frame::Kind;
use crate::connection_events::ConnectionEvents;
use crate::connections::{
    CommandQueue, ConnectionCommand, ConnectionId, ConnectionIds, Description, Order, Tally, To, What,
};
use crate::slots::{SeatId, Slots};
use fakemon_model::event::PlayerName;
use fakemon_model::ids::{Position, Timestamp};
use fakemon_protocol::Reply;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Connections that commands touch in one turn, so that attempts are not delayed.
const CONNECTIONS_PER_TURN: usize = 256;
/// Groups that one connection may be in.
const GROUPS_MAX: usize = 100;

/// The connections of one thread.
pub(crate) struct ConnectionIndex {
    line: Arc<CommandQueue>,
    names: ConnectionIds,
    players: HashMap<PlayerName, Vec<SeatId>>,
    groups: HashMap<Arc<str>, Vec<SeatId>>,
    /// Only connections that are in a group.
    groups_of: HashMap<SeatId, Vec<Arc<str>>>,
    /// A command that takes more than one turn.
    current: Option<Underway>,
    pub(crate) herald: ConnectionEvents,
}

struct Underway {
    order: Order,
    /// Of an errand: the connections that it is for.
    meant: Vec<SeatId>,
    next: usize,
}

impl Underway {
    fn len(&self) -> usize {
        match &self.order.what {
            What::ConnectionCommand(..) => self.meant.len(),
            What::Letters(_, letters) => letters.len(),
        }
    }
}

/// The part of a command that needs the whole thread.
pub(crate) enum Deed {
    /// Close the connection.
    Close(SeatId),
    /// Accept or reject the connection.
    Admit(SeatId, Verdict),
    /// Read what the connection has sent, then drop the tally.
    Fence(SeatId, Arc<Tally>),
    /// Catch up again from this position: more results came than could be held. The flag: nothing was missing so far.
    ResumeAgain(SeatId, Position, bool),
}

/// The moment of a turn, on the thread's clock and on the wall.
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

impl ConnectionIndex {
    pub(crate) fn new(names: ConnectionIds) -> ConnectionIndex {
        ConnectionIndex {
            line: Arc::new(CommandQueue::new()),
            names,
            players: HashMap::new(),
            groups: HashMap::new(),
            groups_of: HashMap::new(),
            current: None,
            herald: ConnectionEvents::default(),
        }
    }

    pub(crate) fn line(&self) -> Arc<CommandQueue> {
        self.line.clone()
    }

    pub(crate) fn id(&self, seat: SeatId) -> ConnectionId {
        self.names.of(seat)
    }

    /// A connection was opened.
    pub(crate) fn enter(&mut self, seat: SeatId, session: &Session, source_ip: Option<IpAddr>) {
        self.herald.connected(self.names.of(seat), session, source_ip);
        if let Some(player) = &session.name {
            self.players.entry(player.clone()).or_default().push(seat);
        }
    }

    /// A connection was closed.
    pub(crate) fn leave(&mut self, seat: SeatId, session: &Session, reason: CloseReason) {
        self.herald.disconnected(self.names.of(seat), session, reason);
        if let Some(player) = &session.name {
            remove(&mut self.players, player, seat);
        }
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

    /// Whether commands wait.
    pub(crate) fn is_busy(&self) -> bool {
        self.current.is_some() || !self.line.orders.is_empty()
    }

    /// Runs the next commands; calls `spoke` for each connection with output to write, and returns what the thread
    /// has to do itself.
    pub(crate) fn carry_out(
        &mut self,
        seats: &mut Slots<Connection>,
        voice: &mut FrameWriter,
        clock: Clock,
        mut spoke: impl FnMut(SeatId, &mut Connection),
    ) -> Vec<Deed> {
        let mut deeds = Vec::new();
        self.line.is_rung.store(false, Ordering::SeqCst);
        let mut left = CONNECTIONS_PER_TURN;
        while left > 0 {
            let Some(mut underway) = self.current.take().or_else(|| self.next_order(seats)) else { break };
            let end = underway.len().min(underway.next + left);
            left -= (end - underway.next).max(1);
            for index in underway.next..end {
                let seat = match &underway.order.what {
                    What::ConnectionCommand(_, errand) => {
                        let seat = underway.meant[index];
                        self.run(&underway.order, errand, seat, (&mut *seats, voice), clock, &mut deeds);
                        seat
                    }
                    What::Letters(text, letters) => {
                        let (number, letter) = &letters[index];
                        let seat = letter.connection.seat;
                        let connection = seats.get_mut(seat);
                        let kind = if letter.is_text { Kind::Text } else { Kind::Binary };
                        let said = connection
                            .and_then(|connection| say(connection, voice, kind, &text[letter.range.clone()]));
                        underway.order.tally.count_letter(*number, said);
                        seat
                    }
                };
                if let Some(connection) = seats.get_mut(seat)
                    && connection.waiting_bytes() > 0
                {
                    spoke(seat, connection);
                }
            }
            underway.next = end;
            if underway.next < underway.len() {
                self.current = Some(underway);
            }
        }
        deeds
    }

    fn next_order(&self, seats: &mut Slots<Connection>) -> Option<Underway> {
        let order = self.line.orders.pop()?;
        let meant = match &order.what {
            What::ConnectionCommand(to, _) => self.meant(to, seats),
            What::Letters(..) => Vec::new(),
        };
        Some(Underway { order, meant, next: 0 })
    }

    fn meant(&self, to: &To, seats: &mut Slots<Connection>) -> Vec<SeatId> {
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

    /// Runs a command on one connection, and counts the outcome.
    fn run(
        &mut self,
        order: &Order,
        errand: &ConnectionCommand,
        seat: SeatId,
        (seats, voice): (&mut Slots<Connection>, &mut FrameWriter),
        clock: Clock,
        deeds: &mut Vec<Deed>,
    ) {
        let Some(connection) = seats.get_mut(seat) else { return };
        let done = match errand {
            ConnectionCommand::Admit(verdict) if matches!(connection.phase, Phase::Asking(_)) => {
                deeds.push(Deed::Admit(seat, verdict.clone()));
                Some(true)
            }
            ConnectionCommand::Fence => {
                deeds.push(Deed::Fence(seat, order.tally.clone()));
                Some(true)
            }
            ConnectionCommand::Close if connection.session().is_some() => {
                deeds.push(Deed::Close(seat));
                Some(true)
            }
            ConnectionCommand::Resumed { position, is_complete } => {
                resume(seat, connection, voice, (*position, *is_complete), deeds)
            }
            ConnectionCommand::Describe => self.describe(seat, connection, clock).map(|description| {
                let _ = order.tally.description.set(description); // only one connection is asked
                true
            }),
            errand => self.talk(errand, seat, connection, voice),
        };
        if let Some(done) = done {
            order.tally.count(done);
        }
    }

    /// Runs a command that needs nothing but the connection; none if it is not open, false if it refuses.
    fn talk(
        &mut self,
        errand: &ConnectionCommand,
        seat: SeatId,
        connection: &mut Connection,
        voice: &mut FrameWriter,
    ) -> Option<bool> {
        let is_behind = connection.waiting_bytes() > OUT_BYTES_PAUSE;
        let session = connection.session()?;
        match errand {
            ConnectionCommand::Text(text) => return say(connection, voice, Kind::Text, text.as_bytes()),
            ConnectionCommand::Binary(bytes) => return say(connection, voice, Kind::Binary, bytes),
            ConnectionCommand::Decided(_) | ConnectionCommand::Missed(_) if is_behind => return Some(false),
            ConnectionCommand::Decided(decision) => {
                if !session.hold_told(*decision) {
                    voice.say(connection, &Reply::Decided(*decision));
                }
            }
            ConnectionCommand::Missed(decisions) => {
                decisions.iter().for_each(|decision| voice.say(connection, &Reply::Decided(*decision)));
            }
            ConnectionCommand::Join(group) => return Some(self.join(group, seat)),
            ConnectionCommand::Leave(group) => self.leave_group(group, seat),
            ConnectionCommand::Close
            | ConnectionCommand::Describe
            | ConnectionCommand::Admit(_)
            | ConnectionCommand::Fence
            | ConnectionCommand::Resumed { .. } => {
                return None;
            }
        }
        Some(true)
    }

    fn describe(&self, seat: SeatId, connection: &mut Connection, clock: Clock) -> Option<Description> {
        let source = connection.stream.source();
        let active_at = clock.at(connection.heard_ms);
        let session = connection.session()?;
        Some(Description {
            endpoint: session.endpoint,
            player: session.name.clone(),
            connected_at: clock.at(session.connected_ms),
            active_at,
            source,
            user_agent: session.visit.user_agent.clone(),
            context: session.visit.context.clone(),
            groups: self.groups_of.get(&seat).cloned().unwrap_or_default(),
        })
    }
}

/// Ends a catch-up: sends the results held meanwhile, then continues live.
fn resume(
    seat: SeatId,
    connection: &mut Connection,
    voice: &mut FrameWriter,
    (position, complete): (Position, bool),
    deeds: &mut Vec<Deed>,
) -> Option<bool> {
    if connection.waiting_bytes() > OUT_BYTES_PAUSE {
        return connection.session().map(|_| false);
    }
    let resuming = connection.session()?.resumed()?;
    let (mut later, earlier): (Vec<_>, Vec<_>) =
        resuming.held.into_iter().partition(|decision| decision.position > position);
    // Retried attempts whose position lies before the one that the player resumed from.
    for decision in earlier.iter().filter(|decision| decision.position <= resuming.behind) {
        voice.say(connection, &Reply::Decided(*decision));
    }
    if resuming.is_overflowing {
        deeds.push(Deed::ResumeAgain(seat, position, complete));
        return Some(true);
    }
    later.sort_unstable_by_key(|decision| decision.position);
    voice.say(connection, &Reply::Resumed { position, complete });
    for decision in later {
        voice.say(connection, &Reply::Decided(decision));
    }
    Some(true)
}

/// Sends a message whatever the subprotocol; none if the connection is not open, false if too much waits.
fn say(connection: &mut Connection, voice: &mut FrameWriter, kind: Kind, message: &[u8]) -> Option<bool> {
    connection.session()?;
    if connection.waiting_bytes() > OUT_BYTES_PAUSE {
        return Some(false);
    }
    voice.say_frame(connection, kind, message);
    Some(true)
}

fn remove<K: Eq + Hash>(seats: &mut HashMap<K, Vec<SeatId>>, key: &K, seat: SeatId) {
    if let Some(held) = seats.get_mut(key) {
        held.retain(|held| *held != seat);
        if held.is_empty() {
            seats.remove(key);
        }
    }
}

impl Drop for ConnectionIndex {
    fn drop(&mut self) {
        // Cut before the drain: a sender that pushes later sees it, and refuses its own order.
        self.line.is_cut.store(true, Ordering::SeqCst);
        self.line.refuse_all();
    }
}
