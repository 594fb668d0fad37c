//! The journal as those see it who write it, follow it and recover from it: [`Store`] on a disk, and a log in memory
//! with the faults of disks in the simulation.

use crate::error::ReadError;
use crate::options::Durability;
use crate::store::Store;
use crate::store::chain::StoredBlock;
use crate::{Part, store::acknowledged::JOURNAL_NOTE};
use fakemon_fbs::journal::BlockHead;
use fakemon_fbs::snapshot::Caught;
use fakemon_model::ids::{PlayerId, Position};
use std::ops::ControlFlow;

/// A log of blocks, with the captures in them.
pub trait BlockLog {
    /// Appends the block of a group and the captures in it, all or nothing; durable when this returns if so wanted.
    ///
    /// # Errors
    /// One line with the remedy. What the log holds is unknown then: the writer stops, and the next start finds out.
    fn append(
        &self,
        first: Position,
        value: &[u8],
        captures: impl Iterator<Item = (PlayerId, Position, Caught)>,
        durability: Durability,
    ) -> Result<(), String>;

    /// Notes that every event before `position` was acknowledged: if the log ever ends earlier, it is damaged.
    ///
    /// # Errors
    /// One line. The writer stops, as after an append that failed.
    fn acknowledge(&self, position: Position) -> Result<(), String>;

    /// Fails if the log ends before the last acknowledged event: then a part of it is lost.
    fn check_acknowledged(&self, end: Position) -> Result<(), ReadError>;

    /// Calls `visit` with the block that starts at `first`.
    fn block<R>(
        &self,
        first: Position,
        visit: impl FnOnce(StoredBlock<'_>) -> Result<R, ReadError>,
    ) -> Result<Option<R>, ReadError>;

    /// Calls `visit` with all blocks in order, from the one that holds `from`, until it breaks.
    fn blocks(
        &self,
        from: Position,
        visit: &mut dyn FnMut(StoredBlock<'_>) -> Result<ControlFlow<()>, ReadError>,
    ) -> Result<(), ReadError>;

    /// Deletes all blocks that start before `before`.
    fn forget_blocks(&self, before: Position) -> Result<(), ReadError>;

    /// A player's captures before `before`, the newest first, at most `max`.
    fn collection(
        &self,
        player: PlayerId,
        before: Position,
        max: usize,
    ) -> Result<Vec<(Position, Caught)>, ReadError>;

    /// The head of the newest block; none if there is none.
    fn newest_head(&self) -> Result<Option<BlockHead>, ReadError> {
        let mut head = None;
        self.blocks(Position(u64::MAX), &mut |stored| {
            head = Some(stored.read()?.head());
            Ok(ControlFlow::Break(()))
        })?;
        Ok(head)
    }
}

impl BlockLog for Store {
    fn append(
        &self,
        first: Position,
        value: &[u8],
        captures: impl Iterator<Item = (PlayerId, Position, Caught)>,
        durability: Durability,
    ) -> Result<(), String> {
        self.write_block(first, value, captures, durability).map_err(|error| Part::Journal.explain_write(&error))
    }

    fn acknowledge(&self, position: Position) -> Result<(), String> {
        self.acknowledge(position).map_err(|error| format!("the file `{JOURNAL_NOTE}` could not be written: {error}"))
    }

    fn check_acknowledged(&self, end: Position) -> Result<(), ReadError> {
        self.check_acknowledged(end)
    }

    fn block<R>(
        &self,
        first: Position,
        visit: impl FnOnce(StoredBlock<'_>) -> Result<R, ReadError>,
    ) -> Result<Option<R>, ReadError> {
        self.block(first, visit)
    }

    fn blocks(
        &self,
        from: Position,
        visit: &mut dyn FnMut(StoredBlock<'_>) -> Result<ControlFlow<()>, ReadError>,
    ) -> Result<(), ReadError> {
        self.blocks(from, visit)
    }

    fn forget_blocks(&self, before: Position) -> Result<(), ReadError> {
        self.forget_blocks(before)
    }

    fn collection(
        &self,
        player: PlayerId,
        before: Position,
        max: usize,
    ) -> Result<Vec<(Position, Caught)>, ReadError> {
        self.collection(player, before, max)
    }
}
