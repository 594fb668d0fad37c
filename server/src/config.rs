//! Settings of `fakemon serve`: the settings file overrides the defaults; flags override both. The file `config.toml`
//! beside this one documents every setting; `fakemon config` prints it and a test reads it.
//!
//! - `quantity`: spans of time and numbers of bytes
//! - `log_level`: the setting `log.level`
//! - `reading`: what is wrong with a file that cannot be read

mod quantity;
mod log_level;
mod reading;

pub use quantity::{Size, Time};

use fakemon_edge::{GENERAL_MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX, RouteSelection, THREADS_MAX, TIMEOUTS};
use fakemon_journal::files::{read_bytes, read_text};
use fakemon_load::demo::{PLAYERS_MAX, RADIUS_M, SPAWNS_PER_SECOND, WILD_MAX};
use fakemon_model::limits::CORES_MAX;
use fakemon_model::species::SpeciesTable;
use serde::{Deserialize, Deserializer, de};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::DeTable;

/// The documented settings file.
pub const DOCUMENTED: &str = include_str!("config.toml");
/// The longest settings file, and the longest file that a setting names.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Why settings are rejected, in one line: the file, the key, the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct ConfigError {
    /// The setting, as `limits.idle_timeout`; none if the file cannot be parsed.
    key: Option<&'static str>,
    what: String,
}

impl ConfigError {
    fn of(key: &'static str, what: impl Into<String>) -> ConfigError {
        ConfigError { key: Some(key), what: what.into() }
    }

    fn of_file(what: String) -> ConfigError {
        ConfigError { key: None, what }
    }

    /// Adds the source of the value: a flag, or a line of the settings file.
    pub fn located(self, flags: &[&str], file: Option<&SettingsFile>) -> ConfigError {
        let ConfigError { key, what } = self;
        let place = key.and_then(|key| match flags.contains(&key) {
            true => Some(flag_of(key)),
            false => file?.place(key),
        });
        ConfigError { key, what: place.map_or(what.clone(), |place| format!("{place}: {what}")) }
    }
}

/// The flag that goes over a setting.
fn flag_of(key: &str) -> String {
    match key {
        "log.level" => "--log-level".into(),
        "demo.enabled" => "--demo".into(),
        key => format!("--{}", key.rsplit('.').next().unwrap_or(key).replace('_', "-")),
    }
}

/// A settings file as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct SettingsFile {
    path: PathBuf,
    text: String,
}

impl SettingsFile {
    /// The line of a setting, as text.
    fn place(&self, key: &str) -> Option<String> {
        let parsed = DeTable::parse(&self.text).ok()?;
        let (mut table, mut at) = (Some(parsed.get_ref()), 0);
        for part in key.split('.') {
            let (name, value) = table?.iter().find(|(name, _)| name.get_ref() == part)?;
            (table, at) = (value.get_ref().as_table(), name.span().start);
        }
        let (line, source) = line_at(&self.text, at);
        Some(format!("settings file {}, line {line} (`{source}`)", self.path.display()))
    }
}

/// All settings.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The data directory. Default `fakemon-data`.
    pub data: PathBuf,
    /// Address of the players' websocket. Default `127.0.0.1:7400`.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// Address of the control plane. Default `127.0.0.1:7401`.
    #[serde(deserialize_with = "address")]
    pub control: SocketAddr,
    /// Shards; none means half as many as cores.
    pub cores: Option<usize>,
    /// Threads for the websockets; none means half as many as cores.
    pub edges: Option<usize>,
    /// Whether webhooks may go to loopback and private addresses.
    pub allow_private_targets: bool,
    /// Whether `POST /_reset` may empty the bus.
    pub dev: bool,
    /// Logging.
    pub log: Log,
    /// The rules of the world.
    pub world: World,
    /// Durability and retention of events.
    pub journal: Journal,
    /// Authentication of players.
    pub auth: Auth,
    /// Access to the AWS API.
    pub aws: Aws,
    /// Limits and notices of the bus.
    pub bus: Bus,
    /// TLS for players.
    pub tls: Tls,
    /// Limits of players and clients.
    pub limits: Limits,
    /// Thresholds of events on the bus `default`.
    pub thresholds: Thresholds,
    /// The general endpoint, and authorizers of connections.
    pub connections: Connections,
    /// The demo world.
    pub demo: Demo,
    /// The settings file; none: all values are defaults.
    #[serde(skip)]
    pub file: Option<SettingsFile>,
    /// Settings that flags override.
    #[serde(skip)]
    pub flags: Vec<&'static str>,
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Format of log lines. Default: text.
    pub format: LogFormat,
    /// A level, or a filter as in `info,fakemon_engine=debug`; none takes `RUST_LOG`, or `info`.
    pub level: Option<String>,
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The rules of the world.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct World {
    /// The reach of an attempt, in metres: 0.001 to 100,000. Default 50.
    pub reach_m: f64,
    /// Seed of the dodge rolls; none: the journal's, or a random one for a new journal.
    pub seed: Option<u64>,
    /// A file with a table of species; none: the built-in one.
    pub species_file: Option<PathBuf>,
}

