//! The manifest of a database: which families, tables and logs it has. RocksDB takes one that is cut short, or whose
//! last length is wrong, for one that a kill left so, starts with an older state, and deletes what that state does
//! not name. So its beginning is noted, and each opening compares it first.
//!
//! ```text
//! FOLDER/manifest.noted    number of the manifest (8 bytes, big-endian) ‖ how many bytes of it are noted (8)
//!                          ‖ BLAKE3 of these bytes (32) ‖ checksum (8)
//! checksum: the first 8 bytes of the BLAKE3 hash of (name of the file ‖ the 48 bytes before)
//! ```
//!
//! What is noted is on the disk already, so a manifest is never shorter than its note; one that is newer, as a kill
//! right after an opening leaves it, is not proven, but checked as far as it says itself what it is.
//!
//! What is not found: a manifest that lost whole records at its end which were written in the last second before a
//! kill, or that no version with notes has opened yet.

use super::holds_nothing;
use super::records::{End, Kind, Records};
use crate::files::{self, SHARED_FILE};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Names the manifest that a database uses; made last.
pub(crate) const CURRENT: &str = "CURRENT";
/// The note.
pub(crate) const NOTE: &str = "manifest.noted";
const PREFIX: &str = "MANIFEST-";
const NOTED_BYTES: usize = 48;
const NOTE_BYTES: usize = NOTED_BYTES + 8;
/// A manifest is read in pieces of so many bytes.
const PIECE_BYTES: usize = 64 << 10;

/// What a manifest says at its end.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    /// Its file.
    pub(crate) name: String,
    /// A note says what its beginning is; false if it is newer than the note, or there is none.
    pub(crate) is_proven: bool,
    /// False: no version with notes has opened the database to write.
    pub(crate) has_note: bool,
    families: BTreeMap<u32, Family>,
    /// Logs before it are no longer needed.
    first_log: u64,
    /// The number of the last change that is in tables, or a later one.
    pub(crate) last_change: u64,
    /// Changes that are made together, of which not all came yet.
    group: Vec<Edit>,
}

#[derive(Debug, Default)]
struct Family {
    name: String,
    first_log: u64,
    /// Bytes of each table.
    tables: BTreeMap<u64, u64>,
}

/// A record of a manifest, as far as it is needed.
#[derive(Debug, Default)]
struct Edit {
    family: u32,
    added: Option<String>,
    is_dropped: bool,
    first_log: Option<u64>,
    first_log_of_all: Option<u64>,
    last_change: Option<u64>,
    new_tables: Vec<(u64, u64)>,
    old_tables: Vec<u64>,
    /// How many more changes are made together with this one.
    group_left: Option<u32>,
}

/// In RocksDB's words, so that it is explained as those are.
pub(crate) fn damaged(what: impl std::fmt::Display) -> String {
    format!("Corruption: {what}")
}

/// A file that should be there, and cannot be read.
fn unread(name: &str, error: &io::Error) -> String {
    use io::ErrorKind::{InvalidData, IsADirectory, NotADirectory, NotFound};
    match error.kind() {
        NotFound | InvalidData | IsADirectory | NotADirectory => damaged(format_args!("the file {name}: {error}")),
        _ => format!("IO error: the file {name}: {error}"),
    }
}

