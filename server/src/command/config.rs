//! `fakemon config`: the documented settings file, ready to be edited.

use crate::config::DOCUMENTED;
use std::io::{self, Write};

/// Prints it.
pub fn run() -> anyhow::Result<()> {
    Ok(io::stdout().lock().write_all(DOCUMENTED.as_bytes())?)
}
