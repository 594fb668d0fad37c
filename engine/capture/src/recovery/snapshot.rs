//! The snapshot: rows that follow the journal, so that a start-up needs only the tail. A thread of low priority reads
//! what is durable and, every few seconds, writes the rows that changed. It never asks a shard for anything. Rows are
//! not logged: they are flushed every few million events and at a clean stop; after a crash the snapshot is a little
//! older, the tail a little longer. Rows that are ahead of the head do no harm, because applying an event twice is
//! applying it once.

use crate::decision::record;
use crate::player::IdRanges;
use fakemon_fbs::journal::{BlockReader, Event, Opened, Outcome};
use fakemon_fbs::snapshot::{Answer, Fakemon as FakemonRow, Head, IdRange, Player as PlayerRow};
use fakemon_journal::checkpoint::Standing;
use fakemon_journal::follower::Follower;
use fakemon_journal::index::{self, Segment};
use fakemon_journal::retention::Kept;
use fakemon_journal::{BlockLog, BusStore, IndexStore, Progress, ReadError, RowStore, Rows, SnapshotRows, Store};
use fakemon_model::ids::{FakemonId, PlayerId, Position, Timestamp};
use fakemon_sync::clock::Clock;
use fakemon_sync::failure::Failure;
use hashbrown::HashMap;
use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows are written after this many events at the latest.
const EVENTS_MAX: u64 = 1_000_000;
/// Rows reach the disk after this many events at the latest: about a second of start-up after a crash.
const FLUSH_EVENTS: u64 = 4_000_000;
/// Rows in one write batch.
const BATCH_ROWS: usize = 512;
/// How long this thread works before it pauses. On a busy machine the scheduler would let it run for milliseconds,
/// and attempts would wait for the processor that long.
const TURN: Duration = Duration::from_micros(300);
/// How long it pauses.
const PAUSE: Duration = Duration::from_micros(500);
/// How often it looks for work when it is idle. It need not be at every commit: a snapshot may be late.
const IDLE: Duration = Duration::from_millis(50);
/// The winner of a fakémon that vanished.
const VANISHED: u32 = u32::MAX;

/// Changes since the last rows were written.
#[derive(Default)]
struct Changes {
    fakemon: HashMap<FakemonId, FakemonRow>,
    names: HashMap<PlayerId, String>,
    answers: HashMap<PlayerId, Vec<Answer>>,
    events: u64,
}

pub struct Snapshotter<L = Store, R = RowStore> {
    pub follower: Follower<L>,
    pub store: Arc<L>,
    pub rows: Arc<R>,
    pub progress: Arc<Progress>,
    pub failure: Arc<Failure>,
    pub clock: Clock,
    pub every: Duration,
    pub kept: Kept,
    pub head: Head,
    /// The index is made here, because this thread reads every block anyway; none where there is no index.
    pub index: Option<Arc<IndexStore>>,
    /// None when the index is switched off.
    pub segment: Option<Segment>,
    /// What the bus knows of blocks is synced before they are deleted.
    pub bus: Arc<BusStore>,
    /// While a checkpoint is made, no block is deleted.
    pub standing: Arc<Standing>,
    /// Events whose rows are in memory only.
    pub unflushed: u64,
}

impl<L: BlockLog, R: SnapshotRows> Snapshotter<L, R> {
    /// Follows the journal until stopped; then catches up a last time, so that the next start finds no tail.
    pub fn run(mut self) {
        lower_priority();
        if self.kept.is_limited()
            && let Err(error) = self.survey()
        {
            return self.failure.set(error.to_string());
        }
        loop {
            let stopping = self.follower.stopping() && !self.follower.behind();
            let result = self.follow().and_then(|()| self.forget());
            let result = result.and_then(|()| if stopping { self.finish() } else { Ok(()) });
            if let Err(error) = result {
                return self.failure.set(error.to_string());
            }
            if stopping {
                return;
            }
        }
    }

    /// Flushes everything to the disk.
    pub fn finish(&mut self) -> Result<(), ReadError> {
        if let (Some(segment), Some(index)) = (&mut self.segment, &self.index) {
            segment.write(index)?;
        }
        self.flush()
    }

    /// Flushes the index first, because blocks that the rows cover are not read again after a crash.
    fn flush(&self) -> Result<(), ReadError> {
        self.index.as_ref().map_or(Ok(()), |index| index.flush())?;
        self.rows.flush()
    }

    /// Gathers changes until it is time to write them.
    fn follow(&mut self) -> Result<(), ReadError> {
        let mut changes = Changes::default();
        let due = Instant::now() + self.every;
        loop {
            let turn = Instant::now();
            self.gather(&mut changes, &|| turn.elapsed() >= TURN)?;
            let left = due.saturating_duration_since(Instant::now());
            let stopping = self.follower.stopping() && !self.follower.behind();
            if changes.events >= EVENTS_MAX || left.is_zero() || stopping {
                break;
            }
            std::thread::park_timeout(left.min(if self.follower.behind() { PAUSE } else { IDLE }));
        }
        self.write(changes)
    }

