//! Operations on API keys: create, get, list, update, delete.

use super::{bad, check, existing_key, invalid_patch, listed, newest_first, page, patches, tags, too_many};
use crate::api_keys;
use crate::request::{Request, object};
use crate::{ApiError, Call, Reply, seconds};
use fakemon_http::standard_webhooks;
use fakemon_model::limits::API_KEYS_MAX;
use fakemon_resource::Registry;
use fakemon_resource::inbound::ApiKey;
use fakemon_resource::resource::{Change, Resource};
use serde_json::{Value, json};

fn shown_key(key: &ApiKey) -> Value {
    object([
        ("id", Some(key.id.clone().into())),
        ("name", key.name.clone().map(Into::into)),
        ("description", key.description.clone().map(Into::into)),
        ("enabled", Some(key.enabled.into())),
        ("customerId", key.customer_id.clone().map(Into::into)),
        ("stageKeys", Some(json!(key.stage_keys))),
        ("createdDate", Some(seconds(key.created_at))),
        ("lastUpdatedDate", Some(seconds(key.modified_at))),
        ("tags", Some(json!(key.tags))),
    ])
}

pub(crate) fn create(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let (name, description) = (request.short("name", 1_024), request.short("description", 1_024));
    let (customer_id, given) = (request.short("customerId", 1_024), request.text("value"));
    check(request)?;
    if registry.api_keys.size() >= API_KEYS_MAX {
        return Err(too_many("API keys", API_KEYS_MAX));
    }
    let value = match given {
        None | Some("") => new_value(),
        Some(value) if value.len() < 20 => return Err(bad("API Key value should be at least 20 characters")),
        Some(value) if value.len() > 128 => return Err(bad("API Key value should be at most 128 characters")),
        Some(value) if !value.bytes().all(|b| b.is_ascii_graphic()) => {
            return Err(bad("API Key value should be printable ASCII characters"));
        }
        Some(value) => value.to_owned(),
    };
    let tags = tags(request);
    if tags.len() > 50 || !api_keys::tags_are_sound(&tags) {
        return Err(bad(
            "tags are up to 50; fakemon:bus and fakemon:source name what the key is for, with spaces between",
        ));
    }
    let held = (call.secret)(api_keys::PEPPER).and_then(|held| held.as_str().map(str::to_owned));
    let pepper = held.clone().unwrap_or_else(standard_webhooks::new_secret);
    let hash = api_keys::hash(&pepper, &value);
    let id = api_keys::id(&hash).to_owned();
    if registry.api_keys.contains_key(&id) {
        return Err(ApiError::new("ConflictException", "API Key already exists"));
    }
    let key = ApiKey {
        id: id.clone(),
        name,
        description,
        enabled: request.get("enabled").and_then(Value::as_bool).unwrap_or_default(),
        customer_id,
        usage_plan: None,
        stage_keys: stage_keys(request),
        created_at: call.now,
        modified_at: call.now,
        tags,
    };
    let mut answer = shown_key(&key);
    answer["value"] = value.as_str().into();
    let mut secrets =
        vec![(api_keys::secret_name(&id), Some(hash.into())), (api_keys::value_name(&id), Some(value.into()))];
    if held.is_none() {
        secrets.push((api_keys::PEPPER.to_owned(), Some(pepper.into())));
    }
    Ok(Reply { answer, changes: vec![Change::Put(Resource::ApiKey(key))], secrets })
}

/// Stages as keys show them: `API/STAGE`.
fn stage_keys(request: &Request<'_>) -> Vec<String> {
    let given = request.get("stageKeys").and_then(Value::as_array).into_iter().flatten();
    let stage = |one: &Value| Some(format!("{}/{}", one["restApiId"].as_str()?, one["stageName"].as_str()?));
    given.filter_map(stage).collect()
}

/// A key as it is shown, with its value; keys of older versions stored only its hash.
pub(super) fn with_value(mut shown: Value, key: &ApiKey, call: &Call<'_>) -> Value {
    if let Some(value) = (call.secret)(&api_keys::value_name(&key.id)) {
        shown["value"] = value;
    }
    shown
}

/// A new value: forty random letters and digits.
pub(super) fn new_value() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyzABCDEF29";
    let letter = |byte: &u8| char::from(LETTERS[usize::from(byte % 32)]);
    standard_webhooks::random::<40>().iter().map(letter).collect()
}

pub(crate) fn list(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let (name, customer) = (request.text("nameQuery").unwrap_or_default(), request.text("customerId"));
    let with_values = request.text("includeValues") == Some("true");
    let wanted = |key: &&ApiKey| {
        key.name.as_deref().unwrap_or_default().starts_with(name)
            && customer.is_none_or(|customer| key.customer_id.as_deref() == Some(customer))
    };
    let keys = registry.api_keys.values().filter(wanted).map(|key| (newest_first(key.created_at, &key.id), key));
    let (page, position) = page(request, "apikeys", keys)?;
    let shown = |key: &ApiKey| match with_values {
        true => with_value(shown_key(key), key, call),
        false => shown_key(key),
    };
    Ok(listed(page.into_iter().map(shown).collect(), position))
}

pub(crate) fn describe(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let key = existing_key(registry, request.required("apiKey"))?;
    Ok(Reply::of(match request.text("includeValue") {
        Some("true") => with_value(shown_key(key), key, call),
        _ => shown_key(key),
    }))
}

pub(crate) fn delete(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let id = &existing_key(registry, request.required("apiKey"))?.id;
    let secrets = vec![(api_keys::secret_name(id), None), (api_keys::value_name(id), None)];
    Ok(Reply { changes: vec![Change::Delete(format!("api-key/{id}"))], secrets, ..Reply::default() })
}

pub(crate) fn update(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let mut key = existing_key(registry, request.required("apiKey"))?.clone();
    for patch in patches(request)? {
        match patch {
            ("replace", "/name", Some(name)) => key.name = Some(name.to_owned()),
            ("replace", "/description", Some(text)) => key.description = Some(text.to_owned()),
            ("replace", "/customerId", Some(text)) => key.customer_id = Some(text.to_owned()),
            ("replace", "/enabled", Some(text)) => {
                key.enabled = text.parse().map_err(|_| bad("Invalid enabled: it must be true or false"))?;
            }
            patch => return Err(invalid_patch(patch)),
        }
    }
    key.modified_at = call.now;
    Ok(Reply::with(shown_key(&key), vec![Change::Put(Resource::ApiKey(key))]))
}
