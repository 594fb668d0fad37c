//! Operations of Amazon CloudWatch Logs: groups, streams, lines in and out. A catch-all rule into a log group is the
//! view of everything that happens on a bus.

use super::log_filter::Filter;
use super::request::{Request, object};
use super::{ApiError, Call, Operation, Reply, Shared};
use axum::http::StatusCode;
use fakemon_engine::bus::Registry;
use fakemon_engine::bus::resource::{Change, LogGroup, Resource, Tags};
use fakemon_engine::ids::Timestamp;
use fakemon_engine::logs::{Line, LinePlace, expired_ms};
use fakemon_engine::{Engine, ReadError};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Lines of one answer.
const LINES_MAX: u64 = 10_000;
/// Bytes of one answer, about.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Lines that one call looks at; the next call goes on.
const LINES_SEEN_MAX: usize = 100_000;
/// The longest line, in bytes.
const LINE_BYTES_MAX: usize = 1 << 20;
/// How far in the future a line may say to be, in milliseconds.
const FUTURE_MS_MAX: u64 = 2 * 3_600_000;
/// How long ago, in days.
const PAST_DAYS_MAX: u32 = 14;
const RETENTION_DAYS: [u64; 23] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1_096, 1_827, 2_192, 2_557, 2_922, 3_288, 3_653,
    36_500,
];

/// Operations that change groups.
pub(super) fn operation(name: &str) -> Option<Operation> {
    Some(match name {
        "CreateLogGroup" => create,
        "DescribeLogGroups" => describe,
        "PutRetentionPolicy" => put_retention,
        "DeleteRetentionPolicy" => delete_retention,
        "TagResource" | "TagLogGroup" => tag,
        "UntagResource" | "UntagLogGroup" => untag,
        "ListTagsForResource" | "ListTagsLogGroup" => list_tags,
        _ => return None,
    })
}

/// Operations on streams and lines.
#[derive(Clone, Copy)]
pub(super) enum OnLines {
    DeleteGroup,
    CreateStream,
    DeleteStream,
    DescribeStreams,
    Put,
    Get,
    Filter,
}

/// Operations on streams and lines.
pub(super) fn line_operation(name: &str) -> Option<OnLines> {
    Some(match name {
        "DeleteLogGroup" => OnLines::DeleteGroup,
        "CreateLogStream" => OnLines::CreateStream,
        "DeleteLogStream" => OnLines::DeleteStream,
        "DescribeLogStreams" => OnLines::DescribeStreams,
        "PutLogEvents" => OnLines::Put,
        "GetLogEvents" => OnLines::Get,
        "FilterLogEvents" => OnLines::Filter,
        _ => return None,
    })
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterException", message)
}

fn no_stream() -> ApiError {
    ApiError::missing("The specified log stream does not exist.")
}

/// The group that is meant: by its name, or by its ARN.
fn named<'r>(registry: &'r Registry, request: &Request<'_>) -> Result<&'r LogGroup, ApiError> {
    let members = ["logGroupName", "logGroupIdentifier", "resourceArn"];
    let given = members.into_iter().find_map(|member| request.text(member));
    let given = given.unwrap_or_else(|| request.required("logGroupName"));
    request.check()?;
    let name = given.split_once(":log-group:").map_or(given, |(_, name)| name.strip_suffix(":*").unwrap_or(name));
    registry.log_groups.get(name).ok_or_else(|| ApiError::missing("The specified log group does not exist."))
}

/// A name of a group or stream.
fn checked<'r>(request: &Request<'r>, member: &str, forbidden: &[char], allowed: &str) -> Result<&'r str, ApiError> {
    let name = request.required(member);
    request.check()?;
    let wrong = |c: char| c.is_control() || forbidden.contains(&c);
    if name.is_empty() || name.chars().count() > 512 || name.contains(wrong) {
        return Err(invalid(format!(
            "Value '{name}' at '{member}' failed to satisfy constraint: it has 1 to 512 characters, {allowed}"
        )));
    }
    Ok(name)
}

fn create(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = checked(request, "logGroupName", &[], "of a-z, A-Z, 0-9, '_', '-', '/', '.' and '#'")?;
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-/.#".contains(&b)) {
        let pattern = r"[\.\-_/#A-Za-z0-9]+";
        return Err(invalid(format!(
            "1 validation error detected: Value '{name}' at 'logGroupName' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: {pattern}"
        )));
    }
    if registry.log_groups.contains_key(name) {
        return Err(ApiError::new("ResourceAlreadyExistsException", "The specified log group already exists"));
    }
    let tags = texts(request.get("tags"));
    let group = LogGroup { name: name.into(), retention_days: None, created_at: call.now, tags };
    Ok(Reply::with(json!({}), vec![Change::Put(Resource::LogGroup(group))]))
}

