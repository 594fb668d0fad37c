//! What every handler of the control plane's HTTP needs, whatever it serves. Nothing here knows an endpoint.
//!
//! - [`refusal`]: the one shape of all errors
//! - [`places`]: how many requests, long polls and streams may be in progress, of all and of one client
//! - [`tasks`]: tasks whose end is a failure
//! - [`listener`]: sockets, bounded in number and in patience
//! - [`uri`]: paths in one spelling
//! - [`door`]: the outermost layer of every request: valid HTTP, a place, a deadline
//! - [`desk`]: the engine client of this thread
//! - [`backend`]: the engine, and the ways to it
//! - [`fresh`]: answers that are made once for all who ask within a moment
//! - [`standard_webhooks`]: signatures of webhooks, incoming and outgoing

#![allow(
    missing_docs,
    reason = "nothing outside of this workspace reads them; a doc that repeats a name says nothing"
)]

pub mod refusal;
pub mod places;
pub mod tasks;
pub mod listener;
pub mod uri;
pub mod door;
pub mod desk;
pub mod backend;
pub mod fresh;
pub mod standard_webhooks;

pub use backend::Backend;
pub use refusal::Refusal;
