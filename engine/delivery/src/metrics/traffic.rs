//! Counts of events by bus and type, and of the rules that match them. The router counts in a tally of its own, and
//! adds it to the shared counts once per turn. What is kept per bus is bounded; types beyond the bound are counted
//! together.
//!
//! ```text
//! router: Tally (of one bus, of one turn) ──► Traffic: bus ─► type (source, detail-type) ─► rules that match
//! ```

use crate::lane::rate::Rate;
use fakemon_model::envelope::{Facet, kind};
use fakemon_model::event::{Event, Outcome};
use fakemon_model::ids::Timestamp;
use hashbrown::{Equivalent, HashMap};
use std::collections::BTreeMap;

/// Types that are counted separately per bus.
pub const TYPES_MAX: usize = 4_096;
/// Types with a rule that matched them, per bus.
const MATCHES_MAX: usize = 16_384;
/// Kinds of records of the game and the engine.
const RECORDS: usize = 9;

/// The source and the detail-type of an event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType {
    pub source: String,
    pub detail_type: String,
}

#[derive(Hash)]
struct TypeRef<'t> {
    source: &'t str,
    detail_type: &'t str,
}

impl Equivalent<EventType> for TypeRef<'_> {
    fn equivalent(&self, other: &EventType) -> bool {
        self.source == other.source && self.detail_type == other.detail_type
    }
}

impl TypeRef<'_> {
    fn owned(&self) -> EventType {
        EventType { source: self.source.to_owned(), detail_type: self.detail_type.to_owned() }
    }
}

/// Events since the counts began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    pub events: u64,
    /// When the last was handed to the disk.
    pub last_at: Timestamp,
    rate: Rate,
}

impl Flow {
    fn add(&mut self, events: u64, last_at: Timestamp, now: Timestamp) {
        self.events += events;
        self.last_at = self.last_at.max(last_at);
        self.rate.add(events, now.seconds());
    }

    /// Events of the last minute.
    pub fn last_minute(&self, now: Timestamp) -> u64 {
        self.rate.last_minute(now.seconds())
    }
}

/// Counts of one type of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeTraffic {
    /// All events.
    pub flow: Flow,
    /// Events that a rule handed on from another bus.
    pub forwarded: Flow,
    /// Events that no rule matched.
    pub unmatched: u64,
    /// Events that each rule matched.
    pub rules: BTreeMap<String, u64>,
}

/// Counts of one bus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BusTraffic {
    /// By type.
    pub types: HashMap<EventType, TypeTraffic>,
    /// Types that are not counted separately.
    pub others: TypeTraffic,
    /// Events that each rule matched.
    pub rules: BTreeMap<String, Flow>,
    matches: usize,
}

impl TypeTraffic {
    fn add(&mut self, counts: &Counts, now: Timestamp) {
        self.flow.add(counts.events, counts.last_at, now);
        if counts.forwarded > 0 {
            self.forwarded.add(counts.forwarded, counts.last_at, now);
        }
        self.unmatched += counts.events - counts.matched;
    }
}

impl BusTraffic {
    /// Events, and those that no rule matched.
    pub fn totals(&self) -> (u64, u64) {
        let all = self.types.values().chain([&self.others]);
        all.fold((0, 0), |(events, unmatched), one| (events + one.flow.events, unmatched + one.unmatched))
    }

    fn of(&mut self, of: &TypeRef<'_>) -> &mut TypeTraffic {
        if !self.types.contains_key(of) {
            if self.types.len() >= TYPES_MAX {
                return &mut self.others;
            }
            self.types.insert(of.owned(), TypeTraffic::default());
        }
        self.types.get_mut(of).expect("it is there, or was just made")
    }

