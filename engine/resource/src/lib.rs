//! The resources of the bus between producers and consumers of events.
//!
//! - `event`: what somebody puts on a bus
//! - `destination`: what an ARN of a target names
//! - `invalid`: why a change is refused
//! - `inbound`: resources of partners, of API keys, of those who want answers
//! - `resource`: what an operator makes: buses, rules, targets, …
//! - `descent`: how often rules and pipes handed on what an event came of
//! - `registry`: all of it as of one position

mod event;
mod destination;
mod invalid;
pub mod inbound;
pub mod resource;
pub mod descent;
pub mod registry;

pub use destination::Destination;
pub use event::NewEvent;
pub use fakemon_model::envelope::{DEFAULT_BUS, GAME_BUS};
pub use invalid::InvalidChange;
pub use registry::Resources;
pub use registry::{DEFAULT_GROUP, Registry};
