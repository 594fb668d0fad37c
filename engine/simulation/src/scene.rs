//! Kinds of runs, by size and by the part of the node that is simulated.

/// A kind of run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// Some hundred attempts in small steps: many ways for things to meet.
    Small,
    /// Some ten thousand attempts in large batches.
    Large,
    /// Queues of the bus, without captures.
    Queues,
}
