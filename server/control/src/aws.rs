//! The AWS API: JSON at `POST /`, the operation in the header `X-Amz-Target`. Clients of Amazon EventBridge and
//! Amazon SQS (boto3, the AWS CLI, Terraform) use our address as the endpoint. The operations themselves are in
//! `fakemon_eventbridge`, `fakemon_sqs` and `fakemon_logs`; here each request finds its own.

use super::Shared;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
pub(super) use fakemon_aws::query::is_one as is_query;
use fakemon_aws::query::{self, Form};
use fakemon_aws::request::{Request, read_json};
use fakemon_aws::{ApiError, Call, change, endpoint, region, secret_of, services, sts, uuid};
use fakemon_engine::wall_clock;
use fakemon_eventbridge::{archives, events};
use fakemon_logs as logs;
use fakemon_pipe::state_name;
use fakemon_resource::resource::{Archive, Pipe};
use fakemon_sqs as sqs;
use serde_json::{Map, Value, json};
use std::sync::Arc;

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
        Err(rejection) => Err(ApiError::unread(rejection.status())),
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
            "PutEvents" => return events::put(&shared.backend, request, call).await,
            "PutPartnerEvents" => return events::put_partner(&shared.backend, request, call).await,
            "TestEventPattern" => return events::test_pattern(request),
            _ => fakemon_eventbridge::operation(operation),
        },
        Service::Sqs if operation.ends_with("MessageMoveTask") || operation.ends_with("MessageMoveTasks") => {
            return sqs::moves::call(&shared.sqs, operation, request, call).await;
        }
        Service::Sqs => match sqs::queue_operation(operation) {
            Some(known) => return sqs::call(&shared.sqs, known, request, call).await,
            None => sqs::operation(operation),
        },
        Service::Logs => match logs::line_operation(operation) {
            Some(known) => return logs::call(&shared.logs, known, request, call).await,
            None => logs::operation(operation),
        },
    };
    if service == Service::Events && archives::shows_counts(operation) {
        archives::count(shared).await?;
    }
    let operation = found.ok_or_else(|| services::not_here(service.name(), operation))?;
    change(&shared.backend, operation, request, call).await
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
