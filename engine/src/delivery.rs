//! From the journal to the targets of rules.
//!
//! - `known`: what the router knew when it last wrote

mod known;

pub(crate) use known::Known;
