//! One edge thread: a listener, a poll, one large buffer, one client of the engine. It runs in turns: read all
//! connections with input, hand the attempts to the engine, take its answers, write once to each connection with
//! output.

mod accept;

use super::areas::Areas;
use super::authorizing::{Authorizers, Questions, Verdict};
use super::connection::{Connection, FrameWriter, OUT_BYTES_MAX, Phase, ping_after_ms};
use super::figures::{CloseReason, Counters, count};
use super::general::General;
use super::handshake::{Endpoint, HANDSHAKE_BYTES_MAX, Handshake, HandshakePolicy};
use crate::connection::frame::{CloseCode, Violation};
use crate::connection::inbound::Heard;
use crate::connection_index::{Clock, ConnectionIndex, Deed};
use crate::connections::Tally;
use crate::requests::Requests;
use crate::slots::{SeatId, Slots};
use fakemon_engine::wall_clock;
use fakemon_model::ids::Position;
use fakemon_protocol::{Reply, Subprotocol, flat, json};
use fakemon_sync::pulse;
use mio::net::TcpListener;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rustls::ServerConfig;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const LISTENER: Token = Token(usize::MAX);
const ENGINE: Token = Token(usize::MAX - 1);
const WAKER: Token = Token(usize::MAX - 2);
const EVENTS: usize = 1024;
/// Bytes read from one connection in one turn: the rest waits until the others were read.
const READ_BYTES: usize = 64 * 1024;
/// Looks answered in one turn: each takes as long as some hundred attempts.
const LOOKS: usize = 16;
/// After HTTP's 401, in the range of close codes that is free for applications.
const EXPIRED: CloseCode = CloseCode::Library(4401);
const EXPIRED_TEXT: &str = "the token has expired: connect again with a new one";
/// How long a client may take to close its half after our close frame.
const LEAVE_MS: u32 = 2_000;
/// Longest wait for answers in flight when the edge stops.
const DRAIN: Duration = Duration::from_secs(5);

/// What all edge threads share.
pub(crate) struct Common {
    pub(crate) gate: HandshakePolicy,
    pub(crate) general: General,
    pub(crate) authorizers: Authorizers,
    pub(crate) questions: Questions,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) message_bytes_max: usize,
    pub(crate) idle_ms: u32,
    pub(crate) handshake_ms: u32,
    pub(crate) tick: Duration,
    pub(crate) connections_max: usize,
    /// Open connections of all threads. Relaxed: a bound that guards no other data.
    pub(crate) connections: AtomicUsize,
    pub(crate) is_stopping: AtomicBool,
}

impl Common {
    /// Bytes kept of one connection: a handshake or a message that is not whole yet.
    fn rest_bytes_max(&self) -> usize {
        HANDSHAKE_BYTES_MAX.max(self.message_bytes_max).max(self.general.message_bytes_max)
    }
}

/// One edge thread.
pub(crate) struct EventLoop {
    common: Arc<Common>,
    counters: Arc<Counters>,
    poll: Poll,
    listener: Option<TcpListener>,
    seats: Slots<Connection>,
    buffer: Vec<u8>,
    voice: FrameWriter,
    referee: Requests,
    areas: Areas,
    directory: ConnectionIndex,
    /// Connections to be read.
    talking: Vec<SeatId>,
    /// Connections to be written.
    spoken_to: Vec<SeatId>,
    looking: VecDeque<SeatId>,
    /// Tallies to drop once the input of these connections is read.
    fences: Vec<(SeatId, Arc<Tally>)>,
    has_callers: bool,
    /// When it was last logged that the system accepts no more connections.
    said_refused: Option<Instant>,
    started: Instant,
    now_ms: u32,
    next_tick: Instant,
    next_inspected: usize,
}

