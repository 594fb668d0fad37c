//! Reading lines. An error names the member that is wrong.

use super::FORMAT;
use fakemon_fbs::journal::BlockHead;
use fakemon_model::event::{CaptureAttempt, DecidedAttempt, Event, Outcome, Put};
use fakemon_model::ids::{Ahead, AttemptId, EventKey, FakemonId, PlayerId, Position, ShardId, SpeciesId, Timestamp};
use fakemon_model::place::Place;
use fakemon_model::species::CatchRate;
use fakemon_pattern::typed;
use serde::Deserialize;
use std::borrow::Cow;

/// What is wrong with a line, in words that name the member.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LineError(pub String);

#[derive(Debug, PartialEq)]
pub enum Line {
    /// The first line.
    Export(ExportLine),
    /// A block; its events follow.
    Block(BlockLine),
    /// An event at its position.
    Event(Position, ShardId, Event),
    /// The last line: where the journal ends, and its last hash.
    End(Position, [u8; 32]),
}

/// What the first line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportLine {
    /// Nothing was filtered out.
    pub whole: bool,
    /// Where the journal begins.
    pub first: Position,
    /// Where it ended, one past the last event.
    pub end: Position,
}

/// The line of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockLine {
    pub head: BlockHead,
    pub hash: [u8; 32],
    /// Which shard decided how many events, in order.
    pub sections: Vec<(ShardId, usize)>,
}

impl Line {
    /// Reads a line.
    ///
    /// # Errors
    /// When it is not a line of a journal, or of a newer format.
    pub fn read(text: &[u8]) -> Result<Line, LineError> {
        let raw: Raw<'_> =
            typed::from_slice(text).map_err(|error| LineError(format!("it is no line of a journal: {error}")))?;
        match raw {
            Raw { export: Some(export), .. } => export.read().map(Line::Export),
            Raw { block: Some(block), .. } => block.read().map(Line::Block),
            Raw { end: Some(end), .. } => {
                Ok(Line::End(Position(number("end.position", &end.position)?), hash("end.hash", &end.hash)?))
            }
            raw => {
                let position = Position(number("position", need("position", &raw.position)?)?);
                let shard = ShardId(*need("shard", &raw.shard)?);
                raw.event().map(|event| Line::Event(position, shard, event))
            }
        }
    }
}

/// All members of all lines, because the kind of a line is known only after it was read.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Raw<'a> {
    #[serde(borrow)]
    export: Option<RawExport<'a>>,
    #[serde(borrow)]
    block: Option<RawBlock<'a>>,
    #[serde(borrow)]
    end: Option<RawEnd<'a>>,
    #[serde(borrow)]
    position: Option<Cow<'a, str>>,
    shard: Option<u16>,
    #[serde(borrow)]
    kind: Option<Cow<'a, str>>,
    player: Option<u32>,
    #[serde(borrow)]
    attempt_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    fakemon_id: Option<Cow<'a, str>>,
    species: Option<u16>,
    #[serde(borrow)]
    outcome: Option<Cow<'a, str>>,
    lat_e7: Option<i32>,
    lon_e7: Option<i32>,
    #[serde(borrow)]
    received_ns: Option<Cow<'a, str>>,
    queued_after_ns: Option<u32>,
    decided_after_ns: Option<u32>,
    catch_rate_bp: Option<u16>,
    #[serde(borrow)]
    at_ns: Option<Cow<'a, str>>,
    #[serde(borrow)]
    vanishes_at_ns: Option<Cow<'a, str>>,
    name: Option<String>,
    #[serde(borrow)]
    world_seed: Option<Cow<'a, str>>,
    reach_mm: Option<u32>,
    cores: Option<u16>,
    durable: Option<bool>,
    #[serde(borrow)]
    time_ns: Option<Cow<'a, str>>,
    bus: Option<String>,
    source: Option<String>,
    detail_type: Option<String>,
    detail: Option<String>,
    resources: Option<Vec<String>>,
    region: Option<String>,
    #[serde(borrow)]
    cause: Option<Cow<'a, str>>,
    hops: Option<u8>,
    schedule: Option<String>,
    by: Option<String>,
    #[serde(borrow)]
    origin: Option<Cow<'a, str>>,
    trace: Option<String>,
    key: Option<String>,
    value: Option<String>,
}

