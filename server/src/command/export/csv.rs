//! CSV: a line of headings, then a line for each event. Times are RFC 3339 with nanoseconds, in UTC.

use super::Format;
use super::output::Output;
use super::rows::{COLUMNS, Cell, visit_cells};
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
        let Csv { archive, writer, cell: text } = self;
        let (mut next, mut result) = (0, Ok(()));
        visit_cells(recorded, archive, &mut |column, cell| {
            for _ in next..column as usize {
                result = std::mem::replace(&mut result, Ok(())).and_then(|()| writer.write_field(""));
            }
            next = column as usize + 1;
            text.clear();
            let written = match cell {
                Cell::Number(number) => write!(text, "{number}"),
                Cell::Time(time) => write!(text, "{time}"),
                Cell::Degrees(degrees) => write!(text, "{degrees}"),
                Cell::Flag(flag) => write!(text, "{flag}"),
                Cell::Text(cell) => write!(text, "{cell}"),
            };
            written.expect("text grows as long as there is memory");
            result = std::mem::replace(&mut result, Ok(())).and_then(|()| writer.write_field(&*text));
        });
        result?;
        for _ in next..COLUMNS.len() {
            writer.write_field("")?;
        }
        Ok(writer.write_record(None::<&[u8]>)?)
    }

    fn finish(self, _: Position) -> anyhow::Result<Output> {
        self.writer.into_inner().map_err(|error| anyhow::anyhow!("{}", error.error()))
    }
}
