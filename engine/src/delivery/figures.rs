//! Counters of the bus; they only grow.

use crate::ids::Timestamp;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

const DAY_NS: u64 = 86_400_000_000_000;

/// Counters of the bus.
pub struct BusFigures {
    /// Events that rules looked at.
    pub events: AtomicU64,
    /// Of these, matched at least one rule.
    pub matched_events: AtomicU64,
    rules: Mutex<BTreeMap<(String, String), u64>>,
    start_ns: Mutex<Histogram<u64>>,
    complete_ns: Mutex<Histogram<u64>>,
}

impl BusFigures {
    pub(crate) fn new() -> BusFigures {
        // Bounds, because what lies beyond them is recorded as the bound.
        let histogram = || Mutex::new(Histogram::new_with_bounds(1_000, DAY_NS, 2).expect("valid bounds"));
        BusFigures {
            events: AtomicU64::new(0),
            matched_events: AtomicU64::new(0),
            rules: Mutex::default(),
            start_ns: histogram(),
            complete_ns: histogram(),
        }
    }

    pub(crate) fn add(&self, events: u64, matched: u64, rules: impl Iterator<Item = ((String, String), u64)>) {
        self.events.fetch_add(events, Ordering::Relaxed);
        self.matched_events.fetch_add(matched, Ordering::Relaxed);
        let mut held = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.filter(|(_, count)| *count > 0).for_each(|(rule, count)| *held.entry(rule).or_default() += count);
    }

    /// How many events each rule matched, by bus and rule.
    pub fn triggered(&self) -> BTreeMap<(String, String), u64> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes the first attempt to deliver an event that was durable at `ingested_at`.
    pub fn started(&self, ingested_at: Timestamp, now: Timestamp) {
        self.start_ns.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(now.ns_since(ingested_at));
    }

    /// Notes that an event was delivered.
    pub fn completed(&self, ingested_at: Timestamp, now: Timestamp) {
        self.complete_ns.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(now.ns_since(ingested_at));
    }

    /// Nanoseconds from ingestion to the first attempt, and to success.
    pub fn latencies_ns(&self) -> (Histogram<u64>, Histogram<u64>) {
        let clone = |held: &Mutex<Histogram<u64>>| held.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (clone(&self.start_ns), clone(&self.complete_ns))
    }
}
