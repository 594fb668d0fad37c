//! The changes in the logs of a database, read before RocksDB reads them: whether each follows the one before, from
//! log to log, and how far they go. RocksDB numbers all changes without a gap; it notices that one is missing only
//! where a log says so itself.
//!
//! ```text
//! record    number of its first change (8 bytes) ‖ how many (4) ‖ change …      little-endian
//! change    kind (1) ‖ family, of some kinds (varint) ‖ key (length as varint, bytes) ‖ value, of some kinds
//! ```

use super::manifest::{Bytes, Manifest, damaged};
use super::records::{End, Kind, Records};
use std::fs::File;
use std::io;
use std::path::Path;

const HEADER_BYTES: usize = 12;

/// How far the logs of a database go.
#[derive(Debug, Default)]
pub(crate) struct LogsEnd {
    /// The number of the last change that is in tables or logs.
    pub(crate) last_change: u64,
    /// Where the last log ends before its file does, and why.
    pub(crate) stopped: Option<String>,
}

/// Visits the family, key and value of each key that a log sets.
pub(crate) type VisitPut<'v> = dyn FnMut(&str, &[u8], &[u8]) -> Result<(), String> + 'v;

/// Reads all logs that a database needs.
pub(crate) fn read(folder: &Path, manifest: &Manifest, visit: &mut VisitPut<'_>) -> Result<LogsEnd, String> {
    let mut changes = Changes { next: None, end: LogsEnd::default() };
    for (number, path) in manifest.logs(folder).map_err(|error| format!("IO error: {error}"))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let unread = |error: io::Error| format!("IO error: the file {name}: {error}");
        let mut records = Records::new(File::open(&path).map_err(unread)?, Kind::Log(number));
        loop {
            let at = records.offset();
            match records.next().map_err(unread)? {
                Ok(record) => changes.take(record, manifest, &format_args!("the file {name} at byte {at}"), visit)?,
                Err(End::File | End::Old) => break,
                Err(End::Torn) => changes.stop(&format_args!("the file {name} is cut short at byte {at}")),
                Err(End::Damaged(why)) => changes.stop(&format_args!("the file {name} at byte {at}: {why}")),
                Err(End::Endless) => {
                    let why = "a record belongs to another kind of log, and RocksDB would read it for ever";
                    return Err(damaged(format_args!("the file {name} at byte {at}: {why}")));
                }
            }
            if changes.end.stopped.is_some() {
                break;
            }
        }
    }
    let LogsEnd { last_change, stopped } = changes.end;
    Ok(LogsEnd { last_change: last_change.max(manifest.last_change), stopped })
}

struct Changes {
    /// The number of the change that must follow; none before the first.
    next: Option<u64>,
    end: LogsEnd,
}

impl Changes {
    fn take(
        &mut self,
        record: &[u8],
        manifest: &Manifest,
        place: &dyn std::fmt::Display,
        visit: &mut VisitPut<'_>,
    ) -> Result<(), String> {
        let Some((header, puts)) = record.split_at_checked(HEADER_BYTES) else {
            self.stop(&format_args!("{place}: a record is too short"));
            return Ok(());
        };
        let (number, count) = header.split_at(8);
        let number = u64::from_le_bytes(number.try_into().expect("eight of twelve"));
        let count = u32::from_le_bytes(count.try_into().expect("four of twelve"));
        if count == 0 {
            return Ok(()); // RocksDB begins some logs so
        }
        // The first log may begin with changes that are in tables already.
        let follows = self.next.map_or(number <= manifest.last_change + 1, |next| number == next);
        if !follows {
            let next = self.next.unwrap_or(manifest.last_change + 1);
            let before = self.end.stopped.take().unwrap_or_else(|| place.to_string());
            return Err(damaged(format_args!("{before}: change {next} is missing, and change {number} is there")));
        }
        self.next = Some(number + u64::from(count));
        self.end = LogsEnd { last_change: number + u64::from(count) - 1, stopped: None };
        self::puts(puts, manifest, visit)
    }

    fn stop(&mut self, why: &dyn std::fmt::Display) {
        self.end.stopped = Some(why.to_string());
    }
}

/// Visits what a record sets, up to a change that is unknown here.
fn puts(changes: &[u8], manifest: &Manifest, visit: &mut VisitPut<'_>) -> Result<(), String> {
    let mut bytes = Bytes(changes);
    while let Some(put) = put(&mut bytes) {
        if let Some((family, key, value)) = put
            && let Some(family) = manifest.family_name(family)
        {
            visit(family, key, value)?;
        }
    }
    Ok(())
}

