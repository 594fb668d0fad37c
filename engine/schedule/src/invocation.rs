//! What the target of a schedule gets. The event of a due time contains the target as it was then, so that a later
//! change of the schedule does not affect its delivery; in the input `<aws.scheduler.scheduled-time>` and similar
//! words are replaced.

use super::request::{InvalidTarget, Message, PUT_EVENTS, SEND_MESSAGE, entries};
use fakemon_model::envelope::{ACCOUNT, EventKey};
use fakemon_model::names::{Region, ScheduleGroupName, ScheduleName};
use fakemon_pattern::raw::check_detail;
use fakemon_resource::Destination;
use fakemon_resource::resource::{Retry, Schedule, Target};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// ARN of a schedule.
pub fn schedule_arn(
    Region(region): Region<'_>,
    ScheduleGroupName(group): ScheduleGroupName<'_>,
    ScheduleName(name): ScheduleName<'_>,
) -> String {
    format!("arn:aws:scheduler:{region}:{ACCOUNT}:schedule/{group}/{name}")
}

/// The detail of the event of a due time.
pub fn detail(schedule: &Schedule, completes: bool) -> String {
    let Schedule { group, name, target, .. } = schedule;
    let (group, name) = (json!(group), json!(name));
    format!(r#"{{"group":{group},"name":{name},"last":{completes},"target":{target}}}"#)
}

/// A parsed event of a due time.
pub struct Invocation {
    /// ARN of the schedule.
    pub schedule_arn: String,
    pub group: String,
    pub name: String,
    /// Whether the schedule is never due again.
    pub is_last: bool,
    /// When it was due: RFC 3339, whole seconds.
    pub scheduled_time: String,
    /// The id of the execution; all delivery attempts share it.
    pub execution_id: String,
    region: String,
    time: String,
    given: Map<String, Value>,
}

#[derive(Deserialize)]
struct Firing {
    region: String,
    time: String,
    resources: Vec<String>,
    detail: Detail,
}

#[derive(Deserialize)]
struct Detail {
    group: String,
    name: String,
    last: bool,
    target: Map<String, Value>,
}

impl Invocation {
    /// Parses the JSON of the event.
    pub fn read(event: &str, key: EventKey) -> Result<Invocation, InvalidTarget> {
        let Firing { region, time, resources, detail } =
            serde_json::from_str(event).map_err(|error| InvalidTarget(format!("no firing: {error}")))?;
        Ok(Invocation {
            schedule_arn: resources.into_iter().next().unwrap_or_default(),
            group: detail.group,
            name: detail.name,
            is_last: detail.last,
            scheduled_time: time.clone(),
            execution_id: format!("{:016x}", key.position().0),
            region,
            time,
            given: detail.target,
        })
    }

    /// The ARN of its target, as the API got it.
    pub fn arn(&self) -> String {
        self.given.get("Arn").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// The target in the form of a rule's target: ARN, retry policy, dead-letter queue.
    pub fn target(&self) -> Target {
        let given = &self.given;
        let text = |member: &Value, name: &str| member[name].as_str().map(str::to_owned);
        let arn = given.get("Arn").and_then(Value::as_str).unwrap_or_default();
        let arn = match self.queue() {
            Some(queue) if arn == SEND_MESSAGE => format!("arn:aws:sqs:{}:{ACCOUNT}:{queue}", self.region),
            _ => arn.to_owned(),
        };
        let bound = |name: &str, most: u32| {
            let number = self.given.get("RetryPolicy").and_then(|policy| policy[name].as_u64());
            number.and_then(|number| u32::try_from(number).ok()).unwrap_or(most)
        };
        Target {
            bus: String::new(),
            rule: format!("schedule-group/{}", self.group),
            id: self.name.clone(),
            arn,
            input: None,
            input_path: None,
            transformer: None,
            retry: Some(Retry {
                attempts_max: bound("MaximumRetryAttempts", 185),
                age_s_max: bound("MaximumEventAgeInSeconds", 86_400),
            }),
            dead_letter_arn: self.given.get("DeadLetterConfig").and_then(|config| text(config, "Arn")),
            http: None,
            given: given.clone(),
        }
    }

    /// The input for an attempt: as given, or an event that says what is due.
    pub fn payload(&self, key: EventKey, attempt: u32) -> String {
        let Some(input) = self.given.get("Input").and_then(Value::as_str) else {
            return json!({
                "version": "0",
                "id": key.id(),
                "detail-type": "Scheduled Event",
                "source": "aws.scheduler",
                "account": ACCOUNT,
                "time": self.scheduled_time,
                "region": self.region,
                "resources": [self.schedule_arn],
                "detail": "{}",
            })
            .to_string();
        };
        fill_in(input, [&self.schedule_arn, &self.scheduled_time, &self.execution_id, &attempt.to_string()])
    }

    /// The body for its destination: for a bus an event around the payload, for a queue the body of its message or a
    /// request `SendMessage`.
    pub fn body(&self, payload: &str) -> Result<String, InvalidTarget> {
        let arn = self.given.get("Arn").and_then(Value::as_str).unwrap_or_default();
        if arn == SEND_MESSAGE {
            return Message::read(payload).map(|_| payload.to_owned());
        }
        if !matches!(Destination::of(arn), Destination::Bus(_)) {
            return Ok(payload.to_owned());
        }
        let parameters = self.given.get("EventBridgeParameters").unwrap_or(&Value::Null);
        let detail: &serde_json::value::RawValue = match self.given.contains_key("Input") {
            true => {
                check_detail(payload).map_err(|error| InvalidTarget(format!("Input: {error}")))?;
                serde_json::from_str(payload).expect("it was checked")
            }
            false => serde_json::from_str("{}").expect("it is JSON"),
        };
        let event = BusEvent {
            source: parameters["Source"].as_str().unwrap_or_default(),
            detail_type: parameters["DetailType"].as_str().unwrap_or_default(),
            detail,
            resources: [&self.schedule_arn],
            region: &self.region,
            time: &self.time,
        };
        Ok(serde_json::to_string(&event).expect("it was JSON before"))
    }

    /// The queue that a request `SendMessage` names.
    fn queue(&self) -> Option<String> {
        let message = Message::read(&filled_in(self.given.get("Input")?.as_str()?)).ok()?;
        Some(message.queue().to_owned())
    }
}

#[derive(serde::Serialize)]
struct BusEvent<'e> {
    source: &'e str,
    #[serde(rename = "detail-type")]
    detail_type: &'e str,
    detail: &'e serde_json::value::RawValue,
    resources: [&'e String; 1],
    region: &'e str,
    time: &'e str,
}

/// Words in an input that are replaced when the schedule is due.
const WORDS: [&str; 4] = [
    "<aws.scheduler.schedule-arn>",
    "<aws.scheduler.scheduled-time>",
    "<aws.scheduler.execution-id>",
    "<aws.scheduler.attempt-number>",
];

fn fill_in(input: &str, values: [&str; WORDS.len()]) -> String {
    if !input.contains("<aws.scheduler.") {
        return input.to_owned();
    }
    WORDS.into_iter().zip(values).fold(input.to_owned(), |input, (word, value)| input.replace(word, value))
}

/// An input with sample values, to check it.
fn filled_in(input: &str) -> String {
    fill_in(input, ["arn", "2026-03-01T20:00:00Z", "0", "1"])
}

/// The destinations of a target, with the ARN or the name shown to people: `PutEvents` can have several buses.
pub fn destinations(target: &str) -> Vec<(Destination, String)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Named {
        arn: String,
        input: Option<String>,
    }
    let Ok(Named { arn, input }) = serde_json::from_str::<Named>(target) else { return Vec::new() };
    let input = filled_in(input.as_deref().unwrap_or("{}"));
    match arn.as_str() {
        SEND_MESSAGE => Message::read(&input)
            .map(|message| vec![(Destination::Queue(message.queue().to_owned()), arn.clone())])
            .unwrap_or_default(),
        PUT_EVENTS => {
            let buses = entries(&input).unwrap_or_default().into_iter().map(|entry| entry.bus().to_owned());
            let buses: BTreeSet<String> = buses.collect();
            buses.into_iter().map(|bus| (Destination::Bus(bus), arn.clone())).collect()
        }
        _ => vec![(Destination::of(&arn), arn)],
    }
}

/// Checks that a target can be invoked: it is served here (unless others are allowed, too), and its input is valid
/// for its destination.
///
/// # Errors
/// The member that is wrong, and what it must be.
pub fn check_target(target: &Map<String, Value>, allow_unserved: bool) -> Result<(), InvalidTarget> {
    let arn = target.get("Arn").and_then(Value::as_str).unwrap_or_default();
    let input = target.get("Input").and_then(Value::as_str);
    let wrong = |what: &str| Err(InvalidTarget(what.into()));
    match arn {
        SEND_MESSAGE => return Message::read(&filled_in(input.unwrap_or("{}"))).map(drop),
        PUT_EVENTS => return entries(&filled_in(input.unwrap_or("{}"))).map(drop),
        _ => {}
    }
    let text = |group: &str, name: &str| target.get(group).is_some_and(|group| group[name].is_string());
    match Destination::of(arn) {
        Destination::Unknown if !allow_unserved => Err(InvalidTarget(format!(
            "nothing here is {arn}: a target is a queue, a log group, an event bus, an API destination, an answer \
             webhook, the capture service, players, {SEND_MESSAGE} or {PUT_EVENTS}; the setting \
             bus.allow_unserved_targets accepts others"
        ))),
        Destination::Bus(_) if !text("EventBridgeParameters", "Source") => {
            wrong("EventBridgeParameters is missing Source")
        }
        Destination::Bus(_) if !text("EventBridgeParameters", "DetailType") => {
            wrong("EventBridgeParameters is missing DetailType")
        }
        Destination::Bus(_) if input.is_some_and(|input| check_detail(&filled_in(input)).is_err()) => {
            wrong("Input must be a JSON object")
        }
        Destination::Queue(queue)
            if fakemon_queue::queue::is_fifo(&queue) && !text("SqsParameters", "MessageGroupId") =>
        {
            wrong("SqsParameters is missing MessageGroupId, which a FIFO queue needs")
        }
        Destination::Queue(queue)
            if fakemon_queue::queue::is_fifo(&queue)
                && !target["SqsParameters"]["MessageGroupId"].as_str().is_some_and(fakemon_queue::queue::is_id) =>
        {
            wrong("SqsParameters.MessageGroupId must be 1 to 128 alphanumeric and punctuation characters")
        }
        _ => Ok(()),
    }
}
