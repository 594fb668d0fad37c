//! The control plane: HTTP on one thread of its own, which alone runs tokio. Its load does not touch the capture
//! path: spawns use an ordinary engine client, metrics are read from views. `/healthz`, `/readyz` and `/metrics` are
//! answered however many clients are connected: a connection is accepted at once, and what it may do is decided when
//! the head of its request has arrived. A thread or a task that ends turns `/readyz` to 503, and the server stops.
//!
//! - `aws`: the AWS API at `POST /`: each request goes to the crate of its service
//! - `partners`: webhooks of partners
//! - `gate`: authentication: signatures or, in open mode, protection from requests of foreign pages
//! - `coding`: bodies that cannot be read
//! - `cloud_events`, `spawns`, `events`: `POST /events`
//! - `reset`: `POST /_reset`, for tests
//! - `checkpoint`: `POST /checkpoint`
//! - `metrics`: `GET /metrics`
//! - `page`: `/` and its figures
//! - `topology`: `GET /topology`
//! - `at_connections`: `@connections`
//! - `stream`: `GET /stream`
//! - `discovery`: learns schemas from events

#![allow(
    missing_docs,
    reason = "nothing outside of this workspace reads them; a doc that repeats a name says nothing"
)]

mod aws;
mod partners;
mod gate;
mod coding;
mod cloud_events;
mod spawns;
mod events;
mod reset;
mod checkpoint;
mod metrics;
mod page;
mod topology;
mod at_connections;
mod stream;
mod discovery;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use fakemon_access::access_keys::AccessKeys;
use fakemon_access::control_file::LocalToken;
use fakemon_access::player_token::Access;
pub use fakemon_aws::BusSettings;
pub use fakemon_aws::signature::sign_get;
use fakemon_aws::{Api, BODY_BYTES_MAX as API_BODY_BYTES_MAX, api_gateway, api_keys, services};
use fakemon_edge as edge;
use fakemon_engine::Engine;
use fakemon_http::door::Door;
pub use fakemon_http::listener::EXTRA_SEATS;
pub use fakemon_http::places::PlacesOptions;
use fakemon_http::{Backend, Refusal, desk, door, fresh, listener, places, tasks, uri};
use fakemon_logs::{Logs, Queries};
use fakemon_sqs::{Moves, Pauses, Sqs, moves};
use fakemon_sync::pulse;
pub use fakemon_webhooks::AuthorizerOptions;
use fakemon_webhooks::{Webhooks, answers, authorizer, delivery};
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// The largest body of our own endpoints, in bytes.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// The largest body of any endpoint, in bytes.
const ANY_BODY_BYTES_MAX: usize = fakemon_aws::BODY_BYTES_MAX;
/// Idle connections worth keeping.
pub const IDLE_CONNECTIONS: usize = 512;
/// How long requests in progress may take when the control plane stops.
const DRAIN: Duration = Duration::from_secs(5);
/// How often this thread shows the watchdog that it moves.
const BEAT: Duration = Duration::from_secs(1);

/// Reads the metrics of the edge.
pub type ReadEdge = Box<dyn Fn() -> edge::Figures + Send + Sync>;

/// Settings of the control plane.
pub struct ControlOptions {
    /// The address of the players' websocket; the page connects to it.
    pub play: SocketAddr,
    /// Whether players connect with TLS.
    pub play_tls: bool,
    /// How players are authenticated.
    pub access: Access,
    /// Access keys that may call; none (open mode): every client that reaches the loopback address may.
    pub access_keys: Option<AccessKeys>,
    /// The centre of the demo world, where the page looks first.
    pub demo_centre: Option<(f64, f64)>,
    /// Whether webhooks may reach loopback and private addresses.
    pub allow_private_targets: bool,
    /// Whether `POST /_reset` may empty the bus.
    pub dev: bool,
    /// How long a deleted queue's name stays reserved, and how long after a purge a queue cannot be purged again.
    pub queue_pause: Duration,
    /// Limits of the bus.
    pub bus: BusSettings,
    /// What a caller must have read in the data directory, to make a copy of it.
    pub word: LocalToken,
    /// Figures of the edge.
    pub read_edge: ReadEdge,
    /// Sends commands to the players' connections.
    pub switchboard: edge::Connections,
    /// Handshakes that wait for an authorizer.
    pub questions: edge::Questions,
    /// Settings of authorizers.
    pub authorizer: AuthorizerOptions,
    /// Bounds on requests, polls and streams in progress.
    pub places: PlacesOptions,
    /// Open connections, at most.
    pub connections_max: usize,
    /// Outgoing connections of webhooks, at most.
    pub outgoing_max: usize,
    /// Longest time for a request to arrive, head and body.
    pub request_timeout: Duration,
    /// Whether a signal asked the process to stop.
    pub is_asked_to_stop: fn() -> bool,
    /// The thread that does not move, in words, if there is one.
    pub stalled: Box<dyn Fn() -> Option<String> + Send + Sync>,
}

