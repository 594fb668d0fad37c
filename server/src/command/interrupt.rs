//! SIGINT and SIGTERM end a command at once, even while it waits for a pipe or RocksDB flushes: no code has to check
//! a flag. Unfinished output is deleted, or marked as incomplete; one line says which; the exit code is 130.

use super::say;
use crate::log_lines;
use anyhow::Context;
use fakemon_journal::checkpoint::is_incomplete;
use fakemon_sync::failure::no_thread;
use parking_lot::Mutex;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// As in shells: 128 plus the number of SIGINT.
const EXIT_CODE: i32 = 130;

static UNDER_WAY: AtomicBool = AtomicBool::new(false);
static BEGUN: Mutex<Vec<Half>> = Mutex::new(Vec::new());

/// Output that is unfinished while a command works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Half {
    /// A file that gets its final name once it is complete.
    Part(PathBuf),
    /// A data directory that is marked as incomplete until it is complete.
    Directory(PathBuf),
    /// A data directory that a server makes; the server continues after an interrupt.
    Elsewhere(PathBuf),
    /// The terminal's alternate screen.
    Screen,
}

/// Unfinished output, until this is dropped.
pub(super) struct Begun(Half);

/// Registers output that an interrupt would leave unfinished.
pub(super) fn begin(half: Half) -> Begun {
    BEGUN.lock().push(half.clone());
    Begun(half)
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut begun = BEGUN.lock();
        if let Some(at) = begun.iter().rposition(|half| *half == self.0) {
            begun.remove(at);
        }
    }
}

/// Handles signals from now on.
pub(super) fn watch() -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("signals cannot be listened for")?;
    let listen = move || {
        if signals.forever().next().is_some() {
            // Before any output is deleted: a command that fails because of that must wait for the end.
            UNDER_WAY.store(true, Ordering::SeqCst);
            end();
        }
    };
    std::thread::Builder::new()
        .name("interrupt".into())
        .spawn(listen)
        .map_err(no_thread)
        .context("the thread that hears signals")?;
    Ok(())
}

/// Returns unless a signal is ending the process: then it blocks, so that errors caused by the interrupt are not
/// reported.
pub(super) fn wait_for_the_end() {
    while UNDER_WAY.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

fn end() -> ! {
    let begun = std::mem::take(&mut *BEGUN.lock());
    let mut line = "interrupted".to_owned();
    for half in &begun {
        line += &undo(half);
    }
    log_lines::flush();
    if io::stderr().is_terminal() {
        let _ = write!(io::stderr(), "\r\x1b[2K"); // overwrites the progress bar
    }
    say(&line);
    // Without destructors: they would free what RocksDB's threads still use.
    signal_hook::low_level::exit(EXIT_CODE)
}

/// Deletes unfinished output, or reports it.
fn undo(half: &Half) -> String {
    match half {
        Half::Part(file) => match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => format!("; {}: {error}", file.display()),
            _ => String::new(), // deleted, or complete: it has its final name
        },
        Half::Directory(dir) if is_incomplete(dir) => format!("; {} is incomplete: delete it", dir.display()),
        Half::Elsewhere(dir) if is_incomplete(dir) => format!("; the server goes on with {}", dir.display()),
        Half::Directory(_) | Half::Elsewhere(_) => String::new(),
        Half::Screen => {
            ratatui::restore();
            String::new()
        }
    }
}
