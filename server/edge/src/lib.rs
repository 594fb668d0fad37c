//! The websocket edge: tens of thousands of players on a few threads, each thread alone with its connections.
//!
//! ```text
//! sockets ─ epoll ─ one large buffer ─ frames, unmasked in place ─ messages ─ Referee ─ engine's Client
//!                                                                                            │
//! sockets ─ one write per connection and turn ─ frames ─ Voice ────────────────── completions
//!                                                          └─ Areas: what changes where somebody looks
//! ```
//!
//! A thread has its own listener (`SO_REUSEPORT`), its own poll and its own client, and shares nothing on the path of
//! an attempt. Players connect to `/play`, all other clients to the general endpoint, `/ws`: see `general`.
//! Connections, messages and disconnections become events on the bus: see `herald`. Every wait and every buffer is
//! bounded: a client that sends too much is throttled or read later, one that does not read is read later and then
//! closed, one that is silent is pinged and then closed.

#![allow(
    missing_docs,
    reason = "nothing outside of this workspace reads them; a doc that repeats a name says nothing"
)]

use anyhow::{Context as _, bail, ensure};
use fakemon_access::player_token::Access;
use fakemon_engine::Engine;
use fakemon_journal::files::read_bytes;
use fakemon_model::limits::PUT_BYTES_MAX;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

pub mod player_delivery;
mod slots;
mod figures;
mod handshake;
mod connection;
mod areas;
mod connections;
mod authorizing;
mod catch_up;
mod connection_events;
mod general;
mod requests;
mod connection_index;
mod event_loop;

pub use authorizing::{Authorizers, Question, Questions, Verdict};
pub use connection::rate::Rate;
pub use connections::{
    ConnectionCommand, ConnectionId, Connections, Description, OutgoingMessage, Said, To, Undelivered,
};
pub use figures::{CloseReason, Figures};
pub use handshake::Endpoint;
pub use handshake::route::RouteSelection;

use connection::rate::Rates;
use connection_index::ConnectionIndex;
use connections::{CommandQueue, ConnectionIds};
use event_loop::{Common, EventLoop};
use figures::Counters;
use general::General;
use handshake::HandshakePolicy;
use requests::Requests;

/// Edge threads, at most.
pub const THREADS_MAX: usize = 64;
/// Connections that wait to be accepted, per listener (`listen`).
const BACKLOG: i32 = 4096;
/// The longest file of certificates, and of a key.
const TLS_BYTES_MAX: u64 = 16 << 20;
/// Upper bound of `message_bytes_max` for `/play`.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Upper bound of `message_bytes_max` for the general endpoint.
pub const GENERAL_MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Range of the idle and handshake timeouts.
pub const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(7 * 86_400);

// A message still fits into one event with every byte escaped, and a second time as JSON.
const _: () = assert!(8 * GENERAL_MESSAGE_BYTES_MAX <= PUT_BYTES_MAX);

/// Settings of the edge.
#[derive(Clone, Debug)]
pub struct EdgeOptions {
    /// The address to listen on. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Threads, each with its own connections. Default 1.
    pub threads: usize,
    /// How players are authenticated. Default: not at all (open mode), on loopback only.
    pub access: Access,
    /// Serves TLS with this certificate. Default: plain.
    pub tls: Option<Tls>,
    /// Rate limit of a player's attempts. Default: unlimited.
    pub rate: Option<Rate>,
    /// Attempts and collections of one connection without an answer, at most. Default 4,096.
    pub in_flight_max: u32,
    /// The longest message of a player, in bytes. Default 16 KiB.
    pub message_bytes_max: usize,
    /// A connection that is silent for half of this, at most 25 s, is pinged; after all of it, closed. Default 60 s.
    pub idle_timeout: Duration,
    /// Longest time for a handshake. Default 10 s.
    pub handshake_timeout: Duration,
    /// Open connections over all threads, at most. Default 100,000; each takes a file descriptor.
    pub connections_max: usize,
    /// Settings of the general endpoint, `/ws`.
    pub general: GeneralOptions,
    /// Authorizers that decide about handshakes after `access`. Default: none.
    pub authorizers: Authorizers,
    /// Interval of changes sent to watchers. Default 50 ms.
    pub tick: Duration,
    /// Address of the page, for visitors with a browser.
    pub page: Option<String>,
}

/// Settings of the general endpoint.
#[derive(Clone, Debug)]
pub struct GeneralOptions {
    /// Selects the route key of a message. Default `$request.body.action`.
    pub route: RouteSelection,
    /// Rate limit of a connection's messages. Default: unlimited.
    pub rate: Option<Rate>,
    /// The longest message, in bytes. Default 128 KiB.
    pub message_bytes_max: usize,
    /// As `EdgeOptions::idle_timeout`. Default 10 minutes.
    pub idle_timeout: Duration,
}

