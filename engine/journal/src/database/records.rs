//! Records of a log or a manifest, as RocksDB writes both, read to find out whether RocksDB would read them to their
//! end. RocksDB takes a length that leads behind the end of the file for a torn end, skips zeroes without a word, and
//! reads for ever where a record of a recycled log follows one of a log that is not; this reader says which it is.
//!
//! ```text
//! file      blocks of 32 KiB; what is too short for a header at the end of a block is not used
//! block     record …
//! record    checksum (4 bytes) ‖ length (2) ‖ kind (1) ‖ number of the log (4, recycled kinds only) ‖ bytes
//!           numbers are little-endian; the checksum is the masked CRC-32C of everything from the kind on
//! kinds     1 whole, 2 first, 3 middle, 4 last part; 5 to 8 the same in a recycled log; others say something of the log
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
const RECYCLED_HEADER_BYTES: usize = 11;
/// Kinds that a reader may skip when it does not know them.
const SKIPPED: u8 = 0x80;
/// What RocksDB adds to a checksum, so that a checksum of bytes with checksums in them is none by chance.
const MASK: u32 = 0xa282_ead8;

/// What a file is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A manifest: it has no recycled records.
    Manifest,
    /// The log of a number, which the records of a recycled one repeat.
    Log(u64),
}

/// Why there are no more records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The file ends with a whole record, or with zeroes behind it.
    File,
    /// An older record of a recycled log.
    Old,
    /// The last record is not all there, as a kill or a power cut leaves it.
    Torn,
    /// Bytes are not what was written. RocksDB reads on at the next block, or ends here.
    Damaged(&'static str),
    /// RocksDB would read the same record again and again.
    Endless,
}

/// The records of a file, one after the other.
pub(crate) struct Records<R> {
    source: R,
    kind: Kind,
    block: Vec<u8>,
    /// Where the next record begins in the block.
    next: usize,
    /// Where the block begins in the file.
    begins: u64,
    is_last_block: bool,
    /// A record came before; then none of another kind of log may follow.
    is_begun: bool,
    is_recycled: bool,
    record: Vec<u8>,
    in_record: bool,
    /// Where zeroes were skipped.
    padding: Option<u64>,
}

/// A part of a record, or what is there instead.
enum Fragment {
    Part { kind: u8, from: usize, to: usize },
    Padding,
    End(End),
}

impl<R: Read> Records<R> {
    pub(crate) fn new(source: R, kind: Kind) -> Records<R> {
        Records {
            source,
            kind,
            block: Vec::with_capacity(BLOCK_BYTES),
            next: 0,
            begins: 0,
            is_last_block: false,
            is_begun: kind == Kind::Manifest,
            is_recycled: false,
            record: Vec::new(),
            in_record: false,
            padding: None,
        }
    }

    /// Where the next record begins: behind the last one.
    pub(crate) fn offset(&self) -> u64 {
        self.begins + self.next as u64
    }

    /// Where zeroes began that were skipped before the last record, once.
    pub(crate) fn take_padding(&mut self) -> Option<u64> {
        self.padding.take()
    }

    /// The next record, or why there is none.
    pub(crate) fn next(&mut self) -> io::Result<Result<&[u8], End>> {
        self.record.clear();
        self.in_record = false;
        loop {
            let (kind, from, to) = match self.fragment()? {
                Fragment::Part { kind, from, to } => (kind, from, to),
                Fragment::Padding if self.in_record => return Ok(Err(End::Damaged("zeroes are within a record"))),
                Fragment::Padding => continue,
                Fragment::End(End::File | End::Old) if self.in_record => return Ok(Err(End::Torn)),
                Fragment::End(end) => return Ok(Err(end)),
            };
            let is_begin = matches!(kind, 1 | 2 | 5 | 6);
            match kind {
                1..=8 if is_begin == self.in_record => {
                    return Ok(Err(End::Damaged("the parts of a record do not belong together")));
                }
                1..=8 => self.record.extend_from_slice(&self.block[from..to]),
                10 | 11 | 130 | 131 => continue, // RocksDB reads what they say of the log
                _ if kind & SKIPPED != 0 => continue,
                _ => return Ok(Err(End::Damaged("a record is of an unknown kind"))),
            }
            self.in_record = true;
            if matches!(kind, 1 | 4 | 5 | 8) {
                self.is_begun = true;
                return Ok(Ok(&self.record));
            }
        }
    }

