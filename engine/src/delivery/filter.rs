//! The rules of one bus, compiled. Game events are decided on their records: what a rule can ask of them without JSON
//! is a handful of fields, and rules that ask only for those of few values (what happened, why, to which species) are
//! decided once per combination and remembered.

use crate::bus::resource::Rule;
use crate::envelope::{ACCOUNT, Facet, REGION, RESOURCE_CHANGED, SOURCE_ENGINE, Told, kind};
use crate::ids::SpeciesId;
use crate::model::Event;
use crate::pattern::{InvalidPattern, Leaf, Matcher, PathId, Pattern, Scratch, WEIGHT_MAX};
use hashbrown::HashMap;
use std::sync::Arc;

/// Fields of game events with few values.
const FIXED: [&str; 7] = ["version", "detail-type", "source", "account", "region", "detail.reason", "detail.species"];
/// All other fields of game events.
const OTHER: [&str; 17] = [
    "id",
    "time",
    "detail.attempt_id",
    "detail.player",
    "detail.fakemon_id",
    "detail.lat",
    "detail.lon",
    "detail.position",
    "detail.shard",
    "detail.catch_rate",
    "detail.received_at",
    "detail.queued_at",
    "detail.decided_at",
    "detail.captured_at",
    "detail.appeared_at",
    "detail.vanishes_at",
    "detail.vanished_at",
];

/// Rules of a bus by number; a number is good until the filter is made again.
pub(crate) struct Filter {
    /// Names by number.
    pub(crate) rules: Vec<String>,
    patterns: Vec<Known>,
    /// For events that are JSON; compiled when the first comes.
    json: Option<Matcher>,
    /// For changes of resources: only rules that can match one. Whoever makes a thousand rules makes a thousand changes,
    /// and each comes with rules that are to be compiled again.
    changes: Option<Matcher>,
    /// For game events; the same.
    records: Option<Records>,
    /// Whether some rule looks at `replay-name`.
    about_replays: bool,
    scratch: Scratch,
}

/// What decides game events on their records.
struct Records {
    /// Rules that look at nothing of a game event but its fixed fields.
    fixed: Matcher,
    /// Those that look at more of it.
    other: Matcher,
    paths: Vec<(PathId, &'static str)>,
    remembered: HashMap<Class, Arc<[u32]>>,
}

/// Patterns that were parsed, by text: rules are compiled again whenever one of them changes.
#[derive(Default)]
pub(crate) struct Patterns(HashMap<String, Known>);

/// A pattern, and whether it can match a change of a resource.
type Known = (Arc<Pattern>, bool);

/// Patterns that are kept; beyond them all are forgotten.
const PATTERNS_MAX: usize = 10_000;

impl Patterns {
    fn parse(&mut self, text: &str) -> Result<Known, InvalidPattern> {
        if let Some(known) = self.0.get(text) {
            return Ok(known.clone());
        }
        let pattern = Pattern::parse(text)?;
        let admits_changes = pattern.admits(SOURCE_ENGINE, RESOURCE_CHANGED);
        let pattern = (Arc::new(pattern), admits_changes);
        if self.0.len() >= PATTERNS_MAX {
            self.0.clear();
        }
        self.0.insert(text.to_owned(), pattern.clone());
        Ok(pattern)
    }
}

impl Records {
    fn of(patterns: &[Known]) -> Records {
        let numbered = || (0u32..).zip(patterns.iter().map(|(pattern, _)| &**pattern));
        let is_fixed = |pattern: &Pattern| pattern.paths().iter().all(|path| !OTHER.contains(&path.as_str()));
        let fixed = compile(numbered().filter(|(_, pattern)| is_fixed(pattern)));
        let other = compile(numbered().filter(|(_, pattern)| !is_fixed(pattern)));
        let path = |name: &'static str| {
            let parts: Vec<&str> = name.split('.').collect();
            Some((other.path(&parts)?, name))
        };
        let paths = FIXED.into_iter().chain(OTHER).filter_map(path).collect();
        Records { fixed, other, paths, remembered: HashMap::new() }
    }

    fn remember(&mut self, class: Class, told: &Told<'_>, names: &Names<'_>, scratch: &mut Scratch) -> Arc<[u32]> {
        let mut texts = Vec::new();
        for name in FIXED {
            let parts: Vec<&str> = name.split('.').collect();
            if let Some((path, text)) = self.fixed.path(&parts).zip(text_of(name, told, names)) {
                texts.push((path, text));
            }
        }
        let leaves: Vec<(PathId, Leaf<'_>)> = texts.iter().map(|(path, text)| (*path, text.leaf())).collect();
        let matched: Arc<[u32]> = self.fixed.matches_leaves(&leaves, scratch).into();
        self.remembered.insert(class, matched.clone());
        matched
    }
}

/// What the fixed fields of an event follow from.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Class {
    kind: u8,
    species: SpeciesId,
}

