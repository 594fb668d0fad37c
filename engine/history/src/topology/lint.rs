//! Problems: targets and schedules that lead nowhere or whose deliveries fail, rules that do nothing or everything
//! twice, buses that feed each other, events whose shape changed.

use super::drift::{Drifted, drifted};
use super::graph::{label, missing};
use super::{Finding, Seen, Severity};
use fakemon_model::envelope::{COMMAND_REFUSED, SOURCE_CAPTURE};
use fakemon_model::ids::Timestamp;
use fakemon_model::names::{BusName, RuleName};
use fakemon_pattern::pattern::Pattern;
use fakemon_pipe::is_journal;
use fakemon_resource::resource::{DesiredState, Rule, Target};
use fakemon_resource::{Destination, GAME_BUS, Registry};
use fakemon_schedule::destinations;
use std::collections::{BTreeMap, VecDeque};

/// All problems, the worst first.
pub(super) fn findings(seen: &Seen<'_>, at: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    for target in seen.registry.targets.values() {
        findings.extend(unreachable(seen.registry, target));
        findings.extend(failing(seen, target));
    }
    findings.extend(seen.registry.rules.values().filter_map(uncompiled_rule));
    for rule in seen.registry.rules.values().filter(|rule| rule.is_enabled()) {
        findings.extend(without_targets(seen.registry, rule));
        findings.extend(never_matched(seen, rule));
    }
    for archive in seen.registry.archives.values() {
        let of = format!("archive/{}", archive.name);
        findings.extend(uncompiled(Severity::Error, of, archive.pattern.as_deref()));
    }
    findings.extend(twice(seen.registry));
    findings.extend(loops(seen.registry));
    findings.extend(capture_loops(seen.registry));
    findings.extend(lost_schedules(seen.registry));
    findings.extend(drifted(seen, at).map(|drifted| {
        let Drifted { bus, source, detail_type, version, at } = drifted;
        let message = format!(
            "the shape of {detail_type} from {source} changed at {at}, it is version {version} now; `fakemon schemas \
             check` compares versions"
        );
        finding(Severity::Warning, "schema_drift", format!("bus/{bus}"), message)
    }));
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// Schedules whose destination does not exist: one finding per destination, with their number.
fn lost_schedules(registry: &Registry) -> Vec<Finding> {
    let mut lost: BTreeMap<(String, String), (usize, String)> = BTreeMap::new();
    for schedule in registry.schedules.values().filter(|schedule| schedule.enabled) {
        for (destination, arn) in destinations(&schedule.target) {
            if let Some(what) = missing(registry, &destination) {
                let place = (schedule.group.clone(), label(&destination, &arn));
                lost.entry(place).or_insert((0, what)).0 += 1;
            }
        }
    }
    let told = lost.into_iter().map(|((group, to), (count, what))| {
        let message = format!("{count} of its schedules lead to {to}: {what}; make it, or change them");
        finding(Severity::Error, "schedule_target_missing", format!("schedule-group/{group}"), message)
    });
    told.collect()
}

fn finding(severity: Severity, code: &str, subject: String, message: String) -> Finding {
    Finding { severity, code: code.into(), subject, message }
}

fn id_of(target: &Target) -> String {
    format!("target/{}/{}/{}", target.bus, target.rule, target.id)
}

/// The destination of a target does not exist, or refuses every caller.
fn unreachable(registry: &Registry, target: &Target) -> Vec<Finding> {
    let mut findings = Vec::new();
    let destination = Destination::of(&target.arn);
    let mut error = |code: &str, message: String| {
        findings.push(finding(Severity::Error, code, id_of(target), message));
    };
    if let Some(what) = missing(registry, &destination) {
        error("target_missing", format!("{}: {what}; make it, or remove the target", target.arn));
    }
    if let Destination::Webhook(name) = &destination {
        let connection = registry.destinations.get(name).and_then(|held| registry.connections.get(&held.connection));
        if let Some(connection) = connection.filter(|connection| connection.state == "DEAUTHORIZED") {
            let message = format!("its connection {} is not authorized: UpdateConnection", connection.name);
            error("connection_not_authorized", message);
        }
    }
    match target.dead_letter_arn.as_deref().map(Destination::of) {
        Some(Destination::Queue(queue)) if registry.queues.contains_key(&queue) => {}
        Some(_) => {
            let arn = target.dead_letter_arn.as_deref().unwrap_or_default();
            error("dead_letter_queue_missing", format!("{arn} is not there: what is given up is lost; make it"));
        }
        None if destination.is_outside() => {
            let message = "it has no dead-letter queue: what is given up is lost; give DeadLetterConfig".to_owned();
            findings.push(finding(Severity::Warning, "no_dead_letter_queue", id_of(target), message));
        }
        None => {}
    }
    findings
}

fn failing(seen: &Seen<'_>, target: &Target) -> Option<Finding> {
    let taken = seen.targets.get(&(target.bus.clone(), target.rule.clone(), target.id.clone()))?;
    let since = taken.failing_since?;
    let (code, why, waiting) = (&taken.error_code, &taken.error_message, taken.backlog);
    let message = format!("it fails since {since} ({code}: {why}); {waiting} waiting");
    Some(finding(Severity::Error, "target_failing", id_of(target), message))
}

