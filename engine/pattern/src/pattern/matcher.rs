//! Many patterns in one automaton. The names in an event lead through a trie to the fields that patterns look at; a
//! value leads through hash tables to the conditions that it meets; each met condition counts for the branches that
//! have it. A field without a pattern is skipped, and a rule without a matching value costs nothing.

use super::agreement::{Candidate, Way, agree, agree_in_order};
use super::condition::{Condition, Value, same};
use super::field::Field;
use super::scan::{Elements, Listener, Scanner};
use super::{InvalidEvent, Leaf, PathId, Pattern, TooComplex};
use hashbrown::HashMap;

/// The most branches of all patterns together.
const BRANCHES_MAX: usize = 1_000_000;
/// The most values in arrays that meet fields of branches, counted per field: an event that has more is refused.
const CANDIDATES_MAX: usize = 1_000_000;
/// Up to this many names below a name are compared one by one.
const NAMES_COMPARED: usize = 8;

/// Compiled patterns; rule numbers are the caller's.
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    nodes: Vec<Node>,
    fields: Vec<Field>,
    branches: Vec<Branch>,
    /// One per field of each branch.
    slots: Vec<Slot>,
    /// Fields that some slots require to be absent.
    absent: Vec<(u32, u32)>,
    /// By field: whether a slot requires its absence.
    wanted_absent: Vec<bool>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    branch: u32,
    field: u32,
    /// Whether it is met if the field is absent.
    absent: bool,
    /// Whether its branch has no other field.
    alone: bool,
}

/// A name that patterns look at, and the names below it.
#[derive(Clone, Debug, Default)]
struct Node {
    few: Vec<(Box<str>, u32)>,
    /// Used instead when there are more names.
    many: HashMap<Box<str>, u32>,
    /// Whether names follow below the next level: a name with dots may lead there.
    deep: bool,
    field: Option<u32>,
}

impl Node {
    #[inline]
    fn below(&self, name: &str) -> Option<u32> {
        if self.many.is_empty() {
            return self.few.iter().find(|(held, _)| same(held.as_bytes(), name.as_bytes())).map(|(_, node)| *node);
        }
        self.many.get(name).copied()
    }

    fn insert(&mut self, name: &str, node: u32) {
        if self.few.len() < NAMES_COMPARED && self.many.is_empty() {
            return self.few.push((name.into(), node));
        }
        self.many.extend(self.few.drain(..));
        self.many.insert(name.into(), node);
    }
}

#[derive(Clone, Debug)]
struct Branch {
    rule: u32,
    first_slot: u32,
    slots: u32,
}

/// Memory that is reused by matching. Any matcher can use any scratch.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    elements: Elements,
    epoch: u32,
    slot_met: Vec<u32>,
    /// Met by a value outside all arrays of objects, which agrees with every other value.
    slot_free: Vec<u32>,
    branch_seen: Vec<u32>,
    branch_met: Vec<u32>,
    field_seen: Vec<u32>,
    /// Seen outside all arrays of objects.
    field_free: Vec<u32>,
    /// Where fields that a pattern requires to be absent were seen, by element.
    seen_in: Vec<(u32, u32)>,
    touched: Vec<u32>,
    candidates: Vec<Candidate>,
    matched: Vec<u32>,
}

