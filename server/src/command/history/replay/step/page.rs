//! Events around a position, read in pages, so that moving forwards and backwards is cheap.

use fakemon_engine::ReadError;
use fakemon_history::archive::{Archive, Recorded};
use fakemon_model::ids::Position;
use std::ops::ControlFlow;

/// Events read before and after the position.
const BESIDE: u64 = 2_048;

/// Neighbouring events.
pub(super) struct Page {
    events: Vec<Recorded>,
}

impl Page {
    pub(super) fn around(archive: &Archive, position: Position) -> Result<Page, ReadError> {
        let (from, to) = (position.0.saturating_sub(BESIDE), position.0.saturating_add(BESIDE));
        let mut events = Vec::new();
        archive.for_each(Position(from), &mut |recorded| {
            if recorded.position.0 > to {
                return ControlFlow::Break(());
            }
            events.push(recorded.clone());
            ControlFlow::Continue(())
        })?;
        Ok(Page { events })
    }

    /// Loads another page if the position is not in this one.
    pub(super) fn load(&mut self, archive: &Archive, position: Position) -> Result<(), ReadError> {
        if self.get(position).is_none() && position < archive.end_position() {
            *self = Page::around(archive, position)?;
        }
        Ok(())
    }

    pub(super) fn get(&self, position: Position) -> Option<&Recorded> {
        let first = self.events.first()?.position;
        let index = usize::try_from(position.0.checked_sub(first.0)?).ok()?;
        self.events.get(index)
    }
}
