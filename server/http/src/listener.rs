//! Sockets of the control plane: accepted at once, whatever other clients do, so that health checks are always
//! answered. Their number follows from the limit of open files. When all seats are taken, the connection that has
//! waited longest without a whole request is closed; if all are working, `EXTRA_SEATS` more are accepted, for health
//! checks only.
//!
//! ```text
//! accepted ──► Arriving ──► Working ──► Writing or Streaming ──► Idle ──► Arriving …
//!              a total time  as long as  a total time  silence   silence
//!                            it takes
//! ```
//!
//! A request that arrives slowly is cut off after a total time, however often a byte of it comes. Requests that a
//! client sends without waiting for answers are carried out one by one: the next one when the socket has taken the
//! answer to the one before, and after the others had a turn.

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Connections beyond all seats, for health checks.
pub const EXTRA_SEATS: usize = 16;
/// An idle connection, or a stream on which nothing moves, is closed after this.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Longest time for a client to read an answer that is not a stream.
const WRITING_MAX: Duration = Duration::from_secs(60);
/// Bytes of an answer that are made before the socket has taken those before.
const AHEAD_BYTES_MAX: usize = 16 * 1024;
/// Longest time, and most bytes, that a client may go on sending what nobody reads after its answer. A connection
/// that is closed with bytes unread is reset, which takes the answer away from a client that still sends.
const LINGER_MAX: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 16 << 20;
/// When the system refuses another connection, it is asked again after this.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// Interval of warnings that the system refuses.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// A listener that accepts at once, within its bounds.
pub struct Bounded {
    socket: TcpListener,
    seats: Arc<Seats>,
    said: Option<Instant>,
}

impl Bounded {
    /// At most `most` connections, whose requests arrive within `request_timeout`.
    pub fn new(socket: TcpListener, most: usize, request_timeout: Duration) -> Bounded {
        let seats = Seats { most, request_timeout, sitting: Mutex::default() };
        Bounded { socket, seats: Arc::new(seats), said: None }
    }

    /// The system has no room for another connection: closes the one that waits longest.
    fn make_room(&mut self, error: &io::Error) {
        self.seats.held().let_go_of_the_oldest();
        if self.said.is_none_or(|said| said.elapsed() > SAY_AGAIN) {
            self.said = Some(Instant::now());
            tracing::warn!(%error, "the control plane cannot take in more connections: raise `ulimit -n`");
        }
    }
}

