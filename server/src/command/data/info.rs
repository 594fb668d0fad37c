//! `fakemon info`: contents of a data directory, beside a running server or without one.

use crate::command::DataArg;
use crate::printed::stdout;
use anyhow::Context;
use fakemon_history::archive::{Archive, Info, Opened};
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Arguments of `fakemon info`.
#[derive(Debug, clap::Args)]
pub struct InfoArgs {
    #[command(flatten)]
    data: DataArg,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `fakemon info`.
pub fn run(args: InfoArgs) -> anyhow::Result<()> {
    let archive = Archive::open(&args.data.data)?;
    let info = archive.info().with_context(|| format!("data directory {}", args.data.data.display()))?;
    let opened = info.opened;
    let disk_bytes = disk_bytes(&args.data.data);
    let mut stdout = stdout();
    match args.json {
        true => writeln!(stdout, "{}", as_json(&info, opened, disk_bytes))?,
        false => write_text(&mut stdout, &args.data.data, &info, opened, disk_bytes)?,
    }
    Ok(())
}

fn as_json(info: &Info, opened: Option<Opened>, disk_bytes: u64) -> Value {
    json!({
        "format": info.format,
        "first_position": info.first_position.to_string(),
        "end_position": info.end_position.to_string(),
        "snapshot_position": info.snapshot_position.to_string(),
        "events": info.end_position.0.saturating_sub(info.first_position.0),
        "players": info.players,
        "species": info.species,
        "world_seed": opened.map(|opened| opened.world_seed.to_string()),
        "reach_m": opened.map(|opened| f64::from(opened.reach_mm) / 1_000.0),
        "opened_at": opened.map(|opened| opened.at.to_string()),
        "cores": opened.map(|opened| opened.cores),
        "durability": durability(opened),
        "ever_unsynced": info.ever_unsynced,
        "journal_bytes": info.journal_bytes,
        "disk_bytes": disk_bytes,
    })
}

fn write_text(
    out: &mut impl Write,
    dir: &Path,
    info: &Info,
    opened: Option<Opened>,
    disk_bytes: u64,
) -> io::Result<()> {
    let events = info.end_position.0.saturating_sub(info.first_position.0);
    writeln!(out, "data directory   {}, format {}", dir.display(), info.format)?;
    writeln!(
        out,
        "events           {events}, positions {} to {} (exclusive)",
        info.first_position, info.end_position
    )?;
    writeln!(out, "snapshot         all before position {}", info.snapshot_position)?;
    writeln!(out, "players          {}", info.players)?;
    writeln!(out, "species          {}", info.species.join(", "))?;
    if let Some(opened) = opened {
        writeln!(out, "world seed       {}", opened.world_seed)?;
        writeln!(out, "reach            {} m", f64::from(opened.reach_mm) / 1_000.0)?;
        writeln!(out, "opened last      {}, shards: {}", opened.at, opened.cores)?;
    }
    writeln!(out, "durability       {}", durability(opened))?;
    if durability(opened) != SYNCED {
        writeln!(out, "                 answers are given before the sync: a power cut can take some back")?;
    } else if info.ever_unsynced {
        writeln!(out, "                 some earlier answers were given before the sync")?;
    }
    writeln!(
        out,
        "size             {} of events, {} on disk",
        indicatif::HumanBytes(info.journal_bytes),
        indicatif::HumanBytes(disk_bytes)
    )
}

const SYNCED: &str = "synced";

/// The durability, in every answer: players may have been promised less than by default.
fn durability(opened: Option<Opened>) -> &'static str {
    match opened.map(|opened| opened.durable) {
        Some(true) => SYNCED,
        Some(false) => "unsynced",
        None => "unknown: retention let go of the opening",
    }
}

/// Bytes of the files of a directory; files deleted meanwhile count 0.
fn disk_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
