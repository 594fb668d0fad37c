//! Counters of the bus; they only grow.

pub(crate) mod traffic;

use crate::metrics::traffic::{BusTraffic, Tally};
use fakemon_model::ids::Timestamp;
use fakemon_model::names::{BusName, RuleName};
use fakemon_sync::clock::Clock;
use hdrhistogram::Histogram;
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

const DAY_NS: u64 = 86_400_000_000_000;

/// Counters of the bus.
pub struct BusMetrics {
    /// Events that were matched against rules.
    pub events: AtomicU64,
    /// Events among them that matched at least one rule.
    pub matched_events: AtomicU64,
    /// Commands that were not carried out, by the kind of mistake: a few constants, so the map stays small.
    commands_refused: Mutex<BTreeMap<&'static str, u64>>,
    clock: Clock,
    since: Timestamp,
    traffic: Mutex<BTreeMap<String, BusTraffic>>,
    start_ns: Mutex<Histogram<u64>>,
    complete_ns: Mutex<Histogram<u64>>,
}

impl BusMetrics {
    pub fn new(clock: Clock) -> BusMetrics {
        // The histogram has bounds; a value beyond them is recorded as the bound.
        let histogram = || Mutex::new(Histogram::new_with_bounds(1_000, DAY_NS, 2).expect("valid bounds"));
        BusMetrics {
            events: AtomicU64::new(0),
            matched_events: AtomicU64::new(0),
            commands_refused: Mutex::default(),
            since: clock.wall(),
            clock,
            traffic: Mutex::default(),
            start_ns: histogram(),
            complete_ns: histogram(),
        }
    }

    /// Adds what was counted of a bus.
    pub fn add(&self, events: u64, matched: u64, bus: &str, rules: &[String], tally: &mut Tally) {
        self.events.fetch_add(events, Ordering::Relaxed);
        self.matched_events.fetch_add(matched, Ordering::Relaxed);
        let now = self.clock.wall();
        let mut traffic = self.held();
        match traffic.get_mut(bus) {
            Some(held) => tally.hand_over(rules, held, now),
            None => tally.hand_over(rules, traffic.entry(bus.to_owned()).or_default(), now),
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, BusTraffic>> {
        self.traffic.lock()
    }

    /// Counts a command that is not carried out; `reason` is the kind of mistake.
    pub fn command_refused(&self, reason: &'static str) {
        let mut refused = self.commands_refused.lock();
        *refused.entry(reason).or_default() += 1;
    }

    /// Commands that were not carried out, by the kind of mistake.
    pub fn commands_refused(&self) -> BTreeMap<&'static str, u64> {
        self.commands_refused.lock().clone()
    }

    /// Forgets a deleted bus.
    pub fn forget_bus(&self, bus: &str) {
        self.held().remove(bus);
    }

    /// Forgets a deleted rule.
    pub fn forget_rule(&self, BusName(bus): BusName<'_>, RuleName(rule): RuleName<'_>) {
        self.held().get_mut(bus).into_iter().for_each(|traffic| traffic.forget_rule(rule));
    }

    /// When counting began: when the engine was opened.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// The traffic of each bus, by event type and rule.
    pub fn traffic(&self) -> BTreeMap<String, BusTraffic> {
        self.held().clone()
    }

    /// Events of each bus, and those that no rule matched.
    pub fn totals(&self) -> Vec<(String, u64, u64)> {
        let totals = |(bus, traffic): (&String, &BusTraffic)| {
            let (events, unmatched) = traffic.totals();
            (bus.clone(), events, unmatched)
        };
        self.held().iter().map(totals).collect()
    }

    /// How many events each rule matched, by bus and rule.
    pub fn triggered(&self) -> BTreeMap<(String, String), u64> {
        let held = self.held();
        let of_bus = |(bus, traffic): (&String, &BusTraffic)| {
            let count =
                |(rule, flow): (&String, &crate::metrics::traffic::Flow)| ((bus.clone(), rule.clone()), flow.events);
            traffic.rules.iter().map(count).collect::<Vec<_>>()
        };
        held.iter().flat_map(of_bus).collect()
    }

    /// Notes the first attempt to deliver an event that was handed to the disk at `ingested_at`.
    pub fn started(&self, ingested_at: Timestamp, now: Timestamp) {
        self.start_ns.lock().saturating_record(now.ns_since(ingested_at));
    }

    /// Notes that an event was delivered.
    pub fn completed(&self, ingested_at: Timestamp, now: Timestamp) {
        self.complete_ns.lock().saturating_record(now.ns_since(ingested_at));
    }

    /// Nanoseconds from ingestion to the first attempt, and to success.
    pub fn latencies_ns(&self) -> (Histogram<u64>, Histogram<u64>) {
        let clone = |held: &Mutex<Histogram<u64>>| held.lock().clone();
        (clone(&self.start_ns), clone(&self.complete_ns))
    }
}
