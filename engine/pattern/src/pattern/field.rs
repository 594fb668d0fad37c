//! The conditions of all patterns on the values of one path, in tables, so that a value is looked up instead of being
//! compared with every rule.

use super::address::{Address, address};
use super::condition::{Condition, Range, Value};
use super::number::comparable;
use aho_corasick::AhoCorasick;
use hashbrown::HashMap;

/// Up to this many wildcards are tried one by one.
const WILDCARDS_TRIED: usize = 8;

/// The slots that have a condition, as numbers of the matcher.
type Askers = Vec<u32>;

/// All conditions on the values of one path.
#[derive(Clone, Debug, Default)]
pub(super) struct Field {
    texts: HashMap<String, Askers>,
    /// By lower case; only ASCII texts to which no other letter folds.
    folded: HashMap<String, Askers>,
    written: HashMap<String, Askers>,
    words: HashMap<String, Askers>,
    numbers: HashMap<u64, Askers>,
    addresses: HashMap<Address, Askers>,
    /// By length, so that a value is looked up once per length.
    prefixes: Vec<(usize, HashMap<String, Askers>)>,
    suffixes: Vec<(usize, HashMap<String, Askers>)>,
    ranges: Vec<(Range, Askers)>,
    wildcards: Wildcards,
    others: Vec<(Condition, Askers)>,
    exists: Askers,
}

/// Wildcards share an automaton of their longest parts: only those whose part occurs in the value are tried.
#[derive(Clone, Debug, Default)]
struct Wildcards {
    all: Vec<(Condition, Askers)>,
    /// None while there are few wildcards.
    parts: Option<AhoCorasick>,
    /// Wildcards without a part, which are only stars.
    partless: Vec<u32>,
    /// The wildcard of each part of the automaton.
    wildcard_of: Vec<u32>,
}

impl Field {
    /// Adds a condition of a slot. [`Condition::Absent`] is no condition on values.
    pub(super) fn add(&mut self, condition: &Condition, asker: u32) {
        match condition {
            Condition::Absent => {}
            Condition::Exists => self.exists.push(asker),
            Condition::Text(text) => self.texts.entry_ref(text.as_str()).or_default().push(asker),
            Condition::Word(word) => self.words.entry_ref(word.as_str()).or_default().push(asker),
            Condition::Address(address) => self.addresses.entry(*address).or_default().push(asker),
            Condition::Number { equal: Some(number), .. } => {
                self.numbers.entry(number.to_bits()).or_default().push(asker);
            }
            Condition::Number { equal: None, written } => {
                self.written.entry_ref(written.as_str()).or_default().push(asker);
            }
            Condition::Prefix(text) => by_length(&mut self.prefixes, text, asker),
            Condition::Suffix(text) => by_length(&mut self.suffixes, text, asker),
            Condition::Range(range) => {
                match self.ranges.iter_mut().rev().take(SAME_LOOKED_FOR).find(|(held, _)| held == range) {
                    Some((_, askers)) => askers.push(asker),
                    None => self.ranges.push((*range, vec![asker])),
                }
            }
            Condition::TextIgnoreCase(folded) if let Some(text) = folded.ascii() => {
                self.folded.entry(text).or_default().push(asker);
            }
            Condition::Wildcard(_) => add_to(&mut self.wildcards.all, condition, asker),
            other => add_to(&mut self.others, other, asker),
        }
    }

    /// Completes the tables after the last condition was added.
    pub(super) fn complete(&mut self) {
        self.wildcards.complete();
    }

    /// Calls `meet` with the slots whose conditions a value meets.
    #[inline]
    pub(super) fn look_up(&self, value: Value<'_>, mut meet: impl FnMut(&[u32])) {
        if !self.exists.is_empty() {
            meet(&self.exists);
        }
        match value {
            Value::Text(text) => self.look_up_text(text, &mut meet),
            Value::Number(written) => {
                if !self.written.is_empty() {
                    self.written.get(written).into_iter().for_each(|askers| meet(askers));
                }
                if !(self.numbers.is_empty() && self.ranges.is_empty())
                    && let Some(number) = comparable(written)
                {
                    self.look_up_number(number, &mut meet);
                }
            }
            Value::Word(word) => self.words.get(word).into_iter().for_each(|askers| meet(askers)),
        }
        self.others.iter().filter(|(condition, _)| condition.holds(value)).for_each(|(_, askers)| meet(askers));
    }

