//! The thread that fires schedules: sleeps until one is due, and puts its event into the journal. The router tells it
//! which schedules exist; what has fired follows from the journal, so this thread stores nothing.

use fakemon_capture::client::Client;
use fakemon_capture::command::SubmitError;
use fakemon_delivery::rule_arn;
use fakemon_journal::Progress;
use fakemon_model::envelope::{REGION, SOURCE_ENGINE};
use fakemon_model::ids::{Position, Timestamp, Token};
use fakemon_model::limits::{PUT_BYTES_MAX, PUT_EVENTS_MAX};
use fakemon_model::names::{BusName, Region, RuleName, ScheduleGroupName, ScheduleName};
use fakemon_resource::resource::{Change, Rule, Schedule, Tags};
use fakemon_resource::{DEFAULT_BUS, NewEvent, Registry, Resources};
use fakemon_schedule::{Agenda, CORRECTION_NS, Fire, Firing, Missed, MissedTimes, Now, detail, schedule_arn};
use fakemon_sync::failure::Failure;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The longest sleep, which is how soon it notices that the wall clock was set forward.
const LOOK: Duration = Duration::from_secs(1);
/// A gain of more than this on the engine's clock between two looks means that the wall clock was set forward, or
/// that the machine slept.
const JUMP_NS: i64 = 1_000_000_000;
/// A step back by more than this counts as a clock correction.
const SET_BACK_NS: i64 = CORRECTION_NS as i64;
/// Turns in flight before it waits for the journal.
const TURNS_MAX: usize = 8;
/// The pause before a refused turn is submitted again.
const PATIENCE: Duration = Duration::from_millis(20);
/// The most due times in one turn: each can bring the deletion of its schedule.
const FIRES_MAX: usize = PUT_EVENTS_MAX / 2;

pub(crate) struct Timekeeper {
    pub(crate) agenda: Arc<Agenda>,
    pub(crate) client: Client,
    pub(crate) resources: Arc<Resources>,
    pub(crate) progress: Arc<Progress>,
    /// The end of the journal when the engine was opened: until it is read, it is unknown what has fired.
    pub(crate) opened_at: Position,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) failure: Arc<Failure>,
    pub(crate) under_way: usize,
}

