//! One thread of the generator: thousands of connections, one loop. A turn sends the attempts that are due, one write
//! per connection for all of its frames, and reads the answers, one read per connection through one buffer. Nothing
//! is allocated per attempt.

use super::ledger::Ledger;
use super::messages::{self, Answer, Message, Request, Verdict, Writer};
use super::pace::Plan;
use super::socket::{Received, Socket};
use super::tally::Tally;
use crate::frames::{self, Masks, Opcode};
use anyhow::Context;
use fakemon_model::ids::AttemptId;
use fakemon_workload::attempts::Contender;
use fakemon_workload::{Act, Attempts, Board, PlannedAttempt};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Bytes per read: the answers of a few thousand attempts.
const READ_BUFFER_BYTES: usize = 512 * 1_024;
const EVENTS: usize = 4_096;
/// How long the last answers may take before their attempts count as unanswered.
const DRAIN: Duration = Duration::from_secs(10);
const TIMER: Token = Token(usize::MAX);

/// State shared by all threads.
pub(crate) struct Shared<'a> {
    pub(crate) board: &'a Board,
    pub(crate) ledger: &'a Ledger,
    /// Decided attempts so far, for the progress bar.
    pub(crate) decided: &'a AtomicU64,
    /// Attempts in flight per connection, at most.
    pub(crate) in_flight_max: usize,
    /// Latencies count from this time, in nanoseconds from the start of the run.
    pub(crate) warm_ns: u64,
    /// No attempt is planned after this time, in nanoseconds from the start of the run.
    pub(crate) end_ns: u64,
}

/// A thread's connections and its share of the attempts.
pub(crate) struct Lane {
    poll: Poll,
    timer: OwnedFd,
    connections: Vec<Connection>,
    attempts: Attempts,
    plan: Plan,
    writer: Writer,
    masks: Masks,
    /// Connections that can take another attempt, each once, the one that has waited longest first.
    free: VecDeque<usize>,
    /// Connections with frames to write.
    dirty: Vec<usize>,
    /// Attempts without an answer, on all connections.
    in_flight: usize,
    tally: Tally,
}

struct Connection {
    socket: Socket,
    contender: Contender,
    next_attempt: AttemptId,
    /// In the order in which they were sent, which is nearly the order in which answers come.
    in_flight: VecDeque<InFlight>,
    /// The last attempt that was decided, for retries.
    last: Option<(InFlight, Verdict)>,
    open: bool,
    free: bool,
    dirty: bool,
}

#[derive(Clone, Copy)]
struct InFlight {
    planned_ns: u64,
    attempt: PlannedAttempt,
    request: Request,
    /// For a retry: the answer to the first send.
    first: Option<Verdict>,
}

