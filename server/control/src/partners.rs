//! Partner webhooks: requests that a partner signs with a shared secret become events of a partner event source, on
//! the bus that was created from it (`CreateEventBus` with `EventSourceName`).
//!
//! ```text
//! PUT    /webhooks/NAME    {"layout": "github", "secrets": ["…"]}     creates it, or changes it
//! GET    /webhooks/NAME    GET /webhooks                              without secrets
//! DELETE /webhooks/NAME
//! POST   /webhooks/NAME    the partner's request → {"id", "position"}, as POST /events
//! ```
//!
//! | setting | meaning |
//! |---|---|
//! | `layout` | `github`, `stripe`, `slack`, `shopify`, `standard` (Standard Webhooks) or `generic`; see `layout` |
//! | `secrets` | up to four, all valid, so that secrets can be rotated. Without any a new webhook gets one, shown once |
//! | `event_source` | the partner event source of its events; default `aws.partner/webhooks/NAME`; created if missing |
//! | `signature` | of `generic`: `header`, `prefix`, `encoding` (`hex`, `base64`), `algorithm` (`sha1` to `sha512`), `content`, `timestamp_header`, `id_header` |
//! | `detail_type`, `id` | where they are found: `{"header": NAME}`, `{"body": "a.b"}`, `{"text": …}`; layouts know where |
//! | `tolerance_s` | how far the time of a signature may be off, in seconds; default 300 |
//! | `api_key_required` | whether an API key (`x-api-key`) is required too |
//!
//! The detail is the body if that is a JSON object, or the object in the field `payload` of a form, as it was sent
//! but without blanks between tokens; else `{"body": …, "content_type": …}` (bytes: `body_base64`). A request that is
//! forged, too old or from the future gets 401 and puts no event. A duplicate, by the id of its event or, without
//! one, by its signature, gets the answer of the first and puts no second event; requests are remembered for twice
//! the tolerance, or for an hour if signatures have no timestamp.
//!
//! - `layout`: how partners sign
//! - `settings`: settings of a webhook
//! - `recent`: detects duplicates

mod layout;
mod settings;
mod recent;

use super::Shared;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use fakemon_aws::Reply;
use fakemon_aws::api_keys::Caller;
use fakemon_engine::wall_clock;
use fakemon_eventbridge::partners as sources;
use fakemon_http::refusal::Refusal;
use fakemon_http::{desk, standard_webhooks};
use fakemon_model::envelope::{REGION, event_id};
use fakemon_model::ids::{Position, Timestamp};
use fakemon_model::limits::PARTNER_WEBHOOKS_MAX;
use fakemon_pattern::{raw, typed};
use fakemon_resource::inbound::{EventSourceState, PartnerWebhook};
use fakemon_resource::resource::{Change, Resource};
use fakemon_resource::{NewEvent, Registry};
use fakemon_sync::seldom::Seldom;
use layout::{Layout, Window};
pub(super) use recent::Recent;
use recent::{Claim, RequestKey};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use settings::Settings;
use std::sync::Arc;
use std::sync::atomic::Ordering;

static NOT_NOTED: Seldom = Seldom::new("that a request came is not noted");

/// Secrets of one webhook.
const SECRETS_MAX: usize = 4;
/// The longest secret, and the longest name, in bytes.
const SECRET_BYTES_MAX: usize = 256;
const NAME_BYTES_MAX: usize = 64;

/// Its routes.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/webhooks", get(list))
        .route("/webhooks/{name}", get(describe).put(make).delete(delete).post(receive))
}

/// Whether a request is a partner's own: only its signature authenticates it.
pub(super) fn is_delivery(method: &axum::http::Method, path: &str) -> bool {
    method == axum::http::Method::POST && path.starts_with("/webhooks/")
}

fn unknown() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "unknown_webhook", "there is no webhook of this name: PUT makes one")
}

/// Name of its secrets in the secret store.
fn secret_name(name: &str) -> String {
    format!("webhook/{name}")
}

