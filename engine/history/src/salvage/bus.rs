//! What the bus keeps goes along, whatever is left of the journal: messages of queues, lines of log groups, secrets.
//! What stands after the end of the journal is taken back to it, so that a server opens both.

use super::choice::Run;
use fakemon_capture::options::OpenError;
use fakemon_delivery::Known;
use fakemon_delivery::reset::cut_back::{cut_back, reach, restate_resources};
use fakemon_fbs::journal::Changed;
use fakemon_journal::{Batch, BusStore, ReadError, SalvageCopy};
use fakemon_model::ids::{Position, Timestamp};
use fakemon_model::names::{BusName, RuleName};
use fakemon_resource::resource::Rule;
use std::path::Path;

const LEFT_BEHIND: &str = "queues, log groups, secrets and cursors of deliveries were left behind: rules begin again with \
                           the first event of the journal, so delete those that must not, before a server goes on with \
                           it";
/// Rules that are named at most.
const NAMED_MAX: usize = 20;
const NONE: &str = "there was no bus: rules begin with the first event of the journal";

/// The bus of a damaged directory, as far as it can be read.
pub(super) struct Bus {
    depot: Option<BusStore>,
    /// How far it has read the journal.
    pub(super) next: Option<Position>,
    /// One past the last event that it, or a target of it, has read.
    pub(super) reach: Position,
    is_there: bool,
    is_repaired: bool,
}

/// What of the journal it is made to fit.
pub(super) struct Fit {
    pub(super) run: Run,
    /// When the last event of the run was written, by the wall clock.
    pub(super) last_at: Option<Timestamp>,
    /// Every position before it was given to an event: those from the end of the run on are given a second time.
    pub(super) told: Position,
    /// All changes of resources before the position that the bus has read to; none if the run does not hold them all.
    pub(super) changes: Option<Vec<Changed>>,
}

impl Bus {
    /// Opens it in the copy; `notes` get what was done for it.
    pub(super) fn open(wreck: &SalvageCopy, is_whole: bool, notes: &mut Vec<String>) -> Result<Bus, OpenError> {
        let is_there = wreck.has_bus();
        let unreadable = || Bus { depot: None, next: None, reach: Position(0), is_there, is_repaired: false };
        let Some((depot, repaired)) = wreck.depot()? else { return Ok(unreadable()) };
        let Ok(known) = Known::read(&depot, Position(1), Position(u64::MAX)) else { return Ok(unreadable()) };
        let is_repaired = repaired.is_some();
        let reach = reach(&depot).unwrap_or(known.next);
        match repaired {
            Some(what) => notes.push(format!(
                "{what}: queues, log groups, secrets and cursors of deliveries are there as far as they can be read; \
                 messages that were deleted can be there again"
            )),
            None if !is_whole => notes.push(
                "queues, log groups, secrets and cursors of deliveries are there as far as they can be read: what was \
                 written after the damage is lost, and messages that were deleted after it are there again"
                    .to_owned(),
            ),
            None => {}
        }
        Ok(Bus { depot: Some(depot), next: Some(known.next), reach, is_there, is_repaired })
    }

    /// The position before which it needs all changes of resources, if tables of it may be lost.
    pub(super) fn wants_changes_before(&self) -> Option<Position> {
        self.next.filter(|_| self.is_repaired)
    }

    /// Makes it fit the part of the journal that is kept, and moves it to the new directory.
    pub(super) fn hand_over(
        self,
        wreck: &SalvageCopy,
        part: Fit,
        to: &Path,
        notes: &mut Vec<String>,
    ) -> Result<(), OpenError> {
        let Some(depot) = self.depot else {
            notes.push(if self.is_there { LEFT_BEHIND } else { NONE }.to_owned());
            return Ok(());
        };
        match fit(&depot, part) {
            Ok(taken_back) => {
                notes.extend(taken_back);
                notes.extend(without_targets(&depot).filter(|_| self.is_repaired));
            }
            Err(error) => {
                drop(depot);
                notes.push(format!("{LEFT_BEHIND} ({error})"));
                return Ok(());
            }
        }
        wreck.hand_over_bus(depot, to)
    }
}

/// Rules without a target, by name: those that had some lost them with a table.
fn without_targets(depot: &BusStore) -> Option<String> {
    let registry = Known::read(depot, Position(1), Position(u64::MAX)).ok()?.registry;
    let lacks = |rule: &&Rule| registry.targets_of(BusName(&rule.bus), RuleName(&rule.name)).next().is_none();
    let rules: Vec<String> =
        registry.rules.values().filter(lacks).map(|rule| format!("{}/{}", rule.bus, rule.name)).collect();
    let named = rules[..rules.len().min(NAMED_MAX)].join(", ");
    let more = if rules.len() > NAMED_MAX { ", …" } else { "" };
    (!rules.is_empty()).then(|| format!("{} rules have no target: {named}{more}", rules.len()))
}

/// Takes back what stands after the end of the run; what was, in sentences.
fn fit(depot: &BusStore, Fit { run, last_at, told, changes }: Fit) -> Result<Vec<String>, ReadError> {
    let mut batch = Batch::default();
    if let Some(changes) = changes {
        restate_resources(depot, changes, &mut batch)?;
    }
    let cut = cut_back(depot, (run.first, run.end), last_at, &mut batch)?;
    let mut said = cut.sentences(run.end);
    let pipes = fakemon_pipe::cut_back(depot, run.end, &mut batch)?;
    if pipes > 0 {
        said.push(format!("taken back: {pipes} pipes to position {}", run.end));
    }
    if told > run.end || cut.router_stood_at.is_some() {
        let recent = fakemon_queue::queue::forget_recent(depot, &mut batch)?;
        if recent > 0 {
            said.push(format!("taken back: queues no longer know {recent} messages as sent within five minutes"));
        }
    }
    if !batch.is_empty() {
        depot.write(batch, true).map_err(ReadError::Failed)?;
    }
    Ok(said)
}
