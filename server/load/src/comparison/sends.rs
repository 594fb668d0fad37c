//! Throughput of `@connections`: messages per second to many connections, in batches or one by one; or the time until
//! a message to an area reaches its last watcher. Measured at real sockets, beside the time that the kernel alone
//! takes for as many.

use crate::comparison::baseline::{self, FanOut};
use crate::http::Http;
use crate::report::{Latency, ms, thousands};
use crate::socket::{Received, Socket};
use crate::sweep::Sweep;
use crate::target::Target;
use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token};
use serde::Serialize;
use serde_json::Value;
use std::collections::VecDeque;
use std::fmt;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Messages of one call.
const BATCH: usize = 2_000;
/// Batches in flight.
const BATCHES_IN_FLIGHT: usize = 3;
/// Connections to the control plane that send one by one, and the calls in flight on each.
const SENDERS: usize = 16;
const SENDER_IN_FLIGHT: usize = 32;
/// Pause between two messages to the area, so that one does not wait for the other.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the last messages are waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// The area that all players watch.
const AREA: &str = "lat=40.4168&lon=-3.7038&radius_m=100";
const LOOK: &str = r#"{"type":"look","lat":40.4168,"lon":-3.7038,"radius_m":50}"#;
/// Length of the kernel's measurement.
const BASELINE: Duration = Duration::from_secs(2);
/// Sockets of the bare kernel's run, at most: both ends are in one process.
const BASELINE_MAX: usize = 9_000;
/// Text before the send time in a message.
const MARK: &[u8] = b"\"at\":";

/// How messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sends {
    /// `POST /@connections?batch`, 2,000 messages per call
    Batch,
    /// `POST /@connections/ID`, one message per call
    Single,
    /// `POST /@connections?lat=…`, one message to all per call
    Area,
}

/// Result of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Sent {
    how: &'static str,
    connections: usize,
    calls: u64,
    received: u64,
    refused: u64,
    /// Messages received, per second.
    received_per_second: f64,
    /// From the call to the receipt; for an area, to the last receipt.
    latency: Latency,
    /// The bare kernel, one thread that writes to `count` sockets and one that reads.
    baseline_connections: usize,
    baseline_per_second: f64,
    /// Time from the first write to the last receipt, the median.
    baseline_last_ns: u64,
}

/// State shared by all threads.
struct Common {
    start: Instant,
    received: AtomicU64,
    /// When the last message came.
    received_ns: AtomicU64,
    is_over: AtomicBool,
    /// The thread that waits, and the count that it waits for.
    waits: Thread,
    wanted: AtomicU64,
}

/// Measurement of the kernel alone. Made before connections are opened, because both need file descriptors.
pub(crate) struct Bare {
    connections: usize,
    fan_out: FanOut,
}

impl Bare {
    pub(crate) fn measure(connections: usize) -> anyhow::Result<Bare> {
        let connections = connections.min(BASELINE_MAX);
        Ok(Bare { connections, fan_out: baseline::measure_fan_out(connections, BASELINE)? })
    }
}

/// Sends to all sockets for the given time, and counts what arrives.
pub(crate) fn run(
    how: Sends,
    control: &Target,
    sockets: Vec<Socket>,
    time: Duration,
    bare: &Bare,
) -> anyhow::Result<Sent> {
    let connections = sockets.len();
    let ids: Vec<String> = sockets.iter().map(|socket| socket.id.clone()).collect();
    let common = Common {
        start: Instant::now(),
        received: AtomicU64::new(0),
        received_ns: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
        wanted: AtomicU64::new(u64::MAX),
        waits: std::thread::current(),
    };
    let mut receiver = Receiver::new(sockets, how)?;
    if how == Sends::Area {
        receiver.look()?;
    }
    std::thread::scope(|scope| {
        let common = &common;
        let receiving = scope.spawn(move || receiver.run(common));
        let sent = match how {
            Sends::Batch => batches(control, &ids, common, time),
            Sends::Single => singles(control, &ids, common, time),
            Sends::Area => areas(control, &ids, common, time),
        };
        common.is_over.store(true, Relaxed);
        let one_by_one = receiving.join().map_err(|_| anyhow::anyhow!("the receiving thread panicked"))??;
        let Calls { calls, refused, took, last } = sent?;
        let received = common.received.load(Relaxed);
        Ok(Sent {
            how: match how {
                Sends::Batch => "batch",
                Sends::Single => "single",
                Sends::Area => "area",
            },
            connections,
            calls,
            received,
            refused,
            received_per_second: received as f64 / took.as_secs_f64(),
            latency: (if how == Sends::Area { &last } else { &one_by_one }).into(),
            baseline_connections: bare.connections,
            baseline_per_second: bare.fan_out.per_second,
            baseline_last_ns: bare.fan_out.last_ns,
        })
    })
}

/// Counts and latencies of the calls.
struct Calls {
    calls: u64,
    refused: u64,
    took: Duration,
    /// For an area: from the call to the last receipt.
    last: Histogram<u64>,
}

