//! Makes a data directory again from the JSON lines of a whole journal: the same positions, ids, hashes, bit for bit.
//! Every block must get its old hash, every event its old position; the first difference ends the import.

use crate::jsonl::{BlockLine, Line, LineError};
use crate::rebuild::{Rebuild, RebuildError};
use fakemon_capture::decision::record;
use fakemon_capture::options::OpenError;
use fakemon_fbs::journal::{BlockReader, BlockWriter, SectionDraft};
use fakemon_model::event::Event;
use fakemon_model::ids::{Ahead, PlayerId, Position, ShardId};
use fakemon_model::limits::{GROUP_EVENTS_MAX, GROUP_TEXT_BYTES_MAX, PUT_BYTES_MAX};
use std::io::BufRead;
use std::path::Path;

/// A longer line is not from an export.
const LINE_BYTES_MAX: usize = 8 * (GROUP_TEXT_BYTES_MAX + PUT_BYTES_MAX);
/// A block with more events is not from an export.
const BLOCK_EVENTS_MAX: usize = 4 * GROUP_EVENTS_MAX;

/// What was imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The position of the first event.
    pub first_position: Position,
    /// One past the last event.
    pub end_position: Position,
    /// The number of blocks.
    pub blocks: u64,
    /// The state hash of the world at the end.
    pub state_hash: u64,
    /// The hash of the last block.
    pub hash: [u8; 32],
}

/// Why an import ended.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A line is not what must come next.
    #[error("line {line}: {what}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong, and what to do.
        what: String,
    },
    /// The lines cannot be read.
    #[error("line {line}: it cannot be read: {error}")]
    Read {
        /// Counted from 1.
        line: u64,
        /// Why it cannot be read.
        error: std::io::Error,
    },
    /// The journal cannot be written.
    #[error("{0}")]
    Write(String),
}

/// Imports lines into a directory that is empty or does not exist; `progress` is called now and then with the
/// position and the end. After an error the directory is marked as incomplete.
///
/// # Errors
/// The first thing that is wrong, with its line.
pub fn import(
    dir: &Path,
    lines: impl BufRead,
    progress: &mut dyn FnMut(Position, Position),
) -> Result<Imported, ImportError> {
    let mut lines = Lines { lines, number: 0, text: Vec::new() };
    let export = match lines.next()? {
        Some(Line::Export(export)) if export.whole => export,
        Some(Line::Export(_)) => {
            return Err(lines.wrong("it is an export of a part: export the whole journal, without filters"));
        }
        _ => return Err(lines.wrong("it must say {\"export\":…}: give what `fakemon export --format jsonl` wrote")),
    };
    let rebuild = Rebuild::begin(dir, "an import")?;
    let mut importer = Importer { lines, rebuild, writer: BlockWriter::default(), blocks: 0, last: None };
    let mut expected = Some(export.first);
    loop {
        match importer.lines.next()? {
            Some(Line::Block(block)) => {
                let first = Position(block.head.first_position);
                if let Some(expected) = expected.take().filter(|expected| *expected != first) {
                    return Err(importer.lines.wrong(format!("it begins at position {first}, not at {expected}")));
                }
                importer.block(block)?;
                progress(importer.rebuild.end(), export.end);
            }
            Some(Line::End(position, hash)) => return importer.end(export.first, position, hash),
            Some(_) => return Err(importer.lines.wrong("a block, or the end, must stand here: lines are missing")),
            None => return Err(importer.lines.wrong("the end is missing: the export was cut off, make it again")),
        }
    }
}

struct Importer<L> {
    lines: Lines<L>,
    rebuild: Rebuild,
    writer: BlockWriter,
    blocks: u64,
    last: Option<BlockLine>,
}

