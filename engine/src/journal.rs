//! The journal: the write-ahead log that is the archive too, and the only room with a door to RocksDB.
//!
//! ```text
//! DIR/FAKEMON      what this directory is, and the version of its format
//! DIR/acknowledged 8 bytes: the first position that was not yet durable; a lower bound after a power cut
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
//! It is for its owner alone unless somebody lets others in, and `bus`, where secrets are, never for more than its group; copies
//! are as their original. No data directory lies in another one.
//!
//! While `fakemon import`, `checkpoint` or `verify --salvage` make a directory, its file `FAKEMON` says that it is incomplete.
//!
//! Numbers in keys are big-endian, so that keys sort as numbers do.

mod database;
mod places;
mod store;
mod rows;
mod postings;
mod shared_sync;
mod depot;
mod chain;
mod committer;
mod rebuild;
mod checkpoint;
mod pieces;
mod wreck;

pub(crate) use chain::{BlockHash, Link, StoredBlock, hash as block_hash};
pub(crate) use checkpoint::{Databases, copy_closed};
pub(crate) use committer::{Committer, Progress};
pub(crate) use database::Part;
pub(crate) use depot::{Batch, Depot, Room};
pub(crate) use pieces::{Piece, Spot};
pub(crate) use places::is_inside;
pub(crate) use postings::{PostingStore, damaged as damaged_index};
pub(crate) use rebuild::{Rebuild, RebuildError};
pub(crate) use rows::{RowStore, Rows};
pub use store::ReadError;
pub(crate) use store::{FORMAT, Store, is_incomplete};
pub(crate) use wreck::Wreck;
