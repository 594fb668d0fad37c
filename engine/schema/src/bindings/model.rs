//! The declarations of a schema in a form that every language can express: records, words, choices.

use super::super::Schema;
use super::super::format::Format;
use super::super::node::{More, Node, NodeId, Types};
use super::words::pascal;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The type of a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Type {
    Any,
    Boolean,
    Integer,
    Number,
    Text,
    Time,
    List(Box<Type>),
    Map(Box<Type>),
    /// One of the declarations.
    Named(usize),
    Nullable(Box<Type>),
}

/// A type with a name.
#[derive(Clone, Debug)]
pub(crate) struct Declaration {
    pub(crate) name: String,
    pub(crate) doc: Option<String>,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Record(Vec<Field>),
    /// One of these texts.
    Words(Vec<String>),
    /// One of these types.
    Choice(Vec<Type>),
    /// Another name.
    Alias(Type),
}

#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) doc: Option<String>,
    pub(crate) is: Type,
    pub(crate) required: bool,
}

/// All declarations of a schema.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) declarations: Vec<Declaration>,
}

/// Parts that are nested deeper than this may be anything.
const DEPTH_MAX: usize = 64;

struct Builder<'s> {
    schema: &'s Schema,
    declarations: Vec<Declaration>,
    by_node: HashMap<NodeId, Type>,
    /// Names that the schema itself gives.
    given: HashMap<NodeId, String>,
    names: HashSet<String>,
    depth: usize,
}

impl Model {
    pub(crate) fn of(schema: &Schema, name: &str) -> Model {
        let mut builder = Builder {
            schema,
            declarations: Vec::new(),
            by_node: HashMap::new(),
            given: schema.named.iter().map(|(name, id)| (*id, pascal(name))).collect(),
            names: HashSet::new(),
            depth: 0,
        };
        let asked: Vec<NodeId> = schema.root.into_iter().chain(schema.named.iter().map(|(_, id)| *id)).collect();
        for id in asked {
            let name = builder.given.get(&id).cloned().unwrap_or_else(|| pascal(name));
            let is = builder.type_of(id, &name);
            // The schema's own name must appear in the bindings, for readers who search for it.
            let declared = matches!(is, Type::Named(index) if builder.declarations[index].name == name);
            if !declared && !builder.names.contains(&name) {
                let name = builder.name(&name);
                let doc = builder.schema.node(id).description.clone();
                builder.declarations.push(Declaration { name, doc, what: What::Alias(is) });
            }
        }
        Model { declarations: builder.declarations }
    }

    /// Whether a record would contain itself if it contained this declaration.
    pub(crate) fn reaches(&self, from: usize, to: usize) -> bool {
        let (mut seen, mut waiting) = (HashSet::new(), vec![from]);
        while let Some(at) = waiting.pop() {
            if at == to {
                return true;
            }
            if seen.insert(at) {
                let held: Vec<&Type> = match &self.declarations[at].what {
                    What::Record(fields) => fields.iter().map(|field| &field.is).collect(),
                    What::Choice(types) => types.iter().collect(),
                    What::Alias(is) => vec![is],
                    What::Words(_) => Vec::new(),
                };
                waiting.extend(held.into_iter().filter_map(Type::held));
            }
        }
        false
    }
}

impl Type {
    /// The declaration that a value contains directly, not through a list or a map.
    pub(crate) fn held(&self) -> Option<usize> {
        match self {
            Type::Named(index) => Some(*index),
            Type::Nullable(is) => is.held(),
            _ => None,
        }
    }

    fn nullable(self, nullable: bool) -> Type {
        match self {
            is @ (Type::Nullable(_) | Type::Any) => is,
            is if nullable => Type::Nullable(Box::new(is)),
            is => is,
        }
    }
}

