//! `fakemon verify`: decides the whole journal again and compares. Reports what was checked, or the exact place of an
//! error and what is proven before and after it; `--salvage` makes a new data directory of the readable rest.
//!
//! The exit code is 0 if everything is whole, and if nothing was ever acknowledged: a server that was killed while it
//! made the directory leaves that. It is 1 for anything that is not whole, also where a server starts without it and
//! nothing is lost (the index, mostly the snapshot): the report says so, and what makes it again.

use crate::command::DataArg;
use crate::command::interrupt::{Half, begin};
use crate::command::progress::{self, Work};
use crate::printed::stdout;
use anyhow::anyhow;
use fakemon_history::salvage::{Kept, Salvaged, salvage};
use fakemon_history::verify::{Examination, Finding, Proof, Segment, Verified, examine};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Arguments of `fakemon verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    data: DataArg,
    /// If there is damage, copy what can be read into this new directory; the damaged one is not changed.
    #[arg(long, value_name = "NEW_DIR")]
    salvage: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Findings and segments shown in the text report.
const SHOWN_MAX: usize = 20;

/// Runs `fakemon verify`; an error if it finds damage, or if the journal cannot be read.
pub fn run(args: VerifyArgs) -> anyhow::Result<()> {
    match &args.salvage {
        Some(to) => args.data.keep_out("--salvage", to).and_then(|()| run_salvage(&args, to)),
        None => run_verify(&args),
    }
}

fn run_verify(args: &VerifyArgs) -> anyhow::Result<()> {
    let begun = Instant::now();
    let bar = progress::bar(Work::Verify);
    let examined = examine(&args.data.data, &mut |done, end| bar.show(done, end), &mut |part| bar.read(part.name()));
    bar.finish();
    let seconds = begun.elapsed().as_secs_f64();
    let mut stdout = stdout();
    let wrong = |what: &str| anyhow!("{} does not verify: {what}", args.data.data.display());
    let examination = match examined {
        Ok(examination) => examination,
        Err(error) => {
            if args.json {
                writeln!(stdout, "{}", json!({ "ok": false, "error": error.to_string() }))?;
            }
            return Err(wrong(&error.to_string()));
        }
    };
    match args.json {
        true => writeln!(stdout, "{}", as_json(&examination, seconds))?,
        false => write_report(&mut stdout, &examination, seconds)?,
    }
    match examination.findings.first() {
        None => Ok(()),
        Some(finding) => Err(wrong(&finding.to_string())),
    }
}

fn as_json(examination: &Examination, seconds: f64) -> Value {
    let Examination { verified, segments, findings, more_findings, .. } = examination;
    let mut report = json!({
        "ok": findings.is_empty(),
        "events": verified.events,
        "blocks": verified.blocks,
        "first_position": verified.first_position.to_string(),
        "end_position": verified.end_position.to_string(),
        "attempts": verified.attempts,
        "from_the_beginning": verified.from_the_beginning,
        "state_hash": format!("{:016x}", verified.state_hash),
        "segments": segments.iter().map(segment_json).collect::<Vec<_>>(),
        "findings": findings.iter().map(finding_json).collect::<Vec<_>>(),
        "more_findings": more_findings,
        "seconds": seconds,
        "events_per_second": rate(verified, seconds),
    });
    if !examination.is_begun {
        report["begun"] = json!(false);
    }
    if let Some(finding) = findings.first() {
        report["error"] = json!(finding.to_string());
        if examination.is_derived_only() {
            report["nothing_is_lost"] = json!(true);
        }
    }
    report
}

fn segment_json(segment: &Segment) -> Value {
    let Segment { first, end, blocks, proof, state_hash } = segment;
    json!({
        "first_position": first.to_string(),
        "end_position": end.to_string(),
        "events": end.0 - first.0,
        "blocks": blocks,
        "proof": proof.name(),
        "state_hash": format!("{state_hash:016x}"),
    })
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "cause": finding.cause.name(),
        "position": finding.position.to_string(),
        "until_position": finding.until.map(|until| until.to_string()),
        "block": finding.block.map(|block| block.to_string()),
        "what": finding.what,
        "expected": finding.expected,
        "found": finding.found,
        "file": finding.file,
        "offset": finding.bytes.map(|(offset, _)| offset),
        "length": finding.bytes.map(|(_, length)| length),
    })
}

fn rate(verified: &Verified, seconds: f64) -> f64 {
    verified.events as f64 / seconds.max(1e-9)
}

fn write_report(out: &mut impl Write, examination: &Examination, seconds: f64) -> io::Result<()> {
    let verified = &examination.verified;
    if !examination.findings.is_empty() {
        return write_findings(out, examination);
    }
    if !examination.is_begun {
        return writeln!(out, "nothing was acknowledged yet: `fakemon serve` makes what is missing");
    }
    writeln!(
        out,
        "verified: {} events in {} blocks, positions {} to {} (exclusive)",
        verified.events, verified.blocks, verified.first_position, verified.end_position
    )?;
    match verified.from_the_beginning {
        true => writeln!(out, "decided again with the same outcome: {} throws", verified.attempts)?,
        false => writeln!(
            out,
            "the beginning was let go by retention: the chain and what each block adds to the state are proven, outcomes \
             are not"
        )?,
    }
    writeln!(out, "state hash {:016x}, the hash chain holds", verified.state_hash)?;
    writeln!(out, "{seconds:.2} s, {:.2} million events/s", rate(verified, seconds) / 1e6)
}

/// Writes the findings, and what is proven in spite of them.
fn write_findings(out: &mut impl Write, examination: &Examination) -> io::Result<()> {
    let Examination { segments, findings, more_findings, .. } = examination;
    for finding in findings.iter().take(SHOWN_MAX) {
        write_finding(out, finding)?;
    }
    let more = (findings.len().saturating_sub(SHOWN_MAX)) as u64 + more_findings;
    if more > 0 {
        writeln!(out, "… and {more} more")?;
    }
    writeln!(out, "proven all the same:{}", if segments.is_empty() { " nothing" } else { "" })?;
    for segment in segments.iter().take(SHOWN_MAX) {
        let what = match segment.proof {
            Proof::Outcomes => "every outcome, the chain and the state",
            Proof::Chain => "the chain, and what each block adds to the state",
        };
        let Segment { first, end, blocks, .. } = segment;
        writeln!(out, "  positions {first} to {end} (exclusive), {blocks} blocks: {what}")?;
    }
    if segments.len() > SHOWN_MAX {
        writeln!(out, "  … and {} more", segments.len() - SHOWN_MAX)?;
    }
    match examination.is_derived_only() {
        true => writeln!(
            out,
            "journal and bus are whole: nothing is lost, and what is wrong is made again from the journal"
        ),
        false => writeln!(out, "`fakemon verify --salvage NEW_DIR` makes a new directory of what can be read"),
    }
}

fn write_finding(out: &mut impl Write, finding: &Finding) -> io::Result<()> {
    writeln!(out, "wrong ({}): {finding}", finding.cause.name())?;
    match (finding.block, finding.until) {
        (_, Some(until)) if until > finding.position => {
            let lost = until.0 - finding.position.0;
            writeln!(out, "  positions {} to {until} (exclusive), {lost} events", finding.position)?;
        }
        (Some(block), _) => writeln!(out, "  in the block that begins at position {block}")?,
        _ => {}
    }
    if let (Some(expected), Some(found)) = (&finding.expected, &finding.found) {
        writeln!(out, "  expected {expected}, found {found}")?;
    }
    if let (Some(file), Some((offset, length))) = (&finding.file, finding.bytes) {
        writeln!(out, "  in {file}, {length} bytes from byte {offset} on")?;
    }
    Ok(())
}

fn run_salvage(args: &VerifyArgs, to: &Path) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (bar, _begun) = (progress::bar(Work::Salvage), begin(Half::Directory(to.to_owned())));
    let salvaged =
        salvage(&args.data.data, to, &mut |done, end| bar.show(done, end), &mut |part| bar.read(part.name()));
    bar.finish();
    let (salvaged, seconds) = (salvaged?, begun.elapsed().as_secs_f64());
    let mut stdout = stdout();
    if args.json {
        let mut report = salvaged.as_json();
        report["examined"] = as_json(&salvaged.examination, seconds);
        return Ok(writeln!(stdout, "{report}")?);
    }
    if !salvaged.examination.findings.is_empty() {
        write_findings(&mut stdout, &salvaged.examination)?;
    }
    Ok(write_salvaged(&mut stdout, to, &salvaged)?)
}

fn write_salvaged(out: &mut impl Write, to: &Path, salvaged: &Salvaged) -> io::Result<()> {
    let Salvaged { first, end, kept, .. } = salvaged;
    if *kept == Kept::Untouched {
        return writeln!(out, "nothing is wrong, positions {first} to {end} (exclusive): nothing was written");
    }
    writeln!(out, "salvaged into {}: positions {first} to {end} (exclusive)", to.display())?;
    writeln!(
        out,
        "{}",
        match kept {
            Kept::Untouched | Kept::Everything => "nothing of the journal is missing",
            Kept::Mended => "a server goes on with it: what contradicted the rest is mended or left out, as follows",
            Kept::End => "a server goes on with it: the snapshot knows the state, only history is missing",
            Kept::Beginning => "a server goes on with it as of the end position: WHAT WAS TOLD AFTER IT IS FORGOTTEN",
            Kept::Snapshot =>
                "a server goes on with it: the snapshot knows the state at this position, and the journal before it is \
                 missing",
            Kept::History => "for tools only: without a snapshot, a server cannot know the state",
            Kept::Bus =>
                "a server goes on with what the bus kept: THE WORLD IS EMPTY, AND WHAT PLAYERS CAUGHT IS FORGOTTEN",
        }
    )?;
    for line in &salvaged.notes {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}
