//! The wild fakémon at a position, updated event by event, forwards and backwards.

use anyhow::Context;
use fakemon_capture::population::Fate;
use fakemon_history::archive::{Archive, Recorded};
use fakemon_history::state_at::Moment;
use fakemon_journal::index::Subject;
use fakemon_model::event::{Event, Outcome};
use fakemon_model::ids::{FakemonId, Position, SpeciesId};
use fakemon_model::place::Place;
use std::collections::HashMap;
use std::ops::ControlFlow;

/// A wild fakémon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sight {
    pub(super) place: Place,
    pub(super) species: SpeciesId,
}

/// All wild fakémon, by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Wild(HashMap<FakemonId, Sight>);

impl Wild {
    pub(super) fn of(moment: &Moment) -> Wild {
        let wild = moment.all().filter(|fakemon| fakemon.fate() == Fate::Wild);
        Wild(wild.map(|fakemon| (fakemon.id, Sight { place: fakemon.place, species: fakemon.species })).collect())
    }

    /// Applies an event.
    pub(super) fn happen(&mut self, event: &Event) {
        match event {
            Event::Appeared { fakemon_id, species, place, .. } => {
                self.0.insert(*fakemon_id, Sight { place: *place, species: *species });
            }
            Event::Vanished { fakemon_id, .. } => drop(self.0.remove(fakemon_id)),
            Event::Attempt(attempt) if attempt.outcome == Outcome::Captured => {
                self.0.remove(&attempt.fakemon_id);
            }
            _ => {}
        }
    }

    /// Reverts an event.
    pub(super) fn undo(&mut self, archive: &Archive, recorded: &Recorded) -> anyhow::Result<()> {
        match &recorded.event {
            Event::Appeared { fakemon_id, .. } => drop(self.0.remove(fakemon_id)),
            Event::Vanished { fakemon_id, species, place, .. } => {
                self.0.insert(*fakemon_id, Sight { place: *place, species: *species });
            }
            // A capture does not contain the fakémon's place; its appearance does.
            Event::Attempt(attempt) if attempt.outcome == Outcome::Captured => {
                self.0.insert(attempt.fakemon_id, appearance(archive, attempt.fakemon_id, recorded.position)?);
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&FakemonId, &Sight)> {
        self.0.iter()
    }

    pub(super) fn get(&self, id: FakemonId) -> Option<&Sight> {
        self.0.get(&id)
    }
}

fn appearance(archive: &Archive, id: FakemonId, before: Position) -> anyhow::Result<Sight> {
    let mut sight = None;
    archive.about(Subject::Fate(id), Position(1), before, &mut |recorded| {
        if let Event::Appeared { place, species, .. } = recorded.event {
            sight = Some(Sight { place, species });
        }
        ControlFlow::Break(())
    })?;
    sight.with_context(|| format!("the journal does not say where fakémon {id} appeared"))
}
