//! Counts of one thread, and the sum over threads.

use super::messages::{Request, Verdict};
use fakemon_model::event::Outcome;
use fakemon_workload::{Nth, attempts::Contender};
use hdrhistogram::Histogram;

/// A minute in nanoseconds: slower answers count as this.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Attempts kept per thread, to be retried after the run.
const SAMPLES_MAX: usize = 128;
/// One answer of this many is kept. A prime, so that it does not fall into step with connections or batches.
const SAMPLE_EVERY: u64 = 997;
/// Errors that are printed, at most.
const TROUBLES_MAX: usize = 10;

/// A decided attempt, to be retried at the end: the answer must be the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) contender: Contender,
    pub(crate) request: Request,
    pub(crate) verdict: Verdict,
}

/// Counts and latencies.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Attempts sent.
    pub(crate) sent: u64,
    /// Decided attempts by outcome, in the order of `Outcome::ALL`.
    pub(crate) outcomes: [u64; 6],
    /// Attempts that were throttled.
    pub(crate) throttled: u64,
    /// Retried attempts that got the first answer again.
    pub(crate) repeated: u64,
    /// Answers within the measured part of the run, throttled ones apart.
    pub(crate) measured: u64,
    /// Attempts without an answer.
    pub(crate) unanswered: u64,
    /// Connections that broke.
    pub(crate) broken: u64,
    /// From the planned send time to the answer.
    pub(crate) latency_ns: Histogram<u64>,
    /// From the planned send time to the actual one: delay of the generator itself.
    pub(crate) lag_ns: Histogram<u64>,
    pub(crate) samples: Vec<Sample>,
    /// Captures, by player.
    pub(crate) wins: Vec<(Contender, Nth)>,
    pub(crate) troubles: Vec<String>,
    answered: u64,
}

impl Tally {
    pub(crate) fn new() -> Tally {
        let histogram = || Histogram::new_with_bounds(1_000, LATENCY_NS_MAX, 3).expect("valid bounds");
        Tally {
            sent: 0,
            outcomes: [0; 6],
            throttled: 0,
            repeated: 0,
            measured: 0,
            unanswered: 0,
            broken: 0,
            latency_ns: histogram(),
            lag_ns: histogram(),
            samples: Vec::new(),
            wins: Vec::new(),
            troubles: Vec::new(),
            answered: 0,
        }
    }

    /// Counts the first answer to an attempt.
    #[inline]
    pub(crate) fn answer(&mut self, contender: Contender, nth: Nth, request: Request, verdict: Verdict) {
        let Verdict::Decided { outcome, .. } = verdict else {
            self.throttled += 1;
            return;
        };
        self.outcomes[outcome as usize] += 1;
        self.answered += 1;
        if outcome == Outcome::Captured {
            self.wins.push((contender, nth));
        }
        if self.answered.is_multiple_of(SAMPLE_EVERY) {
            let sample = Sample { contender, request, verdict };
            match self.samples.len() {
                ..SAMPLES_MAX => self.samples.push(sample),
                _ => self.samples[(self.answered / SAMPLE_EVERY) as usize % SAMPLES_MAX] = sample,
            }
        }
    }

    /// Records an error.
    pub(crate) fn trouble(&mut self, what: String) {
        if self.troubles.len() < TROUBLES_MAX && !self.troubles.contains(&what) {
            self.troubles.push(what);
        }
    }

    /// The number of decided attempts.
    pub(crate) fn decided(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// Adds the counts of another thread.
    pub(crate) fn add(&mut self, other: Tally) {
        self.sent += other.sent;
        for (sum, count) in self.outcomes.iter_mut().zip(other.outcomes) {
            *sum += count;
        }
        self.throttled += other.throttled;
        self.repeated += other.repeated;
        self.measured += other.measured;
        self.unanswered += other.unanswered;
        self.broken += other.broken;
        self.latency_ns.add(&other.latency_ns).expect("the same bounds");
        self.lag_ns.add(&other.lag_ns).expect("the same bounds");
        self.samples.extend(other.samples);
        self.wins.extend(other.wins);
        other.troubles.into_iter().for_each(|trouble| self.trouble(trouble));
        self.answered += other.answered;
    }
}
