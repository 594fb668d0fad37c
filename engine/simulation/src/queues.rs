//! Queues of the bus on tables that lose what was not synced, and fail: senders who repeat, receivers who delete,
//! hide and forget, dead letters, purges, restarts.

use crate::memory_log::{Fault, FaultCounts};
use crate::mistakes::Mistake;
use crate::model::{Claim, Violation};
use crate::outcome::Outcome;
use fakemon_journal::{BusStore, MemoryTables, WriterStep};
use fakemon_model::dice::Dice;
use fakemon_model::ids::{Timestamp, mix};
use fakemon_queue::queue::{NewMessage, QueueError, Queues, Received, Redrive, Settlement, is_fifo};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;

const START: Timestamp = Timestamp(1_772_323_200_000_000_000);
const SECOND_NS: u64 = 1_000_000_000;
/// Repeated sends are one message for five minutes; they are repeated for a little less.
const REPEAT_NS: u64 = 280 * SECOND_NS;
/// How long messages are kept: longer than a run.
const RETENTION_S: u32 = 345_600;
/// Receives after which a message is a dead letter.
const RECEIVES_MAX: u32 = 3;
const STEPS: u64 = 250;
/// Each queue and its queue of dead letters.
const QUEUES: [(&str, &str); 2] = [("mail", "dead"), ("mail.fifo", "dead.fifo")];
const HANDLES_MAX: usize = 24;

/// Whether something happened; a call that failed leaves that open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    No,
    Maybe,
    Yes,
}

/// A message, by what its sender and its receivers know.
struct Letter {
    queue: usize,
    group: usize,
    first_sent: Timestamp,
    sent: Known,
    gone: Known,
    /// Its id and its place in the queue, once a call has said them.
    id: Option<(String, u64)>,
    /// No receiver gets it before this.
    hidden_until: Timestamp,
    /// How often it was received at most.
    receives: u32,
}

impl Letter {
    /// Whether it may be in the queue of dead letters.
    fn may_be_dead(&self) -> bool {
        self.receives >= RECEIVES_MAX
    }
}

/// A receipt that a receiver kept.
struct Receipt {
    queue: String,
    letter: usize,
    handle: String,
}

struct FailingDisk {
    dice: Dice,
    /// One step in this many fails; 0: none does.
    fails: usize,
    failed: bool,
    faults: FaultCounts,
}

struct Post {
    dice: Dice,
    tables: Arc<MemoryTables>,
    disk: Arc<Mutex<FailingDisk>>,
    queues: Queues,
    letters: Vec<Letter>,
    receipts: Vec<Receipt>,
    now: Timestamp,
    crashes: usize,
    mistake: Option<Mistake>,
    violations: Vec<Violation>,
    answers: u64,
    lives: u64,
}

/// Runs a seed.
pub(crate) fn run(seed: u64, mistake: Option<Mistake>) -> Outcome {
    let mut dice = Dice(mix(seed ^ 3));
    let fails = dice.of(&[0, 30, 100]);
    let disk = FailingDisk { dice: Dice(mix(seed ^ 4)), fails, failed: false, faults: FaultCounts::default() };
    let (disk, tables) = (Arc::new(Mutex::new(disk)), Arc::new(MemoryTables::default()));
    if mistake == Some(Mistake::SkipQueueSync) {
        tables.skip_syncs();
    }
    let failing = disk.clone();
    tables.at_each_step(move |step| held(&failing).step(step));
    let queues = Queues::open(Arc::new(BusStore::in_memory(tables.clone()))).expect("it is empty");
    let mut post = Post {
        crashes: dice.of(&[0, 20, 60]),
        dice,
        tables,
        disk,
        queues,
        letters: Vec::new(),
        receipts: Vec::new(),
        now: START,
        mistake,
        violations: Vec::new(),
        answers: 0,
        lives: 1,
    };
    for _ in 0..STEPS {
        post.step();
        if !post.violations.is_empty() {
            break;
        }
    }
    if post.violations.is_empty() {
        post.end();
    }
    post.outcome()
}

fn held(disk: &Mutex<FailingDisk>) -> MutexGuard<'_, FailingDisk> {
    disk.lock()
}