impl Timekeeper {
    /// Fires schedules until stopped.
    pub(crate) fn run(mut self) {
        while self.progress.routed() < self.opened_at && !self.is_over() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let (mut missed_until, mut ahead) = (self.agenda.opened_at, self.agenda.look_at_wall());
        while !self.is_over() {
            let before = std::mem::replace(&mut ahead, self.agenda.look_at_wall());
            let (now, gained_ns) = (self.agenda.now(), before.0.saturating_sub(ahead.0));
            if gained_ns > JUMP_NS {
                missed_until = missed_until.max(now);
            }
            if gained_ns < -SET_BACK_NS {
                let set_back_s = -gained_ns / 1_000_000_000;
                tracing::warn!(set_back_s, "the wall clock was set back: schedules go on from the time it shows now");
                missed_until = Timestamp(0);
                self.agenda.timetable().turn_back(now);
            }
            let registry = self.resources.current();
            let wants = |key: &str| wants(&registry, key);
            let taken = self.agenda.timetable().take(now, missed_until, FIRES_MAX, &wants);
            if taken == Now::default() {
                missed_until = Timestamp(0); // all missed times are taken; later schedules missed none
                self.sleep(now);
            } else if self.fire(&registry, taken, now).is_err() {
                return; // the engine stops; what did not fire counts as missed
            }
        }
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst) || self.failure.happened()
    }

    fn sleep(&mut self, now: Timestamp) {
        self.settle(None);
        let bell = &self.agenda.bell;
        bell.arm_thread();
        let timetable = self.agenda.timetable();
        let (next, nothing) = (timetable.next_at(), timetable.len() == 0);
        drop(timetable);
        let due = next.map_or(LOOK, |next| Duration::from_nanos(next.ns_since(now)).min(LOOK));
        if !self.is_over() && !due.is_zero() {
            std::thread::park_timeout(if nothing { LOOK * 60 } else { due });
        }
        bell.disarm();
    }

    fn fire(&mut self, registry: &Registry, taken: Now, now: Timestamp) -> Result<(), SubmitError> {
        let (mut firings, mut bytes) = (Vec::new(), 0);
        let fires = taken.fires.iter().filter_map(|fire| firing(registry, fire));
        let missed = taken.missed.iter().filter_map(|missed| self::missed(registry, missed));
        let ends: Vec<Change> =
            taken.over.iter().filter_map(|over| end(registry, &over.key, over.revision)).collect();
        for firing in fires.chain(missed) {
            let more = firing.event.detail.len() + 1_024;
            if firings.len() >= FIRES_MAX || bytes + more > PUT_BYTES_MAX / 2 {
                self.submit(&std::mem::take(&mut firings))?;
                bytes = 0;
            }
            bytes += more;
            firings.push(firing);
        }
        if !firings.is_empty() {
            self.submit(&firings)?;
        }
        for ends in ends.chunks(FIRES_MAX) {
            self.offer(|client| client.change(Token(0), ends.to_vec()))?;
        }
        self.agenda.count(&taken, now);
        Ok(())
    }

    fn submit(&mut self, firings: &[Firing]) -> Result<(), SubmitError> {
        self.offer(|client| client.fire(Token(0), firings))
    }

    /// Counts completed turns; with `patience` it waits that long for one.
    fn settle(&mut self, patience: Option<Duration>) {
        let mut done = Vec::new();
        match patience {
            Some(patience) => self.client.wait(&mut done, patience),
            None => self.client.poll(&mut done),
        };
        self.under_way -= done.len(); // each turn that was accepted is completed once
    }

    /// Submits a turn until it is accepted, and waits while too many are in flight.
    fn offer(&mut self, submit: impl Fn(&mut Client) -> Result<(), SubmitError>) -> Result<(), SubmitError> {
        loop {
            self.settle(None);
            while self.under_way >= TURNS_MAX && !self.client.is_stopped() {
                if self.is_over() {
                    return Err(SubmitError::Stopped);
                }
                self.settle(Some(PATIENCE));
            }
            match submit(&mut self.client) {
                Ok(()) => {
                    self.under_way += 1;
                    return Ok(());
                }
                Err(SubmitError::Throttled(_)) if !self.is_over() => std::thread::sleep(PATIENCE),
                Err(SubmitError::TooLarge) => {
                    tracing::error!("what a schedule brings is too large for the journal, and does not happen");
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The rule of a key.
fn rule<'r>(registry: &'r Registry, key: &str) -> Option<&'r Rule> {
    let (bus, name) = key.strip_prefix("rule/")?.split_once('/')?;
    registry.rules.get(&(bus.to_owned(), name.to_owned()))
}

/// The schedule of a key.
fn schedule<'r>(registry: &'r Registry, key: &str) -> Option<&'r Schedule> {
    let (group, name) = key.strip_prefix("schedule/")?.split_once('/')?;
    registry.schedules.get(&(group.to_owned(), name.to_owned()))
}

/// What happens to the missed due times of a schedule: a word `missed=…` in its description, else the tag of its
/// group or rule.
fn wants(registry: &Registry, key: &str) -> Missed {
    let tagged = |tags: &Tags| tags.get("fakemon:missed").and_then(|word| Missed::named(word));
    let wanted = match schedule(registry, key) {
        Some(schedule) => {
            let words = schedule.description.as_deref().unwrap_or_default().split_whitespace();
            let mut said = words.filter_map(|word| Missed::named(word.strip_prefix("missed=")?));
            said.next().or_else(|| tagged(&registry.schedule_groups.get(&schedule.group)?.tags))
        }
        None => rule(registry, key).and_then(|rule| tagged(&rule.tags)),
    };
    wanted.unwrap_or_default()
}

