//! Whether one version of a schema goes with another. The question is always whether a reader accepts whatever a writer
//! may write; what a schema does not name, its writers do not write.
//!
//! ```text
//! backward   the new version reads what the old one wrote     (consumers first)
//! forward    the old version reads what the new one writes    (producers first)
//! full       both
//! ```

use super::Schema;
use super::check::push_member;
use super::format::Format;
use super::node::{Dependency, List, More, Node, NodeId, Object, Range, Text, Types};
use std::collections::HashSet;

/// Which way two versions have to go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is asked.
    None,
    /// New readers, old events.
    Backward,
    /// Old readers, new events.
    Forward,
    /// Both.
    Full,
}

impl Mode {
    /// All of them, by name.
    pub const ALL: [(Mode, &str); 4] =
        [(Mode::None, "none"), (Mode::Backward, "backward"), (Mode::Forward, "forward"), (Mode::Full, "full")];

    /// The mode of a name, in small letters or capitals.
    pub fn named(name: &str) -> Option<Mode> {
        Mode::ALL.into_iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(mode, _)| mode)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Mode::ALL.into_iter().find(|(mode, _)| *mode == self).map_or("", |(_, name)| name)
    }
}

/// What keeps a reader from reading what a writer writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} {why}")]
pub struct Incompatibility {
    /// Where, as a JSON path.
    pub path: String,
    /// Why, to be read behind the path.
    pub why: String,
}

/// Pairs of parts that are compared, trials included; two schemas of a usual size have some hundred.
const STEPS_MAX: usize = 50_000;
/// How deep parts are compared; deeper, they have to be the same.
const DEPTH_MAX: usize = 200;
/// What is told; more would help nobody.
const FOUND_MAX: usize = 100;

impl Schema {
    /// What of `self`, the new version, does not go with `old`.
    pub fn incompatibilities(&self, old: &Schema, mode: Mode) -> Vec<Incompatibility> {
        let backward = || unreadable(old, self, "written with the old version, it ");
        let forward = || unreadable(self, old, "written with the new version, it ");
        match mode {
            Mode::None => Vec::new(),
            Mode::Backward => backward(),
            Mode::Forward => forward(),
            Mode::Full => {
                let mut both = backward();
                both.append(&mut forward());
                both
            }
        }
    }
}

fn unreadable(writer: &Schema, reader: &Schema, told: &str) -> Vec<Incompatibility> {
    let found = match (&writer.flat, &reader.flat) {
        (Some(written), Some(read)) => written.unreadable_by(read),
        _ => {
            let (seen, found) = (HashSet::new(), Vec::new());
            let mut compare = Compare { writer, reader, seen, found, steps: 0, depth: 0 };
            match (writer.root, reader.root) {
                (Some(written), Some(read)) => compare.nodes(written, read, "$"),
                _ => compare.named(),
            }
            compare.found
        }
    };
    found
        .into_iter()
        .take(FOUND_MAX)
        .map(|one| Incompatibility { why: format!("{told}{}", one.why), ..one })
        .collect()
}

struct Compare<'s> {
    writer: &'s Schema,
    reader: &'s Schema,
    /// What was compared, or is about to be: a schema that contains itself comes to its end.
    seen: HashSet<(NodeId, NodeId)>,
    found: Vec<Incompatibility>,
    steps: usize,
    depth: usize,
}

impl<'s> Compare<'s> {
    /// Documents that are libraries: each schema with the one of its name.
    fn named(&mut self) {
        let (writer, reader) = (self.writer, self.reader);
        for (name, written) in &writer.named {
            match reader.named.iter().find(|(known, _)| known == name) {
                Some((_, read)) => self.nodes(*written, *read, name),
                None => self.say(name, "has no schema any more"),
            }
        }
    }

    fn say(&mut self, path: &str, why: impl Into<String>) {
        self.found.push(Incompatibility { path: path.to_owned(), why: why.into() });
    }