    /// Takes in everything that is durable and writes its rows, without a pause.
    pub fn catch_up(&mut self) -> Result<(), ReadError> {
        let mut changes = Changes::default();
        self.gather(&mut changes, &|| false)?;
        self.write(changes)
    }

    /// Takes in durable blocks, until there are enough changes for now or it is late.
    fn gather(&mut self, changes: &mut Changes, late: &dyn Fn() -> bool) -> Result<(), ReadError> {
        let (head, rows, kept, mut failed) = (&mut self.head, &*self.rows, &mut self.kept, None);
        let (segment, index) = (&mut self.segment, &self.index);
        let events = Cell::new(changes.events);
        self.follower.read(
            &mut |block, stored| {
                let block_head = block.head();
                kept.add(stored.first, stored.len() as u64, record::committed_at(&block_head));
                let indexed = match (segment.as_mut(), index) {
                    (Some(segment), Some(index)) => segment.take_in(block, index),
                    _ => Ok(()),
                };
                let taken_in = changes.take_in(block, head, rows).and(indexed);
                if let Err(error) = taken_in {
                    failed.get_or_insert(error);
                }
                head.block_hash = stored.hash;
                events.set(changes.events);
            },
            &|| events.get() >= EVENTS_MAX || late(),
        )?;
        failed.map_or(Ok(()), Err)
    }

    fn write(&mut self, changes: Changes) -> Result<(), ReadError> {
        let changed = changes.events;
        if changed == 0 {
            return Ok(());
        }
        // Sorted by key: what a crash leaves of them depends on nothing else, and tables are made of sorted rows.
        let mut players = changes.player_rows(&*self.rows)?;
        players.sort_unstable_by_key(|(player, _)| *player);
        let mut answers: Vec<_> = changes.answers.into_iter().collect();
        answers.sort_unstable_by_key(|(player, _)| *player);
        answers.iter_mut().for_each(|(_, answers)| answers.sort_unstable_by_key(Answer::attempt_id));
        let mut fakemon: Vec<_> = changes.fakemon.into_values().collect();
        fakemon.sort_unstable_by_key(FakemonRow::fakemon_id);
        for rows in fakemon.chunks(BATCH_ROWS) {
            self.write_rows(&Rows { fakemon: rows.into(), ..Rows::default() })?;
        }
        for rows in players.chunks(BATCH_ROWS) {
            self.write_rows(&Rows { players: rows.into(), ..Rows::default() })?;
        }
        for (player, answers) in answers {
            for rows in answers.chunks(BATCH_ROWS) {
                self.write_rows(&Rows { answers: vec![(player, rows.into())], ..Rows::default() })?;
            }
        }
        let head = Head { position: self.follower.next.0, ..self.head.clone() };
        self.rows.write_rows(&Rows { head: Some(head), ..Rows::default() })?;
        self.progress.set_snapshot(self.follower.next);
        self.unflushed += changed;
        if self.unflushed >= FLUSH_EVENTS {
            self.flush()?;
            self.unflushed = 0;
        }
        Ok(())
    }

    fn write_rows(&self, rows: &Rows) -> Result<(), ReadError> {
        self.rows.write_rows(rows)?;
        if !self.follower.stopping() {
            std::thread::sleep(PAUSE / 5);
        }
        Ok(())
    }

    /// Deletes blocks that retention no longer keeps, of those that the snapshot holds.
    pub fn forget(&mut self) -> Result<(), ReadError> {
        let needed = self.progress.needed(); // what waits for a target stays, however old
        let Some(now) = self.clock.wall_beyond_doubt() else { return Ok(()) };
        let Some(keep_from) = self.kept.let_go(now, needed) else { return Ok(()) };
        self.standing.hold(|| {
            self.flush()?; // rows that are only in memory still need their blocks on disk
            // So does the bus: after a power cut it reads on from what was synced, and would miss what is gone.
            self.bus.sync().map_err(ReadError::Failed)?;
            self.store.forget_blocks(keep_from)?;
            self.index.as_ref().map_or(Ok(()), |index| index::forget(index, keep_from))
        })
    }

    /// Finds out which blocks the journal holds.
    pub fn survey(&mut self) -> Result<(), ReadError> {
        let (kept, end) = (&mut self.kept, self.follower.next);
        self.store.blocks(Position(0), &mut |stored| {
            if stored.first >= end {
                return Ok(ControlFlow::Break(()));
            }
            kept.add(stored.first, stored.len() as u64, record::committed_at(&stored.read()?.head()));
            Ok(ControlFlow::Continue(()))
        })
    }
}