/// Receives a partner's request.
async fn receive(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    caller: Option<Extension<Caller>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let body = body.map_err(|_| {
        let message = format!("a webhook's body has at most {} bytes", super::BODY_BYTES_MAX);
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    })?;
    let registry = shared.engine.registry();
    let webhook = registry.partner_webhooks.get(&name).ok_or_else(unknown)?;
    let settings = settings_of(webhook)?;
    let scheme = settings.scheme()?;
    let window = Window { now_s: wall_clock().seconds(), tolerance_s: settings.tolerance_s };
    let secrets = secrets_of(&shared, &name);
    let signed = scheme.check(&headers, &body, &secrets, window).map_err(|forged| {
        tracing::debug!(webhook = name, ?forged, "a request is not the partner's");
        let message = "the request is not signed as it must be, by a secret that is good, in its time";
        Refusal::new(StatusCode::UNAUTHORIZED, "bad_signature", message)
    })?;
    if settings.api_key_required && caller.is_none() {
        let message = "this webhook asks for an API key: send it in the header x-api-key";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "no_api_key", message));
    }
    let source = &webhook.event_source;
    caller.map_or(Ok(()), |Extension(caller)| caller.may(source, source))?;
    let content = Content::of(&headers, &body);
    let read = content.read();
    if settings.layout == Layout::Slack && read["type"] == "url_verification" {
        return Ok(read["challenge"].as_str().unwrap_or_default().to_owned().into_response());
    }
    check_active(&registry, source)?;
    let event = NewEvent {
        bus: source.clone(),
        source: source.clone(),
        detail_type: settings.detail_type(&headers, &read),
        resources: Vec::new(),
        time: signed.at_s.map(|at_s| Timestamp(at_s * 1_000_000_000)),
        region: REGION.to_owned(),
        cause: None,
        hops: 0,
        by: None,
        detail: content.detail(&headers, &body),
        origin: None,
        trace: None,
    };
    shared.engine.enforcer().admit(&registry, &event).map_err(|violation| Refusal::of_schema(&violation))?;
    let id = signed.id.or_else(|| settings.id(&headers, &read));
    drop(registry);
    // Two events may have equal bytes: where there is an id, it alone identifies the event.
    let key = match &id {
        Some(id) => RequestKey::new(&name, "id", id.as_bytes()),
        None => RequestKey::new(&name, "mac", &signed.mac),
    };
    tell(&shared, &name, key, settings.remembered_s(&scheme), event).await.map(|told| Json(told).into_response())
}

/// Rejects events of a source without a bus, so that the partner retries them.
fn check_active(registry: &Registry, source: &str) -> Result<(), Refusal> {
    let state = registry.event_sources.get(source).map(|source| source.state);
    if state == Some(EventSourceState::Active) && registry.buses.contains_key(source) {
        return Ok(());
    }
    let message =
        format!("the partner event source {source} is not active: create the event bus of its name from it");
    Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not_active", message).after_ms(60_000))
}

/// Puts an event unless it was put before; returns the answer.
async fn tell(
    shared: &Arc<Shared>,
    name: &str,
    key: RequestKey,
    remembered_s: u64,
    event: NewEvent,
) -> Result<Value, Refusal> {
    let answer = |position: Position| json!({ "id": event_id(position), "position": position.to_string() });
    // The engine's clock never goes back, so a closed window is not opened again.
    let now_s = shared.engine.now().0 / 1_000_000_000;
    let until_s = now_s + remembered_s;
    match shared.recent.claim(name, key, now_s, until_s) {
        Claim::First => {}
        Claim::Told(position) => {
            let mut told = answer(position);
            told["duplicate"] = true.into();
            return Ok(told);
        }
        Claim::UnderWay => {
            let message = "the same request is under way: send it again later";
            return Err(Refusal::new(StatusCode::CONFLICT, "under_way", message).after_ms(1_000));
        }
        Claim::Full(after_s) => return Err(Refusal::throttled(u32::try_from(after_s * 1_000).unwrap_or(60_000))),
    }
    // A task of its own: it is not cancelled when the client disconnects.
    let (shared, name) = (shared.clone(), name.to_owned());
    let put = tokio::spawn(async move {
        let put = match shared.draining.load(Ordering::Acquire) {
            true => Err(desk::EngineClientError::Stopped),
            false => desk::put(&shared.orders, vec![event]).await,
        };
        match put {
            Ok(position) => {
                let notes = shared.recent.told(&name, key, until_s, position);
                let engine = shared.engine.clone();
                let noted = tokio::task::spawn_blocking(move || {
                    engine.notes().set(notes)?;
                    engine.notes().sync()
                });
                if let Err(error) = noted.await.unwrap_or_else(|error| Err(error.to_string())) {
                    NOT_NOTED.say(|| tracing::warn!(webhook = name, "that a request came is not noted: {error}"));
                }
                Ok(position)
            }
            Err(error) => {
                shared.recent.release(key, until_s);
                Err(error.refusal(&shared.engine))
            }
        }
    });
    put.await.unwrap_or_else(|_| Err(Refusal::stopped(None))).map(answer)
}

