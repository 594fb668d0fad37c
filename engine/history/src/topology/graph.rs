//! Nodes and edges, from the resources and the counts.

mod schedules;

use super::{Edge, Node, NodeKind, NodeState, OTHERS, Seen, TargetSeen};
use fakemon_delivery::{Flow, TypeTraffic};
use fakemon_model::names::{BusName, RuleName};
use fakemon_resource::resource::{DesiredState, Pipe, Rule, Target};
use fakemon_resource::{Destination, Registry};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Sources with a node of their own: those with the most events.
const SOURCES_MAX: usize = 100;

#[derive(Default)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
}

impl Graph {
    pub(super) fn of(seen: &Seen<'_>) -> Graph {
        let mut graph = Graph::default();
        graph.sources(seen);
        graph.buses(seen);
        for rule in seen.registry.rules.values() {
            graph.rule(seen, rule);
        }
        for target in seen.registry.targets.values() {
            graph.target(seen, target);
        }
        for pipe in seen.registry.pipes.values() {
            graph.pipe(seen, pipe);
        }
        graph.schedule_groups(seen);
        graph
    }

    fn edge(&mut self, from: &str, to: String, events: u64, per_second: Option<f64>) {
        self.edges.push(Edge { from: from.to_owned(), to, events, per_second });
    }

    fn sources(&mut self, seen: &Seen<'_>) {
        let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
        for traffic in seen.traffic.values() {
            traffic.types.iter().for_each(|(of, one)| *totals.entry(&of.source).or_default() += emitted(one));
        }
        let mut largest: Vec<(&str, u64)> = totals.into_iter().collect();
        largest.sort_by_key(|(_, events)| std::cmp::Reverse(*events));
        largest.truncate(SOURCES_MAX);
        let named = |source: &str| match largest.iter().any(|(large, _)| *large == source) {
            true => source.to_owned(),
            false => OTHERS.to_owned(),
        };
        let mut flows: BTreeMap<(String, &str), (u64, u64)> = BTreeMap::new();
        for (bus, traffic) in seen.traffic {
            let types = traffic.types.iter().map(|(of, one)| (named(&of.source), one));
            let others = [(OTHERS.to_owned(), &traffic.others)];
            for (source, one) in types.chain(others).filter(|(_, one)| emitted(one) > 0) {
                let last_minute = |now| one.flow.last_minute(now).saturating_sub(one.forwarded.last_minute(now));
                let sum = flows.entry((source, bus)).or_default();
                sum.0 += emitted(one);
                sum.1 += seen.now.map_or(0, last_minute);
            }
        }
        let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for ((source, bus), (events, last_minute)) in &flows {
            let sum = sums.entry(source).or_default();
            (sum.0, sum.1) = (sum.0 + events, sum.1 + last_minute);
            let per_second = seen.per_second(|_| *last_minute);
            self.edge(&format!("source/{source}"), format!("bus/{bus}"), *events, per_second);
        }
        for (source, (events, last_minute)) in sums {
            self.nodes.push(Node {
                id: format!("source/{source}"),
                kind: NodeKind::Source,
                name: source.to_owned(),
                state: NodeState::Ok,
                events,
                per_second: seen.per_second(|_| last_minute),
                note: String::new(),
                detail: Map::new(),
            });
        }
    }

    fn buses(&mut self, seen: &Seen<'_>) {
        for bus in seen.registry.buses.values() {
            let traffic = seen.traffic.get(&bus.name);
            let (events, unmatched) = traffic.map_or((0, 0), |traffic| traffic.totals());
            let types = traffic.into_iter().flat_map(|traffic| traffic.types.values());
            let last_minute = |now| types.map(|one| one.flow.last_minute(now)).sum();
            self.nodes.push(Node {
                id: format!("bus/{}", bus.name),
                kind: NodeKind::Bus,
                name: bus.name.clone(),
                state: NodeState::Ok,
                events,
                per_second: seen.per_second(last_minute),
                note: if unmatched > 0 { format!("{unmatched} matched by no rule") } else { String::new() },
                detail: Map::from_iter([("unmatched".to_owned(), json!(unmatched))]),
            });
        }
    }

