//! Empties what the bus stores beside the journal: messages, lines, secrets, progress of replays. The resources were
//! deleted before, by changes in the journal; this waits until no delivery for them is in flight, so that nothing old
//! appears among the new. The journal is not changed, nor is the game: fakémon, players, collections.

pub mod cut_back; // the same for events that a damaged journal lost

use crate::{Dispatcher, Replays, forget_replays};
use fakemon_journal::{Batch, Progress, Table};
use fakemon_model::ids::Position;
use fakemon_sync::failure::Failure;
use std::time::{Duration, Instant};

/// How long deliveries in flight may take to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often this is checked.
const LOOK: Duration = Duration::from_millis(1);

/// The parts that must be idle, and are then emptied.
pub struct Reset<'e> {
    pub courier: &'e Dispatcher,
    pub replays: &'e Replays,
    pub progress: &'e Progress,
    pub failure: &'e Failure,
}

impl Reset<'_> {
    /// Deletes everything that belongs to resources deleted before `end`; on the disk when this returns.
    pub fn run(&self, end: Position) -> Result<(), String> {
        let by = Instant::now() + PATIENCE;
        self.wait(by, "the bus reads the journal", || self.progress.routed() >= end)?;
        let looks = self.replays.ask_to_look();
        self.wait(by, "replays end", || self.replays.looks() >= looks)?;
        let lanes = self.courier.lanes();
        self.wait(by, "deliveries under way end", || lanes.is_quiet())?;
        // Commands belong to the game, and stay; but their effects must come before the end of the reset.
        self.wait(by, "commands are carried out", || lanes.oldest().is_none_or(|oldest| oldest >= end))?;
        let mut batch = Batch::default();
        batch.delete_range(Table::Secrets, b"", [0xFF]);
        batch.delete_range(Table::NoteStore, b"", [0xFF]);
        forget_replays(&mut batch);
        self.courier.logs.forget_all(&mut batch);
        self.courier.queues.forget_all(batch)
    }

    fn wait(&self, by: Instant, what: &str, is_so: impl Fn() -> bool) -> Result<(), String> {
        while !is_so() {
            if let Some(failure) = self.failure.get() {
                return Err(failure);
            }
            if Instant::now() > by {
                return Err(format!("{} s were not enough until {what}: reset again", PATIENCE.as_secs()));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}
