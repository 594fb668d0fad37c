//! The AWS API: JSON at `POST /`, the operation in the header `X-Amz-Target`. Clients of Amazon EventBridge and
//! Amazon SQS (boto3, the AWS CLI, Terraform) use our address as the endpoint.
//!
//! - `request`: members of a request, checked with the service's words
//! - `services`: what AWS has, and what of it is not here
//! - `query`: forms in, XML out; `sts`: who calls
//! - `http_parameters`: parameters that targets and connections add to requests
//! - `buses`, `partners`, `rules`, `targets`, `events`, `connections`, `archives`, `tags`: operations of
//!   `AWSEvents`
//! - `sqs`, `moves`: operations of `AmazonSQS`
//! - `logs`, `log_filter`: operations of Amazon CloudWatch Logs
//! - `rest`: operations with paths of their own; `rest_tags`: their tags
//! - `pipes`: operations of Amazon EventBridge Pipes
//! - `api_gateway`: API keys and usage plans
//! - `schedules`: operations of Amazon EventBridge Scheduler
//! - `schemas`: operations of Amazon EventBridge Schemas
//!
//! An operation that changes resources is a function of the registry and the request: answer and changes out, no I/O.
//! Changes are made one request at a time, and are durable before the answer.
//!
//! Beyond AWS: an entry for a bus that does not exist fails; tags of a rule set the order of its deliveries
//! (`fakemon:order`: `total` or `none`, `fakemon:concurrency`: 1 to 64); `TestEventPattern` takes `Explain`. Regions
//! and accounts share one namespace: those in an ARN are stored and shown, but have no effect.

mod request;
pub(super) mod services;
mod query;
mod sts;
mod http_parameters;
pub(super) mod partners;
mod buses;
mod rules;
mod targets;
mod events;
mod connections;
mod archives;
mod tags;
mod sqs;
mod moves;
mod log_filter;
mod logs;
mod rest;
mod rest_tags;
mod pipes;
pub(super) mod api_gateway;
mod schedules;
mod schemas;

use super::Shared;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
pub(super) use events::{is_reserved, moment};
use fakemon_delivery::{Archived, ReplayProgress};
use fakemon_engine::wall_clock;
use fakemon_http::desk;
use fakemon_model::ids::{Timestamp, mix};
use fakemon_pipe::state_name;
use fakemon_resource::Registry;
use fakemon_resource::resource::{Archive, Change, Pipe};
pub(super) use logs::Queries;
pub(super) use moves::{Moves, end_all as end_moves, resume as resume_moves};
use query::Form;
pub(super) use query::is_one as is_query;
use request::{Request, read_json};
use serde_json::{Map, Value, json};
pub(super) use sqs::Pauses;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Retries of throttled changes whose secrets are written already.
const SECRET_TRIES_MAX: u32 = 50;
/// The largest request: a batch of messages, each byte of it encoded.
pub(super) const BODY_BYTES_MAX: usize = 4 << 20;

/// Context of an operation besides its request.
pub(super) struct Call<'c> {
    /// From the request's signature, else `local`.
    pub(super) region: &'c str,
    /// The address that the client used, without a slash at the end.
    pub(super) endpoint: &'c str,
    pub(super) now: Timestamp,
    /// The parameters of a connection, secrets included.
    pub(super) secret: &'c (dyn Fn(&str) -> Option<Value> + Sync),
    /// Progress of a replay.
    pub(super) progress: &'c (dyn Fn(&str) -> Option<ReplayProgress> + Sync),
    /// The state of a pipe, and why it is so.
    pub(super) pipe: &'c (dyn Fn(&Pipe) -> (&'static str, Option<String>) + Sync),
    /// Size of an archive when it was counted last.
    pub(super) archived: &'c (dyn Fn(&Archive) -> Archived + Sync),
    pub(super) settings: BusSettings,
}

/// Settings of the bus that decide what is accepted.
#[derive(Clone, Copy, Debug, Default)]
pub struct BusSettings {
    /// Whether a target may name a destination that this process does not serve.
    pub allow_unserved_targets: bool,
    /// Whether the service's limits hold where ours are wider.
    pub aws_limits: bool,
}

/// An error of an operation, in AWS's words.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl ApiError {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError { status: StatusCode::BAD_REQUEST, code, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> ApiError {
        ApiError::new("ValidationException", message)
    }

    pub(super) fn missing(message: impl Into<String>) -> ApiError {
        ApiError::new("ResourceNotFoundException", message)
    }

    fn internal(message: impl Into<String>) -> ApiError {
        ApiError { status: StatusCode::INTERNAL_SERVER_ERROR, code: "InternalException", message: message.into() }
    }
}