    fn add(&mut self, of: &TypeRef<'_>, counts: &Counts, rules: &[String], now: Timestamp) {
        let may_grow = self.matches < MATCHES_MAX;
        let held = self.of(of);
        held.add(counts, now);
        let before = held.rules.len();
        let matched = || rules.iter().zip(&counts.rules).filter(|(_, matched)| **matched > 0);
        for (rule, matched) in matched() {
            match held.rules.get_mut(rule) {
                Some(count) => *count += matched,
                None if may_grow => drop(held.rules.insert(rule.clone(), *matched)),
                None => {}
            }
        }
        self.matches += held.rules.len() - before;
        for (rule, matched) in matched() {
            match self.rules.get_mut(rule) {
                Some(flow) => flow.add(*matched, counts.last_at, now),
                None => self.rules.entry(rule.clone()).or_default().add(*matched, counts.last_at, now),
            }
        }
    }

    /// Forgets a deleted rule.
    pub fn forget_rule(&mut self, rule: &str) {
        self.rules.remove(rule);
        for held in self.types.values_mut().chain([&mut self.others]) {
            self.matches -= usize::from(held.rules.remove(rule).is_some());
        }
    }
}

/// Counts of one type in one turn.
#[derive(Clone, Debug, Default)]
struct Counts {
    events: u64,
    forwarded: u64,
    matched: u64,
    last_at: Timestamp,
    /// By the rule's number.
    rules: Vec<u64>,
}

impl Counts {
    fn count(&mut self, matched: &[u32], at: Timestamp) {
        self.events += 1;
        self.matched += u64::from(!matched.is_empty());
        self.last_at = at;
        if let Some(last) = matched.last() {
            let needed = *last as usize + 1;
            if self.rules.len() < needed {
                self.rules.resize(needed, 0);
            }
            matched.iter().for_each(|rule| self.rules[*rule as usize] += 1);
        }
    }

    fn clear(&mut self) {
        (self.events, self.forwarded, self.matched) = (0, 0, 0);
        self.rules.clear();
    }
}

/// The router's counts of one bus that are not added yet.
#[derive(Default)]
pub struct Tally {
    records: [Counts; RECORDS],
    put: HashMap<EventType, Counts>,
    others: Counts,
}

impl Tally {
    /// Counts an event that these rules (ascending) matched.
    pub fn count(&mut self, event: &Event, facet: Facet, matched: &[u32], at: Timestamp) {
        if let Some(number) = record_number(event, facet) {
            return self.records[number].count(matched, at);
        }
        let (source, detail_type) = kind(event, facet);
        let of = TypeRef { source, detail_type };
        let is_full = self.put.len() >= TYPES_MAX;
        let count = |counts: &mut Counts| {
            counts.count(matched, at);
            counts.forwarded += u64::from(matches!(event, Event::Put(put) if put.hops > 0));
        };
        match self.put.get_mut(&of) {
            Some(counts) => count(counts),
            None if is_full => count(&mut self.others),
            None => count(self.put.entry(of.owned()).or_default()),
        }
    }

    /// Adds everything to the counts of the bus, and starts again from zero.
    pub fn hand_over(&mut self, rules: &[String], traffic: &mut BusTraffic, now: Timestamp) {
        for (counts, (source, detail_type)) in self.records.iter_mut().zip(RECORD_TYPES) {
            if counts.events > 0 {
                traffic.add(&TypeRef { source, detail_type }, counts, rules, now);
                counts.clear();
            }
        }
        for (of, counts) in self.put.drain() {
            traffic.add(&TypeRef { source: &of.source, detail_type: &of.detail_type }, &counts, rules, now);
        }
        if self.others.events > 0 {
            let counts = std::mem::take(&mut self.others);
            traffic.others.add(&counts, now);
        }
    }
}

const RECORD_TYPES: [(&str, &str); RECORDS] = [
    ("fakemon.capture", "fakemon.capture_attempt"),
    ("fakemon.capture", "fakemon.capture_succeeded"),
    ("fakemon.capture", "fakemon.capture_failed"),
    ("fakemon.world", "fakemon.appeared"),
    ("fakemon.world", "fakemon.vanished"),
    ("fakemon.capture", "fakemon.player_named"),
    ("fakemon.world", "fakemon.species_named"),
    ("fakemon.engine", "fakemon.engine_opened"),
    ("fakemon.engine", "fakemon.resource_changed"),
];

