//! What a writer may write, as cases: a part of its schema becomes a list of cases without alternatives, each one
//! node into which everything that applies to the value is folded. `allOf` folds, `anyOf` and `oneOf` split, and so
//! does a dependency, which holds or does not apply. What cannot be folded exactly is made wider, never narrower: a
//! case may allow too much rather than too little.

use crate::Schema;
use crate::equal::equal;
use crate::node::{Dependency, List, More, Node, NodeId, Object, Property, Range, Text, Types};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

/// The most cases of one part; beyond them nothing is compared.
const CASES_MAX: usize = 256;
/// The most nodes made, with their members.
const MADE_MAX: usize = 200_000;
/// How deep parts of the same value may be nested.
const DEPTH_MAX: usize = 100;

/// Parts that all apply to a value.
type Together = BTreeSet<NodeId>;
/// The cases of a part; none if there are too many.
type Parted = Option<Rc<[Together]>>;

/// The schema of a writer, and the nodes made of its parts; each is made once.
pub(super) struct Writer {
    nodes: Vec<Rc<Node>>,
    /// The number of nodes made, with their members.
    made: usize,
    parted: HashMap<NodeId, Parted>,
    cases: HashMap<NodeId, Option<Rc<[NodeId]>>>,
    folded: HashMap<Together, NodeId>,
    joined: HashMap<Together, NodeId>,
    /// The parts that each of these nodes joins.
    joins: HashMap<NodeId, Together>,
    only: HashMap<(NodeId, Types), NodeId>,
    without: HashMap<String, NodeId>,
    anything: NodeId,
    null: NodeId,
    nothing: NodeId,
}

impl Writer {
    pub(super) fn new(schema: &Schema) -> Writer {
        let mut nodes: Vec<Rc<Node>> = schema.nodes.iter().cloned().map(Rc::new).collect();
        let [anything, null, nothing] = [Types::ALL, Types::NULL, Types::NONE].map(|types| {
            nodes.push(Rc::new(Node { types, ..Node::any(String::new()) }));
            id(nodes.len() - 1)
        });
        let (parted, cases, folded, joined) = Default::default();
        let (joins, only, without) = Default::default();
        Writer { nodes, made: 0, parted, cases, folded, joined, joins, only, without, anything, null, nothing }
    }

    pub(super) fn node(&self, NodeId(at): NodeId) -> Rc<Node> {
        self.nodes[at as usize].clone()
    }

    fn add(&mut self, node: Node) -> NodeId {
        let members = node.object.as_ref().map_or(0, |object| object.properties.len() * (1 + object.patterns.len()));
        self.made += 1 + members;
        self.nodes.push(Rc::new(node));
        id(self.nodes.len() - 1)
    }

    pub(super) fn is_full(&self) -> bool {
        self.made > MADE_MAX
    }

    /// The cases of a part; none if there are too many. If the list is empty, nothing can be written.
    pub(super) fn cases(&mut self, part: NodeId) -> Option<Rc<[NodeId]>> {
        if let Some(known) = self.cases.get(&part) {
            return known.clone();
        }
        let cases = self.folded_cases(part);
        self.cases.insert(part, cases.clone());
        cases
    }

    fn folded_cases(&mut self, part: NodeId) -> Option<Rc<[NodeId]>> {
        let mut cases = Vec::new();
        for together in self.parted(part, 0)?.iter() {
            if self.is_full() {
                return None;
            }
            cases.push(self.fold(together));
        }
        cases.retain(|case| self.node(*case).types != Types::NONE);
        Some(cases.into())
    }

    /// The cases as sets of parts that have no alternatives.
    fn parted(&mut self, part: NodeId, depth: usize) -> Parted {
        if let Some(known) = self.parted.get(&part) {
            return known.clone();
        }
        let parted = self.part(part, depth).map(Rc::from);
        self.parted.insert(part, parted.clone());
        parted
    }

    fn part(&mut self, part: NodeId, depth: usize) -> Option<Vec<Together>> {
        if depth > DEPTH_MAX {
            return None;
        }
        let node = self.node(part);
        let mut cases = vec![Together::from([part])];
        for also in &node.all_of {
            cases = times(&cases, &self.parted(*also, depth + 1)?)?;
        }
        for alternatives in [&node.any_of, &node.one_of].into_iter().filter(|parts| !parts.is_empty()) {
            let mut several = Vec::new();
            for alternative in alternatives {
                several.extend_from_slice(&self.parted(*alternative, depth + 1)?);
            }
            cases = times(&cases, &several)?;
        }
        for (name, dependency) in node.object.iter().flat_map(|object| &object.dependencies) {
            if let Dependency::Schema(asked) = dependency {
                let mut several = self.parted(*asked, depth + 1)?.to_vec();
                several.push(Together::from([self.without(name)]));
                cases = times(&cases, &several)?;
            }
        }
        if is_null_apart(&node) {
            cases.push(Together::from([self.null]));
        }
        (cases.len() <= CASES_MAX).then_some(cases)
    }

