//! Connections and API destinations. Secrets are stored apart, and no answer contains them.

use crate::http_parameters;
use fakemon_access::authority::has_user_info;
use fakemon_aws::request::{NAME, Request, arn, object, paged};
use fakemon_aws::{ApiError, Call, Operation, Reply, seconds, uuid};
use fakemon_model::envelope::ACCOUNT;
use fakemon_model::ids::mix;
use fakemon_resource::Registry;
use fakemon_resource::resource::{AUTHORIZING, ApiDestination, Change, Connection, Resource};
use serde_json::{Value, json};

/// Invocations a second that an API destination may ask for. AWS grants more than 300 on request.
const RATE_LIMIT_MAX: u64 = 1_000_000;
/// The default rate of an API destination, per second.
const RATE_LIMIT: u32 = 300;
const TYPES: [&str; 3] = ["BASIC", "OAUTH_CLIENT_CREDENTIALS", "API_KEY"];
const METHODS: [&str; 7] = ["HEAD", "POST", "PATCH", "DELETE", "PUT", "GET", "OPTIONS"];
const STATES: [&str; 8] = [
    "CREATING",
    "UPDATING",
    "DELETING",
    "AUTHORIZED",
    "DEAUTHORIZED",
    "AUTHORIZING",
    "DEAUTHORIZING",
    "FAILED_CONNECTIVITY",
];
const CONNECTION_ARN: &str =
    r"^arn:aws([a-z]|\-)*:events:([a-z]|\d|\-)*:([0-9]{12})?:connection\/[\.\-_A-Za-z0-9]+\/[\-A-Za-z0-9]+$";
/// Members that are never shown, at any depth.
const SECRET: [&str; 3] = ["Password", "ApiKeyValue", "ClientSecret"];

pub(crate) fn operation(name: &str) -> Option<Operation> {
    Some(match name {
        "CreateConnection" => create_connection,
        "UpdateConnection" => update_connection,
        "DeauthorizeConnection" => deauthorize_connection,
        "DeleteConnection" => delete_connection,
        "DescribeConnection" => describe_connection,
        "ListConnections" => list_connections,
        "CreateApiDestination" => create_destination,
        "UpdateApiDestination" => update_destination,
        "DeleteApiDestination" => delete_destination,
        "DescribeApiDestination" => describe_destination,
        "ListApiDestinations" => list_destinations,
        _ => return None,
    })
}

fn connection_arn(call: &Call<'_>, connection: &Connection) -> String {
    arn(call.region, &format!("connection/{}/{}", connection.name, connection.uuid))
}

/// The secret's ARN ends with six characters, as with the service; they and its id are derived from the connection's
/// id, so that they never change.
fn secret_arn(call: &Call<'_>, connection: &Connection) -> String {
    let number = |salt: u64| connection.uuid.bytes().fold(mix(salt), |held, byte| mix(held ^ u64::from(byte)));
    let (high, low, suffix) = (number(1), number(2), number(3));
    let id = format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xFFFF,
        high & 0xFFF,
        0x8000 | low >> 48 & 0x3FFF,
        low & 0xFFFF_FFFF_FFFF
    );
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let suffix: String =
        (0..6).map(|place| char::from(LETTERS[(suffix >> (place * 8) & 0xFF) as usize % 62])).collect();
    format!(
        "arn:aws:secretsmanager:{}:{ACCOUNT}:secret:events!connection/{}/{id}-{suffix}",
        call.region, connection.name
    )
}

fn existing<'r>(registry: &'r Registry, name: &str) -> Result<&'r Connection, ApiError> {
    let missing = || format!("Failed to describe the connection(s). Connection '{name}' does not exist.");
    registry.connections.get(name).ok_or_else(|| ApiError::missing(missing()))
}

/// Parameters as they may be shown.
fn without_secrets(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let secret = members.get("IsValueSecret").and_then(Value::as_bool).unwrap_or_default();
            let shown =
                members.iter().filter(|(name, _)| !(SECRET.contains(&name.as_str()) || secret && *name == "Value"));
            Value::Object(shown.map(|(name, value)| (name.clone(), without_secrets(value))).collect())
        }
        Value::Array(values) => values.iter().map(without_secrets).collect(),
        other => other.clone(),
    }
}

/// The member that holds the parameters of a type of authorization.
fn parameters_of(kind: &str) -> &'static str {
    match kind {
        "BASIC" => "BasicAuthParameters",
        "API_KEY" => "ApiKeyAuthParameters",
        _ => "OAuthParameters",
    }
}

