//! JSON lines: see `fakemon_history::jsonl` for the format.

use super::{Format, SelectionArgs};
use crate::command::output::Output;
use fakemon_history::archive::{Archive, Block, Recorded};
use fakemon_history::jsonl::{write_block, write_end, write_event, write_export};
use fakemon_model::ids::Position;
use std::io::Write;

/// Lines are buffered up to this size, in bytes, because compression and files favour long writes.
const BUFFER_BYTES: usize = 256 << 10;

/// An export as JSON lines.
pub(super) struct Lines<'a> {
    archive: &'a Archive,
    output: Output,
    text: Vec<u8>,
    blocks: u64,
    hash: [u8; 32],
}

impl<'a> Lines<'a> {
    pub(super) fn begin(
        archive: &'a Archive,
        selection: &SelectionArgs,
        output: Output,
    ) -> anyhow::Result<Lines<'a>> {
        let mut text = Vec::with_capacity(2 * BUFFER_BYTES);
        let selection = selection.as_json();
        write_export(&mut text, archive.first_position(), archive.end_position(), selection.as_ref())?;
        Ok(Lines { archive, output, text, blocks: 0, hash: [0; 32] })
    }

    fn hand_on(&mut self) -> anyhow::Result<()> {
        self.output.write_all(&self.text)?;
        self.text.clear();
        Ok(())
    }
}

impl Format for Lines<'_> {
    fn block(&mut self, block: &Block<'_>) -> anyhow::Result<()> {
        (self.blocks, self.hash) = (self.blocks + 1, block.hash);
        Ok(write_block(&mut self.text, block)?)
    }

    fn event(&mut self, recorded: &Recorded) -> anyhow::Result<()> {
        write_event(&mut self.text, recorded, self.archive)?;
        if self.text.len() >= BUFFER_BYTES { self.hand_on() } else { Ok(()) }
    }

    fn finish(mut self, end: Position) -> anyhow::Result<Output> {
        write_end(&mut self.text, end, self.blocks, &self.hash)?;
        self.hand_on()?;
        Ok(self.output)
    }
}
