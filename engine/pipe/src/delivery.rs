//! From a batch to the target: the enrichment is called, each record gets the target's shape, and records that can be
//! delivered together are. Everything here is one attempt; `run` decides about failures.

use super::outside;
use super::parts::Parts;
use super::plan::{Enrichment, Plan, Source, Target};
use super::record::{Record, elsewhere};
use fakemon_capture::client::Client;
use fakemon_capture::command::SubmitError;
use fakemon_delivery::commands::is_refusal;
use fakemon_delivery::local::{self, CaptureService, HOPS_MAX, addressee, turn};
use fakemon_delivery::{Failed, FailureCode, ShapedEvent};
use fakemon_journal::Batch;
use fakemon_model::envelope::EventKey;
use fakemon_model::ids::{Position, Timestamp};
use fakemon_model::limits::PUT_BYTES_MAX;
use fakemon_model::names::{LogGroupName, LogStreamName};
use fakemon_pattern::raw::check_detail;
use fakemon_pattern::transform::{Context, Parameter, Transform};
use fakemon_queue::queue::{NewMessage, is_fifo, is_id};
use fakemon_resource::resource::Queue;
use fakemon_resource::{Destination, NewEvent, Registry};
use fakemon_sync::failure::caught;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The most items in one delivery.
pub(super) const PIECE_MAX: usize = 256;
/// The most bytes in one delivery.
const PIECE_BYTES_MAX: usize = PUT_BYTES_MAX / 2;

/// The outcome of each item of a piece; none for an item that was not tried, because an earlier one is retried.
pub(super) type Outcomes = Vec<Option<Result<(), Failed>>>;

/// An item for the target.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) key: EventKey,
    cause: Option<(Position, u8)>,
    /// The record it was made of, for parameters.
    decoded: Arc<str>,
    /// The body in the target's shape, or why there is none.
    pub(super) body: Result<Arc<str>, Failed>,
}

/// The items made of a batch.
pub(super) struct Made {
    pub(super) items: Vec<Item>,
    /// Whether there is one item per record, in the order of the records.
    pub(super) one_each: bool,
}

/// The enrichment and the target of a pipe.
pub(super) struct Delivery {
    parts: Arc<Parts>,
    plan: Arc<Plan>,
    stop: Arc<AtomicBool>,
    client: Option<Client>,
    /// The values of reserved names in templates.
    names: Vec<(&'static str, Arc<str>)>,
}

fn unknown(what: String) -> Failed {
    Failed::permanently(FailureCode::NoResource, what)
}

/// A failure that is no attempt: the callback is not registered yet, or the pipe is stopping.
fn not_now(what: &str) -> Failed {
    Failed::for_now(FailureCode::Stopped, what)
}

impl Delivery {
    pub(super) fn new(parts: Arc<Parts>, plan: Arc<Plan>, stop: Arc<AtomicBool>) -> Delivery {
        let enrichment = plan.enrichment.as_ref().map_or("", |enrichment| &enrichment.arn);
        let names = vec![
            ("aws.pipes.pipe-arn", plan.arn.as_str().into()),
            ("aws.pipes.pipe-name", plan.name.as_str().into()),
            ("aws.pipes.source-arn", plan.source_arn.as_str().into()),
            ("aws.pipes.enrichment-arn", enrichment.into()),
            ("aws.pipes.target-arn", plan.target.arn.as_str().into()),
        ];
        Delivery { parts, plan, stop, client: None, names }
    }

    fn shape(&self, input: &Transform, raw: &Arc<str>, decoded: &str, at: Timestamp) -> Result<Arc<str>, Failed> {
        if matches!(input, Transform::Whole) {
            return Ok(raw.clone());
        }
        let mut given = self.names.clone();
        given.push(("aws.pipes.event.ingestion-time", at.whole_seconds().into()));
        given.push(("aws.pipes.event", raw.clone()));
        let context = Context { given, ..Context::default() };
        let shaped = input.apply(decoded, &context);
        shaped.map(Into::into).map_err(|error| Failed::permanently(FailureCode::InvalidJson, error.to_string()))
    }

