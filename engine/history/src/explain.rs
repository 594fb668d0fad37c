//! The story of one throw, from the journal alone: the way it took and the time of each stage, what its fakémon was at
//! that moment, the roll, who won and why they came first, and which rules it concerned, with what became of every
//! delivery. Everything is read; nothing is guessed: what the journal does not say is `None`.

use crate::archive::{Archive, Group, Opened, Recorded};
use fakemon_capture::resolve::{Throw, roll};
use fakemon_delivery::Delivery;
use fakemon_journal::ReadError;
use fakemon_journal::index::Subject;
use fakemon_model::event::{Event, Outcome};
use fakemon_model::ids::{AttemptId, FakemonId, PlayerId, Position, ShardId, SpeciesId, Timestamp};
use fakemon_model::place::Place;
use fakemon_model::species::CatchRate;
use std::ops::ControlFlow;

/// A throw and the stages that it passed, all on one clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attempt {
    /// Its place in the journal.
    pub position: Position,
    /// Who threw.
    pub player: PlayerId,
    /// What the player called it.
    pub attempt_id: AttemptId,
    /// At what.
    pub fakemon_id: FakemonId,
    /// Of what species.
    pub species: SpeciesId,
    /// From where.
    pub place: Place,
    /// How it ended.
    pub outcome: Outcome,
    /// Who decided it.
    pub shard: ShardId,
    /// Read from the socket.
    pub received_at: Timestamp,
    /// In the mailbox of its shard.
    pub queued_at: Timestamp,
    /// Decided.
    pub decided_at: Timestamp,
}

/// What is known of the fakémon at the moment of the throw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Where in the journal it appeared.
    pub appeared: Position,
    /// When.
    pub appeared_at: Timestamp,
    /// Until when it would stay.
    pub vanishes_at: Timestamp,
    /// Its species.
    pub species: SpeciesId,
    /// Where.
    pub place: Place,
    /// How easily it was caught.
    pub catch_rate: CatchRate,
    /// How many throws at it were decided before this one,
    pub throws_before: u64,
    /// and how many after.
    pub throws_after: u64,
    /// Where it vanished uncaught, and when, if that was before the throw.
    pub vanished: Option<(Position, Timestamp)>,
}

/// The dodge roll: below the threshold the ball holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roll {
    /// 0 to 9,999.
    pub rolled: u16,
    /// The catch rate, in 1/10,000.
    pub threshold: u16,
}

/// Why another throw was decided before this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It was received earlier.
    Received,
    /// It was received later, but reached the mailbox of the shard earlier.
    Queued,
    /// Both were in the mailbox in the same nanosecond, or before: its place there was before this one's.
    Mailbox,
}

/// The throw that won.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Winner {
    /// Which.
    pub attempt: Attempt,
    /// Why it came first.
    pub order: Order,
}

/// The group that the throw was written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    /// The group.
    pub group: Group,
    /// When it was on the disk; none for the newest group, whose sync only the next one tells.
    pub durable_at: Option<Timestamp>,
}

/// The whole story.
#[derive(Clone, Debug)]
pub struct Story {
    /// The throw.
    pub attempt: Attempt,
    /// How it became durable.
    pub durable: Durable,
    /// What settings decided; none if retention let go of the opening.
    pub opened: Option<Opened>,
    /// Its fakémon; none if there never was one, or retention let go of its appearance.
    pub target: Option<Target>,
    /// From the player to the fakémon, in metres.
    pub distance_m: Option<f64>,
    /// The roll, if it came to one.
    pub roll: Option<Roll>,
    /// The throw that has the fakémon, if this one came too late for it.
    pub winner: Option<Winner>,
    /// The throw that has the fakémon, if it was decided after this one.
    pub captured_later: Option<Attempt>,
    /// If this one won: the next throw at the same fakémon that found it taken.
    pub runner_up: Option<Attempt>,
    /// What rules made of it; none if the journal does not reach back to what the rules were then.
    pub deliveries: Option<Vec<Delivery>>,
}

/// Why there is no story.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// Nothing is there.
    #[error("position {0} is not in the journal, which holds positions {1} to {2} (exclusive)")]
    NoEvent(Position, Position, Position),
    /// Something else is there.
    #[error("position {0} is no throw but {1}: see `fakemon trace {0}`")]
    NoThrow(Position, String),
    /// The journal cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The rules and deliveries cannot be read.
    #[error(transparent)]
    Open(#[from] fakemon_capture::options::OpenError),
}

