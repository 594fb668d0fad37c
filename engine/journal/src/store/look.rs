//! The journal as its files say, before it is opened to write: what its tables and its log hold, and whether that is
//! all that was acknowledged.

use super::{HAS_BUS, HAS_BUS_NOTE, HAS_NOTE, JOURNAL, KEPT_FROM, Store, UNSYNCED, holds_acknowledged, number};
use crate::database::manifest::{CURRENT, Manifest};
use crate::database::{self, Looked, Part, open_tables_to_read};
use crate::error::{Directory, OpenError, ReadError};
use crate::store::acknowledged::{BUS_NOTE, IS_MISSING, JOURNAL_NOTE, Noted, damaged};
use crate::store::chain::StoredBlock;
use fakemon_model::ids::Position;
use std::path::Path;

/// What was seen of the journal of a data directory.
pub(crate) struct Journal {
    /// The position of its first event; 1 if it has none.
    pub(crate) first: Position,
    /// One past its last event.
    pub(crate) end: Position,
    /// Its tables, without the log; none if it has none.
    pub(crate) tables: Option<Store>,
    /// It holds something, and no version that notes manifests opened it.
    pub(crate) is_unproven: bool,
    /// It was once opened without syncs: after a power cut it can end before what was made from it.
    pub(crate) is_unsynced: bool,
    is_made: bool,
    has_bus: bool,
    has_bus_note: bool,
}

/// What the log of the journal sets.
#[derive(Default)]
struct Tail {
    first: Option<u64>,
    last: Option<u64>,
    /// The last block, with its hash.
    block: Vec<u8>,
    /// The first position that retention, or a salvage, kept.
    kept_from: Option<u64>,
    has_note: bool,
    has_bus: bool,
    has_bus_note: bool,
    is_unsynced: bool,
}

