//! Reads a damaged journal: reports each unreadable range and continues after it.

use crate::store::chain::StoredBlock;
use crate::store::{Store, number};
use fakemon_fbs::snapshot::{Caught, read_caught};
use fakemon_model::ids::{PlayerId, Position};
use std::fmt::{self, Display};
use std::ops::ControlFlow;

/// Bytes of the key of a block: its first position.
const BLOCK_KEY: usize = 8;
/// Bytes of the key of a capture: player, position.
const CAPTURE_KEY: usize = 12;

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

impl Display for DamageLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
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
    At(u128),
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

    /// The first block after the damage at `damaged`.
    fn behind_damage(&self, damaged: u64) -> Option<u64> {
        let key = self.key_behind_damage("blocks", BLOCK_KEY, damaged.into())?;
        u64::try_from(key).ok()
    }

    /// All entries of all collections that can be read; the first error.
    pub fn collections_around_damage(
        &self,
        visit: &mut dyn FnMut(PlayerId, Position, Caught),
    ) -> Result<(), DamageLocation> {
        let (mut iterator, mut next, mut wrong) = (self.iterator_of("collections"), 0u128, None);
        iterator.seek_to_first();
        loop {
            if let Some((key, value)) = iterator.item() {
                if let (Ok(key), Ok(caught)) = (<[u8; 12]>::try_from(key), read_caught(value)) {
                    next = number_of(&key).saturating_add(1);
                    let (player, position) = (next.saturating_sub(1) >> 64, next.saturating_sub(1) as u64);
                    visit(PlayerId(player as u32), Position(position), caught);
                }
                iterator.next();
                continue;
            }
            let Err(error) = iterator.status() else { break };
            wrong.get_or_insert(DamageLocation::of(error.as_ref()));
            let Some(behind) = self.key_behind_damage("collections", CAPTURE_KEY, next) else { break };
            iterator = self.iterator_of("collections");
            iterator.seek(key_of(behind, CAPTURE_KEY));
        }
        wrong.map_or(Ok(()), Err)
    }

    /// The first key after the damage at `damaged`, of keys that are numbers of `bytes` bytes: tries numbers further
    /// and further away, then halves the range.
    fn key_behind_damage(&self, family: &str, bytes: usize, damaged: u128) -> Option<u128> {
        let most = u128::MAX >> (128 - 8 * bytes);
        let (mut low, mut step) = (damaged, 1u128);
        let mut high = loop {
            let target = low.saturating_add(step).min(most);
            match self.seek(family, bytes, target) {
                Found::Damage if target == most => return None,
                Found::Damage => (low, step) = (target, step.saturating_mul(2)),
                Found::At(_) | Found::End => break target,
            }
        };
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.seek(family, bytes, middle) {
                Found::Damage => low = middle,
                Found::At(_) | Found::End => high = middle,
            }
        }
        match self.seek(family, bytes, high) {
            Found::At(first) => Some(first),
            Found::End | Found::Damage => None,
        }
    }

    fn seek(&self, family: &str, bytes: usize, target: u128) -> Found {
        let mut iterator = self.iterator_of(family);
        iterator.seek(key_of(target, bytes));
        match iterator.key() {
            Some(key) if key.len() == bytes => Found::At(number_of(key)),
            Some(_) => Found::Damage,
            None if iterator.status().is_ok() => Found::End,
            None => Found::Damage,
        }
    }
}

/// A key that is a number of `bytes` bytes.
fn key_of(number: u128, bytes: usize) -> Vec<u8> {
    number.to_be_bytes()[16 - bytes..].to_vec()
}

fn number_of(key: &[u8]) -> u128 {
    key.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
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
