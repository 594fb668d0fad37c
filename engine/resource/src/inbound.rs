//! Resources of those outside who bring events in, and of those who want to hear how throws ended: partner event
//! sources, partner webhooks, API keys with their usage plans, answer webhooks. Secrets are not in here.

use super::resource::{Retry, Tags, Target};
use fakemon_model::envelope::{ACCOUNT, REGION};
use fakemon_model::ids::Timestamp;
use serde::{Deserialize, Serialize};

/// A partner event source: events of a partner, for the bus of the same name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventSource {
    /// Unique; `aws.partner/PARTNER/…`. No name is the beginning of another's path.
    pub name: String,
    /// Whether its events go anywhere.
    pub state: EventSourceState,
    /// When.
    pub created_at: Timestamp,
}

/// Whether a partner event source has a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventSourceState {
    /// It waits for its bus, or was deactivated: its events are refused.
    #[serde(rename = "PENDING")]
    Pending,
    /// Its events go to the bus of its name.
    #[serde(rename = "ACTIVE")]
    Active,
}

impl EventSourceState {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            EventSourceState::Pending => "PENDING",
            EventSourceState::Active => "ACTIVE",
        }
    }
}

/// A partner webhook: requests with a partner's signature that become events of a partner event source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartnerWebhook {
    /// Unique; the last part of its path.
    pub name: String,
    /// Name of the partner event source whose events these are.
    pub event_source: String,
    /// How requests are signed and what becomes of them; whoever speaks HTTP reads it.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// When.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub modified_at: Timestamp,
}

/// An API key. Its value lies elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Unique; follows from the value.
    pub id: String,
    /// In people's words.
    pub name: Option<String>,
    /// In people's words.
    pub description: Option<String>,
    /// Whether it is let in.
    pub enabled: bool,
    /// Kept and given back.
    pub customer_id: Option<String>,
    /// The usage plan that bounds it; none bounds nothing.
    pub usage_plan: Option<String>,
    /// Kept and given back: `API/STAGE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stage_keys: Vec<String>,
    /// When.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub modified_at: Timestamp,
    /// Tags; `fakemon:bus` and `fakemon:source` say where it may put events, and of whom.
    pub tags: Tags,
}

/// A usage plan: bounds for each of its API keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UsagePlan {
    /// Unique.
    pub id: String,
    /// In people's words.
    pub name: String,
    /// In people's words.
    pub description: Option<String>,
    /// How fast.
    pub throttle: Option<Throttle>,
    /// How much.
    pub quota: Option<Quota>,
    /// Kept and given back: APIs and their stages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<(String, String)>,
    /// Kept and given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_code: Option<String>,
    /// When.
    pub created_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

/// How fast events may come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Throttle {
    /// Events a second, over time.
    pub rate_per_s: f64,
    /// Events at once.
    pub burst: u32,
}

/// How many events may come in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Events.
    pub limit: u64,
    /// The day of the period on which it begins, from 0.
    pub offset_days: u32,
    /// For how long.
    pub period: Period,
}

/// A period of the calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Period {
    /// From midnight.
    #[serde(rename = "DAY")]
    Day,
    /// From Sunday.
    #[serde(rename = "WEEK")]
    Week,
    /// From the first.
    #[serde(rename = "MONTH")]
    Month,
}

/// The rule of the targets of answer webhooks; their bus has no name.
pub const ANSWERS: &str = "answers";

/// An answer webhook: where the results of some players go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerWebhook {
    /// Unique.
    pub name: String,
    /// Where.
    pub url: String,
    /// Whose results.
    pub players: Vec<String>,
    /// Requests a second, at most.
    pub rate_limit_per_second: u32,
    /// How long, how often to try; none means 24 hours, 185 times.
    pub retry: Option<Retry>,
    /// ARN of the queue for what could not be delivered.
    pub dead_letter_arn: Option<String>,
    /// When.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub modified_at: Timestamp,
}

impl AnswerWebhook {
    /// What its lane delivers to.
    pub fn target(&self) -> Target {
        Target {
            bus: String::new(),
            rule: ANSWERS.into(),
            id: self.name.clone(),
            arn: format!("arn:aws:fakemon:{REGION}:{ACCOUNT}:answers/{}", self.name),
            input: None,
            input_path: None,
            transformer: None,
            retry: self.retry,
            dead_letter_arn: self.dead_letter_arn.clone(),
            http: None,
            given: serde_json::Map::new(),
        }
    }
}
