//! `fakemon config`: the documented settings file, ready to be edited.

use crate::printed::stdout;
use fakemon_settings::DOCUMENTED;
use std::io::Write;

/// Runs `fakemon config`.
pub fn run() -> anyhow::Result<()> {
    Ok(stdout().write_all(DOCUMENTED.as_bytes())?)
}
