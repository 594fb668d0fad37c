//! Amazon EventBridge Pipes: create, update, start, stop, describe, list and delete pipes; and their tags.
//!
//! Beyond AWS: a source may be an event bus, the journal (`arn:aws:fakemon:REGION:ACCOUNT:journal`) or an API
//! destination whose answer never ends (server-sent events or lines); these read as streams do, with
//! `KinesisStreamParameters`, whose `StartingPosition` may be a position of the journal.

use crate::http_parameters;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::MethodFilter;
use fakemon_aws::Api;
use fakemon_aws::request::{NAME, Request, object, paged};
use fakemon_aws::rest::{InQuery, Kind, route};
use fakemon_aws::{ApiError, Call, Operation, Reply, seconds};
use fakemon_model::envelope::ACCOUNT;
use fakemon_model::limits::TAGS_MAX;
use fakemon_pipe::PIPES_MAX;
use fakemon_resource::Registry;
use fakemon_resource::resource::{Change, DesiredState, Pipe, PipeChange, Resource, Tags};
use serde_json::{Map, Value, json};
use std::sync::Arc;

const STATES: [&str; 2] = ["RUNNING", "STOPPED"];
const CURRENT_STATES: [&str; 15] = [
    "RUNNING",
    "STOPPED",
    "CREATING",
    "UPDATING",
    "DELETING",
    "STARTING",
    "STOPPING",
    "CREATE_FAILED",
    "UPDATE_FAILED",
    "START_FAILED",
    "STOP_FAILED",
    "DELETE_FAILED",
    "CREATE_ROLLBACK_FAILED",
    "DELETE_ROLLBACK_FAILED",
    "UPDATE_ROLLBACK_FAILED",
];
/// Members that are kept and given back.
const KEPT: [&str; 2] = ["KmsKeyIdentifier", "LogConfiguration"];
/// Members that say where a stream begins; an update cannot change them.
const BEGINNING: [&str; 2] = ["StartingPosition", "StartingPositionTimestamp"];

const IN_LIST: &[InQuery] = &[
    ("NamePrefix", "NamePrefix", Kind::Text),
    ("DesiredState", "DesiredState", Kind::Text),
    ("CurrentState", "CurrentState", Kind::Text),
    ("SourcePrefix", "SourcePrefix", Kind::Text),
    ("TargetPrefix", "TargetPrefix", Kind::Text),
    ("NextToken", "NextToken", Kind::Text),
    ("Limit", "Limit", Kind::Number),
];

/// The routes of the service.
pub(crate) fn routes() -> Router<Arc<Api>> {
    let one = route(MethodFilter::POST, create, &[])
        .merge(route(MethodFilter::PUT, update, &[]))
        .merge(route(MethodFilter::GET, describe, &[]))
        .merge(route(MethodFilter::DELETE, delete, &[]));
    Router::new()
        .route("/v1/pipes", route(MethodFilter::GET, list, IN_LIST))
        .route("/v1/pipes/{Name}", one)
        .route("/v1/pipes/{Name}/start", route(MethodFilter::POST, start, &[]))
        .route("/v1/pipes/{Name}/stop", route(MethodFilter::POST, stop, &[]))
}

fn missing(name: &str) -> ApiError {
    ApiError {
        status: StatusCode::NOT_FOUND,
        code: "NotFoundException",
        message: format!("Pipe {name} does not exist."),
    }
}

fn existing<'r>(registry: &'r Registry, name: &str) -> Result<&'r Pipe, ApiError> {
    registry.pipes.get(name).ok_or_else(|| missing(name))
}

fn arn(call: &Call<'_>, name: &str) -> String {
    format!("arn:aws:pipes:{}:{ACCOUNT}:pipe/{name}", call.region)
}

fn word(state: DesiredState) -> &'static str {
    match state {
        DesiredState::Running => "RUNNING",
        DesiredState::Stopped => "STOPPED",
    }
}