/// The running control plane.
pub struct Control {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// State shared by all requests.
struct Shared {
    backend: Arc<Backend>,
    api: Arc<Api>,
    sqs: Arc<Sqs>,
    logs: Arc<Logs>,
    options: ControlOptions,
    /// Recent requests of partners, to detect duplicates.
    recent: partners::Recent,
    /// Open streams of events.
    streams: stream::Hub,
    /// Metrics of schema discovery.
    discovery: discovery::DiscoveryFigures,
    metrics: fresh::Fresh,
    figures: fresh::Fresh,
    topology: fresh::Fresh,
    started: Instant,
}

impl Deref for Shared {
    type Target = Backend;

    fn deref(&self) -> &Backend {
        &self.backend
    }
}

/// The control plane's socket, bound before anything else starts: a port in use is reported before the journal is
/// opened.
pub struct Bound {
    socket: std::net::TcpListener,
    addr: SocketAddr,
}

impl Bound {
    /// Binds an address; port 0 takes a free one.
    pub fn to(listen: SocketAddr) -> anyhow::Result<Bound> {
        let socket = std::net::TcpListener::bind(listen).with_context(|| {
            format!("the control plane cannot listen on {listen}: choose another address with --control")
        })?;
        socket.set_nonblocking(true).context("the control plane's socket")?;
        let addr = socket.local_addr().context("the control plane's socket")?;
        Ok(Bound { socket, addr })
    }

    /// The bound address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Starts the thread.
pub fn start(engine: Engine, bound: Bound, options: ControlOptions) -> anyhow::Result<Control> {
    let Bound { socket, addr } = bound;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("the control plane's runtime")?;
    let (orders, received) = mpsc::channel(desk::ORDERS_WAITING_MAX);
    let (stop, stopped) = watch::channel(false);
    let meters = api_keys::Meters::load(&engine).context("how much API keys have used")?;
    let recent = partners::Recent::load(&engine).context("what partners sent already")?;
    let pauses = Pauses::load(&engine, options.queue_pause).context("which queues have a pause")?;
    let backend = Arc::new(Backend::new(engine, orders, options.is_asked_to_stop));
    let shared = Arc::new(Shared {
        api: Arc::new(Api { backend: Arc::clone(&backend), settings: options.bus, meters }),
        sqs: Arc::new(Sqs {
            backend: Arc::clone(&backend),
            moves: Moves::default(),
            pauses,
            queue_pause: options.queue_pause,
            messages: tokio::sync::Notify::new(),
        }),
        logs: Arc::new(Logs { backend: Arc::clone(&backend), queries: Queries::default() }),
        backend,
        options,
        recent,
        streams: stream::Hub::default(),
        discovery: discovery::DiscoveryFigures::default(),
        metrics: fresh::Fresh::default(),
        figures: fresh::Fresh::default(),
        topology: fresh::Fresh::default(),
        started: Instant::now(),
    });
    let served = Arc::clone(&shared);
    let told = Arc::downgrade(&shared);
    shared.engine.queues().on_message(move |_| {
        if let Some(shared) = told.upgrade() {
            shared.sqs.messages.notify_waiters();
        }
    });
    let (ready, is_ready) = std::sync::mpsc::channel();
    let asked = Arc::clone(&shared);
    let run = move || runtime.block_on(serve(served, socket, received, stopped, &ready));
    let thread = shared.engine.spawn_thread("control", move || asked.draining.load(Ordering::Acquire), run);
    let thread = thread.context("the control plane's thread")?;
    is_ready.recv().context("the control plane ended before it began")??;
    Ok(Control { addr, shared, stop, thread })
}

impl Control {
    /// The address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on `/readyz` says: not ready; spawns are refused.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Release);
    }

