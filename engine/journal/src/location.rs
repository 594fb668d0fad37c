//! Where a data directory may be, and who may read it: never inside another one, and by default only its owner,
//! because it holds secrets of connections.
//!
//! An owner who wants the group to read (tools of another user beside a server) says so by the mode of the directory:
//! 0750, or 0770. A directory that others may enter too says nothing: 0755, 0775 and 0777 are what a umask leaves, so
//! its files are for the owner alone. Nothing is ever for others: what they may do with files that are there already
//! is taken from them when a server opens the directory. A copy keeps what its original grants to the group.
//!
//! Most files are made by RocksDB, with what the umask of the process allows. The program `fakemon` sets it before it
//! writes; a program that embeds the engine sets its own, 077 for what is said here. Whatever it is, `bus`, where the
//! secrets are, is closed to others, and to the group unless it was let in.

use super::store::{IDENTITY, is_own_name};
use crate::error::OpenError;
use crate::files::{self, PRIVATE_FOLDER};
use std::fs::{self, DirEntry, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// Permissions of the group.
const GROUP: u32 = 0o070;
/// Permissions of users other than the owner and the group.
const OTHERS: u32 = 0o007;

/// What the group may do with what is written into a data directory: what it may do with the directory, if that was
/// said on purpose. Nothing for one that does not exist.
pub fn group_rights(dir: &Path) -> u32 {
    let mode = fs::metadata(dir).map_or(0, |dir| dir.permissions().mode());
    if mode & OTHERS == 0 { mode & GROUP } else { 0 }
}

/// Takes from others what they may do with the files and folders of a data directory, and from the group if the
/// directory says nothing of it. Not with the directory itself: that is its owner's to say. What belongs to another
/// user stays as it is.
pub(super) fn tighten(dir: &Path) {
    let mode = fs::metadata(dir).map_or(0, |dir| dir.permissions().mode());
    let left = if mode & OTHERS == 0 { !OTHERS } else { !(GROUP | OTHERS) };
    let ours = |entry: &DirEntry| is_own_name(&entry.file_name().to_string_lossy());
    fs::read_dir(dir).into_iter().flatten().flatten().filter(ours).for_each(|entry| tighten_to(left, &entry));
}

fn tighten_to(left: u32, entry: &DirEntry) {
    // Links are not followed: what they lead to is somewhere else.
    let Ok(found) = entry.metadata().map(|found| (found.permissions().mode(), found.file_type())) else { return };
    let (mode, kind) = found;
    if kind.is_symlink() {
        return;
    }
    if mode & 0o077 & !left != 0
        && let Err(error) = fs::set_permissions(entry.path(), Permissions::from_mode(mode & left))
    {
        tracing::warn!("{}: others have access to it: {error}", entry.path().display());
    }
    if kind.is_dir() {
        fs::read_dir(entry.path()).into_iter().flatten().flatten().for_each(|entry| tighten_to(left, &entry));
    }
}

/// Whether others may do something with a file that they may not in a copy of which the group gets `group`.
pub(super) fn is_wide(path: &Path, group: u32) -> bool {
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & (GROUP | OTHERS) & !group != 0)
}

/// Makes the folder for secrets in a data directory: never for others, and for the group only if it was let in.
pub(super) fn make_secret(dir: &Path, folder: &Path) -> io::Result<()> {
    files::make_folder(folder, PRIVATE_FOLDER)?;
    let mode = fs::metadata(folder)?.permissions().mode();
    let granted = 0o700 | group_rights(dir);
    if mode & (GROUP | OTHERS) & !granted != 0 {
        let _ = fs::set_permissions(folder, Permissions::from_mode(mode & granted)); // only the owner can, and must
    }
    Ok(())
}

/// Makes a folder with the permissions of another one, as far as a copy grants them.
pub(super) fn make_like(original: &Path, folder: &Path, group: u32) -> io::Result<()> {
    files::make_folder(folder, PRIVATE_FOLDER)?;
    permit_like(original, folder, group)
}

/// Gives a file or folder the permissions of its original, of which the group gets at most `group` and others
/// nothing; the owner may always write, because otherwise the copy could not be opened.
pub(super) fn permit_like(original: &Path, copy: &Path, group: u32) -> io::Result<()> {
    let original = fs::metadata(original)?;
    let owner = if original.is_dir() { 0o700 } else { 0o600 };
    let mode = original.permissions().mode() & (0o700 | group);
    fs::set_permissions(copy, Permissions::from_mode(mode | owner))
}

/// Whether a path leads into a directory, also through links and through folders that do not exist yet.
pub fn is_inside(dir: &Path, path: &Path) -> bool {
    match (dir.canonicalize(), resolved(path)) {
        (Ok(dir), Some(path)) => path.starts_with(dir),
        _ => false, // a folder that does not exist contains nothing
    }
}

/// Refuses a new data directory inside another one: tools would take its files for those of the outer one.
pub(super) fn check_place(dir: &Path) -> Result<(), OpenError> {
    let Some(resolved) = resolved(dir) else { return Ok(()) };
    let around = resolved.ancestors().skip(1).find(|folder| folder.join(IDENTITY).is_file());
    around.map_or(Ok(()), |around| {
        let what = format!("it lies in the data directory {}: give a place outside of it", around.display());
        Err(OpenError::Unsuitable(format!("{}: {what}", dir.display())))
    })
}

/// A path without links: the part that exists as the system resolves it, the rest as written.
fn resolved(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let parts: Vec<Component<'_>> = path.components().collect();
    (1..=parts.len()).rev().find_map(|there| {
        let mut found = parts[..there].iter().collect::<PathBuf>().canonicalize().ok()?;
        for part in &parts[there..] {
            match part {
                Component::ParentDir => drop(found.pop()),
                part => found.push(part),
            }
        }
        Some(found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_into_a_directory_by_links_dots_and_folders_that_are_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, other) = (folder.path().join("data"), folder.path().join("other"));
        [&dir, &other].into_iter().for_each(|dir| fs::create_dir(dir).unwrap());
        std::os::unix::fs::symlink(&dir, other.join("link")).unwrap();
        for inside in ["data", "data/n1/n2/copy", "other/link/copy", "other/../data/x", "other/link/n1/../n2"] {
            assert!(is_inside(&dir, &folder.path().join(inside)), "{inside}");
        }
        for outside in ["other", "data2", "data/../copy", "data/n1/../../copy", "n1/n2"] {
            assert!(!is_inside(&dir, &folder.path().join(outside)), "{outside}");
        }
    }
}
