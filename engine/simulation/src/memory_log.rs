//! A journal in memory, on a machine with faults: what was not synced can be lost, a write can fail, be cut short or
//! find no room, a sync can fail or take long, a read can fail, and the machine can stop at every step.
//!
//! ```text
//! append:   ─ write ─ (others go on) ─ sync ─ return        acknowledge:  ─ note ─ return
//!          ↑    ↑            ↑            ↑                              ↑        ↑
//!        crash  error,     crash        error,                         crash    crash
//!               full, torn              crash
//! ```
//!
//! A block is there as a whole or not at all, as a record of RocksDB's log is: a torn one fails its checksum and is
//! dropped. What a start reads is durable afterwards: RocksDB writes it into tables.

use crate::mistakes::Mistake;
use fakemon_fbs::snapshot::Caught;
use fakemon_journal::{BlockLog, Durability, ReadError, StoredBlock};
use fakemon_model::dice::Dice;
use fakemon_model::ids::{PlayerId, Position};
use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;

/// What happens to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed; the system keeps what was written.
    Kill,
    /// The power is cut: what was not synced may be lost, from its end.
    PowerCut,
    /// The process stops itself, after an error.
    Stop,
    /// The process is suspended and loses the lock of the data directory; it goes on later.
    Suspend,
}

/// A kind of fault, for the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process was killed.
    Kill,
    /// The power was cut.
    PowerCut,
    /// The process was suspended, and went on without its lock.
    Suspend,
    /// The machine stopped in the middle of a write.
    TornWrite,
    /// Written blocks were lost.
    LostWrite,
    /// A write failed.
    WriteError,
    /// There was no room.
    DiskFull,
    /// A sync failed.
    SyncError,
    /// A sync took long.
    SlowSync,
    /// A read failed.
    ReadError,
    /// Rows of the snapshot were lost.
    LostRows,
    /// Retention let go of blocks.
    Forgotten,
    /// A byte of a block changed.
    Rot,
    /// The wall clock was set.
    ClockJump,
    /// A message was dropped.
    Dropped,
    /// A message arrived twice.
    Doubled,
    /// A player reconnected.
    Reconnect,
}

impl Fault {
    /// All of them, in the order of the figures.
    pub const ALL: [Fault; 17] = [
        Fault::Kill,
        Fault::PowerCut,
        Fault::Suspend,
        Fault::TornWrite,
        Fault::LostWrite,
        Fault::WriteError,
        Fault::DiskFull,
        Fault::SyncError,
        Fault::SlowSync,
        Fault::ReadError,
        Fault::LostRows,
        Fault::Forgotten,
        Fault::Rot,
        Fault::ClockJump,
        Fault::Dropped,
        Fault::Doubled,
        Fault::Reconnect,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Kill => "kill",
            Fault::PowerCut => "power cut",
            Fault::Suspend => "zombie",
            Fault::TornWrite => "torn write",
            Fault::LostWrite => "lost write",
            Fault::WriteError => "write error",
            Fault::DiskFull => "disk full",
            Fault::SyncError => "failed sync",
            Fault::SlowSync => "slow sync",
            Fault::ReadError => "read error",
            Fault::LostRows => "lost snapshot rows",
            Fault::Forgotten => "blocks let go",
            Fault::Rot => "changed byte",
            Fault::ClockJump => "clock jump",
            Fault::Dropped => "dropped message",
            Fault::Doubled => "doubled message",
            Fault::Reconnect => "reconnect",
        }
    }
}

/// How often each kind of fault was injected, in the order of [`Fault::ALL`].
pub type FaultCounts = [u64; Fault::ALL.len()];

