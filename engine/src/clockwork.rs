//! The thread behind the view of the world: takes in what is durable, and sends a command for every fakémon whose
//! time is over. Time enters like any other command. It also keeps the engine's clock beside the wall clock.

use crate::clock::{Clock, wall_clock};
use crate::cores::Door;
use crate::failure::Failure;
use crate::follow::Follower;
use crate::ids::{FakemonId, owner};
use crate::record;
use crate::shard::WorldCommand;
use crate::world::World;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a part of the view is searched for those whose time is over.
const TICK: Duration = Duration::from_millis(100);
/// The whole view is searched in so many ticks: a vanishing is told within a second.
const TICKS_PER_SWEEP: u32 = 5;

/// Counts since the start.
#[derive(Default)]
pub(crate) struct WorldFigures {
    pub(crate) appeared: AtomicU64,
    pub(crate) vanished: AtomicU64,
}

pub(crate) struct Clockwork {
    pub(crate) follower: Follower,
    pub(crate) world: Arc<World>,
    pub(crate) figures: Arc<WorldFigures>,
    pub(crate) doors: Arc<[Arc<Door>]>,
    pub(crate) failure: Arc<Failure>,
    pub(crate) clock: Clock,
}

impl Clockwork {
    pub(crate) fn run(mut self) {
        let (mut swept_to, mut next_tick) = (0, Instant::now() + TICK);
        while !self.follower.stopping() {
            self.follower.wait(next_tick.saturating_duration_since(Instant::now()));
            if let Err(error) = self.take_in() {
                return self.failure.set(error.to_string());
            }
            if Instant::now() >= next_tick {
                self.clock.follow(wall_clock());
                swept_to = self.sweep(swept_to);
                next_tick = Instant::now() + TICK;
            }
        }
    }

    fn take_in(&mut self) -> Result<(), crate::journal::ReadError> {
        let mut changes = Vec::new();
        let (world, figures) = (&self.world, &self.figures);
        let mut position = self.follower.next;
        self.follower.read(
            &mut |block, _| {
                block.for_each(|_, _, event| {
                    let Some(change) = record::change(&event) else { return };
                    match change {
                        crate::state::Change::Appeared(_) => figures.appeared.fetch_add(1, Ordering::Relaxed),
                        crate::state::Change::Vanished(_) => figures.vanished.fetch_add(1, Ordering::Relaxed),
                        crate::state::Change::Captured(..) => 0,
                    };
                    changes.push(change);
                });
                position.0 += u64::from(block.head().count);
                world.follow(&changes, position);
                changes.clear();
            },
            &|| false,
        )
    }

    /// Looks at the next part of the view; full mailboxes mean: next time.
    fn sweep(&self, from: u32) -> u32 {
        let now = self.clock.now();
        let mut overdue: Vec<FakemonId> = Vec::new();
        let slots = self.world.slots() / TICKS_PER_SWEEP + 1;
        let next = self.world.overdue(from, slots, now, &mut overdue);
        for fakemon in overdue {
            let door = &self.doors[usize::from(owner(fakemon, self.doors.len()).0)];
            if door.world.push(WorldCommand::Vanish { fakemon, at: now }).is_err() {
                break;
            }
            door.world.ring();
        }
        next
    }
}
