//! Why the engine stopped by itself. The first reason is kept; every thread can ask for it or wait for it.
//!
//! Every thread of the engine is started by [`spawn`]: one that panics, or ends before it was asked to, is reported
//! at once, by its name, as the reason. A thread that ended unnoticed would leave its work undone without an error.

use crate::pulse::Pulses;
use parking_lot::{Condvar, Mutex};
use rustix::process::{Resource, getrlimit};
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The first reason for which the engine stopped; shared by all its threads.
#[derive(Default)]
pub struct Failure {
    happened: AtomicBool,
    reason: Mutex<Option<String>>,
    told: Condvar,
    listeners: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
    pulses: Arc<Pulses>,
}

impl Failure {
    /// Reports a failure; the first reason stays.
    pub fn set(&self, reason: String) {
        let mut held = self.reason.lock();
        let is_first = held.is_none();
        held.get_or_insert_with(|| reason.clone());
        drop(held);
        self.happened.store(true, Ordering::SeqCst);
        self.told.notify_all();
        self.listeners.lock().iter().for_each(|hear| hear());
        // Last, so that the engine has stopped and its listeners know it even if logging fails.
        if is_first {
            tracing::error!("{reason}");
        }
    }

    /// The threads that run, and whether they move.
    pub fn pulses(&self) -> &Arc<Pulses> {
        &self.pulses
    }

    /// From now on `hear` is called when the engine stops by itself.
    pub fn on_failure(&self, hear: impl Fn() + Send + Sync + 'static) {
        self.listeners.lock().push(Box::new(hear));
    }

    #[inline]
    /// Whether a failure was reported; one relaxed load.
    pub fn happened(&self) -> bool {
        // Relaxed: the flag guards no data; the reason has a lock of its own.
        self.happened.load(Ordering::Relaxed)
    }

    /// The reason, if a failure was reported.
    pub fn get(&self) -> Option<String> {
        self.reason.lock().clone()
    }

    /// Waits at most `timeout` for a failure; the reason, if there was one.
    pub fn wait(&self, timeout: Duration) -> Option<String> {
        let mut held = self.reason.lock();
        self.told.wait_while_for(&mut held, |reason| reason.is_none(), timeout);
        held.clone()
    }
}

/// Starts a thread of the engine. The engine has failed when the thread panics, or when it ends while `was_asked`
/// returns false.
///
/// # Errors
/// When the system starts no more threads, with the limit that is in the way.
pub fn spawn(
    name: &str,
    failure: &Arc<Failure>,
    was_asked: impl Fn() -> bool + Send + 'static,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let (name, failure) = (name.to_owned(), failure.clone());
    let thread = std::thread::Builder::new().name(name.clone());
    let thread = thread.spawn(move || {
        let _beating = failure.pulses.begin(&name);
        if let Err(why) = caught(run) {
            failure.set(format!("the thread `{name}` panicked: {why}"));
        } else if !was_asked() && !failure.happened() {
            failure.set(format!("the thread `{name}` ended although nobody asked it to"));
        }
    });
    thread.map_err(no_thread)
}

/// More than the stack of a thread and what else it takes of the address space at its start.
const THREAD_BYTES: u64 = 128 << 20;

/// The error of a thread that could not be started, with the limit that is in the way: the system says the same for
/// all.
pub fn no_thread(error: io::Error) -> io::Error {
    let why = short_of_address_space(THREAD_BYTES).unwrap_or_else(|| match getrlimit(Resource::Nproc).current {
        Some(most) => format!(
            "this user may have {most} processes and threads: raise that (`ulimit -u`, or TasksMax= in a systemd unit, or \
             `pids.max` of the container)"
        ),
        None => "raise what the systemd unit (TasksMax=) or the container (`pids.max`) allows".to_owned(),
    });
    io::Error::new(error.kind(), format!("the system starts no more threads ({error}): {why}"))
}

/// Why `bytes` more of address space are not to be had, if the limit of the process is what is in the way.
pub fn short_of_address_space(bytes: u64) -> Option<String> {
    let most = getrlimit(Resource::As).current?;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').next()?.parse().unwrap_or(u64::MAX);
    let taken = pages.saturating_mul(rustix::param::page_size() as u64);
    (taken.saturating_add(bytes) > most).then(|| {
        format!(
            "the address space of this process may have {} MiB, which is too little: raise that (`ulimit -v`, or \
             LimitAS= in a systemd unit)",
            most >> 20
        )
    })
}

/// Runs to the end, or to a panic.
///
/// # Errors
/// Why it panicked. What it shares with others is left as it was at that moment.
pub fn caught<R>(run: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| said(&*panic))
}

/// The message of a panic.
pub fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "it said nothing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said_by(was_asked: bool, run: impl FnOnce() + Send + 'static) -> Option<String> {
        let failure = Arc::new(Failure::default());
        let heard = Arc::new(AtomicBool::new(false));
        let hears = heard.clone();
        failure.on_failure(move || hears.store(true, Ordering::SeqCst));
        spawn("worker", &failure, move || was_asked, run).unwrap().join().unwrap();
        assert_eq!(heard.load(Ordering::SeqCst), failure.happened());
        failure.get()
    }

    #[test]
    fn a_thread_that_panics_or_ends_too_early_is_a_failure_with_its_name() {
        assert_eq!(said_by(true, || {}), None);
        assert_eq!(said_by(true, || panic!("{} boom", 1)).unwrap(), "the thread `worker` panicked: 1 boom");
        assert_eq!(said_by(false, || {}).unwrap(), "the thread `worker` ended although nobody asked it to");
    }
}
