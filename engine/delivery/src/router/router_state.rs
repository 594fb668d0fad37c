//! The state the router last stored: the position before which it has read everything, the resources there, and which
//! of their due times had fired.

use fakemon_fbs::journal::{Changed, Event};
use fakemon_journal::{Batch, BusStore, ReadError, Store, Table};
use fakemon_model::ids::{Position, Timestamp};
use fakemon_resource::Registry;
use fakemon_resource::resource::{Change, Resource};
use fakemon_schedule::{Standing, Standings};
use std::ops::ControlFlow;

/// The key of the router's position; keys of resources contain a `/`.
const POSITION: &[u8] = b"position";
/// The prefix of keys of schedules' states; the key of the resource follows.
const STANDING: &str = "clock\0";

/// The resources as of a position of the journal.
#[derive(Clone, Debug)]
pub struct Known {
    pub next: Position,
    pub registry: Registry,
    pub standings: Standings,
    /// The value of `next` in the depot.
    pub written: Position,
}

impl Known {
    /// The state before the first event of a journal.
    pub fn beginning(first: Position) -> Known {
        Known { next: first, registry: Registry::new(), standings: Standings::new(), written: Position(0) }
    }

    /// The state in the depot; a new depot begins with the journal.
    pub fn read(depot: &BusStore, first: Position, end: Position) -> Result<Known, ReadError> {
        let mut known = Known::beginning(first);
        let Some(position) = depot.get(Table::Router, POSITION)? else { return Ok(known) };
        let position = position.try_into().map_err(|_| ReadError::Damaged("a key of `router` is damaged".into()))?;
        // A power cut without syncs can leave the depot ahead of the journal.
        known.next = Position(u64::from_be_bytes(position)).min(end);
        let mut failed = None;
        depot.scan(Table::Router, b"", b"", &mut |key, value| {
            if let Some(key) = key.strip_prefix(STANDING.as_bytes()) {
                let key = String::from_utf8_lossy(key).into_owned();
                known.standings.extend(standing(value).map(|standing| (key, standing)));
                return ControlFlow::Continue(());
            }
            let texts = std::str::from_utf8(key).ok().zip(std::str::from_utf8(value).ok());
            let Some((key, value)) = texts.filter(|(key, _)| key.contains('/')) else {
                return ControlFlow::Continue(());
            };
            match Resource::read(key, value) {
                Ok(resource) => known.registry.apply(&Change::Put(resource)),
                Err(error) => failed = Some(error),
            }
            ControlFlow::Continue(())
        })?;
        match failed {
            Some(error) => Err(ReadError::Store(error.to_string())),
            None => Ok(known),
        }
    }

    /// The resources as of the end of the journal.
    pub fn followed_to_the_end(&self, store: &Store) -> Result<Registry, ReadError> {
        let mut registry = self.registry.clone();
        let mut unreadable = None;
        store.blocks(self.next, &mut |stored| {
            stored.read()?.for_each(|position, _, event| {
                let Event::Changed(changed) = event else { return };
                match change(&changed) {
                    Ok(change) if position >= self.next.0 => registry.apply(&change),
                    Ok(_) => {}
                    Err(error) => unreadable = Some(ReadError::corrupt(Position(position), error)),
                }
            });
            Ok(ControlFlow::Continue(()))
        })?;
        unreadable.map_or(Ok(registry), Err)
    }
}

/// A change as the journal has it.
pub(crate) fn change(changed: &Changed) -> Result<Change, fakemon_resource::resource::UnreadableResource> {
    Change::read(&changed.key, changed.value.as_deref())
}

fn standing(value: &[u8]) -> Option<Standing> {
    let (since, fired) = value.split_at_checked(8)?;
    let number = |bytes: &[u8]| Some(Timestamp(u64::from_be_bytes(bytes.try_into().ok()?)));
    Some(Standing { since: number(since)?, fired: number(fired)? })
}

/// Stores the state of a schedule.
pub(crate) fn note_standing(batch: &mut Batch, key: &str, standing: Standing) {
    let Standing { since, fired } = standing;
    batch.put(Table::Router, format!("{STANDING}{key}"), [since.0.to_be_bytes(), fired.0.to_be_bytes()].concat());
}

/// Deletes the state of a schedule.
pub(crate) fn forget_standing(batch: &mut Batch, key: &str) {
    batch.delete(Table::Router, format!("{STANDING}{key}"));
}

/// Deletes the states of all schedules of a group.
pub(crate) fn forget_standings(batch: &mut Batch, prefix: &str) {
    let (from, to) = (format!("{STANDING}{prefix}"), format!("{STANDING}{prefix}\u{7f}")); // keys are ASCII
    batch.delete_range(Table::Router, from, to);
}

/// Stores that the router has read everything before `next`.
pub(crate) fn note_position(batch: &mut Batch, next: Position) {
    batch.put(Table::Router, POSITION, next.0.to_be_bytes());
}

/// Stores that a change was applied. The caller deletes what belongs to a deleted bus or rule.
pub(crate) fn note_change(batch: &mut Batch, change: &Change) {
    match change {
        Change::Put(resource) => batch.put(Table::Router, resource.key(), resource.value()),
        Change::Delete(key) => {
            batch.delete(Table::Router, key.as_str());
            let inside = |kind: &str, rest: &str| (format!("{kind}/{rest}/"), format!("{kind}/{rest}0")); // '0' follows '/'
            match key.split_once('/') {
                Some(("bus", bus)) => {
                    for (from, to) in [inside("rule", bus), inside("target", bus)] {
                        batch.delete_range(Table::Router, from, to);
                    }
                }
                Some(("rule", rule)) => {
                    let (from, to) = inside("target", rule);
                    batch.delete_range(Table::Router, from, to);
                }
                Some(("schedule-group", group)) => {
                    let (from, to) = inside("schedule", group);
                    batch.delete_range(Table::Router, from, to);
                }
                _ => {}
            }
        }
    }
}
