//! The next due times of all schedules. Time is an argument, and due times to fire are return values; which ones have
//! fired follows from the journal, so that no due time fires twice.

use super::timing::Timing;
use fakemon_model::ids::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The most missed due times that are counted for one schedule; a count of this many means "or more".
pub(crate) const MISSED_COUNTED_MAX: usize = 100;
/// The most missed due times that fire late for one schedule: the newest.
pub(crate) const CAUGHT_UP_MAX: usize = 1_000;

/// A clock that is set back by less than this waits until it has caught up: no due time fires twice. A clock that is
/// set back by more had been wrong, and schedules continue from the time it shows now.
pub const CORRECTION_NS: u64 = 60_000_000_000;

/// What happens to due times that a schedule missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missed {
    /// None of them fires.
    Skip,
    /// The last one fires, late.
    #[default]
    Last,
    /// All fire, late, in their order: at most the last thousand.
    All,
}

impl Missed {
    /// Parses the value of the tag `fakemon:missed`, or of `missed=` in a description.
    pub fn named(word: &str) -> Option<Missed> {
        match word {
            "skip" => Some(Missed::Skip),
            "last" => Some(Missed::Last),
            "all" => Some(Missed::All),
            _ => None,
        }
    }
}

/// The state of one schedule in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// When its present times were set: no earlier time was ever due.
    pub since: Timestamp,
    /// The last due time that fired, or was given up.
    pub fired: Timestamp,
}

impl Standing {
    /// The state after the clock was found to have been wrong: a time far in the future is cut off, because nothing
    /// would fire until then. A one-time schedule that fired stays fired.
    pub fn corrected(self, timing: &Timing, now: Timestamp) -> Standing {
        let fired = if timing.is_once() { self.fired } else { before_long(self.fired, now) };
        Standing { since: before_long(self.since, now), fired }
    }
}

fn before_long(at: Timestamp, now: Timestamp) -> Timestamp {
    if at > now.plus_ns(CORRECTION_NS) { now } else { at }
}

/// A due time to fire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fire {
    /// The key of its resource.
    pub key: Arc<str>,
    /// When it was due.
    pub due: Timestamp,
    /// When it should fire: some time in its window.
    pub fires_at: Timestamp,
    /// Whether the schedule is never due again.
    pub completes: bool,
    /// Of its resource, as [`Timetable::put`] got it.
    pub revision: Timestamp,
}

/// Missed due times of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissedTimes {
    pub key: Arc<str>,
    pub first: Timestamp,
    pub last: Timestamp,
    /// The number of missed due times; [`MISSED_COUNTED_MAX`] means this many or more.
    pub count: usize,
    pub caught_up: usize,
    pub completes: bool,
    pub revision: Timestamp,
}

/// Something that is never due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Over {
    pub key: Arc<str>,
    pub revision: Timestamp,
}

/// What to do now, in order.
#[derive(Debug, Default, PartialEq)]
pub struct Now {
    pub fires: Vec<Fire>,
    /// Reported after the late due times have fired.
    pub missed: Vec<MissedTimes>,
    /// Never due, from the beginning.
    pub over: Vec<Over>,
}

#[derive(Debug)]
struct Entry {
    timing: Timing,
    revision: Timestamp,
    /// As the journal says: what was taken is not there before it is durable.
    standing: Standing,
    /// The last due time that was taken.
    taken: Timestamp,
    next: Option<Next>,
}

#[derive(Clone, Copy, Debug)]
struct Next {
    due: Timestamp,
    fires_at: Timestamp,
}

/// The due times of all schedules.
#[derive(Debug, Default)]
pub struct Timetable {
    entries: BTreeMap<Arc<str>, Entry>,
    queue: BTreeSet<(Timestamp, Arc<str>)>,
    over: Vec<Over>,
}

impl Timetable {
    /// A schedule is so from now on. One whose times stay the same goes on where it is. What is taken later names the
    /// revision: the resource may have been changed since, and this follows behind.
    pub fn put(
        &mut self,
        key: &str,
        timing: Timing,
        revision: Timestamp,
        standing: impl FnOnce() -> Standing,
    ) -> Standing {
        let held = self.take_out(key);
        let taken = held.as_ref().map_or(Timestamp(0), |held| held.taken);
        let standing = match held {
            Some(held) if held.timing == timing => held.standing,
            Some(held) => Standing { fired: held.standing.fired, ..standing() },
            None => standing(),
        };
        let key: Arc<str> = key.into();
        let mut entry = Entry { timing, revision, standing, taken, next: None };
        entry.look_ahead();
        match entry.next {
            Some(next) => self.queue.extend([(next.fires_at, key.clone())]),
            None => self.over.push(Over { key: key.clone(), revision }),
        }
        self.entries.insert(key, entry);
        standing
    }

    /// Removes a schedule; returns whether it existed.
    pub fn remove(&mut self, key: &str) -> bool {
        self.take_out(key).is_some()
    }

    /// Removes all schedules whose key begins with `prefix`.
    pub fn remove_all(&mut self, prefix: &str) {
        let keys = self.entries.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        let keys: Vec<Arc<str>> =
            keys.map(|(key, _)| key.clone()).take_while(|key| key.starts_with(prefix)).collect();
        keys.iter().for_each(|key| drop(self.take_out(key)));
    }