/// The JSON of a body, as it was sent: the body itself, or the field `payload` of a form, as GitHub and Slack send
/// it.
struct Content {
    json: Option<String>,
}

impl Content {
    fn of(headers: &HeaderMap, body: &[u8]) -> Content {
        let content_type =
            headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        let is_form = media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded");
        let payload = is_form.then(|| form_urlencoded::parse(body).find(|(name, _)| name == "payload")).flatten();
        let text = match &payload {
            Some((_, payload)) => Some(payload.as_ref()),
            None => std::str::from_utf8(body).ok(),
        };
        let json = text.and_then(|text| serde_json::from_str::<&RawValue>(text).ok());
        Content { json: json.map(|json| raw::compact(json.get())) }
    }

    /// The JSON parsed; null if there is none.
    fn read(&self) -> Value {
        self.json.as_ref().and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }

    /// Converts the body to a detail.
    fn detail(self, headers: &HeaderMap, body: &[u8]) -> String {
        let wrapped = |name: &str, value: &str| {
            let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            raw::object([(name, value), ("content_type", &json!(content_type).to_string())])
        };
        // Some valid JSON cannot be in a detail: nested too deep, or with half of a surrogate pair.
        let json = self.json.filter(|json| raw::check_member(json).is_ok());
        match (json, std::str::from_utf8(body)) {
            (Some(json), _) if json.starts_with('{') => json,
            (Some(json), _) => wrapped("body", &json),
            (None, Ok(text)) => wrapped("body", &json!(text).to_string()),
            (None, Err(_)) => wrapped("body_base64", &json!(BASE64.encode(body)).to_string()),
        }
    }
}

fn settings_of(webhook: &PartnerWebhook) -> Result<Settings, Refusal> {
    serde_json::from_value(Value::Object(webhook.settings.clone())).map_err(|error| {
        let message = format!("its settings cannot be read: {error}; PUT it again");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "unreadable", message)
    })
}

