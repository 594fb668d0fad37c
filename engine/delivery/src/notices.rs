//! The engine's notices about itself. Any thread of the process can post a notice; the monitor puts them as events on
//! the bus `default` (source `fakemon.engine`), so that rules can react. Posting never blocks and never fails: a
//! notice about a subject replaces one of the same topic that still waits, and a repeated notice is sent less and
//! less often, at first after a second, at last once a minute. So notices that cause each other, through any rules,
//! are limited; notices without room are counted.
//!
//! ```text
//! topic, subject ─► slot:  nothing waits ──tell──► waits ──due──► sent, next not before 1 s, 2 s, 4 s … 60 s later
//!                              ▲                     │ tell: the newest stays, the count grows
//!                              └── forgotten when it was quiet for twice as long
//! ```
//!
//! Every detail has `count`, the number of notices in the event, and `untold`, if some of its topic found no room.
//! The other members are:
//!
//! | detail-type | when | detail |
//! |---|---|---|
//! | `fakemon.started` | the engine is open | `version, cores, position, recovery {end: new\|clean\|crash, events_replayed, took_ms}` |
//! | `fakemon.stopping` | it is asked to stop | `position` |
//! | `fakemon.recovered` | opened after a crash | `events_replayed, from_position, to_position, took_ms` |
//! | `fakemon.slow_sync` | groups took longer than `thresholds.slow_sync` to write and sync | `syncs, worst_ms, threshold_ms, position` |
//! | `fakemon.disk_space` | free space of the data directory falls below a threshold, or is back | `state: low\|critical\|ok, before, free_bytes, total_bytes, threshold_bytes, directory` |
//! | `fakemon.shedding_started` | attempts were answered `throttled` | `throttled, attempts` (of the last second) |
//! | `fakemon.shedding_ended` | none was for five seconds | `throttled, attempts` (of the whole time), `lasted_ms` |
//! | `fakemon.target_dead` | deliveries to a target fail | `bus, rule, target, arn, error_code, error_message, attempts, failing_since, backlog` |
//! | `fakemon.target_recovered` | it took an event again | `bus, rule, target, arn, dead_ms, backlog` |
//! | `fakemon.dead_letter` | events for a target were given up | `bus, rule, target, arn, dead_letters, lost, error_code` |
//! | `fakemon.connection_deauthorized` | a connection is not let in any more | `connection, reason` |
//! | `fakemon.schedule_missed` | due times passed while the engine was not running; each is an event at once, no notice | `schedule, missed, first, last, caught_up` |
//! | `fakemon.schema_drift` | events of a type have another shape than before; an event at once too | `registry, schema, version, bus, source, detail_type, event_id, changes` |
//!
//! A waiting notice is in memory only. Notices about a state (a dead target, a full disk) are posted again after a
//! restart, because the state persists.

use fakemon_model::envelope::SOURCE_ENGINE;
use fakemon_resource::NewEvent;
use fakemon_sync::notify::Notify;
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Subjects of one topic that are tracked.
const SUBJECTS_MAX: usize = 64;
/// The most bytes of one text in a notice.
const TEXT_BYTES_MAX: usize = 1_024;
/// The most ARNs of one notice.
const ARNS_MAX: usize = 8;
/// The shortest and the longest time between two events about one subject.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(60);

/// One line per kind of notice: its detail-type and its topic. Only the newest notice about a topic and subject
/// waits, so a state and its end share a topic.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $kind:ident $detail_type:literal $topic:literal;)*) => {
        /// The kind of a notice.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum NoticeKind {
            $($(#[doc = $doc])* $kind,)*
        }

        impl NoticeKind {
            /// All of them.
            pub const ALL: &[NoticeKind] = &[$(NoticeKind::$kind,)*];

            /// The detail-type of its events.
            pub fn detail_type(self) -> &'static str {
                match self {
                    $(NoticeKind::$kind => concat!("fakemon.", $detail_type),)*
                }
            }

            fn topic(self) -> &'static str {
                match self {
                    $(NoticeKind::$kind => $topic,)*
                }
            }
        }
    };
}

kinds! {
    /// The engine is open.
    Started "started" "started";
    /// The engine was asked to stop.
    Stopping "stopping" "stopping";
    /// The engine was opened after a crash.
    Recovered "recovered" "recovered";
    /// Groups took long to write and sync.
    SlowSync "slow_sync" "slow_sync";
    /// Free space passed a threshold.
    DiskSpace "disk_space" "disk_space";
    /// Attempts are throttled.
    SheddingStarted "shedding_started" "shedding";
    /// Attempts are no longer throttled.
    SheddingEnded "shedding_ended" "shedding";
    /// Deliveries to a target fail.
    TargetDead "target_dead" "target";
    /// A target accepted an event again.
    TargetRecovered "target_recovered" "target";
    /// Events for a target were given up.
    DeadLetter "dead_letter" "dead_letter";
    /// A connection is no longer authorized.
    ConnectionDeauthorized "connection_deauthorized" "connection";
}

