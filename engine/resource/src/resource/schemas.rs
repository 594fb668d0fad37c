//! Resources in the schema registry: those that an operator makes, and those that discoverers find.

use super::{Named, Tags};
use fakemon_model::ids::Timestamp;
use fakemon_model::names::{RegistryName, SchemaName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A registry of schemas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SchemaRegistry {
    /// Its name; unique.
    pub name: String,
    /// A description for people.
    pub description: Option<String>,
    /// The policy, as text, and its revision.
    pub policy: Option<(String, String)>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

/// A schema. Its text is in its versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// Its registry.
    pub registry: String,
    /// Its name, unique in the registry.
    pub name: String,
    /// A description for people.
    pub description: Option<String>,
    /// The newest version that exists.
    pub latest: u32,
    /// The highest version number ever used: numbers are not reused.
    pub last: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub modified_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

/// A version of a schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SchemaVersion {
    /// The registry of its schema.
    pub registry: String,
    /// Its schema.
    pub schema: String,
    /// Its number, from 1 on.
    pub version: u32,
    /// `OpenApi3`, `JSONSchemaDraft4` or `FlatBuffers`: the kinds of the crate `fakemon-schema`.
    pub kind: String,
    /// The text.
    pub content: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Languages for which code was requested, and when.
    pub bindings: BTreeMap<String, Timestamp>,
}

impl SchemaVersion {
    /// The key of a version: versions sort by number.
    pub fn place_of(
        RegistryName(registry): RegistryName<'_>,
        SchemaName(schema): SchemaName<'_>,
        version: u32,
    ) -> (String, String, String) {
        (registry.to_owned(), schema.to_owned(), format!("{version:010}"))
    }
}

/// A discoverer: learns the schemas of the events on a bus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Discoverer {
    /// Its id; unique.
    pub id: String,
    /// The bus.
    pub bus: String,
    /// ARN of the bus, as the API got it.
    pub source_arn: String,
    /// A description for people.
    pub description: Option<String>,
    /// Whether it is learning.
    pub started: bool,
    /// Not used here, because every event is of one account; stored and given back by the API.
    pub cross_account: bool,
    /// When it was last started: it learns from events since then.
    pub started_at: Timestamp,
    /// When it was created.
    pub created_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

impl Named for SchemaRegistry {
    type Name = String;

    fn place(&self) -> String {
        self.name.clone()
    }
}

impl Named for Schema {
    type Name = (String, String);

    fn place(&self) -> (String, String) {
        (self.registry.clone(), self.name.clone())
    }
}

impl Named for SchemaVersion {
    type Name = (String, String, String);

    fn place(&self) -> (String, String, String) {
        SchemaVersion::place_of(RegistryName(&self.registry), SchemaName(&self.schema), self.version)
    }
}

impl Named for Discoverer {
    type Name = String;

    fn place(&self) -> String {
        self.id.clone()
    }
}
