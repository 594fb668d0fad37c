//! Compatibility of two versions of a schema. The question is always whether a reader accepts everything that a
//! writer may write; a writer does not write what its schema does not name. Versions count as compatible only if that
//! is certain: what cannot be decided is reported.
//!
//! ```text
//! backward   the new version reads what the old one wrote     (consumers first)
//! forward    the old version reads what the new one writes    (producers first)
//! full       both
//! ```
//!
//! - `writer`: what a writer may write, as cases without alternatives
//! - `same`: equal parts, which need no further comparison
//! - `apart`: parts that no value fits both of
//! - `parts`: strings, numbers, lists, objects of a writer compared with a reader's

mod writer;
mod same;
mod apart;
mod parts;

use super::Schema;
use super::check::check;
use super::equal::equal;
use super::node::{Node, NodeId, Types};
use same::Same;
use std::collections::HashSet;
use writer::Writer;

/// Which direction must be compatible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Neither.
    None,
    /// New readers of old events.
    Backward,
    /// Old readers of new events.
    Forward,
    /// Both.
    Full,
}

impl Mode {
    /// All of them, by name.
    pub const ALL: [(Mode, &str); 4] =
        [(Mode::None, "none"), (Mode::Backward, "backward"), (Mode::Forward, "forward"), (Mode::Full, "full")];

    /// The mode of a name, in lower or upper case.
    pub fn named(name: &str) -> Option<Mode> {
        Mode::ALL.into_iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(mode, _)| mode)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Mode::ALL.into_iter().find(|(mode, _)| *mode == self).map_or("", |(_, name)| name)
    }
}

/// Why a reader cannot read what a writer writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} {why}")]
pub struct Incompatibility {
    /// Where, as a JSON path.
    pub path: String,
    /// Why; reads as a continuation of the path.
    pub why: String,
}

/// The most pairs of parts that are compared, trials included; two usual schemas need some hundred.
const STEPS_MAX: usize = 50_000;
/// How deep parts are compared; deeper parts must be equal.
const DEPTH_MAX: usize = 100;
const OVER: &str = "cannot be compared within bounds: simplify the schema";
/// The most differences that are reported; more would not help a reader.
const FOUND_MAX: usize = 100;

impl Schema {
    /// The incompatibilities of `self`, the new version, with `old`.
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
            let mut compare = Compare { writer: Writer::new(writer), reader, seen, found, steps: 0, depth: 0 };
            match (writer.root, reader.root) {
                (Some(written), Some(read)) => compare.nodes(written, read, "$"),
                _ => compare.named(&writer.named),
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
    writer: Writer,
    reader: &'s Schema,
    /// Pairs that were compared or are being compared, so that a schema that contains itself comes to an end.
    seen: HashSet<(NodeId, NodeId)>,
    found: Vec<Incompatibility>,
    steps: usize,
    depth: usize,
}

impl<'s> Compare<'s> {
    /// For documents that are libraries: compares each schema with the one of the same name.
    fn named(&mut self, written: &[(String, NodeId)]) {
        let reader = self.reader;
        for (name, written) in written {
            match reader.named.iter().find(|(known, _)| known == name) {
                Some((_, read)) => self.nodes(*written, *read, name),
                None => self.say(name, "has no schema any more"),
            }
        }
    }

    fn say(&mut self, path: &str, why: impl Into<String>) {
        self.found.push(Incompatibility { path: path.to_owned(), why: why.into() });
    }

    fn is_over(&self) -> bool {
        self.steps > STEPS_MAX || self.depth > DEPTH_MAX || self.writer.is_full()
    }

    fn nodes(&mut self, written: NodeId, read: NodeId, path: &str) {
        if self.found.len() > FOUND_MAX || !self.seen.insert((written, read)) {
            return;
        }
        self.steps += 1;
        if self.is_over() {
            return self.say(path, OVER);
        }
        if self.is_same(|same| same.parts(written, read)) {
            return;
        }
        let (own, theirs) = (self.writer.node(written), self.reader.node(read));
        // For `oneOf` with the same alternatives, exactly one of them holds for the writer as well.
        let same_one_of = !theirs.one_of.is_empty() && self.is_same(|same| same.sets(&own.one_of, &theirs.one_of));
        let Some(cases) = self.writer.cases(written) else { return self.say(path, OVER) };
        self.depth += 1;
        for case in cases.iter() {
            self.case(*case, read, path, same_one_of);
        }
        self.depth -= 1;
    }