impl Default for GeneralOptions {
    fn default() -> GeneralOptions {
        GeneralOptions {
            route: RouteSelection::default(),
            rate: None,
            message_bytes_max: 128 * 1024,
            idle_timeout: Duration::from_secs(600),
        }
    }
}

/// Files for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain, in PEM.
    pub certificates: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

impl EdgeOptions {
    /// The default options for this address.
    pub fn new(listen: SocketAddr) -> EdgeOptions {
        EdgeOptions {
            listen,
            threads: 1,
            access: Access::Open,
            tls: None,
            rate: None,
            in_flight_max: 4_096,
            message_bytes_max: 16 * 1024,
            idle_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(10),
            connections_max: 100_000,
            general: GeneralOptions::default(),
            authorizers: Authorizers::default(),
            tick: Duration::from_millis(50),
            page: None,
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            matches!(self.access, Access::Tokens(_)) || self.listen.ip().is_loopback(),
            "{} is not a loopback address, and without player tokens only loopback is served: listen on 127.0.0.1, \
             or configure keys for player tokens",
            self.listen
        );
        let threads = 1..=THREADS_MAX;
        ensure!(threads.contains(&self.threads), "edge threads must be from 1 to {THREADS_MAX}");
        let message_bytes = 128..=MESSAGE_BYTES_MAX;
        ensure!(
            message_bytes.contains(&self.message_bytes_max),
            "the longest message must be from 128 to {MESSAGE_BYTES_MAX} bytes"
        );
        ensure!(
            (128..=GENERAL_MESSAGE_BYTES_MAX).contains(&self.general.message_bytes_max),
            "the longest message to /ws must be from 128 to {GENERAL_MESSAGE_BYTES_MAX} bytes"
        );
        let tick = Duration::from_millis(1)..=Duration::from_secs(1);
        ensure!(tick.contains(&self.tick), "the tick must be from 1 ms to 1 s");
        let given = [self.idle_timeout, self.handshake_timeout, self.general.idle_timeout];
        ensure!(
            given.iter().all(|timeout| TIMEOUTS.contains(timeout)),
            "timeouts of connections must be from 100 ms to 7 days"
        );
        for rate in [self.rate, self.general.rate].into_iter().flatten() {
            ensure!(
                rate.attempts_per_s.is_finite() && rate.attempts_per_s > 0.0,
                "the rate of throws or messages must be a number above 0"
            );
        }
        Ok(())
    }
}

/// The running edge. Stop it with [`stop`](Edge::stop); dropped, it stops too.
pub struct Edge {
    address: SocketAddr,
    common: Arc<Common>,
    started_s: u32,
    threads: Vec<EdgeThread>,
    /// The thread that sends players the results they missed.
    reader: Option<JoinHandle<()>>,
}

struct EdgeThread {
    counters: Arc<Counters>,
    line: Arc<CommandQueue>,
    waker: Arc<mio::Waker>,
    thread: Option<JoinHandle<()>>,
}

/// Checks the options without starting an edge.
///
/// # Errors
/// As [`start`], but for the address.
pub fn check(options: &EdgeOptions) -> anyhow::Result<()> {
    options.check()?;
    options.tls.as_ref().map(tls_config).transpose().map(drop)
}

/// Starts the edge.
///
/// # Errors
/// One line with the remedy: an address that is taken, or that open mode must not serve; options out of range; a
/// certificate or key that cannot be read.
pub fn start(engine: Engine, options: EdgeOptions) -> anyhow::Result<Edge> {
    options.check()?;
    let tls = options.tls.as_ref().map(tls_config).transpose()?;
    let listeners = listen(options.listen, options.threads)?;
    let address = listeners[0].local_addr()?;
    let millis = |duration: Duration| u32::try_from(duration.as_millis()).expect("checked: at most 7 days");
    let common = Arc::new(Common {
        gate: HandshakePolicy { access: options.access, page: options.page },
        general: General {
            route: options.general.route,
            rates: options.general.rate.map(Rates::new),
            message_bytes_max: options.general.message_bytes_max,
            idle_ms: millis(options.general.idle_timeout),
        },
        authorizers: options.authorizers,
        questions: Questions::default(),
        tls,
        message_bytes_max: options.message_bytes_max,
        idle_ms: millis(options.idle_timeout),
        handshake_ms: millis(options.handshake_timeout),
        tick: options.tick,
        connections_max: options.connections_max,
        connections: AtomicUsize::new(0),
        is_stopping: AtomicBool::new(false),
    });
    let rates = options.rate.map(Rates::new).map(Arc::new);
    let started_s = (engine.now().0 / 1_000_000_000) as u32; // enough to tell this start from others
    let mut edge = Edge { address, common: common.clone(), started_s, threads: Vec::new(), reader: None };
    let (catch_up, reader) = catch_up::pair();
    for (index, listener) in listeners.into_iter().enumerate() {
        let counters = Arc::new(Counters::new());
        let client = engine.client()?;
        let names = ConnectionIds { started_s, thread: u8::try_from(index).expect("checked: at most 64") };
        let (rates, in_flight_max, ways) = (rates.clone(), options.in_flight_max, (names, catch_up.clone()));
        let referee = Requests::new(engine.clone(), client, rates, counters.clone(), in_flight_max, ways);
        let listener = mio::net::TcpListener::from_std(listener);
        let directory = ConnectionIndex::new(names);
        let line = directory.line();
        let turn = EventLoop::new(common.clone(), listener, referee, directory);
        let (turn, waker) = turn.context("cannot set up an edge thread")?;
        let asked = common.clone();
        let was_asked = move || asked.is_stopping.load(Ordering::Acquire);
        let thread = engine.spawn_thread(&format!("edge-{index}"), was_asked, move || turn.run());
        let thread = thread.context("cannot start an edge thread")?;
        edge.threads.push(EdgeThread { counters, line, waker: Arc::new(waker), thread: Some(thread) });
    }
    let switchboard = edge.switchboard();
    let (asked, reads) = (common.clone(), engine.clone());
    let was_asked = move || asked.is_stopping.load(Ordering::Acquire);
    let run = move || reader.run(&reads, &switchboard, || common.is_stopping.load(Ordering::Acquire));
    let reader = engine.spawn_thread("catch-up", was_asked, run);
    edge.reader = Some(reader.context("cannot start the thread that reads what players missed")?);
    Ok(edge)
}

