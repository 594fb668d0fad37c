//! How often a player may throw: so many times a second, a burst more after a pause. New throws count, not those that
//! are sent again, for their answers are there already. One atomic number per player,
//! shared by all their connections on all threads (the generic cell rate algorithm).

use fakemon_engine::ids::Timestamp;
use fakemon_engine::model::PlayerName;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A player's share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// In the long run.
    pub attempts_per_s: f64,
    /// At once after a pause; at least 1.
    pub burst: u32,
}

/// The allowances of all players who are connected, or were a moment ago.
pub(crate) struct Rates {
    step_ns: u64,
    burst_ns: u64,
    players: Mutex<Players>,
}

#[derive(Default)]
struct Players {
    by_name: HashMap<PlayerName, Arc<Allowance>>,
    sweep_at: usize,
}

/// One player's.
#[derive(Default)]
pub(crate) struct Allowance {
    /// When all that was thrown so far would have been thrown at the steady rate.
    earned_until_ns: AtomicU64,
}

impl Rates {
    pub(crate) fn new(rate: Rate) -> Rates {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let step_ns = (1e9 / rate.attempts_per_s).clamp(1.0, 3.6e12) as u64;
        Rates { step_ns, burst_ns: step_ns * u64::from(rate.burst.max(1)), players: Mutex::default() }
    }

    /// The allowance of a player; the same for all their connections. Those that are full again and belong to nobody
    /// connected are forgotten.
    pub(crate) fn of(&self, name: &PlayerName, now: Timestamp) -> Arc<Allowance> {
        let mut players = self.players.lock().unwrap_or_else(PoisonError::into_inner);
        if players.by_name.len() > players.sweep_at {
            players.by_name.retain(|_, allowance| {
                Arc::strong_count(allowance) > 1 || allowance.earned_until_ns.load(Ordering::Relaxed) > now.0
            });
            players.sweep_at = 2 * players.by_name.len() + 1024;
        }
        players.by_name.entry(name.clone()).or_default().clone()
    }

    /// Takes one throw off the allowance; or says in how many milliseconds there is one.
    pub(crate) fn take(&self, allowance: &Allowance, now: Timestamp) -> Result<(), u32> {
        let mut wait_ns = 0;
        let taken = allowance.earned_until_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |earned_until_ns| {
            let after = earned_until_ns.max(now.0) + self.step_ns;
            wait_ns = after.saturating_sub(now.0 + self.burst_ns);
            (wait_ns == 0).then_some(after)
        });
        taken.map(|_| ()).map_err(|_| u32::try_from(wait_ns.div_ceil(1_000_000)).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_steady_rate() {
        let rates = Rates::new(Rate { attempts_per_s: 10.0, burst: 3 });
        let name = PlayerName::new("ana").unwrap();
        let at = |ms: u64| Timestamp(1_000_000_000_000 + ms * 1_000_000);
        let (one, other) = (rates.of(&name, at(0)), rates.of(&name, at(0)));
        assert_eq!([0, 0, 0].map(|ms| rates.take(&one, at(ms))), [Ok(()); 3]);
        assert_eq!(rates.take(&other, at(0)), Err(100), "the other connection is the same player");
        assert_eq!(rates.take(&one, at(99)), Err(1));
        assert_eq!(rates.take(&one, at(100)), Ok(()));
        assert_eq!(rates.take(&one, at(100)), Err(100));
        assert_eq!([60_000; 3].map(|ms| rates.take(&one, at(ms))), [Ok(()); 3]);
        assert!(rates.take(&one, at(60_000)).is_err());
    }

    #[test]
    fn a_reconnect_refills_nothing_and_strangers_are_forgotten() {
        let rates = Rates::new(Rate { attempts_per_s: 1.0, burst: 1 });
        let now = Timestamp(1_000_000_000);
        let ana = PlayerName::new("ana").unwrap();
        rates.take(&rates.of(&ana, now), now).unwrap();
        for stranger in 0..10_000 {
            rates.of(&PlayerName::new(&stranger.to_string()).unwrap(), now);
        }
        assert!(rates.players.lock().unwrap().by_name.len() < 2_100);
        assert!(rates.take(&rates.of(&ana, now), now).is_err());
    }
}