/// Durability and retention of events.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Journal {
    /// When answers are given: after the sync, or before.
    pub durability: Durability,
    /// Interval of snapshots. Default 5 s.
    pub snapshot_every: Time,
    /// Events older than this are deleted; none keeps all.
    pub keep_age: Option<Time>,
    /// The oldest events are deleted when the journal is larger than this; none keeps all.
    pub keep_size: Option<Size>,
}

/// When answers are given: after the sync, or before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// After the sync: no answer is ever lost.
    #[default]
    Synced,
    /// After the write, before the sync: a power cut can lose answered events.
    Unsynced,
}

/// Authentication of players. Without both files, open mode: all local processes may play.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// A file with the secret of HS256 tokens.
    pub hs256_secret_file: Option<PathBuf>,
    /// A PEM file with the public key of EdDSA tokens.
    pub eddsa_public_key_file: Option<PathBuf>,
    /// How far clocks of token issuers may differ from this machine's, at most 10 min. Default: not at all.
    pub leeway: Option<Time>,
}

impl Auth {
    /// Whether players need no token.
    pub fn is_open(&self) -> bool {
        self.hs256_secret_file.is_none() && self.eddsa_public_key_file.is_none()
    }
}

/// Access to the AWS API. Without keys: all local processes may call it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Aws {
    /// A file of `access_key_id secret_access_key` lines.
    pub access_keys_file: Option<PathBuf>,
    /// How long a deleted queue's name stays reserved, and how long after a purge a queue cannot be purged again.
    /// Default 60 s.
    pub queue_pause: Time,
}

impl Default for Aws {
    fn default() -> Self {
        Aws { access_keys_file: None, queue_pause: Time(Duration::from_secs(60)) }
    }
}

/// Limits and notices of the bus. Defaults depend on [`Config::dev`], because foreign test suites use targets that do
/// not exist here, and expect only their own events.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bus {
    /// Whether a target may name a destination that this process does not serve; none: as `dev`.
    pub allow_unserved_targets: Option<bool>,
    /// Whether the service's limits hold where ours are wider.
    pub aws_limits: bool,
    /// Whether rules on the bus `default` see the engine's notices without asking for them; none: unless `dev`.
    pub engine_notices: Option<bool>,
}

/// TLS for players.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// A PEM file with the chain of certificates.
    pub certificate_file: Option<PathBuf>,
    /// A PEM file with the private key.
    pub key_file: Option<PathBuf>,
}

/// Limits of one player, and of all.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Attempts per second of one player, at least 1; none, the default: unlimited.
    pub attempts_per_second: Option<u32>,
    /// Attempts that one player may send at once before the limit above applies. Default 100.
    pub attempts_burst: u32,
    /// The longest message of a player, in bytes: 1 KiB to 1 MiB. Default 16 KiB.
    pub message_bytes_max: usize,
    /// Open connections of players; none: as many as the limit of open files allows.
    pub connections_max: Option<usize>,
    /// A connection that is silent for this time is closed. Default 60 s.
    pub idle_timeout: Time,
    /// Requests to the control plane in progress. Default 512.
    pub requests_max: usize,
    /// Requests that wait for messages of a queue; counted apart from those in progress. Default 1,024.
    pub polls_max: usize,
    /// Streams of events (`/stream`). Default 10,000.
    pub streams_max: usize,
    /// Streams of one player. Default 32.
    pub streams_per_player: usize,
    /// Share of each of these that one address other than loopback may take, in percent. Default 50.
    pub address_share_percent: u8,
    /// Longest time for a request to the control plane to arrive, head and body: 1 s to 10 min. Default 30 s.
    pub request_timeout: Time,
    /// A thread that does not move for this time makes the server not ready.
    pub thread_stalled: Time,
    /// A server that is asked to stop has stopped within this, or ends as it is.
    pub stop_within: Time,
}

/// Thresholds of events on the bus `default`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Thresholds {
    /// A group is slow if write and sync take this long. Default 250 ms.
    pub slow_sync: Time,
    /// Less free disk space than this is low. Default 2 GiB.
    pub disk_space_low: Size,
    /// Less free disk space than this is critical. Default 512 MiB.
    pub disk_space_critical: Size,
    /// A target is dead after this many failures without a delivery between them. Default 5.
    pub target_dead_attempts: u32,
    /// Or after this long without a delivery. Default 30 s.
    pub target_dead_after: Time,
}

