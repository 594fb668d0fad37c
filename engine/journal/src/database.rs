//! How RocksDB is opened and read, and what its errors mean: what all databases of a data directory have in common,
//! and the options of the journal's own.
//!
//! What RocksDB would take for granted is read here before it opens anything, to read as well as to write: the
//! manifest (`manifest`) and the logs (`logs`), record by record (`records`).

pub(crate) mod records; // records of logs and manifests
pub(crate) mod manifest; // what belongs to a database
pub(crate) mod logs; // changes that are not in tables yet
pub(crate) mod open; // an open database, and its folder

use crate::database::logs::{LogsEnd, VisitPut};
use crate::database::manifest::{Manifest, damaged};
use crate::error::{OpenError, ReadError};
use crate::files::{self, PRIVATE_FOLDER};
use fakemon_model::limits::{OPEN_TABLES_MIN, open_tables};
use fakemon_sync::failure::{no_thread, short_of_address_space};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, Env, Options,
    ReadOptions,
};
use std::fs;
use std::path::Path;

/// The journal's families, besides the default one.
pub(super) const FAMILIES: [&str; 2] = ["blocks", "collections"];
/// How often a database is opened for reading at most, if its manifest grows each time.
const OPENED_MAX: u32 = 50;
/// How often its files are looked at least until they count as damaged: a writer may just have changed them.
const LOOKS_MIN: u32 = 3;
/// Threads that open the tables of each family: few, because starting a thread takes longer than opening most tables.
const OPENING_THREADS: i32 = 3;
/// Threads that may be needed at once to read, and to write, with some to spare.
const READING_THREADS: usize = 4;
const WRITING_THREADS: usize = 64;
/// Bytes of a block of a table. All indexes are read before the first answer, so they are to be short.
const TABLE_BLOCK_BYTES: usize = 32 << 10;

/// Makes the folder of a database in a data directory and syncs the parent folder. RocksDB syncs the files it makes,
/// but not the name of its folder; without that, a power cut loses the whole database.
pub(super) fn make_folder(dir: &Path, folder: &str) -> Result<(), OpenError> {
    let made = files::make_folder(&dir.join(folder), PRIVATE_FOLDER);
    made.map_err(|error| OpenError::Io(format!("data directory {}: the folder `{folder}`: {error}", dir.display())))
}

/// What a database is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// To write, for as long as the engine runs.
    Write,
    /// To look something up and close it again.
    Read,
}

/// Options of tables. A writer keeps all indexes and filters in memory; a reader loads only those it needs, because
/// loading all of them would read more than the answer needs.
pub(super) fn table_options(access: Access) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_size(TABLE_BLOCK_BYTES);
    table.set_cache_index_and_filter_blocks(access == Access::Read);
    table
}

/// A database as its files say, before RocksDB opens it.
pub(super) struct Looked {
    pub(super) manifest: Manifest,
    pub(super) logs: LogsEnd,
}

/// Looks at the files of a database, and changes nothing; none if there is none. `acknowledged`: it holds what was
/// acknowledged, so it has all its families. `visit` gets what its logs set.
pub(super) fn look(
    part: Part,
    dir: &Path,
    acknowledged: bool,
    visit: &mut VisitPut<'_>,
) -> Result<Option<Looked>, String> {
    let folder = dir.join(part.name());
    let Some(manifest) = Manifest::read(&folder)? else { return Ok(None) };
    let may_lack = manifest.is_proven || !acknowledged && manifest.has_no_table();
    manifest.check_families(part.families(), may_lack)?;
    manifest.check_tables(&folder)?;
    let logs = logs::read(&folder, &manifest, visit)?;
    Ok(Some(Looked { manifest, logs }))
}

