//! Queues and log groups, and the notes and secrets beside them: what the bus stores that is no event.
#![allow(missing_docs, reason = "the facade is what others read; here a doc that repeats a name says nothing")]

pub mod queue; // standard and FIFO queues, dead letters and their redrive
pub mod log_group; // lines of log groups
pub mod notes; // small values that survive a restart
pub mod secrets; // secrets of connections and keys