/// The general endpoint `/ws`, and authorizers for connections there and at `/play`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Connections {
    /// An API destination that decides about every handshake; none: the access settings alone decide.
    pub authorizer: Option<String>,
    /// Another one for `/play`.
    pub play_authorizer: Option<String>,
    /// Another one for `/ws`.
    pub ws_authorizer: Option<String>,
    /// How long a handshake waits for a decision, at most 29 s. Default 2 s.
    pub authorizer_timeout: Time,
    /// How long a decision is cached; none: the authorizer is asked for each handshake.
    pub authorizer_ttl: Option<Time>,
    /// Selects the route key of a message of the general endpoint. Default `$request.body.action`.
    pub route_selection_expression: String,
    /// Messages per second of one connection to the general endpoint. Default 1,000.
    pub messages_per_second: u32,
    /// Messages that one connection may send at once before the limit above applies. Default 1,000.
    pub messages_burst: u32,
    /// The longest message of the general endpoint, in bytes: 1 KiB to 256 KiB. Default 128 KiB.
    pub message_bytes_max: usize,
    /// A connection to the general endpoint that is silent for this time is closed. Default 10 min.
    pub idle_timeout: Time,
}

/// The demo world.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Demo {
    /// Whether the demo runs. Default: no.
    pub enabled: bool,
    /// Latitude of its centre, in degrees.
    pub lat: f64,
    /// Longitude of its centre, in degrees.
    pub lon: f64,
    /// Simulated players, at most 1,000. Default 40.
    pub players: usize,
    /// Wild fakémon around the centre, while none is caught; at most 900. Default 80.
    pub wild: usize,
    /// Its radius, in metres: 50 to 5,000. Default 600.
    pub radius_m: f64,
    /// Spawns per second, at most: 0 to 100. Default 3.
    pub spawns_per_second: f64,
    /// Time zone for species of the day and of the night; none: by longitude.
    pub time_zone: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Config {
            data: "fakemon-data".into(),
            listen: loopback(7400),
            control: loopback(7401),
            cores: None,
            edges: None,
            allow_private_targets: false,
            dev: false,
            log: Log::default(),
            world: World::default(),
            journal: Journal::default(),
            auth: Auth::default(),
            aws: Aws::default(),
            bus: Bus::default(),
            tls: Tls::default(),
            limits: Limits::default(),
            thresholds: Thresholds::default(),
            connections: Connections::default(),
            demo: Demo::default(),
            file: None,
            flags: Vec::new(),
        }
    }
}

impl Default for World {
    fn default() -> Self {
        World { reach_m: 50.0, seed: None, species_file: None }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Journal {
            durability: Durability::Synced,
            snapshot_every: Time(Duration::from_secs(5)),
            keep_age: None,
            keep_size: None,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            attempts_per_second: None,
            attempts_burst: 100,
            message_bytes_max: 16 * 1024,
            connections_max: None,
            idle_timeout: Time(Duration::from_secs(60)),
            requests_max: 512,
            polls_max: 1_024,
            streams_max: 10_000,
            streams_per_player: 32,
            address_share_percent: 50,
            request_timeout: Time(Duration::from_secs(30)),
            thread_stalled: Time(Duration::from_secs(10)),
            stop_within: Time(Duration::from_secs(30)),
        }
    }
}

impl Limits {
    fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key, what: String| Err(ConfigError::of(key, what));
        if !(MESSAGE_BYTES_MIN..=MESSAGE_BYTES_MAX).contains(&self.message_bytes_max) {
            let key = "limits.message_bytes_max";
            return refuse(key, format!("{key} must be from {MESSAGE_BYTES_MIN} to {MESSAGE_BYTES_MAX}"));
        }
        check_number("limits.connections_max", self.connections_max.map(|most| most as u64), PLACES_MAX as u64)?;
        check_number("limits.attempts_per_second", self.attempts_per_second.map(u64::from), RATE_MAX)?;
        check_number("limits.attempts_burst", Some(self.attempts_burst.into()), RATE_MAX)?;
        self.check_places()?;
        check_time("limits.thread_stalled", self.thread_stalled, Duration::from_secs(1), 600)?;
        check_time("limits.stop_within", self.stop_within, Duration::from_secs(1), 3_600)?;
        check_timeout("limits.idle_timeout", self.idle_timeout)
    }

    /// Checks the limits of the control plane.
    fn check_places(&self) -> Result<(), ConfigError> {
        for (key, value) in [
            ("limits.requests_max", self.requests_max),
            ("limits.polls_max", self.polls_max),
            ("limits.streams_max", self.streams_max),
            ("limits.streams_per_player", self.streams_per_player),
        ] {
            if !(1..=PLACES_MAX).contains(&value) {
                return Err(ConfigError::of(key, format!("{key} must be from 1 to {PLACES_MAX}")));
            }
        }
        let is_default = self.streams_per_player == Limits::default().streams_per_player;
        if self.streams_per_player > self.streams_max && !is_default {
            let key = "limits.streams_per_player";
            return Err(ConfigError::of(
                key,
                format!("{key} must be at most limits.streams_max ({})", self.streams_max),
            ));
        }
        if !(1..=100).contains(&self.address_share_percent) {
            let key = "limits.address_share_percent";
            return Err(ConfigError::of(key, format!("{key} must be from 1 to 100")));
        }
        if !REQUEST_TIMEOUTS.contains(&self.request_timeout.0) {
            let key = "limits.request_timeout";
            return Err(ConfigError::of(key, format!("{key} must be from 1 s to 10 min")));
        }
        Ok(())
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        let engine = fakemon_engine::Thresholds::default();
        Thresholds {
            slow_sync: Time(engine.slow_sync),
            disk_space_low: Size(engine.disk_space_low),
            disk_space_critical: Size(engine.disk_space_critical),
            target_dead_attempts: engine.target_dead_attempts,
            target_dead_after: Time(engine.target_dead_after),
        }
    }
}

