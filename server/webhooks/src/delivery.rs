//! Deliveries over HTTP: to API destinations and answer webhooks. Each lane is a task of its own, so that a target
//! that hangs delays no other lane; in order, unless its rule says otherwise. Lanes of answer webhooks, of which
//! there may be ten thousand, have a task only while events wait for them.
//!
//! - `guard`: which addresses may be reached
//! - `connection`: one HTTP connection, bounded in time and bytes
//! - `authorization`: credentials that a connection adds to requests
//! - `authorizing`: fetches the first token of a connection
//! - `request`: from an event to a request
//! - `event_stream`: parses an answer without end
//! - `errands`: requests of pipes: enrichments, targets, and streams as sources
//! - `asking`: a single request whose answer is awaited

mod guard;
mod connection;
mod authorization;
mod authorizing;
mod request;
mod event_stream;
mod errands;
mod asking;

use crate::answers;
pub use asking::ask;
use authorization::{Additions, Authorizations};
use axum::http::HeaderValue;
use connection::{Answered, Wire};
use fakemon_delivery::{Dispatcher, Failed, FailureCode, Lane, LaneId, Pending, ShapedEvent};
use fakemon_engine::Engine;
use fakemon_engine::wall_clock;
use fakemon_http::{Backend, tasks};
use fakemon_model::ids::Timestamp;
use fakemon_resource::resource::{ApiDestination, Connection, HttpParameters};
use fakemon_resource::{Destination, Registry};
use parking_lot::Mutex;
use request::{Content, Stamp};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Events that are loaded as one batch and delivered one after the other: reading the journal for each alone would
/// slow down a lane that is behind.
const IN_ORDER_MAX: usize = 64;
/// Longest sleep of a task without a wake-up.
const IDLE: Duration = Duration::from_secs(1);

/// Answer webhooks that are delivered to at the same time; the others wait for their turn.
const ANSWERS_AT_ONCE_MAX: usize = 1_024;
/// How long an answer webhook without pending events keeps its connection.
const LINGER: Duration = Duration::from_secs(2);

/// The header of a trace.
const TRACE_HEADER: &str = "X-Amzn-Trace-Id";

/// Destinations whose pace is remembered.
const PACES_MAX: usize = 20_000;

/// State shared by all tasks.
pub struct Webhooks {
    engine: Engine,
    work: Notify,
    authorizations: Authorizations,
    /// When the next request to a destination may be sent.
    paces: Mutex<HashMap<String, Instant>>,
    /// Connections that no lane owns.
    idle: asking::Idle,
    tls: Arc<rustls::ClientConfig>,
    private: bool,
    answers: Semaphore,
    /// Permits for connections: a share of the file descriptors that the process may have.
    outgoing: Arc<Semaphore>,
}

/// Delivers events to API destinations until the runtime ends.
pub async fn run(backend: Arc<Backend>, hooks: Arc<Webhooks>) {
    tasks::kept(&hooks.engine, "authorizations", || false, authorizing::run(backend, hooks.clone()));
    tasks::kept(&hooks.engine, "errands", || false, errands::run(hooks.clone()));
    let woken = Arc::downgrade(&hooks);
    hooks.engine.courier().lanes().on_work(move || {
        if let Some(hooks) = woken.upgrade() {
            hooks.work.notify_waiters();
        }
    });
    let mut carried: HashSet<LaneId> = HashSet::new();
    let mut answering: HashMap<LaneId, Arc<Notify>> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut generation = None;
    loop {
        let changed = hooks.work.notified();
        let lanes = hooks.engine.courier().lanes();
        if generation != Some(lanes.generation()) {
            generation = Some(lanes.generation());
            for lane in lanes.outside() {
                if carried.insert(lane.id().clone()) {
                    tasks.spawn(carry(hooks.clone(), lane));
                }
            }
        }
        for lane in lanes.take_touched() {
            match answering.get(lane.id()) {
                Some(work) => work.notify_one(),
                None => {
                    let work: Arc<Notify> = Arc::default();
                    answering.insert(lane.id().clone(), work.clone());
                    tasks.spawn(carry_answers(hooks.clone(), lane, work));
                }
            }
        }
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(IDLE) => {}
            Some(ended) = tasks.join_next() => match ended {
                Ok(id) if answering.remove(&id).is_some() => lanes.touch_if_waiting(&id),
                Ok(id) => {
                    carried.remove(&id);
                    generation = None;
                }
                // No other task would deliver the events of its lane.
                Err(error) => hooks.engine.fail(format!("a task that delivers ended: {error}")),
            },
        }
    }
}

