//! Settings of `fakemon serve`, and what they mean to each part of the server. The settings file overrides the
//! defaults; flags override both. The file `config.toml` beside this one documents every setting; `fakemon config`
//! prints it and a test reads it.
//!
//! Modules in reading order:
//!
//! - `quantity`: spans of time and numbers of bytes
//! - `settings_file`: where a setting stands in the file
//! - `error`: why settings are rejected, with the flag or the line
//! - `reading`: what is wrong with a file that cannot be read
//! - `log_level`: the setting `log.level`
//! - `sections`: the tables of the file, with their defaults
//! - `config`: all settings, and the files that they name
//! - `check`: ranges, and relations between settings
//! - `flags`: the flags that go over the file
//! - `descriptors`: file descriptors: which part gets how many
//! - [`options`]: the options of engine, edge and demo

mod quantity;
mod settings_file;
mod error;
mod reading;
mod log_level;
mod sections;
mod config;
mod check;
mod flags;
mod descriptors;
pub mod options;

pub use config::{Config, DOCUMENTED, bytes_of, parse_address};
pub use descriptors::{Descriptors, raise_limit};
pub use error::{ConfigError, one_line};
pub use flags::ServeArgs;
pub use quantity::{Size, Time};
pub use sections::{
    Auth, Aws, Bus, Connections, Demo, Durability, Journal, Limits, Log, LogFormat, Thresholds, Tls, World,
};
pub use settings_file::SettingsFile;
