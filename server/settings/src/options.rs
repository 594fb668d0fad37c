//! The options of each part of the server, as the settings say. What is wrong with a setting is said here, before
//! the journal is opened.

use crate::config::{Config, bytes_of};
use crate::descriptors::Descriptors;
use crate::sections::{Durability, Limits};
use anyhow::Context;
use fakemon_access::access_keys::AccessKeys;
use fakemon_access::player_token::{self, Access, TokenKeys};
use fakemon_control as control;
use fakemon_edge::{Authorizers, EdgeOptions, GeneralOptions, Rate, Tls};
use fakemon_engine::{Options, Retention};
use fakemon_load::demo::DemoOptions;
use fakemon_model::limits::CORES_MAX;
use fakemon_model::place::Place;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// File descriptors of an edge thread: its listener, its poll, its waker, its client's bell.
const DESCRIPTORS_PER_EDGE: usize = 6;

/// The options of the engine. Fails if the species of the world cannot be read.
pub fn engine_options(config: &Config) -> anyhow::Result<Options> {
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

/// Divides the file descriptors of the process, `limit` of them. Fails if they are too few for the engine.
pub fn shares(config: &Config, engine: &Options, limit: usize) -> anyhow::Result<Descriptors> {
    let Limits { requests_max, polls_max, streams_max, .. } = config.limits;
    let wanted = requests_max + polls_max + streams_max + control::IDLE_CONNECTIONS;
    let edges = DESCRIPTORS_PER_EDGE * config.edges.unwrap_or_else(half_of_the_cores);
    Descriptors::divide(limit, engine.descriptors(limit) + edges, wanted, control::EXTRA_SEATS)
}

/// The options of the edge; its page is at `control`. Fails if a key of players cannot be read.
pub fn edge_options(config: &Config, control: SocketAddr, shares: Descriptors) -> anyhow::Result<EdgeOptions> {
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

/// The access keys of the AWS API; none if no file is set. Fails if that cannot be read.
pub fn access_keys(config: &Config) -> anyhow::Result<Option<AccessKeys>> {
    let Some(path) = &config.aws.access_keys_file else { return Ok(None) };
    let key = "aws.access_keys_file";
    let refuse = |error: anyhow::Error| config.refused(key, &format!("{key} {}: {error:#}", path.display()));
    let keys = AccessKeys::read(path).map_err(refuse)?;
    if !config.control.ip().is_loopback() {
        tracing::warn!("the control plane speaks plain HTTP on {}: put TLS before it", config.control);
    }
    Ok(Some(keys))
}

/// The options of the demo world. Fails if its centre is on no globe.
pub fn demo_options(config: &Config) -> anyhow::Result<DemoOptions> {
    Ok(DemoOptions {
        centre: Place::from_degrees(config.demo.lat, config.demo.lon)?,
        radius_m: config.demo.radius_m,
        players: config.demo.players,
        wild: config.demo.wild,
        spawns_per_second: config.demo.spawns_per_second,
        time_zone: config.demo.time_zone.clone(),
    })
}
