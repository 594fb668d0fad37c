//! The settings of a pipe, parsed once: running it needs no further checks. In: parameters as in the API; out: a
//! plan, or what is wrong.

use super::members::{
    DeadLetterConfig, FilterCriteria, GoMembers, HttpMembers, Invalid, ReadMembers, SourceMembers, invalid, members,
};
use super::record::Shape;
use fakemon_delivery::Failed;
use fakemon_model::envelope::ACCOUNT;
use fakemon_model::ids::{Position, Timestamp};
use fakemon_pattern::pattern::Pattern;
use fakemon_pattern::transform::{JsonPath, Parameter, Transform};
use fakemon_queue::queue::{is_fifo, is_id};
use fakemon_resource::Destination;
use fakemon_resource::resource::{HttpParameters, Pipe};
use std::time::Duration;

/// The most bytes of one batch, as with AWS.
pub(super) const BATCH_BYTES_MAX: usize = 6 << 20;
/// The most patterns of one pipe.
const FILTERS_MAX: usize = 5;

/// The settings of a pipe are not valid: which member, and what it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidPipe(pub String);

/// Checks the settings of a pipe, whether or not its source and target exist; the target must be of a kind that is
/// served here, unless others are allowed, too.
///
/// # Errors
/// The member that is wrong, and what it must be.
pub fn check(pipe: &Pipe, allow_unserved: bool) -> Result<(), InvalidPipe> {
    let plan = Plan::of(pipe)?;
    if plan.target.destination == Destination::Unknown && !allow_unserved {
        return invalid(format!(
            "Target {} is nothing that is reached here: use the ARN of a queue, an event bus, a log group, an API \
             destination, or of the capture service, players or a function; the setting bus.allow_unserved_targets accepts \
             others.",
            pipe.target
        ));
    }
    Ok(())
}

/// The parsed settings of a pipe.
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) source_arn: String,
    pub(super) region: String,
    pub(super) source: Source,
    pub(super) patterns: Vec<String>,
    pub(super) batching: Batching,
    pub(super) limits: Limits,
    /// The queue for dead letters, by name.
    pub(super) dead_letters: Option<String>,
    pub(super) enrichment: Option<Enrichment>,
    pub(super) target: Target,
}

/// The source of a pipe.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    /// A queue, by name.
    Queue(String),
    /// Events of one bus, or of all.
    Journal { bus: Option<String>, from: From },
    /// A stream of an API destination, by name.
    Stream(String),
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Position(Position),
    Since(Timestamp),
}

/// When a batch is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batching {
    pub(super) size: usize,
    pub(super) window: Duration,
}

impl Batching {
    /// Whether a batch of this size, whose first record has waited this long, is due.
    pub(super) fn is_due(self, count: usize, bytes: usize, waited: Duration) -> bool {
        count > 0 && (count >= self.size || bytes >= BATCH_BYTES_MAX || waited >= self.window)
    }
}

/// How often, and for how long, a record is retried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) retries_max: Option<u32>,
    pub(super) age_max: Option<Duration>,
    /// Whether a batch that failed is halved.
    pub(super) bisect: bool,
}

impl Limits {
    /// Whether a record that failed this often is given up, and because of which limit.
    pub(super) fn exhausted(
        self,
        failed: &Failed,
        retries: u32,
        at: Timestamp,
        now: Timestamp,
    ) -> Option<Option<&'static str>> {
        if !failed.retriable {
            Some(None)
        } else if self.retries_max.is_some_and(|max| retries >= max) {
            Some(Some("MaximumRetryAttempts"))
        } else if self.is_too_old(at, now) {
            Some(Some("MaximumRecordAgeInSeconds"))
        } else {
            None
        }
    }

    pub(super) fn is_too_old(self, at: Timestamp, now: Timestamp) -> bool {
        self.age_max.is_some_and(|max| u128::from(now.ns_since(at)) >= max.as_nanos())
    }
}

/// The enrichment of each batch.
pub(super) struct Enrichment {
    pub(super) arn: String,
    pub(super) destination: Destination,
    pub(super) input: Transform,
    pub(super) http: HttpParameters,
}

