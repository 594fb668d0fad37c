//! `fakemon load`: simulates players who make attempts over real websockets, as many and as fast as requested;
//! measures from the planned send of an attempt to the read of its answer; and at the end checks that no two answers
//! contradict each other.
//!
//! The generator runs on the same two cores as the server it measures, so it is written to be cheap: it can make
//! several times the load that the server takes.

#![allow(
    missing_docs,
    reason = "nothing outside of this workspace reads them; a doc that repeats a name says nothing"
)]

pub mod demo;
mod frames;
mod messages;
mod target;
mod socket;
mod pace;
mod ledger;
mod http;
mod spawner;
mod stages;
mod tally;
mod lane;
mod checks;
mod sweep;
mod report;
mod comparison;

pub use comparison::sends::Sends;
pub use http::Http;
pub use pace::{Rate, Spacing};
pub use target::Target;

use anyhow::{Context, ensure};
use comparison::bus::{Rules, Webhook};
use comparison::in_use::InUse;
use comparison::sends::Bare;
use fakemon_model::ids::{AttemptId, FakemonId, mix};
use fakemon_protocol::Subprotocol;
use fakemon_workload::attempts::Contender;
use fakemon_workload::{Attempts, Board, Scenario, World};
use indicatif::{ProgressBar, ProgressStyle};
use lane::{Lane, Shared};
use ledger::Ledger;
use messages::Writer;
use pace::Plan;
use report::Report;
use serde::Serialize;
use socket::{Access, Opening, Socket};
use spawner::Spawner;
use stages::Reading;
use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tally::Tally;

/// Connections of one run, at most: there are few more source ports to one address.
const CONNECTIONS_MAX: usize = 28_000;
/// Fakémon of one run, at most. Ids count in 24 bits.
const FAKEMON_MAX: u32 = 1 << 22;
/// Handshakes in flight per thread.
const OPENING: usize = 128;
/// Default address of a server's control plane.
const CONTROL: &str = "http://127.0.0.1:7401";
/// How long the progress bar is shown while the last answers come.
const DRAIN_SHOWN: Duration = Duration::from_secs(20);
/// Length of each half of a baseline.
const BASELINE: Duration = Duration::from_secs(1);

