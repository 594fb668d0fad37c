//! The same attempts decided again under other settings: how many results differ, and who would have won instead.

use super::{ReplayArgs, bar, watch};
use crate::command::sentence::player_name;
use crate::printed::stdout;
use anyhow::{Context, ensure};
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use fakemon_history::archive::Archive;
use fakemon_history::what_if::{Arrival, Comparison, Ending, Settings, what_if};
use fakemon_model::event::Outcome;
use fakemon_model::ids::{PlayerId, Position, SpeciesId};
use fakemon_model::species::CatchRate;
use serde_json::{Map, Value, json};
use std::io::{self, Write};

/// Settings that differ.
#[derive(Debug, clap::Args)]
pub(super) struct WhatIfArgs {
    /// Decide the throws of the range again, with the settings below, and compare.
    #[arg(long, conflicts_with_all = ["fakemon", "player", "area"])]
    pub(super) what_if: bool,
    /// Every fakémon is caught with this chance, 0 to 1.
    #[arg(long, value_name = "CHANCE", requires = "what_if", value_parser = parse_rate)]
    catch_rate: Option<CatchRate>,
    /// Fakémon of this species are caught with this chance, 0 to 1; repeat it for more species.
    #[arg(long, value_name = "SPECIES=CHANCE", requires = "what_if", value_parser = parse_rate_of)]
    catch_rate_of: Vec<(String, CatchRate)>,
    /// Reach of an attempt, in metres.
    #[arg(long, value_name = "METRES", requires = "what_if", value_parser = parse_reach)]
    reach_m: Option<u32>,
    /// Seed of the dodge rolls.
    #[arg(long, value_name = "SEED", requires = "what_if")]
    seed: Option<u64>,
    /// Decide attempts in the order in which they were read from their sockets.
    #[arg(long, requires = "what_if")]
    in_order_received: bool,
    /// Limit each player to N attempts per second.
    #[arg(long, value_name = "N", requires = "what_if", value_parser = clap::value_parser!(u32).range(1..))]
    throws_per_second: Option<u32>,
}

fn parse_rate(text: &str) -> Result<CatchRate, String> {
    let rate = text.parse().ok().and_then(CatchRate::from_fraction);
    rate.ok_or_else(|| format!("`{text}` is no chance from 0 to 1"))
}

fn parse_rate_of(text: &str) -> Result<(String, CatchRate), String> {
    let (species, rate) = text.split_once('=').ok_or_else(|| format!("`{text}` is not as in sparkit=0.5"))?;
    Ok((species.to_owned(), parse_rate(rate)?))
}

/// Parses a reach in metres; returns millimetres.
fn parse_reach(text: &str) -> Result<u32, String> {
    let metres: f64 = text.parse().map_err(|_| format!("`{text}` is no number of metres"))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked by the range")]
    match (0.001..=1_000_000.0).contains(&metres) {
        true => Ok((metres * 1e3).round() as u32),
        false => Err("the reach must be from 0.001 to 1000000 metres".to_owned()),
    }
}

/// Runs `fakemon replay --what-if`.
pub(super) fn run(archive: &Archive, args: &ReplayArgs, from: Position, to: Position) -> anyhow::Result<()> {
    let settings = settings(archive, &args.other)?;
    let bar = bar();
    let compared = what_if(archive, &settings, from, to, &mut watch(&bar, to));
    bar.finish();
    let comparison = compared?;
    let mut out = stdout();
    match args.json {
        true => writeln!(out, "{}", to_json(archive, &comparison, args.limit))?,
        false => write(archive, &comparison, args.limit, &mut out)?,
    }
    Ok(())
}