/// Checks that the parameters of a type of authorization are present.
fn check_parameters(kind: &str, parameters: &Value) -> Result<(), ApiError> {
    let needed: &[&str] = match kind {
        "BASIC" => &["/Username", "/Password"],
        "API_KEY" => &["/ApiKeyName", "/ApiKeyValue"],
        _ => {
            &["/AuthorizationEndpoint", "/HttpMethod", "/ClientParameters/ClientID", "/ClientParameters/ClientSecret"]
        }
    };
    let held = &parameters[parameters_of(kind)];
    match needed.iter().find(|path| held.pointer(path).and_then(Value::as_str).is_none()) {
        None => Ok(()),
        Some(path) => Err(ApiError::invalid(format!(
            "Parameter AuthParameters.{}{} is not valid. Reason: it is a required argument for {kind}.",
            parameters_of(kind),
            path.replace('/', ".")
        ))),
    }
}

/// Merges changed parameters into the stored ones: a new password alone keeps the user name.
fn merge(held: Value, given: &Value) -> Value {
    match (held, given) {
        (Value::Object(mut held), Value::Object(given)) => {
            for (name, value) in given {
                let merged = merge(held.remove(name).unwrap_or_default(), value);
                held.insert(name.clone(), merged);
            }
            held.into()
        }
        (_, given) => given.clone(),
    }
}

/// The state of a connection that just got parameters.
fn state_with_parameters(kind: &str) -> String {
    if kind == "OAUTH_CLIENT_CREDENTIALS" { AUTHORIZING.into() } else { "AUTHORIZED".into() }
}

fn create_connection(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("Name", NAME, 64);
    let kind = request.one_of("AuthorizationType", &TYPES).unwrap_or_else(|| request.required("AuthorizationType"));
    let description = request.short("Description", 512);
    if request.get("AuthParameters").is_none() {
        request.required_at("authParameters");
    }
    http_parameters::check_connection(request, request.get("AuthParameters").unwrap_or(&Value::Null));
    check_authorization_endpoint(request);
    request.check()?;
    if registry.connections.contains_key(name) {
        return Err(ApiError::new("ResourceAlreadyExistsException", format!("Connection {name} already exists.")));
    }
    if request.get("InvocationConnectivityParameters").is_some() {
        let message = "Private connections are not supported: there is no VPC here. Private addresses are reached with \
                       the server's setting --allow-private-targets.";
        return Err(ApiError::invalid(message));
    }
    let parameters = request.get("AuthParameters").cloned().unwrap_or_default();
    check_parameters(kind, &parameters)?;
    let connection = Connection {
        name: name.into(),
        uuid: uuid(),
        description,
        authorization_type: kind.into(),
        shown_parameters: without_secrets(&parameters),
        state: state_with_parameters(kind),
        state_reason: None,
        created_at: call.now,
        modified_at: call.now,
        authorized_at: call.now,
    };
    let answer = brief(&connection, call, false);
    let secrets = vec![(name.to_owned(), Some(parameters))];
    Ok(Reply { answer, changes: vec![Change::Put(Resource::Connection(connection))], secrets })
}

fn brief(connection: &Connection, call: &Call<'_>, authorized: bool) -> Value {
    object([
        ("ConnectionArn", Some(connection_arn(call, connection).into())),
        ("ConnectionState", Some(connection.state.clone().into())),
        ("CreationTime", Some(seconds(connection.created_at))),
        ("LastModifiedTime", Some(seconds(connection.modified_at))),
        ("LastAuthorizedTime", authorized.then(|| seconds(connection.authorized_at))),
    ])
}

fn update_connection(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("Name", NAME, 64);
    let kind = request.one_of("AuthorizationType", &TYPES);
    let description = request.short("Description", 512);
    http_parameters::check_connection(request, request.get("AuthParameters").unwrap_or(&Value::Null));
    check_authorization_endpoint(request);
    request.check()?;
    let mut connection = existing(registry, name)?.clone();
    let mut secrets = Vec::new();
    connection.authorization_type = kind.map_or(connection.authorization_type, str::to_owned);
    if kind.is_some() || request.get("AuthParameters").is_some() {
        let mut parameters = (call.secret)(name).unwrap_or_default();
        parameters = merge(parameters, request.get("AuthParameters").unwrap_or(&json!({})));
        let kept = [parameters_of(&connection.authorization_type), "InvocationHttpParameters"];
        parameters.as_object_mut().into_iter().for_each(|held| held.retain(|name, _| kept.contains(&name.as_str())));
        check_parameters(&connection.authorization_type, &parameters)?;
        connection.shown_parameters = without_secrets(&parameters);
        secrets.push((name.to_owned(), Some(parameters)));
        connection.authorized_at = call.now;
        connection.state = state_with_parameters(&connection.authorization_type);
        connection.state_reason = None;
    }
    connection.description = description.or(connection.description);
    connection.modified_at = call.now;
    let answer = brief(&connection, call, true);
    Ok(Reply { answer, changes: vec![Change::Put(Resource::Connection(connection))], secrets })
}

