//! All fields of one branch must be met within the same elements of the arrays that they share: decides whether one
//! value per field can be chosen that way.
//!
//! ```text
//!   {"lots": [ {"street": "NOE", "number": 1},        street "NOE" and number 2: both are there,
//!              {"street": "FULTON", "number": 2} ]}   in no element together
//! ```
//!
//! The elements that hold values form a tree. At an element, every field that is not met in it directly is met below,
//! through one array, in one element of it. So each element is visited once for the fields that it must hold alone,
//! and the work is proportional to the tree, not to the number of combinations.

use super::scan::Elements;
use hashbrown::HashSet;
use std::collections::{BTreeMap, BTreeSet};

/// The most elements visited, and combinations tried when names are repeated or absence is required. An event that
/// needs more does not match, so that no event delays the others for long.
const STEPS_MAX: usize = 1_000_000;
/// The most combinations followed at once for a branch that requires absence.
const WAYS_MAX: usize = 16_384;
/// How deep elements and repeated names may be nested.
const DEPTH_MAX: usize = 512;

/// The remaining work that one branch may cost.
struct Budget {
    steps: usize,
    depth: usize,
}

impl Budget {
    fn new() -> Budget {
        Budget { steps: STEPS_MAX, depth: 0 }
    }

    /// Takes a step; false if none is left.
    fn step(&mut self) -> bool {
        self.steps = self.steps.saturating_sub(1);
        self.steps > 0
    }

    /// Runs `then` one level deeper.
    fn deeper(&mut self, then: impl FnOnce(&mut Budget) -> bool) -> bool {
        if self.depth >= DEPTH_MAX || !self.step() {
            return false;
        }
        self.depth += 1;
        let holds = then(self);
        self.depth -= 1;
        holds
    }
}

/// A value that meets a field of a branch, with the element that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    /// The slot: a field of a branch.
    pub(super) slot: u32,
    /// The element; always inside an array.
    pub(super) element: u32,
}

/// An element and the fields that are met in it.
#[derive(Default)]
struct Held {
    /// Fields met in this element itself.
    here: Vec<u32>,
    /// Fields met in this element or below.
    reached: HashSet<u32>,
    /// The arrays in it, each with its elements.
    arrays: BTreeMap<u32, BTreeSet<u32>>,
}

/// Whether all `slots` can be met together by these candidates.
pub(super) fn agree(slots: &[u32], candidates: &[Candidate], elements: &Elements) -> bool {
    let mut tree: BTreeMap<u32, Held> = BTreeMap::new();
    for Candidate { slot, element } in candidates {
        tree.entry(*element).or_default().here.push(*slot);
        let mut at = *element;
        loop {
            let first = tree.entry(at).or_default().reached.insert(*slot);
            if at == Elements::OUTSIDE || !first {
                break;
            }
            let element = elements.get(at);
            tree.entry(element.above).or_default().arrays.entry(element.array).or_default().insert(at);
            at = element.above;
        }
    }
    let Some(outside) = tree.get(&Elements::OUTSIDE) else { return slots.is_empty() };
    Tree(&tree).holds(outside, slots, &mut Budget::new())
}

/// The elements, by number.
struct Tree<'t>(&'t BTreeMap<u32, Held>);