/// The machine: which faults come next, and which came.
pub struct Machine {
    dice: Dice,
    /// One append in this many meets a fault; 0: none does.
    pub append_faults: usize,
    /// One sync in this many takes long; 0: none does.
    pub slow_syncs: usize,
    /// One read in this many fails; 0: none does.
    pub read_faults: usize,
    /// One write of snapshot rows in this many fails; 0: none does.
    pub row_faults: usize,
    /// How it stopped, until it is started again.
    pub crashed: Option<Crash>,
    /// Faults so far.
    pub faults: FaultCounts,
    /// What must never be, and was seen by the disk.
    pub violations: Vec<String>,
}

impl Machine {
    /// A machine whose faults depend on the seed alone.
    pub fn new(seed: u64) -> Machine {
        Machine {
            dice: Dice(seed),
            append_faults: 0,
            slow_syncs: 0,
            read_faults: 0,
            row_faults: 0,
            crashed: None,
            faults: FaultCounts::default(),
            violations: Vec::new(),
        }
    }

    /// True once in `one_in` times; never for 0.
    pub(crate) fn happens(&mut self, one_in: usize) -> bool {
        one_in > 0 && self.dice.below(one_in) == 0
    }

    /// Counts a fault.
    pub fn count(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    /// From now on nothing fails.
    pub fn behave(&mut self) {
        (self.append_faults, self.slow_syncs, self.read_faults, self.row_faults) = (0, 0, 0, 0);
    }

    fn crash(&mut self) -> String {
        let crash = self.dice.of(&[Crash::Kill, Crash::PowerCut]);
        self.crashed.get_or_insert(crash);
        "the machine stopped".to_owned()
    }
}

/// Where an append breaks off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Break {
    Never,
    BeforeWrite,
    Torn,
    WriteError,
    Full,
    BeforeSync,
    SyncError,
    AfterSync,
    BeforeNote,
    AfterNote,
}

const BREAKS: [Break; 9] = [
    Break::BeforeWrite,
    Break::Torn,
    Break::WriteError,
    Break::Full,
    Break::BeforeSync,
    Break::SyncError,
    Break::AfterSync,
    Break::BeforeNote,
    Break::AfterNote,
];

struct Block {
    value: Vec<u8>,
    end: Position,
    captures: Vec<(PlayerId, Position)>,
}

/// What is on the disk, and what the system has in memory for it.
#[derive(Default)]
struct Disk {
    blocks: BTreeMap<u64, Block>,
    collections: BTreeMap<(u32, u64), Caught>,
    /// Blocks that retention let go of, for the model.
    archive: BTreeMap<u64, Block>,
    /// Of those: the first that a power cut can bring back, because its deletion is not synced.
    forgotten_from: u64,
    /// Everything before it is synced.
    durable: u64,
    /// First positions of blocks that were written since the last sync, in the order of their writes.
    unsynced: Vec<u64>,
    /// What was acknowledged, as the file in the page cache says.
    note: u64,
    /// What it said at the last start: a power cut can bring that back.
    note_at_start: u64,
    /// Which process has the lock.
    owner: u64,
    /// A sync failed: what was written may be gone from memory without being on the disk.
    doubtful: bool,
}

/// What other threads do while a block is being synced; its argument: whether that takes long.
type WhileSyncing = Box<dyn FnMut(bool)>;

/// A data directory's journal, as one process has it open.
pub struct MemoryLog {
    disk: Rc<RefCell<Disk>>,
    machine: Rc<RefCell<Machine>>,
    process: u64,
    told: u64,
    mistake: Option<Mistake>,
    at: Cell<Break>,
    during_sync: RefCell<Option<WhileSyncing>>,
}

/// A data directory that no process has open.
#[derive(Clone)]
pub struct ClosedLog {
    disk: Rc<RefCell<Disk>>,
    machine: Rc<RefCell<Machine>>,
    mistake: Option<Mistake>,
}

impl ClosedLog {
    /// An empty one.
    pub fn new(machine: Rc<RefCell<Machine>>, mistake: Option<Mistake>) -> ClosedLog {
        let disk = Disk { durable: 1, ..Disk::default() };
        ClosedLog { disk: Rc::new(RefCell::new(disk)), machine, mistake }
    }

