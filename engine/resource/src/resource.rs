//! What an operator makes on the bus: buses, rules, targets, archives, replays, connections, API destinations, queues,
//! log groups, pipes, schedules and their groups. Each is one JSON value under one key; a change of one is an event of the
//! journal, so that whoever reads it knows at every position which rules held.
//!
//! ```text
//! bus/NAME   rule/BUS/NAME   target/BUS/RULE/ID   archive/NAME   replay/NAME
//! connection/NAME   destination/NAME   queue/NAME   log-group/NAME   pipe/NAME
//! event-source/NAME   partner-webhook/NAME   api-key/ID   usage-plan/ID   answer-webhook/NAME
//! schedule-group/NAME   schedule/GROUP/NAME
//! schema-registry/NAME   schema/REGISTRY/NAME   schema-version/REGISTRY/NAME/NUMBER   discoverer/ID
//! ```
//!
//! Names hold no `/`. Those of log groups, of partner event sources and of their buses may: a name that holds one stands
//! first among the names of a key, or alone. Secrets of connections are not in here.

mod making;
mod schemas;

use super::inbound::{AnswerWebhook, ApiKey, EventSource, PartnerWebhook, UsagePlan};
use fakemon_model::ids::Timestamp;
use fakemon_pattern::transform::Parameter;
pub use schemas::{Discoverer, Schema, SchemaRegistry, SchemaVersion};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Tags: what people want to remember of a resource, and our own settings that AWS has no field for.
pub type Tags = BTreeMap<String, String>;

/// An event bus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bus {
    /// Unique.
    pub name: String,
    /// In people's words.
    pub description: Option<String>,
    /// Policy statements, kept and given back.
    pub policy: Option<serde_json::Value>,
    /// ARN of a queue for events that the bus cannot hand on.
    pub dead_letter_arn: Option<String>,
    /// Members that the API keeps and gives back, and nothing here uses (`KmsKeyIdentifier`, `LogConfig`).
    pub kept: serde_json::Map<String, serde_json::Value>,
    /// When.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub modified_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

/// Whether a rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleState {
    /// It matches.
    #[default]
    #[serde(rename = "ENABLED")]
    Enabled,
    /// It does not.
    #[serde(rename = "DISABLED")]
    Disabled,
    /// As enabled; of CloudTrail's management events there are none here.
    #[serde(rename = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS")]
    EnabledWithAll,
}

/// A rule: what matches on a bus goes to the rule's targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Its bus.
    pub bus: String,
    /// Unique on the bus.
    pub name: String,
    /// The event pattern, as text; none for a rule of the clock.
    pub pattern: Option<String>,
    /// `rate(…)` or `cron(…)`; kept for the scheduler.
    pub schedule: Option<String>,
    /// Whether it matches.
    pub state: RuleState,
    /// In people's words.
    pub description: Option<String>,
    /// Kept and given back.
    pub role_arn: Option<String>,
    /// The region it was made in; of its ARN in dead letters and transforms.
    pub region: String,
    /// When.
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
    /// Unique in the rule.
    pub id: String,
    /// What is to get the events.
    pub arn: String,
    /// A constant instead of the event.
    pub input: Option<String>,
    /// A part of the event instead of the whole.
    pub input_path: Option<String>,
    /// A text made from parts of the event.
    pub transformer: Option<InputTransformer>,
    /// How long, how often to try; none means AWS's: 24 hours, 185 times.
    pub retry: Option<Retry>,
    /// ARN of the queue for what could not be delivered.
    pub dead_letter_arn: Option<String>,
    /// For an API destination: path, headers and query of its request.
    pub http: Option<HttpParameters>,
    /// Everything as the API got it, to be given back as it came.
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
    /// 0 to 185.
    pub attempts_max: u32,
    /// 60 to 86,400 seconds.
    pub age_s_max: u32,
}

/// `HttpParameters` of a target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HttpParameters {
    /// For the stars in the endpoint's path.
    pub path: Vec<String>,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// Query.
    pub query: BTreeMap<String, String>,
}

