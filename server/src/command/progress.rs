//! Progress of long work over the journal: a bar on stderr, on a terminal only.

use fakemon_engine::ids::Position;
use indicatif::{ProgressBar, ProgressStyle};

/// What takes long.
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
pub(super) struct Bar(ProgressBar);

/// Begins a bar.
pub(super) fn bar(work: Work) -> Bar {
    let template = format!("{} {{wide_bar}} {{percent}}% {{pos}}/{{len}} {{per_sec}} eta {{eta}}", work.name());
    let style = ProgressStyle::with_template(&template).expect("the template is valid, a test draws it");
    Bar(ProgressBar::new(0).with_style(style))
}

impl Bar {
    /// So far, of so much.
    pub(super) fn show(&self, done: Position, end: Position) {
        self.0.set_length(end.0);
        self.0.set_position(done.0);
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_can_be_drawn() {
        bar(Work::Verify).finish();
    }
}
