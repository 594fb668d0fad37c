//! Prints the events of a range, one line each, as fast as possible or at a pace.

use super::{ReplayArgs, player};
use crate::command::bound::Range;
use crate::command::sentence::sentence;
use crate::printed::stdout;
use fakemon_history::archive::{Archive, Recorded};
use fakemon_journal::index::Subject;
use fakemon_model::envelope::EventKey;
use fakemon_model::envelope::Facet;
use fakemon_model::ids::{FakemonId, Timestamp};
use fakemon_model::place::Place;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Plays the events of a range.
pub(super) fn run(archive: &Archive, args: &ReplayArgs, range: &Range) -> anyhow::Result<()> {
    let Range { first: from, end: to, .. } = *range;
    let subject = match (args.fakemon, &args.player) {
        (Some(id), _) => Some(Subject::Fakemon(FakemonId(id))),
        (None, Some(name)) => Some(Subject::Player(player(archive, name)?)),
        (None, None) => None,
    };
    let mut pace = Pace { speed: args.speed.unwrap_or(0.0), began: None };
    let mut out = BufWriter::new(stdout());
    let mut printed = Ok(());
    let mut play = |recorded: &Recorded| {
        if recorded.position >= to {
            return ControlFlow::Break(());
        }
        if !range.holds(recorded) || args.area.is_some_and(|area| !is_inside(recorded, area)) {
            return ControlFlow::Continue(());
        }
        printed = pace.wait(recorded.committed_at, &mut out).and_then(|()| {
            if args.json {
                let key = EventKey::new(recorded.position, Facet::Happened);
                return writeln!(out, "{}", archive.envelope(recorded, key));
            }
            writeln!(out, "{} {} {}", recorded.committed_at, recorded.position, sentence(archive, recorded))
        });
        if printed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    match subject {
        Some(subject) => archive.about(subject, from, to, &mut play)?,
        None => archive.for_each(from, &mut play)?,
    }
    printed?;
    Ok(out.flush()?)
}

fn is_inside(recorded: &Recorded, area: super::Area) -> bool {
    let is_near = |place: Place| place.distance_m_squared(area.centre) <= area.radius_m * area.radius_m;
    recorded.event.place().is_some_and(is_near)
}

/// Keeps the distances in time between events, divided by the speed.
struct Pace {
    speed: f64,
    began: Option<(Instant, Timestamp)>,
}

impl Pace {
    fn wait(&mut self, at: Timestamp, out: &mut impl Write) -> io::Result<()> {
        if self.speed == 0.0 {
            return Ok(());
        }
        let (began, first) = *self.began.get_or_insert_with(|| (Instant::now(), at));
        let after = Duration::from_nanos(at.ns_since(first)).div_f64(self.speed);
        let left = (began + after).saturating_duration_since(Instant::now());
        if !left.is_zero() {
            out.flush()?; // flush before the wait, so that each event is shown in time
            std::thread::sleep(left);
        }
        Ok(())
    }
}
