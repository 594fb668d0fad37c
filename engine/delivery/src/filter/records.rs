//! Matches game events without making JSON of them. Without JSON a rule can ask for a few fields; rules that ask only
//! for fields of few values (outcome, source, species) are matched once per combination, and the result is
//! remembered, as are players and fakémon that no rule asks for.

use super::{Known, compile};
use fakemon_capture::decision::record;
use fakemon_fbs::journal::Attempt;
use fakemon_model::envelope::{ACCOUNT, EventKey, Facet, REGION, Told, kind};
use fakemon_model::event::{Event, Outcome, PlayerName};
use fakemon_model::ids::{PlayerId, SpeciesId};
use fakemon_pattern::pattern::{Leaf, Matcher, PathId, Pattern, Scratch};
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::sync::Arc;

/// How many fields rules usually look at; more of them allocate memory for each event.
const FEW: usize = 4;
/// The slots of a filter for unwanted events; a power of two.
const UNWANTED_PLACES: usize = 4_096;
/// A field of game events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Version,
    DetailType,
    Source,
    Account,
    Region,
    Reason,
    Species,
    Id,
    Time,
    FakemonTime,
    AttemptId,
    Player,
    FakemonId,
    Lat,
    Lon,
    Position,
    Shard,
    CatchRate,
    ReceivedAt,
    QueuedAt,
    DecidedAt,
    CapturedAt,
    AppearedAt,
    VanishesAt,
    VanishedAt,
}

/// Fields of game events with few values.
const FIXED: [(&str, Field); 7] = [
    ("version", Field::Version),
    ("detail-type", Field::DetailType),
    ("source", Field::Source),
    ("account", Field::Account),
    ("region", Field::Region),
    ("detail.reason", Field::Reason),
    ("detail.species", Field::Species),
];
/// All other fields of game events.
const OTHER: [(&str, Field); 18] = [
    ("id", Field::Id),
    ("time", Field::Time),
    ("fakemon-time", Field::FakemonTime),
    ("detail.attempt_id", Field::AttemptId),
    ("detail.player", Field::Player),
    ("detail.fakemon_id", Field::FakemonId),
    ("detail.lat", Field::Lat),
    ("detail.lon", Field::Lon),
    ("detail.position", Field::Position),
    ("detail.shard", Field::Shard),
    ("detail.catch_rate", Field::CatchRate),
    ("detail.received_at", Field::ReceivedAt),
    ("detail.queued_at", Field::QueuedAt),
    ("detail.decided_at", Field::DecidedAt),
    ("detail.captured_at", Field::CapturedAt),
    ("detail.appeared_at", Field::AppearedAt),
    ("detail.vanishes_at", Field::VanishesAt),
    ("detail.vanished_at", Field::VanishedAt),
];

/// Matches game events by their records.
pub(super) struct Records {
    /// Rules that look only at the fixed fields of a game event.
    fixed: Option<Matcher>,
    remembered: HashMap<Class, Box<[u32]>>,
    /// Rules that look at more fields.
    other: Option<Matcher>,
    /// The fields these rules look at.
    asked: Vec<(PathId, Field)>,
    /// If these rules look at only one player or fakémon field: the players or fakémon that none of them asks for.
    unwanted: Option<Unwanted>,
    /// The result if both matchers have rules.
    both: Vec<u32>,
}

impl Records {
    /// Whether an event is of a kind that is matched by its record: those that number millions.
    pub(super) fn know(event: &Event) -> bool {
        matches!(event, Event::Attempt(_) | Event::Appeared { .. } | Event::Vanished { .. })
    }

    pub(super) fn of(patterns: &[Known]) -> Records {
        let asks_more =
            |pattern: &Pattern| pattern.paths().iter().any(|path| OTHER.iter().any(|(name, _)| path == name));
        let those_that = |more: bool| {
            let patterns = patterns.iter().map(|(pattern, _)| &**pattern);
            let wanted: Vec<(u32, &Pattern)> =
                (0..).zip(patterns).filter(|(_, pattern)| asks_more(pattern) == more).collect();
            (!wanted.is_empty()).then(|| compile(wanted.into_iter()))
        };
        let (fixed, other) = (those_that(false), those_that(true));
        let asked: Vec<_> = other.iter().flat_map(|other| asked(other, FIXED.into_iter().chain(OTHER))).collect();
        let unwanted = Unwanted::of(&asked);
        Records { fixed, remembered: HashMap::new(), other, asked, unwanted, both: Vec::new() }
    }

    /// Whether neither event of an attempt is known to match a rule: neither that it was made, nor how it ended.
    pub(super) fn are_unwanted(&self, attempt: &Attempt) -> bool {
        let Records { fixed: None, unwanted: Some(unwanted), .. } = self else { return false };
        let (species, whom) = (SpeciesId(attempt.species()), unwanted.whom.in_attempt(attempt));
        let ended = kind_of_end(record::outcome(attempt.outcome()));
        [KIND_OF_ATTEMPT, ended].iter().all(|kind| unwanted.has(Class { kind: *kind, species }, whom))
    }

