//! The journal: the write-ahead log that is the archive too, and the only room with a door to RocksDB.
//!
//! ```text
//! DIR/FAKEMON      what this directory is, and the version of its format
//! DIR/acknowledged 8 bytes: the first position that was not yet durable; a lower bound after a power cut
//! DIR/journal/     RocksDB
//!   blocks         first position           → hash of the block before ‖ block (32 bytes) ‖ block (fbs/journal.fbs)
//!   collections    player, position         → what was caught there (fbs/snapshot.fbs)
//!   fakemon        fakémon                  → the fakémon          ╮
//!   players        player                   → name, used ids       │ the snapshot:
//!   answers        player, last id, position→ answers, by id       │ rows that follow the journal
//!   head           ""                       → how far the rows are ╯
//! ```
//!
//! Numbers in keys are big-endian, so that keys sort as numbers do.

mod store;
mod chain;
mod committer;

pub(crate) use chain::{BlockHash, Link};
pub(crate) use committer::{Committer, Desk, Name, Progress};
pub use store::ReadError;
pub(crate) use store::{FORMAT, Rows, Store};
