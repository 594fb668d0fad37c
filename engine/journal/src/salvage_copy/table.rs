//! Reads one table of a database alone, without the database: by a manifest that names nothing else and says that it
//! may hold any key. A block of it that is damaged takes nothing else with it: what comes before is read forwards,
//! what comes after backwards. What lies between two damaged blocks of one table is not found, and nothing is if the
//! index of the table is damaged.
//!
//! ```text
//! MANIFEST-000001: masked CRC-32C (4) ‖ length (2) ‖ 1 ‖ edit
//! edit: 1 comparator  2 log  3 next file  4 last change  100 level, file, bytes, least key, greatest key, changes
//! ```

use rocksdb::{DB, DBRawIterator, Options, ReadOptions};
use std::fs;
use std::io;
use std::path::Path;

const COMPARATOR: &[u8] = b"leveldb.BytewiseComparator";
/// The greatest number of a change but one, so that every change in the table is visible.
const LAST_CHANGE: u64 = (1 << 56) - 2;
/// No key of ours is as great.
const GREATEST_KEY: [u8; 64] = [0xFF; 64];
const FILE: u64 = 7;
/// The kind of a record that is whole.
const WHOLE: u8 = 1;
/// The kind of a key that has a value.
const VALUE: u64 = 1;

/// Visits a key and its value.
pub(super) type VisitEntry<'v> = dyn FnMut(&[u8], &[u8]) + 'v;

/// Visits what can be read of the table, in no order; `room` is a folder that does not exist yet. Returns what is
/// wrong with it.
pub(super) fn read(table: &Path, room: &Path, visit: &mut VisitEntry<'_>) -> Result<(), String> {
    let bytes = fs::metadata(table).map_err(|error| error.to_string())?.len();
    let made = make_room(table, bytes, room);
    let result = made.map_err(|error| error.to_string()).and_then(|()| read_alone(room, visit));
    let _ = fs::remove_dir_all(room); // it is in the copy, which is deleted as a whole
    result
}

fn make_room(table: &Path, bytes: u64, room: &Path) -> io::Result<()> {
    fs::create_dir(room)?;
    let name = room.join(format!("{FILE:06}.sst"));
    fs::hard_link(table, &name).or_else(|_| fs::copy(table, &name).map(drop))?;
    fs::write(room.join("MANIFEST-000001"), record(&edit(bytes)))?;
    fs::write(room.join("CURRENT"), "MANIFEST-000001\n")
}

fn read_alone(room: &Path, visit: &mut VisitEntry<'_>) -> Result<(), String> {
    let mut options = Options::default();
    options.set_paranoid_checks(false);
    let db = DB::open_for_read_only(&options, room, false).map_err(rocksdb::Error::into_string)?;
    around_damage(|| db.raw_iterator_opt(checked()), visit)
}

fn checked() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options
}

/// Visits what can be read from the first key on, and from the last one back; the first error.
pub(super) fn around_damage<'d>(
    iterator: impl Fn() -> DBRawIterator<'d>,
    visit: &mut VisitEntry<'_>,
) -> Result<(), String> {
    let (mut forwards, mut last) = (iterator(), Vec::new());
    forwards.seek_to_first();
    while let Some((key, value)) = forwards.item() {
        visit(key, value);
        last = key.to_vec();
        forwards.next();
    }
    let Err(error) = forwards.status() else { return Ok(()) };
    let mut backwards = iterator();
    backwards.seek_to_last();
    while let Some((key, value)) = backwards.item() {
        if !last.is_empty() && key <= &last[..] {
            break;
        }
        visit(key, value);
        backwards.prev();
    }
    Err(error.into_string())
}

/// A manifest's edit: this one table.
fn edit(bytes: u64) -> Vec<u8> {
    let mut edit = Vec::new();
    number(1, &mut edit);
    text(COMPARATOR, &mut edit);
    for (tag, value) in [(2, 0), (3, FILE + 1), (4, LAST_CHANGE)] {
        number(tag, &mut edit);
        number(value, &mut edit);
    }
    [100, 0, FILE, bytes].into_iter().for_each(|value| number(value, &mut edit));
    text(&internal(&[]), &mut edit);
    text(&internal(&GREATEST_KEY), &mut edit);
    [0, LAST_CHANGE].into_iter().for_each(|value| number(value, &mut edit));
    edit
}

/// A key as tables have it: with the number and the kind of its change.
fn internal(key: &[u8]) -> Vec<u8> {
    [key, &(LAST_CHANGE << 8 | VALUE).to_le_bytes()[..]].concat()
}

fn number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn text(text: &[u8], out: &mut Vec<u8>) {
    number(text.len() as u64, out);
    out.extend_from_slice(text);
}

/// A record of a log.
fn record(payload: &[u8]) -> Vec<u8> {
    let checked = [&[WHOLE], payload].concat();
    let length = u16::try_from(payload.len()).expect("an edit of one table is short");
    let checksum = crc32c(&checked).rotate_right(15).wrapping_add(0xA282_EAD8); // masked, as logs have it
    [&checksum.to_le_bytes()[..], &length.to_le_bytes(), &checked].concat()
}

/// CRC-32C, bit by bit: it is of some hundred bytes.
fn crc32c(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82F6_3B78 & 0u32.wrapping_sub(crc & 1)))
    });
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_the_one_of_the_standard() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn a_table_is_read_alone_before_and_after_a_damaged_block() {
        let dir = tempfile::tempdir().unwrap();
        let (home, room) = (dir.path().join("home"), dir.path().join("room"));
        let mut options = Options::default();
        options.create_if_missing(true);
        let db = DB::open(&options, &home).unwrap();
        for key in 0..2_000u64 {
            db.put(key.to_be_bytes(), [7; 100]).unwrap();
        }
        db.flush().unwrap();
        drop(db);
        let tables = fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().path());
        let table = tables.into_iter().find(|path| path.extension().is_some_and(|kind| kind == "sst")).unwrap();
        let read_it = || {
            let mut keys = Vec::new();
            let result = read(&table, &room, &mut |key, _| keys.push(u64::from_be_bytes(key.try_into().unwrap())));
            keys.sort_unstable();
            assert!(!room.exists());
            (keys, result)
        };
        let (keys, result) = read_it();
        assert!(result.is_ok() && keys == (0..2_000).collect::<Vec<_>>());
        let whole = fs::read(&table).unwrap();
        for at in [10, whole.len() / 3] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&table, &bytes).unwrap();
            let (keys, result) = read_it();
            assert!(result.is_err() && (1_000..2_000).contains(&keys.len()), "{at}: {} {result:?}", keys.len());
            assert_eq!((keys.contains(&0), keys.contains(&1_999)), (at != 10, true), "{at}");
        }
    }
}
