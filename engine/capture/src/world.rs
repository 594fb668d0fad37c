//! The world as players see it: wild fakémon by area, and what changes. A view that follows the journal, so that it
//! shows what is durable and nothing else, and reading it never touches a shard.

pub mod expiry; // fakémon whose time is over

use crate::population::arena::Arena;
use crate::population::{self, Fakemon, Fate};
use crossbeam::queue::ArrayQueue;
use fakemon_model::event::Sighting;
use fakemon_model::ids::{FakemonId, Position, SpeciesId, Timestamp, mix};
use fakemon_model::limits::{LOOK_FAKEMON_MAX, LOOK_RADIUS_M_MAX, SUBSCRIPTION_BATCHES};
use fakemon_model::place::Place;
use fakemon_sync::clock::Clock;
use h3o::{CellIndex, LatLng, Resolution};
use hashbrown::hash_table::Entry;
use hashbrown::{HashMap, HashTable};
use parking_lot::{Mutex, RwLock};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Cells of about 0.7 km²: a look touches a handful.
const RESOLUTION: Resolution = Resolution::Eight;
/// The least distance between the centres of neighbouring cells, in metres, anywhere on earth.
const CELL_STEP_M: f64 = 600.0;

/// The H3 cell of a place, resolution 8.
pub fn cell_of(place: Place) -> u64 {
    let place = LatLng::new(place.lat(), place.lon()).expect("a place has finite coordinates");
    place.to_cell(RESOLUTION).into()
}

/// The cells that cover a circle of up to [`LOOK_RADIUS_M_MAX`] metres.
pub fn cells_around(place: Place, radius_m: f64) -> Vec<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a few")]
    let rings = (radius_m.clamp(0.0, LOOK_RADIUS_M_MAX) / CELL_STEP_M).ceil() as u32 + 1;
    let centre = CellIndex::try_from(cell_of(place)).expect("cell_of gives cells");
    centre.grid_disk::<Vec<_>>(rings).into_iter().map(u64::from).collect()
}

/// A change of the wild world.
#[derive(Clone, Debug)]
pub enum Change {
    /// A fakémon appeared.
    Appeared(Sighting),
    /// One is gone: captured, or its time was over.
    Vanished {
        /// The fakémon.
        fakemon_id: FakemonId,
        /// Where it was.
        place: Place,
    },
}

/// A wild fakémon in 34 bytes.
#[derive(Clone, Copy)]
#[repr(Rust, packed(2))]
struct Wild {
    id: u64,
    vanishes_at: u64,
    lat_e7: i32,
    lon_e7: i32,
    species: u16,
    /// The next in the same cell, or the next free slot.
    next: u32,
    /// The one before in the same cell.
    before: u32,
}

const NONE: u32 = u32::MAX;
const _: () = assert!(size_of::<Wild>() == 34, "a sighting must stay small");

#[derive(Default)]
struct Sightings {
    arena: Arena<Wild>,
    index: HashTable<u32>,
    cells: HashMap<u64, u32>,
    free: Option<u32>,
}

impl Wild {
    fn place(&self) -> Place {
        Place { lat_e7: self.lat_e7, lon_e7: self.lon_e7 }
    }
}

impl Sightings {
    fn insert(&mut self, fakemon: &Fakemon) -> bool {
        let arena = &mut self.arena;
        let id = fakemon.id.0;
        let slot = self.free.unwrap_or_else(|| arena.next_slot());
        let entry = self.index.entry(mix(id), |slot| arena[*slot].id == id, |slot| mix(arena[*slot].id));
        let Entry::Vacant(vacant) = entry else { return false };
        vacant.insert(slot);
        let head = self.cells.entry(cell_of(fakemon.place)).or_insert(NONE);
        if *head != NONE {
            arena[*head].before = slot;
        }
        let wild = Wild {
            id,
            vanishes_at: fakemon.vanishes_at.0,
            lat_e7: fakemon.place.lat_e7,
            lon_e7: fakemon.place.lon_e7,
            species: fakemon.species.0,
            next: std::mem::replace(head, slot),
            before: NONE,
        };
        match self.free {
            Some(free) => {
                let next_free = arena[free].next;
                self.free = (next_free != NONE).then_some(next_free);
                arena[free] = wild;
            }
            None => arena.push(wild),
        }
        true
    }

