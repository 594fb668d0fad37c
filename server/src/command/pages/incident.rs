//! `fakemon incident`: the incident guide, as `fakemon help incident` shows it too.

use crate::printed::stdout;
use std::io::Write;

/// Four incidents, step by step; a test runs its commands.
pub const GUIDE: &str = include_str!("../../incident.md");

/// Runs `fakemon incident`.
pub fn run() -> anyhow::Result<()> {
    Ok(stdout().write_all(GUIDE.as_bytes())?)
}
