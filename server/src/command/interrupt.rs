//! SIGINT and SIGTERM end a command within a moment, whatever it does just then — waits for a pipe, or lets RocksDB
//! flush: nothing needs to look at a flag. What it has begun is taken away, or says of itself that it is incomplete;
//! one line says which; the exit code is 130.

use super::say;
use crate::log_lines;
use anyhow::Context;
use fakemon_journal::checkpoint::is_incomplete;
use fakemon_sync::failure::no_thread;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// As shells count: 128, and the number of SIGINT.
const EXIT_CODE: i32 = 130;

static UNDER_WAY: AtomicBool = AtomicBool::new(false);
static BEGUN: Mutex<Vec<Half>> = Mutex::new(Vec::new());

/// What is half done while a command works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Half {
    /// A file that takes its name once it is whole.
    Part(PathBuf),
    /// A data directory that says that it is incomplete until it is not.
    Directory(PathBuf),
    /// The same, made by a server, which goes on with it.
    Elsewhere(PathBuf),
    /// A screen in place of the lines of the terminal.
    Screen,
}

/// Something is half done until this is dropped.
pub(super) struct Begun(Half);

/// Begins something that an interrupt would leave half done.
pub(super) fn begin(half: Half) -> Begun {
    BEGUN.lock().unwrap_or_else(PoisonError::into_inner).push(half.clone());
    Begun(half)
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut begun = BEGUN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = begun.iter().rposition(|half| *half == self.0) {
            begun.remove(at);
        }
    }
}

/// Listens for signals from now on.
pub(super) fn watch() -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("signals cannot be listened for")?;
    let listen = move || {
        if signals.forever().next().is_some() {
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

/// Comes back unless the process is about to end by a signal: what it did has failed because of that, and is not to
/// be told.
pub(super) fn wait_for_the_end() {
    while UNDER_WAY.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

fn end() -> ! {
    let begun = std::mem::take(&mut *BEGUN.lock().unwrap_or_else(PoisonError::into_inner));
    let mut line = "interrupted".to_owned();
    for half in &begun {
        line += &undo(half);
    }
    log_lines::flush();
    if io::stderr().is_terminal() {
        let _ = write!(io::stderr(), "\r\x1b[2K"); // over the bar
    }
    say(&line);
    // Without destructors: RocksDB's threads still work with what those would take away.
    signal_hook::low_level::exit(EXIT_CODE)
}

/// Takes away what is half done, or tells of it.
fn undo(half: &Half) -> String {
    match half {
        Half::Part(file) => match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => format!("; {}: {error}", file.display()),
            _ => String::new(), // gone, or whole: it has its name
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
