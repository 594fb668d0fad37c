//! Requests that this process sends to others: deliveries to API destinations and answer webhooks, requests of pipes,
//! questions to authorizers.
//!
//! - [`answers`]: webhooks for results
//! - [`delivery`]: one task for each lane, and its connections
//! - [`authorizer`]: asks authorizers about handshakes

#![allow(
    missing_docs,
    reason = "nothing outside of this workspace reads them; a doc that repeats a name says nothing"
)]

pub mod answers;
pub mod delivery;
pub mod authorizer;

pub use authorizer::AuthorizerOptions;
pub use delivery::Webhooks;
