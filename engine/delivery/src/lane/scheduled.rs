//! Lanes of schedules: one per group and kind of destination, so that a hundred thousand schedules share a few lanes,
//! and a group that waits for a dead target delays no other group. Each event on them names its own target.

use crate::ShapedEvent;
use crate::lane::subscriber::Subscriber;
use crate::lane::{Lane, LaneId};
use fakemon_model::envelope::{ACCOUNT, REGION};
use fakemon_resource::Destination;
use fakemon_resource::resource::Target;
use fakemon_schedule::{PUT_EVENTS, SEND_MESSAGE};
use serde::Deserialize;

/// The most lanes of schedules: events for further destinations become dead letters.
pub(crate) const LANES_MAX: usize = 1_024;
/// The kind of events without a destination.
pub(crate) const NOTHING: &str = "nothing";
/// Schedules are independent: a retry of one delays no other.
const PARALLEL: usize = 256;
/// The same, where each event is a request of its own.
const REQUESTS: usize = 16;

/// The kind of destination that distinguishes the lanes of schedules, by the ARN of a schedule's target.
pub(crate) fn kind_of(arn: &str) -> String {
    kind(&match arn {
        SEND_MESSAGE => Destination::Queue(String::new()),
        PUT_EVENTS => Destination::Bus(String::new()),
        arn => Destination::of(arn),
    })
}

/// The lane of a group for a kind of destination.
pub(crate) fn live(group: &str, kind: &str) -> LaneId {
    LaneId::live(Subscriber::Schedule { group: group.to_owned(), kind: kind.to_owned() })
}

/// The group and the kind of destination of an event of a schedule.
pub fn lane_of_firing(schedule: &str, detail: &str) -> Option<(String, String)> {
    let (group, _) = schedule.strip_prefix("schedule/")?.split_once('/')?;
    Some((group.to_owned(), kind_of(&arn_of(detail)?)))
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
        _ => NOTHING.into(),
    }
}

/// The target of a lane of schedules; it stands for all targets on it, and selects their carrier.
pub(crate) fn target(id: &LaneId) -> Target {
    let (rule, kind) = (id.subscriber.rule().into_owned(), id.subscriber.target().to_owned());
    let arn = match kind.split_once('/') {
        Some(("api-destination", _)) => format!("arn:aws:events:{REGION}:{ACCOUNT}:{kind}"),
        Some(("function", _)) => format!("arn:aws:fakemon:{REGION}:{ACCOUNT}:{kind}"),
        _ if kind == "players" => format!("arn:aws:fakemon:{REGION}:{ACCOUNT}:players"),
        _ => format!("arn:aws:fakemon:{REGION}:{ACCOUNT}:{rule}/{kind}"),
    };
    Target {
        bus: String::new(),
        rule,
        id: kind,
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
pub(crate) fn parallel(kind: &str) -> usize {
    match kind {
        "event-buses" | "capture" => 1,
        kind if kind.contains('/') => REQUESTS,
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
    if lane.id().subscriber.group().is_none() {
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
