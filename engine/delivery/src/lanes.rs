//! All lanes, shared by the threads that fill, empty or count them.

use super::lane::subscriber::Subscriber;
use super::lane::{Course, Lane, LaneId, Pending};
use fakemon_journal::{Batch, BusStore, ReadError};
use fakemon_model::ids::{Position, Timestamp};
use fakemon_model::names::{BusName, RuleName, TargetId};
use fakemon_resource::Destination;
use fakemon_resource::inbound::ANSWERS;
use fakemon_sync::notify::Notify;
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

type Wake = Box<dyn Fn() + Send + Sync>;

/// All lanes.
pub struct Lanes {
    depot: Arc<BusStore>,
    lanes: RwLock<BTreeMap<LaneId, Arc<Lane>>>,
    /// Closed lanes that still have a delivery in flight.
    closing: Mutex<Vec<Arc<Lane>>>,
    /// Increases whenever a lane is added or removed.
    changed: AtomicU64,
    /// Wakes the thread that delivers inside this process.
    pub bell: Notify,
    outside: Mutex<Vec<Wake>>,
    /// The first position that users of the journal without a lane still need.
    held: AtomicU64,
    /// Lanes of answer webhooks that got events since the last [`take_touched`](Lanes::take_touched).
    touched: Mutex<BTreeMap<LaneId, Arc<Lane>>>,
    /// Cursors are read and written under this, so that an older one never overwrites a newer one.
    writing: Mutex<()>,
}

impl Lanes {
    pub fn new(depot: Arc<BusStore>) -> Lanes {
        Lanes {
            depot,
            lanes: RwLock::default(),
            closing: Mutex::default(),
            changed: AtomicU64::new(0),
            bell: Notify::for_thread(),
            outside: Mutex::default(),
            held: AtomicU64::new(u64::MAX),
            touched: Mutex::default(),
            writing: Mutex::default(),
        }
    }

    /// Registers `wake`, which is called from any thread when events may be ready. It must not block.
    pub fn on_work(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.outside.lock().push(Box::new(wake));
        self.ring();
    }

    pub fn ring(&self) {
        self.bell.ring();
        self.outside.lock().iter().for_each(|wake| wake());
    }

    /// Increases whenever a lane is added or removed. A caller that sees a new value also sees the change of the map.
    pub fn generation(&self) -> u64 {
        self.changed.load(Ordering::Acquire)
    }

    /// All lanes, in the order of their ids.
    pub fn all(&self) -> Vec<Arc<Lane>> {
        self.lanes.read().values().cloned().collect()
    }

    /// All lanes except those of answer webhooks, which are many and mostly idle.
    pub fn of_rules(&self) -> Vec<Arc<Lane>> {
        let (start, end) = answers();
        let lanes = self.lanes.read();
        lanes.range(..start).chain(lanes.range(end..)).map(|(_, lane)| lane.clone()).collect()
    }

    /// Lanes of answer webhooks, whether idle or not.
    pub fn of_answers(&self) -> Vec<Arc<Lane>> {
        let lanes = self.lanes.read();
        let (start, end) = answers();
        lanes.range(start..end).map(|(_, lane)| lane.clone()).collect()
    }

    /// Lanes of rules whose targets are outside this process; the HTTP client empties them.
    pub fn outside(&self) -> Vec<Arc<Lane>> {
        let outside = |lane: &Arc<Lane>| Destination::of(&lane.target().arn).is_outside();
        self.of_rules().into_iter().filter(outside).collect()
    }

    /// Records that a lane of an answer webhook got an event.
    pub fn touch(&self, lane: Arc<Lane>) {
        self.touched.lock().insert(lane.id().clone(), lane);
    }

    /// Records the lane that has this id now, if events wait on it: for a caller that had a delivery in flight and
    /// may have missed the new events.
    pub fn touch_if_waiting(&self, id: &LaneId) {
        let waiting = self.get(id).filter(|lane| lane.backlog() > 0);
        waiting.into_iter().for_each(|lane| self.touch(lane));
    }

