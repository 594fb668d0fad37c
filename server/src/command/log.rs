//! `fakemon log`: events as JSON lines, from a dead data directory or beside a running server.

use super::DataArg;
use super::bound::{Bound, is_past, parse_bound, start};
use anyhow::Context;
use fakemon_engine::archive::{Archive, Recorded};
use fakemon_engine::bus::GAME_BUS;
use fakemon_engine::envelope::{Facet, Told, bus, kind};
use fakemon_engine::ids::{FakemonId, PlayerId, Position};
use fakemon_engine::model::Event;
use fakemon_engine::pattern::{Matcher, Pattern, Scratch};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::time::Duration;

/// What to print.
#[derive(Debug, clap::Args)]
pub struct LogArgs {
    #[command(flatten)]
    data: DataArg,
    /// Only events of this fakémon.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64))]
    fakemon: Option<u64>,
    /// Only throws of this player.
    #[arg(long, value_name = "NAME")]
    player: Option<String>,
    /// Only events of this kind; give it again for more kinds.
    #[arg(long, value_name = "KIND", ignore_case = true)]
    kind: Vec<Kind>,
    /// Only events that this rule of a bus matches; without a bus: of `fakemon`.
    #[arg(long, value_name = "[BUS/]NAME")]
    rule: Option<String>,
    /// From this position, or this time of the journal (RFC 3339), on.
    #[arg(long, value_name = "POSITION|TIME", value_parser = parse_bound)]
    from: Option<Bound>,
    /// Up to this position, or this time of the journal, included.
    #[arg(long, value_name = "POSITION|TIME", value_parser = parse_bound)]
    to: Option<Bound>,
    /// At most so many events.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Stay, and print what is written from now on too.
    #[arg(long)]
    follow: bool,
    /// JSON lines; they are printed anyway.
    #[arg(long)]
    json: bool,
}

/// Kinds of events, by their detail-types; `attempt` stands for both ends of a throw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Kind {
    Attempt,
    CaptureSucceeded,
    CaptureFailed,
    Appeared,
    Vanished,
    PlayerNamed,
    SpeciesNamed,
    EngineOpened,
    Put,
    ResourceChanged,
}

/// How often a follower looks for more.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);

/// Prints.
pub fn run(args: LogArgs) -> anyhow::Result<()> {
    let mut archive = Archive::open(&args.data.data)?;
    print_all(&mut archive, &args).with_context(|| format!("data directory {}", args.data.data.display()))
}

fn print_all(archive: &mut Archive, args: &LogArgs) -> anyhow::Result<()> {
    let mut stdout = BufWriter::new(io::stdout().lock());
    let mut next = start(archive, args.from)?;
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut wanted = args.rule.as_deref().map(|rule| Wanted::by_rule(archive, rule)).transpose()?;
    loop {
        let filter = Filter { args, player: args.player.as_deref().map(|name| archive.player_id(name)) };
        let mut printer = Printer { wanted: wanted.as_mut(), json: String::new() };
        let end = filter.print(archive, &mut next, &mut left, &mut printer, &mut stdout)?;
        stdout.flush()?;
        if end == End::Reached || !args.follow {
            return Ok(());
        }
        std::thread::sleep(FOLLOW_EVERY);
        archive.refresh()?;
    }
}

/// Why printing paused: nothing more is written yet, or nothing more is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Written,
    Reached,
}

struct Filter<'a> {
    args: &'a LogArgs,
    /// Some(None): a name that has no number yet.
    player: Option<Option<PlayerId>>,
}

