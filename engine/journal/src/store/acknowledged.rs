//! Notes of what was acknowledged: how far a database must reach. A torn end of a log is what every kill and power
//! cut leaves, and is cut off; an end before the note is damage, because more was acknowledged.
//!
//! ```text
//! DIR/acknowledged       of the journal: the first position that was not yet durable
//! DIR/acknowledged.bus   of the bus: RocksDB's number of the last change that was synced
//!
//! number (8 bytes, big-endian, all that older versions read and write) ‖ number ‖ checksum
//! checksum: the first 8 bytes of the BLAKE3 hash of (name of the file ‖ number)
//! ```
//!
//! A note is made once, synced, before anything is acknowledged; later numbers are written in place after each sync,
//! without one of their own. They survive a kill; a power cut may leave an older number, which asks for less. The
//! first number is not read again, so an older version that wrote only that one does no harm.
//!
//! The journal says that both were made, and `bus/manifest.noted` says it of the one of the bus, so a note that is
//! missing is damage as well; `fakemon verify --salvage` makes a directory that begins with new ones.
//!
//! What is not found: damage behind the note (which was not acknowledged, unless a power cut took the last number); a
//! directory that was replaced by an older copy of itself; damage in the bus of a directory that no version with
//! notes has opened yet.

use crate::files::{self, SHARED_FILE};
use fakemon_model::ids::Position;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

/// The note of the journal.
pub(crate) const JOURNAL_NOTE: &str = "acknowledged";
/// The note of the bus.
pub(crate) const BUS_NOTE: &str = "acknowledged.bus";
const NOTE_BYTES: usize = 24;
/// What versions without a checksum wrote.
const OLD_NOTE_BYTES: usize = 8;
/// A note that its writer is just changing is read again.
const READINGS_MAX: u32 = 3;
const READ_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// What a note says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// There is none.
    Nothing,
    /// A number without a checksum, or an empty file: older versions left both.
    Unproven(u64),
    /// A number that its checksum proves.
    Proven(u64),
    /// Why it says nothing.
    Damaged(String),
}

impl Noted {
    /// Reads a note, beside its writer too.
    pub(crate) fn read(dir: &Path, name: &str) -> Noted {
        for _ in 1..READINGS_MAX {
            match Noted::read_once(dir, name) {
                Noted::Damaged(_) => std::thread::sleep(READ_AGAIN_AFTER),
                noted => return noted,
            }
        }
        Noted::read_once(dir, name)
    }

    fn read_once(dir: &Path, name: &str) -> Noted {
        let bytes = match std::fs::read(dir.join(name)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Noted::Nothing,
            Err(error) => return Noted::Damaged(error.to_string()),
        };
        let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("eight of them"));
        match bytes.len() {
            0 => Noted::Unproven(0),
            OLD_NOTE_BYTES => Noted::Unproven(number(&bytes)),
            NOTE_BYTES if bytes[8..] == record(name, number(&bytes[8..16]))[8..] => {
                Noted::Proven(number(&bytes[8..16]))
            }
            NOTE_BYTES => Noted::Damaged("its checksum is wrong".into()),
            length => Noted::Damaged(format!("it has {length} bytes instead of {NOTE_BYTES}")),
        }
    }

    /// What must be there; 0: nothing is known.
    pub(crate) fn number(&self) -> u64 {
        match self {
            Noted::Unproven(number) | Noted::Proven(number) => *number,
            Noted::Nothing | Noted::Damaged(_) => 0,
        }
    }

    /// A position that must be reached.
    pub(crate) fn position(&self) -> Position {
        Position(self.number())
    }
}

fn record(name: &str, number: u64) -> [u8; NOTE_BYTES] {
    let number = number.to_be_bytes();
    let checksum = blake3::hash(&[name.as_bytes(), &number].concat());
    let mut record = [0; NOTE_BYTES];
    record[..8].copy_from_slice(&number);
    record[8..16].copy_from_slice(&number);
    record[16..].copy_from_slice(&checksum.as_bytes()[..8]);
    record
}

/// A note that is written.
pub(crate) struct Note {
    file: File,
    name: &'static str,
}

impl Note {
    /// Opens a note that says `noted`; makes one that is on the disk when this returns, unless there is a proven one.
    pub(crate) fn open(dir: &Path, name: &'static str, noted: &Noted) -> io::Result<Note> {
        let path = dir.join(name);
        if !matches!(noted, Noted::Proven(_)) {
            files::replace(&path, &record(name, noted.number()), SHARED_FILE)?;
        }
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Note { file, name })
    }

    /// Notes that everything up to `number` is acknowledged.
    pub(crate) fn set(&self, number: u64) -> io::Result<()> {
        let record = record(self.name, number);
        let written = rustix::io::pwrite(&self.file, &record, 0)?;
        if written == NOTE_BYTES { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

/// Why a note is damaged that is not there, and was made.
pub(crate) const IS_MISSING: &str = "it is missing";

/// What a damaged note means, and what to do.
pub(crate) fn damaged(name: &str, why: &str) -> String {
    format!(
        "the file `{name}` is damaged ({why}), so nothing says how far this must reach: restore it, or a copy, or let \
         `fakemon verify --salvage NEW_DIR` make a directory of what is here"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_note_says_its_number_or_that_it_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, path) = (dir.path(), dir.path().join(BUS_NOTE));
        assert_eq!(Noted::read(dir, BUS_NOTE), Noted::Nothing);
        let note = Note::open(dir, BUS_NOTE, &Noted::Nothing).unwrap();
        assert_eq!(Noted::read(dir, BUS_NOTE), Noted::Proven(0));
        note.set(77).unwrap();
        let whole = fs::read(&path).unwrap();
        for byte in 0..NOTE_BYTES {
            let mut bytes = whole.clone();
            bytes[byte] ^= 4;
            fs::write(&path, bytes).unwrap();
            let noted = Noted::read(dir, BUS_NOTE);
            match byte < OLD_NOTE_BYTES {
                true => assert_eq!(noted, Noted::Proven(77), "an older version may have written it"),
                false => assert!(matches!(noted, Noted::Damaged(_)), "byte {byte}"),
            }
        }
        fs::write(&path, &whole[..9]).unwrap();
        assert!(matches!(Noted::read(dir, BUS_NOTE), Noted::Damaged(_)));
    }

    #[test]
    fn a_note_of_an_older_version_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, path) = (dir.path(), dir.path().join(JOURNAL_NOTE));
        for (bytes, number) in [(vec![], 0), (1_000u64.to_be_bytes().to_vec(), 1_000)] {
            fs::write(&path, bytes).unwrap();
            let noted = Noted::read(dir, JOURNAL_NOTE);
            assert_eq!(noted, Noted::Unproven(number));
            drop(Note::open(dir, JOURNAL_NOTE, &noted).unwrap());
            assert_eq!(Noted::read(dir, JOURNAL_NOTE), Noted::Proven(number));
        }
    }
}
