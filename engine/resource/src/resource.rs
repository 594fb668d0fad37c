//! Resources that an operator makes on the bus: buses, rules, targets, archives, replays, connections, API
//! destinations, queues, log groups, pipes, schedules and their groups. Each is one JSON value under one key; each
//! change is an event of the journal, so the journal shows at every position which rules were in force.
//!
//! ```text
//! bus/NAME   rule/BUS/NAME   target/BUS/RULE/ID   archive/NAME   replay/NAME
//! connection/NAME   destination/NAME   queue/NAME   log-group/NAME   pipe/NAME
//! event-source/NAME   partner-webhook/NAME   api-key/ID   usage-plan/ID   answer-webhook/NAME
//! schedule-group/NAME   schedule/GROUP/NAME
//! schema-registry/NAME   schema/REGISTRY/NAME   schema-version/REGISTRY/NAME/NUMBER   discoverer/ID
//! ```
//!
//! Names contain no `/`, except those of log groups, of partner event sources and of their buses: a name that may
//! contain one is the first name of a key, or the only one. Secrets of connections are stored elsewhere.

mod making;
mod schemas;

use super::inbound::{AnswerWebhook, ApiKey, EventSource, PartnerWebhook, UsagePlan};
use fakemon_model::ids::Timestamp;
use fakemon_pattern::transform::Parameter;
pub use schemas::{Discoverer, Schema, SchemaRegistry, SchemaVersion};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Tags: what operators note about a resource, and settings of ours for which AWS has no field.
pub type Tags = BTreeMap<String, String>;

/// An event bus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bus {
    /// Its name; unique.
    pub name: String,
    /// A description for people.
    pub description: Option<String>,
    /// Policy statements; stored and given back.
    pub policy: Option<serde_json::Value>,
    /// ARN of a queue for events that the bus cannot encrypt or decrypt with a key of its owner. No bus here has such
    /// a key, so nothing goes there; dead letters of targets have queues of their own.
    pub dead_letter_arn: Option<String>,
    /// Members that the API stores and gives back, and that are not used here (`KmsKeyIdentifier`, `LogConfig`).
    pub kept: serde_json::Map<String, serde_json::Value>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub modified_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

/// Whether a rule is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleState {
    /// In force.
    #[default]
    #[serde(rename = "ENABLED")]
    Enabled,
    /// Not in force.
    #[serde(rename = "DISABLED")]
    Disabled,
    /// As enabled; there are no management events of CloudTrail here.
    #[serde(rename = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS")]
    EnabledWithAll,
}

/// A rule: its targets get the events of its bus that match.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Its bus.
    pub bus: String,
    /// Its name, unique on the bus.
    pub name: String,
    /// The event pattern as text; none for a rule with a schedule only.
    pub pattern: Option<String>,
    /// `rate(…)` or `cron(…)`; for the scheduler.
    pub schedule: Option<String>,
    /// Whether it is in force.
    pub state: RuleState,
    /// A description for people.
    pub description: Option<String>,
    /// Not used here; stored and given back by the API.
    pub role_arn: Option<String>,
    /// The region it was made in; part of its ARN in dead letters and transforms.
    pub region: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

/// A target of a rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// The bus of its rule.
    pub bus: String,
    /// Its rule.
    pub rule: String,
    /// Its id, unique in the rule.
    pub id: String,
    /// The ARN of what gets the events.
    pub arn: String,
    /// A constant instead of the event.
    pub input: Option<String>,
    /// A part of the event instead of the whole.
    pub input_path: Option<String>,
    /// A text made from parts of the event.
    pub transformer: Option<InputTransformer>,
    /// The retry policy; none means AWS's: 24 hours, 185 retries.
    pub retry: Option<Retry>,
    /// ARN of the queue for events that could not be delivered.
    pub dead_letter_arn: Option<String>,
    /// For an API destination: path, headers and query of its request.
    pub http: Option<HttpParameters>,
    /// All members as the API got them, to be given back unchanged.
    pub given: serde_json::Map<String, serde_json::Value>,
}

