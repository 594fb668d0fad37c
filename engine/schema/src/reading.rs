//! From the text of a schema to its parts. References stay within the text; nothing is ever fetched. The time is
//! bounded by the length of the text, however it refers to itself.

use super::format::Format;
use super::node::{Dependency, List, More, Node, NodeId, Object, Property, Range, Text, Types};
use fakemon_model::limits::{SCHEMA_PARTS_MAX, SCHEMA_PATTERN_BYTES_MAX, SCHEMA_PATTERNS_MAX};
use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};

/// Why a schema is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {why}")]
pub struct SchemaError {
    /// The place in the content.
    pub at: String,
    /// What is wrong there, and what to change.
    pub why: String,
}

impl SchemaError {
    pub(crate) fn new(at: impl Into<String>, why: impl Into<String>) -> SchemaError {
        SchemaError { at: at.into(), why: why.into() }
    }
}

/// The longest pointer to a part, in bytes: each part stores its own.
const POINTER_BYTES_MAX: usize = 1_000;

type Read<T> = Result<T, SchemaError>;

/// Parses parts of one document.
pub(crate) struct Reader<'d> {
    document: &'d Value,
    slots: Vec<Slot>,
    by_pointer: HashMap<String, NodeId>,
    /// Referenced parts that are not parsed yet.
    waiting: Vec<(NodeId, &'d Value, String)>,
    patterns: usize,
}

#[derive(Clone)]
enum Slot {
    Waiting,
    /// A reference to a reference.
    Alias(NodeId),
    Node(Box<Node>),
}