fn deauthorize_connection(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("Name", NAME, 64);
    request.check()?;
    let mut connection = existing(registry, name)?.clone();
    connection.state = "DEAUTHORIZED".into();
    connection.modified_at = call.now;
    let answer = brief(&connection, call, true);
    let secrets = vec![(name.to_owned(), None)];
    Ok(Reply { answer, changes: vec![Change::Put(Resource::Connection(connection))], secrets })
}

fn delete_connection(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("Name", NAME, 64);
    request.check()?;
    let mut connection = existing(registry, name)?.clone();
    connection.state = "DELETING".into();
    let answer = brief(&connection, call, true);
    let changes = vec![Change::Delete(format!("connection/{name}"))];
    Ok(Reply { answer, changes, secrets: vec![(name.to_owned(), None)] })
}

fn describe_connection(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("Name", NAME, 64);
    request.check()?;
    let connection = existing(registry, name)?;
    Ok(Reply::of(object([
        ("ConnectionArn", Some(connection_arn(call, connection).into())),
        ("Name", Some(name.into())),
        ("Description", connection.description.clone().map(Into::into)),
        ("ConnectionState", Some(connection.state.clone().into())),
        ("StateReason", connection.state_reason.clone().map(Into::into)),
        ("AuthorizationType", Some(connection.authorization_type.clone().into())),
        ("SecretArn", Some(secret_arn(call, connection).into())),
        ("AuthParameters", Some(connection.shown_parameters.clone())),
        ("CreationTime", Some(seconds(connection.created_at))),
        ("LastModifiedTime", Some(seconds(connection.modified_at))),
        ("LastAuthorizedTime", Some(seconds(connection.authorized_at))),
    ])))
}

fn list_connections(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let prefix = request.text("NamePrefix").unwrap_or_default();
    let state = request.one_of("ConnectionState", &STATES);
    let wanted = |connection: &&Connection| {
        connection.name.starts_with(prefix) && state.is_none_or(|state| connection.state == state)
    };
    let shown = |connection: &Connection| {
        object([
            ("ConnectionArn", Some(connection_arn(call, connection).into())),
            ("Name", Some(connection.name.clone().into())),
            ("ConnectionState", Some(connection.state.clone().into())),
            ("AuthorizationType", Some(connection.authorization_type.clone().into())),
            ("CreationTime", Some(seconds(connection.created_at))),
            ("LastModifiedTime", Some(seconds(connection.modified_at))),
            ("LastAuthorizedTime", Some(seconds(connection.authorized_at))),
        ])
    };
    let shown = |connection: &Connection| (connection.name.clone(), shown(connection));
    let (page, next) = request.page("Connections", registry.connections.values().filter(wanted).map(shown))?;
    Ok(Reply::of(paged("Connections", page, next)))
}

fn destination_arn(call: &Call<'_>, destination: &ApiDestination) -> String {
    arn(call.region, &format!("api-destination/{}/{}", destination.name, destination.uuid))
}

fn existing_destination<'r>(registry: &'r Registry, name: &str) -> Result<&'r ApiDestination, ApiError> {
    let missing =
        || format!("Failed to describe the api-destination(s). An api-destination '{name}' does not exist.");
    registry.destinations.get(name).ok_or_else(|| ApiError::missing(missing()))
}

/// The name in a connection's ARN; any other ARN is noted as an error.
fn connection_of(request: &Request<'_>, arn: &str) -> String {
    let name = connection_name(arn);
    if name.is_none() && !arn.is_empty() {
        request.found(format!(
            "Value '{arn}' at 'connectionArn' failed to satisfy constraint: Member must satisfy regular expression \
             pattern: {CONNECTION_ARN}"
        ));
    }
    name.unwrap_or_default().to_owned()
}