/// `InputTransformer`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputTransformer {
    /// Names for JSON paths.
    pub paths: BTreeMap<String, String>,
    /// The text with `<names>`.
    pub template: String,
}

/// `RetryPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Retries after the first attempt, 0 to 185.
    pub attempts_max: u32,
    /// Age of an event in seconds, 60 to 86,400.
    pub age_s_max: u32,
}

/// `HttpParameters` of a target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HttpParameters {
    /// Values for the `*` in the endpoint's path.
    pub path: Vec<String>,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// Query.
    pub query: BTreeMap<String, String>,
}

impl HttpParameters {
    /// The parameters for one event: values that are paths (`$.detail.topic`) are replaced by what is at the path, or
    /// by empty text.
    pub fn for_event(&self, json: &str) -> HttpParameters {
        let text = |text: &String| Parameter::of(text).for_event(json).unwrap_or_default();
        let pairs =
            |map: &BTreeMap<String, String>| map.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        HttpParameters {
            path: self.path.iter().map(text).collect(),
            headers: pairs(&self.headers),
            query: pairs(&self.query),
        }
    }
}

/// An archive: a named view of the events of one bus in the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Archive {
    /// Its name; unique.
    pub name: String,
    /// The bus it shows.
    pub bus: String,
    /// ARN of the bus, as the API got it.
    pub source_arn: String,
    /// A description for people.
    pub description: Option<String>,
    /// The pattern of its events; none shows all.
    pub pattern: Option<String>,
    /// For how many days it shows events; 0 shows everything that the journal keeps.
    pub retention_days: u32,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A replay: delivers events of an archive again. Its progress is stored with the lanes, not here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// Its name; unique.
    pub name: String,
    /// A description for people.
    pub description: Option<String>,
    /// The archive.
    pub archive: String,
    /// ARN of the archive, as the API got it.
    pub source_arn: String,
    /// The bus whose rules get the events.
    pub bus: String,
    /// ARN of the bus, as the API got it.
    pub destination_arn: String,
    /// ARNs of rules, as the API got them: only these rules get the events; empty means all rules of the bus, but no
    /// target outside this process.
    pub filter_arns: Vec<String>,
    /// Names of these rules.
    pub rules: Vec<String>,
    /// Events from this moment,
    pub from: Timestamp,
    /// and before this one.
    pub to: Timestamp,
    /// Events from this position, if given;
    pub from_position: Option<u64>,
    /// and before this one.
    pub to_position: Option<u64>,
    /// 0: as fast as possible; 1: at the original pace; 10: ten times that.
    pub speed: f64,
    /// When it was requested.
    pub started_at: Timestamp,
    /// When it was cancelled, if it was.
    pub cancelled_at: Option<Timestamp>,
}

/// A connection: the authorization for API destinations. Its secrets are stored elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Its name; unique.
    pub name: String,
    /// Part of its ARN.
    pub uuid: String,
    /// A description for people.
    pub description: Option<String>,
    /// `BASIC`, `API_KEY`, `OAUTH_CLIENT_CREDENTIALS`.
    pub authorization_type: String,
    /// `AuthParameters` without secrets.
    pub shown_parameters: serde_json::Value,
    /// `AUTHORIZED`, `DEAUTHORIZED`, or [`AUTHORIZING`].
    pub state: String,
    /// Why it is in this state, if there is a reason to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_reason: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub modified_at: Timestamp,
    /// When it was last authorized.
    pub authorized_at: Timestamp,
}

/// The state of a connection that waits for its first token.
pub const AUTHORIZING: &str = "AUTHORIZING";

/// An API destination: a webhook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApiDestination {
    /// Its name; unique.
    pub name: String,
    /// Part of its ARN.
    pub uuid: String,
    /// A description for people.
    pub description: Option<String>,
    /// Name of its connection.
    pub connection: String,
    /// ARN of its connection, as the API got it.
    pub connection_arn: String,
    /// The URL, with `*` for path parameters.
    pub endpoint: String,
    /// `GET`, `POST`, …
    pub http_method: String,
    /// The most requests per second; 1 to 300.
    pub rate_limit_per_second: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub modified_at: Timestamp,
}

