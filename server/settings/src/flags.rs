//! The flags of `fakemon serve`, which go over the settings file.

use crate::config::{Config, parse_address};
use crate::sections::{Durability, LogFormat};
use std::net::SocketAddr;
use std::path::PathBuf;

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

impl ServeArgs {
    /// The settings: the file, overridden by flags, checked.
    pub fn settle(self) -> anyhow::Result<Config> {
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
