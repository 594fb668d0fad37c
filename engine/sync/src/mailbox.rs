//! A bounded lock-free queue with a bell: many producers, one consumer; a push never waits for room.

use crate::notify::Notify;
use crate::pulse;
use crossbeam::queue::ArrayQueue;
use std::os::unix::net::UnixStream;

/// A bounded queue into a shard or into the journal.
pub struct Mailbox<T> {
    queue: ArrayQueue<T>,
    bell: Notify,
}

impl<T> Mailbox<T> {
    /// For a consumer that reads a stream while it sleeps; a byte wakes it.
    pub fn for_stream(capacity: usize) -> std::io::Result<(Mailbox<T>, UnixStream)> {
        let (bell, stream) = Notify::for_stream()?;
        Ok((Mailbox { queue: ArrayQueue::new(capacity), bell }, stream))
    }

    /// For a consumer that is a thread.
    pub fn for_thread(capacity: usize) -> Mailbox<T> {
        Mailbox { queue: ArrayQueue::new(capacity), bell: Notify::for_thread() }
    }

    /// Puts something in, or gives it back when the mailbox is full. The consumer learns of it by
    /// [`ring`](Self::ring).
    #[inline]
    pub fn push(&self, item: T) -> Result<(), T> {
        self.queue.push(item)
    }

    /// Wakes the consumer if it sleeps: once for all that was pushed.
    #[inline]
    pub fn ring(&self) {
        self.bell.ring();
    }

    /// Moves up to `max` items into `taken`; returns how many.
    #[inline]
    pub fn take(&self, max: usize, taken: &mut Vec<T>) -> usize {
        let before = taken.len();
        taken.extend(std::iter::from_fn(|| self.queue.pop()).take(max));
        taken.len() - before
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether a push would be refused.
    pub fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// Prepares for sleep; true if there is no need to: something waits, or `over` says that waiting is over.
    pub fn arm(&self, over: impl Fn() -> bool) -> bool {
        let ready = || !self.queue.is_empty() || over();
        if ready() {
            return true;
        }
        self.bell.arm();
        if ready() {
            self.bell.disarm();
            return true;
        }
        false
    }

    /// Until something waits or `over` says that waiting is over; for a consumer that is a thread.
    pub fn wait(&self, over: impl Fn() -> bool) {
        let ready = || !self.queue.is_empty() || over();
        pulse::rest();
        while !ready() {
            self.bell.arm_thread();
            if !ready() {
                std::thread::park();
            }
            self.bell.disarm();
        }
        pulse::work();
    }
}
