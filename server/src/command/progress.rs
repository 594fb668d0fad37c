//! Progress of long work over the journal: a bar on stderr, on a terminal only.

use fakemon_model::ids::Position;
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::Cell;
use std::time::Duration;

/// Kinds of long work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Verify,
    Index,
    Replay,
    Timeline,
    Export,
    Import,
    Salvage,
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Work::Verify => "verify",
            Work::Index => "index",
            Work::Replay => "replay",
            Work::Timeline => "timeline",
            Work::Export => "export",
            Work::Import => "import",
            Work::Salvage => "salvage",
        }
    }
}

/// A bar over positions.
pub(super) struct Bar {
    drawn: ProgressBar,
    work: Work,
    /// Whether something else than positions is shown.
    reads: Cell<bool>,
}

/// How often it is shown that something goes on that has no end that is known.
const TICK: Duration = Duration::from_millis(250);

/// Shows a bar.
pub(super) fn bar(work: Work) -> Bar {
    Bar { drawn: ProgressBar::new(0).with_style(positions(work)), work, reads: Cell::new(false) }
}

fn positions(work: Work) -> ProgressStyle {
    style(&format!("{} {{wide_bar}} {{percent}}% {{pos}}/{{len}} {{per_sec}} eta {{eta}}", work.name()))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is valid, a test draws it")
}

impl Bar {
    /// Sets the bar to `done` of `end`.
    pub(super) fn show(&self, done: Position, end: Position) {
        if self.reads.replace(false) {
            self.drawn.disable_steady_tick();
            self.drawn.set_style(positions(self.work));
        }
        self.drawn.set_length(end.0);
        self.drawn.set_position(done.0);
    }

    /// Something beside the journal is read now, of unknown length.
    pub(super) fn read(&self, what: &str) {
        self.reads.set(true);
        self.drawn.set_style(style(&format!("{} {{spinner}} reads {what}, for {{elapsed}} now", self.work.name())));
        self.drawn.enable_steady_tick(TICK);
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.drawn.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_can_be_drawn() {
        let bar = bar(Work::Verify);
        bar.show(Position(1), Position(2));
        bar.read("bus");
        bar.show(Position(2), Position(2));
        bar.finish();
    }
}
