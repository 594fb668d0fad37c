//! `fakemon replay`: back in time. The exact state at a position or nanosecond, the events of a range, the difference
//! between two positions, and the results under other settings; from a closed data directory or beside a running
//! server, which is not affected.
//!
//! - `state`: the game at one position
//! - `difference`: the states of two positions side by side
//! - `range`: prints events, at a pace
//! - `what_if`: the same attempts decided again
//! - `step`: in a terminal, event by event

mod difference;
mod range;
mod state;
mod step;
mod what_if;

use crate::command::DataArg;
use crate::command::bound::{Bound, Range, check_written, parse_bound};
use crate::command::progress::{self, Bar, Work};
use anyhow::{Context, ensure};
use fakemon_history::archive::Archive;
use fakemon_model::event::PlayerName;
use fakemon_model::ids::Position;
use fakemon_model::place::Place;
use std::ops::ControlFlow;

/// Arguments of `fakemon replay`.
#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    data: DataArg,
    /// Show the state right after this position, or at this time of the journal (RFC 3339, to the nanosecond).
    #[arg(long, value_name = "POSITION|TIME", value_parser = parse_bound, conflicts_with_all = ["from", "to"])]
    until: Option<Bound>,
    /// Print events, compare or decide again from this position or time on.
    #[arg(long, value_name = "POSITION|TIME", value_parser = parse_bound)]
    from: Option<Bound>,
    /// Up to this position or time, included.
    #[arg(long, value_name = "POSITION|TIME", value_parser = parse_bound)]
    to: Option<Bound>,
    /// Only this fakémon.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64), conflicts_with_all = ["player", "area"])]
    fakemon: Option<u64>,
    /// Only this player.
    #[arg(long, value_name = "NAME", conflicts_with = "area")]
    player: Option<String>,
    /// Only fakémon that are wild within METRES of a place.
    #[arg(long, value_name = "LAT,LON,METRES", value_parser = parse_area, allow_hyphen_values = true)]
    area: Option<Area>,
    /// Compare the states before --from and after --to.
    #[arg(long, conflicts_with_all = ["until", "area", "what_if"])]
    diff: bool,
    /// Step through the range in the terminal: play, pause, jump, with a map and the state beside each event.
    #[arg(long, conflicts_with_all = ["until", "diff", "what_if", "json", "fakemon", "player"])]
    step: bool,
    /// Play at FACTOR times the original pace, from 0.001 to 10000; 0 plays as fast as possible [default: 0; with
    /// --step: 1].
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true, conflicts_with_all = ["until", "diff", "what_if"])]
    speed: Option<f64>,
    #[command(flatten)]
    other: what_if::WhatIfArgs,
    /// Show at most N lines of each list.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

/// The slowest and the fastest pace.
const SPEED_RANGE: std::ops::RangeInclusive<f64> = 0.001..=10_000.0;

/// A circle.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Area {
    centre: Place,
    radius_m: f64,
}

fn parse_area(text: &str) -> Result<Area, String> {
    let numbers: Vec<f64> = text.split(',').map_while(|number| number.trim().parse().ok()).collect();
    let &[lat, lon, radius_m] = numbers.as_slice() else {
        return Err(format!("`{text}` is no area as in 40.4168,-3.7038,500"));
    };
    let centre = Place::from_degrees(lat, lon).map_err(|error| error.to_string())?;
    match radius_m > 0.0 && radius_m.is_finite() {
        true => Ok(Area { centre, radius_m }),
        false => Err("the metres of an area must be above 0".to_owned()),
    }
}

/// Runs `fakemon replay`.
pub fn run(args: ReplayArgs) -> anyhow::Result<()> {
    let is_pace = |speed: f64| speed == 0.0 || SPEED_RANGE.contains(&speed);
    ensure!(args.speed.is_none_or(is_pace), "--speed must be 0, or from 0.001 to 10000");
    let has_range = args.from.is_some() || args.to.is_some();
    ensure!(args.speed.is_none() || has_range || args.step, "--speed plays a range: give --from, --to or --step");
    let archive = Archive::open(&args.data.data)?;
    go_back(&archive, &args).with_context(|| format!("data directory {}", args.data.data.display()))
}

fn go_back(archive: &Archive, args: &ReplayArgs) -> anyhow::Result<()> {
    let until = args.until.or(args.to);
    let range = Range::of(archive, args.from, until)?;
    check_written(archive, until)?;
    let Range { first: from, end: to, .. } = range;
    if args.other.what_if {
        return what_if::run(archive, args, from, to);
    }
    if args.step {
        return step::run(archive, args, from, to);
    }
    if args.diff {
        return difference::run(archive, args, from, to);
    }
    match args.from.is_some() || args.to.is_some() {
        true => range::run(archive, args, &range),
        false => state::run(archive, args, to),
    }
}

/// The player that is asked for.
fn player(archive: &Archive, name: &str) -> anyhow::Result<fakemon_model::ids::PlayerId> {
    let name = PlayerName::new(name).context("--player")?;
    archive.player_id(name.as_str()).with_context(|| format!("--player {name}: nobody of this name ever threw"))
}

/// Makes a callback that moves the bar.
fn watch(bar: &Bar, end: Position) -> impl FnMut(Position) -> ControlFlow<()> + '_ {
    move |done| {
        bar.show(done, end);
        ControlFlow::Continue(())
    }
}

fn bar() -> Bar {
    progress::bar(Work::Replay)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_is_a_place_and_a_radius() {
        let area = parse_area("40.4168, -3.7038,500").unwrap();
        assert_eq!((area.centre.lat_e7, area.radius_m), (404_168_000, 500.0));
        for wrong in ["", "1,2", "1,2,3,4", "a,b,c", "91,0,5", "1,1,0", "1,1,-5", "1,1,inf", "1,1,NaN"] {
            assert!(parse_area(wrong).is_err(), "{wrong}");
        }
    }
}
