//! `fakemon services`: what of each AWS service is here, as `fakemon help services` shows it too.

use std::io::{self, Write};

/// Which operations a server carries out, and which not; a test asks one and compares.
pub const PAGE: &str = include_str!("../services.md");

/// Prints it.
pub fn run() -> anyhow::Result<()> {
    Ok(io::stdout().lock().write_all(PAGE.as_bytes())?)
}
