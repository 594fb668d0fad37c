//! All settings, from the file over the defaults, and the files that they name.

use crate::error::{ConfigError, one_line};
use crate::reading;
use crate::sections::{Auth, Aws, Bus, Connections, Demo, Journal, Limits, Log, Thresholds, Tls, World};
use crate::settings_file::SettingsFile;
use fakemon_journal::files::{read_bytes, read_text};
use fakemon_model::species::SpeciesTable;
use serde::{Deserialize, Deserializer, de};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The documented settings file.
pub const DOCUMENTED: &str = include_str!("config.toml");
/// The longest settings file, and the longest file that a setting names.
const FILE_BYTES_MAX: u64 = 16 << 20;

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
    pub fn refused(&self, key: &'static str, what: &str) -> ConfigError {
        ConfigError::of(key, what).located(&self.flags, self.file.as_ref())
    }

    /// A path names something.
    pub(crate) fn check_paths(&self) -> Result<(), ConfigError> {
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

/// `127.0.0.1:7400`, `[::1]:7400`, `localhost:7400`.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let literal = text.replacen("localhost:", "127.0.0.1:", 1);
    literal.parse().map_err(|_| format!("`{text}` is no address: give IP:PORT, as in 127.0.0.1:7400"))
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    parse_address(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantity::{Size, Time};
    use std::time::Duration;

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
}
