//! Ends of a range of the journal on the command line: a position, or a moment.

use anyhow::Context;
use fakemon_engine::archive::{Archive, Recorded};
use fakemon_engine::ids::{Position, Timestamp};

/// An end of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Position(Position),
    Time(Timestamp),
}

/// Reads one.
pub(super) fn parse_bound(text: &str) -> Result<Bound, String> {
    if let Ok(position) = text.parse() {
        return Ok(Bound::Position(Position(position)));
    }
    let moment = text.parse::<jiff::Timestamp>().ok();
    let ns = moment.and_then(|moment| u64::try_from(moment.as_nanosecond()).ok());
    ns.map(|ns| Bound::Time(Timestamp(ns)))
        .context("no bound")
        .map_err(|_| format!("`{text}` is neither a position nor a time as in 2026-03-01T20:00:00Z"))
}

/// Whether an event lies behind the end of a range.
pub(super) fn is_past(recorded: &Recorded, to: Option<Bound>) -> bool {
    match to {
        None => false,
        Some(Bound::Position(last)) => recorded.position > last,
        Some(Bound::Time(last)) => recorded.committed_at > last,
    }
}

/// Where to begin.
///
/// # Errors
/// A position that the journal neither has nor writes next: a number that was meant as a time, or of another journal.
pub(super) fn start(archive: &Archive, from: Option<Bound>) -> anyhow::Result<Position> {
    let (first, end) = (archive.first_position(), archive.end_position());
    Ok(match from {
        None => first,
        Some(Bound::Position(position)) if position > end => anyhow::bail!(
            "--from {position}: the journal holds positions {first} to {end} (exclusive); a time is written as in \
             2026-03-01T20:00:00Z"
        ),
        Some(Bound::Position(position)) => position.max(first),
        Some(Bound::Time(time)) => archive.position_at(time)?,
    })
}

/// The first position that does not belong to a range any more: its end is included.
///
/// # Errors
/// A position that the journal does not have yet.
pub(super) fn end(archive: &Archive, to: Option<Bound>) -> anyhow::Result<Position> {
    let end = archive.end_position();
    match to {
        None => Ok(end),
        Some(Bound::Position(last)) if last >= end => {
            let (first, last_there) = (archive.first_position(), end.0.saturating_sub(1));
            anyhow::bail!("position {last} is not in the journal, which holds positions {first} to {last_there}")
        }
        Some(Bound::Position(last)) => Ok(Position(last.0 + 1)),
        Some(Bound::Time(last)) => Ok(archive.position_at(last.plus_ns(1))?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_a_position_or_a_time() {
        assert_eq!(parse_bound("17"), Ok(Bound::Position(Position(17))));
        assert_eq!(parse_bound("1970-01-01T00:00:00.000000002Z"), Ok(Bound::Time(Timestamp(2))));
        for wrong in ["", "-1", "yesterday", "1969-01-01T00:00:00Z", "18446744073709551616"] {
            assert!(parse_bound(wrong).unwrap_err().contains("neither a position nor a time"), "{wrong}");
        }
    }
}
