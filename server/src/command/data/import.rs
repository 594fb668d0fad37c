//! `fakemon import`: a data directory from the JSON lines of a whole journal, bit for bit; `fakemon verify` proves
//! it. A server continues it only if the journal begins at position 1: events that retention deleted are in no
//! export.

use crate::command::interrupt::{Half, begin};
use crate::command::keep_files_private;
use crate::command::progress::{self, Work};
use crate::printed::stdout;
use anyhow::Context;
use fakemon_history::import::{Imported, import};
use fakemon_model::ids::Position;
use serde_json::json;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

const BUFFER_BYTES: usize = 1 << 20;

/// Arguments of `fakemon import`.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// The data directory to create: empty, or not existing.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// A file of `fakemon export --format jsonl`; `-` is stdin. `.gz` and `.zst` are decompressed.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `fakemon import`.
pub fn run(args: ImportArgs) -> anyhow::Result<()> {
    keep_files_private(&args.data);
    let begun = Instant::now();
    let lines = open(&args.file).with_context(|| args.file.display().to_string())?;
    let (bar, _begun) = (progress::bar(Work::Import), begin(Half::Directory(args.data.clone())));
    let imported = import(&args.data, lines, &mut |done, end| bar.show(done, end));
    bar.finish();
    let imported = imported.with_context(|| args.file.display().to_string())?;
    Ok(write_report(&args, &imported, begun.elapsed().as_secs_f64())?)
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, io::stdin())));
    }
    let file = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?);
    Ok(match path.extension().and_then(|kind| kind.to_str()) {
        Some("gz") => Box::new(BufReader::with_capacity(BUFFER_BYTES, flate2::bufread::GzDecoder::new(file))),
        Some("zst") => Box::new(BufReader::with_capacity(BUFFER_BYTES, zstd::Decoder::with_buffer(file)?)),
        _ => Box::new(file),
    })
}

fn write_report(args: &ImportArgs, imported: &Imported, seconds: f64) -> io::Result<()> {
    let Imported { first_position, end_position, blocks, state_hash, .. } = imported;
    let events = end_position.0 - first_position.0;
    let rate = events as f64 / seconds.max(1e-9);
    let mut stdout = stdout();
    if args.json {
        let report = json!({
            "first_position": first_position.to_string(),
            "end_position": end_position.to_string(),
            "events": events,
            "blocks": blocks,
            "state_hash": format!("{state_hash:016x}"),
            "hash": hex(&imported.hash),
            "seconds": seconds,
            "events_per_second": rate,
        });
        return writeln!(stdout, "{report}");
    }
    writeln!(
        stdout,
        "imported: {events} events in {blocks} blocks, positions {first_position} to {end_position} (exclusive)"
    )?;
    writeln!(stdout, "state hash {state_hash:016x}; every block has the hash that it had")?;
    if *first_position > Position(1) {
        writeln!(stdout, "retention let go of what came before: tools read it, a server cannot go on with it")?;
    }
    writeln!(stdout, "{seconds:.2} s, {:.2} million events/s", rate / 1e6)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
