//! Waking a sleeper once. A consumer that finds nothing arms its bell, looks for work a second time, and sleeps; a
//! producer rings after it has put something in. A sleeper is woken at most once per sleep, however many producers
//! ring, and ringing for a consumer that is awake costs one load.

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::Thread;

/// Wakes one sleeper: a task that reads a stream, a parked thread, or a poller of a descriptor.
pub struct Notify {
    armed: AtomicBool,
    sleeper: Sleeper,
}

enum Sleeper {
    Stream(UnixStream),
    Thread(Mutex<Option<Thread>>),
    Descriptor(OwnedFd),
}

impl Notify {
    /// Wakes the task that reads the other end of a stream. Not a `Waker`: glommio's executor can go to sleep over a
    /// task that another thread has just woken, when the wake arrives while it checks for preemption.
    pub fn for_stream() -> std::io::Result<(Notify, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((Notify { armed: AtomicBool::new(false), sleeper: Sleeper::Stream(ours) }, theirs))
    }

    /// Wakes a parked thread.
    pub fn for_thread() -> Notify {
        Notify { armed: AtomicBool::new(false), sleeper: Sleeper::Thread(Mutex::new(None)) }
    }

    /// Makes a descriptor readable.
    pub fn for_descriptor() -> std::io::Result<Notify> {
        let descriptor = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Notify { armed: AtomicBool::new(false), sleeper: Sleeper::Descriptor(descriptor) })
    }

    /// The next ring wakes. After this call look for work again, then sleep: the fence here and the one in `ring`
    /// make sure that either the consumer sees the work or the producer sees the armed bell.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// As [`arm`](Bell::arm), for the calling thread, which is about to park.
    pub fn arm_thread(&self) {
        if let Sleeper::Thread(slot) = &self.sleeper {
            *slot.lock() = Some(std::thread::current());
        }
        self.arm();
    }

    /// Work was found after all.
    pub fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }

    /// Wakes the sleeper, if it sleeps or is about to. Call after the work is visible.
    #[inline]
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.armed.load(Ordering::Relaxed) && self.armed.swap(false, Ordering::Relaxed) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        match &self.sleeper {
            // A full stream means that there is something to read already.
            Sleeper::Stream(stream) => {
                let _ = rustix::io::write(stream, &[1]);
            }
            Sleeper::Thread(slot) => {
                let thread = slot.lock().clone();
                thread.into_iter().for_each(|thread| thread.unpark());
            }
            // A full counter means that the descriptor is readable already.
            Sleeper::Descriptor(descriptor) => {
                let _ = rustix::io::write(descriptor, &1u64.to_ne_bytes());
            }
        }
    }

    /// Makes the descriptor unreadable again.
    pub fn hush(&self) {
        if let Sleeper::Descriptor(descriptor) = &self.sleeper {
            let _ = rustix::io::read(descriptor, &mut [0u8; 8]);
        }
    }

    /// The descriptor of a bell that has one.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.sleeper {
            Sleeper::Descriptor(descriptor) => descriptor.as_fd(),
            Sleeper::Stream(_) | Sleeper::Thread(_) => unreachable!("only clients have a descriptor"),
        }
    }
}
