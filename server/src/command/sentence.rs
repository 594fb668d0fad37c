//! An event of the journal as one line of text.

use crate::printed::is_unsafe;
use fakemon_history::archive::{Archive, Recorded};
use fakemon_model::event::{CaptureAttempt, Event, Outcome};
use fakemon_model::ids::{PlayerId, SpeciesId};

/// The sentence of an event.
pub(super) fn sentence(archive: &Archive, recorded: &Recorded) -> String {
    match &recorded.event {
        Event::Attempt(attempt) => {
            let (player, species) = (player_name(archive, attempt.player), species_name(archive, attempt.species));
            let CaptureAttempt { attempt_id, fakemon_id, .. } = attempt.attempt;
            let ended = match attempt.outcome {
                Outcome::Captured => "captured".to_owned(),
                failed => format!("failed, {}", failed.name()),
            };
            format!("{player} throws at {species} {fakemon_id} (throw {attempt_id}): {ended}")
        }
        Event::Appeared { fakemon_id, species, place, vanishes_at, .. } => {
            let species = species_name(archive, *species);
            format!("{species} {fakemon_id} appears at {:.7}, {:.7}, until {vanishes_at}", place.lat(), place.lon())
        }
        Event::Vanished { fakemon_id, species, .. } => {
            format!("{} {fakemon_id} vanishes", species_name(archive, *species))
        }
        Event::PlayerNamed { player, name } => format!("player {player} is {}", shown(name)),
        Event::SpeciesNamed { species, name } => format!("species {species} is {name}"),
        Event::Opened { reach_mm, cores, durable, .. } => {
            let durable = if *durable { "synced" } else { "unsynced" };
            format!("the engine opens: {cores} cores, reach {:.1} m, {durable}", f64::from(*reach_mm) / 1e3)
        }
        Event::Put(put) if put.bus.is_empty() => {
            let schedule = put.schedule.as_deref().unwrap_or("a schedule");
            format!("{} is due: {} from {}", shown(schedule), shown(&put.detail_type), shown(&put.source))
        }
        Event::Put(put) => {
            format!("{} from {} is put on the bus {}", shown(&put.detail_type), shown(&put.source), put.bus)
        }
        Event::Changed { key, value, .. } => {
            format!("{key} is {}", if value.is_some() { "put" } else { "deleted" })
        }
    }
}

/// A player's name, safe for a terminal.
pub(super) fn player_name(archive: &Archive, player: PlayerId) -> String {
    archive.player_name(player).map_or_else(|| format!("player {player}"), shown)
}

/// A species' name.
pub(super) fn species_name(archive: &Archive, species: SpeciesId) -> &str {
    archive.species_name(species).unwrap_or("a fakémon")
}

/// A foreign text, without characters that could move the cursor.
pub(super) fn shown(text: &str) -> String {
    text.chars().map(|letter| if is_unsafe(letter) || letter.is_control() { '\u{FFFD}' } else { letter }).collect()
}