    fn remove(&mut self, id: FakemonId) -> Option<Place> {
        let arena = &mut self.arena;
        let found = self.index.find_entry(mix(id.0), |slot| arena[*slot].id == id.0).ok()?;
        let (slot, _) = found.remove();
        let Wild { next, before, .. } = arena[slot];
        let place = arena[slot].place();
        if next != NONE {
            arena[next].before = before;
        }
        match (before, next) {
            (NONE, NONE) => drop(self.cells.remove(&cell_of(place))),
            (NONE, _) => drop(self.cells.insert(cell_of(place), next)),
            (before, _) => arena[before].next = next,
        }
        // An id of zero marks a free slot: no fakémon has it.
        arena[slot].id = 0;
        arena[slot].next = self.free.unwrap_or(NONE);
        self.free = Some(slot);
        Some(place)
    }

    fn in_cell(&self, cell: u64) -> impl Iterator<Item = &Wild> {
        let mut slot = self.cells.get(&cell).copied().unwrap_or(NONE);
        std::iter::from_fn(move || {
            let wild = (slot != NONE).then(|| &self.arena[slot])?;
            slot = wild.next;
            Some(wild)
        })
    }
}

/// The view. Many read, one follower writes. What it holds is by the engine's time, what it shows by the wall clock.
pub struct World {
    clock: Clock,
    sightings: RwLock<Sightings>,
    species: RwLock<Vec<Arc<str>>>,
    position: AtomicU64,
    subscribers: Mutex<Vec<Weak<Feed>>>,
}

struct Feed {
    batches: ArrayQueue<Arc<[Change]>>,
    lost: AtomicBool,
}

/// Changes of the world for one reader. Bounded: a reader that falls behind is informed, and has to look again.
pub struct Subscription(Arc<Feed>);

impl Subscription {
    /// Appends what has changed since the last call. False: some changes were lost, so look again.
    pub fn drain(&mut self, changes: &mut Vec<Arc<[Change]>>) -> bool {
        let lost = self.0.lost.swap(false, Ordering::AcqRel);
        changes.extend(std::iter::from_fn(|| self.0.batches.pop()));
        !lost
    }
}

impl World {
    pub fn new(position: Position, species: Vec<Arc<str>>, clock: Clock) -> World {
        World {
            clock,
            sightings: RwLock::default(),
            species: RwLock::new(species),
            position: AtomicU64::new(position.0),
            subscribers: Mutex::default(),
        }
    }

