//! Operations that have paths of their own (REST-JSON): Amazon EventBridge Scheduler, Pipes and Schemas. The path
//! names the operation; members of the request are in the path, in the query and in the body, and are merged into one
//! request like those of other services. Names in paths are names of members: `/schedules/{Name}`.

use crate::Api;
use crate::request::{Request, read_json};
use crate::{ApiError, Call, Operation, change, endpoint, region, secret_of, uuid};
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use fakemon_engine::wall_clock;
use fakemon_pipe::state_name;
use fakemon_resource::resource::{Archive, Pipe};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Type of a member in the query.
#[derive(Clone, Copy)]
pub enum Kind {
    Text,
    Number,
    /// A list: the parameter may be repeated.
    Texts,
}

/// A member in the query: its name there, its name in the request, its kind.
pub type InQuery = (&'static str, &'static str, Kind);

/// Routes a method of a path to an operation.
pub fn route(method: MethodFilter, operation: Operation, query: &'static [InQuery]) -> MethodRouter<Arc<Api>> {
    let handle = move |State(api): State<Arc<Api>>,
                       Path(path): Path<Vec<(String, String)>>,
                       pairs: Result<Query<Vec<(String, String)>>, QueryRejection>,
                       headers: HeaderMap,
                       body: Result<Bytes, BytesRejection>| async move {
        let members = members(path, pairs, query, body);
        answer(match members {
            Ok(members) => perform(&api, operation, &headers, &members).await,
            Err(error) => Err(error),
        })
    };
    on(method, handle)
}

/// As [`route`], with another status for a success.
pub fn answered(
    method: MethodFilter,
    operation: Operation,
    query: &'static [InQuery],
    status: StatusCode,
) -> MethodRouter<Arc<Api>> {
    let told = move |mut response: Response| async move {
        if response.status() == StatusCode::OK {
            *response.status_mut() = status;
            if status == StatusCode::NO_CONTENT {
                *response.body_mut() = axum::body::Body::empty();
            }
        }
        response
    };
    route(method, operation, query).layer(map_response(told))
}

/// Runs an operation on the members of a request.
pub(crate) async fn perform(
    api: &Arc<Api>,
    operation: Operation,
    headers: &HeaderMap,
    members: &Map<String, Value>,
) -> Result<Value, ApiError> {
    let (region, endpoint) = (region(headers), endpoint(headers));
    let progress = |replay: &str| api.engine.replays().progress(replay);
    let secret = |connection: &str| secret_of(api, connection);
    let pipe = |pipe: &Pipe| state_name(pipe, api.engine.pipes().status(pipe).as_ref());
    let now = wall_clock();
    let archived = |archive: &Archive| api.engine.archive_figures().of(archive, now);
    let call = Call {
        region: &region,
        endpoint: &endpoint,
        now,
        secret: &secret,
        progress: &progress,
        pipe: &pipe,
        archived: &archived,
        settings: api.settings,
    };
    change(&api.backend, operation, &Request::new(members), &call).await
}

/// Merges the members of a request from path, query and body.
pub fn members(
    path: Vec<(String, String)>,
    pairs: Result<Query<Vec<(String, String)>>, QueryRejection>,
    query: &[InQuery],
    body: Result<Bytes, BytesRejection>,
) -> Result<Map<String, Value>, ApiError> {
    let body = body.map_err(|rejection| ApiError::unread(rejection.status()))?;
    let mut members = read_json(&body)?;
    let unread = |error: QueryRejection| ApiError::invalid(format!("the query cannot be read: {error}"));
    let Query(pairs) = pairs.map_err(unread)?;
    for (wire, member, kind) in query {
        let mut values = pairs.iter().filter(|(name, _)| name == wire).map(|(_, value)| value);
        let value = match kind {
            Kind::Texts => {
                Some(values.cloned().collect::<Vec<_>>()).filter(|texts| !texts.is_empty()).map(Value::from)
            }
            Kind::Text => values.next().map(|text| text.as_str().into()),
            Kind::Number => values.next().map(|text| text.parse::<u64>().map_or(text.as_str().into(), Value::from)),
        };
        value.into_iter().for_each(|value| drop(members.insert((*member).to_owned(), value)));
    }
    members.extend(path.into_iter().map(|(name, value)| (name, Value::from(value))));
    Ok(members)
}

/// An answer, or an error with the status of its kind.
pub fn answer(outcome: Result<Value, ApiError>) -> Response {
    let (status, body, code) = match outcome {
        Ok(Value::Null) => (StatusCode::OK, json!({}), None),
        Ok(answer) => (StatusCode::OK, answer, None),
        Err(ApiError { status, code, message }) => {
            let status = match code {
                "ResourceNotFoundException" | "NotFoundException" => StatusCode::NOT_FOUND,
                "ConflictException" => StatusCode::CONFLICT,
                "ServiceQuotaExceededException" => StatusCode::PAYMENT_REQUIRED,
                "ThrottlingException" => StatusCode::TOO_MANY_REQUESTS,
                "InternalException" => StatusCode::INTERNAL_SERVER_ERROR,
                _ => status,
            };
            // Clients of one service read `Message`, those of another `message`.
            (status, json!({ "Code": code, "Message": message, "message": message }), Some(code))
        }
    };
    let mut response = (status, body.to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(HeaderName::from_static("x-amzn-requestid"), HeaderValue::from_str(&uuid()).expect("hexadecimal"));
    if let Some(code) = code {
        headers.insert(HeaderName::from_static("x-amzn-errortype"), HeaderValue::from_static(code));
    }
    response
}
