//! Events and their schemas: the name of an event's schema in a registry, the schema of an envelope around that of a
//! detail, and the part of a schema that describes a detail.

use super::check::{Violation, check};
use super::node::{Node, NodeId};
use super::{Kind, Schema, Shape};
use serde_json::{Map, Value, json};

/// The component that describes a whole event.
const ENVELOPE: &str = "AWSEvent";
/// The longest name of a schema.
pub const NAME_CHARS_MAX: usize = 385;

/// The parts of an event that its sender decides.
#[derive(Clone, Copy, Debug)]
pub struct EventParts<'e> {
    /// The source.
    pub source: &'e str,
    /// The detail-type.
    pub detail_type: &'e str,
    /// The detail; an object.
    pub detail: &'e Value,
    /// ARNs of what the event is about.
    pub resources: &'e [String],
}

/// The name of an event's schema: the source, `@`, and the words of the detail-type joined, each after the first with
/// a capital: `aws.ec2@EC2InstanceStateChangeNotification`, `shop@order.placed`.
pub fn schema_name(source: &str, detail_type: &str) -> String {
    let mut name = String::with_capacity(source.len() + detail_type.len() + 1);
    for c in source.chars() {
        push(&mut name, if c == '@' || c == '/' || c.is_whitespace() { '-' } else { c });
    }
    name.push('@');
    push_words(&mut name, detail_type, push);
    name.truncate(NAME_CHARS_MAX); // all of it is ASCII
    name
}

/// Appends a character that is allowed in names; any other is replaced by its number.
fn push(name: &mut String, c: char) {
    if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') {
        name.push(c);
    } else {
        name.push_str(&format!("u{:x}", u32::from(c)));
    }
}

fn push_words(name: &mut String, text: &str, push: fn(&mut String, char)) {
    let words =
        text.split(|c: char| c.is_whitespace() || matches!(c, '-' | '@' | '/')).filter(|word| !word.is_empty());
    for (number, word) in words.enumerate() {
        let mut chars = word.chars();
        if let Some(first) = chars.next() {
            push(name, if number > 0 { first.to_ascii_uppercase() } else { first });
        }
        chars.for_each(|c| push(name, c));
    }
}

/// The name of the component for a detail: its words joined, each with a capital.
pub fn component_name(detail_type: &str) -> String {
    let mut name = String::new();
    for word in detail_type.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        name.push_str(&word[..1].to_ascii_uppercase());
        name.push_str(&word[1..]);
    }
    match name.chars().next() {
        None => "Detail".into(),
        Some('0'..='9') => format!("Detail{name}"),
        Some(_) if name == ENVELOPE => "Detail".into(),
        Some(_) => name,
    }
}

/// The schema of an event of this type, as the service writes it.
pub fn envelope_schema(kind: Kind, source: &str, detail_type: &str, detail: &Shape) -> Value {
    envelope_around(kind, source, detail_type, detail.schema(kind))
}

/// The schema of an envelope around the schema `detail`, which is of `kind`.
pub fn envelope_around(kind: Kind, source: &str, detail_type: &str, detail: Value) -> Value {
    let component = component_name(detail_type);
    let parts = if kind == Kind::OpenApi3 { "#/components/schemas" } else { "#/definitions" };
    let text = || json!({ "type": "string" });
    let mut envelope = json!({
        "type": "object",
        "required": ["detail-type", "resources", "detail", "id", "source", "time", "region", "version", "account"],
        "x-amazon-events-detail-type": detail_type,
        "x-amazon-events-source": source,
        "properties": {
            "detail": { "$ref": format!("{parts}/{component}") },
            "account": text(),
            "detail-type": text(),
            "id": text(),
            "region": text(),
            "resources": { "type": "array", "items": text() },
            "source": text(),
            "time": { "type": "string", "format": "date-time" },
            "version": text(),
        },
    });
    if kind == Kind::OpenApi3 {
        return json!({
            "openapi": "3.0.0",
            "info": { "version": "1.0.0", "title": component },
            "paths": {},
            "components": { "schemas": { ENVELOPE: envelope, component: detail } },
        });
    }
    envelope["$schema"] = "http://json-schema.org/draft-04/schema#".into();
    envelope["title"] = component.clone().into();
    envelope["definitions"] = json!({ component: detail });
    envelope
}

/// The part that an OpenAPI document is about: the envelope, or its only schema.
pub(crate) fn open_api_root(named: &[(String, NodeId)]) -> Option<NodeId> {
    let envelope = named.iter().find(|(name, _)| name == ENVELOPE);
    let only = named.first().filter(|_| named.len() == 1);
    envelope.or(only).map(|(_, id)| *id)
}

/// The source and the detail-type in a document.
pub fn speaks_of(document: &Value) -> Option<(String, String)> {
    let envelope = document.pointer("/components/schemas/AWSEvent").unwrap_or(document);
    let text = |name: &str| envelope.get(name)?.as_str().map(str::to_owned);
    Some((text("x-amazon-events-source")?, text("x-amazon-events-detail-type")?))
}

impl Schema {
    /// The part that describes the detail: that of the envelope, or the whole if it is no envelope.
    pub(crate) fn detail(&self) -> Option<NodeId> {
        let root = self.root?;
        Some(if self.is_envelope() { self.member(root, "detail")? } else { root })
    }

