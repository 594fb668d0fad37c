//! The nouns of the engine: ids, names, places, species, fakémon, attempts, events and how they look on a bus, and
//! every bound. Plain values; nothing here waits, reads a file or a clock, or knows a thread.

pub mod limits; // every bound of the engine, related to each other at compile time
pub mod ids; // numbers that must not be mistaken for each other, and moments
pub mod names; // names that must not be mistaken for each other
pub mod varint; // whole numbers in as few bytes as they need
pub mod format; // durations and numbers as people read them
pub mod dice; // random numbers from a seed, for tests
pub mod place; // where something is on the globe, and how far apart
pub mod species; // how easily each species is caught and how long it stays
pub mod event; // commands, outcomes, and events of the journal
pub mod fakemon; // a fakémon in 32 bytes
pub mod state_hash; // the hash of everything the engine knows
pub mod authorship; // which sources and detail-types only the engine puts
pub mod envelope; // an event of the journal as EventBridge shows it