fn texts(map: Option<&Value>) -> Tags {
    let members = map.and_then(Value::as_object).into_iter().flatten();
    members.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn describe(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let prefix = request.text("logGroupNamePrefix").unwrap_or_default();
    let part = request.text("logGroupNamePattern").unwrap_or_default();
    let limit = request.number("limit", 1, 50).unwrap_or(50);
    let after = request.text("nextToken");
    request.check()?;
    let wanted = |group: &&LogGroup| group.name.starts_with(prefix) && group.name.contains(part);
    let mut groups = registry
        .log_groups
        .values()
        .filter(wanted)
        .skip_while(|group| after.is_some_and(|after| group.name.as_str() <= after));
    let shown: Vec<&LogGroup> = groups.by_ref().take(limit as usize).collect();
    let next = groups.next().and(shown.last()).map(|group| group.name.clone());
    let groups: Vec<Value> = shown.into_iter().map(|group| group_json(group, call.region)).collect();
    Ok(Reply::of(object([("logGroups", Some(groups.into())), ("nextToken", next.map(Value::from))])))
}

fn group_json(group: &LogGroup, region: &str) -> Value {
    let arn = format!("arn:aws:logs:{region}:{}:log-group:{}", fakemon_engine::envelope::ACCOUNT, group.name);
    object([
        ("logGroupName", Some(group.name.as_str().into())),
        ("creationTime", Some((group.created_at.0 / 1_000_000).into())),
        ("retentionInDays", group.retention_days.map(Value::from)),
        ("metricFilterCount", Some(0.into())),
        ("arn", Some(format!("{arn}:*").into())),
        ("logGroupArn", Some(arn.into())),
        ("storedBytes", Some(0.into())),
        ("logGroupClass", Some("STANDARD".into())),
    ])
}

fn put_retention(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let mut group = named(registry, request)?.clone();
    let days = request.number("retentionInDays", 1, 36_500).unwrap_or_default();
    request.check()?;
    if !RETENTION_DAYS.contains(&days) {
        return Err(invalid(format!("retentionInDays is one of {RETENTION_DAYS:?}, not {days}")));
    }
    group.retention_days = u32::try_from(days).ok();
    Ok(Reply::with(json!({}), vec![Change::Put(Resource::LogGroup(group))]))
}

fn delete_retention(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let group = LogGroup { retention_days: None, ..named(registry, request)?.clone() };
    Ok(Reply::with(json!({}), vec![Change::Put(Resource::LogGroup(group))]))
}

fn tag(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let mut group = named(registry, request)?.clone();
    group.tags.extend(texts(request.get("tags")));
    Ok(Reply::with(json!({}), vec![Change::Put(Resource::LogGroup(group))]))
}

fn untag(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let mut group = named(registry, request)?.clone();
    let keys = request.get("tagKeys").or_else(|| request.get("tags")).and_then(Value::as_array);
    keys.into_iter().flatten().filter_map(Value::as_str).for_each(|key| drop(group.tags.remove(key)));
    Ok(Reply::with(json!({}), vec![Change::Put(Resource::LogGroup(group))]))
}

fn list_tags(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    Ok(Reply::of(json!({ "tags": named(registry, request)?.tags })))
}

/// Carries out an operation on streams and lines. Disks are waited for on another thread.
pub(super) async fn call(
    shared: &Arc<Shared>,
    operation: OnLines,
    request: &Request<'_>,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    let group = named(&shared.engine.registry(), request)?.clone();
    let name = group.name.clone();
    match operation {
        OnLines::DeleteGroup => {
            let delete: Operation = |registry, request, _| {
                let key = format!("log-group/{}", named(registry, request)?.name);
                Ok(Reply::with(json!({}), vec![Change::Delete(key)]))
            };
            super::change(shared, delete, request, call).await?;
            on_disk(shared, move |engine| engine.logs().forget(&name)).await?;
            Ok(json!({}))
        }
        OnLines::CreateStream => {
            let stream = stream_name(request)?;
            let created = on_disk(shared, move |engine| engine.logs().create_stream(&name, &stream, engine.now()));
            let exists =
                || ApiError::new("ResourceAlreadyExistsException", "The specified log stream already exists");
            created.await?.then(|| json!({})).ok_or_else(exists)
        }
        OnLines::DeleteStream => {
            let stream = stream_name(request)?;
            let deleted = on_disk(shared, move |engine| engine.logs().delete_stream(&name, &stream));
            deleted.await?.then(|| json!({})).ok_or_else(no_stream)
        }
        OnLines::DescribeStreams => describe_streams(shared, &group, request, call.region).await,
        OnLines::Put => put(shared, group, request).await,
        OnLines::Get => get(shared, &group, request).await,
        OnLines::Filter => filter(shared, &group, request).await,
    }
}

fn stream_name(request: &Request<'_>) -> Result<String, ApiError> {
    checked(request, "logStreamName", &[':', '*'], "without ':' and '*'").map(str::to_owned)
}

async fn on_disk<T: Send + 'static>(
    shared: &Arc<Shared>,
    act: impl FnOnce(&Engine) -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ApiError> {
    let engine = shared.engine.clone();
    let done = tokio::task::spawn_blocking(move || act(&engine)).await;
    let done = done.map_err(|error| ApiError::internal(error.to_string()))?;
    done.map_err(|error| ApiError {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        code: "ServiceUnavailableException",
        message: error.to_string(),
    })
}

async fn describe_streams(
    shared: &Arc<Shared>,
    group: &LogGroup,
    request: &Request<'_>,
    region: &str,
) -> Result<Value, ApiError> {
    let prefix = request.text("logStreamNamePrefix").unwrap_or_default().to_owned();
    let limit = request.number("limit", 1, 50).unwrap_or(50) as usize;
    let after = request.text("nextToken").map(str::to_owned);
    let descending = request.get("descending").and_then(Value::as_bool).unwrap_or(false);
    request.check()?;
    let name = group.name.clone();
    let mut streams = on_disk(shared, move |engine| engine.logs().streams(&name)).await?;
    streams.retain(|stream| stream.name.starts_with(&prefix));
    if descending {
        streams.reverse();
    }
    let behind = |name: &str| after.as_deref().is_none_or(|after| (name > after) != descending && name != after);
    streams.retain(|stream| behind(&stream.name));
    let next = streams.get(limit).and(streams.get(limit - 1)).map(|stream| stream.name.clone());
    let account = fakemon_engine::envelope::ACCOUNT;
    let stream = |stream: &fakemon_engine::logs::Stream| {
        json!({
            "logStreamName": stream.name,
            "creationTime": stream.created_at_ms,
            "arn": format!("arn:aws:logs:{region}:{account}:log-group:{}:log-stream:{}", group.name, stream.name),
            "storedBytes": 0,
        })
    };
    let shown: Vec<Value> = streams.iter().take(limit).map(stream).collect();
    Ok(object([("logStreams", Some(shown.into())), ("nextToken", next.map(Value::from))]))
}

/// What was given: lines in their order, and which are taken.
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
    if !lines.is_sorted_by_key(|(at_ms, _)| *at_ms) {
        return Err(invalid("Log events in a single PutLogEvents request must be in chronological order."));
    }
    let (oldest, newest) = (expired_ms(now, PAST_DAYS_MAX), now.0 / 1_000_000 + FUTURE_MS_MAX);
    let too_new_from = lines.iter().position(|(at_ms, _)| *at_ms > newest);
    let too_old_to = lines.iter().rposition(|(at_ms, _)| *at_ms < oldest);
    lines.retain(|(at_ms, _)| (oldest..=newest).contains(at_ms));
    Ok(Given { lines, too_new_from, too_old_to })
}