/// Tells the story of the throw at a position.
///
/// # Errors
/// When there is no throw, or something cannot be read.
pub fn explain(archive: &Archive, position: Position) -> Result<Story, ExplainError> {
    let nothing = || ExplainError::NoEvent(position, archive.first_position(), archive.end_position());
    let recorded = archive.event(position)?.ok_or_else(nothing)?;
    let no_throw = |recorded: &Recorded| {
        let (_, detail_type) =
            fakemon_model::envelope::kind(&recorded.event, fakemon_model::envelope::Facet::Happened);
        ExplainError::NoThrow(position, detail_type.to_owned())
    };
    let attempt = attempt(&recorded).ok_or_else(|| no_throw(&recorded))?;
    let group = archive.group(position)?.ok_or_else(nothing)?;
    let durable_at = archive.synced_at(&group)?;
    let opened = archive.opened_before(position)?;
    let history = History::of(archive, &attempt)?;
    let target = history.target;
    let distance_m = target.map(|target| target.place.distance_m_squared(attempt.place).sqrt());
    let roll = match attempt.outcome {
        Outcome::Captured | Outcome::Dodged => {
            opened.zip(target).map(|(opened, target)| rolled(opened.world_seed, &attempt, target.catch_rate))
        }
        _ => None,
    };
    let winner = history.winner.filter(|winner| winner.position < position);
    Ok(Story {
        attempt,
        durable: Durable { group, durable_at },
        opened,
        target,
        distance_m,
        roll,
        winner: winner.map(|winner| Winner { attempt: winner, order: order(&winner, &attempt) }),
        captured_later: history.winner.filter(|winner| winner.position > position),
        runner_up: history.runner_up,
        deliveries: archive.deliveries(&recorded)?,
    })
}

/// The throw that a record is, if it is one.
pub fn attempt(recorded: &Recorded) -> Option<Attempt> {
    let Event::Attempt {
        player,
        attempt_id,
        fakemon_id,
        species,
        place,
        outcome,
        received_at,
        queued_at,
        decided_at,
    } = recorded.event
    else {
        return None;
    };
    let (position, shard) = (recorded.position, recorded.shard);
    Some(Attempt {
        position,
        player,
        attempt_id,
        fakemon_id,
        species,
        place,
        outcome,
        shard,
        received_at,
        queued_at,
        decided_at,
    })
}

fn rolled(world_seed: u64, attempt: &Attempt, catch_rate: CatchRate) -> Roll {
    let Attempt { player, attempt_id, fakemon_id, place, received_at, .. } = *attempt;
    let throw = Throw { player, attempt_id, fakemon_id, place, received_at };
    Roll { rolled: roll(world_seed, &throw), threshold: catch_rate.basis_points() }
}

fn order(winner: &Attempt, other: &Attempt) -> Order {
    if winner.received_at < other.received_at {
        Order::Received
    } else if winner.queued_at < other.queued_at {
        Order::Queued
    } else {
        Order::Mailbox
    }
}

/// What happened to a fakémon, as far as a throw at it is concerned.
#[derive(Default)]
struct History {
    target: Option<Target>,
    /// The capture, if there was one.
    winner: Option<Attempt>,
    /// The next throw after this one, if this one is the capture.
    runner_up: Option<Attempt>,
}

impl History {
    fn of(archive: &Archive, attempt: &Attempt) -> Result<History, ReadError> {
        let (fakemon, end) = (attempt.fakemon_id, archive.end_position());
        let mut history = History::default();
        let (mut decisive, mut vanished) = (Vec::new(), None);
        archive.positions(Subject::Fate(fakemon), Position(1), end, &mut |position| {
            decisive.push(position);
            ControlFlow::Continue(())
        })?;
        for position in decisive {
            let Some(recorded) = archive.event(position)? else { continue };
            match recorded.event {
                // What was thrown at before it appeared was unknown then.
                Event::Appeared { .. } if position > attempt.position => {}
                Event::Appeared { .. } => history.target = target(&recorded),
                Event::Vanished { at, .. } => vanished = Some((position, at)),
                _ => history.winner = self::attempt(&recorded),
            }
        }
        let (mut before, mut after, mut next) = (0, 0, None);
        let first = Position(history.target.map_or(0, |target| target.appeared.0) + 1);
        archive.positions(Subject::Fakemon(fakemon), first, end, &mut |position| {
            before += u64::from(position < attempt.position);
            after += u64::from(position > attempt.position);
            if position > attempt.position {
                next.get_or_insert(position);
            }
            ControlFlow::Continue(())
        })?;
        if let Some(target) = &mut history.target {
            let is_before = |(position, _): &(Position, Timestamp)| *position < attempt.position;
            target.vanished = vanished.filter(is_before);
            // The vanishing is no throw.
            target.throws_before = before - u64::from(target.vanished.is_some());
            target.throws_after = after - u64::from(vanished.is_some() && target.vanished.is_none());
        }
        if attempt.outcome == Outcome::Captured
            && let Some(next) = next
        {
            history.runner_up = archive.event(next)?.as_ref().and_then(self::attempt);
        }
        Ok(history)
    }
}

/// A fakémon as it appeared.
fn target(recorded: &Recorded) -> Option<Target> {
    let Event::Appeared { species, place, catch_rate, at, vanishes_at, .. } = recorded.event else { return None };
    let appeared = recorded.position;
    Some(Target {
        appeared,
        appeared_at: at,
        vanishes_at,
        species,
        place,
        catch_rate,
        throws_before: 0,
        throws_after: 0,
        vanished: None,
    })
}
