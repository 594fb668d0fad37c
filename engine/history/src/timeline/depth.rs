//! Queue depths: adds intervals of waiting, gives the depth in each bucket. Exact, with a few numbers per bucket and
//! none per interval.

use super::axis::Axis;
use fakemon_model::ids::Timestamp;

/// How many waited.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Depth {
    /// The depth when the bucket begins.
    pub at_begin: u64,
    /// The mean depth over the bucket.
    pub mean: f64,
}

/// Sums of intervals. Each interval changes only the buckets of its ends; running sums give the buckets in between.
pub(super) struct Depths {
    axis: Axis,
    rows: Vec<Row>,
}

#[derive(Clone, Copy, Default)]
struct Row {
    /// How much of this bucket is covered by intervals that begin or end in it.
    part_ns: u64,
    /// The change, from the previous bucket to this one, in the number of intervals that cover the whole bucket.
    whole: i64,
    /// The same for intervals that cover its first moment.
    at_begin: i64,
}

impl Depths {
    pub(super) fn new(axis: Axis) -> Depths {
        Depths { axis, rows: vec![Row::default(); axis.len() + 1] }
    }

    /// Adds an item that waited from `from` to `to` (not included).
    #[inline]
    pub(super) fn add(&mut self, from: Timestamp, to: Timestamp) {
        let (begin, end) = (self.axis.begin(), self.axis.end());
        if to <= from || to <= begin || from >= end {
            return;
        }
        let (cut, until) = (from.max(begin), to.min(end));
        let (first, last) = (self.axis.place(cut), self.axis.place(Timestamp(until.0 - 1)));
        if first == last {
            self.rows[first].part_ns += until.ns_since(cut);
        } else {
            self.rows[first].part_ns += self.axis.end_of(first).ns_since(cut);
            self.rows[last].part_ns += until.ns_since(self.axis.begin_of(last));
            self.rows[first + 1].whole += 1;
            self.rows[last].whole -= 1;
        }
        // An item that arrives at the very first moment of the range was not waiting before it.
        self.rows[first + usize::from(from >= begin)].at_begin += 1;
        self.rows[last + 1].at_begin -= 1;
    }

    /// The depths of all buckets.
    pub(super) fn finish(&self) -> impl Iterator<Item = Depth> + '_ {
        let (mut whole, mut at_begin) = (0, 0);
        self.rows[..self.axis.len()].iter().enumerate().map(move |(index, row)| {
            whole += row.whole;
            at_begin += row.at_begin;
            let covered = self.axis.covered_ns(index) as f64;
            let mean = whole as f64 + row.part_ns as f64 / covered;
            Depth { at_begin: u64::try_from(at_begin).expect("what ceases has begun"), mean }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn depths_are_exact_at_the_beginning_and_on_average() {
        let ms = |ms: u64| Timestamp(ms * 1_000_000);
        let axis = Axis::new(ms(10), ms(50), Some(Duration::from_millis(10))).unwrap();
        let mut depths = Depths::new(axis);
        depths.add(ms(0), ms(15)); // began before the range
        depths.add(ms(12), ms(14));
        depths.add(ms(18), ms(43)); // covers two buckets
        depths.add(ms(45), ms(99)); // ends after it
        depths.add(ms(0), ms(10)); // ends where the range begins
        depths.add(ms(50), ms(60));
        depths.add(ms(30), ms(30));
        let found: Vec<(u64, f64)> = depths.finish().map(|depth| (depth.at_begin, depth.mean)).collect();
        assert_eq!(found, [(1, 0.9), (1, 1.0), (1, 1.0), (1, 0.8)]);
    }

    #[test]
    fn they_agree_with_counting_moment_by_moment() {
        let axis = Axis::new(Timestamp(3_500_000), Timestamp(17_200_000), Some(Duration::from_millis(2))).unwrap();
        let mut depths = Depths::new(axis);
        let mut intervals = Vec::new();
        for index in 0..500u64 {
            let from = fakemon_model::ids::mix(index) % 200 * 100_000;
            let to = from + fakemon_model::ids::mix(!index) % 60 * 100_000;
            depths.add(Timestamp(from), Timestamp(to));
            intervals.push((from, to));
        }
        let covering = |at: u64| intervals.iter().filter(|(from, to)| *from <= at && at < *to).count();
        for (index, depth) in depths.finish().enumerate() {
            let (begin, end) = (axis.begin_of(index).0, axis.end_of(index).0);
            let steps: Vec<u64> = (begin..end).step_by(100_000).collect();
            let mean = steps.iter().map(|at| covering(*at)).sum::<usize>() as f64 / steps.len() as f64;
            assert!((depth.mean - mean).abs() < 1e-9, "bucket {index}: {depth:?} is not {mean}");
            let before = intervals.iter().filter(|(from, to)| *from < begin && begin < *to).count();
            assert_eq!(depth.at_begin, before as u64, "bucket {index}");
        }
    }
}
