//! The journal: a write-ahead log that is also the archive, and the only crate that uses RocksDB.
//!
//! ```text
//! DIR/FAKEMON      what this directory is, and the version of its format
//! DIR/acknowledged how far the journal must reach, and `acknowledged.bus` the bus; see `acknowledged`
//! DIR/journal/     RocksDB, logged
//!   blocks         first position           → hash of (hash of the block before ‖ block) ‖ block (fbs/journal.fbs)
//!   collections    player, position         → what was caught there (fbs/snapshot.fbs)
//! DIR/snapshot/    RocksDB, not logged: rows that follow the journal, and can be made again from it
//!   fakemon        fakémon                  → the fakémon
//!   players        player                   → name, used ids
//!   answers        player, last id, position→ answers, by id
//!   head           ""                       → how far the rows are
//! DIR/index/       RocksDB, not logged: at which positions the journal speaks of whom; see `postings`
//! DIR/bus/         RocksDB, logged: what the bus knows that is no event: how far deliveries are, queues, log groups,
//!                  secrets; see `depot`
//! ```
//!
//! Only the owner has access unless the permissions are widened, and `bus`, where secrets are, never to more than the
//! group; copies get the permissions of their original. A data directory is never inside another one.
//!
//! While `fakemon import`, `checkpoint` or `verify --salvage` make a directory, its file `FAKEMON` says that it is
//! incomplete.
//!
//! Numbers in keys are big-endian, so that keys sort as numbers do.

#![allow(missing_docs, reason = "the facade is what others read; here a doc that repeats a name says nothing")]

pub mod files; // files and folders that a power cut does not take
mod error; // why it cannot be opened or read
mod options; // what a journal promises and keeps
mod database; // how databases are opened, and what their errors mean
mod places; // where data directories may lie
mod acknowledged; // how far databases must reach
mod store; // the journal itself
mod moments; // when, by the wall clock
mod rows; // the snapshot
mod postings; // the index
mod shared_sync; // writers that wait at the same time share one sync
mod depot; // what the bus remembers
mod chain; // the hash chain of blocks
mod copies; // copies of databases that are open
mod progress; // how far the journal is
pub mod follow; // threads that read each block once it is durable
pub mod index; // at which positions the journal speaks of a player, a fakémon, a cause
pub mod retention; // what the journal lets go of
pub mod checkpoint; // a copy of a data directory while everything goes on
mod pieces; // reads around damage
mod wreck; // a damaged directory, opened to take out what can be read

pub use chain::{BlockHash, Link, StoredBlock, hash as block_hash};
pub use copies::{Databases, copy_closed};
pub use database::{Part, descriptors_max};
pub use depot::{Batch, BusStore, Table};
pub use error::{ConnectionIndex, OpenError, ReadError};
pub use options::{Durability, Retention};
pub use pieces::{BlockOrGap, DamageLocation};
pub use places::is_inside;
pub use postings::{IndexStore, damaged as damaged_index};
pub use progress::Progress;
pub use rows::{RowStore, Rows};
pub use store::{FORMAT, Store, check_empty, check_identity, complete, is_incomplete};
pub use wreck::SalvageCopy;
