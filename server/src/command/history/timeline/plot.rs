//! Plots as inline SVG: one time axis for all, values as steps, one for each column of buckets. Colours are CSS
//! classes, so that the page defines them for light and dark mode.

use super::columns::{Columns, peak};
use super::wording::Clock;
use crate::printed::is_unsafe;
use fakemon_history::timeline::{Axis, Gap};
use fakemon_model::format::span;
use fakemon_model::ids::Timestamp;
use std::fmt::{self, Write};

pub(super) const WIDTH: f64 = 1_100.0;
pub(super) const LEFT: f64 = 76.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 8.0;
const HEIGHT: f64 = 150.0;
const BOTTOM: f64 = 20.0;
/// Height of one lane of marks, in pixels.
const LANE: f64 = 18.0;
/// Ticks of the time axis, at most, if nothing is folded.
const TIMES_MAX: u64 = 8;
/// Shortest distance of two ticks, for their labels, in pixels.
const TIMES_APART: f64 = 60.0;
/// Width of a folded closing, in pixels.
const FOLD: f64 = 16.0;
/// Share of the axis from which a closing is folded.
const FOLDED_FROM: f64 = 0.05;
/// Folds per axis: each replaces a twentieth of it, or more.
const FOLDS_MAX: usize = 20;

/// Scale of the value axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Linear, from 0.
    Linear,
    /// Logarithmic, in powers of ten.
    Powers,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Line,
    /// Filled down to 0.
    Area,
    /// Filled down to 0, and covers what was drawn before.
    Stack,
}

/// One value for each column.
pub(super) struct Series {
    pub(super) name: String,
    /// Number of one of the page's colours.
    pub(super) colour: usize,
    pub(super) shape: Shape,
    pub(super) values: Vec<Option<f64>>,
}

/// A time span that is highlighted in every plot.
pub(super) struct Band {
    pub(super) class: &'static str,
    pub(super) begin: Timestamp,
    pub(super) end: Timestamp,
}

/// A mark in a lane.
pub(super) struct Tick {
    pub(super) begin: Timestamp,
    pub(super) end: Timestamp,
    /// Its title; may contain foreign text.
    pub(super) title: String,
}

/// A lane of marks of one kind.
pub(super) struct Lane {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    pub(super) ticks: Vec<Tick>,
}

/// The time axis and columns shared by all plots of a page.
pub(super) struct Canvas<'a> {
    times: TimeScale,
    pub(super) columns: &'a Columns<'a>,
    bands: Vec<Band>,
}

/// Foreign text, escaped for HTML, inside and outside of attributes.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            character if is_unsafe(character) || character.is_control() => f.write_char('\u{fffd}'),
            character => f.write_char(character),
        })
    }
}

/// Time from left to right. Closings that would take much of it are folded.
struct TimeScale {
    begin: Timestamp,
    end: Timestamp,
    /// In order of time.
    folds: Vec<(Timestamp, Timestamp)>,
}

impl TimeScale {
    /// Makes the scale; `closings` are in order of time.
    fn new(axis: &Axis, closings: &[Gap]) -> TimeScale {
        let (begin, end) = (axis.begin(), axis.end());
        let range = end.ns_since(begin) as f64;
        let within = closings.iter().map(|gap| (gap.begin.clamp(begin, end), gap.end.clamp(begin, end)));
        let long = within.filter(|(from, to)| to.ns_since(*from) as f64 > FOLDED_FROM * range);
        TimeScale { begin, end, folds: long.take(FOLDS_MAX).collect() }
    }

    /// Nanoseconds before a time that are not folded, and the width of the folds before it.
    fn unfolded(&self, at: Timestamp) -> (u64, f64) {
        let (mut ns, mut folded) = (at.ns_since(self.begin), 0.0);
        for (from, to) in self.folds.iter().filter(|(from, _)| *from < at) {
            let (all, before) = (to.ns_since(*from), at.min(*to).ns_since(*from));
            ns -= before;
            folded += FOLD * before as f64 / all as f64;
        }
        (ns, folded)
    }

