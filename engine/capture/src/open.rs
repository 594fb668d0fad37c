//! How captures open: what recovery found becomes what clients and threads share, then the part of each thread.

use crate::archive_reader::{ReadQueue, Reader};
use crate::commit::commit_queue::{CommitQueue, Name};
use crate::commit::group_commit::Committer;
use crate::decision::resolve::Rules;
use crate::executor::{self, Core, ShardInbox, Wakeups};
use crate::metrics::GroupFigures;
use crate::options::{Durability, OpenError, Options};
use crate::population::Population;
use crate::recovery::snapshot::Snapshotter;
use crate::recovery::{NAMES_FIT, Recovered, announce_species, rules};
use crate::shard::Shard;
use crate::shared::{Shared, Validate};
use crate::world::World;
use crate::world::expiry::Expiry;
use fakemon_fbs::journal::{BlockWriter, Opened};
use fakemon_fbs::snapshot::Head;
use fakemon_journal::checkpoint::Standing;
use fakemon_journal::follower::{FOLLOWERS, Follower};
use fakemon_journal::index::Segment;
use fakemon_journal::retention::Kept;
use fakemon_journal::{BusStore, IndexStore, Link, Progress, RowStore, Store};
use fakemon_model::ids::{Ahead, Position, ShardId, SpeciesId};
use fakemon_resource::Resources;
use fakemon_sync::clock::Clock;
use fakemon_sync::failure::Failure;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// Captures before their threads run.
pub struct Captures {
    pub shared: Arc<Shared>,
    store: Arc<Store>,
    rows: Arc<RowStore>,
    link: Link,
    ahead: Ahead,
    ahead_since: Position,
    snapshot: Head,
    shards: Vec<(Population, Wakeups)>,
}

impl Captures {
    /// What clients and threads share, from what recovery found.
    ///
    /// # Errors
    /// When there are no descriptors for the shards.
    pub fn open(
        (store, rows): (Arc<Store>, Arc<RowStore>),
        options: Options,
        recovered: Recovered,
        resources: Resources,
        validate: Validate,
    ) -> Result<Captures, OpenError> {
        let ahead = Ahead(recovered.newest_head.ahead_ns);
        let clock = Clock::starting_after(recovered.newest, ahead);
        let rules = rules(&options, recovered.rules, &clock);
        let desk = Arc::new(CommitQueue::new());
        assert!(desk.announce(Name::Opened(opened(&options, rules, &clock))), "{NAMES_FIT}");
        let names = announce_species(&options, recovered.species, &desk);
        let species = names.iter().map(ToString::to_string).zip((0..).map(SpeciesId)).collect();
        let world = Arc::new(World::new(recovered.link.next, names, clock.clone()));
        recovered.populations.iter().for_each(|population| world.populate(population.iter()));
        let progress = Progress::new(recovered.link.next, Position(recovered.snapshot.position), FOLLOWERS);
        let (doors, ears): (Vec<_>, Vec<_>) = doors(options.cores)?.into_iter().unzip();
        let shared = Arc::new(Shared {
            validate,
            rules,
            species,
            clock,
            doors: doors.into(),
            desk,
            progress: Arc::new(progress),
            outboxes: Arc::default(),
            registry: Arc::new(recovered.registry),
            world,
            counter: Arc::new(ReadQueue::default()),
            failure: Arc::new(Failure::default()),
            stopping: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            attempt_figures: Mutex::default(),
            group_figures: Arc::new(Mutex::new(GroupFigures::new(options.thresholds.slow_sync))),
            world_figures: Arc::default(),
            next_fakemon_id: AtomicU64::new(recovered.next_fakemon_id),
            resources: Arc::new(resources),
            options,
        });
        Ok(Captures {
            shared,
            store,
            rows,
            link: recovered.link,
            ahead,
            ahead_since: Position(recovered.newest_head.ahead_since),
            snapshot: recovered.snapshot,
            shards: recovered.populations.into_iter().zip(ears).collect(),
        })
    }

