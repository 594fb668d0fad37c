//! `fakemon serve`: opens the engine, starts the edge and the control plane, waits for a signal or a failure, and
//! stops all of them in the order in which nothing is lost.

use super::{keep_files_private, start_tracing};
use crate::config::{Config, Durability, Limits, LogFormat, bytes_of, parse_address};
use crate::descriptors::{self, Descriptors};
use crate::signals;
use crate::watchdog::Watchdog;
use anyhow::{Context, anyhow, bail, ensure};
use fakemon_access::access_keys::AccessKeys;
use fakemon_access::control_file::{ControlFile, Left, LocalToken};
use fakemon_access::player_token::{self, Access, TokenKeys};
use fakemon_control::{self as control, AuthorizerOptions, BusSettings, Control, ControlOptions, PlacesOptions};
use fakemon_edge::player_delivery;
use fakemon_edge::{self as edge, Authorizers, Edge, EdgeOptions, GeneralOptions, Rate, Tls};
use fakemon_engine::{Engine, Options, Retention};
use fakemon_load::demo::{self, Demo, DemoOptions};
use fakemon_model::limits::CORES_MAX;
use fakemon_model::place::Place;
use parking_lot::Mutex;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Flags override the settings file, see `fakemon config`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// The data directory; created if it does not exist [default: fakemon-data].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address of the players' websocket; port 0 takes a free one [default: 127.0.0.1:7400].
    #[arg(long, value_name = "IP:PORT", value_parser = parse_address)]
    listen: Option<SocketAddr>,
    /// Address of the control plane [default: 127.0.0.1:7401].
    #[arg(long, value_name = "IP:PORT", value_parser = parse_address)]
    control: Option<SocketAddr>,
    /// Shards, one core each [default: half as many as the machine has cores; the edges take the other half].
    #[arg(long, value_name = "N")]
    cores: Option<usize>,
    /// Threads for the websockets [default: half as many as the machine has cores].
    #[arg(long, value_name = "N")]
    edges: Option<usize>,
    /// A settings file; `fakemon config` prints one with every setting.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Access keys for the AWS API: a file of `access_key_id secret_access_key` lines [default: open to all local
    /// processes].
    #[arg(long, value_name = "FILE")]
    access_keys_file: Option<PathBuf>,
    /// Run a demo world around a city centre, with simulated players.
    #[arg(long)]
    demo: bool,
    /// Seed of the dodge rolls [default: the journal's, or random for a new journal].
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// When answers are given: after the disk has confirmed, or before [default: synced].
    #[arg(long, value_name = "WHEN")]
    durability: Option<Durability>,
    /// Let webhooks reach loopback and private addresses.
    #[arg(long)]
    allow_private_targets: bool,
    /// Let `POST /_reset` empty the bus: for test suites, between two tests.
    #[arg(long)]
    dev: bool,
    /// Format of log lines [default: text].
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Log level, or a filter as in `info,fakemon_engine=debug` [default: RUST_LOG, or info].
    #[arg(long, value_name = "FILTER")]
    log_level: Option<String>,
}

/// Interval at which the main thread checks whether it is asked to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// File descriptors of an edge thread: its listener, its poll, its waker, its client's bell.
const DESCRIPTORS_PER_EDGE: usize = 6;

