//! Many runs, for a time or a number of seeds, on all processors, and a table of what came of them.

use crate::memory_log::{Fault, FaultCounts};
use crate::mistakes::Mistake;
use crate::model::{Claim, Violation};
use crate::run::{Plan, run};
use crate::scene::Scene;
use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Failures that are kept; a campaign stops after as many.
const FAILURES_MAX: usize = 10;

/// What came of many runs.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Runs.
    pub runs: u64,
    /// Attempts that were sent for the first time.
    pub attempts: u64,
    /// Answers that left a node.
    pub answers: u64,
    /// Steps of all threads.
    pub steps: u64,
    /// Starts of a node.
    pub lives: u64,
    /// Faults that were injected.
    pub faults: FaultCounts,
    /// Processor time of the runs, in seconds.
    pub seconds: f64,
    /// Runs in which a claim did not hold.
    pub failures: Vec<(Plan, Violation)>,
}

impl Figures {
    fn add(&mut self, plan: Plan) -> bool {
        let begun = processor_seconds();
        let outcome = run(plan);
        self.seconds += processor_seconds() - begun;
        self.runs += 1;
        self.attempts += outcome.attempts;
        self.answers += outcome.answers;
        self.steps += outcome.steps;
        self.lives += outcome.lives;
        self.faults.iter_mut().zip(outcome.faults).for_each(|(sum, count)| *sum += count);
        self.failures.extend(outcome.violations.into_iter().next().map(|violation| (plan, violation)));
        self.failures.len() < FAILURES_MAX
    }

    fn join(&mut self, other: Figures) {
        let Figures { runs, attempts, answers, steps, lives, faults, seconds, failures } = other;
        self.runs += runs;
        self.attempts += attempts;
        self.answers += answers;
        self.steps += steps;
        self.lives += lives;
        self.faults.iter_mut().zip(faults).for_each(|(sum, count)| *sum += count);
        self.seconds += seconds;
        self.failures.extend(failures);
    }

    /// Attempts a second on one processor.
    pub fn rate(&self) -> f64 {
        self.attempts as f64 / self.seconds.max(1e-9)
    }
}

/// How long this thread has had a processor.
fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Runs seeds from `first` on, `seeds` of them or as many as begin within `time`, on this many threads.
pub fn runs(first: u64, seeds: u64, time: Duration, scene: Scene, threads: usize) -> Figures {
    let (next, go_on, begun) = (AtomicU64::new(first), AtomicBool::new(true), Instant::now());
    let sum = Mutex::new(Figures::default());
    let work = || {
        let mut figures = Figures::default();
        while go_on.load(Ordering::Relaxed) && begun.elapsed() < time {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed - first >= seeds {
                break;
            }
            let plan = Plan { seed, scene, mistake: None };
            if !figures.add(plan) {
                go_on.store(false, Ordering::Relaxed);
            }
        }
        sum.lock().join(figures);
    };
    std::thread::scope(|scope| (0..threads.max(1)).for_each(|_| drop(scope.spawn(work))));
    sum.into_inner()
}

/// How a mistake was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The run that found it.
    pub plan: Plan,
    /// What did not hold.
    pub violation: Violation,
    /// How many seeds were run, this one included.
    pub seeds: u64,
    /// How long that took.
    pub took: Duration,
}

/// Makes a mistake with one seed after the other, from `first` on, until a check finds it.
pub fn hunt(mistake: Mistake, first: u64, seeds: u64) -> Option<Found> {
    let begun = Instant::now();
    (first..first + seeds).zip(1..).find_map(|(seed, count)| {
        let plan = Plan { seed, scene: mistake.scene(), mistake: Some(mistake) };
        let violation = run(plan).violations.into_iter().next()?;
        Some(Found { plan, violation, seeds: count, took: begun.elapsed() })
    })
}

/// The tables of a campaign, as text.
pub fn report(small: &Figures, large: &Figures, queues: &Figures, mistakes: &[(Mistake, Option<Found>)]) -> String {
    let (mut text, mut all) = (String::new(), small.clone());
    all.join(large.clone());
    all.join(queues.clone());
    let mut claims = table(&["claim", "how it is tested", "runs", "failures", "first failure"]);
    for claim in Claim::ALL {
        let failed: Vec<_> = all.failures.iter().filter(|(_, violation)| violation.claim == claim).collect();
        let first = failed.first().map_or(String::new(), |(plan, violation)| format!("`{plan}`: {}", violation.what));
        let (says, how) = claim.says();
        let runs = if claim.is_of_queues() { queues.runs } else { small.runs + large.runs };
        let (runs, failures) = (runs.to_string(), failed.len().to_string());
        claims.add_row([says, how, &runs, &failures, &first]);
    }
    let mut controls = table(&["mistake on purpose", "found after seeds", "seconds", "by the claim", "again"]);
    for (mistake, found) in mistakes {
        let row = match found {
            Some(Found { plan, violation, seeds, took }) => [
                mistake.to_string(),
                seeds.to_string(),
                format!("{:.2}", took.as_secs_f64()),
                violation.claim.says().0.to_owned(),
                format!("`{plan}`"),
            ],
            None => [mistake.to_string(), "not found".into(), String::new(), String::new(), String::new()],
        };
        controls.add_row(row);
    }
    let mut faults = table(&["fault", "injected"]);
    for fault in Fault::ALL {
        faults.add_row([fault.name(), &all.faults[fault as usize].to_string()]);
    }
    let figures = |name: &str, figures: &Figures| {
        format!(
            "{name}: {} runs, {} lives, {} attempts, {} answers, {} steps; {:.0} attempts a second of processor time\n",
            figures.runs,
            figures.lives,
            figures.attempts,
            figures.answers,
            figures.steps,
            figures.rate()
        )
    };
    let (small, large) = (figures("small runs", small), figures("large runs", large));
    let queues = format!("queues: {} runs, {} messages, {} answers\n", queues.runs, queues.attempts, queues.answers);
    write!(text, "{claims}\n\n{controls}\n\n{faults}\n\n{small}{large}{queues}").expect("text grows");
    text
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(header);
    table
}
