//! Mends a journal that contradicts itself although no byte of it was changed: earlier versions could let a decision
//! of a shard overtake another one on its way to the journal. A decision depends on one fakémon only, so all events
//! of other fakémon hold, and those of this one hold in another order, or most of them:
//!
//! 1. Its events exchange positions among themselves, so that each follows from those before it. No other event
//!    moves, and only their ids change.
//! 2. An event that does not follow in any order is left out: an event at its position says what was there, and why
//!    it does not hold.

mod order;

use crate::archive::Recorded;
use crate::jsonl::{Names, write_event};
use fakemon_capture::decision::resolve::{Rules, resolve};
use fakemon_capture::player::IdRanges;
use fakemon_capture::population::{Change, Fakemon, Fate, Population};
use fakemon_journal::ReadError;
use fakemon_journal::RowStore;
use fakemon_model::envelope::{REGION, SOURCE_ENGINE};
use fakemon_model::event::{CaptureAttempt, DecidedAttempt, Event, Outcome, Put};
use fakemon_model::ids::{FakemonId, PlayerId, Position, ShardId, SpeciesId, Timestamp};
use fakemon_resource::DEFAULT_BUS;
use order::Sequence;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The replacements in a run.
#[derive(Default)]
pub(super) struct Mending {
    /// The new event at a position.
    pub(super) instead: BTreeMap<Position, Event>,
    /// Events that do not hold.
    pub(super) left_out: Vec<LeftOut>,
    /// Events that hold at another position.
    pub(super) moved: Vec<Moved>,
}

/// An event that does not follow from those before it, in any order.
pub(super) struct LeftOut {
    position: Position,
    why: String,
    /// The event as it was.
    was: serde_json::Value,
    /// The answer that was acknowledged.
    told: Option<String>,
}

/// An event that follows at another position.
pub(super) struct Moved {
    from: Position,
    to: Position,
    fakemon: FakemonId,
    told: Option<String>,
}

impl LeftOut {
    pub(super) fn sentence(&self) -> String {
        let told = self.told.as_ref().map_or(String::new(), |told| format!("; {told} can no longer hold"));
        format!("left out: position {}: {}{told}", self.position, self.why)
    }

    pub(super) fn as_json(&self) -> serde_json::Value {
        json!({ "left_out": self.position.to_string(), "why": self.why, "told": self.told, "was": self.was })
    }
}

impl Moved {
    pub(super) fn sentence(&self) -> String {
        let Moved { from, to, fakemon, told } = self;
        let told = told.as_ref().map_or(String::new(), |told| format!("; {told} holds, but for its position"));
        format!("moved: what happened to fakémon {fakemon} at position {from} stands at position {to}{told}")
    }

    pub(super) fn as_json(&self) -> serde_json::Value {
        let (from, to) = (self.from.to_string(), self.to.to_string());
        json!({ "moved": from, "to": to, "fakemon_id": self.fakemon.to_string(), "told": self.told })
    }
}

/// What is known of a player, for finding contradictions.
struct Named {
    name: String,
    /// Where the name got its number; 0 before the run.
    at: Position,
    used: IdRanges,
}

/// Decides a run again: contradictions are noted, and everything else is applied. Blocks are shown to it twice.
#[derive(Default)]
pub(super) struct Mender<'r> {
    /// The state before the run.
    rows: Option<&'r RowStore>,
    rules: Vec<(Position, Rules)>,
    population: Population,
    players: HashMap<PlayerId, Named>,
    /// Fakémon whose events contradict each other.
    torn: BTreeSet<FakemonId>,
    /// Events that are wrong independent of their fakémon.
    wrong: BTreeMap<Position, String>,
    /// All events of torn fakémon, and all wrong events.
    held: BTreeMap<Position, Event>,
}