/// Makes load and contention over real websockets, and checks that every answer agrees.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadArgs {
    /// Address of the players' websocket
    #[arg(long, default_value = "ws://127.0.0.1:7400")]
    pub url: String,
    /// Address of the control plane: fakémon are spawned and metrics are read there
    #[arg(long, default_value = CONTROL)]
    pub control: String,
    /// The scenario: hot (all race for one fakémon after another), spread (uniform over many), realistic (a few
    /// places are crowded; some attempts are out of reach, some are sent twice)
    #[arg(long, default_value = "hot")]
    pub scenario: Scenario,
    /// Websocket connections, each one player
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX as i64))]
    pub connections: u32,
    /// Attempts in flight per connection, at most
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub in_flight: u32,
    /// Attempts per second, planned in advance; or max: the next attempt when an answer comes
    #[arg(long, default_value = "20000")]
    pub rate: Rate,
    /// How planned attempts are spaced in time
    #[arg(long, value_enum, default_value_t = Spacing::Poisson)]
    pub spacing: Spacing,
    /// Length of the measured part, in seconds
    #[arg(long, default_value_t = 10.0)]
    pub duration: f64,
    /// Length of the warm-up before it, in seconds
    #[arg(long, default_value_t = 2.0)]
    pub warmup: f64,
    /// Threads of the generator
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub threads: u32,
    /// Seed of the choice of players and targets
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Fakémon that wait in the world for the others to be caught [default: 2000]
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(..=i64::from(FAKEMON_MAX / 2)))]
    pub reserve: u32,
    /// Encoding of messages: json, or fb (FlatBuffers)
    #[arg(long, default_value = "json", value_parser = subprotocol)]
    pub subprotocol: Subprotocol,
    /// A player's token; also read from the environment as FAKEMON_TOKEN. Without one, players connect by name, which
    /// the server allows in open mode
    #[arg(long)]
    pub token: Option<String>,
    /// Also measure fdatasync on the file system of this directory, as a yardstick
    #[arg(long, visible_alias = "data", value_name = "DIR")]
    pub baseline_dir: Option<PathBuf>,
    /// Also measure messages per second of a bare loopback echo over as many connections
    #[arg(long)]
    pub baseline_echo: bool,
    /// Also with N rules on the bus of the game that match nothing, by turns with the same load without them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rules: Option<u32>,
    /// Also with a rule that sends all events of a detail-type to a webhook in this process; the server has to allow
    /// private targets
    #[arg(long, value_name = "DETAIL-TYPE")]
    pub webhook: Option<String>,
    /// Requests of that webhook in parallel, in no order; without it one after the other, in the journal's order
    #[arg(long, value_name = "N", requires = "webhook", value_parser = clap::value_parser!(u32).range(2..=64))]
    pub at_once: Option<u32>,
    /// No attempts: messages of a back end to all connections through `@connections`, as fast as they are accepted
    #[arg(long, value_enum, value_name = "HOW", conflicts_with_all = ["rules", "webhook", "reconnects"])]
    pub sends: Option<Sends>,
    /// Also with a client that reconnects N times per second, by turns with the same load without it
    #[arg(long, value_name = "N", conflicts_with_all = ["rules", "webhook"], value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub reconnects: Option<u32>,
    /// Also with everything else in use, by turns with captures alone: schedules, rules, a pipe, a discoverer,
    /// enforced schemas, webhooks and streams of answers, connections that a back end sends messages to
    #[arg(long, conflicts_with_all = ["rules", "webhook", "sends", "reconnects"])]
    pub in_use: bool,
    /// Allow a server on another machine, if it is yours to load
    #[arg(long)]
    pub allow_remote: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// `json` or `fb`, as in the name of the subprotocol.
fn subprotocol(word: &str) -> Result<Subprotocol, &'static str> {
    Subprotocol::named(&format!("fakemon.v1.{word}")).ok_or("give json or fb")
}

/// Runs the load and writes the report to `out`.
///
/// # Errors
/// When the server cannot be reached, and when an answer is missing or contradicts another.
pub fn run(args: LoadArgs, out: &mut impl Write) -> anyhow::Result<()> {
    // Every run uses its own fakémon and players.
    let run = || Setup::check(args.clone())?.run();
    let setup = Setup::check(args.clone())?;
    setup.find_server()?;
    let name = format!("load-{}-{}", setup.started_s, std::process::id());
    if args.rules.is_some() || args.webhook.is_some() {
        let webhook = args.webhook.as_deref().map(|detail_type| Webhook { detail_type, at_once: args.at_once });
        let rules = Rules::make(&setup.control, &name, args.rules.unwrap_or(0), webhook)?;
        return print(out, &rules.compare(run)?, args.json);
    }
    if let Some(how) = args.sends {
        return print(out, &setup.send(how)?, args.json);
    }
    if let Some(per_second) = args.reconnects {
        return print(out, &comparison::reconnects::compare(&setup.play, &setup.access, per_second, run)?, args.json);
    }
    if args.in_use {
        let Setup { play, control, access, warmup, duration, .. } = &setup;
        let all = InUse { play, control, access, name: &name, length: *warmup + *duration };
        return print(out, &all.compare(run)?, args.json);
    }
    let report = setup.run()?;
    print(out, &report, args.json)?;
    ensure!(report.is_clean(), "not clean: see the report");
    Ok(())
}

fn print(out: &mut impl Write, report: &(impl Serialize + Display), json: bool) -> anyhow::Result<()> {
    match json {
        true => writeln!(out, "{}", serde_json::to_string(report)?)?,
        false => writeln!(out, "{report}")?,
    }
    Ok(out.flush()?)
}

