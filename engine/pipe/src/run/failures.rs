//! What happens to failed records: they are retried after a while, or given up and become dead letters.

use super::{Run, SOON};
use crate::parts::PipeFigures;
use crate::record::Record;
use crate::state::PipeStatus;
use fakemon_delivery::{Failed, FailureCode};
use fakemon_journal::{Batch, ReadError};
use fakemon_queue::queue::{Attribute, NewMessage};
use fakemon_sync::seldom::Seldom;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

static GIVEN_UP: Seldom = Seldom::new("a pipe: given up, and there is no dead-letter queue");
static LETTER_LOST: Seldom = Seldom::new("a pipe: a dead letter is lost");

impl Run {
    pub(super) fn exhausted(&self, failed: &Failed, record: &Record) -> Option<Option<&'static str>> {
        let counts = failed.code != FailureCode::Stopped;
        let limits = self.plan.limits;
        limits.exhausted(failed, self.cursor.retries, record.at, self.parts.now()).filter(|_| counts)
    }

    /// Stores that there was one more attempt, and waits until the next.
    pub(super) fn again(&mut self, failed: &Failed) -> Result<(), ReadError> {
        let wait = self.count(failed);
        if failed.code != FailureCode::Stopped {
            PipeFigures::add(&self.figures.retries, 1);
            self.note()?;
        }
        self.sleep(wait);
        Ok(())
    }

    /// Waits before the next attempt, longer after more failures, unless the pipe is stopping.
    pub(super) fn pause(&mut self, failed: &Failed) {
        let wait = self.count(failed);
        self.sleep(wait);
    }

    /// Counts a failed attempt; returns how long to wait for the next.
    fn count(&mut self, failed: &Failed) -> Duration {
        if failed.code == FailureCode::Stopped {
            return SOON;
        }
        self.say(failed);
        self.cursor.retries = self.cursor.retries.saturating_add(1);
        failed.retry_after.unwrap_or_else(|| self.parts.courier.backoff(self.cursor.retries - 1))
    }

    /// Reports what prevents delivery.
    pub(super) fn say(&mut self, failed: &Failed) {
        tracing::debug!(pipe = self.name, code = %failed.code, "not delivered: {}", failed.message);
        self.note_trouble(Some(format!("{}: {}", failed.code, failed.message)));
    }

    fn sleep(&self, wait: Duration) {
        let until = Instant::now() + wait;
        while !self.is_stopping() && Instant::now() < until {
            std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
        }
    }

    /// Reports why the source gives nothing, as long as it gives nothing.
    pub(super) fn look_after_source(&mut self, trouble: Option<String>) {
        if trouble.is_some() || self.source_troubled {
            self.source_troubled = trouble.is_some();
            self.note_trouble(trouble);
        }
    }

    fn note_trouble(&mut self, trouble: Option<String>) {
        self.troubled = trouble.is_some();
        self.parts.pipes.set_status(&self.name, PipeStatus::Running { trouble });
    }

    /// Notes that all of a piece was settled; `delivered` says whether none of it was given up.
    pub(super) fn went_well(&mut self, delivered: bool) {
        self.cursor.retries = 0;
        if self.troubled && delivered {
            self.note_trouble(None);
        }
    }

    /// Gives up a record, and says why until one is delivered; it becomes a dead letter if there is a queue for it.
    pub(super) fn give_up(&mut self, record: &Record, failed: &Failed, condition: Option<&str>) {
        self.say(failed);
        PipeFigures::add(&self.figures.failed, 1);
        let courier = &self.parts.courier;
        let there = |queue: &&String| courier.registry().queues.contains_key(*queue);
        let Some(queue) = self.plan.dead_letters.as_ref().filter(there) else {
            return GIVEN_UP.say(|| {
                tracing::warn!(pipe = self.name, "given up, and there is no dead-letter queue: {}", failed.message);
            });
        };
        let message = NewMessage {
            body: record.raw.to_string(),
            attributes: self.why(record, failed, condition),
            ..NewMessage::default()
        };
        match courier.queues.enqueue(queue, vec![message], Batch::default(), false, courier.now()) {
            Ok(_) => PipeFigures::add(&self.figures.dead_lettered, 1),
            Err(error) => LETTER_LOST.say(|| {
                tracing::warn!(pipe = self.name, queue, "a dead letter is lost: {error}");
            }),
        }
    }

    fn why(&self, record: &Record, failed: &Failed, condition: Option<&str>) -> BTreeMap<String, Attribute> {
        let mut attributes = vec![
            ("PIPE_ARN", self.plan.arn.clone()),
            ("TARGET_ARN", self.plan.target.arn.clone()),
            ("ERROR_CODE", failed.code.name().to_owned()),
            ("ERROR_MESSAGE", failed.message.clone()),
            ("RETRY_ATTEMPTS", self.cursor.retries.to_string()),
        ];
        if let Some((position, _)) = record.cause {
            attributes.push(("FAKEMON_EVENT_ID", record.key.id()));
            attributes.push(("FAKEMON_EVENT_POSITION", position.to_string()));
        }
        attributes.extend(condition.map(|condition| ("EXHAUSTED_RETRY_CONDITION", condition.to_owned())));
        attributes.into_iter().map(|(name, text)| (name.to_owned(), Attribute::text(text))).collect()
    }
}
