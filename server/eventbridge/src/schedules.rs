//! Amazon EventBridge Scheduler: create, update, get, list and delete schedules.
//!
//! - `groups`: groups of schedules, and their tags
//! - `target`: what a schedule invokes, checked
//!
//! Beyond AWS: schedules fire at their second, not within their minute; targets are those of rules. What happens with
//! due times missed while the server was down is set by a word in the description, `missed=skip`, `missed=last` (the
//! default: the last one fires, late) or `missed=all` (at most the last thousand), or the tag `fakemon:missed` of its
//! group, or of a rule.

mod groups;
mod target;

use crate::events::moment;
use axum::Router;
use axum::routing::MethodFilter;
use fakemon_aws::Api;
use fakemon_aws::request::{Request, object, paged, token_behind};
use fakemon_aws::rest::{self, Kind};
use fakemon_aws::{ApiError, Call, Operation, Reply, seconds};
use fakemon_model::ids::Timestamp;
use fakemon_model::limits::SCHEDULES_MAX;
use fakemon_model::names::{Region, ScheduleGroupName, ScheduleName};
use fakemon_resource::resource::{Change, Resource, Schedule};
use fakemon_resource::{DEFAULT_GROUP, Registry};
use fakemon_schedule::{Expression, schedule_arn, zone};
use serde_json::{Value, json};
use std::ops::Bound;
use std::sync::Arc;

/// Characters of names of schedules and groups.
const NAME: &str = "[0-9a-zA-Z-_.]+";
/// How far in the past `StartDate` may be when a schedule is created.
const START_AGO_NS_MAX: u64 = 300_000_000_000;

pub(crate) fn routes() -> Router<Arc<Api>> {
    const GROUP: &[rest::InQuery] = &[("groupName", "GroupName", Kind::Text)];
    const LIST: &[rest::InQuery] = &[
        ("ScheduleGroup", "GroupName", Kind::Text),
        ("NamePrefix", "NamePrefix", Kind::Text),
        ("State", "State", Kind::Text),
        ("MaxResults", "MaxResults", Kind::Number),
        ("NextToken", "NextToken", Kind::Text),
    ];
    let schedule = rest::route(MethodFilter::POST, create, &[])
        .merge(rest::route(MethodFilter::PUT, update, &[]))
        .merge(rest::route(MethodFilter::GET, get, GROUP))
        .merge(rest::route(MethodFilter::DELETE, delete, GROUP));
    Router::new()
        .route("/schedules/{Name}", schedule)
        .route("/schedules", rest::route(MethodFilter::GET, list, LIST))
        .merge(groups::routes())
}

pub(super) fn tag_operation(act: &str) -> Option<Operation> {
    groups::tag_operation(act)
}

/// The group that a request names.
fn group<'r>(request: &Request<'r>) -> &'r str {
    match request.get("GroupName") {
        Some(_) => request.name("GroupName", NAME, 64),
        None => DEFAULT_GROUP,
    }
}

fn existing<'r>(
    registry: &'r Registry,
    ScheduleGroupName(group): ScheduleGroupName<'_>,
    ScheduleName(name): ScheduleName<'_>,
) -> Result<&'r Schedule, ApiError> {
    groups::existing(registry, group)?;
    let missing = || ApiError::missing(format!("Schedule {name} does not exist."));
    registry.schedules.get(&(group.to_owned(), name.to_owned())).ok_or_else(missing)
}

fn arn(schedule: &Schedule) -> String {
    schedule_arn(Region(&schedule.region), ScheduleGroupName(&schedule.group), ScheduleName(&schedule.name))
}

fn create(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let schedule = given(request, call)?;
    groups::existing(registry, &schedule.group)?;
    if let Some(held) = registry.schedules.get(&(schedule.group.clone(), schedule.name.clone())) {
        return made_before(held, schedule);
    }
    if registry.schedules.size() >= SCHEDULES_MAX {
        let message = format!("Schedule limit exceeded: there are {SCHEDULES_MAX} already.");
        return Err(ApiError::new("ServiceQuotaExceededException", message));
    }
    check_start(&schedule, call)?;
    Ok(made(schedule))
}

/// A retry of the same request gets the same answer; a different request with its token is a conflict.
fn made_before(held: &Schedule, schedule: Schedule) -> Result<Reply, ApiError> {
    let conflict = |message: String| Err(ApiError::new("ConflictException", message));
    if held.client_token.is_none() || held.client_token != schedule.client_token {
        return conflict(format!("Schedule {} already exists.", held.name));
    }
    // After an update the original request is not known any more, so the token alone decides.
    let is_changed = held.modified_at != held.created_at;
    let Schedule { region, created_at, modified_at, .. } = held.clone();
    match is_changed || *held == (Schedule { region, created_at, modified_at, ..schedule }) {
        true => Ok(Reply::of(json!({ "ScheduleArn": arn(held) }))),
        false => conflict(format!("Schedule {} was made with this ClientToken and other parameters.", held.name)),
    }
}