    fn take_out(&mut self, key: &str) -> Option<Entry> {
        let (key, entry) = self.entries.remove_entry(key)?;
        if let Some(next) = entry.next {
            self.queue.remove(&(next.fires_at, key));
        }
        Some(entry)
    }

    /// Corrects all schedules after the clock was set back far, so that nothing waits for the wrong time.
    pub fn turn_back(&mut self, now: Timestamp) {
        let keys: Vec<Arc<str>> = self.entries.keys().cloned().collect();
        for key in keys {
            let entry = self.entries.get_mut(&key).expect("nothing is removed meanwhile");
            entry.standing = entry.standing.corrected(&entry.timing, now);
            if !entry.timing.is_once() {
                entry.taken = before_long(entry.taken, now);
            }
            if let Some(next) = entry.next {
                self.queue.remove(&(next.fires_at, key.clone()));
            }
            self.reschedule(&key);
        }
    }

    /// Records that a schedule fired, as the journal says; returns its state, if it still exists.
    pub fn fired(&mut self, key: &str, due: Timestamp, now: Timestamp) -> Option<Standing> {
        let entry = self.entries.get_mut(key)?;
        let due = Standing { fired: due, ..entry.standing }.corrected(&entry.timing, now).fired;
        if due > entry.standing.fired {
            entry.standing.fired = due;
            // A due time that fires live was taken before; this is for due times read from the journal after a
            // restart.
            if let Some(next) = entry.next.filter(|next| next.due <= due) {
                let (key, _) = self.entries.get_key_value(key).expect("it was just there");
                let key = key.clone();
                self.queue.remove(&(next.fires_at, key.clone()));
                self.reschedule(&key);
            }
        }
        self.entries.get(key).map(|entry| entry.standing)
    }

    fn reschedule(&mut self, key: &Arc<str>) -> bool {
        let entry = self.entries.get_mut(key).expect("who calls holds its key");
        entry.look_ahead();
        let next = entry.next;
        self.queue.extend(next.map(|next| (next.fires_at, key.clone())));
        next.is_none()
    }

    /// When the next due time fires; time 0 if something has to be reported now.
    pub fn next_at(&self) -> Option<Timestamp> {
        if !self.over.is_empty() {
            return Some(Timestamp(0));
        }
        self.queue.first().map(|(at, _)| *at)
    }

    /// The number of schedules.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes the due times to fire up to now, about `max` at most, in the order in which they fire. Those up to
    /// `missed_until` were missed; `wants` says what happens to them.
    pub fn take(
        &mut self,
        now: Timestamp,
        missed_until: Timestamp,
        max: usize,
        wants: &dyn Fn(&str) -> Missed,
    ) -> Now {
        let mut taken = Now { over: std::mem::take(&mut self.over), ..Now::default() };
        while taken.fires.len() + taken.missed.len() < max {
            let Some((fires_at, key)) = self.queue.first().filter(|(at, _)| *at <= now).cloned() else { break };
            self.queue.pop_first();
            if fires_at <= missed_until {
                self.miss(&key, missed_until, wants(&key), &mut taken);
                continue;
            }
            let entry = self.entries.get_mut(&key).expect("what is in the queue has an entry");
            let (due, revision) = (entry.next.expect("what is in the queue has a time").due, entry.revision);
            entry.taken = due;
            let completes = self.reschedule(&key);
            taken.fires.push(Fire { key, due, fires_at, completes, revision });
        }
        taken
    }

    fn miss(&mut self, key: &Arc<str>, until: Timestamp, wants: Missed, taken: &mut Now) {
        let entry = self.entries.get_mut(key).expect("what is in the queue has an entry");
        let (timing, standing) = (&entry.timing, entry.standing);
        let first = entry.next.expect("what is in the queue has a time").due;
        let most = if wants == Missed::All { CAUGHT_UP_MAX } else { MISSED_COUNTED_MAX };
        let is_missed = |due: &Timestamp| timing.window_ns == 0 || timing.fires_at(standing.since, *due) <= until;
        let earlier = timing.earlier(standing.since, until).filter(is_missed);
        let missed: Vec<Timestamp> = earlier.take_while(|due| *due >= first).take(most).collect();
        let last = missed.first().copied().unwrap_or(first);
        let caught_up = match wants {
            Missed::Skip => 0,
            Missed::Last => 1,
            Missed::All => missed.len(),
        };
        entry.taken = last;
        let revision = entry.revision;
        let completes = self.reschedule(key);
        for due in missed[..caught_up.min(missed.len())].iter().rev() {
            taken.fires.push(Fire {
                key: key.clone(),
                due: *due,
                fires_at: *due,
                completes: completes && *due == last,
                revision,
            });
        }
        let count = missed.len().max(1);
        taken.missed.push(MissedTimes { key: key.clone(), first, last, count, caught_up, completes, revision });
    }
}

impl Entry {
    fn look_ahead(&mut self) {
        let Standing { since, fired } = self.standing;
        let due = self.timing.next(since, fired.max(self.taken));
        let next = due.map(|due| Next { due, fires_at: self.timing.fires_at(since, due) });
        self.next = next;
    }
}

/// States by key, as stored.
pub type Standings = HashMap<String, Standing>;