impl HttpParameters {
    /// The parameters for one event: values that are paths (`$.detail.topic`) are what stands there, and empty where
    /// nothing does.
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

/// An archive: a named view on what the journal has of one bus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Archive {
    /// Unique.
    pub name: String,
    /// The bus it shows.
    pub bus: String,
    /// ARN of the bus, as it was given.
    pub source_arn: String,
    /// In people's words.
    pub description: Option<String>,
    /// What of it; none shows all.
    pub pattern: Option<String>,
    /// 0 shows everything that the journal keeps.
    pub retention_days: u32,
    /// When.
    pub created_at: Timestamp,
}

/// A replay: events of an archive once more. How far it is stands with the lanes, not here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// Unique.
    pub name: String,
    /// In people's words.
    pub description: Option<String>,
    /// The archive.
    pub archive: String,
    /// ARN of the archive, as it was given.
    pub source_arn: String,
    /// The bus whose rules get the events.
    pub bus: String,
    /// ARN of the bus, as it was given.
    pub destination_arn: String,
    /// ARNs of rules, as they were given: only these get the events; none means all rules of the bus, but no target
    /// outside.
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
    /// 0: as fast as it goes; 1: at the original pace; 10: ten times that.
    pub speed: f64,
    /// When it was asked for.
    pub started_at: Timestamp,
    /// When it was cancelled, if it was.
    pub cancelled_at: Option<Timestamp>,
}

/// A connection: how to be let in at an API destination. Its secrets lie elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Unique.
    pub name: String,
    /// Part of its ARN.
    pub uuid: String,
    /// In people's words.
    pub description: Option<String>,
    /// `BASIC`, `API_KEY`, `OAUTH_CLIENT_CREDENTIALS`.
    pub authorization_type: String,
    /// `AuthParameters` as it may be shown: without secrets.
    pub shown_parameters: serde_json::Value,
    /// `AUTHORIZED`, `DEAUTHORIZED`, or [`AUTHORIZING`].
    pub state: String,
    /// Why it is so, if there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_reason: Option<String>,
    /// When.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub modified_at: Timestamp,
    /// When it was authorised last.
    pub authorized_at: Timestamp,
}

/// The state of a connection that waits for its first token.
pub const AUTHORIZING: &str = "AUTHORIZING";

/// An API destination: a webhook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApiDestination {
    /// Unique.
    pub name: String,
    /// Part of its ARN.
    pub uuid: String,
    /// In people's words.
    pub description: Option<String>,
    /// Name of its connection.
    pub connection: String,
    /// ARN of its connection, as it was given.
    pub connection_arn: String,
    /// Where.
    pub endpoint: String,
    /// `GET`, `POST`, …
    pub http_method: String,
    /// Requests a second, at most; 1 to 300.
    pub rate_limit_per_second: u32,
    /// When.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub modified_at: Timestamp,
}

/// A queue. Its messages lie elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// Unique; ends with `.fifo` if it is one.
    pub name: String,
    /// As `SetQueueAttributes` has them: names and values as text.
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub modified_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

impl Queue {
    /// Whether a FIFO queue takes two messages with one body for the same.
    pub fn deduplicates_by_content(&self) -> bool {
        self.attributes.get("ContentBasedDeduplication").is_some_and(|set| set == "true")
    }

    /// Whether a deduplication id counts within its group only.
    pub fn deduplicates_in_group(&self) -> bool {
        self.attributes.get("DeduplicationScope").is_some_and(|scope| scope == "messageGroup")
    }

    /// A setting that is a number of seconds; without one the service's.
    pub fn seconds(&self, name: &str, default: u32) -> u32 {
        self.attributes.get(name).and_then(|text| text.parse().ok()).unwrap_or(default)
    }
}

/// A log group. Its streams and lines lie elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogGroup {
    /// Unique.
    pub name: String,
    /// Lines older than this go; none keeps them.
    pub retention_days: Option<u32>,
    /// Kept and given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// Kept and given back; none is the standard class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// When.
    pub created_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

/// A policy that says which services of AWS may write into log groups. Kept and given back: every service here may.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogPolicy {
    /// Unique.
    pub name: String,
    /// JSON, as it was given.
    pub document: String,
    /// When it was put last.
    pub modified_at: Timestamp,
}

