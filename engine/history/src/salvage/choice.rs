//! Which part of a damaged directory is kept: the one from which a server knows most of what was acknowledged.

use super::Kept;
use crate::verify::{Cause, Examination, Segment};
use fakemon_capture::options::OpenError;
use fakemon_journal::{BlockOrGap, RowStore, Store};
use fakemon_model::ids::Position;
use std::ops::ControlFlow;

/// Neighbouring blocks whose hash chain holds; empty where the snapshot, or the bus, is all that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: Position,
    pub(super) end: Position,
}

impl Run {
    fn empty_at(position: Position) -> Run {
        Run { first: position, end: position }
    }
}

/// Adjacent segments are one run: between them only outcomes or the state are wrong, and those can be mended.
pub(super) fn runs(examination: &Examination) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for Segment { first, end, .. } in examination.segments.iter().copied() {
        match runs.last_mut().filter(|run| run.end == first) {
            Some(run) => run.end = end,
            None => runs.push(Run { first, end }),
        }
    }
    runs
}

/// Chooses; `bus_next` is how far the bus has read, if there is one.
pub(super) fn choose(
    examination: &Examination,
    runs: &[Run],
    rows: Option<&RowStore>,
    store: &Store,
    bus_next: Option<Position>,
) -> Result<(Kept, Run), OpenError> {
    let snapshot = rows.and_then(|rows| rows.head().ok().flatten()).map(|head| Position(head.position));
    let Some(last) = runs.last().copied() else {
        // Positions go on after those that were given, so that no id is given twice.
        return match (snapshot, bus_next) {
            (Some(at), _) => Ok((Kept::Snapshot, Run::empty_at(at))),
            (None, Some(next)) => Ok((Kept::Bus, Run::empty_at(next.max(store.told()).max(Position(1))))),
            (None, None) => Err(OpenError::Damaged {
                position: None,
                message: "nothing can be read, neither of the journal nor of the snapshot nor of the bus: restore a \
                          copy"
                    .into(),
            }),
        };
    };
    let findings = examination.findings.iter().filter(|finding| finding.cause != Cause::Note);
    let is_whole = |causes: &[Cause]| findings.clone().all(|finding| causes.contains(&finding.cause));
    // Without the beginning only a snapshot says what came before.
    let is_complete = last.first == Position(1) || rows.is_some_and(|rows| stands_in(rows, last, store));
    match runs.len() {
        _ if !is_complete => {}
        _ if findings.clone().next().is_none() => return Ok((Kept::Everything, last)),
        1 if is_whole(&[Cause::Collections]) => return Ok((Kept::Everything, last)),
        1 if is_whole(&[Cause::Collections, Cause::Diverged, Cause::State]) => return Ok((Kept::Mended, last)),
        _ => {}
    }
    let with_snapshot = runs.iter().rev().find(|run| rows.is_some_and(|rows| stands_in(rows, **run, store)));
    let beginning = runs.iter().find(|run| run.first == Position(1));
    // What lies between runs is nowhere but in the snapshot; one that a run contradicts is of another journal.
    let is_alone = |at: &Position| !runs.iter().any(|run| (run.first..run.end).contains(at));
    let alone = snapshot.filter(is_alone).map(Run::empty_at);
    let servable = [(Kept::Snapshot, alone.as_ref()), (Kept::End, with_snapshot), (Kept::Beginning, beginning)];
    let servable = servable.into_iter().filter_map(|(kept, run)| Some((kept, *run?)));
    match servable.max_by_key(|(_, run)| run.end) {
        Some((_, run)) if Some(&run) == beginning => Ok((Kept::Beginning, run)),
        Some(chosen) => Ok(chosen),
        None => {
            let longest = runs.iter().max_by_key(|run| run.end.0 - run.first.0).copied();
            Ok((Kept::History, longest.unwrap_or(last)))
        }
    }
}

/// Whether the snapshot's position is in a run, or at its ends, and agrees with it there.
pub(super) fn stands_in(rows: &RowStore, run: Run, store: &Store) -> bool {
    let Ok(Some(head)) = rows.head() else { return false };
    let position = Position(head.position);
    if !(run.first..=run.end).contains(&position) {
        return false;
    }
    let mut agrees = position == Position(1);
    store.pieces(&mut |piece| {
        if let BlockOrGap::Block(stored) = piece
            && let Ok(block) = stored.read()
        {
            let end = stored.first.0 + u64::from(block.head().count);
            agrees |= end == position.0 && stored.hash == head.block_hash;
            agrees |= stored.first == position && stored.verify_after(&head.block_hash).is_ok();
            if stored.first >= position {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    });
    agrees
}

/// Whether the snapshot is older than the first change.
pub(super) fn is_before(rows: &RowStore, changed_from: Option<Position>) -> bool {
    let head = rows.head().ok().flatten();
    changed_from.is_none_or(|from| head.is_some_and(|head| Position(head.position) <= from))
}
