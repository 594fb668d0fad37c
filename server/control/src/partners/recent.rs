//! Recent requests of partners: a duplicate within its time puts no second event. A request is noted after its event
//! is durable, so that a restart forgets none; only a crash in the microseconds between the two lets a partner's
//! retry put the event twice.
//!
//! ```text
//! note   partner/WEBHOOK/KEY (hexadecimal)   until when, in seconds (8) ‖ position of the event (8)
//! ```

use fakemon_engine::Engine;
use fakemon_model::ids::Position;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Requests that are remembered, of all webhooks;
const RECENT_MAX: usize = 1_000_000;
/// and of one webhook.
const RECENT_OF_ONE_MAX: usize = 250_000;
/// Expired requests dropped per claim, at most, so that no request pays for all of them.
const FORGOTTEN_MAX: usize = 1_000;
const NOTES: &str = "partner/";

/// Hash of a request's signature, or of the id of its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RequestKey(u128);

impl RequestKey {
    /// The key of one property of a request: `said`, in the role `respect`.
    pub(super) fn new(webhook: &str, respect: &str, said: &[u8]) -> RequestKey {
        let mut hasher = blake3::Hasher::new();
        hasher.update(webhook.as_bytes()).update(&[0]).update(respect.as_bytes()).update(&[0]).update(said);
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        RequestKey(u128::from_be_bytes(key))
    }
}

/// Outcome of claiming a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// The first of its kind; the caller owns it until it calls `told` or `release`.
    First,
    /// Another task is putting its event.
    UnderWay,
    /// Its event was put, at this position.
    Told(Position),
    /// Too many are remembered; there is room after this many seconds.
    Full(u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    UnderWay,
    Told(Position),
}

/// The requests that are remembered.
#[derive(Default)]
pub(crate) struct Recent(Mutex<State>);

#[derive(Default)]
struct State {
    seen: HashMap<RequestKey, Seen>,
    /// By expiry, each with its webhook.
    ends: BTreeMap<(u64, RequestKey), Arc<str>>,
    of_webhook: HashMap<Arc<str>, usize>,
    /// Notes to delete together with the next write.
    gone: Vec<String>,
}

type Note = (String, Option<Vec<u8>>);

impl Recent {
    /// Loads the stored requests.
    pub(crate) fn load(engine: &Engine) -> anyhow::Result<Recent> {
        let mut state = State::default();
        engine.notes().visit(NOTES, &mut |key, value| {
            let Some((until_s, key, webhook, position)) = read(key, value) else {
                return state.gone.push(key.to_owned());
            };
            state.remember(until_s, key, &webhook, Seen::Told(position));
        })?;
        Ok(Recent(Mutex::new(state)))
    }

    /// Removes all.
    pub(crate) fn clear(&self) {
        *self.state() = State::default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Claims a request by its key until `until_s`, in seconds since 1970.
    pub(super) fn claim(&self, webhook: &str, key: RequestKey, now_s: u64, until_s: u64) -> Claim {
        let mut state = self.state();
        state.expire(now_s);
        match state.seen.get(&key) {
            Some(Seen::UnderWay) => return Claim::UnderWay,
            Some(Seen::Told(position)) => return Claim::Told(*position),
            None => {}
        }
        let of_one = state.of_webhook.get(webhook).copied().unwrap_or_default();
        if state.seen.len() >= RECENT_MAX || of_one >= RECENT_OF_ONE_MAX {
            let next = state.ends.keys().next().map_or(now_s, |(until_s, _)| *until_s);
            return Claim::Full(next.saturating_sub(now_s).clamp(1, 60));
        }
        state.remember(until_s, key, &webhook.into(), Seen::UnderWay);
        Claim::First
    }

    /// The event of a claimed request was put; returns the notes to write.
    pub(super) fn told(&self, webhook: &str, key: RequestKey, until_s: u64, position: Position) -> Vec<Note> {
        let mut state = self.state();
        let mut notes: Vec<Note> = std::mem::take(&mut state.gone).into_iter().map(|gone| (gone, None)).collect();
        state.seen.insert(key, Seen::Told(position));
        let value = [until_s.to_be_bytes(), position.0.to_be_bytes()].concat();
        notes.push((note(webhook, key), Some(value)));
        notes
    }

    /// The event of a claimed request was not put; the partner may retry it.
    pub(super) fn release(&self, key: RequestKey, until_s: u64) {
        self.state().forget(until_s, key);
    }
}

impl State {
    fn remember(&mut self, until_s: u64, key: RequestKey, webhook: &Arc<str>, seen: Seen) {
        if self.seen.insert(key, seen).is_none() {
            *self.of_webhook.entry(webhook.clone()).or_default() += 1;
            self.ends.insert((until_s, key), webhook.clone());
        }
    }