/// The target of a pipe.
pub(super) struct Target {
    pub(super) arn: String,
    pub(super) destination: Destination,
    pub(super) input: Transform,
    pub(super) http: HttpParameters,
    pub(super) group: Option<Parameter>,
    pub(super) deduplication_id: Option<Parameter>,
    pub(super) source: Parameter,
    pub(super) detail_type: Parameter,
    pub(super) resources: Vec<Parameter>,
    pub(super) time: Option<JsonPath>,
    pub(super) log_stream: Parameter,
    pub(super) log_time: Option<JsonPath>,
}

impl Plan {
    /// Whether records leave the data directory before they are done.
    pub(super) fn shows_outside(&self) -> bool {
        let stays = matches!(
            self.target.destination,
            Destination::Queue(_) | Destination::LogGroup(_) | Destination::Bus(_) | Destination::Capture
        );
        self.enrichment.is_some() || !stays
    }

    /// The plan of a pipe.
    pub(super) fn of(pipe: &Pipe) -> Invalid<Plan> {
        let given: SourceMembers = members("SourceParameters", &pipe.source_parameters)?;
        let (source, read) = source(pipe, &given)?;
        let is_queue = matches!(source, Source::Queue(_));
        let at = if is_queue { "SqsQueueParameters" } else { "KinesisStreamParameters" };
        let within = |name: &str, number: Option<i64>, min: i64, max: i64| match number {
            Some(number) if !(min..=max).contains(&number) => {
                invalid(format!("SourceParameters.{at}.{name} is {number}: it must be {min} to {max}."))
            }
            number => Ok(number),
        };
        let of_streams = read.maximum_retry_attempts.is_some()
            || read.maximum_record_age_in_seconds.is_some()
            || read.on_partial_batch_item_failure.is_some()
            || read.dead_letter_config.is_some();
        if is_queue && of_streams {
            return invalid(
                "SourceParameters.SqsQueueParameters has BatchSize and MaximumBatchingWindowInSeconds: how often a \
                 message is tried, and where it goes then, says the queue's own RedrivePolicy.",
            );
        }
        let size = within("BatchSize", read.batch_size, 1, 10_000)?.unwrap_or(if is_queue { 10 } else { 100 });
        let window =
            within("MaximumBatchingWindowInSeconds", read.maximum_batching_window_in_seconds, 0, 300)?.unwrap_or(0);
        let retries = within("MaximumRetryAttempts", read.maximum_retry_attempts, -1, 10_000)?;
        let age = within("MaximumRecordAgeInSeconds", read.maximum_record_age_in_seconds, -1, 604_800)?;
        let bisect = match read.on_partial_batch_item_failure.as_deref() {
            None => false,
            Some("AUTOMATIC_BISECT") => true,
            Some(_) => {
                return invalid(format!("SourceParameters.{at}.OnPartialBatchItemFailure must be AUTOMATIC_BISECT."));
            }
        };
        Ok(Plan {
            name: pipe.name.clone(),
            arn: arn(pipe),
            source_arn: pipe.source.clone(),
            region: pipe.region.clone(),
            patterns: patterns(given.filter_criteria.as_ref())?,
            batching: Batching {
                size: usize::try_from(size).expect("from 1 to 10,000"),
                window: Duration::from_secs(window.unsigned_abs()),
            },
            limits: Limits {
                retries_max: retries.and_then(|retries| u32::try_from(retries).ok()),
                age_max: age.and_then(|age| u64::try_from(age).ok()).map(Duration::from_secs),
                bisect,
            },
            dead_letters: dead_letters(at, read.dead_letter_config.as_ref())?,
            enrichment: enrichment(pipe)?,
            target: target(pipe, &source)?,
            source,
        })
    }

    /// What all its records have in common.
    pub(super) fn shape(&self) -> Shape {
        Shape { region: self.region.clone(), source_arn: self.source_arn.clone() }
    }
}

/// ARN of a pipe.
pub(super) fn arn(pipe: &Pipe) -> String {
    format!("arn:aws:pipes:{}:{ACCOUNT}:pipe/{}", pipe.region, pipe.name)
}

