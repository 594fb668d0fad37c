//! Makes a database usable whose manifest is missing, damaged, or names tables that are not there. RocksDB makes a
//! new manifest of the tables and logs that it finds; two things it does not do are done here:
//!
//! - It knows a family only by its tables, and drops what logs have for other families: so each family gets a table
//!   before, with one key, which is deleted after.
//! - It lays aside a table of which one block is damaged: what can be read of it is put back, where no newer value of
//!   a key is there. What was deleted since can come back so.

use super::table;
use rocksdb::{ColumnFamilyDescriptor, DB, Options, WriteBatch};
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The key of the table that makes a family known.
const SEED: &[u8] = b"\0\0seed";
const DEFAULT: &str = "default";
/// Where RocksDB lays aside what it does not take.
const ASIDE: &str = "lost";
/// Bytes of the footer of a table.
const TABLE_BYTES_MIN: u64 = 53;
/// Keys of one write.
const WRITE_KEYS: usize = 1_000;
/// Before the name of a family among a table's properties: it shares 22 bytes with `rocksdb.column.family.id`, which
/// comes before it, and goes on with `name`.
const NAME_SHARED: u8 = 22;

/// So far from the end of a table its properties begin at most.
const PROPERTIES_WITHIN: u64 = 64 << 10;

/// A database that was opened again; and what is wrong with the tables of which a part is lost.
pub(super) type Repaired = (DB, Vec<String>);

/// Repairs a database in a copy, and opens it. `by_key` is the family of a key whose table does not say so.
pub(super) fn repaired(
    path: &Path,
    options: &Options,
    families: &dyn Fn() -> Vec<ColumnFamilyDescriptor>,
    by_key: fn(&[u8]) -> Option<&'static str>,
) -> Result<Repaired, String> {
    let said = rocksdb::Error::into_string;
    let names = families().iter().map(|family| family.name().to_owned()).collect::<Vec<_>>();
    let names: Vec<&str> = names.iter().map(String::as_str).chain([DEFAULT]).collect();
    fs::create_dir_all(path).map_err(|error| error.to_string())?;
    let mut wrong = drop_stumps(path).map_err(|error| error.to_string())?;
    plant(path, options, families, &names)?;
    let mut creating = options.clone();
    creating.create_if_missing(true);
    creating.create_missing_column_families(true);
    DB::repair(&creating, path).map_err(said)?;
    let db = DB::open_cf_descriptors(&creating, path, families()).map_err(said)?;
    for name in &names {
        let family = db.cf_handle(name).expect("all families are opened");
        db.delete_cf(family, SEED).map_err(said)?;
    }
    wrong.extend(take_back(&db, path, &names, by_key)?);
    let _ = fs::remove_dir_all(path.join(ASIDE)); // a server deletes what it does not know
    Ok((db, wrong))
}

/// Deletes tables that are too short to be any: RocksDB divides by their size.
fn drop_stumps(path: &Path) -> io::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for table in tables(path)? {
        let bytes = fs::metadata(&table)?.len();
        if bytes < TABLE_BYTES_MIN {
            fs::remove_file(&table)?;
            wrong.push(format!("{}: it has {bytes} bytes", name_of(&table)));
        }
    }
    Ok(wrong)
}

/// Puts a table of each family into the folder.
fn plant(
    path: &Path,
    options: &Options,
    families: &dyn Fn() -> Vec<ColumnFamilyDescriptor>,
    names: &[&str],
) -> Result<(), String> {
    let nursery = path.with_extension("seeds");
    let said = rocksdb::Error::into_string;
    let mut creating = options.clone();
    creating.create_if_missing(true);
    creating.create_missing_column_families(true);
    let db = DB::open_cf_descriptors(&creating, &nursery, families()).map_err(said)?;
    for name in names {
        let family = db.cf_handle(name).expect("all families are opened");
        db.put_cf(family, SEED, []).and_then(|()| db.flush_cf(family)).map_err(said)?;
    }
    drop(db);
    let moved = tables(&nursery).and_then(|seeds| {
        let free = files(path)?.iter().filter_map(|file| number_of(file)).max().unwrap_or(0) + 1;
        for (number, seed) in (free..).zip(seeds) {
            fs::rename(seed, path.join(format!("{number:06}.sst")))?;
        }
        fs::remove_dir_all(&nursery)
    });
    moved.map_err(|error| format!("{}: {error}", path.display()))
}

/// Puts back what can be read of tables that RocksDB laid aside, the newest first.
fn take_back(
    db: &DB,
    path: &Path,
    names: &[&str],
    by_key: fn(&[u8]) -> Option<&'static str>,
) -> Result<Vec<String>, String> {
    let mut aside = tables(&path.join(ASIDE)).unwrap_or_default();
    aside.sort_by_key(|table| std::cmp::Reverse(number_of(table)));
    let mut wrong = Vec::new();
    for table in aside {
        let named = family_of(&table, names);
        let (mut batch, mut failed) = (WriteBatch::default(), None);
        let read = table::read(&table, &path.join("alone"), &mut |key, value| {
            let Some(family) = named.or_else(|| by_key(key)).and_then(|name| db.cf_handle(name)) else { return };
            if db.get_pinned_cf(family, key).is_ok_and(|there| there.is_none()) {
                batch.put_cf(family, key, value);
            }
            if batch.len() >= WRITE_KEYS {
                failed = db.write(std::mem::take(&mut batch)).err().or(failed.take());
            }
        });
        let written = db.write(batch).err().or(failed);
        written.map_or(Ok(()), |error| Err(error.into_string()))?;
        wrong.extend(read.err().map(|error| format!("{}: {error}", name_of(&table))));
    }
    Ok(wrong)
}

/// The family that a table says it is of, among its properties, which are near its end.
fn family_of<'n>(table: &Path, names: &[&'n str]) -> Option<&'n str> {
    let (mut file, mut end) = (fs::File::open(table).ok()?, Vec::new());
    let from = file.metadata().ok()?.len().saturating_sub(PROPERTIES_WITHIN);
    file.seek(SeekFrom::Start(from)).ok()?;
    file.take(PROPERTIES_WITHIN).read_to_end(&mut end).ok()?;
    let says = |name: &&&str| {
        let length = u8::try_from(name.len()).expect("names are short");
        let property = [&[NAME_SHARED, 4, length][..], b"name", name.as_bytes()].concat();
        end.windows(property.len()).any(|window| window == property)
    };
    names.iter().find(says).copied()
}

pub(super) fn tables(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut tables = files(folder)?;
    tables.retain(|path| path.extension().is_some_and(|kind| kind == "sst"));
    tables.sort();
    Ok(tables)
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
}

fn number_of(file: &Path) -> Option<u64> {
    file.file_stem()?.to_str()?.rsplit('-').next()?.parse().ok()
}

fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
