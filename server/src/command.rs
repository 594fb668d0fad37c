//! The command line, one file per command, in folders by subject: `history`, `bus`, `data`, `pages`. Answers go to
//! stdout, everything else to stderr; what goes wrong is one line that names the remedy; the exit code is 0 on
//! success only (1: it did not work, 2: the command line is wrong, 130: a signal ended it).
//!
//! An option that takes a FILE takes `-` for stdout where it writes one, which then carries that alone, and for stdin
//! where it reads one.

mod bound;
mod interrupt;
mod output;
mod progress;
mod sentence;
mod selection;
pub mod serve;
pub mod history;
pub mod bus;
pub mod data;
pub mod pages;

use crate::log_lines::{self, LogLines};
use crate::printed::{escaped, reader_left, stdout};
use crate::signals;
use anyhow::{Context, ensure};
use bus::{rules, schemas, topology};
use clap::{Parser, Subcommand};
use data::{checkpoint, export, import, index, info, verify};
use fakemon_journal::checkpoint::is_inside;
use fakemon_journal::group_rights;
use fakemon_load as load;
use fakemon_settings::{LogFormat, ServeArgs, one_line};
use history::{explain, log, replay, timeline, trace};
use pages::{config, incident, services};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Decides massive contention exactly once, keeps every event, tells everyone who cares.
#[derive(Debug, Parser)]
#[command(name = "fakemon", version, disable_help_subcommand = false, max_term_width = 100)]
#[command(
    after_help = "Where a FILE is written, `-` is stdout, which then carries that alone; where one is read, stdin.\n\
                  Something happened, and somebody asks what: `fakemon help incident`."
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve players and the control plane.
    Serve(ServeArgs),
    /// Race for fakémon over real websockets, measure, and check every answer.
    Load(load::LoadArgs),
    /// Print events as JSON lines, also beside a running server.
    Log(log::LogArgs),
    /// Tell the whole story of one attempt: its way, the roll, who won and why, what rules made of it.
    Explain(explain::ExplainArgs),
    /// Show what led to an event and what came of it; as a tree, or as spans for tracing tools.
    Trace(trace::TraceArgs),
    /// Go back in time: the exact state at any position or nanosecond, what changed, what would have happened.
    Replay(replay::ReplayArgs),
    /// Show a range over time: rates, latencies, queues, stalls, gaps, who was hot; also as an HTML report.
    Timeline(timeline::TimelineArgs),
    /// Try event patterns on what happened; say what is wrong with rules and targets.
    Rules(rules::RulesArgs),
    /// Compare versions of schemas, and generate types from them.
    Schemas(schemas::SchemasArgs),
    /// Show who emits what and who consumes it: sources, buses, rules, targets.
    Topology(topology::TopologyArgs),
    /// Decide the whole journal again and compare: outcomes, hash chain, state hashes.
    Verify(verify::VerifyArgs),
    /// Copy a data directory, also beside a running server, in milliseconds.
    Checkpoint(checkpoint::CheckpointArgs),
    /// Write the journal, or a part of it, as JSON lines, CSV or Parquet.
    Export(export::ExportArgs),
    /// Make a data directory from the JSON lines of a whole journal: the same positions, ids, hashes.
    Import(import::ImportArgs),
    /// Make the index of a data directory again; without one, look-ups read the whole journal.
    Index(index::IndexArgs),
    /// Say what is in a data directory.
    Info(info::InfoArgs),
    /// Worked incidents, step by step: which question, which command, what its answer tells.
    #[command(long_about = incident::GUIDE, help_template = "{about}")]
    Incident,
    /// List the operations of each AWS service, and whether they are implemented.
    #[command(long_about = services::PAGE, help_template = "{about}")]
    Services(services::ServicesArgs),
    /// Print the settings file with every setting, its default and its meaning.
    #[command(after_long_help = fakemon_settings::DOCUMENTED)]
    Config,
}

