//! Partner event sources, both sides: the partner creates one and puts events, the customer creates the bus of its
//! name. Here both are one account. An event for a source that has no bus, or was deactivated, is refused.

use fakemon_aws::request::{Request, arn, paged};
use fakemon_aws::{ApiError, Call, Operation, Reply, seconds};
use fakemon_model::envelope::ACCOUNT;
use fakemon_model::limits::EVENT_SOURCES_MAX;
use fakemon_resource::Registry;
use fakemon_resource::inbound::{EventSource, EventSourceState};
use fakemon_resource::resource::{Change, Resource};
use serde_json::{Value, json};

/// Prefix of every name.
pub const PREFIX: &str = "aws.partner/";
const SOURCE_NAME: &str = r"aws\.partner(/[\.\-_A-Za-z0-9]+){2,}";

pub fn operation(name: &str) -> Option<Operation> {
    Some(match name {
        "CreatePartnerEventSource" => create,
        "DeletePartnerEventSource" => delete,
        "DescribePartnerEventSource" => describe_own,
        "ListPartnerEventSources" => list_own,
        "ListPartnerEventSourceAccounts" => list_accounts,
        "DescribeEventSource" => describe,
        "ListEventSources" => list,
        "ActivateEventSource" => activate,
        "DeactivateEventSource" => deactivate,
        _ => return None,
    })
}

/// Whether a text can be the name of a partner event source.
pub fn is_source_name(name: &str) -> bool {
    let fits = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    let parts: Option<Vec<&str>> = name.strip_prefix(PREFIX).map(|rest| rest.split('/').collect());
    name.len() <= 256 && parts.is_some_and(|parts| parts.len() >= 2 && parts.into_iter().all(fits))
}

/// A new partner event source; pending until its bus is created.
pub fn new_source(
    registry: &Registry,
    name: &str,
    call_now: fakemon_model::ids::Timestamp,
) -> Result<Change, ApiError> {
    let inside = |one: &str, other: &str| one.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'));
    if let Some(other) = registry.event_sources.keys().find(|other| inside(name, other) || inside(other, name)) {
        return Err(ApiError::invalid(format!(
            "Event source {name} and event source {other} cannot both be: the name of one is the beginning of the other's."
        )));
    }
    if registry.event_sources.size() >= EVENT_SOURCES_MAX {
        return Err(too_many());
    }
    let (name, state) = (name.to_owned(), EventSourceState::Pending);
    Ok(Change::Put(Resource::EventSource(EventSource { name, state, created_at: call_now })))
}

fn too_many() -> ApiError {
    ApiError::new("LimitExceededException", "The requested resource exceeds the maximum number allowed.")
}

fn check_source_name(request: &Request<'_>, at: &str, name: &str) {
    if !name.is_empty() && !is_source_name(name) {
        request.found(format!(
            "Value '{name}' at '{at}' failed to satisfy constraint: Member must satisfy regular expression pattern: \
             {SOURCE_NAME}"
        ));
    }
}

/// The partner event source of a name, or the service's error.
pub fn existing<'r>(registry: &'r Registry, name: &str) -> Result<&'r EventSource, ApiError> {
    let missing = || ApiError::missing(format!("Event source {name} does not exist."));
    registry.event_sources.get(name).ok_or_else(missing)
}

/// A partner event source in another state.
pub(super) fn in_state(source: &EventSource, state: EventSourceState) -> Change {
    Change::Put(Resource::EventSource(EventSource { state, ..source.clone() }))
}

/// As with the service, without an account: partners are no accounts of the customer's.
pub fn source_arn(region: &str, name: &str) -> String {
    arn(region, &format!("event-source/{name}")).replace(ACCOUNT, "")
}

fn account(request: &Request<'_>) -> Result<(), ApiError> {
    let account = request.required("Account");
    request.check()?;
    match account == ACCOUNT {
        true => Ok(()),
        false => Err(ApiError::invalid(format!("Account {account} does not exist: the only one here is {ACCOUNT}."))),
    }
}

