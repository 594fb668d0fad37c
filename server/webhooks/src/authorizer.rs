//! Asks authorizers who may connect. The edge queues a question for each handshake; it is sent to the API destination
//! that the settings name, as a JSON object:
//!
//! ```json
//! {"connection_id": "68f3…", "endpoint": "ws", "player": "ash", "source_ip": "127.0.0.1",
//!  "headers": {"user-agent": "…"}, "query": {"player": "ash"}}
//! ```
//!
//! | the authorizer answers | the client gets |
//! |---|---|
//! | 2xx `{"allow": true, "player"?: "…", "context"?: {…}}` | its connection, with that name and context |
//! | 2xx `{"allow": false}`, 401, 403 | 403 |
//! | anything else, or nothing in time | 503, `Retry-After` |
//!
//! The two formats of API Gateway's Lambda authorizers are accepted too: `{"isAuthorized": true, "context"?: {…}}`,
//! and `{"principalId": "…", "policyDocument": {"Statement": [{"Action": "execute-api:Invoke", "Effect": "Allow",
//! …}]}, "context"?: {…}}`, where an `Allow` is needed and one `Deny` is enough, whatever the resources: there is
//! one, this handshake. The context gets the `principalId`.
//!
//! With a time to live, decisions (not failures) are cached for `ttl`: by token, or in open mode by name; a request
//! with neither is not cached.

use crate::delivery::{self, Webhooks};
use axum::extract::Query;
use axum::http::{StatusCode, Uri};
use fakemon_delivery::FailureCode;
use fakemon_edge::{ConnectionCommand, Connections, Question, Questions, To, Verdict};
use fakemon_model::event::PlayerName;
use fakemon_pattern::{raw, typed};
use parking_lot::{Mutex, MutexGuard};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Decisions in the cache, at most.
const REMEMBERED_MAX: usize = 10_000;
/// The longest context, in bytes of JSON: every event of the connection carries it.
const CONTEXT_BYTES_MAX: usize = 4_096;
/// Shortest interval of warnings about an authorizer that fails.
const WARN_EVERY: Duration = Duration::from_secs(1);

/// Settings of authorizers.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizerOptions {
    /// How long an authorizer may take to answer.
    pub timeout: Duration,
    /// How long a decision is cached; none: the authorizer is asked for each handshake.
    pub ttl: Option<Duration>,
}

/// State shared by all questions.
struct Authorizer {
    options: AuthorizerOptions,
    connections: Connections,
    hooks: Arc<Webhooks>,
    remembered: Mutex<HashMap<String, (Verdict, Instant)>>,
    warned: Mutex<Option<Instant>>,
}

/// Answers questions until the runtime ends.
pub async fn run(questions: Questions, connections: Connections, options: AuthorizerOptions, hooks: Arc<Webhooks>) {
    let bell = Arc::new(Notify::new());
    let rung = Arc::clone(&bell);
    questions.on_question(move || rung.notify_one());
    let (remembered, warned) = Default::default();
    let authorizer = Arc::new(Authorizer { options, connections, hooks, remembered, warned });
    loop {
        while let Some(question) = questions.next() {
            tokio::spawn(Arc::clone(&authorizer).answer(question));
        }
        bell.notified().await;
    }
}

impl Authorizer {
    async fn answer(self: Arc<Self>, question: Question) {
        let key = self.options.ttl.and_then(|_| key(&question));
        let remembered = key.as_ref().and_then(|key| self.remembered(key));
        let verdict = match remembered {
            Some(verdict) => verdict,
            None => self.ask(&question, key).await,
        };
        let to = To::Connection(question.connection_id);
        // The question holds its place until the edge has the verdict.
        self.connections.send(to, ConnectionCommand::Admit(verdict), move |_| drop(question));
    }

