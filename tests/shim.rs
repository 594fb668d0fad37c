//! Libraries that are preloaded into the server, to delay or log its system calls. The test that uses one compiles
//! it, and tests the real binary.

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