/// A notice about the engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    kind: NoticeKind,
    subject: String,
    detail: Map<String, Value>,
    /// Members whose values are added up when a newer notice replaces this one; of other members the newest value is
    /// kept.
    sums: BTreeMap<&'static str, u64>,
    /// Members of which the largest value is kept.
    worst: BTreeMap<&'static str, u64>,
    resources: Vec<String>,
}

impl Notice {
    /// A notice about `subject`: a name within its kind, empty if there is only one.
    pub fn new(kind: NoticeKind, subject: &str) -> Notice {
        Notice {
            kind,
            subject: shortened(subject),
            detail: Map::new(),
            sums: BTreeMap::new(),
            worst: BTreeMap::new(),
            resources: Vec::new(),
        }
    }

    pub fn kind(&self) -> NoticeKind {
        self.kind
    }

    /// Adds a member to its detail; texts are shortened to 1,024 bytes.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Notice {
        let value = match value.into() {
            Value::String(text) => Value::String(shortened(&text)),
            other => other,
        };
        self.detail.insert(member.to_owned(), value);
        self
    }

    /// Adds a count: the counts of notices that become one event are added up.
    #[must_use]
    pub fn counting(mut self, member: &'static str, count: u64) -> Notice {
        self.sums.insert(member, count);
        self
    }

    /// Adds a member of which the largest value is kept.
    #[must_use]
    pub fn at_worst(mut self, member: &'static str, value: u64) -> Notice {
        self.worst.insert(member, value);
        self
    }

    /// Merges an older notice that this one replaces.
    fn instead_of(mut self, older: &Notice) -> Notice {
        if older.kind == self.kind {
            for (member, count) in &older.sums {
                let sum = self.sums.entry(member).or_default();
                *sum = sum.saturating_add(*count);
            }
            for (member, value) in &older.worst {
                let worst = self.worst.entry(member).or_default();
                *worst = (*worst).max(*value);
            }
        }
        self
    }

    /// Adds the ARN of what it is about.
    #[must_use]
    pub fn about(mut self, arn: &str) -> Notice {
        if self.resources.len() < ARNS_MAX {
            self.resources.push(shortened(arn));
        }
        self
    }

    fn event(self, count: u64, untold: u64) -> NewEvent {
        let Notice { kind, mut detail, sums, worst, resources, .. } = self;
        detail.extend(sums.into_iter().chain(worst).map(|(member, number)| (member.to_owned(), number.into())));
        detail.insert("count".into(), count.into());
        if untold > 0 {
            detail.insert("untold".into(), untold.into());
        }
        let detail = Value::Object(detail).to_string();
        NewEvent { resources, ..NewEvent::new(SOURCE_ENGINE, kind.detail_type(), &detail) }
    }
}

fn shortened(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    text[..end].to_owned()
}

/// The waiting notice about a subject, and when it may be sent.
struct Slot {
    waiting: Option<(Notice, u64)>,
    not_before: Instant,
    /// How long to wait after the next event about it.
    quiet: Duration,
}

#[derive(Default)]
struct Topic {
    slots: BTreeMap<String, Slot>,
    untold: u64,
}

impl Topic {
    /// Drops subjects that were quiet for long; returns whether there is room for another.
    fn has_room(&mut self, now: Instant) -> bool {
        if self.slots.len() >= SUBJECTS_MAX {
            self.slots.retain(|_, slot| slot.waiting.is_some() || now < slot.not_before);
        }
        self.slots.len() < SUBJECTS_MAX
    }

    fn tell(&mut self, notice: Notice, now: Instant) {
        if !self.slots.contains_key(&notice.subject) && !self.has_room(now) {
            self.untold += 1;
            return;
        }
        let fresh = || Slot { waiting: None, not_before: now, quiet: AGAIN_MIN };
        let slot = self.slots.entry(notice.subject.clone()).or_insert_with(fresh);
        if slot.waiting.is_none() && now >= slot.not_before + slot.quiet {
            slot.quiet = AGAIN_MIN; // the state ended in between
        }
        slot.waiting = Some(match slot.waiting.take() {
            Some((older, count)) => (notice.instead_of(&older), count + 1),
            None => (notice, 1),
        });
    }

    fn take_due(&mut self, now: Instant, due: &mut Vec<NewEvent>) {
        for slot in self.slots.values_mut().filter(|slot| now >= slot.not_before) {
            let Some((notice, count)) = slot.waiting.take() else { continue };
            due.push(notice.event(count, std::mem::take(&mut self.untold)));
            slot.not_before = now + slot.quiet;
            slot.quiet = (slot.quiet * 2).min(AGAIN_MAX);
        }
    }
}

/// Where notices wait.
pub struct Notices {
    topics: Mutex<Topics>,
    pub bell: Notify,
}

#[derive(Default)]
struct Topics {
    by_name: BTreeMap<&'static str, Topic>,
    untold: u64,
}

impl Default for Notices {
    fn default() -> Self {
        Notices { topics: Mutex::default(), bell: Notify::for_thread() }
    }
}

