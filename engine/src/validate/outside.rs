//! What reaches outside, and what comes in from there: connections, API destinations, partners, API keys, answer
//! webhooks.

use super::fields::{self, Checked, wrong};
use fakemon_model::limits::{
    ANSWER_PLAYERS_MAX, ANSWER_PLAYERS_OF_ONE_MAX, ANSWER_WEBHOOKS_MAX, API_KEYS_MAX, EVENT_SOURCES_MAX,
    PARTNER_WEBHOOKS_MAX, USAGE_PLANS_MAX,
};
use fakemon_resource::Registry;
use fakemon_resource::inbound::{AnswerWebhook, ApiKey, EventSource, PartnerWebhook, Quota, Throttle, UsagePlan};
use fakemon_resource::resource::{ApiDestination, Connection};

const AUTHORIZATION_TYPES: [&str; 3] = ["BASIC", "OAUTH_CLIENT_CREDENTIALS", "API_KEY"];
const METHODS: [&str; 7] = ["HEAD", "POST", "PATCH", "DELETE", "PUT", "GET", "OPTIONS"];
/// Requests a second.
const RATE_MAX: u32 = 1_000_000;
/// Events a second of a usage plan.
const RATE_PER_S_MAX: f64 = 1e9;
const URL_BYTES_MAX: usize = 2_048;
/// How names of partner event sources begin.
const PARTNER: &str = "aws.partner/";

pub(super) fn connection(connection: &Connection) -> Checked {
    fields::name("name", &connection.name, 64, "")?;
    fields::description(connection.description.as_deref())?;
    match AUTHORIZATION_TYPES.contains(&connection.authorization_type.as_str()) {
        true => Ok(()),
        false => wrong("authorization_type", format!("it must be one of {}", AUTHORIZATION_TYPES.join(", "))),
    }
}

pub(super) fn destination(destination: &ApiDestination, registry: &Registry) -> Checked {
    fields::name("name", &destination.name, 64, "")?;
    fields::description(destination.description.as_deref())?;
    address("endpoint", &destination.endpoint)?;
    if !METHODS.contains(&destination.http_method.as_str()) {
        return wrong("http_method", format!("it must be one of {}", METHODS.join(", ")));
    }
    rate(destination.rate_limit_per_second)?;
    let held = registry.destinations.get(&destination.name).map(|held| &held.connection);
    match held == Some(&destination.connection) || registry.connections.contains_key(&destination.connection) {
        true => Ok(()),
        false => wrong("connection", format!("there is no connection {}", destination.connection)),
    }
}

/// An address of HTTP, whose scheme may be missing: then it is reached over TLS.
fn address(field: &'static str, address: &str) -> Checked {
    let host = match address.split_once("://") {
        Some(("https" | "http", rest)) => rest,
        Some(_) => "",
        None => address,
    };
    let plain = address.len() <= URL_BYTES_MAX && address.bytes().all(|b| b.is_ascii_graphic());
    match plain && !host.is_empty() && !host.starts_with(['/', '?', ':']) {
        true => Ok(()),
        false => wrong(field, format!("it must be an http or https address of at most {URL_BYTES_MAX} bytes")),
    }
}

fn rate(per_second: u32) -> Checked {
    match (1..=RATE_MAX).contains(&per_second) {
        true => Ok(()),
        false => wrong("rate_limit_per_second", format!("it must be from 1 to {RATE_MAX}")),
    }
}

pub(super) fn event_source(source: &EventSource, registry: &Registry) -> Checked {
    fields::name("name", &source.name, 256, "/")?;
    let is_held = registry.event_sources.contains_key(&source.name);
    fields::room("name", is_held, registry.event_sources.size(), EVENT_SOURCES_MAX, "event sources")?;
    let parts: Option<Vec<&str>> = source.name.strip_prefix(PARTNER).map(|rest| rest.split('/').collect());
    match parts.is_some_and(|parts| parts.len() >= 2 && parts.iter().all(|part| !part.is_empty())) {
        true => Ok(()),
        false => wrong("name", format!("it must be {PARTNER}PARTNER/NAME")),
    }
}

