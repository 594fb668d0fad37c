//! Operations of Amazon CloudWatch Logs: groups, streams, lines in and out. A catch-all rule with a log group as its
//! target logs every event of a bus.
//!
//! - `groups`: groups and their settings, tags, resource policies
//! - `queries`: queries in the language of Logs Insights

#![allow(
    missing_docs,
    reason = "nothing outside of this workspace reads them; a doc that repeats a name says nothing"
)]

mod log_filter;
mod groups;
mod queries;

use axum::http::StatusCode;
use fakemon_aws::request::{Request, object};
use fakemon_aws::{ApiError, Call, Operation, Reply};
use fakemon_engine::{Engine, ReadError, wall_clock};
use fakemon_http::Backend;
use fakemon_model::ids::Timestamp;
use fakemon_model::names::{LogGroupName, LogStreamName};
use fakemon_queue::log_group::{Line, LinePlace, Stream, expired_ms};
use fakemon_resource::Registry;
use fakemon_resource::resource::{Change, LogGroup};
use log_filter::Filter;
pub use queries::Queries;
use serde_json::{Value, json};
use std::ops::{ControlFlow, Deref};
use std::sync::Arc;

/// State of the service.
pub struct Logs {
    pub backend: Arc<Backend>,
    /// Answers to log queries.
    pub queries: Queries,
}

impl Deref for Logs {
    type Target = Backend;

    fn deref(&self) -> &Backend {
        &self.backend
    }
}

/// Lines of one answer, at most.
const LINES_MAX: u64 = 10_000;
/// Bytes of one answer, approximately.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Lines that one call scans; the next call continues.
const LINES_SEEN_MAX: usize = 100_000;
/// The longest line, in bytes.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Bytes of one batch; each line counts its text plus `BATCH_BYTES_BESIDE`.
const BATCH_BYTES_MAX: usize = 1 << 20;
const BATCH_BYTES_BESIDE: usize = 26;
/// Longest time span of one batch, in milliseconds.
const BATCH_SPAN_MS_MAX: u64 = 24 * 3_600_000;
/// How far in the future a line's timestamp may be, in milliseconds.
const FUTURE_MS_MAX: u64 = 2 * 3_600_000;
/// How far in the past, in days.
const PAST_DAYS_MAX: u32 = 14;
/// Operations that change groups.
pub fn operation(name: &str) -> Option<Operation> {
    groups::operation(name)
}

/// Operations on streams and lines.
#[derive(Clone, Copy)]
pub enum OnLines {
    DeleteGroup,
    CreateStream,
    DeleteStream,
    DescribeStreams,
    Put,
    Get,
    Filter,
    StartQuery,
    QueryResults,
    DescribeQueries,
    StopQuery,
}

/// Operations on streams and lines.
pub fn line_operation(name: &str) -> Option<OnLines> {
    Some(match name {
        "DeleteLogGroup" => OnLines::DeleteGroup,
        "CreateLogStream" => OnLines::CreateStream,
        "DeleteLogStream" => OnLines::DeleteStream,
        "DescribeLogStreams" => OnLines::DescribeStreams,
        "PutLogEvents" => OnLines::Put,
        "GetLogEvents" => OnLines::Get,
        "FilterLogEvents" => OnLines::Filter,
        "StartQuery" => OnLines::StartQuery,
        "GetQueryResults" => OnLines::QueryResults,
        "DescribeQueries" => OnLines::DescribeQueries,
        "StopQuery" => OnLines::StopQuery,
        _ => return None,
    })
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterException", message)
}

fn no_stream() -> ApiError {
    ApiError::missing("The specified log stream does not exist.")
}

/// The group that a request names, by name or by ARN.
fn named<'r>(registry: &'r Registry, request: &Request<'_>) -> Result<&'r LogGroup, ApiError> {
    let (name, identifier) = (request.text("logGroupName"), request.text("logGroupIdentifier"));
    if name.is_some() && identifier.is_some() {
        return Err(invalid("LogGroup name and LogGroup identifier are mutually exclusive parameters."));
    }
    if identifier.is_some_and(|identifier| !identifier.chars().all(is_of_identifier)) {
        return Err(invalid(
            "1 validation error detected: Value at 'logGroupIdentifier' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: [\\w#+=/:,.@-]*",
        ));
    }
    let given = name.or(identifier).or_else(|| request.text("resourceArn"));
    let given = given.unwrap_or_else(|| request.required("logGroupName"));
    request.check()?;
    group_of(registry, given)
}