/// The same beside a writer: what its writes had to do with is read again.
pub(super) fn look_beside(part: Part, dir: &Path, acknowledged: bool) -> Result<Option<Looked>, String> {
    let path = dir.join(part.name());
    let (mut tries, mut before) = (0, manifest(&path));
    loop {
        let looked = look(part, dir, acknowledged, &mut |_, _, _| Ok(()));
        let after = manifest(&path);
        tries += 1;
        if looked.is_ok() || tries >= LOOKS_MIN && before == after || tries == OPENED_MAX {
            return looked;
        }
        before = after;
    }
}

/// Opens a database for reading, beside its writer or without one, and changes nothing in it. Writes up to now can be
/// read, later ones cannot.
///
/// It does not use a secondary instance, RocksDB's reader that can catch up: a secondary does not reach the end of a
/// recycled log if the first old record in it looks like a new one. Here the manifest is read first, then the logs it
/// needs. If the manifest grew meanwhile, the writer may have recycled a log in between, so everything is read again.
pub(super) fn open_to_read(
    part: Part,
    dir: &Path,
    acknowledged: bool,
    options: &Options,
    families: impl Fn(Access) -> Vec<ColumnFamilyDescriptor>,
) -> Result<(DB, Option<Looked>), String> {
    check_threads(READING_THREADS)?;
    let path = dir.join(part.name());
    let mut options = reading(options);
    options.set_max_open_files(-1); // what the writer deletes stays as long as it is open
    let mut tries = 0;
    loop {
        let before = manifest(&path);
        let looked = look_beside(part, dir, acknowledged)?;
        if looked.is_none() {
            return Err(damaged(format_args!("{}: there is no database", path.display()))); // RocksDB makes the folder
        }
        let opened = DB::open_cf_descriptors_read_only(&options, &path, families(Access::Read), false);
        tries += 1;
        if before == manifest(&path) || tries == OPENED_MAX {
            return Ok((opened.map_err(rocksdb::Error::into_string)?, looked));
        }
    }
}

fn reading(options: &Options) -> Options {
    let mut options = options.clone();
    options.create_if_missing(false);
    options.create_missing_column_families(false);
    options.set_max_file_opening_threads(OPENING_THREADS);
    options.set_skip_stats_update_on_db_open(true); // they are for compactions
    options
}

/// Opens the tables of the journal for reading, without its log, while no process writes. Those that a writer opens
/// at first are opened too, so that it finds nothing damaged that was not found here.
pub(super) fn open_tables_to_read(dir: &Path, has: impl Fn(&str) -> bool) -> Result<DB, String> {
    check_threads(READING_THREADS)?;
    let mut options = reading(&database_options());
    options.set_wal_dir(dir); // where no log is
    let families = families(Access::Read).into_iter().filter(|family| has(family.name()));
    let opened = DB::open_cf_descriptors_read_only(&options, dir.join(Part::Journal.name()), families, false);
    opened.map_err(rocksdb::Error::into_string)
}

/// Looks at a database before it is opened to write.
pub(super) fn look_to_write(part: Part, dir: &Path, acknowledged: bool) -> Result<Option<Looked>, OpenError> {
    let looked = look(part, dir, acknowledged, &mut |_, _, _| Ok(()));
    looked.map_err(|error| part.not_opened(dir, &error))
}

/// The manifest of a database, and how long it is.
fn manifest(path: &Path) -> Option<(String, u64)> {
    let current = fs::read_to_string(path.join("CURRENT")).ok()?;
    let bytes = fs::metadata(path.join(current.trim_end())).ok()?.len();
    Some((current, bytes))
}

/// Address space that a server takes at its start, with some to spare: memory of threads above all. Most of it is
/// never touched, and what finds none ends the process without a word.
const WRITING_BYTES: u64 = 2 << 30;

/// Whether there is what the threads and caches of a server take. Asked for before the first object of RocksDB is
/// made: even its options take a cache, and end the process without one.
pub(super) fn check_writing() -> Result<(), String> {
    match short_of_address_space(WRITING_BYTES) {
        Some(why) => Err(why),
        None => check_threads(WRITING_THREADS),
    }
}

