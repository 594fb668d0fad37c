//! How a pipe that reads a queue settles messages: messages that the target accepted are deleted, all others are
//! returned, and the queue's own redrive policy decides how often.

use super::Run;
use crate::delivery::Made;
use crate::intake::visibility_s;
use crate::parts::PipeFigures;
use crate::plan::Source;
use crate::record::{Mark, Record};
use fakemon_delivery::{Failed, FailureCode};
use fakemon_journal::ReadError;
use fakemon_model::names::ReceiptHandle;
use fakemon_queue::queue::{QueueError, is_fifo};
use std::time::{Duration, Instant};

impl Run {
    /// Delivers messages piece by piece. Those that the target accepted are deleted; all others are returned to the
    /// queue.
    pub(super) fn empty_into_target(
        &mut self,
        records: &[Record],
        made: &Made,
        received: Instant,
    ) -> Result<(), ReadError> {
        let Made { items, one_each } = made;
        let (mut open, mut at, mut renewed) = (vec![true; records.len()], 0, received);
        let (mut failed, mut trouble) = (None, None);
        while at < items.len() && failed.is_none() && !self.is_stopping() {
            let piece = &items[at..at + self.delivery.piece(&items[at..])];
            let outcomes = self.delivery.deliver(piece);
            let (mut taken, mut refused) = (Vec::new(), Vec::new());
            for (number, outcome) in (at..).zip(&outcomes) {
                match outcome {
                    Some(Ok(())) => taken.push(number),
                    Some(Err(why)) if why.retriable || self.is_fifo() || !one_each => {
                        failed.get_or_insert_with(|| why.clone());
                    }
                    Some(Err(why)) => refused.push((number, why.clone())),
                    None => {}
                }
            }
            PipeFigures::add(&self.figures.delivered, taken.len());
            at += piece.len();
            if *one_each {
                taken.iter().for_each(|number| open[*number] = false);
                let taken: Vec<Record> = taken.into_iter().map(|number| records[number].clone()).collect();
                self.delete(&taken)?;
                for (number, why) in refused {
                    open[number] = false;
                    self.give_back(&records[number..=number], Some(&why))?;
                    trouble = Some(why);
                }
            }
            if renewed.elapsed() > self.hidden_for() / 2 {
                renewed = Instant::now();
                self.hide(records.iter().zip(&open).filter(|(_, open)| **open).map(|(record, _)| record));
            }
        }
        let through = at >= items.len() && failed.is_none();
        if through && !one_each {
            self.went_well(true);
            return self.delete(records);
        }
        let rest: Vec<Record> =
            records.iter().zip(open).filter(|(_, open)| *open).map(|(record, _)| record.clone()).collect();
        self.give_back(&rest, failed.as_ref())?;
        match (failed, trouble) {
            (Some(failed), _) => self.pause(&failed),
            // Other messages may succeed, so there is no pause for those that the target refuses.
            (None, Some(refused)) => self.say(&refused),
            (None, None) => self.went_well(true),
        }
        Ok(())
    }

    fn source_queue(&self) -> &str {
        match &self.plan.source {
            Source::Queue(name) => name,
            _ => "",
        }
    }

    fn is_fifo(&self) -> bool {
        is_fifo(self.source_queue())
    }

    fn hidden_for(&self) -> Duration {
        let queue = self.parts.courier.registry().queues.get(self.source_queue()).map(visibility_s);
        Duration::from_secs(queue.unwrap_or_default().max(1).into())
    }

    fn delete(&self, records: &[Record]) -> Result<(), ReadError> {
        let sequence = |record: &Record| match record.mark {
            Mark::Message { sequence, .. } => Some(sequence),
            _ => None,
        };
        let sequences: Vec<u64> = records.iter().filter_map(sequence).collect();
        let deleted = self.parts.courier.queues.delete_all(self.source_queue(), &sequences);
        deleted.map_err(|error| ReadError::Failed(error.to_string()))
    }

    /// Makes messages visible again: at once, or later the more often they failed.
    pub(super) fn give_back(&self, records: &[Record], failed: Option<&Failed>) -> Result<(), ReadError> {
        let longest = u32::try_from(self.hidden_for().as_secs()).unwrap_or(u32::MAX);
        for record in records {
            let Mark::Message { handle, receives, .. } = &record.mark else { continue };
            let counts = failed.is_some_and(|failed| failed.code != FailureCode::Stopped);
            let wait_s = if counts { (1 << (receives - 1).min(16)).min(longest) } else { 0 };
            PipeFigures::add(&self.figures.retries, usize::from(counts));
            self.show_in(handle, wait_s)?;
        }
        Ok(())
    }

    /// Hides messages that are being delivered for longer.
    fn hide<'r>(&self, records: impl Iterator<Item = &'r Record>) {
        let seconds = u32::try_from(self.hidden_for().as_secs()).unwrap_or(u32::MAX);
        for record in records {
            if let Mark::Message { handle, .. } = &record.mark {
                let _ = self.show_in(handle, seconds); // then it is delivered twice
            }
        }
    }

    fn show_in(&self, handle: &str, seconds: u32) -> Result<(), ReadError> {
        let courier = &self.parts.courier;
        match courier.queues.keep(self.source_queue(), ReceiptHandle(handle), seconds, courier.now()) {
            Err(QueueError::Store(error)) => Err(ReadError::Failed(error)),
            _ => Ok(()), // another receiver took or deleted it meanwhile
        }
    }
}
