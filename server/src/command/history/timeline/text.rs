//! A timeline for a terminal, 80 columns wide, without colour: one time axis, below it a line for each metric.
//!
//! ```text
//! label            ▁▂▃▄▅▆▇█▇▆▅▄▃▂▁▁▂▃▄▅▆▇█▇▆▅▄▃▂▁▁▂▃▄▅▆▇█▇▆▅▄▃▂▁▁▂▃▄▅▆    peak
//! ```

use super::Told;
use super::columns::{Columns, peak};
use super::wording::{SHED_UNKNOWN, bus_name, many, mark, slow_stage, slow_stages};
use crate::printed::is_unsafe;
use fakemon_history::timeline::{Bucket, Gap, Hottest, Mark, Stage, Stall};
use fakemon_model::event::Outcome;
use fakemon_model::format::{number, span, thousands};
use std::cmp::Reverse;
use std::fmt::Display;
use std::io::{self, Write};

const LABEL: usize = 17;
const CHART: usize = 52;
const PEAK: usize = 9;
/// Height of a tall chart, in lines.
const TALL: usize = 5;
/// Bars of 0 to 8 eighths.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Marks that are listed one by one.
const MARKS_TOLD: usize = 20;
/// Longest line of a mark, in characters.
const MARK_CHARS: usize = 100;

