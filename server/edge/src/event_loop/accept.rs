//! How connections are opened: accepted, authenticated, decided by an authorizer if there is one, given a seat.

use super::{EventLoop, queue, speak};
use crate::authorizing::Verdict;
use crate::connection::stream::Stream;
use crate::connection::{Connection, Phase, Session};
use crate::figures::{CloseReason, count};
use crate::handshake::{Admitted, Endpoint, forbidden, full, no_authorizer, overloaded, undecided};
use crate::slots::SeatId;
use mio::net::TcpStream;
use mio::{Interest, Token};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Connections accepted in one turn.
const ACCEPTS: usize = 128;
/// Interval of warnings that the system accepts no more connections.
const SAY_AGAIN: Duration = Duration::from_secs(60);

impl EventLoop {
    pub(super) fn accept(&mut self) {
        for _ in 0..ACCEPTS {
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok((socket, _)) => self.welcome(socket),
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) => {
                    if error.kind() != ErrorKind::WouldBlock {
                        self.say_refused(&error);
                    }
                    self.has_callers = false;
                    return;
                }
            }
        }
    }

    /// Warns that the system accepts no more connections; accepting is retried at every tick, the warning is repeated
    /// after `SAY_AGAIN`.
    fn say_refused(&mut self, error: &io::Error) {
        if self.said_refused.is_none_or(|said| said.elapsed() > SAY_AGAIN) {
            self.said_refused = Some(Instant::now());
            tracing::warn!(%error, "cannot take in more players, and goes on trying: raise `ulimit -n`");
        }
    }

    fn welcome(&mut self, mut socket: TcpStream) {
        count(&self.counters.accepted, 1);
        if self.common.connections.fetch_add(1, Ordering::Relaxed) >= self.common.connections_max {
            let _ = io::Write::write(&mut socket, &full());
            self.turn_away(CloseReason::Full);
            return;
        }
        let _ = socket.set_nodelay(true); // else an answer waits for the TCP acknowledgement of the one before
        let registry = self.poll.registry();
        let seat = self.seats.insert(|seat| {
            let token = Token(seat.0 as usize);
            registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
            let stream = Stream::new(socket, self.common.tls.as_ref()).map_err(io::Error::other)?;
            Ok::<_, io::Error>(Connection::new(stream, self.now_ms))
        });
        if let Err(error) = seat {
            self.say_refused(&error);
            self.turn_away(CloseReason::Lost);
        }
    }

    fn turn_away(&mut self, reason: CloseReason) {
        self.counters.count_closed(reason);
        self.common.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Opens a connection with a valid handshake: at once, or after its authorizer has allowed it.
    pub(super) fn knock(&mut self, seat: SeatId, admitted: Box<Admitted>) {
        let Some(connection) = self.seats.get_mut(seat) else { return };
        let Some(authorizer) = self.common.authorizers.at(admitted.endpoint) else {
            return self.enter(seat, admitted, None);
        };
        let source_ip = connection.stream.source().map(|source| source.ip());
        if !self.common.questions.ask(self.directory.id(seat), authorizer, &admitted, source_ip) {
            return self.refuse(seat, &undecided());
        }
        connection.phase = Phase::Asking(admitted);
        connection.heard_ms = self.now_ms;
    }

    /// Applies the authorizer's decision.
    pub(super) fn admit(&mut self, seat: SeatId, verdict: Verdict) {
        let Some(connection) = self.seats.get_mut(seat) else { return };
        let mut admitted = match std::mem::replace(&mut connection.phase, Phase::Handshake) {
            Phase::Asking(admitted) => admitted,
            phase => return connection.phase = phase,
        };
        match verdict {
            Verdict::Allow { player, context } => {
                admitted.player = player.or(admitted.player);
                self.enter(seat, admitted, context);
            }
            Verdict::Deny => self.refuse(seat, &forbidden()),
            Verdict::Undecided => self.refuse(seat, &undecided()),
            Verdict::Missing => self.refuse(seat, &no_authorizer()),
        }
        if let Some(connection) = self.seats.get_mut(seat)
            && connection.has_more()
        {
            queue(&mut self.talking, seat, connection);
        }
    }

    fn refuse(&mut self, seat: SeatId, answer: &[u8]) {
        if let Some(connection) = self.seats.get_mut(seat) {
            self.voice.say_raw(connection, answer);
            self.leave(seat, CloseReason::Refused, None, "");
        }
    }

    /// Opens the connection: answers the handshake and starts its session.
    fn enter(&mut self, seat: SeatId, mut admitted: Box<Admitted>, context: Option<Arc<str>>) {
        if admitted.endpoint == Endpoint::General && !self.directory.herald.has_room() {
            return self.refuse(seat, &overloaded());
        }
        let Some(connection) = self.seats.get_mut(seat) else { return };
        self.voice.say_raw(connection, &admitted.answer(&self.directory.id(seat).to_string()));
        let source_ip = connection.stream.source().map(|source| source.ip());
        let mut session = Session::new(&admitted, context, self.now_ms);
        if let Some(player) = &session.name {
            session.player = self.referee.engine.find_player(player);
            session.allowance = self.referee.rates.as_ref().map(|rates| rates.of(player));
        }
        self.directory.enter(seat, &session, source_ip);
        connection.phase = Phase::Playing(session);
        connection.heard_ms = self.now_ms;
        speak(&mut self.spoken_to, seat, connection);
        if let Some(from) = admitted.from {
            self.resume(seat, from, true);
        }
    }
}
