//! What led to an event, and what came of it: the tree of causes in the journal. An event that a rule put on another
//! bus names the one it was made from; a command that came as an event is followed to its effect.
//!
//! ```text
//! put ─┬─ put on another bus, by a rule ── …
//!      ├─ carried out: a fakémon appeared, or an attempt was decided
//!      ├─ refused: the event that says why
//!      └─ answered before: the first answer to an attempt whose id was used already
//! ```
//!
//! A record of the world does not name the command that it carries out. It belongs to a command if it is what that
//! one asked for in every member, and to the first of several: commands are carried out in the order of the journal.

use crate::archive::{Archive, Recorded};
use crate::explain::{self, ExplainError};
use fakemon_delivery::Delivery;
use fakemon_delivery::commands::{self, Command};
use fakemon_journal::ReadError;
use fakemon_journal::index::Subject;
use fakemon_model::envelope::{COMMAND_REFUSED, EventKey, Facet, SOURCE_CAPTURE, kind};
use fakemon_model::event::Event;
use fakemon_model::ids::{Position, Timestamp};
use std::ops::ControlFlow;

/// How deep a tree goes, up and down: rules end loops long before.
const DEPTH_MAX: usize = 64;
/// A command is looked for among this many events before its effect: it is carried out as soon as it is durable.
const ORDERED_BEFORE: u64 = 20_000;
/// Events of one tree.
const EVENTS_MAX: usize = 10_000;

/// How an event follows from the one above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Nothing is above it.
    First,
    /// A rule made it from that event, on another bus.
    ByRule,
    /// That event is a schedule that fired, and this is its event.
    BySchedule,
    /// That event was a command, and this is its effect.
    CarriedOut,
    /// That event was a command, and this one says why it was not carried out.
    Refused,
    /// That event was an attempt whose id had been used, and this is the answer to the first.
    AnsweredBefore,
}

/// An event in its tree.
#[derive(Clone, Debug)]
pub struct Node {
    /// The event.
    pub recorded: Recorded,
    /// How it follows from the one above it.
    pub relation: Relation,
    /// When its group was on the disk, as far as the journal says.
    pub durable_at: Option<Timestamp>,
    /// What rules made of it; none if the journal does not reach back far enough to know the rules of then.
    pub deliveries: Option<Vec<Delivery>>,
    /// What came of it.
    pub children: Vec<Node>,
}

/// A tree.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The first cause.
    pub root: Node,
    /// The event whose trace was asked for.
    pub asked: Position,
    /// The tree is larger than what is shown.
    pub is_cut: bool,
    /// The same for every event of the tree, also in a copy of the journal; different in every other journal.
    pub id: [u8; 16],
}

/// The tree of the event at a position.
///
/// # Errors
/// When there is no event, or something cannot be read.
pub fn trace(archive: &Archive, position: Position) -> Result<Trace, ExplainError> {
    let nothing = || ExplainError::NoEvent(position, archive.first_position(), archive.end_position());
    let recorded = archive.event(position)?.ok_or_else(nothing)?;
    let first = first_cause(archive, recorded)?;
    let mut tree = Tree { archive, events: 0, is_cut: false };
    let id = id(archive, first.position)?;
    let root = tree.grow(first, Relation::First, DEPTH_MAX)?;
    Ok(Trace { root, asked: position, is_cut: tree.is_cut, id })
}