    /// Calls the enrichment, if there is one, and gives all records the target's shape.
    pub(super) fn make(&self, records: &[Record]) -> Result<Made, Failed> {
        let input = &self.plan.target.input;
        let Some(enrichment) = &self.plan.enrichment else {
            let item = |record: &Record| Item {
                key: record.key,
                cause: record.cause,
                decoded: record.decoded().clone(),
                body: self.shape(input, &record.raw, record.decoded(), record.at),
            };
            return Ok(Made { items: records.iter().map(item).collect(), one_each: true });
        };
        let answered = self.enrich(enrichment, records)?;
        let elements = elements(&answered)?;
        let one_each = elements.len() == records.len();
        let item = |(number, element): (usize, &RawValue)| {
            let record = &records[number.min(records.len() - 1)];
            let raw: Arc<str> = element.get().into();
            Item {
                key: if one_each { record.key } else { elsewhere(record.key.0 ^ (number as u64) << 48) },
                cause: record.cause,
                body: self.shape(input, &raw, &raw, record.at),
                decoded: raw,
            }
        };
        Ok(Made { items: elements.into_iter().enumerate().map(item).collect(), one_each })
    }

    fn enrich(&self, enrichment: &Enrichment, records: &[Record]) -> Result<String, Failed> {
        let mut batch = String::from("[");
        for (number, record) in records.iter().enumerate() {
            if number > 0 {
                batch.push(',');
            }
            batch.push_str(&self.shape(&enrichment.input, &record.raw, record.decoded(), record.at)?);
        }
        batch.push(']');
        match &enrichment.destination {
            Destination::Function(name) => {
                let function = self.parts.callees.enricher(name);
                let function = function.ok_or_else(|| not_now("the enrichment function is not there yet"))?;
                let mut function = turn(&function);
                caught(|| function(&batch)).unwrap_or_else(|why| Err(local::panicked(&why)))
            }
            Destination::Webhook(name) => {
                let parameters = enrichment.http.for_event(records[0].decoded());
                self.call(name, parameters, batch)
            }
            _ => Err(unknown(format!("nothing here is {}", enrichment.arn))),
        }
    }

    fn call(
        &self,
        destination: &str,
        parameters: fakemon_resource::resource::HttpParameters,
        body: String,
    ) -> Result<String, Failed> {
        let outside = self.parts.callees.outside.get().ok_or_else(|| not_now("nobody speaks HTTP yet"))?;
        let answered = outside::call(outside, destination, parameters, body, &self.stop);
        answered.unwrap_or_else(|| Err(not_now("the pipe is to stop")))
    }

    /// How many of the first items can be delivered together.
    pub(super) fn piece(&self, items: &[Item]) -> usize {
        // From a FIFO queue, no item may be delivered after one that fails.
        let strict = matches!(&self.plan.source, Source::Queue(name) if is_fifo(name));
        let max = match &self.plan.target.destination {
            Destination::Queue(_) | Destination::LogGroup(_) | Destination::Bus(_) => PIECE_MAX,
            Destination::Capture | Destination::Players | Destination::Player(_) if !strict => PIECE_MAX,
            _ => 1,
        };
        let mut bytes = 0;
        let fits = |item: &&Item| {
            bytes += item.body.as_ref().map_or(0, |body| body.len());
            item.body.is_ok() && bytes <= PIECE_BYTES_MAX
        };
        items.iter().take(max).take_while(fits).count().max(1)
    }

