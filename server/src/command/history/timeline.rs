//! `fakemon timeline`: a range of the journal over time, as charts for a terminal, as JSON, and as one HTML file that
//! can be attached to a ticket; from a closed data directory or beside a running server.

mod columns;
mod wording;
mod text;
mod json;
mod plot;
mod report;

use crate::command::DataArg;
use crate::command::bound::{Bound, check_order, parse_bound};
use crate::command::output::{Voice, voice, write_whole};
use crate::command::progress::{self, Work};
use crate::printed::stdout;
use anyhow::{Context, bail, ensure};
use fakemon_history::archive::Archive;
use fakemon_history::timeline::{Axis, AxisError, BUCKET_NS_MIN, Timeline, durable_at, extent, read, received_at};
use fakemon_model::ids::{Position, Timestamp};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Arguments of `fakemon timeline`.
#[derive(Debug, clap::Args)]
pub struct TimelineArgs {
    #[command(flatten)]
    data: DataArg,
    /// From this time of the journal (RFC 3339) on, or from when the event at this position was received.
    #[arg(long, value_name = "POSITION|TIME", value_parser = parse_bound)]
    from: Option<Bound>,
    /// Up to this time of the journal, included, or until the event at this position was durable.
    #[arg(long, value_name = "POSITION|TIME", value_parser = parse_bound)]
    to: Option<Bound>,
    /// Width of a bucket, at least 1ms, as in 10ms, 1s or 5m [default: for about a hundred buckets].
    #[arg(long, value_name = "TIME", value_parser = parse_bucket)]
    bucket: Option<Duration>,
    /// Show N of the hottest fakémon and players, and of the longest stalls and gaps.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    top: u16,
    /// Write a report to this file too: one HTML page that needs nothing else; `-` is stdout, without the charts.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

/// A timeline, and the archive for its names.
struct Told<'a> {
    archive: &'a Archive,
    timeline: &'a Timeline,
    dir: &'a Path,
    top: usize,
}

/// Runs `fakemon timeline`.
pub fn run(args: TimelineArgs) -> anyhow::Result<()> {
    let dir = &args.data.data;
    let html = args.html.as_deref();
    let voice = voice(&[("--html", html)], args.json)?;
    html.map_or(Ok(()), |file| args.data.keep_out("--html", file))?;
    let archive = Archive::open(dir)?;
    let timeline = timeline(&archive, &args).with_context(|| format!("data directory {}", dir.display()))?;
    let told = Told { archive: &archive, timeline: &timeline, dir, top: args.top.into() };
    if let Some(file) = html {
        write_whole("--html", file, told.report().as_bytes())?;
    }
    if voice == Voice::File {
        return Ok(());
    }
    let mut stdout = BufWriter::new(stdout());
    match args.json {
        true => told.write_json(&mut stdout)?,
        false => told.write_text(&mut stdout)?,
    }
    Ok(stdout.flush()?)
}

fn timeline(archive: &Archive, args: &TimelineArgs) -> anyhow::Result<Timeline> {
    let axis = axis(archive, args)?;
    let bar = progress::bar(Work::Timeline);
    let timeline = read(archive, axis, args.top.into(), &mut |done, end| bar.show(done, end));
    bar.finish();
    let timeline = timeline?;
    match timeline.positions {
        Some(_) => Ok(timeline),
        None => bail!("{}", nothing(archive, &axis)?),
    }
}

fn axis(archive: &Archive, args: &TimelineArgs) -> anyhow::Result<Axis> {
    check_order(args.from, args.to)?;
    let whole = extent(archive)?.context("the journal is empty: nothing happened yet")?;
    let begin = args.from.map_or(Ok(whole.0), |from| first_moment(archive, from, whole))?;
    let end = args.to.map_or(Ok(whole.1), |to| end_moment(archive, to, whole))?;
    let axis = Axis::new(begin, end, args.bucket);
    axis.map_err(|error| match error {
        AxisError::Backwards { begin, end } => anyhow::anyhow!("--to ({end}) is not after --from ({begin})"),
        AxisError::TooNarrow | AxisError::TooMany { .. } => anyhow::anyhow!("--bucket: {error}"),
    })
}

fn first_moment(archive: &Archive, from: Bound, (begin, end): (Timestamp, Timestamp)) -> anyhow::Result<Timestamp> {
    match from {
        Bound::Time(at) => {
            ensure!(at < end, "--from {at}: the journal ends before, at {end}");
            Ok(at.max(begin))
        }
        Bound::Position(position) => {
            received_at(archive, position)?.with_context(|| missing("--from", archive, position))
        }
    }
}

fn end_moment(archive: &Archive, to: Bound, (begin, end): (Timestamp, Timestamp)) -> anyhow::Result<Timestamp> {
    match to {
        Bound::Time(at) => {
            ensure!(at >= begin, "--to {at}: the journal begins after, at {begin}");
            Ok(at.plus_ns(1).min(end))
        }
        Bound::Position(position) => {
            let at = durable_at(archive, position)?.with_context(|| missing("--to", archive, position))?;
            Ok(at.plus_ns(1))
        }
    }
}

fn missing(which: &str, archive: &Archive, position: Position) -> String {
    let (first, end) = (archive.first_position(), archive.end_position());
    format!("{which} {position}: the journal holds positions {first} to {end} (exclusive)")
}

/// The text for a range without events.
fn nothing(archive: &Archive, axis: &Axis) -> anyhow::Result<String> {
    let next = archive.first_since(axis.begin())?;
    let before = Position(next.0.saturating_sub(1));
    let told = |name: &str, position, at: Option<Timestamp>| {
        at.map_or(String::new(), |at| format!("; the {name} is at position {position}, {at}"))
    };
    let before = told("last event before", before, durable_at(archive, before)?);
    let next = told("next", next, received_at(archive, next)?);
    Ok(format!("nothing happened from {} to {}{before}{next}", axis.begin(), axis.end()))
}

fn parse_bucket(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<jiff::SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    let duration = duration.filter(|duration| duration.as_nanos() >= u128::from(BUCKET_NS_MIN));
    duration.ok_or_else(|| format!("`{text}` is no time from 1ms on, as in 10ms, 1s or 5m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_width_is_a_time_from_a_millisecond_on() {
        for (text, ms) in [("1ms", 1), ("10ms", 10), ("1s", 1_000), ("5m", 300_000), ("1h 30m", 5_400_000)] {
            assert_eq!(parse_bucket(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for wrong in ["", "0", "1", "999us", "-1s", "soon", "1 month"] {
            assert!(parse_bucket(wrong).unwrap_err().contains("from 1ms on"), "{wrong}");
        }
    }
}
