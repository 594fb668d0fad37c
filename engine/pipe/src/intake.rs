//! From a source to batches: records that pass the filter, as many as a batch holds or as arrive within its window,
//! in order. Messages stay in their queue until a batch is due; from the journal and from streams a little is read
//! ahead.

use super::cursor::Cursor;
use super::outside::{Heard, Listener};
use super::parts::{Parts, PipeFigures};
use super::plan::{BATCH_BYTES_MAX, From, Plan, Source};
use super::record::{Record, Shape};
use fakemon_capture::decision::record;
use fakemon_delivery::{Events, Filter, Patterns, keys_of, told};
use fakemon_fbs::journal::{BlockHead, Event as Decided};
use fakemon_journal::ReadError;
use fakemon_model::envelope::{EventKey, Facet, bus};
use fakemon_model::event::Event;
use fakemon_model::ids::{Position, ShardId, Timestamp};
use fakemon_pattern::pattern::{Matcher, Pattern, Scratch};
use fakemon_queue::queue::{QueueError, Redrive};
use fakemon_resource::resource::Queue;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How many records are read ahead, unless a batch holds more.
const AHEAD: usize = 1_024;
/// How long the journal is read for one batch before the pipe checks whether it must stop.
const TURN: Duration = Duration::from_millis(10);
/// How many messages are received at once until their size is known.
const FIRST_MESSAGES: usize = 10;
/// The longest sleep without a wake-up.
const IDLE: Duration = Duration::from_millis(200);

/// The source of a pipe.
pub(super) struct Intake {
    parts: Arc<Parts>,
    plan: Arc<Plan>,
    figures: Arc<PipeFigures>,
    shape: Shape,
    kind: Kind,
    /// When the first waiting record arrived.
    waits_since: Option<Instant>,
}

enum Kind {
    Queue { name: String, wanted: Wanted },
    Journal(Box<Reading>),
    Stream { listener: Listener, wanted: Wanted, ahead: Ahead, numbers: u64 },
}

/// Records that were read ahead.
#[derive(Default)]
struct Ahead {
    records: VecDeque<Record>,
    bytes: usize,
}

impl Ahead {
    fn push(&mut self, record: Record) {
        self.bytes += record.raw.len();
        self.records.push_back(record);
    }

    fn take(&mut self, count_max: usize) -> Vec<Record> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < count_max
            && bytes < BATCH_BYTES_MAX
            && let Some(record) = self.records.pop_front()
        {
            bytes += record.raw.len();
            taken.push(record);
        }
        self.bytes -= bytes;
        taken
    }
}

/// The filter of records that are JSON.
struct Wanted {
    matcher: Option<Matcher>,
    scratch: Scratch,
}

impl Wanted {
    fn of(patterns: &[String]) -> Wanted {
        let parsed: Vec<Pattern> = patterns.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
        let matcher = (!patterns.is_empty()).then(|| Matcher::new((0u32..).zip(&parsed)).unwrap_or_default());
        Wanted { matcher, scratch: Scratch::default() }
    }

    fn wants(&mut self, record: &Record) -> bool {
        let Some(matcher) = &self.matcher else { return true };
        matcher.matches(record.decoded().as_bytes(), &mut self.scratch).is_ok_and(|matched| !matched.is_empty())
    }
}

/// The reader of the journal.
struct Reading {
    bus: Option<String>,
    /// The key of the pipe's resource: a pipe does not get notices about itself.
    own: String,
    filter: Option<Filter>,
    ahead: Ahead,
    /// All events up to this one were read.
    read_to: EventKey,
}

/// Counts of what was read in one turn.
#[derive(Default)]
struct Counts {
    records: usize,
    filtered: usize,
}

impl Intake {
    /// Opens the source at the cursor. Called on the thread of the pipe.
    pub(super) fn open(
        parts: Arc<Parts>,
        plan: Arc<Plan>,
        figures: Arc<PipeFigures>,
        cursor: &Cursor,
    ) -> Result<Option<Intake>, ReadError> {
        let kind = match &plan.source {
            Source::Queue(name) => Kind::Queue { name: name.clone(), wanted: Wanted::of(&plan.patterns) },
            Source::Journal { bus, from } => {
                let read_to = match (cursor.event(), *from) {
                    (Some(key), _) => key,
                    (None, From::Position(position)) => before(position),
                    (None, From::Since(at)) => {
                        before(parts.courier.events.first_since(at, parts.progress.committed())?)
                    }
                };
                let texts = plan.patterns.iter().map(|text| (plan.name.as_str(), text.as_str()));
                let filter = Filter::of_patterns(texts, &mut Patterns::default());
                Kind::Journal(Box::new(Reading {
                    bus: bus.clone(),
                    own: format!("pipe/{}", plan.name),
                    filter: (!plan.patterns.is_empty()).then_some(filter),
                    ahead: Ahead::default(),
                    read_to,
                }))
            }
            Source::Stream(destination) => {
                let Some(outside) = parts.callees.outside.get() else { return Ok(None) };
                Kind::Stream {
                    listener: Listener::start(outside, destination, cursor.event_id.clone()),
                    wanted: Wanted::of(&plan.patterns),
                    ahead: Ahead::default(),
                    numbers: parts.now().0,
                }
            }
        };
        let shape = plan.shape();
        Ok(Some(Intake { parts, plan, figures, shape, kind, waits_since: None }))
    }

