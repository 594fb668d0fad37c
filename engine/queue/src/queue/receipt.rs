//! Ids of messages and receipt handles: what a receiver needs to delete a message.

use super::rows::hash;
use fakemon_model::ids::mix;
use fakemon_model::names::ReceiptHandle;

/// A receipt: the message, and the number of its receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) sequence: u64,
    pub(super) receives: u32,
}

impl Receipt {
    /// The handle for the receiver. The check digits at its end include the queue: a handle is valid in its own queue
    /// only.
    pub(super) fn handle(self, queue: &str) -> String {
        let Receipt { sequence, receives } = self;
        format!("{sequence:016x}{receives:08x}{:016x}", mix(hash(queue) ^ mix(sequence ^ u64::from(receives))))
    }

    /// None if it is no handle of this queue.
    pub(super) fn read(queue: &str, ReceiptHandle(handle): ReceiptHandle<'_>) -> Option<Receipt> {
        if handle.len() != 40 || !handle.is_ascii() {
            return None;
        }
        let sequence = u64::from_str_radix(&handle[..16], 16).ok()?;
        let receives = u32::from_str_radix(&handle[16..24], 16).ok()?;
        let receipt = Receipt { sequence, receives };
        (receipt.handle(queue) == handle).then_some(receipt)
    }
}

/// A UUID around a sequence number.
pub(super) fn message_id(queue: &str, sequence: u64) -> String {
    let (high, low) = (mix(hash(queue) ^ sequence), sequence);
    let [a, b, c] = [high >> 32, high >> 16 & 0xFFFF, high & 0xFFF];
    format!("{a:08x}-{b:04x}-4{c:03x}-{:04x}-{:012x}", 0x8000 | low >> 48 & 0x3FFF, low & 0xFFFF_FFFF_FFFF)
}
