//! The short form of a campaign, and its negative controls.

use crate::campaign::{hunt, runs};
use crate::mistakes::Mistake;
use crate::run::{Plan, run};
use crate::scene::Scene;
use std::time::Duration;

/// Seeds of the short form, and the time in which as many of them are run as fit.
const SEEDS: u64 = 2_000;
const TIME: Duration = Duration::from_secs(40);
/// Seeds within which each mistake is found.
const MISTAKE_SEEDS: u64 = 100;

#[test]
fn every_claim_holds_in_every_run() {
    let figures = runs(1, SEEDS, TIME, Scene::Small, 2);
    let failures: Vec<_> = figures.failures.iter().map(|(plan, failed)| format!("{plan}: {failed:?}")).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let injected = |count: &&u64| **count == 0;
    assert_eq!(figures.faults.iter().filter(injected).count(), 0, "a fault never came: {:?}", figures.faults);
}

#[test]
fn large_batches_hold_too() {
    let figures = runs(1, 2, Duration::MAX, Scene::Large, 1);
    assert!(figures.failures.is_empty(), "{:?}", figures.failures);
}

#[test]
fn queues_keep_what_they_acknowledged() {
    let figures = runs(1, SEEDS, TIME, Scene::Queues, 1);
    assert!(figures.failures.is_empty(), "{:?}", figures.failures);
}

#[test]
fn every_mistake_is_found() {
    for mistake in Mistake::ALL {
        assert!(hunt(mistake, 1, MISTAKE_SEEDS).is_some(), "{mistake} was not found within {MISTAKE_SEEDS} seeds");
    }
}

/// Seeds that found faults of this program, which are mended. What a seed does may change with the simulation.
#[test]
fn seeds_that_found_faults_hold() {
    // Retention let go of blocks before the bus, which had read them, had synced that.
    for seed in [53, 54, 70, 75] {
        let outcome = run(Plan { seed, scene: Scene::Small, mistake: None });
        assert!(outcome.violations.is_empty(), "{seed}: {:?}", outcome.violations);
    }
}

#[test]
fn a_seed_says_everything() {
    for seed in 1..20 {
        let plan = Plan { seed, scene: Scene::Small, mistake: None };
        let (one, other) = (run(plan), run(plan));
        assert_eq!((one.digest, one.steps, one.faults), (other.digest, other.steps, other.faults), "seed {seed}");
    }
}
