//! API keys and usage plans, as Amazon API Gateway has them (boto3 `apigateway`): a key admits events over HTTP
//! (`x-api-key` at `POST /events` and at partner webhooks), its usage plan bounds how many.
//!
//! Differences to AWS: bounds count events, not requests. A key has one usage plan, or none and no bounds. Stages are
//! stored and returned, but have no effect: a key is valid everywhere. The value of a key is stored with the secrets
//! of connections, and nowhere else; it is returned on request (`includeValue`).
//!
//! - `keys`: keys themselves

mod keys;

use crate::Api;
use crate::request::{Request, object, page_behind};
use crate::rest::{self, InQuery, Kind, answered, route};
use crate::{ApiError, Call, Operation, Reply, services};
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{MethodFilter, get as get_usage};
use fakemon_model::ids::Timestamp;
use fakemon_model::limits::USAGE_PLANS_MAX;
use fakemon_resource::Registry;
use fakemon_resource::inbound::{ApiKey, Period, Quota, Throttle, UsagePlan};
use fakemon_resource::resource::{Change, Resource, Tags};
use jiff::civil::Date;
use keys::{new_value, with_value};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Items on a page, at most and by default.
const PAGE_MAX: u64 = 500;
const PAGE: u64 = 25;
const PERIODS: [(&str, Period); 3] = [("DAY", Period::Day), ("WEEK", Period::Week), ("MONTH", Period::Month)];
const PAGED: [InQuery; 2] = [("limit", "limit", Kind::Number), ("position", "position", Kind::Text)];

const USAGE: &[InQuery] = &[
    PAGED[0],
    PAGED[1],
    ("keyId", "keyId", Kind::Text),
    ("startDate", "startDate", Kind::Text),
    ("endDate", "endDate", Kind::Text),
];

/// Its routes.
pub fn routes() -> Router<Arc<Api>> {
    const KEYS: &[InQuery] = &[
        PAGED[0],
        PAGED[1],
        ("name", "nameQuery", Kind::Text),
        ("customerId", "customerId", Kind::Text),
        ("includeValues", "includeValues", Kind::Text),
    ];
    const KEY: &[InQuery] = &[("includeValue", "includeValue", Kind::Text)];
    const PLANS: &[InQuery] = &[PAGED[0], PAGED[1], ("keyId", "keyId", Kind::Text)];
    const NAMED: &[InQuery] = &[PAGED[0], PAGED[1], ("name", "nameQuery", Kind::Text)];
    let on = |method: MethodFilter, operation: Operation| route(method, operation, &[]);
    let (get, patch) = (MethodFilter::GET, MethodFilter::PATCH);
    let created = |operation: Operation| answered(MethodFilter::POST, operation, &[], StatusCode::CREATED);
    let gone = |operation: Operation| answered(MethodFilter::DELETE, operation, &[], StatusCode::ACCEPTED);
    let keys = created(keys::create).merge(route(get, keys::list, KEYS)).layer(from_fn(no_import));
    Router::new()
        .route("/apikeys", keys)
        .route(
            "/apikeys/{apiKey}",
            route(get, keys::describe, KEY).merge(on(patch, keys::update)).merge(gone(keys::delete)),
        )
        .route("/usageplans", created(create_plan).merge(route(get, list_plans, PLANS)))
        .route(
            "/usageplans/{usagePlanId}",
            on(get, describe_plan).merge(on(patch, update_plan)).merge(gone(delete_plan)),
        )
        .route("/usageplans/{usagePlanId}/usage", get_usage(usage))
        .route("/usageplans/{usagePlanId}/keys", created(add_key).merge(route(get, list_plan_keys, NAMED)))
        .route("/usageplans/{usagePlanId}/keys/{keyId}", on(get, describe_plan_key).merge(gone(remove_key)))
}