fn source<'g>(pipe: &Pipe, given: &'g SourceMembers) -> Invalid<(Source, &'g ReadMembers)> {
    static NOTHING: ReadMembers = ReadMembers {
        batch_size: None,
        maximum_batching_window_in_seconds: None,
        starting_position: None,
        starting_position_timestamp: None,
        maximum_retry_attempts: None,
        maximum_record_age_in_seconds: None,
        on_partial_batch_item_failure: None,
        dead_letter_config: None,
    };
    let (queue, stream) = (&given.sqs_queue_parameters, &given.kinesis_stream_parameters);
    let streamed = || match queue {
        None => Ok(stream.as_ref().unwrap_or(&NOTHING)),
        Some(_) => invalid("SourceParameters.SqsQueueParameters is for queues: use KinesisStreamParameters."),
    };
    match Destination::of(&pipe.source) {
        Destination::Queue(_) if stream.is_some() => {
            invalid("SourceParameters.KinesisStreamParameters is for streams: use SqsQueueParameters.")
        }
        Destination::Queue(name) => Ok((Source::Queue(name), queue.as_ref().unwrap_or(&NOTHING))),
        Destination::Bus(name) => {
            let read = streamed()?;
            Ok((Source::Journal { bus: Some(name), from: from(pipe, read)? }, read))
        }
        Destination::Webhook(name) => Ok((Source::Stream(name), streamed()?)),
        _ if is_journal(&pipe.source) => {
            let read = streamed()?;
            Ok((Source::Journal { bus: None, from: from(pipe, read)? }, read))
        }
        _ => invalid(format!(
            "Source {} is nothing that is read here: use the ARN of a queue, of an event bus, of an API destination \
             (a stream of server-sent events or of lines) or arn:aws:fakemon:REGION:{ACCOUNT}:journal.",
            pipe.source
        )),
    }
}

/// Whether a pipe that reads this source reads all of the journal.
pub fn is_journal(arn: &str) -> bool {
    let parts: Vec<&str> = arn.split(':').collect();
    matches!(parts.as_slice(), ["arn", _, "fakemon", _, _, "journal"])
}

fn from(pipe: &Pipe, read: &ReadMembers) -> Invalid<From> {
    const AT: &str = "SourceParameters.KinesisStreamParameters";
    match read.starting_position.as_deref() {
        Some("TRIM_HORIZON") => Ok(From::Position(Position(0))),
        None | Some("LATEST") => Ok(From::Since(pipe.runs_since.unwrap_or(pipe.created_at))),
        Some("AT_TIMESTAMP") => match read.starting_position_timestamp {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was just looked at")]
            Some(seconds) if (0.0..1e10).contains(&seconds) => Ok(From::Since(Timestamp((seconds * 1e9) as u64))),
            _ => invalid(format!("{AT}.StartingPositionTimestamp must be a moment.")),
        },
        Some(position) => match position.parse() {
            Ok(position) => Ok(From::Position(Position(position))),
            Err(_) => invalid(format!(
                "{AT}.StartingPosition must be LATEST, TRIM_HORIZON, AT_TIMESTAMP or a position of the journal."
            )),
        },
    }
}

fn patterns(given: Option<&FilterCriteria>) -> Invalid<Vec<String>> {
    let filters = given.map_or(&[][..], |given| &given.filters);
    if filters.len() > FILTERS_MAX {
        return invalid(format!("SourceParameters.FilterCriteria.Filters has at most {FILTERS_MAX} members."));
    }
    let texts = filters.iter().filter_map(|filter| filter.pattern.clone()).filter(|text| !text.is_empty());
    let patterns: Vec<String> = texts.collect();
    for (number, pattern) in (1..).zip(&patterns) {
        let at = format!("SourceParameters.FilterCriteria.Filters.{number}.Pattern");
        if pattern.len() > 4_096 {
            return invalid(format!("{at} has at most 4096 bytes."));
        }
        Pattern::parse(pattern).map_err(|error| InvalidPipe(format!("{at} is not valid: {error}")))?;
    }
    Ok(patterns)
}

fn dead_letters(at: &str, given: Option<&DeadLetterConfig>) -> Invalid<Option<String>> {
    let Some(arn) = given.and_then(|given| given.arn.as_deref()) else { return Ok(None) };
    match Destination::of(arn) {
        Destination::Queue(queue) if !is_fifo(&queue) => Ok(Some(queue)),
        _ => invalid(format!("SourceParameters.{at}.DeadLetterConfig.Arn must be the ARN of a standard queue.")),
    }
}

