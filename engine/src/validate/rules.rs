//! Buses and what belongs to them: rules, targets, archives, replays, discoverers.

use super::fields::{self, Checked, wrong};
use fakemon_capture::options::Options;
use fakemon_delivery::schema::Enforcement;
use fakemon_model::limits::{DISCOVERERS_MAX, PATTERN_BYTES_MAX, RULES_OF_BUS_MAX, TARGETS_OF_RULE_MAX};
use fakemon_model::names::{BusName, RuleName};
use fakemon_pattern::pattern::{Pattern, WEIGHT_MAX};
use fakemon_pattern::transform::{Transform, TransformError};
use fakemon_queue::queue::is_id;
use fakemon_resource::resource::{Archive, Bus, Discoverer, HttpParameters, Replay, Rule, Tags, Target};
use fakemon_resource::{DEFAULT_BUS, Destination, Registry};
use fakemon_schedule::Expression;

/// Patterns that are lighter than this are not too much together, however many rules a bus may have.
const HEAVY: usize = WEIGHT_MAX / RULES_OF_BUS_MAX;
/// Names that a template may use.
const PATHS_MAX: usize = 100;

pub(super) fn bus(bus: &Bus, registry: &Registry) -> Checked {
    fields::name("name", &bus.name, 256, "/")?;
    fields::description(bus.description.as_deref())?;
    let is_new = !registry.buses.contains_key(&bus.name);
    if is_new && bus.name.contains('/') && !registry.event_sources.contains_key(&bus.name) {
        return wrong(
            "name",
            format!("only the bus of a partner event source has a `/`, and there is no {}", bus.name),
        );
    }
    let held = registry.buses.get(&bus.name);
    if held.is_none_or(|held| held.dead_letter_arn != bus.dead_letter_arn) {
        fields::dead_letter_arn(bus.dead_letter_arn.as_deref())?;
    }
    fields::tags(&bus.tags, held.map(|held| &held.tags))?;
    enforcement(&bus.tags, held.map(|held| &held.tags))
}

/// What a bus, or a rule, does with events that are not what their schema says.
fn enforcement(tags: &Tags, held: Option<&Tags>) -> Checked {
    let said = |tags: &Tags| tags.get(Enforcement::TAG).cloned();
    match said(tags).filter(|word| Enforcement::named(word).is_none()) {
        Some(word) if held.and_then(said).as_ref() != Some(&word) => {
            wrong("tags", format!("{} is off, warn or reject, not {word}", Enforcement::TAG))
        }
        _ => Ok(()),
    }
}

fn existing_bus(registry: &Registry, name: &str) -> Checked {
    match registry.buses.contains_key(name) {
        true => Ok(()),
        false => wrong("bus", format!("there is no bus {name}: make it first, or at once with this")),
    }
}

fn pattern(text: &str) -> Result<Pattern, (&'static str, String)> {
    if text.len() > PATTERN_BYTES_MAX {
        return Err(("pattern", format!("it must have at most {PATTERN_BYTES_MAX} bytes")));
    }
    Pattern::parse(text).map_err(|error| ("pattern", error.0))
}

pub(super) fn rule(rule: &Rule, registry: &Registry) -> Checked {
    fields::name("name", &rule.name, 64, "")?;
    existing_bus(registry, &rule.bus)?;
    fields::description(rule.description.as_deref())?;
    let held = registry.rules.get(&(rule.bus.clone(), rule.name.clone())).map(|held| &held.tags);
    fields::tags(&rule.tags, held)?;
    enforcement(&rule.tags, held)?;
    match &rule.schedule {
        Some(_) if rule.bus != DEFAULT_BUS => wrong("schedule", "only rules of the bus `default` have one")?,
        Some(text) => {
            Expression::parse(text).map_err(|error| ("schedule", error.to_string()))?;
        }
        None if rule.pattern.is_none() => wrong("pattern", "a rule has a pattern or a schedule")?,
        None => {}
    }
    let weight = rule.pattern.as_deref().map(pattern).transpose()?.map_or(0, |pattern| pattern.weight());
    if weight >= HEAVY {
        not_too_heavy(rule, weight, registry)?;
    }
    let is_new = !registry.rules.contains_key(&(rule.bus.clone(), rule.name.clone()));
    match is_new && registry.rules_of(&rule.bus).count() >= RULES_OF_BUS_MAX {
        true => wrong("bus", format!("{} has {RULES_OF_BUS_MAX} rules already", rule.bus)),
        false => Ok(()),
    }
}