/// A queue. Its messages are stored elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// Its name; unique; ends with `.fifo` for a FIFO queue.
    pub name: String,
    /// Attributes as in `SetQueueAttributes`: names and values as text.
    pub attributes: BTreeMap<String, String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub modified_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

impl Queue {
    /// Whether a FIFO queue treats two messages with the same body as one.
    pub fn deduplicates_by_content(&self) -> bool {
        self.attributes.get("ContentBasedDeduplication").is_some_and(|set| set == "true")
    }

    /// Whether a deduplication id is unique within its group only.
    pub fn deduplicates_in_group(&self) -> bool {
        self.attributes.get("DeduplicationScope").is_some_and(|scope| scope == "messageGroup")
    }

    /// A setting in seconds; `default` is the service's value without one.
    pub fn seconds(&self, name: &str, default: u32) -> u32 {
        self.attributes.get(name).and_then(|text| text.parse().ok()).unwrap_or(default)
    }
}

/// A log group. Its streams and lines are stored elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogGroup {
    /// Its name; unique.
    pub name: String,
    /// Lines older than this are deleted; none keeps all.
    pub retention_days: Option<u32>,
    /// Not used here; stored and given back by the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// Not used here; stored and given back by the API; none is the standard class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

/// A policy that says which services of AWS may write into log groups. Stored and given back: every service here may.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogPolicy {
    /// Its name; unique.
    pub name: String,
    /// JSON, as the API got it.
    pub document: String,
    /// When it was last put.
    pub modified_at: Timestamp,
}

/// The state that an operator asks of a pipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DesiredState {
    /// To carry records from its source.
    #[default]
    #[serde(rename = "RUNNING")]
    Running,
    /// To carry nothing.
    #[serde(rename = "STOPPED")]
    Stopped,
}

/// The last operation on a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "operations of the API")]
pub enum PipeChange {
    Created,
    Updated,
    Started,
    Stopped,
}

/// A pipe: from a source through a filter and an enrichment to a target. Its progress is stored elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pipe {
    /// Its name; unique.
    pub name: String,
    /// A description for people.
    pub description: Option<String>,
    /// The requested state.
    pub desired_state: DesiredState,
    /// The last operation; the state of the pipe says whether it is completed.
    pub change: PipeChange,
    /// Increases with every operation that the pipe has to follow.
    pub revision: u64,
    /// ARN of its source.
    pub source: String,
    /// `SourceParameters`, as given.
    pub source_parameters: serde_json::Value,
    /// ARN of the enrichment that each batch passes through.
    pub enrichment: Option<String>,
    /// `EnrichmentParameters`, as given.
    pub enrichment_parameters: serde_json::Value,
    /// ARN of its target.
    pub target: String,
    /// `TargetParameters`, as given.
    pub target_parameters: serde_json::Value,
    /// Not used here, as everything in `kept`; stored and given back.
    pub role_arn: String,
    /// Members that the API stores and gives back, and that are not used here (`KmsKeyIdentifier`,
    /// `LogConfiguration`).
    pub kept: serde_json::Map<String, serde_json::Value>,
    /// When it was first started: `LATEST` begins here.
    pub runs_since: Option<Timestamp>,
    /// The region it was made in.
    pub region: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub modified_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

/// A group of schedules. Its tag `fakemon:missed` says what happens to due times that its schedules missed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScheduleGroup {
    /// Its name; unique. `default` always exists.
    pub name: String,
    /// The region it was made in; part of its ARN.
    pub region: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub modified_at: Timestamp,
    /// Tags.
    pub tags: Tags,
    /// Token of the request that created it: a retry of that request creates no second group.
    pub client_token: Option<String>,
}

