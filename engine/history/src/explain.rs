//! The story of one attempt, from the journal alone: when it passed each stage, what its fakémon was at that moment,
//! the roll, who won and why they came first, and which rules matched it, with the outcome of every delivery.
//! Everything is read, nothing is guessed: what the journal does not say is `None`.

use crate::archive::{Archive, Group, Opened, Recorded};
use fakemon_capture::decision::resolve::roll;
use fakemon_delivery::Delivery;
use fakemon_delivery::commands::{self, Command};
use fakemon_journal::ReadError;
use fakemon_journal::index::Subject;
use fakemon_model::envelope::{EventKey, Facet};
use fakemon_model::event::{CaptureAttempt, DecidedAttempt, Event, Outcome};
use fakemon_model::ids::{Position, ShardId, SpeciesId, Timestamp};
use fakemon_model::place::Place;
use fakemon_model::species::CatchRate;
use std::ops::{ControlFlow, Deref};

/// An attempt in the journal; all its times are by one clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecordedAttempt {
    /// Its place in the journal.
    pub position: Position,
    /// The shard that decided it.
    pub shard: ShardId,
    /// The attempt, and how it ended.
    pub decided: DecidedAttempt,
}

impl Deref for RecordedAttempt {
    type Target = DecidedAttempt;

    fn deref(&self) -> &DecidedAttempt {
        &self.decided
    }
}

/// What is known of the fakémon at the moment of the attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Where in the journal it appeared.
    pub appeared: Position,
    /// When it appeared.
    pub appeared_at: Timestamp,
    /// When it would expire.
    pub vanishes_at: Timestamp,
    pub species: SpeciesId,
    /// Where it was.
    pub place: Place,
    /// How easily it was caught.
    pub catch_rate: CatchRate,
    /// How many attempts at it were decided before this one,
    pub attempts_before: u64,
    /// and how many after.
    pub attempts_after: u64,
    /// Where it vanished uncaught, and when, if that was before the attempt.
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

/// Why another attempt was decided before this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It was received earlier.
    Received,
    /// It was received later, but reached the mailbox of the shard earlier.
    Queued,
    /// Both entered the mailbox in the same nanosecond or earlier: the other one was ahead in it.
    Mailbox,
}

/// The attempt that won.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Winner {
    /// The other attempt.
    pub attempt: RecordedAttempt,
    /// Why it came first.
    pub order: Order,
}

/// The group in which the attempt was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    pub group: Group,
    /// When it was on the disk; none for the newest group, because only the next one records its sync time.
    pub durable_at: Option<Timestamp>,
}

/// The whole story.
#[derive(Clone, Debug)]
pub struct Story {
    pub attempt: RecordedAttempt,
    /// How it became durable.
    pub durable: Durable,
    /// The settings that decided; none if retention deleted the opening.
    pub opened: Option<Opened>,
    /// Its fakémon; none if there never was one, or retention deleted its appearance.
    pub target: Option<Target>,
    /// From the player to the fakémon, in metres.
    pub distance_m: Option<f64>,
    /// The roll, if there was one.
    pub roll: Option<Roll>,
    /// The attempt that caught the fakémon, if this one came too late for it.
    pub winner: Option<Winner>,
    /// The attempt that caught the fakémon, if it was decided after this one.
    pub captured_later: Option<RecordedAttempt>,
    /// If this one won: the next attempt at the same fakémon that found it taken.
    pub runner_up: Option<RecordedAttempt>,
    /// What rules made of it; none if the journal does not reach back far enough to know the rules of then.
    pub deliveries: Option<Vec<Delivery>>,
}

/// Why there is no story.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// There is no event at the position.
    #[error("position {0} is not in the journal, which holds positions {1} to {2} (exclusive)")]
    NoEvent(Position, Position, Position),
    /// The event at the position is not an attempt.
    #[error("position {0} is no throw but {1}: see `fakemon trace {0}`")]
    NoAttempt(Position, String),
    /// The event at the position asks for an attempt; its answer is elsewhere.
    #[error("position {0} asks for a throw, whose answer is at position {1}: see `fakemon explain {1}`")]
    AnsweredElsewhere(Position, Position),
    /// The journal cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The rules and deliveries cannot be read.
    #[error(transparent)]
    Open(#[from] fakemon_capture::options::OpenError),
}

/// The story of the attempt at a position.
///
/// # Errors
/// When there is no attempt, or something cannot be read.
pub fn explain(archive: &Archive, position: Position) -> Result<Story, ExplainError> {
    let nothing = || ExplainError::NoEvent(position, archive.first_position(), archive.end_position());
    let recorded = archive.event(position)?.ok_or_else(nothing)?;
    let no_attempt = |recorded: &Recorded| {
        let (_, detail_type) =
            fakemon_model::envelope::kind(&recorded.event, fakemon_model::envelope::Facet::Happened);
        ExplainError::NoAttempt(position, detail_type.to_owned())
    };
    let Some(attempt) = attempt(&recorded) else {
        return Err(match answered(archive, &recorded)? {
            Some(answer) => ExplainError::AnsweredElsewhere(position, answer),
            None => no_attempt(&recorded),
        });
    };
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

/// The attempt in a record, if it is one.
pub fn attempt(recorded: &Recorded) -> Option<RecordedAttempt> {
    let Event::Attempt(decided) = recorded.event else { return None };
    Some(RecordedAttempt { position: recorded.position, shard: recorded.shard, decided })
}

/// Where the attempt that an event asks for was answered; none if it asks for none, or has no answer yet.
pub(crate) fn answered(archive: &Archive, recorded: &Recorded) -> Result<Option<Position>, ReadError> {
    match read_command(archive, recorded) {
        Some(Command::Attempt { player, attempt_id, .. }) => match archive.player_id(player.as_str()) {
            Some(player) => archive.decided(player, attempt_id),
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

/// The command that an event is; none if it is no command, or not a valid one.
pub(crate) fn read_command(archive: &Archive, recorded: &Recorded) -> Option<Command> {
    let key = EventKey::new(recorded.position, Facet::Happened);
    commands::is_command(&recorded.event).then(|| Command::read(&archive.envelope(recorded, key), key).ok())?
}

fn rolled(world_seed: u64, attempt: &CaptureAttempt, catch_rate: CatchRate) -> Roll {
    Roll { rolled: roll(world_seed, attempt), threshold: catch_rate.basis_points() }
}

fn order(winner: &DecidedAttempt, other: &DecidedAttempt) -> Order {
    if winner.received_at < other.received_at {
        Order::Received
    } else if winner.queued_at() < other.queued_at() {
        Order::Queued
    } else {
        Order::Mailbox
    }
}

/// The events of a fakémon that matter for an attempt at it.
#[derive(Default)]
struct History {
    target: Option<Target>,
    /// The capture, if there was one.
    winner: Option<RecordedAttempt>,
    /// The next attempt after this one, if this one is the capture.
    runner_up: Option<RecordedAttempt>,
}

impl History {
    fn of(archive: &Archive, attempt: &RecordedAttempt) -> Result<History, ReadError> {
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
                // An attempt before it appeared was at an unknown fakémon.
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
            // The vanishing is counted among the positions, but is no attempt.
            target.attempts_before = before - u64::from(target.vanished.is_some());
            target.attempts_after = after - u64::from(vanished.is_some() && target.vanished.is_none());
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
        attempts_before: 0,
        attempts_after: 0,
        vanished: None,
    })
}
