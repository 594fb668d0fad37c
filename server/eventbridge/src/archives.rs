//! Archives and replays. An archive is a named view of the journal, complete at once and without a copy, events
//! before its creation included. A replay emits it in the journal's order, between exact bounds.
//!
//! Bounds are seconds with fractions, or RFC 3339 texts with up to nanoseconds. Beyond AWS a request may have
//! `EventStartPosition`, `EventEndPosition` (positions of the journal, the end not included) and `Speed` (0, the
//! default: as fast as possible; 1: the original pace; 10: ten times that). Clients that reject unknown members say
//! the same in words of the description: `from=2026-11-23T20:00:00.000000001Z to=… from_position=120 to_position=4711
//! speed=10`. Without `FilterArns` rules get the events, but no target outside of this process.

use crate::events::moment;
use crate::lookup::existing_bus;
use crate::lookup::existing_rule;
use fakemon_aws::event_pattern::valid_pattern;
use fakemon_aws::request::{NAME, Request, arn, object, paged};
use fakemon_aws::{ApiError, Call, Operation, Reply, seconds};
use fakemon_delivery::Archived;
use fakemon_http::Backend;
use fakemon_model::ids::Timestamp;
use fakemon_model::names::{BusName, RuleName};
use fakemon_resource::Registry;
use fakemon_resource::resource::{Archive, Change, Replay, Resource};
use serde_json::{Value, json};
use std::time::Duration;

/// How long a request waits while archives are counted.
const COUNT_PATIENCE: Duration = Duration::from_secs(2);
/// Replays that run at once, as with AWS.
const RUNNING_MAX: usize = 10;

const ARCHIVE_STATES: [&str; 6] = ["ENABLED", "DISABLED", "CREATING", "UPDATING", "CREATE_FAILED", "UPDATE_FAILED"];
const REPLAY_STATES: [&str; 6] = ["CANCELLED", "CANCELLING", "COMPLETED", "FAILED", "RUNNING", "STARTING"];

pub fn operation(name: &str) -> Option<Operation> {
    Some(match name {
        "CreateArchive" => create,
        "UpdateArchive" => update,
        "DescribeArchive" => describe,
        "DeleteArchive" => delete,
        "ListArchives" => list,
        "StartReplay" => start_replay,
        "CancelReplay" => cancel_replay,
        "DescribeReplay" => describe_replay,
        "ListReplays" => list_replays,
        _ => return None,
    })
}

/// Whether an operation shows the sizes of archives.
pub fn shows_counts(operation: &str) -> bool {
    matches!(operation, "DescribeArchive" | "ListArchives")
}

/// Counts events and bytes of archives, off the control plane's thread. If that takes longer than `COUNT_PATIENCE`,
/// the next request continues the count; until then the partial count is shown.
pub async fn count(backend: &Backend) -> Result<(), ApiError> {
    let engine = backend.engine.clone();
    let counted = tokio::task::spawn_blocking(move || engine.count_archives(COUNT_PATIENCE));
    let counted = counted.await.map_err(|error| ApiError::internal(error.to_string()))?;
    counted.map_err(|error| ApiError::internal(error.to_string()))
}

fn existing_archive<'r>(registry: &'r Registry, name: &str) -> Result<&'r Archive, ApiError> {
    registry.archives.get(name).ok_or_else(|| ApiError::missing(format!("Archive {name} does not exist.")))
}

fn existing_replay<'r>(registry: &'r Registry, name: &str) -> Result<&'r Replay, ApiError> {
    registry.replays.get(name).ok_or_else(|| ApiError::missing(format!("Replay {name} does not exist.")))
}

fn pattern(request: &Request<'_>) -> Result<Option<String>, ApiError> {
    let text = request.text("EventPattern").filter(|text| !text.is_empty());
    text.map(|text| valid_pattern(text).map(|_| text.to_owned())).transpose()
}

fn archive_arn(call: &Call<'_>, name: &str) -> String {
    arn(call.region, &format!("archive/{name}"))
}

fn brief(archive: &Archive, call: &Call<'_>) -> Value {
    json!({
        "ArchiveArn": archive_arn(call, &archive.name),
        "State": "ENABLED",
        "CreationTime": seconds(archive.created_at),
    })
}

