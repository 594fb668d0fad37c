//! Writing lines.

use super::{FORMAT, kind};
use crate::archive::{Block, Recorded};
use fakemon_fbs::journal::BlockHead;
use fakemon_model::event::{CaptureAttempt, DecidedAttempt, Event, Put};
use fakemon_model::ids::{PlayerId, Position, SpeciesId};
use fakemon_model::place::Place;
use std::io::{self, Write};

/// Names of players and species, for readers of single lines.
pub trait Names {
    /// A player's name.
    fn player(&self, player: PlayerId) -> Option<&str>;
    /// A species' name.
    fn species(&self, species: SpeciesId) -> Option<&str>;
}

impl Names for crate::archive::Archive {
    fn player(&self, player: PlayerId) -> Option<&str> {
        self.player_name(player)
    }

    fn species(&self, species: SpeciesId) -> Option<&str> {
        self.species_name(species)
    }
}

/// The first line; `selection` holds the filters, as a JSON object, if the export is not of the whole journal.
///
/// # Errors
/// When it cannot be written.
pub fn write_export(
    out: &mut impl Write,
    first: Position,
    end: Position,
    selection: Option<&serde_json::Value>,
) -> io::Result<()> {
    let whole = selection.is_none();
    write!(
        out,
        r#"{{"export":{{"format":{FORMAT},"whole":{whole},"first_position":"{first}","end_position":"{end}""#
    )?;
    if let Some(selection) = selection {
        write!(out, r#","selection":{selection}"#)?;
    }
    out.write_all(b"}}\n")
}

/// The line of a block; its events follow.
///
/// # Errors
/// When it cannot be written.
pub fn write_block(out: &mut impl Write, block: &Block<'_>) -> io::Result<()> {
    let group = &block.group;
    write!(out, r#"{{"block":{{"first_position":"{}","count":{}"#, group.first, group.end.0 - group.first.0)?;
    write!(out, r#","committed_ns":"{}","previous_sync_ns":{}"#, group.committed_at.0, group.previous_sync_ns)?;
    let BlockHead { ahead_ns, ahead_since, .. } = block.reader().head();
    if (ahead_ns, ahead_since) != (0, 0) {
        write!(out, r#","ahead_ns":"{ahead_ns}","ahead_since":"{ahead_since}""#)?;
    }
    write!(out, r#","state_hash":"{:016x}","hash":"{}","sections":["#, block.state_hash, hex(&block.hash))?;
    for (index, (shard, events)) in block.sections().enumerate() {
        write!(out, "{}[{shard},{events}]", if index == 0 { "" } else { "," })?;
    }
    out.write_all(b"]}}\n")
}

/// The last line: one past the last position, the number of blocks, and the hash of the last one.
///
/// # Errors
/// When it cannot be written.
pub fn write_end(out: &mut impl Write, position: Position, blocks: u64, hash: &[u8; 32]) -> io::Result<()> {
    writeln!(out, r#"{{"end":{{"position":"{position}","blocks":{blocks},"hash":"{}"}}}}"#, hex(hash))
}

/// The line of an event.
///
/// # Errors
/// When it cannot be written.
pub fn write_event(out: &mut impl Write, recorded: &Recorded, names: &impl Names) -> io::Result<()> {
    let Recorded { position, shard, event, .. } = recorded;
    write!(out, r#"{{"position":"{position}","shard":{shard},"kind":"{}""#, kind(event))?;
    match event {
        Event::Attempt(attempt) => {
            let DecidedAttempt { attempt, outcome, species, queued_after_ns, decided_after_ns } = attempt;
            let CaptureAttempt { player, attempt_id, fakemon_id, place, received_at } = attempt;
            write_player(out, *player, names)?;
            write!(out, r#","attempt_id":"{attempt_id}","fakemon_id":"{fakemon_id}""#)?;
            write_species(out, *species, names)?;
            write!(out, r#","outcome":"{}""#, outcome.name())?;
            write_place(out, *place)?;
            write!(out, r#","received_ns":"{}","queued_after_ns":{queued_after_ns}"#, received_at.0)?;
            write!(out, r#","decided_after_ns":{decided_after_ns}"#)?;
        }
        Event::Appeared { fakemon_id, species, place, catch_rate, at, vanishes_at } => {
            write!(out, r#","fakemon_id":"{fakemon_id}""#)?;
            write_species(out, *species, names)?;
            write_place(out, *place)?;
            write!(out, r#","catch_rate_bp":{}"#, catch_rate.basis_points())?;
            write!(out, r#","at_ns":"{}","vanishes_at_ns":"{}""#, at.0, vanishes_at.0)?;
        }
        Event::Vanished { fakemon_id, species, place, at, vanishes_at } => {
            write!(out, r#","fakemon_id":"{fakemon_id}""#)?;
            write_species(out, *species, names)?;
            write_place(out, *place)?;
            write!(out, r#","at_ns":"{}","vanishes_at_ns":"{}""#, at.0, vanishes_at.0)?;
        }
        Event::PlayerNamed { player, name } => {
            write!(out, r#","player":{player}"#)?;
            write_text(out, "name", name)?;
        }
        Event::SpeciesNamed { species, name } => {
            write!(out, r#","species":{species}"#)?;
            write_text(out, "name", name)?;
        }
        Event::Opened { at, world_seed, reach_mm, cores, durable } => {
            write!(out, r#","at_ns":"{}","world_seed":"{world_seed}","reach_mm":{reach_mm}"#, at.0)?;
            write!(out, r#","cores":{cores},"durable":{durable}"#)?;
        }
        Event::Put(put) => write_put(out, put)?,
        Event::Changed { at, key, value } => {
            write!(out, r#","at_ns":"{}""#, at.0)?;
            write_text(out, "key", key)?;
            match value {
                Some(value) => write_text(out, "value", value)?,
                None => out.write_all(br#","value":null"#)?,
            }
        }
    }
    out.write_all(b"}\n")
}

fn write_put(out: &mut impl Write, put: &Put) -> io::Result<()> {
    write!(out, r#","at_ns":"{}","time_ns":"{}""#, put.at.0, put.time.0)?;
    write_text(out, "bus", &put.bus)?;
    write_text(out, "source", &put.source)?;
    write_text(out, "detail_type", &put.detail_type)?;
    write_text(out, "detail", &put.detail)?;
    out.write_all(br#","resources":"#)?;
    serde_json::to_writer(&mut *out, &put.resources)?;
    write_text(out, "region", &put.region)?;
    match put.cause {
        Some(cause) => write!(out, r#","cause":"{cause}""#)?,
        None => out.write_all(br#","cause":null"#)?,
    }
    write!(out, r#","hops":{}"#, put.hops)?;
    put.schedule.as_deref().map_or(Ok(()), |schedule| write_text(out, "schedule", schedule))?;
    put.by.as_deref().map_or(Ok(()), |by| write_text(out, "by", by))?;
    put.origin.map_or(Ok(()), |origin| write!(out, r#","origin":"{}""#, origin.0))?;
    put.trace.as_deref().map_or(Ok(()), |trace| write_text(out, "trace", trace))
}

fn write_player(out: &mut impl Write, player: PlayerId, names: &impl Names) -> io::Result<()> {
    write!(out, r#","player":{player}"#)?;
    names.player(player).map_or(Ok(()), |name| write_text(out, "player_name", name))
}

fn write_species(out: &mut impl Write, species: SpeciesId, names: &impl Names) -> io::Result<()> {
    write!(out, r#","species":{species}"#)?;
    names.species(species).map_or(Ok(()), |name| write_text(out, "species_name", name))
}

fn write_place(out: &mut impl Write, place: Place) -> io::Result<()> {
    write!(out, r#","lat_e7":{},"lon_e7":{}"#, place.lat_e7, place.lon_e7)
}

fn write_text(out: &mut impl Write, member: &str, text: &str) -> io::Result<()> {
    write!(out, r#","{member}":"#)?;
    Ok(serde_json::to_writer(out, text)?)
}

fn hex(hash: &[u8; 32]) -> impl std::fmt::Display {
    blake3::Hash::from_bytes(*hash).to_hex()
}