/// The index of a kind of record: they number millions, so they are counted by index.
fn record_number(event: &Event, facet: Facet) -> Option<usize> {
    Some(match event {
        Event::Attempt(_) if facet == Facet::Attempt => 0,
        Event::Attempt(attempt) if attempt.outcome == Outcome::Captured => 1,
        Event::Attempt(_) => 2,
        Event::Appeared { .. } => 3,
        Event::Vanished { .. } => 4,
        Event::PlayerNamed { .. } => 5,
        Event::SpeciesNamed { .. } => 6,
        Event::Opened { .. } => 7,
        Event::Changed { .. } => 8,
        Event::Put(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fakemon_model::event::Put;
    use fakemon_model::ids::PlayerId;

    const NOW: Timestamp = Timestamp(9_000_000_000);

    fn put(source: &str, detail_type: &str) -> Event {
        Event::Put(Box::new(Put {
            at: NOW,
            time: NOW,
            bus: "b".into(),
            source: source.into(),
            detail_type: detail_type.into(),
            detail: "{}".into(),
            resources: Vec::new(),
            region: "local".into(),
            cause: None,
            hops: 0,
            by: None,
            origin: None,
            trace: None,
            schedule: None,
        }))
    }

    #[test]
    fn types_are_counted_with_the_rules_that_match_them() {
        let (mut tally, mut traffic) = (Tally::default(), BusTraffic::default());
        let rules = ["r0", "r1", "r2"].map(str::to_owned);
        for _ in 0..2 {
            tally.count(&put("shop", "sold"), Facet::Happened, &[0, 2], Timestamp(5));
            tally.count(&put("shop", "lost"), Facet::Happened, &[], Timestamp(6));
            let named = Event::PlayerNamed { player: PlayerId(1), name: "ana".into() };
            tally.count(&named, Facet::Happened, &[2], Timestamp(7));
            tally.hand_over(&rules, &mut traffic, NOW);
        }
        assert_eq!(traffic.totals(), (6, 2));
        let sold = &traffic.types[&EventType { source: "shop".into(), detail_type: "sold".into() }];
        assert_eq!((sold.flow.events, sold.unmatched, sold.flow.last_at), (2, 0, Timestamp(5)));
        assert_eq!(sold.rules, BTreeMap::from([("r0".into(), 2), ("r2".into(), 2)]));
        assert_eq!(traffic.rules["r2"].events, 4);
        assert_eq!(traffic.rules["r2"].last_minute(NOW), 4);
        assert!(!traffic.rules.contains_key("r1"));
        traffic.forget_rule("r2");
        assert!(!traffic.rules.contains_key("r2") && traffic.matches == 1);
    }

    #[test]
    fn types_without_end_are_counted_together() {
        let (mut tally, mut traffic) = (Tally::default(), BusTraffic::default());
        for number in 0..10_000 {
            tally.count(&put("noise", &number.to_string()), Facet::Happened, &[], NOW);
            if number % 3_000 == 0 {
                tally.hand_over(&[], &mut traffic, NOW);
            }
        }
        tally.hand_over(&[], &mut traffic, NOW);
        assert_eq!(traffic.types.len(), TYPES_MAX);
        assert_eq!((traffic.totals().0, traffic.others.flow.events), (10_000, 10_000 - TYPES_MAX as u64));
    }

    #[test]
    fn records_have_the_types_of_their_envelopes() {
        let events = [
            (5, Event::PlayerNamed { player: PlayerId(1), name: String::new() }),
            (6, Event::SpeciesNamed { species: fakemon_model::ids::SpeciesId(1), name: String::new() }),
            (7, Event::Opened { at: NOW, world_seed: 0, reach_mm: 0, cores: 1, durable: true }),
            (8, Event::Changed { at: NOW, key: String::new(), value: None }),
        ];
        for (number, event) in events {
            assert_eq!(record_number(&event, Facet::Happened), Some(number));
            assert_eq!(kind(&event, Facet::Happened), RECORD_TYPES[number]);
        }
    }
}
