//! Players: their numbers, and the ledger of their attempts. The ledger is why a repeated attempt gets its first
//! answer again: it knows every attempt id a player has ever used (as ranges: players count), and the answers that
//! are not yet in the snapshot. Older answers are looked up in the archive.
//!
//! A ledger has a lock of its own, taken only by the connections of this one player; shards never take it.

use fakemon_model::event::{Decision, PlayerName};
use fakemon_model::ids::{AttemptId, PlayerId, Position};
use fakemon_model::limits::LEDGER_RECENT_ANSWERS;
use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

/// A player who has a number. Cheap to clone.
#[derive(Clone)]
pub struct Player(Arc<Entry>);

struct Entry {
    id: PlayerId,
    name: PlayerName,
    ledger: Mutex<Ledger>,
}

#[derive(Default)]
struct Ledger {
    used: IdRanges,
    in_flight: VecDeque<AttemptId>,
    waiters: Vec<(AttemptId, Waiter)>,
    /// Nearly in the order of the journal; forgotten from the front once the snapshot holds them.
    recent: VecDeque<Decision>,
    /// Answers before this position were forgotten.
    forgotten_to: Position,
}

/// Called with the answer to an attempt that was sent again while the first was in flight; with none if the first was
/// not accepted.
pub type Waiter = Box<dyn FnOnce(Option<Decision>) + Send>;

/// The state of an attempt id in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Never used; it is now.
    New,
    /// Used, and the answer is not durable yet: the waiter will get it.
    InFlight,
    /// Used, and this was the answer.
    Answered(Decision),
    /// Used long ago: the answer is in the archive.
    Archived,
}

impl Player {
    pub fn new(id: PlayerId, name: PlayerName, used: IdRanges) -> Player {
        Player(Arc::new(Entry { id, name, ledger: Mutex::new(Ledger { used, ..Ledger::default() }) }))
    }

    /// The number of the player in the journal.
    pub fn id(&self) -> PlayerId {
        self.0.id
    }

    pub fn name(&self) -> &PlayerName {
        &self.0.name
    }

    /// The attempts that were accepted and have no answer yet, ascending.
    pub fn in_flight(&self) -> Vec<AttemptId> {
        let mut in_flight: Vec<AttemptId> = self.ledger().in_flight.iter().copied().collect();
        in_flight.sort_unstable();
        in_flight
    }

    /// Whether one of these attempts, ascending, has no answer yet. An attempt that is not in flight is in the
    /// journal, or was not accepted.
    pub fn awaits_any(&self, attempts: &[AttemptId]) -> bool {
        !attempts.is_empty() && self.ledger().in_flight.iter().any(|claimed| attempts.binary_search(claimed).is_ok())
    }

    /// Whether an attempt id has been used.
    pub fn has_used(&self, attempt: AttemptId) -> bool {
        self.ledger().used.contains(attempt.0)
    }

    /// Claims an attempt id, or reports the earlier claim.
    pub fn claim(&self, attempt: AttemptId, waiter: impl FnOnce() -> Waiter) -> Claim {
        let mut ledger = self.ledger();
        if ledger.used.insert(attempt.0) {
            ledger.in_flight.push_back(attempt);
            return Claim::New;
        }
        // Retries arrive soon after the original, so search from the newest.
        if let Some(decision) = ledger.recent.iter().rfind(|decision| decision.attempt_id == attempt) {
            return Claim::Answered(*decision);
        }
        if ledger.in_flight.contains(&attempt) {
            ledger.waiters.push((attempt, waiter()));
            return Claim::InFlight;
        }
        Claim::Archived
    }

    /// Uses the lowest attempt id, from 1, that was never used.
    pub fn claim_unused(&self) -> AttemptId {
        let mut ledger = self.ledger();
        let attempt = AttemptId(ledger.used.lowest_free());
        ledger.used.insert(attempt.0);
        ledger.in_flight.push_back(attempt);
        attempt
    }

    /// Takes a claim back: the attempt was not accepted.
    pub fn unclaim(&self, attempt: AttemptId) {
        let mut ledger = self.ledger();
        ledger.used.remove(attempt.0);
        ledger.in_flight.retain(|claimed| *claimed != attempt);
        let waiters = ledger.waiters_for(attempt);
        drop(ledger);
        waiters.into_iter().for_each(|waiter| waiter(None));
    }

