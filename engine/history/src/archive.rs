//! The journal as tools read it: opened beside a running server or without one, read in order, never changed.

mod blocks;

pub use blocks::Block;

use fakemon_capture::decision::record;
use fakemon_capture::options::{Directory, OpenError};
use fakemon_delivery::{Delivery, Known, Names, StatusReader, Text, keys_of, told};
use fakemon_fbs::journal::{BlockReader, Event as Record};
use fakemon_journal::index::{Found, Index, Subject};
use fakemon_journal::{BusStore, FORMAT, IndexStore, ReadError, RowStore, Store, StoredBlock, check_identity};
use fakemon_model::envelope::{self, EventKey, Told};
use fakemon_model::event::Event;
use fakemon_model::ids::{Ahead, AttemptId, PlayerId, Position, ShardId, SpeciesId, Timestamp};
use fakemon_resource::Registry;
use fakemon_resource::resource::Change;
use hashbrown::HashMap;
use std::cell::OnceCell;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Positions of a subject that are looked up before their events are read.
const EVENTS_AT_ONCE: usize = 65_536;
/// Up to this distance between two wanted positions it reads on instead of seeking.
const READ_ON: u64 = 4_096;

/// Visits a block: as it is stored, and read.
type VisitBlock<'v> = dyn FnMut(&StoredBlock<'_>, &BlockReader<'_>) -> Result<ControlFlow<()>, ReadError> + 'v;

/// A data directory, opened to read.
pub struct Archive {
    dir: PathBuf,
    store: Store,
    /// None in a directory whose first snapshot is not written yet.
    rows: Option<RowStore>,
    /// None in a directory without an index: then the journal itself is searched.
    index: Option<Index>,
    /// The status of deliveries, read at the first request.
    yard: OnceCell<StatusReader>,
    /// The position of the snapshot.
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
    /// When it was opened.
    pub at: Timestamp,
    /// The seed of dodge rolls.
    pub world_seed: u64,
    /// How far an attempt reaches, in millimetres.
    pub reach_mm: u32,
    /// The number of shards.
    pub cores: u16,
    /// False: answers were given before the sync.
    pub durable: bool,
}

impl Opened {
    /// From the record of a block that is so far ahead of the wall clock.
    pub(crate) fn read(record: fakemon_fbs::journal::Opened, ahead: Ahead) -> Opened {
        let fakemon_fbs::journal::Opened { at_ns, world_seed, reach_mm, cores, durable } = record;
        Opened { at: ahead.to_wall(Timestamp(at_ns)), world_seed, reach_mm, cores, durable }
    }
}

/// An event with its position.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Its place in the journal.
    pub position: Position,
    /// The shard that decided it.
    pub shard: ShardId,
    /// When its group was handed to the disk.
    pub committed_at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// Events that were written and synced together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// The position of its first event.
    pub first: Position,
    /// One past its last event.
    pub end: Position,
    /// When it was handed to the disk.
    pub committed_at: Timestamp,
    /// How long the group before it took to become durable.
    pub previous_sync_ns: u32,
}

/// What a data directory holds.
#[derive(Clone, Debug)]
pub struct Info {
    /// The format of the data directory.
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
    /// Players who have a number.
    pub players: u64,
    /// Bytes of the events on disk, about.
    pub journal_bytes: u64,
}