/// Whether so many threads can be started: RocksDB ends the process when it cannot start one.
fn check_threads(count: usize) -> Result<(), String> {
    let (stay, stays) = crossbeam::channel::bounded::<()>(0);
    let start = |_| {
        let stays = stays.clone();
        std::thread::Builder::new().spawn(move || stays.recv().is_ok())
    };
    let started: Result<Vec<_>, _> = (0..count).map(start).collect();
    drop(stay);
    let ended = started.map_err(|error| no_thread(error).to_string())?.into_iter().map(std::thread::JoinHandle::join);
    ended.for_each(|ended| assert!(ended.is_ok(), "they only wait"));
    Ok(())
}

/// Descriptors that the process may have.
pub fn descriptors_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Tables of a database that its writer has open at once: a journal grows, the limit of the process does not.
pub(super) fn open_tables_max(part: Part) -> i32 {
    let tables = open_tables(descriptors_max()) - Part::ALL.len() * OPEN_TABLES_MIN;
    let share = match part {
        Part::Journal => tables / 2,
        Part::Snapshot => tables / 4,
        Part::Index | Part::Bus => tables / 8,
    };
    i32::try_from(OPEN_TABLES_MIN + share).expect("bounded above")
}

/// Gives flushes and compactions the lowest processor priority; their threads serve all databases of the process.
pub(super) fn calm_background_threads() -> Result<(), rocksdb::Error> {
    let mut env = Env::new()?;
    env.lower_thread_pool_cpu_priority();
    env.lower_high_priority_thread_pool_cpu_priority();
    Ok(())
}

pub(super) fn database_options() -> Options {
    let mut options = Options::default();
    options.set_max_open_files(open_tables_max(Part::Journal));
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

/// Options for a damaged journal: read everything that can be read.
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

/// For reads of a few blocks: read-ahead would only delay the answer.
pub(super) fn look_up_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options
}

/// For scans: read ahead, because the following blocks are needed too.
pub(super) fn scan_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_readahead_size(4 << 20);
    options.fill_cache(false);
    options
}

/// A database of a data directory, in a folder of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Journal,
    Snapshot,
    Index,
    Bus,
}

impl Part {
    const ALL: [Part; 4] = [Part::Journal, Part::Snapshot, Part::Index, Part::Bus];

    /// Its name, which is its folder's too.
    pub fn name(self) -> &'static str {
        match self {
            Part::Journal => "journal",
            Part::Snapshot => "snapshot",
            Part::Index => "index",
            Part::Bus => "bus",
        }
    }

    /// The families that this version makes, besides the default one.
    pub(super) fn families(self) -> &'static [&'static str] {
        match self {
            Part::Journal => &FAMILIES,
            Part::Snapshot => &["fakemon", "players", "answers", "head"],
            Part::Index => &[],
            Part::Bus => &["router", "lanes", "queues", "logs", "secrets", "notes"],
        }
    }

    /// What is damaged, and what to do.
    pub(super) fn damaged(self, what: &dyn std::fmt::Display) -> String {
        let remedy = match self {
            Part::Journal => {
                "restore a copy, or let `fakemon verify --salvage NEW_DIR` make a directory of what can be read: what was \
                 acknowledged is not all here"
            }
            Part::Snapshot => {
                "move the folder `snapshot` away, it is made again unless retention let go of events; then restore a copy"
            }
            Part::Index => "`fakemon index` makes it again",
            Part::Bus => {
                "restore a copy, or let `fakemon verify --salvage NEW_DIR` make a directory with queues, log groups, secrets \
                 and cursors of deliveries as they were before the damage, or without them"
            }
        };
        format!("the {} is damaged ({what}): {remedy}", self.name())
    }

    /// RocksDB's words about a failed write, and what to do.
    pub fn explain_write(self, error: &rocksdb::Error) -> String {
        format!("the {} could not be written ({error}){}", self.name(), remedy(error.as_ref()))
    }

    /// RocksDB's words about this database, and what to do.
    fn explain(self, error: &str) -> String {
        match Trouble::of(error) {
            Trouble::Locked => "another process has it open: stop that one, or give another directory".into(),
            Trouble::Damage => self.damaged(&error),
            Trouble::System => format!("{error}{}", remedy(error)),
        }
    }

    /// RocksDB's words about this database of a data directory, which it does not open.
    pub(super) fn not_opened(self, dir: &Path, error: &str) -> OpenError {
        let message = format!("data directory {}: {}", dir.display(), self.explain(error));
        match Trouble::of(error) {
            Trouble::Locked => OpenError::Locked(message),
            Trouble::Damage => OpenError::Damaged { position: None, message },
            Trouble::System => OpenError::Io(message),
        }
    }

    /// RocksDB's words about this database, from which it does not read.
    pub(super) fn unreadable(self, error: &str) -> ReadError {
        match Trouble::of(error) {
            Trouble::Damage => ReadError::Damaged(self.explain(error)),
            Trouble::Locked | Trouble::System => ReadError::Store(self.explain(error)),
        }
    }
}

