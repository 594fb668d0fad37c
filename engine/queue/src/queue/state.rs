//! A queue in memory: a few words per message, and which message can be received next.

use super::recent::Recent;
use fakemon_model::ids::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The most expired messages that one call deletes, so that no caller pays for all of them.
const EXPIRED_MAX: usize = 10_000;

/// A message in memory.
#[derive(Clone, Copy, Default)]
pub(super) struct Slot {
    pub(super) receives: u32,
    pub(super) first_received_at: u64,
    /// When it becomes visible; 0 if it was never hidden.
    pub(super) visible_at: u64,
    /// In a FIFO queue the hash of its group. Two groups with the same hash wait for each other; there is no other
    /// effect.
    pub(super) group: Option<u64>,
}

/// The messages of one group, those in flight included.
#[derive(Default)]
struct Group {
    messages: BTreeSet<u64>,
    /// The first message, if it can be received, with the turn of the group before it.
    head: Option<(u64, u64)>,
}

/// A message is in `ready` or in `hidden`, never in both: the cost of receiving does not depend on what is in flight.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) slots: BTreeMap<u64, Slot>,
    pub(super) ready: BTreeSet<u64>,
    /// The time at which each becomes visible, and its sequence number.
    hidden: BTreeSet<(u64, u64)>,
    /// How many in `hidden` were never received.
    pub(super) delayed: usize,
    pub(super) next: u64,
    pub(super) reserved: usize,
    groups: HashMap<u64, Group>,
    /// Those of `ready` that are the first of their group, with the turn of the group before them.
    heads: BTreeSet<(u64, u64)>,
    /// The last turn given to a group: a group whose messages were with a receiver queues up behind those that wait.
    turns: u64,
    pub(super) recent: Recent,
}

impl Queue {
    /// Puts a message where its slot says, removing it from where it was.
    pub(super) fn put(&mut self, sequence: u64, slot: Slot) {
        self.remove(sequence);
        self.slots.insert(sequence, slot);
        if slot.visible_at == 0 {
            self.ready.insert(sequence);
        } else {
            self.hidden.insert((slot.visible_at, sequence));
            self.delayed += usize::from(slot.receives == 0);
        }
        if let Some(group) = slot.group {
            self.groups.entry(group).or_default().messages.insert(sequence);
            self.find_head(group);
        }
    }

    pub(super) fn remove(&mut self, sequence: u64) -> Option<Slot> {
        let slot = self.slots.remove(&sequence)?;
        if !self.ready.remove(&sequence) && self.hidden.remove(&(slot.visible_at, sequence)) {
            self.delayed -= usize::from(slot.receives == 0);
        }
        if let Some(group) = slot.group {
            self.groups.entry(group).or_default().messages.remove(&sequence);
            self.find_head(group);
        }
        Some(slot)
    }

    /// Removes all messages. Sequence numbers continue, and senders keep their reservations.
    pub(super) fn clear(&mut self) {
        *self = Queue { next: self.next, reserved: self.reserved, turns: self.turns, ..Queue::default() };
    }

    fn find_head(&mut self, group: u64) {
        let Some(held) = self.groups.get_mut(&group) else { return };
        let first = held.messages.first().copied().filter(|first| self.ready.contains(first));
        if held.head.map(|(_, first)| first) != first {
            let turn = held.head.map_or(self.turns, |(turn, _)| turn);
            self.turns += u64::from(held.head.is_none());
            if let Some(before) = held.head {
                self.heads.remove(&before);
            }
            held.head = first.map(|first| (turn, first));
            self.heads.extend(held.head);
        }
        if held.messages.is_empty() {
            self.groups.remove(&group);
        }
    }

    /// Up to `max` messages that can be received, from a sequence number on. Of a group, its first message and those
    /// that follow without a gap, if the first can be received; groups in the order of their turns.
    pub(super) fn due(&self, from: u64, max: usize) -> Vec<u64> {
        if self.groups.is_empty() {
            return self.ready.range(from..).copied().take(max).collect();
        }
        let following = |(_, head): &(u64, u64)| {
            let group = self.slots.get(head).and_then(|slot| self.groups.get(&slot.group?));
            let messages = group.into_iter().flat_map(|group| group.messages.iter());
            messages.copied().take_while(|sequence| self.ready.contains(sequence))
        };
        self.heads.iter().filter(|(_, head)| *head >= from).flat_map(following).take(max).collect()
    }

    /// Makes messages visible whose time has come.
    pub(super) fn show_due(&mut self, now: Timestamp) {
        while let Some(&(visible_at, sequence)) = self.hidden.first().filter(|(at, _)| *at <= now.0) {
            self.hidden.remove(&(visible_at, sequence));
            self.ready.insert(sequence);
            let slot = self.slots.get(&sequence).copied().unwrap_or_default();
            self.delayed -= usize::from(slot.receives == 0);
            slot.group.into_iter().for_each(|group| self.find_head(group));
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.hidden.len() - self.delayed
    }

    /// Marks a visible message as received.
    pub(super) fn take(&mut self, sequence: u64, visibility_s: u32, now: Timestamp) -> Slot {
        let mut slot = self.remove(sequence).expect("who is visible has a slot");
        slot.receives = slot.receives.saturating_add(1);
        slot.first_received_at = if slot.receives == 1 { now.0 } else { slot.first_received_at };
        slot.visible_at = now.plus_ns(u64::from(visibility_s) * 1_000_000_000).0.max(1);
        self.put(sequence, slot);
        slot
    }

    /// Removes expired messages; returns their sequence numbers.
    pub(super) fn expire(&mut self, expired: u64) -> Vec<u64> {
        let old: Vec<u64> = self.slots.range(..expired).take(EXPIRED_MAX).map(|(sequence, _)| *sequence).collect();
        for sequence in &old {
            self.remove(*sequence);
        }
        old
    }
}

impl Slot {
    /// The value in the depot; the group is in the message.
    pub(super) fn value(&self) -> Vec<u8> {
        let mut value = self.receives.to_be_bytes().to_vec();
        value.extend_from_slice(&self.first_received_at.to_be_bytes());
        value.extend_from_slice(&self.visible_at.to_be_bytes());
        value
    }
}
