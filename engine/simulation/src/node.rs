//! One life of a node: the production code of the capture path, wired as `Engine::open` wires it, with every thread
//! of it as a function that takes one step.

use crate::clients::{Crowd, Down, Question, Up};
use crate::memory_log::{ClosedLog, Machine, MemoryLog};
use crate::memory_rows::MemoryRows;
use crate::mistakes::Mistake;
use crate::model::{Claim, Model, NumberedAttempt, name_of};
use fakemon_capture::archive_reader::{ReadQueue, Reader, Request as ReadRequest};
use fakemon_capture::client::Client;
use fakemon_capture::command::{Attempt, Completion, Spawn, SubmitError};
use fakemon_capture::commit::commit_queue::{CommitQueue, Name, NoPlace};
use fakemon_capture::commit::group_commit::Committer;
use fakemon_capture::completion_queue::Outboxes;
use fakemon_capture::decision::turn::{ClientId, Turn};
use fakemon_capture::executor::ShardInbox;
use fakemon_capture::metrics::GroupFigures;
use fakemon_capture::options::{Durability, Options};
use fakemon_capture::player::{IdRanges, Player, Registry};
use fakemon_capture::recovery::snapshot::Snapshotter;
use fakemon_capture::recovery::{NAMES_FIT, Recovered, announce_species, recover, rules};
use fakemon_capture::shard::{AttemptCommand, Shard, WorldCommand};
use fakemon_capture::shared::Shared;
use fakemon_capture::world::World;
use fakemon_capture::world::expiry::Expiry;
use fakemon_fbs::journal::{BlockWriter, Opened};
use fakemon_journal::follower::{FOLLOWERS, Follower, SNAPSHOT, WORLD};
use fakemon_journal::retention::Kept;
use fakemon_journal::{Batch, BusStore, MemoryTables, Progress, SnapshotRows, Table};
use fakemon_model::dice::Dice;
use fakemon_model::event::PlayerName;
use fakemon_model::ids::{Ahead, FakemonId, PlayerId, Position, ShardId, SpeciesId, Token, mix};
use fakemon_model::place::Place;
use fakemon_model::species::CatchRate;
use fakemon_resource::resource::Change;
use fakemon_resource::{InvalidChange, NewEvent, Registry as Resources};
use fakemon_sync::clock::{Clock, SimulatedTime};
use parking_lot::Mutex;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// Where every fakémon is.
const SPOT: Place = Place { lat_e7: 404_168_000, lon_e7: -37_038_000 };
/// Too far from there.
const FAR: Place = Place { lat_e7: 414_168_000, lon_e7: -37_038_000 };
/// The row of the router's position, in the place of a whole bus.
const ROUTED: &[u8] = b"position";
/// Names that wait for the journal: those of all species, of the opening and of all players.
const NAMES: usize = 256;
/// Requests that wait for the reader, at least.
const REQUESTS: usize = 64;

/// What outlives a node: the disk, the clocks, the settings.
pub struct Site {
    /// The journal.
    pub log: ClosedLog,
    /// The snapshot.
    pub rows: Arc<MemoryRows>,
    /// What the bus stores.
    pub bus: Arc<MemoryTables>,
    /// What fails.
    pub machine: Rc<RefCell<Machine>>,
    /// The clocks.
    pub time: Arc<SimulatedTime>,
    /// The settings, with what retention keeps; their seed stays none, so that the journal's is kept.
    pub options: Options,
    /// The mistake that is made.
    pub mistake: Option<Mistake>,
    /// Room in mailboxes, and turns that wait for the journal.
    pub room: (usize, usize),
}

/// What an edge waits for.
#[derive(Clone, Copy)]
enum Pending {
    Attempt { attempt: NumberedAttempt, connection: u64 },
    Collection { player: usize, floor: usize },
    Write,
}

/// A thread of connections, as far as the engine sees it: a client and its tokens.
struct Edge {
    client: Client,
    pending: Vec<Option<Pending>>,
    free: Vec<usize>,
    completions: Vec<Completion>,
}