impl Default for Connections {
    fn default() -> Self {
        Connections {
            authorizer: None,
            play_authorizer: None,
            ws_authorizer: None,
            authorizer_timeout: Time(Duration::from_secs(2)),
            authorizer_ttl: None,
            route_selection_expression: "$request.body.action".into(),
            messages_per_second: 1_000,
            messages_burst: 1_000,
            message_bytes_max: 128 * 1024,
            idle_timeout: Time(Duration::from_secs(600)),
        }
    }
}

impl Connections {
    /// Checks values that the edge would reject without naming the setting.
    fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key, what: String| Err(ConfigError::of(key, what));
        if let Err(error) = self.route_selection_expression.parse::<RouteSelection>() {
            let key = "connections.route_selection_expression";
            return refuse(key, format!("{key}: {error}"));
        }
        for (key, name) in [
            ("connections.authorizer", &self.authorizer),
            ("connections.play_authorizer", &self.play_authorizer),
            ("connections.ws_authorizer", &self.ws_authorizer),
        ] {
            if name.as_ref().is_some_and(|name| !is_destination(name)) {
                let form = "1 to 64 letters, digits, `.`, `-` and `_`";
                return refuse(key, format!("{key} must be the name of an API destination: {form}"));
            }
        }
        let authorizers = [&self.authorizer, &self.play_authorizer, &self.ws_authorizer];
        if self.authorizer_ttl.is_some() && authorizers.iter().all(|authorizer| authorizer.is_none()) {
            let key = "connections.authorizer_ttl";
            let what =
                "there is no authorizer whose decisions could be kept: set connections.authorizer, or leave it out";
            return refuse(key, format!("{key}: {what}"));
        }
        if let Some(ttl) = self.authorizer_ttl {
            check_time("connections.authorizer_ttl", ttl, Duration::from_millis(1), 86_400)?;
        }
        if self.authorizer_timeout.0 > AUTHORIZER_TIMEOUT_MAX {
            let seconds = AUTHORIZER_TIMEOUT_MAX.as_secs();
            let key = "connections.authorizer_timeout";
            return refuse(key, format!("{key} must be at most {seconds} s"));
        }
        for (key, value) in [
            ("connections.messages_per_second", self.messages_per_second),
            ("connections.messages_burst", self.messages_burst),
        ] {
            check_number(key, Some(value.into()), RATE_MAX)?;
        }
        if !(MESSAGE_BYTES_MIN..=GENERAL_MESSAGE_BYTES_MAX).contains(&self.message_bytes_max) {
            let key = "connections.message_bytes_max";
            return refuse(key, format!("{key} must be from {MESSAGE_BYTES_MIN} to {GENERAL_MESSAGE_BYTES_MAX}"));
        }
        check_timeout("connections.idle_timeout", self.idle_timeout)
    }
}

impl Thresholds {
    fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key, what: String| Err(ConfigError::of(key, what));
        for (key, size) in [
            ("thresholds.disk_space_low", self.disk_space_low),
            ("thresholds.disk_space_critical", self.disk_space_critical),
        ] {
            if size.0 > DISK_SPACE_MAX {
                return refuse(key, format!("{key} must be at most {}TiB", DISK_SPACE_MAX >> 40));
            }
        }
        if self.disk_space_critical > self.disk_space_low {
            let key = "thresholds.disk_space_critical";
            return refuse(key, format!("{key} must be at most thresholds.disk_space_low"));
        }
        check_number("thresholds.target_dead_attempts", Some(self.target_dead_attempts.into()), 1_000_000)?;
        check_time("thresholds.slow_sync", self.slow_sync, Duration::from_millis(1), 3_600)?;
        check_time("thresholds.target_dead_after", self.target_dead_after, Duration::from_millis(1), 30 * 86_400)
    }
}