impl Matcher {
    /// Compiles patterns under their rule numbers. A number may come more than once.
    ///
    /// # Errors
    /// When they have too many branches together.
    pub fn new<'p>(patterns: impl IntoIterator<Item = (u32, &'p Pattern)>) -> Result<Matcher, TooComplex> {
        let mut matcher = Matcher { nodes: vec![Node::default()], ..Matcher::default() };
        for (rule, pattern) in patterns {
            for branch in pattern.branches() {
                if matcher.branches.len() >= BRANCHES_MAX {
                    return Err(TooComplex);
                }
                let number = matcher.branches.len() as u32;
                let first_slot = matcher.slots.len() as u32;
                matcher.branches.push(Branch { rule, first_slot, slots: branch.len() as u32 });
                for (path, conditions) in branch {
                    matcher.slot(number, path, conditions, branch.len() == 1);
                }
            }
        }
        matcher.fields.iter_mut().for_each(Field::complete);
        Ok(matcher)
    }

    fn slot(&mut self, branch: u32, path: &str, conditions: &[Condition], alone: bool) {
        let slot = self.slots.len() as u32;
        let field = self.field(path);
        let absent = conditions.contains(&Condition::Absent);
        self.slots.push(Slot { branch, field, absent, alone });
        if absent {
            self.absent.push((field, slot));
            self.wanted_absent[field as usize] = true;
        }
        for condition in conditions {
            self.fields[field as usize].add(condition, slot);
        }
    }

    fn field(&mut self, path: &str) -> u32 {
        let (mut above, mut node) = (0, 0);
        for (depth, name) in path.split('.').enumerate() {
            if depth > 0 {
                self.nodes[above].deep = true;
            }
            above = node;
            node = match self.nodes[node].below(name) {
                Some(below) => below as usize,
                None => {
                    let below = self.nodes.len();
                    self.nodes[node].insert(name, below as u32);
                    self.nodes.push(Node::default());
                    below
                }
            };
        }
        let new = self.fields.len() as u32;
        let field = *self.nodes[node].field.get_or_insert(new);
        if field == new {
            self.fields.push(Field::default());
            self.wanted_absent.push(false);
        }
        field
    }

    #[inline]
    fn walk(&self, place: u32, name: &str) -> Option<u32> {
        let node = &self.nodes[place as usize];
        match node.below(name) {
            None if node.deep && name.contains('.') => {
                name.split('.').try_fold(place, |place, name| self.nodes[place as usize].below(name))
            }
            below => below,
        }
    }

    /// The id of a path, if a pattern looks at it.
    pub fn path(&self, path: &[&str]) -> Option<PathId> {
        let node = path.iter().try_fold(0, |place, name| self.walk(place, name))?;
        self.nodes[node as usize].field.map(|_| PathId(node))
    }

    /// The rules that match an event, ascending.
    ///
    /// # Errors
    /// When the event is no JSON object, too large or nested too deep.
    pub fn matches<'s>(&self, event_json: &[u8], scratch: &'s mut Scratch) -> Result<&'s [u32], InvalidEvent> {
        scratch.begin(self);
        // Swapped out: the listener cannot lend a buffer that the scanner writes to.
        let mut elements = std::mem::take(&mut scratch.elements);
        let scanned = Scanner::scan(event_json, 0, &mut Listening { matcher: self, scratch }, &mut elements);
        scratch.elements = elements;
        scanned?;
        if scratch.candidates.len() >= CANDIDATES_MAX {
            scratch.candidates = Vec::new(); // so much memory is not kept
            let message = format!("its arrays meet the fields of rules more than {CANDIDATES_MAX} times");
            return Err(InvalidEvent(message));
        }
        self.finish(scratch);
        Ok(&scratch.matched)
    }

    /// The rules that match an event whose values are given by path, ascending: an event of nested objects without
    /// arrays.
    pub fn matches_leaves<'s>(&self, leaves: &[(PathId, Leaf<'_>)], scratch: &'s mut Scratch) -> &'s [u32] {
        scratch.begin(self);
        for (PathId(node), leaf) in leaves {
            let Some(field) = self.nodes.get(*node as usize).and_then(|node| node.field) else { continue };
            let value = match leaf {
                Leaf::Text(text) => Value::Text(text),
                Leaf::Number(number) => {
                    self.see(field, Elements::OUTSIDE, scratch);
                    let meet = |slots: &[u32]| scratch.meet_all(self, slots, Elements::OUTSIDE);
                    self.fields[field as usize].look_up_double(*number, meet);
                    continue;
                }
                Leaf::Bool(true) => Value::Word("true"),
                Leaf::Bool(false) => Value::Word("false"),
                Leaf::Null => Value::Word("null"),
            };
            self.meet(field, value, Elements::OUTSIDE, scratch);
        }
        self.finish(scratch);
        &scratch.matched
    }

    #[inline]
    fn see(&self, field: u32, element: u32, scratch: &mut Scratch) {
        let index = field as usize;
        if !self.wanted_absent[index] {
            return;
        }
        scratch.field_seen[index] = scratch.epoch;
        if element == Elements::OUTSIDE {
            scratch.field_free[index] = scratch.epoch;
        } else {
            scratch.seen_in.push((field, element));
        }
    }

    #[inline]
    fn meet(&self, field: u32, value: Value<'_>, element: u32, scratch: &mut Scratch) {
        self.see(field, element, scratch);
        self.fields[field as usize].look_up(value, |slots| scratch.meet_all(self, slots, element));
    }

    fn finish(&self, scratch: &mut Scratch) {
        for (field, slot) in &self.absent {
            if scratch.field_seen[*field as usize] != scratch.epoch {
                scratch.meet_all(self, &[*slot], Elements::OUTSIDE);
            } else if scratch.field_free[*field as usize] != scratch.epoch && !self.slots[*slot as usize].alone {
                scratch.count(self, *slot); // provisional: it depends on the elements that earlier fields chose
            }
        }
        scratch.candidates.sort_unstable();
        scratch.candidates.dedup();
        let touched = std::mem::take(&mut scratch.touched);
        for number in &touched {
            let branch = &self.branches[*number as usize];
            if scratch.branch_met[*number as usize] == branch.slots && self.agree(branch, scratch) {
                scratch.matched.push(branch.rule);
            }
        }
        scratch.touched = touched;
        if scratch.matched.len() > 1 {
            scratch.matched.sort_unstable();
            scratch.matched.dedup();
        }
    }

    /// Whether one value per field can be chosen so that all are in the same elements of the arrays they share.
    fn agree(&self, branch: &Branch, scratch: &Scratch) -> bool {
        let slots = branch.first_slot..branch.first_slot + branch.slots;
        let bound = slots.clone().filter(|slot| scratch.slot_free[*slot as usize] != scratch.epoch);
        let absent = bound.clone().any(|slot| self.slots[slot as usize].absent);
        if !absent && bound.clone().nth(1).is_none() {
            return true; // no two slots that could disagree
        }
        let begin = scratch.candidates.partition_point(|candidate| candidate.slot < slots.start);
        let end = scratch.candidates.partition_point(|candidate| candidate.slot < slots.end);
        let candidates = &scratch.candidates[begin..end];
        if !absent {
            return agree(&bound.collect::<Vec<_>>(), candidates, &scratch.elements);
        }
        let ways_to = |field| {
            let seen = scratch.seen_in.iter().filter(move |(of, _)| *of == field);
            seen.map(|(_, element)| Way::to(*element, &scratch.elements)).collect::<Vec<_>>()
        };
        let seen: Vec<(u32, Option<Vec<Way>>)> = bound
            .map(|number| {
                let slot = &self.slots[number as usize];
                (number, slot.absent.then(|| ways_to(slot.field)))
            })
            .collect();
        agree_in_order(&seen, candidates, &scratch.elements)
    }
}