/// Delivers the events of one lane until its target is deleted.
async fn carry(hooks: Arc<Webhooks>, lane: Arc<Lane>) -> LaneId {
    let courier = hooks.engine.courier().clone();
    let mut wires: Vec<Wire> = Vec::new();
    while !lane.is_closed() && Destination::of(&lane.target().arn).is_outside() {
        let work = hooks.work.notified();
        if !turn(&hooks, &courier, &lane, &mut wires).await {
            let patience = patience(&courier, &lane);
            tokio::select! { () = work => {} () = tokio::time::sleep(patience) => {} }
        }
    }
    lane.id().clone()
}

/// Delivers the pending events of an answer webhook, lingers, and ends.
async fn carry_answers(hooks: Arc<Webhooks>, lane: Arc<Lane>, work: Arc<Notify>) -> LaneId {
    let courier = hooks.engine.courier().clone();
    let mut wires: Vec<Wire> = Vec::new();
    while !lane.is_closed() {
        let place = hooks.answers.acquire().await.expect("the semaphore is never closed");
        let any = turn(&hooks, &courier, &lane, &mut wires).await;
        drop(place);
        if any {
            continue;
        }
        if lane.backlog() > 0 {
            wires.clear(); // its target failed: reconnect
            let patience = patience(&courier, &lane);
            tokio::select! { () = work.notified() => {} () = tokio::time::sleep(patience) => {} }
        } else if hooks.answers.available_permits() == 0
            || tokio::time::timeout(LINGER, work.notified()).await.is_err()
        {
            break;
        }
    }
    lane.id().clone()
}

/// Delivers what is due on a lane; false if nothing was.
async fn turn(hooks: &Arc<Webhooks>, courier: &Dispatcher, lane: &Arc<Lane>, wires: &mut Vec<Wire>) -> bool {
    let taken = courier.take(lane, if lane.parallel() == 1 { IN_ORDER_MAX } else { lane.parallel() });
    let parcels = match taken {
        Ok(parcels) => parcels,
        Err(error) => {
            tracing::error!("what waits for a webhook cannot be read: {error}");
            tokio::time::sleep(IDLE).await;
            return true;
        }
    };
    if parcels.is_empty() {
        return false;
    }
    match courier.open(lane, &parcels) {
        Ok(letters) => tokio::select! {
            () = deliver(hooks, courier, lane, &parcels, letters, wires) => {}
            // A deleted target gets no more events; a request in progress is cut off.
            () = gone(hooks, lane) => lane.done(parcels.iter().map(|parcel| parcel.key)),
        },
        Err(error) => {
            tracing::error!("an event cannot be read: {error}");
            parcels.iter().for_each(|parcel| lane.again(parcel.key, later(courier.now()), None));
        }
    }
    true
}

/// Waits until a lane is closed.
async fn gone(hooks: &Webhooks, lane: &Lane) {
    loop {
        let work = hooks.work.notified();
        if lane.is_closed() {
            return;
        }
        tokio::select! { () = work => {} () = tokio::time::sleep(IDLE) => {} }
    }
}

fn later(now: Timestamp) -> Timestamp {
    now.plus_ns(1_000_000_000)
}

fn patience(courier: &Dispatcher, lane: &Lane) -> Duration {
    let now = courier.now();
    lane.due_at().map_or(IDLE, |due| Duration::from_nanos(due.ns_since(now)).clamp(Duration::from_millis(1), IDLE))
}