    /// Lanes of answer webhooks that got events since the last call; the HTTP client empties them too.
    pub fn take_touched(&self) -> Vec<Arc<Lane>> {
        std::mem::take(&mut *self.touched.lock()).into_values().collect()
    }

    pub fn get(&self, id: &LaneId) -> Option<Arc<Lane>> {
        self.lanes.read().get(id).cloned()
    }

    /// The lane of an id; made if there is none.
    pub fn get_or_insert(&self, id: &LaneId, make: impl FnOnce() -> Lane) -> Arc<Lane> {
        let mut lanes = self.lanes.write();
        let held = lanes.entry(id.clone()).or_insert_with(|| {
            self.changed.fetch_add(1, Ordering::Release);
            Arc::new(make())
        });
        held.clone()
    }

    pub fn insert(&self, lane: Arc<Lane>) {
        self.lanes.write().insert(lane.id().clone(), lane);
        self.changed.fetch_add(1, Ordering::Release);
    }

    /// Removes lanes; the batch deletes their rows. Lanes with deliveries in flight are kept aside until these end.
    pub fn remove(&self, gone: impl Fn(&LaneId) -> bool, batch: &mut Batch) {
        let mut lanes = self.lanes.write();
        lanes.retain(|id, lane| {
            if gone(id) {
                lane.close();
                lane.erase(batch);
                self.closing().push(lane.clone());
            }
            !gone(id)
        });
        drop(lanes);
        self.changed.fetch_add(1, Ordering::Release);
        if !self.is_quiet() {
            self.ring();
        }
    }

    fn closing(&self) -> MutexGuard<'_, Vec<Arc<Lane>>> {
        self.closing.lock()
    }

    /// Whether no delivery of a removed lane is in flight.
    pub fn is_quiet(&self) -> bool {
        let mut closing = self.closing();
        closing.retain(|lane| lane.is_busy());
        closing.is_empty()
    }

    /// Takes events that are due, as [`Lane::take`]; loads more into memory when it has none.
    ///
    /// # Errors
    /// When the depot cannot be read.
    pub fn take(&self, lane: &Lane, max: usize, now: Timestamp) -> Result<Vec<Pending>, ReadError> {
        if lane.is_hungry()
            && let Err(error) = lane.refill(&self.depot)
        {
            // The rows of a lane that was just closed may be deleted already.
            return if lane.is_closed() { Ok(Vec::new()) } else { Err(error) };
        }
        Ok(lane.take(max, now))
    }

    /// Writes what changed on one lane.
    pub fn write_one(&self, lane: &Lane) -> Result<(), String> {
        let _one_at_a_time = self.writing();
        let mut batch = Batch::default();
        lane.write(&mut batch);
        self.depot.write(batch, true)
    }

    /// Locks the writing of lanes: hold it from reading their state until the batch is written.
    pub fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock()
    }

    /// Keeps the journal from this position on for a user without a lane; `None` keeps nothing.
    pub fn hold(&self, from: Option<Position>) {
        self.held.store(from.map_or(u64::MAX, |from| from.0), Ordering::Release);
    }

    /// The first position kept for users without a lane.
    pub fn held(&self) -> Position {
        Position(self.held.load(Ordering::Acquire))
    }

    /// The first position that still has to be delivered.
    pub fn oldest(&self) -> Option<Position> {
        self.all()
            .iter()
            .filter(|lane| matches!(lane.id().course, Course::Live | Course::Redrive))
            .filter_map(|lane| lane.oldest())
            .min()
            .map(|key| key.position())
    }
}

/// The bounds of the lanes of answer webhooks, which are next to each other: before all of them, and behind.
fn answers() -> (LaneId, LaneId) {
    let behind = Subscriber::named(BusName(""), RuleName(&format!("{ANSWERS}\0")), TargetId(""));
    (LaneId::live(Subscriber::Answers(String::new())), LaneId::live(behind))
}
