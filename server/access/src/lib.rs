//! Authentication and authorization, for all endpoints of the server.
//!
//! - [`player_token`]: authenticates players: JSON web tokens and their keys
//! - [`access_keys`]: keys that may call the AWS API
//! - [`authority`]: hosts and origins in headers
//! - [`control_file`]: how tools find the server that has a data directory open, and its secret

#![allow(
    missing_docs,
    reason = "nothing outside of this workspace reads them; a doc that repeats a name says nothing"
)]

pub mod access_keys;
pub mod authority;
pub mod control_file;
pub mod player_token;
