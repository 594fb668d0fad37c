//! What reaches outside, and what comes in from there: connections, API destinations, partners, API keys, answer
//! webhooks.

use super::fields::{self, Checked, wrong};
use fakemon_model::limits::{ANSWER_PLAYERS_MAX, ANSWER_PLAYERS_OF_ONE_MAX, ANSWER_WEBHOOKS_MAX};
use fakemon_resource::Registry;
use fakemon_resource::inbound::{AnswerWebhook, ApiKey, EventSource, PartnerWebhook, UsagePlan};
use fakemon_resource::resource::{ApiDestination, Connection};

const AUTHORIZATION_TYPES: [&str; 3] = ["BASIC", "OAUTH_CLIENT_CREDENTIALS", "API_KEY"];
const METHODS: [&str; 7] = ["HEAD", "POST", "PATCH", "DELETE", "PUT", "GET", "OPTIONS"];
/// Requests a second.
const RATE_MAX: u32 = 1_000_000;
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

pub(super) fn event_source(source: &EventSource) -> Checked {
    fields::name("name", &source.name, 256, "/")?;
    let parts: Option<Vec<&str>> = source.name.strip_prefix(PARTNER).map(|rest| rest.split('/').collect());
    match parts.is_some_and(|parts| parts.len() >= 2 && parts.iter().all(|part| !part.is_empty())) {
        true => Ok(()),
        false => wrong("name", format!("it must be {PARTNER}PARTNER/NAME")),
    }
}

pub(super) fn partner_webhook(webhook: &PartnerWebhook, registry: &Registry) -> Checked {
    fields::name("name", &webhook.name, 64, "")?;
    let held = registry.partner_webhooks.get(&webhook.name).map(|held| &held.event_source);
    match held == Some(&webhook.event_source) || registry.event_sources.contains_key(&webhook.event_source) {
        true => Ok(()),
        false => wrong("event_source", format!("there is no event source {}", webhook.event_source)),
    }
}

pub(super) fn usage_plan(plan: &UsagePlan) -> Checked {
    fields::text("id", &plan.id, 1, 256)?;
    match plan.throttle {
        Some(throttle) if !(throttle.rate_per_s.is_finite() && throttle.rate_per_s >= 0.0) => {
            wrong("throttle", "rate_per_s must be a number of events, from 0")
        }
        _ => Ok(()),
    }
}

pub(super) fn api_key(key: &ApiKey, registry: &Registry) -> Checked {
    fields::text("id", &key.id, 1, 256)?;
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
