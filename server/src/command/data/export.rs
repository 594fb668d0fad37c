//! `fakemon export`: the journal as JSON lines, CSV or Parquet, from a closed data directory or beside a running
//! server.
//!
//! - `lines`: JSON lines, complete: an export without filters can be imported again, bit for bit
//! - `rows`: one flat row per event, whatever its kind; for CSV and Parquet
//! - `csv`, `parquet`: files of rows

mod lines;
mod rows;
mod csv;
mod parquet;

use crate::command::DataArg;
use crate::command::bound::Range;
use crate::command::output::{Output, Voice, voice};
use crate::command::progress::{self, Work};
use crate::command::selection::SelectionArgs;
use crate::printed::stdout;
use fakemon_engine::ReadError;
use fakemon_history::archive::{Archive, Block, Recorded};
use fakemon_model::ids::Position;
use serde_json::json;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

/// Arguments of `fakemon export`.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    #[command(flatten)]
    data: DataArg,
    /// The format of the file.
    #[arg(long, value_name = "FORMAT")]
    format: FormatName,
    /// Where to; `-` is stdout, without a report. JSON lines and CSV are compressed if it ends with `.gz` or `.zst`.
    /// The file is for the users who may look into the data directory, which is its owner if nothing was changed.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Formats of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FormatName {
    /// JSON lines: the journal in full, for `fakemon import` and for programs.
    Jsonl,
    /// One table of all kinds of events, for spreadsheets: a text that would be a formula has an apostrophe before
    /// it.
    Csv,
    /// The same table with types, for pandas, Spark, polars, DuckDB: ids of 64 bits are strings, times are in
    /// microseconds with the nanoseconds that are left beside them.
    Parquet,
}

/// A writer of one format; selected events come in order, block by block.
trait Format {
    /// Begins a block with at least one selected event.
    fn block(&mut self, block: &Block<'_>) -> anyhow::Result<()>;
    /// Writes an event of the block.
    fn event(&mut self, recorded: &Recorded) -> anyhow::Result<()>;
    /// Ends the export; returns the output.
    fn finish(self, end: Position) -> anyhow::Result<Output>;
}

/// Counts of an export.
struct Exported {
    events: u64,
    from: Position,
    end: Position,
}

/// Runs `fakemon export`.
pub fn run(args: ExportArgs) -> anyhow::Result<()> {
    let begun = Instant::now();
    let to_stdout = voice(&[("--out", Some(args.out.as_path()))], args.json)? == Voice::File;
    let archive = Archive::open(&args.data.data)?;
    args.data.keep_out("--out", &args.out)?;
    let output = match (to_stdout, args.format) {
        (true, _) => Output::stdout(),
        (false, FormatName::Parquet) => Output::file("--out", &args.out)?, // Parquet is compressed already
        (false, _) => Output::compressed_file(&args.out)?,
    };
    let (exported, output) = match args.format {
        FormatName::Jsonl => export(&archive, &args, lines::Lines::begin(&archive, &args.selection, output)?),
        FormatName::Csv => export(&archive, &args, csv::Csv::begin(&archive, output)?),
        FormatName::Parquet => export(&archive, &args, parquet::Parquet::begin(&archive, output)?),
    }?;
    let bytes = output.finish()?;
    match to_stdout {
        true => Ok(()),
        false => Ok(write_report(&args, &exported, bytes, begun.elapsed().as_secs_f64())?),
    }
}

fn export<F: Format>(archive: &Archive, args: &ExportArgs, mut format: F) -> anyhow::Result<(Exported, Output)> {
    let range = Range::of(archive, args.selection.from, args.selection.to)?;
    let Range { first: from, end, .. } = range;
    let filter = args.selection.filter(archive);
    let mut wanted = args.selection.wanted(archive)?;
    let bar = progress::bar(Work::Export);
    let mut exported = Exported { events: 0, from, end: from };
    let read = archive.for_each_block(from, |block| -> Result<ControlFlow<()>, Stopped> {
        let (mut begun, mut result) = (false, Ok(()));
        block.for_each(|recorded| {
            if !range.holds(&recorded) || result.is_err() {
                return;
            }
            exported.end = Position(recorded.position.0 + 1);
            let passes = filter.passes(&recorded.event);
            if passes && wanted.as_mut().is_none_or(|wanted| wanted.matches_any(archive, &recorded)) {
                if !begun {
                    result = format.block(block);
                }
                (begun, exported.events) = (true, exported.events + 1);
                result = std::mem::replace(&mut result, Ok(())).and_then(|()| format.event(&recorded));
            }
        });
        result?;
        bar.show(block.group.end, end);
        Ok(if block.group.end >= end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    bar.finish();
    let output = read.and_then(|()| Ok(format.finish(exported.end)?)).map_err(|error| match error {
        Stopped::Read(error) => {
            anyhow::Error::new(error).context(format!("data directory {}", args.data.data.display()))
        }
        Stopped::Write(error) => error.context(format!("--out {}", args.out.display())),
    })?;
    Ok((exported, output))
}

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] anyhow::Error),
}

fn write_report(args: &ExportArgs, exported: &Exported, bytes: u64, seconds: f64) -> io::Result<()> {
    let Exported { events, from, end } = exported;
    let rate = *events as f64 / seconds.max(1e-9);
    let mut stdout = stdout();
    if args.json {
        let report = json!({
            "out": args.out.display().to_string(),
            "events": events,
            "from_position": from.to_string(),
            "end_position": end.to_string(),
            "whole": args.selection.as_json().is_none(),
            "bytes": bytes,
            "seconds": seconds,
            "events_per_second": rate,
        });
        return writeln!(stdout, "{report}");
    }
    let size = indicatif::HumanBytes(bytes);
    writeln!(stdout, "exported: {events} events of positions {from} to {end} (exclusive), {size}")?;
    writeln!(stdout, "{seconds:.2} s, {:.2} million events/s", rate / 1e6)
}