impl FailingDisk {
    fn step(&mut self, step: WriterStep) -> Result<(), String> {
        if self.failed || self.fails > 0 && self.dice.below(self.fails) == 0 {
            self.failed = true;
            let fault = match step {
                WriterStep::Write | WriterStep::Written => Fault::WriteError,
                WriterStep::Sync | WriterStep::Synced => Fault::SyncError,
            };
            self.faults[fault as usize] += 1;
            return Err("input/output error".to_owned());
        }
        Ok(())
    }
}

impl Post {
    fn violated(&mut self, claim: Claim, what: String) {
        self.violations.push(Violation { claim, what });
    }

    fn outcome(self) -> Outcome {
        let text = format!("{:?} {} {}", self.violations, self.answers, self.lives);
        let digest = text.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
        Outcome {
            violations: self.violations,
            attempts: self.letters.len() as u64,
            answers: self.answers,
            steps: STEPS,
            lives: self.lives,
            faults: held(&self.disk).faults,
            digest,
        }
    }

    fn step(&mut self) {
        self.now = self.now.plus_ns(1 + self.dice.below(1_000_000_000) as u64);
        match self.dice.below(100) {
            0..25 => self.send(),
            25..35 => self.repeat(),
            35..65 => self.receive(),
            65..90 => self.settle(),
            90..91 => self.purge(),
            91..97 => self.now = self.now.plus_ns(self.dice.below(30) as u64 * SECOND_NS),
            _ => {}
        }
        let crash = self.crashes > 0 && self.dice.below(self.crashes) == 0;
        if crash || held(&self.disk).failed {
            self.restart();
        }
    }

    fn message(&mut self, letter: usize) -> NewMessage {
        let Letter { queue, group, .. } = self.letters[letter];
        let fifo = is_fifo(QUEUES[queue].0);
        NewMessage {
            body: letter.to_string(),
            delay_s: if self.dice.below(8) == 0 { 2 } else { 0 },
            group: fifo.then(|| format!("group-{group}")),
            deduplication_id: fifo.then(|| letter.to_string()),
            ..NewMessage::default()
        }
    }

    fn send(&mut self) {
        let queue = self.dice.below(QUEUES.len());
        let letters: Vec<usize> = (0..1 + self.dice.below(3)).map(|_| self.write_letter(queue)).collect();
        self.post(queue, &letters);
    }

    fn write_letter(&mut self, queue: usize) -> usize {
        self.letters.push(Letter {
            queue,
            group: self.dice.below(3),
            first_sent: self.now,
            sent: Known::No,
            gone: Known::No,
            id: None,
            hidden_until: Timestamp(0),
            receives: 0,
        });
        self.letters.len() - 1
    }

    /// A sender who did not hear an answer, or lost it, sends again.
    fn repeat(&mut self) {
        let recent = |letter: &Letter| self.now.ns_since(letter.first_sent) < REPEAT_NS;
        let again: Vec<usize> = (0..self.letters.len())
            .filter(|letter| is_fifo(QUEUES[self.letters[*letter].queue].0) && recent(&self.letters[*letter]))
            .collect();
        if !again.is_empty() {
            let letter = self.dice.of(&again);
            self.post(self.letters[letter].queue, &[letter]);
        }
    }

    fn post(&mut self, queue: usize, letters: &[usize]) {
        let messages = letters.iter().map(|letter| self.message(*letter)).collect();
        match self.queues.send(QUEUES[queue].0, messages, self.now) {
            Ok(sent) => {
                for (letter, message) in letters.iter().zip(sent) {
                    self.answers += 1;
                    self.letters[*letter].sent = Known::Yes;
                    self.names(*letter, &message.id, message.sequence, Claim::QueueOrders);
                }
            }
            Err(_) => {
                for letter in letters {
                    let sent = &mut self.letters[*letter].sent;
                    *sent = if *sent == Known::No { Known::Maybe } else { *sent };
                }
            }
        }
    }

    /// A call says the id of a message, which never changes.
    fn names(&mut self, letter: usize, id: &str, sequence: u64, claim: Claim) {
        let said = self.letters[letter].id.get_or_insert_with(|| (id.to_owned(), sequence)).0.clone();
        if said != id {
            self.violated(claim, format!("message {letter} is {said}, and then {id}"));
        }
    }

