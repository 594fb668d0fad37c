//! Commands that ask what happened: events, one attempt, one story, a state in time, a range.

pub mod log;
pub mod explain;
pub mod trace;
pub mod replay;
pub mod timeline;
