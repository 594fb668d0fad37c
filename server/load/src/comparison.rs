//! Runs that compare: the same load with and without something, by turns in the same run.

pub(crate) mod baseline;
pub(crate) mod bus;
pub(crate) mod sends;
pub(crate) mod reconnects;
pub(crate) mod in_use;
