//! Makes what the bus keeps fit a journal of which a part is lost: nothing of it stands after the end of the journal,
//! and nothing waits for an event that is not in it. Messages, lines, secrets and notes stay, and so do the
//! resources, as the bus last knew them. New events get the positions of the lost ones again.

use crate::router::router_state;
use crate::{Known, lane, replay};
use fakemon_fbs::journal::Changed;
use fakemon_journal::{Batch, BusStore, ReadError};
use fakemon_model::ids::{Position, Timestamp};

/// What was taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CutBack {
    /// Where the router stood, if that was after the end.
    pub router_stood_at: Option<Position>,
    /// Targets whose cursor stood after it.
    pub cursors: u64,
    /// Events that waited for a target and are no longer in the journal.
    pub waiting: u64,
    /// Replays that had read beyond it.
    pub replays: u64,
    /// Schedules that had fired after its last event: they fire again.
    pub schedules: u64,
}

impl CutBack {
    /// What it says to the owner of the directory; one sentence each.
    pub fn sentences(&self, end: Position) -> Vec<String> {
        let CutBack { router_stood_at, cursors, waiting, replays, schedules } = *self;
        let stood = router_stood_at.map(|stood| {
            format!("taken back: rules had looked at all events before position {stood}, and go on at position {end}")
        });
        let counted = [
            (cursors, format!("cursors of targets to position {end}: what comes there is delivered as new")),
            (replays, format!("replays to position {end}")),
            (schedules, "schedules to the time of the last event: what was due since fires again".to_owned()),
        ];
        let taken = counted.into_iter().filter(|(count, _)| *count > 0);
        let taken = taken.map(|(count, what)| format!("taken back: {count} {what}"));
        let lost = (waiting > 0).then(|| format!("lost: {waiting} events that waited for a target"));
        stood.into_iter().chain(taken).chain(lost).collect()
    }
}

/// One past the last event that the router has read, or a target was given: the journal holds all of them.
///
/// # Errors
/// When the bus cannot be read.
pub fn reach(depot: &BusStore) -> Result<Position, ReadError> {
    let mut reach = Known::read(depot, Position(1), Position(u64::MAX))?.next;
    for (_, lane) in lane::read_all(depot)? {
        reach = reach.max(lane.cursor.map_or(reach, |cursor| Position(cursor.position().0 + 1)));
    }
    Ok(reach)
}

/// Adds to a batch what makes the bus fit a journal that has the events from `first` to before `end` only; the last
/// of them happened at `last_at`, if that is known, by the wall clock.
///
/// # Errors
/// When the bus cannot be read.
pub fn cut_back(
    depot: &BusStore,
    (first, end): (Position, Position),
    last_at: Option<Timestamp>,
    batch: &mut Batch,
) -> Result<CutBack, ReadError> {
    let lane::LanesCutBack { cursors, waiting } = lane::cut_back(depot, (first, end), batch)?;
    let (router_stood_at, schedules) = router_state::cut_back(depot, end, last_at, batch)?;
    let replays = replay::cut_back(depot, end, batch)?;
    Ok(CutBack { router_stood_at, cursors, waiting, replays, schedules })
}

/// Adds to a batch that the resources of the bus are those of the journal where the router stands: a table of the bus
/// that is lost may have held some of them, and one that is left may hold some that were deleted. `changes` are all
/// before that position, from the first event on.
///
/// # Errors
/// When the bus cannot be read, or a change cannot.
pub fn restate_resources(
    depot: &BusStore,
    changes: impl IntoIterator<Item = Changed>,
    batch: &mut Batch,
) -> Result<(), ReadError> {
    router_state::restate(depot, changes, batch)
}
