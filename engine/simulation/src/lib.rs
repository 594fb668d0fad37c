//! A whole node on one thread, from a seed: the production code of the capture path, between a disk, a network and
//! clocks that are simulated, and a model that checks every claim after each run. `make torture DURATION=600` runs it
//! for ten minutes; `simulate --seed N` runs one seed again, exactly.
//!
//! ```text
//!  players ─ messages ─► edges ─ Client ─► ShardInbox ─► Shard ─► CommitQueue ─► Committer ─ BlockLog ─► memory_log
//!     ▲                    │                                                        │
//!     └──── messages ◄─────┴──────────────── CompletionQueue ◄──────────────────────┘
//!  followers: view of the world and expiry, Snapshotter ─ SnapshotRows ─► memory_rows, Reader of the archive
//!  a crash at any step ─► what the disk kept ─► recover ─► the next life, with another number of shards
//! ```
//!
//! Everything named with a capital is the production code, one step at a time in an order that the seed draws; while
//! a block is being synced, everything else goes on. What is simulated: the log below `BlockLog`, the rows below
//! `SnapshotRows`, both clocks ([`SimulatedTime`](fakemon_sync::clock::SimulatedTime)), the network, the loops that
//! wait for work (the tasks of an executor, the threads of followers), and the wiring of `Engine::open`.
//!
//! Queues of the bus have runs of their own: the production code of queues on the tables of a bus that loses what was
//! not synced, and fails.
//!
//! # What this does not cover
//!
//! - RocksDB, the file system and the kernel: `tests/power_cut.rs` and `tests/damage.rs` have the real ones. Here a
//!   block is there as a whole or not at all, and what a start reads is durable, because RocksDB promises both.
//! - Real threads: memory orderings, wake-ups that get lost, and the glommio executor. Steps interleave only between
//!   calls of production code and during syncs; inside a call nothing else runs.
//! - Sockets, WebSocket frames, HTTP, tokens: the edge here is a client with a table of tokens.
//! - Of the bus everything but queues: rules, targets, deliveries and their cursors, schedules, pipes; and the index.
//! - Of queues: two calls that meet, each runs alone.
//! - A disk that says that it synced and did not, and more than one changed bit at a time.
//! - Time that a step takes: latency is not measured, only order.

pub mod scene; // kinds of runs
pub mod mistakes; // negative controls
pub mod memory_log; // a journal in memory, on a machine with faults
pub mod memory_rows; // the snapshot in memory
pub mod model; // what must hold
pub mod outcome; // the result of a run
pub mod clients; // players, and their messages
pub mod node; // one life of a node: the production code, step by step
pub mod shape; // what is drawn from a seed before the first step
mod stage; // everything that happens, except the writes of the journal
mod queues; // queues of the bus
pub mod run; // a run from a seed
pub mod campaign; // many runs, and a table of what came of them

#[cfg(test)]
mod tests;