    /// One attempt to deliver a piece.
    pub(super) fn deliver(&mut self, items: &[Item]) -> Outcomes {
        let mut bodies = Vec::with_capacity(items.len());
        for item in items {
            match &item.body {
                Ok(body) => bodies.push(body.clone()),
                Err(failed) => return vec![Some(Err(failed.clone()))], // pieces end before it, so it is alone
            }
        }
        let registry = self.parts.courier.registry();
        let plan = self.plan.clone();
        let target = &plan.target;
        let all = |outcome: Result<(), Failed>| items.iter().map(|_| Some(outcome.clone())).collect();
        match &target.destination {
            Destination::Queue(name) => self.send(&registry, name, target, items, &bodies),
            Destination::LogGroup(group) => all(self.log(&registry, group, target, items, &bodies)),
            Destination::Bus(name) => self.put_on_bus(&registry, name, target, items, &bodies),
            Destination::Capture => self.carry_out(items, &bodies),
            Destination::Players | Destination::Player(_) => self.tell(&target.destination, items, &bodies),
            Destination::Function(name) => match self.parts.callees.function(name) {
                None => all(Err(not_now("the function is not there yet"))),
                Some(function) => {
                    let outcomes = local::call(&mut turn(&function), true, &letters(items, &bodies));
                    by_item(items, outcomes)
                }
            },
            Destination::Webhook(name) => {
                let parameters = target.http.for_event(&items[0].decoded);
                all(self.call(name, parameters, bodies[0].to_string()).map(drop))
            }
            Destination::Answers(_) | Destination::Unknown => {
                all(Err(unknown(format!("nothing here is {}", target.arn))))
            }
        }
    }

    fn send(
        &self,
        registry: &Registry,
        name: &str,
        target: &Target,
        items: &[Item],
        bodies: &[Arc<str>],
    ) -> Outcomes {
        let Some(queue) = registry.queues.get(name) else {
            let missing = unknown(format!("there is no queue {name}"));
            return items.iter().map(|_| Some(Err(missing.clone()))).collect();
        };
        let (mut messages, mut outcomes) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
        for (item, body) in items.iter().zip(bodies) {
            let made = message(queue, target, item, body);
            outcomes.push(Some(made.map(|made| messages.push(made))));
        }
        if messages.is_empty() {
            return outcomes;
        }
        let courier = &self.parts.courier;
        if let Err(error) = courier.queues.enqueue(name, messages, Batch::default(), false, courier.now()) {
            let failed = Failed::from(error);
            for outcome in outcomes.iter_mut().filter(|outcome| matches!(outcome, Some(Ok(())))) {
                *outcome = Some(Err(failed.clone()));
            }
        }
        outcomes
    }

    /// Writes lines in order; neighbouring lines for one stream are written at once.
    fn log(
        &self,
        registry: &Registry,
        group: &str,
        target: &Target,
        items: &[Item],
        bodies: &[Arc<str>],
    ) -> Result<(), Failed> {
        let held = registry.log_groups.get(group);
        let held = held.ok_or_else(|| unknown(format!("there is no log group {group}")))?;
        let now = self.parts.courier.wall();
        let stream = |item: &Item| {
            let stream = target.log_stream.for_event(&item.decoded).filter(|stream| !stream.is_empty());
            stream.unwrap_or_else(|| format!("pipe/{}", self.plan.name))
        };
        let at_ms = |item: &Item| {
            let text = target.log_time.as_ref().and_then(|path| path.text_in(&item.decoded));
            text.and_then(|text| moment(&text)).unwrap_or(now).0 / 1_000_000
        };
        let lines: Vec<(String, (u64, &str))> =
            items.iter().zip(bodies).map(|(item, body)| (stream(item), (at_ms(item), &**body))).collect();
        for run in lines.chunk_by(|(one, _), (other, _)| one == other) {
            let texts: Vec<(u64, &str)> = run.iter().map(|(_, line)| *line).collect();
            let written = self.parts.courier.logs.append(
                LogGroupName(group),
                LogStreamName(&run[0].0),
                &texts,
                held.retention_days,
                false,
                now,
            );
            written.map_err(|error| Failed::for_now(FailureCode::InternalError, error.to_string()))?;
        }
        Ok(())
    }

