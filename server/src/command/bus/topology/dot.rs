//! The graph for Graphviz: from left to right, problems in colour.

use crate::printed::is_unsafe;
use fakemon_history::topology::{Node, NodeKind, NodeState, Topology};
use std::fmt::Write;

const TEXT: &str = "text grows as long as there is memory";

/// A digraph.
pub(super) fn graph(topology: &Topology) -> String {
    let mut out = String::from("digraph fakemon {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
    for node in &topology.nodes {
        let (id, label) = (quoted(&node.id), quoted(&label(node)));
        writeln!(out, "  {id} [label={label}, shape={}{}];", shape(node.kind), style(node.state)).expect(TEXT);
    }
    for edge in &topology.edges {
        let label = match edge.per_second {
            Some(rate) => format!("{} ({rate}/s)", edge.events),
            None => edge.events.to_string(),
        };
        let style = if edge.events == 0 { ", style=dashed" } else { "" };
        writeln!(out, "  {} -> {} [label={}{style}];", quoted(&edge.from), quoted(&edge.to), quoted(&label))
            .expect(TEXT);
    }
    out.push_str("}\n");
    out
}

fn label(node: &Node) -> String {
    match node.note.is_empty() {
        true => node.name.clone(),
        false => format!("{}\n{}", node.name, node.note),
    }
}

fn shape(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Source => "ellipse",
        NodeKind::Bus => "hexagon",
        NodeKind::Rule => "box",
        NodeKind::Target => "component",
        NodeKind::Queue => "cylinder",
        NodeKind::Pipe => "cds",
        NodeKind::ScheduleGroup => "folder",
    }
}

fn style(state: NodeState) -> &'static str {
    match state {
        NodeState::Ok => "",
        NodeState::Silent => ", style=dashed",
        NodeState::Disabled => ", style=dotted, fontcolor=gray",
        NodeState::Failing => ", color=red, fontcolor=red",
        NodeState::Missing => ", color=red, fontcolor=red, style=dashed",
    }
}

/// Quotes a foreign name, so that it cannot leave the quotation marks.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for one in text.chars() {
        match one {
            '"' | '\\' => quoted.extend(['\\', one]),
            '\n' => quoted.push_str("\\n"),
            one if is_unsafe(one) || one.is_control() => quoted.push('\u{FFFD}'),
            one => quoted.push(one),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_quotation_marks() {
        assert_eq!(quoted("a\"];x[label=\"\\\n\0"), "\"a\\\"];x[label=\\\"\\\\\\n\u{FFFD}\"");
    }
}
