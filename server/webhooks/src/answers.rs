//! Answer webhooks: URLs to which the results of a player, or of all players of a client, are sent as HTTP requests:
//! `fakemon.capture_succeeded`, `fakemon.capture_failed` and `fakemon.command_refused`, in the order of the journal.
//!
//! ```text
//! PUT    /answers/webhooks/NAME          {"url": "https://…", "player": "ash"}, or "players": […] for a client
//! GET    /answers/webhooks/NAME          GET /answers/webhooks
//! DELETE /answers/webhooks/NAME          what waits for it goes with it
//! POST   /answers/webhooks/NAME/secret   a new secret; the old one is good for a day more ({"grace_s": 0…604800})
//! ```
//!
//! A request is the event as its body, with Standard Webhooks headers (`standard_webhooks`): `webhook-id` is the
//! event's id, `webhook-signature` holds one signature for each secret that is good. The secret is shown when the
//! webhook is created, and never again. A failed delivery is retried (`retry`: `attempts_max`, `age_s_max`), in
//! order; after the last attempt it is stored in the queue of `dead_letter_arn`, from where `start_message_move_task`
//! sends it back. For the results of all players, use a rule with an API destination: it signs the same way if its
//! connection is an `API_KEY` with the name `webhook-signature` and a value `whsec_…`.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::routing::{get, post};
use axum::{Json, Router};
use fakemon_access::authority::has_user_info;
use fakemon_aws::Reply;
use fakemon_engine::{Engine, wall_clock};
use fakemon_http::Backend;
use fakemon_http::refusal::{InQuery, Refusal, object};
use fakemon_http::standard_webhooks::{self, Signer};
use fakemon_model::event::PlayerName;
use fakemon_model::ids::Timestamp;
use fakemon_model::limits::{ANSWER_PLAYERS_MAX, ANSWER_PLAYERS_OF_ONE_MAX, ANSWER_WEBHOOKS_MAX};
use fakemon_pattern::typed;
use fakemon_resource::inbound::AnswerWebhook;
use fakemon_resource::resource::{ApiDestination, Change, Resource, Retry};
use fakemon_resource::{Destination, Registry};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

const RATE_LIMIT: u32 = 300;
const RATE_LIMIT_MAX: u32 = 1_000_000;
const URL_BYTES_MAX: usize = 2_048;
const NAME_BYTES_MAX: usize = 128;
/// How long an old secret stays valid beside a new one, in seconds, by default.
const GRACE_S: u64 = 86_400;
const GRACE_S_MAX: u64 = 7 * 86_400;
/// Secrets that are valid at the same time.
const SECRETS_MAX: usize = 4;
/// Webhooks on a page.
const PAGE: usize = 100;

/// Its routes.
pub fn routes() -> Router<Arc<Backend>> {
    Router::new()
        .route("/answers/webhooks", get(list))
        .route("/answers/webhooks/{name}", get(describe).put(make).delete(delete))
        .route("/answers/webhooks/{name}/secret", post(rotate))
}

/// Body of a `PUT`: the settings of a webhook.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    url: String,
    player: Option<String>,
    players: Option<Vec<String>>,
    rate_limit_per_second: Option<u32>,
    retry: Option<Retry>,
    dead_letter_arn: Option<String>,
}

/// A secret and its expiry, in seconds since 1970; the newest has none.
#[derive(Clone, Serialize, Deserialize)]
struct Secret {
    secret: String,
    until_s: Option<u64>,
}

fn unknown() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "unknown_webhook", "there is no answer webhook of this name: PUT makes one")
}

/// Name of its secrets in the secret store.
fn secret_name(name: &str) -> String {
    format!("answers/{name}")
}

fn secrets(engine: &Engine, name: &str) -> Vec<Secret> {
    let held = engine.secrets().get(&secret_name(name)).ok().flatten();
    held.and_then(|held| serde_json::from_slice(&held).ok()).unwrap_or_default()
}

fn is_good(secret: &Secret, now_s: u64) -> bool {
    secret.until_s.is_none_or(|until_s| now_s < until_s)
}

/// The keys that sign requests to a webhook: one for each valid secret.
pub(super) fn signers(engine: &Engine, name: &str) -> Vec<Signer> {
    let now_s = wall_clock().seconds();
    secrets(engine, name)
        .iter()
        .filter(|one| is_good(one, now_s))
        .filter_map(|one| Signer::new(&one.secret))
        .collect()
}