    fn rule(&mut self, seen: &Seen<'_>, rule: &Rule) {
        let id = format!("rule/{}/{}", rule.bus, rule.name);
        let flow = flow_of(seen, BusName(&rule.bus), RuleName(&rule.name));
        let events = flow.map_or(0, |flow| flow.events);
        let per_second = seen.per_second(|now| flow.map_or(0, |flow| flow.last_minute(now)));
        let since = seen.since.max(rule.created_at);
        let (state, note) = match &rule.schedule {
            _ if !rule.is_enabled() => (NodeState::Disabled, "disabled".to_owned()),
            Some(schedule) if rule.pattern.is_none() => (NodeState::Ok, schedule.clone()),
            _ if events == 0 => (NodeState::Silent, format!("never matched since {since}")),
            _ => (NodeState::Ok, String::new()),
        };
        let mut detail = Map::new();
        detail.insert("since".into(), json!(since.to_string()));
        if let Some(pattern) = &rule.pattern {
            detail.insert("pattern".into(), serde_json::from_str(pattern).unwrap_or_default());
        }
        detail.extend(flow.map(|flow| ("last_matched_at".to_owned(), json!(flow.last_at.to_string()))));
        self.edge(&format!("bus/{}", rule.bus), id.clone(), events, per_second);
        let name = rule.name.clone();
        self.nodes.push(Node { id, kind: NodeKind::Rule, name, state, events, per_second, note, detail });
    }

    fn target(&mut self, seen: &Seen<'_>, target: &Target) {
        let Target { bus, rule, id: name, .. } = target;
        let id = format!("target/{bus}/{rule}/{name}");
        let taken = seen.targets.get(&(bus.clone(), rule.clone(), name.clone()));
        // Without an engine, the events that its rule matched are those it would get.
        let matched = flow_of(seen, BusName(bus), RuleName(rule)).map_or(0, |flow| flow.events);
        let events = taken.map_or(matched, |taken| taken.delivered);
        let per_second = seen.per_second(|_| taken.map_or(0, |taken| taken.last_minute));
        let destination = Destination::of(&target.arn);
        let failing = taken.is_some_and(|taken| taken.failing_since.is_some());
        let state = match missing(seen.registry, &destination) {
            Some(_) => NodeState::Missing,
            None if failing => NodeState::Failing,
            None => NodeState::Ok,
        };
        let note = missing(seen.registry, &destination).or_else(|| taken.map(note)).unwrap_or_default();
        self.edge(&format!("rule/{bus}/{rule}"), id.clone(), events, per_second);
        if let Destination::Bus(to) = &destination {
            self.edge(&id, format!("bus/{to}"), events, per_second);
        }
        if let Some(Destination::Queue(queue)) = target.dead_letter_arn.as_deref().map(Destination::of) {
            self.dead_letters(&id, &queue, taken.map_or(0, |taken| taken.dead_letters));
        }
        let (detail, name) = (detail(target, taken), label(&destination, &target.arn));
        self.nodes.push(Node { id, kind: NodeKind::Target, name, state, events, per_second, note, detail });
    }

    /// What a pipe reads, the pipe, and what it feeds.
    fn pipe(&mut self, seen: &Seen<'_>, pipe: &Pipe) {
        let id = format!("pipe/{}", pipe.name);
        let events = seen.pipes.get(&pipe.name).copied().unwrap_or_default();
        let (source, target) = (Destination::of(&pipe.source), Destination::of(&pipe.target));
        let from = match &source {
            Destination::Bus(name) => format!("bus/{name}"),
            Destination::Queue(name) => {
                self.end(format!("queue/{name}"), NodeKind::Queue, label(&source, ""), events)
            }
            other => {
                let name = label(other, &pipe.source);
                self.end(format!("source/{name}"), NodeKind::Source, name, events)
            }
        };
        let to = match &target {
            Destination::Bus(name) => format!("bus/{name}"),
            other => self.end(format!("target/{id}"), NodeKind::Target, label(other, &pipe.target), events),
        };
        let gone = missing(seen.registry, &target);
        let state = match pipe.desired_state {
            _ if gone.is_some() => NodeState::Missing,
            DesiredState::Stopped => NodeState::Disabled,
            DesiredState::Running => NodeState::Ok,
        };
        self.edge(&from, id.clone(), events, None);
        self.edge(&id, to, events, None);
        let (name, note, detail) = (pipe.name.clone(), gone.unwrap_or_default(), Map::new());
        self.nodes.push(Node { id, kind: NodeKind::Pipe, name, state, events, per_second: None, note, detail });
    }