impl Filter<'_> {
    /// Prints what passes from `next` on, at most `left` events; moves both.
    fn print(
        &self,
        archive: &Archive,
        next: &mut Position,
        left: &mut u64,
        printer: &mut Printer<'_>,
        out: &mut impl Write,
    ) -> anyhow::Result<End> {
        let mut printed = Ok(());
        let mut end = if *left == 0 { End::Reached } else { End::Written };
        if end == End::Reached {
            return Ok(end);
        }
        archive.for_each(*next, &mut |recorded| {
            if is_past(recorded, self.args.to) {
                end = End::Reached;
                return ControlFlow::Break(());
            }
            *next = Position(recorded.position.0 + 1);
            if self.passes(&recorded.event) {
                match printer.print(archive, recorded, *left, out) {
                    Ok(count) => *left -= count,
                    Err(error) => printed = Err(error),
                }
            }
            if *left == 0 {
                end = End::Reached;
            }
            match printed.is_ok() && end == End::Written {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        printed?;
        Ok(end)
    }

    fn passes(&self, event: &Event) -> bool {
        let (player, fakemon) = subjects(event);
        let kinds = &self.args.kind;
        (kinds.is_empty() || kinds.iter().any(|kind| kind.is_of(event)))
            && self.player.is_none_or(|wanted| wanted.is_some() && wanted == player)
            && self.args.fakemon.is_none_or(|wanted| fakemon == Some(FakemonId(wanted)))
    }
}

/// Which player and which fakémon an event is about.
fn subjects(event: &Event) -> (Option<PlayerId>, Option<FakemonId>) {
    match event {
        Event::Attempt { player, fakemon_id, .. } => (Some(*player), Some(*fakemon_id)),
        Event::Appeared { fakemon_id, .. } | Event::Vanished { fakemon_id, .. } => (None, Some(*fakemon_id)),
        Event::PlayerNamed { player, .. } => (Some(*player), None),
        Event::SpeciesNamed { .. } | Event::Opened { .. } | Event::Put(_) | Event::Changed { .. } => (None, None),
    }
}

impl Kind {
    fn is_of(self, event: &Event) -> bool {
        let (_, detail_type) = kind(event, Facet::Happened);
        match self {
            Kind::Attempt => matches!(event, Event::Attempt { .. }),
            Kind::CaptureSucceeded => detail_type == "fakemon.capture_succeeded",
            Kind::CaptureFailed => detail_type == "fakemon.capture_failed",
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

/// What a rule matches.
struct Wanted {
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
        let matcher = Matcher::new([(0, &Pattern::parse(text)?)])?;
        Ok(Wanted { bus: bus.to_owned(), matcher, scratch: Scratch::default() })
    }
}

/// Prints events: as they happened, or, where a rule is asked, what that rule sees.
struct Printer<'a> {
    wanted: Option<&'a mut Wanted>,
    json: String,
}

impl Printer<'_> {
    /// How many lines it printed, at most `most`.
    fn print(&mut self, archive: &Archive, recorded: &Recorded, most: u64, out: &mut impl Write) -> io::Result<u64> {
        let shown = |facet: &Facet| self.wanted.is_some() || *facet == Facet::Happened;
        let shown: Vec<Facet> = facets(&recorded.event).filter(shown).collect();
        let mut printed = 0;
        for facet in shown {
            self.json.clear();
            told(recorded, facet).write(&mut self.json, |id| archive.player_name(id), |id| archive.species_name(id));
            if printed < most && self.is_wanted(&recorded.event) {
                out.write_all(self.json.as_bytes())?;
                out.write_all(b"\n")?;
                printed += 1;
            }
        }
        Ok(printed)
    }

    fn is_wanted(&mut self, event: &Event) -> bool {
        let Some(wanted) = &mut self.wanted else { return true };
        let matched = wanted.matcher.matches(self.json.as_bytes(), &mut wanted.scratch);
        bus(event) == wanted.bus && matched.is_ok_and(|rules| !rules.is_empty())
    }
}

/// What a bus sees of an event: of a throw the attempt, and then how it ended.
pub(super) fn facets(event: &Event) -> impl Iterator<Item = Facet> + use<> {
    let attempt = matches!(event, Event::Attempt { .. }).then_some(Facet::Attempt);
    attempt.into_iter().chain([Facet::Happened])
}

/// An event in its place, to be written as JSON.
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
