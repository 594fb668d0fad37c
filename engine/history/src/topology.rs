//! Which sources emit events and which targets consume them: sources → buses → rules → targets as a graph, with the
//! flow along its edges; event types, including those that match no rule; and problems. Of a running engine, the
//! counts are the router's since the engine was opened, with rates; of a journal they are what the present rules
//! would have matched, exactly.
//!
//! - `drift`: types of events whose shape changed
//! - `graph`: nodes and edges
//! - `lint`: what is wrong
//! - `recount`: counts of a journal
//!
//! Nodes and edges are data: other participants (pipes, schedules) add their own.

mod drift;
mod graph;
mod lint;
mod recount;

use crate::archive::Archive;
use fakemon_capture::options::OpenError;
use fakemon_delivery::commands::is_command_type;
use fakemon_delivery::{BusTraffic, Course, Dispatcher, TypeTraffic};
use fakemon_journal::ReadError;
use fakemon_model::ids::{Position, Timestamp};
use fakemon_resource::Registry;
use graph::Graph;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Types of events in one answer: those with the most events.
const TYPES_MAX: usize = 10_000;
/// The name of all sources that are not counted separately.
pub const OTHERS: &str = "(others)";
/// The node that takes commands, from any bus and without a rule.
pub const CAPTURE_SERVICE: &str = "(capture service)";

/// The graph and what flows in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    /// The time of the counts (RFC 3339): now, or the last event of the journal.
    pub at: String,
    /// All events before this position are counted.
    pub position: String,
    /// Events from this moment on are counted.
    pub since: String,
    /// Whether it is of a running engine, with rates and deliveries.
    pub live: bool,
    /// The participants.
    pub nodes: Vec<Node>,
    /// The flow from one node to another.
    pub edges: Vec<Edge>,
    /// Types of events, by bus.
    pub event_types: Vec<EventTypeRow>,
    /// Problems, the worst first.
    pub findings: Vec<Finding>,
}

/// A participant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Unique: `source/NAME`, `bus/NAME`, `rule/BUS/NAME`, `target/BUS/RULE/ID`, `queue/NAME`, `pipe/NAME`,
    /// `schedule-group/NAME`.
    pub id: String,
    /// Its kind.
    pub kind: NodeKind,
    /// Its name, as shown to people.
    pub name: String,
    /// Its health.
    pub state: NodeState,
    /// Events that it emitted, carried, matched or took.
    pub events: u64,
    /// Events per second over the last minute; of a running engine only.
    pub per_second: Option<f64>,
    /// Its health in words; empty if there is nothing to say.
    pub note: String,
    /// More details, by name.
    pub detail: serde_json::Map<String, serde_json::Value>,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// A source of events.
    Source,
    Bus,
    /// A rule of a bus.
    Rule,
    /// A target of a rule.
    Target,
    /// A queue: for dead letters, or what a pipe reads.
    Queue,
    Pipe,
    /// A group of schedules.
    ScheduleGroup,
}

/// The health of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// No problem.
    Ok,
    /// A rule that never matched.
    Silent,
    /// A rule that is switched off.
    Disabled,
    /// A target whose deliveries fail.
    Failing,
    /// It leads to a destination that does not exist.
    Missing,
}

/// The flow from one node to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Id of a node.
    pub from: String,
    /// Id of a node.
    pub to: String,
    /// The number of events.
    pub events: u64,
    /// Events per second over the last minute; of a running engine only.
    pub per_second: Option<f64>,
}

/// A type of events on a bus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventTypeRow {
    pub bus: String,
    pub source: String,
    pub detail_type: String,
    /// The number of events.
    pub events: u64,
    /// Events per second over the last minute; of a running engine only.
    pub per_second: Option<f64>,
    /// How many no rule matched.
    pub unmatched: u64,
    /// The newest version of the schema that a discoverer made of it.
    #[serde(default)]
    pub schema_version: Option<u32>,
    /// When the last was handed to the disk.
    pub last_at: String,
    /// How many each rule matched; and of commands, how many the [`CAPTURE_SERVICE`] took.
    pub rules: BTreeMap<String, u64>,
}

/// A problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Its kind, for machines.
    pub code: String,
    /// The id of the node.
    pub subject: String,
    /// What is wrong, and how to fix it.
    pub message: String,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Events are lost, or are delivered to no target.
    Error,
    /// Probably not intended.
    Warning,
}

/// Called with the position and the end while a journal is counted.
pub type Progress<'p> = &'p mut dyn FnMut(Position, Position);

/// What the graph is made from.
struct Seen<'s> {
    registry: &'s Registry,
    traffic: &'s BTreeMap<String, BusTraffic>,
    /// By bus, rule and target id; empty without an engine.
    targets: BTreeMap<(String, String, String), TargetSeen>,
    /// What the targets of each pipe took, by name; empty without an engine.
    pipes: BTreeMap<String, u64>,
    /// By group and kind of destination, what their targets took; without an engine, what fired.
    schedules: BTreeMap<(String, String), u64>,
    since: Timestamp,
    /// None without an engine: then there are no rates.
    now: Option<Timestamp>,
}

/// Deliveries to a target.
#[derive(Clone, Debug, Default)]
struct TargetSeen {
    delivered: u64,
    last_minute: u64,
    backlog: u64,
    dead_letters: u64,
    lost: u64,
    failed_attempts: u64,
    failing_since: Option<Timestamp>,
    error_code: String,
    error_message: String,
    oldest_at: Option<Timestamp>,
}

