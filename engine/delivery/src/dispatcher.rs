//! One delivery attempt: load the event, shape it for the target, then mark it delivered, schedule a retry, or write
//! a dead letter. All carriers of events use this type.

use super::lane::{Course, Lane, LaneId, Pending};
use super::lanes::Lanes;
use crate::event_reader::Events;
use crate::lane::failure_code::FailureCode;
use crate::lane::scheduled;
use crate::lane::subscriber::Subscriber;
use crate::metrics::BusMetrics;
use crate::schema::Enforcer;
use fakemon_journal::{Batch, BusStore, ReadError};
use fakemon_model::envelope::{ACCOUNT, EventKey, is_of_engine};
use fakemon_model::event::Event;
use fakemon_model::ids::Timestamp;
use fakemon_model::names::{BusName, Region, RuleName, TargetId};
use fakemon_pattern::transform::{Context, Transform};
use fakemon_queue::log_group::Logs;
use fakemon_queue::queue::{Attribute, Message, NewMessage, QueueError, Queues};
use fakemon_resource::inbound::AnswerWebhook;
use fakemon_resource::resource::{Retry, Rule, Target};
use fakemon_resource::{Destination, Resources};
use fakemon_schedule::Invocation;
use fakemon_sync::clock::Clock;
use fakemon_sync::seldom::Seldom;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The first wait before a retry; each one doubles.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// The longest wait before a retry.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// The retry policy of a target without one, as with AWS.
const RETRY: Retry = Retry { attempts_max: 185, age_s_max: 86_400 };

static GIVEN_UP: Seldom = Seldom::new("given up, and there is no dead-letter queue");
static LETTER_LOST: Seldom = Seldom::new("a dead letter is lost");

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Whether another attempt may succeed.
    pub retriable: bool,
    /// `ERROR_CODE` of a dead letter.
    pub code: FailureCode,
    /// `ERROR_MESSAGE` of a dead letter. It holds no secret.
    pub message: String,
    /// How long the target asked to wait before the next attempt.
    pub retry_after: Option<Duration>,
}

impl Failed {
    /// A failure that no retry can change.
    pub fn permanently(code: FailureCode, message: impl Into<String>) -> Failed {
        Failed { retriable: false, code, message: message.into(), retry_after: None }
    }

    /// A failure that a retry may change.
    pub fn for_now(code: FailureCode, message: impl Into<String>) -> Failed {
        Failed { retriable: true, ..Failed::permanently(code, message) }
    }
}

impl From<QueueError> for Failed {
    fn from(error: QueueError) -> Failed {
        let code = match &error {
            QueueError::Full | QueueError::OverLimit | QueueError::TooFast => FailureCode::ResourceLimitExceeded,
            _ => FailureCode::InternalError,
        };
        Failed::for_now(code, error.to_string())
    }
}

/// Why a dead letter cannot be redriven.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedriveError {
    /// Too many dead letters wait for its target: redrive the same letter later.
    #[error("too many dead letters wait for the target")]
    Later,
    /// The letter can never be redriven.
    #[error("{0}")]
    Refused(String),
}

impl From<String> for RedriveError {
    fn from(why: String) -> RedriveError {
        RedriveError::Refused(why)
    }
}

impl From<&str> for RedriveError {
    fn from(why: &str) -> RedriveError {
        RedriveError::Refused(why.into())
    }
}

/// An event as its target gets it.
#[derive(Clone, Debug)]
pub struct ShapedEvent {
    pub key: EventKey,
    /// The whole event.
    pub event: Arc<str>,
    /// What the target's input settings make of it.
    pub body: Arc<str>,
    /// When it was handed to the disk, if this is the first attempt.
    pub fresh_since: Option<Timestamp>,
    /// The event's own target, on a lane of schedules; none if it is the lane's.
    pub target: Option<Arc<Target>>,
    /// The header of the trace that the event belongs to.
    pub trace: Option<String>,
    /// How often rules and pipes handed on what it came of; known only where it is to be a command.
    pub hops: u8,
}

/// An event that was read for a delivery.
struct ReadEvent {
    json: Arc<str>,
    committed_at: Timestamp,
    trace: Option<String>,
    hops: u8,
}

