//! Members of a request, as SQS checks them: the first thing that is wrong is told, in its words. Numbers may come as
//! texts: the query protocol has nothing else.

use super::super::ApiError;
use super::super::request::Request;
use serde_json::Value;

pub(in crate::aws) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterValue", message)
}

/// A value that a parameter may not have, and why.
pub(in crate::aws) fn invalid_value(name: &str, value: &str, reason: &str) -> ApiError {
    invalid(format!("Value {value} for parameter {name} is invalid. Reason: {reason}"))
}

pub(super) fn missing(name: &str) -> ApiError {
    ApiError::new("MissingParameter", format!("The request must contain the parameter {name}."))
}

/// A text, if it is there.
pub(in crate::aws) fn text<'r>(request: &Request<'r>, name: &str) -> Result<Option<&'r str>, ApiError> {
    match request.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(invalid_value(name, &other.to_string(), "Must be a string.")),
    }
}

/// A text that has to be there; it may be empty.
pub(super) fn required<'r>(request: &Request<'r>, name: &str) -> Result<&'r str, ApiError> {
    text(request, name)?.ok_or_else(|| missing(name))
}

/// A text that has to be there, and says something.
pub(in crate::aws) fn filled<'r>(request: &Request<'r>, name: &str) -> Result<&'r str, ApiError> {
    text(request, name)?.filter(|text| !text.is_empty()).ok_or_else(|| missing(name))
}

/// A whole number between two bounds, if it is there.
pub(in crate::aws) fn number(
    request: &Request<'_>,
    name: &str,
    min: u32,
    max: u32,
    reason: &str,
) -> Result<Option<u32>, ApiError> {
    let Some(value) = request.get(name) else { return Ok(None) };
    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let number = shown.parse().ok().filter(|number: &u32| (min..=max).contains(number));
    number.map(Some).ok_or_else(|| invalid_value(name, &shown, reason))
}

/// Names in a list.
pub(super) fn names<'r>(request: &Request<'r>, member: &str) -> Vec<&'r str> {
    let list = request.get(member).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).collect()
}
