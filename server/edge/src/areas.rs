//! The areas that players watch. Changes of the world are read once per tick and encoded once per subprotocol;
//! watchers get the encoded bytes, `TOLD_PER_TURN` watchers per turn, so that a crowd does not delay attempts. The
//! next tick begins when the last watcher of this one has been served: the more watchers, the more changes go into
//! one write.

use super::connection::{Connection, FrameWriter};
use crate::slots::{SeatId, Slots};
use fakemon_capture::world::Change;
use fakemon_capture::world::{cell_of, cells_around};
use fakemon_engine::{Engine, Subscription};
use fakemon_model::event::Sighting;
use fakemon_model::ids::FakemonId;
use fakemon_model::limits::LOOK_RADIUS_M_MAX;
use fakemon_model::place::Place;
use fakemon_protocol::{Reply, Subprotocol};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

/// Pairs of watcher and cell that get changes in one turn.
const TOLD_PER_TURN: usize = 256;
/// Watchers that get their whole area again in one turn, after changes were lost: fewer, because a look costs far
/// more.
const LOOKS_PER_TURN: usize = 16;

/// The circle that a player watches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Area {
    centre: Place,
    radius_m: f64,
}

impl Area {
    /// Clamps the radius, in metres, to `LOOK_RADIUS_M_MAX`.
    pub(crate) fn new(centre: Place, radius_m: f64) -> Area {
        let radius_m = radius_m.min(LOOK_RADIUS_M_MAX);
        Area { centre, radius_m }
    }

    /// The wild fakémon in the area now.
    pub(crate) fn look(&self, engine: &Engine) -> Vec<Sighting> {
        engine.look(self.centre, self.radius_m)
    }

    /// Whether its centre lies within `radius_m` metres of a place.
    pub(crate) fn is_around(&self, place: Place, radius_m: f64) -> bool {
        self.centre.distance_m_squared(place) <= radius_m * radius_m
    }

    fn holds(&self, place: Place) -> bool {
        self.centre.distance_m_squared(place) <= self.radius_m * self.radius_m
    }

    fn cells(&self) -> Vec<u64> {
        cells_around(self.centre, self.radius_m)
    }
}

/// All areas of one thread's players.
pub(crate) struct Areas {
    subscription: Subscription,
    watchers: HashMap<u64, HashSet<SeatId>>,
    watching: u64,
    changes: Changes,
    /// Fakémon that answers to looks have shown: since the last tick, in the tick before, and in the one before that.
    seen: [HashMap<SeatId, Vec<FakemonId>>; 3],
    /// Watchers still to get the changes of a cell; a stack, the next one is last.
    untold: Vec<(SeatId, u64)>,
    /// Watchers to get their whole area again, because changes were lost; a stack, the next one is last.
    unsure: Vec<SeatId>,
}

/// The changes of this tick, by cell, with their encoded bytes.
#[derive(Default)]
struct Changes {
    by_cell: HashMap<u64, Vec<Told>>,
    bytes: Vec<u8>,
}

/// One change, with the ranges of its frames in `bytes`.
struct Told {
    place: Place,
    /// None if the fakémon is gone.
    appeared: Option<FakemonId>,
    json: Range<usize>,
    flat: Range<usize>,
}

impl Areas {
    pub(crate) fn new(subscription: Subscription) -> Areas {
        Areas {
            subscription,
            watchers: HashMap::new(),
            watching: 0,
            changes: Changes::default(),
            seen: Default::default(),
            untold: Vec::new(),
            unsure: Vec::new(),
        }
    }

    /// Players who watch an area.
    pub(crate) fn watching(&self) -> u64 {
        self.watching
    }

    /// Sends the changes in `area` to `seat` from now on. The view of the world is ahead of the changes that are
    /// sent, so a look after this call misses nothing.
    pub(crate) fn watch(&mut self, seat: SeatId, area: &Area) {
        self.watching += 1;
        for cell in area.cells() {
            self.watchers.entry(cell).or_default().insert(seat);
        }
    }

    /// Notes what a look has shown, so that changes that arrive in the next ticks do not send it as new.
    pub(crate) fn note_seen(&mut self, seat: SeatId, fakemon: &[Sighting]) {
        let ids = fakemon.iter().map(|sighting| sighting.fakemon_id);
        self.seen[0].insert(seat, ids.collect());
    }

    /// Ends `watch` for the same area.
    pub(crate) fn unwatch(&mut self, seat: SeatId, area: &Area) {
        self.watching -= 1;
        for cell in area.cells() {
            if let Some(watchers) = self.watchers.get_mut(&cell) {
                watchers.remove(&seat);
                if watchers.is_empty() {
                    self.watchers.remove(&cell);
                }
            }
        }
    }

