//! Waking a sleeper once. A consumer that finds nothing arms its bell, looks once more, and sleeps; a producer rings
//! after it has put something in. However many ring, a sleeper is woken at most once per sleep, and ringing for
//! somebody who is awake costs a load.

use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;
use std::thread::Thread;

pub(crate) struct Bell {
    armed: AtomicBool,
    sleeper: Sleeper,
}

enum Sleeper {
    Task(Mutex<Option<Waker>>),
    Thread(Mutex<Option<Thread>>),
    Descriptor(OwnedFd),
}

impl Bell {
    /// Wakes a task of an executor.
    pub(crate) fn for_task() -> Bell {
        Bell {
            armed: AtomicBool::new(false),
            sleeper: Sleeper::Task(Mutex::new(None)),
        }
    }

    /// Wakes a parked thread.
    pub(crate) fn for_thread() -> Bell {
        Bell {
            armed: AtomicBool::new(false),
            sleeper: Sleeper::Thread(Mutex::new(None)),
        }
    }

    /// Makes a descriptor readable.
    pub(crate) fn for_descriptor() -> std::io::Result<Bell> {
        let descriptor = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Bell {
            armed: AtomicBool::new(false),
            sleeper: Sleeper::Descriptor(descriptor),
        })
    }

    /// The next ring wakes. Look for work once more after this, then sleep.
    pub(crate) fn arm(&self) {
        self.armed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// As [`arm`](Bell::arm), for a task that is about to return `Pending`.
    pub(crate) fn arm_task(&self, waker: &Waker) {
        if let Sleeper::Task(slot) = &self.sleeper {
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            match slot.as_mut() {
                Some(held) => held.clone_from(waker),
                None => *slot = Some(waker.clone()),
            }
        }
        self.arm();
    }

    /// As [`arm`](Bell::arm), for the calling thread, which is about to park.
    pub(crate) fn arm_thread(&self) {
        if let Sleeper::Thread(slot) = &self.sleeper {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::current());
        }
        self.arm();
    }

    /// Work was found after all.
    pub(crate) fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }

    /// Wakes the sleeper, if it sleeps or is about to. Call after the work is visible.
    #[inline]
    pub(crate) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.armed.load(Ordering::Relaxed) && self.armed.swap(false, Ordering::Relaxed) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        match &self.sleeper {
            Sleeper::Task(slot) => {
                let waker = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                waker.into_iter().for_each(Waker::wake);
            }
            Sleeper::Thread(slot) => {
                let thread = slot.lock().unwrap_or_else(PoisonError::into_inner).clone();
                thread.into_iter().for_each(|thread| thread.unpark());
            }
            // A full counter means that the descriptor is readable already.
            Sleeper::Descriptor(descriptor) => {
                let _ = rustix::io::write(descriptor, &1u64.to_ne_bytes());
            }
        }
    }

    /// Makes the descriptor unreadable again.
    pub(crate) fn hush(&self) {
        if let Sleeper::Descriptor(descriptor) = &self.sleeper {
            let _ = rustix::io::read(descriptor, &mut [0u8; 8]);
        }
    }

    /// The descriptor of a bell that has one.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.sleeper {
            Sleeper::Descriptor(descriptor) => descriptor.as_fd(),
            Sleeper::Task(_) | Sleeper::Thread(_) => unreachable!("only clients have a descriptor"),
        }
    }
}
