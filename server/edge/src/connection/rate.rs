//! How often a player may try: so many times a second, a burst more after a pause. New attempts count, not those that
//! are sent again, for their answers are there already. One atomic number per player, shared by all their connections
//! on all threads (the generic cell rate algorithm). Time is the monotonic clock's: the engine's runs at half speed
//! for long after a wall clock was ahead, and with it the rate would.

use fakemon_model::event::PlayerName;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A rate limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// The steady rate, in attempts per second.
    pub attempts_per_s: f64,
    /// Attempts that may come together after a pause; at least 1.
    pub burst: u32,
}

/// The allowances of players who are connected, or whose allowance is not full again yet.
pub(crate) struct Rates {
    /// From when on time is counted.
    since: Instant,
    step_ns: u64,
    burst_ns: u64,
    players: Mutex<Players>,
}

#[derive(Default)]
struct Players {
    by_name: HashMap<PlayerName, Arc<Allowance>>,
    sweep_at: usize,
}

/// One player's allowance.
#[derive(Default)]
pub(crate) struct Allowance {
    /// When the attempts so far would have been made at the steady rate; nanoseconds since 1970. Relaxed: it guards
    /// no other data.
    earned_until_ns: AtomicU64,
}

impl Rates {
    pub(crate) fn new(rate: Rate) -> Rates {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let step_ns = (1e9 / rate.attempts_per_s).clamp(1.0, 3.6e12) as u64;
        Rates {
            since: Instant::now(),
            step_ns,
            burst_ns: step_ns * u64::from(rate.burst.max(1)),
            players: Mutex::default(),
        }
    }

    /// The allowance of a player; the same for all their connections. Those that are full again and belong to nobody
    /// connected are forgotten.
    pub(crate) fn of(&self, name: &PlayerName) -> Arc<Allowance> {
        self.of_at(name, self.now_ns())
    }

    fn of_at(&self, name: &PlayerName, now_ns: u64) -> Arc<Allowance> {
        let mut players = self.players.lock();
        if players.by_name.len() > players.sweep_at {
            players.by_name.retain(|_, allowance| {
                Arc::strong_count(allowance) > 1 || allowance.earned_until_ns.load(Ordering::Relaxed) > now_ns
            });
            players.sweep_at = 2 * players.by_name.len() + 1024;
        }
        players.by_name.entry(name.clone()).or_default().clone()
    }

    /// Takes one attempt off the allowance; or says in how many milliseconds there is one.
    pub(crate) fn take(&self, allowance: &Allowance) -> Result<(), u32> {
        self.take_at(allowance, self.now_ns())
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn take_at(&self, allowance: &Allowance, now_ns: u64) -> Result<(), u32> {
        let mut wait_ns = 0;
        let taken = allowance.earned_until_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |earned_until_ns| {
            let after = earned_until_ns.max(now_ns) + self.step_ns;
            wait_ns = after.saturating_sub(now_ns + self.burst_ns);
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
        let at = |ms: u64| ms * 1_000_000;
        let (one, other) = (rates.of(&name), rates.of(&name));
        assert_eq!([0, 0, 0].map(|ms| rates.take_at(&one, at(ms))), [Ok(()); 3]);
        assert_eq!(rates.take_at(&other, at(0)), Err(100), "the other connection is the same player");
        assert_eq!(rates.take_at(&one, at(99)), Err(1));
        assert_eq!(rates.take_at(&one, at(100)), Ok(()));
        assert_eq!(rates.take_at(&one, at(100)), Err(100));
        assert_eq!([60_000; 3].map(|ms| rates.take_at(&one, at(ms))), [Ok(()); 3]);
        assert!(rates.take_at(&one, at(60_000)).is_err());
    }

    #[test]
    fn a_reconnect_refills_nothing_and_strangers_are_forgotten() {
        let rates = Rates::new(Rate { attempts_per_s: 1.0, burst: 1 });
        let now = 1_000_000_000;
        let ana = PlayerName::new("ana").unwrap();
        rates.take_at(&rates.of_at(&ana, now), now).unwrap();
        for stranger in 0..10_000 {
            rates.of_at(&PlayerName::new(&stranger.to_string()).unwrap(), now);
        }
        assert!(rates.players.lock().by_name.len() < 2_100);
        assert!(rates.take_at(&rates.of_at(&ana, now), now).is_err());
    }
}