#[derive(Deserialize)]
struct RawExport<'a> {
    format: u32,
    whole: bool,
    #[serde(borrow)]
    first_position: Cow<'a, str>,
    #[serde(borrow)]
    end_position: Cow<'a, str>,
}

#[derive(Deserialize)]
struct RawBlock<'a> {
    #[serde(borrow)]
    first_position: Cow<'a, str>,
    count: u32,
    #[serde(borrow)]
    committed_ns: Cow<'a, str>,
    previous_sync_ns: u32,
    #[serde(borrow)]
    ahead_ns: Option<Cow<'a, str>>,
    #[serde(borrow)]
    ahead_since: Option<Cow<'a, str>>,
    #[serde(borrow)]
    state_hash: Cow<'a, str>,
    #[serde(borrow)]
    hash: Cow<'a, str>,
    sections: Vec<(u16, usize)>,
}

#[derive(Deserialize)]
struct RawEnd<'a> {
    #[serde(borrow)]
    position: Cow<'a, str>,
    #[serde(borrow)]
    hash: Cow<'a, str>,
}

impl RawExport<'_> {
    fn read(&self) -> Result<ExportLine, LineError> {
        if self.format > FORMAT {
            let format = self.format;
            return Err(LineError(format!(
                "its format is {format}, this program knows up to {FORMAT}: use a newer fakemon"
            )));
        }
        Ok(ExportLine {
            whole: self.whole,
            first: Position(number("export.first_position", &self.first_position)?),
            end: Position(number("export.end_position", &self.end_position)?),
        })
    }
}

impl RawBlock<'_> {
    fn read(&self) -> Result<BlockLine, LineError> {
        let state_hash = u64::from_str_radix(&self.state_hash, 16);
        let ahead_ns = self.ahead_ns.as_deref().unwrap_or("0").parse();
        let ahead_ns =
            ahead_ns.map_err(|_| LineError("block.ahead_ns must be a signed decimal of 64 bits".into()))?;
        let committed_at = Timestamp(number("block.committed_ns", &self.committed_ns)?);
        let head = BlockHead {
            first_position: number("block.first_position", &self.first_position)?,
            count: self.count,
            committed_ns: Ahead(ahead_ns).to_engine(committed_at).0,
            ahead_ns,
            ahead_since: number("block.ahead_since", self.ahead_since.as_deref().unwrap_or("0"))?,
            previous_sync_ns: self.previous_sync_ns,
            state_hash: state_hash.map_err(|_| LineError("block.state_hash must be 16 hex digits".into()))?,
        };
        let sections = self.sections.iter().map(|(shard, events)| (ShardId(*shard), *events)).collect();
        Ok(BlockLine { head, hash: hash("block.hash", &self.hash)?, sections })
    }
}

