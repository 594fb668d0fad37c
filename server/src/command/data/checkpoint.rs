//! `fakemon checkpoint`: a consistent copy of a data directory; a server starts from it, every tool reads it. A
//! running server makes it itself, in milliseconds and without a pause; else this process does. On the same file
//! system both share their table files, so that the copy takes space only as they diverge.

use crate::command::DataArg;
use crate::command::interrupt::{Half, begin};
use crate::printed::stdout;
use anyhow::{Context, bail};
use fakemon_access::control_file::ControlFile;
use fakemon_history::archive::Archive;
use fakemon_journal::checkpoint::checkpoint;
use fakemon_load::{Http, Target};
use fakemon_model::ids::Position;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf, absolute};
use std::time::{Duration, Instant};

/// Longest wait for a server's copy: on another file system it copies all bytes.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Arguments of `fakemon checkpoint`.
#[derive(Debug, clap::Args)]
pub struct CheckpointArgs {
    #[command(flatten)]
    data: DataArg,
    /// The directory of the copy: empty, or not existing.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `fakemon checkpoint`.
pub fn run(args: CheckpointArgs) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (dir, to) = (&args.data.data, absolute(&args.to).with_context(|| args.to.display().to_string())?);
    args.data.keep_out("--to", &to)?;
    let half = begin(Half::Directory(to.clone()));
    let by_server = !checkpoint(dir, &to)?;
    drop(half);
    // The server reports how far the copy goes; opening it here would take processor time from that server.
    let told = if by_server { Some(ask_server(dir, &to)?) } else { None };
    let took = begun.elapsed();
    let end = told.map_or_else(|| Archive::open(&to).map(|copy| copy.end_position()), Ok).context("the copy")?;
    let mut stdout = stdout();
    if args.json {
        let report = json!({
            "to": to.display().to_string(),
            "end_position": end.to_string(),
            "beside_a_server": by_server,
            "seconds": took.as_secs_f64(),
        });
        return Ok(writeln!(stdout, "{report}")?);
    }
    let ms = took.as_secs_f64() * 1e3;
    Ok(writeln!(stdout, "copied to {}: everything before position {end}, in {ms:.1} ms", to.display())?)
}

/// Asks the server that has the directory open to make the copy; it has all events before the returned position.
fn ask_server(dir: &Path, to: &Path) -> anyhow::Result<Position> {
    let _begun = begin(Half::Elsewhere(to.to_owned()));
    let contact = ControlFile::read(dir)?;
    let contact = contact.with_context(|| {
        format!(
            "data directory {}: a process has it open that is no server: stop it, or ask it itself",
            dir.display()
        )
    })?;
    let target = Target::of(contact.addr);
    let in_dir = || format!("data directory {}: the server that has it open", dir.display());
    let mut http = Http::connect(&target).with_context(in_dir)?;
    http.be_patient(PATIENCE)?;
    http.post("/checkpoint", &json!({ "to": to, "word": contact.word.as_str() }).to_string())?;
    let answer = http.receive().with_context(in_dir)?;
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    match body["position"].as_str().and_then(|position| position.parse().ok()) {
        Some(position) if answer.status == 200 => Ok(Position(position)),
        _ => bail!("{}", body["error"]["message"].as_str().unwrap_or(&answer.body)),
    }
}