    fn fragment(&mut self) -> io::Result<Fragment> {
        loop {
            let left = self.block.len() - self.next;
            if left < HEADER_BYTES {
                match self.is_last_block {
                    true if self.block[self.next..].iter().all(|byte| *byte == 0) => {
                        return Ok(Fragment::End(End::File));
                    }
                    true => return Ok(Fragment::End(End::Torn)),
                    false => self.read_block()?,
                }
                continue;
            }
            let header = &self.block[self.next..];
            let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
            let kind = header[6];
            let is_recycled = matches!(kind, 5..=8 | 11 | 131);
            let mut header_bytes = HEADER_BYTES;
            if is_recycled {
                if self.is_begun && !self.is_recycled {
                    return Ok(Fragment::End(End::Endless));
                }
                self.is_recycled = true;
                header_bytes = RECYCLED_HEADER_BYTES;
                if left < header_bytes {
                    match self.is_last_block {
                        true => return Ok(Fragment::End(End::Torn)),
                        false => self.read_block()?,
                    }
                    continue;
                }
            }
            return Ok(self.part(kind, header_bytes, length, is_recycled));
        }
    }

    /// The part whose header is there.
    fn part(&mut self, kind: u8, header_bytes: usize, length: usize, is_recycled: bool) -> Fragment {
        let at = self.next;
        let (rest, end) = (&self.block[at..], at + header_bytes + length);
        if end > self.block.len() {
            let is_torn = self.is_last_block && !fits_shorter(rest, header_bytes);
            return Fragment::End(if is_torn { End::Torn } else { End::Damaged("the length of a record is wrong") });
        }
        if let Kind::Log(log) = self.kind
            && is_recycled
            && number(&rest[HEADER_BYTES..]) != (log & u64::from(u32::MAX)) as u32
        {
            return Fragment::End(End::Old);
        }
        if kind == 0 && length == 0 {
            self.padding = self.padding.or(Some(self.begins + at as u64));
            self.next = self.block.len();
            return Fragment::Padding;
        }
        if crc32c::crc32c(&self.block[at + 6..end]) != checksum(rest) {
            return Fragment::End(End::Damaged("the checksum of a record is wrong"));
        }
        self.next = end;
        Fragment::Part { kind, from: at + header_bytes, to: end }
    }

    fn read_block(&mut self) -> io::Result<()> {
        self.begins += self.block.len() as u64;
        self.block.clear();
        self.next = 0;
        (&mut self.source).take(BLOCK_BYTES as u64).read_to_end(&mut self.block)?;
        self.is_last_block = self.block.len() < BLOCK_BYTES;
        Ok(())
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().expect("four of them"))
}

/// The checksum in a header.
fn checksum(header: &[u8]) -> u32 {
    number(header).wrapping_sub(MASK).rotate_left(15)
}

/// Whether a record whose length leads too far is whole with another length: then the length was changed, and
/// nothing is torn.
fn fits_shorter(rest: &[u8], header_bytes: usize) -> bool {
    let checksum = checksum(rest);
    let mut so_far = crc32c::crc32c(&rest[6..header_bytes]);
    so_far == checksum
        || rest[header_bytes..].iter().any(|byte| {
            so_far = crc32c::crc32c_append(so_far, &[*byte]);
            so_far == checksum
        })
}

/// Cuts logs and manifests in the copy of a damaged database where RocksDB would read on for ever, however much of
/// the rest it skips.
pub(crate) fn cut_endless(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let kind = match name.strip_suffix(".log").map(str::parse) {
            Some(Ok(number)) => Kind::Log(number),
            _ if name.starts_with("MANIFEST-") => Kind::Manifest,
            _ => continue,
        };
        if let Some(at) = endless_at(File::open(&path)?, kind)? {
            OpenOptions::new().write(true).open(&path)?.set_len(at)?;
        }
    }
    Ok(())
}

/// Where a reader that skips what is damaged would read the same record again and again.
fn endless_at(source: impl Read, kind: Kind) -> io::Result<Option<u64>> {
    let mut records = Records::new(source, kind);
    records.is_begun = false; // the first record of a manifest decides as that of a log does
    loop {
        let before = records.offset();
        match records.next()?.err() {
            Some(End::Endless) => return Ok(Some(records.offset())),
            Some(_) if records.offset() == before && records.is_last_block => return Ok(None),
            Some(_) if records.offset() == before => records.read_block()?, // the rest of the block is skipped
            _ => {}
        }
    }
}