impl Manifest {
    /// Reads the manifest of a database and checks it; none if there is no database in the folder, or only the
    /// beginning of one that holds nothing.
    pub(crate) fn read(folder: &Path) -> Result<Option<Manifest>, String> {
        let noted = ManifestNote::read(folder)?; // first: a writer goes on
        check_identity(folder)?;
        let current = match fs::read_to_string(folder.join(CURRENT)) {
            Ok(current) => current,
            Err(error) if error.kind() == io::ErrorKind::NotFound && noted.is_none() && holds_nothing(folder) => {
                return Ok(None);
            }
            Err(error) => return Err(unread(CURRENT, &error)),
        };
        let names = |what: &str| damaged(format_args!("the file {CURRENT} names {:?}, {what}", current.trim_end()));
        let name = current.strip_suffix('\n').unwrap_or_default();
        let number = name.strip_prefix(PREFIX).and_then(|number| number.parse::<u64>().ok());
        let number = number.ok_or_else(|| names("which is no manifest"))?;
        let file = match File::open(folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(names("which is not there")),
            opened => opened.map_err(|error| format!("IO error: {name}: {error}"))?,
        };
        let is_proven = match &noted {
            Some(noted) if noted.number > number => {
                return Err(names(&format!(
                    "which is older than the {PREFIX}{:06} that was last used",
                    noted.number
                )));
            }
            Some(noted) if noted.number == number => noted.check(name, &file).map(|()| true)?,
            _ => false,
        };
        let mut manifest =
            Manifest { name: name.into(), is_proven, has_note: noted.is_some(), ..Manifest::default() };
        manifest.read_edits(BufReader::new(file))?;
        Ok(Some(manifest))
    }

    fn read_edits(&mut self, file: impl Read) -> Result<(), String> {
        let mut records = Records::new(file, Kind::Manifest);
        loop {
            let at = records.offset();
            let name = &self.name;
            let wrong = |what: &str| damaged(format_args!("the file {name} at byte {at}: {what}"));
            let edit = match records.next().map_err(|error| format!("IO error: {name}: {error}"))? {
                Ok(record) => Edit::read(record).ok_or_else(|| wrong("a record says nothing that is known"))?,
                Err(End::File | End::Torn) => break,
                Err(End::Damaged(what)) => return Err(wrong(what)),
                Err(End::Old | End::Endless) => return Err(wrong("a record belongs to another kind of file")),
            };
            if records.take_padding().is_some() {
                return Err(wrong("zeroes stand before a record"));
            }
            self.take(edit);
        }
        match self.families.contains_key(&0) {
            true => Ok(()),
            false => Err(damaged(format_args!("the file {} is empty", self.name))),
        }
    }

    /// Takes an edit in; those that are made together only once all of them came.
    fn take(&mut self, edit: Edit) {
        match edit.group_left {
            Some(left) if left > 0 => self.group.push(edit),
            _ => {
                let group = std::mem::take(&mut self.group);
                group.into_iter().chain([edit]).for_each(|edit| self.apply(edit));
            }
        }
    }

    fn apply(&mut self, edit: Edit) {
        self.last_change = self.last_change.max(edit.last_change.unwrap_or(0));
        self.first_log = self.first_log.max(edit.first_log_of_all.unwrap_or(0));
        if edit.is_dropped {
            self.families.remove(&edit.family);
            return;
        }
        let family = self.families.entry(edit.family).or_default();
        if let Some(name) = edit.added {
            family.name = name;
        } else if edit.family == 0 {
            family.name = "default".into();
        }
        family.first_log = family.first_log.max(edit.first_log.unwrap_or(0));
        family.tables.retain(|table, _| !edit.old_tables.contains(table));
        family.tables.extend(edit.new_tables);
    }

    /// Names of the families.
    pub(crate) fn families(&self) -> impl Iterator<Item = &str> {
        self.families.values().map(|family| family.name.as_str())
    }

    /// The number by which a log calls a family.
    pub(crate) fn family(&self, name: &str) -> Option<u32> {
        self.families.iter().find(|(_, family)| family.name == name).map(|(number, _)| *number)
    }

    pub(crate) fn family_name(&self, number: u32) -> Option<&str> {
        self.families.get(&number).map(|family| family.name.as_str())
    }

    /// Whether a file is a table of the database.
    pub(crate) fn has_table(&self, path: &Path) -> bool {
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        number.is_some_and(|number| self.families.values().any(|family| family.tables.contains_key(&number)))
    }

    /// Whether no table belongs to the database.
    pub(crate) fn has_no_table(&self) -> bool {
        self.families.values().all(|family| family.tables.is_empty())
    }