fn connection_name(arn: &str) -> Option<&str> {
    let parts: Vec<&str> = arn.split(':').collect();
    let &["arn", partition, "events", _, account, resource] = parts.as_slice() else { return None };
    let (name, uuid) = resource.strip_prefix("connection/")?.split_once('/')?;
    let of = |text: &str, others: &[u8]| text.bytes().all(|b| b.is_ascii_alphanumeric() || others.contains(&b));
    let account = account.is_empty() || account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    let sound = partition.starts_with("aws") && account && of(name, b".-_") && of(uuid, b"-");
    (sound && !name.is_empty() && !uuid.is_empty()).then_some(name)
}

/// As the service does: an endpoint may leave out its scheme, and is reached over TLS then. `at` is its member.
fn check_endpoint(request: &Request<'_>, at: &str, endpoint: &str) {
    let wrong = |shown: &str, what: &str| {
        request.found(format!("Value{shown} at '{at}' failed to satisfy constraint: {what}"));
    };
    let quoted = format!(" '{endpoint}'");
    if has_user_info(endpoint) {
        // It is not repeated: it may be a secret.
        return wrong("", "Member must not hold a user or a password: a connection with BASIC authorization does");
    }
    if !is_endpoint(endpoint) {
        let pattern = r"^((%[0-9A-Fa-f]{2}|[-()_.!~*';/?:@\x26=+$,A-Za-z0-9])+)([).!';/?:,])?$";
        wrong(&quoted, &format!("Member must satisfy regular expression pattern: {pattern}"));
    } else if !has_host(endpoint) {
        let what = "Member must be the address of a host, as in https://example.com/path or http://example.com/path";
        wrong(&quoted, what);
    }
    request.check_length(at, endpoint, 1, ENDPOINT_CHARS_MAX);
}

/// Where a connection asks for tokens.
fn check_authorization_endpoint(request: &Request<'_>) {
    let parameters = request.get("AuthParameters").and_then(|parameters| parameters.get("OAuthParameters"));
    let endpoint = parameters.and_then(|parameters| parameters["AuthorizationEndpoint"].as_str());
    if let Some(endpoint) = endpoint {
        check_endpoint(request, "authParameters.oAuthParameters.authorizationEndpoint", endpoint);
    }
}

const ENDPOINT_CHARS_MAX: usize = 2_048;

/// Only the characters that the service allows, and the brackets of IPv6 addresses.
fn is_endpoint(endpoint: &str) -> bool {
    let bytes = endpoint.as_bytes();
    let is_escape =
        |at: usize| bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    let fits = |(at, byte): (usize, &u8)| match byte {
        b'%' => is_escape(at),
        byte => byte.is_ascii_alphanumeric() || b"-()_.!~*';/?:@&=+$,[]".contains(byte),
    };
    !bytes.is_empty() && bytes.iter().enumerate().all(fits)
}

/// Whether it is an HTTP URL with a host.
fn has_host(endpoint: &str) -> bool {
    let rest = match endpoint.split_once("://") {
        Some(("https" | "http", rest)) => rest,
        Some(_) => return false,
        None => endpoint,
    };
    !rest.is_empty() && !rest.starts_with(['/', '?', ':'])
}

fn create_destination(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("Name", NAME, 64);
    let connection_arn = request.required("ConnectionArn");
    let connection = connection_of(request, connection_arn);
    let endpoint = request.required("InvocationEndpoint");
    check_endpoint(request, "invocationEndpoint", endpoint);
    let method = request.one_of("HttpMethod", &METHODS).unwrap_or_else(|| request.required("HttpMethod"));
    let rate = request.number("InvocationRateLimitPerSecond", 1, RATE_LIMIT_MAX);
    let description = request.short("Description", 512);
    request.check()?;
    if registry.destinations.contains_key(name) {
        return Err(ApiError::new(
            "ResourceAlreadyExistsException",
            format!("An api-destination '{name}' already exists."),
        ));
    }
    existing(registry, &connection)?;
    let destination = ApiDestination {
        name: name.into(),
        uuid: uuid(),
        description,
        connection,
        connection_arn: connection_arn.into(),
        endpoint: endpoint.into(),
        http_method: method.into(),
        rate_limit_per_second: rate.and_then(|rate| u32::try_from(rate).ok()).unwrap_or(RATE_LIMIT),
        created_at: call.now,
        modified_at: call.now,
    };
    let answer = brief_destination(registry, &destination, call);
    Ok(Reply::with(answer, vec![Change::Put(Resource::Destination(destination))]))
}

