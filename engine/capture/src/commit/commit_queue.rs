//! Where turns wait for the journal, in the order in which they were decided.
//!
//! ```text
//! reserve ──► Place ──► decide: the state changes ──► hand over ──► the queue ──► the committer
//!    │                  nothing waits from here to there
//!    └─ full: nothing was decided yet
//! ```
//!
//! A place is reserved before anything is decided, and given back if nothing was. The holder of a place can always
//! hand over its turn at once: there are as many places as the queue has room for. So no task sleeps on a decision
//! while another task, which decided later, overtakes it.

use crate::decision::turn::Turn;
use crossbeam::queue::ArrayQueue;
use fakemon_fbs::journal::Opened;
use fakemon_model::ids::{PlayerId, SpeciesId};
use fakemon_model::limits::{JOURNAL_NAMES, JOURNAL_TURNS};
use fakemon_sync::mailbox::Mailbox;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Facts that come from no shard.
pub enum Name {
    Player(PlayerId, String),
    Species(SpeciesId, String),
    Opened(Opened),
}

/// Where work for the journal waits.
pub struct CommitQueue {
    turns: Mailbox<Turn>,
    /// Places that are not reserved: the room in the queue, less what is reserved.
    free: AtomicUsize,
    /// All places: as many turns as the queue has room for.
    places: usize,
    names: ArrayQueue<Name>,
    stop: AtomicBool,
    closed: AtomicBool,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// The queue is full: try again later.
    Full,
    /// The journal takes no more turns, ever.
    Closed,
}

/// The right to hand over one turn at once. Given back when dropped.
#[must_use = "a place that nobody uses is one less for all"]
pub struct Place<'d>(&'d CommitQueue);

impl Place<'_> {
    /// Puts the turn behind all that were handed over before.
    pub fn hand_over(self, turn: Turn) {
        let Place(desk) = self;
        std::mem::forget(self); // the committer frees the place when it takes the turn
        let pushed = desk.turns.push(turn);
        assert!(pushed.is_ok(), "there are no more places than the queue has room for");
        desk.turns.ring();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // The half-decided turn is lost and is not in the journal, so nothing may be written that could depend on it.
        if std::thread::panicking() {
            self.0.close();
        }
        self.0.free.fetch_add(1, Ordering::Release);
    }
}

impl Default for CommitQueue {
    fn default() -> CommitQueue {
        CommitQueue::new()
    }
}

impl CommitQueue {
    /// An empty desk.
    pub fn new() -> CommitQueue {
        CommitQueue::with_places(JOURNAL_TURNS, JOURNAL_NAMES)
    }

    /// An empty desk for at most `places` turns and `names` names.
    pub fn with_places(places: usize, names: usize) -> CommitQueue {
        CommitQueue {
            turns: Mailbox::for_thread(places),
            free: AtomicUsize::new(places),
            places,
            names: ArrayQueue::new(names),
            stop: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    /// Reserves a place for a turn that is not decided yet.
    ///
    /// # Errors
    /// When the queue is full, or the journal takes no more turns.
    pub fn reserve(&self) -> Result<Place<'_>, NoPlace> {
        // A place that is given just before `close` does no harm: its turn is never written, so never acknowledged.
        if self.closed.load(Ordering::Acquire) {
            return Err(NoPlace::Closed);
        }
        // Acquire pairs with the Release in `take`: a task that gets a freed place also sees the queue without the
        // turn that was taken.
        let reserved = self.free.fetch_update(Ordering::Acquire, Ordering::Relaxed, |free| free.checked_sub(1));
        reserved.map(|_| Place(self)).map_err(|_| NoPlace::Full)
    }

    /// Announces a name: it is written before every turn that is handed over later. False: the queue of names is
    /// full.
    pub fn announce(&self, name: Name) -> bool {
        let accepted = self.names.push(name).is_ok();
        self.turns.ring();
        accepted
    }

    /// Takes up to `max` turns in the order in which they were handed over; returns how many.
    pub fn take(&self, max: usize, turns: &mut Vec<Turn>) -> usize {
        let taken = self.turns.take(max, turns);
        let free = self.free.fetch_add(taken, Ordering::Release);
        assert!(free + taken <= self.places, "a place is given back once");
        taken
    }

    /// Takes every name that was announced before this call. Names that arrive meanwhile belong to no turn that was
    /// taken.
    pub fn take_names(&self) -> impl Iterator<Item = Name> {
        std::iter::from_fn(|| self.names.pop()).take(self.names.capacity())
    }

    /// Waits until a turn or a name is queued, or the desk is stopped; for the committer.
    pub fn wait(&self) {
        self.turns.wait(|| !self.names.is_empty() || self.stop.load(Ordering::SeqCst));
    }

    /// How many turns wait.
    pub fn depth(&self) -> usize {
        self.turns.len()
    }

    /// Stops the desk once the last turn was handed over: the committer writes what waits, then ends.
    pub fn stop(&self) {
        // Stored before the ring: the committer either sees the flag in its second look, or is woken.
        self.stop.store(true, Ordering::SeqCst);
        self.turns.ring();
    }

    /// Whether the desk was stopped.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Closes the desk: from now on no place is given. Turns that were handed over and not written are never
    /// acknowledged.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::population::StateHash;
    use fakemon_fbs::journal::SectionDraft;

    fn turn() -> Turn {
        Turn::of_names(SectionDraft::default(), StateHash::default())
    }

    #[test]
    fn a_place_is_there_for_a_turn_or_comes_back() {
        let desk = CommitQueue::with_places(2, 1);
        let (first, second) = (desk.reserve().ok().unwrap(), desk.reserve().ok().unwrap());
        assert_eq!(desk.reserve().err(), Some(NoPlace::Full));
        drop(first);
        desk.reserve().ok().unwrap().hand_over(turn());
        assert_eq!(desk.reserve().err(), Some(NoPlace::Full), "one is promised, one is taken");
        second.hand_over(turn());
        assert_eq!((desk.depth(), desk.take(9, &mut Vec::new())), (2, 2));
        assert!(desk.reserve().is_ok());
        desk.close();
        assert_eq!(desk.reserve().err(), Some(NoPlace::Closed));
    }

    #[test]
    fn who_panics_with_a_place_closes_the_desk() {
        let desk = CommitQueue::new();
        let panic: Result<(), String> = fakemon_sync::failure::caught(|| {
            let _place = desk.reserve().ok().unwrap();
            panic!("half decided");
        });
        assert_eq!((panic, desk.reserve().err()), (Err("half decided".to_owned()), Some(NoPlace::Closed)));
    }

    #[test]
    fn whoever_holds_a_place_finds_room_however_many_come_at_once() {
        const THREADS: usize = 4;
        const TRIES: usize = 20_000;
        let (desk, ended, handed_over) = (CommitQueue::with_places(3, 1), AtomicUsize::new(0), AtomicUsize::new(0));
        let mut taken = 0;
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for number in 0..TRIES {
                        match desk.reserve() {
                            Ok(place) if number % 7 == 3 => drop(place),
                            Ok(place) => {
                                place.hand_over(turn());
                                handed_over.fetch_add(1, Ordering::SeqCst);
                            }
                            Err(_) => std::thread::yield_now(),
                        }
                    }
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
            while ended.load(Ordering::SeqCst) < THREADS {
                taken += desk.take(2, &mut Vec::new());
            }
        });
        taken += desk.take(9, &mut Vec::new());
        assert_eq!((taken, desk.free.load(Ordering::SeqCst)), (handed_over.into_inner(), 3));
    }
}
