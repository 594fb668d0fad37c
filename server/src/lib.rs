//! The server around the engine; modules in reading order.
//!
//! - `log_lines`: what the process says on stderr; `descriptors`: who may have how many
//! - [`play`]: messages of the player websocket, as types; [`auth`]: who a player is; [`access_keys`]: who may call the
//!   AWS API
//! - `authority`: hosts and origins in headers
//! - [`contact`]: how tools find the server that has a data directory open
//! - [`edge`]: sockets of players, one read and one write per connection and turn
//! - [`control`]: HTTP on a thread of its own: events, metrics, health, the page
//! - [`load`]: the load generator; [`demo`]: the living world of `serve --demo`
//! - [`config`]: settings; [`command`]: the command line
//!
#![doc = include_str!("incident.md")]

mod printed;
mod log_lines;
mod descriptors;
pub mod play;
pub mod auth;
pub mod access_keys;
mod authority;
pub mod contact;
pub mod edge;
pub mod letters;
pub mod control;
pub mod load;
pub mod demo;
pub mod config;
pub mod command;