fn state_of(registry: &Registry, destination: &ApiDestination) -> &'static str {
    let connection = registry.connections.get(&destination.connection);
    if connection.is_some_and(|connection| connection.state == "AUTHORIZED") { "ACTIVE" } else { "INACTIVE" }
}

fn brief_destination(registry: &Registry, destination: &ApiDestination, call: &Call<'_>) -> Value {
    json!({
        "ApiDestinationArn": destination_arn(call, destination),
        "ApiDestinationState": state_of(registry, destination),
        "CreationTime": seconds(destination.created_at),
        "LastModifiedTime": seconds(destination.modified_at),
    })
}

fn update_destination(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("Name", NAME, 64);
    let connection_arn = request.text("ConnectionArn");
    let connection = connection_arn.map(|arn| connection_of(request, arn));
    let endpoint = request.text("InvocationEndpoint");
    endpoint.into_iter().for_each(|endpoint| check_endpoint(request, "invocationEndpoint", endpoint));
    let method = request.one_of("HttpMethod", &METHODS);
    let rate = request.number("InvocationRateLimitPerSecond", 1, RATE_LIMIT_MAX);
    let description = request.short("Description", 512);
    request.check()?;
    let mut destination = existing_destination(registry, name)?.clone();
    if let Some(connection) = connection {
        existing(registry, &connection)?;
        destination.connection = connection;
    }
    destination.connection_arn = connection_arn.map_or(destination.connection_arn, str::to_owned);
    destination.endpoint = endpoint.map_or(destination.endpoint, str::to_owned);
    destination.http_method = method.map_or(destination.http_method, str::to_owned);
    let rate = rate.and_then(|rate| u32::try_from(rate).ok());
    destination.rate_limit_per_second = rate.unwrap_or(destination.rate_limit_per_second);
    destination.description = description.or(destination.description);
    destination.modified_at = call.now;
    let answer = brief_destination(registry, &destination, call);
    Ok(Reply::with(answer, vec![Change::Put(Resource::Destination(destination))]))
}

fn delete_destination(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("Name", NAME, 64);
    request.check()?;
    existing_destination(registry, name)?;
    Ok(Reply::with(json!({}), vec![Change::Delete(format!("destination/{name}"))]))
}

fn shown_destination(registry: &Registry, destination: &ApiDestination, call: &Call<'_>) -> Value {
    let mut shown = brief_destination(registry, destination, call);
    shown["Name"] = destination.name.clone().into();
    shown["ConnectionArn"] = destination.connection_arn.clone().into();
    shown["InvocationEndpoint"] = destination.endpoint.clone().into();
    shown["HttpMethod"] = destination.http_method.clone().into();
    shown["InvocationRateLimitPerSecond"] = destination.rate_limit_per_second.into();
    shown
}

fn describe_destination(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("Name", NAME, 64);
    request.check()?;
    let destination = existing_destination(registry, name)?;
    let mut shown = shown_destination(registry, destination, call);
    if let Some(description) = &destination.description {
        shown["Description"] = description.clone().into();
    }
    Ok(Reply::of(shown))
}

fn list_destinations(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let prefix = request.text("NamePrefix").unwrap_or_default();
    let connection = request.text("ConnectionArn");
    let wanted = |destination: &&ApiDestination| {
        destination.name.starts_with(prefix) && connection.is_none_or(|arn| destination.connection_arn == arn)
    };
    let shown =
        |destination: &ApiDestination| (destination.name.clone(), shown_destination(registry, destination, call));
    let (page, next) = request.page("ApiDestinations", registry.destinations.values().filter(wanted).map(shown))?;
    Ok(Reply::of(paged("ApiDestinations", page, next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let held = json!({ "BasicAuthParameters": { "Username": "u", "Password": "old" } });
        let merged = merge(held, &json!({ "BasicAuthParameters": { "Password": "new" } }));
        assert_eq!(merged, json!({ "BasicAuthParameters": { "Username": "u", "Password": "new" } }));
    }

    #[test]
    fn secrets_are_not_shown_wherever_they_stand() {
        let given = json!({
            "BasicAuthParameters": { "Username": "u", "Password": "hush" },
            "InvocationHttpParameters": { "HeaderParameters": [
                { "Key": "a", "Value": "hush", "IsValueSecret": true }, { "Key": "b", "Value": "loud" }
            ] },
        });
        let shown = without_secrets(&given).to_string();
        assert!(!shown.contains("hush") && shown.contains("loud") && shown.contains("Username"), "{shown}");
    }
}