impl Lane {
    /// A thread with these connections: the sockets, their players, and the first `attempt_id` of each.
    pub(crate) fn new(
        sockets: Vec<(Socket, Contender, AttemptId)>,
        attempts: Attempts,
        plan: Plan,
        writer: Writer,
        seed: u64,
    ) -> anyhow::Result<Lane> {
        let poll = Poll::new()?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags).context("no timer")?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let mut connections = Vec::with_capacity(sockets.len());
        for (number, (mut socket, contender, next_attempt)) in sockets.into_iter().enumerate() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut socket.stream, Token(number), interest)?;
            connections.push(Connection {
                socket,
                contender,
                next_attempt,
                in_flight: VecDeque::new(),
                last: None,
                open: true,
                free: true,
                dirty: false,
            });
        }
        Ok(Lane {
            poll,
            timer,
            free: (0..connections.len()).collect(),
            connections,
            attempts,
            plan,
            writer,
            masks: Masks::new(seed),
            dirty: Vec::new(),
            in_flight: 0,
            tally: Tally::new(),
        })
    }

    /// Sends attempts until the end, then waits for the last answers.
    pub(crate) fn run(mut self, shared: &Shared<'_>, start: Instant) -> anyhow::Result<Tally> {
        let mut events = Events::with_capacity(EVENTS);
        let mut buffer = vec![0; READ_BUFFER_BYTES].into_boxed_slice();
        let give_up_ns = shared.end_ns + ns(DRAIN);
        loop {
            let now_ns = ns(start.elapsed());
            self.attempt_due(shared, now_ns);
            self.write();
            let all_broke = self.tally.broken == self.connections.len() as u64;
            if now_ns >= shared.end_ns && self.in_flight == 0 || now_ns >= give_up_ns || all_broke {
                break;
            }
            let wait = self.wait(shared, now_ns)?;
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            let decided = self.tally.decided();
            for event in events.iter().filter(|event| event.token() != TIMER) {
                self.serve(event, &mut buffer, shared, start);
            }
            shared.decided.fetch_add(self.tally.decided() - decided, Relaxed);
        }
        let unanswered = self.connections.iter().map(|connection| connection.in_flight.len() as u64);
        self.tally.unanswered += unanswered.sum::<u64>();
        Ok(self.tally)
    }

    /// Sends the attempts that are due, one connection after the other.
    fn attempt_due(&mut self, shared: &Shared<'_>, now_ns: u64) {
        if now_ns >= shared.end_ns && self.plan.next_ns().is_none() {
            return;
        }
        while !self.free.is_empty() {
            let planned_ns = self.plan.next_ns().unwrap_or(now_ns);
            if planned_ns > now_ns || planned_ns >= shared.end_ns {
                break;
            }
            let number = self.free.pop_front().expect("checked above");
            let connection = &mut self.connections[number];
            connection.free = false;
            if !connection.open {
                continue;
            }
            self.plan.advance();
            let sent = connection.attempt(&mut self.attempts, shared.board, planned_ns);
            self.writer.append_attempt(connection.socket.outgoing(), &mut self.masks, &sent);
            self.in_flight += 1;
            self.tally.sent += 1;
            if planned_ns >= shared.warm_ns {
                self.tally.lag_ns.saturating_record(now_ns - planned_ns);
            }
            self.is_dirty(number);
            self.is_free(number, shared);
        }
    }

    /// Adds a connection to `free`, if it can take another attempt.
    fn is_free(&mut self, number: usize, shared: &Shared<'_>) {
        let connection = &mut self.connections[number];
        if !connection.free && connection.open && connection.in_flight.len() < shared.in_flight_max {
            connection.free = true;
            self.free.push_back(number);
        }
    }

    fn is_dirty(&mut self, number: usize) {
        if !std::mem::replace(&mut self.connections[number].dirty, true) {
            self.dirty.push(number);
        }
    }

    /// One write per connection.
    fn write(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for number in dirty.drain(..) {
            let connection = &mut self.connections[number];
            connection.dirty = false;
            if connection.open
                && let Err(error) = connection.socket.flush()
            {
                self.break_off(number, format!("a connection broke: {error}"));
            }
        }
        self.dirty = dirty;
    }

    /// Sets the timer to the next planned attempt; returns the longest wait if that is limited by something else.
    fn wait(&mut self, shared: &Shared<'_>, now_ns: u64) -> anyhow::Result<Option<Duration>> {
        let next_ns = self.plan.next_ns().filter(|next_ns| *next_ns < shared.end_ns && !self.free.is_empty());
        let Some(next_ns) = next_ns else {
            let until_ns = if now_ns < shared.end_ns { shared.end_ns - now_ns } else { 50_000_000 };
            return Ok(Some(Duration::from_nanos(until_ns.min(100_000_000)).max(Duration::from_millis(1))));
        };
        let wait_ns = next_ns.saturating_sub(now_ns);
        if wait_ns == 0 {
            return Ok(Some(Duration::ZERO));
        }
        let value = Timespec {
            tv_sec: i64::try_from(wait_ns / 1_000_000_000).expect("a run is shorter than an age"),
            tv_nsec: i64::try_from(wait_ns % 1_000_000_000).expect("below a second"),
        };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once = Itimerspec { it_interval: zero, it_value: value };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).context("no timer")?;
        Ok(None)
    }

    /// Handles an event of a connection.
    fn serve(&mut self, event: &mio::event::Event, buffer: &mut [u8], shared: &Shared<'_>, start: Instant) {
        let number = event.token().0;
        if event.is_writable()
            && self.connections[number].open
            && !self.connections[number].socket.outgoing().is_empty()
        {
            self.is_dirty(number);
        }
        while event.is_readable() && self.connections[number].open {
            match self.connections[number].socket.receive(buffer) {
                Ok(Received::Nothing) => break,
                Ok(Received::Bytes { length, more }) => {
                    let now_ns = ns(start.elapsed());
                    self.read(number, &buffer[..length], shared, now_ns);
                    if !more {
                        break;
                    }
                }
                Ok(Received::Closed) => self.break_off(number, "the server closed a connection".into()),
                Err(error) => self.break_off(number, format!("a connection broke: {error}")),
            }
        }
        self.is_free(number, shared);
    }

    /// Handles all frames in the buffer.
    fn read(&mut self, number: usize, bytes: &[u8], shared: &Shared<'_>, now_ns: u64) {
        let Lane { connections, tally, masks, in_flight, .. } = self;
        let Connection { socket, contender, in_flight: waiting, last, .. } = &mut connections[number];
        let mut pongs = Vec::new();
        let mut goodbye = None;
        let read = socket.frames(bytes, |frame| match messages::read_frame(&frame) {
            Some(Message::Answer(answer)) => match take(waiting, answer) {
                Some(sent) => {
                    *in_flight -= 1;
                    *last = Some((sent, answer.verdict));
                    settle(tally, shared, *contender, &sent, answer.verdict, now_ns);
                }
                None => shared.ledger.contradiction(format!("an answer nobody waits for: {answer:?}")),
            },
            Some(Message::Other) => {}
            Some(Message::Wrong(what)) => tally.trouble(what),
            None if frame.opcode == Opcode::Ping => {
                frames::append(&mut pongs, Opcode::Pong, masks, |out| out.extend_from_slice(frame.payload));
            }
            None if frame.opcode == Opcode::Close => goodbye = Some(farewell(frame.payload)),
            None => {}
        });
        if !pongs.is_empty() {
            socket.outgoing().append(&mut pongs);
            self.is_dirty(number);
        }
        match (read, goodbye) {
            (Err(error), _) => self.break_off(number, error.to_string()),
            (Ok(()), Some(goodbye)) => self.break_off(number, goodbye),
            (Ok(()), None) => {}
        }
    }

    /// Closes a lost connection; its attempts count as unanswered.
    fn break_off(&mut self, number: usize, why: String) {
        let connection = &mut self.connections[number];
        connection.open = false;
        self.in_flight -= connection.in_flight.len();
        self.tally.broken += 1;
        self.tally.unanswered += connection.in_flight.len() as u64;
        connection.in_flight.clear();
        self.tally.trouble(why);
    }
}