/// A running engine: its deliveries and its position.
pub struct Running<'e> {
    /// Lanes, figures and journal of the deliveries.
    pub courier: &'e Dispatcher,
    /// The resources of now.
    pub registry: &'e Registry,
    /// What each pipe delivered, by name.
    pub pipes: BTreeMap<String, u64>,
    /// All events before it were matched against the rules of their bus.
    pub position: Position,
    /// Wall time.
    pub now: Timestamp,
}

/// The topology of a running engine.
pub fn live(running: Running<'_>) -> Topology {
    let Running { courier, registry, pipes, position, now } = running;
    let seen = Seen {
        registry,
        traffic: &courier.figures().traffic(),
        targets: targets(courier),
        pipes,
        schedules: schedules(courier),
        since: courier.figures().since(),
        now: Some(now),
    };
    seen.topology(now, position)
}

/// The topology of a journal with the rules at its end.
///
/// # Errors
/// When the journal, or the resources, cannot be read.
pub fn recorded(archive: &Archive, progress: Progress<'_>) -> Result<Topology, RecountError> {
    let registry = archive.resources()?;
    let counted = recount::count(archive, &registry, progress)?;
    let seen = Seen {
        registry: &registry,
        traffic: &counted.traffic,
        targets: BTreeMap::new(),
        pipes: BTreeMap::new(),
        schedules: counted.fired,
        since: counted.since,
        now: None,
    };
    Ok(seen.topology(counted.until, archive.end_position()))
}

/// Why a journal cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum RecountError {
    /// The resources cannot be read.
    #[error(transparent)]
    Resources(#[from] OpenError),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] ReadError),
}

fn schedules(courier: &Dispatcher) -> BTreeMap<(String, String), u64> {
    let mut taken = BTreeMap::new();
    for lane in courier.lanes().all() {
        let subscriber = &lane.id().subscriber;
        if let Some(group) = subscriber.group() {
            let delivered = lane.figures().delivered.load(std::sync::atomic::Ordering::Relaxed);
            *taken.entry((group.to_owned(), subscriber.target().to_owned())).or_default() += delivered;
        }
    }
    taken
}

fn targets(courier: &Dispatcher) -> BTreeMap<(String, String, String), TargetSeen> {
    use std::sync::atomic::{AtomicU64, Ordering};
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut targets: BTreeMap<_, TargetSeen> = BTreeMap::new();
    for lane in courier.lanes().all() {
        let (id, figures, health) = (lane.id(), lane.figures(), lane.health());
        let subscriber = &id.subscriber;
        let names = (subscriber.bus().to_owned(), subscriber.rule().into_owned(), subscriber.target().to_owned());
        let seen = targets.entry(names).or_default();
        seen.delivered += count(&figures.delivered);
        seen.last_minute += health.delivered_last_minute(courier.now());
        seen.backlog += lane.backlog();
        seen.dead_letters += count(&figures.dead_lettered);
        seen.lost += count(&figures.failed).saturating_sub(count(&figures.dead_lettered));
        if id.course == Course::Live {
            seen.failed_attempts = health.failed_attempts;
            seen.failing_since = health.failing_since.map(|since| courier.by_wall(since));
            (seen.error_code, seen.error_message) = (health.error_code, health.error_message);
            seen.oldest_at = courier.oldest_at(&lane);
        }
    }
    targets
}

impl Seen<'_> {
    fn topology(&self, at: Timestamp, position: Position) -> Topology {
        let graph = Graph::of(self);
        Topology {
            at: at.to_string(),
            position: position.to_string(),
            since: self.since.to_string(),
            live: self.now.is_some(),
            findings: lint::findings(self, at),
            event_types: self.event_types(),
            nodes: graph.nodes,
            edges: graph.edges,
        }
    }

    /// Events per second, from the count of the last minute.
    fn per_second(&self, last_minute: impl FnOnce(Timestamp) -> u64) -> Option<f64> {
        self.now.map(|now| (last_minute(now) as f64 / 60.0 * 100.0).round() / 100.0)
    }

    fn event_types(&self) -> Vec<EventTypeRow> {
        let mut rows = Vec::new();
        for (bus, traffic) in self.traffic {
            let row = |source: &str, detail_type: &str, one: &TypeTraffic| EventTypeRow {
                bus: bus.clone(),
                source: source.into(),
                detail_type: detail_type.into(),
                events: one.flow.events,
                per_second: self.per_second(|now| one.flow.last_minute(now)),
                unmatched: one.unmatched,
                schema_version: drift::newest(self.registry, source, detail_type).map(|newest| newest.version),
                last_at: one.flow.last_at.to_string(),
                rules: one.rules.clone(),
            };
            for (of, one) in &traffic.types {
                let mut row = row(&of.source, &of.detail_type, one);
                if is_command_type(&of.source, &of.detail_type) {
                    row.rules.insert(CAPTURE_SERVICE.into(), row.events);
                }
                rows.push(row);
            }
            if traffic.others.flow.events > 0 {
                rows.push(row(OTHERS, OTHERS, &traffic.others));
            }
        }
        if rows.len() > TYPES_MAX {
            rows.sort_by_key(|row| std::cmp::Reverse(row.events));
            rows.truncate(TYPES_MAX);
        }
        rows.sort_by(|a, b| (&a.bus, &a.source, &a.detail_type).cmp(&(&b.bus, &b.source, &b.detail_type)));
        rows
    }
}