/// An answer, and the changes that have to be durable before it is given.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) answer: Value,
    pub(super) changes: Vec<Change>,
    /// Secrets by name: parameters of connections, and others; none deletes the secret.
    pub(super) secrets: Vec<(String, Option<Value>)>,
}

impl Reply {
    pub(super) fn of(answer: Value) -> Reply {
        Reply { answer, ..Reply::default() }
    }

    pub(super) fn with(answer: Value, changes: Vec<Change>) -> Reply {
        Reply { answer, changes, ..Reply::default() }
    }
}

/// While one is held, no other request changes resources.
type Turn = tokio::sync::OwnedMutexGuard<()>;

/// An operation that only the registry decides.
type Operation = fn(&Registry, &Request<'_>, &Call<'_>) -> Result<Reply, ApiError>;

/// The services that are implemented.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    Events,
    Sqs,
    Logs,
}

impl Service {
    /// Its name among AWS's clients.
    fn name(self) -> &'static str {
        match self {
            Service::Events => "events",
            Service::Sqs => "sqs",
            Service::Logs => "logs",
        }
    }

    /// Renames an error as the service does: checks of request members have one name for it.
    fn says(self, error: ApiError) -> ApiError {
        match (self, error.code) {
            (Service::Logs, "ValidationException") => ApiError { code: "InvalidParameterException", ..error },
            _ => error,
        }
    }
}

/// Operations with paths of their own.
pub(super) fn routes() -> Router<Arc<Shared>> {
    let routes = pipes::routes().merge(schedules::routes()).merge(schemas::routes()).merge(rest_tags::routes());
    routes.layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

/// Answers a request.
pub(super) async fn post(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let (service, operation) = match target.split_once('.') {
        Some(("AWSEvents", operation)) => (Service::Events, operation),
        Some(("AmazonSQS", operation)) => (Service::Sqs, operation),
        Some(("Logs_20140328", operation)) => (Service::Logs, operation),
        _ => {
            let form = Form::read(&headers, &uri, body.as_deref().unwrap_or_default());
            return match form.map(|form| form.filter(|_| target.is_empty())) {
                Err(error) if target.is_empty() => answer_in_xml(&headers, "", Err(error)),
                Ok(Some(form)) => answer_form(&shared, &form, &uri, &headers, body.is_err()).await,
                Ok(None) | Err(_) => services::unserved_target(target, &headers)
                    .unwrap_or_else(|| answer(Service::Events, Err(unknown_operation(target)))),
            };
        }
    };
    let members = match &body {
        Ok(body) => read_json(body),
        Err(_) if service == Service::Sqs => Err(sqs::too_large(operation, length(&headers))),
        Err(_) => Err(ApiError::invalid("the body is too large, or did not arrive whole")),
    };
    let outcome = match members {
        Ok(members) => carry(&shared, service, operation, &members, &headers).await,
        Err(error) => Err(error),
    };
    answer(service, outcome)
}

/// Answers a form: the protocol version tells the service.
async fn answer_form(shared: &Arc<Shared>, form: &Form, uri: &Uri, headers: &HeaderMap, is_cut: bool) -> Response {
    let action = form.get("Action").unwrap_or_default();
    let outcome = match form.get("Version") {
        Some(sts::VERSION) => return sts::answer(form, headers),
        _ if is_cut => Err(sqs::too_large(action, length(headers))),
        None | Some(sqs::query::VERSION) => {
            let members = sqs::query::members(action, form, uri.path());
            carry(shared, Service::Sqs, action, &members, headers).await
        }
        Some(version) => return services::unserved_form(action, version, headers),
    };
    answer_in_xml(headers, action, outcome)
}

fn answer_in_xml(headers: &HeaderMap, action: &str, outcome: Result<Value, ApiError>) -> Response {
    match outcome {
        Ok(answer) => query::answered(sqs::query::DIALECT, headers, action, &sqs::query::elements(action, answer)),
        Err(error) => {
            let name = sqs::ErrorName::of(&error);
            let error = ApiError { status: name.status, ..error };
            query::refused(sqs::query::DIALECT, headers, &error, name.code)
        }
    }
}

/// The announced length of a body that was not received whole.
fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Runs an operation, whatever its protocol.
async fn carry(
    shared: &Arc<Shared>,
    service: Service,
    operation: &str,
    members: &Map<String, Value>,
    headers: &HeaderMap,
) -> Result<Value, ApiError> {
    let (region, endpoint) = (region(headers), endpoint(headers));
    let progress = |replay: &str| shared.engine.replays().progress(replay);
    let secret = |connection: &str| secret_of(shared, connection);
    let pipe = |pipe: &Pipe| state_name(pipe, shared.engine.pipes().status(pipe).as_ref());
    let now = wall_clock();
    let archived = |archive: &Archive| shared.engine.archive_figures().of(archive, now);
    let call = Call {
        region: &region,
        endpoint: &endpoint,
        now,
        secret: &secret,
        progress: &progress,
        pipe: &pipe,
        archived: &archived,
        settings: shared.options.bus,
    };
    let outcome = dispatch(shared, service, operation, &Request::new(members), &call).await;
    let answer = outcome.map_err(|error| service.says(error))?;
    Ok(if service == Service::Sqs { sqs::without_empty(answer) } else { answer })
}

/// The parameters of a connection, secrets included.
fn secret_of(shared: &Shared, connection: &str) -> Option<Value> {
    let secret = shared.engine.secrets().get(connection).ok().flatten();
    secret.and_then(|text| serde_json::from_slice(&text).ok())
}

fn unknown_operation(target: &str) -> ApiError {
    ApiError::new("UnknownOperationException", format!("the header X-Amz-Target names no operation here: `{target}`"))
}

async fn dispatch(
    shared: &Arc<Shared>,
    service: Service,
    operation: &str,
    request: &Request<'_>,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    let found = match service {
        Service::Events => match operation {
            "PutEvents" => return events::put(shared, request, call).await,
            "PutPartnerEvents" => return events::put_partner(shared, request, call).await,
            "TestEventPattern" => return events::test_pattern(request),
            _ => [
                buses::operation,
                partners::operation,
                rules::operation,
                targets::operation,
                connections::operation,
                archives::operation,
                tags::operation,
            ]
            .iter()
            .find_map(|family| family(operation)),
        },
        Service::Sqs if operation.ends_with("MessageMoveTask") || operation.ends_with("MessageMoveTasks") => {
            return moves::call(shared, operation, request, call).await;
        }
        Service::Sqs => match sqs::queue_operation(operation) {
            Some(known) => return sqs::call(shared, known, request, call).await,
            None => sqs::operation(operation),
        },
        Service::Logs => match logs::line_operation(operation) {
            Some(known) => return logs::call(shared, known, request, call).await,
            None => logs::operation(operation),
        },
    };
    if service == Service::Events && archives::shows_counts(operation) {
        archives::count(shared).await?;
    }
    let operation = found.ok_or_else(|| services::not_here(service.name(), operation))?;
    change(shared, operation, request, call).await
}

