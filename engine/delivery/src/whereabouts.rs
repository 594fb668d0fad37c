//! Where an event is on its way to the targets of the rules that match it, as the depot has it: for tools, beside a
//! running server or without one. Deliveries that are over leave no trace but the lane's cursor behind them; what was given
//! up lies in the dead-letter queue, if the target has one.

use super::known::Known;
use super::lane::{self, Course, LaneId, Standing};
use fakemon_journal::{Depot, ReadError};
use fakemon_model::envelope::EventKey;
use fakemon_model::ids::{Ahead, Position, Timestamp};
use fakemon_pattern::pattern::Pattern;
use fakemon_queue::queue;
use fakemon_resource::resource::Target;
use fakemon_resource::{Destination, Registry};
use std::collections::BTreeMap;

/// An event on its way to a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Which event: of a throw the attempt, or how it ended.
    pub key: EventKey,
    /// The bus it appears on.
    pub bus: String,
    /// The rule that matches it, as the rule was then.
    pub rule: String,
    /// The target of the rule, by its id.
    pub target: String,
    /// What gets it.
    pub arn: String,
    /// Where it is.
    pub whereabouts: Whereabouts,
}

/// Where an event is on its way to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// Nobody knows: the directory holds a journal alone, as an import makes it.
    Unknown,
    /// Rules did not look at it yet.
    NotMatched,
    /// It waits for its turn, or for its next attempt.
    Waiting {
        /// Attempts that failed.
        attempts: u32,
        /// When it was tried first.
        first_attempt_at: Option<Timestamp>,
    },
    /// It was delivered; or given up, if its target has no dead-letter queue.
    Delivered,
    /// It was given up, and lies in the dead-letter queue.
    DeadLetter {
        /// The queue.
        queue: String,
        /// When it came there.
        at: Timestamp,
        /// Retries before that.
        retries: String,
        /// What the target said last: the code,
        code: String,
        /// and the words.
        message: String,
    },
    /// The target is not there any more.
    TargetGone,
}

impl Whereabouts {
    /// The word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Whereabouts::Unknown => "unknown",
            Whereabouts::NotMatched => "not_matched",
            Whereabouts::Waiting { .. } => "waiting",
            Whereabouts::Delivered => "delivered",
            Whereabouts::DeadLetter { .. } => "dead_letter",
            Whereabouts::TargetGone => "target_gone",
        }
    }
}

/// All lanes as of now, and how far rules have looked.
pub struct Yard {
    /// None in a directory that holds a journal alone.
    depot: Option<Depot>,
    lanes: BTreeMap<LaneId, lane::Kept>,
    matched_to: Position,
    /// How far times of lanes and queues are ahead of the wall clock.
    ahead: Ahead,
}

impl Yard {
    pub fn read(depot: Option<Depot>, first: Position, end: Position, ahead: Ahead) -> Result<Yard, ReadError> {
        let (mut lanes, mut matched_to) = (BTreeMap::new(), first);
        if let Some(depot) = &depot {
            matched_to = Known::read(depot, first, end)?.next;
            lanes = lane::read_all(depot)?.into_iter().collect();
        }
        Ok(Yard { depot, lanes, matched_to, ahead })
    }

    /// What the rules of `then` make of an event that they see as `json`, and where it is now.
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
                for target in then.targets_of(bus, &rule.name) {
                    let (rule, id, arn) = (rule.name.clone(), target.id.clone(), target.arn.clone());
                    let whereabouts = self.whereabouts(key, target)?;
                    deliveries.push(Delivery { key, bus: bus.to_owned(), rule, target: id, arn, whereabouts });
                }
            }
        }
        Ok(deliveries)
    }

    /// What the lanes and queues say comes first: how far the rules have looked is noted a little later.
    fn whereabouts(&self, key: EventKey, target: &Target) -> Result<Whereabouts, ReadError> {
        let Some(depot) = &self.depot else { return Ok(Whereabouts::Unknown) };
        let id =
            |course| LaneId { bus: target.bus.clone(), rule: target.rule.clone(), target: target.id.clone(), course };
        if self.lanes.get(&id(Course::Redrive)).is_some_and(|kept| kept.holds(key)) {
            return Ok(Whereabouts::Waiting { attempts: 0, first_attempt_at: None });
        }
        if let Some(letter) = dead_letter(depot, key, target, self.ahead)? {
            return Ok(letter);
        }
        let (live, is_matched) = (id(Course::Live), key.position() < self.matched_to);
        let standing = self.lanes.get(&live).map(|kept| kept.standing(&live, key, depot)).transpose()?;
        Ok(match standing {
            Some(Standing::Done) => Whereabouts::Delivered,
            _ if !is_matched => Whereabouts::NotMatched,
            Some(Standing::Waiting { attempts, first_attempt_at }) => {
                let first_attempt_at = first_attempt_at.map(|at| self.ahead.to_wall(at));
                Whereabouts::Waiting { attempts, first_attempt_at }
            }
            None => Whereabouts::TargetGone,
        })
    }
}

fn dead_letter(
    depot: &Depot,
    key: EventKey,
    target: &Target,
    ahead: Ahead,
) -> Result<Option<Whereabouts>, ReadError> {
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
            found = Some(Whereabouts::DeadLetter {
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
