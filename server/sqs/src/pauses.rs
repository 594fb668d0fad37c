//! Pauses of SQS: a queue can be purged once a minute, and the name of a deleted queue is free after a minute,
//! because clients of the old queue would use the new one. A setting for test suites shortens it. Pauses are stored,
//! and last over a restart.

use fakemon_engine::Engine;
use fakemon_model::ids::Timestamp;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::Duration;

/// Pauses of each kind, at most; beyond them, the oldest end early.
const NAMES_MAX: usize = 10_000;
/// `pause/create/NAME` → when it began, in nanoseconds since 1970 (8 bytes).
const NOTES: &str = "pause/";

/// An operation that has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Paused {
    /// Creating a queue that was deleted.
    Create,
    /// Purging a queue that was purged.
    Purge,
}

impl Paused {
    fn name(self) -> &'static str {
        match self {
            Paused::Create => "create",
            Paused::Purge => "purge",
        }
    }
}

/// A note to be written; with none it is deleted.
pub(crate) type Note = (String, Option<Vec<u8>>);

fn note((what, queue): &(Paused, String), since: Option<Timestamp>) -> Note {
    let key = format!("{NOTES}{}/{queue}", what.name());
    (key, since.map(|since| since.0.to_be_bytes().to_vec()))
}

fn read(key: &str, value: &[u8]) -> Option<((Paused, String), Timestamp)> {
    let (what, queue) = key.strip_prefix(NOTES)?.split_once('/')?;
    let what = [Paused::Create, Paused::Purge].into_iter().find(|paused| paused.name() == what)?;
    Some(((what, queue.to_owned()), Timestamp(u64::from_be_bytes(value.try_into().ok()?))))
}

/// When what was done last, by name; by the engine's time, for a pause lasts as long whatever becomes of the wall
/// clock.
#[derive(Default)]
pub struct Pauses(Mutex<HashMap<(Paused, String), Timestamp>>);

impl Pauses {
    /// Loads the stored pauses; deletes those that are over.
    pub fn load(engine: &Engine, pause: Duration) -> anyhow::Result<Pauses> {
        let (mut held, mut gone, now) = (HashMap::new(), Vec::new(), engine.now());
        engine.notes().visit(NOTES, &mut |key, value| match read(key, value) {
            Some((what, since)) if held.len() < NAMES_MAX && !is_over(since, now, pause) => {
                held.extend([(what, since)])
            }
            _ => gone.push((key.to_owned(), None)),
        })?;
        engine.notes().set(gone).map_err(anyhow::Error::msg)?;
        Ok(Pauses(Mutex::new(held)))
    }

    /// Begins a pause; returns the notes to be written.
    pub(crate) fn begin(&self, what: Paused, queue: &str, now: Timestamp, pause: Duration) -> Vec<Note> {
        let mut gone = Vec::new();
        let mut held = self.0.lock();
        if held.len() >= NAMES_MAX {
            let over = held.extract_if(|_, since| is_over(*since, now, pause));
            gone.extend(over.map(|(name, _)| note(&name, None)));
        }
        if held.len() >= NAMES_MAX
            && let Some(oldest) = held.iter().min_by_key(|(_, since)| **since).map(|(name, _)| name.clone())
        {
            held.remove(&oldest);
            gone.push(note(&oldest, None));
        }
        let name = (what, queue.to_owned());
        gone.push(note(&name, Some(now)));
        held.insert(name, now);
        gone
    }

    /// Whether the pause still lasts.
    pub(crate) fn holds(&self, what: Paused, queue: &str, now: Timestamp, pause: Duration) -> bool {
        let held = self.0.lock();
        held.get(&(what, queue.to_owned())).is_some_and(|since| !is_over(*since, now, pause))
    }

    /// Removes all.
    pub fn clear(&self) {
        self.0.lock().clear();
    }
}

fn is_over(since: Timestamp, now: Timestamp, pause: Duration) -> bool {
    u128::from(now.ns_since(since)) >= pause.as_nanos()
}
