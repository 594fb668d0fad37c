//! The one shape of all errors: `{"error":{"code","message","field"}}`.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fakemon_access::authority::percent_decoded;
use fakemon_delivery::schema::Violation;
use fakemon_model::authorship::Reserved;
use fakemon_pattern::typed::{self, Unfit};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// An error response: what was wrong, in which field, and what to do.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    field: Option<Cow<'static, str>>,
    retry_after_ms: Option<u32>,
    /// What was refused is a command: those are counted.
    is_of_command: bool,
}

impl Refusal {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { status, code, message: message.into(), field: None, retry_after_ms: None, is_of_command: false }
    }

    /// Invalid input: which field, and what it must be.
    pub fn field(code: &'static str, field: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Refusal {
        Refusal { field: Some(field.into()), ..Refusal::new(StatusCode::BAD_REQUEST, code, message) }
    }

    /// The same, in an element of a list: from 0, as in the paths of members.
    pub fn in_element(self, index: usize) -> Refusal {
        let field = match self.field {
            Some(field) => format!("[{index}].{field}"),
            None => format!("[{index}]"),
        };
        Refusal { message: format!("[{index}]: {}", self.message), field: Some(field.into()), ..self }
    }

    /// The same, of a command.
    pub fn of_command(self) -> Refusal {
        Refusal { is_of_command: true, ..self }
    }

    /// A member that is missing, unknown or of another type.
    pub fn unfit(error: Unfit) -> Refusal {
        let message = error.to_string();
        let field = Some(error.path).filter(|path| !path.is_empty()).map(Cow::Owned);
        Refusal { field, ..Refusal::new(StatusCode::BAD_REQUEST, "bad_request", message) }
    }

    /// The same, with more names in the list of known members.
    pub fn also_known(self, names: &str) -> Refusal {
        Refusal { message: self.message.replacen("known is ", &format!("known is {names}, "), 1), ..self }
    }

    /// An event that violates its schema.
    pub fn of_schema(violation: &Violation) -> Refusal {
        let field = violation.path.trim_start_matches("$.").to_owned();
        Refusal::field("schema_validation_failed", field, violation.to_string())
    }

    /// An event that only the engine may put.
    pub fn reserved(error: &Reserved) -> Refusal {
        Refusal::field("reserved_source", error.field(), error.to_string())
    }

    /// An authenticated client without permission.
    pub fn forbidden(code: &'static str, field: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { field: Some(field.into()), ..Refusal::new(StatusCode::FORBIDDEN, code, message) }
    }

    /// A client that did not say who it is.
    pub fn unauthorized(field: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { field: Some(field.into()), ..Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message) }
    }

    /// The same, with a pause before a retry, in milliseconds.
    pub fn after_ms(self, retry_after_ms: u32) -> Refusal {
        Refusal { retry_after_ms: Some(retry_after_ms), ..self }
    }

    /// Too much is waiting already: retry after this many milliseconds.
    pub fn throttled(retry_after_ms: u32) -> Refusal {
        Refusal {
            retry_after_ms: Some(retry_after_ms),
            ..Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "throttled",
                format!("too much is waiting: try again after {retry_after_ms} ms"),
            )
        }
    }

    /// The engine has stopped or failed, and accepts nothing.
    pub fn stopped(reason: Option<String>) -> Refusal {
        let message = reason.unwrap_or_else(|| "the server is stopping".into());
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "stopped", message)
    }
}

impl Refusal {
    /// What was wrong, and what to do.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether what was refused is a command.
    pub fn is_of_command(&self) -> bool {
        self.is_of_command
    }

    /// The kind of mistake.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The body of the answer.
    pub fn body(&self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message, "field": self.field });
        if let Some(ms) = self.retry_after_ms {
            error["retry_after_ms"] = ms.into();
        }
        json!({ "error": error })
    }
}

/// Parses a body that is a JSON object; an empty body is an empty object.
pub fn object(body: Result<Bytes, BytesRejection>) -> Result<Map<String, Value>, Refusal> {
    let body = body.map_err(|rejection| {
        let message = "the body is too large, or did not arrive whole";
        Refusal::new(rejection.status(), "unread", message)
    })?;
    if body.is_empty() {
        return Ok(Map::new());
    }
    typed::from_slice(&body).map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, "bad_json", format!("the body must be a JSON object: {error}"))
    })
}

/// A parsed query string; an invalid parameter is rejected with its name.
pub struct InQuery<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for InQuery<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<InQuery<T>, Refusal> {
        check_encoding(parts.uri.query())?;
        let read = Query::from_request_parts(parts, state).await;
        read.map(|Query(query)| InQuery(query)).map_err(|rejection| unread_query(&rejection))
    }
}

/// Refuses what the parser of queries would replace: bytes that are no UTF-8, and percent signs that encode no byte.
///
/// # Errors
/// With the name of the parameter.
pub fn check_encoding(query: Option<&str>) -> Result<(), Refusal> {
    let pairs = query.unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    for (name, value) in pairs {
        if percent_decoded(name).is_none() || percent_decoded(value).is_none() {
            let field = percent_decoded(name).unwrap_or_else(|| "query".into());
            let message = format!("{field} must be percent-encoded UTF-8");
            return Err(Refusal::field("bad_query", field, message));
        }
    }
    Ok(())
}

/// From the rejection's words: `Failed to deserialize query string: from: invalid digit found in string`.
pub fn unread_query(rejection: &QueryRejection) -> Refusal {
    let said = rejection.body_text();
    let what = said.split_once(": ").map_or(said.as_str(), |(_, what)| what);
    let is_name = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if let Some((name, _)) = what.strip_prefix("duplicate field `").and_then(|rest| rest.split_once('`')) {
        let message = format!("{name} is there twice: leave one of them");
        return Refusal::field("bad_query", name.to_owned(), message);
    }
    match what.split_once(": ").filter(|(name, _)| is_name(name)) {
        Some((name, why)) => Refusal::field("bad_query", name.to_owned(), format!("{name} {}", wanted(why))),
        None => Refusal::new(StatusCode::BAD_REQUEST, "bad_query", format!("the query makes no sense: {what}")),
    }
}

/// What a parameter must be, from what the parser of numbers says.
fn wanted(why: &str) -> String {
    match why {
        "invalid digit found in string" | "cannot parse integer from empty string" => "must be a whole number".into(),
        "number too large to fit in target type" => "must be a smaller whole number".into(),
        "invalid float literal" | "cannot parse float from empty string" => "must be a number".into(),
        why => format!("makes no sense: {why}"),
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.body())).into_response();
        if let Some(ms) = self.retry_after_ms {
            let seconds = HeaderValue::from(ms.div_ceil(1_000).max(1)); // the header knows whole seconds only
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}
