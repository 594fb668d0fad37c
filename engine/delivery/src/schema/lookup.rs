//! Which schema of a registry is that of an event. Names say less than detail-types: `a b`, `a-b` and `a/b` of one source
//! are all `shop@aB`. Whoever came first has the name, the others have a number behind it, which no detail-type can make
//! (hyphens are not in the second half of a name): `shop@aB`, `shop@aB-2`, `shop@aB-3`. What each is of stands in its text.

use super::{DISCOVERED_REGISTRY, schema_name};
use fakemon_resource::Registry;
use fakemon_resource::resource::Schema;
use fakemon_schema::{NAME_CHARS_MAX, speaks_of};
use serde_json::Value;

/// Types of events whose names become the same.
const NUMBERS_MAX: u32 = 100;

/// The schemas that may be of events with a name, the one without a number first.
pub(super) fn schemas_named<'r, 'n>(
    registry: &'r Registry,
    of: &'n str,
    name: &'n str,
) -> impl Iterator<Item = &'r Schema> + use<'r, 'n> {
    // A hyphen is the smallest letter of names, so all that has a number behind the name follows it at once.
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

/// The schema that discoverers made of events of a type, or would go on with.
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

/// What the newest version of a schema says it is of.
fn described(registry: &Registry, schema: &Schema) -> Option<(String, String)> {
    let newest = registry.schema_version(&schema.registry, &schema.name, schema.latest)?;
    speaks_of(&serde_json::from_str::<Value>(&newest.content).ok()?)
}

/// The name for a schema of events of a type that has none: the first that is free, also in the eyes of whoever asks. None
/// when there are too many, or when it would be too long.
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
