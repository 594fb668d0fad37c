//! The result of a run: violations, counts, and a digest by which two runs of one seed are compared.

use crate::memory_log::FaultCounts;
use crate::model::Violation;

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What does not hold.
    pub violations: Vec<Violation>,
    /// Attempts that were sent for the first time.
    pub attempts: u64,
    /// Answers that left the node, those to attempts that were sent again included.
    pub answers: u64,
    /// Steps of all threads.
    pub steps: u64,
    /// Starts of the node.
    pub lives: u64,
    /// Faults that were injected.
    pub faults: FaultCounts,
    /// The same for the same plan, on every machine.
    pub digest: u64,
}