    /// Adds wild fakémon, before anyone looks.
    pub fn populate<'a>(&self, fakemon: impl Iterator<Item = &'a Fakemon>) {
        let mut sightings = self.sightings.write();
        for wild in fakemon.filter(|fakemon| fakemon.fate() == Fate::Wild) {
            sightings.insert(wild);
        }
    }

    /// Takes in changes of the journal up to `position`.
    pub fn follow(&self, changes: &[population::Change], position: Position) {
        if !changes.is_empty() {
            let mut sightings = self.sightings.write();
            let seen = changes.iter().filter_map(|change| match *change {
                population::Change::Appeared(fakemon) => {
                    sightings.insert(&fakemon).then(|| Change::Appeared(self.sighting_of(&fakemon)))
                }
                population::Change::Captured(fakemon_id, _) | population::Change::Vanished(fakemon_id) => {
                    sightings.remove(fakemon_id).map(|place| Change::Vanished { fakemon_id, place })
                }
            });
            let seen: Arc<[Change]> = seen.collect();
            drop(sightings);
            self.publish(&seen);
        }
        self.position.store(position.0, Ordering::Release);
    }

    fn publish(&self, changes: &Arc<[Change]>) {
        let mut subscribers = self.subscribers.lock();
        subscribers.retain(|feed| {
            let Some(feed) = feed.upgrade() else { return false };
            if feed.batches.push(changes.clone()).is_err() {
                feed.lost.store(true, Ordering::Release);
            }
            true
        });
    }

    pub fn subscribe(&self) -> Subscription {
        let feed = Arc::new(Feed { batches: ArrayQueue::new(SUBSCRIPTION_BATCHES), lost: AtomicBool::new(false) });
        let mut subscribers = self.subscribers.lock();
        subscribers.push(Arc::downgrade(&feed));
        Subscription(feed)
    }

    /// All events before it are shown.
    pub fn position(&self) -> Position {
        Position(self.position.load(Ordering::Acquire))
    }

    /// Wild fakémon around a place whose time is not over at `now`, by the engine's time; the nearest first.
    pub fn look(&self, centre: Place, radius_m: f64, now: Timestamp) -> Vec<Sighting> {
        let radius_m = radius_m.clamp(0.0, LOOK_RADIUS_M_MAX);
        let cells = cells_around(centre, radius_m);
        let sightings = self.sightings.read();
        let in_sight =
            cells.into_iter().flat_map(|cell| sightings.in_cell(cell)).filter(|wild| wild.vanishes_at > now.0);
        let mut found: Vec<(f64, Wild)> = in_sight
            .map(|wild| (centre.distance_m_squared(wild.place()), *wild))
            .filter(|(distance, _)| *distance <= radius_m * radius_m)
            .collect();
        drop(sightings);
        if found.len() > LOOK_FAKEMON_MAX {
            found.select_nth_unstable_by(LOOK_FAKEMON_MAX, |a, b| a.0.total_cmp(&b.0));
            found.truncate(LOOK_FAKEMON_MAX);
        }
        found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        found.into_iter().map(|(_, wild)| self.sighting(&wild)).collect()
    }

    /// Appends the fakémon that have expired at `now`, among at most `slots` slots of the view from `from` on;
    /// returns the slot to continue from, 0 at the end.
    pub fn overdue(&self, from: u32, slots: u32, now: Timestamp, overdue: &mut Vec<FakemonId>) -> u32 {
        let sightings = self.sightings.read();
        let end = sightings.arena.next_slot();
        let to = from.saturating_add(slots).min(end);
        for slot in from..to {
            let wild = sightings.arena[slot];
            if wild.id != 0 && wild.vanishes_at <= now.0 {
                overdue.push(FakemonId(wild.id));
            }
        }
        if to >= end { 0 } else { to }
    }

    /// How many slots there are to look at.
    pub fn slots(&self) -> u32 {
        self.sightings.read().arena.next_slot()
    }

    /// How many are wild.
    pub fn wild(&self) -> usize {
        self.sightings.read().index.len()
    }

    /// A species' name by its number.
    pub fn species_name(&self, species: SpeciesId) -> Arc<str> {
        let names = self.species.read();
        names.get(usize::from(species.0)).cloned().unwrap_or_else(|| "unknown".into())
    }

    fn sighting(&self, wild: &Wild) -> Sighting {
        Sighting {
            fakemon_id: FakemonId(wild.id),
            species: self.species_name(SpeciesId(wild.species)),
            place: wild.place(),
            vanishes_at: self.clock.ahead().to_wall(Timestamp(wild.vanishes_at)),
        }
    }

    fn sighting_of(&self, fakemon: &Fakemon) -> Sighting {
        Sighting {
            fakemon_id: fakemon.id,
            species: self.species_name(fakemon.species),
            place: fakemon.place,
            vanishes_at: self.clock.ahead().to_wall(fakemon.vanishes_at),
        }
    }
}