    /// The rules that match, in ascending order.
    pub(super) fn matches<'s>(
        &'s mut self,
        told: &Told<'_>,
        names: &impl Names,
        scratch: &'s mut Scratch,
    ) -> &'s [u32] {
        let Records { fixed, remembered, other, asked, unwanted, both } = self;
        let class = class_of(told);
        let fixed: &[u32] = match fixed {
            Some(fixed) => remembered.entry(class).or_insert_with(|| {
                let asked: Vec<(PathId, Field)> = self::asked(fixed, FIXED.into_iter()).collect();
                decide(fixed, &asked, told, names, scratch).into()
            }),
            None => &[],
        };
        let Some(other) = other else { return fixed };
        let whom = unwanted.as_ref().map_or(0, |unwanted| unwanted.whom.in_event(told.event));
        if unwanted.as_ref().is_some_and(|unwanted| unwanted.has(class, whom)) {
            return fixed;
        }
        let other = decide(other, asked, told, names, scratch);
        if let Some(unwanted) = unwanted.as_mut().filter(|_| other.is_empty()) {
            unwanted.note(class, whom);
        }
        if fixed.is_empty() || other.is_empty() {
            return if other.is_empty() { fixed } else { other };
        }
        both.clear();
        both.extend(fixed.iter().chain(other));
        both.sort_unstable();
        both
    }
}