/// Decides, makes the changes durable, answers. One at a time, so that no operation decides on state that another one
/// is about to change.
async fn change(
    shared: &Arc<Shared>,
    operation: Operation,
    request: &Request<'_>,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    carry_out(shared, |registry: &Registry| operation(registry, request, call)).await
}

/// As [`change`], for any function that decides.
pub(super) async fn carry_out<E: From<ApiError>>(
    shared: &Arc<Shared>,
    decide: impl FnOnce(&Registry) -> Result<Reply, E>,
) -> Result<Value, E> {
    let one_at_a_time = Arc::clone(&shared.changing).lock_owned().await;
    carry_out_in(one_at_a_time, shared, decide).await
}

/// The same in a turn that began before.
async fn carry_out_in<E: From<ApiError>>(
    one_at_a_time: Turn,
    shared: &Arc<Shared>,
    decide: impl FnOnce(&Registry) -> Result<Reply, E>,
) -> Result<Value, E> {
    let registry = shared.engine.registry();
    let Reply { answer, changes, secrets } = decide(&registry)?;
    drop(registry);
    if changes.is_empty() && secrets.is_empty() {
        return Ok(answer);
    }
    // A task of its own holds the lock until all is durable: the client may hang up, and the next operation must not
    // decide before these changes are written.
    let shared = Arc::clone(shared);
    let written = tokio::spawn(async move {
        let _one_at_a_time = one_at_a_time;
        write(&shared, changes, secrets).await
    });
    written.await.map_err(|error| ApiError::internal(error.to_string()))??;
    Ok(answer)
}

/// Makes changes durable, with the secrets of connections: new secrets before them, so that no connection exists
/// without its secret; deleted ones after.
async fn write(shared: &Shared, changes: Vec<Change>, secrets: Vec<(String, Option<Value>)>) -> Result<(), ApiError> {
    let (new, gone): (Vec<_>, Vec<_>) = secrets.into_iter().partition(|(_, secret)| secret.is_some());
    let mut tries_left = if new.is_empty() { 0 } else { SECRET_TRIES_MAX };
    write_secrets(shared, new).await?;
    while !changes.is_empty() {
        match desk::change(&shared.orders, changes.clone()).await {
            Ok(_) => break,
            // The secret is written: refusing now would leave the old connection with the new secret.
            Err(desk::EngineClientError::Throttled(retry_after_ms)) if tries_left > 0 => {
                tries_left -= 1;
                tokio::time::sleep(Duration::from_millis(retry_after_ms.into())).await;
            }
            Err(error) => return Err(unavailable(shared, &error)),
        }
    }
    write_secrets(shared, gone).await
}