    /// Whether the families are these, or fewer if it may lack some, and none of another database.
    pub(crate) fn check_families(&self, expected: &[&str], may_lack: bool) -> Result<(), String> {
        let name = &self.name;
        if let Some(other) = self.families().find(|family| *family != "default" && !expected.contains(family)) {
            return Err(damaged(format_args!("the file {name} is another database's: it has a family `{other}`")));
        }
        match expected.iter().find(|family| self.family(family).is_none()) {
            Some(lacking) if !may_lack => {
                Err(damaged(format_args!("the file {name} lacks the family `{lacking}`: its end is missing")))
            }
            _ => Ok(()),
        }
    }

    /// Whether all tables are there, as long as they were written.
    pub(crate) fn check_tables(&self, folder: &Path) -> Result<(), String> {
        for (table, bytes) in self.families.values().flat_map(|family| &family.tables) {
            let name = format!("{table:06}.sst");
            match fs::metadata(folder.join(&name)) {
                Ok(found) if found.len() == *bytes => {}
                Ok(found) => {
                    let what = format!("the file {name} has {} bytes instead of {bytes}", found.len());
                    return Err(damaged(what));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(damaged(format_args!("the file {name} is missing")));
                }
                Err(error) => return Err(format!("IO error: {name}: {error}")),
            }
        }
        Ok(())
    }

    /// The logs that are needed, the oldest first.
    pub(crate) fn logs(&self, folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
        let first = self.families.values().map(|family| family.first_log).min().unwrap_or(0).max(self.first_log);
        let mut logs = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            if let Some(number) = number.filter(|number| *number >= first)
                && path.extension().is_some_and(|kind| kind == "log")
            {
                logs.push((number, path));
            }
        }
        logs.sort_unstable();
        Ok(logs)
    }
}

/// RocksDB makes the file again when it is not there, and ends with an error about a folder that nothing explains.
fn check_identity(folder: &Path) -> Result<(), String> {
    match fs::metadata(folder.join("IDENTITY")) {
        Ok(file) if !file.is_file() => {
            Err(damaged("`IDENTITY` is no file; move it away, and the file is made again"))
        }
        _ => Ok(()),
    }
}

/// What is left to read of a record.
pub(crate) struct Bytes<'b>(pub(crate) &'b [u8]);

impl<'b> Bytes<'b> {
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(crate) fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    pub(crate) fn slice(&mut self) -> Option<&'b [u8]> {
        let length = self.number()?.try_into().ok()?;
        let (slice, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(slice)
    }
}

/// Tags of a version edit (RocksDB's `db/version_edit.h`).
mod tag {
    pub(super) const COMPARATOR: u32 = 1;
    pub(super) const LOG_NUMBER: u32 = 2;
    pub(super) const NEXT_FILE_NUMBER: u32 = 3;
    pub(super) const LAST_SEQUENCE: u32 = 4;
    pub(super) const COMPACT_CURSOR: u32 = 5;
    pub(super) const DELETED_FILE: u32 = 6;
    pub(super) const PREVIOUS_LOG_NUMBER: u32 = 9;
    pub(super) const MIN_LOG_NUMBER_TO_KEEP: u32 = 10;
    pub(super) const NEW_FILE: u32 = 103;
    pub(super) const FAMILY: u32 = 200;
    pub(super) const FAMILY_ADD: u32 = 201;
    pub(super) const FAMILY_DROP: u32 = 202;
    pub(super) const MAX_FAMILY: u32 = 203;
    pub(super) const IN_ATOMIC_GROUP: u32 = 300;
    /// Of what has this bit, the length is said, so that it can be skipped.
    pub(super) const SKIPPED: u32 = 1 << 13;
    /// Fields of a new file: the last one, and one that stands there because older versions skip it.
    pub(super) const NO_MORE: u32 = 1;
    pub(super) const MIN_LOG_NUMBER_TO_KEEP_OF_FILE: u32 = 3;
}