fn secrets_of(shared: &Shared, name: &str) -> Vec<String> {
    let held = shared.engine.secrets().get(&secret_name(name)).ok().flatten();
    let secrets = held.and_then(|held| serde_json::from_slice::<Value>(&held).ok()).unwrap_or_default();
    secrets["secrets"].as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

/// A webhook as it may be shown.
fn shown(webhook: &PartnerWebhook, registry: &Registry) -> Value {
    let state = registry.event_sources.get(&webhook.event_source).map(|source| source.state.name());
    let mut shown = Value::Object(webhook.settings.clone());
    shown["name"] = webhook.name.clone().into();
    shown["event_source"] = webhook.event_source.clone().into();
    shown["event_source_arn"] = sources::source_arn(REGION, &webhook.event_source).into();
    shown["event_source_state"] = state.into();
    shown["created_at"] = webhook.created_at.to_string().into();
    shown["modified_at"] = webhook.modified_at.to_string().into();
    shown
}

async fn list(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let registry = shared.engine.registry();
    let webhooks = registry.partner_webhooks.values().map(|webhook| shown(webhook, &registry));
    Json(json!({ "webhooks": webhooks.collect::<Vec<_>>() }))
}

async fn describe(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Result<Json<Value>, Refusal> {
    let registry = shared.engine.registry();
    registry.partner_webhooks.get(&name).map(|webhook| Json(shown(webhook, &registry))).ok_or_else(unknown)
}

async fn delete(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Result<StatusCode, Refusal> {
    let deleted = fakemon_aws::carry_out(&shared.backend, |registry: &Registry| {
        registry.partner_webhooks.get(&name).ok_or_else(unknown)?;
        let changes = vec![Change::Delete(format!("partner-webhook/{name}"))];
        Ok::<_, Refusal>(Reply { changes, secrets: vec![(secret_name(&name), None)], ..Reply::default() })
    });
    deleted.await.map(|_| StatusCode::NO_CONTENT)
}

/// The settings of a `PUT`.
struct Wanted {
    settings: Settings,
    event_source: Option<String>,
    secrets: Option<Vec<String>>,
}

async fn make(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Refusal> {
    check_name(&name)?;
    let wanted = wanted(&fakemon_http::refusal::object(body)?)?;
    let now = wall_clock();
    fakemon_aws::carry_out(&shared.backend, |registry: &Registry| decide(registry, &name, wanted, now))
        .await
        .map(Json)
}

/// Creates or changes a webhook; creates its partner event source if there is none.
fn decide(registry: &Registry, name: &str, wanted: Wanted, now: Timestamp) -> Result<Reply, Refusal> {
    let held = registry.partner_webhooks.get(name);
    if held.is_none() && registry.partner_webhooks.size() >= PARTNER_WEBHOOKS_MAX {
        let message = format!("there are {PARTNER_WEBHOOKS_MAX} webhooks already: delete one first");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "too_many", message));
    }
    let Wanted { settings, event_source, secrets } = wanted;
    let given = secrets.is_some();
    let secrets = match (secrets, held) {
        (None, None) => Some(vec![standard_webhooks::new_secret()]),
        (secrets, _) => secrets,
    };
    let event_source = event_source
        .or_else(|| held.map(|held| held.event_source.clone()))
        .unwrap_or_else(|| format!("{}webhooks/{name}", sources::PREFIX));
    let webhook = PartnerWebhook {
        name: name.to_owned(),
        settings: settings_map(&settings),
        created_at: held.map_or(now, |held| held.created_at),
        modified_at: now,
        event_source,
    };
    let mut changes = Vec::new();
    let mut answer = shown(&webhook, registry);
    if !registry.event_sources.contains_key(&webhook.event_source) {
        changes.push(sources::new_source(registry, &webhook.event_source, now)?);
        answer["event_source_state"] = EventSourceState::Pending.name().into();
    }
    if let Some([secret]) = secrets.as_deref().filter(|_| !given) {
        answer["secret"] = secret.clone().into();
    }
    changes.push(Change::Put(Resource::PartnerWebhook(webhook)));
    let secrets = secrets.map(|secrets| (secret_name(name), Some(json!({ "secrets": secrets }))));
    Ok(Reply { answer, changes, secrets: secrets.into_iter().collect() })
}

fn settings_map(settings: &Settings) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(map)) => map,
        _ => unreachable!("settings are an object of texts and numbers"),
    }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    // Clients and proxies take dots alone for steps of the path.
    let is_step = matches!(name, "." | "..");
    match (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits) && !is_step {
        true => Ok(()),
        false => {
            let message = format!(
                "a name has 1 to {NAME_BYTES_MAX} letters, digits, dots, dashes and underscores, and is not . or .."
            );
            Err(Refusal::field("bad_request", "name", message))
        }
    }
}

/// Parses the settings; or which of them is invalid.
fn wanted(body: &Map<String, Value>) -> Result<Wanted, Refusal> {
    let mut body = body.clone();
    let secrets = match body.remove("secrets") {
        None | Some(Value::Null) => None,
        Some(secrets) => Some(read_secrets(&secrets)?),
    };
    let event_source = match body.remove("event_source") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) if sources::is_source_name(&name) => Some(name),
        Some(_) => {
            let message = "event_source must be a name as in aws.partner/example.com/orders";
            return Err(Refusal::field("bad_request", "event_source", message));
        }
    };
    let unfit = |error| Refusal::unfit(error).also_known("`secrets`, `event_source`");
    let settings: Settings = typed::from_value(body.into()).map_err(unfit)?;
    let scheme = settings.scheme()?;
    if secrets.iter().flatten().any(|secret| !scheme.takes_secret(secret)) {
        let message = "secrets of the layout standard are 24 to 64 bytes, written as whsec_BASE64";
        return Err(Refusal::field("bad_request", "secrets", message));
    }
    Ok(Wanted { settings, event_source, secrets })
}

/// Parses secrets; errors never quote them.
fn read_secrets(secrets: &Value) -> Result<Vec<String>, Refusal> {
    let fits = |text: &&str| (8..=SECRET_BYTES_MAX).contains(&text.len());
    let read = secrets.as_array().map(|secrets| {
        secrets.iter().map(|one| one.as_str().filter(fits).map(str::to_owned)).collect::<Option<Vec<_>>>()
    });
    match read.flatten().filter(|secrets| (1..=SECRETS_MAX).contains(&secrets.len())) {
        Some(secrets) => Ok(secrets),
        None => {
            let message = format!("secrets must be 1 to {SECRETS_MAX} texts of 8 to {SECRET_BYTES_MAX} bytes");
            Err(Refusal::field("bad_request", "secrets", message))
        }
    }
}