/// Rejects the import of keys from a file, which has the path and method of `CreateApiKey` (`?mode=import`).
async fn no_import(request: axum::extract::Request, next: Next) -> Response {
    let imports = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "mode=import"));
    match imports && request.method() == Method::POST {
        true => rest::answer(Err(services::not_here("apigateway", "ImportApiKeys"))),
        false => next.run(request).await,
    }
}

/// `GET /usageplans/{id}/usage`, which asks the meters too.
async fn usage(
    State(api): State<Arc<Api>>,
    Path(path): Path<Vec<(String, String)>>,
    pairs: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    let members = rest::members(path, pairs, USAGE, Ok(Bytes::new()));
    let answer = members.and_then(|members| used(&api, &members));
    // Sync first: what is shown must not be lost, not even that of requests that are not answered yet.
    let notes = api.engine.notes();
    let synced = tokio::task::spawn_blocking(move || notes.sync()).await;
    let synced = synced.unwrap_or_else(|error| Err(error.to_string())).map_err(ApiError::internal);
    rest::answer(synced.and(answer))
}

fn used(api: &Api, members: &Map<String, Value>) -> Result<Value, ApiError> {
    let registry = api.engine.registry();
    let request = Request::new(members);
    let plan = existing_plan(&registry, request.required("usagePlanId"))?;
    let (from, to) = (request.required("startDate"), request.required("endDate"));
    check(&request)?;
    let day = |text: &str| {
        text.parse::<Date>().map_err(|_| bad(format!("Invalid date {text}: it must be as in 2026-11-25.")))
    };
    let (start, end) = (day(from)?, day(to)?);
    if start > end || start.until(end).map_or(true, |span| span.get_days() > 90) {
        return Err(bad("Usage is shown for up to 90 days, of which startDate is the first and endDate the last."));
    }
    let of_key = request.text("keyId");
    let keys = registry.api_keys.values().filter(|key| key.usage_plan.as_ref() == Some(&plan.id));
    let keys = keys.filter(|key| of_key.is_none_or(|id| key.id == id));
    let (page, position) = page(&request, "usage", keys.map(|key| (key.id.clone(), key.id.clone())))?;
    let items: Map<String, Value> =
        page.into_iter().map(|key| (key.clone(), json!(api.meters.usage(plan, &key, start, end)))).collect();
    Ok(object([
        ("usagePlanId", Some(plan.id.clone().into())),
        ("startDate", Some(from.into())),
        ("endDate", Some(to.into())),
        ("values", Some(items.into())),
        ("position", position.map(Into::into)),
    ]))
}

fn bad(message: impl Into<String>) -> ApiError {
    ApiError::new("BadRequestException", message)
}

/// Checks members; errors get this service's name.
fn check(request: &Request<'_>) -> Result<(), ApiError> {
    request.check().map_err(|error| if error.code == "ValidationException" { bad(error.message) } else { error })
}

fn missing(what: &str) -> ApiError {
    ApiError {
        status: StatusCode::NOT_FOUND,
        ..ApiError::new("NotFoundException", format!("Invalid {what} specified"))
    }
}

fn too_many(what: &str, max: usize) -> ApiError {
    let message = format!("There are {max} {what} already: delete some first.");
    ApiError { status: StatusCode::TOO_MANY_REQUESTS, ..ApiError::new("LimitExceededException", message) }
}

fn existing_key<'r>(registry: &'r Registry, id: &str) -> Result<&'r ApiKey, ApiError> {
    registry.api_keys.get(id).ok_or_else(|| missing("API Key identifier"))
}

fn existing_plan<'r>(registry: &'r Registry, id: &str) -> Result<&'r UsagePlan, ApiError> {
    registry.usage_plans.get(id).ok_or_else(|| missing("Usage Plan ID"))
}

/// The sort key of an item in a list that begins with the newest.
fn newest_first(created_at: Timestamp, id: &str) -> String {
    format!("{:020}{id}", u64::MAX - created_at.0)
}