impl Edit {
    /// None: it is not as RocksDB writes it.
    fn read(record: &[u8]) -> Option<Edit> {
        let (mut edit, mut bytes) = (Edit::default(), Bytes(record));
        while !bytes.0.is_empty() {
            match bytes.small()? {
                tag::COMPARATOR => drop(bytes.slice()?),
                tag::LOG_NUMBER => edit.first_log = Some(bytes.number()?),
                tag::NEXT_FILE_NUMBER | tag::PREVIOUS_LOG_NUMBER | tag::MAX_FAMILY => drop(bytes.number()?),
                tag::LAST_SEQUENCE => edit.last_change = Some(bytes.number()?),
                tag::COMPACT_CURSOR => drop((bytes.small()?, bytes.slice()?)),
                tag::DELETED_FILE => edit.old_tables.push((bytes.small()?, bytes.number()?).1),
                tag::MIN_LOG_NUMBER_TO_KEEP => edit.first_log_of_all = Some(bytes.number()?),
                tag::NEW_FILE => edit.read_new_table(&mut bytes)?,
                tag::FAMILY => edit.family = bytes.small()?,
                tag::FAMILY_ADD => edit.added = Some(String::from_utf8(bytes.slice()?.into()).ok()?),
                tag::FAMILY_DROP => edit.is_dropped = true,
                tag::IN_ATOMIC_GROUP => edit.group_left = Some(bytes.small()?),
                other if other & tag::SKIPPED != 0 => drop(bytes.slice()?),
                _ => return None,
            }
        }
        Some(edit)
    }

    fn read_new_table(&mut self, bytes: &mut Bytes<'_>) -> Option<()> {
        let (_level, table, size) = (bytes.small()?, bytes.number()?, bytes.number()?);
        let (_smallest, _largest, _first_change) = (bytes.slice()?, bytes.slice()?, bytes.number()?);
        let last_change = bytes.number()?;
        self.last_change = self.last_change.max(Some(last_change));
        loop {
            match bytes.small()? {
                tag::NO_MORE => break,
                tag::MIN_LOG_NUMBER_TO_KEEP_OF_FILE => {
                    let log = u64::from_le_bytes(bytes.slice()?.try_into().ok()?);
                    self.first_log_of_all = self.first_log_of_all.max(Some(log));
                }
                _ => drop(bytes.slice()?),
            }
        }
        self.new_tables.push((table, size));
        Some(())
    }
}

/// What a note says.
struct ManifestNote {
    number: u64,
    length: u64,
    hash: [u8; 32],
}

impl ManifestNote {
    /// None: there is no note.
    fn read(folder: &Path) -> Result<Option<ManifestNote>, String> {
        let remedy = "nothing proves the manifest: restore the file, or delete it once it is certain that nothing else is \
                      damaged; it is made again";
        let wrong = |why: &str| damaged(format_args!("the file {NOTE}: {why}, so {remedy}"));
        let bytes = match fs::read(folder.join(NOTE)) {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(unread(NOTE, &error)),
        };
        if bytes.len() != NOTE_BYTES || bytes[NOTED_BYTES..] != checksum(&bytes[..NOTED_BYTES]) {
            return Err(wrong("it is not what was written"));
        }
        let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight of them"));
        let hash = bytes[16..NOTED_BYTES].try_into().expect("32 of them");
        Ok(Some(ManifestNote { number: number(0), length: number(8), hash }))
    }

    /// Whether the beginning of the manifest is what was noted.
    fn check(&self, name: &str, mut file: &File) -> Result<(), String> {
        let unread = |error: io::Error| format!("IO error: {name}: {error}");
        let mut hasher = blake3::Hasher::new();
        let read = hash(&mut file, self.length, &mut hasher).map_err(unread)?;
        if read < self.length {
            let what = format!("the file {name} has {read} bytes, and had {} at least", self.length);
            return Err(damaged(what));
        }
        if *hasher.finalize().as_bytes() != self.hash {
            return Err(damaged(format_args!("the file {name} is not what was written")));
        }
        file.seek(SeekFrom::Start(0)).map(drop).map_err(unread)
    }
}

/// Hashes at most `bytes` bytes of a file; returns how many there were.
fn hash(file: &mut impl Read, bytes: u64, hasher: &mut blake3::Hasher) -> io::Result<u64> {
    let (mut source, mut piece, mut hashed) = (file.take(bytes), vec![0; PIECE_BYTES], 0);
    loop {
        match source.read(&mut piece)? {
            0 => return Ok(hashed),
            read => {
                hasher.update(&piece[..read]);
                hashed += read as u64;
            }
        }
    }
}

