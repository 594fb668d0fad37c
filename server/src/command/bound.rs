//! Ends of a range of the journal on the command line: a position, or a time.

use anyhow::{Context, bail, ensure};
use fakemon_history::archive::{Archive, Recorded};
use fakemon_model::ids::{Position, Timestamp};

/// An end of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Position(Position),
    Time(Timestamp),
}

/// Parses an end.
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

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bound::Position(position) => position.fmt(f),
            Bound::Time(time) => time.fmt(f),
        }
    }
}

/// Whether a range can hold anything, as far as its ends say so without a journal.
///
/// # Errors
/// Both ends are positions, or both are times, and the range ends before it begins.
pub(super) fn check_order(from: Option<Bound>, to: Option<Bound>) -> anyhow::Result<()> {
    match (from, to) {
        (Some(Bound::Position(from)), Some(Bound::Position(to))) => ensure!(from <= to, backwards(from, to)),
        (Some(Bound::Time(from)), Some(Bound::Time(to))) => ensure!(from <= to, backwards(from, to)),
        _ => {}
    }
    Ok(())
}

fn backwards(from: impl std::fmt::Display, to: impl std::fmt::Display) -> String {
    format!("--to ({to}) lies before --from ({from})")
}

/// A range of a journal; what its ends name belongs to it. The wall clock may have been set back between: then events
/// of other times lie in the range too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    /// Where to begin to read.
    pub(super) first: Position,
    /// One past where to end.
    pub(super) end: Position,
    /// The moments between which events must lie, if the ends are moments.
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl Range {
    /// As flags say it.
    ///
    /// # Errors
    /// A range that ends before it begins, or begins at a position that the journal neither has nor writes next: a
    /// number that was meant as a time, or of another journal.
    pub(super) fn of(archive: &Archive, from: Option<Bound>, to: Option<Bound>) -> anyhow::Result<Range> {
        check_order(from, to)?;
        let end = match to {
            None => archive.end_position(),
            Some(Bound::Position(last)) => Position(last.0.saturating_add(1)).min(archive.end_position()),
            Some(Bound::Time(last)) => archive.end_before(last.plus_ns(1))?,
        };
        let first = start(archive, from)?;
        match (from, to) {
            (Some(from @ Bound::Time(_)), Some(Bound::Position(to))) => ensure!(to >= first, backwards(from, to)),
            (Some(Bound::Position(from)), Some(to @ Bound::Time(_))) => {
                ensure!(end > first || first == archive.end_position(), backwards(from, to));
            }
            _ => {}
        }
        let time = |bound| match bound {
            Some(Bound::Time(time)) => Some(time),
            _ => None,
        };
        Ok(Range { first, end: end.max(first), from: time(from), to: time(to) })
    }

    /// Whether an event that is read between `first` and `end` belongs to it.
    pub(super) fn holds(&self, recorded: &Recorded) -> bool {
        (self.first..self.end).contains(&recorded.position)
            && self.from.is_none_or(|from| recorded.committed_at >= from)
            && self.to.is_none_or(|to| recorded.committed_at <= to)
    }
}

/// Whether a journal holds something behind the end of a range, so that it does not grow any more.
///
/// # Errors
/// A damaged or unreadable journal.
pub(super) fn is_complete(archive: &Archive, to: Option<Bound>) -> anyhow::Result<bool> {
    let newest = Position(archive.end_position().0.saturating_sub(1));
    Ok(match to {
        None => false,
        Some(Bound::Position(last)) => newest >= last,
        Some(Bound::Time(last)) => archive.group(newest)?.is_some_and(|group| group.committed_at > last),
    })
}

fn start(archive: &Archive, from: Option<Bound>) -> anyhow::Result<Position> {
    let (first, end) = (archive.first_position(), archive.end_position());
    Ok(match from {
        None => first,
        Some(Bound::Position(position)) if position > end => anyhow::bail!(
            "--from {position}: the journal holds positions {first} to {end} (exclusive); a time is written as in \
             2026-03-01T20:00:00Z"
        ),
        Some(Bound::Position(position)) => position.max(first),
        Some(Bound::Time(time)) => archive.first_since(time)?,
    })
}

/// Checks that a journal has the end of a range.
///
/// # Errors
/// A position that the journal does not have yet, or not any more.
pub(super) fn check_written(archive: &Archive, to: Option<Bound>) -> anyhow::Result<()> {
    if let Some(Bound::Position(last)) = to
        && (last >= archive.end_position() || last.0 + 1 < archive.first_position().0)
    {
        let (first, last_there) = (archive.first_position(), archive.end_position().0.saturating_sub(1));
        bail!("position {last} is not in the journal, which holds positions {first} to {last_there}")
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_ends_before_it_begins_names_both_ends() {
        let (five, three) = (parse_bound("5").ok(), parse_bound("3").ok());
        let said = |from, to| check_order(from, to).err().map(|error| error.to_string());
        assert_eq!(said(five, three).unwrap(), "--to (3) lies before --from (5)");
        let (new_year, before) = (parse_bound("2026-01-01T00:00:00Z").ok(), parse_bound("2025-12-31T23:59:59Z").ok());
        let expected = "--to (2025-12-31T23:59:59.000000000Z) lies before --from (2026-01-01T00:00:00.000000000Z)";
        assert_eq!(said(new_year, before).unwrap(), expected);
        for (from, to) in [(three, five), (five, five), (None, three), (new_year, three), (five, before)] {
            assert_eq!(said(from, to), None);
        }
    }

    #[test]
    fn a_bound_is_a_position_or_a_time() {
        assert_eq!(parse_bound("17"), Ok(Bound::Position(Position(17))));
        assert_eq!(parse_bound("1970-01-01T00:00:00.000000002Z"), Ok(Bound::Time(Timestamp(2))));
        for wrong in ["", "-1", "yesterday", "1969-01-01T00:00:00Z", "18446744073709551616"] {
            assert!(parse_bound(wrong).unwrap_err().contains("neither a position nor a time"), "{wrong}");
        }
    }
}
