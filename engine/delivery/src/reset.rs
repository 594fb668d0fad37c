//! Empties what the bus keeps beside the journal: messages, lines, secrets, progress of replays. The resources went
//! before, by changes in the journal; this waits until nothing is under way for them any more, so that what was before
//! never shows up among what comes after. The journal forgets nothing, nor does the game: fakémon, players, collections.

use crate::{Courier, Replays, forget_replays};
use fakemon_journal::{Batch, Progress, Room};
use fakemon_model::ids::Position;
use fakemon_sync::failure::Failure;
use std::time::{Duration, Instant};

/// How long deliveries that are under way may take to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether they did.
const LOOK: Duration = Duration::from_millis(1);

/// What has to come to rest, and what is emptied then.
pub struct Reset<'e> {
    pub courier: &'e Courier,
    pub replays: &'e Replays,
    pub progress: &'e Progress,
    pub failure: &'e Failure,
}

impl Reset<'_> {
    /// Empties everything that belongs to what was deleted before `end`; on the disk after this.
    pub fn run(&self, end: Position) -> Result<(), String> {
        let by = Instant::now() + PATIENCE;
        self.wait(by, "the bus reads the journal", || self.progress.routed() >= end)?;
        let looks = self.replays.ask_to_look();
        self.wait(by, "replays end", || self.replays.looks() >= looks)?;
        let lanes = self.courier.lanes();
        self.wait(by, "deliveries under way end", || lanes.is_quiet())?;
        // Commands are of the game, and stay; but what they bring about is to happen before, not after.
        self.wait(by, "commands are carried out", || lanes.oldest().is_none_or(|oldest| oldest >= end))?;
        let mut batch = Batch::default();
        batch.delete_range(Room::Secrets, b"", [0xFF]);
        batch.delete_range(Room::Notes, b"", [0xFF]);
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