/// Bytes of records as RocksDB writes them. For tests.
#[cfg(test)]
pub(crate) fn written(records: &[&[u8]], recycled: Option<u32>) -> Vec<u8> {
    let mut file = Vec::new();
    let header_bytes = if recycled.is_some() { RECYCLED_HEADER_BYTES } else { HEADER_BYTES };
    for record in records {
        let (mut rest, mut begun) = (*record, false);
        loop {
            let left = BLOCK_BYTES - file.len() % BLOCK_BYTES;
            if left < header_bytes {
                file.resize(file.len() + left, 0);
                continue;
            }
            let (part, after) = rest.split_at(rest.len().min(left - header_bytes));
            let kind = match (begun, after.is_empty()) {
                (false, true) => 1,
                (false, false) => 2,
                (true, false) => 3,
                (true, true) => 4,
            };
            let kind = if recycled.is_some() { kind + 4 } else { kind };
            let tail =
                [&[kind][..], recycled.map(u32::to_le_bytes).as_ref().map_or(&[], |log| &log[..]), part].concat();
            let masked = crc32c::crc32c(&tail).rotate_right(15).wrapping_add(MASK);
            file.extend(masked.to_le_bytes());
            file.extend(u16::try_from(part.len()).unwrap().to_le_bytes());
            file.extend(tail);
            (rest, begun) = (after, true);
            if rest.is_empty() {
                break;
            }
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], kind: Kind) -> (Vec<Vec<u8>>, End, bool) {
        let (mut records, mut all, mut padded) = (Records::new(bytes, kind), Vec::new(), false);
        loop {
            match records.next().unwrap() {
                Ok(record) => all.push(record.to_vec()),
                Err(end) => return (all, end, padded),
            }
            padded |= records.take_padding().is_some();
        }
    }

    fn some() -> Vec<Vec<u8>> {
        [3, 70_000, 0, 32_000, 700, 90]
            .map(|bytes: usize| (0..bytes).map(|at| (at * 7 + bytes) as u8).collect())
            .into()
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let records = some();
        let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        assert_eq!(read(&written(&slices, None), Kind::Manifest), (records.clone(), End::File, false));
        assert_eq!(read(&written(&slices, Some(9)), Kind::Log(9)), (records.clone(), End::File, false));
        assert_eq!(read(&written(&slices, Some(8)), Kind::Log(9)), (vec![], End::Old, false));
        let again = [written(&slices, Some(9)), vec![0; 5_000]].concat();
        assert_eq!(read(&again, Kind::Log(9)), (records, End::File, false));
    }

    #[test]
    fn what_a_kill_leaves_is_torn_and_a_wrong_length_is_not() {
        let whole = written(&[&[1; 100], &[2; 200]], None);
        for cut in 108..whole.len() {
            let (records, end, _) = read(&whole[..cut], Kind::Manifest);
            assert_eq!((records.len(), end), (1, End::Torn), "{cut}");
        }
        assert_eq!(read(&whole[..107], Kind::Manifest).1, End::File);
        for (at, bit) in [(4, 0x80), (5, 1), (5, 0x40), (111, 0x40), (112, 0x80)] {
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            assert!(matches!(read(&bytes, Kind::Manifest).1, End::Damaged(_)), "byte {at}");
        }
    }

    #[test]
    fn no_bit_goes_unnoticed() {
        let records = some();
        let whole = written(&records.iter().map(Vec::as_slice).collect::<Vec<_>>(), None);
        for at in (0..whole.len()).step_by(97).chain(whole.len() - 90 - 7..whole.len()) {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                let (read, end, padded) = read(&bytes, Kind::Manifest);
                assert!(end != End::File || padded || read == records, "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn zeroes_before_a_record_are_reported() {
        let mut bytes = written(&[&[1; 100], &[2; 33_000], &[3; 10]], None);
        bytes[..107].fill(0);
        let (_, end, padded) = read(&bytes, Kind::Manifest);
        assert!(padded || matches!(end, End::Damaged(_)), "{end:?}");
    }

    #[test]
    fn a_recycled_record_where_rocksdb_would_read_for_ever_is_reported() {
        let (plain, recycled) = (written(&[&[1; 100]], None), written(&[&[2; 100]], Some(7)));
        let mixed = [plain, recycled.clone()].concat();
        for kind in [Kind::Manifest, Kind::Log(7)] {
            assert_eq!(read(&mixed, kind).1, End::Endless);
        }
        assert_eq!(read(&recycled, Kind::Manifest).1, End::Endless);
    }

    #[test]
    fn a_copy_is_cut_where_rocksdb_would_read_for_ever_and_nowhere_else() {
        let (plain, recycled) = (written(&[&[1; 100]], None), written(&[&[2; 100]], Some(7)));
        let behind_damage = [&[9; 40][..], &[0; BLOCK_BYTES - 40], &plain, &recycled].concat();
        let folder = tempfile::tempdir().unwrap();
        let files: [(&str, &[u8], usize); 5] = [
            ("MANIFEST-000005", &[&plain[..], &recycled].concat(), plain.len()),
            ("000007.log", &recycled.repeat(3), recycled.len() * 3),
            ("000008.log", &[&plain[..], &recycled].concat(), plain.len()),
            ("000009.log", &behind_damage, BLOCK_BYTES + plain.len()),
            ("000010.log", &plain.repeat(2), plain.len() * 2),
        ];
        files.iter().for_each(|(name, bytes, _)| fs::write(folder.path().join(name), bytes).unwrap());
        cut_endless(folder.path()).unwrap();
        for (name, bytes, left) in files {
            assert!(fs::read(folder.path().join(name)).unwrap() == bytes[..left], "{name}");
        }
        cut_endless(&folder.path().join("nowhere")).unwrap();
    }
}
