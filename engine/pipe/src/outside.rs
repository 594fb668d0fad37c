//! Requests of pipes to the HTTP client: one request and its answer, or an endless answer (a stream). Values in,
//! values out; the engine itself has no network.

use crossbeam::queue::ArrayQueue;
use fakemon_delivery::Failed;
use fakemon_resource::resource::HttpParameters;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::Thread;
use std::time::Duration;

/// The most events of a stream that wait.
const HEARD_MAX: usize = 1_024;
/// The most bytes of events of a stream that wait.
const HEARD_BYTES_MAX: u64 = 4 << 20;
/// Interval at which a waiter checks whether the answer still matters.
const LOOK: Duration = Duration::from_millis(20);

/// Carries errands out, each as a task of its own. It must not block.
pub type HttpClient = Box<dyn Fn(HttpCall) + Send + Sync>;

/// A task for the HTTP client.
pub enum HttpCall {
    /// One request.
    Call(Call),
    /// A stream to read.
    Listen(Listen),
}

/// One request to an API destination.
pub struct Call {
    /// Name of the API destination.
    pub destination: String,
    /// Path, headers and query.
    pub parameters: HttpParameters,
    /// The body of the request.
    pub body: String,
    answer: SyncSender<Result<String, Failed>>,
    off: Arc<AtomicBool>,
}

impl Call {
    /// Hands the answer to the waiter.
    pub fn answer(&self, answered: Result<String, Failed>) {
        let _ = self.answer.try_send(answered); // the waiter has left
    }

    /// Whether the waiter has left: the request may be cancelled.
    pub fn is_off(&self) -> bool {
        self.off.load(Ordering::Acquire)
    }
}

/// Makes a request and waits for the answer; none if `stop` is set first.
pub(super) fn call(
    outside: &HttpClient,
    destination: &str,
    parameters: HttpParameters,
    body: String,
    stop: &AtomicBool,
) -> Option<Result<String, Failed>> {
    let (answer, answered): (_, Receiver<Result<String, Failed>>) = sync_channel(1);
    let off = Arc::new(AtomicBool::new(false));
    outside(HttpCall::Call(Call { destination: destination.to_owned(), parameters, body, answer, off: off.clone() }));
    loop {
        match answered.recv_timeout(LOOK) {
            Ok(answer) => return Some(answer),
            Err(RecvTimeoutError::Disconnected) => return None, // the HTTP client has ended
            Err(RecvTimeoutError::Timeout) if stop.load(Ordering::SeqCst) => {
                off.store(true, Ordering::Release);
                return None;
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// An event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Its id; for an event without one, the last id before it.
    pub id: Option<String>,
    /// Its type; `message` if it has none.
    pub kind: String,
    pub data: String,
}

/// Events of a stream that wait.
struct Ear {
    heard: ArrayQueue<Heard>,
    bytes: AtomicU64,
    off: AtomicBool,
    thread: Thread,
    trouble: Mutex<Option<String>>,
}

/// A stream of an API destination: read it, and reconnect when it ends, until it is off.
pub struct Listen {
    /// Name of the API destination.
    pub destination: String,
    /// The id of the last event that was read: `Last-Event-ID`.
    pub after: Option<String>,
    ear: Arc<Ear>,
}

impl Listen {
    /// Hands over an event, or gives it back when too many wait: stop reading until there is room.
    ///
    /// # Errors
    /// The event, when there is no room.
    pub fn hear(&self, heard: Heard) -> Result<(), Heard> {
        if self.ear.bytes.load(Ordering::Acquire) > HEARD_BYTES_MAX {
            return Err(heard);
        }
        let bytes = heard.data.len() as u64;
        self.ear.heard.push(heard)?;
        // The listener may subtract first: the count then wraps until this line, which only this producer could see.
        self.ear.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.ear.thread.unpark();
        Ok(())
    }

    /// Records why no events arrive; none once they do.
    pub fn trouble(&self, trouble: Option<String>) {
        *self.ear.trouble.lock() = trouble;
    }

    /// Whether the listener has left.
    pub fn is_off(&self) -> bool {
        self.ear.off.load(Ordering::Acquire)
    }
}

/// A listener; dropping it ends the stream.
pub(super) struct Listener(Arc<Ear>);

impl Listener {
    /// Listens to an API destination, on the calling thread.
    pub(super) fn start(outside: &HttpClient, destination: &str, after: Option<String>) -> Listener {
        let ear = Arc::new(Ear {
            heard: ArrayQueue::new(HEARD_MAX),
            bytes: AtomicU64::new(0),
            off: AtomicBool::new(false),
            thread: std::thread::current(),
            trouble: Mutex::default(),
        });
        outside(HttpCall::Listen(Listen { destination: destination.to_owned(), after, ear: ear.clone() }));
        Listener(ear)
    }

    /// Why no events arrive.
    pub(super) fn trouble(&self) -> Option<String> {
        self.0.trouble.lock().clone()
    }

    /// The next event.
    pub(super) fn next(&self) -> Option<Heard> {
        let heard = self.0.heard.pop()?;
        self.0.bytes.fetch_sub(heard.data.len() as u64, Ordering::AcqRel);
        Some(heard)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.off.store(true, Ordering::Release);
    }
}
