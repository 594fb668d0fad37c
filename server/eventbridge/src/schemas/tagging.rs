//! Tags of registries, schemas and discoverers. One of them, `COMPATIBILITY`, is a setting.

use super::lookup::{existing_registry, existing_schema, writable};
use super::{as_bad, bad, check, missing};
use crate::tags::check_keys;
use fakemon_aws::request::Request;
use fakemon_aws::{ApiError, Call, Operation, Reply};
use fakemon_delivery::schema::Mode;
use fakemon_model::limits::TAGS_MAX;
use fakemon_model::names::{RegistryName, SchemaName};
use fakemon_resource::Registry;
use fakemon_resource::resource::{Change, Resource, Tags};
use serde_json::{Value, json};

/// The tag that says how versions have to be compatible.
pub(super) const COMPATIBILITY: &str = "fakemon:compatibility";

/// The operation behind `GET`, `POST` or `DELETE` of `/tags/{ResourceArn}`.
pub(crate) fn operation(act: &str) -> Option<Operation> {
    Some(match act {
        "list" => list,
        "tag" => tag,
        "untag" => untag,
        _ => return None,
    })
}

/// The member `tags`: names and values.
pub(crate) fn given(request: &Request<'_>) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    let given = match request.get("tags") {
        None => return Ok(tags),
        Some(Value::Object(given)) => given,
        Some(_) => return Err(bad("tags is an object of names and values.")),
    };
    for (key, value) in given {
        let value = value.as_str().ok_or_else(|| bad(format!("The value of tag {key} is no string.")))?;
        if !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256 {
            return Err(bad("Names of tags have 1 to 128 characters, values at most 256."));
        }
        if key == COMPATIBILITY && Mode::named(value).is_none() {
            return Err(bad(format!("Tag {key} is none, backward, forward or full, not {value}.")));
        }
        tags.insert(key.clone(), value.to_owned());
    }
    few(tags)
}

fn few(tags: Tags) -> Result<Tags, ApiError> {
    check_keys(&tags).map_err(as_bad)?;
    match tags.len() {
        0..=TAGS_MAX => Ok(tags),
        _ => Err(bad(format!("A resource has at most {TAGS_MAX} tags."))),
    }
}

/// The resource that an ARN names.
fn tagged(registry: &Registry, request: &Request<'_>) -> Result<Resource, ApiError> {
    let arn = request.required("ResourceArn");
    check(request)?;
    let named = arn.splitn(6, ':').nth(5).and_then(|named| named.split_once('/'));
    match named {
        Some(("registry", name)) => existing_registry(registry, name).map(Resource::SchemaRegistry),
        Some(("schema", names)) => match names.split_once('/') {
            Some((of, name)) => existing_schema(registry, RegistryName(of), SchemaName(name)).map(Resource::Schema),
            None => Err(bad(format!("{arn} names no schema of a registry."))),
        },
        Some(("discoverer", id)) => {
            let held = registry.discoverers.get(id).cloned().map(Resource::Discoverer);
            held.ok_or_else(|| missing(format!("Discoverer with id {id} does not exist.")))
        }
        _ => Err(bad(format!("{arn} names no registry, schema or discoverer."))),
    }
}

fn tags_of(resource: &mut Resource) -> Option<&mut Tags> {
    match resource {
        Resource::SchemaRegistry(registry) => Some(&mut registry.tags),
        Resource::Schema(schema) => Some(&mut schema.tags),
        Resource::Discoverer(discoverer) => Some(&mut discoverer.tags),
        _ => None,
    }
}

/// As [`tagged`], if the resource may be changed.
fn changeable(registry: &Registry, request: &Request<'_>) -> Result<Resource, ApiError> {
    let resource = tagged(registry, request)?;
    match &resource {
        Resource::SchemaRegistry(held) => writable(registry, &held.name)?,
        Resource::Schema(schema) => writable(registry, &schema.registry)?,
        _ => return Ok(resource),
    };
    Ok(resource)
}

fn list(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let mut resource = tagged(registry, request)?;
    let tags = tags_of(&mut resource).map(std::mem::take).unwrap_or_default();
    Ok(Reply::of(json!({ "tags": tags })))
}

fn tag(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let mut resource = changeable(registry, request)?;
    let given = given(request)?;
    if let Some(tags) = tags_of(&mut resource) {
        tags.extend(given);
        *tags = few(std::mem::take(tags))?;
    }
    Ok(Reply::with(Value::Null, vec![Change::Put(resource)]))
}

fn untag(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let mut resource = changeable(registry, request)?;
    // The REST layer has them under their name in the query.
    let keys = request.get("TagKeys").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    if let Some(tags) = tags_of(&mut resource) {
        keys.for_each(|key| drop(tags.remove(key)));
    }
    Ok(Reply::with(Value::Null, vec![Change::Put(resource)]))
}
