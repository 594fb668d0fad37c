//! `fakemon serve`: opens the engine, starts the edge and the control plane, waits for a signal or a failure, and
//! stops all of them in the order in which nothing is lost.

use super::{keep_files_private, start_tracing};
use crate::signals;
use crate::watchdog::Watchdog;
use anyhow::{Context, anyhow, bail, ensure};
use fakemon_access::access_keys::AccessKeys;
use fakemon_access::control_file::{ControlFile, Left, LocalToken};
use fakemon_access::player_token::Access;
use fakemon_control::{self as control, AuthorizerOptions, BusSettings, Control, ControlOptions, PlacesOptions};
use fakemon_edge::player_delivery;
use fakemon_edge::{self as edge, Edge, EdgeOptions};
use fakemon_engine::Engine;
use fakemon_load::demo::{self, Demo};
use fakemon_settings::{Config, Descriptors, ServeArgs, options, raise_limit};
use parking_lot::Mutex;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Interval at which the main thread checks whether it is asked to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Serves until asked to stop.
pub fn run(args: ServeArgs) -> anyhow::Result<()> {
    let watchdog = Watchdog::start()?;
    let config = args.settle()?;
    start_tracing(config.log.format, config.log.level.as_deref(), "info")?;
    ensure!(
        SystemTime::now() >= SystemTime::UNIX_EPOCH,
        "the clock of this machine shows a time before 1970: set it"
    );
    let limit = raise_limit();
    let bound = control::Bound::to(config.control)?;
    // Checks all settings before a journal is opened.
    let engine_options = options::engine_options(&config)?;
    let shares = options::shares(&config, &engine_options, limit)?;
    let edge_options = options::edge_options(&config, bound.addr(), shares)?;
    let access_keys = options::access_keys(&config)?;
    edge::check(&edge_options).context("settings [tls]")?;
    edge::check_free(config.listen)?;
    keep_files_private(&config.data);
    let engine = Engine::open(&config.data, engine_options)?;
    warn_of_missing_authorizers(&config, &engine);
    watchdog.watch(engine.pulses(), config.limits.thread_stalled.0, config.limits.stop_within.0);
    let running = match Running::start(&engine, &config, bound, edge_options, access_keys, shares, &watchdog) {
        Ok(running) => running,
        Err(error) => {
            engine.close();
            return Err(error);
        }
    };
    let said = running.say_where();
    let failed = if said.is_ok() { wait(&engine) } else { None };
    watchdog.stopping();
    running.stop(&engine);
    said.map_err(|error| anyhow!("stdout, which says where this server listens, cannot be written: {error}"))?;
    match (failed, engine.failure()) {
        (Some(failure), _) => bail!("the server stopped: {failure}"),
        (None, Some(failure)) => bail!("the engine failed while stopping: {failure}"),
        (None, None) => Ok(()),
    }
}

/// The running parts around the engine.
struct Running {
    play: SocketAddr,
    edge: Arc<Mutex<Edge>>,
    control: Control,
    demo: Option<Demo>,
    tls: bool,
    _contact: Left,
}

impl Running {
    fn start(
        engine: &Engine,
        config: &Config,
        bound: control::Bound,
        edge_options: EdgeOptions,
        access_keys: Option<AccessKeys>,
        shares: Descriptors,
        watchdog: &Watchdog,
    ) -> anyhow::Result<Running> {
        let access = edge_options.access.clone();
        let edge = edge::start(engine.clone(), edge_options)?;
        let play = edge.addr();
        player_delivery::deliver(engine, edge.switchboard());
        let edge = Arc::new(Mutex::new(edge));
        let contact = ControlFile::new(bound.addr())?;
        let options = control_options(config, &edge, access_keys, access, contact.word.clone(), shares, watchdog);
        let control = control::start(engine.clone(), bound, options)?;
        let contact = contact.leave(&config.data)?;
        let demo = match config.demo.enabled {
            true => Some(demo::start(engine.clone(), play, options::demo_options(config)?)?),
            false => None,
        };
        Ok(Running { play, edge, control, demo, tls: config.tls.certificate_file.is_some(), _contact: contact })
    }