    /// Notes the durable answer. Answers before `archived` are in the snapshot and may be forgotten here.
    pub fn answer(&self, decision: Decision, archived: Position) {
        let mut ledger = self.ledger();
        // Answers arrive nearly in the order of the attempts, so the search ends at once.
        if let Some(index) = ledger.in_flight.iter().position(|claimed| *claimed == decision.attempt_id) {
            ledger.in_flight.remove(index);
        }
        ledger.recent.push_back(decision);
        ledger.forget(archived);
        if !ledger.waiters.is_empty() {
            let waiters = ledger.waiters_for(decision.attempt_id);
            drop(ledger);
            waiters.into_iter().for_each(|waiter| waiter(Some(decision)));
        }
    }

    /// Notes an answer that the journal holds.
    pub fn restore(&self, decision: Decision) {
        self.ledger().used.insert(decision.attempt_id.0);
        self.answer(decision, Position(0));
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.ledger.lock()
    }
}

impl Ledger {
    /// Forgets what the snapshot holds, except the newest answers; looks at old answers only when the snapshot has
    /// moved on.
    #[inline]
    fn forget(&mut self, archived: Position) {
        if archived == self.forgotten_to || self.recent.len() <= LEDGER_RECENT_ANSWERS {
            return;
        }
        while self.recent.len() > LEDGER_RECENT_ANSWERS && self.recent[0].position < archived {
            self.recent.pop_front();
        }
        self.forgotten_to = archived;
    }

    fn waiters_for(&mut self, attempt: AttemptId) -> Vec<Waiter> {
        self.waiters.extract_if(.., |(waiting, _)| *waiting == attempt).map(|(_, waiter)| waiter).collect()
    }
}

impl fmt::Debug for Player {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Player({} {:?})", self.id(), self.name().as_str())
    }
}

/// A set of ids, kept as ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdRanges(BTreeMap<u64, u64>);

impl IdRanges {
    /// From ranges `first..=last`.
    pub fn from_ranges(ranges: impl IntoIterator<Item = (u64, u64)>) -> IdRanges {
        IdRanges(ranges.into_iter().filter(|(first, last)| first <= last).collect())
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|(first, last)| (*first, *last))
    }

    /// Adds an id; false if it was there.
    pub fn insert(&mut self, id: u64) -> bool {
        let before = self.0.range_mut(..=id).next_back();
        let after_is_next = id != u64::MAX;
        match before {
            Some((_, last)) if *last >= id => return false,
            Some((_, last)) if *last + 1 == id => {
                *last = id;
                if after_is_next && let Some(end) = self.0.remove(&(id + 1)) {
                    *self.0.range_mut(..=id).next_back().expect("it was just extended").1 = end;
                }
            }
            _ => {
                let end = if after_is_next { self.0.remove(&(id + 1)) } else { None };
                self.0.insert(id, end.unwrap_or(id));
            }
        }
        true
    }

    /// The lowest id from 1 that is not there.
    pub fn lowest_free(&self) -> u64 {
        let around = self.0.range(..=1).next_back().filter(|(_, last)| **last >= 1);
        around.map_or(1, |(_, last)| last.checked_add(1).expect("nothing uses 2^64 ids"))
    }

    /// Whether an id is there.
    pub fn contains(&self, id: u64) -> bool {
        self.0.range(..=id).next_back().is_some_and(|(_, last)| *last >= id)
    }

    /// Takes an id out.
    pub fn remove(&mut self, id: u64) {
        let Some((&first, &last)) = self.0.range(..=id).next_back().filter(|(_, last)| **last >= id) else {
            return;
        };
        self.0.remove(&first);
        if first < id {
            self.0.insert(first, id - 1);
        }
        if id < last {
            self.0.insert(id + 1, last);
        }
    }
}

/// All players by name.
#[derive(Default)]
pub struct Registry {
    by_name: RwLock<HashMap<PlayerName, Player>>,
    /// By player number minus one.
    names: RwLock<Vec<Option<PlayerName>>>,
}

impl Registry {
    pub fn get(&self, name: &PlayerName) -> Option<Player> {
        self.by_name.read().get(name).cloned()
    }