/// Serves until asked to stop.
pub fn run(args: ServeArgs) -> anyhow::Result<()> {
    let watchdog = Watchdog::start()?;
    let config = args.settle()?;
    start_tracing(config.log.format, config.log.level.as_deref(), "info")?;
    ensure!(
        SystemTime::now() >= SystemTime::UNIX_EPOCH,
        "the clock of this machine shows a time before 1970: set it"
    );
    let limit = descriptors::raise_limit();
    let bound = control::Bound::to(config.control)?;
    // Checks all settings before a journal is opened.
    let engine_options = engine_options(&config)?;
    let shares = shares(&config, &engine_options, limit)?;
    let (edge_options, access_keys) = (edge_options(&config, bound.addr(), shares)?, access_keys(&config)?);
    edge::check(&edge_options).context("settings [tls]")?;
    edge::check_free(config.listen)?;
    keep_files_private(&config.data);
    let engine = Engine::open(&config.data, engine_options)?;
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
            true => Some(demo::start(engine.clone(), play, demo_options(config)?)?),
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

impl ServeArgs {
    /// The settings: the file, overridden by flags, checked.
    fn settle(self) -> anyhow::Result<Config> {
        let flags = self.given();
        let mut config = match &self.config {
            Some(path) => Config::read(path)?,
            None => Config::default(),
        };
        config.data = self.data.unwrap_or(config.data);
        config.listen = self.listen.unwrap_or(config.listen);
        config.control = self.control.unwrap_or(config.control);
        config.cores = self.cores.or(config.cores);
        config.edges = self.edges.or(config.edges);
        config.demo.enabled |= self.demo;
        config.world.seed = self.seed.or(config.world.seed);
        config.journal.durability = self.durability.unwrap_or(config.journal.durability);
        config.allow_private_targets |= self.allow_private_targets;
        config.dev |= self.dev;
        config.aws.access_keys_file = self.access_keys_file.or(config.aws.access_keys_file);
        config.log.format = self.log_format.unwrap_or(config.log.format);
        config.log.level = self.log_level.or(config.log.level);
        config.flags = flags;
        let checked = config.check().and_then(|()| config.check_files());
        checked.map_err(|error| error.located(&config.flags, config.file.as_ref()))?;
        Ok(config)
    }

    /// Names of the settings that flags override.
    fn given(&self) -> Vec<&'static str> {
        let flags = [
            ("data", self.data.is_some()),
            ("listen", self.listen.is_some()),
            ("control", self.control.is_some()),
            ("cores", self.cores.is_some()),
            ("edges", self.edges.is_some()),
            ("aws.access_keys_file", self.access_keys_file.is_some()),
            ("demo.enabled", self.demo),
            ("world.seed", self.seed.is_some()),
            ("log.level", self.log_level.is_some()),
        ];
        flags.into_iter().filter(|(_, is_given)| *is_given).map(|(key, _)| key).collect()
    }
}

fn engine_options(config: &Config) -> anyhow::Result<Options> {
    let default = Options::default();
    Ok(Options {
        cores: config.cores.unwrap_or_else(half_of_the_cores),
        reach_m: config.world.reach_m,
        world_seed: config.world.seed,
        species: config.species()?,
        unserved_targets: config.bus.allow_unserved_targets.unwrap_or(config.dev),
        durability: match config.journal.durability {
            Durability::Synced => fakemon_engine::Durability::Synced,
            Durability::Unsynced => fakemon_engine::Durability::Unsynced,
        },
        retention: Retention {
            max_age: config.journal.keep_age.map(|time| time.0),
            max_bytes: config.journal.keep_size.map(|size| size.0),
        },
        snapshot_every: config.journal.snapshot_every.0,
        thresholds: fakemon_engine::Thresholds {
            slow_sync: config.thresholds.slow_sync.0,
            disk_space_low: config.thresholds.disk_space_low.0,
            disk_space_critical: config.thresholds.disk_space_critical.0,
            target_dead_attempts: config.thresholds.target_dead_attempts,
            target_dead_after: config.thresholds.target_dead_after.0,
        },
        notices: config.bus.engine_notices.unwrap_or(!config.dev),
        ..default
    })
}

/// Shards and edges get half of the cores each: an attempt costs about the same in both.
fn half_of_the_cores() -> usize {
    (std::thread::available_parallelism().map_or(1, usize::from) / 2).clamp(1, CORES_MAX)
}

/// Divides the file descriptors.
fn shares(config: &Config, engine: &Options, limit: usize) -> anyhow::Result<Descriptors> {
    let Limits { requests_max, polls_max, streams_max, .. } = config.limits;
    let wanted = requests_max + polls_max + streams_max + control::IDLE_CONNECTIONS;
    let edges = DESCRIPTORS_PER_EDGE * config.edges.unwrap_or_else(half_of_the_cores);
    Descriptors::divide(limit, engine.descriptors(limit) + edges, wanted, control::EXTRA_SEATS)
}