/// A number, if it is set, from 1.
fn check_number(key: &'static str, value: Option<u64>, most: u64) -> Result<(), ConfigError> {
    match value.is_none_or(|value| (1..=most).contains(&value)) {
        true => Ok(()),
        false => Err(ConfigError::of(key, format!("{key} must be from 1 to {most}"))),
    }
}

fn check_time(key: &'static str, time: Time, least: Duration, most_s: u64) -> Result<(), ConfigError> {
    match (least..=Duration::from_secs(most_s)).contains(&time.0) {
        true => Ok(()),
        false => Err(ConfigError::of(key, format!("{key} must be from {} to {most_s}s", Time(least)))),
    }
}

/// Whether an API destination can have this name.
fn is_destination(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

/// Of a connection that is silent.
fn check_timeout(key: &'static str, timeout: Time) -> Result<(), ConfigError> {
    let (least, most) = (Time(*TIMEOUTS.start()), TIMEOUTS.end().as_secs() / 86_400);
    match TIMEOUTS.contains(&timeout.0) {
        true => Ok(()),
        false => Err(ConfigError::of(key, format!("{key} must be from {least} to {most}d"))),
    }
}

impl Default for Demo {
    fn default() -> Self {
        Demo {
            enabled: false,
            lat: 40.4168, // Puerta del Sol, Madrid
            lon: -3.7038,
            players: 40,
            wild: 80,
            radius_m: 600.0,
            spawns_per_second: 3.0,
            time_zone: None,
        }
    }
}

impl Demo {
    /// Checks values that the demo would reject only after the start.
    fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key, what: String| Err(ConfigError::of(key, what));
        if let Err(error) = fakemon_model::place::Place::from_degrees(self.lat, self.lon) {
            let key = if (-90.0..=90.0).contains(&self.lat) { "demo.lon" } else { "demo.lat" };
            return refuse(key, format!("demo.{error}"));
        }
        for (key, value, range) in [
            ("demo.radius_m", self.radius_m, RADIUS_M),
            ("demo.spawns_per_second", self.spawns_per_second, SPAWNS_PER_SECOND),
        ] {
            if !range.contains(&value) || value.is_sign_negative() {
                return refuse(key, format!("{key} must be from {} to {}", range.start(), range.end()));
            }
        }
        for (key, value, most) in [("demo.players", self.players, PLAYERS_MAX), ("demo.wild", self.wild, WILD_MAX)] {
            if value > most {
                return refuse(key, format!("{key} must be at most {most}"));
            }
        }
        if let Some(name) = self.time_zone.as_ref().filter(|name| jiff::tz::TimeZone::get(name).is_err()) {
            let key = "demo.time_zone";
            return refuse(key, format!("{key} `{name}` is unknown: give one as Europe/Madrid"));
        }
        Ok(())
    }
}

