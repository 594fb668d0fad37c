//! Targets of rules: put, list, remove. Up to a thousand per rule.

use crate::http_parameters;
use crate::lookup::existing_bus;
use crate::lookup::existing_rule;
use fakemon_aws::request::{NAME, Request, lower, paged};
use fakemon_aws::{ApiError, Call, Operation, Reply};
use fakemon_model::limits::TARGETS_OF_RULE_MAX;
use fakemon_model::names::{BusName, RuleName};
use fakemon_pattern::transform::{Transform, TransformError};
use fakemon_resource::resource::{Change, HttpParameters, InputTransformer, Resource, Retry, Target};
use fakemon_resource::{Destination, Registry};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Targets of one rule, with the service.
const AWS_TARGETS_MAX: usize = 5;
/// Variables of an input template, at most.
const PATHS_MAX: usize = 100;

pub(crate) fn operation(name: &str) -> Option<Operation> {
    Some(match name {
        "PutTargets" => put,
        "RemoveTargets" => remove,
        "ListTargetsByRule" => list,
        _ => return None,
    })
}

fn put(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let (rule, bus) = (request.name("Rule", NAME, 64), request.bus("EventBusName"));
    let given = request.list("Targets", 1, 100);
    for (number, target) in (1..).zip(given) {
        check_members(request, &format!("targets.{number}.member"), target);
    }
    request.check()?;
    existing_bus(registry, &bus)?;
    existing_rule(registry, BusName(&bus), RuleName(rule))?;
    let mut targets = BTreeMap::new();
    for given in given.iter().filter_map(Value::as_object) {
        let target = target(registry, BusName(&bus), RuleName(rule), given)?;
        check_served(&target, call)?;
        targets.insert(target.id.clone(), target);
    }
    let others =
        registry.targets_of(BusName(&bus), RuleName(rule)).filter(|held| !targets.contains_key(&held.id)).count();
    let most = if call.settings.aws_limits { AWS_TARGETS_MAX } else { TARGETS_OF_RULE_MAX };
    if others + targets.len() > most {
        return Err(ApiError::new(
            "LimitExceededException",
            "The requested resource exceeds the maximum number allowed.",
        ));
    }
    let changes = targets.into_values().map(|target| Change::Put(Resource::Target(target))).collect();
    Ok(Reply::with(json!({ "FailedEntryCount": 0, "FailedEntries": [] }), changes))
}

/// Checks that the service makes on all targets before it processes the first.
fn check_members(request: &Request<'_>, at: &str, target: &Value) {
    match target["Id"].as_str() {
        Some(id) => request.check_name(&format!("{at}.id"), id, NAME, 64),
        None => request.required_at(&format!("{at}.id")),
    }
    match target["Arn"].as_str() {
        Some(arn) => request.check_length(&format!("{at}.arn"), arn, 1, 1_600),
        None => request.required_at(&format!("{at}.arn")),
    }
    for (member, max) in [("Input", 8_192), ("InputPath", 256)] {
        let text = target[member].as_str().unwrap_or_default();
        request.check_length(&format!("{at}.{}", lower(member)), text, 0, max);
    }
    if let Some(transformer) = target.get("InputTransformer") {
        check_transformer(request, &format!("{at}.inputTransformer"), transformer);
    }
    if let Some(http) = target.get("HttpParameters") {
        http_parameters::check_target(request, &format!("{at}.httpParameters"), http);
    }
    for (member, min, max) in RETRY_BOUNDS {
        if let Some(number) = target["RetryPolicy"].get(member) {
            request.number_at(&format!("{at}.retryPolicy.{}", lower(member)), number, min, max);
        }
    }
}

