//! Many patterns in one automaton. Names of the event lead through a trie to the fields that somebody looks at; a value
//! leads through hash tables to the conditions that it meets; each met condition counts for the branches that asked for
//! it. What nobody asks for costs a glance, and a rule that nothing speaks for costs nothing.

use super::address::{Address, address};
use super::condition::{Condition, Range, Value};
use super::number::comparable;
use super::scan::{Listener, Membership, Scanner};
use super::{InvalidEvent, Leaf, PathId, Pattern, TooComplex};
use hashbrown::HashMap;

/// Branches of all patterns together.
const BRANCHES_MAX: usize = 1_000_000;
/// Ways through the arrays of an event that one branch looks at.
const WAYS_MAX: usize = 4_096;

/// Compiled patterns; rule numbers are the caller's.
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    nodes: Vec<Node>,
    fields: Vec<Field>,
    branches: Vec<Branch>,
    /// One field of one branch each.
    slots: Vec<Slot>,
    /// Fields that some slots want to be absent.
    absent: Vec<(u32, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    branch: u32,
    field: u32,
    /// Whether it is met where the field is not.
    absent: bool,
}

#[derive(Clone, Debug, Default)]
struct Node {
    below: HashMap<String, u32>,
    field: Option<u32>,
}

#[derive(Clone, Debug)]
struct Branch {
    rule: u32,
    first_slot: u32,
    slots: u32,
}

/// What is asked of the values on one path, and who asks.
#[derive(Clone, Debug, Default)]
struct Field {
    texts: HashMap<String, Vec<u32>>,
    written: HashMap<String, Vec<u32>>,
    words: HashMap<String, Vec<u32>>,
    numbers: HashMap<u64, Vec<u32>>,
    addresses: HashMap<Address, Vec<u32>>,
    /// By length, so that a value is looked up once per length.
    prefixes: Vec<(usize, HashMap<String, Vec<u32>>)>,
    suffixes: Vec<(usize, HashMap<String, Vec<u32>>)>,
    ranges: Vec<(Range, Vec<u32>)>,
    others: Vec<(Condition, Vec<u32>)>,
    exists: Vec<u32>,
    /// Whether some slot wants it to be absent.
    absent: bool,
}