fn create(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("ArchiveName", NAME, 48);
    let source_arn = request.required("EventSourceArn").to_owned();
    let description = request.short("Description", 512);
    let retention = request.number("RetentionDays", 0, 1_000_000).unwrap_or_default();
    request.check()?;
    let bus = request.bus("EventSourceArn");
    existing_bus(registry, &bus)?;
    if registry.archives.contains_key(name) {
        return Err(ApiError::new("ResourceAlreadyExistsException", format!("Archive {name} already exists.")));
    }
    let archive = Archive {
        name: name.into(),
        bus,
        source_arn,
        description,
        pattern: pattern(request)?,
        retention_days: u32::try_from(retention).expect("bounded"),
        created_at: call.now,
    };
    Ok(Reply::with(brief(&archive, call), vec![Change::Put(Resource::Archive(archive))]))
}

fn update(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("ArchiveName", NAME, 48);
    let description = request.short("Description", 512);
    let retention = request.number("RetentionDays", 0, 1_000_000);
    request.check()?;
    let pattern = pattern(request)?;
    if description.is_none() && retention.is_none() && pattern.is_none() {
        return Err(ApiError::invalid(
            "At least one of EventPattern, RetentionDays or Description must be provided.",
        ));
    }
    let mut archive = existing_archive(registry, name)?.clone();
    archive.description = description.or(archive.description);
    archive.pattern = pattern.or(archive.pattern);
    let retention = retention.and_then(|days| u32::try_from(days).ok());
    archive.retention_days = retention.unwrap_or(archive.retention_days);
    Ok(Reply::with(brief(&archive, call), vec![Change::Put(Resource::Archive(archive))]))
}

/// Its size is as of the beginning of the request; see [`count`].
fn listed(archive: &Archive, call: &Call<'_>) -> Value {
    let Archived { events, bytes } = (call.archived)(archive);
    json!({
        "ArchiveName": archive.name,
        "EventSourceArn": archive.source_arn,
        "State": "ENABLED",
        "RetentionDays": archive.retention_days,
        "EventCount": events,
        "SizeBytes": bytes,
        "CreationTime": seconds(archive.created_at),
    })
}

fn describe(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("ArchiveName", NAME, 48);
    request.check()?;
    let archive = existing_archive(registry, name)?;
    let mut shown = listed(archive, call);
    shown["ArchiveArn"] = archive_arn(call, name).into();
    for (member, text) in [("Description", &archive.description), ("EventPattern", &archive.pattern)] {
        if let Some(text) = text {
            shown[member] = text.as_str().into();
        }
    }
    Ok(Reply::of(shown))
}

fn delete(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("ArchiveName", NAME, 48);
    request.check()?;
    existing_archive(registry, name)?;
    Ok(Reply::with(json!({}), vec![Change::Delete(format!("archive/{name}"))]))
}

/// The filter of a list: `NamePrefix`, `EventSourceArn` or `State`, at most one of them.
fn filters<'r>(
    request: &Request<'r>,
    operation: &str,
    states: &[&str],
) -> Result<(&'r str, Option<&'r str>, Option<&'r str>), ApiError> {
    let (prefix, source) = (request.text("NamePrefix"), request.text("EventSourceArn"));
    let state = request.one_of("State", states);
    request.check()?;
    if [prefix, source, state].iter().flatten().count() > 1 {
        return Err(ApiError::invalid(format!(
            "At most one filter is allowed for {operation}. Use either : State, EventSourceArn, or NamePrefix."
        )));
    }
    Ok((prefix.unwrap_or_default(), source, state))
}

fn list(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let (prefix, source, state) = filters(request, "ListArchives", &ARCHIVE_STATES)?;
    if let Some((_, bus)) = source.and_then(|source| source.split_once(":event-bus/")) {
        existing_bus(registry, bus)?;
    }
    let wanted = |archive: &&Archive| {
        archive.name.starts_with(prefix)
            && source.is_none_or(|source| archive.source_arn == source)
            && state.is_none_or(|state| state == "ENABLED")
    };
    let (page, next) = request.page(
        "Archives",
        registry.archives.values().filter(wanted).map(|archive| (archive.name.clone(), listed(archive, call))),
    )?;
    Ok(Reply::of(paged("Archives", page, next)))
}

fn replay_arn(call: &Call<'_>, name: &str) -> String {
    arn(call.region, &format!("replay/{name}"))
}

/// The value of a word `name=value` in a description.
fn word<'d>(description: Option<&'d str>, name: &str) -> Option<&'d str> {
    description?.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

