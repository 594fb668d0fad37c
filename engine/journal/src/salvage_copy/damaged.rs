//! Reads a damaged journal: reports each unreadable range and continues after it.

use crate::store::chain::StoredBlock;
use crate::store::{Store, number};
use fakemon_model::ids::Position;
use std::ops::ControlFlow;

/// A block or a gap of a journal.
pub enum BlockOrGap<'a> {
    /// A block that the store could read.
    Block(StoredBlock<'a>),
    /// Something between this position and the next block cannot be read.
    Unreadable(Position, DamageLocation),
}

/// What the store reports about damage, and where it is, as far as known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DamageLocation {
    pub error: String,
    pub file: Option<String>,
    /// Offset and length in the file.
    pub bytes: Option<(u64, u64)>,
}

impl DamageLocation {
    /// From RocksDB's words: `… in FILE offset N size M …`.
    pub fn of(error: &str) -> DamageLocation {
        let mut spot = DamageLocation { error: error.to_owned(), ..DamageLocation::default() };
        let Some((_, rest)) = error.split_once(" in ") else { return spot };
        let Some((file, rest)) = rest.split_once(" offset ") else { return spot };
        let mut words = rest.split([' ', ',', ';']);
        let offset = words.next().and_then(|word| word.parse().ok());
        let size = words.skip_while(|word| *word != "size").nth(1).and_then(|word| word.parse().ok());
        spot.file = Some(file.to_owned());
        spot.bytes = offset.zip(size);
        spot
    }
}

/// What a seek finds.
enum Found {
    At(u64),
    End,
    Damage,
}

impl Store {
    /// Visits all blocks in order, and what is unreadable between them, until the visitor breaks.
    pub fn pieces(&self, visit: &mut dyn FnMut(BlockOrGap<'_>) -> ControlFlow<()>) {
        let mut next = 0;
        let mut iterator = self.block_iterator();
        iterator.seek_to_first();
        loop {
            let flow = match iterator.item() {
                Some((key, value)) => {
                    let split = number(key).map_err(|error| (next, error.to_string()));
                    let split = split.and_then(|first| {
                        next = first.saturating_add(1);
                        StoredBlock::split(Position(first), value).map_err(|error| (first, error.to_string()))
                    });
                    let flow = match split {
                        Ok(block) => visit(BlockOrGap::Block(block)),
                        Err((at, error)) => visit(BlockOrGap::Unreadable(Position(at), DamageLocation::of(&error))),
                    };
                    iterator.next();
                    flow
                }
                None => {
                    let Err(error) = iterator.status() else { return };
                    let flow = visit(BlockOrGap::Unreadable(Position(next), DamageLocation::of(error.as_ref())));
                    let Some(behind) = self.behind_damage(next) else { return };
                    iterator = self.block_iterator();
                    iterator.seek(behind.to_be_bytes());
                    flow
                }
            };
            if flow.is_break() {
                return;
            }
        }
    }

    /// The first block after the damage at `damaged`: tries positions further and further away, then halves the
    /// range.
    fn behind_damage(&self, damaged: u64) -> Option<u64> {
        let (mut low, mut step) = (damaged, 1);
        let mut high = loop {
            let target = low.saturating_add(step);
            match self.seek(target) {
                Found::Damage if target == u64::MAX => return None,
                Found::Damage => (low, step) = (target, step.saturating_mul(2)),
                Found::At(_) | Found::End => break target,
            }
        };
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.seek(middle) {
                Found::Damage => low = middle,
                Found::At(_) | Found::End => high = middle,
            }
        }
        match self.seek(high) {
            Found::At(first) => Some(first),
            Found::End | Found::Damage => None,
        }
    }

    fn seek(&self, target: u64) -> Found {
        let mut iterator = self.block_iterator();
        iterator.seek(target.to_be_bytes());
        match iterator.key().map(number) {
            Some(Ok(first)) => Found::At(first),
            Some(Err(_)) => Found::Damage,
            None if iterator.status().is_ok() => Found::End,
            None => Found::Damage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_damage_lies_is_read_from_the_words_of_the_store() {
        let spot = DamageLocation::of(
            "Corruption: block checksum mismatch: stored = 1, computed = 2, type = 4  in /a b/000012.sst offset 4096 size \
             517",
        );
        assert_eq!((spot.file.as_deref(), spot.bytes), (Some("/a b/000012.sst"), Some((4096, 517))));
        assert_eq!(DamageLocation::of("IO error: no such file").file, None);
    }
}
