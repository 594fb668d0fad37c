//! Groups that took long to reach the disk. The committer counts them; here they are reported.

use fakemon_capture::metrics::SlowSyncs;
use fakemon_delivery::notices::{Notice, NoticeKind};

/// Tells of slow groups, unless all that was in them were notices: otherwise a slow disk would have something to say
/// of itself for ever.
pub(super) fn look(slow: &SlowSyncs, own_events: u64) -> Option<Notice> {
    if slow.events <= own_events {
        return None;
    }
    let notice = Notice::new(NoticeKind::SlowSync, "")
        .counting("syncs", slow.groups)
        .at_worst("worst_ms", slow.worst_ns / 1_000_000)
        .with("threshold_ms", slow.threshold_ns / 1_000_000)
        .with("position", slow.worst_at.to_string());
    Some(notice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_groups_are_told_unless_they_held_notices_only() {
        let mut slow = SlowSyncs { threshold_ns: 5_000_000, ..SlowSyncs::default() };
        for (events, sync_ns, first) in [(3, 7_000_000, 10), (4, 90_000_000, 13), (9, 4_999_999, 17)] {
            slow.record(events, sync_ns, fakemon_model::ids::Position(first));
        }
        assert_eq!(look(&slow, 7), None);
        let told = look(&slow, 6).unwrap();
        let expected = Notice::new(NoticeKind::SlowSync, "")
            .counting("syncs", 2)
            .at_worst("worst_ms", 90)
            .with("threshold_ms", 5)
            .with("position", "13");
        assert_eq!(told, expected);
        assert_eq!(look(&slow.take(), 0), Some(told));
        assert_eq!(look(&slow, 0), None);
    }
}
