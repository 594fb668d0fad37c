//! The thread that watches the engine: it looks at figures, and puts what is to be said of them, and what others
//! told, on the bus `default`. It goes in by the way of every client, and no thread ever waits for it.

mod slow_sync;
mod disk_space;
mod shedding;
mod targets;
mod connections;

use connections::Connections;
use disk_space::{DiskSpace, Space};
use fakemon_capture::client::Client;
use fakemon_capture::command::SubmitError;
use fakemon_capture::shared::Shared;
use fakemon_delivery::Dispatcher;
use fakemon_delivery::notices::{Notice, NoticeKind, Notices};
use fakemon_journal::Databases;
use fakemon_model::ids::{Position, Token};
use fakemon_resource::NewEvent;
use fakemon_sync::seldom;
use shedding::{AttemptCounts, Shedding};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use targets::{Seen, Targets};

/// How often it looks for notices that are due.
const TICK: Duration = Duration::from_millis(250);
/// How often it reads metrics.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The most notices that are put at once.
const PUT_MAX: usize = 64;
/// How long putting the last notices may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

pub(crate) struct Monitor {
    shared: Arc<Shared>,
    notices: Arc<Notices>,
    courier: Dispatcher,
    client: Client,
    databases: Databases,
    directory: PathBuf,
    stop: Arc<AtomicBool>,
    /// Manifests could not be noted at the last look.
    is_unnoted: bool,
    /// Notices that were taken and not put yet.
    untold: Vec<NewEvent>,
    /// Notices that were put since the metrics were last read.
    own_events: u64,
    disk_space: DiskSpace,
    shedding: Shedding,
    targets: Targets,
    connections: Connections,
}

impl Monitor {
    pub(crate) fn new(
        shared: Arc<Shared>,
        notices: Arc<Notices>,
        courier: Dispatcher,
        client: Client,
        databases: Databases,
        directory: PathBuf,
        stop: Arc<AtomicBool>,
    ) -> Monitor {
        Monitor {
            shared,
            notices,
            courier,
            client,
            databases,
            directory,
            stop,
            is_unnoted: false,
            untold: Vec::new(),
            own_events: 0,
            disk_space: DiskSpace::default(),
            shedding: Shedding::default(),
            targets: Targets::default(),
            connections: Connections::default(),
        }
    }

    /// Watches until stopped; then puts a last notice.
    pub(crate) fn run(mut self) {
        let mut next_look = Instant::now();
        while !self.stop.load(Ordering::SeqCst) {
            if Instant::now() >= next_look {
                self.look();
                next_look = Instant::now() + LOOK_EVERY;
            }
            self.put_due();
            self.sleep();
        }
        let position = self.shared.progress.committed();
        self.notices().tell(Notice::new(NoticeKind::Stopping, "").with("position", position.to_string()));
        let end = Instant::now() + LAST_WORDS;
        while !self.client.is_stopped() && Instant::now() < end {
            self.put_due();
            if self.untold.is_empty() && self.client.in_flight() == 0 {
                return;
            }
            self.client.wait(&mut Vec::new(), TICK);
        }
    }

    fn notices(&self) -> &Notices {
        &self.notices
    }

    /// Reads all metrics, and posts the notices that follow from them.
    fn look(&mut self) {
        self.client.poll(&mut Vec::new());
        self.look_after_databases();

        seldom::tell_left_out();
        let (now, shared) = (self.courier.now(), self.shared.clone());
        let thresholds = &shared.options.thresholds;
        let slow = shared.group_figures.lock().slow.take();
        let own_events =
            if self.client.in_flight() == 0 { std::mem::take(&mut self.own_events) } else { self.own_events };
        let mut notices: Vec<Notice> = slow_sync::look(&slow, own_events).into_iter().collect();
        if let Some(space) = Space::of(&self.directory) {
            notices.extend(self.disk_space.look(space, thresholds, &self.directory));
        }
        notices.extend(self.shedding.look(self.attempts(), now));
        notices.extend(self.targets.look(&self.lanes(), thresholds, now));
        notices.extend(self.connections.look(&shared.resources.current()));
        notices.into_iter().for_each(|notice| self.notices.tell(notice));
    }

    fn look_after_databases(&mut self) {
        if let Err(error) = self.databases.check_places() {
            return self.shared.failure.set(error.to_string());
        }
        let noted = self.databases.note_manifests();
        if let Err(error) = &noted
            && !self.is_unnoted
        {
            tracing::warn!("damage of what was written last may go unnoticed: {error}");
        }
        self.is_unnoted = noted.is_err();
    }

    fn attempts(&self) -> AttemptCounts {
        let figures = self.shared.attempt_figures.lock();
        AttemptCounts { attempts: figures.outcomes.iter().sum(), throttled: figures.throttled }
    }

    fn lanes(&self) -> Vec<Seen> {
        let seen = |lane: &Arc<fakemon_delivery::Lane>| Seen {
            lane: lane.id().clone(),
            arn: lane.target().arn.clone(),
            failing_since: lane.health().failing_since.map(|since| self.courier.by_wall(since)),
            health: lane.health(),
            backlog: lane.backlog(),
        };
        self.courier.lanes().all().iter().map(seen).collect()
    }

    /// Waits until a notice is posted, but not for long.
    fn sleep(&self) {
        self.notices().bell.arm_thread();
        if !self.stop.load(Ordering::SeqCst) {
            std::thread::park_timeout(TICK);
        }
        self.notices().bell.disarm();
    }

    /// Puts due notices. Those that the journal cannot take now are kept, and no others are taken before they are
    /// put.
    fn put_due(&mut self) {
        self.client.poll(&mut Vec::new());
        if self.untold.is_empty() {
            self.untold = self.notices().take_due(Instant::now());
        }
        while !self.untold.is_empty() {
            let count = self.untold.len().min(PUT_MAX);
            match self.client.tell(Token(0), self.untold[..count].to_vec()) {
                Ok(()) => self.own_events += count as u64,
                Err(SubmitError::Throttled(_) | SubmitError::Stopped) => return,
                Err(_) => {
                    tracing::error!(count, "notices do not fit into one group: they are not told");
                }
            }
            self.untold.drain(..count);
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
    /// Posts how the engine was opened. A clean stop leaves a snapshot of everything, so events after the snapshot
    /// mean that the process was killed.
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