/// A run with checked arguments.
struct Setup {
    args: LoadArgs,
    /// The start in seconds since 1970; in the name of everything that this run creates.
    started_s: u64,
    play: Target,
    control: Target,
    access: Access,
    world: World,
    warmup: Duration,
    duration: Duration,
}

impl Setup {
    fn check(args: LoadArgs) -> anyhow::Result<Setup> {
        let seconds = |name, value: f64, min: f64| {
            ensure!((min..=86_400.0).contains(&value), "{name} must be from {min} to 86400 seconds");
            Ok(Duration::from_secs_f64(value))
        };
        // Ids must never be used twice, so each run has its own: the second of its start, and a count in 24 bits.
        let started_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let world = World::new(args.seed, args.scenario, FakemonId((started_s << 24) & (u64::MAX >> 1)));
        Ok(Setup {
            play: Target::parse(&args.url, "ws", args.allow_remote).context("--url")?,
            control: Target::parse(&args.control, "http", args.allow_remote).context("--control")?,
            access: match args.token.clone().or_else(|| std::env::var("FAKEMON_TOKEN").ok()) {
                Some(token) => Access::Token(token),
                None => Access::Open { prefix: format!("load-{started_s}-") },
            },
            started_s,
            world,
            warmup: seconds("--warmup", args.warmup, 0.0)?,
            duration: seconds("--duration", args.duration, 0.1)?,
            args,
        })
    }

    /// Checks before anything is created: players can connect, and the default control plane is not that of another
    /// server.
    fn find_server(&self) -> anyhow::Result<()> {
        let name = self.args.connections; // a number of no player
        Opening::start(&self.play, &self.access, self.args.subprotocol, name)?.finish()?;
        if self.args.control != CONTROL {
            return Ok(());
        }
        let figures = Http::connect(&self.control)?.get("/figures")?.json("/figures")?;
        let port = figures["play"]["port"].as_u64();
        let wanted = self.play.authority.rsplit(':').next().and_then(|port| port.parse().ok());
        ensure!(
            port == wanted,
            "the server behind {CONTROL} serves players on port {}, not on that of {}: give --control of the same server",
            port.unwrap_or_default(),
            self.args.url
        );
        Ok(())
    }

    fn run(&self) -> anyhow::Result<Report> {
        raise_file_limit(self.args.connections)?;
        let mut sync_ns = comparison::baseline::histogram();
        self.measure_sync(&mut sync_ns)?;
        let echo_per_second = self.measure_echo()?;
        let slots = self.args.scenario.shape().slots;
        let board = Board::new(slots);
        let ledger = Ledger::new(self.world.clone(), FAKEMON_MAX);
        let mut spawner = Spawner::new(&self.control, self.world.clone(), FAKEMON_MAX)?;
        let bar = progress("fakémon", u64::from(slots + self.args.reserve));
        spawner.spawn_until(slots + self.args.reserve, &board, &mut |count| bar.set_position(u64::from(count)))?;
        bar.finish_and_clear();
        let lanes = self.connect(slots)?;
        let (tally, stages) = self.attempt(lanes, spawner, &board, &ledger)?;
        ledger.check(tally.unanswered);
        let checked = checks::ask(&self.play, &self.access, &tally, &ledger);
        self.measure_sync(&mut sync_ns)?;
        let (contradictions, mut notes) = ledger.contradictions();
        notes.extend(tally.troubles.iter().cloned());
        notes.extend(checked.as_ref().err().map(|error| format!("the checks at the end were not done: {error:#}")));
        Ok(Report {
            scenario: self.args.scenario.name(),
            seed: self.args.seed,
            connections: self.args.connections as usize,
            in_flight: self.args.in_flight as usize,
            threads: self.threads(),
            planned_per_second: match self.args.rate {
                Rate::PerSecond(rate) => Some(rate),
                Rate::Max => None,
            },
            duration_s: self.args.duration,
            decided_per_second: tally.measured as f64 / self.duration.as_secs_f64(),
            sent: tally.sent,
            outcomes: report::outcomes(tally.outcomes),
            throttled: tally.throttled,
            repeated: tally.repeated,
            unanswered: tally.unanswered,
            broken_connections: tally.broken,
            fakemon_captured: ledger.captured(),
            latency: (&tally.latency_ns).into(),
            lag: (&tally.lag_ns).into(),
            stages,
            sync: self.args.baseline_dir.as_ref().map(|_| (&sync_ns).into()),
            echo_per_second,
            checked: checked.ok(),
            contradictions,
            notes,
        })
    }

