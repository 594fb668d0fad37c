//! Event buses and who may put events on them.

use super::request::{BUS_NAME, Request, arn, object, paged};
use super::{ApiError, Call, Operation, Reply, seconds, tags};
use fakemon_engine::bus::resource::{Bus, Change, Resource};
use fakemon_engine::bus::{DEFAULT_BUS, GAME_BUS, Registry};
use serde_json::{Map, Value, json};

/// Members that are kept and given back.
const KEPT: [&str; 2] = ["KmsKeyIdentifier", "LogConfig"];

pub(super) fn operation(name: &str) -> Option<Operation> {
    Some(match name {
        "CreateEventBus" => create,
        "UpdateEventBus" => update,
        "DeleteEventBus" => delete,
        "DescribeEventBus" => describe,
        "ListEventBuses" => list,
        "PutPermission" => put_permission,
        "RemovePermission" => remove_permission,
        "ListEventSources" => |_, _, _| Ok(Reply::of(json!({ "EventSources": [] }))),
        "ListPartnerEventSources" => |_, _, _| Ok(Reply::of(json!({ "PartnerEventSources": [] }))),
        "ListPartnerEventSourceAccounts" => |_, _, _| Ok(Reply::of(json!({ "PartnerEventSourceAccounts": [] }))),
        "ListEndpoints" => |_, _, _| Ok(Reply::of(json!({ "Endpoints": [] }))),
        "DescribeEventSource" | "ActivateEventSource" | "DeactivateEventSource" | "DescribePartnerEventSource" => {
            no_source
        }
        "CreatePartnerEventSource" | "DeletePartnerEventSource" | "PutPartnerEvents" => |_, _, _| {
            let message = "This account is not authorized to use partner event sources.";
            Err(ApiError::new("OperationDisabledException", message))
        },
        _ => return None,
    })
}

fn no_source(_: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.required("Name");
    request.check()?;
    Err(ApiError::missing(format!("Event source {name} does not exist.")))
}

/// The bus of a name, or the service's error.
pub(super) fn existing<'r>(registry: &'r Registry, name: &str) -> Result<&'r Bus, ApiError> {
    registry.buses.get(name).ok_or_else(|| ApiError::missing(format!("Event bus {name} does not exist.")))
}

fn bus_arn(call: &Call<'_>, name: &str) -> String {
    arn(call.region, &format!("event-bus/{name}"))
}

fn dead_letter(request: &Request<'_>) -> Option<String> {
    request.get("DeadLetterConfig")?.get("Arn")?.as_str().map(str::to_owned)
}

fn kept(request: &Request<'_>) -> Map<String, Value> {
    KEPT.iter().filter_map(|name| Some(((*name).to_owned(), request.get(name)?.clone()))).collect()
}

fn create(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("Name", BUS_NAME, 256);
    let description = request.short("Description", 512);
    request.check()?;
    if registry.buses.contains_key(name) {
        return Err(ApiError::new("ResourceAlreadyExistsException", format!("Event bus {name} already exists.")));
    }
    if name.contains('/') {
        return Err(ApiError::invalid(
            "Event bus name must not contain '/': there are no partner event sources here.",
        ));
    }
    let bus = Bus {
        name: name.into(),
        description: description.clone(),
        policy: None,
        dead_letter_arn: dead_letter(request),
        kept: kept(request),
        created_at: call.now,
        modified_at: call.now,
        tags: tags::given(request)?,
    };
    let answer = object([
        ("EventBusArn", Some(bus_arn(call, name).into())),
        ("Description", description.map(Into::into)),
        ("DeadLetterConfig", bus.dead_letter_arn.clone().map(|arn| json!({ "Arn": arn }))),
    ]);
    Ok(Reply::with(answer, vec![Change::Put(Resource::Bus(bus))]))
}

fn update(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.bus("Name");
    let description = request.short("Description", 512);
    request.check()?;
    let mut bus = existing(registry, &name)?.clone();
    bus.description = description.or(bus.description);
    bus.dead_letter_arn = dead_letter(request).or(bus.dead_letter_arn);
    bus.kept.extend(kept(request));
    bus.modified_at = call.now;
    let answer = object([
        ("Arn", Some(bus_arn(call, &name).into())),
        ("Name", Some(name.into())),
        ("Description", bus.description.clone().map(Into::into)),
        ("DeadLetterConfig", bus.dead_letter_arn.clone().map(|arn| json!({ "Arn": arn }))),
    ]);
    Ok(Reply::with(answer, vec![Change::Put(Resource::Bus(bus))]))
}

