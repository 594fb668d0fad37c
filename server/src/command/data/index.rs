//! `fakemon index`: rebuilds the index of a data directory. A server maintains it by itself; this is for directories
//! of older versions, and for an index that was lost.

use crate::command::progress::{self, Work};
use crate::command::{DataArg, keep_files_private};
use crate::printed::stdout;
use fakemon_journal::index::{Indexed, build};
use serde_json::json;
use std::io::Write;
use std::time::Instant;

/// Arguments of `fakemon index`.
#[derive(Debug, clap::Args)]
pub struct IndexArgs {
    #[command(flatten)]
    data: DataArg,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `fakemon index`.
pub fn run(args: IndexArgs) -> anyhow::Result<()> {
    keep_files_private(&args.data.data);
    let begun = Instant::now();
    let bar = progress::bar(Work::Index);
    let indexed = build(&args.data.data, &mut |done, end| bar.show(done, end));
    bar.finish();
    let Indexed { first_position, end_position } = indexed?;
    let events = end_position.0 - first_position.0;
    let seconds = begun.elapsed().as_secs_f64();
    let rate = events as f64 / seconds.max(1e-9);
    let mut stdout = stdout();
    if args.json {
        let report = json!({
            "first_position": first_position.to_string(),
            "end_position": end_position.to_string(),
            "events": events,
            "seconds": seconds,
            "events_per_second": rate,
        });
        return Ok(writeln!(stdout, "{report}")?);
    }
    writeln!(stdout, "indexed: {events} events, positions {first_position} to {end_position} (exclusive)")?;
    Ok(writeln!(stdout, "{seconds:.2} s, {:.2} million events/s", rate / 1e6)?)
}