    /// Measures the messages of a back end.
    fn send(&self, how: Sends) -> anyhow::Result<comparison::sends::Sent> {
        raise_file_limit(self.args.connections)?;
        let bare = Bare::measure(self.args.connections as usize)?;
        let contenders: Vec<u32> = (0..self.args.connections).collect();
        let bar = progress("connections", u64::from(self.args.connections));
        let mut sockets = Vec::with_capacity(contenders.len());
        for some in contenders.chunks(OPENING) {
            sockets.extend(self.open(some)?.into_iter().map(|(socket, ..)| socket));
            bar.inc(some.len() as u64);
        }
        bar.finish_and_clear();
        comparison::sends::run(how, &self.control, sockets, self.duration, &bare)
    }

    fn threads(&self) -> usize {
        self.args.threads.min(self.args.connections) as usize
    }

    fn measure_sync(&self, sync_ns: &mut hdrhistogram::Histogram<u64>) -> anyhow::Result<()> {
        let Some(dir) = &self.args.baseline_dir else {
            return Ok(());
        };
        comparison::baseline::measure_sync(dir, BASELINE, sync_ns)
    }

    fn measure_echo(&self) -> anyhow::Result<Option<f64>> {
        let measure = || {
            comparison::baseline::measure_echo(self.args.connections as usize, self.args.in_flight as usize, BASELINE)
        };
        self.args.baseline_echo.then(measure).transpose()
    }

    /// Opens all connections, spread over the threads.
    fn connect(&self, slots: u32) -> anyhow::Result<Vec<Lane>> {
        let threads = self.threads();
        let bar = progress("connections", u64::from(self.args.connections));
        let connect = |lane: usize| {
            let contenders: Vec<u32> = (0..self.args.connections).skip(lane).step_by(threads).collect();
            let mut sockets = Vec::with_capacity(contenders.len());
            for some in contenders.chunks(OPENING) {
                sockets.extend(self.open(some)?);
                bar.inc(some.len() as u64);
            }
            let attempts = Attempts::new(self.world.clone(), lane as u64, slots);
            let plan = Plan::new(self.args.rate, self.args.spacing, self.args.seed, lane, threads);
            Lane::new(sockets, attempts, plan, Writer::new(self.args.subprotocol), mix(lane as u64))
        };
        let lanes = thread::scope(|scope| {
            let lanes: Vec<_> = (0..threads).map(|lane| scope.spawn(move || connect(lane))).collect();
            lanes.into_iter().map(joined).collect()
        });
        bar.finish_and_clear();
        lanes
    }

    /// Opens some connections together.
    fn open(&self, contenders: &[u32]) -> anyhow::Result<Vec<(Socket, Contender, AttemptId)>> {
        let start = |contender: &u32| Opening::start(&self.play, &self.access, self.args.subprotocol, *contender);
        let openings: Vec<Opening> = contenders.iter().map(start).collect::<Result<_, _>>()?;
        let finish = |(opening, contender): (Opening, &u32)| {
            let first = match &self.access {
                Access::Open { .. } => AttemptId(1),
                // One player for all connections and all runs: start at a random id, far from all others.
                Access::Token(_) => AttemptId(mix(self.world.id(Default::default()).0 ^ u64::from(*contender)) >> 1),
            };
            Ok((opening.finish()?, Contender(*contender), first))
        };
        openings.into_iter().zip(contenders).map(finish).collect()
    }