fn checksum(noted: &[u8]) -> [u8; 8] {
    let hash = blake3::hash(&[NOTE.as_bytes(), noted].concat());
    hash.as_bytes()[..8].try_into().expect("eight of 32")
}

/// Notes the manifest of a copy that nothing writes to.
pub(crate) fn note(folder: &Path) -> io::Result<()> {
    Noter::default().note(folder)
}

/// Deletes the note of a database that is about to be deleted: what an interruption leaves is not damaged.
pub(crate) fn forget(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(NOTE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) => files::sync_folder(folder),
        Err(_) => Ok(()),
    }
}

/// Notes the manifest of a database that is open to write, as it grows.
#[derive(Default)]
pub(crate) struct Noter {
    number: u64,
    length: u64,
    hasher: blake3::Hasher,
}

impl Noter {
    /// Notes what the manifest has grown by, once that is on the disk; nothing is written if it did not grow.
    pub(crate) fn note(&mut self, folder: &Path) -> io::Result<()> {
        let current = fs::read_to_string(folder.join(CURRENT))?;
        let name = current.trim_end();
        let number = name.strip_prefix(PREFIX).and_then(|number| number.parse().ok());
        let number = number.ok_or_else(|| io::Error::other(format!("{CURRENT} names {name:?}")))?;
        let mut file = File::open(folder.join(name))?;
        if number != self.number {
            *self = Noter { number, ..Noter::default() };
        }
        let length = file.metadata()?.len();
        if length == self.length {
            return Ok(());
        }
        file.sync_data()?; // RocksDB may be between its write and its sync: a note must not be ahead of the disk
        file.seek(SeekFrom::Start(self.length))?;
        self.length += hash(&mut file, length.saturating_sub(self.length), &mut self.hasher)?;
        let hash = self.hasher.finalize();
        let noted = [&self.number.to_be_bytes()[..], &self.length.to_be_bytes(), hash.as_bytes()].concat();
        files::replace(&folder.join(NOTE), &[&noted[..], &checksum(&noted)].concat(), SHARED_FILE)
    }
}

#[cfg(test)]
mod tests {
    use super::super::records::written;
    use super::*;

    /// As RocksDB writes it: the default family, a second one with a table, and its table replaced by another.
    fn edits() -> [Vec<u8>; 4] {
        let comparator = [&[1, 26][..], b"leveldb.BytewiseComparator"].concat();
        let family = [&[0xC8, 1, 1, 0xC9, 1, 5][..], b"rooms", &[2, 7]].concat();
        let table = |number: u8, last: u8| [103, 0, number, 9, 1, b'a', 1, b'z', 3, last, 5, 1, 1, 1];
        let made = [&[0xC8, 1, 1, 2, 8, 4, 11][..], &table(12, 11)].concat();
        let moved = [&[0xC8, 1, 1, 6, 0, 12][..], &table(14, 20)].concat();
        [comparator, family, made, moved]
    }

