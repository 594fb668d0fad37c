//! All lanes, for everybody who fills, empties or counts them.

use super::answers::ANSWERS;
use super::lane::{Course, Lane, LaneId, Parcel};
use fakemon_journal::{Batch, Depot, ReadError};
use fakemon_model::ids::{Position, Timestamp};
use fakemon_resource::Destination;
use fakemon_sync::bell::Bell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

type Wake = Box<dyn Fn() + Send + Sync>;

/// All lanes.
pub struct Lanes {
    depot: Arc<Depot>,
    lanes: RwLock<BTreeMap<LaneId, Arc<Lane>>>,
    /// Those that are closed, but somebody is still busy with an event of theirs.
    closing: Mutex<Vec<Arc<Lane>>>,
    /// Grows whenever lanes come or go.
    changed: AtomicU64,
    /// For the thread that delivers inside of this process.
    pub bell: Bell,
    outside: Mutex<Vec<Wake>>,
    /// What others than lanes still need: from this position on.
    held: AtomicU64,
    /// Of answer webhooks: those that got something since somebody asked.
    touched: Mutex<BTreeMap<LaneId, Arc<Lane>>>,
    /// Cursors are read and written under this, so that an older one never overwrites a newer one.
    writing: Mutex<()>,
}

impl Lanes {
    pub fn new(depot: Arc<Depot>) -> Lanes {
        Lanes {
            depot,
            lanes: RwLock::default(),
            closing: Mutex::default(),
            changed: AtomicU64::new(0),
            bell: Bell::for_thread(),
            outside: Mutex::default(),
            held: AtomicU64::new(u64::MAX),
            touched: Mutex::default(),
            writing: Mutex::default(),
        }
    }

    /// `wake` is called, from any thread, when there may be something to take. It must not block.
    pub fn on_work(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.outside.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(wake));
        self.ring();
    }

    pub fn ring(&self) {
        self.bell.ring();
        self.outside.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|wake| wake());
    }

    /// Grows whenever lanes come or go.
    pub fn generation(&self) -> u64 {
        self.changed.load(Ordering::Acquire)
    }

    /// All of them, in the order of their ids.
    pub fn all(&self) -> Vec<Arc<Lane>> {
        self.lanes.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// All but those of answer webhooks, which are many and mostly idle.
    pub fn of_rules(&self) -> Vec<Arc<Lane>> {
        let (start, end) = (bound(ANSWERS), bound(&format!("{ANSWERS}\0")));
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        lanes.range(..start).chain(lanes.range(end..)).map(|(_, lane)| lane.clone()).collect()
    }

    /// Lanes of answer webhooks, with what waits for them.
    pub fn of_answers(&self) -> Vec<Arc<Lane>> {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        lanes.range(bound(ANSWERS)..bound(&format!("{ANSWERS}\0"))).map(|(_, lane)| lane.clone()).collect()
    }

    /// Lanes of rules to outside of this process: whoever speaks HTTP empties them.
    pub fn outside(&self) -> Vec<Arc<Lane>> {
        let outside = |lane: &Arc<Lane>| Destination::of(&lane.target().arn).is_outside();
        self.of_rules().into_iter().filter(outside).collect()
    }

    /// A lane of an answer webhook got something.
    pub fn touch(&self, lane: Arc<Lane>) {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).insert(lane.id().clone(), lane);
    }

    /// The same for the lane that has an id now, if something waits on it: for whoever was busy with it and may have
    /// overheard.
    pub fn touch_if_waiting(&self, id: &LaneId) {
        let waiting = self.get(id).filter(|lane| lane.backlog() > 0);
        waiting.into_iter().for_each(|lane| self.touch(lane));
    }

    /// Lanes of answer webhooks that got something since the last call: whoever speaks HTTP empties them too.
    pub fn take_touched(&self) -> Vec<Arc<Lane>> {
        std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner)).into_values().collect()
    }

    pub fn get(&self, id: &LaneId) -> Option<Arc<Lane>> {
        self.lanes.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// The lane of an id; made if there is none.
    pub fn get_or_insert(&self, id: &LaneId, make: impl FnOnce() -> Lane) -> Arc<Lane> {
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        let held = lanes.entry(id.clone()).or_insert_with(|| {
            self.changed.fetch_add(1, Ordering::Release);
            Arc::new(make())
        });
        held.clone()
    }

    pub fn insert(&self, lane: Arc<Lane>) {
        self.lanes.write().unwrap_or_else(PoisonError::into_inner).insert(lane.id().clone(), lane);
        self.changed.fetch_add(1, Ordering::Release);
    }

    /// Lets go of lanes; their rows go with the batch. Who is busy with one of their events hears of it.
    pub fn remove(&self, gone: impl Fn(&LaneId) -> bool, batch: &mut Batch) {
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
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
        self.closing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody is busy any more with an event of a lane that is gone.
    pub fn is_quiet(&self) -> bool {
        let mut closing = self.closing();
        closing.retain(|lane| lane.is_busy());
        closing.is_empty()
    }

    /// Takes events that are due, as [`Lane::take`]; brings more into memory when there are none.
    ///
    /// # Errors
    /// When the depot cannot be read.
    pub fn take(&self, lane: &Lane, max: usize, now: Timestamp) -> Result<Vec<Parcel>, ReadError> {
        if lane.is_hungry()
            && let Err(error) = lane.refill(&self.depot)
        {
            // Rows of a lane that was just closed may be gone already.
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

    /// For writing lanes: hold it from reading their state until the batch is written.
    pub fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From this position on somebody who has no lane still needs the journal; none needs nothing.
    pub fn hold(&self, from: Option<Position>) {
        self.held.store(from.map_or(u64::MAX, |from| from.0), Ordering::Release);
    }

    /// What is held for those who have no lane.
    pub fn held(&self) -> Position {
        Position(self.held.load(Ordering::Acquire))
    }

    /// Before this position nothing is to be delivered any more.
    pub fn oldest(&self) -> Option<Position> {
        self.all()
            .iter()
            .filter(|lane| matches!(lane.id().course, Course::Live | Course::Redrive))
            .filter_map(|lane| lane.oldest())
            .min()
            .map(|key| key.position())
    }
}

/// Before all lanes of a rule without a bus.
fn bound(rule: &str) -> LaneId {
    LaneId { bus: String::new(), rule: rule.to_owned(), target: String::new(), course: Course::Live }
}
