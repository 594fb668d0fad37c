//! The report of a run, as text and as JSON.

use super::checks::Checked;
use super::stages::Stage;
use anyhow::ensure;
use comfy_table::{CellAlignment, Table, presets};
use fakemon_model::event::Outcome;
pub(crate) use fakemon_model::format::thousands;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Quantiles in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p90_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) p999_ns: u64,
    pub(crate) max_ns: u64,
}

impl From<&Histogram<u64>> for Latency {
    fn from(histogram: &Histogram<u64>) -> Latency {
        Latency {
            count: histogram.len(),
            p50_ns: histogram.value_at_quantile(0.5),
            p90_ns: histogram.value_at_quantile(0.9),
            p99_ns: histogram.value_at_quantile(0.99),
            p999_ns: histogram.value_at_quantile(0.999),
            max_ns: histogram.max(),
        }
    }
}

/// The results of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: &'static str,
    pub(crate) seed: u64,
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
    pub(crate) threads: usize,
    /// Attempts per second as planned; none: as many as the connections took.
    pub(crate) planned_per_second: Option<f64>,
    pub(crate) duration_s: f64,
    /// Decided, durable attempts per second in the measured part.
    pub(crate) decided_per_second: f64,
    pub(crate) sent: u64,
    pub(crate) outcomes: BTreeMap<&'static str, u64>,
    pub(crate) throttled: u64,
    pub(crate) repeated: u64,
    pub(crate) unanswered: u64,
    pub(crate) broken_connections: u64,
    pub(crate) fakemon_captured: u64,
    /// From the planned send time to the answer.
    pub(crate) latency: Latency,
    /// From the planned send time to the actual one: delay within the generator.
    pub(crate) lag: Latency,
    /// Inside the server, from its metrics.
    pub(crate) stages: Vec<Stage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sync: Option<Latency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) echo_per_second: Option<f64>,
    /// None when the server could not be asked any more.
    pub(crate) checked: Option<Checked>,
    pub(crate) contradictions: u64,
    /// The first contradictions and errors, as text.
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// Whether everything agrees and every attempt got an answer.
    pub(crate) fn is_clean(&self) -> bool {
        let agree = self.contradictions == 0 && self.checked.is_some();
        agree && self.unanswered == 0 && self.broken_connections == 0
    }
}

pub(crate) fn outcomes(counts: [u64; 6]) -> BTreeMap<&'static str, u64> {
    Outcome::ALL.into_iter().map(Outcome::name).zip(counts).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let planned = match self.planned_per_second {
            Some(rate) => format!("open loop at {}/s: latency from the planned send time", thousands(rate)),
            None => "closed loop: as many as come back, latency from the send time".to_owned(),
        };
        writeln!(
            f,
            "{}, seed {}, {} connections × {} in flight, {}",
            self.scenario, self.seed, self.connections, self.in_flight, planned
        )?;
        writeln!(f, "{} decided throws/s, durable, over {} s", thousands(self.decided_per_second), self.duration_s)?;
        writeln!(f, "{}", self.latencies())?;
        self.write_ratios(f)?;
        let outcomes: Vec<String> = self.outcomes.iter().map(|(name, count)| format!("{name} {count}")).collect();
        writeln!(
            f,
            "sent {}: {}, throttled {}, sent twice {}, unanswered {}",
            self.sent,
            outcomes.join(", "),
            self.throttled,
            self.repeated,
            self.unanswered
        )?;
        write!(f, "checked: {} fakémon with one winner each", self.fakemon_captured)?;
        if let Some(Checked { repeated, collections, captures }) = self.checked {
            write!(f, "; {repeated} throws asked again elsewhere, same answer; ")?;
            write!(f, "{captures} captures found in {collections} collections")?;
        }
        writeln!(f)?;
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        match self.is_clean() {
            true => write!(f, "every answer agrees"),
            false => write!(
                f,
                "NOT CLEAN: {} contradictions, {} unanswered, {} broken connections{}",
                self.contradictions,
                self.unanswered,
                self.broken_connections,
                if self.checked.is_some() { "" } else { ", checks at the end not done" }
            ),
        }
    }
}

impl Report {
    fn latencies(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(["milliseconds", "p50", "p90", "p99", "p99.9", "max"]);
        let row = |name: &str, latency: &Latency| {
            let Latency { p50_ns, p90_ns, p99_ns, p999_ns, max_ns, .. } = *latency;
            [name.to_owned(), ms(p50_ns), ms(p90_ns), ms(p99_ns), ms(p999_ns), ms(max_ns)]
        };
        table.add_row(row("throw to answer", &self.latency));
        if self.planned_per_second.is_some() {
            table.add_row(row("  of it in the generator", &self.lag));
        }
        for stage in &self.stages {
            let none = String::new;
            let name = format!("  server: {}", stage.name);
            table.add_row([name, ms(stage.p50_ns), none(), ms(stage.p99_ns), ms(stage.p999_ns), none()]);
        }
        if let Some(sync) = &self.sync {
            table.add_row(row("baseline: fdatasync", sync));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    fn write_ratios(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(sync) = &self.sync {
            let ratio = |ours: u64, theirs: u64| ours as f64 / theirs.max(1) as f64;
            writeln!(
                f,
                "answer / fdatasync: p50 {:.1} ×, p99 {:.1} ×",
                ratio(self.latency.p50_ns, sync.p50_ns),
                ratio(self.latency.p99_ns, sync.p99_ns)
            )?;
        }
        if let Some(echo) = self.echo_per_second {
            let part = 100.0 * self.decided_per_second / echo.max(1.0);
            writeln!(f, "raw loopback echo with the same connections: {}/s; we reach {part:.0} %", thousands(echo))?;
        }
        Ok(())
    }
}

/// Checks that a run was clean, so that its report can be compared.
pub(crate) fn clean(report: Report) -> anyhow::Result<Report> {
    ensure!(report.is_clean(), "a run was not clean:\n{report}");
    Ok(report)
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Formats nanoseconds as milliseconds.
pub(crate) fn ms(ns: u64) -> String {
    format!("{:.3}", ns as f64 / 1e6)
}