impl Tree<'_> {
    /// Whether an element holds all of `wanted` at once.
    fn holds(&self, element: &Held, wanted: &[u32], budget: &mut Budget) -> bool {
        if !wanted.iter().all(|slot| element.reached.contains(slot)) {
            return false;
        }
        let below: Vec<u32> = wanted.iter().copied().filter(|slot| !element.here.contains(slot)).collect();
        if below.is_empty() {
            return true;
        }
        let arrays: Vec<&BTreeSet<u32>> = element.arrays.values().collect();
        let has =
            |array: &BTreeSet<u32>, slot: u32| array.iter().any(|member| self.0[member].reached.contains(&slot));
        let mut assigned = vec![Vec::new(); arrays.len()];
        // There is only one array per field, unless names are repeated.
        let mut repeated = Vec::new();
        for slot in below {
            let having: Vec<usize> = (0..arrays.len()).filter(|array| has(arrays[*array], slot)).collect();
            match having.as_slice() {
                [] => return false,
                [array] => assigned[*array].push(slot),
                _ => repeated.push((slot, having)),
            }
        }
        budget.deeper(|budget| self.assign(&repeated, &arrays, &mut assigned, budget))
    }

    /// Assigns each field of a repeated name to one of its arrays; then each array needs one element that holds all
    /// of its fields.
    fn assign(
        &self,
        repeated: &[(u32, Vec<usize>)],
        arrays: &[&BTreeSet<u32>],
        assigned: &mut Vec<Vec<u32>>,
        budget: &mut Budget,
    ) -> bool {
        let Some(((slot, having), rest)) = repeated.split_first() else {
            return arrays.iter().zip(assigned.iter()).all(|(members, wanted)| {
                let holds = |member: &u32| budget.step() && self.holds(&self.0[member], wanted, budget);
                wanted.is_empty() || members.iter().any(holds)
            });
        };
        having.iter().any(|array| {
            assigned[*array].push(*slot);
            let holds = budget.deeper(|budget| self.assign(rest, arrays, assigned, budget));
            assigned[*array].pop();
            holds
        })
    }
}

/// The chosen element of each array, sorted by array.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Way(Vec<(u32, u32)>);

impl Way {
    /// The way to an element.
    pub(super) fn to(element: u32, elements: &Elements) -> Way {
        let mut chain: Vec<(u32, u32)> =
            elements.chain(element).map(|element| (elements.get(element).array, element)).collect();
        chain.sort_unstable();
        Way(chain)
    }

    /// Whether two ways choose the same elements in the arrays that they share.
    fn agrees(&self, other: &Way) -> bool {
        other.0.iter().all(|(array, element)| {
            self.0.binary_search_by_key(array, |(held, _)| *held).is_ok_and(|index| self.0[index].1 == *element)
                || self.0.binary_search_by_key(array, |(held, _)| *held).is_err()
        })
    }

    /// Both ways together, if they agree on the arrays that they share.
    fn merge(&self, other: &Way) -> Option<Way> {
        if !self.agrees(other) {
            return None;
        }
        let mut merged: Vec<(u32, u32)> = self.0.iter().chain(&other.0).copied().collect();
        merged.sort_unstable();
        merged.dedup();
        Some(Way(merged))
    }
}

/// As [`agree`], for a branch that also requires absence, field by field in the order of their paths: a field counts
/// as absent if it is in none of the elements that the earlier fields chose. `seen` are the ways to the places where
/// it occurs.
pub(super) fn agree_in_order(
    slots: &[(u32, Option<Vec<Way>>)],
    candidates: &[Candidate],
    elements: &Elements,
) -> bool {
    let mut budget = Budget::new();
    let mut ways = vec![Way::default()];
    for (index, (slot, seen)) in slots.iter().enumerate() {
        let of_slot = candidates.iter().filter(|candidate| candidate.slot == *slot);
        let met: Vec<Way> = of_slot.map(|candidate| Way::to(candidate.element, elements)).collect();
        let mut next: HashSet<Way> = HashSet::new();
        for way in &ways {
            for met in &met {
                if !budget.step() || next.len() >= WAYS_MAX {
                    break;
                }
                next.extend(way.merge(met));
            }
            if let Some(seen) = seen
                && seen.iter().all(|seen| budget.step() && !way.agrees(seen))
                && budget.steps > 0
            {
                next.insert(way.clone());
            }
            // For the last field one way is enough.
            if budget.steps == 0 || index + 1 == slots.len() && !next.is_empty() {
                break;
            }
        }
        if next.is_empty() {
            return false;
        }
        ways = next.into_iter().collect();
    }
    true
}