impl Listener for Bounded {
    type Io = Impatient;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Impatient, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok((stream, addr)) => {
                    if let Some(connection) = self.seats.sit(stream) {
                        return (connection, addr);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    self.make_room(&error);
                    sleep(ASK_AGAIN).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Open connections and their seats.
struct Seats {
    most: usize,
    request_timeout: Duration,
    sitting: Mutex<Sitting>,
}

#[derive(Default)]
struct Sitting {
    next: u64,
    by_number: HashMap<u64, (Arc<Seat>, oneshot::Sender<()>)>,
}

impl Seats {
    fn held(&self) -> MutexGuard<'_, Sitting> {
        self.sitting.lock()
    }

    /// Gives a connection a seat; none if even the extra ones are taken.
    fn sit(self: &Arc<Seats>, stream: TcpStream) -> Option<Impatient> {
        let mut sitting = self.held();
        let is_full = sitting.by_number.len() >= self.most && !sitting.let_go_of_the_oldest();
        if is_full && sitting.by_number.len() >= self.most + EXTRA_SEATS {
            return None;
        }
        let _ = stream.set_nodelay(true); // without it, answers are only slower
        let (go, gone) = oneshot::channel();
        let now = Instant::now();
        let seat = Arc::new(Seat::new(now, is_full));
        let number = sitting.next;
        sitting.next += 1;
        sitting.by_number.insert(number, (Arc::clone(&seat), go));
        let alarm = Box::pin(sleep_until(now + self.request_timeout));
        Some(Impatient {
            stream,
            seat,
            number,
            seats: Arc::clone(self),
            gone,
            is_over: false,
            moved: now,
            alarm,
            lingers: None,
        })
    }
}

impl Sitting {
    /// Closes the connection that has waited longest without a whole request; false if none waits.
    fn let_go_of_the_oldest(&mut self) -> bool {
        let waits = self.by_number.iter().filter_map(|(number, (seat, _))| Some((seat.waits_since()?, *number)));
        let Some((_, number)) = waits.min() else { return false };
        self.by_number.remove(&number); // drops its sender, which closes the connection
        true
    }
}

/// State of one connection, shared with its requests.
pub struct Seat {
    phase: Mutex<Phase>,
    /// Accepted beyond all seats: only health checks are answered.
    pub(super) is_extra: bool,
    /// The socket has taken an answer.
    taken: Notify,
    /// What was handed over of an answer and is not known to be taken.
    ahead: Mutex<HandedOver>,
    /// The connection closes before all of a request was read.
    lingers: AtomicBool,
}

#[derive(Default)]
struct HandedOver {
    bytes: usize,
    waits: Option<Waker>,
}

/// State of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A request is arriving.
    Arriving { since: Instant },
    /// A request is being executed. Its body has its own deadline.
    Working,
    /// The answer is on its way; if it is whole, the socket has only to take the rest of it.
    Writing { since: Instant, is_whole: bool },
    /// An answer that goes on.
    Streaming,
    /// All requests are answered.
    Idle { since: Instant },
}

impl Seat {
    fn new(now: Instant, is_extra: bool) -> Seat {
        Seat {
            phase: Mutex::new(Phase::Arriving { since: now }),
            is_extra,
            taken: Notify::new(),
            ahead: Mutex::default(),
            lingers: AtomicBool::new(false),
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock()
    }

    pub fn set(&self, phase: Phase) {
        *self.phase() = phase;
    }

    /// The connection closes after this answer, and the client may still be sending: it is let finish, for a while.
    pub(super) fn linger(&self) {
        self.lingers.store(true, Ordering::Relaxed);
    }

    /// Nothing follows of the answer.
    pub fn answered(&self) {
        let mut phase = self.phase();
        let since = match *phase {
            Phase::Writing { since, .. } => since,
            _ => Instant::now(),
        };
        *phase = Phase::Writing { since, is_whole: true };
    }

    /// Whether the next part of an answer has to wait until the socket has taken those before.
    pub(super) fn is_ahead(&self, context: &mut Context<'_>) -> bool {
        let mut ahead = self.ahead.lock();
        let is_ahead = ahead.bytes >= AHEAD_BYTES_MAX;
        ahead.waits = is_ahead.then(|| context.waker().clone());
        is_ahead
    }

    /// A part of an answer was handed over.
    pub(super) fn handed_over(&self, bytes: usize) {
        self.ahead.lock().bytes += bytes;
    }

    /// The socket has taken everything that there was to write.
    fn flushed(&self) {
        let mut ahead = self.ahead.lock();
        ahead.bytes = 0;
        ahead.waits.take().into_iter().for_each(Waker::wake);
        drop(ahead);
        let mut phase = self.phase();
        if matches!(*phase, Phase::Writing { is_whole: true, .. }) {
            *phase = Phase::Idle { since: Instant::now() };
            self.taken.notify_waiters();
        }
    }

    /// Comes back when the answer to the request before is taken by the socket. A request that was sent before that
    /// lets others have a turn first.
    pub async fn turn(&self) {
        let mut is_ahead = false;
        loop {
            let taken = self.taken.notified();
            match *self.phase() {
                Phase::Writing { .. } => is_ahead = true,
                Phase::Idle { .. } => {
                    is_ahead = true;
                    break;
                }
                Phase::Arriving { .. } | Phase::Working | Phase::Streaming => break,
            }
            taken.await;
        }
        if is_ahead {
            tokio::task::yield_now().await;
        }
    }

    /// Since when the present request arrives, if it has not arrived.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        match *self.phase() {
            Phase::Arriving { since } | Phase::Idle { since } => Some(since),
            Phase::Working | Phase::Writing { .. } | Phase::Streaming => None,
        }
    }

    /// Notes that a byte came.
    fn heard(&self) {
        let mut phase = self.phase();
        if matches!(*phase, Phase::Idle { .. }) {
            *phase = Phase::Arriving { since: Instant::now() };
        }
    }

    /// The deadline of the present phase, if bytes moved last at `moved`.
    fn ends_at(&self, moved: Instant, request_timeout: Duration) -> Option<Instant> {
        match *self.phase() {
            Phase::Arriving { since } => Some(since + request_timeout),
            Phase::Working => None,
            Phase::Writing { since, .. } => Some(since + WRITING_MAX),
            Phase::Streaming => Some(moved + SILENCE_MAX),
            Phase::Idle { since } => Some(since + SILENCE_MAX),
        }
    }
}

