//! The engine's clock: the wall clock at the start, moved on by the monotonic clock, and never before the newest time
//! in the journal. It jumps with nobody and never goes back, not across restarts either.

use crate::ids::Timestamp;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_at: Timestamp,
}

impl Clock {
    /// A clock that starts now, but not before `newest`.
    pub(crate) fn starting_after(newest: Timestamp) -> Clock {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let wall = Timestamp(u64::try_from(wall).unwrap_or(u64::MAX));
        Clock { started: Instant::now(), started_at: wall.max(newest.plus_ns(1)) }
    }

    #[inline]
    pub(crate) fn now(&self) -> Timestamp {
        let elapsed = self.started.elapsed();
        self.started_at.plus_ns(elapsed.as_secs() * 1_000_000_000 + u64::from(elapsed.subsec_nanos()))
    }
}