    fn put_on_bus(
        &mut self,
        registry: &Registry,
        name: &str,
        target: &Target,
        items: &[Item],
        bodies: &[Arc<str>],
    ) -> Outcomes {
        let fail = |failed: Failed| items.iter().map(|_| Some(Err(failed.clone()))).collect();
        if !registry.buses.contains_key(name) {
            return fail(unknown(format!("there is no event bus {name}")));
        }
        let (mut outcomes, mut events): (Outcomes, Vec<NewEvent>) = (Vec::new(), Vec::new());
        for (item, body) in items.iter().zip(bodies) {
            let event = self.event(name, target, item, body);
            let courier = &self.parts.courier;
            match event.and_then(|event| local::admit(courier, registry, &event).map(|()| event)) {
                Ok(event) => {
                    events.push(event);
                    outcomes.push(Some(Ok(())));
                }
                Err(failed) => outcomes.push(Some(Err(failed))),
            }
        }
        let failed = match self.client() {
            Ok(_) if events.is_empty() => return outcomes,
            Ok(client) => match local::put(client, events) {
                Ok(()) => return outcomes,
                Err(error @ SubmitError::Stopped) => not_now(&error.to_string()),
                Err(error @ SubmitError::TooLarge) => {
                    Failed::permanently(FailureCode::InvalidParameter, error.to_string())
                }
                Err(error) => Failed::for_now(FailureCode::Throttling, error.to_string()),
            },
            Err(failed) => failed,
        };
        for outcome in outcomes.iter_mut().filter(|outcome| matches!(outcome, Some(Ok(())))) {
            *outcome = Some(Err(failed.clone()));
        }
        outcomes
    }

    fn event(&self, bus: &str, target: &Target, item: &Item, body: &Arc<str>) -> Result<NewEvent, Failed> {
        let wrong = |what: String| Failed::permanently(FailureCode::InvalidParameter, what);
        let text = |text: &Parameter| text.for_event(&item.decoded).unwrap_or_default();
        check_detail(body)
            .map_err(|error| wrong(format!("the detail of an event: {error}: shape it with InputTemplate")))?;
        let (source, detail_type) = (text(&target.source), text(&target.detail_type));
        if source.is_empty() || detail_type.is_empty() {
            return Err(wrong("the event has no source or no detail type: their paths lead nowhere".into()));
        }
        let hops = item.cause.map_or(0, |(_, hops)| hops);
        if hops >= HOPS_MAX {
            let message = format!("it was handed from bus to bus {hops} times: do pipes and rules feed each other?");
            return Err(Failed::permanently(FailureCode::ThirdAccountHopDetected, message));
        }
        let time = target.time.as_ref().and_then(|path| path.text_in(&item.decoded));
        Ok(NewEvent {
            bus: bus.to_owned(),
            source,
            detail_type,
            detail: body.to_string(),
            resources: target.resources.iter().map(text).filter(|text| !text.is_empty()).collect(),
            time: time.as_deref().and_then(moment),
            region: self.plan.region.clone(),
            cause: item.cause.map(|(position, _)| position),
            hops: hops + 1,
            by: None,
            origin: None,
            trace: None,
        })
    }

    fn carry_out(&mut self, items: &[Item], bodies: &[Arc<str>]) -> Outcomes {
        let (stop, courier, answered) = (self.stop.clone(), self.parts.courier.clone(), self.parts.answered.clone());
        match self.client() {
            Ok(client) => {
                let answered = answered.get();
                let mut service =
                    CaptureService { client, courier: &courier, answered, stop: &stop, fresh_from: None };
                by_item(items, service.carry_out(&commands(items, bodies)))
            }
            Err(failed) => items.iter().map(|_| Some(Err(failed.clone()))).collect(),
        }
    }

    fn tell(&self, destination: &Destination, items: &[Item], bodies: &[Arc<str>]) -> Outcomes {
        let Some(postman) = self.parts.callees.postman.get() else {
            return items.iter().map(|_| Some(Err(not_now("nobody brings letters yet")))).collect();
        };
        let mut letters = letters(items, bodies);
        // The player is named in the body, or else in the record that it was made of.
        for (letter, item) in letters.iter_mut().zip(items) {
            if addressee(destination, &letter.body).is_err() {
                letter.event = item.decoded.clone();
            }
        }
        by_item(items, local::to_players(&mut turn(postman), destination, &letters))
    }

