//! Schemas of events: learned from live traffic or written by hand, checked when events come in, compared from
//! version to version, turned into types of programming languages. Pure: texts and values in and out.
//!
//! - `equal`: equality of values
//! - `format`, `node`: a parsed schema
//! - `reading`: parsing, which refuses everything that could be slow or endless
//! - `check`: whether a value conforms, or where it does not and why
//! - `flat`: FlatBuffers schemas, and their form as JSON
//! - `shape`: schemas learned from events
//! - `event`: the part of a schema that describes an event, and its name in a registry
//! - `compatible`: whether one version can read what another wrote
//! - `bindings`: types for Rust, TypeScript, Python and Go
//!
//! # Supported languages
//! JSON Schema draft 4 (and of later drafts `const`, boolean schemas, exclusive bounds that are numbers), OpenAPI 3.0
//! (`components.schemas`, `nullable`), FlatBuffers. References stay within a text: nothing is ever fetched. Regular
//! expressions are those that are matched in linear time: without look-around and back-references.

mod equal;
mod format;
mod node;
mod reading;
mod check;
mod flat;
mod shape;
mod event;
mod compatible;
mod bindings;

pub use bindings::{Binding, Language, SourceFile};
pub use check::Violation;
pub use compatible::{Incompatibility, Mode};
pub use event::{
    EventParts, NAME_CHARS_MAX, component_name, envelope_around, envelope_schema, schema_name, speaks_of,
};
use fakemon_model::limits::{SCHEMA_CHARS_MAX, SCHEMA_PATTERN_BYTES_MAX};
use fakemon_pattern::syntax;
use node::{Node, NodeId};
pub use reading::SchemaError;
use reading::{Reader, escaped};
use serde_json::Value;
pub use shape::{Drift, Shape};

/// The language of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Kind {
    /// OpenAPI 3.0: the schemas in its components.
    OpenApi3,
    /// JSON Schema, draft 4.
    #[serde(rename = "JSONSchemaDraft4")]
    JsonSchemaDraft4,
    /// A FlatBuffers schema; for events it describes their form as JSON.
    FlatBuffers,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::OpenApi3, Kind::JsonSchemaDraft4, Kind::FlatBuffers];

    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Kind::OpenApi3 => "OpenApi3",
            Kind::JsonSchemaDraft4 => "JSONSchemaDraft4",
            Kind::FlatBuffers => "FlatBuffers",
        }
    }

    /// The kind of a name.
    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The kind that a text is most likely.
    pub fn guess(content: &str) -> Kind {
        match serde_json::from_str::<Value>(content) {
            Ok(document) if document.get("openapi").is_some() => Kind::OpenApi3,
            Ok(_) => Kind::JsonSchemaDraft4,
            Err(_) if content.trim_start().starts_with(['{', '[']) => Kind::JsonSchemaDraft4,
            Err(_) => Kind::FlatBuffers,
        }
    }
}

fn not_json(error: &serde_json::Error, content: &str) -> String {
    format!("it is not JSON: {}", syntax::expected(error, content.as_bytes()))
}

/// A parsed schema.
#[derive(Clone, Debug)]
pub struct Schema {
    kind: Kind,
    nodes: Vec<Node>,
    /// Parts with a name of their own.
    named: Vec<(String, NodeId)>,
    /// The part that describes the whole value, if there is one.
    root: Option<NodeId>,
    /// Bytes of the text, and the most that its compiled regular expressions take.
    weight: usize,
    flat: Option<flat::Flat>,
    /// `x-amazon-events-source` and `x-amazon-events-detail-type`.
    speaks_of: Option<(String, String)>,
}

impl Schema {
    /// Parses a text.
    ///
    /// # Errors
    /// When it is not a schema, or could not be checked within bounds: where, why, and what to change.
    pub fn read(kind: Kind, content: &str) -> Result<Schema, SchemaError> {
        if content.chars().nth(SCHEMA_CHARS_MAX).is_some() {
            let why = format!("a schema has at most {SCHEMA_CHARS_MAX} characters");
            return Err(SchemaError::new("Content", why));
        }
        let flat = match kind {
            Kind::FlatBuffers => Some(flat::Flat::read(content)?),
            Kind::OpenApi3 | Kind::JsonSchemaDraft4 => None,
        };
        let document = match &flat {
            Some(flat) => flat.json_schema(),
            None => serde_json::from_str(content)
                .map_err(|error| SchemaError::new("Content", not_json(&error, content)))?,
        };
        let schema = Schema::of_document(kind, &document)?;
        Ok(Schema { weight: schema.weight + content.len() * 16, flat, ..schema })
    }

    fn of_document(kind: Kind, document: &Value) -> Result<Schema, SchemaError> {
        let Value::Object(members) = document else {
            return Err(SchemaError::new("Content", "a schema is a JSON object"));
        };
        let mut reader = Reader::new(document);
        let parts = match kind {
            Kind::OpenApi3 => "components/schemas",
            Kind::JsonSchemaDraft4 | Kind::FlatBuffers => "definitions",
        };
        if kind == Kind::OpenApi3 {
            check_open_api(members)?;
        }
        let mut named = Vec::new();
        if let Some(Value::Object(parts_there)) = document.pointer(&format!("/{parts}")) {
            for name in parts_there.keys() {
                named.push((name.clone(), reader.part(&format!("#/{parts}/{}", escaped(name)))?));
            }
        }
        let mut root = match kind {
            Kind::OpenApi3 => None,
            Kind::JsonSchemaDraft4 | Kind::FlatBuffers => Some(reader.part("#")?),
        };
        let weight = reader.patterns() * SCHEMA_PATTERN_BYTES_MAX;
        let mut asked: Vec<&mut NodeId> = named.iter_mut().map(|(_, id)| id).chain(root.iter_mut()).collect();
        let nodes = reader.finish(&mut asked)?;
        if kind == Kind::OpenApi3 {
            root = event::open_api_root(&named);
        }
        let speaks_of = event::speaks_of(document);
        Ok(Schema { kind, nodes, named, root, weight, flat: None, speaks_of })
    }

    /// Its language.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The memory it takes, in bytes, about.
    pub fn weight(&self) -> usize {
        self.weight
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// Checks a value against the whole schema.
    ///
    /// # Errors
    /// Where it does not conform, and why.
    pub fn check(&self, value: &Value) -> Result<(), Violation> {
        self.root.map_or(Ok(()), |root| check::check(&self.nodes, root, value, "$"))
    }
}

fn check_open_api(members: &serde_json::Map<String, Value>) -> Result<(), SchemaError> {
    match members.get("openapi").and_then(Value::as_str) {
        Some(version) if version.starts_with("3.") => {}
        Some(version) => {
            return Err(SchemaError::new("#/openapi", format!("version {version} is not 3.0")));
        }
        None => return Err(SchemaError::new("#/openapi", "it is missing: \"openapi\": \"3.0.0\"")),
    }
    match members.get("components").and_then(|components| components.get("schemas")) {
        Some(Value::Object(schemas)) if !schemas.is_empty() => Ok(()),
        _ => Err(SchemaError::new("#/components/schemas", "there is no schema in it")),
    }
}

#[cfg(test)]
mod tests;
