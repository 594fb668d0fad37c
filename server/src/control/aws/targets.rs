//! Targets of rules: put, listed, removed. Any number per rule, up to a thousand.

use super::buses::existing;
use super::request::{NAME, Request, paged};
use super::rules::existing_rule;
use super::{ApiError, Call, Operation, Reply};
use fakemon_engine::bus::resource::{Change, HttpParameters, InputTransformer, Resource, Retry, Target};
use fakemon_engine::bus::{Destination, Registry};
use fakemon_engine::transform::Transform;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Targets of one rule.
const TARGETS_MAX: usize = 1_000;

pub(super) fn operation(name: &str) -> Option<Operation> {
    Some(match name {
        "PutTargets" => put,
        "RemoveTargets" => remove,
        "ListTargetsByRule" => list,
        _ => return None,
    })
}

fn put(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let (rule, bus) = (request.name("Rule", NAME, 64), request.bus("EventBusName"));
    let given = request.get("Targets").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !(1..=100).contains(&given.len()) {
        request
            .found("Value at 'targets' failed to satisfy constraint: Member must have length from 1 to 100".into());
    }
    for (number, target) in (1..).zip(given) {
        let at = |member: &str| format!("targets.{number}.member.{member}");
        match target.get("Id").and_then(Value::as_str) {
            Some(id) => request.check_name(&at("id"), id, NAME, 64),
            None => request
                .found(format!("Value null at '{}' failed to satisfy constraint: Member must not be null", at("id"))),
        }
        if target.get("Arn").and_then(Value::as_str).is_none() {
            request.found(format!(
                "Value null at '{}' failed to satisfy constraint: Member must not be null",
                at("arn")
            ));
        }
    }
    request.check()?;
    existing(registry, &bus)?;
    existing_rule(registry, &bus, rule)?;
    let mut changes = Vec::new();
    for given in given.iter().filter_map(Value::as_object) {
        changes.push(Change::Put(Resource::Target(target(registry, &bus, rule, given)?)));
    }
    if registry.targets_of(&bus, rule).count() + changes.len() > TARGETS_MAX {
        return Err(ApiError::new(
            "LimitExceededException",
            "The requested resource exceeds the maximum number allowed.",
        ));
    }
    Ok(Reply::with(json!({ "FailedEntryCount": 0, "FailedEntries": [] }), changes))
}

