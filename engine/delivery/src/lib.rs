//! From the journal to the targets of rules.
//!
//! - `lane`: the events that one target still has to get; below it `failure_code`: why an attempt failed, as the
//!   service names it; `rate`: counts of the last minute; `health`: whether the target accepts deliveries
//! - `metrics`: figures of buses; below it `traffic`: counts of events by source, and of the rules that match them
//! - `answers`: which answer webhooks get the results of which players
//! - `router`: which lanes get an event; below it `router_state`: the state that it last stored
//! - `dispatcher`: one delivery attempt: load, shape, then mark delivered, schedule a retry, or write a dead letter
//! - `status`: the status of one event's deliveries, for tools
//! - `replay`: events of an archive again; below it `archived`: number and size of the events in an archive

#![allow(missing_docs, reason = "the facade is what others read; here a doc that repeats a name says nothing")]

pub mod notices; // what the engine says of itself
pub mod schema; // the schemas of a bus, and events checked where they come in
pub mod commands;
mod lane;
mod lanes;
mod event_reader;
mod metrics;
mod filter;
mod answers;
mod dispatcher;
mod router;
mod status;
mod replay;
pub mod local; // delivery within the process: queues, log groups, buses, captures, functions, players
pub mod reset; // empties what the bus keeps beside the journal
pub mod tail; // reads the journal as events, as it grows

pub use dispatcher::{Dispatcher, Failed, RedriveError, ShapedEvent, rule_arn};
pub use event_reader::{Events, Journal, keys_of, told};
pub use filter::{Filter, Names, Patterns, Text};
pub use lane::failure_code::FailureCode;
pub use lane::health::Health;
pub use lane::scheduled::{by_destination, kind as schedule_lane_kind, lane_of_firing};
pub use lane::subscriber::Subscriber;
pub use lane::{Course, Lane, LaneId, LaneMetrics, Pending};
pub use lanes::Lanes;
pub use metrics::BusMetrics;
pub use metrics::traffic::Tally;
pub use metrics::traffic::{BusTraffic, EventType, Flow, TYPES_MAX, TypeTraffic};
pub use replay::archived::{ArchiveFigures, Archived};
pub use replay::{ReplayProgress, Replays};
pub use replay::{Replayer, forget_replays};
pub use router::Router;
pub use router::router_state::Known;
pub use status::StatusReader;
pub use status::{Delivery, DeliveryStatus};