impl Filter {
    /// Of the enabled rules of a bus that have a pattern.
    pub(crate) fn new<'r>(rules: impl Iterator<Item = &'r Rule>, known: &mut Patterns) -> Filter {
        let enabled = rules.filter(|rule| rule.is_enabled());
        Filter::of_patterns(enabled.filter_map(|rule| Some((rule.name.as_str(), rule.pattern.as_deref()?))), known)
    }

    /// Of patterns by name. They were checked when they were made; one that this version cannot compile matches nothing,
    /// and the log says so.
    pub(crate) fn of_patterns<'r>(
        patterns: impl IntoIterator<Item = (&'r str, &'r str)>,
        known: &mut Patterns,
    ) -> Filter {
        let (mut compiled, mut weight) = (Vec::new(), 0);
        for (name, pattern) in patterns {
            match known.parse(pattern) {
                // Refused when rules are made; so this is a bus that an older version let grow too far.
                Ok((pattern, _)) if weight + pattern.weight() > WEIGHT_MAX => {
                    tracing::error!(name, "it matches nothing: the rules of its bus are too complex together");
                }
                Ok(pattern) => {
                    weight += pattern.0.weight();
                    compiled.push((name.to_owned(), pattern));
                }
                Err(error) => tracing::error!(name, "its pattern cannot be compiled: {error}"),
            }
        }
        let about_replays =
            compiled.iter().any(|(_, (pattern, _))| pattern.paths().iter().any(|path| path == "replay-name"));
        let (rules, patterns): (Vec<String>, Vec<Known>) = compiled.into_iter().unzip();
        Filter {
            about_replays,
            rules,
            patterns,
            json: None,
            changes: None,
            records: None,
            scratch: Scratch::default(),
        }
    }

    /// Whether some rule tells replays from what happens now.
    pub(crate) fn asks_for_replays(&self) -> bool {
        self.about_replays
    }

    /// Whether nothing can match.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether an event can be decided on its record: those that there are millions of.
    pub(crate) fn knows(event: &Event) -> bool {
        matches!(event, Event::Attempt { .. } | Event::Appeared { .. } | Event::Vanished { .. })
    }

    /// The rules that match an event that [`knows`](Self::knows), in order.
    pub(crate) fn matches_record(&mut self, told: &Told<'_>, names: &Names<'_>) -> Arc<[u32]> {
        let records = self.records.get_or_insert_with(|| Records::of(&self.patterns));
        let class = Class { kind: class_of(told), species: species_of(told.event) };
        let fixed = match records.remembered.get(&class) {
            Some(known) => known.clone(),
            None => records.remember(class, told, names, &mut self.scratch),
        };
        if records.paths.is_empty() {
            return fixed;
        }
        let texts: Vec<(PathId, Text)> =
            records.paths.iter().filter_map(|(path, name)| Some((*path, text_of(name, told, names)?))).collect();
        let leaves: Vec<(PathId, Leaf<'_>)> = texts.iter().map(|(path, text)| (*path, text.leaf())).collect();
        let other = records.other.matches_leaves(&leaves, &mut self.scratch);
        if other.is_empty() {
            return fixed;
        }
        let mut both: Vec<u32> = fixed.iter().chain(other).copied().collect();
        both.sort_unstable();
        both.into()
    }

    /// The rules that match an event given as JSON too, in order. An event that is no JSON matches nothing.
    pub(crate) fn matches_json(&mut self, event: &Event, json: &str) -> Arc<[u32]> {
        let of_changes = matches!(event, Event::Changed { .. });
        let numbered = (0u32..).zip(&self.patterns).filter(|(_, (_, admits))| *admits || !of_changes);
        let held = if of_changes { &mut self.changes } else { &mut self.json };
        let matcher = held.get_or_insert_with(|| compile(numbered.map(|(rule, (pattern, _))| (rule, &**pattern))));
        match matcher.matches(json.as_bytes(), &mut self.scratch) {
            Ok(matched) => matched.into(),
            Err(error) => {
                tracing::warn!("an event cannot be matched: {error}");
                [].into()
            }
        }
    }
}

fn compile<'p>(patterns: impl Iterator<Item = (u32, &'p Pattern)>) -> Matcher {
    Matcher::new(patterns).unwrap_or_else(|error| {
        tracing::error!("the rules of a bus match nothing: {error}");
        Matcher::default()
    })
}

