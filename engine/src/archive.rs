//! The journal for tools: opened beside a running server or without one, read in order, never changed.

use crate::bus::Registry;
use crate::delivery::Known;
use crate::ids::{PlayerId, Position, ShardId, SpeciesId, Timestamp};
use crate::journal::{Depot, FORMAT, ReadError, RowStore, Store};
use crate::model::Event;
use crate::options::OpenError;
use crate::record;
use fakemon_fbs::journal::Event as Record;
use hashbrown::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A data directory, opened to read.
pub struct Archive {
    dir: PathBuf,
    store: Store,
    /// None in a directory whose first snapshot is still to come.
    rows: Option<RowStore>,
    /// As the rows say.
    snapshot_to: Position,
    /// Names are known up to here.
    named_to: Position,
    players: HashMap<PlayerId, String>,
    player_ids: HashMap<String, PlayerId>,
    species: Vec<String>,
    opened: Option<Opened>,
    ever_unsynced: bool,
    end: Position,
}

/// How the engine opened this journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// When.
    pub at: Timestamp,
    /// The seed of dodge rolls.
    pub world_seed: u64,
    /// How far a throw reaches, in millimetres.
    pub reach_mm: u32,
    /// Shards.
    pub cores: u16,
    /// False: answers were given before the sync.
    pub durable: bool,
}

impl From<fakemon_fbs::journal::Opened> for Opened {
    fn from(record: fakemon_fbs::journal::Opened) -> Opened {
        let fakemon_fbs::journal::Opened { at_ns, world_seed, reach_mm, cores, durable } = record;
        Opened { at: Timestamp(at_ns), world_seed, reach_mm, cores, durable }
    }
}

/// An event in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Its place in the journal.
    pub position: Position,
    /// Who decided it.
    pub shard: ShardId,
    /// When its group was handed to the disk.
    pub committed_at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// What a data directory holds.
#[derive(Clone, Debug)]
pub struct Info {
    /// Of the data directory.
    pub format: u32,
    /// The oldest event.
    pub first_position: Position,
    /// One past the newest.
    pub end_position: Position,
    /// All events before it are in the snapshot.
    pub snapshot_position: Position,
    /// The last opening; none in a journal that was never written.
    pub opened: Option<Opened>,
    /// Some answers were given before the sync, by this opening or an earlier one.
    pub ever_unsynced: bool,
    /// Names by number.
    pub species: Vec<String>,
    /// Players who have thrown.
    pub players: u64,
    /// Bytes of the events on disk, about.
    pub journal_bytes: u64,
}

impl Archive {
    /// Opens a data directory.
    ///
    /// # Errors
    /// One line with the remedy: no data directory, a newer format, damaged, or less than was acknowledged.
    pub fn open(dir: &Path) -> Result<Archive, OpenError> {
        let rows = RowStore::open_to_read(dir)?; // before the journal, so that they are not ahead of it
        let store = Store::open_to_read(dir)?;
        let mut archive = Archive {
            dir: dir.to_owned(),
            store,
            rows,
            snapshot_to: Position(1),
            named_to: Position(1),
            players: HashMap::new(),
            player_ids: HashMap::new(),
            species: Vec::new(),
            opened: None,
            ever_unsynced: false,
            end: Position(1),
        };
        let fail = |error: ReadError| OpenError(format!("data directory {}: {error}", dir.display()));
        archive.read_rows().map_err(fail)?;
        archive.read_names().map_err(fail)?;
        archive.store.check_beginning().map_err(fail)?;
        archive.store.check_acknowledged(archive.end).map_err(fail)?;
        Ok(archive)
    }

    /// Sees what was written since.
    ///
    /// # Errors
    /// A damaged or unreadable journal.
    pub fn refresh(&mut self) -> Result<(), ReadError> {
        self.store.catch_up()?;
        self.read_names()
    }

    /// The resources of the bus as of the end of the journal.
    ///
    /// # Errors
    /// When the depot cannot be opened, or something is damaged.
    pub fn resources(&self) -> Result<Registry, OpenError> {
        let fail = |error: ReadError| OpenError(format!("data directory {}: {error}", self.dir.display()));
        let first = self.first_position();
        let known = match Depot::open_to_read(&self.dir)? {
            Some(depot) => Known::read(&depot, first, self.end).map_err(fail)?,
            None => Known::beginning(first),
        };
        known.followed_to_the_end(&self.store).map_err(fail)
    }

