//! Schedules in the router: it updates the timetable with the resources, records in the journal's order which
//! schedules have fired, and puts their events on the lanes of their targets.

use super::{Router, gather, live};
use crate::event_reader::told;
use crate::lane::scheduled;
use crate::lane::{Arrival, Lane, LaneId};
use crate::router::router_state;
use fakemon_journal::ReadError;
use fakemon_model::envelope::{EventKey, Facet};
use fakemon_model::event::{Event, Put};
use fakemon_model::ids::{Position, ShardId, Timestamp};
use fakemon_model::names::{BusName, RuleName};
use fakemon_resource::resource::{Resource, Rule, Schedule};
use fakemon_schedule::{Standing, Timing};
use std::sync::Arc;

impl Router {
    /// Fills the timetable with the coming due times of all schedules.
    pub(super) fn fill_timetable(&mut self) {
        let registry = self.known.registry.clone();
        registry.schedules.values().for_each(|schedule| self.keep_schedule(schedule, self.agenda.opened_at));
        registry.rules.values().for_each(|rule| self.keep_rule(rule, self.agenda.opened_at));
        self.known.standings.clear();
    }

    pub(super) fn keep_schedule(&mut self, schedule: &Schedule, at: Timestamp) {
        let key = Resource::Schedule(schedule.clone()).key();
        self.keep(&key, Timing::of_schedule(schedule), schedule.modified_at, at);
    }

    pub(super) fn keep_rule(&mut self, rule: &Rule, at: Timestamp) {
        if rule.schedule.is_some() {
            self.keep(&Resource::Rule(rule.clone()).key(), Timing::of_rule(rule), rule.created_at, at);
        } else {
            self.no_longer_due(&Resource::Rule(rule.clone()).key());
        }
    }

    /// From `at` on, by the wall clock, a schedule is due so; none: it is not.
    pub(super) fn keep(&mut self, key: &str, timing: Option<Timing>, revision: Timestamp, at: Timestamp) {
        let Some(timing) = timing else { return self.no_longer_due(key) };
        let noted = self.known.standings.get(key).copied();
        let (since, now) = (at, self.agenda.now());
        let new = noted.unwrap_or(Standing { since, fired: Timestamp(0) }).corrected(&timing, now);
        let standing = self.agenda.change(|timetable| timetable.put(key, timing, revision, || new));
        if noted != Some(standing) {
            router_state::note_standing(&mut self.changes, key, standing);
        }
    }

    pub(super) fn no_longer_due(&mut self, key: &str) {
        if self.agenda.change(|timetable| timetable.remove(key)) {
            router_state::forget_standing(&mut self.changes, key);
        }
    }

    pub(super) fn group_no_longer_due(&mut self, group: &str) {
        self.hand_over();
        let prefix = format!("schedule/{group}/");
        self.agenda.change(|timetable| timetable.remove_all(&prefix));
        router_state::forget_standings(&mut self.changes, &prefix);
    }

    /// Records that a due time has passed; false if its schedule no longer exists.
    pub(super) fn was_due(&mut self, schedule: &str, due: Timestamp) -> bool {
        let now = self.agenda.now();
        let standing = self.agenda.change(|timetable| timetable.fired(schedule, due, now));
        standing.into_iter().for_each(|standing| router_state::note_standing(&mut self.changes, schedule, standing));
        standing.is_some()
    }

    /// Puts the event of a schedule on the lane of its target.
    pub(super) fn fire(
        &mut self,
        schedule: &str,
        put: &Put,
        position: Position,
        shard: ShardId,
        committed_at: Timestamp,
        event: &Event,
    ) -> Result<(), ReadError> {
        let lanes: Vec<Arc<Lane>> = match schedule.split('/').collect::<Vec<_>>().as_slice() {
            ["rule", bus, rule] => {
                let targets = self.known.registry.targets_of(BusName(bus), RuleName(rule));
                targets.filter_map(|target| self.lanes.get(&live(target))).collect()
            }
            ["schedule", group, _] => {
                let kind = scheduled::kind_of(scheduled::arn_of(&put.detail).as_deref().unwrap_or_default());
                vec![self.scheduled_lane(scheduled::live(group, &kind), position)?]
            }
            _ => Vec::new(),
        };
        let key = EventKey::new(position, Facet::Happened);
        let told = told(key, shard, committed_at, event, None);
        let mut json: Option<Arc<str>> = None;
        for lane in lanes {
            if lane.wants_json() && json.is_none() {
                json = Some(self.events.json(&told).into());
            }
            let json = json.clone().filter(|_| lane.wants_json());
            gather(&mut self.fired, &lane, Arrival { key, json, at: committed_at });
        }
        Ok(())
    }

    /// The lane of an id, made if there is none; beyond the most lanes of schedules, that of its group for events
    /// without a destination.
    pub(super) fn scheduled_lane(&mut self, id: LaneId, position: Position) -> Result<Arc<Lane>, ReadError> {
        let group = id.subscriber.group().expect("it is an id of schedules").to_owned();
        let ours = || self.lanes.all().iter().filter(|lane| lane.id().subscriber.group().is_some()).count();
        let id = match self.lanes.get(&id) {
            Some(lane) => return Ok(lane),
            None if ours() < scheduled::LANES_MAX => id,
            None => scheduled::live(&group, scheduled::NOTHING).on(id.course),
        };
        if let Some(lane) = self.lanes.get(&id) {
            return Ok(lane);
        }
        let parallel = scheduled::parallel(id.subscriber.target());
        // The cursor is before all events of this position.
        let lane = Lane::new(id.clone(), scheduled::target(&id), EventKey::new(position, Facet::Attempt));
        lane.set_parallel(parallel);
        if let Some(kept) = self.kept.remove(&id) {
            lane.restore(kept, &self.depot)?;
        }
        let lane = Arc::new(lane);
        self.lanes.insert(lane.clone());
        Ok(lane)
    }

    /// Opens the lanes of schedules on which events still wait.
    pub(super) fn open_scheduled_lanes(&mut self) -> Result<(), ReadError> {
        let ids: Vec<LaneId> = self.kept.keys().filter(|id| id.subscriber.group().is_some()).cloned().collect();
        for id in ids {
            self.scheduled_lane(id, self.known.next)?;
        }
        Ok(())
    }
}