/// The members of an answer to an operation on a pipe.
fn brief(pipe: &Pipe, call: &Call<'_>, state: &str) -> Value {
    json!({
        "Arn": arn(call, &pipe.name),
        "Name": pipe.name,
        "DesiredState": word(pipe.desired_state),
        "CurrentState": state,
        "CreationTime": seconds(pipe.created_at),
        "LastModifiedTime": seconds(pipe.modified_at),
    })
}

/// Reads the members that creating and updating share.
fn take_members(request: &Request<'_>, pipe: &mut Pipe) {
    if let Some(description) = request.short("Description", 512) {
        pipe.description = Some(description);
    }
    match request.one_of("DesiredState", &STATES) {
        Some("STOPPED") => pipe.desired_state = DesiredState::Stopped,
        Some(_) => pipe.desired_state = DesiredState::Running,
        None => {}
    }
    let arn = |member: &str, min: usize| {
        let arn = request.text(member)?;
        request.check_length(&fakemon_aws::request::lower(member), arn, min, 1_600);
        Some(arn.to_owned())
    };
    if let Some(enrichment) = arn("Enrichment", 0) {
        pipe.enrichment = Some(enrichment).filter(|arn| !arn.is_empty());
    }
    pipe.target = arn("Target", 1).unwrap_or(std::mem::take(&mut pipe.target));
    let role = request.required("RoleArn");
    if request.get("RoleArn").is_some() {
        request.check_length("roleArn", role, 1, 1_600);
        request.check_role("roleArn", role);
    }
    pipe.role_arn = role.to_owned();
    for member in KEPT {
        if let Some(value) = request.get(member) {
            pipe.kept.insert(member.into(), value.clone());
        }
    }
    for (member, held) in [
        ("SourceParameters", &mut pipe.source_parameters),
        ("EnrichmentParameters", &mut pipe.enrichment_parameters),
        ("TargetParameters", &mut pipe.target_parameters),
    ] {
        match request.get(member) {
            Some(Value::Object(given)) => {
                if let Some(http) = given.get("HttpParameters") {
                    let at = format!("{}.httpParameters", fakemon_aws::request::lower(member));
                    http_parameters::check_target(request, &at, http);
                }
                *held = changed(held, given);
            }
            Some(_) => request.found(format!(
                "Value at '{}' failed to satisfy constraint: Member must be an object",
                fakemon_aws::request::lower(member)
            )),
            None => {}
        }
    }
}

/// Parameters after an update: each given member replaces the stored one as a whole, except where a stream begins.
fn changed(held: &Value, given: &Map<String, Value>) -> Value {
    let mut changed = held.as_object().cloned().unwrap_or_default();
    for (member, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        let mut value = value.clone();
        if let (Some(before), Some(now)) = (changed.get(member).and_then(Value::as_object), value.as_object_mut())
            && !now.contains_key(BEGINNING[0])
        {
            let kept = BEGINNING.iter().filter_map(|name| Some(((*name).to_owned(), before.get(*name)?.clone())));
            now.extend(kept);
        }
        changed.insert(member.clone(), value);
    }
    changed.into()
}

fn check(pipe: &Pipe, call: &Call<'_>) -> Result<(), ApiError> {
    fakemon_pipe::check(pipe, call.settings.allow_unserved_targets)
        .map_err(|error| ApiError::invalid(error.to_string()))
}

fn create(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("Name", NAME, 64);
    let source = request.required("Source");
    if request.get("Target").is_none() {
        request.required_at("target");
    }
    let mut pipe = Pipe {
        name: name.into(),
        description: None,
        desired_state: DesiredState::Running,
        change: PipeChange::Created,
        revision: 0,
        source: source.into(),
        source_parameters: Value::Null,
        enrichment: None,
        enrichment_parameters: Value::Null,
        target: String::new(),
        target_parameters: Value::Null,
        role_arn: String::new(),
        kept: Map::new(),
        runs_since: None,
        region: call.region.into(),
        created_at: call.now,
        modified_at: call.now,
        tags: Tags::new(),
    };
    take_members(request, &mut pipe);
    request.check()?;
    pipe.tags = few(tags_given(request, "Tags")?)?;
    if registry.pipes.contains_key(name) {
        return Err(ApiError::new("ConflictException", format!("Pipe {name} already exists.")));
    }
    if registry.pipes.size() >= PIPES_MAX {
        let message = format!("There are {PIPES_MAX} pipes, as many as there may be: delete one.");
        return Err(ApiError::new("ServiceQuotaExceededException", message));
    }
    check(&pipe, call)?;
    runs_from_now(&mut pipe, call);
    let answer = brief(&pipe, call, "CREATING");
    Ok(Reply::with(answer, vec![Change::Put(Resource::Pipe(pipe))]))
}

