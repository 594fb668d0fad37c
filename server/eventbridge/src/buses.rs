//! Event buses and who may put events on them.
//!
//! The `DeadLetterConfig` of a bus is for events that the service cannot encrypt or decrypt with a customer's key.
//! Nothing is encrypted with such a key here, so nothing goes there: it must be the ARN of a standard queue, and is
//! returned. Dead letters of deliveries go where their targets say.

use crate::lookup::existing_bus;
use crate::{partners, tags};
use fakemon_aws::request::{BUS_NAME, NAME, Request, arn, object, paged};
use fakemon_aws::{ApiError, Call, Operation, Reply, seconds, services};
use fakemon_resource::inbound::EventSourceState;
use fakemon_resource::resource::{Bus, Change, Resource};
use fakemon_resource::{DEFAULT_BUS, GAME_BUS, Registry};
use serde_json::{Map, Value, json};

/// The longest policy, in bytes, as with the service.
const POLICY_BYTES_MAX: usize = 10 << 10;
/// Members that are stored and returned, without effect.
const KEPT: [&str; 2] = ["KmsKeyIdentifier", "LogConfig"];

pub(crate) fn operation(name: &str) -> Option<Operation> {
    Some(match name {
        "CreateEventBus" => create,
        "UpdateEventBus" => update,
        "DeleteEventBus" => delete,
        "DescribeEventBus" => describe,
        "ListEventBuses" => list,
        "PutPermission" => put_permission,
        "RemovePermission" => remove_permission,
        "ListEndpoints" => |_, _, _| Ok(Reply::of(json!({ "Endpoints": [] }))),
        "CreateEndpoint" => |_, _, _| {
            let mut error = services::not_here("events", "CreateEndpoint");
            error.message.push_str(
                ". Global endpoints fail over between two regions, and this is one node: put events on its buses \
                 without an EndpointId.",
            );
            Err(error)
        },
        "DescribeEndpoint" | "UpdateEndpoint" | "DeleteEndpoint" => no_endpoint,
        _ => return None,
    })
}

fn no_endpoint(_: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("Name", NAME, 64);
    request.check()?;
    Err(ApiError::missing(format!("Endpoint '{name}' does not exist.")))
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
    let source = match request.text("EventSourceName") {
        Some(source) if source != name => {
            let message = format!("Event bus name {name} must match the event source name {source}.");
            return Err(ApiError::invalid(message));
        }
        Some(source) => Some(partners::existing(registry, source)?),
        None if name.contains('/') => return Err(ApiError::invalid("Event bus name must not contain '/'.")),
        None => None,
    };
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
    let activated = source.map(|source| partners::in_state(source, EventSourceState::Active));
    Ok(Reply::with(answer, [Change::Put(Resource::Bus(bus))].into_iter().chain(activated).collect()))
}

fn update(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.bus("Name");
    let description = request.short("Description", 512);
    request.check()?;
    let mut bus = existing_bus(registry, &name)?.clone();
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
    if registry.rules_of(&name).next().is_some() {
        return Err(ApiError::invalid("EventBus can't be deleted since it has rules."));
    }
    // As with the service, deleting a bus that does not exist succeeds.
    let changes = registry.buses.get(&name).map(|_| Change::Delete(format!("bus/{name}")));
    let source = registry.event_sources.get(&name).filter(|_| changes.is_some());
    let waits = source.map(|source| partners::in_state(source, EventSourceState::Pending));
    Ok(Reply::with(json!({}), changes.into_iter().chain(waits).collect()))
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
    Ok(Reply::of(shown(existing_bus(registry, &name)?, call)))
}

fn list(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let prefix = request.text("NamePrefix").unwrap_or_default();
    request.check()?;
    let buses = registry.buses.values().filter(|bus| bus.name.starts_with(prefix));
    let (page, next) = request.page("EventBuses", buses.map(|bus| (bus.name.clone(), shown(bus, call))))?;
    Ok(Reply::of(paged("EventBuses", page, next)))
}

/// A principal: `*`, or an account.
const PRINCIPAL: &str = r"(\d{12}|\*)";
const STATEMENT_ID: &str = "[a-zA-Z0-9-_]+";