fn without_targets(registry: &Registry, rule: &Rule) -> Option<Finding> {
    let has_none = registry.targets_of(BusName(&rule.bus), RuleName(&rule.name)).next().is_none();
    let message = || "it has no target: what it matches goes nowhere; PutTargets, or disable it".to_owned();
    has_none.then(|| finding(Severity::Warning, "rule_without_targets", id_of_rule(rule), message()))
}

fn id_of_rule(rule: &Rule) -> String {
    format!("rule/{}/{}", rule.bus, rule.name)
}

fn uncompiled_rule(rule: &Rule) -> Option<Finding> {
    // One that is switched off loses nothing yet.
    let severity = if rule.is_enabled() { Severity::Error } else { Severity::Warning };
    uncompiled(severity, id_of_rule(rule), rule.pattern.as_deref())
}

/// A pattern that an older version accepted, and that this one cannot compile.
fn uncompiled(severity: Severity, of: String, pattern: Option<&str>) -> Option<Finding> {
    let error = Pattern::parse(pattern?).err()?;
    let message = format!("its pattern cannot be compiled ({error}): it matches nothing; put another one");
    Some(finding(severity, "pattern_not_compiled", of, message))
}

fn never_matched(seen: &Seen<'_>, rule: &Rule) -> Option<Finding> {
    let traffic = seen.traffic.get(&rule.bus);
    let matched = traffic.and_then(|traffic| traffic.rules.get(&rule.name));
    let pattern = rule.pattern.as_deref().filter(|_| matched.is_none())?;
    let since = seen.since.max(rule.created_at);
    let pattern = Pattern::parse(pattern).ok()?;
    let types = traffic.into_iter().flat_map(|traffic| &traffic.types);
    let admitted = types.filter(|(of, _)| pattern.admits(&of.source, &of.detail_type));
    let why = match admitted.map(|(_, one)| one.flow.events).sum::<u64>() {
        0 => "the bus had no event of a type that its pattern admits".to_owned(),
        events => format!("{events} events had a type that it admits, the rest of its pattern refused them"),
    };
    let message = format!("it never matched since {since}: {why}; try `fakemon rules test`");
    Some(finding(Severity::Warning, "rule_never_matched", id_of_rule(rule), message))
}

/// Rules of one bus with the same pattern and a target in common: the target gets everything twice.
fn twice(registry: &Registry) -> Vec<Finding> {
    let mut first: BTreeMap<(&str, String, String), &Rule> = BTreeMap::new();
    let mut findings = Vec::new();
    for rule in registry.rules.values().filter(|rule| rule.is_enabled()) {
        let Some(pattern) = rule.pattern.as_deref().and_then(canonical) else { continue };
        for target in registry.targets_of(BusName(&rule.bus), RuleName(&rule.name)) {
            let shape = format!("{} {:?} {:?} {:?}", target.arn, target.input, target.input_path, target.transformer);
            let held = first.entry((rule.bus.as_str(), pattern.clone(), shape)).or_insert(rule);
            if held.name != rule.name {
                let message =
                    format!("rule {} has the same pattern and target: it gets every event twice", held.name);
                findings.push(finding(Severity::Warning, "rule_shadowed", id_of(target), message));
            }
        }
    }
    findings
}

/// The same text for patterns that differ only in spaces and in the order of members.
fn canonical(pattern: &str) -> Option<String> {
    let value: BTreeMap<String, serde_json::Value> = serde_json::from_str(pattern).ok()?;
    serde_json::to_string(&value).ok()
}

/// Events that carrying out a command leads to, on the bus of the game.
const OF_COMMANDS: [(&str, &str); 5] = [
    ("fakemon.world", "fakemon.appeared"),
    ("fakemon.world", "fakemon.vanished"),
    (SOURCE_CAPTURE, "fakemon.capture_succeeded"),
    (SOURCE_CAPTURE, "fakemon.capture_failed"),
    (SOURCE_CAPTURE, COMMAND_REFUSED),
];