/// Memory that matching uses again and again. Any matcher can use any scratch.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    epoch: u32,
    slot_met: Vec<u32>,
    /// Met by a value outside of all arrays of objects, which goes with every other.
    slot_free: Vec<u32>,
    branch_seen: Vec<u32>,
    branch_met: Vec<u32>,
    field_seen: Vec<u32>,
    /// Seen outside of all arrays of objects.
    field_free: Vec<u32>,
    /// Where fields were seen that somebody wants to be absent.
    seen_at: Vec<(u32, Membership)>,
    touched: Vec<u32>,
    candidates: Vec<(u32, Membership)>,
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
                    let slot = matcher.slots.len() as u32;
                    let field = matcher.field(path);
                    let absent = conditions.contains(&Condition::Absent);
                    matcher.slots.push(Slot { branch: number, field, absent });
                    if absent {
                        matcher.absent.push((field, slot));
                        matcher.fields[field as usize].absent = true;
                    }
                    for condition in conditions {
                        if *condition != Condition::Absent {
                            matcher.fields[field as usize].add(condition, slot);
                        }
                    }
                }
            }
        }
        Ok(matcher)
    }

    fn field(&mut self, path: &str) -> u32 {
        let mut node = 0;
        for name in path.split('.') {
            let new = self.nodes.len() as u32;
            let below = *self.nodes[node].below.entry_ref(name).or_insert(new);
            if below == new {
                self.nodes.push(Node::default());
            }
            node = below as usize;
        }
        let new = self.fields.len() as u32;
        let field = *self.nodes[node].field.get_or_insert(new);
        if field == new {
            self.fields.push(Field::default());
        }
        field
    }

    fn walk(&self, place: u32, name: &str) -> Option<u32> {
        if !name.contains('.') {
            return self.nodes[place as usize].below.get(name).copied();
        }
        name.split('.').try_fold(place, |place, name| self.nodes[place as usize].below.get(name).copied())
    }

    /// The place of a path that some pattern looks at; none if none does.
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
        let mut listening = Listening { matcher: self, scratch };
        Scanner::scan(event_json, 0, &mut listening)?;
        self.finish(scratch);
        Ok(&scratch.matched)
    }

    /// The rules that match an event whose values are given by path, ascending: an event of nested objects without
    /// arrays.
    pub fn matches_leaves<'s>(&self, leaves: &[(PathId, Leaf<'_>)], scratch: &'s mut Scratch) -> &'s [u32] {
        scratch.begin(self);
        let nowhere = Membership::new();
        for (PathId(node), leaf) in leaves {
            let text;
            let value = match leaf {
                Leaf::Text(text) => Value::Text(text),
                Leaf::Number(number) => {
                    text = number.to_string();
                    Value::Number(&text)
                }
                Leaf::Bool(true) => Value::Word("true"),
                Leaf::Bool(false) => Value::Word("false"),
                Leaf::Null => Value::Word("null"),
            };
            if let Some(field) = self.nodes.get(*node as usize).and_then(|node| node.field) {
                self.meet(field, value, &nowhere, scratch);
            }
        }
        self.finish(scratch);
        &scratch.matched
    }

    fn meet(&self, field: u32, value: Value<'_>, membership: &Membership, scratch: &mut Scratch) {
        scratch.field_seen[field as usize] = scratch.epoch;
        let held = &self.fields[field as usize];
        if membership.is_empty() {
            scratch.field_free[field as usize] = scratch.epoch;
        } else if held.absent {
            scratch.seen_at.push((field, membership.clone()));
        }
        let mut meet = |slots: &[u32]| slots.iter().for_each(|slot| scratch.meet(self, *slot, membership));
        meet(&held.exists);
        match value {
            Value::Text(text) => {
                held.texts.get(text).into_iter().for_each(|slots| meet(slots));
                for (length, prefixes) in &held.prefixes {
                    let slots = text.get(..*length).and_then(|prefix| prefixes.get(prefix));
                    slots.into_iter().for_each(|slots| meet(slots));
                }
                for (length, suffixes) in &held.suffixes {
                    let start = text.len().checked_sub(*length);
                    let slots = start.and_then(|start| text.get(start..)).and_then(|suffix| suffixes.get(suffix));
                    slots.into_iter().for_each(|slots| meet(slots));
                }
                if !held.addresses.is_empty() {
                    let slots = address(text).and_then(|address| held.addresses.get(&address));
                    slots.into_iter().for_each(|slots| meet(slots));
                }
            }
            Value::Number(written) => {
                held.written.get(written).into_iter().for_each(|slots| meet(slots));
                if !(held.numbers.is_empty() && held.ranges.is_empty())
                    && let Some(number) = comparable(written)
                {
                    held.numbers.get(&number.to_bits()).into_iter().for_each(|slots| meet(slots));
                    held.ranges.iter().filter(|(range, _)| range.holds(number)).for_each(|(_, slots)| meet(slots));
                }
            }
            Value::Word(word) => held.words.get(word).into_iter().for_each(|slots| meet(slots)),
        }
        held.others.iter().filter(|(condition, _)| condition.holds(value)).for_each(|(_, slots)| meet(slots));
    }

    fn finish(&self, scratch: &mut Scratch) {
        let nowhere = Membership::new();
        for (field, slot) in &self.absent {
            if scratch.field_seen[*field as usize] != scratch.epoch {
                scratch.meet(self, *slot, &nowhere);
            } else if scratch.field_free[*field as usize] != scratch.epoch {
                scratch.count(self, *slot); // perhaps: it depends on the elements that the fields before it chose
            }
        }
        let touched = std::mem::take(&mut scratch.touched);
        for number in &touched {
            let branch = &self.branches[*number as usize];
            if scratch.branch_met[*number as usize] == branch.slots && self.agree(branch, scratch) {
                scratch.matched.push(branch.rule);
            }
        }
        scratch.touched = touched;
        scratch.matched.sort_unstable();
        scratch.matched.dedup();
    }

    /// Whether values can be chosen, one for each field, that lie in the same elements of the arrays they share.
    fn agree(&self, branch: &Branch, scratch: &Scratch) -> bool {
        let slots = branch.first_slot..branch.first_slot + branch.slots;
        let bound: Vec<u32> = slots.filter(|slot| scratch.slot_free[*slot as usize] != scratch.epoch).collect();
        if bound.len() < 2 && !bound.iter().any(|slot| self.slots[*slot as usize].absent) {
            return true;
        }
        let mut ways: Vec<Membership> = vec![Membership::new()];
        for slot in bound {
            let mut next: Vec<Membership> = Vec::new();
            let memberships =
                scratch.candidates.iter().filter(|(of, _)| *of == slot).map(|(_, membership)| membership);
            for membership in memberships {
                for way in &ways {
                    if let Some(merged) = merge(way, membership)
                        && next.len() < WAYS_MAX
                        && !next.contains(&merged)
                    {
                        next.push(merged);
                    }
                }
            }
            let Slot { field, absent, .. } = self.slots[slot as usize];
            if absent {
                let seen = |way: &Membership| {
                    scratch.seen_at.iter().any(|(of, membership)| *of == field && merge(way, membership).is_some())
                };
                next.extend(ways.iter().filter(|way| !seen(way)).cloned());
            }
            if next.is_empty() {
                return false;
            }
            ways = next;
        }
        true
    }
}

