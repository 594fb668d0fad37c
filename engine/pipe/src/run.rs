//! The thread of one pipe: takes batches, delivers them, and tells the source which records are done.
//!
//! - `messages`: messages of a queue
//! - `failures`: retries and dead letters

mod messages;
mod failures;

use super::cursor::Cursor;
use super::delivery::{Delivery, Item, Made, PIECE_MAX};
use super::intake::Intake;
use super::parts::{Parts, PipeFigures};
use super::plan::{Plan, Source};
use super::record::{Mark, Record};
use super::state::PipeStatus;
use fakemon_capture::recovery::snapshot::lower_priority;
use fakemon_delivery::{Failed, FailureCode};
use fakemon_journal::ReadError;
use fakemon_model::envelope::EventKey;
use fakemon_model::ids::Timestamp;
use fakemon_resource::Destination;
use fakemon_resource::resource::Pipe;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Pause before the next try, when a callback is not registered yet or a source could not be read.
const SOON: Duration = Duration::from_millis(50);
/// How often a cursor is stored while no record passes the filter.
const NOTE_EVERY: Duration = Duration::from_millis(100);

/// One run of a pipe, from a start to a stop or a change.
pub(super) struct Run {
    parts: Arc<Parts>,
    plan: Arc<Plan>,
    name: String,
    created_at: Timestamp,
    figures: Arc<PipeFigures>,
    stop: Arc<AtomicBool>,
    delivery: Delivery,
    cursor: Cursor,
    noted: Instant,
    troubled: bool,
    /// Whether the present problem is with the source.
    source_troubled: bool,
}

/// What the settings of a pipe name that does not exist.
fn missing(parts: &Parts, plan: &Plan) -> Option<String> {
    let registry = parts.courier.registry();
    let lacks = |what: &str, destination: &Destination| match destination {
        Destination::Queue(name) => {
            (!registry.queues.contains_key(name)).then(|| format!("{what}: there is no queue {name}"))
        }
        Destination::LogGroup(name) => {
            (!registry.log_groups.contains_key(name)).then(|| format!("{what}: there is no log group {name}"))
        }
        Destination::Bus(name) => {
            (!registry.buses.contains_key(name)).then(|| format!("{what}: there is no event bus {name}"))
        }
        Destination::Webhook(name) => {
            (!registry.destinations.contains_key(name)).then(|| format!("{what}: there is no API destination {name}"))
        }
        _ => None,
    };
    let enrichment = plan.enrichment.as_ref().and_then(|enrichment| lacks("Enrichment", &enrichment.destination));
    lacks("Source", &Destination::of(&plan.source_arn))
        .or(enrichment)
        .or_else(|| lacks("Target", &plan.target.destination))
}

impl Run {
    /// Prepares a run; or says why the pipe cannot run.
    pub(super) fn prepare(
        parts: Arc<Parts>,
        pipe: &Pipe,
        figures: Arc<PipeFigures>,
        stop: Arc<AtomicBool>,
    ) -> Result<Run, String> {
        let plan = Arc::new(Plan::of(pipe).map_err(|error| error.to_string())?);
        if let Some(missing) = missing(&parts, &plan) {
            return Err(missing);
        }
        let cursor = Cursor::read(&parts.depot, &pipe.name, pipe.created_at).map_err(|error| error.to_string())?;
        Ok(Run {
            delivery: Delivery::new(parts.clone(), plan.clone(), stop.clone()),
            parts,
            plan,
            name: pipe.name.clone(),
            created_at: pipe.created_at,
            figures,
            stop,
            cursor,
            noted: Instant::now(),
            troubled: false,
            source_troubled: false,
        })
    }

    /// The queue that it reads.
    pub(super) fn queue(&self) -> Option<String> {
        match &self.plan.source {
            Source::Queue(name) => Some(name.clone()),
            _ => None,
        }
    }

