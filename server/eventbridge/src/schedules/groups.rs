//! Groups of schedules. `default` always exists, and cannot be deleted.

use super::NAME;
use crate::tags;
use axum::Router;
use axum::routing::MethodFilter;
use fakemon_aws::Api;
use fakemon_aws::request::{Request, object, paged, token_behind};
use fakemon_aws::rest::{self, Kind};
use fakemon_aws::{ApiError, Call, Operation, Reply, seconds};
use fakemon_model::envelope::ACCOUNT;
use fakemon_model::ids::Timestamp;
use fakemon_model::limits::SCHEDULE_GROUPS_MAX;
use fakemon_resource::resource::{Change, Resource, ScheduleGroup, Tags};
use fakemon_resource::{DEFAULT_GROUP, Registry};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::ops::Bound;
use std::sync::Arc;

pub(crate) fn routes() -> Router<Arc<Api>> {
    const LIST: &[rest::InQuery] = &[
        ("NamePrefix", "NamePrefix", Kind::Text),
        ("MaxResults", "MaxResults", Kind::Number),
        ("NextToken", "NextToken", Kind::Text),
    ];
    let group = rest::route(MethodFilter::POST, create, &[])
        .merge(rest::route(MethodFilter::GET, get, &[]))
        .merge(rest::route(MethodFilter::DELETE, delete, &[]));
    Router::new()
        .route("/schedule-groups/{Name}", group)
        .route("/schedule-groups", rest::route(MethodFilter::GET, list, LIST))
}

pub(super) fn tag_operation(act: &str) -> Option<Operation> {
    match act {
        "list" => Some(list_tags),
        "tag" => Some(tag),
        "untag" => Some(untag),
        _ => None,
    }
}

/// The group of a name, or the service's error.
pub(crate) fn existing<'r>(registry: &'r Registry, name: &str) -> Result<Cow<'r, ScheduleGroup>, ApiError> {
    match registry.schedule_groups.get(name) {
        Some(group) => Ok(Cow::Borrowed(group)),
        None if name == DEFAULT_GROUP => Ok(Cow::Owned(default_group())),
        None => Err(ApiError::missing(format!("Schedule group {name} does not exist."))),
    }
}

fn default_group() -> ScheduleGroup {
    ScheduleGroup {
        name: DEFAULT_GROUP.into(),
        region: fakemon_model::envelope::REGION.into(),
        created_at: Timestamp(0),
        modified_at: Timestamp(0),
        tags: Tags::new(),
        client_token: None,
    }
}

fn arn(group: &ScheduleGroup) -> String {
    format!("arn:aws:scheduler:{}:{ACCOUNT}:schedule-group/{}", group.region, group.name)
}

fn create(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("Name", NAME, 64);
    let client_token = request.short("ClientToken", 64);
    let tags = tags::given(request)?;
    if let Ok(held) = existing(registry, name) {
        let conflict = |message: String| Err(ApiError::new("ConflictException", message));
        // After an update the original request is not known any more, so the token alone decides.
        let is_same = held.modified_at != held.created_at || held.tags == tags;
        return match held.client_token.is_some() && held.client_token == client_token {
            false => conflict(format!("Schedule group {name} already exists.")),
            true if is_same => Ok(Reply::of(json!({ "ScheduleGroupArn": arn(&held) }))),
            true => conflict(format!("Schedule group {name} was made with this ClientToken and other parameters.")),
        };
    }
    if registry.schedule_groups.size() >= SCHEDULE_GROUPS_MAX {
        let message = format!("Schedule group limit exceeded: there are {SCHEDULE_GROUPS_MAX} already.");
        return Err(ApiError::new("ServiceQuotaExceededException", message));
    }
    let (created_at, modified_at) = (call.now, call.now);
    let group =
        ScheduleGroup { name: name.into(), region: call.region.into(), created_at, modified_at, tags, client_token };
    Ok(Reply::with(json!({ "ScheduleGroupArn": arn(&group) }), vec![Change::Put(Resource::ScheduleGroup(group))]))
}

fn shown(group: &ScheduleGroup) -> Value {
    object([
        ("Arn", Some(arn(group).into())),
        ("Name", Some(group.name.clone().into())),
        ("State", Some("ACTIVE".into())),
        ("CreationDate", Some(seconds(group.created_at))),
        ("LastModificationDate", Some(seconds(group.modified_at))),
    ])
}

fn get(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("Name", NAME, 64);
    request.check()?;
    Ok(Reply::of(shown(&*existing(registry, name)?)))
}

/// Deletes a group with its schedules and their pending deliveries.
fn delete(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("Name", NAME, 64);
    request.check()?;
    existing(registry, name)?;
    if name == DEFAULT_GROUP {
        return Err(ApiError::invalid("The default schedule group cannot be deleted."));
    }
    Ok(Reply::with(json!({}), vec![Change::Delete(format!("schedule-group/{name}"))]))
}

fn list(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let prefix = request.text("NamePrefix").unwrap_or_default();
    let limit = request.number("MaxResults", 1, 100).unwrap_or(100) as usize;
    request.check()?;
    let token = request.token("NextToken", "ScheduleGroups")?.unwrap_or_default();
    let mut groups: Vec<Cow<'_, ScheduleGroup>> = registry
        .schedule_groups
        .range((Bound::Excluded(token.clone()), Bound::Unbounded))
        .map(|(_, group)| Cow::Borrowed(group))
        .collect();
    if !registry.schedule_groups.contains_key(DEFAULT_GROUP) && token.as_str() < DEFAULT_GROUP {
        let place = groups.partition_point(|group| group.name.as_str() < DEFAULT_GROUP);
        groups.insert(place, Cow::Owned(default_group()));
    }
    groups.retain(|group| group.name.starts_with(prefix));
    let next = (groups.len() > limit).then(|| token_behind("ScheduleGroups", &groups[limit - 1].name));
    let page = groups.iter().take(limit).map(|group| shown(group)).collect();
    Ok(Reply::of(paged("ScheduleGroups", page, next)))
}

/// The group that an ARN names.
fn tagged(registry: &Registry, request: &Request<'_>) -> Result<ScheduleGroup, ApiError> {
    let arn = request.required("ResourceArn");
    request.check()?;
    let wrong = || {
        ApiError::invalid(format!(
            "1 validation error detected: Value '{arn}' at 'resourceArn' failed to satisfy constraint: Member must be the \
             ARN of a schedule group"
        ))
    };
    let (_, name) = arn.split_once(":schedule-group/").ok_or_else(wrong)?;
    existing(registry, name).map(Cow::into_owned)
}

fn changed(group: ScheduleGroup, call: &Call<'_>) -> Reply {
    let group = ScheduleGroup { modified_at: call.now, ..group };
    Reply::with(json!({}), vec![Change::Put(Resource::ScheduleGroup(group))])
}

fn tag(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let mut group = tagged(registry, request)?;
    group.tags.extend(tags::given(request)?);
    group.tags = tags::few(group.tags)?;
    Ok(changed(group, call))
}

fn untag(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let mut group = tagged(registry, request)?;
    let keys = request.get("TagKeys").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    keys.for_each(|key| drop(group.tags.remove(key)));
    Ok(changed(group, call))
}

fn list_tags(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let group = tagged(registry, request)?;
    let tags: Vec<Value> = group.tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    Ok(Reply::of(json!({ "Tags": tags })))
}
