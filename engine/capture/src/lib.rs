//! Who catches what: a client routes an attempt to the core that owns its fakémon, the shard decides, the committer
//! makes the decision durable, and the client gets the answer.
#![allow(missing_docs, reason = "the facade is what others read; here a doc that repeats a name says nothing")]

pub mod arena; // memory for fakémon
pub mod players; // players, and which attempt ids they used
pub mod command; // what clients ask for and are answered
pub mod state; // all fakémon of a shard
pub mod resolve; // who catches what: no clock, no chance
pub mod record; // decisions as records of the journal
pub mod metrics; // counters and histograms of captures
pub mod options; // how an engine is set up
pub mod turn; // what a shard decided in one go
pub mod desk; // places in the journal, reserved before anything is decided
pub mod shard; // a shard: commands in, a turn out
pub mod outbox; // answers on their way back to a client
pub mod committer; // group commit: one block and one sync for all that waits
pub mod cores; // one executor for each shard
pub mod world; // what is wild around a place
pub mod clockwork; // fakémon whose time is over
pub mod snapshot; // rows that make the next start short
pub mod recovery; // what a start reads
pub mod reader; // look-ups in the journal for clients
pub mod shared; // what clients and threads share
pub mod client; // submits commands and polls completions
