//! Checks of all values, and of relations between settings, before anything is created.

use crate::config::Config;
use crate::error::ConfigError;
use crate::log_level;
use crate::quantity::Time;
use crate::sections::{Connections, Demo, Limits, Thresholds};
use fakemon_edge::{GENERAL_MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX, RouteSelection, THREADS_MAX, TIMEOUTS};
use fakemon_load::demo::{PLAYERS_MAX, RADIUS_M, SPAWNS_PER_SECOND, WILD_MAX};
use fakemon_model::limits::CORES_MAX;
use std::ops::RangeInclusive;
use std::time::Duration;

const PLACES_MAX: usize = 1_000_000; // more would not be descriptors of one process
const RATE_MAX: u64 = 1_000_000; // more than one connection can send
const DISK_SPACE_MAX: u64 = 1_024 << 40; // more than one file system has
const REQUEST_TIMEOUTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
/// From a millimetre, which is how exactly it is stored.
const REACHES_M: RangeInclusive<f64> = 0.001..=100_000.0;
const MESSAGE_BYTES_MIN: usize = 1024; // the longest message that a well-behaved client needs
const LEEWAY_MAX: Duration = Duration::from_secs(600); // clocks that are further apart are wrong
const AUTHORIZER_TIMEOUT_MAX: Duration = Duration::from_secs(29); // as with API Gateway

impl Config {
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

/// Of a connection that is silent.
fn check_timeout(key: &'static str, timeout: Time) -> Result<(), ConfigError> {
    let (least, most) = (Time(*TIMEOUTS.start()), TIMEOUTS.end().as_secs() / 86_400);
    match TIMEOUTS.contains(&timeout.0) {
        true => Ok(()),
        false => Err(ConfigError::of(key, format!("{key} must be from {least} to {most}d"))),
    }
}

/// Whether an API destination can have this name.
fn is_destination(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantity::{self, Size};
    use crate::settings_file::SettingsFile;

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
