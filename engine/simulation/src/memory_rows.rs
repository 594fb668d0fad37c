//! The snapshot's rows in memory, in the bytes that a disk would have. They are not logged: a crash leaves all rows
//! of some moment since the last flush, as RocksDB does when all families are flushed together.

use crate::memory_log::{Fault, Machine};
use crate::mistakes::Mistake;
use fakemon_fbs::Malformed;
use fakemon_fbs::snapshot::{self, Answer, Fakemon, Head, Player};
use fakemon_journal::{ReadError, Rows, SnapshotRows};
use fakemon_model::dice::Dice;
use fakemon_model::ids::{AttemptId, FakemonId, PlayerId, Position};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// One row: its table, its key, its bytes.
type Row = (u8, Vec<u8>, Vec<u8>);
type Tables = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

const HEAD: u8 = 0;
const FAKEMON: u8 = 1;
const PLAYERS: u8 = 2;
const ANSWERS: u8 = 3;

/// Rows, some of which are not flushed yet.
pub struct MemoryRows {
    now: RefCell<Tables>,
    flushed: RefCell<Tables>,
    /// Batches since the last flush.
    batches: RefCell<Vec<Vec<Row>>>,
    /// How many of them belong to earlier snapshots.
    complete: RefCell<usize>,
    machine: Rc<RefCell<Machine>>,
    mistake: Option<Mistake>,
}

impl MemoryRows {
    /// No rows.
    pub fn new(machine: Rc<RefCell<Machine>>, mistake: Option<Mistake>) -> MemoryRows {
        MemoryRows {
            now: RefCell::default(),
            flushed: RefCell::default(),
            batches: RefCell::default(),
            complete: RefCell::default(),
            machine,
            mistake,
        }
    }

    /// What is left after the process ended without a flush: the beginning of what was written.
    pub fn after_crash(&self, dice: &mut Dice) {
        let mut batches = self.batches.borrow_mut();
        let kept = dice.below(batches.len() + 1);
        if kept < batches.len() {
            self.machine.borrow_mut().count(Fault::LostRows);
        }
        let mut flushed = self.flushed.borrow_mut();
        for (table, key, bytes) in batches.drain(..).take(kept).flatten() {
            flushed.insert((table, key), bytes);
        }
        *self.complete.borrow_mut() = 0;
        self.now.borrow_mut().clone_from(&flushed);
    }

    fn get<T>(
        &self,
        table: u8,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<Option<T>, ReadError> {
        self.now.borrow().get(&(table, key.to_vec())).map(|bytes| read(bytes).map_err(damaged)).transpose()
    }

    /// Visits the keys and values of a table, in order.
    fn all(&self, table: u8, mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), Malformed>) -> Result<(), ReadError> {
        let now = self.now.borrow();
        let mut rows = now.range((table, Vec::new())..(table + 1, Vec::new()));
        rows.try_for_each(|((_, key), bytes)| visit(key, bytes)).map_err(damaged)
    }
}

fn damaged(error: Malformed) -> ReadError {
    ReadError::Damaged(format!("a row of the snapshot: {error}"))
}

fn answers_key(player: PlayerId, last: AttemptId, position: Position) -> Vec<u8> {
    let mut key = player.0.to_be_bytes().to_vec();
    key.extend(last.0.to_be_bytes());
    key.extend(position.0.to_be_bytes());
    key
}

fn rows_of(rows: &Rows) -> Vec<Row> {
    let mut written = Vec::new();
    for row in &rows.fakemon {
        written.push((FAKEMON, row.fakemon_id().to_be_bytes().to_vec(), row.0.to_vec()));
    }
    for (id, player) in &rows.players {
        written.push((PLAYERS, id.0.to_be_bytes().to_vec(), snapshot::write_player(player)));
    }
    for (id, answers) in &rows.answers {
        if let (Some(last), Some(first)) = (answers.last(), answers.first()) {
            let key = answers_key(*id, AttemptId(last.attempt_id()), Position(first.position()));
            written.push((ANSWERS, key, snapshot::write_answers(answers)));
        }
    }
    written.extend(rows.head.iter().map(|head| (HEAD, Vec::new(), snapshot::write_head(head))));
    written
}

impl SnapshotRows for MemoryRows {
    fn head(&self) -> Result<Option<Head>, ReadError> {
        self.get(HEAD, &[], snapshot::read_head)
    }

    fn fakemon(&self, visit: &mut dyn FnMut(Fakemon)) -> Result<(), ReadError> {
        self.all(FAKEMON, |_, bytes| {
            visit(snapshot::read_fakemon(bytes)?);
            Ok(())
        })
    }

    fn fakemon_row(&self, id: FakemonId) -> Result<Option<Fakemon>, ReadError> {
        self.get(FAKEMON, &id.0.to_be_bytes(), snapshot::read_fakemon)
    }

    fn players(&self, visit: &mut dyn FnMut(PlayerId, Player)) -> Result<(), ReadError> {
        self.all(PLAYERS, |key, bytes| {
            let id = key.try_into().map_or(0, u32::from_be_bytes);
            visit(PlayerId(id), snapshot::read_player(bytes)?);
            Ok(())
        })
    }

    fn player_row(&self, id: PlayerId) -> Result<Option<Player>, ReadError> {
        self.get(PLAYERS, &id.0.to_be_bytes(), snapshot::read_player)
    }

    fn answer(&self, player: PlayerId, attempt: AttemptId) -> Result<Option<Answer>, ReadError> {
        let now = self.now.borrow();
        let from = (ANSWERS, answers_key(player, attempt, Position(0)));
        for ((table, key), bytes) in now.range(from..) {
            if *table != ANSWERS || !key.starts_with(&player.0.to_be_bytes()) {
                break;
            }
            let answers = snapshot::read_answers(bytes).map_err(damaged)?;
            if let Ok(index) = answers.binary_search_by_key(&attempt.0, Answer::attempt_id) {
                return Ok(Some(answers[index]));
            }
        }
        Ok(None)
    }

    fn write_rows(&self, rows: &Rows) -> Result<(), ReadError> {
        let mut machine = self.machine.borrow_mut();
        let one_in = machine.row_faults;
        if machine.happens(one_in) {
            machine.count(Fault::WriteError);
            return Err(ReadError::Store("input/output error".to_owned()));
        }
        drop(machine);
        let batch = rows_of(rows);
        let mut now = self.now.borrow_mut();
        batch.iter().for_each(|(table, key, bytes)| drop(now.insert((*table, key.clone()), bytes.clone())));
        let (mut batches, mut complete) = (self.batches.borrow_mut(), self.complete.borrow_mut());
        match (self.mistake, &rows.head) {
            (Some(Mistake::HeadBeforeRows), Some(_)) => batches.insert(*complete, batch),
            _ => batches.push(batch),
        }
        if rows.head.is_some() {
            *complete = batches.len();
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), ReadError> {
        if self.mistake == Some(Mistake::RowsNotFlushed) {
            return Ok(());
        }
        self.batches.borrow_mut().clear();
        *self.complete.borrow_mut() = 0;
        self.flushed.borrow_mut().clone_from(&self.now.borrow());
        Ok(())
    }
}