/// What somebody wants a pipe to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DesiredState {
    /// To carry what its source has.
    #[default]
    #[serde(rename = "RUNNING")]
    Running,
    /// To stand still.
    #[serde(rename = "STOPPED")]
    Stopped,
}

/// Which operation made a pipe what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "operations of the API")]
pub enum PipeChange {
    Created,
    Updated,
    Started,
    Stopped,
}

/// A pipe: from a source over a filter and an enrichment to a target. How far it is lies elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pipe {
    /// Unique.
    pub name: String,
    /// In people's words.
    pub description: Option<String>,
    /// What it is to do.
    pub desired_state: DesiredState,
    /// The operation that came last; the state of the pipe says whether it is through.
    pub change: PipeChange,
    /// Grows with every operation that the pipe has to follow.
    pub revision: u64,
    /// ARN of what it reads.
    pub source: String,
    /// `SourceParameters`, as given.
    pub source_parameters: serde_json::Value,
    /// ARN of what is asked about each batch.
    pub enrichment: Option<String>,
    /// `EnrichmentParameters`, as given.
    pub enrichment_parameters: serde_json::Value,
    /// ARN of what gets the outcome.
    pub target: String,
    /// `TargetParameters`, as given.
    pub target_parameters: serde_json::Value,
    /// Kept and given back, as everything in `kept`.
    pub role_arn: String,
    /// Members that the API keeps and gives back, and nothing here uses (`KmsKeyIdentifier`, `LogConfiguration`).
    pub kept: serde_json::Map<String, serde_json::Value>,
    /// When it was to run first: `LATEST` begins here.
    pub runs_since: Option<Timestamp>,
    /// The region it was made in.
    pub region: String,
    /// When.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub modified_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

/// A group of schedules. Its tag `fakemon:missed` says what its schedules want of due times that they missed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScheduleGroup {
    /// Unique. `default` is there before anybody makes it.
    pub name: String,
    /// The region it was made in; of its ARN.
    pub region: String,
    /// When.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub modified_at: Timestamp,
    /// Tags.
    pub tags: Tags,
    /// Of the request that made it: the same request once more is no other group.
    pub client_token: Option<String>,
}

/// A schedule of the scheduler. How far it is stands with the router, not here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its group.
    pub group: String,
    /// Unique in the group.
    pub name: String,
    /// `rate(…)`, `cron(…)` or `at(…)`.
    pub expression: String,
    /// IANA name of the time zone of the expression.
    pub zone: String,
    /// Not due before,
    pub start: Option<Timestamp>,
    /// nor after.
    pub end: Option<Timestamp>,
    /// How much later than due it may fire; 0: not at all.
    pub window_minutes: u32,
    /// Whether it fires.
    pub enabled: bool,
    /// In people's words.
    pub description: Option<String>,
    /// Kept and given back.
    pub kms_key_arn: Option<String>,
    /// `Target` as the API got it: the text of a JSON object, which takes a tenth of the memory of its members.
    pub target: String,
    /// Whether it goes when it is never due again.
    pub delete_when_over: bool,
    /// The region it was made in; of its ARN.
    pub region: String,
    /// When.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub modified_at: Timestamp,
    /// Of the request that made it: the same request once more is no other schedule.
    pub client_token: Option<String>,
}

impl Schedule {
    /// The key that deletes it as it is: one that was changed meanwhile stays.
    pub fn key_as_it_is(&self) -> String {
        format!("schedule/{}/{}@{}", self.group, self.name, self.modified_at.0)
    }
}

/// One line for each kind: its variant and type, the word that its keys begin with, and the registry's map of it. In the
/// order in which resources can be put into an empty registry.
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

/// A resource's place among those of its kind.
pub trait Named {
    /// A name, or several: that of what it belongs to, then its own.
    type Name: Ord + Clone;

    /// Its own.
    fn place(&self) -> Self::Name;
}

/// A name as keys have it.
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
        /// Any of them.
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
            /// A kind that this version does not know, or a value that does not fit.
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

/// A change of one resource, as the journal keeps it.
#[expect(clippy::large_enum_variant, reason = "changes are few, and most put something")]
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It is so from now on.
    Put(Resource),
    /// It is gone. Rules take their targets along, buses their rules.
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

    /// From what the journal keeps.
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