impl Raw<'_> {
    fn event(self) -> Result<Event, LineError> {
        match need("kind", &self.kind)?.as_ref() {
            "attempt" => self.attempt(),
            "appeared" => Ok(Event::Appeared {
                fakemon_id: self.fakemon_id()?,
                species: self.species()?,
                place: self.place()?,
                catch_rate: CatchRate::from_basis_points(*need("catch_rate_bp", &self.catch_rate_bp)?),
                at: self.at()?,
                vanishes_at: time("vanishes_at_ns", &self.vanishes_at_ns)?,
            }),
            "vanished" => Ok(Event::Vanished {
                fakemon_id: self.fakemon_id()?,
                species: self.species()?,
                place: self.place()?,
                at: self.at()?,
                vanishes_at: time("vanishes_at_ns", &self.vanishes_at_ns)?,
            }),
            "player_named" => Ok(Event::PlayerNamed {
                player: PlayerId(*need("player", &self.player)?),
                name: take("name", self.name)?,
            }),
            "species_named" => Ok(Event::SpeciesNamed { species: self.species()?, name: take("name", self.name)? }),
            "engine_opened" => Ok(Event::Opened {
                at: self.at()?,
                world_seed: number("world_seed", need("world_seed", &self.world_seed)?)?,
                reach_mm: *need("reach_mm", &self.reach_mm)?,
                cores: *need("cores", &self.cores)?,
                durable: *need("durable", &self.durable)?,
            }),
            "put" => self.put(),
            "resource_changed" => {
                Ok(Event::Changed { at: self.at()?, key: take("key", self.key)?, value: self.value })
            }
            other => Err(LineError(format!("kind {other} is not known: use a newer fakemon"))),
        }
    }

    fn attempt(self) -> Result<Event, LineError> {
        let outcome = need("outcome", &self.outcome)?;
        let outcome = Outcome::ALL.into_iter().find(|known| known.name() == outcome);
        let received_at = time("received_ns", &self.received_ns)?;
        let attempt = CaptureAttempt {
            player: PlayerId(*need("player", &self.player)?),
            attempt_id: AttemptId(number("attempt_id", need("attempt_id", &self.attempt_id)?)?),
            fakemon_id: self.fakemon_id()?,
            place: self.place()?,
            received_at,
        };
        Ok(Event::Attempt(DecidedAttempt {
            attempt,
            species: self.species()?,
            outcome: outcome.ok_or_else(|| LineError("outcome is none that this program knows".into()))?,
            queued_after_ns: *need("queued_after_ns", &self.queued_after_ns)?,
            decided_after_ns: *need("decided_after_ns", &self.decided_after_ns)?,
        }))
    }

    fn put(self) -> Result<Event, LineError> {
        let cause = self.cause.as_deref().map(|cause| number("cause", cause)).transpose()?;
        let origin = self.origin.as_deref().map(|origin| number("origin", origin)).transpose()?;
        Ok(Event::Put(Box::new(Put {
            at: self.at()?,
            time: time("time_ns", &self.time_ns)?,
            bus: take("bus", self.bus)?,
            source: take("source", self.source)?,
            detail_type: take("detail_type", self.detail_type)?,
            detail: take("detail", self.detail)?,
            resources: take("resources", self.resources)?,
            region: take("region", self.region)?,
            cause: cause.map(Position),
            hops: take("hops", self.hops)?,
            schedule: self.schedule,
            by: self.by,
            origin: origin.map(EventKey),
            trace: self.trace,
        })))
    }

    fn at(&self) -> Result<Timestamp, LineError> {
        time("at_ns", &self.at_ns)
    }

    fn fakemon_id(&self) -> Result<FakemonId, LineError> {
        number("fakemon_id", need("fakemon_id", &self.fakemon_id)?).map(FakemonId)
    }

    fn species(&self) -> Result<SpeciesId, LineError> {
        need("species", &self.species).map(|species| SpeciesId(*species))
    }

    fn place(&self) -> Result<Place, LineError> {
        Ok(Place { lat_e7: *need("lat_e7", &self.lat_e7)?, lon_e7: *need("lon_e7", &self.lon_e7)? })
    }
}

fn missing(member: &str) -> LineError {
    LineError(format!("the member {member} is missing"))
}

fn need<'v, T>(member: &str, value: &'v Option<T>) -> Result<&'v T, LineError> {
    value.as_ref().ok_or_else(|| missing(member))
}

fn take<T>(member: &str, value: Option<T>) -> Result<T, LineError> {
    value.ok_or_else(|| missing(member))
}

fn number(member: &str, text: &str) -> Result<u64, LineError> {
    text.parse().map_err(|_| LineError(format!("{member} must be a decimal string of 64 bits")))
}

fn time(member: &str, value: &Option<Cow<'_, str>>) -> Result<Timestamp, LineError> {
    number(member, need(member, value)?).map(Timestamp)
}

fn hash(member: &str, text: &str) -> Result<[u8; 32], LineError> {
    let hash = blake3::Hash::from_hex(text.as_bytes());
    hash.map(|hash| *hash.as_bytes()).map_err(|_| LineError(format!("{member} must be 64 hex digits")))
}