impl EventLoop {
    pub(crate) fn new(
        common: Arc<Common>,
        listener: TcpListener,
        referee: Requests,
        directory: ConnectionIndex,
    ) -> io::Result<(EventLoop, Waker)> {
        let poll = Poll::new()?;
        let mut listener = listener;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let descriptor = referee.client.as_fd().as_raw_fd();
        poll.registry().register(&mut SourceFd(&descriptor), ENGINE, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let counters = referee.counters.clone();
        let turn = EventLoop {
            poll,
            listener: Some(listener),
            seats: Slots::since(referee.engine.now()),
            buffer: vec![0; READ_BYTES + common.rest_bytes_max() + 64],
            voice: FrameWriter::new(counters.clone()),
            areas: Areas::new(referee.engine.subscribe()),
            referee,
            directory,
            talking: Vec::new(),
            spoken_to: Vec::new(),
            looking: VecDeque::new(),
            fences: Vec::new(),
            has_callers: false,
            said_refused: None,
            started: Instant::now(),
            now_ms: 0,
            next_tick: Instant::now(),
            next_inspected: 0,
            common,
            counters,
        };
        Ok((turn, waker))
    }

    /// Runs until the edge is stopped, and all connections are closed.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        while !self.common.is_stopping.load(Ordering::Acquire) {
            self.wait(&mut events);
            self.listen();
            self.finish_turn();
        }
        self.listener = None;
        self.drain(&mut events);
    }

    /// Answers what is in flight, closes all connections, and waits until the clients have closed theirs.
    fn drain(&mut self, events: &mut Events) {
        let deadline = Instant::now() + DRAIN;
        let mut unheard = Vec::new();
        while self.referee.client.in_flight() > 0 && Instant::now() < deadline {
            self.wait(events);
            unheard.append(&mut self.talking); // input that comes now is too late, and is read after the close frame
            self.finish_turn();
        }
        self.talking.append(&mut unheard);
        for seat in self.seats.all() {
            self.leave(seat, CloseReason::Stopping, Some(CloseCode::Away), "the server stops");
        }
        let deadline = Instant::now() + Duration::from_millis(u64::from(LEAVE_MS));
        while self.seats.taken() > 0 && Instant::now() < deadline {
            self.finish_turn();
            self.wait(events);
            self.listen();
        }
        for seat in self.seats.all() {
            self.remove(seat, CloseReason::Stopping);
        }
        self.directory.herald.write_all(&mut self.referee.client);
    }

    /// Waits for work, and queues the connections with input.
    fn wait(&mut self, events: &mut Events) {
        pulse::work(); // a tick comes whatever happens, so that not even sleep is rest
        let has_work = self.has_callers
            || !self.talking.is_empty()
            || !self.looking.is_empty()
            || self.areas.is_busy()
            || self.directory.is_busy();
        let timeout = match has_work || self.referee.client.arm() {
            true => Duration::ZERO,
            false => self.next_tick.saturating_duration_since(Instant::now()),
        };
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => panic!("epoll: {error}"),
            _ => {}
        }
        self.now_ms = self.started.elapsed().as_millis() as u32;
        for event in events.iter() {
            match event.token() {
                LISTENER => self.has_callers = true,
                ENGINE | WAKER => {}
                Token(seat) => {
                    let seat = SeatId(seat as u64);
                    let Some(connection) = self.seats.get_mut(seat) else {
                        continue;
                    };
                    connection.is_unread |= event.is_readable();
                    if event.is_read_closed() || event.is_error() {
                        (connection.is_unread, connection.is_ending) = (true, true);
                    }
                    if connection.is_unread {
                        queue(&mut self.talking, seat, connection);
                    }
                    if event.is_writable() && connection.is_waiting() {
                        speak(&mut self.spoken_to, seat, connection);
                    }
                }
            }
        }
    }

    fn listen(&mut self) {
        let mut talking = std::mem::take(&mut self.talking);
        for seat in talking.drain(..) {
            self.listen_to(seat);
        }
        // Connections with unread input re-queued themselves while we iterated.
        talking.append(&mut self.talking);
        self.talking = talking;
        let seats = &mut self.seats;
        self.fences.retain(|(seat, _)| {
            seats.get_mut(*seat).is_some_and(|connection| connection.has_more() && !connection.is_paused())
        });
        if self.has_callers {
            self.accept();
        }
        self.referee.client.flush();
    }

    fn finish_turn(&mut self) {
        let EventLoop { seats, voice, referee, areas, directory, spoken_to, .. } = self;
        referee.answer(seats, voice, |seat, connection| speak(spoken_to, seat, connection));
        if std::mem::take(&mut referee.has_written) {
            directory.herald.written();
        }
        let clock = Clock { now_ms: self.now_ms, now: wall_clock() };
        let spoke = |seat, connection: &mut Connection| speak(spoken_to, seat, connection);
        let deeds = directory.carry_out(seats, voice, clock, spoke);
        if areas.is_busy() {
            areas.tell(seats, voice, &referee.engine, |seat, connection| {
                speak(spoken_to, seat, connection);
            });
        }
        deeds.into_iter().for_each(|deed| self.act(deed));
        for _ in 0..LOOKS {
            let Some(seat) = self.looking.pop_front() else { break };
            self.look(seat);
        }
        let mut spoken_to = std::mem::take(&mut self.spoken_to);
        for seat in spoken_to.drain(..) {
            self.write_to(seat);
        }
        spoken_to.append(&mut self.spoken_to);
        self.spoken_to = spoken_to;
        self.referee.answered();
        self.directory.herald.write(&mut self.referee.client);
        if Instant::now() >= self.next_tick {
            self.tick();
        }
    }

    /// Runs the part of a command that needs the whole thread.
    fn act(&mut self, deed: Deed) {
        match deed {
            Deed::Close(seat) => {
                self.leave(seat, CloseReason::BackEnd, Some(CloseCode::Normal), "closed by the back end")
            }
            Deed::Admit(seat, verdict) => self.admit(seat, verdict),
            Deed::Fence(seat, tally) => {
                if let Some(connection) = self.seats.get_mut(seat) {
                    connection.is_unread = true; // the kernel may not have said so yet
                    queue(&mut self.talking, seat, connection);
                    self.fences.push((seat, tally));
                }
            }
            Deed::ResumeAgain(seat, behind, so_far) => self.resume(seat, behind, so_far),
        }
    }

    /// Starts a catch-up of a player.
    fn resume(&mut self, seat: SeatId, behind: Position, so_far: bool) {
        if let Some(connection) = self.seats.get_mut(seat) {
            self.referee.resume(seat, connection, &mut self.voice, (behind, so_far));
            speak(&mut self.spoken_to, seat, connection);
        }
    }

    fn tick(&mut self) {
        self.next_tick = Instant::now() + self.common.tick;
        self.areas.tick(&mut self.voice);
        self.counters.watchers.store(self.areas.watching(), Ordering::Relaxed);
        self.has_callers = self.listener.is_some(); // some may still wait since file descriptors ran out
        let ticks_per_s = (1_000 / self.common.tick.as_millis().max(1)).max(1) as usize;
        for _ in 0..=self.seats.len() / ticks_per_s {
            self.next_inspected = (self.next_inspected + 1) % self.seats.len().max(1);
            if let Some(seat) = self.seats.sitting(self.next_inspected) {
                self.inspect(seat);
            }
        }
    }

    /// Pings or closes a connection whose timeout has passed.
    fn inspect(&mut self, seat: SeatId) {
        let Some(connection) = self.seats.get_mut(seat) else {
            return;
        };
        let silent_ms = self.now_ms.wrapping_sub(connection.heard_ms);
        match &connection.phase {
            Phase::Handshake if silent_ms > self.common.handshake_ms => {
                self.remove(seat, CloseReason::HandshakeTimeout);
            }
            Phase::Asking(_) if silent_ms > self.common.authorizers.patience_ms() => {
                self.admit(seat, Verdict::Undecided);
            }
            Phase::Playing(session) => {
                let idle_ms = match session.endpoint {
                    Endpoint::Play => self.common.idle_ms,
                    Endpoint::General => self.common.general.idle_ms,
                };
                if session.visit.has_expired(wall_clock()) {
                    self.leave(seat, CloseReason::Expired, Some(EXPIRED), EXPIRED_TEXT);
                } else if silent_ms > idle_ms {
                    self.leave(seat, CloseReason::Idle, Some(CloseCode::Away), "nothing was heard for too long");
                } else if silent_ms > ping_after_ms(idle_ms) && !connection.is_pinged {
                    connection.is_pinged = true;
                    self.voice.ping(connection);
                    speak(&mut self.spoken_to, seat, connection);
                }
            }
            Phase::Leaving { .. } if silent_ms > LEAVE_MS => self.end(seat),
            _ => {}
        }
    }

    /// Reads once, at most `READ_BYTES`, and handles the whole messages.
    fn listen_to(&mut self, seat: SeatId) {
        let Some(connection) = self.seats.get_mut(seat) else {
            return;
        };
        connection.is_queued = false;
        if connection.is_paused() || !connection.has_more() {
            return;
        }
        let mut filled = connection.rest.len();
        self.buffer[..filled].copy_from_slice(&connection.rest);
        self.voice.keep(std::mem::take(&mut connection.rest));
        let mut is_over = None;
        if !std::mem::take(&mut connection.is_rest_unheard) {
            match read(connection, &mut self.buffer[filled..filled + READ_BYTES]) {
                Ok(0) if connection.is_unread => is_over = Some(CloseReason::Lost),
                Ok(read) => {
                    filled += read;
                    count(&self.counters.bytes_in, read as u64);
                }
                Err(_) => is_over = Some(CloseReason::Lost),
            }
        }
        if let Some(reason) = is_over {
            return self.remove(seat, reason);
        }
        let at = self.take_in(seat, filled);
        let Some(connection) = self.seats.get_mut(seat) else {
            return;
        };
        if at < filled && !matches!(connection.phase, Phase::Leaving { .. }) {
            connection.rest = self.voice.buffer();
            connection.rest.extend_from_slice(&self.buffer[at..filled]);
        } else {
            connection.is_rest_unheard = false;
        }
        if connection.has_more() && !connection.is_paused() {
            queue(&mut self.talking, seat, connection);
        }
        if connection.waiting_bytes() > 0 {
            speak(&mut self.spoken_to, seat, connection);
        }
    }

    /// Handles the messages in the buffer; returns up to where it was consumed.
    fn take_in(&mut self, seat: SeatId, filled: usize) -> usize {
        let mut at = 0;
        let Some(connection) = self.seats.get_mut(seat) else {
            return at;
        };
        if matches!(connection.phase, Phase::Handshake) {
            match self.common.gate.read(&self.buffer[..filled]) {
                Handshake::Incomplete => return at,
                Handshake::Refused(answer) => {
                    self.voice.say_raw(connection, &answer);
                    self.leave(seat, CloseReason::Refused, None, "");
                    return filled;
                }
                Handshake::Admitted(admitted) => {
                    at = admitted.request_bytes;
                    self.knock(seat, admitted);
                    if let Some(connection) = self.seats.get_mut(seat)
                        && matches!(connection.phase, Phase::Asking(_))
                    {
                        connection.is_rest_unheard = at < filled;
                        return at;
                    }
                }
            }
        }
        match self.hear(seat, &mut at, filled) {
            Ok(()) => return at,
            Err(End::Goodbye(code)) => self.leave(seat, CloseReason::Goodbye, code, ""),
            Err(End::Expired) => self.leave(seat, CloseReason::Expired, Some(EXPIRED), EXPIRED_TEXT),
            Err(End::Violation(Violation { code, reason })) => {
                self.leave(seat, CloseReason::Violation, Some(code), reason);
            }
        }
        filled
    }

    /// Handles messages up to the end of the buffer, or until one has to be answered first.
    fn hear(&mut self, seat: SeatId, at: &mut usize, filled: usize) -> Result<(), End> {
        let EventLoop { seats, buffer, voice, referee, looking, common, directory, counters, .. } = self;
        let Some(connection) = seats.get_mut(seat) else {
            return Ok(());
        };
        let Some(session) = connection.session() else {
            *at = filled;
            return Ok(());
        };
        if session.visit.expires_at.is_some() && session.visit.has_expired(wall_clock()) {
            return Err(End::Expired); // an expired token authorizes nothing
        }
        connection.heard_ms = self.now_ms;
        connection.is_pinged = false;
        let received_at = referee.engine.now();
        let mut heard_messages = 0;
        let result = loop {
            if connection.is_paused() {
                connection.is_rest_unheard = *at < filled;
                break Ok(());
            }
            let Some(session) = connection.session() else {
                break Ok(());
            };
            let (endpoint, subprotocol) = (session.endpoint, session.subprotocol);
            let message_bytes_max = match endpoint {
                Endpoint::Play => common.message_bytes_max,
                Endpoint::General => common.general.message_bytes_max,
            };
            let request = match session.inbound.next(&mut buffer[..filled], at, message_bytes_max) {
                Err(violation) => break Err(End::Violation(violation)),
                Ok(None) => break Ok(()),
                Ok(Some(Heard::Pong)) => continue,
                Ok(Some(Heard::Ping(payload))) => {
                    voice.pong(connection, payload);
                    continue;
                }
                Ok(Some(Heard::Close(code))) => break Err(End::Goodbye(code)),
                Ok(Some(heard)) if endpoint == Endpoint::General => {
                    heard_messages += 1;
                    let id = directory.id(seat);
                    let ways = (&mut *voice, &mut directory.herald, &**counters);
                    common.general.take(id, connection, ways, &heard);
                    continue;
                }
                Ok(Some(Heard::Text(text))) if subprotocol == Subprotocol::Json => json::read(&text),
                Ok(Some(Heard::Binary(bytes))) if subprotocol == Subprotocol::FlatBuffers => flat::read(&bytes),
                Ok(Some(_)) => break Err(End::Violation(WRONG_KIND)),
            };
            heard_messages += 1;
            referee.take(seat, connection, voice, request, received_at);
            if connection.session().is_some_and(|session| session.asked_area.is_some()) {
                looking.push_back(seat);
            }
        };
        count(&self.counters.messages_in, heard_messages);
        result
    }

    fn look(&mut self, seat: SeatId) {
        let Some(connection) = self.seats.get_mut(seat) else {
            return;
        };
        let Some(session) = connection.session() else { return };
        let Some(asked) = session.asked_area.take() else { return };
        if let Some(before) = session.area.replace(asked.clone()) {
            self.areas.unwatch(seat, &before);
        }
        self.areas.watch(seat, &asked);
        let fakemon = asked.look(&self.referee.engine);
        self.areas.note_seen(seat, &fakemon);
        self.voice.say(connection, &Reply::World(&fakemon));
        speak(&mut self.spoken_to, seat, connection);
        if connection.has_more() {
            queue(&mut self.talking, seat, connection);
        }
    }

    fn write_to(&mut self, seat: SeatId) {
        let Some(connection) = self.seats.get_mut(seat) else {
            return;
        };
        connection.is_spoken_to = false;
        match self.voice.flush(connection) {
            Err(_) => return self.remove(seat, CloseReason::Lost),
            Ok(false) if connection.waiting_bytes() > OUT_BYTES_MAX => {
                return self.remove(seat, CloseReason::SlowConsumer);
            }
            Ok(false) => {}
            Ok(true) => {
                if let Phase::Leaving { is_finished } = &mut connection.phase
                    && !std::mem::replace(is_finished, true)
                {
                    connection.stream.finish();
                }
            }
        }
        if connection.has_more() && !connection.is_paused() {
            queue(&mut self.talking, seat, connection);
        }
    }

    /// Sends a close frame; pending output is still written, further input is discarded.
    fn leave(&mut self, seat: SeatId, reason: CloseReason, code: Option<CloseCode>, text: &str) {
        let Some(connection) = self.seats.get_mut(seat) else {
            return;
        };
        match std::mem::replace(&mut connection.phase, Phase::Leaving { is_finished: false }) {
            Phase::Leaving { is_finished } => {
                connection.phase = Phase::Leaving { is_finished };
                return;
            }
            Phase::Handshake | Phase::Asking(_) => {}
            Phase::Playing(session) => {
                self.voice.goodbye(connection, code, text);
                self.directory.leave(seat, &session, reason);
                if let Some(area) = session.area {
                    self.areas.unwatch(seat, &area);
                }
            }
        }
        self.counters.count_closed(reason);
        connection.heard_ms = self.now_ms;
        speak(&mut self.spoken_to, seat, connection);
    }

    /// Closes a connection at once.
    fn remove(&mut self, seat: SeatId, reason: CloseReason) {
        let Some(connection) = self.seats.get_mut(seat) else {
            return;
        };
        if let Some(session) = connection.session() {
            self.directory.leave(seat, session, reason);
        }
        if !matches!(connection.phase, Phase::Leaving { .. }) {
            if let Some(area) = connection.area().copied() {
                self.areas.unwatch(seat, &area);
            }
            self.counters.count_closed(reason);
        }
        self.end(seat);
    }

    fn end(&mut self, seat: SeatId) {
        if self.seats.remove(seat).is_some() {
            self.common.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Why no more of a connection is read.
enum End {
    Goodbye(Option<CloseCode>),
    Expired,
    Violation(Violation),
}

const WRONG_KIND: Violation = Violation {
    code: CloseCode::Unsupported,
    reason: "fakemon.v1.json is spoken in text frames, fakemon.v1.fb in binary frames",
};

/// Reads once, and notes in `is_unread` whether the socket may have more; 0 bytes while it may are the end.
fn read(connection: &mut Connection, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        return match connection.stream.read(buffer) {
            Ok(read) => {
                let is_short = read < buffer.len() && connection.stream.short_read_is_last();
                connection.is_unread = read == 0 || !is_short || connection.is_ending;
                Ok(read)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                connection.is_unread = false;
                Ok(0)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
    }
}

fn queue(talking: &mut Vec<SeatId>, seat: SeatId, connection: &mut Connection) {
    if !std::mem::replace(&mut connection.is_queued, true) {
        talking.push(seat);
    }
}

fn speak(spoken_to: &mut Vec<SeatId>, seat: SeatId, connection: &mut Connection) {
    if !std::mem::replace(&mut connection.is_spoken_to, true) {
        spoken_to.push(seat);
    }
}