impl Changes {
    fn take_in(
        &mut self,
        block: &BlockReader<'_>,
        head: &mut Head,
        rows: &impl SnapshotRows,
    ) -> Result<(), ReadError> {
        let (mut result, ahead) = (Ok(()), record::ahead(&block.head()));
        block.for_each(|position, _, event| {
            if let Some(at) = record::at(&event) {
                head.last_ns = head.last_ns.max(at.0);
            }
            if let Event::Opened(opened) = event {
                // By the wall clock: it is only shown.
                let at_ns = ahead.to_wall(Timestamp(opened.at_ns)).0;
                head.opened = Some(Opened { at_ns, ..opened });
                head.ever_unsynced |= !opened.durable;
                return;
            }
            if let Err(error) = self.take_in_event(position, event, head, rows) {
                result = Err(error);
            }
        });
        head.state_hash = block.head().state_hash;
        self.events += u64::from(block.head().count);
        result
    }

    fn take_in_event(
        &mut self,
        position: u64,
        event: Event<'_>,
        head: &mut Head,
        rows: &impl SnapshotRows,
    ) -> Result<(), ReadError> {
        match event {
            Event::Attempt(attempt) => {
                let outcome = attempt.outcome();
                let answer = Answer::of(attempt.attempt_id(), attempt.fakemon_id(), position, outcome);
                self.answers.entry(PlayerId(attempt.player())).or_default().push(answer);
                if outcome == Outcome::Captured {
                    self.end(FakemonId(attempt.fakemon_id()), attempt.player(), position, rows)?;
                }
            }
            Event::Appeared(appeared) => {
                let row = FakemonRow::new(
                    appeared.fakemon_id(),
                    appeared.vanishes_at_ns(),
                    appeared.lat_e7(),
                    appeared.lon_e7(),
                    0,
                    appeared.species(),
                    appeared.catch_rate_bp(),
                );
                head.next_fakemon_id = next_fakemon_id(head.next_fakemon_id, FakemonId(appeared.fakemon_id()));
                self.fakemon.insert(FakemonId(appeared.fakemon_id()), row);
            }
            Event::Vanished(vanished) => self.end(FakemonId(vanished.fakemon_id()), VANISHED, position, rows)?,
            Event::PlayerNamed(named) => drop(self.names.insert(PlayerId(named.player), named.name)),
            Event::SpeciesNamed(named) => name_species(&mut head.species, named.species, named.name),
            // Openings are taken in with their block; the bus keeps rows of its own.
            Event::Opened(_) | Event::Put(_) | Event::Changed(_) => {}
        }
        Ok(())
    }

    fn end(&mut self, id: FakemonId, winner: u32, position: u64, rows: &impl SnapshotRows) -> Result<(), ReadError> {
        let row = match self.fakemon.get_mut(&id) {
            Some(row) => row,
            None => {
                let row = rows.fakemon_row(id)?;
                let row = row.ok_or_else(|| ReadError::corrupt(Position(position), "its fakémon never appeared"))?;
                self.fakemon.entry(id).or_insert(row)
            }
        };
        row.set_winner(winner);
        Ok(())
    }

    /// The rows of all players with new names or answers: ids used before, and ids used since.
    fn player_rows(&self, rows: &impl SnapshotRows) -> Result<Vec<(PlayerId, PlayerRow)>, ReadError> {
        let new = self.names.keys().filter(|player| !self.answers.contains_key(*player));
        self.answers.keys().chain(new).map(|player| Ok((*player, self.player_row(*player, rows)?))).collect()
    }

    fn player_row(&self, player: PlayerId, rows: &impl SnapshotRows) -> Result<PlayerRow, ReadError> {
        let before = rows.player_row(player)?;
        let name = before.as_ref().map(|row| row.name.clone()).or_else(|| self.names.get(&player).cloned());
        let name = name.ok_or_else(|| ReadError::Store(format!("player {player} threw without ever being named")))?;
        let used = before.iter().flat_map(|row| &row.used).map(|range| (range.first(), range.last()));
        let mut used = IdRanges::from_ranges(used);
        for answer in self.answers.get(&player).into_iter().flatten() {
            used.insert(answer.attempt_id());
        }
        Ok(PlayerRow { name, used: used.iter().map(|(first, last)| IdRange::new(first, last)).collect() })
    }
}

/// Names a species by its number; numbers come in order.
pub fn name_species(species: &mut Vec<String>, number: u16, name: String) {
    let number = usize::from(number);
    if species.len() <= number {
        species.resize(number + 1, String::new());
    }
    species[number] = name;
}

/// The id that the engine gives next: after the highest so far, unless a client chose one far away.
pub fn next_fakemon_id(next: u64, appeared: FakemonId) -> u64 {
    let near = appeared.0 >= next && appeared.0 - next < 1 << 32;
    if near { appeared.0 + 1 } else { next }
}

/// Lowers the priority of the calling thread, so that on a busy machine it waits and not the shards: for the snapshot
/// and for pipes.
pub fn lower_priority() {
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 10);
}