    fn forget(&mut self, until_s: u64, key: RequestKey) -> Option<Arc<str>> {
        self.seen.remove(&key);
        let webhook = self.ends.remove(&(until_s, key))?;
        let held = self.of_webhook.get_mut(&webhook)?;
        *held -= 1;
        if *held == 0 {
            self.of_webhook.remove(&webhook);
        }
        Some(webhook)
    }

    fn expire(&mut self, now_s: u64) {
        for _ in 0..FORGOTTEN_MAX {
            let Some((until_s, key)) = self.ends.keys().next().copied().filter(|(until_s, _)| *until_s < now_s)
            else {
                return;
            };
            if let Some(webhook) = self.forget(until_s, key) {
                self.gone.push(note(&webhook, key));
            }
        }
    }
}

fn note(webhook: &str, RequestKey(key): RequestKey) -> String {
    format!("{NOTES}{webhook}/{key:032x}")
}

fn read(key: &str, value: &[u8]) -> Option<(u64, RequestKey, Arc<str>, Position)> {
    let (webhook, key) = key.strip_prefix(NOTES)?.split_once('/')?;
    let (until_s, position) = value.split_at_checked(8)?;
    let number = |bytes: &[u8]| Some(u64::from_be_bytes(bytes.try_into().ok()?));
    let key = RequestKey(u128::from_str_radix(key, 16).ok()?);
    Some((number(until_s)?, key, webhook.into(), Position(number(position)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_told_once_in_its_time() {
        let recent = Recent::default();
        let [mac, id] = ["mac", "id"].map(|respect| RequestKey::new("w", respect, b"x"));
        assert_eq!(recent.claim("w", id, 0, 600), Claim::First);
        assert_eq!(recent.claim("w", mac, 0, 600), Claim::First, "an id that looks like a signature is none");
        assert_eq!(recent.claim("w", id, 0, 600), Claim::UnderWay);
        recent.release(id, 600);
        assert_eq!(recent.claim("w", id, 1, 601), Claim::First);
        let notes = recent.told("w", id, 601, Position(7));
        assert_eq!(notes.len(), 1);
        let (key, value) = &notes[0];
        assert_eq!(read(key, value.as_ref().unwrap()), Some((601, id, "w".into(), Position(7))));
        assert_eq!(recent.claim("w", id, 601, 1_200), Claim::Told(Position(7)));
        assert_eq!(recent.claim("w", id, 602, 1_202), Claim::First);
        let notes = recent.told("w", id, 1_202, Position(8));
        assert_eq!(notes.iter().filter(|(_, value)| value.is_none()).count(), 2, "old notes go: {notes:?}");
    }

    #[test]
    fn one_partner_cannot_fill_it_for_all() {
        let recent = Recent::default();
        for number in 0..RECENT_OF_ONE_MAX {
            let key = RequestKey::new("w", "mac", &number.to_be_bytes());
            assert_eq!(recent.claim("w", key, 0, 30), Claim::First);
        }
        let one_more = RequestKey::new("w", "mac", b"more");
        assert_eq!(recent.claim("w", one_more, 10, 40), Claim::Full(20));
        assert_eq!(recent.claim("v", RequestKey::new("v", "mac", b"more"), 10, 40), Claim::First);
        assert_eq!(recent.claim("w", one_more, 31, 61), Claim::First);
    }
}