fn settings(archive: &Archive, args: &WhatIfArgs) -> anyhow::Result<Settings> {
    let species_of = |name: &str| {
        let number = (0..u16::MAX).map(SpeciesId).map_while(|number| Some((number, archive.species_name(number)?)));
        let found = number.into_iter().find(|(_, known)| *known == name).map(|(number, _)| number);
        found.with_context(|| format!("--catch-rate-of: the journal knows no species `{name}`"))
    };
    let catch_rate_of = args.catch_rate_of.iter().map(|(name, rate)| Ok((species_of(name)?, *rate)));
    let settings = Settings {
        catch_rate: args.catch_rate,
        catch_rate_of: catch_rate_of.collect::<anyhow::Result<_>>()?,
        reach_mm: args.reach_m,
        world_seed: args.seed,
        arrival: if args.in_order_received { Arrival::AsReceived } else { Arrival::AsDecided },
        attempts_per_s: args.throws_per_second,
    };
    let same = settings == Settings::default();
    ensure!(
        !same,
        "--what-if needs a setting that is different: --catch-rate, --catch-rate-of, --reach-m, --seed, \
                    --in-order-received or --throws-per-second"
    );
    Ok(settings)
}

fn ending(ending: Ending) -> &'static str {
    ending.map_or("throttled", Outcome::name)
}

/// All results, throttled last.
fn endings() -> impl Iterator<Item = Ending> {
    Outcome::ALL.into_iter().map(Some).chain([None])
}

fn write(archive: &Archive, comparison: &Comparison, limit: usize, out: &mut impl Write) -> io::Result<()> {
    let last = comparison.to.0.saturating_sub(1);
    writeln!(out, "positions {} to {last}: {} throws decided again", comparison.from, comparison.attempts)?;
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(["outcome", "was", "would be"]);
    for one in endings() {
        let was = one.map_or(0, |outcome| comparison.was(outcome));
        let would_be = comparison.would_be(one);
        if was + would_be > 0 {
            table.add_row([ending(one).to_owned(), was.to_string(), would_be.to_string()]);
        }
    }
    writeln!(out, "{table}")?;
    writeln!(out, "throws that end otherwise: {}", comparison.changed())?;
    let others = comparison.other_winners_count;
    writeln!(out, "fakémon with another winner: {others}")?;
    for other in comparison.other_winners.iter().take(limit) {
        let (was, would_be) = (holder(archive, other.was), holder(archive, other.would_be));
        writeln!(out, "  fakémon {}: {was}, would be {would_be}", other.fakemon_id)?;
    }
    match others.saturating_sub(limit as u64) {
        0 => Ok(()),
        more => writeln!(out, "  … {more} more; --limit shows them"),
    }
}

fn holder(archive: &Archive, holder: Option<(PlayerId, Position)>) -> String {
    match holder {
        Some((player, position)) => format!("{} (position {position})", player_name(archive, player)),
        None => "nobody".to_owned(),
    }
}

fn to_json(archive: &Archive, comparison: &Comparison, limit: usize) -> Value {
    let counts = |count: &dyn Fn(Ending) -> u64| -> Map<String, Value> {
        endings().map(|one| (ending(one).to_owned(), count(one).into())).collect()
    };
    let who = |holder: Option<(PlayerId, Position)>| {
        holder.map(
            |(player, position)| json!({ "player": archive.player_name(player), "position": position.to_string() }),
        )
    };
    json!({
        "from_position": comparison.from.to_string(),
        "end_position": comparison.to.to_string(),
        "throws": comparison.attempts,
        "was": counts(&|one| one.map_or(0, |outcome| comparison.was(outcome))),
        "would_be": counts(&|one| comparison.would_be(one)),
        "changed": comparison.changed(),
        "differs": comparison.differs.iter().take(limit).map(|differs| json!({
            "position": differs.position.to_string(),
            "player": archive.player_name(differs.player),
            "attempt_id": differs.attempt_id.to_string(),
            "fakemon_id": differs.fakemon_id.to_string(),
            "was": differs.was.name(),
            "would_be": ending(differs.would_be),
        })).collect::<Vec<_>>(),
        "other_winners_count": comparison.other_winners_count,
        "other_winners": comparison.other_winners.iter().take(limit).map(|other| json!({
            "fakemon_id": other.fakemon_id.to_string(),
            "was": who(other.was),
            "would_be": who(other.would_be),
        })).collect::<Vec<_>>(),
    })
}