    /// The next batch, if one is due.
    pub(super) fn next_batch(&mut self) -> Result<Option<Vec<Record>>, ReadError> {
        let (count, bytes) = self.look()?;
        if count == 0 {
            self.waits_since = None;
            return Ok(None);
        }
        let waited = self.waits_since.get_or_insert_with(Instant::now).elapsed();
        if !self.plan.batching.is_due(count, bytes, waited) {
            return Ok(None);
        }
        self.waits_since = None;
        let size = self.plan.batching.size;
        let batch = match &mut self.kind {
            Kind::Queue { .. } => self.receive()?,
            Kind::Journal(reading) => reading.ahead.take(size),
            Kind::Stream { ahead, .. } => ahead.take(size),
        };
        Ok((!batch.is_empty()).then_some(batch))
    }

    /// How many records and bytes wait, as far as known.
    fn look(&mut self) -> Result<(usize, usize), ReadError> {
        let Intake { parts, plan, figures, shape, kind, .. } = self;
        let ahead = match kind {
            Kind::Queue { name, .. } => return Ok((parts.courier.queues.counts(name, parts.now()).visible, 0)),
            Kind::Journal(reading) => {
                reading.read_on(parts, figures, plan.batching.size.max(AHEAD))?;
                &reading.ahead
            }
            Kind::Stream { listener, wanted, ahead, numbers } => {
                while ahead.records.len() < plan.batching.size.max(AHEAD)
                    && ahead.bytes < BATCH_BYTES_MAX
                    && let Some(Heard { id, kind, data }) = listener.next()
                {
                    *numbers += 1;
                    PipeFigures::add(&figures.records, 1);
                    let record = Record::line(*numbers, id, &kind, &data, parts.now(), shape);
                    match wanted.wants(&record) {
                        true => ahead.push(record),
                        false => PipeFigures::add(&figures.filtered, 1),
                    }
                }
                ahead
            }
        };
        Ok((ahead.records.len(), ahead.bytes))
    }

    /// How long no batch can become due without a wake-up.
    pub(super) fn patience(&self) -> Duration {
        let window = self.plan.batching.window;
        let left = self.waits_since.map_or(IDLE, |since| window.saturating_sub(since.elapsed()));
        left.clamp(Duration::from_millis(1), IDLE)
    }

    /// The event up to which everything is done once `last` is done.
    pub(super) fn passed(&self, last: Option<&Record>) -> Option<EventKey> {
        let Kind::Journal(reading) = &self.kind else { return None };
        match (reading.ahead.records.is_empty(), last) {
            (true, _) => Some(reading.read_to),
            (false, last) => last.map(|record| record.key),
        }
    }

    /// Why the source has nothing, if that is a problem.
    pub(super) fn trouble(&self) -> Option<String> {
        match &self.kind {
            Kind::Stream { listener, .. } => listener.trouble(),
            Kind::Queue { name, .. } => {
                let there = self.parts.courier.registry().queues.contains_key(name);
                (!there).then(|| format!("NO_RESOURCE: there is no queue {name}"))
            }
            Kind::Journal(_) => None,
        }
    }