impl Told<'_> {
    /// Writes all of it.
    pub(super) fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        let columns = Columns::new(self.timeline, CHART);
        self.write_head(out)?;
        self.write_rates(&columns, out)?;
        self.write_latencies(&columns, out)?;
        self.write_queues(&columns, out)?;
        self.write_marks(&columns, out)?;
        self.write_stalls(out)?;
        self.write_gaps(out)?;
        self.write_hot("fakémon", &self.timeline.fakemon, |id| id.to_string(), out)?;
        self.write_hot("players", &self.timeline.players, |id| self.player(id), out)?;
        self.write_said(out)
    }

    fn write_head(&self, out: &mut impl Write) -> io::Result<()> {
        let (axis, whole) = (&self.timeline.axis, &self.timeline.whole);
        let range = axis.end().ns_since(axis.begin()) as f64;
        writeln!(out, "{}", self.dir.display())?;
        writeln!(out, "{} to {}", axis.begin(), axis.end())?;
        let bucket = span(axis.bucket_ns() as f64);
        writeln!(out, "{} in {} buckets of {bucket}; each column shows its greatest", span(range), axis.len())?;
        let events = thousands(whole.events() as f64);
        match self.timeline.positions {
            Some((first, last)) => writeln!(out, "{events} events, positions {first} to {last}")?,
            None => writeln!(out, "{events} events")?,
        }
        let per_second = number(whole.decided() as f64 * 1e9 / range);
        let attempts = thousands(whole.decided() as f64);
        let different = |different: Option<u64>, what| match different {
            Some(count) => format!("{} {what}", thousands(count as f64)),
            None => format!("very many {what}"),
        };
        let players = different(self.timeline.players.different, "players");
        let fakemon = different(self.timeline.fakemon.different, "fakémon");
        writeln!(out, "{attempts} throws, {per_second}/s on average, by {players} at {fakemon}\n")?;
        let (begin, end) = (self.clock().tell(axis.begin()), self.clock().tell(axis.end()));
        let between = CHART.saturating_sub(begin.chars().count());
        writeln!(out, "{:LABEL$} {begin}{end:>between$}{:>PEAK$}", "", "greatest")
    }

    fn write_rates(&self, columns: &Columns<'_>, out: &mut impl Write) -> io::Result<()> {
        write_tall("received/s", &columns.rate(|bucket| bucket.received), number, out)?;
        write_line("decided/s", &columns.rate(Bucket::decided), number, out)?;
        for outcome in Outcome::ALL {
            let rate = columns.rate(|bucket| bucket.outcomes[outcome as usize]);
            if peak(&rate) > 0.0 {
                write_line(&format!(" {}", outcome.name()), &rate, number, out)?;
            }
        }
        write_line("durable/s", &columns.rate(|bucket| bucket.durable), number, out)?;
        for (label, rate) in [
            ("appeared/s", columns.rate(|bucket| bucket.appeared)),
            ("vanished/s", columns.rate(|bucket| bucket.vanished)),
            ("put/s", columns.rate(|bucket| bucket.put)),
            ("resources/s", columns.rate(|bucket| bucket.changed)),
            ("names/s", columns.rate(|bucket| bucket.named)),
        ] {
            if peak(&rate) > 0.0 {
                write_line(label, &rate, number, out)?;
            }
        }
        writeln!(out)
    }

    fn write_latencies(&self, columns: &Columns<'_>, out: &mut impl Write) -> io::Result<()> {
        let p99 = |stage| columns.greatest(|_, bucket| some_p99(bucket, stage));
        write_tall("answer p99", &p99(Stage::Total), span, out)?;
        for stage in Stage::PARTS {
            write_line(&format!(" {} p99", stage.name()), &p99(stage), span, out)?;
        }
        let whole = &self.timeline.whole;
        for stage in Stage::ALL {
            let spread = whole.stage(stage);
            if spread.count > 0 {
                let [p50, p99, max] = [spread.p50, spread.p99, spread.max].map(|ns| span(ns as f64));
                writeln!(out, "{:LABEL$} p50 {p50:>9}   p99 {p99:>9}   max {max:>9}", stage.name())?;
            }
        }
        writeln!(out)
    }

    fn write_queues(&self, columns: &Columns<'_>, out: &mut impl Write) -> io::Result<()> {
        let waiting = |of: fn(&Bucket) -> f64| columns.greatest(|_, bucket| Some(of(bucket)));
        write_line("undecided", &waiting(|bucket| bucket.undecided.mean), number, out)?;
        write_line("undurable", &waiting(|bucket| bucket.undurable.mean), number, out)?;
        let group = |of: fn(&Bucket) -> u64| {
            columns.greatest(|_, bucket| (bucket.group_events.count > 0).then(|| of(bucket) as f64))
        };
        write_line("group size max", &group(|bucket| bucket.group_events.max), number, out)?;
        write_line("groups/s", &columns.rate(|bucket| bucket.group_events.count), number, out)
    }

    /// Writes one letter per column: its most important mark.
    fn write_marks(&self, columns: &Columns<'_>, out: &mut impl Write) -> io::Result<()> {
        let timeline = self.timeline;
        let within = |begin, end, column| begin < columns.end(column) && end >= columns.begin(column);
        let has = |marks: &[Mark], column| marks.iter().any(|mark| within(mark.at, mark.at, column));
        let (put, changed) = (columns.sum(|bucket| bucket.put), columns.sum(|bucket| bucket.changed));
        let letter = |column: usize| match () {
            () if has(&timeline.marks.opened, column) => 'O',
            () if timeline.stalls.iter().any(|stall| within(stall.begin, stall.end, column)) => '!',
            () if timeline.gaps.iter().any(|gap| within(gap.begin, gap.end, column)) => '-',
            () if has(&timeline.marks.said, column) => 's',
            () if changed[column] > 0 => 'r',
            () if put[column] > 0 => 'p',
            () => ' ',
        };
        let letters: String = (0..columns.len()).map(letter).collect();
        writeln!(out, "{:LABEL$} {}", "marks", letters.trim_end())?;
        let meaning = "O opened  ! stall  - gap  s said by the engine  r resource changed  p put";
        writeln!(out, "  {meaning}")
    }

    fn write_stalls(&self, out: &mut impl Write) -> io::Result<()> {
        let from = span(self.timeline.slow_ns as f64);
        let stalls = &self.timeline.stalls;
        writeln!(out, "\nstalls: {} (answers that took {from} or longer)", count(stalls.len()))?;
        for stall in stalls.iter().take(self.top) {
            self.write_stall(stall, out)?;
        }
        write_rest(stalls.len(), self.top, out)
    }

    fn write_stall(&self, stall: &Stall, out: &mut impl Write) -> io::Result<()> {
        let Stall { begin, first, last, attempts, groups, worst_ns, .. } = stall;
        let (begin, worst) = (self.clock().tell(*begin), span(*worst_ns as f64));
        let (attempts, groups) = (many(*attempts, "throw"), many(*groups, "group"));
        writeln!(out, "  {begin}  {worst}, {attempts} in {groups}, positions {first} to {last}")?;
        writeln!(out, "    {}", slow_stage(stall))?;
        writeln!(out, "    {}", slow_stages(stall))
    }

    fn write_gaps(&self, out: &mut impl Write) -> io::Result<()> {
        let gaps = &self.timeline.gaps;
        let from = span(self.timeline.gap_ns as f64);
        writeln!(
            out,
            "\ngaps: {} (silences of {from} or longer that are long for what is around, closings)",
            count(gaps.len())
        )?;
        for gap in gaps.iter().take(self.top) {
            let Gap { kind, begin, end, next } = gap;
            let (begin, end, ns) = (self.clock().tell(*begin), self.clock().tell(*end), span(gap.ns() as f64));
            writeln!(out, "  {begin} to {end}  {}: {ns}, until position {next}", kind.name())?;
        }
        write_rest(gaps.len(), self.top, out)
    }

    fn write_hot<Id: Copy>(
        &self,
        what: &str,
        hottest: &Hottest<Id>,
        name: impl Fn(Id) -> String,
        out: &mut impl Write,
    ) -> io::Result<()> {
        writeln!(out, "\nhot {what}: {}", if hottest.top.is_empty() { "none" } else { "throws, captured" })?;
        for hot in &hottest.top {
            let (attempts, captured) = (self.count(hot.attempts, hottest.missed_max), hot.captured);
            writeln!(out, "  {:<24} {attempts:>14} {captured:>9}", printable(&name(hot.id)))?;
        }
        Ok(())
    }

    /// Writes the engine's notices, and what the journal cannot show.
    fn write_said(&self, out: &mut impl Write) -> io::Result<()> {
        let marks = &self.timeline.marks;
        let shed = marks.said.iter().filter(|mark| mark.what.is_shedding()).count();
        writeln!(out, "\nshed load: {}", many(shed as u64, "report"))?;
        writeln!(out, "  {SHED_UNKNOWN}")?;
        writeln!(out, "\nput: {}", count(marks.put_kinds.len()))?;
        let mut kinds: Vec<_> = marks.put_kinds.iter().collect();
        kinds.sort_by_key(|(_, count)| Reverse(**count));
        for ((bus, source, detail_type), count) in kinds.iter().take(self.top) {
            let kind = printable(&format!("{source}, {detail_type}, on {}", bus_name(bus)));
            writeln!(out, "  {:>9}  {kind}", thousands(**count as f64))?;
        }
        write_rest(kinds.len(), self.top, out)?;
        let told: Vec<&Mark> = marks.opened.iter().chain(&marks.said).chain(&marks.changed).collect();
        writeln!(out, "\nmarks: {}", count(told.len()))?;
        for one in told.iter().take(MARKS_TOLD) {
            let line = printable(&mark(one));
            writeln!(out, "  {}  {line} (position {})", self.clock().tell(one.at), one.position)?;
        }
        write_rest(told.len(), MARKS_TOLD, out)
    }
}