    fn is_same(&mut self, ask: impl FnOnce(&mut Same<'_>) -> bool) -> bool {
        let mut same = Same::new(&self.writer, self.reader);
        let is_same = ask(&mut same);
        self.steps += same.steps / 4;
        is_same
    }

    /// Compares one case of the writer.
    fn case(&mut self, case: NodeId, read: NodeId, path: &str, same_one_of: bool) {
        let reader: &'s Node = self.reader.node(read);
        let mut case = case;
        if reader.nullable && self.writer.node(case).types.has(Types::NULL) {
            case = self.writer.only(case, Types::ALL.without(Types::NULL)); // null is accepted, whatever else holds
        }
        let writer = self.writer.node(case);
        if let Some(values) = &writer.values {
            return self.values(values, &writer, read, path);
        }
        if writer.types == Types::NONE {
            return;
        }
        self.node(case, &writer, reader, path);
        for part in &reader.all_of {
            self.nodes(case, *part, path);
        }
        if !reader.any_of.is_empty() {
            self.alternatives(case, &reader.any_of, false, path);
        }
        if !reader.one_of.is_empty() && !same_one_of {
            self.alternatives(case, &reader.one_of, true, path);
        }
        if let Some(not) = reader.not {
            // The writer must exclude what the reader excludes.
            let excluded = writer.not.is_some_and(|own| self.is_same(|same| same.parts(own, not)));
            if !excluded && !self.is_apart(case, not, 0) {
                self.say(path, "may be what the reader excludes (not)");
            }
        }
    }

    /// If all values of the writer are known, each of them is tried.
    fn values(&mut self, values: &[serde_json::Value], writer: &Node, read: NodeId, path: &str) {
        let reader = self.reader.node(read);
        self.steps += values.len();
        for value in values.iter().filter(|value| writer.types.has(Types::of(value))) {
            let Err(violation) = check(&self.reader.nodes, read, value, path) else { continue };
            let is_unknown =
                reader.values.as_ref().is_some_and(|known| !known.iter().any(|known| equal(known, value)));
            let why = match is_unknown {
                true => format!("may be {value}, which the reader does not know (enum)"),
                false => format!("may be {value}, and by the reader's schema {} {}", violation.path, violation.why),
            };
            return self.say(path, why);
        }
    }

    /// The differences that would be found, without noting them.
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

    /// A case must fit one of the reader's alternatives; for `oneOf`, no other.
    fn alternatives(&mut self, case: NodeId, parts: &[NodeId], only_one: bool, path: &str) {
        let types = self.writer.node(case).types;
        let meets = |part: &&NodeId| self.reader.node(**part).allowed().meets(types);
        if let [only] = parts.iter().filter(meets).collect::<Vec<_>>()[..] {
            return self.nodes(case, *only, path);
        }
        if self.fits_some(case, parts, only_one) {
            return;
        }
        // Or each of its types fits an alternative of its own.
        let each: Vec<NodeId> = Types::EACH
            .into_iter()
            .filter(|one| types.has(*one) && types != *one)
            .map(|one| self.writer.only(case, one))
            .collect();
        if !each.is_empty() && each.iter().all(|one| self.fits_some(*one, parts, only_one)) {
            return;
        }
        let fits_several = only_one && parts.iter().any(|part| self.fits(case, *part));
        match fits_several {
            true => {
                self.say(path, "may fit several of the reader's alternatives, where it must fit exactly one (oneOf)")
            }
            false => self.say(path, "fits none of the reader's alternatives"),
        }
    }

    fn fits_some(&mut self, case: NodeId, parts: &[NodeId], only_one: bool) -> bool {
        (0..parts.len()).any(|at| {
            self.fits(case, parts[at])
                && (!only_one || (0..parts.len()).all(|other| other == at || self.is_apart(case, parts[other], 0)))
        })
    }

    fn node(&mut self, case: NodeId, writer: &Node, reader: &'s Node, path: &str) {
        let written = writer.types;
        // A writer whose schema names no type may write every type.
        if !reader.allowed().has(written) {
            let more = written.without(reader.allowed());
            let why = match written == Types::ALL {
                true => format!("may be anything, and is read as {}", reader.allowed().words()),
                false => format!("may be {}, and is read as {}", more.words(), reader.allowed().words()),
            };
            return self.say(path, why);
        }
        if reader.values.is_some() {
            return self.say(path, "may be any value, and is read as one of a few (enum)");
        }
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
            self.dependencies(case, writer.object.as_deref(), read, path);
        }
    }
}

impl Node {
    pub(crate) fn is_anything(&self) -> bool {
        let says = self.values.is_some() || self.text.is_some() || self.number.is_some() || self.format.is_some();
        let is_bare = !says && self.list.is_none() && self.object.is_none();
        self.types == Types::ALL && is_bare && self.same_value().next().is_none()
    }
}

#[cfg(test)]
mod tests;
