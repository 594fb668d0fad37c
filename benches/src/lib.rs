//! One seed, one world: the same spawns and throws for the simulator, the benches and the load generator, so that
//! they cannot disagree about what was measured.
//!
//! - [`scenario`]: what a run is about, in a handful of numbers
//! - [`world`]: what a seed says of the nth fakémon: species, place, catch rate
//! - [`board`]: which fakémon can be thrown at right now
//! - [`throws`]: an endless stream of throws at them
//!
//! Nothing here reads a clock, a file or a socket.

pub mod scenario;
pub mod world;
pub mod board;
pub mod throws;

pub use board::Board;
pub use scenario::Scenario;
pub use throws::{Act, Throw, Throws};
pub use world::{Nth, World};