fn check_transformer(request: &Request<'_>, at: &str, transformer: &Value) {
    match transformer["InputTemplate"].as_str() {
        Some(template) => request.check_length(&format!("{at}.inputTemplate"), template, 1, 8_192),
        None => request.required_at(&format!("{at}.inputTemplate")),
    }
    let paths = texts(transformer.get("InputPathsMap"));
    let shown = || paths.iter().map(|(name, path)| format!("{name}={path}")).collect::<Vec<_>>().join(", ");
    let wrong = |what: &str| {
        request
            .found(format!("Value '{{{}}}' at '{at}.inputPathsMap' failed to satisfy constraint: {what}", shown()));
    };
    if paths.len() > PATHS_MAX {
        wrong(&format!("Member must have length less than or equal to {PATHS_MAX}"));
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !paths.keys().all(|name| (1..=256).contains(&name.len()) && name.bytes().all(fits)) {
        wrong(
            "Map keys must satisfy constraint: [Member must have length less than or equal to 256, Member must have \
             length greater than or equal to 1, Member must satisfy regular expression pattern: [A-Za-z0-9\\_\\-]+]",
        );
    }
    if paths.values().any(|path| path.len() > 256) {
        wrong(
            "Map value must satisfy constraint: [Member must have length less than or equal to 256, Member must have \
             length greater than or equal to 0]",
        );
    }
}

fn target(
    registry: &Registry,
    BusName(bus): BusName<'_>,
    RuleName(rule): RuleName<'_>,
    given: &Map<String, Value>,
) -> Result<Target, ApiError> {
    let text = |name: &str| given.get(name).and_then(Value::as_str).map(str::to_owned);
    let (id, arn) = (text("Id").unwrap_or_default(), text("Arn").unwrap_or_default());
    if arn.split(':').count() < 6 || !arn.starts_with("arn:") {
        return Err(ApiError::invalid(format!(
            "Parameter {arn} is not valid. Reason: Provided Arn is not in correct format."
        )));
    }
    let transformer = given.get("InputTransformer").and_then(Value::as_object).map(|given| InputTransformer {
        paths: texts(given.get("InputPathsMap")),
        template: given.get("InputTemplate").and_then(Value::as_str).unwrap_or_default().to_owned(),
    });
    let (input, input_path) = (text("Input"), text("InputPath"));
    check_input(&id, input.as_deref(), input_path.as_deref(), transformer.as_ref())?;
    let retry = given.get("RetryPolicy").and_then(Value::as_object).map(retry);
    let dead_letter_arn =
        given.get("DeadLetterConfig").and_then(|config| config.get("Arn")).and_then(Value::as_str).map(str::to_owned);
    if let Some(dead_letter_arn) = &dead_letter_arn {
        check_dead_letter(&id, dead_letter_arn)?;
    }
    check_destination(registry, &id, &arn, given)?;
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

/// Checks the input: at most one of the three members, and that one is valid.
fn check_input(
    id: &str,
    input: Option<&str>,
    input_path: Option<&str>,
    transformer: Option<&InputTransformer>,
) -> Result<(), ApiError> {
    let invalid = |what: String| Err(ApiError::invalid(what));
    if usize::from(input.is_some()) + usize::from(input_path.is_some()) + usize::from(transformer.is_some()) > 1 {
        return invalid(format!(
            "Only one of Input, InputPath, or InputTransformer must be provided for target {id}."
        ));
    }
    if input.is_some_and(|input| serde_json::from_str::<serde::de::IgnoredAny>(input).is_err()) {
        return invalid(format!("JSON syntax error in input for target {id}."));
    }
    if let Some(key) = transformer.and_then(|given| given.paths.keys().find(|key| key.starts_with("AWS"))) {
        return invalid(format!("InputPathsMap for target {id} contains key {key}: keys cannot start with AWS."));
    }
    let parts = transformer.map(|transformer| (&transformer.paths, transformer.template.as_str()));
    match Transform::parse(input, input_path, parts) {
        Ok(_) => Ok(()),
        Err(TransformError::Placeholder(name)) => {
            invalid(format!("InputTemplate for target {id} contains invalid placeholder {name}."))
        }
        Err(TransformError::Template(why)) => {
            invalid(format!("Invalid InputTemplate for target {id} : it must be JSON. Reason: {why}"))
        }
        Err(TransformError::Path | TransformError::Body(_)) => invalid(format!("Invalid InputPath for target {id}.")),
    }
}

fn check_dead_letter(id: &str, arn: &str) -> Result<(), ApiError> {
    match Destination::of(arn) {
        Destination::Queue(queue) if queue.ends_with(".fifo") => Err(ApiError::invalid(format!(
            "Dead letter queue of target {id} must be a standard queue: {queue} is a FIFO queue."
        ))),
        Destination::Queue(_) => Ok(()),
        _ => Err(ApiError::invalid(format!("Dead letter queue of target {id} must be the ARN of an SQS queue."))),
    }
}

/// Checks that this process serves the target, so that an unserved one is an error now, not a dead letter later.
fn check_served(target: &Target, call: &Call<'_>) -> Result<(), ApiError> {
    let Target { id, arn, .. } = target;
    if call.settings.allow_unserved_targets || Destination::of(arn) != Destination::Unknown {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "Parameter {arn} is not valid for target {id}. Reason: nothing here serves it. Targets are queues, log groups, event \
         buses, API destinations, answer webhooks, the capture service, players and functions of the embedding program; \
         the setting bus.allow_unserved_targets accepts others, whose events become dead letters."
    )))
}