/// Sends one request per letter: in order, up to the first that has to be retried; or all together, if the lane is
/// parallel.
async fn deliver(
    hooks: &Arc<Webhooks>,
    courier: &Dispatcher,
    lane: &Arc<Lane>,
    parcels: &[Pending],
    letters: Vec<ShapedEvent>,
    wires: &mut Vec<Wire>,
) {
    if lane.parallel() == 1 {
        let mut letters = letters.iter();
        for letter in letters.by_ref() {
            let mut wire = wires.pop();
            let outcome = attempt(hooks, courier, lane, letter, &mut wire).await;
            wires.extend(wire);
            let comes_again = outcome.as_ref().is_err_and(|failed| failed.retriable);
            settle(courier, lane, parcels, letter, outcome);
            if comes_again {
                break;
            }
        }
        return letters.for_each(|untried| lane.again(untried.key, Timestamp(0), None));
    }
    let mut attempts = JoinSet::new();
    for letter in letters {
        let (hooks, courier, lane, mut wire) = (hooks.clone(), courier.clone(), lane.clone(), wires.pop());
        attempts.spawn(async move {
            let outcome = attempt(&hooks, &courier, &lane, &letter, &mut wire).await;
            (letter, outcome, wire)
        });
    }
    while let Some(done) = attempts.join_next().await {
        match done {
            Ok((letter, outcome, wire)) => {
                settle(courier, lane, parcels, &letter, outcome);
                wires.extend(wire);
            }
            // Its event would stay in flight for ever.
            Err(error) => hooks.engine.fail(format!("an attempt to deliver ended: {error}")),
        }
    }
}

fn settle(courier: &Dispatcher, lane: &Lane, parcels: &[Pending], letter: &ShapedEvent, outcome: Result<(), Failed>) {
    match outcome {
        Ok(()) => courier.delivered(lane, &[letter.key]),
        Err(failed) => {
            let parcel =
                parcels.iter().find(|parcel| parcel.key == letter.key).expect("letters are made from parcels");
            courier.failed(lane, parcel, Some(&letter.event), &failed);
        }
    }
}