impl Tail {
    fn take(&mut self, family: &str, key: &[u8], value: &[u8]) -> Result<(), String> {
        match family {
            "blocks" => {
                let first = number(key).map_err(|error| error.to_string())?;
                self.first.get_or_insert(first);
                self.last = Some(first);
                self.block.clear();
                self.block.extend_from_slice(value);
            }
            "default" if key == KEPT_FROM => self.kept_from = Some(number(value).map_err(|error| error.to_string())?),
            "default" => {
                self.has_note |= key == HAS_NOTE;
                self.has_bus |= key == HAS_BUS;
                self.has_bus_note |= key == HAS_BUS_NOTE;
                self.is_unsynced |= key == UNSYNCED;
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&self) -> Result<Option<Position>, ReadError> {
        let Some(first) = self.last else { return Ok(None) };
        let head = StoredBlock::split(Position(first), &self.block)?.read()?.head();
        Ok(Some(Position(head.first_position + u64::from(head.count))))
    }
}

/// Looks at the journal of a data directory.
///
/// # Errors
/// When its files are damaged, or it ends before what was acknowledged.
pub(crate) fn look(dir: &Path) -> Result<Journal, OpenError> {
    let fail = |error: ReadError| OpenError::reading(Directory(dir), &error, "");
    let told = Noted::read(dir, JOURNAL_NOTE);
    let mut tail = Tail::default();
    let looked = database::look(Part::Journal, dir, holds_acknowledged(&told), &mut |family, key, value| {
        tail.take(family, key, value)
    });
    let looked = looked.map_err(|error| Part::Journal.not_opened(dir, &error))?;
    let tables = match &looked {
        Some(Looked { manifest, .. }) if !manifest.has_no_table() => Some(tables(dir, manifest)?),
        _ => None,
    };
    let (mut first, mut end) = (None, Position(1));
    if let Some(tables) = &tables {
        (first, end) = (tables.first_position().map_err(fail)?, tables.end_position().map_err(fail)?);
        tail.has_note |= tables.has(HAS_NOTE).map_err(fail)?;
        tail.has_bus |= tables.has(HAS_BUS).map_err(fail)?;
        tail.has_bus_note |= tables.has(HAS_BUS_NOTE).map_err(fail)?;
        tail.is_unsynced |= tables.is_unsynced().map_err(fail)?;
    }
    if let (Some(begins), true) = (tail.first, first.is_some())
        && begins > end.0
    {
        let what = format!("events from position {end} to {begins} are missing");
        return Err(refused(dir, end, &what));
    }
    let kept_from = Position(tail.kept_from.unwrap_or(1));
    end = end.max(tail.end().map_err(fail)?.unwrap_or(end)).max(kept_from);
    let first = first.or(tail.first.map(Position)).unwrap_or(end);
    match told {
        Noted::Damaged(why) => return Err(says_nothing(dir, end, &why)),
        Noted::Unproven(_) if tail.has_note => return Err(says_nothing(dir, end, "its end is missing")),
        Noted::Nothing if tail.has_note => return Err(says_nothing(dir, end, IS_MISSING)),
        _ => {}
    }
    let told = told.position();
    if told > end {
        let why = looked.and_then(|looked| looked.logs.stopped).map_or(String::new(), |why| format!(", for {why}"));
        let what = format!("it ends at position {end}{why}, but everything before position {told} was acknowledged");
        return Err(refused(dir, end, &what));
    }
    let is_unproven = end > Position(1) && looked.as_ref().is_some_and(|looked| !looked.manifest.has_note);
    let Tail { has_bus, has_bus_note, is_unsynced, .. } = tail;
    Ok(Journal { first, end, tables, is_unproven, is_unsynced, is_made: looked.is_some(), has_bus, has_bus_note })
}

fn tables(dir: &Path, manifest: &Manifest) -> Result<Store, OpenError> {
    let opened = open_tables_to_read(dir, |family| manifest.family(family).is_some());
    let db = opened.map_err(|error| Part::Journal.not_opened(dir, &error))?;
    Ok(Store::of_tables(db))
}

impl Journal {
    /// Whether the databases are there that must be: beside a bus, a snapshot or an index there was a journal, and a
    /// journal that had a bus says so.
    pub(crate) fn check_parts(&self, dir: &Path, has_bus: bool) -> Result<(), OpenError> {
        let others = [Part::Bus, Part::Snapshot, Part::Index];
        let is_there = |part: &Part| dir.join(part.name()).join(CURRENT).exists();
        if !self.is_made
            && let Some(other) = others.into_iter().find(is_there)
        {
            let what = format!(
                "the folder `{JOURNAL}` is missing, and the folder `{}` is there: restore a copy; to begin anew, give \
                 another directory",
                other.name()
            );
            return Err(missing(dir, &what));
        }
        match self.has_bus && !has_bus {
            true => Err(missing(dir, BUS_IS_MISSING)),
            false if self.has_bus_note && Noted::read(dir, BUS_NOTE) == Noted::Nothing => {
                Err(missing(dir, &damaged(BUS_NOTE, IS_MISSING)))
            }
            false => Ok(()),
        }
    }

    /// Fails if another database has read events that the journal does not hold: they were durable, so they are lost.
    /// That is no damage where answers were given before the sync, and a power cut came.
    pub(crate) fn check_reach(&self, dir: &Path, part: Part, reach: Position) -> Result<(), OpenError> {
        match reach > self.end {
            true => Err(refused(dir, self.end, &lacks_what_was_read(part, self.end, reach))),
            false => Ok(()),
        }
    }
}

/// What is wrong when a journal says that there is a bus, and there is none.
pub(crate) const BUS_IS_MISSING: &str = "the bus is missing, with its queues, log groups, secrets and cursors of \
     deliveries: restore the folder `bus` from a copy, or let `fakemon verify --salvage NEW_DIR` make a directory without";

/// What is wrong with a journal that ends before what was made from it.
pub(crate) fn lacks_what_was_read(part: Part, end: Position, reach: Position) -> String {
    format!("it ends at position {end}, but the {} was made from everything before position {reach}", part.name())
}

fn missing(dir: &Path, what: &str) -> OpenError {
    OpenError::Damaged { position: None, message: format!("{}: {what}", Directory(dir)) }
}

fn refused(dir: &Path, position: Position, what: &str) -> OpenError {
    let message = format!("{}: {}", Directory(dir), Part::Journal.damaged(&what));
    OpenError::Damaged { position: Some(position), message }
}

fn says_nothing(dir: &Path, end: Position, why: &str) -> OpenError {
    let message = format!("{}: {}", Directory(dir), damaged(JOURNAL_NOTE, why));
    OpenError::Damaged { position: Some(end), message }
}