fn target(registry: &Registry, bus: &str, rule: &str, given: &Map<String, Value>) -> Result<Target, ApiError> {
    let text = |name: &str| given.get(name).and_then(Value::as_str).map(str::to_owned);
    let (id, arn) = (text("Id").unwrap_or_default(), text("Arn").unwrap_or_default());
    let invalid = |what: String| Err(ApiError::invalid(what));
    if arn.split(':').count() < 6 || !arn.starts_with("arn:") {
        return invalid(format!("Parameter {arn} is not valid. Reason: Provided Arn is not in correct format."));
    }
    let transformer = given.get("InputTransformer").and_then(Value::as_object).map(|given| InputTransformer {
        paths: texts(given.get("InputPathsMap")),
        template: given.get("InputTemplate").and_then(Value::as_str).unwrap_or_default().to_owned(),
    });
    let (input, input_path) = (text("Input"), text("InputPath"));
    if usize::from(input.is_some()) + usize::from(input_path.is_some()) + usize::from(transformer.is_some()) > 1 {
        return invalid(format!(
            "Only one of Input, InputPath, or InputTransformer must be provided for target {id}."
        ));
    }
    if let Some(input) = &input
        && serde_json::from_str::<serde::de::IgnoredAny>(input).is_err()
    {
        return invalid(format!("JSON syntax error in input for target {id}."));
    }
    let parts = transformer.as_ref().map(|transformer| (&transformer.paths, transformer.template.as_str()));
    if let Err(error) = Transform::parse(input.as_deref(), input_path.as_deref(), parts) {
        return invalid(match error.0.split_once("placeholder <").and_then(|(_, rest)| rest.split_once('>')) {
            Some((name, _)) => format!("InputTemplate for target {id} contains invalid placeholder {name}."),
            None => format!("Invalid InputPath for target {id}."),
        });
    }
    let retry = given.get("RetryPolicy").and_then(Value::as_object).map(retry).transpose()?;
    let dead_letter_arn =
        given.get("DeadLetterConfig").and_then(|config| config.get("Arn")).and_then(Value::as_str).map(str::to_owned);
    if let Some(dead_letter_arn) = &dead_letter_arn
        && !matches!(Destination::of(dead_letter_arn), Destination::Queue(_))
    {
        return invalid(format!("Dead letter queue of target {id} must be the ARN of an SQS queue."));
    }
    if let Destination::Queue(queue) = Destination::of(&arn)
        && queue.ends_with(".fifo")
        && given.get("SqsParameters").is_none()
    {
        return invalid(format!("Parameter(s) SqsParameters must be specified for target: {id}."));
    }
    if let Destination::Webhook(name) = Destination::of(&arn)
        && !registry.destinations.contains_key(&name)
    {
        return Err(ApiError::missing(format!("API destination {name} does not exist.")));
    }
    let http = given.get("HttpParameters").map(|http| HttpParameters {
        path: http
            .get("PathParameterValues")
            .and_then(Value::as_array)
            .map(|values| values.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default(),
        headers: texts(http.get("HeaderParameters")),
        query: texts(http.get("QueryStringParameters")),
    });
    Ok(Target {
        bus: bus.into(),
        rule: rule.into(),
        id,
        arn,
        input,
        input_path,
        transformer,
        retry,
        dead_letter_arn,
        http,
        given: given.clone(),
    })
}

fn retry(policy: &Map<String, Value>) -> Result<Retry, ApiError> {
    let number = |name: &str, default: u64, min: u64, max: u64| {
        let number = policy.get(name).map_or(Some(default), Value::as_u64).filter(|n| (min..=max).contains(n));
        number.and_then(|number| u32::try_from(number).ok()).ok_or_else(|| {
            ApiError::invalid(format!("Parameter RetryPolicy.{name} is not valid: it must be from {min} to {max}."))
        })
    };
    Ok(Retry {
        attempts_max: number("MaximumRetryAttempts", 185, 0, 185)?,
        age_s_max: number("MaximumEventAgeInSeconds", 86_400, 60, 86_400)?,
    })
}

fn texts(map: Option<&Value>) -> BTreeMap<String, String> {
    let members = map.and_then(Value::as_object).into_iter().flatten();
    members.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn remove(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let (rule, bus) = (request.name("Rule", NAME, 64), request.bus("EventBusName"));
    let ids = request.get("Ids").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    request.check()?;
    existing(registry, &bus)?;
    existing_rule(registry, &bus, rule)?;
    let (mut changes, mut failed) = (Vec::new(), Vec::new());
    for id in ids.iter().filter_map(Value::as_str) {
        match registry.targets.contains_key(&(bus.clone(), rule.to_owned(), id.to_owned())) {
            true => changes.push(Change::Delete(format!("target/{bus}/{rule}/{id}"))),
            false => failed.push(json!({
                "TargetId": id,
                "ErrorCode": "ResourceNotFoundException",
                "ErrorMessage": format!("Rule {rule} does not have a target with the Id {id}."),
            })),
        }
    }
    Ok(Reply::with(json!({ "FailedEntryCount": failed.len(), "FailedEntries": failed }), changes))
}

fn list(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let (rule, bus) = (request.name("Rule", NAME, 64), request.bus("EventBusName"));
    request.check()?;
    existing(registry, &bus)?;
    existing_rule(registry, &bus, rule)?;
    let targets = registry.targets_of(&bus, rule).map(|target| Value::Object(target.given.clone()));
    let (page, next) = request.page(targets.collect())?;
    Ok(Reply::of(paged("Targets", page, next)))
}
