//! The journal: a write-ahead log that is also the archive, and the only crate that uses RocksDB.
//!
//! ```text
//! DIR/FAKEMON      what this directory is, and the version of its format
//! DIR/*/manifest.noted  what the beginning of a database's manifest must be; see `manifest`
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
//! Only the owner has access, unless the mode of the directory lets the group in (0750, but not 0755, which is what a
//! umask leaves): see `location`. A data directory is never inside another one.
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
mod location; // where data directories may lie
mod store; // the journal itself
mod snapshot_store; // the snapshot
mod index_store; // the index
mod bus_store; // what the bus remembers
mod copy; // copies of databases that are open
mod look; // all of it, before any of it is opened to write, and while it is
pub mod follower; // threads that read each block once it is durable
pub mod index; // at which positions the journal speaks of a player, a fakémon, a cause
pub mod retention; // what the journal lets go of
pub mod checkpoint; // a copy of a data directory while everything goes on
mod salvage_copy; // a damaged directory, opened to take out what can be read

pub use bus_store::memory_tables::{MemoryTables, WriterStep};
pub use bus_store::{Batch, BusStore, Table};
pub use copy::unfinished::Unfinished;
pub use copy::{Databases, copy_closed};
pub use database::{Part, descriptors_max};
pub use error::{Directory, OpenError, ReadError};
pub use follower::Progress;
pub use index_store::{IndexStore, damaged as damaged_index};
pub use location::{group_rights, is_inside};
pub use look::{BusReach, Seen};
pub use options::{Durability, Retention};
pub use salvage_copy::SalvageCopy;
pub use salvage_copy::damaged::{BlockOrGap, DamageLocation};
pub use snapshot_store::snapshot_rows::SnapshotRows;
pub use snapshot_store::{RowStore, Rows};
pub use store::block_log::BlockLog;
pub use store::chain::{BlockHash, Link, StoredBlock, hash as block_hash};
pub use store::{FORMAT, Store, check_empty, check_identity, complete, is_incomplete, is_not_begun};
