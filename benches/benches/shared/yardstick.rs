//! RocksDB alone, set up as the journal's, as a yardstick for what the journal adds.

use rocksdb::{DB, Options, WriteOptions};
use std::path::Path;

/// A RocksDB set up as the journal's, and nothing else.
pub(crate) fn open_bare(dir: &Path) -> DB {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_recycle_log_file_num(4);
    options.set_max_total_wal_size(512 << 20);
    options.set_use_direct_io_for_flush_and_compaction(true);
    options.set_max_background_jobs(2);
    options.set_write_buffer_size(64 << 20);
    options.set_max_write_buffer_number(4);
    DB::open(&options, dir).expect("a fresh directory")
}

/// Writes one record with a sync.
pub(crate) fn write_bare(db: &DB, position: u64, record: &[u8]) {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    db.put_opt(position.to_be_bytes(), record, &options).expect("a disk that works");
}
