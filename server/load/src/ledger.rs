//! The answers about each fakémon, checked for contradictions. Positions make it cheap: a fakémon is captured at one
//! position of the journal, and every attempt that came too late has a later one.

use fakemon_model::event::Outcome;
use fakemon_model::ids::Position;
use fakemon_workload::{Nth, World};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Contradictions that are printed; more are only counted.
const TOLD_MAX: usize = 10;

/// The answers about one fakémon; 0 means none. Relaxed: compared only after all threads were joined.
#[derive(Debug, Default)]
struct Entry {
    /// The position of its capture.
    captured_at: AtomicU64,
    /// The earliest position with the answer `already_captured`, counted from the end of the journal, so that 0 means
    /// none.
    lost_at_from_end: AtomicU64,
}

/// All fakémon of a run.
#[derive(Debug)]
pub(crate) struct Ledger {
    world: World,
    entries: Box<[Entry]>,
    wrong: AtomicU64,
    told: Mutex<Vec<String>>,
}

impl Ledger {
    /// A ledger with room for `count` fakémon.
    pub(crate) fn new(world: World, fakemon: u32) -> Ledger {
        Ledger {
            world,
            entries: (0..fakemon).map(|_| Entry::default()).collect(),
            wrong: AtomicU64::new(0),
            told: Mutex::new(Vec::new()),
        }
    }

    /// The world of the run.
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// Records an answer about the nth.
    #[inline]
    pub(crate) fn record(&self, nth: Nth, outcome: Outcome, position: Position) {
        let Some(entry) = self.entries.get(nth.0 as usize) else {
            return;
        };
        match outcome {
            Outcome::Captured => {
                let first = entry.captured_at.compare_exchange(0, position.0, Relaxed, Relaxed);
                if let Err(first) = first
                    && first != position.0
                {
                    let id = self.world.id(nth);
                    self.contradiction(format!("fakémon {id} was captured twice: at {first} and at {position}"));
                }
            }
            Outcome::AlreadyCaptured => {
                // Written only if it changes: the cache line is shared with all threads that race for this fakémon.
                let from_end = u64::MAX - position.0;
                if entry.lost_at_from_end.load(Relaxed) < from_end {
                    entry.lost_at_from_end.fetch_max(from_end, Relaxed);
                }
            }
            Outcome::Vanished | Outcome::UnknownFakemon => {
                let id = self.world.id(nth);
                self.contradiction(format!("fakémon {id} is {}, but was put into the world", outcome.name()));
            }
            Outcome::Dodged | Outcome::OutOfReach => {}
        }
    }

    /// Records a contradiction.
    pub(crate) fn contradiction(&self, what: String) {
        self.wrong.fetch_add(1, Relaxed);
        let mut told = self.told.lock();
        if told.len() < TOLD_MAX {
            told.push(what);
        }
    }

    /// The number of captured fakémon.
    pub(crate) fn captured(&self) -> u64 {
        let caught = self.entries.iter().filter(|entry| entry.captured_at.load(Relaxed) != 0);
        caught.count() as u64
    }

    /// Checks each fakémon once all answers are there. A fakémon that others came too late for must have a capture,
    /// unless unanswered attempts are left: one of them may be it.
    pub(crate) fn check(&self, unanswered: u64) {
        for (nth, entry) in self.entries.iter().enumerate() {
            let captured = entry.captured_at.load(Relaxed);
            let lost = u64::MAX - entry.lost_at_from_end.load(Relaxed);
            if lost == u64::MAX {
                continue;
            }
            let id = self.world.id(Nth(u32::try_from(nth).expect("made from a u32")));
            if captured == 0 && unanswered == 0 {
                self.contradiction(format!("fakémon {id} was called already captured at {lost}, but nobody has it"));
            } else if lost < captured {
                self.contradiction(format!(
                    "fakémon {id} was called already captured at {lost}, before its capture at {captured}"
                ));
            }
        }
    }

    /// The number of contradictions, and the first of them as text.
    pub(crate) fn contradictions(&self) -> (u64, Vec<String>) {
        let told = self.told.lock().clone();
        (self.wrong.load(Relaxed), told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fakemon_model::ids::FakemonId;
    use fakemon_workload::Scenario;

    fn verdict(answers: &[(u32, Outcome, u64)], unanswered: u64) -> Vec<String> {
        let ledger = Ledger::new(World::new(1, Scenario::Hot, FakemonId(100)), 10);
        for (nth, outcome, position) in answers {
            ledger.record(Nth(*nth), *outcome, Position(*position));
        }
        ledger.check(unanswered);
        ledger.contradictions().1
    }

    #[test]
    fn one_winner_and_later_losers_agree() {
        let fine = [
            (0, Outcome::AlreadyCaptured, 9),
            (0, Outcome::Captured, 5),
            (0, Outcome::Captured, 5),
            (0, Outcome::Dodged, 3),
            (1, Outcome::Captured, 6),
        ];
        assert_eq!(verdict(&fine, 0), Vec::<String>::new());
    }

    #[test]
    fn each_contradiction_is_found() {
        let twice = [(1, Outcome::Captured, 5), (1, Outcome::Captured, 7)];
        assert!(verdict(&twice, 0)[0].contains("fakémon 101 was captured twice: at 5 and at 7"));
        let nobody = [(2, Outcome::AlreadyCaptured, 7)];
        assert!(verdict(&nobody, 0)[0].contains("nobody has it"));
        assert!(verdict(&nobody, 1).is_empty());
        let early = [(3, Outcome::AlreadyCaptured, 7), (3, Outcome::Captured, 8)];
        assert!(verdict(&early, 1)[0].contains("before its capture"));
        assert!(verdict(&[(4, Outcome::UnknownFakemon, 7)], 0)[0].contains("unknown_fakemon"));
    }
}