/// The data directory of an offline command.
#[derive(Debug, clap::Args)]
pub struct DataArg {
    /// The data directory.
    #[arg(long, value_name = "DIR", default_value = "fakemon-data")]
    pub data: PathBuf,
}

impl DataArg {
    /// What a command writes is no part of the data directory, of which it changes nothing; and it is for the same
    /// users, for it may hold what the data directory holds.
    fn keep_out(&self, option: &str, path: &Path) -> anyhow::Result<()> {
        let is_inside = !output::is_standard(path) && is_inside(&self.data, path);
        ensure!(!is_inside, "{option} {}: give a place outside of the data directory", path.display());
        keep_files_private(&self.data);
        Ok(())
    }
}

/// What is written from now on is for the owner of the data directory, whatever the umask was: it holds secrets of
/// connections and partners. The group is let in if the owner let it into the directory, and no other user: see
/// [`group_rights`].
fn keep_files_private(dir: &Path) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077 & !group_rights(dir)));
}

/// Reads the arguments of the process, runs the command, reports.
pub fn run() -> ExitCode {
    signals::unblock();
    // Before the command line is read: others end by a signal as anything does, until they have begun something.
    if std::env::args_os().nth(1).is_some_and(|command| command == "serve")
        && let Err(error) = signals::listen()
    {
        say(&format!("cannot listen to signals: {error}"));
        return ExitCode::FAILURE;
    }
    let result = run_with(without_help(std::env::args_os().collect()));
    interrupt::wait_for_the_end();
    log_lines::flush();
    // What is not flushed here is lost without a word when the process ends.
    let result = result.and_then(|()| stdout().flush().map_err(|error| Failure::Command(error.into())));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(error)) => report_usage(&error),
        Err(Failure::Command(_)) if reader_left() => ExitCode::SUCCESS, // the reader has read enough
        Err(Failure::Command(error)) => {
            say(&one_line(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

/// Prints the line of an error.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "fakemon: {}", escaped(line)); // there is no other place to report it
}

enum Failure {
    Usage(clap::Error),
    Command(anyhow::Error),
}

/// `fakemon help services --json` is `fakemon services --json`: the page for programs.
fn without_help(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let is_json = arguments.iter().skip(3).any(|argument| argument == "--json");
    if is_json && arguments[1] == "help" && arguments[2] == "services" {
        arguments.remove(1);
    }
    arguments
}

fn run_with(arguments: Vec<OsString>) -> Result<(), Failure> {
    let line = CommandLine::try_parse_from(arguments).map_err(Failure::Usage)?;
    let offline = !matches!(line.command, Command::Serve(_));
    if offline {
        let _ = fakemon_settings::raise_limit(); // a large journal needs many file descriptors
        start_tracing(LogFormat::Text, None, "warn").and_then(|()| interrupt::watch()).map_err(Failure::Command)?;
    }
    match line.command {
        Command::Serve(args) => serve::run(args),
        Command::Load(args) => load::run(args, &mut crate::printed::stdout()),
        Command::Log(args) => log::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Trace(args) => trace::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Timeline(args) => timeline::run(args),
        Command::Checkpoint(args) => checkpoint::run(args),
        Command::Export(args) => export::run(args),
        Command::Import(args) => import::run(args),
        Command::Index(args) => index::run(args),
        Command::Rules(args) => rules::run(args),
        Command::Schemas(args) => schemas::run(args),
        Command::Topology(args) => topology::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Info(args) => info::run(args),
        Command::Incident => incident::run(),
        Command::Services(args) => services::run(&args),
        Command::Config => config::run(),
    }
    .map_err(Failure::Command)
}

/// Prints help and version as answers; any other usage error in one line.
fn report_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return match error.print().and_then(|()| io::stdout().flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                say(&format!("stdout cannot be written: {error}"));
                ExitCode::FAILURE
            }
            _ => ExitCode::SUCCESS,
        };
    }
    let text = error.render().to_string();
    let what = text.split("\n\nUsage:").next().unwrap_or(&text);
    let what = what.split("\n\nFor more information").next().unwrap_or(what);
    let what = in_plain_words(&one_line(what.trim_start_matches("error: ")));
    say(&format!("{what}; see `fakemon help`"));
    ExitCode::from(2)
}

