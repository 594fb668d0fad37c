//! When attempts are due. An open loop plans each attempt whatever the server's speed; the latency of a slow moment
//! then includes all attempts that had to wait, as users would see it.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::str::FromStr;

/// The rate of attempts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Attempts per second, planned in advance.
    PerSecond(f64),
    /// As many as the connections take: the next attempt waits for an answer.
    Max,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        if text == "max" {
            return Ok(Rate::Max);
        }
        match text.replace('_', "").parse::<f64>() {
            Ok(rate) if (0.1..=1e8).contains(&rate) => Ok(Rate::PerSecond(rate)),
            _ => Err("give throws per second (0.1 to 100000000), or max".into()),
        }
    }
}

/// How planned attempts are spaced in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Spacing {
    /// Independent arrivals, as of many players
    Poisson,
    /// Equal intervals
    Even,
}

/// The plan of one thread, in nanoseconds from the start of the run.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    /// No plan: whenever an answer comes.
    Max,
    Poisson {
        rng: Box<ChaCha8Rng>,
        mean_ns: f64,
        next_ns: f64,
    },
    Even {
        interval_ns: f64,
        offset_ns: f64,
        count: u64,
    },
}

impl Plan {
    /// The plan of thread `lane` of `lanes`.
    pub(crate) fn new(rate: Rate, spacing: Spacing, seed: u64, lane: usize, lanes: usize) -> Plan {
        let Rate::PerSecond(rate) = rate else { return Plan::Max };
        let interval_ns = 1e9 * lanes as f64 / rate;
        match spacing {
            Spacing::Even => {
                Plan::Even { interval_ns, offset_ns: interval_ns * lane as f64 / lanes as f64, count: 0 }
            }
            Spacing::Poisson => {
                let mut rng = Box::new(ChaCha8Rng::seed_from_u64(seed));
                rng.set_stream(u64::MAX - lane as u64);
                let mut plan = Plan::Poisson { rng, mean_ns: interval_ns, next_ns: 0.0 };
                plan.advance();
                plan
            }
        }
    }

    /// When the next attempt is due; none if attempts wait for answers instead.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a run is shorter than 2^53 ns")]
    pub(crate) fn next_ns(&self) -> Option<u64> {
        match self {
            Plan::Max => None,
            Plan::Poisson { next_ns, .. } => Some(*next_ns as u64),
            Plan::Even { interval_ns, offset_ns, count } => Some((offset_ns + interval_ns * *count as f64) as u64),
        }
    }

    /// The next attempt was sent: plans the one after it.
    pub(crate) fn advance(&mut self) {
        match self {
            Plan::Max => {}
            Plan::Poisson { rng, mean_ns, next_ns } => {
                let uniform = rng.random::<f64>();
                *next_ns -= *mean_ns * (1.0 - uniform).ln();
            }
            Plan::Even { count, .. } => *count += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_keeps_its_rate() {
        for spacing in [Spacing::Even, Spacing::Poisson] {
            let mut planned: Vec<u64> = Vec::new();
            for lane in 0..3 {
                let mut plan = Plan::new(Rate::PerSecond(90_000.0), spacing, 1, lane, 3);
                while let Some(next @ ..1_000_000_000) = plan.next_ns() {
                    planned.push(next);
                    plan.advance();
                }
            }
            assert!(planned.len().abs_diff(90_000) < 1_200, "{spacing:?}: {}", planned.len());
        }
    }

    #[test]
    fn a_rate_is_a_number_or_max() {
        assert_eq!("max".parse(), Ok(Rate::Max));
        assert_eq!("20_000".parse(), Ok(Rate::PerSecond(20_000.0)));
        for wrong in ["0", "-1", "nan", "inf", "fast", ""] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
