//! Libraries that are preloaded into the server, so that its system calls take longer, or are noted. They are
//! compiled by the test that uses them, and what is tested is the real binary.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles a library of this source in a directory.
pub(crate) fn compiled(dir: &Path, source: &str) -> PathBuf {
    let (path, library) = (dir.join("shim.c"), dir.join("shim.so"));
    std::fs::write(&path, source).expect("the directory can be written");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&path).output();
    let compiled = compiled.expect("cc is there: RocksDB was built with it");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    library
}
