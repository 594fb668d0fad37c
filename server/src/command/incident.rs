//! `fakemon incident`: the incident guide, as `fakemon help incident` shows it too.

use std::io::{self, Write};

/// Four incidents, step by step; a test runs what stands in it.
pub const GUIDE: &str = include_str!("../incident.md");

/// Prints it.
pub fn run() -> anyhow::Result<()> {
    Ok(io::stdout().lock().write_all(GUIDE.as_bytes())?)
}