    fn nodes(&mut self, written: NodeId, read: NodeId, path: &str) {
        if self.found.len() > FOUND_MAX || !self.seen.insert((written, read)) {
            return;
        }
        self.steps += 1;
        if self.steps > STEPS_MAX || self.depth > DEPTH_MAX {
            return self.say(path, "cannot be compared within bounds: simplify the schema");
        }
        self.depth += 1;
        let (writer, reader) = (self.writer.node(written), self.reader.node(read));
        let only_combined = writer.types == Types::ALL && writer.is_bare();
        match &writer.all_of[..] {
            _ if only_combined && writer.alternatives().next().is_some() => {
                writer.alternatives().for_each(|alternative| self.nodes(alternative, read, path));
            }
            [_, ..] if only_combined => self.nearest_part(&writer.all_of, read, path),
            _ => {
                self.node(writer, reader, path);
                self.combined(written, reader, path);
            }
        }
        self.depth -= 1;
    }

    /// Of what has to fit several parts, one is enough to fit the reader; if none does, the nearest is told of.
    fn nearest_part(&mut self, parts: &[NodeId], read: NodeId, path: &str) {
        let mut nearest: Option<Vec<Incompatibility>> = None;
        for part in parts {
            let found = self.on_trial(*part, read, path);
            if found.is_empty() {
                return;
            }
            if nearest.as_ref().is_none_or(|nearest| nearest.len() > found.len()) {
                nearest = Some(found);
            }
        }
        self.found.extend(nearest.into_iter().flatten());
    }

    /// What would be found; it is not noted.
    fn on_trial(&mut self, written: NodeId, read: NodeId, path: &str) -> Vec<Incompatibility> {
        self.steps += self.seen.len() / 16;
        let (seen, found) = (self.seen.clone(), std::mem::take(&mut self.found));
        self.nodes(written, read, path);
        let tried = std::mem::replace(&mut self.found, found);
        if !tried.is_empty() {
            self.seen = seen;
        }
        tried
    }

    fn fits(&mut self, written: NodeId, read: NodeId) -> bool {
        self.on_trial(written, read, "").is_empty()
    }

    fn combined(&mut self, written: NodeId, reader: &'s Node, path: &str) {
        let writer = self.writer.node(written);
        for part in &reader.all_of {
            self.nodes(written, *part, path);
        }
        for alternatives in [&reader.any_of, &reader.one_of].into_iter().filter(|parts| !parts.is_empty()) {
            if let [only] = self.candidates(alternatives, writer.allowed())[..] {
                self.nodes(written, only, path);
                continue;
            }
            let mut some_fits = |part: NodeId| alternatives.iter().any(|alternative| self.fits(part, *alternative));
            let fits =
                some_fits(written) || writer.alternatives().next().is_some() && writer.alternatives().all(some_fits);
            if !fits && !self.each_type_fits(writer, alternatives) {
                self.say(path, "fits none of the reader's alternatives");
            }
        }
        if let Some(not) = reader.not {
            // What the reader excludes has to be excluded by the writer already.
            let excluded = writer.not.is_some_and(|own| self.reader.node(not).is_like(self.writer.node(own)));
            if !excluded {
                self.say(path, "may be what the reader excludes (not)");
            }
        }
    }

    /// Alternatives that a writer of these types could mean.
    fn candidates(&self, alternatives: &[NodeId], types: Types) -> Vec<NodeId> {
        let meets = |id: &NodeId| self.reader.node(*id).allowed().meets(types);
        alternatives.iter().copied().filter(meets).collect()
    }

    /// Whether what may be of several types is accepted by type: each by an alternative of its own that asks nothing more.
    fn each_type_fits(&self, writer: &Node, alternatives: &[NodeId]) -> bool {
        let plain = alternatives.iter().map(|id| self.reader.node(*id)).filter(|node| node.is_plain());
        plain.fold(Types::NONE, |all, node| all.with(node.allowed())).has(writer.allowed())
    }

    fn node(&mut self, writer: &'s Node, reader: &'s Node, path: &str) {
        let written = match &writer.values {
            Some(values) => values.iter().map(Types::of).fold(Types::NONE, Types::with).and(writer.allowed()),
            None => writer.allowed(),
        };
        // A writer that says nothing of a type may write everything.
        if !reader.allowed().has(written) {
            let more = written.without(reader.allowed());
            let why = match written == Types::ALL {
                true => format!("may be anything, and is read as {}", reader.allowed().words()),
                false => format!("may be {}, and is read as {}", more.words(), reader.allowed().words()),
            };
            return self.say(path, why);
        }
        self.values(writer, reader, path);
        if written.has(Types::STRING) {
            self.text(writer, reader, path);
        }
        if written.meets(Types::NUMBER) {
            self.numbers(writer, reader, path);
        }
        if let Some(read) = reader.list.as_deref().filter(|_| written.has(Types::ARRAY)) {
            self.lists(writer.list.as_deref(), read, path);
        }
        if let Some(read) = reader.object.as_deref().filter(|_| written.has(Types::OBJECT)) {
            self.objects(writer.object.as_deref(), read, path);
        }
    }