    /// The player of this name; a new one is announced before anyone else can see it.
    pub fn get_or_register<E>(
        &self,
        name: &PlayerName,
        announce: impl FnOnce(&Player) -> Result<(), E>,
    ) -> Result<Player, E> {
        if let Some(player) = self.get(name) {
            return Ok(player);
        }
        let mut by_name = self.by_name.write();
        if let Some(player) = by_name.get(name) {
            return Ok(player.clone());
        }
        let id = PlayerId(u32::try_from(by_name.len() + 1).expect("four thousand million players"));
        let player = Player::new(id, name.clone(), IdRanges::default());
        announce(&player)?;
        self.note_name(&player);
        by_name.insert(name.clone(), player.clone());
        Ok(player)
    }

    /// Adds a player from the snapshot or the journal.
    pub fn restore(&self, player: Player) {
        self.note_name(&player);
        self.by_name.write().insert(player.name().clone(), player);
    }

    fn note_name(&self, player: &Player) {
        let index = player.id().0 as usize - 1;
        let mut names = self.names.write();
        if names.len() <= index {
            names.resize(index + 1, None);
        }
        names[index] = Some(player.name().clone());
    }

    /// The name of a number.
    pub fn name(&self, player: PlayerId) -> Option<PlayerName> {
        let index = (player.0 as usize).checked_sub(1)?;
        self.names.read().get(index)?.clone()
    }

    /// Players who have a number.
    pub fn len(&self) -> usize {
        self.by_name.read().len()
    }

    /// Whether no player has a number yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fakemon_model::event::Outcome;
    use fakemon_model::ids::FakemonId;
    use std::collections::BTreeSet;

    #[test]
    fn ranges_are_a_set() {
        let (mut ranges, mut set, mut seed) = (IdRanges::default(), BTreeSet::new(), 1u64);
        for step in 0..20_000 {
            seed = fakemon_model::ids::mix(seed);
            let id = if step % 50 == 0 { u64::MAX - seed % 3 } else { seed % 200 };
            if seed >> 60 < 12 {
                assert_eq!(ranges.insert(id), set.insert(id), "insert {id} at step {step}");
            } else {
                ranges.remove(id);
                set.remove(&id);
            }
            assert_eq!(ranges.contains(seed % 200), set.contains(&(seed % 200)), "at step {step}");
        }
        let ids: Vec<u64> = ranges.iter().flat_map(|(first, last)| first..=last).collect();
        assert_eq!(ids, set.into_iter().collect::<Vec<_>>());
        let pairs: Vec<_> = ranges.iter().collect();
        assert!(pairs.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "ranges touch: {pairs:?}");
    }

    #[test]
    fn an_attempt_id_is_used_once_and_keeps_its_first_answer() {
        let player = Player::new(PlayerId(1), PlayerName::new("ana").unwrap(), IdRanges::default());
        let decision = |attempt: u64| Decision {
            attempt_id: AttemptId(attempt),
            fakemon_id: FakemonId(4),
            outcome: Outcome::Dodged,
            position: Position(attempt),
        };
        let claim = |attempt| player.claim(AttemptId(attempt), || Box::new(|_| {}));
        assert!(!player.has_used(AttemptId(1)));
        assert_eq!(claim(1), Claim::New);
        assert!(player.has_used(AttemptId(1)));
        assert_eq!(claim(1), Claim::InFlight);
        assert_eq!(player.in_flight(), [AttemptId(1)]);
        assert!(player.awaits_any(&[AttemptId(0), AttemptId(1)]) && !player.awaits_any(&[AttemptId(2)]));
        player.unclaim(AttemptId(1));
        assert_eq!(claim(1), Claim::New);
        player.answer(decision(1), Position(0));
        assert!(!player.awaits_any(&[AttemptId(1)]));
        assert_eq!(claim(1), Claim::Answered(decision(1)));
        for attempt in 2..200 {
            assert_eq!(claim(attempt), Claim::New);
            player.answer(decision(attempt), Position(attempt));
        }
        assert_eq!(claim(1), Claim::Archived, "the snapshot has it, the memory needs it no longer");
        assert_eq!(claim(199), Claim::Answered(decision(199)));
    }
}