    /// Opens it, as a new process that has its lock from now on; everything that is there is durable then.
    pub fn open(&self) -> MemoryLog {
        let mut disk = self.disk.borrow_mut();
        disk.owner += 1;
        disk.sync();
        disk.note_at_start = disk.note;
        MemoryLog {
            disk: self.disk.clone(),
            machine: self.machine.clone(),
            process: disk.owner,
            told: disk.note,
            mistake: self.mistake,
            at: Cell::new(Break::Never),
            during_sync: RefCell::new(None),
        }
    }

    /// What is left after a crash.
    pub fn after(&self, crash: Crash) {
        let (mut disk, mut machine) = (self.disk.borrow_mut(), self.machine.borrow_mut());
        let power_cut = crash == Crash::PowerCut;
        if power_cut || disk.doubtful {
            let kept = machine.dice.below(disk.unsynced.len() + 1);
            for first in disk.unsynced.split_off(kept).into_iter().rev() {
                disk.drop_block(first);
                machine.count(Fault::LostWrite);
            }
        }
        if power_cut && machine.dice.below(2) == 0 {
            disk.note = disk.note_at_start;
        }
        if power_cut && machine.dice.below(2) == 0 {
            let from = disk.forgotten_from;
            let mut back = disk.archive.split_off(&from);
            disk.blocks.append(&mut back);
        }
        disk.doubtful = false;
        self.make_mistakes(&mut disk, &mut machine);
    }

    fn make_mistakes(&self, disk: &mut Disk, machine: &mut Machine) {
        let lasts: Vec<u64> = disk.blocks.keys().rev().take(2).copied().collect();
        match (self.mistake, lasts.as_slice()) {
            (Some(Mistake::DropTail), [last, _]) => {
                disk.drop_block(*last);
                disk.unsynced.retain(|first| first != last);
                disk.note = disk.note.min(*last);
            }
            (Some(Mistake::ReorderBlocks), [last, before]) if machine.dice.below(2) == 0 => {
                let (one, other) = (disk.blocks[last].value.clone(), disk.blocks[before].value.clone());
                disk.blocks.get_mut(last).expect("it was just there").value = other;
                disk.blocks.get_mut(before).expect("it was just there").value = one;
            }
            _ => {}
        }
    }

    /// Everything before it survives every crash.
    pub fn durable(&self) -> Position {
        Position(self.disk.borrow().durable)
    }

    /// Changes one byte of a block from `from` on; the first position of the block, and what undoes it.
    pub fn rot(&self, from: Position) -> Option<impl FnOnce() + use<>> {
        let (mut disk, mut machine) = (self.disk.borrow_mut(), self.machine.borrow_mut());
        let blocks: Vec<u64> = disk.blocks.range(from.0..).map(|(first, _)| *first).collect();
        let first = *blocks.get(machine.dice.below(blocks.len().max(1)))?;
        let value = &mut disk.blocks.get_mut(&first)?.value;
        let (byte, bit) = (machine.dice.below(value.len()), 1u8 << machine.dice.below(8));
        value[byte] ^= bit;
        machine.count(Fault::Rot);
        let disk = self.disk.clone();
        Some(move || {
            if let Some(block) = disk.borrow_mut().blocks.get_mut(&first) {
                block.value[byte] ^= bit;
            }
        })
    }
}

impl Disk {
    fn end(&self) -> u64 {
        self.blocks.values().next_back().map_or(1, |block| block.end.0)
    }

    fn sync(&mut self) {
        self.unsynced.clear();
        self.durable = self.end();
    }

    fn drop_block(&mut self, first: u64) {
        if let Some(block) = self.blocks.remove(&first) {
            for (player, position) in block.captures {
                self.collections.remove(&(player.0, position.0));
            }
        }
        self.durable = self.durable.min(self.end());
    }