type Put<'b> = (u32, &'b [u8], &'b [u8]);

/// The next change, if it sets a key; none at the end.
fn put<'b>(bytes: &mut Bytes<'b>) -> Option<Option<Put<'b>>> {
    let kind = bytes.byte()?;
    let family = match kind {
        0x4 | 0x5 | 0x6 | 0x8 | 0xE => bytes.small()?,
        _ => 0,
    };
    let put = match kind {
        0x1 | 0x5 => Some((family, bytes.slice()?, bytes.slice()?)),
        0x2 | 0x6 | 0xE | 0xF => {
            let _merged_or_range = (bytes.slice()?, bytes.slice()?);
            None
        }
        0x0 | 0x3 | 0x4 | 0x7 | 0x8 => {
            let _deleted_or_said = bytes.slice()?;
            None
        }
        0xD => None,
        _ => return None,
    };
    Some(put)
}

#[cfg(test)]
mod tests {
    use super::super::manifest::CURRENT;
    use super::super::records::written;
    use super::*;
    use std::fs;

    /// A record that sets so many keys, from a number on.
    fn record(number: u64, count: u32) -> Vec<u8> {
        let put = [&[1, 1][..], b"k", &[2], b"va"].concat();
        let puts = put.repeat(count as usize);
        [&number.to_le_bytes()[..], &count.to_le_bytes(), &puts].concat()
    }

    /// A database whose tables hold 10 changes, and these logs.
    fn folder(logs: &[(u64, &[(u64, u32)])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CURRENT), "MANIFEST-000005\n").unwrap();
        fs::write(folder.path().join("MANIFEST-000005"), written(&[&[2, 8, 4, 10]], None)).unwrap();
        for (log, records) in logs {
            let records: Vec<Vec<u8>> = records.iter().map(|(number, count)| record(*number, *count)).collect();
            let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
            fs::write(folder.path().join(format!("{log:06}.log")), written(&records, None)).unwrap();
        }
        folder
    }

    /// The last change, how many keys are set, and where the last log is cut.
    fn looked(folder: &Path) -> Result<(u64, usize, Option<String>), String> {
        let (manifest, mut puts) = (Manifest::read(folder).unwrap().unwrap(), 0);
        let end = read(folder, &manifest, &mut |family, key, value| {
            assert_eq!((family, key, value), ("default", &b"k"[..], &b"va"[..]));
            puts += 1;
            Ok(())
        })?;
        Ok((end.last_change, puts, end.stopped))
    }

    #[test]
    fn changes_follow_each_other_from_log_to_log() {
        let whole = folder(&[(7, &[(3, 9)]), (8, &[(9, 4), (13, 1)]), (9, &[(14, 0), (14, 2)]), (11, &[])]);
        assert_eq!(looked(whole.path()), Ok((15, 7, None)), "log 7 is no longer needed");
        assert_eq!(looked(folder(&[]).path()), Ok((10, 0, None)));
        for (logs, missing) in [
            (&[(8, &[(12, 1)][..])][..], "change 11 is missing"),
            (&[(8, &[(11, 1), (13, 1)])], "change 12 is missing"),
            (&[(8, &[(11, 2)]), (9, &[(14, 1)])], "change 13 is missing"),
        ] {
            let said = looked(folder(logs).path()).unwrap_err();
            assert!(said.contains(missing) && said.contains(".log at byte"), "{said}");
        }
    }

    #[test]
    fn where_the_last_log_is_cut_is_said() {
        let folder = folder(&[(8, &[(11, 1), (12, 1), (13, 1)])]);
        let log = folder.path().join("000008.log");
        let whole = fs::read(&log).unwrap();
        let each = whole.len() / 3;
        fs::write(&log, &whole[..each * 2 + 5]).unwrap();
        let stopped = |why: &str| Some(format!("the file 000008.log {why}"));
        assert_eq!(looked(folder.path()), Ok((12, 2, stopped(&format!("is cut short at byte {}", each * 2)))));
        let mut bytes = whole.clone();
        bytes[each + 9] ^= 1;
        fs::write(&log, &bytes).unwrap();
        let wrong = format!("at byte {each}: the checksum of a record is wrong");
        assert_eq!(looked(folder.path()), Ok((11, 1, stopped(&wrong))));
        fs::write(&log, [&whole[..each], &whole[2 * each..]].concat()).unwrap();
        assert!(looked(folder.path()).unwrap_err().contains("change 12 is missing"));
        bytes[each + 6] = 5;
        fs::write(&log, &bytes).unwrap();
        assert!(looked(folder.path()).unwrap_err().contains("read it for ever"));
    }
}
