//! What the journal keeps, by age and size. The journal is treated as a row of segments of neighbouring blocks; the
//! oldest segments are deleted while they exceed a limit, and the last one always stays.

use crate::options::Retention;
use fakemon_model::ids::{Position, Timestamp};
use std::collections::VecDeque;

/// The granularity of retention: a limit is kept to within this fraction of it.
const SEGMENTS: u32 = 64;

struct Segment {
    first: Position,
    bytes: u64,
    oldest: Timestamp,
    newest: Timestamp,
}

/// The blocks that are kept.
pub struct Kept {
    retention: Retention,
    segments: VecDeque<Segment>,
    bytes: u64,
}

impl Kept {
    pub fn new(retention: Retention) -> Kept {
        Kept { retention, segments: VecDeque::new(), bytes: 0 }
    }

    /// Whether there is any limit.
    pub fn is_limited(&self) -> bool {
        self.retention.max_age.is_some() || self.retention.max_bytes.is_some()
    }

    /// Adds the next block.
    pub fn add(&mut self, first: Position, bytes: u64, committed_at: Timestamp) {
        self.bytes += bytes;
        let (max_age, max_bytes) = (self.retention.max_age, self.retention.max_bytes);
        let full = |segment: &Segment| {
            let age_ns = u128::from(committed_at.ns_since(segment.oldest));
            max_bytes.is_some_and(|max| segment.bytes >= max / u64::from(SEGMENTS))
                || max_age.is_some_and(|max| age_ns >= (max / SEGMENTS).as_nanos())
        };
        match self.segments.back_mut().filter(|segment| !full(segment)) {
            Some(segment) => {
                segment.bytes += bytes;
                segment.newest = committed_at;
            }
            None => self.segments.push_back(Segment { first, bytes, oldest: committed_at, newest: committed_at }),
        }
    }

    /// Removes the segments that are too old or exceed the size, if all their events are before `needed`; returns the
    /// new beginning of the journal if it changed.
    pub fn let_go(&mut self, now: Timestamp, needed: Position) -> Option<Position> {
        let Retention { max_age, max_bytes } = self.retention;
        let mut gone = false;
        while let [first, next, ..] = self.segments.make_contiguous() {
            if next.first > needed {
                break;
            }
            let old = max_age.is_some_and(|max| u128::from(now.ns_since(first.newest)) > max.as_nanos());
            if !old && max_bytes.is_none_or(|max| self.bytes <= max) {
                break;
            }
            self.bytes -= first.bytes;
            self.segments.pop_front();
            gone = true;
        }
        self.segments.front().filter(|_| gone).map(|segment| segment.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const END: Position = Position(u64::MAX);

    #[test]
    fn size_is_kept_to_a_part_of_the_limit_and_idling_loses_nothing() {
        let mut kept = Kept::new(Retention { max_age: None, max_bytes: Some(6_400) });
        (0..1_000).for_each(|block| kept.add(Position(1 + block), 50, Timestamp(block)));
        let begin = kept.let_go(Timestamp(1_000), END).expect("50,000 bytes are too many").0;
        assert!((872..=876).contains(&begin), "6,400 bytes are the last 128 blocks: {begin}");
        assert_eq!(kept.let_go(Timestamp(9_000_000), END), None);
    }

    #[test]
    fn age_lets_go_of_all_but_the_last_segment() {
        let mut kept = Kept::new(Retention { max_age: Some(Duration::from_nanos(640)), max_bytes: None });
        (0..100).for_each(|block| kept.add(Position(1 + block), 50, Timestamp(block * 20)));
        assert_eq!(kept.let_go(Timestamp(1_980), END), Some(Position(68)));
        assert_eq!(kept.let_go(Timestamp(1_000_000), Position(90)), Some(Position(90)), "somebody needs it");
        assert_eq!(kept.let_go(Timestamp(1_000_000), END), Some(Position(100)));
    }
}