async fn write_secrets(shared: &Shared, secrets: Vec<(String, Option<Value>)>) -> Result<(), ApiError> {
    for (connection, secret) in secrets {
        let engine = shared.engine.clone();
        let written = tokio::task::spawn_blocking(move || {
            let secret = secret.map(|secret| secret.to_string().into_bytes());
            engine.secrets().set(&connection, secret.as_deref())
        });
        written.await.map_err(|error| ApiError::internal(error.to_string()))?.map_err(ApiError::internal)?;
    }
    Ok(())
}

fn unavailable(shared: &Shared, error: &desk::EngineClientError) -> ApiError {
    match error {
        desk::EngineClientError::Throttled(retry_after_ms) => {
            ApiError::new("ThrottlingException", format!("Rate exceeded: try again after {retry_after_ms} ms"))
        }
        desk::EngineClientError::TooLarge => {
            ApiError::invalid("Total size of the entries in the request is over the limit.")
        }
        desk::EngineClientError::Refused(error) => ApiError::invalid(error.to_string()),
        desk::EngineClientError::Reserved(error) => ApiError::invalid(error.to_string()),
        desk::EngineClientError::Invalid(error) => ApiError::invalid(error.to_string()),
        desk::EngineClientError::Stopped => ApiError {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "ServiceUnavailable",
            message: shared.engine.failure().unwrap_or_else(|| "the server is stopping".into()),
        },
    }
}

/// Answers a request that is not authorized. Services with paths of their own say 403; the others say 400 to
/// everything.
pub(super) fn refuse(uri: &Uri, headers: &HeaderMap, error: ApiError) -> Response {
    let status = if headers.contains_key("x-amz-target") { error.status } else { StatusCode::FORBIDDEN };
    answer_error(uri, headers, ApiError { status, ..error })
}

/// Answers a request that fails before it reaches an operation.
pub(super) fn answer_error(uri: &Uri, headers: &HeaderMap, error: ApiError) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let sqs = target.is_some_and(|target| target.starts_with("AmazonSQS."));
    match target {
        None if query::is_one(headers, uri) => answer_in_xml(headers, "", Err(error)),
        _ => answer(if sqs { Service::Sqs } else { Service::Events }, Err(error)),
    }
}

fn answer(service: Service, outcome: Result<Value, ApiError>) -> Response {
    let is_sqs = service == Service::Sqs;
    let json = if is_sqs { "application/x-amz-json-1.0" } else { "application/x-amz-json-1.1" };
    let name = outcome.as_ref().err().filter(|_| is_sqs).map(sqs::ErrorName::of);
    let (status, body, kind) = match outcome {
        Ok(answer) => (StatusCode::OK, answer, None),
        Err(ApiError { status, code, message }) => {
            let kind = name.as_ref().map_or_else(|| code.to_owned(), |name| name.kind.clone());
            let status = name.as_ref().map_or(status, |name| name.status);
            (status, json!({ "__type": kind, "message": message }), Some(kind))
        }
    };
    let body = if body.is_null() { "{}".to_owned() } else { body.to_string() };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(json));
    headers.insert(HeaderName::from_static("x-amzn-requestid"), HeaderValue::from_str(&uuid()).expect("hexadecimal"));
    let query = name.map(|name| format!("{};{}", name.code, name.fault()));
    for (header, text) in [("x-amzn-errortype", kind), ("x-amzn-query-error", query)] {
        if let Some(value) = text.and_then(|text| HeaderValue::from_str(&text).ok()) {
            headers.insert(HeaderName::from_static(header), value);
        }
    }
    response
}

/// The region in the credential scope of a signature: `Credential=ID/DATE/REGION/SERVICE/aws4_request`.
fn region(headers: &HeaderMap) -> String {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let scope = authorization.split("Credential=").nth(1).and_then(|rest| rest.split([',', ' ']).next());
    let region = scope.and_then(|scope| scope.split('/').nth(2)).unwrap_or_default();
    let sound = (1..=32).contains(&region.len()) && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if sound { region.to_owned() } else { fakemon_model::envelope::REGION.to_owned() }
}

fn endpoint(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    format!("http://{host}")
}

/// A new UUID (version 4 in form). Relaxed: the counter only has to differ.
pub(super) fn uuid() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = wall_clock().0;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let (high, low) = (mix(now ^ mix(number)), mix(mix(now).wrapping_add(number)));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xFFFF,
        high & 0xFFF,
        0x8000 | low >> 48 & 0x3FFF,
        low & 0xFFFF_FFFF_FFFF
    )
}

/// A time as AWS's JSON has it: seconds since 1970, with milliseconds.
pub(super) fn seconds(at: Timestamp) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds are far from the limit")]
    let seconds = (at.0 / 1_000_000) as f64 / 1_000.0;
    seconds.into()
}