/// Texts for numbers.
pub(crate) struct Names<'n> {
    pub(crate) player: &'n dyn Fn(crate::ids::PlayerId) -> Option<String>,
    pub(crate) species: &'n dyn Fn(SpeciesId) -> Option<String>,
}

enum Text {
    Known(&'static str),
    Made(String),
    Number(f64),
    Null,
}

impl Text {
    fn leaf(&self) -> Leaf<'_> {
        match self {
            Text::Known(text) => Leaf::Text(text),
            Text::Made(text) => Leaf::Text(text),
            Text::Number(number) => Leaf::Number(*number),
            Text::Null => Leaf::Null,
        }
    }
}

fn class_of(told: &Told<'_>) -> u8 {
    match (told.event, told.facet) {
        (Event::Attempt { .. }, Facet::Attempt) => 0,
        (Event::Attempt { outcome, .. }, Facet::Happened) => 10 + *outcome as u8,
        (Event::Appeared { .. }, _) => 1,
        _ => 2,
    }
}

fn species_of(event: &Event) -> SpeciesId {
    match event {
        Event::Attempt { species, .. } | Event::Appeared { species, .. } | Event::Vanished { species, .. } => {
            *species
        }
        _ => SpeciesId::UNKNOWN,
    }
}

/// The value of a field as the envelope shows it; none if the event does not have it.
fn text_of(name: &str, told: &Told<'_>, names: &Names<'_>) -> Option<Text> {
    let made = |text: String| Some(Text::Made(text));
    let (source, detail_type) = kind(told.event, told.facet);
    match name {
        "version" => return Some(Text::Known("0")),
        "account" => return Some(Text::Known(ACCOUNT)),
        "region" => return Some(Text::Known(REGION)),
        "source" => return made(source.to_owned()),
        "detail-type" => return made(detail_type.to_owned()),
        "id" => return made(crate::envelope::EventKey::new(told.position, told.facet).id()),
        "time" => return made(told.time().to_string()),
        "detail.position" => return made(told.position.to_string()),
        "detail.shard" => return Some(Text::Number(told.shard.0.into())),
        _ => {}
    }
    let happened = told.facet == Facet::Happened;
    let named = |text: Option<String>| Some(text.map_or(Text::Null, Text::Made));
    match (told.event, name) {
        (Event::Attempt { attempt_id, .. }, "detail.attempt_id") => made(attempt_id.to_string()),
        (Event::Attempt { player, .. }, "detail.player") => named((names.player)(*player)),
        (Event::Attempt { fakemon_id, .. }, "detail.fakemon_id")
        | (Event::Appeared { fakemon_id, .. }, "detail.fakemon_id")
        | (Event::Vanished { fakemon_id, .. }, "detail.fakemon_id") => made(fakemon_id.to_string()),
        (Event::Attempt { species, .. }, "detail.species") if happened => named((names.species)(*species)),
        (Event::Appeared { species, .. }, "detail.species") | (Event::Vanished { species, .. }, "detail.species") => {
            named((names.species)(*species))
        }
        (Event::Attempt { place, .. }, "detail.lat")
        | (Event::Appeared { place, .. }, "detail.lat")
        | (Event::Vanished { place, .. }, "detail.lat") => Some(Text::Number(place.lat())),
        (Event::Attempt { place, .. }, "detail.lon")
        | (Event::Appeared { place, .. }, "detail.lon")
        | (Event::Vanished { place, .. }, "detail.lon") => Some(Text::Number(place.lon())),
        (Event::Attempt { outcome, .. }, "detail.reason") => {
            (happened && *outcome != crate::model::Outcome::Captured).then(|| Text::Known(outcome.name()))
        }
        (Event::Attempt { received_at, .. }, "detail.received_at") => made(received_at.to_string()),
        (Event::Attempt { queued_at, .. }, "detail.queued_at") if happened => made(queued_at.to_string()),
        (Event::Attempt { decided_at, .. }, "detail.decided_at") if happened => made(decided_at.to_string()),
        (Event::Attempt { outcome: crate::model::Outcome::Captured, decided_at, .. }, "detail.captured_at")
            if happened =>
        {
            made(decided_at.to_string())
        }
        (Event::Appeared { catch_rate, .. }, "detail.catch_rate") => Some(Text::Number(catch_rate.fraction())),
        (Event::Appeared { at, .. }, "detail.appeared_at") => made(at.to_string()),
        (Event::Appeared { vanishes_at, .. } | Event::Vanished { vanishes_at, .. }, "detail.vanishes_at") => {
            made(vanishes_at.to_string())
        }
        (Event::Vanished { at, .. }, "detail.vanished_at") => made(at.to_string()),
        _ => None,
    }
}