/// The words of the parsers of numbers as what a number must be: `0 is not in 1..=100`, `invalid digit found in
/// string`.
fn in_plain_words(what: &str) -> String {
    let Some((start, why)) = what.rsplit_once(": ") else { return what.to_owned() };
    let wanted = match why {
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "give a whole number".to_owned()
        }
        "number too large to fit in target type" => "give a smaller whole number".to_owned(),
        "number too small to fit in target type" => "give a whole number from 0".to_owned(),
        "invalid float literal" | "cannot parse float from empty string" => "give a number".to_owned(),
        why => match why.split_once(" is not in ").and_then(|(_, range)| range.split_once("..")) {
            Some((least, "")) => format!("give a whole number from {least}"),
            Some(("", most)) => format!("give a whole number up to {}", most.trim_start_matches('=')),
            Some((least, most)) => format!("give a whole number from {least} to {}", most.trim_start_matches('=')),
            None => return what.to_owned(),
        },
    };
    format!("{start}: {wanted}")
}

const LEVELS: &str = "error, warn, info, debug, trace, off";

/// Whether a filter is one word that is none of the levels.
fn is_misspelt(filter: &str) -> bool {
    let is_word = !filter.contains(['=', ',', '[']);
    is_word && !LEVELS.split(", ").any(|level| filter.trim().eq_ignore_ascii_case(level))
}

/// Starts logging to stderr, filtered by `filter`, else by `RUST_LOG`, else by `default`.
fn start_tracing(format: LogFormat, filter: Option<&str>, default: &str) -> anyhow::Result<()> {
    let from_environment = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    // A word of our own that is no level would be taken for a target, and switch everything else off.
    if let Some(word) = filter.filter(|filter| is_misspelt(filter)) {
        anyhow::bail!("`{word}` is no log level: give {LEVELS}, or a filter as in `info,fakemon_engine=debug`");
    }
    let filter = filter.or(from_environment.as_deref()).unwrap_or(default);
    let filter = EnvFilter::builder()
        .parse(filter)
        .with_context(|| format!("`{filter}` is no log level: give {LEVELS}, or a filter"))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(LogLines::start().context("the thread that writes log lines")?)
        .log_internal_errors(false) // it would say so on stderr, which is what failed
        .with_ansi(io::stderr().is_terminal());
    let begun = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    begun.map_err(|error| anyhow::anyhow!("log lines cannot be set up: {error}"))?;
    std::panic::set_hook(Box::new(say_panic));
    Ok(())
}

/// Logs a panic like other lines: the thread must not block on stderr before it has reported its end.
fn say_panic(panic: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => tracing::error!("{panic}\n{backtrace}"),
        _ => tracing::error!("{panic}"),
    }
    log_lines::flush();
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn numbers_are_refused_in_words() {
        for (arguments, said) in [
            (&["serve", "--cores", "x"][..], "give a whole number"),
            (&["serve", "--cores", ""], "give a whole number"),
            (&["serve", "--seed", "18446744073709551616"], "give a smaller whole number"),
            (&["timeline", "--top", "0"], "give a whole number from 1 to 1000"),
            (&["replay", "--what-if", "--throws-per-second", "0"], "give a whole number from 1 to 4294967295"),
        ] {
            let arguments = [&["fakemon"], arguments].concat();
            let text = CommandLine::try_parse_from(arguments.clone()).unwrap_err().render().to_string();
            let what = text.split("\n\n").next().unwrap();
            assert!(in_plain_words(&one_line(what)).ends_with(&format!(": {said}")), "{arguments:?}: {what}");
        }
        assert_eq!(in_plain_words("no number: here"), "no number: here");
    }

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }
}
