//! A directory that is being made, and may never be finished. It says so by its identity from its first file on; when
//! making it fails it is deleted; when the process is killed it stays, and the next one that is to be made in the
//! same place replaces it, because nothing of it is missed: what it was made from is still there.

use crate::error::OpenError;
use crate::files::{self, PRIVATE_FOLDER, beside};
use crate::store::{DirectoryLock, IDENTITY, check_empty, is_incomplete, is_own_name};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A directory that is being made; deleted when this is dropped before it is complete.
pub struct Unfinished {
    dir: PathBuf,
    was_there: bool,
    is_complete: bool,
    /// Keeps other processes from making one in the same place.
    held: DirectoryLock,
}

impl Unfinished {
    /// Takes a place that is empty, does not exist, or holds nothing but what is left of an earlier attempt.
    ///
    /// # Errors
    /// When there is something else, or another process is at it.
    pub fn begin(dir: &Path) -> Result<Unfinished, OpenError> {
        let unwritable = |error: &dyn std::fmt::Display| OpenError::Io(format!("{}: {error}", dir.display()));
        if !is_left_over(dir) {
            check_empty(dir)?;
        }
        let was_there = dir.exists();
        // Made before the lock is asked for, so that of two processes one finds the other's lock.
        files::make_folder(dir, PRIVATE_FOLDER)
            .map_err(|error| unwritable(&format!("{error}; give a directory that can be made")))?;
        let held = DirectoryLock::take(dir)?;
        if is_left_over(dir) {
            tracing::warn!("{}: what an attempt that did not end left there is replaced", dir.display());
            clear(dir).map_err(|error| unwritable(&error))?;
        }
        check_empty(dir)?;
        Ok(Unfinished { dir: dir.to_owned(), was_there, is_complete: false, held })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The lock of the directory, for what is opened in it meanwhile.
    pub(crate) fn lock(&self) -> DirectoryLock {
        self.held.clone()
    }

    /// It stays.
    pub fn is_complete(mut self) {
        self.is_complete = true;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_complete {
            // One that cannot be deleted is still marked as incomplete.
            let _ = if self.was_there { clear(&self.dir) } else { fs::remove_dir_all(&self.dir) };
        }
    }
}

/// Whether a directory is marked as incomplete, or was to be marked next, and holds what this program makes, alone.
fn is_left_over(dir: &Path) -> bool {
    let Ok(entries) = fs::read_dir(dir) else { return false };
    let names: Option<Vec<String>> =
        entries.map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    let Some(names) = names else { return false };
    let marking = beside(Path::new(IDENTITY)).to_string_lossy().into_owned();
    let is_marked = is_incomplete(dir) || names == [marking];
    is_marked && names.iter().all(|name| is_own_name(name)) && holds_only_files(dir)
}

/// Whether a folder, and those in it, hold files and folders alone: a link leads to what is not ours.
fn holds_only_files(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.all(|entry| {
            let Ok(entry) = entry else { return false };
            entry.file_type().is_ok_and(|kind| kind.is_file() || kind.is_dir() && holds_only_files(&entry.path()))
        })
    })
}

/// Deletes everything in a folder; last what says that it is incomplete, so that it says so until then.
fn clear(folder: &Path) -> io::Result<()> {
    let identity = folder.join(IDENTITY);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false if entry.path() == identity => {}
            false => fs::remove_file(entry.path())?,
        }
    }
    match fs::remove_file(identity) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::begin;

    #[test]
    fn what_is_left_of_an_attempt_is_replaced_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("to");
        for of_another in [None, Some("thesis.tex"), Some("journal/link")] {
            begin(&to, "a test").unwrap();
            fs::create_dir(to.join("journal")).unwrap();
            fs::write(to.join("journal/000004.log"), "half of it").unwrap();
            match of_another {
                Some(name) if name.ends_with("link") => {
                    std::os::unix::fs::symlink(dir.path(), to.join(name)).unwrap();
                }
                Some(name) => fs::write(to.join(name), "chapter one").unwrap(),
                None => {}
            }
            let begun = Unfinished::begin(&to);
            assert_eq!(begun.is_ok(), of_another.is_none(), "{of_another:?}");
            match begun {
                Ok(_) => assert_eq!(fs::read_dir(&to).unwrap().count(), 0),
                Err(_) => assert!(to.join("journal/000004.log").exists()),
            }
            let _ = fs::remove_dir_all(&to);
        }
        fs::create_dir(&to).unwrap();
        fs::write(to.join("FAKEMON.new"), "fakemon").unwrap();
        let first = Unfinished::begin(&to).unwrap();
        assert!(matches!(Unfinished::begin(&to), Err(OpenError::Locked(_))));
        drop(first);
        Unfinished::begin(&to).unwrap().is_complete();
    }
}