    fn write(&mut self, first: Position, value: &[u8], captures: Vec<(PlayerId, Position, Caught)>) {
        let keys = captures.iter().map(|(player, position, _)| (*player, *position)).collect();
        for (player, position, caught) in captures {
            self.collections.insert((player.0, position.0), caught);
        }
        self.unsynced.push(first.0);
        self.blocks.insert(first.0, Block { value: value.to_vec(), end: end_of(first, value), captures: keys });
    }
}

/// One past the last event of a stored block.
fn end_of(first: Position, value: &[u8]) -> Position {
    let head = StoredBlock::split(first, value).and_then(|stored| Ok(stored.read()?.head()));
    head.map_or(first, |head| Position(head.first_position + u64::from(head.count)))
}

impl MemoryLog {
    /// Whether other threads go on while a block is being synced is for the caller to say.
    pub fn while_syncing(&self, run: impl FnMut(bool) + 'static) {
        *self.during_sync.borrow_mut() = Some(Box::new(run));
    }

    /// One past the last event that is written, synced or not.
    pub fn end(&self) -> Position {
        Position(self.disk.borrow().end())
    }

    fn machine(&self) -> RefMut<'_, Machine> {
        self.machine.borrow_mut()
    }

    /// Visits every block that there ever was, in order, those too that retention let go of.
    pub fn every_block(
        &self,
        visit: &mut dyn FnMut(StoredBlock<'_>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let disk = self.disk.borrow();
        let mut all = disk.archive.iter().chain(&disk.blocks);
        all.try_for_each(|(first, block)| visit(StoredBlock::split(Position(*first), &block.value)?))
    }

    /// The first position that is still there.
    pub fn first(&self) -> Position {
        Position(self.disk.borrow().blocks.keys().next().copied().unwrap_or(1))
    }

    /// The lock of the data directory, or why this process does not have it.
    fn owned(&self) -> Result<RefMut<'_, Disk>, String> {
        let disk = self.disk.borrow_mut();
        if disk.owner != self.process && self.mistake != Some(Mistake::TwoWriters) {
            return Err("another process has the data directory".to_owned());
        }
        match self.machine().crashed {
            Some(crash) => Err(format!("{crash:?}")),
            None => Ok(disk),
        }
    }

    fn next_break(&self) -> Break {
        let mut machine = self.machine();
        let one_in = machine.append_faults;
        if !machine.happens(one_in) {
            return Break::Never;
        }
        machine.dice.of(&BREAKS)
    }

    fn fails(&self, fault: Fault, what: &str) -> String {
        self.machine().count(fault);
        what.to_owned()
    }

    fn readable(&self) -> Result<(), ReadError> {
        let mut machine = self.machine();
        let one_in = machine.read_faults;
        if machine.happens(one_in) {
            machine.count(Fault::ReadError);
            return Err(ReadError::Store("input/output error".to_owned()));
        }
        Ok(())
    }
}

impl BlockLog for MemoryLog {
    fn append(
        &self,
        first: Position,
        value: &[u8],
        captures: impl Iterator<Item = (PlayerId, Position, Caught)>,
        durability: Durability,
    ) -> Result<(), String> {
        let at = self.next_break();
        self.at.set(at);
        let mut disk = self.owned()?;
        if self.mistake == Some(Mistake::NoteBeforeWrite) {
            disk.note = end_of(first, value).0;
        }
        match at {
            Break::BeforeWrite => return Err(self.machine().crash()),
            Break::Torn => {
                self.machine().count(Fault::TornWrite);
                return Err(self.machine().crash());
            }
            Break::WriteError => return Err(self.fails(Fault::WriteError, "input/output error")),
            Break::Full => return Err(self.fails(Fault::DiskFull, "no space left on device")),
            _ => {}
        }
        if self.mistake == Some(Mistake::AnswerBeforeSync) {
            disk.sync();
        }
        disk.write(first, value, captures.collect());
        drop(disk);
        self.go_on();
        if at == Break::BeforeSync {
            return Err(self.machine().crash());
        }
        let mut disk = self.owned()?;
        if at == Break::SyncError {
            disk.doubtful = true;
            return Err(self.fails(Fault::SyncError, "the sync failed"));
        }
        if durability == Durability::Synced && self.mistake != Some(Mistake::AnswerBeforeSync) {
            disk.sync();
        }
        match at {
            Break::AfterSync => Err(self.machine().crash()),
            _ => Ok(()),
        }
    }