    /// Receives a batch of messages; those that the filter does not match are deleted, as with AWS.
    fn receive(&mut self) -> Result<Vec<Record>, ReadError> {
        let Kind::Queue { name, wanted } = &mut self.kind else { return Ok(Vec::new()) };
        let courier = &self.parts.courier;
        let registry = courier.registry();
        let Some(queue) = registry.queues.get(name) else { return Ok(Vec::new()) };
        let (visibility_s, redrive) = (visibility_s(queue), Redrive::within(&registry, queue));
        let retention_s = queue.seconds("MessageRetentionPeriod", 345_600);
        let (size, mut records, mut unwanted) = (self.plan.batching.size, Vec::new(), Vec::new());
        let (mut bytes, mut chunk) = (0, FIRST_MESSAGES);
        while records.len() < size && bytes < BATCH_BYTES_MAX {
            let max = chunk.min(size - records.len());
            let (queues, now) = (&courier.queues, courier.now());
            let received = match self.plan.shows_outside() {
                true => queues.receive(name, max, visibility_s, retention_s, redrive.as_ref(), now),
                false => queues.take(name, max, visibility_s, retention_s, redrive.as_ref(), now),
            };
            let received = match received {
                Ok(received) => received,
                Err(QueueError::OverLimit) => break, // other receivers hold as many messages as may be in flight
                Err(error) => return Err(ReadError::Failed(error.to_string())),
            };
            let count = received.len();
            PipeFigures::add(&self.figures.records, count);
            for received in received {
                bytes += received.message.body.len();
                let sequence = received.message.sequence;
                let record = Record::message(received, &self.shape, courier.clock.ahead());
                if wanted.wants(&record) { records.push(record) } else { unwanted.push(sequence) }
            }
            if count < max {
                break;
            }
            chunk = ((BATCH_BYTES_MAX - bytes.min(BATCH_BYTES_MAX))
                / (bytes / (records.len() + unwanted.len())).max(1))
            .clamp(1, 256);
        }
        PipeFigures::add(&self.figures.filtered, unwanted.len());
        courier.queues.delete_all(name, &unwanted).map_err(|error| ReadError::Failed(error.to_string()))?;
        Ok(records)
    }
}

/// For how long a received message is hidden.
pub(super) fn visibility_s(queue: &Queue) -> u32 {
    queue.seconds("VisibilityTimeout", 30)
}

/// The last event before a position.
fn before(position: Position) -> EventKey {
    match position.0.checked_sub(1) {
        Some(before) => EventKey::new(Position(before), Facet::Happened),
        None => EventKey::default(),
    }
}

impl Reading {
    /// Reads until enough records wait or a turn is over.
    fn read_on(&mut self, parts: &Parts, figures: &PipeFigures, enough: usize) -> Result<(), ReadError> {
        let from = EventKey(self.read_to.0 + 1).position(); // the second event of an attempt may still be unread
        let end = parts.progress.committed();
        if from >= end || self.is_enough(enough) {
            return Ok(());
        }
        let (events, began) = (&parts.courier.events, Instant::now());
        let mut counts = Counts::default();
        events.journal.store()?.follow(from, &mut |block| {
            let head = block.head();
            block.for_each(|position, shard, record| {
                let position = Position(position);
                if position < from || position >= end || self.is_enough(enough) {
                    return;
                }
                if let Decided::Attempt(attempt) = &record
                    && EventKey::new(position, Facet::Attempt) > self.read_to
                    && self.filter.as_ref().is_some_and(|filter| filter.passes_over(attempt))
                {
                    (counts.records, counts.filtered) = (counts.records + 2, counts.filtered + 2);
                    self.read_to = EventKey::new(position, Facet::Happened);
                    return;
                }
                let event = record::event(record, record::ahead(&head));
                self.take_in(position, ShardId(shard), &head, &event, events, &mut counts);
                self.read_to = EventKey::new(position, Facet::Happened);
            });
            let at_the_end = EventKey(self.read_to.0 + 1).position() >= end;
            let more = !at_the_end && !self.is_enough(enough) && began.elapsed() < TURN;
            if more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        PipeFigures::add(&figures.records, counts.records);
        PipeFigures::add(&figures.filtered, counts.filtered);
        figures.position.store(self.read_to.position().0 + 1, Ordering::Relaxed);
        Ok(())
    }

    fn is_enough(&self, enough: usize) -> bool {
        self.ahead.records.len() >= enough || self.ahead.bytes >= BATCH_BYTES_MAX
    }

    fn take_in(
        &mut self,
        position: Position,
        shard: ShardId,
        head: &BlockHead,
        event: &Event,
        events: &Events,
        counts: &mut Counts,
    ) {
        let is_own = matches!(event, Event::Changed { key, .. } if *key == self.own);
        if is_own || self.bus.as_ref().is_some_and(|wanted| wanted != bus(event)) {
            return;
        }
        let hidden = self.bus.is_some() && !events.shows(event);
        if hidden && self.filter.is_none() {
            return;
        }
        for key in keys_of(position, event) {
            if key <= self.read_to {
                continue;
            }
            counts.records += 1;
            let told = told(key, shard, record::committed_at(head), event, None);
            let mut json = None;
            let wanted = match &mut self.filter {
                Some(filter) => !filter.matches_unless(hidden, &told, events, &mut json).is_empty(),
                None => true,
            };
            if wanted {
                let json = json.unwrap_or_else(|| events.json(&told).into());
                self.ahead.push(Record::event(key, json, events.hops(event), Timestamp(head.committed_ns)));
            } else {
                counts.filtered += 1;
            }
        }
    }
}
