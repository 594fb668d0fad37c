//! Members of a request, checked as SQS does: the first error is reported, in its words. Numbers may be texts: the
//! query protocol has nothing else.

use fakemon_aws::ApiError;
use fakemon_aws::request::Request;
use serde_json::Value;

pub(crate) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterValue", message)
}

/// The error for an invalid value of a parameter.
pub(crate) fn invalid_value(name: &str, value: &str, reason: &str) -> ApiError {
    invalid(format!("Value {value} for parameter {name} is invalid. Reason: {reason}"))
}

pub(crate) fn missing(name: &str) -> ApiError {
    ApiError::new("MissingParameter", format!("The request must contain the parameter {name}."))
}

/// An optional text.
pub(crate) fn text<'r>(request: &Request<'r>, name: &str) -> Result<Option<&'r str>, ApiError> {
    match request.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(invalid_value(name, &other.to_string(), "Must be a string.")),
    }
}

/// A required text; it may be empty.
pub(crate) fn required<'r>(request: &Request<'r>, name: &str) -> Result<&'r str, ApiError> {
    text(request, name)?.ok_or_else(|| missing(name))
}

/// A required text that is not empty.
pub(crate) fn filled<'r>(request: &Request<'r>, name: &str) -> Result<&'r str, ApiError> {
    text(request, name)?.filter(|text| !text.is_empty()).ok_or_else(|| missing(name))
}

/// An optional whole number between two bounds.
pub(crate) fn number(
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

/// A list of names.
pub(crate) fn names<'r>(request: &Request<'r>, member: &str) -> Vec<&'r str> {
    let list = request.get(member).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).collect()
}
