//! The status of an event's deliveries to the targets of matching rules, from the depot: for tools, beside a running
//! server or without one. A finished delivery leaves no trace except the lane's cursor after it; an event that was
//! given up is in the dead-letter queue, if the target has one.

use super::lane::subscriber::Subscriber;
use super::lane::{self, Course, LaneId, Standing};
use crate::router::router_state::Known;
use fakemon_journal::{BusStore, ReadError};
use fakemon_model::envelope::EventKey;
use fakemon_model::ids::{Ahead, Position, Timestamp};
use fakemon_model::names::{BusName, RuleName};
use fakemon_pattern::pattern::Pattern;
use fakemon_queue::queue;
use fakemon_resource::resource::Target;
use fakemon_resource::{Destination, Registry};
use std::collections::BTreeMap;

/// An event and a target that gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The key of the event; of an attempt either that it was made, or how it ended.
    pub key: EventKey,
    /// The bus it appears on.
    pub bus: String,
    /// The rule that matched it, as the rule was then.
    pub rule: String,
    /// The target of the rule, by its id.
    pub target: String,
    /// The ARN of the target.
    pub arn: String,
    /// Its status.
    pub whereabouts: DeliveryStatus,
}

/// The status of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// Unknown: the directory holds only a journal, as an import makes it.
    Unknown,
    /// Not matched against rules yet.
    NotMatched,
    /// It waits for its turn, or for a retry.
    Waiting {
        /// Failed attempts so far.
        attempts: u32,
        /// When the first attempt was made.
        first_attempt_at: Option<Timestamp>,
    },
    /// Delivered; or given up, if the target has no dead-letter queue.
    Delivered,
    /// Given up: it is in the dead-letter queue.
    DeadLetter {
        queue: String,
        /// When it was put there.
        at: Timestamp,
        /// Retries before that.
        retries: String,
        /// The last error of the target: its code,
        code: String,
        /// and its message.
        message: String,
    },
    /// The target no longer exists.
    TargetGone,
}

impl DeliveryStatus {
    /// Its word in reports.
    pub fn name(&self) -> &'static str {
        match self {
            DeliveryStatus::Unknown => "unknown",
            DeliveryStatus::NotMatched => "not_matched",
            DeliveryStatus::Waiting { .. } => "waiting",
            DeliveryStatus::Delivered => "delivered",
            DeliveryStatus::DeadLetter { .. } => "dead_letter",
            DeliveryStatus::TargetGone => "target_gone",
        }
    }
}

/// The state of all lanes, and how far rules were matched.
pub struct StatusReader {
    /// None in a directory that holds only a journal.
    depot: Option<BusStore>,
    lanes: BTreeMap<LaneId, lane::StoredLane>,
    matched_to: Position,
    /// How far times of lanes and queues are ahead of the wall clock.
    ahead: Ahead,
}

impl StatusReader {
    pub fn read(
        depot: Option<BusStore>,
        first: Position,
        end: Position,
        ahead: Ahead,
    ) -> Result<StatusReader, ReadError> {
        let (mut lanes, mut matched_to) = (BTreeMap::new(), first);
        if let Some(depot) = &depot {
            matched_to = Known::read(depot, first, end)?.next;
            lanes = lane::read_all(depot)?.into_iter().collect();
        }
        Ok(StatusReader { depot, lanes, matched_to, ahead })
    }

    /// The deliveries of an event by the rules of `then`, which see it as `json`, with their status.
    pub fn deliveries(
        &self,
        then: &Registry,
        bus: &str,
        key: EventKey,
        json: &str,
    ) -> Result<Vec<Delivery>, ReadError> {
        let mut deliveries = Vec::new();
        for rule in then.rules_of(bus).filter(|rule| rule.is_enabled()) {
            let pattern = rule.pattern.as_deref().and_then(|text| Pattern::parse(text).ok());
            if pattern.is_some_and(|pattern| pattern.matches(json.as_bytes()).unwrap_or(false)) {
                for target in then.targets_of(BusName(bus), RuleName(&rule.name)) {
                    let (rule, id, arn) = (rule.name.clone(), target.id.clone(), target.arn.clone());
                    let whereabouts = self.whereabouts(key, target)?;
                    deliveries.push(Delivery { key, bus: bus.to_owned(), rule, target: id, arn, whereabouts });
                }
            }
        }
        Ok(deliveries)
    }

    /// Lanes and queues are looked at first, because the position of matching is stored a little later.
    fn whereabouts(&self, key: EventKey, target: &Target) -> Result<DeliveryStatus, ReadError> {
        let Some(depot) = &self.depot else { return Ok(DeliveryStatus::Unknown) };
        let id = |course| LaneId { subscriber: Subscriber::of_target(target), course };
        if self.lanes.get(&id(Course::Redrive)).is_some_and(|kept| kept.holds(key)) {
            return Ok(DeliveryStatus::Waiting { attempts: 0, first_attempt_at: None });
        }
        if let Some(letter) = dead_letter(depot, key, target, self.ahead)? {
            return Ok(letter);
        }
        let (live, is_matched) = (id(Course::Live), key.position() < self.matched_to);
        let standing = self.lanes.get(&live).map(|kept| kept.standing(&live, key, depot)).transpose()?;
        Ok(match standing {
            Some(Standing::Done) => DeliveryStatus::Delivered,
            _ if !is_matched => DeliveryStatus::NotMatched,
            Some(Standing::Waiting { attempts, first_attempt_at }) => {
                let first_attempt_at = first_attempt_at.map(|at| self.ahead.to_wall(at));
                DeliveryStatus::Waiting { attempts, first_attempt_at }
            }
            None => DeliveryStatus::TargetGone,
        })
    }
}

fn dead_letter(
    depot: &BusStore,
    key: EventKey,
    target: &Target,
    ahead: Ahead,
) -> Result<Option<DeliveryStatus>, ReadError> {
    let Some(Destination::Queue(name)) = target.dead_letter_arn.as_deref().map(Destination::of) else {
        return Ok(None);
    };
    let id = key.id();
    let mut found = None;
    queue::search(depot, &name, id.as_bytes(), &mut |message| {
        let text = |name: &str| message.attributes.get(name).map(|attribute| attribute.value.clone());
        let ours = text("FAKEMON_EVENT_ID").is_some_and(|of| of == id)
            && text("FAKEMON_TARGET_ID").is_some_and(|of| of == target.id)
            && text("RULE_ARN").is_some_and(|arn| arn.ends_with(&format!("/{}", target.rule)));
        if ours {
            found = Some(DeliveryStatus::DeadLetter {
                queue: name.clone(),
                at: ahead.to_wall(message.sent_at),
                retries: text("RETRY_ATTEMPTS").unwrap_or_default(),
                code: text("ERROR_CODE").unwrap_or_default(),
                message: text("ERROR_MESSAGE").unwrap_or_default(),
            });
        }
    })?;
    Ok(found)
}
