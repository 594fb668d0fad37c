//! The graph as text: a tree for each bus, with its sources and its rules; a table of types of events; problems.
//!
//! ```text
//! bus default: 12 events, 0.2/s, 3 matched by no rule
//! ├─ from shop: 12 events, 0.2/s
//! └─ rule sold: 9 events, 0.2/s
//!    └─ queue q: 9 events, 0.2/s
//! ```

use crate::printed::is_unsafe;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use fakemon_history::topology::{EventTypeRow, Finding, Node, NodeKind, NodeState, Severity, Topology};
use std::collections::HashMap;
use std::fmt::Write;

/// Sources of one bus that are shown.
const SOURCES_MAX: usize = 12;
/// Findings that are shown, the worst first.
const FINDINGS_MAX: usize = 50;

const TEXT: &str = "text grows as long as there is memory";

/// The whole page, for a terminal of `columns` columns.
pub(super) fn page(topology: &Topology, types: usize, columns: u16) -> String {
    let mut out = String::new();
    let counted =
        if topology.live { "counted since the start" } else { "what the rules of now match of the journal" };
    writeln!(out, "{} at position {}; {counted}, {}", topology.at, topology.position, topology.since).expect(TEXT);
    let tree = Tree::of(topology);
    for bus in topology.nodes.iter().filter(|node| node.kind == NodeKind::Bus) {
        writeln!(out, "\n{}", line(bus, bus.events, bus.per_second)).expect(TEXT);
        tree.branch(&mut out, bus, "");
    }
    for root in topology.nodes.iter().filter(|node| tree.is_root(node)) {
        writeln!(out, "\n{}", line(root, root.events, root.per_second)).expect(TEXT);
        tree.branch(&mut out, root, "");
    }
    if !topology.event_types.is_empty() {
        writeln!(out, "\n{}", table(topology, types, columns)).expect(TEXT);
    }
    out.push('\n');
    out.push_str(&findings(topology));
    out
}

/// Problems, one per line: the terminal wraps them.
pub(super) fn findings(topology: &Topology) -> String {
    if topology.findings.is_empty() {
        return "nothing is wrong\n".into();
    }
    let line = |finding: &Finding| {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let Finding { code, subject, message, .. } = finding;
        shown(&format!("{severity}[{code}] {subject}: {message}")) + "\n"
    };
    let mut lines: String = topology.findings.iter().take(FINDINGS_MAX).map(line).collect();
    if topology.findings.len() > FINDINGS_MAX {
        writeln!(lines, "and {} findings more: --json", topology.findings.len() - FINDINGS_MAX).expect(TEXT);
    }
    lines
}

struct Tree<'t> {
    nodes: HashMap<&'t str, &'t Node>,
    /// By node: the nodes that feed it, and those that it feeds, with events and rate.
    into: HashMap<&'t str, Vec<Step<'t>>>,
    out_of: HashMap<&'t str, Vec<Step<'t>>>,
}

type Step<'t> = (&'t str, u64, Option<f64>);