/// Hands out events and records their outcomes. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    pub lanes: Arc<Lanes>,
    pub events: Events,
    pub figures: Arc<BusMetrics>,
    pub queues: Arc<Queues>,
    pub logs: Arc<Logs>,
    pub resources: Arc<Resources>,
    pub enforcer: Arc<Enforcer>,
    pub clock: Clock,
    pub seed: Arc<AtomicU64>,
}

impl Dispatcher {
    /// Opens queues and log groups; there are no lanes yet.
    pub fn load(
        depot: Arc<BusStore>,
        events: Events,
        resources: Arc<Resources>,
        clock: Clock,
    ) -> Result<Dispatcher, ReadError> {
        Ok(Dispatcher {
            lanes: Arc::new(Lanes::new(depot.clone())),
            events,
            figures: Arc::new(BusMetrics::new(clock.clone())),
            queues: Arc::new(Queues::open(depot.clone())?),
            logs: Arc::new(Logs::open(depot)),
            resources,
            enforcer: Arc::default(),
            seed: Arc::new(AtomicU64::new(clock.now().0)),
            clock,
        })
    }

    /// All lanes.
    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// The engine's time: for what lasts.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Wall time: for what is shown, and beside the times of events.
    pub fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    /// A moment of the engine's time as it is shown now.
    pub fn by_wall(&self, engine: Timestamp) -> Timestamp {
        self.clock.ahead().to_wall(engine)
    }

    /// Takes up to `max` events of a lane that are due.
    ///
    /// # Errors
    /// When the depot cannot be read.
    pub fn take(&self, lane: &Lane, max: usize) -> Result<Vec<Pending>, ReadError> {
        self.lanes.take(lane, max, self.now())
    }