    /// Whether changes or areas are still to be sent.
    pub(crate) fn is_busy(&self) -> bool {
        !self.untold.is_empty() || !self.unsure.is_empty()
    }

    /// Reads the changes of the world, unless those of the tick before are still being sent.
    pub(crate) fn tick(&mut self, voice: &mut FrameWriter) {
        if self.is_busy() {
            return;
        }
        let mut batches = Vec::new();
        let is_complete = self.subscription.drain(&mut batches);
        self.changes.by_cell.clear();
        self.changes.bytes.clear();
        self.seen.rotate_right(1);
        self.seen[0].clear();
        if is_complete {
            self.take_in(&batches, voice);
        } else {
            let all: HashSet<SeatId> = self.watchers.values().flatten().copied().collect();
            self.unsure = all.into_iter().collect();
        }
    }

    fn take_in(&mut self, batches: &[Arc<[Change]>], voice: &mut FrameWriter) {
        let changes = || batches.iter().flat_map(|batch| batch.iter());
        let gone: HashSet<FakemonId> = changes()
            .filter_map(|change| match change {
                Change::Vanished { fakemon_id, .. } => Some(*fakemon_id),
                Change::Appeared(_) => None,
            })
            .collect();
        for change in changes() {
            let (place, reply) = match change {
                // Send only that it is gone: a look may have shown it in between.
                Change::Appeared(sighting) if gone.contains(&sighting.fakemon_id) => continue,
                Change::Appeared(sighting) => (sighting.place, Reply::Appeared(sighting)),
                Change::Vanished { fakemon_id, place } => (*place, Reply::Vanished(*fakemon_id)),
            };
            let cell = cell_of(place);
            if self.watchers.contains_key(&cell) {
                self.changes.add(cell, place, &reply, voice);
            }
        }
        for cell in self.changes.by_cell.keys() {
            let watchers = self.watchers.get(cell).into_iter().flatten();
            self.untold.extend(watchers.map(|watcher| (*watcher, *cell)));
        }
        self.untold.sort_unstable(); // the changes for one watcher go into one write
    }

    /// Sends changes to the next watchers; calls `spoke` for each connection with output to write.
    pub(crate) fn tell(
        &mut self,
        seats: &mut Slots<Connection>,
        voice: &mut FrameWriter,
        engine: &Engine,
        mut spoke: impl FnMut(SeatId, &mut Connection),
    ) {
        for _ in 0..TOLD_PER_TURN {
            let Some((seat, cell)) = self.untold.pop() else { break };
            if let Some(connection) = seats.get_mut(seat)
                && self.changes.tell(cell, connection, voice, |fakemon_id| {
                    let seen = self.seen.iter().filter_map(|seen| seen.get(&seat));
                    seen.flatten().any(|seen| *seen == fakemon_id)
                })
            {
                spoke(seat, connection);
            }
        }
        for _ in 0..LOOKS_PER_TURN {
            let Some(seat) = self.unsure.pop() else { break };
            if let Some(connection) = seats.get_mut(seat)
                && let Some(area) = connection.area().copied()
            {
                let fakemon = area.look(engine);
                voice.say(connection, &Reply::World(&fakemon));
                spoke(seat, connection);
            }
        }
    }
}

impl Changes {
    fn add(&mut self, cell: u64, place: Place, reply: &Reply<'_>, voice: &mut FrameWriter) {
        let start = self.bytes.len();
        voice.write(Subprotocol::Json, reply, &mut self.bytes);
        let middle = self.bytes.len();
        voice.write(Subprotocol::FlatBuffers, reply, &mut self.bytes);
        self.by_cell.entry(cell).or_default().push(Told {
            place,
            appeared: match reply {
                Reply::Appeared(sighting) => Some(sighting.fakemon_id),
                _ => None,
            },
            json: start..middle,
            flat: middle..self.bytes.len(),
        });
    }

    /// Sends one watcher the changes of one cell that lie in their area; false if there were none.
    fn tell(
        &self,
        cell: u64,
        connection: &mut Connection,
        voice: &mut FrameWriter,
        has_seen: impl Fn(FakemonId) -> bool,
    ) -> bool {
        let Some((area, subprotocol)) = connection.area().copied().zip(connection.subprotocol()) else {
            return false;
        };
        let told = self.by_cell.get(&cell).into_iter().flatten();
        let mut count = 0;
        for told in told.filter(|told| area.holds(told.place) && !told.appeared.is_some_and(&has_seen)) {
            let frames = match subprotocol {
                Subprotocol::Json => &told.json,
                Subprotocol::FlatBuffers => &told.flat,
            };
            voice.say_encoded(connection, &self.bytes[frames.clone()]);
            count += 1;
        }
        voice.count_pushes(count);
        count > 0
    }
}