/// A schedule cannot begin before it is created; as with the service, clocks may disagree by five minutes.
fn check_start(schedule: &Schedule, call: &Call<'_>) -> Result<(), ApiError> {
    if schedule.start.is_some_and(|start| call.now.ns_since(start) > START_AGO_NS_MAX) {
        return Err(ApiError::invalid("The StartDate you specify cannot be earlier than 5 minutes ago."));
    }
    Ok(())
}

fn update(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let schedule = given(request, call)?;
    let before = existing(registry, ScheduleGroupName(&schedule.group), ScheduleName(&schedule.name))?;
    if schedule.start != before.start {
        check_start(&schedule, call)?; // an unchanged start may be long ago
    }
    let client_token = before.client_token.clone();
    // The revision, strictly later than the last: the end of the old revision does not end this one.
    let modified_at = call.now.max(before.modified_at.plus_ns(1));
    let (created_at, region) = (before.created_at, before.region.clone());
    Ok(made(Schedule { created_at, modified_at, region, client_token, ..schedule }))
}

fn made(schedule: Schedule) -> Reply {
    let answer = json!({ "ScheduleArn": arn(&schedule) });
    Reply::with(answer, vec![Change::Put(Resource::Schedule(schedule))])
}

/// The schedule of a request: missing members get their defaults, not their former values.
fn given(request: &Request<'_>, call: &Call<'_>) -> Result<Schedule, ApiError> {
    let (name, group) = (request.name("Name", NAME, 64), group(request));
    let expression = request.required("ScheduleExpression");
    request.check_length("scheduleExpression", expression, usize::from(!expression.is_empty()), 256);
    let zone_name = request.text("ScheduleExpressionTimezone").unwrap_or("UTC");
    request.check_length("scheduleExpressionTimezone", zone_name, 1, 50);
    let description = request.short("Description", 512);
    let enabled = request.one_of("State", &["ENABLED", "DISABLED"]) != Some("DISABLED");
    let after = request.one_of("ActionAfterCompletion", &["NONE", "DELETE"]);
    let kms_key_arn = request.short("KmsKeyArn", 2_048);
    let client_token = request.short("ClientToken", 64);
    let window_minutes = window(request);
    let target = target::given(request, call);
    request.check()?;
    if Expression::parse(expression).is_err() {
        return Err(ApiError::invalid(format!("Invalid Schedule Expression {expression}.")));
    }
    if zone(zone_name).is_none() {
        return Err(ApiError::invalid(format!("Invalid Schedule Expression Timezone {zone_name}.")));
    }
    let (start, end) = (date(request, "StartDate")?, date(request, "EndDate")?);
    if start.zip(end).is_some_and(|(start, end)| start >= end) {
        return Err(ApiError::invalid("StartDate must come before EndDate."));
    }
    Ok(Schedule {
        group: group.into(),
        name: name.into(),
        expression: expression.into(),
        zone: zone_name.into(),
        start,
        end,
        window_minutes: window_minutes?,
        enabled,
        description,
        kms_key_arn,
        target: Value::Object(target?).to_string(),
        delete_when_over: after == Some("DELETE"),
        region: call.region.into(),
        created_at: call.now,
        modified_at: call.now,
        client_token,
    })
}

fn date(request: &Request<'_>, member: &str) -> Result<Option<Timestamp>, ApiError> {
    let wrong =
        || ApiError::invalid(format!("{member} must be a time: seconds since 1970, or 2026-11-24T20:00:00Z."));
    request.get(member).map(|date| moment(date).ok_or_else(wrong)).transpose()
}

