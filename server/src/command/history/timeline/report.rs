//! A timeline as one HTML page, to be attached to a ticket: plots and tables, self-contained. It supports light and
//! dark mode, screen and paper. Foreign text (names, events, keys) is always escaped.

use super::Told;
use super::columns::{Columns, peak};
use super::plot::{Band, Canvas, Escaped, LEFT, Lane, Scale, Series, Shape, Tick, WIDTH};
use super::wording::{Clock, SHED_UNKNOWN, many, mark, slow};
use fakemon_history::timeline::{Bucket, Gap, GapKind, Hottest, Mark, Stage, Stall};
use fakemon_model::event::Outcome;
use fakemon_model::format::{number, span, thousands};
use fakemon_model::ids::Timestamp;
use serde_json::json;
use std::fmt::{self, Write};

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");
/// Columns of a plot: about one for each pixel of it.
const COLUMNS_MAX: usize = 720;
/// Marks that a table lists one by one.
const MARKS_TOLD: usize = 200;
/// Marks that one tick lists one by one.
const TICK_TOLD: usize = 8;

/// A panel: a plot with its texts.
struct Panel {
    title: &'static str,
    note: &'static str,
    scale: Scale,
    tell: fn(f64) -> String,
    series: Vec<Series>,
}

impl Told<'_> {
    /// The page.
    pub(super) fn report(&self) -> String {
        let mut page = String::new();
        self.write_page(&mut page).expect("a string takes everything");
        page
    }

    fn write_page(&self, out: &mut String) -> fmt::Result {
        let columns = Columns::new(self.timeline, self.timeline.buckets.len().min(COLUMNS_MAX));
        let canvas = Canvas::new(&self.timeline.axis, &columns, self.bands(), &self.closings());
        let panels = panels(&columns);
        let title = Escaped(&format!("timeline of {}", self.dir.display())).to_string();
        write!(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>")?;
        let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
        write!(out, r#"<meta http-equiv="Content-Security-Policy" content="{policy}">"#)?;
        write!(
            out,
            r#"<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body><main>"#
        )?;
        self.page_head(&title, out)?;
        write!(out, "<figure><figcaption><b>Marks</b> <span>what stands beside the figures</span></figcaption>")?;
        canvas.lanes(&self.lanes(&columns), out)?;
        out.write_str("</figure>")?;
        for (index, panel) in panels.iter().enumerate() {
            write_panel(index, panel, &canvas, out)?;
        }
        self.write_tables(out)?;
        let version = env!("CARGO_PKG_VERSION");
        write!(out, "<footer>fakemon timeline {version}; times are UTC; {SHED_UNKNOWN}</footer></main>")?;
        let data = data(&panels, &canvas, &self.clock()).to_string().replace('<', "\\u003c");
        write!(out, r#"<div id="tip" hidden></div><script type="application/json" id="data">{data}</script>"#)?;
        write!(out, "<script>{SCRIPT}</script></body></html>")
    }

    fn page_head(&self, title: &str, out: &mut String) -> fmt::Result {
        let (axis, whole) = (&self.timeline.axis, &self.timeline.whole);
        let range = axis.end().ns_since(axis.begin()) as f64;
        write!(out, "<h1>{title}</h1><p>{} to {}: {}", axis.begin(), axis.end(), span(range))?;
        write!(out, ", {} buckets of {}", axis.len(), span(axis.bucket_ns() as f64))?;
        if axis.len() > COLUMNS_MAX {
            write!(out, "; neighbours share a column, which shows the greatest of them")?;
        }
        if let Some((first, last)) = self.timeline.positions {
            write!(out, "; positions {first} to {last}")?;
        }
        out.write_str("</p><div class=\"tiles\">")?;
        let total = whole.stage(Stage::Total);
        let per_second = |count: u64| number(count as f64 * 1e9 / range);
        let captured = whole.outcomes[Outcome::Captured as usize];
        let shed = self.timeline.marks.said.iter().filter(|mark| mark.what.is_shedding()).count();
        let ns = |ns: u64| if total.count == 0 { "–".to_owned() } else { span(ns as f64) };
        for (value, what) in [
            (thousands(whole.events() as f64), "events".to_owned()),
            (thousands(whole.decided() as f64), format!("throws, {}/s", per_second(whole.decided()))),
            (thousands(captured as f64), "captured".to_owned()),
            (ns(total.p50), "answer p50".to_owned()),
            (ns(total.p99), "answer p99".to_owned()),
            (ns(total.max), "slowest answer".to_owned()),
            (self.timeline.stalls.len().to_string(), "stalls".to_owned()),
            (self.timeline.gaps.len().to_string(), "gaps".to_owned()),
            (shed.to_string(), "reports of shed load".to_owned()),
        ] {
            write!(out, "<div><b>{value}</b>{what}</div>")?;
        }
        out.write_str("</div>")
    }

    /// Bands that highlight the longest stalls and gaps in every plot.
    fn bands(&self) -> Vec<Band> {
        let timeline = self.timeline;
        let stalls = timeline.stalls.iter().take(self.top).map(|stall| Band {
            class: "stall",
            begin: stall.begin,
            end: stall.end,
        });
        let gaps =
            timeline.gaps.iter().take(self.top).map(|gap| Band { class: "gap", begin: gap.begin, end: gap.end });
        gaps.chain(stalls).collect()
    }

    /// The times when the engine was not open: without events, however long.
    fn closings(&self) -> Vec<Gap> {
        let mut closings: Vec<Gap> =
            self.timeline.gaps.iter().filter(|gap| gap.kind == GapKind::Engine).copied().collect();
        closings.sort_by_key(|gap| gap.begin);
        closings
    }

    fn lanes(&self, columns: &Columns<'_>) -> Vec<Lane> {
        let timeline = self.timeline;
        let one = |one: &Mark| Tick { begin: one.at, end: one.at, title: self.tell_mark(one) };
        let each = |marks: &[Mark]| marks.iter().map(one).collect();
        let stall = |stall: &Stall| {
            let title = format!("{}; {}", span(stall.worst_ns as f64), slow(stall));
            Tick { begin: stall.begin, end: stall.end, title }
        };
        let gap = |gap: &Gap| {
            let title = format!("{}: {}", gap.kind.name(), span(gap.ns() as f64));
            Tick { begin: gap.begin, end: gap.end, title }
        };
        let marks = &timeline.marks;
        let changed = self.ticks(columns, &columns.sum(|bucket| bucket.changed), &marks.changed);
        let put = self.ticks(columns, &columns.sum(|bucket| bucket.put), &marks.put);
        let stalls = timeline.stalls.iter().map(stall).collect();
        let gaps = timeline.gaps.iter().map(gap).collect();
        let lane = |name, class, ticks| Lane { name, class, ticks };
        vec![
            lane("openings", "mark c2", each(&marks.opened)),
            lane("stalls", "mark c3", stalls),
            lane("gaps", "mark c6", gaps),
            lane("engine said", "mark c1", each(&marks.said)),
            lane("resources", "mark c4", changed),
            lane("put", "mark c0", put),
        ]
    }

    /// One tick for each column with marks.
    fn ticks(&self, columns: &Columns<'_>, counts: &[u64], marks: &[Mark]) -> Vec<Tick> {
        let mut marks = marks.iter().peekable();
        let tick = |(column, count): (usize, &u64)| {
            let end = columns.end(column);
            let mut title = format!("{count}");
            let mut told = 0;
            while let Some(one) = marks.next_if(|mark| mark.at < end) {
                told += 1;
                if told <= TICK_TOLD {
                    title.push('\n');
                    title.push_str(&self.tell_mark(one));
                }
            }
            (*count > 0).then(|| Tick { begin: columns.begin(column), end, title })
        };
        counts.iter().enumerate().filter_map(tick).collect()
    }

    fn tell_mark(&self, one: &Mark) -> String {
        format!("{} {} (position {})", self.clock().tell(one.at), mark(one), one.position)
    }

    fn write_tables(&self, out: &mut String) -> fmt::Result {
        self.stage_table(out)?;
        self.stall_table(out)?;
        self.gap_table(out)?;
        out.write_str("<div class=\"pair\">")?;
        self.hot_table("Hot fakémon", "fakémon", &self.timeline.fakemon, |id| id.to_string(), out)?;
        self.hot_table("Hot players", "player", &self.timeline.players, |id| self.player(id), out)?;
        out.write_str("</div>")?;
        self.put_table(out)?;
        self.mark_table(out)
    }

    fn stage_table(&self, out: &mut String) -> fmt::Result {
        let rows = Stage::ALL.into_iter().map(|stage| {
            let spread = self.timeline.whole.stage(stage);
            let told = |ns: u64| if spread.count == 0 { "–".to_owned() } else { span(ns as f64) };
            let count = thousands(spread.count as f64);
            [stage_words(stage).to_owned(), count, told(spread.p50), told(spread.p99), told(spread.max)]
        });
        write_table("Where the time went", &["", "count", "p50", "p99", "longest"], rows, out)
    }

    fn stall_table(&self, out: &mut String) -> fmt::Result {
        let clock = self.clock();
        let rows = self.timeline.stalls.iter().take(self.top).map(|stall| {
            let Stall { begin, first, last, attempts, groups, worst_ns, .. } = stall;
            let positions = format!("{first} to {last}");
            let much = format!("{} in {}", many(*attempts, "throw"), many(*groups, "group"));
            [clock.tell(*begin), span(*worst_ns as f64), much, positions, slow(stall)]
        });
        let (all, from) = (self.timeline.stalls.len(), span(self.timeline.slow_ns as f64));
        let title = format!("Stalls: {all} (answers that took {from} or longer)");
        write_table(&title, &["received", "longest", "of", "positions", "what was slow"], rows, out)
    }

    fn gap_table(&self, out: &mut String) -> fmt::Result {
        let clock = self.clock();
        let rows = self.timeline.gaps.iter().take(self.top).map(|gap| {
            let Gap { kind, begin, end, next } = gap;
            let next = format!("until position {next}");
            [clock.tell(*begin), clock.tell(*end), span(gap.ns() as f64), kind.name().to_owned(), next]
        });
        let (all, from) = (self.timeline.gaps.len(), span(self.timeline.gap_ns as f64));
        let title =
            format!("Gaps: {all} (silences of {from} or longer that are long for what is around, and closings)");
        write_table(&title, &["last life before", "next life", "took", "what", ""], rows, out)
    }

    fn hot_table<Id: Copy>(
        &self,
        title: &str,
        what: &str,
        hottest: &Hottest<Id>,
        name: impl Fn(Id) -> String,
        out: &mut String,
    ) -> fmt::Result {
        let rows = hottest.top.iter().map(|hot| {
            let (attempts, captured) = (self.count(hot.attempts, hottest.missed_max), thousands(hot.captured as f64));
            [name(hot.id), attempts, captured]
        });
        write_table(title, &[what, "throws", "captured"], rows, out)
    }

    fn put_table(&self, out: &mut String) -> fmt::Result {
        let mut kinds: Vec<_> = self.timeline.marks.put_kinds.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let rows = kinds.into_iter().take(self.top).map(|((bus, source, detail_type), count)| {
            [thousands(*count as f64), bus.clone(), source.clone(), detail_type.clone()]
        });
        write_table("Events that were put", &["count", "bus", "source", "detail-type"], rows, out)
    }

    fn mark_table(&self, out: &mut String) -> fmt::Result {
        let marks = &self.timeline.marks;
        let mut all: Vec<&Mark> = marks.all().collect();
        all.sort_by_key(|mark| mark.position);
        let count = all.len() as u64 + marks.left_out;
        all.truncate(MARKS_TOLD);
        let clock = self.clock();
        let rows = all.into_iter().map(|one| [clock.tell(one.at), one.position.to_string(), mark(one)]);
        let told = if count > MARKS_TOLD as u64 { format!(", the first {MARKS_TOLD}") } else { String::new() };
        write_table(&format!("Marks: {}{told}", thousands(count as f64)), &["when", "position", "what"], rows, out)
    }
}

fn stage_words(stage: Stage) -> &'static str {
    match stage {
        Stage::Queued => "queued: from the socket into the mailbox of its shard",
        Stage::Decided => "decided: in the mailbox, and deciding",
        Stage::Written => "written: until its group was handed to the disk",
        Stage::Synced => "synced: writing and syncing, of each group",
        Stage::Total => "total: from the socket until the answer could go out",
    }
}

fn panels(columns: &Columns<'_>) -> Vec<Panel> {
    let series = |name: &str, colour, shape, values| Series { name: name.to_owned(), colour, shape, values };
    let line = |name: &str, colour, values| series(name, colour, Shape::Line, values);
    let stage = |stage: Stage, of: fn(&fakemon_history::timeline::Spread) -> u64| {
        columns.greatest(|_, bucket| {
            let spread = bucket.stage(stage);
            (spread.count > 0).then(|| of(spread) as f64)
        })
    };
    let p99 = |name, colour, one| line(name, colour, stage(one, |spread| spread.p99));
    let group = |of: fn(&fakemon_history::timeline::Spread) -> u64| {
        columns.greatest(|_, bucket| (bucket.group_events.count > 0).then(|| of(&bucket.group_events) as f64))
    };
    let depth = |of: fn(&Bucket) -> f64| columns.greatest(|_, bucket| Some(of(bucket)));
    let panel = |title, note, scale, tell, series| Panel { title, note, scale, tell, series };
    vec![
        panel(
            "Throws per second",
            "by when they were received, decided, durable",
            Scale::Linear,
            number,
            vec![
                series("received", 0, Shape::Area, columns.rate(|bucket| bucket.received)),
                line("decided", 1, columns.rate(Bucket::decided)),
                line("durable", 2, columns.rate(|bucket| bucket.durable)),
            ],
        ),
        panel("Outcomes per second", "stacked", Scale::Linear, number, outcomes(columns)),
        panel(
            "Answer time",
            "from the socket until durable, by when it was",
            Scale::Powers,
            span,
            vec![
                line("longest", 3, stage(Stage::Total, |spread| spread.max)),
                p99("p99", 1, Stage::Total),
                line("p50", 0, stage(Stage::Total, |spread| spread.p50)),
            ],
        ),
        panel(
            "Stages, p99",
            "parts of the answer time; a sync counts once for its group",
            Scale::Powers,
            span,
            vec![
                p99("queued", 5, Stage::Queued),
                p99("decided", 4, Stage::Decided),
                p99("written", 1, Stage::Written),
                p99("synced", 3, Stage::Synced),
            ],
        ),
        panel(
            "Waiting throws",
            "received and undecided, decided and undurable; on average",
            Scale::Linear,
            number,
            vec![
                series("undurable", 1, Shape::Area, depth(|bucket| bucket.undurable.mean)),
                line("undecided", 4, depth(|bucket| bucket.undecided.mean)),
            ],
        ),
        panel(
            "Events per group",
            "one group is one write and one sync",
            Scale::Linear,
            number,
            vec![
                series("largest", 2, Shape::Area, group(|spread| spread.max)),
                line("p50", 0, group(|spread| spread.p50)),
            ],
        ),
        panel(
            "World and bus per second",
            "everything that is no throw",
            Scale::Linear,
            number,
            vec![
                line("appeared", 2, columns.rate(|bucket| bucket.appeared)),
                line("vanished", 3, columns.rate(|bucket| bucket.vanished)),
                line("put", 0, columns.rate(|bucket| bucket.put)),
                line("resources", 4, columns.rate(|bucket| bucket.changed)),
            ],
        ),
    ]
}

/// Stacked outcomes: the first series drawn is the sum of all, the last one starts at 0.
fn outcomes(columns: &Columns<'_>) -> Vec<Series> {
    let colours = [2, 0, 1, 6, 4, 3];
    let sums = |last: usize| columns.rate(move |bucket| bucket.outcomes[..=last].iter().sum());
    let alone = |outcome: usize| peak(&columns.rate(move |bucket| bucket.outcomes[outcome]));
    let seen = (0..Outcome::ALL.len()).rev().filter(|outcome| alone(*outcome) > 0.0);
    seen.map(|outcome| {
        let name = Outcome::ALL[outcome].name().to_owned();
        Series { name, colour: colours[outcome], shape: Shape::Stack, values: sums(outcome) }
    })
    .collect()
}

fn write_panel(index: usize, panel: &Panel, canvas: &Canvas<'_>, out: &mut String) -> fmt::Result {
    write!(out, r#"<figure class="plot" data-panel="{index}"><figcaption><b>{}</b> "#, panel.title)?;
    write!(out, "<span>{}</span><span class=\"legend\">", panel.note)?;
    for Series { name, colour, .. } in &panel.series {
        write!(out, r#"<i class="c{colour}"></i>{name} "#)?;
    }
    out.write_str("</span></figcaption>")?;
    canvas.plot(&panel.series, panel.scale, panel.tell, out)?;
    out.write_str("</figure>")
}

fn write_table<const N: usize>(
    title: &str,
    head: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
    out: &mut String,
) -> fmt::Result {
    write!(out, "<section><h2>{}</h2>", Escaped(title))?;
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return out.write_str("<p>none</p></section>");
    }
    out.write_str("<table><thead><tr>")?;
    head.iter().try_for_each(|cell| write!(out, "<th>{cell}</th>"))?;
    out.write_str("</tr></thead><tbody>")?;
    for row in rows {
        out.write_str("<tr>")?;
        row.iter().try_for_each(|cell| write!(out, "<td><bdi>{}</bdi></td>", Escaped(cell)))?;
        out.write_str("</tr>")?;
    }
    out.write_str("</tbody></table></section>")
}

/// Data of the page's tooltips: numbers and times as text, no foreign text.
fn data(panels: &[Panel], canvas: &Canvas<'_>, clock: &Clock) -> serde_json::Value {
    let columns = 0..canvas.columns.len();
    let at = |column: usize| -> Timestamp { canvas.columns.begin(column) };
    let told = |panel: &Panel| -> Vec<serde_json::Value> {
        let series = panel.series.iter().map(|series| {
            let value = |value: &Option<f64>| value.map_or("–".to_owned(), panel.tell);
            let values: Vec<String> = series.values.iter().map(value).collect();
            json!({ "name": series.name, "colour": series.colour, "values": values })
        });
        series.collect()
    };
    json!({
        "width": WIDTH,
        "left": LEFT,
        "x": columns.clone().map(|column| (canvas.x(at(column)) * 10.0).round() / 10.0).collect::<Vec<_>>(),
        "times": columns.map(|column| clock.tell(at(column))).collect::<Vec<_>>(),
        "panels": panels.iter().map(told).collect::<Vec<_>>(),
    })
}
