//! How RocksDB is opened and asked, and what its errors mean: what all databases of a data directory have in common, and the
//! options of the journal's own.

use crate::files::{self, PRIVATE_FOLDER};
use crate::options::OpenError;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, Env, Options,
    ReadOptions,
};
use std::fs;
use std::path::Path;

/// The journal's families.
pub(super) const FAMILIES: [&str; 2] = ["blocks", "collections"];
/// A database is opened to read so often at the most while its manifest grows.
const OPENED_MAX: u32 = 50;
/// Threads that open the tables of each family: making threads takes longer than most tables.
const OPENING_THREADS: i32 = 3;
/// Bytes of a block of a table. All indexes are read before the first answer, so they are to be short.
const TABLE_BLOCK_BYTES: usize = 32 << 10;

/// Makes the folder of a database in a data directory, and brings its name to the disk: RocksDB syncs what it makes, but
/// not the name of its folder in the one above, and without that a power cut takes all of it.
pub(super) fn make_folder(dir: &Path, folder: &str) -> Result<(), OpenError> {
    let made = files::make_folder(&dir.join(folder), PRIVATE_FOLDER);
    made.map_err(|error| OpenError(format!("data directory {}: the folder `{folder}`: {error}", dir.display())))
}

/// What a database is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// By the one who writes it, for long.
    Write,
    /// To look something up, and to close it again.
    Read,
}

/// Options of tables. Whoever writes keeps all indexes and filters in memory; whoever looks something up reads those that
/// they need, or they would read more than the answer takes.
pub(super) fn table_options(access: Access) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_size(TABLE_BLOCK_BYTES);
    table.set_cache_index_and_filter_blocks(access == Access::Read);
    table
}

/// Opens a database for reading, beside its writer or without one, and changes nothing in it: what was written up to now
/// can be read, and nothing that comes later.
///
/// It is not a secondary, as RocksDB calls it, although those can catch up: they do not come to the end of a log that was
/// recycled, if the first old record in it looks like one. Here the manifest is read first, then the logs that it needs.
/// If it has grown when they are read, the writer may have recycled one in between; then all is read again.
pub(super) fn open_to_read(
    path: &Path,
    options: &Options,
    families: impl Fn(Access) -> Vec<ColumnFamilyDescriptor>,
) -> Result<DB, rocksdb::Error> {
    let mut options = options.clone();
    options.create_if_missing(false);
    options.create_missing_column_families(false);
    options.set_max_open_files(-1); // what the writer deletes stays as long as it is open
    options.set_max_file_opening_threads(OPENING_THREADS);
    options.set_skip_stats_update_on_db_open(true); // they are for compactions
    let mut tries = 0;
    loop {
        let before = manifest(path);
        let opened = DB::open_cf_descriptors_read_only(&options, path, families(Access::Read), false);
        tries += 1;
        if before == manifest(path) || tries == OPENED_MAX {
            return opened;
        }
    }
}

/// The manifest of a database, and how long it is.
fn manifest(path: &Path) -> Option<(String, u64)> {
    let current = fs::read_to_string(path.join("CURRENT")).ok()?;
    let bytes = fs::metadata(path.join(current.trim_end())).ok()?.len();
    Some((current, bytes))
}

/// Flushes and compactions take the processor last: the process' threads for them serve all databases in it.
pub(super) fn calm_background_threads() -> Result<(), rocksdb::Error> {
    let mut env = Env::new()?;
    env.lower_thread_pool_cpu_priority();
    env.lower_high_priority_thread_pool_cpu_priority();
    Ok(())
}

pub(super) fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_recycle_log_file_num(4); // a sync of a log that need not grow is one write less
    options.set_atomic_flush(true); // one family that is never full would keep every log from being recycled
    options.set_max_total_wal_size(512 << 20);
    options.set_use_direct_io_for_flush_and_compaction(true); // flushes must not push the log out of the page cache
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(4);
    options.set_stats_dump_period_sec(0);
    options.set_paranoid_checks(true);
    options
}

/// For what is left of a damaged journal: whatever can be read is wanted.
pub(super) fn salvage_options() -> Options {
    let mut options = database_options();
    options.create_if_missing(false);
    options.set_recycle_log_file_num(0); // with it, records behind a damaged one are not looked for
    options.set_wal_recovery_mode(DBRecoveryMode::SkipAnyCorruptedRecord);
    options.set_paranoid_checks(false);
    options.set_disable_auto_compactions(true);
    options
}

pub(super) fn families(access: Access) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(64 << 20);
    FAMILIES.map(|name| ColumnFamilyDescriptor::new(name, family_options(name, &cache, access))).into()
}

fn family_options(name: &str, cache: &Cache, access: Access) -> Options {
    let mut table = table_options(access);
    table.set_block_cache(cache);
    if name != "blocks" {
        table.set_bloom_filter(10.0, false); // blocks are never asked for by a key that may not be there
    }
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    // Keys of blocks ascend: leveled compaction only moves their files, and nothing is ever written twice.
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(if name == "blocks" { 64 << 20 } else { 16 << 20 });
    options.set_max_write_buffer_number(4);
    options
}

/// For whoever wants little: every byte that is read ahead is waited for.
pub(super) fn look_up_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options
}

/// For whoever wants much.
pub(super) fn scan_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_readahead_size(4 << 20);
    options.fill_cache(false);
    options
}

/// RocksDB's words, and what to do.
pub(super) fn explain(error: &str) -> String {
    if error.contains("lock") && (error.contains("LOCK") || error.contains("temporarily unavailable")) {
        return "another process has it open: stop that one, or give another directory".into();
    }
    let incomplete = error.contains("No such file or directory") || error.contains("create_if_missing");
    let damaged = error.starts_with("Corruption") || incomplete;
    if damaged && error.contains("/snapshot/") {
        return format!(
            "the snapshot is damaged ({error}): move the folder `snapshot` away, it is made again unless retention let \
             go of events"
        );
    }
    if damaged && error.contains("/index/") {
        return format!("the index is damaged ({error}): `fakemon index` makes it again");
    }
    if damaged {
        return format!("the journal is damaged ({error}); restore a copy, what was acknowledged is not all here");
    }
    format!("{error}{}", remedy(error))
}

/// A message of RocksDB about a failed write, and what to do.
pub(super) fn explain_write(error: &rocksdb::Error) -> String {
    let error = error.to_string();
    format!("the journal could not be written ({error}){}", remedy(&error))
}

/// What to do when the disk takes no more.
fn remedy(error: &str) -> &'static str {
    match error {
        error if error.contains("No space left") => ": free some space on its disk, then start again",
        error if error.contains("File too large") => {
            ": raise the limit of file sizes (`ulimit -f`), then start again"
        }
        error if error.contains("quota exceeded") => ": raise the quota, then start again",
        _ => "",
    }
}