/// The flexible window, in minutes; 0 is none. Errors of the service's first pass are noted.
fn window(request: &Request<'_>) -> Result<u32, ApiError> {
    let Some(window) = request.get("FlexibleTimeWindow") else {
        request.required_at("flexibleTimeWindow");
        return Ok(0);
    };
    let most = window.get("MaximumWindowInMinutes").filter(|most| !most.is_null());
    let at = "flexibleTimeWindow.maximumWindowInMinutes";
    let minutes = most.and_then(|most| request.number_at(at, most, 1, 1_440));
    match window["Mode"].as_str() {
        Some("OFF") if most.is_none() => Ok(0),
        Some("OFF") => Err(ApiError::invalid(
            "MaximumWindowInMinutes must not be specified where the mode of FlexibleTimeWindow is OFF.",
        )),
        Some("FLEXIBLE") if most.is_none() => Err(ApiError::invalid(
            "MaximumWindowInMinutes must be specified where the mode of FlexibleTimeWindow is FLEXIBLE.",
        )),
        Some("FLEXIBLE") => Ok(minutes.and_then(|minutes| u32::try_from(minutes).ok()).unwrap_or_default()),
        Some(mode) => {
            request.found(format!(
                "Value '{mode}' at 'flexibleTimeWindow.mode' failed to satisfy constraint: Member must satisfy enum value \
                 set: [OFF, FLEXIBLE]"
            ));
            Ok(0)
        }
        None => {
            request.required_at("flexibleTimeWindow.mode");
            Ok(0)
        }
    }
}

fn get(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let (name, group) = (request.name("Name", NAME, 64), group(request));
    request.check()?;
    let schedule = existing(registry, ScheduleGroupName(group), ScheduleName(name))?;
    let window = match schedule.window_minutes {
        0 => json!({ "Mode": "OFF" }),
        minutes => json!({ "Mode": "FLEXIBLE", "MaximumWindowInMinutes": minutes }),
    };
    Ok(Reply::of(object([
        ("Arn", Some(arn(schedule).into())),
        ("GroupName", Some(schedule.group.clone().into())),
        ("Name", Some(schedule.name.clone().into())),
        ("ScheduleExpression", Some(schedule.expression.clone().into())),
        ("ScheduleExpressionTimezone", Some(schedule.zone.clone().into())),
        ("StartDate", schedule.start.map(seconds)),
        ("EndDate", schedule.end.map(seconds)),
        ("Description", schedule.description.clone().map(Into::into)),
        ("State", Some(state(schedule).into())),
        ("CreationDate", Some(seconds(schedule.created_at))),
        ("LastModificationDate", Some(seconds(schedule.modified_at))),
        ("KmsKeyArn", schedule.kms_key_arn.clone().map(Into::into)),
        ("Target", Some(target::shown(schedule))),
        ("FlexibleTimeWindow", Some(window)),
        ("ActionAfterCompletion", Some(if schedule.delete_when_over { "DELETE" } else { "NONE" }.into())),
    ])))
}

fn state(schedule: &Schedule) -> &'static str {
    if schedule.enabled { "ENABLED" } else { "DISABLED" }
}

fn delete(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let (name, group) = (request.name("Name", NAME, 64), group(request));
    request.check()?;
    existing(registry, ScheduleGroupName(group), ScheduleName(name))?;
    Ok(Reply::with(json!({}), vec![Change::Delete(format!("schedule/{group}/{name}"))]))
}

/// Lists schedules; a page continues after the last key of the one before.
fn list(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let wanted_group = request.get("GroupName").map(|_| group(request));
    let prefix = request.text("NamePrefix").unwrap_or_default();
    let wanted = request.one_of("State", &["ENABLED", "DISABLED"]);
    let limit = request.number("MaxResults", 1, 100).unwrap_or(100) as usize;
    request.check()?;
    wanted_group.map(|group| groups::existing(registry, group)).transpose()?;
    let after = request.token("NextToken", "Schedules")?;
    let place = after.as_deref().and_then(|after| after.split_once('/'));
    let after = match place {
        Some((group, name)) => Bound::Excluded((group.to_owned(), name.to_owned())),
        None => Bound::Included((wanted_group.unwrap_or_default().to_owned(), String::new())),
    };
    let within = registry
        .schedules
        .range((after, Bound::Unbounded))
        .map(|(_, schedule)| schedule)
        .take_while(|schedule| wanted_group.is_none_or(|group| schedule.group == group))
        .filter(|schedule| schedule.name.starts_with(prefix))
        .filter(|schedule| wanted.is_none_or(|wanted| state(schedule) == wanted));
    let mut page: Vec<&Schedule> = within.take(limit + 1).collect();
    let is_last = page.len() <= limit;
    page.truncate(limit);
    let last = page.last().filter(|_| !is_last);
    let next = last.map(|last| token_behind("Schedules", &format!("{}/{}", last.group, last.name)));
    let shown = |schedule: &Schedule| {
        json!({
            "Arn": arn(schedule),
            "Name": schedule.name,
            "GroupName": schedule.group,
            "State": state(schedule),
            "CreationDate": seconds(schedule.created_at),
            "LastModificationDate": seconds(schedule.modified_at),
            "Target": { "Arn": target::shown(schedule)["Arn"] },
        })
    };
    Ok(Reply::of(paged("Schedules", page.into_iter().map(shown).collect(), next)))
}
