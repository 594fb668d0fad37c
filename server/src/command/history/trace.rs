//! `fakemon trace`: the causes and effects of an event, as a tree; and as spans for tracing tools.
//!
//! - `otlp`: OpenTelemetry (OTLP/JSON), into a file or to a collector
//! - `chrome`: the trace event format of Chrome and Perfetto

mod chrome;
mod otlp;

use super::explain::{delivery_json, position_of, whereabouts};
use crate::command::DataArg;
use crate::command::output::{Voice, voice, write_whole};
use crate::command::sentence::sentence;
use crate::printed::stdout;
use anyhow::Context;
use fakemon_history::archive::Archive;
use fakemon_history::trace::{Node, Relation, Trace, trace};
use fakemon_model::envelope::{EventKey, Facet, kind};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::io::{self, Write};
use std::path::PathBuf;

/// Arguments of `fakemon trace`.
#[derive(Debug, clap::Args)]
pub struct TraceArgs {
    #[command(flatten)]
    data: DataArg,
    /// The event's position in the journal, or its id.
    #[arg(value_name = "POSITION|EVENT_ID")]
    event: String,
    /// Write the spans as OpenTelemetry's JSON (OTLP) to this file; `-` is stdout, without the tree.
    #[arg(long, value_name = "FILE")]
    otlp: Option<PathBuf>,
    /// Send the spans to the OTLP/HTTP collector at this address, http or https; `/v1/traces` is added to its path.
    #[arg(long, value_name = "http://HOST:PORT")]
    otlp_endpoint: Option<String>,
    /// Write the spans as a trace for Perfetto or chrome://tracing to this file; `-` is stdout, without the tree.
    #[arg(long, value_name = "FILE")]
    chrome: Option<PathBuf>,
    /// Print the tree as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `fakemon trace`.
pub fn run(args: TraceArgs) -> anyhow::Result<()> {
    let files = [("--otlp", args.otlp.as_deref()), ("--chrome", args.chrome.as_deref())];
    let voice = voice(&files, args.json)?;
    for (option, file) in files {
        file.map_or(Ok(()), |file| args.data.keep_out(option, file))?;
    }
    let archive = Archive::open(&args.data.data)?;
    let position = position_of(&args.event)?;
    let tree = trace(&archive, position).with_context(|| format!("data directory {}", args.data.data.display()))?;
    let spans = tree.spans(&archive);
    if let Some(path) = &args.otlp {
        write_whole("--otlp", path, format!("{}\n", otlp::spans(&tree, &spans)).as_bytes())?;
    }
    if let Some(path) = &args.chrome {
        write_whole("--chrome", path, format!("{}\n", chrome::events(&spans)).as_bytes())?;
    }
    if let Some(endpoint) = &args.otlp_endpoint {
        otlp::send(endpoint, &otlp::spans(&tree, &spans))?;
    }
    if voice == Voice::File {
        return Ok(());
    }
    let mut out = stdout();
    if args.json {
        let tree = TreeJson {
            asked_position: tree.asked.to_string(),
            is_cut: tree.is_cut,
            tree: node_json(&archive, &tree.root)?,
        };
        return Ok(writeln!(out, "{}", serde_json::to_string(&tree)?)?);
    }
    write_tree(&archive, &tree, &mut out)?;
    Ok(())
}

fn write_tree(archive: &Archive, tree: &Trace, out: &mut impl Write) -> io::Result<()> {
    write_node(archive, &tree.root, tree, "", "", out)?;
    if tree.is_cut {
        writeln!(out, "… more came of it than is shown")?;
    }
    Ok(())
}

/// Writes a node and its children; `first` is the prefix of its own line, `rest` of all lines below.
fn write_node(
    archive: &Archive,
    node: &Node,
    tree: &Trace,
    first: &str,
    rest: &str,
    out: &mut impl Write,
) -> io::Result<()> {
    let recorded = &node.recorded;
    let how = match node.relation {
        Relation::First => "",
        Relation::ByRule => "by a rule: ",
        Relation::BySchedule => "by the schedule: ",
        Relation::CarriedOut => "carried out: ",
        Relation::Refused => "refused: ",
        Relation::AnsweredBefore => "no throw of its own, the id was used; the first answer: ",
    };
    let asked = if recorded.position == tree.asked { "  ◄" } else { "" };
    let said = sentence(archive, recorded);
    writeln!(out, "{first}{} {} {how}{said}{asked}", recorded.position, recorded.committed_at)?;
    let deliveries = node.deliveries.iter().flatten();
    let lines = deliveries.clone().count() + node.children.len();
    let mut left = lines;
    let mut branch = || {
        left -= 1;
        if left == 0 { ("└─ ", "   ") } else { ("├─ ", "│  ") }
    };
    for delivery in deliveries {
        let (own, below) = branch();
        let attempt = if delivery.key.facet() == Facet::Attempt { "the attempt, " } else { "" };
        let (bus, rule, target) = (&delivery.bus, &delivery.rule, &delivery.target);
        writeln!(out, "{rest}{own}{attempt}rule {bus}/{rule} → {target}")?;
        for line in [vec![delivery.arn.clone()], whereabouts(&delivery.whereabouts)].concat() {
            writeln!(out, "{rest}{below}  {line}")?;
        }
    }
    for child in &node.children {
        let (own, below) = branch();
        write_node(archive, child, tree, &format!("{rest}{own}"), &format!("{rest}{below}"), out)?;
    }
    Ok(())
}

#[derive(Serialize)]
struct TreeJson {
    asked_position: String,
    is_cut: bool,
    tree: NodeJson,
}

/// An event of the tree, for `--json`; the event as it was written.
#[derive(Serialize)]
struct NodeJson {
    children: Vec<NodeJson>,
    deliveries: Option<Vec<Value>>,
    detail_type: String,
    durable_at: Option<String>,
    event: Box<RawValue>,
    event_id: String,
    position: String,
    relation: &'static str,
    source: String,
    written_at: String,
}

fn node_json(archive: &Archive, node: &Node) -> anyhow::Result<NodeJson> {
    let recorded = &node.recorded;
    let key = EventKey::new(recorded.position, Facet::Happened);
    let (source, detail_type) = kind(&recorded.event, Facet::Happened);
    Ok(NodeJson {
        children: node.children.iter().map(|child| node_json(archive, child)).collect::<anyhow::Result<_>>()?,
        deliveries: node.deliveries.as_ref().map(|all| all.iter().map(delivery_json).collect()),
        detail_type: detail_type.to_owned(),
        durable_at: node.durable_at.map(|at| at.to_string()),
        event: RawValue::from_string(archive.envelope(recorded, key)).context("an event is no JSON")?,
        event_id: key.id(),
        position: recorded.position.to_string(),
        relation: match node.relation {
            Relation::First => "first",
            Relation::ByRule => "by_rule",
            Relation::BySchedule => "by_schedule",
            Relation::CarriedOut => "carried_out",
            Relation::Refused => "refused",
            Relation::AnsweredBefore => "answered_before",
        },
        source: source.to_owned(),
        written_at: recorded.committed_at.to_string(),
    })
}