fn delete(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.bus("Name");
    request.check()?;
    if name == DEFAULT_BUS || name == GAME_BUS {
        return Err(ApiError::invalid(format!("Cannot delete event bus {name}.")));
    }
    // As with the service, one that does not exist is gone already.
    let changes = registry.buses.get(&name).map(|_| Change::Delete(format!("bus/{name}")));
    Ok(Reply::with(json!({}), changes.into_iter().collect()))
}

fn shown(bus: &Bus, call: &Call<'_>) -> Value {
    let mut shown = object([
        ("Name", Some(bus.name.clone().into())),
        ("Arn", Some(bus_arn(call, &bus.name).into())),
        ("Description", bus.description.clone().map(Into::into)),
        ("Policy", bus.policy.as_ref().map(|policy| policy.to_string().into())),
        ("DeadLetterConfig", bus.dead_letter_arn.clone().map(|arn| json!({ "Arn": arn }))),
        ("CreationTime", Some(seconds(bus.created_at))),
        ("LastModifiedTime", Some(seconds(bus.modified_at))),
    ]);
    if let Some(members) = shown.as_object_mut() {
        members.extend(bus.kept.clone());
    }
    shown
}

fn describe(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.bus("Name");
    request.check()?;
    Ok(Reply::of(shown(existing(registry, &name)?, call)))
}

fn list(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let prefix = request.text("NamePrefix").unwrap_or_default();
    let buses = registry.buses.values().filter(|bus| bus.name.starts_with(prefix));
    let (page, next) = request.page(buses.map(|bus| shown(bus, call)).collect())?;
    Ok(Reply::of(paged("EventBuses", page, next)))
}

fn put_permission(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.bus("EventBusName");
    request.check()?;
    let mut bus = existing(registry, &name)?.clone();
    if let Some(policy) = request.text("Policy") {
        let policy = serde_json::from_str(policy)
            .map_err(|error| ApiError::new("InvalidParameterValue", format!("Policy is not valid JSON: {error}")))?;
        bus.policy = Some(policy);
    } else {
        let statement_id = request.required("StatementId");
        let principal = request.required("Principal");
        request.check()?;
        let principal = match principal {
            "*" => json!("*"),
            account => json!({ "AWS": format!("arn:aws:iam::{account}:root") }),
        };
        let mut statement = json!({
            "Sid": statement_id,
            "Effect": "Allow",
            "Principal": principal,
            "Action": request.text("Action").unwrap_or("events:PutEvents"),
            "Resource": bus_arn(call, &name),
        });
        if let Some(condition) = request.get("Condition") {
            let member = |name: &str| condition.get(name).and_then(Value::as_str).unwrap_or_default();
            statement["Condition"] = json!({ member("Type"): { member("Key"): member("Value") } });
        }
        let mut policy = bus.policy.take().unwrap_or_else(|| json!({ "Version": "2012-10-17", "Statement": [] }));
        if let Some(statements) = policy["Statement"].as_array_mut() {
            statements.retain(|held| held["Sid"] != statement_id);
            statements.push(statement);
        }
        bus.policy = Some(policy);
    }
    bus.modified_at = call.now;
    Ok(Reply::with(json!({}), vec![Change::Put(Resource::Bus(bus))]))
}

fn remove_permission(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.bus("EventBusName");
    request.check()?;
    let mut bus = existing(registry, &name)?.clone();
    let all = request.get("RemoveAllPermissions").and_then(Value::as_bool).unwrap_or_default();
    let statement_id = request.text("StatementId").unwrap_or_default();
    let unknown = || ApiError::missing("Statement with the provided id does not exist.");
    let statements = bus.policy.as_mut().and_then(|policy| policy["Statement"].as_array_mut());
    match statements {
        _ if all => bus.policy = None,
        None => return Err(ApiError::missing("EventBus does not have a policy.")),
        Some(statements) => {
            let before = statements.len();
            statements.retain(|held| held["Sid"] != statement_id);
            if statements.len() == before {
                return Err(unknown());
            }
            if statements.is_empty() {
                bus.policy = None;
            }
        }
    }
    bus.modified_at = call.now;
    Ok(Reply::with(json!({}), vec![Change::Put(Resource::Bus(bus))]))
}