/// Both memberships together, if they agree on the arrays that both are in.
fn merge(left: &Membership, right: &Membership) -> Option<Membership> {
    let mut merged = left.clone();
    for (array, index) in right {
        match merged.iter().find(|(held, _)| held == array) {
            Some((_, held)) if held != index => return None,
            Some(_) => {}
            None => merged.push((*array, *index)),
        }
    }
    merged.sort_unstable();
    Some(merged)
}

impl Field {
    fn add(&mut self, condition: &Condition, slot: u32) {
        match condition {
            Condition::Text(text) => self.texts.entry_ref(text.as_str()).or_default().push(slot),
            Condition::Word(word) => self.words.entry_ref(word.as_str()).or_default().push(slot),
            Condition::Address(address) => self.addresses.entry(*address).or_default().push(slot),
            Condition::Number { equal, written } => {
                match equal {
                    Some(number) => self.numbers.entry(number.to_bits()).or_default().push(slot),
                    None => self.written.entry_ref(written.as_str()).or_default().push(slot),
                };
            }
            Condition::Prefix(text) => by_length(&mut self.prefixes, text, slot),
            Condition::Suffix(text) => by_length(&mut self.suffixes, text, slot),
            Condition::Range(range) => match self.ranges.iter_mut().find(|(held, _)| held == range) {
                Some((_, slots)) => slots.push(slot),
                None => self.ranges.push((*range, vec![slot])),
            },
            Condition::Exists => self.exists.push(slot),
            other => match self.others.iter_mut().find(|(held, _)| held == other) {
                Some((_, slots)) => slots.push(slot),
                None => self.others.push((other.clone(), vec![slot])),
            },
        }
    }
}

fn by_length(held: &mut Vec<(usize, HashMap<String, Vec<u32>>)>, text: &str, slot: u32) {
    let index = held.iter().position(|(length, _)| *length == text.len()).unwrap_or_else(|| {
        held.push((text.len(), HashMap::new()));
        held.len() - 1
    });
    held[index].1.entry_ref(text).or_default().push(slot);
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
        self.seen_at.clear();
        self.touched.clear();
        self.candidates.clear();
        self.matched.clear();
    }

    #[inline]
    fn meet(&mut self, matcher: &Matcher, slot: u32, membership: &Membership) {
        let (index, epoch) = (slot as usize, self.epoch);
        if membership.is_empty() {
            self.slot_free[index] = epoch;
        } else if self.slot_free[index] != epoch {
            self.candidates.push((slot, membership.clone()));
        }
        self.count(matcher, slot);
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
    fn value(&mut self, place: u32, value: Value<'_>, membership: &Membership) {
        if let Some(field) = self.matcher.nodes[place as usize].field {
            self.matcher.meet(field, value, membership, self.scratch);
        }
    }
}
