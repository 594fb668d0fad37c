//! The thread that reads the archive for clients: collections, and answers from long ago. Shards and edges never
//! wait for a disk. What cannot be read fails for the one who asked; all others go on.

use crate::completion_queue::{CompletionQueue, Release};
use crate::world::World;
use fakemon_journal::{BlockLog, ReadError, RowStore, SnapshotRows, Store};
use fakemon_model::event::{Caught, Decision, Outcome};
use fakemon_model::ids::{AttemptId, FakemonId, PlayerId, Position, SpeciesId, Timestamp, Token};
use fakemon_model::limits::{COLLECTION_PAGE, READER_REQUESTS};
use fakemon_sync::mailbox::Mailbox;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often the log says that something cannot be read; in between it is counted.
const SAY_EVERY: Duration = Duration::from_secs(60);

pub struct Request {
    pub token: Token,
    pub player: PlayerId,
    pub outbox: Arc<CompletionQueue>,
    pub question: Question,
}

pub enum Question {
    /// Captures before a position, the newest first.
    Collection(Position),
    /// The answer to an attempt that was sent again.
    Answer(AttemptId),
}

/// Where requests wait.
pub struct ReadQueue {
    pub requests: Mailbox<Request>,
    /// Requests that could not be answered, because the disk does not hold what was written.
    pub failed: AtomicU64,
    stop: AtomicBool,
}

impl Default for ReadQueue {
    fn default() -> Self {
        ReadQueue::with_room(READER_REQUESTS)
    }
}

impl ReadQueue {
    /// An empty queue for at most this many requests.
    pub fn with_room(requests: usize) -> ReadQueue {
        ReadQueue { requests: Mailbox::for_thread(requests), failed: AtomicU64::new(0), stop: AtomicBool::new(false) }
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.requests.ring();
    }
}

pub struct Reader<L = Store, R = RowStore> {
    pub counter: Arc<ReadQueue>,
    pub store: Arc<L>,
    pub rows: Arc<R>,
    pub world: Arc<World>,
}

impl<L: BlockLog, R: SnapshotRows> Reader<L, R> {
    /// Answers requests until stopped.
    pub fn run(self) {
        let (mut requests, mut said) = (Vec::new(), None);
        loop {
            self.counter.requests.wait(|| self.counter.stop.load(Ordering::SeqCst));
            if self.answer_waiting(&mut requests, &mut said) == 0 {
                return;
            }
        }
    }

    /// Answers the next requests that wait; returns how many there were. `requests` is room that is used again.
    pub fn answer_waiting(&self, requests: &mut Vec<Request>, said: &mut Option<Instant>) -> usize {
        let taken = self.counter.requests.take(64, requests);
        for request in requests.drain(..) {
            let release = self.answer(&request).unwrap_or_else(|error| self.failed(&request, &error, said));
            request.outbox.release(release);
        }
        taken
    }

    fn answer(&self, request: &Request) -> Result<Release, ReadError> {
        let Request { token, player, .. } = *request;
        match request.question {
            Question::Collection(before) => self.collection(token, player, before),
            Question::Answer(attempt) => self.archived(token, player, attempt),
        }
    }

    /// Decisions need nothing that is read here, so damage of it is no reason to stop them. Never more than a line a
    /// minute: each player who asks meets the same damage.
    fn failed(&self, request: &Request, error: &ReadError, said: &mut Option<Instant>) -> Release {
        let failed = self.counter.failed.fetch_add(1, Ordering::Relaxed) + 1;
        if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            *said = Some(Instant::now());
            tracing::warn!(
                player = request.player.0,
                failed,
                "a read failed for the one who asked, and all else goes on: {error}; `fakemon verify` says what is wrong"
            );
        }
        let attempt_id = match request.question {
            Question::Collection(_) => None,
            Question::Answer(attempt_id) => Some(attempt_id),
        };
        Release::Unreadable { token: request.token, attempt_id }
    }

    fn collection(&self, token: Token, player: PlayerId, before: Position) -> Result<Release, ReadError> {
        let mut captures = self.store.collection(player, before, COLLECTION_PAGE + 1)?;
        let more = captures.len() > COLLECTION_PAGE;
        captures.truncate(COLLECTION_PAGE);
        let more_before = captures.last().filter(|_| more).map(|(position, _)| *position);
        let items = captures.into_iter().rev().map(|(position, caught)| Caught {
            fakemon_id: FakemonId(caught.fakemon_id()),
            species: self.world.species_name(SpeciesId(caught.species())),
            captured_at: Timestamp(caught.captured_at_ns()),
            position,
        });
        Ok(Release::Collection { token, items: items.collect(), more_before })
    }

    fn archived(&self, token: Token, player: PlayerId, attempt: AttemptId) -> Result<Release, ReadError> {
        let answer = self.rows.answer(player, attempt)?;
        let missing = || ReadError::Store(format!("the answer to attempt {attempt} of player {player} is missing"));
        let answer = answer.ok_or_else(missing)?;
        let outcome = Outcome::ALL.get(usize::from(answer.outcome().0)).copied().ok_or_else(missing)?;
        let decision = Decision {
            attempt_id: attempt,
            fakemon_id: FakemonId(answer.fakemon_id()),
            outcome,
            position: Position(answer.position()),
        };
        Ok(Release::Again { token, decision })
    }
}
