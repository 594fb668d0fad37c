//! Registries and their policies.

use super::lookup::{existing_registry, registries, registry_name, writable};
use super::{arn, bad, check, conflict, forbidden, missing, page, tagging};
use axum::http::StatusCode;
use fakemon_aws::request::{Request, object};
use fakemon_aws::{ApiError, Call, Reply, uuid};
use fakemon_delivery::schema::{DISCOVERED_REGISTRY, OUR_REGISTRY};
use fakemon_model::limits::SCHEMA_REGISTRIES_MAX;
use fakemon_resource::Registry;
use fakemon_resource::resource::{Change, Resource, SchemaRegistry};
use serde_json::{Value, json};

/// The longest policy, in bytes.
const POLICY_BYTES_MAX: usize = 20 << 10;

fn shown(held: &SchemaRegistry, call: &Call<'_>) -> Value {
    object([
        ("RegistryName", Some(held.name.clone().into())),
        ("RegistryArn", Some(arn(call.region, &format!("registry/{}", held.name)).into())),
        ("Description", held.description.clone().map(Into::into)),
        ("tags", Some(json!(held.tags))),
    ])
}

fn put(answer: Value, held: SchemaRegistry) -> Reply {
    Reply::with(answer, vec![Change::Put(Resource::SchemaRegistry(held))])
}

pub(crate) fn create(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let (name, description) = (registry_name(request), request.short("Description", 256));
    let tags = tagging::given(request)?;
    check(request)?;
    if existing_registry(registry, name).is_ok() {
        return Err(conflict(format!("Registry {name} already exists.")));
    }
    if name.starts_with("aws.") || name.starts_with("fakemon.") {
        return Err(bad(format!("Names of registries do not begin with aws. or fakemon.: {name} does.")));
    }
    if registry.schema_registries.size() >= SCHEMA_REGISTRIES_MAX {
        return Err(forbidden(format!("There are {SCHEMA_REGISTRIES_MAX} registries already: delete one first.")));
    }
    let held = SchemaRegistry { name: name.into(), description, policy: None, created_at: call.now, tags };
    Ok(put(shown(&held, call), held))
}

pub(crate) fn describe(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = registry_name(request);
    check(request)?;
    Ok(Reply::of(shown(&existing_registry(registry, name)?, call)))
}

pub(crate) fn update(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let (name, description) = (registry_name(request), request.short("Description", 256));
    check(request)?;
    let mut held = writable(registry, name)?;
    held.description = description.or(held.description);
    Ok(put(shown(&held, call), held))
}

pub(crate) fn delete(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let name = registry_name(request);
    check(request)?;
    writable(registry, name)?;
    if name == DISCOVERED_REGISTRY {
        return Err(forbidden(format!("Registry {name} cannot be deleted: delete its schemas.")));
    }
    if registry.schemas_of(name).next().is_some() {
        return Err(bad(format!("Registry {name} is not empty: delete its schemas first.")));
    }
    Ok(Reply::with(Value::Null, vec![Change::Delete(format!("schema-registry/{name}"))]))
}

/// Lists registries. `Scope` is `LOCAL`: created by clients; or `AWS`: always there.
pub(crate) fn list(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let (prefix, scope) = (request.text("RegistryNamePrefix").unwrap_or_default(), request.text("Scope"));
    let fits = |held: &SchemaRegistry| match scope.map(str::to_ascii_uppercase).as_deref() {
        Some("AWS") => held.name == OUR_REGISTRY,
        Some("LOCAL") => held.name != OUR_REGISTRY,
        _ => true,
    };
    let all = registries(registry);
    let all = all.iter().filter(|held| held.name.starts_with(prefix) && fits(held));
    Ok(Reply::of(page(request, "Registries", all.map(|held| (held.name.clone(), shown(held, call))))?))
}

fn policy_of(held: &SchemaRegistry) -> Result<Value, ApiError> {
    let (policy, revision) =
        held.policy.as_ref().ok_or_else(|| missing(format!("Registry {} has no policy.", held.name)))?;
    Ok(json!({ "Policy": policy, "RevisionId": revision }))
}

pub(crate) fn policy(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let name = registry_name(request);
    check(request)?;
    policy_of(&existing_registry(registry, name)?).map(Reply::of)
}

pub(crate) fn put_policy(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let (name, policy, revision) = (registry_name(request), request.required("Policy"), request.text("RevisionId"));
    check(request)?;
    let mut held = writable(registry, name)?;
    if !serde_json::from_str::<Value>(policy).is_ok_and(|policy| policy.is_object()) {
        return Err(bad("Policy is no JSON object."));
    }
    if policy.len() > POLICY_BYTES_MAX {
        return Err(bad(format!("Policy has more than {POLICY_BYTES_MAX} bytes.")));
    }
    let current = held.policy.as_ref().map(|(_, revision)| revision.as_str());
    if revision.is_some_and(|revision| Some(revision) != current) {
        let message = format!("RevisionId is not that of the policy: {}", current.unwrap_or("there is none"));
        let (status, code) = (StatusCode::PRECONDITION_FAILED, "PreconditionFailedException");
        return Err(ApiError { status, code, message });
    }
    held.policy = Some((policy.to_owned(), uuid()));
    let answer = policy_of(&held)?;
    Ok(put(answer, held))
}

pub(crate) fn delete_policy(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let name = registry_name(request);
    check(request)?;
    let mut held = writable(registry, name)?;
    policy_of(&held)?;
    held.policy = None;
    Ok(put(Value::Null, held))
}
