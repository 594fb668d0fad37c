//! `fakemon verify`: decides the whole journal again and compares. Says what was checked, or where the first
//! divergence is.

use super::DataArg;
use super::progress::{self, Work};
use anyhow::Context;
use fakemon_engine::verify::{Verified, verify};
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
    let bar = progress::bar(Work::Verify);
    let verified = verify(&args.data.data, &mut |done, end| bar.show(done, end));
    bar.finish();
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