impl<'d> Reader<'d> {
    pub(crate) fn new(document: &'d Value) -> Reader<'d> {
        Reader { document, slots: Vec::new(), by_pointer: HashMap::new(), waiting: Vec::new(), patterns: 0 }
    }

    /// The number of regular expressions so far.
    pub(crate) fn patterns(&self) -> usize {
        self.patterns
    }

    /// The part at a pointer such as `#/definitions/order`.
    pub(crate) fn part(&mut self, pointer: &str) -> Read<NodeId> {
        let id = self.target(pointer, pointer)?;
        while let Some((id, value, pointer)) = self.waiting.pop() {
            if matches!(self.slots[id.0 as usize], Slot::Waiting) {
                self.slots[id.0 as usize] = self.slot(value, &pointer)?;
            }
        }
        Ok(id)
    }

    /// All parts; updates `asked` to their new ids.
    pub(crate) fn finish(self, asked: &mut [&mut NodeId]) -> Read<Vec<Node>> {
        let mut places = Vec::with_capacity(self.slots.len());
        let mut count = 0;
        for slot in &self.slots {
            places.push(count);
            count += u32::from(matches!(slot, Slot::Node(_)));
        }
        let place = |id: NodeId| {
            let mut at = id;
            for _ in 0..=self.slots.len() {
                match &self.slots[at.0 as usize] {
                    Slot::Alias(next) => at = *next,
                    Slot::Node(_) => return Some(NodeId(places[at.0 as usize])),
                    Slot::Waiting => return None,
                }
            }
            None
        };
        let circle = || SchemaError::new("$ref", "references that only lead to each other say nothing: remove them");
        let mut nodes = Vec::with_capacity(count as usize);
        for slot in &self.slots {
            let Slot::Node(node) = slot else { continue };
            let mut node = (**node).clone();
            for part in node.parts_mut() {
                *part = place(*part).ok_or_else(circle)?;
            }
            nodes.push(node);
        }
        for id in asked {
            **id = place(**id).ok_or_else(circle)?;
        }
        refuse_circles(&nodes)?;
        Ok(nodes)
    }

    fn reserve(&mut self, pointer: &str) -> Read<NodeId> {
        if self.slots.len() >= SCHEMA_PARTS_MAX {
            let why = format!("a schema has at most {SCHEMA_PARTS_MAX} parts: make several of it");
            return Err(SchemaError::new(pointer, why));
        }
        if pointer.len() > POINTER_BYTES_MAX {
            let at: String = pointer.chars().take(100).collect();
            return Err(SchemaError::new(format!("{at}…"), "it is nested too deep, or names are too long"));
        }
        let id = NodeId(u32::try_from(self.slots.len()).expect("bounded above"));
        self.slots.push(Slot::Waiting);
        self.by_pointer.insert(pointer.to_owned(), id);
        Ok(id)
    }

    /// The part that a reference names.
    fn target(&mut self, reference: &str, at: &str) -> Read<NodeId> {
        let Some(pointer) = reference.strip_prefix('#') else {
            let why =
                format!("$ref {reference} leads elsewhere, and nothing is ever fetched: copy it into this schema");
            return Err(SchemaError::new(at, why));
        };
        let pointer = unescaped(pointer);
        let key = format!("#{pointer}");
        if let Some(id) = self.by_pointer.get(&key) {
            return Ok(*id);
        }
        let missing = || SchemaError::new(at, format!("$ref {reference} names nothing in this schema"));
        let value = self.document.pointer(&pointer).ok_or_else(missing)?;
        let id = self.reserve(&key)?;
        self.waiting.push((id, value, key));
        Ok(id)
    }

    /// Parses a part where it is used.
    fn node(&mut self, value: &'d Value, pointer: &str) -> Read<NodeId> {
        if let Some(reference) = value.get("$ref") {
            let text = reference.as_str();
            let text =
                text.ok_or_else(|| SchemaError::new(pointer, "$ref must be a string such as #/definitions/x"))?;
            return self.target(text, pointer);
        }
        let id = match self.by_pointer.get(pointer) {
            Some(id) => *id,
            None => self.reserve(pointer)?,
        };
        if matches!(self.slots[id.0 as usize], Slot::Waiting) {
            self.slots[id.0 as usize] = self.slot(value, pointer)?;
        }
        Ok(id)
    }

    fn slot(&mut self, value: &'d Value, pointer: &str) -> Read<Slot> {
        let members = match value {
            Value::Object(members) => members,
            Value::Bool(allowed) => {
                let mut node = Node::any(pointer.to_owned());
                node.types = if *allowed { Types::ALL } else { Types::NONE };
                return Ok(Slot::Node(Box::new(node)));
            }
            _ => return Err(SchemaError::new(pointer, "a schema is an object")),
        };
        if members.contains_key("$ref") {
            return self.node(value, pointer).map(Slot::Alias);
        }
        let at = Members { members, pointer };
        let mut node = Node::any(pointer.to_owned());
        node.types = at.types()?;
        node.nullable = at.flag("nullable")?.unwrap_or_default();
        node.values = at.values()?;
        node.format = members.get("format").and_then(Value::as_str).and_then(Format::named);
        node.description = at.text("description")?.or(at.text("title")?).map(str::to_owned);
        node.number = at.range()?.map(Box::new);
        node.text = self.text(&at)?.map(Box::new);
        node.list = self.list(&at)?.map(Box::new);
        node.object = self.object(&at)?.map(Box::new);
        node.all_of = self.several(&at, "allOf")?;
        node.any_of = self.several(&at, "anyOf")?;
        node.one_of = self.several(&at, "oneOf")?;
        node.not = members.get("not").map(|not| self.node(not, &at.of("not"))).transpose()?;
        Ok(Slot::Node(Box::new(node)))
    }

    fn several(&mut self, at: &Members<'d, '_>, name: &str) -> Read<Vec<NodeId>> {
        let Some(value) = at.members.get(name) else { return Ok(Vec::new()) };
        let pointer = at.of(name);
        let list = value.as_array().filter(|list| !list.is_empty());
        let list =
            list.ok_or_else(|| SchemaError::new(&pointer, format!("{name} is a list of at least one schema")))?;
        (0..).zip(list).map(|(index, one): (usize, _)| self.node(one, &format!("{pointer}/{index}"))).collect()
    }

    fn text(&mut self, at: &Members<'d, '_>) -> Read<Option<Text>> {
        let (length_min, length_max) = (at.count("minLength")?, at.count("maxLength")?);
        let pattern = at.text("pattern")?.map(|text| self.pattern(text, &at.of("pattern"))).transpose()?;
        let text = Text { length_min, length_max, pattern };
        Ok((length_min.is_some() || length_max.is_some() || text.pattern.is_some()).then_some(text))
    }

    /// Compiles a regular expression; matching takes time linear in the text.
    fn pattern(&mut self, text: &str, pointer: &str) -> Read<Regex> {
        self.patterns += 1;
        if self.patterns > SCHEMA_PATTERNS_MAX {
            let why = format!("a schema has at most {SCHEMA_PATTERNS_MAX} regular expressions");
            return Err(SchemaError::new(pointer, why));
        }
        let compiled = RegexBuilder::new(text)
            .size_limit(SCHEMA_PATTERN_BYTES_MAX)
            .dfa_size_limit(SCHEMA_PATTERN_BYTES_MAX)
            .nest_limit(64)
            .build();
        compiled.map_err(|error| {
            let why = match error {
                regex::Error::CompiledTooBig(_) => {
                    format!("compiled, it has more than {SCHEMA_PATTERN_BYTES_MAX} bytes: repeat less")
                }
                error => {
                    let error = error.to_string();
                    let last = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
                    format!("no regular expression that is matched in linear time: {last}")
                }
            };
            SchemaError::new(pointer, why)
        })
    }

    fn list(&mut self, at: &Members<'d, '_>) -> Read<Option<List>> {
        let pointer = at.of("items");
        let (items, tuple) = match at.members.get("items") {
            None => (None, Vec::new()),
            Some(Value::Array(_)) => (None, self.several(at, "items")?),
            Some(one) => (Some(self.node(one, &pointer)?), Vec::new()),
        };
        let list = List {
            more: self.more(at, "additionalItems")?,
            length_min: at.count("minItems")?,
            length_max: at.count("maxItems")?,
            unique: at.flag("uniqueItems")?.unwrap_or_default(),
            items,
            tuple,
        };
        let says = ["items", "additionalItems", "minItems", "maxItems", "uniqueItems"];
        Ok(says.iter().any(|name| at.members.contains_key(*name)).then_some(list))
    }

    fn more(&mut self, at: &Members<'d, '_>, name: &str) -> Read<More> {
        Ok(match at.members.get(name) {
            None | Some(Value::Bool(true)) => More::Anything,
            Some(Value::Bool(false)) => More::Nothing,
            Some(schema) => More::Like(self.node(schema, &at.of(name))?),
        })
    }

    fn object(&mut self, at: &Members<'d, '_>) -> Read<Option<Object>> {
        let mut properties = BTreeMap::new();
        for (name, value) in at.map("properties")? {
            let pointer = format!("{}/{}", at.of("properties"), escaped(name));
            let node = self.node(value, &pointer)?;
            let property = Property { name: name.clone(), node, required: false, only_required: false };
            properties.insert(name.clone(), property);
        }
        for name in at.names("required")? {
            match properties.get_mut(name) {
                Some(property) => property.required = true,
                None => {
                    let node = self.anything()?;
                    let name = name.to_owned();
                    let property = Property { name: name.clone(), node, required: true, only_required: true };
                    properties.insert(name, property);
                }
            }
        }
        let mut patterns = Vec::new();
        for (text, value) in at.map("patternProperties")? {
            let pointer = format!("{}/{}", at.of("patternProperties"), escaped(text));
            patterns.push((self.pattern(text, &pointer)?, self.node(value, &pointer)?));
        }
        let mut dependencies = Vec::new();
        for (name, value) in at.map("dependencies")? {
            let pointer = format!("{}/{}", at.of("dependencies"), escaped(name));
            let dependency = match value {
                Value::Array(names) => {
                    Dependency::Names(names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
                }
                schema => Dependency::Schema(self.node(schema, &pointer)?),
            };
            dependencies.push((name.clone(), dependency));
        }
        let object = Object {
            properties: properties.into_values().collect(),
            patterns,
            more: self.more(at, "additionalProperties")?,
            length_min: at.count("minProperties")?,
            length_max: at.count("maxProperties")?,
            dependencies,
        };
        let says = ["properties", "required", "patternProperties", "dependencies", "additionalProperties"];
        let counts = ["minProperties", "maxProperties"];
        Ok(says.iter().chain(&counts).any(|name| at.members.contains_key(*name)).then_some(object))
    }

    /// The part that allows everything.
    fn anything(&mut self) -> Read<NodeId> {
        const ANYTHING: &str = "anything";
        if let Some(id) = self.by_pointer.get(ANYTHING) {
            return Ok(*id);
        }
        let id = self.reserve(ANYTHING)?;
        self.slots[id.0 as usize] = Slot::Node(Box::new(Node::any(ANYTHING.into())));
        Ok(id)
    }
}

/// Refuses parts that refer to themselves for the same value: checking them would never end.
fn refuse_circles(nodes: &[Node]) -> Read<()> {
    const ON_THE_WAY: u8 = 1;
    const DONE: u8 = 2;
    let mut state = vec![0; nodes.len()];
    let parts = |at: usize| {
        let node = &nodes[at];
        let dependent = node.object.iter().flat_map(|object| &object.dependencies).filter_map(|(_, one)| match one {
            Dependency::Schema(id) => Some(*id),
            Dependency::Names(_) => None,
        });
        node.same_value().chain(dependent).map(|id| id.0 as usize).collect::<Vec<_>>()
    };
    for start in 0..nodes.len() {
        if state[start] != 0 {
            continue;
        }
        state[start] = ON_THE_WAY;
        let mut way = vec![(start, parts(start))];
        while let Some((at, rest)) = way.last_mut() {
            let at = *at;
            match rest.pop() {
                Some(next) if state[next] == ON_THE_WAY => {
                    let why =
                        "it contains itself for the same value, without end: let it contain itself in a property";
                    return Err(SchemaError::new(&nodes[next].pointer, why));
                }
                Some(next) if state[next] == 0 => {
                    state[next] = ON_THE_WAY;
                    way.push((next, parts(next)));
                }
                Some(_) => {}
                None => {
                    state[at] = DONE;
                    way.pop();
                }
            }
        }
    }
    Ok(())
}

/// The members of one part.
struct Members<'d, 'p> {
    members: &'d Map<String, Value>,
    pointer: &'p str,
}

impl<'d> Members<'d, '_> {
    fn of(&self, name: &str) -> String {
        format!("{}/{name}", self.pointer)
    }

    fn wrong<T>(&self, name: &str, why: &str) -> Read<T> {
        Err(SchemaError::new(self.of(name), format!("{name} must be {why}")))
    }

    fn text(&self, name: &str) -> Read<Option<&'d str>> {
        match self.members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => self.wrong(name, "a string"),
        }
    }

    fn flag(&self, name: &str) -> Read<Option<bool>> {
        match self.members.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => self.wrong(name, "true or false"),
        }
    }

    fn number(&self, name: &str) -> Read<Option<f64>> {
        match self.members.get(name) {
            None => Ok(None),
            Some(value) => value.as_f64().map_or_else(|| self.wrong(name, "a number"), |number| Ok(Some(number))),
        }
    }

    fn count(&self, name: &str) -> Read<Option<u64>> {
        match self.members.get(name) {
            None => Ok(None),
            Some(value) => value.as_u64().map_or_else(|| self.wrong(name, "a count"), |count| Ok(Some(count))),
        }
    }

    fn names(&self, name: &str) -> Read<Vec<&'d str>> {
        match self.members.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(names)) if names.iter().all(Value::is_string) => {
                Ok(names.iter().filter_map(Value::as_str).collect())
            }
            // From draft 3: the flag of a property.
            Some(Value::Bool(_)) => self.wrong(name, "a list of names, beside properties"),
            Some(_) => self.wrong(name, "a list of names"),
        }
    }

    fn map(&self, name: &str) -> Read<impl Iterator<Item = (&'d String, &'d Value)> + use<'d>> {
        match self.members.get(name) {
            None => Ok(None.into_iter().flatten()),
            Some(Value::Object(map)) => Ok(Some(map).into_iter().flatten()),
            Some(_) => self.wrong(name, "an object of schemas"),
        }
    }

    fn types(&self) -> Read<Types> {
        let known = |name: &Value| name.as_str().and_then(Types::named);
        let all = match self.members.get("type") {
            None => Some(Types::ALL),
            Some(Value::Array(names)) => {
                names.iter().map(known).try_fold(Types::NONE, |all, one| one.map(|one| all.with(one)))
            }
            Some(name) => known(name),
        };
        all.map_or_else(|| self.wrong("type", "one of null, boolean, integer, number, string, array, object"), Ok)
    }

    fn values(&self) -> Read<Option<Vec<Value>>> {
        match (self.members.get("enum"), self.members.get("const")) {
            (Some(Value::Array(values)), _) if !values.is_empty() => Ok(Some(values.clone())),
            (Some(_), _) => self.wrong("enum", "a list of at least one value"),
            (None, only) => Ok(only.map(|only| vec![only.clone()])),
        }
    }

    /// Draft 4 and OpenAPI have `exclusiveMinimum: true` beside the minimum; later drafts give the number there.
    fn range(&self) -> Read<Option<Range>> {
        let (mut min, mut max) = (self.number("minimum")?, self.number("maximum")?);
        let exclusive = |name: &str, bound: &mut Option<f64>| match self.members.get(name) {
            Some(Value::Bool(true)) => Ok(bound.take()),
            Some(Value::Bool(false)) => Ok(None),
            _ => self.number(name),
        };
        let (above, below) = (exclusive("exclusiveMinimum", &mut min)?, exclusive("exclusiveMaximum", &mut max)?);
        let multiple_of = self.number("multipleOf")?;
        if multiple_of.is_some_and(|step| step <= 0.0) {
            return self.wrong("multipleOf", "greater than 0");
        }
        let says = [min, max, above, below, multiple_of].iter().any(Option::is_some);
        Ok(says.then_some(Range { min, above, max, below, multiple_of }))
    }
}

/// Escapes a name for a JSON pointer.
pub(crate) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Decodes a pointer from a URL.
fn unescaped(pointer: &str) -> String {
    if !pointer.contains('%') {
        return pointer.to_owned();
    }
    let mut bytes = Vec::with_capacity(pointer.len());
    let mut rest = pointer.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match code.filter(|_| *first == b'%') {
            Some(code) => {
                bytes.push(code);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
