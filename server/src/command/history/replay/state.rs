//! The game at one position: all of it, one fakémon, one player, or the wild fakémon in an area.

use super::{Area, ReplayArgs, bar, player, watch};
use crate::command::sentence::{player_name, species_name};
use crate::printed::stdout;
use anyhow::Context;
use fakemon_history::archive::{Archive, Recorded};
use fakemon_history::state_at::Moment;
use fakemon_journal::index::Subject;
use fakemon_model::event::{Event, Outcome};
use fakemon_model::ids::{FakemonId, PlayerId, Position, Timestamp};
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use std::ops::ControlFlow;

/// Shows the state before a position.
pub(super) fn run(archive: &Archive, args: &ReplayArgs, to: Position) -> anyhow::Result<()> {
    let mut out = stdout();
    let as_of = as_of(archive, to)?;
    if let Some(id) = args.fakemon {
        let life = Life::of(archive, FakemonId(id), to)?;
        return show(&mut out, args, &as_of, life.json(archive), |out| life.write(archive, out));
    }
    if let Some(name) = &args.player {
        let record = PlayerRecord::of(archive, player(archive, name)?, to)?;
        return show(&mut out, args, &as_of, record.json(archive), |out| record.write(archive, args.limit, out));
    }
    let bar = bar();
    let mut moment = Moment::beginning(archive)?;
    let advanced = moment.advance(archive, to, &mut watch(&bar, to));
    bar.finish();
    advanced?;
    match args.area {
        Some(area) => {
            let near = Near { area, moment: &moment };
            show(&mut out, args, &as_of, near.json(archive), |out| near.write(archive, args.limit, out))
        }
        None => show(&mut out, args, &as_of, whole_json(&moment), |out| write_whole(&moment, out)),
    }
}

/// The last event of a state, and when it was written.
struct AsOf {
    last: Position,
    at: Option<Timestamp>,
}

fn as_of(archive: &Archive, to: Position) -> anyhow::Result<AsOf> {
    let last = Position(to.0.saturating_sub(1));
    Ok(AsOf { last, at: archive.group(last)?.map(|group| group.committed_at) })
}