    fn values(&mut self, writer: &Node, reader: &Node, path: &str) {
        let Some(read) = &reader.values else { return };
        let nullable = |value: &serde_json::Value| reader.nullable && value.is_null();
        match &writer.values {
            None => self.say(path, "may be any value, and is read as one of a few (enum)"),
            Some(written) => {
                if let Some(unknown) = written.iter().find(|value| !read.contains(value) && !nullable(value)) {
                    self.say(path, format!("may be {unknown}, which the reader does not know (enum)"));
                }
            }
        }
    }

    fn text(&mut self, writer: &Node, reader: &Node, path: &str) {
        // Values that are known were compared one by one.
        let format = reader.format.filter(|format| !format.is_of_numbers() && writer.values.is_none());
        if let Some(format) = format.filter(|format| writer.format != Some(*format)) {
            self.say(path, format!("may be any string, and is read as a {}", format.name()));
        }
        let Some(read) = reader.text.as_deref().filter(|_| writer.values.is_none()) else { return };
        let nothing = Text::default();
        let written = writer.text.as_deref().unwrap_or(&nothing);
        self.lengths(
            (written.length_min, written.length_max),
            (read.length_min, read.length_max),
            path,
            "characters",
        );
        if let Some(pattern) = &read.pattern
            && written.pattern.as_ref().map(|written| written.as_str()) != Some(pattern.as_str())
        {
            self.say(path, format!("need not match {}, as the reader asks", pattern.as_str()));
        }
    }

    fn lengths(
        &mut self,
        written: (Option<u64>, Option<u64>),
        read: (Option<u64>, Option<u64>),
        path: &str,
        of: &str,
    ) {
        if read.0.unwrap_or(0) > written.0.unwrap_or(0) {
            let why = format!(
                "may have {} {of}, and is read with at least {}",
                written.0.unwrap_or(0),
                read.0.unwrap_or(0)
            );
            self.say(path, why);
        }
        if read.1.is_some_and(|read| written.1.is_none_or(|written| written > read)) {
            let why = format!("may have more {of} than the reader allows ({})", read.1.unwrap_or(0));
            self.say(path, why);
        }
    }

    fn numbers(&mut self, writer: &Node, reader: &Node, path: &str) {
        if writer.values.is_some() {
            return;
        }
        let format = reader.format.filter(|format| format.is_of_numbers() && writer.format != Some(*format));
        if let Some(format) = format.filter(|_| writer.format != Some(Format::Int32)) {
            self.say(path, format!("may be any number, and is read as {}", format.name()));
        }
        let Some(read) = reader.number.as_deref() else { return };
        let nothing = Range::default();
        let written = writer.number.as_deref().unwrap_or(&nothing);
        let low = written.min.or(written.above);
        if read.min.is_some_and(|read| low.is_none_or(|low| low < read))
            || read.above.is_some_and(|read| {
                !(written.min.is_some_and(|min| min > read) || written.above.is_some_and(|above| above >= read))
            })
        {
            let bound = read.min.or(read.above).unwrap_or_default();
            self.say(path, format!("may be less than the reader allows ({bound})"));
        }
        let high = written.max.or(written.below);
        if read.max.is_some_and(|read| high.is_none_or(|high| high > read))
            || read.below.is_some_and(|read| {
                !(written.max.is_some_and(|max| max < read) || written.below.is_some_and(|below| below <= read))
            })
        {
            let bound = read.max.or(read.below).unwrap_or_default();
            self.say(path, format!("may be more than the reader allows ({bound})"));
        }
        if let Some(step) = read.multiple_of
            && written.multiple_of.is_none_or(|own| (own / step).fract() != 0.0)
        {
            self.say(path, format!("need not be a multiple of {step}, as the reader asks"));
        }
    }

