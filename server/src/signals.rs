//! Signals of `fakemon serve`, heard from the first line of the process on. Nothing runs in a signal but a count; the
//! watchdog and the main thread look at it.
//!
//! - SIGTERM, SIGINT: ask to stop.
//! - SIGHUP, which a terminal sends when it closes, and SIGXFSZ, when a file reaches the limit of file sizes (`ulimit
//!   -f`), which is an error to who writes it: neither ends a server.
//! - SIGUSR1, SIGUSR2, SIGALRM and the other signals that mean nothing here, but end a process that does not hear
//!   them: they change nothing.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::{exit, register};
use std::io;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// How often it was asked to stop.
static STOP_REQUESTS: AtomicU32 = AtomicU32::new(0);
/// By which signal first.
static FIRST: AtomicI32 = AtomicI32::new(0);
/// Signals that somebody may send by mistake: a supervisor that has another program in mind, a timer of a parent.
const UNHEARD: [i32; 6] = [libc::SIGUSR1, libc::SIGUSR2, libc::SIGALRM, libc::SIGVTALRM, libc::SIGPROF, libc::SIGIO];
static HANGUPS: AtomicU32 = AtomicU32::new(0);

/// Lets signals through that the parent held back: a mask is inherited, and a process that hears no SIGTERM is
/// killed.
pub(crate) fn unblock() {
    // SAFETY: a set is made empty, then filled, then only read; all three calls take pointers to it alone.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// Listens to signals from now on.
///
/// # Errors
/// When the system refuses.
pub(crate) fn listen() -> io::Result<()> {
    for signal in [SIGTERM, SIGINT] {
        // SAFETY: what runs in the signal stores to atomics, which is allowed there.
        unsafe { register(signal, move || ask_to_stop(signal)) }?;
    }
    // SAFETY: as above; of the second signal not even that is wanted, only that it does not end the process.
    unsafe {
        register(SIGHUP, || {
            HANGUPS.fetch_add(1, Ordering::Relaxed);
        })?;
        register(libc::SIGXFSZ, || {})?;
        for signal in UNHEARD {
            register(signal, || {})?;
        }
    }
    Ok(())
}

fn ask_to_stop(signal: i32) {
    let _ = FIRST.compare_exchange(0, signal, Ordering::Relaxed, Ordering::Relaxed); // a later one changes nothing
    STOP_REQUESTS.fetch_add(1, Ordering::Release);
}

/// How often SIGTERM or SIGINT asked the process to stop.
pub(crate) fn stop_requests() -> u32 {
    STOP_REQUESTS.load(Ordering::Acquire)
}

/// Whether SIGTERM or SIGINT asked the process to stop.
pub(crate) fn is_asked_to_stop() -> bool {
    stop_requests() > 0
}

/// How often SIGHUP came.
pub(crate) fn hangups() -> u32 {
    HANGUPS.load(Ordering::Relaxed)
}

/// Ends the process as the signal would have that asked first.
pub(crate) fn end_as_asked() -> ! {
    end(128 + FIRST.load(Ordering::Relaxed))
}

/// Ends the process at once, without destructors: threads still work with what those would take away.
pub(crate) fn end(code: i32) -> ! {
    exit(code)
}
