//! The schema of an event in a registry. Several detail-types can give the same schema name: `a b`, `a-b` and `a/b`
//! of one source are all `shop@aB`. The first type gets the name, the others a number after it that no detail-type
//! can produce (the second half of a name has no hyphen): `shop@aB`, `shop@aB-2`, `shop@aB-3`. The text of each
//! schema names its type.

use super::{DISCOVERED_REGISTRY, schema_name};
use fakemon_model::names::{RegistryName, SchemaName};
use fakemon_resource::Registry;
use fakemon_resource::resource::Schema;
use fakemon_schema::{NAME_CHARS_MAX, speaks_of};
use serde_json::Value;

/// How many types may share a name.
const NUMBERS_MAX: u32 = 100;

/// The schemas that may have a name, the one without a number first.
pub(super) fn schemas_named<'r, 'n>(
    registry: &'r Registry,
    of: &'n str,
    name: &'n str,
) -> impl Iterator<Item = &'r Schema> + use<'r, 'n> {
    // A hyphen sorts before all other characters of names, so numbered names directly follow the name.
    let near = registry.schemas.range((of.to_owned(), name.to_owned())..).map(|(_, schema)| schema);
    let near = near.map_while(move |schema| {
        let behind = schema.name.strip_prefix(name).filter(|_| schema.registry == of)?;
        (behind.is_empty() || behind.starts_with('-')).then(|| (is_nothing_or_number(behind), schema))
    });
    near.filter(|(is_one, _)| *is_one).map(|(_, schema)| schema)
}

fn is_nothing_or_number(behind: &str) -> bool {
    let Some(number) = behind.strip_prefix('-') else { return behind.is_empty() };
    number.parse::<u32>().is_ok_and(|number| (2..=NUMBERS_MAX).contains(&number))
}

/// The schema that discoverers made for a type of events, or one of its name that has no type yet.
pub fn discovered<'r>(registry: &'r Registry, source: &str, detail_type: &str) -> Option<&'r Schema> {
    let name = schema_name(source, detail_type);
    let mut nobodys = None;
    for schema in schemas_named(registry, DISCOVERED_REGISTRY, &name) {
        match described(registry, schema) {
            Some((by, of)) if (by.as_str(), of.as_str()) == (source, detail_type) => return Some(schema),
            None if schema.name == name => nobodys = Some(schema),
            _ => {}
        }
    }
    nobodys
}

/// The type that the newest version of a schema names.
fn described(registry: &Registry, schema: &Schema) -> Option<(String, String)> {
    let newest = registry.schema_version(RegistryName(&schema.registry), SchemaName(&schema.name), schema.latest)?;
    speaks_of(&serde_json::from_str::<Value>(&newest.content).ok()?)
}

/// The schema name for a type without one: the first that is free and not `is_taken`. None when there are too many,
/// or when it would be too long.
pub fn free_name(
    registry: &Registry,
    source: &str,
    detail_type: &str,
    is_taken: impl Fn(&str) -> bool,
) -> Option<String> {
    let name = schema_name(source, detail_type);
    let numbered = (2..=NUMBERS_MAX).map(|number| format!("{name}-{number}"));
    let is_free = |name: &String| {
        name.len() <= NAME_CHARS_MAX
            && !is_taken(name)
            && !registry.schemas.contains_key(&(DISCOVERED_REGISTRY.to_owned(), name.clone()))
    };
    std::iter::once(name.clone()).chain(numbered).find(is_free)
}