/// Parses an input template; an empty one means none.
fn input(at: &str, template: Option<&str>) -> Invalid<Transform> {
    match template {
        None | Some("") => Ok(Transform::Whole),
        Some(template) if template.len() > 8_192 => invalid(format!("{at}.InputTemplate has at most 8192 bytes.")),
        Some(template) => {
            let wrong = |error| InvalidPipe(format!("{at}.InputTemplate is not valid: {error}"));
            Transform::inline(template).map_err(wrong)
        }
    }
}

fn http(given: Option<HttpMembers>) -> HttpParameters {
    given.map_or_else(HttpParameters::default, |given| HttpParameters {
        path: given.path_parameter_values,
        headers: given.header_parameters,
        query: given.query_string_parameters,
    })
}

fn enrichment(pipe: &Pipe) -> Invalid<Option<Enrichment>> {
    let given: GoMembers = members("EnrichmentParameters", &pipe.enrichment_parameters)?;
    let input = input("EnrichmentParameters", given.input_template.as_deref())?;
    let Some(arn) = pipe.enrichment.as_deref().filter(|arn| !arn.is_empty()) else { return Ok(None) };
    let destination = Destination::of(arn);
    if !matches!(destination, Destination::Webhook(_) | Destination::Function(_)) {
        return invalid(format!(
            "Enrichment {arn} is nothing that is asked here: use the ARN of an API destination or \
             arn:aws:fakemon:REGION:{ACCOUNT}:function/NAME."
        ));
    }
    Ok(Some(Enrichment { arn: arn.to_owned(), destination, input, http: http(given.http_parameters) }))
}

fn target(pipe: &Pipe, source: &Source) -> Invalid<Target> {
    let given: GoMembers = members("TargetParameters", &pipe.target_parameters)?;
    let destination = Destination::of(&pipe.target);
    let queue = given.sqs_queue_parameters.unwrap_or_default();
    let bus = given.event_bridge_event_bus_parameters.unwrap_or_default();
    let logs = given.cloud_watch_logs_parameters.unwrap_or_default();
    match &destination {
        Destination::Answers(_) => {
            return invalid(format!("Target {} gets results of throws, and nothing of pipes.", pipe.target));
        }
        Destination::Queue(name) if is_fifo(name) && queue.message_group_id.is_none() => {
            return invalid("TargetParameters.SqsQueueParameters.MessageGroupId is needed for a FIFO queue.");
        }
        _ => {}
    }
    let ids =
        [("MessageGroupId", &queue.message_group_id), ("MessageDeduplicationId", &queue.message_deduplication_id)];
    for (name, id) in ids {
        if let Some(Parameter::Is(id)) = id.as_deref().map(Parameter::of)
            && !is_id(&id)
        {
            return invalid(format!(
                "TargetParameters.SqsQueueParameters.{name} must be 1 to 128 alphanumeric and punctuation characters."
            ));
        }
    }
    let path = |name: &str, text: Option<&str>| match text {
        None => Ok(None),
        Some(text) => match JsonPath::parse(text) {
            Ok(path) => Ok(Some(path)),
            Err(_) => invalid(format!("TargetParameters.{name} must be a path, as `$.body.time`.")),
        },
    };
    let text = |text: Option<String>| text.map(|text| Parameter::of(&text));
    let kind = match source {
        Source::Queue(_) => "aws:sqs",
        Source::Journal { bus: Some(_), .. } => "aws:events",
        Source::Journal { bus: None, .. } => "fakemon:journal",
        Source::Stream(_) => "fakemon:stream",
    };
    Ok(Target {
        arn: pipe.target.clone(),
        destination,
        input: input("TargetParameters", given.input_template.as_deref())?,
        http: http(given.http_parameters),
        group: text(queue.message_group_id),
        deduplication_id: text(queue.message_deduplication_id),
        source: text(bus.source).unwrap_or_else(|| Parameter::Is(format!("Pipe {}", pipe.name))),
        detail_type: text(bus.detail_type).unwrap_or_else(|| Parameter::Is(format!("Event from {kind}"))),
        resources: bus.resources.iter().map(|text| Parameter::of(text)).collect(),
        time: path("EventBridgeEventBusParameters.Time", bus.time.as_deref())?,
        log_stream: text(logs.log_stream_name).unwrap_or_else(|| Parameter::Is(format!("pipe/{}", pipe.name))),
        log_time: path("CloudWatchLogsParameters.Timestamp", logs.timestamp.as_deref())?,
    })
}