/// The running parts, except the committer.
pub struct Life {
    number: usize,
    shared: Arc<Shared>,
    log: Arc<MemoryLog>,
    shards: Vec<Shard>,
    expiry: Expiry<MemoryLog>,
    swept_to: u32,
    snapshotter: Snapshotter<MemoryLog, MemoryRows>,
    reader: Reader<MemoryLog, MemoryRows>,
    edges: Vec<Edge>,
    players: Vec<Option<Player>>,
    /// Progress that runs ahead, for a mistake.
    ahead: Option<Arc<Progress>>,
    /// Turns that were decided before they had a place, for a mistake.
    held: Vec<Turn>,
    mistake: Option<Mistake>,
    attempts: Vec<AttemptCommand>,
    changes: Vec<WorldCommand>,
    requests: Vec<ReadRequest>,
}

/// The thread that writes, with its room.
pub struct Writer {
    committer: Committer<MemoryLog>,
    turns: Vec<Turn>,
    value: Vec<u8>,
    /// The log that it writes.
    pub log: Arc<MemoryLog>,
}

impl Writer {
    /// Commits one group of what waits; false if nothing does, or if it failed, which the failure says.
    pub fn step(&mut self) -> bool {
        if self.committer.failure.happened() {
            return false;
        }
        match self.committer.commit_waiting(&mut self.turns, &mut self.value) {
            Ok(committed) => committed,
            Err(reason) => {
                self.committer.failure.set(reason);
                false
            }
        }
    }
}

fn accept(_: &Change, _: &Resources, _: &Options) -> Result<(), InvalidChange> {
    Ok(())
}

impl Site {
    /// Starts a node with this many shards and edges.
    ///
    /// # Errors
    /// Why it does not open.
    #[expect(clippy::arc_with_non_send_sync, reason = "one thread; the parts share as they do on many")]
    pub fn start(&self, shards: usize, edges: usize, model: &mut Model) -> Result<(Life, Writer), String> {
        let log = Arc::new(self.log.open());
        let mut recovered = recover(&*log, &*self.rows, shards).map_err(|error| error.to_string())?;
        let rows_to = self.rows.head().ok().flatten().map_or(1, |head| head.position);
        if rows_to > log.end().0 {
            return Err(format!("the snapshot at {rows_to} is ahead of the journal, which ends at {}", log.end()));
        }
        let routed_to = self.routed_to();
        if routed_to < log.first() {
            let what = format!("the bus is at {routed_to}, and the journal begins at {}", log.first());
            model.violated(Claim::Retained, what);
        }
        let number = model.begins(recovered.link.next, shards);
        if number > 0 {
            self.forget(&mut recovered, model.players());
        }
        let shared = self.share(&mut recovered, shards);
        let outboxes = (0..edges).map(|_| shared.outboxes.open().map_err(|error| error.to_string()));
        let edges = outboxes.map(|outbox| Ok(Edge::new(Client::new(shared.clone(), outbox?))));
        let edges = edges.collect::<Result<Vec<_>, String>>()?;
        if self.mistake == Some(Mistake::TwoOwners) {
            (edges.len()..=usize::from(NO_CLIENT)).for_each(|_| drop(shared.outboxes.open()));
        }
        let writer = self.writer(&shared, &log, &recovered);
        let mut life = self.wire(number, shared, log, recovered, edges);
        if life.snapshotter.kept.is_limited() {
            life.snapshotter.survey().map_err(|error| error.to_string())?;
        }
        Ok((life, writer))
    }

    /// How far the bus is, as its tables say.
    fn routed_to(&self) -> Position {
        let held = BusStore::in_memory(self.bus.clone()).get(Table::Router, ROUTED).ok().flatten();
        let number = held.and_then(|held| held.try_into().ok().map(u64::from_be_bytes));
        Position(number.unwrap_or(1))
    }

