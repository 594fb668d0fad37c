//! Groups, their settings, and resource policies, which are stored and returned without effect.

use crate::{checked, group_of, invalid, named};
use fakemon_aws::request::{Request, object};
use fakemon_aws::{ApiError, Call, Operation, Reply};
use fakemon_model::limits::LOG_POLICIES_MAX;
use fakemon_resource::Registry;
use fakemon_resource::resource::{Change, LogGroup, LogPolicy, Resource, Tags};
use serde_json::{Value, json};

/// The longest policy document, in characters.
const POLICY_CHARS_MAX: usize = 5_120;
/// Groups on a page of the list.
const LISTED_MAX: u64 = 1_000;

pub(crate) fn operation(name: &str) -> Option<Operation> {
    Some(match name {
        "CreateLogGroup" => create,
        "DescribeLogGroups" => describe,
        "ListLogGroups" => list,
        "PutRetentionPolicy" => put_retention,
        "DeleteRetentionPolicy" => delete_retention,
        "AssociateKmsKey" => |registry, request, _| {
            let key = request.required("kmsKeyId").to_owned();
            set_kms_key(registry, request, Some(key))
        },
        "DisassociateKmsKey" => |registry, request, _| set_kms_key(registry, request, None),
        "TagResource" | "TagLogGroup" => tag,
        "UntagResource" | "UntagLogGroup" => untag,
        "ListTagsForResource" | "ListTagsLogGroup" => list_tags,
        "PutResourcePolicy" => put_policy,
        "DescribeResourcePolicies" => describe_policies,
        "DeleteResourcePolicy" => delete_policy,
        _ => return None,
    })
}

fn create(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let class = request.one_of("logGroupClass", &["STANDARD", "INFREQUENT_ACCESS", "DELIVERY"]).map(str::to_owned);
    let kms_key = request.short("kmsKeyId", 256);
    kms_key.as_deref().map_or(Ok(()), check_kms_key)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-/.#".contains(c);
    let name = checked(request, "logGroupName", fits, r"[\.\-_/#A-Za-z0-9]+")?;
    if registry.log_groups.contains_key(name) {
        return Err(ApiError::new("ResourceAlreadyExistsException", "The specified log group already exists"));
    }
    let tags = texts(request.get("tags"));
    let group = LogGroup { name: name.into(), retention_days: None, kms_key, class, created_at: call.now, tags };
    Ok(Reply::with(json!({}), vec![Change::Put(Resource::LogGroup(group))]))
}

