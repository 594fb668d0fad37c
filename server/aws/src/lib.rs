//! The protocol of AWS, as its clients speak it (boto3, the AWS CLI, Terraform): how requests are read, signed,
//! decided and answered. What the operations do is in the crates of the services.
//!
//! An operation that changes resources is a function of the registry and the request: answer and changes out, no I/O.
//! Changes are made one request at a time, and are durable before the answer.
//!
//! - [`request`]: members of a request, checked with the service's words
//! - [`event_pattern`]: patterns in requests
//! - [`changes`]: changes of resources, durable before the answer
//! - [`query`]: forms in, XML out
//! - [`rest`]: operations with paths of their own
//! - [`services`]: what AWS has, and what of it is not here; [`sts`]: who calls
//! - [`signature`]: AWS Signature Version 4
//! - [`api_keys`]: who may put events with a key, and how many; [`api_gateway`]: the keys and their usage plans

#![allow(
    missing_docs,
    reason = "nothing outside of this workspace reads them; a doc that repeats a name says nothing"
)]

pub mod request;
pub mod event_pattern;
pub mod changes;
pub mod query;
pub mod rest;
pub mod services;
pub mod sts;
pub mod signature;
pub mod api_keys;
pub mod api_gateway;

use axum::http::{HeaderMap, StatusCode, header};
pub use changes::{Turn, carry_out, carry_out_in, change, unavailable};
use fakemon_delivery::{Archived, ReplayProgress};
use fakemon_http::{Backend, Refusal};
use fakemon_model::ids::Timestamp;
use fakemon_resource::Registry;
use fakemon_resource::resource::{Archive, Change, Pipe};
use request::Request;
use serde_json::Value;
use std::ops::Deref;
use std::sync::Arc;

/// The largest request: a batch of messages, each byte of it encoded.
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// What operations with paths of their own need.
pub struct Api {
    pub backend: Arc<Backend>,
    pub settings: BusSettings,
    /// Usage of API keys.
    pub meters: api_keys::Meters,
}

impl Deref for Api {
    type Target = Backend;

    fn deref(&self) -> &Backend {
        &self.backend
    }
}

/// Context of an operation besides its request.
pub struct Call<'c> {
    /// From the request's signature, else `local`.
    pub region: &'c str,
    /// The address that the client used, without a slash at the end.
    pub endpoint: &'c str,
    pub now: Timestamp,
    /// The parameters of a connection, secrets included.
    pub secret: &'c (dyn Fn(&str) -> Option<Value> + Sync),
    /// Progress of a replay.
    pub progress: &'c (dyn Fn(&str) -> Option<ReplayProgress> + Sync),
    /// The state of a pipe, and why it is so.
    pub pipe: &'c (dyn Fn(&Pipe) -> (&'static str, Option<String>) + Sync),
    /// Size of an archive when it was counted last.
    pub archived: &'c (dyn Fn(&Archive) -> Archived + Sync),
    pub settings: BusSettings,
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
pub struct ApiError {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
}

impl ApiError {
    pub fn new(code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError { status: StatusCode::BAD_REQUEST, code, message: message.into() }
    }

    pub fn invalid(message: impl Into<String>) -> ApiError {
        ApiError::new("ValidationException", message)
    }

    pub fn missing(message: impl Into<String>) -> ApiError {
        ApiError::new("ResourceNotFoundException", message)
    }

    /// A body that was not read: it is too large, or did not arrive whole.
    pub fn unread(status: StatusCode) -> ApiError {
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let message = format!("a request has at most {BODY_BYTES_MAX} bytes: send less at once");
                ApiError { status, ..ApiError::new("RequestEntityTooLargeException", message) }
            }
            _ => ApiError::invalid("the body did not arrive whole: send it again"),
        }
    }

    pub fn internal(message: impl Into<String>) -> ApiError {
        ApiError { status: StatusCode::INTERNAL_SERVER_ERROR, code: "InternalException", message: message.into() }
    }
}

impl From<ApiError> for Refusal {
    fn from(ApiError { status, code, message }: ApiError) -> Refusal {
        Refusal::new(status, code, message)
    }
}

/// An answer, and the changes that have to be durable before it is given.
#[derive(Debug, Default)]
pub struct Reply {
    pub answer: Value,
    pub changes: Vec<Change>,
    /// Secrets by name: parameters of connections, and others; none deletes the secret.
    pub secrets: Vec<(String, Option<Value>)>,
}

impl Reply {
    pub fn of(answer: Value) -> Reply {
        Reply { answer, ..Reply::default() }
    }

    pub fn with(answer: Value, changes: Vec<Change>) -> Reply {
        Reply { answer, changes, ..Reply::default() }
    }
}

/// An operation that only the registry decides.
pub type Operation = fn(&Registry, &Request<'_>, &Call<'_>) -> Result<Reply, ApiError>;

/// The parameters of a connection, secrets included.
pub fn secret_of(backend: &Backend, connection: &str) -> Option<Value> {
    let secret = backend.engine.secrets().get(connection).ok().flatten();
    secret.and_then(|text| serde_json::from_slice(&text).ok())
}

/// The region in the credential scope of a signature: `Credential=ID/DATE/REGION/SERVICE/aws4_request`.
pub fn region(headers: &HeaderMap) -> String {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let scope = authorization.split("Credential=").nth(1).and_then(|rest| rest.split([',', ' ']).next());
    let region = scope.and_then(|scope| scope.split('/').nth(2)).unwrap_or_default();
    let sound = (1..=32).contains(&region.len()) && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if sound { region.to_owned() } else { fakemon_model::envelope::REGION.to_owned() }
}

pub fn endpoint(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    format!("http://{host}")
}

/// A new random UUID.
pub fn uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// A time as AWS's JSON has it: seconds since 1970, with milliseconds.
pub fn seconds(at: Timestamp) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds are far from the limit")]
    let seconds = (at.0 / 1_000_000) as f64 / 1_000.0;
    seconds.into()
}