/// The index, unless it is damaged: everything in it is also in the journal.
fn usable(opened: Result<Option<IndexStore>, OpenError>) -> Option<Index> {
    let index = match opened {
        Ok(store) => store.map(Index::new).transpose().map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    index.unwrap_or_else(|error| {
        tracing::warn!("the index cannot be used, the journal is read instead: {error}");
        None
    })
}

impl Archive {
    /// Opens a data directory.
    ///
    /// # Errors
    /// One line with the remedy: no data directory, a newer format, damaged, or less than was acknowledged.
    pub fn open(dir: &Path) -> Result<Archive, OpenError> {
        check_identity(dir)?; // what is none of ours is not touched
        // Both before the journal, so that they are not ahead of it.
        let (rows, index) = std::thread::scope(|scope| {
            let index = std::thread::Builder::new().spawn_scoped(scope, || IndexStore::open_to_read(dir));
            let rows = RowStore::open_to_read(dir);
            match index {
                Ok(index) => (rows, index.join().expect("opening does not panic")),
                Err(_) => (rows, IndexStore::open_to_read(dir)), // without a thread; an error names the remedy
            }
        });
        let (rows, index) = (rows?, usable(index));
        let store = Store::open_to_read(dir)?;
        let fail = |error: ReadError| OpenError::reading(Directory(dir), &error, "");
        let mut archive = Archive {
            dir: dir.to_owned(),
            store,
            rows,
            index,
            yard: OnceCell::new(),
            snapshot_to: Position(1),
            named_to: Position(1),
            players: HashMap::new(),
            player_ids: HashMap::new(),
            species: Vec::new(),
            opened: None,
            ever_unsynced: false,
            end: Position(1),
        };
        archive.read_rows().map_err(fail)?;
        archive.read_names().map_err(fail)?;
        archive.store.check_beginning().map_err(fail)?;
        archive.store.check_acknowledged(archive.end).map_err(fail)?;
        Ok(archive)
    }

    /// Makes events visible that were written meanwhile: opens the journal again if there are any.
    ///
    /// # Errors
    /// A damaged or unreadable journal.
    pub fn refresh(&mut self) -> Result<(), ReadError> {
        if self.store.is_behind() {
            self.store = Store::open_to_read(&self.dir).map_err(|error| ReadError::Store(error.to_string()))?;
        }
        self.read_names()
    }

    /// The resources of the bus as of the end of the journal.
    ///
    /// # Errors
    /// When the depot cannot be opened, or something is damaged.
    pub fn resources(&self) -> Result<Registry, OpenError> {
        let fail = |error: ReadError| OpenError::reading(Directory(&self.dir), &error, "");
        let first = self.first_position();
        let known = match BusStore::open_to_read(&self.dir)? {
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
            self.opened = head.opened.map(|opened| Opened::read(opened, Ahead(0))); // it holds the wall's
            self.ever_unsynced = head.ever_unsynced;
            self.species = head.species;
            self.named_to = Position(head.position);
            self.end = self.named_to;
            self.snapshot_to = self.named_to;
        }
        Ok(())
    }

    /// Reads names from the tail of the journal after the snapshot.
    fn read_names(&mut self) -> Result<(), ReadError> {
        let (players, player_ids, species) = (&mut self.players, &mut self.player_ids, &mut self.species);
        let (opened, ever_unsynced, from) = (&mut self.opened, &mut self.ever_unsynced, self.named_to);
        let mut end = self.end;
        self.store.blocks(from, &mut |stored| {
            let block = stored.read()?;
            let ahead = record::ahead(&block.head());
            block.for_each(|_, _, event| match event {
                Record::PlayerNamed(named) => {
                    player_ids.insert(named.name.clone(), PlayerId(named.player));
                    players.insert(PlayerId(named.player), named.name);
                }
                Record::SpeciesNamed(named) => {
                    fakemon_capture::recovery::snapshot::name_species(species, named.species, named.name)
                }
                Record::Opened(event) => {
                    *ever_unsynced |= !event.durable;
                    *opened = Some(Opened::read(event, ahead));
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

    /// What the data directory holds.
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

    /// Visits blocks in order, from the one that holds `from`, until the visitor breaks; a missing block is an error.
    pub fn blocks(&self, from: Position, visit: &mut VisitBlock<'_>) -> Result<(), ReadError> {
        let mut next = None;
        self.store.blocks(from, &mut |stored| {
            if let Some(next) = next.filter(|next| *next != stored.first) {
                return Err(ReadError::corrupt(next, format!("the next block is at {}", stored.first)));
            }
            let block = stored.read()?;
            next = Some(Position(stored.first.0 + u64::from(block.head().count)));
            visit(&stored, &block)
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
        self.blocks(from, &mut |_, block| {
            let (committed_at, ahead) = (record::committed_at(&block.head()), record::ahead(&block.head()));
            let mut flow = ControlFlow::Continue(());
            block.for_each(|position, shard, event| {
                if flow.is_continue() && position >= from.0 {
                    let event = record::event(event, ahead);
                    let (position, shard) = (Position(position), ShardId(shard));
                    flow = visit(&Recorded { position, shard, committed_at, event });
                }
            });
            Ok(flow)
        })
    }

    /// The event at a position; none if there is none, or retention deleted it.
    ///
    /// # Errors
    /// A damaged or unreadable journal.
    pub fn event(&self, position: Position) -> Result<Option<Recorded>, ReadError> {
        let mut found = None;
        self.for_each(position, &mut |recorded| {
            found = (recorded.position == position).then(|| recorded.clone());
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// The group that holds a position; none if there is none.
    ///
    /// # Errors
    /// A damaged or unreadable journal.
    pub fn group(&self, position: Position) -> Result<Option<Group>, ReadError> {
        let mut found = None;
        self.store.blocks(position, &mut |stored| {
            let head = stored.read()?.head();
            found = Some(Group {
                first: stored.first,
                end: Position(stored.first.0 + u64::from(head.count)),
                committed_at: record::committed_at(&head),
                previous_sync_ns: head.previous_sync_ns,
            });
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found.filter(|group| (group.first..group.end).contains(&position)))
    }

    /// When a group was on the disk, as the next group records it. None for the newest group, and for the last one
    /// before the engine was opened again: its sync time was not recorded.
    ///
    /// # Errors
    /// A damaged or unreadable journal.
    pub fn synced_at(&self, group: &Group) -> Result<Option<Timestamp>, ReadError> {
        let next = self.group(group.end)?.filter(|next| next.previous_sync_ns > 0);
        Ok(next.map(|next| group.committed_at.plus_ns(next.previous_sync_ns.into())))
    }

    /// The opening whose settings apply at a position; none if retention deleted it.
    ///
    /// # Errors
    /// A damaged or unreadable journal or index.
    pub fn opened_before(&self, position: Position) -> Result<Option<Opened>, ReadError> {
        let mut last = None;
        self.positions(Subject::Openings, Position(1), position, &mut |at| {
            last = Some(at);
            ControlFlow::Continue(())
        })?;
        let recorded = last.map(|at| self.event(at)).transpose()?.flatten();
        Ok(match recorded.map(|recorded| recorded.event) {
            Some(Event::Opened { at, world_seed, reach_mm, cores, durable }) => {
                Some(Opened { at, world_seed, reach_mm, cores, durable })
            }
            _ => None,
        })
    }

    /// The first event that was handed to the disk at a moment of the wall clock or later; the end if none was.
    /// Behind it there may be earlier ones, if the clock was set back.
    ///
    /// # Errors
    /// A damaged or unreadable journal.
    pub fn first_since(&self, time: Timestamp) -> Result<Position, ReadError> {
        self.store.first_since(time, self.end)
    }

    /// One past the last event that was handed to the disk before a moment of the wall clock; the first position if
    /// none was. Before it there may be later ones, if the clock was set back.
    ///
    /// # Errors
    /// A damaged or unreadable journal.
    pub fn end_before(&self, time: Timestamp) -> Result<Position, ReadError> {
        self.store.end_before(time, self.end)
    }

    /// The first and the last moment of the wall clock at which events were handed to the disk; none if there are
    /// none.
    ///
    /// # Errors
    /// A damaged or unreadable journal.
    pub fn wall_extent(&self) -> Result<Option<(Timestamp, Timestamp)>, ReadError> {
        self.store.wall_extent(self.end)
    }

    /// Visits the positions of a subject between `from` and `to` (not included) in order, until the visitor breaks:
    /// from the index, and from the journal where it is not indexed.
    ///
    /// # Errors
    /// A damaged or unreadable journal or index.
    pub fn positions(
        &self,
        subject: Subject,
        from: Position,
        to: Position,
        visit: &mut dyn FnMut(Position) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let (from, to) = (from.max(self.first_position()), to.min(self.end));
        let Some(index) = &self.index else { return self.search(subject, from, to, visit).map(drop) };
        index.look_up(subject, from, to, &mut |found| match found {
            Found::At(position) => Ok(visit(position)),
            Found::Unknown(from, to) => self.search(subject, from, to, visit),
        })
    }

    /// Visits the events of a subject between `from` and `to` (not included) in order, until the visitor breaks. Each
    /// block is read once.
    ///
    /// # Errors
    /// As [`positions`](Self::positions).
    pub fn about(
        &self,
        subject: Subject,
        from: Position,
        to: Position,
        visit: &mut dyn FnMut(&Recorded) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut next = from;
        loop {
            let mut wanted = Vec::new();
            self.positions(subject, next, to, &mut |position| {
                wanted.push(position);
                if wanted.len() < EVENTS_AT_ONCE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            let Some(last) = wanted.last() else { return Ok(()) };
            next = Position(last.0 + 1);
            if self.visit_all(&wanted, visit)?.is_break() {
                return Ok(());
            }
        }
    }

    /// Visits the events at ascending positions.
    fn visit_all(
        &self,
        mut wanted: &[Position],
        visit: &mut dyn FnMut(&Recorded) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ReadError> {
        let mut flow = ControlFlow::Continue(());
        while let Some(first) = wanted.first().copied().filter(|_| flow.is_continue()) {
            self.blocks(first, &mut |_, block| {
                let head = block.head();
                let end = Position(head.first_position + u64::from(head.count));
                let (committed_at, ahead) = (record::committed_at(&head), record::ahead(&head));
                block.for_each(|position, shard, event| {
                    if flow.is_continue() && wanted.first() == Some(&Position(position)) {
                        wanted = &wanted[1..];
                        let (position, shard) = (Position(position), ShardId(shard));
                        flow = visit(&Recorded { position, shard, committed_at, event: record::event(event, ahead) });
                    }
                });
                wanted = &wanted[wanted.partition_point(|position| *position < end)..];
                let is_next = wanted.first().is_some_and(|position| position.0 < end.0 + READ_ON);
                Ok(if is_next && flow.is_continue() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })?;
            if wanted.first() == Some(&first) {
                wanted = &wanted[1..]; // retention deleted it
            }
        }
        Ok(flow)
    }

    /// As [`positions`](Self::positions), without the index.
    fn search(
        &self,
        subject: Subject,
        from: Position,
        to: Position,
        visit: &mut dyn FnMut(Position) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ReadError> {
        let mut flow = ControlFlow::Continue(());
        self.store.blocks(from, &mut |stored| {
            if stored.first >= to {
                return Ok(ControlFlow::Break(()));
            }
            stored.read()?.for_each(|position, _, event| {
                let position = Position(position);
                if (from..to).contains(&position) {
                    Subject::of(&event, &mut |found| {
                        if flow.is_continue() && found == subject {
                            flow = visit(position);
                        }
                    });
                }
            });
            Ok(flow)
        })?;
        Ok(flow)
    }

    /// Where an attempt was decided; none if there is no such attempt, or the journal no longer says.
    ///
    /// # Errors
    /// A damaged or unreadable journal or snapshot.
    pub fn decided(&self, player: PlayerId, attempt: AttemptId) -> Result<Option<Position>, ReadError> {
        if let Some(rows) = &self.rows
            && let Some(answer) = rows.answer(player, attempt)?
        {
            return Ok(Some(Position(answer.position())));
        }
        let (from, mut found, mut failed) = (self.snapshot_to, None, None);
        self.positions(Subject::Player(player), from, self.end, &mut |position| {
            match self.event(position) {
                Ok(Some(Recorded { event: Event::Attempt(decided), .. })) if decided.attempt_id == attempt => {
                    found = Some(position);
                }
                Ok(_) => return ControlFlow::Continue(()),
                Err(error) => failed = Some(error),
            }
            ControlFlow::Break(())
        })?;
        failed.map_or(Ok(found), Err)
    }

    /// The resources of the bus as they were before a position. None: the journal does not reach back far enough.
    ///
    /// # Errors
    /// A damaged or unreadable journal or index.
    pub fn resources_at(&self, position: Position) -> Result<Option<Registry>, ReadError> {
        if self.first_position() > Position(1) {
            return Ok(None);
        }
        let (mut registry, mut failed) = (Registry::new(), None);
        self.positions(Subject::Changes, Position(1), position, &mut |at| {
            let change = self.event(at).and_then(|recorded| match recorded.map(|recorded| recorded.event) {
                Some(Event::Changed { key, value, .. }) => {
                    Change::read(&key, value.as_deref()).map(Some).map_err(|error| ReadError::corrupt(at, error))
                }
                _ => Ok(None),
            });
            match change {
                Ok(change) => change.iter().for_each(|change| registry.apply(change)),
                Err(error) => failed = Some(error),
            }
            if failed.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        failed.map_or(Ok(Some(registry)), Err)
    }

    /// What the rules in force at an event made of it, and the status of its deliveries. None: the journal does not
    /// reach back far enough to know these rules.
    ///
    /// # Errors
    /// When the depot cannot be opened, or something is damaged.
    pub fn deliveries(&self, recorded: &Recorded) -> Result<Option<Vec<Delivery>>, OpenError> {
        let fail = |error: ReadError| OpenError::reading(Directory(&self.dir), &error, "");
        let Some(then) = self.resources_at(recorded.position).map_err(fail)? else { return Ok(None) };
        let bus = envelope::bus(&recorded.event);
        if then.rules_of(bus).next().is_none() {
            return Ok(Some(Vec::new()));
        }
        let yard = self.yard()?;
        let mut deliveries = Vec::new();
        for key in keys_of(recorded.position, &recorded.event) {
            let json = self.envelope(recorded, key);
            deliveries.append(&mut yard.deliveries(&then, bus, key, &json).map_err(fail)?);
        }
        Ok(Some(deliveries))
    }

    /// Lanes and queues as they were at the first request.
    fn yard(&self) -> Result<&StatusReader, OpenError> {
        if let Some(yard) = self.yard.get() {
            return Ok(yard);
        }
        let depot = BusStore::open_to_read(&self.dir)?;
        let fail = |error| OpenError::reading(Directory(&self.dir), &error, "");
        let newest = self.store.newest_head().map_err(fail)?.unwrap_or_default();
        let yard =
            StatusReader::read(depot, self.first_position(), self.end, record::ahead(&newest)).map_err(fail)?;
        Ok(self.yard.get_or_init(|| yard))
    }

    /// An event as its bus shows it; for the record of an attempt either that it was made or how it ended, depending
    /// on `key`.
    pub fn envelope(&self, recorded: &Recorded, key: EventKey) -> String {
        self.json(&told(key, recorded.shard, recorded.committed_at, &recorded.event, None))
    }

    /// A player's name.
    pub fn player_name(&self, player: PlayerId) -> Option<&str> {
        self.players.get(&player).map(String::as_str)
    }

    /// A player's number.
    pub fn player_id(&self, name: &str) -> Option<PlayerId> {
        self.player_ids.get(name).copied()
    }

    pub fn species_name(&self, species: SpeciesId) -> Option<&str> {
        self.species.get(usize::from(species.0)).map(String::as_str)
    }
}

impl Names for Archive {
    fn player(&self, player: PlayerId) -> Option<Text<'_>> {
        self.player_name(player).map(Text::Known)
    }

    fn species(&self, species: SpeciesId) -> Option<Text<'_>> {
        self.species_name(species).map(Text::Known)
    }

    fn json(&self, told: &Told<'_>) -> String {
        told.envelope(|id| self.player_name(id), |id| self.species_name(id))
    }
}
