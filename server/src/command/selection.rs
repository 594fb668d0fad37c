//! Selection of events: by fakémon, player, kind, rule and range; the same flags for `log` and `export`.

use super::bound::{Bound, parse_bound};
use anyhow::Context;
use fakemon_history::archive::{Archive, Recorded};
use fakemon_model::envelope::{COMMAND_REFUSED, Facet, Told, bus, kind};
use fakemon_model::event::{Event, PlayerName};
use fakemon_model::ids::{FakemonId, PlayerId};
use fakemon_pattern::pattern::{Matcher, Pattern, Scratch};
use fakemon_resource::GAME_BUS;
use serde_json::{Map, Value, json};

/// Flags that select events.
#[derive(Debug, clap::Args)]
pub(super) struct SelectionArgs {
    /// Only events of this fakémon.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64))]
    fakemon: Option<u64>,
    /// Only throws of this player.
    #[arg(long, value_name = "NAME", value_parser = parse_player)]
    player: Option<String>,
    /// Only events of this kind; repeat it for more kinds.
    #[arg(long, value_name = "KIND", ignore_case = true)]
    kind: Vec<Kind>,
    /// Only events that this rule matches [default BUS: fakemon].
    #[arg(long, value_name = "[BUS/]NAME")]
    rule: Option<String>,
    /// From this position, or this time of the journal (RFC 3339), on.
    #[arg(long, value_name = "POSITION|TIME", value_parser = parse_bound)]
    pub(super) from: Option<Bound>,
    /// Up to this position, or this time of the journal, included.
    #[arg(long, value_name = "POSITION|TIME", value_parser = parse_bound)]
    pub(super) to: Option<Bound>,
}

/// Kinds of events, by their detail-types; `attempt` selects captures and failures alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Kind {
    Attempt,
    CaptureSucceeded,
    CaptureFailed,
    CommandRefused,
    Appeared,
    Vanished,
    PlayerNamed,
    SpeciesNamed,
    EngineOpened,
    Put,
    ResourceChanged,
}

/// A name that a player can have.
fn parse_player(name: &str) -> Result<String, String> {
    PlayerName::new(name).map(|name| name.as_str().to_owned()).map_err(|error| error.to_string())
}

impl SelectionArgs {
    /// The filters as JSON; none if all events pass.
    pub(super) fn as_json(&self) -> Option<Value> {
        let mut filters = Map::new();
        let mut add = |name: &str, value: Option<Value>| value.map(|value| filters.insert(name.to_owned(), value));
        let text = |bound: Bound| match bound {
            Bound::Position(position) => json!(position.to_string()),
            Bound::Time(time) => json!(time.to_string()),
        };
        add("fakemon", self.fakemon.map(|id| json!(id.to_string())));
        add("player", self.player.as_ref().map(|player| json!(player)));
        let kinds: Vec<_> = self.kind.iter().filter_map(clap::ValueEnum::to_possible_value).collect();
        let kinds: Vec<_> = kinds.iter().map(clap::builder::PossibleValue::get_name).collect();
        add("kind", (!kinds.is_empty()).then(|| json!(kinds)));
        add("rule", self.rule.as_ref().map(|rule| json!(rule)));
        add("from", self.from.map(text));
        add("to", self.to.map(text));
        (!filters.is_empty()).then_some(Value::Object(filters))
    }

    /// The matcher of `--rule`, if it is given.
    pub(super) fn wanted(&self, archive: &Archive) -> anyhow::Result<Option<Wanted>> {
        self.rule.as_deref().map(|rule| Wanted::by_rule(archive, rule)).transpose()
    }

    /// The filters on the events themselves.
    pub(super) fn filter(&self, archive: &Archive) -> Filter<'_> {
        Filter { args: self, player: self.player.as_deref().map(|name| archive.player_id(name)) }
    }
}

/// Filters, with names resolved to numbers.
pub(super) struct Filter<'a> {
    args: &'a SelectionArgs,
    /// `Some(None)`: an unknown name, so that no event passes.
    player: Option<Option<PlayerId>>,
}

impl Filter<'_> {
    /// Whether an event passes the filters.
    pub(super) fn passes(&self, event: &Event) -> bool {
        let (player, fakemon) = subjects(event);
        let kinds = &self.args.kind;
        (kinds.is_empty() || kinds.iter().any(|kind| kind.is_of(event)))
            && self.player.is_none_or(|wanted| wanted.is_some() && wanted == player)
            && self.args.fakemon.is_none_or(|wanted| fakemon == Some(FakemonId(wanted)))
    }
}

