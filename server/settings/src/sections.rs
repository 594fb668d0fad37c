//! The tables of the settings file, with their defaults.

use crate::quantity::{Size, Time};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

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

impl Default for World {
    fn default() -> Self {
        World { reach_m: 50.0, seed: None, species_file: None }
    }
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

/// Limits and notices of the bus. Defaults depend on [`Config::dev`](crate::Config::dev), because foreign test suites
/// use targets that do not exist here, and expect only their own events.
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
