//! Who catches what: a client routes an attempt to the core that owns its fakémon, the shard decides, the committer
//! makes the decision durable, and the client gets the answer.
#![allow(missing_docs, reason = "the facade is what others read; here a doc that repeats a name says nothing")]

pub mod player; // players, and which attempt ids they used
pub mod command; // what clients ask for and are answered
pub mod population; // all fakémon of a shard
pub mod decision; // who catches what, and what the journal says of it
pub mod metrics; // counters and histograms of captures
pub mod options; // how an engine is set up
pub mod completion_queue; // answers on their way back to a client
pub mod commit; // group commit: one block and one sync for all that waits
pub mod shard; // a shard: commands in, a turn out
pub mod executor; // one executor for each shard
pub mod world; // what is wild around a place
pub mod recovery; // what a start reads
pub mod archive_reader; // look-ups in the journal for clients
pub mod shared; // what clients and threads share
pub mod open; // how captures open: from recovery to the parts of each thread
pub mod client; // submits commands and polls completions