    /// Starts the executors of the shards.
    ///
    /// # Errors
    /// When one of them cannot start; those that run are stopped.
    pub fn start_shards(&mut self) -> Result<Cores, OpenError> {
        let shared = &self.shared;
        let mut running = Cores { shared: shared.clone(), cores: Vec::new() };
        for ((population, ears), id) in std::mem::take(&mut self.shards).into_iter().zip(0..) {
            let id = ShardId(id);
            let shard = Shard::new(id, shared.rules, population);
            let (door, pin) = (shared.doors[usize::from(id.0)].clone(), shared.options.pin);
            let (desk, clock, failure) = (shared.desk.clone(), shared.clock.clone(), shared.failure.clone());
            running.cores.push(executor::start(shard, id, pin, door, ears, desk, clock, failure)?);
        }
        Ok(running)
    }

    /// Writes the journal.
    pub fn committer(&self) -> Committer {
        let shared = &self.shared;
        Committer {
            store: self.store.clone(),
            desk: shared.desk.clone(),
            progress: shared.progress.clone(),
            outboxes: shared.outboxes.clone(),
            resources: shared.resources.clone(),
            figures: shared.group_figures.clone(),
            failure: shared.failure.clone(),
            clock: shared.clock.clone(),
            durability: shared.options.durability,
            link: self.link,
            writer: BlockWriter::default(),
            previous_sync_ns: 0,
            ahead: self.ahead,
            ahead_since: self.ahead_since,
            turns_of_shards: vec![0; shared.doors.len()],
        }
    }

    /// Reads the journal for clients.
    pub fn reader(&self) -> Reader {
        Reader {
            counter: self.shared.counter.clone(),
            store: self.store.clone(),
            rows: self.rows.clone(),
            world: self.shared.world.clone(),
        }
    }

    /// Keeps the view of the world, and lets fakémon expire.
    pub fn expiry(&self, follower: Follower) -> Expiry {
        Expiry {
            follower,
            world: self.shared.world.clone(),
            figures: self.shared.world_figures.clone(),
            doors: self.shared.doors.clone(),
            failure: self.shared.failure.clone(),
            clock: self.shared.clock.clone(),
        }
    }

    /// Keeps snapshot and index up to date; without a segment there is no index.
    pub fn snapshotter(
        &self,
        follower: Follower,
        index: Arc<IndexStore>,
        segment: Option<Segment>,
        bus: Arc<BusStore>,
        standing: Arc<Standing>,
    ) -> Snapshotter {
        Snapshotter {
            follower,
            store: self.store.clone(),
            rows: self.rows.clone(),
            progress: self.shared.progress.clone(),
            failure: self.shared.failure.clone(),
            clock: self.shared.clock.clone(),
            every: self.shared.options.snapshot_every,
            kept: Kept::new(self.shared.options.retention),
            head: self.snapshot.clone(),
            index: Some(index),
            segment,
            bus,
            standing,
            unflushed: 0,
        }
    }
}

/// The executors that run: dropping them stops them, and waits until what they had is decided.
pub struct Cores {
    shared: Arc<Shared>,
    cores: Vec<Core>,
}

impl Drop for Cores {
    fn drop(&mut self) {
        self.shared.doors.iter().for_each(|door| door.stop());
        for core in self.cores.drain(..) {
            if let Err(error) = core.join() {
                self.shared.failure.set(format!("a shard ended: {error}"));
            }
        }
    }
}

fn opened(options: &Options, rules: Rules, clock: &Clock) -> Opened {
    Opened {
        at_ns: clock.now().0,
        world_seed: rules.world_seed,
        reach_mm: rules.reach_mm,
        cores: u16::try_from(options.cores).expect("checked: at most 256"),
        durable: options.durability == Durability::Synced,
    }
}

/// Creates one inbox per shard.
fn doors(shards: usize) -> Result<Vec<(Arc<ShardInbox>, Wakeups)>, OpenError> {
    let door = |_| ShardInbox::new().map(|(door, ears)| (Arc::new(door), ears));
    let doors = (0..shards).map(door).collect::<std::io::Result<Vec<_>>>();
    doors.map_err(|error| {
        OpenError::TooFewDescriptors(format!("no descriptors for the shards: {error}; raise `ulimit -n`"))
    })
}
