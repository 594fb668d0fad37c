//! CSV: a line of headings, then a line for each event. Times are RFC 3339 with nanoseconds, in UTC. A text that a
//! spreadsheet would take for a formula gets an apostrophe before it, which marks it as text.

use super::Format;
use super::rows::{COLUMNS, Cell, visit_cells};
use crate::command::output::Output;
use csv::Writer;
use fakemon_history::archive::{Archive, Block, Recorded};
use fakemon_model::ids::Position;
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
                Cell::Number(number) | Cell::Id(number) => write!(text, "{number}"),
                Cell::Time(time) => write!(text, "{time}"),
                Cell::Degrees(degrees) => write!(text, "{degrees}"),
                Cell::Flag(flag) => write!(text, "{flag}"),
                Cell::Text(cell) if is_formula(cell) => write!(text, "'{cell}"),
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

/// Whether a spreadsheet would evaluate a cell as a formula; some skip leading blanks.
fn is_formula(text: &str) -> bool {
    text.starts_with(['\t', '\r', '\n'])
        || text.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_would_compute_is_text() {
        for formula in ["=HYPERLINK(\"http://x\")", "+1", "-1+2", "@SUM(A1)", "\t=1", " =1", "＝1", "\r=1"] {
            assert!(is_formula(formula), "{formula}");
        }
        for text in ["ana", "{\"a\":\"=1\"}", "a=b", "", "'=1", "2026-01-01"] {
            assert!(!is_formula(text), "{text}");
        }
    }
}