impl Config {
    /// Reads a settings file. Paths in it are relative to its directory.
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        let shown = path.display();
        let text = read_text(path, FILE_BYTES_MAX)
            .map_err(|error| ConfigError::of_file(format!("settings file {shown}: {error}; check --config")))?;
        let mut config = Config::parse(&text)
            .map_err(|ConfigError { what, .. }| ConfigError::of_file(format!("settings file {shown}, {what}")))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        config.file = Some(SettingsFile { path: path.to_owned(), text });
        config.check_paths().map_err(|error| error.located(&[], config.file.as_ref()))?;
        config.paths().for_each(|(_, path)| *path = folder.join(&*path));
        Ok(config)
    }

    /// Parses settings.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        reading::check_shapes(text)?;
        toml::from_str(text).map_err(|error| reading::unread(text, &error))
    }

    /// Checks all values, and relations between settings, before anything is created.
    pub fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key, what: String| Err(ConfigError::of(key, what));
        if self.cores.is_some_and(|cores| !(1..=CORES_MAX).contains(&cores)) {
            return refuse("cores", format!("cores must be from 1 to {CORES_MAX}"));
        }
        if self.edges.is_some_and(|edges| !(1..=THREADS_MAX).contains(&edges)) {
            return refuse("edges", format!("edges must be from 1 to {THREADS_MAX}"));
        }
        if !REACHES_M.contains(&self.world.reach_m) {
            let (least, most) = (REACHES_M.start(), REACHES_M.end());
            return refuse("world.reach_m", format!("world.reach_m must be from {least} to {most} metres"));
        }
        if self.tls.certificate_file.is_some() != self.tls.key_file.is_some() {
            let key = if self.tls.key_file.is_some() { "tls.key_file" } else { "tls.certificate_file" };
            return refuse(key, "tls.certificate_file and tls.key_file go together: set both or none".into());
        }
        if self.auth.leeway.is_some_and(|leeway| leeway.0 > LEEWAY_MAX) {
            let key = "auth.leeway";
            return refuse(key, format!("{key} must be at most {} min", LEEWAY_MAX.as_secs() / 60));
        }
        self.check_paths()?;
        if let Some(level) = &self.log.level {
            log_level::check(level)?;
        }
        check_time("journal.snapshot_every", self.journal.snapshot_every, Duration::from_millis(1), 3_600)?;
        check_time("aws.queue_pause", self.aws.queue_pause, Duration::from_millis(1), 86_400)?;
        self.thresholds.check()?;
        self.limits.check()?;
        self.connections.check()?;
        self.demo.check()?;
        if self.demo.enabled && !(self.auth.is_open() && self.tls.certificate_file.is_none()) {
            let what = "the demo's players come without tokens and TLS: leave out demo, or auth and tls";
            return refuse("demo.enabled", what.into());
        }
        self.check_addresses()
    }

    /// Checks that a server without credentials listens on loopback only.
    fn check_addresses(&self) -> Result<(), ConfigError> {
        if self.aws.access_keys_file.is_none() && !self.control.ip().is_loopback() {
            let what = format!(
                "without credentials the control plane is served on loopback only, not on {}: set aws.access_keys_file, \
                 or set control to a loopback address, as in {}",
                self.control,
                Config::default().control
            );
            return Err(ConfigError::of("control", what));
        }
        if self.auth.is_open() && !self.listen.ip().is_loopback() {
            let what = format!(
                "without credentials players are served on loopback only, not on {}: set auth.hs256_secret_file or \
                 auth.eddsa_public_key_file, or listen on 127.0.0.1",
                self.listen
            );
            return Err(ConfigError::of("listen", what));
        }
        Ok(())
    }

    /// Reads the species of the world.
    pub fn species(&self) -> Result<SpeciesTable, ConfigError> {
        let Some(path) = &self.world.species_file else {
            return Ok(SpeciesTable::default());
        };
        let key = "world.species_file";
        let refuse = |why: String| self.refused(key, &format!("{key} {}: {why}", path.display()));
        let unread = |error: io::Error| refuse(format!("{error}: {}", remedy_of(key)));
        let text = read_text(path, FILE_BYTES_MAX).map_err(unread)?;
        SpeciesTable::from_toml(&text).map_err(|error| refuse(one_line(&error.to_string())))
    }

    /// Checks that the files of settings can be read, each to its end.
    pub fn check_files(&self) -> Result<(), ConfigError> {
        let mut settings = self.clone();
        let mut files = settings.paths().filter(|(key, _)| *key != "data");
        files.try_for_each(|(key, path)| bytes_of(key, path).map(drop))
    }

    /// Why a setting is rejected that only its file shows to be wrong, with the source of the setting.
    pub(crate) fn refused(&self, key: &'static str, what: &str) -> ConfigError {
        ConfigError::of(key, what).located(&self.flags, self.file.as_ref())
    }

    /// A path names something.
    fn check_paths(&self) -> Result<(), ConfigError> {
        let is_none = |path: &Path| path.as_os_str().is_empty() || path.as_os_str().as_encoded_bytes().contains(&0);
        match self.clone().paths().find(|(_, path)| is_none(path)) {
            Some((key, _)) => Err(ConfigError::of(key, format!("{key} must be a path, without a zero byte"))),
            None => Ok(()),
        }
    }

    fn paths(&mut self) -> impl Iterator<Item = (&'static str, &mut PathBuf)> {
        let files = [
            ("world.species_file", self.world.species_file.as_mut()),
            ("auth.hs256_secret_file", self.auth.hs256_secret_file.as_mut()),
            ("auth.eddsa_public_key_file", self.auth.eddsa_public_key_file.as_mut()),
            ("aws.access_keys_file", self.aws.access_keys_file.as_mut()),
            ("tls.certificate_file", self.tls.certificate_file.as_mut()),
            ("tls.key_file", self.tls.key_file.as_mut()),
            ("data", Some(&mut self.data)),
        ];
        files.into_iter().filter_map(|(key, path)| Some((key, path?)))
    }
}

/// The bytes of a file that a setting names.
pub fn bytes_of(key: &'static str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    let unread = |error| ConfigError::of(key, format!("{key} {}: {error}: {}", path.display(), remedy_of(key)));
    read_bytes(path, FILE_BYTES_MAX).map_err(unread)
}

/// What a file that a setting names must be.
fn remedy_of(key: &str) -> &'static str {
    match key {
        "world.species_file" => "name a file with a table of species, or leave it out for those that are built in",
        "aws.access_keys_file" => "name a file of `access_key_id secret_access_key` lines that this user may read",
        "auth.hs256_secret_file" => "name a file with the secret, that this user may read",
        _ => "name a PEM file that this user may read",
    }
}

