//! Why settings are rejected: the flag or the line, the setting, the remedy.

use crate::settings_file::SettingsFile;

/// Why settings are rejected, in one line: the file, the key, the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct ConfigError {
    /// The setting, as `limits.idle_timeout`; none if the file cannot be parsed.
    key: Option<&'static str>,
    pub(crate) what: String,
}

impl ConfigError {
    pub(crate) fn of(key: &'static str, what: impl Into<String>) -> ConfigError {
        ConfigError { key: Some(key), what: what.into() }
    }

    pub(crate) fn of_file(what: String) -> ConfigError {
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

/// The same words without line breaks.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
