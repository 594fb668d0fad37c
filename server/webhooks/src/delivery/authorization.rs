//! What a connection adds to requests: basic credentials, an API key, or a token that was fetched with client
//! credentials (RFC 6749, 4.4) and is kept until shortly before its expiry; and the parameters of every request.
//!
//! An API key with the name `webhook-signature`, whose value is one or more secrets of Standard Webhooks (`whsec_…`,
//! separated by spaces), is not sent: requests are signed with it.

use super::Webhooks;
use super::connection::{Outgoing, exchange};
use axum::body::Bytes;
use axum::http::{Request, Uri, header};
use base64::Engine as _;
use fakemon_delivery::{Failed, FailureCode};
use fakemon_engine::Engine;
use fakemon_http::standard_webhooks::{self, Signer};
use fakemon_resource::resource::Connection;
use http_body_util::Full;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long before its expiry a token is replaced.
const MARGIN: Duration = Duration::from_secs(30);
/// Lifetime of a token without an expiry.
const LIFETIME: Duration = Duration::from_secs(3_600);

/// Headers, query parameters and body members that a connection adds. No `Debug`: they are secrets.
#[derive(Clone, Default)]
pub(super) struct Additions {
    pub headers: Vec<(String, String)>,
    pub query: Vec<(String, String)>,
    pub body: Vec<(String, String)>,
    /// Whether a token is among them, so that a new one may help.
    pub(super) is_token: bool,
    /// Keys that sign requests, as Standard Webhooks.
    pub(super) signers: Vec<Signer>,
}

/// Tokens by connection. Each has its own lock: one fetch at a time, and an endpoint that hangs delays no other.
#[derive(Default)]
pub(super) struct Authorizations(parking_lot::Mutex<HashMap<String, Arc<Mutex<Option<Token>>>>>);

struct Token {
    of: fakemon_model::ids::Timestamp,
    value: String,
    good_until: Instant,
}

fn refused(what: String) -> Failed {
    Failed::for_now(FailureCode::NoPermissions, what)
}

impl Authorizations {
    /// What a connection adds; `fresh` asks for a new token.
    pub(crate) async fn of(
        &self,
        engine: &Engine,
        connection: &Connection,
        hooks: &Webhooks,
        fresh: bool,
    ) -> Result<Additions, Failed> {
        let secret = engine.secrets().get(&connection.name).map_err(|error| refused(error.to_string()))?;
        let secret: Value = secret.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let text = |path: &str| secret.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut additions = Additions::default();
        match connection.authorization_type.as_str() {
            "BASIC" => {
                let pair =
                    format!("{}:{}", text("/BasicAuthParameters/Username"), text("/BasicAuthParameters/Password"));
                let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
                additions.headers.push(("authorization".into(), format!("Basic {encoded}")));
            }
            "API_KEY" => {
                let name = text("/ApiKeyAuthParameters/ApiKeyName");
                let value = text("/ApiKeyAuthParameters/ApiKeyValue");
                match name.eq_ignore_ascii_case(standard_webhooks::SIGNATURE) {
                    true => additions.signers = signers(&value)?,
                    false => additions.headers.push((name, value)),
                }
            }
            _ => {
                let token = self.token(connection, &secret["OAuthParameters"], hooks, fresh).await?;
                additions.headers.push(("authorization".into(), format!("Bearer {token}")));
                additions.is_token = true;
            }
        }
        add(&secret["InvocationHttpParameters"], &mut additions);
        Ok(additions)
    }

    async fn token(
        &self,
        connection: &Connection,
        parameters: &Value,
        hooks: &Webhooks,
        fresh: bool,
    ) -> Result<String, Failed> {
        let held = {
            let mut tokens = self.0.lock();
            tokens.entry(connection.name.clone()).or_default().clone()
        };
        let mut held = held.lock().await;
        let now = Instant::now();
        let good = |token: &&Token| token.of == connection.authorized_at && token.good_until > now && !fresh;
        if let Some(token) = held.as_ref().filter(good) {
            return Ok(token.value.clone());
        }
        let (value, lifetime) = fetch(parameters, hooks).await?;
        let good_until = now + lifetime.saturating_sub(MARGIN);
        *held = Some(Token { of: connection.authorized_at, value: value.clone(), good_until });
        Ok(value)
    }
}

/// Parses the signing secrets. An invalid one is an error: it must not be sent as a plain header.
fn signers(secrets: &str) -> Result<Vec<Signer>, Failed> {
    let signers: Option<Vec<Signer>> = secrets.split_ascii_whitespace().map(Signer::new).collect();
    signers.filter(|signers| !signers.is_empty()).ok_or_else(|| {
        refused("the value of the API key webhook-signature must be secrets as in whsec_BASE64".into())
    })
}

/// Parameters of requests: lists of `Key`, `Value`.
fn add(parameters: &Value, additions: &mut Additions) {
    let pairs = |name: &str| -> Vec<(String, String)> {
        let pair = |one: &Value| Some((one["Key"].as_str()?.to_owned(), one["Value"].as_str()?.to_owned()));
        parameters[name].as_array().into_iter().flatten().filter_map(pair).collect()
    };
    additions.headers.extend(pairs("HeaderParameters"));
    additions.query.extend(pairs("QueryStringParameters"));
    additions.body.extend(pairs("BodyParameters"));
}

async fn fetch(parameters: &Value, hooks: &Webhooks) -> Result<(String, Duration), Failed> {
    let text = |path: &str| parameters.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let endpoint = text("/AuthorizationEndpoint");
    let mut additions = Additions::default();
    add(&parameters["OAuthHttpParameters"], &mut additions);
    let ours = [
        ("grant_type", "client_credentials"),
        ("client_id", text("/ClientParameters/ClientID")),
        ("client_secret", text("/ClientParameters/ClientSecret")),
    ];
    // Each parameter once, the connection's instead of ours: a server rejects a request with a duplicate (RFC 6749,
    // 3.2).
    let is_theirs = |name: &str| additions.body.iter().any(|(theirs, _)| theirs == name);
    let ours = ours.into_iter().filter(|(name, _)| !is_theirs(name));
    let mut form: Vec<(String, String)> = ours.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    form.extend(additions.body);
    let endpoint = super::request::with_query(&super::request::absolute(endpoint), &additions.query);
    let uri: Uri = endpoint.parse().map_err(|error| refused(format!("the authorization endpoint: {error}")))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let mut request =
        Request::builder().method(text("/HttpMethod")).uri(path).header(header::HOST, super::connection::host(&uri));
    let mut headers = vec![
        ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()),
        ("accept".to_owned(), "application/json".to_owned()),
    ];
    headers.retain(|(ours, _)| !additions.headers.iter().any(|(theirs, _)| theirs.eq_ignore_ascii_case(ours)));
    headers.extend(additions.headers.into_iter().filter(|(name, _)| !super::request::is_removed(name)));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let body = super::request::form(&form);
    let request = request.body(Full::new(Bytes::from(body)));
    let request = request.map_err(|error| refused(format!("the authorization request: {error}")))?;
    let answered = exchange(hooks, &mut None, Outgoing { uri, request }).await?;
    let status = answered.status;
    if !status.is_success() {
        return Err(refused(format!("the authorization endpoint answered {status}")));
    }
    let answer: Value = serde_json::from_slice(&answered.body).unwrap_or_default();
    let token =
        answer["access_token"].as_str().ok_or_else(|| refused("the authorization endpoint gave no token".into()))?;
    let lifetime = answer["expires_in"].as_u64().map_or(LIFETIME, Duration::from_secs);
    Ok((token.to_owned(), lifetime.min(Duration::from_secs(86_400))))
}