impl Common {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Waits until `count` messages have arrived; returns when the last of them did.
    fn wait_for(&self, count: u64) -> anyhow::Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        // SeqCst, as in `add_received`: each side writes its count, then reads the other, so one sees the other.
        self.wanted.store(count, SeqCst);
        while self.received.load(SeqCst) < count {
            let received = self.received.load(SeqCst);
            ensure!(Instant::now() < deadline, "{received} of {count} messages arrived");
            std::thread::park_timeout(PATIENCE / 20);
        }
        Ok(self.received_ns.load(SeqCst))
    }

    fn add_received(&self, count: u64) {
        if count == 0 {
            return;
        }
        self.received_ns.store(self.now_ns(), SeqCst);
        let before = self.received.fetch_add(count, SeqCst);
        let wanted = self.wanted.load(SeqCst);
        if before < wanted && before + count >= wanted {
            self.waits.unpark();
        }
    }
}

fn batches(control: &Target, ids: &[String], common: &Common, time: Duration) -> anyhow::Result<Calls> {
    let mut http = Http::connect(control)?;
    let (mut ids, begun) = (ids.iter().cycle(), Instant::now());
    let (mut calls, mut reached, mut refused, mut in_flight) = (0, 0, 0, 0);
    let mut body = String::new();
    while begun.elapsed() < time || in_flight > 0 {
        if begun.elapsed() < time && in_flight < BATCHES_IN_FLIGHT {
            body.clear();
            for id in ids.by_ref().take(BATCH) {
                let at = common.now_ns();
                writeln!(
                    body,
                    r#"{{"id":"{id}","json":{{"type":"load","at":{at},"text":"a raid begins at Sol"}}}}"#
                )?;
            }
            http.post("/@connections?batch", &body)?;
            (calls, in_flight) = (calls + 1, in_flight + 1);
            continue;
        }
        let answer = http.receive()?;
        in_flight -= 1;
        ensure!(answer.status == 200, "a batch was answered {}: {}", answer.status, answer.body);
        let said: Value = serde_json::from_str(&answer.body)?;
        reached += said["reached"].as_u64().unwrap_or_default();
        refused += said["refused"].as_u64().unwrap_or_default();
    }
    common.wait_for(reached)?;
    Ok(Calls { calls, refused, took: begun.elapsed(), last: baseline::histogram() })
}