    fn acknowledge(&self, position: Position) -> Result<(), String> {
        if self.at.get() == Break::BeforeNote {
            return Err(self.machine().crash());
        }
        self.owned()?.note = position.0;
        match self.at.get() {
            Break::AfterNote => Err(self.machine().crash()),
            _ => Ok(()),
        }
    }

    fn check_acknowledged(&self, end: Position) -> Result<(), ReadError> {
        if self.told <= end.0 {
            return Ok(());
        }
        Err(ReadError::corrupt(end, format!("it ends here, but position {} was acknowledged", self.told)))
    }

    fn block<R>(
        &self,
        first: Position,
        visit: impl FnOnce(StoredBlock<'_>) -> Result<R, ReadError>,
    ) -> Result<Option<R>, ReadError> {
        self.readable()?;
        let disk = self.disk.borrow();
        let Some(block) = disk.blocks.get(&first.0) else { return Ok(None) };
        if block.end.0 > disk.durable {
            let what = format!("a follower read the block at {first} before it was durable");
            self.machine().violations.push(what);
        }
        visit(StoredBlock::split(first, &block.value)?).map(Some)
    }

    fn blocks(
        &self,
        from: Position,
        visit: &mut dyn FnMut(StoredBlock<'_>) -> Result<ControlFlow<()>, ReadError>,
    ) -> Result<(), ReadError> {
        let disk = self.disk.borrow();
        let begin = disk.blocks.range(..=from.0).next_back().map_or(from.0, |(first, _)| *first);
        for (first, block) in disk.blocks.range(begin..) {
            if visit(StoredBlock::split(Position(*first), &block.value)?)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Whole files go at once, the rest with a write that is not synced.
    fn forget_blocks(&self, before: Position) -> Result<(), ReadError> {
        let mut disk = self.owned().map_err(ReadError::Store)?;
        let kept = disk.blocks.split_off(&before.0);
        let mut gone = std::mem::replace(&mut disk.blocks, kept);
        let mut machine = self.machine();
        machine.count(Fault::Forgotten);
        let file = machine.dice.below(gone.len() + 1);
        disk.forgotten_from = gone.keys().nth(file).copied().unwrap_or(before.0);
        disk.archive.append(&mut gone);
        Ok(())
    }

    fn collection(
        &self,
        player: PlayerId,
        before: Position,
        max: usize,
    ) -> Result<Vec<(Position, Caught)>, ReadError> {
        self.readable()?;
        let disk = self.disk.borrow();
        let stale = disk.blocks.keys().next_back().filter(|_| self.mistake == Some(Mistake::StaleCollection));
        let before = before.0.min(stale.copied().unwrap_or(u64::MAX));
        let captures = disk.collections.range((player.0, 0)..(player.0, before)).rev().take(max);
        Ok(captures.map(|((_, position), caught)| (Position(*position), *caught)).collect())
    }
}

impl MemoryLog {
    fn go_on(&self) {
        let slow = {
            let mut machine = self.machine();
            let one_in = machine.slow_syncs;
            let slow = machine.happens(one_in);
            if slow {
                machine.count(Fault::SlowSync);
            }
            slow
        };
        if let Some(run) = &mut *self.during_sync.borrow_mut() {
            run(slow);
        }
    }
}