/// A webhook as an API destination, for delivery.
pub(super) fn destination(webhook: &AnswerWebhook) -> ApiDestination {
    ApiDestination {
        name: webhook.name.clone(),
        uuid: String::new(),
        description: None,
        connection: String::new(),
        connection_arn: String::new(),
        endpoint: webhook.url.clone(),
        http_method: "POST".into(),
        rate_limit_per_second: webhook.rate_limit_per_second,
        created_at: webhook.created_at,
        modified_at: webhook.modified_at,
    }
}

fn shown(webhook: &AnswerWebhook) -> Value {
    json!({
        "name": webhook.name,
        "url": webhook.url,
        "players": webhook.players,
        "rate_limit_per_second": webhook.rate_limit_per_second,
        "retry": webhook.retry,
        "dead_letter_arn": webhook.dead_letter_arn,
        "created_at": webhook.created_at.to_string(),
        "modified_at": webhook.modified_at.to_string(),
    })
}

/// Query of the list: the page, and the player.
#[derive(Deserialize)]
struct Wish {
    after: Option<String>,
    player: Option<String>,
}

async fn list(State(backend): State<Arc<Backend>>, InQuery(wish): InQuery<Wish>) -> Json<Value> {
    let registry = backend.engine.registry();
    let of_player =
        |webhook: &&AnswerWebhook| wish.player.as_ref().is_none_or(|player| webhook.players.contains(player));
    let after = |webhook: &&AnswerWebhook| wish.after.as_ref().is_none_or(|after| webhook.name > *after);
    let mut found: Vec<&AnswerWebhook> =
        registry.answer_webhooks.values().filter(after).filter(of_player).take(PAGE + 1).collect();
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let next = found.last().filter(|_| more).map(|last| last.name.clone());
    Json(json!({ "webhooks": found.into_iter().map(shown).collect::<Vec<_>>(), "next": next }))
}

async fn describe(State(backend): State<Arc<Backend>>, Path(name): Path<String>) -> Result<Json<Value>, Refusal> {
    let registry = backend.engine.registry();
    registry.answer_webhooks.get(&name).map(|webhook| Json(shown(webhook))).ok_or_else(unknown)
}

async fn delete(State(backend): State<Arc<Backend>>, Path(name): Path<String>) -> Result<StatusCode, Refusal> {
    let deleted = fakemon_aws::carry_out(&backend, |registry: &Registry| {
        registry.answer_webhooks.get(&name).ok_or_else(unknown)?;
        let changes = vec![Change::Delete(format!("answer-webhook/{name}"))];
        Ok::<_, Refusal>(Reply { changes, secrets: vec![(secret_name(&name), None)], ..Reply::default() })
    });
    deleted.await.map(|_| StatusCode::NO_CONTENT)
}

async fn make(
    State(backend): State<Arc<Backend>>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Refusal> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    // Clients and proxies take dots alone for steps of the path.
    let is_step = matches!(name.as_str(), "." | "..");
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(fits) || is_step {
        let message = format!(
            "a name has 1 to {NAME_BYTES_MAX} letters, digits, dots, dashes and underscores, and is not . or .."
        );
        return Err(Refusal::field("bad_request", "name", message));
    }
    let wanted: Wanted = typed::from_value(object(body)?.into()).map_err(Refusal::unfit)?;
    let webhook = checked(wanted, name, wall_clock())?;
    fakemon_aws::carry_out(&backend, |registry: &Registry| decide(registry, webhook)).await.map(Json)
}