    fn receive(&mut self) {
        let (queue, dead) = QUEUES[self.dice.below(QUEUES.len())];
        let from_dead = self.dice.below(5) == 0;
        let redrive = Redrive { queue: dead.to_owned(), receives_max: RECEIVES_MAX };
        let (name, redrive) = if from_dead { (dead, None) } else { (queue, Some(&redrive)) };
        let (max, visibility_s) = (1 + self.dice.below(4), 1 + self.dice.below(30) as u32);
        match self.queues.receive(name, max, visibility_s, RETENTION_S, redrive, self.now) {
            Ok(received) => self.take_in(name, &received, visibility_s),
            Err(_) => self.letters.iter_mut().for_each(|letter| letter.receives += 1), // of any of them
        }
    }

    fn take_in(&mut self, name: &str, received: &[Received], visibility_s: u32) {
        let mut in_this = Vec::new();
        for Received { message, handle, .. } in received {
            self.answers += 1;
            let Some(letter) = message.body.parse().ok().filter(|letter: &usize| *letter < self.letters.len()) else {
                return self.violated(Claim::QueueKeeps, format!("{} was never sent", message.body));
            };
            self.names(letter, &message.id, message.sequence, Claim::QueueKeeps);
            self.check(letter, name, &in_this);
            let held = &mut self.letters[letter];
            held.receives += 1;
            held.hidden_until = self.now.plus_ns(u64::from(visibility_s) * SECOND_NS);
            held.sent = Known::Yes;
            in_this.push(letter);
            if self.receipts.len() == HANDLES_MAX {
                let gone = self.dice.below(HANDLES_MAX);
                self.receipts.swap_remove(gone);
            }
            self.receipts.push(Receipt { queue: name.to_owned(), letter, handle: handle.clone() });
        }
    }

    /// Whether a receiver may get this message from this queue now, after those of the same call.
    fn check(&mut self, letter: usize, name: &str, in_this: &[usize]) {
        let held = &self.letters[letter];
        let (gone, hidden_until, may_be_dead) = (held.gone, held.hidden_until, held.may_be_dead());
        if gone == Known::Yes {
            self.violated(Claim::QueueDeletes, format!("message {letter} was deleted, and came again from {name}"));
        }
        if hidden_until > self.now {
            let what = format!("message {letter} is hidden until {hidden_until}, and came at {}", self.now);
            self.violated(Claim::QueueHides, what);
        }
        if name.starts_with("dead") && !may_be_dead {
            self.violated(Claim::QueueKeeps, format!("message {letter} is a dead letter too early"));
        }
        let held = &self.letters[letter];
        let place = held.id.as_ref().map_or(0, |(_, place)| *place);
        let earlier = |other: &Letter| {
            let same = (other.queue, other.group) == (held.queue, held.group);
            let is_there = other.sent == Known::Yes && other.gone == Known::No && !other.may_be_dead();
            same && is_there && other.id.as_ref().is_some_and(|(_, other)| *other < place)
        };
        if name == QUEUES[1].0
            && let Some(before) = (0..self.letters.len())
                .find(|other| *other != letter && !in_this.contains(other) && earlier(&self.letters[*other]))
        {
            self.violated(Claim::QueueOrders, format!("message {letter} came before {before} of its group"));
        }
    }

    /// A receiver deletes messages, or hides them for longer, or shows them again.
    fn settle(&mut self) {
        if self.receipts.is_empty() {
            return;
        }
        let first = self.dice.below(self.receipts.len());
        let name = self.receipts[first].queue.clone();
        let mut chosen = vec![self.receipts.swap_remove(first)];
        if let Some(second) = self.receipts.iter().position(|receipt| receipt.queue == name) {
            chosen.push(self.receipts.swap_remove(second));
        }
        let settlement = |dice: &mut Dice| match dice.below(3) {
            0 => Settlement::Hide(dice.below(30) as u32),
            _ => Settlement::Delete,
        };
        let wanted: Vec<(String, Settlement)> =
            chosen.iter().map(|receipt| (receipt.handle.clone(), settlement(&mut self.dice))).collect();
        let outcomes = self.queues.settle(&name, &wanted, self.now);
        for ((receipt, (_, settlement)), outcome) in chosen.into_iter().zip(wanted).zip(outcomes) {
            self.answers += 1;
            self.settled(&receipt, settlement, &outcome);
            self.receipts.push(receipt);
        }
    }