/// A page of items in the order of their keys, and the token of the next page.
fn page<T>(
    request: &Request<'_>,
    list: &str,
    things: impl IntoIterator<Item = (String, T)>,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let limit = usize::try_from(request.number("limit", 1, PAGE_MAX).unwrap_or(PAGE)).unwrap_or(usize::MAX);
    check(request)?;
    let after = request.token("position", list).map_err(|_| bad("Invalid position parameter"))?;
    Ok(page_behind(list, after, limit, things))
}

fn listed(things: Vec<Value>, position: Option<String>) -> Reply {
    Reply::of(object([("item", Some(things.into())), ("position", position.map(Into::into))]))
}

fn tags(request: &Request<'_>) -> Tags {
    let given = request.get("tags").and_then(Value::as_object).into_iter().flatten();
    given.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// One operation of a patch: `op`, `path`, `value`.
type Patch<'r> = (&'r str, &'r str, Option<&'r str>);

fn patches<'r>(request: &Request<'r>) -> Result<Vec<Patch<'r>>, ApiError> {
    let given = request.get("patchOperations").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let read = |one: &'r Value| {
        let text = |name: &str| one.get(name).and_then(Value::as_str);
        Some((text("op")?, text("path")?, text("value")))
    };
    let read: Option<Vec<Patch<'r>>> = given.iter().map(read).collect();
    read.ok_or_else(|| bad("Invalid patch: each of patchOperations has op and path, and value"))
}

fn invalid_patch((op, path, _): Patch<'_>) -> ApiError {
    bad(format!("Invalid patch path '{path}' specified for op '{op}'"))
}

fn shown_plan(plan: &UsagePlan) -> Value {
    let period = |quota: &Quota| PERIODS.iter().find(|(_, period)| *period == quota.period).map(|(word, _)| *word);
    object([
        ("id", Some(plan.id.clone().into())),
        ("name", Some(plan.name.clone().into())),
        ("description", plan.description.clone().map(Into::into)),
        ("apiStages", Some(plan.stages.iter().map(|(api, stage)| json!({ "apiId": api, "stage": stage })).collect())),
        ("productCode", plan.product_code.clone().map(Into::into)),
        (
            "throttle",
            plan.throttle
                .map(|Throttle { rate_per_s, burst }| json!({ "rateLimit": rate_per_s, "burstLimit": burst })),
        ),
        (
            "quota",
            plan.quota
                .as_ref()
                .map(|quota| json!({ "limit": quota.limit, "offset": quota.offset_days, "period": period(quota) })),
        ),
        ("tags", Some(json!(plan.tags))),
    ])
}

/// Checks a quota; errors in the service's words.
fn quota(limit: Option<u64>, offset: u64, period: &str) -> Result<Quota, ApiError> {
    let found = PERIODS.iter().find(|(word, _)| *word == period);
    let (word, period) = found.ok_or_else(|| bad("Usage Plan quota period must be DAY, WEEK or MONTH"))?;
    let limit =
        limit.filter(|limit| *limit > 0).ok_or_else(|| bad("Usage Plan quota limit must be greater than 0"))?;
    let offset_max = period.offset_days_max();
    match u32::try_from(offset).ok().filter(|offset| *offset <= offset_max) {
        Some(offset_days) => Ok(Quota { limit, offset_days, period: *period }),
        None => Err(bad(format!(
            "Usage Plan quota offset must be between 0 and {offset_max} inclusive in the {word} period"
        ))),
    }
}

fn throttle(rate: Option<f64>, burst: Option<u64>) -> Result<Throttle, ApiError> {
    let rate_per_s = rate.filter(|rate| (0.0..=1e9).contains(rate));
    let burst = burst.and_then(|burst| u32::try_from(burst).ok()).filter(|burst| *burst > 0);
    match rate_per_s.zip(burst) {
        Some((rate_per_s, burst)) => Ok(Throttle { rate_per_s, burst }),
        None => Err(bad("Usage Plan throttle needs a rateLimit of 0 or more and a burstLimit of 1 or more")),
    }
}