fn put_permission(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.bus("EventBusName");
    request.check()?;
    let mut bus = existing_bus(registry, &name)?.clone();
    if let Some(policy) = request.text("Policy") {
        let policy = serde_json::from_str(policy).ok().filter(Value::is_object);
        bus.policy = Some(policy.ok_or_else(|| ApiError::invalid("This policy contains invalid Json"))?);
    } else {
        let statement = statement(request, call, &name)?;
        let mut policy = bus.policy.take().unwrap_or_else(|| json!({ "Version": "2012-10-17", "Statement": [] }));
        if !policy["Statement"].is_array() {
            policy["Statement"] = json!([policy["Statement"]]); // a policy may hold one statement without a list
        }
        if let Some(statements) = policy["Statement"].as_array_mut() {
            statements.retain(|held| held["Sid"] != statement["Sid"]);
            statements.push(statement);
        }
        bus.policy = Some(policy);
    }
    let bytes = bus.policy.as_ref().map_or(0, |policy| policy.to_string().len());
    if bytes > POLICY_BYTES_MAX {
        let message = format!("The policy of event bus {name} would have more than {POLICY_BYTES_MAX} bytes.");
        return Err(ApiError::new("PolicyLengthExceededException", message));
    }
    bus.modified_at = call.now;
    Ok(Reply::with(json!({}), vec![Change::Put(Resource::Bus(bus))]))
}

/// Builds a statement from the parts that a request gives.
fn statement(request: &Request<'_>, call: &Call<'_>, bus: &str) -> Result<Value, ApiError> {
    let (statement_id, principal) = (request.required("StatementId"), request.required("Principal"));
    let action = request.text("Action").unwrap_or("events:PutEvents");
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let account = |text: &str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    let fit = |at: &str, text: &str, fits: bool, pattern: &str| {
        if !text.is_empty() && !fits {
            request.found(format!(
                "Value '{text}' at '{at}' failed to satisfy constraint: Member must satisfy regular expression \
                 pattern: {pattern}"
            ));
        }
    };
    fit("statementId", statement_id, statement_id.bytes().all(word), STATEMENT_ID);
    request.check_length("statementId", statement_id, usize::from(request.get("StatementId").is_some()), 64);
    fit("principal", principal, principal == "*" || account(principal), PRINCIPAL);
    request.check()?;
    if action != "events:PutEvents" {
        return Err(ApiError::invalid("Provided value in parameter 'action' is not supported."));
    }
    let mut statement = json!({
        "Sid": statement_id,
        "Effect": "Allow",
        "Principal": match principal {
            "*" => json!("*"),
            account => json!({ "AWS": format!("arn:aws:iam::{account}:root") }),
        },
        "Action": action,
        "Resource": bus_arn(call, bus),
    });
    if let Some(condition) = request.get("Condition") {
        let member = |name: &str| condition.get(name).and_then(Value::as_str).unwrap_or_default();
        statement["Condition"] = json!({ member("Type"): { member("Key"): member("Value") } });
    }
    Ok(statement)
}

fn remove_permission(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.bus("EventBusName");
    request.check()?;
    let mut bus = existing_bus(registry, &name)?.clone();
    if request.get("RemoveAllPermissions").and_then(Value::as_bool).unwrap_or_default() {
        bus.policy = None;
    } else {
        let statement_id = request.text("StatementId").unwrap_or_default();
        let unknown = || ApiError::missing("Statement with the provided id does not exist.");
        let no_policy = || ApiError::missing("EventBus does not have a policy.");
        let policy = bus.policy.as_mut().ok_or_else(no_policy)?;
        let statements = policy["Statement"].as_array_mut().ok_or_else(unknown)?;
        let before = statements.len();
        statements.retain(|held| held["Sid"] != statement_id);
        if statements.len() == before {
            return Err(unknown());
        }
        if statements.is_empty() {
            bus.policy = None;
        }
    }
    bus.modified_at = call.now;
    Ok(Reply::with(json!({}), vec![Change::Put(Resource::Bus(bus))]))
}
