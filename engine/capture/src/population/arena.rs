//! Values side by side in chunks: the arena grows without moving a value, and its spare room is at most one chunk.

use std::ops::{Index, IndexMut};

const CHUNK: usize = 1_024;

/// Values under slot numbers that never change.
pub struct Arena<T> {
    chunks: Vec<Vec<T>>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Arena { chunks: Vec::new() }
    }
}

impl<T> Arena<T> {
    /// The number that the next value gets.
    pub fn next_slot(&self) -> u32 {
        let full = self.chunks.len().saturating_sub(1) * CHUNK;
        let slot = full + self.chunks.last().map_or(0, Vec::len);
        u32::try_from(slot).expect("four thousand million slots are beyond the memory of a machine")
    }

    /// Puts a value under the next number.
    pub fn push(&mut self, value: T) {
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(value),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(value);
                self.chunks.push(chunk);
            }
        }
    }

    /// All values, by number.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }
}

impl<T> Index<u32> for Arena<T> {
    type Output = T;

    #[inline]
    fn index(&self, slot: u32) -> &T {
        &self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }
}

impl<T> IndexMut<u32> for Arena<T> {
    #[inline]
    fn index_mut(&mut self, slot: u32) -> &mut T {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }
}