/// Rules and pipes that make commands of what commands lead to: a loop ends after eight rounds, as one of buses does.
fn capture_loops(registry: &Registry) -> Vec<Finding> {
    // The buses from which events become commands, and the next rule on that way.
    let mut ways: BTreeMap<String, String> = BTreeMap::new();
    let targets: Vec<(&Rule, Destination)> = registry
        .targets
        .values()
        .filter_map(|target| {
            let rule = registry.rules.get(&(target.bus.clone(), target.rule.clone()))?;
            rule.is_enabled().then(|| (rule, Destination::of(&target.arn)))
        })
        .collect();
    let mut found = Vec::new();
    loop {
        let before = ways.len();
        for (rule, to) in &targets {
            let way = match to {
                Destination::Capture => format!("{} -{}-> capture", rule.bus, rule.name),
                Destination::Bus(bus) => match ways.get(bus) {
                    Some(way) => format!("{} -{}-> {way}", rule.bus, rule.name),
                    None => continue,
                },
                _ => continue,
            };
            if rule.bus != GAME_BUS {
                ways.entry(rule.bus.clone()).or_insert(way);
            } else if takes_what_commands_do(rule.pattern.as_deref())
                && !found.iter().any(|(id, _)| *id == id_of_rule(rule))
            {
                found.push((id_of_rule(rule), way));
            }
        }
        if ways.len() == before {
            break;
        }
    }
    let pipes = registry.pipes.values().filter(|pipe| {
        pipe.desired_state == DesiredState::Running
            && Destination::of(&pipe.target) == Destination::Capture
            && (is_journal(&pipe.source) || Destination::of(&pipe.source) == Destination::Bus(GAME_BUS.to_owned()))
            && filters_take_what_commands_do(&pipe.source_parameters)
    });
    found.extend(pipes.map(|pipe| (format!("pipe/{}", pipe.name), format!("{GAME_BUS} -{}-> capture", pipe.name))));
    let told = found.into_iter().map(|(of, way)| {
        let message = format!(
            "commands lead to events that become commands: {way} -> {GAME_BUS}; let the pattern leave out what the \
             capture service says"
        );
        finding(Severity::Warning, "capture_loop", of, message)
    });
    told.collect()
}

fn takes_what_commands_do(pattern: Option<&str>) -> bool {
    let pattern = pattern.and_then(|pattern| Pattern::parse(pattern).ok());
    pattern.is_some_and(|pattern| OF_COMMANDS.iter().any(|(source, detail_type)| pattern.admits(source, detail_type)))
}

/// Whether the filters of a pipe take any of it; one without filters takes all.
fn filters_take_what_commands_do(parameters: &serde_json::Value) -> bool {
    let filters = parameters["FilterCriteria"]["Filters"].as_array().filter(|filters| !filters.is_empty());
    filters.is_none_or(|filters| filters.iter().any(|filter| takes_what_commands_do(filter["Pattern"].as_str())))
}

/// Buses whose rules hand events round in a circle: an event ends after eight hops, and appears each time until then.
fn loops(registry: &Registry) -> Vec<Finding> {
    let mut ways: BTreeMap<&str, Vec<(&str, String)>> = BTreeMap::new();
    for target in registry.targets.values() {
        let rule = registry.rules.get(&(target.bus.clone(), target.rule.clone()));
        if let Destination::Bus(to) = Destination::of(&target.arn)
            && rule.is_some_and(|rule| rule.is_enabled())
        {
            ways.entry(&target.bus).or_default().push((&target.rule, to));
        }
    }
    let round = |bus: &&str| {
        let path = shortest_round(&ways, bus)?;
        // Reported once, at the bus whose name comes first.
        path.iter().all(|(_, to)| to.as_str() >= *bus).then(|| {
            let shown: String = path.iter().map(|(rule, to)| format!(" -{rule}-> {to}")).collect();
            let message = format!("rules hand events round: {bus}{shown}; make their patterns exclude each other");
            finding(Severity::Warning, "bus_loop", format!("bus/{bus}"), message)
        })
    };
    ways.keys().filter_map(round).collect()
}

/// Rules and the buses they lead to, from a bus back to it.
fn shortest_round(ways: &BTreeMap<&str, Vec<(&str, String)>>, start: &str) -> Option<Vec<(String, String)>> {
    let mut paths: VecDeque<Vec<(String, String)>> = VecDeque::from([Vec::new()]);
    let mut been = std::collections::BTreeSet::new();
    while let Some(path) = paths.pop_front() {
        let at = path.last().map_or(start, |(_, to)| to.as_str()).to_owned();
        for (rule, to) in ways.get(at.as_str()).into_iter().flatten() {
            let mut longer = path.clone();
            longer.push(((*rule).to_owned(), to.clone()));
            if to == start {
                return Some(longer);
            }
            if been.insert(to.clone()) {
                paths.push_back(longer);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use fakemon_resource::resource::{RuleState, Tags};

    fn rule(name: &str, pattern: &str, state: RuleState) -> Rule {
        Rule {
            bus: "default".into(),
            name: name.into(),
            pattern: Some(pattern.into()),
            schedule: None,
            state,
            description: None,
            role_arn: None,
            region: "local".into(),
            created_at: Timestamp(1),
            tags: Tags::default(),
        }
    }

    #[test]
    fn a_pattern_that_cannot_be_compiled_is_an_error_and_a_warning_while_its_rule_is_off() {
        let old = r#"{"source":[{"soundex":"shop"}]}"#;
        assert!(uncompiled_rule(&rule("sound", r#"{"source":["shop"]}"#, RuleState::Enabled)).is_none());
        for (state, severity) in [(RuleState::Enabled, Severity::Error), (RuleState::Disabled, Severity::Warning)] {
            let found = uncompiled_rule(&rule("old", old, state)).expect("it is found");
            assert_eq!((found.severity, found.code.as_str()), (severity, "pattern_not_compiled"));
            assert_eq!(found.subject, "rule/default/old");
            assert!(found.message.starts_with("its pattern cannot be compiled"), "{}", found.message);
        }
    }
}
