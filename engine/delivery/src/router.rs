//! The thread between the journal and the lanes: reads durable events, applies changes of resources at their
//! positions, matches all other events, and adds them to the lanes of their targets. No other thread matches live
//! events, so the rules in force are known at every position of the journal.
//!
//! - `due`: schedules

pub(crate) mod router_state;

mod due;

use super::answers::Answers;
use super::commands::is_command;
use super::filter::{Filter, Patterns};
use super::lane::{Arrival, Course, Lane, LaneId, StoredLane};
use super::lanes::Lanes;
use crate::dispatcher::trace_of;
use crate::event_reader::{Events, keys_of, told};
use crate::lane::subscriber::Subscriber;
use crate::metrics::BusMetrics;
use crate::metrics::traffic::Tally;
use fakemon_capture::decision::record;
use fakemon_fbs::journal::{BlockHead, Event as Record};
use fakemon_journal::follower::Follower;
use fakemon_journal::{Batch, BusStore, Progress, ReadError};
use fakemon_model::envelope::{ACCOUNT, EventKey, Facet, REGION, bus};
use fakemon_model::event::Event;
use fakemon_model::ids::{Position, ShardId, Timestamp};
use fakemon_model::names::{BusName, RuleName, TargetId};
use fakemon_resource::inbound::AnswerWebhook;
use fakemon_resource::resource::{Change, Resource, Target};
use fakemon_schedule::Agenda;
use fakemon_sync::failure::Failure;
use fakemon_sync::pulse;
use hashbrown::HashMap;
use router_state::Known;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the router's state is stored, at least while events arrive.
const WRITE_EVERY: Duration = Duration::from_millis(100);
/// How long it reads before it hands over what it gathered.
const TURN: Duration = Duration::from_millis(2);

/// The lanes of each rule of a bus.
type Feeds = Vec<Vec<Arc<Lane>>>;

pub struct Router {
    pub follower: Follower,
    pub progress: Arc<Progress>,
    pub depot: Arc<BusStore>,
    pub known: Known,
    pub lanes: Arc<Lanes>,
    pub agenda: Arc<Agenda>,
    pub events: Events,
    pub figures: Arc<BusMetrics>,
    pub failure: Arc<Failure>,
    /// Stored lanes whose target is not known yet.
    kept: HashMap<LaneId, StoredLane>,
    /// The end of the journal when the engine was opened.
    opened_at: Position,
    buses: HashMap<String, Routed>,
    patterns: Patterns,
    /// Commands from all buses: they are carried out in the order of the journal.
    commands: Vec<Arrival>,
    answers: Answers,
    /// Events of schedules, for the targets of each.
    fired: BTreeMap<LaneId, (Arc<Lane>, Vec<Arrival>)>,
    /// Deliveries that the journal shows as done, because their result is an event.
    delivered: Vec<(LaneId, EventKey)>,
    changes: Batch,
}

/// A bus with its rules compiled.
struct Routed {
    filter: Filter,
    feeds: Feeds,
    tally: Tally,
    events: u64,
    matched: u64,
    /// The events that each lane gets in this turn.
    gathered: BTreeMap<LaneId, (Arc<Lane>, Vec<Arrival>)>,
}

impl Router {
    #[expect(clippy::too_many_arguments, reason = "everything that it connects")]
    pub fn open(
        follower: Follower,
        progress: Arc<Progress>,
        depot: Arc<BusStore>,
        known: Known,
        lanes: Arc<Lanes>,
        agenda: Arc<Agenda>,
        events: Events,
        figures: Arc<BusMetrics>,
        failure: Arc<Failure>,
    ) -> Result<Router, ReadError> {
        let kept = super::lane::read_all(&depot)?.into_iter().collect();
        let opened_at = progress.committed();
        let mut router = Router {
            follower,
            progress,
            depot,
            known,
            lanes,
            agenda,
            events,
            figures,
            failure,
            kept,
            opened_at,
            buses: HashMap::new(),
            patterns: Patterns::default(),
            commands: Vec::new(),
            answers: Answers::default(),
            fired: BTreeMap::new(),
            delivered: Vec::new(),
            changes: Batch::default(),
        };
        let targets: Vec<Target> = router.known.registry.targets.values().cloned().collect();
        for target in targets {
            router.open_lane(&target, router.known.next)?;
        }
        router.open_lane(&capture_target(), router.known.next)?;
        let webhooks: Vec<AnswerWebhook> = router.known.registry.answer_webhooks.values().cloned().collect();
        for webhook in &webhooks {
            router.list_answers(webhook, router.known.next)?;
        }
        router.open_scheduled_lanes()?;
        router.fill_timetable();
        router.progress.set_routed(router.known.next);
        Ok(router)
    }

