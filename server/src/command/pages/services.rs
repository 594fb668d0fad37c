//! `fakemon services`: what of each AWS service is here, as `fakemon help services` shows it too; for programs with
//! `--json`.
//!
//! ```text
//! {"services": [{"service": "sts", "here": ["GetCallerIdentity"], "not_here": ["AssumeRole", …]}, …]}
//! ```

use crate::printed::stdout;
use serde_json::{Value, json};
use std::io::Write;

/// The operations that are implemented, and those that are not; a test compares it with a server.
pub const PAGE: &str = include_str!("../../services.md");

/// For whom.
#[derive(Debug, clap::Args)]
pub struct ServicesArgs {
    /// The operations of each service as JSON: those that are here, and those that are not.
    #[arg(long)]
    json: bool,
}

/// Prints it.
pub fn run(args: &ServicesArgs) -> anyhow::Result<()> {
    let mut out = stdout();
    match args.json {
        true => writeln!(out, "{}", table())?,
        false => out.write_all(PAGE.as_bytes())?,
    }
    Ok(())
}

/// The lists of the page: it is the one place where they stand.
fn table() -> Value {
    let (_, operations) = PAGE.split_once("\n## Operations\n").expect("the page has this part");
    let services = operations.split("\n### ").skip(1).map(|part| {
        let (heading, lists) = part.split_once('\n').unwrap_or((part, ""));
        let service = heading.split_once(':').map_or(heading, |(service, _)| service);
        json!({ "service": service, "here": names(lists, "Here:"), "not_here": names(lists, "Not here:") })
    });
    json!({ "services": services.collect::<Vec<_>>() })
}

/// The names of a list of the page; none if it is left out because it would be empty.
fn names<'p>(lists: &'p str, begin: &str) -> Vec<&'p str> {
    let list = lists.split("\n\n").find_map(|list| list.trim_start().strip_prefix(begin));
    list.unwrap_or_default().split('`').skip(1).step_by(2).collect()
}
