//! `fakemon incident`: the incident guide, as `fakemon help incident` shows it too.

use crate::printed::stdout;
use std::io::Write;

/// Four incidents, step by step; a test runs what stands in it.
pub const GUIDE: &str = include_str!("../incident.md");

/// Prints it.
pub fn run() -> anyhow::Result<()> {
    Ok(stdout().write_all(GUIDE.as_bytes())?)
}