impl Edge {
    /// The address that the edge listens on.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Sends commands to all connections of the edge.
    pub fn switchboard(&self) -> Connections {
        let lines = self.threads.iter().map(|thread| (thread.line.clone(), thread.waker.clone()));
        Connections::new(self.started_s, lines.collect())
    }

    /// Handshakes that wait for an authorizer.
    pub fn questions(&self) -> Questions {
        self.common.questions.clone()
    }

    /// Metrics, summed over the threads now.
    pub fn figures(&self) -> Figures {
        Figures::sum(self.threads.iter().map(|thread| &*thread.counters))
    }

    /// Accepts no more connections, answers what is in flight, closes all connections (code 1001) and joins the
    /// threads. Takes at most seven seconds, usually none. Call it before the engine is closed.
    pub fn stop(&mut self) {
        self.common.is_stopping.store(true, Ordering::Release);
        for edge in &self.threads {
            // A thread that is not woken checks at its next tick.
            let _ = edge.waker.wake();
        }
        let threads = self.threads.iter_mut().map(|edge| &mut edge.thread).chain([&mut self.reader]);
        for thread in threads.filter_map(Option::take) {
            let _ = thread.join(); // a panic is a failure of the engine, and was reported as one
        }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Checks that no process listens at an address yet. `SO_REUSEPORT` would share the port with other processes of ours
/// too, so this binds it without.
///
/// # Errors
/// When the address is taken, or cannot be bound.
pub fn check_free(address: SocketAddr) -> anyhow::Result<()> {
    if address.port() != 0 {
        drop(listener(address, false)?);
    }
    Ok(())
}

/// One listener per thread, all on one port.
fn listen(address: SocketAddr, threads: usize) -> anyhow::Result<Vec<std::net::TcpListener>> {
    check_free(address)?;
    let first = listener(address, true)?;
    let address = first.local_addr()?;
    let others = (1..threads).map(|_| listener(address, true));
    std::iter::once(Ok(first)).chain(others).collect()
}

fn listener(address: SocketAddr, is_shared: bool) -> anyhow::Result<std::net::TcpListener> {
    let listener = || -> std::io::Result<std::net::TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(is_shared)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    listener().map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow::anyhow!("{address} is in use: stop who listens there, or take another port"),
        ErrorKind::PermissionDenied => anyhow::anyhow!("{address} needs more rights: take a port from 1024 on"),
        ErrorKind::AddrNotAvailable => anyhow::anyhow!("{address} is no address of this machine: take one that is"),
        _ => anyhow::anyhow!("cannot listen on {address}: {error}"),
    })
}

fn tls_config(tls: &Tls) -> anyhow::Result<Arc<ServerConfig>> {
    let reading = |path: &Path| format!("cannot read {}", path.display());
    let read = |path: &Path| read_bytes(path, TLS_BYTES_MAX).with_context(|| reading(path));
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&read(&tls.certificates)?)
        .collect::<Result<_, _>>()
        .with_context(|| reading(&tls.certificates))?;
    if certificates.is_empty() {
        bail!("{} holds no certificate: give one in PEM", tls.certificates.display());
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&tls.key)?).with_context(|| reading(&tls.key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .with_context(|| format!("{} does not belong to the certificate", tls.key.display()))?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests;