async fn attempt(
    hooks: &Webhooks,
    courier: &Dispatcher,
    lane: &Lane,
    letter: &ShapedEvent,
    wire: &mut Option<Wire>,
) -> Result<(), Failed> {
    let target = lane.target();
    let recipient = recipient(&hooks.engine.registry(), &target.arn)?;
    if hooks.pace(&recipient).await {
        lane.figures().throttled.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    courier.started(lane, std::slice::from_ref(letter));
    let stamp = Stamp { id: letter.key.id(), at_s: wall_clock().seconds() };
    let parameters = target.http.as_ref().map(|http| http.for_event(&letter.event));
    let parameters = with_trace(parameters, letter.trace.as_deref());
    let content = Content { parameters: parameters.as_ref(), body: &letter.body, stamp };
    hooks.send(&recipient, &content, 0, wire).await.map(drop)
}

/// The trace of an event goes along as AWS sends it, unless its target says another one.
fn with_trace(parameters: Option<HttpParameters>, trace: Option<&str>) -> Option<HttpParameters> {
    let Some(trace) = trace.filter(|trace| HeaderValue::from_str(trace).is_ok()) else { return parameters };
    let mut parameters = parameters.unwrap_or_default();
    if !parameters.headers.keys().any(|name| name.eq_ignore_ascii_case(TRACE_HEADER)) {
        parameters.headers.insert(TRACE_HEADER.into(), trace.into());
    }
    Some(parameters)
}

/// Who gets a request.
struct Recipient {
    /// Key of its rate limit: recipients with the same key share it.
    pace: String,
    destination: ApiDestination,
    /// None for an answer webhook, which has its own secrets.
    connection: Option<Connection>,
}

fn recipient(registry: &Registry, arn: &str) -> Result<Recipient, Failed> {
    match Destination::of(arn) {
        Destination::Webhook(name) => destination(registry, &name),
        Destination::Answers(name) => {
            let webhook = registry.answer_webhooks.get(&name);
            let webhook = webhook.ok_or_else(|| missing(&format!("answer webhook {name}")))?;
            let (pace, destination) = (format!("answers/{name}"), answers::destination(webhook));
            Ok(Recipient { pace, destination, connection: None })
        }
        _ => Err(Failed::permanently(FailureCode::NoResource, "it is no API destination")),
    }
}

/// An API destination with its connection, if that is authorized.
fn destination(registry: &Registry, name: &str) -> Result<Recipient, Failed> {
    let destination = registry.destinations.get(name).cloned();
    let mut destination = destination.ok_or_else(|| missing(&format!("API destination {name}")))?;
    destination.endpoint = request::absolute(&destination.endpoint);
    let connection = registry.connections.get(&destination.connection).cloned();
    let connection = connection.ok_or_else(|| missing(&format!("connection {}", destination.connection)))?;
    if connection.state != "AUTHORIZED" {
        let message = format!("connection {} is not authorized", connection.name);
        return Err(Failed::for_now(FailureCode::NoPermissions, message));
    }
    Ok(Recipient { pace: name.to_owned(), destination, connection: Some(connection) })
}

fn missing(what: &str) -> Failed {
    Failed::permanently(FailureCode::NoResource, format!("there is no {what}"))
}

impl Webhooks {
    /// Nothing is sent yet. At most `outgoing_max` connections are open at a time.
    pub fn new(engine: &Engine, allow_private_targets: bool, outgoing_max: usize) -> Arc<Webhooks> {
        let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Arc::new(Webhooks {
            engine: engine.clone(),
            work: Notify::new(),
            authorizations: Authorizations::default(),
            paces: Mutex::default(),
            idle: asking::Idle::default(),
            tls: Arc::new(tls),
            private: allow_private_targets,
            answers: Semaphore::new(ANSWERS_AT_ONCE_MAX),
            outgoing: Arc::new(Semaphore::new(outgoing_max)),
        })
    }

    /// Credentials to add to a request.
    async fn additions(&self, recipient: &Recipient, fresh_token: bool) -> Result<Additions, Failed> {
        match &recipient.connection {
            Some(connection) => self.authorizations.of(&self.engine, connection, self, fresh_token).await,
            None => {
                let signers = answers::signers(&self.engine, &recipient.destination.name);
                Ok(Additions { signers, ..Additions::default() })
            }
        }
    }

    /// Sends a body, and returns the answer if the target accepted it, with the first `wanted` bytes of its body or
    /// more.
    async fn send(
        &self,
        recipient: &Recipient,
        content: &Content<'_>,
        wanted: usize,
        wire: &mut Option<Wire>,
    ) -> Result<Answered, Failed> {
        let mut fresh_token = false;
        loop {
            let additions = self.additions(recipient, fresh_token).await?;
            let request = request::build(&recipient.destination, &additions, content)?;
            match connection::send(self, wire, request, wanted).await {
                // The token may have been revoked before its expiry: retry with a new one.
                Err(failed) if additions.is_token && !fresh_token && connection::is_unauthorized(&failed) => {
                    fresh_token = true;
                }
                outcome => return outcome,
            }
        }
    }

    /// Waits until the rate limit allows the next request to a destination; false if it did not have to wait.
    async fn pace(&self, recipient: &Recipient) -> bool {
        let gap = Duration::from_secs(1) / recipient.destination.rate_limit_per_second.max(1);
        let now = Instant::now();
        let at = {
            let mut paces = self.paces.lock();
            if paces.len() >= PACES_MAX {
                paces.retain(|_, next| *next > now); // an idle destination needs no entry
            }
            let next = paces.entry(recipient.pace.clone()).or_insert(now);
            // Allows a burst of a tenth of a second's requests.
            let earliest = now.checked_sub(Duration::from_millis(100)).unwrap_or(now);
            let at = (*next).max(earliest);
            *next = at + gap;
            at
        };
        let waits = at > now;
        if waits {
            tokio::time::sleep_until(at).await;
        }
        waits
    }
}