impl Builder<'_> {
    /// A name that is not used yet.
    fn name(&mut self, name: &str) -> String {
        let free = (1..).map(|number| if number == 1 { name.to_owned() } else { format!("{name}{number}") });
        let name = free.into_iter().find(|name| !self.names.contains(name)).expect("numbers do not end");
        self.names.insert(name.clone());
        name
    }

    fn declare(&mut self, id: NodeId, name: &str, what: impl FnOnce(&mut Self) -> What) -> Type {
        let (name, doc) = (self.name(name), self.schema.node(id).description.clone());
        let index = self.declarations.len();
        self.declarations.push(Declaration { name, doc, what: What::Alias(Type::Any) });
        // Before its parts, because they may contain it.
        self.by_node.insert(id, Type::Named(index));
        let what = what(self);
        self.declarations[index].what = what;
        Type::Named(index)
    }

    fn type_of(&mut self, id: NodeId, name: &str) -> Type {
        if let Some(known) = self.by_node.get(&id) {
            return known.clone().nullable(self.schema.node(id).allowed().has(Types::NULL));
        }
        if self.depth > DEPTH_MAX {
            return Type::Any;
        }
        self.depth += 1;
        let node = self.schema.node(id).clone();
        let name = &self.given.get(&id).cloned().unwrap_or_else(|| name.to_owned());
        let nullable = node.nullable || node.types != Types::ALL && node.types.has(Types::NULL);
        let is = self.of_node(id, &node, name);
        self.depth -= 1;
        is.nullable(nullable)
    }

    fn of_node(&mut self, id: NodeId, node: &Node, name: &str) -> Type {
        if let Some(words) = words(node) {
            return self.declare(id, name, |_| What::Words(words));
        }
        let alternatives: Vec<NodeId> = node.any_of.iter().chain(&node.one_of).copied().collect();
        let own = node.object.as_ref().is_some_and(|object| !object.properties.is_empty());
        if !own && !alternatives.is_empty() {
            return self.choice(id, &alternatives, name);
        }
        if !own && let [only] = node.all_of[..] {
            return self.type_of(only, name);
        }
        let mut parts = BTreeMap::new();
        self.properties(id, &mut parts, 0);
        if !parts.is_empty() {
            return self.declare(id, name, |builder| What::Record(builder.fields(parts, name)));
        }
        let types = node.types.without(Types::NULL);
        if types == Types::OBJECT || node.types == Types::ALL && node.object.is_some() {
            let all = match node.object.as_ref().map(|object| object.more) {
                Some(More::Like(all)) => self.type_of(all, &format!("{name}Value")),
                _ => Type::Any,
            };
            return Type::Map(Box::new(all));
        }
        if types == Types::ARRAY || node.types == Types::ALL && node.list.is_some() {
            let items = node.list.as_ref().and_then(|list| list.items);
            let item = items.map_or(Type::Any, |item| self.type_of(item, &singular(name)));
            return Type::List(Box::new(item));
        }
        match types {
            Types::BOOLEAN => Type::Boolean,
            Types::INTEGER => Type::Integer,
            Types::NUMBER | Types::FRACTION => Type::Number,
            Types::STRING if node.format == Some(Format::DateTime) => Type::Time,
            Types::STRING => Type::Text,
            _ => Type::Any,
        }
    }

    fn choice(&mut self, id: NodeId, alternatives: &[NodeId], name: &str) -> Type {
        let is_null = |id: &NodeId| self.schema.node(*id).types == Types::NULL;
        let nullable = alternatives.iter().any(is_null);
        let others: Vec<NodeId> = alternatives.iter().copied().filter(|id| !is_null(id)).collect();
        if let [only] = others[..] {
            return self.type_of(only, name).nullable(nullable);
        }
        let declared = self.declare(id, name, |builder| {
            let mut types = Vec::new();
            for (number, alternative) in (1..).zip(others) {
                let is = builder.type_of(alternative, &format!("{name}{number}"));
                if !types.contains(&is) {
                    types.push(is);
                }
            }
            What::Choice(types)
        });
        declared.nullable(nullable)
    }

    /// The properties of a part and of all parts that apply to the same value.
    fn properties(&self, id: NodeId, into: &mut BTreeMap<String, (NodeId, bool)>, depth: usize) {
        let node = self.schema.node(id);
        for property in node.object.iter().flat_map(|object| &object.properties) {
            let known = into.entry(property.name.clone()).or_insert((property.node, property.required));
            known.1 |= property.required;
            if !property.only_required {
                known.0 = property.node;
            }
        }
        if depth < DEPTH_MAX {
            node.all_of.iter().for_each(|part| self.properties(*part, into, depth + 1));
        }
    }

    fn fields(&mut self, parts: BTreeMap<String, (NodeId, bool)>, record: &str) -> Vec<Field> {
        let field = |(name, (id, required)): (String, (NodeId, bool))| {
            let is = self.type_of(id, &format!("{record}{}", pascal(&name)));
            let doc = self.schema.node(id).description.clone().filter(|_| !matches!(is, Type::Named(_)));
            Field { is, name, doc, required }
        };
        parts.into_iter().map(field).collect()
    }
}

/// The texts of a part that allows nothing else.
fn words(node: &Node) -> Option<Vec<String>> {
    let values = node.values.as_ref()?;
    let texts: Vec<String> = values.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let others = values.iter().filter(|value| !value.is_null() && !value.is_string()).count();
    (!texts.is_empty() && others == 0).then_some(texts)
}

/// The name of an item of a list.
fn singular(name: &str) -> String {
    match name.strip_suffix('s').filter(|short| short.len() > 2 && !short.ends_with('s')) {
        Some(short) => short.to_owned(),
        None => format!("{name}Item"),
    }
}