    async fn ask(&self, question: &Question, key: Option<String>) -> Verdict {
        let body = body(question).to_string();
        let asked = delivery::ask(&self.hooks, &question.authorizer, &body, self.options.timeout);
        let verdict = match asked.await {
            Ok((status, answer)) => verdict(status, &answer),
            Err(failed) if failed.code == FailureCode::NoResource => {
                self.warn(&question.authorizer, &format!("{}: make it, or change [connections]", failed.message));
                return Verdict::Missing;
            }
            Err(failed) => Err(failed.message),
        };
        match verdict {
            Ok(verdict) => {
                self.remember(key, &verdict);
                verdict
            }
            Err(why) => {
                self.warn(&question.authorizer, &why);
                Verdict::Undecided
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, (Verdict, Instant)>> {
        self.remembered.lock()
    }

    fn remembered(&self, key: &str) -> Option<Verdict> {
        let held = self.held();
        held.get(key).filter(|(_, until)| *until > Instant::now()).map(|(verdict, _)| verdict.clone())
    }

    fn remember(&self, key: Option<String>, verdict: &Verdict) {
        let Some((key, ttl)) = key.zip(self.options.ttl) else { return };
        let (mut held, now) = (self.held(), Instant::now());
        if held.len() >= REMEMBERED_MAX {
            held.retain(|_, (_, until)| *until > now);
        }
        if held.len() < REMEMBERED_MAX {
            held.insert(key, (verdict.clone(), now + ttl));
        }
    }

    fn warn(&self, authorizer: &str, why: &str) {
        let mut warned = self.warned.lock();
        if warned.is_none_or(|warned| warned.elapsed() > WARN_EVERY) {
            *warned = Some(Instant::now());
            tracing::warn!(authorizer, "nobody is let in: {why}");
        }
    }
}

/// The cache key of a decision: endpoint, authorizer, and the token or the name.
fn key(question: &Question) -> Option<String> {
    let header = question.headers.iter().find(|(name, _)| name == "authorization").map(|(_, value)| value.clone());
    let token = header.or_else(|| query(question).remove("token"));
    let name = question.player.as_ref().map(|player| player.as_str().to_owned());
    let who = token.map(|token| format!("token {token}")).or_else(|| name.map(|name| format!("name {name}")))?;
    Some(format!("{} {} {who}", question.endpoint.name(), question.authorizer))
}

fn body(question: &Question) -> Value {
    let mut headers = Map::new();
    for (name, value) in &question.headers {
        match headers.get_mut(name) {
            Some(Value::String(held)) => held.extend([", ", value]),
            _ => drop(headers.insert(name.clone(), value.as_str().into())),
        }
    }
    json!({
        "connection_id": question.connection_id.to_string(),
        "endpoint": question.endpoint.name(),
        "player": question.player.as_ref().map(|player| player.as_str()),
        "source_ip": question.source_ip.map(|ip| ip.to_string()),
        "headers": headers,
        "query": query(question),
    })
}

fn query(question: &Question) -> HashMap<String, String> {
    let uri = format!("/?{}", question.query).parse::<Uri>().unwrap_or_default();
    Query::<Vec<(String, String)>>::try_from_uri(&uri)
        .map(|Query(pairs)| pairs.into_iter().collect())
        .unwrap_or_default()
}

/// An authorizer's answer, in one of three formats.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    allow: Option<bool>,
    is_authorized: Option<bool>,
    policy_document: Option<Policy>,
    principal_id: Option<String>,
    player: Option<String>,
    #[serde(borrow)]
    context: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Policy {
    statement: OneOrMore<Statement>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    effect: Effect,
    action: OneOrMore<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
enum Effect {
    Allow,
    Deny,
}

/// A list as policies write it: a single element may stand without brackets.
struct OneOrMore<T>(Vec<T>);

impl<T> OneOrMore<T> {
    fn all(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<OneOrMore<T>, D::Error> {
        let elements = match Value::deserialize(from)? {
            Value::Array(elements) => elements,
            one => vec![one],
        };
        let read: Result<Vec<T>, _> = elements.into_iter().map(typed::from_value).collect();
        read.map(OneOrMore).map_err(D::Error::custom)
    }
}

impl Policy {
    /// Whether the handshake is allowed: an explicit deny overrides any allow.
    fn allows(&self) -> bool {
        let is_invoke = |action: &String| {
            ["*", "execute-api:*", "execute-api:invoke"].contains(&action.to_ascii_lowercase().as_str())
        };
        let about_us = self.statement.all().iter().filter(|statement| statement.action.all().iter().any(is_invoke));
        let effects: Vec<Effect> = about_us.map(|statement| statement.effect).collect();
        effects.contains(&Effect::Allow) && !effects.contains(&Effect::Deny)
    }
}

impl Answer<'_> {
    /// The decision; or why the answer has none.
    fn decision(&self) -> Result<bool, String> {
        let said = [self.allow, self.is_authorized, self.policy_document.as_ref().map(Policy::allows)];
        match said.into_iter().flatten().collect::<Vec<_>>()[..] {
            [said] => Ok(said),
            [] => Err("its answer has no `allow`, no `isAuthorized` and no `policyDocument`".into()),
            _ => Err("its answer says more than one of `allow`, `isAuthorized` and `policyDocument`".into()),
        }
    }
}

/// Parses an answer; or why it is invalid.
fn verdict(status: StatusCode, answer: &[u8]) -> Result<Verdict, String> {
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Ok(Verdict::Deny);
    }
    if !status.is_success() {
        return Err(format!("it answered {status}"));
    }
    if !answer.trim_ascii_start().starts_with(b"{") {
        return Err("its answer is no JSON object".into());
    }
    let answer: Answer<'_> =
        typed::from_slice(answer).map_err(|error| format!("its answer makes no sense: {error}"))?;
    if !answer.decision()? {
        return Ok(Verdict::Deny);
    }
    let context = context(&answer)?;
    let player =
        answer.player.map(|player| PlayerName::new(&player)).transpose().map_err(|error| error.to_string())?;
    if context.as_ref().is_some_and(|context| context.len() > CONTEXT_BYTES_MAX) {
        return Err(format!("its context has more than {CONTEXT_BYTES_MAX} bytes"));
    }
    Ok(Verdict::Allow { player, context: context.map(Into::into) })
}

/// The context, as it was written, with the principal added; every event of the connection carries it.
fn context(answer: &Answer<'_>) -> Result<Option<String>, String> {
    let given = answer.context.map(|context| {
        raw::check_member(context.get()).map_err(|error| format!("its context makes no sense: {error}"))?;
        raw::members(context).ok_or_else(|| "its context is no object".to_owned())
    });
    let given = given.transpose()?;
    if given.is_none() && answer.principal_id.is_none() {
        return Ok(None);
    }
    let principal = answer.principal_id.as_ref().map(|principal| Value::from(principal.as_str()).to_string());
    let given = given.unwrap_or_default();
    let given = given.iter().filter(|(name, _)| principal.is_none() || name != "principalId");
    let given: Vec<(&str, String)> = given.map(|(name, value)| (name.as_str(), raw::compact(value.get()))).collect();
    let given = given.iter().map(|(name, value)| (*name, value.as_str()));
    Ok(Some(raw::object(given.chain(principal.as_deref().map(|principal| ("principalId", principal))))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_lets_in() {
        let of = |status: u16, answer: &str| verdict(StatusCode::from_u16(status).unwrap(), answer.as_bytes());
        let player = Some(PlayerName::new("ash").unwrap());
        let context = Some(r#"{"role":"guest"}"#.into());
        let said = of(201, r#"{"allow":true,"player":"ash","context":{"role":"guest"}}"#);
        assert_eq!(said, Ok(Verdict::Allow { player, context }));
        assert_eq!(of(200, r#"{"allow":true,"more":1}"#), Ok(Verdict::Allow { player: None, context: None }));
        for (status, answer) in [(200, r#"{"allow":false}"#), (401, ""), (403, "{\"allow\":true}")] {
            assert_eq!(of(status, answer), Ok(Verdict::Deny), "{status}");
        }
        // In the format of API Gateway's Lambda authorizers.
        let context = Some(r#"{"role":"guest"}"#.into());
        let said = of(200, r#"{"isAuthorized":true,"context":{"role":"guest"}}"#);
        assert_eq!(said, Ok(Verdict::Allow { player: None, context }));
        assert_eq!(of(200, r#"{"isAuthorized":false}"#), Ok(Verdict::Deny));
        let policy = |statements: &str| {
            of(
                200,
                &format!(
                    r#"{{"principalId":"me","policyDocument":{{"Version":"2012-10-17","Statement":{statements}}}}}"#
                ),
            )
        };
        let allow = r#"{"Action":"execute-api:Invoke","Effect":"Allow","Resource":"*"}"#;
        let deny = r#"{"Action":["execute-api:*"],"Effect":"Deny","Resource":"*"}"#;
        let context = Some(r#"{"principalId":"me"}"#.into());
        assert_eq!(policy(&format!("[{allow}]")), Ok(Verdict::Allow { player: None, context }));
        let elsewhere = r#"{"Action":"s3:GetObject","Effect":"Allow","Resource":"*"}"#;
        for statements in [format!("[{allow},{deny}]"), deny.into(), "[]".into(), elsewhere.into()] {
            assert_eq!(policy(&statements), Ok(Verdict::Deny), "{statements}");
        }
        let long = format!(r#"{{"allow":true,"context":{{"x":"{}"}}}}"#, "x".repeat(CONTEXT_BYTES_MAX));
        for (status, answer) in [
            (200, ""),
            (200, "{}"),
            (200, "true"),
            (200, "[true,null,null]"),
            (200, r#"{"allow":"true"}"#),
            (200, r#"{"allow":1}"#),
            (200, r#"{"allow":true,"isAuthorized":true}"#),
            (200, r#"{"isAuthorized":"true"}"#),
            (200, r#"{"policyDocument":{}}"#),
            (200, r#"{"policyDocument":{"Statement":[{"Effect":"Perhaps","Action":"*"}]}}"#),
            (200, r#"{"allow":true,"player":""}"#),
            (200, r#"{"allow":true,"context":7}"#),
            (200, &long),
            (302, r#"{"allow":true}"#),
            (404, r#"{"allow":true}"#),
            (500, r#"{"allow":true}"#),
        ] {
            assert!(of(status, answer).is_err(), "{status} {answer:.40}");
        }
    }
}
