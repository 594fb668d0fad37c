//! Queues and log groups, and the small facts and secrets beside them: what the bus stores that is no event.
#![allow(missing_docs, reason = "the facade is what others read; here a doc that repeats a name says nothing")]

pub mod queue; // standard and FIFO queues, dead letters and their redrive
pub mod log_group; // lines of log groups
pub mod notes; // small facts to remember
pub mod secrets; // secrets of connections and keys
