//! Tags of buses and rules.

use crate::lookup::{existing_bus, existing_rule};
use fakemon_aws::request::Request;
use fakemon_aws::{ApiError, Call, Operation, Reply};
use fakemon_delivery::schema::Enforcement;
use fakemon_model::limits::TAGS_MAX;
use fakemon_model::names::{BusName, RuleName};
use fakemon_resource::resource::{Change, Resource, Tags};
use fakemon_resource::{DEFAULT_BUS, Registry};
use serde_json::{Value, json};

pub(crate) fn operation(name: &str) -> Option<Operation> {
    Some(match name {
        "TagResource" => tag,
        "UntagResource" => untag,
        "ListTagsForResource" => list,
        _ => return None,
    })
}

/// The member `Tags`: a list of keys and values.
pub(crate) fn given(request: &Request<'_>) -> Result<Tags, ApiError> {
    let given = request.get("Tags").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut tags = Tags::new();
    for (number, tag) in (1..).zip(given) {
        let at = |member: &str| format!("tags.{number}.member.{member}");
        let part = |name: &str, at: &str, min: usize, max: usize| match tag[name].as_str() {
            Some(text) => {
                request.check_length(at, text, min, max);
                text.to_owned()
            }
            None => {
                request.required_at(at);
                String::new()
            }
        };
        tags.insert(part("Key", &at("key"), 1, 128), part("Value", &at("value"), 0, 256));
    }
    request.check()?;
    few(tags)
}

pub(super) fn few(tags: Tags) -> Result<Tags, ApiError> {
    if let Some(word) = tags.get(Enforcement::TAG).filter(|word| Enforcement::named(word).is_none()) {
        let message = format!("Tag {} is off, warn or reject, not {word}.", Enforcement::TAG);
        return Err(ApiError::invalid(message));
    }
    check_keys(&tags)?;
    match tags.len() {
        0..=TAGS_MAX => Ok(tags),
        _ => Err(ApiError::new("LimitExceededException", format!("A resource has at most {TAGS_MAX} tags."))),
    }
}

/// Rejects keys that begin with `aws:`: they are reserved.
pub(super) fn check_keys(tags: &Tags) -> Result<(), ApiError> {
    let is_reserved = |key: &&String| key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"));
    match tags.keys().find(is_reserved) {
        None => Ok(()),
        Some(key) => Err(ApiError::invalid(format!(
            "Tag key {key} is not valid: aws: prefixed tag key names are not allowed for external use."
        ))),
    }
}

fn tagged(registry: &Registry, request: &Request<'_>) -> Result<Resource, ApiError> {
    let arn = request.required("ResourceARN");
    request.check()?;
    if let Some((_, rule)) = arn.split_once(":rule/") {
        let (bus, rule) = rule.rsplit_once('/').unwrap_or((DEFAULT_BUS, rule));
        return existing_rule(registry, BusName(bus), RuleName(rule)).cloned().map(Resource::Rule);
    }
    match arn.split_once(":event-bus/") {
        Some((_, bus)) => existing_bus(registry, bus).cloned().map(Resource::Bus),
        None => Err(ApiError::invalid(format!(
            "Parameter {arn} is not valid. Reason: Provided Arn is not in correct format."
        ))),
    }
}

fn tags_of(resource: &mut Resource) -> Option<&mut Tags> {
    match resource {
        Resource::Bus(bus) => Some(&mut bus.tags),
        Resource::Rule(rule) => Some(&mut rule.tags),
        _ => None,
    }
}

fn tag(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let mut resource = tagged(registry, request)?;
    let given = given(request)?;
    if let Some(tags) = tags_of(&mut resource) {
        tags.extend(given);
        *tags = few(std::mem::take(tags))?;
    }
    Ok(Reply::with(json!({}), vec![Change::Put(resource)]))
}

fn untag(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let mut resource = tagged(registry, request)?;
    let keys = request.get("TagKeys").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    if let Some(tags) = tags_of(&mut resource) {
        keys.for_each(|key| drop(tags.remove(key)));
    }
    Ok(Reply::with(json!({}), vec![Change::Put(resource)]))
}

fn list(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let mut resource = tagged(registry, request)?;
    let tags = tags_of(&mut resource).map(std::mem::take).unwrap_or_default();
    let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    Ok(Reply::of(json!({ "Tags": tags })))
}
