//! (map to come)
pub mod limits;
pub mod ids;
pub mod place;
pub mod species;
pub mod players;
pub mod model;
mod engine;
pub use engine::*;