fn not_too_heavy(rule: &Rule, weight: usize, registry: &Registry) -> Checked {
    let others = registry.rules_of(&rule.bus).filter(|other| other.name != rule.name);
    let weight_of = |text: &str| Pattern::parse(text).map_or(0, |pattern| pattern.weight());
    let together: usize = others.filter_map(|rule| rule.pattern.as_deref()).map(weight_of).sum();
    match together + weight > WEIGHT_MAX {
        true => wrong("pattern", format!("the rules of {} have over {WEIGHT_MAX} conditions together", rule.bus)),
        false => Ok(()),
    }
}

pub(super) fn target(target: &Target, registry: &Registry, options: &Options) -> Checked {
    fields::name("id", &target.id, 64, "")?;
    fields::arn("arn", &target.arn)?;
    if !registry.rules.contains_key(&(target.bus.clone(), target.rule.clone())) {
        return wrong("rule", format!("there is no rule {} on the bus {}", target.rule, target.bus));
    }
    input(target)?;
    fields::retry(target.retry)?;
    fields::dead_letter_arn(target.dead_letter_arn.as_deref())?;
    http(target.http.as_ref())?;
    destination(target, registry, options)?;
    let place = (target.bus.clone(), target.rule.clone(), target.id.clone());
    let is_new = !registry.targets.contains_key(&place);
    match is_new && registry.targets_of(BusName(&target.bus), RuleName(&target.rule)).count() >= TARGETS_OF_RULE_MAX {
        true => wrong("rule", format!("{} has {TARGETS_OF_RULE_MAX} targets already", target.rule)),
        false => Ok(()),
    }
}

/// What a kind of target needs besides its ARN, and whether anything here serves it.
fn destination(target: &Target, registry: &Registry, options: &Options) -> Checked {
    match Destination::of(&target.arn) {
        Destination::Unknown if !options.unserved_targets => wrong(
            "arn",
            format!(
                "nothing here serves {}: a target is a queue, a log group, an event bus, an API destination, an answer \
                 webhook, the capture service, players or a function; the option `unserved_targets` accepts others",
                target.arn
            ),
        ),
        Destination::Queue(queue) if queue.ends_with(".fifo") => {
            let group = target.given.get("SqsParameters").and_then(|sqs| sqs["MessageGroupId"].as_str());
            match group.is_some_and(is_id) {
                true => Ok(()),
                false => wrong("given", "a FIFO queue needs SqsParameters.MessageGroupId, 1 to 128 characters"),
            }
        }
        Destination::Webhook(name) if !registry.destinations.contains_key(&name) => {
            wrong("arn", format!("there is no API destination {name}"))
        }
        _ => Ok(()),
    }
}

/// At most one of the three, and that one can be carried out.
fn input(target: &Target) -> Checked {
    let Target { input, input_path, transformer, .. } = target;
    if [input.is_some(), input_path.is_some(), transformer.is_some()].into_iter().filter(|given| *given).count() > 1 {
        return wrong("input", "give one of input, input_path and transformer");
    }
    fields::text("input", input.as_deref().unwrap_or_default(), 0, 8_192)?;
    fields::text("input_path", input_path.as_deref().unwrap_or_default(), 0, 256)?;
    if input.as_ref().is_some_and(|input| serde_json::from_str::<serde_json::Value>(input).is_err()) {
        return wrong("input", "it must be JSON");
    }
    let fits = |name: &str| {
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        (1..=256).contains(&name.len()) && plain && !name.starts_with("AWS")
    };
    if let Some(transformer) = transformer {
        fields::text("transformer", &transformer.template, 1, 8_192)?;
        let (paths, named) = (&transformer.paths, transformer.paths.keys().all(|name| fits(name)));
        if paths.len() > PATHS_MAX || !named || paths.values().any(|path| path.len() > 256) {
            return wrong(
                "transformer",
                format!(
                    "at most {PATHS_MAX} names of letters, digits, `-` and `_`, none that begins with AWS, for paths \
                         of at most 256 bytes"
                ),
            );
        }
    }
    let parts = transformer.as_ref().map(|transformer| (&transformer.paths, transformer.template.as_str()));
    match Transform::parse(input.as_deref(), input_path.as_deref(), parts) {
        Ok(_) => Ok(()),
        Err(TransformError::Path) if input_path.is_some() => wrong("input_path", "it must be a JSON path: $.detail"),
        Err(error) => wrong("transformer", error.to_string()),
    }
}