/// Checks the parameters that a kind of target needs besides its ARN.
fn check_destination(registry: &Registry, id: &str, arn: &str, given: &Map<String, Value>) -> Result<(), ApiError> {
    match Destination::of(arn) {
        Destination::Queue(queue) if queue.ends_with(".fifo") => {
            let group = given.get("SqsParameters").map(|sqs| sqs["MessageGroupId"].as_str().unwrap_or_default());
            let group = group.ok_or_else(|| {
                ApiError::invalid(format!("Parameter(s) SqsParameters must be specified for target: {id}."))
            })?;
            if fakemon_queue::queue::is_id(group) {
                return Ok(());
            }
            Err(ApiError::invalid(format!(
                "Parameter SqsParameters.MessageGroupId is not valid for target {id}. Reason: it must be 1 to 128 \
                 alphanumeric and punctuation characters."
            )))
        }
        Destination::Webhook(name) if !registry.destinations.contains_key(&name) => {
            Err(ApiError::missing(format!("API destination {name} does not exist.")))
        }
        _ => Ok(()),
    }
}

/// Members of a retry policy and their bounds.
const RETRY_BOUNDS: [(&str, u64, u64); 2] =
    [("MaximumRetryAttempts", 0, 185), ("MaximumEventAgeInSeconds", 60, 86_400)];

/// A checked retry policy; missing numbers get their maximum.
fn retry(policy: &Map<String, Value>) -> Retry {
    let [attempts_max, age_s_max] = RETRY_BOUNDS.map(|(member, _, max)| {
        let number = policy.get(member).and_then(Value::as_u64).unwrap_or(max);
        u32::try_from(number).expect("the bounds are far below")
    });
    Retry { attempts_max, age_s_max }
}

fn texts(map: Option<&Value>) -> BTreeMap<String, String> {
    let members = map.and_then(Value::as_object).into_iter().flatten();
    members.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn remove(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let (rule, bus) = (request.name("Rule", NAME, 64), request.bus("EventBusName"));
    let ids = request.list("Ids", 1, 100);
    request.check()?;
    existing_bus(registry, &bus)?;
    existing_rule(registry, BusName(&bus), RuleName(rule))?;
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
    existing_bus(registry, &bus)?;
    existing_rule(registry, BusName(&bus), RuleName(rule))?;
    let targets = registry
        .targets_of(BusName(&bus), RuleName(rule))
        .map(|target| (target.id.clone(), Value::Object(target.given.clone())));
    let (page, next) = request.page("Targets", targets)?;
    Ok(Reply::of(paged("Targets", page, next)))
}