    /// Routes until stopped, then routes all durable events, and ends.
    pub fn run(mut self) {
        let mut written = Instant::now();
        loop {
            let stopping = self.follower.stopping() && !self.follower.behind();
            if !stopping {
                pulse::rest();
                self.follower.wait(WRITE_EVERY);
            }
            pulse::work();
            let result = self.route().and_then(|urgent| {
                if urgent || stopping || written.elapsed() >= WRITE_EVERY {
                    written = Instant::now();
                    return self.write().map_err(ReadError::Failed);
                }
                Ok(())
            });
            if let Err(error) = result {
                return self.failure.set(format!("the bus: {error}"));
            }
            if stopping {
                return;
            }
        }
    }

    /// Reads for one turn; true if lanes must be written.
    fn route(&mut self) -> Result<bool, ReadError> {
        let started = Instant::now();
        let mut failed = None;
        let mut urgent = false;
        while self.follower.behind() && failed.is_none() && !urgent {
            // A second follower, so that the visitor may use all of `self`.
            let mut follower = self.follower.clone_place();
            follower.read(
                &mut |block, _| {
                    let head = block.head();
                    block.for_each(|position, shard, event| {
                        if failed.is_none() && position >= self.known.next.0 {
                            let result = self.event(Position(position), ShardId(shard), &head, event);
                            failed = result.err();
                        }
                    });
                },
                &|| started.elapsed() >= TURN,
            )?;
            self.follower.next = follower.next;
            self.known.next = follower.next;
            urgent = self.hand_over();
            if started.elapsed() >= TURN {
                break;
            }
        }
        assert!(self.known.next <= self.progress.committed(), "only durable events are routed");
        self.progress.set_routed(self.known.next);
        if self.known.next >= self.opened_at && !self.kept.is_empty() {
            self.forget_kept();
        }
        failed.map_or(Ok(urgent), Err)
    }

    fn event(
        &mut self,
        position: Position,
        shard: ShardId,
        head: &BlockHead,
        event: Record<'_>,
    ) -> Result<(), ReadError> {
        let (committed_at, ahead) = (record::committed_at(head), record::ahead(head));
        if let Record::Changed(changed) = &event {
            let change = router_state::change(changed).map_err(|error| ReadError::corrupt(position, error))?;
            self.apply(&change, position, ahead.to_wall(Timestamp(changed.at_ns)))?;
        }
        let event = record::event(event, ahead);
        if let Event::Put(put) = &event
            && let Some((by, cause)) = put.by.as_deref().zip(put.cause)
        {
            self.delivered.extend(LaneId::of_delivery(by, cause));
        }
        if let Event::Put(put) = &event
            && let Some(schedule) = &put.schedule
        {
            let is_there = self.was_due(schedule, put.time);
            match put.bus.is_empty() {
                true if is_there => return self.fire(schedule, put, position, shard, committed_at, &event),
                true => return Ok(()),
                false => {}
            }
        }
        let name = bus(&event);
        if !self.buses.contains_key(name) {
            let routed = self.compile(name);
            self.buses.insert(name.to_owned(), routed);
        }
        let routed = self.buses.get_mut(name).expect("it was just made");
        if is_command(&event) {
            let key = EventKey::new(position, Facet::Happened);
            self.commands.push(Arrival { key, json: None, at: committed_at });
        }
        self.answers.event(position, committed_at, &event, &self.events);
        for key in keys_of(position, &event) {
            routed.event(key, shard, committed_at, &event, &self.events);
        }
        Ok(())
    }

    fn compile(&mut self, bus: &str) -> Routed {
        let filter = Filter::new(self.known.registry.rules_of(bus), &mut self.patterns);
        let feed = |rule: &String| {
            let targets = self.known.registry.targets_of(BusName(bus), RuleName(rule));
            targets.filter_map(|target| self.lanes.get(&live(target))).collect()
        };
        let feeds: Feeds = filter.rules.iter().map(feed).collect();
        Routed { filter, feeds, tally: Tally::default(), events: 0, matched: 0, gathered: BTreeMap::new() }
    }

    /// Hands the gathered events to the lanes; true if one of them must be written.
    fn hand_over(&mut self) -> bool {
        let (mut urgent, mut any) = (false, !self.commands.is_empty());
        if any {
            let lane = self.lanes.get(&LaneId::live(Subscriber::Commands)).expect("it is opened with the router");
            urgent |= lane.push(std::mem::take(&mut self.commands));
        }
        for (lane, events) in self.answers.take() {
            urgent |= lane.push(events);
            self.lanes.touch(lane);
            any = true;
        }
        for (lane, events) in std::mem::take(&mut self.fired).into_values() {
            urgent |= lane.push(events);
            any = true;
        }
        for (bus, routed) in &mut self.buses {
            for (lane, events) in std::mem::take(&mut routed.gathered).into_values() {
                urgent |= lane.push(events);
                any = true;
            }
            if routed.events > 0 {
                let (events, matched) = (std::mem::take(&mut routed.events), std::mem::take(&mut routed.matched));
                self.figures.add(events, matched, bus, &routed.filter.rules, &mut routed.tally);
            }
        }
        for (id, key) in self.delivered.drain(..) {
            self.lanes.get(&id).into_iter().for_each(|lane| lane.was_delivered(key));
        }
        if any {
            self.lanes.ring();
        }
        urgent
    }

