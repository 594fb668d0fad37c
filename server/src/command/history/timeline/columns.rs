//! Buckets as columns of a chart: neighbours share a column if there are more buckets than columns, and the largest
//! value is shown, so that no peak is lost.

use fakemon_history::timeline::{Axis, Bucket, Timeline};
use fakemon_model::ids::Timestamp;

/// Columns over the buckets of a timeline.
pub(super) struct Columns<'a> {
    timeline: &'a Timeline,
    count: usize,
}

impl<'a> Columns<'a> {
    /// Makes `count` columns; more columns than buckets repeat them.
    pub(super) fn new(timeline: &'a Timeline, count: usize) -> Columns<'a> {
        Columns { timeline, count }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The first bucket of a column, and the one after its last.
    fn buckets(&self, column: usize) -> (usize, usize) {
        let all = self.timeline.buckets.len();
        let first = column * all / self.count;
        (first, ((column + 1) * all / self.count).max(first + 1))
    }

    pub(super) fn begin(&self, column: usize) -> Timestamp {
        self.timeline.axis.begin_of(self.buckets(column).0)
    }

    pub(super) fn end(&self, column: usize) -> Timestamp {
        self.timeline.axis.end_of(self.buckets(column).1 - 1)
    }

    /// For each column the largest value of its buckets; none if no bucket has a value.
    pub(super) fn greatest(&self, of: impl Fn(usize, &Bucket) -> Option<f64>) -> Vec<Option<f64>> {
        let column = |column| {
            let (first, end) = self.buckets(column);
            let values = (first..end).filter_map(|index| of(index, &self.timeline.buckets[index]));
            values.reduce(f64::max)
        };
        (0..self.count).map(column).collect()
    }

    /// For each column the largest rate per second of its buckets.
    pub(super) fn rate(&self, of: impl Fn(&Bucket) -> u64) -> Vec<Option<f64>> {
        self.greatest(|index, bucket| Some(per_second(&self.timeline.axis, index, of(bucket))))
    }

    /// For each column the sum of its buckets.
    pub(super) fn sum(&self, of: impl Fn(&Bucket) -> u64) -> Vec<u64> {
        let column = |column| {
            let (first, end) = self.buckets(column);
            self.timeline.buckets[first..end].iter().map(&of).sum()
        };
        (0..self.count).map(column).collect()
    }
}

/// A count of a bucket per second. A bucket of which the range covers less than half counts as a whole one: a single
/// event in its last microsecond must not show as a million per second.
pub(super) fn per_second(axis: &Axis, index: usize, count: u64) -> f64 {
    let covered = axis.covered_ns(index);
    let ns = if axis.len() == 1 || covered * 2 >= axis.bucket_ns() { covered } else { axis.bucket_ns() };
    count as f64 * 1e9 / ns as f64
}

/// The largest value; 0 if there is none.
pub(super) fn peak(values: &[Option<f64>]) -> f64 {
    values.iter().flatten().copied().fold(0.0, f64::max)
}