    /// Reads events and shapes them for their target. Events that the journal no longer has count as done; events
    /// that cannot be shaped are given up.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn open(&self, lane: &Lane, parcels: &[Pending]) -> Result<Vec<ShapedEvent>, ReadError> {
        let target = lane.target();
        let transform = transform_of(&target);
        let replay = match &lane.id().course {
            Course::Replay(name) => Some(name.as_str()),
            Course::Live | Course::Redrive => None,
        };
        // A command needs the record, too: its JSON does not say how often it was handed on.
        let commands = Destination::of(&target.arn) == Destination::Capture;
        let missing = parcels.iter().filter(|parcel| commands || known(parcel).is_none()).map(|parcel| parcel.key);
        let mut missing: Vec<EventKey> = missing.collect();
        missing.sort_unstable();
        let mut read: BTreeMap<EventKey, ReadEvent> = BTreeMap::new();
        self.events.read(&missing, &mut |key, shard, committed_at, event| {
            let told = crate::event_reader::told(key, shard, committed_at, event, replay);
            let (json, trace) = (self.events.json(&told).into(), trace_of(event).map(str::to_owned));
            read.insert(key, ReadEvent { json, committed_at, trace, hops: self.events.hops(event) });
        })?;
        let mut letters = Vec::with_capacity(parcels.len());
        for parcel in parcels {
            let of_journal = read.get(&parcel.key);
            let Some((event, ingested_at)) =
                known(parcel).or_else(|| of_journal.map(|read| (&read.json, read.committed_at)))
            else {
                lane.done([parcel.key]);
                continue;
            };
            if self.is_called_off(lane, parcel, event) {
                lane.done([parcel.key]);
                continue;
            }
            let shape = |transform: &Transform| Ok((self.shape(transform, lane, event, ingested_at)?, None));
            let shaped = match lane.id().subscriber.group().is_some() {
                true => invoke(parcel, event).map(|(body, target)| (body, Some(target))),
                false => transform.as_ref().map_err(Clone::clone).and_then(shape),
            };
            match shaped {
                Ok((body, target)) => {
                    let fresh_since = parcel.ingested_at.filter(|_| parcel.attempts == 0);
                    let trace = of_journal.and_then(|read| read.trace.clone());
                    letters.push(ShapedEvent {
                        key: parcel.key,
                        event: event.clone(),
                        body,
                        fresh_since,
                        target,
                        trace,
                        hops: of_journal.map_or(0, |read| read.hops),
                    });
                }
                Err(why) => {
                    let failed = Failed::permanently(FailureCode::InvalidJson, why);
                    self.failed(lane, parcel, Some(event), &failed);
                }
            }
        }
        Ok(letters)
    }

    fn shape(
        &self,
        transform: &Transform,
        lane: &Lane,
        event: &Arc<str>,
        ingested_at: Timestamp,
    ) -> Result<Arc<str>, String> {
        if matches!(transform, Transform::Whole) {
            return Ok(event.clone());
        }
        let subscriber = &lane.id().subscriber;
        let region = self.rule(lane).map_or_else(|| "local".into(), |rule| rule.region);
        let context = Context {
            rule_arn: rule_arn(Region(&region), BusName(subscriber.bus()), RuleName(&subscriber.rule())),
            rule_name: subscriber.rule().into_owned(),
            ingestion_time: ingested_at.whole_seconds(),
            ..Context::default()
        };
        transform.apply(event, &context).map(Into::into).map_err(|error| error.to_string())
    }

    fn rule(&self, lane: &Lane) -> Option<Rule> {
        let Subscriber::Rule { bus, rule, .. } = &lane.id().subscriber else { return None };
        self.resources.current().rules.get(&(bus.clone(), rule.clone())).cloned()
    }

    /// When the oldest event that waits on a lane was handed to the disk.
    pub fn oldest_at(&self, lane: &Lane) -> Option<Timestamp> {
        lane.oldest_at().or_else(|| {
            let mut at = None;
            let read = self.events.read(&[lane.oldest()?], &mut |_, _, committed_at, _| at = Some(committed_at));
            read.ok().and(at)
        })
    }

    /// Counts first attempts.
    pub fn started(&self, lane: &Lane, letters: &[ShapedEvent]) {
        lane.figures().attempts.fetch_add(letters.len() as u64, Ordering::Relaxed);
        let now = self.wall();
        letters.iter().filter_map(|letter| letter.fresh_since).for_each(|at| self.figures.started(at, now));
    }

    /// The current resources.
    pub fn registry(&self) -> Arc<fakemon_resource::Registry> {
        self.resources.current()
    }

    /// Records that events were delivered.
    pub fn delivered(&self, lane: &Lane, keys: &[EventKey]) {
        let (now, wall) = (self.now(), self.wall());
        lane.ingested_at(keys).for_each(|at| self.figures.completed(at, wall));
        lane.figures().delivered.fetch_add(keys.len() as u64, Ordering::Relaxed);
        if !keys.is_empty() {
            lane.note_health().delivered(keys.len() as u64, now);
        }
        let subscriber = &lane.id().subscriber;
        tracing::debug!(rule = &*subscriber.rule(), target = subscriber.target(), events = keys.len(), "delivered");
        lane.done(keys.iter().copied());
    }

    /// Whether the schedule of an event was deleted after it fired; a schedule that ended by itself does not count.
    fn is_called_off(&self, lane: &Lane, parcel: &Pending, event: &str) -> bool {
        if lane.id().subscriber.group().is_none() || lane.id().course != Course::Live {
            return false;
        }
        Invocation::read(event, parcel.key).is_ok_and(|invocation| {
            let place = (invocation.group, invocation.name);
            !invocation.is_last && !self.resources.current().schedules.contains_key(&place)
        })
    }

    /// The target of an event: that of the lane, or its own.
    fn target_of(&self, lane: &Lane, parcel: &Pending, event: Option<&Arc<str>>) -> Arc<Target> {
        if lane.id().subscriber.group().is_none() {
            return lane.target();
        }
        let event = event.cloned().or_else(|| self.events.json_of(parcel.key, None).ok().flatten());
        let invocation = event.and_then(|event| Invocation::read(&event, parcel.key).ok());
        invocation.map_or_else(|| lane.target(), |invocation| Arc::new(invocation.target()))
    }

    /// Records a failed attempt: the event is retried, or becomes a dead letter.
    pub fn failed(&self, lane: &Lane, parcel: &Pending, event: Option<&Arc<str>>, failed: &Failed) {
        let target = self.target_of(lane, parcel, event);
        let policy = target.retry.unwrap_or(RETRY);
        let now = self.now();
        let subscriber = &lane.id().subscriber;
        tracing::debug!(
            rule = &*subscriber.rule(),
            target = subscriber.target(),
            event = %parcel.key.position(),
            attempt = parcel.attempts + 1,
            code = %failed.code,
            "not delivered: {}",
            failed.message
        );
        lane.note_health().failed(failed.code, &failed.message, now);
        let exhausted = if !failed.retriable {
            Some(None)
        } else if parcel.attempts >= policy.attempts_max {
            Some(Some("MaximumRetryAttempts"))
        } else if now.ns_since(parcel.first_attempt_at.unwrap_or(now)) >= u64::from(policy.age_s_max) * 1_000_000_000
        {
            Some(Some("MaximumEventAgeInSeconds"))
        } else {
            None
        };
        let Some(condition) = exhausted else {
            lane.figures().retries.fetch_add(1, Ordering::Relaxed);
            let wait = failed.retry_after.unwrap_or_else(|| self.backoff(parcel.attempts)).min(BACKOFF_MAX * 5);
            // An event that reaches its maximum age before the next retry is given up at that age.
            let age_ns = now.ns_since(parcel.first_attempt_at.unwrap_or(now));
            let left_ns = (u64::from(policy.age_s_max) * 1_000_000_000).saturating_sub(age_ns);
            let wait_ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX).min(left_ns);
            return lane.again(parcel.key, now.plus_ns(wait_ns), Some(now));
        };
        self.give_up(lane, &target, parcel, event, failed, condition);
    }

    /// Exponential, randomised over the upper half, so that targets that failed together are not retried together.
    pub fn backoff(&self, attempts: u32) -> Duration {
        let whole = BACKOFF_MIN.saturating_mul(1 << attempts.min(16)).min(BACKOFF_MAX);
        let random = fakemon_model::ids::mix(self.seed.fetch_add(1, Ordering::Relaxed)) >> 32;
        whole / 2 + whole.mul_f64(random as f64 / f64::from(u32::MAX) / 2.0)
    }

    fn give_up(
        &self,
        lane: &Lane,
        target: &Target,
        parcel: &Pending,
        event: Option<&Arc<str>>,
        failed: &Failed,
        condition: Option<&str>,
    ) {
        lane.figures().failed.fetch_add(1, Ordering::Relaxed);
        let Some(Destination::Queue(queue)) = target.dead_letter_arn.as_deref().map(Destination::of) else {
            GIVEN_UP.say(|| {
                tracing::warn!(
                    rule = target.rule,
                    target = target.id,
                    position = %parcel.key.position(),
                    "given up, and there is no dead-letter queue: {}",
                    failed.message
                );
            });
            note_given_up(lane, event, true);
            return lane.done([parcel.key]);
        };
        let event =
            match event.cloned().map_or_else(|| self.events.json_of(parcel.key, None), |event| Ok(Some(event))) {
                Ok(Some(event)) => event,
                Ok(None) => return lane.done([parcel.key]),
                Err(_) => return lane.again(parcel.key, self.now().plus_ns(1_000_000_000), None),
            };
        let message = match lane.id().subscriber.group().is_some() {
            true => dead_letter_of_schedule(target, parcel, &event, failed, condition),
            false => self.dead_letter(lane, target, parcel, &event, failed, condition),
        };
        let sent = match self.resources.current().queues.contains_key(&queue) {
            true => {
                let mut batch = Batch::default();
                lane.deliver(&[parcel.key], &mut batch);
                self.queues.enqueue(&queue, vec![message], batch, false, self.now()).map(drop)
            }
            false => Err(QueueError::Store("the queue is gone".into())),
        };
        note_given_up(lane, Some(&event), sent.is_err());
        match sent {
            Ok(()) => {
                lane.figures().dead_lettered.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                lane.figures().dead_letters_failed.fetch_add(1, Ordering::Relaxed);
                LETTER_LOST.say(|| {
                    tracing::warn!(rule = target.rule, target = target.id, queue, "a dead letter is lost: {error}");
                });
            }
        }
        lane.done([parcel.key]);
    }

    /// Puts a dead letter back on its target's lane; it is there durably when this returns.
    ///
    /// # Errors
    /// When the message is no dead letter of the bus, its target or its event no longer exists, or too many wait
    /// already.
    pub fn redrive(&self, message: &Message) -> Result<(), RedriveError> {
        let attribute = |name: &str| message.attributes.get(name).map(|attribute| attribute.value.as_str());
        if attribute("SCHEDULE_ARN").is_some() {
            return self.redrive_of_schedule(attribute("FAKEMON_EVENT_ID").unwrap_or_default());
        }
        let rule = attribute("RULE_ARN").and_then(|arn| arn.split_once(":rule/")).map(|(_, rule)| rule);
        let (rule, target) = rule.zip(attribute("FAKEMON_TARGET_ID")).ok_or("it is no dead letter of the bus")?;
        let key =
            attribute("FAKEMON_EVENT_ID").and_then(EventKey::of_id).ok_or("it names no event of the journal")?;
        let (bus, rule) = rule.rsplit_once('/').unwrap_or((fakemon_resource::DEFAULT_BUS, rule));
        let subscriber = Subscriber::named(BusName(bus), RuleName(rule), TargetId(target));
        let id = LaneId { subscriber, course: Course::Redrive };
        let registry = self.resources.current();
        let target = match &id.subscriber {
            Subscriber::Answers(webhook) => registry.answer_webhooks.get(webhook).map(AnswerWebhook::target),
            _ => registry.targets.get(&(bus.to_owned(), rule.to_owned(), target.to_owned())).cloned(),
        };
        let target = target.ok_or_else(|| format!("the rule {rule} has no such target any more"))?;
        if self.events.json_of(key, None).map_err(|error| error.to_string())?.is_none() {
            return Err(RedriveError::Refused("the journal does not keep its event any more".into()));
        }
        self.send_again(&id, &target, key)
    }

    /// The target is that in the event, because the schedule may be deleted.
    fn redrive_of_schedule(&self, event_id: &str) -> Result<(), RedriveError> {
        let key = EventKey::of_id(event_id).ok_or("it names no event of the journal")?;
        let event = self.events.json_of(key, None).map_err(|error| error.to_string())?;
        let event = event.ok_or("the journal does not keep its event any more")?;
        let invocation = Invocation::read(&event, key).map_err(|error| error.to_string())?;
        let id = scheduled::live(&invocation.group, &scheduled::kind_of(&invocation.arn()));
        let target = scheduled::target(&id);
        self.send_again(&id.on(Course::Redrive), &target, key)
    }

    fn send_again(&self, id: &LaneId, target: &Target, key: EventKey) -> Result<(), RedriveError> {
        let lane = self.lanes.get_or_insert(id, || Lane::new(id.clone(), target.clone(), EventKey::default()));
        lane.set_target(target.clone());
        if !lane.push_again(key) {
            return Err(RedriveError::Later);
        }
        self.lanes.write_one(&lane)?;
        if lane.is_closed() {
            return Err(RedriveError::Later); // its rule was deleted meanwhile, and perhaps created again
        }
        if id.subscriber.is_answers() {
            self.lanes.touch(lane);
        }
        self.lanes.ring();
        Ok(())
    }

    fn dead_letter(
        &self,
        lane: &Lane,
        target: &Target,
        parcel: &Pending,
        event: &str,
        failed: &Failed,
        condition: Option<&str>,
    ) -> NewMessage {
        let region = self.rule(lane).map_or_else(|| "local".into(), |rule| rule.region);
        let text = |value: String| Attribute::text(value);
        let mut attributes = BTreeMap::from([
            ("RULE_ARN".to_owned(), text(rule_arn(Region(&region), BusName(&target.bus), RuleName(&target.rule)))),
            ("TARGET_ARN".to_owned(), text(target.arn.clone())),
            ("ERROR_CODE".to_owned(), text(failed.code.name().to_owned())),
            ("ERROR_MESSAGE".to_owned(), text(failed.message.clone())),
            ("RETRY_ATTEMPTS".to_owned(), text(parcel.attempts.to_string())),
            ("FAKEMON_TARGET_ID".to_owned(), text(target.id.clone())),
            ("FAKEMON_EVENT_ID".to_owned(), text(parcel.key.id())),
            ("FAKEMON_EVENT_POSITION".to_owned(), text(parcel.key.position().to_string())),
        ]);
        if let Some(condition) = condition {
            attributes.insert("EXHAUSTED_RETRY_CONDITION".to_owned(), text(condition.to_owned()));
        }
        NewMessage { body: event.to_owned(), attributes, ..NewMessage::default() }
    }

    /// Counters of the bus.
    pub fn figures(&self) -> &BusMetrics {
        &self.figures
    }
}

