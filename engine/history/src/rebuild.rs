//! Writes a journal again, block by block, into a new data directory: from JSON lines, or from what is left of a
//! damaged one. Every block is written as the committer writes it — hash chain, one batch with its captures — and
//! must get its old hash.

use fakemon_capture::decision::record;
use fakemon_capture::options::{Durability, OpenError};
use fakemon_fbs::journal::{BlockReader, Event, Outcome};
use fakemon_fbs::snapshot::Caught;
use fakemon_journal::{BlockHash, Link, Part, ReadError, Store, Unfinished, check_empty, complete};
use fakemon_model::ids::{PlayerId, Position};
use std::path::{Path, PathBuf};

/// A journal that is being written. Its directory is marked as incomplete until it is settled and complete.
pub struct Rebuild {
    dir: PathBuf,
    store: Store,
    /// None before the first block.
    first: Option<Position>,
    link: Link,
    value: Vec<u8>,
}

/// Why a block is refused.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// It does not follow the previous block.
    #[error("it begins at position {found}, but position {expected} comes next: blocks are missing")]
    Gap { expected: Position, found: Position },
    /// Its hash is not the one given.
    #[error("its hash is not the one it had: it, or the block before, was changed")]
    Changed,
    /// The disk or RocksDB reported an error.
    #[error("{0}")]
    Store(String),
}

impl Rebuild {
    /// Checks that a directory can be used, before any work is done.
    pub fn check(dir: &Path) -> Result<(), OpenError> {
        check_empty(dir)
    }

    /// Begins in a new directory; `making` is the command that does it.
    pub fn begin(dir: &Path, making: &str) -> Result<Rebuild, OpenError> {
        Ok(Rebuild::of(dir, Store::create(dir, making)?))
    }

    /// The same, in a directory that is made beside other things.
    pub fn begin_in(dir: &Path, unfinished: &Unfinished, making: &str) -> Result<Rebuild, OpenError> {
        Ok(Rebuild::of(dir, Store::create_in(unfinished, making)?))
    }

    fn of(dir: &Path, store: Store) -> Rebuild {
        Rebuild { dir: dir.to_owned(), store, first: None, link: Link::default(), value: Vec::new() }
    }

    /// Appends a block whose hash is known. The first block after a deleted beginning cannot prove its hash, because
    /// the hash before it is missing; the next block proves it.
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

    /// Appends a changed or new block: its hash is computed from the one before.
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

    /// Adds a capture of a block that no longer exists.
    pub fn collect(&self, player: PlayerId, position: Position, caught: Caught) -> Result<(), ReadError> {
        Ok(self.store.write_capture(player, position, caught)?)
    }

    /// Flushes everything to the disk; a journal without a block begins at `empty_at`. The directory is still marked
    /// as incomplete, so that more can be put beside the journal.
    pub fn settle(self, empty_at: Position) -> Result<Settled, ReadError> {
        let first = self.first.unwrap_or(empty_at);
        self.store.settle(first, self.link.next.max(first))?;
        Ok(Settled { dir: self.dir })
    }
}

/// A journal on the disk, in a directory that is still marked as incomplete.
pub struct Settled {
    dir: PathBuf,
}

impl Settled {
    /// Marks it as a complete data directory.
    pub fn complete(self) -> Result<(), OpenError> {
        complete(&self.dir)
    }
}

/// The captures in a block.
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