impl<'r> Mender<'r> {
    /// For a run that begins with the first event, or for the part of a run after the snapshot.
    pub(super) fn new(rows: Option<&'r RowStore>) -> Result<Mender<'r>, ReadError> {
        let mut mender = Mender { rows, ..Mender::default() };
        let Some(rows) = rows else { return Ok(mender) };
        let opened = rows.head()?.and_then(|head| head.opened);
        let rules = opened.map(|opened| Rules { world_seed: opened.world_seed, reach_mm: opened.reach_mm });
        mender.rules.extend(rules.map(|rules| (Position(0), rules)));
        rows.fakemon(&mut |row| mender.population.apply(Change::Appeared(fakemon_capture::recovery::fakemon(&row))))?;
        rows.players(&mut |id, row| {
            let used = IdRanges::from_ranges(row.used.iter().map(|range| (range.first(), range.last())));
            mender.players.insert(id, Named { name: row.name, at: Position(0), used });
        })?;
        Ok(mender)
    }

    /// First pass: finds what contradicts.
    pub(super) fn live_through(&mut self, recorded: &Recorded) {
        let position = recorded.position;
        match &recorded.event {
            Event::Attempt(attempt) => {
                let CaptureAttempt { player, attempt_id, .. } = attempt.attempt;
                let is_first = self.players.get_mut(&player).map(|named| named.used.insert(attempt_id.0));
                let wrong = match is_first {
                    _ if matches!(player, PlayerId(0 | u32::MAX)) => "no player has this number".to_owned(),
                    None => format!("player {player} was never named"),
                    Some(false) => format!("attempt {attempt_id} of player {player} was decided before"),
                    Some(true) => return self.attempt(position, attempt),
                };
                self.wrong.insert(position, wrong);
            }
            Event::Appeared { fakemon_id, .. } | Event::Vanished { fakemon_id, .. } => {
                self.happen(*fakemon_id, &recorded.event);
            }
            Event::PlayerNamed { player, name } => {
                let named = Named { name: name.clone(), at: position, used: IdRanges::default() };
                if self.players.contains_key(player) {
                    self.wrong.insert(position, format!("player {player} was named before"));
                } else {
                    self.players.insert(*player, named);
                }
            }
            Event::Opened { world_seed, reach_mm, .. } => {
                self.rules.push((position, Rules { world_seed: *world_seed, reach_mm: *reach_mm }));
            }
            Event::SpeciesNamed { .. } | Event::Put(_) | Event::Changed { .. } => {}
        }
    }

    fn attempt(&mut self, position: Position, decided: &DecidedAttempt) {
        let (attempt, said) = (&decided.attempt, decided.outcome);
        let id = attempt.fakemon_id;
        if self.torn.contains(&id) {
            return;
        }
        if resolve(self.rules_at(position), self.population.get(id), attempt) != said {
            self.torn.insert(id);
        } else if said == Outcome::Captured {
            self.population.apply(Change::Captured(id, attempt.player));
        }
    }

    fn happen(&mut self, id: FakemonId, event: &Event) {
        if self.torn.contains(&id) {
            return;
        }
        match changed(self.population.get(id).copied(), event) {
            Some(_) => self.population.apply(match event {
                Event::Appeared { .. } => Change::Appeared(appeared(event)),
                _ => Change::Vanished(id),
            }),
            None => {
                self.torn.insert(id);
            }
        }
    }

    /// Whether anything contradicts.
    pub(super) fn found_something(&self) -> bool {
        !self.torn.is_empty() || !self.wrong.is_empty()
    }

    /// Second pass: gathers all events that are concerned.
    pub(super) fn gather(&mut self, recorded: Recorded) {
        let Recorded { position, event, .. } = recorded;
        let torn = event.fakemon_id().is_some_and(|id| self.torn.contains(&id));
        if torn || self.wrong.contains_key(&position) {
            self.held.insert(position, event);
        }
    }

    /// The replacements to write.
    pub(super) fn mend(mut self) -> Result<Mending, ReadError> {
        let mut mending = Mending::default();
        let held = std::mem::take(&mut self.held);
        let mut torn: BTreeMap<FakemonId, Vec<(Position, Event)>> = BTreeMap::new();
        for (position, event) in held {
            match (self.wrong.get(&position), event.fakemon_id()) {
                (Some(why), _) => self.leave_out(position, &event, why.clone(), &mut mending),
                (None, Some(id)) => torn.entry(id).or_default().push((position, event)),
                (None, None) => {}
            }
        }
        for (id, events) in torn {
            let row = self.rows.map(|rows| rows.fakemon_row(id)).transpose()?.flatten();
            let sequence = Sequence {
                before: row.as_ref().map(fakemon_capture::recovery::fakemon),
                events,
                rules: &|position| self.rules_at(position),
                named_at: &|player| self.players.get(&player).map_or(Position(0), |named| named.at),
            };
            let ordered = sequence.ordered();
            for (position, event, why) in ordered.left_out {
                self.leave_out(position, &event, why, &mut mending);
            }
            for (from, to, event) in ordered.placed.into_iter().filter(|(from, to, _)| from != to) {
                mending.moved.push(Moved { from, to, fakemon: id, told: self.told(&event) });
                mending.instead.insert(to, event);
            }
        }
        mending.left_out.sort_unstable_by_key(|left_out| left_out.position);
        Ok(mending)
    }

    fn leave_out(&self, position: Position, event: &Event, why: String, mending: &mut Mending) {
        let (committed_at, shard) = (Timestamp::default(), ShardId(0));
        let mut line = Vec::new();
        let recorded = Recorded { position, shard, committed_at, event: event.clone() };
        write_event(&mut line, &recorded, self).expect("memory takes everything");
        let was: serde_json::Value = serde_json::from_slice(&line).expect("a line is JSON");
        let detail = json!({ "position": position.to_string(), "why": why, "was": was }).to_string();
        let at = at(event);
        mending.instead.insert(
            position,
            Event::Put(Box::new(Put {
                at,
                time: at,
                bus: DEFAULT_BUS.into(),
                source: SOURCE_ENGINE.into(),
                detail_type: "fakemon.left_out".into(),
                detail,
                resources: Vec::new(),
                region: REGION.into(),
                cause: None,
                hops: 0,
                schedule: None,
                by: None,
                origin: None,
                trace: None,
            })),
        );
        mending.left_out.push(LeftOut { position, why, was, told: self.told(event) });
    }

    /// The answer that the player got.
    fn told(&self, event: &Event) -> Option<String> {
        let Event::Attempt(decided) = event else { return None };
        let name = self.players.get(&decided.player).map_or("unknown", |named| &named.name);
        let (attempt, id) = (decided.attempt_id, decided.fakemon_id);
        Some(format!("that attempt {attempt} of {name:?} at fakémon {id} ended as {}", decided.outcome.name()))
    }

    fn rules_at(&self, position: Position) -> Rules {
        let before = self.rules.partition_point(|(from, _)| *from <= position);
        before.checked_sub(1).map_or(Rules::default(), |last| self.rules[last].1)
    }
}

impl Names for Mender<'_> {
    fn player(&self, player: PlayerId) -> Option<&str> {
        self.players.get(&player).map(|named| &*named.name)
    }

    fn species(&self, _: SpeciesId) -> Option<&str> {
        None
    }
}

fn appeared(event: &Event) -> Fakemon {
    match event {
        Event::Appeared { fakemon_id, species, place, catch_rate, vanishes_at, .. } => {
            Fakemon::wild(*fakemon_id, *species, *place, *catch_rate, *vanishes_at)
        }
        _ => unreachable!("only what appears is asked"),
    }
}

/// A fakémon after it appeared or vanished; none if it cannot.
fn changed(fakemon: Option<Fakemon>, event: &Event) -> Option<Fakemon> {
    match (event, fakemon) {
        (Event::Appeared { .. }, None) => Some(appeared(event)),
        (Event::Vanished { .. }, Some(fakemon)) if fakemon.fate() == Fate::Wild => {
            Some(fakemon.with_fate(Fate::Vanished))
        }
        _ => None,
    }
}

/// When an event happened.
fn at(event: &Event) -> Timestamp {
    match event {
        Event::Attempt(attempt) => attempt.decided_at(),
        Event::Appeared { at, .. } | Event::Vanished { at, .. } | Event::Opened { at, .. } => *at,
        _ => Timestamp::default(),
    }
}
