//! `fakemon log`: events as JSON lines, from a closed data directory or beside a running server.

use crate::command::DataArg;
use crate::command::bound::{Range, is_complete};
use crate::command::selection::{Filter, SelectionArgs, Wanted, facets, told};
use crate::printed::stdout;
use anyhow::Context;
use fakemon_history::archive::{Archive, Recorded};
use fakemon_model::envelope::Facet;
use fakemon_model::ids::Position;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Arguments of `fakemon log`.
#[derive(Debug, clap::Args)]
pub struct LogArgs {
    #[command(flatten)]
    data: DataArg,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Print at most N events.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Keep running, and print new events as they are written.
    #[arg(long)]
    follow: bool,
    /// Print JSON lines, which is the default.
    #[arg(long)]
    json: bool,
}

/// Interval at which `--follow` checks for new events.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);

/// Runs `fakemon log`.
pub fn run(args: LogArgs) -> anyhow::Result<()> {
    let mut archive = Archive::open(&args.data.data)?;
    print_all(&mut archive, &args).with_context(|| format!("data directory {}", args.data.data.display()))
}

fn print_all(archive: &mut Archive, args: &LogArgs) -> anyhow::Result<()> {
    let mut stdout = BufWriter::new(stdout());
    let (from, to) = (args.selection.from, args.selection.to);
    let mut next = Range::of(archive, from, to)?.first;
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut wanted = args.selection.wanted(archive)?;
    let mut took = Duration::ZERO;
    loop {
        let filter = args.selection.filter(archive);
        let mut printer = Printer { wanted: wanted.as_mut(), json: String::new() };
        let range = Range::of(archive, from, to)?;
        print(archive, &filter, &range, &mut next, &mut left, &mut printer, &mut stdout)?;
        stdout.flush()?;
        if left == 0 || !args.follow || is_complete(archive, to)? {
            return Ok(());
        }
        std::thread::sleep(FOLLOW_EVERY.max(took * 4)); // leaves most of the processor to the server
        let begun = Instant::now();
        archive.refresh()?;
        took = begun.elapsed();
    }
}

/// Prints what passes of a range from `next` on, at most `left` events; moves both.
fn print(
    archive: &Archive,
    filter: &Filter<'_>,
    range: &Range,
    next: &mut Position,
    left: &mut u64,
    printer: &mut Printer<'_>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut printed = Ok(());
    if *left == 0 {
        return Ok(());
    }
    archive.for_each(*next, &mut |recorded| {
        if recorded.position >= range.end {
            return ControlFlow::Break(());
        }
        *next = Position(recorded.position.0 + 1);
        if range.holds(recorded) && filter.passes(&recorded.event) {
            match printer.print(archive, recorded, *left, out) {
                Ok(count) => *left -= count,
                Err(error) => printed = Err(error),
            }
        }
        match printed.is_ok() && *left > 0 {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    Ok(printed?)
}

/// Prints events: as they happened or, with `--rule`, as that rule sees them.
struct Printer<'a> {
    wanted: Option<&'a mut Wanted>,
    json: String,
}

impl Printer<'_> {
    /// Prints an event; returns the number of lines, at most `most`.
    fn print(&mut self, archive: &Archive, recorded: &Recorded, most: u64, out: &mut impl Write) -> io::Result<u64> {
        let shown = |facet: &Facet| self.wanted.is_some() || *facet == Facet::Happened;
        let shown: Vec<Facet> = facets(&recorded.event).filter(shown).collect();
        let mut printed = 0;
        for facet in shown {
            self.json.clear();
            told(recorded, facet).write(&mut self.json, |id| archive.player_name(id), |id| archive.species_name(id));
            let (json, event) = (self.json.as_bytes(), &recorded.event);
            if printed < most && self.wanted.as_mut().is_none_or(|wanted| wanted.matches(event, json)) {
                out.write_all(json)?;
                out.write_all(b"\n")?;
                printed += 1;
            }
        }
        Ok(printed)
    }
}
