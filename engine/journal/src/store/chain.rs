//! The hash chain: the hash of a block covers its bytes and the hash of the block before, so that one hash is
//! checksum, order and completeness at once.

use crate::error::ReadError;
use fakemon_fbs::journal::BlockReader;
use fakemon_model::ids::Position;
use fakemon_model::state_hash::StateHash;

/// BLAKE3 over the hash of the previous block and the bytes of this one.
pub type BlockHash = [u8; 32];

/// The end of the chain: what the next block follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The position of the next event.
    pub next: Position,
    /// The hash of the last block; zeros before the first.
    pub hash: BlockHash,
    /// The hash of everything the engine knows at this position.
    pub state: StateHash,
}

impl Link {
    /// Appends a block of `events` events and writes its stored form (hash, then bytes) into `value`.
    pub fn append(&mut self, block: &[u8], events: u64, value: &mut Vec<u8>) {
        self.hash = hash(&self.hash, block);
        self.next.0 += events;
        value.clear();
        value.extend_from_slice(&self.hash);
        value.extend_from_slice(block);
    }
}

/// The hash of a block that follows `previous`.
pub fn hash(previous: &BlockHash, block: &[u8]) -> BlockHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(previous).update(block);
    *hasher.finalize().as_bytes()
}

/// A block as it is stored.
#[derive(Clone, Copy)]
pub struct StoredBlock<'a> {
    /// The position in its key.
    pub first: Position,
    /// The hash that was stored with it.
    pub hash: BlockHash,
    bytes: &'a [u8],
}

impl<'a> StoredBlock<'a> {
    pub fn split(first: Position, value: &'a [u8]) -> Result<StoredBlock<'a>, ReadError> {
        let Some((hash, bytes)) = value.split_first_chunk() else {
            return Err(ReadError::corrupt(first, "the block is shorter than its hash"));
        };
        Ok(StoredBlock { first, hash: *hash, bytes })
    }

    /// Checks that the block follows `previous`, byte for byte, and is well formed.
    pub fn verify_after(&self, previous: &BlockHash) -> Result<BlockReader<'a>, ReadError> {
        if hash(previous, self.bytes) != self.hash {
            return Err(ReadError::corrupt(
                self.first,
                "its hash does not match: the block, or the one before, changed",
            ));
        }
        self.read()
    }

    /// Its bytes, without the hash.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes in the store, including the hash.
    #[expect(clippy::len_without_is_empty, reason = "a stored block is never empty")]
    pub fn len(&self) -> usize {
        self.hash.len() + self.bytes.len()
    }

    /// Checks that the block is well formed.
    pub fn read(&self) -> Result<BlockReader<'a>, ReadError> {
        let block = BlockReader::new(self.bytes).map_err(|error| ReadError::corrupt(self.first, error))?;
        match block.head().first_position == self.first.0 {
            true => Ok(block),
            false => Err(ReadError::corrupt(self.first, "it says another position than its key")),
        }
    }
}
