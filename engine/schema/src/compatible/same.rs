//! Whether two parts are equal, word by word, with references followed: then they need no further comparison.

use super::writer::Writer;
use crate::Schema;
use crate::node::{Dependency, List, More, Node, NodeId, Object, Range, Text};
use serde_json::Value;
use std::collections::HashSet;

/// The most pairs compared for one answer, trials included.
const PAIRS_MAX: usize = 5_000;
/// How deep parts are compared.
const DEPTH_MAX: usize = 100;

/// A walk along two parts at once.
pub(super) struct Same<'s> {
    pub(super) writer: &'s Writer,
    pub(super) reader: &'s Schema,
    /// Pairs that were compared or are being compared: parts that contain themselves are equal if nothing else
    /// differs.
    seen: HashSet<(NodeId, NodeId)>,
    /// Pairs that were compared, and the cost of trials.
    pub(super) steps: usize,
    depth: usize,
}

impl<'s> Same<'s> {
    pub(super) fn new(writer: &'s Writer, reader: &'s Schema) -> Same<'s> {
        Same { writer, reader, seen: HashSet::new(), steps: 0, depth: 0 }
    }

    pub(super) fn parts(&mut self, written: NodeId, read: NodeId) -> bool {
        if !self.seen.insert((written, read)) {
            return true;
        }
        self.steps += 1;
        if self.steps > PAIRS_MAX || self.depth > DEPTH_MAX {
            return false;
        }
        self.depth += 1;
        let (one, other) = (self.writer.node(written), self.reader.node(read));
        let is_same = one.types == other.types
            && one.nullable == other.nullable
            && one.format == other.format
            && values(&one.values, &other.values)
            && texts(one.text.as_deref(), other.text.as_deref())
            && ranges(one.number.as_deref(), other.number.as_deref())
            && self.combined(&one, other)
            && self.lists(one.list.as_deref(), other.list.as_deref())
            && self.objects(one.object.as_deref(), other.object.as_deref());
        self.depth -= 1;
        is_same
    }

    fn combined(&mut self, one: &Node, other: &Node) -> bool {
        self.sets(&one.all_of, &other.all_of)
            && self.sets(&one.any_of, &other.any_of)
            && self.sets(&one.one_of, &other.one_of)
            && self.both(one.not, other.not)
    }

    /// Compares two sets, in any order.
    pub(super) fn sets(&mut self, one: &[NodeId], other: &[NodeId]) -> bool {
        if one.len() != other.len() {
            return false;
        }
        let mut left: Vec<NodeId> = other.to_vec();
        one.iter().all(|part| {
            let place = left.iter().position(|other| {
                self.steps += self.seen.len() / 16;
                let before = self.seen.clone();
                let is_same = self.parts(*part, *other);
                if !is_same {
                    self.seen = before; // conclusions of the failed trial are dropped
                }
                is_same
            });
            place.map(|place| left.swap_remove(place)).is_some()
        })
    }

    fn both(&mut self, one: Option<NodeId>, other: Option<NodeId>) -> bool {
        match (one, other) {
            (None, None) => true,
            (Some(one), Some(other)) => self.parts(one, other),
            _ => false,
        }
    }

    fn more(&mut self, one: More, other: More) -> bool {
        match (one, other) {
            (More::Like(one), More::Like(other)) => self.parts(one, other),
            (More::Like(_), _) | (_, More::Like(_)) => false,
            (one, other) => one == other,
        }
    }

    fn lists(&mut self, one: Option<&List>, other: Option<&List>) -> bool {
        let (Some(one), Some(other)) = (one, other) else { return one.is_none() && other.is_none() };
        (one.length_min, one.length_max, one.unique) == (other.length_min, other.length_max, other.unique)
            && one.tuple.len() == other.tuple.len()
            && one.tuple.iter().zip(&other.tuple).all(|(one, other)| self.parts(*one, *other))
            && self.both(one.items, other.items)
            && self.more(one.more, other.more)
    }

    fn objects(&mut self, one: Option<&Object>, other: Option<&Object>) -> bool {
        let (Some(one), Some(other)) = (one, other) else { return one.is_none() && other.is_none() };
        (one.length_min, one.length_max) == (other.length_min, other.length_max)
            && one.properties.len() == other.properties.len()
            && one.properties.iter().zip(&other.properties).all(|(one, other)| {
                (&one.name, one.required, one.only_required) == (&other.name, other.required, other.only_required)
                    && (one.only_required || self.parts(one.node, other.node))
            })
            && one.patterns.len() == other.patterns.len()
            && one.patterns.iter().all(|(pattern, node)| {
                let known = other.patterns.iter().find(|(known, _)| known.as_str() == pattern.as_str());
                known.is_some_and(|(_, other)| self.parts(*node, *other))
            })
            && self.more(one.more, other.more)
            && one.dependencies.len() == other.dependencies.len()
            && one.dependencies.iter().all(|(name, dependency)| {
                let known = other.dependencies.iter().find(|(known, _)| known == name);
                known.is_some_and(|(_, other)| match (dependency, other) {
                    (Dependency::Names(one), Dependency::Names(other)) => one == other,
                    (Dependency::Schema(one), Dependency::Schema(other)) => self.parts(*one, *other),
                    _ => false,
                })
            })
    }
}

fn values(one: &Option<Vec<Value>>, other: &Option<Vec<Value>>) -> bool {
    one == other
}

fn texts(one: Option<&Text>, other: Option<&Text>) -> bool {
    let said = |text: Option<&Text>| {
        text.map(|text| (text.length_min, text.length_max, text.pattern.as_ref().map(|it| it.as_str().to_owned())))
    };
    said(one) == said(other)
}

fn ranges(one: Option<&Range>, other: Option<&Range>) -> bool {
    let said = |range: Option<&Range>| {
        range.map(|range| (range.min, range.above, range.max, range.below, range.multiple_of))
    };
    said(one) == said(other)
}