    fn folder(manifest: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CURRENT), "MANIFEST-000005\n").unwrap();
        fs::write(folder.path().join("MANIFEST-000005"), manifest).unwrap();
        folder
    }

    fn whole() -> Vec<u8> {
        written(&edits().each_ref().map(Vec::as_slice), None)
    }

    fn refusal(folder: &Path) -> String {
        Manifest::read(folder).unwrap_err()
    }

    #[test]
    fn what_belongs_to_a_database_is_read() {
        let folder = folder(&whole());
        let manifest = Manifest::read(folder.path()).unwrap().unwrap();
        assert!(manifest.families().eq(["default", "rooms"]) && !manifest.is_proven);
        assert_eq!((manifest.family("rooms"), manifest.last_change), (Some(1), 20));
        manifest.check_families(&["rooms"], false).unwrap();
        assert!(manifest.check_families(&["rooms", "more"], false).unwrap_err().contains("lacks the family `more`"));
        manifest.check_families(&["rooms", "more"], true).unwrap();
        assert!(manifest.check_families(&["more"], true).unwrap_err().contains("another database's"));
        assert!(manifest.check_tables(folder.path()).unwrap_err().contains("000014.sst is missing"));
        fs::write(folder.path().join("000014.sst"), [0; 8]).unwrap();
        assert!(manifest.check_tables(folder.path()).unwrap_err().contains("000014.sst has 8 bytes instead of 9"));
        fs::write(folder.path().join("000014.sst"), [0; 9]).unwrap();
        manifest.check_tables(folder.path()).unwrap();
    }

    #[test]
    fn a_group_of_edits_counts_once_all_of_them_came() {
        let [comparator, family, ..] = edits();
        let group = |left: u8, log: u8| vec![2, log, 0xAC, 2, left];
        let (first, last) = (group(1, 9), group(0, 9));
        for (edits, names) in [(&[&comparator, &family, &first][..], 2), (&[&comparator, &family, &first, &last], 2)]
        {
            let edits: Vec<&[u8]> = edits.iter().map(|edit| edit.as_slice()).collect();
            let folder = folder(&written(&edits, None));
            let manifest = Manifest::read(folder.path()).unwrap().unwrap();
            assert_eq!(manifest.families().count(), names);
            let log = manifest.families[&0].first_log;
            assert_eq!(log, if edits.len() == 4 { 9 } else { 0 });
        }
    }

    #[test]
    fn a_manifest_never_becomes_less_than_its_note() {
        let whole = whole();
        let folder = folder(&whole[..60]);
        let path = folder.path().join("MANIFEST-000005");
        let mut noter = Noter::default();
        noter.note(folder.path()).unwrap();
        fs::write(&path, &whole).unwrap();
        noter.note(folder.path()).unwrap();
        assert!(Manifest::read(folder.path()).unwrap().unwrap().is_proven);
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(refusal(folder.path()).contains("MANIFEST-000005 has"), "{cut}");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            fs::write(&path, bytes).unwrap();
            assert!(refusal(folder.path()).contains("MANIFEST-000005 is not what was written"), "{at}");
        }
        fs::write(&path, [&whole[..], &[1, 2, 3]].concat()).unwrap();
        assert!(Manifest::read(folder.path()).unwrap().unwrap().is_proven, "what a kill leaves behind it");
        fs::write(&path, &whole).unwrap();
        fs::rename(&path, folder.path().join("MANIFEST-000004")).unwrap();
        assert!(refusal(folder.path()).contains("MANIFEST-000005\", which is not there"));
        fs::write(folder.path().join(CURRENT), "MANIFEST-000004\n").unwrap();
        assert!(refusal(folder.path()).contains("older than the MANIFEST-000005"));
        let note = folder.path().join(NOTE);
        let noted = fs::read(&note).unwrap();
        for at in 0..noted.len() {
            let mut bytes = noted.clone();
            bytes[at] ^= 1;
            fs::write(&note, bytes).unwrap();
            assert!(refusal(folder.path()).contains(NOTE), "{at}");
        }
    }

    #[test]
    fn a_manifest_without_a_note_is_checked_as_far_as_it_goes() {
        let whole = whole();
        let twice = [&whole[..], &[0; 32 << 10][whole.len()..], &whole].concat();
        let endless = [whole.clone(), written(&[&[0; 9]], Some(5))].concat();
        let mut length = whole.clone();
        let last = whole.len() - edits()[3].len() - 7;
        length[last + 5] ^= 0x40;
        for (bytes, what) in
            [(twice, "zeroes"), (endless, "another kind of file"), (length, "length"), (Vec::new(), "is empty")]
        {
            let said = refusal(folder(&bytes).path());
            assert!(said.contains(what) && said.contains("MANIFEST-000005"), "{said}");
        }
        let torn = folder(&whole[..whole.len() - 1]);
        assert_eq!(Manifest::read(torn.path()).unwrap().unwrap().last_change, 11, "a kill leaves this");
        fs::create_dir(torn.path().join("IDENTITY")).unwrap();
        assert!(refusal(torn.path()).contains("`IDENTITY` is no file"));
        assert!(Manifest::read(&torn.path().join("nowhere")).unwrap().is_none());
    }
}