    fn read_rows(&mut self) -> Result<(), ReadError> {
        let Some(rows) = &self.rows else { return Ok(()) };
        let (players, player_ids) = (&mut self.players, &mut self.player_ids);
        rows.players(&mut |id, row| {
            player_ids.insert(row.name.clone(), id);
            players.insert(id, row.name);
        })?;
        if let Some(head) = rows.head()? {
            self.opened = head.opened.map(Opened::from);
            self.ever_unsynced = head.ever_unsynced;
            self.species = head.species;
            self.named_to = Position(head.position);
            self.end = self.named_to;
            self.snapshot_to = self.named_to;
        }
        Ok(())
    }

    /// Names are in the snapshot or in the tail behind it.
    fn read_names(&mut self) -> Result<(), ReadError> {
        let (players, player_ids, species) = (&mut self.players, &mut self.player_ids, &mut self.species);
        let (opened, ever_unsynced, from) = (&mut self.opened, &mut self.ever_unsynced, self.named_to);
        let mut end = self.end;
        self.store.blocks(from, &mut |stored| {
            let block = stored.read()?;
            block.for_each(|_, _, event| match event {
                Record::PlayerNamed(named) => {
                    player_ids.insert(named.name.clone(), PlayerId(named.player));
                    players.insert(PlayerId(named.player), named.name);
                }
                Record::SpeciesNamed(named) => crate::snapshot::name_species(species, named.species, named.name),
                Record::Opened(event) => {
                    *opened = Some(event.into());
                    *ever_unsynced |= !event.durable;
                }
                Record::Attempt(_)
                | Record::Appeared(_)
                | Record::Vanished(_)
                | Record::Put(_)
                | Record::Changed(_) => {}
            });
            end = Position(stored.first.0 + u64::from(block.head().count));
            Ok(ControlFlow::Continue(()))
        })?;
        self.end = end.max(self.end);
        self.named_to = self.end;
        Ok(())
    }

    /// The oldest event that is kept.
    pub fn first_position(&self) -> Position {
        self.store.first_position().ok().flatten().unwrap_or(self.end)
    }

    /// One past the newest event.
    pub fn end_position(&self) -> Position {
        self.end
    }

    /// What it holds.
    ///
    /// # Errors
    /// A damaged or unreadable journal.
    pub fn info(&self) -> Result<Info, ReadError> {
        Ok(Info {
            format: FORMAT,
            first_position: self.first_position(),
            end_position: self.end,
            snapshot_position: self.snapshot_to,
            opened: self.opened,
            ever_unsynced: self.ever_unsynced,
            species: self.species.clone(),
            players: self.players.len() as u64,
            journal_bytes: self.store.block_bytes(),
        })
    }

    /// Visits events in order from `from` until the visitor breaks.
    ///
    /// # Errors
    /// A damaged or unreadable journal.
    pub fn for_each(
        &self,
        from: Position,
        visit: &mut dyn FnMut(&Recorded) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut next = None;
        self.store.blocks(from, &mut |stored| {
            if let Some(next) = next.filter(|next| *next != stored.first) {
                return Err(ReadError::corrupt(next, format!("the next block is at {}", stored.first)));
            }
            let block = stored.read()?;
            next = Some(Position(stored.first.0 + u64::from(block.head().count)));
            let committed_at = Timestamp(block.head().committed_ns);
            let mut flow = ControlFlow::Continue(());
            block.for_each(|position, shard, event| {
                if flow.is_continue() && position >= from.0 {
                    let event = record::event(event);
                    let (position, shard) = (Position(position), ShardId(shard));
                    flow = visit(&Recorded { position, shard, committed_at, event });
                }
            });
            Ok(flow)
        })
    }

    /// A player's name.
    pub fn player_name(&self, player: PlayerId) -> Option<&str> {
        self.players.get(&player).map(String::as_str)
    }

    /// A player's number.
    pub fn player_id(&self, name: &str) -> Option<PlayerId> {
        self.player_ids.get(name).copied()
    }

    /// A species' name.
    pub fn species_name(&self, species: SpeciesId) -> Option<&str> {
        self.species.get(usize::from(species.0)).map(String::as_str)
    }
}