/// A schedule of the scheduler. Its progress is stored with the router, not here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its group.
    pub group: String,
    /// Its name, unique in the group.
    pub name: String,
    /// `rate(…)`, `cron(…)` or `at(…)`.
    pub expression: String,
    /// IANA name of the time zone of the expression.
    pub zone: String,
    /// Not due before,
    pub start: Option<Timestamp>,
    /// nor after.
    pub end: Option<Timestamp>,
    /// By how many minutes it may fire late; 0: not at all.
    pub window_minutes: u32,
    /// Whether it fires.
    pub enabled: bool,
    /// A description for people; a word `missed=…` in it says what happens to missed due times.
    pub description: Option<String>,
    /// Not used here; stored and given back by the API.
    pub kms_key_arn: Option<String>,
    /// `Target` as the API got it: the text of a JSON object, which takes a tenth of the memory of its members.
    pub target: String,
    /// Whether it is deleted when it is never due again.
    pub delete_when_over: bool,
    /// The region it was made in; part of its ARN.
    pub region: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub modified_at: Timestamp,
    /// Token of the request that created it: a retry of that request creates no second schedule.
    pub client_token: Option<String>,
}

impl Schedule {
    /// The key that deletes this version: if the schedule was changed meanwhile, it stays.
    pub fn key_as_it_is(&self) -> String {
        format!("schedule/{}/{}@{}", self.group, self.name, self.modified_at.0)
    }
}

/// One line per kind: its variant and type, the first word of its keys, and its map in the registry. In the order in
/// which resources can be put into an empty registry.
macro_rules! every_kind {
    ($define:ident) => {
        $define! {
            Bus(Bus) "bus" buses;
            Rule(Rule) "rule" rules;
            Target(Target) "target" targets;
            Archive(Archive) "archive" archives;
            Replay(Replay) "replay" replays;
            Connection(Connection) "connection" connections;
            Destination(ApiDestination) "destination" destinations;
            Queue(Queue) "queue" queues;
            LogGroup(LogGroup) "log-group" log_groups;
            LogPolicy(LogPolicy) "log-policy" log_policies;
            Pipe(Pipe) "pipe" pipes;
            EventSource(EventSource) "event-source" event_sources;
            PartnerWebhook(PartnerWebhook) "partner-webhook" partner_webhooks;
            UsagePlan(UsagePlan) "usage-plan" usage_plans;
            ApiKey(ApiKey) "api-key" api_keys;
            AnswerWebhook(AnswerWebhook) "answer-webhook" answer_webhooks;
            ScheduleGroup(ScheduleGroup) "schedule-group" schedule_groups;
            Schedule(Schedule) "schedule" schedules;
            SchemaRegistry(SchemaRegistry) "schema-registry" schema_registries;
            Schema(Schema) "schema" schemas;
            SchemaVersion(SchemaVersion) "schema-version" schema_versions;
            Discoverer(Discoverer) "discoverer" discoverers;
        }
    };
}
pub(crate) use every_kind;

/// The name of a resource among those of its kind.
pub trait Named {
    /// Its name, after the names of the resources that contain it.
    type Name: Ord + Clone;

    /// Its own.
    fn place(&self) -> Self::Name;
}

/// A name as part of a key.
pub(super) trait InKey: Sized {
    fn in_key(&self) -> String;
    fn of_key(text: &str) -> Option<Self>;
}

impl InKey for String {
    fn in_key(&self) -> String {
        self.clone()
    }

    fn of_key(text: &str) -> Option<String> {
        Some(text.to_owned())
    }
}

impl InKey for (String, String) {
    fn in_key(&self) -> String {
        format!("{}/{}", self.0, self.1)
    }

    fn of_key(text: &str) -> Option<(String, String)> {
        let (first, second) = text.rsplit_once('/')?;
        Some((first.to_owned(), second.to_owned()))
    }
}

impl InKey for (String, String, String) {
    fn in_key(&self) -> String {
        format!("{}/{}/{}", self.0, self.1, self.2)
    }

    fn of_key(text: &str) -> Option<(String, String, String)> {
        let (rest, third) = text.rsplit_once('/')?;
        let (first, second) = rest.rsplit_once('/')?;
        Some((first.to_owned(), second.to_owned(), third.to_owned()))
    }
}

