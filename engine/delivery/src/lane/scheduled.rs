//! Lanes of schedules: one per group and kind of destination, so that a hundred thousand schedules share a few lanes,
//! and a group that waits for a dead target delays no other group. Each event on them names its own target.

use crate::lane::{Lane, LaneId};
use crate::{ShapedEvent, router};
use fakemon_model::envelope::{ACCOUNT, REGION};
use fakemon_resource::Destination;
use fakemon_resource::resource::Target;
use fakemon_schedule::{PUT_EVENTS, SEND_MESSAGE};
use serde::Deserialize;

/// The prefix of the rule in the id of such lanes.
const GROUP: &str = "schedule-group/";
/// The most lanes of schedules: events for further destinations become dead letters.
pub(crate) const LANES_MAX: usize = 1_024;
/// Schedules are independent: a retry of one delays no other.
const PARALLEL: usize = 256;
/// The same, where each event is a request of its own.
const REQUESTS: usize = 16;

/// Whether a lane is one of schedules.
pub(crate) fn is_one(id: &LaneId) -> bool {
    group_of(id).is_some()
}

/// The group of a lane of schedules.
pub fn group_of(id: &LaneId) -> Option<&str> {
    id.rule.strip_prefix(GROUP).filter(|_| id.bus.is_empty())
}

/// The lane for a target of a schedule.
pub(crate) fn lane(group: &str, arn: &str) -> (LaneId, Target) {
    let destination = match arn {
        SEND_MESSAGE => Destination::Queue(String::new()),
        PUT_EVENTS => Destination::Bus(String::new()),
        arn => Destination::of(arn),
    };
    let id = router::live("", &format!("{GROUP}{group}"), &kind(&destination));
    let target = target(&id);
    (id, target)
}

/// The group and the kind of destination of an event of a schedule.
pub fn lane_of_firing(schedule: &str, detail: &str) -> Option<(String, String)> {
    let (group, _) = schedule.strip_prefix("schedule/")?.split_once('/')?;
    Some((group.to_owned(), lane(group, &arn_of(detail)?).0.target))
}

/// The name of a destination's lane in its group.
pub fn kind(destination: &Destination) -> String {
    match destination {
        Destination::Queue(_) => "queues".into(),
        Destination::LogGroup(_) => "log-groups".into(),
        Destination::Bus(_) => "event-buses".into(),
        Destination::Capture => "capture".into(),
        Destination::Players | Destination::Player(_) => "players".into(),
        Destination::Function(name) => format!("function/{name}"),
        Destination::Webhook(name) => format!("api-destination/{name}"),
        _ => "nothing".into(),
    }
}

/// The lane of the same group for events without a destination.
pub(crate) fn nowhere(id: &LaneId) -> (LaneId, Target) {
    let id = LaneId { target: "nothing".into(), ..id.clone() };
    let target = target(&id);
    (id, target)
}

/// The target of a lane; it stands for all targets on it, and selects their carrier.
pub(crate) fn target(id: &LaneId) -> Target {
    let arn = match id.target.split_once('/') {
        Some(("api-destination", _)) => format!("arn:aws:events:{REGION}:{ACCOUNT}:{}", id.target),
        Some(("function", _)) => format!("arn:aws:fakemon:{REGION}:{ACCOUNT}:{}", id.target),
        _ if id.target == "players" => format!("arn:aws:fakemon:{REGION}:{ACCOUNT}:players"),
        _ => format!("arn:aws:fakemon:{REGION}:{ACCOUNT}:{}/{}", id.rule, id.target),
    };
    Target {
        bus: id.bus.clone(),
        rule: id.rule.clone(),
        id: id.target.clone(),
        arn,
        input: None,
        input_path: None,
        transformer: None,
        retry: None,
        dead_letter_arn: None,
        http: None,
        given: serde_json::Map::new(),
    }
}

/// How many deliveries of a lane may be in flight at once; those to the game and to buses stay in order.
pub(crate) fn parallel(id: &LaneId) -> usize {
    match id.target.as_str() {
        "event-buses" | "capture" => 1,
        target if target.contains('/') => REQUESTS,
        _ => PARALLEL,
    }
}

/// The ARN of the target in the detail of a schedule's event.
pub(crate) fn arn_of(detail: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Detail {
        target: Named,
    }
    #[derive(Deserialize)]
    struct Named {
        #[serde(rename = "Arn")]
        arn: String,
    }
    Some(serde_json::from_str::<Detail>(detail).ok()?.target.arn)
}

/// Splits letters by destination, keeping the order of each.
pub fn by_destination(lane: &Lane, letters: Vec<ShapedEvent>) -> Vec<(String, Vec<ShapedEvent>)> {
    if !is_one(lane.id()) {
        return vec![(lane.target().arn.clone(), letters)];
    }
    let arn = |letter: &ShapedEvent| letter.target.as_ref().map_or_else(String::new, |target| target.arn.clone());
    let mut parts: Vec<(String, Vec<ShapedEvent>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for letter in letters {
        let arn = arn(&letter);
        // Letters for the game and for buses keep their overall order.
        let place = match lane.parallel() {
            1 => parts.len().checked_sub(1).filter(|last| parts[*last].0 == arn),
            _ => places.get(&arn).copied(),
        };
        match place {
            Some(place) => parts[place].1.push(letter),
            None => {
                places.insert(arn.clone(), parts.len());
                parts.push((arn, vec![letter]));
            }
        }
    }
    parts
}
