//! Schemas and their versions: a new version only if the content differs and, where the compatibility tag is set,
//! only if it is compatible with the last one.

use super::lookup::{
    existing_registry, existing_schema, kind_of, registry_name, requested, schema_name, schemas, version_count,
    versions, writable,
};
use super::{arn, bad, check, conflict, forbidden, missing, moment, page, tagging};
use fakemon_aws::request::{Request, object};
use fakemon_aws::{ApiError, Call, Reply};
use fakemon_delivery::schema::{self, Kind, Mode, OUR_REGISTRY, Shape, envelope_schema};
use fakemon_model::limits::{SCHEMA_BYTES_MAX, SCHEMA_CHARS_MAX, SCHEMA_VERSIONS_MAX, SCHEMAS_MAX};
use fakemon_model::names::{RegistryName, SchemaName};
use fakemon_pattern::raw;
use fakemon_resource::Registry;
use fakemon_resource::resource::{Change, Resource, Schema, SchemaVersion, Tags};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Events of one `GetDiscoveredSchema`, at most.
const SAMPLES_MAX: usize = 10;

fn schema_arn(schema: &Schema, call: &Call<'_>) -> Value {
    arn(call.region, &format!("schema/{}/{}", schema.registry, schema.name)).into()
}

fn shown(schema: &Schema, version: &SchemaVersion, call: &Call<'_>, content: bool) -> Value {
    object([
        ("Content", content.then(|| version.content.clone().into())),
        ("Description", schema.description.clone().map(Into::into)),
        ("LastModified", Some(moment(schema.modified_at))),
        ("SchemaArn", Some(schema_arn(schema, call))),
        ("SchemaName", Some(schema.name.clone().into())),
        ("SchemaVersion", Some(version.version.to_string().into())),
        ("tags", Some(json!(schema.tags))),
        ("Type", Some(version.kind.clone().into())),
        ("VersionCreatedDate", Some(moment(version.created_at))),
    ])
}

fn put(schema: Schema, version: Option<SchemaVersion>) -> Vec<Change> {
    let version = version.map(|version| Change::Put(Resource::SchemaVersion(version)));
    std::iter::once(Change::Put(Resource::Schema(schema))).chain(version).collect()
}

/// The member `Content`, checked to be a schema of its kind.
fn content<'r>(request: &Request<'r>, kind: Kind) -> Result<(&'r str, schema::Schema), ApiError> {
    let content = request.required("Content");
    check(request)?;
    if content.is_empty() {
        return Err(bad(format!("Content has 1 to {SCHEMA_CHARS_MAX} characters.")));
    }
    match schema::Schema::read(kind, content) {
        Ok(schema) => Ok((content, schema)),
        Err(error) => Err(bad(format!("Content is no valid {}: {error}", kind.name()))),
    }
}

fn kind(request: &Request<'_>) -> Option<Kind> {
    let kinds = Kind::ALL.map(Kind::name);
    request.one_of("Type", &kinds).and_then(Kind::named)
}

pub(crate) fn create(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let (of, name, description) = (registry_name(request), schema_name(request), request.short("Description", 256));
    request.required("Type");
    let (kind, tags) = (kind(request), tagging::given(request)?);
    check(request)?;
    let (content, _) = content(request, kind.unwrap_or(Kind::OpenApi3))?;
    writable(registry, of)?;
    if existing_schema(registry, RegistryName(of), SchemaName(name)).is_ok() {
        return Err(conflict(format!("Schema {name} already exists in registry {of}.")));
    }
    if registry.schemas_of(of).count() >= SCHEMAS_MAX {
        return Err(forbidden(format!(
            "Registry {of} has {SCHEMAS_MAX} schemas already: delete one, or use another."
        )));
    }
    has_room(registry, content)?;
    let schema = Schema {
        registry: of.into(),
        name: name.into(),
        description,
        latest: 1,
        last: 1,
        created_at: call.now,
        modified_at: call.now,
        tags,
    };
    let version = version(&schema, kind.unwrap_or(Kind::OpenApi3), content, call);
    Ok(Reply::with(shown(&schema, &version, call, false), put(schema, Some(version))))
}

fn version(schema: &Schema, kind: Kind, content: &str, call: &Call<'_>) -> SchemaVersion {
    SchemaVersion {
        registry: schema.registry.clone(),
        schema: schema.name.clone(),
        version: schema.latest,
        kind: kind.name().into(),
        content: content.to_owned(),
        created_at: call.now,
        bindings: BTreeMap::new(),
    }
}

fn has_room(registry: &Registry, content: &str) -> Result<(), ApiError> {
    let bytes: usize = registry.schema_versions.values().map(|version| version.content.len()).sum();
    match bytes + content.len() > SCHEMA_BYTES_MAX {
        true => {
            Err(forbidden(format!("All schemas have at most {SCHEMA_BYTES_MAX} bytes: delete old versions first.")))
        }
        false => Ok(()),
    }
}