    /// The shape of the details that it describes.
    pub fn detail_shape(&self) -> Option<Shape> {
        self.detail().map(|detail| Shape::of(self, detail))
    }

    /// The source and the detail-type of the events that it describes, if it names them.
    pub fn speaks_of(&self) -> Option<(&str, &str)> {
        self.speaks_of.as_ref().map(|(source, detail_type)| (source.as_str(), detail_type.as_str()))
    }

    fn is_envelope(&self) -> bool {
        self.root
            .is_some_and(|root| self.member(root, "detail").is_some() && self.member(root, "detail-type").is_some())
    }

    fn member(&self, root: NodeId, name: &str) -> Option<NodeId> {
        let node: &Node = self.node(root);
        let own = node.object.as_ref().and_then(|object| object.property(name)).map(|property| property.node);
        own.or_else(|| node.all_of.iter().find_map(|part| self.member(*part, name)))
    }

    /// Checks an event before it has an id and a time.
    ///
    /// # Errors
    /// Where the event does not conform to the schema, and why.
    pub fn check_event(&self, event: &EventParts<'_>) -> Result<(), Violation> {
        let Some(root) = self.root else { return Ok(()) };
        if !self.is_envelope() {
            return check(&self.nodes, root, event.detail, "$.detail");
        }
        let of = |name: &str| self.member(root, name);
        if let Some(detail) = of("detail") {
            check(&self.nodes, detail, event.detail, "$.detail")?;
        }
        if let Some(node) = of("resources").filter(|_| !event.resources.is_empty()) {
            check(&self.nodes, node, &event.resources.into(), "$.resources")?;
        }
        for (name, value) in [("source", event.source), ("detail-type", event.detail_type)] {
            let Some(node) = of(name).filter(|node| self.node(*node).says_more_than_a_type()) else { continue };
            check(&self.nodes, node, &value.into(), &format!("$.{name}"))?;
        }
        Ok(())
    }
}

impl Node {
    /// Whether a part says more than a type; strings are then checked, else skipped.
    fn says_more_than_a_type(&self) -> bool {
        self.values.is_some() || self.text.is_some() || self.format.is_some() || self.same_value().next().is_some()
    }
}

/// A JSON Schema of an OpenAPI document: components become definitions, `nullable` becomes a type.
pub(crate) fn as_json_schema(document: &Value, title: &str) -> Value {
    let mut schemas = match document.pointer("/components/schemas") {
        Some(Value::Object(schemas)) => schemas.clone(),
        _ => Map::new(),
    };
    schemas.values_mut().for_each(without_open_api);
    let only = (schemas.len() == 1).then(|| schemas.keys().next().cloned()).flatten();
    let root = if schemas.contains_key(ENVELOPE) { Some(ENVELOPE.to_owned()) } else { only };
    let mut schema = match root.and_then(|root| schemas.remove(&root)) {
        Some(Value::Object(root)) => root,
        _ => Map::new(),
    };
    schema.insert("$schema".into(), "http://json-schema.org/draft-04/schema#".into());
    schema.insert("title".into(), title.into());
    if !schemas.is_empty() {
        schema.insert("definitions".into(), schemas.into());
    }
    schema.into()
}

fn without_open_api(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let types = members.get("type").and_then(Value::as_str).map(str::to_owned);
            if let Some(nullable) = members.get("nullable").and_then(Value::as_bool)
                && (types.is_some() || !nullable)
            {
                members.remove("nullable");
                if let Some(one) = types.filter(|_| nullable) {
                    members.insert("type".into(), json!([one, "null"]));
                }
            }
            if let Some(Value::String(reference)) = members.get_mut("$ref") {
                *reference = match reference.strip_prefix("#/components/schemas/") {
                    Some(ENVELOPE) => "#".into(),
                    Some(name) => format!("#/definitions/{name}"),
                    None => std::mem::take(reference),
                };
            }
            members.values_mut().for_each(without_open_api);
        }
        Value::Array(items) => items.iter_mut().for_each(without_open_api),
        _ => {}
    }
}

impl Schema {
    /// Converts the text to another language: OpenAPI and FlatBuffers schemas to JSON Schema.
    ///
    /// # Errors
    /// When that language cannot express it, or `content` is not valid.
    pub fn export(kind: Kind, content: &str, to: Kind, title: &str) -> Result<String, super::SchemaError> {
        let schema = Schema::read(kind, content)?;
        if kind == to {
            return Ok(content.to_owned());
        }
        let document = match (kind, to) {
            (Kind::OpenApi3, Kind::JsonSchemaDraft4) => {
                as_json_schema(&serde_json::from_str(content).unwrap_or_default(), title)
            }
            (Kind::FlatBuffers, Kind::JsonSchemaDraft4) => {
                schema.flat.map(|flat| flat.json_schema()).unwrap_or_default()
            }
            _ => {
                let why = format!("{} cannot be exported as {}: ask for JSONSchemaDraft4", kind.name(), to.name());
                return Err(super::SchemaError::new("Type", why));
            }
        };
        Ok(document.to_string())
    }
}