    fn client(&mut self) -> Result<&mut Client, Failed> {
        if self.client.is_none() {
            self.client = Some(self.parts.client()?);
        }
        Ok(self.client.as_mut().expect("it was just made"))
    }
}

/// The message for one item. If a FIFO queue would refuse the group or the deduplication id in the record (missing,
/// empty, no text, too long), the delivery fails: in another group the message would lose its order.
fn message(queue: &Queue, target: &Target, item: &Item, body: &Arc<str>) -> Result<NewMessage, Failed> {
    let is_ordered = is_fifo(&queue.name);
    let id = |name: &str, parameter: &Option<Parameter>| {
        let Some(parameter) = parameter else { return Ok(None) };
        let text = parameter.scalar_for_event(&item.decoded).unwrap_or_default();
        match is_id(&text) {
            true => Ok(Some(text)),
            false if !is_ordered && text.is_empty() => Ok(None),
            false => Err(Failed::permanently(
                FailureCode::InvalidParameter,
                format!("{name} of this record is not 1 to 128 alphanumeric and punctuation characters"),
            )),
        }
    };
    let group = id("MessageGroupId", &target.group)?;
    let given = if is_ordered { id("MessageDeduplicationId", &target.deduplication_id)? } else { None };
    let deduplication_id = is_ordered.then(|| match given {
        Some(id) => id,
        None if queue.deduplicates_by_content() => NewMessage::content_id(body),
        None => item.key.id(),
    });
    Ok(NewMessage {
        body: body.to_string(),
        group,
        deduplication_id,
        deduplicate_in_group: queue.deduplicates_in_group(),
        ..NewMessage::default()
    })
}

fn letters(items: &[Item], bodies: &[Arc<str>]) -> Vec<ShapedEvent> {
    let letter = |(item, body): (&Item, &Arc<str>)| ShapedEvent {
        key: item.key,
        event: body.clone(),
        body: body.clone(),
        fresh_since: None,
        target: None,
        trace: None,
        hops: item.cause.map_or(0, |(_, hops)| hops),
    };
    items.iter().zip(bodies).map(letter).collect()
}

/// Commands, and the records that they were made of: those say whether a body was made of a refusal.
fn commands(items: &[Item], bodies: &[Arc<str>]) -> Vec<ShapedEvent> {
    let of_record = |(letter, item): (ShapedEvent, &Item)| match is_refusal(&item.decoded) {
        true => ShapedEvent { event: item.decoded.clone(), ..letter },
        false => letter,
    };
    letters(items, bodies).into_iter().zip(items).map(of_record).collect()
}

/// Sorts outcomes into the order of the items.
fn by_item(items: &[Item], outcomes: local::Outcomes) -> Outcomes {
    let mut outcomes: std::collections::HashMap<EventKey, Result<(), Failed>> = outcomes.into_iter().collect();
    items.iter().map(|item| outcomes.remove(&item.key)).collect()
}

/// The answer of an enrichment: the elements of a list, or one value; nothing, `""`, `{}` and `[]` mean no records.
pub(super) fn elements(answered: &str) -> Result<Vec<&RawValue>, Failed> {
    let answered = answered.trim();
    if matches!(answered, "" | "\"\"" | "{}" | "[]" | "null") {
        return Ok(Vec::new());
    }
    let parsed = match answered.starts_with('[') {
        true => serde_json::from_str(answered),
        false => serde_json::from_str(answered).map(|one| vec![one]),
    };
    parsed.map_err(|error| {
        Failed::permanently(FailureCode::ErrorFromTarget, format!("the enrichment answered no JSON: {error}"))
    })
}

/// Parses a time: RFC 3339, or seconds or milliseconds since 1970.
pub(super) fn moment(text: &str) -> Option<Timestamp> {
    if let Ok(number) = text.parse::<u64>() {
        let ms = if number < 100_000_000_000 { number.checked_mul(1_000)? } else { number };
        return ms.checked_mul(1_000_000).map(Timestamp);
    }
    let time = text.parse::<jiff::Timestamp>().ok()?;
    u64::try_from(time.as_nanosecond()).ok().map(Timestamp)
}
