//! The rules of one bus, compiled: for each event, which of them match.
//!
//! - `records`: events of the game, without making JSON of them

mod records;
#[cfg(test)]
mod tests;

use fakemon_fbs::journal::Attempt;
use fakemon_model::envelope::{RESOURCE_CHANGED, SOURCE_ENGINE, Told};
use fakemon_model::event::Event;
use fakemon_pattern::pattern::{InvalidPattern, Matcher, Pattern, Scratch, WEIGHT_MAX};
use fakemon_resource::resource::Rule;
use fakemon_sync::seldom::Seldom;
use hashbrown::HashMap;
use records::Records;
pub use records::{Names, Text};
use std::sync::Arc;

static UNMATCHED: Seldom = Seldom::new("an event cannot be matched");

/// Rules of a bus by number; a number is good until the filter is made again.
pub struct Filter {
    /// Names by number.
    pub rules: Vec<String>,
    patterns: Vec<Known>,
    /// For events that are JSON; compiled for the first one.
    json: Option<Matcher>,
    /// For changes of resources, with only the rules that can match one. Creating a thousand rules makes a thousand
    /// changes, each of which is matched against newly compiled rules.
    changes: Option<Matcher>,
    /// For game events; compiled for the first one.
    records: Option<Records>,
    /// Whether some rule looks at `replay-name`.
    about_replays: bool,
    scratch: Scratch,
    /// The rules that match an event that is hidden from the others.
    asked: Vec<u32>,
}

/// Parsed patterns by text, because all rules of a bus are compiled again when one of them changes.
#[derive(Default)]
pub struct Patterns(HashMap<String, Known>);

/// A pattern, and whether it can match a change of a resource.
type Known = (Arc<Pattern>, bool);

/// The number of patterns that are kept; beyond it all are dropped.
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

impl Filter {
    /// A filter of the enabled rules of a bus that have a pattern.
    pub fn new<'r>(rules: impl Iterator<Item = &'r Rule>, known: &mut Patterns) -> Filter {
        let enabled = rules.filter(|rule| rule.is_enabled());
        Filter::of_patterns(enabled.filter_map(|rule| Some((rule.name.as_str(), rule.pattern.as_deref()?))), known)
    }

    /// A filter of patterns by name. They were checked when they were created; a pattern that this version cannot
    /// compile matches nothing, and is logged.
    pub fn of_patterns<'r>(patterns: impl IntoIterator<Item = (&'r str, &'r str)>, known: &mut Patterns) -> Filter {
        let (mut compiled, mut weight) = (Vec::new(), 0);
        for (name, pattern) in patterns {
            match known.parse(pattern) {
                // Refused when a rule is created, so an older version let this bus grow too far.
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
            asked: Vec::new(),
        }
    }

    /// Whether nothing can match.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules that match an event, in order. The JSON of the event is made only if it is needed and missing.
    pub fn matches(&mut self, told: &Told<'_>, names: &impl Names, json: &mut Option<Arc<str>>) -> &[u32] {
        let asks_for_more = told.replay.is_some() && self.about_replays;
        if Records::know(told.event) && !asks_for_more {
            let records = self.records.get_or_insert_with(|| Records::of(&self.patterns));
            return records.matches(told, names, &mut self.scratch);
        }
        self.matches_json(told.event, json.get_or_insert_with(|| names.json(told).into()))
    }

    /// As [`matches`](Self::matches); an event that is hidden matches only rules that ask for its source or
    /// detail-type.
    pub fn matches_unless(
        &mut self,
        hidden: bool,
        told: &Told<'_>,
        names: &impl Names,
        json: &mut Option<Arc<str>>,
    ) -> &[u32] {
        if !hidden {
            return self.matches(told, names, json);
        }
        let matched = self.matches(told, names, json).to_vec();
        let asks = |rule: &u32| {
            let (pattern, _) = &self.patterns[*rule as usize];
            pattern.paths().iter().any(|path| path == "source" || path == "detail-type")
        };
        self.asked = matched.into_iter().filter(asks).collect();
        &self.asked
    }

    /// Whether both events of an attempt are known to match nothing.
    pub fn passes_over(&self, attempt: &Attempt) -> bool {
        self.records.as_ref().is_some_and(|records| records.are_unwanted(attempt))
    }

    /// The rules that match the JSON of an event; invalid JSON matches nothing.
    fn matches_json(&mut self, event: &Event, json: &str) -> &[u32] {
        let of_changes = matches!(event, Event::Changed { .. });
        let numbered = (0u32..).zip(&self.patterns).filter(|(_, (_, admits))| *admits || !of_changes);
        let held = if of_changes { &mut self.changes } else { &mut self.json };
        let matcher = held.get_or_insert_with(|| compile(numbered.map(|(rule, (pattern, _))| (rule, &**pattern))));
        matcher.matches(json.as_bytes(), &mut self.scratch).unwrap_or_else(|error| {
            UNMATCHED.say(|| tracing::warn!("an event cannot be matched: {error}"));
            &[]
        })
    }
}

fn compile<'p>(patterns: impl Iterator<Item = (u32, &'p Pattern)>) -> Matcher {
    Matcher::new(patterns).unwrap_or_else(|error| {
        tracing::error!("the rules of a bus match nothing: {error}");
        Matcher::default()
    })
}
