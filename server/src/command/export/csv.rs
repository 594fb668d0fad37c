//! CSV: a line of headings, then a line for each event. Times are RFC 3339 with nanoseconds, in UTC.

use super::Format;
use super::output::Output;
use super::rows::{COLUMNS, Cell, Row};
use csv::Writer;
use fakemon_engine::archive::{Archive, Block, Recorded};
use fakemon_engine::ids::Position;
use std::fmt::Write as _;

/// An export as CSV.
pub(super) struct Csv<'a> {
    archive: &'a Archive,
    writer: Writer<Output>,
    cell: String,
}

impl<'a> Csv<'a> {
    pub(super) fn begin(archive: &'a Archive, output: Output) -> anyhow::Result<Csv<'a>> {
        let mut writer = Writer::from_writer(output);
        writer.write_record(COLUMNS.iter().map(|(name, _)| name))?;
        Ok(Csv { archive, writer, cell: String::new() })
    }
}

impl Format for Csv<'_> {
    fn block(&mut self, _: &Block<'_>) -> anyhow::Result<()> {
        Ok(())
    }

    fn event(&mut self, recorded: &Recorded) -> anyhow::Result<()> {
        let Csv { archive, writer, cell } = self;
        let mut result = Ok(());
        Row::of(recorded, archive).visit(|_, value| {
            cell.clear();
            let written = match value {
                Cell::Empty => Ok(()),
                Cell::Number(number) => write!(cell, "{number}"),
                Cell::Time(time) => write!(cell, "{time}"),
                Cell::Degrees(degrees) => write!(cell, "{degrees}"),
                Cell::Flag(flag) => write!(cell, "{flag}"),
                Cell::Text(text) => write!(cell, "{text}"),
            };
            written.expect("text grows as long as there is memory");
            if result.is_ok() {
                result = writer.write_field(&*cell);
            }
        });
        result?;
        Ok(writer.write_record(None::<&[u8]>)?)
    }

    fn finish(self, _: Position) -> anyhow::Result<Output> {
        self.writer.into_inner().map_err(|error| anyhow::anyhow!("{}", error.error()))
    }
}