fn is_of_identifier(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_#+=/:,.@-".contains(c)
}

/// A group by its name or its ARN.
fn group_of<'r>(registry: &'r Registry, given: &str) -> Result<&'r LogGroup, ApiError> {
    let name = given.split_once(":log-group:").map_or(given, |(_, name)| name.strip_suffix(":*").unwrap_or(name));
    registry.log_groups.get(name).ok_or_else(|| ApiError::missing("The specified log group does not exist."))
}

/// Checks the name of a group or stream: its characters against the pattern, and its length.
fn checked<'r>(
    request: &Request<'r>,
    member: &str,
    fits: impl Fn(char) -> bool,
    pattern: &str,
) -> Result<&'r str, ApiError> {
    let name = request.required(member);
    if request.get(member).is_some() {
        request.check_length(member, name, 1, 512);
        if !name.chars().all(fits) {
            request.found(format!(
                "Value '{name}' at '{member}' failed to satisfy constraint: Member must satisfy regular expression \
                 pattern: {pattern}"
            ));
        }
    }
    request.check()?;
    Ok(name)
}

/// Runs an operation on streams and lines. Disk I/O is done on another thread.
pub async fn call(
    logs: &Arc<Logs>,
    operation: OnLines,
    request: &Request<'_>,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    match operation {
        OnLines::StartQuery => return queries::start(logs, request).await,
        OnLines::QueryResults => return queries::results(logs, request),
        OnLines::DescribeQueries => return queries::describe(logs, request),
        OnLines::StopQuery => return queries::stop(logs, request),
        _ => {}
    }
    let group = named(&logs.engine.registry(), request)?.clone();
    let name = group.name.clone();
    match operation {
        OnLines::DeleteGroup => {
            let delete: Operation = |registry, request, _| {
                let key = format!("log-group/{}", named(registry, request)?.name);
                Ok(Reply::with(json!({}), vec![Change::Delete(key)]))
            };
            fakemon_aws::change(&logs.backend, delete, request, call).await?;
            on_disk(logs, move |engine| engine.logs().forget(&name)).await?;
            Ok(json!({}))
        }
        OnLines::CreateStream => {
            let stream = stream_name(request)?;
            let created = on_disk(logs, move |engine| {
                engine.logs().create_stream(LogGroupName(&name), LogStreamName(&stream), wall_clock())
            });
            let exists =
                || ApiError::new("ResourceAlreadyExistsException", "The specified log stream already exists");
            created.await?.then(|| json!({})).ok_or_else(exists)
        }
        OnLines::DeleteStream => {
            let stream = stream_name(request)?;
            let deleted =
                on_disk(logs, move |engine| engine.logs().delete_stream(LogGroupName(&name), LogStreamName(&stream)));
            deleted.await?.then(|| json!({})).ok_or_else(no_stream)
        }
        OnLines::DescribeStreams => describe_streams(logs, &group, request, call.region).await,
        OnLines::Put => put(logs, group, request).await,
        OnLines::Get => get(logs, &group, request).await,
        OnLines::Filter => filter(logs, &group, request).await,
        OnLines::StartQuery | OnLines::QueryResults | OnLines::DescribeQueries | OnLines::StopQuery => {
            unreachable!("answered above: they name groups in their own way")
        }
    }
}

fn stream_name(request: &Request<'_>) -> Result<String, ApiError> {
    let fits = |c: char| !c.is_control() && c != ':' && c != '*';
    checked(request, "logStreamName", fits, "[^:*]*").map(str::to_owned)
}

async fn on_disk<T: Send + 'static>(
    logs: &Arc<Logs>,
    act: impl FnOnce(&Engine) -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ApiError> {
    let engine = logs.engine.clone();
    let done = tokio::task::spawn_blocking(move || act(&engine)).await;
    let done = done.map_err(|error| ApiError::internal(error.to_string()))?;
    done.map_err(|error| ApiError {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        code: "ServiceUnavailableException",
        message: error.to_string(),
    })
}

