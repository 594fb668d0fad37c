//! The axis: time in buckets of one width.

use fakemon_model::ids::Timestamp;
use std::time::Duration;

/// Buckets of one timeline: each takes some hundred bytes of memory.
pub const BUCKETS_MAX: u64 = 100_000;
/// The smallest width of a bucket.
pub const BUCKET_NS_MIN: u64 = 1_000_000;
/// The most buckets of an axis for which no width was given.
const BUCKETS_CHOSEN_MAX: u64 = 120;
/// Round widths in milliseconds; above these, multiples of a hundred days.
const WIDTHS_MS: [u64; 24] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000,
    600_000, 1_800_000, 3_600_000, 10_800_000, 43_200_000, 86_400_000,
];

/// A range of time in buckets of one width. Buckets begin at multiples of their width, so that they begin at round
/// moments; the range cuts the first and the last.
///
/// ```text
///         begin                            end
/// ├─────────┼───┤├─────────────┤├───────────┼─┤
///   bucket 0       bucket 1        bucket 2
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    begin: Timestamp,
    end: Timestamp,
    bucket_ns: u64,
}

/// Why there is no such axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AxisError {
    /// The range ends where it begins, or before.
    #[error("it ends at {end}, which is not after its beginning at {begin}")]
    Backwards {
        /// Its first moment.
        begin: Timestamp,
        /// The moment after its last.
        end: Timestamp,
    },
    /// A bucket is narrower than [`BUCKET_NS_MIN`].
    #[error("a bucket takes at least 1 ms")]
    TooNarrow,
    /// More buckets than there may be.
    #[error("the range has {buckets} buckets of this width, at most {BUCKETS_MAX} can be kept: {} fits", width(*.fits_ns))]
    TooMany {
        /// How many there would be.
        buckets: u64,
        /// A width that fits.
        fits_ns: u64,
    },
}

impl Axis {
    /// The time from `begin` to `end` (not included); without a width, one that gives about a hundred buckets.
    ///
    /// # Errors
    /// When it is empty, or has more than [`BUCKETS_MAX`] buckets.
    pub fn new(begin: Timestamp, end: Timestamp, bucket: Option<Duration>) -> Result<Axis, AxisError> {
        if end <= begin {
            return Err(AxisError::Backwards { begin, end });
        }
        let bucket_ns = match bucket {
            Some(bucket) => u64::try_from(bucket.as_nanos()).unwrap_or(u64::MAX),
            None => fitting(begin, end, BUCKETS_CHOSEN_MAX),
        };
        if bucket_ns < BUCKET_NS_MIN {
            return Err(AxisError::TooNarrow);
        }
        match count(begin, end, bucket_ns) {
            ..=BUCKETS_MAX => Ok(Axis { begin, end, bucket_ns }),
            buckets => Err(AxisError::TooMany { buckets, fits_ns: fitting(begin, end, BUCKETS_MAX) }),
        }
    }

    /// The first moment.
    pub fn begin(&self) -> Timestamp {
        self.begin
    }

    /// The moment after the last.
    pub fn end(&self) -> Timestamp {
        self.end
    }

    /// The width of a bucket.
    pub fn bucket_ns(&self) -> u64 {
        self.bucket_ns
    }

    /// How many buckets there are.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        usize::try_from(count(self.begin, self.end, self.bucket_ns)).expect("the constructor bounds it")
    }

    /// The bucket of a moment; none outside the range.
    #[inline]
    pub fn index(&self, at: Timestamp) -> Option<usize> {
        (self.begin <= at && at < self.end).then(|| self.place(at))
    }

    /// As [`index`](Self::index), for a moment of the range.
    #[inline]
    pub(super) fn place(&self, at: Timestamp) -> usize {
        (at.0 / self.bucket_ns - self.begin.0 / self.bucket_ns) as usize
    }

    /// When a bucket begins.
    pub fn begin_of(&self, index: usize) -> Timestamp {
        self.edge(index).max(self.begin)
    }

    /// When a bucket ends.
    pub fn end_of(&self, index: usize) -> Timestamp {
        self.edge(index + 1).min(self.end)
    }

    /// How much of a bucket is in the range.
    pub fn covered_ns(&self, index: usize) -> u64 {
        self.end_of(index).ns_since(self.begin_of(index))
    }

    fn edge(&self, index: usize) -> Timestamp {
        let bucket = (self.begin.0 / self.bucket_ns).saturating_add(index as u64);
        Timestamp(bucket.saturating_mul(self.bucket_ns))
    }
}