/// Checks the settings; the refusal names the invalid member.
fn checked(wanted: Wanted, name: String, now: Timestamp) -> Result<AnswerWebhook, Refusal> {
    let wrong = |field, message: String| Err(Refusal::field("bad_request", field, message));
    let Wanted { url, player, players, rate_limit_per_second, retry, dead_letter_arn } = wanted;
    let parsed = url.parse::<Uri>().ok().filter(|_| url.len() <= URL_BYTES_MAX);
    if parsed.is_none_or(|uri| !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none()) {
        return wrong("url", format!("url must be an http or https address of at most {URL_BYTES_MAX} bytes"));
    }
    if has_user_info(&url) {
        return wrong(
            "url",
            "url must not hold a user or a password: requests are signed (`webhook-signature`)".into(),
        );
    }
    let given = if player.is_some() { "player" } else { "players" };
    let players: BTreeSet<String> = match (player, players) {
        (Some(player), None) => [player].into(),
        (None, Some(players)) => players.into_iter().collect(),
        _ => return wrong("player", "give player, or players for a client that has several".into()),
    };
    if players.is_empty() || players.len() > ANSWER_PLAYERS_OF_ONE_MAX {
        return wrong("players", format!("players are 1 to {ANSWER_PLAYERS_OF_ONE_MAX} names"));
    }
    if let Some(error) = players.iter().find_map(|player| PlayerName::new(player).err()) {
        return wrong(given, error.to_string());
    }
    let rate_limit_per_second = rate_limit_per_second.unwrap_or(RATE_LIMIT);
    if !(1..=RATE_LIMIT_MAX).contains(&rate_limit_per_second) {
        return wrong("rate_limit_per_second", format!("rate_limit_per_second must be from 1 to {RATE_LIMIT_MAX}"));
    }
    if retry.is_some_and(|retry| retry.attempts_max > 185 || !(60..=86_400).contains(&retry.age_s_max)) {
        return wrong("retry", "retry.attempts_max is from 0 to 185, retry.age_s_max from 60 to 86400".into());
    }
    let is_queue =
        |arn: &String| matches!(Destination::of(arn), Destination::Queue(name) if !name.ends_with(".fifo"));
    if dead_letter_arn.as_ref().is_some_and(|arn| !is_queue(arn)) {
        return wrong("dead_letter_arn", "dead_letter_arn must be the ARN of a standard queue".into());
    }
    let players = players.into_iter().collect();
    let (created_at, modified_at) = (now, now);
    Ok(AnswerWebhook { name, url, players, rate_limit_per_second, retry, dead_letter_arn, created_at, modified_at })
}

fn decide(registry: &Registry, webhook: AnswerWebhook) -> Result<Reply, Refusal> {
    let held = registry.answer_webhooks.get(&webhook.name);
    let others = registry.answer_webhooks.values().filter(|other| other.name != webhook.name);
    let players: usize = others.map(|other| other.players.len()).sum();
    let too_many = |message: String| Err(Refusal::new(StatusCode::BAD_REQUEST, "too_many", message));
    if held.is_none() && registry.answer_webhooks.size() >= ANSWER_WEBHOOKS_MAX {
        return too_many(format!("there are {ANSWER_WEBHOOKS_MAX} answer webhooks already: delete one first"));
    }
    if players + webhook.players.len() > ANSWER_PLAYERS_MAX {
        return too_many(format!("answer webhooks are for {ANSWER_PLAYERS_MAX} players in all: use a rule"));
    }
    let created_at = held.map_or(webhook.created_at, |held| held.created_at);
    let webhook = AnswerWebhook { created_at, ..webhook };
    let mut answer = shown(&webhook);
    let mut secrets = Vec::new();
    if held.is_none() {
        let secret = standard_webhooks::new_secret();
        answer["secret"] = secret.clone().into();
        secrets.push((secret_name(&webhook.name), Some(json!([Secret { secret, until_s: None }]))));
    }
    Ok(Reply { answer, changes: vec![Change::Put(Resource::AnswerWebhook(webhook))], secrets })
}

async fn rotate(
    State(backend): State<Arc<Backend>>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Refusal> {
    let grace_s = match object(body)?.get("grace_s") {
        None => GRACE_S,
        Some(grace_s) => grace_s.as_u64().filter(|grace_s| *grace_s <= GRACE_S_MAX).ok_or_else(|| {
            Refusal::field("out_of_range", "grace_s", format!("grace_s must be from 0 to {GRACE_S_MAX} seconds"))
        })?,
    };
    let engine = backend.engine.clone();
    let rotated = fakemon_aws::carry_out(&backend, move |registry: &Registry| {
        let webhook = registry.answer_webhooks.get(&name).ok_or_else(unknown)?;
        let now_s = wall_clock().seconds();
        let mut held = secrets(&engine, &name);
        for one in &mut held {
            one.until_s.get_or_insert(now_s + grace_s);
        }
        held.retain(|one| is_good(one, now_s));
        if held.len() >= SECRETS_MAX {
            let message = format!("{SECRETS_MAX} secrets are good already: wait until the oldest is not any more");
            return Err(Refusal::new(StatusCode::CONFLICT, "too_many", message));
        }
        let secret = standard_webhooks::new_secret();
        held.insert(0, Secret { secret: secret.clone(), until_s: None });
        let mut answer = shown(webhook);
        answer["secret"] = secret.into();
        Ok(Reply { answer, secrets: vec![(secret_name(&name), Some(json!(held)))], ..Reply::default() })
    });
    rotated.await.map(Json)
}
