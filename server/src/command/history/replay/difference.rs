//! The states of two positions side by side: fakémon that appeared, were captured or vanished in between, and the
//! change of the counters.

use super::{ReplayArgs, bar, player, watch};
use crate::command::sentence::{player_name, species_name};
use crate::printed::stdout;
use fakemon_history::archive::{Archive, Recorded};
use fakemon_model::event::{Event, Outcome};
use fakemon_model::ids::{FakemonId, PlayerId, Position};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::ops::ControlFlow;

/// Difference between the states before and after a range.
#[derive(Default)]
struct Difference {
    events: u64,
    outcomes: [u64; Outcome::ALL.len()],
    appeared: Vec<Recorded>,
    captured: Vec<Recorded>,
    vanished: Vec<Recorded>,
    /// Counts of all changes; the lists are bounded.
    counts: [u64; 3],
}

/// Shows what changed between two positions.
pub(super) fn run(archive: &Archive, args: &ReplayArgs, from: Position, to: Position) -> anyhow::Result<()> {
    let only_player = args.player.as_deref().map(|name| player(archive, name)).transpose()?;
    let only_fakemon = args.fakemon.map(FakemonId);
    let bar = bar();
    let mut moved = watch(&bar, to);
    let mut difference = Difference::default();
    let read = archive.for_each(from, &mut |recorded| {
        if recorded.position >= to {
            return ControlFlow::Break(());
        }
        if recorded.position.0 % 65_536 == 0 {
            let _ = moved(recorded.position);
        }
        if is_wanted(&recorded.event, only_player, only_fakemon) {
            difference.add(recorded, args.limit);
        }
        ControlFlow::Continue(())
    });
    bar.finish();
    read?;
    let mut out = stdout();
    match args.json {
        true => writeln!(out, "{}", difference.json(archive, from, to))?,
        false => difference.write(archive, from, to, &mut out)?,
    }
    Ok(())
}

fn is_wanted(event: &Event, only_player: Option<PlayerId>, only_fakemon: Option<FakemonId>) -> bool {
    let player = match event {
        Event::Attempt(attempt) => Some(attempt.player),
        _ => None,
    };
    let fakemon = event.fakemon_id();
    only_player.is_none_or(|only| player == Some(only)) && only_fakemon.is_none_or(|only| fakemon == Some(only))
}

impl Difference {
    fn add(&mut self, recorded: &Recorded, limit: usize) {
        self.events += 1;
        let (index, list) = match &recorded.event {
            Event::Attempt(attempt) => {
                self.outcomes[attempt.outcome as usize] += 1;
                if attempt.outcome != Outcome::Captured {
                    return;
                }
                (1, &mut self.captured)
            }
            Event::Appeared { .. } => (0, &mut self.appeared),
            Event::Vanished { .. } => (2, &mut self.vanished),
            _ => return,
        };
        self.counts[index] += 1;
        if list.len() < limit {
            list.push(recorded.clone());
        }
    }

    fn lists(&self) -> [(&'static str, u64, &Vec<Recorded>); 3] {
        let [appeared, captured, vanished] = self.counts;
        [
            ("appeared", appeared, &self.appeared),
            ("captured", captured, &self.captured),
            ("vanished", vanished, &self.vanished),
        ]
    }

    fn json(&self, archive: &Archive, from: Position, to: Position) -> Value {
        let mut json = json!({
            "from_position": from.to_string(),
            "end_position": to.to_string(),
            "events": self.events,
            "outcomes": Outcome::ALL.iter()
                .map(|outcome| (outcome.name().to_owned(), self.outcomes[*outcome as usize].into()))
                .collect::<serde_json::Map<_, Value>>(),
        });
        for (name, count, list) in self.lists() {
            let told = list.iter().map(|recorded| one(archive, recorded)).collect::<Vec<_>>();
            json[name] = json!({ "count": count, "fakemon": told });
        }
        json
    }

    fn write(&self, archive: &Archive, from: Position, to: Position, out: &mut impl Write) -> io::Result<()> {
        let last = to.0.saturating_sub(1);
        writeln!(out, "from before position {from} to after position {last}: {} events", self.events)?;
        for outcome in Outcome::ALL.iter().filter(|outcome| self.outcomes[**outcome as usize] > 0) {
            writeln!(out, "  throws {:<16} +{}", outcome.name(), self.outcomes[*outcome as usize])?;
        }
        for (name, count, list) in self.lists() {
            writeln!(out, "{name}: {count}")?;
            for recorded in list {
                writeln!(out, "  {}", in_words(archive, recorded))?;
            }
            if count > list.len() as u64 {
                writeln!(out, "  … {} more; --limit shows them", count - list.len() as u64)?;
            }
        }
        Ok(())
    }
}

fn one(archive: &Archive, recorded: &Recorded) -> Value {
    let (fakemon, species, winner) = subject(recorded);
    json!({
        "position": recorded.position.to_string(),
        "fakemon_id": fakemon.map(|id| id.to_string()),
        "species": species.and_then(|species| archive.species_name(species)),
        "winner": winner.and_then(|winner| archive.player_name(winner)),
    })
}

fn in_words(archive: &Archive, recorded: &Recorded) -> String {
    let (fakemon, species, winner) = subject(recorded);
    let species = species.map_or("a fakémon", |species| species_name(archive, species));
    let id = fakemon.map(|id| id.to_string()).unwrap_or_default();
    let winner = winner.map(|winner| format!(" by {}", player_name(archive, winner))).unwrap_or_default();
    format!("{species} {id}{winner} (position {})", recorded.position)
}

fn subject(recorded: &Recorded) -> (Option<FakemonId>, Option<fakemon_model::ids::SpeciesId>, Option<PlayerId>) {
    match &recorded.event {
        Event::Attempt(attempt) => (Some(attempt.fakemon_id), Some(attempt.species), Some(attempt.player)),
        Event::Appeared { fakemon_id, species, .. } | Event::Vanished { fakemon_id, species, .. } => {
            (Some(*fakemon_id), Some(*species), None)
        }
        _ => (None, None, None),
    }
}
