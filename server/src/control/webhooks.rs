//! Deliveries to outside: API destinations over HTTP. Each lane is a task of its own, so that a target that hangs holds
//! up nobody; in order, unless its rule says otherwise.
//!
//! - `guard`: which addresses may be reached
//! - `connection`: one HTTP connection, bounded in time and bytes
//! - `authorization`: what a connection adds to requests
//! - `authorizing`: whether a connection gets its first token
//! - `request`: from an event to a request
//! - `asking`: a request whose answer somebody waits for

mod guard;
mod connection;
mod authorization;
mod authorizing;
mod request;
mod asking;

use super::Shared;
pub(super) use asking::ask;
use authorization::Authorizations;
use connection::Wire;
use fakemon_engine::Engine;
use fakemon_engine::bus::Destination;
use fakemon_engine::bus::resource::{ApiDestination, Connection};
use fakemon_engine::delivery::{Courier, Failed, Lane, LaneId, Letter, Parcel};
use fakemon_engine::ids::Timestamp;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Events that are read at once and delivered one after the other: reading the journal for each alone would make a lane
/// that is behind slower still.
const IN_ORDER_MAX: usize = 64;
/// How long a task sleeps when nobody wakes it.
const IDLE: Duration = Duration::from_secs(1);

/// What all tasks share.
pub(super) struct Webhooks {
    engine: Engine,
    work: Notify,
    authorizations: Authorizations,
    /// When the next request to a destination may go.
    paces: Mutex<HashMap<String, Instant>>,
    /// Connections that no lane owns.
    idle: asking::Idle,
    tls: Arc<rustls::ClientConfig>,
    private: bool,
}

/// Carries events to API destinations for as long as the runtime lives.
pub(super) async fn run(shared: Arc<Shared>, hooks: Arc<Webhooks>) {
    tokio::spawn(authorizing::run(shared, hooks.clone()));
    let woken = Arc::downgrade(&hooks);
    hooks.engine.courier().lanes().on_work(move || {
        if let Some(hooks) = woken.upgrade() {
            hooks.work.notify_waiters();
        }
    });
    let mut carried: HashSet<LaneId> = HashSet::new();
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
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(IDLE) => {}
            Some(ended) = tasks.join_next() => match ended {
                Ok(id) => {
                    carried.remove(&id);
                    generation = None;
                }
                Err(error) => tracing::error!("a task that delivers ended: {error}"),
            },
        }
    }
}

/// Empties one lane until its target is gone.
async fn carry(hooks: Arc<Webhooks>, lane: Arc<Lane>) -> LaneId {
    let courier = hooks.engine.courier().clone();
    let mut wires: Vec<Wire> = Vec::new();
    while !lane.is_closed() && Destination::of(&lane.target().arn).is_outside() {
        let work = hooks.work.notified();
        let taken = courier.take(&lane, if lane.parallel() == 1 { IN_ORDER_MAX } else { lane.parallel() });
        let parcels = match taken {
            Ok(parcels) => parcels,
            Err(error) => {
                tracing::error!("what waits for a webhook cannot be read: {error}");
                tokio::time::sleep(IDLE).await;
                continue;
            }
        };
        if parcels.is_empty() {
            let patience = patience(&courier, &lane);
            tokio::select! { () = work => {} () = tokio::time::sleep(patience) => {} }
            continue;
        }
        match courier.open(&lane, &parcels) {
            Ok(letters) => tokio::select! {
                () = deliver(&hooks, &courier, &lane, &parcels, letters, &mut wires) => {}
                // What is deleted gets nothing any more; a request that is under way is cut off.
                () = gone(&hooks, &lane) => lane.done(parcels.iter().map(|parcel| parcel.key)),
            },
            Err(error) => {
                tracing::error!("an event cannot be read: {error}");
                parcels.iter().for_each(|parcel| lane.again(parcel.key, later(courier.now()), None));
            }
        }
    }
    lane.id().clone()
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

fn patience(courier: &Courier, lane: &Lane) -> Duration {
    let now = courier.now();
    lane.due_at().map_or(IDLE, |due| Duration::from_nanos(due.ns_since(now)).clamp(Duration::from_millis(1), IDLE))
}

/// One request per letter: in order, up to the first that has to come again; or all at once, if the lane is parallel.
async fn deliver(
    hooks: &Arc<Webhooks>,
    courier: &Courier,
    lane: &Arc<Lane>,
    parcels: &[Parcel],
    letters: Vec<Letter>,
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
            Err(error) => tracing::error!("an attempt to deliver ended: {error}"),
        }
    }
}

fn settle(courier: &Courier, lane: &Lane, parcels: &[Parcel], letter: &Letter, outcome: Result<(), Failed>) {
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
    courier: &Courier,
    lane: &Lane,
    letter: &Letter,
    wire: &mut Option<Wire>,
) -> Result<(), Failed> {
    let target = lane.target();
    let Destination::Webhook(name) = Destination::of(&target.arn) else {
        return Err(Failed::permanently("UNSUPPORTED_TARGET", "it is no API destination"));
    };
    let (destination, connection) = hooks.destination(&name)?;
    if hooks.pace(&name, destination.rate_limit_per_second).await {
        lane.figures().throttled.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    courier.started(lane, std::slice::from_ref(letter));
    let mut fresh_token = false;
    loop {
        let additions = hooks.authorizations.of(&hooks.engine, &connection, hooks, fresh_token).await?;
        let request = request::build(&destination, target.http.as_ref(), &additions, &letter.body)?;
        let sent = connection::send(hooks, wire, request).await;
        match sent {
            // A token may have been taken back before its time: once more, with a new one.
            Err(failed) if additions.is_token && !fresh_token && failed.code == "HTTP_401" => fresh_token = true,
            outcome => return outcome,
        }
    }
}

impl Webhooks {
    pub(super) fn new(shared: &Shared) -> Arc<Webhooks> {
        let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Arc::new(Webhooks {
            engine: shared.engine.clone(),
            work: Notify::new(),
            authorizations: Authorizations::default(),
            paces: Mutex::default(),
            idle: asking::Idle::default(),
            tls: Arc::new(tls),
            private: shared.options.allow_private_targets,
        })
    }

    /// An API destination and its connection, if it is authorized.
    fn destination(&self, name: &str) -> Result<(ApiDestination, Connection), Failed> {
        let registry = self.engine.registry();
        let missing =
            |what: &str, name: &str| Failed::permanently("RESOURCE_NOT_FOUND", format!("there is no {what} {name}"));
        let destination = registry.destinations.get(name).ok_or_else(|| missing("API destination", name))?;
        let connection = registry.connections.get(&destination.connection);
        let connection = connection.ok_or_else(|| missing("connection", &destination.connection))?;
        if connection.state != "AUTHORIZED" {
            return Err(Failed::for_now(
                "CONNECTION_NOT_AUTHORIZED",
                format!("connection {} is not authorized", connection.name),
            ));
        }
        Ok((destination.clone(), connection.clone()))
    }

    /// Waits until the next request to a destination may go; whether it had to.
    async fn pace(&self, destination: &str, per_second: u32) -> bool {
        let gap = Duration::from_secs(1) / per_second.max(1);
        let now = Instant::now();
        let at = {
            let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
            let next = paces.entry(destination.to_owned()).or_insert(now);
            // A tenth of a second's requests may go at once.
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