    fn apply(&mut self, change: &Change, position: Position, at: Timestamp) -> Result<(), ReadError> {
        let meant = match change {
            Change::Delete(key) => self.known.registry.meant(key).map(|key| Change::Delete(key.to_owned())),
            Change::Put(_) => None,
        };
        let change = match (change, &meant) {
            (Change::Delete(_), None) => return Ok(()),
            (_, Some(meant)) => meant,
            (put, None) => put,
        };
        self.known.registry.apply(change);
        router_state::note_change(&mut self.changes, change);
        match change {
            Change::Put(Resource::Target(target)) => {
                self.open_lane(target, position)?;
                self.recompile(&target.bus);
            }
            Change::Put(Resource::Rule(rule)) => {
                for target in self.known.registry.targets_of(BusName(&rule.bus), RuleName(&rule.name)) {
                    if let Some(lane) = self.lanes.get(&live(target)) {
                        lane.set_parallel(parallel(&rule.tags));
                    }
                }
                let bus = rule.bus.clone();
                self.keep_rule(rule, at);
                self.recompile(&bus);
            }
            Change::Put(Resource::AnswerWebhook(webhook)) => {
                self.hand_over();
                self.list_answers(webhook, position)?;
            }
            Change::Put(Resource::Schedule(schedule)) => self.keep_schedule(schedule, at),
            Change::Put(_) => {}
            Change::Delete(key) => self.deleted(key),
        }
        Ok(())
    }

    fn deleted(&mut self, key: &str) {
        if key.starts_with("schedule/") {
            return self.no_longer_due(key); // its events are on a lane that it shares
        }
        let Some((kind, name)) = key.split_once('/') else { return };
        match kind {
            "rule" => self.no_longer_due(key),
            "schedule-group" => self.group_no_longer_due(name),
            _ => {}
        }
        let of_target = |of: &str| {
            let (of, target) = of.rsplit_once('/')?;
            let (bus, rule) = of.rsplit_once('/')?;
            Some(Subscriber::of_rule(BusName(bus), RuleName(rule), TargetId(target)))
        };
        let gone = |id: &LaneId| match kind {
            "bus" => id.subscriber.bus() == name,
            "rule" => name.rsplit_once('/') == Some((id.subscriber.bus(), &id.subscriber.rule())),
            "target" => of_target(name).as_ref() == Some(&id.subscriber),
            "replay" => id.course == Course::Replay(name.to_owned()),
            "answer-webhook" => matches!(&id.subscriber, Subscriber::Answers(webhook) if webhook == name),
            "schedule-group" => id.subscriber.group() == Some(name),
            _ => false,
        };
        if ["bus", "rule", "target", "replay", "answer-webhook", "schedule-group"].contains(&kind) {
            self.lanes.remove(gone, &mut self.changes);
        }
        match kind {
            "bus" => {
                self.recompile(name);
                self.figures.forget_bus(name);
            }
            "rule" => {
                if let Some((bus, rule)) = name.rsplit_once('/') {
                    self.recompile(bus);
                    self.figures.forget_rule(BusName(bus), RuleName(rule));
                }
            }
            "target" => of_target(name).into_iter().for_each(|of| self.recompile(of.bus())),
            "answer-webhook" => self.answers.forget(name, &self.events),
            _ => {}
        }
    }

    /// Compiles the rules of a bus again when its next event comes; events gathered so far are handed over before.
    fn recompile(&mut self, bus: &str) {
        self.hand_over();
        self.buses.remove(bus);
    }

    fn open_lane(&mut self, target: &Target, position: Position) -> Result<(), ReadError> {
        let id = live(target);
        let rule = self.known.registry.rules.get(&(target.bus.clone(), target.rule.clone()));
        let parallel = rule.map_or(1, |rule| parallel(&rule.tags));
        if let Some(lane) = self.lanes.get(&id) {
            lane.set_target(target.clone());
            return Ok(());
        }
        // A target gets the events after its creation.
        let lane = Lane::new(id.clone(), target.clone(), EventKey::new(position, Facet::Happened));
        lane.set_parallel(parallel);
        if let Some(kept) = self.kept.remove(&id) {
            lane.restore(kept, &self.depot)?;
        }
        self.lanes.insert(Arc::new(lane));
        let again = id.on(Course::Redrive);
        if let Some(kept) = self.kept.remove(&again) {
            let lane = Lane::new(again, target.clone(), EventKey::default());
            lane.restore(kept, &self.depot)?;
            self.lanes.insert(Arc::new(lane));
        }
        Ok(())
    }

