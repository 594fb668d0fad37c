//! From the journal to the targets of rules.
//!
//! - `failure_code`: why an attempt failed, in the service's words
//! - `known`: what the router knew when it last wrote
//! - `rate`: how many in the last minute
//! - `health`: how a lane does
//! - `lane`: what one target still has to get
//! - `traffic`: who emits what, and which rules take it
//! - `answers`: whose results go to which answer webhook
//! - `whereabouts`: where one event is, for tools
//! - `archived`: what an archive holds

#![allow(missing_docs, reason = "the facade is what others read; here a doc that repeats a name says nothing")]

pub mod notices; // what the engine says of itself
pub mod schema; // the schemas of a bus, and events checked where they come in
mod failure_code;
mod known;
mod rate;
mod health;
mod lane;
mod lanes;
mod names;
mod traffic;
mod figures;
mod filter;
mod answers;
mod scheduled;
mod router;
mod courier;
mod whereabouts;
mod replay;
mod archived;
pub mod commands;
pub mod inside; // delivery within the process: queues, log groups, buses, captures, functions, players
pub mod reset; // empties what the bus keeps beside the journal
pub mod tail; // reads the journal as events, as it grows

pub use archived::{ArchiveFigures, Archived};
pub use courier::{Courier, Failed, Letter, RedriveError, rule_arn};
pub use failure_code::FailureCode;
pub use figures::BusFigures;
pub use filter::{Filter, Names, Patterns, Text};
pub use health::Health;
pub use known::Known;
pub use lane::{Course, Lane, LaneFigures, LaneId, Parcel};
pub use lanes::Lanes;
pub use names::{Events, Journal, keys_of, told};
pub use replay::{ReplayProgress, Replays};
pub use replay::{Replayer, forget_replays};
pub use router::Router;
pub use scheduled::{by_destination, group_of, kind as schedule_lane_kind, lane_of_firing};
pub use traffic::Tally;
pub use traffic::{BusTraffic, EventType, Flow, TYPES_MAX, TypeTraffic};
pub use whereabouts::Yard;
pub use whereabouts::{Delivery, Whereabouts};