fn show(
    out: &mut impl Write,
    args: &ReplayArgs,
    as_of: &AsOf,
    value: Value,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> anyhow::Result<()> {
    let at = as_of.at.map(|at| at.to_string());
    if args.json {
        let mut members = Map::new();
        members.insert("position".into(), as_of.last.to_string().into());
        members.insert("at".into(), at.into());
        if let Value::Object(value) = value {
            members.extend(value);
        }
        return Ok(writeln!(out, "{}", Value::Object(members))?);
    }
    writeln!(out, "as of position {} ({})", as_of.last, at.as_deref().unwrap_or("nothing had happened"))?;
    Ok(write(out)?)
}

fn whole_json(moment: &Moment) -> Value {
    let counters = moment.counters();
    let outcomes = Outcome::ALL.iter().map(|outcome| (outcome.name().to_owned(), counters.of(*outcome).into()));
    json!({
        "wild": moment.wild(),
        "appeared": counters.appeared,
        "captured": counters.of(Outcome::Captured),
        "vanished": counters.vanished,
        "throws": counters.attempts(),
        "outcomes": outcomes.collect::<Map<_, Value>>(),
        "players": counters.players,
        "put_events": counters.put,
        "changes": counters.changed,
        "state_hash": format!("{:016x}", moment.state_hash().0),
    })
}

fn write_whole(moment: &Moment, out: &mut dyn Write) -> io::Result<()> {
    let counters = moment.counters();
    writeln!(
        out,
        "fakémon: {} wild, of {} that appeared; {} captured, {} vanished",
        moment.wild(),
        counters.appeared,
        counters.of(Outcome::Captured),
        counters.vanished
    )?;
    writeln!(out, "players: {}", counters.players)?;
    writeln!(out, "throws: {}", counters.attempts())?;
    for outcome in Outcome::ALL {
        writeln!(out, "  {:<16} {}", outcome.name(), counters.of(outcome))?;
    }
    writeln!(out, "bus: {} events put, {} changes", counters.put, counters.changed)?;
    writeln!(out, "state hash {:016x}", moment.state_hash().0)
}

/// Counts of attempts by outcome.
type Ends = [u64; Outcome::ALL.len()];

fn ends_json(ends: &Ends) -> Value {
    let ends = Outcome::ALL.iter().map(|outcome| (outcome.name().to_owned(), ends[*outcome as usize].into()));
    Value::Object(ends.collect())
}

/// The history of one fakémon.
struct Life {
    id: FakemonId,
    appeared: Option<Recorded>,
    ended: Option<Recorded>,
    attempts: u64,
}

impl Life {
    fn of(archive: &Archive, id: FakemonId, to: Position) -> anyhow::Result<Life> {
        let mut life = Life { id, appeared: None, ended: None, attempts: 0 };
        archive.about(Subject::Fate(id), Position(1), to, &mut |recorded| {
            match recorded.event {
                Event::Appeared { .. } => life.appeared = Some(recorded.clone()),
                _ => life.ended = Some(recorded.clone()),
            }
            ControlFlow::Continue(())
        })?;
        archive.positions(Subject::Fakemon(id), Position(1), to, &mut |_| {
            life.attempts += 1;
            ControlFlow::Continue(())
        })?;
        let vanished = matches!(life.ended, Some(Recorded { event: Event::Vanished { .. }, .. }));
        life.attempts = life.attempts.saturating_sub(u64::from(life.appeared.is_some()) + u64::from(vanished));
        life.appeared.is_some().then_some(()).with_context(|| {
            format!("--fakemon {id}: it had not appeared by then, or the journal does not reach back to it")
        })?;
        Ok(life)
    }

    fn fate(&self) -> &'static str {
        match &self.ended {
            None => "wild",
            Some(Recorded { event: Event::Vanished { .. }, .. }) => "vanished",
            Some(_) => "captured",
        }
    }

    fn winner(&self) -> Option<PlayerId> {
        match &self.ended.as_ref()?.event {
            Event::Attempt(attempt) => Some(attempt.player),
            _ => None,
        }
    }

    fn json(&self, archive: &Archive) -> Value {
        let Some(Recorded {
            event: Event::Appeared { species, place, catch_rate, at, vanishes_at, .. },
            position,
            ..
        }) = &self.appeared
        else {
            return Value::Null;
        };
        json!({ "fakemon": {
            "fakemon_id": self.id.to_string(),
            "species": archive.species_name(*species),
            "lat": place.lat(),
            "lon": place.lon(),
            "catch_rate": catch_rate.fraction(),
            "appeared_at": at.to_string(),
            "appeared_position": position.to_string(),
            "vanishes_at": vanishes_at.to_string(),
            "fate": self.fate(),
            "ended_position": self.ended.as_ref().map(|ended| ended.position.to_string()),
            "winner": self.winner().and_then(|winner| archive.player_name(winner)),
            "throws": self.attempts,
        }})
    }

    fn write(&self, archive: &Archive, out: &mut dyn Write) -> io::Result<()> {
        let Some(Recorded {
            event: Event::Appeared { species, place, catch_rate, at, vanishes_at, .. },
            position,
            ..
        }) = &self.appeared
        else {
            return Ok(());
        };
        writeln!(out, "{} {}: {}", species_name(archive, *species), self.id, self.fate())?;
        writeln!(out, "  appeared at {at} (position {position})")?;
        writeln!(out, "  to vanish at {vanishes_at}")?;
        let rate = catch_rate.fraction() * 100.0;
        writeln!(out, "  at {:.7}, {:.7}; catch rate {rate:.2} %", place.lat(), place.lon())?;
        writeln!(out, "  throws at it so far: {}", self.attempts)?;
        match (self.winner(), &self.ended) {
            (Some(winner), Some(ended)) => {
                writeln!(out, "  captured by {} (position {})", player_name(archive, winner), ended.position)
            }
            (None, Some(ended)) => writeln!(out, "  vanished uncaught (position {})", ended.position),
            _ => Ok(()),
        }
    }
}

