//! Fields of one branch must be met within the same elements of the arrays that they share: whether values can be chosen
//! so, one for each field.
//!
//! ```text
//!   {"lots": [ {"street": "NOE", "number": 1},        street "NOE" and number 2: both are there,
//!              {"street": "FULTON", "number": 2} ]}   in no element together
//! ```
//!
//! The elements that hold values are a tree. At an element every field that is not met right there is met below, through
//! one array, in one element of it. So each element is asked once for what it must hold alone, and the work is that of
//! the tree, however many combinations there are.

use super::scan::Elements;
use hashbrown::HashSet;
use std::collections::{BTreeMap, BTreeSet};

/// Combinations of elements that are followed for a branch that asks for absence, and assignments of fields to arrays
/// that hold the same field twice, which only events with repeated names have. What lies beyond does not match.
const WAYS_MAX: usize = 65_536;
/// Combinations that are tried on that way, for each field.
const TRIES_MAX: usize = 4_000_000;

/// A value that meets a field of a branch, by the element that it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    /// The asker: a field of a branch.
    pub(super) slot: u32,
    /// In an array: never outside of all.
    pub(super) element: u32,
}

/// An element with what stands in it.
#[derive(Default)]
struct Held {
    /// Fields met right here.
    here: Vec<u32>,
    /// Fields met here or below.
    reached: HashSet<u32>,
    /// The arrays here, each with its elements.
    arrays: BTreeMap<u32, BTreeSet<u32>>,
}

/// Whether each of `slots` can be met, given all that meets them.
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
    let mut steps = WAYS_MAX;
    let Some(outside) = tree.get(&Elements::OUTSIDE) else { return slots.is_empty() };
    holds(outside, slots.to_vec(), &tree, &mut steps)
}

/// Whether an element can hold all of `wanted` at once.
fn holds(element: &Held, mut wanted: Vec<u32>, tree: &BTreeMap<u32, Held>, steps: &mut usize) -> bool {
    wanted.retain(|slot| !element.here.contains(slot));
    if !wanted.iter().all(|slot| element.reached.contains(slot)) {
        return false;
    }
    let arrays: Vec<(&BTreeSet<u32>, HashSet<u32>)> = element
        .arrays
        .values()
        .map(|members| (members, members.iter().flat_map(|member| &tree[member].reached).copied().collect()))
        .collect();
    assign(&wanted, &arrays, &mut vec![Vec::new(); arrays.len()], tree, steps)
}

/// Gives each wanted field to an array that has it. There is only one, unless names are repeated.
fn assign(
    wanted: &[u32],
    arrays: &[(&BTreeSet<u32>, HashSet<u32>)],
    assigned: &mut Vec<Vec<u32>>,
    tree: &BTreeMap<u32, Held>,
    steps: &mut usize,
) -> bool {
    let Some((slot, rest)) = wanted.split_first() else {
        return arrays.iter().zip(assigned.iter()).all(|((members, _), wanted)| {
            wanted.is_empty() || members.iter().any(|member| holds(&tree[member], wanted.clone(), tree, steps))
        });
    };
    let having: Vec<usize> = (0..arrays.len()).filter(|array| arrays[*array].1.contains(slot)).collect();
    let several = having.len() > 1;
    having.into_iter().any(|array| {
        if several {
            match steps.checked_sub(1) {
                Some(left) => *steps = left,
                None => return false,
            }
        }
        assigned[array].push(*slot);
        let holds = assign(rest, arrays, assigned, tree, steps);
        assigned[array].pop();
        holds
    })
}

/// One element for each array that was decided on. Sorted by array.
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

    /// Both together, if they agree on the arrays that both are in.
    pub(super) fn merge(&self, other: &Way) -> Option<Way> {
        let mut merged = self.0.clone();
        for (array, element) in &other.0 {
            match merged.iter().find(|(held, _)| held == array) {
                Some((_, held)) if held != element => return None,
                Some(_) => {}
                None => merged.push((*array, *element)),
            }
        }
        merged.sort_unstable();
        Some(Way(merged))
    }
}

/// The same for a branch that asks for absence too, field by field in the order of their paths: a field is absent if it
/// is in none of the elements that the fields before it chose. `seen` are the ways to where it stands.
pub(super) fn agree_in_order<'s>(
    slots: impl Iterator<Item = (u32, Option<&'s [Way]>)>,
    candidates: &[Candidate],
    elements: &Elements,
) -> bool {
    let mut ways = vec![Way::default()];
    for (slot, seen) in slots {
        let of_slot = candidates.iter().filter(|candidate| candidate.slot == slot);
        let mut next = Vec::new();
        let mut known = HashSet::new();
        let met: Vec<Way> = of_slot.map(|candidate| Way::to(candidate.element, elements)).collect();
        let pairs = ways.iter().flat_map(|way| met.iter().map(move |met| (way, met)));
        let merged = pairs.take(TRIES_MAX).filter_map(|(way, met)| way.merge(met));
        let absent =
            ways.iter().filter(|way| seen.is_some_and(|seen| !seen.iter().any(|seen| way.merge(seen).is_some())));
        for way in merged.chain(absent.cloned()).take(WAYS_MAX) {
            if known.insert(way.clone()) {
                next.push(way);
            }
        }
        if next.is_empty() {
            return false;
        }
        ways = next;
    }
    true
}