    /// The run itself.
    fn attempt(
        &self,
        lanes: Vec<Lane>,
        spawner: Spawner,
        board: &Board,
        ledger: &Ledger,
    ) -> anyhow::Result<(Tally, Vec<stages::Stage>)> {
        let (decided, over) = (AtomicU64::new(0), AtomicBool::new(false));
        let whole = self.warmup + self.duration;
        let shared = Shared {
            board,
            ledger,
            decided: &decided,
            in_flight_max: self.args.in_flight as usize,
            warm_ns: self.warmup.as_nanos() as u64,
            end_ns: whole.as_nanos() as u64,
        };
        let start = Instant::now();
        thread::scope(|scope| {
            let spawner = scope.spawn(|| spawner.keep(self.args.reserve, board, &over));
            let lanes: Vec<_> = lanes.into_iter().map(|lane| scope.spawn(|| lane.run(&shared, start))).collect();
            let bar = progress("throws", 0);
            let is_over = || lanes.iter().all(|lane| lane.is_finished());
            show(&bar, start, self.warmup, &decided, is_over);
            let before = self.reading();
            show(&bar, start, whole + DRAIN_SHOWN, &decided, is_over);
            bar.finish_and_clear();
            let ran: anyhow::Result<Vec<Tally>> = lanes.into_iter().map(joined).collect();
            over.store(true, Relaxed);
            let mut tally = Tally::new();
            ran?.into_iter().for_each(|lane| tally.add(lane));
            let stages = self.reading().since(&before);
            if let Err(error) = joined(spawner) {
                tally.trouble(format!("no more fakémon during the run: {error:#}"));
            }
            Ok((tally, stages))
        })
    }

    /// The server's histograms now; empty if it does not answer.
    fn reading(&self) -> Reading {
        let text = Http::connect(&self.control).and_then(|mut http| http.get("/metrics"));
        text.map(|answer| Reading::parse(&answer.body)).unwrap_or_default()
    }
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, anyhow::Result<T>>) -> anyhow::Result<T> {
    thread.join().map_err(|_| anyhow::anyhow!("a thread of the generator panicked"))?
}

/// A bar on a terminal, nothing elsewhere. Without a length it counts.
fn progress(what: &'static str, length: u64) -> ProgressBar {
    let (bar, template) = match length {
        0 => (ProgressBar::new_spinner(), "{elapsed:>4} {human_pos} {prefix} {msg}"),
        length => (ProgressBar::new(length), "{prefix:>12} {wide_bar} {human_pos}/{human_len}"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("a constant that is valid")).with_prefix(what)
}

/// Keeps the bar up to date until a moment of the run, or until it is over.
fn show(bar: &ProgressBar, start: Instant, until: Duration, decided: &AtomicU64, is_over: impl Fn() -> bool) {
    const STEP: Duration = Duration::from_millis(100);
    let mut before = decided.load(Relaxed);
    while start.elapsed() < until && !is_over() {
        thread::sleep(STEP.min(until.saturating_sub(start.elapsed())));
        let now = decided.load(Relaxed);
        bar.set_position(now);
        bar.set_message(format!("({}/s)", (now - before) * 10));
        before = now;
    }
}

/// Lets this process open as many files as it may; an error if that is not enough.
fn raise_file_limit(connections: u32) -> anyhow::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")?;
    let needed = u64::from(connections) + 200;
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    ensure!(
        needed <= allowed,
        "{connections} connections need {needed} open files, {allowed} are allowed: raise `ulimit -Hn` or give fewer"
    );
    Ok(())
}
