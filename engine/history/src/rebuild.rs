//! A journal that is written again, block by block, into a new data directory: from JSON lines, or from what is left of
//! a damaged one. Every block goes the way of the committer — hash chain, one batch with its captures — and must get the
//! hash that it had.

use fakemon_capture::options::{Durability, OpenError};
use fakemon_capture::record;
use fakemon_fbs::journal::{BlockReader, Event, Outcome};
use fakemon_fbs::snapshot::Caught;
use fakemon_journal::{BlockHash, Link, Part, ReadError, Store, check_empty, complete};
use fakemon_model::ids::{PlayerId, Position};
use std::path::{Path, PathBuf};

/// The directory says that it is incomplete until it is settled and complete.
pub struct Rebuild {
    dir: PathBuf,
    store: Store,
    /// None before the first block.
    first: Option<Position>,
    link: Link,
    value: Vec<u8>,
}

/// Why a block is not taken.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// It does not follow the one before.
    #[error("it begins at position {found}, but position {expected} comes next: blocks are missing")]
    Gap { expected: Position, found: Position },
    /// It is not the block that had this hash.
    #[error("its hash is not the one it had: it, or the block before, was changed")]
    Changed,
    /// The disk or the store said no.
    #[error("{0}")]
    Store(String),
}

impl Rebuild {
    /// Whether a directory can be taken, before there is work for it.
    pub fn check(dir: &Path) -> Result<(), OpenError> {
        check_empty(dir)
    }

    /// Begins; `making` is the command whose work this is.
    pub fn begin(dir: &Path, making: &str) -> Result<Rebuild, OpenError> {
        let store = Store::create(dir, making)?;
        Ok(Rebuild { dir: dir.to_owned(), store, first: None, link: Link::default(), value: Vec::new() })
    }

    /// Appends a block that had this hash. What follows a beginning that retention let go of has nothing to prove its
    /// hash with; the block after it proves it.
    pub fn append(&mut self, block: &BlockReader<'_>, bytes: &[u8], had: &BlockHash) -> Result<(), RebuildError> {
        let found = self.link(block, bytes)?;
        if self.first.is_none() && found > Position(1) {
            self.link.hash = *had;
            self.value[..had.len()].copy_from_slice(had);
        }
        if self.link.hash != *had {
            return Err(RebuildError::Changed);
        }
        self.write(block, found)
    }

    /// Appends a block that is a new one here: its hash follows from the one before.
    pub fn go_on(&mut self, block: &BlockReader<'_>, bytes: &[u8]) -> Result<(), RebuildError> {
        let found = self.link(block, bytes)?;
        self.write(block, found)
    }

    fn link(&mut self, block: &BlockReader<'_>, bytes: &[u8]) -> Result<Position, RebuildError> {
        let head = block.head();
        let found = Position(head.first_position);
        let expected = self.first.map_or(found, |_| self.link.next);
        if found != expected {
            return Err(RebuildError::Gap { expected, found });
        }
        self.link.next = found;
        self.link.append(bytes, u64::from(head.count), &mut self.value);
        Ok(found)
    }

    fn write(&mut self, block: &BlockReader<'_>, found: Position) -> Result<(), RebuildError> {
        self.first.get_or_insert(found);
        let written = self.store.write_block(found, &self.value, captures(block).into_iter(), Durability::Unsynced);
        written.map_err(|error| RebuildError::Store(Part::Journal.explain_write(&error)))
    }

    /// One past the last event so far.
    pub fn end(&self) -> Position {
        self.link.next
    }

    /// Adds a capture of a block that is not there any more.
    pub fn collect(&self, player: PlayerId, position: Position, caught: Caught) -> Result<(), ReadError> {
        Ok(self.store.write_capture(player, position, caught)?)
    }

    /// Brings everything to the disk. The directory is still incomplete: something may be put beside the journal.
    pub fn settle(self) -> Result<Settled, ReadError> {
        self.store.settle(self.first.unwrap_or(Position(1)), self.link.next.max(Position(1)))?;
        Ok(Settled { dir: self.dir })
    }
}

/// A journal on the disk, in a directory that still says that it is incomplete.
pub struct Settled {
    dir: PathBuf,
}

impl Settled {
    /// From now on it is a data directory.
    pub fn complete(self) -> Result<(), OpenError> {
        complete(&self.dir)
    }
}

/// What was caught in a block, as its shards said.
fn captures(block: &BlockReader<'_>) -> Vec<(PlayerId, Position, Caught)> {
    let (mut captures, ahead) = (Vec::new(), record::ahead(&block.head()));
    block.for_each(|position, _, event| {
        let at = ahead.to_wall(record::at(&event).unwrap_or_default());
        if let Event::Attempt(attempt) = event
            && attempt.outcome() == Outcome::Captured
        {
            let caught = Caught::new(attempt.fakemon_id(), at.0, attempt.species());
            captures.push((PlayerId(attempt.player()), Position(position), caught));
        }
    });
    captures
}