pub(super) fn partner_webhook(webhook: &PartnerWebhook, registry: &Registry) -> Checked {
    fields::name("name", &webhook.name, 64, "")?;
    let held = registry.partner_webhooks.get(&webhook.name).map(|held| &held.event_source);
    fields::room("name", held.is_some(), registry.partner_webhooks.size(), PARTNER_WEBHOOKS_MAX, "webhooks")?;
    match held == Some(&webhook.event_source) || registry.event_sources.contains_key(&webhook.event_source) {
        true => Ok(()),
        false => wrong("event_source", format!("there is no event source {}", webhook.event_source)),
    }
}

/// Bounds that a plan has already are not asked for again.
pub(super) fn usage_plan(plan: &UsagePlan, registry: &Registry) -> Checked {
    fields::text("id", &plan.id, 1, 256)?;
    fields::text("name", &plan.name, 1, 1_024)?;
    let held = registry.usage_plans.get(&plan.id);
    fields::room("id", held.is_some(), registry.usage_plans.size(), USAGE_PLANS_MAX, "usage plans")?;
    fields::tags(&plan.tags, held.map(|held| &held.tags))?;
    if let Some(Throttle { rate_per_s, burst }) = plan.throttle
        && held.is_none_or(|held| held.throttle != plan.throttle)
        && (!(0.0..=RATE_PER_S_MAX).contains(&rate_per_s) || burst == 0)
    {
        return wrong("throttle", "rate_per_s must be from 0 to 1000000000 events, burst at least 1");
    }
    match plan.quota {
        Some(Quota { limit, offset_days, period }) if held.is_none_or(|held| held.quota != plan.quota) => {
            let offset_max = period.offset_days_max();
            match limit > 0 && offset_days <= offset_max {
                true => Ok(()),
                false => wrong("quota", format!("limit must be at least 1, offset_days from 0 to {offset_max}")),
            }
        }
        _ => Ok(()),
    }
}

pub(super) fn api_key(key: &ApiKey, registry: &Registry) -> Checked {
    fields::text("id", &key.id, 1, 256)?;
    let was = registry.api_keys.get(&key.id);
    fields::room("id", was.is_some(), registry.api_keys.size(), API_KEYS_MAX, "API keys")?;
    fields::tags(&key.tags, was.map(|held| &held.tags))?;
    let held = registry.api_keys.get(&key.id).and_then(|held| held.usage_plan.as_ref());
    match &key.usage_plan {
        Some(plan) if held != Some(plan) && !registry.usage_plans.contains_key(plan) => {
            wrong("usage_plan", format!("there is no usage plan {plan}"))
        }
        _ => Ok(()),
    }
}

pub(super) fn answer_webhook(webhook: &AnswerWebhook, registry: &Registry) -> Checked {
    fields::name("name", &webhook.name, 128, "")?;
    address("url", &webhook.url)?;
    rate(webhook.rate_limit_per_second)?;
    fields::retry(webhook.retry)?;
    fields::dead_letter_arn(webhook.dead_letter_arn.as_deref())?;
    if webhook.players.is_empty() || webhook.players.len() > ANSWER_PLAYERS_OF_ONE_MAX {
        return wrong("players", format!("they are 1 to {ANSWER_PLAYERS_OF_ONE_MAX} names"));
    }
    fields::players(&webhook.players)?;
    let is_new = !registry.answer_webhooks.contains_key(&webhook.name);
    if is_new && registry.answer_webhooks.size() >= ANSWER_WEBHOOKS_MAX {
        return wrong("name", format!("there are {ANSWER_WEBHOOKS_MAX} answer webhooks already"));
    }
    let others = registry.answer_webhooks.values().filter(|other| other.name != webhook.name);
    match others.map(|other| other.players.len()).sum::<usize>() + webhook.players.len() > ANSWER_PLAYERS_MAX {
        true => wrong("players", format!("answer webhooks are for {ANSWER_PLAYERS_MAX} players in all")),
        false => Ok(()),
    }
}
