//! The thread behind the view of the world: takes in what is durable, and sends a command for every fakémon whose
//! time is over. Time enters like any other command. It also looks at the wall clock while nothing is written.

use crate::decision::record;
use crate::executor::ShardInbox;
use crate::shard::WorldCommand;
use crate::world::World;
use fakemon_journal::follower::Follower;
use fakemon_journal::{BlockLog, Store};
use fakemon_model::ids::{FakemonId, owner};
use fakemon_sync::clock::Clock;
use fakemon_sync::failure::Failure;
use fakemon_sync::pulse;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a part of the view is searched for expired fakémon.
const TICK: Duration = Duration::from_millis(100);
/// The whole view is searched once in this many ticks, so a fakémon is reported as vanished within a second.
const TICKS_PER_SWEEP: u32 = 5;

/// Counts since the start.
#[derive(Default)]
pub struct WorldFigures {
    pub appeared: AtomicU64,
    pub vanished: AtomicU64,
}

pub struct Expiry<L = Store> {
    pub follower: Follower<L>,
    pub world: Arc<World>,
    pub figures: Arc<WorldFigures>,
    pub doors: Arc<[Arc<ShardInbox>]>,
    pub failure: Arc<Failure>,
    pub clock: Clock,
}

impl<L: BlockLog> Expiry<L> {
    pub fn run(mut self) {
        let (mut swept_to, mut next_tick) = (0, Instant::now() + TICK);
        while !self.follower.stopping() {
            pulse::rest();
            self.follower.wait(next_tick.saturating_duration_since(Instant::now()));
            pulse::work();
            if let Err(error) = self.take_in() {
                return self.failure.set(error.to_string());
            }
            if Instant::now() >= next_tick {
                self.clock.look();
                swept_to = self.sweep(swept_to);
                next_tick = Instant::now() + TICK;
            }
        }
    }

    /// Takes in everything that is durable.
    pub fn take_in(&mut self) -> Result<(), fakemon_journal::ReadError> {
        let mut changes = Vec::new();
        let (world, figures) = (&self.world, &self.figures);
        let mut position = self.follower.next;
        self.follower.read(
            &mut |block, _| {
                block.for_each(|_, _, event| {
                    let Some(change) = record::change(&event) else { return };
                    match change {
                        crate::population::Change::Appeared(_) => figures.appeared.fetch_add(1, Ordering::Relaxed),
                        crate::population::Change::Vanished(_) => figures.vanished.fetch_add(1, Ordering::Relaxed),
                        crate::population::Change::Captured(..) => 0,
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

    /// Searches the next part of the view, from a slot on; returns the slot from which the next search goes on.
    /// Fakémon that a full mailbox refuses are found again by the next sweep.
    pub fn sweep(&self, from: u32) -> u32 {
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