    /// The part in which a member is forbidden.
    fn without(&mut self, name: &str) -> NodeId {
        if let Some(known) = self.without.get(name) {
            return *known;
        }
        let member = Property { name: name.to_owned(), node: self.nothing, required: false, only_required: false };
        let (patterns, dependencies, more) = (Vec::new(), Vec::new(), More::Anything);
        let (length_min, length_max) = (None, None);
        let object = Object { properties: vec![member], patterns, more, length_min, length_max, dependencies };
        let made = self.add(Node { object: Some(Box::new(object)), ..Node::any(String::new()) });
        self.without.insert(name.to_owned(), made);
        made
    }

    fn fold(&mut self, together: &Together) -> NodeId {
        if let Some(known) = self.folded.get(together) {
            return *known;
        }
        let mut folded = Node::any(String::new());
        for part in together {
            let node = self.node(*part);
            self.fold_in(&mut folded, &node);
        }
        if let Some(object) = &mut folded.object {
            object.dependencies.retain(|(_, dependency)| matches!(dependency, Dependency::Names(_)));
            let impossible = |property: &Property| property.required && self.is_nothing(property.node);
            if object.properties.iter().any(impossible) {
                folded.types = folded.types.without(Types::OBJECT);
            }
        }
        let made = self.add(folded);
        self.folded.insert(together.clone(), made);
        self.cases.insert(made, Some(Rc::from([made])));
        made
    }

    /// Whether no value fits the part.
    pub(super) fn is_nothing(&self, part: NodeId) -> bool {
        self.node(part).allowed() == Types::NONE
    }

    fn fold_in(&mut self, folded: &mut Node, node: &Node) {
        let is_null_apart = is_null_apart(node);
        folded.types = folded.types.and(if is_null_apart { node.types } else { node.allowed() });
        if let Some(values) = &node.values {
            let null = (node.nullable && !is_null_apart).then_some(Value::Null);
            let mut values: Vec<Value> = values.iter().cloned().chain(null).collect();
            if let Some(before) = &folded.values {
                values.retain(|value| before.iter().any(|known| equal(known, value)));
            }
            folded.values = Some(values);
        }
        folded.format = folded.format.or(node.format);
        folded.not = folded.not.or(node.not);
        if let Some(text) = &node.text {
            fold_text(folded.text.get_or_insert_default(), text);
        }
        if let Some(range) = &node.number {
            fold_range(folded.number.get_or_insert_default(), range);
        }
        if let Some(list) = &node.list {
            folded.list = Some(Box::new(match folded.list.take() {
                None => (**list).clone(),
                Some(before) => self.both_lists(&before, list),
            }));
        }
        if let Some(object) = &node.object {
            folded.object = Some(Box::new(match folded.object.take() {
                None => (**object).clone(),
                Some(before) => self.both_objects(&before, object),
            }));
        }
    }

    fn both_lists(&mut self, one: &List, other: &List) -> List {
        let (length_min, length_max) =
            tighter((one.length_min, one.length_max), (other.length_min, other.length_max));
        let tuples = one.tuple.len().max(other.tuple.len());
        let tuple = (0..tuples).map(|index| {
            let parts = [one, other].map(|list| item(list, index));
            let known = parts.iter().flatten().copied().collect();
            self.all(known)
        });
        let tuple = tuple.collect();
        let behind = [one, other].map(|list| item(list, usize::MAX));
        let (items, more) = match (behind.iter().flatten().copied().collect::<Vec<_>>(), tuples) {
            (none, _) if none.is_empty() => (None, stricter(one.more, other.more)),
            (parts, 0) => (Some(self.all(parts)), More::Anything),
            (parts, _) => (None, More::Like(self.all(parts))),
        };
        List { items, tuple, more, length_min, length_max, unique: one.unique || other.unique }
    }

    fn both_objects(&mut self, one: &Object, other: &Object) -> Object {
        let names: BTreeSet<&String> =
            [one, other].into_iter().flat_map(|object| &object.properties).map(|property| &property.name).collect();
        let mut properties = Vec::new();
        for name in names {
            let known = [one, other].map(|object| object.property(name));
            let required = known.iter().flatten().any(|property| property.required);
            let said: Vec<NodeId> = [one, other]
                .into_iter()
                .filter_map(|object| match self.written_as(object, name) {
                    // A part that allows anything adds nothing.
                    Some(part) if part == self.anything => None,
                    None if object.more == More::Nothing => Some(self.nothing),
                    part => part,
                })
                .collect();
            let only_required = known.iter().flatten().all(|property| property.only_required) && said.is_empty();
            let node = self.all(said);
            properties.push(Property { name: name.clone(), node, required, only_required });
        }
        let more = match (one.more, other.more) {
            (More::Like(one), More::Like(other)) => More::Like(self.all(vec![one, other])),
            (one, other) => stricter(one, other),
        };
        let (length_min, length_max) =
            tighter((one.length_min, one.length_max), (other.length_min, other.length_max));
        let patterns = one.patterns.iter().chain(&other.patterns).cloned().collect();
        let dependencies = one.dependencies.iter().chain(&other.dependencies).cloned().collect();
        Object { properties, patterns, more, length_min, length_max, dependencies }
    }