/// The player and the fakémon of an event.
fn subjects(event: &Event) -> (Option<PlayerId>, Option<FakemonId>) {
    match event {
        Event::Attempt(attempt) => (Some(attempt.player), Some(attempt.fakemon_id)),
        Event::Appeared { fakemon_id, .. } | Event::Vanished { fakemon_id, .. } => (None, Some(*fakemon_id)),
        Event::PlayerNamed { player, .. } => (Some(*player), None),
        Event::SpeciesNamed { .. } | Event::Opened { .. } | Event::Put(_) | Event::Changed { .. } => (None, None),
    }
}

impl Kind {
    fn is_of(self, event: &Event) -> bool {
        let (_, detail_type) = kind(event, Facet::Happened);
        match self {
            Kind::Attempt => matches!(event, Event::Attempt(_)),
            Kind::CaptureSucceeded => detail_type == "fakemon.capture_succeeded",
            Kind::CaptureFailed => detail_type == "fakemon.capture_failed",
            Kind::CommandRefused => detail_type == COMMAND_REFUSED,
            Kind::Appeared => matches!(event, Event::Appeared { .. }),
            Kind::Vanished => matches!(event, Event::Vanished { .. }),
            Kind::PlayerNamed => matches!(event, Event::PlayerNamed { .. }),
            Kind::SpeciesNamed => matches!(event, Event::SpeciesNamed { .. }),
            Kind::EngineOpened => matches!(event, Event::Opened { .. }),
            Kind::Put => matches!(event, Event::Put(_)),
            Kind::ResourceChanged => matches!(event, Event::Changed { .. }),
        }
    }
}

/// The matcher of one rule.
pub(super) struct Wanted {
    bus: String,
    matcher: Matcher,
    scratch: Scratch,
}

impl Wanted {
    fn by_rule(archive: &Archive, rule: &str) -> anyhow::Result<Wanted> {
        let (bus, name) = rule.rsplit_once('/').unwrap_or((GAME_BUS, rule));
        let resources = archive.resources()?;
        let held = resources.rules.get(&(bus.to_owned(), name.to_owned()));
        let held = held.with_context(|| format!("--rule {rule}: the bus {bus} has no rule {name}"))?;
        let text = held.pattern.as_deref();
        let text = text.with_context(|| format!("--rule {rule}: it has a schedule, and no event pattern"))?;
        let pattern =
            Pattern::parse(text).with_context(|| format!("--rule {rule}: its pattern cannot be compiled"))?;
        let matcher = Matcher::new([(0, &pattern)]).with_context(|| format!("--rule {rule}"))?;
        Ok(Wanted { bus: bus.to_owned(), matcher, scratch: Scratch::default() })
    }

    /// Whether the rule matches an event, given as its envelope.
    pub(super) fn matches(&mut self, event: &Event, json: &[u8]) -> bool {
        let matched = self.matcher.matches(json, &mut self.scratch);
        bus(event) == self.bus && matched.is_ok_and(|rules| !rules.is_empty())
    }

    /// Whether the rule matches any facet of an event.
    pub(super) fn matches_any(&mut self, archive: &Archive, recorded: &Recorded) -> bool {
        facets(&recorded.event).any(|facet| {
            let mut json = String::new();
            told(recorded, facet).write(&mut json, |id| archive.player_name(id), |id| archive.species_name(id));
            self.matches(&recorded.event, json.as_bytes())
        })
    }
}

/// The events on a bus that a record becomes: an attempt gives the attempt itself, and then its result.
pub(super) fn facets(event: &Event) -> impl Iterator<Item = Facet> + use<> {
    let attempt = matches!(event, Event::Attempt(_)).then_some(Facet::Attempt);
    attempt.into_iter().chain([Facet::Happened])
}

/// An event with its position, to be written as JSON.
pub(super) fn told(recorded: &Recorded, facet: Facet) -> Told<'_> {
    Told {
        position: recorded.position,
        facet,
        shard: recorded.shard,
        committed_at: recorded.committed_at,
        event: &recorded.event,
        replay: None,
    }
}