/// The id, from the hash of the block that holds the first cause, which covers all of the journal before.
fn id(archive: &Archive, first: Position) -> Result<[u8; 16], ReadError> {
    let mut hasher = blake3::Hasher::new();
    archive.blocks(first, &mut |stored, _| {
        hasher.update(&stored.hash);
        Ok(ControlFlow::Break(()))
    })?;
    hasher.update(&first.0.to_be_bytes());
    Ok(*hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes"))
}

/// Goes up as far as the journal reaches.
fn first_cause(archive: &Archive, mut recorded: Recorded) -> Result<Recorded, ReadError> {
    for _ in 0..DEPTH_MAX {
        let above = match &recorded.event {
            Event::Put(put) => put.cause,
            Event::Appeared { fakemon_id, .. } => commands::spawned_by(*fakemon_id)
                .map_or_else(|| ordered(archive, &recorded), |above| Ok(Some(above)))?,
            Event::Attempt(_) => ordered(archive, &recorded)?,
            _ => None,
        };
        let Some(above) = above.filter(|above| *above < recorded.position) else { break };
        match archive.event(above)? {
            Some(found) if matches!(found.event, Event::Put(_)) || found.position == above => recorded = found,
            _ => break, // retention deleted it
        }
    }
    Ok(recorded)
}

/// The first command among the events shortly before that asked for this and was not refused.
fn ordered(archive: &Archive, done: &Recorded) -> Result<Option<Position>, ReadError> {
    let mut found = Vec::new();
    let from = Position(done.position.0.saturating_sub(ORDERED_BEFORE).max(archive.first_position().0));
    archive.for_each(from, &mut |recorded| {
        if recorded.position >= done.position {
            return ControlFlow::Break(());
        }
        if explain::read_command(archive, recorded).is_some_and(|command| led_to(archive, &command, &done.event)) {
            found.push(recorded.position);
        }
        ControlFlow::Continue(())
    })?;
    if found.len() > 1 {
        for position in &found {
            if !is_refused(archive, *position)? {
                return Ok(Some(*position));
            }
        }
    }
    Ok(found.first().copied())
}

fn led_to(archive: &Archive, command: &Command, done: &Event) -> bool {
    match done {
        Event::Appeared { species, .. } => command.leads_to(done, None, archive.species_name(*species)),
        Event::Attempt(attempt) => command.leads_to(done, archive.player_name(attempt.player), None),
        _ => false,
    }
}

/// Whether an event says that this command was not carried out.
fn is_refused(archive: &Archive, command: Position) -> Result<bool, ReadError> {
    let (mut said, mut failed) = (false, None);
    archive.positions(Subject::Cause(command), command, archive.end_position(), &mut |position| {
        match archive.event(position) {
            Ok(recorded) => said = recorded.is_some_and(|recorded| is_refusal(&recorded.event)),
            Err(error) => failed = Some(error),
        }
        if said || failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    failed.map_or(Ok(said), Err)
}

fn is_refusal(event: &Event) -> bool {
    kind(event, Facet::Happened) == (SOURCE_CAPTURE, COMMAND_REFUSED)
}

struct Tree<'a> {
    archive: &'a Archive,
    events: usize,
    is_cut: bool,
}

impl Tree<'_> {
    fn grow(&mut self, recorded: Recorded, relation: Relation, depth: usize) -> Result<Node, ExplainError> {
        self.events += 1;
        let group = self.archive.group(recorded.position)?;
        let durable_at = group.map(|group| self.archive.synced_at(&group)).transpose()?.flatten();
        let deliveries = self.archive.deliveries(&recorded)?;
        let mut children = Vec::new();
        for (position, relation) in self.below(&recorded)? {
            if depth == 0 || self.events >= EVENTS_MAX {
                self.is_cut = true;
                break;
            }
            let Some(child) = self.archive.event(position)? else { continue };
            let relation = if is_refusal(&child.event) { Relation::Refused } else { relation };
            children.push(match relation {
                Relation::AnsweredBefore => self.leaf(child, relation)?, // what came of it is no effect of this event
                _ => self.grow(child, relation, depth - 1)?,
            });
        }
        Ok(Node { recorded, relation, durable_at, deliveries, children })
    }

    /// An event without what came of it.
    fn leaf(&mut self, recorded: Recorded, relation: Relation) -> Result<Node, ReadError> {
        self.events += 1;
        let group = self.archive.group(recorded.position)?;
        let durable_at = group.map(|group| self.archive.synced_at(&group)).transpose()?.flatten();
        Ok(Node { recorded, relation, durable_at, deliveries: None, children: Vec::new() })
    }

    /// The direct effects of an event, in the order of the journal.
    fn below(&self, recorded: &Recorded) -> Result<Vec<(Position, Relation)>, ReadError> {
        let position = recorded.position;
        if !matches!(recorded.event, Event::Put(_) | Event::Attempt(_) | Event::Appeared { .. }) {
            return Ok(Vec::new());
        }
        let (mut below, end) = (Vec::new(), self.archive.end_position());
        let relation = match &recorded.event {
            Event::Put(put) if put.bus.is_empty() => Relation::BySchedule, // an event of a schedule is on no bus
            _ => Relation::ByRule,
        };
        self.archive.positions(Subject::Cause(position), position, end, &mut |child| {
            below.push((child, relation));
            if below.len() < EVENTS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        below.extend(self.carried_out(recorded)?);
        below.sort_unstable_by_key(|(position, _)| *position);
        Ok(below)
    }

    /// The effect of a command; or the answer to an attempt of the same name before it.
    fn carried_out(&self, recorded: &Recorded) -> Result<Option<(Position, Relation)>, ReadError> {
        let Some(command) = explain::read_command(self.archive, recorded) else {
            return Ok(None); // if it was refused, the refusal is an event that names it as its cause
        };
        let done = match &command {
            Command::Spawn(spawn) => {
                let Some(fakemon) = spawn.fakemon_id else { return Ok(None) };
                let (mut at, end) = (None, self.archive.end_position());
                self.archive.positions(Subject::Fate(fakemon), recorded.position, end, &mut |position| {
                    at = Some(position);
                    ControlFlow::Break(())
                })?;
                at
            }
            Command::Attempt { .. } => explain::answered(self.archive, recorded)?,
        };
        let Some(effect) = done.map(|at| self.archive.event(at)).transpose()?.flatten() else { return Ok(None) };
        let is_its_own = effect.position > recorded.position
            && led_to(self.archive, &command, &effect.event)
            && ordered(self.archive, &effect)?.is_none_or(|first| first == recorded.position);
        Ok(match (&command, is_its_own) {
            (_, true) => Some((effect.position, Relation::CarriedOut)),
            (Command::Attempt { .. }, false) => Some((effect.position, Relation::AnsweredBefore)),
            (Command::Spawn(_), false) => None,
        })
    }
}

/// A period of time with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Unique in the trace.
    pub id: u64,
    /// The span it is a part of.
    pub parent: Option<u64>,
    /// What it is.
    pub name: String,
    /// When it began.
    pub from: Timestamp,
    /// When it ended; not before it began.
    pub to: Timestamp,
    /// More about it.
    pub attributes: Vec<(&'static str, String)>,
}

impl Trace {
    /// The tree as spans: a span for each event, from when it was received until it was on the disk, one for each
    /// stage of an attempt, one for each delivery.
    pub fn spans(&self, archive: &Archive) -> Vec<Span> {
        let mut spans = Vec::new();
        self.root.add_spans(archive, None, &mut spans);
        spans
    }
}

impl Node {
    /// When it was received or decided, and when it was on the disk as far as that is known.
    fn time(&self) -> (Timestamp, Timestamp) {
        let from = match &self.recorded.event {
            Event::Attempt(attempt) => attempt.received_at,
            Event::Appeared { at, .. } | Event::Vanished { at, .. } | Event::Opened { at, .. } => *at,
            Event::Put(put) => put.at,
            Event::Changed { at, .. } => *at,
            Event::PlayerNamed { .. } | Event::SpeciesNamed { .. } => self.recorded.committed_at,
        };
        (from, self.durable_at.unwrap_or(self.recorded.committed_at).max(from))
    }

    fn add_spans(&self, archive: &Archive, parent: Option<u64>, spans: &mut Vec<Span>) {
        let key = EventKey::new(self.recorded.position, Facet::Happened);
        let (source, detail_type) = kind(&self.recorded.event, Facet::Happened);
        let (from, to) = self.time();
        let id = spans.len() as u64 + 1;
        let mut attributes = vec![
            ("fakemon.position", self.recorded.position.to_string()),
            ("fakemon.event_id", key.id()),
            ("fakemon.source", source.to_owned()),
            ("fakemon.shard", self.recorded.shard.to_string()),
        ];
        let attempt = explain::attempt(&self.recorded);
        if let Some(attempt) = &attempt {
            attributes.push(("fakemon.outcome", attempt.outcome.name().to_owned()));
            attributes.push(("fakemon.fakemon_id", attempt.fakemon_id.to_string()));
            let player = archive.player_name(attempt.player);
            attributes.extend(player.map(|player| ("fakemon.player", player.to_owned())));
        }
        spans.push(Span { id, parent, name: detail_type.to_owned(), from, to, attributes });
        let mut part = |name: &str, from: Timestamp, to: Timestamp, attributes| {
            let (own, name) = (spans.len() as u64 + 1, name.to_owned());
            spans.push(Span { id: own, parent: Some(id), name, from, to: to.max(from), attributes });
        };
        if let Some(attempt) = attempt {
            let committed = self.recorded.committed_at;
            part("queue", attempt.received_at, attempt.queued_at(), Vec::new());
            part("decide", attempt.queued_at(), attempt.decided_at(), Vec::new());
            part("gather", attempt.decided_at(), committed, Vec::new());
            part("sync", committed, to, Vec::new());
        }
        for delivery in self.deliveries.iter().flatten() {
            let target = vec![
                ("fakemon.rule", format!("{}/{}", delivery.bus, delivery.rule)),
                ("fakemon.target", delivery.target.clone()),
                ("fakemon.target_arn", delivery.arn.clone()),
                ("fakemon.delivery", delivery.whereabouts.name().to_owned()),
            ];
            part("delivery", to, to, target);
        }
        let own = self.children.iter().filter(|child| child.relation != Relation::AnsweredBefore);
        own.for_each(|child| child.add_spans(archive, Some(id), spans));
    }
}
