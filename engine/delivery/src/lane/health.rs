//! Health of a lane: whether its target accepts deliveries and, if not, since when and why.

use crate::lane::failure_code::FailureCode;
use crate::lane::rate::Rate;
use fakemon_model::ids::Timestamp;

/// The health of a lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Attempts that failed since the last successful one.
    pub failed_attempts: u64,
    /// When the first of them failed.
    pub failing_since: Option<Timestamp>,
    /// The code of the last failure; empty if there was none.
    pub error_code: String,
    /// The message of the last failure; it holds no secret.
    pub error_message: String,
    /// When an event was last delivered.
    pub delivered_at: Option<Timestamp>,
    /// Events that were given up, except the engine's own notices.
    pub given_up: u64,
    /// Given-up events that are in no dead-letter queue.
    pub lost: u64,
    delivered: Rate,
}

/// Bytes of an error message that are kept.
const MESSAGE_BYTES_MAX: usize = 512;

impl Health {
    pub fn failed(&mut self, code: FailureCode, message: &str, now: Timestamp) {
        self.failed_attempts += 1;
        self.failing_since.get_or_insert(now);
        code.name().clone_into(&mut self.error_code);
        message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)].clone_into(&mut self.error_message);
    }

    pub fn delivered(&mut self, events: u64, now: Timestamp) {
        self.failed_attempts = 0;
        self.failing_since = None;
        self.delivered_at = Some(now);
        self.delivered.add(events, now.seconds());
    }

    pub fn given_up(&mut self, is_lost: bool) {
        self.given_up += 1;
        self.lost += u64::from(is_lost);
    }

    /// Events delivered in the last minute.
    pub fn delivered_last_minute(&self, now: Timestamp) -> u64 {
        self.delivered.last_minute(now.seconds())
    }
}
