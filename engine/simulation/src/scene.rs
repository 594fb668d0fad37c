//! What a run is about.

/// What a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// Some hundred attempts in small steps: many ways for things to meet.
    Small,
    /// Some ten thousand attempts in large batches.
    Large,
    /// Queues of the bus, without captures.
    Queues,
}
