//! The `fakemon` binary: command line and server, assembled from its crates.
//!
//! The server around the engine, crates in reading order:
//!
//! - `fakemon_protocol`: messages of the player websocket, as types
//! - `fakemon_access`: authentication of players and of callers of the AWS API, hosts and origins, the control file
//! - `fakemon_edge`: sockets of players, one read and one write per connection and turn
//! - `fakemon_http`: what every handler of the control plane's HTTP needs: sockets, places, errors, the engine client
//! - `fakemon_aws`: the protocol of AWS: requests, signatures, answers, API keys
//! - `fakemon_eventbridge`: buses, rules, targets, archives, connections, pipes, schedules, schemas
//! - `fakemon_sqs`: queues and their messages; `fakemon_logs`: log groups and their lines
//! - `fakemon_webhooks`: requests to others: API destinations, answer webhooks, authorizers
//! - `fakemon_control`: the control plane on a thread of its own: it routes to the crates above, and has what is
//!   ours: events, partners, streams, `@connections`, metrics, health, the page
//! - `fakemon_load`: the load generator, and the living world of `serve --demo`
//! - `fakemon_settings`: settings and flags of `serve`: tables, defaults, checks, and the options of each part
//!
//! Here: `log_lines`: what the process says on stderr; `signals`: what it hears; `watchdog`: whether its threads
//! move, and it stops; `printed`: what it says on stdout; [`command`]: the command
//! line, in folders by subject.
//!
#![doc = include_str!("incident.md")]

mod printed;
mod log_lines;
mod signals;
mod watchdog;
pub mod command;
