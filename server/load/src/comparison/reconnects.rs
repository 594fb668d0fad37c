//! Cost for other players of a client that reconnects all the time: the same load by turns without it and with it.

use crate::report::{Latency, Report, clean, ms};
use crate::socket::{Access, Opening};
use crate::target::Target;
use fakemon_protocol::Subprotocol;
use serde::Serialize;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Runs of each kind; the medians count.
const ROUNDS: usize = 3;

/// Result of the comparison.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    /// Reconnects per second as requested.
    planned_per_second: u32,
    /// Reconnects per second as measured.
    reconnects_per_second: f64,
    rounds: usize,
    without: Latency,
    with: Latency,
    p99_ratio: f64,
}

/// Runs the load by turns without and with reconnects, `per_second` of them.
pub(crate) fn compare(
    play: &Target,
    access: &Access,
    per_second: u32,
    run: impl Fn() -> anyhow::Result<Report>,
) -> anyhow::Result<Comparison> {
    let (mut without, mut with, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(clean(run()?)?.latency);
        let (is_over, count, begun) = (AtomicBool::new(false), AtomicU64::new(0), Instant::now());
        let report = std::thread::scope(|scope| {
            let coming = scope.spawn(|| come_and_go(play, access, per_second, &is_over, &count));
            let report = run();
            is_over.store(true, Relaxed);
            coming.join().map_err(|_| anyhow::anyhow!("the thread that reconnects panicked"))??;
            report
        });
        rates.push(count.load(Relaxed) as f64 / begun.elapsed().as_secs_f64());
        with.push(clean(report?)?.latency);
    }
    rates.sort_by(f64::total_cmp);
    let (without, with) = (middle(without), middle(with));
    Ok(Comparison {
        planned_per_second: per_second,
        reconnects_per_second: rates[ROUNDS / 2],
        rounds: ROUNDS,
        without,
        with,
        p99_ratio: with.p99_ns as f64 / without.p99_ns.max(1) as f64,
    })
}

fn come_and_go(
    play: &Target,
    access: &Access,
    per_second: u32,
    is_over: &AtomicBool,
    count: &AtomicU64,
) -> anyhow::Result<()> {
    let (begun, gap) = (Instant::now(), Duration::from_secs(1) / per_second.max(1));
    for number in 0.. {
        if is_over.load(Relaxed) {
            break;
        }
        std::thread::sleep((begun + gap * number).saturating_duration_since(Instant::now()));
        // The same player each time; the number is above those of all other players.
        drop(Opening::start(play, access, Subprotocol::Json, u32::MAX)?.finish()?);
        count.fetch_add(1, Relaxed);
    }
    Ok(())
}

/// The run whose p99 is the median.
fn middle(mut latencies: Vec<Latency>) -> Latency {
    latencies.sort_by_key(|latency| latency.p99_ns);
    latencies[latencies.len() / 2]
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "throw to answer, medians of {} runs each, by turns", self.rounds)?;
        for (name, Latency { p50_ns, p99_ns, p999_ns, .. }) in [("without", self.without), ("with", self.with)] {
            writeln!(f, "{name:<8} p50 {} ms, p99 {} ms, p99.9 {} ms", ms(p50_ns), ms(p99_ns), ms(p999_ns))?;
        }
        write!(
            f,
            "a client that reconnects {:.0} times a second: p99 {:.2} ×",
            self.reconnects_per_second, self.p99_ratio
        )
    }
}
