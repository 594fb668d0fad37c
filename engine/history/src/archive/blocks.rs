//! The journal block by block, with all that a block records about itself.

use super::{Archive, Group, Recorded};
use fakemon_capture::decision::record;
use fakemon_fbs::journal::BlockReader;
use fakemon_journal::{BlockHash, ReadError};
use fakemon_model::ids::{Ahead, Position, ShardId};
use std::ops::ControlFlow;

/// A block of the journal.
pub struct Block<'a> {
    /// Its events, as one group.
    pub group: Group,
    /// The state hash of the whole world after it.
    pub state_hash: u64,
    /// The hash of the block and of the hash before it.
    pub hash: [u8; 32],
    reader: BlockReader<'a>,
}

impl<'a> Block<'a> {
    pub fn new(reader: BlockReader<'a>, hash: BlockHash) -> Block<'a> {
        let head = reader.head();
        let group = Group {
            first: Position(head.first_position),
            end: Position(head.first_position + u64::from(head.count)),
            committed_at: record::committed_at(&head),
            previous_sync_ns: head.previous_sync_ns,
        };
        Block { group, state_hash: head.state_hash, hash, reader }
    }

    /// Shard and number of events of each turn in the block.
    pub fn sections(&self) -> impl Iterator<Item = (ShardId, usize)> + use<'a> {
        self.reader.sections().map(|(shard, events)| (ShardId(shard), events))
    }

    pub fn reader(&self) -> &BlockReader<'a> {
        &self.reader
    }

    /// Visits its events in order.
    pub fn for_each(&self, visit: impl FnMut(Recorded)) {
        self.visit(record::ahead(&self.reader.head()), visit);
    }

    /// The same with the times of the records, which are the engine's: what decides, and what the state hash is of.
    pub fn for_each_as_written(&self, visit: impl FnMut(Recorded)) {
        self.visit(Ahead(0), visit);
    }

    fn visit(&self, ahead: Ahead, mut visit: impl FnMut(Recorded)) {
        let committed_at = self.group.committed_at;
        self.reader.for_each(|position, shard, event| {
            let (position, shard, event) = (Position(position), ShardId(shard), record::event(event, ahead));
            visit(Recorded { position, shard, committed_at, event });
        });
    }
}

impl Archive {
    /// Visits blocks in order, from the one that holds `from`, until the visitor breaks.
    ///
    /// # Errors
    /// A damaged or unreadable journal, and what the visitor says.
    pub fn for_each_block<E: From<ReadError>>(
        &self,
        from: Position,
        mut visit: impl FnMut(&Block<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let mut failed = None;
        self.blocks(from, &mut |stored, reader| {
            let block = Block::new(*reader, stored.hash);
            if block.group.end <= from {
                return Ok(ControlFlow::Continue(())); // retention deleted the block that held it
            }
            Ok(visit(&block).unwrap_or_else(|error| {
                failed = Some(error);
                ControlFlow::Break(())
            }))
        })?;
        failed.map_or(Ok(()), Err)
    }
}