impl Notices {
    fn topics(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock()
    }

    /// Posts a notice. Not for the path of an attempt: this takes a lock and builds text.
    pub fn tell(&self, notice: Notice) {
        self.tell_at(notice, Instant::now());
        self.bell.ring();
    }

    fn tell_at(&self, notice: Notice, now: Instant) {
        let mut topics = self.topics();
        let topic = topics.by_name.entry(notice.kind.topic()).or_default();
        let before = topic.untold;
        topic.tell(notice, now);
        let untold = topic.untold - before;
        topics.untold += untold;
    }

    /// Notices without room since the start.
    pub fn untold(&self) -> u64 {
        self.topics().untold
    }

    /// Takes the events that may be sent now.
    pub fn take_due(&self, now: Instant) -> Vec<NewEvent> {
        let mut due = Vec::new();
        self.topics().by_name.values_mut().for_each(|topic| topic.take_due(now, &mut due));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn dead(target: &str) -> Notice {
        Notice::new(NoticeKind::TargetDead, target).with("target", target)
    }

    fn details(events: &[NewEvent]) -> Vec<String> {
        events.iter().map(|event| format!("{} {}", event.detail_type, event.detail)).collect()
    }

    #[test]
    fn what_goes_on_is_told_at_once_and_then_less_and_less_often() {
        let (notices, start) = (Notices::default(), Instant::now());
        let mut told = Vec::new();
        for ms in (0..600_000).step_by(100) {
            let now = start + Duration::from_millis(ms);
            notices.tell_at(dead("a"), now);
            told.extend(notices.take_due(now).into_iter().map(|event| (ms / 1_000, event.detail)));
        }
        let at: Vec<u64> = told.iter().map(|(at, _)| *at).collect();
        assert_eq!(at[..8], [0, 1, 3, 7, 15, 31, 63, 123]);
        assert_eq!(told[1].1, r#"{"count":10,"target":"a"}"#, "ten a second");
        assert_eq!(notices.take_due(start + Duration::from_secs(610)).len(), 1, "the last is told too");
        // After being quiet for as long, it is sent at once again, and the next after a second.
        let now = start + Duration::from_secs(800);
        let again = [now, now + SECOND].map(|now| {
            notices.tell_at(dead("a"), now);
            notices.take_due(now).len()
        });
        assert_eq!(again, [1, 1]);
    }

    #[test]
    fn a_state_and_its_end_take_each_others_place() {
        let (notices, now) = (Notices::default(), Instant::now());
        notices.tell_at(dead("a"), now);
        notices.tell_at(Notice::new(NoticeKind::TargetRecovered, "a"), now);
        notices.tell_at(dead("b"), now);
        let told = details(&notices.take_due(now));
        assert_eq!(
            told,
            [r#"fakemon.target_recovered {"count":2}"#, r#"fakemon.target_dead {"count":1,"target":"b"}"#]
        );
        assert!(notices.take_due(now + SECOND).is_empty(), "each is told once");
    }

    #[test]
    fn what_becomes_one_event_is_added_up() {
        let (notices, now) = (Notices::default(), Instant::now());
        for (syncs, worst_ms) in [(3, 40), (4, 90), (1, 7)] {
            let notice = Notice::new(NoticeKind::SlowSync, "").counting("syncs", syncs);
            notices.tell_at(notice.at_worst("worst_ms", worst_ms).with("position", syncs), now);
        }
        let told = details(&notices.take_due(now));
        assert_eq!(told, [r#"fakemon.slow_sync {"count":3,"position":1,"syncs":8,"worst_ms":90}"#]);
    }

    #[test]
    fn a_flood_of_subjects_is_bounded_and_what_is_left_out_is_counted() {
        let (notices, now) = (Notices::default(), Instant::now());
        for target in 0..1_000 {
            notices.tell_at(dead(&target.to_string()), now);
        }
        assert_eq!(notices.untold(), 1_000 - SUBJECTS_MAX as u64);
        let told = notices.take_due(now);
        assert_eq!(told.len(), SUBJECTS_MAX);
        assert_eq!(told[0].detail, r#"{"count":1,"target":"0","untold":936}"#);
        notices.tell_at(dead("later"), now + SECOND);
        assert_eq!(notices.take_due(now + SECOND).len(), 1, "who is quiet makes room");
    }

    #[test]
    fn texts_are_bounded_and_stay_text() {
        let notice = Notice::new(NoticeKind::DeadLetter, &"ß".repeat(2_000)).with("why", "é".repeat(2_000));
        assert!(notice.subject.len() <= TEXT_BYTES_MAX);
        assert_eq!(notice.detail["why"].as_str().unwrap().len(), TEXT_BYTES_MAX);
    }

    #[test]
    fn every_kind_is_in_the_table_above() {
        let table = include_str!("notices.rs").split("use crate").next().unwrap();
        for kind in NoticeKind::ALL {
            assert!(table.contains(&format!("| `{}` |", kind.detail_type())), "{kind:?}");
        }
    }
}