    /// Horizontal position of a time, from the left.
    fn x(&self, at: Timestamp) -> f64 {
        let (whole, folds) = self.unfolded(self.end);
        let (ns, folded) = self.unfolded(at.clamp(self.begin, self.end));
        let per_ns = (WIDTH - LEFT - RIGHT - folds) / (whole.max(1) as f64);
        LEFT + ns as f64 * per_ns + folded
    }

    /// Round times that are far enough apart for their labels, and the step between them in nanoseconds.
    fn ticks(&self) -> (Vec<Timestamp>, u64) {
        let step = step_of_time(self.unfolded(self.end).0.max(1));
        let round = |ns: u64| ns.div_ceil(step).saturating_mul(step);
        let (mut ticks, mut at) = (Vec::<Timestamp>::new(), round(self.begin.0));
        while at < self.end.0 {
            if let Some((_, to)) = self.folds.iter().find(|(from, to)| from.0 < at && at < to.0) {
                at = round(to.0);
                continue;
            }
            if ticks.last().is_none_or(|last| self.x(Timestamp(at)) - self.x(*last) > TIMES_APART) {
                ticks.push(Timestamp(at));
            }
            at = at.saturating_add(step);
        }
        (ticks, step)
    }
}

impl<'a> Canvas<'a> {
    /// Makes the canvas; `closings` are in order of time.
    pub(super) fn new(axis: &Axis, columns: &'a Columns<'a>, bands: Vec<Band>, closings: &[Gap]) -> Canvas<'a> {
        Canvas { times: TimeScale::new(axis, closings), columns, bands }
    }

    /// Horizontal position of a time, from the left.
    pub(super) fn x(&self, at: Timestamp) -> f64 {
        self.times.x(at)
    }

    /// Draws several series over each other, in the given order.
    pub(super) fn plot(
        &self,
        series: &[Series],
        scale: Scale,
        tell: fn(f64) -> String,
        out: &mut String,
    ) -> fmt::Result {
        let ruler = Ruler::of(series, scale);
        let height = TOP + HEIGHT + BOTTOM;
        write!(out, r#"<svg viewBox="0 0 {WIDTH} {height}" role="img">"#)?;
        self.write_bands(TOP, HEIGHT, out)?;
        for tick in ruler.ticks() {
            let y = ruler.y(tick);
            write!(out, r#"<path class="grid" d="M{LEFT} {y:.1}H{}"/>"#, WIDTH - RIGHT)?;
            write!(
                out,
                r#"<text class="tick" x="{}" y="{:.1}" text-anchor="end">{}</text>"#,
                LEFT - 6.0,
                y + 4.0,
                tell(tick)
            )?;
        }
        self.write_times(TOP + HEIGHT, out)?;
        for one in series {
            let path = self.path(one, &ruler);
            let shape = match one.shape {
                Shape::Line => "line",
                Shape::Area => "area",
                Shape::Stack => "stack",
            };
            write!(out, r#"<path class="{shape} c{}" d="{path}"/>"#, one.colour)?;
        }
        write!(out, r#"<path class="cursor" d="M0 {TOP}V{}"/></svg>"#, TOP + HEIGHT)
    }

    /// Draws lanes of marks, one below the other.
    pub(super) fn lanes(&self, lanes: &[Lane], out: &mut String) -> fmt::Result {
        let depth = LANE * lanes.len() as f64;
        write!(out, r#"<svg viewBox="0 0 {WIDTH} {}" role="img">"#, TOP + depth + BOTTOM)?;
        self.write_bands(TOP, depth, out)?;
        self.write_times(TOP + depth, out)?;
        for (index, lane) in lanes.iter().enumerate() {
            let top = TOP + LANE * index as f64;
            let (x, y, right) = (LEFT - 6.0, top + LANE / 2.0 + 4.0, WIDTH - RIGHT);
            write!(out, r#"<text class="tick" x="{x}" y="{y}" text-anchor="end">{}</text>"#, lane.name)?;
            write!(out, r#"<path class="grid" d="M{LEFT} {}H{right}"/>"#, top + LANE)?;
            for tick in &lane.ticks {
                let from = self.x(tick.begin);
                let wide = (self.x(tick.end) - from).max(3.0);
                let (class, title) = (lane.class, Escaped(&tick.title));
                let (y, high) = (top + 3.0, LANE - 6.0);
                write!(out, r#"<rect class="{class}" x="{from:.1}" y="{y}" width="{wide:.1}" height="{high}">"#)?;
                write!(out, "<title>{title}</title></rect>")?;
            }
        }
        out.write_str("</svg>")
    }

    fn write_bands(&self, top: f64, height: f64, out: &mut String) -> fmt::Result {
        for Band { class, begin, end } in &self.bands {
            let from = self.x(*begin);
            let wide = (self.x(*end) - from).max(1.0);
            write!(out, r#"<rect class="{class}" x="{from:.1}" y="{top}" width="{wide:.1}" height="{height}"/>"#)?;
        }
        for (from, to) in &self.times.folds {
            let (x, took) = (self.x(*from), span(to.ns_since(*from) as f64));
            write!(out, r#"<rect class="fold" x="{x:.1}" y="{top}" width="{FOLD}" height="{height}">"#)?;
            write!(out, "<title>the engine was not open for {took}: folded up</title></rect>")?;
        }
        Ok(())
    }

    fn write_times(&self, y: f64, out: &mut String) -> fmt::Result {
        let (ticks, step) = self.times.ticks();
        let clock = Clock::new(self.times.begin, self.times.end, step);
        for at in ticks {
            let x = self.x(at);
            write!(out, r#"<path class="grid" d="M{x:.1} {TOP}V{}"/>"#, y + 4.0)?;
            let anchor = if x < LEFT + 40.0 {
                "start"
            } else if x > WIDTH - 60.0 {
                "end"
            } else {
                "middle"
            };
            let text = clock.tell(at);
            write!(out, r#"<text class="tick" x="{x:.1}" y="{}" text-anchor="{anchor}">{text}</text>"#, y + 16.0)?;
        }
        Ok(())
    }

    /// Steps: each column at its value, from where it begins to where it ends; broken where there is none.
    fn path(&self, series: &Series, ruler: &Ruler) -> String {
        let (mut path, mut is_drawing) = (String::new(), false);
        let ground = TOP + HEIGHT;
        for (column, value) in series.values.iter().enumerate() {
            let (from, to) = (self.x(self.columns.begin(column)), self.x(self.columns.end(column)));
            let drawn = match (value, is_drawing, series.shape) {
                (Some(value), true, _) => write!(path, "V{:.1}H{to:.1}", ruler.y(*value)),
                (Some(value), false, Shape::Line) => write!(path, "M{from:.1} {:.1}H{to:.1}", ruler.y(*value)),
                (Some(value), false, Shape::Area | Shape::Stack) => {
                    write!(path, "M{from:.1} {ground}V{:.1}H{to:.1}", ruler.y(*value))
                }
                (None, true, Shape::Area | Shape::Stack) => write!(path, "V{ground}Z"),
                (None, ..) => Ok(()),
            };
            drawn.expect("a string takes everything");
            is_drawing = value.is_some();
        }
        if is_drawing && series.shape != Shape::Line {
            write!(path, "V{ground}Z").expect("a string takes everything");
        }
        path
    }
}

/// The value axis.
struct Ruler {
    scale: Scale,
    /// For `Powers`: exponents.
    from: f64,
    to: f64,
}

impl Ruler {
    fn of(series: &[Series], scale: Scale) -> Ruler {
        let greatest = series.iter().map(|one| peak(&one.values)).fold(0.0, f64::max);
        if scale == Scale::Linear {
            let step = round_step(greatest.max(1e-9) / 3.0);
            return Ruler { scale, from: 0.0, to: (greatest / step).ceil().max(1.0) * step };
        }
        let values = series.iter().flat_map(|one| one.values.iter().flatten());
        let least = values.copied().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
        match least.is_finite() {
            true => {
                let from = least.log10().floor();
                Ruler { scale, from, to: greatest.log10().ceil().max(from + 1.0) }
            }
            false => Ruler { scale, from: 0.0, to: 1.0 },
        }
    }

    fn y(&self, value: f64) -> f64 {
        let value = match self.scale {
            Scale::Linear => value,
            Scale::Powers if value > 0.0 => value.log10(),
            Scale::Powers => self.from,
        };
        let part = ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        TOP + HEIGHT * (1.0 - part)
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let step = round_step(self.to / 3.0001);
                let ticks = (0..).map(|tick| f64::from(tick) * step);
                ticks.take_while(|tick| *tick <= self.to * 1.0001).collect()
            }
            Scale::Powers => {
                let exponents = (0..=32).map(|tick| self.from + f64::from(tick));
                exponents.take_while(|exponent| *exponent <= self.to).map(|exponent| 10f64.powf(exponent)).collect()
            }
        }
    }
}

/// The next of 1, 2, 5, 10, 20, … that is not smaller.
fn round_step(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    power * steps.into_iter().find(|step| *step * power >= value * 0.9999).unwrap_or(10.0)
}

/// The step between ticks of time: a round number of a common unit.
fn step_of_time(range_ns: u64) -> u64 {
    const MS: u64 = 1_000_000;
    let of = |unit: u64, counts: &'static [u64]| counts.iter().map(move |count| count * unit);
    let below_a_second = of(MS / 1_000, &[100, 200, 500]).chain(of(MS, &[1, 2, 5, 10, 20, 50, 100, 200, 500]));
    let clock = [1_000 * MS, 60_000 * MS].into_iter().flat_map(|unit| of(unit, &[1, 2, 5, 10, 15, 30]));
    let hours = of(3_600_000 * MS, &[1, 2, 3, 6, 12, 24, 48, 168, 720, 2_160, 8_760, 87_600, 876_000]);
    let mut steps = below_a_second.chain(clock).chain(hours);
    steps.find(|step| range_ns / step <= TIMES_MAX).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_text() {
        let hostile = "</title><script>alert('x')</script>&\" \u{1b}[31m";
        let escaped = Escaped(hostile).to_string();
        assert_eq!(escaped, "&lt;/title&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot; \u{fffd}[31m");
    }

    #[test]
    fn ticks_are_round() {
        for (value, step) in [(0.9, 1.0), (1.1, 2.0), (3.0, 5.0), (700.0, 1_000.0)] {
            assert!((round_step(value) - step).abs() < 1e-9, "{value}");
        }
        let series = |values: &[f64]| {
            let values = values.iter().copied().map(Some).collect();
            [Series { name: String::new(), colour: 0, shape: Shape::Line, values }]
        };
        let ticks = |values: &[f64], scale| Ruler::of(&series(values), scale).ticks();
        assert_eq!(ticks(&[3.0, 90.0], Scale::Linear), [0.0, 50.0, 100.0]);
        assert_eq!(ticks(&[0.0], Scale::Linear).first(), Some(&0.0));
        let powers = ticks(&[3.0, 900.0], Scale::Powers);
        assert_eq!(powers.len(), 4, "{powers:?}");
        assert_eq!(ticks(&[0.0], Scale::Powers).len(), 2);
        assert_eq!(step_of_time(1_000_000_000), 200_000_000);
        assert_eq!(step_of_time(300_000_000_000), 60_000_000_000);
    }

    #[test]
    fn a_long_closing_is_folded_up() {
        let second = |at: u64| Timestamp(at * 1_000_000_000);
        let axis = Axis::new(second(1_000), second(2_100), None).unwrap();
        let closing = |begin, end| Gap {
            kind: fakemon_history::timeline::GapKind::Engine,
            begin: second(begin),
            end: second(end),
            next: fakemon_model::ids::Position(1),
        };
        let times = TimeScale::new(&axis, &[closing(1_010, 1_020), closing(1_050, 2_050)]);
        assert_eq!(times.folds, [(second(1_050), second(2_050))], "a short one stays");
        let (width, x) = (WIDTH - LEFT - RIGHT - FOLD, |at| times.x(second(at)));
        for (at, expected) in
            [(1_000, LEFT), (1_050, LEFT + width / 2.0), (2_050, LEFT + width / 2.0 + FOLD), (2_100, WIDTH - RIGHT)]
        {
            assert!((x(at) - expected).abs() < 1e-6, "{at}: {}", x(at));
        }
        let (ticks, _) = times.ticks();
        assert!(ticks.len() > 4 && ticks.iter().all(|at| *at < second(1_051) || *at > second(2_049)), "{ticks:?}");
    }
}