/// What ends with the last due time of a revision. The registry may be ahead of the timetable: a schedule that was
/// changed meanwhile has due times of its own, and is not what is over.
fn end(registry: &Registry, key: &str, revision: Timestamp) -> Option<Change> {
    let is_over = |schedule: &&Schedule| schedule.delete_when_over && schedule.modified_at == revision;
    Some(Change::Delete(schedule(registry, key).filter(is_over)?.key_as_it_is()))
}

fn arn(registry: &Registry, key: &str) -> Option<(String, String)> {
    if let Some(Schedule { region, group, name, .. }) = schedule(registry, key) {
        return Some((schedule_arn(Region(region), ScheduleGroupName(group), ScheduleName(name)), region.clone()));
    }
    let Rule { region, bus, name, .. } = rule(registry, key)?;
    Some((rule_arn(Region(region), BusName(bus), RuleName(name)), region.clone()))
}

/// The event of a due time; none if its schedule was just deleted.
fn firing(registry: &Registry, fire: &Fire) -> Option<Firing> {
    let (arn, region) = arn(registry, &fire.key)?;
    let (source, detail) = match schedule(registry, &fire.key) {
        Some(schedule) => ("aws.scheduler", detail(schedule, fire.completes)),
        None => ("aws.events", "{}".into()),
    };
    let event = NewEvent {
        bus: String::new(),
        source: source.into(),
        detail_type: "Scheduled Event".into(),
        detail,
        resources: vec![arn],
        time: Some(fire.due),
        region,
        cause: None,
        hops: 0,
        by: None,
        origin: None,
        trace: None,
    };
    let ends = fire.completes.then(|| end(registry, &fire.key, fire.revision)).flatten();
    Some(Firing { schedule: Some(fire.key.to_string()), event, ends })
}

/// The event that reports missed due times; with it the journal shows that they are over.
fn missed(registry: &Registry, missed: &MissedTimes) -> Option<Firing> {
    let (arn, _) = arn(registry, &missed.key)?;
    let detail = json!({
        "schedule": arn,
        "missed": missed.count,
        "first": missed.first.to_string(),
        "last": missed.last.to_string(),
        "caught_up": missed.caught_up,
    });
    let event = NewEvent {
        bus: DEFAULT_BUS.into(),
        source: SOURCE_ENGINE.into(),
        detail_type: "fakemon.schedule_missed".into(),
        detail: detail.to_string(),
        resources: vec![arn],
        time: Some(missed.last),
        region: REGION.into(),
        cause: None,
        hops: 0,
        by: None,
        origin: None,
        trace: None,
    };
    let is_last = missed.completes && missed.caught_up == 0;
    let ends = is_last.then(|| end(registry, &missed.key, missed.revision)).flatten();
    Some(Firing { schedule: Some(missed.key.to_string()), event, ends })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fakemon_resource::resource::Resource;

    /// The registry is ahead of the timetable: what was taken is of the revision before.
    #[test]
    fn a_schedule_that_was_changed_meanwhile_does_not_end() {
        let schedule = Schedule {
            group: "default".into(),
            name: "once".into(),
            expression: "at(2026-11-25T11:00:00)".into(),
            zone: "UTC".into(),
            start: None,
            end: None,
            window_minutes: 0,
            enabled: true,
            description: None,
            kms_key_arn: None,
            target: "{}".into(),
            delete_when_over: true,
            region: REGION.into(),
            created_at: Timestamp(1),
            modified_at: Timestamp(2),
            client_token: None,
        };
        let mut registry = Registry::new();
        registry.apply(&Change::Put(Resource::Schedule(schedule)));
        let key = "schedule/default/once";
        assert_eq!(end(&registry, key, Timestamp(1)), None);
        assert_eq!(end(&registry, key, Timestamp(2)), Some(Change::Delete(format!("{key}@2"))));
        let fire = |revision: u64| Fire {
            key: key.into(),
            due: Timestamp(5),
            fires_at: Timestamp(5),
            completes: true,
            revision: Timestamp(revision),
        };
        assert!(firing(&registry, &fire(1)).is_some_and(|firing| firing.ends.is_none()));
        assert!(firing(&registry, &fire(2)).is_some_and(|firing| firing.ends.is_some()));
    }
}