    /// The running parts, around what they share.
    fn wire(
        &self,
        number: usize,
        shared: Arc<Shared>,
        log: Arc<MemoryLog>,
        recovered: Recovered,
        edges: Vec<Edge>,
    ) -> Life {
        let mut rules = shared.rules;
        if self.mistake == Some(Mistake::WrongRoll) && number > 0 {
            rules.world_seed ^= 1;
        }
        let shard = |(id, population)| Shard::new(ShardId(id), rules, population);
        let ahead = (self.mistake == Some(Mistake::FollowerAhead))
            .then(|| Arc::new(Progress::new(recovered.link.next, Position(0), FOLLOWERS)));
        let stop = Arc::new(AtomicBool::new(true)); // followers take in what is there, and do not wait for more
        let follower = |index| Follower::new(log.clone(), shared.progress.clone(), stop.clone(), index);
        Life {
            number,
            shards: (0..).zip(recovered.populations).map(shard).collect(),
            expiry: Expiry {
                follower: match &ahead {
                    Some(ahead) => Follower::new(log.clone(), ahead.clone(), stop.clone(), WORLD),
                    None => follower(WORLD),
                },
                world: shared.world.clone(),
                figures: shared.world_figures.clone(),
                doors: shared.doors.clone(),
                failure: shared.failure.clone(),
                clock: shared.clock.clone(),
            },
            swept_to: 0,
            snapshotter: Snapshotter {
                follower: follower(SNAPSHOT),
                store: log.clone(),
                rows: self.rows.clone(),
                progress: shared.progress.clone(),
                failure: shared.failure.clone(),
                clock: shared.clock.clone(),
                every: self.options.snapshot_every,
                kept: Kept::new(self.options.retention),
                head: recovered.snapshot,
                index: None,
                segment: None,
                bus: Arc::new(BusStore::in_memory(self.bus.clone())),
                standing: Arc::default(),
                unflushed: 0,
            },
            reader: Reader {
                counter: shared.counter.clone(),
                store: log.clone(),
                rows: self.rows.clone(),
                world: shared.world.clone(),
            },
            edges,
            players: Vec::new(),
            ahead,
            held: Vec::new(),
            mistake: self.mistake,
            attempts: Vec::new(),
            changes: Vec::new(),
            requests: Vec::new(),
            shared,
            log,
        }
    }

    /// What a start with a mistake does not know any more.
    fn forget(&self, recovered: &mut Recovered, players: usize) {
        let shift = match self.mistake {
            Some(Mistake::ForgetResent) => 0,
            Some(Mistake::RenumberPlayers) => 1,
            _ => return,
        };
        let forgetful = Registry::default();
        for number in 0..players {
            let name = PlayerName::new(&name_of(number)).expect("a short name");
            let Some(player) = recovered.registry.get(&name) else { continue };
            let id = PlayerId(player.id().0 + shift);
            forgetful.restore(Player::new(id, name, IdRanges::default()));
        }
        recovered.registry = forgetful;
    }

    fn share(&self, recovered: &mut Recovered, shards: usize) -> Arc<Shared> {
        let (room, places) = self.room;
        let ahead = Ahead(recovered.newest_head.ahead_ns);
        let clock = Clock::simulated(self.time.clone(), recovered.newest, ahead);
        let options = Options { cores: shards, ..self.options.clone() };
        let rules = rules(&options, recovered.rules, &clock);
        let desk = Arc::new(CommitQueue::with_places(places, NAMES));
        let announced = desk.announce(Name::Opened(Opened {
            at_ns: clock.now().0,
            world_seed: rules.world_seed,
            reach_mm: rules.reach_mm,
            cores: u16::try_from(shards).expect("a few"),
            durable: true,
        }));
        assert!(announced, "{NAMES_FIT}");
        let names = announce_species(&options, recovered.species.clone(), &desk);
        let species = names.iter().map(ToString::to_string).zip((0..).map(SpeciesId)).collect();
        let world = Arc::new(World::new(recovered.link.next, names, clock.clone()));
        recovered.populations.iter().for_each(|population| world.populate(population.iter()));
        let progress = Progress::new(recovered.link.next, Position(recovered.snapshot.position), FOLLOWERS);
        let doors: Vec<_> = (0..shards).map(|_| Arc::new(ShardInbox::with_room(room, room))).collect();
        let registry = std::mem::take(&mut recovered.registry);
        Arc::new(Shared {
            validate: accept,
            rules,
            species,
            clock,
            doors: doors.into(),
            desk,
            progress: Arc::new(progress),
            outboxes: Arc::new(Outboxes::default()),
            registry: Arc::new(registry),
            world,
            counter: Arc::new(ReadQueue::with_room(room.max(REQUESTS))),
            failure: Arc::default(),
            stopping: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            attempt_figures: Mutex::default(),
            group_figures: Arc::new(Mutex::new(GroupFigures::new(self.options.thresholds.slow_sync))),
            world_figures: Arc::default(),
            next_fakemon_id: AtomicU64::new(recovered.next_fakemon_id),
            resources: Arc::new(fakemon_resource::Resources::new(Resources::new())),
            options,
        })
    }