/// Counts a given-up event. The engine's own notices do not count: giving one up would cause another notice.
fn note_given_up(lane: &Lane, event: Option<&Arc<str>>, is_lost: bool) {
    if !event.is_some_and(|event| is_of_engine(event)) {
        lane.note_health().given_up(is_lost);
    }
}

/// The header of the trace that an event belongs to. No lane holds such an event as JSON, which has no place for it:
/// it is read from the journal when it is delivered.
pub(crate) fn trace_of(event: &Event) -> Option<&str> {
    match event {
        Event::Put(put) => put.trace.as_deref(),
        _ => None,
    }
}

/// The event of a parcel and when it came in, if the parcel brings them along.
fn known(parcel: &Pending) -> Option<(&Arc<str>, Timestamp)> {
    parcel.json.as_ref().zip(parcel.ingested_at)
}

/// What the target of a schedule gets, and that target.
fn invoke(parcel: &Pending, event: &str) -> Result<(Arc<str>, Arc<Target>), String> {
    let invocation = Invocation::read(event, parcel.key).map_err(|error| error.to_string())?;
    let payload = invocation.payload(parcel.key, parcel.attempts + 1);
    let body = invocation.body(&payload).map_err(|error| error.to_string())?;
    Ok((body.into(), Arc::new(invocation.target())))
}

