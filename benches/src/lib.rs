//! One seed, one world: the same spawns and attempts for the simulator, the benches and the load generator, so that
//! they cannot disagree about what was measured.
//!
//! - [`scenario`]: the parameters of a run
//! - [`world`]: the nth fakémon of a seed: species, place, catch rate
//! - [`board`]: the fakémon that are targets now
//! - [`attempts`]: an endless stream of attempts at them
//!
//! Nothing here reads a clock, a file or a socket.

pub mod scenario;
pub mod world;
pub mod board;
pub mod attempts;

pub use attempts::{Act, Attempts, PlannedAttempt};
pub use board::Board;
pub use scenario::Scenario;
pub use world::{Nth, World};