fn create_plan(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let (name, description) = (request.required("name"), request.short("description", 1_024));
    request.check_length("name", name, 1, 1_024);
    check(request)?;
    if registry.usage_plans.size() >= USAGE_PLANS_MAX {
        return Err(too_many("usage plans", USAGE_PLANS_MAX));
    }
    let throttle = request
        .get("throttle")
        .map(|given| throttle(given["rateLimit"].as_f64().or(Some(0.0)), given["burstLimit"].as_u64()));
    let quota = request.get("quota").map(|given| {
        quota(
            given["limit"].as_u64(),
            given["offset"].as_u64().unwrap_or_default(),
            given["period"].as_str().unwrap_or_default(),
        )
    });
    let stages = request.get("apiStages").and_then(Value::as_array).into_iter().flatten();
    let stage = |one: &Value| Some((one["apiId"].as_str()?.to_owned(), one["stage"].as_str()?.to_owned()));
    let stages: Option<Vec<(String, String)>> = stages.map(stage).collect();
    let plan = UsagePlan {
        id: new_value()[..6].to_lowercase(),
        name: name.to_owned(),
        description,
        stages: stages.ok_or_else(|| bad("Usage Plan stages have an apiId and a stage"))?,
        product_code: None,
        throttle: throttle.transpose()?,
        quota: quota.transpose()?,
        created_at: call.now,
        tags: tags(request),
    };
    if registry.usage_plans.contains_key(&plan.id) {
        return Err(ApiError::new("ConflictException", "The id that was drawn is taken: try again"));
    }
    Ok(Reply::with(shown_plan(&plan), vec![Change::Put(Resource::UsagePlan(plan))]))
}

fn list_plans(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let of_key = request.text("keyId").and_then(|id| registry.api_keys.get(id)?.usage_plan.as_ref());
    let wanted = |plan: &&UsagePlan| request.get("keyId").is_none() || of_key == Some(&plan.id);
    let shown = |plan: &UsagePlan| (newest_first(plan.created_at, &plan.id), shown_plan(plan));
    let plans = registry.usage_plans.values().filter(wanted).map(shown);
    let (page, position) = page(request, "usageplans", plans)?;
    Ok(listed(page, position))
}

fn describe_plan(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    Ok(Reply::of(shown_plan(existing_plan(registry, request.required("usagePlanId"))?)))
}

fn update_plan(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let mut plan = existing_plan(registry, request.required("usagePlanId"))?.clone();
    for patch in patches(request)? {
        change_plan(&mut plan, patch)?;
    }
    Ok(Reply::with(shown_plan(&plan), vec![Change::Put(Resource::UsagePlan(plan))]))
}

fn change_plan(plan: &mut UsagePlan, patch: Patch<'_>) -> Result<(), ApiError> {
    let word =
        |quota: Quota| PERIODS.iter().find(|(_, period)| *period == quota.period).map_or("DAY", |(word, _)| *word);
    let (limit, offset) = plan.quota.map_or((None, 0), |quota| (Some(quota.limit), quota.offset_days.into()));
    let period = plan.quota.map_or("MONTH", word);
    let (rate, burst) = plan.throttle.map_or((0.0, 1), |held| (held.rate_per_s, held.burst.into()));
    let number = |text: &str| text.parse::<u64>().map_err(|_| invalid_patch(patch));
    match patch {
        ("replace" | "add", "/name", Some(name)) => name.clone_into(&mut plan.name),
        ("replace" | "add", "/description", Some(text)) => plan.description = Some(text.to_owned()),
        ("replace" | "add", "/quota/limit", Some(text)) => {
            plan.quota = Some(quota(Some(number(text)?), offset, period)?)
        }
        ("replace" | "add", "/quota/offset", Some(text)) => plan.quota = Some(quota(limit, number(text)?, period)?),
        ("replace" | "add", "/quota/period", Some(text)) => plan.quota = Some(quota(limit.or(Some(1)), 0, text)?),
        ("remove", "/quota", _) => plan.quota = None,
        ("replace" | "add", "/throttle/rateLimit", Some(text)) => {
            plan.throttle = Some(throttle(text.parse().ok(), Some(burst))?);
        }
        ("replace" | "add", "/throttle/burstLimit", Some(text)) => {
            plan.throttle = Some(throttle(Some(rate), Some(number(text)?))?);
        }
        ("remove", "/throttle", _) => plan.throttle = None,
        ("replace" | "add", "/productCode", Some(code)) => plan.product_code = Some(code.to_owned()),
        ("remove", "/productCode", _) => plan.product_code = None,
        ("add" | "remove", "/apiStages", Some(stage)) => {
            let (api, stage) = stage.split_once(':').ok_or_else(|| invalid_patch(patch))?;
            plan.stages.retain(|(held_api, held_stage)| (held_api.as_str(), held_stage.as_str()) != (api, stage));
            if patch.0 == "add" {
                plan.stages.push((api.to_owned(), stage.to_owned()));
            }
        }
        patch => return Err(invalid_patch(patch)),
    }
    Ok(())
}