    fn writer(&self, shared: &Arc<Shared>, log: &Arc<MemoryLog>, recovered: &Recovered) -> Writer {
        let durability = match self.mistake {
            Some(Mistake::SkipSync) => Durability::Unsynced,
            _ => Durability::Synced,
        };
        let committer = Committer {
            store: log.clone(),
            desk: shared.desk.clone(),
            progress: shared.progress.clone(),
            outboxes: shared.outboxes.clone(),
            resources: shared.resources.clone(),
            figures: shared.group_figures.clone(),
            failure: shared.failure.clone(),
            clock: shared.clock.clone(),
            durability,
            link: recovered.link,
            writer: BlockWriter::default(),
            previous_sync_ns: 0,
            ahead: Ahead(recovered.newest_head.ahead_ns),
            ahead_since: Position(recovered.newest_head.ahead_since),
            turns_of_shards: vec![0; shared.doors.len()],
        };
        Writer { committer, turns: Vec::new(), value: Vec::new(), log: log.clone() }
    }
}

impl Edge {
    fn new(client: Client) -> Edge {
        Edge { client, pending: Vec::new(), free: Vec::new(), completions: Vec::new() }
    }

    /// A token for something that will be completed; see [`cancel`](Self::cancel).
    fn token(&mut self, pending: Pending) -> Token {
        let token = self.free.pop().unwrap_or_else(|| {
            self.pending.push(None);
            self.pending.len() - 1
        });
        self.pending[token] = Some(pending);
        Token(token as u64)
    }

    fn take(&mut self, token: Token) -> Option<Pending> {
        let index = usize::try_from(token.0).expect("tokens are indices");
        let taken = self.pending.get_mut(index)?.take();
        if taken.is_some() {
            self.free.push(index);
        }
        taken
    }
}

impl Life {
    /// Whether it has stopped by itself.
    pub fn has_failed(&self) -> bool {
        self.shared.failure.happened()
    }