    /// Prints the line that scripts wait for.
    fn say_where(&self) -> io::Result<()> {
        let scheme = if self.tls { "wss" } else { "ws" };
        let (play, control) = (self.play, self.control.addr());
        let mut stdout = io::stdout(); // no answer: a server without a reader has failed
        writeln!(stdout, "listening play={scheme}://{play} control=http://{control}")?;
        stdout.flush()
    }

    /// No new work, then answers for the old, then the engine, which keeps it.
    fn stop(self, engine: &Engine) {
        tracing::info!("asked to stop: answers what is in flight");
        self.control.drain();
        if let Some(demo) = self.demo {
            demo.stop();
        }
        self.edge.lock().stop();
        engine.close();
        // Last, so that health checks and requests in flight are answered until then.
        self.control.stop();
        tracing::info!("stopped");
    }
}

/// Until it is asked to stop; or the failure over which it cannot go on.
fn wait(engine: &Engine) -> Option<String> {
    while !signals::is_asked_to_stop() {
        let failure = engine.wait_for_failure(LOOK_EVERY);
        if failure.is_some() {
            return failure;
        }
    }
    None
}

/// Says at the start which authorizers are not there: until they are made, none of their players is let in.
fn warn_of_missing_authorizers(config: &Config, engine: &Engine) {
    let (connections, registry) = (&config.connections, engine.registry());
    for (key, name) in [
        ("connections.authorizer", &connections.authorizer),
        ("connections.play_authorizer", &connections.play_authorizer),
        ("connections.ws_authorizer", &connections.ws_authorizer),
    ] {
        if let Some(name) = name.as_ref().filter(|name| !registry.destinations.contains_key(*name)) {
            tracing::warn!(
                "{key}: there is no API destination {name}: no connection is let in until CreateApiDestination"
            );
        }
    }
}

fn control_options(
    config: &Config,
    edge: &Arc<Mutex<Edge>>,
    access_keys: Option<AccessKeys>,
    access: Access,
    word: LocalToken,
    shares: Descriptors,
    watchdog: &Watchdog,
) -> ControlOptions {
    let limits = &config.limits;
    let running = edge.lock();
    let (play, switchboard, questions) = (running.addr(), running.switchboard(), running.questions());
    drop(running);
    ControlOptions {
        play,
        switchboard,
        play_tls: config.tls.certificate_file.is_some(),
        access,
        access_keys,
        demo_centre: config.demo.enabled.then_some((config.demo.lat, config.demo.lon)),
        allow_private_targets: config.allow_private_targets,
        dev: config.dev,
        queue_pause: config.aws.queue_pause.0,
        bus: BusSettings {
            allow_unserved_targets: config.bus.allow_unserved_targets.unwrap_or(config.dev),
            aws_limits: config.bus.aws_limits,
        },
        word,
        read_edge: read_edge(Arc::clone(edge)),
        questions,
        authorizer: AuthorizerOptions {
            timeout: config.connections.authorizer_timeout.0,
            ttl: config.connections.authorizer_ttl.map(|ttl| ttl.0),
        },
        places: PlacesOptions {
            requests_max: limits.requests_max,
            polls_max: limits.polls_max,
            streams_max: limits.streams_max,
            streams_per_player: limits.streams_per_player,
            address_share_percent: limits.address_share_percent.into(),
        },
        connections_max: shares.control,
        outgoing_max: shares.outgoing,
        request_timeout: limits.request_timeout.0,
        is_asked_to_stop: signals::is_asked_to_stop,
        stalled: Box::new(watchdog.stalled()),
    }
}

/// Reads the metrics of the edge; while it stops, the last ones.
fn read_edge(edge: Arc<Mutex<Edge>>) -> control::ReadEdge {
    let last = Mutex::new(edge.lock().figures());
    Box::new(move || {
        let mut last = last.lock();
        if let Some(edge) = edge.try_lock() {
            *last = edge.figures();
        }
        last.clone()
    })
}