const PLACES_MAX: usize = 1_000_000; // more would not be descriptors of one process
const RATE_MAX: u64 = 1_000_000; // more than one connection can send
const DISK_SPACE_MAX: u64 = 1_024 << 40; // more than one file system has
const REQUEST_TIMEOUTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
/// From a millimetre, which is how exactly it is stored.
const REACHES_M: RangeInclusive<f64> = 0.001..=100_000.0;
const MESSAGE_BYTES_MIN: usize = 1024; // the longest message that a well-behaved client needs
const LEEWAY_MAX: Duration = Duration::from_secs(600); // clocks that are further apart are wrong
const AUTHORIZER_TIMEOUT_MAX: Duration = Duration::from_secs(29); // as with API Gateway

/// `127.0.0.1:7400`, `[::1]:7400`, `localhost:7400`.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let literal = text.replacen("localhost:", "127.0.0.1:", 1);
    literal.parse().map_err(|_| format!("`{text}` is no address: give IP:PORT, as in 127.0.0.1:7400"))
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    parse_address(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// The number, from 1, and the text of the line that contains byte `at`.
fn line_at(text: &str, at: usize) -> (usize, &str) {
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let source = text[start..].lines().next().unwrap_or("").trim();
    (before.matches('\n').count() + 1, source)
}

/// The same words without line breaks.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_file_says_the_defaults() {
        assert_eq!(Config::parse(DOCUMENTED).unwrap(), Config::default());
    }

    #[test]
    fn every_documented_setting_is_understood() {
        let uncommented: String = DOCUMENTED
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        let config = Config::parse(&uncommented).unwrap();
        assert_eq!(config.journal.keep_size, Some(Size(100 << 30)));
        assert_eq!(config.journal.keep_age, Some(Time(Duration::from_secs(30 * 86_400))));
        assert_eq!(config.cores, Some(2));
    }

    #[test]
    fn an_error_names_the_line_the_key_and_the_remedy() {
        for (text, expected) in [
            ("cors = 2", "line 1 (`cors = 2`): there is no setting cors"),
            (
                "\n[world]\nreach_m = \"far\"",
                "line 3 (`reach_m = \"far\"`): world.reach_m must be a number, not the text \"far\"",
            ),
            ("[limits]\nrequests_max = -1", "limits.requests_max must be a whole number from 0"),
            (
                "[limits]\naddress_share_percent = 300",
                "limits.address_share_percent must be a whole number from 0 to 255",
            ),
            ("data = [\"a\"]", "data must be a path in quotes, not a list"),
            ("dev = 1", "dev must be true or false, not 1"),
            ("world = [1.0]", "world must be a table of settings"),
            ("listen = \"here\"", "give IP:PORT"),
            ("[journal]\nkeep_age = \"long\"", "line 2 (`keep_age = \"long\"`): journal.keep_age: `long` is no time"),
            ("[journal]\nkeep_size = \"1EB\"", "is no size"),
            ("[journal]\ndurability = \"maybe\"", "journal.durability must be `synced` or `unsynced`, not `maybe`"),
            ("data = ", "line 1 (`data =`)"),
        ] {
            let error = Config::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains('\n') && error.contains("`fakemon config` shows"), "{error}");
        }
    }

    #[test]
    fn without_credentials_only_loopback_is_served() {
        let mut config = Config { listen: "0.0.0.0:7400".parse().unwrap(), ..Config::default() };
        assert!(config.check().unwrap_err().to_string().contains("auth.hs256_secret_file"));
        config.auth.hs256_secret_file = Some("secret".into());
        assert!(config.check().is_ok());
        config.control = "0.0.0.0:7401".parse().unwrap();
        assert!(config.check().unwrap_err().to_string().contains("set aws.access_keys_file"));
        config.aws.access_keys_file = Some("keys".into());
        assert!(config.check().is_ok());
        config.auth.hs256_secret_file = None;
        assert!(config.check().unwrap_err().to_string().contains("auth."), "keys are not for players");
    }

    #[test]
    fn a_refused_value_is_located_by_its_flag_or_its_line() {
        let text = "edges = 100\n\n[limits]\n  idle_timeout = \"8d\" # a week is not enough\n";
        let mut config = Config::parse(text).unwrap();
        let file = SettingsFile { path: "my.toml".into(), text: text.into() };
        let said =
            |config: &Config, flags: &[&str]| config.check().unwrap_err().located(flags, Some(&file)).to_string();
        assert_eq!(said(&config, &[]), "settings file my.toml, line 1 (`edges = 100`): edges must be from 1 to 64");
        assert_eq!(said(&config, &["edges"]), "--edges: edges must be from 1 to 64");
        config.edges = None;
        let said = said(&config, &["edges"]);
        assert!(said.starts_with("settings file my.toml, line 4 (`idle_timeout = \"8d\" # a week"), "{said}");
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let refused = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(refused(|config| config.cores = Some(0)).contains("cores"));
        for reach_m in [
            |config: &mut Config| config.world.reach_m = f64::NAN,
            |config: &mut Config| {
                config.world.reach_m = 1e-320;
            },
        ] {
            assert!(refused(reach_m).contains("world.reach_m must be from 0.001 to 100000 metres"));
        }
        assert!(refused(|config| config.demo.spawns_per_second = -0.0).contains("demo.spawns_per_second"));
        let ttl = refused(|config| config.connections.authorizer_ttl = Some(Time(Duration::from_secs(9))));
        assert!(ttl.contains("connections.authorizer_ttl: there is no authorizer"), "{ttl}");
        assert!(refused(|config| config.limits.streams_per_player = 10_001).contains("limits.streams_max (10000)"));
        let mut few = Config::default();
        few.limits.streams_max = 16;
        assert!(few.check().is_ok(), "the default of streams_per_player is no setting of the operator");
        assert!(refused(|config| config.demo.lat = 91.0).contains("demo.lat"));
        assert!(refused(|config| config.tls.key_file = Some("key".into())).contains("tls.certificate_file"));
        let refused_route = refused(|config| config.connections.route_selection_expression = "action".into());
        assert!(refused_route.contains("connections.route_selection_expression"), "{refused_route}");
        let patient = refused(|config| config.connections.authorizer_timeout = Time(Duration::from_secs(30)));
        assert!(patient.contains("connections.authorizer_timeout"), "{patient}");
        assert!(refused(|config| config.connections.messages_burst = 0).contains("connections.messages_burst"));
        assert!(refused(|config| config.auth.leeway = Some(Time(Duration::from_secs(601)))).contains("auth.leeway"));
        assert!(refused(|config| config.limits.polls_max = 0).contains("limits.polls_max"));
        assert!(refused(|config| config.limits.address_share_percent = 101).contains("limits.address_share_percent"));
        assert!(
            refused(|config| config.limits.request_timeout = Time(Duration::from_millis(9)))
                .contains("request_timeout")
        );
        assert!(refused(|config| config.limits.message_bytes_max = 1).contains("limits.message_bytes_max"));
        assert!(refused(|config| config.limits.message_bytes_max = 2 << 20).contains("limits.message_bytes_max"));
        assert!(refused(|config| config.edges = Some(100)).contains("edges"));
        let week = Time(Duration::from_secs(8 * 86_400));
        let idle = [week, Time(Duration::from_millis(50))].map(|timeout| {
            let mut config = Config::default();
            config.limits.idle_timeout = timeout;
            config.check().unwrap_err().to_string()
        });
        assert!(idle.iter().all(|said| said == "limits.idle_timeout must be from 100ms to 7d"), "{idle:?}");
        let general = Time(Duration::from_millis(50));
        let mut config = Config::default();
        config.connections.idle_timeout = general;
        assert!(config.check().unwrap_err().to_string().contains("connections.idle_timeout"));
        assert!(refused(|config| config.demo.players = 1_001).contains("demo.players"));
        assert!(refused(|config| config.demo.spawns_per_second = f64::NAN).contains("demo.spawns_per_second"));
        assert!(refused(|config| config.demo.time_zone = Some("Mars/Olympus".into())).contains("demo.time_zone"));
        assert!(
            refused(|config| config.thresholds.disk_space_low = Size(1)).contains("thresholds.disk_space_critical")
        );
        assert!("36501d".parse::<Time>().is_err());
        assert!(refused(|config| config.limits.connections_max = Some(usize::MAX)).contains("connections_max"));
        assert!(refused(|config| config.limits.attempts_burst = u32::MAX).contains("limits.attempts_burst"));
        assert!(refused(|config| config.thresholds.disk_space_low = Size(u64::MAX)).contains("disk_space_low"));
        let century =
            refused(|config| config.thresholds.slow_sync = Time(Duration::from_millis(quantity::TIME_MS_MAX)));
        assert_eq!(century, "thresholds.slow_sync must be from 1ms to 3600s");
        assert!(refused(|config| config.data = "".into()).contains("data must be a path"));
    }

    #[test]
    fn an_authorizer_is_a_name_of_an_api_destination() {
        for name in ["", "/", "\0", "a b", "a/b", "é", &"a".repeat(65)] {
            for (key, of) in
                [("connections.authorizer", 0), ("connections.play_authorizer", 1), ("connections.ws_authorizer", 2)]
            {
                let mut config = Config::default();
                let Connections { authorizer, play_authorizer, ws_authorizer, .. } = &mut config.connections;
                *[authorizer, play_authorizer, ws_authorizer][of] = Some(name.to_owned());
                let said = config.check().unwrap_err().to_string();
                assert!(said.starts_with(key), "{name:?}: {said}");
            }
        }
        assert!(is_destination("who-may_connect.2"));
    }
}
