//! Resources for clients that send events, and for those that get the outcomes of attempts: partner event sources,
//! partner webhooks, API keys with their usage plans, answer webhooks. Their secrets are stored elsewhere.

use super::resource::{Retry, Tags, Target};
use fakemon_model::envelope::{ACCOUNT, REGION};
use fakemon_model::ids::Timestamp;
use serde::{Deserialize, Serialize};

/// A partner event source: events of a partner, for the bus of the same name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventSource {
    /// Its name; unique; `aws.partner/PARTNER/…`. No name is a path prefix of another.
    pub name: String,
    /// Whether its events reach a bus.
    pub state: EventSourceState,
    /// When it was created.
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
    /// Its word in the API.
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
    /// Its name; unique; the last part of its path.
    pub name: String,
    /// The partner event source that gets its events.
    pub event_source: String,
    /// How requests are signed and turned into events; the HTTP server reads it.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub modified_at: Timestamp,
}

/// An API key. Its value is stored elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its id; unique; derived from the value.
    pub id: String,
    /// A name for people; need not be unique.
    pub name: Option<String>,
    /// A description for people.
    pub description: Option<String>,
    /// Whether requests with it are accepted.
    pub enabled: bool,
    /// Not used here; stored and given back by the API.
    pub customer_id: Option<String>,
    /// The usage plan that limits it; none: no limit.
    pub usage_plan: Option<String>,
    /// Kept and given back: `API/STAGE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stage_keys: Vec<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub modified_at: Timestamp,
    /// Tags; `fakemon:bus` and `fakemon:source` limit the bus and the source of events put with it.
    pub tags: Tags,
}

/// A usage plan: limits for each of its API keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UsagePlan {
    /// Its id; unique.
    pub id: String,
    /// A name for people; need not be unique.
    pub name: String,
    /// A description for people.
    pub description: Option<String>,
    /// The rate limit.
    pub throttle: Option<Throttle>,
    /// The quota.
    pub quota: Option<Quota>,
    /// Not used here; stored and given back by the API: APIs and their stages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<(String, String)>,
    /// Not used here; stored and given back by the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_code: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

/// A rate limit for events.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Throttle {
    /// Events per second, on average.
    pub rate_per_s: f64,
    /// Events in one burst.
    pub burst: u32,
}

/// A limit for events per period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Events per period.
    pub limit: u64,
    /// The day of the period on which it begins, from 0.
    pub offset_days: u32,
    /// The period.
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

impl Period {
    /// The last day on which such a period may begin, from 0.
    pub fn offset_days_max(self) -> u32 {
        match self {
            Period::Day => 0,
            Period::Week => 6,
            Period::Month => 27,
        }
    }
}

/// The rule name in the lanes of answer webhooks; their bus has no name.
pub const ANSWERS: &str = "answers";

/// An answer webhook: gets the results of some players.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerWebhook {
    /// Its name; unique.
    pub name: String,
    /// The URL of its requests.
    pub url: String,
    /// The names of the players.
    pub players: Vec<String>,
    /// The most requests per second.
    pub rate_limit_per_second: u32,
    /// The retry policy; none means 24 hours, 185 retries.
    pub retry: Option<Retry>,
    /// ARN of the queue for events that could not be delivered.
    pub dead_letter_arn: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub modified_at: Timestamp,
}

impl AnswerWebhook {
    /// The target of its lane.
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
