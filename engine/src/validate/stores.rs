//! What stores and moves events: queues, log groups, pipes, schedules, schemas.

use super::fields::{self, Checked, wrong};
use fakemon_capture::options::Options;
use fakemon_delivery::schema::{DISCOVERED_REGISTRY, Kind, OUR_REGISTRY, Schema as Read};
use fakemon_pipe::PIPES_MAX;
use fakemon_queue::queue::{Redrive, is_fifo, settings};
use fakemon_resource::resource::{LogGroup, Pipe, Queue, Schedule, Schema, SchemaVersion};
use fakemon_resource::{DEFAULT_GROUP, Registry};
use fakemon_schedule::{Expression, check_target, zone};
use serde_json::{Map, Value};

pub(super) fn queue(queue: &Queue, registry: &Registry) -> Checked {
    if !settings::is_name(&queue.name) {
        return wrong(
            "name",
            "it must be 1 to 80 letters, digits, hyphens and underscores, with `.fifo` behind or not",
        );
    }
    let held = registry.queues.get(&queue.name);
    let is_kept = |name: &String, text: &String| held.is_some_and(|held| held.attributes.get(name) == Some(text));
    for (name, text) in queue.attributes.iter().filter(|(name, text)| !is_kept(name, text)) {
        match settings::fits(&queue.name, name, text) {
            Some(true) => {}
            Some(false) => return wrong("attributes", format!("{name} must not be `{text}`")),
            None => return wrong("attributes", format!("{} has no setting {name}", queue.name)),
        }
        if name == "RedrivePolicy" && !text.is_empty() {
            redrive(&queue.name, text, registry)?;
        }
    }
    Ok(())
}

fn redrive(queue: &str, policy: &str, registry: &Registry) -> Checked {
    let Some(redrive) = Redrive::read(policy).filter(|redrive| (1..=1_000).contains(&redrive.receives_max)) else {
        return wrong("attributes", "RedrivePolicy needs deadLetterTargetArn, and maxReceiveCount from 1 to 1000");
    };
    match registry.queues.contains_key(&redrive.queue) && is_fifo(&redrive.queue) == is_fifo(queue) {
        true => Ok(()),
        false => wrong("attributes", format!("RedrivePolicy: there is no queue {} of the same kind", redrive.queue)),
    }
}

pub(super) fn log_group(group: &LogGroup) -> Checked {
    fields::name("name", &group.name, 512, "/#")?;
    match group.retention_days {
        Some(days) if !LogGroup::RETENTION_DAYS.contains(&days) => {
            wrong("retention_days", format!("it must be one of {:?}", LogGroup::RETENTION_DAYS))
        }
        _ => Ok(()),
    }
}

pub(super) fn pipe(pipe: &Pipe, registry: &Registry, options: &Options) -> Checked {
    fields::name("name", &pipe.name, 64, "")?;
    fields::description(pipe.description.as_deref())?;
    if !registry.pipes.contains_key(&pipe.name) && registry.pipes.size() >= PIPES_MAX {
        return wrong("name", format!("there are {PIPES_MAX} pipes already"));
    }
    // The reason names the parameter.
    fakemon_pipe::check(pipe, options.unserved_targets).map_err(|error| ("pipe", error.to_string()))
}

pub(super) fn schedule(schedule: &Schedule, registry: &Registry, options: &Options) -> Checked {
    fields::name("name", &schedule.name, 64, "")?;
    fields::description(schedule.description.as_deref())?;
    if schedule.group != DEFAULT_GROUP && !registry.schedule_groups.contains_key(&schedule.group) {
        return wrong("group", format!("there is no schedule group {}", schedule.group));
    }
    Expression::parse(&schedule.expression).map_err(|error| ("expression", error.to_string()))?;
    if zone(&schedule.zone).is_none() {
        return wrong("zone", format!("`{}` is no time zone: UTC, Europe/Madrid, …", schedule.zone));
    }
    if schedule.start.zip(schedule.end).is_some_and(|(start, end)| start >= end) {
        return wrong("end", "it must be after `start`");
    }
    if schedule.window_minutes > 1_440 {
        return wrong("window_minutes", "it must be from 0 to 1440");
    }
    let Ok(target) = serde_json::from_str::<Map<String, Value>>(&schedule.target) else {
        return wrong("target", "it must be a JSON object with the member Arn");
    };
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    fields::arn("target", &text(target.get("Arn")).unwrap_or_default())?;
    fields::dead_letter_arn(text(target.get("DeadLetterConfig").and_then(|config| config.get("Arn"))).as_deref())?;
    check_target(&target, options.unserved_targets).map_err(|error| ("target", error.to_string()))
}

fn writable(name: &str, registry: &Registry) -> Checked {
    match name {
        OUR_REGISTRY => wrong("registry", "it holds the schemas of this program, which nothing changes"),
        name if name == DISCOVERED_REGISTRY || registry.schema_registries.contains_key(name) => Ok(()),
        name => wrong("registry", format!("there is no schema registry {name}")),
    }
}

pub(super) fn schema(schema: &Schema, registry: &Registry) -> Checked {
    fields::name("name", &schema.name, 385, "@")?;
    writable(&schema.registry, registry)
}

pub(super) fn schema_version(version: &SchemaVersion, registry: &Registry) -> Checked {
    writable(&version.registry, registry)?;
    let Some(kind) = Kind::named(&version.kind) else {
        return wrong("kind", "it must be OpenApi3, JSONSchemaDraft4 or FlatBuffers");
    };
    let place = (version.registry.clone(), version.schema.clone(), format!("{:010}", version.version));
    if registry.schema_versions.get(&place).is_some_and(|held| held.content == version.content) {
        return Ok(());
    }
    Read::read(kind, &version.content).map(drop).map_err(|error| ("content", error.to_string()))
}
