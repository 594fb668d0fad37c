//! What an operator makes in the schema registry, and what discoverers find for them.

use super::{Named, Tags};
use fakemon_model::ids::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A registry of schemas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SchemaRegistry {
    /// Unique.
    pub name: String,
    /// In people's words.
    pub description: Option<String>,
    /// The policy, as text, and its revision.
    pub policy: Option<(String, String)>,
    /// When.
    pub created_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

/// A schema. What it says is in its versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// Its registry.
    pub registry: String,
    /// Unique in the registry.
    pub name: String,
    /// In people's words.
    pub description: Option<String>,
    /// The newest version that is there.
    pub latest: u32,
    /// The newest version that ever was: numbers are not given twice.
    pub last: u32,
    /// When.
    pub created_at: Timestamp,
    /// When it was changed last.
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
    /// From 1 on.
    pub version: u32,
    /// `OpenApi3`, `JSONSchemaDraft4` or `FlatBuffers`: see the kinds of the crate `fakemon-schema`.
    pub kind: String,
    /// The text.
    pub content: String,
    /// When.
    pub created_at: Timestamp,
    /// Languages for which somebody asked for code, and when.
    pub bindings: BTreeMap<String, Timestamp>,
}

impl SchemaVersion {
    /// The name of a version: versions are sorted by number.
    pub fn place_of(registry: &str, schema: &str, version: u32) -> (String, String, String) {
        (registry.to_owned(), schema.to_owned(), format!("{version:010}"))
    }
}

/// A discoverer: learns the schemas of what happens on a bus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Discoverer {
    /// Unique.
    pub id: String,
    /// The bus.
    pub bus: String,
    /// ARN of the bus, as it was given.
    pub source_arn: String,
    /// In people's words.
    pub description: Option<String>,
    /// Whether it learns.
    pub started: bool,
    /// Kept and given back: every event here is of one account.
    pub cross_account: bool,
    /// When it was started last: it learns from events since.
    pub started_at: Timestamp,
    /// When.
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
        SchemaVersion::place_of(&self.registry, &self.schema, self.version)
    }
}

impl Named for Discoverer {
    type Name = String;

    fn place(&self) -> String {
        self.id.clone()
    }
}
