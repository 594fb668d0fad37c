//! The text format of Prometheus: families of samples, each family with its help and its type first.

use hdrhistogram::Histogram;
use std::fmt::{Display, Write};

/// Nanoseconds in a second.
pub(super) const WHOLE_SECOND_NS: f64 = 1e9;

/// Histogram bounds of latencies, in nanoseconds: from a step on one core to a disk that hangs.
pub(super) const LATENCY_BOUNDS_NS: &[u64] = &[
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
];

/// Histogram bounds of counts: from a group of one to the largest.
pub(super) const COUNT_BOUNDS: &[u64] = &[1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536];

/// The text of the answer; families in the order in which they are added.
#[derive(Default)]
pub(super) struct Text(String);

const HELD: &str = "a string takes whatever is written";

impl Text {
    /// The head of a family; its samples follow.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").expect(HELD);
    }

    /// One sample of the family above. Labels contain only our own words, so nothing is escaped.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        if !labels.is_empty() {
            let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            write!(self.0, "{{{}}}", labels.join(",")).expect(HELD);
        }
        writeln!(self.0, " {value}").expect(HELD);
    }

    /// A counter: a family of one sample that only grows.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    /// A gauge: a family of one sample.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// A histogram of the family above: counts up to each bound, bounds and sum divided by `unit`.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        histogram: &Histogram<u64>,
        bounds: &[u64],
        unit: f64,
    ) {
        let bucket = format!("{name}_bucket");
        let with_bound = |text: &mut Text, bound: &str, count: u64| {
            let labels: Vec<_> = labels.iter().copied().chain([("le", bound)]).collect();
            text.sample(&bucket, &labels, count);
        };
        let mut recorded = histogram.iter_recorded().peekable();
        let mut count = 0;
        for bound in bounds {
            while let Some(step) = recorded.next_if(|step| step.value_iterated_to() <= *bound) {
                count += step.count_since_last_iteration();
            }
            with_bound(self, &(*bound as f64 / unit).to_string(), count);
        }
        with_bound(self, "+Inf", histogram.len());
        let sum = histogram.mean() * histogram.len() as f64 / unit;
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, histogram.len());
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_up_to_each_bound() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        [1, 4, 5, 100].iter().for_each(|value| histogram.record(*value).unwrap());
        let mut text = Text::default();
        text.family("group_events", "histogram", "Events.");
        text.histogram("group_events", &[("shard", "0")], &histogram, &[1, 4, 16], 1.0);
        let expected = "\
# HELP group_events Events.
# TYPE group_events histogram
group_events_bucket{shard=\"0\",le=\"1\"} 1
group_events_bucket{shard=\"0\",le=\"4\"} 2
group_events_bucket{shard=\"0\",le=\"16\"} 3
group_events_bucket{shard=\"0\",le=\"+Inf\"} 4
group_events_sum{shard=\"0\"} 110
group_events_count{shard=\"0\"} 4
";
        assert_eq!(text.finish(), expected);
    }

    #[test]
    fn an_empty_histogram_is_all_zeros() {
        let mut text = Text::default();
        text.histogram("x_seconds", &[], &Histogram::<u64>::new(3).unwrap(), LATENCY_BOUNDS_NS, WHOLE_SECOND_NS);
        let text = text.finish();
        assert!(text.contains("x_seconds_bucket{le=\"0.000001\"} 0") && text.contains("x_seconds_sum 0\n"), "{text}");
    }
}
