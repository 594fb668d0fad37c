//! Whether threads move. A thread says when it begins a piece of work and when it rests; a watcher looks now and
//! then, and finds the one that has been at the same piece for many looks. No thread is woken for it, and no clock is
//! read: a process that was stopped and goes on has not been looked at meanwhile.

use parking_lot::{Mutex, MutexGuard};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    /// The pulse of this thread, if it has one.
    static OWN: RefCell<Option<Arc<Pulse>>> = const { RefCell::new(None) };
}

/// This thread begins a piece of work, or another one: it is to move on within seconds.
#[inline]
pub fn work() {
    step(|beats| (beats + 2) | 1);
}

/// This thread waits for work.
#[inline]
pub fn rest() {
    step(|beats| (beats + 2) & !1);
}

/// A long piece of work goes on; nothing for a thread that rests.
#[inline]
pub fn go_on() {
    step(|beats| beats + 2);
}

fn step(next: impl Fn(u64) -> u64) {
    OWN.with_borrow(|own| {
        if let Some(pulse) = own {
            // Only this thread writes it, so a load and a store lose nothing and cost no locked instruction.
            pulse.beats.store(next(pulse.beats.load(Ordering::Relaxed)), Ordering::Relaxed);
        }
    });
}

#[derive(Debug)]
struct Pulse {
    thread: String,
    /// Odd while the thread works. A thread that never says so is at rest.
    beats: AtomicU64,
}

/// The threads that run, by name.
#[derive(Debug, Default)]
pub struct Pulses(Mutex<Vec<Arc<Pulse>>>);

impl Pulses {
    fn held(&self) -> MutexGuard<'_, Vec<Arc<Pulse>>> {
        self.0.lock()
    }

    /// Gives the calling thread its pulse, until the guard is dropped on the same thread.
    pub(crate) fn begin(&self, thread: &str) -> Beating<'_> {
        let pulse = Arc::new(Pulse { thread: thread.to_owned(), beats: AtomicU64::new(0) });
        self.held().push(pulse.clone());
        OWN.set(Some(pulse.clone()));
        Beating { pulses: self, pulse }
    }

    /// The threads that have not ended.
    pub fn threads(&self) -> Vec<String> {
        self.held().iter().map(|pulse| pulse.thread.clone()).collect()
    }
}

/// A thread that runs.
pub(crate) struct Beating<'a> {
    pulses: &'a Pulses,
    pulse: Arc<Pulse>,
}

impl Drop for Beating<'_> {
    fn drop(&mut self) {
        OWN.set(None);
        self.pulses.held().retain(|pulse| !Arc::ptr_eq(pulse, &self.pulse));
    }
}

/// What a watcher has seen of threads.
#[derive(Debug, Default)]
pub struct Watch(Vec<LastLook>);

#[derive(Debug)]
struct LastLook {
    pulse: Arc<Pulse>,
    beats: u64,
    /// Looks that found it at the same piece of work.
    looks: u32,
}

impl Watch {
    /// Looks at all threads again. Between two looks lies the same time; how long is the watcher's affair.
    pub fn look(&mut self, pulses: &Pulses) {
        let before = std::mem::take(&mut self.0);
        for pulse in pulses.held().iter() {
            let beats = pulse.beats.load(Ordering::Relaxed);
            let same = before.iter().find(|seen| Arc::ptr_eq(&seen.pulse, pulse) && seen.beats == beats);
            let looks = same.filter(|_| beats % 2 == 1).map_or(0, |seen| seen.looks.saturating_add(1));
            self.0.push(LastLook { pulse: pulse.clone(), beats, looks });
        }
    }

    /// The threads that were at the same piece of work for at least `looks` looks.
    pub fn still_for(&self, looks: u32) -> Vec<String> {
        let still = self.0.iter().filter(|seen| seen.looks >= looks);
        still.map(|seen| seen.pulse.thread.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_works_and_does_not_move_is_found() {
        let (pulses, mut watch) = (Pulses::default(), Watch::default());
        let beating = pulses.begin("worker");
        let after = |watch: &mut Watch, act: fn()| {
            act();
            watch.look(&pulses);
            watch.look(&pulses);
            watch.still_for(1)
        };
        assert!(after(&mut watch, || {}).is_empty(), "it has not begun");
        assert_eq!(after(&mut watch, work), ["worker"]);
        assert_eq!(after(&mut watch, || {}), ["worker"]);
        assert_eq!(watch.still_for(3), ["worker"]);
        assert!(watch.still_for(4).is_empty());
        go_on();
        watch.look(&pulses);
        assert!(watch.still_for(1).is_empty(), "it went on");
        assert!(after(&mut watch, rest).is_empty());
        assert!(after(&mut watch, go_on).is_empty(), "it rests still");
        assert_eq!(pulses.threads(), ["worker"]);
        drop(beating);
        work(); // without a pulse, nothing
        watch.look(&pulses);
        assert!(pulses.threads().is_empty() && watch.still_for(0).is_empty());
    }
}