    fn lists(&mut self, written: Option<&'s List>, read: &'s List, path: &str) {
        let at = format!("{path}[*]");
        let (lengths, unique) =
            written.map_or(((None, None), false), |list| ((list.length_min, list.length_max), list.unique));
        self.lengths(lengths, (read.length_min, read.length_max), path, "items");
        if read.unique && !unique {
            self.say(path, "may hold an item twice, and is read as unique");
        }
        match (written.and_then(|list| list.items), read.items) {
            (Some(written), Some(read)) => self.nodes(written, read, &at),
            (None, Some(read))
                if written.is_none_or(|list| list.tuple.is_empty()) && !self.reader.node(read).is_anything() =>
            {
                self.say(&at, "may be anything");
            }
            _ => {}
        }
        let tuple = written.map_or(&[][..], |list| &list.tuple);
        for (index, part) in tuple.iter().enumerate() {
            if let Some(read) = read.tuple.get(index).copied().or(read.items) {
                self.nodes(*part, read, &format!("{path}[{index}]"));
            }
        }
        if read.more == More::Nothing && !read.tuple.is_empty() && tuple.len() > read.tuple.len() {
            self.say(path, format!("may have more items than the reader allows ({})", read.tuple.len()));
        }
    }

    fn objects(&mut self, written: Option<&'s Object>, read: &'s Object, path: &str) {
        let member = |name: &str| {
            let mut at = path.to_owned();
            push_member(&mut at, name);
            at
        };
        for property in &read.properties {
            let known = written.and_then(|written| written.property(&property.name));
            if property.required && known.is_none_or(|known| !known.required) {
                let why =
                    if known.is_some() { "may be missing, and is required" } else { "is missing, and is required" };
                self.say(&member(&property.name), why);
            }
            match known {
                Some(known) if !property.only_required && !known.only_required => {
                    self.nodes(known.node, property.node, &member(&property.name));
                }
                // A map may have this name too.
                None => {
                    if let Some(More::Like(all)) = written.map(|written| written.more) {
                        self.nodes(all, property.node, &member(&property.name));
                    }
                }
                Some(_) => {}
            }
        }
        let others = written.into_iter().flat_map(|written| &written.properties);
        for property in
            others.filter(|property| read.property(&property.name).is_none_or(|known| known.only_required))
        {
            let by_pattern = read.patterns.iter().find(|(pattern, _)| pattern.is_match(&property.name));
            match (by_pattern.map(|(_, node)| *node), read.more) {
                (Some(node), _) | (None, More::Like(node)) => {
                    self.nodes(property.node, node, &member(&property.name));
                }
                (None, More::Nothing) => {
                    self.say(&member(&property.name), "is not known to the reader, which allows no others")
                }
                (None, More::Anything) => {}
            }
        }
        match (written.map_or(More::Anything, |written| written.more), read.more) {
            (More::Like(written), More::Like(read)) => self.nodes(written, read, &format!("{path}.*")),
            (More::Like(_), More::Nothing) => self.say(&format!("{path}.*"), "is not known to the reader"),
            _ => {}
        }
        let lengths = written.map_or((None, None), |written| (written.length_min, written.length_max));
        self.lengths(lengths, (read.length_min, read.length_max), path, "members");
        self.dependencies(written, read, path);
    }

    fn dependencies(&mut self, written: Option<&Object>, read: &Object, path: &str) {
        let own = written.map_or(&[][..], |written| &written.dependencies);
        for (name, dependency) in &read.dependencies {
            let same = own.iter().any(|(known, own)| match (own, dependency) {
                (Dependency::Names(own), Dependency::Names(names)) => {
                    known == name && names.iter().all(|one| own.contains(one))
                }
                (Dependency::Schema(_), Dependency::Schema(_)) => known == name,
                _ => false,
            });
            if !same {
                self.say(path, format!("need not have what the reader asks for beside {name}"));
            }
        }
    }
}

impl Node {
    fn alternatives(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.any_of.iter().chain(&self.one_of).copied()
    }

    /// Nothing but types and other parts for the same value.
    fn is_bare(&self) -> bool {
        let says = self.values.is_some() || self.text.is_some() || self.number.is_some() || self.format.is_some();
        !says && self.list.is_none() && self.object.is_none()
    }

    /// Only types.
    fn is_plain(&self) -> bool {
        self.is_bare() && self.same_value().next().is_none()
    }

    pub(crate) fn is_anything(&self) -> bool {
        self.types == Types::ALL && self.is_plain()
    }

    /// Both are plain and say the same, or name the same values.
    fn is_like(&self, other: &Node) -> bool {
        self.types == other.types
            && self.values == other.values
            && (self.is_plain() && other.is_plain() || self.values.is_some())
    }
}
