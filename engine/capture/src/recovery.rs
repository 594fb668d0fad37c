//! Start-up: the rows of the snapshot, then the tail of the journal, block by block along the hash chain. There is no
//! other way to start, whatever happened before.

pub mod snapshot; // rows that make the next start short

use crate::commit::commit_queue::{CommitQueue, Name};
use crate::completion_queue::decision;
use crate::decision::record;
use crate::decision::resolve::Rules;
use crate::options::Options;
use crate::player::{IdRanges, Player, Registry};
use crate::population::{Change, Fakemon, Fate, Population, StateHash};
use crate::recovery::snapshot::{name_species, next_fakemon_id};
use fakemon_fbs::journal::{BlockHead, Event};
use fakemon_fbs::snapshot::{Fakemon as FakemonRow, Head};
use fakemon_journal::{BlockLog, Link, ReadError, SnapshotRows};
use fakemon_model::event::{Decision, PlayerName};
use fakemon_model::ids::{FakemonId, PlayerId, Position, ShardId, SpeciesId, Timestamp, mix, owner};
use fakemon_model::place::Place;
use fakemon_model::species::CatchRate;
use fakemon_sync::clock::Clock;
use hashbrown::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Why no name is lost when an engine opens; an assertion in `limits` ensures it.
pub const NAMES_FIT: &str = "the names of all species and of the opening wait at once";

/// What the snapshot and the journal hold.
pub struct Recovered {
    pub populations: Vec<Population>,
    pub registry: Registry,
    pub link: Link,
    /// The head of the snapshot, from which it continues.
    pub snapshot: Head,
    /// The names at the end of the journal.
    pub species: Vec<String>,
    pub rules: Option<Rules>,
    pub newest: Timestamp,
    /// The head of the newest block.
    pub newest_head: BlockHead,
    pub next_fakemon_id: u64,
    /// Events that were applied again.
    pub tail_events: u64,
}

/// Reads everything in a store, for this many shards.
pub fn recover(store: &impl BlockLog, rows: &impl SnapshotRows, shards: usize) -> Result<Recovered, ReadError> {
    FromRows::read(Some(rows), shards)?.follow(store)
}

/// What the snapshot holds, before the tail of the journal.
pub struct FromRows {
    recovered: Recovered,
    players: HashMap<PlayerId, Player>,
}

impl FromRows {
    /// Reads the rows of a snapshot, if there is one, for this many shards.
    pub fn read(rows: Option<&impl SnapshotRows>, shards: usize) -> Result<FromRows, ReadError> {
        let (mut recovered, mut players) = (Recovered::from_head(rows, shards)?, HashMap::new());
        if let Some(rows) = rows {
            rows.fakemon(&mut |row| recovered.appear(fakemon(&row)))?;
            rows.players(&mut |id, row| {
                if let Ok(name) = PlayerName::new(&row.name) {
                    let used = row.used.iter().map(|range| (range.first(), range.last()));
                    players.insert(id, Player::new(id, name, IdRanges::from_ranges(used)));
                }
            })?;
        }
        Ok(FromRows { recovered, players })
    }

    /// Follows the journal from there to its end.
    pub fn follow(self, store: &impl BlockLog) -> Result<Recovered, ReadError> {
        let FromRows { mut recovered, mut players } = self;
        recovered.newest_head = store.newest_head()?.unwrap_or_default();
        recovered.replay_tail(store, &mut players)?;
        players.into_values().for_each(|player| recovered.registry.restore(player));
        store.check_acknowledged(recovered.link.next)?;
        Ok(recovered)
    }
}

impl Recovered {
    fn from_head(rows: Option<&impl SnapshotRows>, shards: usize) -> Result<Recovered, ReadError> {
        let head = rows.map(SnapshotRows::head).transpose()?.flatten();
        let opened = head.as_ref().and_then(|head| head.opened);
        let rules = opened.map(|opened| Rules { world_seed: opened.world_seed, reach_mm: opened.reach_mm });
        let head = head.unwrap_or(Head { position: 1, next_fakemon_id: 1, ..Head::default() });
        Ok(Recovered {
            populations: (0..shards).map(|_| Population::default()).collect(),
            registry: Registry::default(),
            link: Link { next: Position(head.position), hash: head.block_hash, state: StateHash(head.state_hash) },
            species: head.species.clone(),
            rules,
            newest: Timestamp(head.last_ns),
            newest_head: BlockHead::default(),
            next_fakemon_id: head.next_fakemon_id,
            snapshot: head,
            tail_events: 0,
        })
    }

    fn appear(&mut self, fakemon: Fakemon) {
        let ShardId(shard) = owner(fakemon.id, self.populations.len());
        self.populations[usize::from(shard)].apply(Change::Appeared(fakemon));
    }