/// The history of one player.
struct PlayerRecord {
    player: PlayerId,
    ends: Ends,
    captures: Vec<(Position, FakemonId, fakemon_model::ids::SpeciesId, Timestamp)>,
    last: Option<Recorded>,
}

impl PlayerRecord {
    fn of(archive: &Archive, player: PlayerId, to: Position) -> anyhow::Result<PlayerRecord> {
        let mut record = PlayerRecord { player, ends: Ends::default(), captures: Vec::new(), last: None };
        archive.about(Subject::Player(player), Position(1), to, &mut |recorded| {
            let Event::Attempt(attempt) = &recorded.event else {
                return ControlFlow::Continue(());
            };
            record.ends[attempt.outcome as usize] += 1;
            if attempt.outcome == Outcome::Captured {
                let (fakemon_id, at) = (attempt.fakemon_id, attempt.decided_at());
                record.captures.push((recorded.position, fakemon_id, attempt.species, at));
            }
            record.last = Some(recorded.clone());
            ControlFlow::Continue(())
        })?;
        Ok(record)
    }

    fn json(&self, archive: &Archive) -> Value {
        let captures = self.captures.iter().map(|(position, fakemon, species, at)| {
            json!({
                "position": position.to_string(),
                "fakemon_id": fakemon.to_string(),
                "species": archive.species_name(*species),
                "captured_at": at.to_string(),
            })
        });
        json!({
            "player": archive.player_name(self.player),
            "throws": self.ends.iter().sum::<u64>(),
            "outcomes": ends_json(&self.ends),
            "collection": captures.collect::<Vec<_>>(),
            "last_throw_position": self.last.as_ref().map(|last| last.position.to_string()),
        })
    }

    fn write(&self, archive: &Archive, limit: usize, out: &mut dyn Write) -> io::Result<()> {
        let attempts: u64 = self.ends.iter().sum();
        writeln!(out, "{}: {attempts} throws", player_name(archive, self.player))?;
        for outcome in Outcome::ALL.iter().filter(|outcome| self.ends[**outcome as usize] > 0) {
            writeln!(out, "  {:<16} {}", outcome.name(), self.ends[*outcome as usize])?;
        }
        if !self.captures.is_empty() {
            writeln!(out, "collection: {}", self.captures.len())?;
        }
        let hidden = self.captures.len().saturating_sub(limit);
        if hidden > 0 {
            writeln!(out, "  … {hidden} older ones; --limit shows more")?;
        }
        for (position, fakemon, species, at) in &self.captures[hidden..] {
            writeln!(out, "  {} {fakemon}, captured at {at} (position {position})", species_name(archive, *species))?;
        }
        Ok(())
    }
}

/// The wild fakémon in an area.
struct Near<'a> {
    area: Area,
    moment: &'a Moment,
}

impl Near<'_> {
    fn json(&self, archive: &Archive) -> Value {
        let near = self.moment.around(self.area.centre, self.area.radius_m).into_iter().map(|(distance, fakemon)| {
            json!({
                "fakemon_id": fakemon.id.to_string(),
                "species": archive.species_name(fakemon.species),
                "lat": fakemon.place.lat(),
                "lon": fakemon.place.lon(),
                "distance_m": distance,
                "vanishes_at": self.moment.by_wall(fakemon.vanishes_at).to_string(),
            })
        });
        json!({ "fakemon": near.collect::<Vec<_>>() })
    }

    fn write(&self, archive: &Archive, limit: usize, out: &mut dyn Write) -> io::Result<()> {
        let near = self.moment.around(self.area.centre, self.area.radius_m);
        writeln!(out, "wild within {} m: {}", self.area.radius_m, near.len())?;
        for (distance, fakemon) in near.iter().take(limit) {
            let species = species_name(archive, fakemon.species);
            let until = self.moment.by_wall(fakemon.vanishes_at);
            writeln!(out, "  {distance:>8.1} m  {species} {}, until {until}", fakemon.id)?;
        }
        match near.len().saturating_sub(limit) {
            0 => Ok(()),
            more => writeln!(out, "  … {more} more; --limit shows them"),
        }
    }
}