fn some_p99(bucket: &Bucket, stage: Stage) -> Option<f64> {
    let spread = bucket.stage(stage);
    (spread.count > 0).then_some(spread.p99 as f64)
}

fn count(count: usize) -> impl Display {
    if count == 0 { "none".to_owned() } else { count.to_string() }
}

/// A foreign text without control characters of a terminal.
fn printable(text: &str) -> String {
    let harmless =
        |character: char| if is_unsafe(character) || character.is_control() { '\u{fffd}' } else { character };
    text.chars().map(harmless).take(MARK_CHARS).collect()
}

fn write_rest(all: usize, told: usize, out: &mut impl Write) -> io::Result<()> {
    if all > told { writeln!(out, "  and {} more: see --json, or a larger --top", all - told) } else { Ok(()) }
}

/// A chart of one line.
fn write_line(label: &str, values: &[Option<f64>], tell: fn(f64) -> String, out: &mut impl Write) -> io::Result<()> {
    let greatest = peak(values);
    let [bars] = &bars(values, greatest, 1)[..] else { return Ok(()) };
    writeln!(out, "{label:LABEL$} {bars}{:>PEAK$}", tell(greatest))
}

/// A chart of several lines, with the largest value and 0 beside it.
fn write_tall(label: &str, values: &[Option<f64>], tell: fn(f64) -> String, out: &mut impl Write) -> io::Result<()> {
    let greatest = peak(values);
    for (index, bars) in bars(values, greatest, TALL).iter().enumerate() {
        let (label, greatest) = if index == 0 { (label, tell(greatest)) } else { ("", String::new()) };
        writeln!(out, "{}", format!("{label:LABEL$} {bars}{greatest:>PEAK$}").trim_end())?;
    }
    Ok(())
}

/// Bars over `lines` lines, the upper line first. Any value above 0 is visible.
fn bars(values: &[Option<f64>], greatest: f64, lines: usize) -> Vec<String> {
    let full = lines * 8;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to `full`")]
    let height = |value: f64| match value > 0.0 {
        true => ((value / greatest * full as f64).round() as usize).max(1),
        false => 0,
    };
    let heights: Vec<usize> = values.iter().map(|value| value.map_or(0, height)).collect();
    let line = |line: usize| heights.iter().map(|height| EIGHTHS[height.saturating_sub(line * 8).min(8)]).collect();
    (0..lines).rev().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_every_value_and_the_greatest_fills_the_chart() {
        let values = [Some(0.0), None, Some(0.001), Some(4.0), Some(8.0)];
        assert_eq!(bars(&values, 8.0, 1), ["  ▁▄█"]);
        assert_eq!(bars(&values, 8.0, 2), ["    █", "  ▁██"]);
        assert_eq!(bars(&[Some(0.0)], 0.0, 1), [" "]);
    }

    #[test]
    fn a_line_has_eighty_columns() {
        let mut out = Vec::new();
        write_line("already_captured", &[Some(1.0); CHART], |_| "1m 59s".to_owned(), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap().trim_end().chars().count(), LABEL + 1 + CHART + PEAK);
        const { assert!(LABEL + 1 + CHART + PEAK <= 80) };
    }
}