    fn settled(&mut self, receipt: &Receipt, settlement: Settlement, outcome: &Result<(), QueueError>) {
        let letter = &mut self.letters[receipt.letter];
        // A receipt of the first queue says nothing about a dead letter.
        let of_another = letter.may_be_dead() && !receipt.queue.starts_with("dead");
        match (settlement, outcome) {
            (Settlement::Delete, Ok(())) if of_another => letter.gone = letter.gone.or_maybe(),
            (Settlement::Delete, Ok(())) => letter.gone = Known::Yes,
            (Settlement::Delete, Err(QueueError::Store(_))) => letter.gone = letter.gone.or_maybe(),
            (Settlement::Hide(seconds), Ok(())) if !of_another => {
                letter.hidden_until = self.now.plus_ns(u64::from(seconds) * SECOND_NS);
            }
            (Settlement::Hide(_), Ok(()) | Err(QueueError::Store(_))) => letter.hidden_until = Timestamp(0),
            (_, Err(_)) => {}
        }
    }

    fn purge(&mut self) {
        let queue = self.dice.below(QUEUES.len());
        let purged = self.queues.purge(QUEUES[queue].0).is_ok();
        for letter in self.letters.iter_mut().filter(|letter| letter.queue == queue && letter.sent != Known::No) {
            let is_certain = purged && !letter.may_be_dead() && letter.sent == Known::Yes;
            letter.gone = if is_certain { Known::Yes } else { letter.gone.or_maybe() };
            letter.first_sent = Timestamp(0); // what was purged may be sent again, as a new message
        }
    }

    fn restart(&mut self) {
        let mut disk = held(&self.disk);
        disk.failed = false;
        if self.dice.below(2) == 0 {
            let unsynced = self.tables.unsynced();
            let kept = self.dice.below(unsynced + 1);
            let torn = if self.mistake == Some(Mistake::TearBatches) { 1 + self.dice.below(2) } else { 0 };
            self.tables.after_power_cut(kept, torn);
            disk.faults[Fault::PowerCut as usize] += 1;
            disk.faults[Fault::LostWrite as usize] += u64::from(kept < unsynced);
        } else {
            self.tables.after_kill();
            disk.faults[Fault::Kill as usize] += 1;
        }
        let fails = std::mem::take(&mut disk.fails);
        drop(disk);
        self.lives += 1;
        match Queues::open(Arc::new(BusStore::in_memory(self.tables.clone()))) {
            Ok(queues) => self.queues = queues,
            Err(error) => self.violated(Claim::Recovers, error.to_string()),
        }
        held(&self.disk).fails = fails;
    }

    /// Without faults: everything that is there is received and deleted, and compared with what is known.
    fn end(&mut self) {
        held(&self.disk).fails = 0;
        self.restart();
        let mut found = vec![0; self.letters.len()];
        for _ in 0..self.letters.len() + 3 {
            self.now = self.now.plus_ns(60 * SECOND_NS);
            for name in QUEUES.iter().flat_map(|(queue, dead)| [*queue, *dead]) {
                self.empty(name, &mut found);
            }
        }
        for (letter, found) in found.into_iter().enumerate() {
            let Letter { sent, gone, .. } = self.letters[letter];
            let (least, most, claim) = match (sent, gone) {
                (_, Known::Yes) => (0, 0, Claim::QueueDeletes),
                (Known::Yes, Known::No) => (1, 1, Claim::QueueKeeps),
                _ => (0, 1, Claim::QueueKeeps),
            };
            if !(least..=most).contains(&found) {
                self.violated(
                    claim,
                    format!("message {letter} (sent {sent:?}, gone {gone:?}) is there {found} times"),
                );
            }
        }
    }

    fn empty(&mut self, name: &str, found: &mut [usize]) {
        let received = self.queues.receive(name, 100, 30, RETENTION_S, None, self.now).unwrap_or_default();
        for message in &received {
            let letter = message.message.body.parse().ok().and_then(|letter: usize| found.get_mut(letter));
            letter.into_iter().for_each(|found| *found += 1);
        }
        let deleted = received.into_iter().map(|message| (message.handle, Settlement::Delete)).collect::<Vec<_>>();
        let failed = self.queues.settle(name, &deleted, self.now).into_iter().find_map(Result::err);
        if let Some(error) = failed {
            self.violated(Claim::QueueKeeps, format!("a message that was just received cannot be deleted: {error}"));
        }
    }
}

impl Known {
    fn or_maybe(self) -> Known {
        if self == Known::No { Known::Maybe } else { self }
    }
}
