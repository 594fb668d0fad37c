//! A parsed schema: its parts in one list, references resolved, regular expressions compiled. Everything that could
//! make checking slow or endless is refused here, with the place in the content.

use super::format::Format;
use regex::Regex;
use serde_json::{Number, Value};

/// A part of a schema: its index in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId(pub(crate) u32);

/// A set of JSON types. Whole numbers are a type of their own, as in schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Types(u8);

impl Types {
    pub(crate) const NONE: Types = Types(0);
    pub(crate) const NULL: Types = Types(1);
    pub(crate) const BOOLEAN: Types = Types(2);
    pub(crate) const INTEGER: Types = Types(4);
    pub(crate) const FRACTION: Types = Types(8);
    pub(crate) const NUMBER: Types = Types(4 | 8);
    pub(crate) const STRING: Types = Types(16);
    pub(crate) const ARRAY: Types = Types(32);
    pub(crate) const OBJECT: Types = Types(64);
    pub(crate) const ALL: Types = Types(127);
    /// Each type as a set of one.
    pub(crate) const EACH: [Types; 7] =
        [Types::NULL, Types::BOOLEAN, Types::INTEGER, Types::FRACTION, Types::STRING, Types::ARRAY, Types::OBJECT];

    pub(crate) fn named(name: &str) -> Option<Types> {
        Some(match name {
            "null" => Types::NULL,
            "boolean" => Types::BOOLEAN,
            "integer" => Types::INTEGER,
            "number" => Types::NUMBER,
            "string" => Types::STRING,
            "array" => Types::ARRAY,
            "object" => Types::OBJECT,
            _ => return None,
        })
    }

    #[inline]
    pub(crate) fn of(value: &Value) -> Types {
        match value {
            Value::Null => Types::NULL,
            Value::Bool(_) => Types::BOOLEAN,
            Value::Number(number) if is_whole(number) => Types::INTEGER,
            Value::Number(_) => Types::FRACTION,
            Value::String(_) => Types::STRING,
            Value::Array(_) => Types::ARRAY,
            Value::Object(_) => Types::OBJECT,
        }
    }

    #[inline]
    pub(crate) fn has(self, other: Types) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) fn meets(self, other: Types) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn with(self, other: Types) -> Types {
        Types(self.0 | other.0)
    }

    pub(crate) fn and(self, other: Types) -> Types {
        Types(self.0 & other.0)
    }

    pub(crate) fn without(self, other: Types) -> Types {
        Types(self.0 & !other.0)
    }

    /// `string or null`.
    pub(crate) fn words(self) -> String {
        let mut words = Vec::new();
        for (types, word) in [
            (Types::OBJECT, "object"),
            (Types::ARRAY, "array"),
            (Types::STRING, "string"),
            (Types::NUMBER, "number"),
            (Types::BOOLEAN, "boolean"),
        ] {
            if self.has(types) {
                words.push(word);
            } else if types == Types::NUMBER && self.has(Types::INTEGER) {
                words.push("integer");
            } else if types == Types::NUMBER && self.has(Types::FRACTION) {
                words.push("fraction");
            }
        }
        if self.has(Types::NULL) {
            words.push("null");
        }
        if words.is_empty() { "nothing".into() } else { words.join(" or ") }
    }
}

fn is_whole(number: &Number) -> bool {
    number.is_u64() || number.is_i64() || number.as_f64().is_some_and(|float| float.fract() == 0.0)
}

/// A part of a schema. A missing field restricts nothing.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) types: Types,
    /// Null is accepted, whatever else holds (OpenAPI).
    pub(crate) nullable: bool,
    pub(crate) values: Option<Vec<Value>>,
    pub(crate) text: Option<Box<Text>>,
    pub(crate) number: Option<Box<Range>>,
    pub(crate) list: Option<Box<List>>,
    pub(crate) object: Option<Box<Object>>,
    pub(crate) all_of: Vec<NodeId>,
    pub(crate) any_of: Vec<NodeId>,
    pub(crate) one_of: Vec<NodeId>,
    pub(crate) not: Option<NodeId>,
    pub(crate) format: Option<Format>,
    /// Its description for people.
    pub(crate) description: Option<String>,
    /// The pointer to it in the content.
    pub(crate) pointer: String,
}

