//! Runs simulations: one seed, or a campaign with a table of what it proved. Exit code 0: every claim holds and every
//! mistake on purpose was found.

#![expect(clippy::print_stdout, reason = "the answer of a command")]

use clap::Parser;
use fakemon_simulation::campaign::{hunt, report, runs};
use fakemon_simulation::mistakes::Mistake;
use fakemon_simulation::run::{Plan, run};
use fakemon_simulation::scene::Scene;
use std::process::ExitCode;
use std::time::Duration;

/// Simulates a node with faults and checks what must hold.
#[derive(Parser)]
struct Arguments {
    /// Runs this seed alone and says what came of it
    #[arg(long)]
    seed: Option<u64>,
    /// Of one seed: a large run
    #[arg(long, requires = "seed")]
    large: bool,
    /// Of one seed: a run of queues
    #[arg(long, requires = "seed", conflicts_with = "large")]
    queues: bool,
    /// Of one seed: makes a mistake on purpose; the checks should find it
    #[arg(long, requires = "seed")]
    mistake: Option<String>,
    /// Seconds of a campaign
    #[arg(long, default_value_t = 60)]
    duration: u64,
    /// The first seed of a campaign
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Seeds in which each mistake has to be found
    #[arg(long, default_value_t = 1_000)]
    mistake_seeds: u64,
    /// Threads; one node runs on one
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    threads: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.seed {
        Some(seed) => one(seed, &arguments),
        None => campaign(&arguments),
    }
}

fn one(seed: u64, arguments: &Arguments) -> ExitCode {
    let mistake = arguments.mistake.as_deref().map(|name| (name, Mistake::named(name)));
    if let Some((name, None)) = mistake {
        let names = Mistake::ALL.map(Mistake::name).join(", ");
        eprintln!("no mistake is named `{name}`; there are: {names}");
        return ExitCode::FAILURE;
    }
    let scene = match (arguments.large, arguments.queues) {
        (true, _) => Scene::Large,
        (_, true) => Scene::Queues,
        _ => Scene::Small,
    };
    let plan = Plan { seed, scene, mistake: mistake.and_then(|(_, mistake)| mistake) };
    let outcome = run(plan);
    println!("{plan}: {outcome:#?}");
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn campaign(arguments: &Arguments) -> ExitCode {
    let Arguments { from, duration, threads, mistake_seeds, .. } = *arguments;
    let time = Duration::from_secs(duration);
    let small = runs(from, u64::MAX, time * 6 / 10, Scene::Small, threads);
    let large = runs(from, u64::MAX, time * 3 / 10, Scene::Large, threads);
    let queues = runs(from, u64::MAX, time / 10, Scene::Queues, threads);
    let mistakes = Mistake::ALL.map(|mistake| (mistake, hunt(mistake, from, mistake_seeds)));
    println!("{}", report(&small, &large, &queues, &mistakes));
    let holds = small.failures.is_empty() && large.failures.is_empty() && queues.failures.is_empty();
    let all_found = mistakes.iter().all(|(_, found)| found.is_some());
    if holds && all_found { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
