//! Disjointness: true only if no value of this writer case can satisfy that part of the reader's schema.

use super::Compare;
use crate::check::check;
use crate::node::{More, Node, NodeId, Object, Range, Types};

/// How deep parts are compared.
const DEPTH_MAX: usize = 16;

impl<'s> Compare<'s> {
    /// Whether it is certain that no value of the writer's part fits the reader's.
    pub(super) fn is_apart(&mut self, written: NodeId, read: NodeId, depth: usize) -> bool {
        self.steps += 1;
        if depth > DEPTH_MAX || self.is_over() {
            return false;
        }
        let Some(cases) = self.writer.cases(written) else { return false };
        cases.iter().all(|case| self.is_case_apart(*case, read, depth))
    }

    fn is_case_apart(&mut self, case: NodeId, read: NodeId, depth: usize) -> bool {
        let writer = self.writer.node(case);
        let reader: &'s Node = self.reader.node(read);
        if !writer.types.meets(reader.allowed()) {
            return true;
        }
        if reader.nullable && writer.types.has(Types::NULL) {
            return false;
        }
        if let Some(values) = &writer.values {
            self.steps += values.len();
            let nodes = &self.reader.nodes;
            return values
                .iter()
                .filter(|value| writer.types.has(Types::of(value)))
                .all(|value| check(nodes, read, value, "$").is_err());
        }
        let mut apart = |part: &NodeId| self.is_apart(case, *part, depth + 1);
        if reader.all_of.iter().any(&mut apart)
            || !reader.any_of.is_empty() && reader.any_of.iter().all(&mut apart)
            || !reader.one_of.is_empty() && reader.one_of.iter().all(&mut apart)
        {
            return true;
        }
        let both = writer.types.and(reader.allowed());
        match (both, &writer.object, &reader.object) {
            (Types::OBJECT, written, Some(read)) => self.are_objects_apart(written.as_deref(), read, depth),
            _ => Types::NUMBER.has(both) && are_numbers_apart(&writer, reader),
        }
    }

    fn are_objects_apart(&mut self, written: Option<&Object>, read: &Object, depth: usize) -> bool {
        for property in &read.properties {
            let known = written.and_then(|written| self.writer.written_as(written, &property.name));
            match known {
                None if property.required => return true,
                Some(known) if !property.only_required => {
                    let needed = property.required
                        || written
                            .and_then(|written| written.property(&property.name))
                            .is_some_and(|known| known.required);
                    if needed && self.is_apart(known, property.node, depth + 1) {
                        return true;
                    }
                }
                _ => {}
            }
        }
        let others = written.into_iter().flat_map(|written| &written.properties).filter(|known| known.required);
        others.into_iter().any(|known| {
            let is_named = read.property(&known.name).is_some_and(|property| !property.only_required);
            let by_pattern = || read.patterns.iter().any(|(pattern, _)| pattern.is_match(&known.name));
            read.more == More::Nothing && !is_named && !by_pattern()
        })
    }
}

fn are_numbers_apart(writer: &Node, reader: &Node) -> bool {
    let (Some(written), Some(read)) = (writer.number.as_deref(), reader.number.as_deref()) else { return false };
    is_below(written, read) || is_below(read, written)
}

/// Whether every number of the one range is below all of the other.
fn is_below(one: &Range, other: &Range) -> bool {
    let less = |high: Option<f64>, low: Option<f64>| high.zip(low).is_some_and(|(high, low)| high < low);
    let least = |high: Option<f64>, low: Option<f64>| high.zip(low).is_some_and(|(high, low)| high <= low);
    less(one.max, other.min)
        || least(one.below, other.min)
        || least(one.max, other.above)
        || least(one.below, other.above)
}