    /// Runs until asked to stop.
    pub(super) fn run(mut self) {
        lower_priority(); // attempts come first
        if let Err(error) = self.carry()
            && !self.is_stopping()
        {
            tracing::error!(pipe = self.name, "it stands still: {error}");
            self.parts.pipes.set_status(&self.name, PipeStatus::Failed(error.to_string()));
        }
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn carry(&mut self) -> Result<(), ReadError> {
        let mut intake = loop {
            if self.is_stopping() {
                return Ok(());
            }
            let (parts, plan, figures) = (self.parts.clone(), self.plan.clone(), self.figures.clone());
            match Intake::open(parts, plan, figures, &self.cursor)? {
                Some(intake) => break intake,
                None => std::thread::park_timeout(SOON),
            }
        };
        while !self.is_stopping() {
            match intake.next_batch()? {
                Some(batch) => {
                    PipeFigures::add(&self.figures.batches, 1);
                    self.work(batch, &intake)?;
                }
                None => {
                    let passed = intake.passed(None).filter(|passed| Some(*passed) > self.cursor.event());
                    if let Some(passed) = passed.filter(|_| self.noted.elapsed() >= NOTE_EVERY) {
                        self.pass(Some(passed), None)?;
                    }
                    self.look_after_source(intake.trouble());
                    std::thread::park_timeout(intake.patience());
                }
            }
        }
        Ok(())
    }

    /// Marks everything up to an event, or up to a stream's event, as done.
    fn pass(&mut self, event: Option<EventKey>, heard: Option<&Record>) -> Result<(), ReadError> {
        if let Some(event) = event {
            self.cursor.key = Some(event.0);
            self.parts.pipes.held().get_mut(&self.name).into_iter().for_each(|known| {
                known.needed = Some(event.position());
            });
        }
        if let Some(Mark::Line { event_id: Some(id) }) = heard.map(|record| &record.mark) {
            self.cursor.event_id = Some(id.clone());
        }
        self.cursor.retries = 0;
        self.note()
    }

    fn note(&mut self) -> Result<(), ReadError> {
        self.noted = Instant::now();
        self.cursor.write(&self.parts.depot, &self.name, self.created_at)
    }

    /// Delivers a batch, or as much of it as possible before the pipe stops.
    fn work(&mut self, batch: Vec<Record>, intake: &Intake) -> Result<(), ReadError> {
        let received = Instant::now();
        let mut left: VecDeque<Record> = batch.into();
        let mut together = usize::MAX;
        while !left.is_empty() && !self.is_stopping() {
            self.give_up_old(&mut left, intake)?;
            let count = left.len().min(together);
            if count == 0 {
                break;
            }
            let records: Vec<Record> = left.drain(..count).collect();
            let is_last = left.is_empty();
            match self.delivery.make(&records) {
                Ok(made) => {
                    together = usize::MAX;
                    match self.is_queue() {
                        true => self.empty_into_target(&records, &made, received)?,
                        false => self.follow_into_target(&records, &made, is_last, intake)?,
                    }
                }
                Err(failed) if self.is_queue() => {
                    self.give_back(&records, Some(&failed))?;
                    self.pause(&failed);
                }
                Err(failed) => {
                    let halves = self.plan.limits.bisect && count > 1;
                    let exhausted = self.exhausted(&failed, &records[0]);
                    match exhausted.filter(|_| !halves) {
                        Some(condition) => {
                            records.iter().for_each(|record| self.give_up(record, &failed, condition));
                            self.passed(records.last(), is_last, intake)?;
                        }
                        None => {
                            if halves {
                                together = count / 2;
                            }
                            records.into_iter().rev().for_each(|record| left.push_front(record));
                            self.again(&failed)?;
                        }
                    }
                }
            }
        }
        self.give_back(left.make_contiguous(), None)
    }

    fn is_queue(&self) -> bool {
        matches!(self.plan.source, Source::Queue(_))
    }

    /// Marks everything up to a record as done; after the last one of a batch perhaps more.
    fn passed(&mut self, record: Option<&Record>, is_last: bool, intake: &Intake) -> Result<(), ReadError> {
        let event = match is_last {
            true => intake.passed(record),
            false => record.filter(|record| matches!(record.mark, Mark::Event)).map(|record| record.key),
        };
        self.pass(event, record)
    }

    /// Gives up records that are too old, before they are tried.
    fn give_up_old(&mut self, left: &mut VecDeque<Record>, intake: &Intake) -> Result<(), ReadError> {
        let now = self.parts.now();
        let limits = self.plan.limits;
        while let Some(record) = left.pop_front_if(|record| limits.is_too_old(record.at, now)) {
            let failed = Failed::for_now(FailureCode::Timeout, "it waited longer than MaximumRecordAgeInSeconds");
            self.give_up(&record, &failed, Some("MaximumRecordAgeInSeconds"));
            self.passed(Some(&record), left.is_empty(), intake)?;
        }
        Ok(())
    }

    /// Delivers events or a stream's events piece by piece, until all are done or the pipe stops. Nothing is
    /// delivered after a record that is retried.
    fn follow_into_target(
        &mut self,
        records: &[Record],
        made: &Made,
        is_last: bool,
        intake: &Intake,
    ) -> Result<(), ReadError> {
        let Made { items, one_each } = made;
        let (mut open, mut passed) = (vec![true; items.len()], 0);
        while let Some(first) = open.iter().position(|open| *open) {
            if self.is_stopping() {
                return Ok(());
            }
            let numbers: Vec<usize> = (first..items.len()).filter(|number| open[*number]).take(PIECE_MAX).collect();
            let piece: Vec<Item> = numbers.iter().map(|number| items[*number].clone()).collect();
            let piece = &piece[..self.delivery.piece(&piece)];
            let (mut again, mut all_delivered) = (None, true);
            for (number, outcome) in numbers.into_iter().zip(self.delivery.deliver(piece)) {
                let record = &records[number.min(records.len() - 1)];
                match outcome {
                    Some(Ok(())) => {
                        PipeFigures::add(&self.figures.delivered, 1);
                        open[number] = false;
                    }
                    Some(Err(failed)) => match self.exhausted(&failed, record).filter(|_| again.is_none()) {
                        Some(condition) if *one_each => {
                            self.give_up(record, &failed, condition);
                            (open[number], all_delivered) = (false, false);
                        }
                        Some(condition) => {
                            records.iter().for_each(|record| self.give_up(record, &failed, condition));
                            return self.passed(records.last(), is_last, intake);
                        }
                        None => {
                            again.get_or_insert(failed);
                        }
                    },
                    None => {}
                }
            }
            let through = open.iter().position(|open| *open).unwrap_or(items.len());
            if *one_each && through > passed {
                passed = through;
                self.passed(Some(&records[through - 1]), is_last && through == items.len(), intake)?;
            }
            match again {
                Some(failed) => self.again(&failed)?,
                None => self.went_well(all_delivered),
            }
        }
        if *one_each { Ok(()) } else { self.passed(records.last(), is_last, intake) }
    }
}
