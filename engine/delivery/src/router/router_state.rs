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

/// Adds to a batch what makes the router's state fit a journal that ends at `end`, whose last event happened at
/// `last_at` if that is known: where the router stood, if that was later; and how many schedules had fired later.
pub(crate) fn cut_back(
    depot: &BusStore,
    end: Position,
    last_at: Option<Timestamp>,
    batch: &mut Batch,
) -> Result<(Option<Position>, u64), ReadError> {
    let known = Known::read(depot, Position(1), Position(u64::MAX))?;
    let stood = Some(known.next).filter(|next| *next > end);
    if stood.is_some() {
        note_position(batch, end);
    }
    let mut schedules = 0;
    for (key, standing) in known.standings {
        if let Some(fired) = last_at.filter(|last_at| standing.fired > *last_at) {
            schedules += 1;
            note_standing(batch, &key, Standing { fired, ..standing });
        }
    }
    Ok((stood, schedules))
}

/// Adds to a batch that the resources are those that these changes lead to, in the order of the journal up to where
/// the router stands, whatever is stored of them.
pub(crate) fn restate(
    depot: &BusStore,
    changes: impl IntoIterator<Item = Changed>,
    batch: &mut Batch,
) -> Result<(), ReadError> {
    depot.scan(Table::Router, b"", b"", &mut |key, _| {
        if key.contains(&b'/') && !key.contains(&0) {
            batch.delete(Table::Router, key);
        }
        ControlFlow::Continue(())
    })?;
    let mut registry = Registry::new();
    for changed in changes {
        let change = change(&changed).map_err(|error| ReadError::Damaged(error.to_string()))?;
        let change = match change {
            Change::Delete(key) => match registry.meant(&key) {
                Some(meant) => Change::Delete(meant.to_owned()),
                None => continue,
            },
            put @ Change::Put(_) => put,
        };
        registry.apply(&change);
        note_change(batch, &change);
    }
    Ok(())
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
