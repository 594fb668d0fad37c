//! Reads registries, schemas and versions. Our own schemas look like those of clients.

use super::{bad, forbidden, missing};
use fakemon_aws::ApiError;
use fakemon_aws::request::{NAME, Request};
use fakemon_delivery::schema::{DISCOVERED_REGISTRY, Kind, OUR_REGISTRY, OurSchema, our_schemas};
use fakemon_model::ids::Timestamp;
use fakemon_model::names::{RegistryName, SchemaName};
use fakemon_resource::Registry;
use fakemon_resource::resource::{Schema, SchemaRegistry, SchemaVersion, Tags};
use std::collections::BTreeMap;

/// The longest name of a registry, in characters.
const REGISTRY_NAME_MAX: usize = 64;
/// The longest name of a schema, in characters.
const SCHEMA_NAME_MAX: usize = 385;

/// The registry that a request names.
pub(super) fn registry_name<'r>(request: &Request<'r>) -> &'r str {
    request.name("RegistryName", NAME, REGISTRY_NAME_MAX)
}

/// The schema that a request names; `@` is allowed.
pub(super) fn schema_name<'r>(request: &Request<'r>) -> &'r str {
    let name = request.required("SchemaName");
    if !name.is_empty() {
        request.check_name("schemaName", &name.replace('@', "-"), r"[\.\-_@A-Za-z0-9]+", SCHEMA_NAME_MAX);
    }
    name
}

/// Registries that always exist.
fn from_the_start(name: &str) -> Option<SchemaRegistry> {
    let description = match name {
        DISCOVERED_REGISTRY => "what discoverers find",
        OUR_REGISTRY => "events and formats of fakemon itself",
        _ => return None,
    };
    Some(SchemaRegistry {
        name: name.into(),
        description: Some(description.into()),
        policy: None,
        created_at: Timestamp(0),
        tags: Tags::new(),
    })
}

/// All registries, sorted by name.
pub(super) fn registries(registry: &Registry) -> Vec<SchemaRegistry> {
    let start = [DISCOVERED_REGISTRY, OUR_REGISTRY].into_iter().filter_map(from_the_start);
    let mut all: BTreeMap<String, SchemaRegistry> = start.map(|one| (one.name.clone(), one)).collect();
    all.extend(registry.schema_registries.values().map(|one| (one.name.clone(), one.clone())));
    all.into_values().collect()
}

/// A registry, or the service's error.
pub(super) fn existing_registry(registry: &Registry, name: &str) -> Result<SchemaRegistry, ApiError> {
    let held = registry.schema_registries.get(name).cloned().or_else(|| from_the_start(name));
    held.ok_or_else(|| missing(format!("Registry with name {name} does not exist.")))
}

/// A registry that may be changed, or the service's error.
pub(super) fn writable(registry: &Registry, name: &str) -> Result<SchemaRegistry, ApiError> {
    match name {
        OUR_REGISTRY => {
            Err(forbidden(format!("Registry {name} holds the schemas of this program: nobody changes them.")))
        }
        _ => existing_registry(registry, name),
    }
}

/// The schemas of a registry, sorted by name.
pub(crate) fn schemas(registry: &Registry, name: &str) -> Vec<Schema> {
    match name {
        OUR_REGISTRY => our_schemas().iter().map(schema_of).collect(),
        _ => registry.schemas_of(name).cloned().collect(),
    }
}

/// A schema, or the service's error.
pub(super) fn existing_schema(
    registry: &Registry,
    RegistryName(of): RegistryName<'_>,
    SchemaName(name): SchemaName<'_>,
) -> Result<Schema, ApiError> {
    let held = match of {
        OUR_REGISTRY => our(name).map(schema_of),
        _ => registry.schemas.get(&(of.to_owned(), name.to_owned())).cloned(),
    };
    held.ok_or_else(|| missing(format!("Schema with name {name} does not exist in registry {of}.")))
}

/// The versions of a schema, the oldest first.
pub(crate) fn versions(
    registry: &Registry,
    RegistryName(of): RegistryName<'_>,
    SchemaName(name): SchemaName<'_>,
) -> Vec<SchemaVersion> {
    match of {
        OUR_REGISTRY => our(name).map(version_of).into_iter().collect(),
        _ => registry.versions_of(RegistryName(of), SchemaName(name)).cloned().collect(),
    }
}

/// The number of versions of a schema.
pub(super) fn version_count(
    registry: &Registry,
    RegistryName(of): RegistryName<'_>,
    SchemaName(name): SchemaName<'_>,
) -> usize {
    if of == OUR_REGISTRY { 1 } else { registry.versions_of(RegistryName(of), SchemaName(name)).count() }
}

/// The schema that a request names, in the version that it names; without one the newest.
pub(crate) fn requested(registry: &Registry, request: &Request<'_>) -> Result<(Schema, SchemaVersion), ApiError> {
    let (of, name, version) = (registry_name(request), schema_name(request), request.text("SchemaVersion"));
    super::check(request)?;
    existing_registry(registry, of)?;
    let schema = existing_schema(registry, RegistryName(of), SchemaName(name))?;
    let held = match version.map_or(Ok(schema.latest), str::parse) {
        Ok(version) if of == OUR_REGISTRY => our(name).map(version_of).filter(|held| held.version == version),
        Ok(version) => registry.schema_version(RegistryName(of), SchemaName(name), version).cloned(),
        Err(_) => None,
    };
    let unknown = || missing(format!("Schema {name} has no version {}.", version.unwrap_or_default()));
    held.map(|held| (schema, held)).ok_or_else(unknown)
}

fn our(name: &str) -> Option<&'static OurSchema> {
    our_schemas().iter().find(|ours| ours.name == name)
}

fn schema_of(ours: &OurSchema) -> Schema {
    Schema {
        registry: OUR_REGISTRY.into(),
        name: ours.name.clone(),
        description: Some(ours.description.clone()),
        latest: 1,
        last: 1,
        created_at: Timestamp(0),
        modified_at: Timestamp(0),
        tags: Tags::new(),
    }
}

fn version_of(ours: &OurSchema) -> SchemaVersion {
    SchemaVersion {
        registry: OUR_REGISTRY.into(),
        schema: ours.name.clone(),
        version: 1,
        kind: ours.kind.name().into(),
        content: ours.content.clone(),
        created_at: Timestamp(0),
        bindings: BTreeMap::new(),
    }
}

/// The kind of a version; a kind written by a newer program is an error.
pub(super) fn kind_of(version: &SchemaVersion) -> Result<Kind, ApiError> {
    Kind::named(&version.kind)
        .ok_or_else(|| bad(format!("Type {} is not known here: use a newer fakemon.", version.kind)))
}