async fn describe_streams(
    logs: &Arc<Logs>,
    group: &LogGroup,
    request: &Request<'_>,
    region: &str,
) -> Result<Value, ApiError> {
    let prefix = request.text("logStreamNamePrefix").map(str::to_owned);
    let by_time = request.one_of("orderBy", &["LogStreamName", "LastEventTime"]) == Some("LastEventTime");
    let limit = request.number("limit", 1, 50).unwrap_or(50) as usize;
    let after = request.text("nextToken").map(|token| stream_of_token(token, &group.name)).transpose()?;
    let descending = request.get("descending").and_then(Value::as_bool).unwrap_or(false);
    request.check()?;
    if by_time && prefix.is_some() {
        return Err(invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
    }
    let name = group.name.clone();
    let mut streams = on_disk(logs, move |engine| engine.logs().streams(&name)).await?;
    streams.retain(|stream| prefix.as_ref().is_none_or(|prefix| stream.name.starts_with(prefix)));
    if by_time {
        // Streams without lines have no time: they come first, and last if descending.
        streams.sort_by_key(|stream| stream.times.map_or(0, |times| times.last_ms));
    }
    if descending {
        streams.reverse();
    }
    // By name, so that paging continues even if the last stream of a page is deleted; times change too fast for that.
    let from = match &after {
        None => 0,
        Some(after) if by_time => {
            streams.iter().position(|stream| stream.name == *after).map_or(streams.len(), |index| index + 1)
        }
        Some(after) => {
            let behind = |stream: &Stream| stream.name != *after && (stream.name > *after) != descending;
            streams.iter().position(behind).unwrap_or(streams.len())
        }
    };
    let shown = streams.get(from..).unwrap_or_default();
    let next = shown.get(limit).and(shown.get(limit - 1)).map(|stream| format!("{}@{}", group.name, stream.name));
    let shown: Vec<Value> = shown.iter().take(limit).map(|stream| stream_json(group, stream, region)).collect();
    Ok(object([("logStreams", Some(shown.into())), ("nextToken", next.map(Value::from))]))
}

/// The stream after which a page continues.
fn stream_of_token(token: &str, group: &str) -> Result<String, ApiError> {
    let stream = token.strip_prefix(group).and_then(|rest| rest.strip_prefix('@'));
    stream.map(str::to_owned).ok_or_else(|| invalid("The specified nextToken is invalid."))
}

fn stream_json(group: &LogGroup, stream: &Stream, region: &str) -> Value {
    let account = fakemon_model::envelope::ACCOUNT;
    let arn = format!("arn:aws:logs:{region}:{account}:log-group:{}:log-stream:{}", group.name, stream.name);
    object([
        ("logStreamName", Some(stream.name.as_str().into())),
        ("creationTime", Some(stream.created_at_ms.into())),
        ("firstEventTimestamp", stream.times.map(|times| times.first_ms.into())),
        ("lastEventTimestamp", stream.times.map(|times| times.last_ms.into())),
        ("lastIngestionTime", stream.times.map(|times| times.ingested_at_ms.into())),
        ("arn", Some(arn.into())),
        ("storedBytes", Some(0.into())),
    ])
}

/// The lines of a request, in order, and which of them are accepted.
struct Given {
    lines: Vec<(u64, String)>,
    too_new_from: Option<usize>,
    too_old_to: Option<usize>,
}

fn given(request: &Request<'_>, now: Timestamp) -> Result<Given, ApiError> {
    let events = request.get("logEvents").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !(1..=LINES_MAX as usize).contains(&events.len()) {
        return Err(invalid(format!("logEvents: 1 to {LINES_MAX} are sent at once, not {}", events.len())));
    }
    let mut lines = Vec::with_capacity(events.len());
    for (index, event) in events.iter().enumerate() {
        let (Some(at_ms), Some(message)) = (event["timestamp"].as_u64(), event["message"].as_str()) else {
            let what = "has a timestamp (milliseconds since 1970) and a message (text)";
            return Err(invalid(format!("logEvents[{index}] {what}")));
        };
        if message.is_empty() || message.len() > LINE_BYTES_MAX {
            return Err(invalid(format!("logEvents[{index}].message has 1 to {LINE_BYTES_MAX} bytes")));
        }
        lines.push((at_ms, message.to_owned()));
    }
    let bytes: usize = lines.iter().map(|(_, message)| message.len() + BATCH_BYTES_BESIDE).sum();
    if bytes > BATCH_BYTES_MAX {
        return Err(invalid(format!("Upload too large: {bytes} bytes exceeds limit of {BATCH_BYTES_MAX}")));
    }
    if !lines.is_sorted_by_key(|(at_ms, _)| *at_ms) {
        return Err(invalid("Log events in a single PutLogEvents request must be in chronological order."));
    }
    if let (Some((first_ms, _)), Some((last_ms, _))) = (lines.first(), lines.last())
        && last_ms - first_ms > BATCH_SPAN_MS_MAX
    {
        return Err(invalid(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        ));
    }
    let (oldest, newest) = (expired_ms(now, PAST_DAYS_MAX), now.0 / 1_000_000 + FUTURE_MS_MAX);
    let too_new_from = lines.iter().position(|(at_ms, _)| *at_ms > newest);
    let too_old_to = lines.iter().rposition(|(at_ms, _)| *at_ms < oldest);
    lines.retain(|(at_ms, _)| (oldest..=newest).contains(at_ms));
    Ok(Given { lines, too_new_from, too_old_to })
}

async fn put(logs: &Arc<Logs>, group: LogGroup, request: &Request<'_>) -> Result<Value, ApiError> {
    let stream = stream_name(request)?;
    let now = wall_clock();
    let Given { lines, too_new_from, too_old_to } = given(request, now)?;
    let rejected = (too_new_from.is_some() || too_old_to.is_some()).then(|| {
        object([
            ("tooNewLogEventStartIndex", too_new_from.map(Value::from)),
            ("tooOldLogEventEndIndex", too_old_to.map(|last| Value::from(last + 1))),
        ])
    });
    let written = on_disk(logs, move |engine| {
        if !engine.logs().has_stream(LogGroupName(&group.name), LogStreamName(&stream))? {
            return Ok(false);
        }
        let lines: Vec<(u64, &str)> = lines.iter().map(|(at_ms, message)| (*at_ms, message.as_str())).collect();
        engine.logs().append(
            LogGroupName(&group.name),
            LogStreamName(&stream),
            &lines,
            group.retention_days,
            true,
            now,
        )?;
        Ok(true)
    });
    if !written.await? {
        return Err(no_stream());
    }
    let next = format!("{:056}", now.0);
    Ok(object([("nextSequenceToken", Some(next.into())), ("rejectedLogEventsInfo", rejected)]))
}

fn token(place: LinePlace) -> String {
    format!("{:016x}{:016x}", place.at_ms, place.sequence)
}

fn place_of(token: &str) -> Result<LinePlace, ApiError> {
    let wrong = || invalid("The specified nextToken is invalid.");
    let (at_ms, sequence) = token.split_at_checked(16).filter(|_| token.len() == 32).ok_or_else(wrong)?;
    let number = |text| u64::from_str_radix(text, 16).map_err(|_| wrong());
    Ok(LinePlace { at_ms: number(at_ms)?, sequence: number(sequence)? })
}

/// A time in milliseconds since 1970; earlier times become 0.
fn moment(request: &Request<'_>, member: &str) -> Result<Option<u64>, ApiError> {
    let Some(value) = request.get(member) else { return Ok(None) };
    let ms = value.as_i64().ok_or_else(|| invalid(format!("{member} is a number of milliseconds since 1970")))?;
    Ok(Some(u64::try_from(ms).unwrap_or(0)))
}

async fn get(logs: &Arc<Logs>, group: &LogGroup, request: &Request<'_>) -> Result<Value, ApiError> {
    let stream = stream_name(request)?;
    let limit = request.number("limit", 1, LINES_MAX).unwrap_or(LINES_MAX) as usize;
    let (start, end) = (moment(request, "startTime")?.unwrap_or(0), moment(request, "endTime")?.unwrap_or(u64::MAX));
    let token_text = request.text("nextToken");
    let from_head = request.get("startFromHead").and_then(Value::as_bool).unwrap_or(false);
    request.check()?;
    let (forward, from) = match token_text.and_then(|token| token.split_once('/')) {
        Some(("f", token)) => (true, place_of(token)?),
        Some(("b", token)) => (false, place_of(token)?),
        _ if token_text.is_some() => return Err(invalid("The specified nextToken is invalid.")),
        _ if from_head => (true, LinePlace { at_ms: start, sequence: 0 }),
        _ => (false, LinePlace { at_ms: end, sequence: 0 }),
    };
    let (name, oldest) = (group.name.clone(), oldest_ms(group, wall_clock()).max(start));
    let lines = on_disk(logs, move |engine| {
        if !engine.logs().has_stream(LogGroupName(&name), LogStreamName(&stream))? {
            return Ok(None);
        }
        let (mut lines, mut bytes) = (Vec::new(), 0);
        let mut take = |line: Line| {
            if if forward { line.place.at_ms >= end } else { line.place.at_ms < oldest } {
                return ControlFlow::Break(());
            }
            if line.stream == stream && (oldest..end).contains(&line.place.at_ms) {
                bytes += line.message.len();
                lines.push(line);
            }
            if lines.len() >= limit || bytes >= ANSWER_BYTES_MAX {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        if forward {
            engine.logs().read(&name, from, &mut take)?;
        } else {
            engine.logs().read_back(&name, from, &mut take)?;
            lines.reverse();
        }
        Ok(Some(lines))
    });
    let lines = lines.await?.ok_or_else(no_stream)?;
    let (first, behind) = match (lines.first(), lines.last()) {
        (Some(first), Some(last)) => (first.place, last.place.next()),
        _ => (from, from),
    };
    let event = |line: &Line| json!({ "timestamp": line.place.at_ms, "message": line.message, "ingestionTime": line.ingested_at_ms });
    Ok(json!({
        "events": lines.iter().map(event).collect::<Vec<_>>(),
        "nextForwardToken": format!("f/{}", token(behind)),
        "nextBackwardToken": format!("b/{}", token(first)),
    }))
}

fn oldest_ms(group: &LogGroup, now: Timestamp) -> u64 {
    group.retention_days.map_or(0, |days| expired_ms(now, days))
}

async fn filter(logs: &Arc<Logs>, group: &LogGroup, request: &Request<'_>) -> Result<Value, ApiError> {
    let filter = Filter::parse(request.text("filterPattern").unwrap_or_default()).map_err(invalid)?;
    let limit = request.number("limit", 1, LINES_MAX).unwrap_or(LINES_MAX) as usize;
    let (start, end) = (moment(request, "startTime")?.unwrap_or(0), moment(request, "endTime")?.unwrap_or(u64::MAX));
    let names = request.get("logStreamNames").and_then(Value::as_array);
    let names: Option<Vec<String>> =
        names.map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    let prefix = request.text("logStreamNamePrefix").map(str::to_owned);
    let after = request.text("nextToken").map(place_of).transpose()?;
    request.check()?;
    if names.is_some() && prefix.is_some() {
        return Err(invalid("logStreamNamePrefix and logStreamNames cannot both be given"));
    }
    let start = start.max(oldest_ms(group, wall_clock()));
    let from = after.unwrap_or_default().max(LinePlace { at_ms: start, sequence: 0 });
    let name = group.name.clone();
    let found = on_disk(logs, move |engine| {
        for stream in names.iter().flatten() {
            if !engine.logs().has_stream(LogGroupName(&name), LogStreamName(stream))? {
                return Ok(None);
            }
        }
        let (mut lines, mut bytes, mut seen, mut next) = (Vec::new(), 0, 0, None);
        engine.logs().read(&name, from, &mut |line| {
            if line.place.at_ms > end {
                return ControlFlow::Break(());
            }
            seen += 1;
            let of_stream = names.as_ref().is_none_or(|names| names.contains(&line.stream))
                && prefix.as_ref().is_none_or(|prefix| line.stream.starts_with(prefix));
            let behind = line.place.next();
            if of_stream && filter.holds(&line.message) {
                bytes += line.message.len();
                lines.push(line);
            }
            if lines.len() >= limit || bytes >= ANSWER_BYTES_MAX || seen >= LINES_SEEN_MAX {
                next = Some(behind);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(Some((lines, next)))
    });
    let (lines, next) = found.await?.ok_or_else(no_stream)?;
    let event = |line: &Line| {
        json!({
            "logStreamName": line.stream,
            "timestamp": line.place.at_ms,
            "message": line.message,
            "ingestionTime": line.ingested_at_ms,
            "eventId": format!("{:028}{:028}", line.place.at_ms, line.place.sequence),
        })
    };
    let events: Vec<Value> = lines.iter().map(event).collect();
    let next = next.map(|place| Value::from(token(place)));
    Ok(object([("events", Some(events.into())), ("searchedLogStreams", Some(json!([]))), ("nextToken", next)]))
}