pub(crate) fn update(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let (of, name, description) = (registry_name(request), schema_name(request), request.short("Description", 256));
    let kind = kind(request);
    check(request)?;
    writable(registry, of)?;
    let mut schema = existing_schema(registry, RegistryName(of), SchemaName(name))?;
    let before = registry.schema_version(RegistryName(of), SchemaName(name), schema.latest).cloned();
    let before = before.ok_or_else(|| missing(format!("Schema {name} has no version.")))?;
    schema.description = description.or(schema.description);
    schema.modified_at = call.now;
    if request.get("Content").is_none() {
        return Ok(Reply::with(shown(&schema, &before, call, false), put(schema, None)));
    }
    let kind = kind.map_or_else(|| kind_of(&before), Ok)?;
    let (content, read) = content(request, kind)?;
    if before.kind == kind.name() && says_the_same(kind, content, &before.content) {
        return Ok(Reply::with(shown(&schema, &before, call, false), put(schema, None)));
    }
    goes_with(registry, &schema, &before, &read)?;
    if version_count(registry, RegistryName(of), SchemaName(name)) >= SCHEMA_VERSIONS_MAX {
        let message = format!("Schema {name} has {SCHEMA_VERSIONS_MAX} versions already: delete an old one first.");
        return Err(forbidden(message));
    }
    has_room(registry, content)?;
    schema.last += 1;
    schema.latest = schema.last;
    let version = version(&schema, kind, content, call);
    Ok(Reply::with(shown(&schema, &version, call, false), put(schema, Some(version))))
}

/// Whether two documents differ only in white space and in the order of members.
fn says_the_same(kind: Kind, one: &str, two: &str) -> bool {
    let read = |text: &str| serde_json::from_str::<Value>(text).ok();
    one == two || kind != Kind::FlatBuffers && read(one) == read(two)
}

/// Checks that a new version is compatible with the last one, as the tags demand.
fn goes_with(
    registry: &Registry,
    schema: &Schema,
    before: &SchemaVersion,
    new: &schema::Schema,
) -> Result<(), ApiError> {
    let asked = |tags: &Tags| tags.get(tagging::COMPATIBILITY).and_then(|mode| Mode::named(mode));
    let of_registry = || registry.schema_registries.get(&schema.registry).and_then(|held| asked(&held.tags));
    let Some(mode) = asked(&schema.tags).or_else(of_registry) else { return Ok(()) };
    let old = schema::Schema::read(kind_of(before)?, &before.content);
    let old = old.map_err(|error| bad(format!("Version {} cannot be read: {error}", before.version)))?;
    let found = new.incompatibilities(&old, mode);
    match found.first() {
        None => Ok(()),
        Some(first) => {
            let more = if found.len() > 1 { format!(" ({} more)", found.len() - 1) } else { String::new() };
            let (mode, before) = (mode.name(), before.version);
            Err(conflict(format!("Content is not {mode} compatible with version {before}: {first}{more}")))
        }
    }
}

pub(crate) fn describe(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let (schema, version) = requested(registry, request)?;
    Ok(Reply::of(shown(&schema, &version, call, true)))
}

pub(crate) fn delete(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let (of, name) = (registry_name(request), schema_name(request));
    check(request)?;
    writable(registry, of)?;
    existing_schema(registry, RegistryName(of), SchemaName(name))?;
    Ok(Reply::with(Value::Null, vec![Change::Delete(format!("schema/{of}/{name}"))]))
}

pub(super) fn delete_version(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    writable(registry, registry_name(request))?;
    let (mut schema, gone) = requested(registry, request)?;
    let rest =
        registry.versions_of(RegistryName(&schema.registry), SchemaName(&schema.name)).map(|version| version.version);
    let Some(latest) = rest.filter(|version| *version != gone.version).max() else {
        let message = format!("Version {} of {} is the only one: delete the schema.", gone.version, schema.name);
        return Err(bad(message));
    };
    schema.latest = latest;
    schema.modified_at = call.now;
    let mut changes = put(schema, None);
    let (of, name, number) =
        SchemaVersion::place_of(RegistryName(&gone.registry), SchemaName(&gone.schema), gone.version);
    changes.push(Change::Delete(format!("schema-version/{of}/{name}/{number}")));
    Ok(Reply::with(Value::Null, changes))
}

pub(crate) fn list(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let (of, prefix) = (registry_name(request), request.text("SchemaNamePrefix").unwrap_or_default());
    check(request)?;
    existing_registry(registry, of)?;
    let all = schemas(registry, of).into_iter().filter(|schema| schema.name.starts_with(prefix));
    let shown = |schema: Schema| {
        let shown = json!({
            "LastModified": moment(schema.modified_at),
            "SchemaArn": schema_arn(&schema, call),
            "SchemaName": schema.name,
            "tags": schema.tags,
            "VersionCount": version_count(registry, RegistryName(of), SchemaName(&schema.name)),
        });
        (schema.name, shown)
    };
    Ok(Reply::of(page(request, "Schemas", all.map(shown))?))
}

