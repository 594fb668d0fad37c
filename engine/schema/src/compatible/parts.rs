//! Compares strings, numbers, lists and objects of a writer with those of a reader.

use super::Compare;
use super::writer::item;
use crate::check::push_member;
use crate::format::Format;
use crate::node::{Dependency, List, More, Node, NodeId, Object, Range, Text};

impl<'s> Compare<'s> {
    pub(super) fn text(&mut self, writer: &Node, reader: &Node, path: &str) {
        let format = reader.format.filter(|format| !format.is_of_numbers());
        if let Some(format) = format.filter(|format| writer.format != Some(*format)) {
            self.say(path, format!("may be any string, and is read as a {}", format.name()));
        }
        let Some(read) = reader.text.as_deref() else { return };
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

    pub(super) fn numbers(&mut self, writer: &Node, reader: &Node, path: &str) {
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

    pub(super) fn lists(&mut self, written: Option<&List>, read: &'s List, path: &str) {
        let at = format!("{path}[*]");
        let (lengths, unique) =
            written.map_or(((None, None), false), |list| ((list.length_min, list.length_max), list.unique));
        self.lengths(lengths, (read.length_min, read.length_max), path, "items");
        if read.unique && !unique {
            self.say(path, "may hold an item twice, and is read as unique");
        }
        let tuples = written.map_or(0, |written| written.tuple.len()).max(read.tuple.len());
        for index in 0..tuples {
            if lengths.1.is_some_and(|most| most <= index as u64) {
                return; // the reader accepts no list of that length
            }
            self.items(written, read, index, &format!("{path}[{index}]"));
        }
        if lengths.1.is_none_or(|most| most > tuples as u64) {
            self.items(written, read, tuples, &at);
        }
    }

    fn items(&mut self, written: Option<&List>, read: &'s List, index: usize, path: &str) {
        let is_behind_a_tuple =
            written.is_some_and(|written| !written.tuple.is_empty() && written.tuple.len() <= index);
        match (written.and_then(|written| item(written, index)), item(read, index)) {
            // Items after a tuple that a writer does not name are not written.
            (None, _) if is_behind_a_tuple => {}
            (_, None) if read.more == More::Nothing && !read.tuple.is_empty() && index >= read.tuple.len() => {
                self.say(path, format!("may be there, and the reader allows {} items", read.tuple.len()));
            }
            (Some(written), Some(read)) => self.nodes(written, read, path),
            (None, Some(read)) if !self.reader.node(read).is_anything() => self.say(path, "may be anything"),
            _ => {}
        }
    }

    pub(super) fn objects(&mut self, written: Option<&Object>, read: &'s Object, path: &str) {
        for property in &read.properties {
            let known = written.and_then(|written| written.property(&property.name));
            if property.required && known.is_none_or(|known| !known.required) {
                let why =
                    if known.is_some() { "may be missing, and is required" } else { "is missing, and is required" };
                self.say(&member(path, &property.name), why);
            }
            let part = written.and_then(|written| self.writer.written_as(written, &property.name));
            if let Some(part) = part.filter(|_| !property.only_required) {
                self.nodes(part, property.node, &member(path, &property.name));
            }
        }
        if let Some(written) = written {
            self.other_members(written, read, path);
            self.patterns(written, read, path);
        }
        let lengths = written.map_or((None, None), |written| (written.length_min, written.length_max));
        self.lengths(lengths, (read.length_min, read.length_max), path, "members");
    }

    /// Compares members that the writer names, and the reader only by a pattern or not at all.
    fn other_members(&mut self, written: &Object, read: &'s Object, path: &str) {
        for property in &written.properties {
            let name = &property.name;
            let Some(part) = self.writer.written_as(written, name).filter(|part| !self.writer.is_nothing(*part))
            else {
                continue;
            };
            let mut is_known = read.property(name).is_some_and(|known| !known.only_required);
            for (_, node) in read.patterns.iter().filter(|(pattern, _)| pattern.is_match(name)) {
                is_known = true;
                self.nodes(part, *node, &member(path, name));
            }
            match read.more {
                _ if is_known => {}
                More::Like(node) => self.nodes(part, node, &member(path, name)),
                More::Nothing => self.say(&member(path, name), "is not known to the reader, which allows no others"),
                More::Anything => {}
            }
        }
    }

    /// Compares members whose names match a pattern, and all others.
    fn patterns(&mut self, written: &Object, read: &'s Object, path: &str) {
        for (pattern, part) in &written.patterns {
            let at = member(path, &format!("/{}/", pattern.as_str()));
            let mut is_known = false;
            for (known, node) in &read.patterns {
                if known.as_str() == pattern.as_str() {
                    is_known = true;
                    self.nodes(*part, *node, &at);
                } else if !self.fits(*part, *node) {
                    let why =
                        format!("may match /{}/ as well, and does not fit what is read by that", known.as_str());
                    self.say(&at, why);
                }
            }
            match read.more {
                _ if is_known => {}
                More::Like(node) => self.nodes(*part, node, &at),
                More::Nothing => self.say(&at, "is not known to the reader, which allows no others"),
                More::Anything => {}
            }
        }
        let More::Like(part) = written.more else { return };
        let at = format!("{path}.*");
        for (pattern, node) in &read.patterns {
            if !written.patterns.iter().any(|(own, _)| own.as_str() == pattern.as_str()) {
                self.nodes(part, *node, &at);
            }
        }
        match read.more {
            More::Like(node) => self.nodes(part, node, &at),
            More::Nothing => self.say(&at, "is not known to the reader"),
            More::Anything => {}
        }
    }

    /// The reader's dependencies that are schemas must hold for the writer's cases; see `writer`.
    pub(super) fn dependencies(&mut self, case: NodeId, written: Option<&Object>, read: &Object, path: &str) {
        for (name, dependency) in &read.dependencies {
            let part = written.and_then(|written| self.writer.written_as(written, name));
            if part.is_none_or(|part| self.writer.is_nothing(part)) {
                continue; // the member is never written
            }
            let holds = match dependency {
                Dependency::Names(names) => {
                    names.iter().all(|asked| written.is_some_and(|own| has(own, name, asked)))
                }
                Dependency::Schema(asked) => self.fits(case, *asked),
            };
            if !holds {
                self.say(path, format!("need not have what the reader asks for beside {name}"));
            }
        }
    }
}

/// Whether a writer writes a member always, or always together with another.
fn has(written: &Object, beside: &str, name: &str) -> bool {
    written.property(name).is_some_and(|known| known.required)
        || written.dependencies.iter().any(|(known, dependency)| {
            known == beside && matches!(dependency, Dependency::Names(names) if names.iter().any(|one| one == name))
        })
}

fn member(path: &str, name: &str) -> String {
    let mut at = path.to_owned();
    push_member(&mut at, name);
    at
}
