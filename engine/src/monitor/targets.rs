//! Targets whose deliveries fail, and events that were given up for them. Only changes are reported: dead, and alive
//! again; so a rule that delivers these notices to a dead target adds one event to its backlog, and no more.

use fakemon_capture::options::Thresholds;
use fakemon_delivery::notices::{Notice, NoticeKind};
use fakemon_delivery::{Course, Health, LaneId};
use fakemon_model::ids::Timestamp;
use std::collections::BTreeMap;

/// A target is not dead because of failures within one moment.
const FAILING_NS_MIN: u64 = 1_000_000_000;

/// A target and its present health.
pub(super) struct Seen {
    pub(super) lane: LaneId,
    pub(super) arn: String,
    pub(super) health: Health,
    /// Since when nothing was delivered, by the wall clock.
    pub(super) failing_since: Option<Timestamp>,
    pub(super) backlog: u64,
}

impl Seen {
    fn is_dead(&self, thresholds: &Thresholds, now: Timestamp) -> bool {
        let Health { failed_attempts, failing_since, .. } = self.health;
        let Some(since) = failing_since else { return false };
        let failing_ns = now.ns_since(since);
        let attempts_reached = failed_attempts >= u64::from(thresholds.target_dead_attempts);
        let time_reached = u128::from(failing_ns) >= thresholds.target_dead_after.as_nanos() && failed_attempts > 1;
        failing_ns >= FAILING_NS_MIN && attempts_reached || time_reached
    }

    fn notice(&self, kind: NoticeKind) -> Notice {
        let subscriber = &self.lane.subscriber;
        let (bus, rule, target) = (subscriber.bus(), subscriber.rule(), subscriber.target());
        Notice::new(kind, &format!("{bus}/{rule}/{target}"))
            .about(&self.arn)
            .with("bus", bus)
            .with("rule", &*rule)
            .with("target", target)
            .with("arn", self.arn.as_str())
    }
}

#[derive(Default)]
struct Watched {
    dead_since: Option<Timestamp>,
    given_up: u64,
    lost: u64,
}

/// The state of each target at the last look.
#[derive(Default)]
pub(super) struct Targets(BTreeMap<LaneId, Watched>);

impl Targets {
    /// Looks at all targets; deleted ones are forgotten.
    pub(super) fn look(&mut self, all: &[Seen], thresholds: &Thresholds, now: Timestamp) -> Vec<Notice> {
        let mut before = std::mem::take(&mut self.0);
        let mut notices = Vec::new();
        for seen in all.iter().filter(|seen| seen.lane.course == Course::Live) {
            let mut watched = before.remove(&seen.lane).unwrap_or_default();
            notices.extend(watched.dead_or_alive(seen, thresholds, now));
            notices.extend(watched.given_up(seen));
            self.0.insert(seen.lane.clone(), watched);
        }
        notices
    }
}

impl Watched {
    fn dead_or_alive(&mut self, seen: &Seen, thresholds: &Thresholds, now: Timestamp) -> Option<Notice> {
        let health = &seen.health;
        match self.dead_since {
            None if seen.is_dead(thresholds, now) => {
                self.dead_since = health.failing_since;
                let since = seen.failing_since.unwrap_or(now);
                let notice = seen
                    .notice(NoticeKind::TargetDead)
                    .with("error_code", health.error_code.as_str())
                    .with("error_message", health.error_message.as_str())
                    .with("attempts", health.failed_attempts)
                    .with("failing_since", since.to_string())
                    .with("backlog", seen.backlog);
                Some(notice)
            }
            // An event was delivered since then, even if the next one failed again.
            Some(since) if health.failing_since != Some(since) => {
                self.dead_since = None;
                let dead_ms = health.delivered_at.unwrap_or(now).ns_since(since) / 1_000_000;
                let notice = seen.notice(NoticeKind::TargetRecovered);
                Some(notice.with("dead_ms", dead_ms).with("backlog", seen.backlog))
            }
            _ => None,
        }
    }

    fn given_up(&mut self, seen: &Seen) -> Option<Notice> {
        // A lane that was deleted and created again starts at zero.
        let given_up = seen.health.given_up.saturating_sub(self.given_up);
        let lost = seen.health.lost.saturating_sub(self.lost).min(given_up);
        (self.given_up, self.lost) = (seen.health.given_up, seen.health.lost);
        let notice = || {
            seen.notice(NoticeKind::DeadLetter)
                .counting("dead_letters", given_up - lost)
                .counting("lost", lost)
                .with("error_code", seen.health.error_code.as_str())
        };
        (given_up > 0).then(notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fakemon_delivery::{FailureCode, Subscriber};
    use fakemon_model::names::{BusName, RuleName, TargetId};

    const SECOND: u64 = 1_000_000_000;

    fn seen(target: &str, health: &Health) -> Seen {
        let lane = LaneId::live(Subscriber::of_rule(BusName("default"), RuleName("r"), TargetId(target)));
        let arn = "arn:aws:sqs:local:123456789012:q".into();
        Seen { lane, arn, health: health.clone(), failing_since: health.failing_since, backlog: 7 }
    }

    /// Looks once a second, after `step` changed the health; returns which kinds of notices were posted when.
    fn told(seconds: u64, step: impl Fn(u64, &mut Health, Timestamp)) -> Vec<(u64, &'static str)> {
        let (mut targets, mut health, thresholds) = (Targets::default(), Health::default(), Thresholds::default());
        let mut told = Vec::new();
        for second in 0..seconds {
            let now = Timestamp(second * SECOND);
            step(second, &mut health, now);
            let notices = targets.look(&[seen("t", &health)], &thresholds, now);
            told.extend(notices.iter().map(|notice| (second, notice.kind().detail_type())));
        }
        told
    }

    #[test]
    fn a_target_is_dead_after_some_failures_and_alive_with_the_next_delivery() {
        let told = told(40, |second, health, now| match second {
            10..20 => health.failed(FailureCode::ConnectionFailure, "refused", now),
            20 | 33 => health.delivered(1, now),
            30 => (0..16).for_each(|_| health.failed(FailureCode::ErrorFromTarget, "", now)), // many in one moment
            _ => {}
        });
        assert_eq!(
            told,
            [
                (14, "fakemon.target_dead"),
                (20, "fakemon.target_recovered"),
                (31, "fakemon.target_dead"),
                (33, "fakemon.target_recovered")
            ]
        );
    }

    #[test]
    fn few_failures_over_a_long_time_are_death_too() {
        let told = told(80, |second, health, now| {
            if second % 25 == 0 {
                health.failed(FailureCode::Timeout, "", now);
            }
        });
        assert_eq!(told, [(30, "fakemon.target_dead")]);
    }

    #[test]
    fn given_up_events_are_told_with_what_is_lost_and_targets_that_are_gone_are_forgotten() {
        let (mut targets, mut health, thresholds) = (Targets::default(), Health::default(), Thresholds::default());
        [true, false, false].into_iter().for_each(|is_lost| health.given_up(is_lost));
        let notices = targets.look(&[seen("t", &health)], &thresholds, Timestamp(1));
        let expected = seen("t", &health).notice(NoticeKind::DeadLetter);
        assert_eq!(notices, [expected.counting("dead_letters", 2).counting("lost", 1).with("error_code", "")]);
        assert!(targets.look(&[seen("t", &health)], &thresholds, Timestamp(2)).is_empty());
        targets.look(&[], &thresholds, Timestamp(3));
        assert!(targets.0.is_empty());
    }
}
