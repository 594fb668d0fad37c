//! Where the time goes inside the server: its histograms from `GET /metrics`, the difference between two readings.

use std::collections::BTreeMap;

/// A histogram: upper bounds in seconds, with the number of values up to each.
#[derive(Clone, Debug, Default, PartialEq)]
struct Buckets(Vec<(f64, f64)>);

/// All `fakemon_*_seconds` histograms of one reading.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reading(BTreeMap<String, Buckets>);

/// Quantiles of one stage, in nanoseconds, as exact as the server's buckets.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Stage {
    /// The metric's name, with its labels.
    pub(crate) name: String,
    pub(crate) count: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) p999_ns: u64,
}

impl Reading {
    /// Parses the Prometheus text format; ignores other lines.
    pub(crate) fn parse(text: &str) -> Reading {
        let mut reading = Reading::default();
        for line in text.lines().filter(|line| line.starts_with("fakemon_")) {
            if let Some((name, bound, count)) = bucket(line) {
                reading.0.entry(name).or_default().0.push((bound, count));
            }
        }
        for Buckets(buckets) in reading.0.values_mut() {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        reading
    }

    /// The counts between an earlier reading and this one.
    pub(crate) fn since(&self, earlier: &Reading) -> Vec<Stage> {
        let none = Buckets::default();
        let stages = self.0.iter().filter_map(|(name, now)| {
            let before = earlier.0.get(name).unwrap_or(&none);
            let grown: Vec<_> = now.0.iter().map(|(bound, count)| (*bound, count - before.at(*bound))).collect();
            stage(name, &Buckets(grown))
        });
        stages.collect()
    }
}

impl Buckets {
    fn at(&self, bound: f64) -> f64 {
        let found = self.0.iter().find(|(other, _)| other.total_cmp(&bound).is_eq());
        found.map_or(0.0, |(_, count)| *count)
    }

    /// The quantile `part` in nanoseconds, interpolated linearly within its bucket.
    fn quantile_ns(&self, part: f64) -> u64 {
        let total = self.0.last().map_or(0.0, |(_, count)| *count);
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in &self.0 {
            if *count >= part * total && *count > below {
                let within = (part * total - below) / (count - below);
                let high = if bound.is_finite() { *bound } else { low };
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
                return ((low + (high - low) * within) * 1e9) as u64;
            }
            (low, below) = (*bound, *count);
        }
        0
    }
}

fn stage(name: &str, buckets: &Buckets) -> Option<Stage> {
    let total = buckets.0.last().map_or(0.0, |(_, count)| *count);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    (total >= 1.0).then(|| Stage {
        name: name.to_owned(),
        count: total as u64,
        p50_ns: buckets.quantile_ns(0.5),
        p99_ns: buckets.quantile_ns(0.99),
        p999_ns: buckets.quantile_ns(0.999),
    })
}

/// `fakemon_sync_seconds_bucket{stage="durable",le="0.001"} 17` as name with labels, bound, count.
fn bucket(line: &str) -> Option<(String, f64, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let (family, labels) = series.strip_suffix('}')?.split_once('{')?;
    let family = family.strip_suffix("_seconds_bucket")?.strip_prefix("fakemon_")?;
    let mut bound = None;
    let mut name = family.to_owned();
    for label in labels.split(',').filter(|label| !label.is_empty()) {
        let (key, text) = label.split_once('=')?;
        let text = text.trim_matches('"');
        match key {
            "le" => bound = text.replace("+Inf", "inf").parse::<f64>().ok(),
            _ => name = format!("{name} {text}"),
        }
    }
    Some((name, bound?, value.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_came_between_two_readings() {
        let text = |fast: u32, slow: u32| {
            format!(
                "# HELP fakemon_stage_seconds x\nfakemon_stage_seconds_bucket{{stage=\"durable\",le=\"0.001\"}} {fast}\n\
                 fakemon_stage_seconds_bucket{{stage=\"durable\",le=\"0.002\"}} {slow}\n\
                 fakemon_stage_seconds_bucket{{stage=\"durable\",le=\"+Inf\"}} {slow}\n\
                 fakemon_stage_seconds_sum{{stage=\"durable\"}} 3\nfakemon_x 1\nnonsense\n"
            )
        };
        let (before, after) = (Reading::parse(&text(1_000, 1_000)), Reading::parse(&text(1_050, 1_100)));
        let stages = after.since(&before);
        assert_eq!(stages.len(), 1);
        let stage = &stages[0];
        assert_eq!((stage.name.as_str(), stage.count), ("stage durable", 100));
        assert_eq!((stage.p50_ns, stage.p99_ns), (1_000_000, 1_980_000));
        assert!(before.since(&before).is_empty());
    }
}
