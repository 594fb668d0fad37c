//! Metrics of the edge. Each thread counts for itself; [`Figures`] is the sum.

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client sent a close frame.
    Goodbye,
    /// The connection broke, or ended without a close frame.
    Lost,
    /// The request was no valid handshake, or was not admitted.
    Refused,
    /// `connections_max` connections were open already.
    Full,
    /// The handshake took longer than `handshake_timeout`.
    HandshakeTimeout,
    /// Nothing came for `idle_timeout`, not even an answer to a ping.
    Idle,
    /// RFC 6455 was broken, or a message was too long.
    Violation,
    /// The client did not read: too many bytes waited for it.
    SlowConsumer,
    /// The back end closed it, through `@connections`.
    BackEnd,
    /// The player's token has expired.
    Expired,
    /// The server stops.
    Stopping,
}

impl CloseReason {
    /// All reasons, in the order of their discriminants: [`Figures::closed`] is indexed by it.
    pub const ALL: [CloseReason; 11] = [
        CloseReason::Goodbye,
        CloseReason::Lost,
        CloseReason::Refused,
        CloseReason::Full,
        CloseReason::HandshakeTimeout,
        CloseReason::Idle,
        CloseReason::Violation,
        CloseReason::SlowConsumer,
        CloseReason::BackEnd,
        CloseReason::Expired,
        CloseReason::Stopping,
    ];

    /// Its label in metrics.
    pub fn name(self) -> &'static str {
        match self {
            CloseReason::Goodbye => "goodbye",
            CloseReason::Lost => "lost",
            CloseReason::Refused => "refused",
            CloseReason::Full => "full",
            CloseReason::HandshakeTimeout => "handshake_timeout",
            CloseReason::Idle => "idle",
            CloseReason::Violation => "violation",
            CloseReason::SlowConsumer => "slow_consumer",
            CloseReason::BackEnd => "back_end",
            CloseReason::Expired => "expired",
            CloseReason::Stopping => "stopping",
        }
    }
}

/// Metrics of the edge since it was started.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Open connections.
    pub connections: u64,
    /// Connections so far.
    pub accepted: u64,
    /// Connections ended, by reason, in the order of [`CloseReason::ALL`].
    pub closed: [u64; CloseReason::ALL.len()],
    /// Messages received from clients.
    pub messages_in: u64,
    /// Messages sent to clients.
    pub messages_out: u64,
    /// Bytes read from sockets.
    pub bytes_in: u64,
    /// Bytes written to sockets.
    pub bytes_out: u64,
    /// Messages that could not be parsed.
    pub errors: u64,
    /// Attempts that were rejected: over the player's rate, or too many waiting in the engine.
    pub throttled: u64,
    /// Changes of the world sent to watchers.
    pub pushes: u64,
    /// Players who look at an area now.
    pub watchers: u64,
    /// Time from durable to written to the socket, in nanoseconds.
    pub answered_ns: Histogram<u64>,
}

/// What one thread counts.
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) closed: [AtomicU64; CloseReason::ALL.len()],
    pub(crate) messages_in: AtomicU64,
    pub(crate) messages_out: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) throttled: AtomicU64,
    pub(crate) pushes: AtomicU64,
    pub(crate) watchers: AtomicU64,
    answered_ns: Mutex<Histogram<u64>>,
}

/// Adds without a read-modify-write: each counter has one writing thread, so no addition is lost. Relaxed: metrics
/// order nothing.
#[inline]
pub(crate) fn count(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 2).expect("the bounds are in order")
}

impl Counters {
    pub(crate) fn new() -> Counters {
        Counters {
            accepted: AtomicU64::default(),
            closed: Default::default(),
            messages_in: AtomicU64::default(),
            messages_out: AtomicU64::default(),
            bytes_in: AtomicU64::default(),
            bytes_out: AtomicU64::default(),
            errors: AtomicU64::default(),
            throttled: AtomicU64::default(),
            pushes: AtomicU64::default(),
            watchers: AtomicU64::default(),
            answered_ns: Mutex::new(latencies()),
        }
    }

    pub(crate) fn count_closed(&self, reason: CloseReason) {
        count(&self.closed[reason as usize], 1);
    }

    /// Records the latencies of a whole turn under one lock.
    pub(crate) fn record_answered(&self, latencies_ns: impl Iterator<Item = u64>) {
        let mut answered = self.answered_ns.lock();
        latencies_ns.for_each(|latency_ns| answered.saturating_record(latency_ns));
    }
}

impl Figures {
    pub(crate) fn sum<'c>(threads: impl Iterator<Item = &'c Counters>) -> Figures {
        let mut sum = Figures {
            connections: 0,
            accepted: 0,
            closed: Default::default(),
            messages_in: 0,
            messages_out: 0,
            bytes_in: 0,
            bytes_out: 0,
            errors: 0,
            throttled: 0,
            pushes: 0,
            watchers: 0,
            answered_ns: latencies(),
        };
        for counters in threads {
            let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            for (closed, counter) in sum.closed.iter_mut().zip(&counters.closed) {
                *closed += read(counter);
            }
            sum.accepted += read(&counters.accepted);
            sum.messages_in += read(&counters.messages_in);
            sum.messages_out += read(&counters.messages_out);
            sum.bytes_in += read(&counters.bytes_in);
            sum.bytes_out += read(&counters.bytes_out);
            sum.errors += read(&counters.errors);
            sum.throttled += read(&counters.throttled);
            sum.pushes += read(&counters.pushes);
            sum.watchers += read(&counters.watchers);
            let answered = counters.answered_ns.lock();
            sum.answered_ns.add(&*answered).expect("all have the same bounds");
        }
        // `closed` was read before `accepted`, so the difference is never negative.
        sum.connections = sum.accepted.saturating_sub(sum.closed.iter().sum());
        sum
    }
}