/// `LATEST` is the time when the pipe is first started.
fn runs_from_now(pipe: &mut Pipe, call: &Call<'_>) {
    if pipe.desired_state == DesiredState::Running && pipe.runs_since.is_none() {
        pipe.runs_since = Some(call.now);
    }
}

fn update(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("Name", NAME, 64);
    let mut pipe = match registry.pipes.get(name) {
        Some(pipe) => pipe.clone(),
        None => {
            request.check()?;
            return Err(missing(name));
        }
    };
    take_members(request, &mut pipe);
    request.check()?;
    check(&pipe, call)?;
    put(pipe, PipeChange::Updated, "UPDATING", call)
}

fn put(mut pipe: Pipe, change: PipeChange, state: &str, call: &Call<'_>) -> Result<Reply, ApiError> {
    runs_from_now(&mut pipe, call);
    let revision = pipe.revision + 1;
    let pipe = Pipe { change, revision, modified_at: call.now, ..pipe };
    let answer = brief(&pipe, call, state);
    Ok(Reply::with(answer, vec![Change::Put(Resource::Pipe(pipe))]))
}

fn start(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    switch(registry, request, call, DesiredState::Running)
}

fn stop(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    switch(registry, request, call, DesiredState::Stopped)
}

/// Starts or stops a pipe; no change if it is in that state already.
fn switch(
    registry: &Registry,
    request: &Request<'_>,
    call: &Call<'_>,
    wanted: DesiredState,
) -> Result<Reply, ApiError> {
    let name = request.name("Name", NAME, 64);
    request.check()?;
    let pipe = existing(registry, name)?.clone();
    let (state, _) = (call.pipe)(&pipe);
    if state == word(wanted) {
        return Ok(Reply::of(brief(&pipe, call, state)));
    }
    let (change, state) = match wanted {
        DesiredState::Running => (PipeChange::Started, "STARTING"),
        DesiredState::Stopped => (PipeChange::Stopped, "STOPPING"),
    };
    put(Pipe { desired_state: wanted, ..pipe }, change, state, call)
}

fn delete(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("Name", NAME, 64);
    request.check()?;
    let pipe = existing(registry, name)?;
    let mut answer = brief(pipe, call, "DELETING");
    answer["DesiredState"] = "DELETED".into();
    Ok(Reply::with(answer, vec![Change::Delete(format!("pipe/{name}"))]))
}

fn describe(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("Name", NAME, 64);
    request.check()?;
    let pipe = existing(registry, name)?;
    let (state, reason) = (call.pipe)(pipe);
    let mut shown = brief(pipe, call, state);
    let given = |value: &Value| (!value.is_null()).then(|| value.clone());
    let more = object([
        ("Description", pipe.description.clone().map(Into::into)),
        ("StateReason", reason.map(Into::into)),
        ("Source", Some(pipe.source.clone().into())),
        ("SourceParameters", given(&pipe.source_parameters)),
        ("Enrichment", pipe.enrichment.clone().map(Into::into)),
        ("EnrichmentParameters", given(&pipe.enrichment_parameters)),
        ("Target", Some(pipe.target.clone().into())),
        ("TargetParameters", given(&pipe.target_parameters)),
        ("RoleArn", Some(pipe.role_arn.clone().into())),
        ("Tags", Some(json!(pipe.tags))),
    ]);
    let members = shown.as_object_mut().expect("it was made as an object");
    members.extend(more.as_object().cloned().into_iter().flatten());
    members.extend(pipe.kept.clone());
    Ok(Reply::of(shown))
}

