//! `fakemon verify`: decides the whole journal again and compares. Says what was checked, or where the first
//! divergence is.

use super::DataArg;
use anyhow::Context;
use fakemon_engine::ids::Position;
use fakemon_engine::verify::{Verified, verify};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// What to verify.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    data: DataArg,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Verifies; an error is a divergence, or that the journal cannot be read.
pub fn run(args: VerifyArgs) -> anyhow::Result<()> {
    let begun = Instant::now();
    let bar = progress_bar();
    let verified = verify(&args.data.data, &mut |done: Position, end: Position| {
        bar.set_length(end.0);
        bar.set_position(done.0);
    });
    bar.finish_and_clear();
    let mut stdout = io::stdout().lock();
    match verified {
        Ok(verified) => Ok(write_report(&mut stdout, &args, &verified, begun.elapsed())?),
        Err(error) => {
            if args.json {
                writeln!(stdout, "{}", json!({ "ok": false, "error": error.to_string() }))?;
            }
            Err(error).with_context(|| format!("{} does not verify", args.data.data.display()))
        }
    }
}

fn write_report(out: &mut impl Write, args: &VerifyArgs, verified: &Verified, took: Duration) -> io::Result<()> {
    let rate = verified.events as f64 / took.as_secs_f64().max(1e-9);
    let state_hash = format!("{:016x}", verified.state_hash);
    if args.json {
        let report = json!({
            "ok": true,
            "events": verified.events,
            "blocks": verified.blocks,
            "first_position": verified.first_position.to_string(),
            "end_position": verified.end_position.to_string(),
            "attempts": verified.attempts,
            "from_the_beginning": verified.from_the_beginning,
            "state_hash": state_hash,
            "seconds": took.as_secs_f64(),
            "events_per_second": rate,
        });
        return writeln!(out, "{report}");
    }
    writeln!(
        out,
        "verified: {} events in {} blocks, positions {} to {} (exclusive)",
        verified.events, verified.blocks, verified.first_position, verified.end_position
    )?;
    match verified.from_the_beginning {
        true => writeln!(out, "decided again with the same outcome: {} throws", verified.attempts)?,
        false => writeln!(out, "the beginning was let go by retention: the chain is proven, outcomes are not")?,
    }
    writeln!(out, "state hash {state_hash}, the hash chain holds")?;
    writeln!(out, "{:.2} s, {:.2} million events/s", took.as_secs_f64(), rate / 1e6)
}

/// Drawn on stderr, on a terminal only.
fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("verify {wide_bar} {percent}% {pos}/{len} {per_sec} eta {eta}")
        .expect("the template is valid, a test draws it");
    ProgressBar::new(0).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_can_be_drawn() {
        progress_bar().finish_and_clear();
    }
}