    /// Opens the lane of an answer webhook, and lists its players.
    fn list_answers(&mut self, webhook: &AnswerWebhook, position: Position) -> Result<(), ReadError> {
        self.open_lane(&webhook.target(), position)?;
        let id = LaneId::live(Subscriber::Answers(webhook.name.clone()));
        for id in [id.clone().on(Course::Redrive), id.clone()] {
            let waiting = self.lanes.get(&id).filter(|lane| lane.backlog() > 0);
            waiting.into_iter().for_each(|lane| self.lanes.touch(lane));
        }
        let lane = self.lanes.get(&id).expect("it was just opened");
        self.answers.list(webhook, &lane, &self.events);
        Ok(())
    }

    /// Deletes stored lanes whose target no longer exists.
    fn forget_kept(&mut self) {
        let of_replay = |id: &LaneId| matches!(id.course, Course::Replay(_));
        let gone: Vec<LaneId> = self.kept.keys().filter(|id| !of_replay(id)).cloned().collect();
        for id in gone {
            self.kept.remove(&id);
            super::lane::erase(&id, &mut self.changes);
        }
        self.kept.clear();
    }

    /// Stores the state of all lanes and the router atomically.
    fn write(&mut self) -> Result<(), String> {
        let _one_at_a_time = self.lanes.writing();
        let mut batch = std::mem::take(&mut self.changes);
        self.lanes.all().iter().for_each(|lane| lane.write(&mut batch));
        if self.known.next != self.known.written || !batch.is_empty() {
            router_state::note_position(&mut batch, self.known.next);
            self.known.written = self.known.next;
            self.depot.write(batch, false)?;
        }
        // Retention must keep events that wait for a target.
        let needed = self.lanes.oldest().unwrap_or(self.known.next).min(self.known.next).min(self.lanes.held());
        self.progress.set_needed(needed);
        Ok(())
    }
}

impl Routed {
    fn event(&mut self, key: EventKey, shard: ShardId, committed_at: Timestamp, event: &Event, events: &Events) {
        self.events += 1;
        if self.filter.is_empty() {
            return self.tally.count(event, key.facet(), &[], committed_at);
        }
        let told = told(key, shard, committed_at, event, None);
        let mut json: Option<Arc<str>> = None;
        let matched = self.filter.matches_unless(!events.shows(event), &told, events, &mut json);
        self.matched += u64::from(!matched.is_empty());
        self.tally.count(event, key.facet(), matched, committed_at);
        for rule in matched {
            let rule = *rule as usize;
            for lane in &self.feeds[rule] {
                let wanted = lane.wants_json() && trace_of(event).is_none();
                if wanted && json.is_none() {
                    json = Some(events.json(&told).into());
                }
                let json = json.clone().filter(|_| wanted);
                gather(&mut self.gathered, lane, Arrival { key, json, at: committed_at });
            }
        }
    }
}

fn gather(gathered: &mut BTreeMap<LaneId, (Arc<Lane>, Vec<Arrival>)>, lane: &Arc<Lane>, arrival: Arrival) {
    match gathered.get_mut(lane.id()) {
        Some((_, arrivals)) => arrivals.push(arrival),
        None => drop(gathered.insert(lane.id().clone(), (lane.clone(), vec![arrival]))),
    }
}

/// The target of all commands: its lane belongs to no rule.
fn capture_target() -> Target {
    Target {
        bus: String::new(),
        rule: "commands".into(),
        id: "capture".into(),
        arn: format!("arn:aws:fakemon:{REGION}:{ACCOUNT}:capture"),
        input: None,
        input_path: None,
        transformer: None,
        retry: None,
        dead_letter_arn: None,
        http: None,
        given: serde_json::Map::new(),
    }
}

/// The lane of a target of a rule.
fn live(target: &Target) -> LaneId {
    LaneId::live(Subscriber::of_target(target))
}

/// How many deliveries of a target may be in flight at once, by the tags of its rule: `fakemon:order` is `total` (the
/// default) or `none`; if `none`, `fakemon:concurrency` is from 1 to 64 (default 16).
pub(crate) fn parallel(tags: &fakemon_resource::resource::Tags) -> usize {
    match tags.get("fakemon:order").map(String::as_str) {
        Some("none") => tags.get("fakemon:concurrency").and_then(|text| text.parse().ok()).unwrap_or(16).clamp(1, 64),
        _ => 1,
    }
}