impl Connection {
    /// The player's next attempt, noted as in flight.
    fn attempt(&mut self, attempts: &mut Attempts, board: &Board, planned_ns: u64) -> Request {
        let sent = loop {
            match (attempts.next(self.contender, board), self.last) {
                (Act::Attempt(attempt), _) => {
                    let attempt_id = self.next_attempt;
                    self.next_attempt = AttemptId(attempt_id.0.wrapping_add(1));
                    let fakemon_id = attempts.world().id(attempt.nth);
                    let place = attempt.place;
                    break InFlight {
                        planned_ns,
                        attempt,
                        request: Request { attempt_id, fakemon_id, place },
                        first: None,
                    };
                }
                (Act::Repeat, Some((sent, verdict @ Verdict::Decided { .. }))) => {
                    break InFlight { planned_ns, first: Some(verdict), ..sent };
                }
                (Act::Repeat, _) => {} // nothing to repeat yet
            }
        };
        self.in_flight.push_back(sent);
        sent.request
    }
}

/// Finds the attempt that an answer is for; nearly always the oldest.
fn take(waiting: &mut VecDeque<InFlight>, answer: Answer) -> Option<InFlight> {
    let is_it = |sent: &InFlight| {
        sent.request.attempt_id == answer.attempt_id && sent.request.fakemon_id == answer.fakemon_id
    };
    match waiting.front() {
        Some(oldest) if is_it(oldest) => waiting.pop_front(),
        _ => waiting.iter().position(is_it).and_then(|place| waiting.remove(place)),
    }
}

/// Counts an answer, and checks it against the ledger.
#[inline]
fn settle(tally: &mut Tally, shared: &Shared<'_>, who: Contender, sent: &InFlight, verdict: Verdict, now_ns: u64) {
    let decided = matches!(verdict, Verdict::Decided { .. });
    if sent.planned_ns >= shared.warm_ns && decided {
        tally.latency_ns.saturating_record(now_ns.saturating_sub(sent.planned_ns));
    }
    if decided && (shared.warm_ns..shared.end_ns).contains(&now_ns) {
        tally.measured += 1;
    }
    match sent.first {
        Some(_) if !decided => tally.throttled += 1,
        Some(first) if first != verdict => {
            let request = sent.request;
            shared.ledger.contradiction(format!("{request:?} got {first:?}, sent again it got {verdict:?}"));
        }
        Some(_) => tally.repeated += 1,
        None => tally.answer(who, sent.attempt.nth, sent.request, verdict),
    }
    if let Verdict::Decided { outcome, position } = verdict {
        use fakemon_model::event::Outcome::{AlreadyCaptured, Captured};
        shared.ledger.record(sent.attempt.nth, outcome, position);
        if matches!(outcome, Captured | AlreadyCaptured) {
            shared.board.caught(sent.attempt.slot, sent.attempt.nth);
        }
    }
}

fn farewell(payload: &[u8]) -> String {
    match payload {
        [a, b, reason @ ..] => {
            let code = u16::from_be_bytes([*a, *b]);
            format!("the server closed a connection: {code} {}", String::from_utf8_lossy(reason))
        }
        _ => "the server closed a connection".into(),
    }
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