    /// The part for a member that the writer writes; none if it writes no such member. A member that the schema does
    /// not name is not written.
    pub(super) fn written_as(&mut self, object: &Object, name: &str) -> Option<NodeId> {
        let property = object.property(name);
        let named = property.filter(|property| !property.only_required).map(|property| property.node);
        let matching = object.patterns.iter().filter(|(pattern, _)| pattern.is_match(name)).map(|(_, node)| *node);
        let said: Vec<NodeId> = named.into_iter().chain(matching).collect();
        match (said.is_empty(), object.more) {
            (false, _) => Some(self.all(said)),
            (true, More::Like(node)) => Some(node),
            (true, More::Nothing) => None,
            (true, More::Anything) => property.map(|_| self.anything),
        }
    }

    /// The part that joins several parts.
    fn all(&mut self, parts: Vec<NodeId>) -> NodeId {
        if parts.contains(&self.nothing) {
            return self.nothing;
        }
        let mut together = Together::new();
        for part in parts {
            // A joined part is split again, so that the sets are made of the schema's own parts only, which are few.
            match self.joins.get(&part) {
                Some(parts) => together.extend(parts),
                None => drop(together.insert(part)),
            }
        }
        match (together.len(), together.first().copied()) {
            (0, _) | (_, None) => return self.anything,
            (1, Some(only)) => return only,
            _ => {}
        }
        if let Some(known) = self.joined.get(&together) {
            return *known;
        }
        let made = self.add(Node { all_of: together.iter().copied().collect(), ..Node::any(String::new()) });
        self.joins.insert(made, together.clone());
        self.joined.insert(together, made);
        made
    }

    /// A case, restricted to these types.
    pub(super) fn only(&mut self, part: NodeId, types: Types) -> NodeId {
        if let Some(known) = self.only.get(&(part, types)) {
            return *known;
        }
        let node = self.node(part);
        let made = self.add(Node { types: node.types.and(types), ..(*node).clone() });
        self.only.insert((part, types), made);
        self.cases.insert(made, Some(Rc::from([made])));
        made
    }
}

/// Whether null is accepted, whatever else its parts require.
fn is_null_apart(node: &Node) -> bool {
    node.nullable && node.same_value().next().is_some()
}

fn id(at: usize) -> NodeId {
    NodeId(u32::try_from(at).expect("nodes are few"))
}

/// Each of these sets together with each of those.
fn times(these: &[Together], those: &[Together]) -> Option<Vec<Together>> {
    if these.len() * those.len() > CASES_MAX {
        return None;
    }
    let both = these.iter().flat_map(|one| those.iter().map(move |other| one | other));
    Some(both.collect())
}

/// The part for an item at an index; none if nothing describes it.
pub(super) fn item(list: &List, index: usize) -> Option<NodeId> {
    let behind = match list.more {
        More::Like(node) if !list.tuple.is_empty() => Some(node),
        _ => None,
    };
    list.items.or(list.tuple.get(index).copied()).or(behind)
}

fn stricter(one: More, other: More) -> More {
    match (one, other) {
        (More::Nothing, _) | (_, More::Nothing) => More::Nothing,
        (More::Anything, other) => other,
        (one, _) => one,
    }
}

type Bounds = (Option<u64>, Option<u64>);

fn tighter(one: Bounds, other: Bounds) -> Bounds {
    (one.0.max(other.0), one.1.into_iter().chain(other.1).min())
}

fn fold_text(folded: &mut Text, text: &Text) {
    (folded.length_min, folded.length_max) =
        tighter((folded.length_min, folded.length_max), (text.length_min, text.length_max));
    if folded.pattern.is_none() {
        folded.pattern.clone_from(&text.pattern);
    }
}

fn fold_range(folded: &mut Range, range: &Range) {
    let greatest = |one: Option<f64>, other: Option<f64>| one.into_iter().chain(other).reduce(f64::max);
    let least = |one: Option<f64>, other: Option<f64>| one.into_iter().chain(other).reduce(f64::min);
    folded.min = greatest(folded.min, range.min);
    folded.above = greatest(folded.above, range.above);
    folded.max = least(folded.max, range.max);
    folded.below = least(folded.below, range.below);
    folded.multiple_of = folded.multiple_of.or(range.multiple_of);
}