fn edge_options(config: &Config, control: SocketAddr, shares: Descriptors) -> anyhow::Result<EdgeOptions> {
    let limits = &config.limits;
    let default = EdgeOptions::new(config.listen);
    let tls = config.tls.certificate_file.clone().zip(config.tls.key_file.clone());
    Ok(EdgeOptions {
        threads: config.edges.unwrap_or_else(half_of_the_cores),
        access: access(config)?,
        tls: tls.map(|(certificates, key)| Tls { certificates, key }),
        rate: limits
            .attempts_per_second
            .map(|attempts| Rate { attempts_per_s: f64::from(attempts), burst: limits.attempts_burst }),
        message_bytes_max: limits.message_bytes_max,
        idle_timeout: limits.idle_timeout.0,
        connections_max: connections_max(limits.connections_max, shares.players),
        page: Some(format!("http://{control}/")),
        general: general_options(config)?,
        authorizers: authorizers(config),
        ..default
    })
}

/// The configured number of connections, limited by file descriptors.
fn connections_max(wanted: Option<usize>, players: usize) -> usize {
    if let Some(wanted) = wanted.filter(|wanted| *wanted > players) {
        tracing::warn!(
            "limits.connections_max is {wanted}, but the limit of open files leaves {players} for players: raise \
             `ulimit -n`"
        );
    }
    wanted.map_or(players, |wanted| wanted.min(players))
}

fn general_options(config: &Config) -> anyhow::Result<GeneralOptions> {
    let connections = &config.connections;
    let route = connections.route_selection_expression.parse().map_err(anyhow::Error::msg);
    let attempts_per_s = f64::from(connections.messages_per_second);
    Ok(GeneralOptions {
        route: route.context("connections.route_selection_expression")?,
        rate: Some(Rate { attempts_per_s, burst: connections.messages_burst }),
        message_bytes_max: connections.message_bytes_max,
        idle_timeout: connections.idle_timeout.0,
    })
}

fn authorizers(config: &Config) -> Authorizers {
    let connections = &config.connections;
    let of = |own: &Option<String>| own.as_deref().or(connections.authorizer.as_deref()).map(Into::into);
    Authorizers {
        play: of(&connections.play_authorizer),
        general: of(&connections.ws_authorizer),
        timeout: connections.authorizer_timeout.0,
    }
}

/// Access of players: by token if a key is configured, else open.
fn access(config: &Config) -> anyhow::Result<Access> {
    if config.auth.is_open() {
        return Ok(Access::Open);
    }
    let read = |key, path: &Option<PathBuf>| path.as_ref().map(|path| bytes_of(key, path)).transpose();
    let secret = read("auth.hs256_secret_file", &config.auth.hs256_secret_file)?;
    let public = read("auth.eddsa_public_key_file", &config.auth.eddsa_public_key_file)?;
    let secret = secret.as_deref().map(player_token::secret_of);
    if secret.is_some_and(|(_, is_cut)| is_cut) {
        tracing::info!("auth.hs256_secret_file: the line break at its end is not part of the secret");
    }
    let keys = TokenKeys::new(secret.map(|(secret, _)| secret), public.as_deref()).context("settings [auth]")?;
    Ok(Access::Tokens(keys.with_leeway(config.auth.leeway.map_or(Duration::ZERO, |leeway| leeway.0))))
}

/// The access keys of the AWS API, if configured.
fn access_keys(config: &Config) -> anyhow::Result<Option<AccessKeys>> {
    let Some(path) = &config.aws.access_keys_file else { return Ok(None) };
    let key = "aws.access_keys_file";
    let refuse = |error: anyhow::Error| config.refused(key, &format!("{key} {}: {error:#}", path.display()));
    let keys = AccessKeys::read(path).map_err(refuse)?;
    if !config.control.ip().is_loopback() {
        tracing::warn!("the control plane speaks plain HTTP on {}: put TLS before it", config.control);
    }
    Ok(Some(keys))
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

fn demo_options(config: &Config) -> anyhow::Result<DemoOptions> {
    Ok(DemoOptions {
        centre: Place::from_degrees(config.demo.lat, config.demo.lon)?,
        radius_m: config.demo.radius_m,
        players: config.demo.players,
        wild: config.demo.wild,
        spawns_per_second: config.demo.spawns_per_second,
        time_zone: config.demo.time_zone.clone(),
    })
}
