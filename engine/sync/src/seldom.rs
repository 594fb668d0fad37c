//! Log lines that input can cause again and again: the first of a kind is written, then at most one in a minute, and
//! how many were left out. So no sender fills a disk with log lines, and none hides what others cause.

use parking_lot::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The least time between two lines of a kind.
const AGAIN: Duration = Duration::from_secs(60);

/// Kinds of which lines were left out; each is there once, so there are as many as kinds in the code at most.
static QUIET: Mutex<Vec<&'static Seldom>> = Mutex::new(Vec::new());

/// A kind of log line; one `static` for each.
pub struct Seldom {
    /// What the lines say, for the line that counts those left out.
    what: &'static str,
    state: Mutex<State>,
}

struct State {
    written: Option<Instant>,
    left_out: u64,
    is_listed: bool,
}

impl State {
    /// Whether a line may be written now; if not, it is counted.
    fn admits(&mut self, now: Instant) -> bool {
        let is_due = self.written.is_none_or(|written| now.duration_since(written) >= AGAIN);
        match is_due {
            true => self.written = Some(now),
            false => self.left_out += 1,
        }
        is_due
    }

    /// How many lines were left out, if it is time to say so.
    fn due(&mut self, now: Instant) -> Option<u64> {
        let is_due = self.left_out > 0 && self.written.is_none_or(|written| now.duration_since(written) >= AGAIN);
        is_due.then(|| {
            self.written = Some(now);
            std::mem::take(&mut self.left_out)
        })
    }
}

impl Seldom {
    /// A kind of which nothing was written yet.
    pub const fn new(what: &'static str) -> Seldom {
        Seldom { what, state: Mutex::new(State { written: None, left_out: 0, is_listed: false }) }
    }

    fn held(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Writes a line, or counts it.
    pub fn say(&'static self, write: impl FnOnce()) {
        let (now, mut state) = (Instant::now(), self.held());
        self.tell(state.due(now));
        if state.admits(now) {
            drop(state);
            return write();
        }
        if !std::mem::replace(&mut state.is_listed, true) {
            drop(state); // the list is locked first wherever both are
            QUIET.lock().push(self);
        }
    }

    fn tell(&self, left_out: Option<u64>) {
        if let Some(left_out) = left_out {
            tracing::warn!(left_out, "of the lines that say `{}`, in a minute", self.what);
        }
    }
}

/// Writes how many lines of each kind were left out, of those whose minute is over. Called now and then.
pub fn tell_left_out() {
    let now = Instant::now();
    for kind in QUIET.lock().iter() {
        kind.tell(kind.held().due(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_written_and_the_rest_of_a_minute_is_counted() {
        let (mut state, start) = (State { written: None, left_out: 0, is_listed: false }, Instant::now());
        let at = |s| start + Duration::from_secs(s);
        assert!(state.admits(at(0)));
        assert!(!state.admits(at(0)) && !state.admits(at(59)));
        assert_eq!((state.due(at(59)), state.due(at(60)), state.due(at(61))), (None, Some(2), None));
        assert!(!state.admits(at(61)), "the count was the line of this minute");
        assert_eq!(state.due(at(120)), Some(1));
        assert!(state.admits(at(200)));
    }
}
