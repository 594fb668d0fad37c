//! What is due next, of everything that is to happen by the clock. Time comes in as an argument, what fires goes out as
//! values; what has fired follows from the journal, so that nothing fires twice for one due time, whatever happens.

use super::timing::Timing;
use fakemon_model::ids::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Missed due times that are counted for one schedule; more are told as so many.
pub(crate) const MISSED_COUNTED_MAX: usize = 100;
/// Missed due times that are caught up for one schedule: the newest.
pub(crate) const CAUGHT_UP_MAX: usize = 1_000;

/// A clock that is set back by less waits until it has caught up: nothing fires twice for a due time. After more than that
/// it had been wrong, and schedules go on from the time that it shows now.
pub const CORRECTION_NS: u64 = 60_000_000_000;

/// What a schedule wants of due times that it missed, while nobody was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missed {
    /// They are over.
    Skip,
    /// The last one fires, late.
    #[default]
    Last,
    /// All fire, late, in their order: at most the last thousand.
    All,
}

impl Missed {
    /// The value of the tag `fakemon:missed`, and of `missed=` in a description.
    pub fn named(word: &str) -> Option<Missed> {
        match word {
            "skip" => Some(Missed::Skip),
            "last" => Some(Missed::Last),
            "all" => Some(Missed::All),
            _ => None,
        }
    }
}

/// What the journal says of one schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Since when it is kept as it is: nothing before was ever due.
    pub since: Timestamp,
    /// The last due time that fired, or was given up.
    pub fired: Timestamp,
}

impl Standing {
    /// As it is once the clock was found to have been wrong: nothing of it lies in a far future, where it would hold up
    /// whatever is due until then. What is due once, and was, stays so.
    pub fn corrected(self, timing: &Timing, now: Timestamp) -> Standing {
        let fired = if timing.is_once() { self.fired } else { before_long(self.fired, now) };
        Standing { since: before_long(self.since, now), fired }
    }
}

fn before_long(at: Timestamp, now: Timestamp) -> Timestamp {
    if at > now.plus_ns(CORRECTION_NS) { now } else { at }
}

/// Something fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fire {
    /// The key of its resource.
    pub key: Arc<str>,
    /// When it was due.
    pub due: Timestamp,
    /// When it was to fire: somewhere in its window.
    pub fires_at: Timestamp,
    /// Whether it never is due again.
    pub completes: bool,
    /// Of its resource, as [`Timetable::put`] got it.
    pub revision: Timestamp,
}

/// Due times passed while nobody was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissedTimes {
    pub key: Arc<str>,
    pub first: Timestamp,
    pub last: Timestamp,
    /// [`MISSED_COUNTED_MAX`] stands for more, too.
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

/// What has to happen now, in order.
#[derive(Debug, Default, PartialEq)]
pub struct Now {
    pub fires: Vec<Fire>,
    /// To be told after what is caught up has fired.
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

/// Everything that is to happen by the clock.
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

    /// It is gone; whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        self.take_out(key).is_some()
    }

    /// Everything whose key begins so is gone.
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

    /// The clock was set back, far: what was due by its wrong time holds up nothing.
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

    /// The journal says that it fired; where it stands now, if it is still there.
    pub fn fired(&mut self, key: &str, due: Timestamp, now: Timestamp) -> Option<Standing> {
        let entry = self.entries.get_mut(key)?;
        let due = Standing { fired: due, ..entry.standing }.corrected(&entry.timing, now).fired;
        if due > entry.standing.fired {
            entry.standing.fired = due;
            // What fired now was taken before; this is of what is read after a restart.
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

    /// When something fires next; the beginning of time if something is to be said now.
    pub fn next_at(&self) -> Option<Timestamp> {
        if !self.over.is_empty() {
            return Some(Timestamp(0));
        }
        self.queue.first().map(|(at, _)| *at)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes what fires up to now, at most about `max`, in the order in which it fires. What was to fire up to
    /// `missed_until` was missed; `wants` says what its schedule wants then.
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

/// Standings by key, as they were noted.
pub type Standings = HashMap<String, Standing>;