impl<L: BufRead> Importer<L> {
    /// Reads the events of a block, writes it again, compares.
    fn block(&mut self, block: BlockLine) -> Result<(), ImportError> {
        let at = self.lines.number;
        let wrong = |what: String| ImportError::Line { line: at, what };
        let events: usize =
            block.sections.iter().try_fold(0usize, |sum, (_, events)| sum.checked_add(*events)).unwrap_or(usize::MAX);
        if events != block.head.count as usize || events > BLOCK_EVENTS_MAX || block.sections.len() > BLOCK_EVENTS_MAX
        {
            return Err(wrong("block.sections do not hold block.count events, or too many".into()));
        }
        if block.head.first_position.checked_add(u64::from(block.head.count)).is_none() {
            return Err(wrong("block.first_position is too large".into()));
        }
        let mut position = Position(block.head.first_position);
        let mut sections = Vec::with_capacity(block.sections.len());
        for (shard, events) in &block.sections {
            sections.push(self.section(*shard, *events, record::ahead(&block.head), &mut position)?);
        }
        let bytes = self.writer.write(block.head, &sections);
        let reader = BlockReader::new(bytes).map_err(|error| wrong(error.to_string()))?;
        let appended = self.rebuild.append(&reader, bytes, &block.hash);
        appended.map_err(|error| match error {
            RebuildError::Store(error) => ImportError::Write(error),
            RebuildError::Gap { .. } => wrong(format!("the block {error}: export the journal again")),
            RebuildError::Changed => {
                wrong(format!("the block does not agree with its hash: {error}; export it again"))
            }
        })?;
        self.blocks += 1;
        self.last = Some(block);
        Ok(())
    }

    fn section(
        &mut self,
        shard: ShardId,
        events: usize,
        ahead: Ahead,
        next: &mut Position,
    ) -> Result<SectionDraft, ImportError> {
        let mut section = SectionDraft::new(shard.0, 0);
        for _ in 0..events {
            let (position, from, event) = match self.lines.next()? {
                Some(Line::Event(position, shard, event)) => (position, shard, event),
                _ => {
                    return Err(self
                        .lines
                        .wrong(format!("the event at position {next} must stand here: lines are missing")));
                }
            };
            if (position, from) != (*next, shard) {
                let what =
                    format!("it is position {position} of shard {from}, but {next} of {shard} must stand here");
                return Err(self.lines.wrong(what));
            }
            if let Event::Attempt(attempt) = &event
                && matches!(attempt.player, PlayerId(0 | u32::MAX))
            {
                return Err(self.lines.wrong("no player has this number"));
            }
            record::draft(&mut section, &event, ahead);
            next.0 += 1;
        }
        Ok(section)
    }

    fn end(mut self, first: Position, position: Position, hash: [u8; 32]) -> Result<Imported, ImportError> {
        let (end, last) = (self.rebuild.end().max(Position(1)), self.last.take());
        if position != end || last.as_ref().is_some_and(|last| last.hash != hash) {
            return Err(self
                .lines
                .wrong(format!("the journal ended at {position}, the lines end at {end}: some are missing")));
        }
        if self.lines.next()?.is_some() {
            return Err(self.lines.wrong("nothing may stand behind the end: give one export"));
        }
        let settled = self.rebuild.settle(Position(1)).map_err(|error| ImportError::Write(error.to_string()))?;
        settled.complete()?;
        let state_hash = last.map_or(0, |last| last.head.state_hash);
        Ok(Imported { first_position: first, end_position: end, blocks: self.blocks, state_hash, hash })
    }
}

/// Lines, counted.
struct Lines<L> {
    lines: L,
    number: u64,
    text: Vec<u8>,
}

impl<L: BufRead> Lines<L> {
    /// The next line; none at the end.
    fn next(&mut self) -> Result<Option<Line>, ImportError> {
        self.number += 1;
        self.text.clear();
        let most = LINE_BYTES_MAX as u64;
        let read = std::io::Read::take(&mut self.lines, most).read_until(b'\n', &mut self.text);
        let read = read.map_err(|error| ImportError::Read { line: self.number, error })?;
        if read == 0 {
            return Ok(None);
        }
        if self.text.last() != Some(&b'\n') {
            return Err(self.wrong("the line is cut off, or too long: export the journal again"));
        }
        Line::read(&self.text).map(Some).map_err(|LineError(what)| self.wrong(what))
    }

    fn wrong(&self, what: impl Into<String>) -> ImportError {
        ImportError::Line { line: self.number, what: what.into() }
    }
}
