//! Attempts that are answered `throttled`: the engine sheds what it cannot take. It begins with the first and is over
//! when there was none for a while.

use fakemon_delivery::notices::{Notice, NoticeKind};
use fakemon_model::ids::Timestamp;

/// How long after the last throttled attempt shedding is over.
const OVER_AFTER_NS: u64 = 5_000_000_000;

/// Attempts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AttemptCounts {
    pub(super) attempts: u64,
    pub(super) throttled: u64,
}

impl AttemptCounts {
    fn since(self, before: AttemptCounts) -> AttemptCounts {
        AttemptCounts { attempts: self.attempts - before.attempts, throttled: self.throttled - before.throttled }
    }
}

struct Episode {
    began_at: Timestamp,
    before: AttemptCounts,
    throttled_at: Timestamp,
}

/// The state at the last look.
#[derive(Default)]
pub(super) struct Shedding {
    seen: AttemptCounts,
    episode: Option<Episode>,
}

impl Shedding {
    pub(super) fn look(&mut self, counts: AttemptCounts, now: Timestamp) -> Option<Notice> {
        let before = std::mem::replace(&mut self.seen, counts);
        let news = counts.since(before);
        match &mut self.episode {
            None if news.throttled > 0 => {
                self.episode = Some(Episode { began_at: now, before, throttled_at: now });
                Some(told(NoticeKind::SheddingStarted, news))
            }
            Some(episode) if news.throttled > 0 => {
                episode.throttled_at = now;
                None
            }
            Some(episode) if now.ns_since(episode.throttled_at) >= OVER_AFTER_NS => {
                let lasted_ms = episode.throttled_at.ns_since(episode.began_at) / 1_000_000;
                let all = counts.since(episode.before);
                self.episode = None;
                Some(told(NoticeKind::SheddingEnded, all).with("lasted_ms", lasted_ms))
            }
            _ => None,
        }
    }
}

fn told(kind: NoticeKind, counts: AttemptCounts) -> Notice {
    Notice::new(kind, "").with("throttled", counts.throttled).with("attempts", counts.attempts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_is_told_when_it_begins_and_when_it_is_over() {
        let mut shedding = Shedding::default();
        let mut told_at = Vec::new();
        let per_second = [0, 0, 7, 5, 0, 0, 3, 0, 0, 0, 0, 0, 0, 2];
        let (mut counts, mut notices) = (AttemptCounts::default(), Vec::new());
        for (second, throttled) in (0..).zip(per_second) {
            counts.throttled += throttled;
            counts.attempts += 100;
            if let Some(notice) = shedding.look(counts, Timestamp(second * 1_000_000_000)) {
                told_at.push(second);
                notices.push(notice);
            }
        }
        assert_eq!(told_at, [2, 11, 13]);
        let ended = told(NoticeKind::SheddingEnded, AttemptCounts { attempts: 1_000, throttled: 15 })
            .with("lasted_ms", 4_000);
        assert_eq!(notices[1], ended);
    }
}
