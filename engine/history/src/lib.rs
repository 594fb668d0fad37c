//! Questions to a journal: what happened, why, what would have happened, is all of it intact, and what can be saved
//! of a damaged one. Nothing here changes the directory that it reads.
#![allow(missing_docs, reason = "the facade is what others read; here a doc that repeats a name says nothing")]

pub mod archive; // reads a journal and its index, beside a running server too
pub mod jsonl; // a journal as JSON lines
pub mod rebuild; // writes a journal again, block by block
pub mod import; // a journal from JSON lines
pub mod explain; // one attempt: its way, the roll, who won, why
pub mod trace; // what led to an event, and what came of it
pub mod state_at; // the state at any position or nanosecond
pub mod what_if; // the same attempts, decided again by other rules
pub mod timeline; // rates, latencies, stalls and gaps
pub mod verify; // decides all of a journal again and compares
pub mod topology; // who emits what and who consumes it
pub mod salvage; // what is left of a damaged directory
