//! `AddPermission` and `RemovePermission`: statements of a queue's policy by their label. Policies are stored and
//! returned, without effect; access keys alone decide who may call.

use crate::asked::{filled, invalid, invalid_value, missing, names};
use crate::{arn, named};
use fakemon_aws::request::Request;
use fakemon_aws::{ApiError, Call, Reply};
use fakemon_resource::Registry;
use fakemon_resource::resource::{Change, Resource};
use serde_json::{Value, json};

/// Actions of one statement.
const ACTIONS_MAX: usize = 7;
/// Actions that a statement may allow.
const ACTIONS: [&str; 9] = [
    "*",
    "ChangeMessageVisibility",
    "DeleteMessage",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ListDeadLetterSourceQueues",
    "PurgeQueue",
    "ReceiveMessage",
    "SendMessage",
];

pub(crate) fn add(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let mut queue = named(registry, request)?.clone();
    let label = filled(request, "Label")?;
    let (actions, accounts) = (names(request, "Actions"), names(request, "AWSAccountIds"));
    check(&actions, &accounts)?;
    let arn = arn(call, &queue.name);
    let mut policy = policy(&queue).unwrap_or_else(
        || json!({ "Version": "2012-10-17", "Id": format!("{arn}/SQSDefaultPolicy"), "Statement": [] }),
    );
    let statements = policy["Statement"].as_array_mut().ok_or_else(|| invalid("The policy has no statements."))?;
    if statements.iter().any(|statement| statement["Sid"] == label) {
        return Err(invalid_value("Label", label, "Already exists."));
    }
    statements.push(json!({
        "Sid": label,
        "Effect": "Allow",
        "Principal": { "AWS": one_or_all(accounts.iter().map(|account| format!("arn:aws:iam::{account}:root"))) },
        "Action": one_or_all(actions.iter().map(|action| format!("SQS:{action}"))),
        "Resource": arn,
    }));
    queue.attributes.insert("Policy".into(), policy.to_string());
    queue.modified_at = call.now;
    Ok(Reply::with(Value::Null, vec![Change::Put(Resource::Queue(queue))]))
}

pub(crate) fn remove(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let mut queue = named(registry, request)?.clone();
    let label = filled(request, "Label")?;
    let unknown = || invalid_value("Label", label, "can't find label on existing policy.");
    let mut policy = policy(&queue).ok_or_else(unknown)?;
    let statements = policy["Statement"].as_array_mut().ok_or_else(unknown)?;
    let before = statements.len();
    statements.retain(|statement| statement["Sid"] != label);
    match statements.len() {
        after if after == before => return Err(unknown()),
        0 => drop(queue.attributes.remove("Policy")),
        _ => drop(queue.attributes.insert("Policy".into(), policy.to_string())),
    }
    queue.modified_at = call.now;
    Ok(Reply::with(Value::Null, vec![Change::Put(Resource::Queue(queue))]))
}

fn policy(queue: &fakemon_resource::resource::Queue) -> Option<Value> {
    serde_json::from_str(queue.attributes.get("Policy").filter(|policy| !policy.is_empty())?).ok()
}

fn check(actions: &[&str], accounts: &[&str]) -> Result<(), ApiError> {
    if actions.is_empty() {
        return Err(missing("Actions"));
    }
    if actions.len() > ACTIONS_MAX {
        let message = format!("{} Actions were found, maximum allowed is {ACTIONS_MAX}.", actions.len());
        return Err(ApiError::new("OverLimit", message));
    }
    let is_account = |account: &str| account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    if accounts.is_empty() || !accounts.iter().all(|account| is_account(account)) {
        return Err(invalid_value("PrincipalId", &format!("[{}]", accounts.join(", ")), "Unable to verify."));
    }
    match actions.iter().find(|action| !ACTIONS.contains(action)) {
        Some(action) => {
            let reason = "Only the queue owner is allowed to invoke this action.";
            Err(invalid_value("ActionName", &format!("SQS:{action}"), reason))
        }
        None => Ok(()),
    }
}

/// One text, or a list of several.
fn one_or_all(texts: impl Iterator<Item = String>) -> Value {
    let mut all: Vec<Value> = texts.map(Value::from).collect();
    if all.len() == 1 { all.remove(0) } else { all.into() }
}
