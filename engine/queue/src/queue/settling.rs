//! Settling received messages: deleting them, or changing their visibility.

use super::receipt::Receipt;
use super::rows::{forget, row};
use super::state::Queue;
use super::{QueueError, Queues, is_fifo};
use fakemon_journal::{Batch, Table};
use fakemon_model::ids::Timestamp;
use fakemon_model::names::ReceiptHandle;

/// What happens to a received message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It is deleted.
    Delete,
    /// It is hidden for this many seconds from now on; 0 makes it visible at once.
    Hide(u32),
}

impl Queues {
    /// Settles messages by their receipt handles, each independently; in one write, on the disk when this returns.
    ///
    /// A message that no longer exists can be deleted again. In a standard queue every handle of a message is valid;
    /// in a FIFO queue only the last one, and only while the message is in flight, because another receiver may have
    /// got it since.
    pub fn settle(
        &self,
        queue: &str,
        receipts: &[(String, Settlement)],
        now: Timestamp,
    ) -> Vec<Result<(), QueueError>> {
        let mut batch = Batch::default();
        let mut held = self.held();
        let state = held.entry(queue.to_owned()).or_default();
        state.show_due(now);
        let settle = |(handle, settlement): &(String, Settlement)| {
            let receipt = Receipt::read(queue, ReceiptHandle(handle)).ok_or(QueueError::Handle)?;
            match settlement {
                Settlement::Delete => state.delete(queue, receipt, &mut batch),
                Settlement::Hide(seconds) => state.hide(queue, receipt, *seconds, now, &mut batch),
            }
        };
        let mut outcomes: Vec<Result<(), QueueError>> = receipts.iter().map(settle).collect();
        if batch.is_empty() {
            return outcomes;
        }
        // Held until it is written: another receiver may take what is shown again, and its row must come after this
        // one.
        let written = self.depot.write(batch, false);
        drop(held);
        if let Err(error) = written.and_then(|()| self.depot.sync()) {
            let told = outcomes.iter_mut().filter(|outcome| outcome.is_ok());
            told.for_each(|outcome| *outcome = Err(QueueError::Store(error.clone())));
        }
        self.wake(queue); // messages after it in its group, or the message itself, are visible now
        outcomes
    }

    fn settle_one(
        &self,
        queue: &str,
        ReceiptHandle(receipt): ReceiptHandle<'_>,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<(), QueueError> {
        self.settle(queue, &[(receipt.to_owned(), settlement)], now).pop().expect("one for each receipt")
    }

    /// Deletes a message by a receipt handle; a message that no longer exists is no error. See [`Queues::settle`].
    ///
    /// # Errors
    /// [`QueueError::Handle`], [`QueueError::Expired`], or when the depot cannot be written.
    pub fn delete(&self, queue: &str, receipt: ReceiptHandle<'_>, now: Timestamp) -> Result<(), QueueError> {
        self.settle_one(queue, receipt, Settlement::Delete, now)
    }

    /// Hides a message for `visibility_s` seconds from now on; 0 makes it visible at once. See [`Queues::settle`].
    ///
    /// # Errors
    /// When the handle is not of this queue, the message is deleted or not in flight, or the depot cannot be written.
    pub fn change_visibility(
        &self,
        queue: &str,
        receipt: ReceiptHandle<'_>,
        visibility_s: u32,
        now: Timestamp,
    ) -> Result<(), QueueError> {
        self.settle_one(queue, receipt, Settlement::Hide(visibility_s), now)
    }

    /// Hides a message that was not received again since, for a receiver inside this process; not synced.
    pub fn keep(
        &self,
        queue: &str,
        ReceiptHandle(receipt): ReceiptHandle<'_>,
        visibility_s: u32,
        now: Timestamp,
    ) -> Result<(), QueueError> {
        let receipt = Receipt::read(queue, ReceiptHandle(receipt)).ok_or(QueueError::Handle)?;
        let mut batch = Batch::default();
        let mut held = self.held();
        let state = held.get_mut(queue).ok_or(QueueError::Gone)?;
        state.is_last(receipt)?;
        state.hide(queue, receipt, visibility_s, now, &mut batch)?;
        drop(held);
        self.depot.write(batch, false).map_err(QueueError::Store)?;
        self.wake(queue);
        Ok(())
    }

    /// Deletes messages by sequence number, atomically; messages that no longer exist are no error. Not synced,
    /// because a receiver inside this process gets no acknowledgement.
    pub fn delete_all(&self, queue: &str, sequences: &[u64]) -> Result<(), QueueError> {
        let mut batch = Batch::default();
        if let Some(state) = self.held().get_mut(queue) {
            let there = sequences.iter().filter(|sequence| state.remove(**sequence).is_some());
            there.for_each(|sequence| forget(queue, *sequence, &mut batch));
        }
        if batch.is_empty() { Ok(()) } else { self.depot.write(batch, false).map_err(QueueError::Store) }
    }
}

impl Queue {
    /// Fails if the message was received again after this receipt.
    fn is_last(&self, receipt: Receipt) -> Result<(), QueueError> {
        let slot = self.slots.get(&receipt.sequence).ok_or(QueueError::Gone)?;
        if slot.receives == receipt.receives { Ok(()) } else { Err(QueueError::Expired) }
    }

    fn is_in_flight(&self, sequence: u64) -> bool {
        !self.ready.contains(&sequence)
    }

    fn delete(&mut self, queue: &str, receipt: Receipt, batch: &mut Batch) -> Result<(), QueueError> {
        let Receipt { sequence, .. } = receipt;
        if !self.slots.contains_key(&sequence) {
            return Ok(());
        }
        if is_fifo(queue) {
            self.is_last(receipt)?;
            if !self.is_in_flight(sequence) {
                return Err(QueueError::Expired);
            }
        }
        self.remove(sequence);
        forget(queue, sequence, batch);
        Ok(())
    }

    fn hide(
        &mut self,
        queue: &str,
        receipt: Receipt,
        seconds: u32,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<(), QueueError> {
        let Receipt { sequence, .. } = receipt;
        let mut slot = *self.slots.get(&sequence).ok_or(QueueError::Gone)?;
        if is_fifo(queue) {
            self.is_last(receipt)?;
        }
        if !self.is_in_flight(sequence) {
            return Err(if is_fifo(queue) { QueueError::Expired } else { QueueError::NotInFlight });
        }
        self.remove(sequence);
        slot.visible_at = now.plus_ns(u64::from(seconds) * 1_000_000_000).0;
        self.put(sequence, slot);
        batch.put(Table::Queues, row(queue, b's', sequence), slot.value());
        Ok(())
    }
}