fn singles(control: &Target, ids: &[String], common: &Common, time: Duration) -> anyhow::Result<Calls> {
    let mut senders = (0..SENDERS)
        .map(|_| Ok((Http::connect(control)?, 0)))
        .collect::<anyhow::Result<VecDeque<(Http, usize)>>>()?;
    let (mut ids, begun) = (ids.iter().cycle(), Instant::now());
    let (mut calls, mut reached, mut refused) = (0, 0, 0);
    while let Some((mut http, mut in_flight)) = senders.pop_front() {
        for _ in 0..in_flight {
            match http.receive()?.status {
                200 => reached += 1,
                429 => refused += 1,
                status => bail!("a message was answered {status}"),
            }
        }
        in_flight = 0;
        if begun.elapsed() < time {
            for id in ids.by_ref().take(SENDER_IN_FLIGHT) {
                let body = format!(r#"{{"type":"load","at":{},"text":"a raid begins at Sol"}}"#, common.now_ns());
                http.prepare_post(&format!("/@connections/{id}"), &body);
                in_flight += 1;
            }
            http.flush()?;
            calls += in_flight as u64;
            senders.push_back((http, in_flight));
        }
    }
    common.wait_for(reached)?;
    Ok(Calls { calls, refused, took: begun.elapsed(), last: baseline::histogram() })
}

fn areas(control: &Target, ids: &[String], common: &Common, time: Duration) -> anyhow::Result<Calls> {
    let mut http = Http::connect(control)?;
    let (mut calls, mut reached, mut refused, mut last) = (0, 0, 0, baseline::histogram());
    let mut took = Duration::ZERO;
    while took < time {
        let begun_ns = common.now_ns();
        let body = format!(r#"{{"type":"load","at":{begun_ns},"text":"a raid begins at Sol"}}"#);
        http.post(&format!("/@connections?{AREA}"), &body)?;
        let answer = http.receive()?;
        ensure!(answer.status == 200, "an area was answered {}: {}", answer.status, answer.body);
        let said: Value = serde_json::from_str(&answer.body)?;
        refused += said["refused"].as_u64().unwrap_or_default();
        let reaches = said["reached"].as_u64().unwrap_or_default();
        ensure!(reaches + refused >= ids.len() as u64, "only {reaches} of {} look at the area", ids.len());
        reached += reaches;
        let waited_ns = common.wait_for(reached)?.saturating_sub(begun_ns);
        last.saturating_record(waited_ns);
        (calls, took) = (calls + 1, took + Duration::from_nanos(waited_ns));
        std::thread::sleep(PAUSE);
    }
    Ok(Calls { calls, refused, took, last })
}

/// Reads from all sockets.
struct Receiver {
    sockets: Vec<Socket>,
    buffer: Vec<u8>,
    order: Order,
}

/// The order in which sockets are read.
enum Order {
    /// As epoll reports them.
    Ready(Poll),
    /// All in turn, if each gets the same messages.
    Sweep(Sweep),
}

impl Receiver {
    fn new(mut sockets: Vec<Socket>, how: Sends) -> anyhow::Result<Receiver> {
        let order = match how {
            Sends::Area => Order::Sweep(Sweep::of(sockets.len())),
            Sends::Batch | Sends::Single => {
                let poll = Poll::new()?;
                for (index, socket) in sockets.iter_mut().enumerate() {
                    poll.registry().register(&mut socket.stream, Token(index), Interest::READABLE)?;
                }
                Order::Ready(poll)
            }
        };
        Ok(Receiver { sockets, buffer: vec![0; 256 * 1_024], order })
    }

    /// Makes all connections watch the area, and waits for their answers.
    fn look(&mut self) -> anyhow::Result<()> {
        let mut masks = crate::frames::Masks::new(7);
        for socket in &mut self.sockets {
            let look = |out: &mut Vec<u8>| out.extend_from_slice(LOOK.as_bytes());
            crate::frames::append(socket.outgoing(), crate::frames::Opcode::Text, &mut masks, look);
            socket.flush()?;
        }
        let (deadline, mut seen) = (Instant::now() + PATIENCE, 0);
        while seen < self.sockets.len() {
            ensure!(Instant::now() < deadline, "{seen} of {} have seen the area", self.sockets.len());
            self.hear(&mut |payload| {
                let is_world = payload.starts_with(br#"{"type":"world""#);
                seen += usize::from(is_world);
                is_world
            })?;
        }
        Ok(())
    }

    fn run(mut self, common: &Common) -> anyhow::Result<Histogram<u64>> {
        let mut latency = baseline::histogram();
        while !common.is_over.load(Relaxed) {
            let mut count = 0;
            self.hear(&mut |payload| {
                let Some(at_ns) = sent_at(payload) else { return false };
                latency.saturating_record(common.now_ns().saturating_sub(at_ns));
                count += 1;
                true
            })?;
            common.add_received(count);
        }
        Ok(latency)
    }

    /// Waits briefly, and visits the messages that came; `visit` returns true for those that are waited for.
    fn hear(&mut self, visit: &mut dyn FnMut(&[u8]) -> bool) -> anyhow::Result<()> {
        let Receiver { sockets, buffer, order } = self;
        let mut read = |number: usize| read(&mut sockets[number], buffer, visit);
        match order {
            Order::Sweep(sweep) => sweep.go_on(read),
            Order::Ready(poll) => {
                let mut events = Events::with_capacity(4_096);
                poll.poll(&mut events, Some(Duration::from_millis(20)))?;
                events.iter().try_for_each(|event| read(event.token().0).map(drop))
            }
        }
    }
}

/// Visits the messages of a socket; true if one was waited for.
fn read(socket: &mut Socket, buffer: &mut [u8], visit: &mut dyn FnMut(&[u8]) -> bool) -> anyhow::Result<bool> {
    let mut is_it = false;
    loop {
        match socket.receive(buffer).context("a connection broke")? {
            Received::Closed => bail!("the server closed a connection"),
            Received::Nothing => return Ok(is_it),
            Received::Bytes { length, more } => {
                socket.frames(&buffer[..length], |frame| is_it |= visit(frame.payload))?;
                if !more {
                    return Ok(is_it);
                }
            }
        }
    }
}

/// The send time in a message; none if it is not one of ours.
fn sent_at(payload: &[u8]) -> Option<u64> {
    let at = payload.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    let digits = payload[at..].split(|byte| !byte.is_ascii_digit()).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { p50_ns, p99_ns, max_ns, .. } = self.latency;
        writeln!(f, "{}: {} connections, {} calls", self.how, self.connections, self.calls)?;
        writeln!(
            f,
            "{} messages arrived, {} a second; {} refused",
            self.received,
            thousands(self.received_per_second),
            self.refused
        )?;
        let what = if self.how == "area" { "call to last receipt" } else { "call to receipt" };
        writeln!(f, "{what}: p50 {} ms, p99 {} ms, max {} ms", ms(p50_ns), ms(p99_ns), ms(max_ns))?;
        write!(
            f,
            "bare kernel, {} sockets: {} messages a second; first write to last receipt {} ms",
            self.baseline_connections,
            thousands(self.baseline_per_second),
            ms(self.baseline_last_ns)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::sent_at;

    #[test]
    fn a_message_says_when_it_was_sent() {
        assert_eq!(sent_at(br#"{"type":"load","at":123,"text":"x"}"#), Some(123));
        assert_eq!(sent_at(br#"{"type":"world","fakemon":[]}"#), None);
        assert_eq!(sent_at(br#""at":"#), None);
    }
}
