//! Drawing: the timeline at the top, below it the map and the event, at the bottom the neighbouring events.

use super::Stepper;
use crate::command::sentence::{player_name, sentence, species_name};
use fakemon_model::event::Event;
use fakemon_model::ids::{FakemonId, Position};
use fakemon_model::place::Place;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::canvas::{Canvas, Points};
use ratatui::widgets::{Block, Gauge, Paragraph, Wrap};

const KEYS: &str =
    "space play · ←→ step · PgUp/PgDn 100 · f/F p/P next/previous of fakémon/player · +- speed · z/Z zoom · q quit";
/// Metres per degree of latitude.
const METRES_PER_DEGREE: f64 = 111_195.0;

pub(super) fn draw(frame: &mut Frame<'_>, stepper: &Stepper<'_>) {
    let rows = [Constraint::Length(3), Constraint::Min(8), Constraint::Length(9), Constraint::Length(1)];
    let [timeline, middle, events, keys] = Layout::vertical(rows).areas(frame.area());
    let [map, state] = Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).areas(middle);
    draw_timeline(frame, timeline, stepper);
    draw_map(frame, map, stepper);
    draw_state(frame, state, stepper);
    draw_events(frame, events, stepper);
    frame.render_widget(Line::from(stepper.note.unwrap_or(KEYS)).style(Style::new().fg(Color::DarkGray)), keys);
}

fn draw_timeline(frame: &mut Frame<'_>, area: Rect, stepper: &Stepper<'_>) {
    let (first, last) = (stepper.from.0, stepper.to.0 - 1);
    #[expect(clippy::cast_precision_loss, reason = "a bar has few cells")]
    let ratio = (stepper.at.0 - first) as f64 / (last - first).max(1) as f64;
    let at = stepper.event().map(|recorded| recorded.committed_at.to_string()).unwrap_or_default();
    let state = if stepper.plays() { "plays" } else { "paused" };
    let title = format!(" {first} ─ {last} · {state} · {}× ", stepper.speed);
    let gauge = Gauge::default()
        .block(Block::bordered().title(title))
        .gauge_style(Style::new().fg(Color::Cyan))
        .ratio(ratio.clamp(0.0, 1.0))
        .label(format!("position {} · {at}", stepper.at));
    frame.render_widget(gauge, area);
}

fn draw_map(frame: &mut Frame<'_>, area: Rect, stepper: &Stepper<'_>) {
    let here = stepper.event().and_then(|recorded| recorded.event.place());
    let middle = stepper.centre.or(here).or_else(|| stepper.wild.iter().next().map(|(_, sight)| sight.place));
    let block = Block::bordered().title(format!(" {} wild · {:.0} m around ", stepper.wild.len(), stepper.radius_m));
    let Some(middle) = middle else {
        return frame.render_widget(Paragraph::new("nothing is wild yet").block(block), area);
    };
    let metres = |place: Place| {
        let north = (place.lat() - middle.lat()) * METRES_PER_DEGREE;
        let lon = (place.lon() - middle.lon() + 540.0).rem_euclid(360.0) - 180.0; // the short way, also across the date line
        let east = lon * METRES_PER_DEGREE * middle.lat().to_radians().cos();
        (east, north)
    };
    let radius = stepper.radius_m;
    let inside = |(east, north): &(f64, f64)| east.abs() <= radius && north.abs() <= radius;
    let wild: Vec<(f64, f64)> =
        stepper.wild.iter().map(|(_, sight)| metres(sight.place)).filter(|at| inside(at)).collect();
    let target = stepper.fakemon().and_then(|id| stepper.wild.get(id)).map(|sight| metres(sight.place));
    let canvas = Canvas::default()
        .block(block)
        .marker(Marker::Braille)
        .x_bounds([-radius, radius])
        .y_bounds([-radius, radius])
        .paint(|context| {
            context.draw(&Points { coords: &wild, color: Color::Green });
            context.layer();
            if let Some((east, north)) = target {
                context.print(east, north, Line::styled("●", Style::new().fg(Color::Yellow)));
            }
            if let Some((east, north)) = here.map(metres).filter(|at| inside(at)) {
                context.print(east, north, Line::styled("✗", Style::new().fg(Color::Red)));
            }
        });
    frame.render_widget(canvas, area);
}

fn draw_state(frame: &mut Frame<'_>, area: Rect, stepper: &Stepper<'_>) {
    let mut lines: Vec<String> = Vec::new();
    if let Some(recorded) = stepper.event() {
        lines.push(sentence(stepper.archive, recorded));
        lines.push(format!("written {} by shard {}", recorded.committed_at, recorded.shard));
        if let Event::Attempt(attempt) = &recorded.event {
            let received_at = attempt.received_at;
            lines.push(format!("received {received_at}"));
            lines.push(format!("queued   +{} ns", attempt.queued_after_ns));
            lines.push(format!("decided  +{} ns", attempt.decided_after_ns));
            lines.push(format!("written  +{} ns", recorded.committed_at.ns_since(received_at)));
        }
        lines.extend(stepper.fakemon().map(|id| fakemon_line(stepper, id)));
        let player = stepper.player().map(|player| player_name(stepper.archive, player));
        lines.extend(player.map(|player| format!("player {player}: p and P go to their other events")));
    }
    let text: Vec<Line<'_>> = lines.into_iter().map(Line::from).collect();
    let block = Block::bordered().title(" event, and what was known before it ");
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }).block(block), area);
}

fn fakemon_line(stepper: &Stepper<'_>, id: FakemonId) -> String {
    match stepper.wild.get(id) {
        Some(sight) => format!(
            "before it: {} {id} was wild at {:.7}, {:.7}",
            species_name(stepper.archive, sight.species),
            sight.place.lat(),
            sight.place.lon()
        ),
        None => format!("before it: fakémon {id} was not wild"),
    }
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, stepper: &Stepper<'_>) {
    let shown = u64::from(area.height.saturating_sub(2));
    let first = stepper.at.0.saturating_sub(shown / 2).max(stepper.from.0);
    let lines =
        (first..first + shown).map(Position).filter(|position| *position < stepper.to).filter_map(|position| {
            let recorded = stepper.page.get(position)?;
            let line = Line::from(format!("{position} {}", sentence(stepper.archive, recorded)));
            let here = position == stepper.at;
            Some(if here { line.style(Style::new().add_modifier(Modifier::REVERSED)) } else { line })
        });
    let lines: Vec<Line<'_>> = lines.collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" events ")), area);
}
