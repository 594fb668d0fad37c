//! Watches the server while it starts, runs and stops, on a thread that waits for no other.
//!
//! ```text
//! opening    SIGTERM ends the process at once: nothing was accepted
//! running    a thread that does not move for `limits.thread_stalled` is named, in the log and by /readyz
//! stopping   a second SIGTERM, a moment later, ends the process at once; so does `limits.stop_within`, with exit code 1
//!            and the name of the thread that was waited for
//! ```
//!
//! What ends at once loses nothing that was acknowledged: it is as after `kill -9`, which recovery is made for. Time
//! is counted in looks, so that a process that was stopped (SIGSTOP, a debugger, a machine that slept) and goes on is
//! not taken for one whose threads hang.

use crate::{log_lines, signals};
use anyhow::Context;
use fakemon_sync::failure::no_thread;
use fakemon_sync::pulse::{Pulses, Watch};
use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Signals that ask to stop within this number of looks are one request: supervisors and shells send the same to a
/// process and to its group.
const SAME_REQUEST_LOOKS: u32 = 10;

/// The thread that watches. Ends when dropped.
pub(crate) struct Watchdog {
    watched: Arc<Watched>,
    thread: Option<JoinHandle<()>>,
}

/// What the watchdog knows, for others to ask.
#[derive(Default)]
struct Watched {
    /// None while the engine opens.
    server: OnceLock<WatchedServer>,
    is_stopping: AtomicBool,
    is_over: AtomicBool,
    stalled: Mutex<Option<String>>,
}

struct WatchedServer {
    /// The threads of the engine and around it.
    pulses: Arc<Pulses>,
    thread_stalled: Duration,
    stop_within: Duration,
}

impl Watchdog {
    /// Begins to watch, before there is anything to watch but signals.
    pub(crate) fn start() -> anyhow::Result<Watchdog> {
        let watched = Arc::<Watched>::default();
        let watches = Arc::clone(&watched);
        let thread = std::thread::Builder::new().name("watchdog".into()).spawn(move || watches.run());
        let thread = thread.map_err(no_thread).context("the thread that watches the others")?;
        Ok(Watchdog { watched, thread: Some(thread) })
    }

    /// From now on it watches these threads, and a signal is the main thread's affair.
    pub(crate) fn watch(&self, pulses: &Arc<Pulses>, thread_stalled: Duration, stop_within: Duration) {
        let server = WatchedServer { pulses: Arc::clone(pulses), thread_stalled, stop_within };
        let _ = self.watched.server.set(server); // there is one engine
    }

    /// Says the thread that does not move, in words, if there is one.
    pub(crate) fn stalled(&self) -> impl Fn() -> Option<String> + Send + Sync + use<> {
        let watched = Arc::clone(&self.watched);
        move || watched.held().clone()
    }

    /// From now on the time to stop runs.
    pub(crate) fn stopping(&self) {
        self.watched.is_stopping.store(true, Ordering::Release);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.watched.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join(); // a watchdog that panicked has nothing to say any more
        }
    }
}

impl Watched {
    fn held(&self) -> MutexGuard<'_, Option<String>> {
        self.stalled.lock()
    }

    fn run(&self) {
        let (mut watch, mut hangups, mut stopping) = (Watch::default(), 0, Stopping::default());
        while !self.is_over.load(Ordering::Acquire) {
            std::thread::park_timeout(LOOK);
            if signals::hangups() != hangups {
                hangups = signals::hangups();
                tracing::info!(
                    "SIGHUP: nothing to do; settings are read at the start, so start again to change them"
                );
            }
            let Some(server) = self.server.get() else {
                end_opening();
                continue;
            };
            watch.look(&server.pulses);
            self.note(&watch.still_for(looks(server.thread_stalled)), server.thread_stalled);
            if signals::is_asked_to_stop() || self.is_stopping.load(Ordering::Acquire) {
                stopping.look(server, &watch);
            }
        }
    }

    /// Notes which threads hang, and says so when that changes.
    fn note(&self, threads: &[String], thread_stalled: Duration) {
        let now = (!threads.is_empty())
            .then(|| format!("{} not moved for {thread_stalled:?}", which(threads, "has", "have")));
        let before = std::mem::replace(&mut *self.held(), now.clone());
        match now {
            Some(now) if before.as_ref() != Some(&now) => tracing::error!("{now}: the server is not ready"),
            None if before.is_some() => tracing::info!("all threads move again"),
            _ => {}
        }
    }
}

/// How stopping goes.
#[derive(Default)]
struct Stopping {
    looks: u32,
    /// Signals of the first request to stop; more are another one.
    requests: u32,
}

impl Stopping {
    /// One look while the server stops.
    fn look(&mut self, server: &WatchedServer, watch: &Watch) {
        self.looks += 1;
        if self.looks <= SAME_REQUEST_LOOKS {
            self.requests = signals::stop_requests();
        } else if signals::stop_requests() > self.requests.max(1) {
            tracing::warn!("asked to stop twice: ends at once; nothing that was told is lost");
            log_lines::flush();
            signals::end_as_asked();
        }
        if self.looks < looks(server.stop_within) {
            return;
        }
        let still = watch.still_for(SAME_REQUEST_LOOKS);
        let why = match still.is_empty() {
            true => format!(
                "it waited for the end of {}, or for the journal to close",
                which(&server.pulses.threads(), "", "")
            ),
            false => format!("it waited for {}", which(&still, "that does not move", "that do not move")),
        };
        log_lines::say(&format!(
            "fakemon: it did not stop within {:?} (limits.stop_within): {why}; it ends as it is, and nothing that was \
             acknowledged is lost",
            server.stop_within
        ));
        log_lines::flush();
        signals::end(1);
    }
}

/// A signal while the engine opens: nothing was accepted that would have to be finished.
fn end_opening() {
    if signals::is_asked_to_stop() {
        tracing::info!("asked to stop before it was ready: ends");
        log_lines::flush();
        signals::end(0);
    }
}

fn looks(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / LOOK.as_millis()).unwrap_or(u32::MAX)
}

/// Threads in words, with the verb that follows.
fn which(threads: &[String], of_one: &str, of_more: &str) -> String {
    let names = threads.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match threads.len() {
        1 => format!("the thread {names} {of_one}").trim_end().to_owned(),
        _ => format!("the threads {names} {of_more}").trim_end().to_owned(),
    }
}