/// A dead letter as the scheduler writes it: the payload, and why it was given up.
fn dead_letter_of_schedule(
    target: &Target,
    parcel: &Pending,
    event: &str,
    failed: &Failed,
    condition: Option<&str>,
) -> NewMessage {
    let invocation = Invocation::read(event, parcel.key);
    let mut attributes = BTreeMap::from([
        ("TARGET_ARN", target.arn.clone()),
        ("ERROR_CODE", failed.code.name().to_owned()),
        ("ERROR_MESSAGE", failed.message.clone()),
        ("RETRY_ATTEMPTS", parcel.attempts.to_string()),
        ("IS_PAYLOAD_TRUNCATED", "false".into()),
        ("FAKEMON_EVENT_ID", parcel.key.id()), // ten in all, the most that a message may have
    ]);
    attributes.extend(condition.map(|condition| ("EXHAUSTED_RETRY_CONDITION", condition.to_owned())));
    let body = match invocation {
        Ok(invocation) => {
            let payload = invocation.payload(parcel.key, parcel.attempts + 1);
            attributes.insert("TARGET_ARN", invocation.arn());
            attributes.insert("SCHEDULE_ARN", invocation.schedule_arn);
            attributes.insert("SCHEDULED_TIME", invocation.scheduled_time);
            attributes.insert("EXECUTION_ID", invocation.execution_id);
            payload
        }
        Err(_) => event.to_owned(),
    };
    let text = |(name, value): (&str, String)| (name.to_owned(), Attribute::text(value));
    NewMessage { body, attributes: attributes.into_iter().map(text).collect(), ..NewMessage::default() }
}

/// ARN of a rule; that of a rule on the default bus does not name its bus.
pub fn rule_arn(Region(region): Region<'_>, BusName(bus): BusName<'_>, RuleName(rule): RuleName<'_>) -> String {
    match bus {
        fakemon_resource::DEFAULT_BUS => format!("arn:aws:events:{region}:{ACCOUNT}:rule/{rule}"),
        bus => format!("arn:aws:events:{region}:{ACCOUNT}:rule/{bus}/{rule}"),
    }
}

fn transform_of(target: &Target) -> Result<Transform, String> {
    let transformer =
        target.transformer.as_ref().map(|transformer| (&transformer.paths, transformer.template.as_str()));
    Transform::parse(target.input.as_deref(), target.input_path.as_deref(), transformer)
        .map_err(|error| error.to_string())
}