/// Lists versions, the newest first.
pub(super) fn list_versions(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let (of, name) = (registry_name(request), schema_name(request));
    check(request)?;
    existing_registry(registry, of)?;
    let schema = existing_schema(registry, RegistryName(of), SchemaName(name))?;
    let shown = |version: SchemaVersion| {
        let shown = json!({
            "SchemaArn": schema_arn(&schema, call),
            "SchemaName": schema.name,
            "SchemaVersion": version.version.to_string(),
            "Type": version.kind,
        });
        (format!("{:010}", u32::MAX - version.version), shown)
    };
    let all = versions(registry, RegistryName(of), SchemaName(name)).into_iter().map(shown);
    Ok(Reply::of(page(request, "SchemaVersions", all)?))
}

/// Schemas that have every word in their name, their description or the newest content.
pub(super) fn search(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let (of, keywords) = (registry_name(request), request.required("Keywords"));
    check(request)?;
    existing_registry(registry, of)?;
    let words: Vec<String> = keywords.split_whitespace().map(str::to_lowercase).collect();
    let found = schemas(registry, of).into_iter().filter(|schema| {
        let newest =
            versions(registry, RegistryName(of), SchemaName(&schema.name)).pop().map(|version| version.content);
        let description = schema.description.as_deref().unwrap_or_default();
        let text = format!("{} {description} {}", schema.name, newest.unwrap_or_default()).to_lowercase();
        words.iter().all(|word| text.contains(word))
    });
    let shown = |schema: Schema| {
        let version = |version: SchemaVersion| {
            json!({
                "CreatedDate": moment(version.created_at),
                "SchemaVersion": version.version.to_string(),
                "Type": version.kind,
            })
        };
        let shown = json!({
            "RegistryName": of,
            "SchemaArn": schema_arn(&schema, call),
            "SchemaName": schema.name,
            "SchemaVersions": versions(registry, RegistryName(of), SchemaName(&schema.name)).into_iter().rev().map(version).collect::<Vec<_>>(),
        });
        (schema.name, shown)
    };
    Ok(Reply::of(page(request, "Schemas", found.map(shown))?))
}

pub(super) fn export(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    request.required("Type");
    let to = kind(request).unwrap_or(Kind::JsonSchemaDraft4);
    let (schema, version) = requested(registry, request)?;
    let content = schema::Schema::export(kind_of(&version)?, &version.content, to, &schema.name);
    let content = content.map_err(|error| bad(error.to_string()))?;
    Ok(Reply::of(json!({
        "Content": content,
        "SchemaArn": schema_arn(&schema, call),
        "SchemaName": schema.name,
        "SchemaVersion": version.version.to_string(),
        "Type": to.name(),
    })))
}

/// `GetDiscoveredSchema`: the schema of the events in the request.
pub(super) fn discover(_: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    request.required("Type");
    let (kind, events) = (kind(request), request.list("Events", 1, SAMPLES_MAX));
    check(request)?;
    let kind = kind.filter(|kind| *kind != Kind::FlatBuffers);
    let kind =
        kind.ok_or_else(|| bad("Type is OpenApi3 or JSONSchemaDraft4: FlatBuffers are not learned from JSON."))?;
    let (mut shape, mut named) = (Shape::default(), None);
    for (index, event) in events.iter().enumerate() {
        let text = event.as_str().filter(|text| text.len() <= SCHEMA_CHARS_MAX * 4);
        let event = text.and_then(|text| raw::tree(text).ok()).filter(Value::is_object);
        let event = event.ok_or_else(|| bad(format!("Events[{index}] is no text of a JSON object.")))?;
        let envelope = (event["source"].as_str(), event["detail-type"].as_str(), event["detail"].is_object());
        if let (Some(source), Some(detail_type), true) = envelope {
            named.get_or_insert_with(|| (source.to_owned(), detail_type.to_owned()));
            shape.take(&event["detail"]);
        } else if named.is_none() {
            shape.take(&event);
        } else {
            return Err(bad(format!(
                "Events[{index}] is no event, with source, detail-type and detail, as others are."
            )));
        }
    }
    let content = match (named, kind) {
        (Some((source, detail_type)), kind) => envelope_schema(kind, &source, &detail_type, &shape),
        (None, Kind::OpenApi3) => json!({
            "openapi": "3.0.0",
            "info": { "version": "1.0.0", "title": "Event" },
            "paths": {},
            "components": { "schemas": { "Event": shape.schema(kind) } },
        }),
        (None, _) => shape.schema(kind),
    };
    Ok(Reply::of(json!({ "Content": content.to_string() })))
}

/// Whether it is the registry of our own schemas.
pub(super) fn is_ours(name: &str) -> bool {
    name == OUR_REGISTRY
}
