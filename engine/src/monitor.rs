//! The thread that watches the engine: it looks at figures, and puts what is to be said of them, and what others told,
//! on the bus `default`. It goes in by the way of every client, and no thread ever waits for it.

use crate::bus::NewEvent;
use crate::client::Client;
use crate::command::SubmitError;
use crate::ids::{Position, Token};
use crate::journal::Progress;
use crate::notices::{Notice, NoticeKind, Notices};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often it looks for what is due.
const TICK: Duration = Duration::from_millis(250);
/// Notices that are put at once.
const PUT_MAX: usize = 64;
/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

pub(crate) struct Monitor {
    pub(crate) notices: Arc<Notices>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) client: Client,
}

impl Monitor {
    /// Watches until told to stop; then says so.
    pub(crate) fn run(mut self) {
        let mut untold = Vec::new();
        while !self.stop.load(Ordering::SeqCst) {
            self.put_due(&mut untold);
            self.sleep();
        }
        let position = self.progress.committed();
        self.notices.tell(Notice::new(NoticeKind::Stopping, "").with("position", position.to_string()));
        let end = Instant::now() + LAST_WORDS;
        while !self.client.is_stopped() && Instant::now() < end {
            self.put_due(&mut untold);
            if untold.is_empty() && self.client.in_flight() == 0 {
                return;
            }
            self.client.wait(&mut Vec::new(), TICK);
        }
    }

    /// Until somebody tells something, but not for long.
    fn sleep(&self) {
        self.notices.bell.arm_thread();
        if !self.stop.load(Ordering::SeqCst) {
            std::thread::park_timeout(TICK);
        }
        self.notices.bell.disarm();
    }

    /// Puts what is due; what the journal cannot take now stays, and nothing more is taken before it is gone.
    fn put_due(&mut self, untold: &mut Vec<NewEvent>) {
        self.client.poll(&mut Vec::new());
        if untold.is_empty() {
            *untold = self.notices.take_due(Instant::now());
        }
        while !untold.is_empty() {
            let count = untold.len().min(PUT_MAX);
            match self.client.put(Token(0), untold[..count].to_vec()) {
                Ok(()) => {}
                Err(SubmitError::Throttled(_) | SubmitError::Stopped) => return,
                Err(SubmitError::TooLarge | SubmitError::Spawn(_)) => {
                    tracing::error!(count, "notices do not fit into one group: they are not told");
                }
            }
            untold.drain(..count);
        }
    }
}

/// How the engine was opened.
pub(crate) struct Beginning {
    pub(crate) is_new: bool,
    pub(crate) position: Position,
    pub(crate) events_replayed: u64,
    pub(crate) took_ms: u128,
}

impl Beginning {
    /// A clean stop leaves a snapshot of everything: whoever finds events behind it was killed before.
    pub(crate) fn tell(&self, notices: &Notices, cores: usize) {
        let Beginning { is_new, position, events_replayed, took_ms } = *self;
        let took_ms = u64::try_from(took_ms).unwrap_or(u64::MAX);
        let end = match (is_new, events_replayed) {
            (true, _) => "new",
            (false, 0) => "clean",
            (false, _) => "crash",
        };
        let recovery = serde_json::json!({ "end": end, "events_replayed": events_replayed, "took_ms": took_ms });
        let started = Notice::new(NoticeKind::Started, "")
            .with("version", env!("CARGO_PKG_VERSION"))
            .with("cores", cores)
            .with("position", position.to_string())
            .with("recovery", recovery);
        notices.tell(started);
        if end == "crash" {
            let recovered = Notice::new(NoticeKind::Recovered, "")
                .with("events_replayed", events_replayed)
                .with("from_position", (position.0 - events_replayed).to_string())
                .with("to_position", position.to_string())
                .with("took_ms", took_ms);
            notices.tell(recovered);
        }
    }
}