/// What RocksDB's words mean for who opens or reads a database.
enum Trouble {
    Locked,
    Damage,
    System,
}

impl Trouble {
    fn of(error: &str) -> Trouble {
        let is_locked = error.contains("lock hold by current process")
            || error.contains("While lock file") && error.contains("Resource temporarily unavailable");
        let incomplete = error.contains("No such file or directory") || error.contains("create_if_missing");
        match error.starts_with("Corruption") || incomplete {
            _ if is_locked => Trouble::Locked,
            true => Trouble::Damage,
            false => Trouble::System,
        }
    }
}

/// Whether a folder does not exist or was not completely made, so that it holds no data that could be lost. A folder
/// that cannot be read may hold data; opening it then reports why.
pub(super) fn holds_nothing(folder: &Path) -> bool {
    let is_data = |path: &Path| path.extension().is_some_and(|kind| kind == "sst" || kind == "log");
    match fs::read_dir(folder) {
        Ok(entries) => !entries.flatten().any(|entry| is_data(&entry.path())),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// The same, to read it: one that held something, and lost it, is damaged.
pub(super) fn is_not_there(part: Part, dir: &Path) -> Result<bool, OpenError> {
    let folder = dir.join(part.name());
    if !holds_nothing(&folder) {
        return Ok(false);
    }
    Manifest::read(&folder).map(|_| true).map_err(|error| part.not_opened(dir, &error))
}

/// Whether a kill ended the first opening of a database before all its families were made; it has no table then.
pub(super) fn is_half_made(part: Part, dir: &Path) -> bool {
    let manifest = Manifest::read(&dir.join(part.name()));
    manifest.is_ok_and(|manifest| {
        manifest.is_some_and(|manifest| {
            manifest.has_no_table()
                && !manifest.is_proven
                && manifest.check_families(part.families(), true).is_ok()
                && manifest.check_families(part.families(), false).is_err()
        })
    })
}

/// What to do about what the system refused.
fn remedy(error: &str) -> &'static str {
    const REMEDIES: [(&str, &str); 8] = [
        ("No space left", ": free some space on its disk, then start again"),
        ("File too large", ": raise the limit of file sizes (`ulimit -f`), then start again"),
        ("quota exceeded", ": raise the quota, then start again"),
        ("Too many open files in system", ": raise the machine's limit (`sysctl fs.file-max`), then start again"),
        ("Too many open files", ": raise the limit of open files (`ulimit -n`), then start again"),
        ("Permission denied", ": run as the user who owns the directory, or give this one the right to its files"),
        ("Read-only file system", ": its file system is mounted read-only; work on a copy (`fakemon checkpoint`)"),
        ("Input/output error", ": the disk fails; see the kernel's log, and restore a copy on another disk"),
    ];
    REMEDIES.into_iter().find(|(words, _)| error.contains(words)).map_or("", |(_, remedy)| remedy)
}