fn create(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.required("Name");
    check_source_name(request, "name", name);
    account(request)?;
    if registry.event_sources.contains_key(name) {
        return Err(ApiError::new("ResourceAlreadyExistsException", format!("Event source {name} already exists.")));
    }
    let change = new_source(registry, name, call.now)?;
    Ok(Reply::with(json!({ "EventSourceArn": source_arn(call.region, name) }), vec![change]))
}

fn delete(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.required("Name");
    account(request)?;
    if let Some(webhook) = registry.partner_webhooks.values().find(|webhook| webhook.event_source == name) {
        return Err(ApiError::invalid(format!(
            "Event source {name} belongs to the webhook {}: delete that first.",
            webhook.name
        )));
    }
    let known = registry.event_sources.contains_key(name);
    let changes = known.then(|| Change::Delete(format!("event-source/{name}")));
    Ok(Reply::with(json!({}), changes.into_iter().collect()))
}

fn describe_own(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.required("Name");
    request.check()?;
    existing(registry, name)?;
    Ok(Reply::of(json!({ "Name": name, "Arn": source_arn(call.region, name) })))
}

fn list_own(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let prefix = request.required("NamePrefix");
    let names = registry.event_sources.keys().filter(|name| name.starts_with(prefix));
    let shown = names.map(|name| (name.clone(), json!({ "Name": name, "Arn": source_arn(call.region, name) })));
    let (page, next) = request.page("PartnerEventSources", shown)?;
    Ok(Reply::of(paged("PartnerEventSources", page, next)))
}

fn list_accounts(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.required("EventSourceName");
    request.check()?;
    let source = existing(registry, name)?;
    let account =
        json!({ "Account": ACCOUNT, "CreationTime": seconds(source.created_at), "State": source.state.name() });
    let (page, next) = request.page("PartnerEventSourceAccounts", [(ACCOUNT.to_owned(), account)])?;
    Ok(Reply::of(paged("PartnerEventSourceAccounts", page, next)))
}

fn shown(source: &EventSource, call: &Call<'_>) -> Value {
    let partner = source.name.trim_start_matches(PREFIX).split('/').next();
    json!({
        "Arn": source_arn(call.region, &source.name),
        "CreatedBy": partner,
        "CreationTime": seconds(source.created_at),
        "Name": source.name,
        "State": source.state.name(),
    })
}

fn describe(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.required("Name");
    request.check()?;
    Ok(Reply::of(shown(existing(registry, name)?, call)))
}

fn list(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let prefix = request.text("NamePrefix").unwrap_or_default();
    let sources = registry.event_sources.values().filter(|source| source.name.starts_with(prefix));
    let (page, next) =
        request.page("EventSources", sources.map(|source| (source.name.clone(), shown(source, call))))?;
    Ok(Reply::of(paged("EventSources", page, next)))
}

fn activate(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.required("Name");
    request.check()?;
    let source = existing(registry, name)?;
    if !registry.buses.contains_key(name) {
        let message = format!("Event source {name} has no event bus: create the event bus {name} from it.");
        return Err(ApiError::new("InvalidStateException", message));
    }
    Ok(Reply::with(json!({}), vec![in_state(source, EventSourceState::Active)]))
}

fn deactivate(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.required("Name");
    request.check()?;
    Ok(Reply::with(json!({}), vec![in_state(existing(registry, name)?, EventSourceState::Pending)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_at_least_two_parts_behind_the_prefix() {
        for name in ["aws.partner/a/b", "aws.partner/example.com/1-2/x_y"] {
            assert!(is_source_name(name), "{name}");
        }
        for name in
            ["", "aws.partner", "aws.partner/a", "aws.partner/a/", "aws.partner//b", "aws.partner/a/b c", "x/a/b"]
        {
            assert!(!is_source_name(name), "{name}");
        }
    }
}
