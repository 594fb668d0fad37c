//! `fakemon topology`: sources, buses, rules and targets, of a running server or of a data directory; and their
//! problems, which `fakemon rules lint` shows alone.
//!
//! - `text`: as text
//! - `dot`: for Graphviz

mod dot;
mod text;

use crate::command::DataArg;
use crate::printed::stdout;
use anyhow::{Context, bail, ensure};
use fakemon_control::sign_get;
use fakemon_history::archive::Archive;
use fakemon_history::topology::{self, Severity, Topology};
use fakemon_load::{Http, Target};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;

/// Arguments of `fakemon topology`.
#[derive(Debug, clap::Args)]
pub struct TopologyArgs {
    #[command(flatten)]
    of: Of,
    /// For people, for Graphviz (`| dot -Tsvg`), or for machines.
    #[arg(long, value_name = "FORMAT", default_value = "text", conflicts_with = "json")]
    format: Format,
    /// The same as `--format json`.
    #[arg(long)]
    json: bool,
    /// In the text: show at most so many types of events, those with the most events.
    #[arg(long, value_name = "N", default_value_t = 40, conflicts_with = "json")]
    types: usize,
}

/// Source of the graph: a running server, or a data directory.
#[derive(Debug, clap::Args)]
pub(super) struct Of {
    /// Control plane of a running server, with rates and deliveries. If it needs signatures, requests are signed with
    /// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY [default: the data directory, its whole journal].
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    control: Option<String>,
    #[command(flatten)]
    data: DataArg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Dot,
    Json,
}

/// Runs `fakemon topology`.
pub fn run(args: TopologyArgs) -> anyhow::Result<()> {
    let topology = args.of.topology()?;
    let mut out = stdout();
    match args.format {
        _ if args.json => writeln!(out, "{}", serde_json::to_string(&topology)?)?,
        Format::Json => writeln!(out, "{}", serde_json::to_string(&topology)?)?,
        Format::Dot => out.write_all(dot::graph(&topology).as_bytes())?,
        Format::Text => out.write_all(text::page(&topology, args.types, columns()).as_bytes())?,
    }
    Ok(())
}

/// Shows only problems; an error if there are any.
pub(super) fn lint(of: &Of, as_json: bool) -> anyhow::Result<()> {
    let topology = of.topology()?;
    let mut out = stdout();
    match as_json {
        true => writeln!(out, "{}", serde_json::to_string(&topology.findings)?)?,
        false => out.write_all(text::findings(&topology).as_bytes())?,
    }
    let errors = topology.findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    ensure!(errors == 0, "{errors} of {} findings are errors", topology.findings.len());
    Ok(())
}

/// Characters per line: the terminal's width, 120 for a pipe.
fn columns() -> u16 {
    terminal_size::terminal_size().map_or(120, |(width, _)| width.0)
}

impl Of {
    fn topology(&self) -> anyhow::Result<Topology> {
        match &self.control {
            Some(url) => ask(url),
            None => self.recorded(),
        }
    }

    fn recorded(&self) -> anyhow::Result<Topology> {
        let archive = Archive::open(&self.data.data)?;
        let bar = ProgressBar::new(archive.end_position().0); // shown on a terminal only
        bar.set_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} {eta}").expect("a valid template"));
        let counted = topology::recorded(&archive, &mut |position, _| bar.set_position(position.0));
        bar.finish_and_clear();
        counted.with_context(|| format!("data directory {}", self.data.data.display()))
    }
}

fn ask(url: &str) -> anyhow::Result<Topology> {
    let target = Target::parse(url, "http", true).context("--control")?;
    let secret = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let headers = match secret("AWS_ACCESS_KEY_ID").zip(secret("AWS_SECRET_ACCESS_KEY")) {
        Some((id, secret)) => sign_get(&target.authority, PATH, &id, &secret)?,
        None => Vec::new(),
    };
    let answer = Http::connect(&target)?.get_with(PATH, &headers)?;
    match answer.status {
        200 => serde_json::from_str(&answer.body).context("the answer is no topology: is it another version?"),
        403 => bail!("{url} asks for a signature: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use --data"),
        status => bail!("{url} answered {status}: {}", answer.body),
    }
}

const PATH: &str = "/topology";
