//! Who gets the events of a lane. Rows on disk, names of deliveries, metrics and reports know a subscriber by three
//! names (bus, rule, target), in this order too; those of subscribers that are not rules begin with an empty bus.
//!
//! | subscriber | bus | rule | target |
//! |---|---|---|---|
//! | a target of a rule | its bus | its rule | its id |
//! | an answer webhook | – | `answers` | its name |
//! | schedules of a group | – | `schedule-group/GROUP` | the kind of destination |
//! | commands | – | `commands` | `capture` |

use fakemon_model::names::{BusName, RuleName, TargetId};
use fakemon_resource::inbound::ANSWERS;
use fakemon_resource::resource::Target;
use std::borrow::Cow;
use std::cmp::Ordering;

/// The prefix of the rule in the names of schedules.
const GROUP: &str = "schedule-group/";
const COMMANDS: &str = "commands";
const CAPTURE: &str = "capture";

/// Who gets the events of a lane.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subscriber {
    /// A target of a rule of a bus.
    Rule { bus: String, rule: String, target: String },
    /// An answer webhook, by its name.
    Answers(String),
    /// The schedules of a group, for one kind of destination: a hundred thousand schedules share a few lanes.
    Schedule { group: String, kind: String },
    /// Commands from all buses: they are carried out in the order of the journal.
    Commands,
}

impl Subscriber {
    /// The target of a rule of a bus.
    pub fn of_rule(
        BusName(bus): BusName<'_>,
        RuleName(rule): RuleName<'_>,
        TargetId(target): TargetId<'_>,
    ) -> Subscriber {
        Subscriber::Rule { bus: bus.to_owned(), rule: rule.to_owned(), target: target.to_owned() }
    }

    /// The subscriber that three names mean.
    pub fn named(
        BusName(bus): BusName<'_>,
        RuleName(rule): RuleName<'_>,
        TargetId(target): TargetId<'_>,
    ) -> Subscriber {
        match (bus, rule, target) {
            ("", ANSWERS, webhook) => Subscriber::Answers(webhook.to_owned()),
            ("", COMMANDS, CAPTURE) => Subscriber::Commands,
            ("", rule, kind) if rule.starts_with(GROUP) => {
                Subscriber::Schedule { group: rule[GROUP.len()..].to_owned(), kind: kind.to_owned() }
            }
            (bus, rule, target) => Subscriber::of_rule(BusName(bus), RuleName(rule), TargetId(target)),
        }
    }

    /// The subscriber that a target stands for.
    pub fn of_target(target: &Target) -> Subscriber {
        Subscriber::named(BusName(&target.bus), RuleName(&target.rule), TargetId(&target.id))
    }

    /// The first of its names: the bus of a rule, else empty.
    pub fn bus(&self) -> &str {
        match self {
            Subscriber::Rule { bus, .. } => bus,
            Subscriber::Answers(_) | Subscriber::Schedule { .. } | Subscriber::Commands => "",
        }
    }

    /// The second of its names.
    pub fn rule(&self) -> Cow<'_, str> {
        match self {
            Subscriber::Rule { rule, .. } => rule.into(),
            Subscriber::Answers(_) => ANSWERS.into(),
            Subscriber::Schedule { group, .. } => format!("{GROUP}{group}").into(),
            Subscriber::Commands => COMMANDS.into(),
        }
    }

    /// The third of its names.
    pub fn target(&self) -> &str {
        match self {
            Subscriber::Rule { target, .. } => target,
            Subscriber::Answers(webhook) => webhook,
            Subscriber::Schedule { kind, .. } => kind,
            Subscriber::Commands => CAPTURE,
        }
    }

    pub fn is_answers(&self) -> bool {
        matches!(self, Subscriber::Answers(_))
    }

    /// The group whose schedules it takes events from, if it does.
    pub fn group(&self) -> Option<&str> {
        match self {
            Subscriber::Schedule { group, .. } => Some(group),
            Subscriber::Rule { .. } | Subscriber::Answers(_) | Subscriber::Commands => None,
        }
    }
}

impl Ord for Subscriber {
    fn cmp(&self, other: &Subscriber) -> Ordering {
        let names = |one: &Subscriber| self.bus().cmp(one.bus()).then_with(|| self.rule().cmp(&one.rule()));
        names(other).then_with(|| self.target().cmp(other.target()))
    }
}

impl PartialOrd for Subscriber {
    fn partial_cmp(&self, other: &Subscriber) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_names_mean_one_subscriber_and_come_back() {
        for (names, subscriber) in [
            (["default", "r", "t"], Subscriber::of_rule(BusName("default"), RuleName("r"), TargetId("t"))),
            (["default", ANSWERS, "t"], Subscriber::of_rule(BusName("default"), RuleName(ANSWERS), TargetId("t"))),
            (
                ["aws.partner/x/y", "schedule-group/g", "t"],
                Subscriber::of_rule(BusName("aws.partner/x/y"), RuleName("schedule-group/g"), TargetId("t")),
            ),
            (["", "answers", "hook"], Subscriber::Answers("hook".into())),
            (["", "schedule-group/g", "queues"], Subscriber::Schedule { group: "g".into(), kind: "queues".into() }),
            (["", "commands", "capture"], Subscriber::Commands),
        ] {
            let [bus, rule, target] = names;
            assert_eq!(Subscriber::named(BusName(bus), RuleName(rule), TargetId(target)), subscriber);
            assert_eq!((subscriber.bus(), &*subscriber.rule(), subscriber.target()), (bus, rule, target));
        }
    }

    #[test]
    fn subscribers_are_in_the_order_of_their_names() {
        let names = [
            ["", "answers", "a"],
            ["", "answers", "b"],
            ["", "commands", "capture"],
            ["", "schedule-group/g", "queues"],
            ["b", "a", "t"],
            ["b", "r", "t"],
            ["b/c", "a", "t"],
        ];
        let subscribers =
            names.map(|[bus, rule, target]| Subscriber::named(BusName(bus), RuleName(rule), TargetId(target)));
        assert!(subscribers.is_sorted());
    }
}