/// The caller of a request: the seat of its connection, and its address.
#[derive(Clone)]
pub struct Caller {
    pub(super) seat: Arc<Seat>,
    pub address: IpAddr,
}

impl Connected<IncomingStream<'_, Bounded>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Caller {
        Caller { seat: Arc::clone(&stream.io().seat), address: stream.remote_addr().ip() }
    }
}

/// A connection that fails when its deadline has passed, or when its seat is needed.
pub struct Impatient {
    stream: TcpStream,
    seat: Arc<Seat>,
    number: u64,
    seats: Arc<Seats>,
    gone: oneshot::Receiver<()>,
    is_over: bool,
    /// When bytes moved last.
    moved: Instant,
    alarm: Pin<Box<Sleep>>,
    /// The bytes discarded since the answer, once it is written and the client may still be sending.
    lingers: Option<usize>,
}

impl Drop for Impatient {
    fn drop(&mut self) {
        self.seats.held().by_number.remove(&self.number);
    }
}

impl Impatient {
    /// Notes bytes that moved; returns an error once the deadline has passed or the seat was taken away.
    fn watch<T>(&mut self, context: &mut Context<'_>, moved: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if self.is_over || Pin::new(&mut self.gone).poll(context).is_ready() {
            self.is_over = true; // it must not be polled again
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if moved.is_ready() {
            self.moved = Instant::now();
        }
        let Some(ends_at) = self.seat.ends_at(self.moved, self.seats.request_timeout) else { return moved };
        if self.alarm.deadline() != ends_at {
            self.alarm.as_mut().reset(ends_at);
        }
        match self.alarm.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => moved,
        }
    }
}

impl Impatient {
    /// Reads on and forgets it, until the client has closed, too, or has had its time.
    fn discard(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_needed = self.is_over || Pin::new(&mut self.gone).poll(context).is_ready();
        if is_needed || self.alarm.as_mut().poll(context).is_ready() {
            self.is_over = true; // neither is polled again
            return Poll::Ready(Ok(()));
        }
        let mut bytes = [0; 16 * 1024];
        let discarded = self.lingers.get_or_insert(0);
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && *discarded < LINGER_BYTES_MAX => {
                    *discarded += buffer.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl AsyncRead for Impatient {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let moved = Pin::new(&mut this.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            this.seat.heard();
        }
        this.watch(context, moved)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let moved = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.watch(context, moved)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            this.seat.flushed(); // it is asked for when nothing is left to write
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingers.is_none() {
            std::task::ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            if !this.seat.lingers.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
            this.lingers = Some(0);
            this.alarm.as_mut().reset(Instant::now() + LINGER_MAX);
        }
        this.discard(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_a_total_time_and_an_answer_too() {
        let (then, timeout) = (Instant::now(), Duration::from_secs(30));
        let seat = Seat::new(then, false);
        let late = then + Duration::from_secs(29);
        seat.heard();
        assert_eq!(seat.ends_at(late, timeout), Some(then + timeout), "however often a byte comes");
        seat.set(Phase::Working);
        assert_eq!((seat.ends_at(late, timeout), seat.waits_since()), (None, None));
        seat.set(Phase::Writing { since: then, is_whole: false });
        assert_eq!(seat.ends_at(late, timeout), Some(then + WRITING_MAX));
        seat.set(Phase::Streaming);
        assert_eq!(seat.ends_at(late, timeout), Some(late + SILENCE_MAX));
        seat.set(Phase::Idle { since: late });
        assert_eq!(seat.waits_since(), Some(late));
        seat.heard();
        assert!(matches!(*seat.phase(), Phase::Arriving { .. }));
    }

    #[test]
    fn the_next_request_has_its_turn_when_the_answer_before_is_taken() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let seat = Arc::new(Seat::new(Instant::now(), false));
            seat.turn().await; // the first one has no other before it
            seat.set(Phase::Writing { since: Instant::now(), is_whole: false });
            let next = tokio::spawn({
                let seat = Arc::clone(&seat);
                async move { seat.turn().await }
            });
            for act in [|_: &Seat| {}, Seat::flushed, Seat::answered] {
                act(&seat);
                tokio::task::yield_now().await;
                assert!(!next.is_finished());
            }
            seat.flushed();
            next.await.unwrap();
            assert!(matches!(*seat.phase(), Phase::Idle { .. }));
        });
    }
}