/// A plan with keys cannot be deleted: they would lose their bounds.
fn delete_plan(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let id = &existing_plan(registry, request.required("usagePlanId"))?.id;
    if registry.api_keys.values().any(|key| key.usage_plan.as_ref() == Some(id)) {
        return Err(bad(format!(
            "Cannot delete Usage Plan {id} because it has API keys: they would have no bounds."
        )));
    }
    Ok(Reply::with(Value::Null, vec![Change::Delete(format!("usage-plan/{id}"))]))
}

fn shown_plan_key(key: &ApiKey) -> Value {
    object([
        ("id", Some(key.id.clone().into())),
        ("type", Some("API_KEY".into())),
        ("name", key.name.clone().map(Into::into)),
    ])
}

fn add_key(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let plan = existing_plan(registry, request.required("usagePlanId"))?;
    let (id, kind) = (request.required("keyId"), request.required("keyType"));
    check(request)?;
    if kind != "API_KEY" {
        return Err(bad("Usage Plan key type must be API_KEY"));
    }
    let mut key = existing_key(registry, id)?.clone();
    if let Some(held) = &key.usage_plan {
        let message =
            format!("Usage Plan Key {id} already exists, in usage plan {held}: a key has one usage plan here");
        return Err(ApiError::new("ConflictException", message));
    }
    key.usage_plan = Some(plan.id.clone());
    key.modified_at = call.now;
    let shown = with_value(shown_plan_key(&key), &key, call);
    Ok(Reply::with(shown, vec![Change::Put(Resource::ApiKey(key))]))
}

fn plan_key<'r>(registry: &'r Registry, request: &Request<'_>) -> Result<&'r ApiKey, ApiError> {
    let plan = existing_plan(registry, request.required("usagePlanId"))?;
    let key = existing_key(registry, request.required("keyId"))?;
    if key.usage_plan.as_ref() == Some(&plan.id) { Ok(key) } else { Err(missing("Usage Plan Key")) }
}

fn describe_plan_key(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    plan_key(registry, request).map(|key| Reply::of(with_value(shown_plan_key(key), key, call)))
}

fn remove_key(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let key = plan_key(registry, request)?.clone();
    let key = ApiKey { usage_plan: None, modified_at: call.now, ..key };
    Ok(Reply::with(Value::Null, vec![Change::Put(Resource::ApiKey(key))]))
}

fn list_plan_keys(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let plan = existing_plan(registry, request.required("usagePlanId"))?;
    let name = request.text("nameQuery").unwrap_or_default();
    let wanted = |key: &&ApiKey| {
        key.usage_plan.as_ref() == Some(&plan.id) && key.name.as_deref().unwrap_or_default().starts_with(name)
    };
    let keys = registry.api_keys.values().filter(wanted).map(|key| (newest_first(key.created_at, &key.id), key));
    let (page, position) = page(request, "usageplankeys", keys)?;
    let shown = |key: &ApiKey| with_value(shown_plan_key(key), key, call);
    Ok(listed(page.into_iter().map(shown).collect(), position))
}