    /// A node at an end of a pipe, added unless it exists already; returns its id.
    fn end(&mut self, id: String, kind: NodeKind, name: String, events: u64) -> String {
        if !self.nodes.iter().any(|node| node.id == id) {
            let (state, note, detail) = (NodeState::Ok, String::new(), Map::new());
            self.nodes.push(Node { id: id.clone(), kind, name, state, events, per_second: None, note, detail });
        }
        id
    }

    fn dead_letters(&mut self, target: &str, queue: &str, letters: u64) {
        let id = format!("queue/{queue}");
        self.edge(target, id.clone(), letters, None);
        match self.nodes.iter_mut().find(|node| node.id == id) {
            Some(node) => node.events += letters,
            None => self.nodes.push(Node {
                id,
                kind: NodeKind::Queue,
                name: format!("queue {queue}"),
                state: NodeState::Ok,
                events: letters,
                per_second: None,
                note: "dead letters".into(),
                detail: Map::new(),
            }),
        }
    }
}

/// The events that a source emitted itself; the others came from another bus, by a rule.
fn emitted(one: &TypeTraffic) -> u64 {
    one.flow.events - one.forwarded.events
}

fn flow_of<'s>(seen: &'s Seen<'_>, BusName(bus): BusName<'_>, RuleName(rule): RuleName<'_>) -> Option<&'s Flow> {
    seen.traffic.get(bus)?.rules.get(rule)
}

/// The name of a target as shown to people.
pub(super) fn label(destination: &Destination, arn: &str) -> String {
    match destination {
        Destination::Queue(name) => format!("queue {name}"),
        Destination::LogGroup(name) => format!("log group {name}"),
        Destination::Bus(name) => format!("bus {name}"),
        Destination::Webhook(name) => format!("webhook {name}"),
        Destination::Answers(name) => format!("answer webhook {name}"),
        Destination::Capture => "capture service".into(),
        Destination::Players => "players".into(),
        Destination::Player(name) => format!("player {name}"),
        Destination::Function(name) => format!("function {name}"),
        _ => arn.to_owned(),
    }
}

/// What a destination refers to that does not exist.
pub(super) fn missing(registry: &Registry, destination: &Destination) -> Option<String> {
    let is_there = match destination {
        Destination::Queue(name) => registry.queues.contains_key(name),
        Destination::LogGroup(name) => registry.log_groups.contains_key(name),
        Destination::Bus(name) => registry.buses.contains_key(name),
        Destination::Webhook(name) => match registry.destinations.get(name) {
            Some(held) if !registry.connections.contains_key(&held.connection) => {
                return Some(format!("its connection {} is not there", held.connection));
            }
            held => held.is_some(),
        },
        Destination::Answers(name) => registry.answer_webhooks.contains_key(name),
        Destination::Unknown => return Some("nothing here has such an ARN".into()),
        _ => true,
    };
    (!is_there).then(|| "it is not there".into())
}

fn note(taken: &TargetSeen) -> String {
    let mut said = Vec::new();
    if let Some(since) = taken.failing_since {
        said.push(format!("failing since {since} ({})", taken.error_code));
    }
    for (count, what) in [(taken.backlog, "waiting"), (taken.dead_letters, "dead letters"), (taken.lost, "lost")] {
        if count > 0 {
            said.push(format!("{count} {what}"));
        }
    }
    said.join(", ")
}

fn detail(target: &Target, taken: Option<&TargetSeen>) -> Map<String, Value> {
    let mut detail = Map::from_iter([("arn".to_owned(), json!(target.arn)), ("id".to_owned(), json!(target.id))]);
    let Some(taken) = taken else { return detail };
    for (name, count) in [
        ("delivered", taken.delivered),
        ("backlog", taken.backlog),
        ("dead_letters", taken.dead_letters),
        ("lost", taken.lost),
        ("failed_attempts", taken.failed_attempts),
    ] {
        detail.insert(name.into(), json!(count));
    }
    for (name, at) in [("failing_since", taken.failing_since), ("oldest_at", taken.oldest_at)] {
        detail.extend(at.map(|at| (name.to_owned(), json!(at.to_string()))));
    }
    if taken.failing_since.is_some() {
        detail.insert("error_code".into(), json!(taken.error_code));
        detail.insert("error_message".into(), json!(taken.error_message));
    }
    detail
}
