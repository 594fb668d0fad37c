//! Small files and folders that survive a power cut: a file is written beside its place, synced, renamed, and its
//! folder synced; a folder is synced into its parent. RocksDB does the same for all other files that must survive.
//!
//! ```text
//! NAME.new   written, synced   →   rename   →   NAME   →   the folder synced
//! ```
//!
//! After a power cut at any moment `NAME` is the old file or the new one, complete; a leftover `NAME.new` is
//! overwritten by the next [`replace`].

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file that only its owner may read and write.
pub const PRIVATE_FILE: u32 = 0o600;
/// A folder that only its owner may enter.
pub const PRIVATE_FOLDER: u32 = 0o700;
/// A file that everyone may read whom the umask allows.
pub const SHARED_FILE: u32 = 0o666;
/// A folder that everyone may enter whom the umask allows.
pub const SHARED_FOLDER: u32 = 0o777;
/// The suffix of a file that is not complete yet.
const UNFINISHED: &str = ".new";

/// Replaces the file at `path` with `bytes`, atomically, and on the disk when this returns. A new file gets the
/// access rights `mode`, less the umask. A path that is no regular file (a terminal, a pipe) is written directly.
///
/// # Errors
/// When the folder does not exist or cannot be written; the file at `path` is unchanged then.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let path = match fs::canonicalize(path) {
        Ok(path) if !path.is_file() => return OpenOptions::new().write(true).open(&path)?.write_all(bytes),
        Ok(path) => path, // a link stays a link
        Err(_) => path.to_owned(),
    };
    let unfinished = beside(&path);
    let written = write_whole(&unfinished, bytes, mode).and_then(|()| fs::rename(&unfinished, &path));
    if written.is_err() {
        let _ = fs::remove_file(&unfinished); // else the next call deletes it
    }
    written?;
    sync_folder(folder_of(&path))
}

/// The text of a file.
///
/// # Errors
/// When it cannot be read, is no regular file (a pipe may never have an end, nor a beginning), is no UTF-8, or has
/// more than `bytes_max` bytes.
pub fn read_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    read_text_of(&mut open_regular(path)?, bytes_max)
}

/// The bytes of a file.
///
/// # Errors
/// As [`read_text`], but whatever they are.
pub fn read_bytes(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = open_regular(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)? as u64;
    if read <= bytes_max { Ok(bytes) } else { Err(too_long(bytes_max)) }
}

/// Opens a file for reading. Without waiting: who opens a pipe waits for its writer.
fn open_regular(path: &Path) -> io::Result<File> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no regular file: give one")),
    }
}

fn too_long(bytes_max: u64) -> io::Error {
    io::Error::other(format!("it has more than {bytes_max} bytes: give another file"))
}

/// The text of something that is open, a pipe too.
///
/// # Errors
/// When it cannot be read, is no UTF-8, or has more than `bytes_max` bytes.
pub fn read_text_of(source: &mut dyn Read, bytes_max: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    let read = source.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)? as u64;
    if read > bytes_max {
        return Err(too_long(bytes_max));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        io::Error::new(io::ErrorKind::InvalidData, format!("line {line} is not UTF-8: save the file in UTF-8"))
    })
}

/// The name of a file at `path` until it is whole.
pub fn beside(path: &Path) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    name.into()
}

fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {} // one that a power cut left may have other access rights
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a folder and its missing parents with the access rights `mode`, less the umask; each is on the disk when
/// this returns. An existing folder is left as it is.
///
/// # Errors
/// When a folder cannot be made.
pub fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = folder_of(path);
    if !above.is_dir() {
        make_folder(above, mode)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {} // another one made it
        made => made?,
    }
    sync_folder(above)
}

/// Syncs a folder: files that were made, renamed or deleted in it.
///
/// # Errors
/// When the folder cannot be read or synced.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The parent folder of a path.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) => Path::new("."),
        None => path, // the root is its own parent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_text_that_is_no_utf_8_is_told_with_its_line() {
        let error = read_text_of(&mut &b"name = 1\nb = \"\xff\"\n"[..], 100).unwrap_err();
        assert_eq!(error.to_string(), "line 2 is not UTF-8: save the file in UTF-8");
        assert_eq!(read_text_of(&mut &b"ab"[..], 2).unwrap(), "ab");
        assert!(read_text_of(&mut &b"abc"[..], 2).is_err());
    }

    #[test]
    fn a_file_is_replaced_whole_whatever_was_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("note");
        fs::write(beside(&path), "cut sho").unwrap();
        replace(&path, b"one", PRIVATE_FILE).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"one".to_vec(), 0o600));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        replace(&link, b"two", PRIVATE_FILE).unwrap();
        assert!(link.is_symlink() && fs::read(&path).unwrap() == b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left beside it");
    }

    #[test]
    fn a_file_that_cannot_be_replaced_stays_and_what_is_no_file_is_written_to() {
        let dir = tempfile::tempdir().unwrap();
        assert!(replace(&dir.path().join("missing/note"), b"", PRIVATE_FILE).is_err());
        assert!(replace(dir.path(), b"", PRIVATE_FILE).is_err());
        replace(Path::new("/dev/null"), b"gone", PRIVATE_FILE).unwrap();
        assert!(!Path::new("/dev/null").is_file());
    }

    #[test]
    fn a_text_has_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("note");
        fs::write(&path, "four").unwrap();
        assert_eq!((read_text(&path, 4).unwrap(), read_bytes(&path, 4).unwrap()), ("four".into(), b"four".to_vec()));
        let refused =
            |path: &Path| [read_text(path, 3).map(drop), read_bytes(path, 3).map(drop)].map(Result::unwrap_err);
        refused(&path)
            .into_iter()
            .for_each(|error| assert!(error.to_string().contains("more than 3 bytes"), "{error}"));
        let pipe = dir.path().join("pipe");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600));
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
        for path in [Path::new("/dev/zero"), &pipe, dir.path()] {
            refused(path)
                .into_iter()
                .for_each(|error| assert!(error.to_string().contains("no regular file"), "{error}"));
        }
        assert!(
            read_text_of(&mut File::open("/dev/zero").unwrap(), 3).unwrap_err().to_string().contains("more than")
        );
    }

    #[test]
    fn folders_are_made_with_those_above_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        for _ in 0..2 {
            make_folder(&path, PRIVATE_FOLDER).unwrap();
            assert_eq!((mode(&path), mode(folder_of(&path))), (0o700, 0o700));
        }
        fs::write(path.join("file"), "").unwrap();
        assert!(make_folder(&path.join("file"), PRIVATE_FOLDER).is_err());
    }
}
