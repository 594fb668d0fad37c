//! The member `Target` of a schedule: checked as the service does, and stored as it was sent, with the defaults of
//! its retry policy.

use fakemon_aws::request::{Request, lower};
use fakemon_aws::{ApiError, Call};
use fakemon_resource::Destination;
use fakemon_resource::resource::Schedule;
use fakemon_schedule::{check_target, reserved_event};
use serde_json::{Map, Value, json};

/// The longest input, in bytes.
const INPUT_BYTES_MAX: usize = 256 << 10;
/// Members of a retry policy, with minimum and maximum; the maximum is the default.
const RETRY: [(&str, u64, u64); 2] = [("MaximumEventAgeInSeconds", 60, 86_400), ("MaximumRetryAttempts", 0, 185)];

/// The target of a request. Errors of the service's first pass are noted; the rest is checked only if that found
/// none.
pub(crate) fn given(request: &Request<'_>, call: &Call<'_>) -> Result<Map<String, Value>, ApiError> {
    let Some(given) = request.get("Target") else {
        request.required_at("target");
        return Ok(Map::new());
    };
    for (member, most) in [("Arn", 1_600), ("RoleArn", 1_600)] {
        match given[member].as_str() {
            Some(text) => request.check_length(&format!("target.{}", lower(member)), text, 1, most),
            None => request.required_at(&format!("target.{}", lower(member))),
        }
    }
    if let Some(role) = given["RoleArn"].as_str() {
        request.check_role("target.roleArn", role);
    }
    if let Some(input) = given.get("Input") {
        match input.as_str() {
            Some(input) if input.len() > INPUT_BYTES_MAX => request.found(format!(
                "Value at 'target.input' failed to satisfy constraint: Member must have at most {INPUT_BYTES_MAX} bytes"
            )),
            Some(input) => request.check_length("target.input", input, 1, INPUT_BYTES_MAX),
            None => request.found("Value at 'target.input' failed to satisfy constraint: Member must be a string".into()),
        }
    }
    for (member, min, max) in RETRY {
        if let Some(number) = given["RetryPolicy"].get(member).filter(|number| !number.is_null()) {
            request.number_at(&format!("target.retryPolicy.{}", lower(member)), number, min, max);
        }
    }
    let mut target = given.as_object().cloned().unwrap_or_default();
    let policy = RETRY.map(|(member, _, max)| {
        let number = given["RetryPolicy"].get(member).filter(|number| !number.is_null());
        (member.to_owned(), number.cloned().unwrap_or_else(|| json!(max)))
    });
    target.insert("RetryPolicy".into(), Value::Object(policy.into_iter().collect()));
    check(&target, call)?;
    Ok(target)
}

/// The target as it is stored.
pub(crate) fn shown(schedule: &Schedule) -> Value {
    serde_json::from_str(&schedule.target).unwrap_or_default()
}

fn check(target: &Map<String, Value>, call: &Call<'_>) -> Result<(), ApiError> {
    let arn = target.get("Arn").and_then(Value::as_str).unwrap_or_default();
    if arn.split(':').count() < 6 || !arn.starts_with("arn:") {
        return Err(ApiError::invalid(format!("Provided Arn is not in correct format: {arn}")));
    }
    if let Some(config) = target.get("DeadLetterConfig")
        && let Some(arn) = config["Arn"].as_str()
    {
        match Destination::of(arn) {
            Destination::Queue(queue) if !queue.ends_with(".fifo") => {}
            _ => {
                return Err(ApiError::invalid(format!(
                    "DeadLetterConfig.Arn must be the ARN of a standard queue: {arn}"
                )));
            }
        }
    }
    check_target(target, call.settings.allow_unserved_targets)
        .map_err(|error| ApiError::invalid(format!("Invalid Target: {error}")))?;
    match reserved_event(target) {
        Some((bus, source)) => Err(ApiError::invalid(format!(
            "Invalid Target: Source must not be {source} on the event bus {bus}: others say that"
        ))),
        None => Ok(()),
    }
}