fn list(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let prefix = |member: &str| request.text(member).unwrap_or_default();
    let (name, source, target) = (prefix("NamePrefix"), prefix("SourcePrefix"), prefix("TargetPrefix"));
    let desired = request.one_of("DesiredState", &STATES);
    let current = request.one_of("CurrentState", &CURRENT_STATES);
    request.check()?;
    let wanted = |pipe: &&Pipe| {
        pipe.name.starts_with(name)
            && pipe.source.starts_with(source)
            && pipe.target.starts_with(target)
            && desired.is_none_or(|desired| word(pipe.desired_state) == desired)
    };
    let pipes = registry.pipes.values().filter(wanted).filter_map(|pipe| {
        let (state, reason) = (call.pipe)(pipe);
        let mut shown = brief(pipe, call, state);
        shown["Source"] = pipe.source.as_str().into();
        shown["Target"] = pipe.target.as_str().into();
        pipe.enrichment.as_ref().inspect(|enrichment| shown["Enrichment"] = enrichment.as_str().into());
        reason.into_iter().for_each(|reason| shown["StateReason"] = reason.into());
        current.is_none_or(|current| state == current).then(|| (pipe.name.clone(), shown))
    });
    let (page, next) = request.page("Pipes", pipes)?;
    Ok(Reply::of(paged("Pipes", page, next)))
}

/// Tags as a map.
fn tags_given(request: &Request<'_>, member: &str) -> Result<Tags, ApiError> {
    let given = match request.get(member) {
        None => return Ok(Tags::new()),
        Some(given) => {
            given.as_object().ok_or_else(|| ApiError::invalid(format!("{member} must be a map of texts.")))?
        }
    };
    let mut tags = Tags::new();
    for (key, value) in given {
        let value = value.as_str().ok_or_else(|| ApiError::invalid(format!("{member}.{key} must be a text.")))?;
        request.check_length(&format!("{}.key", fakemon_aws::request::lower(member)), key, 1, 128);
        request.check_length(&format!("{}.{key}", fakemon_aws::request::lower(member)), value, 0, 256);
        tags.insert(key.clone(), value.to_owned());
    }
    request.check()?;
    Ok(tags)
}

fn few(tags: Tags) -> Result<Tags, ApiError> {
    crate::tags::check_keys(&tags)?;
    match tags.len() {
        0..=TAGS_MAX => Ok(tags),
        _ => Err(ApiError::invalid(format!("A pipe has at most {TAGS_MAX} tags."))),
    }
}

/// The pipe of an ARN.
fn tagged<'r>(registry: &'r Registry, request: &Request<'_>) -> Result<&'r Pipe, ApiError> {
    let arn = request.required("ResourceArn");
    request.check()?;
    let name = arn.split_once(":pipe/").map(|(_, name)| name);
    name.and_then(|name| registry.pipes.get(name)).ok_or_else(|| missing(name.unwrap_or(arn)))
}

/// An operation on tags.
pub(super) fn tag_operation(act: &str) -> Option<Operation> {
    Some(match act {
        "tag" => tag,
        "untag" => untag,
        "list" => list_tags,
        _ => return None,
    })
}

/// Adds tags to those of a pipe; the pipe keeps running.
fn tag(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let mut pipe = tagged(registry, request)?.clone();
    pipe.tags.extend(tags_given(request, "tags")?);
    pipe.tags = few(pipe.tags)?;
    Ok(Reply::with(json!({}), vec![Change::Put(Resource::Pipe(pipe))]))
}

/// Removes tags of a pipe.
fn untag(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let mut pipe = tagged(registry, request)?.clone();
    let keys = request.get("TagKeys").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    keys.for_each(|key| drop(pipe.tags.remove(key)));
    Ok(Reply::with(json!({}), vec![Change::Put(Resource::Pipe(pipe))]))
}

/// Lists the tags of a pipe.
fn list_tags(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    Ok(Reply::of(json!({ "tags": tagged(registry, request)?.tags })))
}
