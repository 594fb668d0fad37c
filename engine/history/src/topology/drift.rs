//! Event types whose shape changed, as discoverers found it.

use super::Seen;
use fakemon_delivery::schema::{DISCOVERED_REGISTRY, discovered};
use fakemon_model::ids::Timestamp;
use fakemon_model::names::{RegistryName, SchemaName};
use fakemon_resource::Registry;
use fakemon_resource::resource::SchemaVersion;

/// How long a change of a shape is reported, in nanoseconds: a day.
const NEWS_NS: u64 = 86_400_000_000_000;

/// A type whose shape changed recently.
pub(super) struct Drifted {
    pub(super) bus: String,
    pub(super) source: String,
    pub(super) detail_type: String,
    pub(super) version: u32,
    pub(super) at: Timestamp,
}

/// The newest version of the schema that a discoverer made of a type.
pub(super) fn newest<'r>(registry: &'r Registry, source: &str, detail_type: &str) -> Option<&'r SchemaVersion> {
    let schema = discovered(registry, source, detail_type)?;
    registry.versions_of(RegistryName(DISCOVERED_REGISTRY), SchemaName(&schema.name)).last()
}

/// The types that changed within a day before a moment. The first version is no change.
pub(super) fn drifted<'s>(seen: &'s Seen<'_>, until: Timestamp) -> impl Iterator<Item = Drifted> + use<'s> {
    let types = seen.traffic.iter().flat_map(|(bus, traffic)| traffic.types.keys().map(move |of| (bus, of)));
    types.filter_map(move |(bus, of)| {
        let newest = newest(seen.registry, &of.source, &of.detail_type)?;
        (newest.version > 1 && until.ns_since(newest.created_at) < NEWS_NS).then(|| Drifted {
            bus: bus.clone(),
            source: of.source.clone(),
            detail_type: of.detail_type.clone(),
            version: newest.version,
            at: newest.created_at,
        })
    })
}
