//! From the journal to the targets of rules.
//!
//! - `known`: what the router knew when it last wrote
//! - `lane`: what one target still has to get
//! - `whereabouts`: where one event is, for tools

mod known;
mod lane;
mod lanes;
mod names;
mod figures;
mod filter;
mod router;
mod courier;
mod whereabouts;
mod replay;
pub(crate) mod commands;

pub use courier::{Courier, Failed, Letter, RedriveError, rule_arn};
pub use figures::BusFigures;
pub(crate) use known::Known;
pub use lane::{Course, Lane, LaneFigures, LaneId, Parcel};
pub use lanes::Lanes;
pub(crate) use names::{Events, Journal, keys_of, told};
pub use replay::{ReplayProgress, Replays};
pub(crate) use replay::{Replayer, forget_replays};
pub(crate) use router::Router;
pub(crate) use whereabouts::Yard;
pub use whereabouts::{Delivery, Whereabouts};
