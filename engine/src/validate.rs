//! What the engine accepts as a change of resources: everything that is durable was checked here, whatever way it
//! came. The AWS API checks the same before, in the service's words.
//!
//! - `fields`: names, ARNs, lengths
//! - `rules`: buses, rules, targets, archives, replays
//! - `outside`: connections, API destinations, partners, API keys, answer webhooks
//! - `stores`: queues, log groups, pipes, schedules, schemas

mod fields;
mod outside;
mod rules;
mod stores;

use fakemon_capture::options::Options;
use fakemon_resource::resource::{Change, Resource};
use fakemon_resource::{DEFAULT_BUS, GAME_BUS, InvalidChange, Registry};
use fields::{Checked, wrong};

/// Whether a change can be made to these resources: names and ARNs are such, patterns and expressions compile, what
/// it belongs to exists, and there are not too many. What a resource was before is not asked for again: one whose bus
/// has gone meanwhile can still be changed otherwise.
///
/// # Errors
/// The first field that is wrong, and why.
pub fn validate(change: &Change, registry: &Registry, options: &Options) -> Result<(), InvalidChange> {
    let checked = match change {
        Change::Put(resource) => put(resource, registry, options),
        Change::Delete(key) => delete(key),
    };
    checked.map_err(|(field, reason)| {
        let key = match change {
            Change::Put(resource) => resource.key(),
            Change::Delete(key) => key.clone(),
        };
        InvalidChange { key, field, reason }
    })
}

fn put(resource: &Resource, registry: &Registry, options: &Options) -> Checked {
    match resource {
        Resource::Bus(bus) => rules::bus(bus, registry),
        Resource::Rule(rule) => rules::rule(rule, registry),
        Resource::Target(target) => rules::target(target, registry, options),
        Resource::Archive(archive) => rules::archive(archive, registry),
        Resource::Replay(replay) => rules::replay(replay, registry),
        Resource::Connection(connection) => outside::connection(connection),
        Resource::Destination(destination) => outside::destination(destination, registry),
        Resource::EventSource(source) => outside::event_source(source, registry),
        Resource::PartnerWebhook(webhook) => outside::partner_webhook(webhook, registry),
        Resource::UsagePlan(plan) => outside::usage_plan(plan, registry),
        Resource::ApiKey(key) => outside::api_key(key, registry),
        Resource::AnswerWebhook(webhook) => outside::answer_webhook(webhook, registry),
        Resource::Queue(queue) => stores::queue(queue, registry),
        Resource::LogGroup(group) => stores::log_group(group, registry),
        Resource::LogPolicy(policy) => stores::log_policy(policy, registry),
        Resource::Pipe(pipe) => stores::pipe(pipe, registry, options),
        Resource::ScheduleGroup(group) => stores::schedule_group(group, registry),
        Resource::Schedule(schedule) => stores::schedule(schedule, registry, options),
        Resource::SchemaRegistry(own) => stores::schema_registry(own, registry),
        Resource::Schema(schema) => stores::schema(schema, registry),
        Resource::SchemaVersion(version) => stores::schema_version(version, registry),
        Resource::Discoverer(discoverer) => rules::discoverer(discoverer, registry),
    }
}

/// A key of a kind that there is. What is not there is gone already.
fn delete(key: &str) -> Checked {
    let (kind, name) = key.split_once('/').unwrap_or((key, ""));
    match (kind, name) {
        ("bus", DEFAULT_BUS | GAME_BUS) => wrong("key", format!("the bus {name} is there for ever")),
        (_, "") => wrong("key", "it names nothing: a key is KIND/NAME"),
        (kind, _) if !Resource::KINDS.contains(&kind) => {
            wrong("key", format!("{kind} is no kind of resource: one of {}", Resource::KINDS.join(", ")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
