//! Moments of the wall clock in the journal. The engine's time only goes on, but the wall clock may have been set:
//! the journal is a row of stretches in each of which both clocks went alike. Each block says where its stretch
//! began, so stretches are found from the newest to the oldest, and a moment within one by halving.

use crate::{ReadError, Store};
use fakemon_fbs::journal::BlockHead;
use fakemon_model::ids::{Ahead, Position, Timestamp};
use std::ops::ControlFlow;

/// Neighbouring blocks that are as far ahead of the wall clock.
struct Stretch {
    first: Position,
    end: Position,
    ahead: Ahead,
}

impl Store {
    /// The head of the newest block; none if there is none.
    pub fn newest_head(&self) -> Result<Option<BlockHead>, ReadError> {
        self.head_of(Position(u64::MAX))
    }

    /// The first event before `end` that was handed to the disk at a moment of the wall clock or later; `end` if none
    /// was.
    pub fn first_since(&self, time: Timestamp, end: Position) -> Result<Position, ReadError> {
        let mut found = end;
        for stretch in self.stretches(end)? {
            let first = self.first_of(&stretch, time)?;
            found = if first < stretch.end { first } else { found };
        }
        Ok(found)
    }

    /// One past the last event before `end` that was handed to the disk before a moment of the wall clock; the first
    /// position if none was.
    pub fn end_before(&self, time: Timestamp, end: Position) -> Result<Position, ReadError> {
        let stretches = self.stretches(end)?;
        for stretch in &stretches {
            let first = self.first_of(stretch, time)?;
            if first > stretch.first {
                return Ok(first);
            }
        }
        Ok(stretches.last().map_or(end, |oldest| oldest.first))
    }

    /// The first and the last moment of the wall clock at which events before `end` were handed to the disk.
    pub fn wall_extent(&self, end: Position) -> Result<Option<(Timestamp, Timestamp)>, ReadError> {
        let mut extent: Option<(Timestamp, Timestamp)> = None;
        for stretch in self.stretches(end)? {
            for position in [stretch.first, Position(stretch.end.0 - 1)] {
                let Some(head) = self.head_of(position)? else { continue };
                let at = stretch.ahead.to_wall(Timestamp(head.committed_ns));
                let (first, last) = extent.unwrap_or((at, at));
                extent = Some((first.min(at), last.max(at)));
            }
        }
        Ok(extent)
    }

    /// The newest first.
    fn stretches(&self, end: Position) -> Result<Vec<Stretch>, ReadError> {
        let oldest = self.first_position()?.unwrap_or(end);
        let (mut stretches, mut end) = (Vec::new(), end);
        while end > oldest
            && let Some(head) = self.head_of(Position(end.0 - 1))?
        {
            // A journal that says otherwise is damaged; here it is only not to be read for ever.
            let since = Position(head.ahead_since.min(head.first_position)).max(oldest);
            stretches.push(Stretch { first: since, end, ahead: Ahead(head.ahead_ns) });
            end = since;
        }
        Ok(stretches)
    }

    /// The first event of a stretch at a moment or later; its end if there is none.
    fn first_of(&self, stretch: &Stretch, time: Timestamp) -> Result<Position, ReadError> {
        let (mut low, mut high) = (stretch.first.0, stretch.end.0);
        while low < high {
            let middle = low + (high - low) / 2;
            let head = self.head_of(Position(middle))?;
            match head.map(|head| (head, stretch.ahead.to_wall(Timestamp(head.committed_ns)))) {
                Some((head, at)) if at < time => {
                    low = middle.max(head.first_position + u64::from(head.count) - 1) + 1
                }
                Some((head, _)) => high = middle.min(head.first_position).max(low),
                None => high = middle,
            }
        }
        Ok(Position(low.min(stretch.end.0)))
    }

    /// The head of the block that holds a position, or of the one before or behind it if none does.
    fn head_of(&self, position: Position) -> Result<Option<BlockHead>, ReadError> {
        let mut head = None;
        self.blocks(position, &mut |stored| {
            head = Some(stored.read()?.head());
            Ok(ControlFlow::Break(()))
        })?;
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Durability, Link};
    use fakemon_fbs::journal::{BlockWriter, PlayerNamed, SectionDraft};

    /// A journal of blocks of two events at these moments of both clocks.
    fn journal(dir: &std::path::Path, clocks: &[(u64, u64)]) -> Store {
        let store = Store::open(dir).unwrap();
        let (mut link, mut writer, mut value) = (Link::default(), BlockWriter::default(), Vec::new());
        link.next = Position(1);
        let (mut ahead, mut ahead_since) = (Ahead(0), 0);
        for (engine, wall) in clocks {
            let first = link.next;
            let new = Ahead::of(Timestamp(*engine), Timestamp(*wall));
            if new != ahead {
                (ahead, ahead_since) = (new, first.0);
            }
            let mut section = SectionDraft::default();
            (1..=2).for_each(|player| section.push_player_named(PlayerNamed { player, name: "a".into() }));
            let head = BlockHead {
                first_position: first.0,
                count: 2,
                committed_ns: *engine,
                ahead_ns: ahead.0,
                ahead_since,
                ..BlockHead::default()
            };
            link.append(writer.write(head, &[section]), 2, &mut value);
            store.write_block(first, &value, std::iter::empty(), Durability::Unsynced).unwrap();
        }
        store
    }

    #[test]
    fn a_moment_is_found_whatever_the_wall_clock_did() {
        let dir = tempfile::tempdir().unwrap();
        // Two blocks under a right clock, two a day ahead, two under a right clock again, one behind.
        let clocks = [(100, 100), (110, 110), (120, 990), (130, 1_000), (140, 140), (150, 150), (160, 60)];
        let store = journal(dir.path(), &clocks);
        let end = store.end_position().unwrap();
        assert_eq!(end, Position(15));
        for time in 0..1_100 {
            let at = |index: usize| 1 + 2 * index as u64;
            let since = clocks.iter().position(|(_, wall)| *wall >= time).map_or(15, at);
            let before = clocks.iter().rposition(|(_, wall)| *wall < time).map_or(1, |index| at(index + 1));
            assert_eq!(store.first_since(Timestamp(time), end).unwrap(), Position(since), "{time}");
            assert_eq!(store.end_before(Timestamp(time), end).unwrap(), Position(before), "{time}");
        }
        assert_eq!(store.wall_extent(end).unwrap(), Some((Timestamp(60), Timestamp(1_000))));
        assert_eq!(store.newest_head().unwrap().unwrap().first_position, 13);
        assert_eq!(store.first_since(Timestamp(0), Position(1)).unwrap(), Position(1), "nothing is before it");
    }
}