/// What no request can carry.
fn http(http: Option<&HttpParameters>) -> Checked {
    let Some(HttpParameters { path, headers, query }) = http else { return Ok(()) };
    let short = |text: &String| text.chars().count() <= 512;
    let is_token = |text: &String| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        !text.is_empty() && text.bytes().all(fits)
    };
    let is_value = |text: &String| !text.is_empty() && text.bytes().all(|b| matches!(b, b'\t' | b' '..=b'~'));
    let is_said =
        |text: &String| !text.is_empty() && !text.contains(|c: char| c.is_ascii_control() && !"\r\n".contains(c));
    let fine = path.iter().all(|text| short(text) && !text.trim().is_empty() && !text.contains('\n'))
        && headers.iter().all(|(name, value)| short(name) && is_token(name) && short(value) && is_value(value))
        && query.iter().all(|(name, value)| short(name) && is_said(name) && short(value) && is_said(value));
    match fine {
        true => Ok(()),
        false => wrong("http", "a path, header or query of it cannot be in a request, or has over 512 characters"),
    }
}

pub(super) fn archive(archive: &Archive, registry: &Registry) -> Checked {
    fields::name("name", &archive.name, 48, "")?;
    fields::description(archive.description.as_deref())?;
    if !registry.archives.contains_key(&archive.name) {
        existing_bus(registry, &archive.bus)?;
    }
    archive.pattern.as_deref().map(pattern).transpose()?;
    match archive.retention_days > 1_000_000 {
        true => wrong("retention_days", "it must be from 0, for ever, to 1000000"),
        false => Ok(()),
    }
}

pub(super) fn replay(replay: &Replay, registry: &Registry) -> Checked {
    fields::name("name", &replay.name, 64, "")?;
    fields::description(replay.description.as_deref())?;
    if !(0.0..=1_000_000.0).contains(&replay.speed) {
        return wrong("speed", "it must be from 0, as fast as it goes, to 1000000");
    }
    if registry.replays.contains_key(&replay.name) {
        return Ok(()); // its archive may have gone since it began
    }
    existing_bus(registry, &replay.bus)?;
    match registry.archives.get(&replay.archive) {
        None => wrong("archive", format!("there is no archive {}", replay.archive))?,
        Some(archive) if archive.bus != replay.bus => wrong("bus", "a replay goes to the bus of its archive")?,
        Some(_) => {}
    }
    if replay.from_position.is_none() && replay.to_position.is_none() && replay.from >= replay.to {
        return wrong("to", "it must be after `from`");
    }
    let there = |rule: &String| registry.rules.contains_key(&(replay.bus.clone(), rule.clone()));
    match replay.rules.iter().find(|rule| !there(rule)) {
        Some(rule) => wrong("rules", format!("there is no rule {rule} on the bus {}", replay.bus)),
        None => Ok(()),
    }
}

pub(super) fn discoverer(discoverer: &Discoverer, registry: &Registry) -> Checked {
    let held = registry.discoverers.get(&discoverer.id);
    fields::tags(&discoverer.tags, held.map(|held| &held.tags))?;
    fields::room("id", held.is_some(), registry.discoverers.size(), DISCOVERERS_MAX, "discoverers")?;
    match held {
        Some(_) => Ok(()),
        None => existing_bus(registry, &discoverer.bus),
    }
}