/// The fields that a matcher looks at.
fn asked(
    matcher: &Matcher,
    fields: impl Iterator<Item = (&'static str, Field)>,
) -> impl Iterator<Item = (PathId, Field)> {
    fields.filter_map(|(name, field)| {
        let parts: Vec<&str> = name.split('.').collect();
        Some((matcher.path(&parts)?, field))
    })
}

fn decide<'s>(
    matcher: &Matcher,
    asked: &[(PathId, Field)],
    told: &Told<'_>,
    names: &impl Names,
    scratch: &'s mut Scratch,
) -> &'s [u32] {
    let texts: SmallVec<[(PathId, Text<'_>); FEW]> =
        asked.iter().filter_map(|(path, field)| Some((*path, text_of(*field, told, names)?))).collect();
    let leaves: SmallVec<[(PathId, Leaf<'_>); FEW]> = texts.iter().map(|(path, text)| (*path, text.leaf())).collect();
    matcher.matches_leaves(&leaves, scratch)
}

/// What determines all fixed fields of an event.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Class {
    kind: u8,
    species: SpeciesId,
}

/// Events that matched nothing, by class and player or fakémon: with rules for a few of many players, nearly all
/// events. Each has one slot; a newer one replaces the one in it.
struct Unwanted {
    whom: Whom,
    places: Box<[(Class, u64)]>,
}

/// The field that rules ask for.
#[derive(Clone, Copy)]
enum Whom {
    Player,
    Fakemon,
}

impl Whom {
    /// The number in that field of an event; 0, which is no id, if the event lacks it.
    fn in_event(self, event: &Event) -> u64 {
        match (self, event) {
            (Whom::Player, Event::Attempt(attempt)) => attempt.player.0.into(),
            (Whom::Player, _) => 0,
            (Whom::Fakemon, event) => event.fakemon_id().map_or(0, |fakemon_id| fakemon_id.0),
        }
    }

    fn in_attempt(self, attempt: &Attempt) -> u64 {
        match self {
            Whom::Player => attempt.player().into(),
            Whom::Fakemon => attempt.fakemon_id(),
        }
    }
}

impl Unwanted {
    /// None unless the rules look at exactly one field beside the fixed ones, and it is the player or the fakémon.
    fn of(asked: &[(PathId, Field)]) -> Option<Unwanted> {
        let is_fixed = |field: &Field| FIXED.iter().any(|(_, fixed)| fixed == field);
        let mut others = asked.iter().map(|(_, field)| field).filter(|field| !is_fixed(field));
        let whom = match (others.next()?, others.next()) {
            (Field::Player, None) => Whom::Player,
            (Field::FakemonId, None) => Whom::Fakemon,
            _ => return None,
        };
        let nobody = (Class { kind: u8::MAX, species: SpeciesId::UNKNOWN }, 0);
        Some(Unwanted { whom, places: vec![nobody; UNWANTED_PLACES].into() })
    }

    fn place(&self, class: Class, whom: u64) -> usize {
        let mixed = (whom << 8 | u64::from(class.kind)).wrapping_mul(0x9E37_79B9_7F4A_7C15); // Fibonacci hashing
        (mixed >> (u64::BITS - UNWANTED_PLACES.ilog2())) as usize
    }

    fn has(&self, class: Class, whom: u64) -> bool {
        self.places[self.place(class, whom)] == (class, whom)
    }

    fn note(&mut self, class: Class, whom: u64) {
        let place = self.place(class, whom);
        self.places[place] = (class, whom);
    }
}

/// Looks up names by number.
pub trait Names {
    /// The name of a player.
    fn player(&self, player: PlayerId) -> Option<Text<'_>>;
    /// The name of a species.
    fn species(&self, species: SpeciesId) -> Option<Text<'_>>;
    /// The envelope of an event as JSON.
    fn json(&self, told: &Told<'_>) -> String;
}

/// The value of a field.
pub enum Text<'t> {
    Known(&'t str),
    Player(PlayerName),
    Shared(Arc<str>),
    Made(String),
    Number(f64),
    Null,
}

impl Text<'_> {
    fn leaf(&self) -> Leaf<'_> {
        match self {
            Text::Known(text) => Leaf::Text(text),
            Text::Player(name) => Leaf::Text(name.as_str()),
            Text::Shared(text) => Leaf::Text(text),
            Text::Made(text) => Leaf::Text(text),
            Text::Number(number) => Leaf::Number(*number),
            Text::Null => Leaf::Null,
        }
    }
}

const KIND_OF_ATTEMPT: u8 = 0;

fn kind_of_end(outcome: Outcome) -> u8 {
    10 + outcome as u8
}

fn class_of(told: &Told<'_>) -> Class {
    let (kind, species) = match (told.event, told.facet) {
        (Event::Attempt(attempt), Facet::Attempt) => (KIND_OF_ATTEMPT, attempt.species),
        (Event::Attempt(attempt), Facet::Happened) => (kind_of_end(attempt.outcome), attempt.species),
        (Event::Appeared { species, .. }, _) => (1, *species),
        (Event::Vanished { species, .. }, _) => (2, *species),
        _ => (3, SpeciesId::UNKNOWN),
    };
    Class { kind, species }
}

/// The value of a field as the envelope shows it; none if the event does not have it.
fn text_of<'t>(field: Field, told: &Told<'t>, names: &'t impl Names) -> Option<Text<'t>> {
    let made = |text: String| Some(Text::Made(text));
    let named = |text: Option<Text<'t>>| Some(text.unwrap_or(Text::Null));
    let happened = told.facet == Facet::Happened;
    match (field, told.event) {
        (Field::Version, _) => Some(Text::Known("0")),
        (Field::Account, _) => Some(Text::Known(ACCOUNT)),
        (Field::Region, _) => Some(Text::Known(REGION)),
        (Field::Source, event) => Some(Text::Known(kind(event, told.facet).0)),
        (Field::DetailType, event) => Some(Text::Known(kind(event, told.facet).1)),
        (Field::Id, _) => made(EventKey::new(told.position, told.facet).id()),
        (Field::Time, _) => made(told.time().whole_seconds()),
        (Field::FakemonTime, _) => told.has_fraction().then(|| Text::Made(told.time().to_string())),
        (Field::Position, _) => made(told.position.to_string()),
        (Field::Shard, _) => Some(Text::Number(told.shard.0.into())),
        (Field::AttemptId, Event::Attempt(attempt)) => made(attempt.attempt_id.to_string()),
        (Field::Player, Event::Attempt(attempt)) => named(names.player(attempt.player)),
        (Field::FakemonId, event) => event.fakemon_id().map(|fakemon_id| Text::Made(fakemon_id.to_string())),
        (Field::Species, Event::Attempt(attempt)) if happened => named(names.species(attempt.species)),
        (Field::Species, Event::Appeared { species, .. } | Event::Vanished { species, .. }) => {
            named(names.species(*species))
        }
        (Field::Lat, event) => event.place().map(|place| Text::Number(place.lat())),
        (Field::Lon, event) => event.place().map(|place| Text::Number(place.lon())),
        (Field::Reason, Event::Attempt(attempt)) => {
            (happened && attempt.outcome != Outcome::Captured).then(|| Text::Known(attempt.outcome.name()))
        }
        (Field::ReceivedAt, Event::Attempt(attempt)) => made(attempt.received_at.to_string()),
        (Field::QueuedAt, Event::Attempt(attempt)) if happened => made(attempt.queued_at().to_string()),
        (Field::DecidedAt, Event::Attempt(attempt)) if happened => made(attempt.decided_at().to_string()),
        (Field::CapturedAt, Event::Attempt(attempt)) if happened && attempt.outcome == Outcome::Captured => {
            made(attempt.decided_at().to_string())
        }
        (Field::CatchRate, Event::Appeared { catch_rate, .. }) => Some(Text::Number(catch_rate.fraction())),
        (Field::AppearedAt, Event::Appeared { at, .. }) => made(at.to_string()),
        (Field::VanishesAt, Event::Appeared { vanishes_at, .. } | Event::Vanished { vanishes_at, .. }) => {
            made(vanishes_at.to_string())
        }
        (Field::VanishedAt, Event::Vanished { at, .. }) => made(at.to_string()),
        _ => None,
    }
}
