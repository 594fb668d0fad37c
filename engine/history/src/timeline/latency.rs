//! How long something took, per bucket and over the whole range. Buckets are filled one after the other, so one
//! histogram serves them all.

use fakemon_capture::metrics::histogram_ns;
use hdrhistogram::Histogram;

/// How values are distributed. Quantiles are exact to one per cent, the maximum exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// The number of values.
    pub count: u64,
    /// The median.
    pub p50: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The maximum.
    pub max: u64,
}

pub(super) struct Spreading {
    bucket: Histogram<u64>,
    bucket_max: u64,
    whole: Histogram<u64>,
    whole_max: u64,
}

impl Spreading {
    pub(super) fn new() -> Spreading {
        Spreading { bucket: histogram_ns(), bucket_max: 0, whole: histogram_ns(), whole_max: 0 }
    }

    #[inline]
    pub(super) fn add(&mut self, value: u64) {
        self.bucket.saturating_record(value);
        self.bucket_max = self.bucket_max.max(value);
    }

    /// Ends the bucket; returns its distribution.
    pub(super) fn turn(&mut self) -> Spread {
        let spread = spread(&self.bucket, self.bucket_max);
        if spread.count > 0 {
            self.whole.add(&self.bucket).expect("both have the same bounds");
            self.whole_max = self.whole_max.max(self.bucket_max);
            self.bucket.reset();
            self.bucket_max = 0;
        }
        spread
    }

    /// The distribution over all ended buckets.
    pub(super) fn whole(&self) -> Spread {
        spread(&self.whole, self.whole_max)
    }
}

fn spread(histogram: &Histogram<u64>, max: u64) -> Spread {
    if histogram.is_empty() {
        return Spread::default();
    }
    let at = |part| histogram.value_at_quantile(part).min(max);
    Spread { count: histogram.len(), p50: at(0.5), p99: at(0.99), max }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_apart_and_the_whole_is_all_of_them() {
        let mut spreading = Spreading::new();
        (1..=100).for_each(|value| spreading.add(value));
        assert_eq!(spreading.turn(), Spread { count: 100, p50: 50, p99: 99, max: 100 });
        assert_eq!(spreading.turn(), Spread::default());
        spreading.add(3_000_001);
        assert_eq!(spreading.turn(), Spread { count: 1, p50: 3_000_001, p99: 3_000_001, max: 3_000_001 });
        assert_eq!(spreading.whole(), Spread { count: 101, p50: 51, p99: 100, max: 3_000_001 });
        spreading.add(u64::MAX);
        assert_eq!(spreading.turn().max, u64::MAX);
    }
}
