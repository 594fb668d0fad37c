//! Discoverers: one for each bus.

use super::{arn, as_bad, bad, check, conflict, forbidden, missing, page, tagging};
use crate::lookup::existing_bus;
use fakemon_aws::request::{Request, object};
use fakemon_aws::{ApiError, Call, Reply};
use fakemon_model::limits::DISCOVERERS_MAX;
use fakemon_resource::Registry;
use fakemon_resource::resource::{Change, Discoverer, Resource};
use serde_json::{Value, json};

fn state(discoverer: &Discoverer) -> Value {
    if discoverer.started { "STARTED" } else { "STOPPED" }.into()
}

fn shown(discoverer: &Discoverer, call: &Call<'_>) -> Value {
    object([
        ("Description", discoverer.description.clone().map(Into::into)),
        ("DiscovererArn", Some(arn(call.region, &format!("discoverer/{}", discoverer.id)).into())),
        ("DiscovererId", Some(discoverer.id.clone().into())),
        ("SourceArn", Some(discoverer.source_arn.clone().into())),
        ("State", Some(state(discoverer))),
        ("CrossAccount", Some(discoverer.cross_account.into())),
        ("tags", Some(json!(discoverer.tags))),
    ])
}

fn put(answer: Value, discoverer: Discoverer) -> Reply {
    Reply::with(answer, vec![Change::Put(Resource::Discoverer(discoverer))])
}

fn requested(registry: &Registry, request: &Request<'_>) -> Result<Discoverer, ApiError> {
    let id = request.required("DiscovererId");
    check(request)?;
    let held = registry.discoverers.get(id).cloned();
    held.ok_or_else(|| missing(format!("Discoverer with id {id} does not exist.")))
}

pub(crate) fn create(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let (source, description) = (request.required("SourceArn"), request.short("Description", 256));
    let tags = tagging::given(request)?;
    check(request)?;
    let Some((_, bus)) = source.split_once(":event-bus/").filter(|_| source.starts_with("arn:")) else {
        return Err(bad(format!("SourceArn must be the ARN of an event bus: {source} is not.")));
    };
    existing_bus(registry, bus).map_err(as_bad)?;
    if registry.discoverers.values().any(|held| held.bus == bus) {
        return Err(conflict(format!("Event bus {bus} has a discoverer already.")));
    }
    if registry.discoverers.size() >= DISCOVERERS_MAX {
        return Err(forbidden(format!("There are {DISCOVERERS_MAX} discoverers already: delete one first.")));
    }
    let id = format!("events-event-bus-{}", bus.replace('/', "-"));
    let number = |number: u32| if number == 1 { id.clone() } else { format!("{id}-{number}") };
    let id = (1..).map(number).find(|id| !registry.discoverers.contains_key(id)).expect("numbers do not end");
    let discoverer = Discoverer {
        id,
        bus: bus.into(),
        source_arn: source.into(),
        description,
        started: true,
        cross_account: request.get("CrossAccount").and_then(Value::as_bool).unwrap_or(true),
        started_at: call.now,
        created_at: call.now,
        tags,
    };
    Ok(put(shown(&discoverer, call), discoverer))
}

pub(crate) fn describe(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    Ok(Reply::of(shown(&requested(registry, request)?, call)))
}

pub(crate) fn update(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let description = request.short("Description", 256);
    let mut discoverer = requested(registry, request)?;
    discoverer.description = description.or(discoverer.description);
    let given = request.get("CrossAccount").and_then(Value::as_bool);
    discoverer.cross_account = given.unwrap_or(discoverer.cross_account);
    Ok(put(shown(&discoverer, call), discoverer))
}

pub(crate) fn delete(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let discoverer = requested(registry, request)?;
    Ok(Reply::with(Value::Null, vec![Change::Delete(format!("discoverer/{}", discoverer.id))]))
}

pub(crate) fn start(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let mut discoverer = requested(registry, request)?;
    if !discoverer.started {
        discoverer.started_at = call.now;
    }
    discoverer.started = true;
    Ok(put(json!({ "DiscovererId": discoverer.id, "State": state(&discoverer) }), discoverer))
}

pub(crate) fn stop(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let mut discoverer = requested(registry, request)?;
    discoverer.started = false;
    Ok(put(json!({ "DiscovererId": discoverer.id, "State": state(&discoverer) }), discoverer))
}

pub(crate) fn list(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let (id, source) = (request.text("DiscovererIdPrefix"), request.text("SourceArnPrefix"));
    let fits = |discoverer: &&Discoverer| {
        discoverer.id.starts_with(id.unwrap_or_default())
            && discoverer.source_arn.starts_with(source.unwrap_or_default())
    };
    let all =
        registry.discoverers.values().filter(fits).map(|discoverer| (discoverer.id.clone(), shown(discoverer, call)));
    Ok(Reply::of(page(request, "Discoverers", all)?))
}