async fn put(shared: &Arc<Shared>, group: LogGroup, request: &Request<'_>) -> Result<Value, ApiError> {
    let stream = stream_name(request)?;
    let now = shared.engine.now();
    let Given { lines, too_new_from, too_old_to } = given(request, now)?;
    let rejected = (too_new_from.is_some() || too_old_to.is_some()).then(|| {
        object([
            ("tooNewLogEventStartIndex", too_new_from.map(Value::from)),
            ("tooOldLogEventEndIndex", too_old_to.map(|last| Value::from(last + 1))),
        ])
    });
    let written = on_disk(shared, move |engine| {
        if !engine.logs().streams(&group.name)?.iter().any(|held| held.name == stream) {
            return Ok(false);
        }
        let lines: Vec<(u64, &str)> = lines.iter().map(|(at_ms, message)| (*at_ms, message.as_str())).collect();
        engine.logs().append(&group.name, &stream, &lines, group.retention_days, true, now)?;
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

/// A moment in milliseconds; what lies before 1970 is 1970.
fn moment(request: &Request<'_>, member: &str) -> Result<Option<u64>, ApiError> {
    let Some(value) = request.get(member) else { return Ok(None) };
    let ms = value.as_i64().ok_or_else(|| invalid(format!("{member} is a number of milliseconds since 1970")))?;
    Ok(Some(u64::try_from(ms).unwrap_or(0)))
}

async fn get(shared: &Arc<Shared>, group: &LogGroup, request: &Request<'_>) -> Result<Value, ApiError> {
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
    let (name, oldest) = (group.name.clone(), oldest_ms(group, shared.engine.now()).max(start));
    let lines = on_disk(shared, move |engine| {
        if !engine.logs().streams(&name)?.iter().any(|held| held.name == stream) {
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

async fn filter(shared: &Arc<Shared>, group: &LogGroup, request: &Request<'_>) -> Result<Value, ApiError> {
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
    let start = start.max(oldest_ms(group, shared.engine.now()));
    let from = after.unwrap_or_default().max(LinePlace { at_ms: start, sequence: 0 });
    let name = group.name.clone();
    let found = on_disk(shared, move |engine| {
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
        Ok((lines, next))
    });
    let (lines, next) = found.await?;
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