impl Scratch {
    fn begin(&mut self, matcher: &Matcher) {
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            *self = Scratch { epoch: 1, ..Scratch::default() };
        }
        let grow = |stamps: &mut Vec<u32>, length: usize| {
            if stamps.len() < length {
                stamps.resize(length, 0);
            }
        };
        grow(&mut self.slot_met, matcher.slots.len());
        grow(&mut self.slot_free, matcher.slots.len());
        grow(&mut self.branch_seen, matcher.branches.len());
        grow(&mut self.branch_met, matcher.branches.len());
        grow(&mut self.field_seen, matcher.fields.len());
        grow(&mut self.field_free, matcher.fields.len());
        self.seen_in.clear();
        self.touched.clear();
        self.candidates.clear();
        self.matched.clear();
    }

    #[inline]
    fn meet_all(&mut self, matcher: &Matcher, slots: &[u32], element: u32) {
        for number in slots {
            let slot = &matcher.slots[*number as usize];
            if slot.alone {
                self.matched.push(matcher.branches[slot.branch as usize].rule);
                continue;
            }
            if element == Elements::OUTSIDE {
                self.slot_free[*number as usize] = self.epoch;
            } else if self.slot_free[*number as usize] != self.epoch && self.candidates.len() < CANDIDATES_MAX {
                self.candidates.push(Candidate { slot: *number, element });
            }
            self.count(matcher, *number);
        }
    }

    #[inline]
    fn count(&mut self, matcher: &Matcher, slot: u32) {
        let (index, epoch) = (slot as usize, self.epoch);
        if self.slot_met[index] == epoch {
            return;
        }
        self.slot_met[index] = epoch;
        let branch = matcher.slots[index].branch as usize;
        if self.branch_seen[branch] != epoch {
            self.branch_seen[branch] = epoch;
            self.branch_met[branch] = 0;
            self.touched.push(branch as u32);
        }
        self.branch_met[branch] += 1;
    }
}

struct Listening<'m, 's> {
    matcher: &'m Matcher,
    scratch: &'s mut Scratch,
}

impl Listener for Listening<'_, '_> {
    type Place = u32;

    #[inline]
    fn below(&self, place: u32, name: &str) -> Option<u32> {
        self.matcher.walk(place, name)
    }

    #[inline]
    fn value(&mut self, place: u32, value: Value<'_>, element: u32) {
        if let Some(field) = self.matcher.nodes[place as usize].field {
            self.matcher.meet(field, value, element, self.scratch);
        }
    }
}