    /// As [`look_up`](Self::look_up), for a number that is not text yet.
    pub(super) fn look_up_double(&self, number: f64, mut meet: impl FnMut(&[u32])) {
        if self.written.is_empty() && self.others.is_empty() {
            if !self.exists.is_empty() {
                meet(&self.exists);
            }
            return self.look_up_number(number + 0.0, &mut meet); // zero without its sign
        }
        self.look_up(Value::Number(&number.to_string()), meet);
    }

    #[inline]
    fn look_up_number(&self, number: f64, meet: &mut impl FnMut(&[u32])) {
        if !self.numbers.is_empty() {
            self.numbers.get(&number.to_bits()).into_iter().for_each(|askers| meet(askers));
        }
        self.ranges.iter().filter(|(range, _)| range.holds(number)).for_each(|(_, askers)| meet(askers));
    }

    #[inline]
    fn look_up_text(&self, text: &str, meet: &mut impl FnMut(&[u32])) {
        if !self.texts.is_empty() {
            self.texts.get(text).into_iter().for_each(|askers| meet(askers));
        }
        for (length, prefixes) in &self.prefixes {
            let askers = text.get(..*length).and_then(|prefix| prefixes.get(prefix));
            askers.into_iter().for_each(|askers| meet(askers));
        }
        for (length, suffixes) in &self.suffixes {
            let start = text.len().checked_sub(*length);
            let askers = start.and_then(|start| text.get(start..)).and_then(|suffix| suffixes.get(suffix));
            askers.into_iter().for_each(|askers| meet(askers));
        }
        if !self.folded.is_empty() && text.is_ascii() {
            self.folded.get(&text.to_ascii_lowercase()).into_iter().for_each(|askers| meet(askers));
        }
        if !self.addresses.is_empty() {
            let askers = address(text).and_then(|address| self.addresses.get(&address));
            askers.into_iter().for_each(|askers| meet(askers));
        }
        self.wildcards.look_up(text, meet);
    }
}

impl Wildcards {
    fn complete(&mut self) {
        if self.all.len() <= WILDCARDS_TRIED {
            return;
        }
        let mut parts = Vec::new();
        for (number, (condition, _)) in (0..).zip(&self.all) {
            let Condition::Wildcard(wildcard) = condition else { continue };
            match wildcard.parts().iter().max_by_key(|part| part.len()).filter(|part| !part.is_empty()) {
                Some(part) => {
                    parts.push(part.as_slice());
                    self.wildcard_of.push(number);
                }
                None => self.partless.push(number),
            }
        }
        // If the automaton would be too large, wildcards are tried one by one.
        self.parts = AhoCorasick::new(parts).ok();
    }

    #[inline]
    fn look_up(&self, text: &str, meet: &mut impl FnMut(&[u32])) {
        let value = Value::Text(text);
        let Some(parts) = &self.parts else {
            self.all.iter().filter(|(wildcard, _)| wildcard.holds(value)).for_each(|(_, askers)| meet(askers));
            return;
        };
        let mut tried = vec![false; self.all.len()];
        let found = parts.find_overlapping_iter(text).map(|found| self.wildcard_of[found.pattern().as_usize()]);
        for number in found.chain(self.partless.iter().copied()) {
            let number = number as usize;
            if !std::mem::replace(&mut tried[number], true) && self.all[number].0.holds(value) {
                meet(&self.all[number].1);
            }
        }
    }
}

/// Rules with the same condition are often created one after another; a longer search would make many rules slow to
/// compile.
const SAME_LOOKED_FOR: usize = 16;

fn add_to(held: &mut Vec<(Condition, Askers)>, condition: &Condition, asker: u32) {
    match held.iter_mut().rev().take(SAME_LOOKED_FOR).find(|(held, _)| held == condition) {
        Some((_, askers)) => askers.push(asker),
        None => held.push((condition.clone(), vec![asker])),
    }
}

fn by_length(held: &mut Vec<(usize, HashMap<String, Askers>)>, text: &str, asker: u32) {
    let index = held.iter().position(|(length, _)| *length == text.len()).unwrap_or_else(|| {
        held.push((text.len(), HashMap::new()));
        held.len() - 1
    });
    held[index].1.entry_ref(text).or_default().push(asker);
}
