//! `fakemon rules test`: the events in the journal that a pattern would have matched, before a rule with it is
//! enabled; from a closed data directory or beside a running server. `fakemon rules lint`: problems of the existing
//! rules.

use crate::command::DataArg;
use crate::command::bound::{Bound, Range, parse_bound};
use crate::command::output::{is_standard, read_text};
use crate::command::selection::{facets, told};
use crate::printed::stdout;
use anyhow::{Context, ensure};
use comfy_table::Table;
use fakemon_history::archive::Archive;
use fakemon_model::envelope::{bus, kind};
use fakemon_pattern::pattern::{Explanation, Matcher, Pattern, Scratch};
use fakemon_pattern::raw;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Arguments of `fakemon rules`.
#[derive(Debug, clap::Args)]
pub struct RulesArgs {
    #[command(subcommand)]
    command: RulesCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RulesCommand {
    /// Show which events in the journal a pattern would have matched.
    Test(TestArgs),
    /// Show problems: targets that are missing or fail, rules that never match, loops; exit code 1 if events are
    /// lost.
    Lint(LintArgs),
}

/// Arguments of `fakemon rules lint`.
#[derive(Debug, clap::Args)]
struct LintArgs {
    #[command(flatten)]
    of: super::topology::Of,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `fakemon rules test`.
#[derive(Debug, clap::Args)]
struct TestArgs {
    #[command(flatten)]
    data: DataArg,
    /// A file with the event pattern; `-` is stdin.
    #[arg(long, value_name = "FILE")]
    pattern: PathBuf,
    /// Only events of this bus.
    #[arg(long, value_name = "NAME", default_value = "fakemon")]
    bus: String,
    /// From this position, or this time of the journal (RFC 3339), on.
    #[arg(long, value_name = "POSITION|TIME", value_parser = parse_bound)]
    from: Option<Bound>,
    /// Up to this position, or this time of the journal, included.
    #[arg(long, value_name = "POSITION|TIME", value_parser = parse_bound)]
    to: Option<Bound>,
    /// Show at most N of the events that match.
    #[arg(long, value_name = "N", default_value_t = 3)]
    samples: usize,
    /// Instead of the journal: a file with one event, `-` is stdin; say which field matches and which does not.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "bus", "from", "to", "samples"])]
    explain: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Result of a test.
#[derive(Default)]
struct Found {
    /// By detail-type: the number of events, and of those that matched.
    counts: BTreeMap<String, (u64, u64)>,
    samples: Vec<String>,
}

/// Runs `fakemon rules`.
pub fn run(args: RulesArgs) -> anyhow::Result<()> {
    match args.command {
        RulesCommand::Test(args) => run_test(&args),
        RulesCommand::Lint(args) => super::topology::lint(&args.of, args.json),
    }
}

fn run_test(args: &TestArgs) -> anyhow::Result<()> {
    let both = is_standard(&args.pattern) && args.explain.as_deref().is_some_and(is_standard);
    ensure!(!both, "--pattern - and --explain - both read stdin: give one of them a file");
    let text = read_text("--pattern", &args.pattern)?;
    let pattern = Pattern::parse(text.trim()).with_context(|| format!("--pattern {}", args.pattern.display()))?;
    if let Some(event) = &args.explain {
        let explanation = pattern.explain(read_text("--explain", event)?.as_bytes());
        let explanation = explanation.with_context(|| format!("--explain {}", event.display()))?;
        return say_why(&explanation, args.json);
    }
    let archive = Archive::open(&args.data.data)?;
    let found =
        test(&archive, &pattern, args).with_context(|| format!("data directory {}", args.data.data.display()))?;
    say(&found, args.json)
}

fn test(archive: &Archive, pattern: &Pattern, args: &TestArgs) -> anyhow::Result<Found> {
    let matcher = Matcher::new([(0, pattern)])?;
    let (mut scratch, mut found, mut json) = (Scratch::default(), Found::default(), String::new());
    let progress = ProgressBar::new(archive.end_position().0); // shown on a terminal only
    progress.set_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} {eta}").expect("a valid template"));
    let range = Range::of(archive, args.from, args.to)?;
    archive.for_each(range.first, &mut |recorded| {
        if recorded.position >= range.end {
            return ControlFlow::Break(());
        }
        if recorded.position.0 % 65_536 == 0 {
            progress.set_position(recorded.position.0);
        }
        if !range.holds(recorded) || bus(&recorded.event) != args.bus {
            return ControlFlow::Continue(());
        }
        for facet in facets(&recorded.event) {
            json.clear();
            told(recorded, facet).write(&mut json, |id| archive.player_name(id), |id| archive.species_name(id));
            let matched = matcher.matches(json.as_bytes(), &mut scratch).is_ok_and(|rules| !rules.is_empty());
            let (_, detail_type) = kind(&recorded.event, facet);
            let counts = match found.counts.get_mut(detail_type) {
                Some(counts) => counts,
                None => found.counts.entry(detail_type.to_owned()).or_default(),
            };
            counts.0 += 1;
            counts.1 += u64::from(matched);
            if matched && found.samples.len() < args.samples {
                found.samples.push(json.clone());
            }
        }
        ControlFlow::Continue(())
    })?;
    progress.finish_and_clear();
    Ok(found)
}

fn say(found: &Found, as_json: bool) -> anyhow::Result<()> {
    let mut out = stdout();
    let sum = |of: fn(&(u64, u64)) -> u64| found.counts.values().map(of).sum::<u64>();
    if as_json {
        let kinds: Vec<Value> = found
            .counts
            .iter()
            .map(|(kind, (events, matched))| json!({ "detail_type": kind, "events": events, "matched": matched }))
            .collect();
        // Samples are events as they were written, JSON already.
        let samples = format!("[{}]", found.samples.join(","));
        let (events, matched) = (sum(|counts| counts.0).to_string(), sum(|counts| counts.1).to_string());
        let all = raw::object([
            ("by_detail_type", Value::from(kinds).to_string().as_str()),
            ("events", &events),
            ("matched", &matched),
            ("samples", &samples),
        ]);
        return Ok(writeln!(out, "{all}")?);
    }
    let mut table = Table::new();
    table.set_header(["detail-type", "events", "matched"]);
    for (kind, (events, matched)) in &found.counts {
        table.add_row([kind.clone(), events.to_string(), matched.to_string()]);
    }
    table.add_row(["all".to_owned(), sum(|counts| counts.0).to_string(), sum(|counts| counts.1).to_string()]);
    writeln!(out, "{table}")?;
    for sample in &found.samples {
        writeln!(out, "{sample}")?;
    }
    Ok(())
}

fn say_why(explanation: &Explanation, as_json: bool) -> anyhow::Result<()> {
    let mut out = stdout();
    if as_json {
        let field = |field: &fakemon_pattern::pattern::FieldVerdict| json!({ "path": field.path, "alternative": field.alternative, "values": field.values, "met": field.met });
        let fields: Vec<Value> = explanation.fields.iter().map(field).collect();
        return Ok(writeln!(out, "{}", json!({ "matches": explanation.matches, "fields": fields }))?);
    }
    writeln!(out, "{}", if explanation.matches { "it matches" } else { "it does not match" })?;
    let mut table = Table::new();
    table.set_header(["alternative", "field", "the event has", ""]);
    for field in &explanation.fields {
        let values = if field.values.is_empty() { "nothing".to_owned() } else { field.values.join(", ") };
        let met = if field.met { "met" } else { "not met" };
        table.add_row([field.alternative.to_string(), field.path.clone(), values, met.to_owned()]);
    }
    Ok(writeln!(out, "{table}")?)
}