impl Node {
    pub(crate) fn any(pointer: String) -> Node {
        Node {
            types: Types::ALL,
            nullable: false,
            values: None,
            text: None,
            number: None,
            list: None,
            object: None,
            all_of: Vec::new(),
            any_of: Vec::new(),
            one_of: Vec::new(),
            not: None,
            format: None,
            description: None,
            pointer,
        }
    }

    /// The types that it allows by itself.
    pub(crate) fn allowed(&self) -> Types {
        if self.nullable { self.types.with(Types::NULL) } else { self.types }
    }

    /// Parts that apply to the same value.
    pub(crate) fn same_value(&self) -> impl Iterator<Item = NodeId> + '_ {
        [&self.all_of, &self.any_of, &self.one_of].into_iter().flatten().copied().chain(self.not)
    }

    /// All parts.
    pub(crate) fn parts_mut(&mut self) -> impl Iterator<Item = &mut NodeId> {
        let list = self.list.as_deref_mut();
        let listed = list
            .into_iter()
            .flat_map(|list| list.tuple.iter_mut().chain(list.items.iter_mut()).chain(list.more.parts_mut()));
        let object = self.object.as_deref_mut();
        let members = object.into_iter().flat_map(|object| {
            let properties = object.properties.iter_mut().map(|property| &mut property.node);
            let patterns = object.patterns.iter_mut().map(|(_, node)| node);
            let dependent = object.dependencies.iter_mut().filter_map(|(_, dependency)| match dependency {
                Dependency::Schema(node) => Some(node),
                Dependency::Names(_) => None,
            });
            properties.chain(patterns).chain(dependent).chain(object.more.parts_mut())
        });
        let combined = [&mut self.all_of, &mut self.any_of, &mut self.one_of].into_iter().flatten();
        listed.chain(members).chain(combined).chain(self.not.iter_mut())
    }
}

/// Restrictions on a string.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text {
    pub(crate) length_min: Option<u64>,
    pub(crate) length_max: Option<u64>,
    pub(crate) pattern: Option<Regex>,
}

/// Restrictions on a number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Range {
    pub(crate) min: Option<f64>,
    pub(crate) above: Option<f64>,
    pub(crate) max: Option<f64>,
    pub(crate) below: Option<f64>,
    pub(crate) multiple_of: Option<f64>,
}

/// Restrictions on an array.
#[derive(Clone, Debug)]
pub(crate) struct List {
    /// The part for every item; none if `tuple` describes them.
    pub(crate) items: Option<NodeId>,
    /// The parts for the first items.
    pub(crate) tuple: Vec<NodeId>,
    /// For the items after the tuple.
    pub(crate) more: More,
    pub(crate) length_min: Option<u64>,
    pub(crate) length_max: Option<u64>,
    pub(crate) unique: bool,
}

/// Restrictions on an object.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    /// Sorted by name.
    pub(crate) properties: Vec<Property>,
    pub(crate) patterns: Vec<(Regex, NodeId)>,
    pub(crate) more: More,
    pub(crate) length_min: Option<u64>,
    pub(crate) length_max: Option<u64>,
    pub(crate) dependencies: Vec<(String, Dependency)>,
}

impl Object {
    pub(crate) fn property(&self, name: &str) -> Option<&Property> {
        let at = self.properties.binary_search_by(|property| property.name.as_str().cmp(name)).ok()?;
        Some(&self.properties[at])
    }
}

/// A member that an object may have, or must have.
#[derive(Clone, Debug)]
pub(crate) struct Property {
    pub(crate) name: String,
    pub(crate) node: NodeId,
    pub(crate) required: bool,
    /// It is only required; no part describes it.
    pub(crate) only_required: bool,
}

/// A restriction on objects with a certain member.
#[derive(Clone, Debug)]
pub(crate) enum Dependency {
    Names(Vec<String>),
    Schema(NodeId),
}

/// Members or items that nothing else describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum More {
    Anything,
    Nothing,
    Like(NodeId),
}

impl More {
    fn parts_mut(&mut self) -> impl Iterator<Item = &mut NodeId> {
        match self {
            More::Like(node) => Some(node),
            More::Anything | More::Nothing => None,
        }
        .into_iter()
    }
}