/// Types whose name says all.
macro_rules! named_by_name {
    ($($type:ty)*) => {
        $(impl Named for $type {
            type Name = String;

            fn place(&self) -> String {
                self.name.clone()
            }
        })*
    };
}
named_by_name!(Bus Archive Replay Connection ApiDestination Queue LogGroup LogPolicy Pipe ScheduleGroup);
named_by_name!(EventSource PartnerWebhook AnswerWebhook);

impl Named for ApiKey {
    type Name = String;

    fn place(&self) -> String {
        self.id.clone()
    }
}

impl Named for UsagePlan {
    type Name = String;

    fn place(&self) -> String {
        self.id.clone()
    }
}

impl Named for Rule {
    type Name = (String, String);

    fn place(&self) -> (String, String) {
        (self.bus.clone(), self.name.clone())
    }
}

impl Named for Schedule {
    type Name = (String, String);

    fn place(&self) -> (String, String) {
        (self.group.clone(), self.name.clone())
    }
}

impl Named for Target {
    type Name = (String, String, String);

    fn place(&self) -> (String, String, String) {
        (self.bus.clone(), self.rule.clone(), self.id.clone())
    }
}

macro_rules! define_resource {
    ($($kind:ident($type:ty) $word:literal $map:ident;)*) => {
        /// A resource of any kind.
        #[derive(Clone, Debug, PartialEq)]
        #[expect(missing_docs, reason = "each variant holds the type of its name")]
        pub enum Resource {
            $($kind($type),)*
        }

        $(impl From<$type> for Resource {
            fn from(it: $type) -> Resource {
                Resource::$kind(it)
            }
        })*

        impl Resource {
            /// The words that keys begin with.
            pub const KINDS: &[&str] = &[$($word,)*];

            /// Its key.
            pub fn key(&self) -> String {
                match self {
                    $(Resource::$kind(it) => format!("{}/{}", $word, it.place().in_key()),)*
                }
            }

            /// Its value, as JSON.
            pub fn value(&self) -> String {
                let value = match self {
                    $(Resource::$kind(it) => serde_json::to_string(it),)*
                };
                value.expect("maps with text keys and numbers can always be written")
            }

            /// The resource of a key and a value.
            ///
            /// # Errors
            /// A kind that this version does not know, or an invalid value.
            pub fn read(key: &str, value: &str) -> Result<Resource, UnreadableResource> {
                fn parse<'de, T: Deserialize<'de>>(value: &'de str) -> Result<T, String> {
                    serde_json::from_str(value).map_err(|error| error.to_string())
                }
                match key.split_once('/').map_or(key, |(kind, _)| kind) {
                    $($word => parse(value).map(Resource::$kind),)*
                    _ => Err("its kind is not known here; use a newer fakemon".into()),
                }
                .map_err(|why| UnreadableResource { key: key.to_owned(), why })
            }
        }
    };
}
every_kind!(define_resource);

/// A change of one resource, as the journal stores it.
#[expect(clippy::large_enum_variant, reason = "changes are few, and most put something")]
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The resource was created or replaced.
    Put(Resource),
    /// It was deleted, with its parts: a rule with its targets, a bus with its rules.
    Delete(String),
}

impl Change {
    /// Puts a resource: new, or in place of the one with its key.
    pub fn put(resource: impl Into<Resource>) -> Change {
        Change::Put(resource.into())
    }

    /// As the journal keeps it: the key and the value; none for what is gone.
    pub fn record(&self) -> (String, Option<String>) {
        match self {
            Change::Put(resource) => (resource.key(), Some(resource.value())),
            Change::Delete(key) => (key.clone(), None),
        }
    }

    /// Reads a change from the journal.
    ///
    /// # Errors
    /// As [`Resource::read`].
    pub fn read(key: &str, value: Option<&str>) -> Result<Change, UnreadableResource> {
        match value {
            Some(value) => Resource::read(key, value).map(Change::Put),
            None => Ok(Change::Delete(key.to_owned())),
        }
    }
}

/// A change that this version cannot read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("resource `{key}` cannot be read: {why}")]
pub struct UnreadableResource {
    /// Its key.
    pub key: String,
    /// What is wrong.
    pub why: String,
}
