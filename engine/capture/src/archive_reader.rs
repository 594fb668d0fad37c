//! The thread that reads the archive for clients: collections, and answers from long ago. Shards and edges never
//! wait for a disk.

use crate::completion_queue::{CompletionQueue, Release};
use crate::world::World;
use fakemon_journal::{ReadError, RowStore, Store};
use fakemon_model::event::{Caught, Decision, Outcome};
use fakemon_model::ids::{AttemptId, FakemonId, PlayerId, Position, SpeciesId, Timestamp, Token};
use fakemon_model::limits::{COLLECTION_PAGE, READER_REQUESTS};
use fakemon_sync::failure::Failure;
use fakemon_sync::mailbox::Mailbox;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    stop: AtomicBool,
}

impl Default for ReadQueue {
    fn default() -> Self {
        ReadQueue { requests: Mailbox::for_thread(READER_REQUESTS), stop: AtomicBool::new(false) }
    }
}

impl ReadQueue {
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.requests.ring();
    }
}

pub struct Reader {
    pub counter: Arc<ReadQueue>,
    pub store: Arc<Store>,
    pub rows: Arc<RowStore>,
    pub world: Arc<World>,
    pub failure: Arc<Failure>,
}

impl Reader {
    /// Answers requests until stopped.
    pub fn run(self) {
        let mut requests = Vec::new();
        loop {
            self.counter.requests.wait(|| self.counter.stop.load(Ordering::SeqCst));
            if self.counter.requests.take(64, &mut requests) == 0 {
                return;
            }
            for request in requests.drain(..) {
                match self.answer(&request) {
                    Ok(release) => request.outbox.release(release),
                    Err(error) => self.failure.set(error.to_string()),
                }
            }
        }
    }

    fn answer(&self, request: &Request) -> Result<Release, ReadError> {
        let Request { token, player, .. } = *request;
        match request.question {
            Question::Collection(before) => self.collection(token, player, before),
            Question::Answer(attempt) => self.archived(token, player, attempt),
        }
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
