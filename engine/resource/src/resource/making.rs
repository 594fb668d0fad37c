//! Resources with everything left out that may be: no description, no tags, made at time 0. Set what you need with
//! `Target { retry: …, ..Target::new(…) }`.

use super::{Bus, LogGroup, Queue, Rule, RuleState, Tags, Target};
use fakemon_model::envelope::REGION;
use fakemon_model::ids::Timestamp;

impl Bus {
    /// A bus of a name of 1 to 256 letters, digits and any of `.-_`.
    pub fn new(name: &str) -> Bus {
        Bus {
            name: name.to_owned(),
            description: None,
            policy: None,
            dead_letter_arn: None,
            kept: serde_json::Map::new(),
            created_at: Timestamp(0),
            modified_at: Timestamp(0),
            tags: Tags::new(),
        }
    }
}

impl Rule {
    /// A rule of a bus, enabled; `pattern` is an event pattern of EventBridge: `{"source":["shop"]}`.
    pub fn new(bus: &str, name: &str, pattern: &str) -> Rule {
        Rule {
            bus: bus.to_owned(),
            name: name.to_owned(),
            pattern: Some(pattern.to_owned()),
            schedule: None,
            state: RuleState::Enabled,
            description: None,
            role_arn: None,
            region: REGION.to_owned(),
            created_at: Timestamp(0),
            tags: Tags::new(),
        }
    }
}

impl Target {
    /// A target of a rule, which gets the whole event: tried 185 times in 24 hours, then lost.
    pub fn new(bus: &str, rule: &str, id: &str, arn: &str) -> Target {
        Target {
            bus: bus.to_owned(),
            rule: rule.to_owned(),
            id: id.to_owned(),
            arn: arn.to_owned(),
            input: None,
            input_path: None,
            transformer: None,
            retry: None,
            dead_letter_arn: None,
            http: None,
            given: serde_json::Map::new(),
        }
    }
}

impl Queue {
    /// A queue with the service's settings; one whose name ends with `.fifo` keeps the order of groups.
    pub fn new(name: &str) -> Queue {
        Queue {
            name: name.to_owned(),
            attributes: Tags::new(),
            created_at: Timestamp(0),
            modified_at: Timestamp(0),
            tags: Tags::new(),
        }
    }
}

impl LogGroup {
    /// After how many days lines may go.
    pub const RETENTION_DAYS: [u32; 23] = [
        1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1_096, 1_827, 2_192, 2_557, 2_922, 3_288,
        3_653, 36_500,
    ];
}
