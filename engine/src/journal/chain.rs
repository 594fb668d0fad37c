//! The hash chain: the hash of a block covers its bytes and the hash of the block before, so that one hash is
//! checksum, order and completeness at once.

use super::store::ReadError;
use crate::ids::Position;
use crate::state::StateHash;
use fakemon_fbs::journal::BlockReader;

/// BLAKE3 over the hash before and the block.
pub(crate) type BlockHash = [u8; 32];

/// The end of the chain: what the next block follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    /// The position of the next event.
    pub(crate) next: Position,
    /// The hash of the last block; zeros before the first.
    pub(crate) hash: BlockHash,
    /// What the engine knows here.
    pub(crate) state: StateHash,
}

impl Link {
    /// Goes on by a block of so many events: `value` becomes what is stored of it.
    pub(crate) fn append(&mut self, block: &[u8], events: u64, value: &mut Vec<u8>) {
        self.hash = hash(&self.hash, block);
        self.next.0 += events;
        value.clear();
        value.extend_from_slice(&self.hash);
        value.extend_from_slice(block);
    }
}

/// The hash of a block that follows `previous`.
pub(crate) fn hash(previous: &BlockHash, block: &[u8]) -> BlockHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(previous).update(block);
    *hasher.finalize().as_bytes()
}

/// A block as it lies in the store.
#[derive(Clone, Copy)]
pub(crate) struct StoredBlock<'a> {
    /// The position in its key.
    pub(crate) first: Position,
    /// The hash that was stored with it.
    pub(crate) hash: BlockHash,
    bytes: &'a [u8],
}

impl<'a> StoredBlock<'a> {
    pub(crate) fn split(first: Position, value: &'a [u8]) -> Result<StoredBlock<'a>, ReadError> {
        let Some((hash, bytes)) = value.split_first_chunk() else {
            return Err(ReadError::corrupt(first, "the block is shorter than its hash"));
        };
        Ok(StoredBlock { first, hash: *hash, bytes })
    }

    /// Checks that the block follows `previous`, byte for byte, and is well formed.
    pub(crate) fn verify_after(&self, previous: &BlockHash) -> Result<BlockReader<'a>, ReadError> {
        if hash(previous, self.bytes) != self.hash {
            return Err(ReadError::corrupt(
                self.first,
                "its hash does not match: the block, or the one before, changed",
            ));
        }
        self.read()
    }

    /// Its bytes, without the hash.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes in the store.
    pub(crate) fn len(&self) -> usize {
        self.hash.len() + self.bytes.len()
    }

    /// Checks that the block is well formed.
    pub(crate) fn read(&self) -> Result<BlockReader<'a>, ReadError> {
        let block = BlockReader::new(self.bytes).map_err(|error| ReadError::corrupt(self.first, error))?;
        match block.head().first_position == self.first.0 {
            true => Ok(block),
            false => Err(ReadError::corrupt(self.first, "it says another position than its key")),
        }
    }
}