    /// Finishes requests in progress, within `DRAIN`, and ends.
    pub fn stop(self) {
        self.drain();
        let _ = self.stop.send(true); // the thread may have ended already
        let _ = self.thread.join(); // a panic is a failure of the engine, and was reported as one
    }
}

async fn serve(
    shared: Arc<Shared>,
    socket: std::net::TcpListener,
    orders: mpsc::Receiver<desk::Order>,
    mut stopped: watch::Receiver<bool>,
    ready: &std::sync::mpsc::Sender<anyhow::Result<()>>,
) {
    let begun = tokio::net::TcpListener::from_std(socket)
        .context("the control plane's socket")
        .and_then(|socket| Ok((socket, desk::EngineClient::open(&shared.engine)?)));
    let (socket, desk) = match begun {
        Ok(begun) => begun,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let mut drained = stopped.clone();
    let listener = listener::Bounded::new(socket, shared.options.connections_max, shared.options.request_timeout);
    let service = router(Arc::clone(&shared)).into_make_service_with_connect_info::<listener::Caller>();
    let http = axum::serve(listener, service)
        .with_graceful_shutdown(async move { drop(stopped.wait_for(|stop| *stop).await) });
    let http = tokio::spawn(async move { http.await });
    let options = &shared.options;
    let hooks = Webhooks::new(&shared.engine, options.allow_private_targets, options.outgoing_max);
    moves::resume(&shared.sqs);
    let (engine, of) = (&shared.engine, Arc::clone(&shared));
    let never = || false;
    tasks::kept(engine, "beat", never, beat());
    tasks::kept(
        engine,
        "authorizer",
        never,
        authorizer::run(
            options.questions.clone(),
            options.switchboard.clone(),
            options.authorizer,
            Arc::clone(&hooks),
        ),
    );
    tasks::kept(engine, "webhooks", never, delivery::run(Arc::clone(&shared.backend), hooks));
    tasks::kept(engine, "discovery", move || of.is_stopping(), discovery::run(Arc::clone(&shared)));
    drop(ready.send(Ok(())));
    tokio::select! {
        () = desk.run(orders) => {}
        _ = http => {}
        () = async { drop(drained.wait_for(|stop| *stop).await); tokio::time::sleep(DRAIN).await } => {}
    }
}

/// Shows the watchdog that this thread moves, whatever is asked of it.
async fn beat() {
    loop {
        pulse::work();
        tokio::time::sleep(BEAT).await;
    }
}

fn router(shared: Arc<Shared>) -> Router {
    let door = Door {
        places: places::Places::new(shared.options.places),
        request_timeout: shared.options.request_timeout,
        body_bytes_max,
    };
    let routes = Router::new()
        .route("/", get(front).post(aws::post).layer(DefaultBodyLimit::max(API_BODY_BYTES_MAX)))
        .route(
            "/123456789012/{queue}",
            get(aws::post).post(aws::post).layer(DefaultBodyLimit::max(API_BODY_BYTES_MAX)),
        )
        .route("/page.css", get(page::style))
        .route("/page.js", get(page::script))
        .route("/figures", get(page::figures))
        .route("/events", post(events::put))
        .merge(api_gateway::routes().with_state(Arc::clone(&shared.api)))
        .merge(partners::routes())
        .merge(answers::routes().with_state(Arc::clone(&shared.backend)))
        .merge(at_connections::routes())
        .merge(fakemon_eventbridge::routes().with_state(Arc::clone(&shared.api)))
        .route("/stream", get(stream::open))
        .route("/_reset", post(reset::post))
        .route("/topology", get(topology::get))
        .route("/checkpoint", post(checkpoint::post))
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(services::elsewhere)
        .method_not_allowed_fallback(services::other_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(coding::pass))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), gate::pass))
        .layer(middleware::from_fn_with_state(Arc::new(door), door::pass))
        .with_state(shared);
    // Outside of the router: its layers see a request only after its path has chosen a route.
    Router::new().fallback_service(routes).layer(middleware::map_request(uri::plain))
}

/// The largest body that an endpoint at this path reads, in bytes: a request that declares more is refused when its
/// head has arrived.
fn body_bytes_max(path: &str) -> usize {
    match path {
        "/@connections" => at_connections::BATCH_BYTES_MAX,
        path if path.contains("/@connections/") => at_connections::MESSAGE_BYTES_MAX,
        path if gate::is_own(path) => BODY_BYTES_MAX,
        _ => ANY_BODY_BYTES_MAX,
    }
}

/// The page, or the answer to an operation in the query string.
async fn front(state: State<Arc<Shared>>, uri: Uri, headers: HeaderMap) -> Response {
    match aws::is_query(&headers, &uri) {
        true => aws::post(state, uri, headers, Ok(Bytes::new())).await,
        false => page::index(uri, headers).await,
    }
}

/// Liveness probe.
async fn healthz() -> &'static str {
    "ok\n"
}

/// Readiness probe: 200 while the server takes work, else 503.
async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let why_not = shared.engine.failure().or_else(|| {
        let stopping = shared.is_stopping().then(|| "the server is stopping".to_owned());
        stopping.or_else(|| (shared.options.stalled)())
    });
    match why_not {
        None => "ready\n".into_response(),
        Some(reason) => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", reason).into_response(),
    }
}
