//! Pipes: from a source through a filter and an enrichment to a target, in order, at least once. Each running pipe is
//! a thread of its own, so that a slow or dead target delays no other pipe.
//!
//! ```text
//! queue ────────┐
//! bus, journal ─┤► Intake ── batch ──► enrichment ──► Delivery ──► queue, bus, log group, capture service,
//! HTTP stream ──┘  filter    window    JSON array     template     players, functions, webhooks (the program)
//!      ▲                               in and out         │
//!      └── deleted, or the cursor moves on, once the target took it; or it is a dead letter
//! ```
//!
//! - `state`: the state of a pipe, as the service names it
//! - `members`: parameters as in the API
//! - `plan`: the parsed settings of a pipe
//! - `record`: records of a source, as filters and targets see them
//! - `outside`: requests to the HTTP client
//! - `parts`: what all pipes share
//! - `cursor`: the progress of a pipe, across restarts
//! - `intake`: from a source to batches
//! - `delivery`: from a batch to the target
//! - `run`: the thread of one pipe
//! - `supervisor`: starts, stops and forgets pipes to follow their resources

#![allow(missing_docs, reason = "the facade is what others read; here a doc that repeats a name says nothing")]

mod state;
mod members;
mod plan;
mod record;
mod outside;
mod parts;
mod cursor;
mod intake;
mod delivery;
mod run;
mod supervisor;
#[cfg(test)]
mod tests;

pub use cursor::cut_back;
pub use outside::{Call, Heard, HttpCall, HttpClient, Listen};
pub use parts::{Callees, Parts};
pub use parts::{Enricher, PipeFigures, Pipes};
pub use plan::{InvalidPipe, check, is_journal};
pub use state::{PipeStatus, state_name};
pub use supervisor::Supervisor;

/// The most pipes: each is a thread while it runs.
pub const PIPES_MAX: usize = 256;