    fn replay_tail(
        &mut self,
        store: &impl BlockLog,
        players: &mut HashMap<PlayerId, Player>,
    ) -> Result<(), ReadError> {
        store.blocks(self.link.next, &mut |stored| {
            if stored.first < self.link.next {
                return Ok(ControlFlow::Continue(()));
            }
            if stored.first > self.link.next {
                return Err(ReadError::corrupt(self.link.next, format!("the next block is at {}", stored.first)));
            }
            let block = stored.verify_after(&self.link.hash)?;
            let mut result = Ok(());
            block.for_each(|position, _, event| {
                self.link.state.add(record::facts(&event));
                if result.is_ok() {
                    result = self.replay(Position(position), event, players);
                }
            });
            result?;
            if self.link.state.0 != block.head().state_hash {
                return Err(ReadError::corrupt(stored.first, "the state after this block is not what it says"));
            }
            self.tail_events += u64::from(block.head().count);
            self.link.hash = stored.hash;
            self.link.next.0 += u64::from(block.head().count);
            Ok(ControlFlow::Continue(()))
        })
    }

    fn replay(
        &mut self,
        position: Position,
        event: Event<'_>,
        players: &mut HashMap<PlayerId, Player>,
    ) -> Result<(), ReadError> {
        self.newest = record::at(&event).unwrap_or_default().max(self.newest);
        if let Some(change) = record::change(&event) {
            self.change(position, change)?;
        }
        match event {
            Event::Attempt(attempt) => {
                let decided = record::attempt(attempt);
                let player = players.get(&decided.player);
                let player = player.ok_or_else(|| ReadError::corrupt(position, "its player was never named"))?;
                let decision: Decision = decision(&decided, position, 0);
                player.restore(decision);
            }
            Event::PlayerNamed(named) => {
                let id = PlayerId(named.player);
                let name = PlayerName::new(&named.name).map_err(|error| ReadError::corrupt(position, error))?;
                players.entry(id).or_insert_with(|| Player::new(id, name, IdRanges::default()));
            }
            Event::SpeciesNamed(named) => name_species(&mut self.species, named.species, named.name),
            Event::Opened(opened) => {
                self.rules = Some(Rules { world_seed: opened.world_seed, reach_mm: opened.reach_mm });
            }
            Event::Appeared(_) | Event::Vanished(_) | Event::Put(_) | Event::Changed(_) => {}
        }
        Ok(())
    }

    /// Applies a change, unless it contradicts the state: then the journal was altered or is damaged.
    fn change(&mut self, position: Position, change: Change) -> Result<(), ReadError> {
        let id = match change {
            Change::Appeared(fakemon) => {
                self.next_fakemon_id = next_fakemon_id(self.next_fakemon_id, fakemon.id);
                fakemon.id
            }
            Change::Captured(id, _) | Change::Vanished(id) => id,
        };
        let ShardId(shard) = owner(id, self.populations.len());
        let population = &mut self.populations[usize::from(shard)];
        let fits = match (change, population.get(id).map(Fakemon::fate)) {
            (Change::Appeared(_), _) => true,
            (_, None) => false,
            (Change::Captured(_, PlayerId(0 | u32::MAX)), _) => false,
            (Change::Captured(_, winner), Some(fate)) => fate == Fate::Wild || fate == Fate::Captured(winner),
            (Change::Vanished(_), Some(fate)) => fate == Fate::Wild || fate == Fate::Vanished,
        };
        if !fits {
            return Err(ReadError::corrupt(position, format!("it contradicts what came before for fakémon {id}")));
        }
        population.apply(change);
        Ok(())
    }
}

/// The game settings: from the options, else from the journal, else new ones.
pub fn rules(options: &Options, journal: Option<Rules>, clock: &Clock) -> Rules {
    let seed = options.world_seed.or(journal.map(|rules| rules.world_seed));
    Rules { world_seed: seed.unwrap_or_else(|| mix(clock.now().0)), reach_mm: options.reach_mm() }
}

/// All species by number: those in the journal, then those that are new in the table, which are announced.
pub fn announce_species(options: &Options, mut known: Vec<String>, desk: &CommitQueue) -> Vec<Arc<str>> {
    for species in options.species.iter() {
        if !known.contains(&species.name) {
            let number = SpeciesId(u16::try_from(known.len()).expect("tables are bounded"));
            assert!(desk.announce(Name::Species(number, species.name.clone())), "{NAMES_FIT}");
            known.push(species.name.clone());
        }
    }
    known.into_iter().map(Into::into).collect()
}

/// A fakémon from its row.
pub fn fakemon(row: &FakemonRow) -> Fakemon {
    let fate = match row.winner() {
        0 => Fate::Wild,
        u32::MAX => Fate::Vanished,
        winner => Fate::Captured(PlayerId(winner)),
    };
    let place = Place { lat_e7: row.lat_e7(), lon_e7: row.lon_e7() };
    let catch_rate = CatchRate::from_basis_points(row.catch_rate_bp());
    let species = SpeciesId(row.species());
    Fakemon::wild(FakemonId(row.fakemon_id()), species, place, catch_rate, Timestamp(row.vanishes_at_ns()))
        .with_fate(fate)
}
