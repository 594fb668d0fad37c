//! What stores and moves events: queues, log groups, pipes, schedules, schemas.

use super::fields::{self, Checked, wrong};
use fakemon_capture::options::Options;
use fakemon_delivery::schema::{DISCOVERED_REGISTRY, Kind, OUR_REGISTRY, Schema as Read};
use fakemon_model::limits::{LOG_POLICIES_MAX, SCHEDULE_GROUPS_MAX, SCHEDULES_MAX, SCHEMA_REGISTRIES_MAX};
use fakemon_pipe::PIPES_MAX;
use fakemon_queue::queue::{Redrive, is_fifo, settings};
use fakemon_resource::resource::{
    LogGroup, LogPolicy, Pipe, Queue, Schedule, ScheduleGroup, Schema, SchemaRegistry, SchemaVersion,
};
use fakemon_resource::{DEFAULT_GROUP, Registry};
use fakemon_schedule::{Expression, check_target, reserved_event, zone};
use serde_json::{Map, Value};

pub(super) fn queue(queue: &Queue, registry: &Registry) -> Checked {
    if !settings::is_name(&queue.name) {
        return wrong(
            "name",
            "it must be 1 to 80 letters, digits, hyphens and underscores, with `.fifo` behind or not",
        );
    }
    let held = registry.queues.get(&queue.name);
    fields::tags(&queue.tags, held.map(|held| &held.tags))?;
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

pub(super) fn log_group(group: &LogGroup, registry: &Registry) -> Checked {
    fields::name("name", &group.name, 512, "/#")?;
    fields::tags(&group.tags, registry.log_groups.get(&group.name).map(|held| &held.tags))?;
    match group.retention_days {
        Some(days) if !LogGroup::RETENTION_DAYS.contains(&days) => {
            wrong("retention_days", format!("it must be one of {:?}", LogGroup::RETENTION_DAYS))
        }
        _ => Ok(()),
    }
}

pub(super) fn log_policy(policy: &LogPolicy, registry: &Registry) -> Checked {
    fields::text("name", &policy.name, 1, 512)?;
    let (policies, is_held) = (&registry.log_policies, registry.log_policies.contains_key(&policy.name));
    fields::room("name", is_held, policies.size(), LOG_POLICIES_MAX, "resource policies")
}

pub(super) fn schedule_group(group: &ScheduleGroup, registry: &Registry) -> Checked {
    fields::name("name", &group.name, 64, "")?;
    let held = registry.schedule_groups.get(&group.name);
    fields::tags(&group.tags, held.map(|held| &held.tags))?;
    let there_are = registry.schedule_groups.size();
    fields::room("name", held.is_some(), there_are, SCHEDULE_GROUPS_MAX, "schedule groups")
}

pub(super) fn schema_registry(own: &SchemaRegistry, registry: &Registry) -> Checked {
    fields::name("name", &own.name, 64, "")?;
    let held = registry.schema_registries.get(&own.name);
    fields::tags(&own.tags, held.map(|held| &held.tags))?;
    let there_are = registry.schema_registries.size();
    fields::room("name", held.is_some(), there_are, SCHEMA_REGISTRIES_MAX, "schema registries")
}

pub(super) fn pipe(pipe: &Pipe, registry: &Registry, options: &Options) -> Checked {
    fields::name("name", &pipe.name, 64, "")?;
    fields::description(pipe.description.as_deref())?;
    if !registry.pipes.contains_key(&pipe.name) && registry.pipes.size() >= PIPES_MAX {
        return wrong("name", format!("there are {PIPES_MAX} pipes already"));
    }
    fields::tags(&pipe.tags, registry.pipes.get(&pipe.name).map(|held| &held.tags))?;
    // The reason names the parameter.
    fakemon_pipe::check(pipe, options.unserved_targets).map_err(|error| ("pipe", error.to_string()))
}

pub(super) fn schedule(schedule: &Schedule, registry: &Registry, options: &Options) -> Checked {
    fields::name("name", &schedule.name, 64, "")?;
    fields::description(schedule.description.as_deref())?;
    let held = registry.schedules.get(&(schedule.group.clone(), schedule.name.clone()));
    fields::room("name", held.is_some(), registry.schedules.size(), SCHEDULES_MAX, "schedules")?;
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
    check_target(&target, options.unserved_targets).map_err(|error| ("target", error.to_string()))?;
    match reserved_event(&target) {
        Some((bus, source)) if held.is_none_or(|held| held.target != schedule.target) => {
            wrong("target", format!("its source must not be `{source}` on the bus `{bus}`: others say that"))
        }
        _ => Ok(()),
    }
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
    let held = registry.schemas.get(&(schema.registry.clone(), schema.name.clone()));
    fields::tags(&schema.tags, held.map(|held| &held.tags))?;
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