fn texts(map: Option<&Value>) -> Tags {
    let members = map.and_then(Value::as_object).into_iter().flatten();
    members.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn describe(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let (prefix, part) = (request.text("logGroupNamePrefix"), request.text("logGroupNamePattern"));
    let class = request.text("logGroupClass").unwrap_or_default();
    let limit = request.number("limit", 1, 50).unwrap_or(50);
    let after = request.text("nextToken");
    request.check()?;
    if prefix.is_some() && part.is_some() {
        return Err(invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters."));
    }
    let wanted = |group: &LogGroup| {
        prefix.is_none_or(|prefix| group.name.starts_with(prefix))
            && part.is_none_or(|part| contains(&group.name, part))
            && (class.is_empty() || class_of(group) == class)
    };
    let (shown, next) = page(registry, wanted, after, limit);
    let groups: Vec<Value> = shown.into_iter().map(|group| group_json(group, call.region)).collect();
    Ok(Reply::of(object([("logGroups", Some(groups.into())), ("nextToken", next.map(Value::from))])))
}

/// Ignores case, as the service does.
fn contains(name: &str, part: &str) -> bool {
    name.to_ascii_lowercase().contains(&part.to_ascii_lowercase())
}

/// `ListLogGroups`: names, ARNs and classes.
fn list(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let pattern = request.text("logGroupNamePattern").unwrap_or_default();
    let limit = request.number("limit", 1, LISTED_MAX).unwrap_or(50);
    let (after, class) = (request.text("nextToken"), request.text("logGroupClass").unwrap_or_default());
    request.check()?;
    // A caret anchors the text at the beginning; without one it may be anywhere.
    let wanted = |group: &LogGroup| {
        let named = match pattern.strip_prefix('^') {
            Some(prefix) => group.name.starts_with(prefix),
            None => contains(&group.name, pattern),
        };
        named && (class.is_empty() || class_of(group) == class)
    };
    let (shown, next) = page(registry, wanted, after, limit);
    let group = |group: &LogGroup| json!({ "logGroupName": group.name, "logGroupArn": arn(group, call.region), "logGroupClass": class_of(group) });
    let groups: Vec<Value> = shown.into_iter().map(group).collect();
    Ok(Reply::of(object([("logGroups", Some(groups.into())), ("nextToken", next.map(Value::from))])))
}

/// A page of groups by name, after a name; and the name after which the next page begins.
fn page<'r>(
    registry: &'r Registry,
    wanted: impl Fn(&LogGroup) -> bool,
    after: Option<&str>,
    limit: u64,
) -> (Vec<&'r LogGroup>, Option<String>) {
    let behind = |group: &&LogGroup| after.is_none_or(|after| group.name.as_str() > after);
    let mut groups = registry.log_groups.values().filter(behind).filter(|group| wanted(group));
    let shown: Vec<&LogGroup> = groups.by_ref().take(usize::try_from(limit).unwrap_or(usize::MAX)).collect();
    let next = groups.next().and(shown.last()).map(|group| group.name.clone());
    (shown, next)
}

fn class_of(group: &LogGroup) -> &str {
    group.class.as_deref().unwrap_or("STANDARD")
}

fn arn(group: &LogGroup, region: &str) -> String {
    format!("arn:aws:logs:{region}:{}:log-group:{}", fakemon_model::envelope::ACCOUNT, group.name)
}

fn group_json(group: &LogGroup, region: &str) -> Value {
    let arn = arn(group, region);
    object([
        ("logGroupName", Some(group.name.as_str().into())),
        ("creationTime", Some((group.created_at.0 / 1_000_000).into())),
        ("retentionInDays", group.retention_days.map(Value::from)),
        ("metricFilterCount", Some(0.into())),
        ("arn", Some(format!("{arn}:*").into())),
        ("logGroupArn", Some(arn.into())),
        ("storedBytes", Some(0.into())),
        ("logGroupClass", Some(class_of(group).into())),
        ("kmsKeyId", group.kms_key.as_deref().map(Value::from)),
    ])
}

/// A key is named by its ARN. None exists here, so each that could is taken.
fn check_kms_key(key: &str) -> Result<(), ApiError> {
    let parts: Vec<&str> = key.splitn(6, ':').collect();
    let is_arn =
        matches!(parts.as_slice(), ["arn", _, "kms", _, _, name] if name.starts_with("key/") && name.len() > 4);
    let message = "The specified KMS key does not exist or is not allowed to be used with this log group.";
    if is_arn { Ok(()) } else { Err(ApiError::new("InvalidParameterException", message)) }
}

/// Stored and returned without effect: the service encrypts with such a key, here lines are as safe as the disk.
fn set_kms_key(registry: &Registry, request: &Request<'_>, kms_key: Option<String>) -> Result<Reply, ApiError> {
    let group = match request.text("resourceIdentifier") {
        Some(identifier) if request.get("logGroupName").is_none() => {
            request.check()?;
            group_of(registry, identifier)?
        }
        _ => named(registry, request)?,
    };
    kms_key.as_deref().map_or(Ok(()), check_kms_key)?;
    let group = LogGroup { kms_key, ..group.clone() };
    Ok(Reply::with(json!({}), vec![Change::Put(Resource::LogGroup(group))]))
}

fn put_retention(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let mut group = named(registry, request)?.clone();
    let days = request.number("retentionInDays", 1, 36_500).unwrap_or_default();
    request.check()?;
    let days = u32::try_from(days).expect("bounded");
    if !LogGroup::RETENTION_DAYS.contains(&days) {
        let all = LogGroup::RETENTION_DAYS;
        return Err(invalid(format!("retentionInDays is one of {all:?}, not {days}")));
    }
    group.retention_days = Some(days);
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

fn put_policy(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let (name, document) = (request.required("policyName"), request.required("policyDocument"));
    request.check_length("policyName", name, 1, 255);
    request.check_length("policyDocument", document, 1, POLICY_CHARS_MAX);
    request.check()?;
    if serde_json::from_str::<Value>(document).is_err() {
        return Err(invalid("The specified policy document is not valid: it must be JSON."));
    }
    if !registry.log_policies.contains_key(name) && registry.log_policies.size() >= LOG_POLICIES_MAX {
        return Err(ApiError::new("LimitExceededException", "Resource limit exceeded."));
    }
    let policy = LogPolicy { name: name.into(), document: document.into(), modified_at: call.now };
    let answer = json!({ "resourcePolicy": policy_json(&policy) });
    Ok(Reply::with(answer, vec![Change::Put(Resource::LogPolicy(policy))]))
}

fn policy_json(policy: &LogPolicy) -> Value {
    json!({
        "policyName": policy.name,
        "policyDocument": policy.document,
        "lastUpdatedTime": policy.modified_at.0 / 1_000_000,
    })
}

fn describe_policies(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let limit = request.number("limit", 1, 1_000).unwrap_or(50);
    let after = request.text("nextToken");
    request.check()?;
    let behind = |policy: &&LogPolicy| after.is_none_or(|after| policy.name.as_str() > after);
    let mut policies = registry.log_policies.values().filter(behind);
    let shown: Vec<&LogPolicy> = policies.by_ref().take(usize::try_from(limit).unwrap_or(usize::MAX)).collect();
    let next = policies.next().and(shown.last()).map(|policy| Value::from(policy.name.as_str()));
    let shown: Vec<Value> = shown.into_iter().map(policy_json).collect();
    Ok(Reply::of(object([("resourcePolicies", Some(shown.into())), ("nextToken", next)])))
}

fn delete_policy(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.required("policyName");
    request.check()?;
    if !registry.log_policies.contains_key(name) {
        return Err(ApiError::missing(format!("Policy with name [{name}] does not exist")));
    }
    Ok(Reply::with(json!({}), vec![Change::Delete(format!("log-policy/{name}"))]))
}
