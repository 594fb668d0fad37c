//! How often rules and pipes handed on what an event came of. An event that was put says so itself; what a command
//! did in the world (a fakémon, an attempt) has no room for it in its record, which is as small as can be. So it is
//! kept here, for the newest commands: a loop comes back at once. A restart forgets it, and a loop starts at 0 again.

use fakemon_model::event::Event;
use fakemon_model::ids::{AttemptId, FakemonId, PlayerId};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};

/// The newest commands that are kept.
const KEPT_MAX: usize = 1 << 16;

/// What a command does in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deed {
    /// It put a fakémon into the world.
    Spawned(FakemonId),
    /// It made an attempt.
    Attempted(PlayerId, AttemptId),
}

/// Hops of what commands of rules and pipes did.
#[derive(Default)]
pub struct Descent(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    hops: HashMap<Deed, u8>,
    oldest_first: VecDeque<Deed>,
}

impl Descent {
    /// Notes what a command does; before it is done, so that nothing that comes of it is seen earlier.
    pub fn note(&self, deed: Deed, hops: u8) {
        let mut kept = self.0.lock();
        if kept.hops.insert(deed, hops).is_none() {
            kept.oldest_first.push_back(deed);
        }
        if kept.oldest_first.len() > KEPT_MAX
            && let Some(oldest) = kept.oldest_first.pop_front()
        {
            kept.hops.remove(&oldest);
        }
    }

    /// How often rules and pipes handed on what an event came of.
    pub fn hops(&self, event: &Event) -> u8 {
        let deed = match event {
            Event::Put(put) => return put.hops,
            Event::Appeared { fakemon_id, .. } | Event::Vanished { fakemon_id, .. } => Deed::Spawned(*fakemon_id),
            Event::Attempt(attempt) => Deed::Attempted(attempt.player, attempt.attempt_id),
            _ => return 0,
        };
        self.0.lock().hops.get(&deed).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_are_kept() {
        let descent = Descent::default();
        let deeds = (0..=KEPT_MAX as u64).map(|id| Deed::Spawned(FakemonId(id)));
        deeds.for_each(|deed| descent.note(deed, 3));
        let kept = descent.0.lock();
        assert_eq!((kept.hops.len(), kept.oldest_first.len()), (KEPT_MAX, KEPT_MAX));
        assert!(!kept.hops.contains_key(&Deed::Spawned(FakemonId(0))));
    }
}
