//! Where answers wait for their client once they are durable. An outbox needs no bound of its own: a client has a
//! bounded number of commands in flight, and each is answered once.

use crate::decision::turn::{Answer, AnswerBody, ClientId};
use crossbeam::queue::SegQueue;
use fakemon_model::event::{Caught, DecidedAttempt, Decision};
use fakemon_model::ids::{AttemptId, FakemonId, Position, Timestamp, Token};
use fakemon_sync::notify::Notify;
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What a client gets.
pub enum Release {
    /// The answers of one turn; `first` is the position of the turn's first event.
    Turn { first: Position, durable_at: Timestamp, answers: Vec<Answer> },
    /// An answer that was given before.
    Again { token: Token, decision: Decision },
    /// An attempt that waited for another of the same name, when that one was not accepted.
    Refused { token: Token, attempt_id: AttemptId, fakemon_id: FakemonId },
    /// A page of a player's captures.
    Collection { token: Token, items: Vec<Caught>, more_before: Option<Position> },
    /// What was asked for cannot be read from the disk.
    Unreadable { token: Token, attempt_id: Option<AttemptId> },
}

pub struct CompletionQueue {
    pub id: ClientId,
    pub queue: SegQueue<Release>,
    pub bell: Notify,
    gone: AtomicBool,
    /// Of a closed client: commands whose completions have not come yet.
    owed: AtomicUsize,
}

impl CompletionQueue {
    pub fn release(&self, release: Release) {
        self.queue.push(release);
        self.bell.ring();
    }

    /// Whether the client is closed and nothing more comes for it.
    fn is_over(&self) -> bool {
        self.gone.load(Ordering::SeqCst) && {
            self.note_answers(Position(0)); // those of waiters and of the reader come without a look at `gone`
            self.owed.load(Ordering::SeqCst) == 0
        }
    }

    /// Writes the answers that the closed client will not poll into the ledgers of their players.
    fn note_answers(&self, archived: Position) {
        while let Some(release) = self.queue.pop() {
            let Release::Turn { first, answers, .. } = release else {
                self.owed.fetch_sub(1, Ordering::SeqCst);
                continue;
            };
            self.owed.fetch_sub(answers.len(), Ordering::SeqCst);
            for answer in answers {
                if let AnswerBody::Decided { decided, player } = answer.body {
                    player.answer(decision(&decided, first, answer.offset), archived);
                }
            }
        }
    }
}

/// The outboxes of all clients, by their number.
#[derive(Default)]
pub struct Outboxes(RwLock<Vec<Option<Arc<CompletionQueue>>>>);

/// Too many clients, or no descriptor left for one more.
#[derive(Debug, thiserror::Error)]
#[error("no more clients: {0}")]
pub struct NoMoreClients(pub String);

impl Outboxes {
    pub fn open(&self) -> Result<Arc<CompletionQueue>, NoMoreClients> {
        let mut outboxes = self.0.write();
        let is_free = |held: &Option<Arc<CompletionQueue>>| held.as_ref().is_none_or(|outbox| outbox.is_over());
        let free = outboxes.iter().position(is_free).unwrap_or(outboxes.len());
        if free >= fakemon_model::limits::CLIENTS_MAX {
            return Err(NoMoreClients(format!("there are {free} already")));
        }
        let id = ClientId(u16::try_from(free).expect("clients are bounded far below"));
        let bell = Notify::for_descriptor().map_err(|error| NoMoreClients(error.to_string()))?;
        let outbox = Arc::new(CompletionQueue {
            id,
            queue: SegQueue::new(),
            bell,
            gone: AtomicBool::new(false),
            owed: AtomicUsize::new(0),
        });
        if free == outboxes.len() {
            outboxes.push(None);
        }
        outboxes[free] = Some(outbox.clone());
        Ok(outbox)
    }

    /// The client will not poll again. Its number is free for another once nothing is in flight for it.
    pub fn close(&self, outbox: &CompletionQueue, in_flight: usize, archived: Position) {
        outbox.owed.store(in_flight, Ordering::SeqCst); // before `gone`: from then on answers count down
        outbox.gone.store(true, Ordering::SeqCst);
        outbox.note_answers(archived);
        if in_flight == 0 {
            self.0.write()[usize::from(outbox.id.0)] = None;
        }
    }

    /// Hands answers to their client. The ledgers of the players learn the answers from the client; if the client is
    /// closed, from here. Each side re-checks after acting, so no answer is lost in the race with `close`; that needs
    /// SeqCst on `gone`.
    pub fn release(&self, client: ClientId, release: Release, archived: Position) {
        let outboxes = self.0.read();
        let Some(outbox) = &outboxes[usize::from(client.0)] else {
            return;
        };
        outbox.release(release);
        if outbox.gone.load(Ordering::SeqCst) {
            outbox.note_answers(archived);
        }
    }

    /// Wakes every client: the engine has stopped.
    pub fn ring_all(&self) {
        let outboxes = self.0.read();
        outboxes.iter().flatten().for_each(|outbox| outbox.bell.ring());
    }
}

/// The answer that a player gets.
#[inline]
pub fn decision(decided: &DecidedAttempt, first: Position, offset: u32) -> Decision {
    Decision {
        attempt_id: decided.attempt_id,
        fakemon_id: decided.fakemon_id,
        outcome: decided.outcome,
        position: Position(first.0 + u64::from(offset)),
    }
}