    /// Whether nothing is on its way in it.
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.edges.iter().all(|edge| edge.client.in_flight() == 0)
    }

    /// How many fakémon the view of the world has, once it has taken in everything.
    pub fn wild(&mut self) -> usize {
        self.follow_world();
        self.shared.world.wild()
    }

    /// The journal, as it has it open.
    pub fn log(&self) -> &MemoryLog {
        &self.log
    }

    /// How many shards it has.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// How many edges it has.
    pub fn edges(&self) -> usize {
        self.edges.len()
    }

    /// An edge ends and starts again: what it waits for is answered to no connection.
    pub fn restart_edge(&mut self, edge: usize) {
        if let Ok(outbox) = self.shared.outboxes.open() {
            self.edges[edge] = Edge::new(Client::new(self.shared.clone(), outbox));
        }
    }

    /// A message arrives at its edge, which answers at once if there is no room.
    pub fn arrives(&mut self, up: &Up, model: &Model) -> Option<Down> {
        let name = || PlayerName::new(&name_of(up.player)).expect("a short name");
        if self.players.len() <= up.player {
            self.players.resize(up.player + 1, None);
        }
        let edges = self.edges.len();
        let edge = &mut self.edges[up.edge % edges];
        let held = &mut self.players[up.player];
        if held.is_none() {
            *held = edge.client.register(&name()).ok();
        }
        let player = held.clone()?;
        let (token, result) = match up.question {
            Question::Attempt(attempt, fakemon_id) => {
                let attempt_id = model.attempt_id(attempt);
                let token = edge.token(Pending::Attempt { attempt, connection: up.connection });
                let place = if mix(attempt_id.0).is_multiple_of(16) { FAR } else { SPOT };
                let received_at = self.shared.clock.now();
                let command = Attempt { player, attempt_id, fakemon_id, place, received_at };
                (token, edge.client.attempt(token, command))
            }
            Question::Collection(floor) => {
                let token = edge.token(Pending::Collection { player: up.player, floor });
                (token, edge.client.collection(token, &player, None))
            }
        };
        match (result, up.question) {
            (Ok(()), _) => None,
            (Err(SubmitError::Throttled(_)), Question::Attempt(attempt, _)) => {
                edge.take(token);
                Some(Down { connection: up.connection, attempt, throttled: true })
            }
            (Err(_), _) => {
                edge.take(token); // the player asks again when nothing comes back
                None
            }
        }
    }

    /// Puts a fakémon into the world; false if there is no room.
    pub fn spawn(&mut self, fakemon_id: FakemonId, lifetime_s: u64, rate: u16) -> bool {
        let edge = &mut self.edges[0];
        let token = edge.token(Pending::Write);
        let spawn = Spawn {
            fakemon_id: Some(fakemon_id),
            lifetime_s: Some(lifetime_s),
            catch_rate: Some(CatchRate::from_basis_points(rate)),
            ..Spawn::new("sparkit", SPOT)
        };
        let spawned = edge.client.spawn(token, &spawn);
        if spawned.is_err() {
            edge.take(token);
        }
        spawned.is_ok()
    }

    /// Puts an event on a bus.
    pub fn put(&mut self) -> Result<(), SubmitError> {
        let edge = &mut self.edges[0];
        let token = edge.token(Pending::Write);
        let put = edge.client.put(token, vec![NewEvent::new("simulation", "tick", "{}")]);
        put.inspect_err(|_| {
            edge.take(token);
        })
    }

    /// A shard decides up to `max` attempts.
    pub fn decide(&mut self, shard: usize, max: usize, dice: &mut Dice, model: &mut Model) {
        let taker = self.taker(shard, dice);
        if self.mistake == Some(Mistake::DecideBeforePlace) {
            return self.decide_without_place(shard, max, dice, model);
        }
        let Life { shared, shards, attempts, .. } = self;
        let place = match shared.desk.reserve() {
            Ok(place) => place,
            Err(NoPlace::Full | NoPlace::Closed) => return,
        };
        if shared.doors[shard].attempts.take(max, attempts) == 0 {
            return;
        }
        for AttemptCommand { attempt, .. } in &*attempts {
            model.decides(self.number, taker, attempt.player, attempt.attempt_id);
        }
        shards[taker].decide(place, attempts, shared.clock.now());
    }

    /// Which shard decides what one shard got.
    fn taker(&self, shard: usize, dice: &mut Dice) -> usize {
        match self.mistake {
            Some(Mistake::TwoOwners) => (shard + dice.below(2)) % self.shards.len(),
            _ => shard,
        }
    }

    /// A shard makes up to `max` fakémon appear and vanish.
    pub fn change_world(&mut self, shard: usize, max: usize, dice: &mut Dice) {
        if self.mistake == Some(Mistake::DecideBeforePlace) {
            return self.change_without_place(shard, max, dice);
        }
        let Life { shared, shards, changes, .. } = self;
        let Ok(place) = shared.desk.reserve() else { return };
        if shared.doors[shard].world.take(max, changes) == 0 {
            return;
        }
        let mut again = Vec::new();
        if self.mistake == Some(Mistake::TwoOwners) {
            again.extend(changes.iter().filter_map(for_another_owner));
        }
        shards[shard].change_world(place, changes);
        let other = (shard + 1) % shards.len();
        if !again.is_empty()
            && other != shard
            && let Ok(place) = shared.desk.reserve()
        {
            shards[other].change_world(place, &mut again);
        }
    }

    fn decide_without_place(&mut self, shard: usize, max: usize, dice: &mut Dice, model: &mut Model) {
        let Life { shared, shards, attempts, held, .. } = self;
        if held.len() < 4 && shared.doors[shard].attempts.take(max, attempts) > 0 {
            for AttemptCommand { attempt, .. } in &*attempts {
                model.decides(self.number, shard, attempt.player, attempt.attempt_id);
            }
            let beside = CommitQueue::with_places(1, 1);
            if let Ok(place) = beside.reserve() {
                shards[shard].decide(place, attempts, shared.clock.now());
            }
            beside.take(1, held);
        }
        self.hand_over_one(dice);
    }

    fn change_without_place(&mut self, shard: usize, max: usize, dice: &mut Dice) {
        let Life { shared, shards, changes, held, .. } = self;
        if held.len() < 4 && shared.doors[shard].world.take(max, changes) > 0 {
            let beside = CommitQueue::with_places(1, 1);
            if let Ok(place) = beside.reserve() {
                shards[shard].change_world(place, changes);
            }
            beside.take(1, held);
        }
        self.hand_over_one(dice);
    }

    fn hand_over_one(&mut self, dice: &mut Dice) {
        if !self.held.is_empty()
            && let Ok(place) = self.shared.desk.reserve()
        {
            let next = dice.below(self.held.len());
            place.hand_over(self.held.swap_remove(next));
        }
    }

    /// An edge polls its client, and answers players.
    pub fn poll(&mut self, edge: usize, crowd: &mut Crowd, model: &mut Model, durable: Position) {
        let edge = &mut self.edges[edge];
        edge.client.flush();
        let mut completions = std::mem::take(&mut edge.completions);
        edge.client.poll(&mut completions);
        for completion in completions.drain(..) {
            let Some(pending) = edge.take(completion.token()) else {
                model.violated(Claim::FirstAnswer, "something was completed twice");
                continue;
            };
            match (completion, pending) {
                (Completion::Decided { decision, .. }, Pending::Attempt { attempt, connection }) => {
                    model.answered(attempt, decision, durable);
                    crowd.reply(Down { connection, attempt, throttled: false });
                }
                // A read that failed is asked again, as what found no room.
                (
                    Completion::Throttled { .. } | Completion::Unreadable { .. },
                    Pending::Attempt { attempt, connection },
                ) => {
                    crowd.reply(Down { connection, attempt, throttled: true });
                }
                (Completion::Collection { items, .. }, Pending::Collection { player, floor }) => {
                    let positions: Vec<Position> = items.iter().map(|caught| caught.position).collect();
                    model.collected(player, floor, &positions);
                }
                (Completion::Spawned { result: Ok((position, fakemon)), .. }, Pending::Write) => {
                    model.is_written(position, Some(fakemon), durable);
                }
                (Completion::Written { position, .. }, Pending::Write) => model.is_written(position, None, durable),
                (Completion::Spawned { .. }, Pending::Write)
                | (Completion::Unreadable { .. }, Pending::Collection { .. }) => {}
                (completion, _) => model.violated(Claim::FirstAnswer, format!("{completion:?} answers another")),
            }
        }
        edge.completions = completions;
    }

    /// The view of the world takes in what is durable, and sends away what is over.
    pub fn follow_world(&mut self) {
        if let Some(ahead) = &self.ahead {
            ahead.set_committed(self.log.end().max(ahead.committed()));
        }
        if let Err(error) = self.expiry.take_in() {
            return self.shared.failure.set(error.to_string());
        }
        self.shared.clock.look();
        self.swept_to = self.expiry.sweep(self.swept_to);
    }

    /// The bus takes in what is durable, stores how far it is, and needs no older event any more. As the router does,
    /// it does not sync.
    pub fn follow_bus(&mut self) {
        let (mut batch, routed_to) = (Batch::default(), self.shared.progress.committed());
        batch.put(Table::Router, ROUTED, routed_to.0.to_be_bytes());
        match self.snapshotter.bus.write(batch, false) {
            Ok(()) => self.shared.progress.set_needed(routed_to),
            Err(error) => self.shared.failure.set(error),
        }
    }

    /// The snapshot takes in what is durable; flushed, or not.
    pub fn follow_snapshot(&mut self, flush: bool) {
        let done = self.snapshotter.catch_up().and_then(|()| self.snapshotter.forget());
        let done = done.and_then(|()| if flush { self.snapshotter.finish() } else { Ok(()) });
        if let Err(error) = done {
            self.shared.failure.set(error.to_string());
        }
    }

    /// The reader answers what waits.
    pub fn read(&mut self) {
        while self.reader.answer_waiting(&mut self.requests, &mut None) > 0 {}
    }
}

/// The same change, for a shard that should not own the fakémon; its answer goes to a client that does not exist.
fn for_another_owner(command: &WorldCommand) -> Option<WorldCommand> {
    match *command {
        WorldCommand::Appear { fakemon, at, token, .. } => {
            Some(WorldCommand::Appear { fakemon, at, token, client: ClientId(NO_CLIENT) })
        }
        WorldCommand::Vanish { .. } => None,
    }
}

/// The number of an outbox that is opened for [`for_another_owner`], behind those of all edges.
const NO_CLIENT: u16 = EDGES_MAX as u16;
/// The most edges of a node.
pub const EDGES_MAX: usize = 3;