impl<'t> Tree<'t> {
    fn of(topology: &'t Topology) -> Tree<'t> {
        let nodes = topology.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let (mut into, mut out_of): (HashMap<_, Vec<_>>, HashMap<_, Vec<_>>) = Default::default();
        for edge in &topology.edges {
            into.entry(edge.to.as_str()).or_default().push((edge.from.as_str(), edge.events, edge.per_second));
            out_of.entry(edge.from.as_str()).or_default().push((edge.to.as_str(), edge.events, edge.per_second));
        }
        Tree { nodes, into, out_of }
    }

    /// Whether a node has a tree of its own, beside the buses: schedules, and what pipes read.
    fn is_root(&self, node: &Node) -> bool {
        let feeds_pipe = || {
            let fed = self.out_of.get(node.id.as_str()).into_iter().flatten();
            fed.into_iter().any(|(id, ..)| self.is(id, NodeKind::Pipe))
        };
        match node.kind {
            NodeKind::ScheduleGroup => true,
            NodeKind::Queue | NodeKind::Source => feeds_pipe(),
            NodeKind::Bus | NodeKind::Rule | NodeKind::Target | NodeKind::Pipe => false,
        }
    }

    /// Writes the tree below a node. It ends at the next bus, which has a tree of its own.
    fn branch(&self, out: &mut String, of: &Node, indent: &str) {
        let feeds = if of.kind == NodeKind::Bus { self.feeds(&of.id) } else { Vec::new() };
        let below = self.out_of.get(of.id.as_str()).into_iter().flatten();
        let below = below.filter_map(|(id, events, rate)| Some((*self.nodes.get(id)?, *events, *rate)));
        let below = below.filter(|(node, ..)| node.kind != NodeKind::Bus);
        let below = below.map(|(node, events, rate)| (line(node, events, rate), Some(node)));
        let twigs: Vec<(String, Option<&Node>)> = feeds.into_iter().map(|feed| (feed, None)).chain(below).collect();
        let last = twigs.len().saturating_sub(1);
        for (index, (line, node)) in twigs.into_iter().enumerate() {
            let (twig, inner) = if index == last { ("└─", "   ") } else { ("├─", "│  ") };
            writeln!(out, "{indent}{twig} {line}").expect(TEXT);
            node.into_iter().for_each(|node| self.branch(out, node, &format!("{indent}{inner}")));
        }
    }

    /// The inputs of a bus: the largest sources, and rules of other buses.
    fn feeds(&self, bus: &str) -> Vec<String> {
        let into = || self.into.get(bus).into_iter().flatten();
        let mut sources: Vec<&Step<'_>> = into().filter(|step| self.is(step.0, NodeKind::Source)).collect();
        if sources.len() > SOURCES_MAX {
            sources.sort_by_key(|(_, events, _)| std::cmp::Reverse(*events));
        }
        let left_out = sources.split_off(sources.len().min(SOURCES_MAX));
        let source = |(id, events, rate): &Step<'_>| format!("from {}", line(self.nodes[id], *events, *rate));
        let mut feeds: Vec<String> = sources.into_iter().map(source).collect();
        if !left_out.is_empty() {
            let events = left_out.iter().map(|(_, events, _)| events).sum();
            feeds.push(format!("from {} sources more: {}", left_out.len(), counted(events)));
        }
        let rules = into().filter(|step| self.is(step.0, NodeKind::Target));
        feeds.extend(rules.map(|(id, events, _)| format!("from rule {}: {}", shown(rule_of(id)), counted(*events))));
        for (id, events, rate) in into() {
            if self.is(id, NodeKind::Pipe) || self.is(id, NodeKind::ScheduleGroup) {
                feeds.push(format!("from {}", line(self.nodes[id], *events, *rate)));
            }
        }
        feeds
    }

    fn is(&self, id: &str, kind: NodeKind) -> bool {
        self.nodes.get(id).is_some_and(|node| node.kind == kind)
    }
}

fn line(node: &Node, events: u64, per_second: Option<f64>) -> String {
    let kind = match node.kind {
        NodeKind::Bus => "bus ",
        NodeKind::Rule => "rule ",
        NodeKind::Pipe => "pipe ",
        NodeKind::ScheduleGroup => "schedules ",
        NodeKind::Source | NodeKind::Target | NodeKind::Queue => "",
    };
    let mut said = Vec::new();
    if node.state == NodeState::Missing {
        said.push("MISSING".to_owned());
    }
    if node.state == NodeState::Failing {
        said.push("FAILING".to_owned());
    }
    said.push(counted(events));
    said.extend(per_second.filter(|rate| *rate > 0.0).map(|rate| format!("{rate}/s")));
    said.extend(Some(node.note.clone()).filter(|note| !note.is_empty()));
    shown(&format!("{kind}{}: {}", node.name, said.join(", ")))
}

fn counted(events: u64) -> String {
    format!("{events} {}", if events == 1 { "event" } else { "events" })
}

/// Bus and name of the rule that a target belongs to.
fn rule_of(target: &str) -> &str {
    let of = target.trim_start_matches("target/");
    of.rsplit_once('/').map_or(of, |(rule, _)| rule)
}

/// Replaces characters in foreign names that a terminal would interpret.
fn shown(text: &str) -> String {
    text.chars().map(|one| if is_unsafe(one) || one.is_control() { '\u{FFFD}' } else { one }).collect()
}

fn table(topology: &Topology, types: usize, columns: u16) -> String {
    let mut rows: Vec<&EventTypeRow> = topology.event_types.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.events));
    let left_out = rows.len().saturating_sub(types);
    rows.truncate(types);
    rows.sort_by(|a, b| (&a.bus, &a.source, &a.detail_type).cmp(&(&b.bus, &b.source, &b.detail_type)));
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(columns);
    table.set_header(["bus", "source", "detail-type", "schema", "events", "/s", "unmatched", "taken by"]);
    for row in rows {
        let rate = row.per_second.map(|rate| rate.to_string()).unwrap_or_default();
        table.add_row([
            row.bus.clone(),
            shown(&row.source),
            shown(&row.detail_type),
            row.schema_version.map(|version| format!("v{version}")).unwrap_or_default(),
            row.events.to_string(),
            rate,
            row.unmatched.to_string(),
            taken_by(row),
        ]);
    }
    for column in 4..7 {
        table.column_mut(column).into_iter().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    }
    match left_out {
        0 => table.trim_fmt(),
        more => format!("{}\nand {more} types more, with fewer events: --types", table.trim_fmt()),
    }
}

/// The rules that match a type of event, or that none does.
fn taken_by(row: &EventTypeRow) -> String {
    const SHOWN: usize = 4;
    if row.rules.is_empty() {
        return "nobody".into();
    }
    let mut names: Vec<String> = row.rules.keys().take(SHOWN).cloned().collect();
    if row.rules.len() > SHOWN {
        names.push(format!("and {} more", row.rules.len() - SHOWN));
    }
    names.join(", ")
}