fn start_replay(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("ReplayName", NAME, 64);
    let source_arn = request.required("EventSourceArn").to_owned();
    let description = request.short("Description", 512);
    request.check()?;
    let invalid = |parameter: &str, reason: String| Err(invalid(parameter, &reason));
    let destination = request.get("Destination").cloned().unwrap_or_default();
    let destination_arn = destination["Arn"].as_str().unwrap_or_default().to_owned();
    let Some((_, bus)) = destination_arn.split_once(":event-bus/") else {
        return invalid("Destination.Arn", "Must contain an event bus ARN.".into());
    };
    existing_bus(registry, bus)?;
    let archive_name = source_arn.split_once(":archive/").map(|(_, name)| name).unwrap_or_default();
    let Some(archive) = registry.archives.get(archive_name) else {
        return invalid("EventSourceArn", format!("Archive {archive_name} does not exist."));
    };
    if archive.bus != bus {
        return invalid("Destination.Arn", "Cross event bus replay is not permitted.".into());
    }
    let words = description.as_deref();
    let range = replay_range(request, words, call.now)?;
    if registry.replays.contains_key(name) {
        return Err(ApiError::new("ResourceAlreadyExistsException", format!("Replay {name} already exists.")));
    }
    let runs = |replay: &&Replay| {
        replay.cancelled_at.is_none() && (call.progress)(&replay.name).is_none_or(|known| known.ended_at.is_none())
    };
    if registry.replays.values().filter(runs).count() >= RUNNING_MAX {
        return Err(ApiError::new(
            "LimitExceededException",
            "The requested resource exceeds the maximum number allowed.",
        ));
    }
    let filter_arns: Vec<String> = destination["FilterArns"]
        .as_array()
        .map(|arns| arns.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    let rules = rules_of(registry, bus, &filter_arns)?;
    let speed = word(words, "speed").and_then(|text| text.trim_end_matches('x').parse().ok());
    let speed: f64 = speed.or_else(|| request.get("Speed").and_then(Value::as_f64)).unwrap_or(0.0);
    if !(0.0..=1_000_000.0).contains(&speed) {
        return invalid("Speed", "it must be from 0 (as fast as it goes) to 1000000.".into());
    }
    let replay = Replay {
        name: name.into(),
        archive: archive.name.clone(),
        source_arn,
        bus: bus.to_owned(),
        destination_arn: destination_arn.clone(),
        description,
        filter_arns,
        rules,
        from: range.from,
        to: range.to,
        from_position: range.from_position,
        to_position: range.to_position,
        speed,
        started_at: call.now,
        cancelled_at: None,
    };
    let answer = json!({
        "ReplayArn": replay_arn(call, name),
        "State": "STARTING",
        "ReplayStartTime": seconds(call.now),
    });
    Ok(Reply::with(answer, vec![Change::Put(Resource::Replay(replay))]))
}

fn invalid(parameter: &str, reason: &str) -> ApiError {
    ApiError::invalid(format!("Parameter {parameter} is not valid. Reason: {reason}"))
}

/// The part of an archive that a replay shows: by time, or by position, which is exact.
struct ReplayRange {
    from: Timestamp,
    to: Timestamp,
    from_position: Option<u64>,
    to_position: Option<u64>,
}

/// Words of the description (`from=…`, `from_position=…`) go over the members of the request: consoles of others have
/// fields for AWS's members alone.
fn replay_range(request: &Request<'_>, words: Option<&str>, now: Timestamp) -> Result<ReplayRange, ApiError> {
    let bound = |member: &str, name: &str| {
        let from_word = word(words, name).map(|text| moment(&Value::from(text)));
        from_word.or_else(|| request.get(member).map(moment)).flatten()
    };
    let position = |member: &str, name: &str| -> Option<u64> {
        let given = request.get(member);
        let given = given.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
        word(words, name).and_then(|text| text.parse().ok()).or(given)
    };
    let from_position = position("EventStartPosition", "from_position");
    let to_position = position("EventEndPosition", "to_position");
    if let (Some(from), Some(to)) = (from_position, to_position)
        && from >= to
    {
        let reason = format!("EventStartPosition ({from}) must be before EventEndPosition ({to}).");
        return Err(invalid("EventEndPosition", &reason));
    }
    let by_position = from_position.is_some() || to_position.is_some();
    let (from, to) = (bound("EventStartTime", "from"), bound("EventEndTime", "to"));
    let (Some(from), Some(to)) = (from.or(by_position.then_some(Timestamp(0))), to.or(by_position.then_some(now)))
    else {
        return Err(invalid("EventStartTime", "EventStartTime and EventEndTime must be times."));
    };
    if !by_position && from >= to {
        return Err(invalid("EventEndTime", "EventStartTime must be before EventEndTime."));
    }
    Ok(ReplayRange { from, to, from_position, to_position })
}

/// The names of the rules that a replay is limited to.
fn rules_of(registry: &Registry, bus: &str, arns: &[String]) -> Result<Vec<String>, ApiError> {
    let name = |arn: &String| {
        let rule = arn.split_once(":rule/").map_or("", |(_, rule)| rule);
        let rule = rule.strip_prefix(bus).and_then(|rule| rule.strip_prefix('/')).unwrap_or(rule);
        existing_rule(registry, BusName(bus), RuleName(rule)).map(|rule| rule.name.clone())
    };
    arns.iter().map(name).collect()
}

fn state(replay: &Replay, call: &Call<'_>) -> &'static str {
    let progress = (call.progress)(&replay.name);
    let ended = progress.is_some_and(|progress| progress.ended_at.is_some());
    match (replay.cancelled_at, progress) {
        (Some(_), _) if ended => "CANCELLED",
        (Some(_), _) => "CANCELLING",
        (None, None) => "STARTING",
        (None, Some(_)) if ended => "COMPLETED",
        (None, Some(_)) => "RUNNING",
    }
}

fn cancel_replay(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("ReplayName", NAME, 64);
    request.check()?;
    let replay = existing_replay(registry, name)?;
    if !matches!(state(replay, call), "STARTING" | "RUNNING") {
        let message = format!("Replay {name} is not in a valid state for this operation.");
        return Err(ApiError::new("IllegalStatusException", message));
    }
    let replay = Replay { cancelled_at: Some(call.now), ..replay.clone() };
    let answer = json!({ "ReplayArn": replay_arn(call, name), "State": "CANCELLING" });
    Ok(Reply::with(answer, vec![Change::Put(Resource::Replay(replay))]))
}

fn listed_replay(replay: &Replay, call: &Call<'_>) -> Value {
    let progress = (call.progress)(&replay.name);
    object([
        ("ReplayName", Some(replay.name.clone().into())),
        ("EventSourceArn", Some(replay.source_arn.clone().into())),
        ("State", Some(state(replay, call).into())),
        ("EventStartTime", Some(seconds(replay.from))),
        ("EventEndTime", Some(seconds(replay.to))),
        ("EventLastReplayedTime", progress.and_then(|progress| progress.last_at).map(seconds)),
        ("ReplayStartTime", Some(seconds(replay.started_at))),
        ("ReplayEndTime", progress.and_then(|progress| progress.ended_at).map(seconds)),
    ])
}

fn describe_replay(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("ReplayName", NAME, 64);
    request.check()?;
    let replay = existing_replay(registry, name)?;
    let mut shown = listed_replay(replay, call);
    shown["ReplayArn"] = replay_arn(call, name).into();
    shown["Destination"] = match replay.filter_arns.is_empty() {
        true => json!({ "Arn": replay.destination_arn }),
        false => json!({ "Arn": replay.destination_arn, "FilterArns": replay.filter_arns }),
    };
    if let Some(description) = &replay.description {
        shown["Description"] = description.as_str().into();
    }
    if let Some(progress) = (call.progress)(name) {
        shown["EventsReplayed"] = progress.events.into();
        shown["Position"] = progress.position.to_string().into();
    }
    Ok(Reply::of(shown))
}

fn list_replays(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let (prefix, source, wanted_state) = filters(request, "ListReplays", &REPLAY_STATES)?;
    let wanted = |replay: &&Replay| {
        replay.name.starts_with(prefix)
            && source.is_none_or(|source| replay.source_arn == source)
            && wanted_state.is_none_or(|wanted| state(replay, call) == wanted)
    };
    let shown = |replay: &Replay| (replay.name.clone(), listed_replay(replay, call));
    let (page, next) = request.page("Replays", registry.replays.values().filter(wanted).map(shown))?;
    Ok(Reply::of(paged("Replays", page, next)))
}
