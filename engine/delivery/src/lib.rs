//! From the journal to the targets of rules.
//!
//! - `failure_code`: why an attempt failed, as the service names it
//! - `known`: the state that the router last stored
//! - `rate`: counts of the last minute
//! - `health`: whether the target of a lane accepts deliveries
//! - `lane`: the events that one target still has to get
//! - `traffic`: counts of events by source, and of the rules that match them
//! - `answers`: which answer webhooks get the results of which players
//! - `whereabouts`: the status of one event's deliveries, for tools
//! - `archived`: number and size of the events in an archive

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
pub use courier::{Dispatcher, Failed, RedriveError, ShapedEvent, rule_arn};
pub use failure_code::FailureCode;
pub use figures::BusMetrics;
pub use filter::{Filter, Names, Patterns, Text};
pub use health::Health;
pub use known::Known;
pub use lane::{Course, Lane, LaneId, LaneMetrics, Pending};
pub use lanes::Lanes;
pub use names::{Events, Journal, keys_of, told};
pub use replay::{ReplayProgress, Replays};
pub use replay::{Replayer, forget_replays};
pub use router::Router;
pub use scheduled::{by_destination, group_of, kind as schedule_lane_kind, lane_of_firing};
pub use traffic::Tally;
pub use traffic::{BusTraffic, EventType, Flow, TYPES_MAX, TypeTraffic};
pub use whereabouts::StatusReader;
pub use whereabouts::{Delivery, DeliveryStatus};