/// Buckets that a range touches.
fn count(begin: Timestamp, end: Timestamp, bucket_ns: u64) -> u64 {
    (end.0 - 1) / bucket_ns - begin.0 / bucket_ns + 1
}

/// The smallest round width of which a range has at most `most` buckets.
fn fitting(begin: Timestamp, end: Timestamp, most: u64) -> u64 {
    let days = (1..).map(|hundreds: u64| hundreds * 100 * 86_400_000);
    let mut widths = WIDTHS_MS.into_iter().chain(days).map(|ms| ms * 1_000_000);
    widths.find(|width| count(begin, end, *width) <= most).expect("widths grow beyond every range")
}

/// A width as it is written in a setting: `500ms`, `2s`, `30m`.
fn width(ns: u64) -> String {
    match ns / 1_000_000 {
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1_000 == 0 => format!("{}s", ms / 1_000),
        ms => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn axis(begin: u64, end: u64, bucket_ms: u64) -> Result<Axis, AxisError> {
        Axis::new(Timestamp(begin), Timestamp(end), Some(Duration::from_millis(bucket_ms)))
    }

    #[test]
    fn buckets_begin_at_round_moments_and_the_range_cuts_them() {
        let axis = axis(15 * MS, 32 * MS, 10).unwrap();
        assert_eq!(
            (axis.len(), axis.covered_ns(0), axis.covered_ns(1), axis.covered_ns(2)),
            (3, 5 * MS, 10 * MS, 2 * MS)
        );
        assert_eq!((axis.begin_of(0), axis.begin_of(1)), (Timestamp(15 * MS), Timestamp(20 * MS)));
        let index = |at: u64| axis.index(Timestamp(at));
        assert_eq!((index(15 * MS - 1), index(15 * MS), index(20 * MS - 1)), (None, Some(0), Some(0)));
        assert_eq!((index(20 * MS), index(32 * MS - 1), index(32 * MS)), (Some(1), Some(2), None));
    }

    #[test]
    fn a_width_is_chosen_so_that_there_are_about_a_hundred() {
        for (span_ms, width_ms) in [(1, 1), (119, 1), (121, 2), (60_000, 500), (3_600_000, 30_000)] {
            let chosen = Axis::new(Timestamp(0), Timestamp(span_ms * MS), None).unwrap();
            assert_eq!(chosen.bucket_ns(), width_ms * MS, "{span_ms} ms");
        }
        let all = Axis::new(Timestamp(0), Timestamp(u64::MAX), None).unwrap();
        assert!((20..=120).contains(&all.len()), "{}", all.len());
    }

    #[test]
    fn what_makes_no_axis_is_told_with_what_would() {
        assert!(matches!(axis(5, 5, 1), Err(AxisError::Backwards { .. })));
        assert!(matches!(axis(6, 5, 1), Err(AxisError::Backwards { .. })));
        assert_eq!(axis(0, 5, 0), Err(AxisError::TooNarrow));
        let said = axis(0, 3_600_000 * MS, 1).unwrap_err().to_string();
        assert_eq!(said, "the range has 3600000 buckets of this width, at most 100000 can be kept: 50ms fits");
        assert_eq!(axis(0, 3_600_000 * MS, 50).map(|axis| axis.len()), Ok(72_000));
    }
}
